//! Checkpoints that are there whole or not at all.
//!
//! A checkpoint is written beside its final place, every file brought to the disk, and then renamed. Its `manifest.json` holds
//! length and blake3 of every file, so that a cut or changed one is found before anything is loaded from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use surefoot_core::{Blobs, PolicyArtifact};

use crate::error::{CheckpointDamage, EngineError};
use crate::run_dir::{sync_dir, write_synced};

const FORMAT: &str = "surefoot-checkpoint/1";
const MANIFEST: &str = "manifest.json";
const TEMPORARY: &str = ".tmp-";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEntry {
    bytes: u64,
    blake3: String,
}

/// What a checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: String,
    /// Place in the order of checkpoints of the run.
    sequence: u64,
    /// Whether it stands at the end of a stage, and is kept.
    stage_end: bool,
    files: BTreeMap<String, FileEntry>,
}

/// A written checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its name under `checkpoints/`.
    pub name: String,
    /// Size of its files.
    pub bytes: u64,
}

/// The checkpoints of one run.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    dir: PathBuf,
    run: PathBuf,
}

impl Checkpoints {
    /// Those of a run directory.
    #[must_use]
    pub fn of(run: &Path) -> Self {
        Self { dir: run.join("checkpoints"), run: run.to_owned() }
    }

    /// Where a checkpoint is.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a checkpoint and points `last` to it. `files` are paths inside the checkpoint. Where `name` is taken, a number
    /// is added to it.
    ///
    /// # Errors
    /// What the system says, a full disk for one; the checkpoints that were there are then untouched.
    pub fn write(
        &self,
        name: &str,
        sequence: u64,
        stage_end: bool,
        files: &Blobs,
    ) -> Result<Written, EngineError> {
        self.remove_temporary()?;
        let name = self.free_name(name);
        let temporary = self.dir.join(format!("{TEMPORARY}{name}"));
        let written = self.write_files(&temporary, sequence, stage_end, files).and_then(|bytes| {
            let target = self.path(&name);
            std::fs::rename(&temporary, &target).map_err(EngineError::io("rename to", &target))?;
            sync_dir(&self.dir)?;
            self.link("last", &name)?;
            Ok(Written { name, bytes })
        });
        if written.is_err() {
            // What matters is the first error; leftovers are removed again by the next write.
            let _ = std::fs::remove_dir_all(&temporary);
        }
        written
    }

    fn write_files(
        &self,
        dir: &Path,
        sequence: u64,
        stage_end: bool,
        files: &Blobs,
    ) -> Result<u64, EngineError> {
        let mut manifest = Manifest { format: FORMAT.into(), sequence, stage_end, files: BTreeMap::new() };
        let mut dirs = vec![dir.to_owned()];
        let mut total = 0;
        for (file, bytes) in files {
            let path = dir.join(file);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(EngineError::io("create", parent))?;
                if !dirs.iter().any(|d| d == parent) {
                    dirs.push(parent.to_owned());
                }
            }
            write_synced(&path, bytes)?;
            total += bytes.len() as u64;
            let blake3 = blake3::hash(bytes).to_hex().to_string();
            manifest.files.insert(file.clone(), FileEntry { bytes: bytes.len() as u64, blake3 });
        }
        let path = dir.join(MANIFEST);
        let bytes = serde_json::to_vec_pretty(&manifest)
            .map_err(|e| EngineError::io("encode", &path)(std::io::Error::other(e)))?;
        write_synced(&path, &bytes)?;
        for d in dirs.iter().rev() {
            sync_dir(d)?;
        }
        Ok(total + bytes.len() as u64)
    }

    /// Points `last` or `best` to a checkpoint, by a relative link.
    ///
    /// # Errors
    /// What the system says.
    pub fn link(&self, link: &str, name: &str) -> Result<(), EngineError> {
        let temporary = self.dir.join(format!("{TEMPORARY}{link}"));
        let target = self.dir.join(link);
        let _ = std::fs::remove_file(&temporary);
        std::os::unix::fs::symlink(name, &temporary)
            .and_then(|()| std::fs::rename(&temporary, &target))
            .map_err(EngineError::io("link", &target))?;
        sync_dir(&self.dir)
    }

    /// The checkpoint that `last` or `best` points to.
    #[must_use]
    pub fn linked(&self, link: &str) -> Option<String> {
        let target = std::fs::read_link(self.dir.join(link)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// Removes checkpoints except the newest `keep`, those at the end of a stage, and what `last` and `best` point to.
    ///
    /// # Errors
    /// What the system says.
    pub fn prune(&self, keep: usize) -> Result<(), EngineError> {
        let linked = [self.linked("last"), self.linked("best")];
        let passing: Vec<String> = self
            .list()?
            .into_iter()
            .filter(|(_, m)| m.as_ref().is_some_and(|m| !m.stage_end))
            .map(|(name, _)| name)
            .collect();
        for name in passing.iter().rev().skip(keep) {
            if !linked.iter().flatten().any(|l| l == name) {
                let path = self.path(name);
                std::fs::remove_dir_all(&path).map_err(EngineError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Reads a checkpoint, `last` when no name is given, and checks every file of it.
    ///
    /// # Errors
    /// When there is none, or it is damaged: names the file, and the newest intact checkpoint.
    pub fn read(&self, name: Option<&str>) -> Result<(String, Blobs), EngineError> {
        let missing =
            || EngineError::CheckpointMissing { path: self.run.clone(), name: name.map(ToOwned::to_owned) };
        let wanted = match name {
            Some(link @ ("last" | "best")) => self.linked(link).ok_or_else(missing)?,
            Some(name) => name.to_owned(),
            None => match self.linked("last") {
                Some(name) => name,
                None => self.list()?.pop().ok_or_else(missing)?.0,
            },
        };
        let plain = !wanted.is_empty() && !wanted.contains(['/', '\\']) && wanted != "..";
        let followed = matches!(name, None | Some("last" | "best"));
        if !plain || !(followed || self.path(&wanted).is_dir()) {
            return Err(missing());
        }
        // Where a link leads nowhere, the manifest is what is missing.
        match self.read_checked(&wanted) {
            Err(EngineError::CheckpointDamaged(mut damage)) => {
                damage.hint = self.newest_intact_but(&wanted)?.map_or_else(
                    || "there is no other intact checkpoint in this run".to_owned(),
                    |other| format!("the newest intact one is {other}: resume with `--checkpoint {other}`"),
                );
                Err(EngineError::CheckpointDamaged(damage))
            }
            other => other.map(|blobs| (wanted, blobs)),
        }
    }

    fn newest_intact_but(&self, name: &str) -> Result<Option<String>, EngineError> {
        let names = self.list()?.into_iter().map(|(n, _)| n).rev().filter(|n| n != name);
        Ok(names.into_iter().find(|n| self.read_checked(n).is_ok()))
    }

    fn read_checked(&self, name: &str) -> Result<Blobs, EngineError> {
        let damaged = |file: &str, what, expected: String, found: String| {
            let (name, file) = (name.to_owned(), file.to_owned());
            let damage = CheckpointDamage { name, file, what, expected, found, hint: String::new() };
            EngineError::CheckpointDamaged(Box::new(damage))
        };
        let dir = self.path(name);
        let manifest = std::fs::read(dir.join(MANIFEST))
            .map_err(|e| damaged(MANIFEST, "content", "a readable file".into(), e.to_string()))?;
        let manifest: Manifest = serde_json::from_slice(&manifest)
            .map_err(|e| damaged(MANIFEST, "content", "a checkpoint manifest".into(), e.to_string()))?;
        if manifest.format != FORMAT {
            return Err(damaged(MANIFEST, "format", FORMAT.into(), manifest.format));
        }
        let mut blobs = Blobs::new();
        for (file, entry) in manifest.files {
            let bytes = std::fs::read(dir.join(&file))
                .map_err(|e| damaged(&file, "content", "a readable file".into(), e.to_string()))?;
            if bytes.len() as u64 != entry.bytes {
                let (expected, found) = (format!("{} bytes", entry.bytes), format!("{} bytes", bytes.len()));
                return Err(damaged(&file, "length", expected, found));
            }
            let hash = blake3::hash(&bytes).to_hex().to_string();
            if hash != entry.blake3 {
                return Err(damaged(&file, "blake3", entry.blake3, hash));
            }
            blobs.insert(file, bytes);
        }
        Ok(blobs)
    }

    /// Names, oldest first; those without a readable manifest come first.
    fn list(&self) -> Result<Vec<(String, Option<Manifest>)>, EngineError> {
        let io = EngineError::io("read", &self.dir);
        let mut found = Vec::new();
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) => return Err(io(e)),
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
            if is_dir && !name.starts_with('.') {
                let manifest = std::fs::read(entry.path().join(MANIFEST)).ok();
                let manifest = manifest.and_then(|b| serde_json::from_slice::<Manifest>(&b).ok());
                found.push((manifest.as_ref().map(|m| m.sequence), name, manifest));
            }
        }
        found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        Ok(found.into_iter().map(|(_, name, manifest)| (name, manifest)).collect())
    }

    fn free_name(&self, name: &str) -> String {
        let taken = |n: &str| self.path(n).symlink_metadata().is_ok();
        let mut candidate = name.to_owned();
        let mut number = 2;
        while taken(&candidate) {
            candidate = format!("{name}-{number}");
            number += 1;
        }
        candidate
    }

    fn remove_temporary(&self) -> Result<(), EngineError> {
        let entries = std::fs::read_dir(&self.dir).map_err(EngineError::io("read", &self.dir))?;
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                let path = entry.path();
                let removed =
                    if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
                removed.map_err(EngineError::io("remove", &path))?;
            }
        }
        Ok(())
    }
}

/// `policy.json` and `policy.safetensors` of an artefact, in this directory of a checkpoint.
pub(crate) fn policy_files(
    directory: &str,
    artifact: &PolicyArtifact,
    files: &mut Blobs,
) -> Result<(), serde_json::Error> {
    let PolicyArtifact { card, weights } = artifact;
    files.insert(format!("{directory}/policy.json"), serde_json::to_vec_pretty(card)?);
    files.insert(format!("{directory}/policy.safetensors"), weights.clone());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(tag: u8, bytes: usize) -> Blobs {
        [("learner/weights".to_owned(), vec![tag; bytes]), ("state.json".to_owned(), vec![tag])].into()
    }

    fn run() -> (tempfile::TempDir, Checkpoints) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("checkpoints")).unwrap();
        let checkpoints = Checkpoints::of(dir.path());
        (dir, checkpoints)
    }

    #[test]
    fn the_newest_and_the_stage_ends_are_kept() {
        let (_dir, checkpoints) = run();
        for i in 0..6 {
            checkpoints.write(&format!("online-{i:09}"), i, i == 1, &files(i as u8, 10)).unwrap();
            checkpoints.prune(2).unwrap();
        }
        let names: Vec<String> = checkpoints.list().unwrap().into_iter().map(|(n, _)| n).collect();
        assert_eq!(names, ["online-000000001", "online-000000004", "online-000000005"]);
        assert_eq!(checkpoints.linked("last").unwrap(), "online-000000005");
        assert_eq!(checkpoints.read(None).unwrap(), ("online-000000005".into(), files(5, 10)));
        assert_eq!(checkpoints.read(Some("online-000000001")).unwrap().1, files(1, 10));
        let again = checkpoints.write("online-000000005", 9, false, &files(9, 10)).unwrap();
        assert_eq!(again.name, "online-000000005-2");
        assert!(matches!(
            checkpoints.read(Some("../checkpoints")).unwrap_err(),
            EngineError::CheckpointMissing { .. }
        ));
    }

    #[test]
    fn a_cut_or_changed_checkpoint_names_the_file_and_the_newest_intact_one() {
        let (_dir, checkpoints) = run();
        for i in 0..3 {
            checkpoints.write(&format!("c{i}"), i, true, &files(i as u8, 100)).unwrap();
        }
        let weights = |n: &str| checkpoints.path(n).join("learner/weights");
        std::fs::write(weights("c2"), vec![2; 60]).unwrap();
        let cut = checkpoints.read(None).unwrap_err().to_string();
        assert!(cut.contains("learner/weights: length: expected 100 bytes, found 60 bytes"), "{cut}");
        assert!(cut.contains("--checkpoint c1"), "{cut}");
        let mut changed = vec![1; 100];
        changed[99] = 0;
        std::fs::write(weights("c1"), changed).unwrap();
        let hash = checkpoints.read(Some("c1")).unwrap_err().to_string();
        assert!(hash.contains("blake3: expected") && hash.contains("--checkpoint c0"), "{hash}");
        std::fs::remove_file(checkpoints.path("c0").join(MANIFEST)).unwrap();
        let manifest = checkpoints.read(Some("c0")).unwrap_err().to_string();
        assert!(manifest.contains("manifest.json") && manifest.contains("no other intact"), "{manifest}");
    }

    #[test]
    fn a_link_to_a_checkpoint_that_is_gone_names_the_newest_intact_one() {
        let (_dir, checkpoints) = run();
        for i in 0..3 {
            checkpoints.write(&format!("c{i}"), i, true, &files(i as u8, 100)).unwrap();
        }
        std::fs::remove_dir_all(checkpoints.path("c2")).unwrap();
        for name in [None, Some("last")] {
            let gone = checkpoints.read(name).unwrap_err().to_string();
            assert!(gone.contains("checkpoint c2") && gone.contains("--checkpoint c1"), "{gone}");
        }
        assert!(matches!(checkpoints.read(Some("c2")).unwrap_err(), EngineError::CheckpointMissing { .. }));
    }

    /// Needs the right to mount: says so and passes where it is missing.
    #[test]
    fn a_full_disk_leaves_the_previous_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
            .arg(dir.path())
            .output();
        if !mount.is_ok_and(|o| o.status.success()) {
            println!("skipped: this process may not mount a tmpfs");
            return;
        }
        std::fs::create_dir(dir.path().join("checkpoints")).unwrap();
        let checkpoints = Checkpoints::of(dir.path());
        let first = checkpoints.write("first", 0, false, &files(1, 100_000));
        let second = checkpoints.write("second", 1, false, &files(2, 1_000_000));
        let after = checkpoints.read(None);
        let left = std::fs::read_dir(&checkpoints.dir).unwrap().flatten().count();
        let unmounted = std::process::Command::new("umount").arg(dir.path()).status().unwrap();
        assert!(unmounted.success());
        first.unwrap();
        let error = second.unwrap_err();
        assert!(error.to_string().contains("No space left on device"), "{error}");
        assert_eq!(after.unwrap(), ("first".into(), files(1, 100_000)));
        assert_eq!(left, 2, "the first checkpoint and the link, no leftovers");
    }
}
