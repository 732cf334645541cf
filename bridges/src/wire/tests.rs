use proptest::prelude::*;

use super::*;

fn any_code<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    (0..all.len()).prop_map(move |at| all[at])
}

fn command() -> impl Strategy<Value = CommandMeta> {
    (any::<(u32, u64, u64, i64, i64, u32)>(), any_code(Source::ALL)).prop_map(
        |((epoch, lease, seq, stamp_nanos, valid_until_nanos, period_nanos), source)| CommandMeta {
            epoch,
            lease,
            seq,
            stamp_nanos,
            valid_until_nanos,
            period_nanos,
            source,
        },
    )
}

fn status() -> impl Strategy<Value = SafetyStatus> {
    let margins = prop::collection::vec(-1e6_f32..1e6, 0..20);
    (any_code(RobotMode::ALL), any_code(StopCause::ALL), any::<(u32, bool, u64)>(), margins).prop_map(
        |(mode, cause, (epoch, at_rest, executed), margins)| SafetyStatus {
            mode,
            cause,
            epoch,
            at_rest,
            counters: SafetyCounters { executed, skipped: !executed, ..SafetyCounters::default() },
            margins,
        },
    )
}

fn reply() -> impl Strategy<Value = ModeReply> {
    let refusal = prop::option::of(any_code(&Refusal::ALL));
    let rest = any::<(u64, u32, u64, i64)>();
    (refusal, any_code(RobotMode::ALL), any_code(StopCause::ALL), rest).prop_map(
        |(refusal, mode, cause, (lease, epoch, boot_id, mono_nanos))| ModeReply {
            refusal,
            mode,
            cause,
            lease,
            epoch,
            boot_id,
            mono_nanos,
        },
    )
}

/// There and back; cut anywhere it is an error, and so it is with a byte more.
fn goes_round<M: Message + PartialEq + std::fmt::Debug>(message: &M) {
    let bytes = message.bytes();
    assert_eq!(M::read(&bytes).as_ref(), Ok(message));
    for end in 0..bytes.len() {
        assert!(M::read(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
    }
    let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
    assert_eq!(M::read(&longer), Err(WireError::TooLong { left: 1 }));
    let mut other = bytes;
    other[0] = VERSION + 1;
    assert!(matches!(M::read(&other), Err(WireError::Version { found: 2, .. })));
}

proptest! {
    #[test]
    fn messages_go_round(
        command in command(), status in status(), reply in reply(), beat in any::<[u64; 8]>(),
        op in any_code(ModeOp::ALL), key in any_code(PanelKey::ALL), who in ".{0,80}",
        action in prop::collection::vec(-1.0_f32..1.0, 0..12), hash in any::<[u8; 32]>(),
    ) {
        goes_round(&command);
        goes_round(&status);
        goes_round(&reply);
        let [boot_id, lease, seq, mono, echo_id, echo_seq, echo_mono, received] = beat;
        goes_round(&Heartbeat {
            boot_id, lease, seq, mono_nanos: mono as i64, echo_id, echo_seq, echo_mono_nanos: echo_mono as i64,
            echo_received_nanos: received as i64,
        });
        goes_round(&StateMeta {
            boot_id, epoch: lease as u32, seq, stamp_nanos: mono as i64, mode: reply.mode, cause: reply.cause,
            executed_seq: echo_seq, executed_stamp_nanos: received as i64,
        });
        goes_round(&ModeRequest { op, who: seq, lease, epoch: command.epoch, contract_hash: hash });
        goes_round(&PanelPress { panel: lease, seq, key });
        goes_round(&TeleopAction { panel: lease, seq, deadman: seq % 2 == 0, action });
        // Texts are cut to what fits.
        let estop = Estop { latched: seq % 2 == 1, cause: "a".repeat(300), who };
        let read = Estop::read(&estop.bytes()).unwrap();
        prop_assert_eq!(read.cause.len(), MAX_TEXT);
        goes_round(&read);
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..300), ours: bool) {
        if ours && !bytes.is_empty() {
            bytes[0] = VERSION;
        }
        let _ = CommandMeta::read(&bytes);
        let _ = StateMeta::read(&bytes);
        let _ = Heartbeat::read(&bytes);
        let _ = ModeRequest::read(&bytes);
        let _ = ModeReply::read(&bytes);
        let _ = Estop::read(&bytes);
        let _ = SafetyStatus::read(&bytes);
        let _ = PanelPress::read(&bytes);
        let _ = TeleopAction::read(&bytes);
    }
}

#[test]
fn a_row_that_claims_more_than_there_is_takes_no_memory() {
    let mut bytes = TeleopAction::default().bytes();
    let length = bytes.len();
    bytes[length - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
    let refused = TeleopAction::read(&bytes);
    assert!(
        matches!(refused, Err(WireError::Length { found, .. }) if found == u32::MAX as usize),
        "{refused:?}"
    );
    let not_a_number = TeleopAction { action: vec![f32::NAN], ..TeleopAction::default() };
    assert_eq!(TeleopAction::read(&not_a_number.bytes()), Err(WireError::NotFinite { what: "action" }));
}

#[test]
fn every_code_is_its_own_and_the_next_is_none() {
    for (at, op) in ModeOp::ALL.iter().enumerate() {
        assert_eq!((usize::from(op.code()), ModeOp::of(op.code())), (at, Ok(*op)));
    }
    assert!(ModeOp::of(ModeOp::ALL.len() as u8).is_err());
    assert!(RobotMode::of(200).is_err() && StopCause::of(200).is_err() && PanelKey::of(200).is_err());
}
