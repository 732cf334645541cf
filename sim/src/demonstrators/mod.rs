//! Scripted policies that act from observations alone: noisy, and failing for part of their episodes, as people do. One file
//! and one registry line each.

pub mod ant;
pub mod cart_pole;
pub mod door;
pub mod half_cheetah;
pub mod hopper;
pub mod linear_gait;
pub mod peg_insert;
pub mod pen;
pub mod pendulum;
pub mod push;
pub mod quadruped;
pub mod random;
pub mod reach;
pub mod relocate;
mod scripted;
pub mod walker2d;

use surefoot_core::{EnvSpec, Policy, PolicyError, Rows, RowsMut, SpecDifference};

/// What a demonstrator is built for.
#[derive(Clone, Debug)]
pub struct DemonstratorContext {
    /// The environment it acts in.
    pub spec: EnvSpec,
    /// Robots that it drives at once.
    pub slots: usize,
}

surefoot_core::registry! {
    /// A choice of demonstrator.
    pub enum DemonstratorConfig: fn(&DemonstratorContext) -> Result<Box<dyn Policy>, PolicyError> {
        /// Goes around the puck and pushes it into the goal.
        Push(push::PushDemonstratorConfig) = "push",
        /// Goes straight to the target.
        Reach(reach::ReachDemonstratorConfig) = "reach",
        /// Presses the lever and pushes the door open.
        Door(door::DoorDemonstratorConfig) = "door",
        /// Goes over the hole and pushes the peg in.
        PegInsert(peg_insert::PegInsertDemonstratorConfig) = "peg_insert",
        /// Grips the ball and brings it to the target.
        Relocate(relocate::RelocateDemonstratorConfig) = "relocate",
        /// Takes the pen between its fingertips and turns it.
        Pen(pen::PenDemonstratorConfig) = "pen",
        /// Trots after the command.
        Quadruped(quadruped::QuadrupedDemonstratorConfig) = "quadruped",
        /// Pumps energy until the pendulum is up, then balances it.
        Pendulum(pendulum::PendulumDemonstratorConfig) = "pendulum",
        /// Balances the pole by linear feedback.
        CartPole(cart_pole::CartPoleDemonstratorConfig) = "cart_pole",
        /// Gallops by a gait of sines.
        HalfCheetah(half_cheetah::HalfCheetahDemonstratorConfig) = "half_cheetah",
        /// Hops by a linear gait that was learned.
        Hopper(hopper::HopperDemonstratorConfig) = "hopper",
        /// Walks by one.
        Walker2d(walker2d::Walker2dDemonstratorConfig) = "walker2d",
        /// Trots by one with a clock.
        Ant(ant::AntDemonstratorConfig) = "ant",
        /// Acts without a thought, in any environment.
        Random(random::RandomDemonstratorConfig) = "random",
    }
}

/// Indices of named observations.
fn observation_indices<const N: usize>(spec: &EnvSpec, names: [&str; N]) -> Result<[usize; N], PolicyError> {
    let mut indices = [0; N];
    indices.copy_from_slice(&indices_of(spec, &names)?);
    Ok(indices)
}

/// The same of any number of them.
fn indices_of(spec: &EnvSpec, names: &[&str]) -> Result<Vec<usize>, PolicyError> {
    let find = |name: &&str| {
        spec.observation.iter().position(|f| f.name == *name).ok_or_else(|| {
            PolicyError::Contract(SpecDifference {
                what: format!("observation of {}", spec.name),
                expected: (*name).to_owned(),
                found: "none of that name".to_owned(),
            })
        })
    };
    names.iter().map(find).collect()
}

/// Refuses rows of other shapes.
fn check_shapes(
    observations: &Rows<'_>,
    actions: &RowsMut<'_>,
    observation_dim: usize,
    action_dim: usize,
    slots: usize,
) -> Result<(), PolicyError> {
    let checks = [
        ("observation dimension", observation_dim, observations.dim()),
        ("action dimension", action_dim, actions.dim()),
        ("action rows", observations.len(), actions.len()),
        ("rows, at most the slots", observations.len().min(slots), observations.len()),
    ];
    for (what, expected, found) in checks {
        if expected != found {
            return Err(PolicyError::Shape { what, expected, found });
        }
    }
    Ok(())
}

/// Refuses settings of how an episode is demonstrated that are out of range.
fn check_manner(action_noise: f64, pace: Option<[f64; 2]>, failure_share: f64) -> Result<(), PolicyError> {
    check_range("action_noise", action_noise, 0.0, 10.0)?;
    if let Some([slowest, fastest]) = pace {
        check_range("pace[0]", slowest, 0.0, fastest)?;
        check_range("pace[1]", fastest, slowest, 1.0)?;
    }
    check_range("failure_share", failure_share, 0.0, 1.0)
}

/// Refuses a setting outside `low..=high`.
fn check_range(key: &'static str, value: f64, low: f64, high: f64) -> Result<(), PolicyError> {
    if value >= low && value <= high {
        Ok(())
    } else {
        let reason = format!("must be between {low} and {high}, found {value}");
        Err(PolicyError::Setting { key, reason })
    }
}
