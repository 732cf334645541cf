//! Units: numbers that look as if they were of another one than robots are commanded in.

use serde::{Deserialize, Serialize};

use super::{Lints, some};
use crate::survey::{Channel, Survey};

/// What the numbers of an action row are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JointActions {
    /// Joint positions to be at when the next action comes, rad or m.
    Positions,
    /// Joint velocities, rad/s or m/s.
    Velocities,
}

/// No joint turns twice around.
const MAX_ANGLE: f32 = 4.0 * std::f32::consts::PI;

/// No gripper opens by half a turn, nor by as many metres.
const MAX_GRIPPER: f32 = 3.2;

/// No arm reaches so far, m.
const MAX_LENGTH: f32 = 20.0;

fn holds_any(name: &str, words: &[&str]) -> bool {
    words.iter().any(|word| name.contains(word))
}

fn is_gripper(channel: &Channel) -> bool {
    holds_any(&channel.name.to_lowercase(), &["gripper", "finger"])
}

/// By its unit, or where none is stated, by its name.
fn is_angle(channel: &Channel) -> bool {
    let name = channel.name.to_lowercase();
    match channel.unit.as_deref() {
        Some(unit) => unit == "rad",
        None => {
            holds_any(&name, &["joint", "qpos", "angle"])
                && !holds_any(&name, &["vel", "torque", "effort", "current", "gripper", "finger"])
        }
    }
}

fn is_length(channel: &Channel) -> bool {
    let name = channel.name.to_lowercase();
    match channel.unit.as_deref() {
        Some(unit) => unit == "m",
        None => holds_any(&name, &["eef_pos", "ee_pos", "tcp_pos", "tool_pos", "object_pos"]),
    }
}

impl Lints {
    pub(super) fn units(&mut self, survey: &Survey) {
        type Suspect = (&'static str, fn(&Channel) -> bool, f32, &'static str, &'static str);
        let suspects: [Suspect; 3] = [
            (
                "suspect_angle_unit",
                is_angle,
                MAX_ANGLE,
                "turn further than twice around: they look like degrees or encoder counts",
                "convert them to rad where they are imported, or state their unit",
            ),
            (
                "suspect_gripper_unit",
                is_gripper,
                MAX_GRIPPER,
                "are larger than an opening in m or rad: they look like counts (0..255) or percent",
                "scale them to metres or to 0..1 where they are imported, or state their unit",
            ),
            (
                "suspect_length_unit",
                is_length,
                MAX_LENGTH,
                "are larger than an arm: they look like millimetres",
                "convert them to metres where they are imported, or state their unit",
            ),
        ];
        for (code, is_one, limit, looks_like, mend) in suspects {
            let names: Vec<String> = survey
                .observation
                .iter()
                .chain(&survey.action)
                .filter(|c| is_one(c) && c.count > 0 && c.min.abs().max(c.max.abs()) > limit)
                .map(|c| format!("{} ({} .. {})", c.name, c.min, c.max))
                .collect();
            if !names.is_empty() {
                self.warning(code, some(&names), format!("{} channels {looks_like}", names.len()), mend);
            }
        }
    }
}
