//! Tasks with a scripted controller that solves them, and the contacts that make them what they are: a latch that holds, a rim that stops, a
//! grip that carries, fingers that turn, feet that walk.

#![allow(clippy::unwrap_used, clippy::panic)]

use surefoot_core::{ActMode, Env, Policy, ResetScope, RobotState, Rows, RowsMut, StepEnd, Stream};
use surefoot_sim::{DemonstratorConfig, DemonstratorContext, EnvConfig, EnvContext};

const TASKS: [&str; 5] = ["door", "peg_insert", "relocate", "pen", "quadruped"];

fn build(text: &str) -> Box<dyn Env> {
    let config: EnvConfig = toml::from_str(text).unwrap();
    config.build(&EnvContext::default()).unwrap()
}

fn controller(text: &str, env: &dyn Env) -> Box<dyn Policy> {
    let config: DemonstratorConfig = toml::from_str(text).unwrap();
    config.build(&DemonstratorContext { spec: env.spec().clone(), slots: 1 }).unwrap()
}

/// A policy's episode: sum of rewards, whether it ended in success, steps.
fn episode(env: &mut dyn Env, policy: &mut dyn Policy, seed: u64) -> (f64, bool, usize) {
    let (observations, actions) = (env.spec().observation_dim(), env.spec().action_dim());
    let mut observation = vec![0.0; observations];
    let (mut action, mut executed) = (vec![0.0; actions], vec![0.0; actions]);
    env.reset(seed, &mut observation).unwrap();
    policy.reset(0, ResetScope::Task, seed);
    let (mut sum, range) = (0.0, env.spec().reward_range);
    for step in 1.. {
        let rows = Rows::new(&observation, observations);
        policy.act(rows, ActMode::Exploit, RowsMut::new(&mut action, actions)).unwrap();
        let outcome = env.step(&action, &mut observation, &mut executed).unwrap();
        assert_eq!(outcome.safety.violations, 0);
        if let Some((low, high)) = range {
            assert!((low..=high).contains(&outcome.reward), "{}", outcome.reward);
        }
        assert!(executed.iter().all(|a| a.abs() <= 1.0));
        for (field, value) in env.spec().observation.iter().zip(&observation) {
            let (low, high) = (field.low.unwrap_or(f32::MIN), field.high.unwrap_or(f32::MAX));
            assert!((low..=high).contains(value), "{} is {value}", field.name);
        }
        sum += f64::from(outcome.reward);
        if outcome.end.is_last() {
            return (sum, outcome.success, step);
        }
    }
    unreachable!()
}

#[test]
fn the_reference_controllers_solve_their_tasks_and_random_actions_do_not() {
    for name in TASKS {
        let mut env = build(&format!("{name} = {{}}"));
        let mut reference = controller(&format!("{name} = {{ failure_share = 0.0 }}"), &*env);
        let mut random = controller("random = {}", &*env);
        let solved = (0..12).filter(|seed| episode(&mut *env, &mut *reference, *seed).1).count();
        assert!(solved >= 10, "{name}: {solved} of 12");
        let by_chance = (0..6).filter(|seed| episode(&mut *env, &mut *random, *seed).1).count();
        assert_eq!(by_chance, 0, "{name}");
    }
}

/// Standing still is worth 1000 in them, which is where a search ends that counts the reward for being healthy.
#[test]
fn the_learned_gaits_are_worth_more_than_standing_still_and_random_actions_fall() {
    for (name, least) in [("hopper", 2500.0), ("walker2d", 1400.0), ("ant", 2500.0)] {
        let mut env = build(&format!("{name} = {{}}"));
        let mut gait = controller(&format!("{name} = {{ failure_share = 0.0 }}"), &*env);
        let mut random = controller("random = {}", &*env);
        let walked: Vec<_> = (0..6).map(|seed| episode(&mut *env, &mut *gait, seed)).collect();
        let mean = walked.iter().map(|(sum, _, _)| sum).sum::<f64>() / 6.0;
        assert!(mean > least && walked.iter().any(|(_, far, _)| *far), "{name}: {walked:?}");
        let by_chance: Vec<_> = (0..6).map(|seed| episode(&mut *env, &mut *random, seed)).collect();
        assert!(by_chance.iter().all(|(sum, far, _)| *sum < 500.0 && !far), "{name}: {by_chance:?}");
    }
}

/// A gait of another robot is refused by the name of what it does not find.
#[test]
fn a_gait_of_another_walker_is_refused() {
    let env = build("hopper = {}");
    let config: DemonstratorConfig = toml::from_str("walker2d = {}").unwrap();
    let refused = config.build(&DemonstratorContext { spec: env.spec().clone(), slots: 1 }).err().unwrap();
    assert!(refused.to_string().contains("none of that name"), "{refused}");
}

#[test]
fn dense_rewards_rank_the_reference_above_random_actions_and_sparse_ones_count_steps() {
    for name in TASKS {
        let mut dense = build(&format!("{name} = {{ reward = \"dense\" }}"));
        let mut reference = controller(&format!("{name} = {{ failure_share = 0.0 }}"), &*dense);
        let mut random = controller("random = {}", &*dense);
        let (good, _, steps) = episode(&mut *dense, &mut *reference, 3);
        let (bad, _, random_steps) = episode(&mut *dense, &mut *random, 3);
        let (good, bad) = (good / steps as f64, bad / random_steps as f64);
        assert!(good > bad, "{name}: {good} and {bad} a step");
        let mut sparse = build(&format!("{name} = {{ reward = \"sparse\", max_steps = 10 }}"));
        let (sum, success, steps) = episode(&mut *sparse, &mut *random, 3);
        assert!(!success && sum == -(steps as f64), "{name}: {sum} in {steps}");
    }
}

/// Nothing of a task allocates in a control tick or a step. (rapier does.)
#[test]
fn tasks_do_not_allocate() {
    for name in TASKS {
        let env = build(&format!("{name} = {{}}"));
        let dims = (env.spec().observation_dim(), env.spec().action_dim());
        let (mut task, mut world) = env.into_robot().unwrap();
        let mut chain = world.contract().safety_chain().unwrap();
        let mut state = RobotState::zeros(world.contract());
        task.begin_episode(1, &mut state);
        world.reset(&state).unwrap();
        world.read(&mut state).unwrap();
        chain.arm(&state.position).unwrap();
        let (mut observation, mut action) = (vec![0.0; dims.0], vec![0.5; dims.1]);
        let (mut desired, before) = (vec![0.0; state.position.len()], state.position.clone());
        let effort = vec![0.0; before.len()];
        let counted = allocation_counter::measure(|| {
            for _ in 0..20 {
                task.desired(&state, chain.state(), &action, &mut desired);
                task.observe(&state, &mut observation);
                task.executed(&before, &state.position, &effort, 0.1, &mut action);
                task.outcome(&state, &action);
            }
        });
        assert_eq!(counted.count_total, 0, "{name}");
    }
}

/// Observations at each step of an episode of actions that depend on what is seen.
fn driven(
    env: &mut dyn Env,
    seed: u64,
    steps: usize,
    mut act: impl FnMut(usize, &[f32], &mut [f32]),
) -> Vec<Vec<f32>> {
    let mut observation = vec![0.0; env.spec().observation_dim()];
    let (mut action, mut executed) = (vec![0.0; env.spec().action_dim()], vec![0.0; env.spec().action_dim()]);
    env.reset(seed, &mut observation).unwrap();
    let mut seen = vec![observation.clone()];
    for step in 0..steps {
        act(step, &observation, &mut action);
        let outcome = env.step(&action, &mut observation, &mut executed).unwrap();
        seen.push(observation.clone());
        if outcome.end == StepEnd::Terminated {
            break;
        }
    }
    seen
}

fn index(env: &dyn Env, name: &str) -> usize {
    env.spec().observation.iter().position(|f| f.name == name).unwrap()
}

#[test]
fn the_latch_holds_the_door_against_whoever_pushes_it_alone() {
    let mut env = build("door = {}");
    let (door, lever, x) =
        (index(&*env, "door_angle"), index(&*env, "lever_angle"), index(&*env, "tool_to_handle_x"));
    for seed in 0..3 {
        // Over the lever, then forward as hard as it goes.
        let seen = driven(&mut *env, seed, 80, |step, o, action| {
            let toward = |way: f32| (way * 8.0).clamp(-1.0, 1.0);
            let forward = if step < 25 { toward(o[x]) } else { 1.0 };
            action.copy_from_slice(&[forward, toward(o[x + 1]), toward(o[x + 2] + 0.04)]);
        });
        let last = seen.last().unwrap();
        assert!(
            last[door] < 0.05 && last[lever] < 0.1,
            "seed {seed}: door {}, lever {}",
            last[door],
            last[lever]
        );
        assert!(last[x].abs() < 0.05, "seed {seed}: it did come to the door, {} m off the lever", last[x]);
    }
}

#[test]
fn whoever_opens_the_door_has_pressed_the_lever() {
    let mut env = build("door = {}");
    let (door, lever) = (index(&*env, "door_angle"), index(&*env, "lever_angle"));
    let mut opened = 0;
    for seed in 0..40 {
        let mut random = Stream::new(seed, "anything", 0);
        // Toward the lever and down, anyhow.
        let seen = driven(&mut *env, seed, 80, |_, o, action| {
            for (i, a) in action.iter_mut().enumerate() {
                let bias = [0.1 + o[6], o[7], o[8]][i] * 3.0;
                *a = (bias.clamp(-0.5, 0.5) + random.uniform(-1.0, 1.0) as f32).clamp(-1.0, 1.0);
            }
        });
        let ajar = seen.iter().position(|o| o[door] > 0.06);
        opened += usize::from(ajar.is_some());
        let pressed = seen[..ajar.map_or(0, |at| at + 1)].iter().map(|o| o[lever]).fold(0.0, f32::max);
        assert!(ajar.is_none() || pressed > 0.3, "seed {seed}: open, and the lever was at {pressed} at most");
    }
    assert!(opened > 2, "{opened} of 40 were opened at all");
}

#[test]
fn a_gait_runs_where_random_actions_and_none_do_not() {
    let mut env = build("half_cheetah = { max_steps = 150 }");
    let mut mean = |text: &str| {
        let mut policy = controller(text, &*env);
        (0..5).map(|seed| episode(&mut *env, &mut *policy, seed).0).sum::<f64>() / 5.0
    };
    let gait = mean("half_cheetah = { failure_share = 0.0 }");
    let others = mean("random = {}").max(mean("random = { size = 0.0 }"));
    assert!(gait > others + 80.0, "{gait} and {others}");
}

#[test]
fn the_rim_stops_a_peg_that_is_beside_the_hole() {
    let mut env = build("peg_insert = {}");
    let x = index(&*env, "tip_to_bottom_x");
    for (seed, beside) in [(0, [0.02, 0.0]), (1, [0.0, -0.022]), (2, [-0.015, 0.015])] {
        let seen = driven(&mut *env, seed, 80, |step, o, action| {
            let toward = |way: f32| (way * 12.0).clamp(-1.0, 1.0);
            let down = if step < 30 { toward(o[x + 2] + 0.07) } else { -0.6 };
            action.copy_from_slice(&[toward(o[x] + beside[0]), toward(o[x + 1] + beside[1]), down]);
        });
        let height = -seen.last().unwrap()[x + 2];
        assert!(
            (0.046..0.056).contains(&height),
            "seed {seed}: {height} m over the bottom, the rim is at 0.05"
        );
    }
}

#[test]
fn a_grip_carries_the_ball_and_does_not_lose_it_for_three_seconds() {
    let mut env = build(
        "relocate = { tolerance_m = 1e-9, target_low_m = [0.48, 0.0, 0.2], target_high_m = [0.481, 0.001, 0.201] }",
    );
    let mut grip = controller("relocate = { failure_share = 0.0, action_noise = 0.0 }", &*env);
    let ball = index(&*env, "tool_to_ball_x");
    let dims = (env.spec().observation_dim(), env.spec().action_dim());
    grip.reset(0, ResetScope::Task, 2);
    let seen = driven(&mut *env, 2, 90, |step, o, action| {
        if step < 55 {
            grip.act(Rows::new(o, dims.0), ActMode::Exploit, RowsMut::new(action, dims.1)).unwrap();
        } else {
            action.copy_from_slice(&[0.0, 0.0, 0.0, -0.35]);
        }
    });
    let place = |o: &[f32]| [o[ball], o[ball + 1], o[ball + 2]];
    let (held, last) = (place(&seen[60]), place(seen.last().unwrap()));
    let height = seen.last().unwrap()[2];
    assert!(height > 0.12, "it is in the air: {height}");
    let slipped = held.iter().zip(last).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(slipped < 0.002 && held.iter().all(|x| x.abs() < 0.02), "{held:?}, then {last:?}");
}

/// Largest change of the pen's place (m) and axis in an episode.
fn pen_moves(env: &dyn Env, seen: &[Vec<f32>]) -> (f32, f32) {
    let most = |from: usize| {
        let change =
            |o: &Vec<f32>| (0..3).map(|i| (o[from + i] - seen[0][from + i]).abs()).fold(0.0, f32::max);
        seen.iter().map(change).fold(0.0, f32::max)
    };
    (most(index(env, "pen_x")), most(index(env, "axis_x")))
}

#[test]
fn fingers_that_wave_over_the_pen_leave_it_where_it_is_and_those_that_take_it_turn_it() {
    let mut env = build("pen = {}");
    for seed in 0..3 {
        let mut random = Stream::new(seed, "waving", 0);
        let seen = driven(&mut *env, seed, 80, |step, _, action| {
            for finger in action.chunks_mut(3) {
                let mut draw = |size: f64| random.uniform(-size, size) as f32;
                // Up first, beside the pen; then over it, 2 cm higher than its surface.
                let over = if step < 5 { [0.0, 0.84, 0.97] } else { [draw(1.0), 0.84, 0.29 + draw(0.1)] };
                finger.copy_from_slice(&over);
            }
        });
        let waved = pen_moves(&*env, &seen);
        assert!(seen.len() > 80 && waved.0 < 1e-3 && waved.1 < 1e-2, "seed {seed}: {waved:?}");
        let dims = (env.spec().observation_dim(), env.spec().action_dim());
        let mut turn = controller("pen = { failure_share = 0.0 }", &*env);
        turn.reset(0, ResetScope::Task, seed);
        let seen = driven(&mut *env, seed, 80, |_, o, action| {
            turn.act(Rows::new(o, dims.0), ActMode::Exploit, RowsMut::new(action, dims.1)).unwrap();
        });
        let taken = pen_moves(&*env, &seen);
        assert!(taken.1 > 0.2, "seed {seed}: {taken:?}");
    }
}

#[test]
fn fingertips_hold_the_pen_over_the_palm_for_three_seconds() {
    // Nothing counts as there, so that the episode goes on.
    let mut env = build("pen = { tolerance_rad = 1e-3, still_rad_per_sec = 1e-3 }");
    let dims = (env.spec().observation_dim(), env.spec().action_dim());
    let (center, axis) = (index(&*env, "pen_x"), index(&*env, "axis_x"));
    let mut lifted = 0;
    for seed in 0..4 {
        let mut turn = controller("pen = { failure_share = 0.0, action_noise = 0.0 }", &*env);
        turn.reset(0, ResetScope::Task, seed);
        let seen = driven(&mut *env, seed, 100, |step, o, action| {
            if step < 35 {
                turn.act(Rows::new(o, dims.0), ActMode::Exploit, RowsMut::new(action, dims.1)).unwrap();
            }
        });
        let (held, last) = (&seen[40], seen.last().unwrap());
        let change =
            |from: usize| (0..3).map(|i| (held[from + i] - last[from + i]).abs()).fold(0.0, f32::max);
        let (slipped, turned) = (change(center), change(axis));
        assert!(seen.len() > 100 && slipped < 0.002 && turned < 0.02, "seed {seed}: {slipped} m, {turned}");
        lifted += usize::from(last[center + 2] > 0.02);
    }
    assert!(lifted >= 2, "{lifted} of 4 are off the palm");
}

#[test]
fn a_pen_that_is_pushed_off_the_palm_ends_the_episode_and_costs_as_much_as_never_turning_it() {
    let mut env = build("pen = { max_steps = 60 }");
    let mut fails = controller("pen = { failure_share = 1.0 }", &*env);
    let mut dropped = 0;
    for seed in 0..10 {
        let (sum, success, steps) = episode(&mut *env, &mut *fails, seed);
        assert!(success || sum <= -60.0, "seed {seed}: {sum} in {steps} steps");
        dropped += usize::from(!success && steps < 60);
    }
    assert!(dropped >= 2, "{dropped} of 10");
}

#[test]
fn unusable_configurations_are_refused_by_key() {
    for (text, key) in [
        ("door = { max_steps = 0 }", "max_steps must be at least 1"),
        ("door = { open_angle_rad = 0.01 }", "open_angle_rad must be above 0.06"),
        ("door = { door_x_m = [0.37, 0.5] }", "must start 0.08 m before the door"),
        ("door = { tool_start_low_m = [0.1, 0.0, 0.2] }", "tool_start_low_m"),
        ("door = { max_tool_speed_m_per_sec = nan }", "max_tool_speed_m_per_sec must be greater than zero"),
        ("peg_insert = { clearance_m = -0.001 }", "clearance_m must be above 0"),
        ("peg_insert = { hole_x_m = [0.5, 0.4] }", "hole_x_m must be [low, high]"),
        ("peg_insert = { workspace_high_m = [2.0, 0.28, 0.26] }", "cannot be put at"),
        ("relocate = { target_low_m = [0.4, 0.0, 0.03] }", "over the table by more than the ball"),
        ("relocate = { tolerance_m = 0.0 }", "tolerance_m must be greater than zero"),
        (
            "pen = { target_yaw_rad = [0.2, 1.0] }",
            "target_yaw_rad[0] must be above start_yaw_rad + tolerance_rad",
        ),
        ("pen = { target_tilt_rad = -0.1 }", "target_tilt_rad must be between"),
        ("pen = { start_offset_m = 0.02 }", "start_offset_m must be between"),
        ("pen = { dropped_height_m = 0.1 }", "dropped_height_m must be between"),
        ("quadruped = { forward_m_per_sec = [0.5, -0.5] }", "forward_m_per_sec must be [low, high]"),
        ("quadruped = { fallen_height_m = 0.4 }", "fallen_height_m must be between"),
        (
            "quadruped = { randomisation = { curriculum = { env_steps = { all_after = 0 } } } }",
            "curriculum.env_steps must have all_after",
        ),
    ] {
        let config: EnvConfig = toml::from_str(text).unwrap();
        let error =
            config.build(&EnvContext::default()).err().unwrap_or_else(|| panic!("{text}")).to_string();
        assert!(error.contains(key), "{text}: {error}");
    }
}
