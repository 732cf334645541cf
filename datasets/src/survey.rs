//! One pass over all episodes of a dataset, from which statistics and checks are made.

use std::ops::ControlFlow;

use serde::Serialize;
use surefoot_core::{DataError, Episode, EpisodeSource, StepEnd};

use crate::load::is_reward_outside;
use crate::pass::pass;

/// An action number this close to -1 or 1 is saturated.
const SATURATED: f32 = 1.0 - 1e-6;

/// One number of a row over all steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Channel {
    /// Its name, or its key and place in it.
    pub name: String,
    /// Its unit, where stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Finite values.
    pub count: usize,
    /// NaN and infinite values.
    pub non_finite: usize,
    /// Smallest finite value.
    pub min: f32,
    /// Largest finite value.
    pub max: f32,
    /// Mean of the finite values.
    pub mean: f64,
    /// Standard deviation of the finite values.
    pub std: f64,
    /// Values at or beyond -1 or 1.
    pub saturated: usize,
    /// Values beyond -1 or 1.
    pub out_of_range: usize,
    #[serde(skip)]
    squares: f64,
}

/// Steps from which on an episode counts for [`Held`]: in shorter ones, a channel may well stand still.
const LONG_STEPS: usize = 20;

/// A channel that stood still for whole episodes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    /// Episodes of at least 20 steps in which it did.
    pub episodes: usize,
    /// The first of them.
    pub first: Option<String>,
}

impl Channel {
    /// The channels of rows that stand one after the other: means first, then squares around them, which is exact enough for a long file.
    fn of_rows(rows: &[f32], width: usize) -> Vec<Self> {
        let mut channels = vec![Self::default(); width];
        for row in rows.chunks_exact(width.max(1)) {
            for (channel, x) in channels.iter_mut().zip(row) {
                channel.look(*x);
            }
        }
        for channel in &mut channels {
            channel.mean /= channel.count.max(1) as f64;
        }
        for row in rows.chunks_exact(width.max(1)) {
            for (channel, x) in channels.iter_mut().zip(row) {
                if x.is_finite() {
                    channel.squares += (f64::from(*x) - channel.mean).powi(2);
                }
            }
        }
        channels
    }

    /// Until all were seen, `mean` is the sum.
    fn look(&mut self, x: f32) {
        if !x.is_finite() {
            self.non_finite += 1;
            return;
        }
        if self.count == 0 {
            (self.min, self.max) = (x, x);
        }
        self.min = self.min.min(x);
        self.max = self.max.max(x);
        self.saturated += usize::from(x.abs() >= SATURATED);
        self.out_of_range += usize::from(x.abs() > 1.0);
        self.count += 1;
        self.mean += f64::from(x);
    }

    /// Takes in what was seen elsewhere.
    fn merge(&mut self, other: &Self) {
        self.non_finite += other.non_finite;
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            (self.min, self.max) = (other.min, other.max);
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.saturated += other.saturated;
        self.out_of_range += other.out_of_range;
        let (n, m) = (self.count as f64, other.count as f64);
        let delta = other.mean - self.mean;
        self.count += other.count;
        self.mean += delta * m / (n + m);
        self.squares += other.squares + delta * delta * n * m / (n + m);
        self.std = (self.squares / (n + m)).sqrt();
    }

    /// Whether it has one value throughout.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.count > 1 && self.min == self.max
    }
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The episode's name.
    pub episode: String,
    /// Which array.
    pub array: &'static str,
    /// Step in the episode.
    pub row: usize,
}

/// One episode in short.
#[derive(Clone, Debug)]
pub(crate) struct Brief {
    pub name: String,
    pub len: usize,
    pub episode_return: f64,
    pub success: Option<bool>,
    pub source: Option<String>,
    pub last: Option<StepEnd>,
    /// Ends before the last step.
    pub early_ends: usize,
    /// Blake3 of observations, actions and rewards.
    pub digest: blake3::Hash,
    pub unrewarded: bool,
    /// Steps whose next observation is not the following observation, with the largest difference.
    pub broken_chain: Option<(usize, usize, f32)>,
    /// The last next observation repeats the last observation.
    pub repeated_last: bool,
    /// Steps whose observation equals the one before.
    pub repeated_rows: usize,
    /// Steps of which observation, action and reward equal those of the step before.
    pub duplicate_rows: usize,
    /// Largest reward of a terminated step.
    pub terminal_reward: Option<f32>,
    /// Largest reward.
    pub best_reward: Option<f32>,
}

/// An episode's part of the figures.
struct Part {
    episode: Episode,
    brief: Brief,
    observation: Vec<Channel>,
    action: Vec<Channel>,
    reward: Vec<Channel>,
}

/// What a pass over all episodes found.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub briefs: Vec<Brief>,
    pub observation: Vec<Channel>,
    pub action: Vec<Channel>,
    pub reward: Channel,
    /// The smallest eight distinct rewards; `None` when there are more.
    pub reward_values: Option<Vec<f32>>,
    /// The first place of each kind of non-finite value, with its count.
    pub non_finite: Vec<(Place, f32, usize)>,
    /// The smallest and largest reward by the file's own spec.
    pub reward_range: Option<(f32, f32)>,
    /// The first reward outside that range, with the count of them.
    pub reward_outside: Option<(Place, f32, usize)>,
    /// Episodes that could not be read.
    pub failures: Vec<DataError>,
    pub steps: usize,
    /// For each observation channel, the long episodes in which it stood still.
    pub held: Vec<Held>,
    /// Episodes of at least 20 steps.
    pub long_episodes: usize,
}

fn digest(episode: &Episode) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for column in [&episode.observation, &episode.action, &episode.reward] {
        let bytes: Vec<u8> = column.iter().flat_map(|x| x.to_le_bytes()).collect();
        hasher.update(&(column.len() as u64).to_le_bytes());
        hasher.update(&bytes);
    }
    hasher.finalize()
}

fn brief(episode: &Episode, dim: usize) -> Brief {
    let len = episode.len();
    fn row(data: &[f32], t: usize, dim: usize) -> &[f32] {
        data.get(t * dim..(t + 1) * dim).unwrap_or_default()
    }
    let rows = |data, t| row(data, t, dim);
    let action_dim = episode.action.len() / len.max(1);
    let mut broken: Option<(usize, usize, f32)> = None;
    let (mut repeated_rows, mut duplicate_rows) = (0, 0);
    for t in 0..len.saturating_sub(1) {
        let (next, following) = (rows(&episode.next_observation, t), rows(&episode.observation, t + 1));
        let difference = next.iter().zip(following).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
        if difference > 0.0 && episode.end[t] == StepEnd::Running {
            broken = Some(match broken {
                Some((n, first, largest)) => (n + 1, first, largest.max(difference)),
                None => (1, t, difference),
            });
        }
        if following == rows(&episode.observation, t) {
            repeated_rows += 1;
            let acted = |t| row(&episode.action, t, action_dim);
            let same = acted(t) == acted(t + 1) && episode.reward[t] == episode.reward[t + 1];
            duplicate_rows += usize::from(same);
        }
    }
    let largest = |rewards: &mut dyn Iterator<Item = f32>| rewards.filter(|r| r.is_finite()).reduce(f32::max);
    let ends = episode.reward.iter().zip(&episode.end);
    let mut terminal = ends.filter(|(_, end)| **end == StepEnd::Terminated).map(|(r, _)| *r);
    let last = len.saturating_sub(1);
    Brief {
        name: episode.name.clone(),
        len,
        episode_return: episode.episode_return(),
        success: episode.success,
        source: episode.source.clone(),
        last: episode.end.last().copied(),
        early_ends: episode.end.iter().take(last).filter(|e| e.is_last()).count(),
        digest: digest(episode),
        unrewarded: len > 0 && episode.reward.iter().all(|r| r.is_nan()),
        broken_chain: broken,
        repeated_last: len > 1
            && episode.end.last() == Some(&StepEnd::Truncated)
            && rows(&episode.next_observation, last) == rows(&episode.observation, last),
        repeated_rows,
        duplicate_rows,
        terminal_reward: largest(&mut terminal),
        best_reward: largest(&mut episode.reward.iter().copied()),
    }
}

impl Survey {
    /// Reads every episode once. Episodes that cannot be read are listed and skipped.
    pub(crate) fn of(source: &dyn EpisodeSource) -> Self {
        let meta = source.meta();
        let (o, a) = (meta.observation_dim, meta.action_dim);
        let reward_range = meta.spec.as_ref().and_then(|s| s.reward_range);
        let mut survey = Self { reward_values: Some(Vec::new()), reward_range, ..Self::default() };
        survey.reward.name = "reward".into();
        let spec = meta.spec.as_ref().filter(|s| s.observation_dim() == o && s.action_dim() == a);
        let mut names: Vec<String> = Vec::with_capacity(o);
        for (key, width) in &meta.observation_keys {
            names.extend((0..*width).map(|i| if *width == 1 { key.clone() } else { format!("{key}[{i}]") }));
        }
        let channel = |name: String, unit: Option<String>| Channel { name, unit, ..Channel::default() };
        survey.observation = names.into_iter().map(|name| channel(name, None)).collect();
        survey.action = (0..a)
            .map(|i| {
                channel(format!("action[{i}]"), meta.action_units.as_ref().and_then(|u| u.get(i).cloned()))
            })
            .collect();
        if let Some(spec) = spec {
            survey.observation =
                spec.observation.iter().map(|f| channel(f.name.clone(), Some(f.unit.clone()))).collect();
            survey.action =
                spec.action.iter().map(|f| channel(f.name.clone(), Some(f.unit.clone()))).collect();
        }
        survey.held = vec![Held::default(); o];
        let look = |_, episode: Result<Episode, DataError>| {
            let episode = episode?;
            Ok(Part {
                brief: brief(&episode, o),
                observation: Channel::of_rows(&episode.observation, o),
                action: Channel::of_rows(&episode.action, a),
                reward: Channel::of_rows(&episode.reward, 1),
                episode,
            })
        };
        pass(source, 0..source.len(), look, |part| {
            match part {
                Ok(part) => survey.add(part),
                Err(error) => survey.failures.push(error),
            }
            ControlFlow::<()>::Continue(())
        });
        survey
    }

    fn add(&mut self, part: Part) {
        let Part { episode, brief, observation, action, reward } = part;
        for (channels, seen) in [(&mut self.observation, &observation), (&mut self.action, &action)] {
            for (channel, seen) in channels.iter_mut().zip(seen) {
                channel.merge(seen);
            }
        }
        if brief.len >= LONG_STEPS {
            self.long_episodes += 1;
            for (held, _) in self.held.iter_mut().zip(&observation).filter(|(_, seen)| seen.is_frozen()) {
                held.episodes += 1;
                held.first.get_or_insert_with(|| brief.name.clone());
            }
        }
        if !brief.unrewarded {
            if let [reward] = reward.as_slice() {
                self.reward.merge(reward);
            }
            for (row, r) in episode.reward.iter().enumerate() {
                if self.reward_range.is_some_and(|range| r.is_finite() && is_reward_outside(*r, range)) {
                    let place = || Place { episode: brief.name.clone(), array: "reward", row };
                    self.reward_outside.get_or_insert_with(|| (place(), *r, 0)).2 += 1;
                }
                if let Some(values) = &mut self.reward_values
                    && r.is_finite()
                    && !values.contains(r)
                {
                    values.push(*r);
                    if values.len() > 8 {
                        self.reward_values = None;
                    }
                }
            }
        }
        let (o, a) = (self.observation.len(), self.action.len());
        for (array, rows, width) in [
            ("observation", &episode.observation, o),
            ("next_observation", &episode.next_observation, o),
            ("action", &episode.action, a),
            ("reward", &episode.reward, 1),
        ] {
            if array == "reward" && brief.unrewarded {
                continue;
            }
            let count = rows.iter().filter(|x| !x.is_finite()).count();
            let Some(at) = rows.iter().position(|x| !x.is_finite()) else { continue };
            match self.non_finite.iter_mut().find(|(place, _, _)| place.array == array) {
                Some((_, _, total)) => *total += count,
                None => {
                    let place = Place { episode: brief.name.clone(), array, row: at / width.max(1) };
                    self.non_finite.push((place, rows[at], count));
                }
            }
        }
        self.steps += brief.len;
        self.briefs.push(brief);
    }
}
