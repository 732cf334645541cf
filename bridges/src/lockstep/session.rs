//! zenoh sessions for lockstep: nothing is scouted, every endpoint is named.

use std::time::Duration;

use zenoh::config::WhatAmI;
use zenoh::{Config, Session, Wait};

use super::LockstepError;

/// Longest message, bytes, that is put together from fragments; beyond it zenoh drops what comes.
const MAX_MESSAGE_BYTES: usize = 1 << 28;
/// Longest message, bytes, that may go over zenoh's `lowlatency` transport, which cannot cut one up and whose link ends by one
/// that is too long. zenoh's TCP links take the largest multiple of half a segment that is below 64 KiB, so never less than 32 000;
/// the rest is for zenoh's own part of a message.
const MAX_WHOLE_BYTES: usize = 30_000;

/// Opens a session of a client that connects to one of `endpoints` within `timeout`. The other side says whether the link becomes
/// one of low latency: zenoh agrees on it only where both want it.
pub(crate) fn connect(endpoints: &[String], timeout: Duration) -> Result<Session, LockstepError> {
    let mut config = plain()?;
    low_latency(&mut config)?;
    set(&mut config, "mode", &serde_json::json!(WhatAmI::Client.to_str()))?;
    set(&mut config, "connect/endpoints", &serde_json::json!(endpoints))?;
    set(&mut config, "connect/timeout_ms", &serde_json::json!(timeout.as_millis() as u64))?;
    set(&mut config, "connect/exit_on_failure", &serde_json::json!(true))?;
    zenoh::open(config).wait().map_err(LockstepError::zenoh("connect"))
}

/// Opens a session that others connect to at `listen`, or that meets them at the routers `connect`; no message of it is longer than
/// `longest_message` bytes.
pub(crate) fn serve(
    listen: &[String],
    connect: &[String],
    longest_message: usize,
) -> Result<Session, LockstepError> {
    let mut config = plain()?;
    if longest_message <= MAX_WHOLE_BYTES {
        low_latency(&mut config)?;
    }
    let mode = if listen.is_empty() { WhatAmI::Client } else { WhatAmI::Peer };
    set(&mut config, "mode", &serde_json::json!(mode.to_str()))?;
    set(&mut config, "listen/endpoints", &serde_json::json!(listen))?;
    set(&mut config, "connect/endpoints", &serde_json::json!(connect))?;
    // Its own description says which port the system chose.
    set(&mut config, "adminspace/enabled", &serde_json::json!(true))?;
    zenoh::open(config).wait().map_err(LockstepError::zenoh("listen"))
}

/// Where a session listens, with the ports that the system chose.
pub(crate) fn locators(session: &Session) -> Result<Vec<String>, LockstepError> {
    let zid = session.zid();
    let replies = session
        .get(format!("@/{zid}/peer"))
        .timeout(Duration::from_secs(10))
        .wait()
        .map_err(LockstepError::zenoh("say where it listens"))?;
    while let Ok(reply) = replies.recv() {
        let Ok(sample) = reply.result() else { continue };
        let Ok(about) = serde_json::from_slice::<serde_json::Value>(&sample.payload().to_bytes()) else {
            continue;
        };
        let found = about["locators"].as_array().into_iter().flatten();
        return Ok(found.filter_map(|l| l.as_str().map(str::to_owned)).collect());
    }
    Ok(Vec::new())
}

fn plain() -> Result<Config, LockstepError> {
    let mut config = Config::default();
    for (key, value) in [
        ("scouting/multicast/enabled", serde_json::json!(false)),
        ("scouting/gossip/enabled", serde_json::json!(false)),
        ("listen/endpoints", serde_json::json!([])),
        ("transport/link/rx/max_message_size", serde_json::json!(MAX_MESSAGE_BYTES)),
    ] {
        set(&mut config, key, &value)?;
    }
    Ok(config)
}

/// Whoever sends writes to the socket itself, and no thread in between is woken; there are no priorities then.
fn low_latency(config: &mut Config) -> Result<(), LockstepError> {
    set(config, "transport/unicast/qos/enabled", &serde_json::json!(false))?;
    set(config, "transport/unicast/lowlatency", &serde_json::json!(true))
}

fn set(config: &mut Config, key: &'static str, value: &serde_json::Value) -> Result<(), LockstepError> {
    config.insert_json5(key, &value.to_string()).map_err(LockstepError::zenoh("be configured"))
}
