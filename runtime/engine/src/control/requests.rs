//! What a person, or the program, asks of a control loop, and whether it is followed.

use surefoot_safety::SafetyError;

use crate::control::control_loop::ControlLoop;
use crate::control::mode::Mode;
use crate::control::request::{Refusal, Request, Situation};

impl ControlLoop {
    pub(super) fn situation(&self) -> Situation {
        let inside =
            |(p, l): (&f64, &surefoot_safety::JointLimits)| *p >= l.min_position() && *p <= l.max_position();
        let slow = |v: &f64| v.abs() <= self.config.startup_max_speed;
        Situation {
            observed: self.observed,
            inside_limits: self.state.position.iter().zip(self.chain.limits()).all(inside),
            still: self.state.velocity.iter().all(slow),
            command_at_rest: self.at_rest,
        }
    }

    pub(super) fn follow_requests(&mut self) {
        if self.emergency.take() {
            // An emergency stop is refused by no mode.
            let _ = self.follow(Request::EmergencyStop);
        }
        while let Some(request) = self.requests.receive() {
            if let Err(refusal) = self.follow(request) {
                self.refusal = Some((request, refusal));
            }
            self.requests.give_back(request);
        }
    }

    pub(super) fn follow(&mut self, request: Request) -> Result<(), Refusal> {
        let (before, now) = (self.mode(), self.situation());
        // The chain is armed before the mode says so: what it refuses has not happened.
        match (request, before) {
            (Request::Arm, Mode::Idle) if now.observed && now.inside_limits && now.still => {
                self.arm()?;
            }
            (Request::Recover, Mode::Idle) if now.observed && !now.inside_limits && now.still => {
                let speed = self.config.recovery_max_speed;
                self.chain.arm_recovery(&self.state.position, speed).map_err(refused)?;
                self.monitor.arm(&self.state.position);
                self.begin_session();
            }
            // A robot that was pushed while it stood is held where it is now, not pulled back.
            (Request::Acknowledge, Mode::ProtectiveStop)
                if now.observed && now.inside_limits && now.still =>
            {
                self.arm()?;
            }
            (Request::SpeedPercent(percent), _) => return self.set_speed(percent),
            (Request::Seed(seed), _) => {
                self.next_seed = seed;
                return Ok(());
            }
            _ => {}
        }
        self.supervisor.request(request, now)?;
        if matches!(request, Request::Acknowledge | Request::Reset) {
            // A person has looked. Being armed anew is no such thing: a program does that by itself.
            self.not_finite_commands = 0;
            // A robot that cannot be told is as little ready afterwards, and says so when it is commanded.
            let _ = self.robot.acknowledge();
        }
        if let Request::Mark(label) = request {
            self.mark = Some(label);
        }
        match (before, self.mode()) {
            // Not by way of braking: the robot is to hear of it all the same.
            (before, Mode::EmergencyStop) if before != Mode::EmergencyStop => self.stop_robot(),
            (before, Mode::Idle) if before != Mode::Idle => self.observation_watch.reset(),
            (_, Mode::Running(driver)) if before != Mode::Running(driver) => {
                if !matches!(before, Mode::Running(_)) {
                    self.begin_episode();
                }
                self.begin_driving();
            }
            (_, Mode::Starting) => self.starting_ticks = 0,
            _ => {}
        }
        Ok(())
    }

    fn set_speed(&mut self, percent: u8) -> Result<(), Refusal> {
        let scale = f64::from(percent) / 100.0;
        if percent > 100 || self.chain.set_speed_scale(scale).is_err() {
            return Err(Refusal::SpeedScale);
        }
        Ok(())
    }

    fn arm(&mut self) -> Result<(), Refusal> {
        self.chain.arm(&self.state.position).map_err(refused)?;
        self.monitor.arm(&self.state.position);
        self.begin_session();
        Ok(())
    }

    fn begin_session(&mut self) {
        self.tracking.reset();
        self.overruns.reset();
    }

    /// A drive begins, and with it an episode: the task is the one of the scene that was put back by the same seed.
    fn begin_episode(&mut self) {
        self.seed = self.next_seed;
        self.task.begin_episode(self.seed, &mut self.initial);
        self.budget.begin();
        self.steps.begin();
    }

    /// A driver takes over: what it said before does not count, and its motion is blended in.
    fn begin_driving(&mut self) {
        while let Some(old) = self.actions.receive() {
            self.actions.give_back(old);
        }
        for old in self.pending.drain(..) {
            self.actions.give_back(old);
        }
        while let Some(old) = self.human.receive() {
            self.human.give_back(old);
        }
        (self.active_since, self.human_since) = (None, None);
        self.driving_since = self.tick;
        self.first_word = true;
    }
}

/// Whatever the chain has against a pose, it is the pose.
fn refused(_error: SafetyError) -> Refusal {
    Refusal::OutsideLimits
}
