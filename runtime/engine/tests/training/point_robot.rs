//! A point in a square that shall drive to a goal, with the real safety chain between policy and world.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use surefoot_core::env::check_row;
use surefoot_core::{
    ActMode, Env, EnvError, EnvSpec, Episode, Field, Frame, Outcome, Policy, PolicyError, ResetScope, Rows,
    RowsMut, StepEnd, StepFigures, Stream, VecEnv,
};
use surefoot_engine::{EpisodeSeeds, Interrupt, Watch, rollout};
use surefoot_safety::{JointLimits, LimitMonitor, SafetyChain, SafetyCounts, Scaling, Verdict};

pub const STEP_SECS: f64 = 0.1;
const MAX_SPEED: f64 = 0.5;
const GOAL_RADIUS: f64 = 0.08;

/// Counts env steps and updates, and asks to stop at one of them.
#[derive(Clone, Default)]
pub struct Tripwire {
    pub interrupt: Interrupt,
    pub count: Arc<AtomicU64>,
    pub at: u64,
    /// Counts at which the world's process is lost, as behind a link.
    pub lose_at: Vec<u64>,
}

impl Tripwire {
    pub fn at(at: u64) -> Self {
        Self { at, ..Self::default() }
    }
    pub fn count(&self) {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == self.at {
            self.interrupt.request();
        }
    }
}

pub struct PointRobot {
    spec: EnvSpec,
    chain: SafetyChain,
    monitor: LimitMonitor,
    counted: SafetyCounts,
    goal: [f64; 2],
    steps: usize,
    filter_run_ticks: u64,
    stopping: bool,
    tripwire: Tripwire,
}

pub fn spec() -> EnvSpec {
    let axis = |name: &str| Field::bounded(name, "m", -1.0, 1.0);
    EnvSpec {
        name: "point_robot".into(),
        observation: ["x", "y", "goal_x", "goal_y"].map(axis).into(),
        action: ["x_velocity", "y_velocity"]
            .map(|n| Field::bounded(n, "m/s", -MAX_SPEED as f32, MAX_SPEED as f32))
            .into(),
        step_secs: STEP_SECS,
        max_steps: 40,
        reward_range: Some((-1.0, 0.0)),
        contract_hash: None,
    }
}

impl PointRobot {
    pub fn new(tripwire: Tripwire) -> Result<Self, EnvError> {
        let limits = vec![JointLimits::new(-1.0, 1.0, MAX_SPEED, 4.0)?; 2];
        Ok(Self {
            spec: spec(),
            monitor: LimitMonitor::new(&limits, STEP_SECS),
            chain: SafetyChain::motion(limits, Scaling::PerJoint, STEP_SECS)?,
            counted: SafetyCounts::default(),
            goal: [0.0; 2],
            steps: 0,
            filter_run_ticks: 0,
            stopping: false,
            tripwire,
        })
    }

    pub fn boxed(tripwire: &Tripwire) -> Result<Box<dyn Env>, EnvError> {
        Ok(Box::new(Self::new(tripwire.clone())?))
    }

    fn observe(&self, observation: &mut [f32]) {
        let p = self.chain.state().position;
        for (o, x) in observation.iter_mut().zip([p[0], p[1], self.goal[0], self.goal[1]]) {
            *o = x as f32;
        }
    }
}

impl Env for PointRobot {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: u64, observation: &mut [f32]) -> Result<(), EnvError> {
        check_row("observation", 4, observation.len())?;
        let mut stream = Stream::new(seed, "reset", 0);
        let start = [stream.uniform(-0.9, -0.3), stream.uniform(-0.9, 0.9)];
        self.goal = [stream.uniform(0.2, 0.9), stream.uniform(-0.9, 0.9)];
        self.chain.arm(&start)?;
        self.monitor.arm(&start);
        self.counted = SafetyCounts::default();
        self.steps = 0;
        self.filter_run_ticks = 0;
        self.stopping = false;
        self.observe(observation);
        Ok(())
    }

    fn step(
        &mut self,
        action: &[f32],
        observation: &mut [f32],
        executed: &mut [f32],
    ) -> Result<Outcome, EnvError> {
        check_row("action", 2, action.len())?;
        self.tripwire.count();
        if self.tripwire.lose_at.contains(&self.tripwire.count.load(Ordering::Relaxed)) {
            return Err(EnvError::Lost { env: "point_robot".into(), reason: "its server has gone".into() });
        }
        let before = [self.chain.state().position[0], self.chain.state().position[1]];
        let desired = [f64::from(action[0]) * MAX_SPEED, f64::from(action[1]) * MAX_SPEED];
        let command = self.chain.admit(&desired);
        self.monitor.observe(&command);
        let verdict = command.verdict();
        self.filter_run_ticks = if verdict > Verdict::Passed { self.filter_run_ticks + 1 } else { 0 };
        let stops = u64::from(verdict == Verdict::Stopped && !self.stopping);
        self.stopping = verdict == Verdict::Stopped;
        let path = command.velocity().iter().map(|v| v.abs()).sum::<f64>() * STEP_SECS;
        let after = [command.position()[0], command.position()[1]];
        for ((e, a), b) in executed.iter_mut().zip(after).zip(before) {
            *e = ((a - b) / (STEP_SECS * MAX_SPEED)) as f32;
        }
        self.steps += 1;
        self.observe(observation);
        let success = (after[0] - self.goal[0]).hypot(after[1] - self.goal[1]) < GOAL_RADIUS;
        let now = self.monitor.counts();
        let before = std::mem::replace(&mut self.counted, now);
        Ok(Outcome {
            reward: if success { 0.0 } else { -1.0 },
            end: StepEnd::from_flags(success, self.steps >= self.spec.max_steps),
            success,
            safety: SafetyCounts {
                ticks: now.ticks - before.ticks,
                adjusted: now.adjusted - before.adjusted,
                stops: now.stops - before.stops,
                violations: now.violations - before.violations,
            },
            figures: StepFigures {
                path,
                stops,
                filter_run_ticks: self.filter_run_ticks,
                ..StepFigures::default()
            },
        })
    }

    fn set_speed_scale(&mut self, scale: f64) -> Result<(), EnvError> {
        Ok(self.chain.set_speed_scale(scale)?)
    }

    fn render(&self, width: usize, height: usize) -> Option<Frame> {
        let mut rgb = Vec::with_capacity(width * height * 3);
        let p = self.chain.state().position;
        let scale = 2.2 / width.min(height) as f64;
        for row in 0..height {
            for column in 0..width {
                let x = (column as f64 - width as f64 / 2.0) * scale;
                let y = (height as f64 / 2.0 - row as f64) * scale;
                let near = |a: f64, b: f64| (x - a).hypot(y - b) < GOAL_RADIUS;
                rgb.extend(if near(p[0], p[1]) {
                    [40, 90, 200]
                } else if near(self.goal[0], self.goal[1]) {
                    [60, 170, 90]
                } else if x.abs() < 1.0 && y.abs() < 1.0 {
                    [235, 236, 240]
                } else {
                    [200, 203, 210]
                });
            }
        }
        Some(Frame { width, height, rgb })
    }
}

/// A demonstrator that drives roughly to the goal, with a bias that makes it miss now and then.
pub struct Demonstrator {
    streams: Vec<Stream>,
}

impl Demonstrator {
    pub fn new(slots: usize) -> Self {
        Self { streams: (0..slots).map(|i| Stream::new(0, "demonstrator", i as u64)).collect() }
    }
}

impl Policy for Demonstrator {
    fn slots(&self) -> usize {
        self.streams.len()
    }
    fn reset(&mut self, slot: usize, _scope: ResetScope, seed: u64) {
        self.streams[slot] = Stream::new(seed, "demonstrator", 0);
    }
    fn act(
        &mut self,
        observations: Rows<'_>,
        _mode: ActMode,
        mut actions: RowsMut<'_>,
    ) -> Result<(), PolicyError> {
        for slot in 0..observations.len() {
            let o = observations.row(slot);
            let s = &mut self.streams[slot];
            let row = actions.row(slot);
            for axis in 0..2 {
                let towards = 1.2 * f64::from(o[2 + axis] - o[axis]) + 0.12;
                row[axis] = (towards + 0.5 * s.normal()).clamp(-1.0, 1.0) as f32;
            }
        }
        Ok(())
    }
}

pub fn worlds(n: usize) -> VecEnv {
    let envs = (0..n).map(|_| PointRobot::boxed(&Tripwire::default()).unwrap()).collect();
    VecEnv::new(envs).unwrap()
}

pub fn seeds(n: u64, seed: u64) -> Vec<EpisodeSeeds> {
    (0..n)
        .map(|i| {
            let mut s = Stream::new(seed, "test episodes", i);
            EpisodeSeeds { reset: s.bits(), noise: s.bits() }
        })
        .collect()
}

pub fn run(
    worlds: &mut VecEnv,
    policy: &mut dyn Policy,
    mode: ActMode,
    seeds: &[EpisodeSeeds],
) -> Vec<Episode> {
    let interrupt = Interrupt::new();
    let mut watch = Watch { interrupt: &interrupt, progress: &mut |_| {} };
    rollout(worlds, policy, mode, seeds, "test", &mut watch).unwrap()
}

pub fn demonstrations(n: u64) -> Vec<Episode> {
    run(&mut worlds(4), &mut Demonstrator::new(4), ActMode::Explore, &seeds(n, 1))
}
