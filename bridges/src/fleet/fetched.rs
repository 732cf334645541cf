//! Policies that come from the learner: fetched range by range, verified by their hash before anything is done with them, and kept
//! on the disk for the next program of the actor.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use surefoot_core::PolicyArtifact;

use super::actor::kept_policy_directory;
use super::ask::AskError;
use super::bytes::DecodeError;
use super::package::{architecture_hash, pack, unpack};
use super::shipment::ContentHash;
use super::spool::{SpoolError, put};
use super::wire::{BLOB_CHUNK_BYTES, BlobRef, MAX_BLOB_BYTES, PolicyEntry, Welcome};

/// A policy that came whole.
#[derive(Clone, Debug, PartialEq)]
pub struct ActingPolicy {
    /// Its number.
    pub version: u64,
    /// What acts.
    pub policy: PolicyArtifact,
    /// The centre of the trust region.
    pub reference: PolicyArtifact,
    /// How to act, for the actor's own program.
    pub terms: serde_json::Value,
    /// Hash of its architecture.
    pub architecture_hash: String,
    /// Addresses of policy and reference.
    addresses: (ContentHash, ContentHash),
}

impl ActingPolicy {
    /// Whether this is what a manifest speaks of.
    pub(crate) fn is(&self, entry: &PolicyEntry) -> bool {
        self.version == entry.version
            && self.terms == entry.terms
            && self.addresses.0.to_string() == entry.policy.blake3
            && self.addresses.1.to_string() == entry.reference.blake3
    }
}

/// Why a policy did not come whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The link.
    #[error(transparent)]
    Link(#[from] AskError),
    /// Bytes that are not what the manifest speaks of.
    #[error("policy {version}: {what}: expected {expected}, found {found}")]
    Damaged {
        /// Its number.
        version: u64,
        /// Which part.
        what: &'static str,
        /// By the manifest.
        expected: String,
        /// What came.
        found: String,
    },
    /// The right bytes, and no policy.
    #[error("policy {version}: {source}")]
    Decode {
        /// Its number.
        version: u64,
        /// What is wrong.
        source: DecodeError,
    },
    /// The disk.
    #[error(transparent)]
    Disk(#[from] SpoolError),
}

/// Gets a range of a blob.
pub(crate) type GetRange<'a> = &'a dyn Fn(ContentHash, u64, u64) -> Result<Vec<u8>, AskError>;

/// Fetches what a manifest speaks of; what is the same in `present` is not fetched again.
pub(crate) fn fetch(
    entry: &PolicyEntry,
    present: Option<&ActingPolicy>,
    get: GetRange<'_>,
) -> Result<ActingPolicy, FetchError> {
    let version = entry.version;
    let one = |blob: &BlobRef| -> Result<(PolicyArtifact, ContentHash), FetchError> {
        let hash = address(version, blob)?;
        let here = present.and_then(|p| match () {
            () if p.addresses.0 == hash => Some(&p.policy),
            () if p.addresses.1 == hash => Some(&p.reference),
            () => None,
        });
        if let Some(artifact) = here {
            return Ok((artifact.clone(), hash));
        }
        Ok((verified(version, hash, &fetch_blob(version, blob, hash, get)?)?, hash))
    };
    let ((policy, policy_hash), (reference, reference_hash)) = (one(&entry.policy)?, one(&entry.reference)?);
    let found = architecture_hash(&policy.card);
    if found != entry.architecture_hash {
        let expected = entry.architecture_hash.clone();
        return Err(FetchError::Damaged { version, what: "architecture hash", expected, found });
    }
    let (expected, found) = (entry.contract_hash.as_ref(), policy.card.spec.contract_hash.as_ref());
    if expected != found {
        let text = |hash: Option<&String>| hash.map_or("none".to_owned(), Clone::clone);
        let (what, expected, found) = ("robot contract hash", text(expected), text(found));
        return Err(FetchError::Damaged { version, what, expected, found });
    }
    Ok(ActingPolicy {
        version,
        policy,
        reference,
        terms: entry.terms.clone(),
        architecture_hash: entry.architecture_hash.clone(),
        addresses: (policy_hash, reference_hash),
    })
}

fn address(version: u64, blob: &BlobRef) -> Result<ContentHash, FetchError> {
    let hash = ContentHash::from_hex(&blob.blake3).filter(|_| blob.bytes <= MAX_BLOB_BYTES);
    hash.ok_or_else(|| FetchError::Damaged {
        version,
        what: "address",
        expected: format!("a blake3 hash of at most {MAX_BLOB_BYTES} bytes"),
        found: format!("{} of {} bytes", blob.blake3, blob.bytes),
    })
}

fn fetch_blob(
    version: u64,
    blob: &BlobRef,
    hash: ContentHash,
    get: GetRange<'_>,
) -> Result<Vec<u8>, FetchError> {
    // Grows with what comes, not with what is said to come.
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < blob.bytes {
        let offset = bytes.len() as u64;
        let wanted = (blob.bytes - offset).min(BLOB_CHUNK_BYTES);
        let range = get(hash, offset, wanted)?;
        if range.len() as u64 != wanted {
            let expected = format!("{wanted} bytes from byte {offset}");
            let found = format!("{} bytes", range.len());
            return Err(FetchError::Damaged { version, what: "length", expected, found });
        }
        bytes.extend_from_slice(&range);
    }
    Ok(bytes)
}

/// Nothing is done with bytes before their hash is the one that they were found under.
fn verified(version: u64, hash: ContentHash, bytes: &[u8]) -> Result<PolicyArtifact, FetchError> {
    let found = ContentHash::of(bytes);
    if found != hash {
        let (expected, found) = (hash.to_string(), found.to_string());
        return Err(FetchError::Damaged { version, what: "blake3", expected, found });
    }
    unpack(bytes).map_err(|source| FetchError::Decode { version, source })
}

const FORMAT: &str = "surefoot-kept-policy/1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptFile {
    format: String,
    version: u64,
    policy: BlobRef,
    reference: BlobRef,
    terms: serde_json::Value,
    welcome: Welcome,
}

/// The newest policy that came whole, on the disk.
#[derive(Debug)]
pub(crate) struct LastGood {
    directory: PathBuf,
}

impl LastGood {
    pub(crate) fn at(spool: &Path) -> Self {
        Self { directory: kept_policy_directory(spool) }
    }

    fn file(&self, hash: ContentHash) -> PathBuf {
        self.directory.join(format!("{hash}.sfpl"))
    }

    /// Writes a policy; the one before goes when the new one is there.
    pub(crate) fn write(&self, policy: &ActingPolicy, welcome: &Welcome) -> Result<(), FetchError> {
        let io = |source| SpoolError::Io { action: "create", path: self.directory.clone(), source };
        std::fs::create_dir_all(&self.directory).map_err(io)?;
        let store = |artifact: &PolicyArtifact, hash: ContentHash| -> Result<BlobRef, FetchError> {
            let path = self.file(hash);
            let (bytes, packed) = pack(artifact).map_err(|e| SpoolError::Io {
                action: "write",
                path: path.clone(),
                source: e.into(),
            })?;
            if !path.exists() {
                put(&path, &bytes)?;
            }
            Ok(BlobRef { blake3: packed.to_string(), bytes: bytes.len() as u64 })
        };
        let policy_ref = store(&policy.policy, policy.addresses.0)?;
        let reference_ref = store(&policy.reference, policy.addresses.1)?;
        let kept = KeptFile {
            format: FORMAT.into(),
            version: policy.version,
            policy: policy_ref,
            reference: reference_ref,
            terms: policy.terms.clone(),
            welcome: welcome.clone(),
        };
        let path = self.directory.join("kept.json");
        let text = serde_json::to_vec(&kept).map_err(|e| SpoolError::Io {
            action: "write",
            path: path.clone(),
            source: e.into(),
        })?;
        put(&path, &text)?;
        let wanted = [self.file(policy.addresses.0), self.file(policy.addresses.1), path];
        for entry in std::fs::read_dir(&self.directory).map_err(io)?.flatten() {
            if !wanted.contains(&entry.path()) {
                // What stays behind takes room and nothing else.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    /// Reads what an earlier program kept; `None` where there is nothing.
    pub(crate) fn read(&self) -> Result<Option<(ActingPolicy, Welcome)>, FetchError> {
        let path = self.directory.join("kept.json");
        let io = |path: &Path, source| SpoolError::Io { action: "read", path: path.to_owned(), source };
        let text = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| io(&path, e))?,
        };
        let kept: KeptFile = serde_json::from_slice(&text).map_err(|e| io(&path, e.into()))?;
        let KeptFile { format, version, policy, reference, terms, welcome } = kept;
        if format != FORMAT {
            let expected = FORMAT.to_owned();
            return Err(FetchError::Damaged { version, what: "format", expected, found: format });
        }
        let one = |blob: &BlobRef| -> Result<(PolicyArtifact, ContentHash), FetchError> {
            let hash = address(version, blob)?;
            let path = self.file(hash);
            let bytes = std::fs::read(&path).map_err(|e| io(&path, e))?;
            Ok((verified(version, hash, &bytes)?, hash))
        };
        let ((policy, policy_hash), (reference, reference_hash)) = (one(&policy)?, one(&reference)?);
        let architecture_hash = architecture_hash(&policy.card);
        let addresses = (policy_hash, reference_hash);
        Ok(Some((ActingPolicy { version, policy, reference, terms, architecture_hash, addresses }, welcome)))
    }
}
