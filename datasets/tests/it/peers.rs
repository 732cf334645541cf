//! Datasets as the robots' own tools write them; `fixtures/make_peer_fixtures.py` makes and describes them.

use surefoot_core::{DataError, EpisodeSource, StepEnd};
use surefoot_datasets::{LoadOptions, OpenOptions, info, load, open, open_with, verify};

use crate::episodes::{fixture, spec};

fn peer(name: &str) -> Box<dyn EpisodeSource> {
    open(&fixture("peers").join(name)).unwrap()
}

fn notes(source: &dyn EpisodeSource) -> String {
    source.meta().notes.join("; ")
}

fn keys(source: &dyn EpisodeSource) -> Vec<(&str, usize)> {
    source.meta().observation_keys.iter().map(|(k, w)| (k.as_str(), *w)).collect()
}

fn with_keys(observation: &[&str], action: &[&str]) -> OpenOptions {
    let list = |names: &[&str]| (!names.is_empty()).then(|| names.iter().map(ToString::to_string).collect());
    OpenOptions { observation_keys: list(observation), action_keys: list(action), ..OpenOptions::default() }
}

#[test]
fn robomimic_pictures_in_any_compression_are_named_and_left_out() {
    let path = fixture("peers/robomimic_images.hdf5");
    let source = open(&path).unwrap();
    assert_eq!((source.meta().format, keys(&*source)), ("robomimic", vec![("robot0_eef_pos", 3)]));
    let said = notes(&*source);
    for picture in [
        "agentview_image (uint8 [3, 6, 8, 3])",
        "wrist_image (uint8 [3, 6, 8, 3])",
        "agentview_depth (float32 [3, 6, 8, 1])",
    ] {
        assert!(said.contains(picture), "{said}");
    }
    let report = info(&path, &OpenOptions::default()).unwrap();
    assert!(report.arrays.iter().any(|a| a.path == "data/demo_0/obs/wrist_image"));
    assert!(report.to_string().contains("agentview_image (uint8"), "{report}");
    assert_eq!(source.meta().masks, [("20_percent".to_owned(), vec![1])]);
    let e = source.episode(0).unwrap();
    assert_eq!((e.len(), e.action.len(), e.observation.len()), (3, 21, 9));
    assert_eq!(e.next_observation[..6], e.observation[3..], "compressed positions are read");
    let attributes: Vec<&str> = e.attributes.keys().map(String::as_str).collect();
    assert_eq!(attributes, ["camera_info"]);
    let absolute = open_with(&path, &with_keys(&[], &["actions_abs"])).unwrap();
    assert_ne!(absolute.episode(0).unwrap().action, e.action);
    let error = open_with(&path, &with_keys(&["wrist_image"], &[])).err().unwrap().to_string();
    assert!(
        error.contains("wrist_image: expected a row of numbers per step, found wrist_image (uint8"),
        "{error}"
    );
}

#[test]
fn robosuite_says_when_a_person_drove() {
    let source = peer("robosuite_two_arm.hdf5");
    assert_eq!(source.meta().env.as_deref(), Some("TwoArmHandover"));
    assert!(notes(&*source).contains("simulator states stand in"));
    let first = source.episode(0).unwrap();
    // An intervention, or one of two people acting; the last step has no successor.
    assert_eq!(first.human, [false, true, true, true]);
    assert_eq!(
        (first.attributes["num_users"].as_str(), first.attributes["timestamp"].as_str()),
        ("2", "1600000000.25")
    );
    // Only the policy's part is recorded here.
    assert_eq!(source.episode(1).unwrap().human, [false, true, false]);
}

#[test]
fn aloha_episodes_of_a_directory_are_one_dataset() {
    let source = peer("aloha");
    assert_eq!((source.meta().format, source.len()), ("aloha", 3));
    assert_eq!(keys(&*source), [("effort", 14), ("qpos", 14), ("qvel", 14)]);
    let names: Vec<String> = (0..3).map(|i| source.episode(i).unwrap().name).collect();
    assert_eq!(names, ["episode_0", "episode_2", "episode_10"]);
    let e = source.episode(1).unwrap();
    assert_eq!(
        (e.len(), e.action.len(), e.observation.len()),
        (4, 56, 168),
        "nothing follows the fifth step"
    );
    assert_eq!(e.next_observation[..126], e.observation[42..]);
    assert!(e.reward.iter().all(|r| r.is_nan()) && e.success.is_none());
    assert_eq!((e.end[3], e.end[2]), (StepEnd::Truncated, StepEnd::Running));
    let said = notes(&*source);
    for words in [
        "images/cam_high (uint8 [5, 6, 8, 3])",
        "images/cam_left_wrist (uint8 [5, ",
        "]) of JPEG images",
        "images/cam_text (text [5])",
        "images/cam_bytes (other [5])",
        "base_action is recorded",
        "pairs each observation with the action of the step before",
        "padded with zeros",
        "no rewards are recorded",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(
        said.contains("base_action is recorded, and not in the action row unless chosen; recorded"),
        "{said}"
    );
    assert!(said.contains("padded with zeros to one length (1 of 3 files)"), "{said}");
    let path = fixture("peers/aloha");
    let mobile = open_with(&path, &with_keys(&["qpos"], &["action", "base_action"])).unwrap();
    assert_eq!((mobile.meta().observation_dim, mobile.meta().action_dim), (14, 16));
    assert_eq!(mobile.episode(2).unwrap().action.len(), 64);
    let error = open_with(&path, &with_keys(&["images/cam_high"], &[])).err().unwrap().to_string();
    assert!(error.contains("images/cam_high: expected a row of numbers"), "{error}");
    assert!(verify(&path, &OpenOptions::default()).passed());
    assert_eq!(peer("aloha/episode_0.hdf5").len(), 1, "one file is a dataset as well");
    // For imitation, with the reward that the user gives.
    let options = LoadOptions { missing_reward: Some(0.0), ..LoadOptions::default() };
    assert_eq!(load(&*source, &spec(42, 14), &options).unwrap().report.steps, 12);
}

#[test]
fn libero_observations_are_paired_with_the_action_that_follows_them() {
    let source = peer("libero_demo.hdf5");
    assert_eq!((source.meta().format, source.len()), ("libero", 2));
    assert_eq!(keys(&*source), [("gripper_states", 2), ("joint_states", 7)]);
    let e = source.episode(0).unwrap();
    assert_eq!(e.len(), 3, "what the first action was taken on is not recorded");
    for t in 0..3 {
        // The joint goes to where the action says.
        let at = |rows: &[f32]| rows[9 * t + 2];
        assert_eq!(at(&e.observation), (t + 1) as f32 / 8.0);
        assert_eq!(at(&e.next_observation), (t + 2) as f32 / 8.0);
        assert_eq!(e.action[7 * t], (t + 2) as f32 / 8.0);
    }
    assert_eq!((e.reward.as_slice(), e.end[2]), ([0.0, 0.0, 1.0].as_slice(), StepEnd::Terminated));
    let said = notes(&*source);
    assert!(said.contains("observations were taken after their actions"), "{said}");
    assert!(said.contains("agentview_rgb (uint8 [4, 8, 8, 3])"), "{said}");
    // As robomimic would read it, every action is one step late.
    let options = OpenOptions { format: Some("robomimic".into()), ..OpenOptions::default() };
    let late = open_with(&fixture("peers/libero_demo.hdf5"), &options).unwrap().episode(0).unwrap();
    assert_eq!(late.observation[2], late.action[0]);
}

#[test]
fn droid_trajectories_of_either_spelling_are_one_dataset() {
    let source = peer("droid");
    assert_eq!((source.meta().format, source.len()), ("droid", 2));
    assert_eq!(
        keys(&*source),
        [
            ("robot_state/cartesian_position", 6),
            ("robot_state/gripper_position", 1),
            ("robot_state/joint_positions", 7)
        ]
    );
    let (first, second) = (source.episode(0).unwrap(), source.episode(1).unwrap());
    assert_eq!((first.name.as_str(), first.len(), first.action.len()), ("Fri_0", 3, 21));
    assert_eq!((first.success, second.success), (Some(true), Some(false)));
    assert_eq!(first.attributes["current_task"], "put the marker in the cup");
    assert_eq!((first.observation[6], first.observation[14 + 6]), (0.0, 0.25), "gripper, row by row");
    let said = notes(&*source);
    for words in [
        "the action row is cartesian_velocity and gripper_position",
        "timestamp/robot_state/read_start",
        "note (text [4])",
        "videos/24400334 (text [])",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let path = fixture("peers/droid/Fri_1");
    let chosen =
        open_with(&path, &with_keys(&["controller_info/movement_enabled"], &["joint_velocity"])).unwrap();
    assert_eq!((chosen.meta().observation_dim, chosen.meta().action_dim), (1, 7));
    assert_eq!(chosen.episode(0).unwrap().observation, [0.0, 1.0, 1.0], "flags are enums over one byte");
}

#[test]
fn minari_rows_have_all_successors_and_seeds() {
    let source = peer("minari/rows");
    let meta = source.meta();
    assert_eq!((meta.format, meta.env.as_deref(), source.len()), ("minari", Some("surefoot/rows-v0"), 2));
    assert_eq!((meta.observation_dim, meta.action_dim), (3, 2));
    let (first, second) = (source.episode(0).unwrap(), source.episode(1).unwrap());
    assert_eq!((first.len(), second.len()), (3, 4), "no step is lost");
    assert_eq!(first.next_observation[..6], first.observation[3..]);
    assert_ne!(first.next_observation[6..], first.observation[6..]);
    assert_eq!((first.end[2], second.end[3]), (StepEnd::Terminated, StepEnd::Truncated));
    assert_eq!((first.seed, second.seed), (Some(7), None));
    assert_eq!((first.success, second.success), (Some(true), Some(false)), "by infos/success");
    assert_eq!(first.attributes["options/goal/x"], "1.5");
    assert_eq!(first.reward, [0.0, 1.0, 2.0]);
    assert!(notes(&*source).contains("actions range from [-2, -2] to [2, 2]"), "{}", notes(&*source));
    // The data directory, or the file alone.
    assert_eq!(peer("minari/rows/data").len(), 2);
    let file = peer("minari/rows/data/main_data.hdf5");
    assert_eq!(file.episode(1).unwrap(), second);
    let alone = tempfile::tempdir().unwrap();
    let copy = alone.path().join("main_data.hdf5");
    std::fs::copy(fixture("peers/minari/rows/data/main_data.hdf5"), &copy).unwrap();
    let source = open(&copy).unwrap();
    assert!(notes(&*source).contains("metadata.json is not beside it"));
    assert_eq!(source.episode(1).unwrap(), second);
}

#[test]
fn minari_dictionaries_and_tuples_stand_side_by_side_and_pictures_are_named() {
    let source = peer("minari/nested");
    let expected = [("bytes", 4), ("observation", 2), ("pair/_index_0", 1), ("pair/_index_1", 1)];
    assert_eq!(keys(&*source), expected);
    assert_eq!(source.meta().action_dim, 3);
    let e = source.episode(1).unwrap();
    assert_eq!(e.observation[..4], [0.0, 1.0, 2.0, 3.0], "bytes that are no picture are numbers");
    assert_eq!((e.observation[7], e.next_observation[7]), (0.0, 1.0));
    assert_eq!((e.action[2], e.action[5]), (0.0, 1.0), "a discrete part is its number");
    let said = notes(&*source);
    for words in ["camera (other [4])", "mission (text [4])", "compressed as JPEG, with loss"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // Of the second episode all pictures are equally long, and stored as rows of bytes.
    let options = with_keys(&["pair/_index_1"], &["tool"]);
    let chosen = open_with(&fixture("peers/minari/nested"), &options).unwrap();
    assert_eq!(chosen.episode(0).unwrap().action, [0.0, 1.0, 2.0]);
    let error = open_with(&fixture("peers/minari/nested"), &with_keys(&["mission"], &[])).err().unwrap();
    assert!(error.to_string().contains("mission: expected a row of numbers"), "{error}");
}

fn edited(from: &str, to: &str) -> Result<Box<dyn EpisodeSource>, DataError> {
    let directory = tempfile::tempdir().unwrap();
    let data = fixture("peers/minari/rows/data");
    std::fs::copy(data.join("main_data.hdf5"), directory.path().join("main_data.hdf5")).unwrap();
    let text = std::fs::read_to_string(data.join("metadata.json")).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(directory.path().join("metadata.json"), text.replace(from, to)).unwrap();
    open(directory.path())
}

#[test]
fn minari_metadata_that_contradicts_or_is_none_is_refused() {
    let error = |from: &str, to: &str| edited(from, to).err().unwrap().to_string();
    let episodes = error("\"total_episodes\": 2", "\"total_episodes\": 3");
    assert!(episodes.contains("total_episodes: expected 3, found 2"), "{episodes}");
    let steps = error("\"total_steps\": 7", "\"total_steps\": 8");
    assert!(steps.contains("total_steps: expected 8, found 7"), "{steps}");
    let arrow = error("\"data_format\": \"hdf5\"", "\"data_format\": \"arrow\"");
    assert!(arrow.contains("data_format is arrow") && arrow.contains("save it again"), "{arrow}");
    assert!(error("{\"total", "[\"total").contains("metadata.json: not a readable minari file"));
    // Python's bare infinities are no damage, wherever they stand.
    assert!(edited("\"total_steps\": 7", "\"total_steps\": 7, \"score\": -Infinity, \"other\": NaN").is_ok());
}
