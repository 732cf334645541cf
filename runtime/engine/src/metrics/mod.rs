//! Numbers over training: lines of JSON and TensorBoard event files.

mod jsonl;
mod tensorboard;

pub use jsonl::MetricsLog;
pub use tensorboard::EventFile;
