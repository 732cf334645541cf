//! Phases, rollouts, evaluation, run directories, checkpoints, metrics and the report.
