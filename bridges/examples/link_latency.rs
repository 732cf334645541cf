//! What a link costs: from a state to the command that answers it and its execution, beside a bare zenoh ping-pong of the same sizes in
//! the same process; bytes and allocations per control period; and the time from the loss of the link to standstill.
//!
//! ```sh
//! cargo run --release -p surefoot-bridges --example link_latency -- 20
//! ```
//! Everything is on one machine: robot's side, controller and network stack share its cores.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc;

use surefoot_bridges::dialects::{Codec, CommandFrame, Packet, StateFrame, native::NativeCodec};
use surefoot_bridges::server::ExecutedTick;
use surefoot_bridges::wire::{Message, StateMeta};
use surefoot_bridges::{Attached, Purpose, RealRobot, RobotServer, ServeConfig, SessionConfig, attach};
use surefoot_core::clock::MonotonicClock;
use surefoot_core::contract::LinkContract;
use surefoot_core::{IdealRobot, Robot, RobotContract, RobotState};
use zenoh::sample::Sample;
use zenoh::{Session, Wait};

type Failure = Box<dyn Error + Send + Sync>;

fn contract(hz: f64) -> Result<RobotContract, Failure> {
    let joint = |n: usize| {
        format!(
            "[[joints]]\nname = \"joint{n}\"\nunit = \"rad\"\nmin_position = -2.75\nmax_position = 2.75\n\
             max_velocity = 1.5\nmax_acceleration = 15.0\n"
        )
    };
    let joints: String = (1..=7).map(joint).collect();
    let text = format!("name = \"arm\"\ncontrol_hz = {hz:.1}\npolicy_hz = {hz:.1}\n{joints}");
    Ok(RobotContract::parse(&text, Path::new("arm.toml"))?)
}

/// p50, p99, p99.9 and the largest, us.
fn quantiles(mut nanos: Vec<i64>) -> String {
    nanos.sort_unstable();
    let at = |q: f64| {
        nanos.get((q * nanos.len() as f64) as usize).or(nanos.last()).map_or(0.0, |n| *n as f64 * 1e-3)
    };
    format!(
        "p50 {:7.0}  p99 {:7.0}  p99.9 {:7.0}  max {:7.0} us  (n {})",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        nanos.len()
    )
}

/// A robot's side, its log, and where it listens.
fn serve(contract: &RobotContract, log: &Path) -> Result<RobotServer, Failure> {
    let config = ServeConfig {
        link: LinkContract::at("tcp/127.0.0.1:0"),
        session: SessionConfig::listening("tcp/127.0.0.1:0", None),
        tracking_tolerance: 1e-9,
        resettable: false,
        log: Some(log.to_owned()),
    };
    Ok(RobotServer::start(Box::new(RealRobot(Box::new(IdealRobot::new(contract.clone()).live()))), &config)?)
}

/// Sizes of a state and a command of this robot at full speed, as packets.
fn packets(contract: &RobotContract) -> Result<(Packet, Packet), Failure> {
    let mut codec = NativeCodec::new(contract);
    let (mut state, mut command) = (Packet::default(), Packet::default());
    codec.write_state(&StateFrame::new(contract), &mut state)?;
    let mut chain = contract.safety_chain()?;
    chain.arm(&vec![-2.0; contract.joints.len()])?;
    for _ in 0..200 {
        chain.admit(&vec![9.0; contract.joints.len()]);
    }
    let mut frame = CommandFrame::with_room(contract, 64);
    let admitted = chain.admit(&vec![9.0; contract.joints.len()]);
    admitted.stop_plan().extend_rows(contract.joints.len(), &mut frame.rows);
    codec.write_command(&frame, &mut command)?;
    Ok((state, command))
}

/// A bare ping-pong: a state's bytes one way, a command's bytes back, paced at the same rate.
fn bare(contract: &RobotContract, hz: f64, secs: f64) -> Result<Vec<i64>, Failure> {
    let (state, command) = packets(contract)?;
    let (listener, endpoints) = SessionConfig::listening("tcp/127.0.0.1:0", None).open()?;
    let link = LinkContract::at(&endpoints[0]);
    let (session, _) = SessionConfig::to_robot(&link, Purpose::Control).open()?;
    let realtime = |session: &Session, key: &'static str| {
        session
            .declare_publisher(key)
            .priority(zenoh::qos::Priority::RealTime)
            .congestion_control(zenoh::qos::CongestionControl::Drop)
            .express(true)
            .wait()
    };
    let pong = realtime(&session, "bare/pong")?;
    let bytes = command;
    // Answered on a thread of its own, as a control loop would: never inside a callback.
    let (heard, pings) = mpsc::channel::<()>();
    let answering = std::thread::spawn(move || {
        while pings.recv().is_ok() {
            let put = pong.put(bytes.payload.as_slice()).attachment(bytes.attachment.as_slice());
            if put.wait().is_err() {
                return;
            }
        }
    });
    let echo = session
        .declare_subscriber("bare/ping")
        .callback(move |_: Sample| {
            let _ = heard.send(());
        })
        .wait()?;
    let (back, pongs) = mpsc::channel::<i64>();
    let clock = MonotonicClock::start();
    let back = Mutex::new(back);
    let _pongs = listener
        .declare_subscriber("bare/pong")
        .callback(move |_: Sample| {
            if let Ok(back) = back.lock() {
                let _ = back.send(clock.now_nanos());
            }
        })
        .wait()?;
    let ping = realtime(&listener, "bare/ping")?;
    while !ping.matching_status().wait()?.matching() {
        std::thread::yield_now();
    }
    let period = (1e9 / hz) as i64;
    let (mut found, mut next) = (Vec::new(), clock.now_nanos());
    for _ in 0..(secs * hz) as usize {
        next += period;
        clock.sleep_until(next);
        let sent = clock.now_nanos();
        ping.put(state.payload.as_slice()).attachment(state.attachment.as_slice()).wait()?;
        match pongs.recv_timeout(std::time::Duration::from_secs(1)) {
            Ok(received) => found.push(received - sent),
            Err(_) => return Err("a pong was lost".into()),
        }
    }
    drop(echo);
    drop(session);
    let _ = answering.join();
    Ok(found)
}

/// A controller that answers each state at once: what the control thread and the wire take. The robot's side stamps each of its periods.
fn driven(contract: &RobotContract, hz: f64, secs: f64, log: &Path) -> Result<(), Failure> {
    let server = serve(contract, log)?;
    let attached = RobotContract { link: Some(LinkContract::at(&server.endpoints()[0])), ..contract.clone() };
    let Attached { mut robot, status, session, .. } = attach(&attached)?;
    let (sent, stamps) = mpsc::channel::<(i64, i64, i64)>();
    // What the robot says it followed last: its own clock when it was measured, and the stamp of the command.
    let sender = Mutex::new(sent);
    let clock = MonotonicClock::start();
    let _states = session
        .declare_subscriber("robot/arm/state")
        .callback(move |sample: Sample| {
            let now = clock.now_nanos();
            let meta = sample.attachment().and_then(|a| StateMeta::read(&a.to_bytes()).ok());
            if let (Some(meta), Ok(sender)) = (meta, sender.lock()) {
                let _ = sender.send((meta.stamp_nanos, meta.executed_stamp_nanos, now));
            }
        })
        .wait()?;
    let mut chain = attached.safety_chain()?;
    let mut state = RobotState::zeros(&attached);
    let mut seen = robot.read(&mut state)?.seq;
    chain.arm(&state.position)?;
    let (mut answer, mut allocations, mut tick) = (Vec::new(), 0, 0_u64);
    let until = clock.now_nanos() + (secs * 1e9) as i64;
    while clock.now_nanos() < until {
        let stamp = robot.read(&mut state)?;
        if stamp.seq == seen {
            // As a control thread waits: it does not spin, for it would take the others' core.
            clock.sleep_until(clock.now_nanos() + 20_000);
            continue;
        }
        seen = stamp.seq;
        tick += 1;
        let t = tick as f64 / hz;
        let desired: [f64; 7] = std::array::from_fn(|j| 1.4 * (t * (1.0 + j as f64 * 0.3)).sin());
        let counted = allocation_counter::measure(|| {
            let _ = robot.read(&mut state);
            let _ = robot.write(chain.admit(&desired));
        });
        allocations += counted.count_total;
        // One clock on one machine: from the measurement at the robot to the command that answers it, given to the link.
        answer.push(clock.now_nanos() - stamp.nanos);
    }
    let report = status.report();
    let mut followed: Vec<i64> = Vec::new();
    let mut last = 0;
    for (measured, command, _) in stamps.try_iter() {
        if command > last {
            // Stamped when it was written; the period in which it was followed begins shortly before the measurement that tells of it.
            followed.push(measured - command);
            last = command;
        }
    }
    let period_us = 1e6 / hz;
    println!("  state measured -> command given to the link  {}", quantiles(answer));
    println!(
        "  command written -> followed at the robot     {}   (waits for the robot's period, {period_us:.0} us)",
        quantiles(followed)
    );
    println!(
        "  per period: {:.0} bytes of state, {:.0} bytes of command, {:.2} allocations of the control thread; {} malformed, {} unsent",
        report.received_bytes as f64 / report.received.max(1) as f64,
        report.sent_bytes as f64 / report.sent.max(1) as f64,
        allocations as f64 / tick.max(1) as f64,
        report.malformed,
        report.unsent,
    );
    // The link dies in full motion: nothing is written any more, and nobody says good-bye.
    std::mem::forget(robot);
    let clock_lost = clock.now_nanos();
    while !server.status().mode.is_latched() {
        if clock.now_nanos() - clock_lost > 5_000_000_000 {
            return Err("the robot's side did not notice".into());
        }
        clock.sleep_until(clock.now_nanos() + 1_000_000);
    }
    server.stop()?;
    let log: Vec<ExecutedTick> =
        std::fs::read_to_string(log)?.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let last = log.iter().rposition(|t| t.seq > 0).ok_or("nothing was followed")?;
    let rest =
        log[last..].iter().find(|t| t.velocity.iter().all(|v| *v == 0.0)).ok_or("it never came to rest")?;
    let latched = log[last..].iter().find(|t| t.mode.is_latched()).ok_or("it never latched")?;
    let since = |t: &ExecutedTick| (t.now_nanos - log[last].now_nanos) as f64 * 1e-6;
    let speed = log[last].velocity.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    println!(
        "  link lost at {speed:.2} rad/s: at rest after {:.1} ms, latched after {:.1} ms",
        since(rest),
        since(latched)
    );
    Ok(())
}

fn main() -> Result<(), Failure> {
    let secs = std::env::args().nth(1).map_or(Ok(10.0), |s| s.parse::<f64>())?;
    for hz in [100.0, 500.0] {
        let contract = contract(hz)?;
        let (state, command) = packets(&contract)?;
        let size = |p: &Packet| p.payload.len() + p.attachment.len();
        println!(
            "{hz} Hz, seven joints; a state is {} bytes, a command at full speed {}",
            size(&state),
            size(&command)
        );
        println!("  bare zenoh ping-pong of these sizes          {}", quantiles(bare(&contract, hz, secs)?));
        let directory = tempfile::tempdir()?;
        driven(&contract, hz, secs, &directory.path().join("executed.jsonl"))?;
    }
    Ok(())
}
