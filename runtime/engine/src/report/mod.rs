//! The report: one HTML file that needs nothing else.

mod animation;

pub use animation::animation;
