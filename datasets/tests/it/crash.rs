//! A recorder that is killed, or whose disk is full, in a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use surefoot_core::{EpisodeSource, Stream};
use surefoot_datasets::{EpisodeRecorder, OpenOptions, Recording, open, open_with, verify};

use crate::episodes::{episode, spec};

const DIRECTORY: &str = "SUREFOOT_TEST_RECORDING";

fn recorder(directory: &Path) -> EpisodeRecorder {
    EpisodeRecorder::create(directory, Recording::new(spec(5, 2))).unwrap()
}

fn nth(i: usize) -> surefoot_core::Episode {
    episode(i, 5, 2, 20 + i % 7 * 30, 1)
}

/// This test program again, running one of its tests alone.
fn child(test: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored", "--nocapture"]).env(DIRECTORY, directory);
    command
}

/// What a child is told; nothing when a person runs the ignored tests.
pub fn told() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // One write, so that no half line gets out; an error says that the parent is gone.
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[test]
#[ignore = "a child of the tests below, which kill it"]
fn endless_recorder() {
    let Some(directory) = told() else { return };
    let mut recorder = recorder(&directory);
    for i in recorder.len().. {
        recorder.record(&nth(i)).unwrap();
        say(&format!("ack {i}"));
    }
}

fn leftover(directory: &Path) -> bool {
    std::fs::read_dir(directory)
        .map(|entries| entries.flatten().any(|e| e.file_name().to_string_lossy().ends_with(".tmp")))
        .unwrap_or(false)
}

/// Kills a recorder `rounds` times, each time at another moment, and lets the next go on in the same directory.
fn kills(rounds: usize, seed: u64) {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("recording");
    let mut stream = Stream::new(seed, "kills", 0);
    let mut acked = 0;
    let (mut torn, mut unlisted) = (0, 0);
    for round in 0..rounds {
        let mut process =
            child("crash::endless_recorder", &directory).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let mut heard = String::new();
        let mut line = String::new();
        // How far it gets before it is killed: an episode more, many more, or not even to its first.
        let wait = if stream.below(4) == 0 { 0 } else { 1 + stream.below(6) };
        while heard.matches("ack ").count() < wait && out.read_line(&mut line).unwrap() > 0 {
            heard += &line;
            line.clear();
        }
        let next = directory.join(format!("ep_{:06}.hdf5", acked + heard.matches("ack ").count()));
        match stream.below(4) {
            0 => {}
            1 => {
                // In the middle of writing a shard.
                let mut looks = 0;
                while !leftover(&directory) && looks < 20_000 {
                    looks += 1;
                }
            }
            2 => {
                // A shard has its name, and the manifest perhaps not yet its line.
                let mut looks = 0;
                while !next.exists() && looks < 200_000 {
                    looks += 1;
                }
            }
            _ => {
                for i in 0..stream.below(5_000_000) {
                    std::hint::black_box(i);
                }
            }
        }
        process.kill().unwrap();
        process.wait().unwrap();
        // What it said before it was killed.
        out.read_to_string(&mut heard).unwrap();
        let before = acked;
        for i in heard.lines().filter_map(|l| l.strip_prefix("ack ")?.parse::<usize>().ok()) {
            acked = i + 1;
        }
        assert!(acked >= before);
        if !directory.join("recording.json").exists() {
            assert_eq!(acked, 0, "an episode was acknowledged before there was a recording");
            continue;
        }
        // A recording reads after a crash as it is, and says that it is incomplete.
        let source = open(&directory).unwrap();
        assert!(source.meta().notes.iter().any(|n| n.starts_with("incomplete")), "{:?}", source.meta().notes);
        assert!(
            (acked..=acked + 1).contains(&source.len()),
            "round {round}: {acked} acked, {}",
            source.len()
        );
        for i in before..source.len() {
            assert_eq!(source.episode(i).unwrap(), nth(i), "round {round}");
        }
        torn += usize::from(leftover(&directory));
        // The next one mends it.
        let recorder = recorder(&directory);
        unlisted += recorder.recovery().listed.len();
        assert!((acked..=acked + 1).contains(&recorder.len()));
        acked = recorder.len();
    }
    eprintln!(
        "{rounds} kills: {acked} episodes, all whole; {torn} half-written files, {unlisted} unlisted shards"
    );
    assert!(acked > rounds, "the recorder came nowhere");
    recorder(&directory).finish().unwrap();
    whole(&directory, acked);
}

/// Everything that was recorded is there, bit for bit, and sound.
fn whole(directory: &Path, episodes: usize) -> Box<dyn EpisodeSource> {
    let source = open(directory).unwrap();
    assert_eq!(source.meta().notes, [""; 0]);
    assert_eq!(source.len(), episodes);
    for i in 0..episodes {
        let file = directory.join(format!("ep_{i:06}.hdf5"));
        assert_eq!(open(&file).unwrap().len(), 1);
    }
    let report = verify(directory, &OpenOptions::default());
    assert!(report.passed(), "{report}");
    source
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    kills(200, 1);
}

fn no_leftovers(directory: &Path, episodes: usize) {
    let names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n != "recording.json" && n != "manifest.jsonl" && n != "ballast")
        .collect();
    assert_eq!(names.len(), episodes, "{names:?}");
    let manifest = std::fs::read_to_string(directory.join("manifest.jsonl")).unwrap();
    assert_eq!(manifest.lines().count(), episodes, "{manifest}");
    assert!(manifest.is_empty() || manifest.ends_with('\n'), "a torn line was left");
}

#[test]
#[ignore = "a child of the test below, which limits the length of its files"]
fn recorder_with_short_files() {
    let Some(directory) = told() else { return };
    let mut recorder = recorder(&directory);
    for i in 0..3 {
        recorder.record(&nth(i)).unwrap();
    }
    let error = recorder.record(&episode(3, 5, 2, 20_000, 1)).unwrap_err().to_string();
    assert!(error.contains("ep_000003.hdf5: ") && error.contains("too large"), "{error}");
    no_leftovers(&directory, 3);
    // The manifest reaches the limit, too.
    let mut i = 3;
    let error = loop {
        match recorder.record(&episode(i, 5, 2, 1, 1)) {
            Ok(recorded) => assert_eq!(recorded.index, i),
            Err(error) => break error.to_string(),
        }
        i += 1;
    };
    assert!(error.contains("manifest.jsonl: ") && error.contains("too large"), "{error}");
    assert!(i > 50 && recorder.len() == i, "{i}");
    no_leftovers(&directory, i);
    say(&format!("kept {i}"));
}

#[test]
#[ignore = "a child of the test below, which gives it a small disk"]
fn recorder_on_a_small_disk() {
    let Some(directory) = told() else { return };
    std::fs::write(directory.join("../ballast"), vec![1; 100_000]).unwrap();
    let mut recorder = recorder(&directory);
    let mut i = 0;
    let error = loop {
        match recorder.record(&nth(i)) {
            Ok(_) => i += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains(&format!("ep_{i:06}.hdf5: ")) && error.contains("No space left"), "{error}");
    assert!(i > 3, "{i}");
    // It stays so, whole, for as long as the disk is full.
    for _ in 0..5 {
        recorder.record(&episode(i, 5, 2, 4000, 1)).unwrap_err();
        no_leftovers(&directory, i);
    }
    std::fs::remove_file(directory.join("../ballast")).unwrap();
    recorder.record(&nth(i)).unwrap();
    no_leftovers(&directory, i + 1);
    recorder.finish().unwrap();
    let source = whole(&directory, i + 1);
    for k in 0..=i {
        assert_eq!(source.episode(k).unwrap(), nth(k));
    }
    say(&format!("kept {}", i + 1));
}

/// Runs a child through a shell that prepares its surroundings first.
pub fn in_shell(prepare: &[&str], script: &str, test: &str, directory: &Path) -> Option<String> {
    let inner = child(test, directory);
    let mut command = Command::new(prepare.first().unwrap_or(&"sh"));
    command.args(prepare.iter().skip(1)).env(DIRECTORY, directory);
    if !prepare.is_empty() {
        command.arg("sh");
    }
    command.args(["-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    let output = command.output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if said.contains("cannot prepare") {
        return None;
    }
    assert!(output.status.success(), "{said}");
    Some(said.into_owned())
}

#[test]
fn a_file_that_may_not_grow_loses_the_episode_in_progress_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording");
    // Blocks of 512 bytes. The signal would kill; ignored, the write fails instead.
    let script = "trap '' XFSZ; ulimit -f 128 || { echo cannot prepare; exit 0; }; exec \"$@\"";
    let said = in_shell(&[], script, "crash::recorder_with_short_files", &path).unwrap();
    let kept: usize = said.lines().find_map(|l| l.strip_prefix("kept ")?.parse().ok()).unwrap();
    assert_eq!(open(&path).unwrap().len(), kept);
    let mut recorder = recorder(&path);
    assert!(recorder.recovery().is_empty(), "{:?}", recorder.recovery());
    recorder.finish().unwrap();
    whole(&path, kept);
}

#[test]
fn a_full_disk_loses_the_episode_in_progress_only() {
    let directory = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=400k none \"$(dirname $SUREFOOT_TEST_RECORDING)\" 2>/dev/null \
                  || { echo cannot prepare; exit 0; }; mkdir \"$SUREFOOT_TEST_RECORDING\"; exec \"$@\"";
    let path = directory.path().join("disk").join("recording");
    std::fs::create_dir(directory.path().join("disk")).unwrap();
    let namespace = ["unshare", "--user", "--map-root-user", "--mount"];
    let permitted = Command::new(namespace[0])
        .args(&namespace[1..])
        .arg("true")
        .output()
        .is_ok_and(|o| o.status.success());
    let said = permitted.then(|| in_shell(&namespace, script, "crash::recorder_on_a_small_disk", &path));
    match said.flatten() {
        Some(said) => assert!(said.lines().any(|l| l.starts_with("kept ")), "{said}"),
        None => eprintln!("left out: a small disk cannot be mounted here"),
    }
}

#[test]
fn a_recording_can_be_read_while_it_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut recorder = recorder(directory.path());
    assert_eq!(open(directory.path()).unwrap().len(), 0);
    for i in 0..3 {
        recorder.record(&nth(i)).unwrap();
        let source = open_with(directory.path(), &OpenOptions::default()).unwrap();
        assert_eq!(source.len(), i + 1);
        assert_eq!(source.episode(i).unwrap(), nth(i));
    }
}
