//! The one integration binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod architecture;
mod bench;
mod cli;
mod collect;
mod data_verbs;
mod determinism;
mod distill;
mod drawn_goals;
mod driven_episodes;
mod fault_matrix;
mod fleet;
mod fleet_robot;
mod fleet_routed;
mod guarded_arm;
mod gymnasium;
mod in_context_robot;
mod linked;
mod live;
mod loading;
mod program;
mod recording;
mod regress;
mod resume;
mod sources;
mod view;
