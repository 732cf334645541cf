//! What a person, or a program, sees of a run while it goes on.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use surefoot_core::ActorStatus;
use surefoot_core::clock::Stopwatch;
use surefoot_engine::{Activity, Event, Observer, Progress};

use crate::output::Output;

/// A plain progress line at most this often.
const PLAIN_EVERY: Duration = Duration::from_secs(15);

/// Turns events into a bar on a terminal, lines elsewhere, NDJSON on request.
pub struct Reporter {
    output: Output,
    bar: Option<ProgressBar>,
    since_line: Stopwatch,
    /// The actors of a run, in a few words, and who of them was there.
    fleet: Option<(String, Vec<String>, Option<String>)>,
}

impl Reporter {
    /// A reporter for this output.
    pub fn new(output: Output) -> Self {
        Self { output, bar: None, since_line: Stopwatch::start(), fleet: None }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.note(line)),
            None => self.output.note(line),
        }
    }

    fn progress(&mut self, progress: &Progress) {
        let mut text = describe(progress);
        if let Some((words, ..)) = self.fleet.as_ref().filter(|_| progress.activity == Activity::Collecting) {
            text = format!("{text}  {words}");
        }
        if let Some(bar) = &self.bar {
            bar.set_position((progress.fraction * 1000.0) as u64);
            bar.set_message(text);
        } else if self.since_line.elapsed() >= PLAIN_EVERY {
            self.since_line = Stopwatch::start();
            self.output.note(&format!("  {:3.0} % {text}", progress.fraction * 100.0));
        }
    }
}

/// An actor in a line.
fn actor_line(actor: &ActorStatus) -> String {
    let ActorStatus {
        name,
        connected,
        episodes,
        env_steps,
        duplicates,
        refused,
        policy_version,
        idle_secs,
        spooled,
    } = actor;
    let mut text = format!(
        "  {name}: {}, {episodes} episodes ({env_steps} env steps)",
        if *connected { "there" } else { "gone" }
    );
    let mut add = |part: String| {
        text.push_str(", ");
        text.push_str(&part);
    };
    if let Some(version) = policy_version {
        add(format!("by the policy of {version} updates"));
    }
    if let Some(secs) = idle_secs {
        add(format!("newest {secs:.0} s ago"));
    }
    for (count, what) in [(spooled, "in its spool"), (duplicates, "came twice"), (refused, "refused")] {
        if *count > 0 {
            add(format!("{count} {what}"));
        }
    }
    text
}

fn describe(p: &Progress) -> String {
    let mut text = format!("{:?}", p.activity).to_lowercase();
    let mut add = |part: String| {
        text.push_str("  ");
        text.push_str(&part);
    };
    add(format!("updates {} ({:.0}/s)", p.updates, p.updates_per_sec));
    if p.env_steps > 0 {
        add(format!("env steps {} ({:.0}/s)", p.env_steps, p.env_steps_per_sec));
    }
    if let Some(value) = p.return_mean {
        add(format!("return {value:.1}"));
    }
    if let Some(value) = p.success_rate {
        add(format!("success {:.0} %", value * 100.0));
    }
    if let Some(value) = p.filter_active_pct {
        add(format!("filter {value:.1} %"));
    }
    if let Some(value) = p.stage_eta_secs {
        add(format!("eta {value:.0} s"));
    }
    text
}

impl Observer for Reporter {
    fn event(&mut self, event: &Event) {
        if self.output.json() {
            self.output.value(event);
            return;
        }
        match event {
            Event::StageStarted { stage, algorithm, index, stages, resumed, .. } => {
                let again = if *resumed { " (resumed)" } else { "" };
                self.say(&format!("[{}/{stages}] {stage}: {algorithm}{again}", index + 1));
                self.since_line = Stopwatch::start();
                if self.output.bars() {
                    let bar = ProgressBar::new(1000);
                    if let Ok(style) = ProgressStyle::with_template("{bar:24} {percent:3} % {msg}") {
                        bar.set_style(style);
                    }
                    self.bar = Some(bar);
                }
            }
            Event::Progress(progress) => self.progress(progress),
            Event::Fleet { stored, taken, actors, trouble } => {
                let there: Vec<String> =
                    actors.iter().filter(|a| a.connected).map(|a| a.name.clone()).collect();
                let changed = self.fleet.as_ref().is_none_or(|(_, was, of)| *was != there || of != trouble);
                if changed {
                    actors.iter().for_each(|actor| self.say(&actor_line(actor)));
                    if let Some(trouble) = trouble {
                        self.say(&format!("  episodes cannot be kept at present: {trouble}"));
                    }
                }
                let words = format!("actors {}, {} episodes wait", there.len(), stored - taken.min(stored));
                self.fleet = Some((words, there, trouble.clone()));
            }
            Event::Evaluated { updates, env_steps, evaluation: e, .. } => self.say(&format!(
                "  evaluated at {updates} updates, {env_steps} env steps: success {:.0} % [{:.0}, {:.0}], return {:.1}",
                e.success_rate * 100.0,
                e.wilson_low * 100.0,
                e.wilson_high * 100.0,
                e.return_mean
            )),
            Event::LimitsActed { env_steps, counts, .. } => {
                self.say(&format!("  limits acted before {env_steps} env steps: {}", counts.words().join(", ")));
            }
            Event::PromotionRefused { updates, refusal, .. } => {
                self.say(&format!("  policy of {updates} updates was not let through: {refusal}"));
            }
            Event::RolledBack { from_updates, to_updates, record, trial, .. } => self.say(&format!(
                "  rolled back from {from_updates} to {to_updates} updates: {} of {} episodes solved, {} of {} before",
                trial.0, trial.1, record.0, record.1
            )),
            Event::RobotAtRest { cadence: Some(cadence), dropped_ticks, .. } => {
                for line in cadence.to_string().lines() {
                    self.say(&format!("  {line}"));
                }
                if *dropped_ticks > 0 {
                    self.say(&format!("  {dropped_ticks} ticks were not read in time: their episodes were cut short"));
                }
            }
            Event::EnvNote { note } => self.say(&format!("note: {note}")),
            Event::EnvLost { reason, .. } => {
                self.say(&format!("  the environment was lost ({reason}); its episodes are dropped and run again"));
            }
            Event::StageFinished { stopped_early_at, wall_secs, .. } => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
                if let Some(updates) = stopped_early_at {
                    self.say(&format!("  stopped early: held-out demonstrations were best at {updates} updates"));
                }
                self.say(&format!("  took {wall_secs:.1} s"));
            }
            Event::Finished { .. } => {
                if let Some(bar) = self.bar.take() {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }
}
