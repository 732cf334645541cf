//! The steps of an online phase: acting inside limits, letting new weights through, taking them back.

use std::sync::Arc;

use surefoot_core::clock::Stopwatch;
use surefoot_core::{
    ActMode, Blobs, Episode, PolicyArtifact, PolicyCard, PolicyError, Stream, TrainingProgress,
    TransitionSource,
};
use surefoot_safety::SafetyCounts;

use crate::canaries::CanaryTrial;
use crate::checkpoint::policy_files;
use crate::evaluation::Evaluation;
use crate::events::{Activity, Event, Observer};
use crate::limits::{EpisodeLimits, SessionLimitReached, TrustRegion};
use crate::phases::{OnlineConfig, PhaseConfig};
use crate::promotion::{ExploreWith, PromotionGate, Standing, check_finite};
use crate::results::LimitCounts;
use crate::rollout::{EpisodeCost, EpisodeSeeds, Guard, guarded_rollout};
use crate::stages::outcome_metrics;
use crate::state::{OnlineState, StagePlan};
use crate::trainer::Trainer;
use crate::{EngineError, Interrupt};

/// The policies that an online phase knows.
#[derive(Clone, Debug)]
pub(crate) struct PolicyLine {
    /// The one that the phase began with: the centre of the trust region.
    pub start: Arc<PolicyArtifact>,
    /// The one that acts.
    pub acting: Arc<PolicyArtifact>,
    /// The one that acts again when what came after it is worse.
    pub last_good: Arc<PolicyArtifact>,
}

impl PolicyLine {
    fn new(start: PolicyArtifact) -> Self {
        let start = Arc::new(start);
        Self { acting: Arc::clone(&start), last_good: Arc::clone(&start), start }
    }

    /// Adds its files to a checkpoint.
    pub fn files(&self, files: &mut Blobs) -> Result<(), serde_json::Error> {
        let Self { start, acting, last_good } = self;
        for (name, artifact) in [("start", start), ("acting", acting), ("last_good", last_good)] {
            policy_files(&format!("online/{name}"), artifact, files)?;
        }
        Ok(())
    }

    /// Takes its files out of a checkpoint; the name of the one that is missing or damaged, and how, where that fails.
    pub fn from_files(files: &mut Blobs) -> Result<Self, (String, String)> {
        let mut take = |name: &str| {
            let mut file = |suffix: &str| {
                let path = format!("online/{name}/policy.{suffix}");
                files.remove(&path).ok_or_else(|| (path, "none".to_owned()))
            };
            let card: PolicyCard = serde_json::from_slice(&file("json")?)
                .map_err(|e| (format!("online/{name}/policy.json"), e.to_string()))?;
            Ok::<_, (String, String)>(Arc::new(PolicyArtifact { card, weights: file("safetensors")? }))
        };
        Ok(Self { start: take("start")?, acting: take("acting")?, last_good: take("last_good")? })
    }
}

/// Who acts, and how.
#[derive(Clone, Copy)]
pub(crate) struct Acting<'a> {
    pub policy: &'a PolicyArtifact,
    /// The centre of the trust region.
    pub start: &'a PolicyArtifact,
    /// Without exploration and slowly.
    pub canary: bool,
}

/// Finished training episodes and what they cost.
pub(crate) type Collected = Vec<(Episode, EpisodeCost)>;

impl Trainer {
    /// Begins the line of policies of an online phase; forgets the line of an earlier one.
    pub(crate) fn begin_line(&mut self, plan: &StagePlan) -> Result<(), EngineError> {
        self.line = None;
        self.state.online = None;
        if let PhaseConfig::Online(_) = &plan.phase {
            let artifact = self.learner(plan.learner).artifact();
            let artifact =
                artifact.map_err(|source| EngineError::Learn { stage: plan.name.clone(), source })?;
            check_finite(&artifact)
                .map_err(|r| PolicyError::Artifact { what: "weights", reason: r.to_string() })?;
            self.line = Some(PolicyLine::new(artifact));
            self.state.online = Some(OnlineState { acting_is_last_good: true, ..OnlineState::default() });
        }
        Ok(())
    }

    /// The settings, line and state of the online phase that is going on.
    pub(crate) fn online(&self) -> Result<(StagePlan, OnlineConfig, PolicyLine), EngineError> {
        let plan = self.stage_plan()?;
        match (&plan.phase, &self.line) {
            (PhaseConfig::Online(config), Some(line)) => {
                let (config, line) = (config.clone(), line.clone());
                Ok((plan, config, line))
            }
            _ => Err(EngineError::setting("phase".into(), "an online phase that was entered", &plan.name)),
        }
    }

    /// A round of whole episodes with the policy that acts.
    pub(crate) fn collect(
        &mut self,
        interrupt: &Interrupt,
        observer: &mut dyn Observer,
    ) -> Result<(), EngineError> {
        let (plan, config, line) = self.online()?;
        let first = self.state.progress.episodes - self.state.online.as_ref().map_or(0, |o| o.canaries);
        let seeds = self.seeds(&format!("rollout/{}", plan.name), first, config.episodes_per_round);
        let newest = self.newest(&plan, &config)?;
        let policy = newest.as_ref().unwrap_or(&line.acting);
        let acting = Acting { policy, start: &line.start, canary: false };
        let (mut collected, width) = self.act(&config, acting, &seeds, interrupt, observer)?;
        for (_, cost) in &mut collected {
            cost.of_another |= newest.is_some();
        }
        let counts = self.book(&plan, &config, &collected, true, observer)?;
        if let Some(width) = width {
            self.write_metrics(&[("rollout/randomisation_width".into(), width)])?;
        }
        self.judge_episodes(&plan, &config, &collected, observer)?;
        if counts != LimitCounts::default() {
            let env_steps = self.state.counters.env_steps;
            self.emit(&Event::LimitsActed { stage: plan.name, env_steps, counts }, observer)?;
        }
        Ok(())
    }

    /// The learner's newest policy, where that explores and its weights are finite.
    fn newest(&self, plan: &StagePlan, config: &OnlineConfig) -> Result<Option<PolicyArtifact>, EngineError> {
        match config.promotion.explore_with {
            ExploreWith::Promoted => Ok(None),
            ExploreWith::Newest => {
                let newest = self.learner(plan.learner).artifact();
                let newest =
                    newest.map_err(|source| EngineError::Learn { stage: plan.name.clone(), source })?;
                Ok(check_finite(&newest).is_ok().then_some(newest))
            }
        }
    }

    pub(crate) fn seeds(&self, purpose: &str, first: u64, n: usize) -> Vec<EpisodeSeeds> {
        (first..first + n as u64)
            .map(|i| {
                let mut stream = Stream::new(self.state.identity.seed, purpose, i);
                EpisodeSeeds { reset: stream.bits(), noise: stream.bits() }
            })
            .collect()
    }

    /// Training episodes of a policy, inside the limits, and the share of their width that the worlds' ranges had in them.
    pub(crate) fn act(
        &mut self,
        config: &OnlineConfig,
        acting: Acting<'_>,
        seeds: &[EpisodeSeeds],
        interrupt: &Interrupt,
        observer: &mut dyn Observer,
    ) -> Result<(Collected, Option<f64>), EngineError> {
        let watch = Stopwatch::start();
        let slots = self.worlds();
        let source = self.stage_plan()?.name;
        let mut policy = (self.load_policy)(acting.policy, slots)?;
        let radius = config.trust_region.radius(self.state.progress.env_steps);
        let mut reference = radius.map(|_| (self.load_policy)(acting.start, slots)).transpose()?;
        let (mut limits, mut mode, mut speed) = (config.limits, ActMode::Explore, 1.0);
        if acting.canary {
            (mode, speed) = (ActMode::Exploit, config.promotion.canary_speed_scale);
            if speed < 1.0 {
                (limits.max_filter_active_share, limits.max_filter_run_ticks) = (1.0, 0);
            }
        }
        let region = reference.as_mut().zip(radius);
        let mut guard = Guard {
            limits: EpisodeLimits::new(limits),
            trust_region: region
                .map(|(reference, radius)| TrustRegion { reference: &mut **reference, radius }),
        };
        let (env_steps, successes) = (self.state.counters.env_steps, self.state.successes.clone());
        let mut width = None;
        let collected = self.watched(Activity::Collecting, interrupt, observer, |envs, watch| {
            envs.set_speed_scale(speed)?;
            width = envs.set_progress(Some(TrainingProgress { env_steps, successes: &successes }));
            let collected = guarded_rollout(envs, &mut *policy, mode, seeds, &source, &mut guard, watch);
            envs.set_progress(None);
            envs.set_speed_scale(1.0)?;
            collected
        })?;
        self.pace.acting_secs += watch.elapsed().as_secs_f64();
        Ok((collected, width))
    }

    /// Keeps training episodes: replay buffer, counters, metrics, recording. Gives what limits did in them. Updates are owed only
    /// for episodes that pay: canaries after every block of updates do not, or the two would call for each other without end; nor do they
    /// say of a curriculum how the policy that learns fares.
    pub(crate) fn book(
        &mut self,
        plan: &StagePlan,
        config: &OnlineConfig,
        collected: &Collected,
        pays: bool,
        observer: &mut dyn Observer,
    ) -> Result<LimitCounts, EngineError> {
        let episodes: Vec<Episode> = collected.iter().map(|(episode, _)| episode.clone()).collect();
        let found = Evaluation::of(&episodes);
        let mut safety = SafetyCounts::default();
        let mut env_steps = 0;
        for e in &episodes {
            self.replay.push_episode(e);
            let by_hand = |t: usize| e.human.get(t).copied().unwrap_or(false);
            self.demonstrations.train.added.push_steps(e, by_hand);
            safety.add(&e.safety);
            env_steps += e.len() as u64;
        }
        let mut counts = LimitCounts::default();
        for (_, cost) in collected {
            counts.clipped_steps += cost.clipped_steps;
            if let Some(reached) = cost.limit {
                *counts.episodes_ended.entry(reached.limit).or_default() += 1;
            }
        }
        let p = &mut self.state.progress;
        if pays && p.env_steps >= config.warmup_env_steps {
            p.paid_env_steps += env_steps;
            p.fresh_env_steps += env_steps;
        }
        p.env_steps += env_steps;
        p.episodes += episodes.len() as u64;
        p.safety.add(&safety);
        p.limits.add(&counts);
        if pays {
            episodes.iter().for_each(|e| self.state.successes.push(e.success == Some(true)));
        }
        let c = &mut self.state.counters;
        c.env_steps += env_steps;
        c.episodes += episodes.len() as u64;
        c.ticks += safety.ticks;
        self.pace.env_steps += env_steps;
        self.note(&found);
        let mut values = outcome_metrics("rollout", &found);
        values.extend(cost_metrics(collected, &counts, env_steps));
        self.write_metrics(&values)?;
        observer.episodes(&plan.name, &episodes);
        Ok(counts)
    }

    /// What a round of episodes says of the policy that acts, and of the session.
    pub(crate) fn judge_episodes(
        &mut self,
        plan: &StagePlan,
        config: &OnlineConfig,
        collected: &Collected,
        observer: &mut dyn Observer,
    ) -> Result<(), EngineError> {
        let (Some(online), Some(line)) = (&mut self.state.online, &mut self.line) else { return Ok(()) };
        let rollback = &config.promotion.rollback;
        let mut taken_back = None;
        for (episode, cost) in collected {
            let success = episode.success == Some(true);
            let steps = episode.len() as u64;
            online.session.observe(&config.session, success, steps, self.spec.step_secs, cost.interventions);
            // What somebody else drove says nothing of it.
            if cost.of_another {
                continue;
            }
            // The rest of a round in which something was taken back was still acted by that.
            if taken_back.is_some() {
                continue;
            }
            let before = (online.watch.record(), online.watch.trial());
            match online.watch.observe(rollback, online.acting_is_last_good, success) {
                Standing::Open => {}
                Standing::RecordComplete => online.withheld = false,
                Standing::Good => {
                    line.last_good = Arc::clone(&line.acting);
                    online.acting_is_last_good = true;
                }
                Standing::Worse => {
                    let (record, (successes, episodes)) = before;
                    let trial = (successes + usize::from(success), episodes + 1);
                    taken_back = Some((line.acting.card.updates, record, trial));
                    online.withdrawn_updates = line.acting.card.updates;
                    line.acting = Arc::clone(&line.last_good);
                    online.acting_is_last_good = true;
                    online.withheld = true;
                    online.acting_canary_successes = None;
                    online.watch.begin();
                }
            }
        }
        let to_updates = line.acting.card.updates;
        if let Some((from_updates, record, trial)) = taken_back {
            let p = &mut self.state.progress;
            p.limits.rollbacks += 1;
            p.fresh_env_steps = 0;
            p.evaluated = None;
            self.write_metrics(&[("promotion/rolled_back".into(), 1.0)])?;
            let (updates, env_steps) = (self.state.counters.updates, self.state.counters.env_steps);
            let stage = plan.name.clone();
            let event =
                Event::RolledBack { stage, updates, env_steps, from_updates, to_updates, record, trial };
            self.emit(&event, observer)?;
        }
        Ok(())
    }

    /// Looks at the learner's newest policy; it acts from here on, or what acted before goes on.
    pub(crate) fn promote(
        &mut self,
        interrupt: &Interrupt,
        observer: &mut dyn Observer,
    ) -> Result<(), EngineError> {
        let (plan, config, mut line) = self.online()?;
        let candidate = self.learner(plan.learner).artifact();
        let candidate =
            candidate.map_err(|source| EngineError::Learn { stage: plan.name.clone(), source })?;
        let judged = self.gate(&config)?.judge(&candidate, &line.acting)?;
        let asked = judged.is_ok() && config.promotion.canary_episodes > 0;
        let trial = if asked { Some(self.canary_trial(&candidate, interrupt, observer)?) } else { None };
        // Nothing above changed the state, so an interrupted trial is simply run again.
        self.state.progress.fresh_env_steps = 0;
        let change = judged.as_ref().ok().copied();
        let refusal = judged.err().or_else(|| trial.as_ref().and_then(|t| t.refusal.clone()));
        let (acting_successes, candidate_successes) = trial
            .as_ref()
            .map_or((None, None), |t| (t.acting_successes, t.acting_successes.map(|_| t.successes())));
        let mut canaries = Collected::new();
        if let Some(CanaryTrial { of_acting, of_candidate, .. }) = trial {
            canaries.extend(of_acting);
            canaries.extend(of_candidate);
        }
        if !canaries.is_empty() {
            // The next candidate is `every_env_steps` away, so updates for these cannot call for canaries without end. On policy they are not
            // what is learned from: nothing was drawn in them.
            let pays = config.promotion.every_env_steps > 0
                && self.state.progress.env_steps < config.env_steps
                && plan.fresh_env_steps.is_none();
            let counts = self.book(&plan, &config, &canaries, pays, observer)?;
            if counts != LimitCounts::default() {
                let (stage, env_steps) = (plan.name.clone(), self.state.counters.env_steps);
                self.emit(&Event::LimitsActed { stage, env_steps, counts }, observer)?;
            }
        }
        let p = &mut self.state.progress;
        if let Some(online) = &mut self.state.online {
            online.considered_updates = p.updates;
            online.considered_env_steps = p.env_steps;
            online.canaries += canaries.len() as u64;
            let by_hand = canaries.iter().map(|(_, cost)| cost.interventions).sum();
            online.session.take_overs(&config.session, by_hand);
            online.acting_canary_successes = acting_successes;
            if refusal.is_none() {
                online.acting_is_last_good = false;
                online.acting_canary_successes = candidate_successes;
            }
        }
        let mut values = vec![("promotion/refused".to_owned(), f64::from(u8::from(refusal.is_some())))];
        values.extend(change.map(|c| ("promotion/action_change".to_owned(), c)));
        values.extend(candidate_successes.map(|n| ("promotion/canary_successes".to_owned(), n as f64)));
        match refusal {
            None => {
                line.acting = Arc::new(candidate);
                self.line = Some(line);
                self.write_metrics(&values)
            }
            Some(refusal) => {
                *p.limits.refusals.entry(refusal.name().to_owned()).or_default() += 1;
                self.write_metrics(&values)?;
                let (updates, env_steps) = (self.state.counters.updates, self.state.counters.env_steps);
                let event = Event::PromotionRefused { stage: plan.name, updates, env_steps, refusal };
                self.emit(&event, observer)
            }
        }
    }

    /// The gate of a phase: the same observations whenever it is asked.
    fn gate(&self, config: &OnlineConfig) -> Result<PromotionGate, EngineError> {
        let demonstrations = &self.demonstrations.train;
        // Not what a person added since: the gate asks the same whenever it is asked.
        let recorded = demonstrations.recorded();
        let (dim, change) = (self.spec.observation_dim(), config.promotion.max_action_change);
        let mut stream = Stream::new(self.state.identity.seed, "promotion reference", 0);
        let mut observations = Vec::new();
        for _ in 0..config.promotion.reference_rows {
            let row = stream.below(recorded);
            demonstrations.scan(row, 1, &mut |step| observations.extend_from_slice(&step[..dim]))?;
        }
        Ok(PromotionGate::new(observations, dim, change, self.load_policy))
    }

    /// The limit that the session has come to.
    pub(crate) fn session_reached(&self) -> Option<SessionLimitReached> {
        self.state.online.as_ref().and_then(|o| o.session.reached())
    }

    /// Begins a new session where the last one came to a limit.
    pub(crate) fn begin_session(&mut self) {
        if self.session_reached().is_some()
            && let Some(online) = &mut self.state.online
        {
            online.session.begin();
        }
    }

    /// Ends a session: everything is kept, and a resumed run goes on from here.
    pub(crate) fn stop_session(
        &mut self,
        reached: SessionLimitReached,
        observer: &mut dyn Observer,
    ) -> Result<(), EngineError> {
        // First the robot comes to rest.
        self.end_live(observer)?;
        self.state.progress.limits.session_stops += 1;
        let stage = self.stage_plan()?.name;
        let env_steps = self.state.counters.env_steps;
        self.emit(&Event::SafetyStop { stage, env_steps, reached }, observer)?;
        self.checkpoint(false, observer)?;
        self.emit(&Event::Finished { run: self.run_name(), interrupted: true }, observer)
    }
}

/// What episodes cost, as metrics. Summed in the order of the episodes, whatever the order they ended in.
fn cost_metrics(collected: &Collected, counts: &LimitCounts, env_steps: u64) -> Vec<(String, f64)> {
    let n = collected.len().max(1) as f64;
    let ended: u64 = counts.episodes_ended.values().sum();
    let mut values = vec![
        ("rollout/path_mean".to_owned(), collected.iter().map(|(_, c)| c.path).sum::<f64>() / n),
        ("limits/episodes_ended".to_owned(), ended as f64),
        ("limits/clipped_ratio".to_owned(), counts.clipped_steps as f64 / env_steps.max(1) as f64),
    ];
    if let Some(energy) = collected.iter().map(|(_, c)| c.energy_joules).sum::<Option<f64>>() {
        values.push(("rollout/energy_joules_mean".to_owned(), energy / n));
    }
    for (limit, count) in &counts.episodes_ended {
        values.push((format!("limits/{}", limit.name()), *count as f64));
    }
    values
}
