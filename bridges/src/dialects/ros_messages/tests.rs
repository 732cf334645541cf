use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::dialects::{Codec, Dialect, Packet, rmw_zenoh::RmwZenoh, ros2dds::Ros2dds};
use surefoot_core::contract::{LinkContract, RmwZenohLink, Ros2ddsLink, TypeHashes};

const COMMANDS: [RosCommand; 3] =
    [RosCommand::JointTrajectory, RosCommand::JointCommand, RosCommand::Float64MultiArray];
const PERIOD: u32 = 10_000_000;

fn contract() -> RobotContract {
    let joint = |name: &str| {
        format!(
            "[[joints]]\nname = \"{name}\"\nunit = \"rad\"\nmin_position = -1.0\nmax_position = 1.0\n\
             max_velocity = 2.0\nmax_acceleration = 5.0\n"
        )
    };
    let head = "name = \"two-arm\"\ncontrol_hz = 100.0\npolicy_hz = 10.0\n";
    let text = format!("{head}{}{}", joint("shoulder"), joint("elbow"));
    RobotContract::parse(&text, Path::new("two.toml")).unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

fn state(nanos: i64, joints: &[&str], position: &[f64], velocity: &[f64]) -> Vec<u8> {
    let message = JointState {
        header: Header { stamp: Time::from_nanos(nanos), frame_id: String::new() },
        name: names(joints),
        position: position.into(),
        velocity: velocity.into(),
        effort: Vec::new(),
    };
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

fn read(messages: &mut RosMessages, payload: &[u8]) -> Result<StateFrame, WireError> {
    let mut frame = StateFrame::new(&contract());
    messages.read_state(payload, &mut frame).map(|()| frame)
}

fn command(rows: &[(f64, f64)]) -> CommandFrame {
    let mut frame = CommandFrame::with_room(&contract(), 4);
    frame.meta.seq = 7;
    frame.meta.stamp_nanos = 1_700_000_000_000_000_001;
    frame.rows = rows.to_vec();
    frame
}

fn codec(command: RosCommand) -> [Box<dyn Codec>; 2] {
    let (contract, link) = (contract(), LinkContract::at("tcp/127.0.0.1:1"));
    let rmw = RmwZenohLink { command, ..RmwZenohLink::default() };
    let dialects: [Box<dyn Dialect>; 2] = [
        Box::new(RmwZenoh::new(&contract, &link, rmw).unwrap()),
        Box::new(Ros2dds::new(&contract, &link, Ros2ddsLink { command }).unwrap()),
    ];
    dialects.map(|d| d.codec("ab12").unwrap())
}

#[test]
fn joints_are_found_by_name_and_others_are_passed_over() {
    let mut messages = RosMessages::new(&contract(), RosCommand::default());
    let found =
        read(&mut messages, &state(5, &["elbow", "gripper", "shoulder"], &[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]));
    let StateFrame { state: found, meta, .. } = found.unwrap();
    assert_eq!((found.position, found.velocity, meta.stamp_nanos), (vec![3.0, 1.0], vec![6.0, 4.0], 5));
}

#[test]
fn what_does_not_fit_is_named() {
    let mut messages = RosMessages::new(&contract(), RosCommand::default());
    let mut why = |payload: &[u8]| read(&mut messages, payload).unwrap_err().to_string();
    assert!(
        why(&state(5, &["elbow"], &[1.0], &[1.0]))
            .contains("joint shoulder of the contract is missing; there are elbow")
    );
    assert!(why(&state(5, &[], &[], &[])).contains("there are no names"));
    assert!(
        why(&state(5, &["elbow", "shoulder"], &[], &[]))
            .contains("positions of a state: expected 2, found 0")
    );
    assert!(
        why(&state(5, &["elbow", "shoulder"], &[1.0, 2.0], &[1.0]))
            .contains("velocities of a state: expected 2")
    );
    let whole = state(5, &["elbow", "shoulder"], &[1.0, 2.0], &[1.0, 2.0]);
    assert!(why(&whole[..20]).contains("sensor_msgs/msg/JointState is malformed: byte"));
    assert!(why(&[0, 3, 0, 0, 0]).contains("plain CDR"));
}

#[test]
fn velocities_that_are_not_told_come_from_positions_and_stamps() {
    let mut messages = RosMessages::new(&contract(), RosCommand::default());
    let mut at = |nanos: i64, position: [f64; 2]| {
        read(&mut messages, &state(nanos, &["shoulder", "elbow"], &position, &[])).map(|f| f.state.velocity)
    };
    assert!(at(1_000_000_000, [0.0, 0.0]).unwrap_err().to_string().contains("known from the next one on"));
    assert_eq!(at(1_500_000_000, [0.5, -1.0]), Ok(vec![1.0, -2.0]));
    assert!(
        at(1_500_000_000, [0.6, -1.0])
            .unwrap_err()
            .to_string()
            .contains("stamp, 1500000000 ns, is not after")
    );
    assert!(at(1_000_000_000, [0.0, 0.0]).is_err(), "a clock that was set back");
    assert_eq!(at(1_250_000_000, [0.25, 0.0]), Ok(vec![1.0, 0.0]), "goes on from there");
}

#[test]
fn a_trajectory_carries_the_stop_plan_and_a_stamp() {
    let mut messages = RosMessages::new(&contract(), RosCommand::JointTrajectory);
    let mut payload = Vec::new();
    let frame = command(&[(0.1, 1.0), (0.2, -1.0), (0.105, 0.0), (0.195, 0.0)]);
    messages.write_command(&frame, 42, &mut payload);
    let mut found = JointTrajectory::default();
    found.decode(&payload).unwrap();
    assert_eq!(found.joint_names, ["shoulder", "elbow"]);
    assert_eq!(found.header.stamp.nanos(), 42);
    let times: Vec<i64> = found.points.iter().map(|p| p.time_from_start.nanos()).collect();
    assert_eq!(times, [i64::from(PERIOD), 2 * i64::from(PERIOD)]);
    assert_eq!(
        (&found.points[0].positions, &found.points[0].velocities),
        (&vec![0.1, 0.2], &vec![1.0, -1.0])
    );
    assert_eq!(found.points[1].velocities, [0.0, 0.0], "ends at rest, as trajectory controllers demand");
    for never in [0, -5] {
        messages.write_command(&frame, never, &mut payload);
        found.decode(&payload).unwrap();
        assert_ne!(found.header.stamp, Time::default(), "zero would mean: on arrival");
    }
}

#[test]
fn commands_without_names_or_tails_are_positions() {
    let frame = command(&[(0.1, 1.0), (0.2, -1.0), (0.3, 0.0), (0.4, 0.0)]);
    let mut payload = Vec::new();
    RosMessages::new(&contract(), RosCommand::JointCommand).write_command(&frame, 42, &mut payload);
    let mut joint_command = JointCommand::default();
    joint_command.decode(&payload).unwrap();
    assert_eq!((joint_command.values, joint_command.interface_name.as_str()), (vec![0.1, 0.2], "position"));
    assert_eq!(
        (joint_command.joint_names, joint_command.header.stamp.nanos()),
        (names(&["shoulder", "elbow"]), 42)
    );
    RosMessages::new(&contract(), RosCommand::Float64MultiArray).write_command(&frame, 42, &mut payload);
    let mut array = Float64MultiArray::default();
    array.decode(&payload).unwrap();
    assert_eq!(array.data, [0.1, 0.2]);
}

fn trajectory(points: &[(i64, &[f64], &[f64])]) -> Vec<u8> {
    let message = JointTrajectory {
        header: Header::default(),
        joint_names: names(&["elbow", "shoulder"]),
        points: points
            .iter()
            .map(|(nanos, positions, velocities)| JointTrajectoryPoint {
                positions: positions.to_vec(),
                velocities: velocities.to_vec(),
                time_from_start: Duration::from_nanos(*nanos),
                ..JointTrajectoryPoint::default()
            })
            .collect(),
    };
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

#[test]
fn trajectories_of_others_are_followed_where_they_are_streams() {
    let mut messages = RosMessages::new(&contract(), RosCommand::JointTrajectory);
    let mut rows = |payload: &[u8]| {
        let mut frame = command(&[]);
        messages.read_command(payload, &mut frame).map(|()| (frame.rows, frame.meta.period_nanos))
    };
    let p = 20_000_000;
    let found = rows(&trajectory(&[(p, &[0.1, 0.2], &[]), (2 * p, &[0.2, 0.1], &[])])).unwrap();
    assert_eq!(found.1, 20_000_000);
    let expected = [(0.2, -5.0), (0.1, 5.0), (0.1, 0.0), (0.2, 0.0)];
    for (f, e) in found.0.iter().zip(expected) {
        assert!((f.0 - e.0).abs() < 1e-12 && (f.1 - e.1).abs() < 1e-9, "{f:?} {e:?}");
    }
    assert_eq!(rows(&trajectory(&[(0, &[0.1, 0.2], &[])])).unwrap(), (vec![(0.2, 0.0), (0.1, 0.0)], PERIOD));
    for (what, payload) in [
        ("expected 1, found 0", trajectory(&[])),
        ("one period apart", trajectory(&[(p, &[0.1, 0.2], &[]), (5 * p, &[0.2, 0.1], &[])])),
        ("first point", trajectory(&[(-p, &[0.1, 0.2], &[])])),
        ("first point", trajectory(&[(0, &[0.1, 0.2], &[]), (p, &[0.1, 0.2], &[])])),
        ("positions of a point", trajectory(&[(p, &[0.1], &[])])),
        ("velocities of a point", trajectory(&[(p, &[0.1, 0.2], &[0.1])])),
        ("not finite", trajectory(&[(p, &[0.1, f64::NAN], &[0.1, 0.1])])),
    ] {
        let error = rows(&payload).unwrap_err().to_string();
        assert!(error.contains(what), "{what}: {error}");
    }
}

#[test]
fn other_interfaces_and_lengths_are_refused() {
    let mut out = Vec::new();
    let mut message = JointCommand {
        header: Header::default(),
        joint_names: names(&["elbow", "shoulder"]),
        interface_name: "effort".into(),
        values: vec![0.1, 0.2],
    };
    let mut messages = RosMessages::new(&contract(), RosCommand::JointCommand);
    let mut frame = command(&[]);
    message.encode(&mut out);
    let error = messages.read_command(&out, &mut frame).unwrap_err().to_string();
    assert!(error.contains("expected interface \"position\", found \"effort\""), "{error}");
    message.interface_name = "position".into();
    message.encode(&mut out);
    messages.read_command(&out, &mut frame).unwrap();
    assert_eq!(frame.rows, [(0.2, 0.0), (0.1, 0.0)], "by name");
    Float64MultiArray { data: vec![1.0; 3], ..Float64MultiArray::default() }.encode(&mut out);
    let mut messages = RosMessages::new(&contract(), RosCommand::Float64MultiArray);
    let error = messages.read_command(&out, &mut frame).unwrap_err();
    assert_eq!(error, WireError::Length { what: "values of a command", expected: 2, found: 3 });
}

#[test]
fn both_dialects_read_what_they_write() {
    for kind in COMMANDS {
        for (mut codec, attached) in codec(kind).into_iter().zip([33, 0]) {
            let mut packet = Packet::default();
            let rows = [(0.1, 1.0), (0.2, -1.0), (0.3, 0.0), (0.4, 0.0)];
            codec.write_command(&command(&rows), &mut packet).unwrap();
            assert_eq!(packet.attachment.len(), attached);
            let mut found = command(&[]);
            let attachment = Some(packet.attachment.as_slice()).filter(|a| !a.is_empty());
            codec.read_command(&packet.payload, attachment, &mut found).unwrap();
            let all = kind == RosCommand::JointTrajectory;
            let expected = if all { rows.to_vec() } else { vec![(0.1, 0.0), (0.2, 0.0)] };
            assert_eq!((found.rows, found.meta.seq), (expected, if attached > 0 { 7 } else { 1 }));

            let mut frame = StateFrame::new(&contract());
            frame.state.position = vec![0.5, -0.5];
            frame.state.velocity = vec![1.0, 2.0];
            (frame.meta.seq, frame.meta.stamp_nanos) = (9, 77);
            codec.write_state(&frame, &mut packet).unwrap();
            let mut found = StateFrame::new(&contract());
            let attachment = Some(packet.attachment.as_slice()).filter(|a| !a.is_empty());
            codec.read_state(&packet.payload, attachment, &mut found).unwrap();
            assert_eq!((found.state, found.meta.stamp_nanos), (frame.state, 77));
        }
    }
}

#[test]
fn samples_of_rmw_zenoh_need_their_attachment() {
    let [mut codec, _] = codec(RosCommand::default());
    let payload = state(5, &["elbow", "shoulder"], &[1.0, 2.0], &[1.0, 2.0]);
    let mut frame = StateFrame::new(&contract());
    assert_eq!(codec.read_state(&payload, None, &mut frame), Err(WireError::NoAttachment));
    let error = codec.read_state(&payload, Some(&[16; 32]), &mut frame).unwrap_err().to_string();
    assert!(error.contains("expected 33 bytes, found 32"), "{error}");
}

#[test]
fn keys_tokens_and_identities_are_those_of_rmw_zenoh() {
    let mut link = LinkContract::at("tcp/127.0.0.1:1");
    link.topics.state = Some("/lab/joint_states".into());
    let settings = RmwZenohLink { domain_id: 3, ..RmwZenohLink::default() };
    let dialect = RmwZenoh::new(&contract(), &link, settings).unwrap();
    assert_eq!(
        dialect.state().key,
        "3/lab/joint_states/sensor_msgs::msg::dds_::JointState_/\
         RIHS01_a13ee3a330e346c9d87b5aa18d24e11690752bd33a0350f11c5882bc9179260e"
    );
    let tokens = dialect.controller_tokens("ab12").unwrap();
    assert_eq!(tokens[0], "@ros2_lv/3/ab12/0/0/NN/%/%/surefoot");
    let trajectory = "trajectory_msgs::msg::dds_::JointTrajectory_/\
                      RIHS01_179b33eba59d676f6d967ac71fe35e7ca2f64b2f3928f4a018cec115e213796e/::,1:,:,:,,";
    assert_eq!(
        tokens[1],
        format!(
            "@ros2_lv/3/ab12/0/2/MP/%/%/surefoot/%joint_trajectory_controller%joint_trajectory/{trajectory}"
        )
    );
    assert!(tokens[2].starts_with("@ros2_lv/3/ab12/0/1/MS/%/%/surefoot/%lab%joint_states/"), "{}", tokens[2]);
    let robot = dialect.robot_tokens("cd34").unwrap();
    assert!(robot[1].contains("/1/MP/%/%/surefoot_robot/%lab%joint_states/"), "{}", robot[1]);

    let mut packet = Packet::default();
    dialect.codec("ab12").unwrap().write_command(&command(&[(0.0, 0.0); 2]), &mut packet).unwrap();
    let gid = crate::ros2::Attachment::from_bytes(&packet.attachment).unwrap().gid;
    assert_eq!(
        gid,
        crate::ros2::Gid::of(&tokens[1].parse().unwrap()),
        "who publishes is who the token names"
    );

    let humble = RmwZenohLink { type_hashes: TypeHashes::NotSupported, ..settings };
    let dialect = RmwZenoh::new(&contract(), &link, humble).unwrap();
    assert_eq!(
        dialect.state().key,
        "3/lab/joint_states/sensor_msgs::msg::dds_::JointState_/TypeHashNotSupported"
    );
    link.topics.state = Some("/lab/*".into());
    for refused in [
        RmwZenoh::new(&contract(), &link, settings).err(),
        Ros2dds::new(&contract(), &link, Ros2ddsLink::default()).err(),
    ] {
        assert!(refused.unwrap().to_string().contains("\"/lab/*\" is not the name of a topic"));
    }
}

#[test]
fn the_bridge_has_topics_for_keys_and_drops_what_was_overtaken() {
    let dialect =
        Ros2dds::new(&contract(), &LinkContract::at("tcp/127.0.0.1:1"), Ros2ddsLink::default()).unwrap();
    assert_eq!(dialect.state().key, "joint_states");
    assert_eq!(dialect.command().key, "joint_trajectory_controller/joint_trajectory");
    assert_eq!(dialect.controller_tokens("ab12").unwrap(), Vec::<String>::new());
    let mut codec = dialect.codec("ab12").unwrap();
    let mut seq = |nanos| {
        let mut frame = StateFrame::new(&contract());
        let payload = state(nanos, &["elbow", "shoulder"], &[1.0, 2.0], &[1.0, 2.0]);
        codec.read_state(&payload, None, &mut frame).unwrap();
        frame.meta.seq
    };
    assert_eq!([seq(10), seq(20), seq(15), seq(30)], [1, 2, 2, 3]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn damaged_messages_are_refused_or_read_and_never_more(
        which in 0_usize..3,
        at in 0_usize..400, byte: u8, end in 0_usize..500,
        random in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let rows = [(0.1, 1.0), (0.2, -1.0), (0.3, 0.0), (0.4, 0.0)];
        for mut codec in codec(COMMANDS[which]) {
            let mut packet = Packet::default();
            codec.write_command(&command(&rows), &mut packet).unwrap();
            let mut damaged = packet.payload.clone();
            let n = damaged.len();
            damaged[at % n] = byte;
            damaged.truncate(end);
            for bytes in [&damaged, &random] {
                let mut frame = command(&[]);
                if codec.read_command(bytes, Some(&packet.attachment), &mut frame).is_ok() {
                    prop_assert!(!frame.rows.is_empty() && frame.rows.len().is_multiple_of(2));
                    prop_assert!(frame.rows.iter().all(|(p, v)| p.is_finite() && v.is_finite()));
                    prop_assert!(frame.meta.period_nanos > 0);
                }
                let mut frame = StateFrame::new(&contract());
                let _ = codec.read_state(bytes, Some(&packet.attachment), &mut frame);
                let _ = codec.read_state(bytes, Some(&random), &mut frame);
                prop_assert_eq!((frame.state.position.len(), frame.state.velocity.len()), (2, 2));
            }
        }
    }
}
