//! Who may move the robot: the state machine of a control loop.
//!
//! ```text
//! Idle --arm--> Starting --guard passed--> Holding --run--> Running{policy|human} <--> Paused
//! Idle --recover--> Recovery --inside the limits--> Holding
//! Running, Paused, Holding --a condition--> Braking --at rest--> Holding | ProtectiveStop | EmergencyStop
//! any armed mode --the robot does not answer--> Fault
//! Starting, Recovery --a condition--> Braking --at rest--> ProtectiveStop | EmergencyStop
//! ProtectiveStop --acknowledge--> Holding      EmergencyStop, Fault --reset by hand--> Idle
//! ```
//!
//! Stops are latched: no measurement, no time and no policy clears one, only a person's request does. Braking never ends in a
//! milder mode than the worst condition that was met on the way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::numbers::number;
use crate::control::request::{Refusal, Request, Situation};

/// Who decides what the robot does while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// The learned policy.
    Policy,
    /// A person.
    Human,
}

/// Where braking ends. Ordered: the larger is the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// Holding: may be told to run again.
    Holding,
    /// A latched stop that a person must acknowledge.
    ProtectiveStop,
    /// A latched stop that a person must reset; the robot is then armed anew.
    EmergencyStop,
}

/// What the control loop is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Not armed: nothing is commanded.
    #[default]
    Idle,
    /// Armed and held still until the startup guard has passed.
    Starting,
    /// Held still, ready to run.
    Holding,
    /// Moved by a driver.
    Running(Driver),
    /// Brought to rest on request; goes on with the same driver.
    Paused(Driver),
    /// Coming to rest.
    Braking(Rest),
    /// Latched: needs an acknowledgement.
    ProtectiveStop,
    /// Latched: needs a reset by hand.
    EmergencyStop,
    /// The robot does not answer. Latched: needs a reset by hand.
    Fault,
    /// Brought back inside its limits, slowly and inward only.
    Recovery,
}

impl Mode {
    /// Whether commands are written.
    #[must_use]
    pub const fn is_armed(self) -> bool {
        !matches!(self, Self::Idle | Self::Fault)
    }
    /// Whether only a person gets the robot out of this mode.
    #[must_use]
    pub const fn is_latched(self) -> bool {
        matches!(self, Self::ProtectiveStop | Self::EmergencyStop | Self::Fault)
    }
}

/// Why a mode was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A person asked for it.
    Requested,
    /// What was waited for has come true: at rest, guard passed, inside the limits.
    Settled,
    /// The newest observation is too old (s, of so many).
    ObservationStale,
    /// Too many samples were lost between two observations.
    ObservationGap,
    /// An observation with NaN or an infinity.
    ObservationNotFinite,
    /// The policy's newest action is too old (s, of so many).
    PolicyLate,
    /// A command with NaN or an infinity.
    CommandNotFinite,
    /// The robot is not where it was commanded to be (rad or m, of so many).
    TrackingError,
    /// The control loop missed its deadlines.
    Overruns,
    /// The robot moved, or was not where it was, while it was being armed.
    StartupGuard,
    /// The clock went back or jumped ahead.
    ClockJump,
    /// The robot could not be read or written.
    RobotLost,
    /// A limit of the episode was reached (its figure, of what is allowed).
    EpisodeLimit,
    /// The program is ending.
    Exit,
}

/// A change of mode.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// Control tick.
    pub tick: u64,
    /// Before.
    pub from: Mode,
    /// After.
    pub to: Mode,
    /// Why.
    pub cause: Cause,
    /// The figure that caused it, where there is one.
    #[serde(with = "number")]
    pub found: f64,
    /// What it was compared with.
    #[serde(with = "number")]
    pub threshold: f64,
}

/// Holds the mode and lets it change by the rules alone.
#[derive(Clone, Debug)]
pub struct Supervisor {
    mode: Mode,
    tick: u64,
    transitions: Vec<Transition>,
    forgotten: u64,
}

/// Transitions remembered until they are taken.
const REMEMBERED: usize = 256;

impl Default for Supervisor {
    fn default() -> Self {
        Self { mode: Mode::Idle, tick: 0, transitions: Vec::with_capacity(REMEMBERED), forgotten: 0 }
    }
}

impl Supervisor {
    /// The present mode.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }
    /// Transitions that were not taken yet, oldest first.
    #[must_use]
    pub fn transitions(&self) -> &[Transition] {
        &self.transitions
    }
    /// Transitions that were not remembered because nobody took them.
    #[must_use]
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }
    /// Forgets the oldest `n` transitions: they were taken.
    pub fn forget_transitions(&mut self, n: usize) {
        self.transitions.drain(..n.min(self.transitions.len()));
    }
    /// Which tick transitions are counted to from here on.
    pub const fn begin_tick(&mut self, tick: u64) {
        self.tick = tick;
    }

    fn enter(&mut self, to: Mode, cause: Cause, found: f64, threshold: f64) {
        if to == self.mode {
            return;
        }
        let transition = Transition { tick: self.tick, from: self.mode, to, cause, found, threshold };
        self.mode = to;
        if self.transitions.len() < REMEMBERED {
            self.transitions.push(transition);
        } else {
            self.forgotten += 1;
        }
    }

    /// Follows a request, or says why not. Never milder than a condition that is being braked for.
    ///
    /// # Errors
    /// When the mode or the situation does not allow it; the mode is then unchanged.
    pub fn request(&mut self, request: Request, now: Situation) -> Result<(), Refusal> {
        let to = match (request, self.mode) {
            (Request::EmergencyStop, Mode::Idle | Mode::ProtectiveStop) => Mode::EmergencyStop,
            (Request::EmergencyStop, Mode::EmergencyStop | Mode::Fault) => return Ok(()),
            (Request::EmergencyStop, _) => Mode::Braking(Rest::EmergencyStop),
            (Request::ProtectiveStop, Mode::Braking(rest)) => Mode::Braking(rest.max(Rest::ProtectiveStop)),
            (Request::ProtectiveStop, mode) if mode.is_latched() => return Ok(()),
            (Request::ProtectiveStop, Mode::Idle) => return Err(Refusal::Mode),
            (Request::ProtectiveStop, _) => Mode::Braking(Rest::ProtectiveStop),
            (Request::Arm, Mode::Idle) => {
                observed(now)?;
                if !now.inside_limits {
                    return Err(Refusal::OutsideLimits);
                }
                still(now)?;
                Mode::Starting
            }
            (Request::Recover, Mode::Idle) => {
                observed(now)?;
                if now.inside_limits {
                    return Err(Refusal::InsideLimits);
                }
                still(now)?;
                Mode::Recovery
            }
            (Request::Run, Mode::Holding) => {
                observed(now)?;
                Mode::Running(Driver::Policy)
            }
            (Request::TakeOver, Mode::Holding | Mode::Running(_) | Mode::Paused(_)) => {
                observed(now)?;
                Mode::Running(Driver::Human)
            }
            (Request::HandBack, Mode::Running(Driver::Human)) => Mode::Running(Driver::Policy),
            (Request::Pause, Mode::Running(driver)) => Mode::Paused(driver),
            (Request::Resume, Mode::Paused(driver)) => {
                observed(now)?;
                Mode::Running(driver)
            }
            // Not while starting: what was never found ready must not end up ready. Disarm ends that.
            (Request::Hold, Mode::Running(_) | Mode::Paused(_)) => Mode::Braking(Rest::Holding),
            (Request::Hold, Mode::Holding | Mode::Braking(Rest::Holding)) => return Ok(()),
            (Request::Acknowledge, Mode::ProtectiveStop) => {
                observed(now)?;
                if !now.inside_limits {
                    return Err(Refusal::OutsideLimits);
                }
                still(now)?;
                Mode::Holding
            }
            (Request::Reset, Mode::EmergencyStop | Mode::Fault) => Mode::Idle,
            // A stop is not ended by this: a robot that stands outside its limits can only be recovered from idle.
            (Request::Disarm, Mode::Holding | Mode::Starting | Mode::Paused(_) | Mode::ProtectiveStop) => {
                if !now.command_at_rest {
                    return Err(Refusal::Moving);
                }
                Mode::Idle
            }
            (Request::Disarm, Mode::Idle) => return Ok(()),
            (Request::Mark(_), Mode::Running(_)) => Mode::Braking(Rest::Holding),
            _ => return Err(Refusal::Mode),
        };
        self.enter(to, Cause::Requested, 0.0, 0.0);
        Ok(())
    }

    /// A condition that asks for braking to `rest`; `found` was compared with `threshold`.
    pub fn brake(&mut self, rest: Rest, cause: Cause, found: f64, threshold: f64) {
        let to = match self.mode {
            Mode::Idle | Mode::EmergencyStop | Mode::Fault => return,
            // At rest already: nothing to brake, only to latch.
            Mode::Holding | Mode::ProtectiveStop if rest == Rest::Holding => return,
            Mode::ProtectiveStop if rest == Rest::ProtectiveStop => return,
            Mode::Braking(before) => Mode::Braking(before.max(rest)),
            // What was not finished is not taken as done: a robot that was never found ready must not end up ready.
            Mode::Starting | Mode::Recovery => Mode::Braking(rest.max(Rest::ProtectiveStop)),
            _ => Mode::Braking(rest),
        };
        self.enter(to, cause, found, threshold);
    }

    /// The robot does not answer: nothing can be commanded. An emergency stop stays one.
    pub fn fault(&mut self, failures: f64, threshold: f64) {
        if !matches!(self.mode, Mode::Idle | Mode::EmergencyStop) {
            self.enter(Mode::Fault, Cause::RobotLost, failures, threshold);
        }
    }

    /// What braking, starting or recovering waited for has come true.
    pub fn settled(&mut self) {
        let to = match self.mode {
            Mode::Braking(Rest::Holding) | Mode::Starting | Mode::Recovery => Mode::Holding,
            Mode::Braking(Rest::ProtectiveStop) => Mode::ProtectiveStop,
            Mode::Braking(Rest::EmergencyStop) => Mode::EmergencyStop,
            _ => return,
        };
        self.enter(to, Cause::Settled, 0.0, 0.0);
    }
}

const fn observed(now: Situation) -> Result<(), Refusal> {
    if now.observed { Ok(()) } else { Err(Refusal::NotObserved) }
}

const fn still(now: Situation) -> Result<(), Refusal> {
    if now.still { Ok(()) } else { Err(Refusal::Moving) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::control::request::Label;

    const READY: Situation =
        Situation { observed: true, inside_limits: true, still: true, command_at_rest: true };
    const REQUESTS: [Request; 15] = [
        Request::Arm,
        Request::Recover,
        Request::Run,
        Request::TakeOver,
        Request::HandBack,
        Request::Pause,
        Request::Resume,
        Request::Hold,
        Request::ProtectiveStop,
        Request::EmergencyStop,
        Request::Acknowledge,
        Request::Reset,
        Request::Disarm,
        Request::Mark(Label::Success),
        Request::SpeedPercent(50),
    ];

    fn running() -> Supervisor {
        let mut s = Supervisor::default();
        s.request(Request::Arm, READY).unwrap();
        s.settled();
        s.request(Request::Run, READY).unwrap();
        assert_eq!(s.mode(), Mode::Running(Driver::Policy));
        s
    }

    #[test]
    fn a_stop_is_latched_until_a_person_ends_it() {
        let mut s = running();
        s.brake(Rest::ProtectiveStop, Cause::TrackingError, 0.2, 0.1);
        s.brake(Rest::Holding, Cause::ObservationStale, 1.0, 0.1);
        assert_eq!(s.mode(), Mode::Braking(Rest::ProtectiveStop), "a milder condition changes nothing");
        s.settled();
        for request in [Request::Arm, Request::Run, Request::Resume, Request::HandBack, Request::TakeOver] {
            assert_eq!(s.request(request, READY), Err(Refusal::Mode));
        }
        s.settled();
        assert_eq!(s.mode(), Mode::ProtectiveStop);
        assert_eq!(
            s.request(Request::Acknowledge, Situation { observed: false, ..READY }),
            Err(Refusal::NotObserved)
        );
        s.request(Request::Acknowledge, READY).unwrap();
        assert_eq!(s.mode(), Mode::Holding, "and it does not run by itself");
    }

    #[test]
    fn an_emergency_stop_outranks_everything_and_ends_in_idle() {
        let mut s = running();
        s.brake(Rest::ProtectiveStop, Cause::TrackingError, 0.2, 0.1);
        s.request(Request::EmergencyStop, Situation::default()).unwrap();
        s.brake(Rest::ProtectiveStop, Cause::TrackingError, 0.2, 0.1);
        s.settled();
        assert_eq!(s.mode(), Mode::EmergencyStop);
        assert_eq!(s.request(Request::Acknowledge, READY), Err(Refusal::Mode));
        s.request(Request::Reset, READY).unwrap();
        assert_eq!(s.mode(), Mode::Idle);
    }

    #[test]
    fn holding_does_not_shorten_the_startup_guard() {
        let mut s = Supervisor::default();
        s.request(Request::Arm, READY).unwrap();
        assert_eq!(s.request(Request::Hold, READY), Err(Refusal::Mode));
        assert_eq!(s.mode(), Mode::Starting);
    }

    #[test]
    fn a_stop_is_not_acknowledged_while_the_robot_moves() {
        let mut s = running();
        s.brake(Rest::ProtectiveStop, Cause::TrackingError, 0.2, 0.1);
        s.settled();
        assert_eq!(
            s.request(Request::Acknowledge, Situation { still: false, ..READY }),
            Err(Refusal::Moving)
        );
    }

    #[test]
    fn taking_over_and_handing_back() {
        let mut s = running();
        s.request(Request::TakeOver, READY).unwrap();
        assert_eq!(s.mode(), Mode::Running(Driver::Human));
        s.request(Request::Pause, READY).unwrap();
        s.request(Request::Resume, READY).unwrap();
        assert_eq!(s.mode(), Mode::Running(Driver::Human));
        s.request(Request::HandBack, READY).unwrap();
        assert_eq!(s.mode(), Mode::Running(Driver::Policy));
    }

    #[test]
    fn arming_needs_a_known_robot_at_rest_inside_its_limits() {
        let refused = |now| Supervisor::default().request(Request::Arm, now).unwrap_err();
        assert_eq!(refused(Situation { observed: false, ..READY }), Refusal::NotObserved);
        assert_eq!(refused(Situation { still: false, ..READY }), Refusal::Moving);
        assert_eq!(refused(Situation { inside_limits: false, ..READY }), Refusal::OutsideLimits);
        let mut s = Supervisor::default();
        s.request(Request::Recover, Situation { inside_limits: false, ..READY }).unwrap();
        assert_eq!(s.mode(), Mode::Recovery);
    }

    proptest! {
        /// Whatever happens and whatever else is asked for, a latched mode is left by its own request alone.
        #[test]
        fn latched_modes_are_left_by_their_own_request_alone(
            steps in prop::collection::vec((0_usize..22, any::<[bool; 4]>()), 1..80),
        ) {
            let mut s = running();
            for (what, [observed, inside_limits, still, command_at_rest]) in steps {
                let before = s.mode();
                let now = Situation { observed, inside_limits, still, command_at_rest };
                let mut asked = None;
                match what {
                    0..15 => {
                        asked = Some(REQUESTS[what]);
                        let _ = s.request(REQUESTS[what], now);
                    }
                    15 => s.brake(Rest::Holding, Cause::ObservationStale, 0.0, 0.0),
                    16 => s.brake(Rest::ProtectiveStop, Cause::TrackingError, 0.0, 0.0),
                    17 => s.brake(Rest::EmergencyStop, Cause::Requested, 0.0, 0.0),
                    18 => s.fault(1.0, 0.0),
                    _ => s.settled(),
                }
                let after = s.mode();
                match before {
                    Mode::EmergencyStop => {
                        prop_assert!(after == before || asked == Some(Request::Reset));
                    }
                    Mode::Fault => prop_assert!(after == before || asked == Some(Request::Reset)),
                    Mode::ProtectiveStop => prop_assert!(
                        after == before
                            || matches!(asked, Some(Request::Acknowledge | Request::Disarm))
                            || matches!(after, Mode::EmergencyStop | Mode::Fault | Mode::Braking(Rest::EmergencyStop))
                    ),
                    Mode::Braking(rest) => match after {
                        Mode::Braking(now) => prop_assert!(now >= rest, "never milder"),
                        Mode::Holding => prop_assert!(rest == Rest::Holding),
                        Mode::ProtectiveStop => prop_assert!(rest == Rest::ProtectiveStop),
                        Mode::EmergencyStop | Mode::Fault => {}
                        other => prop_assert!(false, "braking must not end in {other:?}"),
                    },
                    _ => {}
                }
                if after == Mode::Running(Driver::Policy) && before != after {
                    prop_assert!(matches!(asked, Some(Request::Run | Request::Resume | Request::HandBack)));
                }
            }
        }
    }
}
