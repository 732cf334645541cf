//! Where two traces of one episode part: the first tick and signal, bit for bit or beyond an envelope.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::trace::{Table, Trace};

/// How far a signal may be from the golden one: `absolute + relative * |golden|`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// In the signal's own unit.
    #[serde(default)]
    pub absolute: f64,
    /// Part of the golden value.
    #[serde(default)]
    pub relative: f64,
}

impl Band {
    fn holds(self, golden: f32, now: f32) -> bool {
        let (golden, now) = (f64::from(golden), f64::from(now));
        // Equal infinities and equal NaN are no change.
        golden.to_bits() == now.to_bits()
            || (now - golden).abs() <= self.absolute + self.relative * golden.abs()
    }
}

/// Envelopes around golden signals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ToleranceConfig {
    /// Of the signals that are not named below.
    pub default: Band,
    /// By signal (`position/elbow`) or by kind of signal (`position`); the longer name counts.
    pub signals: BTreeMap<String, Band>,
}

impl Default for ToleranceConfig {
    fn default() -> Self {
        Self { default: Band { absolute: 1e-4, relative: 1e-3 }, signals: BTreeMap::new() }
    }
}

impl ToleranceConfig {
    /// The band of a signal.
    #[must_use]
    pub fn band(&self, signal: &str) -> Band {
        let kind = || signal.split_once('/').and_then(|(kind, _)| self.signals.get(kind));
        *self.signals.get(signal).or_else(kind).unwrap_or(&self.default)
    }

    /// Refuses bands that are none, and names that no signal has.
    ///
    /// # Errors
    /// The key, what was expected and what was found.
    pub fn check<'a>(&self, signals: impl Iterator<Item = &'a str> + Clone) -> Result<(), String> {
        for (name, band) in std::iter::once(("default", &self.default))
            .chain(self.signals.iter().map(|(name, band)| (name.as_str(), band)))
        {
            let Band { absolute, relative } = band;
            if !(*absolute >= 0.0 && *relative >= 0.0 && absolute.is_finite() && relative.is_finite()) {
                return Err(format!(
                    "{name}: expected finite bands of at least 0, found absolute = {absolute}, relative = {relative}"
                ));
            }
        }
        let names = |name: &str| {
            signals.clone().any(|s| s == name || s.split_once('/').is_some_and(|(kind, _)| kind == name))
        };
        match self.signals.keys().find(|name| !names(name)) {
            None => Ok(()),
            Some(name) => {
                let known: Vec<&str> = signals.collect();
                Err(format!("signals.{name:?}: expected one of {}", known.join(", ")))
            }
        }
    }
}

/// The first place at which an episode is another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Divergence {
    /// Episode, by its place among the seeds.
    pub episode: usize,
    /// `tick` (control period) or `step` (env step), counted from 0.
    pub unit: String,
    /// Which of them; in ticks or steps.
    pub at: usize,
    /// Simulated time, s.
    pub secs: f64,
    /// The signal, or `length` where one episode ended and the other went on.
    pub signal: String,
    /// Golden value.
    pub golden: f64,
    /// Value now.
    pub now: f64,
    /// What was allowed; 0 where bits are compared.
    pub allowed: f64,
    /// Signals that part in the same tick or step.
    pub signals: usize,
}

impl Divergence {
    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { episode, unit, at, secs, signal, golden, now, allowed, signals } = self;
        let more = match signals {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let within = if *allowed > 0.0 { format!(", allowed {allowed:.3e}") } else { String::new() };
        let off = now - golden;
        // They are numbers of 32 bits: no more digits than those have.
        let [golden, now] = [*golden as f32, *now as f32];
        format!(
            "episode {episode}, {unit} {at} ({secs:.3} s): {signal}{more}: golden {golden}, now {now}, off by {off:.3e}{within}"
        )
    }
}

/// Where `now` first is another one than `golden`; a band of `None` asks for equal bits.
#[must_use]
pub fn first_divergence(
    episode: usize,
    golden: &Trace,
    now: &Trace,
    bands: Option<&ToleranceConfig>,
) -> Option<Divergence> {
    let found = [
        parting(episode, ("tick", 1.0, None), &golden.ticks, &now.ticks, bands),
        // An action acts from the beginning of its step, everything else is known at the end.
        parting(episode, ("step", 0.0, Some(true)), &golden.steps, &now.steps, bands),
        parting(episode, ("step", 1.0, Some(false)), &golden.steps, &now.steps, bands),
    ];
    found.into_iter().flatten().min_by(|a, b| a.secs.total_cmp(&b.secs))
}

/// The first row in which two tables part. `shift`: how much of a period has gone by when a row is known. `actions`: only actions, or
/// only what is none.
fn parting(
    episode: usize,
    (unit, shift, actions): (&str, f64, Option<bool>),
    golden: &Table,
    now: &Table,
    bands: Option<&ToleranceConfig>,
) -> Option<Divergence> {
    let begins = golden.begins_secs.min(now.begins_secs);
    let secs = |row: usize| begins + (row as f64 + shift) * golden.period_secs.max(now.period_secs);
    let looked_at = |signal: &str| actions.is_none_or(|only| signal.starts_with("action/") == only);
    let divergence = |at, signal: String, golden: f64, now: f64, allowed, signals| Divergence {
        episode,
        unit: unit.to_owned(),
        at,
        secs: secs(at),
        signal,
        golden,
        now,
        allowed,
        signals,
    };
    if golden.signals != now.signals {
        let (a, b) = (golden.signals.len(), now.signals.len());
        return Some(divergence(0, "signals".into(), a as f64, b as f64, 0.0, 1));
    }
    let columns: Vec<(usize, &str, Option<Band>)> = (golden.signals.iter().enumerate())
        .filter(|(_, name)| looked_at(name))
        .map(|(i, name)| (i, name.as_str(), bands.map(|b| b.band(name))))
        .collect();
    for row in 0..golden.rows().min(now.rows()) {
        let (a, b) = (golden.row(row), now.row(row));
        let differs = |(i, _, band): &&(usize, &str, Option<Band>)| match band {
            None => a[*i].to_bits() != b[*i].to_bits(),
            Some(band) => !band.holds(a[*i], b[*i]),
        };
        let mut differing = columns.iter().filter(differs);
        if let Some((i, name, band)) = differing.next() {
            let allowed = band.map_or(0.0, |band| band.absolute + band.relative * f64::from(a[*i].abs()));
            let others = differing.count();
            return Some(divergence(row, (*name).into(), a[*i].into(), b[*i].into(), allowed, 1 + others));
        }
    }
    let (a, b) = (golden.rows(), now.rows());
    // A step fewer is a row of every kind fewer: it is told once.
    (a != b && actions != Some(true))
        .then(|| divergence(a.min(b), "length".into(), a as f64, b as f64, 0.0, 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::trace::tests::trace;
    use super::*;

    fn smooth(row: usize, signal: usize) -> f32 {
        (row as f32 * 0.1 + signal as f32).sin()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_first_changed_bit_is_found_where_it_is(row in 0_usize..50, signal in 0_usize..3, bit in 0_u32..32, later in 0_usize..50) {
            let golden = trace(10, smooth);
            let mut now = golden.clone();
            let flip = |value: &mut f32, bit: u32| *value = f32::from_bits(value.to_bits() ^ (1 << bit));
            flip(&mut now.ticks.values[row * 3 + signal], bit);
            // What happens later in another signal does not matter.
            if later > row {
                flip(&mut now.ticks.values[later * 3 + (signal + 1) % 3], bit);
            }
            let found = first_divergence(4, &golden, &now, None).unwrap();
            prop_assert_eq!((found.episode, found.unit.as_str(), found.at), (4, "tick", row));
            prop_assert_eq!(&found.signal, &golden.ticks.signals[signal]);
            prop_assert_eq!(found.golden as f32, golden.ticks.values[row * 3 + signal]);
        }

        #[test]
        fn a_band_lets_through_what_it_holds_and_no_more(row in 0_usize..50, signal in 0_usize..3, size in 0.0_f64..2.0) {
            let golden = trace(10, |r, s| 1.0 + smooth(r, s).abs());
            let mut now = golden.clone();
            let value = &mut now.ticks.values[row * 3 + signal];
            let band = Band { absolute: 0.01, relative: 0.02 };
            let allowed = 0.01 + 0.02 * f64::from(*value);
            *value = (f64::from(*value) + size * allowed) as f32;
            let config = ToleranceConfig { default: band, signals: BTreeMap::new() };
            let found = first_divergence(0, &golden, &now, Some(&config));
            // Rounding to 32 bits at the very edge may go either way.
            if (size - 1.0).abs() > 1e-3 {
                prop_assert_eq!(found.is_some(), size > 1.0);
            }
        }
    }

    #[test]
    fn what_came_first_is_told_over_the_tables() {
        let golden = trace(10, smooth);
        // An action of step 3 acts from tick 15 on; the observation of step 2 is known after tick 14.
        let changed = |ticks: &[usize], steps: &[(usize, usize)]| {
            let mut now = golden.clone();
            ticks.iter().for_each(|t| now.ticks.values[t * 3] += 1.0);
            steps.iter().for_each(|(row, signal)| now.steps.values[row * 3 + signal] += 1.0);
            let d = first_divergence(0, &golden, &now, None).unwrap();
            (d.unit, d.at, d.signal)
        };
        assert_eq!(changed(&[15], &[(3, 0), (3, 1)]), ("step".into(), 3, "action/a".into()));
        assert_eq!(changed(&[14], &[(2, 1)]), ("tick".into(), 14, "position/a".into()));
        assert_eq!(changed(&[], &[(2, 2), (2, 1)]), ("step".into(), 2, "observation/x".into()));
        let mut shorter = golden.clone();
        shorter.steps.values.truncate(3 * 9);
        shorter.ticks.values.truncate(3 * 45);
        let d = first_divergence(0, &golden, &shorter, None).unwrap();
        assert_eq!(
            (d.unit.as_str(), d.at, d.signal.as_str(), d.golden, d.now),
            ("tick", 45, "length", 50.0, 45.0)
        );
        assert!(d.words().contains("golden 50, now 45"), "{}", d.words());
    }

    #[test]
    fn bands_are_found_by_signal_then_by_kind_and_checked() {
        let band = |absolute| Band { absolute, relative: 0.0 };
        let signals =
            [("position".to_owned(), band(1.0)), ("position/a".to_owned(), band(2.0))].into_iter().collect();
        let config = ToleranceConfig { default: band(3.0), signals };
        let found = ["position/a", "position/b", "reward"].map(|s| config.band(s).absolute);
        assert_eq!(found, [2.0, 1.0, 3.0]);
        let names = ["position/a", "reward"];
        assert_eq!(config.check(names.into_iter()), Ok(()));
        let error = config.check(["velocity/a"].into_iter()).unwrap_err();
        assert!(error.contains("position") && error.contains("velocity/a"), "{error}");
        assert!(ToleranceConfig { default: band(-1.0), ..config }.check(names.into_iter()).is_err());
        // NaN stays NaN.
        assert!(band(0.0).holds(f32::NAN, f32::NAN) && !band(1.0).holds(0.0, f32::NAN));
    }
}
