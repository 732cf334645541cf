//! Training over the lockstep link, as a user runs it: with worlds of our own behind it, and with Gymnasium's where Python has them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use surefoot_core::{EnvSpec, Episode, EpisodeBuilder, Field, Outcome, StepEnd, Stream};

use crate::program::{TINY, Workplace, assert_same_run};

/// `surefoot serve-env push` with the tiny experiment's settings; killed when dropped.
struct Served {
    child: Child,
    endpoint: String,
}

impl Served {
    fn start(workplace: &Workplace, envs: &str, listen: &str) -> Self {
        let args =
            ["serve-env", "push", "env.push.max_steps=30", "--envs", envs, "--listen", listen, "--json"];
        let mut child = workplace.command(&args).stdout(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let told: serde_json::Value = serde_json::from_str(&line).expect("an event");
        Self { child, endpoint: told["endpoint"].as_str().expect("an endpoint").to_owned() }
    }

    fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The tiny experiment with its world behind a link; its demonstrations are those of the local one.
fn over_the_link(workplace: &Workplace, endpoint: &str) {
    let text = TINY.replace("record = { demonstrator = { push = {} }, episodes = 12 }", "");
    let env = format!("[env.served]\nid = \"push\"\nservers = [\"{endpoint}\"]");
    let text = text.replace("[env.push]\nmax_steps = 30", &env);
    std::fs::write(workplace.path("linked.toml"), text).expect("a config");
}

#[test]
fn a_run_over_the_link_leaves_the_bytes_of_a_local_one_and_survives_the_servers_death() {
    let workplace = Workplace::new();
    let local = workplace.train("local");
    let mut served = Served::start(&workplace, "4", "tcp/127.0.0.1:0");
    over_the_link(&workplace, &served.endpoint);
    let train = ["train", "linked.toml", "--run-dir", "linked", "--json"];
    let mut child = workplace.command(&train).stdout(Stdio::piped()).spawn().expect("starts");
    let mut lost = 0;
    let mut evaluated = 0;
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.expect("text");
        lost += usize::from(line.contains("\"event\":\"env_lost\""));
        evaluated += usize::from(line.contains("\"event\":\"evaluated\""));
        // Twice in the life of the run, wherever it is then; the second time, between two episodes or in the middle of one.
        if line.contains("\"event\":\"evaluated\"") && (evaluated == 2 || evaluated == 4) {
            served.kill();
            served = Served::start(&workplace, "4", &served.endpoint.clone());
        }
    }
    assert!(child.wait().expect("ends").success());
    assert!(lost >= 1, "the run noticed that its server was killed");
    assert_same_run(&local, &workplace.path("linked"));
    // The policy is of the same contract: it is judged here and there alike.
    let judge = |run: &str| {
        let found = workplace.succeed(&["eval", run, "--episodes", "6", "--json"]);
        let found: serde_json::Value = serde_json::from_str(found.trim()).expect("an event");
        found["evaluation"].clone()
    };
    assert_eq!(judge("linked"), judge("local"));
    served.kill();
    let impatient = "env.served.connect_timeout_secs=0.3";
    let words = ["push", "answers at", "surefoot serve-env"];
    workplace.fail(&["train", "linked.toml", impatient], 2, &words);
}

#[test]
fn a_killed_client_gives_its_worlds_back() {
    let workplace = Workplace::new();
    workplace.succeed(&[
        "data",
        "record",
        "push",
        "--to",
        "demonstrations.hdf5",
        "--episodes",
        "4",
        "--quiet",
    ]);
    let served = Served::start(&workplace, "1", "tcp/127.0.0.1:0");
    over_the_link(&workplace, &served.endpoint);
    let train = ["train", "linked.toml", "--run-dir", "killed", "--json", "data.0.path=demonstrations.hdf5"];
    let mut child =
        workplace.command(&train).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    lines
        .find(|l| l.as_ref().expect("text").contains("\"event\":\"stage_started\""))
        .expect("it begins")
        .expect("text");
    workplace.fail(&["train", "linked.toml", "--run-dir", "second"], 2, &["all 1 worlds of push are taken"]);
    child.kill().expect("killed");
    child.wait().expect("ended");
    // The kernel closes the connection; the server hears of it in its own time.
    let freed = (0..100).any(|_| workplace.run(&["resume", "killed", "--quiet"]).0 == 0);
    assert!(freed, "the world of a killed client is free again");
}

/// A Python with what Gymnasium's environments need, or `None`, said by name; one that is named has to have it.
#[cfg(test)]
fn python(test: &str) -> Option<String> {
    let named = std::env::var("SUREFOOT_PYTHON").ok();
    let python = named.clone().unwrap_or_else(|| "python3".to_owned());
    let has = Command::new(&python)
        .args(["-c", "import surefoot_gym, gymnasium, zenoh, mujoco"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !has {
        assert!(
            named.is_none(),
            "SUREFOOT_PYTHON={python} has not all of surefoot_gym, gymnasium, eclipse-zenoh and mujoco"
        );
        println!(
            "skipped: {test}: {python} has not all of surefoot_gym, gymnasium, eclipse-zenoh and mujoco"
        );
    }
    has.then_some(python)
}

/// Episodes of nobody's skill, with the names that the environment says.
fn pendulum_data(path: &Path) {
    let bounds = [("observation[0]", 1.0), ("observation[1]", 1.0), ("observation[2]", 8.0)];
    let spec = EnvSpec {
        name: "Pendulum-v1".into(),
        observation: bounds.iter().map(|(n, b)| Field::bounded(*n, "1", -b, *b)).collect(),
        action: vec![Field::bounded("action[0]", "1", -2.0, 2.0)],
        step_secs: 0.05,
        max_steps: 40,
        reward_range: None,
        contract_hash: None,
    };
    let mut stream = Stream::new(1, "pendulum data", 0);
    let episodes: Vec<Episode> = (0..6)
        .map(|i| {
            let mut builder = EpisodeBuilder::new(format!("demo_{i}"), "random", i);
            for step in 0..40 {
                let angle = stream.uniform(-3.0, 3.0);
                let row = |a: f64| [a.cos() as f32, a.sin() as f32, 0.5];
                let action = [stream.uniform(-1.0, 1.0) as f32];
                let end = if step == 39 { StepEnd::Truncated } else { StepEnd::Running };
                let outcome = Outcome { reward: -(angle * angle) as f32, end, ..Outcome::default() };
                builder.push(&row(angle), &action, &action, &row(angle + 0.1), outcome);
            }
            builder.finish()
        })
        .collect();
    surefoot_datasets::write(path, &surefoot_datasets::Recording::new(spec), &episodes).expect("written");
}

/// Children of a process whose command line contains a word.
fn children_of(parent: u32, word: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("a system with /proc").flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter(|pid| {
            let read =
                |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
            let stat = read("stat");
            let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            after_name.split_whitespace().nth(1) == Some(parent.to_string().as_str())
                && read("cmdline").contains(word)
        })
        .collect()
}

#[test]
fn gymnasium_trains_unchanged_and_a_killed_python_changes_no_bit() {
    let Some(python) = python("gymnasium_trains_unchanged_and_a_killed_python_changes_no_bit") else {
        return;
    };
    let workplace = Workplace::new();
    pendulum_data(&workplace.path("pendulum.hdf5"));
    let env = format!(
        "[env.gymnasium]\nid = \"Pendulum-v1\"\npython = \"{python}\"\nprocesses = 2\nkwargs = {{ max_episode_steps = 40 }}"
    );
    let text = TINY
        .replace("[env.push]\nmax_steps = 30", &env)
        .replace("demonstrations.hdf5", "pendulum.hdf5")
        .replace("record = { demonstrator = { push = {} }, episodes = 12 }", "");
    std::fs::write(workplace.path("pendulum.toml"), text).expect("a config");
    workplace.succeed(&["train", "pendulum.toml", "--run-dir", "whole", "--quiet", "training.worlds=3"]);
    let log = std::fs::read_to_string(workplace.path("whole/log.jsonl")).expect("a log");
    assert!(log.contains("no safety chain stands between the policy and this environment"), "{log}");

    let train = ["train", "pendulum.toml", "--run-dir", "cut", "--json", "training.worlds=3"];
    let mut child = workplace.command(&train).stdout(Stdio::piped()).spawn().expect("starts");
    let pid = child.id();
    let (mut killed, mut lost) = (0, 0);
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.expect("text");
        lost += usize::from(line.contains("\"event\":\"env_lost\""));
        if line.contains("\"event\":\"evaluated\"") && killed < 2 {
            for server in children_of(pid, "surefoot_gym").into_iter().take(1) {
                let kill = Command::new("kill").args(["-KILL", &server.to_string()]).status();
                killed += usize::from(kill.expect("kill").success());
            }
        }
    }
    assert!(child.wait().expect("ends").success());
    assert!(killed > 0 && lost > 0, "{killed} servers were killed, {lost} losses noticed");
    assert_same_run(&workplace.path("whole"), &workplace.path("cut"));
    let evaluated = workplace.succeed(&["eval", "whole", "--episodes", "4", "--json"]);
    assert!(evaluated.contains("return_mean"), "{evaluated}");
}

#[test]
fn a_gymnasium_that_cannot_be_started_says_what_helps() {
    let workplace = Workplace::new();
    std::fs::write(workplace.path("pendulum.hdf5"), "").expect("a file");
    let env = "[env.gymnasium]\nid = \"Pendulum-v1\"\npython = \"no-such-python\"";
    let text = TINY.replace("[env.push]\nmax_steps = 30", env);
    let text = text.replace("record = { demonstrator = { push = {} }, episodes = 12 }", "");
    std::fs::write(workplace.path("broken.toml"), text).expect("a config");
    workplace.fail(&["train", "broken.toml"], 2, &["no-such-python", "pip install ./bridges/python"]);
    workplace.fail(&["train", "broken.toml", "env.gymnasium.id="], 2, &["id: expected", "HalfCheetah-v5"]);
    workplace.fail(&["serve-env", "pendulm"], 2, &["unknown environment", "did you mean `pendulum`?"]);
    workplace.fail(&["serve-env", "gymnasium"], 2, &["already"]);
    workplace.fail(&["serve-env", "push", "env.push.max_stebs=3"], 2, &["did you mean `max_steps`?"]);
    if let Some(python) = python("a_gymnasium_that_cannot_be_started_says_what_helps") {
        let named = format!("env.gymnasium.python={python}");
        let args =
            |key: &'static str| ["train".to_owned(), "broken.toml".to_owned(), named.clone(), key.to_owned()];
        for (key, words) in [
            ("env.gymnasium.id=CartPole-v1", &["it ended before it listened"][..]),
            ("env.gymnasium.kwargs.max_episode_steps=-1", &["it ended before it listened"]),
        ] {
            let args = args(key);
            workplace.fail(&args.each_ref().map(String::as_str), 2, words);
        }
    }
}
