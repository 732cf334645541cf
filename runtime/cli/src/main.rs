//! The surefoot program.
fn main() {}
