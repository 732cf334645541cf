//! Which episodes were kept, from whom, and in which order: `fleet.jsonl` in the run directory.
//!
//! The store is what counts: every stored episode carries the same facts as attributes, so lines that a crash cut off are written
//! again from there. The file is so that a program need not read every episode when it begins, and for people to read.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Error as IoError, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use surefoot_core::{DataError, Episode, EpisodeStore};

use super::shipment::{ContentHash, Shipment, SpoolId};
use super::spool::put;

/// Attributes that a stored episode has beside those that its actor gave it.
pub const ACTOR: &str = "actor";
/// The actor's spool.
pub const SPOOL: &str = "actor_spool";
/// The episode's number there.
pub const NUMBER: &str = "actor_episode";
/// Hash of the shipment that it came in.
pub const CONTENT: &str = "content_blake3";
/// Version of the policy that drove it.
pub const POLICY_VERSION: &str = "policy_version";
/// All of them: what an actor may not give itself.
pub const RESERVED: [&str; 5] = [ACTOR, SPOOL, NUMBER, CONTENT, POLICY_VERSION];

/// A longer line is damage.
const MAX_LINE_BYTES: u64 = 1 << 12;

/// A kept episode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerLine {
    /// Its number in the store.
    pub index: u64,
    /// The actor's name.
    pub actor: String,
    /// Its spool.
    pub spool: String,
    /// Its number there.
    pub number: u64,
    /// Hash of its content.
    pub blake3: String,
    /// Version of the policy that drove it.
    pub policy_version: u64,
    /// Its steps.
    pub steps: usize,
}

/// A shipment as it is stored: an episode that says where it came from.
#[must_use]
pub fn stored(shipment: Shipment, hash: ContentHash) -> Episode {
    let Shipment { actor, spool, number, policy_version, mut episode } = shipment;
    for (key, value) in [
        (ACTOR, actor),
        (SPOOL, spool.to_string()),
        (NUMBER, number.to_string()),
        (CONTENT, hash.to_string()),
        (POLICY_VERSION, policy_version.to_string()),
    ] {
        episode.attributes.insert(key.to_owned(), value);
    }
    episode
}

/// The shipment that a stored episode came in, and the hash that it was kept under; `None` where it says nothing of any.
#[must_use]
pub fn shipment_of(episode: &Episode) -> Option<(Shipment, ContentHash)> {
    let mut episode = episode.clone();
    let mut take = |key: &str| episode.attributes.remove(key);
    let (actor, spool) = (take(ACTOR)?, SpoolId::from_hex(&take(SPOOL)?)?);
    let (number, hash) = (take(NUMBER)?.parse().ok()?, ContentHash::from_hex(&take(CONTENT)?)?);
    let policy_version = take(POLICY_VERSION)?.parse().ok()?;
    Some((Shipment { actor, spool, number, policy_version, episode }, hash))
}

/// Every kept episode, by where it came from and by content.
#[derive(Debug)]
pub(crate) struct Ledger {
    file: File,
    path: PathBuf,
    by_origin: BTreeMap<(String, SpoolId, u64), (ContentHash, u64)>,
    by_content: BTreeMap<ContentHash, u64>,
    /// A line could not be written: it and those after it are written when the next program begins.
    behind: bool,
}

fn io(path: &Path) -> impl FnOnce(IoError) -> DataError {
    let path = path.to_owned();
    move |source| DataError::Io { path, source }
}

impl Ledger {
    /// Reads the ledger beside a store, and completes it.
    pub(crate) fn open(path: &Path, store: &dyn EpisodeStore) -> Result<Self, DataError> {
        let mut lines = read_lines(path).map_err(io(path))?;
        let whole = lines.len() as u64 <= store.count();
        let written = lines.len();
        for index in written as u64..store.count() {
            lines.push(line_of(index, &store.read(index)?, path)?);
        }
        if !whole {
            return Err(DataError::Shape {
                path: path.to_owned(),
                item: "lines".into(),
                expected: format!("at most one for each of the {} episodes beside it", store.count()),
                found: lines.len().to_string(),
            });
        }
        let mut text = Vec::new();
        for line in &lines {
            serde_json::to_writer(&mut text, line).map_err(|e| io(path)(e.into()))?;
            text.push(b'\n');
        }
        // What a crash cut off is replaced as a whole.
        if std::fs::read(path).ok().as_deref() != Some(&text) {
            put(path, &text).map_err(|e| io(path)(IoError::other(e)))?;
        }
        let file = OpenOptions::new().append(true).open(path).map_err(io(path))?;
        let mut ledger = Self {
            file,
            path: path.to_owned(),
            by_origin: BTreeMap::new(),
            by_content: BTreeMap::new(),
            behind: false,
        };
        for line in lines {
            ledger.note(&line)?;
        }
        Ok(ledger)
    }

    fn note(&mut self, line: &LedgerLine) -> Result<(), DataError> {
        let malformed = |what: &str| DataError::Shape {
            path: self.path.clone(),
            item: format!("line {}", line.index + 1),
            expected: format!("a {what}"),
            found: format!("{line:?}"),
        };
        let spool = SpoolId::from_hex(&line.spool).ok_or_else(|| malformed("spool"))?;
        let hash = ContentHash::from_hex(&line.blake3).ok_or_else(|| malformed("hash"))?;
        self.by_origin.insert((line.actor.clone(), spool, line.number), (hash, line.index));
        self.by_content.insert(hash, line.index);
        Ok(())
    }

    /// Notes an episode that was stored.
    pub(crate) fn append(&mut self, line: &LedgerLine) -> Result<(), DataError> {
        self.note(line)?;
        let mut text = serde_json::to_vec(line).unwrap_or_default();
        text.push(b'\n');
        // The episode is stored: a line that cannot be written now is written from it later.
        self.behind = self.behind || self.file.write_all(&text).is_err();
        Ok(())
    }

    /// The number of the episode with this content, where it was kept.
    pub(crate) fn kept(&self, hash: ContentHash) -> Option<u64> {
        self.by_content.get(&hash).copied()
    }

    /// What was kept under this number of this spool.
    pub(crate) fn of_origin(&self, actor: &str, spool: SpoolId, number: u64) -> Option<(ContentHash, u64)> {
        self.by_origin.get(&(actor.to_owned(), spool, number)).copied()
    }

    /// The least number above all kept ones of a spool.
    pub(crate) fn next_number(&self, actor: &str, spool: SpoolId) -> u64 {
        let range = (actor.to_owned(), spool, 0)..=(actor.to_owned(), spool, u64::MAX);
        self.by_origin.range(range).next_back().map_or(0, |((_, _, number), _)| number.saturating_add(1))
    }
}

/// What stands in the ledger of a stored episode.
pub(crate) fn line_of(index: u64, episode: &Episode, path: &Path) -> Result<LedgerLine, DataError> {
    let Some((shipment, hash)) = shipment_of(episode) else {
        return Err(DataError::Shape {
            path: path.to_owned(),
            item: format!("episode {index}"),
            expected: "attributes that say from which actor it came".into(),
            found: format!("{:?}", episode.attributes.keys().collect::<Vec<_>>()),
        });
    };
    let Shipment { actor, spool, number, policy_version, episode: _ } = shipment;
    let (spool, blake3, steps) = (spool.to_string(), hash.to_string(), episode.len());
    Ok(LedgerLine { index, actor, spool, number, blake3, policy_version, steps })
}

/// Lines from the beginning, up to the first that is torn, damaged or out of order.
fn read_lines(path: &Path) -> std::io::Result<Vec<LedgerLine>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut reader = BufReader::new(file);
    let (mut lines, mut line) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
        let read = line.ends_with(b"\n").then(|| serde_json::from_slice::<LedgerLine>(&line));
        match read {
            Some(Ok(line)) if line.index == lines.len() as u64 => lines.push(line),
            _ => return Ok(lines),
        }
    }
}

/// Reads a ledger, for people and programs that look at a run: lines from the beginning, up to the first that is torn.
///
/// # Errors
/// What the system says.
pub fn read_ledger(path: &Path) -> std::io::Result<Vec<LedgerLine>> {
    read_lines(path)
}
