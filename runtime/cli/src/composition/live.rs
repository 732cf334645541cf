//! What a session on a robot is made of.

use std::io::Write;

use anyhow::anyhow;
use surefoot_core::{EpisodeSink, GuardedRobot, Robot, World};
use surefoot_engine::control::Tick;
use surefoot_engine::live::{LiveClock, Operator, SessionParts, TickSink, resettable};
use surefoot_sim::EnvConfig;
use surefoot_sim::arm::TRACKING_TOLERANCE_RAD;

use crate::composition::env;
use crate::failure::Failure;

/// Who looks on, and what is kept.
pub struct Around {
    /// The person.
    pub operator: Box<dyn Operator>,
    /// Where finished episodes are kept.
    pub episodes: Option<Box<dyn EpisodeSink>>,
    /// Where ticks are kept.
    pub ticks: Option<Box<dyn TickSink>>,
}

/// A simulated robot, with a filter and a watchdog of its own on its side of the link.
///
/// # Errors
/// When the environment has no robot for a control loop to command.
pub fn simulated_robot(
    config: &EnvConfig,
    clock: LiveClock,
    around: Around,
) -> Result<SessionParts, Failure> {
    let parts = || {
        env(config)?
            .into_robot()
            .ok_or_else(|| anyhow!("{} has no robot for a control loop to command", config.name()))
            .map_err(Failure::Request)
    };
    let ((task, world), (reader_task, _), (scene_task, _)) = (parts()?, parts()?, parts()?);
    let mut guarded = GuardedRobot::new(world, TRACKING_TOLERANCE_RAD)?;
    if clock == LiveClock::Real {
        guarded = guarded.live();
    }
    let guarded: Box<dyn World> = Box::new(guarded);
    let (robot, scene) = resettable(guarded, scene_task);
    let robot: Box<dyn Robot> = Box::new(robot);
    let Around { operator, episodes, ticks } = around;
    Ok(SessionParts { robot, task, reader_task, scene: Box::new(scene), operator, episodes, ticks })
}

/// Ticks as JSON, one object a line.
pub struct TickLines<W: Write + Send>(pub W);

impl<W: Write + Send> TickSink for TickLines<W> {
    fn keep(&mut self, tick: &Tick) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.0, tick)?;
        self.0.write_all(b"\n")
    }
}

impl<W: Write + Send> Drop for TickLines<W> {
    fn drop(&mut self) {
        // What could not be written was told when it was kept; this is the rest of the buffer.
        let _ = self.0.flush();
    }
}
