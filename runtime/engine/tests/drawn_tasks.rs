//! A task that draws its goal and remembers what it was asked is the same one everywhere: in the scene, to the policy, in the recorded
//! episodes, in those that are made of recorded ticks, and in the stepped environment of the same seed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use surefoot_core::{
    ActMode, Env, EnvSpec, Feedback, Field, IdealRobot, JointVelocityTask, Policy, PolicyError, ResetScope,
    Robot, RobotContract, RobotEnv, RobotError, RobotState, Rows, RowsMut, Stamp, Stream, Task, TaskOutcome,
    World,
};
use surefoot_engine::control::{
    ControlConfig, ControlLoop, DrivenEpisode, EpisodesFromTicks, Lockstep, Mode, Progress, Request, Tick,
    Versioned,
};
use surefoot_engine::live::{
    Driven, LiveClock, LiveConfig, Order, Session, SessionParts, TickSink, Unattended, resettable,
};
use surefoot_engine::{EpisodeSeeds, Interrupt};
use surefoot_safety::{CommandState, SafeCommand};

const CONTRACT: &str = r#"
name = "slider"
control_hz = 100.0
policy_hz = 20.0
[[joints]]
name = "x"
unit = "m"
min_position = -1.0
max_position = 1.0
max_velocity = 0.5
max_acceleration = 2.0
"#;

fn contract() -> RobotContract {
    RobotContract::parse(CONTRACT, Path::new("slider.toml")).unwrap()
}

/// Bring the slider to a place that is drawn. Each question costs a little, and how many there were is seen.
struct Errand {
    inner: JointVelocityTask,
    spec: EnvSpec,
    target: f64,
    asked: u32,
}

impl Errand {
    fn new() -> Box<Self> {
        let inner = JointVelocityTask::new(&contract(), 60).unwrap();
        let mut spec = inner.spec().clone();
        spec.observation.push(Field::unbounded("to_target", "m"));
        spec.observation.push(Field::unbounded("asked", "1"));
        spec.reward_range = None;
        Box::new(Self { inner, spec, target: 0.0, asked: 0 })
    }
}

impl Task for Errand {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }
    fn reset(&mut self, stream: &mut Stream, initial: &mut RobotState) {
        self.target = stream.uniform(0.2, 0.6);
        initial.position[0] = stream.uniform(-0.3, 0.0);
        self.asked = 0;
    }
    fn desired(
        &mut self,
        state: &RobotState,
        command: CommandState<'_>,
        action: &[f32],
        desired: &mut [f64],
    ) {
        self.asked += 1;
        self.inner.desired(state, command, action, desired);
    }
    fn executed(&self, before: &[f64], after: &[f64], effort: &[f64], step_secs: f64, action: &mut [f32]) {
        self.inner.executed(before, after, effort, step_secs, action);
    }
    fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
        let x = state.position[0];
        observation.copy_from_slice(&[x as f32, (self.target - x) as f32, self.asked as f32]);
    }
    fn outcome(&mut self, state: &RobotState, _: &[f32]) -> TaskOutcome {
        let far = (self.target - state.position[0]).abs();
        let success = far < 0.02;
        TaskOutcome { reward: -(far + 0.001 * f64::from(self.asked)) as f32, terminated: success, success }
    }
}

/// The slider as a world.
struct Slider(IdealRobot);

impl Robot for Slider {
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
}

impl World for Slider {
    fn vary(&mut self, _seed: u64) {}
    fn reset(&mut self, initial: &RobotState) -> Result<(), RobotError> {
        self.0 = IdealRobot::new(contract()).at(&initial.position);
        Ok(())
    }
}

fn slider() -> Box<dyn World> {
    Box::new(Slider(IdealRobot::new(contract())))
}

/// Goes where it sees the target to be, and remembers what it saw and was paid.
#[derive(Clone, Default)]
struct Goer(Arc<Mutex<Lived>>);

/// `[steps, 3]`, `[steps]`.
#[derive(Clone, Debug, Default, PartialEq)]
struct Lived {
    seen: Vec<f32>,
    paid: Vec<f32>,
}

fn towards(observation: &[f32]) -> f32 {
    (8.0 * observation[1]).clamp(-1.0, 1.0)
}

impl Policy for Goer {
    fn slots(&self) -> usize {
        1
    }
    fn reset(&mut self, _: usize, _: ResetScope, _: u64) {
        *self.0.lock().unwrap() = Lived::default();
    }
    fn act(&mut self, o: Rows<'_>, _: ActMode, mut actions: RowsMut<'_>) -> Result<(), PolicyError> {
        self.0.lock().unwrap().seen.extend_from_slice(o.row(0));
        actions.row(0)[0] = towards(o.row(0));
        Ok(())
    }
    fn observe(&mut self, feedback: &[Feedback<'_>]) {
        self.0.lock().unwrap().paid.push(feedback[0].outcome.reward);
    }
}

#[derive(Clone, Default)]
struct Ticks(Arc<Mutex<Vec<Tick>>>);

impl TickSink for Ticks {
    fn keep(&mut self, tick: &Tick, _: &Progress<'_>) -> std::io::Result<()> {
        self.0.lock().unwrap().push(tick.clone());
        Ok(())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const SEEDS: [u64; 3] = [4, u64::MAX, 5];

/// What the control loop makes of these seeds: episodes, what the policy lived, and the ticks.
fn rolled_out() -> (Vec<DrivenEpisode>, Vec<Lived>, Vec<Tick>) {
    let (robot, scene) = resettable(slider(), Errand::new());
    let (ticks, goer) = (Ticks::default(), Goer::default());
    let parts = SessionParts {
        robot: Box::new(robot),
        task: Errand::new(),
        reader_task: Errand::new(),
        scene: Box::new(scene),
        operator: Box::new(Unattended),
        episodes: None,
        recorded: 0,
        ticks: Some(Box::new(ticks.clone())),
    };
    let config = LiveConfig { clock: LiveClock::Simulated, ..LiveConfig::default() };
    let policy: Box<dyn Policy> = Box::new(goer.clone());
    let mut session = Session::new(parts, &config, policy.into()).unwrap();
    let (mut episodes, mut lives) = (Vec::new(), Vec::new());
    for seed in SEEDS {
        let order = Order {
            name: format!("seed_{seed}"),
            seeds: EpisodeSeeds { reset: seed, noise: 0 },
            mode: ActMode::Exploit,
            scope: ResetScope::Task,
            speed_percent: 100,
        };
        match session.drive(&order, &Interrupt::new()).unwrap() {
            Driven::Episodes { ordered, .. } => episodes.extend(ordered),
            other => panic!("{other:?}"),
        }
        lives.push(goer.0.lock().unwrap().clone());
    }
    let _ = session.close();
    let ticks = ticks.0.lock().unwrap().clone();
    (episodes, lives, ticks)
}

#[test]
fn a_rollout_has_the_goals_of_its_scenes_to_the_policy_and_in_the_recording() {
    let (episodes, lives, _) = rolled_out();
    assert_eq!(episodes.len(), SEEDS.len());
    for ((driven, lived), seed) in episodes.iter().zip(&lives).zip(SEEDS) {
        let e = &driven.episode;
        let (mut task, mut initial) = (Errand::new(), RobotState::zeros(&contract()));
        task.begin_episode(seed, &mut initial);
        assert_eq!((e.seed, e.success), (Some(seed), Some(true)), "{}", e.name);
        assert_eq!(e.observation[..3], [initial.position[0] as f32, e.observation[1], 0.0]);
        for row in e.observation.chunks(3).chain(e.next_observation.chunks(3)) {
            assert!((f64::from(row[0] + row[1]) - task.target).abs() < 1e-6, "{row:?}: {}", task.target);
        }
        let end = e.next_observation[e.next_observation.len() - 2].abs();
        assert!(end < 0.02, "it succeeded where the scene's goal is: {end}");
        assert_eq!((&lived.seen, &lived.paid), (&e.observation, &e.reward), "the policy lived the same");
    }
}

#[test]
fn a_rollout_is_what_the_stepped_environment_of_the_same_seed_is() {
    let (episodes, ..) = rolled_out();
    let mut env = RobotEnv::new(Errand::new(), slider(), 1e-9).unwrap();
    let (mut o, mut executed) = ([0.0; 3], [0.0]);
    for (driven, seed) in episodes.iter().zip(SEEDS) {
        let e = &driven.episode;
        env.reset(seed, &mut o).unwrap();
        assert_eq!(e.observation[..3], o, "it begins alike");
        let mut step = 0;
        let success = loop {
            let outcome = env.step(&[towards(&o)], &mut o, &mut executed).unwrap();
            // The loop fades the policy in, so that it is a little behind.
            if let Some(row) = e.next_observation.chunks(3).nth(step) {
                assert!((row[0] - o[0]).abs() < 0.1, "seed {seed}, step {step}: {row:?} and {o:?}");
                assert!((e.reward[step] - outcome.reward).abs() < 0.1);
                assert!(row[2] == o[2] || outcome.end.is_last(), "asked as often: {row:?} and {o:?}");
            }
            step += 1;
            if outcome.end.is_last() {
                break outcome.success;
            }
        };
        assert_eq!(e.success, Some(success));
        assert!(e.len().abs_diff(step) <= 6, "{} and {step} steps", e.len());
    }
}

#[test]
fn recorded_ticks_give_episodes_with_the_goals_they_were_driven_for() {
    let (episodes, _, ticks) = rolled_out();
    let mut reader = EpisodesFromTicks::new(Errand::new(), &contract()).unwrap();
    let again = ticks.iter().filter_map(|tick| {
        let line = serde_json::to_string(tick).unwrap();
        reader.push(&serde_json::from_str(&line).unwrap())
    });
    let again: Vec<DrivenEpisode> = again
        .zip(&episodes)
        .map(|(mut driven, meant)| {
            driven.episode.name.clone_from(&meant.episode.name);
            driven
        })
        .collect();
    assert!(again == episodes);
}

#[test]
fn a_seed_that_comes_in_the_middle_of_a_drive_is_for_the_next_one() {
    let (control, ports) =
        ControlLoop::new(Box::new(IdealRobot::new(contract())), Errand::new(), ControlConfig::default(), 64)
            .unwrap();
    let policy = Versioned { version: 1, policy: Box::new(Goer::default()) };
    let mut run = Lockstep::new(control, ports, policy, 0);
    let mut reader = EpisodesFromTicks::new(Errand::new(), &contract()).unwrap();
    let (mut episodes, mut seeds) = (Vec::new(), Vec::new());
    for t in 0..160 {
        let wish = match t {
            2 => Some(Request::Seed(7)),
            3 => Some(Request::Arm),
            40 | 100 => Some(Request::Run),
            50 => Some(Request::Seed(8)),
            60 | 120 => Some(Request::Hold),
            _ => None,
        };
        if let Some(wish) = wish {
            assert!(run.ask(wish));
        }
        run.period();
        while let Some(tick) = run.ports.ticks.receive() {
            if matches!(tick.mode, Mode::Running(_)) && seeds.last() != Some(&tick.seed) {
                seeds.push(tick.seed);
            }
            assert!(tick.refusal.is_none(), "{:?}", tick.refusal);
            episodes.extend(reader.push(&tick));
            run.ports.ticks.give_back(tick);
        }
    }
    assert_eq!(seeds, [7, 8]);
    let targets: Vec<f64> =
        episodes.iter().map(|d| f64::from(d.episode.observation[0] + d.episode.observation[1])).collect();
    for (target, seed) in targets.iter().zip(seeds) {
        let mut task = Errand::new();
        task.begin_episode(seed, &mut RobotState::zeros(&contract()));
        assert!((target - task.target).abs() < 1e-6);
    }
    assert_eq!(targets.len(), 2);
}
