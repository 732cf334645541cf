//! Looks for a linear gait by augmented random search (Mania et al. 2018, arXiv:1803.07055, algorithm 2, "V2-t"):
//! `search_linear_gait ENV [--iterations N] [--directions N] [--best N] [--rate X] [--noise X] [--steps N] [--seed S] [--threads N] [--from FILE] [--to FILE]`.
//!
//! ```text
//! W <- W + rate / (best std(returns)) sum over the best directions of (return(W + noise d) - return(W - noise d)) d
//! ```
//!
//! The reward for being healthy is not counted, or standing still is the best that is ever found (the paper's "shift").
//! `--from` goes on with a gait (and its means and spreads, which then stay), its clock's numbers among what is searched for.
//! Prints a line every ten iterations, and writes the gait that did best on twenty fixed starts.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;

use surefoot_core::{Env, Stream};
use surefoot_sim::demonstrators::linear_gait::LinearGait;
use surefoot_sim::{EnvConfig, EnvContext};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What a thread brings: the returns of its directions, there and back, and what it saw.
type Tried = Result<(Vec<[f64; 2]>, Seen), Error>;

/// Means and variances of what was seen (Welford 1962).
#[derive(Clone)]
struct Seen {
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Seen {
    fn new(n: usize) -> Self {
        Self { count: 0.0, mean: vec![0.0; n], squares: vec![0.0; n] }
    }

    fn add(&mut self, row: &[f32]) {
        self.count += 1.0;
        for ((mean, squares), value) in self.mean.iter_mut().zip(&mut self.squares).zip(row) {
            let value = f64::from(*value);
            let off = value - *mean;
            *mean += off / self.count;
            *squares += off * (value - *mean);
        }
    }

    fn merge(&mut self, other: &Self) {
        let count = self.count + other.count;
        if other.count == 0.0 {
            return;
        }
        for i in 0..self.mean.len() {
            let off = other.mean[i] - self.mean[i];
            self.mean[i] += off * other.count / count;
            self.squares[i] += other.squares[i] + off * off * self.count * other.count / count;
        }
        self.count = count;
    }

    fn spread(&self) -> Vec<f64> {
        self.squares
            .iter()
            .map(|s| if self.count < 2.0 { 1.0 } else { (s / self.count).sqrt().max(1e-2) })
            .collect()
    }
}

/// One episode.
struct Walked {
    /// Without what is paid for being healthy.
    way: f64,
    total: f64,
    steps: usize,
}

struct Walker {
    env: Box<dyn Env>,
    observation: Vec<f32>,
    action: Vec<f32>,
    executed: Vec<f32>,
}

impl Walker {
    fn walk(
        &mut self,
        gait: &LinearGait,
        seed: u64,
        steps: usize,
        mut seen: Option<&mut Seen>,
    ) -> Result<Walked, Error> {
        let n = gait.observations.len();
        let mut walked = Walked { way: 0.0, total: 0.0, steps: 0 };
        self.env.reset(seed, &mut self.observation)?;
        while walked.steps < steps {
            if let Some(seen) = seen.as_deref_mut() {
                seen.add(&self.observation[..n]);
            }
            let (observation, action) = (&self.observation, &mut self.action);
            let secs = walked.steps as f64 * self.env.spec().step_secs;
            gait.act(secs, |o| f64::from(observation[o]), |a, value| action[a] = value as f32);
            let outcome = self.env.step(&self.action, &mut self.observation, &mut self.executed)?;
            let healthy = if outcome.end == surefoot_core::StepEnd::Terminated { 0.0 } else { 1.0 };
            walked.total += f64::from(outcome.reward);
            walked.way += f64::from(outcome.reward) - healthy;
            walked.steps += 1;
            if outcome.end.is_last() {
                break;
            }
        }
        Ok(walked)
    }
}

fn moved(gait: &LinearGait, direction: &[f64], by: f64) -> LinearGait {
    let mut gait = gait.clone();
    let clock = gait.clock.iter_mut().flat_map(|c| c.weights.iter_mut().flatten());
    let weights = gait.weights.iter_mut().flatten().chain(clock);
    weights.zip(direction).for_each(|(w, d)| *w += by * d);
    gait
}

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let name = args.first().ok_or("name an environment: hopper, walker2d, ant or half_cheetah")?.clone();
    let given: BTreeMap<&str, &str> =
        args[1..].chunks_exact(2).map(|pair| (pair[0].trim_start_matches("--"), pair[1].as_str())).collect();
    let get = |key: &str, default| given.get(key).copied().unwrap_or(default);
    let iterations: usize = get("iterations", "300").parse()?;
    let directions: usize = get("directions", "16").parse()?;
    let best: usize = get("best", "8").parse()?;
    let (rate, noise): (f64, f64) = (get("rate", "0.02").parse()?, get("noise", "0.03").parse()?);
    let steps: usize = get("steps", "1000").parse()?;
    let threads: usize = get("threads", "1").parse()?;
    let mut stream = Stream::new(get("seed", "0").parse()?, "linear gait search", 0);

    let config = EnvConfig::default_of(&name).ok_or("no such environment")?;
    let mut walkers = Vec::new();
    for _ in 0..threads {
        let env = config.build(&EnvContext { stepping: None })?;
        let (o, a) = (env.spec().observation_dim(), env.spec().action_dim());
        walkers.push(Walker { env, observation: vec![0.0; o], action: vec![0.0; a], executed: vec![0.0; a] });
    }
    let spec = walkers[0].env.spec().clone();
    // What it feels of contacts (bounded, and mostly at a bound) is left out.
    let observations: Vec<String> =
        spec.observation.iter().take_while(|f| f.low.is_none()).map(|f| f.name.clone()).collect();
    let n = observations.len();
    let mut seen = Seen::new(n);
    let mut gait = LinearGait {
        observations,
        mean: vec![0.0; n],
        spread: vec![1.0; n],
        weights: vec![vec![0.0; n]; spec.action_dim()],
        clock: None,
    };
    if let Some(file) = given.get("from") {
        gait = toml::from_str(&std::fs::read_to_string(file)?)?;
    }
    let mut champion = (f64::NEG_INFINITY, gait.clone());
    for iteration in 0..=iterations {
        if iteration % 10 == 0 {
            let mut sums = (0.0, 0.0, 0);
            for seed in 0..20 {
                let walked = walkers[0].walk(&gait, 1_000_000 + seed, usize::MAX, None)?;
                sums = (sums.0 + walked.total, sums.1 + walked.way, sums.2 + walked.steps);
            }
            let (total, way) = (sums.0 / 20.0, sums.1 / 20.0);
            println!(
                "{{\"iteration\":{iteration},\"return\":{total:.1},\"without_healthy\":{way:.1},\"steps\":{}}}",
                sums.2 / 20
            );
            if total > champion.0 {
                champion = (total, gait.clone());
                if let Some(file) = given.get("to") {
                    std::fs::write(
                        file,
                        champion.1.written(&format!(
                            "A linear gait of {name}, found by the example `search_linear_gait`."
                        )),
                    )?;
                }
            }
        }
        let size = spec.action_dim() * (n + if gait.clock.is_some() { 3 } else { 0 });
        let tries: Vec<(Vec<f64>, u64)> = (0..directions)
            .map(|d| ((0..size).map(|_| stream.normal()).collect(), (iteration * directions + d) as u64))
            .collect();
        let per_thread = directions.div_ceil(threads);
        let gait_now = &gait;
        let results: Vec<Tried> = std::thread::scope(|scope| {
            let jobs = walkers.iter_mut().zip(tries.chunks(per_thread)).map(|(walker, tries)| {
                scope.spawn(move || {
                    let mut seen = Seen::new(n);
                    let mut pairs = Vec::new();
                    for (direction, seed) in tries {
                        let mut pair = [0.0; 2];
                        for (side, by) in pair.iter_mut().zip([noise, -noise]) {
                            *side = walker
                                .walk(&moved(gait_now, direction, by), *seed, steps, Some(&mut seen))?
                                .way;
                        }
                        pairs.push(pair);
                    }
                    Ok((pairs, seen))
                })
            });
            let jobs: Vec<_> = jobs.collect();
            jobs.into_iter().map(|job| job.join().unwrap_or_else(|_| Err("a thread died".into()))).collect()
        });
        let mut pairs = Vec::new();
        for result in results {
            let (of_thread, of_seen) = result?;
            pairs.extend(of_thread);
            seen.merge(&of_seen);
        }
        let mut order: Vec<usize> = (0..directions).collect();
        order.sort_by(|a, b| pairs[*b][0].max(pairs[*b][1]).total_cmp(&pairs[*a][0].max(pairs[*a][1])));
        order.truncate(best);
        let returns: Vec<f64> = order.iter().flat_map(|d| pairs[*d]).collect();
        let mean = returns.iter().sum::<f64>() / returns.len() as f64;
        let std =
            (returns.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / returns.len() as f64).sqrt().max(1e-6);
        for d in order {
            gait = moved(&gait, &tries[d].0, rate * (pairs[d][0] - pairs[d][1]) / (best as f64 * std));
        }
        if !given.contains_key("from") {
            (gait.mean, gait.spread) = (seen.mean.clone(), seen.spread());
        }
    }
    println!("{{\"env\":\"{name}\",\"best_return\":{:.1}}}", champion.0);
    Ok(())
}
