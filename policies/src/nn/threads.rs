//! The threads that an update may use. They change its speed and nothing else.

use std::sync::Arc;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use surefoot_core::LearnError;

/// A stated number of threads: never the machine's or the environment's choice.
#[derive(Clone, Debug)]
pub struct Threads(Option<Arc<ThreadPool>>);

impl Threads {
    /// `count` threads; one or none is the caller's own.
    ///
    /// # Errors
    /// When the system has none left.
    pub fn new(count: usize) -> Result<Self, LearnError> {
        if count <= 1 {
            return Ok(Self(None));
        }
        ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|i| format!("learner-{i}"))
            .build()
            .map(|pool| Self(Some(Arc::new(pool))))
            .map_err(|e| LearnError::Tensor { context: "starting threads", reason: e.to_string() })
    }

    /// Runs on these threads; what is joined inside stays on them.
    pub fn run<R: Send>(&self, task: impl FnOnce() -> R + Send) -> R {
        match &self.0 {
            Some(pool) => pool.install(task),
            None => task(),
        }
    }

    /// Both, at the same time where there are threads for it. To be called inside [`run`](Self::run).
    pub fn join<A: Send, B: Send>(
        &self,
        a: impl FnOnce() -> A + Send,
        b: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        match self.0 {
            Some(_) => rayon::join(a, b),
            None => (a(), b()),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    /// One task per item, results in the items' order; of several errors the first by order. To be called inside
    /// [`run`](Self::run).
    ///
    /// # Errors
    /// What a task says.
    pub fn map<I: Send, T: Send>(
        &self,
        items: Vec<I>,
        task: impl Fn(I) -> Result<T, LearnError> + Sync + Send,
    ) -> Result<Vec<T>, LearnError> {
        match self.0 {
            Some(_) => {
                let results = items.into_par_iter().with_max_len(1).map(task);
                results.collect::<Vec<_>>().into_iter().collect()
            }
            None => items.into_iter().map(task).collect(),
        }
    }
}

/// Both, at the same time where this runs on [`Threads`]; one after the other where it does not.
pub fn side_by_side<A: Send, B: Send>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    // Outside of a pool rayon would take one of the machine's size.
    if rayon::current_thread_index().is_some() { rayon::join(a, b) } else { (a(), b()) }
}
