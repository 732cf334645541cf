//! What goes to stdout (results) and to stderr (everything else).

use std::borrow::Cow;
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
        let text = printable(text);
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
            let _closed_pipe = writeln!(std::io::stderr().lock(), "{}", printable(line));
        }
    }
}

/// A text for a terminal: names that come from files must not steer it. Line ends and tabs stay; other controls, and what turns the
/// direction of writing, are spelled out.
pub fn printable(text: &str) -> Cow<'_, str> {
    let steers = |c: char| {
        c.is_control() && c != '\n' && c != '\t'
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return text.into();
    }
    let spell = |c: char| -> String { if steers(c) { c.escape_default().collect() } else { c.into() } };
    text.chars().map(spell).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn names_from_files_cannot_steer_the_terminal() {
        assert_eq!(
            printable("a\u{1b}]0;title\u{7}b\nc\td\u{202e}"),
            "a\\u{1b}]0;title\\u{7}b\nc\td\\u{202e}"
        );
        assert!(matches!(printable("plain\n"), std::borrow::Cow::Borrowed(_)));
    }
}
