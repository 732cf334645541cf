//! Imports of more than memory holds, and imports that end before they are done.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use surefoot_core::{DataError, EpisodeSource, RobotContract};
use surefoot_datasets::import::{Plan, Watch, import, import_spooled};
use surefoot_datasets::streams::LogOptions;
use surefoot_datasets::{FORMATS, OpenOptions, Recording, Stoppable, convert_as, open_with};

use crate::crash::{in_shell, say, told};
use crate::import::{TELEOP, contract};
use crate::logs::log;

const WIDTH: usize = 60;
/// Messages of a log, 50 a second.
const MESSAGES: usize = 8_000;
const LOGS: usize = 64;
/// Address space of the child, program and threads included.
const LIMIT_KIB: usize = 176 << 10;

fn contract_of_rows() -> RobotContract {
    let select: Vec<String> = (0..WIDTH).map(|i| format!("\"data[{i}]\"")).collect();
    let text = format!(
        "name = \"rows\"\ncontrol_hz = 50.0\npolicy_hz = 50.0\n[[joints]]\nname = \"j\"\nunit = \"rad\"\nmin_position = -1.0\n\
         max_position = 1.0\nmax_velocity = 1.0\nmax_acceleration = 1.0\n[import]\naction_shift = \"next\"\n\
         episodes = {{ split = \"file\", max_steps = 500 }}\n[[import.observation]]\nname = \"row\"\ntopic = \"/rows\"\n\
         align = {{ strategy = \"hold\", timeline = \"receive\" }}\nselect = [{}]\nunit = \"1\"\n[[import.action]]\nname = \"a\"\n\
         topic = \"/rows\"\nalign = {{ strategy = \"hold\", timeline = \"receive\" }}\nselect = [\"data[0]\"]\nunit = \"1\"\n\
         definition = \"commanded\"\nbounds = {{ range = {{ low = [-1.0], high = [1.0] }} }}\n",
        select.join(", ")
    );
    RobotContract::parse(&text, Path::new("rows.toml")).unwrap()
}

/// An MCAP file without chunks: a topic of rows.
fn rows_log(path: &Path) {
    let text = |t: &str| [(t.len() as u32).to_le_bytes().as_slice(), t.as_bytes()].concat();
    let record = |operation: u8, body: &[u8]| {
        [[operation].as_slice(), &(body.len() as u64).to_le_bytes(), body].concat()
    };
    let definition = "std_msgs/MultiArrayLayout layout\nfloat64[] data\n===\nMSG: std_msgs/MultiArrayLayout\n\
                      MultiArrayDimension[] dim\nuint32 data_offset\n===\nMSG: std_msgs/MultiArrayDimension\nstring label\n\
                      uint32 size\nuint32 stride\n";
    let mut file = b"\x89MCAP0\r\n".to_vec();
    file.extend(record(1, &[text("ros2"), text("test")].concat()));
    let schema = [
        1_u16.to_le_bytes().as_slice(),
        &text("std_msgs/msg/Float64MultiArray"),
        &text("ros2msg"),
        &text(definition),
    ]
    .concat();
    file.extend(record(3, &schema));
    let channel =
        [1_u16.to_le_bytes().as_slice(), &1_u16.to_le_bytes(), &text("/rows"), &text("cdr"), &[0; 4]]
            .concat();
    file.extend(record(4, &channel));
    for k in 0..MESSAGES {
        let nanos = 1_000_000_000 + k as u64 * 20_000_000;
        let mut body = [1_u16.to_le_bytes().as_slice(), &(k as u32).to_le_bytes()].concat();
        body.extend([nanos.to_le_bytes(), nanos.to_le_bytes()].concat());
        // No dimensions, offset 0, then the numbers on a boundary of 8 bytes behind the encapsulation.
        body.extend([0, 1, 0, 0]);
        body.extend([0_u32.to_le_bytes(), 0_u32.to_le_bytes(), (WIDTH as u32).to_le_bytes()].concat());
        body.extend([0; 4]);
        for i in 0..WIDTH {
            body.extend(((k * 31 + i * 7) as f64 * 0.001).sin().to_le_bytes());
        }
        file.extend(record(5, &body));
    }
    file.extend(record(15, &[0; 4]));
    std::fs::write(path, file).unwrap();
}

/// Run by the test below in a process with little memory.
#[test]
fn child_that_imports_with_little_memory() {
    let Ok(directory) = std::env::var("SUREFOOT_MANY_LOGS") else { return };
    let directory = PathBuf::from(directory);
    let contract = contract_of_rows();
    let plan = Plan::new(&contract).unwrap();
    let paths: Vec<PathBuf> = (0..LOGS).map(|i| directory.join(format!("log_{i:03}.mcap"))).collect();
    let watch = Watch { progress: &|_| {}, stop: &|| false };
    let to = directory.join("new");
    let imported = import_spooled(&plan, &paths, &LogOptions::default(), false, watch, &to).unwrap();
    assert_eq!(imported.report.steps, LOGS * (MESSAGES - 1));
    assert_eq!(imported.spec.max_steps, 500);
    let numbers = imported.report.steps * (2 * WIDTH + 2);
    assert!(numbers * 4 > LIMIT_KIB * 1024, "{numbers} numbers are not more than the memory");
    let recording = Recording::new(imported.spec.clone()).with_split(imported.len(), 0.1, 0);
    for format in FORMATS.iter().filter(|f| f.write.is_some()).map(|f| f.name) {
        let written = convert_as(&imported, &recording, format, &to).unwrap();
        assert_eq!((written.episodes, written.steps), (imported.len(), imported.report.steps), "{format}");
        if to.is_dir() { std::fs::remove_dir_all(&to).unwrap() } else { std::fs::remove_file(&to).unwrap() }
    }
}

/// The logs are one file under many names: they take no more room on the disk than that.
#[cfg(unix)]
#[test]
fn more_than_memory_is_imported_into_every_format() {
    let directory = tempfile::tempdir().unwrap();
    let first = directory.path().join("log_000.mcap");
    rows_log(&first);
    for i in 1..LOGS {
        std::fs::hard_link(&first, directory.path().join(format!("log_{i:03}.mcap"))).unwrap();
    }
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "ulimit -v {LIMIT_KIB} && exec \"$0\" streaming::child_that_imports_with_little_memory --exact --test-threads 1"
        ))
        .arg(std::env::current_exe().unwrap())
        .env("SUREFOOT_MANY_LOGS", directory.path())
        .env("RAYON_NUM_THREADS", "2")
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn what_waits_on_the_disk_is_what_memory_would_hold_however_many_threads() {
    let directory = tempfile::tempdir().unwrap();
    let contract = contract(TELEOP);
    let plan = Plan::new(&contract).unwrap();
    let paths: Vec<PathBuf> = (0..6)
        .map(|i| {
            let path = directory.path().join(format!("day_{i}.mcap"));
            std::fs::copy(log("teleop.mcap"), &path).unwrap();
            path
        })
        .collect();
    let meant = import(&plan, &paths, &LogOptions::default(), false, &|_| {}).unwrap();
    assert_eq!(meant.episodes.len(), 12);
    let mut files = Vec::new();
    for threads in [1, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let watch = Watch { progress: &|_| {}, stop: &|| false };
            let to = directory.path().join(format!("{threads}.hdf5"));
            let found = import_spooled(&plan, &paths, &LogOptions::default(), false, watch, &to).unwrap();
            assert_eq!((&found.report, &found.spec), (&meant.report, &meant.spec));
            let episodes: Vec<_> = (0..found.len()).map(|i| found.episode(i).unwrap()).collect();
            assert_eq!(format!("{episodes:?}"), format!("{:?}", meant.episodes));
            assert!(found.episode(12).is_err());
            let mut recording = Recording::new(found.spec.clone());
            recording.import_hash = contract.import_hash();
            convert_as(&found, &recording, "robomimic", &to).unwrap();
            files.push(std::fs::read(&to).unwrap());
        });
    }
    assert!(files[0] == files[1], "the same logs give the same bytes");
    for format in ["robomimic", "minari", "lerobot"] {
        let to = directory.path().join(format!("again-{format}"));
        let source = open_with(&directory.path().join("1.hdf5"), &OpenOptions::default()).unwrap();
        surefoot_datasets::convert(&*source, format, &to).unwrap();
        let again = open_with(&to, &OpenOptions::default()).unwrap();
        assert_eq!(again.meta().import_hash, contract.import_hash(), "{format}");
        assert!(again.meta().import_hash.is_some());
    }
}

#[test]
fn an_import_that_is_interrupted_anywhere_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let contract = contract(TELEOP);
    let plan = Plan::new(&contract).unwrap();
    let paths = vec![log("teleop.mcap"); 3];
    for format in FORMATS.iter().filter(|f| f.write.is_some()).map(|f| f.name) {
        let to = directory.path().join(format!("new-{format}"));
        // How often it is asked whether to stop, and whether a question is the last that is answered with no.
        let run = |questions: usize| {
            let asked = AtomicUsize::new(0);
            let stop = || asked.fetch_add(1, Ordering::Relaxed) >= questions;
            let watch = Watch { progress: &|_| {}, stop: &stop };
            let outcome =
                import_spooled(&plan, &paths, &LogOptions::default(), true, watch, &to).and_then(|found| {
                    let recording = Recording::new(found.spec.clone());
                    convert_as(&Stoppable::new(&found, &stop), &recording, format, &to)
                });
            (outcome, asked.load(Ordering::Relaxed))
        };
        let (whole, all) = run(usize::MAX);
        assert_eq!(whole.unwrap().episodes, 6);
        if to.is_dir() {
            std::fs::remove_dir_all(&to).unwrap();
        } else {
            std::fs::remove_file(&to).unwrap();
        }
        // In the logs, and in the writing: that asks once for each episode.
        for questions in [0, 1, all / 3, 2 * all / 3, all - 6, all - 3, all - 1] {
            let (outcome, _) = run(questions);
            assert!(
                matches!(outcome, Err(DataError::Interrupted)),
                "{format} {questions} of {all}: {outcome:?}"
            );
            assert_eq!(
                std::fs::read_dir(directory.path()).unwrap().count(),
                0,
                "{format} {questions} of {all}"
            );
        }
    }
}

#[test]
fn a_log_that_fails_keeps_others_from_being_read_or_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let plan = Plan::new(&contract(TELEOP)).unwrap();
    let damaged = directory.path().join("damaged.mcap");
    let mut bytes = std::fs::read(log("teleop.mcap")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    std::fs::write(&damaged, bytes).unwrap();
    let paths = [log("teleop.mcap"), damaged, directory.path().join("absent.mcap")];
    let run = |skip| {
        let watch = Watch { progress: &|_| {}, stop: &|| false };
        import_spooled(&plan, &paths, &LogOptions::default(), skip, watch, &directory.path().join("new.hdf5"))
    };
    let error = run(false).unwrap_err().to_string();
    assert!(error.contains("damaged.mcap"), "the first in their order: {error}");
    let found = run(true).unwrap();
    assert_eq!(found.len(), 2, "nothing of a log that failed after all");
    assert_eq!(found.report.logs.iter().filter(|l| l.failed.is_some()).count(), 2);
}

#[test]
#[ignore = "a child of the test below, which gives it a small disk"]
fn import_on_a_small_disk() {
    let Some(directory) = told() else { return };
    let plan = Plan::new(&contract(TELEOP)).unwrap();
    let watch = Watch { progress: &|_| {}, stop: &|| false };
    for format in FORMATS.iter().filter(|f| f.write.is_some()).map(|f| f.name) {
        // The disk is full in the import itself, or in the writing of what was imported.
        for ballast in [0, 100_000, 200_000, 300_000] {
            let to = directory.join("new");
            std::fs::write(directory.join("ballast"), vec![1; ballast]).unwrap();
            let mut logs = 1;
            let error = loop {
                let paths = vec![log("teleop.mcap"); logs];
                let outcome = import_spooled(&plan, &paths, &LogOptions::default(), true, watch, &to)
                    .and_then(|found| convert_as(&found, &Recording::new(found.spec.clone()), format, &to));
                match outcome {
                    Ok(_) if to.is_dir() => std::fs::remove_dir_all(&to).unwrap(),
                    Ok(_) => std::fs::remove_file(&to).unwrap(),
                    Err(error) => break error.to_string(),
                }
                logs *= 2;
            };
            assert!(
                error.contains("No space left") && error.contains("hint: the disk is full"),
                "{format}: {error}"
            );
            assert_eq!(
                std::fs::read_dir(&directory).unwrap().count(),
                1,
                "{format}: only the ballast is there"
            );
        }
    }
    say("kept nothing");
}

#[test]
fn a_full_disk_ends_an_import_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=400k none \"$SUREFOOT_TEST_RECORDING\" 2>/dev/null \
                  || { echo cannot prepare; exit 0; }; exec \"$@\"";
    let namespace = ["unshare", "--user", "--map-root-user", "--mount"];
    let permitted = Command::new(namespace[0])
        .args(&namespace[1..])
        .arg("true")
        .output()
        .is_ok_and(|o| o.status.success());
    let test = "streaming::import_on_a_small_disk";
    match permitted.then(|| in_shell(&namespace, script, test, directory.path())).flatten() {
        Some(said) => assert!(said.contains("kept nothing"), "{said}"),
        None => eprintln!("left out: a small disk cannot be mounted here"),
    }
}
