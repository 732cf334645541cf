//! Demonstrator of `pen`: takes each end of the pen between two fingertips, lifts it as far as its tilt takes, and leads the four tips around the
//! palm's middle; failing episodes stop on the way or push the pen off the palm.

use nalgebra::{Vector2, Vector3};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::Stream;
use surefoot_core::policy::{Policy, PolicyError};

use super::scripted::{Script, Scripted};
use super::{DemonstratorContext, check_manner};
use crate::tasks::pen::{REACH, REST};

/// Lengths of the links, m, and where a finger's knuckle is: along and beside the palm, over it; as in the model.
const PROXIMAL: f64 = 0.085;
const DISTAL: f64 = 0.08;
const KNUCKLE: [f64; 3] = [0.035, 0.11, 0.04];
/// Fore-aft and left-right side of the fingers, in the order of the joints.
const FINGERS: [[f64; 2]; 4] = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]];
/// Distance of the tips from the pen's middle, along it, and their height over the palm, m: that of the pen's middle.
const ALONG: f64 = 0.04;
const HEIGHT: f64 = 0.0075;
/// Half the pen's length and a little more: how much lower its end is than its middle at a tilt of a right angle, m.
const LIFT: f64 = 0.075;
/// Distance of the tips' middles beside the pen's axis, m: open, and what closed fingers are led to; they touch at 0.0145.
const OPEN: f64 = 0.030;
const CLOSED: f64 = 0.008;
/// Steps of closing and of opening.
const CLOSING_STEPS: usize = 5;
const OPENING_STEPS: usize = 4;
/// Fastest turning, at a pace of 1, rad/s, and a policy step, s.
const TURNING: f64 = 2.5;
const STEP_SECS: f64 = 0.05;
/// Share of an error that is taken back in a step, near the target.
const TRIM: f64 = 0.15;
/// Angle between the pen and where it is led, and distance beside it, at which it has slipped out, rad and m.
const SLIPPED: f64 = 0.35;
const BESIDE: f64 = 0.012;

/// Configuration of [`pen`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PenDemonstratorConfig {
    /// Standard deviation of the noise on each action, in units of the action.
    pub action_noise: f64,
    /// Smallest and largest pace of an episode, in units of the fastest turning.
    pub pace: [f64; 2],
    /// Share of episodes that fail on purpose, in equal parts: stops on the way, pushes the pen off the palm.
    pub failure_share: f64,
}

impl Default for PenDemonstratorConfig {
    fn default() -> Self {
        Self { action_noise: 0.03, pace: [0.4, 0.8], failure_share: 0.4 }
    }
}

impl PenDemonstratorConfig {
    /// Builds the demonstrator.
    ///
    /// # Errors
    /// When the environment is not `pen`, or a number is out of range.
    pub fn build(&self, context: &DemonstratorContext) -> Result<Box<dyn Policy>, PolicyError> {
        let Self { action_noise, pace, failure_share } = self;
        check_manner(*action_noise, Some(*pace), *failure_share)?;
        Ok(Box::new(Scripted::<Slot, 8, 12>::new(self, context)?))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    /// Since this many steps.
    Closing(usize),
    Turning,
    /// The pen has slipped out: around where it is now. Since this many steps.
    Opening(usize),
}

struct Slot {
    noise: Stream,
    pace: f64,
    stops_at: usize,
    pushes_off_at: usize,
    doing: Doing,
    step: usize,
    /// Yaw and tilt that the tips lead to, rad; what is added to the target's to make up for fingers that give way.
    led: [f64; 2],
    trim: [f64; 2],
}

/// Abduction, proximal and distal joint that put a tip at `[x, y, z]` from its knuckle, in the finger's own axes (x toward the palm, z up), m.
/// Places out of reach give the nearest one.
fn finger_joints([x, y, z]: [f64; 3]) -> [f64; 3] {
    let across = x.hypot(y);
    let distance = across.hypot(z).max(1e-6);
    let (p, d) = (PROXIMAL, DISTAL);
    let cos_inner = (p * p + d * d - distance * distance) / (2.0 * p * d);
    let cos_raised = (p * p + distance * distance - d * d) / (2.0 * p * distance);
    let proximal = z.atan2(across) + cos_raised.clamp(-1.0, 1.0).acos();
    [y.atan2(x), proximal, std::f64::consts::PI - cos_inner.clamp(-1.0, 1.0).acos()]
}

/// An angle between -pi and pi.
fn wrapped(angle: f64) -> f64 {
    (angle + std::f64::consts::PI).rem_euclid(std::f64::consts::TAU) - std::f64::consts::PI
}

/// Yaw and tilt of a direction.
fn direction([x, y, z]: [f64; 3]) -> [f64; 2] {
    [y.atan2(x), z.atan2(x.hypot(y))]
}

impl Script<8, 12> for Slot {
    type Config = PenDemonstratorConfig;
    const NAMES: [&'static str; 8] =
        ["pen_x", "pen_y", "axis_x", "axis_y", "axis_z", "target_axis_x", "target_axis_y", "target_axis_z"];

    fn new(config: &PenDemonstratorConfig, seed: u64) -> Self {
        let mut noise = Stream::new(seed, "pen demonstrator", 0);
        let pace = noise.uniform(config.pace[0], config.pace[1]);
        let (mut stops_at, mut pushes_off_at) = (usize::MAX, usize::MAX);
        if noise.unit() < config.failure_share {
            if noise.unit() < 0.5 {
                stops_at = noise.below(8);
            } else {
                pushes_off_at = noise.below(8);
            }
        }
        let (led, trim, doing) = ([0.0; 2], [0.0; 2], Doing::Closing(0));
        Self { noise, pace, stops_at, pushes_off_at, doing, step: 0, led, trim }
    }

    fn act(&mut self, config: &PenDemonstratorConfig, observation: [f64; 8]) -> [f64; 12] {
        let [x, y, axis_x, axis_y, axis_z, target @ ..] = observation;
        let (own, target) = (direction([axis_x, axis_y, axis_z]), direction(target));
        let beside = |yaw: f64| Vector2::new(-yaw.sin(), yaw.cos());
        let off = beside(own[0]).dot(&Vector2::new(x, y));
        let lags = wrapped(own[0] - self.led[0]).hypot(own[1] - self.led[1]);
        self.doing = match self.doing {
            Doing::Closing(steps) if steps >= CLOSING_STEPS => Doing::Turning,
            Doing::Closing(steps) => Doing::Closing(steps + 1),
            Doing::Turning if lags > SLIPPED || off.abs() > BESIDE => Doing::Opening(0),
            Doing::Opening(steps) if steps >= OPENING_STEPS => Doing::Closing(0),
            Doing::Opening(steps) => Doing::Opening(steps + 1),
            other => other,
        };
        // Distance of the tips beside the pen, and of the line that they are beside from the palm's middle.
        let (width, line) = match self.doing {
            Doing::Opening(_) => {
                (self.led, self.trim) = ([own[0], 0.0], [0.0; 2]);
                (OPEN, off)
            }
            Doing::Closing(steps) => {
                self.led[0] = own[0];
                let share = steps as f64 / CLOSING_STEPS as f64;
                (OPEN + share * (CLOSED - OPEN), off * (1.0 - share))
            }
            Doing::Turning => {
                let most = TURNING * self.pace * STEP_SECS;
                for i in 0..2 {
                    let error = wrapped(target[i] - own[i]);
                    if error.abs() < SLIPPED {
                        self.trim[i] = (self.trim[i] + TRIM * error).clamp(-SLIPPED, SLIPPED);
                    }
                    if self.step < self.stops_at {
                        let way = wrapped(target[i] + self.trim[i] - self.led[i]);
                        self.led[i] += way.clamp(-most, most);
                    }
                }
                (CLOSED, 0.0)
            }
        };
        let [yaw, tilt] = self.led;
        let pushes_off = self.step >= self.pushes_off_at;
        self.step += 1;
        let mut action = [0.0; 12];
        for (finger, [front, left]) in FINGERS.into_iter().enumerate() {
            let mut aside = left * width + line;
            let along = front * ALONG * tilt.cos();
            let mut height = HEIGHT + LIFT * tilt.sin().abs() + front * ALONG * tilt.sin();
            if pushes_off {
                // To the right, where the fingers are drawn up out of the way.
                (aside, height) = if left > 0.0 { (-0.05, HEIGHT) } else { (-0.03, 0.06) };
            }
            let across = beside(yaw) * aside;
            let tip = Vector3::new(along * yaw.cos() + across.x, along * yaw.sin() + across.y, height);
            let from = tip - Vector3::new(front * KNUCKLE[0], left * KNUCKLE[1], KNUCKLE[2]);
            // The finger's x axis is the palm's -y on the left, and y on the right.
            let joints = finger_joints([-left * from.y, left * from.x, from.z]);
            for (j, position) in joints.into_iter().enumerate() {
                let wanted = (position - REST[j]) / REACH[j];
                action[3 * finger + j] =
                    (wanted + config.action_noise * self.noise.normal()).clamp(-1.0, 1.0);
            }
        }
        action
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tip_is_where_the_joints_put_it() {
        for place in [[0.1, 0.02, -0.03], [0.12, -0.03, -0.035], [0.07, 0.0, -0.031]] {
            let [abduction, proximal, distal] = finger_joints(place);
            let across = PROXIMAL * proximal.cos() + DISTAL * (proximal - distal).cos();
            let height = PROXIMAL * proximal.sin() + DISTAL * (proximal - distal).sin();
            let found = [across * abduction.cos(), across * abduction.sin(), height];
            assert!(found.iter().zip(place).all(|(a, b)| (a - b).abs() < 1e-9), "{place:?}: {found:?}");
        }
    }
}
