//! A run that was interrupted, anywhere and more than once, ends bit for bit like one that was not.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

use surefoot_engine::{EngineError, Event, Observer, TrainEnd};

use crate::point_robot::Tripwire;
use crate::runs::{Setup, scratch};

/// Every file that says what a run found and what it would do next.
pub fn outcome(run: &Path) -> BTreeMap<&'static str, Vec<u8>> {
    [
        "metrics.jsonl",
        "results.json",
        "films/online-0.gif",
        "checkpoints/last/policy/policy.json",
        "checkpoints/last/policy/policy.safetensors",
        "checkpoints/last/learner/momentum",
        "checkpoints/last/state/replay.f32le",
    ]
    .into_iter()
    .filter_map(|f| std::fs::read(run.join(f)).ok().map(|bytes| (f, bytes)))
    .collect()
}

#[test]
fn an_interrupted_run_ends_like_one_that_was_not() {
    let dir = scratch();
    let setup = Setup::small();
    let whole = dir.path().join("whole");
    let tripwire = Tripwire::default();
    setup.start(&whole, &tripwire).unwrap().run(&tripwire.interrupt, &mut ()).unwrap();
    let expected = outcome(&whole);
    assert!(expected.len() == 7);
    // Env steps, evaluation and filming included, and updates.
    let total = tripwire.count.load(Ordering::Relaxed);
    assert!(total > 1500, "{total}");

    let points = 24;
    for i in 0..points {
        let run = dir.path().join(format!("cut{i}"));
        let tripwire = Tripwire::at(1 + i * (total - 1) / points);
        let mut trainer = setup.start(&run, &tripwire).unwrap();
        assert_eq!(trainer.run(&tripwire.interrupt, &mut ()).unwrap(), TrainEnd::Interrupted);
        drop(trainer);
        let mut pauses = 0;
        loop {
            // Long enough for the longest evaluation, or the run would never get past it.
            let tripwire = Tripwire::at(600 + 37 * i);
            let mut trainer = setup.resume(&run, &tripwire, None).unwrap();
            match trainer.run(&tripwire.interrupt, &mut ()).unwrap() {
                TrainEnd::Finished => break,
                TrainEnd::Interrupted => pauses += 1,
                TrainEnd::SafetyStop(reached) => panic!("{reached:?}"),
            }
        }
        assert!(pauses > 0 || i > points / 3, "point {i} was interrupted once only");
        for (file, bytes) in outcome(&run) {
            assert!(bytes == expected[file], "{file} differs after an interrupt at point {i}");
        }
        assert_eq!(outcome(&run).len(), expected.len());
    }
}

#[test]
fn a_run_whose_worlds_are_lost_on_the_way_ends_like_one_whose_worlds_stay() {
    #[derive(Default)]
    struct Losses(Vec<usize>);
    impl Observer for Losses {
        fn event(&mut self, event: &Event) {
            if let Event::EnvLost { in_a_row, .. } = event {
                self.0.push(*in_a_row);
            }
        }
    }
    let dir = scratch();
    let mut setup = Setup::small();
    // One world, so that a count is one env step.
    setup.training.worlds = 1;
    let whole = dir.path().join("whole");
    let none = Tripwire::default();
    setup.start(&whole, &none).unwrap().run(&none.interrupt, &mut ()).unwrap();
    let expected = outcome(&whole);
    let total = none.count.load(Ordering::Relaxed);
    for (name, lose_at) in
        [("late", vec![total / 2, total - 5]), ("spread", (1..9).map(|i| i * total / 9).collect())]
    {
        let run = dir.path().join(name);
        let tripwire = Tripwire { lose_at, ..Tripwire::default() };
        let mut losses = Losses::default();
        let end = setup.start(&run, &tripwire).unwrap().run(&tripwire.interrupt, &mut losses).unwrap();
        assert_eq!(end, TrainEnd::Finished);
        assert!(!losses.0.is_empty() && losses.0.iter().all(|n| *n <= 3), "{:?}", losses.0);
        let found = outcome(&run);
        assert_eq!(found.len(), expected.len());
        for (file, bytes) in found {
            assert!(bytes == expected[file], "{name}: {file} differs after a loss");
        }
    }
    // Worlds that do not come back end the run; its checkpoint stands.
    let run = dir.path().join("gone");
    let tripwire = Tripwire { lose_at: (200..=total).collect(), ..Tripwire::default() };
    let mut losses = Losses::default();
    let mut trainer = setup.start(&run, &tripwire).unwrap();
    let gone = trainer.run(&tripwire.interrupt, &mut losses).unwrap_err();
    assert!(matches!(gone, EngineError::Env(surefoot_core::EnvError::Lost { .. })), "{gone}");
    assert_eq!(losses.0, [1, 2, 3]);
    drop(trainer);
    assert_eq!(
        setup.resume(&run, &none, None).unwrap().run(&none.interrupt, &mut ()).unwrap(),
        TrainEnd::Finished
    );
    assert!(outcome(&run) == expected, "what was resumed after a loss");
}

#[test]
fn a_crash_loses_what_followed_the_last_checkpoint_and_nothing_else() {
    let dir = scratch();
    let setup = Setup::small();
    let (whole, run) = (dir.path().join("whole"), dir.path().join("run"));
    let none = Tripwire::default();
    setup.start(&whole, &none).unwrap().run(&none.interrupt, &mut ()).unwrap();
    setup.start(&run, &none).unwrap().run(&none.interrupt, &mut ()).unwrap();
    // As if the power had failed while a metrics line and a checkpoint were being written.
    let metrics = run.join("metrics.jsonl");
    let mut text = std::fs::read(&metrics).unwrap();
    text.extend_from_slice(b"{\"stage\":\"onl");
    std::fs::write(&metrics, text).unwrap();
    std::fs::create_dir_all(run.join("checkpoints/.tmp-online-000000099/learner")).unwrap();
    // Early stopping decides which state was kept; the checkpoint's name says which.
    let checkpoints = std::fs::read_dir(run.join("checkpoints")).unwrap();
    let names = checkpoints.map(|e| e.unwrap().file_name().into_string().unwrap());
    let end_of_offline = names.filter(|n| n.starts_with("offline-")).max().unwrap();
    let mut trainer = setup.resume(&run, &none, Some(&end_of_offline)).unwrap();
    trainer.run(&none.interrupt, &mut ()).unwrap();
    drop(trainer);
    assert_eq!(std::fs::read(&metrics).unwrap(), std::fs::read(whole.join("metrics.jsonl")).unwrap());
    assert!(!run.join("checkpoints/.tmp-online-000000099").exists());
}

#[test]
fn resuming_something_else_is_refused() {
    let dir = scratch();
    let run = dir.path().join("run");
    let mut setup = Setup::small();
    let tripwire = Tripwire::at(500);
    let mut trainer = setup.start(&run, &tripwire).unwrap();
    trainer.run(&tripwire.interrupt, &mut ()).unwrap();

    let none = Tripwire::default();
    let second = setup.resume(&run, &none, None).err().unwrap();
    assert!(matches!(second, EngineError::Locked { .. }), "{second}");
    drop(trainer);
    let again = setup.start(&run, &none).err().unwrap();
    assert!(matches!(again, EngineError::RunExists { .. }), "{again}");
    let missing = setup.resume(&run, &none, Some("nowhere")).err().unwrap().to_string();
    assert!(missing.contains("no checkpoint named nowhere"), "{missing}");

    setup.evaluation.episodes += 1;
    let other = setup.resume(&run, &none, None).err().unwrap().to_string();
    assert!(other.starts_with("cannot resume: evaluation: the checkpoint has"), "{other}");
    setup.evaluation.episodes -= 1;

    let last = run.join("checkpoints/last/state/replay.f32le");
    let state = run.join("checkpoints/last/state/state.json");
    let bytes = std::fs::read(&state).unwrap();
    std::fs::write(&state, &bytes[..bytes.len() / 2]).unwrap();
    let cut = setup.resume(&run, &none, None).err().unwrap().to_string();
    assert!(cut.contains("state/state.json: length: expected") && last.exists(), "{cut}");
}

/// Needs the right to mount: says so and passes where it is missing.
#[test]
fn a_run_goes_on_after_the_disk_was_full() {
    let dir = scratch();
    let mount = |options: &str| {
        let path = dir.path().join("disk");
        std::fs::create_dir_all(&path).unwrap();
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).output();
        done.is_ok_and(|o| o.status.success())
    };
    if !mount("size=200k") {
        println!("skipped: this process may not mount a tmpfs");
        return;
    }
    let setup = Setup::small();
    let (whole, run) = (dir.path().join("whole"), dir.path().join("disk/run"));
    let none = Tripwire::default();
    let found = std::panic::catch_unwind(|| {
        setup.start(&whole, &none).unwrap().run(&none.interrupt, &mut ()).unwrap();
        let full = setup.start(&run, &none).unwrap().run(&none.interrupt, &mut ()).unwrap_err();
        assert!(full.to_string().contains("No space left on device"), "{full}");
        assert!(mount("remount,size=16m"));
        assert!(setup.resume(&run, &none, None).unwrap().counters().updates > 0, "a checkpoint was left");
        let end = setup.resume(&run, &none, None).unwrap().run(&none.interrupt, &mut ()).unwrap();
        assert_eq!(end, TrainEnd::Finished);
        assert!(outcome(&run) == outcome(&whole));
    });
    assert!(Command::new("umount").arg(dir.path().join("disk")).status().unwrap().success());
    found.unwrap();
}
