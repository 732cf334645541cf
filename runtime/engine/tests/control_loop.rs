//! The control loop's promises that need no physics: hand-over, late answers, recovery, records.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use surefoot_core::{IdealRobot, JointVelocityTask, RobotContract, StepEnd};
use surefoot_engine::control::{
    Cause, ControlConfig, ControlLoop, ControlPorts, Driver, EpisodesFromTicks, Mode, Request, Tick,
};

const PERIOD_NANOS: i64 = 20_000_000;

const CONTRACT: &str = r#"
name = "slider"
control_hz = 50.0
policy_hz = 10.0
[[joints]]
name = "x"
unit = "m"
min_position = -1.0
max_position = 1.0
max_velocity = 0.5
max_acceleration = 2.0
"#;

struct Rig {
    control: ControlLoop,
    ports: ControlPorts,
    now: i64,
    ticks: Vec<Tick>,
}

fn contract() -> RobotContract {
    RobotContract::parse(CONTRACT, Path::new("slider.toml")).unwrap()
}

fn task() -> JointVelocityTask {
    JointVelocityTask::new(&contract(), 1000).unwrap()
}

impl Rig {
    fn at(position: f64) -> Self {
        let robot = IdealRobot::new(contract()).at(&[position]);
        let (control, ports) =
            ControlLoop::new(Box::new(robot), Box::new(task()), ControlConfig::default(), 8).unwrap();
        Self { control, ports, now: 0, ticks: Vec::new() }
    }

    fn ask(&mut self, request: Request) {
        self.ports.requests.lend().unwrap();
        self.ports.requests.send(request);
    }

    fn human(&mut self, action: f32) {
        let mut row = self.ports.human.lend().unwrap();
        row.fill(action);
        self.ports.human.send(row);
    }

    /// One period; `answer` is what the policy says to an observation of `late` ticks ago, at every tick it can.
    fn period(&mut self, answer: Option<(f32, u64)>) -> Tick {
        self.now += PERIOD_NANOS;
        self.control.observe(self.now, 0, 0);
        while let Some(input) = self.ports.observations.receive() {
            self.ports.observations.give_back(input);
        }
        if let Some((action, late)) = answer
            && let Some(mut output) = self.ports.actions.lend()
        {
            output.action.fill(action);
            (output.from_tick, output.version) = (self.control.tick_count().saturating_sub(late), 1);
            self.ports.actions.send(output);
        }
        self.control.command();
        let tick = self.ports.ticks.receive().unwrap();
        self.ticks.push(tick.clone());
        self.ports.ticks.give_back(tick.clone());
        tick
    }

    fn until(&mut self, mode: Mode, answer: Option<(f32, u64)>) {
        for _ in 0..2_000 {
            if self.period(answer).mode == mode {
                return;
            }
        }
        panic!("never {mode:?} but {:?}", self.control.mode());
    }

    fn running() -> Self {
        let mut rig = Self::at(0.0);
        rig.until(Mode::Idle, None);
        rig.ask(Request::Arm);
        rig.until(Mode::Holding, None);
        rig.ask(Request::Run);
        rig.until(Mode::Running(Driver::Policy), Some((0.5, 0)));
        for _ in 0..30 {
            rig.period(Some((0.5, 0)));
        }
        assert!((rig.ticks.last().unwrap().command_velocity[0] - 0.25).abs() < 1e-9);
        rig
    }
}

/// The person's first word comes late, and says to stand still: the old driver's motion must not come back.
#[test]
fn a_take_over_never_speeds_up_again_into_the_old_motion() {
    for first_word in 0..15 {
        let mut rig = Rig::running();
        rig.ask(Request::TakeOver);
        let mut last = 0.25 + 1e-9;
        for tick in 0..40 {
            if tick >= first_word {
                rig.human(0.0);
            }
            let speed = rig.period(Some((0.5, 0))).command_velocity[0];
            assert!(
                speed <= last + 1e-12 && speed >= 0.0,
                "first word after {first_word}: {last} -> {speed}"
            );
            last = speed;
        }
        assert_eq!((last, rig.control.mode()), (0.0, Mode::Running(Driver::Human)));
    }
}

/// One answer at every tick, each to an observation of long ago: a policy that is slow is as good as one that hangs.
#[test]
fn answers_to_old_observations_are_late_answers() {
    let mut rig = Rig::running();
    // Three policy periods late fades, five brake.
    for _ in 0..60 {
        rig.period(Some((0.5, 15)));
    }
    let faded = rig.ticks.last().unwrap();
    assert_eq!(faded.mode, Mode::Running(Driver::Policy));
    assert!(faded.command_velocity[0] < 0.2, "{}", faded.command_velocity[0]);
    rig.until(Mode::Holding, Some((0.5, 25)));
    let cause = rig.ticks.iter().flat_map(|t| t.transitions.iter().flatten()).map(|t| t.cause);
    assert!(cause.into_iter().any(|c| c == Cause::PolicyLate));
}

#[test]
fn recovery_moves_inward_only_and_then_the_robot_can_be_run() {
    let mut rig = Rig::at(1.2);
    rig.until(Mode::Idle, None);
    rig.ask(Request::Arm);
    assert!(rig.period(None).refusal.is_some(), "outside its limits it cannot be armed");
    rig.ask(Request::Recover);
    rig.until(Mode::Holding, None);
    let positions: Vec<f64> =
        rig.ticks.iter().filter(|t| t.commanded).map(|t| t.command_position[0]).collect();
    assert!(positions.windows(2).all(|p| p[1] <= p[0]), "outward");
    assert!(*positions.last().unwrap() < 1.0 && *positions.last().unwrap() > 0.9);
    let fastest = rig.ticks.iter().map(|t| t.command_velocity[0].abs()).fold(0.0, f64::max);
    assert!(fastest <= ControlConfig::default().recovery_max_speed + 1e-12, "{fastest}");
    assert_eq!(rig.control.counts().violations, 0);
    rig.ask(Request::Run);
    rig.until(Mode::Running(Driver::Policy), Some((0.0, 0)));
}

#[test]
fn an_emergency_stop_while_stopped_is_latched_and_ends_in_idle() {
    let mut rig = Rig::running();
    rig.ask(Request::ProtectiveStop);
    rig.until(Mode::ProtectiveStop, None);
    rig.ask(Request::EmergencyStop);
    assert_eq!(rig.period(None).mode, Mode::EmergencyStop);
    rig.ask(Request::Run);
    assert_eq!(rig.period(None).mode, Mode::EmergencyStop);
    rig.ask(Request::Reset);
    assert_eq!(rig.period(None).mode, Mode::Idle);
}

/// What was wrong is what a record is read for: NaN actions, and what an independent witness counted.
#[test]
fn a_recording_of_a_run_that_went_wrong_can_be_read() {
    let mut rig = Rig::running();
    rig.period(Some((f32::NAN, 0)));
    rig.until(Mode::Holding, None);
    rig.ticks[20].violations = 3;
    let read: Vec<Tick> =
        rig.ticks.iter().map(|t| serde_json::from_str(&serde_json::to_string(t).unwrap()).unwrap()).collect();
    assert!(read.iter().any(|t| t.policy_action[0].is_nan()));
    let episodes = |ticks: &[Tick]| {
        let mut reader = EpisodesFromTicks::new(Box::new(task()), &contract()).unwrap();
        ticks.iter().filter_map(|t| reader.push(t)).collect::<Vec<_>>()
    };
    let [only] = &episodes(&read)[..] else { panic!("one drive") };
    assert_eq!(only.episode.safety.violations, 3);
    assert_eq!(only.episode.safety.stops, 1, "the refused command that ended the drive counts");
    assert_eq!(only.episode.end.last(), Some(&StepEnd::Truncated));
    assert!(only.episode.action.iter().all(|a| a.is_finite()), "what was executed is a number");
}

#[test]
fn lost_ticks_end_an_episode_before_them() {
    let rig = Rig::running();
    let mut reader = EpisodesFromTicks::new(Box::new(task()), &contract()).unwrap();
    let driven: Vec<&Tick> = rig.ticks.iter().filter(|t| t.mode == Mode::Running(Driver::Policy)).collect();
    let (before, after) = driven.split_at(12);
    let none = before.iter().filter_map(|t| reader.push(t)).count();
    let cut: Vec<_> = after[5..].iter().filter_map(|t| reader.push(t)).collect();
    let [cut] = &cut[..] else { panic!("one episode was cut, and the rest of the drive is none") };
    assert_eq!((none, cut.episode.len()), (0, 2), "two whole steps of five ticks");
    assert_eq!(cut.episode.end, [StepEnd::Running, StepEnd::Truncated]);
}
