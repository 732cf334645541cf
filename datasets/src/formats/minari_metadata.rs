//! Minari's `metadata.json`: JSON as Python writes it, with spaces as JSON texts inside it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use surefoot_core::{DataError, EnvSpec};

use super::minari::{METADATA, NAME};
use crate::input::Directory;

/// Key of what this program writes: its `infos` and attributes are those of the native format.
pub(super) const SCHEMA: &str = "surefoot_schema";

/// Key under which this program states its own spec.
pub(super) const SPEC: &str = "surefoot_env_spec";

/// What is read of it; other keys may be there.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Metadata {
    pub(super) total_episodes: Option<u64>,
    pub(super) total_steps: Option<u64>,
    data_format: Option<String>,
    jpeg_encoding: Option<bool>,
    observation_space: Option<String>,
    action_space: Option<String>,
    env_spec: Option<String>,
    dataset_id: Option<String>,
    surefoot_env_spec: Option<String>,
    surefoot_schema: Option<u64>,
    pub(super) surefoot_import_hash: Option<String>,
}

/// A Gymnasium space, with bounds of the type that somebody wants to know.
#[derive(Deserialize)]
#[serde(bound = "B: DeserializeOwned + Default")]
struct Space<B> {
    #[serde(rename = "type")]
    kind: String,
    dtype: Option<String>,
    #[serde(default)]
    shape: Vec<usize>,
    #[serde(default)]
    low: B,
    #[serde(default)]
    high: B,
    subspaces: Option<Subspaces>,
}

/// Of nested spaces the types are enough.
#[derive(Deserialize)]
#[serde(untagged)]
enum Subspaces {
    Dict(BTreeMap<String, Space<Ignored>>),
    Tuple(Vec<Space<Ignored>>),
}

/// The bounds of a picture are lists of lists of lists of numbers: passed over without being stored.
#[derive(Default)]
struct Ignored;

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Python writes infinities and NaN bare, which JSON does not know: they become `null`. Text is left as it is.
pub(super) fn without_bare_infinities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut quoted = false;
    while let Some(c) = rest.chars().next() {
        if quoted && c == '\\' {
            let escaped = rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at);
            out.push_str(&rest[..escaped]);
            rest = &rest[escaped..];
            continue;
        }
        let token = ["-Infinity", "Infinity", "NaN"].into_iter().find(|t| !quoted && rest.starts_with(t));
        if let Some(token) = token {
            out.push_str("null");
            rest = &rest[token.len()..];
            continue;
        }
        quoted ^= c == '"';
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// Reads it where it is there.
pub(super) fn read_metadata(directory: &Directory) -> Result<Option<Metadata>, DataError> {
    let Some(text) = directory.read_text(METADATA)? else { return Ok(None) };
    let malformed = |reason: String, hint| DataError::Malformed {
        path: directory.path.join(METADATA),
        format: NAME,
        reason,
        hint,
    };
    let metadata: Metadata = serde_json::from_str(&without_bare_infinities(&text)).map_err(|e| {
        malformed(format!("it is not the JSON of a dataset: {e}"), "copy it again from its source")
    })?;
    if let Some(format) = metadata.data_format.as_ref().filter(|f| *f != "hdf5") {
        let hint = "load it with Minari and save it again with data_format=\"hdf5\"";
        return Err(malformed(format!("its data_format is {format}, expected hdf5"), hint));
    }
    if let Some(text) = &metadata.surefoot_env_spec
        && let Err(e) = serde_json::from_str::<EnvSpec>(text)
    {
        return Err(malformed(format!("{SPEC}: {e}"), "remove that key, or restore it"));
    }
    Ok(Some(metadata))
}

fn space<B: DeserializeOwned + Default>(text: Option<&String>) -> Option<Space<B>> {
    serde_json::from_str(&without_bare_infinities(text?)).ok()
}

fn has_pictures(space: &Space<Ignored>) -> bool {
    let nested = match &space.subspaces {
        Some(Subspaces::Dict(spaces)) => spaces.values().any(has_pictures),
        Some(Subspaces::Tuple(spaces)) => spaces.iter().any(has_pictures),
        None => false,
    };
    // Minari's own rule.
    let large = matches!(space.shape.as_slice(), [h, w] | [h, w, _] if *h >= 32 && *w >= 32);
    nested || space.kind == "Box" && space.dtype.as_deref() == Some("uint8") && large
}

impl Metadata {
    /// Whether this program wrote it.
    pub(super) const fn is_ours(&self) -> bool {
        self.surefoot_schema.is_some()
    }

    /// The environment's id, or the dataset's.
    pub(super) fn environment(&self) -> Option<String> {
        let spec = self
            .env_spec
            .as_ref()
            .and_then(|text| serde_json::from_str::<serde_json::Value>(&without_bare_infinities(text)).ok());
        let id = spec.as_ref().and_then(|v| v.get("id")).and_then(|v| v.as_str()).map(str::to_owned);
        self.spec().map(|s| s.name).or(id).or_else(|| self.dataset_id.clone())
    }

    /// The spec of a dataset that this program wrote.
    pub(super) fn spec(&self) -> Option<EnvSpec> {
        serde_json::from_str(self.surefoot_env_spec.as_ref()?).ok()
    }

    /// What a user should know.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(action) = space::<Vec<Option<f64>>>(self.action_space.as_ref())
            && action.kind == "Box"
        {
            let beyond = |bounds: &[Option<f64>], limit: f64| bounds.iter().any(|b| *b != Some(limit));
            if beyond(&action.low, -1.0) || beyond(&action.high, 1.0) {
                let show = |bounds: &[Option<f64>]| {
                    let shown: Vec<String> = bounds
                        .iter()
                        .take(8)
                        .map(|b| b.map_or_else(|| "unbounded".into(), |b| b.to_string()))
                        .collect();
                    shown.join(", ")
                };
                notes.push(format!(
                    "actions range from [{}] to [{}] by the dataset's own space, not from -1 to 1; they read as they are",
                    show(&action.low),
                    show(&action.high)
                ));
            }
        }
        let pictures = || space::<Ignored>(self.observation_space.as_ref()).is_some_and(|s| has_pictures(&s));
        if self.jpeg_encoding != Some(false) && pictures() {
            notes.push(
                "pictures among the observations were compressed as JPEG, with loss, when they were stored"
                    .into(),
            );
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::without_bare_infinities;

    #[test]
    fn only_bare_tokens_are_replaced() {
        let cases = [
            (
                r#"{"low": [-Infinity, 0], "high": [Infinity, NaN]}"#,
                r#"{"low": [null, 0], "high": [null, null]}"#,
            ),
            (r#"{"NaN": "Infinity \" -Infinity"}"#, r#"{"NaN": "Infinity \" -Infinity"}"#),
            (r#"["\\", NaN]"#, r#"["\\", null]"#),
            (r#""unfinished \"#, r#""unfinished \"#),
            ("é Infinity", "é null"),
        ];
        for (given, expected) in cases {
            assert_eq!(without_bare_infinities(given), expected);
        }
    }
}
