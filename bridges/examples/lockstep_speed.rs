//! What a step over the lockstep link takes beside the same step called directly:
//! `lockstep_speed PYTHON ENV_ID STEPS ENVS…`, for each number of environments in one Python process; `ENV_ID` may be `echo`, which
//! is a server in this process whose worlds do nothing: the link alone.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use surefoot_bridges::envs::gymnasium::GymnasiumConfig;
use surefoot_bridges::lockstep::codec::{HEADER_BYTES, Sizes};
use surefoot_bridges::lockstep::{LinkConfig, LockstepBatch, LockstepServer, NAMESPACE, ServeConfig};
use surefoot_bridges::{EnvContext, LinkedEnvConfig};
use surefoot_core::clock::Stopwatch;
use surefoot_core::{Env, EnvError, EnvSpec, Field, Outcome, Stream, VecEnv};

/// Rounds in which both sides are measured in turn, so that a busy machine is busy for both.
const ROUNDS: usize = 5;

type Failed = Box<dyn std::error::Error>;

struct Echo(EnvSpec);

impl Env for Echo {
    fn spec(&self) -> &EnvSpec {
        &self.0
    }
    fn reset(&mut self, _seed: u64, _observation: &mut [f32]) -> Result<(), EnvError> {
        Ok(())
    }
    fn step(&mut self, _: &[f32], _: &mut [f32], _: &mut [f32]) -> Result<Outcome, EnvError> {
        Ok(Outcome::default())
    }
}

fn echo_spec() -> EnvSpec {
    EnvSpec {
        name: "echo".into(),
        observation: (0..17).map(|i| Field::unbounded(format!("o{i}"), "1")).collect(),
        action: (0..6).map(|i| Field::bounded(format!("a{i}"), "1", -1.0, 1.0)).collect(),
        step_secs: 0.05,
        max_steps: usize::MAX,
        reward_range: None,
        contract_hash: None,
    }
}

/// Steps all worlds; microseconds of each step, sorted.
fn steps(envs: &mut VecEnv, count: usize) -> Result<Vec<f64>, Failed> {
    let active = vec![true; envs.len()];
    let mut stream = Stream::new(0, "bench actions", 0);
    for slot in 0..envs.len() {
        envs.reset(slot, slot as u64)?;
    }
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        for slot in 0..envs.len() {
            envs.action_mut(slot).iter_mut().for_each(|x| *x = stream.uniform(-1.0, 1.0) as f32);
        }
        let watch = Stopwatch::start();
        envs.step(&active)?;
        took.push(watch.elapsed().as_secs_f64() * 1e6);
        for slot in 0..envs.len() {
            if envs.last(slot).3.end.is_last() {
                envs.reset(slot, slot as u64)?;
            }
        }
    }
    took.sort_by(f64::total_cmp);
    Ok(took)
}

fn direct(python: &str, env_id: &str, envs: usize, count: usize) -> Result<f64, Failed> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/benches/direct_speed.py");
    let told = Command::new(python).args([script, env_id, &envs.to_string(), &count.to_string()]).output()?;
    let told: serde_json::Value = serde_json::from_slice(&told.stdout)?;
    told["direct_us"].as_f64().ok_or_else(|| "no figure".into())
}

#[allow(clippy::print_stdout)]
fn report(what: &str, worlds: usize, sizes: Sizes, link: &[f64], direct: &[f64]) {
    let at = |q: f64| link[((link.len() - 1) as f64 * q) as usize];
    let mut direct = direct.to_vec();
    direct.sort_by(f64::total_cmp);
    let base = direct.get(direct.len() / 2).copied().unwrap_or(0.0);
    let (up, down) = sizes.step_bytes();
    println!(
        "{what:16} {worlds} worlds: link p50 {:.0} us (p10 {:.0}, p90 {:.0}, p99 {:.0}); direct {base:.0} us; overhead {:.0} us a step, {:.0} us a world; bytes {} up, {} down",
        at(0.5),
        at(0.1),
        at(0.9),
        at(0.99),
        at(0.5) - base,
        (at(0.5) - base) / worlds as f64,
        HEADER_BYTES + worlds * up,
        HEADER_BYTES + worlds * down,
    );
}

fn main() -> Result<(), Failed> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or("lockstep_speed PYTHON ENV_ID STEPS ENVS…");
    let (python, env_id, count) = (next()?, next()?, next()?.parse::<usize>()?);
    for worlds in args {
        let worlds: usize = worlds.parse()?;
        if env_id == "echo" {
            let config = ServeConfig {
                namespace: NAMESPACE.into(),
                id: "echo".into(),
                listen: vec!["tcp/127.0.0.1:0".into()],
                connect: Vec::new(),
                software: BTreeMap::new(),
            };
            let echoes = (0..worlds).map(|_| Box::new(Echo(echo_spec())) as Box<dyn Env>).collect();
            let mut server = LockstepServer::open(&config, VecEnv::new(echoes)?)?;
            let endpoints = server.endpoints().to_vec();
            let stop = Arc::new(AtomicBool::new(false));
            let asked = stop.clone();
            let thread = std::thread::spawn(move || server.run(&|| asked.load(Ordering::Relaxed)));
            let wait = Duration::from_secs(30);
            let link = LinkConfig {
                endpoints,
                namespace: NAMESPACE.into(),
                id: "echo".into(),
                connect_timeout: wait,
                reply_timeout: wait,
            };
            let batch = LockstepBatch::connect(vec![link], worlds)?;
            let sizes = batch.served().sizes();
            let took = steps(&mut VecEnv::of(Box::new(batch)), count)?;
            report("echo in Rust", worlds, sizes, &took, &[]);
            stop.store(true, Ordering::Relaxed);
            thread.join().map_err(|_| "the server panicked")??;
            continue;
        }
        let config =
            GymnasiumConfig { id: env_id.clone(), python: python.clone(), ..GymnasiumConfig::default() };
        let mut envs = VecEnv::of(LinkedEnvConfig::Gymnasium(config).build(&EnvContext { worlds })?);
        let sizes = Sizes {
            observation_dim: envs.spec().observation_dim(),
            action_dim: envs.spec().action_dim(),
            worlds,
            robot: false,
        };
        let (mut took, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            took.extend(steps(&mut envs, count / ROUNDS)?);
            bare.push(direct(&python, &env_id, worlds, count / ROUNDS)?);
        }
        took.sort_by(f64::total_cmp);
        report(&env_id, worlds, sizes, &took, &bare);
    }
    Ok(())
}
