//! `surefoot doctor`: what this machine, or a robot on the network, can promise a control loop, and what to change.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, anyhow};
use serde::Serialize;
use surefoot_bridges::survey::{Survey, survey};
use surefoot_core::clock::MonotonicClock;
use surefoot_core::{Batch, IdealRobot, JointVelocityTask, Learner, Stream};
use surefoot_engine::control::{
    CadenceReport, ControlConfig, ControlLoop, ControlThread, Granted, RealtimeConfig, Request,
};
use surefoot_policies::{Device, LearnerConfig};
use surefoot_sim::arm;

use crate::args::DoctorArgs;
use crate::composition::{self, link_failure};
use crate::config::EnvConfig;
use crate::failure::{CommandResult, Failure, usage};
use crate::output::Output;

/// Rates a loop may be asked for.
const MAX_HZ: u32 = 10_000;
const MAX_SECS: u32 = 600;
/// Jitter above this part of a period makes a rate doubtful.
const TOLERABLE_JITTER: f64 = 0.1;

#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    found: String,
    good: bool,
    advice: Option<String>,
}

/// Runs the verb.
pub fn run(args: &DoctorArgs, output: Output) -> CommandResult {
    let DoctorArgs { robot, secs, hz, with_learner } = args;
    if !(1..=MAX_SECS).contains(secs) {
        return Err(usage(anyhow!("--secs {secs}: expected 1 to {MAX_SECS}")));
    }
    if let Some(contract) = robot {
        return look_at(contract, *secs, output);
    }
    if let Some(hz) = hz.iter().find(|hz| !(1..=MAX_HZ).contains(*hz)) {
        return Err(usage(anyhow!("--hz {hz}: expected 1 to {MAX_HZ}")));
    }
    output.note(&format!(
        "{} s at each of {hz:?} Hz{}",
        secs,
        if *with_learner { ", a learner beside" } else { "" }
    ));
    let learner = with_learner.then(Busy::start).transpose()?;
    let mut runs = Vec::new();
    let mut granted = None;
    for hz in hz {
        let (report, given) = measure(*hz, *secs)?;
        runs.push(report);
        granted = Some(given);
    }
    let updates_per_sec = learner.map(Busy::stop);
    let mut checks = system();
    checks.extend(granted.iter().flat_map(permissions));
    for report in &runs {
        checks.push(judge(report));
    }
    if output.json() {
        output.value(&serde_json::json!({
            "event": "doctor", "checks": checks, "cadence": runs, "learner_updates_per_sec": updates_per_sec,
        }));
        return Ok(());
    }
    for Check { what, found, good, advice } in &checks {
        output.line(&format!("{} {what:20} {found}", if *good { "ok  " } else { "weak" }));
        if let Some(advice) = advice.as_ref().filter(|_| !good) {
            output.line(&format!("     {:20} {advice}", ""));
        }
    }
    for report in &runs {
        output.line(&report.to_string());
    }
    if let Some(rate) = updates_per_sec {
        output.line(&format!("the learner made {rate:.0} updates/s meanwhile"));
    }
    Ok(())
}

/// A robot, over its link.
fn look_at(contract: &Path, secs: u32, output: Output) -> CommandResult {
    let contract = composition::robot_contract(contract)?;
    output.note(&format!("listening for {secs} s"));
    let survey = survey(&contract, f64::from(secs)).map_err(link_failure)?;
    if output.json() {
        let Survey { dialect, listened_secs, heard, graph, state_hz, state, clock, mode, obstacles } =
            &survey;
        let obstacles: Vec<String> = obstacles.iter().map(ToString::to_string).collect();
        output.value(&serde_json::json!({
            "event": "robot_survey", "robot": contract.name, "dialect": dialect, "listened_secs": listened_secs,
            "heard": heard, "graph": graph, "state_hz": state_hz,
            "position": state.as_ref().map(|s| &s.position), "velocity": state.as_ref().map(|s| &s.velocity),
            "clock": clock, "mode": mode, "obstacles": obstacles,
        }));
    } else {
        output.text(&survey.to_string());
    }
    match survey.obstacles.len() {
        0 => Ok(()),
        1 => Err(anyhow!("{} cannot be armed as things are", contract.name).into()),
        n => Err(anyhow!("{n} things stand against arming {}", contract.name).into()),
    }
}

fn judge(report: &CadenceReport) -> Check {
    let period_us = 1e6 / report.wanted_hz;
    let good = report.jitter_us.p999 <= TOLERABLE_JITTER * period_us && report.overruns == 0;
    Check {
        what: "control rate",
        found: format!(
            "{:.0} Hz: jitter p99.9 {:.0} us of a period of {period_us:.0} us, {} overruns",
            report.wanted_hz, report.jitter_us.p999, report.overruns
        ),
        good,
        advice: Some(
            "choose a lower control_hz, or mend what is weak above; a PREEMPT_RT kernel helps most".into(),
        ),
    }
}

fn permissions(granted: &Granted) -> Vec<Check> {
    let check = |what, outcome: &Result<(), String>, advice: &str| Check {
        what,
        found: outcome.as_ref().map_or_else(Clone::clone, |()| "granted".to_owned()),
        good: outcome.is_ok(),
        advice: Some(advice.to_owned()),
    };
    vec![
        check(
            "SCHED_FIFO",
            &granted.scheduling,
            "add `@realtime - rtprio 98` to /etc/security/limits.conf and log in again as a member of that group",
        ),
        check(
            "locked memory",
            &granted.memory,
            "add `@realtime - memlock unlimited` to /etc/security/limits.conf and log in again",
        ),
    ]
}

/// What the system's own files say.
fn system() -> Vec<Check> {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).ok().map(|s| s.trim().to_owned());
    let mut checks = Vec::new();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    checks.push(Check {
        what: "cores",
        found: cores.to_string(),
        good: cores >= 2,
        advice: Some("control and learning share one core: learn elsewhere, or accept late ticks".into()),
    });
    let realtime = read("/sys/kernel/realtime").as_deref() == Some("1");
    checks.push(Check {
        what: "kernel",
        found: format!(
            "{}{}",
            read("/proc/sys/kernel/osrelease").unwrap_or_else(|| std::env::consts::OS.into()),
            if realtime { ", PREEMPT_RT" } else { ", not PREEMPT_RT" }
        ),
        good: realtime,
        advice: Some("install a PREEMPT_RT kernel for rates above about 500 Hz".into()),
    });
    if let Some(source) = read("/sys/devices/system/clocksource/clocksource0/current_clocksource") {
        let good = ["tsc", "arch_sys_counter", "kvm-clock"].contains(&source.as_str());
        let resolution = MonotonicClock::start().resolution_nanos();
        checks.push(Check {
            what: "clock",
            found: format!("{source}, {resolution} ns"),
            good,
            advice: Some(
                "this clock source needs a system call for each reading: boot with clocksource=tsc".into(),
            ),
        });
    }
    match read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") {
        Some(governor) => checks.push(Check {
            what: "frequency governor",
            good: governor == "performance",
            found: governor,
            advice: Some(
                "`cpupower frequency-set -g performance` keeps the first tick after a pause fast".into(),
            ),
        }),
        None => checks.push(Check {
            what: "frequency governor",
            found: "not visible (a virtual machine, or none)".into(),
            good: true,
            advice: None,
        }),
    }
    checks
}

/// The control loop itself at this rate, over a robot that follows exactly: armed, then driven, in real time.
fn measure(hz: u32, secs: u32) -> Result<(CadenceReport, Granted), Failure> {
    let mut contract = arm::contract()?;
    contract.control_hz = f64::from(hz);
    // About fifty actions a second.
    contract.policy_hz = f64::from(hz) / f64::from(hz.div_ceil(50));
    let task = JointVelocityTask::new(&contract, usize::MAX)?;
    let robot = IdealRobot::new(contract).live();
    // Late ticks are what is looked for: they are counted here, and stop nothing.
    let config = ControlConfig {
        max_overruns_in_a_row: u32::MAX,
        max_overrun_share: 1.0,
        observation_max_age_periods: 1e6,
        human_brake_periods: 1e6,
        ..ControlConfig::default()
    };
    let (control, mut ports) = ControlLoop::new(Box::new(robot), Box::new(task), config, 4096)?;
    let thread = ControlThread::start(control, RealtimeConfig::default()).context("cannot start a thread")?;
    let clock = MonotonicClock::start();
    let began = clock.now_nanos();
    let end = began + i64::from(secs) * 1_000_000_000;
    let mut sign = 1.0;
    while clock.now_nanos() < end && !thread.is_finished() {
        clock.sleep_until(clock.now_nanos() + 20_000_000);
        // The second is followed as soon as the startup guard has passed; until then it is refused and asked again.
        for request in [Request::Arm, Request::TakeOver] {
            if ports.requests.lend().is_some() {
                ports.requests.send(request);
            }
        }
        if let Some(mut action) = ports.human.lend() {
            action.fill(0.2 * sign);
            sign = -sign;
            ports.human.send(action);
        }
        while let Some(tick) = ports.ticks.receive() {
            ports.ticks.give_back(tick);
        }
    }
    let ended = thread.stop().ok_or_else(|| anyhow!("the control thread could not be set up"))?;
    if ended.panicked {
        return Err(anyhow!("the control loop panicked").into());
    }
    Ok((ended.cadence, ended.granted))
}

/// A learner that keeps the other cores busy.
struct Busy {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<f64>,
}

impl Busy {
    fn start() -> Result<Self, Failure> {
        let spec =
            composition::env_spec(&EnvConfig::default_of("push").ok_or_else(|| anyhow!("no `push`"))?)?;
        let config = LearnerConfig::default_of("awac").ok_or_else(|| anyhow!("no learner is built in"))?;
        let mut learner: Box<dyn Learner> = composition::learner(&config, &spec, 0, Device::default())?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let thread = std::thread::Builder::new().name("learner".into()).spawn(move || {
            let batch = random_batch(spec.observation_dim(), spec.action_dim(), 256);
            let clock = MonotonicClock::start();
            let (began, mut updates) = (clock.now_nanos(), 0_u64);
            while !asked.load(Ordering::Relaxed) && learner.update(&batch).is_ok() {
                updates += 1;
            }
            updates as f64 / ((clock.now_nanos() - began) as f64 * 1e-9)
        });
        Ok(Self { stop, thread: thread.context("cannot start a thread")? })
    }

    fn stop(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or(0.0)
    }
}

fn random_batch(observation_dim: usize, action_dim: usize, n: usize) -> Batch {
    let mut stream = Stream::new(0, "doctor", 1);
    let mut row = |len: usize| (0..len).map(|_| stream.uniform(-1.0, 1.0) as f32).collect::<Vec<f32>>();
    Batch {
        n,
        length: 1,
        observation_dim,
        action_dim,
        observation: row(n * observation_dim),
        action: row(n * action_dim),
        next_observation: row(n * observation_dim),
        reward: vec![-1.0; n],
        continuation: vec![1.0; n],
        ..Batch::default()
    }
}
