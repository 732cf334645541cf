//! Runs the episodes of scenarios: in blocks, on several threads, each block kept as soon as it is through.
//!
//! A block that stands in a directory with the same provenance is taken and not run again: that is how a suite goes on after an
//! interruption, how a second call costs nothing, and how machines share the work. An episode depends on its own seeds
//! alone, so the number of threads changes nothing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use surefoot_core::Stream;

use super::episode::{EpisodeEnd, EpisodeRecord, Stage};
use super::golden::Recorded;
use super::scenario::{LevelConfig, NoiseConfig, Scenario, Side, StatisticalConfig};
use super::trace::Trace;
use crate::{EngineError, EpisodeSeeds, Interrupt, Shard};

/// Episodes that are run, kept and looked at together. Part of what a statistical scenario's result is: it may stop after each.
pub const BLOCK: usize = 16;

/// The two sides of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What is judged.
    Now,
    /// What it is compared with.
    Baseline,
}

/// What a runner tells while it works.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// A block is there.
    Block {
        /// Of this scenario.
        scenario: &'a str,
        /// Of this side.
        role: Role,
        /// Episodes of it that there are by now.
        episodes: usize,
        /// Whether it was there already.
        kept: bool,
    },
    /// Something that people should know.
    Note(&'a str),
}

/// How episodes come about.
pub struct Runner<'a> {
    /// Where they are kept.
    pub directory: &'a Path,
    /// Directories of other machines, whose episodes are taken. Where there are any, none is run.
    pub merged: &'a [PathBuf],
    /// At once, at most.
    pub threads: usize,
    /// blake3 of this program: what another one made is not taken.
    pub program: &'a str,
    /// Stops between two env steps.
    pub interrupt: &'a Interrupt,
    /// Hears how far it is.
    pub told: &'a mut dyn FnMut(Told<'_>),
}

/// Episodes with their signals; without them where they are not needed.
pub type Episodes = Vec<(EpisodeRecord, Option<Trace>)>;

/// The stages of one side, one a thread, built when they are needed.
pub struct Stages(Vec<Option<Stage>>);

impl Runner<'_> {
    /// No stage yet.
    pub fn stages(&self) -> Stages {
        Stages((0..self.threads.clamp(1, BLOCK)).map(|_| None).collect())
    }

    /// Block `block` of one side of a scenario: kept, merged or run.
    ///
    /// # Errors
    /// When it cannot be run or kept; `None` where episodes are only taken, and these are nowhere.
    pub fn block(
        &mut self,
        scenario: &Scenario,
        role: Role,
        block: usize,
        stages: &mut Stages,
    ) -> Result<Option<Episodes>, EngineError> {
        let first = block * BLOCK;
        let count = scenario.seeds.episodes.saturating_sub(first).min(BLOCK);
        let side = match (role, &scenario.baseline) {
            (Role::Baseline, Some(baseline)) => baseline,
            _ => &scenario.now,
        };
        let name = block_name(scenario, role, block);
        let found = self.find(scenario, side, &name, (first, count));
        let kept = found.is_some();
        let recorded = match found {
            Some(recorded) => recorded,
            None if !self.merged.is_empty() => return Ok(None),
            None => {
                let seeds: Vec<(usize, EpisodeSeeds)> =
                    (first..first + count).map(|i| (i, episode_seeds(scenario, role, i))).collect();
                let ran = run_block(scenario, side, &seeds, stages, self.interrupt)?;
                for (record, trace) in &ran {
                    if record.end == EpisodeEnd::Diverged {
                        self.dump_last_states(&scenario.name, role, record, trace)?;
                    }
                }
                let (records, mut traces): (Vec<_>, Vec<_>) = ran.into_iter().unzip();
                if !scenario.level.traced() {
                    traces.clear();
                }
                let program = self.program.to_owned();
                let recorded = Recorded::new(side.provenance.clone(), program, first, records, traces);
                recorded.clone().write(&episodes_directory(self.directory, &scenario.name), &name)?;
                recorded
            }
        };
        (self.told)(Told::Block { scenario: &scenario.name, role, episodes: first + count, kept });
        let Recorded { episodes, traces, .. } = recorded;
        let traces = traces.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        Ok(Some(episodes.into_iter().zip(traces).take(count).collect()))
    }

    /// Runs this machine's blocks of all scenarios and gives their number.
    ///
    /// # Errors
    /// When one cannot be run or kept.
    pub fn shard(&mut self, scenarios: &[Scenario], shard: Shard) -> Result<usize, EngineError> {
        let (mut number, mut mine) = (0, 0);
        for scenario in scenarios {
            for role in roles(scenario) {
                let mut stages = self.stages();
                for block in 0..blocks(scenario) {
                    if shard.has(number) {
                        self.block(scenario, role, block, &mut stages)?;
                        mine += 1;
                    }
                    number += 1;
                }
            }
        }
        Ok(mine)
    }

    /// A block that stands somewhere and is of the same making.
    fn find(
        &mut self,
        scenario: &Scenario,
        side: &Side,
        name: &str,
        (first, count): (usize, usize),
    ) -> Option<Recorded> {
        let own = (self.merged.is_empty()).then_some(self.directory);
        for directory in own.into_iter().chain(self.merged.iter().map(PathBuf::as_path)) {
            let recorded = match Recorded::read(&episodes_directory(directory, &scenario.name), name) {
                Ok(Some(recorded)) => recorded,
                Ok(None) => continue,
                Err(damage) => {
                    (self.told)(Told::Note(&format!("{damage}: not used")));
                    continue;
                }
            };
            // Other machines may have built the same program otherwise; what matters of it is in the provenance.
            let same_program = !self.merged.is_empty() || recorded.program == self.program;
            if same_program
                && recorded.provenance == side.provenance
                && recorded.first == first
                && recorded.episodes.len() >= count
                && (!scenario.level.traced() || recorded.traces.len() >= count)
            {
                return Some(recorded);
            }
        }
        None
    }

    /// What is left of an exploded world: its last states, a row a tick.
    fn dump_last_states(
        &mut self,
        scenario: &str,
        role: Role,
        record: &EpisodeRecord,
        trace: &Trace,
    ) -> Result<(), EngineError> {
        const ROWS: usize = 50;
        let directory = self.directory.join("diverged");
        std::fs::create_dir_all(&directory).map_err(EngineError::io("create", &directory))?;
        let path = directory.join(format!("{scenario}-{}-{}.csv", role.name(), record.episode));
        let table = if trace.ticks.rows() > 0 { &trace.ticks } else { &trace.steps };
        let mut text = format!("row,{}\n", table.signals.join(","));
        for row in table.rows().saturating_sub(ROWS)..table.rows() {
            let values: Vec<String> = table.row(row).iter().map(f32::to_string).collect();
            text.push_str(&format!("{row},{}\n", values.join(",")));
        }
        crate::run_dir::write_atomic(&path, text.as_bytes())?;
        let why = record.failure.as_deref().unwrap_or_default();
        (self.told)(Told::Note(&format!("{why}; its last states are in {}", path.display())));
        Ok(())
    }
}

impl Role {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Baseline => "baseline",
        }
    }
}

/// The sides of a scenario that are run.
pub fn roles(scenario: &Scenario) -> impl Iterator<Item = Role> {
    [Role::Baseline, Role::Now].into_iter().filter(|r| *r == Role::Now || scenario.baseline.is_some())
}

/// Blocks of a scenario.
pub const fn blocks(scenario: &Scenario) -> usize {
    scenario.seeds.episodes.div_ceil(BLOCK)
}

fn episodes_directory(directory: &Path, scenario: &str) -> PathBuf {
    directory.join("episodes").join(scenario)
}

const fn independent(scenario: &Scenario) -> bool {
    matches!(
        scenario.level,
        LevelConfig::Statistical(StatisticalConfig { noise: NoiseConfig::Independent, .. })
    )
}

fn block_name(scenario: &Scenario, role: Role, block: usize) -> String {
    let noise = if role == Role::Baseline && independent(scenario) { "-independent" } else { "" };
    format!("{}{noise}-{block:05}", role.name())
}

/// The seeds of an episode of one side.
pub fn episode_seeds(scenario: &Scenario, role: Role, episode: usize) -> EpisodeSeeds {
    let mut seeds = scenario.seeds.of(episode);
    if role == Role::Baseline && independent(scenario) {
        seeds.noise = Stream::new(seeds.noise, "baseline noise", 0).bits();
    }
    seeds
}

/// Runs episodes on as many threads as there are stages. The first error by place is the one that is told.
fn run_block(
    scenario: &Scenario,
    side: &Side,
    seeds: &[(usize, EpisodeSeeds)],
    Stages(stages): &mut Stages,
    interrupt: &Interrupt,
) -> Result<Vec<(EpisodeRecord, Trace)>, EngineError> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(seeds.iter().map(|_| None).collect::<Vec<_>>());
    let work = |stage: &mut Option<Stage>| {
        while let Some((i, (episode, seeds))) = {
            let i = next.fetch_add(1, Ordering::Relaxed);
            seeds.get(i).map(|s| (i, *s))
        } {
            let ran = match stage.take() {
                Some(ready) => Ok(ready),
                None => scenario.stage(&*side.parts),
            }
            .and_then(|ready| ready.run(episode, seeds, interrupt));
            let ran = ran.map(|(record, trace, again)| {
                *stage = again;
                (record, trace)
            });
            let failed = ran.is_err();
            if let Some(place) = results.lock().unwrap_or_else(PoisonError::into_inner).get_mut(i) {
                *place = Some(ran);
            }
            if failed {
                // The others stop after what they have in hand.
                next.store(usize::MAX / 2, Ordering::Relaxed);
            }
        }
    };
    match stages.as_mut_slice() {
        [one] => work(one),
        many => std::thread::scope(|scope| {
            for stage in many.iter_mut().take(seeds.len()) {
                scope.spawn(|| work(stage));
            }
        }),
    }
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.into_iter().flatten().collect()
}
