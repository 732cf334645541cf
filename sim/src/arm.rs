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

pub(crate) const MODEL: &str = include_str!("../models/arm7.xml");
const CONTRACT: &str = include_str!("../../configs/robots/arm7.toml");

/// Largest distance of a joint from its set-point that counts as following, rad. A servo without acceleration feed-forward
/// lags by inertia * acceleration / stiffness: 3 kg m^2 * 15 rad/s^2 / 4000 N m/rad = 0.011 rad at the shoulder. Full-speed
/// reversals stay within half the tolerance (tested); the set-points themselves are inside the limits exactly.
pub const TRACKING_TOLERANCE_RAD: f64 = 0.03;

/// Elbow up, tool down, half a metre ahead.
const POSTURE: [f64; 7] = [0.0, 0.70, 0.0, 1.85, 0.0, 0.59, 0.0];

/// Chosen by measurement: against 8 x 4 steps a tick, a tenth of the time, the same path of a pushed puck to 2 mm, and servos
/// that stay within 8 mrad instead of 3 mrad of their set-points.
const STEPPING: Stepping = Stepping::new(2);

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::push::{PushConfig, PushTask};
    use nalgebra::Vector3;
    use surefoot_core::safety::Verdict;
    use surefoot_core::{Robot, RobotState, Stream, Task, World};

    /// The hardest that the task lets through: full-speed reversals, a puck in the way.
    #[test]
    fn the_servos_follow_within_half_the_tolerance_and_the_tool_stays_level() {
        let mut task = PushTask::new(PushConfig::default()).unwrap();
        let (mut world, motion) = (world().unwrap(), tool_motion().unwrap());
        let mut chain = contract().unwrap().safety_chain().unwrap();
        let mut state = RobotState::zeros(world.contract());
        let (mut worst, mut lift, mut tilt, mut adjusted) = (0.0_f64, 0.0_f64, 0.0_f64, 0);
        for episode in 0..4 {
            let mut s = Stream::new(episode, "tracking", 0);
            task.reset(&mut s, &mut state);
            world.reset(&state).unwrap();
            chain.arm(&state.position).unwrap();
            let (mut action, mut desired) = ([0.0_f32; 2], [0.0; 7]);
            for tick in 0..300 {
                if tick % 5 == 0 {
                    action = [0, 1].map(|_| if s.unit() < 0.5 { -1.0 } else { 1.0 });
                }
                task.desired(&state, chain.state(), &action, &mut desired);
                let command = chain.admit(&desired);
                adjusted += usize::from(command.verdict() == Verdict::Adjusted);
                let target: [f64; 7] = std::array::from_fn(|i| command.position()[i]);
                world.write(command).unwrap();
                world.read(&mut state).unwrap();
                for (t, p) in target.iter().zip(&state.position) {
                    worst = worst.max((t - p).abs());
                }
                let pose = motion.kinematics().pose(&state.position);
                lift = lift.max((pose.translation.z - 0.02).abs());
                tilt = tilt.max((pose.rotation * Vector3::z()).xy().norm());
            }
        }
        assert!(worst < TRACKING_TOLERANCE_RAD / 2.0, "{worst} rad");
        assert!(lift < 0.01 && tilt < 0.04, "tool {lift} m off its height, {tilt} rad off upright");
        assert!(adjusted > 20, "the chain must have had work: {adjusted}");
    }

    #[test]
    fn a_sliding_puck_stops_where_coulomb_says() {
        let (mut world, mut motion) = (world().unwrap(), tool_motion().unwrap());
        let mut chain = contract().unwrap().safety_chain().unwrap();
        let position = motion.position_at(Vector3::new(0.4, 0.3, 0.02)).unwrap().to_vec();
        for speed in [0.2, 0.5, 1.0] {
            let channels = vec![0.4, -0.3, speed * 0.6, speed * 0.8];
            let mut state = RobotState { position: position.clone(), velocity: vec![0.0; 7], channels };
            world.reset(&state).unwrap();
            chain.arm(&position).unwrap();
            for _ in 0..25 {
                world.write(chain.admit(&[0.0; 7])).unwrap();
            }
            world.read(&mut state).unwrap();
            let slid = (state.channels[0] - 0.4).hypot(state.channels[1] + 0.3);
            let expected = speed * speed / (2.0 * 0.5 * 9.81);
            // A step of 10 ms at the first speed is the error that is left.
            assert!(
                (slid - expected).abs() < 0.006 * speed + 0.05 * expected,
                "{speed}: {slid} against {expected}"
            );
            assert!(state.channels[2].hypot(state.channels[3]) < 1e-3, "at rest");
        }
    }

    #[test]
    fn the_contract_matches_the_model() {
        let (contract, model) = (contract().unwrap(), model().unwrap());
        for joint in &contract.joints {
            let crate::JointActuator::Servo { max_effort, .. } = model.actuator(&joint.name).unwrap() else {
                panic!("{} has no servo", joint.name)
            };
            assert_eq!(max_effort, joint.max_effort, "{}", joint.name);
        }
        assert!(model.actuator("joint9").is_err());
    }
}
