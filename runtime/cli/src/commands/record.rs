//! `surefoot record`: what a person does with a robot over a link, in a crash-safe recording.

use anyhow::anyhow;
use surefoot_engine::EvalConfig;
use surefoot_engine::control::{ControlConfig, Versioned};
use surefoot_engine::live::{LiveClock, TickSink};

use crate::args::{OperatorInput, RecordRobotArgs};
use crate::commands::rollout::{DrivenAll, Orders, check_episodes, drive};
use crate::commands::train::on_interrupt;
use crate::composition::{self, Around};
use crate::config;
use crate::failure::{CommandResult, Failure, usage};
use crate::hold_still::HoldStill;
use crate::output::Output;
use crate::ticks;

/// Runs the verb.
pub fn run(args: &RecordRobotArgs, output: Output) -> CommandResult {
    check_episodes(args.episodes)?;
    if args.operator == OperatorInput::None {
        return Err(usage(anyhow!("--operator none: nobody would drive\n\nhint: keyboard or panel")));
    }
    let env = config::local_env(&args.env, &args.overrides)?;
    let seeds = EvalConfig { episodes: args.episodes, seed: args.seed }.seeds();
    let interrupt = on_interrupt()?;
    let episodes = Some(composition::recorder(&args.to, &env)?);
    let ticks = ticks::create(&ticks::next_file(&args.to), &env, LiveClock::Real, output)?;
    let ticks = Some(Box::new(ticks) as Box<dyn TickSink>);
    let around = Around { operator: args.operator, episodes, ticks };
    let (parts, link) = composition::linked_robot(&env, &args.robot, around, output)?;
    // What moves the robot is the person alone.
    let policy = HoldStill::new(&composition::env_spec(&env)?);
    let policy = Versioned { version: 1, policy: Box::new(policy) };
    let control = ControlConfig::default();
    let orders = Orders { name: "recorded", seeds: &seeds, goes_on: false, forgets: true, control };
    let driven = drive(parts, LiveClock::Real, policy, &orders, &interrupt, output)?;
    let DrivenAll { episodes, stopped, gone, end, interrupted, .. } = driven;
    let report = link.report();
    output.note(&report.to_string());
    if output.json() {
        output.value(&serde_json::json!({
            "event": "recorded", "to": args.to, "episodes": episodes.len(), "cadence": end.cadence,
            "violations": end.counts.violations, "link": report,
        }));
    } else {
        output.line(&format!("{} episodes in {}", episodes.len(), args.to.display()));
    }
    match stopped {
        Some(why) => Err(Failure::SafetyStop(why)),
        None if interrupted && interrupt.requested() => {
            Err(Failure::Interrupted(format!("{} episodes were recorded", episodes.len())))
        }
        None => gone.map_or(Ok(()), |gone| Err(gone.into())),
    }
}
