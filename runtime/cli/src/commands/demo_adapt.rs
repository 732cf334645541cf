//! `surefoot demo --adapt`: an arm with its actuators plugged in anew, driven through its control loop by a frozen policy that learns in
//! context, beside one that remembers nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde::Serialize;
use surefoot_core::clock::Stopwatch;
use surefoot_core::{FamilyTask, Policy, TaskSplit};
use surefoot_engine::EngineError;
use surefoot_engine::in_context::{
    ArmEvidence, Evidence, EvidenceScale, LifeConfig, SplitEvidence, SplitLives, evidence_page, judge_driven,
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
/// The arm that learns.
const LEARNS: &str = "ad";
/// Lives on each task, and tries of a life.
const LIVES: LifeConfig = LifeConfig { episodes: 6, lives: 1, seed: 30_011 };
/// What the late tries must bring on new wirings, as a share of what somebody gets who knows them.
const BAR: f64 = 0.6;

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
        "the bar is {:.0} % of what somebody gets who knows the wiring, in the last tries on new wirings, the whole interval above that of the \
         memoryless policy, and no limit violation",
        100.0 * BAR
    )
}

fn adapt(args: &DemoArgs, directory: &Path, work: &Work<'_>) -> Result<Adapted, Failure> {
    let runs = parse_arms(CONFIG, ORIGIN, &args.overrides, &[args.seed])?;
    let mut histories: Lived = None;
    let mut arms = Vec::new();
    let (mut safety, mut cut_short) = (SafetyCounts::default(), 0);
    for (name, models) in runs {
        for (place, loaded) in models {
            let path = directory.join(place);
            work.train(&loaded, &path, &mut histories)?;
            let family = family(&loaded.config.histories)?;
            let (artifact, _) = read_policy(&path)?;
            let make = |_: &FamilyTask| -> Result<Box<dyn Policy>, EngineError> {
                Ok(surefoot_policies::load_policy(&artifact, 1)?)
            };
            let mut lives = Vec::new();
            for split in [TaskSplit::TestIn, TaskSplit::TestOod] {
                let tasks = family.tasks(split);
                work.output.note(&format!(
                    "{name}: {} tries on each of {} robots of {}",
                    LIVES.episodes,
                    tasks.len(),
                    split.name()
                ));
                let driven = judge_driven(&make, &*family, &tasks, LIVES, work.interrupt)?;
                safety.add(&driven.safety);
                cut_short += driven.cut_short;
                lives.push(SplitLives { split, tasks: driven.tasks });
            }
            let name = if name == LEARNS { "learns in context".into() } else { name.clone() };
            arms.push(ArmEvidence { name, models: vec![lives] });
        }
    }
    let evidence =
        Evidence::of("An arm with its actuators plugged in anew", EvidenceScale::Optimal, None, &arms)?;
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
        "Each life is six tries with one wiring that the policy has not seen, driven through the control loop on simulated time: startup \
         guard, hand-over, safety chain and the robot's own filter included. The goal is seen, the wiring is not. The weights stay as they \
         are: what is learnt is in the context."
            .to_owned(),
        format!("{}. {}: {}.", in_words(safety, *cut_short), if *met { "The bar is met" } else { "The bar is MISSED" }, bar()),
    ];
    let page = directory.join("report.html");
    write_atomic(&page, evidence_page(evidence, &notes).as_bytes())?;
    write_atomic(&directory.join("adapt.json"), &serde_json::to_vec_pretty(adapted)?)?;
    Ok(page)
}

fn in_words(safety: &SafetyCounts, cut_short: u64) -> String {
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

/// Returns by try, as shares of what somebody gets who knows the wiring.
fn table(evidence: &Evidence, split: TaskSplit) -> String {
    let arms = of_split(evidence, split);
    let robots = arms.first().map_or(0, |arm| arm.goals);
    let what = match split {
        TaskSplit::TestOod => "new permutations, unlike any of the training",
        _ => "new wirings",
    };
    let random = evidence.random.get(split.name()).copied().unwrap_or_default();
    let mut text = format!(
        "\n{robots} robots, {what}; % of the optimal return; random actions: {:.0}\n{:<20}",
        100.0 * random,
        "try"
    );
    let tries = arms.iter().map(|arm| arm.curve.len()).max().unwrap_or(0);
    for n in 1..=tries {
        let _ = write!(text, "{n:>14}");
    }
    text.push('\n');
    for arm in arms {
        let _ = write!(text, "{:<20}", arm.name);
        for e in &arm.curve {
            let cell = format!("{:.0} [{:.0}, {:.0}]", 100.0 * e.value, 100.0 * e.low, 100.0 * e.high);
            let _ = write!(text, "{cell:>14}");
        }
        text.push('\n');
    }
    text
}
