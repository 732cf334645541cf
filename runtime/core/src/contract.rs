//! The robot contract: one file that the importer, the simulator, the live robot and the recorder read.

mod error;
mod geometry;
mod import;
mod link;

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_safety::geometry::CollisionModel;
use surefoot_safety::{JointLimits, SafetyChain, Scaling, SoftJointLimits};

pub use error::{ContractError, GeometryProblem};
pub use geometry::{
    BoxContract, CapsuleContract, GeometryContract, JointPlacement, KeepOutContract, SelfCollision,
    WorkspaceContract, ZoneShape,
};
pub use import::*;
pub use link::{
    LinkContract, LinkDialect, LinkMode, LinkTopics, NativeLink, RmwZenohLink, Ros2ddsLink, RosCommand,
    TypeHashes,
};

/// Longest declared delay of an action, in control ticks.
const MAX_DELAY_TICKS: usize = 1000;

/// How a joint is commanded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommandKind {
    /// Position and velocity set-points.
    #[default]
    Motion,
    /// Torques or forces.
    Effort,
}

/// A joint and its limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JointContract {
    /// Name, as in the robot's model.
    pub name: String,
    /// `rad` or `m`.
    pub unit: String,
    /// Lower position limit.
    pub min_position: f64,
    /// Upper position limit.
    pub max_position: f64,
    /// Velocity limit, per second.
    pub max_velocity: f64,
    /// Acceleration limit, per second squared.
    pub max_acceleration: f64,
    /// Braking limit where it differs, per second squared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_deceleration: Option<f64>,
    /// Torque or force limit, N m or N.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_effort: Option<f64>,
    /// Jerk limit, per second cubed: with one, every command is certified by a stop that keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_jerk: Option<f64>,
    /// Where the joint is slowed before its limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_limits: Option<SoftLimitsContract>,
}

/// A softer range inside a joint's limits: `-k (q - min) <= velocity <= -k (q - max)`, as in `ros2_control`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SoftLimitsContract {
    /// Lower end, rad or m.
    pub min_position: f64,
    /// Upper end, rad or m.
    pub max_position: f64,
    /// Velocity for each unit of distance that is left, 1/s.
    pub k_position: f64,
}

/// A further channel of the state: an object's pose, a sensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelContract {
    /// Name.
    pub name: String,
    /// SI unit.
    pub unit: String,
}

/// One robot, as everything that touches it must see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RobotContract {
    /// Name of the robot.
    pub name: String,
    /// How it is commanded.
    #[serde(default)]
    pub command: CommandKind,
    /// Commands written per second.
    pub control_hz: f64,
    /// Actions decided per second; divides `control_hz`.
    pub policy_hz: f64,
    /// Control ticks from an observation to the command that answers it: the policy's thinking time, declared, so that training
    /// and deployment agree on it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub action_delay_ticks: usize,
    /// How a command of several joints is brought inside the limits.
    #[serde(default)]
    pub scaling: Scaling,
    /// Joints in command order.
    pub joints: Vec<JointContract>,
    /// Further channels of the state.
    #[serde(default)]
    pub channels: Vec<ChannelContract>,
    /// The robot's bodies and what they must keep clear of: with them, every command is certified by a stop that does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geometry: Option<GeometryContract>,
    /// What the topics of its recordings mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<ImportContract>,
    /// Where the robot is on the network. No part of the contract's hash: the same robot is the same behind any cable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkContract>,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_zero(ticks: &usize) -> bool {
    *ticks == 0
}

impl RobotContract {
    /// Reads and checks a contract.
    ///
    /// # Errors
    /// When the file is missing, malformed, or states unusable limits, rates or geometry.
    pub fn read(path: &Path) -> Result<Self, ContractError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ContractError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Parses and checks a contract; `path` is for messages.
    ///
    /// # Errors
    /// When it is malformed or states unusable limits, rates or geometry.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ContractError> {
        let contract: Self = toml::from_str(text)
            .map_err(|e| ContractError::Parse { path: path.to_owned(), source: Box::new(e) })?;
        contract.limits()?;
        contract.ticks_per_step()?;
        if contract.action_delay_ticks > MAX_DELAY_TICKS {
            return Err(ContractError::Delay { found: contract.action_delay_ticks });
        }
        contract.safety_chain()?;
        Ok(contract)
    }

    /// The joints' limits.
    ///
    /// # Errors
    /// When one is zero, negative, not finite or empty; names the joint.
    pub fn limits(&self) -> Result<Vec<JointLimits>, ContractError> {
        self.joints
            .iter()
            .map(|j| {
                let limits = || {
                    let mut l =
                        JointLimits::new(j.min_position, j.max_position, j.max_velocity, j.max_acceleration)?;
                    if let Some(d) = j.max_deceleration {
                        l = l.with_max_deceleration(d)?;
                    }
                    if let Some(e) = j.max_effort {
                        l = l.with_max_effort(e)?;
                    }
                    if let Some(jerk) = j.max_jerk {
                        l = l.with_max_jerk(jerk)?;
                    }
                    if let Some(SoftLimitsContract { min_position, max_position, k_position }) = j.soft_limits
                    {
                        l = l.with_soft_limits(SoftJointLimits { min_position, max_position, k_position })?;
                    }
                    Ok(l)
                };
                limits().map_err(|source| ContractError::Limits { joint: j.name.clone(), source })
            })
            .collect()
    }

    /// Control period, s.
    #[must_use]
    pub fn control_secs(&self) -> f64 {
        1.0 / self.control_hz
    }

    /// Control ticks between two actions.
    ///
    /// # Errors
    /// When the rates are not positive or do not divide.
    pub fn ticks_per_step(&self) -> Result<usize, ContractError> {
        let (control_hz, policy_hz) = (self.control_hz, self.policy_hz);
        let ratio = control_hz / policy_hz;
        let positive = policy_hz.is_finite() && policy_hz > 0.0 && control_hz.is_finite() && control_hz > 0.0;
        if positive && ratio >= 1.0 && (ratio - ratio.round()).abs() < 1e-9 {
            Ok(ratio.round() as usize)
        } else {
            Err(ContractError::Rates { control_hz, policy_hz })
        }
    }

    /// What the robot's bodies must keep clear of, and how they move; `None` where the contract has no geometry.
    ///
    /// # Errors
    /// When limits or geometry are unusable.
    pub fn collision_model(&self) -> Result<Option<CollisionModel>, ContractError> {
        let Some(geometry) = &self.geometry else { return Ok(None) };
        let limits = self.limits()?;
        let model = match self.command {
            CommandKind::Motion => geometry.model(&self.joints, &limits),
            CommandKind::Effort => Err(("command".into(), GeometryProblem::Effort)),
        };
        model.map(Some).map_err(|(at, source)| ContractError::Geometry { at, source })
    }

    /// The chain that guards this robot: with the contract's geometry, where it has one.
    ///
    /// # Errors
    /// When limits, rates or geometry are unusable.
    pub fn safety_chain(&self) -> Result<SafetyChain, ContractError> {
        let limits = self.limits()?;
        let joint = self.name.clone();
        let model = self.collision_model()?;
        match self.command {
            CommandKind::Motion => SafetyChain::motion(limits, self.scaling, self.control_secs()),
            CommandKind::Effort => SafetyChain::effort(limits, self.control_secs()),
        }
        .and_then(|chain| match model {
            Some(model) => chain.with_clearance(Box::new(model)),
            None => Ok(chain),
        })
        .map_err(|source| ContractError::Limits { joint, source })
    }

    /// Hash of what acts: joints, limits, rates, delay, channels and geometry. Where the robot is on the network and what the topics of
    /// its recordings mean is no part of it: another cable or a topic of another name makes no other robot. Goes into every dataset and
    /// policy.
    #[must_use]
    pub fn hash(&self) -> String {
        hash_of(&Self { link: None, import: None, ..self.clone() })
    }

    /// Hash of the import section, where there is one: two datasets that differ in it were read otherwise. Goes into imported datasets.
    #[must_use]
    pub fn import_hash(&self) -> Option<String> {
        self.import.as_ref().map(hash_of)
    }
}

/// Field order is fixed by the structs, so the JSON is canonical.
fn hash_of(part: &impl Serialize) -> String {
    let json = serde_json::to_vec(part).unwrap_or_default();
    blake3::hash(&json).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARM: &str = r#"
name = "arm"
control_hz = 100.0
policy_hz = 10.0
[[joints]]
name = "shoulder"
unit = "rad"
min_position = -1.0
max_position = 1.0
max_velocity = 2.0
max_acceleration = 10.0
"#;

    fn parse(text: &str) -> Result<RobotContract, ContractError> {
        RobotContract::parse(text, Path::new("arm.toml"))
    }

    #[test]
    fn a_contract_gives_limits_rates_and_a_hash_of_its_content() {
        let contract = parse(ARM).unwrap();
        assert_eq!(contract.ticks_per_step().unwrap(), 10);
        assert_eq!(contract.limits().unwrap()[0].max_velocity(), 2.0);
        let other =
            parse(&ARM.replace("10.0\n", "11.0\n").replace("policy_hz = 11.0", "policy_hz = 10.0")).unwrap();
        assert_ne!(contract.hash(), other.hash());
        assert_eq!(contract.hash(), parse(&format!("# a comment\n{ARM}")).unwrap().hash());
    }

    #[test]
    fn ten_lines_attach_a_robot_and_its_address_is_not_what_it_is() {
        let attached = parse(&format!("{ARM}[link]\nendpoints = [\"tcp/10.0.0.7:7447\"]\n")).unwrap();
        let link = attached.link.clone().unwrap();
        assert_eq!(link, LinkContract::at("tcp/10.0.0.7:7447"));
        assert_eq!(link.dialect, LinkDialect::Native(NativeLink {}));
        assert_eq!(attached.hash(), parse(ARM).unwrap().hash());
        let ros = format!(
            "{ARM}[link]\nendpoints = []\ndialect = {{ rmw_zenoh = {{ domain_id = 7, type_hashes = \"not_supported\" }} }}\n"
        );
        let LinkDialect::RmwZenoh(ros) = parse(&ros).unwrap().link.unwrap().dialect else { panic!() };
        assert_eq!((ros.domain_id, ros.type_hashes), (7, TypeHashes::NotSupported));
        let message = parse(&format!("{ARM}[link]\nendpoint = []\n")).unwrap_err().to_string();
        assert!(message.contains("unknown field `endpoint`"), "{message}");
    }

    const IMPORT: &str = r#"
[import]
action_shift = "next"
episodes = { split = "file" }
[[import.observation]]
name = "{}_position"
topic = "/joint_states"
align = { strategy = "hold", timeline = "receive" }
select = ["position.*"]
unit = "rad"
[[import.action]]
name = "{}_target"
topic = "/command"
align = { strategy = "hold", timeline = "receive" }
select = ["data[*]"]
unit = "rad"
definition = "commanded"
bounds = "position"
"#;

    #[test]
    fn what_recordings_mean_is_no_part_of_the_robot_and_has_a_hash_of_its_own() {
        let (bare, with) = (parse(ARM).unwrap(), parse(&format!("{ARM}{IMPORT}")).unwrap());
        let remapped = parse(&format!("{ARM}{}", IMPORT.replace("/command", "/arm/command"))).unwrap();
        assert_eq!((bare.hash(), bare.import_hash()), (with.hash(), None));
        assert_eq!(with.hash(), remapped.hash());
        assert_ne!(with.import_hash(), remapped.import_hash());
        let spelled = IMPORT.replace("[import]", "[import]\nsuccess = \"unknown\"");
        assert_eq!(parse(&format!("{ARM}{spelled}")).unwrap().import_hash(), with.import_hash());
        // Everything that acts is in the hash.
        for (from, to) in [
            ("name = \"arm\"", "name = \"leg\""),
            ("control_hz = 100.0", "control_hz = 200.0"),
            ("policy_hz = 10.0", "policy_hz = 20.0"),
            ("policy_hz = 10.0", "policy_hz = 10.0\naction_delay_ticks = 1"),
            ("policy_hz = 10.0", "policy_hz = 10.0\ncommand = \"effort\""),
            ("name = \"shoulder\"", "name = \"elbow\""),
            ("unit = \"rad\"", "unit = \"m\""),
            ("max_velocity = 2.0", "max_velocity = 2.5"),
            ("max_velocity = 2.0", "max_velocity = 2.0\nmax_jerk = 100.0"),
            ("[[joints]]", "[[channels]]\nname = \"x\"\nunit = \"m\"\n[[joints]]"),
        ] {
            let text = ARM.replace(from, to);
            let text = if to.contains("effort") { text + "max_effort = 5.0\n" } else { text };
            assert_ne!(parse(&text).unwrap().hash(), bare.hash(), "{to}");
        }
    }

    #[test]
    fn unusable_contracts_say_which_joint_and_which_limit() {
        for (from, to, expected) in [
            ("max_velocity = 2.0", "max_velocity = 0.0", "joint shoulder: max_velocity must be finite"),
            ("max_velocity = 2.0", "max_velocity = -2.0", "found -2"),
            ("max_acceleration = 10.0", "max_acceleration = nan", "found NaN"),
            ("max_position = 1.0", "max_position = -1.0", "min_position must be below max_position"),
            ("policy_hz = 10.0", "policy_hz = 30.0", "must be positive and divide"),
            ("policy_hz = 10.0", "policy_hz = 0.0", "must be positive and divide"),
            ("policy_hz = 10.0", "policy_hz = 10.0\naction_delay_ticks = 1000000000", "at most 1000"),
            ("max_velocity = 2.0", "max_velocty = 2.0", "unknown field `max_velocty`"),
            (
                "max_velocity = 2.0",
                "max_velocity = 2.0\nmax_jerk = 0.0",
                "joint shoulder: max_jerk must be finite",
            ),
            (
                "max_velocity = 2.0",
                "max_velocity = 2.0\nsoft_limits = { min_position = -2.0, max_position = 0.9, k_position = 1.0 }",
                "joint shoulder: the soft range",
            ),
            (
                "max_velocity = 2.0",
                "max_velocity = 2.0\nsoft_limits = { min_position = -0.9, max_position = 0.9, k_position = 50.0 }",
                "joint shoulder: ",
            ),
        ] {
            let message = parse(&ARM.replace(from, to)).unwrap_err().to_string();
            assert!(message.contains(expected), "{to}: {message}");
        }
    }
}
