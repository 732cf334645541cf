//! Learners through their public face.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

mod acting;
mod awac;
mod awr;
mod bcq;
mod cql;
mod dapg;
mod data;
mod golden;
mod in_context;
mod learners;
mod toy_task;
