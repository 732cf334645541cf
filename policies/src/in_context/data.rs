//! Learning histories as training windows: steps of one history that follow one another across episodes, and never steps of two.

use std::collections::BTreeSet;
use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{
    DataError, HistoryPhase, HistorySource, LearnError, LearningHistory, Moments, Normalizer, StepEnd, Stream,
};

use super::config::NAME;
use super::shape::{Entry, TokenShape};
use super::tokens::{Before, Masked, Token};
use super::windows::Window;
use crate::nn::require;

/// In which order a window sees a history's episodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EpisodeOrder {
    /// As they were lived.
    #[default]
    Learning,
    /// In a random one: a control, which shows what the order of learning is worth.
    Shuffled,
}

/// Which actions are imitated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Imitated {
    /// Those of the learner whose history it is.
    #[default]
    Learner,
    /// Those of somebody who knew the task; histories must hold them.
    Expert,
}

/// How windows are taken from histories.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WindowConfig {
    /// Steps of a window; twice the model's `window` where absent.
    pub tokens: Option<usize>,
    /// Share of windows that begin where a history does.
    pub cold_start: f64,
    /// Probability with which the action and the reward of the step before are hidden, and the observation (then nothing is asked of
    /// this token).
    pub token_mask: f64,
    /// Part of each history's episodes, from and to (of its steps, where it is a single episode). `[0.9, 1.0]` is the distillation of
    /// experts: a control.
    pub part: [f64; 2],
    /// Order of the episodes.
    pub order: EpisodeOrder,
    /// A window takes every k-th episode, k drawn from these two inclusive: the same learning, but faster.
    pub every: [usize; 2],
    /// Whose actions are imitated.
    pub imitate: Imitated,
}

impl Default for WindowConfig {
    fn default() -> Self {
        Self {
            tokens: None,
            cold_start: 0.2,
            token_mask: 0.3,
            part: [0.0, 1.0],
            order: EpisodeOrder::Learning,
            every: [1, 1],
            imitate: Imitated::Learner,
        }
    }
}

impl WindowConfig {
    /// Refuses what cannot be used.
    ///
    /// # Errors
    /// [`LearnError::Config`] with the first key.
    pub fn check(&self) -> Result<(), LearnError> {
        let Self { tokens, cold_start, token_mask, part, order: _, every, imitate: _ } = self;
        let share = |x: &f64| (0.0..=1.0).contains(x);
        require(
            NAME,
            tokens.is_none_or(|n| (1..=1 << 16).contains(&n)),
            "windows.tokens",
            "must be 1 to 65536",
        )?;
        require(NAME, share(cold_start), "windows.cold_start", "must be 0 to 1")?;
        require(
            NAME,
            (0.0..1.0).contains(token_mask),
            "windows.token_mask",
            "must be at least 0 and below 1",
        )?;
        let ordered = share(&part[0]) && share(&part[1]) && part[0] < part[1];
        require(NAME, ordered, "windows.part", "must be two numbers from 0 to 1, the first one smaller")?;
        require(
            NAME,
            every[0] >= 1 && every[0] <= every[1],
            "windows.every",
            "must be two numbers from 1 on, in order",
        )
    }
}

/// A history, ready to be read as tokens.
#[derive(Clone, Debug)]
struct Ready {
    /// Normalised.
    observations: Vec<f32>,
    actions: Vec<u16>,
    targets: Option<Vec<u16>>,
    /// In units of the data's largest.
    rewards: Vec<f32>,
    ends: Vec<StepEnd>,
    /// What each step and those after it in its episode brought, in units of the data's largest return of an episode.
    returns_to_go: Vec<f32>,
    /// Those that windows are taken from.
    episodes: Vec<Range<usize>>,
    /// Steps that were left out at the beginning of a single episode.
    left_out: usize,
}

/// Histories in memory, and how windows are taken from them.
#[derive(Clone, Debug)]
pub struct TrainingData {
    shape: TokenShape,
    config: WindowConfig,
    tokens: usize,
    histories: Vec<Ready>,
    /// Applied to observations; choices stay as they are.
    pub normalizer: Normalizer,
    /// Rewards are divided by it: the data's largest.
    pub reward_scale: f32,
    /// Returns to go are divided by it: the data's largest return of an episode.
    pub return_scale: f32,
    /// Steps that can be drawn.
    pub steps: usize,
}

/// A step of a history, and the one before it in the window's order.
struct Place {
    at: usize,
    before: Option<usize>,
    /// Of its episode.
    step: usize,
}

/// Buffers of a draw, used again.
#[derive(Clone, Debug, Default)]
pub struct Draw {
    order: Vec<usize>,
    target: Vec<u32>,
    before: Vec<u32>,
}

fn state(what: &str, expected: &str, found: impl Into<String>) -> LearnError {
    LearnError::State { what: what.into(), expected: expected.into(), found: found.into() }
}

fn readable(error: &DataError) -> LearnError {
    state("histories", "readable ones", error.to_string())
}

/// What each step and those after it in its episode brought.
fn returns_to_go(history: &LearningHistory) -> Vec<f32> {
    let mut all = history.rewards.clone();
    for episode in history.episodes() {
        let mut rest = 0.0;
        for reward in all[episode].iter_mut().rev() {
            rest += *reward;
            *reward = rest;
        }
    }
    all
}

impl TrainingData {
    /// Added to deviations.
    const STD_FLOOR: f32 = 1e-3;

    /// Reads the histories of all tasks but those `without`.
    ///
    /// # Errors
    /// When a history cannot be read, none is left, or one lacks the expert's actions that are to be imitated.
    pub fn read(
        source: &dyn HistorySource,
        shape: &TokenShape,
        config: &WindowConfig,
        tokens: usize,
        without: &BTreeSet<usize>,
    ) -> Result<Self, LearnError> {
        let indices = || (0..source.len()).filter(|i| !without.contains(&source.task_of(*i)));
        let dim = shape.observation.len();
        let quantities = shape.quantities() > 0;
        let mut moments = Moments::new(dim);
        let (mut largest, mut largest_return) = (0.0_f32, 0.0_f32);
        let mut histories = Vec::new();
        for i in indices() {
            let history = source.history(i).map_err(|e| readable(&e))?;
            if quantities {
                moments.push_rows(&history.observations);
            }
            largest = history.rewards.iter().fold(largest, |m, r| m.max(r.abs()));
            let ready = Self::ready(history, shape, config, i)?;
            let returns = ready.episodes.iter().filter_map(|e| ready.returns_to_go.get(e.start));
            largest_return = returns.fold(largest_return, |m, r| m.max(r.abs()));
            if !ready.episodes.is_empty() {
                histories.push(ready);
            }
        }
        if histories.is_empty() {
            return Err(state("histories", "at least one with an episode to train on", "none"));
        }
        let mut normalizer = Normalizer::default();
        if quantities {
            normalizer = Normalizer::of(&moments, Self::STD_FLOOR);
            let columns = normalizer.mean.iter_mut().zip(&mut normalizer.std);
            for ((mean, std), _) in columns.zip(&shape.observation).filter(|(_, e)| **e != Entry::Quantity) {
                (*mean, *std) = (0.0, 1.0);
            }
        }
        let scale = |largest: f32| if largest > 0.0 { largest } else { 1.0 };
        let (reward_scale, return_scale) = (scale(largest), scale(largest_return));
        for history in &mut histories {
            normalizer.apply_rows(&mut history.observations);
            history.rewards.iter_mut().for_each(|r| *r /= reward_scale);
            history.returns_to_go.iter_mut().for_each(|r| *r /= return_scale);
        }
        let steps = histories.iter().flat_map(|h| &h.episodes).map(Range::len).sum();
        Ok(Self {
            shape: shape.clone(),
            config: config.clone(),
            tokens,
            histories,
            normalizer,
            reward_scale,
            return_scale,
            steps,
        })
    }

    fn ready(
        history: LearningHistory,
        shape: &TokenShape,
        config: &WindowConfig,
        index: usize,
    ) -> Result<Ready, LearnError> {
        let bins = |rows: &[f32]| -> Vec<u16> {
            let dims = shape.action.iter().cycle();
            rows.iter().zip(dims).map(|(a, bins)| bins.bin_of(*a) as u16).collect()
        };
        let judged = |e: &Range<usize>| history.phases[e.clone()].contains(&HistoryPhase::Eval);
        let episodes: Vec<Range<usize>> = history.episodes().filter(|e| !judged(e)).collect();
        // However short a history is, a part of it is not nothing.
        let part = |n: usize| {
            let [from, to] = config.part.map(|share| (share * n as f64).round() as usize);
            let from = from.min(n.saturating_sub(1));
            from..to.clamp(from + 1, n.max(from + 1))
        };
        let (episodes, left_out) = match episodes.as_slice() {
            [single] => {
                let steps = part(single.len());
                let kept = single.start + steps.start..single.start + steps.end;
                (std::iter::once(kept).collect(), steps.start)
            }
            several => (several.get(part(several.len())).unwrap_or_default().to_vec(), 0),
        };
        let targets = match config.imitate {
            Imitated::Learner => None,
            Imitated::Expert => Some(bins(history.expert_actions.as_deref().ok_or_else(|| {
                state(
                    &format!("history {index}"),
                    "the expert's actions (windows.imitate = \"expert\")",
                    "none",
                )
            })?)),
        };
        Ok(Ready {
            actions: bins(&history.actions),
            targets,
            returns_to_go: if shape.return_to_go { returns_to_go(&history) } else { Vec::new() },
            observations: history.observations,
            rewards: history.rewards,
            ends: history.ends,
            episodes,
            left_out,
        })
    }

    /// How many histories.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.histories.len()
    }
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.histories.is_empty()
    }

    /// Draws a window.
    pub fn draw(&self, stream: &mut Stream, buffers: &mut Draw, window: &mut Window) {
        window.clear();
        let history = &self.histories[stream.below(self.histories.len())];
        let order = &mut buffers.order;
        order.clear();
        let [least, most] = self.config.every;
        let every = least + stream.below(most - least + 1);
        // A window of every k-th episode has at least one.
        let every = every.min(history.episodes.len());
        order.extend((stream.below(every)..history.episodes.len()).step_by(every));
        if self.config.order == EpisodeOrder::Shuffled {
            for i in (1..order.len()).rev() {
                order.swap(i, stream.below(i + 1));
            }
        }
        let steps: usize = order.iter().map(|e| history.episodes[*e].len()).sum();
        let cold = stream.unit() < self.config.cold_start;
        let last = steps.saturating_sub(self.tokens);
        let mut skip = if cold { 0 } else { stream.below(last + 1) };
        let mut before = None;
        for e in order.iter() {
            let episode = history.episodes[*e].clone();
            if skip >= episode.len() {
                skip -= episode.len();
                before = Some(episode.end - 1);
                continue;
            }
            for i in episode.clone() {
                if skip > 0 {
                    skip -= 1;
                } else {
                    let place = Place { at: i, before, step: i - episode.start + history.left_out };
                    self.push(history, place, stream, [&mut buffers.before, &mut buffers.target], window);
                    if window.len() == self.tokens {
                        return;
                    }
                }
                before = Some(i);
            }
        }
    }

    fn push(
        &self,
        history: &Ready,
        Place { at, before, step }: Place,
        stream: &mut Stream,
        [action, target]: [&mut Vec<u32>; 2],
        window: &mut Window,
    ) {
        let (o, a) = (self.shape.observation.len(), self.shape.action.len());
        let row = |all: &[u16], i: usize, to: &mut Vec<u32>| {
            to.clear();
            to.extend(all[i * a..(i + 1) * a].iter().map(|b| u32::from(*b)));
        };
        row(history.targets.as_ref().unwrap_or(&history.actions), at, target);
        let mut hide = || stream.unit() < self.config.token_mask;
        let masked = Masked { observation: hide(), action: hide(), reward: hide() };
        let before = match before {
            None => Before::Nothing,
            Some(i) => {
                row(&history.actions, i, action);
                Before::Step { action, reward: history.rewards[i], end: history.ends[i] }
            }
        };
        let token = Token {
            observation: &history.observations[at * o..(at + 1) * o],
            before,
            step,
            masked,
            return_to_go: history.returns_to_go.get(at).copied().unwrap_or(0.0),
        };
        window.push(token, target, if masked.observation { 0.0 } else { 1.0 });
    }
}
