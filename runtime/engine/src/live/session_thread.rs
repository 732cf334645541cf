//! A session on a thread of its own, so that a learner never keeps a robot waiting, nor a robot a learner.
//!
//! Orders and policies are taken in the order in which they were given. Without an order the robot holds still: a learner that
//! has died or hangs leaves a robot that stands, however long it takes.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::Interrupt;
use crate::control::Versioned;
use crate::live::config::{LiveClock, LiveConfig};
use crate::live::error::LiveError;
use crate::live::running_loop::LoopEnd;
use crate::live::session::{Driven, Order, Session, SessionParts};

/// Between two looks at a person's wish to end, while waiting.
const LOOK: Duration = Duration::from_millis(50);

enum Word {
    Policy(Versioned),
    Order(Order),
}

/// The thread, and the two queues to it.
pub struct SessionThread {
    words: Option<Sender<Word>>,
    news: Receiver<Result<Driven, LiveError>>,
    end: Interrupt,
    thread: Option<JoinHandle<LoopEnd>>,
    outstanding: usize,
}

impl SessionThread {
    /// Starts the robot's control loop, idle, and a thread beside it.
    ///
    /// # Errors
    /// When robot, task and settings do not fit together, or the system gives no thread.
    pub fn start(parts: SessionParts, config: &LiveConfig, first: Versioned) -> Result<Self, LiveError> {
        let session = Session::new(parts, config, first)?;
        let (words, orders) = channel();
        let (telling, news) = channel();
        let end = Interrupt::new();
        let asked = end.clone();
        // On simulated time nothing happens between two orders.
        let looks_on = config.clock == LiveClock::Real;
        let thread = std::thread::Builder::new()
            .name("session".into())
            .spawn(move || work(session, &orders, &telling, &asked, looks_on))
            .map_err(|source| LiveError::Thread { source })?;
        Ok(Self { words: Some(words), news, end, thread: Some(thread), outstanding: 0 })
    }

    /// A policy for the orders that follow.
    pub fn offer(&self, policy: Versioned) {
        self.say(Word::Policy(policy));
    }

    /// An episode to be driven when those before it are done.
    pub fn order(&mut self, order: Order) {
        self.outstanding += 1;
        self.say(Word::Order(order));
    }

    /// Orders that nothing has come of yet.
    #[must_use]
    pub const fn outstanding(&self) -> usize {
        self.outstanding
    }

    fn say(&self, word: Word) {
        if let Some(words) = &self.words {
            // A session that has ended has told why.
            let _ = words.send(word);
        }
    }

    /// What came of the oldest order, if anything has yet.
    ///
    /// # Errors
    /// What the session says; it has ended then.
    pub fn try_next(&mut self) -> Result<Option<Driven>, LiveError> {
        match self.news.try_recv() {
            Ok(news) => self.told(news).map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(LiveError::Ended),
        }
    }

    /// Waits for what comes of the oldest order. [`Driven::Interrupted`] when asked to end meanwhile.
    ///
    /// # Errors
    /// What the session says; it has ended then.
    pub fn next(&mut self, interrupt: &Interrupt) -> Result<Driven, LiveError> {
        loop {
            match self.news.recv_timeout(LOOK) {
                Ok(news) => return self.told(news),
                Err(RecvTimeoutError::Timeout) if interrupt.requested() => return Ok(Driven::Interrupted),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(LiveError::Ended),
            }
        }
    }

    fn told(&mut self, news: Result<Driven, LiveError>) -> Result<Driven, LiveError> {
        let unordered = matches!(&news, Ok(Driven::Episodes { ordered, .. }) if ordered.is_empty());
        self.outstanding = self.outstanding.saturating_sub(usize::from(!unordered));
        news
    }

    /// Brings the robot to rest and ends the thread. Gives how the loop ended (`None` when the thread panicked: the control loop
    /// brought the robot to rest then) and what nobody has taken yet.
    #[must_use]
    pub fn stop(&mut self) -> (Option<LoopEnd>, Vec<Driven>) {
        let end = self.finish();
        (end, self.news.try_iter().filter_map(Result::ok).collect())
    }

    fn finish(&mut self) -> Option<LoopEnd> {
        self.end.request();
        self.words = None;
        self.thread.take()?.join().ok()
    }
}

/// Whatever ends the program's interest in a robot, the robot is brought to rest first.
impl Drop for SessionThread {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

fn work(
    mut session: Session,
    orders: &Receiver<Word>,
    telling: &Sender<Result<Driven, LiveError>>,
    end: &Interrupt,
    looks_on: bool,
) -> LoopEnd {
    while !end.requested() && !session.quit() {
        let word =
            if looks_on { orders.try_recv() } else { orders.recv().map_err(|_| TryRecvError::Disconnected) };
        let news = match word {
            Ok(Word::Policy(policy)) => {
                // A full ring means that nothing was driven since; then the newest that came through is used.
                let _ = session.offer(policy);
                continue;
            }
            Ok(Word::Order(order)) => session.drive(&order, end),
            Err(TryRecvError::Empty) => match session.rest() {
                Ok(()) => continue,
                Err(error) => Err(error),
            },
            Err(TryRecvError::Disconnected) => break,
        };
        let over = !matches!(news, Ok(Driven::Episodes { .. }));
        if telling.send(news).is_err() || over {
            break;
        }
    }
    if let Err(error) = session.finish() {
        // A learner that is gone hears nothing; the recording then says that it is not complete.
        let _ = telling.send(Err(error));
    }
    if session.quit() {
        let _ = telling.send(Ok(Driven::Interrupted));
    }
    session.close()
}
