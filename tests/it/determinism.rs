//! Equal runs leave equal bytes, whatever the number of threads.

use std::process::Stdio;

use crate::program::{Workplace, assert_same_run};

#[test]
fn the_number_of_threads_and_worlds_changes_nothing() {
    let workplace = Workplace::new();
    let one = workplace.path("one-thread");
    let mut command =
        workplace.command(&["train", "tiny.toml", "--run-dir", "one-thread", "--quiet", "training.worlds=3"]);
    let status = command.env("RAYON_NUM_THREADS", "1").stdout(Stdio::null()).status().expect("starts");
    assert!(status.success());
    let mut command = workplace.command(&["train", "tiny.toml", "--run-dir", "four-threads", "--quiet"]);
    let status = command.env("RAYON_NUM_THREADS", "4").stdout(Stdio::null()).status().expect("starts");
    assert!(status.success());
    assert_same_run(&one, &workplace.path("four-threads"));
}

#[test]
fn another_seed_is_another_run() {
    let workplace = Workplace::new();
    let a = workplace.train("a");
    workplace.succeed(&["train", "tiny.toml", "--run-dir", "b", "--quiet", "seed=1"]);
    let weights = |run: &std::path::Path| {
        std::fs::read(run.join("checkpoints/last/policy/policy.safetensors")).unwrap()
    };
    assert_ne!(weights(&a), weights(&workplace.path("b")));
}
