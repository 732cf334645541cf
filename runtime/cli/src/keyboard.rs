//! A person at a terminal: take-over, jogging, marks and stops by single keys.

use std::io::{IsTerminal, Read};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::termios::{InputFlags, LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use surefoot_core::clock::MonotonicClock;
use surefoot_engine::control::{Driver, EmergencySwitch, Label, Mode, Refusal, Request};
use surefoot_engine::live::{Operator, OperatorEvent};

use crate::failure::{CommandResult, Failure, usage};
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

/// The terminal as it was before, to be given back from wherever the program ends.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Gives the terminal back as it was, if it was taken over.
pub fn restore_terminal() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // Nobody is left to tell if the terminal does not take it.
        let _ = tcsetattr(std::io::stdin().as_fd(), SetArg::TCSANOW, &before);
    }
}

/// The terminal, with its keys coming one by one and unseen. Ctrl-C stays a signal. Keys are read on a thread of their own, which
/// presses the emergency stop by itself; words are written on another, for a terminal may hold its writer up.
pub struct Keyboard {
    keys: Receiver<Key>,
    words: Sender<String>,
    switch: Arc<Mutex<Option<EmergencySwitch>>>,
    clock: MonotonicClock,
    mode: Mode,
    /// Value of each action that was jogged, and until when.
    jogs: Vec<(f32, i64)>,
    open: bool,
}

impl Keyboard {
    /// Looks whether there is a terminal.
    ///
    /// # Errors
    /// When stdin is none.
    pub fn check() -> CommandResult {
        if std::io::stdin().is_terminal() {
            return Ok(());
        }
        Err(usage(anyhow::anyhow!(
            "--operator keyboard: stdin is no terminal\n\nhint: start it in a terminal, or leave the option out"
        )))
    }

    /// Takes the terminal over until it is dropped.
    ///
    /// # Errors
    /// When stdin is no terminal.
    pub fn open(output: Output) -> Result<Self, Failure> {
        Self::check()?;
        let stdin = std::io::stdin();
        let before = tcgetattr(stdin.as_fd())?;
        let mut single = before.clone();
        single.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        // Ctrl-S is a key like any other, and stops no output.
        single.input_flags.remove(InputFlags::IXON);
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &single)?;
        let (words, said) = channel::<String>();
        std::thread::Builder::new()
            .name("operator".into())
            .spawn(move || said.iter().for_each(|word| output.note(&word)))?;
        let (pressed, keys) = channel();
        let switch = Arc::new(Mutex::new(None));
        let reader = switch.clone();
        std::thread::Builder::new().name("keyboard".into()).spawn(move || read_keys(&pressed, &reader))?;
        let (clock, mode, jogs) = (MonotonicClock::start(), Mode::Idle, Vec::new());
        let keyboard = Self { keys, words, switch, clock, mode, jogs, open: true };
        keyboard.say(KEYS);
        Ok(keyboard)
    }

    fn say(&self, word: &str) {
        // Without a writer there is nobody to read it either.
        let _ = self.words.send(word.to_owned());
    }

    /// What a key asks for in the present mode, where it asks for anything.
    fn press(&mut self, key: Key) -> Option<OperatorEvent> {
        let request = match (key, self.mode) {
            (Key::Event(event), _) => return Some(event),
            (Key::Jog(action, value), _) => {
                if self.jogs.len() <= action {
                    self.jogs.resize(action + 1, (0.0, i64::MIN));
                }
                self.jogs[action] = (value, self.clock.now_nanos() + JOG_NANOS);
                return None;
            }
            (Key::Toggle, Mode::Running(Driver::Human)) => Request::HandBack,
            (Key::Toggle, _) => Request::TakeOver,
            (Key::Pause, Mode::Paused(_)) => Request::Resume,
            (Key::Pause, _) => Request::Pause,
        };
        Some(OperatorEvent::Request(request))
    }
}

/// Reads keys until the terminal is gone, or nobody takes them any more.
fn read_keys(pressed: &Sender<Key>, switch: &Mutex<Option<EmergencySwitch>>) {
    loop {
        let mut bytes = [0; 64];
        let read = std::io::stdin().lock().read(&mut bytes);
        let found = match read {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            // The terminal is gone, and the person with it.
            Ok(0) | Err(_) => return,
            Ok(n) => keys(&bytes[..n]),
        };
        for key in found {
            if key == Key::Event(OperatorEvent::Request(Request::EmergencyStop))
                && let Some(switch) = &*switch.lock().unwrap_or_else(PoisonError::into_inner)
            {
                switch.press();
            }
            if pressed.send(key).is_err() {
                return;
            }
        }
    }
}

impl Operator for Keyboard {
    fn attends(&self) -> bool {
        self.open
    }

    fn connect(&mut self, emergency: EmergencySwitch) {
        *self.switch.lock().unwrap_or_else(PoisonError::into_inner) = Some(emergency);
    }

    fn next(&mut self) -> Option<OperatorEvent> {
        loop {
            match self.keys.try_recv() {
                Ok(key) => {
                    if let Some(event) = self.press(key) {
                        return Some(event);
                    }
                }
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => {
                    return std::mem::replace(&mut self.open, false).then_some(OperatorEvent::Quit);
                }
            }
        }
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
        self.say(&format!("  [{word}]"));
    }

    fn refused(&mut self, request: Request, why: Refusal) {
        self.say(&format!("  [not done: {request:?}: {why}]"));
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        restore_terminal();
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
