//! What comes in from the network: judged and decoded on zenoh's thread, which waits for nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use surefoot_core::RobotContract;
use surefoot_core::clock::MonotonicClock;
use surefoot_core::contract::LinkContract;
use surefoot_core::recycled::Sender;
use zenoh::query::Query;
use zenoh::sample::Sample;
use zenoh::{Session, Wait};

use crate::dialects::{CommandFrame, Dialect, StateFrame, Supervision};
use crate::error::{LinkError, Refusal, WireError};
use crate::robot::{Description, Heard};
use crate::server::side::Op;
use crate::wire::{Estop, Heartbeat, Message, ModeRequest, RobotMode, SafetyStatus};

/// What the threads of a server tell each other.
pub(super) struct Served {
    pub ending: AtomicBool,
    /// Of the present controller; its signs of life alone are echoed.
    pub lease: AtomicU64,
    pub malformed: AtomicU64,
    heard: Mutex<Heard>,
    status: Mutex<SafetyStatus>,
    estop: Mutex<Estop>,
}

impl Served {
    pub(super) fn new(status: SafetyStatus) -> Self {
        let estop = Estop { latched: false, cause: String::new(), who: String::new() };
        Self {
            ending: AtomicBool::new(false),
            lease: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            heard: Mutex::new(Heard::default()),
            status: Mutex::new(status),
            estop: Mutex::new(estop),
        }
    }
    pub(super) fn heard(&self) -> Heard {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(super) fn status(&self) -> SafetyStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    pub(super) fn set_status(&self, status: SafetyStatus) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
    fn count_malformed(&self) {
        self.malformed.fetch_add(1, Ordering::Relaxed);
    }
}

/// What listening needs.
pub(super) struct Inbox {
    pub served: Arc<Served>,
    pub contract: RobotContract,
    pub link: LinkContract,
    pub description: Description,
    pub clock: MonotonicClock,
}

impl Inbox {
    /// Declares everything that the robot's side listens to. It ends with the session.
    pub(super) fn declare(
        self,
        session: &Session,
        dialect: &dyn Dialect,
        commands: Sender<CommandFrame>,
        ops: mpsc::Sender<Op>,
    ) -> Result<(), LinkError> {
        self.commands(session, dialect, commands)?;
        let Some(keys) = dialect.supervision() else { return Ok(()) };
        self.heartbeats(session, &keys, ops.clone())?;
        self.estops(session, &keys, ops.clone())?;
        self.modes(session, &keys, &ops)?;
        self.scenes(session, &keys, dialect, ops)?;
        let described = serde_json::to_vec(&self.description).map_err(|e| LinkError::Answer {
            what: "who it is",
            source: WireError::Malformed { what: "the description", reason: e.to_string() },
        })?;
        answer(session, &keys.contract, move |query| {
            // Whoever asked and is gone hears nothing.
            let _ = query.reply(query.key_expr().clone(), described.as_slice()).wait();
        })
    }

    fn commands(
        &self,
        session: &Session,
        dialect: &dyn Dialect,
        commands: Sender<CommandFrame>,
    ) -> Result<(), LinkError> {
        let (served, max_bytes) = (self.served.clone(), self.link.max_message_bytes);
        // What could not be read is room for the next one.
        let own = Mutex::new((commands, dialect.codec(&session.zid().to_string())?, None::<CommandFrame>));
        subscribe(session, &dialect.command().key, move |sample| {
            let Ok(mut own) = own.lock() else { return };
            let (commands, codec, spare) = &mut *own;
            let (payload, attachment) = (sample.payload(), sample.attachment());
            if payload.len() + attachment.map_or(0, |a| a.len()) > max_bytes {
                return served.count_malformed();
            }
            // Where nothing is free the robot thread is behind: what it has is enough.
            let Some(mut frame) = spare.take().or_else(|| commands.lend()) else { return };
            let attachment = attachment.map(|a| a.to_bytes());
            if codec.read_command(&payload.to_bytes(), attachment.as_deref(), &mut frame).is_err() {
                served.count_malformed();
                *spare = Some(frame);
                return;
            }
            commands.send(frame);
        })
    }

    fn heartbeats(
        &self,
        session: &Session,
        keys: &Supervision,
        ops: mpsc::Sender<Op>,
    ) -> Result<(), LinkError> {
        let (served, clock) = (self.served.clone(), self.clock);
        subscribe(session, &keys.controller_heartbeat.key, move |sample| {
            let received_nanos = clock.now_nanos();
            let Ok(beat) = Heartbeat::read(&sample.payload().to_bytes()) else {
                return served.count_malformed();
            };
            let present = served.lease.load(Ordering::Acquire);
            if beat.lease != 0 && beat.lease == present {
                *served.heard.lock().unwrap_or_else(PoisonError::into_inner) = Heard { beat, received_nanos };
                let _ = ops.send(Op::Heartbeat(beat.lease));
            }
        })
    }

    fn estops(&self, session: &Session, keys: &Supervision, ops: mpsc::Sender<Op>) -> Result<(), LinkError> {
        let served = self.served.clone();
        subscribe(session, &keys.estop.key, move |sample| {
            let pressed = match Estop::read(&sample.payload().to_bytes()) {
                Ok(estop) if !estop.latched => return,
                Ok(estop) => estop,
                // Whoever presses a stop means one, whatever else they say.
                Err(_) => {
                    served.count_malformed();
                    Estop {
                        latched: true,
                        cause: "a press that could not be read".into(),
                        who: String::new(),
                    }
                }
            };
            *served.estop.lock().unwrap_or_else(PoisonError::into_inner) = pressed;
            let _ = ops.send(Op::EmergencyStop);
        })?;
        let served = self.served.clone();
        answer(session, &keys.estop.key, move |query| {
            let latched = served.status().mode == RobotMode::EmergencyStop;
            let stated = served.estop.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let _ = query.reply(query.key_expr().clone(), Estop { latched, ..stated }.bytes()).wait();
        })
    }

    fn modes(&self, session: &Session, keys: &Supervision, ops: &mpsc::Sender<Op>) -> Result<(), LinkError> {
        for (key, clears) in [(&keys.mode, false), (&keys.clear, true)] {
            let (served, ops) = (self.served.clone(), ops.clone());
            answer(session, key, move |query| {
                let request = query.payload().map(|p| ModeRequest::read(&p.to_bytes()));
                match request {
                    // Who may ask on one key may not do so on the other.
                    Some(Ok(request)) if request.op.clears() == clears => {
                        let _ = ops.send(Op::Mode(request, query));
                    }
                    _ => {
                        served.count_malformed();
                        let _ = query.reply_err(Refusal::Malformed.to_string()).wait();
                    }
                }
            })?;
        }
        Ok(())
    }

    fn scenes(
        &self,
        session: &Session,
        keys: &Supervision,
        dialect: &dyn Dialect,
        ops: mpsc::Sender<Op>,
    ) -> Result<(), LinkError> {
        if !self.description.resettable {
            return Ok(());
        }
        let max_bytes = self.link.max_message_bytes;
        let frame = StateFrame::new(&self.contract);
        let own = Mutex::new((dialect.codec(&session.zid().to_string())?, frame));
        answer(session, &keys.scene, move |query| {
            let Ok(mut own) = own.lock() else { return };
            let (codec, frame) = &mut *own;
            let payload = query.payload().filter(|p| p.len() <= max_bytes).map(|p| p.to_bytes());
            let attachment = query.attachment().map(|a| a.to_bytes());
            let read = codec.read_state(payload.as_deref().unwrap_or_default(), attachment.as_deref(), frame);
            let refusal = match read {
                Ok(()) if frame.state.is_finite() => None,
                Ok(()) => Some("an initial state that is not finite".to_owned()),
                Err(e) => Some(e.to_string()),
            };
            drop((payload, attachment));
            if let Some(why) = refusal {
                let _ = query.reply_err(why).wait();
            } else {
                let _ = ops.send(Op::Scene(frame.state.clone(), query));
            }
        })
    }
}

fn subscribe(
    session: &Session,
    key: &str,
    take: impl Fn(Sample) + Send + Sync + 'static,
) -> Result<(), LinkError> {
    let declared = session.declare_subscriber(key.to_owned()).callback(take).background().wait();
    declared.map_err(|e| LinkError::zenoh("subscribing", e))
}

fn answer(
    session: &Session,
    key: &str,
    give: impl Fn(Query) + Send + Sync + 'static,
) -> Result<(), LinkError> {
    let declared = session.declare_queryable(key.to_owned()).callback(give).background().wait();
    declared.map_err(|e| LinkError::zenoh("answering queries", e))
}
