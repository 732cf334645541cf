//! How a model gets into a world, once, and how an episode begins with a copy of that.

use rapier3d::dynamics::{
    CoefficientCombineRule, FrictionModel, ImpulseJointSet, JointAxesMask, MultibodyJointSet,
    RigidBodyActivation, RigidBodyBuilder, RigidBodySet,
};
use rapier3d::geometry::ColliderSet;
use rapier3d::pipeline::PhysicsWorld;
use rapier3d::prelude::MotorModel;
use rapier3d_mjcf::MjcfMultibodyOptions;
use surefoot_core::RobotState;

use super::channels::{FreeStart, Handles, JointStart};
use super::{JointSlot, RapierWorld, anchor, rail};
use crate::model::JointActuator;

/// What a reset begins with: the model inserted, and nothing stepped yet.
#[derive(Clone, Default)]
pub(super) struct Inserted {
    bodies: RigidBodySet,
    colliders: ColliderSet,
    multibody_joints: MultibodyJointSet,
    impulse_joints: ImpulseJointSet,
}

impl RapierWorld {
    /// Inserts the model in its own pose.
    pub(super) fn insert(&mut self) -> Result<(), &'static str> {
        let mut bodies = RigidBodySet::new();
        let mut colliders = ColliderSet::new();
        let mut multibody_joints = MultibodyJointSet::new();
        let mut impulse_joints = ImpulseJointSet::new();
        let mut robot = self.model.robot.clone();
        let apart = self.model.ground_is_touched();
        let ground = if apart { std::mem::take(&mut robot.bodies[0].colliders) } else { Vec::new() };
        let rails = if apart { rail::put_on_rails(&mut robot, &self.model.roots()) } else { 0 };
        anchor::part_trees(&mut robot);
        let mut handles = robot.insert_using_multibody_joints(
            &mut bodies,
            &mut colliders,
            &mut multibody_joints,
            &mut impulse_joints,
            MjcfMultibodyOptions::SKIP_JOINT_MOTORS,
        );
        handles.joints.drain(..rails);
        self.handles = Handles {
            bodies: handles.bodies.iter().map(|b| b.as_ref().map(|b| b.body)).collect(),
            colliders: handles
                .bodies
                .iter()
                .map(|b| b.iter().flat_map(|b| b.colliders.iter().map(|c| c.handle)).collect())
                .collect(),
            joints: handles.joints.iter().map(|j| j.joint).collect(),
        };
        if apart {
            let body = bodies.insert(RigidBodyBuilder::fixed());
            let insert = |c| colliders.insert_with_parent(c, body, &mut bodies);
            self.handles.colliders[0] = ground.into_iter().map(insert).collect();
        }
        for (_, body) in bodies.iter_mut() {
            *body.activation_mut() = RigidBodyActivation::cannot_sleep();
            body.recompute_mass_properties_from_colliders(&colliders);
        }
        for (body, own) in self.handles.colliders.iter().enumerate() {
            for (index, handle) in own.iter().enumerate() {
                let Some(collider) = colliders.get_mut(*handle) else { continue };
                // As in MuJoCo: the rougher of two surfaces counts.
                collider.set_friction_combine_rule(CoefficientCombineRule::Max);
                collider.set_collision_groups(self.model.contact_groups(body, index));
                collider.set_contact_skin(self.model.skin(body, index));
            }
        }
        let self_contacts = self.model.has_self_contacts();
        for (joint, handle) in self.model.robot.joints.iter().zip(&self.handles.joints) {
            let handle = handle.ok_or("closing a loop")?;
            let (multibody, link) = multibody_joints.get_mut(handle).ok_or("just inserted")?;
            multibody.set_self_contacts_enabled(self_contacts);
            let (first, count) =
                multibody.link(link).map(|l| (l.assembly_id(), l.joint().ndofs())).ok_or("just inserted")?;
            let root = multibody.root().joint().ndofs();
            // rapier damps every hinge, and a floating base, by 0.1 unless told otherwise.
            multibody.damping_mut().rows_mut(0, root).fill(0.0);
            let implicit = self.spring_damping(joint.spring_stiffness_per_dof, joint.armature_per_dof);
            multibody.damping_mut().rows_mut(first, count).fill(joint.damping_per_dof - implicit);
            multibody.armature_mut().rows_mut(first, count).fill(joint.armature_per_dof);
            if let (Some(limits), Some(link)) = (self.stepping.limits, multibody.link_mut(link)) {
                link.joint.data.softness = limits.coefficients();
            }
        }
        self.joints.clear();
        for drive in &self.drives {
            let joint = &handles.joints[drive.index];
            let handle = joint.joint.ok_or("closing a loop")?;
            self.joints.push(JointSlot { handle, parent: joint.link1, child: joint.link2 });
            if let Some(JointActuator::Servo { stiffness, damping, max_effort, control_range: _ }) =
                drive.actuator
                && let Some((multibody, link)) = multibody_joints.get_mut(handle)
                && let Some(link) = multibody.link_mut(link)
            {
                let data = &mut link.joint.data;
                data.set_motor_model(drive.axis, MotorModel::ForceBased);
                data.set_motor(drive.axis, 0.0, 0.0, stiffness as f32, damping as f32);
                if let Some(max) = max_effort {
                    data.set_motor_max_force(drive.axis, max as f32);
                }
            }
        }
        self.inserted = Inserted { bodies, colliders, multibody_joints, impulse_joints };
        Ok(())
    }

    /// Damping that rapier's backward Euler adds to a spring, to be taken off again: what is left is the symplectic step, which
    /// keeps the energy as MuJoCo's does. Not beyond what the rotor's inertia keeps stable.
    fn spring_damping(&self, stiffness: f32, armature: f32) -> f32 {
        let secs = (self.physics_secs() / self.stepping.solver_iterations.max(1) as f64) as f32;
        (stiffness * secs).min(armature / secs)
    }

    /// The scene as it was inserted, with this episode's draws: nothing of an earlier episode is left.
    pub(super) fn start_over(&mut self) {
        let mut physics = PhysicsWorld {
            gravity: self.model.robot.gravity,
            bodies: self.inserted.bodies.clone(),
            colliders: self.inserted.colliders.clone(),
            multibody_joints: self.inserted.multibody_joints.clone(),
            impulse_joints: self.inserted.impulse_joints.clone(),
            ..PhysicsWorld::default()
        };
        let parameters = &mut physics.integration_parameters;
        parameters.dt = self.physics_secs() as f32;
        parameters.num_solver_iterations = self.stepping.solver_iterations;
        parameters.num_internal_pgs_iterations = self.stepping.sweeps;
        // One friction constraint a contact point, as multibodies always have.
        parameters.friction_model = FrictionModel::Coulomb;
        if let Some(contacts) = self.stepping.contacts {
            parameters.contact_softness = contacts.coefficients();
            parameters.static_contact_softness = contacts.coefficients();
            // rapier's second pass would make the spring a wall again.
            parameters.num_internal_stabilization_iterations = 0;
        }
        if self.randomisation.draws_physics() {
            self.drawn.apply(&mut physics, &self.handles);
        }
        self.physics = physics;
    }

    /// Puts joints and free bodies where `initial` has them.
    pub(super) fn put(&mut self, initial: &RobotState) {
        let free = self.model.free_bodies();
        let mut starts: Vec<FreeStart> = free
            .filter_map(|body| {
                let pose = self.physics.bodies.get(self.handles.bodies[body]?)?.position();
                Some(FreeStart::at(body, *pose))
            })
            .collect();
        let mut beside: Vec<JointStart> =
            self.beside.iter().map(|joint| JointStart { joint: *joint, ..JointStart::default() }).collect();
        for (value, channel) in initial.channels.iter().zip(&self.channels) {
            channel.set(*value, &mut starts, &mut beside);
        }
        let listed = self.drives.iter().zip(&initial.position).zip(&initial.velocity);
        let listed = listed.map(|((drive, position), velocity)| JointStart {
            joint: drive.index,
            coordinate: (position - drive.reference) as f32,
            rate: *velocity as f32,
        });
        for start in listed.chain(beside) {
            let Some(handle) = self.handles.joints[start.joint] else { continue };
            let Some((multibody, link)) = self.physics.multibody_joints.get_mut(handle) else { continue };
            let Some(link) = multibody.link_mut(link) else { continue };
            let axis = usize::from(link.joint.data.locked_axes == JointAxesMask::LOCKED_REVOLUTE_AXES) * 3;
            let move_by = start.coordinate - link.joint.coords()[axis];
            link.joint.apply_displacement(&[move_by]);
            let dof = link.assembly_id();
            multibody.generalized_velocity_mut()[dof] = start.rate;
        }
        for start in &starts {
            let Some(handle) = self.handles.bodies[start.body] else { continue };
            let Some(body) = self.physics.bodies.get_mut(handle) else { continue };
            body.set_position(start.pose(), true);
            let arm = body.center_of_mass() - body.translation();
            let velocity = start.velocity + start.angular_velocity.cross(arm);
            body.set_linvel(velocity, true);
            body.set_angvel(start.angular_velocity, true);
            let link = self.physics.multibody_joints.rigid_body_link(handle).map(|link| link.multibody);
            if let Some(multibody) = link.and_then(|m| self.physics.multibody_joints.get_multibody_mut(m)) {
                let motion = velocity.to_array().into_iter().chain(start.angular_velocity.to_array());
                multibody.generalized_velocity_mut().iter_mut().zip(motion).for_each(|(v, m)| *v = m);
            }
        }
        let mut last = None;
        for handle in self.handles.joints.iter().flatten() {
            let Some((multibody, _)) = self.physics.multibody_joints.get_mut(*handle) else { continue };
            let root = multibody.root().rigid_body_handle();
            if last.replace(root) == Some(root) {
                continue;
            }
            multibody.forward_kinematics(&self.physics.bodies, true);
            multibody.update_rigid_bodies(&mut self.physics.bodies, true);
        }
    }
}
