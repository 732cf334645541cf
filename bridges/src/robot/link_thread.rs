//! The thread that speaks to zenoh for a control thread: commands as they come, and between them signs of life, arming, and the ends
//! of epochs. It waits for no answer: what comes back is looked at when it is there.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use surefoot_core::clock::MonotonicClock;
use surefoot_core::recycled::Receiver;
use zenoh::bytes::ZBytes;
use zenoh::pubsub::Publisher;
use zenoh::{Session, Wait};

use crate::clock_offset::{ClockOffset, Exchange};
use crate::dialects::{Codec, CommandFrame, Packet};
use crate::error::Refusal;
use crate::robot::status::{Shared, Told, count};
use crate::wire::{Heartbeat, Message, ModeOp, ModeReply, ModeRequest, RobotMode};

/// Between two signs of life, ns.
pub(crate) const HEARTBEAT_NANOS: i64 = 50_000_000;
/// An answer that has not come by then is asked for again, ns.
const ANSWER_NANOS: i64 = 300_000_000;
/// How long leaving may take, ns.
const LEAVE_NANOS: i64 = 500_000_000;

/// The other side's last sign of life, and when it came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    pub beat: Heartbeat,
    pub received_nanos: i64,
}

/// What the thread owns.
pub(crate) struct LinkThread {
    pub session: Session,
    pub shared: Arc<Shared>,
    pub commands: Receiver<CommandFrame>,
    pub publisher: Publisher<'static>,
    pub codec: Box<dyn Codec>,
    pub clock: MonotonicClock,
    pub supervision: Option<Supervisor>,
}

/// What it owns where the robot's side has a say.
pub(crate) struct Supervisor {
    pub mode_key: String,
    pub clear_key: String,
    pub beats: Publisher<'static>,
    pub heard: Arc<Mutex<Heard>>,
    pub who: u64,
    pub lease: u64,
    pub contract_hash: [u8; 32],
    pub clock_offset: ClockOffset,
}

/// A question that is under way.
struct Asked {
    op: ModeOp,
    at_nanos: i64,
    /// The person's clearing that it answers.
    acknowledged: u32,
    answer: Arc<Mutex<Option<ModeReply>>>,
}

impl LinkThread {
    /// Until the robot is dropped.
    pub(crate) fn run(mut self) {
        let mut packet = Packet::default();
        let mut supervisor = self.supervision.take();
        let mut asked: Option<Asked> = None;
        let (mut next_beat, mut beats, mut last_echo) = (0, 0_u64, 0_u64);
        loop {
            let now = self.clock.now_nanos();
            let wait = if supervisor.is_some() { (next_beat - now).max(0) } else { HEARTBEAT_NANOS };
            std::thread::park_timeout(Duration::from_nanos(wait.unsigned_abs()));
            self.send_commands(&mut packet);
            let ending = self.shared.ending.load(Ordering::Acquire);
            let Some(s) = &mut supervisor else {
                if ending {
                    return;
                }
                continue;
            };
            let now = self.clock.now_nanos();
            if now >= next_beat {
                next_beat = now + HEARTBEAT_NANOS;
                beats += 1;
                s.beat(beats, now);
            }
            s.measure_offset(&self.shared, &mut last_echo);
            if let Some(question) = &asked {
                let answer = question.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(reply) = answer {
                    if s.take(&self.shared, question.op, &reply) {
                        self.shared.cleared.store(question.acknowledged, Ordering::Release);
                    }
                    asked = None;
                } else if now - question.at_nanos > ANSWER_NANOS {
                    asked = None;
                }
            }
            if ending {
                s.leave(&self.session, &self.shared, self.clock);
                return;
            }
            if asked.is_none() {
                let acknowledged = self.shared.acknowledged.load(Ordering::Acquire);
                let cleared = self.shared.cleared.load(Ordering::Acquire);
                if let Some(op) = s.wish(&self.shared, acknowledged != cleared) {
                    let epoch = self.shared.epoch.load(Ordering::Acquire);
                    if op == ModeOp::Hold {
                        // Nothing more of it is sent, whatever the answer is.
                        self.shared.epoch.store(0, Ordering::Release);
                    }
                    asked = Some(s.ask(&self.session, op, epoch, now, acknowledged));
                } else if acknowledged != cleared {
                    self.shared.cleared.store(acknowledged, Ordering::Release);
                }
            }
        }
    }

    fn send_commands(&mut self, packet: &mut Packet) {
        while let Some(frame) = self.commands.receive() {
            let over = frame.meta.epoch != self.shared.epoch.load(Ordering::Acquire);
            let written = !over && self.codec.write_command(&frame, packet).is_ok();
            self.commands.give_back(frame);
            let counters = &self.shared.counters;
            if !written {
                count(&counters.unsent);
                continue;
            }
            let mut put = self.publisher.put(ZBytes::from(packet.payload.as_slice()));
            if !packet.attachment.is_empty() {
                put = put.attachment(ZBytes::from(packet.attachment.as_slice()));
            }
            if put.wait().is_ok() {
                count(&counters.sent);
                let bytes = packet.payload.len() + packet.attachment.len();
                counters.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            } else {
                count(&counters.unsent);
            }
        }
    }
}

impl Supervisor {
    fn heard(&self) -> Heard {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat(&self, seq: u64, now: i64) {
        let Heard { beat, received_nanos } = self.heard();
        let ours = Heartbeat {
            boot_id: self.who,
            lease: self.lease,
            seq,
            mono_nanos: now,
            echo_id: beat.boot_id,
            echo_seq: beat.seq,
            echo_mono_nanos: beat.mono_nanos,
            echo_received_nanos: received_nanos,
        };
        // One that is lost is followed by another.
        let _ = self.beats.put(ours.bytes()).wait();
    }

    fn measure_offset(&mut self, shared: &Shared, last_echo: &mut u64) {
        let Heard { beat, received_nanos } = self.heard();
        if beat.echo_id != self.who || beat.echo_seq == *last_echo {
            return;
        }
        *last_echo = beat.echo_seq;
        self.clock_offset.observe(Exchange {
            sent: beat.echo_mono_nanos,
            received: beat.echo_received_nanos,
            answered: beat.mono_nanos,
            returned: received_nanos,
        });
        self.publish_offset(shared);
    }

    pub(crate) fn publish_offset(&self, shared: &Shared) {
        if let Some(offset) = self.clock_offset.offset() {
            shared.offset_nanos.store(offset.nanos, Ordering::Relaxed);
            shared.offset_bound_nanos.store(offset.bound_nanos, Ordering::Relaxed);
        }
    }

    /// What is to be asked next.
    fn wish(&self, shared: &Shared, acknowledge: bool) -> Option<ModeOp> {
        let (told, epoch) = (shared.told(), shared.epoch.load(Ordering::Acquire));
        let wanted = shared.wanted.load(Ordering::Acquire);
        let anew = shared.boot.load(Ordering::Acquire) != shared.leased_boot.load(Ordering::Acquire);
        if acknowledge && (anew || self.lease == 0) {
            return Some(ModeOp::Claim);
        }
        if acknowledge && told.mode.is_latched() {
            return Some(if told.mode == RobotMode::EmergencyStop {
                ModeOp::Reset
            } else {
                ModeOp::Acknowledge
            });
        }
        if !wanted {
            shared.refuse(None);
            return (epoch != 0).then_some(ModeOp::Hold);
        }
        (epoch == 0 && shared.refusal().is_none()).then_some(ModeOp::Arm)
    }

    fn request(&self, op: ModeOp, epoch: u32) -> ModeRequest {
        ModeRequest { op, who: self.who, lease: self.lease, epoch, contract_hash: self.contract_hash }
    }

    fn ask(&self, session: &Session, op: ModeOp, epoch: u32, now: i64, acknowledged: u32) -> Asked {
        let answer = Arc::new(Mutex::new(None));
        let (slot, thread) = (answer.clone(), std::thread::current());
        let sent = session
            .get(if op.clears() { self.clear_key.as_str() } else { self.mode_key.as_str() })
            .payload(self.request(op, epoch).bytes())
            .priority(zenoh::qos::Priority::InteractiveHigh)
            .congestion_control(zenoh::qos::CongestionControl::Drop)
            .timeout(Duration::from_nanos(ANSWER_NANOS.unsigned_abs()))
            .callback(move |reply| {
                let read = reply.result().ok().and_then(|s| ModeReply::read(&s.payload().to_bytes()).ok());
                if let Some(read) = read {
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
                    thread.unpark();
                }
            })
            .wait();
        // What was not sent is not answered, and is asked for again.
        let _ = sent;
        Asked { op, at_nanos: now, acknowledged, answer }
    }

    /// Takes an answer in. True when it settles a person's clearing of a stop.
    pub(crate) fn take(&mut self, shared: &Shared, op: ModeOp, reply: &ModeReply) -> bool {
        let ModeReply { refusal, mode, cause, lease, epoch, boot_id, mono_nanos: _ } = *reply;
        shared.hear_reply(Told { mode, cause, epoch }, boot_id);
        if refusal == Some(Refusal::NoLease) {
            self.lease = 0;
        }
        match (op, refusal) {
            (ModeOp::Claim, refusal) => {
                self.lease = lease;
                shared.lease.store(lease, Ordering::Release);
                shared.leased_boot.store(boot_id, Ordering::Release);
                shared.refuse(refusal);
                refusal.is_some()
            }
            (ModeOp::Arm, None) => {
                shared.refuse(None);
                shared.epoch.store(epoch, Ordering::Release);
                count(&shared.counters.armings);
                false
            }
            // It comes to rest by itself: it is asked again.
            (ModeOp::Arm | ModeOp::Acknowledge | ModeOp::Reset, Some(Refusal::Moving)) => false,
            (ModeOp::Arm, refusal) => {
                shared.refuse(refusal);
                false
            }
            // Asked again once it is claimed anew.
            (ModeOp::Acknowledge | ModeOp::Reset, Some(Refusal::NoLease)) => false,
            (ModeOp::Acknowledge | ModeOp::Reset, refusal) => {
                shared.refuse(None);
                if refusal.is_none() {
                    // The epoch that the stop ended is over: what is written from now on begins another.
                    shared.epoch.store(0, Ordering::Release);
                }
                true
            }
            (ModeOp::Hold | ModeOp::Release | ModeOp::Status, _) => false,
        }
    }

    /// Says good-bye: the robot comes to rest, and is free for others.
    fn leave(&self, session: &Session, shared: &Shared, clock: MonotonicClock) {
        let until = clock.now_nanos() + LEAVE_NANOS;
        while self.lease != 0 && clock.now_nanos() < until {
            let asked = self.ask(session, ModeOp::Release, shared.epoch.load(Ordering::Acquire), 0, 0);
            while clock.now_nanos() < until {
                std::thread::park_timeout(Duration::from_nanos(ANSWER_NANOS.unsigned_abs()));
                if asked.answer.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                    return;
                }
            }
        }
    }
}
