//! Demonstrator of `quadruped`: a trot. Diagonal legs step together; feet on the ground go back under the hips at the wanted velocity, feet
//! in the air are put where the torso will be (Raibert, Legged Robots That Balance, 1986, eq. 2.4); failing episodes stand still or limp.
//!
//! ```text
//! foot at touchdown = neutral + v_wanted T_stance / 2 + k (v_measured - v_command)
//! v_wanted          = v_command + integral of k_i (v_command - v_measured)
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::Stream;
use surefoot_core::policy::{Policy, PolicyError};

use super::scripted::{Script, Scripted};
use super::{DemonstratorContext, check_manner};
use crate::tasks::quadruped::{REACH, STANCE};

/// Lengths of hip, thigh and shank, m, and where the hips are; as in the model.
const HIP: f64 = 0.06;
const THIGH: f64 = 0.2;
const SHANK: f64 = 0.2;
/// Fore-hind and left-right place of the hips, in the order of the joints.
const HIPS: [[f64; 2]; 4] = [[0.18, 0.06], [0.18, -0.06], [-0.18, 0.06], [-0.18, -0.06]];
/// Strides a second, share of a stride on the ground, height of a step, m.
const STRIDE_HZ: f64 = 2.2;
const ON_GROUND: f64 = 0.6;
const LIFT: f64 = 0.06;
/// Height of the hips over the feet, m, when it stands.
const HEIGHT: f64 = 0.292;
/// Way of a foot for each m/s too fast, s.
const BALANCE: f64 = 0.06;
/// Rate at which an error of the velocity is taken back, 1/s, and the most that it adds, m/s and rad/s.
const INTEGRAL: f64 = 0.8;
const MOST: f64 = 0.4;
/// Time over which the measured velocity is averaged: half a stride has the torso's swaying out of it, s.
const MEAN_SECS: f64 = 0.23;
/// A policy step, s.
const STEP_SECS: f64 = 0.02;

/// Configuration of [`quadruped`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuadrupedDemonstratorConfig {
    /// Standard deviation of the noise on each action, in units of the action.
    pub action_noise: f64,
    /// Share of episodes that fail on purpose, in equal parts: stops after a while, drags a leg.
    pub failure_share: f64,
}

impl Default for QuadrupedDemonstratorConfig {
    fn default() -> Self {
        Self { action_noise: 0.05, failure_share: 0.4 }
    }
}

impl QuadrupedDemonstratorConfig {
    /// Builds the demonstrator.
    ///
    /// # Errors
    /// When the environment is not `quadruped`, or a number is out of range.
    pub fn build(&self, context: &DemonstratorContext) -> Result<Box<dyn Policy>, PolicyError> {
        let Self { action_noise, failure_share } = self;
        check_manner(*action_noise, None, *failure_share)?;
        Ok(Box::new(Scripted::<Slot, 6, 12>::new(self, context)?))
    }
}

struct Slot {
    noise: Stream,
    stops_at: usize,
    dragged: Option<usize>,
    step: usize,
    /// Of forward, left and turning.
    mean: [f64; 3],
    added: [f64; 3],
    /// Where each foot was put down, from neutral, m.
    put_down: [[f64; 2]; 4],
}

/// Abduction, thigh and knee that put a foot at `[x, y, z]` from its hip, m; `side` is 1 on the left, -1 on the right. Places out of
/// reach give the nearest one.
fn leg_joints([x, y, z]: [f64; 3], side: f64) -> [f64; 3] {
    let across = side * HIP;
    let down = -(y * y + z * z - HIP * HIP).max(1e-6).sqrt();
    let abduction = z.atan2(y) - down.atan2(across);
    let abduction =
        (abduction + std::f64::consts::PI).rem_euclid(std::f64::consts::TAU) - std::f64::consts::PI;
    let squared = x * x + down * down;
    let cos_knee = (squared - THIGH * THIGH - SHANK * SHANK) / (2.0 * THIGH * SHANK);
    let knee = -cos_knee.clamp(-1.0, 1.0).acos();
    let thigh = (-x).atan2(-down) - (SHANK * knee.sin()).atan2(THIGH + SHANK * knee.cos());
    [abduction, thigh, knee]
}

impl Script<6, 12> for Slot {
    type Config = QuadrupedDemonstratorConfig;
    const NAMES: [&'static str; 6] = [
        "torso_own_vx",
        "torso_own_vy",
        "torso_own_wz",
        "command_forward",
        "command_left",
        "command_turning",
    ];

    fn new(config: &QuadrupedDemonstratorConfig, seed: u64) -> Self {
        let mut noise = Stream::new(seed, "quadruped demonstrator", 0);
        let (mut stops_at, mut dragged) = (usize::MAX, None);
        if noise.unit() < config.failure_share {
            if noise.unit() < 0.5 {
                stops_at = noise.below(100);
            } else {
                dragged = Some(noise.below(4));
            }
        }
        Self { noise, stops_at, dragged, step: 0, mean: [0.0; 3], added: [0.0; 3], put_down: [[0.0; 2]; 4] }
    }

    fn act(&mut self, config: &QuadrupedDemonstratorConfig, observation: [f64; 6]) -> [f64; 12] {
        let measured = [observation[0], observation[1], observation[2]];
        let command = [observation[3], observation[4], observation[5]];
        let mut wanted = [0.0; 3];
        for i in 0..3 {
            self.mean[i] += (measured[i] - self.mean[i]) * STEP_SECS / MEAN_SECS;
            let error = command[i] - self.mean[i];
            self.added[i] = (self.added[i] + INTEGRAL * STEP_SECS * error).clamp(-MOST, MOST);
            wanted[i] = command[i] + self.added[i];
        }
        let secs = self.step as f64 * STEP_SECS;
        let stance_secs = ON_GROUND / STRIDE_HZ;
        let stopped = self.step >= self.stops_at;
        self.step += 1;
        let mut action = [0.0; 12];
        for (leg, [hip_x, hip_y]) in HIPS.into_iter().enumerate() {
            let side = hip_y.signum();
            // Front left with hind right.
            let offset = if matches!(leg, 0 | 3) { 0.0 } else { 0.5 };
            let phase = (secs * STRIDE_HZ + offset).fract();
            // Velocity of the ground under this hip, against the torso.
            let place = [hip_x, hip_y + side * HIP];
            let velocity = [wanted[0] - wanted[2] * place[1], wanted[1] + wanted[2] * place[0]];
            let mut foot = [0.0; 3];
            if phase < ON_GROUND {
                let secs_on_ground = phase / STRIDE_HZ;
                for i in 0..2 {
                    foot[i] = self.put_down[leg][i] - velocity[i] * secs_on_ground;
                }
            } else {
                let share = (phase - ON_GROUND) / (1.0 - ON_GROUND);
                let smooth = share * share * (3.0 - 2.0 * share);
                for i in 0..2 {
                    let half_way = velocity[i] * stance_secs / 2.0;
                    let too_fast = if i == 0 { measured[0] - command[0] } else { measured[1] - command[1] };
                    let next = (half_way + BALANCE * too_fast).clamp(-0.12, 0.12);
                    foot[i] = -half_way + smooth * (next + half_way);
                    self.put_down[leg][i] = next;
                }
                foot[2] = LIFT * (std::f64::consts::PI * share).sin();
            }
            if stopped {
                foot = [0.0; 3];
            }
            let at = [foot[0], side * HIP + foot[1], foot[2] - HEIGHT];
            let mut joints = leg_joints(at, side);
            if self.dragged == Some(leg) {
                joints = [STANCE[0], STANCE[1] + 0.5, STANCE[2] - 0.5];
            }
            for j in 0..3 {
                let wanted = (joints[j] - STANCE[j]) / REACH[j];
                action[3 * leg + j] = (wanted + config.action_noise * self.noise.normal()).clamp(-1.0, 1.0);
            }
        }
        action
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leg_is_where_its_joints_put_it() {
        for side in [1.0, -1.0] {
            for place in [[0.0, 0.06 * side, -0.29], [0.1, 0.1 * side, -0.25], [-0.08, 0.01 * side, -0.3]] {
                let [abduction, thigh, knee] = leg_joints(place, side);
                let along = -(THIGH * thigh.sin() + SHANK * (thigh + knee).sin());
                let down = -(THIGH * thigh.cos() + SHANK * (thigh + knee).cos());
                let (sin, cos) = abduction.sin_cos();
                let (across, height) = (side * HIP * cos - down * sin, side * HIP * sin + down * cos);
                for (found, expected) in [along, across, height].into_iter().zip(place) {
                    assert!((found - expected).abs() < 1e-9, "{place:?}: {along} {across} {height}");
                }
            }
        }
        let stance = leg_joints([0.0, HIP, -(THIGH + SHANK) * STANCE[1].cos()], 1.0);
        assert!(stance.iter().zip(STANCE).all(|(a, b)| (a - b).abs() < 1e-9), "{stance:?}");
    }
}
