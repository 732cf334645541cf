//! How fast a learner takes episodes in, and how soon a policy is everywhere: N actors with links and spools of their own, in one program.
//!
//! `cargo run --release -p surefoot-bridges --example fleet_throughput -- [actors] [episodes of each] [steps] [directory]`
//!
//! Episodes have 20 observation and 7 action numbers. The learner writes each into a file of its own and brings it to the disk before
//! it acknowledges, as `surefoot learn` does; the format is the shipment's own here, so HDF5 is not measured. Actors write them to
//! their spools first, and that is not part of the time.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use surefoot_bridges::Endpoints;
use surefoot_bridges::fleet::ledger::shipment_of;
use surefoot_bridges::fleet::shipment::Shipment;
use surefoot_bridges::fleet::{ActorConfig, ActorLink, LearnerConfig, LearnerLink};
use surefoot_core::clock::Stopwatch;
use surefoot_core::{
    DataError, EnvSpec, Episode, EpisodeStore, Field, Fleet, Normalizer, PolicyArtifact, PolicyCard,
    PolicyOffer, StepEnd, Stream,
};

type Failure = Box<dyn std::error::Error>;

const LONG: Duration = Duration::from_secs(600);
const POLICIES: u64 = 10;

/// A file for each episode.
struct Files {
    directory: PathBuf,
    count: u64,
}

impl EpisodeStore for Files {
    fn count(&self) -> u64 {
        self.count
    }
    fn append(&mut self, episode: &Episode) -> Result<(), DataError> {
        let path = self.directory.join(format!("{}.sfep", self.count));
        let bytes = shipment_of(episode).map(|(shipment, _)| shipment.encode().0).unwrap_or_default();
        let written = std::fs::File::create(&path).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::File::open(&self.directory)?.sync_all()
        });
        written.map_err(|source| DataError::Io { path, source })?;
        self.count += 1;
        Ok(())
    }
    fn read(&self, index: u64) -> Result<Episode, DataError> {
        let path = self.directory.join(format!("{index}.sfep"));
        let bytes = std::fs::read(&path).map_err(|source| DataError::Io { path: path.clone(), source })?;
        let decoded = Shipment::decode(&bytes).map_err(std::io::Error::other);
        decoded.map(|(shipment, _)| shipment.episode).map_err(|source| DataError::Io { path, source })
    }
}

fn spec() -> EnvSpec {
    let field = |prefix: &str, i: usize| Field::bounded(format!("{prefix}{i}"), "1", -1.0, 1.0);
    EnvSpec {
        name: "throughput".into(),
        observation: (0..20).map(|i| field("o", i)).collect(),
        action: (0..7).map(|i| field("a", i)).collect(),
        step_secs: 0.1,
        max_steps: usize::MAX,
        reward_range: None,
        contract_hash: None,
    }
}

fn episode(steps: usize, seed: u64) -> Episode {
    let mut stream = Stream::new(seed, "throughput", 0);
    let mut row = |n: usize| (0..n).map(|_| stream.unit() as f32).collect::<Vec<_>>();
    Episode {
        observation: row(20 * steps),
        next_observation: row(20 * steps),
        action: row(7 * steps),
        proposed: row(7 * steps),
        reward: row(steps),
        end: (0..steps).map(|t| StepEnd::from_flags(false, t + 1 == steps)).collect(),
        seed: Some(seed),
        ..Episode::default()
    }
}

fn offer(version: u64) -> PolicyOffer {
    let artifact = |updates: u64| {
        let card = PolicyCard {
            format: PolicyCard::FORMAT.into(),
            algorithm: "throughput".into(),
            spec: spec(),
            normalizer: Normalizer::default(),
            data_hashes: Vec::new(),
            updates,
            architecture: serde_json::json!({ "hidden": [256, 256] }),
        };
        // Two hidden layers of 256: about 300 kB.
        Arc::new(PolicyArtifact {
            card,
            weights: (0..300_000_u64).map(|i| (i * 31 + updates) as u8).collect(),
        })
    };
    let (policy, reference) = (artifact(version), artifact(0));
    PolicyOffer { version, policy, reference, terms: serde_json::Value::Null, metrics: BTreeMap::new() }
}

fn measure(actors: usize, episodes: u64, steps: usize, directory: &Path) -> Result<(), Failure> {
    let kept = directory.join("kept");
    std::fs::create_dir_all(&kept)?;
    // The port is chosen now, and the learner comes when the spools are full.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let endpoint = format!("tcp/127.0.0.1:{port}");
    let mut links = Vec::new();
    for i in 0..actors {
        let name = format!("actor-{i}");
        let link = ActorLink::start(ActorConfig {
            endpoints: Endpoints::connecting(&endpoint),
            namespace: "throughput".into(),
            run: None,
            spool: directory.join(&name),
            name,
            max_spool_bytes: u64::MAX,
            spec: Some(spec()),
        })?;
        for seed in 0..episodes {
            link.push(&episode(steps, i as u64 * episodes + seed))?;
        }
        links.push(link);
    }
    let bytes: u64 = links.iter().map(|link| link.situation().spooled.1).sum();
    let total = actors as u64 * episodes;
    let mut learner = LearnerLink::start(
        LearnerConfig {
            endpoints: Endpoints::listening(endpoint),
            namespace: "throughput".into(),
            run: "run".into(),
            spec: spec(),
            task: serde_json::Value::Null,
            max_episode_bytes: 1 << 30,
            episodes_ahead: u64::MAX,
            ledger: directory.join("fleet.jsonl"),
        },
        Box::new(Files { directory: kept, count: 0 }),
    )?;
    // From the first episode on: how long actors take to find a learner that returned is another figure.
    learner.wait_beyond(0, LONG)?;
    let since = Stopwatch::start();
    let before = learner.stored();
    learner.wait_beyond(total - 1, LONG)?;
    let secs = since.elapsed().as_secs_f64();
    let rate = (total - before) as f64 / secs;
    let mut spread = Vec::new();
    for version in 1..=POLICIES {
        let since = Stopwatch::start();
        learner.offer(offer(version))?;
        for link in &links {
            let mut seen = 0;
            while link.situation().policy_version != Some(version) {
                link.wait(&mut seen, Duration::from_millis(100));
            }
        }
        spread.push(since.elapsed().as_secs_f64() * 1e3);
    }
    spread.sort_by(f64::total_cmp);
    let line = format!(
        "{actors:2} actors: {rate:7.0} episodes/s, {:6.1} MB/s ({total} episodes of {:.0} kB); a policy of 0.3 MB at all of them after {:.1} ms (median of {POLICIES}, longest {:.1} ms)\n",
        rate * bytes as f64 / total as f64 / 1e6,
        bytes as f64 / total as f64 / 1e3,
        spread[spread.len() / 2],
        spread[spread.len() - 1],
    );
    std::io::stdout().write_all(line.as_bytes())?;
    Ok(())
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, otherwise: usize| arguments.get(i).map_or(Ok(otherwise), |text| text.parse());
    let (actors, episodes, steps) = (number(0, 4)?, number(1, 200)? as u64, number(2, 60)?);
    let directory = arguments.get(3).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = directory.join(format!("fleet-throughput-{}", std::process::id()));
    let measured = measure(actors, episodes, steps, &directory);
    std::fs::remove_dir_all(&directory)?;
    measured
}
