//! The policy's thinking time, emulated: an action comes into force a whole number of control ticks after the observation that it
//! answers, as the robot's contract declares.

/// Actions on their way, oldest forgotten.
#[derive(Clone, Debug)]
pub struct ActionDelay {
    delay_ticks: usize,
    ticks_per_step: usize,
    action_dim: usize,
    /// Newest first, `[steps, action_dim]`.
    rows: Vec<f32>,
}

impl ActionDelay {
    /// For actions of `action_dim` numbers, each decided for `ticks_per_step` (at least one) control ticks.
    #[must_use]
    pub fn new(delay_ticks: usize, ticks_per_step: usize, action_dim: usize) -> Self {
        let ticks_per_step = ticks_per_step.max(1);
        let steps = delay_ticks.div_ceil(ticks_per_step) + 1;
        Self { delay_ticks, ticks_per_step, action_dim, rows: vec![0.0; steps * action_dim] }
    }

    /// Nothing is on its way: zero actions come into force until the first one is due.
    pub fn reset(&mut self) {
        self.rows.fill(0.0);
    }

    /// A new action (`[action_dim]`) is decided from an observation of this moment.
    ///
    /// Real-time safe: does not allocate, lock or block.
    pub fn decide(&mut self, action: &[f32]) {
        self.rows.rotate_right(self.action_dim);
        self.rows[..self.action_dim].copy_from_slice(action);
    }

    /// The action in force `tick` control ticks (below `ticks_per_step`) after the last decision, `[action_dim]`.
    ///
    /// Real-time safe: does not allocate, lock or block.
    #[must_use]
    pub fn in_force(&self, tick: usize) -> &[f32] {
        let steps_back = self.delay_ticks.saturating_sub(tick).div_ceil(self.ticks_per_step);
        &self.rows[steps_back * self.action_dim..(steps_back + 1) * self.action_dim]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in force at tick `t` was decided at the last step that began at `t - delay` or before.
    #[test]
    fn an_action_comes_into_force_the_declared_ticks_after_its_observation() {
        for (delay, per_step) in (0..23_usize).flat_map(|d| (1..9_usize).map(move |p| (d, p))) {
            let mut delayed = ActionDelay::new(delay, per_step, 1);
            for step in 0..12 {
                delayed.decide(&[step as f32 + 1.0]);
                for tick in 0..per_step {
                    let now = step * per_step + tick;
                    let expected = now.checked_sub(delay).map_or(0.0, |then| (then / per_step) as f32 + 1.0);
                    assert_eq!(
                        delayed.in_force(tick),
                        &[expected],
                        "delay {delay}, {per_step} ticks a step, tick {now}"
                    );
                }
            }
            delayed.reset();
            assert!(delayed.rows.iter().all(|a| *a == 0.0));
        }
    }
}
