//! Recorded episodes with their provenance: golden files, and the episodes that a suite has run so far.
//!
//! `NAME.json` is for people and for diffs: where it comes from and what came of each episode. `NAME.trace` beside it holds the signals,
//! where there are any. The first carries hashes of both.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::episode::EpisodeRecord;
use super::trace::{self, Trace};
use crate::EngineError;
use crate::run_dir::write_atomic;

/// The format that this version reads and writes.
pub const FORMAT: &str = "surefoot-golden/1";

/// What episodes were made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Name of the scenario.
    pub scenario: String,
    /// blake3 of the world's settings, the seeds and the faults.
    pub scenario_hash: String,
    /// Hash of the robot contract, where there is a robot.
    pub contract_hash: Option<String>,
    /// blake3 of what policies see and do.
    pub spec_hash: String,
    /// What acts, in words.
    pub policy: String,
    /// blake3 of what acts.
    pub policy_hash: String,
    /// Version of this program, and the commit where known.
    pub version: String,
    /// The compiler.
    pub rustc: String,
    /// Processor and operating system.
    pub target: String,
    /// Optional parts of this program that are switched on, and `debug` or `release`.
    pub features: Vec<String>,
    /// Vector instructions that the results depend on; empty where they do not.
    pub vector: String,
}

impl Provenance {
    /// The first thing that makes episodes of `self` (golden) and `now` incomparable: `(what, golden, now)`. `exact`: machine and
    /// instructions matter as well.
    #[must_use]
    pub fn incomparable(&self, now: &Self, exact: bool) -> Option<(&'static str, String, String)> {
        let text = |h: &Option<String>| h.clone().unwrap_or_else(|| "none".into());
        let mut items = vec![
            ("contract", text(&self.contract_hash), text(&now.contract_hash)),
            ("scenario", self.scenario_hash.clone(), now.scenario_hash.clone()),
            ("observations or actions", self.spec_hash.clone(), now.spec_hash.clone()),
        ];
        if exact {
            items.push(("target", self.target.clone(), now.target.clone()));
            items.push(("vector instructions", self.vector.clone(), now.vector.clone()));
        }
        items.into_iter().find(|(_, golden, now)| golden != now)
    }

    /// What else differs, for people.
    #[must_use]
    pub fn other_differences(&self, now: &Self) -> Vec<String> {
        let items = [
            (
                "policy",
                format!("{} {}", self.policy, short(&self.policy_hash)),
                format!("{} {}", now.policy, short(&now.policy_hash)),
            ),
            ("version", self.version.clone(), now.version.clone()),
            ("compiler", self.rustc.clone(), now.rustc.clone()),
            ("target", self.target.clone(), now.target.clone()),
            ("features", self.features.join(" "), now.features.join(" ")),
        ];
        items
            .into_iter()
            .filter(|(_, golden, now)| golden != now)
            .map(|(what, golden, now)| format!("{what}: golden {golden}, now {now}"))
            .collect()
    }
}

/// The beginning of a hash.
#[must_use]
pub fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

/// Recorded episodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// [`FORMAT`].
    pub format: String,
    /// What they were made of.
    pub provenance: Provenance,
    /// blake3 of the program that made them; empty in golden files, which outlive it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program: String,
    /// Place of the first one among the seeds.
    pub first: usize,
    /// What came of each.
    pub episodes: Vec<EpisodeRecord>,
    /// blake3 of the file of traces, where there is one.
    pub trace_blake3: Option<String>,
    /// blake3 of everything above.
    pub blake3: String,
    /// The signals of each episode; empty where none are kept.
    #[serde(skip)]
    pub traces: Vec<Trace>,
}

/// Why recorded episodes cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} is damaged: {what}: expected {expected}, found {found}", path.display())]
pub struct GoldenDamage {
    /// The file.
    pub path: PathBuf,
    /// Which part.
    pub what: String,
    /// What belongs there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl Recorded {
    /// Episodes to be written.
    #[must_use]
    pub fn new(
        provenance: Provenance,
        program: String,
        first: usize,
        episodes: Vec<EpisodeRecord>,
        traces: Vec<Trace>,
    ) -> Self {
        let (format, blake3) = (FORMAT.to_owned(), String::new());
        Self { format, provenance, program, first, episodes, trace_blake3: None, blake3, traces }
    }

    fn content_hash(&self) -> Result<String, serde_json::Error> {
        let content =
            (&self.format, &self.provenance, &self.program, self.first, &self.episodes, &self.trace_blake3);
        Ok(blake3::hash(&serde_json::to_vec(&content)?).to_hex().to_string())
    }

    /// Writes `NAME.json` and, where there are traces, `NAME.trace` into a directory that is made if need be. The JSON comes last: what it
    /// names is there.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write(mut self, directory: &Path, name: &str) -> Result<(), EngineError> {
        std::fs::create_dir_all(directory).map_err(EngineError::io("create", directory))?;
        let [json, traces] = paths(directory, name);
        self.trace_blake3 = None;
        if !self.traces.is_empty() {
            let bytes = trace::encode(&self.traces).map_err(EngineError::io("encode", &traces))?;
            self.trace_blake3 = Some(blake3::hash(&bytes).to_hex().to_string());
            write_atomic(&traces, &bytes)?;
        }
        let encoding = |e: serde_json::Error| EngineError::io("encode", &json)(e.into());
        self.blake3 = self.content_hash().map_err(encoding)?;
        let mut bytes = serde_json::to_vec_pretty(&self).map_err(encoding)?;
        bytes.push(b'\n');
        write_atomic(&json, &bytes)
    }

    /// Reads what was written under a name; `None` where nothing was.
    ///
    /// # Errors
    /// [`GoldenDamage`] when it is not as it was written.
    pub fn read(directory: &Path, name: &str) -> Result<Option<Self>, GoldenDamage> {
        let [json, traces] = paths(directory, name);
        let damage = |path: &Path, what: &str, expected: &str, found: String| GoldenDamage {
            path: path.to_owned(),
            what: what.into(),
            expected: expected.into(),
            found,
        };
        let bytes = match std::fs::read(&json) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(damage(&json, "file", "one that can be read", e.to_string())),
        };
        let format = serde_json::from_slice::<serde_json::Value>(&bytes)
            .map_err(|e| damage(&json, "content", "JSON", e.to_string()))?
            .get("format")
            .and_then(|f| f.as_str().map(str::to_owned));
        if format.as_deref() != Some(FORMAT) {
            return Err(damage(&json, "format", FORMAT, format.unwrap_or_else(|| "none".into())));
        }
        let mut read: Self = serde_json::from_slice(&bytes)
            .map_err(|e| damage(&json, "content", "recorded episodes", e.to_string()))?;
        let hash =
            read.content_hash().map_err(|e| damage(&json, "content", "recorded episodes", e.to_string()))?;
        if hash != read.blake3 {
            return Err(damage(&json, "blake3", &read.blake3, hash));
        }
        if let Some(expected) = &read.trace_blake3 {
            let bytes = std::fs::read(&traces)
                .map_err(|e| damage(&traces, "file", "the signals of these episodes", e.to_string()))?;
            let hash = blake3::hash(&bytes).to_hex().to_string();
            if hash != *expected {
                return Err(damage(&traces, "blake3", expected, hash));
            }
            read.traces = trace::decode(&bytes).map_err(|e| damage(&traces, e.what, &e.expected, e.found))?;
            if read.traces.len() != read.episodes.len() {
                let expected = format!("{} episodes", read.episodes.len());
                return Err(damage(&traces, "episodes", &expected, read.traces.len().to_string()));
            }
        }
        Ok(Some(read))
    }

    /// Whether two say the same of the same episodes: what is new then need not be written.
    #[must_use]
    pub fn same_episodes(&self, other: &Self) -> bool {
        let hashes = |r: &Self| r.traces.iter().map(Trace::hash).collect::<Vec<_>>();
        self.episodes == other.episodes
            && self.provenance.incomparable(&other.provenance, true).is_none()
            && self.provenance.policy_hash == other.provenance.policy_hash
            && hashes(self) == hashes(other)
    }
}

fn paths(directory: &Path, name: &str) -> [PathBuf; 2] {
    [directory.join(format!("{name}.json")), directory.join(format!("{name}.trace"))]
}

#[cfg(test)]
mod tests {
    use super::super::trace::tests::trace;
    use super::*;

    fn recorded() -> Recorded {
        let provenance =
            Provenance { scenario: "push".into(), target: "x86_64-linux".into(), ..Provenance::default() };
        let episodes = vec![EpisodeRecord::default(), EpisodeRecord { steps: 4, ..EpisodeRecord::default() }];
        let traces = vec![trace(3, |r, s| (r + s) as f32), trace(4, |r, s| (r * s) as f32)];
        Recorded::new(provenance, String::new(), 0, episodes, traces)
    }

    #[test]
    fn what_is_read_is_what_was_written_and_damage_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        assert!(Recorded::read(at, "push").unwrap().is_none());
        recorded().write(at, "push").unwrap();
        let read = Recorded::read(at, "push").unwrap().unwrap();
        assert!(read.same_episodes(&recorded()));
        assert_eq!(read.traces, recorded().traces);
        let [json, traces] = paths(at, "push");
        let (text, bytes) = (std::fs::read_to_string(&json).unwrap(), std::fs::read(&traces).unwrap());
        let said = || Recorded::read(at, "push").unwrap_err().to_string();
        for (edited, words) in [
            (text.replace("\"steps\": 4", "\"steps\": 5"), "blake3"),
            (text.replace(FORMAT, "surefoot-golden/9"), "surefoot-golden/9"),
            (text[..text.len() / 2].to_owned(), "JSON"),
            (text.replace("\"first\"", "\"frist\""), "frist"),
        ] {
            std::fs::write(&json, edited).unwrap();
            assert!(said().contains(words) && said().contains("push.json"), "{}", said());
        }
        std::fs::write(&json, &text).unwrap();
        std::fs::write(&traces, &bytes[..bytes.len() - 1]).unwrap();
        assert!(said().contains("push.trace") && said().contains("blake3"), "{}", said());
        std::fs::remove_file(&traces).unwrap();
        assert!(said().contains("push.trace"), "{}", said());
    }

    #[test]
    fn what_makes_episodes_incomparable_is_named() {
        let golden = recorded().provenance;
        let with = |change: fn(&mut Provenance)| {
            let mut now = golden.clone();
            change(&mut now);
            [true, false].map(|exact| golden.incomparable(&now, exact).map(|(what, ..)| what))
        };
        assert_eq!(with(|_| {}), [None, None]);
        assert_eq!(with(|p| p.contract_hash = Some("x".into())), [Some("contract"); 2]);
        assert_eq!(with(|p| p.scenario_hash = "x".into()), [Some("scenario"); 2]);
        assert_eq!(with(|p| p.target = "aarch64-linux".into()), [Some("target"), None]);
        assert_eq!(with(|p| p.policy_hash = "x".into()), [None, None]);
    }
}
