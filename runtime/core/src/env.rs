//! The decision process that a policy acts in.

use std::fmt;

use crate::{EnvSpec, NotAChoice, Outcome, Task, TrainingProgress, World};

/// Why an environment cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvError {
    /// A row of the wrong length.
    #[error("{what} has {found} numbers, expected {expected}")]
    Dimension {
        /// Which row.
        what: &'static str,
        /// Its length by the spec.
        expected: usize,
        /// Its length.
        found: usize,
    },
    /// An action that is none of the choices there are.
    #[error("environment {env}: action {choice}")]
    Choice {
        /// Environment name.
        env: String,
        /// Which field, and what it held.
        choice: NotAChoice,
    },
    /// The world left the realm of finite numbers.
    #[error("the world of {env} diverged at env step {step}: {what}")]
    Diverged {
        /// Environment name.
        env: String,
        /// Step of the episode.
        step: usize,
        /// What is not finite: which joint, channel or row.
        what: String,
    },
    /// The robot refused.
    #[error(transparent)]
    Robot(#[from] crate::RobotError),
    /// The safety chain could not be armed.
    #[error(transparent)]
    Safety(#[from] surefoot_safety::SafetyError),
    /// The process that the worlds live in is gone or does not answer. Its episodes are lost, never continued; the next reset
    /// begins anew with whoever is there by then.
    #[error("environment {env} was lost: {reason}")]
    Lost {
        /// Environment name.
        env: String,
        /// How it was noticed.
        reason: String,
    },
    /// The process that the worlds live in refused, or its worlds failed.
    #[error("environment {env}: {reason}")]
    Refused {
        /// Environment name.
        env: String,
        /// What it says.
        reason: String,
    },
    /// A model or an environment could not be built.
    #[error("cannot build environment {env}: {reason}")]
    Build {
        /// Environment name.
        env: String,
        /// What was wrong.
        reason: String,
    },
}

/// A picture: `rgb` is `[height, width, 3]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `[height, width, 3]`, sRGB.
    pub rgb: Vec<u8>,
}

/// What a picture shows beside the world itself. Nothing, unless asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    /// Where bodies push each other, and with what force.
    pub contacts: bool,
    /// Joints at a limit of position or velocity: coloured, and by name.
    pub limits: bool,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({}x{})", self.width, self.height)
    }
}

/// Puts something around a world.
pub type AroundWorld<'a> = &'a mut dyn FnMut(Box<dyn World>) -> Result<Box<dyn World>, EnvError>;

/// A Markov decision process. Between the action given to [`step`](Env::step) and the world stands a safety chain wherever
/// a robot is behind it.
pub trait Env: Send {
    /// Names, units, bounds, period: valid before the first reset.
    fn spec(&self) -> &EnvSpec;

    /// Starts an episode. The same seed gives the same episode under the same actions, whatever came before.
    ///
    /// # Errors
    /// When the row has the wrong length or the robot cannot be armed.
    fn reset(&mut self, seed: u64, observation: &mut [f32]) -> Result<(), EnvError>;

    /// Takes one action (`[action_dim]`, normalised; the index where a field is a choice). Writes the next observation and the action that was executed in fact,
    /// which differs from `action` where a safety filter stepped in.
    ///
    /// # Errors
    /// When a row has the wrong length, an index is none of the choices, the world diverges or the robot fails. A non-finite action is no error: the safety
    /// chain brakes.
    fn step(
        &mut self,
        action: &[f32],
        observation: &mut [f32],
        executed: &mut [f32],
    ) -> Result<Outcome, EnvError>;

    /// Slows the robot's motion down to `scale` (above 0, at most 1) of its velocity limits from the next command on; 1 is full
    /// speed. The action's meaning stays: what is asked for beyond the scaled limits is not executed.
    ///
    /// # Errors
    /// When the scale cannot be used, or there is no robot with a safety chain that could be slowed down.
    fn set_speed_scale(&mut self, scale: f64) -> Result<(), EnvError> {
        if scale == 1.0 {
            return Ok(());
        }
        let reason = format!("speed scale {scale}: it has no robot that could be slowed down");
        Err(EnvError::Build { env: self.spec().name.clone(), reason })
    }

    /// Says how far training has come, for what widens with it from the next episode on; `None`: all of it, as for everything outside of
    /// training. Gives the share of their width that ranges have then, 0 to 1; an environment without a curriculum has none.
    fn set_progress(&mut self, _progress: Option<TrainingProgress<'_>>) -> Option<f64> {
        None
    }

    /// How far measured positions of its robot may be beyond limits that the commanded ones keep, rad or m; `None` for an
    /// environment without a robot.
    fn tracking_tolerance(&self) -> Option<f64> {
        None
    }

    /// The same environment with something around its robot, such as a fault or a witness; what stands between robot and policy stays.
    ///
    /// # Errors
    /// What `around` says, and when there is no robot.
    fn around_robot(self: Box<Self>, _around: AroundWorld<'_>) -> Result<Box<dyn Env>, EnvError> {
        Err(EnvError::Build { env: self.spec().name.clone(), reason: "it has no robot".into() })
    }

    /// Task and world apart, for a control loop of their own; `None` for an environment without a robot.
    fn into_robot(self: Box<Self>) -> Option<(Box<dyn Task>, Box<dyn World>)> {
        None
    }

    /// Says what pictures show from here on beside the world; a world without contacts or limits has nothing more to show.
    fn set_overlay(&mut self, _overlay: Overlay) {}

    /// Draws the world as it is, `[height, width, 3]`; `None` where there is nothing to see.
    fn render(&self, _width: usize, _height: usize) -> Option<Frame> {
        None
    }
}

/// Checks a row's length.
///
/// # Errors
/// [`EnvError::Dimension`] when it differs.
pub const fn check_row(what: &'static str, expected: usize, found: usize) -> Result<(), EnvError> {
    if expected == found { Ok(()) } else { Err(EnvError::Dimension { what, expected, found }) }
}

/// The index that an action of one choice holds, which a world executes as it is: `executed` becomes the action. Checks the rows of the step.
///
/// # Errors
/// [`EnvError::Dimension`], or [`EnvError::Choice`] where the action is no index, or none of the choices.
pub fn choose(
    spec: &EnvSpec,
    action: &[f32],
    observation: &[f32],
    executed: &mut [f32],
) -> Result<usize, EnvError> {
    check_row("action", 1, spec.action_dim())?;
    check_row("action", 1, action.len())?;
    check_row("observation", spec.observation_dim(), observation.len())?;
    check_row("executed", 1, executed.len())?;
    let found = spec.action[0].index(action[0]);
    let index = found.map_err(|choice| EnvError::Choice { env: spec.name.clone(), choice })?;
    executed.copy_from_slice(action);
    Ok(index.unwrap_or_default())
}
