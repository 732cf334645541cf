//! `info`: what is in a dataset, without reading it all.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use surefoot_core::DataError;

use crate::h5::{ArrayInfo, ChildKind, Container, Hdf5Error};
use crate::open::{Arrays, OpenOptions, open_any};
use crate::table::{plain, write_table};

/// Arrays listed at most.
const MAX_ARRAYS: usize = 200;

/// Groups looked into for arrays at most.
const MAX_GROUPS: usize = 500;

/// An array of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArrayLine {
    /// Path inside the file.
    pub path: String,
    /// Shape and type.
    #[serde(flatten)]
    pub info: ArrayInfo,
}

/// A named subset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MaskLine {
    /// Name.
    pub name: String,
    /// Episodes in it.
    pub episodes: usize,
}

/// What is in a dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InfoReport {
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Blake3 of the file.
    pub hash: String,
    /// Format's registry name.
    pub format: &'static str,
    /// Environment, where stated.
    pub env: Option<String>,
    /// Robot contract, where stated.
    pub contract_hash: Option<String>,
    /// Hash of the import section that it was made of logs by, where stated.
    pub import_hash: Option<String>,
    /// Episodes.
    pub episodes: usize,
    /// Keys of the observation row with their widths.
    pub observation_keys: Vec<(String, usize)>,
    /// Numbers in an observation row.
    pub observation_dim: usize,
    /// Numbers in an action row.
    pub action_dim: usize,
    /// Units of the action row, where stated.
    pub action_units: Option<Vec<String>>,
    /// Named subsets.
    pub masks: Vec<MaskLine>,
    /// Arrays of the first episode, or of the whole file where it is flat.
    pub arrays: Vec<ArrayLine>,
    /// What a user should know.
    pub notes: Vec<String>,
    /// What contradicts itself.
    pub problems: Vec<String>,
}

/// Looks into a dataset.
///
/// # Errors
/// When it cannot be opened.
pub fn info(path: &Path, options: &OpenOptions) -> Result<InfoReport, DataError> {
    let opened = open_any(path, options)?;
    let meta = opened.source.meta();
    let arrays = match &opened.arrays {
        Arrays::Hdf5 { container, group } => {
            list(container, group).map_err(|e| container.error(meta.format, e))?
        }
        Arrays::Listed(lines) => lines.iter().take(MAX_ARRAYS).cloned().collect(),
    };
    Ok(InfoReport {
        path: meta.path.clone(),
        bytes: opened.bytes,
        hash: meta.hash.clone(),
        format: meta.format,
        env: meta.env.clone(),
        contract_hash: meta.contract_hash.clone(),
        import_hash: meta.import_hash.clone(),
        episodes: opened.source.len(),
        observation_keys: meta.observation_keys.clone(),
        observation_dim: meta.observation_dim,
        action_dim: meta.action_dim,
        action_units: meta.action_units.clone(),
        masks: meta.masks.iter().map(|(n, m)| MaskLine { name: n.clone(), episodes: m.len() }).collect(),
        arrays,
        notes: meta.notes.clone(),
        problems: opened.problems.iter().map(ToString::to_string).collect(),
    })
}

/// Lists the arrays under a group, in all bounded: groups can contain themselves.
fn list(container: &Container, start: &str) -> Result<Vec<ArrayLine>, Hdf5Error> {
    let mut arrays = Vec::new();
    let mut groups = vec![(start.to_owned(), 0)];
    let mut found = groups.len();
    while let Some((group, depth)) = groups.pop() {
        for (name, kind) in container.file().children(&group)? {
            let path = if group.is_empty() { name } else { format!("{group}/{name}") };
            match kind {
                ChildKind::Group if depth < 6 && found < MAX_GROUPS => {
                    groups.push((path, depth + 1));
                    found += 1;
                }
                ChildKind::Dataset if arrays.len() < MAX_ARRAYS => {
                    let info = container.file().info(&path)?;
                    arrays.push(ArrayLine { path, info });
                }
                _ => {}
            }
        }
    }
    arrays.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(arrays)
}

impl fmt::Display for InfoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, bytes, hash, format, env, contract_hash, episodes, .. } = self;
        writeln!(f, "{}", plain(&path.display().to_string()))?;
        let unknown = || "not stated".to_owned();
        let mut lines = vec![
            ("format", (*format).to_owned()),
            ("size", format!("{:.1} MB", *bytes as f64 / 1e6)),
            ("blake3", hash.clone()),
            ("environment", env.clone().unwrap_or_else(unknown)),
            ("robot contract", contract_hash.clone().unwrap_or_else(unknown)),
            ("episodes", episodes.to_string()),
        ];
        if let Some(hash) = &self.import_hash {
            lines.insert(5, ("import section", hash.clone()));
        }
        let keys: Vec<String> = self.observation_keys.iter().map(|(k, w)| format!("{k} [{w}]")).collect();
        lines.push(("observation row", format!("{} numbers: {}", self.observation_dim, keys.join(", "))));
        let units = self.action_units.as_ref().map_or_else(|| "units not stated".into(), |u| u.join(", "));
        lines.push(("action row", format!("{} numbers: {units}", self.action_dim)));
        let masks: Vec<String> = self.masks.iter().map(|m| format!("{} ({})", m.name, m.episodes)).collect();
        lines.push(("masks", if masks.is_empty() { "none".into() } else { masks.join(", ") }));
        for (label, value) in lines {
            writeln!(f, "  {label:<16} {}", plain(&value))?;
        }
        writeln!(f)?;
        let rows: Vec<Vec<String>> = self
            .arrays
            .iter()
            .map(|a| {
                let shape: Vec<String> = a.info.shape.iter().map(ToString::to_string).collect();
                vec![a.path.clone(), format!("[{}]", shape.join(", ")), a.info.element.name().to_owned()]
            })
            .collect();
        write_table(f, &["array", "shape", "type"], &rows)?;
        for note in &self.notes {
            writeln!(f, "  note: {}", plain(note))?;
        }
        for problem in &self.problems {
            writeln!(f, "  problem: {}", plain(problem))?;
        }
        Ok(())
    }
}
