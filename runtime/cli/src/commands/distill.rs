//! `surefoot distill`: a policy that learns in context, out of learning histories.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use serde::{Deserialize, Serialize};
use surefoot_core::clock::Stopwatch;
use surefoot_core::{ActMode, FamilyTask, PolicyArtifact, TaskSplit};
use surefoot_engine::in_context::{
    ArmEvidence, Distillation, DistillationEnd, DistillationParts, DistillationProgress, Evidence,
    EvidenceScale, Judged, LifeConfig, Living, PolicyLife, PromptedLife, SourceLife, SplitLives,
    ValidationPoint, evidence_page, evidence_table, judge,
};
use surefoot_engine::run_dir::{read_config, read_json, write_atomic};
use surefoot_engine::{EngineError, Interrupt, RunDir};
use surefoot_policies::in_context::Distiller;

use super::eval::read_policy;
use super::train::{identity, on_interrupt};
use crate::args::DistillArgs;
use crate::composition::{Learnt, kept_back, learnt, unfit};
use crate::config::{DistillConfig, HistoriesConfig, LoadedDistill, arms, load_distill, parse_distill};
use crate::failure::{CommandResult, Failure, usage};
use crate::output::Output;

/// A line of progress at most this often.
const LINE_EVERY: Duration = Duration::from_secs(15);
const RESULTS: &str = "results.json";

/// What a distillation found.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DistillResults {
    /// Numbers in the transformer.
    parameters: usize,
    /// Steps of the histories that it learnt from.
    steps: usize,
    /// Judgements on the way.
    validation: Vec<ValidationPoint>,
    /// The one whose policy this is.
    best: Option<ValidationPoint>,
    /// Lives of the policy on tasks that it has not seen.
    lives: Vec<SplitLives>,
    /// The same, after a demonstration.
    prompted: Vec<Prompted>,
    /// Hash of its weights, which lives do not change.
    weights_blake3: String,
}

/// Lives that began with a demonstration.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Prompted {
    /// Part of the source's life that it is from.
    part: f64,
    /// What they brought.
    lives: SplitLives,
}

impl DistillResults {
    /// As arms: the lives, and those after each demonstration.
    fn arms(found: Vec<Self>, name: &str) -> Vec<ArmEvidence> {
        let mut alone = ArmEvidence { name: name.to_owned(), models: Vec::new() };
        let mut after: Vec<ArmEvidence> = Vec::new();
        for results in found {
            alone.models.push(results.lives);
            for Prompted { part, lives } in results.prompted {
                let name = format!("{name}, shown {part}");
                match after.iter_mut().find(|arm| arm.name == name) {
                    Some(arm) => arm.models.push(vec![lives]),
                    None => after.push(ArmEvidence { name, models: vec![vec![lives]] }),
                }
            }
        }
        after.insert(0, alone);
        after
    }
}

/// Runs the verb.
pub fn run(args: &DistillArgs, output: Output) -> CommandResult {
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    if !(1..=1024).contains(&threads) {
        return Err(usage(anyhow!("--threads {threads}: expected 1 to 1024")));
    }
    let interrupt = on_interrupt()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let work = Work { interrupt: &interrupt, threads, output };
    pool.install(|| if args.arms { side_by_side(args, &work) } else { one(args, &work) })
}

/// Looks at a distillation and its arms, without living or training anything.
///
/// # Errors
/// When a setting cannot be used.
pub fn check(file: &Path, overrides: &[String]) -> CommandResult {
    for (_, runs) in arms(file, overrides, &[0], false)? {
        for (_, loaded) in runs {
            loaded.config.distiller().check().map_err(usage)?;
        }
    }
    Ok(())
}

/// What distillations are made with.
pub struct Work<'a> {
    /// Ends them.
    pub interrupt: &'a Interrupt,
    /// Threads of an update.
    pub threads: usize,
    /// Where words go.
    pub output: Output,
}

/// Histories that were lived, for which seed and by which settings.
pub type Lived = Option<(u64, HistoriesConfig, Learnt)>;

fn one(args: &DistillArgs, work: &Work<'_>) -> CommandResult {
    let (path, config, histories) = if args.what.join("run.json").is_file() {
        if !args.overrides.is_empty() || args.run_dir.is_some() {
            return Err(usage(anyhow!("a run goes on with its own settings, in its own directory")));
        }
        let text = read_config(&args.what)?;
        let origin = args.what.join("config.toml").display().to_string();
        let loaded = parse_distill(&text, &origin, &[])?;
        let histories = learnt(&loaded.config.histories, loaded.config.seed, work.interrupt)?;
        work.go_on(&loaded.config, &args.what, &histories)?;
        (args.what.clone(), loaded.config, histories)
    } else {
        let loaded = load_distill(&args.what, &args.overrides)?;
        let histories = learnt(&loaded.config.histories, loaded.config.seed, work.interrupt)?;
        let path = work.begin(&loaded, &args.runs, args.run_dir.as_deref(), &histories)?;
        (path, loaded.config, histories)
    };
    let found: DistillResults = read_json(&path.join(RESULTS), "the results of a distillation")?;
    let mut all = DistillResults::arms(vec![found], "ad");
    all.extend(work.references(&config, &histories)?);
    work.write(&config, &histories, &all, &path)
}

fn side_by_side(args: &DistillArgs, work: &Work<'_>) -> CommandResult {
    let config = load_distill(&args.what, &args.overrides)?.config;
    let directory = args.to.clone().unwrap_or_else(|| PathBuf::from("bench").join(&config.name));
    let every = arms(&args.what, &args.overrides, &args.seeds, args.splits)?;
    let mut all = Vec::new();
    let mut histories: Lived = None;
    for (name, runs) in &every {
        let mut models = Vec::new();
        for (place, loaded) in runs {
            let path = directory.join(place);
            if args.report_only && !path.join(RESULTS).exists() {
                work.output.note(&format!("note: {} is not finished and is left out", path.display()));
                continue;
            }
            work.train(loaded, &path, &mut histories)?;
            let found: DistillResults = read_json(&path.join(RESULTS), "the results of a distillation")?;
            models.push(found);
        }
        all.extend(DistillResults::arms(models, name));
    }
    // The tasks are the same for all seeds, or each one's own.
    let of_ad = every.first().map_or(&[][..], |(_, runs)| runs);
    let mut references: Vec<ArmEvidence> = Vec::new();
    for (_, loaded) in &of_ad[..if args.splits { of_ad.len() } else { of_ad.len().min(1) }] {
        let found = work.references(&config, lived(&mut histories, &loaded.config, work)?)?;
        for arm in found {
            match references.iter_mut().find(|a| a.name == arm.name) {
                Some(known) => known.models.extend(arm.models),
                None => references.push(arm),
            }
        }
    }
    all.extend(references);
    let histories = lived(&mut histories, &config, work)?;
    work.write(&config, histories, &all, &directory)
}

/// The histories that a run learns from: those of the run before it where they are the same.
fn lived<'a>(held: &'a mut Lived, config: &DistillConfig, work: &Work<'_>) -> Result<&'a Learnt, Failure> {
    let (seed, how) = (config.seed, &config.histories);
    let (.., histories) = match held.take().filter(|(of, by, _)| *of == seed && by == how) {
        Some(same) => held.insert(same),
        None => held.insert((seed, how.clone(), learnt(how, seed, work.interrupt)?)),
    };
    Ok(histories)
}

impl Work<'_> {
    /// Sees to it that the run of these settings in this directory is finished: one that is there goes on. Histories that it learns from
    /// are lived where they are not there yet.
    ///
    /// # Errors
    /// When the directory holds a run with other settings, and as a distillation.
    pub fn train(&self, loaded: &LoadedDistill, path: &Path, histories: &mut Lived) -> CommandResult {
        if path.exists() && read_config(path)? != loaded.resolved {
            return Err(usage(anyhow!(
                "{} holds a run with other settings\n\nhint: put arms side by side in another directory with --to, or remove it",
                path.display()
            )));
        }
        if path.join(RESULTS).exists() {
            return Ok(());
        }
        let histories = lived(histories, &loaded.config, self)?;
        self.output.note(&format!("run {}", path.display()));
        if path.exists() {
            self.go_on(&loaded.config, path, histories)
        } else {
            self.begin(loaded, Path::new(""), Some(path), histories).map(|_| ())
        }
    }

    fn parts<'a>(
        &self,
        config: &DistillConfig,
        Learnt { histories, family, .. }: &'a Learnt,
    ) -> Result<(DistillationParts<'a>, usize, usize), Failure> {
        let tasks = &histories.meta().tasks;
        let evaluation = &config.evaluation;
        let (validation, without) = kept_back(tasks, evaluation.validation_tasks, config.seed)?;
        let distiller =
            Distiller::new(&config.distiller(), &**histories, &without, config.seed, self.threads)
                .map_err(usage)?;
        let (parameters, steps) = (distiller.parameters(), distiller.steps());
        let parts = DistillationParts {
            learner: Box::new(distiller),
            family: &**family,
            validation,
            lives: evaluation.validation,
            every_updates: evaluation.every_updates,
            log_every_updates: evaluation.log_every_updates,
        };
        Ok((parts, parameters, steps))
    }

    fn begin(
        &self,
        loaded: &LoadedDistill,
        runs: &Path,
        run_dir: Option<&Path>,
        histories: &Learnt,
    ) -> Result<PathBuf, Failure> {
        let config = &loaded.config;
        if let Some(path) = run_dir.filter(|p| p.exists()) {
            return Err(EngineError::RunExists { path: path.to_owned() }.into());
        }
        let (parts, parameters, steps) = self.parts(config, histories)?;
        let meta = histories.histories.meta();
        let datasets = [(meta.family.clone(), meta.hash.clone())].into();
        let info = identity(&config.name, config.seed, datasets, meta.spec.contract_hash.clone());
        let run = match run_dir {
            Some(path) => RunDir::create_at(path, &loaded.resolved, &info)?,
            None => RunDir::create(runs, &loaded.resolved, info)?,
        };
        let path = run.path().to_owned();
        self.output.note(&format!(
            "run directory {}: {parameters} parameters, {} histories of {steps} steps",
            path.display(),
            histories.histories.len()
        ));
        self.see_through(config, Distillation::begin(parts, run)?, histories, [parameters, steps])?;
        Ok(path)
    }

    fn go_on(&self, config: &DistillConfig, path: &Path, histories: &Learnt) -> CommandResult {
        if path.join(RESULTS).exists() {
            return Ok(());
        }
        let (parts, parameters, steps) = self.parts(config, histories)?;
        let distillation = Distillation::resume(parts, RunDir::open(path)?)?;
        self.see_through(config, distillation, histories, [parameters, steps])
    }

    fn see_through(
        &self,
        config: &DistillConfig,
        mut distillation: Distillation<'_>,
        histories: &Learnt,
        [parameters, steps]: [usize; 2],
    ) -> CommandResult {
        let path = distillation.run_dir().path().to_owned();
        let mut progress = Said { output: self.output, clock: Stopwatch::start(), tokens: 0, best: None };
        let again = || {
            Failure::Interrupted(format!(
                "state is saved; continue with `surefoot distill {}`",
                path.display()
            ))
        };
        let cut = |error: EngineError| match error {
            EngineError::Interrupted => again(),
            other => other.into(),
        };
        match distillation.run(self.interrupt, &mut |p| progress.say(p)) {
            Ok(DistillationEnd::Finished) => {}
            Ok(DistillationEnd::Interrupted) => return Err(again()),
            Err(error) => return Err(error.into()),
        }
        let (artifact, _) = read_policy(&path)?;
        let mut lives = Vec::new();
        for split in [TaskSplit::TestIn, TaskSplit::TestOod] {
            let tasks = histories.family.tasks(split);
            if tasks.is_empty() {
                continue;
            }
            let judged =
                self.lives(&artifact, histories, &tasks, config.evaluation.test, None).map_err(cut)?;
            lives.push(SplitLives { split, tasks: judged });
        }
        let mut prompted = Vec::new();
        let tasks = histories.family.tasks(TaskSplit::TestIn);
        for part in &config.evaluation.prompts {
            let judged =
                self.lives(&artifact, histories, &tasks, config.evaluation.test, Some(*part)).map_err(cut)?;
            prompted.push(Prompted {
                part: *part,
                lives: SplitLives { split: TaskSplit::TestIn, tasks: judged },
            });
        }
        let state = distillation.state();
        let (validation, best) = (state.validation.clone(), state.best);
        let weights_blake3 = blake3::hash(&artifact.weights).to_hex().to_string();
        let results = DistillResults { parameters, steps, validation, best, lives, prompted, weights_blake3 };
        Ok(distillation.run_dir().write_json(RESULTS, &results)?)
    }

    fn lives(
        &self,
        artifact: &PolicyArtifact,
        histories: &Learnt,
        tasks: &[FamilyTask],
        config: LifeConfig,
        shown: Option<f64>,
    ) -> Result<Vec<Judged>, EngineError> {
        let make = |task: &FamilyTask| -> Result<Box<dyn Living>, EngineError> {
            let policy = surefoot_policies::load_policy(artifact, 1)?;
            let policy = PolicyLife::new(policy, ActMode::Exploit);
            Ok(match shown {
                Some(part) => Box::new(PromptedLife::new(policy, histories.shown(task, part)?)),
                None => Box::new(policy),
            })
        };
        judge(&make, &*histories.family, tasks, config, self.interrupt)
    }

    /// The source and somebody who knows the task, on the same tasks.
    fn references(&self, config: &DistillConfig, histories: &Learnt) -> Result<Vec<ArmEvidence>, Failure> {
        let Learnt { family, teacher, .. } = histories;
        let test = config.evaluation.test;
        let mut source = Vec::new();
        let mut oracle = Vec::new();
        for split in [TaskSplit::TestIn, TaskSplit::TestOod] {
            let tasks = family.tasks(split);
            if tasks.is_empty() {
                continue;
            }
            let learner = |task: &FamilyTask| -> Result<Box<dyn Living>, EngineError> {
                let built = teacher.build(family, task).map_err(|e| unfit(&e))?;
                Ok(Box::new(SourceLife(built)))
            };
            let whole = LifeConfig { episodes: teacher.episodes, ..test };
            let judged = judge(&learner, &**family, &tasks, whole, self.interrupt)?;
            source.push(SplitLives { split, tasks: judged });
            if tasks.iter().all(|t| family.oracle(&t.params).is_some()) {
                let knows = |task: &FamilyTask| -> Result<Box<dyn Living>, EngineError> {
                    family
                        .oracle(&task.params)
                        .map(|o| Box::new(SourceLife(o)) as Box<dyn Living>)
                        .ok_or(EngineError::Interrupted)
                };
                let judged = judge(
                    &knows,
                    &**family,
                    &tasks,
                    LifeConfig { episodes: test.episodes.min(4), ..test },
                    self.interrupt,
                )?;
                oracle.push(SplitLives { split, tasks: judged });
            }
        }
        let arm = |name: &str, lives| ArmEvidence { name: name.into(), models: vec![lives] };
        let mut all = vec![arm("source", source), arm("oracle", oracle)];
        for part in &config.evaluation.prompts {
            let mut tasks = Vec::new();
            for task in family.tasks(TaskSplit::TestIn) {
                let shown = histories.shown(&task, *part)?;
                let returns = shown.episode_returns();
                let mean = returns.iter().map(|r| f64::from(*r)).sum::<f64>() / returns.len().max(1) as f64;
                tasks.push(Judged { task, returns: vec![mean] });
            }
            let lives = SplitLives { split: TaskSplit::TestIn, tasks };
            all.push(arm(&format!("what is shown {part}"), vec![lives]));
        }
        Ok(all)
    }

    fn write(
        &self,
        config: &DistillConfig,
        histories: &Learnt,
        all: &[ArmEvidence],
        directory: &Path,
    ) -> CommandResult {
        // It is a share of the optimal return.
        let evaluation = &config.evaluation;
        let ceiling = match evaluation.scale {
            EvidenceScale::Optimal => histories.family.search_ceiling(),
            EvidenceScale::Source => None,
        };
        let evidence = Evidence::of(&config.name, evaluation.scale, evaluation.test.curve, ceiling, all)?;
        let table = evidence_table(&evidence);
        let json = serde_json::to_vec_pretty(&evidence)?;
        for (name, bytes) in [
            ("evidence.json", json.as_slice()),
            ("table.md", table.as_bytes()),
            ("report.html", evidence_page(&evidence, &[]).as_bytes()),
        ] {
            write_atomic(&directory.join(name), bytes)?;
        }
        if self.output.json() {
            self.output.value(&serde_json::json!({ "event": "distilled", "evidence": evidence }));
        } else {
            self.output.text(&table);
        }
        self.output.note(&format!("report {}", directory.join("report.html").display()));
        Ok(())
    }
}

/// Progress, in lines.
struct Said {
    output: Output,
    clock: Stopwatch,
    tokens: u64,
    best: Option<ValidationPoint>,
}

impl Said {
    fn say(&mut self, p: &DistillationProgress<'_>) {
        let DistillationProgress { updates, planned, tokens, metrics, judged } = p;
        self.tokens += tokens;
        let secs = self.clock.elapsed().as_secs_f64();
        if judged.is_none() && secs < LINE_EVERY.as_secs_f64() {
            return;
        }
        let per_sec = self.tokens as f64 / secs.max(1e-9);
        let left = (planned - updates) as f64 * *tokens as f64 / per_sec.max(1e-9);
        let figure = |name: &str| metrics.get(name).unwrap_or(f64::NAN);
        let mut line = format!(
            "  {updates}/{planned} updates  loss {:.3}  accuracy {:.1} % ({:.1} % where an action changes)  {:.0} k tokens/s  {:.0} s left",
            figure("train/loss"),
            100.0 * figure("train/accuracy"),
            100.0 * figure("train/accuracy_of_changes"),
            per_sec / 1000.0,
            left
        );
        if let Some(point) = judged {
            if self.best.is_none_or(|b| point.score > b.score) {
                self.best = Some(*point);
            }
            let best =
                self.best.map_or(String::new(), |b| format!(" (best {:.3} at {})", b.score, b.updates));
            line += &format!("  in context {:.3}{best}", point.score);
        }
        if self.output.json() {
            self.output.value(&serde_json::json!({
                "event": "distill_progress", "updates": updates, "planned": planned, "tokens_per_s": per_sec,
                "loss": figure("train/loss"), "in_context": judged.map(|j| j.score),
            }));
        } else {
            self.output.note(&line);
        }
        (self.clock, self.tokens) = (Stopwatch::start(), 0);
    }
}
