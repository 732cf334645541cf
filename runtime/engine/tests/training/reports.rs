//! The report of a run.

use std::path::Path;

use surefoot_engine::report::write_report;
use surefoot_engine::{EvalConfig, Interrupt, OfflineConfig, OnlineConfig, PhaseConfig, TrainEnd};

use crate::point_robot::{Tripwire, demonstrations};
use crate::runs::{Setup, scratch};

fn report_of(run: &Path) -> String {
    let path = write_report(run).unwrap();
    assert_eq!(path, run.join("report.html"));
    std::fs::read_to_string(path).unwrap()
}

/// Whatever could make a browser fetch something.
fn assert_self_contained(page: &str) {
    for reference in ["<script", "<link", "@import", "url("] {
        assert!(!page.contains(reference), "{reference}");
    }
    for source in page.split("src=\"").skip(1).chain(page.split("href=\"").skip(1)) {
        assert!(source.starts_with("data:image/gif;base64,"), "{}", &source[..40]);
    }
}

#[test]
fn a_report_is_made_from_the_run_directory_alone() {
    let dir = scratch();
    let run = dir.path().join("run");
    let setup = Setup::small();
    let mut trainer = setup.start(&run, &Tripwire::default()).unwrap();
    let early = report_of(&run);
    assert!(early.contains("The run has not finished") && !early.contains("<h2>Success</h2>"));
    assert_eq!(trainer.run(&Interrupt::new(), &mut ()).unwrap(), TrainEnd::Finished);
    let results = trainer.results().clone();
    drop(trainer);
    let page = report_of(&run);
    assert_self_contained(&page);
    for stage in &results.stages {
        let e = stage.evaluation.as_ref().unwrap();
        assert!(page.contains(&format!("{} of {} solved", e.successes, e.episodes)));
    }
    assert_eq!(page.matches("data:image/gif").count(), 3);
    for part in
        ["Limit violations", "not a certified safety function", "Held-out", "seed = 3", "WEIGHTED online"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(report_of(&run), page, "the same directory gives the same report");

    let metrics = run.join("metrics.jsonl");
    let mut text = std::fs::read_to_string(&metrics).unwrap();
    text.push_str("{\"stage\":\"onl");
    std::fs::write(&metrics, &text).unwrap();
    assert_eq!(report_of(&run), page, "a line that a crash cut is left out");
    std::fs::write(&metrics, text + "\n").unwrap();
    let error = write_report(&run).unwrap_err().to_string();
    assert!(error.contains("metrics.jsonl: line") && error.contains("expected a line of metrics"), "{error}");
}

#[test]
fn a_report_without_an_environment_shows_what_there_is() {
    let dir = scratch();
    let run = dir.path().join("run");
    let mut setup = Setup { has_env: false, ..Setup::small() };
    setup.phases.truncate(1);
    setup.start(&run, &Tripwire::default()).unwrap().run(&Interrupt::new(), &mut ()).unwrap();
    let page = report_of(&run);
    assert_self_contained(&page);
    assert!(page.contains("Held-out demonstrations") && page.contains("Inside the learner"));
    for absent in ["<h2>Success</h2>", "Before and after", "<h2>Safety</h2>"] {
        assert!(!page.contains(absent), "{absent}");
    }
}

/// `cargo test -p surefoot-engine --test training -- --ignored larger` leaves a run and its report under the target
/// directory's `tmp/point-run`, to be looked at in a browser.
#[test]
#[ignore = "only for looking at the report"]
fn a_larger_run_to_look_at() {
    let run = Path::new(env!("CARGO_TARGET_TMPDIR")).join("point-run");
    if run.exists() {
        std::fs::remove_dir_all(&run).unwrap();
    }
    let mut setup = Setup::small();
    setup.demonstrations = demonstrations(60);
    setup.evaluation = EvalConfig { episodes: 100, ..EvalConfig::default() };
    setup.training.films = 3;
    setup.training.log_every_updates = 20;
    setup.phases = vec![
        PhaseConfig::Offline(OfflineConfig {
            updates: 800,
            eval_every_updates: 200,
            ..OfflineConfig::default()
        }),
        PhaseConfig::Online(OnlineConfig {
            env_steps: 12_000,
            warmup_env_steps: 1_000,
            eval_every_env_steps: 1_000,
            ..OnlineConfig::default()
        }),
    ];
    setup.start(&run, &Tripwire::default()).unwrap().run(&Interrupt::new(), &mut ()).unwrap();
    println!("{}", write_report(&run).unwrap().display());
}
