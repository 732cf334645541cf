//! Who decides in a control period, and what: the policy's answers, a person's actions, fading and hand-over.

use crate::control::control_loop::{ControlLoop, RECOVERY_MARGIN};
use crate::control::mode::{Cause, Driver, Mode, Rest};

impl ControlLoop {
    /// Fetches answers and lets those come into force that are due. Gives the latency of the newest.
    pub(super) fn take_actions(&mut self) -> i64 {
        let mut latency = 0;
        while let Some(output) = self.actions.receive() {
            latency = output.latency_nanos;
            if output.from_tick >= self.driving_since {
                self.newest_action.copy_from_slice(&output.action);
            }
            if self.pending.len() == self.pending.capacity() {
                let oldest = self.pending.remove(0);
                self.actions.give_back(oldest);
            }
            self.pending.push(output);
        }
        while self.pending.first().is_some_and(|o| o.from_tick + self.delay_ticks <= self.tick) {
            let mut due = self.pending.remove(0);
            // An answer to an observation of an earlier driver is no answer.
            if due.from_tick >= self.driving_since {
                // Its age is that of what it answers: an answer that comes late is old when it comes.
                let late = self.tick - due.from_tick - self.delay_ticks;
                self.active_since = Some(self.now - (late as f64 * self.period_secs * 1e9) as i64);
                std::mem::swap(&mut self.active, &mut due);
            }
            self.actions.give_back(due);
        }
        while let Some(mut action) = self.human.receive() {
            std::mem::swap(&mut self.human_action, &mut action);
            self.human_since = Some(self.now);
            self.human.give_back(action);
        }
        latency
    }

    /// Who decides in this period; fills `desired`.
    pub(super) fn arbitrate(&mut self) -> Option<Driver> {
        self.desired.fill(0.0);
        match self.mode() {
            Mode::Running(driver) => self.drive(driver),
            Mode::Recovery => {
                let limits = self.chain.limits().iter();
                let position = self.chain.state().position.iter();
                for ((desired, p), l) in self.desired.iter_mut().zip(position).zip(limits) {
                    // A little beyond the limit, so that a robot that sags is inside as well.
                    let margin = RECOVERY_MARGIN * (l.max_position() - l.min_position());
                    let inside = p.clamp(l.min_position() + margin, l.max_position() - margin);
                    let speed = self.config.recovery_max_speed;
                    *desired = ((inside - p) / self.period_secs).clamp(-speed, speed);
                }
                None
            }
            _ => None,
        }
    }

    fn drive(&mut self, driver: Driver) -> Option<Driver> {
        if driver == Driver::Policy && !self.steps.are_asked_for() {
            // Its episode is over: nothing more is asked of the policy, and the robot comes to rest until somebody ends the drive.
            return None;
        }
        let period = self.period_secs * self.ticks_per_step as f64;
        let waited = (self.tick - self.driving_since).saturating_sub(self.delay_ticks);
        let since_start = waited as f64 * self.period_secs / period;
        let (since, brake_at, action) = match driver {
            Driver::Policy => (self.active_since, self.config.policy_brake_periods, &self.active.action),
            Driver::Human => (self.human_since, self.config.human_brake_periods, &self.human_action),
        };
        // Before its first word a driver holds still; it has as long for that as between any two.
        let age = since.map_or(since_start, |since| (self.now - since) as f64 * 1e-9 / period);
        if age > brake_at + 1e-9 {
            self.supervisor.brake(Rest::Holding, Cause::PolicyLate, age * period, brake_at * period);
            return None;
        }
        since?;
        if std::mem::take(&mut self.first_word) {
            // It takes over from the motion that is left now, not from the one that it found when it was called.
            self.handover_from.copy_from_slice(self.chain.state().velocity);
            self.handover_left = (self.config.handover_secs / self.period_secs).round() as u64;
        }
        self.task.desired(&self.state, self.chain.state(), action, &mut self.desired);
        let fade_at = match driver {
            Driver::Policy => self.config.policy_fade_periods,
            Driver::Human => brake_at,
        };
        if age > fade_at {
            let left = (brake_at - age) / (brake_at - fade_at).max(f64::MIN_POSITIVE);
            self.desired.iter_mut().for_each(|d| *d *= left);
        }
        if self.handover_left > 0 {
            let total = (self.config.handover_secs / self.period_secs).round().max(1.0);
            let old = self.handover_left as f64 / (total + 1.0);
            for (d, from) in self.desired.iter_mut().zip(&self.handover_from) {
                *d = (1.0 - old) * *d + old * from;
            }
            self.handover_left -= 1;
        }
        Some(driver)
    }
}
