//! The thread that speaks to zenoh for the robot: states, signs of life, status, answers; and that writes the log.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use surefoot_core::RobotContract;
use surefoot_core::clock::MonotonicClock;
use surefoot_core::recycled::Receiver;
use surefoot_safety::JointLimits;
use zenoh::Wait;
use zenoh::bytes::ZBytes;
use zenoh::pubsub::Publisher;
use zenoh::query::Query;

use crate::dialects::{Codec, Packet, StateFrame};
use crate::server::listen::Served;
use crate::server::log::{ExecutedTick, Lines};
use crate::wire::{Heartbeat, Message, ModeReply, RobotMode, SafetyCounters, SafetyStatus, StopCause};

/// Between two signs of life, ns.
const HEARTBEAT_NANOS: i64 = 50_000_000;
/// Between two states of safety, ns.
const SAFETY_NANOS: i64 = 100_000_000;

/// An answer on its way.
pub(super) enum Answer {
    Mode(Query, ModeReply),
    Scene(Query, Result<u64, String>),
}

/// What one control period has to tell.
pub(super) struct Outgoing {
    pub frame: StateFrame,
    /// Whether there is a state at all.
    pub readable: bool,
    pub at_rest: bool,
    pub counters: SafetyCounters,
    pub tick: ExecutedTick,
}

impl Outgoing {
    pub(super) fn new(contract: &RobotContract) -> Self {
        let joints = contract.joints.len();
        Self {
            frame: StateFrame::new(contract),
            readable: false,
            at_rest: true,
            counters: SafetyCounters::default(),
            tick: ExecutedTick {
                tick: 0,
                now_nanos: 0,
                mode: RobotMode::Idle,
                cause: StopCause::None,
                epoch: 0,
                seq: 0,
                commanded: false,
                position: vec![0.0; joints],
                velocity: vec![0.0; joints],
            },
        }
    }
}

/// What the thread owns.
pub(super) struct Courier {
    pub served: Arc<Served>,
    pub states: Receiver<Outgoing>,
    pub answers: mpsc::Receiver<Answer>,
    pub state: Publisher<'static>,
    pub beats: Option<Publisher<'static>>,
    pub safety: Option<Publisher<'static>>,
    pub codec: Box<dyn Codec>,
    pub limits: Vec<JointLimits>,
    pub boot_id: u64,
    pub log: Option<Lines>,
    pub clock: MonotonicClock,
}

impl Courier {
    /// Until the robot thread is gone and everything that it said is out.
    pub(super) fn run(mut self) -> std::io::Result<()> {
        let mut packet = Packet::default();
        let (mut next_beat, mut beats, mut next_safety) = (0, 0_u64, 0);
        loop {
            std::thread::park_timeout(Duration::from_nanos(HEARTBEAT_NANOS.unsigned_abs()));
            let over = self.states.is_finished();
            while let Some(out) = self.states.receive() {
                let told = self.tell(&out, &mut packet, &mut next_safety);
                self.states.give_back(out);
                told?;
            }
            if let Some(log) = &mut self.log {
                log.flush()?;
            }
            while let Ok(answer) = self.answers.try_recv() {
                answer.give();
            }
            if over {
                return Ok(());
            }
            let now = self.clock.now_nanos();
            if let Some(publisher) = self.beats.as_ref().filter(|_| now >= next_beat) {
                next_beat = now + HEARTBEAT_NANOS;
                beats += 1;
                // One that is lost is followed by another.
                let _ = publisher.put(self.beat(beats, now).bytes()).wait();
            }
        }
    }

    fn tell(&mut self, out: &Outgoing, packet: &mut Packet, next_safety: &mut i64) -> std::io::Result<()> {
        let Outgoing { frame, readable, at_rest, counters, tick } = out;
        if let Some(log) = &mut self.log {
            log.write(tick)?;
        }
        if *readable && self.codec.write_state(frame, packet).is_ok() {
            let mut put = self.state.put(ZBytes::from(packet.payload.as_slice()));
            if !packet.attachment.is_empty() {
                put = put.attachment(ZBytes::from(packet.attachment.as_slice()));
            }
            // A state that finds no room is followed by a newer one.
            let _ = put.wait();
        }
        let margin = |(p, l): (&f64, &JointLimits)| (p - l.min_position()).min(l.max_position() - p) as f32;
        let status = SafetyStatus {
            mode: tick.mode,
            cause: tick.cause,
            epoch: tick.epoch,
            at_rest: *at_rest,
            counters: *counters,
            margins: tick.position.iter().zip(&self.limits).map(margin).collect(),
        };
        let now = self.clock.now_nanos();
        if let Some(publisher) = self.safety.as_ref().filter(|_| now >= *next_safety) {
            *next_safety = now + SAFETY_NANOS;
            let _ = publisher.put(status.bytes()).wait();
        }
        self.served.set_status(status);
        Ok(())
    }

    fn beat(&self, seq: u64, now: i64) -> Heartbeat {
        let heard = self.served.heard();
        Heartbeat {
            boot_id: self.boot_id,
            lease: 0,
            seq,
            mono_nanos: now,
            echo_id: heard.beat.boot_id,
            echo_seq: heard.beat.seq,
            echo_mono_nanos: heard.beat.mono_nanos,
            echo_received_nanos: heard.received_nanos,
        }
    }
}

impl Answer {
    /// Whoever asked and is gone hears nothing.
    fn give(self) {
        let _ = match self {
            Self::Mode(query, reply) => query.reply(query.key_expr().clone(), reply.bytes()).wait(),
            Self::Scene(query, Ok(seq)) => {
                query.reply(query.key_expr().clone(), seq.to_le_bytes().as_slice()).wait()
            }
            Self::Scene(query, Err(why)) => query.reply_err(why).wait(),
        };
    }
}
