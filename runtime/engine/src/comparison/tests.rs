use std::collections::BTreeMap;

use super::*;
use crate::evaluation::Evaluation;
use crate::results::{DemonstrationSummary, StageResult};
use surefoot_safety::SafetyCounts;

fn evaluation(score: f64) -> Evaluation {
    Evaluation {
        episodes: 10,
        successes: (10.0 * score) as usize,
        success_rate: score,
        wilson_low: 0.0,
        wilson_high: 1.0,
        return_mean: 100.0 * score - 50.0,
        return_std: 1.0,
        length_mean: 1.0,
        safety: SafetyCounts::default(),
    }
}

fn stage(name: &str, kind: StageKind) -> StageResult {
    StageResult {
        name: name.into(),
        kind,
        algorithm: "awac".into(),
        updates: 0,
        env_steps: 0,
        episodes: 0,
        kept_updates: None,
        stopped_early: false,
        evaluation: None,
        heldout: BTreeMap::new(),
        training_safety: SafetyCounts { violations: 1, ..SafetyCounts::default() },
        limits: Default::default(),
        films: Vec::new(),
    }
}

/// A run with a baseline of score 1, an offline score and scores every 5000 env steps online.
fn run(seed: u64, offline: f64, online: &[f64]) -> Results {
    let point = |stage: &str, updates, env_steps, score| CurvePoint {
        stage: stage.into(),
        updates,
        env_steps,
        evaluation: evaluation(score),
    };
    let mut curve = vec![point("bc", 9, 0, 1.0), point("offline", 100, 0, offline)];
    curve.extend(online.iter().enumerate().map(|(i, s)| point("online", 200, 5_000 * (i as u64 + 1), *s)));
    Results {
        name: "x".into(),
        seed,
        env: "push".into(),
        demonstrations: DemonstrationSummary::default(),
        stages: vec![
            stage("bc", StageKind::Baseline),
            stage("offline", StageKind::Offline),
            stage("online", StageKind::Online),
        ],
        curve,
        finished: true,
    }
}

fn contender(name: &str, runs: Vec<Results>) -> Contender {
    Contender { name: name.into(), runs }
}

#[test]
fn a_run_is_judged_by_its_own_phases() {
    let config = ComparisonConfig { last_evaluations: 2, ..ComparisonConfig::default() };
    let runs = vec![run(0, 0.5, &[0.3, 0.4, 0.8, 1.0])];
    let comparison = Comparison::of("c", &[contender("a", runs)], config).unwrap();
    let scores = &comparison.contenders[0].runs[0];
    assert_eq!((scores.offline, scores.after_switch, scores.best), (Some(0.5), Some(0.3), 1.0));
    assert!((scores.last - 0.9).abs() < 1e-12);
    // Trapezoids of 0.5, 0.3, 0.4, 0.8, 1.0 over four equal spans.
    let mean = (0.4 + 0.35 + 0.6 + 0.9) / 4.0;
    assert!((scores.regret.unwrap() - (1.0 - mean)).abs() < 1e-12);
    assert_eq!(scores.violations, 3);
}

#[test]
fn contenders_are_compared_with_the_first() {
    let of = |scores: [f64; 3]| scores.iter().enumerate().map(|(i, s)| run(i as u64, 0.5, &[*s])).collect();
    let contenders = [contender("a", of([0.2, 0.3, 0.4])), contender("b", of([0.6, 0.7, 0.8]))];
    let comparison = Comparison::of("c", &contenders, ComparisonConfig::default()).unwrap();
    let [a, b] = comparison.contenders.as_slice() else { panic!() };
    assert_eq!(a.improvement, None);
    assert_eq!(b.improvement.unwrap().value, 1.0);
    let Estimate { value, low, high } = b.last;
    assert!((value - 0.7).abs() < 1e-12 && low > 0.599 && high < 0.801, "{value} {low} {high}");
    let text = table(&comparison);
    assert!(text.contains("| b | 50.0 [50.0, 50.0] | 70.0 [60.0, 80.0] | 70.0 [60.0, 80.0] |"), "{text}");
    let page = page(&comparison);
    assert!(page.contains("better than the first in 100 %") && page.contains("online: env steps"));
}

#[test]
fn returns_need_a_scale_and_tasks_must_agree() {
    let runs = || vec![run(0, 0.5, &[0.75])];
    let scale = |task: &str, one: f64| ComparisonConfig {
        score: ScoreConfig::Returns(BTreeMap::from([(task.to_owned(), ReturnScale { zero: -50.0, one })])),
        ..ComparisonConfig::default()
    };
    let scored = Comparison::of("c", &[contender("a", runs())], scale("push", 0.0)).unwrap();
    assert!((scored.contenders[0].last.value - 1.5).abs() < 1e-12);
    let error =
        |contenders: &[Contender], config| Comparison::of("c", contenders, config).unwrap_err().to_string();
    assert!(
        error(&[contender("a", runs())], scale("reach", 0.0)).contains("a scale for \"push\", found reach")
    );
    assert!(error(&[contender("a", runs())], scale("push", -50.0)).contains("two different finite numbers"));
    let mut other = run(0, 0.5, &[0.5]);
    other.env = "reach".into();
    let both = [contender("a", runs()), contender("b", vec![other])];
    assert!(error(&both, ComparisonConfig::default()).contains("b: expected the tasks push, found reach"));
    let mut blind = run(3, 0.5, &[]);
    blind.curve.clear();
    let found = error(&[contender("a", vec![blind])], ComparisonConfig::default());
    assert!(found.contains("a, seed 3: expected evaluations"), "{found}");
}
