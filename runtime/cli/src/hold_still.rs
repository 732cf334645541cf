//! A policy that does nothing.

use surefoot_core::{ActMode, EnvSpec, Policy, PolicyError, ResetScope, Rows, RowsMut};

/// Holds still: the action that moves nothing, whatever is seen.
pub struct HoldStill {
    /// `[action_dim]`.
    action: Vec<f32>,
}

impl HoldStill {
    /// For actions that are velocities: zero, or the choice that is nearest to it.
    pub fn new(spec: &EnvSpec) -> Self {
        let still = |field: &surefoot_core::Field| {
            let speed = |choice: &u32| field.value(*choice as usize).unwrap_or(0.0).abs();
            let slowest = (0..field.choices?).min_by(|a, b| speed(a).total_cmp(&speed(b)))?;
            Some(slowest as f32)
        };
        Self { action: spec.action.iter().map(|field| still(field).unwrap_or(0.0)).collect() }
    }
}

impl Policy for HoldStill {
    fn slots(&self) -> usize {
        1
    }
    fn reset(&mut self, _slot: usize, _scope: ResetScope, _seed: u64) {}
    fn act(
        &mut self,
        _observations: Rows<'_>,
        _mode: ActMode,
        mut actions: RowsMut<'_>,
    ) -> Result<(), PolicyError> {
        actions.row(0).copy_from_slice(&self.action);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use surefoot_core::Field;

    use super::*;

    #[test]
    fn the_choice_that_moves_nothing_is_taken() {
        let spec = EnvSpec {
            name: "e".into(),
            observation: vec![],
            action: vec![
                Field::bins("a", "rad/s", -0.6, 0.6, 9),
                Field::bounded("b", "m/s", -1.0, 1.0),
                Field::choice("c", 3),
            ],
            step_secs: 0.1,
            max_steps: 1,
            reward_range: None,
            contract_hash: None,
        };
        assert_eq!(HoldStill::new(&spec).action, [4.0, 0.0, 0.0]);
    }
}
