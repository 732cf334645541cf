//! Episodes do not depend on how many worlds or threads run them.

use surefoot_core::{ActMode, Policy, PolicyError, ResetScope, Rows, RowsMut, StepEnd, Stream};
use surefoot_engine::{EngineError, Interrupt, Watch, film, rollout};

use crate::linear::LinearPolicy;
use crate::point_robot::{Demonstrator, run, seeds, worlds};

fn policy(slots: usize) -> LinearPolicy {
    let weights = vec![-0.9, 0.05, 0.9, 0.0, 0.02, 0.0, -0.8, 0.1, 0.8, 0.05];
    LinearPolicy { weights, streams: (0..slots).map(|i| Stream::new(9, "unused", i as u64)).collect() }
}

#[test]
fn episodes_do_not_depend_on_worlds_or_threads() {
    let seeds = seeds(23, 5);
    let alone = run(&mut worlds(1), &mut policy(1), ActMode::Explore, &seeds);
    assert_eq!(alone.len(), 23);
    let lengths: Vec<usize> = alone.iter().map(surefoot_core::Episode::len).collect();
    assert!(lengths.iter().any(|l| *l != lengths[0]), "slots must free themselves at different times");
    for threads in [1, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for n in [2, 7, 30] {
            let many = pool.install(|| run(&mut worlds(n), &mut policy(n), ActMode::Explore, &seeds));
            assert_eq!(many, alone, "{n} worlds on {threads} threads");
        }
    }
    let few_slots = run(&mut worlds(7), &mut policy(3), ActMode::Explore, &seeds);
    assert_eq!(few_slots, alone, "a policy for fewer robots than there are worlds");
}

#[test]
fn an_episode_is_recorded_whole() {
    let episodes = run(&mut worlds(3), &mut Demonstrator::new(3), ActMode::Explore, &seeds(12, 2));
    for (e, s) in episodes.iter().zip(seeds(12, 2)) {
        assert_eq!(e.seed, Some(s.reset));
        assert_eq!(e.observation[4..], e.next_observation[..e.next_observation.len() - 4]);
        let (last, before) = e.end.split_last().unwrap();
        assert!(before.iter().all(|s| *s == StepEnd::Running));
        assert_eq!(*last == StepEnd::Terminated, e.success == Some(true));
        assert_eq!(e.proposed.len(), e.action.len());
        assert_eq!(e.safety.ticks, e.len() as u64);
        assert_eq!(e.safety.violations, 0);
    }
    assert!(episodes.iter().any(|e| e.safety.adjusted > 0 && e.proposed != e.action));
}

struct Broken;

impl Policy for Broken {
    fn slots(&self) -> usize {
        2
    }
    fn reset(&mut self, _slot: usize, _scope: ResetScope, _seed: u64) {}
    fn act(&mut self, _o: Rows<'_>, _mode: ActMode, mut actions: RowsMut<'_>) -> Result<(), PolicyError> {
        actions.data().fill(f32::NAN);
        Ok(())
    }
}

#[test]
fn a_policy_that_says_nan_makes_the_robot_brake() {
    for e in run(&mut worlds(2), &mut Broken, ActMode::Exploit, &seeds(3, 2)) {
        assert_eq!((e.safety.stops, e.safety.violations), (e.len() as u64, 0));
        assert!(e.action.iter().all(|a| *a == 0.0), "it stands still");
        assert!(e.proposed.iter().all(|a| a.is_nan()), "what was asked for is on record");
    }
}

#[test]
fn an_interrupt_ends_a_rollout_between_two_steps() {
    let interrupt = Interrupt::new();
    let stop = interrupt.clone();
    let mut calls = 0;
    let mut progress = |p: surefoot_engine::RolloutProgress| {
        calls += 1;
        if p.env_steps >= 10 {
            stop.request();
        }
    };
    let mut watch = Watch { interrupt: &interrupt, progress: &mut progress };
    let e = rollout(&mut worlds(2), &mut policy(2), ActMode::Exploit, &seeds(9, 2), "test", &mut watch);
    assert!(matches!(e, Err(EngineError::Interrupted)));
    assert_eq!(calls, 5);
}

#[test]
fn a_film_shows_the_episode_that_a_rollout_runs() {
    let seed = seeds(1, 3)[0];
    let episode = run(&mut worlds(1), &mut policy(1), ActMode::Exploit, &[seed]).remove(0);
    let filmed = film(&mut worlds(1), &mut policy(1), seed, 3, (32, 24), &Interrupt::new()).unwrap();
    assert_eq!((filmed.steps, filmed.success), (episode.len(), episode.success.unwrap()));
    assert_eq!(filmed.episode_return, episode.episode_return());
    assert_eq!(filmed.frames.len(), 1 + episode.len().div_ceil(3));
    assert!((filmed.frame_secs - 0.3).abs() < 1e-12);
}
