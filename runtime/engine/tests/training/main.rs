//! The engine with a small robot and a small learner, both real.

mod linear;
mod point_robot;
mod resume;
mod rollouts;
mod runs;
