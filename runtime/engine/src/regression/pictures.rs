//! What can be seen of a change: the golden state beside the present one, and the signal that parted first.
//!
//! The golden file holds states and no pictures: a world is put into each and drawn, so the pictures cost nothing in the repository.

use surefoot_core::{Frame, RobotState};

use super::episode::EpisodeRecord;
use super::golden::Recorded;
use super::runner::{Episodes, Role, episode_seeds};
use super::scenario::{Parts, Scenario};
use super::suite::Different;
use super::tolerance::Divergence;
use super::trace::{Table, Trace};
use crate::{EngineError, Interrupt};

const WIDTH: usize = 360;
const HEIGHT: usize = 270;
/// Episodes that only the baseline solved, of which pictures are drawn.
const LOST: usize = 2;

/// A moment on both sides.
pub struct Picture {
    /// What is seen.
    pub caption: String,
    /// As it was.
    pub golden: Option<Frame>,
    /// As it is.
    pub now: Option<Frame>,
}

/// A signal on both sides.
pub struct SignalCurve {
    /// Which one.
    pub signal: String,
    /// Time between two values, s.
    pub period_secs: f64,
    /// The row in which they part.
    pub at: usize,
    /// As it was.
    pub golden: Vec<f32>,
    /// As it is.
    pub now: Vec<f32>,
}

/// What can be seen of a scenario's change; empty where there is nothing to see.
#[derive(Default)]
pub struct Pictures {
    /// Moments, in order of time.
    pub moments: Vec<Picture>,
    /// The signal that parted first.
    pub curve: Option<SignalCurve>,
}

/// What pictures are made of.
#[derive(Default)]
pub struct Evidences {
    diverged: Option<(u64, Option<Divergence>, Trace, Trace)>,
    lost: Vec<(usize, u64)>,
}

impl Evidences {
    /// An episode that is another one than the golden one.
    pub fn diverged(&mut self, different: &Different, golden: &Recorded, now: &Episodes) {
        let place = different.index;
        if let (Some(old), Some((record, Some(new)))) = (golden.traces.get(place), now.get(place)) {
            self.diverged = Some((record.seed, different.divergence.clone(), old.clone(), new.clone()));
        }
    }

    /// Episodes that only the baseline solved.
    pub fn lost(&mut self, pairs: &[(EpisodeRecord, EpisodeRecord)]) {
        let lost = pairs.iter().filter(|(b, n)| b.success && !n.success);
        self.lost = lost.map(|(_, n)| (n.episode, n.seed)).take(LOST).collect();
    }

    /// Draws them.
    ///
    /// # Errors
    /// When a world cannot be built, or an episode cannot be run again.
    pub fn draw(self, scenario: &Scenario, interrupt: &Interrupt) -> Result<Pictures, EngineError> {
        let mut pictures = Pictures::default();
        if let Some((seed, divergence, golden, now)) = self.diverged {
            // Of the action that a step begins with: what comes of it is seen at the step's end.
            let (ticks, steps) = (&now.ticks, &now.steps);
            let tick = |step: usize| {
                let secs = steps.begins_secs + step as f64 * steps.period_secs;
                (secs / ticks.period_secs).round() as usize
            };
            let parts_at =
                divergence.as_ref().map_or(0, |d| if d.unit == "tick" { d.at } else { tick(d.at + 1) });
            let last = golden.ticks.rows().max(now.ticks.rows()).saturating_sub(1);
            let parts_at = parts_at.min(last);
            let mut moments =
                vec![("where they part", parts_at), ("later", (parts_at + last) / 2), ("at the end", last)];
            moments.dedup_by_key(|(_, tick)| *tick);
            for (words, tick) in moments {
                let secs = (tick + 1) as f64 * now.ticks.period_secs;
                let [golden, now] = [&golden.ticks, &now.ticks]
                    .map(|table| state_at(table, tick).and_then(|s| draw(&*scenario.now.parts, seed, &s)));
                if golden.is_some() || now.is_some() {
                    pictures.moments.push(Picture { caption: format!("{words}, {secs:.2} s"), golden, now });
                }
            }
            pictures.curve = divergence.and_then(|d| curve(&d, &golden, &now));
        }
        for (episode, seed) in self.lost {
            let end = |role: Role, parts: &dyn Parts| -> Result<Option<Frame>, EngineError> {
                let stage = scenario.stage(parts)?;
                let (_, trace, _) = stage.run(episode, episode_seeds(scenario, role, episode), interrupt)?;
                let last = trace.ticks.rows().saturating_sub(1);
                Ok(state_at(&trace.ticks, last).and_then(|s| draw(parts, seed, &s)))
            };
            let golden = match &scenario.baseline {
                Some(baseline) => end(Role::Baseline, &*baseline.parts)?,
                None => None,
            };
            let now = end(Role::Now, &*scenario.now.parts)?;
            if golden.is_some() || now.is_some() {
                let caption =
                    format!("the end of episode {episode} (seed {seed}), which only the baseline solved");
                pictures.moments.push(Picture { caption, golden, now });
            }
        }
        Ok(pictures)
    }
}

fn curve(divergence: &Divergence, golden: &Trace, now: &Trace) -> Option<SignalCurve> {
    let pick =
        |trace: &Trace| if divergence.unit == "tick" { trace.ticks.clone() } else { trace.steps.clone() };
    let (golden, now) = (pick(golden), pick(now));
    let signal = golden.signals.iter().position(|s| *s == divergence.signal)?;
    Some(SignalCurve {
        signal: divergence.signal.clone(),
        period_secs: golden.period_secs,
        at: divergence.at,
        golden: golden.column(signal).collect(),
        now: now.column(signal).collect(),
    })
}

/// The robot's state in a row, the last one where there is none; `None` where it is not one of numbers.
fn state_at(table: &Table, row: usize) -> Option<RobotState> {
    let row = table.row(row.min(table.rows().checked_sub(1)?));
    let of = |kind: &str| -> Vec<f64> {
        let named = table.signals.iter().zip(row).filter(|(name, _)| name.starts_with(kind));
        named.map(|(_, value)| f64::from(*value)).collect()
    };
    let state = RobotState { position: of("position/"), velocity: of("velocity/"), channels: of("channel/") };
    state.is_finite().then_some(state)
}

/// A world in a state, with what its task drew for this seed; `None` where it cannot be put there or not be drawn.
fn draw(parts: &dyn Parts, seed: u64, state: &RobotState) -> Option<Frame> {
    let (mut task, mut world) = parts.env().ok()?.into_robot()?;
    let mut initial = RobotState::zeros(world.contract());
    task.begin_episode(seed, &mut initial);
    world.reset(state).ok()?;
    world.render(&task.markers(), WIDTH, HEIGHT)
}
