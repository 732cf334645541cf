use std::fmt::Debug;

use allocation_counter::measure;
use proptest::prelude::*;

use super::*;
use crate::ros::TypeHash;

/// Bytes and hashes that other implementations made of the values below; see `make_golden.py` beside it.
const GOLDEN: &str = include_str!("../../../tests/fixtures/ros/golden.json");

fn golden(message: &str, what: &str) -> std::string::String {
    let all: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
    all[message][what].as_str().unwrap().to_owned()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn header() -> Header {
    Header { stamp: Time { sec: 1_700_000_000, nanosec: 123_456_789 }, frame_id: "base".into() }
}

fn names(names: &[&str]) -> Vec<std::string::String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

fn point(nanosec: u32, positions: &[f64], velocities: &[f64], accelerations: &[f64]) -> JointTrajectoryPoint {
    JointTrajectoryPoint {
        positions: positions.into(),
        velocities: velocities.into(),
        accelerations: accelerations.into(),
        effort: Vec::new(),
        time_from_start: Duration { sec: 0, nanosec },
    }
}

fn joint_state() -> JointState {
    JointState {
        header: header(),
        name: names(&["shoulder", "elbow", "j3"]),
        position: vec![0.1, -0.2, 0.3],
        velocity: vec![],
        effort: vec![1.0, 2.0, 3.0],
    }
}

fn control_tick() -> ControlTick {
    ControlTick {
        tick: 7,
        now_nanos: -1,
        wall_nanos: 2,
        stamp_nanos: 3,
        stamp_seq: 4,
        mode: "running:policy".into(),
        driver: "policy".into(),
        policy_version: 5,
        observation_age_nanos: 6,
        policy_latency_nanos: 7,
        jitter_nanos: -8,
        overruns: 9,
        verdict: "adjusted".into(),
        reasons: 10,
        filter_delta: 0.1,
        violations: 11,
        commanded: true,
        action: vec![0.5],
        events: "{}".into(),
    }
}

fn trajectory() -> JointTrajectory {
    JointTrajectory {
        header: header(),
        joint_names: names(&["a", "b"]),
        points: vec![
            point(10_000_000, &[0.1, 0.2], &[0.3, 0.4], &[]),
            point(30_000_000, &[0.15, 0.25], &[0.0, 0.0], &[1.0, -1.0]),
        ],
    }
}

fn twist() -> Twist {
    Twist { linear: Vector3 { x: 1.0, y: 2.0, z: 3.0 }, angular: Vector3 { x: 4.0, y: 5.0, z: 6.0 } }
}

fn diagnostics() -> DiagnosticArray {
    let pair = |key: &str, value: &str| KeyValue { key: key.into(), value: value.into() };
    let status = DiagnosticStatus {
        level: DiagnosticStatus::ERROR,
        name: "arm".into(),
        message: "hot".into(),
        hardware_id: "m1".into(),
        values: vec![pair("celsius", "81"), pair("", "")],
    };
    DiagnosticArray { header: header(), status: vec![status] }
}

/// Calls a generic check with a value of every message type.
macro_rules! for_every_message {
    ($check:ident) => {{
        $check(&Time { sec: -1, nanosec: 999_999_999 });
        $check(&Duration { sec: 2, nanosec: 5 });
        $check(&header());
        $check(&Bool { data: true });
        $check(&String { data: "grüße".into() });
        $check(&UInt8 { data: 200 });
        $check(&Float64 { data: -0.1 });
        $check(&Float64MultiArray {
            layout: MultiArrayLayout {
                dim: vec![MultiArrayDimension { label: "joints".into(), size: 3, stride: 3 }],
                data_offset: 0,
            },
            data: vec![0.25, -1.5, 1e-9],
        });
        $check(&Float32 { data: -0.5 });
        $check(&Float32MultiArray {
            layout: MultiArrayLayout {
                dim: vec![MultiArrayDimension { size: 2, stride: 2, ..MultiArrayDimension::default() }],
                data_offset: 0,
            },
            data: vec![0.25, -1.5],
        });
        $check(&control_tick());
        $check(&joint_state());
        $check(&CompressedImage { header: header(), format: "png".into(), data: vec![137, 80, 78, 71, 0] });
        $check(&Joy { header: header(), axes: vec![-1.0, 0.5], buttons: vec![0, 1, 1] });
        $check(&JointTrajectoryPoint { effort: vec![0.5], ..point(20_000_000, &[1.0], &[0.0], &[]) });
        $check(&trajectory());
        $check(&JointCommand {
            header: header(),
            joint_names: names(&["a", "b"]),
            interface_name: "position".into(),
            values: vec![0.5, -0.5],
        });
        $check(&twist());
        $check(&TwistStamped { header: header(), twist: twist() });
        $check(&PoseStamped {
            header: header(),
            pose: Pose {
                position: Point { x: 1.0, y: 2.0, z: 3.0 },
                orientation: Quaternion { x: 0.0, y: 0.0, z: 0.6, w: 0.8 },
            },
        });
        $check(&WrenchStamped {
            header: header(),
            wrench: Wrench { force: twist().linear, torque: twist().angular },
        });
        $check(&diagnostics());
    }};
}

#[test]
fn every_message_has_the_bytes_of_other_implementations_both_ways() {
    fn check<M: RosMessage + PartialEq + Debug>(message: &M) {
        let mut out = Vec::new();
        message.encode(&mut out);
        assert_eq!(out, bytes(&golden(M::TYPE, "little")), "{}", M::TYPE);
        for order in ["little", "big"] {
            let mut read = M::default();
            read.decode(&bytes(&golden(M::TYPE, order))).unwrap();
            assert_eq!(&read, message, "{} {order}", M::TYPE);
        }
    }
    for_every_message!(check);
}

#[test]
fn every_message_has_the_hash_of_another_implementation() {
    for (name, text) in DEFINITIONS {
        let hash = TypeHash::of_definition(name, text).unwrap();
        assert_eq!(hash.to_string(), golden(name, "hash"), "{name}");
    }
}

#[test]
fn every_truncation_is_an_error_and_so_is_a_longer_message() {
    fn check<M: RosMessage + PartialEq + Debug>(message: &M) {
        let mut out = Vec::new();
        message.encode(&mut out);
        let mut read = M::default();
        for length in 0..out.len() {
            assert!(read.decode(&out[..length]).is_err(), "{} cut to {length}", M::TYPE);
        }
        let end = out.len();
        out.resize(end + 3, 0);
        assert_eq!(read.decode(&out), Ok(()), "padding to a whole word");
        out.push(0);
        assert_eq!(read.decode(&out), Err(CdrError::Trailing { at: end, found: 4 }), "{}", M::TYPE);
    }
    for_every_message!(check);
}

#[test]
fn a_stream_of_equal_sizes_takes_no_memory() {
    let (state, trajectory, diagnostics) = (joint_state(), trajectory(), diagnostics());
    let mut out = Vec::new();
    let (mut state_in, mut trajectory_in, mut diagnostics_in) =
        (JointState::default(), JointTrajectory::default(), DiagnosticArray::default());
    let mut once = || {
        state.encode(&mut out);
        state_in.decode(&out).unwrap();
        trajectory.encode(&mut out);
        trajectory_in.decode(&out).unwrap();
        diagnostics.encode(&mut out);
        diagnostics_in.decode(&out).unwrap();
    };
    once();
    let counted = measure(|| (0..100).for_each(|_| once()));
    assert_eq!(counted.count_total, 0);
    assert_eq!((state_in, trajectory_in, diagnostics_in), (state, trajectory, diagnostics));
}

#[test]
fn times_go_to_nanoseconds_and_back() {
    for nanos in [0, 1, -1, 999_999_999, -1_000_000_000, 1_700_000_000_123_456_789] {
        assert_eq!(Time::from_nanos(nanos).nanos(), nanos);
    }
    assert_eq!(Time::from_nanos(-1), Time { sec: -1, nanosec: 999_999_999 });
    assert_eq!(Duration::from_nanos(i64::MAX), Duration { sec: i32::MAX, nanosec: 999_999_999 });
    assert_eq!(Duration::from_nanos(i64::MIN), Duration { sec: i32::MIN, nanosec: 0 });
}

/// Payloads that get past the first fields more often than noise does: small numbers, texts and zeros.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let words = prop_oneof![
        3 => (0_u32..6).prop_map(|n| n.to_le_bytes().to_vec()),
        1 => Just(b"ab\0\0".to_vec()),
        1 => any::<u32>().prop_map(|n| n.to_le_bytes().to_vec()),
    ];
    (any::<bool>(), proptest::collection::vec(words, 0..60), proptest::collection::vec(any::<u8>(), 0..4))
        .prop_map(|(little, words, rest)| [vec![0, u8::from(little), 0, 0], words.concat(), rest].concat())
}

fn total<M: RosMessage + PartialEq + Debug>(bytes: &[u8]) {
    let mut message = M::default();
    let mut result = Ok(());
    let counted = measure(|| result = message.decode(bytes));
    // An empty text has four bytes on the wire and twenty-four in memory; vectors grow by doubling.
    assert!(counted.bytes_max <= 16 * bytes.len() as u64 + 512, "{} takes {}", M::TYPE, counted.bytes_max);
    if result.is_ok() {
        let (mut out, mut again) = (Vec::new(), M::default());
        message.encode(&mut out);
        again.decode(&out).unwrap();
        let mut repeated = Vec::new();
        again.encode(&mut repeated);
        assert_eq!(out, repeated);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_crash_nor_take_more_memory_than_they_are_worth(
        bytes in prop_oneof![proptest::collection::vec(any::<u8>(), 0..200), payload()],
    ) {
        total::<JointState>(&bytes);
        total::<JointTrajectory>(&bytes);
        total::<JointCommand>(&bytes);
        total::<Float64MultiArray>(&bytes);
        total::<Joy>(&bytes);
        total::<CompressedImage>(&bytes);
        total::<DiagnosticArray>(&bytes);
        total::<PoseStamped>(&bytes);
        total::<Bool>(&bytes);
    }

    #[test]
    fn what_is_written_is_read_back(
        stamp in any::<i64>(),
        names in proptest::collection::vec("[a-zé_0-9]{0,12}", 0..8),
        rows in proptest::collection::vec(proptest::collection::vec(any::<f64>(), 0..8), 0..6),
        times in proptest::collection::vec(any::<i64>(), 6),
    ) {
        let points = rows.iter().zip(times).map(|(row, t)| JointTrajectoryPoint {
            positions: row.clone(),
            velocities: Vec::new(),
            accelerations: row.iter().rev().copied().collect(),
            effort: Vec::new(),
            time_from_start: Duration::from_nanos(t),
        });
        let written = JointTrajectory {
            header: Header { stamp: Time::from_nanos(stamp), frame_id: names.concat() },
            joint_names: names,
            points: points.collect(),
        };
        let (mut out, mut read, mut again) = (Vec::new(), trajectory(), Vec::new());
        written.encode(&mut out);
        read.decode(&out).unwrap();
        read.encode(&mut again);
        // Compared as bytes: NaN is no reason not to come through.
        prop_assert_eq!(out, again);
    }
}
