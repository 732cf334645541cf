//! Both ends of the link over zenoh on this machine's loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use surefoot_bridges::Endpoints;
use surefoot_bridges::fleet::ledger::{read_ledger, shipment_of};
use surefoot_bridges::fleet::package::{architecture_hash, pack};
use surefoot_bridges::fleet::shipment::{ContentHash, SpoolId};
use surefoot_bridges::fleet::wire::{
    BlobRef, Chunk, JoinReply, Keys, MAX_MESSAGE_BYTES, Manifest, PROTOCOL, PolicyEntry, UploadAnswer,
    UploadReply, Welcome,
};
use surefoot_bridges::fleet::{ActorConfig, ActorLink, LearnerConfig, LearnerLink, Situation};
use surefoot_core::{
    DataError, EnvSpec, Episode, EpisodeStore, Field, Fleet, Normalizer, PolicyArtifact, PolicyCard,
    PolicyOffer, StepEnd, Stream,
};
use zenoh::Wait;

/// Nothing here takes so long; a test that waits longer has failed.
const LONG: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Vec<Episode>>>);

impl EpisodeStore for Shelf {
    fn count(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }
    fn append(&mut self, episode: &Episode) -> Result<(), DataError> {
        self.0.lock().unwrap().push(episode.clone());
        Ok(())
    }
    fn read(&self, index: u64) -> Result<Episode, DataError> {
        Ok(self.0.lock().unwrap()[index as usize].clone())
    }
}

impl Shelf {
    fn contents(&self) -> Vec<ContentHash> {
        self.0.lock().unwrap().iter().map(|e| shipment_of(e).unwrap().0.encode().1).collect()
    }
}

fn spec() -> EnvSpec {
    EnvSpec {
        name: "line".into(),
        observation: vec![Field::unbounded("x", "m"), Field::unbounded("v", "m/s")],
        action: vec![Field::bounded("push", "m/s", -1.0, 1.0)],
        step_secs: 0.1,
        max_steps: 100_000,
        reward_range: None,
        contract_hash: Some("abc".into()),
    }
}

fn artifact(updates: u64) -> PolicyArtifact {
    let card = PolicyCard {
        format: PolicyCard::FORMAT.into(),
        algorithm: "test".into(),
        spec: spec(),
        normalizer: Normalizer::default(),
        data_hashes: Vec::new(),
        updates,
        architecture: serde_json::json!({ "hidden": [16] }),
    };
    // More than two ranges.
    PolicyArtifact { card, weights: (0..1_200_000_u64).map(|i| (i * 31 + updates) as u8).collect() }
}

fn offer(version: u64) -> PolicyOffer {
    PolicyOffer {
        version,
        policy: Arc::new(artifact(version)),
        reference: Arc::new(artifact(0)),
        terms: serde_json::json!({ "radius": 1.8 }),
        metrics: BTreeMap::new(),
    }
}

fn episode(steps: usize, seed: u64) -> Episode {
    let mut stream = Stream::new(seed, "episode", 0);
    let mut row = |n: usize| (0..n).map(|_| stream.unit() as f32).collect::<Vec<_>>();
    Episode {
        name: format!("e{seed}"),
        observation: row(2 * steps),
        next_observation: row(2 * steps),
        action: row(steps),
        reward: row(steps),
        end: (0..steps).map(|t| StepEnd::from_flags(false, t + 1 == steps)).collect(),
        seed: Some(seed),
        attributes: [("policy_version".to_owned(), "4".to_owned())].into(),
        ..Episode::default()
    }
}

/// A learner at this endpoint. One that died may leave its port in use for a moment.
fn learner(at: &str, shelf: &Shelf, directory: &Path) -> (LearnerLink, String) {
    let config = LearnerConfig {
        endpoints: Endpoints::listening(at),
        namespace: "test".into(),
        run: "run".into(),
        spec: spec(),
        task: serde_json::json!("line"),
        max_episode_bytes: 4 << 20,
        episodes_ahead: 4,
        ledger: directory.join("fleet.jsonl"),
    };
    let link = LearnerLink::start(config, Box::new(shelf.clone())).unwrap();
    let endpoint = link.endpoints()[0].clone();
    (link, endpoint)
}

fn actor_config(endpoint: &str, name: &str, directory: &Path) -> ActorConfig {
    ActorConfig {
        endpoints: Endpoints::connecting(endpoint),
        namespace: "test".into(),
        run: None,
        name: name.into(),
        spool: directory.join(name),
        max_spool_bytes: 1 << 30,
        spec: Some(spec()),
    }
}

/// Waits until things stand like this.
fn until(actor: &ActorLink, what: &str, holds: impl Fn(&Situation) -> bool) -> Situation {
    let since = surefoot_core::clock::Stopwatch::start();
    let mut seen = 0;
    loop {
        let situation = actor.situation();
        if holds(&situation) {
            return situation;
        }
        assert!(since.elapsed() < LONG, "{what}: {situation:?}");
        actor.wait(&mut seen, Duration::from_millis(200));
    }
}

fn ask(session: &zenoh::Session, key: &str, payload: Vec<u8>) -> Vec<u8> {
    let replies = session.get(key).payload(payload).timeout(LONG).wait().unwrap();
    let reply = replies.recv().expect("an answer");
    reply.result().expect("no error").payload().to_bytes().into_owned()
}

fn client(endpoint: &str) -> zenoh::Session {
    let config = format!(
        "{{ mode: \"client\", connect: {{ endpoints: [\"{endpoint}\"] }}, scouting: {{ multicast: {{ enabled: false }} }} }}"
    );
    zenoh::open(zenoh::Config::from_json5(&config).unwrap()).wait().unwrap()
}

#[test]
fn episodes_come_once_each_and_in_order_and_policies_go_whole() {
    let directory = tempfile::tempdir().unwrap();
    let shelf = Shelf::default();
    let (mut link, endpoint) = learner("tcp/127.0.0.1:0", &shelf, directory.path());
    let actor = ActorLink::start(actor_config(&endpoint, "arm", directory.path())).unwrap();
    until(&actor, "connected", |s| s.connected);
    // The second one has more than two chunks.
    for (i, steps) in [5, 60_000, 7].into_iter().enumerate() {
        actor.push(&episode(steps, i as u64)).unwrap();
    }
    assert!(actor.drain(LONG), "{:?}", actor.situation());
    assert!(link.wait_beyond(2, LONG).unwrap());
    let lines = read_ledger(&directory.path().join("fleet.jsonl")).unwrap();
    let told: Vec<(u64, u64, u64)> = lines.iter().map(|l| (l.index, l.number, l.policy_version)).collect();
    assert_eq!(told, [(0, 0, 4), (1, 1, 4), (2, 2, 4)]);
    let hashes: Vec<String> = shelf.contents().iter().map(ToString::to_string).collect();
    assert_eq!(hashes, lines.iter().map(|l| l.blake3.clone()).collect::<Vec<_>>());
    assert_eq!(link.episode(1).unwrap().observation, episode(60_000, 1).observation);
    link.offer(offer(7)).unwrap();
    until(&actor, "the policy", |s| s.policy_version == Some(7));
    let policy = actor.policy().unwrap();
    assert_eq!((&policy.policy, &policy.reference), (&artifact(7), &artifact(0)));
    // Enough episodes wait: hold, until they were learned from.
    actor.push(&episode(3, 9)).unwrap();
    until(&actor, "hold", |s| s.hold);
    link.taken(4);
    until(&actor, "go on", |s| !s.hold);
    let status = &link.actors()[0];
    assert_eq!(
        (status.name.as_str(), status.connected, status.episodes, status.duplicates),
        ("arm", true, 4, 0)
    );
    drop(actor);
    let gone = || link.actors().iter().all(|a| !a.connected);
    let since = surefoot_core::clock::Stopwatch::start();
    while !gone() {
        assert!(since.elapsed() < LONG);
        std::thread::yield_now();
    }
}

#[test]
fn a_learner_that_is_gone_costs_nothing_and_one_that_returns_gets_everything() {
    let directory = tempfile::tempdir().unwrap();
    let shelf = Shelf::default();
    let (mut link, endpoint) = learner("tcp/127.0.0.1:0", &shelf, directory.path());
    link.offer(offer(1)).unwrap();
    let actor = ActorLink::start(actor_config(&endpoint, "arm", directory.path())).unwrap();
    until(&actor, "the policy", |s| s.policy_version == Some(1));
    actor.push(&episode(5, 0)).unwrap();
    assert!(actor.drain(LONG));
    drop(link);
    for seed in 1..4 {
        actor.push(&episode(5, seed)).unwrap();
    }
    let alone = until(&actor, "alone", |s| !s.connected);
    assert!(alone.spooled.0 >= 1 && alone.policy_version == Some(1), "{alone:?}");
    // The actor's program dies as well: another one acts with the same policy at once.
    drop(actor);
    let actor = ActorLink::start(actor_config(&endpoint, "arm", directory.path())).unwrap();
    assert_eq!(actor.policy().unwrap().policy, artifact(1));
    assert_eq!(actor.next_number(), 4);
    let (_link, _) = learner(&endpoint, &shelf, directory.path());
    assert!(actor.drain(LONG), "{:?}", actor.situation());
    let kept = shelf.contents();
    let mut distinct = kept.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!((kept.len(), distinct.len()), (4, 4));
    let lines = read_ledger(&directory.path().join("fleet.jsonl")).unwrap();
    assert_eq!(lines.iter().map(|l| l.number).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn messages_of_strangers_are_refused_and_the_next_actor_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let shelf = Shelf::default();
    let (_link, endpoint) = learner("tcp/127.0.0.1:0", &shelf, directory.path());
    let stranger = client(&endpoint);
    let keys = Keys::new("test", "run");
    let mut overlong = vec![b'['; MAX_MESSAGE_BYTES + 1];
    for hello in [Vec::new(), b"{}".to_vec(), b"\xff\x00".to_vec(), std::mem::take(&mut overlong)] {
        let reply: JoinReply = serde_json::from_slice(&ask(&stranger, &keys.join(), hello)).unwrap();
        assert!(matches!(&reply, JoinReply::Refused(r) if r.what == "message"), "{reply:?}");
    }
    let id = SpoolId([3; 16]);
    let (bytes, total) = (vec![7; 100], 100);
    let chunk = Chunk {
        spool: id,
        instance: id,
        number: 0,
        hash: ContentHash([0; 32]),
        total,
        index: 0,
        spooled: 1,
        bytes: &bytes,
    };
    let upload = |actor: &str, message: Vec<u8>| -> UploadAnswer {
        let reply = ask(&stranger, &keys.chunk(actor, 0, 0), message);
        serde_json::from_slice::<UploadReply>(&reply).unwrap().answer
    };
    assert_eq!(upload("nobody", chunk.encode()), UploadAnswer::JoinFirst);
    let hello = |name: &str| {
        serde_json::json!({ "protocol": PROTOCOL, "actor": name, "spool": id.to_string(), "instance": id.to_string(),
            "spec": null, "architecture_hash": null, "run": null, "spooled": 0 })
    };
    let joined = ask(&stranger, &keys.join(), serde_json::to_vec(&hello("stranger")).unwrap());
    assert!(matches!(serde_json::from_slice(&joined).unwrap(), JoinReply::Welcome(_)));
    for message in
        [Vec::new(), b"noise".to_vec(), chunk.encode(), Chunk { total: u64::MAX, ..chunk }.encode()]
    {
        let answer = upload("stranger", message);
        assert!(matches!(answer, UploadAnswer::Refused(_)), "{answer:?}");
    }
    assert_eq!(shelf.count(), 0);
    let actor = ActorLink::start(actor_config(&endpoint, "arm", directory.path())).unwrap();
    actor.push(&episode(3, 0)).unwrap();
    assert!(actor.drain(LONG));
    assert_eq!(shelf.count(), 1);
}

#[test]
fn a_name_in_use_and_a_foreign_contract_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let shelf = Shelf::default();
    let (_link, endpoint) = learner("tcp/127.0.0.1:0", &shelf, directory.path());
    let first = ActorLink::start(actor_config(&endpoint, "arm", directory.path())).unwrap();
    until(&first, "connected", |s| s.connected);
    let elsewhere = tempfile::tempdir().unwrap();
    let second = ActorLink::start(actor_config(&endpoint, "arm", elsewhere.path())).unwrap();
    let refused = until(&second, "refused", |s| s.refused.is_some()).refused.unwrap().to_string();
    assert!(refused.contains("which another actor is using"), "{refused}");
    let mut foreign = actor_config(&endpoint, "other", directory.path());
    foreign.spec.as_mut().unwrap().contract_hash = Some("def".into());
    let foreign = ActorLink::start(foreign).unwrap();
    let refused = until(&foreign, "refused", |s| s.refused.is_some()).refused.unwrap().to_string();
    assert!(refused.starts_with("robot contract hash: expected abc, found def"), "{refused}");
    // The first one is not harmed.
    first.push(&episode(3, 0)).unwrap();
    assert!(first.drain(LONG));
}

/// A learner whose shelf of policies is damaged: a hand-made one, since ours has none.
struct Damaged {
    _session: zenoh::Session,
    _queryables: Vec<zenoh::query::Queryable<()>>,
    endpoint: String,
    blobs: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    manifest: Arc<Mutex<Manifest>>,
}

impl Damaged {
    fn listen() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let endpoint = format!("tcp/127.0.0.1:{port}");
        let config = format!(
            "{{ mode: \"peer\", listen: {{ endpoints: [\"{endpoint}\"] }}, scouting: {{ multicast: {{ enabled: false }} }} }}"
        );
        let session = zenoh::open(zenoh::Config::from_json5(&config).unwrap()).wait().unwrap();
        let keys = Keys::new("test", "run");
        let (blobs, manifest) =
            (Arc::<Mutex<BTreeMap<String, Vec<u8>>>>::default(), Arc::<Mutex<Manifest>>::default());
        let (shown, shelf, welcoming) = (manifest.clone(), blobs.clone(), manifest.clone());
        let reply = |query: &zenoh::query::Query, bytes: Vec<u8>| {
            let key = query.key_expr().clone();
            query
                .reply(
                    if key.is_wild() { Keys::new("test", "run").manifest() } else { key.to_string() },
                    bytes,
                )
                .wait()
                .unwrap();
        };
        let queryables = vec![
            session
                .declare_queryable(keys.manifest())
                .callback(move |query| reply(&query, serde_json::to_vec(&*shown.lock().unwrap()).unwrap()))
                .wait()
                .unwrap(),
            session
                .declare_queryable(keys.join())
                .callback(move |query| {
                    let welcome = JoinReply::Welcome(Box::new(Welcome {
                        protocol: PROTOCOL,
                        run: "run".into(),
                        spec: spec(),
                        task: serde_json::Value::Null,
                        max_episode_bytes: 1 << 20,
                        next_number: 0,
                        manifest: welcoming.lock().unwrap().clone(),
                    }));
                    reply(&query, serde_json::to_vec(&welcome).unwrap());
                })
                .wait()
                .unwrap(),
            session
                .declare_queryable(keys.blobs())
                .callback(move |query| {
                    let hash = query.key_expr().as_str().rsplit('/').next().unwrap().to_owned();
                    let number = |name: &str| query.parameters().get(name).unwrap().parse::<usize>().unwrap();
                    let (offset, length) = (number("off"), number("len"));
                    let blob = shelf.lock().unwrap().get(&hash).cloned().unwrap_or_default();
                    let end = (offset + length).min(blob.len());
                    reply(&query, blob.get(offset..end).unwrap_or_default().to_vec());
                })
                .wait()
                .unwrap(),
        ];
        Self { _session: session, _queryables: queryables, endpoint, blobs, manifest }
    }

    /// Offers a policy of which these bytes are served.
    fn offer(&self, version: u64, spoil: impl Fn(&mut Vec<u8>)) {
        let refs = [version, 0].map(|updates| {
            let (mut bytes, hash) = pack(&artifact(updates)).unwrap();
            let entry = BlobRef { blake3: hash.to_string(), bytes: bytes.len() as u64 };
            if updates == version {
                spoil(&mut bytes);
            }
            self.blobs.lock().unwrap().insert(hash.to_string(), bytes);
            entry
        });
        let [policy, reference] = refs;
        let mut manifest = self.manifest.lock().unwrap();
        manifest.sequence += 1;
        manifest.policy = Some(PolicyEntry {
            version,
            policy,
            reference,
            architecture_hash: architecture_hash(&artifact(version).card),
            contract_hash: Some("abc".into()),
            created_unix_secs: 0.0,
            terms: serde_json::Value::Null,
            metrics: BTreeMap::new(),
        });
    }
}

#[test]
fn a_policy_that_does_not_come_whole_never_acts_and_the_one_before_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let learner = Damaged::listen();
    learner.offer(1, |_| {});
    let actor = ActorLink::start(actor_config(&learner.endpoint, "arm", directory.path())).unwrap();
    until(&actor, "the first policy", |s| s.policy_version == Some(1));
    type Spoil<'a> = &'a dyn Fn(&mut Vec<u8>);
    let spoilt: [Spoil<'_>; 3] =
        [&|bytes| bytes[900_000] ^= 1, &|bytes| bytes.truncate(700_000), &|bytes| bytes.clear()];
    for (version, spoil) in (2..).zip(spoilt) {
        learner.offer(version, spoil);
        let words = if version == 2 { "blake3" } else { "length" };
        let named = |s: &Situation| {
            s.trouble.as_ref().is_some_and(|t| t.contains(&format!("policy {version}")) && t.contains(words))
        };
        let situation = until(&actor, "the damage is told", named);
        assert_eq!(situation.policy_version, Some(1), "{situation:?}");
        assert_eq!(actor.policy().unwrap().policy, artifact(1));
    }
    learner.offer(9, |_| {});
    until(&actor, "a whole one", |s| s.policy_version == Some(9));
    assert_eq!(actor.policy().unwrap().policy, artifact(9));
}
