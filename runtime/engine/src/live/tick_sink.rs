//! Where every control tick of a session goes.

use surefoot_core::Episode;

use crate::control::{Progress, Tick};

/// Where ticks are kept.
pub trait TickSink: Send {
    /// Keeps a tick, perhaps in memory at first, and what came of it.
    ///
    /// # Errors
    /// When it could not be kept.
    fn keep(&mut self, tick: &Tick, progress: &Progress<'_>) -> std::io::Result<()>;
    /// Keeps what an episode is as a whole, when it has ended with the tick that was kept last.
    ///
    /// # Errors
    /// When it could not be kept.
    fn episode(&mut self, _episode: &Episode) -> std::io::Result<()> {
        Ok(())
    }
    /// Writes down what is in memory.
    ///
    /// # Errors
    /// When it could not be written.
    fn flush(&mut self) -> std::io::Result<()>;
    /// Says that no tick is to follow. What ends without it may read as incomplete.
    ///
    /// # Errors
    /// When that could not be written.
    fn finish(&mut self) -> std::io::Result<()> {
        self.flush()
    }
}
