//! The one place that reads time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A running stopwatch on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    #[allow(clippy::disallowed_methods)]
    pub fn start() -> Self {
        Self(Instant::now())
    }
    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Time since 1970-01-01 UTC by the wall clock: for names and records, never for control.
#[must_use]
#[allow(clippy::disallowed_methods)]
pub fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Processor time of the calling thread so far, ns; 0 where the system does not tell.
#[must_use]
pub fn thread_cpu_nanos() -> u64 {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::time::TimeValLike;
        let time = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID.now();
        time.map_or(0, |t| u64::try_from(t.num_nanoseconds()).unwrap_or(0))
    }
    #[cfg(not(target_os = "linux"))]
    0
}

/// The monotonic clock of a control loop, ns since some fixed moment. It never goes back and knows nothing of the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    #[cfg(not(target_os = "linux"))]
    origin: Instant,
}

impl MonotonicClock {
    /// A clock that runs.
    #[must_use]
    #[cfg_attr(not(target_os = "linux"), allow(clippy::disallowed_methods))]
    pub fn start() -> Self {
        Self {
            #[cfg(not(target_os = "linux"))]
            origin: Instant::now(),
        }
    }
}

#[cfg(target_os = "linux")]
impl MonotonicClock {
    /// Now, ns.
    ///
    /// Real-time safe: answered by the vDSO, without a system call on the usual clock sources.
    #[must_use]
    pub fn now_nanos(&self) -> i64 {
        use nix::sys::time::TimeValLike;
        // The clock exists on every Linux; were it missing, a clock that stands still brakes the robot.
        nix::time::ClockId::CLOCK_MONOTONIC.now().map_or(0, |t| t.num_nanoseconds())
    }

    /// Waits until `nanos` of this clock; returns at once when that is past.
    pub fn sleep_until(&self, nanos: i64) {
        use nix::sys::time::TimeValLike;
        use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
        let until = nix::sys::time::TimeSpec::nanoseconds(nanos);
        // An absolute sleep that a signal cuts short is simply begun again.
        while clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &until)
            == Err(nix::errno::Errno::EINTR)
        {}
    }

    /// Smallest difference that the clock can tell, ns.
    #[must_use]
    pub fn resolution_nanos(&self) -> i64 {
        use nix::sys::time::TimeValLike;
        nix::time::ClockId::CLOCK_MONOTONIC.res().map_or(0, |t| t.num_nanoseconds())
    }
}

#[cfg(not(target_os = "linux"))]
impl MonotonicClock {
    /// Now, ns.
    #[must_use]
    pub fn now_nanos(&self) -> i64 {
        i64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }

    /// Waits until `nanos` of this clock; returns at once when that is past.
    #[allow(clippy::disallowed_methods)]
    pub fn sleep_until(&self, nanos: i64) {
        let left = nanos.saturating_sub(self.now_nanos());
        if left > 0 {
            std::thread::sleep(Duration::from_nanos(left.unsigned_abs()));
        }
    }

    /// Smallest difference that the clock can tell, ns; not known on this system.
    #[must_use]
    pub const fn resolution_nanos(&self) -> i64 {
        0
    }
}
