//! What a model is made of, as `surefoot list model FILE` prints it.

use std::fmt;

use rapier3d_mjcf::mjcf_rs::body::JointType;
use serde::Serialize;

use super::{Ignored, JointActuator, Model};

/// A joint of a model.
#[derive(Clone, Debug, Serialize)]
pub struct JointReport {
    /// Name; empty where the file gives none: such a joint moves, but no task can name it.
    pub name: String,
    /// The body that it moves.
    pub body: String,
    /// `hinge`, `slide`, `ball` or `free`.
    pub kind: &'static str,
    /// Limits, rad or m.
    pub range: Option<[f64; 2]>,
    /// Damping, N m s/rad or N s/m.
    pub damping: f64,
    /// Rotor inertia, kg m^2 or kg.
    pub armature: f64,
    /// Spring, N m/rad or N/m.
    pub stiffness: f64,
    /// Dry friction, N m or N.
    pub frictionloss: f64,
    /// Velocity limit, where the file states one, per second.
    pub max_velocity: Option<f64>,
}

/// An actuator of a model.
#[derive(Clone, Debug, Serialize)]
pub struct ActuatorReport {
    /// The joint that it drives.
    pub joint: String,
    /// What it does.
    pub what: String,
}

/// A model's parts.
#[derive(Clone, Debug, Serialize)]
pub struct ModelReport {
    /// File.
    pub model: String,
    /// Timestep that the file asks for, s.
    pub timestep_secs: f64,
    /// Bodies, with their masses, kg.
    pub bodies: Vec<(String, f64)>,
    /// Sites.
    pub sites: Vec<String>,
    /// Joints in the order of the state.
    pub joints: Vec<JointReport>,
    /// Actuators in the order of the action.
    pub actuators: Vec<ActuatorReport>,
    /// Geoms that can be touched: name or shape, body, friction.
    pub contacts: Vec<(String, String, f64)>,
    /// Whether links of one tree may touch each other.
    pub self_contacts: bool,
    /// What the file says and this world does not do.
    pub ignored: Vec<Ignored>,
}

impl Model {
    /// The model's parts.
    #[must_use]
    pub fn report(&self) -> ModelReport {
        let named = |name: &Option<String>| name.clone().unwrap_or_default();
        let leaves = self.robot.bodies.iter().filter(|b| !b.is_intermediate && b.mjcf_body_id != 0);
        let entries = self.mjcf.bodies.iter();
        let joints = entries.clone().flat_map(|entry| {
            entry.body.joints.iter().map(move |j| {
                let limited = j.limited.resolve(self.mjcf.compiler.autolimits, j.range.is_some());
                JointReport {
                    name: named(&j.name),
                    body: named(&entry.body.name),
                    kind: match j.type_ {
                        JointType::Hinge => "hinge",
                        JointType::Slide => "slide",
                        JointType::Ball => "ball",
                        JointType::Free => "free",
                    },
                    range: j.range.filter(|_| limited),
                    damping: j.damping,
                    armature: j.armature,
                    stiffness: j.stiffness,
                    frictionloss: j.frictionloss,
                    max_velocity: j.name.as_ref().and_then(|n| self.velocity_limits.get(n)).copied(),
                }
            })
        });
        let actuators = self.actuated_joints().map(|joint| {
            let what = match self.actuator(joint) {
                Ok(JointActuator::Motor { gear, control_range, max_effort }) => format!(
                    "motor, gear {gear}{}{}",
                    control_range.map(|[a, b]| format!(", control {a} to {b}")).unwrap_or_default(),
                    max_effort.map(|e| format!(", at most {e}")).unwrap_or_default()
                ),
                Ok(JointActuator::Servo { stiffness, damping, max_effort, control_range }) => format!(
                    "position servo, kp {stiffness}, kv {damping}{}{}",
                    control_range.map(|[a, b]| format!(", target {a} to {b}")).unwrap_or_default(),
                    max_effort.map(|e| format!(", at most {e}")).unwrap_or_default()
                ),
                Err(error) => error.to_string(),
            };
            ActuatorReport { joint: joint.to_owned(), what }
        });
        let contacts = entries.clone().enumerate().flat_map(|(id, entry)| {
            let body = if id == 0 { "world".to_owned() } else { named(&entry.body.name) };
            let touched = entry.body.geoms.iter().filter(|g| g.contype != 0 || g.conaffinity != 0);
            touched.map(move |g| {
                let name = g.name.clone().unwrap_or_else(|| format!("{:?}", g.type_).to_lowercase());
                (name, body.clone(), g.friction[0])
            })
        });
        ModelReport {
            model: self.name.clone(),
            timestep_secs: self.timestep_secs(),
            bodies: leaves.map(|b| (named(&b.name), f64::from(b.mass))).collect(),
            sites: entries.clone().flat_map(|e| e.body.sites.iter().filter_map(|s| s.name.clone())).collect(),
            joints: joints.collect(),
            actuators: actuators.collect(),
            contacts: contacts.collect(),
            self_contacts: self.has_self_contacts(),
            ignored: self.ignored.clone(),
        }
    }
}

impl fmt::Display for ModelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, timestep_secs, bodies, sites, joints, actuators, contacts, self_contacts, ignored } =
            self;
        writeln!(f, "model      {model}, timestep {timestep_secs} s")?;
        writeln!(
            f,
            "bodies     {}",
            bodies.iter().map(|(n, m)| format!("{n} ({m:.3} kg)")).collect::<Vec<_>>().join(", ")
        )?;
        if !sites.is_empty() {
            writeln!(f, "sites      {}", sites.join(", "))?;
        }
        for j in joints {
            let name = if j.name.is_empty() { "(no name)" } else { &j.name };
            write!(f, "joint      {name:16} {:5} of {}", j.kind, j.body)?;
            match j.range {
                Some([low, high]) => write!(f, ", {low:.4} to {high:.4}")?,
                None => write!(f, ", no limits")?,
            }
            for (what, value) in [
                ("damping", j.damping),
                ("armature", j.armature),
                ("stiffness", j.stiffness),
                ("frictionloss", j.frictionloss),
                ("max velocity", j.max_velocity.unwrap_or(0.0)),
            ] {
                if value != 0.0 {
                    write!(f, ", {what} {value}")?;
                }
            }
            writeln!(f)?;
        }
        for ActuatorReport { joint, what } in actuators {
            writeln!(f, "actuator   {joint:16} {what}")?;
        }
        for (geom, body, friction) in contacts {
            writeln!(f, "contact    {geom:16} of {body}, friction {friction}")?;
        }
        if *self_contacts {
            writeln!(f, "contact    links of one tree touch each other, but not their neighbours")?;
        }
        if ignored.is_empty() {
            writeln!(f, "ignored    nothing")?;
        }
        for Ignored { file, line, item, count, note } in ignored {
            let times = if *count > 1 { format!(", {count} times") } else { String::new() };
            writeln!(f, "ignored    {file}:{line}: {item}{times}: {note}")?;
        }
        Ok(())
    }
}
