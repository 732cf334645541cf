//! What tables have in common: a column of time, and one that numbers the episodes.

use std::path::Path;

use surefoot_core::DataError;
use surefoot_core::contract::{TableContract, TimeUnit};

/// Topic of a table's rows.
pub const TABLE_TOPIC: &str = "table";

/// How the columns of a table are to be read.
///
/// # Errors
/// When nobody says.
pub(crate) fn contract<'o>(
    path: &Path,
    format: &'static str,
    options: &'o super::LogOptions,
) -> Result<&'o TableContract, DataError> {
    options.table.as_ref().ok_or_else(|| DataError::Malformed {
        path: path.to_owned(),
        format,
        reason: "a table does not say which column is the time".into(),
        hint: "add a section [import.table] with time and time_unit to the robot contract",
    })
}

/// Turns the text of a time into nanoseconds, digit by digit: an `f64` of seconds since 1970 is good for no more than 0.2 us.
#[must_use]
pub(crate) fn parse_nanos(text: &str, unit: TimeUnit) -> Option<i64> {
    let text = text.trim();
    let digits = unit_digits(unit);
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let plain = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) {
        let x: f64 = text.parse().ok()?;
        let nanos = x * 10_f64.powi(i32::from(digits));
        return (nanos.abs() < 9.2e18).then_some(nanos.round() as i64);
    }
    let mut nanos: i64 = whole.parse().ok()?;
    let mut fraction = fraction.bytes();
    for _ in 0..digits {
        let digit = fraction.next().map_or(0, |b| i64::from(b - b'0'));
        nanos = nanos.checked_mul(10)?.checked_add(digit)?;
    }
    Some(sign * nanos)
}

const fn unit_digits(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Seconds => 9,
        TimeUnit::Millis => 6,
        TimeUnit::Micros => 3,
        TimeUnit::Nanos => 0,
    }
}

/// Numbers the stretches of a table: a new one begins where the episode column changes.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    last: Option<String>,
    part: u64,
}

impl Parts {
    /// The part of a row whose episode column holds this.
    pub(crate) fn of(&mut self, episode: &str) -> u64 {
        match &self.last {
            Some(last) if last == episode => {}
            Some(_) => {
                self.part += 1;
                self.last = Some(episode.to_owned());
            }
            None => self.last = Some(episode.to_owned()),
        }
        self.part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact() {
        for (text, unit, expected) in [
            ("1700000000.123456789", TimeUnit::Seconds, Some(1_700_000_000_123_456_789)),
            ("1700000000123456789", TimeUnit::Nanos, Some(1_700_000_000_123_456_789)),
            (" 12.5 ", TimeUnit::Millis, Some(12_500_000)),
            ("-0.25", TimeUnit::Seconds, Some(-250_000_000)),
            ("1e-3", TimeUnit::Seconds, Some(1_000_000)),
            (".5", TimeUnit::Micros, Some(500)),
            ("", TimeUnit::Seconds, None),
            ("x", TimeUnit::Seconds, None),
            ("nan", TimeUnit::Seconds, None),
            ("99999999999999999999", TimeUnit::Seconds, None),
            ("1e300", TimeUnit::Seconds, None),
        ] {
            assert_eq!(parse_nanos(text, unit), expected, "{text}");
        }
    }
}
