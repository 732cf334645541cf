//! `surefoot serve-env`: a simulated environment in lockstep, for other processes.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, anyhow};
use surefoot_bridges::lockstep::{LockstepServer, ServeConfig};

use crate::args::ServeEnvArgs;
use crate::commands::train::on_interrupt;
use crate::composition;
use crate::config::{self, EnvConfig};
use crate::failure::{CommandResult, usage};
use crate::output::Output;

/// Runs the verb.
pub fn run(args: &ServeEnvArgs, output: Output) -> CommandResult {
    let ServeEnvArgs { env, overrides, envs, listen, connect, id, namespace, exit_with_stdin } = args;
    let env_config = config::env(env, overrides)?;
    let EnvConfig::Local(_) = &env_config else {
        return Err(usage(anyhow!(
            "{env}: its worlds are in another process already, which is who serves them"
        )));
    };
    let worlds = composition::worlds(&env_config, usize::from(*envs)).map_err(usage)?;
    let serve = ServeConfig {
        namespace: namespace.clone(),
        id: id.clone().unwrap_or_else(|| env.clone()),
        listen: if connect.is_empty() { listen.clone() } else { Vec::new() },
        connect: connect.clone(),
        software: BTreeMap::from([("surefoot".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
    };
    let interrupt = on_interrupt()?;
    let mut server = LockstepServer::open(&serve, worlds).map_err(usage)?;
    let endpoint = server.endpoints().first().cloned().unwrap_or_default();
    if output.json() {
        output.value(&serde_json::json!({
            "event": "serving", "endpoint": endpoint, "id": serve.id, "worlds": envs,
        }));
    } else {
        output.line(&format!("serving {envs} worlds of {} on {endpoint}", serve.id));
    }
    if *exit_with_stdin {
        let parent = interrupt.clone();
        let watch = move || {
            let mut ignored = [0; 256];
            while std::io::stdin().read(&mut ignored).is_ok_and(|n| n > 0) {}
            parent.request();
        };
        std::thread::Builder::new().name("parent".into()).spawn(watch).context("cannot start a thread")?;
    }
    server.run(&|| interrupt.requested())?;
    Ok(())
}
