//! Who may move the robot, decided on its own side: one controller at a time, one epoch at a time, and latched stops.
//!
//! ```text
//! Idle --arm: a new epoch--> Armed --hold, release--> Idle
//! Armed --no command for command_timeout--> ProtectiveStop --acknowledge--> Idle
//! any --emergency stop--> EmergencyStop --reset--> Idle
//! ```
//! A pure state machine: time is given to it, and it knows nothing of a network. No time and no message but a person's
//! acknowledgement or reset clears a stop, and what is armed afterwards is a new epoch, so whatever was on its way is void.

use crate::error::Refusal;
use crate::wire::{
    CommandMeta, ModeOp, ModeReply, ModeRequest, RobotMode, SafetyCounters, StateMeta, StopCause,
};

/// What an authority is told once.
#[derive(Clone, Copy, Debug)]
pub struct AuthorityConfig {
    /// Hash of the contract that the robot is served with.
    pub contract_hash: [u8; 32],
    /// Drawn anew at each start.
    pub boot_id: u64,
    /// What leases are made of: not to be guessed by others.
    pub secret: u64,
    /// Without a command for so long an armed robot stops, latched, ns.
    pub command_timeout_nanos: i64,
    /// Without a sign of life for so long a controller has lost the robot, ns.
    pub lease_timeout_nanos: i64,
    /// The dialect knows no leases and no epochs: any command is followed that is newer than the last, and when none comes the stop
    /// plan is played and no stop is latched, for nobody could clear it.
    pub open: bool,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    token: u64,
    who: u64,
    heard_nanos: i64,
}

/// The state machine.
#[derive(Clone, Debug)]
pub struct Authority {
    config: AuthorityConfig,
    mode: RobotMode,
    cause: StopCause,
    epoch: u32,
    lease: Option<Lease>,
    leases: u64,
    accepted_seq: u64,
    executed_seq: u64,
    executed_stamp_nanos: i64,
    last_command_nanos: i64,
    counters: SafetyCounters,
}

impl Authority {
    /// Nobody's, at rest.
    #[must_use]
    pub fn new(config: AuthorityConfig) -> Self {
        Self {
            config,
            mode: if config.open { RobotMode::Armed } else { RobotMode::Idle },
            cause: StopCause::None,
            epoch: 0,
            lease: None,
            leases: 0,
            accepted_seq: 0,
            executed_seq: 0,
            executed_stamp_nanos: 0,
            last_command_nanos: 0,
            counters: SafetyCounters::default(),
        }
    }

    /// What it is doing.
    #[must_use]
    pub const fn mode(&self) -> RobotMode {
        self.mode
    }
    /// Why it stopped.
    #[must_use]
    pub const fn cause(&self) -> StopCause {
        self.cause
    }
    /// The present epoch.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }
    /// What its controller proves itself with; 0 where it has none.
    #[must_use]
    pub fn lease(&self) -> u64 {
        self.lease.map_or(0, |l| l.token)
    }
    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> &SafetyCounters {
        &self.counters
    }
    /// What was counted, to count what only others see.
    pub const fn counters_mut(&mut self) -> &mut SafetyCounters {
        &mut self.counters
    }

    /// Answers a request. `at_rest`: the set-points are, and plan nothing but rest.
    pub fn request(&mut self, request: &ModeRequest, now_nanos: i64, at_rest: bool) -> ModeReply {
        self.forget_the_silent(now_nanos);
        let done = self.follow(request, now_nanos, at_rest);
        let lease = self.lease.filter(|l| l.who == request.who).map_or(0, |l| l.token);
        ModeReply {
            refusal: done.err(),
            mode: self.mode,
            cause: self.cause,
            lease,
            epoch: self.epoch,
            boot_id: self.config.boot_id,
            mono_nanos: now_nanos,
        }
    }

    fn follow(&mut self, request: &ModeRequest, now_nanos: i64, at_rest: bool) -> Result<(), Refusal> {
        let ModeRequest { op, who, lease, epoch, contract_hash } = request;
        match op {
            ModeOp::Status => Ok(()),
            ModeOp::Claim => {
                if *contract_hash != self.config.contract_hash {
                    return Err(Refusal::OtherContract);
                }
                match self.lease {
                    Some(held) if held.who != *who => return Err(Refusal::OtherController),
                    Some(_) => {}
                    None => self.grant(*who, now_nanos),
                }
                self.heard(now_nanos);
                Ok(())
            }
            ModeOp::Arm => {
                self.check_lease(*lease)?;
                if self.mode.is_latched() {
                    return Err(Refusal::Latched);
                }
                if *contract_hash != self.config.contract_hash {
                    return Err(Refusal::OtherContract);
                }
                if !at_rest {
                    return Err(Refusal::Moving);
                }
                self.epoch = self.epoch.wrapping_add(1).max(1);
                (self.accepted_seq, self.executed_seq, self.executed_stamp_nanos) = (0, 0, 0);
                (self.mode, self.cause) = (RobotMode::Armed, StopCause::None);
                self.last_command_nanos = now_nanos;
                self.heard(now_nanos);
                Ok(())
            }
            ModeOp::Hold => {
                self.check_lease(*lease)?;
                if *epoch != self.epoch {
                    return Err(Refusal::OldEpoch);
                }
                self.disarm();
                Ok(())
            }
            ModeOp::Release => {
                self.check_lease(*lease)?;
                self.disarm();
                self.lease = None;
                Ok(())
            }
            ModeOp::Acknowledge | ModeOp::Reset => {
                // An operator has no lease; a controller that lost its own speaks for nobody.
                if *lease != 0 {
                    self.check_lease(*lease)?;
                }
                match (op, self.mode) {
                    (_, RobotMode::Idle | RobotMode::Armed) => return Err(Refusal::NotLatched),
                    (ModeOp::Acknowledge, RobotMode::EmergencyStop) => return Err(Refusal::Latched),
                    _ if !at_rest => return Err(Refusal::Moving),
                    _ => (self.mode, self.cause) = (RobotMode::Idle, StopCause::None),
                }
                Ok(())
            }
        }
    }

    fn grant(&mut self, who: u64, now_nanos: i64) {
        self.leases += 1;
        let mut hasher = blake3::Hasher::new();
        for x in [self.config.secret, self.config.boot_id, who, self.leases] {
            hasher.update(&x.to_le_bytes());
        }
        let token = hasher.finalize().as_bytes().first_chunk().map_or(1, |b| u64::from_le_bytes(*b)).max(1);
        self.lease = Some(Lease { token, who, heard_nanos: now_nanos });
    }

    fn check_lease(&self, lease: u64) -> Result<(), Refusal> {
        match self.lease {
            Some(held) if held.token == lease => Ok(()),
            _ => Err(Refusal::NoLease),
        }
    }

    const fn heard(&mut self, now_nanos: i64) {
        if let Some(lease) = &mut self.lease {
            lease.heard_nanos = now_nanos;
        }
    }

    fn disarm(&mut self) {
        if self.mode == RobotMode::Armed {
            self.mode = RobotMode::Idle;
        }
    }

    /// A controller's sign of life.
    pub fn heartbeat(&mut self, lease: u64, now_nanos: i64) {
        if self.check_lease(lease).is_ok() {
            self.heard(now_nanos);
        }
    }

    fn forget_the_silent(&mut self, now_nanos: i64) {
        let silent = |l: &Lease| now_nanos - l.heard_nanos > self.config.lease_timeout_nanos;
        if self.mode != RobotMode::Armed && self.lease.as_ref().is_some_and(silent) {
            self.lease = None;
        }
    }

    /// Whether a command that came may be followed. Each is asked for once; those that may not are counted.
    pub fn admits(&mut self, meta: &CommandMeta, now_nanos: i64) -> bool {
        let CommandMeta { epoch, lease, seq, valid_until_nanos, .. } = meta;
        let slot = if !self.config.open && self.check_lease(*lease).is_err() {
            &mut self.counters.refused_lease
        } else if self.mode != RobotMode::Armed || (!self.config.open && *epoch != self.epoch) {
            &mut self.counters.refused_epoch
        } else if *seq <= self.accepted_seq {
            &mut self.counters.refused_order
        } else if !self.config.open && self.is_late(*valid_until_nanos, now_nanos) {
            &mut self.counters.refused_late
        } else {
            self.accepted_seq = *seq;
            self.heard(now_nanos);
            return true;
        };
        *slot += 1;
        false
    }

    /// Late, or said to be valid for longer than any command may be: then the sender's idea of our clock is wrong.
    const fn is_late(&self, valid_until_nanos: i64, now_nanos: i64) -> bool {
        let left = valid_until_nanos.saturating_sub(now_nanos);
        left < 0 || left > 2 * self.config.command_timeout_nanos
    }

    /// Whether an admitted command that waited may still be followed.
    #[must_use]
    pub fn may_execute(&self, meta: &CommandMeta, now_nanos: i64) -> bool {
        let present = meta.epoch == self.epoch && !self.is_late(meta.valid_until_nanos, now_nanos);
        self.mode == RobotMode::Armed && (self.config.open || present)
    }

    /// A control period passes, with the command that was followed in it, if one was.
    pub fn tick(&mut self, executed: Option<&CommandMeta>, now_nanos: i64) {
        self.counters.ticks += 1;
        if let Some(meta) = executed {
            self.counters.executed += 1;
            (self.executed_seq, self.executed_stamp_nanos) = (meta.seq, meta.stamp_nanos);
            self.last_command_nanos = now_nanos;
        } else if self.mode == RobotMode::Armed {
            self.counters.missed += 1;
            let silent = now_nanos - self.last_command_nanos > self.config.command_timeout_nanos;
            if silent && !self.config.open {
                self.stop(RobotMode::ProtectiveStop, StopCause::CommandSilence);
            }
        }
        self.forget_the_silent(now_nanos);
    }

    /// Latches a stop; a milder one never replaces a worse one.
    pub const fn stop(&mut self, mode: RobotMode, cause: StopCause) {
        if mode.is_latched() && self.mode.code() < mode.code() {
            (self.mode, self.cause) = (mode, cause);
        }
    }

    /// What goes beside a state of this moment.
    #[must_use]
    pub const fn meta(&self, seq: u64, stamp_nanos: i64) -> StateMeta {
        StateMeta {
            boot_id: self.config.boot_id,
            epoch: self.epoch,
            seq,
            stamp_nanos,
            mode: self.mode,
            cause: self.cause,
            executed_seq: self.executed_seq,
            executed_stamp_nanos: self.executed_stamp_nanos,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::Source;

    const MS: i64 = 1_000_000;
    const HASH: [u8; 32] = [7; 32];

    fn authority() -> Authority {
        Authority::new(AuthorityConfig {
            contract_hash: HASH,
            boot_id: 3,
            secret: 5,
            command_timeout_nanos: 250 * MS,
            lease_timeout_nanos: 1000 * MS,
            open: false,
        })
    }

    fn request(op: ModeOp, who: u64, lease: u64, epoch: u32) -> ModeRequest {
        ModeRequest { op, who, lease, epoch, contract_hash: HASH }
    }

    fn armed(who: u64) -> (Authority, u64, u32) {
        let mut a = authority();
        let lease = a.request(&request(ModeOp::Claim, who, 0, 0), 0, true).lease;
        let reply = a.request(&request(ModeOp::Arm, who, lease, 0), 0, true);
        assert_eq!((reply.refusal, reply.mode, reply.epoch), (None, RobotMode::Armed, 1));
        (a, lease, 1)
    }

    const fn command(lease: u64, epoch: u32, seq: u64, valid_until_nanos: i64) -> CommandMeta {
        let source = Source::Policy;
        CommandMeta { epoch, lease, seq, stamp_nanos: 0, valid_until_nanos, period_nanos: 1, source }
    }

    #[test]
    fn commands_are_followed_in_order_in_time_in_their_epoch_and_from_their_controller_alone() {
        let (mut a, lease, epoch) = armed(1);
        assert!(a.admits(&command(lease, epoch, 1, 100), 50));
        for (what, refused) in [
            ("again", command(lease, epoch, 1, 100)),
            ("another's", command(lease + 1, epoch, 2, 100)),
            ("an earlier epoch's", command(lease, epoch - 1, 2, 100)),
            ("late", command(lease, epoch, 2, 49)),
            ("valid for ever", command(lease, epoch, 2, i64::MAX)),
        ] {
            assert!(!a.admits(&refused, 50), "{what}");
        }
        assert!(a.admits(&command(lease, epoch, 5, 100), 50), "numbers may be missing");
        assert!(!a.admits(&command(lease, epoch, 4, 100), 50), "and do not come back");
        let SafetyCounters { refused_epoch, refused_lease, refused_order, refused_late, .. } = *a.counters();
        assert_eq!((refused_epoch, refused_lease, refused_order, refused_late), (1, 1, 2, 2));
    }

    #[test]
    fn silence_latches_and_nothing_but_a_person_ends_it() {
        let (mut a, lease, epoch) = armed(1);
        a.tick(Some(&command(lease, epoch, 1, 0)), 0);
        a.tick(None, 250 * MS);
        assert_eq!(a.mode(), RobotMode::Armed, "one that is in time");
        a.tick(None, 251 * MS);
        assert_eq!((a.mode(), a.cause()), (RobotMode::ProtectiveStop, StopCause::CommandSilence));
        assert!(
            !a.admits(&command(lease, epoch, 2, 300 * MS), 252 * MS),
            "the link is back, and nothing moves"
        );
        for op in [ModeOp::Arm, ModeOp::Claim, ModeOp::Hold, ModeOp::Status, ModeOp::Release] {
            let lease = a.lease.map_or(lease, |l| l.token);
            a.request(&request(op, 1, lease, epoch), 252 * MS, true);
            assert_eq!(a.mode(), RobotMode::ProtectiveStop, "{op:?}");
        }
        let moving = a.request(&request(ModeOp::Acknowledge, 9, 0, 0), 253 * MS, false);
        assert_eq!(moving.refusal, Some(Refusal::Moving));
        assert_eq!(a.request(&request(ModeOp::Acknowledge, 9, 0, 0), 253 * MS, true).mode, RobotMode::Idle);
        assert!(!a.admits(&command(lease, epoch, 3, 300 * MS), 254 * MS), "and what was queued stays void");
    }

    #[test]
    fn a_dialect_without_leases_is_followed_in_order_and_never_latches_by_silence() {
        let mut a = Authority::new(AuthorityConfig { open: true, ..authority().config });
        assert!(a.admits(&command(0, 0, 4, 0), 900 * MS) && !a.admits(&command(0, 0, 4, 0), 900 * MS));
        assert!(a.may_execute(&command(0, 0, 4, 0), 900 * MS));
        a.tick(None, 100_000 * MS);
        assert_eq!(a.mode(), RobotMode::Armed);
        a.stop(RobotMode::ProtectiveStop, StopCause::RobotLost);
        assert!(!a.admits(&command(0, 0, 5, 0), 900 * MS));
    }

    #[test]
    fn an_emergency_stop_outranks_and_needs_a_reset() {
        let (mut a, lease, epoch) = armed(1);
        a.stop(RobotMode::EmergencyStop, StopCause::EmergencyStop);
        a.stop(RobotMode::ProtectiveStop, StopCause::CommandSilence);
        assert_eq!((a.mode(), a.cause()), (RobotMode::EmergencyStop, StopCause::EmergencyStop));
        let reply = a.request(&request(ModeOp::Acknowledge, 1, lease, epoch), 1, true);
        assert_eq!(reply.refusal, Some(Refusal::Latched));
        assert_eq!(a.request(&request(ModeOp::Reset, 1, lease, epoch), 1, true).mode, RobotMode::Idle);
        assert_eq!(a.request(&request(ModeOp::Arm, 1, lease, 0), 1, true).epoch, epoch + 1);
    }

    #[test]
    fn one_controller_at_a_time_until_it_is_silent_or_says_so() {
        let (mut a, lease, epoch) = armed(1);
        let other = request(ModeOp::Claim, 2, 0, 0);
        assert_eq!(a.request(&other, 1, true).refusal, Some(Refusal::OtherController));
        assert_eq!(a.request(&request(ModeOp::Arm, 2, 77, 0), 1, true).refusal, Some(Refusal::NoLease));
        assert_eq!(a.request(&request(ModeOp::Hold, 2, 77, epoch), 1, true).refusal, Some(Refusal::NoLease));
        assert_eq!(a.mode(), RobotMode::Armed, "nobody else ends the epoch");
        // Killed: it stops first, and is free later.
        a.tick(None, 300 * MS);
        assert_eq!(a.request(&other, 900 * MS, true).refusal, Some(Refusal::OtherController));
        let taken = a.request(&other, 1001 * MS, true);
        assert!(taken.refusal.is_none() && taken.lease != lease && taken.mode == RobotMode::ProtectiveStop);
        let old = a.request(&request(ModeOp::Acknowledge, 1, lease, epoch), 1002 * MS, true);
        assert_eq!(old.refusal, Some(Refusal::NoLease), "who has lost it clears nothing");
        assert_eq!(a.request(&request(ModeOp::Release, 2, taken.lease, 0), 1003 * MS, true).refusal, None);
        assert!(a.request(&request(ModeOp::Claim, 3, 0, 0), 1003 * MS, true).refusal.is_none());
        let mut hash = request(ModeOp::Claim, 3, 0, 0);
        hash.contract_hash[0] = 0;
        assert_eq!(a.request(&hash, 1003 * MS, true).refusal, Some(Refusal::OtherContract));
    }

    proptest! {
        /// Whatever comes in whatever order: no command of an epoch that is over, and no way out of a stop but a person's.
        #[test]
        fn no_sequence_of_messages_follows_an_old_command_or_clears_a_stop(
            events in prop::collection::vec((0_u8..10, 0_u32..6, 0_u64..20, 0_i64..200), 1..200),
        ) {
            let (mut a, lease, _) = armed(1);
            let (mut now, mut newest) = (0, (1_u32, 0_u64));
            for (kind, epoch, seq, wait) in events {
                now += wait * MS;
                let before = a.mode();
                match kind {
                    0..=3 => {
                        let c = command(lease, epoch, seq, now + 1);
                        if a.admits(&c, now) {
                            prop_assert_eq!(before, RobotMode::Armed);
                            prop_assert_eq!(epoch, a.epoch());
                            prop_assert!((epoch, seq) > newest, "{:?} after {:?}", (epoch, seq), newest);
                            newest = (epoch, seq);
                            a.tick(Some(&c), now);
                        }
                    }
                    4 => a.tick(None, now),
                    5 => a.stop(RobotMode::EmergencyStop, StopCause::EmergencyStop),
                    6 => a.heartbeat(lease, now),
                    7 => {
                        a.request(&request(ModeOp::Arm, 1, lease, epoch), now, seq % 2 == 0);
                    }
                    8 => {
                        a.request(&request(ModeOp::Hold, 1, lease, epoch), now, true);
                    }
                    _ => {
                        let op = if seq % 2 == 0 { ModeOp::Acknowledge } else { ModeOp::Reset };
                        a.request(&request(op, 4, 0, epoch), now, true);
                    }
                }
                let cleared = before.is_latched() && !a.mode().is_latched();
                prop_assert!(!cleared || kind == 9, "{before:?} was cleared by {kind}");
            }
        }
    }
}
