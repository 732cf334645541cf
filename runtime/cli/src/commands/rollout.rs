//! `surefoot rollout`: a trained policy drives a robot through the whole control loop, startup guard, watchdogs and robot-side
//! filter included; here the robot is a simulated one.

use std::io::BufWriter;

use anyhow::anyhow;
use surefoot_core::ActMode;
use surefoot_engine::control::{Cause, ControlConfig, DrivenEpisode, Mode, Versioned};
use surefoot_engine::live::{Driven, LiveClock, LiveConfig, Order, Session, TickSink};
use surefoot_engine::{EvalConfig, Evaluation, MAX_EPISODES};

use crate::args::{OperatorInput, RolloutArgs};
use crate::commands::eval::{Trained, locate_and_read};
use crate::commands::train::on_interrupt;
use crate::composition::{self, Around, TickLines};
use crate::failure::{CommandResult, Failure, usage};
use crate::new_file::NewFile;
use crate::output::Output;
use crate::summary;

/// Runs the verb.
pub fn run(args: &RolloutArgs, output: Output) -> CommandResult {
    if !(1..=MAX_EPISODES).contains(&args.episodes) {
        return Err(usage(anyhow!("--episodes {}: expected 1 to {MAX_EPISODES}", args.episodes)));
    }
    let attended = args.operator != OperatorInput::None;
    if attended && !args.realtime {
        return Err(usage(anyhow!("--operator: a person needs real time\n\nhint: add --realtime")));
    }
    let Trained { artifact, env, eval, policy_dir } = locate_and_read(&args.policy, args.env.as_deref())?;
    let seeds = EvalConfig { episodes: args.episodes, seed: args.seed.unwrap_or(eval.seed) }.seeds();
    artifact.card.check(composition::env(&env)?.spec())?;
    let policy = surefoot_policies::load_policy(&artifact, 1)?;
    let operator = composition::operator(args.operator, output)?;
    let interrupt = on_interrupt()?;
    let ticks = args.ticks.as_deref().map(NewFile::create).transpose()?;
    let ticks = ticks.map(|file| TickLines::begin(BufWriter::new(file), &env)).transpose()?;
    let ticks = ticks.map(|lines| Box::new(lines) as Box<dyn TickSink>);
    let episodes = args.record.as_deref().map(|to| composition::recorder(to, &env)).transpose()?;
    let recorded = episodes.as_ref().map_or(0, |recorder| recorder.len());
    let clock = if args.realtime { LiveClock::Real } else { LiveClock::Simulated };
    let config = LiveConfig { clock, control: ControlConfig::default(), ..LiveConfig::default() };
    let parts = composition::simulated_robot(&env, clock, Around { operator, episodes, ticks })?;
    let mut session = Session::new(parts, &config, Versioned { version: 1, policy })?;
    let mut episodes = Vec::new();
    let mut drives = Vec::new();
    for (index, seeds) in seeds.into_iter().enumerate() {
        let order = Order {
            name: format!("rollout_{}", recorded + index),
            seeds,
            mode: ActMode::Exploit,
            speed_percent: 100,
        };
        let driven = match session.drive(&order, &interrupt)? {
            Driven::Episodes { ordered, unordered } => ordered.into_iter().chain(unordered),
            Driven::Interrupted => {
                let told = format!("{} episodes were driven", episodes.len());
                session.finish()?;
                let _at_rest = session.close();
                return Err(Failure::Interrupted(told));
            }
            Driven::Stopped { .. } => break,
        };
        for driven in driven {
            tell(&driven, output);
            drives.push(driven.ended_by);
            episodes.push(driven.episode);
        }
    }
    // Also one in the last episode is one.
    let told = |(mode, cause): (Mode, Option<Cause>)| {
        let why = cause.map_or(String::new(), |cause| format!(" ({cause:?})"));
        format!("{mode:?}{why} after {} episodes", episodes.len())
    };
    let stopped = session.latched().map(told);
    session.finish()?;
    let end = session.close();
    if let Some(granted) = &end.granted {
        granted.refusals().for_each(|line| output.note(&format!("note: {line}; see `surefoot doctor`")));
    }
    let e = Evaluation::of(&episodes);
    if output.json() {
        output.value(&serde_json::json!({
            "event": "rolled_out", "policy": policy_dir, "evaluation": e, "ended_by": drives,
            "cadence": end.cadence, "violations": end.counts.violations, "dropped_ticks": end.dropped_ticks,
        }));
    } else {
        output.line(&summary::judgement(&e));
        if let Some(report) = end.cadence {
            output.line(&report.to_string());
        }
    }
    stopped.map_or(Ok(()), |why| Err(Failure::SafetyStop(why)))
}

fn tell(driven: &DrivenEpisode, output: Output) {
    let DrivenEpisode { episode: e, ended_by, cost, .. } = driven;
    let by_hand = e.human.iter().filter(|h| **h).count();
    output.note(&format!(
        "  {}: {} in {} steps{}{}{}",
        e.seed.map_or_else(|| e.name.clone(), |seed| format!("seed {seed}")),
        if e.success == Some(true) { "success" } else { "no success" },
        e.len(),
        ended_by.map_or(String::new(), |mode| format!(", ended by {mode:?}")),
        cost.limit.map_or(String::new(), |l| format!(", limit {}", l.limit.name())),
        if by_hand > 0 { format!(", {by_hand} by hand") } else { String::new() },
    ));
}
