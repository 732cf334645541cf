//! What the crate promises, on real files.

#![allow(clippy::print_stderr)]

mod awac;
mod episodes;
mod round_trip;
