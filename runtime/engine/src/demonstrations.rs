//! Demonstrations as a learner sees them: split into what is learned from and what is held out, and mixed into batches.

use surefoot_core::{Batch, EnvSpec, Episode, ReplayBuffer, Stream};

use crate::EngineError;
use crate::results::DemonstrationSummary;

/// Rows of held-out demonstrations that a learner is judged on, at most.
const HELDOUT_ROWS: usize = 4096;

/// Demonstrations, split by whole episodes.
pub(crate) struct Demonstrations {
    /// Learned from.
    pub train: ReplayBuffer,
    /// Judged on; no rows when nothing is held out.
    pub heldout: Batch,
    /// Counts.
    pub summary: DemonstrationSummary,
}

impl Demonstrations {
    /// Checks and splits. The split depends on `seed` and the number of episodes alone.
    pub fn new(
        episodes: &[Episode],
        spec: &EnvSpec,
        holdout_fraction: f64,
        seed: u64,
    ) -> Result<Self, EngineError> {
        for e in episodes {
            check(e, spec)?;
        }
        if episodes.iter().all(Episode::is_empty) {
            return Err(EngineError::Config {
                key: "data".into(),
                expected: "demonstrations with at least one step".into(),
                found: format!("{} empty episodes", episodes.len()),
            });
        }
        let mut heldout_episode = vec![false; episodes.len()];
        for i in choose(episodes.len(), holdout_fraction, seed) {
            heldout_episode[i] = true;
        }
        let (o, a) = (spec.observation_dim(), spec.action_dim());
        let mut train = ReplayBuffer::new(o, a, usize::MAX);
        let mut heldout_rows = ReplayBuffer::new(o, a, usize::MAX);
        let mut summary = DemonstrationSummary::default();
        for (e, held) in episodes.iter().zip(&heldout_episode) {
            if *held {
                heldout_rows.push_episode(e);
                summary.heldout_episodes += 1;
                summary.heldout_steps += e.len();
            } else {
                train.push_episode(e);
                summary.episodes += 1;
                summary.steps += e.len();
            }
        }
        let known = episodes.iter().filter_map(|e| e.success);
        let (solved, known) = known.fold((0, 0), |(s, k), success| (s + usize::from(success), k + 1));
        summary.successes = (known > 0).then_some((solved, known));
        let mut heldout = Batch::default();
        heldout.clear(o, a);
        if heldout_rows.len() <= HELDOUT_ROWS {
            (0..heldout_rows.len()).for_each(|i| heldout_rows.append_row(i, &mut heldout));
        } else {
            heldout_rows.sample(HELDOUT_ROWS, &mut Stream::new(seed, "heldout rows", 0), &mut heldout);
        }
        Ok(Self { train, heldout, summary })
    }
}

fn check(e: &Episode, spec: &EnvSpec) -> Result<(), EngineError> {
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

/// Fills a batch: first the rows of the demonstrations (`offline_ratio` of them), then online ones. Where one of the two has no
/// rows the other gives all.
pub(crate) fn mix(
    rows: usize,
    offline_ratio: f64,
    demonstrations: &ReplayBuffer,
    online: &ReplayBuffer,
    stream: &mut Stream,
    batch: &mut Batch,
) {
    batch.clear(demonstrations.observation_dim(), demonstrations.action_dim());
    let from_demonstrations = match (demonstrations.is_empty(), online.is_empty()) {
        (_, true) => rows,
        (true, false) => 0,
        (false, false) => (rows as f64 * offline_ratio).round() as usize,
    };
    demonstrations.sample(from_demonstrations, stream, batch);
    online.sample(rows - from_demonstrations, stream, batch);
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
            let d = Demonstrations::new(&episodes, &spec(), fraction, seed).unwrap();
            let train: Vec<f32> = (0..d.train.len()).map(|i| d.train.observation(i)[0]).collect();
            prop_assert!(d.heldout.observation.iter().all(|x| !train.contains(x)));
            prop_assert_eq!(d.summary.episodes + d.summary.heldout_episodes, n);
            prop_assert!(d.summary.episodes > 0);
            prop_assert_eq!(d.summary.heldout_steps, d.heldout.n);
        }

        #[test]
        fn batches_have_the_asked_size_and_begin_with_demonstrations(rows in 1_usize..64, ratio in 0.0_f64..=1.0) {
            let mut demos = ReplayBuffer::new(1, 1, 100);
            demos.push_episode(&episode(1, 5));
            let mut online = ReplayBuffer::new(1, 1, 100);
            online.push_episode(&episode(2, 5));
            let mut batch = Batch::default();
            mix(rows, ratio, &demos, &online, &mut Stream::new(0, "t", 0), &mut batch);
            let offline = (rows as f64 * ratio).round() as usize;
            prop_assert_eq!(batch.n, rows);
            prop_assert!(batch.observation[..offline].iter().all(|x| *x == 1.0));
            prop_assert!(batch.observation[offline..].iter().all(|x| *x == 2.0));
            mix(rows, ratio, &demos, &ReplayBuffer::new(1, 1, 1), &mut Stream::new(0, "t", 0), &mut batch);
            prop_assert_eq!(batch.n, rows);
        }
    }

    #[test]
    fn a_bad_demonstration_is_named() {
        let error = |e: Episode| Demonstrations::new(&[e], &spec(), 0.1, 0).err().unwrap().to_string();
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
    }
}
