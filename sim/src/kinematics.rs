//! Forward kinematics and Jacobian of a chain of hinges, in `f64`, from the same MJCF that the world is built from.

use nalgebra::{Isometry3, Matrix6xX, Quaternion, Translation3, Unit, UnitQuaternion, Vector3};
use rapier3d_mjcf::mjcf_rs::Pose;
use rapier3d_mjcf::mjcf_rs::body::JointType;

use crate::model::{Model, ModelError};

#[derive(Clone, Debug)]
struct Hinge {
    /// Constant transform from the frame before this joint.
    before: Isometry3<f64>,
    axis: Unit<Vector3<f64>>,
}

/// A chain from the world to a site; frames are `world_from_*`.
#[derive(Clone, Debug)]
pub struct Kinematics {
    hinges: Vec<Hinge>,
    /// From the frame after the last joint to the site.
    site: Isometry3<f64>,
}

fn isometry(pose: &Pose) -> Isometry3<f64> {
    let (t, r) = (pose.translation, pose.rotation);
    let rotation = UnitQuaternion::from_quaternion(Quaternion::new(r.w, r.x, r.y, r.z));
    Isometry3::from_parts(Translation3::new(t.x, t.y, t.z), rotation)
}

impl Kinematics {
    /// The chain from the world to the named site.
    ///
    /// # Errors
    /// When the model has no such site, or a joint on the way is not a hinge.
    pub fn to_site(model: &Model, site: &str) -> Result<Self, ModelError> {
        let (leaf, index) = model.mjcf.site_by_name(site).ok_or_else(|| model.missing("site", site))?;
        let mut path = Vec::new();
        let mut body = Some(leaf);
        while let Some(id) = body.filter(|id| *id != 0) {
            path.push(id);
            body = model.mjcf.bodies[id].parent;
        }
        let mut hinges = Vec::new();
        let mut pending = Isometry3::identity();
        for id in path.into_iter().rev() {
            let b = &model.mjcf.bodies[id].body;
            pending *= isometry(&b.pose);
            for joint in &b.joints {
                if joint.type_ != JointType::Hinge {
                    let item = format!("joint {:?} on the way to site {site}: not a hinge", joint.name);
                    return Err(ModelError::Unsupported { model: model.name.clone(), item });
                }
                let anchor = Translation3::from(Vector3::from(joint.pos));
                let axis = Unit::new_normalize(Vector3::from(joint.axis));
                hinges.push(Hinge { before: pending * anchor, axis });
                pending = anchor.inverse() * Isometry3::identity();
            }
        }
        let site = pending * isometry(&model.mjcf.bodies[leaf].body.sites[index].pose);
        Ok(Self { hinges, site })
    }

    /// Joints in the chain.
    #[must_use]
    pub fn joints(&self) -> usize {
        self.hinges.len()
    }

    /// Pose of the site at these joint positions, `[joints]`, rad.
    ///
    /// Real-time safe: does not allocate, lock or block.
    #[must_use]
    pub fn pose(&self, position: &[f64]) -> Isometry3<f64> {
        let mut pose = Isometry3::identity();
        for (hinge, q) in self.hinges.iter().zip(position) {
            pose *= hinge.before;
            pose.rotation *= UnitQuaternion::from_axis_angle(&hinge.axis, *q);
        }
        pose * self.site
    }

    /// Linear velocity of the site at these joint positions and velocities, m/s, world axes.
    ///
    /// Real-time safe: does not allocate, lock or block.
    #[must_use]
    pub fn velocity(&self, position: &[f64], velocity: &[f64]) -> Vector3<f64> {
        let mut pose = Isometry3::identity();
        // Twist of the chain so far: rotation, and the velocity of the point that is at the world's origin.
        let (mut angular, mut at_origin) = (Vector3::zeros(), Vector3::zeros());
        for ((hinge, q), rate) in self.hinges.iter().zip(position).zip(velocity) {
            pose *= hinge.before;
            let spin = (pose.rotation * hinge.axis).into_inner() * *rate;
            angular += spin;
            at_origin += pose.translation.vector.cross(&spin);
            pose.rotation *= UnitQuaternion::from_axis_angle(&hinge.axis, *q);
        }
        at_origin + angular.cross(&(pose * self.site).translation.vector)
    }

    /// Pose of the site, and its Jacobian into `jacobian`, `[6, joints]`: linear rows over angular rows, world axes.
    ///
    /// Real-time safe: does not allocate, lock or block.
    pub fn pose_and_jacobian(&self, position: &[f64], jacobian: &mut Matrix6xX<f64>) -> Isometry3<f64> {
        let mut pose = Isometry3::identity();
        for (i, (hinge, q)) in self.hinges.iter().zip(position).enumerate() {
            pose *= hinge.before;
            let axis = pose.rotation * hinge.axis;
            // The anchor is parked in the linear rows until the site's position is known.
            jacobian.fixed_view_mut::<3, 1>(0, i).copy_from(&pose.translation.vector);
            jacobian.fixed_view_mut::<3, 1>(3, i).copy_from(&axis);
            pose.rotation *= UnitQuaternion::from_axis_angle(&hinge.axis, *q);
        }
        let end = pose * self.site;
        for i in 0..self.hinges.len() {
            let anchor: Vector3<f64> = jacobian.fixed_view::<3, 1>(0, i).into_owned();
            let axis: Vector3<f64> = jacobian.fixed_view::<3, 1>(3, i).into_owned();
            let linear = axis.cross(&(end.translation.vector - anchor));
            jacobian.fixed_view_mut::<3, 1>(0, i).copy_from(&linear);
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm;
    use surefoot_core::{RobotState, Stream, World};

    fn draw(s: &mut Stream) -> Vec<f64> {
        (0..7).map(|_| s.uniform(-2.0, 2.0)).collect()
    }

    #[test]
    fn the_jacobian_is_the_derivative_of_the_pose() {
        let motion = arm::tool_motion().unwrap();
        let k = motion.kinematics();
        let mut s = Stream::new(0, "kinematics", 0);
        let mut jacobian = Matrix6xX::zeros(7);
        for _ in 0..50 {
            let q = draw(&mut s);
            let pose = k.pose_and_jacobian(&q, &mut jacobian);
            assert_eq!(pose, k.pose(&q));
            for i in 0..7 {
                let h = 1e-6;
                let (mut up, mut down) = (q.clone(), q.clone());
                up[i] += h;
                down[i] -= h;
                let (up, down) = (k.pose(&up), k.pose(&down));
                let linear = (up.translation.vector - down.translation.vector) / (2.0 * h);
                let angular = (up.rotation * down.rotation.inverse()).scaled_axis() / (2.0 * h);
                assert!((linear - jacobian.fixed_view::<3, 1>(0, i)).norm() < 1e-8, "joint {i}");
                assert!((angular - jacobian.fixed_view::<3, 1>(3, i)).norm() < 1e-8, "joint {i}");
            }
            let rate = draw(&mut s);
            let expected = jacobian.fixed_rows::<3>(0) * nalgebra::DVector::from_column_slice(&rate);
            assert!((k.velocity(&q, &rate) - expected).norm() < 1e-12);
        }
    }

    #[test]
    fn rapier_puts_the_tool_where_the_chain_says() {
        let motion = arm::tool_motion().unwrap();
        let mut world = arm::world().unwrap();
        let mut s = Stream::new(1, "kinematics", 0);
        for _ in 0..20 {
            let position = draw(&mut s);
            let state = RobotState { position, velocity: vec![0.0; 7], channels: vec![0.5, 0.0, 0.0, 0.0] };
            world.reset(&state).unwrap();
            let (at, [x, y, z, w]) = world.body_pose("link7").unwrap();
            let rotation = UnitQuaternion::from_quaternion(Quaternion::new(w, x, y, z).cast::<f64>());
            let tool = Vector3::from(at.map(f64::from)) + rotation * Vector3::new(0.0, 0.0, 0.20);
            let expected = motion.kinematics().pose(&state.position);
            assert!((tool - expected.translation.vector).norm() < 1e-5);
            assert!(rotation.angle_to(&expected.rotation) < 2e-3);
        }
    }

    #[test]
    fn a_missing_site_is_named() {
        let error = Kinematics::to_site(&arm::model().unwrap(), "gripper").unwrap_err();
        assert_eq!(error.to_string(), "model arm7: site gripper is missing");
    }
}
