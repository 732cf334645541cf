//! Scenarios of a regression suite: worlds and policies out of its file, with what they are made of.

use std::path::Path;

use anyhow::anyhow;
use surefoot_core::{
    ActMode, Env, EnvError, EnvSpec, Outcome, Policy, PolicyArtifact, PolicyError, ResetScope, Rows, RowsMut,
    VecEnv,
};
use surefoot_engine::EngineError;
use surefoot_engine::regression::{ControlLoopConfig, Parts, Provenance, Scenario, Side, Suite};
use surefoot_sim::{DemonstratorConfig, DemonstratorContext};

use super::{local_env, worlds};
use crate::commands::{locate_and_read, read_policy};
use crate::config::{EnvConfig, ScenarioConfig, SuiteConfig, SuitePolicyConfig};
use crate::failure::{Failure, usage};

/// Makes the scenarios of a suite.
///
/// # Errors
/// When a world cannot be built, or a policy cannot be read or is for something else.
pub fn suite(config: &SuiteConfig, path: &Path) -> Result<Suite, Failure> {
    let SuiteConfig { name, golden, scenario } = config;
    let beside = path.parent().unwrap_or(Path::new(""));
    let golden = golden.as_ref().map_or_else(|| Path::new("golden").join(name), Clone::clone);
    let scenarios = scenario.iter().map(|s| build(s, beside)).collect::<Result<_, _>>()?;
    Ok(Suite { name: name.clone(), golden: beside.join(golden), scenarios })
}

/// Builds each scenario once, and runs nothing.
///
/// # Errors
/// `Failure::Usage` with the scenario's name and what does not fit.
pub fn check_suite(suite: &Suite) -> Result<(), Failure> {
    suite.scenarios.iter().try_for_each(|scenario| {
        surefoot_engine::regression::check(scenario)
            .map_err(|e| usage(anyhow!("scenario {:?}: {e}", scenario.name)))
    })
}

fn build(config: &ScenarioConfig, beside: &Path) -> Result<Scenario, Failure> {
    let ScenarioConfig { name, level, env, policy, baseline, seeds, faults, control_loop } = config;
    let in_scenario = |failure: Failure| match failure {
        Failure::Usage(e) | Failure::Request(e) => usage(anyhow!("scenario {name:?}: {e:#}")),
        other => other,
    };
    let env = match (env, policy) {
        (Some(env), _) => env.clone(),
        (None, SuitePolicyConfig::Trained(path)) => {
            locate_and_read(&beside.join(path), None).map_err(in_scenario)?.env
        }
        (None, _) => return Err(in_scenario(usage(anyhow!("env: expected a world")))),
    };
    let spec = super::env_spec(&env).map_err(|e| in_scenario(usage(e)))?;
    let mut made_of = serde_json::json!({ "env": env, "seed": seeds.seed, "faults": faults });
    if let Some(ControlLoopConfig { control, silent_policy, must_end: _ }) = control_loop {
        // How a drive must end is how it is judged, and not what is run.
        made_of["control_loop"] = serde_json::json!({ "control": control, "silent_policy": silent_policy });
    }
    let scenario_hash = hash(&serde_json::to_vec(&made_of)?);
    let side = |policy: &SuitePolicyConfig| -> Result<Side, Failure> {
        let (acts, words, policy_hash) = acting(policy, beside, &spec).map_err(in_scenario)?;
        let provenance = Provenance {
            scenario: name.clone(),
            scenario_hash: scenario_hash.clone(),
            contract_hash: spec.contract_hash.clone(),
            spec_hash: hash(&serde_json::to_vec(&spec)?),
            policy: words,
            policy_hash,
            version: version(),
            rustc: env!("SUREFOOT_RUSTC_VERSION").to_owned(),
            target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            features: features(),
            vector: if matches!(acts, Acts::Trained(_)) { vector() } else { String::new() },
        };
        Ok(Side { parts: Box::new(Made { env: env.clone(), acts }), provenance })
    };
    Ok(Scenario {
        name: name.clone(),
        level: level.clone(),
        seeds: *seeds,
        faults: faults.clone(),
        control_loop: control_loop.clone(),
        now: side(policy)?,
        baseline: baseline.as_ref().map(side).transpose()?,
    })
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Version of this program, and its commit where known.
pub fn version() -> String {
    match option_env!("SUREFOOT_GIT") {
        Some(git) => format!("{} ({git})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Optional parts of this program that are switched on, and how it was compiled.
fn features() -> Vec<String> {
    let optional = [("libhdf5", cfg!(feature = "libhdf5"))];
    let on = optional.into_iter().filter(|(_, on)| *on).map(|(name, _)| name);
    on.chain([if cfg!(debug_assertions) { "debug" } else { "release" }]).map(str::to_owned).collect()
}

/// The vector instructions that a network's forward pass uses here: its sums are added up in their order.
fn vector() -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let found = [
            ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("fma", std::arch::is_x86_feature_detected!("fma")),
        ];
        let on: Vec<&str> = found.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect();
        on.join("+")
    }
    #[cfg(not(target_arch = "x86_64"))]
    String::new()
}

/// What acts, read.
enum Acts {
    Trained(Box<PolicyArtifact>),
    Demonstrator(DemonstratorConfig),
    Constant(Vec<f32>),
}

/// What acts, in words, and its hash.
fn acting(
    config: &SuitePolicyConfig,
    beside: &Path,
    spec: &EnvSpec,
) -> Result<(Acts, String, String), Failure> {
    match config {
        SuitePolicyConfig::Trained(path) => {
            let (artifact, _) = read_policy(&beside.join(path))?;
            artifact.card.check(spec)?;
            let card = serde_json::to_vec(&artifact.card)?;
            let words = format!("{} of {} updates", artifact.card.algorithm, artifact.card.updates);
            let hash = hash(&[card.as_slice(), &artifact.weights].concat());
            Ok((Acts::Trained(Box::new(artifact)), words, hash))
        }
        SuitePolicyConfig::Demonstrator(demonstrator) => {
            let words = format!("demonstrator {}", demonstrator.name());
            demonstrator.build(&DemonstratorContext { spec: spec.clone(), slots: 1 }).map_err(usage)?;
            Ok((Acts::Demonstrator(demonstrator.clone()), words, hash(&serde_json::to_vec(demonstrator)?)))
        }
        SuitePolicyConfig::Constant(action) => {
            let fits = action.len() == spec.action_dim() && action.iter().all(|a| a.is_finite());
            if !fits {
                let expected = spec.action_dim();
                return Err(usage(anyhow!(
                    "policy.constant = {action:?}: expected {expected} finite numbers, as {} has actions",
                    spec.name
                )));
            }
            let words = format!("constant {action:?}");
            Ok((Acts::Constant(action.clone()), words, hash(&serde_json::to_vec(action)?)))
        }
    }
}

/// A world and a policy, made as often as there are threads.
struct Made {
    env: EnvConfig,
    acts: Acts,
}

impl Parts for Made {
    fn env(&self) -> Result<Box<dyn Env>, EngineError> {
        Ok(match &self.env {
            EnvConfig::Local(_) => local_env(&self.env)?,
            EnvConfig::Linked(_) => Box::new(OneWorld(worlds(&self.env, 1)?)),
        })
    }

    fn policy(&self, spec: &EnvSpec) -> Result<Box<dyn Policy>, EngineError> {
        Ok(match &self.acts {
            Acts::Trained(artifact) => surefoot_policies::load_policy(artifact, 1)?,
            Acts::Demonstrator(config) => {
                config.build(&DemonstratorContext { spec: spec.clone(), slots: 1 })?
            }
            Acts::Constant(action) => Box::new(ConstantAction(action.clone())),
        })
    }
}

/// The same action in every step.
struct ConstantAction(Vec<f32>);

impl Policy for ConstantAction {
    fn slots(&self) -> usize {
        1
    }
    fn reset(&mut self, _slot: usize, _scope: ResetScope, _seed: u64) {}
    fn act(&mut self, _: Rows<'_>, _: ActMode, mut actions: RowsMut<'_>) -> Result<(), PolicyError> {
        if actions.dim() != self.0.len() {
            let (what, expected, found) = ("action dimension", self.0.len(), actions.dim());
            return Err(PolicyError::Shape { what, expected, found });
        }
        for i in 0..actions.len() {
            actions.row(i).copy_from_slice(&self.0);
        }
        Ok(())
    }
}

/// One world behind a link.
struct OneWorld(VecEnv);

impl Env for OneWorld {
    fn spec(&self) -> &EnvSpec {
        self.0.spec()
    }
    fn reset(&mut self, seed: u64, observation: &mut [f32]) -> Result<(), EnvError> {
        observation.copy_from_slice(self.0.reset(0, seed)?);
        Ok(())
    }
    fn step(
        &mut self,
        action: &[f32],
        observation: &mut [f32],
        executed: &mut [f32],
    ) -> Result<Outcome, EnvError> {
        self.0.action_mut(0).copy_from_slice(action);
        self.0.step(&[true])?;
        let (next, _, done, outcome) = self.0.last(0);
        observation.copy_from_slice(next);
        executed.copy_from_slice(done);
        Ok(outcome)
    }
}
