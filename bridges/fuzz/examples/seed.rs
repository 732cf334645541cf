//! Fills corpus/TARGET with one message of each kind, as this program says them.

use std::path::Path;

use surefoot_bridges::dialects::{CommandFrame, Packet, StateFrame};
use surefoot_bridges::fleet::shipment::{ContentHash, Shipment};
use surefoot_bridges::fleet::wire::{Chunk, UploadAnswer, UploadReply};
use surefoot_bridges::lockstep::codec::{Header, Kind};
use surefoot_bridges::ros2::{Attachment, Gid};
use surefoot_bridges::wire::{
    Estop, Heartbeat, Message, ModeOp, ModeRequest, PanelKey, PanelPress, RobotMode, SafetyCounters,
    SafetyStatus, StopCause, TeleopAction,
};
use surefoot_bridges_fuzz::{INSTANCE, Robot, SPOOL};
use surefoot_core::ros::RosMessage;
use surefoot_core::ros::messages::{JointState, JointTrajectory, JointTrajectoryPoint};
use surefoot_core::{Episode, StepEnd};

fn put(target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let directory = Path::new("corpus").join(target);
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join(name), bytes)
}

/// Behind the byte that says which.
fn which(which: u8, bytes: &[u8]) -> Vec<u8> {
    [&[which], bytes].concat()
}

fn main() -> std::io::Result<()> {
    // The version is put before them by the target.
    let native = |n: u8, message: &[u8]| which(n, &message[1..]);
    let request = ModeRequest { op: ModeOp::Arm, who: 7, lease: 3, epoch: 1, contract_hash: [5; 32] };
    let action = TeleopAction { panel: 1, seq: 2, deadman: true, action: vec![0.5, -0.5] };
    let estop = Estop { latched: true, cause: "a press".into(), who: "somebody".into() };
    put("native_messages", "heartbeat", &native(2, &Heartbeat::default().bytes()))?;
    put("native_messages", "request", &native(3, &request.bytes()))?;
    put("native_messages", "estop", &native(5, &estop.bytes()))?;
    let status = SafetyStatus {
        mode: RobotMode::Idle,
        cause: StopCause::None,
        epoch: 1,
        at_rest: true,
        counters: SafetyCounters::default(),
        margins: vec![0.5],
    };
    put("native_messages", "status", &native(6, &status.bytes()))?;
    put(
        "native_messages",
        "press",
        &native(7, &PanelPress { panel: 1, seq: 1, key: PanelKey::Hold }.bytes()),
    )?;
    put("native_messages", "action", &native(8, &action.bytes()))?;

    for dialect in 0..9 {
        let robot = Robot::of(dialect);
        let mut packet = Packet::default();
        let mut frame = CommandFrame::with_room(&robot.contract, 2);
        frame.rows = vec![(0.1, 0.2), (0.3, 0.4), (0.1, 0.0), (0.3, 0.0)];
        for way in 0..2 {
            let said = match way {
                0 => robot.codec().write_state(&StateFrame::new(&robot.contract), &mut packet),
                _ => robot.codec().write_command(&frame, &mut packet),
            };
            said.map_err(std::io::Error::other)?;
            let Packet { payload, attachment } = &packet;
            let bytes = [&[dialect << 1 | way, attachment.len() as u8][..], attachment, payload].concat();
            put("dialects", &format!("{dialect}-{way}"), &bytes)?;
        }
    }

    let mut bytes = Vec::new();
    JointState { name: vec!["a".into(), "b".into()], position: vec![0.1, 0.2], ..JointState::default() }
        .encode(&mut bytes);
    put("cdr", "state", &which(0, &bytes))?;
    let point = JointTrajectoryPoint { positions: vec![0.5], ..JointTrajectoryPoint::default() };
    let trajectory = JointTrajectory {
        joint_names: vec!["a".into()],
        points: vec![point; 2],
        ..JointTrajectory::default()
    };
    trajectory.encode(&mut bytes);
    put("cdr", "trajectory", &which(1, &bytes))?;

    put("ros2_names", "attachment", &Attachment { seq: 4, source_nanos: 5, gid: Gid([6; 16]) }.to_bytes())?;
    let token = "@ros2_lv/0/9ca0f8facf84ffb1e6bfa4f2500889f0/0/3/MP/%/%/_ros2cli_712/%chatter/std_msgs::msg::dds_::String_/TypeHashNotSupported/:1:,1:,:,:,,";
    put("ros2_names", "token", token.as_bytes())?;
    put("ros2_names", "qos", b"2:1:2,:5,6:7,8:1,,")?;

    let episode = Episode {
        observation: vec![0.5; 2],
        next_observation: vec![0.25; 2],
        action: vec![0.1; 2],
        reward: vec![-1.0; 2],
        end: vec![StepEnd::Running, StepEnd::Truncated],
        seed: Some(3),
        success: Some(false),
        attributes: [("cost".to_owned(), "{}".to_owned())].into(),
        ..Episode::default()
    };
    let shipment = Shipment { actor: "arm".into(), spool: SPOOL, number: 0, policy_version: 4, episode };
    let (bytes, hash) = shipment.encode();
    let content = &bytes[..bytes.len() - 32];
    put("shipment", "one", content)?;
    put("spool", "episode", &which(2, content))?;
    let header = format!(r#"{{"format":"surefoot-spool/1","actor":"arm","id":"{SPOOL}","run":null}}"#);
    put("spool", "header", &which(0, header.as_bytes()))?;
    // Lengths come in eights; what is behind the content is cut off or makes it another.
    put("intake", "one", &[&[1, content.len().div_ceil(8) as u8][..], content].concat())?;
    let (total, instance) = (bytes.len() as u64, INSTANCE);
    let chunk = Chunk { spool: SPOOL, instance, number: 0, hash, total, index: 0, spooled: 1, bytes: &bytes };
    put("fleet_messages", "chunk", &chunk.encode())?;
    let reply = UploadReply { answer: UploadAnswer::Next { chunk: 2 }, sequence: 9 };
    put("fleet_messages", "reply", &serde_json::to_vec(&reply)?)?;
    put("fleet_messages", "hash", ContentHash([3; 32]).to_string().as_bytes())?;

    for (kind, name, body) in [
        (Kind::Reset, "reset", &[0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0][..]),
        (Kind::Step, "step", &[0; 4]),
        (Kind::Opened, "opened", &[0; 2]),
        (Kind::DidStep, "stepped", &[0; 16]),
        (Kind::Refused, "refused", b"why"),
    ] {
        let header = Header { kind, rows: 1, client: [1; 16], server: [2; 16], seq: 1 };
        let mut message = Vec::new();
        header.begin(&mut message);
        message.extend_from_slice(body);
        put("lockstep", name, &which(0, &message))?;
    }
    Ok(())
}
