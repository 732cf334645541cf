//! The person beside the robot: one interface, whatever the input is.

use crate::control::{Mode, Request};

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
    /// The oldest event that was not taken yet.
    fn next(&mut self) -> Option<OperatorEvent>;
    /// The action that the person gives at present, `[action_dim]`, normalised; asked for while a person drives. Zeros hold still.
    fn action(&mut self, action: &mut [f32]);
    /// What the control loop is doing, each time that it changes.
    fn show(&mut self, mode: Mode);
}

/// Nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unattended;

impl Operator for Unattended {
    fn attends(&self) -> bool {
        false
    }
    fn next(&mut self) -> Option<OperatorEvent> {
        None
    }
    fn action(&mut self, action: &mut [f32]) {
        action.fill(0.0);
    }
    fn show(&mut self, _mode: Mode) {}
}
