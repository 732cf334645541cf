//! How the program ends: exit codes and one clear message.

use std::io::Write;
use std::process::ExitCode;

use crate::output::printable;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// Exit code 1: the request was understood and failed (bad data, a bar that was missed, a broken file).
    Request(anyhow::Error),
    /// Exit code 2: the command line or a configuration is wrong.
    Usage(anyhow::Error),
    /// Exit code 3: a limit of the session stopped the robot's learning; the text says which and how to go on.
    SafetyStop(String),
    /// Exit code 4: a comparison that says neither yes nor no.
    Inconclusive(String),
    /// Exit code 5: what was to be compared is of something else.
    NotComparable(String),
    /// Exit code 130: interrupted; the text says how to go on.
    Interrupted(String),
}

/// What every command returns.
pub type CommandResult = Result<(), Failure>;

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Request(error.into())
    }
}

/// Marks an error as one of usage or configuration.
pub fn usage(error: impl Into<anyhow::Error>) -> Failure {
    Failure::Usage(error.into())
}

impl Failure {
    /// The message alone.
    pub fn text(&self) -> String {
        match self {
            Self::Request(e) | Self::Usage(e) => message(e),
            Self::SafetyStop(text)
            | Self::Inconclusive(text)
            | Self::NotComparable(text)
            | Self::Interrupted(text) => text.clone(),
        }
    }

    /// Prints the message to stderr and gives the exit code.
    pub fn report(&self) -> ExitCode {
        let (text, code) = match self {
            Self::Request(e) => (message(e), 1),
            Self::Usage(e) => (message(e), 2),
            Self::SafetyStop(why) => (format!("safety stop: {why}"), 3),
            Self::Inconclusive(what) => (format!("inconclusive: {what}"), 4),
            Self::NotComparable(what) => (format!("not comparable: {what}"), 5),
            Self::Interrupted(how) => (format!("interrupted: {how}"), 130),
        };
        let text = if code < 3 { format!("error: {text}") } else { text };
        // A terminal that was closed reads nothing; the exit code still tells.
        let _closed = writeln!(std::io::stderr().lock(), "{}", printable(&text));
        ExitCode::from(code)
    }
}

/// The chain of causes on one line, hints below it. A source that repeats its parent's text is left out.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    let mut hints = Vec::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let (cause, hint) = cause.split_once("\n\nhint: ").unwrap_or((&cause, ""));
        if text.is_empty() {
            cause.clone_into(&mut text);
        } else if !text.contains(cause) {
            text = format!("{text}: {cause}");
        }
        if !hint.is_empty() && !hints.contains(&hint.to_owned()) {
            hints.push(hint.to_owned());
        }
    }
    for hint in hints {
        text = format!("{text}\n\nhint: {hint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_chained_without_repetition() {
        let error = anyhow::anyhow!("disk full").context("cannot write checkpoint: disk full");
        assert_eq!(message(&error), "cannot write checkpoint: disk full");
        let error = anyhow::anyhow!("disk full").context("cannot write checkpoint");
        assert_eq!(message(&error), "cannot write checkpoint: disk full");
        let error = anyhow::anyhow!("no such file").context("cannot read x.toml\n\nhint: try y.toml");
        assert_eq!(message(&error), "cannot read x.toml: no such file\n\nhint: try y.toml");
    }
}
