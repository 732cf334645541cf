//! The person beside the robot: one interface, whatever the input is.

use crate::control::{EmergencySwitch, Mode, Refusal, Request};

/// What a person wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorEvent {
    /// Something that the control loop is asked for: stops, take-over, hand-back, marks, acknowledgements.
    Request(Request),
    /// The scene is ready: begin the next episode.
    Start,
    /// End the session: the robot comes to rest.
    Quit,
}

/// A person's input. Polled some hundred times a second, and never waited for.
pub trait Operator: Send {
    /// Whether somebody is there at all. Without anybody a latched stop ends the session, for nobody can clear it.
    fn attends(&self) -> bool;
    /// Called once, before anything else: a stop that is pressed here waits for no session. An input that can be read on a thread of
    /// its own presses it from there.
    fn connect(&mut self, emergency: EmergencySwitch);
    /// The oldest event that was not taken yet.
    fn next(&mut self) -> Option<OperatorEvent>;
    /// The action that the person gives at present, `[action_dim]`, normalised; asked for while a person drives. Zeros hold still.
    fn action(&mut self, action: &mut [f32]);
    /// What the control loop is doing, each time that it changes. Must not block: the next key may be a stop.
    fn show(&mut self, mode: Mode);
    /// What was asked for and not followed. Must not block.
    fn refused(&mut self, request: Request, why: Refusal);
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unattended;

impl Operator for Unattended {
    fn attends(&self) -> bool {
        false
    }
    fn connect(&mut self, _emergency: EmergencySwitch) {}
    fn next(&mut self) -> Option<OperatorEvent> {
        None
    }
    fn action(&mut self, action: &mut [f32]) {
        action.fill(0.0);
    }
    fn show(&mut self, _mode: Mode) {}
    fn refused(&mut self, _request: Request, _why: Refusal) {}
}
