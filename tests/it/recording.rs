//! Ticks and episodes as a rollout records them, in both forms, whole and cut off.

use std::path::Path;
use std::process::Command;

use crate::program::{Workplace, spoken};

fn cut(path: &Path, keep: impl Fn(usize) -> usize) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..keep(bytes.len())]).unwrap();
}

#[test]
fn a_rollout_is_recorded_as_ros_messages_that_replay_to_the_same_bits() {
    let workplace = Workplace::new();
    workplace.train("run");
    let told =
        workplace.succeed(&["rollout", "run", "--episodes", "3", "--record", "driven", "--strict", "--json"]);
    let told: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    let recorded = &told["recorded_ticks"];
    assert!(recorded["ticks"].as_u64().unwrap() > 300 && recorded["missing"] == 0, "{told}");
    let ticks = "driven/ticks-0.mcap";
    workplace.succeed(&["replay", ticks, "--against", "driven"]);
    workplace.succeed(&["data", "diff", "driven", ticks]);
    workplace.succeed(&["data", "verify", ticks]);
    let info = workplace.succeed(&["data", "info", ticks]);
    assert!(info.contains("episodes         3") && !info.contains("incomplete"), "{info}");
    // The other form gives the same.
    workplace.succeed(&["rollout", "run", "--episodes", "3", "--ticks", "t.jsonl", "--record", "again"]);
    assert!(!workplace.path("again/ticks-0.mcap").exists(), "--ticks names the file");
    workplace.succeed(&["replay", "t.jsonl", "--against", "driven"]);
    // The recording goes on with another file of ticks.
    workplace.succeed(&["rollout", "run", "--episodes", "1", "--record", "driven"]);
    assert!(workplace.path("driven/ticks-1.mcap").exists());
    workplace.succeed(&["data", "verify", "driven"]);
    // As a log like any other: the joints by name.
    let log = surefoot_datasets::streams::open_log(&workplace.path(ticks), &Default::default()).unwrap();
    let topics: Vec<String> = log.topics().unwrap().into_iter().map(|t| t.name).collect();
    for topic in [
        "/joint_states",
        "/cmd_policy",
        "/cmd_reference",
        "/cmd_executed",
        "/safety/status",
        "/mode",
        "/reward",
        "/episode",
        "/event",
        "/control_tick",
    ] {
        assert!(topics.iter().any(|t| t == topic), "no {topic} in {topics:?}");
    }
}

#[test]
fn ticks_that_were_cut_off_are_read_up_to_the_tear() {
    let workplace = Workplace::new();
    workplace.train("run");
    for ticks in ["t.jsonl", "t.mcap"] {
        workplace.succeed(&["rollout", "run", "--episodes", "3", "--ticks", ticks]);
        let (_, whole, _) = workplace.run(&["replay", ticks, "--json"]);
        cut(&workplace.path(ticks), |n| n * 2 / 3);
        let (code, torn, stderr) = workplace.run(&["replay", ticks, "--json"]);
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(stderr.matches("INCOMPLETE").count(), 1, "{stderr}");
        let [whole, torn] = [whole, torn].map(|s| serde_json::from_str::<serde_json::Value>(&s).unwrap());
        let ticks = |v: &serde_json::Value| v["ticks"].as_u64().unwrap();
        assert!(ticks(&torn) > ticks(&whole) / 3 && ticks(&torn) < ticks(&whole), "{torn}");
        assert!(torn["torn"].is_string() && whole["torn"].is_null());
    }
    let (code, info, _) = workplace.run(&["data", "info", "t.mcap"]);
    assert!(code == 0 && info.contains("incomplete"), "{info}");
    workplace.fail(&["data", "verify", "t.mcap", "--deny-warnings"], 1, &[]);
    // Damage in the middle is not an end.
    let path = workplace.path("t.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"tick\"", "tick", 2)).unwrap();
    workplace.fail(&["replay", "t.jsonl"], 1, &["t.jsonl:"]);
    std::fs::write(workplace.path("bag.mcap"), b"\x89MCAP0\r\n").unwrap();
    workplace.fail(&["replay", "bag.mcap"], 1, &["holds no ticks", "hint"]);
}

/// A limit on the length of files stands for a full disk: what cannot be written is what is in progress.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_ends_a_rollout_with_one_error_and_what_was_kept_is_good() {
    let workplace = Workplace::new();
    workplace.train("run");
    let inner = workplace.command(&["rollout", "run", "--episodes", "1000", "--record", "driven"]);
    let script = "trap '' XFSZ; ulimit -f 600; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    let (code, _, stderr) = spoken(&command.current_dir(workplace.path("")).output().unwrap());
    assert_eq!(code, 1, "{stderr}");
    assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
    assert!(stderr.contains("driven/ticks-0.mcap") && stderr.contains("too large"), "{stderr}");
    workplace.succeed(&["data", "verify", "driven"]);
    let (code, _, told) = workplace.run(&["replay", "driven/ticks-0.mcap", "--record", "again"]);
    assert!(code == 0 && told.contains("INCOMPLETE"), "{told}");
    let episodes = |at: &str| surefoot_datasets::open(&workplace.path(at)).unwrap();
    let (driven, ticks, again) = (episodes("driven"), episodes("driven/ticks-0.mcap"), episodes("again"));
    assert!(ticks.len() >= 2 && driven.len() - ticks.len() <= 1, "{} {}", driven.len(), ticks.len());
    for i in 0..ticks.len() {
        assert_eq!(ticks.episode(i).unwrap(), driven.episode(i).unwrap());
        assert_eq!(again.episode(i).unwrap().action, driven.episode(i).unwrap().action);
    }
}
