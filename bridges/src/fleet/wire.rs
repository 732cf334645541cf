//! What actors and learner say to each other, and under which keys.
//!
//! ```text
//! {namespace}/fleet/{run}/join                           query: Hello -> JoinReply
//! {namespace}/fleet/{run}/actor/{a}/ep/{number}/{chunk}  query: Chunk -> UploadReply; the reply is the acknowledgement
//! {namespace}/fleet/{run}/policy/manifest                query -> Manifest; put on every change
//! {namespace}/fleet/{run}/blob/blake3/{hex}?off=..;len=..  query -> bytes of a policy
//! {namespace}/fleet/{run}/@live/{role}/{id}/{instance}   liveliness: who is there (no watchdog)
//! ```
//! Messages are JSON, but for chunks and blobs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use surefoot_core::EnvSpec;

use super::bytes::{DecodeError, Reader};
use super::shipment::{ContentHash, SpoolId};

/// Version of this protocol: both sides must have the same.
pub const PROTOCOL: u32 = 1;
/// A longer JSON message is refused unread.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// Bytes of an episode in one query.
pub const CHUNK_BYTES: u32 = 1 << 19;
/// Bytes of a policy in one reply.
pub const BLOB_CHUNK_BYTES: u64 = 1 << 19;
/// A larger policy is not fetched.
pub const MAX_BLOB_BYTES: u64 = 1 << 30;

/// The keys of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    root: String,
}

impl Keys {
    /// Under a prefix that laboratories do not share.
    #[must_use]
    pub fn new(namespace: &str, run: &str) -> Self {
        Self { root: format!("{namespace}/fleet/{run}") }
    }
    /// Where actors introduce themselves.
    #[must_use]
    pub fn join(&self) -> String {
        format!("{}/join", self.root)
    }
    /// Where a chunk of an episode goes.
    #[must_use]
    pub fn chunk(&self, actor: &str, number: u64, index: u32) -> String {
        format!("{}/actor/{actor}/ep/{number}/{index}", self.root)
    }
    /// All chunks of all episodes.
    #[must_use]
    pub fn chunks(&self) -> String {
        format!("{}/actor/*/ep/*/*", self.root)
    }
    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> String {
        format!("{}/policy/manifest", self.root)
    }
    /// A policy.
    #[must_use]
    pub fn blob(&self, hash: ContentHash) -> String {
        format!("{}/blob/blake3/{hash}", self.root)
    }
    /// All policies.
    #[must_use]
    pub fn blobs(&self) -> String {
        format!("{}/blob/blake3/*", self.root)
    }
    /// An actor's token.
    #[must_use]
    pub fn live_actor(&self, actor: &str, instance: SpoolId) -> String {
        format!("{}/@live/actor/{actor}/{instance}", self.root)
    }
    /// All actors' tokens.
    #[must_use]
    pub fn live_actors(&self) -> String {
        format!("{}/@live/actor/*/*", self.root)
    }
}

/// Whether a name can stand in a key: letters, digits, `-`, `_` and `.`, and not too many of them.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// An actor introduces itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Its name.
    pub actor: String,
    /// Its spool: the same one is the same actor, come back.
    pub spool: String,
    /// This program of it.
    pub instance: String,
    /// What it sees and does; absent before it knows, as of one that is to act in whatever world the learner names.
    pub spec: Option<EnvSpec>,
    /// Hash of the architecture of the policy that it kept, where it kept one.
    pub architecture_hash: Option<String>,
    /// The run that its spooled episodes are for, where it has any.
    pub run: Option<String>,
    /// Episodes in its spool.
    pub spooled: u64,
}

/// What the learner says to that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum JoinReply {
    /// Come in.
    Welcome(Box<Welcome>),
    /// No: what, what the learner has, what the actor has, and what to do.
    Refused(Refusal),
}

/// What an actor must know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The run.
    pub run: String,
    /// What its policies see and do.
    pub spec: EnvSpec,
    /// The learner's world, for an actor's own program.
    pub task: serde_json::Value,
    /// Larger episodes are refused, bytes.
    pub max_episode_bytes: u64,
    /// The least number that no kept episode of this spool has.
    pub next_number: u64,
    /// The present manifest.
    pub manifest: Manifest,
}

/// Why somebody or something was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what}: expected {expected}, found {found}\n\nhint: {hint}")]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Which part.
    pub what: String,
    /// What the learner has, or takes.
    pub expected: String,
    /// What came.
    pub found: String,
    /// What to do.
    pub hint: String,
    /// Whether the same may be taken later, without anybody changing anything.
    pub passing: bool,
}

/// Where the bytes of a policy are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobRef {
    /// Hash of them, which is their address.
    pub blake3: String,
    /// How many there are.
    pub bytes: u64,
}

/// The policy that is to act.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyEntry {
    /// Its number, see [`surefoot_core::PolicyOffer`].
    pub version: u64,
    /// The policy.
    pub policy: BlobRef,
    /// The centre of the trust region.
    pub reference: BlobRef,
    /// Hash of its architecture.
    pub architecture_hash: String,
    /// Hash of the robot contract, where a robot is behind the task.
    pub contract_hash: Option<String>,
    /// When it was offered, s since 1970 by the learner's clock.
    pub created_unix_secs: f64,
    /// How to act, for an actor's own program.
    pub terms: serde_json::Value,
    /// What is known of it.
    pub metrics: BTreeMap<String, f64>,
}

/// What actors shall do at present.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The learner's program that this is of: another one is to be introduced to anew.
    pub learner: String,
    /// Counts the changes of one learner's program.
    pub sequence: u64,
    /// Whether enough episodes wait to be learned from: finish those that run, begin no others.
    pub hold: bool,
    /// Whether nothing more is needed.
    pub finished: bool,
    /// What acts; absent while none is offered.
    pub policy: Option<PolicyEntry>,
}

/// What came of a chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum UploadAnswer {
    /// The episode is on the learner's disk: it may be forgotten. It is the acknowledgement, whether it came once or again.
    Kept {
        /// Its number there.
        index: u64,
        /// Whether it was there before.
        duplicate: bool,
    },
    /// This chunk is to come next.
    Next {
        /// Its number, from 0.
        chunk: u32,
    },
    /// It cannot be learned from and is not kept; sending it again changes nothing.
    Refused(Refusal),
    /// It could not be kept at present; later perhaps.
    Later {
        /// Why.
        reason: String,
    },
    /// The learner does not know this program of the actor: it is to introduce itself.
    JoinFirst,
}

/// The reply to a chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadReply {
    /// What came of it.
    pub answer: UploadAnswer,
    /// Sequence of the present manifest: an actor that has another one asks for it.
    pub sequence: u64,
}

/// Reads a JSON message of anybody.
///
/// # Errors
/// When it is too long, or no such message.
pub(crate) fn read_message<T: serde::de::DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, DecodeError> {
    let r = Reader::new(bytes);
    if bytes.len() > MAX_MESSAGE_BYTES {
        let expected = format!("at most {MAX_MESSAGE_BYTES} bytes");
        return Err(r.wrong(what, expected, format!("{} bytes", bytes.len())));
    }
    serde_json::from_slice(bytes).map_err(|e| r.wrong(what, "a message of this protocol", e.to_string()))
}

/// A part of a shipment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The spool that it comes from.
    pub spool: SpoolId,
    /// The program that sends it.
    pub instance: SpoolId,
    /// Number of the episode.
    pub number: u64,
    /// Hash at the end of the whole shipment.
    pub hash: ContentHash,
    /// Bytes of the whole shipment.
    pub total: u64,
    /// Number of the chunk, from 0; all but the last have [`CHUNK_BYTES`].
    pub index: u32,
    /// Episodes in the spool.
    pub spooled: u32,
    /// The part.
    pub bytes: &'a [u8],
}

const CHUNK_MAGIC: &[u8; 4] = b"SFUP";

impl<'a> Chunk<'a> {
    /// Its bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { spool, instance, number, hash, total, index, spooled, bytes } = self;
        let mut b = Vec::with_capacity(100 + bytes.len());
        b.extend_from_slice(CHUNK_MAGIC);
        b.extend_from_slice(&PROTOCOL.to_le_bytes());
        b.extend_from_slice(&spool.0);
        b.extend_from_slice(&instance.0);
        b.extend_from_slice(&number.to_le_bytes());
        b.extend_from_slice(&hash.0);
        b.extend_from_slice(&total.to_le_bytes());
        b.extend_from_slice(&index.to_le_bytes());
        b.extend_from_slice(&spooled.to_le_bytes());
        b.extend_from_slice(bytes);
        b
    }

    /// Reads one of anybody, without copying.
    ///
    /// # Errors
    /// When it is none, or does not have the length that its place asks for.
    pub fn decode(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(message);
        r.magic(CHUNK_MAGIC)?;
        let protocol = r.u32("protocol")?;
        r.version("protocol", PROTOCOL, protocol)?;
        let spool = SpoolId(r.array("spool")?);
        let instance = SpoolId(r.array("instance")?);
        let number = r.u64("number")?;
        let hash = ContentHash(r.array("hash")?);
        let total = r.u64("total")?;
        let index = r.u32("chunk")?;
        let spooled = r.u32("spooled")?;
        let before = u64::from(index) * u64::from(CHUNK_BYTES);
        let expected = total.saturating_sub(before).min(u64::from(CHUNK_BYTES));
        if expected == 0 || r.left() as u64 != expected {
            let expected = format!("{expected} bytes, more than none, as chunk {index} of {total} bytes");
            return Err(r.wrong("bytes", expected, r.left().to_string()));
        }
        let bytes = r.take("bytes", r.left())?;
        Ok(Self { spool, instance, number, hash, total, index, spooled, bytes })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn chunks_are_read_as_they_were_written_and_cut_ones_are_refused(
            ids in any::<([u8; 16], [u8; 16], [u8; 32])>(), number in any::<u64>(), spooled in any::<u32>(),
            bytes in proptest::collection::vec(any::<u8>(), 1..200), part in 0.0..1.0_f64,
        ) {
            let total = bytes.len() as u64;
            let (spool, instance, hash) = (SpoolId(ids.0), SpoolId(ids.1), ContentHash(ids.2));
            let chunk = Chunk { spool, instance, number, hash, total, index: 0, spooled, bytes: &bytes };
            let encoded = chunk.encode();
            prop_assert_eq!(Chunk::decode(&encoded).unwrap(), chunk);
            let cut = (encoded.len() as f64 * part) as usize;
            prop_assert!(Chunk::decode(&encoded[..cut]).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_no_message(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Chunk::decode(&bytes).is_err());
            prop_assert!(read_message::<Hello>("hello", &bytes).is_err());
            prop_assert!(read_message::<Manifest>("manifest", &bytes).is_err());
        }
    }

    #[test]
    fn a_chunk_beyond_the_end_is_refused() {
        let (spool, hash) = (SpoolId([0; 16]), ContentHash([0; 32]));
        let chunk =
            Chunk { spool, instance: spool, number: 0, hash, total: 3, index: 1, spooled: 0, bytes: &[] };
        assert_eq!(Chunk::decode(&chunk.encode()).unwrap_err().field, "bytes");
        let longer = Chunk { index: 0, bytes: &[1, 2, 3, 4], ..chunk };
        assert!(Chunk::decode(&longer.encode()).unwrap_err().expected.starts_with("3 bytes"));
    }

    #[test]
    fn names_that_would_change_a_key_are_none() {
        for name in ["arm-1", "a.b_c", "0"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a/b", "*", "$*", "a b", "ä", &"a".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn an_overlong_message_is_refused_unread() {
        let long = vec![b' '; MAX_MESSAGE_BYTES + 1];
        let error = read_message::<Hello>("hello", &long).unwrap_err();
        assert!(error.expected.contains("at most"), "{error}");
    }
}
