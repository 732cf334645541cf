//! How often the statistical verdict of `surefoot regress` is wrong: on equal policies (A/A), and on one with a planted drop of about 15
//! points. Real episodes of `reach`, its demonstrator failing on purpose in a share of them, with noise of their own.
//!
//! `regress_power [COMPARISONS] [EPISODES] [SHARE] [WORSE_SHARE]`, one JSON line.
#![allow(clippy::print_stdout)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use surefoot_core::clock::Stopwatch;
use surefoot_core::{Env, EnvSpec, Policy, Stream};
use surefoot_engine::regression::{
    Decision, EpisodeRecord, Evidence, Parts, SeedsConfig, Stage, StatisticalConfig,
};
use surefoot_engine::{EngineError, EpisodeSeeds, Interrupt, wilson_interval};
use surefoot_sim::demonstrators::reach::ReachDemonstratorConfig;
use surefoot_sim::{DemonstratorContext, EnvConfig, EnvContext};

struct Reach(f64);

impl Parts for Reach {
    fn env(&self) -> Result<Box<dyn Env>, EngineError> {
        let config = EnvConfig::default_of("reach").ok_or(EngineError::Interrupted)?;
        Ok(config.build(&EnvContext::default())?)
    }
    fn policy(&self, spec: &EnvSpec) -> Result<Box<dyn Policy>, EngineError> {
        let config = ReachDemonstratorConfig { failure_share: self.0, pace: [0.7, 0.8], action_noise: 0.1 };
        Ok(config.build(&DemonstratorContext { spec: spec.clone(), slots: 1 })?)
    }
}

#[derive(Default)]
struct Found {
    worse: u64,
    passed: u64,
    pairs: u64,
    solved: [usize; 2],
    ran: usize,
}

/// All comparisons of two shares of failures, on all cores. The result does not depend on how many there are.
fn compare(shares: [f64; 2], comparisons: u64, episodes: usize, purpose: &str) -> Result<Found, EngineError> {
    let (next, found) = (AtomicU64::new(0), Mutex::new(Found::default()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || -> Result<(), EngineError> {
        let mut stages = [None, None];
        let interrupt = Interrupt::new();
        let mut run = |which: usize, episode, seeds| -> Result<EpisodeRecord, EngineError> {
            let stage = match stages[which].take() {
                Some(stage) => stage,
                None => Stage::new(&Reach(shares[which]), &[], None)?,
            };
            let (record, _, again) = stage.run(episode, seeds, &interrupt)?;
            stages[which] = again;
            Ok(record)
        };
        loop {
            let comparison = next.fetch_add(1, Ordering::Relaxed);
            if comparison >= comparisons {
                return Ok(());
            }
            let seed = Stream::new(comparison, purpose, 0).bits() >> 1;
            let mut evidence = Evidence::new(StatisticalConfig::default());
            for episode in 0..episodes {
                let seeds = SeedsConfig { seed, episodes }.of(episode);
                let other = Stream::new(seeds.noise, "baseline noise", 0).bits();
                let baseline = run(0, episode, EpisodeSeeds { noise: other, ..seeds })?;
                let now = run(1, episode, seeds)?;
                if evidence.observe(&baseline, &now).is_some() {
                    break;
                }
            }
            if let Ok(mut found) = found.lock() {
                found.worse += u64::from(evidence.decision() == Some(Decision::Worse));
                found.passed += u64::from(evidence.decision() == Some(Decision::NotWorse));
                found.pairs += evidence.pairs().len() as u64;
                found.ran += evidence.pairs().len();
                for (baseline, now) in evidence.pairs() {
                    found.solved[0] += usize::from(baseline.success);
                    found.solved[1] += usize::from(now.success);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|w| w.join().unwrap_or(Err(EngineError::Interrupted)))
    })?;
    found.into_inner().map_err(|_| EngineError::Interrupted)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let comparisons: u64 = args.next().map_or(Ok(200), |a| a.parse())?;
    let episodes: usize = args.next().map_or(Ok(200), |a| a.parse())?;
    let share: f64 = args.next().map_or(Ok(0.1), |a| a.parse())?;
    let worse: f64 = args.next().map_or(Ok(0.265), |a| a.parse())?;
    let watch = Stopwatch::start();
    let mut lines = Vec::new();
    for (name, shares) in [("equal", [share, share]), ("worse", [share, worse])] {
        let f = compare(shares, comparisons, episodes, name)?;
        let interval = |count: u64| wilson_interval(count as usize, comparisons as usize);
        let rate = |solved: usize| solved as f64 / f.ran.max(1) as f64;
        lines.push(serde_json::json!({
            "policies": name, "comparisons": comparisons, "episodes": episodes,
            "called_worse": f.worse, "called_worse_wilson": interval(f.worse),
            "passed": f.passed, "inconclusive": comparisons - f.worse - f.passed,
            "mean_pairs": f.pairs as f64 / comparisons as f64,
            "success_baseline": rate(f.solved[0]), "success_now": rate(f.solved[1]),
        }));
    }
    println!("{}", serde_json::json!({ "secs": watch.elapsed().as_secs_f64(), "comparisons": lines }));
    Ok(())
}
