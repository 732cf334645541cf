//! The thread next to the robot: one control period after the other, whatever the network does.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::Thread;

use surefoot_core::clock::MonotonicClock;
use surefoot_core::recycled::{Receiver, Sender};
use surefoot_core::{GuardedRobot, Robot, RobotError, RobotState, World};
use zenoh::query::Query;

use crate::dialects::CommandFrame;
use crate::server::authority::Authority;
use crate::server::courier::{Answer, Outgoing};
use crate::server::listen::Served;
use crate::wire::{ModeOp, ModeRequest, RobotMode, StopCause};

/// Commands that wait for their period. One that is early because the network's jitter brought two at once waits for the next; what is
/// more than that would only be late.
const WAITING: usize = 2;
/// Periods without a command that are bridged by the stop plan of the last one, so that the next is met on its way; from then on it
/// brakes from wherever it is, which is never later at rest.
const BRIDGED: u32 = 3;
/// Periods that coming to rest at the end may take.
const LAST_TICKS: u32 = 20_000;

/// What others ask for.
pub(super) enum Op {
    /// Of the authority.
    Mode(ModeRequest, Query),
    /// An initial state.
    Scene(RobotState, Query),
    /// A stop.
    EmergencyStop,
    /// A sign of life of whoever has this lease.
    Heartbeat(u64),
}

/// What the thread owns.
pub(super) struct RobotSide {
    pub guard: GuardedRobot,
    pub authority: Authority,
    pub commands: Receiver<CommandFrame>,
    pub ops: mpsc::Receiver<Op>,
    pub answers: mpsc::Sender<Answer>,
    pub outgoing: Sender<Outgoing>,
    pub courier: Thread,
    pub served: Arc<Served>,
    pub clock: MonotonicClock,
    /// Periods in a row without a command.
    pub missed: u32,
}

impl RobotSide {
    /// Until it is asked to end; then the robot comes to rest first.
    pub(super) fn run(mut self) {
        let period = (self.guard.contract().control_secs() * 1e9).round().max(1.0) as i64;
        let mut waiting = VecDeque::with_capacity(WAITING + 1);
        let mut deadline = self.clock.now_nanos() + period;
        let (mut seq, mut left) = (0, LAST_TICKS);
        loop {
            self.clock.sleep_until(deadline);
            let now = self.clock.now_nanos();
            // Deadlines that have passed are skipped whole, so the phase stays.
            deadline += period * (1 + (now - deadline).max(0) / period);
            let ending = self.served.ending.load(Ordering::Acquire);
            if ending {
                left -= 1;
                if self.guard.at_rest() || left == 0 {
                    return;
                }
            }
            seq += 1;
            while let Ok(op) = self.ops.try_recv() {
                self.follow(op, now, seq);
            }
            self.take_commands(&mut waiting, now);
            self.period(&mut waiting, now, seq, ending);
            self.courier.unpark();
        }
    }

    fn follow(&mut self, op: Op, now: i64, seq: u64) {
        let at_rest = self.guard.at_rest();
        let answer = match op {
            Op::Mode(request, query) => {
                let reply = self.authority.request(&request, now, at_rest);
                if request.op == ModeOp::Arm && reply.refusal.is_none() {
                    // What it holds on to is where it is measured now.
                    self.guard.disarm();
                }
                self.served.lease.store(self.authority.lease(), Ordering::Release);
                Answer::Mode(query, reply)
            }
            Op::Scene(initial, query) => {
                let ready = at_rest && self.authority.mode() != RobotMode::Armed;
                let done = if ready {
                    self.guard.reset(&initial).map_err(|e| e.to_string())
                } else {
                    Err("the robot is armed or moves: its scene is put back when it is neither".to_owned())
                };
                // The state of this period is the first of the new scene.
                Answer::Scene(query, done.map(|()| seq))
            }
            Op::EmergencyStop => {
                self.authority.stop(RobotMode::EmergencyStop, StopCause::EmergencyStop);
                return;
            }
            Op::Heartbeat(lease) => return self.authority.heartbeat(lease, now),
        };
        // A courier that is gone answers nobody; whoever asked asks again.
        let _ = self.answers.send(answer);
    }

    fn take_commands(&mut self, waiting: &mut VecDeque<CommandFrame>, now: i64) {
        while let Some(frame) = self.commands.receive() {
            if !self.authority.admits(&frame.meta, now) {
                self.commands.give_back(frame);
                continue;
            }
            waiting.push_back(frame);
            if waiting.len() > WAITING
                && let Some(oldest) = waiting.pop_front()
            {
                self.authority.counters_mut().skipped += 1;
                self.commands.give_back(oldest);
            }
        }
    }

    fn period(&mut self, waiting: &mut VecDeque<CommandFrame>, now: i64, seq: u64, ending: bool) {
        let mut due = None;
        while let Some(frame) = waiting.pop_front() {
            if !ending && self.authority.may_execute(&frame.meta, now) {
                due = Some(frame);
                break;
            }
            self.commands.give_back(frame);
        }
        self.missed = if due.is_some() { 0 } else { self.missed.saturating_add(1) };
        let bridged = self.authority.mode() == RobotMode::Armed && !ending && self.missed <= BRIDGED;
        let moved = match &due {
            Some(frame) => self.guard.follow(&frame.rows),
            None if bridged => self.guard.without_command(),
            None => self.guard.brake(),
        };
        self.authority.tick(due.as_ref().map(|frame| &frame.meta), now);
        let executed_seq = due.as_ref().map_or(0, |frame| frame.meta.seq);
        if let Some(frame) = due {
            self.commands.give_back(frame);
        }
        if moved.is_err() {
            self.authority.stop(RobotMode::ProtectiveStop, StopCause::RobotLost);
        }
        let counters = self.authority.counters_mut();
        counters.violations = self.guard.counts().violations;
        counters.refused_malformed = self.served.malformed.load(Ordering::Relaxed);
        self.served.lease.store(self.authority.lease(), Ordering::Release);
        self.tell(now, seq, executed_seq);
    }

    fn tell(&mut self, now: i64, seq: u64, executed_seq: u64) {
        let Some(mut out) = self.outgoing.lend() else { return };
        let read = self.guard.read(&mut out.frame.state);
        let Ok(stamp) = read else {
            self.authority.stop(RobotMode::ProtectiveStop, StopCause::RobotLost);
            out.readable = !matches!(read, Err(RobotError::Lost { .. } | RobotError::Reset { .. }));
            self.outgoing.send(out);
            return;
        };
        out.readable = true;
        out.frame.meta = self.authority.meta(seq, stamp.nanos);
        out.at_rest = self.guard.at_rest();
        out.counters = *self.authority.counters();
        let tick = &mut out.tick;
        (tick.tick, tick.now_nanos, tick.seq) = (seq, now, executed_seq);
        (tick.mode, tick.cause, tick.epoch) =
            (self.authority.mode(), self.authority.cause(), self.authority.epoch());
        let commanded = self.guard.commanded();
        tick.commanded = commanded.is_some();
        match commanded {
            Some(state) => {
                tick.position.copy_from_slice(state.position);
                tick.velocity.copy_from_slice(state.velocity);
            }
            None => {
                tick.position.copy_from_slice(&out.frame.state.position);
                tick.velocity.fill(0.0);
            }
        }
        self.outgoing.send(out);
    }
}
