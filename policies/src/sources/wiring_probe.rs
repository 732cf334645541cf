//! `wiring_probe`: tries each actuator alone, sees which joint moves and which way, and then drives the joints to where they should be.
//!
//! For tasks that see what each joint lacks (rad) and then how fast it moves (rad/s), and do as many velocities (rad/s) of evenly spaced values,
//! of actuators of which nobody knows what they move. A proportional controller closes the gaps of the joints whose actuator is known; the other
//! actuators hold still. An actuator that seems to move nothing, at the end of a joint's range for one, is tried again the other way.
//!
//! What it tries next follows from what it has seen, unless lots are to decide: a policy that draws each actuator's velocity apart from the
//! others' cannot imitate "one of them, whichever".

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{EnvSpec, Field, Outcome, SourceAlgorithm, Stream};

use super::{SourceContext, SourceError, within};

const NAME: &str = "wiring_probe";
/// Time constant of an approach, s, in steps.
const APPROACH_STEPS: f64 = 1.5;
/// A joint has moved whose speed is at least this share of what was tried.
const MOVED_SHARE: f64 = 0.3;

/// Which actuator is tried next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProbeOrder {
    /// The first one that is not known, forward and then backward.
    #[default]
    InTurn,
    /// Any, either way. A policy that draws each actuator's choice apart, and tries each of four in one step of four, tries exactly one of them in 42 %
    /// of the steps.
    Random,
}

/// Settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WiringProbeConfig {
    /// Actuators that are found out in one episode, at most.
    pub per_episode: usize,
    /// Which one is tried next.
    pub order: ProbeOrder,
}

impl Default for WiringProbeConfig {
    fn default() -> Self {
        Self { per_episode: 64, order: ProbeOrder::InTurn }
    }
}

impl WiringProbeConfig {
    /// Builds the learner.
    ///
    /// # Errors
    /// When a setting is out of range, or the task has no such joints and actuators.
    pub fn build(&self, context: &SourceContext) -> Result<Box<dyn SourceAlgorithm>, SourceError> {
        let Self { per_episode, order } = *self;
        within(NAME, "per_episode", per_episode as f64, [1.0, 1e6])?;
        let spec = context.spec();
        if !fits(spec) {
            return Err(SourceError::Family {
                source_name: NAME,
                family: spec.name.clone(),
                needs: "for each actuator (rad/s, evenly spaced values) what a joint lacks to see (rad), and then how fast each joint moves (rad/s)",
                found: format!("{} numbers seen, {} done", spec.observation.len(), spec.action.len()),
            });
        }
        let actuators = spec.action.len();
        Ok(Box::new(WiringProbe {
            per_episode,
            probe_order: order,
            action: spec.action.clone(),
            approach_secs: APPROACH_STEPS * spec.step_secs,
            moves: vec![None; actuators],
            order: Vec::new(),
            trying: None,
            found: 0,
            stream: Stream::new(0, NAME, 0),
            updates: 0,
        }))
    }
}

fn fits(spec: &EnvSpec) -> bool {
    let n = spec.action.len();
    let quantities =
        |fields: &[Field], unit: &str| fields.iter().all(|f| f.unit == unit && f.choices.is_none());
    n > 0
        && spec.observation.len() == 2 * n
        && quantities(&spec.observation[..n], "rad")
        && quantities(&spec.observation[n..], "rad/s")
        && spec.action.iter().all(|f| f.unit == "rad/s" && f.value(0).is_some())
}

/// The choice that is nearest to a velocity.
fn nearest(field: &Field, velocity: f64) -> usize {
    let miss = |c: &usize| (field.value(*c).unwrap_or_default() - velocity).abs();
    (0..field.choices.unwrap_or(1) as usize).min_by(|a, b| miss(a).total_cmp(&miss(b))).unwrap_or_default()
}

struct WiringProbe {
    per_episode: usize,
    probe_order: ProbeOrder,
    action: Vec<Field>,
    approach_secs: f64,
    /// The joint that each actuator moves, and the sign, where that is known.
    moves: Vec<Option<(usize, f64)>>,
    /// Actuators that were not found out yet; the last one is tried next.
    order: Vec<usize>,
    /// The one that is being tried, and its velocity.
    trying: Option<(usize, f64)>,
    /// Actuators that were found out in this episode.
    found: usize,
    stream: Stream,
    updates: u32,
}

impl SourceAlgorithm for WiringProbe {
    fn reset(&mut self, seed: u64) {
        self.stream = Stream::new(seed, NAME, 0);
        self.moves.fill(None);
        (self.trying, self.found, self.updates) = (None, 0, 0);
        self.order = (0..self.action.len()).rev().collect();
        if self.probe_order == ProbeOrder::Random {
            for i in (1..self.order.len()).rev() {
                self.order.swap(i, self.stream.below(i + 1));
            }
        }
    }

    fn act(&mut self, observation: &[f32], action: &mut [f32]) {
        if let Some(actuator) = self.order.last().copied().filter(|_| self.found < self.per_episode) {
            let backwards = match self.trying {
                // It was tried just now, and nothing moved.
                Some((_, velocity)) => velocity > 0.0,
                None => self.probe_order == ProbeOrder::Random && self.stream.below(2) == 0,
            };
            let field = &self.action[actuator];
            let last = field.choices.unwrap_or(1) as usize - 1;
            let choice = if backwards { 0 } else { last };
            for (number, field) in action.iter_mut().zip(&self.action) {
                *number = nearest(field, 0.0) as f32;
            }
            action[actuator] = choice as f32;
            self.trying = field.value(choice).map(|velocity| (actuator, velocity));
            return;
        }
        for ((number, field), moves) in action.iter_mut().zip(&self.action).zip(&self.moves) {
            let wanted =
                moves.map_or(0.0, |(joint, sign)| sign * f64::from(observation[joint]) / self.approach_secs);
            *number = nearest(field, wanted) as f32;
        }
    }

    fn observe(&mut self, next_observation: &[f32], outcome: &Outcome) {
        if let Some((actuator, tried)) = self.trying {
            let rates = &next_observation[self.action.len()..];
            let speed = |joint: &usize| rates[*joint].abs();
            let fastest = (0..rates.len()).max_by(|a, b| speed(a).total_cmp(&speed(b)));
            let moved = fastest.filter(|j| f64::from(speed(j)) >= MOVED_SHARE * tried.abs());
            if let Some(joint) = moved {
                self.moves[actuator] = Some((joint, (f64::from(rates[joint]) * tried).signum()));
                self.order.pop();
                self.trying = None;
                self.found += 1;
                self.updates += 1;
            }
        }
        if outcome.end.is_last() {
            (self.found, self.trying) = (0, None);
        }
    }

    fn updates(&self) -> u32 {
        self.updates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(actuators: usize, probe_order: ProbeOrder) -> WiringProbe {
        WiringProbe {
            per_episode: 64,
            probe_order,
            action: (0..actuators).map(|i| Field::bins(format!("a{i}"), "rad/s", -1.0, 1.0, 5)).collect(),
            approach_secs: 0.1,
            moves: vec![None; actuators],
            order: Vec::new(),
            trying: None,
            found: 0,
            stream: Stream::new(0, NAME, 0),
            updates: 0,
        }
    }

    #[test]
    fn it_finds_out_each_actuator_and_turns_around_at_the_end_of_a_range() {
        let mut source = probe(2, ProbeOrder::Random);
        for seed in 0..8 {
            source.reset(seed);
            let mut action = [0.0; 2];
            // The first actuator moves the second joint backwards, the second one the first joint, which is stuck one way.
            for _ in 0..4 {
                source.act(&[0.5, -0.5, 0.0, 0.0], &mut action);
                let velocity = action.map(|choice| choice / 2.0 - 1.0);
                let rates = [velocity[1].min(0.0), -velocity[0]];
                source.observe(&[0.5, -0.5, rates[0], rates[1]], &Outcome::default());
            }
            assert_eq!((source.moves.clone(), source.updates()), (vec![Some((1, -1.0)), Some((0, 1.0))], 2));
            source.act(&[0.5, -0.5, 0.0, 0.0], &mut action);
            assert_eq!(action, [4.0, 4.0], "both at full speed to where they should be");
        }
    }

    /// The choices of three actuators, each of which moves the joint of its number, in this many steps.
    fn choices(source: &mut WiringProbe, seed: u64, steps: usize) -> Vec<[f32; 3]> {
        source.reset(seed);
        let mut all = Vec::new();
        for _ in 0..steps {
            let mut action = [0.0; 3];
            source.act(&[0.5, -0.5, 0.0, 0.0, 0.0, 0.0], &mut action);
            let rates = action.map(|choice| choice / 2.0 - 1.0);
            let seen = [0.5, -0.5, 0.0, rates[0], rates[1], rates[2]];
            source.observe(&seen, &Outcome::default());
            all.push(action);
        }
        all
    }

    /// A policy that draws each actuator apart cannot imitate which one of several it is to try, if lots decide.
    #[test]
    fn which_actuator_is_tried_is_told_by_what_was_seen_and_not_by_lots() {
        let tried = vec![[4.0, 2.0, 2.0], [2.0, 4.0, 2.0], [2.0, 2.0, 4.0], [4.0, 0.0, 2.0]];
        let mut in_turn = probe(3, ProbeOrder::InTurn);
        let mut random = probe(3, ProbeOrder::Random);
        assert!((0..8).all(|seed| choices(&mut in_turn, seed, 4) == tried));
        assert!((0..8).any(|seed| choices(&mut random, seed, 4) != tried));
    }
}
