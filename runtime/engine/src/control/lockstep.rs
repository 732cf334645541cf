//! The control loop on simulated time: control and policy by turns, bit-reproducible.

use surefoot_core::{ActMode, Policy, ResetScope, Rows, RowsMut};

use crate::control::control_loop::ControlLoop;
use crate::control::mode::Request;
use crate::control::ports::ControlPorts;

/// A loop, a policy that answers at once, and a clock that goes on one period at a time.
pub struct Lockstep {
    /// The loop.
    pub control: ControlLoop,
    /// The other ends of its queues.
    pub ports: ControlPorts,
    policy: Box<dyn Policy>,
    version: u64,
    seed: u64,
    drives: u64,
    now_nanos: i64,
    period_nanos: i64,
}

impl Lockstep {
    /// Joins a loop and a policy for one robot.
    #[must_use]
    pub fn new(control: ControlLoop, ports: ControlPorts, policy: Box<dyn Policy>, seed: u64) -> Self {
        let period_nanos = (control.period_secs() * 1e9).round() as i64;
        Self { control, ports, policy, version: 1, seed, drives: 0, now_nanos: 0, period_nanos }
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
    /// A policy that refuses says NaN, and is braked for.
    pub fn period(&mut self) {
        self.begin();
        while let Some(input) = self.ports.observations.receive() {
            if input.first {
                self.policy.reset(0, ResetScope::Task, self.seed.wrapping_add(self.drives));
                self.drives += 1;
            }
            if let Some(mut output) = self.ports.actions.lend() {
                let actions = output.action.len();
                let rows = Rows::new(&input.observation, input.observation.len());
                if self.policy.act(rows, ActMode::Exploit, RowsMut::new(&mut output.action, actions)).is_err()
                {
                    output.action.fill(f32::NAN);
                }
                (output.from_tick, output.version, output.latency_nanos) = (input.tick, self.version, 0);
                self.ports.actions.send(output);
            }
            self.ports.observations.give_back(input);
        }
        self.control.command();
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
