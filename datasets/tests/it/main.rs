//! What the crate promises, on real files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod awac;
mod backends;
mod convert;
mod crash;
mod d4rl;
mod damage;
mod episodes;
mod hand_made;
mod import;
mod lerobot;
mod load;
mod logs;
mod mcap_written;
mod named_cases;
mod open;
mod peers;
mod quirk_table;
mod quirks;
mod recording;
mod round_trip;
mod row_cache;
mod shards;
mod sqlite_bags;
mod streaming;
mod transform;
mod verify;
mod verify_lints;
mod verify_robot;
