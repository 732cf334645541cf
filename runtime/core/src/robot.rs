//! Devices that are read and written: real, remote or simulated.

use surefoot_safety::SafeCommand;

use crate::{Frame, Marker, Overlay, RobotContract, TrainingProgress};

/// When a state was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Nanoseconds of the robot's clock (simulated time in a simulation).
    pub nanos: i64,
    /// Sample number.
    pub seq: u64,
}

/// What is known of a robot and what it handles.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RobotState {
    /// Joint positions in the contract's order, rad or m.
    pub position: Vec<f64>,
    /// Joint velocities, rad/s or m/s.
    pub velocity: Vec<f64>,
    /// The contract's further channels (object poses and the like), in its order.
    pub channels: Vec<f64>,
}

impl RobotState {
    /// Zeros of the sizes that a contract names.
    #[must_use]
    pub fn zeros(contract: &RobotContract) -> Self {
        Self {
            position: vec![0.0; contract.joints.len()],
            velocity: vec![0.0; contract.joints.len()],
            channels: vec![0.0; contract.channels.len()],
        }
    }
    /// The first number that is not finite, in words, such as `velocity of joint elbow is NaN`.
    #[must_use]
    pub fn first_not_finite(&self, contract: &RobotContract) -> Option<String> {
        let joints = || contract.joints.iter().map(|j| format!("joint {}", j.name));
        let channels = contract.channels.iter().map(|c| c.name.clone());
        let mut all = (self
            .position
            .iter()
            .zip(joints())
            .map(|(x, joint)| (x, format!("position of {joint}"))))
        .chain(self.velocity.iter().zip(joints()).map(|(x, joint)| (x, format!("velocity of {joint}"))))
        .chain(self.channels.iter().zip(channels).map(|(x, channel)| (x, format!("channel {channel}"))));
        all.find(|(x, _)| !x.is_finite()).map(|(x, what)| format!("{what} is {x}"))
    }
    /// Whether every number is finite.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        [&self.position, &self.velocity, &self.channels].iter().all(|row| row.iter().all(|x| x.is_finite()))
    }
}

/// Why a robot does not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RobotError {
    /// The state holds NaN or an infinity.
    #[error("robot {robot} reported a state that is not finite: {what}")]
    NotFinite {
        /// Name of the robot.
        robot: String,
        /// The first number that is not: which joint, channel or body.
        what: String,
    },
    /// A simulation that left the realm of finite numbers.
    #[error(
        "the simulation of robot {robot} diverged at {secs:.3} s: {what} is not finite; before it, {before}"
    )]
    Diverged {
        /// Name of the robot.
        robot: String,
        /// Simulated time, s.
        secs: f64,
        /// Joint, channel or body.
        what: String,
        /// The last states that were finite, the oldest first.
        before: String,
    },
    /// The robot does not answer.
    #[error("robot {robot} is lost: {reason}")]
    Lost {
        /// Name of the robot.
        robot: String,
        /// What the link says.
        reason: String,
    },
    /// The initial state asked for cannot be set.
    #[error("robot {robot} cannot be reset: {reason}")]
    Reset {
        /// Name of the robot.
        robot: String,
        /// Why.
        reason: String,
    },
}

/// A robot.
pub trait Robot: Send {
    /// Joints, limits, rates.
    fn contract(&self) -> &RobotContract;
    /// Reads the newest state into buffers of the contract's sizes.
    ///
    /// # Errors
    /// When there is no valid state.
    fn read(&mut self, state: &mut RobotState) -> Result<Stamp, RobotError>;
    /// Executes a command for one control period. Nothing but a [`SafeCommand`] can be written.
    ///
    /// # Errors
    /// When the command could not be delivered.
    fn write(&mut self, command: SafeCommand<'_>) -> Result<(), RobotError>;
    /// Called in place of [`write`](Self::write) when a control period passes without a command. A simulation goes on in time; a
    /// real robot does that by itself.
    ///
    /// # Errors
    /// When the robot is lost.
    fn without_command(&mut self) -> Result<(), RobotError> {
        Ok(())
    }
    /// Brings the robot to rest now.
    ///
    /// # Errors
    /// When that could not be delivered.
    fn stop(&mut self) -> Result<(), RobotError>;
    /// A person has looked at a stop and cleared it. A robot whose own side latches stops clears its one now; nothing else ever asks it
    /// to. Must not wait.
    ///
    /// # Errors
    /// When that could not be delivered.
    fn acknowledge(&mut self) -> Result<(), RobotError> {
        Ok(())
    }
}

/// A robot whose surroundings can be put into a given state: a simulation. [`Robot::write`] advances it one control period.
pub trait World: Robot {
    /// Draws what an episode's world is like (masses, friction) from its seed, before [`reset`](Self::reset); most draw nothing. Without a
    /// default, so that what stands around a world cannot forget to pass it on.
    fn vary(&mut self, seed: u64);
    /// Says how far training has come, for what [`vary`](Self::vary) draws wider with it; `None`: all of it. Gives the share of their width that
    /// ranges have then, 0 to 1; a world without a curriculum has none.
    fn set_progress(&mut self, _progress: Option<TrainingProgress<'_>>) -> Option<f64> {
        None
    }
    /// Sets positions, velocities and channels; time starts at zero. The result must not depend on what came before.
    ///
    /// # Errors
    /// When the state does not fit the world.
    fn reset(&mut self, initial: &RobotState) -> Result<(), RobotError>;
    /// Says what pictures show from here on beside the world; a world without contacts or limits has nothing more to show.
    fn set_overlay(&mut self, _overlay: Overlay) {}
    /// Draws the world and a task's markers in it; `None` where there is nothing to see.
    fn render(&self, _markers: &[Marker], _width: usize, _height: usize) -> Option<Frame> {
        None
    }
}

impl<R: Robot + ?Sized> Robot for Box<R> {
    fn contract(&self) -> &RobotContract {
        (**self).contract()
    }
    fn read(&mut self, state: &mut RobotState) -> Result<Stamp, RobotError> {
        (**self).read(state)
    }
    fn write(&mut self, command: SafeCommand<'_>) -> Result<(), RobotError> {
        (**self).write(command)
    }
    fn without_command(&mut self) -> Result<(), RobotError> {
        (**self).without_command()
    }
    fn stop(&mut self) -> Result<(), RobotError> {
        (**self).stop()
    }
    fn acknowledge(&mut self) -> Result<(), RobotError> {
        (**self).acknowledge()
    }
}

impl<W: World + ?Sized> World for Box<W> {
    fn vary(&mut self, seed: u64) {
        (**self).vary(seed);
    }
    fn set_progress(&mut self, progress: Option<TrainingProgress<'_>>) -> Option<f64> {
        (**self).set_progress(progress)
    }
    fn reset(&mut self, initial: &RobotState) -> Result<(), RobotError> {
        (**self).reset(initial)
    }
    fn set_overlay(&mut self, overlay: Overlay) {
        (**self).set_overlay(overlay);
    }
    fn render(&self, markers: &[Marker], width: usize, height: usize) -> Option<Frame> {
        (**self).render(markers, width, height)
    }
}
