//! Learners through their public face.

mod data;
mod learners;
