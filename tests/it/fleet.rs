//! Actors and a learner as processes on this machine, killed and started again: whatever was acknowledged is learned from exactly
//! once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use serde_json::Value;
use surefoot_bridges::fleet::ledger::{LedgerLine, read_ledger, shipment_of};

use crate::program::{TINY, Workplace, assert_same_run};

/// A process whose events are read as they come, so that it never waits for a reader.
pub struct Program {
    child: Child,
    events: Receiver<Value>,
    seen: Vec<Value>,
    words: Option<JoinHandle<String>>,
}

impl Program {
    fn start(workplace: &Workplace, args: &[&str]) -> Self {
        let mut args = args.to_vec();
        args.push("--json");
        Self::of(workplace.command(&args))
    }

    pub fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let mut stderr = child.stderr.take().expect("piped");
        let words = std::thread::spawn(move || {
            let mut words = Vec::new();
            // Of a killed program, what it said until then.
            let _ = stderr.read_to_end(&mut words);
            String::from_utf8_lossy(&words).into_owned()
        });
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (to, events) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // The last line of a killed program may be half a one.
                let Ok(event) = serde_json::from_str(&line) else { break };
                if to.send(event).is_err() {
                    break;
                }
            }
        });
        Self { child, events, seen: Vec::new(), words: Some(words) }
    }

    fn next(&mut self) -> Option<Value> {
        let event: Value = self.events.recv().ok()?;
        self.seen.push(event.clone());
        Some(event)
    }

    /// Reads on to an event for which this holds.
    pub fn until(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        while let Some(event) = self.next() {
            if holds(&event) {
                return event;
            }
        }
        panic!("it ended before {what}: {:#?}", self.seen.iter().rev().take(5).collect::<Vec<_>>());
    }

    pub fn event(&mut self, name: &str) -> Value {
        self.until(name, |e| e["event"] == name)
    }

    /// Kills it, and gives everything that it said.
    fn kill(mut self) -> Vec<Value> {
        self.child.kill().expect("killed");
        self.child.wait().expect("ends");
        while self.next().is_some() {}
        std::mem::take(&mut self.seen)
    }

    /// Reads to the end, and gives exit code and every event.
    pub fn end(self) -> (i32, Vec<Value>) {
        let (code, said, _) = self.end_with_words();
        (code, said)
    }

    /// And what it said to people.
    pub fn end_with_words(mut self) -> (i32, Vec<Value>, String) {
        while self.next().is_some() {}
        let code = self.child.wait().expect("ends").code().unwrap_or(-1);
        let words = self.words.take().expect("taken once").join().expect("read");
        (code, std::mem::take(&mut self.seen), words)
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill").success());
    }
}

/// Nothing is left running when a test fails.
impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The tiny experiment with actors.
pub fn with_actors(online: &str) -> Workplace {
    let workplace = Workplace::new();
    let phase = format!(
        "online = {{ {online}, warmup_env_steps = 100, episodes_per_round = 4, schedule = {{ fleet = {{ episodes_ahead = 8, checkpoint_every_episodes = 8 }} }} }}\n"
    );
    let text: String = TINY.lines().filter(|l| !l.starts_with("online")).flat_map(|l| [l, "\n"]).collect();
    let baseline = text.find("[[baseline]]").unwrap()..text.find("[[phase]]").unwrap();
    let text = text.replace(&text[baseline], "").replace("[eval]", &format!("{phase}[eval]"));
    let text = text.replace(
        "updates = 300, eval_every_updates = 100, early_stop = { every_updates = 50, patience = 4 }",
        "updates = 60",
    );
    std::fs::write(workplace.path("fleet.toml"), text).unwrap();
    workplace
}

pub fn learner(workplace: &Workplace, what: &str, at: &str) -> (Program, String) {
    let mut args = vec!["learn", what, "--listen", at];
    if what.ends_with(".toml") {
        args.extend(["--run-dir", "run"]);
    }
    let mut learner = Program::start(workplace, &args);
    let listening = learner.event("listening");
    let endpoint = listening["endpoints"][0].as_str().expect("an endpoint").to_owned();
    (learner, endpoint)
}

pub fn actor(workplace: &Workplace, at: &str, name: &str, more: &[&str]) -> Program {
    let mut args = vec!["act", "--connect", at, "--name", name, "--spool", name];
    args.extend(more);
    Program::start(workplace, &args)
}

pub fn count(event: &Value, key: &str) -> u64 {
    event[key].as_u64().unwrap_or_else(|| panic!("no {key} in {event}"))
}

/// Episodes that wait in a spool.
pub fn spooled(workplace: &Workplace, name: &str) -> usize {
    let entries = std::fs::read_dir(workplace.path(name)).unwrap().flatten();
    entries.filter(|e| e.file_name().to_string_lossy().ends_with(".sfep")).count()
}

/// Looks at the learner's disk: every episode that it kept is there once, whole, in the order of the ledger, and each actor's numbers
/// go on without a gap.
pub fn assert_each_once(workplace: &Workplace) -> Vec<LedgerLine> {
    let lines = read_ledger(&workplace.path("run/fleet.jsonl")).unwrap();
    let episodes = surefoot_datasets::open(&workplace.path("run/episodes")).unwrap();
    assert_eq!(episodes.len(), lines.len());
    let mut hashes = BTreeSet::new();
    let mut numbers: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
    for (index, line) in lines.iter().enumerate() {
        let (shipment, stated) = shipment_of(&episodes.episode(index).unwrap()).unwrap();
        let hash = shipment.encode().1;
        assert_eq!((hash, hash.to_string()), (stated, line.blake3.clone()), "episode {index}");
        assert!(hashes.insert(hash), "episode {index} is there twice");
        numbers.entry((line.actor.clone(), line.spool.clone())).or_default().push(line.number);
    }
    for (actor, numbers) in numbers {
        assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "{actor:?}");
    }
    lines
}

/// Learning once more from what was ingested gives the same bytes: nothing was learned from twice, left out, or in another order.
fn assert_replays(workplace: &Workplace) {
    workplace.succeed(&["learn", "fleet.toml", "--replay", "run", "--run-dir", "again", "--quiet"]);
    assert_same_run(&workplace.path("run"), &workplace.path("again"));
}

#[test]
fn two_actors_and_a_learner_that_is_killed_in_between_lose_and_double_nothing() {
    let workplace = with_actors("env_steps = 1500");
    let (mut first, endpoint) = learner(&workplace, "fleet.toml", "tcp/127.0.0.1:0");
    let mut actors = [
        actor(&workplace, &endpoint, "left", &[]),
        actor(&workplace, &endpoint, "right", &["--worlds", "2"]),
    ];
    // Some episodes were learned from since the last checkpoint, and others are on their way.
    first.until("learning", |e| e["event"] == "fleet" && count(e, "taken") >= 8);
    first.kill();
    for actor in &mut actors {
        actor.until("alone", |e| {
            e["event"] == "situation" && e["connected"] == false && e["policy_version"].is_u64()
        });
    }
    let (second, _) = learner(&workplace, "run", &endpoint);
    let (code, said) = second.end();
    assert_eq!(code, 0, "{:#?}", said.last());
    let mut acknowledged = 0;
    for (actor, name) in actors.into_iter().zip(["left", "right"]) {
        let (code, said) = actor.end();
        let acted = said.last().unwrap();
        assert_eq!((code, &acted["event"]), (0, &"acted".into()), "{acted}");
        let (driven, left) = (count(acted, "driven"), spooled(&workplace, name) as u64);
        assert_eq!(count(acted, "acknowledged") + left, driven, "{acted}");
        assert_eq!((count(acted, "set_aside"), count(acted, "left_in_spool")), (0, left));
        acknowledged += count(acted, "acknowledged");
    }
    let lines = assert_each_once(&workplace);
    // One whose acknowledgement did not arrive may be there and in a spool.
    let left = spooled(&workplace, "left") + spooled(&workplace, "right");
    let kept = lines.len() as u64;
    assert!(
        kept >= acknowledged && kept <= acknowledged + left as u64,
        "{kept} kept, {acknowledged} acknowledged"
    );
    assert_replays(&workplace);
}

#[test]
fn an_actor_that_is_killed_comes_back_with_what_it_had_finished() {
    let workplace = with_actors("env_steps = 600");
    let (mut learner, endpoint) = learner(&workplace, "fleet.toml", "tcp/127.0.0.1:0");
    let mut acknowledged_before = 0;
    for kill_after in [1, 3] {
        let mut actor = actor(&workplace, &endpoint, "arm", &[]);
        for _ in 0..kill_after {
            actor.event("driven");
        }
        // In the middle of the next episode, or of an upload.
        let said = actor.kill();
        let newest = said.iter().rfind(|e| e["event"] == "driven").unwrap();
        acknowledged_before = acknowledged_before.max(count(newest, "number") + 1);
    }
    let survivor = actor(&workplace, &endpoint, "arm", &[]);
    learner.event("finished");
    let (code, said) = survivor.end();
    assert_eq!(code, 0, "{:#?}", said.last());
    assert_eq!(learner.end().0, 0);
    let lines = assert_each_once(&workplace);
    // Nothing that was finished before a kill is missing, and its numbers were not used again.
    let mine = lines.iter().filter(|l| l.actor == "arm").count() as u64;
    assert!(mine >= acknowledged_before, "{mine} kept, {acknowledged_before} finished before the last kill");
    assert_eq!(lines.iter().map(|l| &l.spool).collect::<BTreeSet<_>>().len(), 1, "one spool");
    assert_replays(&workplace);
}

#[test]
fn actors_that_do_not_fit_are_refused_with_a_sentence() {
    let workplace = with_actors("env_steps = 100000");
    let (learner, endpoint) = learner(&workplace, "fleet.toml", "tcp/127.0.0.1:0");
    let mut first = actor(&workplace, &endpoint, "arm", &[]);
    first.until("connected", |e| e["event"] == "situation" && e["connected"] == true);
    let act = |name: &str, spool: &str, env: &[&str]| {
        let mut args = vec!["act", "--connect", &endpoint, "--name", name, "--spool", spool];
        args.extend(env);
        workplace.run(&args)
    };
    let (code, _, stderr) = act("arm", "another", &[]);
    assert!(
        code == 2 && stderr.contains("which another actor is using") && stderr.contains("hint"),
        "{stderr}"
    );
    let (code, _, stderr) = act("arm", "arm", &[]);
    assert!(code == 2 && stderr.contains("in use by another actor"), "{stderr}");
    // The learner's push has 30 steps, the default one 60; and a pendulum is no push at all.
    let (code, _, stderr) = act("other", "other", &["--env", "push"]);
    assert!(code == 2 && stderr.contains("max_steps: expected 30, found"), "{stderr}");
    let (code, _, stderr) = act("third", "third", &["--env", "pendulum"]);
    assert!(code == 2 && stderr.contains("observation dimension: expected"), "{stderr}");
    workplace.fail(
        &["act", "--name", "a/b", "--spool", "s", "--connect", &endpoint],
        2,
        &["--name", "letters"],
    );
    workplace.fail(&["act", "--name", "a", "--spool", "s"], 2, &["nothing says where the learner is"]);
    // Both end cleanly on request, and say how to go on.
    first.event("driven");
    first.signal("-INT");
    assert_eq!(first.end().0, 130);
    learner.signal("-INT");
    let (code, said) = learner.end();
    assert_eq!((code, &said.last().unwrap()["interrupted"]), (130, &true.into()));
    assert_each_once(&workplace);
}

#[test]
fn a_run_with_actors_is_for_learn_and_a_run_without_is_not() {
    let workplace = with_actors("env_steps = 600");
    workplace.fail(&["train", "fleet.toml"], 2, &["schedule.fleet", "surefoot learn"]);
    workplace.fail(
        &["learn", "tiny.toml", "--listen", "tcp/127.0.0.1:0"],
        2,
        &["no phase of this run is for actors"],
    );
    workplace.fail(&["learn", "fleet.toml"], 2, &["nothing says where actors are", "--listen"]);
    for nowhere in [["--listen", "nowhere"], ["--connect", "tcp/somewhere"]] {
        let words = [nowhere[1], "PROTOCOL/ADDRESS:PORT"];
        workplace.fail(&["learn", "fleet.toml", nowhere[0], nowhere[1]], 2, &words);
        workplace.fail(&["act", "--name", "a", "--spool", "s", "--connect", nowhere[1]], 2, &words);
    }
    // In use: not the user's words are at fault.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("tcp/{}", taken.local_addr().unwrap());
    workplace.fail(&["learn", "fleet.toml", "--listen", &taken], 1, &["cannot listen", &taken]);
    workplace.fail(&["learn", "fleet.toml", "--replay", "."], 2, &["no fleet.jsonl"]);
    let too_few = "phase.1.online.schedule.fleet.episodes_ahead=2";
    workplace.fail(
        &["learn", "fleet.toml", too_few, "--listen", "tcp/127.0.0.1:0"],
        2,
        &["episodes_per_round (4)"],
    );
}

#[test]
fn an_actor_without_a_learner_acts_on_until_its_spool_is_full_and_holds() {
    let workplace = with_actors("env_steps = 100000");
    let (mut learner, endpoint) = learner(&workplace, "fleet.toml", "tcp/127.0.0.1:0");
    let mut first = actor(&workplace, &endpoint, "arm", &[]);
    first.event("driven");
    learner.until("an episode", |e| e["event"] == "fleet" && count(e, "stored") >= 1);
    learner.kill();
    // Another program of the same actor begins without any learner, with the policy that is kept.
    first.kill();
    let mut alone = actor(&workplace, &endpoint, "arm", &["--spool-mib", "1", "--worlds", "64"]);
    let full = alone.until("full", |e| e["event"] == "situation" && e["full"] == true);
    assert!(count(&full, "spooled_bytes") >= 1 << 20 && full["connected"] == false, "{full}");
    assert_eq!(spooled(&workplace, "arm") as u64, count(&full, "spooled_episodes"));
    alone.signal("-INT");
    let (code, said) = alone.end();
    assert_eq!(code, 130, "{:#?}", said.last());
    assert!(Path::new(&workplace.path("arm/policy/kept.json")).is_file());
}
