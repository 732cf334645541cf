//! `surefoot demo --adapt`: an arm whose actuators are plugged in anew, driven through the control loop by a frozen policy that finds out which joint each
//! of them moves, beside one without memory. Tasks that have no robot for a control loop to command are lived in their environment.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde::Serialize;
use surefoot_core::clock::Stopwatch;
use surefoot_core::{ActMode, FamilyTask, Policy, TaskFamily, TaskSplit};
use surefoot_engine::EngineError;
use surefoot_engine::in_context::{
    ArmEvidence, Evidence, EvidenceScale, LifeConfig, LifeCurve, Living, PolicyLife, SplitEvidence,
    SplitLives, evidence_page, judge, judge_driven,
};
use surefoot_engine::run_dir::write_atomic;
use surefoot_safety::SafetyCounts;

use super::distill::{Lived, Work};
use super::eval::read_policy;
use super::train::on_interrupt;
use crate::args::DemoArgs;
use crate::composition::family;
use crate::config::parse_arms;
use crate::failure::{CommandResult, Failure};
use crate::output::Output;

/// The experiment; it is also a file to learn from.
const CONFIG: &str = include_str!("../../../../configs/distill/actuator_scramble.toml");
const ORIGIN: &str = "configs/distill/actuator_scramble.toml";
/// Arms of the experiment, and what they are called here; the first one learns.
const ARMS: [(&str, &str); 2] = [("ad", "learns in context"), ("memoryless", "no memory")];
/// What the late tries must bring on new tasks, as a share of what somebody gets who knows what is hidden.
const BAR: f64 = 0.75;
/// Of the lives that are shown.
const SEED: u64 = 30_011;

/// What the demonstration found.
#[derive(Debug, Serialize)]
struct Adapted {
    evidence: Evidence,
    safety: SafetyCounts,
    cut_short: u64,
    met: bool,
}

/// Runs the verb.
pub fn run(args: &DemoArgs, output: Output) -> CommandResult {
    let clock = Stopwatch::start();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let interrupt = on_interrupt()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let work = Work { interrupt: &interrupt, threads, output };
    let directory = args.runs.join(format!("adapt-s{}", args.seed));
    let adapted = pool.install(|| adapt(args, &directory, &work))?;
    let page = write(&adapted, &directory)?;
    tell(&adapted, &page, clock.elapsed().as_secs_f64(), output);
    if adapted.met {
        Ok(())
    } else {
        Err(anyhow!("it does not adapt as well as it should: {}", bar()).into())
    }
}

fn bar() -> String {
    format!(
        "the bar is {:.0} % of what somebody gets who knows what is hidden, in the last quarter of the tries on new tasks, the whole interval \
         above that of the other policy, and no limit violation",
        100.0 * BAR
    )
}

fn adapt(args: &DemoArgs, directory: &Path, work: &Work<'_>) -> Result<Adapted, Failure> {
    let runs = parse_arms(CONFIG, ORIGIN, &args.overrides, &[args.seed], false)?;
    let mut histories: Lived = None;
    let mut arms = Vec::new();
    let (mut safety, mut cut_short) = (SafetyCounts::default(), 0);
    let mut curve = LifeCurve::Episode;
    for (arm, called) in ARMS {
        let Some((name, models)) = runs.iter().find(|(name, _)| name == arm) else { continue };
        for (place, loaded) in models {
            let path = directory.join(place);
            work.train(loaded, &path, &mut histories)?;
            let family = family(&loaded.config.histories)?;
            let lived = LifeConfig { seed: SEED, ..loaded.config.evaluation.test };
            curve = lived.curve;
            let (artifact, _) = read_policy(&path)?;
            let make = |_: &FamilyTask| -> Result<Box<dyn Policy>, EngineError> {
                Ok(surefoot_policies::load_policy(&artifact, 1)?)
            };
            let alive = |task: &FamilyTask| -> Result<Box<dyn Living>, EngineError> {
                Ok(Box::new(PolicyLife::new(make(task)?, ActMode::Exploit)))
            };
            let mut lives = Vec::new();
            for split in [TaskSplit::TestIn, TaskSplit::TestOod] {
                let tasks = family.tasks(split);
                work.output.note(&format!(
                    "{name}: {} lives on each of {} tasks of {}",
                    lived.lives,
                    tasks.len(),
                    split.name()
                ));
                if has_robot(&*family, &tasks)? {
                    let driven = judge_driven(&make, &*family, &tasks, lived, work.interrupt)?;
                    safety.add(&driven.safety);
                    cut_short += driven.cut_short;
                    lives.push(SplitLives { split, tasks: driven.tasks });
                } else {
                    let tasks = judge(&alive, &*family, &tasks, lived, work.interrupt)?;
                    lives.push(SplitLives { split, tasks });
                }
            }
            arms.push(ArmEvidence { name: called.into(), models: vec![lives] });
        }
    }
    let evidence =
        Evidence::of("What cannot be seen, found out by trying", EvidenceScale::Optimal, curve, None, &arms)?;
    let met = safety.violations == 0 && learns(&evidence);
    Ok(Adapted { evidence, safety, cut_short, met })
}

fn of_split(evidence: &Evidence, split: TaskSplit) -> Vec<&SplitEvidence> {
    evidence.arms.iter().filter(|arm| arm.split == split).collect()
}

fn learns(evidence: &Evidence) -> bool {
    let arms = of_split(evidence, TaskSplit::TestIn);
    match &arms[..] {
        [learns, others @ ..] => {
            learns.late.value >= BAR && others.iter().all(|other| learns.late.low > other.late.high)
        }
        [] => false,
    }
}

/// Writes page and figures; gives the page.
fn write(adapted: &Adapted, directory: &Path) -> Result<PathBuf, Failure> {
    let Adapted { evidence, safety, cut_short, met } = adapted;
    let notes = [
        "Each life is on one task that the policy has not seen, and begins with an empty context. The weights stay as they are: what is learnt \
         is in the context."
            .to_owned(),
        format!("{}. {}: {}.", in_words(safety, *cut_short), if *met { "The bar is met" } else { "The bar is MISSED" }, bar()),
    ];
    let page = directory.join("report.html");
    write_atomic(&page, evidence_page(evidence, &notes).as_bytes())?;
    write_atomic(&directory.join("adapt.json"), &serde_json::to_vec_pretty(adapted)?)?;
    Ok(page)
}

fn in_words(safety: &SafetyCounts, cut_short: u64) -> String {
    if safety.ticks == 0 {
        return "Lived in the environment itself, which has no robot for a control loop to command".into();
    }
    format!(
        "{} commands through the control loop, {} adjusted, {} stops, {} limit violations, {cut_short} tries cut short",
        safety.ticks, safety.adjusted, safety.stops, safety.violations
    )
}

fn tell(adapted: &Adapted, page: &Path, secs: f64, output: Output) {
    let Adapted { evidence, safety, cut_short, met: _ } = adapted;
    if output.json() {
        output.value(
            &serde_json::json!({ "event": "adapted", "results": adapted, "secs": secs, "report": page }),
        );
        return;
    }
    let mut text = String::new();
    for split in [TaskSplit::TestIn, TaskSplit::TestOod] {
        text += &table(evidence, split);
    }
    let _ = write!(
        text,
        "\nsafety     {}\nweights    frozen: what was learnt is in the context\ntime       {secs:.0} s\nreport     {}\n",
        in_words(safety, *cut_short),
        page.display()
    );
    output.text(&text);
}

/// Whether a control loop can drive these tasks.
fn has_robot(family: &dyn TaskFamily, tasks: &[FamilyTask]) -> Result<bool, EngineError> {
    let Some(task) = tasks.first() else { return Ok(false) };
    Ok(family.env(&task.params)?.into_robot().is_some())
}

/// Returns by try, as shares of what somebody gets who knows what is hidden.
fn table(evidence: &Evidence, split: TaskSplit) -> String {
    let arms = of_split(evidence, split);
    let robots = arms.first().map_or(0, |arm| arm.goals);
    let what = match split {
        TaskSplit::TestOod => "from outside of the training's range",
        _ => "new ones",
    };
    let random = evidence.random.get(split.name()).copied().unwrap_or_default();
    let mut text = format!(
        "\n{robots} tasks, {what}; % of the optimal return; random actions: {:.0}\n{:<20}",
        100.0 * random,
        "try"
    );
    let tries = arms.iter().map(|arm| arm.curve.len()).max().unwrap_or(0);
    // As many as a line has room for: the first ones tell most.
    let shown: Vec<usize> = [1, 2, 3, 4, 6, 8, 12, 16].into_iter().filter(|n| *n <= tries).collect();
    for n in &shown {
        let _ = write!(text, "{n:>13}");
    }
    text.push('\n');
    for arm in arms {
        let _ = write!(text, "{:<20}", arm.name);
        for e in shown.iter().filter_map(|n| arm.curve.get(n - 1)) {
            let cell = format!("{:.0} [{:.0}, {:.0}]", 100.0 * e.value, 100.0 * e.low, 100.0 * e.high);
            let _ = write!(text, "{cell:>13}");
        }
        text.push('\n');
    }
    text
}
