//! From a tool velocity to joint velocities, with the tool held vertical: damped least squares on the commanded state.
//!
//! Five rows are asked of the joints: the tool's linear velocity and the two rates that keep its axis pointing down. What
//! the joints have left over pulls them toward a posture:
//!
//! ```text
//! q' = q0' + J^T (J J^T + damping^2 I)^-1 (v - J q0'),   q0' = posture_rate (posture - q)
//! ```

use nalgebra::{Isometry3, Matrix6xX, SMatrix, SVector, Vector3};

use crate::kinematics::Kinematics;
use crate::model::ModelError;

const ROWS: usize = 5;

/// Tool-space motion of one arm.
#[derive(Clone, Debug)]
pub struct ToolMotion {
    kinematics: Kinematics,
    posture: Vec<f64>,
    jacobian: Matrix6xX<f64>,
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
        Self { kinematics, posture, jacobian, damping: 0.02, upright_rate: 5.0, posture_rate: 0.5 }
    }

    /// The chain.
    #[must_use]
    pub const fn kinematics(&self) -> &Kinematics {
        &self.kinematics
    }

    /// Joint velocities that move the tool at `velocity` (m/s, world axes) from joint positions `position`, into `desired`,
    /// `[joints]`, rad/s. NaN in `velocity` gives NaN. Returns the tool's pose at `position`.
    ///
    /// Real-time safe: does not allocate, lock or block.
    pub fn joint_velocities(
        &mut self,
        position: &[f64],
        velocity: impl FnOnce(&Isometry3<f64>) -> Vector3<f64>,
        desired: &mut [f64],
    ) -> Isometry3<f64> {
        let pose = self.kinematics.pose_and_jacobian(position, &mut self.jacobian);
        let linear = velocity(&pose);
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

    /// Joint positions that put the vertical tool at `target`, m, found from the posture.
    ///
    /// # Errors
    /// When the arm does not get within 0.1 mm.
    pub fn position_at(&mut self, target: Vector3<f64>) -> Result<Vec<f64>, ModelError> {
        let mut position = self.posture.clone();
        let mut desired = vec![0.0; position.len()];
        let step_secs = 0.05;
        let posture_rate = self.posture_rate;
        for iteration in 0..400 {
            // The pull toward the posture biases the tool a little: it is let go for the last approach.
            self.posture_rate = if iteration < 250 { posture_rate } else { 0.0 };
            self.joint_velocities(&position, |pose| (target - pose.translation.vector) * 4.0, &mut desired);
            for (p, v) in position.iter_mut().zip(&desired) {
                *p += v * step_secs;
            }
        }
        self.posture_rate = posture_rate;
        let miss = (self.kinematics.pose(&position).translation.vector - target).norm();
        if miss < 1e-4 { Ok(position) } else { Err(ModelError::Unreachable { target: target.into(), miss }) }
    }
}
