//! `surefoot replay`: episodes out of recorded control ticks, as the learner was given them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, anyhow};
use surefoot_core::Episode;
use surefoot_engine::Evaluation;
use surefoot_engine::control::{DrivenEpisode, EpisodesFromTicks, Tick};

use crate::args::ReplayArgs;
use crate::composition::{self, TicksHeader};
use crate::failure::{CommandResult, Failure};
use crate::output::Output;
use crate::summary;

/// Longest line that is read as a tick: a robot of a hundred joints needs a tenth of it.
const LONGEST_LINE: u64 = 1 << 20;

/// Runs the verb.
pub fn run(args: &ReplayArgs, output: Output) -> CommandResult {
    let mut lines = Lines::open(&args.ticks)?;
    let header: TicksHeader = lines.next()?.ok_or_else(|| lines.bad("the file is empty"))?;
    if header.format != TicksHeader::FORMAT {
        let why = format!("expected {}, found {}", TicksHeader::FORMAT, header.format);
        return Err(lines.bad(&why));
    }
    let (task, world) = composition::robot_parts(&header.env)?;
    let contract = world.contract();
    if contract.hash() != header.contract_hash {
        return Err(anyhow!(
            "{}: these ticks are of another robot contract: {} here has {}, they have {}",
            args.ticks.display(),
            contract.name,
            contract.hash(),
            header.contract_hash
        )
        .into());
    }
    let shape = Tick::new(contract, task.spec());
    let mut reader = EpisodesFromTicks::new(task, contract)?;
    let mut recorder = args.record.as_deref().map(|to| composition::recorder(to, &header.env)).transpose()?;
    let (mut ticks, mut transitions, mut violations) = (0_u64, Vec::new(), 0);
    let mut episodes: Vec<Episode> = Vec::new();
    let (mut last, mut missing) = (None, 0);
    while let Some(tick) = lines.next::<Tick>()? {
        let expected = last.map_or(1, |last: u64| last.saturating_add(1));
        if tick.tick < expected {
            return Err(lines.bad(&format!("tick {} stands after tick {}", tick.tick, expected - 1)));
        }
        missing += tick.tick - expected;
        last = Some(tick.tick);
        if !tick.has_shape_of(&shape) {
            return Err(lines.bad("a row has another length than the robot's contract says"));
        }
        ticks += 1;
        violations += tick.violations;
        transitions.extend(tick.transitions.iter().flatten().copied());
        if let Some(DrivenEpisode { episode, .. }) = reader.push(&tick) {
            if let Some(recorder) = &mut recorder {
                recorder.record(&episode)?;
            }
            episodes.push(episode);
        }
    }
    if let Some(recorder) = &mut recorder {
        recorder.finish()?;
    }
    if missing > 0 {
        output.note(&format!(
            "note: {missing} ticks are missing: the episodes in which they were are cut short"
        ));
    }
    let difference = args.against.as_deref().map(|with| first_difference(&episodes, with)).transpose()?;
    if output.json() {
        output.value(&serde_json::json!({
            "event": "replayed", "ticks": ticks, "missing_ticks": missing, "episodes": episodes.len(), "violations": violations,
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

/// Lines of a file of ticks.
struct Lines<'a> {
    path: &'a Path,
    reader: BufReader<File>,
    line: String,
    number: u64,
}

impl<'a> Lines<'a> {
    fn open(path: &'a Path) -> Result<Self, Failure> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { path, reader: BufReader::new(file), line: String::new(), number: 0 })
    }

    fn bad(&self, why: &str) -> Failure {
        anyhow!(
            "{}:{}: {why}\n\nhint: ticks come from `surefoot rollout --ticks FILE`; a file that was cut off ends in half a line: remove that line",
            self.path.display(),
            self.number
        )
        .into()
    }

    fn next<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        self.line.clear();
        self.number += 1;
        let read = (&mut self.reader).take(LONGEST_LINE).read_line(&mut self.line);
        match read {
            Ok(0) => Ok(None),
            Ok(n) if n as u64 == LONGEST_LINE => Err(self.bad("a line is too long to be a tick")),
            Ok(_) => serde_json::from_str(&self.line).map(Some).map_err(|e| self.bad(&e.to_string())),
            Err(e) => Err(self.bad(&e.to_string())),
        }
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
