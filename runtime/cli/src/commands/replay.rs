//! `surefoot replay`: episodes out of recorded control ticks, as the learner was given them.

use std::path::Path;

use anyhow::anyhow;
use surefoot_core::{Episode, RobotContract, Task};
use surefoot_datasets::EpisodeRecorder;
use surefoot_engine::Evaluation;
use surefoot_engine::control::{DrivenEpisode, EpisodesFromTicks, Tick, Transition};

use crate::args::ReplayArgs;
use crate::composition;
use crate::failure::{CommandResult, Failure};
use crate::output::Output;
use crate::summary;
use crate::ticks::{self, TicksHeader, TicksRead};

/// Runs the verb.
pub fn run(args: &ReplayArgs, output: Output) -> CommandResult {
    let (read, replay) = ticks::read(
        &args.ticks,
        |header, (task, world)| Replay::new(args, header, task, world.contract()),
        Replay::take,
    )?;
    let Replay { recorder, episodes, transitions, violations, .. } = replay;
    if let Some(mut recorder) = recorder {
        recorder.finish()?;
    }
    let TicksRead { ticks, missing, torn } = read;
    if let Some(why) = &torn {
        output.note(&format!(
            "warning: the ticks are INCOMPLETE: their recorder was cut off ({why}); what came before is read"
        ));
    }
    if missing > 0 {
        output.note(&format!(
            "note: {missing} ticks are missing: the episodes in which they were are cut short"
        ));
    }
    let difference = args.against.as_deref().map(|with| first_difference(&episodes, with)).transpose()?;
    if output.json() {
        output.value(&serde_json::json!({
            "event": "replayed", "ticks": ticks, "missing_ticks": missing, "torn": torn, "episodes": episodes.len(), "violations": violations,
            "evaluation": Evaluation::of(&episodes), "transitions": transitions, "difference": difference,
        }));
    } else {
        output.line(&format!("{ticks} ticks, {} episodes", episodes.len()));
        for t in &transitions {
            output.note(&format!(
                "  tick {}: {:?} -> {:?} ({:?}, {} of {})",
                t.tick, t.from, t.to, t.cause, t.found, t.threshold
            ));
        }
        output.line(&summary::judgement(&Evaluation::of(&episodes)));
    }
    match difference.flatten() {
        None => Ok(()),
        Some(difference) => Err(anyhow!("the episodes differ: {difference}").into()),
    }
}

/// What is made of ticks.
struct Replay {
    reader: EpisodesFromTicks,
    recorder: Option<Box<EpisodeRecorder>>,
    episodes: Vec<Episode>,
    transitions: Vec<Transition>,
    violations: u64,
}

impl Replay {
    fn new(
        args: &ReplayArgs,
        header: &TicksHeader,
        task: Box<dyn Task>,
        contract: &RobotContract,
    ) -> Result<Self, Failure> {
        let recorder = args.record.as_deref().map(|to| composition::recorder(to, &header.env)).transpose()?;
        let reader = EpisodesFromTicks::new(task, contract)?;
        Ok(Self { reader, recorder, episodes: Vec::new(), transitions: Vec::new(), violations: 0 })
    }

    fn take(&mut self, tick: &Tick) -> CommandResult {
        self.violations += tick.violations;
        self.transitions.extend(tick.transitions.iter().flatten().copied());
        if let Some(DrivenEpisode { episode, .. }) = self.reader.push(tick) {
            if let Some(recorder) = &mut self.recorder {
                recorder.record(&episode)?;
            }
            self.episodes.push(episode);
        }
        Ok(())
    }
}

/// The first thing that a learner would see differently.
fn first_difference(episodes: &[Episode], with: &Path) -> Result<Option<String>, Failure> {
    let source = surefoot_datasets::open(with)?;
    if source.len() != episodes.len() {
        return Ok(Some(format!("{} episodes, {} in {}", episodes.len(), source.len(), with.display())));
    }
    for (i, a) in episodes.iter().enumerate() {
        let b = source.episode(i)?;
        let columns = [
            ("observation", &a.observation, &b.observation),
            ("next observation", &a.next_observation, &b.next_observation),
            ("action", &a.action, &b.action),
            ("proposed action", &a.proposed, &b.proposed),
            ("reward", &a.reward, &b.reward),
        ];
        for (what, ours, theirs) in columns {
            let at = ours.iter().zip(theirs).position(|(x, y)| x.to_bits() != y.to_bits());
            if ours.len() != theirs.len() || at.is_some() {
                return Ok(Some(format!(
                    "episode {i}, {what}: {} numbers and {}, different from number {} on",
                    ours.len(),
                    theirs.len(),
                    at.unwrap_or_else(|| ours.len().min(theirs.len()))
                )));
            }
        }
        let judged = (&a.end, &a.human, a.success) == (&b.end, &b.human, b.success);
        if !judged {
            return Ok(Some(format!("episode {i}: ends, interventions or success")));
        }
    }
    Ok(None)
}
