//! An actor's end of the link: brings finished episodes to the learner, and fetches policies.
//!
//! One thread does both, so that whoever acts never waits for a network. What is finished goes to the spool on this disk first.
//! Without a learner nothing is lost and nothing hangs: the newest policy that came whole goes on acting, until the spool is full.

mod link_thread;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use surefoot_core::clock::{Stopwatch, unix_time};
use surefoot_core::{EnvSpec, Episode};

use super::fetched::{ActingPolicy, LastGood};
use super::ledger::POLICY_VERSION;
use super::shipment::{Shipment, SpoolId};
use super::spool::{Spool, SpoolError};
use super::wire::{Manifest, Refusal, Welcome, is_name};
use crate::session::{Endpoints, Purpose, SessionConfig, SessionError};

/// Who acts, and where.
#[derive(Clone, Debug)]
pub struct ActorConfig {
    /// The learner, or a router.
    pub endpoints: Endpoints,
    /// First part of every key.
    pub namespace: String,
    /// The run, where more than one learner may answer.
    pub run: Option<String>,
    /// The actor's name.
    pub name: String,
    /// Where finished episodes wait.
    pub spool: PathBuf,
    /// Bytes of finished episodes that may wait.
    pub max_spool_bytes: u64,
    /// What it sees and does; `None` where it is to act in the learner's own world.
    pub spec: Option<EnvSpec>,
}

impl ActorConfig {
    fn session(&self) -> SessionConfig {
        SessionConfig::new(self.endpoints.clone(), Purpose::Bulk)
    }
}

/// Why an actor cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActorError {
    /// A name that cannot stand in a key.
    #[error("{what}: expected 1 to 64 letters, digits, `-`, `_` and `.`, found {found:?}")]
    Name {
        /// Which name.
        what: &'static str,
        /// What was given.
        found: String,
    },
    /// No session could be opened that way, whoever listens.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Situation {
    /// Whether the learner answers.
    pub connected: bool,
    /// What the learner said when it took this actor in.
    pub welcome: Option<Welcome>,
    /// Why the learner does not take this actor: it cannot go on.
    pub refused: Option<Refusal>,
    /// Whether no episode shall be begun at present, because the learner has enough of them.
    pub hold: bool,
    /// Whether the learner needs nothing more.
    pub finished: bool,
    /// Episodes that wait for an acknowledgement, and their bytes.
    pub spooled: (u64, u64),
    /// Whether the spool has reached its bound.
    pub full: bool,
    /// Episodes that were acknowledged since this program began.
    pub acknowledged: u64,
    /// Of these, those that the learner had already.
    pub duplicates: u64,
    /// Episodes that were put aside because no learner takes them, ever.
    pub set_aside: u64,
    /// Version of the newest policy that came whole.
    pub policy_version: Option<u64>,
    /// What went wrong last, while it lasts.
    pub trouble: Option<String>,
}

struct State {
    situation: Situation,
    policy: Option<Arc<ActingPolicy>>,
    /// Counts every change, for those who wait for one.
    changes: u64,
    /// A manifest that was put by the learner.
    news: Option<Manifest>,
    ending: bool,
}

struct Shared {
    config: ActorConfig,
    instance: SpoolId,
    state: Mutex<State>,
    changed: Condvar,
    spool: Mutex<Spool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked has left whole values: each is changed by one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn tell(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        change(&mut state);
        state.changes += 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Writes down how full the spool is.
    fn look_at_spool(&self) {
        let spool = lock(&self.spool);
        let (spooled, full) = ((spool.len() as u64, spool.bytes()), spool.is_full());
        let set_aside = spool.refused() as u64;
        drop(spool);
        self.tell(|state| {
            state.situation.spooled = spooled;
            state.situation.full = full;
            state.situation.set_aside = set_aside;
        });
    }

    fn ending(&self) -> bool {
        lock(&self.state).ending
    }
}

/// An actor's link to its learner.
pub struct ActorLink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    notes: Vec<String>,
}

/// Numbers that no two programs share, for a spool or an instance.
pub(crate) fn fresh_id(purpose: &str) -> SpoolId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(purpose.as_bytes());
    hasher.update(&unix_time().as_nanos().to_le_bytes());
    hasher.update(&std::process::id().to_le_bytes());
    hasher.update(&std::fs::read("/etc/machine-id").unwrap_or_default());
    // Containers may share all of the above.
    let state = std::hash::RandomState::new();
    hasher.update(&std::hash::BuildHasher::hash_one(&state, purpose).to_le_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    SpoolId(id)
}

impl ActorLink {
    /// Opens the spool and begins to look for the learner. A policy that an earlier program fetched acts at once.
    ///
    /// # Errors
    /// When a name or an endpoint cannot be used, or the spool is in use, another actor's, or cannot be read.
    pub fn start(config: ActorConfig) -> Result<Self, ActorError> {
        for (what, name) in [("--namespace", &config.namespace), ("--name", &config.name)]
            .into_iter()
            .chain(config.run.as_ref().map(|run| ("--run", run)))
        {
            if !is_name(name) {
                return Err(ActorError::Name { what, found: name.clone() });
            }
        }
        config.session().check()?;
        let spool = Spool::open(&config.spool, &config.name, config.max_spool_bytes, fresh_id("spool"))?;
        let mut notes = Vec::new();
        let mended = spool.mended();
        if mended.damaged > 0 {
            notes.push(format!(
                "{} damaged episodes were put aside in {}",
                mended.damaged,
                config.spool.join("refused").display()
            ));
        }
        let kept = LastGood::at(&config.spool);
        let (policy, welcome) = match kept.read() {
            Ok(Some((policy, welcome))) => (Some(Arc::new(policy)), Some(welcome)),
            Ok(None) => (None, None),
            Err(e) => {
                notes.push(format!("the policy of an earlier program cannot be used: {e}"));
                (None, None)
            }
        };
        let situation = Situation {
            policy_version: policy.as_ref().map(|policy| policy.version),
            welcome,
            ..Situation::default()
        };
        let state = State { situation, policy, changes: 0, news: None, ending: false };
        let shared = Arc::new(Shared {
            instance: fresh_id("instance"),
            config,
            state: Mutex::new(state),
            changed: Condvar::new(),
            spool: Mutex::new(spool),
        });
        shared.look_at_spool();
        let linked = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("fleet-link".into())
            .spawn(move || link_thread::run(&linked, kept))
            .map_err(ActorError::Thread)?;
        Ok(Self { shared, thread: Some(thread), notes })
    }

    /// What was found and mended at the beginning.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
    /// How things stand.
    #[must_use]
    pub fn situation(&self) -> Situation {
        lock(&self.shared.state).situation.clone()
    }
    /// The newest policy that came whole.
    #[must_use]
    pub fn policy(&self) -> Option<Arc<ActingPolicy>> {
        lock(&self.shared.state).policy.clone()
    }
    /// The spool's id, a part of what an episode's randomness comes from.
    #[must_use]
    pub fn spool_id(&self) -> SpoolId {
        lock(&self.shared.spool).id()
    }
    /// Number of the next episode.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        lock(&self.shared.spool).next_number()
    }

    /// Waits, at most so long, until something has changed since `seen`, which is set to the count of changes.
    pub fn wait(&self, seen: &mut u64, at_most: Duration) {
        let since = Stopwatch::start();
        let mut state = lock(&self.shared.state);
        while state.changes == *seen && since.elapsed() < at_most {
            let left = at_most.saturating_sub(since.elapsed());
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *seen = state.changes;
    }

    /// Keeps a finished episode; its attribute `policy_version` says who drove it. When this returns, it is on this disk.
    ///
    /// # Errors
    /// When it could not be written; it may be given again.
    pub fn push(&self, episode: &Episode) -> Result<u64, SpoolError> {
        let mut episode = episode.clone();
        let version = episode.attributes.remove(POLICY_VERSION).and_then(|text| text.parse().ok());
        let mut spool = lock(&self.shared.spool);
        let number = spool.next_number();
        let shipment = Shipment {
            actor: self.shared.config.name.clone(),
            spool: spool.id(),
            number,
            policy_version: version.unwrap_or(0),
            episode,
        };
        let pushed = spool.push(&shipment);
        drop(spool);
        self.shared.look_at_spool();
        pushed.map(|()| number)
    }

    /// Waits, at most so long, until nothing is left in the spool; whether that is so.
    #[must_use]
    pub fn drain(&self, at_most: Duration) -> bool {
        let since = Stopwatch::start();
        let mut state = lock(&self.shared.state);
        while state.situation.spooled.0 > 0 {
            let left = at_most.saturating_sub(since.elapsed());
            if left.is_zero() || state.situation.refused.is_some() {
                return false;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Ends the thread between two of its questions; what was not acknowledged stays in the spool.
impl Drop for ActorLink {
    fn drop(&mut self) {
        self.shared.tell(|state| state.ending = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Where an actor keeps what it needs to go on without a learner.
#[must_use]
pub fn kept_policy_directory(spool: &Path) -> PathBuf {
    spool.join("policy")
}
