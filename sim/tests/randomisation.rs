//! Domain randomisation: a function of the episode's seed, of each range alone, and of nothing else.

#![allow(clippy::unwrap_used)]

use surefoot_core::{Env, SuccessHistory, TrainingProgress};
use surefoot_sim::{EnvConfig, EnvContext};

fn build(text: &str) -> Result<Box<dyn Env>, String> {
    let (name, settings) = text.split_once(' ').unwrap_or((text, ""));
    let table = format!("{name} = {{ {settings} }}");
    let mut parsed: std::collections::BTreeMap<String, toml::Value> = toml::from_str(&table).unwrap();
    let value = toml::Value::Table([(name.to_owned(), parsed.remove(name).unwrap())].into_iter().collect());
    let config: EnvConfig = value.try_into().map_err(|e: toml::de::Error| e.to_string())?;
    config.build(&EnvContext::default()).map_err(|e| e.to_string())
}

/// Observations of an episode of constant actions.
fn episode(env: &mut dyn Env, seed: u64, steps: usize) -> Vec<Vec<f32>> {
    let spec = env.spec().clone();
    let mut observation = vec![0.0; spec.observation_dim()];
    let (action, mut executed) = (vec![0.4; spec.action_dim()], vec![0.0; spec.action_dim()]);
    env.reset(seed, &mut observation).unwrap();
    let mut seen = vec![observation.clone()];
    for _ in 0..steps {
        if env.step(&action, &mut observation, &mut executed).unwrap().end.is_last() {
            break;
        }
        seen.push(observation.clone());
    }
    seen
}

#[test]
fn the_same_seed_draws_the_same_world_and_another_seed_another() {
    for env in [
        "push randomisation = { mass_scale = [0.5, 2.0], friction_scale = [0.3, 1.5] }",
        "pen randomisation = { mass_scale = [0.5, 2.0], gain_scale = [0.8, 1.2] }",
        "pendulum randomisation = { mass_scale = [0.5, 2.0] }",
        "pendulum randomisation = { gain_scale = [0.5, 1.5] }",
        "hopper randomisation = { damping_scale = [0.1, 5.0], mass_scale = [0.8, 1.2] }",
        "cart_pole randomisation = { observation_noise = { \"*\" = 0.01 }, action_noise = 0.1 }",
        "reach randomisation = { action_delay_steps = [0, 3], observation_delay_steps = [0, 3] }",
    ] {
        let plain = episode(&mut *build(env.split_once(' ').unwrap().0).unwrap(), 5, 12);
        let fresh = episode(&mut *build(env).unwrap(), 5, 12);
        let mut used = build(env).unwrap();
        let others: Vec<_> = (10..14).map(|seed| episode(&mut *used, seed, 12)).collect();
        assert_eq!(episode(&mut *used, 5, 12), fresh, "{env}");
        assert_ne!(fresh, plain, "{env}");
        assert!(others.windows(2).all(|w| w[0] != w[1]), "{env}");
    }
}

#[test]
fn a_heavier_pendulum_swings_as_the_closed_form_says() {
    // Mass and inertia by one factor: the free swing stays, the motor does less.
    let start = "start_angle_rad = 0.3, start_velocity_rad_per_sec = 0.0";
    let speed = |randomisation: &str| {
        let mut env = build(&format!(
            "pendulum start_angle_rad = 0.0, start_velocity_rad_per_sec = 0.0{randomisation}"
        ))
        .unwrap();
        episode(&mut *env, 1, 1)[1][2]
    };
    let (plain, heavy) = (speed(""), speed(", randomisation = { mass_scale = [2.0, 2.0] }"));
    assert!((plain / heavy - 2.0).abs() < 0.02, "{plain} and {heavy}");
    let stronger = speed(", randomisation = { gain_scale = [1.5, 1.5] }");
    assert!((stronger / plain - 1.5).abs() < 0.02, "{plain} and {stronger}");
    let free = |randomisation: &str| {
        let mut env = build(&format!("pendulum {start}{randomisation}")).unwrap();
        let mut o = [0.0; 3];
        env.reset(1, &mut o).unwrap();
        for _ in 0..10 {
            env.step(&[0.0], &mut o, &mut [0.0]).unwrap();
        }
        o[2]
    };
    let difference = free("") - free(", randomisation = { mass_scale = [2.0, 2.0] }");
    assert!(difference.abs() < 1e-3, "{difference}");
}

#[test]
fn delays_shift_what_is_done_and_seen_by_whole_steps() {
    let plain = episode(&mut *build("cart_pole").unwrap(), 3, 12);
    let late = episode(
        &mut *build("cart_pole randomisation = { observation_delay_steps = [2, 2] }").unwrap(),
        3,
        12,
    );
    assert_eq!(late[0], plain[0]);
    assert_eq!(late[1], plain[0]);
    assert_eq!(late[2..12], plain[..10]);
    let mut env = build("cart_pole randomisation = { action_delay_steps = [2, 2] }").unwrap();
    let (mut o, mut e) = ([0.0; 4], [0.0]);
    env.reset(3, &mut o).unwrap();
    let executed: Vec<f32> = (0..5_u8)
        .map(|k| {
            env.step(&[f32::from(k + 1) / 10.0], &mut o, &mut e).unwrap();
            (e[0] * 10.0).round()
        })
        .collect();
    assert_eq!(executed, [0.0, 0.0, 1.0, 2.0, 3.0], "what is recorded is what was done");
}

#[test]
fn noise_has_the_stated_spread_and_leaves_the_world_alone() {
    let plain = episode(&mut *build("pendulum").unwrap(), 3, 150);
    let noisy = episode(
        &mut *build("pendulum randomisation = { observation_noise = { angular_velocity = 0.2 } }").unwrap(),
        3,
        150,
    );
    let errors: Vec<f64> = plain.iter().zip(&noisy).map(|(p, n)| f64::from(n[2] - p[2])).collect();
    assert!(plain.iter().zip(&noisy).all(|(p, n)| p[..2] == n[..2]), "what is not named is exact");
    let spread = (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt();
    assert!((0.15..0.25).contains(&spread), "{spread}");
}

#[test]
fn ranges_that_cannot_be_drawn_are_refused() {
    for (settings, expected) in [
        (
            "mass_scale = [2.0, 1.0]",
            "mass_scale must be [low, high] between 0.001 and 1000, low first, found [2, 1]",
        ),
        ("mass_scale = [0.0, 1.0]", "mass_scale must be"),
        ("friction_scale = [-1.0, 1.0]", "friction_scale must be"),
        ("gain_scale = [nan, 1.0]", "gain_scale must be"),
        ("action_delay_steps = [3, 1]", "action_delay_steps must be [fewest, most]"),
        ("observation_delay_steps = [0, 1000000]", "at most 100"),
        ("action_noise = -0.1", "action_noise must not be negative"),
        ("observation_noise = { tool = 0.1 }", "no observation is called tool: expected one of tool_x"),
        ("mass = [1.0, 1.0]", "unknown field `mass`"),
        (
            "curriculum = { env_steps = { all_after = 0 } }",
            "curriculum.env_steps must have all_after above 0",
        ),
        ("curriculum = { env_steps = { all_after = 10, start = 1.5 } }", "start between 0 and 1"),
        ("curriculum = { success = { episodes = 0 } }", "curriculum.success must have 1 to 10000 episodes"),
        ("curriculum = { success = { widen_at = 0.0 } }", "widen_at above 0"),
        ("curriculum = { success = { narrow_at = 0.8 } }", "narrow_at from 0 to below widen_at = 0.8"),
        ("curriculum = { success = { step = 0.0 } }", "step between 0.001 and 1"),
        ("curriculum = { rate = {} }", "unknown variant `rate`, expected `env_steps` or `success`"),
    ] {
        let error = build(&format!("push randomisation = {{ {settings} }}")).err().unwrap();
        assert!(error.contains(expected), "expected {expected}, found {error}");
    }
}

#[test]
fn a_curriculum_widens_evenly_from_nothing_to_what_is_stated_and_depends_on_env_steps_alone() {
    let stated = "mass_scale = [0.5, 2.0], action_delay_steps = [0, 2], observation_noise = { \"*\" = 0.02 }";
    let plain = build("push").unwrap();
    let wide = build(&format!("push randomisation = {{ {stated} }}")).unwrap();
    let widening = || {
        let curriculum = "curriculum = { env_steps = { all_after = 1000 } }";
        build(&format!("push randomisation = {{ {stated}, {curriculum} }}")).unwrap()
    };
    let successes = SuccessHistory::default();
    let after = |env: &mut dyn Env, env_steps: Option<u64>| {
        let share =
            env.set_progress(env_steps.map(|e| TrainingProgress { env_steps: e, successes: &successes }));
        assert_eq!(share, env_steps.map(|e| (e as f64 / 1000.0).min(1.0)));
        episode(env, 5, 12)
    };
    let [mut plain, mut wide] = [plain, wide];
    let (plain, wide) = (episode(&mut *plain, 5, 12), episode(&mut *wide, 5, 12));
    let (mut env, mut other) = (widening(), widening());
    assert_eq!(after(&mut *env, Some(0)), plain, "nothing is drawn at first");
    let half = after(&mut *env, Some(500));
    assert!(half != plain && half != wide);
    for env_steps in [Some(1000), Some(5000), None] {
        assert_eq!(after(&mut *env, env_steps), wide, "{env_steps:?}");
    }
    // Forward, backward or at once: as in a run that was resumed.
    assert_eq!(after(&mut *env, Some(500)), half);
    assert_eq!(after(&mut *other, Some(500)), half);
}

#[test]
fn a_curriculum_by_success_draws_what_the_episodes_so_far_allow_whatever_it_was_told_before() {
    let stated = "mass_scale = [0.5, 2.0], action_delay_steps = [0, 2], observation_noise = { \"*\" = 0.02 }";
    let curriculum =
        "curriculum = { success = { episodes = 4, widen_at = 0.75, narrow_at = 0.25, step = 0.5 } }";
    let widening = || build(&format!("push randomisation = {{ {stated}, {curriculum} }}")).unwrap();
    let after = |env: &mut dyn Env, history: &str, share: f64| {
        let successes: SuccessHistory = history.bytes().map(|b| b == b'+').collect();
        // However many steps they took.
        let env_steps = 7 * history.len() as u64;
        let found = env.set_progress(Some(TrainingProgress { env_steps, successes: &successes }));
        assert_eq!(found, Some(share), "{history}");
        episode(env, 5, 12)
    };
    let plain = episode(&mut *build("push").unwrap(), 5, 12);
    let wide = episode(&mut *build(&format!("push randomisation = {{ {stated} }}")).unwrap(), 5, 12);
    let (mut env, mut other) = (widening(), widening());
    assert_eq!(after(&mut *env, "", 0.0), plain);
    let half = after(&mut *env, "++++", 0.5);
    assert!(half != plain && half != wide);
    assert_eq!(after(&mut *env, "+++-+++-", 1.0), wide);
    assert_eq!(after(&mut *env, "+++-+++-----", 0.5), half, "it narrows again");
    // In another process, told nothing of the way there.
    assert_eq!(after(&mut *other, "--+-+++", 0.5), half);
    assert_eq!(other.set_progress(None), None);
    assert_eq!(episode(&mut *other, 5, 12), wide, "outside of training");
}
