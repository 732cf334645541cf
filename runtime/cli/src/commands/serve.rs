//! `surefoot serve`: a simulated robot behind zenoh, as a process of its own.

use std::path::Path;

use anyhow::{Context, anyhow};
use serde::Deserialize;
use surefoot_bridges::wire::SafetyStatus;
use surefoot_bridges::{Endpoints, Purpose, RobotServer, ServeConfig, SessionConfig};
use surefoot_core::clock::MonotonicClock;
use surefoot_core::contract::{LinkContract, LinkDialect, NativeLink, RmwZenohLink, Ros2ddsLink};
use surefoot_core::{FaultyRobot, Robot, RobotContract, ScheduledFault, World};
use surefoot_sim::arm::TRACKING_TOLERANCE_RAD;

use crate::args::{DialectName, ServeArgs};
use crate::commands::train::on_interrupt;
use crate::composition::{self, link_failure};
use crate::config;
use crate::failure::{CommandResult, Failure, usage};
use crate::new_file::NewFile;
use crate::output::Output;

/// Where a robot is served, if nothing is said: on this machine, at a port that the system chooses.
const ANY_PORT: &str = "tcp/127.0.0.1:0";
/// Between two looks at a wish to end, ns.
const LOOK_NANOS: i64 = 20_000_000;

/// Faults of a rehearsal.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Faults {
    faults: Vec<ScheduledFault>,
}

/// Runs the verb.
pub fn run(args: &ServeArgs, output: Output) -> CommandResult {
    let env = config::local_env(&args.env, &args.overrides)?;
    let (_, world) = composition::robot_parts(&env)?;
    let link = link_of(args, world.contract())?;
    let world: Box<dyn World> = match &args.faults {
        None => world,
        Some(path) => {
            let joints = world.contract().joints.len();
            Box::new(FaultyRobot::new(world, read_faults(path, joints)?, 0))
        }
    };
    let contract = RobotContract { link: None, ..world.contract().clone() };
    let write_to = args.write_contract.as_deref().map(NewFile::create).transpose()?;
    let interrupt = on_interrupt()?;
    let config = ServeConfig {
        session: SessionConfig {
            namespace: link.namespace.clone(),
            ..SessionConfig::new(endpoints(args, &link), Purpose::Control)
        },
        link: link.clone(),
        tracking_tolerance: TRACKING_TOLERANCE_RAD,
        resettable: true,
        log: args.log.clone(),
    };
    let server = RobotServer::start(world, &config).map_err(link_failure)?;
    if let Some(file) = write_to {
        let link = LinkContract { endpoints: server.endpoints().to_vec(), session: None, ..link };
        let attached = RobotContract { link: Some(link), ..contract.clone() };
        let text = toml::to_string(&attached).context("cannot write the contract")?;
        output.note(&format!("contract {}", file.write_whole(text.as_bytes())?.display()));
    }
    server.wiring().iter().for_each(|line| output.note(&format!("  {line}")));
    if output.json() {
        output.value(&serde_json::json!({
            "event": "serving", "robot": contract.name, "endpoints": server.endpoints(),
            "contract_hash": contract.hash(), "wiring": server.wiring(),
        }));
    } else {
        output.line(&format!("serving {} at {}", contract.name, server.endpoints().join(", ")));
    }
    let clock = MonotonicClock::start();
    while !interrupt.requested() && !server.is_finished() {
        clock.sleep_until(clock.now_nanos() + LOOK_NANOS);
    }
    let status = server.stop().map_err(link_failure)?;
    tell(&status, output);
    if status.counters.violations > 0 {
        return Err(anyhow!(
            "limits were broken {} times, by what was commanded or measured",
            status.counters.violations
        )
        .into());
    }
    Ok(())
}

fn tell(status: &SafetyStatus, output: Output) {
    let SafetyStatus { mode, cause, epoch, at_rest, counters, margins: _ } = status;
    if output.json() {
        output.value(&serde_json::json!({
            "event": "served", "mode": mode, "cause": cause, "epochs": epoch, "at_rest": at_rest,
            "counters": counters,
        }));
    } else {
        let c = counters;
        output.line(&format!(
            "served {} periods in {epoch} epochs: {} commands followed, {} periods bridged by a stop plan, {} violations; \
             refused: {} of another epoch, {} of another controller, {} out of order, {} late, {} unreadable",
            c.ticks, c.executed, c.missed, c.violations, c.refused_epoch, c.refused_lease, c.refused_order,
            c.refused_late, c.refused_malformed,
        ));
    }
}

/// Where the robot is met. One behind a router listens nowhere, unless it is told to.
fn endpoints(args: &ServeArgs, link: &LinkContract) -> Endpoints {
    let anywhere = || args.connect.is_empty().then(|| ANY_PORT.to_owned());
    Endpoints {
        listen: args.listen.clone().or_else(anywhere).into_iter().collect(),
        connect: args.connect.clone(),
        file: link.session.clone(),
    }
}

/// The link of the contract that was given, of the same robot; otherwise the defaults.
fn link_of(args: &ServeArgs, world: &RobotContract) -> Result<LinkContract, Failure> {
    let mut link = match &args.robot {
        // Its endpoints are those that come of serving.
        None => LinkContract::at(ANY_PORT),
        Some(path) => {
            let contract = composition::robot_contract(path)?;
            if contract.hash() != world.hash() {
                return Err(usage(anyhow!(
                    "{} is the contract of another robot than the one of {} ({})",
                    path.display(),
                    args.env,
                    world.name
                )));
            }
            contract.link.unwrap_or_else(|| LinkContract::at(ANY_PORT))
        }
    };
    if let Some(dialect) = args.dialect {
        link.dialect = match dialect {
            DialectName::Native => LinkDialect::Native(NativeLink::default()),
            DialectName::RmwZenoh => LinkDialect::RmwZenoh(RmwZenohLink::default()),
            DialectName::Ros2dds => LinkDialect::Ros2dds(Ros2ddsLink::default()),
        };
    }
    if let Some(namespace) = &args.namespace {
        link.namespace = Some(namespace.clone());
    }
    Ok(link)
}

fn read_faults(path: &Path, joints: usize) -> Result<Vec<ScheduledFault>, Failure> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read {}", path.display()))
        .map_err(usage)?;
    let read: Result<Faults, _> = toml::from_str(&text);
    let faults = read.with_context(|| format!("{}", path.display())).map_err(usage)?.faults;
    for (i, fault) in faults.iter().enumerate() {
        fault.check(joints).map_err(|why| usage(anyhow!("{}: faults[{i}]: {why}", path.display())))?;
    }
    Ok(faults)
}
