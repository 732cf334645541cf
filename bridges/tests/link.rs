//! Both sides of a link over real zenoh on loopback, with a network between them that fails: what the robot's side did stands in its own
//! log, and limits are judged on that alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod proxy;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use proxy::Proxy;
use surefoot_bridges::dialects::{Codec, CommandFrame, Packet, native::NativeCodec};
use surefoot_bridges::server::ExecutedTick;
use surefoot_bridges::wire::{
    CommandMeta, Estop, Heartbeat, Message, ModeOp, ModeReply, ModeRequest, PanelKey, RobotMode,
    SafetyStatus, Source, StopCause,
};
use surefoot_bridges::{
    Attached, LinkError, Panel, PanelListener, Purpose, RealRobot, Refusal, RobotServer, ServeConfig,
    SessionConfig, attach,
};
use surefoot_core::clock::MonotonicClock;
use surefoot_core::contract::LinkContract;
use surefoot_core::{
    Fault, FaultyRobot, IdealRobot, Robot, RobotContract, RobotError, RobotState, ScheduledFault,
};
use surefoot_safety::SafetyChain;
use zenoh::{Session, Wait};

/// Nothing here takes so long; a test that waits longer has failed.
const PATIENCE_NANOS: i64 = 20_000_000_000;
/// Larger than anything that is said here, and small enough not to be sent in parts.
const MAX_BYTES: usize = 8192;

fn joint(name: &str, max_velocity: f64) -> String {
    format!(
        "[[joints]]\nname = \"{name}\"\nunit = \"rad\"\nmin_position = -1.5\nmax_position = 1.5\n\
         max_velocity = {max_velocity:.1}\nmax_acceleration = 12.0\n"
    )
}

fn contract() -> RobotContract {
    let joints: String = ["shoulder", "elbow", "wrist"].iter().map(|j| joint(j, 2.0)).collect();
    let text = format!("name = \"arm\"\ncontrol_hz = 100.0\npolicy_hz = 10.0\n{joints}");
    RobotContract::parse(&text, Path::new("arm.toml")).unwrap()
}

/// Patient enough for a machine that has other things to do.
fn link(endpoint: &str) -> LinkContract {
    LinkContract {
        max_message_bytes: MAX_BYTES,
        state_timeout_ms: 1000,
        command_timeout_ms: 500,
        ..LinkContract::at(endpoint)
    }
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let clock = MonotonicClock::start();
    let until = clock.now_nanos() + PATIENCE_NANOS;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock.now_nanos() < until, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// A robot's side, a proxy before it, and its log.
struct Place {
    server: Option<RobotServer>,
    proxy: Proxy,
    log: PathBuf,
    contract: RobotContract,
    /// Its own witness sees what a broken sensor says.
    healthy: bool,
    _directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self::with_faults(Vec::new())
    }

    fn with_faults(faults: Vec<ScheduledFault>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("executed.jsonl");
        let healthy = faults.is_empty();
        let robot = FaultyRobot::new(IdealRobot::new(contract()).live(), faults, 1);
        let config = ServeConfig {
            link: link("tcp/127.0.0.1:0"),
            session: SessionConfig::listening("tcp/127.0.0.1:0", None),
            tracking_tolerance: 1e-9,
            resettable: false,
            log: Some(log.clone()),
        };
        let server = RobotServer::start(Box::new(RealRobot(Box::new(robot))), &config).unwrap();
        let proxy = Proxy::before(&server.endpoints()[0]);
        let contract = RobotContract { link: Some(link(&proxy.endpoint)), ..contract() };
        Self { server: Some(server), proxy, log, contract, healthy, _directory: directory }
    }

    fn server(&self) -> &RobotServer {
        self.server.as_ref().unwrap()
    }

    fn status(&self) -> SafetyStatus {
        self.server().status()
    }

    /// A session beside the robot's controller.
    fn session(&self) -> Session {
        let link = LinkContract::at(&self.server().endpoints()[0]);
        SessionConfig::to_robot(&link, Purpose::Control).open().unwrap().0
    }

    /// Ends the robot's side and judges its log: limits by differences of what was commanded, and every command of its epoch in order.
    fn judge(mut self) -> Vec<ExecutedTick> {
        let status = self.server.take().unwrap().stop().unwrap();
        assert!(!self.healthy || status.counters.violations == 0, "by the robot's own witness");
        let log: Vec<ExecutedTick> = std::fs::read_to_string(&self.log)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let h = self.contract.control_secs();
        let mut newest = (0, 0);
        for pair in log.windows(2) {
            let [before, after] = pair else { unreachable!() };
            if after.seq > 0 {
                assert!((after.epoch, after.seq) > newest, "command {} again at {}", after.seq, after.tick);
                newest = (after.epoch, after.seq);
            }
            if !(before.commanded && after.commanded) || after.tick != before.tick + 1 {
                continue;
            }
            for (j, limits) in self.contract.joints.iter().enumerate() {
                let v = (after.position[j] - before.position[j]) / h;
                let a = (after.velocity[j] - before.velocity[j]) / h;
                let at = format!("{} at tick {}", limits.name, after.tick);
                assert!((v - after.velocity[j]).abs() < 1e-6, "{at}: velocity {v} is not what was written");
                assert!(v.abs() <= limits.max_velocity * (1.0 + 1e-6), "{at}: velocity {v}");
                assert!(a.abs() <= limits.max_acceleration * (1.0 + 1e-6), "{at}: acceleration {a}");
                let inside = limits.min_position - 1e-9..=limits.max_position + 1e-9;
                assert!(inside.contains(&after.position[j]), "{at}: position {}", after.position[j]);
            }
        }
        log
    }
}

/// Drives a robot as a control loop does: reads, admits, writes, once for each new state.
struct Driver {
    attached: Attached,
    chain: SafetyChain,
    state: RobotState,
    seen: u64,
    ticks: u64,
}

impl Driver {
    fn new(contract: &RobotContract) -> Self {
        let mut attached = attach(contract).unwrap();
        let mut chain = contract.safety_chain().unwrap();
        let mut state = RobotState::zeros(contract);
        let stamp = attached.robot.read(&mut state).unwrap();
        chain.arm(&state.position).unwrap();
        Self { attached, chain, state, seen: stamp.seq, ticks: 0 }
    }

    /// Waits for a new state and answers it, fast and with reversals. The robot's error, if it has one.
    fn tick(&mut self) -> Result<(), RobotError> {
        let (robot, state, seen) = (&mut self.attached.robot, &mut self.state, self.seen);
        self.seen = wait_for("a new state", || match robot.read(state) {
            Ok(stamp) if stamp.seq == seen => None,
            Ok(stamp) => Some(Ok(stamp.seq)),
            Err(e) => Some(Err(e)),
        })?;
        self.write()
    }

    fn write(&mut self) -> Result<(), RobotError> {
        self.ticks += 1;
        let t = self.ticks as f64;
        let desired =
            [2.5 * (t * 0.06).sin(), -2.5 * (t * 0.09).sin(), if self.ticks % 60 < 30 { 9.0 } else { -9.0 }];
        self.attached.robot.write(self.chain.admit(&desired))
    }

    fn drive(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.tick().unwrap();
        }
    }

    /// Drives until the robot says that it is lost.
    fn drive_until_lost(&mut self) -> String {
        let began = MonotonicClock::start().now_nanos();
        loop {
            assert!(MonotonicClock::start().now_nanos() - began < PATIENCE_NANOS, "it was never lost");
            if let Err(e) = self.tick() {
                return e.to_string();
            }
        }
    }
}

fn moving(server: &RobotServer) -> bool {
    server.status().counters.executed > 20 && !server.status().at_rest
}

fn stopped(place: &Place, mode: RobotMode) -> SafetyStatus {
    wait_for("the robot's side at rest in a stop", || {
        let status = place.status();
        (status.mode == mode && status.at_rest).then_some(status)
    })
}

/// Ticks of the longest stop: `ceil(V / (A h))`.
const BRAKING_TICKS: u64 = 17;
/// `command_timeout_ms` in control periods.
const TIMEOUT_TICKS: u64 = 50;

/// Checks in the log: from the last command that was followed on, silent for the timeout, then latched, and at rest in time.
fn check_stop(log: &[ExecutedTick], timeout_ticks: u64) {
    let last = log.iter().rev().find(|t| t.seq > 0).unwrap().tick;
    let latched = log.iter().find(|t| t.tick > last && t.mode.is_latched()).unwrap().tick;
    assert!(latched <= last + timeout_ticks + 3, "silent from {last}, latched at {latched}");
    let rest = log.iter().find(|t| t.tick > last && t.velocity.iter().all(|v| *v == 0.0)).unwrap().tick;
    assert!(rest <= last + BRAKING_TICKS + 3, "silent from {last}, at rest at {rest}");
    let after = log.iter().filter(|t| t.tick > latched);
    assert!(after.clone().all(|t| t.mode.is_latched()), "it stays latched");
    assert!(
        after.filter(|t| t.tick > last + BRAKING_TICKS + 3).all(|t| t.velocity.iter().all(|v| *v == 0.0))
    );
}

#[test]
fn a_robot_over_a_link_follows_exactly_and_comes_to_rest_at_the_end() {
    let place = Place::new();
    let mut driver = Driver::new(&place.contract);
    driver.drive(300);
    let report = driver.attached.status.report();
    assert_eq!((report.malformed, report.oversized, report.armings), (0, 0, 1), "{report}");
    assert!(report.clock_offset_nanos.0.abs() <= report.clock_offset_nanos.1.unwrap(), "one clock: {report}");
    drop(driver);
    let status = place.status();
    assert_eq!((status.mode, status.cause), (RobotMode::Idle, StopCause::None), "said good-bye: no stop");
    assert!(status.counters.executed > 250, "{status:?}");
    place.judge();
}

#[test]
fn lost_commands_are_bridged_and_many_of_them_stop() {
    for (lost, stops) in [(1, false), (5, false), (120, true)] {
        let place = Place::new();
        let mut driver = Driver::new(&place.contract);
        driver.drive(80);
        let before = place.proxy.up.lost.load(Ordering::Acquire);
        place.proxy.up.lose.store(lost, Ordering::Release);
        if stops {
            let why = driver.drive_until_lost();
            assert!(why.contains("latched stop"), "{why}");
            stopped(&place, RobotMode::ProtectiveStop);
            drop(driver);
            check_stop(&place.judge(), TIMEOUT_TICKS);
        } else {
            driver.drive(150);
            assert_eq!(place.proxy.up.lost.load(Ordering::Acquire) - before, u64::from(lost));
            assert_eq!(place.status().mode, RobotMode::Armed, "{lost} lost");
            drop(driver);
            assert!(
                place.judge().iter().any(|t| t.mode == RobotMode::Armed && t.seq == 0),
                "a gap was played"
            );
        }
    }
}

#[test]
fn lost_states_and_a_delay_of_both_ways_leave_the_robot_inside_its_limits() {
    let place = Place::new();
    let mut driver = Driver::new(&place.contract);
    driver.drive(80);
    place.proxy.down.lose.store(5, Ordering::Release);
    driver.drive(50);
    // A spike: what was held back comes all at once.
    for way in [&place.proxy.up, &place.proxy.down] {
        let ticks = place.status().counters.ticks;
        way.hold();
        wait_for("five periods", || (place.status().counters.ticks >= ticks + 5).then_some(()));
        way.release();
        driver.drive(50);
    }
    assert_eq!(place.status().mode, RobotMode::Armed);
    drop(driver);
    place.judge();
}

#[test]
fn a_link_that_dies_stops_latches_and_what_was_queued_is_never_followed() {
    for told in [true, false] {
        let place = Place::new();
        let mut driver = Driver::new(&place.contract);
        driver.drive(60);
        wait_for("motion", || {
            driver.tick().unwrap();
            moving(place.server()).then_some(())
        });
        if told {
            place.proxy.cut();
        } else {
            place.proxy.up.black_hole.store(true, Ordering::Release);
            place.proxy.down.black_hole.store(true, Ordering::Release);
        }
        let why = wait_for("the driver noticing", || driver.tick().err().map(|e| e.to_string()));
        assert!(why.contains("no state for") || why.contains("latched"), "{why}");
        let status = stopped(&place, RobotMode::ProtectiveStop);
        assert_eq!(status.cause, StopCause::CommandSilence);
        // The link is back, and the driver goes on as if nothing had happened.
        place.proxy.up.black_hole.store(false, Ordering::Release);
        place.proxy.down.black_hole.store(false, Ordering::Release);
        place.proxy.mend();
        let executed = status.counters.executed;
        let (robot, state) = (&mut driver.attached.robot, &mut driver.state);
        wait_for("states again", || robot.read(state).ok());
        for _ in 0..50 {
            assert!(driver.tick().unwrap_err().to_string().contains("latched stop"));
        }
        assert_eq!(place.status().counters.executed, executed, "nothing moves by itself");
        // A person clears it, and the robot is driven in a new epoch.
        let (epoch, looked) = (place.status().epoch, place.status().counters.ticks);
        driver.attached.robot.without_command().unwrap();
        driver.attached.robot.acknowledge().unwrap();
        wait_for("the stop cleared", || (place.status().mode == RobotMode::Idle).then_some(()));
        wait_for("states of a cleared robot", || {
            let (robot, state) = (&mut driver.attached.robot, &mut driver.state);
            robot.read(state).ok()?;
            driver.chain.arm(&state.position).ok()?;
            let rest = driver.chain.admit(&[0.0; 3]);
            driver.attached.robot.write(rest).ok()
        });
        driver.drive(60);
        assert_eq!(place.status().epoch, epoch + 1);
        drop(driver);
        let log = place.judge();
        let first: Vec<_> = log.iter().filter(|t| t.tick <= looked).cloned().collect();
        check_stop(&first, TIMEOUT_TICKS);
    }
}

#[test]
fn an_emergency_stop_from_anywhere_is_latched_until_it_is_reset() {
    let place = Place::new();
    let mut driver = Driver::new(&place.contract);
    driver.drive(60);
    let operator = place.session();
    let press = Estop { latched: true, cause: "a person in the cell".into(), who: "panel 1".into() };
    operator.put("robot/arm/estop", press.bytes()).wait().unwrap();
    let why = driver.drive_until_lost();
    assert!(why.contains("EmergencyStop"), "{why}");
    stopped(&place, RobotMode::EmergencyStop);
    // A put that says otherwise clears nothing, and it can be asked why.
    operator.put("robot/arm/estop", Estop { latched: false, ..press.clone() }.bytes()).wait().unwrap();
    let asked = operator.get("robot/arm/estop").wait().unwrap().recv().unwrap();
    assert_eq!(Estop::read(&asked.result().unwrap().payload().to_bytes()), Ok(press));
    let ask = |key: &str, op| {
        let request = ModeRequest { op, who: 99, lease: 0, epoch: 0, contract_hash: [0; 32] };
        let reply = operator.get(key).payload(request.bytes()).wait().unwrap().recv().unwrap();
        reply.result().ok().map(|sample| ModeReply::read(&sample.payload().to_bytes()).unwrap())
    };
    for (key, op) in [
        ("mode", ModeOp::Acknowledge),
        ("mode", ModeOp::Reset),
        ("clear", ModeOp::Arm),
        ("clear", ModeOp::Status),
    ] {
        assert_eq!(ask(&format!("robot/arm/{key}"), op), None, "{op:?} is not asked on {key}");
    }
    let mode = |op: ModeOp| {
        let key = if op.clears() { "robot/arm/clear" } else { "robot/arm/mode" };
        ask(key, op).unwrap()
    };
    assert_eq!(mode(ModeOp::Acknowledge).refusal, Some(Refusal::Latched), "it takes a reset");
    assert_eq!(mode(ModeOp::Arm).refusal, Some(Refusal::NoLease));
    assert_eq!((mode(ModeOp::Reset).refusal, place.status().mode), (None, RobotMode::Idle));
    drop(driver);
    place.judge();
}

#[test]
fn a_second_controller_is_refused_and_gets_the_robot_when_the_first_is_gone() {
    let place = Place::new();
    let mut first = Driver::new(&place.contract);
    first.drive(30);
    let refused = attach(&place.contract).err().unwrap();
    assert!(matches!(refused, LinkError::Refused { refusal: Refusal::OtherController, .. }), "{refused}");
    // It can forge all it wants: without the lease nothing of it is followed.
    let forger = place.session();
    let (mut codec, mut packet) = (NativeCodec::new(&place.contract), Packet::default());
    let epoch = place.status().epoch;
    for seq in 1..50 {
        let meta = CommandMeta {
            epoch,
            lease: seq,
            seq: 1_000_000 + seq,
            stamp_nanos: 0,
            valid_until_nanos: MonotonicClock::start().now_nanos() + 100_000_000,
            period_nanos: 10_000_000,
            source: Source::Program,
        };
        let frame = CommandFrame { meta, rows: vec![(1.4, 2.0); 3] };
        codec.write_command(&frame, &mut packet).unwrap();
        let put = forger.put("robot/arm/cmd", packet.payload.as_slice());
        put.attachment(packet.attachment.as_slice()).wait().unwrap();
        first.tick().unwrap();
    }
    let status = wait_for("the forged commands", || {
        first.tick().unwrap();
        let status = place.status();
        (status.counters.refused_lease >= 49).then_some(status)
    });
    assert_eq!(status.mode, RobotMode::Armed);
    drop(first);
    let mut second = Driver::new(&place.contract);
    second.drive(30);
    drop(second);
    place.judge();
}

#[test]
fn nonsense_is_counted_and_nothing_of_it_moves_the_robot() {
    let place = Place::new();
    let mut driver = Driver::new(&place.contract);
    driver.drive(40);
    let peer = place.session();
    let before = place.status().counters.refused_malformed;
    let (mut codec, mut packet) = (NativeCodec::new(&place.contract), Packet::default());
    let mut frame = CommandFrame::with_room(&place.contract, 1);
    frame.rows = vec![(f64::NAN, 0.0); 3];
    codec.write_command(&frame, &mut packet).unwrap();
    let send = |key: &str, payload: &[u8], attachment: &[u8]| {
        peer.put(key.to_owned(), payload).attachment(attachment).wait().unwrap();
    };
    send("robot/arm/cmd", &packet.payload, &packet.attachment);
    send("robot/arm/cmd", &[], &[]);
    send("robot/arm/cmd", &[7; 40], &packet.attachment);
    send("robot/arm/cmd", &packet.payload, &[1, 2, 3]);
    send("robot/arm/cmd", &vec![0; MAX_BYTES], &packet.attachment);
    send("robot/arm/heartbeat/controller", &[9; 9], &[]);
    wait_for("all six counted", || {
        driver.tick().unwrap();
        (place.status().counters.refused_malformed >= before + 6).then_some(())
    });
    // And the same at the robot's controller.
    send("robot/arm/state", &[7; 40], &[1; 40]);
    send("robot/arm/state", &vec![0; MAX_BYTES + 1], &[]);
    wait_for("both counted", || {
        driver.tick().unwrap();
        let report = driver.attached.status.report();
        (report.malformed >= 1 && report.oversized >= 1).then_some(())
    });
    // Somebody else's sign of life is nobody's.
    let beat = Heartbeat { boot_id: 1, lease: 12345, seq: 1, ..Heartbeat::default() };
    send("robot/arm/heartbeat/controller", &beat.bytes(), &[]);
    driver.drive(20);
    assert_eq!(place.status().mode, RobotMode::Armed);
    drop(driver);
    place.judge();
}

#[test]
fn another_contract_or_another_name_is_refused_before_anything_is_commanded() {
    let place = Place::new();
    let parse = |joints: String| {
        let text = format!("name = \"arm\"\ncontrol_hz = 100.0\npolicy_hz = 10.0\n{joints}");
        RobotContract {
            link: place.contract.link.clone(),
            ..RobotContract::parse(&text, Path::new("x")).unwrap()
        }
    };
    let told = |contract: &RobotContract| attach(contract).err().unwrap().to_string();
    let names = ["shoulder", "elbow", "hand"].iter().map(|j| joint(j, 2.0)).collect();
    let names = told(&parse(names));
    assert!(names.contains("expected shoulder, elbow, hand, found shoulder, elbow, wrist"), "{names}");
    let missing = told(&parse(["shoulder", "elbow"].iter().map(|j| joint(j, 2.0)).collect()));
    assert!(missing.contains("expected shoulder, elbow, found shoulder, elbow, wrist"), "{missing}");
    let fast = told(&parse(["shoulder", "elbow", "wrist"].iter().map(|j| joint(j, 3.0)).collect()));
    assert!(fast.contains("joints shoulder.max_velocity: expected 3.0, found 2.0"), "{fast}");
    let mut elsewhere = place.contract.clone();
    elsewhere.link.as_mut().unwrap().robot = Some("other".into());
    let nobody = told(&elsewhere);
    assert!(nobody.contains("nobody answers for robot/other/contract"), "{nobody}");
    let nowhere = RobotContract { link: None, ..place.contract.clone() };
    assert!(told(&nowhere).contains("no [link]"));
}

#[test]
fn a_frozen_or_broken_sensor_reaches_the_driver_and_a_dead_robot_latches() {
    let fault = |fault, from| ScheduledFault { from, until: u64::MAX, fault };
    let place = Place::with_faults(vec![fault(Fault::NanObservations(1), 400)]);
    let mut driver = Driver::new(&place.contract);
    let why = driver.drive_until_lost();
    assert!(why.contains("not finite"), "{why}");
    drop(driver);
    place.judge();
    let place = Place::with_faults(vec![fault(Fault::Lost, 400)]);
    let mut driver = Driver::new(&place.contract);
    let why = driver.drive_until_lost();
    assert!(why.contains("no state for") || why.contains("RobotLost"), "{why}");
}

#[test]
fn a_panel_is_heard_once_and_its_switch_is_a_dead_mans() {
    let place = Place::new();
    let (session, person) = (place.session(), place.session());
    let stops = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = stops.clone();
    let link = place.contract.link.clone().unwrap();
    let on_stop = move || {
        count.fetch_add(1, Ordering::AcqRel);
    };
    let listener = PanelListener::new(&session, &place.contract, &link, on_stop).unwrap();
    let mut panel = Panel::new(&person, &place.contract, &link).unwrap();
    wait_for("the listener", || panel.is_heard().unwrap().then_some(()));
    for key in [PanelKey::TakeOver, PanelKey::EmergencyStop, PanelKey::Success] {
        panel.press(key).unwrap();
    }
    for key in [PanelKey::TakeOver, PanelKey::EmergencyStop, PanelKey::Success] {
        assert_eq!(wait_for("a key", || listener.next()), key);
    }
    assert_eq!(stops.load(Ordering::Acquire), 1, "at once, not when it is its turn");
    let mut action = [9.0_f32; 2];
    assert!(!listener.action(&mut action) && action == [0.0; 2], "nobody");
    wait_for("the device", || {
        panel.act(true, &[0.5, -7.0]).unwrap();
        listener.action(&mut action).then_some(())
    });
    assert_eq!(action, [0.5, -1.0]);
    // The switch is let go.
    wait_for("the switch let go", || {
        panel.act(false, &[0.5, 0.5]).unwrap();
        (!listener.action(&mut action)).then_some(())
    });
    assert_eq!(action, [0.0; 2]);
    // A device that falls silent with the switch held is let go as well.
    wait_for("held again", || {
        panel.act(true, &[0.5, 0.5]).unwrap();
        listener.action(&mut action).then_some(())
    });
    wait_for("silence", || (!listener.action(&mut action)).then_some(()));
}

#[test]
fn a_period_of_the_control_thread_allocates_nothing() {
    let place = Place::new();
    let mut driver = Driver::new(&place.contract);
    driver.drive(60);
    let mut counted = 0;
    for _ in 0..200 {
        let (robot, state) = (&mut driver.attached.robot, &mut driver.state);
        let seen = driver.seen;
        driver.seen =
            wait_for("a new state", || robot.read(state).ok().map(|s| s.seq).filter(|s| *s != seen));
        counted += allocation_counter::measure(|| {
            driver.attached.robot.read(&mut driver.state).unwrap();
            driver.ticks += 1;
            let desired = [(driver.ticks as f64 * 0.05).sin(), 0.4, -0.4];
            driver.attached.robot.write(driver.chain.admit(&desired)).unwrap();
        })
        .count_total;
    }
    assert_eq!(counted, 0);
    drop(driver);
    place.judge();
}
