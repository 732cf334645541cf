//! Limits on what learning may cost: they act, they truncate, and they change nothing where they do not act.

use proptest::prelude::*;
use surefoot_core::{ActMode, Episode, Policy, PolicyError, ResetScope, Rows, RowsMut, StepEnd, Stream};
use surefoot_engine::limits::{EpisodeLimit, SessionLimit, TrustRegion};
use surefoot_engine::{
    EpisodeCost, EpisodeLimits, EpisodeLimitsConfig, Event, Guard, Interrupt, OnlineConfig, PhaseConfig,
    SessionLimitsConfig, TrainEnd, TrustRegionConfig, Watch, guarded_rollout,
};

use crate::linear::LinearPolicy;
use crate::point_robot::{Tripwire, run, seeds, worlds};
use crate::runs::{Recorder, Setup, scratch};

/// The longest way of both joints in a step: 0.5 m/s each for 0.1 s.
const STEP_PATH: f64 = 0.1;

fn linear(slots: usize, weights: Vec<f32>) -> LinearPolicy {
    LinearPolicy { weights, streams: (0..slots).map(|i| Stream::new(9, "unused", i as u64)).collect() }
}

fn to_goal(slots: usize) -> LinearPolicy {
    linear(slots, vec![-0.9, 0.05, 0.9, 0.0, 0.02, 0.0, -0.8, 0.1, 0.8, 0.05])
}

fn guarded(
    n: usize,
    policy: &mut dyn Policy,
    limits: EpisodeLimitsConfig,
    trust_region: Option<TrustRegion<'_>>,
    episodes: u64,
) -> Vec<(Episode, EpisodeCost)> {
    let interrupt = Interrupt::new();
    let mut watch = Watch { interrupt: &interrupt, progress: &mut |_| {} };
    let mut guard = Guard { limits: EpisodeLimits::new(limits), trust_region };
    let seeds = seeds(episodes, 5);
    guarded_rollout(&mut worlds(n), policy, ActMode::Explore, &seeds, "test", &mut guard, &mut watch).unwrap()
}

fn off() -> EpisodeLimitsConfig {
    EpisodeLimitsConfig {
        max_path: 0.0,
        max_energy_joules: 0.0,
        max_filter_active_share: 1.0,
        filter_share_min_ticks: 0,
        max_filter_run_ticks: 0,
        max_stops: u64::MAX,
    }
}

#[test]
fn limits_that_do_not_act_change_no_bit_and_those_that_do_not_the_order() {
    let alone = run(&mut worlds(1), &mut to_goal(1), ActMode::Explore, &seeds(23, 5));
    for n in [1, 7] {
        let mut reference = linear(n, vec![0.0; 10]);
        let region = TrustRegion { reference: &mut reference, radius: 9.0 };
        let same = guarded(n, &mut to_goal(n), off(), Some(region), 23);
        assert!(same.iter().all(|(_, c)| c.limit.is_none() && c.clipped_steps == 0 && c.path > 0.0));
        assert_eq!(same.into_iter().map(|(e, _)| e).collect::<Vec<_>>(), alone, "{n} worlds");
    }
    let limits = EpisodeLimitsConfig { max_path: 0.8, ..off() };
    assert_eq!(
        guarded(1, &mut to_goal(1), limits, None, 23),
        guarded(7, &mut to_goal(7), limits, None, 23),
        "costs do not depend on the number of worlds either"
    );
}

#[test]
fn an_episode_that_a_limit_ends_is_truncated_and_says_so() {
    let limits = EpisodeLimitsConfig { max_path: 0.8, ..off() };
    let done = guarded(3, &mut to_goal(3), limits, None, 12);
    let ended: Vec<_> = done.iter().filter(|(_, c)| c.limit.is_some()).collect();
    assert!(ended.len() > 3);
    for (episode, cost) in ended {
        assert_eq!(cost.limit.unwrap().limit, EpisodeLimit::Path);
        assert_eq!(episode.end.last(), Some(&StepEnd::Truncated));
        assert!(episode.len() < 40 && episode.attributes["limit"] == "path");
        assert!(cost.path > 0.8 && cost.path <= 0.8 + STEP_PATH + 1e-12);
    }
    for (episode, cost) in done.iter().filter(|(_, c)| c.limit.is_none()) {
        assert!(cost.path <= 0.8 + STEP_PATH && !episode.attributes.contains_key("limit"));
    }
}

/// Says NaN in every `every`th step.
struct Stutter {
    steps: u64,
    every: u64,
}

impl Policy for Stutter {
    fn slots(&self) -> usize {
        1
    }
    fn reset(&mut self, _slot: usize, _scope: ResetScope, _seed: u64) {
        self.steps = 0;
    }
    fn act(&mut self, _o: Rows<'_>, _mode: ActMode, mut actions: RowsMut<'_>) -> Result<(), PolicyError> {
        self.steps += 1;
        let broken = self.steps.is_multiple_of(self.every);
        actions.data().fill(if broken { f32::NAN } else { 0.0 });
        Ok(())
    }
}

#[test]
fn stops_and_long_filter_work_end_an_episode() {
    let ends = |every: u64, limits: EpisodeLimitsConfig| {
        let (episode, cost) = guarded(1, &mut Stutter { steps: 0, every }, limits, None, 1).remove(0);
        (cost.limit.map(|r| r.limit), episode.len())
    };
    let one_stop = EpisodeLimitsConfig { max_stops: 1, ..off() };
    assert_eq!(ends(7, one_stop), (Some(EpisodeLimit::Stops), 14), "one stop is allowed");
    assert_eq!(ends(1, one_stop), (None, 40), "refused commands in a row are one stop");
    let run = EpisodeLimitsConfig { max_filter_run_ticks: 5, ..off() };
    assert_eq!(ends(1, run), (Some(EpisodeLimit::FilterRun), 6));
    assert_eq!(ends(2, run), (None, 40));
    let share = EpisodeLimitsConfig { max_filter_active_share: 0.3, filter_share_min_ticks: 11, ..off() };
    assert_eq!(ends(3, share), (Some(EpisodeLimit::FilterShare), 12));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// Whatever a policy does, an episode ends within one step beyond its limits.
    #[test]
    fn no_policy_gets_beyond_a_limit_by_more_than_a_step(
        weights in prop::collection::vec(-3.0_f32..3.0, 10),
        max_path in 0.05_f64..2.0,
        share in 0.05_f64..0.9,
        min_ticks in 1_u64..20,
    ) {
        let limits = EpisodeLimitsConfig {
            max_path,
            max_filter_active_share: share,
            filter_share_min_ticks: min_ticks,
            ..off()
        };
        for (episode, cost) in guarded(2, &mut linear(2, weights), limits, None, 4) {
            prop_assert!(cost.path <= max_path + STEP_PATH + 1e-9);
            let (ticks, active) = (episode.safety.ticks, episode.safety.adjusted + episode.safety.stops);
            let allowed = (share * (ticks - 1) as f64).max((min_ticks - 1) as f64) + 1.0;
            prop_assert!(active as f64 <= allowed + 1e-9);
            if cost.limit.is_some() {
                prop_assert_eq!(episode.end.last(), Some(&StepEnd::Truncated));
            }
        }
    }
}

#[test]
fn the_trust_region_moves_actions_and_keeps_what_was_proposed() {
    let mut reference = linear(2, vec![0.0; 10]);
    let region = TrustRegion { reference: &mut reference, radius: 0.2 };
    for (episode, cost) in guarded(2, &mut to_goal(2), off(), Some(region), 6) {
        assert!(cost.clipped_steps > 0);
        let rms = |a: &[f32]| ((a[0] * a[0] + a[1] * a[1]) / 2.0).sqrt();
        assert!(episode.action.chunks(2).all(|a| rms(a) <= 0.2 + 1e-5), "what is executed is inside");
        let outside = episode.proposed.chunks(2).filter(|a| rms(a) > 0.2).count();
        assert_eq!(outside as u64, cost.clipped_steps);
    }
}

fn online(setup: &mut Setup) -> &mut OnlineConfig {
    let online = setup.phases.iter_mut().find_map(|p| match p {
        PhaseConfig::Online(online) => Some(online),
        PhaseConfig::Offline(_) => None,
    });
    online.unwrap()
}

#[test]
fn limits_that_acted_stand_in_results_log_and_metrics() {
    let dir = scratch();
    let path = dir.path().join("run");
    let mut setup = Setup::small();
    online(&mut setup).limits.max_path = 1.0;
    online(&mut setup).trust_region =
        TrustRegionConfig { start_radius: 0.4, end_radius: 0.4, anneal_env_steps: 0 };
    let mut recorder = Recorder::default();
    let mut trainer = setup.start(&path, &Tripwire::default()).unwrap();
    trainer.run(&Interrupt::new(), &mut recorder).unwrap();
    let counts = trainer.results().stages[2].limits.clone();
    assert!(counts.episodes_ended[&EpisodeLimit::Path] > 5 && counts.clipped_steps > 100, "{counts:?}");
    let mut seen = surefoot_engine::LimitCounts::default();
    for event in &recorder.events {
        if let Event::LimitsActed { counts, .. } = event {
            seen.add(counts);
        }
    }
    assert_eq!(seen, counts);
    let read = |file: &str| std::fs::read_to_string(path.join(file)).unwrap();
    assert!(read("log.jsonl").contains("\"event\":\"limits_acted\""));
    assert!(read("metrics.jsonl").contains("\"limits/path\":"));
    assert!(read("results.json").contains("\"episodes_ended\": {\n          \"path\":"));
    let report = std::fs::read_to_string(surefoot_engine::report::write_report(&path).unwrap()).unwrap();
    assert!(report.contains("ended by path") && report.contains("moved into the trust region"));
}

#[test]
fn a_session_that_fails_too_often_stops_and_goes_on_when_resumed() {
    let dir = scratch();
    let path = dir.path().join("run");
    let mut setup = Setup::small();
    // Nobody reaches a goal with a way this short.
    online(&mut setup).limits.max_path = 0.05;
    online(&mut setup).env_steps = 230;
    online(&mut setup).session = SessionLimitsConfig { max_consecutive_failures: 30, ..Default::default() };
    let mut recorder = Recorder::default();
    let mut trainer = setup.start(&path, &Tripwire::default()).unwrap();
    let TrainEnd::SafetyStop(reached) = trainer.run(&Interrupt::new(), &mut recorder).unwrap() else {
        panic!()
    };
    assert_eq!((reached.limit, reached.found), (SessionLimit::ConsecutiveFailures, 30.0));
    let env_steps = trainer.counters().env_steps;
    assert!(trainer.counters().episodes >= 30 && !trainer.results().finished);
    drop(trainer);
    let stopped = |e: &Event| matches!(e, Event::SafetyStop { .. });
    assert_eq!(recorder.events.iter().filter(|e| stopped(e)).count(), 1);
    assert!(std::fs::read_to_string(path.join("log.jsonl")).unwrap().contains("\"event\":\"safety_stop\""));
    let mut stops = 1;
    loop {
        let mut trainer = setup.resume(&path, &Tripwire::default(), None).unwrap();
        assert!(stops > 1 || trainer.counters().env_steps == env_steps, "nothing was lost");
        match trainer.run(&Interrupt::new(), &mut ()).unwrap() {
            TrainEnd::SafetyStop(_) => stops += 1,
            end => {
                assert_eq!(end, TrainEnd::Finished);
                assert_eq!(trainer.results().stages[2].limits.session_stops, stops);
                break;
            }
        }
    }
    assert!(stops >= 2, "{stops}");
}
