//! Sampling from a file of rows: the same as from memory, and without it.

use std::path::{Path, PathBuf};
use std::process::Command;

use surefoot_core::returns::{monte_carlo, n_step};
use surefoot_core::transitions::{append_sequences, append_transitions};
use surefoot_core::{
    Batch, DataError, DatasetMeta, EnvSpec, Episode, EpisodeRows, EpisodeSource, Moments, Normalizer,
    ReplayBuffer, Returns, StepEnd, Stream, TransitionSource,
};
use surefoot_datasets::{
    CacheOptions, CacheState, LoadOptions, Recording, RowCache, SequenceBatch, load, load_each, open, write,
};

use crate::episodes::{episode, spec};

const DISCOUNT: f32 = 0.9;

/// 20 episodes of 1 to 20 steps, one with an action out of range.
fn dataset(directory: &Path) -> PathBuf {
    let path = directory.join("push.hdf5");
    let mut episodes: Vec<Episode> = (0..20).map(|i| episode(i, 5, 2, i + 1, 1)).collect();
    episodes[8].action[3] = 1.5;
    write(&path, &Recording::new(spec(5, 2)), &episodes).unwrap();
    path
}

fn cache(directory: &Path, resident_rows: u64) -> RowCache {
    let source = open(&dataset_once(directory)).unwrap();
    let options = CacheOptions { discount: DISCOUNT, resident_bytes: resident_rows * 15 * 4 };
    let path = directory.join("push.rows");
    RowCache::open_or_build(&path, &*source, &spec(5, 2), &LoadOptions::default(), &options).unwrap()
}

fn dataset_once(directory: &Path) -> PathBuf {
    let path = directory.join("push.hdf5");
    if path.exists() { path } else { dataset(directory) }
}

fn loaded(directory: &Path) -> (Vec<Episode>, ReplayBuffer) {
    let source = open(&dataset_once(directory)).unwrap();
    let episodes = load(&*source, &spec(5, 2), &LoadOptions::default()).unwrap().episodes;
    let mut buffer = ReplayBuffer::new(5, 2, 1000);
    episodes.iter().for_each(|e| buffer.push_episode(e));
    (episodes, buffer)
}

fn batch() -> Batch {
    let mut batch = Batch::default();
    batch.clear(5, 2);
    batch
}

#[test]
fn samples_are_those_of_a_replay_buffer_however_much_is_resident() {
    let directory = tempfile::tempdir().unwrap();
    let (_, buffer) = loaded(directory.path());
    let mut expected = batch();
    buffer.sample(500, &mut Stream::new(7, "replay", 0), &mut expected);
    for resident in [0, 1, 100, 1_000_000] {
        let cache = cache(directory.path(), resident);
        assert_eq!((cache.len(), cache.resident_rows()), (210, resident.min(210) as usize));
        let mut found = batch();
        cache.sample(500, &mut Stream::new(7, "replay", 0), &mut found).unwrap();
        assert!(found == expected, "{resident} rows resident");
    }
}

#[test]
fn n_step_and_monte_carlo_returns_are_those_of_the_episodes() {
    let directory = tempfile::tempdir().unwrap();
    let (episodes, _) = loaded(directory.path());
    for resident in [0, 100] {
        let cache = cache(directory.path(), resident);
        let (mut row, mut found, mut returns) = (0, batch(), Vec::new());
        for e in &episodes {
            let rows: Vec<usize> = (row..row + e.len()).collect();
            cache.returns(&rows, &mut returns).unwrap();
            assert_eq!(returns, monte_carlo(&e.reward, &e.end, DISCOUNT));
            found.clear(5, 2);
            cache.append_n_step(&rows, 4, DISCOUNT, &mut found).unwrap();
            for t in 0..e.len() {
                let (sum, taken, continuation) = n_step(&e.reward[t..], &e.end[t..], DISCOUNT, 4);
                assert_eq!((found.reward[t], found.continuation[t]), (sum, continuation), "{} {t}", e.name);
                assert_eq!(found.observation[t * 5..t * 5 + 5], e.observation[t * 5..t * 5 + 5]);
                let last = (t + taken - 1) * 5;
                assert_eq!(found.next_observation[t * 5..t * 5 + 5], e.next_observation[last..last + 5]);
            }
            row += e.len();
        }
        assert!(cache.append_rows(&[210], &mut found).is_err());
    }
}

#[test]
fn every_kind_of_batch_has_the_bits_of_a_replay_buffer() {
    let directory = tempfile::tempdir().unwrap();
    let (episodes, buffer) = loaded(directory.path());
    for resident in [0, 100, 1_000] {
        let cache = cache(directory.path(), resident);
        assert_eq!(cache.episodes(), episodes.iter().map(EpisodeRows::of).collect::<Vec<_>>());
        assert_eq!(TransitionSource::longest_run(&cache), TransitionSource::longest_run(&buffer));
        let rows: Vec<usize> = (0..210).rev().collect();
        let both = [&cache as &dyn TransitionSource, &buffer];
        for returns in [
            Returns::OneStep,
            Returns::NStep { n: 3, discount: 0.5 },
            Returns::MonteCarlo { discount: DISCOUNT },
            Returns::MonteCarlo { discount: 0.5 },
        ] {
            let [ours, theirs] = both.map(|source| {
                let mut filled = batch();
                append_transitions(source, &rows, returns, &mut filled).unwrap();
                filled
            });
            assert!(ours == theirs, "{returns:?} with {resident} rows resident");
        }
        let [ours, theirs] = both.map(|source| {
            let mut filled = batch();
            append_sequences(source, &rows, 9, &mut filled).unwrap();
            filled
        });
        assert!(ours == theirs && ours.mask.contains(&0.0));
        let count = |source: &dyn TransitionSource| {
            let mut sum = 0.0;
            source
                .scan(0, 210, &mut |row| sum += row[..14].iter().map(|x| f64::from(*x)).sum::<f64>())
                .unwrap();
            sum
        };
        assert_eq!(count(both[0]), count(both[1]));
        assert!(cache.scan(200, 11, &mut |_| {}).is_err());
    }
}

#[test]
fn windows_are_drawn_evenly_and_never_over_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let cache = cache(directory.path(), 60);
    let windows = cache.windows(8);
    let expected: usize = (8..=20).map(|n| n - 7).sum();
    assert_eq!(windows.len(), expected);
    let mut batch = SequenceBatch::default();
    windows.sample(20_000, &mut Stream::new(1, "windows", 0), &mut batch).unwrap();
    assert_eq!((batch.n, batch.length, batch.observation.len()), (20_000, 8, 20_000 * 8 * 5));
    let mut counts = std::collections::BTreeMap::new();
    for (i, continuation) in batch.continuation.chunks(8).enumerate() {
        assert!(continuation[..7].iter().all(|c| *c == 1.0), "an end inside a window");
        assert!(batch.reward[i * 8..i * 8 + 7].iter().all(|r| *r == -1.0));
        *counts.entry(batch.observation[i * 40].to_bits()).or_insert(0_usize) += 1;
    }
    assert_eq!(counts.len(), expected);
    let even = 20_000.0 / expected as f64;
    assert!(counts.values().all(|n| (*n as f64 / even - 1.0).abs() < 0.4), "{counts:?}");
    let none = cache.windows(21);
    assert!(none.is_empty());
    none.sample(5, &mut Stream::new(1, "windows", 0), &mut batch).unwrap();
    assert_eq!((batch.n, batch.reward.len()), (0, 0));
}

/// Episodes in memory, for what the writer would refuse.
struct InMemory(DatasetMeta, Vec<Episode>);

impl EpisodeSource for InMemory {
    fn meta(&self) -> &DatasetMeta {
        &self.0
    }
    fn len(&self) -> usize {
        self.1.len()
    }
    fn episode(&self, index: usize) -> Result<Episode, DataError> {
        Ok(self.1[index].clone())
    }
}

#[test]
fn an_end_in_the_middle_of_an_episode_is_an_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut joined = episode(1, 5, 2, 16, 1);
    joined.end[6] = StepEnd::Terminated;
    joined.reward.fill(-1.0);
    let meta = DatasetMeta { observation_dim: 5, action_dim: 2, ..DatasetMeta::default() };
    let source = InMemory(meta, vec![joined]);
    let options = CacheOptions { discount: 1.0, resident_bytes: 0 };
    let path = directory.path().join("rows");
    let cache =
        RowCache::open_or_build(&path, &source, &spec(5, 2), &LoadOptions::default(), &options).unwrap();
    assert_eq!((cache.windows(7).len(), cache.windows(8).len(), cache.windows(10).len()), (1 + 3, 2, 0));
    let (mut found, mut returns) = (batch(), Vec::new());
    cache.append_n_step(&[4, 14], 9, 1.0, &mut found).unwrap();
    assert_eq!((found.reward, found.continuation), (vec![-3.0, -2.0], vec![0.0, 1.0]));
    cache.returns(&[0, 6, 7], &mut returns).unwrap();
    assert_eq!(returns, [-7.0, -1.0, -9.0]);
}

#[test]
fn one_pass_gives_normaliser_and_report() {
    let directory = tempfile::tempdir().unwrap();
    let (_, buffer) = loaded(directory.path());
    let cache = cache(directory.path(), 0);
    let mut moments = Moments::new(5);
    buffer.scan(0, buffer.len(), &mut |row| moments.push_rows(&row[..5])).unwrap();
    let (one, two) = (cache.normalizer(1e-3), Normalizer::of(&moments, 1e-3));
    for (a, b) in one.mean.iter().chain(&one.std).zip(two.mean.iter().chain(&two.std)) {
        assert!((a - b).abs() < 1e-5, "{one:?} {two:?}");
    }
    let source = open(&dataset_once(directory.path())).unwrap();
    let report = load(&*source, &spec(5, 2), &LoadOptions::default()).unwrap().report;
    assert_eq!(cache.report(), report);
    assert_eq!(report.clipped, 1);
    let streamed = load_each(&*source, &spec(5, 2), &LoadOptions::default(), |_| Ok(())).unwrap();
    assert_eq!(streamed, report);
}

#[test]
fn a_cache_of_other_data_or_a_damaged_one_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = cache(directory.path(), 0).path().to_owned();
    let made = std::fs::metadata(&path).unwrap().modified().unwrap();
    cache(directory.path(), 9);
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), made, "it is used as it is");
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..16 {
        std::fs::write(&path, &whole[..whole.len() * cut / 16]).unwrap();
        assert!(RowCache::open(&path, &CacheOptions::default()).is_err(), "{cut}/16");
    }
    assert_eq!(cache(directory.path(), 0).len(), 210);
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    // Lengths and counts that lie are refused before anything is allocated for them.
    let text = String::from_utf8_lossy(&whole).into_owned();
    assert!(text.contains(r#""rows":210"#));
    for lie in [r#""rows":999"#, r#""rows":009"#] {
        let at = whole.windows(10).position(|w| w == br#""rows":210"#).unwrap();
        let mut lying = whole.clone();
        lying[at..at + 10].copy_from_slice(lie.as_bytes());
        std::fs::write(&path, &lying).unwrap();
        assert!(RowCache::open(&path, &CacheOptions::default()).is_err(), "{lie}");
    }
    // Loaded in another way, it is another cache.
    let state = |load: &LoadOptions| {
        let source = open(&dataset_once(directory.path())).unwrap();
        let options = CacheOptions { discount: DISCOUNT, resident_bytes: 0 };
        RowCache::state(&path, &*source, &spec(5, 2), load, &options)
    };
    assert!(
        matches!(state(&LoadOptions::default()), CacheState::Damaged(why) if why.contains("not a readable row cache"))
    );
    cache(directory.path(), 0);
    assert_eq!(state(&LoadOptions::default()), CacheState::Current);
    assert_eq!(state(&LoadOptions { max_episodes: Some(3), ..LoadOptions::default() }), CacheState::OfOther);
    let source = open(&dataset_once(directory.path())).unwrap();
    let few = LoadOptions { max_episodes: Some(3), ..LoadOptions::default() };
    let made = RowCache::open_or_build(&path, &*source, &spec(5, 2), &few, &CacheOptions::default()).unwrap();
    assert_eq!(made.len(), 6);
    let names: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing is left behind: {names:?}");
}

#[test]
fn arbitrary_bytes_are_no_cache() {
    use proptest::prelude::*;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows");
    proptest!(ProptestConfig::with_cases(64), |(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), length in any::<u64>())| {
        bytes.extend((length % 256).to_le_bytes());
        bytes.extend(*b"SFROWS02");
        std::fs::write(&path, &bytes).unwrap();
        prop_assert!(RowCache::open(&path, &CacheOptions::default()).is_err());
    });
}

const OBSERVATION: usize = 32;
const ACTION: usize = 8;
const STEPS: usize = 8_000;
const EPISODES: usize = 100;
/// Address space of the child, program and threads included.
const LIMIT_KIB: usize = 80 << 10;

fn large_spec() -> EnvSpec {
    spec(OBSERVATION, ACTION)
}

/// Run by the test below in a process with little memory.
#[test]
fn child_with_little_memory() {
    let Ok(directory) = std::env::var("SUREFOOT_LARGE_DATASET") else { return };
    let directory = PathBuf::from(directory);
    let source = open(&directory.join("recording")).unwrap();
    let options = CacheOptions { discount: 0.99, resident_bytes: 8 << 20 };
    let path = directory.join("rows");
    let load = LoadOptions::default();
    let cache = RowCache::open_or_build(&path, &*source, &large_spec(), &load, &options).unwrap();
    assert_eq!(cache.len(), EPISODES * STEPS);
    let mut batch = Batch::default();
    let mut sequences = SequenceBatch::default();
    let windows = cache.windows(16);
    let mut stream = Stream::new(0, "replay", 0);
    for _ in 0..50 {
        batch.clear(OBSERVATION, ACTION);
        cache.sample_n_step(256, 5, 0.99, &mut stream, &mut batch).unwrap();
        windows.sample(64, &mut stream, &mut sequences).unwrap();
        assert_eq!((batch.n, sequences.n), (256, 64));
        assert!(batch.observation.iter().chain(&sequences.observation).all(|x| x.is_finite()));
    }
    assert!(cache.normalizer(0.0).std.iter().all(|s| (s - 1.0).abs() < 0.1));
}

/// A recording of which all files are one: it takes no more room on the disk than that.
#[cfg(unix)]
#[test]
fn a_dataset_larger_than_memory_is_sampled_in_little_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let recording = directory.path().join("recording");
    std::fs::create_dir(&recording).unwrap();
    let first = recording.join("ep_000000.hdf5");
    let long = Episode { proposed: Vec::new(), ..episode(0, OBSERVATION, ACTION, STEPS, 1) };
    write(&first, &Recording::new(large_spec()), &[long]).unwrap();
    for i in 1..EPISODES {
        std::fs::hard_link(&first, recording.join(format!("ep_{i:06}.hdf5"))).unwrap();
    }
    let bytes = std::fs::metadata(&first).unwrap().len() as usize * EPISODES;
    assert!(bytes > 5 * LIMIT_KIB * 1024 / 2, "{bytes} bytes are not several times the limit");
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -v {LIMIT_KIB} && exec \"$0\" row_cache::child_with_little_memory --exact --test-threads 1"))
        .arg(std::env::current_exe().unwrap())
        .env("SUREFOOT_LARGE_DATASET", directory.path())
        .env("RAYON_NUM_THREADS", "1")
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
