//! The in-context transformer: gradients, training, acting.

mod bandit;
mod gradients;
mod serving;
mod training;
