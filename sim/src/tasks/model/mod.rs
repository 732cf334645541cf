//! `model`: a world from a file that a user brings, and a task written down in named terms.
//!
//! | | |
//! |---|---|
//! | observation | the task's `observations`, in order |
//! | action | effort of each motor, or velocity of each servo's target, -1 to 1 |
//! | reward | the sum of the task's `rewards`: weight times the sum over the numbers of a quantity, each shaped |
//! | success | all of the task's `success` conditions hold |
//! | termination | success, unless `success_ends` is false, or one of the task's `terminations` |
//! | truncation | `max_steps` |
//!
//! Without a path it is the example of docs/worlds.md.

mod quantity;
mod task;
mod terms;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{Env, EnvError, RobotContract, RobotEnv};

use crate::model::{DerivedLimits, Model};
use crate::randomisation::Randomisation;
use crate::render::View;
use crate::tasks::{EnvContext, build_error};
use crate::world::{RapierWorld, Softness, Stepping};

pub use quantity::Quantity;
use task::NamedTask;
use terms::Places;
pub use terms::{BodyStart, Condition, JointStart, ModelTask, Place, Reward, Shape, Start};

const EXAMPLE_MODEL: &str = include_str!("../../../models/two_link.xml");
const EXAMPLE_TASK: &str = include_str!("../../../models/two_link_reach.toml");
/// Largest error of a servo that counts as following, rad or m.
const TRACKING_TOLERANCE: f64 = 0.1;
const MAX_PHYSICS_STEPS: usize = 1000;

/// Where pictures are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ViewConfig {
    /// Position of the eye, m.
    pub eye_m: [f32; 3],
    /// What is in the middle, m.
    pub target_m: [f32; 3],
    /// Height of the floor, m.
    #[serde(default)]
    pub floor_m: f32,
}

impl Default for ViewConfig {
    fn default() -> Self {
        Self { eye_m: [1.1, -1.1, 1.0], target_m: [0.2, 0.0, 0.1], floor_m: 0.0 }
    }
}

/// Configuration of [`model`](self).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// MJCF or URDF file; absent: the example.
    pub path: Option<PathBuf>,
    /// Contract of the robot; absent: made of the model, with `limits`.
    pub contract: Option<PathBuf>,
    /// Rates, and limits that the model does not state, for a contract that is made of it.
    pub limits: DerivedLimits,
    /// File with the task; absent where `task` stands here.
    pub task_file: Option<PathBuf>,
    /// The task.
    pub task: Option<ModelTask>,
    /// Physics steps in a control period; absent: as many as the model's timestep asks for.
    pub physics_steps_per_tick: Option<usize>,
    /// Solver sub-steps in a physics step.
    pub solver_iterations: Option<usize>,
    /// How soft contacts are; absent: as rapier has them.
    pub contact_softness: Option<Softness>,
    /// How soft joint limits are; absent: hard.
    pub limit_softness: Option<Softness>,
    /// Where pictures are taken from.
    pub view: ViewConfig,
    /// What is drawn for every episode.
    #[serde(skip_serializing_if = "Randomisation::is_none")]
    pub randomisation: Randomisation,
}

impl ModelConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a file is missing or malformed, or the task names what the model does not have.
    pub fn build(&self, context: &EnvContext) -> Result<Box<dyn Env>, EnvError> {
        let Self {
            path,
            contract,
            limits,
            task_file,
            task,
            physics_steps_per_tick,
            solver_iterations,
            contact_softness,
            limit_softness,
            view,
            randomisation,
        } = self;
        let refuse = |what: String| build_error("model", what);
        let model = match path {
            Some(path) => Model::read(path),
            None => Model::parse("two_link", EXAMPLE_MODEL),
        };
        let model = model.map_err(|e| refuse(e.to_string()))?;
        let task = match (task, task_file) {
            (Some(task), None) => task.clone(),
            (None, Some(file)) => read_task(file).map_err(refuse)?,
            (None, None) if path.is_none() => parse_task(EXAMPLE_TASK).map_err(refuse)?,
            (None, None) => {
                return Err(refuse(
                    "a model needs a task: task_file = \"...\" or [env.model.task]".to_owned(),
                ));
            }
            (Some(_), Some(_)) => {
                return Err(refuse("task_file and [env.model.task] exclude each other".to_owned()));
            }
        };
        let places = Places::new(&task.places).map_err(refuse)?;
        let contract = match contract {
            Some(file) => RobotContract::read(file).map_err(|e| refuse(e.to_string()))?,
            None => {
                let bare =
                    model.contract(&task.name, limits, Vec::new()).map_err(|e| refuse(e.to_string()))?;
                let channels = task.channels(&model, &bare, &places);
                model.contract(&task.name, limits, channels).map_err(|e| refuse(e.to_string()))?
            }
        };
        let asked = (contract.control_secs() / model.timestep_secs()).ceil().max(1.0);
        let steps = physics_steps_per_tick.unwrap_or(asked as usize);
        if !(1..=MAX_PHYSICS_STEPS).contains(&steps) {
            return Err(refuse(format!(
                "physics_steps_per_tick must be 1 to {MAX_PHYSICS_STEPS}, found {steps}"
            )));
        }
        let iterations = solver_iterations.unwrap_or(1);
        if !(1..=100).contains(&iterations) {
            return Err(refuse(format!("solver_iterations must be 1 to 100, found {iterations}")));
        }
        for (key, soft) in [("contact_softness", contact_softness), ("limit_softness", limit_softness)] {
            let positive = |x: f64| x.is_finite() && x > 0.0;
            if let Some(s) = soft.filter(|s| !(positive(s.frequency_hz) && positive(s.damping_ratio))) {
                return Err(refuse(format!(
                    "{key}: frequency and damping ratio must be greater than zero, found {s:?}"
                )));
            }
        }
        let stepping = Stepping {
            solver_iterations: iterations,
            contacts: *contact_softness,
            limits: *limit_softness,
            ..Stepping::new(steps)
        };
        let named = NamedTask::new(&task, &model, &contract, places).map_err(refuse)?;
        let world = RapierWorld::new(contract, Arc::new(model), context.stepping.unwrap_or(stepping))
            .map_err(|e| refuse(e.to_string()))?;
        let ViewConfig { eye_m, target_m, floor_m } = *view;
        let view = View { eye: eye_m, target: target_m, floor_z: floor_m, ..View::default() };
        let world = world.with_view(view).with_randomisation(randomisation);
        randomisation.around(Box::new(RobotEnv::new(Box::new(named), Box::new(world), TRACKING_TOLERANCE)?))
    }
}

fn parse_task(text: &str) -> Result<ModelTask, String> {
    toml::from_str(text).map_err(|e| e.to_string())
}

fn read_task(file: &Path) -> Result<ModelTask, String> {
    let text =
        std::fs::read_to_string(file).map_err(|e| format!("cannot read task {}: {e}", file.display()))?;
    parse_task(&text).map_err(|e| format!("task {}: {e}", file.display()))
}
