//! What a person at a panel does.

use super::layout::{codes, layout};
use super::{Layout, Message, Reader};
use crate::error::WireError;

codes! {
    /// A key of an operator's panel.
    PanelKey, "key of a panel" {
        /// Begin the next episode.
        Start = 0,
        /// End the session.
        Quit = 1,
        /// The person drives from here on.
        TakeOver = 2,
        /// The policy drives again.
        HandBack = 3,
        /// Come to rest; `Resume` goes on.
        Pause = 4,
        /// Go on.
        Resume = 5,
        /// Come to rest and hold.
        Hold = 6,
        /// Stop protectively.
        ProtectiveStop = 7,
        /// Stop, latched until a reset.
        EmergencyStop = 8,
        /// A person has looked at a protective stop.
        Acknowledge = 9,
        /// A person resets an emergency stop or a fault.
        Reset = 10,
        /// The episode is a success and ends.
        Success = 11,
        /// The episode is a failure and ends.
        Failure = 12,
        /// Bring a robot that is outside its limits back inside.
        Recover = 13,
    }
}

/// One press of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PanelPress {
    /// Which panel: drawn anew when one starts.
    pub panel: u64,
    /// Counts from 1, so that a press that comes twice is pressed once.
    pub seq: u64,
    /// The key.
    pub key: PanelKey,
}

layout! {
    PanelPress, "press of a key" {
        panel: "panel",
        seq: "number",
        key: "key",
    }
}

/// What a person does with a device: an action, for as long as the dead man's switch is held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TeleopAction {
    /// Which panel.
    pub panel: u64,
    /// Counts from 1; an older one that comes late is not used.
    pub seq: u64,
    /// Whether the switch is held.
    pub deadman: bool,
    /// `[action_dim]`, normalised.
    pub action: Vec<f32>,
}

impl Message for TeleopAction {
    const WHAT: &'static str = "action of a person";
}

impl Layout for TeleopAction {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { panel, seq, deadman, action } = self;
        panel.put(out);
        seq.put(out);
        deadman.put(out);
        action.put(out);
    }
    fn take(from: &mut Reader<'_>, _field: &'static str) -> Result<Self, WireError> {
        let (panel, seq) = (from.u64("panel")?, from.u64("number")?);
        // Anything but 1 is a switch that is not held.
        let deadman = from.u8("dead man's switch")? == 1;
        let action: Vec<f32> = Layout::take(from, "action")?;
        if action.iter().any(|x| !x.is_finite()) {
            return Err(WireError::NotFinite { what: "action" });
        }
        Ok(Self { panel, seq, deadman, action })
    }
}
