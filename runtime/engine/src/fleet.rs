//! An online phase whose episodes come from actors: other processes, on any machine, in worlds of their own or on robots.
//!
//! Actors act all the time; the learner takes whole rounds of `episodes_per_round` episodes out of the store that they end up in, in
//! the order of their numbers. So a run is a function of its seed, its demonstrations, its configuration and that store: a run that
//! was killed goes on bit for bit, and learning again from a recorded store gives the same bits.

use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Episode, Fleet, FleetError, PolicyOffer, Stream};

use crate::demonstrations::check_episode;
use crate::events::{Activity, Event, Observer};
use crate::limits::EpisodeLimitsConfig;
use crate::phases::{OnlineConfig, PhaseConfig, Schedule};
use crate::results::LimitCounts;
use crate::rollout::{EpisodeCost, EpisodeSeeds};
use crate::trainer::Trainer;
use crate::{EngineError, Interrupt};

/// Attribute of an episode: version of the policy that drove it.
pub const POLICY_VERSION: &str = "policy_version";
/// Attribute of an episode: what it cost, as JSON.
pub const COST: &str = "cost";

/// Between two looks at a person's wish to end, while waiting.
const LOOK: Duration = Duration::from_millis(50);

/// Begins listening for actors, given the run directory.
pub type MakeFleet = Box<dyn Fn(&Path) -> Result<Box<dyn Fleet>, FleetError>>;

/// Episodes from actors: `surefoot learn` on this side, `surefoot act` on theirs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FleetConfig {
    /// Episodes that wait to be learned from before actors are asked to hold. Those that come all the same are kept.
    pub episodes_ahead: u64,
    /// Episodes between two checkpoints; 0: only at the end of the stage and when interrupted. A killed program learns again
    /// from the episodes since the last one, bit for bit.
    pub checkpoint_every_episodes: u64,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self { episodes_ahead: 16, checkpoint_every_episodes: 100 }
    }
}

impl FleetConfig {
    pub(crate) fn check(&self, key: &str, online: &OnlineConfig) -> Result<(), EngineError> {
        let Self { episodes_ahead, checkpoint_every_episodes: _ } = self;
        let round = online.episodes_per_round as u64;
        if *episodes_ahead < round {
            // The learner would wait for a round that nobody is allowed to drive.
            let expected = format!("at least episodes_per_round ({round})");
            return Err(EngineError::setting(format!("{key}.episodes_ahead"), &expected, episodes_ahead));
        }
        Ok(())
    }
}

/// How actors act: part of every offer, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActingTerms {
    /// Stage that the episodes are for.
    pub stage: String,
    /// Run seed.
    pub seed: u64,
    /// What one episode may cost.
    pub limits: EpisodeLimitsConfig,
    /// Radius of the trust region around the reference policy; `None`: no region.
    pub radius: Option<f64>,
}

impl ActingTerms {
    /// What the randomness of an actor's episode comes from. Actors, and the spools of an actor, draw from streams of their own.
    #[must_use]
    pub fn seeds(&self, actor: &str, spool: &str, episode: u64) -> EpisodeSeeds {
        let mut stream = Stream::new(self.seed, &format!("actor/{actor}/{spool}"), episode);
        EpisodeSeeds { reset: stream.bits(), noise: stream.bits() }
    }
}

/// Notes on an episode what the learner needs to know besides: who drove it, and what it cost.
pub fn label(episode: &mut Episode, cost: &EpisodeCost, policy_version: u64) {
    episode.attributes.insert(POLICY_VERSION.into(), policy_version.to_string());
    if let Ok(cost) = serde_json::to_string(cost) {
        episode.attributes.insert(COST.into(), cost);
    }
}

/// What [`label`] noted. Of an episode without readable notes nothing is concluded about any policy.
fn labels(episode: &Episode) -> (EpisodeCost, Option<u64>) {
    let cost = episode.attributes.get(COST).and_then(|text| serde_json::from_str::<EpisodeCost>(text).ok());
    let version = episode.attributes.get(POLICY_VERSION).and_then(|text| text.parse().ok());
    match cost {
        // Figures that are no numbers would only spoil the metrics.
        Some(cost) if cost.path.is_finite() && cost.energy_joules.is_none_or(f64::is_finite) => {
            (cost, version)
        }
        _ => (EpisodeCost::default(), None),
    }
}

/// The actors of a run.
pub(crate) struct FleetLine {
    fleet: Box<dyn Fleet>,
    /// What was offered last: version, and the bits of the radius.
    offered: Option<(u64, Option<u64>)>,
    connected: Vec<String>,
    trouble: Option<String>,
    /// Episodes of the stage at the last checkpoint.
    checkpointed_at: u64,
}

impl Trainer {
    /// Begins listening for actors where a stage that has not ended needs them: they may come before it begins.
    pub(crate) fn begin_fleet(&mut self) -> Result<(), EngineError> {
        let left = self.state.identity.stages.get(self.state.stage..).unwrap_or_default();
        let wants = |phase: &PhaseConfig| {
            matches!(phase, PhaseConfig::Online(OnlineConfig { schedule: Schedule::Fleet(_), .. }))
        };
        if self.fleet.is_some() || !left.iter().any(|stage| wants(&stage.phase)) {
            return Ok(());
        }
        let Some(make) = &self.make_fleet else {
            let key = "phase.schedule.fleet".into();
            return Err(EngineError::setting(key, "a link to actors (`surefoot learn`)", "none"));
        };
        let mut fleet = make(self.run.path())?;
        fleet.taken(self.state.fleet_taken);
        let checkpointed_at = self.state.progress.episodes;
        let (offered, connected, trouble) = (None, Vec::new(), None);
        self.fleet = Some(FleetLine { fleet, offered, connected, trouble, checkpointed_at });
        Ok(())
    }

    /// Tells actors that they are no longer needed, once no stage to come needs them.
    pub(crate) fn end_fleet(&mut self) {
        if let Some(mut line) = self.fleet.take() {
            line.fleet.finish();
        }
    }

    /// Takes in one round of episodes, waiting until it is complete.
    pub(crate) fn collect_fleet(
        &mut self,
        config: &FleetConfig,
        interrupt: &Interrupt,
        observer: &mut dyn Observer,
    ) -> Result<(), EngineError> {
        let (plan, online, _) = self.online()?;
        self.begin_fleet()?;
        self.offer_to_fleet()?;
        let first = self.state.fleet_taken;
        let round = online.episodes_per_round as u64;
        loop {
            self.look_at_fleet(false, observer)?;
            self.show(Activity::Collecting, observer)?;
            if interrupt.requested() {
                return Err(EngineError::Interrupted);
            }
            let Some(line) = &mut self.fleet else { return Ok(()) };
            if line.fleet.wait_beyond(first + round - 1, LOOK)? {
                break;
            }
        }
        let mut collected = Vec::with_capacity(online.episodes_per_round);
        for index in first..first + round {
            let Some(line) = &mut self.fleet else { return Ok(()) };
            let episode = line.fleet.episode(index)?;
            check_episode(&episode, &self.spec)?;
            let (mut cost, version) = labels(&episode);
            cost.of_another = cost.interventions > 0 || !version.is_some_and(|v| self.speaks_for(v));
            collected.push((episode, cost));
        }
        self.state.fleet_taken = first + round;
        let counts = self.book(&plan, &online, &collected, true, observer)?;
        self.judge_episodes(&plan, &online, &collected, observer)?;
        if let Some(line) = &mut self.fleet {
            line.fleet.taken(first + round);
        }
        self.look_at_fleet(true, observer)?;
        self.pace.acting_secs = self.pace.since.elapsed().as_secs_f64();
        if counts != LimitCounts::default() {
            let env_steps = self.state.counters.env_steps;
            self.emit(&Event::LimitsActed { stage: plan.name, env_steps, counts }, observer)?;
        }
        let episodes = self.state.progress.episodes;
        let every = config.checkpoint_every_episodes;
        if let Some(line) = &mut self.fleet
            && every > 0
            && episodes - line.checkpointed_at.min(episodes) >= every
        {
            line.checkpointed_at = episodes;
            self.checkpoint(false, observer)?;
        }
        Ok(())
    }

    /// Whether an episode that a policy drove says something of what acts now: it is that policy, or one of the same trial.
    fn speaks_for(&self, version: u64) -> bool {
        let (Some(online), Some(line)) = (&self.state.online, &self.line) else { return false };
        let of_the_trial = !online.acting_is_last_good
            && version > line.last_good.card.updates
            && version > online.withdrawn_updates;
        version == line.acting.card.updates || of_the_trial
    }

    /// Offers what acts, where that is not what was offered last.
    fn offer_to_fleet(&mut self) -> Result<(), EngineError> {
        let (plan, online, policies) = self.online()?;
        let radius = online.trust_region.radius(self.state.progress.env_steps);
        let version = policies.acting.card.updates;
        let now = Some((version, radius.map(f64::to_bits)));
        let Some(line) = &mut self.fleet else { return Ok(()) };
        if line.offered == now {
            return Ok(());
        }
        let terms =
            ActingTerms { stage: plan.name, seed: self.state.identity.seed, limits: online.limits, radius };
        let terms =
            serde_json::to_value(terms).map_err(|e| FleetError::Offer { version, reason: e.to_string() })?;
        let mut metrics = std::collections::BTreeMap::new();
        metrics.extend(self.pace.success_rate.map(|rate| ("rollout/success_rate".to_owned(), rate)));
        metrics.extend(self.pace.return_mean.map(|mean| ("rollout/return_mean".to_owned(), mean)));
        let (policy, reference) = (policies.acting, policies.start);
        line.fleet.offer(PolicyOffer { version, policy, reference, terms, metrics })?;
        line.offered = now;
        Ok(())
    }

    /// Tells who is there, when that has changed, and how many episodes wait: after each round, and now and then between.
    fn look_at_fleet(&mut self, taken_a_round: bool, observer: &mut dyn Observer) -> Result<(), EngineError> {
        let Some(line) = &mut self.fleet else { return Ok(()) };
        let actors = line.fleet.actors();
        let connected: Vec<String> = actors.iter().filter(|a| a.connected).map(|a| a.name.clone()).collect();
        let trouble = line.fleet.trouble();
        let changed = connected != line.connected || trouble != line.trouble;
        let (stored, taken) = (line.fleet.stored(), self.state.fleet_taken);
        line.connected = connected;
        line.trouble.clone_from(&trouble);
        let event = Event::Fleet { stored, taken, actors, trouble };
        if changed {
            return self.emit(&event, observer);
        }
        if taken_a_round || self.progress_is_due() {
            observer.event(&event);
        }
        Ok(())
    }
}
