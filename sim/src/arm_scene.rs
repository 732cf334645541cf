//! The seven-joint arm of `models/arm7.xml` with another tool and among other things than a puck: what the tasks of one arm have
//! in common. Its contract is that of `configs/robots/arm7.toml` with the joints and channels that the scene adds.

use std::sync::Arc;

use surefoot_core::contract::{ChannelContract, JointContract};
use surefoot_core::{EnvError, RobotContract};

use crate::arm;
use crate::model::Model;
use crate::randomisation::Randomisation;
use crate::render::View;
use crate::tasks::build_error;
use crate::world::{RapierWorld, Softness, Stepping};

/// Chosen by measurement. Contacts are as stiff as the step allows: at rapier's own 60 Hz fingers sink 6 mm into a ball of 80 g that they
/// press with 13 N, and at two steps a tick a peg is pushed through the rim of its hole. Four solver sub-steps brought nothing for
/// three times the time.
const STEPPING: Stepping =
    Stepping { contacts: Some(Softness { frequency_hz: 180.0, damping_ratio: 5.0 }), ..Stepping::new(4) };

/// What is put into the arm's model, and what its contract lists beside the arm.
pub struct ArmScene {
    /// Name of the environment; the contract is `arm7_NAME`.
    pub name: &'static str,
    /// MJCF of the bodies on the table.
    pub surroundings: String,
    /// MJCF inside the last link in place of the stick; it must have the site `tool`.
    pub tool: Option<&'static str>,
    /// MJCF of servos beside the arm's.
    pub actuators: &'static str,
    /// Joints beside the arm's, each driven by one of `actuators`.
    pub joints: Vec<JointContract>,
    /// Names and units of what is seen of the surroundings.
    pub channels: &'static [(&'static str, &'static str)],
    /// How the world is stepped in place of its own way.
    pub stepping: Option<Stepping>,
    /// Where it is seen from.
    pub view: View,
}

impl ArmScene {
    /// The contract.
    ///
    /// # Errors
    /// When the arm's own is malformed.
    pub fn contract(&self) -> Result<RobotContract, EnvError> {
        let mut contract = arm::contract()?;
        contract.name = format!("arm7_{}", self.name);
        contract.joints.extend(self.joints.iter().cloned());
        let channel = |&(name, unit): &(&str, &str)| ChannelContract { name: name.into(), unit: unit.into() };
        contract.channels = self.channels.iter().map(channel).collect();
        Ok(contract)
    }

    /// The world.
    ///
    /// # Errors
    /// When the scene is no MJCF, or lacks what the contract names.
    pub fn world(&self, randomisation: &Randomisation) -> Result<RapierWorld, EnvError> {
        let error = |e: &dyn std::fmt::Display| build_error(self.name, e);
        let mut text = arm::MODEL.to_owned();
        let parts = [
            ("surroundings", Some(self.surroundings.as_str())),
            ("tool", self.tool),
            ("further actuators", Some(self.actuators)),
        ];
        for (mark, part) in parts.into_iter().filter_map(|(mark, part)| Some((mark, part?))) {
            text = replaced(&text, mark, part)
                .ok_or_else(|| error(&format!("models/arm7.xml has no comments around its {mark}")))?;
        }
        let model = Model::parse(self.name, &text).map_err(|e| error(&e))?;
        let world = RapierWorld::new(self.contract()?, Arc::new(model), self.stepping.unwrap_or(STEPPING))
            .map_err(|e| error(&e))?;
        Ok(world.with_view(self.view).with_randomisation(randomisation))
    }
}

/// `text` with `part` between the comments `MARK` and `end of MARK`.
fn replaced(text: &str, mark: &str, part: &str) -> Option<String> {
    let (before, rest) = text.split_once(&format!("<!-- {mark} -->"))?;
    let (_, after) = rest.split_once(&format!("<!-- end of {mark} -->"))?;
    Some(format!("{before}{part}{after}"))
}
