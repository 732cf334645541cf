//! Recorded control ticks: written while a robot is driven, and read again by `surefoot replay`.
//!
//! Two forms of the same: JSON lines, for small tools and for reading by eye, and MCAP with ROS 2 messages, which viewers open and
//! which also holds the episodes.

mod lines;
mod mcap;
mod messages;
mod read;
mod recorder_thread;
#[cfg(test)]
mod tests;

use std::io::{Error as IoError, Result as IoResult};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::config::EnvConfig;
use serde::{Deserialize, Serialize};
use surefoot_core::clock::Stopwatch;
use surefoot_core::{Episode, RobotContract};
use surefoot_engine::control::{Progress, Tick};
use surefoot_engine::live::{LiveClock, TickSink};

pub use read::{TicksRead, read};

use crate::composition::robot_parts;
use crate::failure::Failure;
use crate::output::Output;

/// What ticks are of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicksHeader {
    /// [`Self::FORMAT`].
    pub format: String,
    /// The environment whose robot was driven.
    pub env: EnvConfig,
    /// Hash of the robot's contract.
    pub contract_hash: String,
}

impl TicksHeader {
    /// The format that this version reads and writes.
    pub const FORMAT: &'static str = "surefoot-ticks/1";

    fn of(config: &EnvConfig, contract: &RobotContract) -> Self {
        Self { format: Self::FORMAT.to_owned(), env: config.clone(), contract_hash: contract.hash() }
    }
}

/// What was recorded, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TickCounts {
    /// Ticks that were written down.
    pub ticks: u64,
    /// Ticks that were lost on the way: they came faster than they could be written down, or nobody fetched them in time.
    pub missing: u64,
    /// Length of the file; 0 where it is not counted.
    pub bytes: u64,
    /// Processor time of the thread that wrote, ns; absent where it has none of its own: on simulated time all that is told repeats.
    #[serde(skip_serializing_if = "is_zero")]
    pub writer_cpu_nanos: u64,
    /// Time that handing the ticks over to it took, ns.
    #[serde(skip_serializing_if = "is_zero")]
    pub keep_nanos: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(nanos: &u64) -> bool {
    *nanos == 0
}

/// Finds gaps in the numbers of ticks.
#[derive(Clone, Copy, Debug, Default)]
struct Gaps {
    last: u64,
    missing: u64,
}

impl Gaps {
    fn see(&mut self, tick: u64) {
        self.missing += tick.saturating_sub(self.last.saturating_add(1));
        self.last = tick;
    }
}

/// Begins a file of ticks: MCAP where its name ends in `.mcap`, JSON lines otherwise.
///
/// # Errors
/// When it exists, cannot be made, or the environment has no robot.
pub fn create(
    path: &Path,
    config: &EnvConfig,
    clock: LiveClock,
    output: Output,
) -> Result<TickRecorder, Failure> {
    let (task, world) = robot_parts(config)?;
    let contract = world.contract();
    if !is_mcap(path) {
        let lines = lines::TickLines::create(path, &TicksHeader::of(config, contract))?;
        return Ok(recorder(path, output, Form::Lines(lines)));
    }
    let about = mcap::About { env: config, contract, spec: task.spec(), clock };
    let file = mcap::TickFile::create(path, &about)?;
    let form = match clock {
        // Nothing is lost and nobody waits on simulated time.
        LiveClock::Simulated => Form::Mcap(Box::new(file)),
        LiveClock::Real => Form::Thread(recorder_thread::RecorderThread::start(file)?),
    };
    Ok(recorder(path, output, form))
}

fn recorder(path: &Path, output: Output, form: Form) -> TickRecorder {
    TickRecorder { path: path.to_owned(), output, form, counts: SharedCounts::default(), keep_nanos: 0 }
}

/// The next free name `ticks-<n>.mcap` in a directory: a run that goes on begins another file.
#[must_use]
pub fn next_file(directory: &Path) -> PathBuf {
    let mut n = 0;
    loop {
        let path = directory.join(format!("ticks-{n}.mcap"));
        if !path.exists() {
            return path;
        }
        n += 1;
    }
}

fn is_mcap(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("mcap"))
}

enum Form {
    Lines(lines::TickLines),
    Mcap(Box<mcap::TickFile>),
    Thread(recorder_thread::RecorderThread),
}

/// What is known of a recording, shared with whoever asks when it is over.
pub type SharedCounts = Arc<Mutex<TickCounts>>;

/// A file of ticks that is being written.
pub struct TickRecorder {
    path: PathBuf,
    output: Output,
    form: Form,
    counts: SharedCounts,
    keep_nanos: u64,
}

impl TickRecorder {
    /// What was recorded so far; complete when the recording is finished.
    #[must_use]
    pub fn counts(&self) -> SharedCounts {
        Arc::clone(&self.counts)
    }

    fn named(&self, error: &IoError) -> IoError {
        IoError::new(error.kind(), format!("{}: {error}", self.path.display()))
    }

    fn count(&self) {
        let counts = match &self.form {
            Form::Lines(lines) => lines.counts(),
            Form::Mcap(file) => file.counts(),
            Form::Thread(thread) => thread.counts(),
        };
        if let Ok(mut shared) = self.counts.lock() {
            *shared = TickCounts { keep_nanos: self.keep_nanos, ..counts };
        }
    }
}

impl TickSink for TickRecorder {
    fn keep(&mut self, tick: &Tick, progress: &Progress<'_>) -> IoResult<()> {
        let kept = match &mut self.form {
            Form::Lines(lines) => lines.keep(tick),
            Form::Mcap(file) => file.keep(tick, progress.began, progress.step),
            Form::Thread(thread) => {
                let watch = Stopwatch::start();
                let kept = thread.keep(tick, progress);
                self.keep_nanos += u64::try_from(watch.elapsed().as_nanos()).unwrap_or(u64::MAX);
                kept
            }
        };
        kept.map_err(|e| self.named(&e))
    }

    fn episode(&mut self, episode: &Episode) -> IoResult<()> {
        match &mut self.form {
            Form::Lines(_) => Ok(()),
            Form::Mcap(file) => file.episode(episode),
            Form::Thread(thread) => thread.episode(episode),
        }
        .map_err(|e| self.named(&e))
    }

    fn flush(&mut self) -> IoResult<()> {
        match &mut self.form {
            Form::Lines(lines) => lines.flush(),
            Form::Mcap(file) => file.flush(),
            Form::Thread(thread) => thread.flush(),
        }
        .map_err(|e| self.named(&e))
    }

    fn finish(&mut self) -> IoResult<()> {
        let finished = match &mut self.form {
            Form::Lines(lines) => lines.flush(),
            Form::Mcap(file) => file.finish(),
            Form::Thread(thread) => thread.finish(),
        };
        finished.map_err(|e| self.named(&e))?;
        self.count();
        let missing = self.counts.lock().map_or(0, |c| c.missing);
        if missing > 0 {
            self.output.note(&format!(
                "{} is INCOMPLETE: {missing} ticks were lost on the way to it",
                self.path.display()
            ));
        }
        Ok(())
    }
}
