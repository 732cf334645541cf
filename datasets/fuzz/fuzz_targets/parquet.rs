#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_datasets_fuzz::{allow_caught_panics, read_dataset, with_file};

/// A LeRobot dataset of the fixtures whose first table is these bytes.
const INFO: &str = include_str!("../../tests/fixtures/lerobot/v21/meta/info.json");
const EPISODES: &str = include_str!("../../tests/fixtures/lerobot/v21/meta/episodes.jsonl");
const TASKS: &str = include_str!("../../tests/fixtures/lerobot/v21/meta/tasks.jsonl");

fuzz_target!(|bytes: &[u8]| {
    allow_caught_panics();
    with_file("data/chunk-000/episode_000000.parquet", bytes, |path| {
        let Some(root) = path.ancestors().nth(3) else { return };
        std::fs::create_dir_all(root.join("meta")).expect("a directory");
        for (name, text) in [("info.json", INFO), ("episodes.jsonl", EPISODES), ("tasks.jsonl", TASKS)] {
            std::fs::write(root.join("meta").join(name), text).expect("room for a file");
        }
        read_dataset(root);
    });
});
