//! Canary episodes: what a candidate must show, without exploration, before it acts.

use surefoot_core::PolicyArtifact;

use crate::events::Observer;
use crate::online::{Acting, Collected};
use crate::phases::Schedule;
use crate::promotion::{CanarySuccess, Refusal};
use crate::trainer::Trainer;
use crate::{EngineError, Interrupt};

/// What canary episodes said of a candidate. Nothing of them is booked yet.
pub(crate) struct CanaryTrial {
    /// Those of the policy that acts, where it had to show first what it can.
    pub of_acting: Collected,
    /// Those of the candidate.
    pub of_candidate: Collected,
    /// Episodes in which the policy that acts succeeded, where that is asked.
    pub acting_successes: Option<usize>,
    /// Why the candidate may not act.
    pub refusal: Option<Refusal>,
}

impl CanaryTrial {
    /// Episodes in which the candidate succeeded.
    pub fn successes(&self) -> usize {
        successes(&self.of_candidate)
    }
}

impl Trainer {
    /// Drives a candidate's canary episodes, and before them those of the policy that acts where its successes are asked for and not
    /// known. Changes no state, so that an interrupted trial is simply run again.
    pub(crate) fn canary_trial(
        &mut self,
        candidate: &PolicyArtifact,
        interrupt: &Interrupt,
        observer: &mut dyn Observer,
    ) -> Result<CanaryTrial, EngineError> {
        let (_, config, line) = self.online()?;
        let online = self.state.online.as_ref();
        let (driven, known) =
            (online.map_or(0, |o| o.canaries), online.and_then(|o| o.acting_canary_successes));
        let mut of_acting = Collected::new();
        let acting_successes = match (config.promotion.canary_success, known) {
            (CanarySuccess::Any, _) => None,
            (CanarySuccess::NotBelowActing, Some(known)) => Some(known),
            (CanarySuccess::NotBelowActing, None) => {
                of_acting = self.drive_canaries(&line.acting, 0, None, interrupt, observer)?;
                Some(successes(&of_acting))
            }
        };
        // Where successes are compared, every policy has the same starts: what differs between two of them is not their luck.
        let first = if acting_successes.is_some() { 0 } else { driven };
        let of_candidate = self.drive_canaries(candidate, first, acting_successes, interrupt, observer)?;
        let refusal = canary_failure(&of_candidate, config.promotion.canary_episodes, acting_successes);
        Ok(CanaryTrial { of_acting, of_candidate, acting_successes, refusal })
    }

    /// Canary episodes of a policy from start `first` on: all that are asked for, or rounds of them until `needed` successes are out of reach.
    fn drive_canaries(
        &mut self,
        policy: &PolicyArtifact,
        first: u64,
        needed: Option<usize>,
        interrupt: &Interrupt,
        observer: &mut dyn Observer,
    ) -> Result<Collected, EngineError> {
        let (plan, config, line) = self.online()?;
        let episodes = config.promotion.canary_episodes;
        let seeds = self.seeds(&format!("canary/{}", plan.name), first, episodes);
        if let Schedule::Async(live) = &config.schedule {
            return self.live_canaries(live, &config, policy, &seeds, interrupt);
        }
        // Actors of a fleet get nothing that was not tried in the learner's own worlds.
        let acting = Acting { policy, start: &line.start, canary: true };
        let mut driven = Collected::new();
        for round in seeds.chunks(config.episodes_per_round) {
            driven.extend(self.act(&config, acting, round, interrupt, observer)?.0);
            let failed = driven.len() - successes(&driven);
            if needed.is_some_and(|needed| failed + needed > episodes) {
                break;
            }
        }
        Ok(driven)
    }
}

fn successes(canaries: &Collected) -> usize {
    canaries.iter().filter(|(episode, _)| episode.success == Some(true)).count()
}

/// Why canary episodes speak against a candidate, if they do.
fn canary_failure(canaries: &Collected, wanted: usize, needed: Option<usize>) -> Option<Refusal> {
    let failed = canaries.iter().enumerate().find_map(|(i, (episode, cost))| {
        let what = match cost.limit {
            Some(r) => format!("{}: {:.3}, allowed {}", r.limit.name(), r.found, r.allowed),
            _ if cost.of_another => "the policy did not drive it alone".to_owned(),
            None if episode.safety.violations > 0 => {
                format!("{} limit violations", episode.safety.violations)
            }
            None if episode.safety.stops > 0 => format!("{} refused commands", episode.safety.stops),
            None => return None,
        };
        Some(Refusal::Canary { episode: i + 1, episodes: canaries.len(), what })
    });
    let succeeded = successes(canaries);
    let below = needed.filter(|needed| succeeded < *needed);
    let below =
        below.map(|acting| Refusal::CanarySuccess { successes: succeeded, episodes: canaries.len(), acting });
    let missing = (canaries.len() < wanted).then(|| Refusal::Canary {
        episode: canaries.len() + 1,
        episodes: wanted,
        what: "it was not driven to its end".into(),
    });
    failed.or(below).or(missing)
}
