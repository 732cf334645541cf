//! `surefoot collect`: histories in a file, the same bytes from any number of threads.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use surefoot_core::{HistorySource, TaskSplit};
use surefoot_datasets::history::HistoryFile;

use crate::program::{Workplace, spoken};

const SMALL: &str = "name = \"small\"
[family.dark_room]
size = 5
horizon = 10
test_goals = 4
[[source]]
algorithm.tabular_q = {}
histories_per_task = 2
episodes = 30
keep_every = [1, 3]
[[source]]
algorithm.coverage = {}
histories_per_task = 1
episodes = 6
";

fn workplace() -> Workplace {
    let workplace = Workplace::new();
    std::fs::write(workplace.path("small.toml"), SMALL).unwrap();
    workplace
}

#[test]
fn histories_are_the_same_bytes_from_one_thread_and_from_four() {
    let place = workplace();
    for (threads, file) in [("1", "one.hdf5"), ("4", "four.hdf5")] {
        place.succeed(&["collect", "small.toml", "--to", file, "--threads", threads, "--seed", "3"]);
    }
    let one = std::fs::read(place.path("one.hdf5")).unwrap();
    assert!(one == std::fs::read(place.path("four.hdf5")).unwrap());
    place.succeed(&["collect", "small.toml", "--to", "other.hdf5", "seed=4"]);
    assert!(one != std::fs::read(place.path("other.hdf5")).unwrap(), "another seed is other histories");

    let file = HistoryFile::open(&place.path("one.hdf5")).unwrap();
    file.verify().unwrap();
    assert_eq!(
        (file.len(), file.meta().tasks.len()),
        (20 * 3, 24),
        "all tasks, and histories of those in training"
    );
    assert!((0..file.len()).all(|i| file.meta().tasks[file.task_of(i)].split == TaskSplit::Train));
    let kept: Vec<usize> = (0..file.len()).map(|i| file.history(i).unwrap().episodes().count()).collect();
    assert!(kept.contains(&30) && kept.contains(&15) && kept.contains(&10) && kept.contains(&6), "{kept:?}");
    let first = file.history(0).unwrap();
    let last = first.updates.last().copied().unwrap();
    assert!(first.updates[0] == 0 && last > 0, "versions of what acted: 0 to {last}");
}

#[test]
fn a_collection_says_what_it_is_and_is_not_overwritten() {
    let place = workplace();
    let said = place.succeed(&["collect", "small.toml", "--to", "h.hdf5", "--json"]);
    let event: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!((&event["event"], &event["histories"]), (&"collected".into(), &60.into()));
    let learned = event["sources"][1]["share_of_optimal"].as_array().unwrap();
    assert_eq!(learned[4], 1.0, "coverage knows every goal in the end: {event}");
    place.fail(&["collect", "small.toml", "--to", "h.hdf5"], 1, &["exists and is not overwritten"]);
    let info = place.succeed(&["data", "info", "h.hdf5"]);
    for words in ["learning histories", "dark_room", "tabular_q", "coverage", "train", "test_in"] {
        assert!(info.contains(words), "no {words} in\n{info}");
    }
    place.fail(&["data", "stats", "h.hdf5"], 1, &["it holds learning histories", "surefoot data info"]);
}

#[test]
fn what_cannot_be_collected_is_said_before_anything_is_written() {
    let place = workplace();
    let cases: [(&[&str], &[&str]); 5] = [
        (&["source.0.episodes=0"], &["source.0.episodes = 0: 1 to"]),
        (&["source.1.algorithm={ucb={}}"], &["ucb cannot learn dark_room: it needs a bandit"]),
        (&["family.dark_room.test_goals=24"], &["test_goals = 24: expected 1 to 23"]),
        (&["splits=[\"test_ood\"]"], &["dark_room has no task in these splits"]),
        (&["family.bernoulli_bandit.arms=3"], &["the file chooses [family.dark_room]"]),
    ];
    for (overrides, words) in cases {
        let args = [&["collect", "small.toml", "--to", "out.hdf5"], overrides].concat();
        place.fail(&args, 2, words);
        assert!(!place.path("out.hdf5").exists());
    }
}

#[test]
fn a_learner_of_several_actors_and_one_of_this_program_are_sources_like_any_other() {
    let place = workplace();
    let config = "name = \"several\"
[family.shuffleboard]
train_tasks = 2
test_tasks = 1
[[source]]
algorithm.a2c = { actors = 3, hidden = [8] }
histories_per_task = 2
episodes = 4
[[source]]
histories_per_task = 1
episodes = 6
[source.algorithm.learner]
random_episodes = 2
[source.algorithm.learner.learner.awac]
actor = { hidden = [8] }
critic = { hidden = [8] }
offline_batch = 16
online_batch = 16
";
    std::fs::write(place.path("several.toml"), config).unwrap();
    for (threads, file) in [("1", "one.hdf5"), ("2", "two.hdf5")] {
        place.succeed(&["collect", "several.toml", "--to", file, "--threads", threads]);
    }
    let bytes = std::fs::read(place.path("one.hdf5")).unwrap();
    assert!(bytes == std::fs::read(place.path("two.hdf5")).unwrap());
    let file = HistoryFile::open(&place.path("one.hdf5")).unwrap();
    file.verify().unwrap();
    let who: Vec<_> = (0..7).map(|i| file.history(i).unwrap()).map(|h| (h.algorithm, h.stream)).collect();
    let a2c = (0..6).map(|stream| ("a2c".to_owned(), stream));
    assert_eq!(
        who,
        a2c.chain([("awac".to_owned(), 0)]).collect::<Vec<_>>(),
        "two lives of three actors, one of awac"
    );
    let info = place.succeed(&["data", "info", "one.hdf5"]);
    assert!(info.contains("a2c") && info.contains("awac"), "{info}");
    // What was collected can be distilled.
    let distill = "name = \"board\"
histories = { file = \"one.hdf5\" }
[model]
width = 8
layers = 1
feed_forward = 8
window = 16
tokens = \"triplet\"
[optimizer]
updates = 4
batch = 2
[evaluation]
validation_tasks = 1
validation = { episodes = 1, lives = 1 }
every_updates = 2
test = { episodes = 2, lives = 1 }
";
    std::fs::write(place.path("board.toml"), distill).unwrap();
    let table = place.succeed(&["distill", "board.toml", "--run-dir", "board"]);
    assert!(table.contains("| ad |") && table.contains("| source |"), "{table}");
}

#[test]
fn histories_of_others_become_histories_of_ours() {
    let place = workplace();
    let fixture = |name: &str| {
        let at =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../datasets/tests/fixtures/histories");
        at.join(name).display().to_string()
    };
    for (file, name, histories) in [
        ("xland.hdf5", "xland_minigrid", 6),
        ("dicp_metaworld.hdf5", "dicp", 6),
        ("vintix/reach/trajectory_0.h5", "vintix", 1),
    ] {
        let to = format!("{name}.hdf5");
        let said = place.succeed(&["data", "convert", &fixture(file), "--to", &to]);
        assert!(
            said.contains(&format!("{histories} histories")) && said.contains(&format!("from {name}")),
            "{said}"
        );
        let info = place.succeed(&["data", "info", &to]);
        assert!(info.contains("learning histories") && info.contains(name), "{info}");
        place.fail(&["data", "convert", &fixture(file), "--to", &to, "--format", name], 1, &["already"]);
        place.fail(
            &["data", "info", &fixture(file)],
            1,
            &["learning histories of another project", "data convert"],
        );
    }
    place.fail(
        &["data", "convert", &fixture("xland.hdf5"), "--to", "x.hdf5", "--as", "minari"],
        2,
        &["written in one format alone"],
    );
    place.fail(
        &["data", "convert", &fixture("xland.hdf5"), "--to", "x.hdf5", "--format", "dicp"],
        1,
        &["0/states: expected [3, 40] and the width of an observation"],
    );
    std::fs::write(place.path("x.toml"), "name = \"x\"\nhistories = { file = \"dicp.hdf5\" }\n").unwrap();
    place.fail(&["distill", "x.toml"], 1, &["were imported (dicp)"]);
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let place = workplace();
    let many = "source.0.histories_per_task=100000";
    let mut command = place.command(&["collect", "small.toml", "--to", "out/h.hdf5", many]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Writing has begun when there is something beside the file.
    let begun = || std::fs::read_dir(place.path("out")).is_ok_and(|d| d.count() > 0);
    while !begun() {
        std::thread::yield_now();
    }
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let (code, _, stderr) = spoken(&child.wait_with_output().unwrap());
    assert_eq!(code, 130, "{stderr}");
    assert!(stderr.contains("nothing was written"), "{stderr}");
    assert_eq!(std::fs::read_dir(place.path("out")).unwrap().count(), 0);
}

#[test]
fn learners_of_quantities_refuse_choices_by_name() {
    let place = workplace();
    let tiny = std::fs::read_to_string(place.path("tiny.toml")).unwrap();
    let room = tiny.replace("[env.push]", "[env.dark_room]");
    assert_ne!(tiny, room);
    let room: String =
        room.lines().filter(|l| !l.starts_with("max_steps")).map(|l| format!("{l}\n")).collect();
    std::fs::write(place.path("room.toml"), room).unwrap();
    place.fail(
        &["config", "check", "room.toml"],
        2,
        &["[learner.awac] learns quantities", "x of dark_room is one of 9 choices"],
    );
}

#[test]
fn references_are_printed() {
    let place = workplace();
    let said = place.succeed(&["list", "--references"]);
    let room = said.lines().find(|l| l.starts_with("dark_room ")).unwrap();
    let numbers: Vec<&str> = room.split_whitespace().collect();
    assert_eq!(numbers[..4], ["dark_room", "64+16+0", "0.235", "16.500"], "{said}");
}
