//! A policy that learns in context while it drives: what it begins with, who acts for it, and what it remembers in the end.

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde::Serialize;
use surefoot_core::{Policy, PolicyArtifact};
use surefoot_engine::control::Versioned;
use surefoot_engine::run_dir::write_atomic;
use surefoot_policies::in_context::InContextPolicy;
use surefoot_policies::in_context::artifact::is_in_context;
use surefoot_policies::in_context::policy::Poison;

use crate::args::MemoryArgs;
use crate::commands::read_policy;
use crate::failure::{Failure, usage};
use crate::hold_still::HoldStill;

/// What is known of a policy that drives, until it comes back.
pub struct InContext {
    weights: String,
    context: Option<PathBuf>,
    goes_on: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remembered {
    /// Hash of the weights, the same before and after.
    pub weights_blake3: String,
    /// Steps that it has lived through on this task.
    pub steps: u64,
    /// What was kept out of its context.
    pub kept_out: Poison,
    /// Where the context is.
    pub context: Option<PathBuf>,
}

impl InContext {
    /// Loads a policy for one robot.
    ///
    /// # Errors
    /// When it is damaged, its fallback is of something else, its context is of other weights; and when something of the kind is asked of
    /// a policy that remembers nothing.
    pub fn load(
        artifact: &PolicyArtifact,
        args: &MemoryArgs,
    ) -> Result<(Box<dyn Policy>, Option<Self>), Failure> {
        let MemoryArgs { forget_between_episodes, context, fallback } = args;
        if !is_in_context(&artifact.card) {
            let asked = [
                ("--forget-between-episodes", *forget_between_episodes),
                ("--context", context.is_some()),
                ("--fallback", fallback.is_some()),
            ];
            if let Some((option, _)) = asked.iter().find(|(_, given)| *given) {
                return Err(usage(anyhow!(
                    "{option}: a policy of {} remembers nothing\n\nhint: policies of `surefoot distill` do",
                    artifact.card.algorithm
                )));
            }
            return Ok((surefoot_policies::load_policy(artifact, 1)?, None));
        }
        let mut policy = InContextPolicy::from_artifact(artifact, 1)?;
        if let Some(fallback) = fallback {
            policy = policy.with_fallback(fallback_policy(fallback, artifact)?)?;
        }
        let goes_on = context.as_deref().is_some_and(Path::exists);
        if let Some(file) = context.as_deref().filter(|_| goes_on) {
            let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            policy.restore_context(0, &bytes).with_context(|| format!("{}", file.display()))?;
        }
        let known = Self { weights: hash(&policy), context: context.clone(), goes_on };
        Ok((Box::new(policy), Some(known)))
    }

    /// Whether it remembers something already.
    pub const fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Looks at the policy when it has come back, and keeps what it remembers.
    ///
    /// # Errors
    /// When it has not come back, its weights are not what they were, or its context cannot be written.
    pub fn end(self, policy: Option<Versioned>) -> Result<Remembered, Failure> {
        let Self { weights, context, goes_on: _ } = self;
        let policy =
            policy.ok_or_else(|| anyhow!("the policy hangs or has died: what it had learnt is lost"))?;
        let policy: Box<dyn Any> = policy.policy;
        let policy = policy.downcast::<InContextPolicy>().map_err(|_| anyhow!("another policy came back"))?;
        let found = hash(&policy);
        if found != weights {
            return Err(
                anyhow!("the weights changed while it drove: expected {weights}, found {found}").into()
            );
        }
        if let Some(file) = &context {
            write_atomic(file, &policy.save_context(0)?)?;
        }
        let (steps, kept_out) = (policy.lived(0), policy.poison());
        Ok(Remembered { weights_blake3: weights, steps, kept_out, context })
    }
}

impl fmt::Display for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { weights_blake3, steps, kept_out, context } = self;
        let Poison { observations, rewards, clipped_rewards } = kept_out;
        write!(
            f,
            "in context: {steps} steps of this task; weights {}, before and after; kept out: {observations} observations, \
             {rewards} rewards; {clipped_rewards} rewards clipped",
            weights_blake3.get(..16).unwrap_or(weights_blake3)
        )?;
        context.as_ref().map_or(Ok(()), |file| write!(f, "\ncontext    {}", file.display()))
    }
}

/// Who acts while nothing can be made of an observation.
fn fallback_policy(named: &Path, artifact: &PolicyArtifact) -> Result<Box<dyn Policy>, Failure> {
    if named == Path::new("hold") {
        return Ok(Box::new(HoldStill::new(&artifact.card.spec)));
    }
    let (other, directory) = read_policy(named)?;
    let at = || format!("--fallback {}", directory.display());
    other.card.check(&artifact.card.spec).with_context(at)?;
    Ok(surefoot_policies::load_policy(&other, 1).with_context(at)?)
}

fn hash(policy: &InContextPolicy) -> String {
    blake3::Hash::from_bytes(policy.weights_hash()).to_hex().to_string()
}
