//! A session on a robot at the other end of a zenoh link.

use std::cell::RefCell;
use std::path::Path;

use crate::config::EnvConfig;
use anyhow::anyhow;
use surefoot_bridges::{Attached, LinkError, LinkStatus, Purpose, SceneClient, SessionConfig, attach};
use surefoot_core::{EpisodeSink, Robot, RobotContract, RobotState, Task};
use surefoot_engine::live::{Operator, Scene, SessionParts, StandingScene, Unattended};

use crate::args::OperatorInput;
use crate::composition::{Around, robot_parts};
use crate::failure::{CommandResult, Failure, usage};
use crate::keyboard::Keyboard;
use crate::output::Output;
use crate::panel_operator::PanelOperator;

/// An error of a link: a setting is one of usage.
pub fn link_failure(error: LinkError) -> Failure {
    match error {
        LinkError::NoLink { .. }
        | LinkError::Setting { .. }
        | LinkError::Topic { .. }
        | LinkError::NotInDialect { .. }
        | LinkError::ContractUnusable(_) => usage(error),
        LinkError::Session(error) if error.is_usage() => usage(error),
        other => other.into(),
    }
}

/// Reads a robot's contract.
///
/// # Errors
/// When it is missing or malformed.
pub fn robot_contract(path: &Path) -> Result<RobotContract, Failure> {
    RobotContract::read(path).map_err(usage)
}

/// Refuses a contract that no robot could be attached by, as far as that can be known without a network.
///
/// # Errors
/// A usage error.
pub fn check_link(contract: &Path) -> CommandResult {
    let read = robot_contract(contract)?;
    let link = read.link.ok_or_else(|| link_failure(LinkError::NoLink { robot: read.name.clone() }))?;
    SessionConfig::to_robot(&link, Purpose::Control).check().map_err(usage)
}

/// The contract of the robot that an environment's task is done with.
///
/// # Errors
/// When it cannot be read, or is of another robot.
pub fn contract_for(config: &EnvConfig, contract: &Path) -> Result<RobotContract, Failure> {
    let (_, world) = robot_parts(config)?;
    let read = robot_contract(contract)?;
    if read.hash() != world.contract().hash() {
        return Err(usage(anyhow!(
            "{} is the contract of another robot than the one that task {} is done with ({})\n\nhint: `surefoot serve {} --write-contract FILE` writes one that fits",
            contract.display(),
            config.name(),
            world.contract().name,
            config.name(),
        )));
    }
    Ok(read)
}

/// The robot of a contract, to do an environment's task with.
///
/// # Errors
/// When the task is of another robot, or the robot cannot be attached.
pub fn linked_robot(
    config: &EnvConfig,
    contract: &Path,
    around: Around,
    output: Output,
) -> Result<(SessionParts, LinkStatus), Failure> {
    let read = contract_for(config, contract)?;
    let ((task, _), (reader_task, _), (scene_task, _)) =
        (robot_parts(config)?, robot_parts(config)?, robot_parts(config)?);
    let Attached { robot, scene, status, session, description: _ } = attach(&read).map_err(link_failure)?;
    for line in status.wiring() {
        output.note(&format!("  {line}"));
    }
    let Around { operator, episodes, ticks } = around;
    let operator: Box<dyn Operator> = match operator {
        OperatorInput::None => Box::new(Unattended),
        OperatorInput::Keyboard => Box::new(Keyboard::open(output)?),
        OperatorInput::Panel => Box::new(PanelOperator::new(&session, &read, output).map_err(link_failure)?),
    };
    let initial = RobotState::zeros(&read);
    let scene: Box<dyn Scene> = match scene {
        None => Box::new(StandingScene),
        Some(client) => Box::new(LinkedScene { client: RefCell::new(client), task: scene_task, initial }),
    };
    let recorded = episodes.as_ref().map_or(0, |recorder| recorder.len() as u64);
    let episodes = episodes.map(|recorder| recorder as Box<dyn EpisodeSink>);
    let robot: Box<dyn Robot> = Box::new(robot);
    let parts = SessionParts { robot, task, reader_task, scene, operator, episodes, recorded, ticks };
    Ok((parts, status))
}

/// The scene of a simulated robot, put back over the link as the task's own environment draws it.
struct LinkedScene {
    client: RefCell<SceneClient>,
    task: Box<dyn Task>,
    initial: RobotState,
}

impl LinkedScene {
    fn ask(&self) {
        // One that could not be asked is never ready, and the session says so.
        let _ = self.client.borrow_mut().reset(&self.initial);
    }
}

impl Scene for LinkedScene {
    fn wants_disarmed(&self) -> bool {
        true
    }

    fn reset(&mut self, seed: u64) {
        self.task.begin_episode(seed, &mut self.initial);
        self.ask();
    }

    fn is_ready(&self) -> bool {
        let (ready, refused) = {
            let client = self.client.borrow();
            (client.is_ready(), client.refusal().is_some())
        };
        if refused {
            // The robot's side has not come to rest yet, or the answer was lost.
            self.ask();
        }
        ready && !refused
    }
}
