//! The seven-joint arm of `models/arm7.xml` and its contract: what `push` and `reach` share.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use surefoot_core::{EnvError, RobotContract};

use crate::kinematics::Kinematics;
use crate::model::Model;
use crate::render::View;
use crate::tasks::build_error;
use crate::tool_motion::ToolMotion;
use crate::world::{RapierWorld, Stepping};

const MODEL: &str = include_str!("../models/arm7.xml");
const CONTRACT: &str = include_str!("../../configs/robots/arm7.toml");

/// Largest tracking error of a joint against its set-point that counts as following, rad. The servos stay within half of
/// this in every task (tested); the safety chain keeps the set-points themselves inside the limits exactly.
pub const TRACKING_TOLERANCE_RAD: f64 = 0.02;

/// Elbow up, tool down, half a metre ahead.
const POSTURE: [f64; 7] = [0.0, 0.70, 0.0, 1.85, 0.0, 0.59, 0.0];

/// Chosen by measurement: against 8 x 4 steps a tick, a tenth of the time, the same path of a pushed puck to 2 mm, and servos
/// that stay within 8 mrad instead of 3 mrad of their set-points.
const STEPPING: Stepping = Stepping { steps_per_tick: 2, solver_iterations: 1 };

const VIEW: View =
    View { eye: [1.80, -1.05, 1.10], target: [0.36, 0.02, 0.205], field_of_view_rad: 0.58, floor_z: -0.60 };

/// The contract, from `configs/robots/arm7.toml`.
///
/// # Errors
/// When the file is malformed.
pub fn contract() -> Result<RobotContract, EnvError> {
    RobotContract::parse(CONTRACT, Path::new("configs/robots/arm7.toml")).map_err(|e| build_error("arm7", e))
}

/// The parsed model, shared by all worlds.
///
/// # Errors
/// When the file is malformed.
pub fn model() -> Result<Arc<Model>, EnvError> {
    static PARSED: OnceLock<Result<Arc<Model>, String>> = OnceLock::new();
    PARSED
        .get_or_init(|| Model::parse("arm7", MODEL).map(Arc::new).map_err(|e| e.to_string()))
        .clone()
        .map_err(|e| build_error("arm7", e))
}

/// A world of the arm.
///
/// # Errors
/// When model and contract disagree.
pub fn world() -> Result<RapierWorld, EnvError> {
    let world = RapierWorld::new(contract()?, model()?, STEPPING).map_err(|e| build_error("arm7", e))?;
    Ok(world.with_view(VIEW))
}

/// Motion of its tool.
///
/// # Errors
/// When the model has no tool.
pub fn tool_motion() -> Result<ToolMotion, EnvError> {
    let kinematics = Kinematics::to_site(&*model()?, "tool").map_err(|e| build_error("arm7", e))?;
    Ok(ToolMotion::new(kinematics, POSTURE.to_vec()))
}
