//! Acting in worlds of this program, on simulated time.

use std::ops::ControlFlow;
use std::sync::Arc;

use surefoot_core::{ActMode, EnvSpec, Policy, VecEnv};
use surefoot_engine::limits::TrustRegion;
use surefoot_engine::{EngineError, EpisodeLimits, Guard, Watch, guarded_rollout};

use super::{Acting, Actor, End};
use crate::failure::Failure;

/// Whole episodes, as fast as it goes.
pub(super) fn roll_out(actor: &mut Actor<'_>, mut envs: VecEnv, spec: &EnvSpec) -> Result<End, Failure> {
    let mut present: Option<Acting> = None;
    let mut policies: Option<(Box<dyn Policy>, Box<dyn Policy>)> = None;
    loop {
        let acting = match actor.may_begin(spec, present.as_ref(), Actor::idle)? {
            ControlFlow::Continue(acting) => acting,
            ControlFlow::Break(end) => return Ok(end),
        };
        let same = present.as_ref().is_some_and(|p| Arc::ptr_eq(&p.offered, &acting.offered));
        if !same || policies.is_none() {
            let load = |artifact| surefoot_policies::load_policy(artifact, envs.len());
            match (load(&acting.offered.policy), load(&acting.offered.reference)) {
                (Ok(policy), Ok(reference)) => policies = Some((policy, reference)),
                (Err(e), _) | (_, Err(e)) => {
                    actor.reject(&acting.offered, &e.to_string());
                    continue;
                }
            }
        }
        let version = acting.offered.version;
        let terms = acting.terms.clone();
        present = Some(acting);
        let Some((policy, reference)) = &mut policies else { continue };
        let left = actor.args.episodes.map_or(u64::MAX, |episodes| episodes - actor.driven);
        let round = (envs.len() as u64).min(left);
        let seeds = actor.seeds(&terms, actor.link.next_number(), round);
        let region = terms.radius.map(|radius| TrustRegion { reference: &mut **reference, radius });
        let mut guard = Guard { limits: EpisodeLimits::new(terms.limits), trust_region: region };
        let mut watch = Watch { interrupt: &actor.interrupt, progress: &mut |_| {} };
        let driven = guarded_rollout(
            &mut envs,
            &mut **policy,
            ActMode::Explore,
            &seeds,
            &terms.stage,
            &mut guard,
            &mut watch,
        );
        match driven {
            Err(EngineError::Interrupted) => return Ok(End::Interrupted),
            other => {
                for (episode, cost) in other? {
                    actor.keep(episode, &cost, version)?;
                }
            }
        }
    }
}
