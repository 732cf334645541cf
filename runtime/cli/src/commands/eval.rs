//! `surefoot eval`: a trained policy on fixed seeds.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use surefoot_core::{PolicyArtifact, PolicyCard};
use surefoot_engine::{EngineError, EvalConfig, MAX_EPISODES, Watch, evaluate, film, report, run_dir};

use crate::args::EvalArgs;
use crate::commands::train::on_interrupt;
use crate::composition;
use crate::config::{self, EnvConfig, RunConfig};
use crate::failure::{CommandResult, Failure, usage};
use crate::new_file::NewFile;
use crate::output::Output;
use crate::summary;

const WORLDS: usize = 8;
const FILM_WIDTH: usize = 480;
const FILM_HEIGHT: usize = 360;

/// Runs the verb.
pub fn run(args: &EvalArgs, output: Output) -> CommandResult {
    if let Some(bar) = args.min_success.filter(|bar| !(0.0..=1.0).contains(bar)) {
        return Err(usage(anyhow!("--min-success {bar}: expected a share between 0 and 1")));
    }
    if !(1..=MAX_EPISODES).contains(&args.episodes) {
        return Err(usage(anyhow!("--episodes {}: expected 1 to {MAX_EPISODES}", args.episodes)));
    }
    let Trained { artifact, env, mut eval, policy_dir } = locate_and_read(&args.policy, args.env.as_deref())?;
    let env = config::env_with(env, &args.overrides)?;
    let film_file = args.film.as_deref().map(NewFile::create).transpose()?;
    let interrupt = on_interrupt()?;
    let mut envs = composition::worlds(&env, WORLDS)?;
    artifact.card.check(envs.spec())?;
    envs.notes().iter().for_each(|note| output.note(&format!("note: {note}")));
    let mut policy = surefoot_policies::load_policy(&artifact, envs.len())?;
    eval.episodes = args.episodes;
    eval.seed = args.seed.unwrap_or(eval.seed);
    let mut watch = Watch { interrupt: &interrupt, progress: &mut |_| {} };
    let interrupted = |error: EngineError| match error {
        EngineError::Interrupted => Failure::Interrupted("nothing was changed".into()),
        other => other.into(),
    };
    let e = evaluate(&mut envs, policy.as_mut(), &eval, &mut watch).map_err(interrupted)?;
    if output.json() {
        output.value(&serde_json::json!({ "event": "evaluated", "policy": policy_dir, "evaluation": e }));
    } else {
        output.line(&summary::judgement(&e));
    }
    if let Some(file) = film_file {
        let mut envs = composition::worlds(&env, 1)?;
        let mut policy = surefoot_policies::load_policy(&artifact, 1)?;
        let filmed =
            film(&mut envs, policy.as_mut(), eval.seeds()[0], 1, (FILM_WIDTH, FILM_HEIGHT), &interrupt)
                .map_err(interrupted)?;
        let gif = report::animation(&filmed.frames, filmed.frame_secs)?;
        output.note(&format!("film {}", file.write_whole(&gif)?.display()));
    }
    match args.min_success {
        Some(bar) if e.success_rate < bar => {
            Err(anyhow!("success rate {:.3} is below the required {bar}", e.success_rate).into())
        }
        _ => Ok(()),
    }
}

/// A policy and what it was trained in.
pub struct Trained {
    /// The policy.
    pub artifact: PolicyArtifact,
    /// The environment to run it in.
    pub env: EnvConfig,
    /// How its run judged policies.
    pub eval: EvalConfig,
    /// Where it was found.
    pub policy_dir: PathBuf,
}

/// Finds and reads a policy, and settles its environment: `named`, or the run's own, or the one it was trained for.
///
/// # Errors
/// When there is no policy, it is damaged, or its environment is not known.
pub fn locate_and_read(policy: &Path, named: Option<&str>) -> Result<Trained, Failure> {
    let (policy_dir, run) = locate(policy)?;
    let artifact = read_artifact(&policy_dir)?;
    let run_config = match run {
        Some(run) => {
            let text = run_dir::read_config(&run)?;
            Some(config::parse(&text, &run.join("config.toml").display().to_string(), &[])?.config)
        }
        None => None,
    };
    let env = environment(named, run_config.as_ref(), Some(&artifact.card))?;
    let eval = run_config.map_or_else(EvalConfig::default, |c| c.eval);
    Ok(Trained { artifact, env, eval, policy_dir })
}

/// The environment that was named, with the run's own settings where it is the run's; else the run's; else the policy's.
///
/// # Errors
/// When there is none of that name, or nothing says which.
pub fn environment(
    named: Option<&str>,
    run: Option<&RunConfig>,
    card: Option<&PolicyCard>,
) -> Result<EnvConfig, Failure> {
    let own = run.and_then(|c| c.env.clone());
    match (named, own) {
        (None, Some(env)) => Ok(env),
        (Some(name), Some(env)) if env.name() == name => Ok(env),
        (Some(name), _) => config::env(name, &[]),
        (None, None) => {
            let own = card.map_or("", |card| card.spec.name.as_str());
            EnvConfig::default_of(own).ok_or_else(|| {
                usage(anyhow!(
                    "this policy is for {own:?}, which is no built-in environment\n\nhint: name one with --env"
                ))
            })
        }
    }
}

/// Finds and reads a policy alone: its files and their directory.
///
/// # Errors
/// When there is none, or it is damaged.
pub fn read_policy(policy: &Path) -> Result<(PolicyArtifact, PathBuf), Failure> {
    let (directory, _) = locate(policy)?;
    Ok((read_artifact(&directory)?, directory))
}

/// The directory with `policy.json`, and the run it belongs to, if any.
fn locate(given: &Path) -> Result<(PathBuf, Option<PathBuf>), Failure> {
    let candidates = [given.to_owned(), given.join("policy"), given.join("checkpoints/last/policy")];
    let found = candidates.into_iter().find(|d| d.join("policy.json").is_file()).ok_or_else(|| {
        usage(anyhow!(
            "no policy.json in {}\n\nhint: give a run directory, a checkpoint of one, or a directory with policy.json and policy.safetensors",
            given.display()
        ))
    })?;
    let canonical = found.canonicalize().unwrap_or_else(|_| found.clone());
    // RUN/checkpoints/NAME/policy; anywhere else a run.json in a directory above is somebody else's.
    let checkpoints = canonical.ancestors().nth(2).filter(|d| d.ends_with("checkpoints"));
    let run = checkpoints.and_then(Path::parent).filter(|d| d.join("run.json").is_file()).map(Path::to_owned);
    Ok((found, run))
}

/// Reads `policy.json` and `policy.safetensors`.
fn read_artifact(directory: &Path) -> Result<PolicyArtifact, Failure> {
    let card_path = directory.join("policy.json");
    let card = std::fs::read(&card_path).with_context(|| format!("cannot read {}", card_path.display()))?;
    let card: PolicyCard = serde_json::from_slice(&card)
        .with_context(|| format!("{} is not a policy card", card_path.display()))?;
    let weights_path = directory.join("policy.safetensors");
    let weights =
        std::fs::read(&weights_path).with_context(|| format!("cannot read {}", weights_path.display()))?;
    Ok(PolicyArtifact { card, weights })
}
