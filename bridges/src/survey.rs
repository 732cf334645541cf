//! A look at a robot over its link without driving it: what is reachable, who publishes what, and what would stand against arming.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use surefoot_core::clock::MonotonicClock;
use surefoot_core::contract::{CommandKind, LinkContract};
use surefoot_core::safety::SafetyError;
use surefoot_core::{RobotContract, RobotState};
use zenoh::sample::Sample;
use zenoh::{Session, Wait};

use crate::clock_offset::{ClockOffset, Exchange, Offset, OffsetOfStamps};
use crate::dialects::{Dialect, StateFrame, Supervision, dialect};
use crate::error::{LinkError, WireError};
use crate::robot::{check_contract, describe, who};
use crate::ros2::{PeerProblem, Token, peers};
use crate::session::{Purpose, SessionConfig};
use crate::wire::{Message, ModeOp, ModeReply, ModeRequest, RobotMode, StopCause};

/// Keys that are listed; a network may have any number.
const MAX_KEYS: usize = 200;
/// Exchanges that tell the offset of the clocks.
const EXCHANGES: usize = 8;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(1);
/// The control loop brakes when no state came for so many periods.
const PERIODS: f64 = 3.0;

/// What was heard on a key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Heard {
    /// The key, without the namespace of the session.
    pub key: String,
    /// Messages a second.
    pub hz: f64,
    /// Bytes of a message, on average.
    pub bytes: f64,
}

/// The robot's clock less ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClockSeen {
    /// ns.
    pub offset_nanos: i64,
    /// How well it is known, ns; not at all where the robot echoes nothing.
    pub bound_nanos: Option<i64>,
}

/// What stands against arming.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// The link itself.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// What those on the network say of themselves.
    #[error(transparent)]
    Peer(Box<PeerProblem>),
    /// States come too seldom.
    #[error(
        "states come at {found_hz:.1} Hz: the control loop brakes below {least_hz:.1} Hz (control_hz / {PERIODS})\n\nhint: raise the \
         publisher's rate, or lower control_hz"
    )]
    Rate {
        /// Measured, Hz.
        found_hz: f64,
        /// Needed, Hz.
        least_hz: f64,
    },
    /// Some messages cannot be used.
    #[error("{refused} of {all} states cannot be used; the last: {last}")]
    Unusable {
        /// How many.
        refused: u64,
        /// Of how many.
        all: u64,
        /// Why.
        last: WireError,
    },
    /// A number of the state is none.
    #[error("the state is not finite: {0:?}")]
    NotFinite(RobotState),
    /// Where it stands it cannot be armed.
    #[error("where it stands it cannot be armed: {0}")]
    Pose(#[from] SafetyError),
    /// It is stopped.
    #[error(
        "its side is in a latched stop ({mode:?}, {cause:?})\n\nhint: look at the robot; then an operator acknowledges or resets it"
    )]
    Latched {
        /// Which.
        mode: RobotMode,
        /// Why.
        cause: StopCause,
    },
    /// Somebody else drives it.
    #[error(
        "another controller sends signs of life on {key} and commands at {command_hz:.1} Hz\n\nhint: end that program"
    )]
    Driven {
        /// Where.
        key: String,
        /// How fast it commands, Hz.
        command_hz: f64,
    },
}

/// What was found.
#[derive(Debug)]
pub struct Survey {
    /// The dialect.
    pub dialect: &'static str,
    /// How long was listened, s.
    pub listened_secs: f64,
    /// Who publishes what, by key.
    pub heard: Vec<Heard>,
    /// ROS nodes and what they publish and subscribe to, one line each.
    pub graph: Vec<String>,
    /// States a second that could be used.
    pub state_hz: f64,
    /// The newest of them.
    pub state: Option<RobotState>,
    /// The clocks.
    pub clock: Option<ClockSeen>,
    /// What the robot's side is doing, where it says so.
    pub mode: Option<RobotMode>,
    /// What stands against arming, if anything does.
    pub obstacles: Vec<Obstacle>,
}

/// What is counted while listening.
#[derive(Debug, Default)]
struct Ear {
    keys: BTreeMap<String, (u64, u64)>,
    usable: u64,
    refused: u64,
    last: Option<WireError>,
    state: Option<RobotState>,
    stamps: OffsetOfStamps,
    offset_nanos: Option<i64>,
}

type SharedEar = Arc<Mutex<Ear>>;

/// Looks at the robot of a contract for so many seconds.
///
/// # Errors
/// When the contract has no link, a setting cannot be used, or nothing is reachable: what is found beyond that is in the survey.
pub fn survey(contract: &RobotContract, secs: f64) -> Result<Survey, LinkError> {
    let link = contract.link.as_ref().ok_or_else(|| LinkError::NoLink { robot: contract.name.clone() })?;
    let dialect = dialect(contract, link)?;
    let (session, _) = SessionConfig::to_robot(link, Purpose::Control).open()?;
    let clock = MonotonicClock::start();
    let ear = listen(&session, dialect.as_ref(), contract, link, clock)?;
    let mut obstacles = Vec::new();
    let supervision = dialect.supervision();
    let mut known = (None, None);
    if let Some(keys) = &supervision {
        match attended(&session, keys, contract, link, clock) {
            Ok((mode, cause, clock_seen)) => {
                known = (Some(mode), Some(clock_seen));
                if mode.is_latched() {
                    obstacles.push(Obstacle::Latched { mode, cause });
                }
            }
            Err(error) => obstacles.push(error.into()),
        }
    }
    clock.sleep_until(clock.now_nanos().saturating_add((secs * 1e9) as i64));
    let tokens = if dialect.expected().is_some() { peers::tokens(&session)? } else { Vec::new() };
    let mut ear = std::mem::take(&mut *ear.lock().unwrap_or_else(PoisonError::into_inner));
    let own = session.zid().to_string();
    if let Some(expected) = dialect.expected() {
        let (state, command) = expected.problems(&tokens, &own);
        obstacles
            .extend([state, command].into_iter().flatten().map(|problem| Obstacle::Peer(Box::new(problem))));
    }
    let heard: Vec<Heard> = std::mem::take(&mut ear.keys)
        .into_iter()
        .map(|(key, (n, bytes))| Heard { key, hz: n as f64 / secs, bytes: bytes as f64 / n.max(1) as f64 })
        .collect();
    let hz = |key: &str| heard.iter().find(|h| h.key == key).map_or(0.0, |h| h.hz);
    if let Some(keys) = &supervision {
        let (key, command_hz) = (keys.controller_heartbeat.key.clone(), hz(&dialect.command().key));
        if hz(&key) > 0.0 {
            obstacles.push(Obstacle::Driven { key, command_hz });
        }
    }
    judge_state(&ear, contract, dialect.as_ref(), secs, &mut obstacles);
    let stamps = ear.offset_nanos.map(|offset_nanos| ClockSeen { offset_nanos, bound_nanos: None });
    Ok(Survey {
        dialect: dialect.name(),
        listened_secs: secs,
        heard,
        graph: tokens.iter().filter(|t| t.node.session != own).map(line).collect(),
        state_hz: ear.usable as f64 / secs,
        state: ear.state,
        clock: known.1.or(stamps),
        mode: known.0,
        obstacles,
    })
}

fn line(token: &Token) -> String {
    let Token { node, endpoint } = token;
    let space = if node.namespace.is_empty() { String::new() } else { format!("/{}", node.namespace) };
    let named = format!("domain {} node {space}/{}", node.domain, node.name);
    endpoint.as_ref().map_or(named.clone(), |e| {
        format!("{named} {} /{}  {}  {}  {}", peers::does(e.kind), e.topic, e.message, e.hash, e.qos)
    })
}

fn listen(
    session: &Session,
    dialect: &dyn Dialect,
    contract: &RobotContract,
    link: &LinkContract,
    clock: MonotonicClock,
) -> Result<SharedEar, LinkError> {
    let ear = SharedEar::default();
    let subscribe = |key: &str, take: Box<dyn Fn(Sample) + Send + Sync>| {
        let declared = session.declare_subscriber(key.to_owned()).callback(take).background().wait();
        declared.map_err(|e| LinkError::zenoh("listening", e))
    };
    let to = ear.clone();
    subscribe(
        "**",
        Box::new(move |sample| {
            let bytes = sample.payload().len() + sample.attachment().map_or(0, |a| a.len());
            let mut ear = to.lock().unwrap_or_else(PoisonError::into_inner);
            let room = ear.keys.len() < MAX_KEYS;
            let key = sample.key_expr().as_str();
            match ear.keys.get_mut(key) {
                Some((n, all)) => (*n, *all) = (*n + 1, *all + bytes as u64),
                None if room => {
                    ear.keys.insert(key.to_owned(), (1, bytes as u64));
                }
                None => {}
            }
        }),
    )?;
    let own = Mutex::new((dialect.codec(&session.zid().to_string())?, StateFrame::new(contract)));
    let (to, allowed) = (ear.clone(), link.max_message_bytes);
    subscribe(
        &dialect.state().key,
        Box::new(move |sample| {
            let received_nanos = clock.now_nanos();
            let Ok(mut own) = own.lock() else { return };
            let (codec, frame) = &mut *own;
            let attachment = sample.attachment().map(|a| a.to_bytes());
            let found = sample.payload().len() + attachment.as_ref().map_or(0, |a| a.len());
            let read = if found > allowed {
                Err(WireError::Oversized { found, allowed })
            } else {
                codec.read_state(&sample.payload().to_bytes(), attachment.as_deref(), frame)
            };
            let mut ear = to.lock().unwrap_or_else(PoisonError::into_inner);
            match read {
                Ok(()) => {
                    ear.usable += 1;
                    ear.state = Some(frame.state.clone());
                    ear.offset_nanos = Some(ear.stamps.observe(frame.meta.stamp_nanos, received_nanos));
                }
                Err(error) => {
                    ear.refused += 1;
                    ear.last = Some(error);
                }
            }
        }),
    )?;
    Ok(ear)
}

/// Whether the robot there is the one of the contract, what its side is doing, and its clock.
fn attended(
    session: &Session,
    keys: &Supervision,
    contract: &RobotContract,
    link: &LinkContract,
    clock: MonotonicClock,
) -> Result<(RobotMode, StopCause, ClockSeen), LinkError> {
    let endpoints = link.endpoints.join(", ");
    check_contract(contract, &describe(session, &keys.contract, &endpoints)?, &endpoints)?;
    let request =
        ModeRequest { op: ModeOp::Status, who: who(session), lease: 0, epoch: 0, contract_hash: [0; 32] };
    let mut offset = ClockOffset::default();
    let mut last = None;
    for _ in 0..EXCHANGES {
        let sent = clock.now_nanos();
        let replies = session.get(keys.mode.as_str()).payload(request.bytes()).timeout(ANSWER).wait();
        let replies = replies.map_err(|e| LinkError::zenoh("asking", e))?;
        let Some(sample) = replies.recv().ok().and_then(|r| r.into_result().ok()) else { continue };
        let returned = clock.now_nanos();
        let reply = ModeReply::read(&sample.payload().to_bytes())
            .map_err(|source| LinkError::Answer { what: "how it is", source })?;
        let (received, answered) = (reply.mono_nanos, reply.mono_nanos);
        offset.observe(Exchange { sent, received, answered, returned });
        last = Some((reply.mode, reply.cause));
    }
    let (Some((mode, cause)), Some(Offset { nanos, bound_nanos })) = (last, offset.offset()) else {
        let waited_ms = ANSWER.as_millis() as u64 * EXCHANGES as u64;
        return Err(LinkError::NoRobot { key: keys.mode.clone(), endpoints, waited_ms });
    };
    Ok((mode, cause, ClockSeen { offset_nanos: nanos, bound_nanos: Some(bound_nanos) }))
}

fn judge_state(
    ear: &Ear,
    contract: &RobotContract,
    dialect: &dyn Dialect,
    secs: f64,
    obstacles: &mut Vec<Obstacle>,
) {
    let (found_hz, least_hz) = (ear.usable as f64 / secs, contract.control_hz / PERIODS);
    let Some(state) = &ear.state else {
        obstacles.push(Obstacle::Link(LinkError::NoState {
            robot: contract.name.clone(),
            key: dialect.state().key,
            waited_ms: (secs * 1e3) as u64,
            last: ear.last.clone(),
        }));
        return;
    };
    if let Some(last) = &ear.last {
        let (refused, all) = (ear.refused, ear.refused + ear.usable);
        obstacles.push(Obstacle::Unusable { refused, all, last: last.clone() });
    }
    if found_hz < least_hz {
        obstacles.push(Obstacle::Rate { found_hz, least_hz });
    }
    if !state.is_finite() {
        obstacles.push(Obstacle::NotFinite(state.clone()));
        return;
    }
    let armed = contract.safety_chain().map_err(|e| Obstacle::Link(e.into()));
    let armed = armed.and_then(|mut chain| match contract.command {
        CommandKind::Motion => Ok(chain.arm_moving(&state.position, &state.velocity)?),
        CommandKind::Effort => Ok(chain.arm(&state.position)?),
    });
    obstacles.extend(armed.err());
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dialect, listened_secs, heard, graph, state_hz, state, clock, mode, obstacles } = self;
        writeln!(f, "dialect {dialect}; listened for {listened_secs} s")?;
        for Heard { key, hz, bytes } in heard {
            writeln!(f, "  {hz:8.1} Hz  {bytes:8.0} B  {key}")?;
        }
        if heard.len() == MAX_KEYS {
            writeln!(f, "  and more: {MAX_KEYS} keys are listed")?;
        }
        for line in graph {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "usable states: {state_hz:.1} Hz")?;
        if let Some(state) = state {
            writeln!(f, "  position {:?}, velocity {:?}", state.position, state.velocity)?;
        }
        match clock {
            None => {}
            Some(ClockSeen { offset_nanos, bound_nanos: Some(bound) }) => {
                let ms = |nanos: &i64| *nanos as f64 * 1e-6;
                writeln!(
                    f,
                    "clock: theirs less ours {:.3} ms, within {:.3} ms",
                    ms(offset_nanos),
                    ms(bound)
                )?;
            }
            Some(ClockSeen { offset_nanos, bound_nanos: None }) => {
                let ms = *offset_nanos as f64 * 1e-6;
                writeln!(f, "clock: theirs less ours {ms:.3} ms, by the stamps of states alone")?;
            }
        }
        if let Some(mode) = mode {
            writeln!(f, "its side: {mode:?}")?;
        }
        for obstacle in obstacles {
            writeln!(f, "stands against arming: {obstacle}")?;
        }
        if obstacles.is_empty() {
            writeln!(f, "nothing stands against arming")?;
        }
        Ok(())
    }
}
