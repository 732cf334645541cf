//! Tasks that draw what is to be reached, through the control loop: policy, scene and recording have the goal of the episode's seed.

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use surefoot_core::{
    ActMode, Env, Episode, EpisodeSource, GuardedRobot, MarkerShape, Policy, ResetScope, RobotState, Rows,
    RowsMut, Task,
};
use surefoot_engine::control::{ControlConfig, DrivenEpisode, EpisodesFromTicks, Progress, Tick};
use surefoot_engine::live::{
    Driven, LiveClock, LiveConfig, Order, Session, SessionParts, TickSink, Unattended, resettable,
};
use surefoot_engine::{EpisodeSeeds, EvalConfig, Interrupt};
use surefoot_sim::{DemonstratorConfig, DemonstratorContext, EnvConfig, EnvContext, arm};

use crate::linked::Served;
use crate::program::{TINY, Workplace};

const SEEDS: [u64; 3] = [1, 2, 30];

fn env(text: &str) -> Box<dyn Env> {
    let config: EnvConfig = toml::from_str(text).unwrap();
    config.build(&EnvContext::default()).unwrap()
}

fn demonstrator(text: &str, env: &dyn Env) -> Box<dyn Policy> {
    let config: DemonstratorConfig = toml::from_str(text).unwrap();
    config.build(&DemonstratorContext { spec: env.spec().clone(), slots: 1 }).unwrap()
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

/// Episodes of `SEEDS` through the control loop on simulated time, and their ticks.
fn rolled_out(task: &str, policy: Box<dyn Policy>, control: ControlConfig) -> (Vec<Episode>, Vec<Tick>) {
    let robot = || env(task).into_robot().unwrap();
    let ((own, world), (reader_task, _), (scene_task, _)) = (robot(), robot(), robot());
    let guarded = GuardedRobot::new(world, arm::TRACKING_TOLERANCE_RAD).unwrap();
    let (robot, scene) = resettable(Box::new(guarded), scene_task);
    let ticks = Ticks::default();
    let parts = SessionParts {
        robot: Box::new(robot),
        task: own,
        reader_task,
        scene: Box::new(scene),
        operator: Box::new(Unattended),
        episodes: None,
        recorded: 0,
        ticks: Some(Box::new(ticks.clone())),
    };
    let config = LiveConfig { clock: LiveClock::Simulated, control, ..LiveConfig::default() };
    let mut session = Session::new(parts, &config, policy.into()).unwrap();
    let mut episodes = Vec::new();
    for seed in SEEDS {
        let order = Order {
            name: format!("seed_{seed}"),
            seeds: EpisodeSeeds { reset: seed, noise: seed },
            mode: ActMode::Exploit,
            scope: ResetScope::Task,
            speed_percent: 100,
        };
        match session.drive(&order, &Interrupt::new()).unwrap() {
            Driven::Episodes { ordered, .. } => episodes.extend(ordered.into_iter().map(|d| d.episode)),
            other => panic!("{other:?}"),
        }
    }
    let _ = session.close();
    let ticks = ticks.0.lock().unwrap().clone();
    (episodes, ticks)
}

/// First observation, sum of rewards and success of the stepped environment.
fn stepped(env: &mut dyn Env, policy: &mut dyn Policy, seed: u64) -> (Vec<f32>, f64, bool) {
    let (mut o, dim) = (vec![0.0; env.spec().observation_dim()], env.spec().action_dim());
    let (mut action, mut executed) = (vec![0.0; dim], vec![0.0; dim]);
    env.reset(seed, &mut o).unwrap();
    let first = o.clone();
    policy.reset(0, ResetScope::Task, seed);
    let mut sum = 0.0;
    loop {
        let rows = RowsMut::new(&mut action, dim);
        policy.act(Rows::new(&o, o.len()), ActMode::Exploit, rows).unwrap();
        let outcome = env.step(&action, &mut o, &mut executed).unwrap();
        sum += f64::from(outcome.reward);
        if outcome.end.is_last() {
            return (first, sum, outcome.success);
        }
    }
}

/// Where the goal of a scene is, and how near is there.
fn goal(task: &mut dyn Task, initial: &mut RobotState, seed: u64) -> ([f32; 3], f32) {
    task.begin_episode(seed, initial);
    match task.markers()[..] {
        [marker] => match marker.shape {
            MarkerShape::Ball(radius) => (marker.center, radius),
            MarkerShape::Box(_) => panic!("{marker:?}"),
        },
        ref other => panic!("{other:?}"),
    }
}

/// Every row of a reach episode shows the scene's target, and it succeeded if and only if it got there.
fn check_reach(e: &Episode, seed: u64) {
    let (mut task, world) = env("reach = {}").into_robot().unwrap();
    let (target, near) = goal(&mut *task, &mut RobotState::zeros(world.contract()), seed);
    assert_eq!(e.seed, Some(seed));
    for row in e.observation.chunks(9).chain(e.next_observation.chunks(9)) {
        for axis in 0..3 {
            let seen = row[axis] + row[6 + axis];
            assert!((seen - target[axis]).abs() < 1e-5, "seed {seed}: {seen} and {target:?}");
        }
    }
    let miss = |row: &[f32]| row[6..].iter().map(|x| x * x).sum::<f32>().sqrt();
    let nearest = e.next_observation.chunks(9).map(miss).fold(f32::INFINITY, f32::min);
    assert_eq!(e.success, Some(nearest <= near), "seed {seed}: {nearest} m");
}

#[test]
fn a_reach_rollout_is_recorded_with_the_target_of_its_scene_and_succeeds_there() {
    let mut world = env("reach = {}");
    let mut policy = demonstrator("reach = { failure_share = 0.0 }", &*world);
    let (episodes, ticks) = rolled_out(
        "reach = {}",
        demonstrator("reach = { failure_share = 0.0 }", &*world),
        ControlConfig::default(),
    );
    assert_eq!(episodes.len(), SEEDS.len());
    for (e, seed) in episodes.iter().zip(SEEDS) {
        check_reach(e, seed);
        let (first, sum, success) = stepped(&mut *world, &mut *policy, seed);
        for (ours, theirs) in e.observation.iter().zip(&first) {
            assert!((ours - theirs).abs() < 2e-3, "seed {seed}: {ours} and {theirs} at the start");
        }
        assert_eq!((e.success, success), (Some(true), true), "seed {seed}");
        // The loop fades the policy in: some steps later.
        assert!((e.episode_return() - sum).abs() <= 6.0, "seed {seed}: {} and {sum}", e.episode_return());
    }
    let (task, robot) = env("reach = {}").into_robot().unwrap();
    let mut reader = EpisodesFromTicks::new(task, robot.contract()).unwrap();
    let again: Vec<DrivenEpisode> = ticks.iter().filter_map(|tick| reader.push(tick)).collect();
    assert_eq!(again.len(), episodes.len());
    for (again, e) in again.iter().zip(&episodes) {
        let again = &again.episode;
        assert!(again.observation == e.observation && again.reward == e.reward, "{}", e.name);
        assert_eq!((again.seed, again.success), (e.seed, e.success));
    }
}

/// Two links on a table that are moved by servos.
const SERVO_ARM: &str = r#"<mujoco model="servo_arm">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="0.002"/>
  <default><geom type="capsule" size="0.03" density="800" contype="0" conaffinity="0"/><joint axis="0 0 1" armature="0.05"/></default>
  <worldbody>
    <body name="upper" pos="0 0 0.13">
      <joint name="shoulder" range="-2.6 2.6"/>
      <geom fromto="0 0 0 0.4 0 0"/>
      <body name="lower" pos="0.4 0 0">
        <joint name="elbow" range="-2.6 2.6"/>
        <geom fromto="0 0 0 0.3 0 0"/>
        <site name="tip" pos="0.33 0 0"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <position joint="shoulder" kp="400" kv="12" ctrlrange="-2.6 2.6"/>
    <position joint="elbow" kp="400" kv="12" ctrlrange="-2.6 2.6"/>
  </actuator>
</mujoco>
"#;

const FIND_THE_PLACE: &str = r#"
name = "find_the_place"
max_steps = 20
places = [{ name = "goal", low_m = [0.25, -0.45, 0.13], high_m = [0.55, 0.45, 0.13], radius_m = 0.03 }]
observations = [
    { position = { of = "tip", axes = "xy" } },
    { offset = { from = "tip", to = "goal", axes = "xy" } },
    { action = {} },
]
rewards = [{ name = "far", weight = -1.0, of = { distance = { from = "tip", to = "goal" } } }]
[start]
position_noise = 0.5
"#;

#[test]
fn places_of_a_model_are_those_of_the_scene_in_a_rollout() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (model, task) = (write("arm.xml", SERVO_ARM), write("task.toml", FIND_THE_PLACE));
    let text = format!("model = {{ path = {model:?}, task_file = {task:?} }}");
    let mut world = env(&text);
    let (mut own, body) = env(&text).into_robot().unwrap();
    let mut initial = RobotState::zeros(body.contract());
    let (episodes, _) = rolled_out(&text, demonstrator("random = {}", &*world), ControlConfig::default());
    assert_eq!(episodes.len(), SEEDS.len());
    for (e, seed) in episodes.iter().zip(SEEDS) {
        let (place, _) = goal(&mut *own, &mut initial, seed);
        for row in e.observation.chunks(6).chain(e.next_observation.chunks(6)) {
            let seen = [row[0] + row[2], row[1] + row[3]];
            assert!((seen[0] - place[0]).abs() + (seen[1] - place[1]).abs() < 1e-5, "{seen:?}: {place:?}");
        }
        for (step, row) in e.next_observation.chunks(6).enumerate() {
            let far = row[2].hypot(row[3]);
            assert!((e.reward[step] + far).abs() < 1e-5, "{} for {far} m", e.reward[step]);
        }
        let (first, ..) = stepped(&mut *world, &mut *demonstrator("random = {}", &*env(&text)), seed);
        assert!(e.observation.iter().zip(&first).all(|(a, b)| (a - b).abs() < 1e-2), "{first:?}");
        let acted = e.next_observation.chunks(6).map(|row| row[4].abs() + row[5].abs()).sum::<f32>();
        assert!(acted > 1.0, "the last action is seen, and not zeros: {acted}");
    }
}

/// Its reward and success are over the whole way: a recording that does not follow the task tick by tick never has one.
#[test]
fn a_quadruped_that_follows_its_command_is_recorded_as_a_success() {
    let task = "quadruped = {}";
    let mut world = env(task);
    let policy = || demonstrator("quadruped = { failure_share = 0.0 }", &*env(task));
    // Legs that carry the robot are not where they are commanded to be.
    let control =
        ControlConfig { max_tracking_error: 0.5, startup_max_speed: 2.0, ..ControlConfig::default() };
    let (episodes, _) = rolled_out(task, policy(), control);
    assert_eq!(episodes.len(), SEEDS.len());
    for (e, seed) in episodes.iter().zip(SEEDS) {
        let (first, sum, success) = stepped(&mut *world, &mut *policy(), seed);
        assert_eq!(e.observation[9..12], first[9..12], "seed {seed}: the command");
        assert_eq!((e.success, success), (Some(true), true), "seed {seed}");
        let found = e.episode_return();
        assert!((found - sum).abs() < 0.25 * sum, "seed {seed}: {found} and {sum}");
    }
}

/// Of a recording: the episodes, in order.
fn recorded(path: &Path) -> Vec<Episode> {
    let source: Box<dyn EpisodeSource> = surefoot_datasets::open(path).unwrap();
    (0..source.len()).map(|i| source.episode(i).unwrap()).collect()
}

#[test]
fn a_rollout_over_a_link_has_the_targets_that_the_scenes_were_put_back_for() {
    let workplace = Workplace::new();
    let text = TINY.replace("[env.push]", "[env.reach]").replace("push = {}", "reach = {}");
    let offline: String = text.lines().filter(|l| !l.starts_with("online")).flat_map(|l| [l, "\n"]).collect();
    let offline = offline.replace("[[phase]]\n[eval]", "[eval]");
    std::fs::write(workplace.path("reach.toml"), offline).unwrap();
    workplace.succeed(&["train", "reach.toml", "--run-dir", "run", "--quiet"]);
    let served = Served::of("reach", &workplace, &[]);
    let seeds = EvalConfig { episodes: 2, seed: 3 }.seeds();
    let rollout = ["rollout", "run", "--episodes", "2", "--seed", "3", "--json", "--record"];
    for (to, more) in [("here", &[][..]), ("there", &["--robot", "served.toml"][..])] {
        let args = [&rollout[..], &[to], more].concat();
        let told: Value =
            serde_json::from_str(workplace.succeed(&args).lines().last().unwrap_or_default()).unwrap();
        let episodes = recorded(&workplace.path(to));
        assert_eq!(episodes.len(), 2, "{told}");
        for (e, seeds) in episodes.iter().zip(&seeds) {
            check_reach(e, seeds.reset);
        }
        let ticks = format!("{to}/ticks-0.mcap");
        workplace.succeed(&["replay", &ticks, "--against", to]);
    }
    served.end();
}
