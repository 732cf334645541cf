//! The control loop on simulated time: control and policy by turns, bit-reproducible.

use surefoot_core::{ActMode, Policy, PolicyError, ResetScope, Rows, RowsMut};

use crate::control::control_loop::{ControlLoop, ControlPorts};
use crate::control::mode::Request;

/// A loop, a policy that answers at once, and a clock that goes on one period at a time.
pub struct Lockstep {
    /// The loop.
    pub control: ControlLoop,
    /// The other ends of its queues.
    pub ports: ControlPorts,
    policy: Box<dyn Policy>,
    version: u64,
    now_nanos: i64,
    period_nanos: i64,
}

impl Lockstep {
    /// Joins a loop and a policy for one robot.
    #[must_use]
    pub fn new(control: ControlLoop, ports: ControlPorts, mut policy: Box<dyn Policy>, seed: u64) -> Self {
        policy.reset(0, ResetScope::Task, seed);
        let period_nanos = (control.period_secs() * 1e9).round() as i64;
        Self { control, ports, policy, version: 1, now_nanos: 0, period_nanos }
    }

    /// Asks for something; it is followed in the next period.
    pub fn ask(&mut self, request: Request) {
        if self.ports.requests.lend().is_some() {
            self.ports.requests.send(request);
        }
    }

    /// Simulated time, ns.
    #[must_use]
    pub const fn now_nanos(&self) -> i64 {
        self.now_nanos
    }

    /// One period in which the policy answers.
    ///
    /// # Errors
    /// When the policy's rows have another shape.
    pub fn period(&mut self) -> Result<(), PolicyError> {
        self.begin();
        while let Some(input) = self.ports.observations.receive() {
            if let Some(mut output) = self.ports.actions.lend() {
                let actions = output.action.len();
                let rows = Rows::new(&input.observation, input.observation.len());
                self.policy.act(rows, ActMode::Exploit, RowsMut::new(&mut output.action, actions))?;
                (output.from_tick, output.version, output.latency_nanos) = (input.tick, self.version, 0);
                self.ports.actions.send(output);
            }
            self.ports.observations.give_back(input);
        }
        self.control.command();
        Ok(())
    }

    /// One period in which the policy says nothing: it hangs, or has died.
    pub fn period_without_policy(&mut self) {
        self.begin();
        while let Some(input) = self.ports.observations.receive() {
            self.ports.observations.give_back(input);
        }
        self.control.command();
    }

    fn begin(&mut self) {
        self.now_nanos += self.period_nanos;
        self.control.observe(self.now_nanos, 0, 0);
    }
}
