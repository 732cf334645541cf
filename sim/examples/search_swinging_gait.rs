//! Looks for a gait of sines by the cross-entropy method (Rubinstein 1999): every driven joint is pulled by a spring and damper toward an angle
//! that swings, and all of it is searched for.
//! `search_swinging_gait ENV [--rounds N] [--population N] [--best N] [--tries N] [--steps N] [--hz X] [--mirror together|alternating] [--seed S] [--to FILE]`.
//!
//! ```text
//! action = clamp(stiffness (offset + a sin(2 pi hz t) + b cos(2 pi hz t) - angle) - damping rate, -1, 1)
//! ```
//!
//! `--mirror` takes the right legs of an ant from the left ones: at the same time, or half a stride later. The reward for being healthy is not counted.
//! Prints a line every round, and writes the best gait as one that `search_linear_gait ENV --from FILE` can go on with.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;

use surefoot_core::{Env, StepEnd, Stream};
use surefoot_sim::demonstrators::linear_gait::{Clock, LinearGait};
use surefoot_sim::{EnvConfig, EnvContext};

type Error = Box<dyn std::error::Error>;

/// Stride, stiffness, damping.
const SHARED: usize = 3;

/// A joint's swing and where its angle and rate are observed.
struct Joint {
    angle: usize,
    rate: usize,
    /// Its swing among those that are searched for, its sign, and whether it comes half a stride later.
    swing: usize,
    sign: f64,
    later: bool,
}

struct Search {
    env: Box<dyn Env>,
    observations: Vec<String>,
    joints: Vec<Joint>,
    swings: usize,
}

impl Search {
    fn new(name: &str, mirror: &str) -> Result<Self, Error> {
        let config = EnvConfig::default_of(name).ok_or("no such environment")?;
        let env = config.build(&EnvContext { stepping: None })?;
        let spec = env.spec().clone();
        let observations: Vec<String> =
            spec.observation.iter().take_while(|f| f.low.is_none()).map(|f| f.name.clone()).collect();
        let at = |wanted: String| {
            observations.iter().position(|n| *n == wanted).ok_or(format!("{wanted} is not observed"))
        };
        let names: Vec<&str> = spec.action.iter().map(|f| f.name.trim_end_matches("_torque")).collect();
        // A turn about the vertical has the other sign on the other side.
        let left = |name: &str| match (mirror, name) {
            ("none", _) => None,
            (_, "hip_4") => Some(("hip_1", -1.0)),
            (_, "hip_3") => Some(("hip_2", -1.0)),
            (_, "ankle_4") => Some(("ankle_1", 1.0)),
            (_, "ankle_3") => Some(("ankle_2", 1.0)),
            _ => None,
        };
        let searched: Vec<&str> = names.iter().copied().filter(|n| left(n).is_none()).collect();
        let joint = |name: &&str| -> Result<Joint, Error> {
            let (of, sign) = left(name).unwrap_or((name, 1.0));
            Ok(Joint {
                angle: at(format!("{name}_position"))?,
                rate: at(format!("{name}_velocity"))?,
                swing: searched.iter().position(|n| *n == of).ok_or("a joint without its other side")?,
                sign,
                later: mirror == "alternating" && left(name).is_some(),
            })
        };
        let joints = names.iter().map(joint).collect::<Result<_, _>>()?;
        Ok(Self { env, observations, joints, swings: searched.len() })
    }

    /// The gait of these numbers: stride, stiffness, damping, then offset, sine and cosine of each swing.
    fn gait(&self, numbers: &[f64]) -> LinearGait {
        let (hz, stiffness, damping) = (numbers[0], numbers[1], numbers[2]);
        let n = self.observations.len();
        let mut weights = Vec::new();
        let mut clock = Vec::new();
        for joint in &self.joints {
            let mut row = vec![0.0; n];
            row[joint.angle] = -stiffness;
            row[joint.rate] = -damping;
            weights.push(row);
            let swing = &numbers[SHARED + 3 * joint.swing..][..3];
            let later = if joint.later { -1.0 } else { 1.0 };
            let factor = stiffness * joint.sign;
            clock.push([factor * later * swing[1], factor * later * swing[2], factor * swing[0]]);
        }
        LinearGait {
            observations: self.observations.clone(),
            mean: vec![0.0; n],
            spread: vec![1.0; n],
            weights,
            clock: Some(Clock { hz, weights: clock }),
        }
    }

    /// The return without what is paid for being healthy, the whole return, and steps; `seen` is given every row.
    fn walk(
        &mut self,
        gait: &LinearGait,
        seed: u64,
        steps: usize,
        mut seen: impl FnMut(&[f32]),
    ) -> Result<(f64, f64, usize), Error> {
        let spec = self.env.spec();
        let (secs, dims) = (spec.step_secs, [spec.observation_dim(), spec.action_dim()]);
        let (mut observation, mut action, mut executed) =
            (vec![0.0; dims[0]], vec![0.0; dims[1]], vec![0.0; dims[1]]);
        self.env.reset(seed, &mut observation)?;
        let (mut way, mut total, mut done) = (0.0, 0.0, 0);
        while done < steps {
            seen(&observation);
            gait.act(done as f64 * secs, |o| f64::from(observation[o]), |a, value| action[a] = value as f32);
            let outcome = self.env.step(&action, &mut observation, &mut executed)?;
            let healthy = if outcome.end == StepEnd::Terminated { 0.0 } else { 1.0 };
            total += f64::from(outcome.reward);
            way += f64::from(outcome.reward) - healthy;
            done += 1;
            if outcome.end.is_last() {
                break;
            }
        }
        Ok((way, total, done))
    }
}

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let name = args.first().ok_or("name an environment: ant or half_cheetah")?.clone();
    let given: BTreeMap<&str, &str> =
        args[1..].chunks_exact(2).map(|pair| (pair[0].trim_start_matches("--"), pair[1].as_str())).collect();
    let get = |key: &str, default| given.get(key).copied().unwrap_or(default);
    let (rounds, population): (usize, usize) =
        (get("rounds", "60").parse()?, get("population", "40").parse()?);
    let (best, tries): (usize, u64) = (get("best", "8").parse()?, get("tries", "2").parse()?);
    let steps: usize = get("steps", "300").parse()?;
    let mut stream = Stream::new(get("seed", "0").parse()?, "swinging gait search", 0);
    let mut search = Search::new(&name, get("mirror", "none"))?;

    // Where it begins: a stride of this many hertz, springs of one action per radian, joints in the middle of their limits.
    let mut mean = vec![get("hz", "1.5").parse::<f64>()?, 1.0, 0.1];
    let mut std = vec![0.5, 0.5, 0.05];
    let mut middles = vec![0.0; search.swings];
    for (j, joint) in search.joints.iter().enumerate() {
        let name = search.observations[joint.angle].as_str();
        middles[joint.swing] = match name {
            "ankle_1_position" => 0.87,
            "ankle_2_position" | "ankle_3_position" => -0.87,
            "ankle_4_position" if joint.swing == j => 0.87,
            _ => middles[joint.swing],
        };
    }
    for middle in middles {
        mean.extend([middle, 0.0, 0.0]);
        std.extend([0.2, 0.4, 0.4]);
    }
    let mut champion = (f64::NEG_INFINITY, search.gait(&mean));
    for round in 0..rounds {
        let mut tried: Vec<(f64, Vec<f64>)> = Vec::new();
        for _ in 0..population {
            let mut numbers: Vec<f64> = mean.iter().zip(&std).map(|(m, s)| m + s * stream.normal()).collect();
            numbers[0] = numbers[0].clamp(0.3, 6.0);
            numbers[1] = numbers[1].clamp(0.05, 6.0);
            numbers[2] = numbers[2].clamp(0.0, 1.0);
            let gait = search.gait(&numbers);
            let mut sum = 0.0;
            for seed in 0..tries {
                sum += search.walk(&gait, round as u64 * tries + seed, steps, |_| ())?.0;
            }
            tried.push((sum / tries as f64, numbers));
        }
        tried.sort_by(|a, b| b.0.total_cmp(&a.0));
        tried.truncate(best);
        for i in 0..mean.len() {
            let of = tried.iter().map(|(_, numbers)| numbers[i]);
            let m = of.clone().sum::<f64>() / best as f64;
            let s = (of.map(|x| (x - m).powi(2)).sum::<f64>() / best as f64).sqrt();
            mean[i] = m;
            std[i] = s.max(0.02).max(0.3 * std[i]);
        }
        let gait = search.gait(&mean);
        let (mut way, mut total, mut done) = (0.0, 0.0, 0);
        for seed in 0..10 {
            let walked = search.walk(&gait, 1_000_000 + seed, usize::MAX, |_| ())?;
            (way, total, done) = (way + walked.0 / 10.0, total + walked.1 / 10.0, done + walked.2);
        }
        println!(
            "{{\"round\":{round},\"best\":{:.1},\"return\":{total:.1},\"without_healthy\":{way:.1},\"steps\":{},\"hz\":{:.2},\"stiffness\":{:.2},\"damping\":{:.3}}}",
            tried[0].0,
            done / 10,
            mean[0],
            mean[1],
            mean[2]
        );
        if total > champion.0 {
            champion = (total, gait);
            if let Some(file) = given.get("to") {
                let gait = in_units_of_what_it_sees(&mut search, &champion.1)?;
                std::fs::write(
                    file,
                    gait.written(&format!("A gait of sines of {name}, found by `search_swinging_gait`.")),
                )?;
            }
        }
    }
    Ok(())
}

/// The same gait, whose observations are divided by their spread, so that a search can change every weight by as much.
fn in_units_of_what_it_sees(search: &mut Search, gait: &LinearGait) -> Result<LinearGait, Error> {
    let n = gait.observations.len();
    let (mut count, mut sums, mut squares) = (0.0, vec![0.0; n], vec![0.0; n]);
    for seed in 0..5 {
        search.walk(gait, seed, usize::MAX, |row| {
            count += 1.0;
            for ((sum, square), value) in sums.iter_mut().zip(&mut squares).zip(row) {
                let value = f64::from(*value);
                *sum += value;
                *square += value * value;
            }
        })?;
    }
    let mut changed = gait.clone();
    changed.mean = sums.iter().map(|s| s / count).collect();
    changed.spread = (0..n)
        .map(|i| (squares[i] / count - changed.mean[i] * changed.mean[i]).max(0.0).sqrt().max(1e-2))
        .collect();
    for (a, row) in changed.weights.iter_mut().enumerate() {
        let always: f64 = row.iter().zip(&changed.mean).map(|(w, m)| w * m).sum();
        row.iter_mut().zip(&changed.spread).for_each(|(w, s)| *w *= s);
        if let Some(clock) = &mut changed.clock {
            clock.weights[a][2] += always;
        }
    }
    Ok(changed)
}
