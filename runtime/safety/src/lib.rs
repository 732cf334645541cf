//! Joint limits and the filters that keep a robot inside them for any input.
//!
//! The one door to a robot is [`SafetyChain::admit`]: whatever a policy asks for, finite or not, it returns a
//! [`SafeCommand`], and a robot driver accepts nothing else. The filter works on the *commanded* state in `f64`,
//! so it is invariant by arithmetic, not by the quality of a sensor; see [`braking`] for the theorem.
//!
//! This is a *motion limiter*, not a certified safety function: a PL/SIL-rated stop must come from the robot.
//! Keep the vendor's safety controller and a hardware emergency stop.
//!
//! ```
//! use surefoot_safety::{JointLimits, SafetyChain, Scaling, Verdict};
//! let limits = JointLimits::new(-1.0, 1.0, 2.0, 5.0)?; // rad, rad/s, rad/s^2
//! let mut chain = SafetyChain::motion(vec![limits], Scaling::PerJoint, 0.01)?;
//! chain.arm(&[0.0])?;
//! let command = chain.admit(&[1e9]); // rad/s: absurd
//! assert_eq!(command.verdict(), Verdict::Adjusted);
//! assert!(command.velocity()[0] <= 5.0 * 0.01 + 1e-12);
//! # Ok::<(), surefoot_safety::SafetyError>(())
//! ```
//!
//! A command cannot be made by hand:
//!
//! ```compile_fail,E0451
//! let forged = surefoot_safety::SafeCommand { position: &[9.9] };
//! ```

pub mod braking;
pub mod certified;
mod chain;
mod clearance;
mod command;
mod effort;
mod error;
mod limits;
mod monitor;
#[cfg(test)]
mod testing;
mod verdict;

pub use braking::{BrakingFilter, Scaling};
pub use certified::CertifiedFilter;
pub use chain::{CommandState, SafetyChain, SafetyFilter};
pub use clearance::Clearance;
pub use command::{SafeCommand, StopPlan};
pub use effort::EffortLimiter;
pub use error::SafetyError;
pub use limits::{JointLimits, SoftJointLimits};
pub use monitor::{LimitMonitor, SafetyCounts};
pub use verdict::{Reasons, Verdict};
