//! A suite of scenarios, judged one by one, against golden files or baselines.

use std::path::{Path, PathBuf};

use super::drive::MustEndConfig;
use super::episode::{EpisodeEnd, EpisodeRecord};
use super::golden::{Recorded, short};
use super::pictures::{Evidences, Pictures};
use super::runner::{BLOCK, Episodes, Role, Runner, blocks};
use super::scenario::{LevelConfig, Scenario, StatisticalConfig};
use super::statistics::{Decision, Evidence, Proportion};
use super::tolerance::{ToleranceConfig, first_divergence};
use super::trace::Trace;
use super::verdict::{Blessing, ScenarioReport, SuiteReport, Summary, Verdict};
use crate::EngineError;

/// The format of `report.json`.
pub const REPORT_FORMAT: &str = "surefoot-regression/1";

/// A suite, ready to be run.
pub struct Suite {
    /// Name.
    pub name: String,
    /// Where its golden files are.
    pub golden: PathBuf,
    /// Its scenarios.
    pub scenarios: Vec<Scenario>,
}

/// What is said of a suite, and pictures for those who look.
pub struct Judged {
    /// What is said.
    pub report: SuiteReport,
    /// Of each scenario, what can be seen of its change.
    pub pictures: Vec<Pictures>,
}

/// Builds a scenario once and refuses what does not fit, before anything is run.
///
/// # Errors
/// [`EngineError::Config`] with the key; whatever building a world or a policy says.
pub fn check(scenario: &Scenario) -> Result<(), EngineError> {
    let refuse = |key: &str, why: String| EngineError::Config {
        key: key.to_owned(),
        expected: "settings that fit".into(),
        found: why,
    };
    // Whatever a world, its faults or a policy have against each other is said here.
    let stage = scenario.stage(&*scenario.now.parts)?;
    if let Some(baseline) = &scenario.baseline {
        let baseline = scenario.stage(&*baseline.parts)?;
        if let Some(difference) = baseline.spec().first_difference(stage.spec()) {
            return Err(refuse("baseline", difference.to_string()));
        }
    }
    match &scenario.level {
        LevelConfig::BitExact(_) => {}
        LevelConfig::Tolerance(bands) => {
            let signals = stage.signals();
            bands.check(signals.iter().map(String::as_str)).map_err(|why| refuse("level.tolerance", why))?;
        }
        LevelConfig::Statistical(config) => {
            config.check().map_err(|why| refuse("level.statistical", why))?;
        }
    }
    Ok(())
}

impl Suite {
    /// Runs what is not there yet and judges it. With `bless`, what came out becomes golden.
    ///
    /// # Errors
    /// What a world, a policy or the system says. A comparison that fails is no error.
    pub fn judge(&self, runner: &mut Runner<'_>, bless: bool, version: &str) -> Result<Judged, EngineError> {
        let (mut scenarios, mut pictures) = (Vec::new(), Vec::new());
        for scenario in &self.scenarios {
            let (report, evidences) = Judging::new(scenario, &self.golden).judge(runner, bless)?;
            pictures.push(evidences.draw(scenario, runner.interrupt)?);
            scenarios.push(report);
        }
        let verdict = scenarios.iter().map(|s| s.verdict).max().unwrap_or_default();
        let (format, name) = (REPORT_FORMAT.to_owned(), self.name.clone());
        let report = SuiteReport { format, name, verdict, version: version.to_owned(), scenarios };
        Ok(Judged { report, pictures })
    }
}

/// A scenario being judged.
struct Judging<'a> {
    scenario: &'a Scenario,
    golden_directory: &'a Path,
    report: ScenarioReport,
}

impl<'a> Judging<'a> {
    fn new(scenario: &'a Scenario, golden_directory: &'a Path) -> Self {
        let report = ScenarioReport {
            name: scenario.name.clone(),
            level: scenario.level.clone(),
            verdict: Verdict::Passed,
            reasons: Vec::new(),
            notes: Vec::new(),
            seeds: scenario.seeds,
            provenance: scenario.now.provenance.clone(),
            against: None,
            now: None,
            baseline: None,
            differing: 0,
            divergence: None,
            statistics: None,
            blessing: None,
        };
        Self { scenario, golden_directory, report }
    }

    fn judge(
        mut self,
        runner: &mut Runner<'_>,
        bless: bool,
    ) -> Result<(ScenarioReport, Evidences), EngineError> {
        let scenario = self.scenario;
        let golden = if scenario.baseline.is_some() { None } else { self.read_golden(bless) };
        let mut evidences = Evidences::default();
        if bless && scenario.baseline.is_none() {
            if let Some(now) = self.all(runner)? {
                self.bless(golden.as_ref(), &now, &mut evidences)?;
            }
            return Ok((self.report, evidences));
        }
        if self.report.verdict == Verdict::NotComparable {
            return Ok((self.report, evidences));
        }
        match &scenario.level {
            LevelConfig::BitExact(_) => self.against_golden(runner, golden.as_ref(), None, &mut evidences)?,
            LevelConfig::Tolerance(bands) => {
                self.against_golden(runner, golden.as_ref(), Some(bands), &mut evidences)?;
            }
            LevelConfig::Statistical(config) => {
                self.statistical(runner, golden.as_ref(), *config, &mut evidences)?;
            }
        }
        Ok((self.report, evidences))
    }

    /// The golden file, if it can be compared with; why not, otherwise.
    fn read_golden(&mut self, bless: bool) -> Option<Recorded> {
        let name = &self.scenario.name;
        let hint = "`--bless` makes what is now golden";
        let golden = match Recorded::read(self.golden_directory, name) {
            Ok(Some(golden)) => golden,
            Ok(None) => {
                if !bless {
                    let path = self.golden_directory.join(format!("{name}.json"));
                    let why = format!("there is no golden file {}; {hint}", path.display());
                    self.report.say(Verdict::NotComparable, why);
                }
                return None;
            }
            Err(damage) => {
                if bless {
                    self.report.notes.push(damage.to_string());
                } else {
                    let why = format!("{damage}; take it from version control again, or {hint}");
                    self.report.say(Verdict::NotComparable, why);
                }
                return None;
            }
        };
        let (of, now) = (&golden.provenance, &self.scenario.now.provenance);
        self.report.against = Some(of.clone());
        if let Some((what, expected, found)) =
            of.incomparable(now, matches!(self.scenario.level, LevelConfig::BitExact(_)))
            && !bless
        {
            let [expected, found] =
                [expected, found].map(|h| if h.len() == 64 { short(&h).to_owned() } else { h });
            let instead = match what {
                "target" | "vector instructions" => {
                    "; level = { tolerance = {} } compares across machines".to_owned()
                }
                _ => format!("; {hint}"),
            };
            let why = format!("{what}: the golden file is of {expected}, this is {found}{instead}");
            self.report.say(Verdict::NotComparable, why);
            return None;
        }
        self.report.notes.extend(of.other_differences(now));
        Some(golden)
    }

    /// All episodes of what is judged, safe or not. `None` where they are taken from elsewhere and are not all there.
    fn all(&mut self, runner: &mut Runner<'_>) -> Result<Option<Episodes>, EngineError> {
        let mut stages = runner.stages();
        let mut all = Episodes::new();
        for block in 0..blocks(self.scenario) {
            let Some(episodes) = runner.block(self.scenario, Role::Now, block, &mut stages)? else {
                self.missing(Role::Now, block);
                return Ok(None);
            };
            all.extend(episodes);
        }
        self.look_at(Role::Now, all.iter().map(|(e, _)| e));
        Ok(Some(all))
    }

    fn missing(&mut self, role: Role, block: usize) {
        let last = ((block + 1) * BLOCK).min(self.scenario.seeds.episodes) - 1;
        let why = format!(
            "episodes {} to {last} ({}) are in none of the directories: was every shard run, with this suite and version?",
            block * BLOCK,
            role.name()
        );
        self.report.say(Verdict::NotComparable, why);
    }

    /// What no comparison excuses, and figures.
    fn look_at<'e>(&mut self, role: Role, episodes: impl Iterator<Item = &'e EpisodeRecord>) {
        let episodes: Vec<&EpisodeRecord> = episodes.collect();
        let summary = Summary::of(&episodes);
        if role == Role::Baseline {
            if summary.safety.violations > 0 {
                let count = summary.safety.violations;
                self.report.notes.push(format!("the baseline has {count} limit violations"));
            }
            self.report.baseline = Some(summary);
            return;
        }
        if let Some(first) = episodes.iter().find(|e| e.safety.violations > 0) {
            let why = format!(
                "{} limit violations, the first in episode {} (seed {}): a single one fails",
                summary.safety.violations, first.episode, first.seed
            );
            self.report.say(Verdict::Regressed, why);
        }
        if let Some(first) = episodes.iter().find(|e| e.end == EpisodeEnd::Diverged) {
            let why = format!(
                "{} of {} episodes diverged, the first is episode {} (seed {}): {}",
                summary.diverged,
                episodes.len(),
                first.episode,
                first.seed,
                first.failure.as_deref().unwrap_or_default()
            );
            self.report.say(Verdict::Regressed, why);
        }
        let must_end = self.scenario.control_loop.as_ref().and_then(|c| c.must_end.as_ref());
        if let Some(why) = must_end.and_then(|must_end| not_ended_as_they_must(must_end, &episodes)) {
            self.report.say(Verdict::Regressed, why);
        }
        self.report.now = Some(summary);
    }

    fn against_golden(
        &mut self,
        runner: &mut Runner<'_>,
        golden: Option<&Recorded>,
        bands: Option<&ToleranceConfig>,
        evidences: &mut Evidences,
    ) -> Result<(), EngineError> {
        let (Some(golden), Some(now)) = (golden, self.all(runner)?) else { return Ok(()) };
        let of_golden: Vec<&EpisodeRecord> = golden.episodes.iter().take(now.len()).collect();
        self.report.baseline = Some(Summary::of(&of_golden));
        self.say_lengths(golden.episodes.len(), now.len());
        if golden.traces.is_empty() {
            let why = "the golden file has no signals: it was made at level statistical; `--bless` makes one that has".to_owned();
            self.report.say(Verdict::NotComparable, why);
            return Ok(());
        }
        let differences = differences(golden, &now, bands);
        self.report.differing = differences.len();
        if let Some((first, why)) = differences.first() {
            let compared = golden.episodes.len().min(now.len());
            let why = format!("{} of {compared} episodes differ: {why}", differences.len());
            self.report.say(Verdict::Regressed, why);
            self.report.divergence.clone_from(&first.divergence);
            evidences.diverged(first, golden, &now);
        }
        Ok(())
    }

    fn say_lengths(&mut self, golden: usize, now: usize) {
        if golden < now {
            let why =
                format!("the golden file has {golden} of {now} episodes; `--bless` makes the others golden");
            self.report.say(Verdict::NotComparable, why);
        } else if golden > now {
            self.report.notes.push(format!("the golden file has {golden} episodes, {now} were compared"));
        }
    }

    fn statistical(
        &mut self,
        runner: &mut Runner<'_>,
        golden: Option<&Recorded>,
        config: StatisticalConfig,
        evidences: &mut Evidences,
    ) -> Result<(), EngineError> {
        let scenario = self.scenario;
        if let Some(baseline) = &scenario.baseline {
            self.report.against = Some(baseline.provenance.clone());
        }
        let episodes = golden
            .as_ref()
            .map_or(scenario.seeds.episodes, |g| g.episodes.len().min(scenario.seeds.episodes));
        if episodes < scenario.seeds.episodes {
            let why = format!(
                "the golden file has {episodes} of {} episodes: no more were compared",
                scenario.seeds.episodes
            );
            self.report.notes.push(why);
        }
        let mut evidence = Evidence::new(config);
        let mut stages = [runner.stages(), runner.stages()];
        let mut all: Vec<EpisodeRecord> = Vec::new();
        for block in 0..episodes.div_ceil(BLOCK) {
            let first = block * BLOCK;
            let baseline: Vec<EpisodeRecord> = match golden {
                Some(golden) => golden.episodes.iter().skip(first).take(BLOCK).cloned().collect(),
                None => match runner.block(scenario, Role::Baseline, block, &mut stages[0])? {
                    Some(episodes) => episodes.into_iter().map(|(e, _)| e).collect(),
                    None => {
                        self.missing(Role::Baseline, block);
                        break;
                    }
                },
            };
            let Some(now) = runner.block(scenario, Role::Now, block, &mut stages[1])? else {
                self.missing(Role::Now, block);
                break;
            };
            let mut decided = false;
            for ((now, _), baseline) in now.iter().zip(&baseline) {
                decided |= evidence.observe(baseline, now).is_some();
            }
            // Every episode that was run is looked at for what no comparison excuses.
            all.extend(now.into_iter().map(|(e, _)| e));
            if decided || self.report.verdict == Verdict::NotComparable {
                break;
            }
        }
        self.look_at(Role::Now, all.iter());
        self.look_at(Role::Baseline, evidence.pairs().iter().map(|(b, _)| b));
        if let Some(now) = &mut self.report.now {
            // What is compared is compared over the pairs that decided.
            now.solved = Proportion::of(&evidence.pairs().iter().map(|(_, n)| n).collect::<Vec<_>>());
        }
        let report = evidence.report(episodes);
        let pairs = report.pairs;
        let (margin, difference) = (100.0 * config.margin, report.difference);
        let seen = format!(
            "difference {:+.1} points [{:+.1}, {:+.1}] over {pairs} pairs",
            100.0 * difference.value,
            100.0 * difference.low,
            100.0 * difference.high
        );
        match report.decision {
            Some(Decision::Worse) => {
                self.report.say(Verdict::Regressed, format!("worse than the baseline: {seen}"));
            }
            Some(Decision::NotWorse) => {
                self.report.say(Verdict::Passed, format!("not worse by {margin:.0} points: {seen}"));
            }
            None => {
                let detectable = report.minimum_detectable_drop.map_or_else(
                    || "no drop at all".to_owned(),
                    |d| format!("a drop of {:.0} points or more", 100.0 * d),
                );
                let why = format!(
                    "neither worse nor sure to be not worse by {margin:.0} points: {seen}; {episodes} episodes would show {detectable}"
                );
                self.report.say(Verdict::Inconclusive, why);
            }
        }
        evidences.lost(evidence.pairs());
        self.report.statistics = Some(report);
        Ok(())
    }

    /// Makes golden what is now, and says what that changes.
    fn bless(
        &mut self,
        golden: Option<&Recorded>,
        now: &Episodes,
        evidences: &mut Evidences,
    ) -> Result<(), EngineError> {
        if self.report.verdict == Verdict::Regressed {
            let why = self.report.reasons.join("; ");
            self.report.blessing = Some(Blessing::Refused(why));
            return Ok(());
        }
        let (records, traces): (Vec<EpisodeRecord>, Vec<Option<Trace>>) = now.iter().cloned().unzip();
        let traces: Vec<Trace> = traces.into_iter().flatten().collect();
        let provenance = self.scenario.now.provenance.clone();
        let new = Recorded::new(provenance, String::new(), 0, records, traces);
        self.report.blessing = Some(match golden {
            None => Blessing::New,
            Some(old) if old.same_episodes(&new) => Blessing::Unchanged,
            Some(old) => {
                let mut lines = Vec::new();
                let exact = matches!(self.scenario.level, LevelConfig::BitExact(_));
                if let Some((what, from, to)) = old.provenance.incomparable(&new.provenance, exact) {
                    lines.push(format!("{what}: {from} -> {to}"));
                }
                lines.extend(old.provenance.other_differences(&new.provenance));
                if old.episodes.len() != new.episodes.len() {
                    lines.push(format!("episodes: {} -> {}", old.episodes.len(), new.episodes.len()));
                }
                let differences = differences(old, now, None);
                if let Some((first, _)) = differences.first() {
                    evidences.diverged(first, old, now);
                    self.report.divergence.clone_from(&first.divergence);
                    self.report.differing = differences.len();
                }
                let mut both = old.episodes.iter().zip(&new.episodes).filter(|(a, b)| a.success != b.success);
                lines.extend(differences.iter().take(5).map(|(_, why)| why.clone()));
                lines.extend(
                    both.by_ref().take(5).map(|(a, b)| {
                        format!("episode {}: success {} -> {}", a.episode, a.success, b.success)
                    }),
                );
                Blessing::Changed(lines)
            }
        });
        if self.report.blessing != Some(Blessing::Unchanged) {
            new.write(self.golden_directory, &self.scenario.name)?;
        }
        Ok(())
    }
}

/// How many drives did not end as they must, and the first of them.
fn not_ended_as_they_must(must_end: &MustEndConfig, episodes: &[&EpisodeRecord]) -> Option<String> {
    let broken = |e: &&&EpisodeRecord| e.drive.as_ref().and_then(|drive| must_end.broken_by(drive));
    let count = episodes.iter().filter(|e| broken(e).is_some()).count();
    let (first, why) = episodes.iter().find_map(|e| Some((e, broken(&e)?)))?;
    Some(format!(
        "{count} of {} drives did not end as they must, the first is episode {} (seed {}): {why}",
        episodes.len(),
        first.episode,
        first.seed
    ))
}

/// An episode that is another one.
pub struct Different {
    /// Its place in both.
    pub index: usize,
    /// Where it parts, where that is seen in the signals.
    pub divergence: Option<super::tolerance::Divergence>,
}

/// The episodes that are others than the golden ones, and how, in order.
fn differences(
    golden: &Recorded,
    now: &Episodes,
    bands: Option<&ToleranceConfig>,
) -> Vec<(Different, String)> {
    let mut found = Vec::new();
    for (index, (old, (new, trace))) in golden.episodes.iter().zip(now).enumerate() {
        let divergence = match (golden.traces.get(index), trace) {
            (Some(old), Some(new)) => first_divergence(index, old, new, bands),
            _ => None,
        };
        let outcome = |e: &EpisodeRecord| {
            let EpisodeRecord { end, success, failure, .. } = e;
            let failure = failure.as_ref().map_or(String::new(), |f| format!(" ({f})"));
            format!("{end:?}{}{failure}", if *success { ", solved" } else { "" }).to_lowercase()
        };
        let modes = match (&old.drive, &new.drive) {
            (Some(old), Some(new)) => old.first_difference(new, bands.is_none()),
            _ => None,
        };
        let why = match (&modes, &divergence) {
            (Some(modes), None) => format!("episode {index}: {modes}"),
            (Some(modes), Some(d)) => format!("{}; {modes}", d.words()),
            (None, Some(d)) => d.words(),
            (None, None) if outcome(old) != outcome(new) => {
                format!("episode {index}: golden {}, now {}", outcome(old), outcome(new))
            }
            (None, None) => continue,
        };
        found.push((Different { index, divergence }, why));
    }
    found
}
