//! The learner's end of the link: takes episodes in, hands policies out, and sees who is there.
//!
//! Two threads answer queries, one for episodes and one for policies, so that a disk that is slow never keeps a policy waiting.
//! zenoh's own threads only put queries into their queues.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use surefoot_core::clock::{Stopwatch, unix_time};
use surefoot_core::{ActorStatus, DataError, EnvSpec, Episode, EpisodeStore, Fleet, FleetError, PolicyOffer};
use zenoh::query::Query;
use zenoh::sample::SampleKind;
use zenoh::{Session, Wait};

use super::actor::fresh_id;
use super::ask::{AskError, zenoh_error};
use super::intake::{Intake, Terms};
use super::package::{architecture_hash, pack};
use super::shipment::{ContentHash, SpoolId};
use super::wire::{
    BLOB_CHUNK_BYTES, BlobRef, Hello, JoinReply, Keys, Manifest, PROTOCOL, PolicyEntry, Refusal, UploadReply,
    Welcome, is_name, read_message,
};
use crate::session::{Endpoints, Purpose, SessionConfig, SessionError};

/// Queries that wait to be answered, at most; others are dropped, and asked again by those who asked.
const QUERIES: usize = 1024;
/// How long a finished learner waits for actors to bring what they hold.
const LINGER: Duration = Duration::from_secs(10);

/// What a learner listens with.
#[derive(Clone, Debug)]
pub struct LearnerConfig {
    /// Where.
    pub endpoints: Endpoints,
    /// First part of every key.
    pub namespace: String,
    /// The run's name, a part of every key.
    pub run: String,
    /// What its policies see and do.
    pub spec: EnvSpec,
    /// The learner's world, for an actor's own program.
    pub task: serde_json::Value,
    /// Larger episodes are refused, bytes.
    pub max_episode_bytes: u64,
    /// Episodes that may wait to be learned from before actors are asked to hold.
    pub episodes_ahead: u64,
    /// Where the ledger is.
    pub ledger: PathBuf,
}

/// Why a learner cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnerError {
    /// A name that cannot stand in a key.
    #[error("{what}: expected 1 to 64 letters, digits, `-`, `_` and `.`, found {found:?}")]
    Name {
        /// Which name.
        what: &'static str,
        /// What was given.
        found: String,
    },
    /// The ledger or the store.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// zenoh.
    #[error(transparent)]
    Zenoh(#[from] AskError),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// What both threads and the learner look at.
#[derive(Default)]
struct Board {
    manifest: Manifest,
    blobs: BTreeMap<ContentHash, Arc<Vec<u8>>>,
    stored: u64,
    taken: u64,
    /// Instances that are there, by actor.
    there: BTreeMap<String, BTreeSet<SpoolId>>,
    trouble: Option<String>,
    ended: Option<String>,
}

struct Shared {
    keys: Keys,
    episodes_ahead: u64,
    task: serde_json::Value,
    board: Mutex<Board>,
    changed: Condvar,
    intake: Mutex<Intake>,
    session: Session,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked has left whole values: each is changed by one assignment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Changes the manifest, and tells actors where that changes what they shall do.
    fn change(&self, change: impl FnOnce(&mut Board)) {
        let mut board = lock(&self.board);
        let before = board.manifest.clone();
        change(&mut board);
        board.manifest.hold = board.stored.saturating_sub(board.taken) >= self.episodes_ahead;
        let changed = board.manifest != before;
        if changed {
            board.manifest.sequence = before.sequence + 1;
        }
        let manifest = changed.then(|| board.manifest.clone());
        drop(board);
        self.changed.notify_all();
        if let Some(manifest) = manifest {
            // Who misses it sees from the next answer that there is another one.
            let text = serde_json::to_vec(&manifest).unwrap_or_default();
            let _ = self.session.put(self.keys.manifest(), text).wait();
        }
    }

    fn sequence(&self) -> u64 {
        lock(&self.board).manifest.sequence
    }
}

/// A learner that listens.
pub struct LearnerLink {
    shared: Arc<Shared>,
    endpoints: Vec<String>,
    threads: Vec<(SyncSender<Asked>, JoinHandle<()>)>,
    /// Their ends: undeclared before the threads are waited for.
    declared: Option<Declared>,
}

/// What zenoh was told of, to be taken back at the end.
struct Declared {
    join: zenoh::query::Queryable<()>,
    chunks: zenoh::query::Queryable<()>,
    manifest: zenoh::query::Queryable<()>,
    blobs: zenoh::query::Queryable<()>,
    live: zenoh::pubsub::Subscriber<()>,
}

enum Asked {
    Join(Query),
    Chunk(Query),
    Manifest(Query),
    Blob(Query),
    /// Nothing: the thread is to end.
    End,
}

impl LearnerLink {
    /// Begins to listen. Episodes go into `store`.
    ///
    /// # Errors
    /// When a name cannot be used, the store or the ledger cannot be read, or nothing can be listened at.
    pub fn start(config: LearnerConfig, store: Box<dyn EpisodeStore>) -> Result<Self, LearnerError> {
        let LearnerConfig {
            endpoints,
            namespace,
            run,
            spec,
            task,
            max_episode_bytes,
            episodes_ahead,
            ledger,
        } = config;
        for (what, name) in [("namespace", &namespace), ("run", &run)] {
            if !is_name(name) {
                return Err(LearnerError::Name { what, found: name.clone() });
            }
        }
        let keys = Keys::new(&namespace, &run);
        let intake = Intake::open(Terms { run, spec, max_episode_bytes }, store, &ledger)?;
        let (session, endpoints) = SessionConfig::new(endpoints, Purpose::Bulk).open()?;
        let mut board = Board { stored: intake.stored(), ..Board::default() };
        board.manifest.learner = fresh_id("learner").to_string();
        let shared = Arc::new(Shared {
            keys,
            episodes_ahead: episodes_ahead.max(1),
            task,
            board: Mutex::new(board),
            changed: Condvar::new(),
            intake: Mutex::new(intake),
            session,
        });
        let mut link = Self { shared: Arc::clone(&shared), endpoints, threads: Vec::new(), declared: None };
        let episodes = link.work("fleet-episodes", Self::take_in)?;
        let policies = link.work("fleet-policies", Self::hand_out)?;
        let session = &shared.session;
        let queryable = |key: String, to: &SyncSender<Asked>, asked: fn(Query) -> Asked| {
            let to = to.clone();
            session
                .declare_queryable(key)
                .callback(move |query| {
                    // What finds no room is dropped, which its asker takes for silence.
                    let _ = to.try_send(asked(query));
                })
                .wait()
                .map_err(zenoh_error("declaring a queryable"))
        };
        let seen = Arc::clone(&shared);
        let live = session
            .liveliness()
            .declare_subscriber(shared.keys.live_actors())
            .history(true)
            .callback(move |sample| {
                let mut parts = sample.key_expr().as_str().rsplit('/');
                let instance = parts.next().and_then(SpoolId::from_hex);
                let (Some(instance), Some(actor)) = (instance, parts.next().filter(|name| is_name(name)))
                else {
                    return;
                };
                let mut board = lock(&seen.board);
                let there = board.there.entry(actor.to_owned()).or_default();
                match sample.kind() {
                    SampleKind::Put => there.insert(instance),
                    SampleKind::Delete => there.remove(&instance),
                };
                drop(board);
                seen.changed.notify_all();
            })
            .wait()
            .map_err(zenoh_error("declaring a subscriber"))?;
        link.declared = Some(Declared {
            live,
            join: queryable(shared.keys.join(), &episodes, Asked::Join)?,
            chunks: queryable(shared.keys.chunks(), &episodes, Asked::Chunk)?,
            manifest: queryable(shared.keys.manifest(), &policies, Asked::Manifest)?,
            blobs: queryable(shared.keys.blobs(), &policies, Asked::Blob)?,
        });
        Ok(link)
    }

    /// Where actors meet it: what it listens at, with ports, or else what it connects to.
    #[must_use]
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    fn work(&mut self, name: &str, answer: fn(&Shared, Asked)) -> Result<SyncSender<Asked>, LearnerError> {
        let (to, queries): (_, Receiver<Asked>) = sync_channel(QUERIES);
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let ended = Ended { shared: &shared };
                while let Ok(asked) = queries.recv() {
                    if matches!(asked, Asked::End) {
                        break;
                    }
                    answer(&shared, asked);
                }
                drop(ended);
            })
            .map_err(LearnerError::Thread)?;
        self.threads.push((to.clone(), thread));
        Ok(to)
    }

    fn take_in(shared: &Shared, asked: Asked) {
        match asked {
            Asked::Join(query) => {
                let reply = join(shared, &payload(&query));
                answer(&query, &shared.keys.join(), &reply);
            }
            Asked::Chunk(query) => {
                let key = query.key_expr().as_str().to_owned();
                // The key ends in: actor, its name, ep, number, chunk.
                let actor = key.rsplit('/').nth(3).unwrap_or_default();
                let message = payload(&query);
                let mut intake = lock(&shared.intake);
                let answered = intake.chunk(actor, &message);
                let stored = intake.stored();
                drop(intake);
                let trouble = match &answered {
                    super::wire::UploadAnswer::Later { reason } => Some(reason.clone()),
                    _ => None,
                };
                if lock(&shared.board).stored != stored || lock(&shared.board).trouble != trouble {
                    shared.change(|board| {
                        board.stored = stored;
                        board.trouble = trouble;
                    });
                }
                answer(&query, &key, &UploadReply { answer: answered, sequence: shared.sequence() });
            }
            Asked::Manifest(_) | Asked::Blob(_) | Asked::End => {}
        }
    }

    fn hand_out(shared: &Shared, asked: Asked) {
        match asked {
            Asked::Manifest(query) => {
                let manifest = lock(&shared.board).manifest.clone();
                answer(&query, &shared.keys.manifest(), &manifest);
            }
            Asked::Blob(query) => {
                let key = query.key_expr().as_str().to_owned();
                let hash = key.rsplit('/').next().and_then(ContentHash::from_hex);
                let blob = hash.and_then(|hash| lock(&shared.board).blobs.get(&hash).cloned());
                let number =
                    |name: &str| query.parameters().get(name).and_then(|text| text.parse::<u64>().ok());
                let (offset, length) =
                    (number("off").unwrap_or(0), number("len").unwrap_or(BLOB_CHUNK_BYTES));
                let range = |blob: &Arc<Vec<u8>>| {
                    let offset = usize::try_from(offset).ok()?;
                    let length = usize::try_from(length.min(BLOB_CHUNK_BYTES)).ok()?;
                    let end = offset.checked_add(length)?.min(blob.len());
                    blob.get(offset..end).map(<[u8]>::to_vec)
                };
                // Whoever asked and is gone hears nothing; an actor asks again.
                let _ = match blob.as_ref().and_then(range) {
                    Some(bytes) => query.reply(key, bytes).wait(),
                    None => query.reply_err("no such policy any more").wait(),
                };
            }
            Asked::Join(_) | Asked::Chunk(_) | Asked::End => {}
        }
    }
}

/// Notes that a thread has ended, also where it panicked: nobody shall wait for ever.
struct Ended<'a> {
    shared: &'a Shared,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        lock(&self.shared.board).ended = Some("the link to the actors has ended".into());
        self.shared.changed.notify_all();
    }
}

fn payload(query: &Query) -> Vec<u8> {
    query.payload().map(|payload| payload.to_bytes().into_owned()).unwrap_or_default()
}

fn answer(query: &Query, key: &str, message: &impl serde::Serialize) {
    let text = serde_json::to_vec(message).unwrap_or_default();
    // Whoever asked and is gone hears nothing; an actor asks again.
    let _ = query.reply(key, text).wait();
}

fn join(shared: &Shared, message: &[u8]) -> JoinReply {
    let hello: Hello = match read_message("hello", message) {
        Ok(hello) => hello,
        Err(e) => {
            return JoinReply::Refused(Refusal {
                what: "message".into(),
                expected: format!("a hello of protocol {PROTOCOL}"),
                found: e.to_string(),
                hint: "run the same version of surefoot on both sides".into(),
                passing: false,
            });
        }
    };
    let is_there = |actor: &str, instance: SpoolId| {
        lock(&shared.board).there.get(actor).is_some_and(|there| there.contains(&instance))
    };
    let mut intake = lock(&shared.intake);
    match intake.join(&hello, is_there) {
        Err(refusal) => JoinReply::Refused(refusal),
        Ok(next_number) => JoinReply::Welcome(Box::new(Welcome {
            protocol: PROTOCOL,
            run: intake.terms().run.clone(),
            spec: intake.terms().spec.clone(),
            task: shared.task.clone(),
            max_episode_bytes: intake.terms().max_episode_bytes,
            next_number,
            manifest: lock(&shared.board).manifest.clone(),
        })),
    }
}

impl Fleet for LearnerLink {
    fn stored(&self) -> u64 {
        lock(&self.shared.board).stored
    }

    fn wait_beyond(&mut self, count: u64, at_most: Duration) -> Result<bool, FleetError> {
        let since = Stopwatch::start();
        let mut board = lock(&self.shared.board);
        loop {
            if board.stored > count {
                return Ok(true);
            }
            if let Some(reason) = &board.ended {
                return Err(FleetError::Ended { reason: reason.clone() });
            }
            let left = at_most.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            let waited = self.shared.changed.wait_timeout(board, left);
            board = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn episode(&mut self, index: u64) -> Result<Episode, FleetError> {
        Ok(lock(&self.shared.intake).episode(index)?)
    }

    fn taken(&mut self, count: u64) {
        self.shared.change(|board| board.taken = count);
    }

    fn offer(&mut self, offer: PolicyOffer) -> Result<(), FleetError> {
        let PolicyOffer { version, policy, reference, terms, metrics } = offer;
        let packed =
            |artifact| pack(artifact).map_err(|e| FleetError::Offer { version, reason: e.to_string() });
        let (policy_bytes, policy_hash) = packed(&policy)?;
        let (reference_bytes, reference_hash) = packed(&reference)?;
        let architecture = architecture_hash(&policy.card);
        lock(&self.shared.intake).set_architecture(architecture.clone());
        let blob =
            |bytes: &[u8], hash: ContentHash| BlobRef { blake3: hash.to_string(), bytes: bytes.len() as u64 };
        let entry = PolicyEntry {
            version,
            policy: blob(&policy_bytes, policy_hash),
            reference: blob(&reference_bytes, reference_hash),
            architecture_hash: architecture,
            contract_hash: policy.card.spec.contract_hash.clone(),
            created_unix_secs: unix_time().as_secs_f64(),
            terms,
            metrics,
        };
        self.shared.change(|board| {
            // The one before stays: an actor may be in the middle of it.
            let before: Vec<ContentHash> = board.manifest.policy.iter().flat_map(blobs_of).collect();
            board.blobs.retain(|hash, _| before.contains(hash));
            board.blobs.insert(policy_hash, Arc::new(policy_bytes));
            board.blobs.insert(reference_hash, Arc::new(reference_bytes));
            board.manifest.policy = Some(entry);
        });
        Ok(())
    }

    fn actors(&self) -> Vec<ActorStatus> {
        let mut actors = lock(&self.shared.intake).actors();
        let board = lock(&self.shared.board);
        for actor in &mut actors {
            actor.connected = board.there.get(&actor.name).is_some_and(|there| !there.is_empty());
        }
        actors
    }

    fn trouble(&self) -> Option<String> {
        lock(&self.shared.board).trouble.clone()
    }

    fn finish(&mut self) {
        self.shared.change(|board| board.manifest.finished = true);
        let since = Stopwatch::start();
        let mut board = lock(&self.shared.board);
        while board.there.values().any(|there| !there.is_empty()) && since.elapsed() < LINGER {
            let left = LINGER.saturating_sub(since.elapsed());
            let waited = self.shared.changed.wait_timeout(board, left);
            board = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn blobs_of(entry: &PolicyEntry) -> impl Iterator<Item = ContentHash> + use<> {
    [ContentHash::from_hex(&entry.policy.blake3), ContentHash::from_hex(&entry.reference.blake3)]
        .into_iter()
        .flatten()
}

/// Ends the queues, answers what is in them, and closes the session.
impl Drop for LearnerLink {
    fn drop(&mut self) {
        if let Some(Declared { join, chunks, manifest, blobs, live }) = self.declared.take() {
            // A session that is gone needs no undeclaring.
            for queryable in [join, chunks, manifest, blobs] {
                let _ = queryable.undeclare().wait();
            }
            let _ = live.undeclare().wait();
        }
        for (to, thread) in self.threads.drain(..) {
            let _ = to.send(Asked::End);
            let _ = thread.join();
        }
        let _ = self.shared.session.close().wait();
    }
}
