//! The thread that goes between an actor and its learner: finds it, brings it the oldest episode, fetches its policy, one thing at a
//! time.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use surefoot_core::clock::Stopwatch;
use zenoh::qos::Priority;
use zenoh::{Session, Wait};

use super::{Shared, lock};
use crate::fleet::ask::{AskError, ask, zenoh_error};
use crate::fleet::fetched::{FetchError, LastGood, fetch};
use crate::fleet::shipment::{ContentHash, SpoolId};
use crate::fleet::spool::Spooled;
use crate::fleet::wire::{
    CHUNK_BYTES, Chunk, Hello, JoinReply, Keys, Manifest, PROTOCOL, Refusal, UploadAnswer, UploadReply,
    is_name, read_message,
};
use crate::session::SessionError;

/// How long a learner may take for an answer: it brings an episode to its disk first.
const ANSWER: Duration = Duration::from_secs(10);
/// Between two attempts after a failure: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Between two looks at the manifest, where nothing else is said.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Works until the actor ends, or the learner does not take it.
pub(super) fn run(shared: &Arc<Shared>, kept: LastGood) {
    Work { shared, kept, joined: None, backoff: BACKOFF.0 }.work();
}

/// A learner that has taken this actor in.
struct Joined {
    session: Session,
    keys: Keys,
    max_episode_bytes: u64,
    manifest: Manifest,
    /// Sequence of the newest manifest that is known to exist.
    newest: u64,
    asked: Stopwatch,
    /// The policy that could not be fetched, so that it is not tried again at once.
    failed: Option<(ContentHash, Stopwatch)>,
    _token: zenoh::liveliness::LivelinessToken,
    _news: zenoh::pubsub::Subscriber<()>,
}

/// What went wrong in a turn.
enum Setback {
    /// The learner does not answer.
    Gone(String),
    /// It answers, and something else is wrong.
    Trouble(String),
    /// It does not know this program: it is another program of the learner.
    JoinFirst,
}

impl From<SessionError> for Setback {
    fn from(error: SessionError) -> Self {
        Self::Gone(error.to_string())
    }
}

impl From<AskError> for Setback {
    fn from(error: AskError) -> Self {
        Self::Gone(error.to_string())
    }
}

struct Work<'a> {
    shared: &'a Arc<Shared>,
    kept: LastGood,
    joined: Option<Joined>,
    backoff: Duration,
}

impl Work<'_> {
    fn work(&mut self) {
        while !self.shared.ending() {
            match self.turn() {
                Ok(busy) => {
                    self.backoff = BACKOFF.0;
                    if lock(&self.shared.state).situation.trouble.is_some() {
                        self.shared.tell(|state| state.situation.trouble = None);
                    }
                    if !busy {
                        self.rest(HEARTBEAT);
                    }
                }
                Err(setback) => {
                    let gone = matches!(setback, Setback::Gone(_));
                    let reason = match setback {
                        Setback::Gone(reason) | Setback::Trouble(reason) => Some(reason),
                        Setback::JoinFirst => None,
                    };
                    if gone || reason.is_none() {
                        self.joined = None;
                    }
                    self.shared.tell(|state| {
                        state.situation.connected &= !gone;
                        state.situation.trouble = reason;
                    });
                    self.rest(self.backoff);
                    self.backoff = (2 * self.backoff).min(BACKOFF.1);
                }
            }
            if lock(&self.shared.state).situation.refused.is_some() {
                return;
            }
        }
    }

    /// Waits until there is something to do, but not for ever.
    fn rest(&self, at_most: Duration) {
        let since = Stopwatch::start();
        let mut state = lock(&self.shared.state);
        let (spooled, connected) = (state.situation.spooled.0, self.joined.is_some());
        while since.elapsed() < at_most
            && !state.ending
            && !(connected && (state.situation.spooled.0 != spooled || state.news.is_some()))
        {
            let left = at_most.saturating_sub(since.elapsed());
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// One thing at a time; whether there may be more to do at once.
    fn turn(&mut self) -> Result<bool, Setback> {
        let Some(joined) = &mut self.joined else {
            self.join()?;
            return Ok(true);
        };
        let news = lock(&self.shared.state).news.take();
        let present = &joined.manifest;
        let of_it = |news: &Manifest| news.learner == present.learner && news.sequence > present.sequence;
        if let Some(news) = news.filter(of_it) {
            joined.newest = joined.newest.max(news.sequence);
            joined.take(news, self.shared);
        }
        if joined.newest > joined.manifest.sequence || joined.asked.elapsed() >= HEARTBEAT {
            let key = joined.keys.manifest();
            let reply = ask(&joined.session, "the manifest", &key, Vec::new(), Priority::Data, ANSWER)?;
            let manifest: Manifest =
                read_message("manifest", &reply).map_err(|e| Setback::Trouble(e.to_string()))?;
            joined.asked = Stopwatch::start();
            if manifest.learner != joined.manifest.learner {
                return Err(Setback::JoinFirst);
            }
            joined.newest = manifest.sequence;
            joined.take(manifest, self.shared);
        }
        if joined.fetch_policy(self.shared, &self.kept)? {
            return Ok(true);
        }
        joined.bring_oldest(self.shared)
    }

    /// Finds the learner and introduces this actor.
    fn join(&mut self) -> Result<(), Setback> {
        let Shared { config, instance, .. } = &**self.shared;
        let (session, _) = config.session().open()?;
        let spool = lock(&self.shared.spool);
        let (spool_id, spooled) = (spool.id(), spool.len() as u64);
        let bound = spool.run().filter(|_| spooled > 0).map(ToOwned::to_owned);
        drop(spool);
        let architecture_hash = lock(&self.shared.state).policy.as_ref().map(|p| p.architecture_hash.clone());
        let hello = Hello {
            protocol: PROTOCOL,
            actor: config.name.clone(),
            spool: spool_id.to_string(),
            instance: instance.to_string(),
            spec: config.spec.clone(),
            architecture_hash,
            run: bound.clone(),
            spooled,
        };
        let hello = serde_json::to_vec(&hello).unwrap_or_default();
        // An actor that holds episodes of a run looks for its learner, whoever else is there.
        let run = config.run.clone().or(bound);
        let keys = Keys::new(&config.namespace, run.as_deref().unwrap_or("*"));
        let runs = answering_runs(&session, &keys, &config.namespace)?;
        let run = match runs.as_slice() {
            [run] => run.clone(),
            [] => return Err(Setback::Gone("no learner answers".into())),
            several => {
                return Err(Setback::Trouble(format!(
                    "{} learners answer: {}\n\nhint: say which with `--run`",
                    several.len(),
                    several.join(", ")
                )));
            }
        };
        let keys = Keys::new(&config.namespace, &run);
        let token = session
            .liveliness()
            .declare_token(keys.live_actor(&config.name, *instance))
            .wait()
            .map_err(zenoh_error("declaring a token"))?;
        let hears = Arc::clone(self.shared);
        let news = session
            .declare_subscriber(keys.manifest())
            .callback(move |sample| {
                if let Ok(manifest) = read_message::<Manifest>("manifest", &sample.payload().to_bytes()) {
                    hears.tell(|state| state.news = Some(manifest));
                }
            })
            .wait()
            .map_err(zenoh_error("declaring a subscriber"))?;
        let reply = ask(&session, "the introduction", &keys.join(), hello, Priority::Data, ANSWER)?;
        let reply: JoinReply = read_message("reply", &reply).map_err(|e| Setback::Trouble(e.to_string()))?;
        let welcome = match reply {
            JoinReply::Welcome(welcome) => *welcome,
            JoinReply::Refused(refusal) if refusal.passing => {
                return Err(Setback::Trouble(refusal.to_string()));
            }
            JoinReply::Refused(refusal) => {
                self.shared.tell(|state| state.situation.refused = Some(refusal));
                return Ok(());
            }
        };
        let mut spool = lock(&self.shared.spool);
        let bound = spool.bind(&welcome.run);
        spool.skip_to(welcome.next_number);
        drop(spool);
        if let Err(e) = bound {
            let refusal = Refusal {
                what: "run of the spooled episodes".into(),
                expected: welcome.run,
                found: e.to_string(),
                hint: "give it a new spool".into(),
                passing: false,
            };
            self.shared.tell(|state| state.situation.refused = Some(refusal));
            return Ok(());
        }
        let manifest = welcome.manifest.clone();
        let mut joined = Joined {
            session,
            keys,
            max_episode_bytes: welcome.max_episode_bytes,
            newest: manifest.sequence,
            manifest: Manifest::default(),
            asked: Stopwatch::start(),
            failed: None,
            _token: token,
            _news: news,
        };
        self.shared.tell(|state| {
            state.situation.connected = true;
            state.situation.trouble = None;
            let before = state.situation.welcome.replace(welcome);
            let run = state.situation.welcome.as_ref().map(|welcome| welcome.run.as_str());
            if before.is_some_and(|before| Some(before.run.as_str()) != run) {
                // What was kept of another run does not act for this one.
                state.policy = None;
                state.situation.policy_version = None;
            }
            state.news = None;
        });
        joined.take(manifest, self.shared);
        self.joined = Some(joined);
        Ok(())
    }
}

/// The runs whose learners answer, by the keys that they answer under.
fn answering_runs(session: &Session, keys: &Keys, namespace: &str) -> Result<Vec<String>, AskError> {
    let key = keys.manifest();
    let replies = session
        .get(&key)
        .target(zenoh::query::QueryTarget::All)
        .timeout(ANSWER)
        .wait()
        .map_err(zenoh_error("asking"))?;
    let mut runs = Vec::new();
    while let Ok(reply) = replies.recv() {
        let Ok(sample) = reply.result() else { continue };
        let parts =
            sample.key_expr().as_str().strip_prefix(namespace).and_then(|k| k.strip_prefix("/fleet/"));
        if let Some(run) = parts.and_then(|parts| parts.split('/').next()).filter(|run| is_name(run))
            && !runs.iter().any(|known| known == run)
        {
            runs.push(run.to_owned());
        }
    }
    runs.sort();
    Ok(runs)
}

impl Joined {
    /// Does from here on what a manifest says.
    fn take(&mut self, manifest: Manifest, shared: &Shared) {
        let (hold, finished) = (manifest.hold, manifest.finished);
        self.manifest = manifest;
        shared.tell(|state| {
            state.situation.hold = hold;
            state.situation.finished = finished;
        });
    }

    /// Fetches the policy of the manifest, where it is not the one that is here; whether something was done.
    fn fetch_policy(&mut self, shared: &Shared, kept: &LastGood) -> Result<bool, Setback> {
        let Some(entry) = self.manifest.policy.clone() else { return Ok(false) };
        let present = lock(&shared.state).policy.clone();
        if present.as_ref().is_some_and(|present| present.is(&entry)) {
            return Ok(false);
        }
        let address = ContentHash::from_hex(&entry.policy.blake3);
        let again =
            self.failed.is_none_or(|(hash, since)| Some(hash) != address || since.elapsed() >= BACKOFF.1);
        if !again {
            return Ok(false);
        }
        let (session, keys) = (&self.session, &self.keys);
        let get = |hash: ContentHash, offset: u64, length: u64| {
            let key = format!("{}?off={offset};len={length}", keys.blob(hash));
            ask(session, "a policy", &key, Vec::new(), Priority::Background, ANSWER)
        };
        match fetch(&entry, present.as_deref(), &get) {
            Ok(policy) => {
                let welcome = lock(&shared.state).situation.welcome.clone();
                // Not to have it after a restart is better than not to act with it now.
                let stored = welcome.map_or(Ok(()), |welcome| kept.write(&policy, &welcome));
                let policy = Arc::new(policy);
                shared.tell(|state| {
                    state.situation.policy_version = Some(policy.version);
                    // The one before is dropped here, not where somebody acts with it: they have their own hold of it.
                    state.policy = Some(policy);
                });
                self.failed = None;
                stored.map_err(|e| Setback::Trouble(format!("a policy could not be kept: {e}")))?;
                Ok(true)
            }
            Err(FetchError::Link(e)) if matches!(e, AskError::Silent { .. }) => Err(e.into()),
            Err(e) => {
                self.failed = address.map(|hash| (hash, Stopwatch::start()));
                // A policy that was taken off the shelf meanwhile is in no manifest any more.
                self.newest = self.newest.max(self.manifest.sequence + 1);
                Err(Setback::Trouble(format!("the policy before goes on acting: {e}")))
            }
        }
    }

    /// Brings the oldest episode to the learner; whether there was one.
    fn bring_oldest(&mut self, shared: &Shared) -> Result<bool, Setback> {
        let spool = lock(&shared.spool);
        let (oldest, waiting, id) = (spool.oldest(), spool.len(), spool.id());
        drop(spool);
        let spooled = oldest.map_err(|e| Setback::Trouble(e.to_string()))?;
        let Some(Spooled { number, bytes, hash }) = spooled else { return Ok(false) };
        let answer = if bytes.len() as u64 > self.max_episode_bytes {
            UploadAnswer::Refused(Refusal {
                what: "episode size".into(),
                expected: format!("at most {} bytes", self.max_episode_bytes),
                found: format!("{} bytes", bytes.len()),
                hint: "raise --max-episode-mib of `surefoot learn`, or make episodes shorter".into(),
                passing: false,
            })
        } else {
            self.upload(shared, id, number, &bytes, hash, waiting)?
        };
        let mut spool = lock(&shared.spool);
        let done = match &answer {
            UploadAnswer::Kept { .. } => spool.acknowledged(number),
            UploadAnswer::Refused(refusal) => spool.refuse(number, &refusal.to_string()),
            _ => Ok(()),
        };
        drop(spool);
        match answer {
            UploadAnswer::Kept { duplicate, .. } => shared.tell(|state| {
                state.situation.acknowledged += 1;
                state.situation.duplicates += u64::from(duplicate);
            }),
            UploadAnswer::Later { reason } => {
                return Err(Setback::Trouble(format!("the learner cannot keep episodes: {reason}")));
            }
            UploadAnswer::JoinFirst => return Err(Setback::JoinFirst),
            UploadAnswer::Refused(_) | UploadAnswer::Next { .. } => {}
        }
        shared.look_at_spool();
        done.map_err(|e| Setback::Trouble(e.to_string()))?;
        Ok(true)
    }

    /// Sends the chunks that the learner asks for, until it says what came of the whole.
    fn upload(
        &mut self,
        shared: &Shared,
        spool: SpoolId,
        number: u64,
        bytes: &[u8],
        hash: ContentHash,
        waiting: usize,
    ) -> Result<UploadAnswer, Setback> {
        let chunks: Vec<&[u8]> = bytes.chunks(CHUNK_BYTES as usize).collect();
        let mut index = 0;
        // Each chunk may be asked for a second time, after a learner came back; not for ever.
        for _ in 0..4 * chunks.len() + 4 {
            let Some(part) = chunks.get(index as usize) else {
                return Err(Setback::Trouble(format!(
                    "the learner asks for chunk {index} of {}",
                    chunks.len()
                )));
            };
            let chunk = Chunk {
                spool,
                instance: shared.instance,
                number,
                hash,
                total: bytes.len() as u64,
                index,
                spooled: u32::try_from(waiting).unwrap_or(u32::MAX),
                bytes: part,
            };
            let key = self.keys.chunk(&shared.config.name, number, index);
            let reply = ask(&self.session, "an episode", &key, chunk.encode(), Priority::DataLow, ANSWER)?;
            let UploadReply { answer, sequence } =
                read_message("reply", &reply).map_err(|e| Setback::Trouble(e.to_string()))?;
            self.newest = self.newest.max(sequence);
            match answer {
                UploadAnswer::Next { chunk } => index = chunk,
                other => return Ok(other),
            }
        }
        Err(Setback::Trouble(format!("the learner asks again and again for episode {number}")))
    }
}
