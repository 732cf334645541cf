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
//! What each part guarantees, for any sequence of inputs:
//!
//! | part | used when | guarantees | cost |
//! |---|---|---|---|
//! | [`BrakingFilter`] | default | position, velocity, acceleration; the largest safe set | closed form |
//! | [`CertifiedFilter`] | a joint has a jerk limit, or there is geometry | also jerk and every [`Clearance`] condition, also between ticks | at most `31 N` states per joint, `N` the longest stop in periods, and 400 evaluations of geometry |
//! | [`EffortLimiter`] | robots commanded by torque | finite, within the effort limits; no position limit | a comparison |
//! | [`StopPlan`] | in every [`SafeCommand`] | comes to rest inside the same limits without another command | none |
//! | soft limits, [speed scale](SafetyChain::set_speed_scale) | where set | comfort: they never weaken, nor are guaranteed beyond, the hard limits | none |
//! | [`SafetyFilter`] | added by the user | none by itself; whatever it does, the envelope holds | its own |
//! | [`HeldCommand`] | commands are queued or late | the same command, later; *not* that it is still one to execute | a copy |
//! | [`LimitMonitor`] | beside the chain | changes nothing: counts what went over a limit, with other code | closed form |
//!
//! The guarantees are about *commands*. They are about the robot as far as it follows them: watch its tracking error.
//!
//! **No panics.** [`SafetyChain::admit`] and [`SafetyChain::brake`] return a command for every input: rows of any length, NaN, infinities.
//! They do not allocate, lock, block or call the system. What is unusable is refused with a [`SafetyError`] when the
//! chain is made or armed.
//!
//! **Without `std`.** With `--no-default-features --features libm` the crate needs `core` and `alloc` only: a control board can run the same filter. It
//! allocates when a chain is made or its limits are exchanged, not in a tick.
//!
//! A command cannot be made by hand:
//!
//! ```compile_fail,E0451
//! let forged = surefoot_safety::SafeCommand { position: &[9.9] };
//! ```

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod braking;
pub mod certified;
mod chain;
mod clearance;
mod command;
mod effort;
mod error;
pub mod geometry;
mod held;
mod limits;
mod math;
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
pub use held::HeldCommand;
pub use limits::{JointLimits, SoftJointLimits};
pub use monitor::{LimitMonitor, SafetyCounts};
pub use verdict::{Reasons, Verdict};
