//! From the files of a checkpoint back to a run.

use surefoot_core::{Blobs, Learner, ReplayBuffer};

use crate::EngineError;
use crate::checkpoint::Checkpoints;
use crate::demonstrations::Part;
use crate::online::PolicyLine;
use crate::run_dir::RunDir;
use crate::sampling::Sampler;
use crate::state::{Identity, LearnerId, TrainState};

/// What stands in a checkpoint besides the learner and the replay buffers.
pub(crate) struct Restored {
    pub state: TrainState,
    /// Of the stage that was entered.
    pub sampler: Option<Sampler>,
    pub best: Option<Blobs>,
    pub line: Option<PolicyLine>,
}

/// Which checkpoint is being read.
#[derive(Clone, Copy)]
pub(crate) struct Damaged<'a> {
    pub run: &'a RunDir,
    pub checkpoint: &'a str,
}

impl Damaged<'_> {
    fn file(self, file: &str, expected: &str, found: String) -> EngineError {
        EngineError::RunDamaged {
            path: Checkpoints::of(self.run.path()).path(self.checkpoint).join(file),
            what: "content".into(),
            expected: expected.into(),
            found,
        }
    }
}

/// Takes a checkpoint's files apart: state, learner, best state, line of policies, replay buffer.
pub(crate) fn restore(
    damaged: Damaged<'_>,
    mut files: Blobs,
    identity: &Identity,
    main: &mut Box<dyn Learner>,
    baselines: &mut [Box<dyn Learner>],
    (replay, train): (&mut ReplayBuffer, &mut Part),
) -> Result<Restored, EngineError> {
    let mut take = |file: &str| {
        files.remove(file).ok_or_else(|| damaged.file(file, "a file of every checkpoint", "none".into()))
    };
    let state: TrainState = serde_json::from_slice(&take("state/state.json")?)
        .map_err(|e| damaged.file("state/state.json", "the state of a run", e.to_string()))?;
    agree(&state, identity)?;
    let numbers = |bytes: Vec<u8>| -> Vec<f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    let rows = numbers(take("state/replay.f32le")?);
    // Only runs in which a person took over have this one.
    if let Ok(rows) = take("state/interventions.f32le").map(numbers) {
        let written = (rows.len() / train.added.width()) as u64;
        if !train.added.restore(rows, written) {
            let found = "others".into();
            return Err(damaged.file("state/interventions.f32le", "rows of this run's transitions", found));
        }
    }
    if !replay.restore(rows, state.replay_written) {
        return Err(damaged.file("state/replay.f32le", "rows of this replay buffer", "others".into()));
    }
    let sampler = match state.plan().filter(|_| state.progress.entered) {
        None => None,
        Some(plan) => {
            Some(Sampler::restored(plan.phase.drawing().0, (train, replay), &mut files).map_err(|file| {
                damaged.file(file, "priorities of this run's rows", "none or others".into())
            })?)
        }
    };
    let line = match &state.online {
        None => None,
        Some(_) => Some(
            PolicyLine::from_files(&mut files)
                .map_err(|(file, found)| damaged.file(&file, "a policy of an online phase", found))?,
        ),
    };
    let mut learner = Blobs::new();
    let mut best = Blobs::new();
    for (file, bytes) in files {
        if let Some(name) = file.strip_prefix("learner/") {
            learner.insert(name.to_owned(), bytes);
        } else if let Some(name) = file.strip_prefix("best/") {
            best.insert(name.to_owned(), bytes);
        }
    }
    // At the end of a stage the saved learner may be a finished baseline; the next one then starts afresh.
    let present = state.plan().map_or(LearnerId::Main, |p| p.learner);
    if present == state.saved_learner {
        let target: &mut dyn Learner = match present {
            LearnerId::Main => &mut **main,
            LearnerId::Baseline(i) => &mut *baselines[i],
        };
        let stage = state.plan().map_or("finished", |p| &p.name).to_owned();
        target.load(&learner).map_err(|source| EngineError::Learn { stage, source })?;
    }
    Ok(Restored { state, sampler, best: (!best.is_empty()).then_some(best), line })
}

fn agree(state: &TrainState, identity: &Identity) -> Result<(), EngineError> {
    let differ = |what: &str, expected: String, found: String| {
        if expected == found {
            Ok(())
        } else {
            Err(EngineError::Resume { what: what.into(), expected, found })
        }
    };
    let Identity {
        seed,
        env,
        stages,
        evaluation,
        holdout_fraction,
        log_every_updates,
        data_hashes,
        data_weights,
        has_env,
    } = &state.identity;
    differ("state format", state.format.clone(), TrainState::FORMAT.to_owned())?;
    differ("seed", seed.to_string(), identity.seed.to_string())?;
    differ("environment", env.clone(), identity.env.clone())?;
    differ("has environment", has_env.to_string(), identity.has_env.to_string())?;
    differ("demonstrations", data_hashes.join(", "), identity.data_hashes.join(", "))?;
    differ("weights of the datasets", format!("{data_weights:?}"), format!("{:?}", identity.data_weights))?;
    differ("training.holdout_fraction", holdout_fraction.to_string(), identity.holdout_fraction.to_string())?;
    differ(
        "training.log_every_updates",
        log_every_updates.to_string(),
        identity.log_every_updates.to_string(),
    )?;
    differ("evaluation", format!("{evaluation:?}"), format!("{:?}", identity.evaluation))?;
    differ("number of stages", stages.len().to_string(), identity.stages.len().to_string())?;
    for (ours, theirs) in stages.iter().zip(&identity.stages) {
        differ(&format!("stage {}", ours.name), format!("{ours:?}"), format!("{theirs:?}"))?;
    }
    Ok(())
}
