//! The control loop on simulated time: control and policy by turns, bit-reproducible.

use surefoot_core::{ActMode, ResetScope};

use crate::control::acting::Acting;
use crate::control::control_loop::ControlLoop;
use crate::control::policy_thread::Versioned;
use crate::control::ports::ControlPorts;
use crate::control::request::Request;

/// A loop, a policy that answers at once, and a clock that goes on one period at a time.
pub struct Lockstep {
    /// The loop.
    pub control: ControlLoop,
    /// The other ends of its queues.
    pub ports: ControlPorts,
    acting: Acting,
    next: Option<Versioned>,
    now_nanos: i64,
    period_nanos: i64,
}

impl Lockstep {
    /// Joins a loop and a policy for one robot, which acts without exploration.
    #[must_use]
    pub fn new(control: ControlLoop, ports: ControlPorts, first: impl Into<Versioned>, seed: u64) -> Self {
        let period_nanos = (control.period_secs() * 1e9).round() as i64;
        Self {
            control,
            ports,
            acting: Acting::new(first.into(), ActMode::Exploit, seed),
            next: None,
            now_nanos: 0,
            period_nanos,
        }
    }

    /// Asks for something; it is followed in the next period. `false` when the queue is full.
    pub fn ask(&mut self, request: Request) -> bool {
        let free = self.ports.requests.lend().is_some();
        if free {
            self.ports.requests.send(request);
        }
        free
    }

    /// Noise and exploration from the next drive on, and whether it begins a new task.
    pub const fn next_drive(&mut self, seed: u64, mode: ActMode, scope: ResetScope) {
        self.acting.next_drive(seed, mode, scope);
    }

    /// A policy for the next drive; the newest offer counts.
    pub fn offer(&mut self, policy: Versioned) -> bool {
        self.next = Some(policy);
        true
    }

    /// Brakes; one period, unless the robot is at rest and disarmed: then true.
    pub fn come_to_rest(&mut self) -> bool {
        let at_rest = self.control.come_to_rest();
        if !at_rest {
            self.period();
        }
        at_rest
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
            self.acting.hear(&input);
            if input.first {
                self.acting.begin(self.next.take());
            }
            self.acting.see(&input);
            if input.wanted
                && let Some(mut output) = self.ports.actions.lend()
            {
                self.acting.answer(&input, &mut output);
                output.latency_nanos = 0;
                self.ports.actions.send(output);
            }
            self.ports.observations.give_back(input);
        }
        self.control.command();
        self.hear();
    }

    /// The last words of a drive are heard in the period in which it ends.
    fn hear(&mut self) {
        while let Some(input) = self.ports.observations.receive() {
            self.acting.hear(&input);
            self.ports.observations.give_back(input);
        }
    }

    /// The loop, with its robot, and the policy.
    #[must_use]
    pub fn into_parts(self) -> (ControlLoop, Versioned) {
        (self.control, self.acting.into_policy())
    }

    /// One period in which the policy says nothing: it hangs, or has died. What it missed it knows of if it speaks again.
    pub fn period_without_policy(&mut self) {
        self.begin();
        while let Some(input) = self.ports.observations.receive() {
            self.acting.hear(&input);
            if input.first {
                self.acting.begin(self.next.take());
            }
            self.acting.see(&input);
            self.ports.observations.give_back(input);
        }
        self.control.command();
        self.hear();
    }

    fn begin(&mut self) {
        self.now_nanos += self.period_nanos;
        self.control.observe(self.now_nanos, 0, 0);
    }
}
