//! Env steps per second of every environment on one and two threads, and of resets and pictures: JSON lines.
#![allow(clippy::print_stdout)]

use surefoot_core::clock::Stopwatch;
use surefoot_core::{Env, EnvError, Stream, VecEnv};
use surefoot_sim::{EnvConfig, EnvContext};

const WORLDS: usize = 16;
const STEPS: usize = 400;

fn build(name: &str) -> Result<Box<dyn Env>, Box<dyn std::error::Error>> {
    Ok(EnvConfig::default_of(name).ok_or("no such environment")?.build(&EnvContext::default())?)
}

fn run(envs: &mut VecEnv) -> Result<f64, EnvError> {
    let spec = envs.spec().clone();
    let mut random = Stream::new(0, "env speed", 0);
    for slot in 0..WORLDS {
        envs.reset(slot, slot as u64)?;
    }
    let watch = Stopwatch::start();
    for _ in 0..STEPS {
        for slot in 0..WORLDS {
            for (a, field) in envs.action_mut(slot).iter_mut().zip(&spec.action) {
                *a = match field.choices {
                    Some(n) => random.below(n as usize) as f32,
                    None => random.uniform(-1.0, 1.0) as f32,
                };
            }
        }
        envs.step(&[true; WORLDS])?;
        for slot in 0..WORLDS {
            if envs.last(slot).3.end.is_last() {
                envs.reset(slot, random.bits())?;
            }
        }
    }
    Ok((WORLDS * STEPS) as f64 / watch.elapsed().as_secs_f64())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for name in EnvConfig::NAMES {
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            let mut envs = VecEnv::new((0..WORLDS).map(|_| build(name)).collect::<Result<_, _>>()?)?;
            let rate = pool.install(|| run(&mut envs))?;
            println!("{{\"env\":\"{name}\",\"threads\":{threads},\"env_steps_per_sec\":{rate:.0}}}");
        }
        let mut env = build(name)?;
        let mut observation = vec![0.0; env.spec().observation_dim()];
        let watch = Stopwatch::start();
        for seed in 0..100 {
            env.reset(seed, &mut observation)?;
        }
        let reset_us = watch.elapsed().as_secs_f64() * 1e6 / 100.0;
        let watch = Stopwatch::start();
        for _ in 0..10 {
            env.render(320, 240);
        }
        let render_ms = watch.elapsed().as_secs_f64() * 1e3 / 10.0;
        println!("{{\"env\":\"{name}\",\"reset_us\":{reset_us:.0},\"render_320x240_ms\":{render_ms:.1}}}");
    }
    Ok(())
}
