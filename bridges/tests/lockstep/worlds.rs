//! A small environment whose every number depends on seed, step and action, and a server of it on a thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use surefoot_bridges::lockstep::{LinkConfig, LockstepServer, NAMESPACE, ServeConfig};
use surefoot_core::env::check_row;
use surefoot_core::safety::SafetyCounts;
use surefoot_core::{Env, EnvError, EnvSpec, Field, Outcome, StepEnd, StepFigures, Stream, VecEnv};

/// What a world of the tests does otherwise than usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// Observes NaN after its second step.
    Nan,
    /// Fails in its second step.
    Fails,
}

pub fn spec(observations: usize) -> EnvSpec {
    EnvSpec {
        name: "walk".into(),
        observation: (0..observations).map(|i| Field::unbounded(format!("x{i}"), "m")).collect(),
        action: vec![Field::bounded("left", "N", -2.0, 2.0), Field::bounded("right", "N", -2.0, 2.0)],
        step_secs: 0.05,
        max_steps: 12,
        reward_range: Some((-1.0, 1.0)),
        // As if a robot were behind it, so that its figures travel.
        contract_hash: Some("c0ffee".into()),
    }
}

pub struct Walk {
    spec: EnvSpec,
    state: Vec<f64>,
    ends_at: usize,
    end: StepEnd,
    steps: usize,
    fault: Fault,
}

impl Walk {
    pub fn boxed(observations: usize, fault: Fault) -> Box<dyn Env> {
        let state = vec![0.0; observations];
        Box::new(Self { spec: spec(observations), state, ends_at: 1, end: StepEnd::Running, steps: 0, fault })
    }
}

impl Env for Walk {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, seed: u64, observation: &mut [f32]) -> Result<(), EnvError> {
        let mut stream = Stream::new(seed, "walk", 0);
        self.state.iter_mut().for_each(|x| *x = stream.normal());
        self.ends_at = 4 + stream.below(10);
        self.end = if stream.below(2) == 0 { StepEnd::Terminated } else { StepEnd::Truncated };
        self.steps = 0;
        observation.iter_mut().zip(&self.state).for_each(|(o, x)| *o = *x as f32);
        Ok(())
    }

    fn step(
        &mut self,
        action: &[f32],
        observation: &mut [f32],
        executed: &mut [f32],
    ) -> Result<Outcome, EnvError> {
        check_row("action", 2, action.len())?;
        self.steps += 1;
        if self.steps == 2 && self.fault == Fault::Fails {
            return Err(EnvError::Build { env: "walk".into(), reason: "a wheel came off".into() });
        }
        executed.iter_mut().zip(action).for_each(|(e, a)| {
            *e = if a.is_finite() { a.clamp(-0.9, 0.9) } else { 0.0 };
        });
        let push = f64::from(executed[0]) - 0.3 * f64::from(executed[1]);
        for (i, x) in self.state.iter_mut().enumerate() {
            *x = (1.7 * *x + push + i as f64).sin();
        }
        observation.iter_mut().zip(&self.state).for_each(|(o, x)| *o = *x as f32);
        if self.steps == 2 && self.fault == Fault::Nan {
            observation[0] = f32::NAN;
        }
        Ok(Outcome {
            reward: self.state[0] as f32,
            end: if self.steps >= self.ends_at { self.end } else { StepEnd::Running },
            success: self.state[0] > 0.5,
            safety: SafetyCounts { ticks: 5, adjusted: self.steps as u64, stops: 0, violations: 0 },
            figures: StepFigures {
                path: self.state[0].abs(),
                energy_joules: self.steps.is_multiple_of(2).then_some(0.5),
                filter_run_ticks: 3,
                ..StepFigures::default()
            },
        })
    }
}

pub fn local(worlds: usize) -> VecEnv {
    VecEnv::new((0..worlds).map(|_| Walk::boxed(3, Fault::None)).collect()).unwrap()
}

/// A server on a thread of its own; it ends when dropped.
pub struct Serving {
    pub endpoint: String,
    pub id: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    pub fn start(id: &str, worlds: usize, observations: usize, fault: Fault) -> Self {
        Self::start_at("tcp/127.0.0.1:0", id, worlds, observations, fault)
    }

    pub fn start_at(listen: &str, id: &str, worlds: usize, observations: usize, fault: Fault) -> Self {
        let config = ServeConfig {
            namespace: NAMESPACE.into(),
            id: id.into(),
            listen: vec![listen.into()],
            connect: Vec::new(),
            software: BTreeMap::new(),
        };
        let envs = (0..worlds).map(|_| Walk::boxed(observations, fault)).collect();
        let mut server = LockstepServer::open(&config, VecEnv::new(envs).unwrap()).unwrap();
        let endpoint = server.endpoints()[0].clone();
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let thread = std::thread::spawn(move || server.run(&|| asked.load(Ordering::Relaxed)).unwrap());
        Self { endpoint, id: id.into(), stop, thread: Some(thread) }
    }

    pub fn link(&self) -> LinkConfig {
        LinkConfig {
            endpoints: vec![self.endpoint.clone()],
            namespace: NAMESPACE.into(),
            id: self.id.clone(),
            connect_timeout: Duration::from_secs(60),
            reply_timeout: Duration::from_secs(60),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Everything that an episode was made of, as bits.
pub type Trace = Vec<(Vec<u32>, Vec<u32>, u32, StepEnd, bool, SafetyCounts, u64, Option<u64>)>;

/// Runs one episode in each world, all together, and gives what was seen.
pub fn episodes(envs: &mut VecEnv, seed: u64) -> Vec<Trace> {
    let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    let mut traces: Vec<Trace> = vec![Trace::new(); envs.len()];
    for (slot, trace) in traces.iter_mut().enumerate() {
        let first = bits(envs.reset(slot, seed + slot as u64).unwrap());
        trace.push((first, Vec::new(), 0, StepEnd::Running, false, SafetyCounts::default(), 0, None));
    }
    let mut active = vec![true; envs.len()];
    let mut actions: Vec<Stream> = (0..envs.len() as u64).map(|i| Stream::new(seed, "actions", i)).collect();
    for _ in 0..envs.spec().max_steps {
        for slot in (0..envs.len()).filter(|s| active[*s]) {
            for x in envs.action_mut(slot) {
                *x = actions[slot].uniform(-1.5, 1.5) as f32;
            }
        }
        envs.step(&active).unwrap();
        for slot in 0..envs.len() {
            if !active[slot] {
                continue;
            }
            let (observation, _, executed, o) = envs.last(slot);
            let energy = o.figures.energy_joules.map(f64::to_bits);
            traces[slot].push((
                bits(observation),
                bits(executed),
                o.reward.to_bits(),
                o.end,
                o.success,
                o.safety,
                o.figures.path.to_bits(),
                energy,
            ));
            active[slot] = !o.end.is_last();
        }
        if active.iter().all(|a| !a) {
            break;
        }
    }
    traces
}
