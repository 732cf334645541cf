//! `surefoot rollout`: a trained policy drives a robot through the whole control loop, startup guard, watchdogs and robot-side
//! filter included; here the robot is a simulated one.

use std::io::{BufWriter, Write};

use anyhow::{Context, anyhow};
use surefoot_core::clock::MonotonicClock;
use surefoot_core::{ActMode, GuardedRobot, RobotState, Stream, Task};
use surefoot_engine::control::{
    CadenceReport, ControlConfig, ControlLoop, ControlThread, DrivenEpisode, EpisodesFromTicks, Granted,
    Lockstep, Mode, PolicyThread, RealtimeConfig, Request, Tick, Versioned,
};
use surefoot_engine::{EvalConfig, Evaluation, Interrupt, MAX_EPISODES};
use surefoot_sim::EnvConfig;
use surefoot_sim::arm::TRACKING_TOLERANCE_RAD;

use crate::args::RolloutArgs;
use crate::commands::eval::{Trained, locate_and_read};
use crate::commands::train::on_interrupt;
use crate::composition;
use crate::failure::{CommandResult, Failure, usage};
use crate::new_file::NewFile;
use crate::output::Output;
use crate::summary;

/// Ticks that may wait for their reader.
const TICK_QUEUE: usize = 4096;
/// Ticks in which a robot must be armed and driving.
const READY_TICKS: u64 = 500;

/// Runs the verb.
pub fn run(args: &RolloutArgs, output: Output) -> CommandResult {
    if !(1..=MAX_EPISODES).contains(&args.episodes) {
        return Err(usage(anyhow!("--episodes {}: expected 1 to {MAX_EPISODES}", args.episodes)));
    }
    let Trained { artifact, env, eval, policy_dir } = locate_and_read(&args.policy, args.env.as_deref())?;
    let seeds = EvalConfig { episodes: args.episodes, seed: args.seed.unwrap_or(eval.seed) }.seeds();
    artifact.card.check(composition::env(&env)?.spec())?;
    let interrupt = on_interrupt()?;
    let mut ticks_file = args.ticks.as_deref().map(NewFile::create).transpose()?.map(BufWriter::new);
    let mut episodes = Vec::new();
    let mut drives = Vec::new();
    let mut cadence: Option<CadenceReport> = None;
    for (index, seeds) in seeds.iter().enumerate() {
        if interrupt.requested() {
            return Err(Failure::Interrupted(format!("{index} episodes were driven")));
        }
        let drive = Drive::new(&env, seeds.reset)?;
        let policy = surefoot_policies::load_policy(&artifact, 1)?;
        let keep = |tick: &Tick| match &mut ticks_file {
            Some(file) => {
                serde_json::to_writer(&mut *file, tick)?;
                file.write_all(b"\n").map_err(anyhow::Error::from)
            }
            None => Ok(()),
        };
        let driven = if args.realtime {
            let (driven, report, granted) = drive.in_real_time(policy, seeds.noise, &interrupt, keep)?;
            if index == 0 {
                granted
                    .refusals()
                    .for_each(|line| output.note(&format!("note: {line}; see `surefoot doctor`")));
            }
            cadence = Some(report);
            driven
        } else {
            drive.in_lockstep(policy, seeds.noise, &interrupt, keep)?
        };
        let Some(driven) = driven else {
            return Err(Failure::Interrupted(format!("{index} episodes were driven")));
        };
        output.note(&format!(
            "  seed {}: {} in {} steps{}",
            seeds.reset,
            if driven.episode.success == Some(true) { "success" } else { "no success" },
            driven.episode.len(),
            driven.ended_by.map_or(String::new(), |mode| format!(", ended by {mode:?}")),
        ));
        drives.push(driven.ended_by);
        episodes.push(driven.episode);
    }
    if let Some(file) = &mut ticks_file {
        file.flush().context("cannot write ticks")?;
    }
    let e = Evaluation::of(&episodes);
    if output.json() {
        output.value(&serde_json::json!({
            "event": "rolled_out", "policy": policy_dir, "evaluation": e, "ended_by": drives, "cadence": cadence,
        }));
        return Ok(());
    }
    output.line(&summary::judgement(&e));
    if let Some(report) = cadence {
        output.line(&format!("last episode: {report}"));
    }
    Ok(())
}

/// One episode's robot and task.
struct Drive {
    task: Box<dyn Task>,
    reader: EpisodesFromTicks,
    robot: GuardedRobot,
    max_steps: u64,
}

/// What is done next, by the modes that the ticks show.
fn next_request(mode: Mode, armed: &mut bool, ran: &mut bool) -> Option<Request> {
    match mode {
        Mode::Idle if !*armed => {
            *armed = true;
            Some(Request::Arm)
        }
        Mode::Holding if !*ran => {
            *ran = true;
            Some(Request::Run)
        }
        _ => None,
    }
}

impl Drive {
    fn new(env: &EnvConfig, seed: u64) -> Result<Self, Failure> {
        let parts = || {
            composition::env(env)?.into_robot().ok_or_else(|| {
                Failure::Request(anyhow!("{} has no robot for a control loop to command", env.name()))
            })
        };
        let (mut task, world) = parts()?;
        let (reader_task, _) = parts()?;
        let mut initial = RobotState::zeros(world.contract());
        task.reset(&mut Stream::new(seed, "reset", 0), &mut initial);
        let reader = EpisodesFromTicks::new(reader_task, world.contract())?;
        let mut robot = GuardedRobot::new(world, TRACKING_TOLERANCE_RAD)?;
        surefoot_core::World::reset(&mut robot, &initial)?;
        let max_steps = task.spec().max_steps as u64;
        Ok(Self { task, reader, robot, max_steps })
    }

    /// On simulated time: bit-reproducible.
    fn in_lockstep(
        self,
        policy: Box<dyn surefoot_core::Policy>,
        seed: u64,
        interrupt: &Interrupt,
        mut keep: impl FnMut(&Tick) -> anyhow::Result<()>,
    ) -> Result<Option<DrivenEpisode>, Failure> {
        let spec = self.task.spec().clone();
        let Self { task, mut reader, robot, max_steps } = self;
        let (control, ports) = ControlLoop::new(Box::new(robot), task, ControlConfig::default(), TICK_QUEUE)?;
        let per_step = (spec.step_secs / control.period_secs()).round() as u64;
        let mut run = Lockstep::new(control, ports, policy, seed);
        let (mut armed, mut ran) = (false, false);
        for tick_count in 0..READY_TICKS + max_steps * per_step {
            if interrupt.requested() {
                return Ok(None);
            }
            // The first ticks show the robot before anything is asked of it.
            if tick_count >= 3
                && let Some(request) = next_request(run.control.mode(), &mut armed, &mut ran)
            {
                run.ask(request);
            }
            run.period();
            while let Some(tick) = run.ports.ticks.receive() {
                keep(&tick)?;
                let ended = reader.push(&tick);
                run.ports.ticks.give_back(tick);
                if ended.is_some() {
                    return Ok(ended);
                }
            }
        }
        Err(anyhow!("the robot could not be driven: it is {:?}", run.control.mode()).into())
    }

    /// In real time, on threads of their own.
    fn in_real_time(
        self,
        policy: Box<dyn surefoot_core::Policy>,
        seed: u64,
        interrupt: &Interrupt,
        mut keep: impl FnMut(&Tick) -> anyhow::Result<()>,
    ) -> Result<(Option<DrivenEpisode>, CadenceReport, Granted), Failure> {
        let Self { task, mut reader, robot, max_steps } = self;
        let step_secs = task.spec().step_secs;
        let (control, ports) =
            ControlLoop::new(Box::new(robot.live()), task, ControlConfig::default(), TICK_QUEUE)?;
        let per_step = (step_secs / control.period_secs()).round() as u64;
        let max_ticks = READY_TICKS + max_steps * per_step;
        let surefoot_engine::control::ControlPorts {
            mut requests,
            observations,
            actions,
            human: _human,
            mut ticks,
        } = ports;
        let first = Versioned { version: 1, policy };
        let acting = PolicyThread::start(first, ActMode::Exploit, seed, observations, actions)
            .context("cannot start the policy's thread")?;
        let thread = ControlThread::start(control, RealtimeConfig::default())
            .context("cannot start the control thread")?;
        let clock = MonotonicClock::start();
        let (mut armed, mut ran, mut ended) = (false, false, None);
        let mut seen = 0;
        while ended.is_none() && seen < max_ticks && !thread.is_finished() && !interrupt.requested() {
            clock.sleep_until(clock.now_nanos() + 1_000_000);
            while let Some(tick) = ticks.receive() {
                seen += 1;
                keep(&tick)?;
                if tick.tick >= 3
                    && let Some(request) = next_request(tick.mode, &mut armed, &mut ran)
                    && requests.lend().is_some()
                {
                    requests.send(request);
                }
                ended = ended.or(reader.push(&tick));
                ticks.give_back(tick);
            }
        }
        let finished = thread.stop().ok_or_else(|| anyhow!("the control thread could not be set up"))?;
        acting.stop();
        if finished.panicked {
            return Err(anyhow!("the control loop panicked: the robot was stopped").into());
        }
        if ended.is_none() && !interrupt.requested() {
            return Err(anyhow!("the robot could not be driven: it is {:?}", finished.control.mode()).into());
        }
        Ok((ended, finished.cadence, finished.granted))
    }
}
