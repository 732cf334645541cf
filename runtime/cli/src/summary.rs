//! The table at the end of a run.

use std::path::Path;

use surefoot_engine::{Evaluation, LimitCounts, Results, StageKind, StageResult};
use surefoot_safety::SafetyCounts;

use crate::output::Output;

/// An evaluation in two lines: what it achieved, and what the safety chain did.
pub fn judgement(e: &Evaluation) -> String {
    format!(
        "success {:.1} % [{:.1}, {:.1}] (95 % Wilson, {} episodes), return {:.1} +- {:.1}, length {:.1}\n\
         safety: {} commands, {} adjusted, {} stops, {} limit violations",
        e.success_rate * 100.0,
        e.wilson_low * 100.0,
        e.wilson_high * 100.0,
        e.episodes,
        e.return_mean,
        e.return_std,
        e.length_mean,
        e.safety.ticks,
        e.safety.adjusted,
        e.safety.stops,
        e.safety.violations
    )
}

/// Prints results side by side, the safety figures, and where everything is.
pub fn print(results: &Results, run: &Path, output: Output) {
    if output.json() {
        output.value(&serde_json::json!({ "event": "results", "run": run, "results": results }));
        return;
    }
    let mut lines = Vec::new();
    let evaluated = results.stages.iter().any(|s| s.evaluation.is_some());
    if evaluated {
        lines.push(format!(
            "\n{:<34} {:>7}  {:<15} {:>8} {:>9} {:>6} {:>10}",
            "policy", "success", "95 % interval", "return", "adjusted", "stops", "violations"
        ));
    }
    for stage in &results.stages {
        lines.extend(row(stage));
    }
    let mut training = SafetyCounts::default();
    for stage in &results.stages {
        training.add(&stage.training_safety);
    }
    if training.ticks > 0 {
        lines.push(format!(
            "\nsafety while learning online: {} commands, {:.1} % adjusted, {} stops, {} limit violations",
            training.ticks,
            percent(training.adjusted, training.ticks),
            training.stops,
            training.violations
        ));
        let mut limits = LimitCounts::default();
        for stage in &results.stages {
            limits.add(&stage.limits);
        }
        let words = limits.words();
        lines.push(format!(
            "limits on learning: {}",
            if words.is_empty() { "none acted".to_owned() } else { words.join(", ") }
        ));
    }
    lines.push(format!("run directory {}", run.display()));
    lines.push(format!("report        {}", run.join("report.html").display()));
    lines.push(format!("policy        {}", run.join("checkpoints/last/policy").display()));
    output.line(&lines.join("\n"));
}

fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn row(stage: &StageResult) -> Vec<String> {
    let label = match stage.kind {
        StageKind::Baseline => format!("{} on the same data", stage.algorithm),
        StageKind::Offline => format!("{} after offline pretraining", stage.algorithm),
        StageKind::Online => format!("{} after online fine-tuning", stage.algorithm),
    };
    let Some(e) = &stage.evaluation else {
        let metrics: Vec<String> =
            stage.heldout.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        return vec![format!("{label}: {} updates; {}", stage.updates, metrics.join(", "))];
    };
    let interval = format!("[{:.1}, {:.1}] %", e.wilson_low * 100.0, e.wilson_high * 100.0);
    vec![format!(
        "{label:<34} {:>5.1} %  {interval:<15} {:>8.1} {:>7.1} % {:>6} {:>10}",
        e.success_rate * 100.0,
        e.return_mean,
        percent(e.safety.adjusted, e.safety.ticks),
        e.safety.stops,
        e.safety.violations
    )]
}
