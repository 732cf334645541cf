//! What learning on a robot may cost: per episode, per step beside a reference policy, and per session.
//!
//! The safety chain keeps every command inside the robot's limits; the limits here bound how much of that an episode or a session
//! may ask for. They act by ending an episode as *truncated* (its last state still has a value: the limit ended it, not the
//! task), by moving a proposed action towards the reference policy's, or by ending the session. They depend on what happened
//! alone and never on wall time, so a run with them is as reproducible as one without.

mod episode;
mod session;
mod trust_region;

pub use episode::{EpisodeLimit, EpisodeLimits, EpisodeLimitsConfig, LimitReached};
pub use session::{SessionLimit, SessionLimitReached, SessionLimits, SessionLimitsConfig};
pub use trust_region::{RegionPolicy, TrustRegion, TrustRegionConfig, clip_to_region};
