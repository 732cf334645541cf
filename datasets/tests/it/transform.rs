//! Choosing, dividing, joining and converting datasets.

use surefoot_core::{DataError, Episode, EpisodeSource};
use surefoot_datasets::{
    EpisodeRecorder, FORMATS, Filter, LoadOptions, OpenOptions, Recording, Subset, convert, divide, load,
    open, open_files, open_with, read_all, select, verify, write,
};

use crate::episodes::{episode, fixture, spec};

/// Six episodes of 4 to 9 steps, of which the even ones succeed; the returns are -3 to -8.
fn six() -> (tempfile::TempDir, Box<dyn EpisodeSource>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("push.hdf5");
    let mut episodes: Vec<Episode> = (0..6).map(|i| episode(i, 5, 2, 4 + i, 1)).collect();
    episodes[1].human = vec![false, true, false, false, false];
    episodes[2].human = vec![false; 6];
    episodes[3].success = None;
    episodes[4].source = Some("policy".into());
    episodes[5].observation[7] = f32::NAN;
    let mut recording = Recording::new(spec(5, 2));
    recording.masks = vec![("late".into(), vec![3, 4, 5]), ("one".into(), vec![0])];
    write(&path, &recording, &episodes).unwrap();
    let source = open(&path).unwrap();
    (directory, source)
}

#[test]
fn filters_take_what_they_name_and_unknown_is_neither() {
    let (_directory, source) = six();
    let take = |filter: Filter| select(&*source, &filter).unwrap();
    let none = Filter::default;
    assert_eq!(take(none()), [0, 1, 2, 3, 4, 5]);
    assert_eq!(take(Filter { success: Some(true), ..none() }), [0, 2, 4]);
    assert_eq!(take(Filter { success: Some(false), ..none() }), [1, 5]);
    assert_eq!(take(Filter { source: Some("policy".into()), ..none() }), [4]);
    assert_eq!(take(Filter { interventions: Some(true), ..none() }), [1]);
    assert_eq!(take(Filter { interventions: Some(false), ..none() }), [2]);
    assert_eq!(take(Filter { min_steps: Some(6), max_steps: Some(8), ..none() }), [2, 3, 4]);
    assert_eq!(take(Filter { min_return: Some(-5.0), max_return: Some(-4.0), ..none() }), [1, 2]);
    assert_eq!(take(Filter { finite: true, ..none() }), [0, 1, 2, 3, 4]);
    assert_eq!(take(Filter { mask: Some("late".into()), ..none() }), [3, 4, 5]);
    assert_eq!(take(Filter { mask: Some("late".into()), success: Some(true), ..none() }), [4]);
    let error = select(&*source, &Filter { mask: Some("valid".into()), ..none() }).unwrap_err();
    assert!(error.to_string().contains("expected late, one, found valid"), "{error}");
    // Rewards that are not recorded are no reason to leave an episode out.
    let unrewarded = open(&fixture("peers/aloha")).unwrap();
    assert_eq!(select(&*unrewarded, &Filter { finite: true, ..none() }).unwrap(), [0, 1, 2]);
    // Nor is there a return to compare.
    assert_eq!(select(&*unrewarded, &Filter { min_return: Some(-1e9), ..none() }).unwrap(), [0; 0]);
    assert!(select(&*open(&fixture("ragged.hdf5")).unwrap(), &Filter { finite: true, ..none() }).is_err());
}

#[test]
fn a_part_is_a_dataset_with_its_part_of_the_masks() {
    let (directory, source) = six();
    let part = Subset::new(&*source, vec![4, 0, 2]).unwrap();
    assert_eq!(part.len(), 3);
    assert_eq!(part.episode(0).unwrap(), source.episode(4).unwrap());
    assert_eq!(part.meta().masks, [("late".to_owned(), vec![0]), ("one".to_owned(), vec![1])]);
    assert!(part.meta().notes.iter().any(|n| n == "3 of 6 episodes"));
    assert!(part.episode(3).is_err() && Subset::new(&*source, vec![6]).is_err());
    let to = directory.path().join("part.hdf5");
    let written = convert(&part, "robomimic", &to).unwrap();
    assert_eq!((written.episodes, written.steps), (3, 18));
    let again = open(&to).unwrap();
    assert_eq!(again.meta().masks, part.meta().masks);
    assert_eq!(again.meta().spec, Some(spec(5, 2)));
    assert_eq!(read_all(&*again, &[0, 1, 2]).unwrap(), read_all(&part, &[0, 1, 2]).unwrap());
}

#[test]
fn a_division_has_every_episode_once_and_depends_on_its_seed_alone() {
    let (_directory, source) = six();
    let names = |part: &Subset<'_>| -> Vec<String> {
        (0..part.len()).map(|i| part.episode(i).unwrap().name).collect()
    };
    let (train, valid) = divide(&*source, 0.34, 7).unwrap();
    assert_eq!((train.len(), valid.len()), (4, 2));
    let mut all = [names(&train), names(&valid)].concat();
    all.sort();
    assert_eq!(all, (0..6).map(|i| format!("demo_{i}")).collect::<Vec<_>>());
    assert_eq!(names(&divide(&*source, 0.34, 7).unwrap().1), names(&valid));
    assert!((0..20).any(|seed| names(&divide(&*source, 0.34, seed).unwrap().1) != names(&valid)));
}

#[test]
fn recordings_are_joined_into_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["monday", "tuesday"].map(|day| directory.path().join(day));
    for (k, path) in paths.iter().enumerate() {
        let mut recorder = EpisodeRecorder::create(path, Recording::new(spec(5, 2))).unwrap();
        for i in 0..3 {
            recorder.record(&episode(10 * k + i, 5, 2, 4 + i, 1)).unwrap();
        }
        recorder.finish().unwrap();
    }
    let both = open_files(&paths, &OpenOptions::default()).unwrap();
    let to = directory.path().join("both.hdf5");
    convert(&*both, "robomimic", &to).unwrap();
    let joined = open(&to).unwrap();
    let names: Vec<String> = (0..6).map(|i| joined.episode(i).unwrap().name).collect();
    assert_eq!(names, ["demo_0", "demo_1", "demo_2", "demo_10", "demo_11", "demo_12"]);
    assert_eq!(joined.episode(4).unwrap(), episode(11, 5, 2, 5, 1));
}

#[test]
fn what_a_source_does_not_state_is_not_made_up() {
    let directory = tempfile::tempdir().unwrap();
    for from in ["peers/minari/rows", "peers/libero_demo.hdf5", "peers/droid", "d4rl_timeouts.hdf5"] {
        let source = open(&fixture(from)).unwrap();
        let meta = source.meta();
        for format in FORMATS.iter().filter(|f| f.write.is_some()).map(|f| f.name) {
            let to = directory.path().join(format!("{}-{format}", from.replace('/', "_")));
            convert(&*source, format, &to).unwrap_or_else(|e| panic!("{from} to {format}: {e}"));
            let options = OpenOptions { format: Some(format.into()), ..OpenOptions::default() };
            let again = open_with(&to, &options).unwrap();
            let found = again.meta();
            assert_eq!(
                (found.spec.as_ref(), found.action_units.as_ref()),
                (None, None),
                "{from} to {format}"
            );
            assert_eq!((found.observation_dim, found.action_dim), (meta.observation_dim, meta.action_dim));
            for i in 0..source.len() {
                let (a, b) = (source.episode(i).unwrap(), again.episode(i).unwrap());
                assert_eq!(
                    (a.observation, a.action, a.end),
                    (b.observation, b.action, b.end),
                    "{from} to {format}"
                );
                assert_eq!(format!("{:?}", a.reward), format!("{:?}", b.reward));
            }
            assert!(verify(&to, &options).findings.iter().all(|f| f.code != "contradiction"));
            // What it is worth is decided by the task, not by the conversion.
            let task = spec(meta.observation_dim, meta.action_dim);
            let task = surefoot_core::EnvSpec { reward_range: None, ..task };
            let options = LoadOptions { missing_reward: Some(0.0), ..LoadOptions::default() };
            load(&*again, &task, &options).unwrap();
        }
    }
}

#[test]
fn only_what_can_be_written_is_written() {
    let (directory, source) = six();
    let error = convert(&*source, "robosuite", &directory.path().join("new")).unwrap_err();
    let DataError::Shape { expected, found, .. } = &error else { panic!("{error}") };
    assert!(expected.contains("robomimic") && expected.contains("minari") && found == "robosuite", "{error}");
}
