//! {fault} x {phase} on simulated time: what a control loop does about everything that can go wrong, and that the robot's side
//! stays inside its limits throughout. `docs/fault-matrix.md` is what this test found; `SUREFOOT_WRITE_DOCS=1` writes it anew.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use surefoot_core::{
    Episode, Fault, FaultyRobot, GuardedRobot, Policy, Robot, RobotContract, RobotError, RobotState,
    ScheduledFault, Stamp, World,
};
use surefoot_datasets::{EpisodeRecorder, Recording};
use surefoot_engine::control::{
    Cause, ControlConfig, ControlLoop, Driver, EpisodesFromTicks, Lockstep, Mode, Request, Rest, Tick,
};
use surefoot_safety::SafeCommand;
use surefoot_sim::demonstrators::push::PushDemonstratorConfig;
use surefoot_sim::tasks::push::PushConfig;
use surefoot_sim::{DemonstratorContext, arm};

/// Ticks that a fault lasts, and that are looked at afterwards, at 50 Hz.
const FAULT_TICKS: u64 = 150;
const AFTER_TICKS: u64 = 50;
/// Longest braking of the arm: `ceil(V / (A h))`.
const BRAKING_TICKS: u64 = 7;

type Shared = Arc<Mutex<FaultyRobot<GuardedRobot>>>;

/// The loop owns one handle, the test the other.
struct Handle(Shared, RobotContract);

impl Handle {
    fn robot(&self) -> std::sync::MutexGuard<'_, FaultyRobot<GuardedRobot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Robot for Handle {
    fn contract(&self) -> &RobotContract {
        &self.1
    }
    fn read(&mut self, state: &mut RobotState) -> Result<Stamp, RobotError> {
        self.robot().read(state)
    }
    fn write(&mut self, command: SafeCommand<'_>) -> Result<(), RobotError> {
        self.robot().write(command)
    }
    fn without_command(&mut self) -> Result<(), RobotError> {
        self.robot().without_command()
    }
    fn stop(&mut self) -> Result<(), RobotError> {
        self.robot().stop()
    }
}

/// What goes wrong: in the link or the robot, or in the policy, or in the whole program.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    Robot(Fault),
    PolicyHangs,
    PolicyNan,
    ProcessStops,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Holding,
    Policy,
    Human,
    Paused,
    Braking,
}

const PHASES: [Phase; 6] =
    [Phase::Starting, Phase::Holding, Phase::Policy, Phase::Human, Phase::Paused, Phase::Braking];

/// Name, trouble, and the ticks within which a running robot is braking or stopped.
fn troubles() -> Vec<(&'static str, Trouble, u64)> {
    let robot = |name, fault, ticks| (name, Trouble::Robot(fault), ticks);
    vec![
        robot("1 of 10 observations lost", Fault::DroppedObservations(0.1), 0),
        robot("all observations lost", Fault::DroppedObservations(1.0), 4),
        robot("observations 10 ticks late", Fault::DelayedObservations(10), 4),
        robot("the same observation again and again", Fault::RepeatedObservations, 4),
        robot("observations out of order", Fault::ReorderedObservations, 0),
        robot("frozen values with fresh stamps", Fault::FrozenObservations, 100),
        robot("NaN in an observation", Fault::NanObservations(2), 1),
        robot("a position jumps by 0.5 rad", Fault::JumpingObservations(1, 0.5), 5),
        robot("noise of 5 mrad", Fault::NoisyObservations(0.005), 0),
        robot("noise of 0.5 rad", Fault::NoisyObservations(0.5), 5),
        robot("1 of 5 commands lost", Fault::DroppedCommands(0.2), 0),
        robot("all commands lost", Fault::DroppedCommands(1.0), 60),
        robot("commands 2 ticks late", Fault::DelayedCommands(2), 0),
        robot("commands 5 ticks late", Fault::DelayedCommands(5), 0),
        robot("commands 10 ticks late", Fault::DelayedCommands(10), 60),
        robot("commands 1 s late", Fault::DelayedCommands(50), 60),
        robot("a joint is stuck", Fault::StuckJoint(0), 100),
        robot("a joint is slow (0.02 rad/s)", Fault::SaturatedJoint(0, 0.02), 100),
        robot("a knock of 0.6 rad", Fault::ContactImpulse(0, 0.6), 20),
        robot("the robot is lost", Fault::Lost, 6),
        robot("no state can be read", Fault::LostReads, 6),
        robot("no command can be written", Fault::LostWrites, 6),
        ("the policy hangs", Trouble::PolicyHangs, 21),
        ("the policy says NaN", Trouble::PolicyNan, 6),
        ("the program is killed", Trouble::ProcessStops, 0),
    ]
}

/// Where the loop must end, for each phase in which the trouble begins.
fn expected(trouble: Trouble, phase: Phase) -> Vec<Mode> {
    let untouched = match phase {
        Phase::Starting | Phase::Holding | Phase::Braking => Mode::Holding,
        Phase::Policy => Mode::Running(Driver::Policy),
        Phase::Human => Mode::Running(Driver::Human),
        Phase::Paused => Mode::Paused(Driver::Policy),
    };
    // A robot that brakes when the trouble begins may or may not move far enough for it to show.
    let moving = |mode| match phase {
        Phase::Policy | Phase::Human => vec![mode],
        Phase::Braking => vec![mode, untouched],
        _ => vec![untouched],
    };
    match trouble {
        Trouble::Robot(fault) => match fault {
            Fault::DroppedObservations(p) if p < 1.0 => vec![untouched],
            Fault::ReorderedObservations => vec![untouched],
            Fault::NoisyObservations(std) if std < 0.1 => vec![untouched],
            Fault::DroppedCommands(p) if p < 1.0 => vec![untouched],
            Fault::DelayedCommands(ticks) if ticks < 10 => vec![untouched],
            Fault::DroppedObservations(_)
            | Fault::DelayedObservations(_)
            | Fault::RepeatedObservations
            | Fault::NanObservations(_) => match phase {
                Phase::Starting => vec![Mode::ProtectiveStop],
                _ => vec![Mode::Holding],
            },
            Fault::JumpingObservations(..) | Fault::NoisyObservations(_) | Fault::ContactImpulse(..) => {
                vec![Mode::ProtectiveStop]
            }
            Fault::FrozenObservations
            | Fault::DroppedCommands(_)
            | Fault::DelayedCommands(_)
            | Fault::StuckJoint(_)
            | Fault::SaturatedJoint(..) => moving(Mode::ProtectiveStop),
            Fault::Lost | Fault::LostReads | Fault::LostWrites => vec![Mode::Fault],
        },
        Trouble::PolicyHangs | Trouble::PolicyNan if phase == Phase::Policy => vec![Mode::Holding],
        Trouble::PolicyHangs | Trouble::PolicyNan => vec![untouched],
        // The loop stands where it stood: what happens then happens on the robot's side.
        Trouble::ProcessStops => {
            vec![if phase == Phase::Starting { Mode::Starting } else { before_braking(phase, untouched) }]
        }
    }
}

const fn before_braking(phase: Phase, otherwise: Mode) -> Mode {
    if matches!(phase, Phase::Braking) { Mode::Braking(Rest::Holding) } else { otherwise }
}

struct Cell {
    robot: Shared,
    loop_: Lockstep,
    human: Box<dyn Policy>,
    ticks: Vec<Tick>,
    human_drives: bool,
    reader: EpisodesFromTicks,
    /// Everything that a drive left behind, as the program keeps it.
    recorder: EpisodeRecorder,
    finished: Vec<Episode>,
    directory: tempfile::TempDir,
}

impl Cell {
    fn new() -> Self {
        let task = PushConfig::default().task().unwrap();
        let contract = arm::contract().unwrap();
        let mut world =
            GuardedRobot::new(Box::new(arm::world().unwrap()), arm::TRACKING_TOLERANCE_RAD).unwrap();
        let mut initial = RobotState::zeros(&contract);
        let mut task_for_reset = PushConfig::default().task().unwrap();
        task_for_reset.begin_episode(3, &mut initial);
        world.reset(&initial).unwrap();
        let robot = Arc::new(Mutex::new(FaultyRobot::new(world, Vec::new(), 1)));
        let demonstrator = PushDemonstratorConfig { failure_share: 0.0, ..PushDemonstratorConfig::default() };
        let context = DemonstratorContext { spec: task.spec().clone(), slots: 1 };
        let (policy, human) = (demonstrator.build(&context).unwrap(), demonstrator.build(&context).unwrap());
        let reader = EpisodesFromTicks::new(PushConfig::default().task().unwrap(), &contract).unwrap();
        // Memory where there is some: what is tested is what a recording holds, not the disk.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let recording = Recording::new(task.spec().clone());
        let recorder = EpisodeRecorder::create(&directory.path().join("episodes"), recording).unwrap();
        let handle = Box::new(Handle(robot.clone(), contract));
        let (control, ports) = ControlLoop::new(handle, task, ControlConfig::default(), 64).unwrap();
        let loop_ = Lockstep::new(control, ports, policy, 5);
        let (ticks, finished) = (Vec::new(), Vec::new());
        Self { robot, loop_, human, ticks, human_drives: false, reader, recorder, finished, directory }
    }

    fn mode(&self) -> Mode {
        self.loop_.control.mode()
    }

    fn period(&mut self, trouble: Option<Trouble>) {
        if self.human_drives && trouble != Some(Trouble::ProcessStops) {
            self.steer();
        }
        match trouble {
            Some(Trouble::ProcessStops) => {
                // Nobody calls the loop any more; the robot's side goes on by itself.
                self.robot.lock().unwrap().without_command().unwrap();
                return;
            }
            Some(Trouble::PolicyHangs) => self.loop_.period_without_policy(),
            Some(Trouble::PolicyNan) => {
                let version = 2;
                if let Some(mut output) = self.loop_.ports.actions.lend() {
                    output.action.fill(f32::NAN);
                    (output.from_tick, output.version) = (self.loop_.control.tick_count(), version);
                    self.loop_.ports.actions.send(output);
                }
                self.loop_.period_without_policy();
            }
            _ => self.loop_.period(),
        }
        while let Some(tick) = self.loop_.ports.ticks.receive() {
            self.ticks.push(tick.clone());
            if let Some(driven) = self.reader.push(&tick) {
                self.recorder.record(&driven.episode).unwrap();
                self.finished.push(driven.episode);
            }
            self.loop_.ports.ticks.give_back(tick);
        }
    }

    /// A person who sees the robot with their own eyes.
    fn steer(&mut self) {
        let mut task = PushConfig::default().task().unwrap();
        let mut observation = vec![0.0; task.spec().observation_dim()];
        let state = self.robot.lock().unwrap().inner().state().clone();
        task.observe(&state, &mut observation);
        if let Some(mut action) = self.loop_.ports.human.lend() {
            let (dim, actions) = (observation.len(), action.len());
            let rows = surefoot_core::Rows::new(&observation, dim);
            let out = surefoot_core::RowsMut::new(&mut action, actions);
            self.human.act(rows, surefoot_core::ActMode::Exploit, out).unwrap();
            self.loop_.ports.human.send(action);
        }
    }

    fn ask_and_wait(&mut self, request: Request, wanted: Mode) {
        self.loop_.ask(request);
        for _ in 0..100 {
            self.period(None);
            if self.mode() == wanted {
                return;
            }
        }
        panic!("{request:?} did not lead to {wanted:?} but to {:?}", self.mode());
    }

    fn bring_to(&mut self, phase: Phase) {
        for _ in 0..3 {
            self.period(None);
        }
        if phase == Phase::Starting {
            return self.ask_and_wait(Request::Arm, Mode::Starting);
        }
        self.ask_and_wait(Request::Arm, Mode::Holding);
        if phase == Phase::Holding {
            return;
        }
        if phase == Phase::Human {
            self.human_drives = true;
            self.ask_and_wait(Request::TakeOver, Mode::Running(Driver::Human));
        } else {
            self.ask_and_wait(Request::Run, Mode::Running(Driver::Policy));
        }
        for _ in 0..25 {
            self.period(None);
        }
        match phase {
            Phase::Paused => {
                self.ask_and_wait(Request::Pause, Mode::Paused(Driver::Policy));
                for _ in 0..BRAKING_TICKS {
                    self.period(None);
                }
            }
            Phase::Braking => self.ask_and_wait(Request::Hold, Mode::Braking(Rest::Holding)),
            _ => {}
        }
    }
}

/// What happened in one cell.
struct Found {
    mode: Mode,
    cause: Option<Cause>,
    /// Ticks until the loop left the phase.
    reaction: Option<u64>,
}

fn run(name: &str, trouble: Trouble, within: u64, phase: Phase) -> Found {
    let at = format!("{name} / {phase:?}");
    let mut cell = Cell::new();
    cell.bring_to(phase);
    let before = cell.mode();
    let began = cell.loop_.control.tick_count();
    if let Trouble::Robot(fault) = trouble {
        let mut robot = cell.robot.lock().unwrap();
        let from = robot.ticks();
        robot.inject(ScheduledFault { from, until: from + FAULT_TICKS, fault });
    }
    cell.ticks.clear();
    for _ in 0..FAULT_TICKS {
        cell.period(Some(trouble));
    }
    let during = cell.mode();
    if trouble == Trouble::ProcessStops {
        assert!(cell.robot.lock().unwrap().inner().at_rest(), "{at}: the stop plan must end at rest");
    } else {
        for _ in 0..AFTER_TICKS {
            cell.period(None);
        }
    }
    // Nothing was finished properly: the program may have been killed here.
    let on_disk = surefoot_datasets::open(&cell.directory.path().join("episodes"));
    let on_disk = on_disk.map_or(0, |recording| recording.len());
    assert_eq!(on_disk, cell.finished.len(), "{at}: finished episodes on disk");
    let cut = matches!(phase, Phase::Policy | Phase::Human) && !matches!(during, Mode::Running(_));
    assert!(!cut || !cell.finished.is_empty(), "{at}: a drive that was cut is an episode");
    let truncated = |e: &Episode| e.end.last().is_some_and(|end| end.is_last());
    assert!(cell.finished.iter().all(truncated), "{at}: every episode has an end");
    let robot = cell.robot.lock().unwrap();
    let counts = robot.inner().counts();
    assert_eq!(counts.violations, 0, "{at}: limits on the robot's side");
    let changes: Vec<_> = cell.ticks.iter().flat_map(|t| t.transitions.iter().flatten()).collect();
    assert!(expected(trouble, phase).contains(&during), "{at}: ended in {during:?} by {changes:#?}");
    // When the trouble is over nothing starts again by itself; only a mode that waits for rest may have settled.
    let after = cell.loop_.control.mode();
    let settled = matches!(during, Mode::Braking(_)) || matches!(during, Mode::Starting);
    assert!(after == during || settled, "{at}: {during:?} became {after:?} by itself");
    let left = cell.ticks.iter().find(|t| t.mode != before && t.transitions.iter().flatten().count() > 0);
    let cause =
        left.and_then(|t| t.transitions.iter().flatten().map(|t| t.cause).find(|c| *c != Cause::Settled));
    let reaction = left.map(|t| t.tick - began);
    if matches!(phase, Phase::Policy | Phase::Human) && during != before {
        let reaction = reaction.unwrap_or_else(|| panic!("{at}: no transition"));
        assert!(reaction <= within, "{at}: took {reaction} ticks, documented {within}");
        let rest = cell.ticks.iter().find(|t| t.mode == during).map(|t| t.tick - began);
        let rest = rest.unwrap_or_else(|| panic!("{at}: never at rest"));
        assert!(rest <= within + BRAKING_TICKS, "{at}: at rest after {rest} ticks");
    }
    Found { mode: during, cause, reaction }
}

fn word(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value).unwrap() {
        serde_json::Value::String(s) => s,
        serde_json::Value::Object(o) => {
            o.iter().map(|(k, v)| format!("{k} ({})", v.as_str().unwrap_or_default())).collect()
        }
        other => other.to_string(),
    }
}

#[test]
fn every_fault_in_every_phase_ends_inside_the_limits_and_latched() {
    let mut table = String::from(
        "# Fault matrix\n\n\
         What the control loop does about everything that can go wrong, on the simulated seven-joint arm at 50 Hz (policy 10 Hz), with the default\n\
         thresholds. Each cell: the mode after three seconds of the fault, its cause, and the control ticks (20 ms) until the loop reacted.\n\
         In every cell the robot's own log shows no limit violated, and nothing starts again by itself when the fault is over.\n\n\
         **Late commands.** A late command is a motion command still: the robot's side follows it, so many ticks late, and keeps every limit by\n\
         its own chain. Until the first one comes it plays the stop plan of the last one that was in time; then it catches up with bounded\n\
         acceleration. The control loop sees lateness as a tracking error, which is about velocity times delay: where that stays below\n\
         `max_tracking_error` the robot goes on, later than intended (for training, such a delay is part of `action_delay_ticks`);\n\
         where it does not, the loop stops protectively, as if commands were lost.\n\n\
         Written by `SUREFOOT_WRITE_DOCS=1 cargo test -p surefoot-tests fault_matrix`; the test fails when this page is not what it finds.\n\n",
    );
    let names: Vec<String> = PHASES.iter().map(|p| format!("{p:?}").to_lowercase()).collect();
    writeln!(table, "| fault | {} |", names.join(" | ")).unwrap();
    writeln!(table, "|---|{}", "---|".repeat(PHASES.len())).unwrap();
    for (name, trouble, within) in troubles() {
        let mut row = format!("| {name} |");
        for phase in PHASES {
            let found = run(name, trouble, within, phase);
            let mut cell = word(found.mode);
            if trouble == Trouble::ProcessStops {
                cell = "at rest by the stop plan".into();
            } else if let (Some(cause), Some(ticks)) = (found.cause, found.reaction)
                && cause != Cause::Requested
            {
                write!(cell, ": {}, {ticks}", word(cause)).unwrap();
            }
            write!(row, " {cell} |").unwrap();
        }
        writeln!(table, "{row}").unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/fault-matrix.md");
    if std::env::var_os("SUREFOOT_WRITE_DOCS").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap_or_default() == table,
        "docs/fault-matrix.md is stale:\n{table}"
    );
}
