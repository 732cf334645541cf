//! What goes in and out of a control loop, over queues that never make it wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use surefoot_core::Outcome;
use surefoot_core::recycled::{Receiver, Sender};

use crate::control::request::Request;
use crate::control::tick::Tick;

/// An observation on its way to the policy, and with it what the step before has brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyInput {
    /// Control tick at which it was made.
    pub tick: u64,
    /// Clock at that tick, ns.
    pub now_nanos: i64,
    /// Whether a driver has just taken over: the moment to change policies.
    pub first: bool,
    /// Whether an answer is wanted. An episode's last input wants none: it says how the last step ended.
    pub wanted: bool,
    /// Whether a step has ended since the last input; otherwise `outcome` and `executed` mean nothing.
    pub stepped: bool,
    /// What that step brought: reward, end, success. Of several that could not be told one by one the rewards are summed up.
    pub outcome: Outcome,
    /// What was executed in it, whoever drove, `[action_dim]`.
    pub executed: Vec<f32>,
    /// `[observation_dim]`.
    pub observation: Vec<f32>,
}

/// The policy's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyOutput {
    /// Tick of the observation that it answers.
    pub from_tick: u64,
    /// Version of the policy.
    pub version: u64,
    /// Time it took, ns.
    pub latency_nanos: i64,
    /// `[action_dim]`, normalised.
    pub action: Vec<f32>,
}

/// An emergency stop that waits for nobody: any thread may press it, and the control loop looks at it in every period. It does not
/// go through the queue of requests, so it works when that is full and when the session that fills it is held up.
#[derive(Clone, Debug, Default)]
pub struct EmergencySwitch(Arc<AtomicBool>);

impl EmergencySwitch {
    /// Stops the robot in the next control period.
    pub fn press(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was pressed since the last look. Real-time safe.
    pub(super) fn take(&self) -> bool {
        self.0.load(Ordering::Acquire) && self.0.swap(false, Ordering::AcqRel)
    }
}

/// A person's action, with the same meaning as the policy's.
pub type HumanAction = Vec<f32>;

/// The other ends of a loop's queues. None of them ever makes the loop wait.
#[derive(Debug)]
pub struct ControlPorts {
    /// Stops the robot whatever else is going on.
    pub emergency: EmergencySwitch,
    /// What a person or the program asks for.
    pub requests: Sender<Request>,
    /// Observations for the policy, one each policy period while somebody drives, and one at the end of each episode.
    pub observations: Receiver<PolicyInput>,
    /// The policy's answers.
    pub actions: Sender<PolicyOutput>,
    /// A person's actions.
    pub human: Sender<HumanAction>,
    /// What happened, tick by tick.
    pub ticks: Receiver<Tick>,
}
