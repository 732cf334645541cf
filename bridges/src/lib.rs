//! Robots, learners and Gymnasium environments over zenoh.
