//! A person at a terminal: take-over, jogging, marks and stops by single keys.

use std::io::{IsTerminal, Read};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use surefoot_core::clock::MonotonicClock;
use surefoot_engine::control::{Driver, Label, Mode, Request};
use surefoot_engine::live::{Operator, OperatorEvent};

use crate::failure::{Failure, usage};
use crate::output::Output;

/// How long a jog lasts after its key, ns: about as long as a terminal takes to begin repeating a key that is held.
const JOG_NANOS: i64 = 500_000_000;
/// Speed of a jog, of the action's range.
const JOG: f32 = 0.5;

/// What the keys do.
pub const KEYS: &str = "\
keys: space emergency stop   tab take over / hand back   enter start   y success   n failure
      p pause / go on   h hold   k acknowledge a stop   x reset an emergency stop   m move back inside   q end
      jog while you drive: arrows or a d / s w, then f r, 1 2, 3 4, 5 6, 7 8 (action by action, minus and plus)";

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Key {
    Event(OperatorEvent),
    /// Take over, or hand back to the policy.
    Toggle,
    /// Pause, or go on.
    Pause,
    /// Number of the action, and its value.
    Jog(usize, f32),
}

/// Reads keys out of what a terminal sends. An escape sequence that is not known is passed over whole.
fn keys(bytes: &[u8]) -> Vec<Key> {
    let ask = |r| Some(Key::Event(OperatorEvent::Request(r)));
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let key = match first {
            b' ' => ask(Request::EmergencyStop),
            b'\t' => Some(Key::Toggle),
            b'\r' | b'\n' => Some(Key::Event(OperatorEvent::Start)),
            b'y' => ask(Request::Mark(Label::Success)),
            b'n' => ask(Request::Mark(Label::Failure)),
            b'p' => Some(Key::Pause),
            b'h' => ask(Request::Hold),
            b'k' => ask(Request::Acknowledge),
            b'x' => ask(Request::Reset),
            b'm' => ask(Request::Recover),
            b'q' => Some(Key::Event(OperatorEvent::Quit)),
            b'a' => Some(Key::Jog(0, -JOG)),
            b'd' => Some(Key::Jog(0, JOG)),
            b's' => Some(Key::Jog(1, -JOG)),
            b'w' => Some(Key::Jog(1, JOG)),
            b'f' => Some(Key::Jog(2, -JOG)),
            b'r' => Some(Key::Jog(2, JOG)),
            b'1'..=b'8' => {
                let index = usize::from(first - b'1');
                Some(Key::Jog(3 + index / 2, if index % 2 == 0 { -JOG } else { JOG }))
            }
            0x1b => {
                let body = match after {
                    [b'[' | b'O', body @ ..] => body,
                    other => {
                        rest = other;
                        continue;
                    }
                };
                // Parameters, then one letter.
                let end = body.iter().position(|b| (0x40..=0x7e).contains(b));
                rest = end.map_or(&[][..], |end| &body[end + 1..]);
                match end.map(|end| body[end]) {
                    Some(b'D') => Some(Key::Jog(0, -JOG)),
                    Some(b'C') => Some(Key::Jog(0, JOG)),
                    Some(b'B') => Some(Key::Jog(1, -JOG)),
                    Some(b'A') => Some(Key::Jog(1, JOG)),
                    _ => None,
                }
            }
            _ => None,
        };
        found.extend(key);
    }
    found
}

/// The terminal, with its keys coming one by one and unseen. Ctrl-C stays a signal.
pub struct Keyboard {
    before: Termios,
    clock: MonotonicClock,
    output: Output,
    mode: Mode,
    waiting: std::collections::VecDeque<OperatorEvent>,
    /// Value of each action that was jogged, and until when.
    jogs: Vec<(f32, i64)>,
    open: bool,
}

impl Keyboard {
    /// Takes the terminal over until it is dropped.
    ///
    /// # Errors
    /// When stdin is no terminal.
    pub fn open(output: Output) -> Result<Self, Failure> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Err(usage(anyhow::anyhow!(
                "--operator keyboard: stdin is no terminal\n\nhint: start it in a terminal, or leave the option out"
            )));
        }
        let before = tcgetattr(stdin.as_fd())?;
        let mut single = before.clone();
        single.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &single)?;
        output.note(KEYS);
        Ok(Self {
            before,
            clock: MonotonicClock::start(),
            output,
            mode: Mode::Idle,
            waiting: std::collections::VecDeque::new(),
            jogs: Vec::new(),
            open: true,
        })
    }

    fn look(&mut self) {
        let stdin = std::io::stdin();
        let mut ready = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if !self.open || !poll(&mut ready, PollTimeout::ZERO).is_ok_and(|n| n > 0) {
            return;
        }
        let mut bytes = [0; 64];
        match stdin.lock().read(&mut bytes) {
            // The terminal is gone, and the person with it.
            Ok(0) | Err(_) => {
                self.open = false;
                self.waiting.push_back(OperatorEvent::Quit);
            }
            Ok(n) => keys(&bytes[..n]).into_iter().for_each(|key| self.press(key)),
        }
    }

    fn press(&mut self, key: Key) {
        let request = match (key, self.mode) {
            (Key::Event(event), _) => {
                self.waiting.push_back(event);
                return;
            }
            (Key::Jog(action, value), _) => {
                if self.jogs.len() <= action {
                    self.jogs.resize(action + 1, (0.0, i64::MIN));
                }
                self.jogs[action] = (value, self.clock.now_nanos() + JOG_NANOS);
                return;
            }
            (Key::Toggle, Mode::Running(Driver::Human)) => Request::HandBack,
            (Key::Toggle, _) => Request::TakeOver,
            (Key::Pause, Mode::Paused(_)) => Request::Resume,
            (Key::Pause, _) => Request::Pause,
        };
        self.waiting.push_back(OperatorEvent::Request(request));
    }
}

impl Operator for Keyboard {
    fn attends(&self) -> bool {
        self.open
    }

    fn next(&mut self) -> Option<OperatorEvent> {
        if self.waiting.is_empty() {
            self.look();
        }
        self.waiting.pop_front()
    }

    fn action(&mut self, action: &mut [f32]) {
        let now = self.clock.now_nanos();
        for (i, a) in action.iter_mut().enumerate() {
            *a = self.jogs.get(i).filter(|(_, until)| *until > now).map_or(0.0, |(value, _)| *value);
        }
    }

    fn show(&mut self, mode: Mode) {
        self.mode = mode;
        let word = match mode {
            Mode::Idle => "idle",
            Mode::Starting => "starting",
            Mode::Holding => "holding",
            Mode::Running(Driver::Policy) => "the policy drives",
            Mode::Running(Driver::Human) => "you drive",
            Mode::Paused(_) => "paused: p goes on",
            Mode::Braking(_) => return,
            Mode::ProtectiveStop => "PROTECTIVE STOP: look at the robot, then k",
            Mode::EmergencyStop => "EMERGENCY STOP: look at the robot, then x",
            Mode::Fault => "FAULT: the robot does not answer; x when it does again",
            Mode::Recovery => "moving back inside the limits",
        };
        self.output.note(&format!("  [{word}]"));
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // Nobody is left to tell if the terminal does not take it.
        let _ = tcsetattr(std::io::stdin().as_fd(), SetArg::TCSANOW, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_one_by_one_and_unknown_sequences_are_passed_over() {
        let ask = |r| Key::Event(OperatorEvent::Request(r));
        assert_eq!(keys(b" "), [ask(Request::EmergencyStop)]);
        assert_eq!(
            keys(b"\x1b[A\x1b[1;5Dy"),
            [Key::Jog(1, JOG), Key::Jog(0, -JOG), ask(Request::Mark(Label::Success))]
        );
        assert_eq!(
            keys(b"\x1b[15~\x1bOC\tq"),
            [Key::Jog(0, JOG), Key::Toggle, Key::Event(OperatorEvent::Quit)]
        );
        assert_eq!(keys(b"8"), [Key::Jog(6, JOG)]);
        assert_eq!(keys(b"\x1b"), []);
        assert_eq!(keys(b"\x1b["), []);
    }
}
