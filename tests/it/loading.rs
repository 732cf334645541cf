//! Demonstrations in memory, on the disk, and larger than memory: the same run.

use std::path::Path;
use std::process::Command;

use surefoot_core::{EnvSpec, Episode, Field, StepEnd, Stream};
use surefoot_datasets::{Recording, write};

use crate::program::{Workplace, assert_same_run, spoken};

/// Ways of drawing that remember something, targets over several steps, and transitions that bring something with them.
const MODES: [&[&str]; 4] = [
    &[
        "phase.0.offline.sampling={prioritized={}}",
        "phase.1.online.sampling={prioritized={alpha=0.8}}",
        "learner.awac.returns={n_step=3}",
    ],
    &["phase.0.offline.sampling={weighted_by_return={}}", "data.0.weight=2.0"],
    &[
        "learner={cql={calibrated=true,action_samples=2,offline_batch=16,online_batch=16,actor={hidden=[8]},critic={hidden=[8]}}}",
        "phase.0.offline.sampling={best_episodes={fraction=0.5}}",
    ],
    &[
        "learner={td3_bc={critic_penalty=0.5,returns={n_step=2},offline_batch=16,online_batch=16,actor={hidden=[8]},critic={hidden=[8]}}}",
    ],
];

fn train(workplace: &Workplace, run: &str, more: &[&str]) -> String {
    let args = [&["train", "tiny.toml", "--run-dir", run, "eval.episodes=2"], more].concat();
    let (code, stdout, stderr) = workplace.run(&args);
    assert_eq!(code, 0, "{args:?}\n{stdout}\n{stderr}");
    stderr
}

#[test]
fn rows_on_the_disk_and_threads_change_nothing_in_any_mode() {
    let workplace = Workplace::new();
    for (k, mode) in MODES.iter().enumerate() {
        let run = |name: &str, more: &[&str]| {
            let name = format!("{name}{k}");
            (train(&workplace, &name, &[mode, more].concat()), workplace.path(&name))
        };
        let (said, memory) = run("memory", &[]);
        assert!(said.contains("MiB of rows in memory"), "{said}");
        let (said, disk) =
            run("disk", &["loading.cache=disk", "loading.max_memory_mib=0", "training.worlds=3"]);
        assert!(said.contains("rows are on the disk in .surefoot-cache/demonstrations-"), "{said}");
        assert_same_run(&memory, &disk);
        // Little memory, and the choice is made by the program.
        let mut command =
            workplace.command(&["train", "tiny.toml", "--run-dir", &format!("auto{k}"), "eval.episodes=2"]);
        let output = command
            .args(*mode)
            .arg("loading.max_memory_mib=0")
            .env("RAYON_NUM_THREADS", "1")
            .output()
            .unwrap();
        let (code, _, said) = spoken(&output);
        assert!(code == 0 && said.contains("rows are on the disk"), "{said}");
        assert_same_run(&memory, &workplace.path(&format!("auto{k}")));
        let plain = workplace.path("plain");
        if k == 0 {
            train(&workplace, "plain", &[]);
        }
        let weights =
            |run: &Path| std::fs::read(run.join("checkpoints/last/policy/policy.safetensors")).unwrap();
        assert_ne!(weights(&plain), weights(&memory), "{mode:?} has an effect");
    }
}

#[test]
fn rows_of_another_version_of_the_data_are_made_anew_and_said() {
    let workplace = Workplace::new();
    let disk = ["loading.cache=disk", "loading.directory=rows"];
    let said = train(&workplace, "first", &disk);
    assert!(!said.contains("made anew"), "{said}");
    let said = train(&workplace, "same", &disk);
    assert!(!said.contains("made anew"), "{said}");
    std::fs::remove_file(workplace.path("demonstrations.hdf5")).unwrap();
    let said = train(&workplace, "other", &[&disk[..], &["seed=7"]].concat());
    assert!(said.contains("is of another version of demonstrations.hdf5"), "{said}");
    let rows = std::fs::read_dir(workplace.path("rows")).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&rows).unwrap();
    std::fs::write(&rows, &bytes[..bytes.len() / 2]).unwrap();
    let said = train(&workplace, "cut", &[&disk[..], &["seed=7"]].concat());
    assert!(said.contains("made anew") && said.contains("not a readable row cache"), "{said}");
    assert_eq!(std::fs::read(&rows).unwrap(), bytes);
    assert_same_run(&workplace.path("other"), &workplace.path("cut"));
}

#[test]
fn what_cannot_be_loaded_names_the_key_and_how_to_mend_it() {
    let workplace = Workplace::new();
    let refused = |code: i32, more: &[&str], words: &[&str]| {
        let args = [&["train", "tiny.toml", "--run-dir", "run"], more].concat();
        workplace.fail(&args, code, words);
        assert!(!workplace.path("run").exists());
    };
    refused(
        2,
        &["phase.1.online.offline_ratio=1.5"],
        &["phase[1].online.offline_ratio: expected 0 to 1, found 1.5"],
    );
    refused(2, &["data.0.weight=0"], &["data[0].weight = 0: a positive number"]);
    refused(2, &["learner.awac.returns={n_step=1}"], &["returns.n_step", "must be 2 to 1000"]);
    refused(
        2,
        &["baseline.0.offline.sampling={prioritized={}}"],
        &[
            "baseline.bc.sampling: expected uniform, weighted_by_return or best_episodes",
            "found prioritized for bc",
        ],
    );
    refused(
        2,
        &["learner.awac.offline_batch=5000"],
        &["stage offline: batch of awac: expected a batch with at most", "learner.awac", "found 5000 rows"],
    );
    refused(
        1,
        &["loading.cache=disk", "loading.directory=tiny.toml/rows"],
        &[
            "loading.directory: rows of demonstrations.hdf5 cannot be kept in tiny.toml/rows",
            "hint: `loading.directory`",
        ],
    );
}

/// Needs the right to mount: says so and passes where it is missing.
#[test]
fn a_full_disk_is_named_with_the_key_and_leaves_nothing_half_written() {
    let workplace = Workplace::new();
    let disk = workplace.path("small");
    std::fs::create_dir(&disk).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8k", "tmpfs"]).arg(&disk).output();
    if !mount.is_ok_and(|o| o.status.success()) {
        println!("skipped: this process may not mount a tmpfs");
        return;
    }
    let args = ["train", "tiny.toml", "--run-dir", "run", "loading.cache=disk", "loading.directory=small"];
    let (code, _, stderr) = workplace.run(&args);
    let left = std::fs::read_dir(&disk).unwrap().count();
    assert!(Command::new("umount").arg(&disk).status().unwrap().success());
    assert!(
        code == 1 && stderr.contains("loading.directory") && stderr.contains("No space left"),
        "{stderr}"
    );
    assert_eq!(left, 0);
}

#[test]
fn data_without_rewards_is_for_imitation() {
    let workplace = Workplace::new();
    let aloha = concat!(env!("CARGO_MANIFEST_DIR"), "/../datasets/tests/fixtures/peers/aloha");
    let config = |learner: &str| {
        format!(
            "name = \"aloha\"\n[recorded]\nname = \"aloha\"\nstep_secs = 0.02\n[learner.{learner}]\n[[data]]\npath = {aloha:?}\n[[phase]]\noffline = {{ updates = 3 }}\n"
        )
    };
    std::fs::write(workplace.path("awac.toml"), config("awac")).unwrap();
    std::fs::write(
        workplace.path("bc.toml"),
        config("bc").replace("[learner.bc]", "[learner.bc]\nbatch = 2"),
    )
    .unwrap();
    workplace.fail(
        &["train", "awac.toml", "--run-dir", "run"],
        1,
        &["data[0]:", "has no rewards, and a learner of this run learns from them", "hint: `[learner.bc]`"],
    );
    workplace.succeed(&["train", "bc.toml", "--run-dir", "run", "--quiet"]);
}

const OBSERVATION: usize = 128;
const ACTION: usize = 8;
const STEPS: usize = 4_000;
const SHARDS: usize = 50;
/// Address space of the program, its code and threads included.
const LIMIT_KIB: usize = 176 << 10;

/// A recording of which all files are one: it takes no more room on the disk than that.
fn large_recording(directory: &Path) {
    // As a task is known from recordings alone.
    let spec = EnvSpec {
        name: "large".into(),
        observation: (0..OBSERVATION).map(|i| Field::unbounded(format!("flat[{i}]"), "1")).collect(),
        action: (0..ACTION).map(|i| Field::bounded(format!("action[{i}]"), "1", -1.0, 1.0)).collect(),
        step_secs: 0.05,
        max_steps: STEPS,
        reward_range: Some((-1.0, 1.0)),
        contract_hash: None,
    };
    let mut stream = Stream::new(0, "large", 0);
    let mut numbers = |n: usize| (0..n).map(|_| stream.uniform(-1.0, 1.0) as f32).collect::<Vec<f32>>();
    let all = numbers((STEPS + 1) * OBSERVATION);
    let mut end = vec![StepEnd::Running; STEPS];
    end[STEPS - 1] = StepEnd::Terminated;
    let long = Episode {
        observation: all[..STEPS * OBSERVATION].to_vec(),
        next_observation: all[OBSERVATION..].to_vec(),
        action: numbers(STEPS * ACTION),
        reward: numbers(STEPS),
        end,
        ..Episode::default()
    };
    std::fs::create_dir(directory).unwrap();
    let first = directory.join("ep_000000.hdf5");
    write(&first, &Recording::new(spec), &[long]).unwrap();
    for i in 1..SHARDS {
        std::fs::hard_link(&first, directory.join(format!("ep_{i:06}.hdf5"))).unwrap();
    }
}

const LARGE: &str = r#"
name = "large"
[recorded]
name = "large"
step_secs = 0.05
reward_range = [-1.0, 1.0]
[[data]]
path = "recording"
[learner.awac]
offline_batch = 64
actor = { hidden = [16] }
critic = { hidden = [16] }
returns = { n_step = 3 }
[[phase]]
offline = { updates = 200, sampling = { prioritized = {} } }
[loading]
max_memory_mib = 8
"#;

#[cfg(unix)]
#[test]
fn a_dataset_larger_than_memory_is_learned_from_with_the_same_bits() {
    let workplace = Workplace::new();
    large_recording(&workplace.path("recording"));
    std::fs::write(workplace.path("large.toml"), LARGE).unwrap();
    let rows_bytes = SHARDS * STEPS * (2 * OBSERVATION + ACTION + 3) * 4;
    assert!(rows_bytes > LIMIT_KIB << 10, "{rows_bytes} bytes of rows are not more than the limit");
    let limited = |run: &str, more: &str| {
        let program = env!("CARGO_BIN_EXE_surefoot-under-test");
        let command =
            format!("ulimit -v {LIMIT_KIB} && exec {program} train large.toml --run-dir {run} {more}");
        let mut sh = Command::new("sh");
        sh.arg("-c").arg(command).current_dir(workplace.path("."));
        sh.env("RAYON_NUM_THREADS", "1").env("MALLOC_ARENA_MAX", "1");
        spoken(&sh.output().unwrap())
    };
    let (code, stdout, stderr) = limited("little", "");
    assert!(code == 0 && stderr.contains("rows are on the disk"), "{code}\n{stdout}\n{stderr}");
    // The limit is one: all rows do not fit.
    let (code, _, _) = limited("all", "loading.cache=memory");
    assert_ne!(code, 0);
    workplace.succeed(&["train", "large.toml", "--run-dir", "memory", "--quiet", "loading.cache=memory"]);
    assert_same_run(&workplace.path("little"), &workplace.path("memory"));
}
