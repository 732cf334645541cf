//! What a person, or a program, sees of a run while it goes on.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use surefoot_core::clock::Stopwatch;
use surefoot_engine::{Event, Observer, Progress};

use crate::output::Output;

/// A plain progress line at most this often.
const PLAIN_EVERY: Duration = Duration::from_secs(15);

/// Turns events into a bar on a terminal, lines elsewhere, NDJSON on request.
pub struct Reporter {
    output: Output,
    bar: Option<ProgressBar>,
    since_line: Stopwatch,
}

impl Reporter {
    /// A reporter for this output.
    pub fn new(output: Output) -> Self {
        Self { output, bar: None, since_line: Stopwatch::start() }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.note(line)),
            None => self.output.note(line),
        }
    }

    fn progress(&mut self, progress: &Progress) {
        let text = describe(progress);
        if let Some(bar) = &self.bar {
            bar.set_position((progress.fraction * 1000.0) as u64);
            bar.set_message(text);
        } else if self.since_line.elapsed() >= PLAIN_EVERY {
            self.since_line = Stopwatch::start();
            self.output.note(&format!("  {:3.0} % {text}", progress.fraction * 100.0));
        }
    }
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
