//! The transformer as it acts.

use surefoot_core::{
    ActMode, EnvSpec, Feedback, Field, Normalizer, Outcome, Policy, PolicyArtifact, ResetScope, Rows,
    RowsMut, StepEnd, Stream,
};
use surefoot_policies::in_context::artifact::{self, Acting};
use surefoot_policies::in_context::network::{Network, Pass};
use surefoot_policies::in_context::policy::InContextPolicy;
use surefoot_policies::in_context::shape::TokenShape;
use surefoot_policies::in_context::tokens::{Before, Masked, Token};
use surefoot_policies::in_context::windows::Window;
use surefoot_policies::in_context::{ModelConfig, Positions, StepTokens};
use surefoot_policies::load_policy;

use super::gradients::random_theta;

fn spec() -> EnvSpec {
    EnvSpec {
        name: "room".into(),
        observation: vec![Field::choice("x", 5), Field::unbounded("speed", "m/s"), Field::choice("y", 3)],
        action: vec![Field::choice("move", 4), Field::bounded("push", "N", -2.0, 2.0)],
        step_secs: 0.1,
        max_steps: 7,
        reward_range: None,
        contract_hash: None,
    }
}

fn normalizer() -> Normalizer {
    Normalizer { mean: vec![0.0, 0.5, 0.0], std: vec![1.0, 2.0, 1.0] }
}

fn model(window: usize, tokens: StepTokens, positions: Positions) -> ModelConfig {
    ModelConfig {
        width: 16,
        layers: 3,
        heads: 2,
        feed_forward: 24,
        window,
        tokens,
        positions,
        action_bins: 5,
        rewards: true,
        returns_to_go: false,
    }
}

fn network(window: usize, tokens: StepTokens, positions: Positions) -> (Network, Vec<f32>) {
    let model = model(window, tokens, positions);
    let shape = TokenShape::of(&spec(), &model);
    let network = Network::new(model, shape);
    let theta = random_theta(&network, 7);
    (network, theta)
}

fn files(window: usize, positions: Positions, acting: &Acting) -> PolicyArtifact {
    files_of(&network(window, StepTokens::Merged, positions), acting)
}

fn files_of((network, theta): &(Network, Vec<f32>), acting: &Acting) -> PolicyArtifact {
    artifact::write(&artifact::Parts {
        network,
        theta,
        spec: &spec(),
        normalizer: &normalizer(),
        reward_scale: 2.0,
        return_scale: 4.0,
        masks_trained: true,
        acting,
        data_hash: "histories",
        updates: 9,
    })
    .unwrap()
}

fn policy(window: usize, slots: usize) -> InContextPolicy {
    InContextPolicy::from_artifact(&files(window, Positions::Alibi, &Acting::default()), slots).unwrap()
}

fn observation(stream: &mut Stream) -> [f32; 3] {
    [stream.below(5) as f32, stream.normal() as f32, stream.below(3) as f32]
}

fn act(policy: &mut dyn Policy, observations: &[f32]) -> Vec<f32> {
    let mut actions = vec![0.0; observations.len() / 3 * 2];
    policy.act(Rows::new(observations, 3), ActMode::Explore, RowsMut::new(&mut actions, 2)).unwrap();
    actions
}

fn feedback(slot: usize, reward: f32, end: StepEnd) -> Feedback<'static> {
    Feedback { slot, outcome: Outcome { reward, end, ..Outcome::default() }, executed: None }
}

/// One slot's life beside the same life as one long window.
struct Life {
    window: Window,
    before: Option<(Vec<u32>, f32, StepEnd)>,
    step: usize,
    logits: Vec<Vec<f32>>,
}

#[test]
fn the_ring_gives_what_the_banded_pass_gives_with_wraps_and_staggered_resets() {
    const SLOTS: usize = 3;
    use StepTokens::{Merged, Triplet};
    for (tokens, positions, width, seed) in [
        (Merged, Positions::Alibi, 13, 0),
        (Merged, Positions::Rotary, 13, 1),
        (Merged, Positions::Alibi, 40, 2),
        (Merged, Positions::Rotary, 1, 3),
        (Merged, Positions::Alibi, 2, 4),
        (Triplet, Positions::Alibi, 13, 5),
        (Triplet, Positions::Rotary, 5, 6),
        (Triplet, Positions::Alibi, 1, 7),
    ] {
        let (network, theta) = network(width, tokens, positions);
        let files = files_of(&(network.clone(), theta.clone()), &Acting::default());
        let mut policy = InContextPolicy::from_artifact(&files, SLOTS).unwrap();
        let count = tokens.count();
        let mut stream = Stream::new(seed, "life", 0);
        let fresh =
            || Life { window: Window::new(&network.shape), before: None, step: 0, logits: Vec::new() };
        let mut lives: Vec<Life> = (0..SLOTS).map(|_| fresh()).collect();
        let mut pass = Pass::default();
        let mut judge = |life: &Life| {
            network.forward(&theta, &life.window, &mut pass);
            let rows = pass.logits.chunks_exact(9).skip(count - 1).step_by(count);
            for (i, (logits, row)) in life.logits.iter().zip(rows).enumerate() {
                for (a, b) in logits.iter().zip(row) {
                    assert!((a - b).abs() < 1e-4, "{tokens:?} {positions:?} W {width} step {i}: {a} {b}");
                }
            }
            life.logits.len()
        };
        let mut judged = 0;
        for t in 0..6 * width.max(8) {
            // One slot at a time, so that its logits can be looked at: the others come before it.
            for (slot, life) in lives.iter_mut().enumerate() {
                if t > 0 && stream.unit() < 0.02 {
                    policy.reset(slot, ResetScope::Task, stream.bits());
                    judged += judge(&std::mem::replace(life, fresh()));
                } else if stream.unit() < 0.1 {
                    policy.reset(slot, ResetScope::Episode, stream.bits());
                    life.step = 0;
                    if let Some((_, _, end @ StepEnd::Running)) = &mut life.before {
                        *end = StepEnd::Truncated;
                    }
                }
            }
            let rows: Vec<[f32; 3]> = (0..SLOTS).map(|_| observation(&mut stream)).collect();
            let mut actions = Vec::new();
            for (slot, life) in lives.iter_mut().enumerate() {
                // The whole prefix acts; what the others did is undone.
                let saved: Vec<Vec<u8>> = (0..slot).map(|i| policy.save_context(i).unwrap()).collect();
                let all = act(&mut policy, rows[..=slot].as_flattened());
                saved.iter().enumerate().for_each(|(i, s)| policy.restore_context(i, s).unwrap());
                life.logits.push(policy.last_logits().to_vec());
                actions.push(all[2 * slot..].to_vec());
            }
            for (slot, life) in lives.iter_mut().enumerate() {
                let mut seen = rows[slot];
                normalizer().apply(&mut seen);
                let before = life.before.as_ref().map_or(Before::Nothing, |(action, reward, end)| {
                    Before::Step { action, reward: *reward, end: *end }
                });
                let token = Token {
                    observation: &seen,
                    before,
                    step: life.step,
                    masked: Masked::default(),
                    return_to_go: 0.0,
                };
                life.window.push(token, &[0, 0], 1.0);
                life.step += 1;
                let bins = [0, 1].map(|i| network.shape.action[i].bin_of(actions[slot][i]));
                let reward = 4.0 * stream.unit() as f32 - 2.0;
                let end = [StepEnd::Running, StepEnd::Terminated][usize::from(stream.unit() < 0.1)];
                policy.observe(&[feedback(slot, reward, end)]);
                life.before = Some((bins.to_vec(), reward / 2.0, end));
            }
        }
        for life in &lives {
            judged += judge(life);
        }
        assert!(judged >= SLOTS * 6 * width.max(8), "{judged}");
    }
}

fn lived(policy: &mut dyn Policy, steps: usize, stream: &mut Stream) -> Vec<f32> {
    let mut all = Vec::new();
    for t in 0..steps {
        all.extend(act(policy, &observation(stream)));
        let end = if t % 7 == 6 { StepEnd::Truncated } else { StepEnd::Running };
        policy.observe(&[feedback(0, stream.unit() as f32, end)]);
        if end.is_last() {
            policy.reset(0, ResetScope::Episode, stream.bits());
        }
    }
    all
}

#[test]
fn a_saved_context_goes_on_to_the_same_bit() {
    let mut one = policy(10, 1);
    let mut stream = Stream::new(0, "a", 0);
    lived(&mut one, 33, &mut stream);
    let saved = one.save_context(0).unwrap();
    let mut two = policy(10, 2);
    lived(&mut two, 5, &mut Stream::new(1, "b", 0));
    two.restore_context(0, &saved).unwrap();
    assert_eq!(two.save_context(0).unwrap(), saved);
    assert_eq!(lived(&mut one, 40, &mut stream.clone()), lived(&mut two, 40, &mut stream));
    assert_eq!(one.save_context(0).unwrap(), two.save_context(0).unwrap());
}

#[test]
fn a_damaged_context_or_one_of_other_weights_is_refused_and_changes_nothing() {
    let mut one = policy(10, 1);
    lived(&mut one, 12, &mut Stream::new(0, "a", 0));
    let saved = one.save_context(0).unwrap();
    let mut cut = saved.clone();
    cut.pop();
    let mut other = saved.clone();
    other[9] ^= 1;
    let mut nan = saved.clone();
    let last = nan.len() - 4;
    nan[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut bin = saved.clone();
    bin[84] = 200;
    for (bytes, says) in [
        (cut, "expected"),
        (other, "other weights"),
        (nan, "not finite"),
        (bin, "last action"),
        (vec![], "begin"),
    ] {
        let said = one.restore_context(0, &bytes).unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
        assert_eq!(one.save_context(0).unwrap(), saved);
    }
    assert!(one.restore_context(1, &saved).is_err() && one.save_context(1).is_err());
}

#[test]
fn a_new_task_forgets_and_a_new_episode_remembers() {
    let mut fresh = policy(10, 1);
    let mut used = policy(10, 1);
    lived(&mut used, 25, &mut Stream::new(0, "a", 0));
    let mut kept = policy(10, 1);
    kept.restore_context(0, &used.save_context(0).unwrap()).unwrap();
    for (policy, scope) in
        [(&mut fresh, ResetScope::Task), (&mut used, ResetScope::Task), (&mut kept, ResetScope::Episode)]
    {
        policy.reset(0, scope, 77);
    }
    let logits = |policy: &mut InContextPolicy| {
        act(policy, &[1.0, 0.2, 2.0]);
        policy.last_logits().to_vec()
    };
    let expected = logits(&mut fresh);
    assert_eq!(logits(&mut used), expected);
    assert_ne!(logits(&mut kept), expected);
    assert_eq!((used.lived(0), kept.lived(0)), (1, 26));
}

#[test]
fn remembering_what_was_done_is_having_done_it() {
    let mut acted = policy(10, 1);
    let mut shown = policy(10, 1);
    let mut stream = Stream::new(5, "a", 0);
    for policy in [&mut acted, &mut shown] {
        policy.reset(0, ResetScope::Task, 9);
    }
    for t in 0..23 {
        let seen = observation(&mut stream);
        let action = act(&mut acted, &seen);
        let end = if t % 7 == 6 { StepEnd::Terminated } else { StepEnd::Running };
        let outcome = Outcome { reward: stream.unit() as f32, end, ..Outcome::default() };
        acted.observe(&[Feedback { slot: 0, outcome, executed: Some(&action) }]);
        shown.remember(0, &seen, &action, &outcome);
        if end.is_last() {
            acted.reset(0, ResetScope::Episode, t);
            shown.reset(0, ResetScope::Episode, t);
        }
    }
    assert!(shown.save_context(0).unwrap() == acted.save_context(0).unwrap());
    // What is no number, or of another shape, is not remembered.
    let before = shown.lived(0);
    shown.remember(0, &[f32::NAN, 0.0, 0.0], &[0.0, 0.0], &Outcome::default());
    shown.remember(0, &[0.0, 0.0], &[0.0, 0.0], &Outcome::default());
    shown.remember(1, &[0.0; 3], &[0.0, 0.0], &Outcome::default());
    assert_eq!(shown.lived(0), before);
}

#[test]
fn poison_stays_out_of_the_context_and_is_counted() {
    let mut policy = policy(10, 1).with_fallback(Box::new(Always)).unwrap();
    lived(&mut policy, 9, &mut Stream::new(0, "a", 0));
    let rings = |p: &InContextPolicy| p.save_context(0).unwrap()[108..].to_vec();
    let before = rings(&policy);
    assert_eq!(act(&mut policy, &[1.0, f32::NAN, 0.0]), [2.0, 0.5]);
    assert_eq!(rings(&policy), before);
    policy.observe(&[feedback(0, f32::NAN, StepEnd::Running)]);
    let actions = act(&mut policy, &[1.0, 0.0, 0.0]);
    assert!(actions.iter().all(|a| a.is_finite()) && policy.last_logits().iter().all(|l| l.is_finite()));
    policy.observe(&[feedback(0, 1e30, StepEnd::Running)]);
    act(&mut policy, &[1.0, 0.0, 0.0]);
    assert!(policy.last_logits().iter().all(|l| l.is_finite()));
    let poison = policy.poison();
    assert_eq!((poison.observations, poison.rewards, poison.clipped_rewards), (1, 1, 1));
}

#[test]
fn without_a_fallback_poison_becomes_an_action_that_the_safety_chain_brakes_on() {
    let mut policy = policy(10, 1);
    assert!(act(&mut policy, &[1.0, f32::INFINITY, 0.0]).iter().all(|a| a.is_nan()));
    assert!(act(&mut policy, &[1.0, 0.0, 0.0]).iter().all(|a| a.is_finite()));
}

/// Always the same action.
struct Always;

impl Policy for Always {
    fn slots(&self) -> usize {
        1
    }
    fn reset(&mut self, _: usize, _: ResetScope, _: u64) {}
    fn act(
        &mut self,
        observations: Rows<'_>,
        _: ActMode,
        mut actions: RowsMut<'_>,
    ) -> Result<(), surefoot_core::PolicyError> {
        (0..observations.len()).for_each(|i| actions.row(i).copy_from_slice(&[2.0, 0.5]));
        Ok(())
    }
}

#[test]
fn acting_allocates_nothing_and_leaves_the_weights_alone() {
    let mut policy = policy(16, 2);
    let hash = policy.weights_hash();
    let rows = [1.0, 0.3, 2.0, 4.0, -0.7, 0.0];
    let mut actions = [0.0; 4];
    let feedback = [feedback(0, 0.5, StepEnd::Running), feedback(1, 0.0, StepEnd::Terminated)];
    let counted = allocation_counter::measure(|| {
        for t in 0..200 {
            policy.act(Rows::new(&rows, 3), ActMode::Explore, RowsMut::new(&mut actions, 2)).unwrap();
            policy.observe(&feedback);
            if t % 9 == 0 {
                policy.reset(1, ResetScope::Episode, t);
            }
            if t % 50 == 0 {
                policy.reset(0, ResetScope::Task, t);
            }
        }
    });
    assert_eq!(counted.count_total, 0);
    assert_eq!(policy.weights_hash(), hash);
}

#[test]
fn a_token_stride_holds_actions_and_adds_rewards_up() {
    let acting = Acting { token_stride: 3, ..Acting::default() };
    let strided = files(10, Positions::Alibi, &acting);
    let mut fast = InContextPolicy::from_artifact(&strided, 1).unwrap();
    let mut slow = policy(10, 1);
    for policy in [&mut fast, &mut slow] {
        policy.reset(0, ResetScope::Task, 5);
    }
    let mut stream = Stream::new(3, "a", 0);
    for _ in 0..20 {
        let seen = observation(&mut stream);
        let expected = act(&mut slow, &seen);
        slow.observe(&[feedback(0, 0.75, StepEnd::Running)]);
        for _ in 0..3 {
            assert_eq!(act(&mut fast, &seen), expected);
            fast.observe(&[feedback(0, 0.25, StepEnd::Running)]);
        }
        assert_eq!(fast.last_logits(), slow.last_logits());
    }
}

#[test]
fn returns_to_go_begin_with_the_best_of_the_data_and_lose_what_was_earned() {
    let model = ModelConfig { returns_to_go: true, ..model(10, StepTokens::Merged, Positions::Alibi) };
    let network = Network::new(model.clone(), TokenShape::of(&spec(), &model));
    let theta = random_theta(&network, 7);
    let files = artifact::write(&artifact::Parts {
        network: &network,
        theta: &theta,
        spec: &spec(),
        normalizer: &Normalizer::default(),
        reward_scale: 2.0,
        return_scale: 4.0,
        masks_trained: false,
        acting: &Acting::default(),
        data_hash: "histories",
        updates: 9,
    })
    .unwrap();
    let mut policy = InContextPolicy::from_artifact(&files, 1).unwrap();
    let (mut stream, mut window) = (Stream::new(5, "a", 0), Window::new(&network.shape));
    let mut before: Option<(Vec<u32>, f32, StepEnd)> = None;
    let mut earned = 0.0;
    for i in 0..12 {
        let seen = observation(&mut stream);
        let action = act(&mut policy, &seen);
        let before_this = before.as_ref().map_or(Before::Nothing, |(action, reward, end)| Before::Step {
            action,
            reward: *reward,
            end: *end,
        });
        let masked = Masked::default();
        let return_to_go = 1.0 - earned / 4.0;
        let token = Token { observation: &seen, before: before_this, step: i % 6, masked, return_to_go };
        window.push(token, &[0, 0], 1.0);
        let bins = [0, 1].map(|i| network.shape.action[i].bin_of(action[i]));
        let end = [StepEnd::Running, StepEnd::Truncated][usize::from(i == 5)];
        policy.observe(&[feedback(0, 0.5, end)]);
        before = Some((bins.to_vec(), 0.25, end));
        earned += 0.5;
        if end.is_last() {
            policy.reset(0, ResetScope::Episode, 1);
            earned = 0.0;
        }
        if i == 8 {
            let saved = policy.save_context(0).unwrap();
            policy = InContextPolicy::from_artifact(&files, 1).unwrap();
            policy.restore_context(0, &saved).unwrap();
        }
    }
    let mut pass = Pass::default();
    network.forward(&theta, &window, &mut pass);
    let last = &pass.logits[11 * network.shape.logits()..];
    for (ours, theirs) in policy.last_logits().iter().zip(last) {
        assert!((ours - theirs).abs() < 1e-4, "{ours} beside {theirs}");
    }
}

#[test]
fn a_token_holds_what_was_executed_and_not_what_was_chosen() {
    let mut told = policy(10, 1);
    let mut shown = policy(10, 1);
    let mut deaf = policy(10, 1);
    for policy in [&mut told, &mut shown, &mut deaf] {
        policy.reset(0, ResetScope::Task, 4);
    }
    let mut stream = Stream::new(8, "a", 0);
    for t in 0..15 {
        let seen = observation(&mut stream);
        // Somebody took over: another choice, and half of a quantity's step.
        let executed = [stream.below(4) as f32, stream.uniform(-1.0, 1.0) as f32];
        let end = if t % 7 == 6 { StepEnd::Truncated } else { StepEnd::Running };
        let outcome = Outcome { reward: 0.5, end, ..Outcome::default() };
        act(&mut told, &seen);
        act(&mut deaf, &seen);
        let mut feedback = Feedback { slot: 0, outcome, executed: Some(&executed) };
        told.observe(&[feedback]);
        feedback.executed = None;
        deaf.observe(&[feedback]);
        shown.remember(0, &seen, &executed, &outcome);
    }
    assert!(told.save_context(0).unwrap() == shown.save_context(0).unwrap());
    assert!(told.save_context(0).unwrap() != deaf.save_context(0).unwrap());
    // What is no number was not done: the choice stands.
    let mut before = deaf.save_context(0).unwrap();
    let nan = [f32::NAN, 0.0];
    let outcome = Outcome { end: StepEnd::Truncated, ..Outcome::default() };
    deaf.observe(&[Feedback { slot: 0, outcome, executed: Some(&nan) }]);
    before[74] = 2;
    assert!(deaf.save_context(0).unwrap() == before);
}

/// Of a quantity a token holds the mean over its control steps, of a choice the last one; whether some of them were remembered or not.
#[test]
fn a_strided_token_holds_the_mean_of_what_was_executed() {
    let strided = files(10, Positions::Alibi, &Acting { token_stride: 3, ..Acting::default() });
    let mut fast = InContextPolicy::from_artifact(&strided, 1).unwrap();
    let mut passed_over = InContextPolicy::from_artifact(&strided, 1).unwrap();
    let mut slow = policy(10, 1);
    for policy in [&mut fast, &mut passed_over, &mut slow] {
        policy.reset(0, ResetScope::Task, 5);
    }
    let mut stream = Stream::new(3, "a", 0);
    for _ in 0..12 {
        let seen = observation(&mut stream);
        let pushes = [0, 1, 2].map(|_| stream.uniform(-1.0, 1.0) as f32);
        let outcome = |reward| Outcome { reward, ..Outcome::default() };
        act(&mut slow, &seen);
        let mean = (pushes[0] + pushes[1] + pushes[2]) / 3.0;
        slow.observe(&[Feedback { slot: 0, outcome: outcome(0.75), executed: Some(&[2.0, mean]) }]);
        let chosen = act(&mut fast, &seen);
        for (k, push) in pushes.into_iter().enumerate() {
            let executed = [k as f32, push];
            if k > 0 {
                assert_eq!(act(&mut fast, &seen), chosen, "held, whatever was executed");
            }
            fast.observe(&[Feedback { slot: 0, outcome: outcome(0.25), executed: Some(&executed) }]);
            if k == 1 {
                passed_over.remember(0, &seen, &executed, &outcome(0.25));
            } else {
                act(&mut passed_over, &seen);
                passed_over.observe(&[Feedback {
                    slot: 0,
                    outcome: outcome(0.25),
                    executed: Some(&executed),
                }]);
            }
        }
        assert!(fast.save_context(0).unwrap() == passed_over.save_context(0).unwrap());
    }
    act(&mut slow, &[1.0, 0.3, 2.0]);
    act(&mut fast, &[1.0, 0.3, 2.0]);
    assert_eq!(fast.last_logits(), slow.last_logits());
}

#[test]
fn temperature_zero_takes_the_likeliest_action() {
    let acting = Acting { exploit_temperature: 0.0, ..Acting::default() };
    let mut policy = InContextPolicy::from_artifact(&files(10, Positions::Alibi, &acting), 1).unwrap();
    let mut stream = Stream::new(3, "a", 0);
    for _ in 0..30 {
        let mut action = [0.0; 2];
        let seen = observation(&mut stream);
        policy.act(Rows::new(&seen, 3), ActMode::Exploit, RowsMut::new(&mut action, 2)).unwrap();
        let best = |logits: &[f32]| {
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            logits.iter().position(|l| *l == most).unwrap() as f32
        };
        let logits = policy.last_logits();
        assert_eq!(action, [best(&logits[..4]), best(&logits[4..]) / 2.0 - 1.0]);
    }
}

#[test]
fn the_files_are_read_by_the_loader_of_all_policies_and_damage_is_an_error() {
    let files = files(10, Positions::Rotary, &Acting::default());
    let mut by_all = load_policy(&files, 2).unwrap();
    assert_eq!(by_all.slots(), 2);
    assert!(act(&mut *by_all, &[1.0, 0.0, 2.0]).iter().all(|a| a.is_finite()));
    let with = |change: &dyn Fn(&mut PolicyArtifact)| {
        let mut files = files.clone();
        change(&mut files);
        load_policy(&files, 1).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(with(&|f| f.weights.truncate(100)).contains("weights"));
    assert!(with(&|f| f.card.architecture["model"]["heads"] = 5.into()).contains("model.heads"));
    assert!(
        with(&|f| f.card.architecture["model"]["layers"] = 2_000_000_000.into()).contains("model.layers")
    );
    assert!(with(&|f| f.card.architecture["model"]["width"] = 32.into()).contains("shape"));
    assert!(with(&|f| f.card.architecture["reward_scale"] = 0.into()).contains("reward_scale"));
    assert!(with(&|f| f.card.architecture["return_scale"] = 0.into()).contains("return_scale"));
    assert!(with(&|f| f.card.spec.observation.push(Field::choice("z", 2))).contains("normalizer"));
    assert!(with(&|f| f.card.spec.action.push(Field::choice("z", 2))).contains("action2"));
    assert!(with(&|f| f.card.format = "other".into()).contains("format"));
}

#[test]
fn files_from_before_there_were_triplets_act_as_they_did() {
    let files = files(10, Positions::Alibi, &Acting::default());
    let mut old = files.clone();
    let model = old.card.architecture["model"].as_object_mut().unwrap();
    assert_eq!(model.remove("tokens"), Some("merged".into()));
    let lived = |files: &PolicyArtifact| {
        let mut policy = InContextPolicy::from_artifact(files, 1).unwrap();
        lived(&mut policy, 30, &mut Stream::new(4, "life", 0))
    };
    assert_eq!(lived(&old), lived(&files));
    // Weights are the same arrays in both, so only the card tells which they are for.
    let mut other = files.clone();
    other.card.architecture["model"]["tokens"] = "triplet".into();
    assert_ne!(lived(&other), lived(&files));
}
