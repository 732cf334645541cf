//! What the robot's side did, period by period: the record by which limits are judged.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::LinkError;
use crate::wire::{RobotMode, StopCause};

/// One control period of the robot's side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutedTick {
    /// Counts from 1.
    pub tick: u64,
    /// Robot's monotonic clock, ns.
    pub now_nanos: i64,
    /// What the robot's side was doing at the end of it.
    pub mode: RobotMode,
    /// Why it stopped, where it did.
    pub cause: StopCause,
    /// The present epoch.
    pub epoch: u32,
    /// Number of the command that was followed; 0 where the stop plan was played, or nothing.
    pub seq: u64,
    /// Whether set-points were commanded: between arming and the next arming they always are.
    pub commanded: bool,
    /// Set-points, `[joints]`, rad or m; measured positions where there are none.
    pub position: Vec<f64>,
    /// Velocities that led there, `[joints]`.
    pub velocity: Vec<f64>,
}

/// The file, one JSON object a line, each whole before the next begins.
pub(super) struct Lines(BufWriter<File>);

impl Lines {
    pub(super) fn create(path: &Path) -> Result<Self, LinkError> {
        let file = File::create_new(path);
        file.map(|f| Self(BufWriter::new(f)))
            .map_err(|source| LinkError::Log { path: path.to_owned(), source })
    }

    pub(super) fn write(&mut self, tick: &ExecutedTick) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.0, tick)?;
        self.0.write_all(b"\n")
    }

    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}
