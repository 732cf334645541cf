//! A run that was interrupted anywhere ends in the same bytes as one that was not.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::program::{Workplace, assert_same_run};

/// As [`signal_at`], with Ctrl-C.
fn interrupt_at(workplace: &Workplace, args: &[&str], word: &str, nth: usize) -> i32 {
    signal_at(workplace, args, "-INT", word, nth)
}

/// Starts the run, sends a signal when a line of its event stream contains `word` for the `nth` time, and gives the exit code.
pub fn signal_at(workplace: &Workplace, args: &[&str], signal: &str, word: &str, nth: usize) -> i32 {
    let mut child =
        workplace.command(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut seen = 0;
    // Reading to the end of the stream keeps the pipe open until the program has stopped by itself.
    for line in stdout.lines() {
        if line.expect("text").contains(word) {
            seen += 1;
            if seen == nth {
                let pid = child.id().to_string();
                assert!(Command::new("kill").args([signal, &pid]).status().expect("kill").success());
            }
        }
    }
    child.wait().expect("ends").code().unwrap_or(-1)
}

#[test]
fn interrupted_and_resumed_runs_equal_uninterrupted_ones_bit_for_bit() {
    let workplace = Workplace::new();
    let whole = workplace.train("whole");
    let run = workplace.path("cut");
    let train = ["train", "tiny.toml", "--run-dir", "cut", "--json"];
    let resume = ["resume", "cut", "--json"];
    // In the baseline, twice in the offline phase, at an evaluation and in the online phase.
    assert_eq!(interrupt_at(&workplace, &train, "stage_started", 1), 130);
    for (word, nth) in [("\"heldout\"", 2), ("\"evaluated\"", 1), ("checkpointed", 2), ("\"evaluated\"", 2)] {
        let code = interrupt_at(&workplace, &resume, word, nth);
        assert!(code == 130 || code == 0, "exit code {code} after {word}");
    }
    workplace.succeed(&["resume", "cut", "--quiet"]);
    assert_same_run(&whole, &run);
}

#[test]
fn a_curriculum_by_env_steps_goes_on_where_a_run_was_cut() {
    a_curriculum_goes_on_where_a_run_was_cut("env_steps = { all_after = 400 }");
}

#[test]
fn a_curriculum_by_success_goes_on_where_a_run_was_cut() {
    // So easily that the few episodes of a small run widen it.
    a_curriculum_goes_on_where_a_run_was_cut(
        "success = { episodes = 2, widen_at = 0.5, narrow_at = 0.0, step = 0.2, start = 0.1 }",
    );
}

fn a_curriculum_goes_on_where_a_run_was_cut(curriculum: &str) {
    let workplace = Workplace::new();
    let ranges = "friction_scale = [0.3, 2.0], observation_noise = { \"*\" = 0.01 }";
    let given = format!("env.push.randomisation={{ {ranges}, curriculum = {{ {curriculum} }} }}");
    let wide = format!("env.push.randomisation={{ {ranges} }}");
    let arguments = |given: &str, run: &str, how: &str| {
        // The puck starts right before its goal and the tool behind it: a small run solves some episodes, and not all.
        [
            "train",
            "tiny.toml",
            given,
            "env.push.goal_size_m=[0.4, 0.46]",
            "env.push.puck_start_y_m=[-0.01, 0.0]",
            "env.push.tool_start_y_m=[-0.12, -0.08]",
            "env.push.max_steps=60",
            "--run-dir",
            run,
            how,
        ]
        .map(str::to_owned)
    };
    let train = |given: &str, run: &str| {
        let arguments = arguments(given, run, "--quiet");
        workplace.succeed(&arguments.each_ref().map(String::as_str));
        std::fs::read(workplace.path(run).join("metrics.jsonl")).unwrap()
    };
    let whole = train(&given, "whole");
    assert_ne!(whole, train(&wide, "wide"), "it does something");
    let widths: BTreeSet<String> = String::from_utf8_lossy(&whole)
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<serde_json::Value>(line)
                .ok()?
                .get("rollout/randomisation_width")
                .map(ToString::to_string)
        })
        .collect();
    assert!(widths.len() > 1, "it moves: {widths:?}");
    let cut = arguments(&given, "cut", "--json");
    assert_eq!(interrupt_at(&workplace, &cut.each_ref().map(String::as_str), "stage_started", 3), 130);
    let code = interrupt_at(&workplace, &["resume", "cut", "--json"], "\"evaluated\"", 1);
    assert!(code == 130 || code == 0, "exit code {code}");
    workplace.succeed(&["resume", "cut", "--quiet"]);
    assert_same_run(&workplace.path("whole"), &workplace.path("cut"));
}

#[test]
fn a_run_killed_before_its_first_update_can_be_resumed() {
    let workplace = Workplace::new();
    let whole = workplace.train("whole");
    let train = ["train", "tiny.toml", "--run-dir", "killed", "--json"];
    assert_eq!(signal_at(&workplace, &train, "-KILL", "checkpointed", 1), -1, "killed by a signal");
    workplace.succeed(&["resume", "killed", "--quiet"]);
    assert_same_run(&whole, &workplace.path("killed"));
}

#[test]
fn a_config_that_was_edited_after_the_run_began_is_refused() {
    let workplace = Workplace::new();
    let config = workplace.train("run").join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains("temperature = 1.0"), "{text}");
    std::fs::write(&config, text.replace("temperature = 1.0", "temperature = 2.0")).unwrap();
    for verb in ["resume", "eval"] {
        workplace.fail(&[verb, "run"], 1, &["config.toml has changed since the run began", "hint"]);
    }
    std::fs::write(&config, text).unwrap();
    workplace.succeed(&["resume", "run", "--quiet"]);
}

#[test]
fn a_finished_run_resumes_to_itself() {
    let workplace = Workplace::new();
    let run = workplace.train("run");
    let before = std::fs::read(run.join("metrics.jsonl")).unwrap();
    workplace.succeed(&["resume", "run", "--quiet"]);
    assert_eq!(std::fs::read(run.join("metrics.jsonl")).unwrap(), before);
}

#[test]
fn two_processes_cannot_resume_one_run() {
    let workplace = Workplace::new();
    assert_eq!(
        interrupt_at(&workplace, &["train", "tiny.toml", "--run-dir", "run", "--json"], "stage_started", 2),
        130
    );
    let mut first =
        workplace.command(&["resume", "run", "--json"]).stdout(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(first.stdout.take().expect("piped")).lines();
    // Its first event is proof that it holds the run.
    lines.next().expect("an event").expect("text");
    workplace.fail(&["resume", "run"], 1, &["run is in use by another process"]);
    for _rest in lines {}
    assert!(first.wait().expect("ends").success());
}

#[test]
fn a_cut_checkpoint_is_named_and_an_intact_one_offered() {
    let workplace = Workplace::new();
    let run = workplace.train("run");
    let weights = run.join("checkpoints/last/policy/policy.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    workplace.fail(&["resume", "run"], 1, &["policy/policy.safetensors", "expected", "--checkpoint"]);
    assert_eq!(std::fs::read(&weights).unwrap().len(), bytes.len() / 2, "nothing was changed");
}

#[test]
fn changed_data_is_refused() {
    let workplace = Workplace::new();
    workplace.train("run");
    std::fs::remove_file(workplace.path("demonstrations.hdf5")).unwrap();
    workplace.fail(&["resume", "run"], 1, &["demonstrations.hdf5", "do not exist"]);
    workplace.succeed(&[
        "data",
        "record",
        "push",
        "--to",
        "demonstrations.hdf5",
        "--episodes",
        "2",
        "--quiet",
    ]);
    workplace.fail(&["resume", "run"], 1, &["has changed since the run began"]);
}

#[test]
fn learners_on_policy_and_by_candidates_resume_bit_for_bit_on_a_real_world() {
    let workplace = Workplace::new();
    let tiny = std::fs::read_to_string(workplace.path("tiny.toml")).unwrap();
    let (before, rest) = tiny.split_once("[learner.awac]").unwrap();
    let (_, phases) = rest.split_once("[[phase]]").unwrap();
    for (name, learner) in [
        (
            "bcq",
            "[learner.bcq]\noffline_batch = 32\nonline_batch = 32\nact_samples = 6\nactor = { hidden = [16] }\ncritic = { hidden = [16] }\nbehaviour = { hidden = [16] }\n",
        ),
        (
            "dapg",
            "[learner.dapg]\nupdate_env_steps = 150\nactor = { hidden = [16] }\nvalue = { hidden = [16] }\n",
        ),
    ] {
        let phases = phases.replace(", early_stop = { every_updates = 50, patience = 4 }", "");
        let config = format!("{name}.toml");
        std::fs::write(workplace.path(&config), format!("{before}{learner}[[phase]]{phases}")).unwrap();
        let (whole, cut) = (format!("{name}-whole"), format!("{name}-cut"));
        workplace.succeed(&["train", &config, "--run-dir", &whole, "--quiet"]);
        let train = ["train", &config, "--run-dir", &cut, "--json"];
        assert_eq!(interrupt_at(&workplace, &train, "\"evaluated\"", 1), 130, "{name}");
        // In the online phase.
        let code = interrupt_at(&workplace, &["resume", &cut, "--json"], "\"evaluated\"", 3);
        assert!(code == 130 || code == 0, "{name}: exit code {code}");
        workplace.succeed(&["resume", &cut, "--quiet"]);
        assert_same_run(&workplace.path(&whole), &workplace.path(&cut));
        let updates = std::fs::read_to_string(workplace.path(&whole).join("results.json")).unwrap();
        let results: serde_json::Value = serde_json::from_str(&updates).unwrap();
        let online = results["stages"].as_array().unwrap().last().unwrap()["updates"].as_u64().unwrap();
        // On policy: an update for every 150 steps or more; otherwise one for each step behind the warm-up.
        assert!(if name == "dapg" { (2..=4).contains(&online) } else { online > 300 }, "{name}: {online}");
    }
    workplace.fail(&["export", "bcq-whole", "--to", "bcq.onnx"], 1, &["candidates", "learner.bc"]);
    let elsewhere = ["train", "dapg.toml", "device=\"cuda\"", "--run-dir", "nowhere"];
    workplace.fail(&elsewhere, 2, &["device", "--features cuda"]);
}
