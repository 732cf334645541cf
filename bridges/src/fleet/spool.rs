//! Finished episodes on an actor's disk, until the learner has them on its own.
//!
//! ```text
//! spool/
//!   spool.json            format, id, actor, and the run that the episodes are for
//!   spool.lock            held by the one actor that uses it
//!   ep_0000000012.sfep    a finished episode
//!   kept_0000000011       the newest acknowledged one: numbers go on from here
//!   refused/              episodes that no learner takes, each with the reason beside it
//! ```
//! An episode is written under another name, brought to the disk, and renamed: it is there whole or not at all, whenever the program
//! is killed or the power goes. Only an acknowledgement removes it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error as IoError, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::shipment::{ContentHash, Shipment, SpoolId};

const FORMAT: &str = "surefoot-spool/1";
const HEADER: &str = "spool.json";
const LOCK: &str = "spool.lock";
const REFUSED: &str = "refused";

/// Why a spool cannot be used, or an episode not be kept in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// File or directory.
        path: PathBuf,
        /// What the system says.
        source: IoError,
    },
    /// Another actor uses it.
    #[error("spool {} is in use by another actor\n\nhint: give every actor a spool of its own with `--spool`", path.display())]
    InUse {
        /// The spool.
        path: PathBuf,
    },
    /// It belongs to something else.
    #[error("spool {}: {what}: expected {expected}, found {found}\n\nhint: {hint}", path.display())]
    Foreign {
        /// The spool.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// By this actor.
        expected: String,
        /// In the spool.
        found: String,
        /// What to do.
        hint: &'static str,
    },
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(IoError) -> SpoolError {
    let path = path.to_owned();
    move |source| SpoolError::Io { action, path, source }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    id: String,
    actor: String,
    run: Option<String>,
}

/// What was found to mend when a spool was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// Half-written files that were removed.
    pub removed: usize,
    /// Damaged episodes that were put aside.
    pub damaged: usize,
}

/// A spooled episode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// Its number.
    pub number: u64,
    /// Its shipment's bytes.
    pub bytes: Vec<u8>,
    /// The hash that they end in.
    pub hash: ContentHash,
}

/// A spool that is in use.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    header: Header,
    id: SpoolId,
    /// Number and bytes of those that wait.
    waiting: BTreeMap<u64, u64>,
    bytes: u64,
    max_bytes: u64,
    next: u64,
    refused: usize,
    mended: Mended,
    _lock: File,
}

impl Spool {
    /// Opens a spool or makes a new one, for an actor of this name and at most so many bytes. `new_id` is a fresh spool's id.
    ///
    /// # Errors
    /// When another actor uses it, it is another actor's, or the system refuses.
    pub fn open(path: &Path, actor: &str, max_bytes: u64, new_id: SpoolId) -> Result<Self, SpoolError> {
        let refused = path.join(REFUSED);
        std::fs::create_dir_all(&refused).map_err(io("create", &refused))?;
        let lock = lock(path)?;
        let header_path = path.join(HEADER);
        let header = match std::fs::read(&header_path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|e| io("read", &header_path)(IoError::new(ErrorKind::InvalidData, e)))?,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let header = Header {
                    format: FORMAT.into(),
                    id: new_id.to_string(),
                    actor: actor.to_owned(),
                    run: None,
                };
                write_header(path, &header)?;
                header
            }
            Err(e) => return Err(io("read", &header_path)(e)),
        };
        let foreign = |what, expected: &str, found: &str, hint| {
            let (expected, found) = (expected.to_owned(), found.to_owned());
            Err(SpoolError::Foreign { path: path.to_owned(), what, expected, found, hint })
        };
        if header.format != FORMAT {
            return foreign("format", FORMAT, &header.format, "name another directory with `--spool`");
        }
        if header.actor != actor {
            let hint = "give each actor a spool of its own, or use the name that the spool was made with";
            return foreign("actor", actor, &header.actor, hint);
        }
        let Some(id) = SpoolId::from_hex(&header.id) else {
            return foreign("id", "32 hexadecimal digits", &header.id, "restore spool.json from a copy");
        };
        let mut spool = Self {
            path: path.to_owned(),
            header,
            id,
            waiting: BTreeMap::new(),
            bytes: 0,
            max_bytes,
            next: 0,
            refused: 0,
            mended: Mended::default(),
            _lock: lock,
        };
        spool.recover()?;
        Ok(spool)
    }

    /// Looks at every file: the half-written are removed, the damaged put aside.
    fn recover(&mut self) -> Result<(), SpoolError> {
        let entries = std::fs::read_dir(&self.path).map_err(io("read", &self.path))?;
        let mut kept = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io("read", &self.path))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            if name.ends_with(".tmp") {
                std::fs::remove_file(&path).map_err(io("remove", &path))?;
                self.mended.removed += 1;
            } else if let Some(number) = numbered(&name, "kept_", "") {
                kept.push((number, path));
                self.next = self.next.max(number.saturating_add(1));
            } else if let Some(number) = numbered(&name, "ep_", ".sfep") {
                let bytes = std::fs::read(&path).map_err(io("read", &path))?;
                self.next = self.next.max(number.saturating_add(1));
                let damage = match Shipment::decode(&bytes) {
                    Ok((shipment, _)) if shipment.number == number && shipment.spool == self.id => None,
                    Ok(_) => Some("it is not the episode that its name says".to_owned()),
                    Err(e) => Some(e.to_string()),
                };
                match damage {
                    None => {
                        self.waiting.insert(number, bytes.len() as u64);
                        self.bytes += bytes.len() as u64;
                    }
                    Some(reason) => {
                        self.put_aside(number, &reason)?;
                        self.mended.damaged += 1;
                    }
                }
            }
        }
        let newest = kept.iter().map(|(number, _)| *number).max();
        for (_, path) in kept.iter().filter(|(number, _)| Some(*number) != newest) {
            std::fs::remove_file(path).map_err(io("remove", path))?;
        }
        // Those that were put aside just now are counted with the others.
        self.refused = 0;
        let refused = self.path.join(REFUSED);
        for entry in std::fs::read_dir(&refused).map_err(io("read", &refused))?.flatten() {
            if let Some(number) = numbered(&entry.file_name().to_string_lossy(), "ep_", ".sfep") {
                self.refused += 1;
                self.next = self.next.max(number.saturating_add(1));
            }
        }
        Ok(())
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> SpoolId {
        self.id
    }
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The run that its episodes are for, once a learner took it in.
    #[must_use]
    pub fn run(&self) -> Option<&str> {
        self.header.run.as_deref()
    }
    /// Number of the next episode.
    #[must_use]
    pub const fn next_number(&self) -> u64 {
        self.next
    }
    /// Episodes that wait for an acknowledgement.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
    /// Their bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
    /// Episodes that were put aside, ever.
    #[must_use]
    pub const fn refused(&self) -> usize {
        self.refused
    }
    /// What was mended when it was opened.
    #[must_use]
    pub const fn mended(&self) -> &Mended {
        &self.mended
    }
    /// Whether the bound is reached: nothing more may be driven before there is room.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.bytes >= self.max_bytes
    }

    /// Says which run the episodes to come are for.
    ///
    /// # Errors
    /// When episodes of another run wait in it, or the system refuses.
    pub fn bind(&mut self, run: &str) -> Result<(), SpoolError> {
        match &self.header.run {
            Some(present) if present == run => return Ok(()),
            Some(present) if !self.is_empty() => {
                return Err(SpoolError::Foreign {
                    path: self.path.clone(),
                    what: "its episodes are for a run",
                    expected: run.to_owned(),
                    found: present.clone(),
                    hint: "connect it to the learner of that run, or use another spool",
                });
            }
            _ => {}
        }
        let header = Header { run: Some(run.to_owned()), ..self.header.clone() };
        write_header(&self.path, &header)?;
        self.header = header;
        Ok(())
    }

    /// Numbers below are taken: those of a learner that remembers more than this disk.
    pub fn skip_to(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// Keeps a finished episode under its number, which must be [`next_number`](Self::next_number). When this returns, it survives a
    /// killed program and a power cut. An episode that is finished is kept even where it goes beyond the bound: the bound keeps
    /// others from being begun.
    ///
    /// # Errors
    /// When the system refuses, a full disk for one: the episode is the caller's still, and may be given again.
    pub fn push(&mut self, shipment: &Shipment) -> Result<(), SpoolError> {
        let (bytes, _) = shipment.encode();
        put(&self.episode_path(shipment.number), &bytes)?;
        self.waiting.insert(shipment.number, bytes.len() as u64);
        self.bytes += bytes.len() as u64;
        self.next = self.next.max(shipment.number.saturating_add(1));
        Ok(())
    }

    /// The oldest episode that waits.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn oldest(&self) -> Result<Option<Spooled>, SpoolError> {
        let Some(number) = self.waiting.keys().next().copied() else { return Ok(None) };
        let path = self.episode_path(number);
        let bytes = std::fs::read(&path).map_err(io("read", &path))?;
        let mut hash = ContentHash([0; 32]);
        let Some(stated) = bytes.last_chunk::<32>() else {
            return Err(io("read", &path)(IoError::new(ErrorKind::UnexpectedEof, "it was cut")));
        };
        hash.0.copy_from_slice(stated);
        Ok(Some(Spooled { number, bytes, hash }))
    }

    /// Forgets an episode that a learner has acknowledged.
    ///
    /// # Errors
    /// When the system refuses; it will be sent once more then, and dropped there.
    pub fn acknowledged(&mut self, number: u64) -> Result<(), SpoolError> {
        let path = self.episode_path(number);
        let marker = self.path.join(format!("kept_{number:010}"));
        std::fs::rename(&path, &marker).map_err(io("rename", &path))?;
        sync_dir(&self.path)?;
        self.forget(number);
        // Numbers go on from the newest marker alone.
        if let Some(older) = number.checked_sub(1) {
            let _ = std::fs::remove_file(self.path.join(format!("kept_{older:010}")));
        }
        Ok(())
    }

    /// Puts an episode aside that no learner takes.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn refuse(&mut self, number: u64, reason: &str) -> Result<(), SpoolError> {
        self.put_aside(number, reason)?;
        self.forget(number);
        Ok(())
    }

    fn put_aside(&mut self, number: u64, reason: &str) -> Result<(), SpoolError> {
        let aside = self.path.join(REFUSED);
        put(&aside.join(format!("ep_{number:010}.txt")), format!("{reason}\n").as_bytes())?;
        let from = self.episode_path(number);
        std::fs::rename(&from, aside.join(format!("ep_{number:010}.sfep"))).map_err(io("rename", &from))?;
        sync_dir(&aside)?;
        self.refused += 1;
        sync_dir(&self.path)
    }

    fn forget(&mut self, number: u64) {
        if let Some(bytes) = self.waiting.remove(&number) {
            self.bytes -= bytes;
        }
    }

    fn episode_path(&self, number: u64) -> PathBuf {
        self.path.join(format!("ep_{number:010}.sfep"))
    }
}

fn numbered(name: &str, prefix: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    digits.chars().all(|c| c.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn lock(path: &Path) -> Result<File, SpoolError> {
    let lock_path = path.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(io("open", &lock_path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SpoolError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(e)) => Err(io("lock", &lock_path)(e)),
    }
}

fn write_header(path: &Path, header: &Header) -> Result<(), SpoolError> {
    let file = path.join(HEADER);
    let text = serde_json::to_vec_pretty(header).map_err(|e| io("write", &file)(IoError::other(e)))?;
    put(&file, &text)
}

/// Writes a file that is there whole or not at all.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> Result<(), SpoolError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, path));
    if let Err(source) = written {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
        return Err(io("write", path)(source));
    }
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

fn sync_dir(path: &Path) -> Result<(), SpoolError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(io("sync", path))
}

#[cfg(test)]
mod tests {
    use surefoot_core::{Episode, StepEnd};

    use super::*;

    const ID: SpoolId = SpoolId([7; 16]);

    fn shipment(spool: &Spool) -> Shipment {
        let episode = Episode {
            observation: vec![0.5; 4],
            next_observation: vec![0.5; 4],
            action: vec![0.0; 2],
            reward: vec![-1.0; 2],
            end: vec![StepEnd::Running, StepEnd::Truncated],
            ..Episode::default()
        };
        Shipment {
            actor: "a".into(),
            spool: spool.id(),
            number: spool.next_number(),
            policy_version: 3,
            episode,
        }
    }

    fn filled(path: &Path, episodes: usize) -> Spool {
        let mut spool = Spool::open(path, "a", 1 << 20, ID).unwrap();
        for _ in 0..episodes {
            spool.push(&shipment(&spool)).unwrap();
        }
        spool
    }

    #[test]
    fn episodes_survive_and_numbers_are_never_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = filled(dir.path(), 3);
        let sent = spool.oldest().unwrap().unwrap();
        assert_eq!((sent.number, ContentHash::of(&sent.bytes[..sent.bytes.len() - 32])), (0, sent.hash));
        spool.acknowledged(0).unwrap();
        spool.acknowledged(1).unwrap();
        drop(spool);
        let mut spool = Spool::open(dir.path(), "a", 1 << 20, SpoolId([9; 16])).unwrap();
        assert_eq!((spool.id(), spool.len(), spool.next_number()), (ID, 1, 3), "the id stays as well");
        assert_eq!(spool.oldest().unwrap().unwrap().number, 2);
        spool.acknowledged(2).unwrap();
        drop(spool);
        let spool = Spool::open(dir.path(), "a", 1 << 20, ID).unwrap();
        assert!(spool.is_empty() && spool.bytes() == 0);
        assert_eq!(spool.next_number(), 3);
        let markers = std::fs::read_dir(dir.path()).unwrap().flatten();
        let markers = markers.filter(|e| e.file_name().to_string_lossy().starts_with("kept_")).count();
        assert_eq!(markers, 1);
    }

    #[test]
    fn what_a_crash_left_half_written_is_removed_and_damage_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(dir.path(), 3));
        std::fs::write(dir.path().join("ep_0000000003.sfep.tmp"), b"half").unwrap();
        let damaged = dir.path().join("ep_0000000001.sfep");
        let mut bytes = std::fs::read(&damaged).unwrap();
        bytes[30] ^= 1;
        std::fs::write(&damaged, bytes).unwrap();
        let spool = Spool::open(dir.path(), "a", 1 << 20, ID).unwrap();
        assert_eq!(spool.mended(), &Mended { removed: 1, damaged: 1 });
        assert_eq!((spool.len(), spool.refused(), spool.next_number()), (2, 1, 3));
        let reason = std::fs::read_to_string(dir.path().join("refused/ep_0000000001.txt")).unwrap();
        assert!(reason.contains("hash"), "{reason}");
    }

    #[test]
    fn one_actor_uses_a_spool_and_it_is_the_one_that_it_was_made_for() {
        let dir = tempfile::tempdir().unwrap();
        let spool = filled(dir.path(), 0);
        assert!(matches!(Spool::open(dir.path(), "a", 1, ID), Err(SpoolError::InUse { .. })));
        drop(spool);
        let other = Spool::open(dir.path(), "b", 1, ID).unwrap_err().to_string();
        assert!(other.contains("expected b, found a") && other.contains("hint"), "{other}");
    }

    #[test]
    fn the_bound_is_seen_and_a_finished_episode_is_kept_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path(), "a", 300, ID).unwrap();
        assert!(!spool.is_full());
        spool.push(&shipment(&spool)).unwrap();
        spool.push(&shipment(&spool)).unwrap();
        assert!(spool.is_full() && spool.len() == 2);
        spool.refuse(0, "for a test").unwrap();
        assert!(!spool.is_full());
        assert_eq!(spool.refused(), 1);
    }

    #[test]
    fn episodes_of_one_run_are_not_given_to_another() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = filled(dir.path(), 1);
        spool.bind("one").unwrap();
        assert!(spool.bind("two").unwrap_err().to_string().contains("expected two, found one"));
        spool.acknowledged(0).unwrap();
        spool.bind("two").unwrap();
        drop(spool);
        assert_eq!(Spool::open(dir.path(), "a", 1, ID).unwrap().run(), Some("two"));
    }
}
