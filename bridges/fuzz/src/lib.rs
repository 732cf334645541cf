//! What the fuzz targets share: a robot, a directory, and a learner's intake.

use std::path::Path;

use surefoot_bridges::dialects::{Codec, dialect};
use surefoot_bridges::fleet::intake::{Intake, Terms};
use surefoot_bridges::fleet::shipment::{ContentHash, SpoolId};
use surefoot_bridges::fleet::wire::{Hello, PROTOCOL};
use surefoot_core::contract::{LinkContract, LinkDialect, NativeLink, RmwZenohLink, Ros2ddsLink, RosCommand};
use surefoot_core::{DataError, EnvSpec, Episode, EpisodeStore, Field, RobotContract};

/// The spool and the program of an actor that was taken in.
pub const SPOOL: SpoolId = SpoolId([1; 16]);
/// See [`SPOOL`].
pub const INSTANCE: SpoolId = SpoolId([2; 16]);
/// Larger episodes are refused.
pub const MAX_EPISODE_BYTES: u64 = 1 << 14;

/// A robot of two joints, and how it is spoken to.
pub struct Robot {
    /// The robot.
    pub contract: RobotContract,
    link: LinkContract,
}

impl Robot {
    /// In one of the dialects.
    pub fn of(which: u8) -> Self {
        let joint = |name: &str| {
            format!(
                "[[joints]]\nname = \"{name}\"\nunit = \"rad\"\nmin_position = -1.0\nmax_position = 1.0\n\
                 max_velocity = 2.0\nmax_acceleration = 5.0\n"
            )
        };
        let text =
            format!("name = \"arm\"\ncontrol_hz = 100.0\npolicy_hz = 10.0\n{}{}", joint("a"), joint("b"));
        let contract = RobotContract::parse(&text, Path::new("arm.toml")).expect("a contract");
        let commands = [RosCommand::JointTrajectory, RosCommand::JointCommand, RosCommand::Float64MultiArray];
        let command = commands[usize::from(which / 3) % commands.len()];
        let dialect = match which % 3 {
            0 => LinkDialect::Native(NativeLink::default()),
            1 => LinkDialect::RmwZenoh(RmwZenohLink { command, ..RmwZenohLink::default() }),
            _ => LinkDialect::Ros2dds(Ros2ddsLink { command }),
        };
        Self { contract, link: LinkContract { dialect, ..LinkContract::at("tcp/127.0.0.1:7447") } }
    }

    /// Its codec.
    pub fn codec(&self) -> Box<dyn Codec> {
        let dialect = dialect(&self.contract, &self.link).expect("a dialect");
        dialect.codec("9ca0f8facf84ffb1e6bfa4f2500889f0").expect("a codec")
    }
}

/// Runs `work` in an empty directory. With `/dev/shm`, no disk is written to.
pub fn with_directory(work: impl FnOnce(&Path)) {
    let shm = Path::new("/dev/shm");
    let directory = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
    work(directory.expect("a temporary directory").path());
}

/// Content with its hash behind it.
pub fn hashed(content: &[u8]) -> Vec<u8> {
    [content, &ContentHash::of(content).0].concat()
}

#[derive(Default)]
struct Shelf(Vec<Episode>);

impl EpisodeStore for Shelf {
    fn count(&self) -> u64 {
        self.0.len() as u64
    }
    fn append(&mut self, episode: &Episode) -> Result<(), DataError> {
        self.0.push(episode.clone());
        Ok(())
    }
    fn read(&self, index: u64) -> Result<Episode, DataError> {
        Ok(self.0[index as usize].clone())
    }
}

fn spec() -> EnvSpec {
    EnvSpec {
        name: "line".into(),
        observation: vec![Field::unbounded("x", "m")],
        action: vec![Field::bounded("push", "m/s", -1.0, 1.0)],
        step_secs: 0.1,
        max_steps: 100,
        reward_range: None,
        contract_hash: None,
    }
}

/// A learner's intake into memory.
pub fn intake(directory: &Path) -> Intake {
    let terms = Terms { run: "run".into(), spec: spec(), max_episode_bytes: MAX_EPISODE_BYTES };
    Intake::open(terms, Box::new(Shelf::default()), &directory.join("fleet.jsonl")).expect("an intake")
}

/// Takes the actor `arm` in.
pub fn joined(intake: &mut Intake) {
    let hello = Hello {
        protocol: PROTOCOL,
        actor: "arm".into(),
        spool: SPOOL.to_string(),
        instance: INSTANCE.to_string(),
        spec: Some(spec()),
        architecture_hash: None,
        run: None,
        spooled: 0,
    };
    intake.join(&hello, |_, _| false).expect("it is taken in");
}
