//! From a recording to episodes, by a contract.

use std::f64::consts::PI;
use std::path::{Path, PathBuf};

use surefoot_core::ros::RosMessage;
use surefoot_core::ros::messages::{Header, JointState, Time};
use surefoot_core::{Episode, RobotContract, StepEnd};
use surefoot_datasets::import::{Imported, Plan, import};
use surefoot_datasets::mcap::{McapWriter, WriteOptions};
use surefoot_datasets::streams::LogOptions;
use surefoot_datasets::{OpenOptions, Recording, open_with, read_all, write};

use crate::logs::log;

const ROBOT: &str = r#"
name = "two_links"
control_hz = 100.0
policy_hz = 20.0
[[joints]]
name = "shoulder"
unit = "rad"
min_position = -3.0
max_position = 3.0
max_velocity = 2.0
max_acceleration = 10.0
[[joints]]
name = "elbow"
unit = "rad"
min_position = -2.0
max_position = 2.0
max_velocity = 2.0
max_acceleration = 10.0
"#;

/// The teleoperation of `make_logs.py`.
pub const TELEOP: &str = r#"
[import]
action_shift = "next"
success = "events"
reward = { label = { success = 1.0, otherwise = 0.0 } }
episodes = { split = "events" }
[[import.observation]]
name = "{}_position"
topic = "/joint_states"
type = "sensor_msgs/msg/JointState"
align = { strategy = "asof", tolerance_ms = 20.0, timeline = "header" }
select = ["position.*"]
unit = "rad"
[[import.observation]]
name = "elbow_velocity"
topic = "/joint_states"
align = { strategy = "asof", tolerance_ms = 20.0, timeline = "header" }
select = ["velocity.elbow"]
unit = "rad/s"
[[import.action]]
name = "{}_target"
topic = "/arm/joint_trajectory"
align = { strategy = "hold", timeline = "receive" }
select = ["points[0].positions.*"]
unit = "rad"
definition = "commanded"
bounds = "position"
[import.events]
start_episode = { topic = "/episode", select = "data", equals = "start", trigger = "message", timeline = "receive" }
end_episode = { topic = "/episode", select = "data", equals = "stop", trigger = "message", timeline = "receive" }
success = { topic = "/success", select = "data", timeline = "receive" }
intervention = { topic = "/joy", select = "buttons[0]", timeline = "header" }
"#;

pub fn contract(import: &str) -> RobotContract {
    RobotContract::parse(&format!("{ROBOT}{import}"), Path::new("two_links.toml")).unwrap()
}

fn run(import_section: &str, paths: &[PathBuf]) -> Result<Imported, String> {
    let contract = contract(import_section);
    let plan = Plan::new(&contract).map_err(|e| e.to_string())?;
    let options = LogOptions::of(&contract);
    import(&plan, paths, &options, false, &|_| {}).map_err(|e| e.to_string())
}

/// A contract with something else in one place.
fn with(from: &str, to: &str) -> String {
    assert!(TELEOP.contains(from), "{from}");
    TELEOP.replace(from, to)
}

fn motion(secs: f64) -> [f64; 2] {
    [secs.sin(), 0.5 * (2.0 * secs).cos()]
}

fn close(found: f32, expected: f64) {
    assert!((f64::from(found) - expected).abs() < 1e-5, "{found} {expected}");
}

#[test]
fn a_teleoperation_becomes_what_the_robot_did_and_was_told() {
    let imported = run(TELEOP, &[log("teleop.mcap")]).unwrap();
    let names: Vec<&str> = imported.spec.observation.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["shoulder_position", "elbow_position", "elbow_velocity"]);
    assert_eq!(imported.spec.action[1].name, "elbow_target");
    assert_eq!((imported.spec.action[1].low, imported.spec.action[1].high), (Some(-2.0), Some(2.0)));
    assert_eq!(imported.spec.step_secs, 0.05);
    let [first, second] = imported.episodes.as_slice() else { panic!("{}", imported.report) };
    assert_eq!((first.success, second.success), (Some(true), None));
    assert_eq!(first.end.last(), Some(&StepEnd::Terminated));
    assert_eq!(second.end.last(), Some(&StepEnd::Truncated));
    assert_eq!(first.reward.iter().sum::<f32>(), 1.0);
    assert!(second.reward.iter().all(|r| r.is_nan()), "an unlabelled episode has no reward");
    assert_eq!((first.len(), second.len()), (40, 39));
    for (number, episode) in imported.episodes.iter().enumerate() {
        // Both grids stand on the first sample of the log; the second episode begins 2.5 s later.
        let shift = number as f64;
        for k in 0..episode.len() {
            let secs = 0.05 * k as f64;
            let (q, target) = (motion(secs), motion(secs + 0.01 + 0.05));
            for j in 0..2 {
                close(episode.observation[3 * k + j], q[j] + shift);
                // The command of 10 ms after the observation, the newest at the end of the step.
                close(episode.action[2 * k + j], (target[j] + shift) / [3.0, 2.0][j]);
            }
            close(episode.observation[3 * k + 2], -(2.0 * secs).sin());
            if k + 1 < episode.len() {
                assert_eq!(
                    episode.next_observation[3 * k..3 * k + 3],
                    episode.observation[3 * k + 3..3 * k + 6]
                );
            }
        }
        // The button is held from the middle of the recording on, and still down when the second one begins.
        let held: Vec<usize> = (0..episode.len()).filter(|k| episode.human[*k]).collect();
        assert_eq!(held[number..].first(), Some(&20), "{held:?}");
    }
    assert!(imported.report.actions[0].contains("read at the end of its step"));
}

#[test]
fn what_was_imported_is_written_and_read_again() {
    let imported = run(TELEOP, &[log("teleop.mcap")]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.hdf5");
    write(&path, &Recording::new(imported.spec.clone()), &imported.episodes).unwrap();
    let source = open_with(&path, &OpenOptions::default()).unwrap();
    assert_eq!(source.meta().spec.as_ref(), Some(&imported.spec));
    let again = read_all(&*source, &[0, 1]).unwrap();
    let bits = |e: &Episode| e.reward.iter().map(|r| r.to_bits()).collect::<Vec<_>>();
    for (a, b) in again.iter().zip(&imported.episodes) {
        assert_eq!(
            (&a.observation, &a.action, &a.human, &a.end),
            (&b.observation, &b.action, &b.human, &b.end)
        );
        assert_eq!(bits(a), bits(b));
    }
}

#[test]
fn a_ros_1_bag_says_the_same_in_every_compression() {
    let section = r#"
[import]
action_shift = "next"
episodes = { split = "file" }
[[import.observation]]
name = "{}_position"
topic = "/joint_states"
align = { strategy = "asof", tolerance_ms = 20.0, timeline = "header" }
select = ["position.*"]
unit = "rad"
[[import.action]]
name = "{}_target"
topic = "/commands"
align = { strategy = "hold", timeline = "receive" }
select = ["data[*]"]
apply = ["deg_to_rad"]
unit = "rad"
definition = "commanded"
bounds = "position"
"#;
    for compression in ["none", "lz4", "bz2"] {
        let imported = run(section, &[log(&format!("teleop_{compression}.bag"))]).unwrap();
        let [episode] = imported.episodes.as_slice() else { panic!("{}", imported.report) };
        assert_eq!(episode.len(), 11);
        for k in 0..11 {
            let secs = 0.05 * k as f64;
            close(episode.observation[2 * k + 1], motion(secs)[1]);
            close(episode.action[2 * k], motion(secs + 0.06)[0] / 3.0);
        }
    }
}

#[test]
fn units_are_changed_and_places_taken_for_names() {
    let section = with("topic = \"/arm/joint_trajectory\"", "topic = \"/forward/commands\"")
        .replace("points[0].positions.*", "data[*]")
        .replace("unit = \"rad\"\ndefinition", "apply = [\"deg_to_rad\"]\nunit = \"rad\"\ndefinition");
    let by_place = run(&section, &[log("teleop.mcap")]).unwrap();
    let by_name = run(TELEOP, &[log("teleop.mcap")]).unwrap();
    for (a, b) in by_place.episodes.iter().zip(&by_name.episodes) {
        for (x, y) in a.action.iter().zip(&b.action) {
            close(*x, f64::from(*y));
        }
    }
    // Degrees taken for radians are far outside the bounds, and that is said.
    let wrong = run(&section.replace("apply = [\"deg_to_rad\"]\n", ""), &[log("teleop.mcap")]).unwrap();
    let (name, count, largest) = &wrong.report.beyond_bounds[0];
    assert!(name == "shoulder_target" && *count > 60 && f64::from(*largest) > 180.0 / PI * 0.3);
}

#[test]
fn actions_are_what_their_definition_says() {
    let of = |definition: &str, bounds: &str, topic: &str, select: &str| {
        let section = with("topic = \"/arm/joint_trajectory\"", &format!("topic = \"{topic}\""))
            .replace("points[0].positions.*", select)
            .replace("definition = \"commanded\"", &format!("definition = {definition}"))
            .replace("bounds = \"position\"", &format!("bounds = \"{bounds}\""));
        run(&section, &[log("teleop.mcap")]).unwrap().episodes.swap_remove(0)
    };
    let state = ("/joint_states", "position.*");
    let next = of("\"next_state\"", "position", state.0, state.1);
    let delta = of("\"delta\"", "step", state.0, state.1);
    for k in 0..30 {
        let secs = 0.05 * (k + 1) as f64;
        // Received 2 ms after it was measured, and read by the time it was received: at first there is none.
        let (now, later) = (motion(secs - 0.01), motion(secs + 0.04));
        close(next.action[2 * (k + 1)], later[0] / 3.0);
        close(delta.action[2 * k + 1], (later[1] - now[1]) / 0.1);
    }
    let relative =
        of("{ relative_to = \"{}_position\" }", "step", "/arm/joint_trajectory", "points[0].positions.*");
    for k in 0..30 {
        let secs = 0.05 * k as f64;
        close(relative.action[2 * k], (motion(secs + 0.06)[0] - motion(secs)[0]) / 0.1);
    }
}

#[test]
fn shifts_read_the_command_when_they_say() {
    let first = |shift: &str| {
        let section = with("action_shift = \"next\"", &format!("action_shift = {shift}"));
        let mut imported = run(&section, &[log("teleop.mcap")]).unwrap();
        let episode = imported.episodes.swap_remove(0);
        // Without a command the first step is left out.
        let k = 10 - (40 - episode.len());
        f64::from(episode.action[2 * k]) * 3.0
    };
    let secs = 0.5;
    for (shift, expected) in
        [("\"next\"", secs + 0.06), ("\"hold\"", secs + 0.01), ("{ after_ms = 12.0 }", secs + 0.06)]
    {
        let found = first(shift);
        assert!((found - motion(expected)[0]).abs() < 1e-5, "{shift}: {found}");
    }
}

#[test]
fn gaps_cut_and_unstamped_messages_are_refused() {
    let tight =
        with("strategy = \"hold\", timeline = \"receive\"", "strategy = \"drop\", timeline = \"receive\"");
    assert_eq!(run(&tight, &[log("teleop.mcap")]).unwrap().episodes.len(), 2);
    let header =
        with("strategy = \"hold\", timeline = \"receive\"", "strategy = \"hold\", timeline = \"header\"");
    let error = run(&header, &[log("teleop.mcap")]).unwrap_err();
    assert!(error.contains("headers are not stamped"), "{error}");
    let bare = with(
        "success = { topic = \"/success\", select = \"data\", timeline = \"receive\" }",
        "success = { topic = \"/success\", select = \"data\", timeline = \"header\" }",
    );
    let error = run(&bare, &[log("teleop.mcap")]).unwrap_err();
    assert!(error.contains("timeline of /success: expected messages with a header"), "{error}");
}

#[test]
fn messages_without_a_stamp_are_dropped_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("half_stamped.mcap");
    let mut file = McapWriter::new(std::fs::File::create(&path).unwrap(), WriteOptions::default()).unwrap();
    let states = file.topic("/joint_states", JointState::TYPE, JointState::DEFINITION).unwrap();
    let mut payload = Vec::new();
    // What is not stamped says something else, so that it would show.
    for k in 0..60_i64 {
        let at = 1_000_000_000 + k * 50_000_000;
        let stamped = k % 4 != 3;
        let header = Header { stamp: Time::from_nanos(if stamped { at } else { 0 }), ..Header::default() };
        let position = vec![if stamped { 0.01 * k as f64 } else { 99.0 }];
        JointState { header, name: vec!["q".into()], position, ..JointState::default() }.encode(&mut payload);
        file.message(states, at as u64, at as u64, &payload).unwrap();
    }
    file.finish().unwrap();
    let section = RESTS
        .replace("topic = \"table\"", "topic = \"/joint_states\"")
        .replace("timeline = \"receive\"", "timeline = \"header\"")
        .replace("[\"q\"]", "[\"position.q\"]")
        .replace("table = { time = \"t\", time_unit = \"s\" }\n", "");
    let imported = run(&section, &[path]).unwrap();
    let [observed, commanded] = imported.report.logs[0].streams.as_slice() else { panic!() };
    for stream in [observed, commanded] {
        assert_eq!((stream.messages, stream.taken, stream.unstamped), (60, 45, 15), "{}", imported.report);
    }
    let [episode] = imported.episodes.as_slice() else { panic!("{}", imported.report) };
    assert!(episode.observation.iter().all(|q| *q < 1.0), "{:?}", episode.observation);
}

#[test]
fn splits_and_labels() {
    let file = with("split = \"events\"", "split = \"file\"")
        .replace("success = \"events\"\nreward = { label = { success = 1.0, otherwise = 0.0 } }", "")
        .replace("success = { topic = \"/success\", select = \"data\", timeline = \"receive\" }", "")
        .replace("end_episode", "#")
        .replace("start_episode", "#");
    let one = run(&file, &[log("teleop.mcap")]).unwrap();
    // The pause of half a second is longer than the tolerance, so it cuts; nobody labelled anything.
    assert_eq!(one.episodes.len(), 2, "{}", one.report);
    assert!(one.episodes.iter().all(|e| e.success.is_none() && e.reward.iter().all(|r| r.is_nan())));
    let gap = file.replace("split = \"file\"", "split = { gap_secs = 0.3 }");
    assert_eq!(run(&gap, &[log("teleop.mcap")]).unwrap().episodes.len(), 2);
    let chunks = file.replace("split = \"file\"", "split = \"file\", max_steps = 15, min_steps = 10");
    let chunks = run(&chunks, &[log("teleop.mcap")]).unwrap();
    assert!(chunks.episodes.iter().all(|e| (10..=15).contains(&e.len())), "{}", chunks.report);
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("run.mcap");
    std::fs::copy(log("teleop.mcap"), &copy).unwrap();
    std::fs::write(directory.path().join("run.mcap.labels.csv"), "episode,success\n0,false\n1,1\n").unwrap();
    let labelled = gap.replace("[import]", "[import]\nsuccess = { sidecar = \".labels.csv\" }");
    let labelled = run(&labelled, &[copy]).unwrap();
    let labels: Vec<Option<bool>> = labelled.episodes.iter().map(|e| e.success).collect();
    assert_eq!(labels, [Some(false), Some(true)]);
}

#[test]
fn mistakes_in_the_contract_name_their_key() {
    for (from, to, expected) in [
        ("tolerance_ms = 20.0, ", "", "import.observation[0].align.tolerance_ms: expected how old"),
        ("strategy = \"hold\", ", "strategy = \"hold\", tolerance_ms = 1.0, ", "only asof has a tolerance"),
        (
            "unit = \"rad\"\ndefinition",
            "unit = \"deg\"\ndefinition",
            "import.action[0].bounds: expected unit \"rad\"",
        ),
        ("bounds = \"position\"", "bounds = \"effort\"", "max_effort of joint shoulder"),
        (
            "bounds = \"position\"",
            "bounds = { range = { low = [0.0], high = [1.0] } }",
            "2 numbers in low and high",
        ),
        ("velocity.elbow", "velocity[", "a bracket is not closed"),
        ("\"commanded\"", "{ relative_to = \"pose\" }", "one of elbow_velocity, {}_position, found pose"),
        ("split = \"events\"", "split = { idle_secs = 1.0 }", "import.episodes.still"),
        ("name = \"elbow_velocity\"", "name = \"elbow_position\"", "names that differ, found elbow_position"),
        (
            "unit = \"rad\"\n[[import.observation]]",
            "apply = [{ scale = 0.0 }]\nunit = \"rad\"\n[[import.observation]]",
            "import.observation[0].apply[0]: expected a change of units that can be undone",
        ),
    ] {
        let error = run(&with(from, to), &[log("teleop.mcap")]).unwrap_err();
        assert!(error.contains(expected), "{to}: {error}");
    }
    let parse = |from: &str, to: &str| {
        let text = format!("{ROBOT}{}", with(from, to));
        RobotContract::parse(&text, Path::new("x.toml")).unwrap_err().to_string()
    };
    assert!(parse(", timeline = \"header\"", "").contains("missing field `timeline`"));
    assert!(parse("strategy = \"asof\", ", "").contains("missing field `strategy`"));
    assert!(parse("intervention =", "interventoin =").contains("unknown field `interventoin`"));
    assert!(run("", &[]).unwrap_err().starts_with("import: expected a section"));
}

#[test]
fn logs_that_lack_a_topic_say_what_they_have() {
    let error = run(&with("/arm/joint_trajectory", "/arm/command"), &[log("teleop.mcap")]).unwrap_err();
    assert!(
        error.contains("/arm/command (import.action[0])") && error.contains("/forward/commands"),
        "{error}"
    );
    let error = run(
        &with("type = \"sensor_msgs/msg/JointState\"", "type = \"sensor_msgs/Imu\""),
        &[log("teleop.mcap")],
    );
    assert!(error.unwrap_err().contains("expected sensor_msgs/Imu, found sensor_msgs/JointState"));
    let error = run(&with("velocity.elbow", "velocity.wrist"), &[log("teleop.mcap")]).unwrap_err();
    assert!(error.contains("expected wrist, found elbow, shoulder"), "{error}");
}

#[test]
fn tables_say_the_same_as_the_log() {
    let section = r#"
[import]
action_shift = "next"
episodes = { split = "file" }
success = { last_reward_above = 0.5 }
table = { time = "t", time_unit = "ms", episode = "trial" }
reward = { topic = { topic = "table", select = "r", align = { strategy = "hold", timeline = "receive" } } }
[[import.observation]]
name = "position"
topic = "table"
align = { strategy = "asof", tolerance_ms = 60.0, timeline = "header" }
select = ["q.0", "q[1]"]
unit = "rad"
[[import.action]]
name = "velocity"
topic = "table"
align = { strategy = "hold", timeline = "header" }
select = ["v"]
unit = "rad/s"
definition = "commanded"
bounds = { range = { low = [-2.0], high = [2.0] } }
"#;
    let directory = tempfile::tempdir().unwrap();
    let (mut csv, mut jsonl) = ("t,trial,q.0,q[1],v,r\n".to_owned(), String::new());
    for trial in 0..3 {
        for k in 0..20 {
            let (t, x, r) = (50 * k, f64::from(k + 100 * trial), f64::from(u8::from(trial == 1 && k == 19)));
            csv += &format!("{t},{trial},{x},{},{},{r}\n", -x, 0.1 * x);
            jsonl += &format!(
                "{{\"t\":{t},\"trial\":{trial},\"q.0\":{x},\"q\":[0,{}],\"v\":{},\"r\":{r}}}\n",
                -x,
                0.1 * x
            );
        }
    }
    let mut outcomes = Vec::new();
    for (name, text) in [("a.csv", &csv), ("a.jsonl", &jsonl)] {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        let imported = run(section, &[path]).unwrap();
        assert_eq!(imported.episodes.len(), 3, "{}", imported.report);
        let success: Vec<Option<bool>> = imported.episodes.iter().map(|e| e.success).collect();
        assert_eq!(success, [Some(false), Some(true), Some(false)]);
        assert_eq!(imported.episodes[1].observation[..4], [100.0, -100.0, 101.0, -101.0]);
        close(imported.episodes[1].action[0], 0.1 * 101.0 / 2.0);
        outcomes.push(imported.episodes);
    }
    assert_eq!(outcomes[0], outcomes[1]);
    let path = directory.path().join("b.csv");
    std::fs::write(&path, csv.replace("trial,", "attempt,")).unwrap();
    assert!(run(section, std::slice::from_ref(&path)).unwrap_err().contains("a column \"trial\""));
    std::fs::write(&path, "t,trial,q.0,q[1],v,r\nnoon,0,1,2,3,4\n").unwrap();
    assert!(run(section, &[path]).unwrap_err().contains("line 2: the time \"noon\" is no number"));
}

#[test]
fn the_contract_in_the_documentation_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/importing-logs.md");
    let text = std::fs::read_to_string(path).unwrap();
    let toml = text.split("```toml\n").nth(1).and_then(|t| t.split("```").next()).unwrap();
    let plan = Plan::new(&RobotContract::parse(toml, Path::new("docs")).unwrap()).unwrap();
    assert_eq!(plan.spec().observation_dim(), 3);
}

/// A joint that rests, moves, rests, moves and rests, a second each, 20 rows a second; a button that is down when `pressed`.
fn rests_and_moves(path: &Path, pressed: impl Fn(usize) -> bool) {
    let mut csv = "t,q,button\n".to_owned();
    let mut q = 0.0;
    for k in 0..100 {
        if (k / 20) % 2 == 1 {
            q += 0.1;
        }
        csv += &format!("{},{q},{}\n", f64::from(k as u32) * 0.05, pressed(k));
    }
    std::fs::write(path, csv).unwrap();
}

const RESTS: &str = r#"
[import]
action_shift = "next"
episodes = { split = "file" }
table = { time = "t", time_unit = "s" }
[[import.observation]]
name = "q"
topic = "table"
align = { strategy = "hold", timeline = "receive" }
select = ["q"]
unit = "rad"
[[import.action]]
name = "dq"
topic = "table"
align = { strategy = "hold", timeline = "receive" }
select = ["q"]
unit = "rad"
definition = "delta"
bounds = { range = { low = [-1.0], high = [1.0] } }
"#;

#[test]
fn standing_still_separates_episodes_and_is_trimmed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rests.csv");
    rests_and_moves(&path, |_| false);
    let lengths = |section: &str| -> Vec<usize> {
        let imported = run(section, std::slice::from_ref(&path)).unwrap();
        imported.episodes.iter().map(Episode::len).collect()
    };
    assert_eq!(lengths(RESTS), [99]);
    let still = "still = { observation = \"q\", below_per_sec = 0.1 }";
    let idle = RESTS.replace("split = \"file\"", &format!("split = {{ idle_secs = 0.5 }}, {still}"));
    assert_eq!(lengths(&idle), [20, 20]);
    let longer = idle.replace("idle_secs = 0.5", "idle_secs = 1.5");
    assert_eq!(lengths(&longer), [99], "a rest of a second is none of one and a half");
    let trimmed =
        RESTS.replace("split = \"file\"", &format!("split = \"file\", {still}, trim_idle_keep_secs = 0.1"));
    let imported = run(&trimmed, std::slice::from_ref(&path)).unwrap();
    // Two steps are kept at both ends; the rest in the middle stays.
    assert_eq!(imported.episodes[0].len(), 20 + 20 + 20 + 2 + 2);
    assert_eq!(imported.report.dropped.idle, 99 - 64);
}

#[test]
fn one_button_begins_and_ends_episodes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("button.csv");
    rests_and_moves(&path, |k| [10, 11, 12, 30, 31, 50, 70].contains(&k));
    let events =
        "events = { toggle_episode = { topic = \"table\", select = \"button\", timeline = \"receive\" } }";
    let section = RESTS
        .replace("split = \"file\"", "split = \"events\"")
        .replace("[import]", &format!("[import]\n{events}"));
    let imported = run(&section, std::slice::from_ref(&path)).unwrap();
    let begins: Vec<(&str, usize)> =
        imported.episodes.iter().map(|e| (e.attributes["log_nanos"].as_str(), e.len())).collect();
    assert_eq!(begins, [("500000000", 20), ("2500000000", 20)]);
    assert_eq!(imported.report.dropped.outside, 99 - 40);
    let none = section.replace("events = {", "# {");
    assert!(
        run(&none, &[path]).unwrap_err().contains("import.episodes.split: expected events that begin or end")
    );
}
