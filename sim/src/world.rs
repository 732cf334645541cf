//! A rapier3d world behind the waist's `World`: robot, surroundings, reset and picture.
//!
//! Joints are in reduced coordinates (a rapier multibody): no drift of the links, and armature and damping act where MuJoCo
//! has them. A reset builds the world anew from the parsed model, so nothing of an earlier episode can leak into the next.

use std::sync::Arc;

use rapier3d::dynamics::{
    CoefficientCombineRule, MultibodyJointHandle, RigidBodyActivation, RigidBodyHandle,
};
use rapier3d::pipeline::PhysicsWorld;
use rapier3d::prelude::{JointAxis, MotorModel, Vector};
use rapier3d_mjcf::MjcfMultibodyOptions;
use surefoot_core::contract::CommandKind;
use surefoot_core::safety::SafeCommand;
use surefoot_core::{Frame, Marker, Robot, RobotContract, RobotError, RobotState, Stamp, World};

use crate::model::{JointActuator, Model, ModelError};
use crate::render::{self, View};

/// How a world is stepped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stepping {
    /// Physics steps in a control period.
    pub steps_per_tick: usize,
    /// Solver sub-steps in a physics step.
    pub solver_iterations: usize,
}

#[derive(Clone, Copy, Debug)]
enum Component {
    Position(usize),
    Velocity(usize),
}

/// A contract channel: a component of a free body's motion.
#[derive(Clone, Copy, Debug)]
struct Channel {
    body: usize,
    component: Component,
}

#[derive(Clone, Copy, Debug)]
struct JointDrive {
    /// Index among the loader's joints.
    index: usize,
    /// Slide (linear) or hinge (angular).
    axis: JointAxis,
    damping: f32,
    armature: f32,
    /// `None` for a joint that swings freely.
    actuator: Option<JointActuator>,
}

#[derive(Clone, Copy, Debug)]
struct JointSlot {
    handle: MultibodyJointHandle,
    parent: RigidBodyHandle,
    child: RigidBodyHandle,
}

/// A simulated robot and what it handles.
pub struct RapierWorld {
    contract: RobotContract,
    model: Arc<Model>,
    stepping: Stepping,
    drives: Vec<JointDrive>,
    channels: Vec<Channel>,
    physics: PhysicsWorld,
    joints: Vec<JointSlot>,
    bodies: Vec<Option<RigidBodyHandle>>,
    last_position: Vec<f64>,
    ticks: u64,
    view: View,
}

/// `puck_vx` is the x velocity of body `puck`.
fn parse_channel(model: &Model, name: &str) -> Result<Channel, ModelError> {
    let unsupported = || ModelError::Unsupported {
        model: model.name.clone(),
        item: format!("channel {name}: expected BODY_x, _y, _z, _vx, _vy or _vz"),
    };
    let (body, component) = name.rsplit_once('_').ok_or_else(unsupported)?;
    let component = match component {
        "x" => Component::Position(0),
        "y" => Component::Position(1),
        "z" => Component::Position(2),
        "vx" => Component::Velocity(0),
        "vy" => Component::Velocity(1),
        "vz" => Component::Velocity(2),
        _ => return Err(unsupported()),
    };
    Ok(Channel { body: model.body_index(body)?, component })
}

impl RapierWorld {
    /// A world of `model` for the robot of `contract`; joints and channels are found by name.
    ///
    /// # Errors
    /// When the model lacks something that the contract names.
    pub fn new(contract: RobotContract, model: Arc<Model>, stepping: Stepping) -> Result<Self, ModelError> {
        let drives = contract.joints.iter().map(|j| {
            let index = model.joint_index(&j.name)?;
            let joint = &model.robot.joints[index];
            let axis = match joint.joint.locked_axes {
                rapier3d::dynamics::JointAxesMask::LOCKED_REVOLUTE_AXES => JointAxis::AngX,
                rapier3d::dynamics::JointAxesMask::LOCKED_PRISMATIC_AXES => JointAxis::LinX,
                _ => {
                    let item = format!("joint {}: neither hinge nor slide", j.name);
                    return Err(ModelError::Unsupported { model: model.name.clone(), item });
                }
            };
            // A joint that nothing drives swings freely.
            let actuator = match (contract.command, model.actuator(&j.name)) {
                (CommandKind::Effort, Err(ModelError::Missing { .. })) => None,
                (_, actuator) => Some(actuator?),
            };
            Ok(JointDrive {
                index,
                axis,
                damping: joint.damping_per_dof,
                armature: joint.armature_per_dof,
                actuator,
            })
        });
        let drives = drives.collect::<Result<Vec<_>, _>>()?;
        let channels =
            contract.channels.iter().map(|c| parse_channel(&model, &c.name)).collect::<Result<_, _>>()?;
        let mut world = Self {
            last_position: vec![0.0; contract.joints.len()],
            contract,
            model,
            stepping,
            drives,
            channels,
            physics: PhysicsWorld::default(),
            joints: Vec::new(),
            bodies: Vec::new(),
            ticks: 0,
            view: View::default(),
        };
        world.build().map_err(|what| world.model.missing("multibody joint", what))?;
        Ok(world)
    }

    /// The same world, seen from elsewhere.
    #[must_use]
    pub const fn with_view(mut self, view: View) -> Self {
        self.view = view;
        self
    }

    /// Time of one physics step, s.
    #[must_use]
    pub fn physics_secs(&self) -> f64 {
        self.contract.control_secs() / self.stepping.steps_per_tick as f64
    }

    /// Builds the scene from nothing, in the model's own pose.
    fn build(&mut self) -> Result<(), &'static str> {
        let mut physics = PhysicsWorld { gravity: self.model.robot.gravity, ..PhysicsWorld::default() };
        physics.integration_parameters.dt = self.physics_secs() as f32;
        physics.integration_parameters.num_solver_iterations = self.stepping.solver_iterations;
        let handles = self.model.robot.clone().insert_using_multibody_joints(
            &mut physics.bodies,
            &mut physics.colliders,
            &mut physics.multibody_joints,
            &mut physics.impulse_joints,
            MjcfMultibodyOptions::DISABLE_SELF_CONTACTS | MjcfMultibodyOptions::SKIP_JOINT_MOTORS,
        );
        self.bodies = handles.bodies.iter().map(|b| b.as_ref().map(|b| b.body)).collect();
        for (_, body) in physics.bodies.iter_mut() {
            *body.activation_mut() = RigidBodyActivation::cannot_sleep();
        }
        for (_, collider) in physics.colliders.iter_mut() {
            // As in MuJoCo: the rougher of two surfaces counts.
            collider.set_friction_combine_rule(CoefficientCombineRule::Max);
        }
        self.joints.clear();
        for drive in &self.drives {
            let joint = &handles.joints[drive.index];
            let handle = joint.joint.ok_or("closing a loop")?;
            self.joints.push(JointSlot { handle, parent: joint.link1, child: joint.link2 });
            let Some((multibody, link)) = physics.multibody_joints.get_mut(handle) else {
                return Err("just inserted");
            };
            let dof = multibody.link(link).map(|l| l.assembly_id()).ok_or("just inserted")?;
            // rapier damps every revolute joint by 0.1 unless told otherwise.
            multibody.damping_mut()[dof] = drive.damping;
            multibody.armature_mut()[dof] = drive.armature;
            if let Some(JointActuator::Servo { stiffness, damping, max_effort }) = drive.actuator
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
        self.physics = physics;
        Ok(())
    }

    fn coordinate(drive: &JointDrive, coords: &rapier3d::math::SpatialVector) -> f32 {
        coords[drive.axis as usize]
    }

    /// Pose of a named body, `(translation, quaternion xyzw)`, m: for tests and pictures.
    #[must_use]
    pub fn body_pose(&self, name: &str) -> Option<([f32; 3], [f32; 4])> {
        let handle = self.bodies[self.model.body_index(name).ok()?]?;
        let pose = self.physics.bodies.get(handle)?.position();
        Some((pose.translation.to_array(), pose.rotation.to_array()))
    }

    /// The bodies that left the realm of numbers, in words.
    fn not_finite_bodies(&self) -> Option<String> {
        let gone = |handle: &Option<RigidBodyHandle>| {
            handle.and_then(|h| self.physics.bodies.get(h)).is_some_and(|body| {
                !(body.translation().is_finite() && body.linvel().is_finite() && body.angvel().is_finite())
            })
        };
        let names: Vec<&str> = (self.model.body_names().zip(&self.bodies))
            .filter_map(|(name, handle)| gone(handle).then_some(name))
            .collect();
        (!names.is_empty()).then(|| format!("bodies that are not finite: {}", names.join(", ")))
    }

    fn set_servo_targets(&mut self, position: impl Fn(usize) -> f64, velocity: impl Fn(usize) -> f64) {
        for (i, (drive, slot)) in self.drives.iter().zip(&self.joints).enumerate() {
            let Some(JointActuator::Servo { stiffness, damping, .. }) = drive.actuator else { continue };
            if let Some((multibody, link)) = self.physics.multibody_joints.get_mut(slot.handle)
                && let Some(link) = multibody.link_mut(link)
            {
                let (p, v) = (position(i) as f32, velocity(i) as f32);
                link.joint.data.set_motor(drive.axis, p, v, stiffness as f32, damping as f32);
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
        for ((drive, slot), effort) in self.drives.iter().zip(&self.joints).zip(effort) {
            if drive.actuator.is_none() {
                continue;
            }
            let local = self.model.robot.joints[drive.index].joint.local_frame1.rotation;
            let Some(parent) = self.physics.bodies.get(slot.parent) else { continue };
            let along = parent.position().rotation * (local * Vector::X) * (*effort as f32);
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
                state.position[i] = f64::from(Self::coordinate(drive, &link.joint().coords()));
                state.velocity[i] = f64::from(multibody.joint_velocity(link)[0]);
            }
        }
        for (value, channel) in state.channels.iter_mut().zip(&self.channels) {
            if let Some(body) = self.bodies[channel.body].and_then(|h| self.physics.bodies.get(h)) {
                *value = f64::from(match channel.component {
                    Component::Position(axis) => body.translation()[axis],
                    Component::Velocity(axis) => body.linvel()[axis],
                });
            }
        }
        let nanos = (self.ticks as f64 * self.contract.control_secs() * 1e9).round() as i64;
        match state.first_not_finite(&self.contract) {
            None => Ok(Stamp { nanos, seq: self.ticks }),
            Some(what) => {
                let what =
                    self.not_finite_bodies().map_or(what.clone(), |bodies| format!("{what}; {bodies}"));
                Err(RobotError::NotFinite { robot: self.contract.name.clone(), what })
            }
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
        self.build().map_err(|what| RobotError::Reset {
            robot: self.contract.name.clone(),
            reason: format!("the model's joints cannot be inserted: {what}"),
        })?;
        for (i, (drive, slot)) in self.drives.iter().zip(&self.joints).enumerate() {
            let Some((multibody, link_id)) = self.physics.multibody_joints.get_mut(slot.handle) else {
                continue;
            };
            let Some(link) = multibody.link_mut(link_id) else { continue };
            let move_by = initial.position[i] as f32 - Self::coordinate(drive, &link.joint().coords());
            link.joint.apply_displacement(&[move_by]);
            let dof = link.assembly_id();
            multibody.generalized_velocity_mut()[dof] = initial.velocity[i] as f32;
        }
        let mut last = None;
        for slot in &self.joints {
            let multibody =
                self.physics.multibody_joints.rigid_body_link(slot.child).map(|link| link.multibody);
            if multibody == last {
                continue;
            }
            last = multibody;
            if let Some((multibody, _)) = self.physics.multibody_joints.get_mut(slot.handle) {
                multibody.forward_kinematics(&self.physics.bodies, true);
                multibody.update_rigid_bodies(&mut self.physics.bodies, true);
            }
        }
        for (value, channel) in initial.channels.iter().zip(&self.channels) {
            let Some(body) = self.bodies[channel.body].and_then(|h| self.physics.bodies.get_mut(h)) else {
                continue;
            };
            match channel.component {
                Component::Position(axis) => {
                    let mut at = body.translation();
                    at[axis] = *value as f32;
                    body.set_translation(at, true);
                }
                Component::Velocity(axis) => {
                    let mut v = body.linvel();
                    v[axis] = *value as f32;
                    body.set_linvel(v, true);
                }
            }
        }
        let start = initial.position.clone();
        self.set_servo_targets(|i| start[i], |_| 0.0);
        self.last_position = start;
        self.ticks = 0;
        Ok(())
    }

    fn render(&self, markers: &[Marker], width: usize, height: usize) -> Option<Frame> {
        if width == 0 || height == 0 {
            return None;
        }
        let solids = self.model.drawn().filter_map(|part| {
            let pose = self.physics.bodies.get(self.bodies[part.body]?)?.position();
            Some(render::Solid::new(part.shape, *pose * part.pose, render::linear(part.rgb)))
        });
        Some(render::draw(solids.collect(), markers, &self.view, width, height))
    }
}
