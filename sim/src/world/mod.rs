//! A rapier3d world behind the waist's `World`: robot, surroundings, reset and picture.
//!
//! Joints are in reduced coordinates (a rapier multibody): no drift of the links, and armature and damping act where MuJoCo
//! has them. A reset begins with a copy of the inserted model, so nothing of an earlier episode can leak into the next.

mod anchor;
mod channels;
mod insert;
mod last_states;
mod overlay;
mod rail;

use std::sync::Arc;

use rapier3d::dynamics::{MultibodyJointHandle, RigidBodyHandle, SpringCoefficients};
use rapier3d::pipeline::PhysicsWorld;
use rapier3d::prelude::{JointAxis, Vector};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::contract::CommandKind;
use surefoot_core::safety::SafeCommand;
use surefoot_core::{
    Frame, Marker, Overlay, Robot, RobotContract, RobotError, RobotState, Stamp, TrainingProgress, World,
};

use crate::model::{JointActuator, Model, ModelError};
use crate::randomisation::{DrawnPhysics, Randomisation};
use crate::render::{self, View};

pub(crate) use channels::Channel;
use channels::Contacts;
pub use channels::Handles;
use insert::Inserted;
use last_states::LastStates;
use overlay::AtLimit;

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
    /// The ranges as wide as they are now.
    ranges: Randomisation,
    drawn: DrawnPhysics,
    last_position: Vec<f64>,
    finite: LastStates,
    ticks: u64,
    view: View,
    /// The body that the view goes with.
    followed: Option<usize>,
    /// What pictures show beside the world.
    overlay: Overlay,
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
            ranges: Randomisation::default(),
            contract,
            model,
            stepping,
            drives,
            channels,
            beside,
            inserted: Inserted::default(),
            physics: PhysicsWorld::default(),
            joints: Vec::new(),
            handles: Handles::default(),
            ticks: 0,
            view: View::default(),
            followed: None,
            overlay: Overlay::default(),
        };
        world.insert().map_err(|what| world.model.missing("multibody joint", what))?;
        world.start_over();
        Ok(world)
    }

    /// The same world with bodies, friction, gains and damping drawn anew for every episode.
    #[must_use]
    pub fn with_randomisation(mut self, randomisation: &Randomisation) -> Self {
        self.randomisation = randomisation.clone();
        self.ranges = randomisation.clone();
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

    /// Position and velocity of a joint of the contract, rad and rad/s or m and m/s.
    fn joint_motion(&self, joint: usize) -> Option<(f64, f64)> {
        let (drive, slot) = self.drives.get(joint).zip(self.joints.get(joint))?;
        let (multibody, link) = self.physics.multibody_joints.get(slot.handle)?;
        let link = multibody.link(link)?;
        let position = f64::from(Self::coordinate(drive, &link.joint().coords())) + drive.reference;
        Some((position, f64::from(multibody.joint_velocity(link)[0])))
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
        for i in 0..self.drives.len() {
            if let Some(motion) = self.joint_motion(i) {
                (state.position[i], state.velocity[i]) = motion;
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
            self.drawn.draw(&self.ranges, seed);
        }
    }

    fn set_progress(&mut self, progress: Option<TrainingProgress<'_>>) -> Option<f64> {
        self.ranges = self.randomisation.after(progress);
        self.randomisation.share(progress)
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
        let at_limits = self.joints_at_limits();
        let solids = finite.filter_map(|part| {
            let handle = self.handles.bodies[part.body]?;
            let pose = self.physics.bodies.get(handle)?.position();
            // Coloured is what the joint moves.
            let moved_by = |(joint, _): &&(usize, AtLimit)| self.joints[*joint].child == handle;
            let at_limit = at_limits.iter().find(moved_by);
            let rgb = at_limit.map_or(part.rgb, |(_, at)| at.rgb().map(|c| f32::from(c) / 255.0));
            Some(render::Solid::new(part.shape, *pose * part.pose, render::linear(rgb)))
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
        let mut frame = render::draw(solids.collect(), markers, &view, width, height);
        self.paint_overlay(&mut frame, &view, &at_limits);
        Some(frame)
    }

    fn set_overlay(&mut self, overlay: Overlay) {
        self.overlay = overlay;
    }
}
