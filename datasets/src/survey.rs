//! One pass over all episodes of a dataset, from which statistics and checks are made.

use rayon::prelude::*;
use serde::Serialize;
use surefoot_core::{DataError, Episode, EpisodeSource, StepEnd};

use crate::load::is_reward_outside;

/// Episodes decoded side by side; bounds the memory of a pass.
const BLOCK: usize = 64;

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

impl Channel {
    fn add(&mut self, x: f32) {
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
        // Welford's update: exact enough for a long file.
        self.count += 1;
        let delta = f64::from(x) - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (f64::from(x) - self.mean);
        self.std = (self.squares / self.count as f64).sqrt();
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
    let rows = |data: &'_ [f32], t: usize| data.get(t * dim..(t + 1) * dim).unwrap_or_default().to_vec();
    let mut broken: Option<(usize, usize, f32)> = None;
    let mut repeated_rows = 0;
    for t in 0..len.saturating_sub(1) {
        let (next, following) = (rows(&episode.next_observation, t), rows(&episode.observation, t + 1));
        let difference = next.iter().zip(&following).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
        if difference > 0.0 && episode.end[t] == StepEnd::Running {
            broken = Some(match broken {
                Some((n, first, largest)) => (n + 1, first, largest.max(difference)),
                None => (1, t, difference),
            });
        }
        repeated_rows += usize::from(following == rows(&episode.observation, t));
    }
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
        let mut start = 0;
        while start < source.len() {
            let stop = (start + BLOCK).min(source.len());
            let block: Vec<Result<(Episode, Brief), DataError>> = (start..stop)
                .into_par_iter()
                .map(|i| {
                    let episode = source.episode(i)?;
                    let brief = brief(&episode, o);
                    Ok((episode, brief))
                })
                .collect();
            for result in block {
                match result {
                    Ok((episode, brief)) => survey.add(&episode, brief),
                    Err(error) => survey.failures.push(error),
                }
            }
            start = stop;
        }
        survey
    }

    fn add(&mut self, episode: &Episode, brief: Brief) {
        for (channels, rows) in
            [(&mut self.observation, &episode.observation), (&mut self.action, &episode.action)]
        {
            for row in rows.chunks_exact(channels.len().max(1)) {
                for (channel, x) in channels.iter_mut().zip(row) {
                    channel.add(*x);
                }
            }
        }
        if !brief.unrewarded {
            for (row, r) in episode.reward.iter().enumerate() {
                self.reward.add(*r);
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
