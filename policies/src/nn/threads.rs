//! The threads that an update may use. They change its speed and nothing else.

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};
use surefoot_core::LearnError;

/// A pool of a stated size: never the machine's or the environment's choice.
#[derive(Clone, Debug)]
pub struct Threads(Arc<ThreadPool>);

impl Threads {
    /// `count` threads, at least one.
    ///
    /// # Errors
    /// When the system has none left.
    pub fn new(count: usize) -> Result<Self, LearnError> {
        ThreadPoolBuilder::new()
            .num_threads(count.max(1))
            .thread_name(|i| format!("learner-{i}"))
            .build()
            .map(|pool| Self(Arc::new(pool)))
            .map_err(|e| LearnError::Tensor { context: "starting threads", reason: e.to_string() })
    }

    /// Runs on these threads: matrix products and joins inside stay on them.
    pub fn run<R: Send>(&self, task: impl FnOnce() -> R + Send) -> R {
        self.0.install(task)
    }
}
