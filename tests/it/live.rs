//! Robots that are driven through their control loop by the program as a user runs it: beside a learner, by a person at a
//! terminal, and cut off in the middle.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use surefoot_core::{EpisodeSource, StepEnd};

use crate::program::{TINY, Workplace};

/// The tiny experiment with an online phase that acts and learns side by side.
fn with_robot(workplace: &Workplace, online: &str, robot: &str) {
    let phase = format!(
        "online = {{ {online}, schedule = {{ async = {{ record_ticks = true, robot = {{ {robot} }} }} }} }}\n"
    );
    let mut text: String =
        TINY.lines().filter(|l| !l.starts_with("online")).flat_map(|l| [l, "\n"]).collect();
    text = text.replace("[eval]", &format!("{phase}[eval]"));
    std::fs::write(workplace.path("robot.toml"), text).unwrap();
}

fn recording(path: &Path) -> Box<dyn EpisodeSource> {
    surefoot_datasets::open(path).unwrap()
}

#[test]
fn a_run_beside_a_robot_keeps_every_episode_and_its_ticks_give_them_again() {
    let workplace = Workplace::new();
    with_robot(&workplace, "env_steps = 300, warmup_env_steps = 100", "clock = \"simulated\"");
    workplace.succeed(&["train", "robot.toml", "--run-dir", "run", "--quiet"]);
    let results = std::fs::read_to_string(workplace.path("run/results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    let online = results["stages"].as_array().unwrap().last().unwrap();
    assert!(online["env_steps"].as_u64().unwrap() >= 300, "{online}");
    assert_eq!(online["training_safety"]["violations"], 0);
    workplace.succeed(&["data", "verify", "run/episodes"]);
    let episodes = recording(&workplace.path("run/episodes"));
    // The robot may be some episodes ahead of what the learner took in.
    let (kept, learned) = (episodes.len() as u64, online["episodes"].as_u64().unwrap());
    assert!(kept >= learned && kept <= learned + 3, "{kept} kept, {learned} learned from");
    workplace.succeed(&["replay", "run/ticks-0.mcap", "--against", "run/episodes"]);
    // The same file holds the episodes themselves.
    workplace.succeed(&["data", "diff", "run/episodes", "run/ticks-0.mcap"]);
}

#[test]
fn a_run_beside_a_robot_in_real_time_is_interrupted_with_the_robot_at_rest_and_goes_on() {
    let workplace = Workplace::new();
    with_robot(&workplace, "env_steps = 120, warmup_env_steps = 30", "clock = \"real\"");
    let mut child = workplace
        .command(&["train", "robot.toml", "--run-dir", "run", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut at_rest = None;
    let mut online = false;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        online |= event["stage"] == "online";
        // The first round of the robot has been learned from.
        if online && event["event"] == "progress" && event["env_steps"].as_u64().is_some_and(|n| n > 0) {
            let pid = child.id().to_string();
            assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
            online = false;
        }
        if event["event"] == "robot_at_rest" {
            at_rest = Some(event);
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let at_rest = at_rest.expect("the robot was brought to rest");
    assert_eq!((&at_rest["violations"], &at_rest["mode"]), (&0.into(), &"idle".into()));
    assert!(at_rest["cadence"]["effective_hz"].as_f64().is_some_and(|hz| hz > 0.0), "{at_rest}");
    let kept = recording(&workplace.path("run/episodes")).len();
    assert!(kept > 0);
    workplace.succeed(&["resume", "run", "--quiet"]);
    assert!(recording(&workplace.path("run/episodes")).len() > kept, "the same recording goes on");
}

#[test]
fn a_rollout_killed_in_the_middle_loses_no_finished_episode_and_its_recording_goes_on() {
    let workplace = Workplace::new();
    workplace.train("run");
    let rollout = ["rollout", "run", "--episodes", "100000", "--record", "driven"];
    let mut child = workplace.command(&rollout).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let told = stderr.lines().map_while(Result::ok).filter(|l| l.contains("seed ")).take(7).count();
    child.kill().unwrap();
    child.wait().unwrap();
    workplace.succeed(&["data", "verify", "driven"]);
    let kept = recording(&workplace.path("driven")).len();
    assert!(told == 7 && kept >= told, "{kept} kept of {told} that were told of");
    workplace.succeed(&["rollout", "run", "--episodes", "2", "--record", "driven"]);
    assert_eq!(recording(&workplace.path("driven")).len(), kept + 2);
}

#[test]
fn a_person_at_the_terminal_starts_takes_over_marks_and_stops() {
    let workplace = Workplace::new();
    workplace.train("run");
    let terminal = nix::pty::openpty(None, None).unwrap();
    let rollout =
        ["rollout", "run", "--episodes", "3", "--realtime", "--operator", "keyboard", "--record", "driven"];
    let mut child = workplace
        .command(&rollout)
        .stdin(Stdio::from(terminal.slave))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = std::fs::File::from(terminal.master);
    let mut press = |key: &[u8]| keys.write_all(key).unwrap();
    let mut told = Vec::new();
    let mut drives = 0;
    // Each word of the program is answered with the next key.
    for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
        match line.trim() {
            "[holding]" => press(b"\r"),
            "[the policy drives]" if drives == 0 => {
                drives = 1;
                press(b"\t");
            }
            "[the policy drives]" => press(b" "),
            // A jog to the right, and after it the verdict.
            "[you drive]" => press(b"\x1b[Cy"),
            line if line.starts_with("[EMERGENCY STOP") => press(b"q"),
            _ => {}
        }
        told.push(line);
    }
    let code = child.wait().unwrap().code();
    assert_eq!(code, Some(130), "{told:#?}");
    assert!(told.iter().any(|l| l.contains("by hand") && l.contains("success in")), "{told:#?}");
    let driven = recording(&workplace.path("driven"));
    let first = driven.episode(0).unwrap();
    assert_eq!((first.success, first.end.last()), (Some(true), Some(&StepEnd::Terminated)));
    assert!(first.human.iter().any(|h| *h), "{:?}", first.human);
    let second = driven.episode(1).unwrap();
    assert_eq!(second.end.last(), Some(&StepEnd::Truncated));
}

#[test]
fn a_person_needs_a_terminal_and_real_time() {
    let workplace = Workplace::new();
    let run = workplace.train("run");
    let run = run.to_str().unwrap();
    workplace.fail(&["rollout", run, "--operator", "keyboard"], 2, &["needs real time", "--realtime"]);
    let keyboard = ["rollout", run, "--operator", "keyboard", "--realtime"];
    workplace.fail(&keyboard, 2, &["no terminal"]);
    workplace.fail(&["train", "tiny.toml", "--operator", "keyboard"], 2, &["no phase", "schedule"]);
}
