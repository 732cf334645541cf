//! Models in MJCF, and what `rapier3d-mjcf` leaves to us.
//!
//! The loader gives bodies, geoms, hinge and slide joints with range, damping and armature. It does not give: torque and
//! servo actuators that act by themselves, actuator force limits, the model's timestep, MuJoCo's rule that the rougher of two
//! surfaces counts, or freedom from the damping of
//! 0.1 N m s/rad that rapier puts on every revolute joint of a multibody whose model asks for none. [`crate::RapierWorld`]
//! does these.

use std::path::Path;

use rapier3d::geometry::SharedShape;
use rapier3d::math::Pose;
use rapier3d_mjcf::mjcf_rs::Model as MjcfModel;
use rapier3d_mjcf::mjcf_rs::extras::{Actuator, ActuatorKind};
use rapier3d_mjcf::{ContactFilterMode, MjcfLoaderOptions, MjcfRobot};

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Not MJCF that can be loaded.
    #[error("model {model}: {reason}")]
    Parse {
        /// Name of the model.
        model: String,
        /// What the parser says.
        reason: String,
    },
    /// Something that a contract or a task names is not in the model.
    #[error("model {model}: {kind} {name} is missing")]
    Missing {
        /// Name of the model.
        model: String,
        /// Joint, body, site or actuator.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A place that the arm does not reach.
    #[error("the tool cannot be put at {target:?} m: it stays {miss} m away")]
    Unreachable {
        /// Where it should be, m.
        target: [f64; 3],
        /// How far it stays away, m.
        miss: f64,
    },
    /// An item that this world does not simulate.
    #[error("model {model}: {item} is not supported")]
    Unsupported {
        /// Name of the model.
        model: String,
        /// What it is.
        item: String,
    },
}

/// What drives a joint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JointActuator {
    /// A torque or force motor; `gear` times the control is the effort, N m or N.
    Motor {
        /// Effort per unit of control.
        gear: f64,
        /// Control limits, where stated.
        control_range: Option<[f64; 2]>,
    },
    /// A position servo: `stiffness * (target - position) + damping * (target velocity - velocity)`.
    Servo {
        /// N m/rad or N/m.
        stiffness: f64,
        /// N m s/rad or N s/m.
        damping: f64,
        /// Largest effort, where stated, N m or N.
        max_effort: Option<f64>,
    },
}

/// A geom as it is drawn.
pub(crate) struct DrawnPart<'a> {
    /// Index among the loader's bodies.
    pub body: usize,
    pub shape: &'a SharedShape,
    /// In the body's frame.
    pub pose: Pose,
    /// sRGB, 0 to 1.
    pub rgb: [f32; 3],
}

/// A parsed model, ready to be inserted into any number of worlds.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) name: String,
    pub(crate) robot: MjcfRobot,
    pub(crate) mjcf: MjcfModel,
}

impl Model {
    /// Parses MJCF text; `name` is for messages.
    ///
    /// # Errors
    /// When it is not well-formed MJCF.
    pub fn parse(name: &str, mjcf: &str) -> Result<Self, ModelError> {
        let options = MjcfLoaderOptions {
            contact_filter_mode: ContactFilterMode::Symmetric,
            skip_plane_geoms: false,
            ..MjcfLoaderOptions::default()
        };
        let (robot, mjcf) = MjcfRobot::from_str(mjcf, options, Path::new("."))
            .map_err(|e| ModelError::Parse { model: name.to_owned(), reason: format!("{e:#}") })?;
        Ok(Self { name: name.to_owned(), robot, mjcf })
    }

    /// The model's own timestep, s.
    #[must_use]
    pub const fn timestep_secs(&self) -> f64 {
        self.mjcf.option.timestep
    }

    /// Index of a named joint among the loader's joints.
    pub(crate) fn joint_index(&self, joint: &str) -> Result<usize, ModelError> {
        let found = self.robot.joints.iter().position(|j| j.name.as_deref() == Some(joint));
        found.ok_or_else(|| self.missing("joint", joint))
    }

    /// Index of a named body among the loader's bodies.
    /// Names of the loader's bodies, in its order.
    pub(crate) fn body_names(&self) -> impl Iterator<Item = &str> {
        self.robot.bodies.iter().map(|b| b.name.as_deref().unwrap_or("world"))
    }

    pub(crate) fn body_index(&self, body: &str) -> Result<usize, ModelError> {
        let found =
            self.robot.bodies.iter().position(|b| !b.is_intermediate && b.name.as_deref() == Some(body));
        found.ok_or_else(|| self.missing("body", body))
    }

    /// What drives a joint.
    ///
    /// # Errors
    /// When nothing does, or something other than a motor or a position servo.
    pub fn actuator(&self, joint: &str) -> Result<JointActuator, ModelError> {
        let drives = |a: &&Actuator| a.joint.as_deref() == Some(joint);
        let a = self.mjcf.actuators.iter().find(drives).ok_or_else(|| self.missing("actuator of", joint))?;
        match a.kind {
            ActuatorKind::Motor => Ok(JointActuator::Motor { gear: a.gear[0], control_range: a.ctrl_range }),
            ActuatorKind::Position => Ok(JointActuator::Servo {
                stiffness: a.kp.unwrap_or(1.0),
                damping: a.kv.unwrap_or(0.0),
                max_effort: a.force_range.map(|r| r[1].min(-r[0])),
            }),
            kind => Err(ModelError::Unsupported {
                model: self.name.clone(),
                item: format!("actuator {kind:?} of joint {joint}"),
            }),
        }
    }

    /// Names of the hinges and slides, in the order of MuJoCo's `qpos`.
    pub fn joints(&self) -> impl Iterator<Item = &str> {
        self.robot.joints.iter().filter_map(|j| j.name.as_deref())
    }

    /// Names of the joints that actuators drive, in actuator order: the order of MuJoCo's `ctrl`.
    pub fn actuated_joints(&self) -> impl Iterator<Item = &str> {
        self.mjcf.actuators.iter().filter_map(|a| a.joint.as_deref())
    }

    /// The geoms of all bodies. The loader keeps those that can be touched apart from those that can only be seen, each in the
    /// model's order, and drops the colours of the first: they are joined again here.
    pub(crate) fn drawn(&self) -> impl Iterator<Item = DrawnPart<'_>> {
        let bodies = self.robot.bodies.iter().enumerate().filter(|(_, b)| !b.is_intermediate);
        bodies.flat_map(|(index, body)| {
            let mut seen = body.visual_meshes.iter().map(|m| (&m.shape, m.local_pose));
            let mut touched = body.colliders.iter().map(|c| (c.shared_shape(), *c.position()));
            self.mjcf.bodies[body.mjcf_body_id].body.geoms.iter().filter_map(move |geom| {
                let only_seen = geom.contype == 0 && geom.conaffinity == 0;
                let (shape, pose) = if only_seen { seen.next() } else { touched.next() }?;
                let [r, g, b, _] = geom.rgba.unwrap_or([0.5, 0.5, 0.5, 1.0]);
                Some(DrawnPart { body: index, shape, pose, rgb: [r as f32, g as f32, b as f32] })
            })
        })
    }

    pub(crate) fn missing(&self, kind: &'static str, name: &str) -> ModelError {
        ModelError::Missing { model: self.name.clone(), kind, name: name.to_owned() }
    }
}
