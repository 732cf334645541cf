//! Robots at the other end of a zenoh link, as users run them: `serve` and `rollout` are processes, the network between them is bad, and
//! each of them is killed. Limits are judged on the log of the robot's side alone.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::Value;
use surefoot_bridges::server::ExecutedTick;
use surefoot_bridges::wire::{Message, ModeOp, ModeReply, ModeRequest, PanelKey, RobotMode, StopCause};
use surefoot_bridges::{Panel, Purpose, SessionConfig};
use surefoot_core::clock::MonotonicClock;
use surefoot_core::{RobotContract, StepEnd};
use zenoh::Wait;

use crate::fleet_routed::{free_port, router};
use crate::program::{TINY, Workplace};

#[path = "../../bridges/tests/proxy/mod.rs"]
mod proxy;

use proxy::Proxy;

/// Nothing here takes so long; a test that waits longer has failed.
const PATIENCE_NANOS: i64 = 60_000_000_000;
/// Longest braking of the arm: `ceil(V / (A h))`.
const BRAKING_TICKS: u64 = 7;
/// `command_timeout_ms` in control periods.
const TIMEOUT_TICKS: u64 = 13;

pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
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

/// `surefoot serve` as a process.
pub struct Served<'a> {
    workplace: &'a Workplace,
    pub child: Child,
    pub endpoint: String,
}

impl<'a> Served<'a> {
    pub fn start(workplace: &'a Workplace, more: &[&str]) -> Self {
        Self::of("push", workplace, more)
    }

    /// Another environment's robot.
    pub fn of(env: &str, workplace: &'a Workplace, more: &[&str]) -> Self {
        let args = ["serve", env, "--json", "--log", "executed.jsonl", "--write-contract", "served.toml"];
        let args: Vec<&str> = args.iter().chain(more).copied().collect();
        let mut child =
            workplace.command(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let serving: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(serving["event"], "serving", "{serving}");
        let endpoint = serving["endpoints"][0].as_str().unwrap().to_owned();
        Self { workplace, child, endpoint }
    }

    /// Writes the contract that attaches by way of a proxy.
    fn contract_by_way_of(&self, endpoint: &str, to: &str) {
        let text = std::fs::read_to_string(self.workplace.path("served.toml")).unwrap();
        std::fs::write(self.workplace.path(to), text.replace(&self.endpoint, endpoint)).unwrap();
    }

    pub fn log(&self) -> Vec<ExecutedTick> {
        let text = std::fs::read_to_string(self.workplace.path("executed.jsonl")).unwrap_or_default();
        // The last line may be half written.
        text.lines().map_while(|line| serde_json::from_str(line).ok()).collect()
    }

    pub fn last(&self) -> Option<ExecutedTick> {
        self.log().pop()
    }

    /// Ends it as a person does, and judges what it did.
    pub fn end(mut self) -> Vec<ExecutedTick> {
        interrupt(&self.child);
        assert!(self.child.wait().unwrap().success());
        let log = self.log();
        judge(&log, &contract(&self.workplace.path("served.toml")));
        log
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Listens to what a program says to people, and waits for a line with this in it.
pub fn hearing(child: &mut Child) -> impl FnMut(&str) -> String + use<> {
    let stderr = child.stderr.take().unwrap();
    let (words, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(stderr).lines().map_while(Result::ok).for_each(|line| words.send(line).unwrap_or(()));
    });
    move |word: &str| wait_for(word, || said.try_recv().ok().filter(|line: &String| line.contains(word)))
}

fn interrupt(child: &Child) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
}

pub fn contract(path: &Path) -> RobotContract {
    RobotContract::read(path).unwrap()
}

/// Limits by the differences of what was commanded, and every command once, in order, in its epoch.
pub fn judge(log: &[ExecutedTick], contract: &RobotContract) {
    let h = contract.control_secs();
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
        for (j, limits) in contract.joints.iter().enumerate() {
            let v = (after.position[j] - before.position[j]) / h;
            let a = (after.velocity[j] - before.velocity[j]) / h;
            let at = format!("{} at tick {}", limits.name, after.tick);
            assert!((v - after.velocity[j]).abs() < 1e-6, "{at}: {v} is not the velocity that was written");
            assert!(v.abs() <= limits.max_velocity * (1.0 + 1e-6), "{at}: velocity {v}");
            assert!(a.abs() <= limits.max_acceleration * (1.0 + 1e-6), "{at}: acceleration {a}");
            assert!(after.position[j] >= limits.min_position - 1e-9, "{at}");
            assert!(after.position[j] <= limits.max_position + 1e-9, "{at}");
        }
    }
}

/// After the last command that was followed: latched when the timeout is over, at rest in time, and it stays so.
fn check_silence(log: &[ExecutedTick]) {
    let last = log.iter().rev().find(|t| t.seq > 0).unwrap().tick;
    let latched = log.iter().find(|t| t.tick > last && t.mode.is_latched()).expect("a latched stop").tick;
    assert!(latched <= last + TIMEOUT_TICKS + 3, "silent from {last}, latched at {latched}");
    let still = |t: &ExecutedTick| t.velocity.iter().all(|v| *v == 0.0);
    assert!(log.iter().filter(|t| t.tick > last + BRAKING_TICKS + 3).all(still), "at rest from then on");
    assert!(log.iter().filter(|t| t.tick >= latched).all(|t| t.mode.is_latched()), "and latched");
}

fn is_driven(served: &Served<'_>) -> bool {
    served.log().iter().filter(|t| t.velocity.iter().any(|v| v.abs() > 0.05)).count() > 20
}

#[test]
fn a_policy_drives_a_served_robot_as_it_drives_one_in_its_own_process() {
    let workplace = Workplace::new();
    workplace.train("run");
    let served = Served::start(&workplace, &[]);
    let rollout =
        ["rollout", "run", "--robot", "served.toml", "--episodes", "2", "--record", "driven", "--json"];
    let out = workplace.succeed(&rollout);
    let told: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(told["evaluation"]["episodes"], 2, "{told}");
    assert_eq!((&told["violations"], &told["link"]["malformed"]), (&0.into(), &0.into()), "{told}");
    workplace.succeed(&["data", "verify", "driven"]);
    let driven = surefoot_datasets::open(&workplace.path("driven")).unwrap();
    assert_eq!(driven.len(), 2);
    let log = served.end();
    assert_eq!(log.last().unwrap().mode, RobotMode::Idle, "it said good-bye");
    assert!(log.iter().map(|t| t.epoch).max() >= Some(2), "an epoch for each arming");
}

#[test]
fn a_robot_behind_a_router_is_driven_as_one_that_listens_also_when_the_router_was_away() {
    let workplace = Workplace::new();
    workplace.train("run");
    let nobody = ["serve", "push", "--connect", "tcp/127.0.0.1:1"];
    workplace.fail(&nobody, 1, &["no zenoh at tcp/127.0.0.1:1", "hint"]);
    workplace.fail(&["serve", "push", "--connect", "nowhere"], 2, &["\"nowhere\"", "PROTOCOL/ADDRESS:PORT"]);
    let at = format!("tcp/127.0.0.1:{}", free_port());
    let router = router(&[&at]);
    let served = Served::start(&workplace, &["--connect", &at]);
    let link = contract(&workplace.path("served.toml")).link.unwrap();
    assert_eq!((&served.endpoint, &link.endpoints), (&at, &vec![at.clone()]), "it is met at the router");
    let rollout = ["rollout", "run", "--robot", "served.toml", "--episodes", "1", "--json"];
    let out = workplace.succeed(&rollout);
    let told: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((&told["violations"], &told["evaluation"]["episodes"]), (&0.into(), &1.into()), "{told}");
    // The router goes while somebody drives: the robot's side stops, as when any link dies.
    let many = ["rollout", "run", "--robot", "served.toml", "--episodes", "1000", "--quiet"];
    let mut child = workplace.command(&many).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("motion", || served.last().filter(|t| t.seq > 0 && t.velocity.iter().any(|v| v.abs() > 0.05)));
    router.close().wait().unwrap();
    wait_for("the stop", || served.last().filter(|t| t.mode == RobotMode::ProtectiveStop));
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(1 | 3)), "{code:?}");
    workplace.fail(&rollout, 1, &["no zenoh at", "hint"]);
    let _router = self::router(&[&at]);
    wait_for("the robot, back at its router and latched", || {
        let (code, _, told) = workplace.run(&rollout);
        let not_yet = told.contains("nobody answers") || told.contains("another controller");
        assert!(code == 3 || code == 1 && not_yet, "{code}: {told}");
        (code == 3).then_some(())
    });
    check_silence(&served.log());
    served.end();
}

#[test]
fn a_run_learns_beside_a_served_robot() {
    let workplace = Workplace::new();
    let served = Served::start(&workplace, &[]);
    let phase = "online = { env_steps = 90, warmup_env_steps = 30, schedule = { async = {} } }\n";
    let mut text: String =
        TINY.lines().filter(|l| !l.starts_with("online")).flat_map(|l| [l, "\n"]).collect();
    text = text.replace("[eval]", &format!("{phase}[eval]"));
    std::fs::write(workplace.path("robot.toml"), text).unwrap();
    workplace.fail(&["train", "tiny.toml", "--robot", "served.toml"], 2, &["no phase drives a robot"]);
    workplace.succeed(&["train", "robot.toml", "--run-dir", "run", "--robot", "served.toml", "--quiet"]);
    workplace.succeed(&["data", "verify", "run/episodes"]);
    assert!(surefoot_datasets::open(&workplace.path("run/episodes")).unwrap().len() >= 3);
    served.end();
}

#[test]
fn a_controller_that_is_killed_leaves_a_robot_at_rest_in_a_latched_stop() {
    let workplace = Workplace::new();
    workplace.train("run");
    let served = Served::start(&workplace, &[]);
    let rollout =
        ["rollout", "run", "--robot", "served.toml", "--episodes", "1000", "--record", "driven", "--quiet"];
    let mut child = workplace.command(&rollout).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("two episodes", || {
        let kept = surefoot_datasets::open(&workplace.path("driven")).map_or(0, |d| d.len());
        (kept >= 2 && is_driven(&served)).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the stop", || served.last().filter(|t| t.mode == RobotMode::ProtectiveStop));
    workplace.succeed(&["data", "verify", "driven"]);
    assert!(
        surefoot_datasets::open(&workplace.path("driven")).unwrap().len() >= 2,
        "no finished episode is lost"
    );
    // The next one finds the stop, drives nothing, and says so.
    let (code, _, told) = workplace.run(&["rollout", "run", "--robot", "served.toml", "--episodes", "1"]);
    assert!(code == 3 || (code == 1 && told.contains("another controller")), "{code}: {told}");
    let stopped = served.log();
    let at = stopped.iter().position(|t| t.mode == RobotMode::ProtectiveStop).unwrap();
    check_silence(&stopped);
    assert!(stopped[at..].iter().all(|t| t.seq == 0));
    // A person has looked.
    let link = contract(&workplace.path("served.toml")).link.unwrap();
    let (session, _) = SessionConfig::to_robot(&link, Purpose::Control).open().unwrap();
    let request = ModeRequest { op: ModeOp::Acknowledge, who: 7, lease: 0, epoch: 0, contract_hash: [0; 32] };
    let reply = wait_for("the acknowledgement", || {
        let reply = session.get("robot/arm7/clear").payload(request.bytes()).wait().unwrap().recv().ok()?;
        let reply = ModeReply::read(&reply.result().ok()?.payload().to_bytes()).ok()?;
        (reply.mode == RobotMode::Idle).then_some(reply)
    });
    assert_eq!(reply.cause, StopCause::None);
    // The program that was killed loses the robot when it has been silent for its lease.
    let again = ["rollout", "run", "--robot", "served.toml", "--episodes", "1", "--quiet"];
    wait_for("the robot for another program", || {
        let (code, _, told) = workplace.run(&again);
        assert!(code == 0 || told.contains("another controller"), "{code}: {told}");
        (code == 0).then_some(())
    });
    served.end();
}

#[test]
fn a_robot_that_is_killed_ends_the_rollout_with_everything_kept() {
    let workplace = Workplace::new();
    workplace.train("run");
    let mut served = Served::start(&workplace, &[]);
    let rollout =
        ["rollout", "run", "--robot", "served.toml", "--episodes", "1000", "--record", "driven", "--quiet"];
    let child = workplace.command(&rollout).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("an episode", || {
        let kept = surefoot_datasets::open(&workplace.path("driven")).map_or(0, |d| d.len());
        (kept >= 1).then_some(())
    });
    served.child.kill().unwrap();
    served.child.wait().unwrap();
    let ended = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    // Between two episodes nothing is armed: then there is nothing to stop.
    assert!(told.contains("safety stop") || told.contains("has not told its state"), "{told}");
    assert!(matches!(ended.status.code(), Some(1 | 3)), "{told}");
    workplace.succeed(&["data", "verify", "driven"]);
    judge(&served.log(), &contract(&workplace.path("served.toml")));
}

#[test]
fn a_robot_that_is_killed_in_the_last_episode_is_a_failure_too() {
    let workplace = Workplace::new();
    workplace.train("run");
    let mut served = Served::start(&workplace, &[]);
    let rollout = ["rollout", "run", "--robot", "served.toml", "--episodes", "1", "--quiet"];
    let child = workplace.command(&rollout).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the robot to be driven", || is_driven(&served).then_some(()));
    served.child.kill().unwrap();
    served.child.wait().unwrap();
    let ended = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(matches!(ended.status.code(), Some(1 | 3)), "{told}");
    assert!(told.contains("safety stop") || told.contains("has not told its state"), "{told}");
}

#[test]
fn a_bad_network_stops_the_robot_inside_its_limits_and_short_faults_do_not() {
    let workplace = Workplace::new();
    workplace.train("run");
    for (fault, stops) in
        [("1 lost", false), ("a spike of 3 periods", false), ("20 lost", true), ("cut", true)]
    {
        let served = Served::start(&workplace, &[]);
        let proxy = Proxy::before(&served.endpoint);
        served.contract_by_way_of(&proxy.endpoint, "proxied.toml");
        let rollout = ["rollout", "run", "--robot", "proxied.toml", "--episodes", "1000", "--quiet"];
        let mut child =
            workplace.command(&rollout).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("motion", || is_driven(&served).then_some(()));
        let ticks = || served.last().map_or(0, |t| t.tick);
        let before = ticks();
        match fault {
            "1 lost" => proxy.up.lose.store(1, std::sync::atomic::Ordering::Release),
            "20 lost" => proxy.up.lose.store(20, std::sync::atomic::Ordering::Release),
            "cut" => proxy.cut(),
            _ => {
                proxy.up.hold();
                wait_for("three periods", || (ticks() >= before + 3).then_some(()));
                proxy.up.release();
            }
        }
        if stops {
            wait_for("the stop", || served.last().filter(|t| t.mode == RobotMode::ProtectiveStop));
            // Between two episodes nothing is armed: then a robot that is not seen any more is given up.
            let code = child.wait().unwrap().code();
            assert!(code == Some(3) || (fault == "cut" && code == Some(1)), "{fault}: {code:?}");
            proxy.mend();
            check_silence(&served.log());
        } else {
            wait_for("fifty periods more", || (ticks() >= before + 50).then_some(()));
            assert!(served.log().iter().all(|t| !t.mode.is_latched()), "{fault}");
            interrupt(&child);
            assert_eq!(child.wait().unwrap().code(), Some(130), "{fault}");
        }
        served.end();
        std::fs::remove_file(workplace.path("executed.jsonl")).unwrap();
        std::fs::remove_file(workplace.path("served.toml")).unwrap();
    }
}

#[test]
fn a_second_controller_and_another_contract_are_refused_with_words() {
    let workplace = Workplace::new();
    workplace.train("run");
    let served = Served::start(&workplace, &[]);
    let rollout = ["rollout", "run", "--robot", "served.toml", "--episodes", "1000", "--quiet"];
    let mut child = workplace.command(&rollout).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("motion", || is_driven(&served).then_some(()));
    let second = ["rollout", "run", "--robot", "served.toml", "--episodes", "1"];
    workplace.fail(&second, 1, &["another controller has it", "hint"]);
    let text = std::fs::read_to_string(workplace.path("served.toml")).unwrap();
    std::fs::write(
        workplace.path("other.toml"),
        text.replacen("max_velocity = 1.5", "max_velocity = 1.4", 1),
    )
    .unwrap();
    workplace.fail(&["rollout", "run", "--robot", "other.toml"], 2, &["contract of another robot"]);
    let nowhere = text.replace(&served.endpoint, "tcp/127.0.0.1:1");
    std::fs::write(workplace.path("nowhere.toml"), nowhere).unwrap();
    workplace.fail(
        &["rollout", "run", "--robot", "nowhere.toml"],
        1,
        &["no zenoh at tcp/127.0.0.1:1", "hint"],
    );
    interrupt(&child);
    child.wait().unwrap();
    served.end();
}

#[test]
fn a_person_at_a_panel_records_an_episode_over_the_link() {
    let workplace = Workplace::new();
    let served = Served::start(&workplace, &[]);
    let contract = contract(&workplace.path("served.toml"));
    let link = contract.link.clone().unwrap();
    let (session, _) = SessionConfig::to_robot(&link, Purpose::Control).open().unwrap();
    let mut panel = Panel::new(&session, &contract, &link).unwrap();
    // On a busy machine a press may arrive late: not after the episode's time, which is an hour here.
    let record = ["record", "push", "env.push.max_steps=36000", "--robot", "served.toml", "--to", "driven"];
    let record = [&record[..], &["--operator", "panel"]].concat();
    let mut child = workplace.command(&record).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut hear = hearing(&mut child);
    hear("[Holding]");
    panel.press(PanelKey::TakeOver).unwrap();
    hear("[Running(Human)]");
    let before = served.last().unwrap().tick;
    wait_for("a second of driving", || {
        panel.act(true, &[0.4, -0.3]).unwrap();
        served.last().filter(|t| t.tick > before + 50)
    });
    panel.press(PanelKey::Success).unwrap();
    hear("success in");
    panel.press(PanelKey::Quit).unwrap();
    child.wait().unwrap();
    let driven = surefoot_datasets::open(&workplace.path("driven")).unwrap();
    let episode = driven.episode(0).unwrap();
    assert_eq!((episode.success, episode.end.last()), (Some(true), Some(&StepEnd::Terminated)));
    assert!(episode.human.iter().all(|h| *h) && episode.len() > 3);
    served.end();
}

#[test]
fn a_frozen_sensor_is_found_over_the_link() {
    let workplace = Workplace::new();
    workplace.train("run");
    let faults = "[[faults]]\nfrom = 60\nuntil = 1000000\nfault = \"frozen_observations\"\n";
    std::fs::write(workplace.path("faults.toml"), faults).unwrap();
    let served = Served::start(&workplace, &["--faults", "faults.toml"]);
    let rollout = ["rollout", "run", "--robot", "served.toml", "--episodes", "1000"];
    workplace.fail(&rollout, 3, &["safety stop", "TrackingError"]);
    served.end();
}

#[test]
fn the_doctor_says_what_a_robot_publishes_and_what_stands_against_arming() {
    let workplace = Workplace::new();
    let look = |contract: &str| {
        let (code, out, err) = workplace.run(&["doctor", "--robot", contract, "--secs", "1", "--json"]);
        let first = out.lines().next().unwrap_or_default();
        let survey: Value = serde_json::from_str(first).unwrap_or_else(|e| panic!("{e}: {out}{err}"));
        let obstacles: Vec<String> = serde_json::from_value(survey["obstacles"].clone()).unwrap();
        assert_eq!(code, i32::from(!obstacles.is_empty()), "{err}");
        // A busy machine may be slow.
        let grave = obstacles.into_iter().filter(|o| !o.starts_with("states come at")).collect::<Vec<_>>();
        (survey, grave)
    };
    let served = Served::start(&workplace, &["--dialect", "rmw_zenoh"]);
    let (survey, obstacles) = look("served.toml");
    assert_eq!((obstacles.len(), survey["dialect"].as_str()), (0, Some("rmw_zenoh")), "{obstacles:?}");
    assert!(survey["graph"].to_string().contains("/surefoot_robot publishes /joint_states"), "{survey}");
    let text = std::fs::read_to_string(workplace.path("served.toml")).unwrap();
    let renamed = text.replacen("name = \"joint1\"", "name = \"joint9\"", 1);
    assert_ne!(text, renamed);
    std::fs::write(workplace.path("renamed.toml"), renamed).unwrap();
    let (_, obstacles) = look("renamed.toml");
    assert!(obstacles[0].contains("joint joint9 of the contract is missing"), "{obstacles:?}");
    served.end();
}
