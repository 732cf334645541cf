//! A run: baselines, then phases, as one state machine that can stop between any two steps and go on bit for bit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::clock::Stopwatch;
use surefoot_core::{Batch, Blobs, EnvError, EnvSpec, Learner, ReplayBuffer, SuccessHistory, VecEnv};

use crate::checkpoint::{Checkpoints, policy_files};
use crate::demonstrations::{DemonstrationSet, Demonstrations};
use crate::evaluation::EvalConfig;
use crate::events::{Event, Observer};
use crate::fleet::{FleetLine, MakeFleet};
use crate::limits::SessionLimitReached;
use crate::metrics::{EventFile, MetricsLog};
use crate::online::PolicyLine;
use crate::online_async::{LiveLine, MakeLive};
use crate::phases::{OfflineConfig, PhaseConfig, Schedule};
use crate::plan::{check_plan, early_stopping, plan};
use crate::promotion::LoadPolicy;
use crate::results::Results;
use crate::resume::{Damaged, Restored, restore};
use crate::run_dir::RunDir;
use crate::sampling::{Sampler, check_stage};
use crate::state::{Counters, Identity, LearnerId, Means, Next, StageProgress, TrainState};
use crate::{EngineError, Interrupt};

/// Losses of the worlds' process without a finished step in between after which a run gives up.
const MAX_LOST_IN_A_ROW: usize = 3;

/// How a run is carried out: nothing here changes what is learned, except `holdout_fraction`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Part of the demonstrations, in whole episodes, that is never learned from.
    pub holdout_fraction: f64,
    /// Worlds that run side by side. Results do not depend on it.
    pub worlds: usize,
    /// Updates whose metrics are averaged into one line of `metrics.jsonl`.
    pub log_every_updates: u64,
    /// Updates between two checkpoints; 0: only at the end of a stage and when interrupted.
    pub checkpoint_every_updates: u64,
    /// Newest checkpoints kept, besides those at the end of a stage.
    pub keep_checkpoints: usize,
    /// Evaluation episodes filmed at the end of every stage.
    pub films: usize,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            holdout_fraction: 0.1,
            worlds: 8,
            log_every_updates: 100,
            checkpoint_every_updates: 5_000,
            keep_checkpoints: 2,
            films: 3,
        }
    }
}

/// Another learner on the same demonstrations, to compare with.
pub struct Baseline {
    /// Name of its stage: `bc`.
    pub name: String,
    /// Freshly built, also when resuming.
    pub learner: Box<dyn Learner>,
    /// How it is trained.
    pub offline: OfflineConfig,
}

/// Everything a run is made of. Resuming takes the same parts again, freshly built from the run's own `config.toml`.
pub struct TrainerParts<'a> {
    /// Run name.
    pub name: String,
    /// Run seed: all training randomness comes from it.
    pub seed: u64,
    /// What observations and actions mean.
    pub spec: EnvSpec,
    /// Freshly built, also when resuming.
    pub learner: Box<dyn Learner>,
    /// Trained and evaluated first, in order.
    pub baselines: Vec<Baseline>,
    /// Makes a policy from its files: what acts online is made from the files that are kept of it.
    pub load_policy: LoadPolicy,
    /// Makes so many worlds; `None` where there are only recordings: held-out demonstrations then say all there is to say.
    pub make_worlds: Option<&'a dyn Fn(usize) -> Result<VecEnv, EnvError>>,
    /// Makes the robot of an online phase that acts and learns side by side.
    pub make_live: Option<MakeLive>,
    /// Begins listening for the actors of an online phase.
    pub make_fleet: Option<MakeFleet>,
    /// Demonstrations, in the order of their files.
    pub demonstrations: Vec<DemonstrationSet>,
    /// Hashes of the files they came from.
    pub data_hashes: Vec<String>,
    /// What is done, in order.
    pub phases: Vec<PhaseConfig>,
    /// How policies are judged.
    pub evaluation: EvalConfig,
    /// How the run is carried out.
    pub training: TrainingConfig,
}

/// How a call to [`Trainer::run`] ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TrainEnd {
    /// All stages have ended.
    Finished,
    /// Stopped on request; the checkpoint `last` goes on from here.
    Interrupted,
    /// A limit of the session was reached; a person looks, and the checkpoint `last` goes on from here in a new session.
    SafetyStop(SessionLimitReached),
}

/// A run in progress.
pub struct Trainer {
    pub(crate) spec: EnvSpec,
    pub(crate) main: Box<dyn Learner>,
    pub(crate) baselines: Vec<Box<dyn Learner>>,
    pub(crate) envs: Option<VecEnv>,
    pub(crate) film_env: Option<VecEnv>,
    pub(crate) demonstrations: Demonstrations,
    pub(crate) replay: ReplayBuffer,
    /// How the present stage draws its batches.
    pub(crate) sampler: Option<Sampler>,
    pub(crate) make_live: Option<MakeLive>,
    /// The robot that is being driven, in an online phase that acts and learns side by side.
    pub(crate) live: Option<LiveLine>,
    pub(crate) make_fleet: Option<MakeFleet>,
    /// The actors, from the beginning of a run with a phase that needs them.
    pub(crate) fleet: Option<FleetLine>,
    pub(crate) training: TrainingConfig,
    pub(crate) state: TrainState,
    /// State of the learner at its best look at the held-out demonstrations, in an offline phase.
    pub(crate) best: Option<Blobs>,
    /// What acts in the newest online phase that was entered.
    pub(crate) line: Option<PolicyLine>,
    pub(crate) load_policy: LoadPolicy,
    pub(crate) run: RunDir,
    pub(crate) metrics: MetricsLog,
    pub(crate) tensorboard: EventFile,
    pub(crate) batch: Batch,
    pub(crate) pace: Pace,
}

/// Wall-clock figures of the present stage in this process. They never reach the state.
pub(crate) struct Pace {
    pub since: Stopwatch,
    pub from_fraction: f64,
    pub learning_secs: f64,
    pub updates: u64,
    pub acting_secs: f64,
    pub env_steps: u64,
    pub shown: Option<Stopwatch>,
    pub return_mean: Option<f64>,
    pub success_rate: Option<f64>,
    pub filter_active_pct: Option<f64>,
}

impl Pace {
    pub fn new(from_fraction: f64) -> Self {
        Self {
            since: Stopwatch::start(),
            from_fraction,
            learning_secs: 0.0,
            updates: 0,
            acting_secs: 0.0,
            env_steps: 0,
            shown: None,
            return_mean: None,
            success_rate: None,
            filter_active_pct: None,
        }
    }
}

impl Trainer {
    /// Sets up a new run in a new run directory, which is removed again when that fails.
    ///
    /// # Errors
    /// When the configuration or the demonstrations cannot be used, a world cannot be built, or the directory not written.
    pub fn new(parts: TrainerParts<'_>, run: RunDir) -> Result<Self, EngineError> {
        let path = run.path().to_owned();
        Self::assemble(parts, run, None, None).inspect_err(|_| RunDir::discard_if_unused(&path))
    }

    /// Goes on from a checkpoint of a run; `last` when no name is given.
    ///
    /// # Errors
    /// As [`new`](Self::new), and when the checkpoint is missing, damaged, or of another configuration.
    pub fn resume(
        parts: TrainerParts<'_>,
        run: RunDir,
        checkpoint: Option<&str>,
    ) -> Result<Self, EngineError> {
        let (name, files) = Checkpoints::of(run.path()).read(checkpoint)?;
        Self::assemble(parts, run, Some(&name), Some(files))
    }

    fn assemble(
        parts: TrainerParts<'_>,
        run: RunDir,
        checkpoint: Option<&str>,
        saved: Option<Blobs>,
    ) -> Result<Self, EngineError> {
        let TrainerParts {
            name,
            seed,
            spec,
            learner,
            baselines,
            load_policy,
            make_worlds,
            make_live,
            make_fleet,
            demonstrations,
            data_hashes,
            phases,
            evaluation,
            training,
        } = parts;
        check_plan(&phases, &*learner, &baselines, &evaluation, &training, make_worlds.is_some())?;
        let mut demonstrations = Demonstrations::new(demonstrations, &spec, training.holdout_fraction, seed)?;
        if demonstrations.heldout.n == 0
            && let Some(key) = early_stopping(&phases, &baselines)
        {
            return Err(EngineError::Config {
                key,
                expected: "held-out demonstrations (two episodes and a positive training.holdout_fraction)"
                    .into(),
                found: "none".into(),
            });
        }
        let envs = make_worlds.map(|make| make(training.worlds)).transpose()?;
        if let Some(d) = envs.as_ref().and_then(|e| spec.first_difference(e.spec())) {
            return Err(EngineError::Config { key: d.what, expected: d.expected, found: d.found });
        }
        // What cannot be drawn, such as a world in another process, is not filmed.
        let drawable = envs.as_ref().is_some_and(|envs| envs.render(0, 1, 1).is_some());
        let film_env =
            make_worlds.filter(|_| drawable && training.films > 0).map(|make| make(1)).transpose()?;
        let identity = Identity {
            seed,
            env: spec.name.clone(),
            stages: plan(&phases, &baselines, &*learner),
            evaluation,
            holdout_fraction: training.holdout_fraction,
            log_every_updates: training.log_every_updates,
            data_hashes,
            data_weights: demonstrations.weights(),
            has_env: envs.is_some(),
        };
        for stage in &identity.stages {
            let trained: &dyn Learner = match stage.learner {
                LearnerId::Baseline(i) => &*baselines[i].learner,
                LearnerId::Main => &*learner,
            };
            let (sampling, ratio) = stage.phase.drawing();
            let wanted = (trained.sample_plan(stage.phase_kind()), ratio);
            check_stage(&stage.name, sampling, trained, wanted, &demonstrations)?;
        }
        let capacity = phases.iter().filter_map(|p| match p {
            PhaseConfig::Online(c) => Some(c.replay_capacity),
            PhaseConfig::Offline(_) => None,
        });
        let mut replay =
            ReplayBuffer::new(spec.observation_dim(), spec.action_dim(), capacity.max().unwrap_or(1));
        let mut main = learner;
        let mut baselines: Vec<Box<dyn Learner>> = baselines.into_iter().map(|b| b.learner).collect();
        let Restored { state, sampler, best, line } = match (checkpoint, saved) {
            (Some(checkpoint), Some(files)) => {
                let damaged = Damaged { run: &run, checkpoint };
                {
                    let buffers = (&mut replay, &mut demonstrations.train);
                    restore(damaged, files, &identity, &mut main, &mut baselines, buffers)?
                }
            }
            _ => Restored {
                state: fresh(name, identity, demonstrations.summary.clone()),
                sampler: None,
                best: None,
                line: None,
            },
        };
        let metrics = MetricsLog::open(&run.path().join("metrics.jsonl"), state.metrics_bytes)?;
        let resumed_at = checkpoint.map(|_| state.counters.updates);
        let tensorboard = EventFile::create(&run.path().join("tb"), resumed_at)?;
        let pace = Pace::new(state.fraction());
        run.write_json("results.json", &state.results)?;
        Ok(Self {
            spec,
            main,
            baselines,
            envs,
            film_env,
            demonstrations,
            replay,
            sampler,
            make_live,
            live: None,
            make_fleet,
            fleet: None,
            training,
            state,
            best,
            line,
            load_policy,
            run,
            metrics,
            tensorboard,
            batch: Batch::default(),
            pace,
        })
    }

    /// The run directory.
    #[must_use]
    pub const fn run_dir(&self) -> &RunDir {
        &self.run
    }
    /// What was found so far.
    #[must_use]
    pub const fn results(&self) -> &Results {
        &self.state.results
    }
    /// The run's counters.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.state.counters
    }
    /// What the policy itself did online.
    #[must_use]
    pub const fn replay(&self) -> &ReplayBuffer {
        &self.replay
    }

    /// Works until all stages have ended, someone asks to stop, or an online phase comes to a limit of its session. A checkpoint
    /// stands at the end in any case; a rollout or evaluation that was cut short is left out of it and done again by the
    /// resumed run. Going on after a limit of the session begins a new one.
    ///
    /// # Errors
    /// When a learner, world or policy fails, or the run directory cannot be written. The last checkpoint then stands.
    pub fn run(
        &mut self,
        interrupt: &Interrupt,
        observer: &mut dyn Observer,
    ) -> Result<TrainEnd, EngineError> {
        if self.state.checkpoints == 0 {
            // Whatever happens from here on, a power cut included, there is something to resume from.
            self.checkpoint(false, observer)?;
        } else if self.state.progress.entered {
            self.announce_stage(true, observer)?;
        }
        for note in self.envs.as_ref().map(VecEnv::notes).unwrap_or_default() {
            self.emit(&Event::EnvNote { note }, observer)?;
        }
        self.begin_session();
        self.begin_fleet()?;
        let mut lost_in_a_row = 0;
        loop {
            if self.state.next() == Next::Finished {
                self.end_fleet();
                self.emit(&Event::Finished { run: self.run_name(), interrupted: false }, observer)?;
                return Ok(TrainEnd::Finished);
            }
            let step = if interrupt.requested() {
                Err(EngineError::Interrupted)
            } else {
                self.step(interrupt, observer)
            };
            match step {
                Ok(()) => {
                    lost_in_a_row = 0;
                    if let Some(reached) = self.session_reached() {
                        self.stop_session(reached, observer)?;
                        return Ok(TrainEnd::SafetyStop(reached));
                    }
                }
                Err(EngineError::Interrupted) => {
                    // First the robot comes to rest.
                    self.end_live(observer)?;
                    self.checkpoint(false, observer)?;
                    self.emit(&Event::Finished { run: self.run_name(), interrupted: true }, observer)?;
                    return Ok(TrainEnd::Interrupted);
                }
                // Nothing was kept of the step, so it is done again from its seeds, with the worlds that its resets find.
                Err(EngineError::Env(EnvError::Lost { reason, .. })) if lost_in_a_row < MAX_LOST_IN_A_ROW => {
                    lost_in_a_row += 1;
                    let stage = self.stage_plan()?.name;
                    self.emit(&Event::EnvLost { stage, reason, in_a_row: lost_in_a_row }, observer)?;
                }
                Err(e @ EngineError::Live(_)) => {
                    // What was driven until then is kept; why it ended is told all the same.
                    self.end_live(observer)?;
                    self.checkpoint(false, observer)?;
                    return Err(e);
                }
                Err(e) => return Err(e),
            }
        }
    }

    pub(crate) fn run_name(&self) -> String {
        self.run.path().display().to_string()
    }

    /// One step of the state machine. An error of any kind leaves the state as it was before the step.
    fn step(&mut self, interrupt: &Interrupt, observer: &mut dyn Observer) -> Result<(), EngineError> {
        match self.state.next() {
            Next::Enter => self.enter(observer),
            Next::Update => self.update(observer),
            Next::Promote => self.promote(interrupt, observer),
            Next::Collect => match self.schedule()? {
                Schedule::Lockstep => self.collect(interrupt, observer),
                Schedule::Async(config) => self.collect_live(&config, interrupt, observer),
                Schedule::Fleet(config) => self.collect_fleet(&config, interrupt, observer),
            },
            Next::Heldout => self.look_at_heldout(observer),
            Next::Evaluate => self.evaluate(interrupt, observer),
            Next::Restore => self.restore_best(),
            Next::Close => self.close(interrupt, observer),
            Next::Finished => Ok(()),
        }
    }

    /// Writes a checkpoint of the present state.
    ///
    /// # Errors
    /// What the learner or the system says; earlier checkpoints are then untouched.
    pub(crate) fn checkpoint(
        &mut self,
        stage_end: bool,
        observer: &mut dyn Observer,
    ) -> Result<(), EngineError> {
        // Between two stages it is still the learner of the one that ended which is worth keeping.
        let at = if stage_end { self.state.stage.saturating_sub(1) } else { self.state.stage };
        let Some(plan) = self.state.identity.stages.get(at).cloned() else { return Ok(()) };
        self.metrics.sync()?;
        self.tensorboard.flush()?;
        self.state.metrics_bytes = self.metrics.bytes();
        self.state.replay_written = self.replay.written();
        self.state.saved_learner = plan.learner;
        let learner = self.learner(plan.learner);
        let failed = |source| EngineError::Learn { stage: plan.name.clone(), source };
        let updates = learner.updates();
        let mut files = Blobs::new();
        // Of an online phase it is what acts that may be deployed: newer weights of the learner were not looked at yet.
        let artifact = match &self.line {
            Some(line) => (*line.acting).clone(),
            None => learner.artifact().map_err(failed)?,
        };
        let encoding = |e: serde_json::Error| {
            EngineError::io("encode checkpoint in", self.run.path())(std::io::Error::other(e))
        };
        policy_files("policy", &artifact, &mut files).map_err(encoding)?;
        if let Some(line) = &self.line {
            line.files(&mut files).map_err(encoding)?;
        }
        files.extend(learner.save().map_err(failed)?.into_iter().map(|(k, v)| (format!("learner/{k}"), v)));
        if let Some(best) = &self.best {
            files.extend(best.iter().map(|(k, v)| (format!("best/{k}"), v.clone())));
        }
        let rows: Vec<u8> = self.replay.raw_rows().iter().flat_map(|x| x.to_le_bytes()).collect();
        files.insert("state/replay.f32le".into(), rows);
        let interventions = &self.demonstrations.train.added;
        if !interventions.is_empty() {
            let rows = interventions.raw_rows().iter().flat_map(|x| x.to_le_bytes()).collect();
            files.insert("state/interventions.f32le".into(), rows);
        }
        if let Some(sampler) = &self.sampler {
            sampler.save(&mut files);
        }
        let success = self.state.results.stages.last().and_then(|s| s.evaluation.as_ref());
        let success = success.map(|e| e.success_rate);
        let best = stage_end && plan.learner == LearnerId::Main && success >= self.state.best_success;
        if best {
            self.state.best_success = success;
        }
        let sequence = self.state.checkpoints;
        self.state.checkpoints += 1;
        files.insert("state/state.json".into(), serde_json::to_vec_pretty(&self.state).map_err(encoding)?);
        let checkpoints = Checkpoints::of(self.run.path());
        let updates = if stage_end { updates } else { self.state.counters.updates };
        let written =
            checkpoints.write(&format!("{}-{updates:09}", plan.name), sequence, stage_end, &files)?;
        if best {
            checkpoints.link("best", &written.name)?;
        }
        checkpoints.prune(self.training.keep_checkpoints.max(1))?;
        self.emit(&Event::Checkpointed { name: written.name, bytes: written.bytes }, observer)
    }

    /// Worlds side by side.
    pub(crate) fn worlds(&self) -> usize {
        self.envs.as_ref().map_or(0, VecEnv::len)
    }

    pub(crate) fn learner(&self, id: LearnerId) -> &dyn Learner {
        match id {
            LearnerId::Baseline(i) => &*self.baselines[i],
            LearnerId::Main => &*self.main,
        }
    }

    pub(crate) fn learner_mut(&mut self, id: LearnerId) -> &mut dyn Learner {
        match id {
            LearnerId::Baseline(i) => &mut *self.baselines[i],
            LearnerId::Main => &mut *self.main,
        }
    }

    /// Tells the observer, and writes everything but mere progress to the log.
    pub(crate) fn emit(&self, event: &Event, observer: &mut dyn Observer) -> Result<(), EngineError> {
        observer.event(event);
        if matches!(event, Event::Progress(_)) { Ok(()) } else { self.run.log(event) }
    }
}

fn fresh(
    name: String,
    identity: Identity,
    demonstrations: crate::results::DemonstrationSummary,
) -> TrainState {
    let results = Results {
        name,
        seed: identity.seed,
        env: identity.env.clone(),
        demonstrations,
        stages: Vec::new(),
        curve: Vec::new(),
        finished: false,
    };
    TrainState {
        format: TrainState::FORMAT.to_owned(),
        identity,
        checkpoints: 0,
        stage: 0,
        counters: Counters::default(),
        progress: StageProgress::default(),
        online: None,
        means: Means::default(),
        results,
        best_success: None,
        metrics_bytes: 0,
        replay_written: 0,
        successes: SuccessHistory::default(),
        fleet_taken: 0,
        saved_learner: LearnerId::Main,
    }
}
