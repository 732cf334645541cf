//! What goes to stdout (results) and to stderr (everything else).

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::sync::OnceLock;

use anyhow::anyhow;
use serde::Serialize;

use crate::args::GlobalArgs;
use crate::failure::CommandResult;

/// Why results could not be written.
static STDOUT_FAILURE: OnceLock<String> = OnceLock::new();

/// Fails when results could not be written to stdout.
pub fn check_stdout() -> CommandResult {
    STDOUT_FAILURE
        .get()
        .map_or(Ok(()), |reason| Err(anyhow!("results could not be written to stdout: {reason}").into()))
}

/// Where a command's words go.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
    bars: bool,
}

impl Output {
    /// By the global options and whether stderr is a terminal.
    pub fn new(args: GlobalArgs) -> Self {
        let bars = !args.json && !args.quiet && !args.no_progress && std::io::stderr().is_terminal();
        Self { json: args.json, quiet: args.quiet, bars }
    }
    /// Whether stdout is NDJSON.
    pub const fn json(self) -> bool {
        self.json
    }
    /// Whether progress bars may be drawn.
    pub const fn bars(self) -> bool {
        self.bars
    }

    /// A result, as text. A reader that has gone away is no error; any other failure is kept for the end of the program, so
    /// that hours of training are not lost over a line of output.
    pub fn text(self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
            && error.kind() != ErrorKind::BrokenPipe
        {
            // The first failure is the one to tell.
            let _ = STDOUT_FAILURE.set(error.to_string());
        }
    }
    /// A result line.
    pub fn line(self, line: &str) {
        self.text(&format!("{line}\n"));
    }
    /// A result as one JSON line.
    pub fn value(self, value: &impl Serialize) {
        if let Ok(line) = serde_json::to_string(value) {
            self.line(&line);
        }
    }
    /// A file that was written: its path, or an event with it.
    pub fn written(self, what: &str, path: &Path) {
        if self.json {
            self.value(&serde_json::json!({ "event": "written", "what": what, "path": path }));
        } else {
            self.line(&path.display().to_string());
        }
    }
    /// Something worth knowing, on stderr.
    pub fn note(self, line: &str) {
        if !self.quiet {
            let _closed_pipe = writeln!(std::io::stderr().lock(), "{line}");
        }
    }
}
