//! Suites over a robot that does as it is told, until it does not.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use surefoot_core::safety::SafeCommand;
use surefoot_core::{
    ActMode, Env, EnvSpec, Fault, IdealRobot, JointVelocityTask, Policy, PolicyError, ResetScope, Robot,
    RobotContract, RobotEnv, RobotError, RobotState, Rows, RowsMut, ScheduledFault, Stamp, Stream, World,
};

use super::tap::tapped;
use super::*;
use crate::control::Cause;
use crate::{EngineError, Interrupt};

const ARM: &str = "name = \"arm\"\ncontrol_hz = 50.0\npolicy_hz = 10.0
[[joints]]\nname = \"shoulder\"\nunit = \"rad\"\nmin_position = -1.0\nmax_position = 1.0\nmax_velocity = 1.0\nmax_acceleration = 10.0
[[joints]]\nname = \"elbow\"\nunit = \"rad\"\nmin_position = -1.0\nmax_position = 1.0\nmax_velocity = 1.0\nmax_acceleration = 10.0\n";
const STEPS: usize = 20;

/// What becomes of the robot in tick 30.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    No,
    Nan,
    Diverged,
    Panic,
    Leap,
    /// The elbow is a little elsewhere.
    Off(f64),
    /// Nothing; where the elbow seems to be is drawn for every episode.
    Drawn,
}

struct Troubled {
    robot: IdealRobot,
    trouble: Trouble,
    ticks: usize,
    drawn: f64,
}

impl Robot for Troubled {
    fn contract(&self) -> &RobotContract {
        self.robot.contract()
    }
    fn read(&mut self, state: &mut RobotState) -> Result<Stamp, RobotError> {
        let stamp = self.robot.read(state)?;
        state.position[1] += self.drawn;
        if self.ticks >= 30 {
            match self.trouble {
                Trouble::No | Trouble::Drawn => {}
                Trouble::Nan => state.velocity[1] = f64::NAN,
                Trouble::Diverged => {
                    let (what, before) = ("position of joint elbow".into(), "nothing".into());
                    return Err(RobotError::Diverged { robot: "arm".into(), secs: 0.6, what, before });
                }
                Trouble::Panic => panic!("the broad phase has lost a body"),
                Trouble::Leap => state.position[1] = 1.5,
                Trouble::Off(by) => state.position[1] += by,
            }
        }
        match state.first_not_finite(self.robot.contract()) {
            None => Ok(stamp),
            Some(what) => Err(RobotError::NotFinite { robot: "arm".into(), what }),
        }
    }
    fn write(&mut self, command: SafeCommand<'_>) -> Result<(), RobotError> {
        self.ticks += 1;
        self.robot.write(command)
    }
    fn stop(&mut self) -> Result<(), RobotError> {
        self.robot.stop()
    }
}

impl World for Troubled {
    fn vary(&mut self, seed: u64) {
        if matches!(self.trouble, Trouble::Drawn) {
            self.drawn = Stream::new(seed, "drawn", 0).uniform(0.0, 0.1);
        }
    }
    fn reset(&mut self, _: &RobotState) -> Result<(), RobotError> {
        self.ticks = 0;
        self.robot = IdealRobot::new(self.robot.contract().clone());
        Ok(())
    }
}

/// Noise, all of its own seed.
struct Wander(Stream);

impl Policy for Wander {
    fn slots(&self) -> usize {
        1
    }
    fn reset(&mut self, _: usize, _: ResetScope, seed: u64) {
        self.0 = Stream::new(seed, "wander", 0);
    }
    fn act(&mut self, _: Rows<'_>, _: ActMode, mut actions: RowsMut<'_>) -> Result<(), PolicyError> {
        self.0.fill_normal(actions.row(0));
        Ok(())
    }
}

#[derive(Clone)]
struct Arm {
    trouble: Trouble,
    built: Arc<AtomicUsize>,
}

impl Parts for Arm {
    fn env(&self) -> Result<Box<dyn Env>, EngineError> {
        self.built.fetch_add(1, Ordering::Relaxed);
        let contract = RobotContract::parse(ARM, Path::new("arm.toml")).unwrap();
        let task = JointVelocityTask::new(&contract, STEPS).unwrap();
        let robot =
            Troubled { robot: IdealRobot::new(contract), trouble: self.trouble, ticks: 0, drawn: 0.0 };
        Ok(Box::new(RobotEnv::new(Box::new(task), Box::new(robot), 1e-9)?))
    }
    fn policy(&self, _: &EnvSpec) -> Result<Box<dyn Policy>, EngineError> {
        Ok(Box::new(Wander(Stream::new(0, "wander", 0))))
    }
}

fn side(trouble: Trouble) -> (Side, Arc<AtomicUsize>) {
    let built = Arc::new(AtomicUsize::new(0));
    let provenance = Provenance { scenario: "arm".into(), target: "here".into(), ..Provenance::default() };
    (Side { parts: Box::new(Arm { trouble, built: built.clone() }), provenance }, built)
}

fn suite(level: LevelConfig, trouble: Trouble, episodes: usize, golden: &Path) -> Suite {
    let scenario = Scenario {
        name: "arm".into(),
        level,
        seeds: SeedsConfig { seed: 1, episodes },
        faults: Vec::new(),
        control_loop: None,
        now: side(trouble).0,
        baseline: None,
    };
    Suite { name: "arms".into(), golden: golden.to_owned(), scenarios: vec![scenario] }
}

fn judge(suite: &Suite, to: &Path, bless: bool) -> (ScenarioReport, Vec<String>) {
    let mut notes = Vec::new();
    let mut told = |told: Told<'_>| {
        if let Told::Note(text) = told {
            notes.push(text.to_owned());
        }
    };
    let mut runner = Runner {
        directory: to,
        merged: &[],
        threads: 3,
        program: "this",
        interrupt: &Interrupt::new(),
        told: &mut told,
    };
    let judged = suite.judge(&mut runner, bless, "0").unwrap();
    (judged.report.scenarios[0].clone(), notes)
}

fn exact() -> LevelConfig {
    LevelConfig::BitExact(BitExactConfig {})
}

#[test]
fn a_change_of_one_bit_is_found_in_its_tick_and_lies_within_a_band() {
    let directory = tempfile::tempdir().unwrap();
    let (golden, at) = (directory.path().join("golden"), |name: &str| directory.path().join(name));
    let (blessed, _) = judge(&suite(exact(), Trouble::No, 20, &golden), &at("a"), true);
    assert_eq!(blessed.blessing, Some(Blessing::New));
    let (same, _) = judge(&suite(exact(), Trouble::No, 20, &golden), &at("b"), false);
    assert_eq!((same.verdict, same.reasons.as_slice()), (Verdict::Passed, &[][..]));
    let (changed, _) = judge(&suite(exact(), Trouble::Off(1e-6), 20, &golden), &at("c"), false);
    let divergence = changed.divergence.clone().unwrap();
    assert_eq!((changed.verdict, changed.differing), (Verdict::Regressed, 20));
    // Tick 29 is the one after which 30 ticks have gone by.
    assert_eq!(
        (divergence.unit.as_str(), divergence.at, divergence.signal.as_str()),
        ("tick", 29, "position/elbow")
    );
    assert!((divergence.now - divergence.golden - 1e-6).abs() < 2e-7, "{divergence:?}");
    let bands = || LevelConfig::Tolerance(ToleranceConfig::default());
    let (within, _) = judge(&suite(bands(), Trouble::Off(1e-6), 20, &golden), &at("d"), false);
    assert_eq!(within.verdict, Verdict::Passed, "{:?}", within.reasons);
    let (beyond, _) = judge(&suite(bands(), Trouble::Off(1e-2), 20, &golden), &at("e"), false);
    assert_eq!((beyond.verdict, beyond.divergence.unwrap().at), (Verdict::Regressed, 29));
    // Fewer golden episodes than are asked for: no verdict on the others.
    let (more, _) = judge(&suite(exact(), Trouble::No, 21, &golden), &at("f"), false);
    assert_eq!(more.verdict, Verdict::NotComparable);
}

#[test]
fn a_single_violation_fails_whatever_else_and_is_never_blessed() {
    let directory = tempfile::tempdir().unwrap();
    let (golden, to) = (directory.path().join("golden"), directory.path().join("to"));
    let statistical = LevelConfig::Statistical(StatisticalConfig::default());
    judge(&suite(statistical.clone(), Trouble::No, 40, &golden), &to, true);
    let (unsafe_now, _) =
        judge(&suite(statistical, Trouble::Leap, 40, &golden), &directory.path().join("x"), false);
    assert_eq!(unsafe_now.verdict, Verdict::Regressed);
    assert_eq!(
        unsafe_now.statistics.unwrap().decision,
        Some(Decision::NotWorse),
        "the statistics alone would pass it"
    );
    assert!(unsafe_now.reasons[0].contains("a single one fails"), "{:?}", unsafe_now.reasons);
    let (refused, _) = judge(
        &suite(exact(), Trouble::Leap, 2, &directory.path().join("other")),
        &directory.path().join("y"),
        true,
    );
    assert!(matches!(refused.blessing, Some(Blessing::Refused(_))), "{refused:?}");
    assert!(!directory.path().join("other/arm.json").exists());
}

#[test]
fn a_world_that_explodes_says_which_joint_and_leaves_its_last_states() {
    let directory = tempfile::tempdir().unwrap();
    let golden = directory.path().join("golden");
    judge(&suite(exact(), Trouble::No, 2, &golden), &directory.path().join("a"), true);
    for (trouble, words) in [
        (Trouble::Nan, "velocity of joint elbow is NaN"),
        (Trouble::Diverged, "position of joint elbow is not finite"),
        (Trouble::Panic, "the broad phase has lost a body"),
    ] {
        let to = directory.path().join(words);
        let (report, notes) = judge(&suite(exact(), trouble, 2, &golden), &to, false);
        assert_eq!((report.verdict, report.now.as_ref().unwrap().diverged), (Verdict::Regressed, 2));
        assert!(report.reasons[0].contains(words), "{:?}", report.reasons);
        let csv = std::fs::read_to_string(to.join("diverged/arm-now-0.csv")).unwrap();
        assert!(csv.starts_with("row,position/shoulder,position/elbow,velocity/shoulder"), "{csv}");
        assert!(notes.iter().any(|n| n.contains("diverged/arm-now-0.csv")), "{notes:?}");
        // The states up to the last one that there was.
        let last = csv.lines().last().unwrap();
        assert!(last.starts_with("29,") || last.starts_with("28,"), "{last}");
    }
}

#[test]
fn worlds_are_built_once_a_thread_and_kept_episodes_need_none() {
    let directory = tempfile::tempdir().unwrap();
    let mut arms = suite(exact(), Trouble::No, 40, &directory.path().join("golden"));
    let (now, built) = side(Trouble::No);
    arms.scenarios[0].now = now;
    let to = directory.path().join("to");
    judge(&arms, &to, true);
    assert!((1..=3).contains(&built.swap(0, Ordering::Relaxed)));
    judge(&arms, &to, false);
    assert_eq!(built.load(Ordering::Relaxed), 0);
}

#[test]
fn worlds_are_drawn_for_each_episode_behind_a_tap_and_behind_faults() {
    let arm = side(Trouble::Drawn).0.parts;
    let first = |env: &mut dyn Env, seed: u64| {
        let mut observation = vec![0.0; env.spec().observation_dim()];
        env.reset(seed, &mut observation).unwrap();
        observation
    };
    let mut plain = arm.env().unwrap();
    let late = ScheduledFault { from: 50, until: 60, fault: Fault::LostWrites };
    for faults in [&[][..], &[late]] {
        let mut tapped = tapped(arm.env().unwrap(), faults).unwrap().env;
        let [one, two] = [1, 2].map(|seed| first(&mut *tapped, seed));
        assert_ne!(one, two);
        assert_eq!([one, two], [1, 2].map(|seed| first(&mut *plain, seed)));
    }
}

/// Both joints, slowly, always the same way.
struct Steady;

impl Policy for Steady {
    fn slots(&self) -> usize {
        1
    }
    fn reset(&mut self, _: usize, _: ResetScope, _: u64) {}
    fn act(&mut self, _: Rows<'_>, _: ActMode, mut actions: RowsMut<'_>) -> Result<(), PolicyError> {
        actions.row(0).copy_from_slice(&[0.4, -0.4]);
        Ok(())
    }
}

struct SteadyArm(Arm);

impl Parts for SteadyArm {
    fn env(&self) -> Result<Box<dyn Env>, EngineError> {
        self.0.env()
    }
    fn policy(&self, _: &EnvSpec) -> Result<Box<dyn Policy>, EngineError> {
        Ok(Box::new(Steady))
    }
}

/// Two drives of the arm through its control loop.
fn drives(faults: Vec<ScheduledFault>, control_loop: ControlLoopConfig, golden: &Path) -> Suite {
    let mut suite = suite(exact(), Trouble::No, 2, golden);
    let scenario = &mut suite.scenarios[0];
    let built = Arc::new(AtomicUsize::new(0));
    scenario.now.parts = Box::new(SteadyArm(Arm { trouble: Trouble::No, built }));
    (scenario.faults, scenario.control_loop) = (faults, Some(control_loop));
    suite
}

const FROZEN: ScheduledFault = ScheduledFault { from: 60, until: 400, fault: Fault::FrozenObservations };
const STOPPED: MustEndConfig = MustEndConfig {
    end: DriveEnd::ProtectiveStop,
    cause: Some(Cause::TrackingError),
    within_ticks: Some(20),
    at_rest_within_ticks: Some(25),
};

#[test]
fn a_drive_that_a_fault_stops_is_judged_by_how_the_loop_stopped_it() {
    let directory = tempfile::tempdir().unwrap();
    let (golden, at) = (directory.path().join("golden"), |name: &str| directory.path().join(name));
    let stopped = ControlLoopConfig { must_end: Some(STOPPED), ..ControlLoopConfig::default() };
    let suite = |control_loop: &ControlLoopConfig| drives(vec![FROZEN], control_loop.clone(), &golden);
    let (blessed, _) = judge(&suite(&stopped), &at("a"), true);
    assert_eq!(blessed.blessing, Some(Blessing::New), "{blessed:?}");
    let (same, _) = judge(&suite(&stopped), &at("b"), false);
    assert_eq!((same.verdict, same.reasons.as_slice()), (Verdict::Passed, &[][..]));
    let now = same.now.unwrap();
    let drives = now.drives.unwrap();
    assert_eq!(drives.ends.keys().collect::<Vec<_>>(), ["protective_stop by tracking_error"]);
    let (reaction, rest) = (drives.reaction_ticks.unwrap()[1], drives.rest_ticks.unwrap()[1]);
    // 0.1 rad at 0.4 rad/s is 13 periods, and five in a row above that; braking from there takes two.
    assert!((15..21).contains(&reaction) && (reaction..reaction + 5).contains(&rest), "{reaction} {rest}");
    assert_eq!((now.safety.violations, now.solved.successes, now.lost), (0, 0, 0));

    // A loop that reacts later is another one, and not what the suite asks for.
    let mut slack = stopped;
    slack.control.max_tracking_error = 0.15;
    let (later, _) = judge(&suite(&slack), &at("c"), false);
    assert_eq!((later.verdict, later.differing), (Verdict::Regressed, 2));
    let said = later.reasons.join("; ");
    assert!(said.contains("a reaction within 20 control periods of the fault, found after"), "{said}");
    assert!(said.contains("the control loop: golden braking (protective_stop) by tracking_error"), "{said}");
    let (refused, _) = judge(&suite(&slack), &at("d"), true);
    assert!(matches!(refused.blessing, Some(Blessing::Refused(_))), "{refused:?}");
    // Where nothing is asked for, it can be made golden.
    let (blessed, _) = judge(&suite(&ControlLoopConfig { must_end: None, ..slack }), &at("e"), true);
    assert!(
        matches!(&blessed.blessing, Some(Blessing::Changed(lines)) if lines[0].contains("control loop")),
        "{blessed:?}"
    );
}

#[test]
fn drives_end_by_their_task_or_in_the_mode_that_the_trouble_leads_to() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let silence = |from, until| ControlLoopConfig {
        silent_policy: vec![Periods { from, until }],
        ..ControlLoopConfig::default()
    };
    let fault = |from, fault| vec![ScheduledFault { from, until: 400, fault }];
    for (name, faults, control_loop, end) in [
        ("undisturbed", Vec::new(), ControlLoopConfig::default(), "task"),
        ("short silence", Vec::new(), silence(60, 66), "task"),
        ("silence", Vec::new(), silence(60, 400), "holding by policy_late"),
        ("silent from the start", Vec::new(), silence(0, 400), "holding by policy_late"),
        ("lost", fault(60, Fault::Lost), ControlLoopConfig::default(), "fault by observation_stale"),
        ("never seen", fault(0, Fault::LostReads), ControlLoopConfig::default(), "not_ready"),
    ] {
        let (report, _) = judge(&drives(faults, control_loop, &at("golden")), &at(name), true);
        let now = report.now.unwrap();
        let drives = now.drives.unwrap();
        assert_eq!(drives.ends, [(end.to_owned(), 2)].into_iter().collect(), "{name}");
        assert_eq!(now.safety.violations, 0, "{name}");
        let steps = now.steps;
        assert_eq!(steps == STEPS as f64, end == "task", "{name}: {steps} steps");
        assert_eq!(now.lost, if name == "lost" { 2 } else { 0 }, "{name}");
    }
}

#[test]
fn a_world_that_explodes_in_a_drive_diverged() {
    let directory = tempfile::tempdir().unwrap();
    for (trouble, words) in
        [(Trouble::Panic, "the broad phase has lost a body"), (Trouble::Nan, "velocity/elbow is NaN")]
    {
        let mut arms = drives(Vec::new(), ControlLoopConfig::default(), &directory.path().join("golden"));
        let built = Arc::new(AtomicUsize::new(0));
        arms.scenarios[0].now.parts = Box::new(SteadyArm(Arm { trouble, built }));
        let (report, _) = judge(&arms, &directory.path().join(words.replace('/', " ")), true);
        assert_eq!((report.verdict, report.now.unwrap().diverged), (Verdict::Regressed, 2));
        assert!(report.reasons[0].contains(words), "{:?}", report.reasons);
    }
}
