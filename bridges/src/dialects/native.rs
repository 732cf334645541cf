//! The native dialect: ROS messages in CDR as everywhere, and beside them what a link needs to be safe.
//!
//! ```text
//! {namespace}/robot/{id}/state                 JointState (joints, then channels) + StateMeta
//! {namespace}/robot/{id}/cmd                   JointTrajectory (set-point, then stop plan) + CommandMeta
//! {namespace}/robot/{id}/heartbeat/robot       Heartbeat, and .../heartbeat/controller the other way
//! {namespace}/robot/{id}/estop                 Estop: a put latches, a query tells
//! {namespace}/robot/{id}/mode                  query: ModeRequest -> ModeReply (claim, arm, hold, release)
//! {namespace}/robot/{id}/clear                 the same query (acknowledge, reset): operators' alone, where there is access control
//! {namespace}/robot/{id}/safety                SafetyStatus
//! {namespace}/robot/{id}/contract              query: who serves it, and its contract (JSON)
//! {namespace}/robot/{id}/scene                 query: an initial state; simulated robots
//! ```

use surefoot_core::RobotContract;
use surefoot_core::contract::LinkContract;
use surefoot_core::ros::messages::{Duration, JointState, JointTrajectory, JointTrajectoryPoint, Time};
use surefoot_core::ros::{CdrError, RosMessage};

use crate::channel::{Channel, Keep};
use crate::dialects::joints::{JointOrder, check_length};
use crate::dialects::{Codec, CommandFrame, Dialect, Packet, StateFrame, Supervision};
use crate::error::{LinkError, WireError};
use crate::wire::{CommandMeta, Message, StateMeta};

/// Commands that may wait for their period at the robot: what is early by a jitter of the network.
pub(crate) const COMMAND_PLACES: usize = 16;

/// Key space and codec.
#[derive(Clone, Debug)]
pub struct Native {
    contract: RobotContract,
    base: String,
    state: String,
    command: String,
}

impl Native {
    /// For a robot.
    #[must_use]
    pub fn new(contract: &RobotContract, link: &LinkContract) -> Self {
        let base = format!("robot/{}", link.robot.as_deref().unwrap_or(&contract.name));
        let topic =
            |given: &Option<String>, usual: &str| given.clone().unwrap_or_else(|| format!("{base}/{usual}"));
        let (state, command) = (topic(&link.topics.state, "state"), topic(&link.topics.command, "cmd"));
        Self { contract: contract.clone(), base, state, command }
    }
}

impl Dialect for Native {
    fn name(&self) -> &'static str {
        "native"
    }
    fn state(&self) -> Channel {
        Channel::control(self.state.clone(), Keep::Newest)
    }
    fn command(&self) -> Channel {
        Channel::control(self.command.clone(), Keep::Places(COMMAND_PLACES))
    }
    fn supervision(&self) -> Option<Supervision> {
        let key = |name: &str| format!("{}/{name}", self.base);
        Some(Supervision {
            contract: key("contract"),
            mode: key("mode"),
            clear: key("clear"),
            robot_heartbeat: Channel::control(key("heartbeat/robot"), Keep::Newest),
            controller_heartbeat: Channel::control(key("heartbeat/controller"), Keep::Newest),
            estop: Channel::stop(key("estop")),
            safety: Channel::status(key("safety")),
            scene: key("scene"),
        })
    }
    fn codec(&self, _session: &str) -> Result<Box<dyn Codec>, LinkError> {
        Ok(Box::new(NativeCodec::new(&self.contract)))
    }
}

/// Its messages.
#[derive(Clone, Debug)]
pub struct NativeCodec {
    joints: usize,
    state_out: JointState,
    state_in: JointState,
    state_order: JointOrder,
    command_out: JointTrajectory,
    command_in: JointTrajectory,
    command_order: JointOrder,
}

impl NativeCodec {
    /// For a robot.
    #[must_use]
    pub fn new(contract: &RobotContract) -> Self {
        let state_order = JointOrder::joints_and_channels(contract);
        let command_order = JointOrder::joints(contract);
        Self {
            joints: contract.joints.len(),
            state_out: JointState { name: state_order.names().to_vec(), ..JointState::default() },
            state_in: JointState::default(),
            state_order,
            command_out: JointTrajectory {
                joint_names: command_order.names().to_vec(),
                ..JointTrajectory::default()
            },
            command_in: JointTrajectory::default(),
            command_order,
        }
    }
}

fn malformed(what: &'static str) -> impl Fn(CdrError) -> WireError {
    move |e| WireError::Malformed { what, reason: e.to_string() }
}

impl Codec for NativeCodec {
    fn write_state(&mut self, frame: &StateFrame, packet: &mut Packet) -> Result<(), WireError> {
        let StateFrame { meta, state, received_nanos: _ } = frame;
        let message = &mut self.state_out;
        message.header.stamp = Time::from_nanos(meta.stamp_nanos);
        message.position.clear();
        message.position.extend(state.position.iter().chain(&state.channels));
        message.velocity.clear();
        message.velocity.extend(state.velocity.iter().copied().chain(state.channels.iter().map(|_| 0.0)));
        message.encode(&mut packet.payload);
        meta.write(&mut packet.attachment);
        Ok(())
    }

    fn read_state(
        &mut self,
        payload: &[u8],
        attachment: Option<&[u8]>,
        frame: &mut StateFrame,
    ) -> Result<(), WireError> {
        let meta = StateMeta::read(attachment.ok_or(WireError::NoAttachment)?)?;
        let message = &mut self.state_in;
        message.decode(payload).map_err(malformed(JointState::TYPE))?;
        let names = message.name.len();
        check_length("positions of a state", names, message.position.len())?;
        if !message.velocity.is_empty() {
            check_length("velocities of a state", names, message.velocity.len())?;
        }
        let places = self.state_order.places(&message.name)?;
        let StateFrame { meta: to, state, received_nanos: _ } = frame;
        let (joints, channels) = places.split_at(self.joints.min(places.len()));
        for (p, at) in state.position.iter_mut().zip(joints) {
            *p = message.position[*at];
        }
        for (v, at) in state.velocity.iter_mut().zip(joints) {
            *v = message.velocity.get(*at).copied().unwrap_or(0.0);
        }
        for (c, at) in state.channels.iter_mut().zip(channels) {
            *c = message.position[*at];
        }
        *to = meta;
        Ok(())
    }

    fn write_command(&mut self, frame: &CommandFrame, packet: &mut Packet) -> Result<(), WireError> {
        let CommandFrame { meta, rows } = frame;
        let message = &mut self.command_out;
        message.header.stamp = Time::from_nanos(meta.stamp_nanos);
        let points = rows.chunks_exact(self.joints.max(1));
        message.points.resize_with(points.len(), JointTrajectoryPoint::default);
        for (n, (point, row)) in message.points.iter_mut().zip(points).enumerate() {
            point.positions.clear();
            point.positions.extend(row.iter().map(|(p, _)| *p));
            point.velocities.clear();
            point.velocities.extend(row.iter().map(|(_, v)| *v));
            point.time_from_start = Duration::from_nanos((n as i64 + 1) * i64::from(meta.period_nanos));
        }
        message.encode(&mut packet.payload);
        meta.write(&mut packet.attachment);
        Ok(())
    }

    fn read_command(
        &mut self,
        payload: &[u8],
        attachment: Option<&[u8]>,
        frame: &mut CommandFrame,
    ) -> Result<(), WireError> {
        let meta = CommandMeta::read(attachment.ok_or(WireError::NoAttachment)?)?;
        let message = &mut self.command_in;
        message.decode(payload).map_err(malformed(JointTrajectory::TYPE))?;
        let names = message.joint_names.len();
        let places = self.command_order.places(&message.joint_names)?;
        if message.points.is_empty() {
            return Err(WireError::Length { what: "points of a command", expected: 1, found: 0 });
        }
        let CommandFrame { meta: to, rows } = frame;
        rows.clear();
        for point in &message.points {
            check_length("positions of a point", names, point.positions.len())?;
            check_length("velocities of a point", names, point.velocities.len())?;
            rows.extend(places.iter().map(|at| (point.positions[*at], point.velocities[*at])));
        }
        if rows.iter().any(|(p, v)| !(p.is_finite() && v.is_finite())) {
            return Err(WireError::NotFinite { what: "a command" });
        }
        *to = meta;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::wire::{RobotMode, Source, StopCause};

    fn contract() -> RobotContract {
        let joint = |name: &str| {
            format!(
                "[[joints]]\nname = \"{name}\"\nunit = \"rad\"\nmin_position = -1.0\nmax_position = 1.0\n\
                 max_velocity = 2.0\nmax_acceleration = 5.0\n"
            )
        };
        let channels = "[[channels]]\nname = \"puck_x\"\nunit = \"m\"\n";
        let head = "name = \"two\"\ncontrol_hz = 50.0\npolicy_hz = 10.0\n";
        let text = format!("{head}{}{}{channels}", joint("a"), joint("b"));
        RobotContract::parse(&text, Path::new("two.toml")).unwrap()
    }

    fn state(numbers: [f64; 5]) -> StateFrame {
        let [a, b, va, vb, x] = numbers;
        let mut frame = StateFrame::new(&contract());
        frame.state.position.copy_from_slice(&[a, b]);
        frame.state.velocity.copy_from_slice(&[va, vb]);
        frame.state.channels.copy_from_slice(&[x]);
        frame.meta = StateMeta {
            boot_id: 1,
            epoch: 2,
            seq: 3,
            stamp_nanos: 4,
            mode: RobotMode::Idle,
            cause: StopCause::CommandSilence,
            executed_seq: 5,
            executed_stamp_nanos: 6,
        };
        frame
    }

    fn command(rows: Vec<(f64, f64)>) -> CommandFrame {
        let mut frame = CommandFrame::with_room(&contract(), 1);
        frame.meta = CommandMeta { epoch: 7, seq: 8, source: Source::Human, ..frame.meta };
        frame.rows = rows;
        frame
    }

    proptest! {
        #[test]
        fn states_and_commands_go_round_to_the_bit(
            numbers in any::<[f64; 5]>(),
            rows in prop::collection::vec((-1e300_f64..1e300, -1e300_f64..1e300), 1..20),
        ) {
            let (mut codec, mut packet) = (NativeCodec::new(&contract()), Packet::default());
            let sent = state(numbers);
            codec.write_state(&sent, &mut packet).unwrap();
            let mut found = StateFrame::new(&contract());
            codec.read_state(&packet.payload, Some(&packet.attachment), &mut found).unwrap();
            let bits = |f: &StateFrame| {
                let rows = [&f.state.position, &f.state.velocity, &f.state.channels];
                rows.map(|r| r.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
            };
            prop_assert_eq!((bits(&found), found.meta), (bits(&sent), sent.meta));
            let sent = command([rows.clone(), rows].concat());
            codec.write_command(&sent, &mut packet).unwrap();
            let mut found = CommandFrame::with_room(&contract(), 0);
            codec.read_command(&packet.payload, Some(&packet.attachment), &mut found).unwrap();
            prop_assert_eq!(found, sent);
        }

        #[test]
        fn damaged_messages_are_refused_or_read_and_never_more(
            at in 0_usize..400, byte: u8, end in 0_usize..500, random in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let (mut codec, mut packet) = (NativeCodec::new(&contract()), Packet::default());
            codec.write_command(&command(vec![(0.1, 0.2); 6]), &mut packet).unwrap();
            let mut frame = CommandFrame::with_room(&contract(), 0);
            let mut damaged = packet.payload.clone();
            let n = damaged.len();
            damaged[at % n] = byte;
            damaged.truncate(end);
            for bytes in [&damaged, &random] {
                if codec.read_command(bytes, Some(&packet.attachment), &mut frame).is_ok() {
                    prop_assert!(frame.rows.iter().all(|(p, v)| p.is_finite() && v.is_finite()));
                    prop_assert!(!frame.rows.is_empty() && frame.rows.len().is_multiple_of(2));
                }
                let mut state = StateFrame::new(&contract());
                let _ = codec.read_state(bytes, Some(&random), &mut state);
                let _ = codec.read_command(&packet.payload, Some(bytes), &mut frame);
            }
            for cut in 0..packet.payload.len().saturating_sub(3) {
                let refused = codec.read_command(&packet.payload[..cut], Some(&packet.attachment), &mut frame);
                prop_assert!(refused.is_err(), "{} bytes", cut);
            }
        }
    }

    #[test]
    fn what_does_not_fit_the_contract_is_refused_by_name() {
        let (mut codec, mut packet) = (NativeCodec::new(&contract()), Packet::default());
        let mut frame = StateFrame::new(&contract());
        let mut message = JointState { name: vec!["b".into(), "puck_x".into()], ..JointState::default() };
        message.position = vec![1.0, 2.0];
        message.encode(&mut packet.payload);
        state([0.0; 5]).meta.write(&mut packet.attachment);
        let read = |codec: &mut NativeCodec, packet: &Packet, frame: &mut StateFrame| {
            codec.read_state(&packet.payload, Some(&packet.attachment), frame)
        };
        let refused = read(&mut codec, &packet, &mut frame).unwrap_err().to_string();
        assert_eq!(refused, "joint a of the contract is missing; there are b, puck_x");
        message.name = ["puck_x", "b", "more", "a"].map(ToOwned::to_owned).to_vec();
        message.position = vec![1.0, 2.0, 3.0, 4.0];
        message.encode(&mut packet.payload);
        read(&mut codec, &packet, &mut frame).unwrap();
        assert_eq!((frame.state.position, frame.state.channels), (vec![4.0, 2.0], vec![1.0]), "by name");
        assert_eq!(frame.state.velocity, [0.0, 0.0], "none was told");
        message.velocity = vec![0.0];
        message.encode(&mut packet.payload);
        let mut frame = StateFrame::new(&contract());
        assert!(matches!(read(&mut codec, &packet, &mut frame), Err(WireError::Length { found: 1, .. })));
        assert_eq!(codec.read_state(&packet.payload, None, &mut frame), Err(WireError::NoAttachment));
        let mut nan = command(vec![(0.0, f64::NAN), (0.0, 0.0)]);
        codec.write_command(&nan, &mut packet).unwrap();
        let mut read = CommandFrame::with_room(&contract(), 0);
        let refused = codec.read_command(&packet.payload, Some(&packet.attachment), &mut read);
        assert_eq!(refused, Err(WireError::NotFinite { what: "a command" }));
        nan.rows.clear();
        codec.write_command(&nan, &mut packet).unwrap();
        assert!(
            codec.read_command(&packet.payload, Some(&packet.attachment), &mut read).is_err(),
            "no point"
        );
    }
}
