//! What a control loop makes of what it measures: ages, gaps, failures, tracking, and the ends of what it waits for.

use surefoot_core::Stamp;

use crate::control::control_loop::ControlLoop;
use crate::control::mode::{Cause, Mode, Rest};
use crate::control::watch::Observed;

impl ControlLoop {
    pub(super) fn read(&mut self) {
        match self.robot.read(&mut self.incoming) {
            Ok(stamp) => {
                self.failed_reads = 0;
                self.judge_observation(stamp);
            }
            Err(surefoot_core::RobotError::NotFinite { .. }) => {
                self.supervisor.brake(Rest::Holding, Cause::ObservationNotFinite, f64::NAN, 0.0);
            }
            Err(_) => {
                self.failed_reads = self.failed_reads.saturating_add(1);
                self.judge_failures(self.failed_reads);
            }
        }
        let age = self.observation_watch.age_nanos(self.now);
        let limit = self.config.observation_max_age_periods * self.period_secs;
        let age_secs = age.map_or(f64::INFINITY, |nanos| nanos as f64 * 1e-9);
        // Whole periods must not be told apart by rounding.
        self.observed = age_secs <= limit + 1e-9;
        if !self.observed {
            self.supervisor.brake(Rest::Holding, Cause::ObservationStale, age_secs, limit);
        }
    }

    fn judge_observation(&mut self, stamp: Stamp) {
        match self.observation_watch.judge(stamp, &self.incoming, self.now) {
            Observed::New { lost } => {
                std::mem::swap(&mut self.state, &mut self.incoming);
                if lost > self.config.observation_max_gap {
                    let limit = self.config.observation_max_gap as f64;
                    self.supervisor.brake(Rest::Holding, Cause::ObservationGap, lost as f64, limit);
                }
            }
            Observed::Old => {}
            Observed::NotFinite => {
                self.supervisor.brake(Rest::Holding, Cause::ObservationNotFinite, f64::NAN, 0.0);
            }
        }
    }

    pub(super) fn count_write(&mut self, written: bool) {
        self.failed_writes = if written { 0 } else { self.failed_writes.saturating_add(1) };
        self.judge_failures(self.failed_writes);
    }

    fn judge_failures(&mut self, in_a_row: u32) {
        if in_a_row > self.config.max_robot_failures {
            let before = self.mode();
            let limit = f64::from(self.config.max_robot_failures);
            self.supervisor.fault(f64::from(in_a_row), limit);
            if self.mode() != before {
                // It does not answer: one more word may still reach it.
                let _ = self.robot.stop();
            }
        }
    }

    pub(super) fn check_tracking(&mut self) {
        if !self.mode().is_armed() || !self.observed {
            return;
        }
        let limit = self.config.max_tracking_error;
        let commanded = self.chain.state().position;
        let (error, ticks) = self.tracking.judge(commanded, &self.state.position, limit);
        if self.mode() == Mode::Starting && error > limit {
            self.supervisor.brake(Rest::ProtectiveStop, Cause::StartupGuard, error, limit);
        } else if ticks >= self.config.tracking_error_ticks {
            self.supervisor.brake(Rest::ProtectiveStop, Cause::TrackingError, error, limit);
        }
    }

    pub(super) fn settle(&mut self) {
        match self.mode() {
            Mode::Braking(rest) if self.situation().command_at_rest => {
                self.supervisor.settled();
                if rest == Rest::EmergencyStop {
                    self.stop_robot();
                }
            }
            Mode::Starting => {
                self.starting_ticks += 1;
                let speed = self.state.velocity.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
                let limit = self.config.startup_max_speed;
                if speed > limit {
                    self.supervisor.brake(Rest::ProtectiveStop, Cause::StartupGuard, speed, limit);
                } else if self.starting_ticks as f64 * self.period_secs >= self.config.startup_secs {
                    self.supervisor.settled();
                }
            }
            Mode::Recovery => {
                let now = self.situation();
                let commanded_inside = self.chain.state().position.iter().zip(self.chain.limits());
                let inside = commanded_inside
                    .into_iter()
                    .all(|(p, l)| *p >= l.min_position() && *p <= l.max_position());
                if inside && now.inside_limits && now.command_at_rest {
                    self.supervisor.settled();
                }
            }
            _ => {}
        }
    }
}
