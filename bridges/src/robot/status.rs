//! What the threads of a link tell each other without waiting, and what a program reports of it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::dialects::StateFrame;
use crate::error::{Refusal, WireError};
use crate::mailbox::Mailbox;
use crate::wire::{RobotMode, StateMeta, StopCause};

/// What the robot's side last said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub mode: RobotMode,
    pub cause: StopCause,
    pub epoch: u32,
}

impl Told {
    const fn pack(self) -> u64 {
        (self.mode.code() as u64) << 40 | (self.cause.code() as u64) << 32 | self.epoch as u64
    }
    fn unpack(packed: u64) -> Self {
        let byte = |shift: u32| (packed >> shift & 0xff) as u8;
        Self {
            mode: RobotMode::of(byte(40)).unwrap_or(RobotMode::Idle),
            cause: StopCause::of(byte(32)).unwrap_or(StopCause::None),
            epoch: packed as u32,
        }
    }
}

/// Stands for the bound of a clock's offset that nobody can know.
pub(crate) const UNKNOWN_BOUND: i64 = i64::MAX;

/// Between a control thread, the link's own thread, and zenoh's.
pub(crate) struct Shared {
    pub states: Mailbox<StateFrame>,
    // Control thread to link thread.
    pub wanted: AtomicBool,
    pub acknowledged: AtomicU32,
    pub ending: AtomicBool,
    // Link thread to control thread.
    pub epoch: AtomicU32,
    pub lease: AtomicU64,
    pub refused: AtomicU8,
    /// The last of `acknowledged` that was settled.
    pub cleared: AtomicU32,
    pub offset_nanos: AtomicI64,
    pub offset_bound_nanos: AtomicI64,
    // Receiver to both.
    told: AtomicU64,
    pub boot: AtomicU64,
    pub leased_boot: AtomicU64,
    pub received_seq: AtomicU64,
    pub counters: Counters,
    last_error: Mutex<Option<WireError>>,
}

impl Shared {
    pub(crate) fn new(room: StateFrame) -> Self {
        Self {
            states: Mailbox::new(room),
            wanted: AtomicBool::new(false),
            acknowledged: AtomicU32::new(0),
            ending: AtomicBool::new(false),
            epoch: AtomicU32::new(0),
            lease: AtomicU64::new(0),
            refused: AtomicU8::new(0),
            cleared: AtomicU32::new(0),
            offset_nanos: AtomicI64::new(0),
            offset_bound_nanos: AtomicI64::new(0),
            told: AtomicU64::new(0),
            boot: AtomicU64::new(0),
            leased_boot: AtomicU64::new(0),
            received_seq: AtomicU64::new(0),
            counters: Counters::default(),
            last_error: Mutex::new(None),
        }
    }

    pub(crate) fn told(&self) -> Told {
        Told::unpack(self.told.load(Ordering::Acquire))
    }
    pub(crate) fn hear(&self, meta: &StateMeta) {
        let told = Told { mode: meta.mode, cause: meta.cause, epoch: meta.epoch };
        self.told.store(told.pack(), Ordering::Release);
        self.boot.store(meta.boot_id, Ordering::Release);
        self.received_seq.store(meta.seq, Ordering::Release);
    }
    pub(crate) fn hear_reply(&self, told: Told, boot: u64) {
        self.told.store(told.pack(), Ordering::Release);
        self.boot.store(boot, Ordering::Release);
    }
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        Refusal::of(self.refused.load(Ordering::Acquire)).ok().flatten()
    }
    pub(crate) fn refuse(&self, refusal: Option<Refusal>) {
        self.refused.store(Refusal::code(refusal), Ordering::Release);
    }
    pub(crate) fn note(&self, error: WireError) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
    pub(crate) fn last_error(&self) -> Option<WireError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Counts of one link. Each is written by one thread.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub received: AtomicU64,
    pub received_bytes: AtomicU64,
    pub overtaken: AtomicU64,
    pub late: AtomicU64,
    pub malformed: AtomicU64,
    pub oversized: AtomicU64,
    pub sent: AtomicU64,
    pub sent_bytes: AtomicU64,
    pub unsent: AtomicU64,
    pub armings: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A look at a link from outside, at any time.
#[derive(Clone)]
pub struct LinkStatus {
    pub(crate) shared: Arc<Shared>,
    pub(crate) robot: String,
    pub(crate) wiring: Vec<String>,
}

/// What went over a link until now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkReport {
    /// The robot.
    pub robot: String,
    /// What its side is doing.
    pub robot_mode: RobotMode,
    /// Why it stopped, where it did.
    pub robot_cause: StopCause,
    /// Why the robot's side last refused something.
    pub refusal: Option<Refusal>,
    /// States that came.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// States that a newer one had replaced before they were read.
    pub overtaken: u64,
    /// States that came after a newer one.
    pub late: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// Messages larger than `max_message_bytes`.
    pub oversized: u64,
    /// Commands that were sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Commands that found no room or no link.
    pub unsent: u64,
    /// Epochs that were begun.
    pub armings: u64,
    /// Robot's clock less ours, ns, and how well it is known; not at all where the robot echoes nothing.
    pub clock_offset_nanos: (i64, Option<i64>),
}

impl LinkStatus {
    /// What went over it until now.
    #[must_use]
    pub fn report(&self) -> LinkReport {
        let Counters {
            received,
            received_bytes,
            overtaken,
            late,
            malformed,
            oversized,
            sent,
            sent_bytes,
            unsent,
            armings,
        } = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let told = self.shared.told();
        LinkReport {
            robot: self.robot.clone(),
            robot_mode: told.mode,
            robot_cause: told.cause,
            refusal: self.shared.refusal(),
            received: read(received),
            received_bytes: read(received_bytes),
            overtaken: read(overtaken),
            late: read(late),
            malformed: read(malformed),
            oversized: read(oversized),
            sent: read(sent),
            sent_bytes: read(sent_bytes),
            unsent: read(unsent),
            armings: read(armings),
            clock_offset_nanos: (
                self.shared.offset_nanos.load(Ordering::Relaxed),
                Some(self.shared.offset_bound_nanos.load(Ordering::Relaxed)).filter(|b| *b != UNKNOWN_BOUND),
            ),
        }
    }

    /// The resolved quality of service of each key, one line each.
    #[must_use]
    pub fn wiring(&self) -> &[String] {
        &self.wiring
    }
}

impl fmt::Display for LinkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { robot, received, late, malformed, oversized, sent, unsent, overtaken, .. } = self;
        write!(
            f,
            "link to {robot}: {received} states ({overtaken} overtaken, {late} late), {sent} commands ({unsent} unsent), \
             {malformed} malformed, {oversized} oversized; clock offset {:.3} ms",
            self.clock_offset_nanos.0 as f64 * 1e-6,
        )?;
        match self.clock_offset_nanos.1 {
            Some(bound) => write!(f, " within {:.3} ms", bound as f64 * 1e-6)?,
            None => f.write_str(" by the stamps of states alone")?,
        }
        if self.robot_mode.is_latched() {
            write!(f, "; the robot's side is stopped ({:?}, {:?})", self.robot_mode, self.robot_cause)?;
        }
        if let Some(refusal) = self.refusal {
            write!(f, "; the robot's side refused: {refusal}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_by_one_word_is_understood() {
        for mode in RobotMode::ALL {
            for cause in StopCause::ALL {
                for epoch in [0, 1, u32::MAX] {
                    let told = Told { mode: *mode, cause: *cause, epoch };
                    assert_eq!(Told::unpack(told.pack()), told);
                }
            }
        }
    }
}
