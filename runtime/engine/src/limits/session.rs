//! Limits of one session: what an online phase may cost before a person is asked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When an online phase stops and waits for a person. Looked at after every round of episodes; resuming the run begins a new
/// session. Time is that of acting (env steps times their period), not wall time, so that a run can be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionLimitsConfig {
    /// Failed episodes in a row; 0: no limit, which suits a simulation: a policy that starts from nothing fails for long.
    pub max_consecutive_failures: u64,
    /// Take-overs by a person; 0: no limit.
    pub max_interventions: u64,
    /// Env steps of the session, as time, s; 0: no limit.
    pub max_acting_secs: u64,
}

impl Default for SessionLimitsConfig {
    fn default() -> Self {
        Self { max_consecutive_failures: 0, max_interventions: 100, max_acting_secs: 0 }
    }
}

/// A limit of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionLimit {
    /// Failed episodes in a row.
    ConsecutiveFailures,
    /// Take-overs by a person.
    Interventions,
    /// Time of acting, s.
    ActingSecs,
    /// A latched stop of the robot that nobody was there to look at.
    LatchedStop,
}

impl SessionLimit {
    /// Its key in the configuration.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "max_consecutive_failures",
            Self::Interventions => "max_interventions",
            Self::ActingSecs => "max_acting_secs",
            Self::LatchedStop => "latched_stop",
        }
    }
}

/// A limit that a session came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionLimitReached {
    /// Which.
    pub limit: SessionLimit,
    /// The session's figure.
    pub found: f64,
    /// What was allowed.
    pub allowed: f64,
}

/// Watches one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionLimits {
    consecutive_failures: u64,
    interventions: u64,
    env_steps: u64,
    reached: Option<SessionLimitReached>,
}

impl SessionLimits {
    /// Adds an episode; the first limit that a session comes to stays.
    ///
    /// Real-time safe: does not allocate, lock or block.
    pub fn observe(
        &mut self,
        config: &SessionLimitsConfig,
        success: bool,
        env_steps: u64,
        step_secs: f64,
        interventions: u64,
    ) {
        let SessionLimitsConfig { max_consecutive_failures, max_interventions, max_acting_secs } = *config;
        self.consecutive_failures = if success { 0 } else { self.consecutive_failures + 1 };
        self.interventions += interventions;
        self.env_steps += env_steps;
        let reached = |limit, found: f64, allowed: u64| {
            let allowed = allowed as f64;
            (allowed > 0.0 && found >= allowed).then_some(SessionLimitReached { limit, found, allowed })
        };
        self.reached = self
            .reached
            .or_else(|| {
                let failures = self.consecutive_failures as f64;
                reached(SessionLimit::ConsecutiveFailures, failures, max_consecutive_failures)
            })
            .or_else(|| reached(SessionLimit::Interventions, self.interventions as f64, max_interventions))
            .or_else(|| {
                reached(SessionLimit::ActingSecs, self.env_steps as f64 * step_secs, max_acting_secs)
            });
    }

    /// Adds take-overs in episodes that are not the session's own, as those of a candidate.
    pub fn take_overs(&mut self, config: &SessionLimitsConfig, interventions: u64) {
        self.interventions += interventions;
        let (found, allowed) = (self.interventions as f64, config.max_interventions as f64);
        if interventions > 0 && allowed > 0.0 && found >= allowed {
            let limit = SessionLimit::Interventions;
            self.reached = self.reached.or(Some(SessionLimitReached { limit, found, allowed }));
        }
    }

    /// The robot is in a latched stop.
    pub fn latched_stop(&mut self) {
        let stop = SessionLimitReached { limit: SessionLimit::LatchedStop, found: 1.0, allowed: 0.0 };
        self.reached = self.reached.or(Some(stop));
    }

    /// The limit that the session came to.
    #[must_use]
    pub const fn reached(&self) -> Option<SessionLimitReached> {
        self.reached
    }

    /// Begins a new session: a person has looked.
    pub fn begin(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(config: SessionLimitsConfig, episodes: &[(bool, u64)]) -> Vec<Option<SessionLimit>> {
        let mut session = SessionLimits::default();
        let each = |(success, interventions): &(bool, u64)| {
            session.observe(&config, *success, 30, 0.1, *interventions);
            session.reached().map(|r| r.limit)
        };
        episodes.iter().map(each).collect()
    }

    #[test]
    fn every_limit_acts_and_the_first_one_stays() {
        let off =
            SessionLimitsConfig { max_consecutive_failures: 0, max_interventions: 0, max_acting_secs: 0 };
        let failures = SessionLimitsConfig { max_consecutive_failures: 2, ..off };
        let stop = Some(SessionLimit::ConsecutiveFailures);
        assert_eq!(
            run(failures, &[(false, 0), (true, 0), (false, 0), (false, 0), (true, 0)]),
            [None, None, None, stop, stop]
        );
        let people = SessionLimitsConfig { max_interventions: 3, ..off };
        assert_eq!(run(people, &[(true, 2), (true, 1)]), [None, Some(SessionLimit::Interventions)]);
        let time = SessionLimitsConfig { max_acting_secs: 6, ..off };
        assert_eq!(run(time, &[(true, 0), (true, 0)]), [None, Some(SessionLimit::ActingSecs)]);
        assert!(run(off, &[(false, 1000); 500]).iter().all(Option::is_none));
    }

    #[test]
    fn a_new_session_starts_from_nothing() {
        let config = SessionLimitsConfig { max_interventions: 1, ..SessionLimitsConfig::default() };
        let mut session = SessionLimits::default();
        session.observe(&config, false, 10, 0.1, 1);
        assert_eq!(session.reached().unwrap().found, 1.0);
        session.begin();
        assert_eq!(session, SessionLimits::default());
    }
}
