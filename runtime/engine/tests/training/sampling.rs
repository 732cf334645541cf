//! Every way of drawing batches: its effect, bit for bit after interrupts, and what it refuses.

use std::path::Path;

use surefoot_core::{Beside, Returns, SamplePlan};
use surefoot_engine::{
    BestEpisodesConfig, EngineError, Interrupt, PhaseConfig, PrioritizedConfig, ReturnWeightConfig,
    SamplingConfig, TrainEnd,
};

use crate::point_robot::Tripwire;
use crate::resume::outcome;
use crate::runs::{Setup, scratch};

const PRIORITIZED: SamplingConfig = SamplingConfig::Prioritized(PrioritizedConfig { alpha: 0.6, beta: 0.4 });
const BY_RETURN: SamplingConfig = SamplingConfig::WeightedByReturn(ReturnWeightConfig { temperature: 0.3 });
const BEST: SamplingConfig = SamplingConfig::BestEpisodes(BestEpisodesConfig { fraction: 0.3 });

fn setup(sampling: SamplingConfig, plan: SamplePlan) -> Setup {
    let mut setup = Setup { plan: Some(plan), ..Setup::small() };
    for phase in &mut setup.phases {
        match phase {
            PhaseConfig::Offline(c) => c.sampling = sampling,
            PhaseConfig::Online(c) => c.sampling = sampling,
        }
    }
    setup
}

fn steps(n: usize) -> SamplePlan {
    SamplePlan::Transitions {
        batch: 32,
        returns: Returns::NStep { n, discount: 0.9 },
        beside: Beside::default(),
    }
}

fn finish(setup: &Setup, run: &Path, tripwire: &Tripwire) -> TrainEnd {
    setup.start(run, tripwire).unwrap().run(&tripwire.interrupt, &mut ()).unwrap()
}

#[test]
fn every_way_of_drawing_ends_the_same_after_interrupts() {
    let dir = scratch();
    let sequences = SamplePlan::Sequences { batch: 8, length: 5 };
    let mut ends = Vec::new();
    for (k, (sampling, plan)) in [
        (SamplingConfig::Uniform, steps(1)),
        (PRIORITIZED, steps(1)),
        (BY_RETURN, steps(3)),
        (PRIORITIZED, sequences),
        (BEST, steps(1)),
    ]
    .into_iter()
    .enumerate()
    {
        let setup = setup(sampling, plan);
        let whole = dir.path().join(format!("whole{k}"));
        let tripwire = Tripwire::default();
        assert_eq!(finish(&setup, &whole, &tripwire), TrainEnd::Finished);
        let expected = outcome(&whole);
        let total = tripwire.count.load(std::sync::atomic::Ordering::Relaxed);
        // In the baseline's stage, offline, and twice online, where the ring was overwritten in part.
        for at in [total / 20, total / 6, total / 2, total - total / 20] {
            let run = dir.path().join(format!("cut{k}-{at}"));
            assert_eq!(finish(&setup, &run, &Tripwire::at(at)), TrainEnd::Interrupted);
            let none = Tripwire::default();
            let end = setup.resume(&run, &none, None).unwrap().run(&none.interrupt, &mut ()).unwrap();
            assert_eq!(end, TrainEnd::Finished);
            for (file, bytes) in outcome(&run) {
                assert!(
                    bytes == expected[file],
                    "{sampling:?} {plan:?}: {file} differs after {at} of {total}"
                );
            }
        }
        ends.push(expected["checkpoints/last/policy/policy.safetensors"].clone());
    }
    ends.sort();
    ends.dedup();
    assert_eq!(ends.len(), 5, "each way leads to other weights");
}

#[test]
fn the_number_of_worlds_changes_nothing_with_priorities() {
    let dir = scratch();
    let ends = [1, 8].map(|worlds| {
        let mut setup = setup(PRIORITIZED, steps(3));
        setup.training.worlds = worlds;
        let run = dir.path().join(worlds.to_string());
        finish(&setup, &run, &Tripwire::default());
        outcome(&run)
    });
    assert!(ends[0] == ends[1]);
}

fn refused(setup: &Setup) -> String {
    let dir = scratch();
    let run = dir.path().join("run");
    let error: EngineError = setup.start(&run, &Tripwire::default()).err().unwrap();
    assert!(!run.exists(), "a run that cannot begin leaves nothing behind");
    error.to_string()
}

#[test]
fn what_the_data_does_not_suffice_for_is_refused() {
    let rows: usize = Setup::small().demonstrations.iter().map(surefoot_core::Episode::len).sum();
    let batch =
        SamplePlan::Transitions { batch: rows + 1, returns: Returns::OneStep, beside: Beside::default() };
    let text = refused(&setup(SamplingConfig::Uniform, batch));
    assert!(text.starts_with("stage offline: batch of weighted: expected a batch with at most"), "{text}");
    assert!(
        text.contains("training.holdout_fraction") && text.ends_with(&format!("found {} rows", rows + 1)),
        "{text}"
    );
    let text = refused(&setup(SamplingConfig::Uniform, SamplePlan::Sequences { batch: 4, length: 41 }));
    assert!(text.starts_with("stage offline: sequence of weighted: expected at most"), "{text}");
    assert!(text.ends_with("found 41 steps"), "{text}");
    // Nothing in the recordings says that the task ended.
    let monte_carlo = SamplePlan::Transitions {
        batch: 32,
        returns: Returns::MonteCarlo { discount: 0.9 },
        beside: Beside::default(),
    };
    let mut endless = setup(SamplingConfig::Uniform, monte_carlo);
    for e in &mut endless.demonstrations {
        e.end.iter_mut().for_each(|end| *end = surefoot_core::StepEnd::Running);
    }
    let text = refused(&endless);
    assert!(
        text.starts_with("stage offline: returns: expected learner.weighted with one_step or n_step"),
        "{text}"
    );
    // The baseline has no TD errors.
    let with = |sampling| {
        let setup = Setup::small();
        setup.with_trainer(&Tripwire::default(), |mut parts| {
            parts.baselines[0].offline.sampling = sampling;
            surefoot_engine::check_plan(
                &parts.phases,
                &*parts.learner,
                &parts.baselines,
                &parts.evaluation,
                &parts.training,
                true,
            )
        })
    };
    assert!(with(BY_RETURN).is_ok());
    let text = with(PRIORITIZED).unwrap_err().to_string();
    assert!(
        text.starts_with("baseline.bc.sampling: expected uniform, weighted_by_return or best_episodes"),
        "{text}"
    );
}

#[test]
fn priorities_of_a_damaged_checkpoint_are_refused_and_weights_must_agree() {
    let dir = scratch();
    let setup = setup(PRIORITIZED, steps(1));
    let run = dir.path().join("run");
    // Behind the baseline, its evaluation and its film, whatever these take.
    let tripwire = Tripwire::at(330);
    assert_eq!(finish(&setup, &run, &tripwire), TrainEnd::Interrupted);
    let file = run.join("checkpoints/last/state/priorities/demonstrations.f64le");
    assert!(file.is_file());
    let resume = |weight: f64| {
        let run = surefoot_engine::RunDir::open(&run).unwrap();
        setup.with_trainer(&Tripwire::default(), |mut parts| {
            let sets = std::mem::take(&mut parts.demonstrations);
            parts.demonstrations = sets.into_iter().map(|s| s.with_weight(weight)).collect();
            surefoot_engine::Trainer::resume(parts, run, None)
        })
    };
    let text = resume(2.0).err().unwrap().to_string();
    assert!(text.starts_with("data[0].weight: expected 1, as prioritized sampling"), "{text}");
    assert!(resume(1.0).unwrap().run(&Interrupt::new(), &mut ()).is_ok());
}
