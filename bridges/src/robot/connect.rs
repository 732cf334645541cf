//! Attaching a robot: who is there, is it the robot of the contract, does it tell its state, and may it be driven.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use surefoot_core::clock::MonotonicClock;
use surefoot_core::contract::LinkContract;
use surefoot_core::{RobotContract, recycled};
use zenoh::liveliness::LivelinessToken;
use zenoh::sample::Sample;
use zenoh::{Session, Wait};

use crate::clock_offset::{ClockOffset, Exchange, OffsetOfStamps};
use crate::dialects::{Codec, CommandFrame, Dialect, StateFrame, Supervision, dialect};
use crate::error::{LinkError, WireError};
use crate::robot::ZenohRobot;
use crate::robot::link_thread::{Heard, LinkThread, Supervisor};
use crate::robot::scene::SceneClient;
use crate::robot::status::{LinkStatus, Shared, UNKNOWN_BOUND, count};
use crate::ros2::{PeerProblem, peers};
use crate::session::{Purpose, SessionConfig};
use crate::wire::{Heartbeat, Message, ModeOp, ModeReply, ModeRequest};

/// How long to wait for anything while attaching.
const PATIENCE_MS: u64 = 5000;
/// An answer that has not come by then is asked for again.
const ANSWER: Duration = Duration::from_millis(500);
/// Between two looks while waiting, ns.
const LOOK_NANOS: i64 = 2_000_000;
/// Commands on their way to the link thread.
const COMMANDS: usize = 8;
/// Exchanges that fix the offset of the clocks before anything is commanded.
const EXCHANGES: usize = 5;

/// What a served robot says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Its contract, without its address.
    pub contract: RobotContract,
    /// Hash of that.
    pub contract_hash: String,
    /// Whether its scene can be put back: a simulated robot.
    pub resettable: bool,
    /// Drawn anew at each start.
    pub boot_id: u64,
    /// Version of the program that serves it.
    pub version: String,
}

/// A robot that is attached.
pub struct Attached {
    /// The robot.
    pub robot: ZenohRobot,
    /// Puts its scene back, where it has one that can be.
    pub scene: Option<SceneClient>,
    /// A look at the link from outside.
    pub status: LinkStatus,
    /// The session, for whatever else is to go over it.
    pub session: Session,
    /// What the robot says of itself; `None` where the dialect has no such thing.
    pub description: Option<Description>,
}

/// Asks a robot who it is, without driving it.
///
/// # Errors
/// When nobody answers, or the answer cannot be read.
pub fn describe(session: &Session, key: &str, endpoints: &str) -> Result<Description, LinkError> {
    let bytes = ask(session, key, None, endpoints)?;
    serde_json::from_slice(&bytes).map_err(|e| LinkError::Answer {
        what: "who it is",
        source: WireError::Malformed { what: "the description", reason: e.to_string() },
    })
}

/// A query that is asked again until somebody answers.
fn ask(session: &Session, key: &str, payload: Option<&[u8]>, endpoints: &str) -> Result<Vec<u8>, LinkError> {
    let clock = MonotonicClock::start();
    let until = clock.now_nanos() + PATIENCE_MS as i64 * 1_000_000;
    while clock.now_nanos() < until {
        let mut get = session.get(key).timeout(ANSWER);
        if let Some(payload) = payload {
            get = get.payload(payload);
        }
        let replies = get.wait().map_err(|e| LinkError::zenoh("asking", e))?;
        while let Ok(reply) = replies.recv() {
            if let Ok(sample) = reply.result() {
                return Ok(sample.payload().to_bytes().into_owned());
            }
        }
        clock.sleep_until(clock.now_nanos() + LOOK_NANOS);
    }
    Err(LinkError::NoRobot { key: key.to_owned(), endpoints: endpoints.to_owned(), waited_ms: PATIENCE_MS })
}

/// The first place where two contracts differ, and what stands there.
fn first_difference(
    path: &str,
    ours: &serde_json::Value,
    theirs: &serde_json::Value,
) -> Option<(String, String, String)> {
    use serde_json::Value::{Array, Object};
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (ours, theirs) {
        (Object(a), Object(b)) => {
            let null = serde_json::Value::Null;
            let keys = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k)));
            let pairs = keys.map(|k| (k, a.get(k).unwrap_or(&null), b.get(k).unwrap_or(&null)));
            pairs.into_iter().find_map(|(k, a, b)| first_difference(&below(k), a, b))
        }
        (Array(a), Array(b)) if path == "joints" || path == "channels" => {
            let names = |row: &[serde_json::Value]| {
                row.iter().filter_map(|j| j["name"].as_str()).collect::<Vec<_>>().join(", ")
            };
            if names(a) != names(b) {
                return Some((format!("names of {path}"), names(a), names(b)));
            }
            a.iter().zip(b).find_map(|(a, b)| {
                let name = a["name"].as_str().unwrap_or("?");
                first_difference(&format!("{path} {name}"), a, b)
            })
        }
        _ if ours == theirs => None,
        _ => Some((path.to_owned(), ours.to_string(), theirs.to_string())),
    }
}

pub(crate) fn check_contract(
    ours: &RobotContract,
    theirs: &Description,
    endpoints: &str,
) -> Result<(), LinkError> {
    let acts = |contract: &RobotContract| {
        serde_json::to_value(RobotContract { link: None, ..contract.clone() }).unwrap_or_default()
    };
    if ours.hash() == theirs.contract.hash() {
        return Ok(());
    }
    let (what, expected, found) = first_difference("", &acts(ours), &acts(&theirs.contract))
        .unwrap_or_else(|| ("contract hash".into(), ours.hash(), theirs.contract_hash.clone()));
    Err(LinkError::Contract { endpoints: endpoints.to_owned(), what, expected, found })
}

/// Most rows that a command of this robot can have.
fn most_rows(contract: &RobotContract) -> Result<usize, LinkError> {
    let chain = contract.safety_chain()?;
    let h = contract.control_secs();
    let braking = |l: &surefoot_safety::JointLimits| (l.max_velocity() / (l.max_deceleration() * h)).ceil();
    let braking = chain.limits().iter().map(braking).fold(0.0, f64::max) as usize;
    Ok(2 + chain.certified().map_or(braking, |filter| filter.max_stop_ticks()))
}

/// Attaches the robot of a contract: opens a session, checks that the robot there is the one of the contract, that its state comes with
/// every joint by name, and takes it for this program alone.
///
/// # Errors
/// When any of that fails; says what was expected, what was found and how to mend it.
pub fn attach(contract: &RobotContract) -> Result<Attached, LinkError> {
    let link = contract.link.as_ref().ok_or_else(|| LinkError::NoLink { robot: contract.name.clone() })?;
    check_timeouts(link)?;
    let dialect = dialect(contract, link)?;
    let (session, _) = SessionConfig::to_robot(link, Purpose::Control).open()?;
    attach_over(contract, link, dialect.as_ref(), session)
}

fn check_timeouts(link: &LinkContract) -> Result<(), LinkError> {
    for (key, value) in
        [("state_timeout_ms", link.state_timeout_ms), ("command_timeout_ms", link.command_timeout_ms)]
    {
        if !(1..=60_000).contains(&value) {
            return Err(LinkError::Setting { key, expected: "1 to 60000", found: value.to_string() });
        }
    }
    Ok(())
}

fn attach_over(
    contract: &RobotContract,
    link: &LinkContract,
    dialect: &dyn Dialect,
    session: Session,
) -> Result<Attached, LinkError> {
    let endpoints = link.endpoints.join(", ");
    let zid = session.zid().to_string();
    let supervision = dialect.supervision();
    let description =
        supervision.as_ref().map(|keys| describe(&session, &keys.contract, &endpoints)).transpose()?;
    if let Some(description) = &description {
        check_contract(contract, description, &endpoints)?;
    }
    let clock = MonotonicClock::start();
    let shared = Arc::new(Shared::new(StateFrame::new(contract)));
    listen(&session, dialect, contract, link, &shared, dialect.codec(&zid)?)?;
    let tokens = declare_tokens(&session, dialect.controller_tokens(&zid)?)?;
    let publisher = dialect.command().publisher(&session)?;
    let heard = wait_for_state(&shared, contract, &dialect.state().key, clock);
    if let Some(expected) = dialect.expected() {
        let tokens = peers::tokens(&session)?;
        let (state, command) = expected.problems(&tokens, &zid);
        let peer = |problem| LinkError::Peer { endpoints: endpoints.clone(), problem: Box::new(problem) };
        match (&heard, state, command) {
            (Err(_), Some(problem), _) => return Err(peer(problem)),
            // Whoever would hear none of our commands: nobody may be there yet.
            (_, _, Some(problem @ (PeerProblem::Type { .. } | PeerProblem::Hash { .. }))) => {
                return Err(peer(problem));
            }
            _ => {}
        }
    }
    heard?;
    let supervisor = match &supervision {
        Some(keys) => Some(claim(&session, keys, contract, &shared, clock, &endpoints)?),
        None => None,
    };
    let mut wiring = vec![format!("dialect {}", dialect.name())];
    wiring.extend([dialect.state(), dialect.command()].iter().map(ToString::to_string));
    if let Some(Supervision { robot_heartbeat, controller_heartbeat, estop, safety, .. }) = &supervision {
        wiring.extend([robot_heartbeat, controller_heartbeat, estop, safety].map(ToString::to_string));
    }
    let rows = most_rows(contract)?;
    let (commands, receiver) = recycled::queue(COMMANDS, || CommandFrame::with_room(contract, rows));
    let supervised = supervisor.is_some();
    let thread = LinkThread {
        session: session.clone(),
        shared: shared.clone(),
        commands: receiver,
        publisher,
        codec: dialect.codec(&zid)?,
        clock,
        supervision: supervisor,
    };
    let started = std::thread::Builder::new().name("link".into()).spawn(move || thread.run());
    let robot = ZenohRobot {
        contract: contract.clone(),
        shared: shared.clone(),
        commands,
        link: Some(started.map_err(|source| LinkError::Thread { source })?),
        clock,
        frame: StateFrame::new(contract),
        state_timeout_nanos: i64::from(link.state_timeout_ms) * 1_000_000,
        command_timeout_nanos: i64::from(link.command_timeout_ms) * 1_000_000,
        supervised,
        seq: 0,
        epoch: 0,
        arming_since: None,
        _tokens: tokens,
    };
    let resettable = description.as_ref().is_some_and(|d| d.resettable);
    let scene = match &supervision {
        Some(keys) if resettable => Some(SceneClient::new(
            session.clone(),
            keys.scene.clone(),
            dialect.codec(&zid)?,
            contract,
            shared.clone(),
        )),
        _ => None,
    };
    let status = LinkStatus { shared, robot: contract.name.clone(), wiring };
    Ok(Attached { robot, scene, status, session, description })
}

/// Declares liveliness tokens; they live as long as what is given back.
pub(crate) fn declare_tokens(
    session: &Session,
    tokens: Vec<String>,
) -> Result<Vec<LivelinessToken>, LinkError> {
    let declare = |token: String| {
        let declared = session.liveliness().declare_token(token).wait();
        declared.map_err(|e| LinkError::zenoh("declaring a liveliness token", e))
    };
    tokens.into_iter().map(declare).collect()
}

/// Listens to the robot's state: judged and decoded on zenoh's thread, which puts it into the mailbox and does nothing else.
fn listen(
    session: &Session,
    dialect: &dyn Dialect,
    contract: &RobotContract,
    link: &LinkContract,
    shared: &Arc<Shared>,
    codec: Box<dyn Codec>,
) -> Result<(), LinkError> {
    let (shared, max_bytes) = (shared.clone(), link.max_message_bytes);
    let clock = MonotonicClock::start();
    let own = Mutex::new((codec, StateFrame::new(contract), (0_u64, 0_u64)));
    let by_stamps = dialect.supervision().is_none().then(|| Mutex::new(OffsetOfStamps::default()));
    session
        .declare_subscriber(dialect.state().key)
        .callback(move |sample: Sample| {
            let received_nanos = clock.now_nanos();
            let Ok(mut own) = own.lock() else { return };
            let (codec, frame, (boot, seq)) = &mut *own;
            let (payload, attachment) = (sample.payload(), sample.attachment());
            let bytes = payload.len() + attachment.map_or(0, |a| a.len());
            let counters = &shared.counters;
            if bytes > max_bytes {
                count(&counters.oversized);
                return shared.note(WireError::Oversized { found: bytes, allowed: max_bytes });
            }
            let attachment = attachment.map(|a| a.to_bytes());
            if let Err(error) = codec.read_state(&payload.to_bytes(), attachment.as_deref(), frame) {
                count(&counters.malformed);
                return shared.note(error);
            }
            if frame.meta.boot_id == *boot && frame.meta.seq <= *seq {
                return count(&counters.late);
            }
            (*boot, *seq) = (frame.meta.boot_id, frame.meta.seq);
            frame.received_nanos = received_nanos;
            shared.hear(&frame.meta);
            if let Some(mut offset) = by_stamps.as_ref().and_then(|o| o.lock().ok()) {
                let offset = offset.observe(frame.meta.stamp_nanos, received_nanos);
                shared.offset_nanos.store(offset, Ordering::Relaxed);
                shared.offset_bound_nanos.store(UNKNOWN_BOUND, Ordering::Relaxed);
            }
            count(&counters.received);
            counters.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            if shared.states.put(frame) {
                count(&counters.overtaken);
            }
        })
        .background()
        .wait()
        .map_err(|e| LinkError::zenoh("subscribing to the state", e))
}

fn wait_for_state(
    shared: &Shared,
    contract: &RobotContract,
    key: &str,
    clock: MonotonicClock,
) -> Result<(), LinkError> {
    let until = clock.now_nanos() + PATIENCE_MS as i64 * 1_000_000;
    while shared.counters.received.load(Ordering::Relaxed) == 0 {
        if clock.now_nanos() > until {
            return Err(LinkError::NoState {
                robot: contract.name.clone(),
                key: key.to_owned(),
                waited_ms: PATIENCE_MS,
                last: shared.last_error(),
            });
        }
        clock.sleep_until(clock.now_nanos() + LOOK_NANOS);
    }
    Ok(())
}

/// Takes the robot for this program alone, and measures the offset of its clock by the way.
fn claim(
    session: &Session,
    keys: &Supervision,
    contract: &RobotContract,
    shared: &Arc<Shared>,
    clock: MonotonicClock,
    endpoints: &str,
) -> Result<Supervisor, LinkError> {
    let heard = Arc::new(Mutex::new(Heard::default()));
    let slot = heard.clone();
    session
        .declare_subscriber(keys.robot_heartbeat.key.clone())
        .callback(move |sample: Sample| {
            let received_nanos = clock.now_nanos();
            if let (Ok(beat), Ok(mut slot)) = (Heartbeat::read(&sample.payload().to_bytes()), slot.lock()) {
                *slot = Heard { beat, received_nanos };
            }
        })
        .background()
        .wait()
        .map_err(|e| LinkError::zenoh("subscribing to signs of life", e))?;
    let mut supervisor = Supervisor {
        mode_key: keys.mode.clone(),
        clear_key: keys.clear.clone(),
        beats: keys.controller_heartbeat.publisher(session)?,
        heard,
        who: who(session),
        lease: 0,
        contract_hash: *blake3::Hash::from_hex(contract.hash()).map_or([0; 32].into(), |h| h).as_bytes(),
        clock_offset: ClockOffset::default(),
    };
    for _ in 0..EXCHANGES {
        let request = ModeRequest {
            op: ModeOp::Claim,
            who: supervisor.who,
            lease: supervisor.lease,
            epoch: 0,
            contract_hash: supervisor.contract_hash,
        };
        let sent = clock.now_nanos();
        let bytes = ask(session, &keys.mode, Some(&request.bytes()), endpoints)?;
        let returned = clock.now_nanos();
        let reply = ModeReply::read(&bytes)
            .map_err(|source| LinkError::Answer { what: "being its controller", source })?;
        if let Some(refusal) = reply.refusal {
            return Err(LinkError::Refused { robot: contract.name.clone(), refusal });
        }
        let (received, answered) = (reply.mono_nanos, reply.mono_nanos);
        supervisor.clock_offset.observe(Exchange { sent, received, answered, returned });
        supervisor.take(shared, ModeOp::Claim, &reply);
    }
    supervisor.publish_offset(shared);
    Ok(supervisor)
}

/// Drawn anew by each session: zenoh's own id is.
pub(crate) fn who(session: &Session) -> u64 {
    let id = session.zid().to_le_bytes();
    id.first_chunk().map_or(1, |b| u64::from_le_bytes(*b)).max(1)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn contract(name: &str, velocity: f64) -> RobotContract {
        let text = format!(
            "name = \"r\"\ncontrol_hz = 100.0\npolicy_hz = 10.0\n[[joints]]\nname = \"{name}\"\nunit = \"rad\"\n\
             min_position = -1.0\nmax_position = 1.0\nmax_velocity = {velocity:.1}\nmax_acceleration = 5.0\n"
        );
        RobotContract::parse(&text, Path::new("r.toml")).unwrap()
    }

    #[test]
    fn another_contract_is_told_by_its_first_difference() {
        let describe = |contract: RobotContract| Description {
            contract_hash: contract.hash(),
            contract,
            resettable: true,
            boot_id: 1,
            version: String::new(),
        };
        let ours = contract("a", 2.0);
        let told = |theirs: RobotContract| {
            check_contract(&ours, &describe(theirs), "tcp/x:1").map_err(|e| e.to_string())
        };
        assert_eq!(told(ours.clone()), Ok(()));
        let elsewhere = RobotContract { link: Some(LinkContract::at("tcp/y:1")), ..ours.clone() };
        assert_eq!(told(elsewhere), Ok(()));
        let names = told(contract("b", 2.0)).unwrap_err();
        assert!(names.contains("names of joints: expected a, found b"), "{names}");
        let limit = told(contract("a", 3.0)).unwrap_err();
        assert!(limit.contains("joints a.max_velocity: expected 2.0, found 3.0"), "{limit}");
    }

    #[test]
    fn a_command_has_room_for_the_longest_stop() {
        let ours = contract("a", 2.0);
        let mut chain = ours.safety_chain().unwrap();
        chain.arm(&[-0.9]).unwrap();
        let most = most_rows(&ours).unwrap();
        let mut longest = 0;
        for _ in 0..100 {
            longest = longest.max(chain.admit(&[9.0]).stop_plan().ticks() + 1);
        }
        assert!(longest > 20 && longest <= most, "{longest} of {most}");
    }
}
