//! The engine with a small robot and a small learner, both real.

// Helpers of tests, outside of `#[test]` functions.
#![allow(clippy::unwrap_used)]

mod actors;
mod limits;
mod linear;
mod on_policy;
mod point_robot;
mod promotion;
mod reports;
mod resume;
mod rollouts;
mod runs;
mod sampling;
