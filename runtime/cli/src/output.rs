//! What goes to stdout (results) and to stderr (everything else).

use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::args::GlobalArgs;

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

    /// A result, as text. A reader that has gone away ends the program quietly.
    pub fn text(self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        let _closed_pipe = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
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
    /// Something worth knowing, on stderr.
    pub fn note(self, line: &str) {
        if !self.quiet {
            let _closed_pipe = writeln!(std::io::stderr().lock(), "{line}");
        }
    }
}
