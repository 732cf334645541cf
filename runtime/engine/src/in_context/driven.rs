//! Whole lives on a robot: the same as lives in an environment, but through the control loop, with startup guard, hand-over, safety chain
//! and the robot's own filter, on simulated time. To the policy each is one task, and it hears of its steps as it does on a real robot.

use rayon::prelude::*;
use surefoot_core::{
    ActMode, EnvError, FamilyTask, GuardedRobot, Policy, ResetScope, Stream, Task, TaskFamily, World,
};
use surefoot_safety::SafetyCounts;

use super::lives::{Judged, LifeConfig};
use crate::control::{ControlConfig, Versioned};
use crate::live::{
    Driven, LiveClock, LiveConfig, LiveError, Order, Session, SessionParts, Unattended, resettable,
};
use crate::rollout::EpisodeSeeds;
use crate::{EngineError, Interrupt};

/// Makes a policy for one robot.
pub type MakePolicy<'a> = dyn Fn(&FamilyTask) -> Result<Box<dyn Policy>, EngineError> + Sync + 'a;

/// What lives on robots brought.
#[derive(Clone, Debug, PartialEq)]
pub struct DrivenLives {
    /// By task.
    pub tasks: Vec<Judged>,
    /// What the safety chain did in all of them.
    pub safety: SafetyCounts,
    /// Episodes that something else than the task ended: a limit, a stop.
    pub cut_short: u64,
}

/// A task's judge, its robot, and how closely the robot follows.
type Body = (Box<dyn Task>, Box<dyn World>, f64);

fn robot(family: &dyn TaskFamily, params: &[f32]) -> Result<Body, EngineError> {
    let env = family.env(params)?;
    let tolerance = env.tracking_tolerance().unwrap_or_default();
    let (task, world) = env.into_robot().ok_or_else(|| EnvError::Build {
        env: family.spec().name.clone(),
        reason: "it has no robot for a control loop to command".into(),
    })?;
    Ok((task, world, tolerance))
}

fn parts(family: &dyn TaskFamily, params: &[f32]) -> Result<SessionParts, EngineError> {
    let ((task, world, tolerance), (reader_task, ..), (scene_task, ..)) =
        (robot(family, params)?, robot(family, params)?, robot(family, params)?);
    let guarded = GuardedRobot::new(world, tolerance).map_err(LiveError::from)?;
    let (robot, scene) = resettable(Box::new(guarded), scene_task);
    Ok(SessionParts {
        robot: Box::new(robot),
        task,
        reader_task,
        scene: Box::new(scene),
        operator: Box::new(Unattended),
        episodes: None,
        recorded: 0,
        ticks: None,
    })
}

/// Lives `config.lives` lives on the robot of each of `tasks`, on the threads of the present pool. The result is a function of the seeds
/// alone.
///
/// # Errors
/// [`EngineError::Interrupted`], what a robot or a policy says, and a latched stop.
pub fn judge_driven(
    make: &MakePolicy<'_>,
    family: &dyn TaskFamily,
    tasks: &[FamilyTask],
    config: LifeConfig,
    interrupt: &Interrupt,
) -> Result<DrivenLives, EngineError> {
    // A life on a robot is told of by its episodes.
    let LifeConfig { episodes, lives, seed, curve: _ } = config;
    // A try begins with the robot at rest, so there is no other driver's motion to blend from: over the first 0.3 s of a try of 1.2 s it would take
    // away most of what the policy tries out.
    let control = ControlConfig { handover_secs: 0.0, ..ControlConfig::default() };
    let live_config = LiveConfig { clock: LiveClock::Simulated, control, ..LiveConfig::default() };
    let of_task = |task: &FamilyTask| {
        let mut all = DrivenLives { tasks: Vec::new(), safety: SafetyCounts::default(), cut_short: 0 };
        let mut sums = vec![0.0; episodes];
        for life in 0..lives as u64 {
            let seed = Stream::new(seed, &format!("task {}", task.id), life).bits();
            let first = Versioned::from(make(task)?);
            let mut session = Session::new(parts(family, &task.params)?, &live_config, first)?;
            for (episode, sum) in sums.iter_mut().enumerate() {
                let mut seeds = Stream::new(seed, "life_episode", episode as u64);
                let order = Order {
                    name: format!("try_{}", episode + 1),
                    seeds: EpisodeSeeds { reset: seeds.bits(), noise: seeds.bits() },
                    mode: ActMode::Exploit,
                    scope: if episode == 0 { ResetScope::Task } else { ResetScope::Episode },
                    speed_percent: 100,
                };
                match session.drive(&order, interrupt)? {
                    Driven::Episodes { ordered, .. } => {
                        for driven in ordered {
                            *sum += driven.episode.episode_return();
                            all.safety.add(&driven.episode.safety);
                            all.cut_short += u64::from(driven.ended_by.is_some());
                        }
                    }
                    Driven::Interrupted => return Err(EngineError::Interrupted),
                    Driven::Stopped { mode, .. } => {
                        return Err(LiveError::NotReady { mode, refusal: None }.into());
                    }
                }
            }
            let _ = session.close();
        }
        let returns = sums.into_iter().map(|sum| sum / lives.max(1) as f64).collect();
        all.tasks.push(Judged { task: task.clone(), returns });
        Ok(all)
    };
    let lived: Vec<DrivenLives> = tasks.par_iter().map(of_task).collect::<Result<_, EngineError>>()?;
    let mut all = DrivenLives { tasks: Vec::new(), safety: SafetyCounts::default(), cut_short: 0 };
    for one in lived {
        all.tasks.extend(one.tasks);
        all.safety.add(&one.safety);
        all.cut_short += one.cut_short;
    }
    Ok(all)
}
