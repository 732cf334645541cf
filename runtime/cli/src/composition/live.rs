//! What a session on a robot is made of.

use std::path::Path;

use anyhow::anyhow;
use surefoot_bridges::LinkStatus;
use surefoot_core::{EpisodeSink, GuardedRobot, Robot, Task, World};
use surefoot_datasets::{EpisodeRecorder, Recording};
use surefoot_engine::MakeLive;
use surefoot_engine::live::{LiveClock, LiveError, Operator, SessionParts, TickSink, Unattended, resettable};
use surefoot_sim::arm::TRACKING_TOLERANCE_RAD;

use crate::args::OperatorInput;
use crate::composition::{env_spec, linked_robot, local_env};
use crate::config::EnvConfig;
use crate::failure::{CommandResult, Failure, usage};
use crate::keyboard::Keyboard;
use crate::output::Output;
use crate::ticks;

/// Who looks on, and what is kept.
pub struct Around {
    /// The person.
    pub operator: OperatorInput,
    /// Where finished episodes are kept.
    pub episodes: Option<Box<EpisodeRecorder>>,
    /// Where ticks are kept.
    pub ticks: Option<Box<dyn TickSink>>,
}

/// Refuses a person's input that is not there, before anything else is begun.
///
/// # Errors
/// A usage error.
pub fn check_operator(input: OperatorInput, robot: Option<&Path>) -> CommandResult {
    match input {
        OperatorInput::Keyboard => Keyboard::check(),
        OperatorInput::Panel if robot.is_none() => Err(usage(anyhow!(
            "--operator panel: a panel is heard over the link of a robot\n\nhint: add --robot CONTRACT"
        ))),
        OperatorInput::None | OperatorInput::Panel => Ok(()),
    }
}

/// A recording that finished episodes are put into; one of the same task goes on.
///
/// # Errors
/// When the directory cannot be used.
pub fn recorder(to: &Path, config: &EnvConfig) -> Result<Box<EpisodeRecorder>, Failure> {
    let recording =
        Recording { env_kwargs: serde_json::to_value(config)?, ..Recording::new(env_spec(config)?) };
    Ok(Box::new(EpisodeRecorder::create(to, recording)?))
}

/// What an online phase that acts and learns side by side drives: the robot of a contract, or a simulated one in this process; its
/// episodes stand in the run directory.
pub fn make_live(config: &EnvConfig, robot: Option<&Path>, input: OperatorInput, output: Output) -> MakeLive {
    let (config, robot) = (config.clone(), robot.map(Path::to_owned));
    Box::new(move |run, live| {
        let parts = || {
            let file = live.record_ticks.then(|| ticks::next_file(run));
            let ticks = file.map(|to| ticks::create(&to, &config, live.robot.clock, output)).transpose()?;
            let ticks = ticks.map(|recorder| Box::new(recorder) as Box<dyn TickSink>);
            let episodes = Some(recorder(&run.join("episodes"), &config)?);
            let around = Around { operator: input, episodes, ticks };
            self::robot(&config, robot.as_deref(), live.robot.clock, around, output).map(|(parts, _)| parts)
        };
        parts().map_err(|failure: Failure| LiveError::Parts { reason: failure.text() })
    })
}

/// A task and the simulated robot that it is done with.
pub type TaskAndWorld = (Box<dyn Task>, Box<dyn World>);

/// The task and the robot of an environment.
///
/// # Errors
/// When it has none that a control loop can command.
pub fn robot_parts(config: &EnvConfig) -> Result<TaskAndWorld, Failure> {
    local_env(config)?
        .into_robot()
        .ok_or_else(|| anyhow!("{} has no robot for a control loop to command", config.name()).into())
}

/// The robot of a contract at the other end of a link, or a simulated one in this process.
///
/// # Errors
/// When there is no robot to command, or a person's input is not there.
pub fn robot(
    config: &EnvConfig,
    contract: Option<&Path>,
    clock: LiveClock,
    around: Around,
    output: Output,
) -> Result<(SessionParts, Option<LinkStatus>), Failure> {
    check_operator(around.operator, contract)?;
    match contract {
        Some(contract) => {
            linked_robot(config, contract, around, output).map(|(parts, status)| (parts, Some(status)))
        }
        None => simulated_robot(config, clock, around, output).map(|parts| (parts, None)),
    }
}

/// A simulated robot, with a filter and a watchdog of its own on its side of the link.
fn simulated_robot(
    config: &EnvConfig,
    clock: LiveClock,
    around: Around,
    output: Output,
) -> Result<SessionParts, Failure> {
    let ((task, world), (reader_task, _), (scene_task, _)) =
        (robot_parts(config)?, robot_parts(config)?, robot_parts(config)?);
    let mut guarded = GuardedRobot::new(world, TRACKING_TOLERANCE_RAD)?;
    if clock == LiveClock::Real {
        guarded = guarded.live();
    }
    let guarded: Box<dyn World> = Box::new(guarded);
    let (robot, scene) = resettable(guarded, scene_task);
    let robot: Box<dyn Robot> = Box::new(robot);
    let Around { operator, episodes, ticks } = around;
    let operator: Box<dyn Operator> = match operator {
        OperatorInput::Keyboard => Box::new(Keyboard::open(output)?),
        OperatorInput::None | OperatorInput::Panel => Box::new(Unattended),
    };
    let recorded = episodes.as_ref().map_or(0, |recorder| recorder.len() as u64);
    let episodes = episodes.map(|recorder| recorder as Box<dyn EpisodeSink>);
    let scene = Box::new(scene);
    Ok(SessionParts { robot, task, reader_task, scene, operator, episodes, recorded, ticks })
}
