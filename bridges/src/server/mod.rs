//! The robot's side of a link: [`RobotServer`] puts a world behind zenoh, with a filter and a watchdog next to it.
//!
//! ```text
//! zenoh's thread   judges size, decodes -> ring of commands; requests -> queue
//! robot thread     every control period: authority (who, which epoch, in time?) -> GuardedRobot (filter, stop plan) -> ring
//! courier thread   states, signs of life, status, answers -> zenoh; log
//! ```
//! The robot thread never calls zenoh. Whatever comes over the network, in whatever order, what the robot does stays inside its limits.

pub mod authority;
mod courier;
mod listen;
mod log;
mod side;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use surefoot_core::clock::MonotonicClock;
use surefoot_core::contract::LinkContract;
use surefoot_core::{GuardedRobot, Robot, RobotContract, RobotError, RobotState, Stamp, World, recycled};
use surefoot_safety::SafeCommand;
use zenoh::{Session, Wait};

use crate::dialects::native::COMMAND_PLACES;
use crate::dialects::{CommandFrame, dialect};
use crate::error::LinkError;
use crate::robot::Description;
use crate::session::SessionConfig;
use crate::wire::SafetyStatus;

use authority::{Authority, AuthorityConfig};
use courier::{Courier, Outgoing};
use listen::{Inbox, Served};
use side::RobotSide;

pub use log::ExecutedTick;

/// A controller that was silent for so long has lost the robot, ns.
const LEASE_NANOS: i64 = 1_000_000_000;
/// States on their way to the courier.
const STATES: usize = 16;

/// How a robot is served.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Dialect, names, timeouts. Its endpoints are not used here: `session` says where.
    pub link: LinkContract,
    /// How to take part: where to listen or connect, and with which session file.
    pub session: SessionConfig,
    /// How far measured positions may be beyond a limit that the commanded ones keep, rad or m.
    pub tracking_tolerance: f64,
    /// Whether its scene may be put back by whoever drives it.
    pub resettable: bool,
    /// Where every control period is written, one JSON object a line.
    pub log: Option<PathBuf>,
}

/// A robot behind zenoh, until it is stopped or dropped.
pub struct RobotServer {
    endpoints: Vec<String>,
    wiring: Vec<String>,
    served: Arc<Served>,
    robot: Option<JoinHandle<()>>,
    courier: Option<JoinHandle<Result<(), std::io::Error>>>,
    log: Option<PathBuf>,
    session: Session,
    _tokens: Vec<zenoh::liveliness::LivelinessToken>,
}

impl RobotServer {
    /// Serves a world: real time begins now.
    ///
    /// # Errors
    /// When the contract and the dialect do not fit, the endpoint cannot be listened on, or the log cannot be written.
    pub fn start(world: Box<dyn World>, config: &ServeConfig) -> Result<Self, LinkError> {
        let ServeConfig { link, session, tracking_tolerance, resettable, log } = config;
        let contract = RobotContract { link: None, ..world.contract().clone() };
        let dialect = dialect(&contract, link)?;
        let guard = GuardedRobot::new(world, *tracking_tolerance)?.live();
        let log_lines = log.as_deref().map(log::Lines::create).transpose()?;
        let (session, endpoints) = session.open()?;
        let zid = session.zid().to_string();
        let boot_id = crate::robot::who(&session);
        let hash = blake3::Hash::from_hex(contract.hash()).map_or([0; 32], |h| *h.as_bytes());
        let authority = Authority::new(AuthorityConfig {
            contract_hash: hash,
            boot_id,
            secret: session.zid().to_le_bytes().last_chunk().map_or(0, |b| u64::from_le_bytes(*b)),
            command_timeout_nanos: i64::from(link.command_timeout_ms) * 1_000_000,
            lease_timeout_nanos: LEASE_NANOS.max(4_000_000 * i64::from(link.command_timeout_ms)),
            open: dialect.supervision().is_none(),
        });
        let served = Arc::new(Served::new(SafetyStatus {
            mode: authority.mode(),
            cause: authority.cause(),
            epoch: 0,
            at_rest: true,
            counters: *authority.counters(),
            margins: Vec::new(),
        }));
        let description = Description {
            contract_hash: contract.hash(),
            contract: contract.clone(),
            resettable: *resettable,
            boot_id,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let (commands, incoming) = recycled::queue(COMMAND_PLACES, || CommandFrame::with_room(&contract, 64));
        let (ops, asked) = mpsc::channel();
        let (answers, to_answer) = mpsc::channel();
        let (outgoing, states) = recycled::queue(STATES, || Outgoing::new(&contract));
        let clock = MonotonicClock::start();
        let courier = Courier {
            served: served.clone(),
            states,
            answers: to_answer,
            state: dialect.state().publisher(&session)?,
            beats: dialect.supervision().map(|k| k.robot_heartbeat.publisher(&session)).transpose()?,
            safety: dialect.supervision().map(|k| k.safety.publisher(&session)).transpose()?,
            codec: dialect.codec(&zid)?,
            limits: guard.limits().to_vec(),
            boot_id,
            log: log_lines,
            clock,
        };
        let thread = |source| LinkError::Thread { source };
        let courier = std::thread::Builder::new()
            .name("courier".into())
            .spawn(move || courier.run())
            .map_err(thread)?;
        let side = RobotSide {
            guard,
            authority,
            commands: incoming,
            ops: asked,
            answers,
            outgoing,
            courier: courier.thread().clone(),
            served: served.clone(),
            clock,
            missed: 0,
        };
        let inbox = Inbox { served: served.clone(), contract, link: link.clone(), description, clock };
        inbox.declare(&session, dialect.as_ref(), commands, ops)?;
        let tokens = crate::robot::declare_tokens(&session, dialect.robot_tokens(&zid)?)?;
        let robot =
            std::thread::Builder::new().name("robot".into()).spawn(move || side.run()).map_err(thread)?;
        let mut wiring = vec![format!("dialect {}", dialect.name())];
        wiring.extend([dialect.state(), dialect.command()].iter().map(ToString::to_string));
        Ok(Self {
            endpoints,
            wiring,
            served,
            robot: Some(robot),
            courier: Some(courier),
            log: log.clone(),
            session,
            _tokens: tokens,
        })
    }

    /// Where others meet it: what it listens at, with ports, or else the router that it connects to.
    #[must_use]
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }
    /// The resolved quality of service of each key, one line each.
    #[must_use]
    pub fn wiring(&self) -> &[String] {
        &self.wiring
    }
    /// How it is.
    #[must_use]
    pub fn status(&self) -> SafetyStatus {
        self.served.status()
    }
    /// Whether it has ended by itself.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.robot.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Brings the robot to rest and ends.
    ///
    /// # Errors
    /// When the log could not be written to its end.
    pub fn stop(mut self) -> Result<SafetyStatus, LinkError> {
        self.end()?;
        Ok(self.served.status())
    }

    fn end(&mut self) -> Result<(), LinkError> {
        self.served.ending.store(true, Ordering::Release);
        if let Some(robot) = self.robot.take() {
            // What it did until then stands in the log.
            let _ = robot.join();
        }
        let Some(courier) = self.courier.take() else { return Ok(()) };
        courier.thread().unpark();
        let written = courier.join().unwrap_or(Ok(()));
        // Told that it is over, not left to find out.
        let _ = self.session.close().wait();
        written.map_err(|source| LinkError::Log { path: self.log.clone().unwrap_or_default(), source })
    }
}

impl Drop for RobotServer {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.end();
    }
}

/// A robot whose scene only a person can put back: for serving what is no simulation.
pub struct RealRobot(pub Box<dyn Robot>);

impl Robot for RealRobot {
    fn contract(&self) -> &RobotContract {
        self.0.contract()
    }
    fn read(&mut self, state: &mut RobotState) -> Result<Stamp, RobotError> {
        self.0.read(state)
    }
    fn write(&mut self, command: SafeCommand<'_>) -> Result<(), RobotError> {
        self.0.write(command)
    }
    fn without_command(&mut self) -> Result<(), RobotError> {
        self.0.without_command()
    }
    fn stop(&mut self) -> Result<(), RobotError> {
        self.0.stop()
    }
    fn acknowledge(&mut self) -> Result<(), RobotError> {
        self.0.acknowledge()
    }
}

impl World for RealRobot {
    fn vary(&mut self, _seed: u64) {}
    fn reset(&mut self, _initial: &RobotState) -> Result<(), RobotError> {
        let reason = "it is no simulation: a person puts its scene back".into();
        Err(RobotError::Reset { robot: self.0.contract().name.clone(), reason })
    }
}
