//! `served`: an environment that somebody serves in lockstep, found by its id at an endpoint.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::{EnvBatch, EnvError};

use super::{EnvContext, build_error};
use crate::lockstep::{LinkConfig, LockstepBatch, NAMESPACE, RewardSource};

/// Configuration of [`served`](self).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServedConfig {
    /// Id of the environment, as its server says it: `pendulum`, `HalfCheetah-v5`.
    pub id: String,
    /// One zenoh endpoint for each server process (`tcp/127.0.0.1:7451`); worlds are shared out evenly among them.
    pub servers: Vec<String>,
    /// First part of the keys.
    pub namespace: String,
    /// How long to wait for a server to be there, s; also when it is to come back.
    pub connect_timeout_secs: f64,
    /// How long to wait for a reply, s: longer than the slowest step or reset.
    pub reply_timeout_secs: f64,
    /// What a step's reward is.
    pub reward: RewardSource,
}

impl Default for ServedConfig {
    fn default() -> Self {
        Self {
            id: String::new(),
            servers: Vec::new(),
            namespace: NAMESPACE.to_owned(),
            connect_timeout_secs: 30.0,
            reply_timeout_secs: 60.0,
            reward: RewardSource::default(),
        }
    }
}

impl ServedConfig {
    /// Builds the environment.
    ///
    /// # Errors
    /// When a setting is out of range or a server is not there.
    pub fn build(&self, context: &EnvContext) -> Result<Box<dyn EnvBatch>, EnvError> {
        let Self { id, servers, namespace, connect_timeout_secs, reply_timeout_secs, reward } = self;
        let wrong = |e: String| build_error("served", e);
        if id.is_empty() || servers.is_empty() {
            return Err(wrong(
                "id and servers: expected an id and at least one endpoint\n\nhint: servers = [\"tcp/127.0.0.1:7451\"], as the server printed it".into(),
            ));
        }
        let links = servers
            .iter()
            .map(|server| {
                Ok(LinkConfig {
                    endpoints: vec![server.clone()],
                    namespace: namespace.clone(),
                    id: id.clone(),
                    connect_timeout: seconds("connect_timeout_secs", *connect_timeout_secs).map_err(wrong)?,
                    reply_timeout: seconds("reply_timeout_secs", *reply_timeout_secs).map_err(wrong)?,
                })
            })
            .collect::<Result<Vec<_>, EnvError>>()?;
        let batch = LockstepBatch::connect(links, context.worlds).map_err(|e| build_error(id, e))?;
        Ok(Box::new(batch.with_reward(*reward)))
    }
}

/// A duration from a setting.
pub(crate) fn seconds(key: &str, value: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(value)
        .ok()
        .filter(|d| !d.is_zero() && *d <= Duration::from_secs(86_400))
        .ok_or_else(|| format!("{key} = {value}: expected more than 0 and at most 86400"))
}
