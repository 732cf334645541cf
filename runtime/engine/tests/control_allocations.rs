//! A control period does not touch the heap: not while starting, driving, being taken over, braking or stopped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use surefoot_core::{
    EnvSpec, IdealRobot, JointVelocityTask, RobotContract, RobotState, Stream, Task, TaskOutcome,
};
use surefoot_engine::control::{ControlConfig, ControlLoop, ControlPorts, Driver, Mode, Request};
use surefoot_engine::limits::EpisodeLimitsConfig;
use surefoot_safety::CommandState;

const TICKS: u64 = 100_000;
const PERIOD_NANOS: i64 = 1_000_000;

const CONTRACT: &str = r#"
name = "ideal"
control_hz = 1000.0
policy_hz = 50.0
[[joints]]
name = "a"
unit = "rad"
min_position = -2.0
max_position = 2.0
max_velocity = 2.0
max_acceleration = 10.0
[[joints]]
name = "b"
unit = "rad"
min_position = -1.0
max_position = 1.0
max_velocity = 1.0
max_acceleration = 5.0
"#;

/// Draws an initial state, as most tasks do.
struct Drawing(JointVelocityTask);

impl Task for Drawing {
    fn spec(&self) -> &EnvSpec {
        self.0.spec()
    }
    fn reset(&mut self, stream: &mut Stream, initial: &mut RobotState) {
        initial.position.fill_with(|| stream.uniform(-1.0, 1.0));
    }
    fn desired(
        &mut self,
        state: &RobotState,
        command: CommandState<'_>,
        action: &[f32],
        desired: &mut [f64],
    ) {
        self.0.desired(state, command, action, desired);
    }
    fn executed(&self, before: &[f64], after: &[f64], effort: &[f64], step_secs: f64, action: &mut [f32]) {
        self.0.executed(before, after, effort, step_secs, action);
    }
    fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
        self.0.observe(state, observation);
    }
    fn outcome(&mut self, state: &RobotState, executed: &[f32]) -> TaskOutcome {
        self.0.outcome(state, executed)
    }
}

fn control() -> (ControlLoop, ControlPorts) {
    let contract = RobotContract::parse(CONTRACT, Path::new("ideal.toml")).unwrap();
    let task = Drawing(JointVelocityTask::new(&contract, 100_000).unwrap());
    let robot = IdealRobot::new(contract);
    // A policy of noise keeps the filter busy all the time.
    let episode =
        EpisodeLimitsConfig { max_filter_active_share: 1.0, max_filter_run_ticks: 0, ..Default::default() };
    let config = ControlConfig { episode, ..ControlConfig::default() };
    ControlLoop::new(Box::new(robot), Box::new(task), config, 32).unwrap()
}

fn ask(ports: &mut ControlPorts, request: Request) {
    ports.requests.lend().unwrap();
    ports.requests.send(request);
}

#[test]
fn a_hundred_thousand_ticks_allocate_nothing() {
    let (mut control, mut ports) = control();
    let mut modes = std::collections::BTreeSet::new();
    let (mut policy, mut stops) = (Stream::new(1, "policy", 0), 0_u64);
    let mut actions = vec![0.0_f32; 2];
    let mut allocated = 0;
    for tick in 0..TICKS {
        match tick % 10_000 {
            10 => ask(&mut ports, Request::Arm),
            390 => ask(&mut ports, Request::Seed(tick)),
            400 => ask(&mut ports, Request::Run),
            2_000 => ask(&mut ports, Request::TakeOver),
            3_000 => ask(&mut ports, Request::HandBack),
            4_000 => ask(&mut ports, Request::Pause),
            4_500 => ask(&mut ports, Request::Resume),
            5_000 => ask(&mut ports, Request::Hold),
            5_500 => ask(&mut ports, Request::Run),
            7_000 => ask(&mut ports, Request::ProtectiveStop),
            8_000 => ask(&mut ports, Request::Acknowledge),
            8_500 => ask(&mut ports, Request::Run),
            9_000 => ask(&mut ports, Request::EmergencyStop),
            9_900 => ask(&mut ports, Request::Reset),
            _ => {}
        }
        for a in &mut actions {
            *a = policy.uniform(-3.0, 3.0) as f32;
        }
        // Now and then something that is no number.
        if tick % 997 == 0 {
            actions[0] = f32::NAN;
        }
        let now = (tick as i64 + 1) * PERIOD_NANOS;
        let counted = allocation_counter::measure(|| {
            control.observe(now, u32::from(tick % 301 == 0), 0);
            while let Some(input) = ports.observations.receive() {
                if let Some(mut output) = ports.actions.lend() {
                    output.action.copy_from_slice(&actions);
                    (output.from_tick, output.version, output.latency_nanos) = (input.tick, 1, 1);
                    ports.actions.send(output);
                }
                ports.observations.give_back(input);
            }
            if tick % 20 == 0
                && let Some(mut action) = ports.human.lend()
            {
                action.fill(0.1);
                ports.human.send(action);
            }
            control.command();
        });
        allocated += counted.count_total;
        modes.insert(format!("{:?}", control.mode()));
        while let Some(tick) = ports.ticks.receive() {
            stops += u64::from(tick.mode == Mode::ProtectiveStop);
            ports.ticks.give_back(tick);
        }
    }
    assert_eq!(allocated, 0, "allocations in {TICKS} ticks");
    assert_eq!(control.dropped_ticks(), 0);
    for mode in [
        Mode::Idle,
        Mode::Starting,
        Mode::Holding,
        Mode::Running(Driver::Policy),
        Mode::Running(Driver::Human),
        Mode::Paused(Driver::Policy),
        Mode::ProtectiveStop,
        Mode::EmergencyStop,
    ] {
        assert!(modes.contains(&format!("{mode:?}")), "{mode:?} was never reached: {modes:?}");
    }
    assert!(stops > 0);
    assert_eq!(control.counts().violations, 0);
}
