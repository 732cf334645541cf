//! `gymnasium`: an environment of Gymnasium, in Python processes of our own (package `surefoot-gym`).
//!
//! What comes back is the environment's own: rewards, ends and success exactly, observations as the f32 nearest to its numbers. Actions are
//! normalised to `[-1, 1]` here and scaled to its box there; numbers beyond are cut. No safety chain stands behind it.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{EnvBatch, EnvError};

use super::served::seconds;
use super::{EnvContext, build_error};
use crate::lockstep::{LinkConfig, LockstepBatch, NAMESPACE, RewardSource, SpawnConfig};

/// Most server processes.
const MAX_PROCESSES: usize = 256;

/// Configuration of [`gymnasium`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GymnasiumConfig {
    /// Id in Gymnasium's registry: `HalfCheetah-v5`, `AdroitHandDoor-v1`.
    pub id: String,
    /// Further arguments of `gymnasium.make`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kwargs: BTreeMap<String, serde_json::Value>,
    /// Options of every reset.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reset_options: BTreeMap<String, serde_json::Value>,
    /// The Python interpreter that has `surefoot-gym` and the environment's packages.
    pub python: String,
    /// Processes that the worlds are shared out among: one steps one world at a time.
    pub processes: usize,
    /// Steps after which an episode is truncated; needed where the environment has no limit of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<usize>,
    /// Time between two actions, s; needed where the environment does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_secs: Option<f64>,
    /// What a step's reward is.
    pub reward: RewardSource,
    /// How long a process may take to start, s.
    pub start_timeout_secs: f64,
    /// How long to wait for a reply, s: longer than the slowest step or reset.
    pub reply_timeout_secs: f64,
}

impl Default for GymnasiumConfig {
    fn default() -> Self {
        Self {
            id: String::new(),
            kwargs: BTreeMap::new(),
            reset_options: BTreeMap::new(),
            python: "python3".to_owned(),
            processes: 1,
            max_steps: None,
            step_secs: None,
            reward: RewardSource::default(),
            start_timeout_secs: 120.0,
            reply_timeout_secs: 60.0,
        }
    }
}

impl GymnasiumConfig {
    /// Starts the processes.
    ///
    /// # Errors
    /// When a setting is out of range, or a process does not come to listen.
    pub fn build(&self, context: &EnvContext) -> Result<Box<dyn EnvBatch>, EnvError> {
        let Self {
            id,
            kwargs,
            reset_options,
            python,
            processes,
            max_steps,
            step_secs,
            reward,
            start_timeout_secs,
            reply_timeout_secs,
        } = self;
        let wrong = |e: String| build_error("gymnasium", e);
        if id.is_empty() {
            return Err(wrong(
                "id: expected an environment's id, found none\n\nhint: id = \"HalfCheetah-v5\"".into(),
            ));
        }
        if !(1..=MAX_PROCESSES).contains(processes) {
            return Err(wrong(format!("processes = {processes}: expected 1 to {MAX_PROCESSES}")));
        }
        let json = |map: &BTreeMap<String, serde_json::Value>| {
            if map.is_empty() { Ok(String::new()) } else { serde_json::to_string(map) }
        };
        let kwargs = json(kwargs).map_err(|e| wrong(format!("kwargs: {e}")))?;
        let reset_options = json(reset_options).map_err(|e| wrong(format!("reset_options: {e}")))?;
        let start_timeout = seconds("start_timeout_secs", *start_timeout_secs).map_err(wrong)?;
        let worlds = context.worlds.max(1);
        let count = (*processes).min(worlds);
        let servers = (0..count).map(|i| {
            let own = worlds / count + usize::from(i < worlds % count);
            let mut args: Vec<String> =
                ["-m", "surefoot_gym", "serve", id, "--listen", "tcp/127.0.0.1:0", "--exit-with-stdin"]
                    .map(str::to_owned)
                    .into();
            args.extend(["--id".to_owned(), "spawned".to_owned(), "--envs".to_owned(), own.to_string()]);
            if !kwargs.is_empty() {
                args.extend(["--kwargs".to_owned(), kwargs.clone()]);
            }
            args.extend(max_steps.iter().flat_map(|n| ["--max-steps".to_owned(), n.to_string()]));
            args.extend(step_secs.iter().flat_map(|n| ["--step-secs".to_owned(), n.to_string()]));
            SpawnConfig {
                program: python.clone(),
                args,
                start_timeout,
                hint: "`PYTHON -m pip install ./bridges/python` with the environment's packages (`gymnasium[mujoco]`, `gymnasium-robotics`), and name that interpreter: env.gymnasium.python=.venv/bin/python",
            }
        });
        let link = LinkConfig {
            endpoints: Vec::new(),
            namespace: NAMESPACE.to_owned(),
            id: "spawned".to_owned(),
            connect_timeout: Duration::from_secs(30),
            reply_timeout: seconds("reply_timeout_secs", *reply_timeout_secs).map_err(wrong)?,
        };
        let batch = LockstepBatch::spawn(servers.collect(), &link, worlds).map_err(|e| build_error(id, e))?;
        Ok(Box::new(batch.with_reward(*reward).with_reset_options(reset_options)))
    }
}
