//! Training as data: a list of phases, each offline or online.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::fleet::FleetConfig;
use crate::limits::{EpisodeLimitsConfig, SessionLimitsConfig, TrustRegionConfig};
use crate::live::LiveConfig;
use crate::promotion::{ExploreWith, PromotionConfig};
use crate::sampling::SamplingConfig;

/// One phase: `[[phase]] offline = { … }` or `[[phase]] online = { … }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PhaseConfig {
    /// Learn from demonstrations only.
    Offline(OfflineConfig),
    /// Act with the safety chain on, and learn from demonstrations and from what happened.
    Online(OnlineConfig),
}

/// Learning from demonstrations only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OfflineConfig {
    /// Updates at most.
    pub updates: u64,
    /// Which rows are drawn.
    pub sampling: SamplingConfig,
    /// Stop when held-out demonstrations no longer get better explained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stop: Option<EarlyStopConfig>,
    /// Updates between two evaluations in the environment; 0: only at the end.
    pub eval_every_updates: u64,
}

impl Default for OfflineConfig {
    fn default() -> Self {
        Self { updates: 10_000, sampling: SamplingConfig::Uniform, early_stop: None, eval_every_updates: 0 }
    }
}

/// Which way a metric improves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Larger is better.
    #[default]
    Higher,
    /// Smaller is better.
    Lower,
}

/// Stopping by held-out demonstrations: the best state seen is what the phase leaves behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EarlyStopConfig {
    /// A held-out metric of the learner.
    pub metric: String,
    /// Which way it improves.
    pub better: Better,
    /// Updates between two looks at the held-out demonstrations.
    pub every_updates: u64,
    /// Looks without improvement after which the phase ends.
    pub patience: u32,
}

impl Default for EarlyStopConfig {
    fn default() -> Self {
        Self {
            metric: "heldout/log_likelihood".into(),
            better: Better::Higher,
            every_updates: 250,
            patience: 8,
        }
    }
}

/// Acting and learning by turns: whole episodes with the present policy, then the updates that they pay for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OnlineConfig {
    /// Steps in the environment, warm-up included; the last round of episodes is finished.
    pub env_steps: u64,
    /// Steps with the frozen policy before the first update.
    pub warmup_env_steps: u64,
    /// Episodes collected between two blocks of updates.
    pub episodes_per_round: usize,
    /// Part of every batch that is drawn from the demonstrations, 0 to 1; below 1 for a learner on policy.
    pub offline_ratio: f64,
    /// Which rows are drawn.
    pub sampling: SamplingConfig,
    /// Updates per env step. A learner on policy makes one whenever it has the fresh steps that it waits for, whatever stands here.
    pub utd_ratio: f64,
    /// Env steps between two evaluations; 0: only at the end.
    pub eval_every_env_steps: u64,
    /// Online transitions kept; the oldest are overwritten.
    pub replay_capacity: usize,
    /// What one training episode may cost: beyond it the episode is truncated.
    pub limits: EpisodeLimitsConfig,
    /// How far actions may be from those of the policy that the phase began with.
    pub trust_region: TrustRegionConfig,
    /// When the phase stops and waits for a person (exit code 3; `surefoot resume` goes on).
    pub session: SessionLimitsConfig,
    /// What new weights must pass before they act, and when they are taken back.
    pub promotion: PromotionConfig,
    /// Whether acting and learning take turns or go on side by side, and who acts.
    #[serde(skip_serializing_if = "Schedule::is_lockstep")]
    pub schedule: Schedule,
}

/// How acting and learning share time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// By turns, on simulated time: a run is a function of its seed, its data and its configuration, bit for bit.
    #[default]
    Lockstep,
    /// Side by side: the robot is driven through its control loop on threads of its own while the learner learns.
    Async(Box<AsyncConfig>),
    /// Side by side with actors, which are other processes on any machine (`surefoot learn` and `surefoot act`).
    Fleet(FleetConfig),
}

impl Schedule {
    const fn is_lockstep(&self) -> bool {
        matches!(self, Self::Lockstep)
    }
}

/// A robot that is driven while the learner learns. Episodes are bounded by the phase's `limits`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AsyncConfig {
    /// Episodes that may be under way or finished before the learner takes them in; then the robot waits, holding still.
    pub episodes_ahead: usize,
    /// Episodes between two checkpoints; 0: only at the end of the stage and when interrupted. What a killed program loses to the learner
    /// (not from the disk) is these, those ahead, and the canaries.
    pub checkpoint_every_episodes: u64,
    /// Whether every control tick is kept in the run directory, for `surefoot replay`.
    pub record_ticks: bool,
    /// How the robot is driven.
    pub robot: LiveConfig,
}

impl Default for AsyncConfig {
    fn default() -> Self {
        Self {
            episodes_ahead: 2,
            checkpoint_every_episodes: 10,
            record_ticks: false,
            robot: LiveConfig::default(),
        }
    }
}

impl AsyncConfig {
    fn check(&self, key: &str) -> Result<(), EngineError> {
        let Self { episodes_ahead, checkpoint_every_episodes: _, record_ticks: _, robot } = self;
        if !(1..=1_000).contains(episodes_ahead) {
            return Err(EngineError::setting(format!("{key}.episodes_ahead"), "1 to 1000", episodes_ahead));
        }
        robot.check(&format!("{key}.robot"))
    }
}

impl Default for OnlineConfig {
    fn default() -> Self {
        Self {
            env_steps: 20_000,
            warmup_env_steps: 2_000,
            episodes_per_round: 8,
            offline_ratio: 0.5,
            sampling: SamplingConfig::Uniform,
            utd_ratio: 1.0,
            eval_every_env_steps: 5_000,
            replay_capacity: 1_000_000,
            limits: EpisodeLimitsConfig::default(),
            trust_region: TrustRegionConfig::default(),
            session: SessionLimitsConfig::default(),
            promotion: PromotionConfig::default(),
            schedule: Schedule::Lockstep,
        }
    }
}

impl OfflineConfig {
    /// Refuses values that cannot be trained with; `key` is the path of this table in the configuration.
    ///
    /// # Errors
    /// [`EngineError::Config`] with the first such key.
    pub fn check(&self, key: &str) -> Result<(), EngineError> {
        let Self { updates, sampling, early_stop, eval_every_updates: _ } = self;
        sampling.check(&format!("{key}.sampling"))?;
        if *updates == 0 {
            return Err(EngineError::setting(format!("{key}.updates"), "at least 1", updates));
        }
        if let Some(EarlyStopConfig { metric, better: _, every_updates, patience }) = early_stop {
            if metric.is_empty() {
                return Err(EngineError::setting(
                    format!("{key}.early_stop.metric"),
                    "the name of a held-out metric",
                    "\"\"",
                ));
            }
            if *every_updates == 0 {
                return Err(EngineError::setting(
                    format!("{key}.early_stop.every_updates"),
                    "at least 1",
                    every_updates,
                ));
            }
            if *patience == 0 {
                return Err(EngineError::setting(
                    format!("{key}.early_stop.patience"),
                    "at least 1",
                    patience,
                ));
            }
        }
        Ok(())
    }
}

impl OnlineConfig {
    /// Refuses values that cannot be trained with; `key` is the path of this table in the configuration.
    ///
    /// # Errors
    /// [`EngineError::Config`] with the first such key.
    pub fn check(&self, key: &str) -> Result<(), EngineError> {
        let Self {
            env_steps,
            warmup_env_steps,
            episodes_per_round,
            offline_ratio,
            sampling,
            utd_ratio,
            eval_every_env_steps: _,
            replay_capacity,
            limits,
            trust_region,
            session: _,
            promotion,
            schedule,
        } = self;
        match schedule {
            Schedule::Lockstep => {}
            Schedule::Async(config) => config.check(&format!("{key}.schedule.async"))?,
            Schedule::Fleet(config) => config.check(&format!("{key}.schedule.fleet"), self)?,
        }
        if *env_steps == 0 {
            return Err(EngineError::setting(format!("{key}.env_steps"), "at least 1", env_steps));
        }
        if warmup_env_steps >= env_steps {
            return Err(EngineError::setting(
                format!("{key}.warmup_env_steps"),
                "less than env_steps",
                warmup_env_steps,
            ));
        }
        if *episodes_per_round == 0 {
            return Err(EngineError::setting(
                format!("{key}.episodes_per_round"),
                "at least 1",
                episodes_per_round,
            ));
        }
        if !(0.0..=1.0).contains(offline_ratio) {
            return Err(EngineError::setting(format!("{key}.offline_ratio"), "0 to 1", offline_ratio));
        }
        sampling.check(&format!("{key}.sampling"))?;
        if !(utd_ratio.is_finite() && *utd_ratio > 0.0) {
            return Err(EngineError::setting(format!("{key}.utd_ratio"), "a positive number", utd_ratio));
        }
        if *replay_capacity == 0 {
            return Err(EngineError::setting(
                format!("{key}.replay_capacity"),
                "at least 1",
                replay_capacity,
            ));
        }
        limits.check(&format!("{key}.limits"))?;
        trust_region.check(&format!("{key}.trust_region"))?;
        if promotion.explore_with == ExploreWith::Newest && !schedule.is_lockstep() {
            let (key, expected) =
                (format!("{key}.promotion.explore_with"), "\"promoted\" unless the schedule is lockstep");
            return Err(EngineError::setting(key, expected, "\"newest\""));
        }
        promotion.check(&format!("{key}.promotion"))
    }
}

impl PhaseConfig {
    /// Which rows are drawn, and which part of a batch is of demonstrations.
    #[must_use]
    pub const fn drawing(&self) -> (SamplingConfig, f64) {
        match self {
            Self::Offline(c) => (c.sampling, 1.0),
            Self::Online(c) => (c.sampling, c.offline_ratio),
        }
    }

    /// Refuses values that cannot be trained with; `index` is the phase's place in the list.
    ///
    /// # Errors
    /// [`EngineError::Config`] with the first such key.
    pub fn check(&self, index: usize) -> Result<(), EngineError> {
        match self {
            Self::Offline(c) => c.check(&format!("phase[{index}].offline")),
            Self::Online(c) => c.check(&format!("phase[{index}].online")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        phase: Vec<PhaseConfig>,
    }

    #[test]
    fn phases_are_read_from_toml_and_unknown_keys_are_named() {
        let text = "[[phase]]\noffline = { updates = 10, early_stop = { patience = 2 } }\n\
                    [[phase]]\nonline = { env_steps = 500, warmup_env_steps = 10 }\n";
        let file: File = toml::from_str(text).unwrap();
        let PhaseConfig::Offline(offline) = &file.phase[0] else { panic!("{:?}", file.phase) };
        assert_eq!((offline.updates, offline.early_stop.as_ref().unwrap().patience), (10, 2));
        let PhaseConfig::Online(online) = &file.phase[1] else { panic!("{:?}", file.phase) };
        assert_eq!((online.env_steps, online.offline_ratio), (500, 0.5));
        let error =
            toml::from_str::<File>("[[phase]]\noffline = { update = 10 }\n").err().unwrap().to_string();
        assert!(error.contains("unknown field `update`") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn unusable_values_are_refused_by_key() {
        let bad = |f: &dyn Fn(&mut OnlineConfig)| {
            let mut c = OnlineConfig::default();
            f(&mut c);
            PhaseConfig::Online(c).check(1).unwrap_err().to_string()
        };
        assert!(PhaseConfig::Online(OnlineConfig::default()).check(0).is_ok());
        assert!(
            bad(&|c| c.offline_ratio = 1.5).starts_with("phase[1].online.offline_ratio: expected 0 to 1")
        );
        assert!(bad(&|c| c.utd_ratio = f64::NAN).contains("utd_ratio"));
        assert!(bad(&|c| c.warmup_env_steps = c.env_steps).contains("warmup_env_steps"));
        assert!(bad(&|c| c.episodes_per_round = 0).contains("episodes_per_round"));
    }
}
