//! The last states of a world, for the message when it leaves the finite numbers.

use std::fmt;

use surefoot_core::{RobotContract, RobotState};

/// States that are kept.
const KEPT: usize = 3;

/// A ring of the last finite states.
#[derive(Clone, Debug)]
pub struct LastStates {
    states: Vec<(u64, RobotState)>,
    kept: usize,
    period_secs: f64,
}

impl LastStates {
    pub fn new(contract: &RobotContract) -> Self {
        let states = (0..KEPT).map(|_| (0, RobotState::zeros(contract))).collect();
        Self { states, kept: 0, period_secs: contract.control_secs() }
    }

    /// Allocates nothing.
    pub fn keep(&mut self, tick: u64, state: &RobotState) {
        let (at, slot) = &mut self.states[self.kept % KEPT];
        *at = tick;
        slot.clone_from(state);
        self.kept += 1;
    }

    pub const fn forget(&mut self) {
        self.kept = 0;
    }
}

impl fmt::Display for LastStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kept == 0 {
            return write!(f, "no state was read");
        }
        for back in (0..self.kept.min(KEPT)).rev() {
            let (tick, RobotState { position, velocity, channels }) =
                &self.states[(self.kept - 1 - back) % KEPT];
            write!(
                f,
                "at {:.3} s positions {position:?}, velocities {velocity:?}",
                *tick as f64 * self.period_secs
            )?;
            if !channels.is_empty() {
                write!(f, ", channels {channels:?}")?;
            }
            if back > 0 {
                write!(f, "; ")?;
            }
        }
        Ok(())
    }
}
