//! The program as a user runs it: a process in an empty directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// An experiment small enough for a test: every stage of the real one, a few seconds long.
pub const TINY: &str = include_str!("tiny.toml");

/// A directory with the tiny experiment in it.
pub struct Workplace {
    directory: tempfile::TempDir,
}

impl Workplace {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("tiny.toml"), TINY).expect("a config");
        Self { directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_surefoot-under-test"));
        command.args(args).current_dir(self.directory.path()).stdin(Stdio::null());
        command
    }

    /// Runs to the end and gives exit code, stdout and stderr.
    pub fn run(&self, args: &[&str]) -> (i32, String, String) {
        spoken(&self.command(args).output().expect("the program starts"))
    }

    /// Runs and expects success.
    pub fn succeed(&self, args: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(args);
        assert_eq!(code, 0, "{args:?}\n{stdout}\n{stderr}");
        stdout
    }

    /// Runs and expects this exit code and all of these words on stderr.
    pub fn fail(&self, args: &[&str], code: i32, words: &[&str]) {
        let (found, stdout, stderr) = self.run(args);
        assert_eq!(found, code, "{args:?}\n{stdout}\n{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{args:?}: no {word:?} in\n{stderr}");
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
    }

    /// Trains the tiny experiment into a run directory of this name.
    pub fn train(&self, run: &str) -> PathBuf {
        self.succeed(&["train", "tiny.toml", "--run-dir", run, "--quiet"]);
        self.path(run)
    }
}

pub fn spoken(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// Every file below `directory` whose bytes must be equal between equal runs, with its content.
pub fn reproducible_files(run: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |path: &Path| std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut files = vec![
        ("metrics.jsonl".to_owned(), read(&run.join("metrics.jsonl"))),
        ("results.json".to_owned(), read(&run.join("results.json"))),
    ];
    let last = run.join("checkpoints/last");
    let mut open = vec![last.clone()];
    while let Some(directory) = open.pop() {
        let mut entries: Vec<_> = std::fs::read_dir(&directory).expect("a checkpoint").flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(&last).expect("below").display().to_string();
                files.push((name, read(&path)));
            }
        }
    }
    files
}

/// Asserts that two runs left the same bytes behind, but for what counts checkpoints (an interrupted run writes one more).
pub fn assert_same_run(a: &Path, b: &Path) {
    let (a, b) = (reproducible_files(a), reproducible_files(b));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&a), names(&b));
    for ((name, left), (_, right)) in a.iter().zip(&b) {
        if name != "manifest.json" && name != "state/state.json" {
            assert!(left == right, "{name} differs");
        }
    }
}
