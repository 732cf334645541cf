//! A person's panel over the link: keys and a device on one side, whoever runs the session on the other.
//!
//! ```text
//! {namespace}/teleop/{id}/key      PanelPress: one press of a key
//! {namespace}/teleop/{id}/action   TeleopAction: the device, and its dead man's switch
//! ```
//! A stop that is pressed here reaches the session's emergency switch at once; beside it a panel may press the robot's own
//! (`estop`), which needs no session at all.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use surefoot_core::RobotContract;
use surefoot_core::clock::MonotonicClock;
use surefoot_core::contract::LinkContract;
use zenoh::pubsub::Publisher;
use zenoh::sample::Sample;
use zenoh::{Session, Wait};

use crate::channel::{Channel, Keep};
use crate::error::LinkError;
use crate::wire::{Message, PanelKey, PanelPress, TeleopAction};

/// An action that is older than this holds still, ns: the dead man's switch of the network.
const ACTION_NANOS: i64 = 250_000_000;
/// Presses that may wait. A panel that sends more is not a person's.
const PRESSES: usize = 256;
/// A larger message is not looked at.
const MAX_BYTES: usize = 8192;
/// Panels whose presses are told apart.
const PANELS: usize = 16;

fn channels(contract: &RobotContract, link: &LinkContract) -> (Channel, Channel) {
    let base = format!("teleop/{}", link.robot.as_deref().unwrap_or(&contract.name));
    (Channel::stop(format!("{base}/key")), Channel::control(format!("{base}/action"), Keep::Newest))
}

/// Numbers of what each panel said last.
#[derive(Debug, Default)]
struct Numbers(Vec<(u64, u64)>);

impl Numbers {
    /// Whether it is newer than everything before of this panel.
    fn is_new(&mut self, panel: u64, seq: u64) -> bool {
        match self.0.iter_mut().find(|(p, _)| *p == panel) {
            Some((_, last)) if seq <= *last => false,
            Some((_, last)) => {
                *last = seq;
                true
            }
            None => {
                if self.0.len() == PANELS {
                    self.0.remove(0);
                }
                self.0.push((panel, seq));
                true
            }
        }
    }
}

#[derive(Debug, Default)]
struct Heard {
    presses: VecDeque<PanelKey>,
    pressed: Numbers,
    acted: Numbers,
    action: Vec<f32>,
    deadman: bool,
    received_nanos: i64,
    refused: u64,
}

/// The session's end of panels: any number of them, taken together.
pub struct PanelListener {
    heard: Arc<Mutex<Heard>>,
    clock: MonotonicClock,
}

impl PanelListener {
    /// Listens. `on_stop` is called on zenoh's own thread for each press of an emergency stop, and must not wait.
    ///
    /// # Errors
    /// When zenoh refuses.
    pub fn new(
        session: &Session,
        contract: &RobotContract,
        link: &LinkContract,
        on_stop: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, LinkError> {
        let (keys, actions) = channels(contract, link);
        let heard = Arc::new(Mutex::new(Heard::default()));
        let clock = MonotonicClock::start();
        let subscribe = |key: String, take: Box<dyn Fn(Sample) + Send + Sync>| {
            let declared = session.declare_subscriber(key).callback(take).background().wait();
            declared.map_err(|e| LinkError::zenoh("listening to a panel", e))
        };
        let to = heard.clone();
        subscribe(
            keys.key,
            Box::new(move |sample| {
                let press = read::<PanelPress>(&sample);
                // Whoever presses a stop twice means it.
                if press.is_some_and(|p| p.key == PanelKey::EmergencyStop) {
                    on_stop();
                }
                let mut heard = to.lock().unwrap_or_else(PoisonError::into_inner);
                match press {
                    Some(PanelPress { panel, seq, key }) if heard.presses.len() < PRESSES => {
                        if heard.pressed.is_new(panel, seq) {
                            heard.presses.push_back(key);
                        }
                    }
                    _ => heard.refused += 1,
                }
            }),
        )?;
        let to = heard.clone();
        subscribe(
            actions.key,
            Box::new(move |sample| {
                let received_nanos = clock.now_nanos();
                let action = read::<TeleopAction>(&sample);
                let mut heard = to.lock().unwrap_or_else(PoisonError::into_inner);
                match action {
                    Some(TeleopAction { panel, seq, deadman, action }) => {
                        if heard.acted.is_new(panel, seq) {
                            (heard.action, heard.deadman) = (action, deadman);
                            heard.received_nanos = received_nanos;
                        }
                    }
                    None => heard.refused += 1,
                }
            }),
        )?;
        Ok(Self { heard, clock })
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest press that was not taken yet.
    #[must_use]
    pub fn next(&self) -> Option<PanelKey> {
        self.heard().presses.pop_front()
    }

    /// What the person does at present, `[action_dim]`: zeros, which hold still, unless the switch is held, the device was heard of just
    /// now, and its action is of this many numbers. True when it is the person's.
    pub fn action(&self, action: &mut [f32]) -> bool {
        let heard = self.heard();
        let fresh = self.clock.now_nanos() - heard.received_nanos <= ACTION_NANOS;
        let held = heard.deadman && fresh && heard.action.len() == action.len();
        if held {
            for (to, from) in action.iter_mut().zip(&heard.action) {
                *to = from.clamp(-1.0, 1.0);
            }
        } else {
            action.fill(0.0);
        }
        held
    }

    /// Messages that could not be read, or were too many.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.heard().refused
    }
}

fn read<M: Message>(sample: &Sample) -> Option<M> {
    let payload = sample.payload();
    if payload.len() > MAX_BYTES {
        return None;
    }
    M::read(&payload.to_bytes()).ok()
}

/// The person's end.
pub struct Panel {
    panel: u64,
    keys: Publisher<'static>,
    actions: Publisher<'static>,
    presses: u64,
    acts: u64,
}

impl Panel {
    /// A panel for a robot.
    ///
    /// # Errors
    /// When zenoh refuses.
    pub fn new(session: &Session, contract: &RobotContract, link: &LinkContract) -> Result<Self, LinkError> {
        let (keys, actions) = channels(contract, link);
        Ok(Self {
            panel: crate::robot::who(session),
            keys: keys.publisher(session)?,
            actions: actions.publisher(session)?,
            presses: 0,
            acts: 0,
        })
    }

    /// Presses a key.
    ///
    /// # Errors
    /// When zenoh refuses.
    pub fn press(&mut self, key: PanelKey) -> Result<(), LinkError> {
        self.presses += 1;
        let press = PanelPress { panel: self.panel, seq: self.presses, key };
        self.keys.put(press.bytes()).wait().map_err(|e| LinkError::zenoh("pressing a key", e))
    }

    /// Tells what the device does; to be told again and again, some ten times a second, while the switch is held.
    ///
    /// # Errors
    /// When zenoh refuses.
    pub fn act(&mut self, deadman: bool, action: &[f32]) -> Result<(), LinkError> {
        self.acts += 1;
        let message = TeleopAction { panel: self.panel, seq: self.acts, deadman, action: action.to_vec() };
        self.actions.put(message.bytes()).wait().map_err(|e| LinkError::zenoh("telling an action", e))
    }

    /// Whether a session listens.
    ///
    /// # Errors
    /// When zenoh refuses.
    pub fn is_heard(&self) -> Result<bool, LinkError> {
        let heard = |p: &Publisher<'_>| {
            p.matching_status().wait().map(|s| s.matching()).map_err(|e| LinkError::zenoh("matching", e))
        };
        Ok(heard(&self.keys)? && heard(&self.actions)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_panel_said_before_is_not_heard_again() {
        let mut numbers = Numbers::default();
        assert!(
            numbers.is_new(1, 1) && !numbers.is_new(1, 1) && numbers.is_new(1, 3) && !numbers.is_new(1, 2)
        );
        assert!(numbers.is_new(2, 1), "another panel counts for itself");
        for panel in 3..3 + PANELS as u64 {
            assert!(numbers.is_new(panel, 1));
        }
        assert_eq!(numbers.0.len(), PANELS, "panels that come and go take no memory");
    }
}
