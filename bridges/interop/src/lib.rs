//! Nothing but tests: see `tests/hiroz.rs`.
