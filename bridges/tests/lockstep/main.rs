//! Worlds behind a link, both sides of it in this process: the same as worlds at hand, and nothing mixed up when something fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod foreign;
mod serving;
mod worlds;
