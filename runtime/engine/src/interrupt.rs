//! A request to stop soon, from a signal handler or another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once, read between updates and between env steps. Clones share the request.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Not requested yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// Asks to stop. Safe in a signal handler: one atomic store.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
    /// Whether someone asked.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
