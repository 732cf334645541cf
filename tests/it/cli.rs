//! What a user sees: results on stdout, one clear error on stderr, documented exit codes.

use crate::program::{TINY, Workplace};

#[test]
fn every_registry_is_listed() {
    let workplace = Workplace::new();
    let listed = workplace.succeed(&["list"]);
    for name in ["awac", "bc", "push", "reach", "pendulum", "cart_pole", "robomimic", "robosuite", "d4rl"] {
        assert!(listed.contains(name), "{name} is missing in\n{listed}");
    }
    let json: serde_json::Value = serde_json::from_str(&workplace.succeed(&["list", "--json"])).unwrap();
    assert!(json["learners"].as_array().unwrap().len() >= 2);
}

#[test]
fn a_model_is_listed_with_what_is_ignored_and_a_broken_one_is_refused() {
    let workplace = Workplace::new();
    let model = "<mujoco><compiler angle=\"radian\"/>\n<worldbody><light/>\n<body name=\"arm\"><joint name=\"j\" range=\"-1 1\"/>\n\
                 <geom type=\"sphere\" size=\"0.1\"/></body></worldbody>\n\
                 <actuator><motor joint=\"j\" ctrlrange=\"-1 1\"/></actuator></mujoco>";
    std::fs::write(workplace.path("arm.xml"), model).unwrap();
    let listed = workplace.succeed(&["list", "model", "arm.xml"]);
    for line in
        ["joint      j                hinge of arm, -1.0000 to 1.0000", "arm.xml:2: light: appearance"]
    {
        assert!(listed.contains(line), "{line} is missing in\n{listed}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&workplace.succeed(&["list", "model", "arm.xml", "--json"])).unwrap();
    assert_eq!(json["report"]["ignored"][0]["item"], "light");
    std::fs::write(workplace.path("arm.xml"), model.replace("-1 1", "1 -1")).unwrap();
    workplace.fail(
        &["list", "model", "arm.xml"],
        1,
        &["arm.xml:3: joint \"j\"", "not below the upper limit"],
    );
}

#[test]
fn unknown_keys_are_shown_with_line_caret_and_suggestion() {
    let workplace = Workplace::new();
    std::fs::write(workplace.path("typo.toml"), TINY.replace("offline_batch", "ofline_batch")).unwrap();
    let words =
        ["typo.toml", "line 8", "^^^", "unknown field `ofline_batch`", "did you mean `offline_batch`?"];
    workplace.fail(&["config", "check", "typo.toml"], 2, &words);
    workplace.fail(&["train", "typo.toml"], 2, &words);
    workplace.fail(
        &["train", "tiny.toml", "learner.awac.temprature=2"],
        2,
        &["learner.awac.temprature", "did you mean `temperature`?"],
    );
    assert!(!workplace.path("runs").exists(), "a refused config must not leave a run behind");
}

#[test]
fn values_out_of_range_are_refused_by_key() {
    let workplace = Workplace::new();
    for (given, words) in [
        ("phase.1.online.offline_ratio=1.5", &["phase[1].online.offline_ratio", "0 to 1"][..]),
        ("learner.awac.discount=2.0", &["discount"]),
        ("learner.awac.temperature=-1.0", &["temperature"]),
        ("eval.episodes=0", &["eval.episodes"]),
        ("training.worlds=0", &["training.worlds"]),
        ("training.worlds=1000000000000", &["training.worlds", "1 to 1024"]),
        ("env.push.max_tool_speed_m_per_sec=-1.0", &["max_tool_speed_m_per_sec"]),
        ("env.push.max_steps=0", &["max_steps"]),
        ("learner.awac.actor.hidden=[1_000_000_000]", &["actor.hidden", "1 to 8192"]),
        ("learner.awac.actor.hidden=[8192, 8192, 8192]", &["actor.hidden", "at most 67108864 parameters"]),
        ("learner.awac.critic.count=100_000", &["critic.count", "1 to 64"]),
        ("learner.awac.offline_batch=1_000_000_000_000", &["offline_batch", "1 to 65536"]),
        ("training.log_every_updates=0", &["training.log_every_updates"]),
        ("training.holdout_fraction=1.5", &["training.holdout_fraction"]),
        (
            "phase.0.offline.early_stop.metric=heldout/los",
            &["phase[0].offline.early_stop.metric", "heldout/log_likelihood"],
        ),
        ("data.0.path=", &["data[0].path"]),
        ("env.reach.max_steps=5", &["[env.push]", "env={reach={}}"]),
    ] {
        workplace.fail(&["train", "tiny.toml", given], 2, words);
        workplace.fail(&["config", "check", "tiny.toml", given], 2, words);
    }
    assert!(!workplace.path("runs").exists() && !workplace.path("demonstrations.hdf5").exists());
}

#[test]
fn a_robot_contract_with_unusable_limits_is_refused_by_joint() {
    let workplace = Workplace::new();
    let arm = include_str!("../../configs/robots/arm7.toml");
    std::fs::write(workplace.path("arm.toml"), arm).unwrap();
    workplace.succeed(&["config", "check", "--kind", "robot", "arm.toml"]);
    for (limit, words) in [("max_velocity = 0.0", "max_velocity"), ("max_velocity = -1.0", "found -1")] {
        let broken: Vec<String> = arm
            .lines()
            .map(|line| {
                if line.trim_start().starts_with("max_velocity") { limit.to_owned() } else { line.to_owned() }
            })
            .collect();
        std::fs::write(workplace.path("arm.toml"), broken.join("\n")).unwrap();
        workplace.fail(
            &["config", "check", "--kind", "robot", "arm.toml"],
            2,
            &["joint", words, "greater than zero"],
        );
    }
}

#[test]
fn a_resolved_config_is_a_config() {
    let workplace = Workplace::new();
    let resolved = workplace.succeed(&["config", "show", "tiny.toml", "seed=5"]);
    std::fs::write(workplace.path("resolved.toml"), &resolved).unwrap();
    assert_eq!(workplace.succeed(&["config", "show", "resolved.toml"]), resolved);
    assert!(resolved.contains("seed = 5") && resolved.contains("discount"));
}

#[test]
fn damaged_and_foreign_data_is_refused_with_one_error() {
    let workplace = Workplace::new();
    workplace.succeed(&["data", "record", "push", "--to", "good.hdf5", "--episodes", "3", "--quiet"]);
    let good = std::fs::read(workplace.path("good.hdf5")).unwrap();
    std::fs::write(workplace.path("cut.hdf5"), &good[..good.len() / 2]).unwrap();
    std::fs::write(workplace.path("text.hdf5"), "this is no HDF5").unwrap();
    std::fs::write(workplace.path("empty.hdf5"), "").unwrap();
    for bad in ["cut.hdf5", "text.hdf5", "empty.hdf5", "absent.hdf5"] {
        for verb in ["info", "verify", "stats"] {
            workplace.fail(&["data", verb, bad], 1, &[bad]);
        }
        let data = format!("data=[{{path=\"{bad}\"}}]");
        workplace.fail(&["train", "tiny.toml", &data], 1, &[bad]);
    }
    assert!(!workplace.path("runs").exists());
    workplace.succeed(&["data", "verify", "good.hdf5"]);
    // Said to be of another format, it is read as that and refused.
    for verb in ["info", "verify", "stats"] {
        workplace.succeed(&["data", verb, "good.hdf5", "--format", "robomimic"]);
        workplace.fail(&["data", verb, "good.hdf5", "--format", "d4rl"], 1, &["good.hdf5"]);
        workplace.fail(&["data", verb, "good.hdf5", "--format", "d5rl"], 2, &["unknown format", "robomimic"]);
    }
    // The right kind of file, of another task.
    workplace.succeed(&["data", "record", "reach", "--to", "reach.hdf5", "--episodes", "2", "--quiet"]);
    let data = "data=[{path=\"reach.hdf5\"}]";
    workplace.fail(
        &["train", "tiny.toml", data],
        1,
        &["reach.hdf5", "does not fit the task", "expected", "found"],
    );
}

#[test]
fn existing_files_and_runs_are_never_overwritten() {
    let workplace = Workplace::new();
    workplace.succeed(&["data", "record", "push", "--to", "a.hdf5", "--episodes", "2", "--quiet"]);
    let before = std::fs::read(workplace.path("a.hdf5")).unwrap();
    workplace.fail(
        &["data", "record", "push", "--to", "a.hdf5", "--episodes", "3"],
        1,
        &["a.hdf5", "exists"],
    );
    assert_eq!(std::fs::read(workplace.path("a.hdf5")).unwrap(), before);
    std::fs::create_dir(workplace.path("taken")).unwrap();
    workplace.fail(&["train", "tiny.toml", "--run-dir", "taken"], 1, &["taken", "never overwritten"]);
}

#[test]
fn a_trained_policy_is_evaluated_as_training_said_and_refused_elsewhere() {
    let workplace = Workplace::new();
    let run = workplace.train("run");
    let results: serde_json::Value =
        serde_json::from_slice(&std::fs::read(run.join("results.json")).unwrap()).unwrap();
    let claimed = &results["stages"].as_array().unwrap().last().unwrap()["evaluation"];
    let stdout = workplace.succeed(&["eval", "run", "--episodes", "10", "--json"]);
    let found: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(&found["evaluation"], claimed);
    assert_eq!(found["evaluation"]["safety"]["violations"], 0);
    workplace.fail(
        &["eval", "run", "--env", "reach"],
        1,
        &["trained for something else", "expected", "found"],
    );
    workplace.fail(&["eval", "run", "--env", "psh"], 2, &["unknown environment", "did you mean `push`?"]);
    workplace.fail(
        &["eval", "run", "env.push.max_step=9"],
        2,
        &["env.push.max_step", "did you mean `max_steps`?"],
    );
    workplace.fail(
        &["data", "record", "push", "env.reach.max_steps=9", "--to", "x.hdf5"],
        2,
        &["chooses [env.push]"],
    );
    workplace.fail(&["serve", "psh"], 2, &["unknown environment", "did you mean `push`?"]);
    workplace.fail(&["eval", "run", "--episodes", "5", "--min-success", "1.0"], 1, &["below the required"]);
    workplace.fail(&["eval", "run", "--min-success", "nan"], 2, &["between 0 and 1"]);
    workplace.fail(&["eval", "run", "--episodes", "10000000000000"], 2, &["--episodes"]);
    workplace.fail(&["eval", "nowhere"], 2, &["no policy.json"]);
    // The run's own settings of the environment hold where it is named, too: 30 steps and not 60.
    let named = workplace.succeed(&["eval", "run", "--episodes", "10", "--env", "push", "--json"]);
    assert_eq!(named, stdout);
    std::fs::write(workplace.path("film.gif"), "mine").unwrap();
    workplace.fail(&["eval", "run", "--film", "film.gif"], 1, &["film.gif", "not overwritten"]);
    assert_eq!(std::fs::read(workplace.path("film.gif")).unwrap(), b"mine");
    workplace.fail(&["eval", "run", "--film", "nowhere/film.gif"], 1, &["cannot create nowhere/film.gif"]);
    workplace.succeed(&["eval", "run", "--episodes", "1", "--film", "new.gif"]);
    assert!(std::fs::read(workplace.path("new.gif")).unwrap().starts_with(b"GIF89a"));
    for verb in ["resume", "report"] {
        workplace.fail(&[verb, "nowhere"], 2, &["no run directory"]);
    }
    let events = workplace.succeed(&["report", "run", "--json"]);
    let event: serde_json::Value = serde_json::from_str(events.trim()).unwrap();
    assert_eq!(event["path"], "run/report.html");
    let report = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(!report.contains("http://") && !report.contains("https://"), "the report must need nothing else");
}

#[test]
fn a_trained_policy_drives_the_control_loop_the_same_way_every_time() {
    let workplace = Workplace::new();
    workplace.train("run");
    let drive = |ticks: &str| {
        workplace.succeed(&["rollout", "run", "--episodes", "2", "--quiet", "--json", "--ticks", ticks])
    };
    let (first, second) = (drive("a.jsonl"), drive("b.jsonl"));
    assert_eq!(first, second);
    let ticks = std::fs::read(workplace.path("a.jsonl")).unwrap();
    assert!(ticks == std::fs::read(workplace.path("b.jsonl")).unwrap(), "ticks are the same bytes");
    let found: serde_json::Value = serde_json::from_str(first.trim()).unwrap();
    assert_eq!(found["evaluation"]["episodes"], 2);
    assert_eq!(found["evaluation"]["safety"]["violations"], 0);
    workplace.fail(&["rollout", "run", "--ticks", "a.jsonl"], 1, &["a.jsonl", "not overwritten"]);
    let nowhere = ["rollout", "run", "--env", "reach", "--ticks", "c.jsonl"];
    workplace.fail(&nowhere, 1, &["trained for something else"]);
    assert!(!workplace.path("c.jsonl").exists(), "a refused request leaves no file behind");
    workplace.fail(&["rollout", "run", "--env", "pendulum"], 1, &["expected", "found"]);
}

#[test]
fn a_rollout_sets_what_its_control_loop_reacts_to() {
    let workplace = Workplace::new();
    workplace.train("run");
    let rollout = |set: &'static str| ["rollout", "run", "--episodes", "1", "--quiet", set];
    // No arm is where it is commanded to be to the micrometre.
    workplace.fail(&rollout("control.max_tracking_error=1e-6"), 3, &["ProtectiveStop", "TrackingError"]);
    workplace.succeed(&rollout("control.max_tracking_error=0.5"));
    // How long an episode may be is the environment's, and both can be given.
    let both =
        ["rollout", "run", "env.push.max_steps=5", "control.startup_secs=0.5", "--episodes", "1", "--json"];
    let told = workplace.succeed(&both);
    let told: serde_json::Value = serde_json::from_str(told.lines().last().unwrap_or_default()).unwrap();
    assert_eq!(told["evaluation"]["length_mean"], 5.0, "{told}");
    for (set, words) in [
        ("control.startup_max_sped=2.0", &["startup_max_sped", "did you mean `startup_max_speed`?"][..]),
        ("control.startup_max_speed=-1.0", &["control.startup_max_speed", "a positive number", "-1"]),
        ("control.handover_secs=x", &["control.handover_secs", "expected f64"]),
        ("robot.x=1", &["robot"]),
    ] {
        workplace.fail(&rollout(set), 2, words);
    }
}

#[test]
fn completions_and_schemas_are_printed() {
    let workplace = Workplace::new();
    assert!(workplace.succeed(&["completions", "bash"]).contains("surefoot"));
    let schema: serde_json::Value = serde_json::from_str(&workplace.succeed(&["config", "schema"])).unwrap();
    assert_eq!(schema["title"], "RunConfig");
    for args in [&["config", "show", "tiny.toml", "--json"][..], &["config", "schema", "--json"]] {
        let line = workplace.succeed(args);
        assert_eq!(line.lines().count(), 1, "{args:?}");
        assert!(serde_json::from_str::<serde_json::Value>(&line).unwrap().is_object());
    }
}

#[test]
fn results_that_cannot_be_written_are_an_error() {
    let full = std::path::Path::new("/dev/full");
    if !full.exists() {
        println!("skipped: this system has no /dev/full");
        return;
    }
    let workplace = Workplace::new();
    let stdout = std::fs::OpenOptions::new().write(true).open(full).unwrap();
    let output = workplace.command(&["list"]).stdout(stdout).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("could not be written to stdout") && stderr.contains("No space left"),
        "{stderr}"
    );
}

#[test]
fn the_doctor_measures_each_rate_it_is_asked_for() {
    let workplace = Workplace::new();
    let line = workplace.succeed(&["doctor", "--secs", "1", "--hz", "50,100", "--json"]);
    let found: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
    let runs = found["cadence"].as_array().unwrap();
    assert_eq!(
        runs.iter().map(|r| r["wanted_hz"].as_f64().unwrap().round()).collect::<Vec<_>>(),
        [50.0, 100.0]
    );
    for run in runs {
        assert!(run["periods"].as_u64().unwrap() > 0);
        assert!(run["jitter_us"]["max"].as_f64() >= run["jitter_us"]["p50"].as_f64());
    }
    assert!(found["checks"].as_array().unwrap().iter().any(|c| c["what"] == "SCHED_FIFO"));
    workplace.fail(&["doctor", "--hz", "0"], 2, &["--hz 0", "1 to 10000"]);
}

#[test]
fn a_session_that_costs_too_much_stops_with_its_own_exit_code_and_can_be_resumed() {
    let workplace = Workplace::new();
    // 30 s of acting a session: the online phase of 600 steps of 0.1 s takes two.
    let limit = "phase.1.online.session.max_acting_secs=30";
    let train = ["train", "tiny.toml", "--run-dir", "run", "--quiet", limit];
    workplace.fail(
        &train,
        3,
        &["safety stop", "session.max_acting_secs = 30 was reached", "surefoot resume run"],
    );
    let log = std::fs::read_to_string(workplace.path("run").join("log.jsonl")).unwrap();
    assert!(log.contains("\"event\":\"safety_stop\"") && workplace.path("run").join("report.html").is_file());
    let mut sessions = 1;
    loop {
        let (code, stdout, stderr) = workplace.run(&["resume", "run"]);
        sessions += 1;
        match code {
            0 => {
                assert!(stdout.contains(&format!("{} session stop", sessions - 1)), "{stdout}");
                break;
            }
            3 => assert!(sessions < 4, "{stderr}"),
            other => panic!("exit code {other}\n{stderr}"),
        }
    }
    // What was stopped and resumed learned the same as what never stopped.
    let whole = workplace.train("whole");
    let weights = |run: &std::path::Path| {
        std::fs::read(run.join("checkpoints/last/policy/policy.safetensors")).unwrap()
    };
    assert!(weights(&whole) == weights(&workplace.path("run")));
}
