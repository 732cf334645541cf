//! How a stage draws the rows of its batches: evenly, by priority, or by what episodes brought.

use surefoot_core::{Blobs, Learner, Prioritized, ReplayBuffer, SamplePlan, Stream, TransitionSource};

use crate::EngineError;
use crate::demonstrations::{Demonstrations, Part};

pub use crate::sampling_config::{BestEpisodesConfig, PrioritizedConfig, ReturnWeightConfig, SamplingConfig};

/// Ranges of rows with the weight that each of their rows has.
struct Ranges {
    /// First row, rows, and the weights of all ranges up to this one together.
    ranges: Vec<(usize, usize, f64)>,
    /// Rows from this one on are behind all ranges.
    end: usize,
    /// Of each of those.
    added: f64,
}

impl Ranges {
    fn new(parts: impl Iterator<Item = (usize, usize, f64)>, added: f64, end: usize) -> Self {
        let mut total = 0.0;
        let ranges = parts
            .map(|(first, rows, weight)| {
                total += rows as f64 * weight;
                (first, rows, total)
            })
            .collect();
        Self { ranges, end, added }
    }

    fn draw(&self, rows: usize, stream: &mut Stream) -> usize {
        let (end, total) = (self.end, self.ranges.last().map_or(0.0, |(_, _, total)| *total));
        let behind = rows.saturating_sub(end);
        let at = stream.unit() * (total + self.added * behind as f64);
        let range = self.ranges.partition_point(|(_, _, total)| *total <= at);
        match self.ranges.get(range) {
            Some((first, n, _)) => first + stream.below(*n),
            None if behind > 0 => end + stream.below(behind),
            // Rounding led behind the last range.
            None => self.ranges.last().map_or(0, |(first, n, _)| first + stream.below(*n)),
        }
    }
}

/// The rows of a batch.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Drawn {
    pub demonstrations: Vec<usize>,
    pub online: Vec<usize>,
    /// Of all of them, in this order; none where each counts 1.
    pub weights: Vec<f32>,
}

enum Kind {
    Uniform,
    Ranges(Ranges),
    Prioritized {
        beta: f64,
        demonstrations: Prioritized,
        online: Prioritized,
        /// Rows that had been written online when priorities were last looked at.
        written: u64,
    },
}

/// Draws the rows of a stage's batches. What it remembers, priorities, is part of a checkpoint.
pub(crate) struct Sampler(Kind);

const DEMONSTRATIONS: &str = "state/priorities/demonstrations.f64le";
const ONLINE: &str = "state/priorities/online.f64le";
const WRITTEN: &str = "state/priorities/written.u64le";

impl Sampler {
    /// As a stage begins.
    pub fn new(config: SamplingConfig, train: &Part) -> Self {
        Self(match config {
            SamplingConfig::Uniform => {
                let even = train.stretches.iter().all(|s| train.weight(s.set) == 1.0);
                let all = train.stretches.iter().map(|s| (s.rows.start, s.rows.len(), train.weight(s.set)));
                if even { Kind::Uniform } else { Kind::Ranges(Ranges::new(all, 1.0, train.recorded())) }
            }
            SamplingConfig::WeightedByReturn(ReturnWeightConfig { temperature }) => {
                let sums = || train.stretches.iter().map(|s| s.reward_sum);
                let (low, high) =
                    (sums().fold(f64::INFINITY, f64::min), sums().fold(f64::NEG_INFINITY, f64::max));
                let weight = |sum: f64| {
                    let g = if high > low { (sum - low) / (high - low) } else { 1.0 };
                    (g / temperature).exp()
                };
                let all = train
                    .stretches
                    .iter()
                    .map(|s| (s.rows.start, s.rows.len(), train.weight(s.set) * weight(s.reward_sum)));
                Kind::Ranges(Ranges::new(all, weight(high), train.recorded()))
            }
            SamplingConfig::BestEpisodes(best) => {
                let sums: Vec<f64> = train.stretches.iter().map(|s| s.reward_sum).collect();
                let kept = train.stretches.iter().zip(best.kept(&sums)).filter(|(_, kept)| *kept);
                let all = kept.map(|(s, _)| (s.rows.start, s.rows.len(), train.weight(s.set)));
                Kind::Ranges(Ranges::new(all, 1.0, train.recorded()))
            }
            SamplingConfig::Prioritized(PrioritizedConfig { alpha, beta }) => Kind::Prioritized {
                beta,
                demonstrations: Prioritized::new(train.len(), alpha),
                online: Prioritized::new(0, alpha),
                written: 0,
            },
        })
    }

    /// Draws the rows of a batch: `offline_ratio` of them demonstrations. Where one of the two has no rows the other gives all.
    pub fn draw(
        &mut self,
        rows: usize,
        offline_ratio: f64,
        (train, replay): (&Part, &ReplayBuffer),
        stream: &mut Stream,
    ) -> Drawn {
        let from_demonstrations = match (train.is_empty(), replay.is_empty()) {
            (_, true) => rows,
            (true, false) => 0,
            (false, false) => (rows as f64 * offline_ratio).round() as usize,
        };
        let from_online = rows - from_demonstrations;
        let mut drawn = Drawn::default();
        match &mut self.0 {
            Kind::Uniform => {
                drawn.demonstrations = (0..from_demonstrations).map(|_| stream.below(train.len())).collect();
            }
            Kind::Ranges(ranges) => {
                drawn.demonstrations =
                    (0..from_demonstrations).map(|_| ranges.draw(train.len(), stream)).collect();
            }
            Kind::Prioritized { beta, demonstrations, online, written } => {
                demonstrations.admit(train.len(), demonstrations.len()..train.len());
                let capacity = replay.capacity() as u64;
                let new = (*written).max(replay.written().saturating_sub(capacity))..replay.written();
                online.admit(replay.len(), new.map(|w| (w % capacity) as usize));
                *written = replay.written();
                let mut weights = Vec::new();
                demonstrations.sample(
                    from_demonstrations,
                    *beta,
                    stream,
                    &mut drawn.demonstrations,
                    &mut drawn.weights,
                );
                online.sample(from_online, *beta, stream, &mut drawn.online, &mut weights);
                drawn.weights.append(&mut weights);
                return drawn;
            }
        }
        drawn.online = (0..from_online).map(|_| stream.below(replay.len())).collect();
        drawn
    }

    /// Draws demonstrations alone, so that they are `offline_ratio` (below 1) of a batch with `fresh` rows beside them.
    pub fn draw_beside(
        &mut self,
        fresh: usize,
        offline_ratio: f64,
        (train, replay): (&Part, &ReplayBuffer),
        stream: &mut Stream,
    ) -> Drawn {
        let rows = (fresh as f64 * offline_ratio / (1.0 - offline_ratio)).round() as usize;
        if train.is_empty() { Drawn::default() } else { self.draw(rows, 1.0, (train, replay), stream) }
    }

    /// Takes in by how much the learner was off.
    pub fn learn(&mut self, drawn: &Drawn, errors: &[f32]) {
        if let Kind::Prioritized { demonstrations, online, .. } = &mut self.0 {
            let (ours, theirs) = errors.split_at(drawn.demonstrations.len().min(errors.len()));
            demonstrations.update(&drawn.demonstrations, ours);
            online.update(&drawn.online, theirs);
        }
    }

    /// Adds what it remembers to the files of a checkpoint.
    pub fn save(&self, files: &mut Blobs) {
        if let Kind::Prioritized { beta: _, demonstrations, online, written } = &self.0 {
            files.insert(DEMONSTRATIONS.into(), demonstrations.to_bytes());
            files.insert(ONLINE.into(), online.to_bytes());
            files.insert(WRITTEN.into(), written.to_le_bytes().to_vec());
        }
    }

    /// As a stage goes on from a checkpoint; the file that does not fit, otherwise.
    pub fn restored(
        config: SamplingConfig,
        (train, replay): (&Part, &ReplayBuffer),
        files: &mut Blobs,
    ) -> Result<Self, &'static str> {
        let SamplingConfig::Prioritized(PrioritizedConfig { alpha, beta }) = config else {
            return Ok(Self::new(config, train));
        };
        let mut take = |file: &'static str| files.remove(file).ok_or(file);
        let fits = |rows: &Prioritized, most: usize| rows.len() <= most;
        let demonstrations = Prioritized::from_bytes(&take(DEMONSTRATIONS)?, alpha);
        let demonstrations = demonstrations.filter(|rows| fits(rows, train.len())).ok_or(DEMONSTRATIONS)?;
        let online = Prioritized::from_bytes(&take(ONLINE)?, alpha);
        let online = online.filter(|rows| fits(rows, replay.len())).ok_or(ONLINE)?;
        let written = take(WRITTEN)?.try_into().map_err(|_| WRITTEN)?;
        Ok(Self(Kind::Prioritized { beta, demonstrations, online, written: u64::from_le_bytes(written) }))
    }
}

/// Refuses a stage that its demonstrations do not suffice for.
pub(crate) fn check_stage(
    stage: &str,
    sampling: SamplingConfig,
    learner: &dyn Learner,
    (plan, offline_ratio): (SamplePlan, f64),
    demonstrations: &Demonstrations,
) -> Result<(), EngineError> {
    let refuse =
        |key: String, expected: String, found: String| Err(EngineError::Config { key, expected, found });
    let (train, name) = (&demonstrations.train, learner.name());
    let wanted = (plan.batch() as f64 * offline_ratio).round() as usize;
    if wanted > train.len() && plan.waits_for().is_none() {
        let expected = format!(
            "a batch with at most {} rows of demonstrations, as many as are learned from (a smaller batch of learner.{name}, a smaller training.holdout_fraction, or more data)",
            train.len()
        );
        return refuse(format!("stage {stage}: batch of {name}"), expected, format!("{wanted} rows"));
    }
    if let SamplePlan::Sequences { batch: _, length } = plan {
        let longest = train.longest_run();
        if length > longest {
            let expected = format!(
                "at most {longest} steps, those of the longest episode (shorter sequences, or longer episodes)"
            );
            return refuse(format!("stage {stage}: sequence of {name}"), expected, format!("{length} steps"));
        }
    }
    if let SamplePlan::Transitions { returns: surefoot_core::Returns::MonteCarlo { .. }, .. } = plan
        && !demonstrations.terminated
    {
        let expected = format!(
            "learner.{name} with one_step or n_step returns, as no demonstration ends in a termination (or data whose files say where the task ended: `surefoot data stats`)"
        );
        return refuse(format!("stage {stage}: returns"), expected, "monte_carlo".into());
    }
    let weighted = demonstrations.weights().iter().position(|w| *w != 1.0);
    if let (SamplingConfig::Prioritized(_), Some(i)) = (sampling, weighted) {
        let expected = "1, as prioritized sampling goes by errors alone (or sampling = \"uniform\")".into();
        return refuse(format!("data[{i}].weight"), expected, demonstrations.weights()[i].to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use surefoot_core::{EnvSpec, Episode, Field, StepEnd};

    use super::*;
    use crate::demonstrations::DemonstrationSet;

    fn spec() -> EnvSpec {
        EnvSpec {
            name: "line".into(),
            observation: vec![Field::unbounded("x", "m")],
            action: vec![Field::bounded("v", "m/s", -1.0, 1.0)],
            step_secs: 0.1,
            max_steps: 10,
            reward_range: None,
            contract_hash: None,
        }
    }

    fn episode(x: f32, steps: usize, reward: f32) -> Episode {
        Episode {
            observation: vec![x; steps],
            next_observation: vec![x; steps],
            action: vec![0.0; steps],
            reward: vec![reward; steps],
            end: vec![StepEnd::Running; steps],
            ..Episode::default()
        }
    }

    fn demonstrations(sets: &[(&[Episode], f64)]) -> Demonstrations {
        let set = |(e, weight): &(&[Episode], f64)| {
            DemonstrationSet::in_memory(e, &spec()).unwrap().with_weight(*weight)
        };
        Demonstrations::new(sets.iter().map(set).collect(), &spec(), 0.0, 0).unwrap()
    }

    /// Which part of many draws has each observation.
    fn shares(sampling: SamplingConfig, d: &Demonstrations, values: usize) -> Vec<f64> {
        let mut sampler = Sampler::new(sampling, &d.train);
        let replay = ReplayBuffer::new(1, 1, 1);
        let drawn = sampler.draw(40_000, 1.0, (&d.train, &replay), &mut Stream::new(1, "t", 0));
        let mut counts = vec![0.0; values];
        for row in drawn.demonstrations {
            d.train.scan(row, 1, &mut |step| counts[step[0] as usize] += 1.0 / 40_000.0).unwrap();
        }
        counts
    }

    proptest! {
        #[test]
        fn batches_have_the_asked_size_and_begin_with_demonstrations(rows in 1_usize..64, ratio in 0.0_f64..=1.0, kind in 0..3) {
            let d = demonstrations(&[(&[episode(1.0, 5, 0.0)], 1.0)]);
            let mut online = ReplayBuffer::new(1, 1, 100);
            online.push_episode(&episode(2.0, 7, 0.0));
            let sampling = [
                SamplingConfig::Uniform,
                SamplingConfig::Prioritized(PrioritizedConfig::default()),
                SamplingConfig::WeightedByReturn(ReturnWeightConfig::default()),
            ][kind as usize];
            let mut sampler = Sampler::new(sampling, &d.train);
            let drawn = sampler.draw(rows, ratio, (&d.train, &online), &mut Stream::new(0, "t", 0));
            let offline = (rows as f64 * ratio).round() as usize;
            prop_assert_eq!((drawn.demonstrations.len(), drawn.online.len()), (offline, rows - offline));
            prop_assert!(drawn.demonstrations.iter().all(|i| *i < 5) && drawn.online.iter().all(|i| *i < 7));
            prop_assert_eq!(drawn.weights.len(), if kind == 1 { rows } else { 0 });
            let none = ReplayBuffer::new(1, 1, 1);
            let drawn = sampler.draw(rows, ratio, (&d.train, &none), &mut Stream::new(0, "t", 0));
            prop_assert_eq!(drawn.demonstrations.len(), rows);
        }
    }

    #[test]
    fn rows_are_drawn_by_the_weights_of_their_datasets() {
        let (few, many) = ([episode(0.0, 10, 0.0)], [episode(1.0, 20, 0.0), episode(2.0, 10, 0.0)]);
        let even = shares(SamplingConfig::Uniform, &demonstrations(&[(&few, 1.0), (&many, 1.0)]), 3);
        assert!((even[0] - 0.25).abs() < 0.01, "{even:?}");
        let thrice = shares(SamplingConfig::Uniform, &demonstrations(&[(&few, 3.0), (&many, 1.0)]), 3);
        assert!((thrice[0] - 0.5).abs() < 0.01 && (thrice[1] - 2.0 * thrice[2]).abs() < 0.02, "{thrice:?}");
    }

    #[test]
    fn better_episodes_are_drawn_more_often() {
        let episodes = [episode(0.0, 10, -1.0), episode(1.0, 10, 0.0), episode(2.0, 10, -0.5)];
        let sampling = SamplingConfig::WeightedByReturn(ReturnWeightConfig { temperature: 1.0 });
        let found = shares(sampling, &demonstrations(&[(&episodes, 1.0)]), 3);
        let total = 1.0 + 1.0_f64.exp() + 0.5_f64.exp();
        for (share, weight) in found.iter().zip([1.0, 1.0_f64.exp(), 0.5_f64.exp()]) {
            assert!((share - weight / total).abs() < 0.01, "{found:?}");
        }
        let best = |fraction| SamplingConfig::BestEpisodes(BestEpisodesConfig { fraction });
        let one = shares(best(0.1), &demonstrations(&[(&episodes, 1.0)]), 3);
        assert!(one[0] == 0.0 && one[1] > 0.99 && one[2] == 0.0, "{one:?}");
        let two = shares(best(0.7), &demonstrations(&[(&episodes[..1], 1.0), (&episodes[1..], 1.0)]), 3);
        assert!(two[0] == 0.0 && (two[1] - 0.5).abs() < 0.01, "{two:?}");
        let all = shares(best(1.0), &demonstrations(&[(&episodes, 1.0)]), 3);
        assert!(all.iter().all(|share| (share - 1.0 / 3.0).abs() < 0.01), "{all:?}");
        let same = [episode(0.0, 10, 1.0), episode(1.0, 10, 1.0)];
        let even = shares(sampling, &demonstrations(&[(&same, 1.0)]), 2);
        assert!((even[0] - 0.5).abs() < 0.01, "{even:?}");
    }

    #[test]
    fn steps_that_a_person_adds_are_drawn_in_every_way() {
        for sampling in [
            SamplingConfig::Uniform,
            SamplingConfig::Prioritized(PrioritizedConfig::default()),
            SamplingConfig::WeightedByReturn(ReturnWeightConfig::default()),
            SamplingConfig::BestEpisodes(BestEpisodesConfig::default()),
        ] {
            let mut d = demonstrations(&[(&[episode(0.0, 10, 0.0)], 1.0)]);
            let mut sampler = Sampler::new(sampling, &d.train);
            d.train.added.push_episode(&episode(1.0, 10, 0.0));
            let replay = ReplayBuffer::new(1, 1, 1);
            let drawn = sampler.draw(2000, 1.0, (&d.train, &replay), &mut Stream::new(1, "t", 0));
            let added = drawn.demonstrations.iter().filter(|row| **row >= 10).count();
            assert!((800..1200).contains(&added), "{sampling:?} {added}");
        }
    }

    #[test]
    fn priorities_follow_errors_through_the_ring_and_a_checkpoint() {
        let d = demonstrations(&[(&[episode(0.0, 4, 0.0)], 1.0)]);
        let sampling = SamplingConfig::Prioritized(PrioritizedConfig { alpha: 1.0, beta: 1.0 });
        let mut sampler = Sampler::new(sampling, &d.train);
        let mut replay = ReplayBuffer::new(1, 1, 4);
        replay.push_episode(&episode(1.0, 4, 0.0));
        let drawn = sampler.draw(400, 0.5, (&d.train, &replay), &mut Stream::new(0, "t", 0));
        // Row 2 of each is off by much, the others by nothing.
        let error = |row: &usize| if *row == 2 { 1.0 } else { 0.0 };
        let errors: Vec<f32> = drawn.demonstrations.iter().chain(&drawn.online).map(error).collect();
        sampler.learn(&drawn, &errors);
        let next = sampler.draw(200, 0.5, (&d.train, &replay), &mut Stream::new(0, "t", 1));
        assert!(next.demonstrations.iter().chain(&next.online).all(|row| *row == 2), "{next:?}");
        // A row that was overwritten is new, and drawn again.
        replay.push_episode(&episode(2.0, 1, 0.0));
        let mut files = Blobs::new();
        sampler.save(&mut files);
        let mut again = Sampler::restored(sampling, (&d.train, &replay), &mut files.clone()).ok().unwrap();
        let next = sampler.draw(200, 0.5, (&d.train, &replay), &mut Stream::new(0, "t", 2));
        assert!(next.online.contains(&0) && next.online.contains(&2), "{next:?}");
        assert_eq!(again.draw(200, 0.5, (&d.train, &replay), &mut Stream::new(0, "t", 2)), next);
        for file in [DEMONSTRATIONS, ONLINE, WRITTEN] {
            let mut files = files.clone();
            files.insert(file.into(), vec![1; 5]);
            assert_eq!(Sampler::restored(sampling, (&d.train, &replay), &mut files).err(), Some(file));
        }
    }
}
