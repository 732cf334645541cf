//! The same seed and actions give the same bits: on one thread and on four, and whatever an environment did before.

#![allow(clippy::unwrap_used, clippy::panic)]

use surefoot_core::{Env, EnvSpec, RobotState, Stream, VecEnv};
use surefoot_sim::{EnvConfig, EnvContext};

fn build(name: &str) -> Box<dyn Env> {
    EnvConfig::default_of(name).unwrap().build(&EnvContext::default()).unwrap()
}

/// A random action for each field: an index where it is a choice.
fn draw(spec: &EnvSpec, random: &mut Stream, reach: f64, action: &mut [f32]) {
    for (a, field) in action.iter_mut().zip(&spec.action) {
        *a = match field.choices {
            Some(n) => random.below(n as usize) as f32,
            None => random.uniform(-reach, reach) as f32,
        };
    }
}

/// Observations, executed actions and rewards of `seed`'s episode as bits.
fn episode(env: &mut dyn Env, seed: u64, steps: usize) -> Vec<u32> {
    let spec = env.spec().clone();
    let mut observation = vec![0.0; spec.observation_dim()];
    let (mut action, mut executed) = (vec![0.0; spec.action_dim()], vec![0.0; spec.action_dim()]);
    let mut bits = Vec::new();
    let mut random = Stream::new(seed, "actions", 0);
    env.reset(seed, &mut observation).unwrap();
    for _ in 0..steps {
        bits.extend(observation.iter().map(|x| x.to_bits()));
        draw(&spec, &mut random, 1.5, &mut action);
        let outcome = env.step(&action, &mut observation, &mut executed).unwrap();
        bits.extend(executed.iter().map(|x| x.to_bits()));
        bits.push(outcome.reward.to_bits());
        if outcome.end.is_last() {
            break;
        }
    }
    bits
}

#[test]
fn an_episode_depends_on_its_seed_alone() {
    for name in EnvConfig::NAMES {
        let fresh = episode(&mut *build(name), 7, 40);
        let mut used = build(name);
        episode(&mut *used, 1, 25);
        used.render(16, 12);
        episode(&mut *used, 2, 60);
        assert_eq!(episode(&mut *used, 7, 40), fresh, "{name}");
        assert_ne!(episode(&mut *used, 8, 40), fresh, "{name}");
    }
}

/// An episode begins in a tick of a control loop.
#[test]
fn a_task_draws_the_episode_of_its_seed_without_allocating() {
    let mut robots = 0;
    for name in EnvConfig::NAMES {
        let Some((mut task, world)) = build(name).into_robot() else { continue };
        robots += 1;
        let zeros = RobotState::zeros(world.contract());
        let (mut first, mut again) = (zeros.clone(), zeros.clone());
        task.begin_episode(7, &mut first);
        let markers = task.markers();
        task.begin_episode(8, &mut zeros.clone());
        let counted = allocation_counter::measure(|| task.begin_episode(7, &mut again));
        assert_eq!(counted.count_total, 0, "{name}");
        assert!(again == first && task.markers() == markers, "{name}");
    }
    assert!(robots >= 15, "{robots}");
}

#[test]
fn one_thread_and_four_give_the_same_bits() {
    let run = |name: &str, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let worlds = 6;
            let mut envs = VecEnv::new((0..worlds).map(|_| build(name)).collect()).unwrap();
            let spec = envs.spec().clone();
            let mut bits = Vec::new();
            let mut random = Stream::new(3, "actions", 0);
            for slot in 0..worlds {
                envs.reset(slot, slot as u64).unwrap();
            }
            for _ in 0..25 {
                for slot in 0..worlds {
                    draw(&spec, &mut random, 1.0, envs.action_mut(slot));
                }
                envs.step(&vec![true; worlds]).unwrap();
                for slot in 0..worlds {
                    let (observation, _, executed, outcome) = envs.last(slot);
                    bits.extend(observation.iter().chain(executed).map(|x| x.to_bits()));
                    if outcome.end.is_last() {
                        envs.reset(slot, random.bits()).unwrap();
                    }
                }
            }
            bits
        })
    };
    for name in EnvConfig::NAMES {
        assert_eq!(run(name, 1), run(name, 4), "{name}");
    }
}

#[test]
fn pictures_are_the_same_bytes_and_show_something() {
    for name in EnvConfig::NAMES {
        let mut env = build(name);
        if env.render(64, 48).is_none() {
            assert!(
                env.spec().first_choice().is_some(),
                "{name}: rooms of cells and bandits alone have no picture"
            );
            continue;
        }
        let picture = |env: &mut Box<dyn Env>| {
            episode(&mut **env, 4, 5);
            env.render(64, 48).unwrap()
        };
        let first = picture(&mut env);
        assert_eq!(first.rgb.len(), 64 * 48 * 3);
        assert!(first == picture(&mut env), "{name}");
        let mut colors: Vec<&[u8]> = first.rgb.chunks(3).collect();
        colors.sort_unstable();
        colors.dedup();
        assert!(colors.len() > 50, "{name}: {} colours", colors.len());
        assert!(env.render(0, 10).is_none());
        if name == &"push" {
            let count = |like: fn(i32, i32, i32) -> bool| {
                let is = |c: &[u8]| like(i32::from(c[0]), i32::from(c[1]), i32::from(c[2]));
                first.rgb.chunks(3).filter(|c| is(c)).count()
            };
            assert!(count(|r, g, b| r > 2 * g && r > 2 * b) > 5, "the puck is red");
            assert!(count(|r, g, b| g > r + 10 && g > b + 10) > 20, "the goal is green");
            assert!(count(|r, g, b| b > r + 40 && b > g + 20) > 20, "the arm's joints are blue");
        }
    }
}

#[test]
fn a_world_that_leaves_the_numbers_names_the_joint_and_the_body_that_did() {
    let (_, mut world) = build("pendulum").into_robot().unwrap();
    let mut state = RobotState::zeros(world.contract());
    // After 230 steps of 5 ms it has turned farther than 32 bits can tell.
    state.velocity[0] = 3e38;
    world.reset(&state).unwrap();
    let mut chain = world.contract().safety_chain().unwrap();
    chain.arm(&[0.0]).unwrap();
    let mut error = None;
    for _ in 0..200 {
        world.write(chain.admit(&[0.0])).unwrap();
        error = error.or(world.read(&mut state).err());
    }
    let said = error.unwrap_or_else(|| panic!("{state:?}")).to_string();
    assert!(
        said.contains("robot pendulum") && said.contains("joint hinge, body rod is not finite"),
        "{said}"
    );
    assert!(said.contains("before it, at "), "{said}");
}
