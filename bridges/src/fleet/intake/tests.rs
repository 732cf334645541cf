use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use surefoot_core::{StepEnd, Stream};

use super::*;
use crate::fleet::ledger::{read_ledger, shipment_of};
use crate::fleet::package::tests::spec;

/// Episodes in memory, for as long as the disk under them is not full.
#[derive(Clone, Default)]
struct Shelf {
    episodes: Arc<Mutex<Vec<Episode>>>,
    full: Arc<Mutex<bool>>,
}

impl EpisodeStore for Shelf {
    fn count(&self) -> u64 {
        self.episodes.lock().unwrap().len() as u64
    }
    fn append(&mut self, episode: &Episode) -> Result<(), DataError> {
        if *self.full.lock().unwrap() {
            let source = std::io::ErrorKind::StorageFull.into();
            return Err(DataError::Io { path: PathBuf::from("shelf"), source });
        }
        self.episodes.lock().unwrap().push(episode.clone());
        Ok(())
    }
    fn read(&self, index: u64) -> Result<Episode, DataError> {
        Ok(self.episodes.lock().unwrap()[index as usize].clone())
    }
}

struct Bench {
    intake: Intake,
    shelf: Shelf,
    directory: tempfile::TempDir,
}

const SPOOL: SpoolId = SpoolId([1; 16]);
const INSTANCE: SpoolId = SpoolId([2; 16]);

fn terms() -> Terms {
    Terms { run: "run".into(), spec: spec(), max_episode_bytes: 8 << 20 }
}

fn hello(actor: &str) -> Hello {
    Hello {
        protocol: PROTOCOL,
        actor: actor.into(),
        spool: SPOOL.to_string(),
        instance: INSTANCE.to_string(),
        spec: Some(spec()),
        architecture_hash: None,
        run: None,
        spooled: 0,
    }
}

impl Bench {
    fn new() -> Self {
        let (shelf, directory) = (Shelf::default(), tempfile::tempdir().unwrap());
        let mut bench = Self { intake: open(&shelf, &directory), shelf, directory };
        bench.join();
        bench
    }
    /// The program of the learner dies and comes back.
    fn restart(&mut self) {
        self.intake = open(&self.shelf, &self.directory);
    }
    fn join(&mut self) {
        self.intake.join(&hello("arm"), |_, _| false).unwrap();
    }
    fn deliver(&mut self, shipment: &Shipment) -> UploadAnswer {
        let (bytes, hash) = shipment.encode();
        let mut index = 0;
        loop {
            match self.intake.chunk("arm", &chunk(&bytes, hash, shipment.number, index)) {
                UploadAnswer::Next { chunk } => index = chunk,
                other => return other,
            }
        }
    }
    fn contents(&self) -> Vec<ContentHash> {
        let episodes = self.shelf.episodes.lock().unwrap();
        episodes.iter().map(|e| shipment_of(e).unwrap().0.encode().1).collect()
    }
}

fn open(shelf: &Shelf, directory: &tempfile::TempDir) -> Intake {
    Intake::open(terms(), Box::new(shelf.clone()), &directory.path().join("fleet.jsonl")).unwrap()
}

fn chunk(bytes: &[u8], hash: ContentHash, number: u64, index: u32) -> Vec<u8> {
    let part = bytes.chunks(CHUNK_BYTES as usize).nth(index as usize).unwrap();
    let total = bytes.len() as u64;
    Chunk { spool: SPOOL, instance: INSTANCE, number, hash, total, index, spooled: 1, bytes: part }.encode()
}

fn shipment(number: u64, steps: usize) -> Shipment {
    let mut stream = Stream::new(number, "shipment", 0);
    let mut row = |n: usize| (0..n).map(|_| stream.unit() as f32).collect::<Vec<_>>();
    let episode = Episode {
        name: format!("online_{number}"),
        observation: row(2 * steps),
        next_observation: row(2 * steps),
        action: row(steps),
        proposed: row(steps),
        reward: row(steps),
        end: (0..steps).map(|t| StepEnd::from_flags(false, t + 1 == steps)).collect(),
        ..Episode::default()
    };
    Shipment { actor: "arm".into(), spool: SPOOL, number, policy_version: 5, episode }
}

/// More than two chunks.
const LONG: usize = 60_000;

#[test]
fn whatever_is_sent_twice_is_kept_once_also_by_another_program_of_the_learner() {
    let mut bench = Bench::new();
    for number in 0..3 {
        let steps = if number == 1 { LONG } else { 4 };
        let kept = bench.deliver(&shipment(number, steps));
        assert_eq!(kept, UploadAnswer::Kept { index: number, duplicate: false });
        assert_eq!(
            bench.deliver(&shipment(number, steps)),
            UploadAnswer::Kept { index: number, duplicate: true }
        );
    }
    bench.restart();
    let (bytes, hash) = shipment(1, LONG).encode();
    let stranger = bench.intake.chunk("arm", &chunk(&bytes, hash, 1, 0));
    assert_eq!(stranger, UploadAnswer::JoinFirst);
    assert_eq!(bench.intake.join(&hello("arm"), |_, _| false).unwrap(), 3, "numbers go on");
    assert_eq!(bench.deliver(&shipment(1, LONG)), UploadAnswer::Kept { index: 1, duplicate: true });
    let sent: Vec<_> = (0..3).map(|n| shipment(n, if n == 1 { LONG } else { 4 }).encode().1).collect();
    assert_eq!(bench.contents(), sent);
}

#[test]
fn an_upload_goes_on_from_the_start_when_the_learner_comes_back_in_the_middle() {
    let mut bench = Bench::new();
    let (bytes, hash) = shipment(0, LONG).encode();
    assert_eq!(bench.intake.chunk("arm", &chunk(&bytes, hash, 0, 0)), UploadAnswer::Next { chunk: 1 });
    bench.restart();
    bench.join();
    assert_eq!(bench.intake.chunk("arm", &chunk(&bytes, hash, 0, 1)), UploadAnswer::Next { chunk: 0 });
    // A chunk that comes twice is not taken twice.
    assert_eq!(bench.intake.chunk("arm", &chunk(&bytes, hash, 0, 0)), UploadAnswer::Next { chunk: 1 });
    assert_eq!(bench.intake.chunk("arm", &chunk(&bytes, hash, 0, 0)), UploadAnswer::Next { chunk: 1 });
    assert_eq!(bench.deliver(&shipment(0, LONG)), UploadAnswer::Kept { index: 0, duplicate: false });
    assert_eq!(bench.contents(), [hash]);
}

#[test]
fn a_ledger_that_was_cut_is_written_again_from_the_store() {
    let mut bench = Bench::new();
    for number in 0..4 {
        bench.deliver(&shipment(number, 3));
    }
    let path = bench.directory.path().join("fleet.jsonl");
    let whole = std::fs::read(&path).unwrap();
    for cut in [0, 10, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        bench.restart();
        assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {cut}");
    }
    let lines = read_ledger(&path).unwrap();
    let told: Vec<(u64, u64, usize, u64)> =
        lines.iter().map(|l| (l.index, l.number, l.steps, l.policy_version)).collect();
    assert_eq!(told, [(0, 0, 3, 5), (1, 1, 3, 5), (2, 2, 3, 5), (3, 3, 3, 5)]);
    bench.shelf.episodes.lock().unwrap().pop();
    let more = Intake::open(terms(), Box::new(bench.shelf.clone()), &path).err().unwrap().to_string();
    assert!(more.contains("at most one for each of the 3 episodes"), "{more}");
}

#[test]
fn an_episode_is_not_acknowledged_while_the_disk_is_full() {
    let mut bench = Bench::new();
    *bench.shelf.full.lock().unwrap() = true;
    let later = bench.deliver(&shipment(0, 3));
    assert!(matches!(&later, UploadAnswer::Later { reason } if reason.contains("shelf")), "{later:?}");
    assert!(bench.contents().is_empty());
    *bench.shelf.full.lock().unwrap() = false;
    assert_eq!(bench.deliver(&shipment(0, 3)), UploadAnswer::Kept { index: 0, duplicate: false });
}

#[test]
fn what_cannot_be_learned_from_is_refused_by_name_and_not_kept() {
    let mut bench = Bench::new();
    let refused = |bench: &mut Bench, change: &dyn Fn(&mut Shipment)| {
        let mut shipment = shipment(0, 3);
        change(&mut shipment);
        match bench.deliver(&shipment) {
            UploadAnswer::Refused(refusal) => refusal.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let b = &mut bench;
    assert!(refused(b, &|s| s.episode.reward[1] = f32::NAN).starts_with("reward, step 1, number 0"));
    assert!(refused(b, &|s| s.episode.action[2] = f32::INFINITY).starts_with("action, step 2"));
    assert!(
        refused(b, &|s| s.episode.end[0] = StepEnd::Terminated).starts_with("end: expected an end at step 2")
    );
    assert!(refused(b, &|s| s.episode.end[2] = StepEnd::Running).contains("found running"));
    assert!(
        refused(b, &|s| s.episode = Episode::default()).starts_with("episode: expected at least one step")
    );
    let wide = |s: &mut Shipment| {
        s.episode.observation = vec![0.0; 9];
        s.episode.next_observation = vec![0.0; 9];
    };
    assert!(refused(b, &wide).starts_with("observation: expected 3 rows of 2"));
    assert!(refused(b, &|s| s.actor = "other".into()).starts_with("origin"));
    let named = |s: &mut Shipment| drop(s.episode.attributes.insert("actor".into(), "x".into()));
    assert!(refused(b, &named).starts_with("attributes"));
    let (bytes, hash) = shipment(0, 3).encode();
    let message = chunk(&bytes, hash, 0, 0);
    let cut = bench.intake.chunk("arm", &message[..message.len() - 1]);
    assert!(matches!(cut, UploadAnswer::Refused(_)), "{cut:?}");
    bench.intake.terms.max_episode_bytes = 100;
    let large = bench.deliver(&shipment(0, 3));
    assert!(matches!(&large, UploadAnswer::Refused(r) if r.what == "episode size"), "{large:?}");
    assert!(bench.contents().is_empty());
    assert_eq!(bench.intake.actors()[0].refused, 10);
}

#[test]
fn another_content_under_a_kept_number_is_refused() {
    let mut bench = Bench::new();
    bench.deliver(&shipment(0, 3));
    let other = Shipment { number: 0, ..shipment(9, 3) };
    let answer = bench.deliver(&other);
    assert!(matches!(&answer, UploadAnswer::Refused(r) if r.what.contains("episode 0")), "{answer:?}");
    assert_eq!(bench.contents().len(), 1);
}

#[test]
fn an_actor_that_does_not_fit_is_refused_with_the_first_difference() {
    let mut bench = Bench::new();
    let refused = |bench: &mut Bench, change: &dyn Fn(&mut Hello)| {
        let mut hello = hello("second");
        change(&mut hello);
        bench.intake.join(&hello, |_, _| true).unwrap_err().to_string()
    };
    let b = &mut bench;
    assert!(refused(b, &|h| h.protocol = 9).starts_with("protocol: expected 1, found 9"));
    assert!(refused(b, &|h| h.actor = "a/b".into()).starts_with("actor name"));
    let unit = |h: &mut Hello| h.spec.as_mut().unwrap().action[0].unit = "mm/s".into();
    assert!(refused(b, &unit).starts_with("action[0] (push) unit: expected m/s, found mm/s"));
    let contract = |h: &mut Hello| h.spec.as_mut().unwrap().contract_hash = Some("def".into());
    assert!(refused(b, &contract).starts_with("robot contract hash: expected abc, found def"));
    let other_run = |h: &mut Hello| (h.run, h.spooled) = (Some("other".into()), 2);
    assert!(refused(b, &other_run).contains("found 2 episodes for other"));
    // Another spool under a name whose actor is there; the same spool is the same actor, come back.
    let same_name = |h: &mut Hello| (h.actor, h.spool) = ("arm".into(), SpoolId([9; 16]).to_string());
    assert!(refused(b, &same_name).contains("which another actor is using"));
    assert!(b.intake.join(&hello("arm"), |_, _| true).is_ok());
    let mut returned = hello("arm");
    returned.spool = SpoolId([9; 16]).to_string();
    assert!(b.intake.join(&returned, |_, _| false).is_ok(), "the first one is gone");
    b.intake.set_architecture("one".into());
    assert!(
        refused(b, &|h| h.architecture_hash = Some("two".into())).starts_with("policy architecture hash")
    );
    let more = (0..MAX_ACTORS).map(|i| bench.intake.join(&hello(&format!("a{i}")), |_, _| false));
    assert_eq!(more.filter(Result::is_err).count(), 1);
}
