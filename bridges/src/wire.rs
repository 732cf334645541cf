//! The native dialect's own messages, in one place: what goes beside states and commands, and what is asked and told of a robot.
//!
//! Little-endian, packed, each begins with [`VERSION`]; nothing in them has a length that is trusted. States and commands
//! themselves are ROS messages (see [`crate::dialects`]).

use crate::error::{Refusal, WireError};

/// Version of every message here. Another one is refused by name.
pub const VERSION: u8 = 1;
/// Longest text in a message, bytes.
const MAX_TEXT: usize = 200;
/// Longest row of numbers in a message.
const MAX_ROW: usize = 1024;

/// A message of this file.
pub trait Message: Sized {
    /// What it is called in errors.
    const WHAT: &'static str;
    /// Appends it to `out`.
    fn put(&self, out: &mut Writer<'_>);
    /// Takes it from `from`.
    ///
    /// # Errors
    /// When the bytes are not such a message.
    fn take(from: &mut Reader<'_>) -> Result<Self, WireError>;

    /// Writes the whole message in the place of what `out` held. Allocates only where `out` is too small.
    fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        out.push(VERSION);
        self.put(&mut Writer(out));
    }
    /// The whole message.
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
    /// Reads a whole message. Total: any bytes give a message or an error.
    ///
    /// # Errors
    /// When the bytes are not such a message, or another version's.
    fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader { bytes, at: 0 };
        let found = reader.u8("version")?;
        if found != VERSION {
            return Err(WireError::Version { what: Self::WHAT, expected: VERSION, found });
        }
        let message = Self::take(&mut reader)?;
        match reader.bytes.len() - reader.at {
            0 => Ok(message),
            left => Err(WireError::TooLong { left }),
        }
    }
}

/// Puts numbers behind each other.
pub struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn u8(&mut self, x: u8) {
        self.0.push(x);
    }
    fn u32(&mut self, x: u32) {
        self.0.extend_from_slice(&x.to_le_bytes());
    }
    fn u64(&mut self, x: u64) {
        self.0.extend_from_slice(&x.to_le_bytes());
    }
    fn i64(&mut self, x: i64) {
        self.0.extend_from_slice(&x.to_le_bytes());
    }
    fn text(&mut self, text: &str) {
        let mut end = text.len().min(MAX_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        // At most MAX_TEXT.
        self.u8(end as u8);
        self.0.extend_from_slice(&text.as_bytes()[..end]);
    }
}

/// Takes numbers off the front.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.first_chunk::<N>().ok_or(WireError::Truncated { at: self.at, what })?;
        self.at += N;
        Ok(*taken)
    }
    fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        Ok(self.array::<1>(what)?[0])
    }
    fn u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }
    fn u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }
    fn i64(&mut self, what: &'static str) -> Result<i64, WireError> {
        Ok(i64::from_le_bytes(self.array(what)?))
    }
    fn text(&mut self, what: &'static str) -> Result<String, WireError> {
        let length = usize::from(self.u8(what)?);
        let rest = self.bytes.get(self.at..self.at + length);
        let text = rest.ok_or(WireError::Truncated { at: self.at, what })?;
        self.at += length;
        std::str::from_utf8(text)
            .map(ToOwned::to_owned)
            .map_err(|e| WireError::Malformed { what, reason: e.to_string() })
    }
}

/// An enumeration of one byte.
macro_rules! codes {
    ($(#[$meta:meta])* $name:ident, $what:literal { $( $(#[$doc:meta])* $variant:ident = $code:literal, )+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $( $(#[$doc])* $variant, )+ }

        impl $name {
            /// Every one, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its byte on the wire.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $( Self::$variant => $code, )+ }
            }
            /// What a byte stands for.
            ///
            /// # Errors
            /// When it stands for nothing.
            pub fn of(code: u8) -> Result<Self, WireError> {
                match code {
                    $( $code => Ok(Self::$variant), )+
                    other => Err(WireError::Code { what: $what, found: u64::from(other) }),
                }
            }
        }
    };
}

codes! {
    /// What the robot's side is doing.
    RobotMode, "robot mode" {
        /// Follows nobody; holds still, or comes to rest.
        Idle = 0,
        /// Follows the commands of one controller and one epoch.
        Armed = 1,
        /// A latched stop: an acknowledgement ends it.
        ProtectiveStop = 2,
        /// A latched stop: a reset by hand ends it.
        EmergencyStop = 3,
    }
}

impl RobotMode {
    /// Whether only a person ends it.
    #[must_use]
    pub const fn is_latched(self) -> bool {
        matches!(self, Self::ProtectiveStop | Self::EmergencyStop)
    }
}

codes! {
    /// Why the robot's side stopped.
    StopCause, "cause of a stop" {
        /// It did not.
        None = 0,
        /// Commands stayed away for longer than `command_timeout_ms`.
        CommandSilence = 1,
        /// Somebody pressed an emergency stop.
        EmergencyStop = 2,
        /// The robot itself did not answer.
        RobotLost = 3,
    }
}

codes! {
    /// What is asked of the robot's side.
    ModeOp, "mode request" {
        /// To be its only controller.
        Claim = 0,
        /// To begin a new epoch, in which commands are followed.
        Arm = 1,
        /// To end the epoch: it comes to rest and holds still.
        Hold = 2,
        /// A person has looked at a protective stop.
        Acknowledge = 3,
        /// A person has looked at a stop of either kind and resets it.
        Reset = 4,
        /// To be its controller no longer.
        Release = 5,
        /// Nothing but how it is.
        Status = 6,
    }
}

impl ModeOp {
    /// Whether it ends a latched stop, which is asked on a key of its own.
    #[must_use]
    pub const fn clears(self) -> bool {
        matches!(self, Self::Acknowledge | Self::Reset)
    }
}

codes! {
    /// Whose decision a command is, for the robot's log.
    Source, "source of a command" {
        /// Not told.
        Program = 0,
        /// A policy.
        Policy = 1,
        /// A person.
        Human = 2,
    }
}

/// Beside each command: which arming it belongs to, its number, and until when it may be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandMeta {
    /// The arming that it belongs to. An earlier one's commands are never followed.
    pub epoch: u32,
    /// What the robot's side gave its controller when it took it.
    pub lease: u64,
    /// Counts from 1 in each epoch.
    pub seq: u64,
    /// Controller's monotonic clock, ns.
    pub stamp_nanos: i64,
    /// Robot's monotonic clock after which it is not followed, ns.
    pub valid_until_nanos: i64,
    /// Period of its rows, ns.
    pub period_nanos: u32,
    /// Whose decision it is.
    pub source: Source,
}

impl Message for CommandMeta {
    const WHAT: &'static str = "command";
    fn put(&self, out: &mut Writer<'_>) {
        let Self { epoch, lease, seq, stamp_nanos, valid_until_nanos, period_nanos, source } = self;
        out.u32(*epoch);
        out.u64(*lease);
        out.u64(*seq);
        out.i64(*stamp_nanos);
        out.i64(*valid_until_nanos);
        out.u32(*period_nanos);
        out.u8(source.code());
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            epoch: from.u32("epoch")?,
            lease: from.u64("lease")?,
            seq: from.u64("number")?,
            stamp_nanos: from.i64("stamp")?,
            valid_until_nanos: from.i64("end of validity")?,
            period_nanos: from.u32("period")?,
            source: Source::of(from.u8("source")?)?,
        })
    }
}

/// Beside each state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateMeta {
    /// Drawn anew whenever the robot's side starts.
    pub boot_id: u64,
    /// The present epoch.
    pub epoch: u32,
    /// Counts from 1 since the robot's side started.
    pub seq: u64,
    /// Robot's monotonic clock when it was measured, ns.
    pub stamp_nanos: i64,
    /// What the robot's side is doing.
    pub mode: RobotMode,
    /// Why it stopped, where it did.
    pub cause: StopCause,
    /// Number of the command that was followed last in this epoch; 0 before the first.
    pub executed_seq: u64,
    /// Stamp of that command, by its sender's clock, ns.
    pub executed_stamp_nanos: i64,
}

impl Message for StateMeta {
    const WHAT: &'static str = "state";
    fn put(&self, out: &mut Writer<'_>) {
        let Self { boot_id, epoch, seq, stamp_nanos, mode, cause, executed_seq, executed_stamp_nanos } = self;
        out.u64(*boot_id);
        out.u32(*epoch);
        out.u64(*seq);
        out.i64(*stamp_nanos);
        out.u8(mode.code());
        out.u8(cause.code());
        out.u64(*executed_seq);
        out.i64(*executed_stamp_nanos);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            boot_id: from.u64("boot")?,
            epoch: from.u32("epoch")?,
            seq: from.u64("number")?,
            stamp_nanos: from.i64("stamp")?,
            mode: RobotMode::of(from.u8("mode")?)?,
            cause: StopCause::of(from.u8("cause")?)?,
            executed_seq: from.u64("executed number")?,
            executed_stamp_nanos: from.i64("executed stamp")?,
        })
    }
}

/// A sign of life, both ways; what it echoes gives the offset of the two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// The robot's boot, or who the controller is.
    pub boot_id: u64,
    /// The controller's lease; 0 from the robot.
    pub lease: u64,
    /// Counts from 1.
    pub seq: u64,
    /// Sender's monotonic clock, ns.
    pub mono_nanos: i64,
    /// `boot_id` of the other side, whose last heartbeat is echoed; 0 where none came.
    pub echo_id: u64,
    /// Its number.
    pub echo_seq: u64,
    /// Its clock.
    pub echo_mono_nanos: i64,
    /// Sender's clock when it came.
    pub echo_received_nanos: i64,
}

impl Message for Heartbeat {
    const WHAT: &'static str = "heartbeat";
    fn put(&self, out: &mut Writer<'_>) {
        let Self { boot_id, lease, seq, mono_nanos, .. } = self;
        let Self { echo_id, echo_seq, echo_mono_nanos, echo_received_nanos, .. } = self;
        for x in [boot_id, lease, seq] {
            out.u64(*x);
        }
        out.i64(*mono_nanos);
        out.u64(*echo_id);
        out.u64(*echo_seq);
        out.i64(*echo_mono_nanos);
        out.i64(*echo_received_nanos);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            boot_id: from.u64("boot")?,
            lease: from.u64("lease")?,
            seq: from.u64("number")?,
            mono_nanos: from.i64("clock")?,
            echo_id: from.u64("echoed sender")?,
            echo_seq: from.u64("echoed number")?,
            echo_mono_nanos: from.i64("echoed clock")?,
            echo_received_nanos: from.i64("time of receipt")?,
        })
    }
}

/// Something asked of the robot's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeRequest {
    /// What.
    pub op: ModeOp,
    /// Who asks: drawn anew by each program.
    pub who: u64,
    /// The asker's lease; 0 where it has none. Operators clear stops without one.
    pub lease: u64,
    /// The epoch that it is about; 0 where it is about none.
    pub epoch: u32,
    /// Hash of the asker's contract.
    pub contract_hash: [u8; 32],
}

impl Message for ModeRequest {
    const WHAT: &'static str = "mode request";
    fn put(&self, out: &mut Writer<'_>) {
        let Self { op, who, lease, epoch, contract_hash } = self;
        out.u8(op.code());
        out.u64(*who);
        out.u64(*lease);
        out.u32(*epoch);
        out.0.extend_from_slice(contract_hash);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            op: ModeOp::of(from.u8("request")?)?,
            who: from.u64("asker")?,
            lease: from.u64("lease")?,
            epoch: from.u32("epoch")?,
            contract_hash: from.array("contract hash")?,
        })
    }
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeReply {
    /// Why not, where not.
    pub refusal: Option<Refusal>,
    /// What the robot's side is doing now.
    pub mode: RobotMode,
    /// Why it stopped, where it did.
    pub cause: StopCause,
    /// The asker's lease; 0 where it has none.
    pub lease: u64,
    /// The present epoch.
    pub epoch: u32,
    /// The robot's boot.
    pub boot_id: u64,
    /// Robot's monotonic clock, ns.
    pub mono_nanos: i64,
}

impl Message for ModeReply {
    const WHAT: &'static str = "answer to a mode request";
    fn put(&self, out: &mut Writer<'_>) {
        let Self { refusal, mode, cause, lease, epoch, boot_id, mono_nanos } = self;
        out.u8(Refusal::code(*refusal));
        out.u8(mode.code());
        out.u8(cause.code());
        out.u64(*lease);
        out.u32(*epoch);
        out.u64(*boot_id);
        out.i64(*mono_nanos);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let refusal = Refusal::of(from.u8("refusal")?)?;
        Ok(Self {
            refusal,
            mode: RobotMode::of(from.u8("mode")?)?,
            cause: StopCause::of(from.u8("cause")?)?,
            lease: from.u64("lease")?,
            epoch: from.u32("epoch")?,
            boot_id: from.u64("boot")?,
            mono_nanos: from.i64("clock")?,
        })
    }
}

/// An emergency stop, pressed or as it stands. It is never cleared by this message: [`ModeOp::Reset`] does that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estop {
    /// Whether it is latched. A put with `false` does nothing.
    pub latched: bool,
    /// Why.
    pub cause: String,
    /// By whom.
    pub who: String,
}

impl Message for Estop {
    const WHAT: &'static str = "emergency stop";
    fn put(&self, out: &mut Writer<'_>) {
        let Self { latched, cause, who } = self;
        out.u8(u8::from(*latched));
        out.text(cause);
        out.text(who);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let latched = match from.u8("latched")? {
            0 => false,
            1 => true,
            other => return Err(WireError::Code { what: "latched", found: u64::from(other) }),
        };
        Ok(Self { latched, cause: from.text("cause")?, who: from.text("name")? })
    }
}

/// What the robot's side counted since it started: for operators and reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SafetyCounters {
    /// Control periods.
    pub ticks: u64,
    /// Commands that were followed.
    pub executed: u64,
    /// Periods of an epoch without a command: the stop plan was played.
    pub missed: u64,
    /// Joint limits that an independent witness found broken by what was commanded or measured. Zero, or the filter, a sensor or the robot's
    /// own servo is broken.
    pub violations: u64,
    /// Commands of an epoch that is over, or of none.
    pub refused_epoch: u64,
    /// Commands of somebody who does not have the robot.
    pub refused_lease: u64,
    /// Commands that came after a newer one.
    pub refused_order: u64,
    /// Commands that came too late.
    pub refused_late: u64,
    /// Messages that could not be read: malformed, oversized, not finite.
    pub refused_malformed: u64,
    /// Commands that came faster than they could be followed.
    pub skipped: u64,
}

impl SafetyCounters {
    const fn row(&self) -> [u64; 10] {
        let Self { ticks, executed, missed, violations, refused_epoch, refused_lease, .. } = *self;
        let Self { refused_order, refused_late, refused_malformed, skipped, .. } = *self;
        [
            ticks,
            executed,
            missed,
            violations,
            refused_epoch,
            refused_lease,
            refused_order,
            refused_late,
            refused_malformed,
            skipped,
        ]
    }
}

/// How safe it is, some times a second.
#[derive(Clone, Debug, PartialEq)]
pub struct SafetyStatus {
    /// What the robot's side is doing.
    pub mode: RobotMode,
    /// Why it stopped, where it did.
    pub cause: StopCause,
    /// The present epoch.
    pub epoch: u32,
    /// Whether its set-points are at rest.
    pub at_rest: bool,
    /// What it counted.
    pub counters: SafetyCounters,
    /// Distance of each joint to its nearer position limit, rad or m.
    pub margins: Vec<f32>,
}

fn put_row(out: &mut Writer<'_>, row: &[f32]) {
    let row = &row[..row.len().min(MAX_ROW)];
    // At most MAX_ROW.
    out.u32(row.len() as u32);
    for x in row {
        out.0.extend_from_slice(&x.to_le_bytes());
    }
}

fn take_row(from: &mut Reader<'_>, what: &'static str) -> Result<Vec<f32>, WireError> {
    let length = from.u32(what)? as usize;
    let left = (from.bytes.len() - from.at) / 4;
    if length > MAX_ROW || length > left {
        return Err(WireError::Length { what, expected: left.min(MAX_ROW), found: length });
    }
    (0..length).map(|_| Ok(f32::from_le_bytes(from.array(what)?))).collect()
}

impl Message for SafetyStatus {
    const WHAT: &'static str = "safety status";
    fn put(&self, out: &mut Writer<'_>) {
        let Self { mode, cause, epoch, at_rest, counters, margins } = self;
        out.u8(mode.code());
        out.u8(cause.code());
        out.u32(*epoch);
        out.u8(u8::from(*at_rest));
        counters.row().into_iter().for_each(|x| out.u64(x));
        put_row(out, margins);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let mode = RobotMode::of(from.u8("mode")?)?;
        let cause = StopCause::of(from.u8("cause")?)?;
        let epoch = from.u32("epoch")?;
        let at_rest = from.u8("rest")? != 0;
        let mut row = [0; 10];
        for x in &mut row {
            *x = from.u64("counter")?;
        }
        let [
            ticks,
            executed,
            missed,
            violations,
            refused_epoch,
            refused_lease,
            order,
            late,
            malformed,
            skipped,
        ] = row;
        let counters = SafetyCounters {
            ticks,
            executed,
            missed,
            violations,
            refused_epoch,
            refused_lease,
            refused_order: order,
            refused_late: late,
            refused_malformed: malformed,
            skipped,
        };
        Ok(Self { mode, cause, epoch, at_rest, counters, margins: take_row(from, "margins")? })
    }
}

codes! {
    /// A key of an operator's panel.
    PanelKey, "key of a panel" {
        /// Begin the next episode.
        Start = 0,
        /// End the session.
        Quit = 1,
        /// The person drives from here on.
        TakeOver = 2,
        /// The policy drives again.
        HandBack = 3,
        /// Come to rest; `Resume` goes on.
        Pause = 4,
        /// Go on.
        Resume = 5,
        /// Come to rest and hold.
        Hold = 6,
        /// Stop protectively.
        ProtectiveStop = 7,
        /// Stop, latched until a reset.
        EmergencyStop = 8,
        /// A person has looked at a protective stop.
        Acknowledge = 9,
        /// A person resets an emergency stop or a fault.
        Reset = 10,
        /// The episode is a success and ends.
        Success = 11,
        /// The episode is a failure and ends.
        Failure = 12,
        /// Bring a robot that is outside its limits back inside.
        Recover = 13,
    }
}

/// One press of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PanelPress {
    /// Which panel: drawn anew when one starts.
    pub panel: u64,
    /// Counts from 1, so that a press that comes twice is pressed once.
    pub seq: u64,
    /// The key.
    pub key: PanelKey,
}

impl Message for PanelPress {
    const WHAT: &'static str = "press of a key";
    fn put(&self, out: &mut Writer<'_>) {
        let Self { panel, seq, key } = self;
        out.u64(*panel);
        out.u64(*seq);
        out.u8(key.code());
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { panel: from.u64("panel")?, seq: from.u64("number")?, key: PanelKey::of(from.u8("key")?)? })
    }
}

/// What a person does with a device: an action, for as long as the dead man's switch is held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TeleopAction {
    /// Which panel.
    pub panel: u64,
    /// Counts from 1; an older one that comes late is not used.
    pub seq: u64,
    /// Whether the switch is held.
    pub deadman: bool,
    /// `[action_dim]`, normalised.
    pub action: Vec<f32>,
}

impl Message for TeleopAction {
    const WHAT: &'static str = "action of a person";
    fn put(&self, out: &mut Writer<'_>) {
        let Self { panel, seq, deadman, action } = self;
        out.u64(*panel);
        out.u64(*seq);
        out.u8(u8::from(*deadman));
        put_row(out, action);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let (panel, seq) = (from.u64("panel")?, from.u64("number")?);
        // Anything but 1 is a switch that is not held.
        let deadman = from.u8("dead man's switch")? == 1;
        let action = take_row(from, "action")?;
        if action.iter().any(|x| !x.is_finite()) {
            return Err(WireError::NotFinite { what: "action" });
        }
        Ok(Self { panel, seq, deadman, action })
    }
}

#[cfg(test)]
mod tests;
