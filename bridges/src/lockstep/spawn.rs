//! A server in a child process of our own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use serde::Deserialize;

use super::LockstepError;

/// How a server is started. It prints one line of JSON with its `endpoint` when it listens, and ends when its standard input does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpawnConfig {
    /// The program.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// How long it may take to listen.
    pub start_timeout: Duration,
    /// What helps when it cannot be started.
    pub hint: &'static str,
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub(crate) struct Spawned {
    child: Child,
    /// Where it listens.
    pub(crate) endpoint: String,
}

/// What it says when it listens; there is more in the line that is for people.
#[derive(Deserialize)]
struct Listening {
    endpoint: String,
}

impl Spawned {
    /// Starts a server and waits until it listens.
    pub(crate) fn start(config: &SpawnConfig) -> Result<Self, LockstepError> {
        let SpawnConfig { program, args, start_timeout, hint } = config;
        let failed = |reason: String| LockstepError::Spawn {
            command: std::iter::once(program).chain(args).cloned().collect::<Vec<_>>().join(" "),
            reason,
            hint,
        };
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C is for us: the worlds are needed until the checkpoint stands.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
        let stdout = child.stdout.take();
        let mut spawned = Self { child, endpoint: String::new() };
        let (tell, told) = sync_channel(1);
        // A line may never come, so it is waited for on the side; the thread ends with the process.
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = stdout.map(|out| BufReader::new(out).read_line(&mut line));
            // Nobody listens any more when the time was over.
            let _ = tell.send(read.and_then(Result::ok).map(|_| line));
        });
        let line = match told.recv_timeout(*start_timeout) {
            Ok(Some(line)) if !line.is_empty() => line,
            Ok(_) | Err(RecvTimeoutError::Disconnected) => {
                let status = spawned.child.wait().map_err(|e| failed(e.to_string()))?;
                return Err(failed(format!("it ended before it listened ({status}); what it said is above")));
            }
            Err(RecvTimeoutError::Timeout) => {
                return Err(failed(format!("it did not listen within {} s", start_timeout.as_secs())));
            }
        };
        let Listening { endpoint } = serde_json::from_str(&line)
            .map_err(|e| failed(format!("expected a line of JSON with its endpoint, found {line:?}: {e}")))?;
        spawned.endpoint = endpoint;
        Ok(spawned)
    }

    /// Its process number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        // It keeps nothing that could be lost. One that has ended already cannot be killed, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
