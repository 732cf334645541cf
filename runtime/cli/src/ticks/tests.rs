//! Ticks in MCAP: exact, crash-safe, and honest about what was lost.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Result as IoResult, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use crate::config::EnvConfig;
use surefoot_core::safety::Verdict;
use surefoot_core::{Episode, Stream};
use surefoot_datasets::mcap::metadata;
use surefoot_datasets::streams::LogEnd;
use surefoot_engine::control::{
    Cause, Driver, Label, Mode, Progress, Refusal, Request, Rest, Tick, Transition,
};
use surefoot_engine::limits::{EpisodeLimit, LimitReached};
use surefoot_engine::live::LiveClock;

use super::mcap::{About, Durable, TickFile};
use super::recorder_thread::RecorderThread;
use super::{TicksRead, read};
use crate::composition::robot_parts;

fn config() -> EnvConfig {
    toml::from_str("[push]").unwrap()
}

fn shape() -> Tick {
    let (task, world) = robot_parts(&config()).unwrap();
    Tick::new(world.contract(), task.spec())
}

fn begin<W: Durable>(out: W, clock: LiveClock) -> IoResult<TickFile<W>> {
    let env = config();
    let (task, world) = robot_parts(&env).unwrap();
    TickFile::begin(out, &About { env: &env, contract: world.contract(), spec: task.spec(), clock })
}

/// The tick of this number: every field a function of it.
fn nth(n: u64, shape: &Tick) -> Tick {
    let mut stream = Stream::new(7, "test_tick", n);
    let mut tick = Tick { tick: n, now_nanos: n as i64 * 10_000_000, ..shape.clone() };
    let mut fill = |row: &mut [f64]| row.iter_mut().for_each(|x| *x = stream.uniform(-3.0, 3.0));
    for row in [
        &mut tick.position,
        &mut tick.velocity,
        &mut tick.desired,
        &mut tick.command_position,
        &mut tick.command_velocity,
        &mut tick.channels,
    ] {
        fill(row);
    }
    for row in [&mut tick.action, &mut tick.policy_action] {
        row.iter_mut().for_each(|x| *x = stream.uniform(-1.0, 1.0) as f32);
    }
    tick.stamp_nanos = tick.now_nanos - stream.below(5_000_000) as i64;
    tick.stamp_seq = n * 3;
    tick.mode = [
        Mode::Idle,
        Mode::Running(Driver::Policy),
        Mode::Running(Driver::Human),
        Mode::Braking(Rest::ProtectiveStop),
        Mode::Fault,
    ][stream.below(5)];
    tick.driver = [None, Some(Driver::Policy), Some(Driver::Human)][stream.below(3)];
    tick.verdict = [Verdict::Passed, Verdict::Adjusted, Verdict::Stopped][stream.below(3)];
    tick.reasons = stream.below(4) as u16;
    tick.seed = u64::MAX / 3 * (n / 50 % 4);
    (tick.filter_delta, tick.violations) = (stream.uniform(0.0, 1.0), stream.below(2) as u64);
    tick.observation_age_nanos = if n == 1 { i64::MAX } else { stream.below(9_000_000) as i64 };
    (tick.policy_latency_nanos, tick.jitter_nanos) = (stream.below(99) as i64, -(stream.below(99) as i64));
    (tick.overruns, tick.policy_version, tick.commanded) =
        (stream.below(3) as u32, n / 50, n.is_multiple_of(2));
    if n.is_multiple_of(5) {
        let found = if n.is_multiple_of(10) { f64::INFINITY } else { 0.1 };
        let (from, to) = (Mode::Holding, tick.mode);
        tick.transitions[0] =
            Some(Transition { tick: n, from, to, cause: Cause::TrackingError, found, threshold: 0.3 });
        tick.transitions[1] = tick.transitions[0];
        tick.refusal = Some((Request::SpeedPercent(40), Refusal::Moving));
        tick.mark = Some(Label::Success);
        tick.limit = Some(LimitReached { limit: EpisodeLimit::Path, found: 3.5, allowed: 3.0 });
    }
    tick
}

fn ticks_of(path: &Path) -> (TicksRead, Vec<Tick>) {
    read(
        path,
        |_, _| Ok(Vec::new()),
        |ticks: &mut Vec<Tick>, tick| {
            ticks.push(tick.clone());
            Ok(())
        },
    )
    .unwrap_or_else(|failure| panic!("{}", failure.text()))
}

#[test]
fn every_tick_comes_back_bit_for_bit_and_a_file_that_was_cut_anywhere_gives_its_beginning() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.mcap");
    let shape = shape();
    let meant: Vec<Tick> = (1..=400).map(|n| nth(n, &shape)).collect();
    let mut file = begin(File::create(&path).unwrap(), LiveClock::Simulated).unwrap();
    for tick in &meant {
        file.keep(tick, None, None).unwrap();
    }
    file.finish().unwrap();
    assert_eq!(file.counts().ticks, 400);
    assert_eq!(file.counts().bytes, std::fs::metadata(&path).unwrap().len());
    let (found, ticks) = ticks_of(&path);
    assert_eq!(found, TicksRead { ticks: 400, missing: 0, torn: None });
    assert_eq!(ticks, meant);
    let bytes = std::fs::read(&path).unwrap();
    for part in 4..32 {
        std::fs::write(&path, &bytes[..bytes.len() * part / 32]).unwrap();
        let (found, ticks) = ticks_of(&path);
        assert!(found.torn.is_some() || ticks.len() == 400);
        assert_eq!(ticks, meant[..ticks.len()]);
    }
}

#[test]
fn numbers_that_are_none_keep_their_bits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.mcap");
    let mut tick = nth(1, &shape());
    let odd = f64::from_bits(0x7ff4_0000_0000_0123);
    (tick.position[0], tick.filter_delta) = (odd, f64::NEG_INFINITY);
    tick.policy_action[0] = f32::from_bits(0x7fa0_0001);
    let mut file = begin(File::create(&path).unwrap(), LiveClock::Simulated).unwrap();
    file.keep(&tick, None, None).unwrap();
    file.finish().unwrap();
    let (_, ticks) = ticks_of(&path);
    assert_eq!(ticks[0].position[0].to_bits(), odd.to_bits());
    assert_eq!(ticks[0].policy_action[0].to_bits(), 0x7fa0_0001);
    assert_eq!(ticks[0].filter_delta, f64::NEG_INFINITY);
}

/// A disk that stands still until it is let go.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<Held>, Condvar)>);

/// Whether it is let go, and what was written to it.
type Held = (bool, Vec<u8>);

impl Gate {
    fn set(&self, closed: bool) {
        self.0.0.lock().unwrap().0 = closed;
        self.0.1.notify_all();
    }
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> IoResult<usize> {
        let mut guard = self.0.0.lock().unwrap();
        while guard.0 {
            guard = self.0.1.wait(guard).unwrap();
        }
        guard.1.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> IoResult<()> {
        Ok(())
    }
}

impl Durable for Gate {
    fn sync(&self) -> IoResult<()> {
        Ok(())
    }
}

#[test]
fn ticks_that_a_slow_disk_costs_are_counted_and_the_file_says_that_it_is_incomplete() {
    const PLACES: usize = 8;
    let gate = Gate::default();
    let mut recorder =
        RecorderThread::with_queue(begin(gate.clone(), LiveClock::Real).unwrap(), PLACES).unwrap();
    let shape = shape();
    gate.set(true);
    // Each of them closes a chunk, and the first chunk stands still.
    let sent = 100;
    for n in 1..=sent {
        let tick = Tick { now_nanos: n as i64 * 1_000_000_000, ..nth(n, &shape) };
        recorder.keep(&tick, &Progress::default()).unwrap();
    }
    // An episode that lacks steps is not there as one.
    let step = Progress { began: Some(&[0.0]), step: None };
    recorder.keep(&nth(sent + 1, &shape), &step).unwrap();
    recorder.episode(&Episode::default()).unwrap();
    gate.set(false);
    recorder.finish().unwrap();
    let counts = recorder.counts();
    assert_eq!(counts.ticks + counts.missing, sent + 1);
    assert!((PLACES as u64..=PLACES as u64 + 3).contains(&counts.ticks), "{counts:?}");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.mcap");
    std::fs::write(&path, &gate.0.0.lock().unwrap().1).unwrap();
    let (records, end) = metadata(&path).unwrap();
    let last = records.last().unwrap();
    assert_eq!((end, last.entries["missing_ticks"].parse::<u64>().unwrap()), (LogEnd::Whole, counts.missing));
    let source = surefoot_datasets::open(&path).unwrap();
    let note = format!("incomplete: {} ticks were lost on the way to the file", counts.missing);
    assert_eq!((source.len(), source.meta().notes.as_slice()), (0, [note].as_slice()));
    let (found, ticks) = ticks_of(&path);
    assert_eq!((found.ticks, ticks.len() as u64), (counts.ticks, counts.ticks));
}

/// A disk with so much room.
struct Room(usize);

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> IoResult<usize> {
        if bytes.len() > self.0 {
            return Err(ErrorKind::StorageFull.into());
        }
        self.0 -= bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> IoResult<()> {
        Ok(())
    }
}

impl Durable for Room {
    fn sync(&self) -> IoResult<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_is_full_is_told_of_once_and_why() {
    let mut recorder = RecorderThread::start(begin(Room(60_000), LiveClock::Real).unwrap()).unwrap();
    let shape = shape();
    let mut n = 0;
    let error = loop {
        n += 1;
        let kept = recorder.keep(&nth(n, &shape), &Progress::default());
        // Now and then it is waited for, as at the end of each episode.
        let waited = if n.is_multiple_of(100) { recorder.flush() } else { Ok(()) };
        if let Err(error) = kept.and(waited) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    let later = recorder.finish().unwrap_err();
    assert!(later.to_string().contains("has ended"), "{later}");
}

const TICKS_FILE: &str = "SUREFOOT_TEST_TICKS";

#[test]
#[ignore = "a child of the test below, which kills it"]
fn endless_recorder() {
    let Some(path) = std::env::var_os(TICKS_FILE).map(PathBuf::from) else { return };
    let mut recorder =
        RecorderThread::start(begin(File::create(path).unwrap(), LiveClock::Real).unwrap()).unwrap();
    let shape = shape();
    for n in 1.. {
        recorder.keep(&nth(n, &shape), &Progress::default()).unwrap();
        if n.is_multiple_of(20) {
            recorder.flush().unwrap();
            let mut out = std::io::stdout().lock();
            // An error says that the parent is gone.
            out.write_all(format!("\nack {n}\n").as_bytes()).unwrap();
            out.flush().unwrap();
        }
    }
}

/// Everything that was flushed is there, bit for bit, whatever the moment at which the program is killed.
#[test]
fn what_was_flushed_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.mcap");
    let shape = shape();
    let mut stream = Stream::new(3, "kills", 0);
    let (mut torn, mut beyond) = (0, 0);
    for round in 0..200 {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["ticks::tests::endless_recorder", "--exact", "--ignored", "--nocapture"])
            .env(TICKS_FILE, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let (mut heard, mut line) = (String::new(), String::new());
        let wait = stream.below(8);
        while heard.matches("ack ").count() < wait && out.read_line(&mut line).unwrap() > 0 {
            heard += &line;
            line.clear();
        }
        for i in 0..stream.below(2_000_000) {
            std::hint::black_box(i);
        }
        process.kill().unwrap();
        process.wait().unwrap();
        // What it said before it was killed.
        out.read_to_string(&mut heard).unwrap();
        let acked = heard.lines().filter_map(|l| l.strip_prefix("ack ")?.parse::<u64>().ok()).max();
        let acked = acked.unwrap_or(0);
        let bytes = std::fs::metadata(&path).map_or(0, |m| m.len());
        if acked == 0 && metadata(&path).map_or(0, |(records, _)| records.len()) < 2 {
            continue; // It was killed before it had a file with a beginning.
        }
        let (found, ticks) = ticks_of(&path);
        assert!(found.torn.is_some() && found.missing == 0, "round {round}: {found:?}");
        assert!(found.ticks >= acked, "round {round}: {} of {acked} ticks", found.ticks);
        for (n, tick) in (1..).zip(&ticks) {
            assert_eq!(*tick, nth(n, &shape), "round {round}");
        }
        let source = surefoot_datasets::open(&path).unwrap();
        assert!(source.meta().notes[0].starts_with("incomplete: "), "{:?}", source.meta().notes);
        torn += usize::from(found.torn.as_deref().is_some_and(|why| why.starts_with("a record")));
        beyond += usize::from(found.ticks > acked);
        assert!(bytes > 0);
    }
    eprintln!("200 kills: {torn} torn chunks, {beyond} files with more than was flushed when they said so");
}
