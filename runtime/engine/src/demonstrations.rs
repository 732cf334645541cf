//! Demonstrations as a learner sees them: split into what is learned from and what is held out.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use surefoot_core::transitions::append_transitions;
use surefoot_core::{
    Batch, DataError, EnvSpec, Episode, EpisodeRows, ReplayBuffer, Returns, Stream, TransitionSource,
};

use crate::EngineError;
use crate::results::DemonstrationSummary;

/// Rows of held-out demonstrations that a learner is judged on, at most.
const HELDOUT_ROWS: usize = 4096;

/// One dataset of demonstrations: its rows, in memory or not, and what is kept of each of its episodes.
pub struct DemonstrationSet {
    rows: Box<dyn TransitionSource>,
    episodes: Vec<EpisodeRows>,
    weight: f64,
}

impl DemonstrationSet {
    /// Rows that were checked when they were loaded: everything in them is finite. `episodes` stand in the order of the rows.
    ///
    /// # Errors
    /// When the episodes are not those of the rows.
    pub fn new(rows: Box<dyn TransitionSource>, episodes: Vec<EpisodeRows>) -> Result<Self, EngineError> {
        let (found, expected) = (episodes.iter().map(|e| e.steps).sum::<usize>(), rows.len());
        if found != expected {
            let expected = format!("{expected} steps");
            return Err(EngineError::Config {
                key: "data: episodes".into(),
                expected,
                found: found.to_string(),
            });
        }
        Ok(Self { rows, episodes, weight: 1.0 })
    }

    /// Episodes in memory. They are checked here and not needed any more afterwards.
    ///
    /// # Errors
    /// When an episode does not fit `spec` or holds a number that cannot be learned from.
    pub fn in_memory(episodes: &[Episode], spec: &EnvSpec) -> Result<Self, EngineError> {
        let mut rows = ReplayBuffer::new(spec.observation_dim(), spec.action_dim(), usize::MAX);
        for e in episodes {
            check_episode(e, spec)?;
            rows.push_episode(e);
        }
        Self::new(Box::new(rows), episodes.iter().map(EpisodeRows::of).collect())
    }

    /// How often each of its rows is drawn beside those of other datasets; 1 otherwise.
    #[must_use]
    pub fn with_weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }
}

/// Episodes of one dataset among the rows of a part.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stretch {
    /// The dataset.
    pub set: usize,
    /// Its first row there.
    first: usize,
    /// Its rows in the part.
    pub rows: Range<usize>,
    /// Sum of its episode's rewards.
    pub reward_sum: f64,
}

/// Some episodes of all datasets as one run of rows, in their order, and what people add to them.
pub(crate) struct Part {
    sets: Arc<[DemonstrationSet]>,
    /// One for each episode that has steps.
    pub stretches: Vec<Stretch>,
    recorded: usize,
    /// Steps that a person drove in an online phase: behind all others.
    pub added: ReplayBuffer,
}

impl Part {
    fn new(sets: &Arc<[DemonstrationSet]>, wanted: &[bool], spec: &EnvSpec) -> Self {
        let mut wanted = wanted.iter();
        let (mut stretches, mut recorded) = (Vec::new(), 0);
        for (set, data) in sets.iter().enumerate() {
            let mut first = 0;
            for (episode, wanted) in data.episodes.iter().zip(&mut wanted) {
                let EpisodeRows { steps, reward_sum, success: _, terminated: _ } = *episode;
                if *wanted && steps > 0 {
                    stretches.push(Stretch { set, first, rows: recorded..recorded + steps, reward_sum });
                    recorded += steps;
                }
                first += steps;
            }
        }
        let added = ReplayBuffer::new(spec.observation_dim(), spec.action_dim(), usize::MAX);
        Self { sets: Arc::clone(sets), stretches, recorded, added }
    }

    /// Rows that were recorded before the run, without those that people added since.
    pub const fn recorded(&self) -> usize {
        self.recorded
    }

    /// How often rows of a dataset are drawn.
    pub fn weight(&self, set: usize) -> f64 {
        self.sets[set].weight
    }

    fn stretch(&self, row: usize) -> Option<&Stretch> {
        self.stretches.get(self.stretches.partition_point(|s| s.rows.end <= row))
    }
}

impl TransitionSource for Part {
    fn observation_dim(&self) -> usize {
        self.added.observation_dim()
    }
    fn action_dim(&self) -> usize {
        self.added.action_dim()
    }
    fn len(&self) -> usize {
        self.recorded + self.added.len()
    }
    fn following(&self, row: usize, at_most: usize) -> usize {
        match self.stretch(row) {
            Some(s) => {
                let there = self.sets[s.set].rows.following(s.first + row - s.rows.start, at_most);
                // A run of the dataset may go on where the episode has ended.
                there.min(s.rows.end - row)
            }
            None => self.added.following(row - self.recorded, at_most),
        }
    }
    fn scan(&self, first: usize, count: usize, take: &mut dyn FnMut(&[f32])) -> Result<(), DataError> {
        let end = first.checked_add(count).filter(|end| *end <= self.len());
        let end = end.ok_or_else(|| {
            DataError::no_row(Path::new("demonstrations"), first.max(self.len()), self.len())
        })?;
        let mut at = first;
        while at < end {
            let Some(s) = self.stretch(at) else {
                return self.added.scan(at - self.recorded, end - at, take);
            };
            let until = s.rows.end.min(end);
            self.sets[s.set].rows.scan(s.first + at - s.rows.start, until - at, take)?;
            at = until;
        }
        Ok(())
    }
    fn return_from(&self, row: usize, discount: f32) -> Result<f32, DataError> {
        match self.stretch(row) {
            Some(s) => self.sets[s.set].rows.return_from(s.first + row - s.rows.start, discount),
            None => self.added.return_from(row.saturating_sub(self.recorded), discount),
        }
    }
}

/// Demonstrations, split by whole episodes.
pub(crate) struct Demonstrations {
    /// Learned from.
    pub train: Part,
    /// Judged on; no rows when nothing is held out.
    pub heldout: Batch,
    /// Counts.
    pub summary: DemonstrationSummary,
    /// Whether an episode that is learned from ends in a termination.
    pub terminated: bool,
}

impl Demonstrations {
    /// Checks and splits. The split depends on `seed` and the number of episodes alone.
    pub fn new(
        sets: Vec<DemonstrationSet>,
        spec: &EnvSpec,
        holdout_fraction: f64,
        seed: u64,
    ) -> Result<Self, EngineError> {
        let (o, a) = (spec.observation_dim(), spec.action_dim());
        for (i, set) in sets.iter().enumerate() {
            let rows = &set.rows;
            let found = [rows.observation_dim(), rows.action_dim()];
            if found != [o, a] {
                let expected = format!("{o} observation and {a} action numbers");
                let found = format!("{} and {}", found[0], found[1]);
                return Err(EngineError::Config { key: format!("data[{i}]"), expected, found });
            }
            if !(set.weight.is_finite() && set.weight > 0.0) {
                return Err(EngineError::setting(
                    format!("data[{i}].weight"),
                    "a positive number",
                    &set.weight,
                ));
            }
        }
        let sets: Arc<[DemonstrationSet]> = sets.into();
        let episodes: Vec<EpisodeRows> = sets.iter().flat_map(|s| s.episodes.iter().copied()).collect();
        if episodes.iter().all(|e| e.steps == 0) {
            return Err(EngineError::Config {
                key: "data".into(),
                expected: "demonstrations with at least one step".into(),
                found: format!("{} empty episodes", episodes.len()),
            });
        }
        let mut held = vec![false; episodes.len()];
        for i in choose(episodes.len(), holdout_fraction, seed) {
            held[i] = true;
        }
        let mut summary = DemonstrationSummary::default();
        let mut terminated = false;
        for (e, held) in episodes.iter().zip(&held) {
            if *held {
                summary.heldout_episodes += 1;
                summary.heldout_steps += e.steps;
            } else {
                summary.episodes += 1;
                summary.steps += e.steps;
                terminated |= e.terminated;
            }
        }
        let known = episodes.iter().filter_map(|e| e.success);
        let (solved, known) = known.fold((0, 0), |(s, k), success| (s + usize::from(success), k + 1));
        summary.successes = (known > 0).then_some((solved, known));
        let heldout_rows = Part::new(&sets, &held, spec);
        held.iter_mut().for_each(|held| *held = !*held);
        let train = Part::new(&sets, &held, spec);
        let rows: Vec<usize> = if heldout_rows.len() <= HELDOUT_ROWS {
            (0..heldout_rows.len()).collect()
        } else {
            let mut stream = Stream::new(seed, "heldout rows", 0);
            (0..HELDOUT_ROWS).map(|_| stream.below(heldout_rows.len())).collect()
        };
        let mut heldout = Batch::default();
        heldout.clear(o, a);
        append_transitions(&heldout_rows, &rows, Returns::OneStep, &mut heldout)?;
        Ok(Self { train, heldout, summary, terminated })
    }

    /// The weights of the datasets.
    pub fn weights(&self) -> Vec<f64> {
        self.train.sets.iter().map(|s| s.weight).collect()
    }
}

/// Refuses an episode whose rows do not have the spec's dimensions, or hold a number that is not finite.
pub(crate) fn check_episode(e: &Episode, spec: &EnvSpec) -> Result<(), EngineError> {
    let wrong = |what: &str, expected: String, found: String| EngineError::Demonstration {
        episode: e.name.clone(),
        what: what.to_owned(),
        expected,
        found,
    };
    let t = e.len();
    for (what, found, expected) in [
        ("observation", e.observation.len(), t * spec.observation_dim()),
        ("next observation", e.next_observation.len(), t * spec.observation_dim()),
        ("action", e.action.len(), t * spec.action_dim()),
        ("step ends", e.end.len(), t),
    ] {
        if found != expected {
            return Err(wrong(what, format!("{expected} numbers for {t} steps"), found.to_string()));
        }
    }
    for (what, dim, values) in [
        ("observation", spec.observation_dim(), &e.observation),
        ("next observation", spec.observation_dim(), &e.next_observation),
        ("action", spec.action_dim(), &e.action),
        ("reward", 1, &e.reward),
    ] {
        if let Some(i) = values.iter().position(|x| !x.is_finite()) {
            let place = format!("{what}, step {}, number {}", i / dim, i % dim);
            return Err(wrong(&place, "a finite number".into(), values[i].to_string()));
        }
    }
    Ok(())
}

/// Which of `n` episodes are held out: at least one is, and at least one is not, where that is possible.
fn choose(n: usize, fraction: f64, seed: u64) -> Vec<usize> {
    if n < 2 || fraction <= 0.0 {
        return Vec::new();
    }
    let count = ((n as f64 * fraction).round() as usize).clamp(1, n - 1);
    let mut stream = Stream::new(seed, "holdout", 0);
    let mut order: Vec<usize> = (0..n).collect();
    for i in 0..count {
        let j = i + stream.below(n - i);
        order.swap(i, j);
    }
    order.truncate(count);
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use surefoot_core::{Field, StepEnd};

    use super::*;

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

    fn episode(i: usize, steps: usize) -> Episode {
        Episode {
            name: format!("demo_{i}"),
            observation: vec![i as f32; steps],
            next_observation: vec![i as f32; steps],
            action: vec![0.0; steps],
            reward: vec![0.0; steps],
            end: vec![StepEnd::Running; steps],
            ..Episode::default()
        }
    }

    proptest! {
        #[test]
        fn no_episode_is_both_learned_from_and_held_out(n in 1_usize..40, fraction in 0.0_f64..1.0, seed: u64) {
            let episodes: Vec<Episode> = (0..n).map(|i| episode(i, 1 + i % 3)).collect();
            // As one dataset or as two.
            let cut = (seed % 7) as usize % n;
            let set = |e: &[Episode]| DemonstrationSet::in_memory(e, &spec()).unwrap();
            let d = Demonstrations::new(vec![set(&episodes)], &spec(), fraction, seed).unwrap();
            let two = vec![set(&episodes[..cut]), set(&episodes[cut..])];
            let two = Demonstrations::new(two, &spec(), fraction, seed).unwrap();
            prop_assert_eq!((&d.heldout, &d.summary), (&two.heldout, &two.summary));
            let mut train = Vec::new();
            d.train.scan(0, d.train.len(), &mut |row| train.push(row[0])).unwrap();
            for (row, i) in train.iter().copied().enumerate() {
                let left = train[row..].iter().take_while(|x| **x == i).count();
                prop_assert_eq!((d.train.following(row, 9), two.train.following(row, 9)), (left, left));
                let mut there = 0.0;
                two.train.scan(row, 1, &mut |step| there = step[0]).unwrap();
                prop_assert_eq!(there, i);
            }
            let beyond = d.train.scan(0, d.train.len() + 1, &mut |_| {});
            prop_assert!(beyond.is_err());
            prop_assert!(d.heldout.observation.iter().all(|x| !train.contains(x)));
            prop_assert_eq!(d.summary.episodes + d.summary.heldout_episodes, n);
            prop_assert!(d.summary.episodes > 0);
            prop_assert_eq!(d.summary.heldout_steps, d.heldout.n);
        }
    }

    #[test]
    fn a_bad_demonstration_is_named() {
        let error = |e: Episode| {
            let set = DemonstrationSet::in_memory(&[e], &spec());
            set.and_then(|s| Demonstrations::new(vec![s], &spec(), 0.1, 0)).err().unwrap().to_string()
        };
        let mut nan = episode(4, 3);
        nan.action[2] = f32::NAN;
        assert_eq!(
            error(nan),
            "demonstration demo_4: action, step 2, number 0: expected a finite number, found NaN"
        );
        let mut ragged = episode(4, 3);
        ragged.next_observation.pop();
        assert!(error(ragged).contains("next observation: expected 3 numbers for 3 steps, found 2"));
        assert!(error(episode(0, 0)).contains("at least one step"));
        let set = || DemonstrationSet::in_memory(&[episode(0, 2)], &spec()).unwrap();
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let refused = Demonstrations::new(vec![set(), set().with_weight(weight)], &spec(), 0.1, 0);
            let refused = refused.err().unwrap().to_string();
            assert!(refused.starts_with("data[1].weight: expected a positive number"), "{refused}");
        }
    }
}
