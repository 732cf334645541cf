//! A phase whose episodes come from actors: a function of what they sent, in which order, and of nothing else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use surefoot_core::{ActMode, ActorStatus, Episode, Fleet, FleetError, PolicyOffer};
use surefoot_engine::fleet::{ActingTerms, label};
use surefoot_engine::{
    EngineError, EpisodeCost, EpisodeLimits, FleetConfig, Guard, Interrupt, PhaseConfig, Schedule, TrainEnd,
    Watch, guarded_rollout,
};

use crate::point_robot::{Demonstrator, Tripwire, seeds, worlds};
use crate::resume::outcome;
use crate::runs::{Setup, scratch};

/// What actors have sent, and what they were told.
#[derive(Clone, Default)]
pub struct Depot {
    episodes: Arc<Vec<Episode>>,
    offers: Arc<Mutex<Vec<(u64, ActingTerms)>>>,
    taken: Arc<Mutex<Vec<u64>>>,
    finished: Arc<Mutex<bool>>,
}

impl Fleet for Depot {
    fn stored(&self) -> u64 {
        self.episodes.len() as u64
    }
    fn wait_beyond(&mut self, count: u64, _at_most: Duration) -> Result<bool, FleetError> {
        if self.stored() > count {
            return Ok(true);
        }
        Err(FleetError::Ended { reason: "nobody acts any more".into() })
    }
    fn episode(&mut self, index: u64) -> Result<Episode, FleetError> {
        Ok(self.episodes[index as usize].clone())
    }
    fn taken(&mut self, count: u64) {
        self.taken.lock().unwrap().push(count);
    }
    fn offer(&mut self, offer: PolicyOffer) -> Result<(), FleetError> {
        assert_eq!(offer.policy.card.updates, offer.version);
        let terms = serde_json::from_value(offer.terms).unwrap();
        self.offers.lock().unwrap().push((offer.version, terms));
        Ok(())
    }
    fn actors(&self) -> Vec<ActorStatus> {
        vec![ActorStatus { name: "arm".into(), connected: true, ..ActorStatus::default() }]
    }
    fn finish(&mut self) {
        *self.finished.lock().unwrap() = true;
    }
}

/// Episodes of a demonstrator, said to be of the policy that acts before the first update.
fn depot(n: u64) -> Depot {
    let mut policy = Demonstrator::new(4);
    let limits = EpisodeLimits::new(surefoot_engine::EpisodeLimitsConfig::default());
    let mut guard = Guard { limits, trust_region: None };
    let interrupt = Interrupt::new();
    let mut watch = Watch { interrupt: &interrupt, progress: &mut |_| {} };
    let driven = guarded_rollout(
        &mut worlds(4),
        &mut policy,
        ActMode::Explore,
        &seeds(n, 5),
        "online",
        &mut guard,
        &mut watch,
    );
    let labelled = driven.unwrap().into_iter().map(|(mut episode, cost)| {
        label(&mut episode, &cost, 60);
        episode
    });
    Depot { episodes: Arc::new(labelled.collect()), ..Depot::default() }
}

fn setup(depot: &Depot) -> Setup {
    let mut setup = Setup::small();
    for phase in &mut setup.phases {
        match phase {
            PhaseConfig::Offline(offline) => offline.early_stop = None,
            PhaseConfig::Online(online) => {
                online.schedule =
                    Schedule::Fleet(FleetConfig { episodes_ahead: 8, checkpoint_every_episodes: 8 });
            }
        }
    }
    setup.depot = Some(depot.clone());
    setup
}

#[test]
fn rounds_are_taken_in_order_and_every_policy_is_offered_with_its_terms() {
    let dir = scratch();
    let depot = depot(60);
    let run = dir.path().join("run");
    let mut trainer = setup(&depot).start(&run, &Tripwire::default()).unwrap();
    assert_eq!(trainer.run(&Interrupt::new(), &mut ()).unwrap(), TrainEnd::Finished);
    let online = trainer.results().stages.last().unwrap();
    let taken = depot.taken.lock().unwrap().clone();
    assert_eq!(taken, (0..taken.len() as u64).map(|i| 4 * i).collect::<Vec<_>>());
    assert_eq!(online.episodes, *taken.last().unwrap());
    let steps: usize = depot.episodes[..online.episodes as usize].iter().map(Episode::len).sum();
    assert_eq!((online.env_steps, trainer.replay().written()), (steps as u64, steps as u64));
    let offers = depot.offers.lock().unwrap().clone();
    assert_eq!(offers[0].0, 60, "what the offline phase left acts first");
    assert!(offers.len() > 2 && offers.windows(2).all(|w| w[0].0 < w[1].0), "{:?}", offers.len());
    assert!(offers.iter().all(|(_, terms)| terms.stage == "online" && terms.radius == Some(1.8)));
    assert!(*depot.finished.lock().unwrap(), "actors are told that it is over");
}

#[test]
fn a_run_with_actors_that_was_interrupted_anywhere_ends_like_one_that_was_not() {
    let dir = scratch();
    let whole = dir.path().join("whole");
    let tripwire = Tripwire::default();
    setup(&depot(60)).start(&whole, &tripwire).unwrap().run(&tripwire.interrupt, &mut ()).unwrap();
    let expected = outcome(&whole);
    let total = tripwire.count.load(std::sync::atomic::Ordering::Relaxed);
    for i in 1..6 {
        let run = dir.path().join(format!("cut{i}"));
        let setup = setup(&depot(60));
        let tripwire = Tripwire::at(i * total / 6);
        let end = setup.start(&run, &tripwire).unwrap().run(&tripwire.interrupt, &mut ()).unwrap();
        assert_eq!(end, TrainEnd::Interrupted);
        setup.resume(&run, &Tripwire::default(), None).unwrap().run(&Interrupt::new(), &mut ()).unwrap();
        assert_eq!(outcome(&run), expected, "cut at {i} sixths");
    }
}

#[test]
fn a_run_whose_actors_sent_too_little_says_so_and_goes_on_when_there_is_more() {
    let dir = scratch();
    let run = dir.path().join("run");
    let error = setup(&depot(12)).start(&run, &Tripwire::default()).unwrap().run(&Interrupt::new(), &mut ());
    let error = error.unwrap_err();
    assert!(matches!(&error, EngineError::Fleet(FleetError::Ended { .. })), "{error}");
    let more = depot(60);
    let mut trainer = setup(&more).resume(&run, &Tripwire::default(), None).unwrap();
    assert_eq!(trainer.run(&Interrupt::new(), &mut ()).unwrap(), TrainEnd::Finished);
    let whole = dir.path().join("whole");
    setup(&depot(60)).start(&whole, &Tripwire::default()).unwrap().run(&Interrupt::new(), &mut ()).unwrap();
    assert_eq!(outcome(&run), outcome(&whole));
}

#[test]
fn an_episode_without_readable_notes_is_learned_from_and_says_nothing_of_any_policy() {
    let dir = scratch();
    let mut depot = depot(60);
    for (i, episode) in Arc::make_mut(&mut depot.episodes).iter_mut().enumerate() {
        match i % 3 {
            0 => drop(episode.attributes.remove("cost")),
            1 => drop(episode.attributes.insert("cost".into(), "{\"path\": null}".into())),
            _ => label(episode, &EpisodeCost { path: f64::NAN, ..EpisodeCost::default() }, 60),
        }
    }
    let run = dir.path().join("run");
    let mut trainer = setup(&depot).start(&run, &Tripwire::default()).unwrap();
    assert_eq!(trainer.run(&Interrupt::new(), &mut ()).unwrap(), TrainEnd::Finished);
    assert!(trainer.replay().written() > 700);
    assert_eq!(trainer.results().stages.last().unwrap().limits.rollbacks, 0);
}

#[test]
fn a_phase_for_actors_needs_somebody_who_listens_and_a_whole_round_ahead() {
    let dir = scratch();
    let mut alone = setup(&depot(0));
    alone.depot = None;
    let error = alone.start(&dir.path().join("run"), &Tripwire::default()).unwrap();
    let error = { error }.run(&Interrupt::new(), &mut ()).unwrap_err().to_string();
    assert!(error.contains("schedule.fleet") && error.contains("surefoot learn"), "{error}");
    let mut few = setup(&depot(0));
    let PhaseConfig::Online(online) = &mut few.phases[1] else { panic!() };
    online.schedule = Schedule::Fleet(FleetConfig { episodes_ahead: 3, ..FleetConfig::default() });
    let error = few.start(&dir.path().join("few"), &Tripwire::default()).err().unwrap().to_string();
    assert!(error.contains("episodes_ahead: expected at least episodes_per_round (4), found 3"), "{error}");
}
