//! From a tool velocity to joint velocities, with the tool held vertical: damped least squares on the commanded state.
//!
//! Five rows are asked of the joints: the tool's linear velocity and the two rates that keep its axis pointing down. What
//! the joints have left over pulls them toward a posture:
//!
//! ```text
//! q' = q0' + J^T (J J^T + damping^2 I)^-1 (v - J q0'),   q0' = posture_rate (posture - q)
//! ```

use std::mem::take;

use nalgebra::{Isometry3, Matrix6xX, SMatrix, SVector, Vector3};

use surefoot_core::safety::CommandState;

use crate::kinematics::Kinematics;
use crate::model::ModelError;

const ROWS: usize = 5;

/// Tool-space motion of one arm.
#[derive(Clone, Debug)]
pub struct ToolMotion {
    kinematics: Kinematics,
    posture: Vec<f64>,
    jacobian: Matrix6xX<f64>,
    /// What was found last, and how it changes while it is looked for, `[joints]`.
    found: Vec<f64>,
    change: Vec<f64>,
    /// Keeps joint velocities bounded near a stretched arm, m.
    damping: f64,
    /// Rate at which a tilted tool is righted, 1/s.
    upright_rate: f64,
    /// Pull toward the posture, 1/s.
    posture_rate: f64,
}

impl ToolMotion {
    /// Motion of the chain's site around a posture, `[joints]`, rad.
    #[must_use]
    pub fn new(kinematics: Kinematics, posture: Vec<f64>) -> Self {
        let jacobian = Matrix6xX::zeros(kinematics.joints());
        let (found, change) = (posture.clone(), vec![0.0; posture.len()]);
        let (damping, upright_rate, posture_rate) = (0.02, 5.0, 0.5);
        Self { kinematics, posture, jacobian, found, change, damping, upright_rate, posture_rate }
    }

    /// The chain.
    #[must_use]
    pub const fn kinematics(&self) -> &Kinematics {
        &self.kinematics
    }

    /// Joint velocities that move the tool at `linear` (m/s, world axes) from joint positions `position`, into `desired`,
    /// `[joints]`, rad/s. NaN in `linear` gives NaN. Returns the tool's pose at `position`.
    ///
    /// Real-time safe: does not allocate, lock or block.
    pub fn joint_velocities(
        &mut self,
        position: &[f64],
        linear: Vector3<f64>,
        desired: &mut [f64],
    ) -> Isometry3<f64> {
        let pose = self.kinematics.pose_and_jacobian(position, &mut self.jacobian);
        let axis = pose.rotation * Vector3::z();
        let righting = axis.cross(&-Vector3::z()) * self.upright_rate;
        let mut rest = SVector::<f64, ROWS>::new(linear.x, linear.y, linear.z, righting.x, righting.y);
        let mut gram = SMatrix::<f64, ROWS, ROWS>::identity() * (self.damping * self.damping);
        for (i, out) in desired.iter_mut().enumerate() {
            *out = self.posture_rate * (self.posture[i] - position[i]);
            let column: SVector<f64, ROWS> = self.jacobian.fixed_view::<ROWS, 1>(0, i).into_owned();
            rest -= column * *out;
            gram += column * column.transpose();
        }
        match gram.cholesky() {
            Some(factor) => factor.solve_mut(&mut rest),
            // Only a pose that is not finite comes here.
            None => rest.fill(f64::NAN),
        }
        for (i, out) in desired.iter_mut().enumerate() {
            *out += self.jacobian.fixed_view::<ROWS, 1>(0, i).dot(&rest);
        }
        pose
    }

    /// The tool velocity nearest to `wanted` that `acceleration` (m/s^2) allows one period after the commanded state. Slewing
    /// the tool and not each joint keeps it on its plane while it turns around: the safety chain, which knows only joints, would
    /// brake each at its own limit.
    ///
    /// Real-time safe: does not allocate, lock or block.
    #[must_use]
    pub fn slewed(&self, command: CommandState<'_>, wanted: Vector3<f64>, acceleration: f64) -> Vector3<f64> {
        let now = self.kinematics.velocity(command.position, command.velocity);
        let change = wanted - now;
        let most = acceleration * command.period_secs;
        if change.norm() > most { now + change * (most / change.norm()) } else { wanted }
    }

    /// Joint positions that put the vertical tool at `target`, m, found from the posture.
    ///
    /// Real-time safe: does not allocate, lock or block.
    ///
    /// # Errors
    /// When the arm does not get within 0.1 mm.
    pub fn position_at(&mut self, target: Vector3<f64>) -> Result<&[f64], ModelError> {
        let (mut position, mut desired) = (take(&mut self.found), take(&mut self.change));
        position.copy_from_slice(&self.posture);
        let step_secs = 0.05;
        let posture_rate = self.posture_rate;
        for iteration in 0..400 {
            // The pull toward the posture biases the tool a little: it is let go for the last approach.
            self.posture_rate = if iteration < 250 { posture_rate } else { 0.0 };
            let miss = target - self.kinematics.pose(&position).translation.vector;
            self.joint_velocities(&position, miss * 4.0, &mut desired);
            for (p, v) in position.iter_mut().zip(&desired) {
                *p += v * step_secs;
            }
        }
        self.posture_rate = posture_rate;
        let miss = (self.kinematics.pose(&position).translation.vector - target).norm();
        (self.found, self.change) = (position, desired);
        if miss < 1e-4 {
            Ok(&self.found)
        } else {
            Err(ModelError::Unreachable { target: target.into(), miss })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm;
    use surefoot_core::Stream;

    #[test]
    fn the_tool_follows_its_velocity_upright_and_level_without_allocating() {
        let mut motion = arm::tool_motion().unwrap();
        let mut s = Stream::new(0, "tool", 0);
        for _ in 0..5 {
            let start = Vector3::new(s.uniform(0.35, 0.6), s.uniform(-0.25, 0.25), 0.02);
            let mut q = motion.position_at(start).unwrap().to_vec();
            let angle = s.uniform(0.0, std::f64::consts::TAU);
            let wanted = Vector3::new(angle.cos(), angle.sin(), 0.0) * 0.1;
            let mut desired = [0.0; 7];
            let (ticks, h) = (50, 0.02);
            let mut end = motion.kinematics().pose(&q);
            let allocated = allocation_counter::measure(|| {
                for _ in 0..ticks {
                    let level = 5.0 * (0.02 - motion.kinematics().pose(&q).translation.z);
                    motion.joint_velocities(&q, wanted + Vector3::new(0.0, 0.0, level), &mut desired);
                    for (q, v) in q.iter_mut().zip(desired) {
                        *q += v * h;
                    }
                }
                end = motion.kinematics().pose(&q);
            });
            assert_eq!(allocated.count_total, 0);
            let expected = start + wanted * (f64::from(ticks) * h);
            assert!((end.translation.vector - expected).norm() < 2e-3, "{end} against {expected}");
            assert!((end.rotation * Vector3::z()).xy().norm() < 0.02, "upright");
        }
    }

    #[test]
    fn what_cannot_be_reached_is_refused_and_nan_stays_nan() {
        let mut motion = arm::tool_motion().unwrap();
        let error = motion.position_at(Vector3::new(2.0, 0.0, 0.02)).unwrap_err();
        assert!(error.to_string().contains("cannot be put at [2.0, 0.0, 0.02]"), "{error}");
        let q = motion.position_at(Vector3::new(0.5, 0.0, 0.02)).unwrap().to_vec();
        let mut desired = [0.0; 7];
        motion.joint_velocities(&q, Vector3::new(f64::NAN, 0.0, 0.0), &mut desired);
        assert!(desired.iter().any(|w| w.is_nan()), "the safety chain must see it");
    }
}
