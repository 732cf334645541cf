//! Draws an environment after some demonstrated or random steps into a PPM file: `snapshot ENV SEED STEPS WIDTH HEIGHT FILE`.
//! Prints the time of the drawing as a JSON line.
#![allow(clippy::print_stdout)]

use surefoot_core::clock::Stopwatch;
use surefoot_core::{ActMode, ResetScope, Rows, RowsMut, Stream};
use surefoot_sim::{DemonstratorConfig, DemonstratorContext, EnvConfig, EnvContext};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, seed, steps, width, height, file] = args.as_slice() else {
        return Err("usage: snapshot ENV SEED STEPS WIDTH HEIGHT FILE.ppm".into());
    };
    let (seed, steps): (u64, usize) = (seed.parse()?, steps.parse()?);
    let mut env = EnvConfig::default_of(name).ok_or("no such environment")?.build(&EnvContext::default())?;
    let spec = env.spec().clone();
    let mut observation = vec![0.0; spec.observation_dim()];
    let (mut action, mut executed) = (vec![0.0; spec.action_dim()], vec![0.0; spec.action_dim()]);
    let demonstrator = DemonstratorConfig::default_of(name);
    let context = DemonstratorContext { spec: spec.clone(), slots: 1 };
    let mut policy = demonstrator.map(|d| d.build(&context)).transpose()?;
    let mut random = Stream::new(seed, "snapshot", 0);
    env.reset(seed, &mut observation)?;
    if let Some(policy) = &mut policy {
        policy.reset(0, ResetScope::Task, seed);
    }
    for _ in 0..steps {
        match &mut policy {
            Some(policy) => {
                let rows = Rows::new(&observation, spec.observation_dim());
                policy.act(rows, ActMode::Explore, RowsMut::new(&mut action, spec.action_dim()))?;
            }
            None => action.iter_mut().for_each(|a| *a = random.uniform(-1.0, 1.0) as f32),
        }
        if env.step(&action, &mut observation, &mut executed)?.end.is_last() {
            break;
        }
    }
    let watch = Stopwatch::start();
    let frame = env.render(width.parse()?, height.parse()?).ok_or("nothing to see")?;
    println!("{{\"env\":\"{name}\",\"render_ms\":{:.1}}}", watch.elapsed().as_secs_f64() * 1e3);
    let mut ppm = format!("P6\n{} {}\n255\n", frame.width, frame.height).into_bytes();
    ppm.extend_from_slice(&frame.rgb);
    std::fs::write(file, ppm)?;
    Ok(())
}
