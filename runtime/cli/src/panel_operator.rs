//! A person at a panel somewhere on the network: the same keys as at the terminal, and a device with a dead man's switch.

use std::sync::{Arc, Mutex, PoisonError};

use surefoot_bridges::wire::PanelKey;
use surefoot_bridges::{LinkError, PanelListener, Session};
use surefoot_core::RobotContract;
use surefoot_engine::control::{EmergencySwitch, Label, Mode, Refusal, Request};
use surefoot_engine::live::{Operator, OperatorEvent};

use crate::output::Output;

/// Listens to panels for a session.
pub struct PanelOperator {
    listener: PanelListener,
    switch: Arc<Mutex<Option<EmergencySwitch>>>,
    output: Output,
}

impl PanelOperator {
    /// On the session that the robot is attached by.
    ///
    /// # Errors
    /// When zenoh refuses, or the contract has no link.
    pub fn new(session: &Session, contract: &RobotContract, output: Output) -> Result<Self, LinkError> {
        let link =
            contract.link.as_ref().ok_or_else(|| LinkError::NoLink { robot: contract.name.clone() })?;
        let switch: Arc<Mutex<Option<EmergencySwitch>>> = Arc::default();
        let pressed = switch.clone();
        let on_stop = move || {
            if let Some(switch) = &*pressed.lock().unwrap_or_else(PoisonError::into_inner) {
                switch.press();
            }
        };
        let listener = PanelListener::new(session, contract, link, on_stop)?;
        Ok(Self { listener, switch, output })
    }
}

impl Operator for PanelOperator {
    fn attends(&self) -> bool {
        true
    }

    fn connect(&mut self, emergency: EmergencySwitch) {
        *self.switch.lock().unwrap_or_else(PoisonError::into_inner) = Some(emergency);
    }

    fn next(&mut self) -> Option<OperatorEvent> {
        let request = match self.listener.next()? {
            PanelKey::Start => return Some(OperatorEvent::Start),
            PanelKey::Quit => return Some(OperatorEvent::Quit),
            PanelKey::TakeOver => Request::TakeOver,
            PanelKey::HandBack => Request::HandBack,
            PanelKey::Pause => Request::Pause,
            PanelKey::Resume => Request::Resume,
            PanelKey::Hold => Request::Hold,
            PanelKey::ProtectiveStop => Request::ProtectiveStop,
            PanelKey::EmergencyStop => Request::EmergencyStop,
            PanelKey::Acknowledge => Request::Acknowledge,
            PanelKey::Reset => Request::Reset,
            PanelKey::Success => Request::Mark(Label::Success),
            PanelKey::Failure => Request::Mark(Label::Failure),
            PanelKey::Recover => Request::Recover,
        };
        Some(OperatorEvent::Request(request))
    }

    fn action(&mut self, action: &mut [f32]) {
        self.listener.action(action);
    }

    fn show(&mut self, mode: Mode) {
        self.output.note(&format!("  [{mode:?}]"));
    }

    fn refused(&mut self, request: Request, why: Refusal) {
        self.output.note(&format!("  [not done: {request:?}: {why}]"));
    }
}
