//! A file of ticks on a thread of its own: whoever looks after a robot does not wait for compression and disks.
//!
//! The queue is bounded. When it is full a tick is lost, and counted: the file then says that it is incomplete.

use std::io::{Error as IoError, Result as IoResult};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use surefoot_core::Episode;
use surefoot_core::clock::thread_cpu_nanos;
use surefoot_engine::control::{MadeStep, Progress, Tick};

use super::TickCounts;
use super::mcap::{Durable, FLUSH_NANOS, TickFile};

/// Ticks that may wait: four seconds of the fastest loops.
const QUEUE: usize = 4096;

struct Kept {
    tick: Tick,
    began: Option<Vec<f32>>,
    step: Option<MadeStep>,
}

enum Entry {
    Tick(Box<Kept>),
    Episode(Box<Episode>),
    /// To be answered when everything before it is on the disk.
    Flush(SyncSender<()>),
    /// The same, with the number of the last tick there was.
    Finish(u64, SyncSender<()>),
}

/// The thread, and the queue to it.
pub struct RecorderThread {
    queue: Option<SyncSender<Entry>>,
    thread: Option<JoinHandle<IoResult<()>>>,
    counts: Arc<Mutex<TickCounts>>,
    last: u64,
    /// A step of the present episode was lost: the file holds its ticks, and not the episode.
    broken: bool,
}

impl RecorderThread {
    /// Starts the thread.
    pub fn start<W: Durable + 'static>(file: TickFile<W>) -> IoResult<Self> {
        Self::with_queue(file, QUEUE)
    }

    pub(super) fn with_queue<W: Durable + 'static>(file: TickFile<W>, places: usize) -> IoResult<Self> {
        let (queue, entries) = sync_channel(places);
        let counts = Arc::new(Mutex::new(TickCounts::default()));
        let shared = Arc::clone(&counts);
        let thread = std::thread::Builder::new()
            .name("tick recorder".into())
            .spawn(move || write(file, &entries, &shared))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), counts, last: 0, broken: false })
    }

    /// Hands a tick over; when the queue is full, it is lost.
    pub fn keep(&mut self, tick: &Tick, progress: &Progress<'_>) -> IoResult<()> {
        self.last = tick.tick;
        let Some(queue) = &self.queue else { return Err(self.gone()) };
        let Progress { began, step } = *progress;
        let kept = Kept { tick: tick.clone(), began: began.map(<[f32]>::to_vec), step: step.cloned() };
        match queue.try_send(Entry::Tick(Box::new(kept))) {
            Ok(()) => {
                self.broken &= began.is_none();
                Ok(())
            }
            // The gap in the numbers tells.
            Err(TrySendError::Full(_)) => {
                self.broken |= began.is_some() || step.is_some();
                Ok(())
            }
            Err(TrySendError::Disconnected(_)) => Err(self.gone()),
        }
    }

    /// Hands an episode over; waits for a place in the queue. One that lacks a step is not there as an episode.
    pub fn episode(&mut self, episode: &Episode) -> IoResult<()> {
        if self.broken {
            return Ok(());
        }
        self.send(Entry::Episode(Box::new(episode.clone())))
    }

    /// Waits until everything is on the disk.
    pub fn flush(&mut self) -> IoResult<()> {
        let (done, told) = sync_channel(1);
        self.send(Entry::Flush(done))?;
        told.recv().map_err(|_| self.gone())
    }

    /// Ends the file.
    pub fn finish(&mut self) -> IoResult<()> {
        let (done, told) = sync_channel(1);
        self.send(Entry::Finish(self.last, done))?;
        told.recv().map_err(|_| self.gone())
    }

    /// What was written so far.
    pub fn counts(&self) -> TickCounts {
        self.counts.lock().map(|counts| *counts).unwrap_or_default()
    }

    fn send(&mut self, entry: Entry) -> IoResult<()> {
        let sent = self.queue.as_ref().is_some_and(|queue| queue.send(entry).is_ok());
        if sent { Ok(()) } else { Err(self.gone()) }
    }

    /// Why the thread has ended; it is told once.
    fn gone(&mut self) -> IoError {
        self.queue = None;
        let why = self.thread.take().map(JoinHandle::join);
        match why {
            Some(Ok(Err(error))) => error,
            _ => IoError::other("the recorder has ended"),
        }
    }
}

/// What was handed over is written down, whatever ends the program's interest in it.
impl Drop for RecorderThread {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write<W: Durable>(
    mut file: TickFile<W>,
    entries: &Receiver<Entry>,
    counts: &Mutex<TickCounts>,
) -> IoResult<()> {
    let pause = Duration::from_nanos(FLUSH_NANOS.unsigned_abs());
    let count = |file: &TickFile<W>| {
        if let Ok(mut shared) = counts.lock() {
            *shared = TickCounts { writer_cpu_nanos: thread_cpu_nanos(), ..file.counts() };
        }
    };
    loop {
        match entries.recv_timeout(pause) {
            Ok(Entry::Tick(kept)) => file.keep(&kept.tick, kept.began.as_deref(), kept.step.as_ref())?,
            Ok(Entry::Episode(episode)) => file.episode(&episode)?,
            Ok(Entry::Flush(done)) => {
                file.flush()?;
                count(&file);
                // Whoever does not wait any more does not need to know.
                let _ = done.send(());
            }
            Ok(Entry::Finish(last, done)) => {
                file.went_on_to(last);
                file.finish()?;
                count(&file);
                let _ = done.send(());
            }
            // No tick for that long: a loop that hangs is what its last ticks are wanted for.
            Err(RecvTimeoutError::Timeout) => file.flush()?,
            Err(RecvTimeoutError::Disconnected) => return file.flush(),
        }
    }
}
