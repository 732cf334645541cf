//! What a learner with actors is made of.

use std::path::Path;

use anyhow::{Context, anyhow};
use surefoot_bridges::fleet::{LearnerConfig, LearnerLink};
use surefoot_bridges::{Endpoints, Purpose, SessionConfig};
use surefoot_core::{EnvSpec, Fleet, FleetError, RecordedFleet};
use surefoot_engine::{MakeFleet, OnlineConfig, PhaseConfig, Schedule};

use crate::args::{LearnArgs, MeetingArgs};
use crate::composition::recorder;
use crate::config::RunConfig;
use crate::failure::{Failure, usage};
use crate::output::Output;

/// Where actors and learner meet.
pub fn endpoints(listen: &[String], meeting: &MeetingArgs) -> Endpoints {
    let MeetingArgs { connect, session, namespace: _ } = meeting;
    Endpoints { listen: listen.to_vec(), connect: connect.clone(), file: session.clone() }
}

/// The largest number of episodes that may wait, of all phases with actors; `None` where there is no such phase.
pub fn episodes_ahead(config: &RunConfig) -> Option<u64> {
    let ahead = config.phase.iter().filter_map(|phase| match phase {
        PhaseConfig::Online(OnlineConfig { schedule: Schedule::Fleet(fleet), .. }) => {
            Some(fleet.episodes_ahead)
        }
        _ => None,
    });
    ahead.max()
}

/// How a run listens for its actors, or reads what an earlier run's actors sent.
///
/// # Errors
/// When no phase is for actors, or nothing says where they are.
pub fn make_fleet(
    config: &RunConfig,
    spec: &EnvSpec,
    args: &LearnArgs,
    output: Output,
) -> Result<MakeFleet, Failure> {
    let (Some(ahead), Some(env)) = (episodes_ahead(config), config.env.clone()) else {
        return Err(usage(anyhow!(
            "no phase of this run is for actors\n\nhint: `schedule = {{ fleet = {{}} }}` in an online phase, as in configs/push_fleet.toml"
        )));
    };
    if let Some(run) = args.replay.clone() {
        let episodes = run.join("episodes");
        if !run.join("fleet.jsonl").is_file() {
            return Err(usage(anyhow!(
                "--replay {}: no run with actors: it has no fleet.jsonl",
                run.display()
            )));
        }
        return Ok(Box::new(move |_: &Path| -> Result<Box<dyn Fleet>, FleetError> {
            let store =
                recorder(&episodes, &env).map_err(|failure| FleetError::Begin { reason: failure.text() })?;
            Ok(Box::new(RecordedFleet::new(store)))
        }));
    }
    let endpoints = endpoints(&args.listen, &args.meeting);
    if endpoints == Endpoints::default() {
        return Err(usage(anyhow!(
            "nothing says where actors are\n\nhint: `--listen tcp/0.0.0.0:7447`, or `--connect` to a router"
        )));
    }
    SessionConfig::new(endpoints.clone(), Purpose::Bulk).check().map_err(usage)?;
    let task = serde_json::to_value(&env)?;
    let (spec, namespace, max) = (spec.clone(), args.meeting.namespace.clone(), args.max_episode_mib << 20);
    Ok(Box::new(move |run: &Path| -> Result<Box<dyn Fleet>, FleetError> {
        let begin = || -> Result<LearnerLink, Failure> {
            let store = recorder(&run.join("episodes"), &env)?;
            let config = LearnerConfig {
                endpoints: endpoints.clone(),
                namespace: namespace.clone(),
                run: key_name(run)?,
                spec: spec.clone(),
                task: task.clone(),
                max_episode_bytes: max,
                episodes_ahead: ahead,
                ledger: run.join("fleet.jsonl"),
            };
            Ok(LearnerLink::start(config, store)?)
        };
        let link = begin().map_err(|failure| FleetError::Begin { reason: failure.text() })?;
        let name = key_name(run).unwrap_or_default();
        if output.json() {
            let (endpoints, namespace) = (link.endpoints(), &namespace);
            output.value(&serde_json::json!({
                "event": "listening", "run": name, "endpoints": endpoints, "namespace": namespace,
            }));
        }
        let at = match (link.endpoints(), &endpoints.file) {
            ([], Some(file)) => format!("the endpoints of {}", file.display()),
            (endpoints, _) => endpoints.join(", "),
        };
        output.note(&format!("listening for actors of {name} at {at}"));
        Ok(Box::new(link))
    }))
}

/// The run's name in keys: that of its directory.
fn key_name(run: &Path) -> Result<String, Failure> {
    let full = std::path::absolute(run).with_context(|| format!("cannot find {}", run.display()))?;
    let name = full.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    Ok(plain.chars().take(64).collect())
}
