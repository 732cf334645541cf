//! A rapier3d world behind the waist's `World`: robot, surroundings, reset and picture.
//!
//! Joints are in reduced coordinates (a rapier multibody): no drift of the links, and armature and damping act where MuJoCo
//! has them. A reset builds the world anew from the parsed model, so nothing of an earlier episode can leak into the next.

mod channels;
mod last_states;
mod rail;

use std::sync::Arc;

use rapier3d::dynamics::{
    CoefficientCombineRule, FrictionModel, ImpulseJointSet, JointAxesMask, MultibodyJointHandle,
    MultibodyJointSet, RigidBodyActivation, RigidBodyBuilder, RigidBodyHandle, RigidBodySet,
    SpringCoefficients,
};
use rapier3d::geometry::ColliderSet;
use rapier3d::pipeline::PhysicsWorld;
use rapier3d::prelude::{JointAxis, MotorModel, Vector};
use rapier3d_mjcf::MjcfMultibodyOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::contract::CommandKind;
use surefoot_core::safety::SafeCommand;
use surefoot_core::{Frame, Marker, Robot, RobotContract, RobotError, RobotState, Stamp, World};

use crate::model::{JointActuator, Model, ModelError};
use crate::randomisation::{DrawnPhysics, Randomisation};
use crate::render::{self, View};

pub(crate) use channels::Channel;
pub use channels::Handles;
use channels::{Contacts, FreeStart, JointStart};
use last_states::LastStates;

/// How stiff contacts and joint limits are: a spring and damper of this frequency and damping ratio in place of a wall.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Softness {
    /// Natural frequency, Hz.
    pub frequency_hz: f64,
    /// Damping ratio.
    pub damping_ratio: f64,
}

impl Softness {
    const fn coefficients(self) -> SpringCoefficients<f32> {
        SpringCoefficients {
            natural_frequency: self.frequency_hz as f32,
            damping_ratio: self.damping_ratio as f32,
        }
    }
}

/// How a world is stepped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stepping {
    /// Physics steps in a control period.
    pub steps_per_tick: usize,
    /// Solver sub-steps in a physics step.
    pub solver_iterations: usize,
    /// Sweeps over all contacts and limits in a sub-step.
    pub sweeps: usize,
    /// Contacts; `None` as rapier has it (60 Hz, damping ratio 10, against what stands still).
    pub contacts: Option<Softness>,
    /// Joint limits; `None`: hard.
    pub limits: Option<Softness>,
}

impl Stepping {
    /// Steps of one sub-step with hard limits and rapier's contacts.
    #[must_use]
    pub const fn new(steps_per_tick: usize) -> Self {
        Self { steps_per_tick, solver_iterations: 1, sweeps: 1, contacts: None, limits: None }
    }
}

#[derive(Clone, Copy, Debug)]
struct JointDrive {
    /// Index among the loader's joints.
    index: usize,
    /// Slide (linear) or hinge (angular).
    axis: JointAxis,
    /// What the model calls the joint's position where ours is 0.
    reference: f64,
    /// `None` for a joint that swings freely.
    actuator: Option<JointActuator>,
}

#[derive(Clone, Copy, Debug)]
struct JointSlot {
    handle: MultibodyJointHandle,
    parent: RigidBodyHandle,
    child: RigidBodyHandle,
}

/// What a reset begins with: the model inserted, and nothing stepped yet.
#[derive(Clone, Debug)]
struct Inserted {
    bodies: RigidBodySet,
    colliders: ColliderSet,
    multibody_joints: MultibodyJointSet,
    impulse_joints: ImpulseJointSet,
}

/// A simulated robot and what it handles.
pub struct RapierWorld {
    contract: RobotContract,
    model: Arc<Model>,
    stepping: Stepping,
    drives: Vec<JointDrive>,
    channels: Vec<Channel>,
    /// Joints that are channels.
    beside: Vec<usize>,
    looks_at_contacts: bool,
    inserted: Inserted,
    physics: PhysicsWorld,
    joints: Vec<JointSlot>,
    handles: Handles,
    contacts: Contacts,
    randomisation: Randomisation,
    drawn: DrawnPhysics,
    last_position: Vec<f64>,
    finite: LastStates,
    ticks: u64,
    view: View,
    /// The body that the view goes with.
    followed: Option<usize>,
}

impl RapierWorld {
    /// A world of `model` for the robot of `contract`; joints and channels are found by name.
    ///
    /// # Errors
    /// When the model lacks something that the contract names.
    pub fn new(contract: RobotContract, model: Arc<Model>, stepping: Stepping) -> Result<Self, ModelError> {
        let drives = contract.joints.iter().map(|j| {
            let index = model.joint_index(&j.name)?;
            let axis = model.axis(index).ok_or_else(|| {
                let item = format!("joint {}: neither hinge nor slide", j.name);
                ModelError::Unsupported { model: model.name.clone(), item }
            })?;
            // A joint that nothing drives swings freely.
            let actuator = match (contract.command, model.actuator(&j.name)) {
                (CommandKind::Effort, Err(ModelError::Missing { .. })) => None,
                (_, actuator) => Some(actuator?),
            };
            Ok(JointDrive { index, axis, reference: model.joint_reference(index), actuator })
        });
        let drives = drives.collect::<Result<Vec<_>, _>>()?;
        let channels = contract.channels.iter().map(|c| Channel::parse(&model, &c.name));
        let channels = channels.collect::<Result<Vec<_>, _>>()?;
        let mut beside: Vec<usize> = channels.iter().filter_map(Channel::joint).collect();
        beside.sort_unstable();
        beside.dedup();
        beside.retain(|joint| drives.iter().all(|d| d.index != *joint));
        let mut world = Self {
            last_position: vec![0.0; contract.joints.len()],
            finite: LastStates::new(&contract),
            looks_at_contacts: channels.iter().any(Channel::needs_contacts),
            contacts: Contacts::new(&model),
            drawn: DrawnPhysics::none(&model, drives.len()),
            randomisation: Randomisation::default(),
            contract,
            model,
            stepping,
            drives,
            channels,
            beside,
            inserted: Inserted {
                bodies: RigidBodySet::new(),
                colliders: ColliderSet::new(),
                multibody_joints: MultibodyJointSet::new(),
                impulse_joints: ImpulseJointSet::new(),
            },
            physics: PhysicsWorld::default(),
            joints: Vec::new(),
            handles: Handles::default(),
            ticks: 0,
            view: View::default(),
            followed: None,
        };
        world.insert().map_err(|what| world.model.missing("multibody joint", what))?;
        world.start_over();
        Ok(world)
    }

    /// The same world with bodies, friction, gains and damping drawn anew for every episode.
    #[must_use]
    pub fn with_randomisation(mut self, randomisation: &Randomisation) -> Self {
        self.randomisation = randomisation.clone();
        self
    }

    /// The same world, seen from elsewhere.
    #[must_use]
    pub const fn with_view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    /// The same world, seen from beside this body wherever it goes.
    #[must_use]
    pub fn following(mut self, body: &str) -> Self {
        self.followed = self.model.body_index(body).ok();
        self
    }

    /// Time of one physics step, s.
    #[must_use]
    pub fn physics_secs(&self) -> f64 {
        self.contract.control_secs() / self.stepping.steps_per_tick as f64
    }

    /// Inserts the model in its own pose.
    fn insert(&mut self) -> Result<(), &'static str> {
        let mut bodies = RigidBodySet::new();
        let mut colliders = ColliderSet::new();
        let mut multibody_joints = MultibodyJointSet::new();
        let mut impulse_joints = ImpulseJointSet::new();
        let mut robot = self.model.robot.clone();
        let apart = self.model.ground_is_touched();
        let ground = if apart { std::mem::take(&mut robot.bodies[0].colliders) } else { Vec::new() };
        let rails = if apart { rail::put_on_rails(&mut robot, &self.model.roots()) } else { 0 };
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
    fn start_over(&mut self) {
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

    fn coordinate(drive: &JointDrive, coords: &rapier3d::math::SpatialVector) -> f32 {
        coords[drive.axis as usize]
    }

    /// Pose of a named body, `(translation, quaternion xyzw)`, m: for tests and pictures.
    #[must_use]
    pub fn body_pose(&self, name: &str) -> Option<([f32; 3], [f32; 4])> {
        let handle = self.handles.bodies[self.model.body_index(name).ok()?]?;
        let pose = self.physics.bodies.get(handle)?.position();
        Some((pose.translation.to_array(), pose.rotation.to_array()))
    }

    /// Says what went where numbers end, and what was before.
    fn diverged(&self, state: &RobotState) -> RobotError {
        let joints = self.contract.joints.iter().zip(state.position.iter().zip(&state.velocity));
        let joint = joints
            .filter(|(_, (p, v))| !(p.is_finite() && v.is_finite()))
            .map(|(j, _)| format!("joint {}", j.name))
            .next();
        let bodies = self.model.robot.bodies.iter().zip(&self.handles.bodies);
        let body = bodies
            .filter(|(_, handle)| {
                let pose = handle.and_then(|h| self.physics.bodies.get(h)).map(|b| *b.position());
                pose.is_some_and(|p| !(p.translation.is_finite() && p.rotation.is_finite()))
            })
            .filter_map(|(b, _)| b.name.as_ref().map(|n| format!("body {n}")))
            .next();
        let channels = self.contract.channels.iter().zip(&state.channels);
        let channel =
            channels.filter(|(_, v)| !v.is_finite()).map(|(c, _)| format!("channel {}", c.name)).next();
        let found: Vec<String> = [joint, body, channel].into_iter().flatten().collect();
        RobotError::Diverged {
            robot: self.contract.name.clone(),
            secs: self.ticks as f64 * self.contract.control_secs(),
            what: found.join(", "),
            before: self.finite.to_string(),
        }
    }

    /// Puts joints and free bodies where `initial` has them.
    fn put(&mut self, initial: &RobotState) {
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

    fn set_servo_targets(&mut self, position: impl Fn(usize) -> f64, velocity: impl Fn(usize) -> f64) {
        for (i, (drive, slot)) in self.drives.iter().zip(&self.joints).enumerate() {
            let Some(JointActuator::Servo { stiffness, damping, .. }) = drive.actuator else { continue };
            if let Some((multibody, link)) = self.physics.multibody_joints.get_mut(slot.handle)
                && let Some(link) = multibody.link_mut(link)
            {
                let (p, v) = ((position(i) - drive.reference) as f32, velocity(i) as f32);
                let gain = self.drawn.gain[i];
                link.joint.data.set_motor(
                    drive.axis,
                    p,
                    v,
                    (gain * stiffness) as f32,
                    (gain * damping) as f32,
                );
            }
        }
    }

    /// Applies joint efforts as a pair of opposite forces or torques on child and parent.
    fn apply_efforts(&mut self, effort: &[f64]) {
        for slot in &self.joints {
            for handle in [slot.parent, slot.child] {
                if let Some(body) = self.physics.bodies.get_mut(handle) {
                    body.reset_forces(false);
                    body.reset_torques(false);
                }
            }
        }
        for (i, ((drive, slot), effort)) in self.drives.iter().zip(&self.joints).zip(effort).enumerate() {
            if drive.actuator.is_none() {
                continue;
            }
            let effort = self.drawn.gain[i] * effort;
            let local = self.model.robot.joints[drive.index].joint.local_frame1.rotation;
            let Some(parent) = self.physics.bodies.get(slot.parent) else { continue };
            let along = parent.position().rotation * (local * Vector::X) * (effort as f32);
            let Some(child) = self.physics.bodies.get_mut(slot.child) else { continue };
            let point = child.center_of_mass();
            match drive.axis {
                JointAxis::LinX => child.add_force_at_point(along, point, true),
                _ => child.add_torque(along, true),
            }
            if let Some(parent) = self.physics.bodies.get_mut(slot.parent)
                && parent.is_dynamic()
            {
                match drive.axis {
                    JointAxis::LinX => parent.add_force_at_point(-along, point, true),
                    _ => parent.add_torque(-along, true),
                }
            }
        }
    }

    fn advance(&mut self, command: &SafeCommand<'_>) {
        let steps = self.stepping.steps_per_tick;
        if command.effort().is_empty() {
            let (target, velocity) = (command.position(), command.velocity());
            let mut start = std::mem::take(&mut self.last_position);
            for k in 1..=steps {
                // The set-point moves evenly through the period, as in a drive that interpolates.
                let share = k as f64 / steps as f64;
                self.set_servo_targets(|i| start[i] + share * (target[i] - start[i]), |i| velocity[i]);
                self.physics.step();
            }
            start.copy_from_slice(target);
            self.last_position = start;
        } else {
            for _ in 0..steps {
                self.apply_efforts(command.effort());
                self.physics.step();
            }
        }
    }
}

impl Robot for RapierWorld {
    fn contract(&self) -> &RobotContract {
        &self.contract
    }

    fn read(&mut self, state: &mut RobotState) -> Result<Stamp, RobotError> {
        for (i, (drive, slot)) in self.drives.iter().zip(&self.joints).enumerate() {
            if let Some((multibody, link)) = self.physics.multibody_joints.get(slot.handle)
                && let Some(link) = multibody.link(link)
            {
                state.position[i] =
                    f64::from(Self::coordinate(drive, &link.joint().coords())) + drive.reference;
                state.velocity[i] = f64::from(multibody.joint_velocity(link)[0]);
            }
        }
        if self.looks_at_contacts {
            self.contacts.update(&self.physics, &self.handles);
        }
        for (value, channel) in state.channels.iter_mut().zip(&self.channels) {
            if let Some(read) = channel.read(&self.physics, &self.handles, &self.contacts) {
                *value = read;
            }
        }
        let nanos = (self.ticks as f64 * self.contract.control_secs() * 1e9).round() as i64;
        if state.is_finite() {
            self.finite.keep(self.ticks, state);
            Ok(Stamp { nanos, seq: self.ticks })
        } else {
            Err(self.diverged(state))
        }
    }

    fn write(&mut self, command: SafeCommand<'_>) -> Result<(), RobotError> {
        self.advance(&command);
        self.ticks += 1;
        Ok(())
    }

    /// The servos hold their last set-points; efforts are zero.
    fn without_command(&mut self) -> Result<(), RobotError> {
        let hold = std::mem::take(&mut self.last_position);
        self.set_servo_targets(|i| hold[i], |_| 0.0);
        self.last_position = hold;
        let rest = vec![0.0; self.drives.len()];
        self.apply_efforts(&rest);
        for _ in 0..self.stepping.steps_per_tick {
            self.physics.step();
        }
        self.ticks += 1;
        Ok(())
    }

    fn stop(&mut self) -> Result<(), RobotError> {
        let hold = self.last_position.clone();
        self.set_servo_targets(|i| hold[i], |_| 0.0);
        let rest = vec![0.0; self.drives.len()];
        self.apply_efforts(&rest);
        Ok(())
    }
}

impl World for RapierWorld {
    fn vary(&mut self, seed: u64) {
        if self.randomisation.draws_physics() {
            self.drawn.draw(&self.randomisation, seed);
        }
    }

    fn reset(&mut self, initial: &RobotState) -> Result<(), RobotError> {
        let refuse = |reason: String| RobotError::Reset { robot: self.contract.name.clone(), reason };
        let expected = RobotState::zeros(&self.contract);
        let sizes = |s: &RobotState| (s.position.len(), s.velocity.len(), s.channels.len());
        if sizes(initial) != sizes(&expected) {
            return Err(refuse(format!(
                "expected (positions, velocities, channels) {:?}, found {:?}",
                sizes(&expected),
                sizes(initial)
            )));
        }
        if !initial.is_finite() {
            return Err(refuse("the initial state is not finite".to_owned()));
        }
        self.start_over();
        self.put(initial);
        let start = initial.position.clone();
        self.set_servo_targets(|i| start[i], |_| 0.0);
        self.last_position = start;
        self.finite.forget();
        self.ticks = 0;
        Ok(())
    }

    fn render(&self, markers: &[Marker], width: usize, height: usize) -> Option<Frame> {
        if width == 0 || height == 0 {
            return None;
        }
        // A plane is drawn as the view's floor.
        let finite = self.model.drawn().filter(|part| part.shape.as_halfspace().is_none());
        let solids = finite.filter_map(|part| {
            let pose = self.physics.bodies.get(self.handles.bodies[part.body]?)?.position();
            Some(render::Solid::new(part.shape, *pose * part.pose, render::linear(part.rgb)))
        });
        let mut view = self.view;
        if let Some(body) =
            self.followed.and_then(|b| self.handles.bodies[b]).and_then(|h| self.physics.bodies.get(h))
        {
            for axis in 0..2 {
                view.eye[axis] += body.translation()[axis];
                view.target[axis] += body.translation()[axis];
            }
        }
        Some(render::draw(solids.collect(), markers, &view, width, height))
    }
}
