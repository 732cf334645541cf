//! A policy that learns in context on a robot: what it remembers of a rollout is, to the bit, what it remembers of the same steps anywhere
//! else; on simulated time, and over zenoh between real processes.

use std::path::Path;

use serde_json::Value;
use surefoot_core::{
    ActMode, EpisodeSource, Feedback, Normalizer, Outcome, Policy, PolicyArtifact, ResetScope, Rows, RowsMut,
    TaskFamily,
};
use surefoot_engine::EvalConfig;
use surefoot_policies::in_context::network::Network;
use surefoot_policies::in_context::shape::{Layout, TokenShape};
use surefoot_policies::in_context::{Acting, InContextPolicy, ModelConfig, artifact};
use surefoot_sim::{FamilyConfig, FamilyContext};

use crate::linked::Served;
use crate::program::Workplace;

const SEED: u64 = 40;

fn family() -> Box<dyn TaskFamily> {
    FamilyConfig::default_of("actuator_scramble").unwrap().build(&FamilyContext {}).unwrap()
}

/// A small transformer that has learnt nothing: what it does is as good as anything else here.
fn transformer(token_stride: u32) -> PolicyArtifact {
    let spec = family().spec().clone();
    let model = ModelConfig {
        width: 16,
        layers: 2,
        heads: 2,
        feed_forward: 16,
        window: 20,
        ..ModelConfig::default()
    };
    let shape = TokenShape::of(&spec, &model);
    let theta = Layout::initial(&model, &shape, 3).1;
    let network = Network::new(model, shape);
    let dim = spec.observation_dim();
    artifact::write(&artifact::Parts {
        network: &network,
        theta: &theta,
        spec: &spec,
        normalizer: &Normalizer { mean: vec![0.0; dim], std: vec![1.0; dim] },
        reward_scale: 1.0,
        return_scale: 1.0,
        masks_trained: true,
        acting: &Acting { token_stride, ..Acting::default() },
        data_hash: "none",
        updates: 0,
    })
    .unwrap()
}

fn write(policy: &PolicyArtifact, directory: &Path) {
    std::fs::create_dir(directory).unwrap();
    std::fs::write(directory.join("policy.json"), serde_json::to_vec(&policy.card).unwrap()).unwrap();
    std::fs::write(directory.join("policy.safetensors"), &policy.weights).unwrap();
}

/// Lives the recorded episodes once more, step by step.
fn live_again(
    policy: &mut InContextPolicy,
    recorded: &dyn EpisodeSource,
    from: usize,
    scopes: &[ResetScope],
) {
    let seeds = EvalConfig { episodes: scopes.len(), seed: SEED }.seeds();
    for (i, (scope, seeds)) in scopes.iter().zip(seeds).enumerate() {
        let e = recorded.episode(from + i).unwrap();
        let [o, a] = [&e.observation, &e.action].map(|rows| rows.len() / e.len());
        policy.reset(0, *scope, seeds.noise);
        for t in 0..e.len() {
            let mut action = vec![0.0; a];
            let seen = Rows::new(&e.observation[t * o..(t + 1) * o], o);
            policy.act(seen, ActMode::Exploit, RowsMut::new(&mut action, a)).unwrap();
            let outcome = Outcome { reward: e.reward[t], end: e.end[t], ..Outcome::default() };
            let executed = Some(&e.action[t * a..(t + 1) * a]);
            policy.observe(&[Feedback { slot: 0, outcome, executed }]);
        }
    }
}

fn told(out: &str) -> Value {
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}

#[test]
fn a_rollout_remembers_its_steps_to_the_bit_at_every_token_stride_and_goes_on_where_it_was() {
    use ResetScope::{Episode, Task};
    for stride in [1, 3] {
        let workplace = Workplace::new();
        let files = transformer(stride);
        write(&files, &workplace.path("policy"));
        let rollout = |more: &[&str]| {
            let args = [
                "rollout",
                "policy",
                "--episodes",
                "3",
                "--seed",
                "40",
                "--record",
                "driven",
                "--json",
                "env.actuator_scramble.horizon=8",
            ];
            let args: Vec<&str> = args.iter().chain(more).copied().collect();
            told(&workplace.succeed(&args))
        };
        let context = || std::fs::read(workplace.path("today.ctx")).unwrap();
        let recorded = || surefoot_datasets::open(&workplace.path("driven")).unwrap();
        let first = rollout(&["--context", "today.ctx"]);
        let tokens = |episodes: u64| episodes * 8_u64.div_ceil(u64::from(stride));
        assert_eq!(first["in_context"]["steps"], tokens(3), "{first}");
        assert_eq!(first["in_context"]["kept_out"]["observations"], 0);
        let mut policy = InContextPolicy::from_artifact(&files, 1).unwrap();
        live_again(&mut policy, &*recorded(), 0, &[Task, Episode, Episode]);
        assert!(policy.save_context(0).unwrap() == context(), "stride {stride}");
        // The next run begins where this one ended.
        let second = rollout(&["--context", "today.ctx"]);
        assert_eq!(second["in_context"]["steps"], tokens(6), "{second}");
        assert_eq!(second["in_context"]["weights_blake3"], first["in_context"]["weights_blake3"]);
        live_again(&mut policy, &*recorded(), 3, &[Episode, Episode, Episode]);
        assert!(policy.save_context(0).unwrap() == context(), "stride {stride}");
        // And one that forgets remembers its last episode alone.
        let third = rollout(&["--forget-between-episodes"]);
        assert_eq!(third["in_context"]["steps"], tokens(1), "{third}");
    }
}

#[test]
fn a_rollout_over_zenoh_remembers_its_steps_to_the_bit() {
    let workplace = Workplace::new();
    let files = transformer(1);
    write(&files, &workplace.path("policy"));
    // The same arm, whatever is to be done with it.
    let served = Served::start(&workplace, &[]);
    let out = workplace.succeed(&[
        "rollout",
        "policy",
        "--robot",
        "served.toml",
        "--episodes",
        "3",
        "--seed",
        "40",
        "--record",
        "driven",
        "--context",
        "today.ctx",
        "--fallback",
        "hold",
        "--json",
        "env.actuator_scramble.horizon=8",
    ]);
    let out = told(&out);
    assert_eq!((&out["violations"], &out["link"]["malformed"]), (&0.into(), &0.into()), "{out}");
    let recorded = surefoot_datasets::open(&workplace.path("driven")).unwrap();
    assert_eq!((recorded.len(), &out["in_context"]["steps"]), (3, &24.into()), "{out}");
    let mut policy = InContextPolicy::from_artifact(&files, 1).unwrap();
    live_again(&mut policy, &*recorded, 0, &[ResetScope::Task, ResetScope::Episode, ResetScope::Episode]);
    assert!(policy.save_context(0).unwrap() == std::fs::read(workplace.path("today.ctx")).unwrap());
    served.end();
}

#[test]
fn a_memory_is_refused_where_there_is_none_or_it_is_of_other_weights() {
    let workplace = Workplace::new();
    workplace.train("run");
    for option in [&["--forget-between-episodes"][..], &["--context", "c"], &["--fallback", "hold"]] {
        let args: Vec<&str> = ["rollout", "run"].iter().chain(option).copied().collect();
        workplace.fail(&args, 2, &[option[0], "remembers nothing", "distill"]);
    }
    write(&transformer(1), &workplace.path("policy"));
    std::fs::write(workplace.path("c"), b"nothing of the kind").unwrap();
    let rollout = ["rollout", "policy", "--context", "c", "--episodes", "1"];
    workplace.fail(&rollout, 1, &["c", "does not begin as a saved context does"]);
    let other = ["rollout", "policy", "--fallback", "run", "--episodes", "1"];
    workplace.fail(&other, 1, &["--fallback", "trained for something else"]);
    let wiring = ["rollout", "policy", "--episodes", "1", "env.actuator_scramble.wiring=[1,1,2,3]"];
    workplace.fail(&wiring, 1, &["wiring", "each of 1, 2, 3, 4 once"]);
    let unknown = ["rollout", "policy", "--episodes", "1", "env.actuator_scramble.wirng=[1,2,3,4]"];
    let backwards = ["rollout", "run", "--handover-secs=-1"];
    workplace.fail(&backwards, 2, &["--handover-secs -1", "expected 0 to 60"]);
    workplace.fail(&unknown, 2, &["wirng", "wiring"]);
}

/// A family whose robot the control loop drives.
const FEW: [&str; 11] = [
    "optimizer.updates=12",
    "optimizer.batch=2",
    "optimizer.warm_up_updates=2",
    "histories.lived.per_task=1",
    "histories.lived.family={actuator_scramble={train_tasks=12,test_tasks=2}}",
    "histories.lived.source={wiring_probe={}}",
    "histories.lived.episodes=2",
    "evaluation.every_updates=12",
    "evaluation.validation={episodes=2,lives=1}",
    "evaluation.test={episodes=4,lives=1}",
    "evaluation.validation_tasks=2",
];

#[test]
fn the_demonstration_says_when_it_misses_its_bar_and_trains_nothing_twice() {
    let workplace = Workplace::new();
    let args: Vec<&str> =
        ["demo", "--adapt", "--seed", "1", "--runs", "out", "--json"].iter().chain(&FEW).copied().collect();
    let (code, out, said) = workplace.run(&args);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("does not adapt as well as it should") && said.contains("75 %"), "{said}");
    let found = told(&out);
    assert_eq!((&found["event"], &found["results"]["met"]), (&"adapted".into(), &false.into()));
    assert_eq!(found["results"]["safety"]["violations"], 0);
    assert!(found["results"]["safety"]["ticks"].as_u64().unwrap() > 1000);
    let arms = found["results"]["evidence"]["arms"].as_array().unwrap();
    assert_eq!(arms.len(), 4, "two arms on two splits");
    assert!(arms.iter().all(|arm| arm["curve"].as_array().unwrap().len() == 4));
    let page = std::fs::read_to_string(workplace.path("out/adapt-s1/report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("MISSED") && !page.contains("NaN"));
    assert!(page.contains(">2</text>") && !page.contains(">1.5</text>"), "tries are whole");
    let (code, again, said) = workplace.run(&args);
    assert_eq!(code, 1, "{said}");
    assert!(!said.contains("updates"), "it was trained before: {said}");
    assert_eq!(told(&again)["results"], found["results"]);
}
