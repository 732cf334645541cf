//! Other datasets out of what there is, as a user makes them.

use crate::program::Workplace;

fn recorded() -> Workplace {
    let workplace = Workplace::new();
    workplace.succeed(&["data", "record", "push", "--to", "push.hdf5", "--episodes", "12", "--seed", "4"]);
    workplace
}

#[test]
fn what_is_converted_there_and_back_is_the_same_to_the_bit() {
    let workplace = recorded();
    workplace.succeed(&["data", "convert", "push.hdf5", "--to", "sets/push-v0", "--as", "minari"]);
    workplace.succeed(&["data", "convert", "sets/push-v0", "--to", "back.hdf5"]);
    let (code, stdout, stderr) = workplace.run(&["data", "diff", "push.hdf5", "back.hdf5", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    // Minari has no place for the commands that the filter changed, nor for the actor's name; all that is learned from is there.
    let learned = ["observation", "action", "reward", "end", "steps", "episodes"];
    for difference in report["differences"].as_array().unwrap() {
        let what = difference["what"].as_str().unwrap();
        assert!(!learned.iter().any(|word| what.starts_with(word)), "{code} {what} {stderr}");
    }
    // MCAP has a place for everything, and is chosen by its name.
    workplace.succeed(&["data", "convert", "push.hdf5", "--to", "sets/push.mcap"]);
    workplace.succeed(&["data", "convert", "sets/push.mcap", "--to", "sets/back.hdf5"]);
    workplace.succeed(&["data", "diff", "push.hdf5", "sets/push.mcap"]);
    for verb in ["info", "stats", "verify"] {
        workplace.succeed(&["data", verb, "sets/push.mcap"]);
    }
    let [there, back] =
        ["push.hdf5", "sets/back.hdf5"].map(|f| surefoot_datasets::open(&workplace.path(f)).unwrap());
    assert_eq!(there.meta().spec, back.meta().spec);
    assert!((0..there.len()).all(|i| there.episode(i).unwrap() == back.episode(i).unwrap()));
    // A directory that is not there is made, whatever the format.
    workplace.succeed(&["data", "convert", "push.hdf5", "--to", "not/yet/there.hdf5"]);
    workplace.fail(&["data", "convert", "push.hdf5", "--to", "back.hdf5"], 1, &["back.hdf5"]);
    workplace.fail(&["data", "convert", "push.hdf5", "--to", "x", "--as", "excel"], 2, &["robomimic"]);
}

#[test]
fn a_dataset_is_divided_joined_and_filtered_in_whole_episodes() {
    let workplace = recorded();
    let split =
        ["data", "split", "push.hdf5", "--train", "a.hdf5", "--valid", "b.hdf5", "--valid-share", "0.25"];
    workplace.succeed(&split);
    workplace.fail(&split, 1, &["a.hdf5 exists"]);
    let episodes = |file: &str| surefoot_datasets::open(&workplace.path(file)).unwrap().len();
    assert_eq!((episodes("a.hdf5"), episodes("b.hdf5")), (9, 3));
    workplace.succeed(&["data", "merge", "a.hdf5", "b.hdf5", "--to", "all.hdf5"]);
    assert_eq!(episodes("all.hdf5"), 12);
    workplace.succeed(&["data", "filter", "all.hdf5", "--to", "good.hdf5", "--success", "true", "--finite"]);
    let good = surefoot_datasets::open(&workplace.path("good.hdf5")).unwrap();
    assert!(good.len() < 12 && (0..good.len()).all(|i| good.episode(i).unwrap().success == Some(true)));
    let none = ["data", "filter", "all.hdf5", "--to", "none.hdf5", "--min-steps", "1000"];
    workplace.fail(&none, 1, &["none of 12 episodes"]);
    assert!(!workplace.path("none.hdf5").exists());
    workplace.fail(&["data", "diff", "a.hdf5", "all.hdf5"], 1, &["differences"]);
    workplace.succeed(&["data", "diff", "all.hdf5", "all.hdf5"]);
}

#[test]
fn an_episode_is_played_on_the_terminal_and_as_a_page() {
    let workplace = recorded();
    let told = workplace.succeed(&["data", "play", "push.hdf5", "--episode", "3", "--channel", "puck"]);
    assert!(told.contains("puck_x") && told.contains("..") && !told.contains("tool_x "), "{told}");
    workplace.succeed(&["data", "play", "push.hdf5", "--html", "e.html"]);
    let page = std::fs::read_to_string(workplace.path("e.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("tool_velocity_x") && !page.contains("src=\"http"));
    workplace.fail(&["data", "play", "push.hdf5", "--episode", "99"], 1, &["no episode 99", "12"]);
    workplace.fail(&["data", "play", "push.hdf5", "--channel", "elbow"], 1, &["elbow"]);
}
