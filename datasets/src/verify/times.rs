//! Times of steps, in the formats that keep them: gaps, jumps, and rates that are not what they are said to be.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Finding, Lints, Severity, some};
use crate::h5::{Backend, ChildKind, Container};
use crate::open::{Arrays, Opened};

/// Where formats keep the time of each step, in a group of an episode.
const PLACES: [&str; 14] = [
    "timestamps",
    "timestamp",
    "stamps",
    "time",
    "times",
    "obs/timestamps",
    "obs/timestamp",
    "obs/time",
    "observations/timestamps",
    "observations/timestamp",
    "infos/timestamps",
    "infos/timestamp",
    "observation/timestamp/control/step_start",
    "observation/timestamp/robot_state/read_start",
];

/// Units that times are kept in, s.
const UNITS: [f64; 4] = [1.0, 1e-3, 1e-6, 1e-9];

/// An interval of so many usual ones is a gap.
const GAP: f64 = 3.0;

/// Rates that differ by less are the same.
const SAME_RATE: f64 = 0.05;

/// Steps from which on an episode has a rate.
const MIN_STEPS: usize = 8;

/// What the times of one episode are like. Times are in the file's own unit.
#[derive(Clone, Debug, Default, PartialEq)]
struct Pace {
    /// Median interval.
    interval: Option<f64>,
    /// Median intervals of its first and its last third, where it is long enough.
    first_last: Option<(f64, f64)>,
    /// Gaps, with the largest in intervals, and the step before the first.
    gaps: Option<(usize, f64, usize)>,
    /// Times before the one before, with the first step of them.
    backwards: Option<(usize, usize)>,
    /// Times that equal the one before.
    equal: usize,
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

impl Pace {
    fn of(times: &[f64]) -> Self {
        let steps: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
        let mut pace = Self { equal: steps.iter().filter(|d| **d == 0.0).count(), ..Self::default() };
        // A NaN is no step forward either.
        let is_backwards = |d: &f64| !(*d >= 0.0 && d.is_finite());
        if let Some(first) = steps.iter().position(is_backwards) {
            pace.backwards = Some((steps.iter().filter(|d| is_backwards(d)).count(), first));
        }
        let forward =
            |steps: &[f64]| median(steps.iter().copied().filter(|d| *d > 0.0 && d.is_finite()).collect());
        if times.len() < MIN_STEPS {
            return pace;
        }
        let Some(interval) = forward(&steps) else { return pace };
        pace.interval = Some(interval);
        let is_gap = |d: &f64| *d > GAP * interval && d.is_finite();
        if let Some(first) = steps.iter().position(is_gap) {
            let gaps = steps.iter().copied().filter(is_gap);
            pace.gaps = Some((gaps.clone().count(), gaps.fold(0.0, f64::max) / interval, first));
        }
        let third = steps.len() / 3;
        if third >= MIN_STEPS {
            pace.first_last = forward(&steps[..third]).zip(forward(&steps[steps.len() - third..]));
        }
        pace
    }
}

/// The unit in which an interval is nearest to what is expected, or is one that robots have.
fn unit_of(interval: f64, expected_secs: Option<f64>) -> f64 {
    let target = expected_secs.filter(|s| *s > 0.0).unwrap_or(0.03);
    let off = |unit: &f64| (interval * unit / target).ln().abs();
    UNITS.into_iter().min_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or(1.0)
}

/// The groups of a file that may be episodes: those beside `first`.
fn groups(container: &Container, first: &str) -> Vec<String> {
    let Some(stem) = first.rsplit('/').next().filter(|name| !name.is_empty()) else {
        return vec![String::new()];
    };
    let stem = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    let parent = first.rsplit_once('/').map_or("", |(parent, _)| parent);
    let children = container.file().children(parent).unwrap_or_default();
    let mut names: Vec<String> = children
        .into_iter()
        .filter(|(name, kind)| *kind == ChildKind::Group && name.starts_with(stem))
        .map(|(name, _)| name)
        .collect();
    names.sort_by_cached_key(|name| crate::formats::shards::natural(name));
    names.into_iter().map(|n| if parent.is_empty() { n } else { format!("{parent}/{n}") }).collect()
}

/// Where the times of an episode are, and they.
fn times_of(container: &Container, group: &str) -> Option<(String, Vec<f64>)> {
    PLACES.iter().find_map(|place| {
        let item = if group.is_empty() { (*place).to_owned() } else { format!("{group}/{place}") };
        let info = container.file().info(&item).ok()?;
        let is_column = info.element.is_numeric() && !info.shape.is_empty() && info.width() == 1;
        Some((item.clone(), container.file().read_f64(&item).ok().filter(|_| is_column)?.data))
    })
}

/// HDF5 files in a directory and in the directories in it.
fn files_in(path: &Path) -> Vec<PathBuf> {
    let list = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|e| e.path()).collect();
        paths.sort_by_cached_key(|p| crate::formats::shards::natural(&p.to_string_lossy()));
        paths
    };
    let is_hdf5 = |p: &PathBuf| p.extension().is_some_and(|e| e == "hdf5" || e == "h5");
    let mut files = Vec::new();
    for path in list(path) {
        if path.is_dir() {
            files.extend(list(&path).into_iter().filter(is_hdf5));
        } else if is_hdf5(&path) {
            files.push(path);
        }
    }
    files
}

/// The paces of all episodes that have times, with where these are.
fn paces(opened: &Opened, backend: Backend) -> Vec<(String, Pace)> {
    let Arrays::Hdf5 { container, group } = &opened.arrays else { return Vec::new() };
    // D4RL keeps all episodes in one array.
    if group.is_empty() && opened.source.meta().format == "d4rl" {
        return Vec::new();
    }
    let first = groups(container, group);
    if !first.iter().any(|group| times_of(container, group).is_some()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let path = &opened.source.meta().path;
    let single = path.is_file() || path.join("main_data.hdf5").is_file() || path.join("data").is_dir();
    let files = if single { vec![container.path().to_owned()] } else { files_in(path) };
    for file in files {
        let container = if file == container.path() {
            Arc::clone(container)
        } else {
            match Container::open(&file, backend) {
                Ok(container) => Arc::new(container),
                // Said of the episode itself.
                Err(_) => continue,
            }
        };
        let name = if single {
            String::new()
        } else {
            format!("{} ", file.file_name().unwrap_or_default().display())
        };
        for group in groups(&container, group) {
            if let Some((item, times)) = times_of(&container, &group) {
                found.push((format!("{name}{item}"), Pace::of(&times)));
            }
        }
    }
    found
}

impl Lints {
    pub(super) fn times(&mut self, opened: &Opened, backend: Backend) {
        let expected = opened.source.meta().spec.as_ref().map(|s| s.step_secs);
        self.0.extend(findings(&paces(opened, backend), expected));
    }
}

fn findings(paces: &[(String, Pace)], step_secs: Option<f64>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |severity, code, place: String, message: String, mend| {
        found.push(Finding { severity, code, place, message, mend });
    };
    let backwards: Vec<(&String, (usize, usize))> =
        paces.iter().filter_map(|(p, pace)| Some((p, pace.backwards?))).collect();
    if let Some((place, (_, first))) = backwards.first() {
        let count: usize = backwards.iter().map(|(_, (n, _))| n).sum();
        let message = format!("{count} times in {} episodes are before the one before", backwards.len());
        let mend = "the clock was set while recording: cut the episode there, or record with a steady clock";
        say(Severity::Error, "clock_jump", format!("{place}[{}]", first + 1), message, mend);
    }
    let equal: usize = paces.iter().map(|(_, pace)| pace.equal).sum();
    if equal > 0 {
        let names: Vec<String> = paces.iter().filter(|(_, p)| p.equal > 0).map(|(n, _)| n.clone()).collect();
        let mend = "rows were written twice, or faster than the clock ticks: keep one of each";
        say(
            Severity::Warning,
            "duplicate_stamp",
            some(&names),
            format!("{equal} times equal the one before"),
            mend,
        );
    }
    let gaps: Vec<(&String, (usize, f64, usize))> =
        paces.iter().filter_map(|(p, pace)| Some((p, pace.gaps?))).collect();
    if let Some((place, (_, _, first))) = gaps.first() {
        let count: usize = gaps.iter().map(|(_, (n, _, _))| n).sum();
        let largest = gaps.iter().map(|(_, (_, l, _))| *l).fold(0.0, f64::max);
        let message = format!(
            "{count} gaps in {} of {} episodes, the largest of {largest:.1} usual intervals",
            gaps.len(),
            paces.len()
        );
        let mend = "what happened meanwhile is not in the data: cut the episodes there";
        say(Severity::Warning, "time_gap", format!("{place}[{first}]"), message, mend);
    }
    let intervals: Vec<f64> = paces.iter().filter_map(|(_, p)| p.interval).collect();
    let Some(usual) = median(intervals.clone()) else { return found };
    let unit = unit_of(usual, step_secs);
    let hertz = |interval: f64| format!("{:.2} Hz", 1.0 / (interval * unit));
    let drift: Vec<(&String, (f64, f64))> = paces
        .iter()
        .filter_map(|(p, pace)| Some((p, pace.first_last?)))
        .filter(|(_, (a, b))| (a / b - 1.0).abs() > SAME_RATE)
        .collect();
    if let Some((place, (a, b))) = drift.first() {
        let message = format!(
            "the rate changes within {} episodes; in the first of them from {} to {}",
            drift.len(),
            hertz(*a),
            hertz(*b)
        );
        let mend = "the recording machine could not keep up: a step is not the same time everywhere";
        say(Severity::Warning, "rate_drift", (*place).clone(), message, mend);
    }
    let (low, high) = intervals.iter().fold((f64::INFINITY, 0.0_f64), |(l, h), i| (l.min(*i), h.max(*i)));
    if drift.is_empty() && high / low - 1.0 > SAME_RATE {
        let message = format!("episodes were recorded at {} to {}", hertz(high), hertz(low));
        let mend = "resample them to one rate before learning from them together";
        say(Severity::Warning, "rate_drift", "episodes".into(), message, mend);
    }
    if let Some(expected) = step_secs.filter(|s| *s > 0.0)
        && (usual * unit / expected - 1.0).abs() > SAME_RATE
    {
        let message = format!("steps come at {}, the header says {:.2} Hz", hertz(usual), 1.0 / expected);
        let mend = "correct `step_secs` in data@env_spec, or find out why the recording was slower or faster";
        say(Severity::Warning, "rate_mismatch", "times".into(), message, mend);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(times: &[Vec<f64>], step_secs: Option<f64>) -> Vec<&'static str> {
        let paces: Vec<(String, Pace)> =
            times.iter().enumerate().map(|(i, t)| (format!("demo_{i}/timestamps"), Pace::of(t))).collect();
        findings(&paces, step_secs).into_iter().map(|f| f.code).collect()
    }

    /// Nanoseconds since 1970, as recorders write them, with a jitter of one part in a hundred.
    fn steady(hertz: f64, steps: usize) -> Vec<f64> {
        (0..steps)
            .map(|i| 1.76e18 + (i as f64 / hertz + 0.01 / hertz * f64::from(i as u32 % 2)) * 1e9)
            .collect()
    }

    #[test]
    fn a_steady_clock_is_no_finding_in_any_unit() {
        for unit in UNITS {
            let times: Vec<f64> = (0..100).map(|i| f64::from(i) * 0.05 / unit).collect();
            assert_eq!(codes(&[times.clone(), times], Some(0.05)), [""; 0], "{unit}");
        }
        assert_eq!(codes(&[steady(20.0, 100)], Some(0.05)), [""; 0]);
        assert_eq!(codes(&[vec![], vec![1.0], vec![1.0, 9.0, 1e9]], Some(0.05)), [""; 0]);
    }

    #[test]
    fn gaps_jumps_repeats_and_rates_are_each_found() {
        let edit = |f: fn(&mut Vec<f64>)| {
            let mut times = steady(20.0, 100);
            f(&mut times);
            codes(&[steady(20.0, 100), times], Some(0.05))
        };
        assert_eq!(edit(|t| t.iter_mut().skip(40).for_each(|x| *x += 0.2e9)), ["time_gap"]);
        assert_eq!(edit(|t| t.iter_mut().skip(40).for_each(|x| *x -= 3.6e12)), ["clock_jump"]);
        assert_eq!(edit(|t| t[7] = f64::NAN), ["clock_jump"]);
        assert_eq!(edit(|t| t[40] = t[39]), ["duplicate_stamp"]);
        let slowing = |t: &mut Vec<f64>| {
            for (i, x) in t.iter_mut().enumerate().skip(50) {
                *x += (i - 50) as f64 * 0.01e9;
            }
        };
        assert_eq!(edit(slowing), ["rate_drift"]);
        assert_eq!(codes(&[steady(20.0, 50), steady(25.0, 50)], None), ["rate_drift"]);
        assert_eq!(codes(&[steady(30.0, 50)], Some(0.05)), ["rate_mismatch"]);
    }

    #[test]
    fn what_is_found_says_where_and_how_much() {
        let mut times = steady(20.0, 100);
        times.iter_mut().skip(40).for_each(|x| *x += 0.2e9);
        let found = findings(&[("demo_3/timestamps".into(), Pace::of(&times))], None);
        assert_eq!(found[0].place, "demo_3/timestamps[39]");
        assert!(
            found[0].message.starts_with("1 gaps in 1 of 1 episodes, the largest of 4.9"),
            "{}",
            found[0].message
        );
        let rate = findings(&[("t".into(), Pace::of(&steady(30.0, 50)))], Some(0.05));
        assert!(
            rate[0].message.starts_with("steps come at 29.70 Hz")
                && rate[0].message.ends_with("says 20.00 Hz"),
            "{}",
            rate[0].message
        );
    }
}
