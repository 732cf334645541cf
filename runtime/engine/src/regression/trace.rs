//! What an episode did, number by number: signals over control ticks and over env steps, and the file that holds them.
//!
//! Signals are kept as `f32`, which is what the physics computes with and what policies see: 32 bits that are equal or are not.
//!
//! | table | a row for each | signals |
//! |---|---|---|
//! | ticks (worlds with a robot) | control period | `position/JOINT`, `velocity/JOINT`, `channel/NAME`, `command/JOINT` |
//! | steps | env step; of a drive, where a control loop drives | `action/NAME` (executed), `observation/NAME` (what followed), `reward` |
//!
//! The file is columns: each number XORed with the one above it, byte by byte of the numbers, deflated.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"SFTRACE1";
/// Numbers that a file may claim to hold: a damaged one must not fill the memory.
const MAX_NUMBERS: usize = 1 << 28;

/// Signals in rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// When the first row begins, s of the episode.
    pub begins_secs: f64,
    /// Time between two rows, s.
    pub period_secs: f64,
    /// Names.
    pub signals: Vec<String>,
    /// `[rows, signals]`.
    pub values: Vec<f32>,
}

impl Table {
    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.signals.len()).unwrap_or(0)
    }
    /// A row.
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        let width = self.signals.len();
        self.values.get(index * width..(index + 1) * width).unwrap_or_default()
    }
    /// All values of a signal.
    pub fn column(&self, signal: usize) -> impl Iterator<Item = f32> + '_ {
        self.values.iter().skip(signal).step_by(self.signals.len().max(1)).copied()
    }
}

/// Everything that was recorded of an episode.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// By control ticks; empty where there is no robot.
    pub ticks: Table,
    /// By env steps.
    pub steps: Table,
}

impl Trace {
    /// blake3 of all values, bit by bit.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for table in [&self.ticks, &self.steps] {
            for name in &table.signals {
                hasher.update(name.as_bytes()).update(b"\n");
            }
            hasher.update(&(table.values.len() as u64).to_le_bytes());
            for value in &table.values {
                hasher.update(&value.to_bits().to_le_bytes());
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// What a file says of its tables.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// Of each episode, ticks and steps.
    episodes: Vec<[TableHeader; 2]>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableHeader {
    #[serde(default, skip_serializing_if = "is_zero")]
    begins_secs: f64,
    period_secs: f64,
    signals: Vec<String>,
    rows: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(secs: &f64) -> bool {
    *secs == 0.0
}

/// Why a file of traces cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {expected}, found {found}")]
pub struct TraceDamage {
    /// Which part.
    pub what: &'static str,
    /// What belongs there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

fn damage(what: &'static str, expected: impl Into<String>, found: impl Into<String>) -> TraceDamage {
    TraceDamage { what, expected: expected.into(), found: found.into() }
}

/// The bytes of a file of traces.
///
/// # Errors
/// What the encoder says.
pub fn encode(traces: &[Trace]) -> std::io::Result<Vec<u8>> {
    let of = |table: &Table| TableHeader {
        begins_secs: table.begins_secs,
        period_secs: table.period_secs,
        signals: table.signals.clone(),
        rows: table.rows(),
    };
    let header = Header { episodes: traces.iter().map(|t| [of(&t.ticks), of(&t.steps)]).collect() };
    let header = serde_json::to_vec(&header)?;
    let mut body = Vec::new();
    for table in traces.iter().flat_map(|t| [&t.ticks, &t.steps]) {
        for signal in 0..table.signals.len() {
            let mut above = 0;
            let changes: Vec<[u8; 4]> = table
                .column(signal)
                .map(|value| (value.to_bits() ^ std::mem::replace(&mut above, value.to_bits())).to_be_bytes())
                .collect();
            for byte in 0..4 {
                body.extend(changes.iter().map(|change| change[byte]));
            }
        }
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header);
    let mut encoder = ZlibEncoder::new(bytes, Compression::best());
    encoder.write_all(&body)?;
    encoder.finish()
}

/// Traces out of a file's bytes.
///
/// # Errors
/// [`TraceDamage`] at the first part that is not as it was written.
pub fn decode(bytes: &[u8]) -> Result<Vec<Trace>, TraceDamage> {
    let short = || damage("length", "a whole file of traces", format!("{} bytes", bytes.len()));
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damage("beginning", "SFTRACE1", "something else"))?;
    let (length, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| short())?;
    let (header, body) = rest.split_at_checked(length).ok_or_else(short)?;
    let header: Header = serde_json::from_slice(header)
        .map_err(|e| damage("header", "what this version writes", e.to_string()))?;
    let numbers = header
        .episodes
        .iter()
        .flatten()
        .try_fold(0_usize, |sum, t| sum.checked_add(t.rows.checked_mul(t.signals.len())?));
    let numbers = numbers
        .filter(|n| *n <= MAX_NUMBERS)
        .ok_or_else(|| damage("header", format!("at most {MAX_NUMBERS} numbers"), "more"))?;
    let mut planes = Vec::new();
    ZlibDecoder::new(body)
        .take(4 * numbers as u64 + 1)
        .read_to_end(&mut planes)
        .map_err(|e| damage("values", "a deflated stream", e.to_string()))?;
    if planes.len() != 4 * numbers {
        return Err(damage("values", format!("{numbers} numbers"), format!("{} bytes", planes.len())));
    }
    let mut planes = planes.as_slice();
    let mut table = |header: TableHeader| {
        let TableHeader { begins_secs, period_secs, signals, rows } = header;
        let width = signals.len();
        let mut values = vec![0.0; rows * width];
        for signal in 0..width {
            let (column, after) = planes.split_at(4 * rows);
            planes = after;
            let mut bits = 0;
            for row in 0..rows {
                bits ^= u32::from_be_bytes([0, 1, 2, 3].map(|byte| column[byte * rows + row]));
                values[row * width + signal] = f32::from_bits(bits);
            }
        }
        Table { begins_secs, period_secs, signals, values }
    };
    Ok(header.episodes.into_iter().map(|[t, s]| Trace { ticks: table(t), steps: table(s) }).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub fn trace(rows: usize, value: impl Fn(usize, usize) -> f32) -> Trace {
        let table = |period_secs, signals: &[&str], rows: usize| Table {
            begins_secs: 0.0,
            period_secs,
            signals: signals.iter().map(|s| (*s).to_owned()).collect(),
            values: (0..rows * signals.len()).map(|i| value(i / signals.len(), i % signals.len())).collect(),
        };
        Trace {
            ticks: table(0.02, &["position/a", "velocity/a", "command/a"], 5 * rows),
            steps: table(0.1, &["action/a", "observation/x", "reward"], rows),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_read_is_what_was_written_bit_for_bit(bits in prop::collection::vec(any::<u32>(), 90), rows in 0_usize..6) {
            let one = trace(rows, |r, s| f32::from_bits(bits[(r * 3 + s) % 90]));
            let mut two = trace(rows / 2, |r, s| (r + s) as f32);
            two.steps.begins_secs = 0.3;
            let bytes = encode(&[one.clone(), two.clone()]).unwrap();
            let again = decode(&bytes).unwrap();
            prop_assert_eq!(again.len(), 2);
            for (a, b) in [&one, &two].into_iter().zip(&again) {
                prop_assert_eq!(a.hash(), b.hash());
                prop_assert_eq!(&a.ticks.signals, &b.ticks.signals);
                prop_assert_eq!(a.steps.begins_secs, b.steps.begins_secs);
            }
        }

        #[test]
        fn damaged_bytes_are_refused_and_never_panic(at in any::<prop::sample::Index>(), flip in 1_u8.., cut in any::<prop::sample::Index>()) {
            let good = encode(&[trace(4, |r, s| (r * s) as f32)]).unwrap();
            let mut bytes = good.clone();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let _ = decode(&bytes);
            bytes.truncate(cut.index(good.len()));
            prop_assert!(decode(&bytes).is_err());
        }
    }

    #[test]
    fn a_smooth_motion_takes_less_room_than_its_numbers() {
        let smooth = trace(200, |row, signal| ((row as f32) * 0.01 + signal as f32).sin());
        let raw = 4 * (smooth.ticks.values.len() + smooth.steps.values.len());
        let bytes = encode(&[smooth]).unwrap().len();
        assert!(4 * bytes < 3 * raw, "{bytes} of {raw}");
    }
}
