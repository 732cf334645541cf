//! The learner's side of an upload, without any network: who may send, how chunks become an episode, and that each is kept once.
//!
//! An actor sends the chunks of its oldest episode one after the other and is told which comes next. It sends again whatever
//! was not answered, so every episode comes at least once; what was kept before is recognised by its content and by its number in
//! its actor's spool, so each is kept exactly once. An episode is acknowledged only when the store has it on the disk.

use std::collections::BTreeMap;
use std::path::Path;

use surefoot_core::clock::Stopwatch;
use surefoot_core::{ActorStatus, DataError, EnvSpec, Episode, EpisodeStore};

use super::ledger::{Ledger, RESERVED, line_of, stored};
use super::package::first_difference;
use super::shipment::{ContentHash, Shipment, SpoolId};
use super::wire::{CHUNK_BYTES, Chunk, Hello, PROTOCOL, Refusal, UploadAnswer, is_name};

/// Actors of a run, at most: each may have one episode in memory.
pub const MAX_ACTORS: usize = 256;

/// What a learner takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The run's name.
    pub run: String,
    /// What its policies see and do.
    pub spec: EnvSpec,
    /// Larger episodes are refused, bytes.
    pub max_episode_bytes: u64,
}

/// An episode of which chunks have come.
struct Assembly {
    spool: SpoolId,
    number: u64,
    hash: ContentHash,
    total: u64,
    bytes: Vec<u8>,
}

struct Actor {
    spool: SpoolId,
    instance: SpoolId,
    status: ActorStatus,
    newest: Option<Stopwatch>,
    assembly: Option<Assembly>,
}

/// Takes episodes in.
pub struct Intake {
    terms: Terms,
    store: Box<dyn EpisodeStore>,
    ledger: Ledger,
    actors: BTreeMap<String, Actor>,
    architecture_hash: Option<String>,
}

fn refusal(what: &str, expected: &dyn ToString, found: &dyn ToString, hint: &str) -> Refusal {
    Refusal {
        what: what.to_owned(),
        expected: expected.to_string(),
        found: found.to_string(),
        hint: hint.to_owned(),
        passing: false,
    }
}

impl Intake {
    /// Into this store, with its ledger at `ledger`.
    ///
    /// # Errors
    /// When the ledger or a stored episode cannot be read.
    pub fn open(terms: Terms, store: Box<dyn EpisodeStore>, ledger: &Path) -> Result<Self, DataError> {
        let ledger = Ledger::open(ledger, &*store)?;
        Ok(Self { terms, store, ledger, actors: BTreeMap::new(), architecture_hash: None })
    }

    /// What it takes.
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }
    /// Episodes kept.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.store.count()
    }
    /// A kept episode.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn episode(&self, index: u64) -> Result<Episode, DataError> {
        self.store.read(index)
    }
    /// Actors whose policy has another architecture are refused from here on.
    pub fn set_architecture(&mut self, hash: String) {
        self.architecture_hash = Some(hash);
    }

    /// The actors that ever joined.
    #[must_use]
    pub fn actors(&self) -> Vec<ActorStatus> {
        let status = |actor: &Actor| ActorStatus {
            idle_secs: actor.newest.map(|since| since.elapsed().as_secs_f64()),
            ..actor.status.clone()
        };
        self.actors.values().map(status).collect()
    }

    /// Takes an actor in, and gives the least number that no kept episode of its spool has. `is_there` tells whether the program of an
    /// instance is there.
    ///
    /// # Errors
    /// Why it is refused: the first difference.
    pub fn join(&mut self, hello: &Hello, is_there: impl Fn(&str, SpoolId) -> bool) -> Result<u64, Refusal> {
        let Hello { protocol, actor, spool, instance, spec, architecture_hash, run, spooled } = hello;
        if *protocol != PROTOCOL {
            let hint = "run the same version of surefoot on both sides";
            return Err(refusal("protocol", &PROTOCOL, &protocol, hint));
        }
        if !is_name(actor) {
            let expected = "1 to 64 letters, digits, `-`, `_` and `.`";
            return Err(refusal("actor name", &expected, &format!("{actor:?}"), "choose another `--name`"));
        }
        let (Some(spool), Some(instance)) = (SpoolId::from_hex(spool), SpoolId::from_hex(instance)) else {
            let hint = "use another spool directory";
            return Err(refusal("spool id", &"32 hexadecimal digits", &format!("{spool:?}"), hint));
        };
        if let Some((what, expected, found)) =
            spec.as_ref().and_then(|spec| first_difference(&self.terms.spec, spec))
        {
            let hint = "actor and learner must be of one robot contract and one task";
            return Err(refusal(&what, &expected, &found, hint));
        }
        if let (Some(ours), Some(theirs)) = (&self.architecture_hash, architecture_hash)
            && ours != theirs
        {
            let hint = "the actor kept a policy of another learner: give it a new spool";
            return Err(refusal("policy architecture hash", &ours, &theirs, hint));
        }
        if let Some(run) = run.as_ref().filter(|run| **run != self.terms.run && *spooled > 0) {
            let found = format!("{spooled} episodes for {run}");
            let hint = "connect it to the learner of that run, or give it a new spool";
            return Err(refusal("run of the spooled episodes", &self.terms.run, &found, hint));
        }
        let known = self.actors.get(actor);
        if let Some(other) = known.filter(|other| other.spool != spool && is_there(actor, other.instance)) {
            let found = format!("{actor}, which another actor is using (spool {})", other.spool);
            let hint = "choose another `--name`";
            return Err(refusal("actor name", &"one that nobody else is using", &found, hint));
        }
        if known.is_none() && self.actors.len() >= MAX_ACTORS {
            let (expected, found) = (format!("at most {MAX_ACTORS}"), "one more");
            return Err(refusal("actors of a run", &expected, &found, "begin another run"));
        }
        let status = ActorStatus {
            name: actor.clone(),
            spooled: *spooled,
            ..known.map(|known| known.status.clone()).unwrap_or_default()
        };
        let newest = known.and_then(|known| known.newest);
        self.actors.insert(actor.clone(), Actor { spool, instance, status, newest, assembly: None });
        Ok(self.ledger.next_number(actor, spool))
    }

    /// Takes in a chunk that was sent under an actor's name.
    pub fn chunk(&mut self, actor: &str, message: &[u8]) -> UploadAnswer {
        let Some(sender) = self.actors.get_mut(actor) else { return UploadAnswer::JoinFirst };
        let chunk = match Chunk::decode(message) {
            Ok(chunk) => chunk,
            Err(e) => {
                sender.status.refused += 1;
                let hint = "run the same version of surefoot on both sides";
                return UploadAnswer::Refused(refusal(&e.to_string(), &"a chunk", &"another message", hint));
            }
        };
        if (sender.spool, sender.instance) != (chunk.spool, chunk.instance) {
            return UploadAnswer::JoinFirst;
        }
        sender.status.spooled = u64::from(chunk.spooled);
        if let Some(index) = self.ledger.kept(chunk.hash) {
            sender.assembly = None;
            sender.status.duplicates += 1;
            return UploadAnswer::Kept { index, duplicate: true };
        }
        let max = self.terms.max_episode_bytes;
        if chunk.total > max {
            sender.status.refused += 1;
            let (expected, found) = (format!("at most {max} bytes"), format!("{} bytes", chunk.total));
            let hint = "raise --max-episode-mib of `surefoot learn`, or make episodes shorter";
            return UploadAnswer::Refused(refusal("episode size", &expected, &found, hint));
        }
        if self.ledger.of_origin(actor, chunk.spool, chunk.number).is_some() {
            sender.status.refused += 1;
            let what = format!("episode {} of this spool", chunk.number);
            let hint = "the spool was copied or restored: give the actor a new one";
            return UploadAnswer::Refused(refusal(&what, &"what was kept already", &"another content", hint));
        }
        let goes_on = sender.assembly.as_ref().is_some_and(|a| {
            (a.spool, a.number, a.hash, a.total) == (chunk.spool, chunk.number, chunk.hash, chunk.total)
        });
        if !goes_on {
            let Chunk { spool, number, hash, total, .. } = chunk;
            sender.assembly = Some(Assembly { spool, number, hash, total, bytes: Vec::new() });
        }
        let Some(assembly) = &mut sender.assembly else { return UploadAnswer::JoinFirst };
        let wanted = (assembly.bytes.len() as u64 / u64::from(CHUNK_BYTES)) as u32;
        if chunk.index != wanted {
            return UploadAnswer::Next { chunk: wanted };
        }
        assembly.bytes.extend_from_slice(chunk.bytes);
        if (assembly.bytes.len() as u64) < assembly.total {
            return UploadAnswer::Next { chunk: wanted + 1 };
        }
        let Some(Assembly { bytes, hash, .. }) = sender.assembly.take() else {
            return UploadAnswer::JoinFirst;
        };
        self.keep(actor, chunk.spool, chunk.number, hash, &bytes)
    }

    /// Keeps an episode whose chunks have all come.
    fn keep(
        &mut self,
        actor: &str,
        spool: SpoolId,
        number: u64,
        hash: ContentHash,
        bytes: &[u8],
    ) -> UploadAnswer {
        let Some(sender) = self.actors.get_mut(actor) else { return UploadAnswer::JoinFirst };
        let admitted = Shipment::decode(bytes).map_err(|e| {
            refusal(&e.to_string(), &"a whole episode", &"another content", "the spool may be damaged")
        });
        let admitted = admitted.and_then(|(shipment, found)| {
            let from = (shipment.actor.as_str(), shipment.spool, shipment.number, found);
            if from != (actor, spool, number, hash) {
                let hint = "the spool may be damaged";
                return Err(refusal("origin", &"the one that it was sent under", &"another", hint));
            }
            admit(&shipment, &self.terms.spec)?;
            Ok(shipment)
        });
        let shipment = match admitted {
            Ok(shipment) => shipment,
            Err(refusal) => {
                sender.status.refused += 1;
                return UploadAnswer::Refused(refusal);
            }
        };
        let version = shipment.policy_version;
        let episode = stored(shipment, hash);
        let index = self.store.count();
        match self.store.append(&episode) {
            Ok(()) => {}
            Err(e @ DataError::Io { .. }) => return UploadAnswer::Later { reason: e.to_string() },
            Err(e) => {
                sender.status.refused += 1;
                let hint = "it cannot be stored";
                return UploadAnswer::Refused(refusal(
                    &e.to_string(),
                    &"a storable episode",
                    &"another",
                    hint,
                ));
            }
        }
        let noted = line_of(index, &episode, Path::new("")).and_then(|line| self.ledger.append(&line));
        if let Err(e) = noted {
            // Every name and hash in it was written by this program.
            return UploadAnswer::Later { reason: e.to_string() };
        }
        sender.status.episodes += 1;
        sender.status.env_steps += episode.len() as u64;
        sender.status.policy_version = Some(version);
        sender.newest = Some(Stopwatch::start());
        UploadAnswer::Kept { index, duplicate: false }
    }
}

/// Refuses an episode that cannot be learned from.
fn admit(shipment: &Shipment, spec: &EnvSpec) -> Result<(), Refusal> {
    let Episode { observation, next_observation, action, proposed, reward, end, attributes, .. } =
        &shipment.episode;
    let steps = reward.len();
    let hint = "the actor's program made it: run the same version of surefoot on both sides";
    if steps == 0 {
        return Err(refusal("episode", &"at least one step", &"none", hint));
    }
    let (o, a) = (spec.observation_dim(), spec.action_dim());
    for (what, numbers, width) in [
        ("observation", observation, o),
        ("next observation", next_observation, o),
        ("action", action, a),
        ("proposed action", if proposed.is_empty() { action } else { proposed }, a),
        ("reward", reward, 1),
    ] {
        if numbers.len() != steps * width {
            let found = format!("{} numbers", numbers.len());
            return Err(refusal(what, &format!("{steps} rows of {width}"), &found, hint));
        }
        // What was proposed is not learned from; a policy that failed may have proposed anything.
        let learned = what != "proposed action";
        if let Some(i) = numbers.iter().position(|x| learned && !x.is_finite()) {
            let place = format!("{what}, step {}, number {}", i / width, i % width);
            return Err(refusal(&place, &"a finite number", &numbers[i], hint));
        }
    }
    if let Some(t) = end.iter().position(|end| end.is_last()).filter(|t| t + 1 != steps) {
        let expected = format!("an end at step {}", steps - 1);
        return Err(refusal("end", &expected, &format!("one at step {t}"), hint));
    }
    if !end.last().is_some_and(|end| end.is_last()) {
        return Err(refusal("end", &"terminated or truncated", &"running", hint));
    }
    if let Some(name) = RESERVED.iter().find(|name| attributes.contains_key(**name)) {
        return Err(refusal("attributes", &"none that the learner gives", &format!("{name:?}"), hint));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
