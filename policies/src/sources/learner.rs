//! `learner`: any learner of this program as a source, from a replay buffer.
//!
//! An episode is lived with one policy; after it the learner makes `updates_per_step` updates for each of its steps, from batches that are drawn evenly
//! from all steps so far, and its next policy acts. Before that come `demonstrations`: episodes of somebody who knows the task, a share of whose
//! actions is random (phase `offline` in the history: what the learner was given); then `random_episodes`; then `offline_updates` on all of these. Every
//! `judge_every_episodes` an episode is lived without exploration and not learned from (phase `eval`). `update` in the history is the version of the
//! policy that acted.
//!
//! A learner of quantities acts in `[-1, 1]`: each number is the nearest of the evenly spaced values that the family chooses from, and that value is what
//! is learned from, since it is what was done. What is seen is handed on as the networks of the other sources see it: a choice is one 1 among
//! zeros, a bounded quantity runs from -1 to 1.
//!
//! | row | shape |
//! |---|---|
//! | observation of the learner | `[inputs]` |
//! | action of the learner | `[action_dim]`, in `[-1, 1]` |

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{
    ActMode, Batch, EnvSpec, Episode, Field, HistoryPhase, LearnError, Learner, Outcome, PhaseKind, Policy,
    ReplayBuffer, ResetScope, Rows, RowsMut, SourceAlgorithm, Stream, TransitionSource,
};

use super::network::Inputs;
use super::noisy_oracle::NoisyOracleConfig;
use super::{SourceContext, SourceError, within};
use crate::{LearnerConfig, LearnerContext};

const NAME: &str = "learner";

/// Settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LearnerSourceConfig {
    /// Who learns, with its own settings: `learner.awac = {}`.
    pub learner: Box<LearnerConfig>,
    /// Episodes of somebody who knows the task, before everything else.
    pub demonstrations: usize,
    /// Share of random actions in them.
    pub demonstration_random_share: f64,
    /// Episodes of random actions before the first policy of the learner acts.
    pub random_episodes: usize,
    /// Updates on these episodes before it acts.
    pub offline_updates: usize,
    /// Updates after an episode, for each of its steps.
    pub updates_per_step: f64,
    /// Steps that are learned from: the last ones.
    pub replay_steps: usize,
    /// Every so many-th episode is lived without exploration and not learned from; 0 for none.
    pub judge_every_episodes: usize,
}

impl Default for LearnerSourceConfig {
    fn default() -> Self {
        Self {
            learner: Box::new(LearnerConfig::Awac(crate::awac::AwacConfig::default())),
            demonstrations: 0,
            demonstration_random_share: 0.3,
            random_episodes: 10,
            offline_updates: 0,
            updates_per_step: 1.0,
            replay_steps: 100_000,
            judge_every_episodes: 0,
        }
    }
}

impl LearnerSourceConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// When a setting is out of range, an action is a choice without a value, nobody knows a task that is to be demonstrated, or the learner's own
    /// settings cannot be used.
    pub fn build(&self, context: &SourceContext) -> Result<Box<dyn SourceAlgorithm>, SourceError> {
        let Self {
            learner: _,
            demonstrations,
            demonstration_random_share,
            random_episodes,
            offline_updates,
            updates_per_step,
            replay_steps,
            judge_every_episodes,
        } = self;
        within(NAME, "demonstrations", *demonstrations as f64, [0.0, 1e6])?;
        within(NAME, "demonstration_random_share", *demonstration_random_share, [0.0, 1.0])?;
        let first_needed = if *demonstrations == 0 { 1.0 } else { 0.0 };
        within(NAME, "random_episodes", *random_episodes as f64, [first_needed, 1e6])?;
        within(NAME, "offline_updates", *offline_updates as f64, [0.0, 1e7])?;
        within(NAME, "updates_per_step", *updates_per_step, [0.0, 1000.0])?;
        within(NAME, "replay_steps", *replay_steps as f64, [1.0, 1e8])?;
        within(NAME, "judge_every_episodes", *judge_every_episodes as f64, [0.0, 1e9])?;
        let spec = context.spec();
        let family = &spec.name;
        let wordless = spec.action.iter().find(|f| f.choices.is_some() && f.value(0).is_none());
        if let Some(field) = wordless {
            return Err(SourceError::Family {
                source_name: NAME,
                family: family.clone(),
                needs: "actions that are quantities or evenly spaced values",
                found: format!("{}, a choice without values", field.name),
            });
        }
        let inputs = Inputs::new(NAME, family, &spec.observation)?;
        let action = |f: &Field| Field { choices: None, ..f.clone() };
        let learner_spec = EnvSpec {
            observation: (0..inputs.len()).map(|i| Field::unbounded(format!("input{i}"), "1")).collect(),
            action: spec.action.iter().map(action).collect(),
            ..spec.clone()
        };
        let oracle = match demonstrations {
            0 => None,
            _ => {
                let share = *demonstration_random_share;
                Some(NoisyOracleConfig { last_random_share: share }.build_even(context, NAME)?)
            }
        };
        let build = |seed| self.learner.build(&LearnerContext::new(learner_spec.clone(), seed));
        let learner = build(0).map_err(|e| SourceError::Setting {
            source_name: NAME,
            key: "learner",
            reason: format!("cannot be used: {e}"),
        })?;
        let replay = ReplayBuffer::new(inputs.len(), spec.action_dim(), *replay_steps);
        let mut source = LearnerSource {
            config: self.clone(),
            spec: learner_spec,
            choices: spec.action.iter().map(|f| f.choices).collect(),
            inputs,
            oracle,
            learner,
            policy: None,
            replay,
            batch: Batch::default(),
            random: Stream::new(0, NAME, 0),
            drawing: Stream::new(0, NAME, 1),
            seed: 0,
            episode: 0,
            lived: Episode::default(),
            failure: None,
        };
        source.reset(0);
        Ok(Box::new(source))
    }
}

/// Who acts in an episode.
#[derive(Clone, Copy, PartialEq)]
enum Acting {
    Oracle,
    Chance,
    Policy(ActMode),
}

struct LearnerSource {
    config: LearnerSourceConfig,
    /// As the learner sees the family.
    spec: EnvSpec,
    /// Of each number of an action; none where it is a quantity.
    choices: Vec<Option<u32>>,
    inputs: Inputs,
    oracle: Option<Box<dyn SourceAlgorithm>>,
    learner: Box<dyn Learner>,
    /// What acts; nothing until the learner does.
    policy: Option<Box<dyn Policy>>,
    replay: ReplayBuffer,
    batch: Batch,
    random: Stream,
    drawing: Stream,
    seed: u64,
    episode: usize,
    /// The episode that is under way.
    lived: Episode,
    failure: Option<String>,
}

impl LearnerSource {
    fn acting(&self) -> Acting {
        let LearnerSourceConfig { demonstrations, random_episodes, judge_every_episodes, .. } = self.config;
        if self.episode < demonstrations {
            return Acting::Oracle;
        }
        let Some(own) = self.episode.checked_sub(demonstrations + random_episodes) else {
            return Acting::Chance;
        };
        let judged = judge_every_episodes > 0 && (own + 1).is_multiple_of(judge_every_episodes);
        Acting::Policy(if judged { ActMode::Exploit } else { ActMode::Explore })
    }

    /// The index of the choice that is nearest to a number in `[-1, 1]`, and that number's place among the choices.
    fn nearest(choices: u32, x: f32) -> (f32, f32) {
        let last = choices.saturating_sub(1) as f32;
        // A NaN becomes the first.
        let index = ((x + 1.0) * 0.5 * last).round().clamp(0.0, last) as u32 as f32;
        (index, Self::place(choices, index))
    }

    /// The number in `[-1, 1]` that a choice stands for.
    fn place(choices: u32, index: f32) -> f32 {
        match choices {
            0 | 1 => 0.0,
            n => index * 2.0 / (n - 1) as f32 - 1.0,
        }
    }

    /// Begins the learner's first phase with what there is; its policy acts from here on.
    fn begin(&mut self) -> Result<(), LearnError> {
        self.learner.fit(&self.replay, &[])?;
        if self.config.offline_updates > 0 {
            self.learner.enter_phase(PhaseKind::Offline)?;
            self.update(PhaseKind::Offline, self.config.offline_updates)?;
        }
        self.learner.enter_phase(PhaseKind::Online)
    }

    fn update(&mut self, phase: PhaseKind, updates: usize) -> Result<(), LearnError> {
        let plan = self.learner.sample_plan(phase);
        let mut rows = vec![0; plan.batch()];
        for _ in 0..updates {
            rows.iter_mut().for_each(|row| *row = self.drawing.below(self.replay.len()));
            self.batch.clear(self.replay.observation_dim(), self.replay.action_dim());
            plan.append(&self.replay as &dyn TransitionSource, &rows, &mut self.batch)?;
            self.learner.update(&self.batch)?;
        }
        Ok(())
    }

    /// What an episode changes.
    fn learn(&mut self, acted: Acting) -> Result<(), LearnError> {
        let lived = std::mem::take(&mut self.lived);
        let steps = lived.len();
        if acted != Acting::Policy(ActMode::Exploit) {
            self.replay.push_episode(&lived);
        }
        self.episode += 1;
        if !matches!(self.acting(), Acting::Policy(_)) {
            return Ok(());
        }
        match acted {
            Acting::Policy(ActMode::Explore) => {
                let updates = (steps as f64 * self.config.updates_per_step).round() as usize;
                self.update(PhaseKind::Online, updates)?;
            }
            Acting::Policy(ActMode::Exploit) => {}
            // The first time.
            Acting::Oracle | Acting::Chance => self.begin()?,
        }
        let mut policy = self.learner.policy(1)?;
        let seed = Stream::new(self.seed, "learner/episode", self.episode as u64).bits();
        policy.reset(0, ResetScope::Episode, seed);
        self.policy = Some(policy);
        Ok(())
    }
}

impl SourceAlgorithm for LearnerSource {
    fn reset(&mut self, seed: u64) {
        self.failure = None;
        match self.config.learner.build(&LearnerContext::new(self.spec.clone(), seed)) {
            Ok(learner) => self.learner = learner,
            Err(e) => self.failure = Some(e.to_string()),
        }
        if let Some(oracle) = &mut self.oracle {
            oracle.reset(Stream::new(seed, "learner/oracle", 0).bits());
        }
        self.replay = ReplayBuffer::new(self.inputs.len(), self.choices.len(), self.config.replay_steps);
        (self.random, self.drawing) = (Stream::new(seed, NAME, 0), Stream::new(seed, NAME, 1));
        (self.seed, self.episode, self.policy, self.lived) = (seed, 0, None, Episode::default());
    }

    fn act(&mut self, observation: &[f32], action: &mut [f32]) {
        let first = self.lived.observation.len();
        self.inputs.append(observation, &mut self.lived.observation);
        match (self.acting(), &mut self.oracle, &mut self.policy) {
            (Acting::Oracle, Some(oracle), _) => oracle.act(observation, action),
            (Acting::Policy(mode), _, Some(policy)) => {
                let seen = Rows::new(&self.lived.observation[first..], self.inputs.len());
                let width = action.len();
                if let Err(e) = policy.act(seen, mode, RowsMut::new(action, width)) {
                    self.failure = Some(e.to_string());
                }
                for (number, choices) in action.iter_mut().zip(&self.choices) {
                    *number = choices.map_or(*number, |n| Self::nearest(n, *number).0);
                }
            }
            _ => {
                for (number, choices) in action.iter_mut().zip(&self.choices) {
                    *number = match choices {
                        Some(n) => self.random.below(*n as usize) as f32,
                        None => self.random.uniform(-1.0, 1.0) as f32,
                    };
                }
            }
        }
        let done = action.iter().zip(&self.choices);
        self.lived.action.extend(done.map(|(x, choices)| choices.map_or(*x, |n| Self::place(n, *x))));
    }

    fn observe(&mut self, next_observation: &[f32], outcome: &Outcome) {
        let acted = self.acting();
        if let (Acting::Oracle, Some(oracle)) = (acted, &mut self.oracle) {
            oracle.observe(next_observation, outcome);
        }
        self.inputs.append(next_observation, &mut self.lived.next_observation);
        self.lived.reward.push(outcome.reward);
        self.lived.end.push(outcome.end);
        if outcome.end.is_last()
            && let Err(e) = self.learn(acted)
        {
            self.failure = Some(e.to_string());
        }
    }

    fn updates(&self) -> u32 {
        u32::try_from(self.learner.updates()).unwrap_or(u32::MAX)
    }

    fn phase(&self) -> HistoryPhase {
        match self.acting() {
            Acting::Oracle => HistoryPhase::Offline,
            Acting::Chance | Acting::Policy(ActMode::Explore) => HistoryPhase::Online,
            Acting::Policy(ActMode::Exploit) => HistoryPhase::Eval,
        }
    }

    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_the_nearest_to_its_own_place() {
        for n in [2, 9, 48] {
            for index in 0..n {
                let place = LearnerSource::place(n, index as f32);
                assert_eq!(LearnerSource::nearest(n, place), (index as f32, place), "{index} of {n}");
            }
            assert_eq!(LearnerSource::nearest(n, 7.0).0, (n - 1) as f32);
            assert_eq!(LearnerSource::nearest(n, f32::NAN).0, 0.0);
        }
        assert_eq!(LearnerSource::nearest(9, 0.1), (4.0, 0.0));
        assert_eq!(LearnerSource::nearest(1, 0.4), (0.0, 0.0));
    }
}
