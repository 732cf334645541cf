use proptest::prelude::*;

use super::layout::MAX_TEXT;
use super::*;
use crate::error::Refusal;

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

/// Robots and controllers of other builds read by place: the order of the fields is part of the version.
#[test]
fn fields_stand_in_the_order_of_the_first_version() {
    fn at_places<M: Message>(message: &M, places: &[&[u8]]) {
        assert_eq!(message.bytes(), [&[&[1][..]], places].concat().concat(), "{}", M::WHAT);
    }
    let (mode, cause) = (RobotMode::ProtectiveStop, StopCause::CommandSilence);
    let command = CommandMeta {
        epoch: 1,
        lease: 2,
        seq: 3,
        stamp_nanos: -4,
        valid_until_nanos: 5,
        period_nanos: 6,
        source: Source::Human,
    };
    let n = |x: u64| x.to_le_bytes();
    let four = |x: u32| x.to_le_bytes();
    at_places(&command, &[&four(1), &n(2), &n(3), &(-4_i64).to_le_bytes(), &n(5), &four(6), &[2]]);
    let state = StateMeta {
        boot_id: 1,
        epoch: 2,
        seq: 3,
        stamp_nanos: 4,
        mode,
        cause,
        executed_seq: 5,
        executed_stamp_nanos: 6,
    };
    at_places(&state, &[&n(1), &four(2), &n(3), &n(4), &[2, 1], &n(5), &n(6)]);
    let beat = Heartbeat {
        boot_id: 1,
        lease: 2,
        seq: 3,
        mono_nanos: 4,
        echo_id: 5,
        echo_seq: 6,
        echo_mono_nanos: 7,
        echo_received_nanos: 8,
    };
    at_places(&beat, &[&n(1), &n(2), &n(3), &n(4), &n(5), &n(6), &n(7), &n(8)]);
    let request = ModeRequest { op: ModeOp::Reset, who: 1, lease: 2, epoch: 3, contract_hash: [9; 32] };
    at_places(&request, &[&[4], &n(1), &n(2), &four(3), &[9; 32]]);
    let refusal = Some(Refusal::Latched);
    let reply = ModeReply { refusal, mode, cause, lease: 1, epoch: 2, boot_id: 3, mono_nanos: 4 };
    at_places(&reply, &[&[2, 2, 1], &n(1), &four(2), &n(3), &n(4)]);
    let estop = Estop { latched: true, cause: "why".into(), who: "me".into() };
    at_places(&estop, &[&[1, 3], b"why", &[2], b"me"]);
    let counters = SafetyCounters {
        ticks: 1,
        executed: 2,
        missed: 3,
        violations: 4,
        refused_epoch: 5,
        refused_lease: 6,
        refused_order: 7,
        refused_late: 8,
        refused_malformed: 9,
        skipped: 10,
    };
    let status = SafetyStatus { mode, cause, epoch: 1, at_rest: true, counters, margins: vec![0.5] };
    let counted: Vec<u8> = (1..=10).flat_map(n).collect();
    at_places(&status, &[&[2, 1], &four(1), &[1], &counted, &four(1), &0.5_f32.to_le_bytes()]);
    at_places(&PanelPress { panel: 1, seq: 2, key: PanelKey::Success }, &[&n(1), &n(2), &[11]]);
    let action = TeleopAction { panel: 1, seq: 2, deadman: true, action: vec![-0.5] };
    at_places(&action, &[&n(1), &n(2), &[1], &four(1), &(-0.5_f32).to_le_bytes()]);
}
