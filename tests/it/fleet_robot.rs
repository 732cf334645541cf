//! Actors on robots, in real time: a served robot, an actor and a learner, each a process of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use surefoot_bridges::fleet::{LearnerConfig, LearnerLink};
use surefoot_bridges::wire::PanelKey;
use surefoot_bridges::{Endpoints, Panel, Purpose, SessionConfig};
use surefoot_core::{Fleet, PolicyArtifact, PolicyOffer};
use surefoot_datasets::{EpisodeRecorder, Recording};
use surefoot_engine::fleet::ActingTerms;
use surefoot_engine::limits::EpisodeLimitsConfig;

use crate::fleet::{actor, assert_each_once, count, learner, spooled, with_actors};
use crate::linked::{Served, contract, hearing, judge, wait_for};
use crate::program::Workplace;

/// Nothing here takes so long; a test that waits longer has failed.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn an_actor_drives_a_served_robot_and_when_that_is_killed_nothing_acknowledged_is_lost() {
    let workplace = with_actors("env_steps = 100000");
    let mut served = Served::start(&workplace, &[]);
    let at = served.endpoint.clone();
    let (mut learner, endpoint) = learner(&workplace, "fleet.toml", "tcp/127.0.0.1:0");
    let robot = ["--robot", "served.toml"];
    let mut first = actor(&workplace, &endpoint, "arm", &robot);
    first.event("driven");
    learner.until("its episode", |e| e["event"] == "fleet" && count(e, "stored") >= 1);
    served.child.kill().unwrap();
    served.child.wait().unwrap();
    let (code, said, words) = first.end_with_words();
    // Between two episodes nothing is armed: then there is nothing to stop.
    let told = if code == 3 { "safety stop: " } else { "has not told its state" };
    assert!(matches!(code, 1 | 3) && words.contains(told), "{code}: {words}");
    let last = words.lines().filter(|l| l.starts_with("error: ") || l.starts_with("safety stop: "));
    assert_eq!(last.count(), 1, "{words}");
    let acted = said.last().unwrap();
    assert_eq!(acted["event"], "acted", "{acted}");
    let (driven, left) = (count(acted, "driven"), spooled(&workplace, "arm") as u64);
    assert_eq!(count(acted, "acknowledged") + left, driven, "{acted}");
    assert_eq!((count(acted, "set_aside"), count(acted, "left_in_spool")), (0, left), "{acted}");
    judge(&served.log(), &contract(&workplace.path("served.toml")));
    drop(served);

    // The robot is served again where it was, and the actor goes on with the same spool.
    std::fs::remove_file(workplace.path("executed.jsonl")).unwrap();
    std::fs::remove_file(workplace.path("served.toml")).unwrap();
    let served = Served::start(&workplace, &["--listen", &at]);
    let again = actor(&workplace, &endpoint, "arm", &["--robot", "served.toml", "--episodes", "2"]);
    let (code, said, words) = again.end_with_words();
    assert_eq!(code, 0, "{words}");
    let numbers: Vec<u64> =
        said.iter().filter(|e| e["event"] == "driven").map(|e| count(e, "number")).collect();
    assert_eq!(numbers.len(), 2, "{numbers:?}");
    assert!(numbers[0] >= driven, "{numbers:?}: {driven} were driven before");
    served.end();
    learner.signal("-INT");
    assert_eq!(learner.end().0, 130);
    // Every episode that the actor has finished is at the learner, once.
    assert_eq!(assert_each_once(&workplace).len() as u64, numbers[1] + 1);
}

#[test]
fn an_actor_in_real_time_drives_a_robot_of_its_own_process_through_the_control_loop() {
    let workplace = with_actors("env_steps = 100000");
    let (learner, endpoint) = learner(&workplace, "fleet.toml", "tcp/127.0.0.1:0");
    let acting = actor(&workplace, &endpoint, "sim", &["--realtime", "--episodes", "2"]);
    let (code, said, words) = acting.end_with_words();
    assert_eq!((code, count(said.last().unwrap(), "acknowledged")), (0, 2), "{words}");
    learner.signal("-INT");
    assert_eq!(learner.end().0, 130);
    let lines = assert_each_once(&workplace);
    assert_eq!(lines.iter().map(|l| l.actor.as_str()).collect::<Vec<_>>(), ["sim", "sim"]);
    let driven = surefoot_datasets::open(&workplace.path("run/episodes")).unwrap();
    for index in 0..2 {
        let episode = driven.episode(index).unwrap();
        assert!(episode.len() > 3 && episode.human.iter().all(|h| !h), "{}", episode.len());
        assert!(episode.attributes.contains_key("cost"), "{:?}", episode.attributes);
    }
}

#[test]
fn what_cannot_be_acted_on_is_refused_before_a_learner_is_looked_for() {
    let workplace = Workplace::new();
    let served = Served::start(&workplace, &[]);
    let act = ["act", "--connect", "tcp/127.0.0.1:1", "--name", "arm", "--spool", "arm"];
    let text = std::fs::read_to_string(workplace.path("served.toml")).unwrap();
    let (plain, _) = text.split_once("[link]").unwrap();
    std::fs::write(workplace.path("plain.toml"), plain).unwrap();
    std::fs::write(workplace.path("nowhere.toml"), text.replace(&served.endpoint, "nowhere")).unwrap();
    let robot = ["--robot", "served.toml"];
    for (more, words) in [
        (&[&robot[..], &["--worlds", "2"]].concat()[..], "one robot acts in real time"),
        (&["--realtime", "--worlds", "2"], "one robot acts in real time"),
        (&["--operator", "keyboard"], "needs real time"),
        (&["--realtime", "--operator", "panel"], "add --robot CONTRACT"),
        (&["--robot", "plain.toml"], "has no [link]"),
        (&["--robot", "nowhere.toml"], "PROTOCOL/ADDRESS:PORT"),
        (&["--robot", "missing.toml"], "missing.toml"),
    ] {
        workplace.fail(&[&act[..], more].concat(), 2, &[words]);
    }
    assert!(!workplace.path("arm").exists(), "nothing was begun");
    served.end();
}

/// A learner that learns nothing: what it does is told to it.
fn learner_by_hand(workplace: &Workplace) -> LearnerLink {
    let policy = workplace.train("trained").join("checkpoints/last/policy");
    let read = |name: &str| std::fs::read(policy.join(name)).unwrap();
    let card: surefoot_core::PolicyCard = serde_json::from_slice(&read("policy.json")).unwrap();
    let spec = card.spec.clone();
    let artifact = Arc::new(PolicyArtifact { card, weights: read("policy.safetensors") });
    let store = EpisodeRecorder::create(&workplace.path("kept"), Recording::new(spec.clone())).unwrap();
    let config = LearnerConfig {
        endpoints: Endpoints::listening("tcp/127.0.0.1:0"),
        namespace: "surefoot".into(),
        run: "by-hand".into(),
        spec,
        task: serde_json::json!({ "push": { "max_steps": 30 } }),
        max_episode_bytes: 4 << 20,
        episodes_ahead: 1,
        ledger: workplace.path("fleet.jsonl"),
    };
    let mut link = LearnerLink::start(config, Box::new(store)).unwrap();
    let terms =
        ActingTerms { stage: "online".into(), seed: 7, limits: EpisodeLimitsConfig::default(), radius: None };
    link.offer(PolicyOffer {
        version: 5,
        policy: Arc::clone(&artifact),
        reference: artifact,
        terms: serde_json::to_value(terms).unwrap(),
        metrics: BTreeMap::new(),
    })
    .unwrap();
    link
}

/// It looked at its control loop in episodes alone: a loop that nobody looks at for five seconds was taken for one that hangs.
#[test]
fn an_actor_that_holds_for_long_looks_after_its_robot_and_goes_on() {
    let workplace = Workplace::new();
    let mut learner = learner_by_hand(&workplace);
    let endpoint = learner.endpoints()[0].clone();
    let served = Served::start(&workplace, &[]);
    let mut acting = actor(&workplace, &endpoint, "arm", &["--robot", "served.toml"]);
    acting.until("holding", |e| e["event"] == "situation" && e["hold"] == true);
    let tick = || served.last().map_or(0, |t| t.tick);
    let before = tick();
    // Eight seconds of the robot's own clock.
    wait_for("a long hold", || (tick() >= before + 400).then_some(()));
    let kept = learner.stored();
    learner.taken(kept);
    assert!(learner.wait_beyond(kept, LONG).unwrap(), "it drives again");
    acting.signal("-INT");
    let (code, said, words) = acting.end_with_words();
    assert_eq!(code, 130, "{words}");
    assert_eq!(count(said.last().unwrap(), "driven"), learner.stored(), "{words}");
    assert!(Path::new(&workplace.path("arm/policy/kept.json")).is_file());
    served.end();
}

#[test]
fn what_a_person_drives_while_an_actor_holds_is_brought_to_the_learner_at_once() {
    let workplace = Workplace::new();
    let mut learner = learner_by_hand(&workplace);
    let endpoint = learner.endpoints()[0].clone();
    let served = Served::start(&workplace, &[]);
    let contract = contract(&workplace.path("served.toml"));
    let link = contract.link.clone().unwrap();
    let (session, _) = SessionConfig::to_robot(&link, Purpose::Control).open().unwrap();
    let mut panel = Panel::new(&session, &contract, &link).unwrap();
    let act = ["act", "--connect", &endpoint, "--name", "arm", "--spool", "arm"];
    let act = [&act[..], &["--robot", "served.toml", "--operator", "panel"]].concat();
    let mut child = workplace.command(&act).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut hear = hearing(&mut child);
    // Each episode waits for its start: the second one, too, which was begun before the learner had enough.
    for episode in 0..2 {
        hear("[Holding]");
        panel.press(PanelKey::Start).unwrap();
        hear("[Running(Policy)]");
        hear("[Holding]");
        assert!(learner.wait_beyond(episode, LONG).unwrap());
    }
    // Now it holds.
    panel.press(PanelKey::TakeOver).unwrap();
    hear("[Running(Human)]");
    let before = served.last().unwrap().tick;
    wait_for("a second of driving", || {
        panel.act(true, &[0.4, -0.3]).unwrap();
        served.last().filter(|t| t.tick > before + 50)
    });
    panel.press(PanelKey::Success).unwrap();
    assert!(learner.wait_beyond(2, LONG).unwrap(), "while it still holds");
    let driven = learner.episode(2).unwrap();
    assert!(driven.success == Some(true) && driven.human.iter().all(|h| *h), "{:?}", driven.human);
    panel.press(PanelKey::Quit).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    served.end();
}
