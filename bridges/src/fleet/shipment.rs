//! An episode as it stands on an actor's disk and on the wire: little-endian, versioned, with a hash of its content at the end.
//!
//! ```text
//! "SFEP"  u16 version  u16 0
//! text actor  [16] spool  u64 number  u64 policy_version
//! text name  u32 steps  u32 observation_dim  u32 action_dim
//! u8 flags: 1 proposed, 2 human, 4 seed, 8 source, 16 success known, 32 success
//! f32[T,o] observation  f32[T,o] next_observation  f32[T,a] action  (f32[T,a] proposed)  f32[T] reward
//! u8[T] end: 0 running, 1 terminated, 2 truncated    (u8[T] human)
//! u64[4] safety: ticks, adjusted, stops, violations  (u64 seed)  (text source)
//! u32 attributes: text key, text value, by key
//! [32] blake3 of everything before it
//! ```
//! A text is its length, u32, and UTF-8.

use std::collections::BTreeMap;
use std::fmt;

use surefoot_core::safety::SafetyCounts;
use surefoot_core::{Episode, StepEnd};

use super::bytes::{DecodeError, Reader, put_f32s, put_text};

const MAGIC: &[u8; 4] = b"SFEP";
/// Version of the layout.
pub const VERSION: u16 = 1;
const HASH_BYTES: usize = 32;

const PROPOSED: u8 = 1;
const HUMAN: u8 = 2;
const SEED: u8 = 4;
const SOURCE: u8 = 8;
const SUCCESS_KNOWN: u8 = 16;
const SUCCESS: u8 = 32;

/// Hash of a shipment's content, or of a blob.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// Of bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
    /// From 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(|hash| Self(*hash.as_bytes()))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

/// The spool that an episode comes from. An actor whose spool was thrown away counts from 0 again, in another spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpoolId(pub [u8; 16]);

impl fmt::Display for SpoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl SpoolId {
    /// From 32 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut id = [0; 16];
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        for (i, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
        }
        Some(Self(id))
    }
}

/// An episode, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Shipment {
    /// The actor's name.
    pub actor: String,
    /// Its spool.
    pub spool: SpoolId,
    /// Number of the episode in the spool, from 0, never used again.
    pub number: u64,
    /// Version of the policy that drove it.
    pub policy_version: u64,
    /// What happened.
    pub episode: Episode,
}

impl Shipment {
    /// Its bytes, and the hash that they end in.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, ContentHash) {
        let Self { actor, spool, number, policy_version, episode } = self;
        let Episode {
            name,
            observation,
            next_observation,
            action,
            proposed,
            reward,
            end,
            human,
            success,
            source,
            safety,
            seed,
            attributes,
        } = episode;
        let steps = reward.len();
        let width = |numbers: &[f32]| numbers.len().checked_div(steps).unwrap_or(0);
        let mut b = Vec::with_capacity(256 + 8 * observation.len() + 8 * action.len() + 6 * steps);
        b.extend_from_slice(MAGIC);
        b.extend_from_slice(&VERSION.to_le_bytes());
        b.extend_from_slice(&[0; 2]);
        put_text(&mut b, actor);
        b.extend_from_slice(&spool.0);
        b.extend_from_slice(&number.to_le_bytes());
        b.extend_from_slice(&policy_version.to_le_bytes());
        put_text(&mut b, name);
        for n in [steps, width(observation), width(action)] {
            b.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
        }
        let mut flags = 0;
        for (flag, set) in [
            (PROPOSED, !proposed.is_empty()),
            (HUMAN, !human.is_empty()),
            (SEED, seed.is_some()),
            (SOURCE, source.is_some()),
            (SUCCESS_KNOWN, success.is_some()),
            (SUCCESS, *success == Some(true)),
        ] {
            flags |= if set { flag } else { 0 };
        }
        b.push(flags);
        for numbers in [observation, next_observation, action, proposed, reward] {
            put_f32s(&mut b, numbers);
        }
        b.extend(end.iter().map(|end| match end {
            StepEnd::Running => 0,
            StepEnd::Terminated => 1,
            StepEnd::Truncated => 2,
        }));
        b.extend(human.iter().map(|human| u8::from(*human)));
        let SafetyCounts { ticks, adjusted, stops, violations } = *safety;
        for n in [ticks, adjusted, stops, violations].into_iter().chain(*seed) {
            b.extend_from_slice(&n.to_le_bytes());
        }
        if let Some(source) = source {
            put_text(&mut b, source);
        }
        b.extend_from_slice(&u32::try_from(attributes.len()).unwrap_or(u32::MAX).to_le_bytes());
        for (key, value) in attributes {
            put_text(&mut b, key);
            put_text(&mut b, value);
        }
        let hash = ContentHash::of(&b);
        b.extend_from_slice(&hash.0);
        (b, hash)
    }

    /// Reads bytes of anybody. Never takes more memory than a small multiple of their number.
    ///
    /// # Errors
    /// When they are no whole shipment of this version: names the field, what was expected there and what was found.
    pub fn decode(bytes: &[u8]) -> Result<(Self, ContentHash), DecodeError> {
        let mut r = Reader::new(bytes);
        r.magic(MAGIC)?;
        let version = r.u16("version")?;
        r.version("version", VERSION.into(), version.into())?;
        let content = bytes.len().saturating_sub(HASH_BYTES);
        let (content, stated) = bytes.split_at(content);
        let hash = ContentHash::of(content);
        if stated != hash.0 {
            let mut at_end = Reader::new(bytes);
            at_end.take("hash", content.len())?;
            return Err(at_end.wrong("hash", "the hash of the content", "another: it was cut or changed"));
        }
        let mut r = Reader::new(content);
        r.take("magic and version", 6)?;
        if r.u16("reserved")? != 0 {
            return Err(r.wrong("reserved", "0", "something else"));
        }
        let actor = r.text("actor")?.to_owned();
        let spool = SpoolId(r.array("spool")?);
        let number = r.u64("number")?;
        let policy_version = r.u64("policy version")?;
        let name = r.text("name")?.to_owned();
        let steps = r.u32("steps")? as usize;
        let o = r.u32("observation dimension")? as usize;
        let a = r.u32("action dimension")? as usize;
        if steps == 0 && (o, a) != (0, 0) {
            return Err(r.wrong("dimensions", "0 without steps", format!("{o} and {a}")));
        }
        let at = r;
        let flags = r.u8("flags")?;
        let has = |flag: u8| flags & flag != 0;
        // Columns without numbers are told by their absence alone, so that one content has one hash.
        let empty = (has(PROPOSED) && (steps == 0 || a == 0)) || (has(HUMAN) && steps == 0);
        if flags >= SUCCESS << 1 || (has(SUCCESS) && !has(SUCCESS_KNOWN)) || empty {
            return Err(at.wrong("flags", "known ones that agree", flags.to_string()));
        }
        let observation = r.f32s("observation", steps, o)?;
        let next_observation = r.f32s("next observation", steps, o)?;
        let action = r.f32s("action", steps, a)?;
        let proposed = if has(PROPOSED) { r.f32s("proposed", steps, a)? } else { Vec::new() };
        let reward = r.f32s("reward", steps, 1)?;
        let at = r;
        let end = r.take("end", steps)?.iter().map(|end| match end {
            0 => Ok(StepEnd::Running),
            1 => Ok(StepEnd::Terminated),
            2 => Ok(StepEnd::Truncated),
            other => Err(at.wrong("end", "0, 1 or 2", other.to_string())),
        });
        let end = end.collect::<Result<Vec<_>, _>>()?;
        let at = r;
        let human = if has(HUMAN) { r.take("human", steps)? } else { &[] };
        let human = human.iter().map(|human| match human {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(at.wrong("human", "0 or 1", other.to_string())),
        });
        let human = human.collect::<Result<Vec<_>, _>>()?;
        let mut count = || r.u64("safety");
        let (ticks, adjusted, stops, violations) = (count()?, count()?, count()?, count()?);
        let safety = SafetyCounts { ticks, adjusted, stops, violations };
        let seed = if has(SEED) { Some(r.u64("seed")?) } else { None };
        let source = if has(SOURCE) { Some(r.text("source")?.to_owned()) } else { None };
        let mut attributes = BTreeMap::new();
        let mut before: Option<&str> = None;
        for _ in 0..r.u32("attributes")? {
            let at = r;
            let key = r.text("attribute")?;
            // One order, so that one content has one hash.
            if before.is_some_and(|before| before >= key) {
                return Err(at.wrong("attribute", "keys in order", format!("{key:?}")));
            }
            before = Some(key);
            attributes.insert(key.to_owned(), r.text("attribute value")?.to_owned());
        }
        if r.left() != 0 {
            return Err(r.wrong("end", "the hash", format!("{} more bytes", r.left())));
        }
        let episode = Episode {
            name,
            observation,
            next_observation,
            action,
            proposed,
            reward,
            end,
            human,
            success: has(SUCCESS_KNOWN).then_some(has(SUCCESS)),
            source,
            safety,
            seed,
            attributes,
        };
        Ok((Self { actor, spool, number, policy_version, episode }, hash))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An episode in which every column is there, of any content, NaN included.
    fn shipments() -> impl Strategy<Value = Shipment> {
        let text = "[a-zA-Zäöü0-9 _./-]{0,12}";
        let from = (text, any::<[u8; 16]>(), any::<u64>(), any::<u64>());
        let shape = (0_usize..6, 0_usize..4, 0_usize..3);
        let rest = (
            any::<Option<bool>>(),
            proptest::option::of(text),
            any::<[u64; 4]>(),
            any::<Option<u64>>(),
            proptest::collection::btree_map(text, text, 0..4),
            any::<(bool, bool)>(),
            text,
            any::<u64>(),
        );
        (from, shape, rest).prop_map(|((actor, spool, number, policy_version), (t, o, a), rest)| {
            let (success, source, safety, seed, attributes, (proposed, human), name, bits) = rest;
            let mut stream = surefoot_core::Stream::new(bits, "test", 0);
            let mut numbers = |n: usize| (0..n).map(|_| f32::from_bits(stream.bits() as u32)).collect();
            let [ticks, adjusted, stops, violations] = safety;
            let episode = Episode {
                name,
                observation: numbers(t * o),
                next_observation: numbers(t * o),
                action: numbers(t * a),
                proposed: if proposed { numbers(t * a) } else { Vec::new() },
                reward: numbers(t),
                end: (0..t).map(|i| StepEnd::from_flags(bits >> i & 1 == 1, i + 1 == t)).collect(),
                human: if human { (0..t).map(|i| bits >> (i + 8) & 1 == 1).collect() } else { Vec::new() },
                success,
                source,
                safety: SafetyCounts { ticks, adjusted, stops, violations },
                seed,
                attributes,
            };
            Shipment { actor, spool: SpoolId(spool), number, policy_version, episode }
        })
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded_bit_for_bit(shipment in shipments()) {
            let (bytes, hash) = shipment.encode();
            let (back, found) = Shipment::decode(&bytes).unwrap();
            prop_assert_eq!(hash, found);
            // NaN equals nothing, so bytes are compared.
            prop_assert_eq!(back.encode().0, bytes);
            prop_assert_eq!(back.episode.success, shipment.episode.success);
            prop_assert_eq!(back.episode.end, shipment.episode.end);
            prop_assert_eq!(back.episode.attributes, shipment.episode.attributes);
        }

        #[test]
        fn a_shipment_that_was_cut_anywhere_is_refused(shipment in shipments(), part in 0.0..1.0_f64) {
            let (bytes, _) = shipment.encode();
            let cut = (bytes.len() as f64 * part) as usize;
            prop_assert!(Shipment::decode(&bytes[..cut]).is_err());
        }

        #[test]
        fn a_changed_byte_is_noticed(shipment in shipments(), place in any::<proptest::sample::Index>(), by in 1_u8..) {
            let (mut bytes, _) = shipment.encode();
            let i = place.index(bytes.len());
            bytes[i] ^= by;
            prop_assert!(Shipment::decode(&bytes).is_err());
        }

        #[test]
        fn any_content_under_a_right_hash_is_read_or_refused(
            start in 0_usize..80, noise in proptest::collection::vec(any::<u8>(), 0..400), shipment in shipments()
        ) {
            let (mut bytes, _) = shipment.encode();
            bytes.truncate(start.max(6));
            bytes.extend(noise);
            let hash = ContentHash::of(&bytes);
            bytes.extend_from_slice(&hash.0);
            if let Ok((read, _)) = Shipment::decode(&bytes) {
                prop_assert_eq!(read.encode().0, bytes);
            }
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Shipment::decode(&bytes).is_err());
        }
    }

    #[test]
    fn lengths_that_are_claimed_are_not_believed() {
        let shipment = Shipment {
            actor: String::new(),
            spool: SpoolId([0; 16]),
            number: 0,
            policy_version: 0,
            episode: Episode::default(),
        };
        let (bytes, _) = shipment.encode();
        // Steps and dimensions stand behind: magic, version, reserved, actor, spool, number, policy version, name.
        let at = 4 + 2 + 2 + 4 + 16 + 8 + 8 + 4;
        for claimed in [u32::MAX, 1 << 31, 1 << 20] {
            let mut content = bytes[..bytes.len() - 32].to_vec();
            for i in 0..3 {
                content[at + 4 * i..at + 4 * i + 4].copy_from_slice(&claimed.to_le_bytes());
            }
            let hash = ContentHash::of(&content);
            content.extend_from_slice(&hash.0);
            let error = Shipment::decode(&content).unwrap_err();
            assert_eq!(error.field, "observation", "{error}");
        }
    }

    #[test]
    fn a_later_version_is_named() {
        let shipment = Shipment {
            actor: "a".into(),
            spool: SpoolId([1; 16]),
            number: 0,
            policy_version: 0,
            episode: Episode::default(),
        };
        let (mut bytes, _) = shipment.encode();
        bytes[4] = 2;
        let error = Shipment::decode(&bytes).unwrap_err().to_string();
        assert_eq!(error, "version at byte 6: expected 1, found 2");
    }

    #[test]
    fn identities_are_read_back_from_their_text() {
        let id = SpoolId([0x0f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(SpoolId::from_hex(&id.to_string()), Some(id));
        assert_eq!(SpoolId::from_hex("0f"), None);
        assert_eq!(SpoolId::from_hex("ää".repeat(8).as_str()), None);
        let hash = ContentHash::of(b"x");
        assert_eq!(ContentHash::from_hex(&hash.to_string()), Some(hash));
        assert_eq!(ContentHash::from_hex("x"), None);
    }
}
