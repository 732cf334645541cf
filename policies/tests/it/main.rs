//! Learners through their public face.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod data;
mod golden;
mod learners;
mod toy_task;
