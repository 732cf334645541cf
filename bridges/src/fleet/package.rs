//! A policy as one blob: its card and its weights, found by the hash of their bytes.
//!
//! `"SFPL"  u32 version  u64 card bytes  card (JSON)  weights (safetensors)`

use surefoot_core::{EnvSpec, PolicyArtifact, PolicyCard};

use super::bytes::{DecodeError, Reader};
use super::shipment::ContentHash;

const MAGIC: &[u8; 4] = b"SFPL";
const VERSION: u32 = 1;

/// A policy's bytes, and their address.
///
/// # Errors
/// When its card cannot be written down.
pub fn pack(artifact: &PolicyArtifact) -> Result<(Vec<u8>, ContentHash), serde_json::Error> {
    let card = serde_json::to_vec(&artifact.card)?;
    let mut bytes = Vec::with_capacity(16 + card.len() + artifact.weights.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(card.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&card);
    bytes.extend_from_slice(&artifact.weights);
    let hash = ContentHash::of(&bytes);
    Ok((bytes, hash))
}

/// Reads a policy of anybody. Its weights are looked at by whoever loads them.
///
/// # Errors
/// When these bytes are no policy of this version.
pub fn unpack(bytes: &[u8]) -> Result<PolicyArtifact, DecodeError> {
    let mut r = Reader::new(bytes);
    r.magic(MAGIC)?;
    let version = r.u32("version")?;
    r.version("version", VERSION, version)?;
    let length = usize::try_from(r.u64("card length")?).unwrap_or(usize::MAX);
    let at = r;
    let card: PolicyCard = serde_json::from_slice(r.take("card", length)?)
        .map_err(|e| at.wrong("card", "a policy's card", e.to_string()))?;
    if card.format != PolicyCard::FORMAT {
        return Err(at.wrong("card", PolicyCard::FORMAT, card.format));
    }
    let weights = r.take("weights", r.left())?.to_vec();
    Ok(PolicyArtifact { card, weights })
}

/// Hash of the algorithm's name and its network's shape.
#[must_use]
pub fn architecture_hash(card: &PolicyCard) -> String {
    // Objects of `serde_json` are sorted by key, so equal architectures give equal text.
    ContentHash::of(format!("{}\n{}", card.algorithm, card.architecture).as_bytes()).to_string()
}

/// The first thing in which the task of an actor differs from the learner's: what a policy depends on, and then what episodes of one
/// task have in common.
#[must_use]
pub fn first_difference(learner: &EnvSpec, actor: &EnvSpec) -> Option<(String, String, String)> {
    if let Some(d) = learner.first_difference(actor) {
        return Some((d.what, d.expected, d.found));
    }
    let range = |spec: &EnvSpec| spec.reward_range.map_or("unknown".to_owned(), |r| format!("{r:?}"));
    [
        ("environment", learner.name.clone(), actor.name.clone()),
        ("max_steps", learner.max_steps.to_string(), actor.max_steps.to_string()),
        ("reward_range", range(learner), range(actor)),
    ]
    .into_iter()
    .find(|(_, ours, theirs)| ours != theirs)
    .map(|(what, ours, theirs)| (what.to_owned(), ours, theirs))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use surefoot_core::{Field, Normalizer};

    use super::*;

    pub(crate) fn spec() -> EnvSpec {
        EnvSpec {
            name: "line".into(),
            observation: vec![Field::unbounded("x", "m"), Field::unbounded("v", "m/s")],
            action: vec![Field::bounded("push", "m/s", -1.0, 1.0)],
            step_secs: 0.1,
            max_steps: 10,
            reward_range: Some((-1.0, 0.0)),
            contract_hash: Some("abc".into()),
        }
    }

    pub(crate) fn artifact(updates: u64) -> PolicyArtifact {
        let card = PolicyCard {
            format: PolicyCard::FORMAT.into(),
            algorithm: "test".into(),
            spec: spec(),
            normalizer: Normalizer::default(),
            data_hashes: vec!["d".into()],
            updates,
            architecture: serde_json::json!({ "hidden": [16], "activation": "relu" }),
        };
        PolicyArtifact { card, weights: (0..2000).map(|i| (i * updates) as u8).collect() }
    }

    #[test]
    fn a_policy_is_unpacked_as_it_was_packed() {
        let (bytes, hash) = pack(&artifact(7)).unwrap();
        assert_eq!(unpack(&bytes).unwrap(), artifact(7));
        assert_eq!(hash, ContentHash::of(&bytes));
        assert_eq!(pack(&artifact(7)).unwrap().1, hash);
        assert_ne!(pack(&artifact(8)).unwrap().1, hash);
    }

    #[test]
    fn the_architecture_is_hashed_and_nothing_else() {
        let mut other = artifact(8).card;
        assert_eq!(architecture_hash(&other), architecture_hash(&artifact(7).card));
        other.architecture = serde_json::json!({ "activation": "relu", "hidden": [16] });
        assert_eq!(architecture_hash(&other), architecture_hash(&artifact(7).card));
        other.architecture = serde_json::json!({ "activation": "relu", "hidden": [17] });
        assert_ne!(architecture_hash(&other), architecture_hash(&artifact(7).card));
    }

    #[test]
    fn a_task_that_differs_only_in_its_length_differs() {
        assert_eq!(first_difference(&spec(), &spec()), None);
        let mut other = spec();
        other.max_steps = 20;
        let found = first_difference(&spec(), &other);
        assert_eq!(found, Some(("max_steps".into(), "10".into(), "20".into())));
        other.contract_hash = None;
        assert_eq!(first_difference(&spec(), &other).unwrap().0, "robot contract hash");
    }

    proptest! {
        #[test]
        fn cut_and_arbitrary_bytes_are_no_policy(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), part in 0.0..1.0_f64
        ) {
            prop_assert!(unpack(&bytes).is_err());
            let (whole, _) = pack(&artifact(1)).unwrap();
            // Weights may be cut; what stands before them may not.
            let head = whole.len() - artifact(1).weights.len();
            prop_assert!(unpack(&whole[..(head as f64 * part) as usize]).is_err());
        }
    }
}
