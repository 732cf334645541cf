//! The steps that a run is made of.

use std::collections::BTreeMap;

use surefoot_core::clock::Stopwatch;
use surefoot_core::{ActMode, Policy, Stream, VecEnv};
use surefoot_safety::SafetyCounts;

use crate::evaluation::Evaluation;
use crate::events::{Activity, Event, Observer, Progress};
use crate::phases::{Better, PhaseConfig};
use crate::results::{CurvePoint, FilmResult, StageKind, StageResult};
use crate::rollout::{Film, RolloutProgress, Watch, film, rollout};
use crate::sampling::Sampler;
use crate::state::{LearnerId, StagePlan, StageProgress};
use crate::trainer::{Pace, Trainer};
use crate::{EngineError, Interrupt};

/// Wall time between two progress events, s.
const PROGRESS_SECS: f64 = 0.2;
/// Size of a filmed picture.
const FILM_SIZE: (usize, usize) = (320, 240);
/// Simulated time between two filmed pictures, s, as near as whole steps allow.
const FILM_FRAME_SECS: f64 = 0.08;

impl Trainer {
    pub(crate) fn stage_plan(&self) -> Result<StagePlan, EngineError> {
        self.state.plan().cloned().ok_or_else(|| EngineError::Config {
            key: "phase".into(),
            expected: "a stage that has not ended".into(),
            found: "a finished run".into(),
        })
    }

    pub(crate) fn announce_stage(
        &mut self,
        resumed: bool,
        observer: &mut dyn Observer,
    ) -> Result<(), EngineError> {
        let plan = self.stage_plan()?;
        self.pace = Pace::new(self.state.fraction());
        let (updates, env_steps) = match &plan.phase {
            PhaseConfig::Offline(c) => (Some(c.updates), None),
            PhaseConfig::Online(c) => (None, Some(c.env_steps)),
        };
        let event = Event::StageStarted {
            stage: plan.name,
            kind: plan.kind,
            algorithm: plan.algorithm,
            index: self.state.stage,
            stages: self.state.identity.stages.len(),
            updates,
            env_steps,
            resumed,
        };
        self.emit(&event, observer)
    }

    /// Fits a learner that has seen nothing yet and tells it which phase begins.
    pub(crate) fn enter(&mut self, observer: &mut dyn Observer) -> Result<(), EngineError> {
        let plan = self.stage_plan()?;
        let first = !self.state.identity.stages[..self.state.stage].iter().any(|s| s.learner == plan.learner);
        let failed = |source| EngineError::Learn { stage: plan.name.clone(), source };
        let hashes = self.state.identity.data_hashes.clone();
        let learner = match plan.learner {
            LearnerId::Baseline(i) => &mut self.baselines[i],
            LearnerId::Main => &mut self.main,
        };
        if first {
            learner.fit(&self.demonstrations.train, &hashes).map_err(failed)?;
        }
        learner.enter_phase(plan.phase_kind()).map_err(failed)?;
        self.sampler = Some(Sampler::new(plan.phase.drawing().0, &self.demonstrations.train));
        self.begin_line(&plan)?;
        self.state.progress.entered = true;
        self.announce_stage(false, observer)
    }

    /// One update, on demonstrations or on a mixture.
    pub(crate) fn update(&mut self, observer: &mut dyn Observer) -> Result<(), EngineError> {
        let watch = Stopwatch::start();
        let plan = self.stage_plan()?;
        let wanted = self.learner(plan.learner).sample_plan(plan.phase_kind());
        let (sampling, ratio) = plan.phase.drawing();
        let purpose = format!("batch/{}", plan.name);
        let mut stream = Stream::new(self.state.identity.seed, &purpose, self.state.progress.updates);
        let (train, replay) = (&self.demonstrations.train, &self.replay);
        let sampler = self.sampler.get_or_insert_with(|| Sampler::new(sampling, train));
        let fresh = plan.fresh_env_steps.map(|_| self.state.progress.fresh_env_steps as usize);
        let mut drawn = match fresh {
            None => sampler.draw(wanted.batch(), ratio, (train, replay), &mut stream),
            Some(fresh) => sampler.draw_beside(fresh, ratio, (train, replay), &mut stream),
        };
        self.batch.clear(self.spec.observation_dim(), self.spec.action_dim());
        wanted.append(train, &drawn.demonstrations, &mut self.batch)?;
        wanted.append(replay, &drawn.online, &mut self.batch)?;
        if let Some(fresh) = fresh {
            if fresh > replay.len() {
                let key = format!("stage {}: replay_capacity", plan.name);
                let expected = format!("at least the {fresh} fresh steps of an update");
                return Err(EngineError::setting(key, &expected, &replay.capacity()));
            }
            replay.append_newest(fresh, &mut self.batch);
        }
        self.batch.weight.append(&mut drawn.weights);
        let learner = match plan.learner {
            LearnerId::Baseline(i) => &mut self.baselines[i],
            LearnerId::Main => &mut self.main,
        };
        let updated = learner.update(&self.batch);
        let metrics = updated.map_err(|source| EngineError::Learn { stage: plan.name.clone(), source })?;
        if let Some(errors) = learner.td_errors() {
            sampler.learn(&drawn, errors);
        }
        let p = &mut self.state.progress;
        p.updates += 1;
        p.fresh_env_steps = 0;
        p.evaluated = None;
        let updates = p.updates;
        self.state.counters.updates += 1;
        self.state.means.add(&metrics);
        self.pace.updates += 1;
        self.pace.learning_secs += watch.elapsed().as_secs_f64();
        if updates.is_multiple_of(self.training.log_every_updates) {
            self.write_means()?;
        }
        self.show(Activity::Learning, observer)?;
        let every = self.training.checkpoint_every_updates;
        // The last update of a stage is followed by the stage's own checkpoint.
        let last = matches!(&plan.phase, PhaseConfig::Offline(c) if updates >= c.updates);
        if every > 0 && updates.is_multiple_of(every) && !last {
            self.checkpoint(false, observer)?;
        }
        Ok(())
    }

    fn write_means(&mut self) -> Result<(), EngineError> {
        let means = self.state.means.take();
        if means.is_empty() {
            return Ok(());
        }
        self.write_metrics(&means)?;
        let perf = [
            ("perf/updates_per_sec", rate(self.pace.updates as f64, self.pace.learning_secs)),
            ("perf/env_steps_per_sec", rate(self.pace.env_steps as f64, self.pace.acting_secs)),
        ];
        self.tensorboard.scalars(self.state.counters.updates, perf.into_iter().filter(|(_, v)| *v > 0.0))
    }

    /// One line of `metrics.jsonl`, and the same numbers for TensorBoard.
    pub(crate) fn write_metrics(&mut self, values: &[(String, f64)]) -> Result<(), EngineError> {
        let plan = self.stage_plan()?;
        let counters = self.state.counters;
        let pairs = values.iter().map(|(name, value)| (name.as_str(), *value));
        self.metrics.append(&plan.name, counters.updates, counters.env_steps, pairs)?;
        self.metrics.flush()?;
        // A baseline counts its own updates, so its curves stand beside the learner's and not in them.
        let prefix = if plan.kind == StageKind::Baseline { format!("{}/", plan.name) } else { String::new() };
        let tagged: Vec<(String, f64)> =
            values.iter().map(|(name, value)| (format!("{prefix}{name}"), *value)).collect();
        let steps = (format!("{prefix}env_steps"), counters.env_steps as f64);
        let tagged = tagged.iter().chain(std::iter::once(&steps)).map(|(name, v)| (name.as_str(), *v));
        self.tensorboard.scalars(counters.updates, tagged)?;
        self.tensorboard.flush()
    }

    /// What acts and is judged: in an online phase the policy that was let through, otherwise the learner's present one.
    fn policy(&self, plan: &StagePlan, slots: usize) -> Result<Box<dyn Policy>, EngineError> {
        if let Some(line) = &self.line {
            return Ok((self.load_policy)(&line.acting, slots)?);
        }
        let policy = self.learner(plan.learner).policy(slots);
        policy.map_err(|source| EngineError::Learn { stage: plan.name.clone(), source })
    }

    /// Runs a rollout and tells how far it is.
    pub(crate) fn watched<T>(
        &mut self,
        activity: Activity,
        interrupt: &Interrupt,
        observer: &mut dyn Observer,
        run: impl FnOnce(&mut VecEnv, &mut Watch<'_>) -> Result<Vec<T>, EngineError>,
    ) -> Result<Vec<T>, EngineError> {
        let mut shown = self.pace.shown;
        let template = self.progress(activity)?;
        let Some(envs) = &mut self.envs else { return Ok(Vec::new()) };
        let mut progress = |done: RolloutProgress| {
            if due(&mut shown) {
                let mut now = template.clone();
                if activity == Activity::Collecting {
                    now.env_steps += done.env_steps;
                }
                observer.event(&Event::Progress(now));
            }
        };
        let mut watch = Watch { interrupt, progress: &mut progress };
        let done = run(envs, &mut watch);
        self.pace.shown = shown;
        done
    }

    /// Looks at the held-out demonstrations and decides about stopping.
    pub(crate) fn look_at_heldout(&mut self, observer: &mut dyn Observer) -> Result<(), EngineError> {
        let plan = self.stage_plan()?;
        let values = self.heldout(&plan)?;
        let PhaseConfig::Offline(config) = &plan.phase else { return Ok(()) };
        let Some(stop) = &config.early_stop else { return Ok(()) };
        let Some(value) = values.get(&stop.metric).copied() else {
            return Err(EngineError::Config {
                key: format!("{}.early_stop.metric", plan.name),
                expected: format!(
                    "a finite held-out metric of {} ({})",
                    plan.algorithm,
                    values.keys().cloned().collect::<Vec<_>>().join(", ")
                ),
                found: format!("{:?}", stop.metric),
            });
        };
        let improved = self.state.progress.best_value.is_none_or(|best| match stop.better {
            Better::Higher => value > best,
            Better::Lower => value < best,
        });
        let best = if improved {
            let saved = self.learner(plan.learner).save();
            Some(saved.map_err(|source| EngineError::Learn { stage: plan.name.clone(), source })?)
        } else {
            None
        };
        let pairs: Vec<(String, f64)> = values.into_iter().collect();
        self.write_metrics(&pairs)?;
        let p = &mut self.state.progress;
        p.heldout_at = p.updates;
        if best.is_some() {
            self.best = best;
            p.best_value = Some(value);
            p.best_updates = p.updates;
            p.without_improvement = 0;
        } else {
            p.without_improvement += 1;
            p.stopped = p.without_improvement >= stop.patience && p.updates < config.updates;
        }
        let event = Event::Heldout {
            stage: plan.name.clone(),
            updates: self.state.counters.updates,
            metric: Some(stop.metric.clone()),
            value: Some(value),
            improved,
        };
        self.emit(&event, observer)
    }

    /// The learner's judgement of the held-out demonstrations; finite numbers only.
    fn heldout(&self, plan: &StagePlan) -> Result<BTreeMap<String, f64>, EngineError> {
        if self.demonstrations.heldout.n == 0 {
            return Ok(BTreeMap::new());
        }
        let metrics = self
            .learner(plan.learner)
            .evaluate(&self.demonstrations.heldout)
            .map_err(|source| EngineError::Learn { stage: plan.name.clone(), source })?;
        Ok(metrics.iter().filter(|(_, v)| v.is_finite()).map(|(n, v)| (n.to_owned(), v)).collect())
    }

    /// Back to the state that explained the held-out demonstrations best.
    pub(crate) fn restore_best(&mut self) -> Result<(), EngineError> {
        let plan = self.stage_plan()?;
        if let Some(best) = self.best.take() {
            self.learner_mut(plan.learner)
                .load(&best)
                .map_err(|source| EngineError::Learn { stage: plan.name.clone(), source })?;
        }
        self.state.progress.restored = true;
        self.state.progress.evaluated = None;
        Ok(())
    }

    /// Runs the evaluation episodes with the present policy.
    pub(crate) fn evaluate(
        &mut self,
        interrupt: &Interrupt,
        observer: &mut dyn Observer,
    ) -> Result<(), EngineError> {
        let plan = self.stage_plan()?;
        // A frozen policy does the same again, so what was found stands.
        let evaluation = match self.state.progress.evaluated.clone() {
            Some(known) => known,
            None => {
                let seeds = self.state.identity.evaluation.seeds();
                let mut policy = self.policy(&plan, self.worlds())?;
                let episodes = self.watched(Activity::Evaluating, interrupt, observer, |envs, watch| {
                    rollout(envs, &mut *policy, ActMode::Exploit, &seeds, "evaluation", watch)
                })?;
                Evaluation::of(&episodes)
            }
        };
        self.note(&evaluation);
        let mut values = outcome_metrics("eval", &evaluation);
        values.push(("eval/wilson_low".into(), evaluation.wilson_low));
        values.push(("eval/wilson_high".into(), evaluation.wilson_high));
        self.write_metrics(&values)?;
        let p = &mut self.state.progress;
        p.evaluated = Some(evaluation.clone());
        let (every, counter) = match &plan.phase {
            PhaseConfig::Offline(c) => (c.eval_every_updates, p.updates),
            PhaseConfig::Online(c) => (c.eval_every_env_steps, p.env_steps),
        };
        p.next_eval = counter.checked_div(every).map_or(0, |done| (done + 1) * every);
        let (updates, env_steps) = (self.state.counters.updates, self.state.counters.env_steps);
        self.state.results.curve.push(CurvePoint {
            stage: plan.name.clone(),
            updates,
            env_steps,
            evaluation: evaluation.clone(),
        });
        self.emit(&Event::Evaluated { stage: plan.name, updates, env_steps, evaluation }, observer)
    }

    /// Ends a stage: held-out metrics, films, result, checkpoint.
    pub(crate) fn close(
        &mut self,
        interrupt: &Interrupt,
        observer: &mut dyn Observer,
    ) -> Result<(), EngineError> {
        let plan = self.stage_plan()?;
        self.end_live(observer)?;
        let heldout = self.heldout(&plan)?;
        let films = self.film(&plan, interrupt)?;
        self.write_means()?;
        if !heldout.is_empty() {
            let values: Vec<(String, f64)> =
                heldout.iter().map(|(name, value)| (name.clone(), *value)).collect();
            self.write_metrics(&values)?;
        }
        let p = std::mem::take(&mut self.state.progress);
        let StageProgress { updates, env_steps, episodes, stopped, best_value, best_updates, .. } = p;
        self.state.results.stages.push(StageResult {
            name: plan.name.clone(),
            kind: plan.kind,
            algorithm: plan.algorithm.clone(),
            updates,
            env_steps,
            episodes,
            kept_updates: best_value.map(|_| best_updates),
            stopped_early: stopped,
            evaluation: p.evaluated,
            heldout,
            training_safety: p.safety,
            limits: p.limits,
            films,
        });
        self.best = None;
        self.sampler = None;
        self.state.stage += 1;
        let next = self.state.plan().map(|n| n.learner);
        self.state.results.finished = next.is_none();
        if next.is_some_and(|next| next != plan.learner) {
            self.state.counters.updates = 0;
        }
        self.run.write_json("results.json", &self.state.results)?;
        let event = Event::StageFinished {
            stage: plan.name,
            updates,
            env_steps,
            stopped_early_at: stopped.then_some(best_updates),
            wall_secs: self.pace.since.elapsed().as_secs_f64(),
        };
        self.emit(&event, observer)?;
        self.checkpoint(true, observer)
    }

    fn film(&mut self, plan: &StagePlan, interrupt: &Interrupt) -> Result<Vec<FilmResult>, EngineError> {
        let mut results = Vec::new();
        let seeds = self.state.identity.evaluation.seeds();
        let mut policy = self.policy(plan, 1)?;
        let every = (FILM_FRAME_SECS / self.spec.step_secs).round().max(1.0) as usize;
        let Some(env) = &mut self.film_env else { return Ok(results) };
        for (episode, seed) in seeds.into_iter().enumerate().take(self.training.films) {
            let filmed = film(env, &mut *policy, seed, every, FILM_SIZE, interrupt)?;
            let Film { frames, frame_secs, steps, episode_return, success } = filmed;
            if frames.is_empty() {
                break;
            }
            let file = format!("films/{}-{episode}.gif", plan.name);
            let gif = crate::report::animation(&frames, frame_secs)?;
            self.run.write_atomic(&file, &gif)?;
            results.push(FilmResult { file, episode, seed: seed.reset, success, episode_return, steps });
        }
        Ok(results)
    }

    pub(crate) fn note(&mut self, found: &Evaluation) {
        self.pace.return_mean = Some(found.return_mean);
        self.pace.success_rate = Some(found.success_rate);
        self.pace.filter_active_pct = filter_active(&found.safety).map(|part| 100.0 * part);
    }

    fn progress(&self, activity: Activity) -> Result<Progress, EngineError> {
        let fraction = self.state.fraction();
        let gained = fraction - self.pace.from_fraction;
        let elapsed = self.pace.since.elapsed().as_secs_f64();
        Ok(Progress {
            stage: self.stage_plan()?.name,
            activity,
            fraction,
            env_steps: self.state.counters.env_steps,
            updates: self.state.counters.updates,
            updates_per_sec: rate(self.pace.updates as f64, self.pace.learning_secs),
            env_steps_per_sec: rate(self.pace.env_steps as f64, self.pace.acting_secs),
            return_mean: self.pace.return_mean,
            success_rate: self.pace.success_rate,
            filter_active_pct: self.pace.filter_active_pct,
            stage_eta_secs: (gained > 0.0).then(|| elapsed / gained * (1.0 - fraction)),
        })
    }

    /// Whether it is time to show how far the run is. Does not count as showing it.
    pub(crate) fn progress_is_due(&self) -> bool {
        self.pace.shown.is_none_or(|shown| shown.elapsed().as_secs_f64() >= PROGRESS_SECS)
    }

    pub(crate) fn show(
        &mut self,
        activity: Activity,
        observer: &mut dyn Observer,
    ) -> Result<(), EngineError> {
        if due(&mut self.pace.shown) {
            let progress = self.progress(activity)?;
            observer.event(&Event::Progress(progress));
        }
        Ok(())
    }
}

fn due(shown: &mut Option<Stopwatch>) -> bool {
    let due = shown.is_none_or(|s| s.elapsed().as_secs_f64() >= PROGRESS_SECS);
    if due {
        *shown = Some(Stopwatch::start());
    }
    due
}

fn rate(count: f64, secs: f64) -> f64 {
    if secs > 0.0 { count / secs } else { 0.0 }
}

/// Part of the commands that the safety chain changed or refused.
pub(crate) fn filter_active(counts: &SafetyCounts) -> Option<f64> {
    (counts.ticks > 0).then(|| (counts.adjusted + counts.stops) as f64 / counts.ticks as f64)
}

pub(crate) fn outcome_metrics(group: &str, found: &Evaluation) -> Vec<(String, f64)> {
    let ticks = found.safety.ticks.max(1) as f64;
    let safety = if group == "rollout" { "safety".to_owned() } else { format!("{group}_safety") };
    vec![
        (format!("{group}/return_mean"), found.return_mean),
        (format!("{group}/success_rate"), found.success_rate),
        (format!("{group}/length_mean"), found.length_mean),
        (format!("{safety}/adjusted_ratio"), found.safety.adjusted as f64 / ticks),
        (format!("{safety}/stops"), found.safety.stops as f64),
        (format!("{safety}/violations"), found.safety.violations as f64),
    ]
}
