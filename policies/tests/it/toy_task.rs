//! Learners on a task small enough for a test: a point in a square is to come to the origin in eight steps.

use surefoot_core::{
    ActMode, Batch, Env, EnvError, EnvSpec, EpisodeBuilder, Learner, Outcome, PhaseKind, ReplayBuffer,
    ResetScope, Rows, RowsMut, StepEnd, Stream,
};
use surefoot_policies::{LearnerConfig, LearnerContext};

use crate::data::spec;

struct Point {
    spec: EnvSpec,
    at: [f32; 2],
    steps: usize,
}

impl Point {
    fn new() -> Self {
        let mut spec = spec(2, 2);
        spec.max_steps = 8;
        spec.reward_range = Some((-3.0, 0.0));
        Self { spec, at: [0.0; 2], steps: 0 }
    }
}

impl Env for Point {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }
    fn reset(&mut self, seed: u64, observation: &mut [f32]) -> Result<(), EnvError> {
        let mut stream = Stream::new(seed, "point", 0);
        self.at = [stream.uniform(-1.0, 1.0) as f32, stream.uniform(-1.0, 1.0) as f32];
        self.steps = 0;
        observation.copy_from_slice(&self.at);
        Ok(())
    }
    fn step(
        &mut self,
        action: &[f32],
        observation: &mut [f32],
        executed: &mut [f32],
    ) -> Result<Outcome, EnvError> {
        for ((x, executed), a) in self.at.iter_mut().zip(executed).zip(action) {
            *executed = a.clamp(-1.0, 1.0);
            *x = (*x + 0.3 * *executed).clamp(-2.0, 2.0);
        }
        self.steps += 1;
        observation.copy_from_slice(&self.at);
        let end = StepEnd::from_flags(false, self.steps >= self.spec.max_steps);
        Ok(Outcome { reward: -self.at[0].hypot(self.at[1]), end, ..Outcome::default() })
    }
}

/// Mean return over `episodes` episodes of `act`; what it did is pushed to `buffer`.
fn rollouts(
    episodes: u64,
    first_seed: u64,
    mut act: impl FnMut(u64, usize, &[f32], &mut [f32]),
    mut buffer: Option<&mut ReplayBuffer>,
) -> f64 {
    let mut env = Point::new();
    let mut sum = 0.0;
    for seed in first_seed..first_seed + episodes {
        let mut builder = EpisodeBuilder::new(format!("{seed}"), "test", seed);
        let (mut observation, mut next, mut action, mut executed) = ([0.0; 2], [0.0; 2], [0.0; 2], [0.0; 2]);
        env.reset(seed, &mut observation).unwrap();
        for t in 0.. {
            act(seed, t, &observation, &mut action);
            let outcome = env.step(&action, &mut next, &mut executed).unwrap();
            builder.push(&observation, &action, &executed, &next, outcome);
            observation = next;
            if outcome.end.is_last() {
                break;
            }
        }
        let episode = builder.finish();
        sum += episode.episode_return();
        if let Some(buffer) = &mut buffer {
            buffer.push_episode(&episode);
        }
    }
    sum / episodes as f64
}

/// Steps towards the origin; with probability `wrong`, away from it.
fn demonstrations(episodes: u64, wrong: f64) -> (ReplayBuffer, f64) {
    let mut buffer = ReplayBuffer::new(2, 2, 100_000);
    let act = |seed, t, observation: &[f32], action: &mut [f32]| {
        let mut stream = Stream::new(seed, "demonstrator", t as u64);
        let sign = if stream.unit() < wrong { 1.0 } else { -1.0 };
        for (a, x) in action.iter_mut().zip(observation) {
            *a = (sign * x / 0.3).clamp(-0.9, 0.9) + 0.1 * stream.normal() as f32;
        }
    };
    let mean_return = rollouts(episodes, 1000, act, Some(&mut buffer));
    (buffer, mean_return)
}

fn train(config: serde_json::Value, data: &ReplayBuffer, seed: u64, updates: u64) -> Box<dyn Learner> {
    let config: LearnerConfig = serde_json::from_value(config).unwrap();
    let mut learner = config.build(&LearnerContext::new(Point::new().spec, seed)).unwrap();
    learner.fit(data, &["test".into()]).unwrap();
    let mut batch = Batch::default();
    let plan = learner.sample_plan(PhaseKind::Offline);
    for k in 0..updates {
        batch.clear(2, 2);
        let mut stream = Stream::new(seed, "sample", k);
        let rows: Vec<usize> = (0..64).map(|_| stream.below(data.len())).collect();
        plan.append(data, &rows, &mut batch).unwrap();
        learner.update(&batch).unwrap();
    }
    learner
}

/// Mean return of the learned policy without noise, over 50 fixed starts.
fn evaluate(learner: &dyn Learner) -> f64 {
    let mut policy = learner.policy(1).unwrap();
    let act = |seed, t, observation: &[f32], action: &mut [f32]| {
        if t == 0 {
            policy.reset(0, ResetScope::Episode, seed);
        }
        policy.act(Rows::new(observation, 2), ActMode::Exploit, RowsMut::new(action, 2)).unwrap();
    };
    rollouts(50, 0, act, None)
}

const HIDDEN: [usize; 2] = [32, 32];

#[test]
fn cloning_good_demonstrations_is_nearly_as_good_as_they_are() {
    let (data, demonstrated) = demonstrations(100, 0.0);
    for seed in 0..3 {
        let config = serde_json::json!({ "bc": { "actor": { "hidden": HIDDEN, "learning_rate": 2e-3 } } });
        let cloned = evaluate(train(config, &data, seed, 800).as_ref());
        assert!(cloned > demonstrated - 0.3, "seed {seed}: {cloned} after {demonstrated}");
    }
}

#[test]
fn awac_is_far_better_than_cloning_when_half_of_the_demonstrated_steps_are_wrong() {
    let (data, demonstrated) = demonstrations(300, 0.5);
    for seed in 0..3 {
        let actor = serde_json::json!({ "hidden": HIDDEN, "learning_rate": 2e-3 });
        let cloned = train(serde_json::json!({ "bc": { "actor": actor } }), &data, seed, 1500);
        let awac = serde_json::json!({ "awac": {
            "actor": actor,
            "critic": { "hidden": HIDDEN, "learning_rate": 2e-3, "target_rate": 0.02 },
            "discount": 0.9, "temperature": 0.5, "weight": "whiten",
        } });
        let weighted = train(awac, &data, seed, 1500);
        let (cloned, weighted) = (evaluate(cloned.as_ref()), evaluate(weighted.as_ref()));
        assert!(weighted > -2.5, "seed {seed}: {weighted}; cloning {cloned}, demonstrations {demonstrated}");
        assert!(weighted > cloned + 2.0, "seed {seed}: {weighted} against {cloned}");
    }
}

#[test]
fn implicit_values_are_far_better_than_cloning_when_half_of_the_demonstrated_steps_are_wrong() {
    let (data, demonstrated) = demonstrations(300, 0.5);
    for seed in 0..3 {
        let iql = serde_json::json!({ "iql": {
            "actor": { "hidden": HIDDEN, "learning_rate": 2e-3 },
            "critic": { "hidden": HIDDEN, "learning_rate": 2e-3, "target_rate": 0.02 },
            "discount": 0.9, "expectile": 0.8, "temperature": 0.1,
        } });
        let learned = evaluate(train(iql, &data, seed, 1500).as_ref());
        assert!(learned > demonstrated + 2.0 && learned > -2.5, "seed {seed}: {learned}, {demonstrated}");
    }
}

#[test]
fn returns_as_weights_are_far_better_than_cloning_when_half_of_the_demonstrated_steps_are_wrong() {
    let (data, demonstrated) = demonstrations(300, 0.5);
    for seed in 0..3 {
        for returns in [
            serde_json::json!("monte_carlo"),
            serde_json::json!({ "n_step": 2 }),
            serde_json::json!({ "td_lambda": { "lambda": 0.9, "steps": 4 } }),
        ] {
            let awr = serde_json::json!({ "awr": {
                "actor": { "hidden": HIDDEN, "learning_rate": 2e-3 },
                "critic": { "hidden": HIDDEN, "learning_rate": 2e-3, "target_rate": 0.02 },
                "discount": 0.9, "temperature": 0.5, "returns": returns,
            } });
            let learned = evaluate(train(awr, &data, seed, 1500).as_ref());
            assert!(learned > demonstrated + 2.0 && learned > -2.5, "seed {seed}: {learned}, {demonstrated}");
        }
    }
}

#[test]
fn conservative_values_climb_above_demonstrations_of_which_half_of_the_steps_are_wrong() {
    let (data, demonstrated) = demonstrations(300, 0.5);
    for seed in 0..3 {
        for (calibrated, lagrange) in [(false, None), (true, Some(0.5))] {
            let mut cql = serde_json::json!({
                "actor": { "hidden": HIDDEN, "learning_rate": 2e-3 },
                "critic": { "hidden": HIDDEN, "learning_rate": 2e-3, "target_rate": 0.02 },
                "discount": 0.9, "initial_temperature": 0.1, "temperature_learning_rate": 2e-3,
                "conservative_weight": 0.5, "action_samples": 4, "calibrated": calibrated,
            });
            if let Some(gap) = lagrange {
                cql["lagrange"] = serde_json::json!({ "target_gap": gap });
            }
            let learned = evaluate(train(serde_json::json!({ "cql": cql }), &data, seed, 800).as_ref());
            assert!(learned > demonstrated + 2.0 && learned > -2.5, "seed {seed}: {learned}, {demonstrated}");
        }
    }
}

#[test]
fn a_behaviour_penalty_holds_soft_actor_critic_offline_above_demonstrations_with_wrong_steps() {
    let (data, demonstrated) = demonstrations(300, 0.5);
    for seed in 0..3 {
        for behaviour in [
            serde_json::json!({ "penalty": 0.1, "in_targets": true, "learning_rate": 2e-3 }),
            serde_json::json!({ "penalty": 0.1, "in_targets": false, "learning_rate": 2e-3 }),
            serde_json::json!({
                "penalty": 0.1, "max_divergence": 0.5, "penalty_learning_rate": 2e-3, "in_targets": false, "learning_rate": 2e-3,
                "prior": { "advantage": {} },
            }),
        ] {
            let brac = serde_json::json!({ "sac": {
                "actor": { "hidden": HIDDEN, "learning_rate": 2e-3 },
                "critic": { "hidden": HIDDEN, "learning_rate": 2e-3, "target_rate": 0.02 },
                "discount": 0.9, "initial_temperature": 0.05, "temperature_learning_rate": 0.0, "offline_actor": "sac",
                "behaviour": behaviour,
            } });
            let learned = evaluate(train(brac, &data, seed, 1500).as_ref());
            assert!(learned > demonstrated + 2.0 && learned > -2.5, "seed {seed}: {learned}, {demonstrated}");
        }
    }
}

#[test]
fn matched_support_climbs_above_demonstrations_of_which_half_of_the_steps_are_wrong() {
    let (data, demonstrated) = demonstrations(300, 0.5);
    for seed in 0..3 {
        let bear = serde_json::json!({ "bear": {
            "actor": { "hidden": HIDDEN, "learning_rate": 2e-3 },
            "critic": { "hidden": HIDDEN, "learning_rate": 2e-3, "target_rate": 0.02 },
            "behaviour": { "hidden": HIDDEN }, "discount": 0.9, "next_samples": 4, "warmup_updates": 300,
        } });
        let learned = evaluate(train(bear, &data, seed, 1500).as_ref());
        assert!(learned > demonstrated + 2.0 && learned > -2.5, "seed {seed}: {learned}, {demonstrated}");
    }
}

#[test]
fn td3_bc_climbs_above_demonstrations_of_which_half_of_the_steps_are_wrong() {
    let (data, demonstrated) = demonstrations(300, 0.5);
    for seed in 0..3 {
        for critic_penalty in [0.0, 0.05] {
            let td3_bc = serde_json::json!({ "td3_bc": {
                "actor": { "hidden": HIDDEN, "learning_rate": 2e-3 },
                "critic": { "hidden": HIDDEN, "learning_rate": 2e-3, "target_rate": 0.02 },
                "discount": 0.9, "cloning": 0.1, "critic_penalty": critic_penalty,
            } });
            let learned = evaluate(train(td3_bc, &data, seed, 1500).as_ref());
            assert!(learned > demonstrated + 2.0 && learned > -2.5, "seed {seed}: {learned}, {demonstrated}");
        }
    }
}

#[test]
fn the_best_of_what_was_demonstrated_is_far_better_than_demonstrations_of_which_half_of_the_steps_are_wrong()
{
    let (data, demonstrated) = demonstrations(300, 0.5);
    for seed in 0..3 {
        let bcq = serde_json::json!({ "bcq": {
            "actor": { "hidden": HIDDEN, "learning_rate": 2e-3 },
            "critic": { "hidden": HIDDEN, "learning_rate": 2e-3, "target_rate": 0.02 },
            "behaviour": { "hidden": HIDDEN }, "discount": 0.9, "next_samples": 4, "act_samples": 20,
        } });
        let learned = evaluate(train(bcq, &data, seed, 1500).as_ref());
        assert!(learned > demonstrated + 2.0 && learned > -2.5, "seed {seed}: {learned}, {demonstrated}");
    }
}

/// Natural steps on fresh episodes, `demonstrated` rows beside each.
fn train_on_policy(
    learner: &mut dyn Learner,
    data: &ReplayBuffer,
    (seed, steps, demonstrated): (u64, u64, usize),
) {
    learner.enter_phase(PhaseKind::Online).unwrap();
    let wanted = learner.sample_plan(PhaseKind::Online).waits_for().unwrap();
    let mut batch = Batch::default();
    for k in 0..steps {
        let mut policy = learner.policy(1).unwrap();
        let act = |seed, t, observation: &[f32], action: &mut [f32]| {
            if t == 0 {
                policy.reset(0, ResetScope::Episode, seed);
            }
            policy.act(Rows::new(observation, 2), ActMode::Explore, RowsMut::new(action, 2)).unwrap();
        };
        let mut fresh = ReplayBuffer::new(2, 2, 10_000);
        let episodes = wanted.div_ceil(8) as u64;
        rollouts(episodes, 100_000 * (seed + 1) + 1000 * k, act, Some(&mut fresh));
        batch.clear(2, 2);
        data.sample(demonstrated, &mut Stream::new(seed, "sample", k), &mut batch);
        fresh.append_newest(wanted, &mut batch);
        learner.update(&batch).unwrap();
    }
}

#[test]
fn natural_gradients_learn_from_nothing_and_climb_above_half_wrong_demonstrations() {
    let (data, demonstrated) = demonstrations(300, 0.5);
    let config = |weight: f64| {
        serde_json::json!({ "dapg": {
            "actor": { "hidden": HIDDEN, "initial_std": 0.5 }, "value": { "hidden": HIDDEN, "learning_rate": 3e-3 },
            "discount": 0.9, "gae_lambda": 0.9, "update_env_steps": 400, "kl_step": 0.05, "demonstration_weight": weight,
        } })
    };
    for seed in 0..3 {
        let mut from_nothing = train(config(0.0), &data, seed, 0);
        train_on_policy(from_nothing.as_mut(), &data, (seed, 40, 0));
        let learned = evaluate(from_nothing.as_ref());
        assert!(learned > -2.5, "seed {seed}: {learned} from nothing");
        let mut cloned = train(config(0.02), &data, seed, 300);
        train_on_policy(cloned.as_mut(), &data, (seed, 30, 400));
        let learned = evaluate(cloned.as_ref());
        assert!(learned > demonstrated + 2.0 && learned > -2.5, "seed {seed}: {learned}, {demonstrated}");
    }
}

/// Acts, learns, acts: `rounds` episodes with `updates` after each, into a buffer that may hold something already.
fn train_online(
    config: serde_json::Value,
    buffer: &mut ReplayBuffer,
    seed: u64,
    rounds: u64,
    updates: u64,
) -> f64 {
    let config: LearnerConfig = serde_json::from_value(config).unwrap();
    let mut learner = config.build(&LearnerContext::new(Point::new().spec, seed)).unwrap();
    learner.enter_phase(PhaseKind::Online).unwrap();
    let mut batch = Batch::default();
    for round in 0..rounds {
        let mut policy = learner.policy(1).unwrap();
        let act = |seed, t, observation: &[f32], action: &mut [f32]| {
            if t == 0 {
                policy.reset(0, ResetScope::Episode, seed);
            }
            policy.act(Rows::new(observation, 2), ActMode::Explore, RowsMut::new(action, 2)).unwrap();
        };
        rollouts(1, 10_000 * (seed + 1) + round, act, Some(buffer));
        for _ in 0..updates {
            batch.clear(2, 2);
            buffer.sample(64, &mut Stream::new(seed, "sample", learner.updates()), &mut batch);
            learner.update(&batch).unwrap();
        }
    }
    evaluate(learner.as_ref())
}

#[test]
fn soft_actor_critic_learns_from_nothing_and_by_the_options_of_rlpd() {
    for seed in 0..3 {
        let actor = serde_json::json!({ "hidden": HIDDEN, "learning_rate": 3e-3 });
        let critic = serde_json::json!({ "hidden": HIDDEN, "learning_rate": 3e-3, "target_rate": 0.02, "layer_norm": false, "q_clamp": "off" });
        let data = serde_json::json!({
            "actor": actor, "critic": critic, "discount": 0.9, "initial_temperature": 0.1,
            "temperature_learning_rate": 3e-3, "normalize_observations": false, "backup_entropy": true,
        });
        let mut ensemble = data.clone();
        ensemble["critic"]["count"] = 4.into();
        ensemble["critic"]["min_over"] = 2.into();
        ensemble["critic"]["layer_norm"] = true.into();
        ensemble["critic"]["q_clamp"] = "reward_bounds".into();
        ensemble["actor_q"] = "mean".into();
        ensemble["backup_entropy"] = false.into();
        for config in [data, ensemble] {
            let mut buffer = ReplayBuffer::new(2, 2, 10_000);
            let learned = train_online(serde_json::json!({ "sac": config }), &mut buffer, seed, 150, 10);
            assert!(learned > -2.5, "seed {seed}: {learned} with {config}");
        }
    }
}
