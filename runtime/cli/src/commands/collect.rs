//! `surefoot collect`: source algorithms learn every task of a family, and their learning histories are written.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use surefoot_core::clock::Stopwatch;
use surefoot_core::{DataError, FamilyTask, HistoryMeta, LearningHistory, Stream, TaskFamily, TaskSplit};
use surefoot_datasets::history::{HistoryHeader, write_histories};
use surefoot_engine::collecting::{Beginning, Life, collect};
use surefoot_policies::SourceContext;
use surefoot_sim::FamilyContext;

use crate::args::CollectArgs;
use crate::commands::train::on_interrupt;
use crate::config::{CollectConfig, SourceSection, load_collect};
use crate::failure::{CommandResult, Failure, usage};
use crate::output::Output;

/// A plain progress line at most this often.
const PLAIN_EVERY: Duration = Duration::from_secs(15);
/// Where in a life its return is told: the first episode, a quarter, half, three quarters, the last.
const PLACES: usize = 5;

/// What a source learned, over all its histories.
#[derive(Clone, Debug, Serialize)]
struct Learned {
    algorithm: &'static str,
    histories: usize,
    steps: usize,
    /// Returns as a share of the optimal ones, at [`PLACES`] places of a life.
    share_of_optimal: [f64; PLACES],
    #[serde(skip)]
    optimal: f64,
}

/// Runs the verb.
pub fn run(args: &CollectArgs, output: Output) -> CommandResult {
    let CollectArgs { config: path, overrides, to, seed, threads } = args;
    let overrides: Vec<String> =
        overrides.iter().cloned().chain(seed.map(|seed| format!("seed={seed}"))).collect();
    let (config, _) = load_collect(path, &overrides)?;
    if to.exists() {
        let path = to.display();
        return Err(anyhow!("{path} exists and is not overwritten\n\nhint: choose another name").into());
    }
    let family = build(&config)?;
    let tasks: Vec<FamilyTask> = TaskSplit::ALL.iter().flat_map(|split| family.tasks(*split)).collect();
    let lives = lives(&config, &tasks)?;
    let begin = |life: &Life| -> Result<Beginning, Failure> {
        let context = SourceContext {
            family: family.clone(),
            params: tasks[life.task].params.clone(),
            episodes: life.episodes,
        };
        let source = config.source[life.source].algorithm.build(&context).map_err(usage)?;
        Ok(Beginning::new(source, &*family, &context.params)?)
    };
    // What cannot be is said before anything is written.
    let mut histories = 0;
    for index in 0..config.source.len() {
        let mut of_source = lives.iter().filter(|life| life.source == index);
        if let Some(life) = of_source.next() {
            histories += begin(life)?.source.streams() * (1 + of_source.count());
        }
    }
    let interrupt = on_interrupt()?;
    let threads =
        threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let meta = HistoryMeta {
        spec: family.spec().clone(),
        family: config.family.name().to_owned(),
        family_config: settings(&config.family, config.family.name())?,
        tasks: tasks.clone(),
        hash: String::new(),
    };
    let header = HistoryHeader::new(meta, serde_json::to_string(&config)?);
    let mut learned: Vec<Learned> = config.source.iter().map(Learned::nothing).collect();
    let mut progress = Progress::new(histories, output);
    let mut failure = None;
    let written = write_histories(to, &header, |writer| {
        let whole = collect(&lives, threads, begin, &interrupt, |life, history| -> Result<(), Failure> {
            writer.append(&history)?;
            learned[life.source].add(&tasks[life.task], &history);
            progress.lived(history.len());
            Ok(())
        });
        match whole {
            Ok(true) => Ok(()),
            Ok(false) => Err(DataError::Interrupted),
            Err(error) => {
                failure = Some(error);
                Err(DataError::Interrupted)
            }
        }
    });
    progress.finish();
    if let Some(failure) = failure {
        return Err(failure);
    }
    let written = match written {
        Err(DataError::Interrupted) => {
            return Err(Failure::Interrupted("nothing was written: run it again".into()));
        }
        other => other?,
    };
    for line in &mut learned {
        line.share_of_optimal.iter_mut().for_each(|x| *x /= line.optimal);
    }
    if output.json() {
        output.value(&serde_json::json!({
            "event": "collected", "path": written.path, "bytes": written.bytes, "hash": written.hash,
            "histories": written.histories, "steps": written.steps, "sources": learned,
        }));
    } else {
        output.line(&written.path.display().to_string());
        output.note(&format!(
            "{} histories, {} steps, {:.1} MB",
            written.histories,
            written.steps,
            written.bytes as f64 / 1e6
        ));
        for line in &learned {
            let shares: Vec<String> = line.share_of_optimal.iter().map(|x| format!("{x:.3}")).collect();
            output.note(&format!(
                "  {}: {} histories; share of the optimal return in the first episode, after a quarter, half, three quarters, and in the last: {}",
                line.algorithm,
                line.histories,
                shares.join(" ")
            ));
        }
    }
    Ok(())
}

/// Builds the family.
///
/// # Errors
/// When its settings cannot be used.
pub fn build(config: &CollectConfig) -> Result<Arc<dyn TaskFamily>, Failure> {
    Ok(Arc::from(config.family.build(&FamilyContext {}).map_err(usage)?))
}

/// The settings of a registry's choice without its name, JSON.
fn settings(choice: &impl Serialize, name: &str) -> Result<String, serde_json::Error> {
    let value = serde_json::to_value(choice)?;
    Ok(value.get(name).unwrap_or(&value).to_string())
}

/// Every life, by task, source and number.
fn lives(config: &CollectConfig, tasks: &[FamilyTask]) -> Result<Vec<Life>, Failure> {
    let splits: Vec<TaskSplit> = config.splits.iter().map(|s| s.task_split()).collect();
    let mut lives = Vec::new();
    let mut algorithms = Vec::new();
    for section in &config.source {
        algorithms.push(settings(&section.algorithm, section.algorithm.name())?);
    }
    for (task, _) in tasks.iter().enumerate().filter(|(_, t)| splits.contains(&t.split)) {
        for (source, section) in config.source.iter().enumerate() {
            let SourceSection { algorithm, histories_per_task, episodes, keep_every: [least, most] } =
                section;
            for stream in 0..*histories_per_task {
                let mut random = Stream::new(config.seed, "history", lives.len() as u64);
                lives.push(Life {
                    task,
                    stream: stream as u32,
                    seed: random.bits(),
                    episodes: *episodes,
                    keep_every: least + random.below(most - least + 1),
                    source,
                    algorithm: algorithm.algorithm().to_owned(),
                    algorithm_config: algorithms[source].clone(),
                });
            }
        }
    }
    if lives.is_empty() {
        return Err(usage(anyhow!("{} has no task in these splits", config.family.name())));
    }
    Ok(lives)
}

impl Learned {
    fn nothing(section: &SourceSection) -> Self {
        let algorithm = section.algorithm.algorithm();
        Self { algorithm, histories: 0, steps: 0, share_of_optimal: [0.0; PLACES], optimal: 0.0 }
    }

    fn add(&mut self, task: &FamilyTask, history: &LearningHistory) {
        let returns = history.episode_returns();
        self.histories += 1;
        self.steps += history.len();
        self.optimal += f64::from(task.optimal_return);
        for (place, sum) in self.share_of_optimal.iter_mut().enumerate() {
            let at = returns.len().saturating_sub(1) * place / (PLACES - 1);
            *sum += returns.get(at).copied().map_or(0.0, f64::from);
        }
    }
}

/// What a person sees meanwhile.
struct Progress {
    output: Output,
    bar: Option<ProgressBar>,
    count: usize,
    done: usize,
    steps: usize,
    watch: Stopwatch,
    since_line: Stopwatch,
}

impl Progress {
    fn new(count: usize, output: Output) -> Self {
        let bar = output.bars().then(|| {
            let bar = ProgressBar::new(count as u64);
            if let Ok(style) = ProgressStyle::with_template("{bar:24} {percent:3} % {msg}  eta {eta}") {
                bar.set_style(style);
            }
            bar
        });
        Self {
            output,
            bar,
            count,
            done: 0,
            steps: 0,
            watch: Stopwatch::start(),
            since_line: Stopwatch::start(),
        }
    }

    fn lived(&mut self, steps: usize) {
        self.done += 1;
        self.steps += steps;
        let text = || {
            let rate = self.steps as f64 / self.watch.elapsed().as_secs_f64().max(1e-3);
            format!("histories {} of {}  kept steps {} ({rate:.0}/s)", self.done, self.count, self.steps)
        };
        if let Some(bar) = &self.bar {
            bar.set_position(self.done as u64);
            bar.set_message(text());
        } else if self.since_line.elapsed() >= PLAIN_EVERY {
            if self.output.json() {
                self.output.value(&serde_json::json!({
                    "event": "progress", "histories": self.done, "of": self.count, "steps": self.steps,
                }));
            } else {
                self.output.note(&format!("  {}", text()));
            }
            self.since_line = Stopwatch::start();
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
