//! Ticks and episodes in one MCAP file, written while they happen.
//!
//! A chunk is closed every half second of ticks, and at the end of each episode: that is what a killed program loses at most.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error as IoError, Result as IoResult, Write};
use std::path::Path;

use crate::config::EnvConfig;
use anyhow::Context;
use surefoot_core::clock::{MonotonicClock, unix_time};
use surefoot_core::{EnvSpec, Episode, RobotContract};
use surefoot_datasets::Recording;
use surefoot_datasets::mcap::episodes::{DATASET, EpisodeTopics, Stamps, StepRow, TICKS, dataset_metadata};
use surefoot_datasets::mcap::{McapWriter, WriteOptions};
use surefoot_engine::control::{MadeStep, Tick};
use surefoot_engine::live::LiveClock;

use super::messages::{Clocks, TickTopics};
use super::{Gaps, TickCounts, TicksHeader};
use crate::failure::Failure;
use crate::new_file::NewFile;

/// A chunk is closed when its ticks span so much time, ns.
pub const FLUSH_NANOS: i64 = 500_000_000;

/// On simulated time the robot's clock begins at 0, which many take for "not stamped": files begin here, ns.
const SIMULATED_NANOS: i64 = 1_000_000_000;

/// What a file of ticks is of.
#[derive(Clone, Copy)]
pub struct About<'a> {
    pub env: &'a EnvConfig,
    pub contract: &'a RobotContract,
    pub spec: &'a EnvSpec,
    pub clock: LiveClock,
}

/// What ticks are written to: something whose content can be made to survive a power cut.
pub trait Durable: Write + Send {
    /// Waits until what was written is on the disk.
    fn sync(&self) -> IoResult<()>;
}

impl Durable for NewFile {
    fn sync(&self) -> IoResult<()> {
        self.sync_data()
    }
}

impl Durable for File {
    fn sync(&self) -> IoResult<()> {
        self.sync_data()
    }
}

/// The file.
pub struct TickFile<W: Durable = NewFile> {
    /// `None` when it is finished.
    file: Option<McapWriter<W>>,
    ticks: TickTopics,
    episodes: EpisodeTopics,
    clocks: Clocks,
    /// Compares the clocks, where time is real.
    clock: Option<MonotonicClock>,
    gaps: Gaps,
    kept: u64,
    bytes: u64,
    /// Of the first tick that is not written down yet, and of the last one.
    open_since: Option<i64>,
    last_nanos: i64,
}

/// From the monotonic clock to the wall clock, ns.
fn to_wall(clock: MonotonicClock) -> i64 {
    let wall = i64::try_from(unix_time().as_nanos()).unwrap_or(i64::MAX);
    wall.saturating_sub(clock.now_nanos())
}

impl TickFile {
    /// Makes a new file.
    pub fn create(path: &Path, about: &About<'_>) -> Result<Self, Failure> {
        let file = NewFile::create(path)?;
        Ok(Self::begin(file, about).with_context(|| format!("cannot write {}", path.display()))?)
    }
}

impl<W: Durable> TickFile<W> {
    /// Begins a file: what it is of comes first.
    pub fn begin(out: W, about: &About<'_>) -> IoResult<Self> {
        let About { env, contract, spec, clock } = *about;
        let real = clock == LiveClock::Real;
        let clock = real.then(MonotonicClock::start);
        let clocks = match clock {
            Some(clock) => {
                let to_wall = to_wall(clock);
                Clocks { to_log: to_wall, to_wall: Some(to_wall) }
            }
            None => Clocks { to_log: SIMULATED_NANOS, to_wall: None },
        };
        let mut file = McapWriter::new(out, WriteOptions::default())?;
        let header = TicksHeader::of(env, contract);
        let joints: Vec<&str> = contract.joints.iter().map(|j| j.name.as_str()).collect();
        let channels: Vec<&str> = contract.channels.iter().map(|c| c.name.as_str()).collect();
        file.metadata(
            TICKS,
            &BTreeMap::from([
                ("header".to_owned(), serde_json::to_string(&header)?),
                ("robot".to_owned(), contract.name.clone()),
                ("robot_contract_hash".to_owned(), header.contract_hash),
                ("joints".to_owned(), joints.join(", ")),
                ("channels".to_owned(), channels.join(", ")),
                ("control_hz".to_owned(), contract.control_hz.to_string()),
                ("clock".to_owned(), if real { "real" } else { "simulated" }.to_owned()),
                ("log_minus_monotonic_nanos".to_owned(), clocks.to_log.to_string()),
                ("lost_at_most_nanos".to_owned(), FLUSH_NANOS.to_string()),
            ]),
        )?;
        let recording = Recording { env_kwargs: serde_json::to_value(env)?, ..Recording::new(spec.clone()) };
        file.metadata(DATASET, &dataset_metadata(&recording, Stamps::Measured)?)?;
        let ticks = TickTopics::declare(&mut file, contract)?;
        let episodes = EpisodeTopics::declare(&mut file)?;
        Ok(Self {
            file: Some(file),
            ticks,
            episodes,
            clocks,
            clock,
            gaps: Gaps::default(),
            kept: 0,
            bytes: 0,
            open_since: None,
            last_nanos: 0,
        })
    }

    /// Adds a tick, and what came of it.
    pub fn keep(&mut self, tick: &Tick, began: Option<&[f32]>, step: Option<&MadeStep>) -> IoResult<()> {
        let file = self.file.as_mut().ok_or_else(over)?;
        self.gaps.see(tick.tick);
        self.ticks.write(file, tick, self.clocks)?;
        self.kept += 1;
        self.last_nanos = tick.now_nanos;
        if let Some(step) = step {
            self.episodes.step(
                file,
                &StepRow {
                    span_nanos: (self.clocks.log(step.began_nanos), self.clocks.log(step.ended_nanos)),
                    action: &step.executed,
                    proposed: Some(&step.proposed),
                    human: Some(step.human),
                    reward: step.reward,
                    end: step.end,
                    next_observation: &step.next_observation,
                    following: None,
                },
            )?;
        }
        if let Some(observation) = began {
            self.episodes.begin(file, self.clocks.log(tick.now_nanos), observation)?;
        }
        let since = *self.open_since.get_or_insert(tick.now_nanos);
        if tick.now_nanos.saturating_sub(since) >= FLUSH_NANOS { self.flush() } else { Ok(()) }
    }

    /// Adds an episode that ended with the last tick.
    pub fn episode(&mut self, episode: &Episode) -> IoResult<()> {
        let file = self.file.as_mut().ok_or_else(over)?;
        self.episodes.end(file, self.clocks.log(self.last_nanos), episode)
    }

    /// Closes the chunk; where time is real, it is then on the disk.
    pub fn flush(&mut self) -> IoResult<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        self.open_since = None;
        if file.pending_bytes() == 0 {
            return Ok(());
        }
        file.flush()?;
        self.bytes = file.written_bytes();
        if let Some(clock) = self.clock {
            self.clocks.to_wall = Some(to_wall(clock));
            file.get_ref().sync()?;
        }
        Ok(())
    }

    /// Ends the file, unless it has been ended.
    pub fn finish(&mut self) -> IoResult<()> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let missing = self.gaps.missing;
        let missing_text = format!("{missing} ticks were lost on the way to the file");
        let further = [("ticks", self.kept), ("missing_ticks", missing)];
        self.episodes.close(&mut file, (missing > 0).then_some(&*missing_text), &further)?;
        let (out, bytes) = file.finish()?;
        self.bytes = bytes;
        if self.clock.is_some() { out.sync() } else { Ok(()) }
    }

    /// Notes that the ticks went on to this one, though they were not kept.
    pub fn went_on_to(&mut self, tick: u64) {
        self.gaps.missing += tick.saturating_sub(self.gaps.last);
        self.gaps.last = self.gaps.last.max(tick);
    }

    /// What was written.
    pub fn counts(&self) -> TickCounts {
        let (kept, bytes) = (self.kept, self.bytes);
        TickCounts { ticks: kept, missing: self.gaps.missing, bytes, ..TickCounts::default() }
    }
}

fn over() -> IoError {
    IoError::other("this recording was ended")
}
