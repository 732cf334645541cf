//! The messages of the lockstep protocol: a header of 48 bytes, then rows of one fixed size, little-endian.
//!
//! ```text
//! header   magic "SFL1" | kind u8 | 0 u8 | rows u16 | client [16] | server [16] | seq u64
//! request  open   rows = worlds asked for, no row follows
//!          reset  rows x { world u16 | 0 [6] | seed u64 }, then the reset options as JSON text (may be empty)
//!          step   rows x { world u16 | 0 [2] | action f32 x A }
//!          close  no rows
//! reply    opened rows x { world u16 }
//!          reset  rows x { world u16 | 0 [2] | observation f32 x O }
//!          step   rows x { world u16 | flags u8 | 0 [5] | reward f64 | robot [72], where there is one
//!                          | observation f32 x O | executed action f32 x A }
//!          closed no rows
//!          refused  rows = code, then a sentence in UTF-8
//! flags    1 terminated, 2 truncated, 4 success, 8 the environment says whether there is success
//! robot    ticks, adjusted, stops, violations u64 | path f64 | energy f64 (NaN: not known) | filter run, stops, interventions u64
//! ```
//!
//! Every length follows from the header and from sizes that both sides know, so a decoder checks one number and never allocates
//! what a message claims.

use surefoot_core::safety::SafetyCounts;
use surefoot_core::{Outcome, StepEnd, StepFigures, WorldStep};

/// First bytes of every message; the last one is the protocol's version.
pub const MAGIC: [u8; 4] = *b"SFL1";
/// Length of the header.
pub const HEADER_BYTES: usize = 48;
/// Longest reset options and longest sentence of a refusal, bytes. Short enough for a link that cannot cut messages up.
pub const MAX_TEXT_BYTES: usize = 16_384;
const RESET_BYTES: usize = 16;
const ROBOT_BYTES: usize = 72;

/// One end of the link: sixteen bytes that no other one has.
pub type PartyId = [u8; 16];

/// A party's name in keys: 32 hexadecimal digits.
#[must_use]
pub fn party_name(id: &PartyId) -> String {
    id.iter().map(|b| format!("{b:02x}")).collect()
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks for worlds.
    Open,
    /// Starts episodes.
    Reset,
    /// Steps worlds.
    Step,
    /// Gives the worlds back.
    Close,
    /// Worlds were given.
    Opened,
    /// Episodes were started.
    DidReset,
    /// Worlds were stepped.
    DidStep,
    /// Worlds were taken back.
    Closed,
    /// The request was not carried out.
    Refused,
}

impl Kind {
    const ALL: [(u8, Self); 9] = [
        (1, Self::Open),
        (2, Self::Reset),
        (3, Self::Step),
        (4, Self::Close),
        (129, Self::Opened),
        (130, Self::DidReset),
        (131, Self::DidStep),
        (132, Self::Closed),
        (255, Self::Refused),
    ];

    fn byte(self) -> u8 {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or(0, |(byte, _)| *byte)
    }
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// All worlds are taken.
    Busy,
    /// The request was meant for another server: this one was started since.
    OtherServer,
    /// The server does not know the client (any more).
    UnknownClient,
    /// The bytes are not a request that fits this environment.
    Malformed,
    /// The request cannot be carried out now: a step without an episode, a sequence number out of order.
    OutOfOrder,
    /// A world failed.
    WorldFailed,
}

impl Refusal {
    const ALL: [(u16, Self); 6] = [
        (1, Self::Busy),
        (2, Self::OtherServer),
        (3, Self::UnknownClient),
        (4, Self::Malformed),
        (5, Self::OutOfOrder),
        (6, Self::WorldFailed),
    ];
}

/// Bytes that are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Shorter than a header.
    #[error("lockstep message: expected a header of {HEADER_BYTES} bytes, found {found} bytes")]
    Short {
        /// Its length.
        found: usize,
    },
    /// Of another protocol or version.
    #[error(
        "lockstep message: expected it to begin with {MAGIC:02x?}, found {found:02x?}\n\nhint: both sides must speak the same version of the protocol"
    )]
    Magic {
        /// How it begins.
        found: [u8; 4],
    },
    /// A kind of message that does not exist, or that does not go this way.
    #[error("lockstep message: expected {expected}, found kind {found}")]
    Kind {
        /// What may come.
        expected: &'static str,
        /// What came.
        found: u8,
    },
    /// A length that does not follow from the header and the environment's sizes.
    #[error("lockstep {what}: expected {expected} bytes for {rows} rows, found {found}")]
    Length {
        /// Which message.
        what: &'static str,
        /// By the header.
        rows: usize,
        /// What they take.
        expected: usize,
        /// What is there.
        found: usize,
    },
    /// A number beyond what was declared.
    #[error("lockstep {what}: expected at most {limit}, found {found}")]
    Limit {
        /// Which number.
        what: &'static str,
        /// Its limit.
        limit: usize,
        /// Its value.
        found: usize,
    },
    /// A reply for another world than the one asked for.
    #[error("lockstep reply: expected world {expected}, found {found}")]
    World {
        /// By the request.
        expected: u16,
        /// By the reply.
        found: u16,
    },
    /// Text that is not UTF-8.
    #[error("lockstep {what}: expected UTF-8 text")]
    Text {
        /// Which text.
        what: &'static str,
    },
}

/// The fixed first part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// Rows that follow; worlds asked for in `Open`, the code in `Refused`.
    pub rows: u16,
    /// Who asks.
    pub client: PartyId,
    /// Who is asked; zeros in `Open`.
    pub server: PartyId,
    /// The request's number, from 1; the reply repeats it.
    pub seq: u64,
}

impl Header {
    /// Clears `out` and writes the header into it.
    pub fn begin(&self, out: &mut Vec<u8>) {
        let Self { kind, rows, client, server, seq } = self;
        out.clear();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[kind.byte(), 0]);
        out.extend_from_slice(&rows.to_le_bytes());
        out.extend_from_slice(client);
        out.extend_from_slice(server);
        out.extend_from_slice(&seq.to_le_bytes());
    }

    /// Reads a message's header and gives what follows it.
    ///
    /// # Errors
    /// When it is cut, of another version, or of a kind that does not exist.
    pub fn split(bytes: &[u8]) -> Result<(Self, &[u8]), CodecError> {
        let mut reader = Reader(bytes);
        let short = || CodecError::Short { found: bytes.len() };
        let magic = reader.array::<4>().ok_or_else(short)?;
        if magic != MAGIC {
            return Err(CodecError::Magic { found: magic });
        }
        let [kind, _] = reader.array::<2>().ok_or_else(short)?;
        let rows = u16::from_le_bytes(reader.array().ok_or_else(short)?);
        let client = reader.array().ok_or_else(short)?;
        let server = reader.array().ok_or_else(short)?;
        let seq = u64::from_le_bytes(reader.array().ok_or_else(short)?);
        let known = Kind::ALL.iter().find(|(byte, _)| *byte == kind);
        let (_, kind) = known.ok_or(CodecError::Kind { expected: "a known kind", found: kind })?;
        Ok((Self { kind: *kind, rows, client, server, seq }, reader.0))
    }

    /// The code of a refusal; an unknown one is taken for a malformed request.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        Refusal::ALL.iter().find(|(code, _)| *code == self.rows).map_or(Refusal::Malformed, |(_, r)| *r)
    }
}

/// What both sides know of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Numbers in an observation row.
    pub observation_dim: usize,
    /// Numbers in an action row.
    pub action_dim: usize,
    /// Worlds of the server.
    pub worlds: usize,
    /// Whether a robot with a safety chain is behind the worlds, whose figures go with every step.
    pub robot: bool,
}

/// Worlds with their seeds, and the options of the reset as text.
pub type Resets<'a> = (Vec<(usize, u64)>, &'a str);

impl Sizes {
    const fn action_row(&self) -> usize {
        4 + 4 * self.action_dim
    }
    const fn observation_row(&self) -> usize {
        4 + 4 * self.observation_dim
    }
    const fn step_row(&self) -> usize {
        let robot = if self.robot { ROBOT_BYTES } else { 0 };
        16 + robot + 4 * (self.observation_dim + self.action_dim)
    }
    /// Length of the longest message of a session with such an environment.
    #[must_use]
    pub const fn longest_message(&self) -> usize {
        let reset = self.worlds * RESET_BYTES + MAX_TEXT_BYTES;
        let step = self.worlds * self.step_row();
        HEADER_BYTES + if reset > step { reset } else { step }
    }
    /// Bytes of a step of one world: of the request and of the reply, headers left out.
    #[must_use]
    pub const fn step_bytes(&self) -> (usize, usize) {
        (self.action_row(), self.step_row())
    }

    fn rows<'a>(
        &self,
        what: &'static str,
        rows: u16,
        row: usize,
        body: &'a [u8],
    ) -> Result<std::slice::ChunksExact<'a, u8>, CodecError> {
        let rows = self.within(rows)?;
        let expected = rows * row;
        if body.len() != expected {
            return Err(CodecError::Length { what, rows, expected, found: body.len() });
        }
        Ok(body.chunks_exact(row))
    }

    fn within(&self, rows: u16) -> Result<usize, CodecError> {
        let found = usize::from(rows);
        if found > self.worlds {
            return Err(CodecError::Limit { what: "rows of a message", limit: self.worlds, found });
        }
        Ok(found)
    }

    fn world(&self, found: u16) -> Result<usize, CodecError> {
        let found = usize::from(found);
        if found >= self.worlds {
            let limit = self.worlds.saturating_sub(1);
            return Err(CodecError::Limit { what: "number of a world", limit, found });
        }
        Ok(found)
    }

    /// Adds a world to a reset request.
    pub fn put_reset(world: u16, seed: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&world.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&seed.to_le_bytes());
    }

    /// Worlds and seeds of a reset request, and its options.
    ///
    /// # Errors
    /// When the rows or the text do not fit.
    pub fn resets<'a>(&self, rows: u16, body: &'a [u8]) -> Result<Resets<'a>, CodecError> {
        let found = body.len();
        let count = self.within(rows)?;
        let Some((body, text)) = body.split_at_checked(count * RESET_BYTES) else {
            return Err(CodecError::Length {
                what: "reset",
                rows: count,
                expected: count * RESET_BYTES,
                found,
            });
        };
        let options = text_of("reset options", text)?;
        let mut resets = Vec::with_capacity(count);
        for mut reader in self.rows("reset", rows, RESET_BYTES, body)?.map(Reader) {
            let (world, _) = (reader.u16(), reader.array::<6>());
            resets.push((self.world(world)?, reader.u64()));
        }
        Ok((resets, options))
    }

    /// Adds a world to a step request; `action` is `[action_dim]`.
    pub fn put_action(world: u16, action: &[f32], out: &mut Vec<u8>) {
        out.extend_from_slice(&world.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        put_f32s(action, out);
    }

    /// Reads a step request: calls `to` with each world and its action, read into `action`, `[action_dim]`.
    ///
    /// # Errors
    /// When the rows do not fit, or `to` refuses a world.
    pub fn actions<E: From<CodecError>>(
        &self,
        rows: u16,
        body: &[u8],
        action: &mut [f32],
        mut to: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        for mut reader in self.rows("step", rows, self.action_row(), body)?.map(Reader) {
            let (world, _) = (reader.u16(), reader.array::<2>());
            reader.f32s(action);
            to(self.world(world)?, action)?;
        }
        Ok(())
    }

    /// Worlds that an `Opened` reply gives.
    ///
    /// # Errors
    /// When the rows do not fit.
    pub fn opened(&self, rows: u16, body: &[u8]) -> Result<Vec<u16>, CodecError> {
        let worlds = self.rows("opened", rows, 2, body)?.map(|row| Reader(row).u16());
        worlds.map(|world| self.world(world).map(|_| world)).collect()
    }

    /// Adds a world to a reset reply; `observation` is `[observation_dim]`.
    pub fn put_observation(world: u16, observation: &[f32], out: &mut Vec<u8>) {
        Self::put_action(world, observation, out);
    }

    /// Reads a reset reply of one world.
    ///
    /// # Errors
    /// When the row does not fit or is another world's.
    pub fn observation(
        &self,
        world: u16,
        rows: u16,
        body: &[u8],
        observation: &mut [f32],
    ) -> Result<(), CodecError> {
        if rows != 1 {
            return Err(CodecError::Limit { what: "rows of a reset reply", limit: 1, found: rows.into() });
        }
        for mut reader in self.rows("reset reply", rows, self.observation_row(), body)?.map(Reader) {
            let (found, _) = (reader.u16(), reader.array::<2>());
            check_world(world, found)?;
            reader.f32s(observation);
        }
        Ok(())
    }

    /// Adds a world to a step reply. `flags` are those of the environment, see [`Flags`].
    pub fn put_step(
        &self,
        world: u16,
        flags: Flags,
        reward: f64,
        outcome: &Outcome,
        (observation, executed): (&[f32], &[f32]),
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(&world.to_le_bytes());
        out.extend_from_slice(&[flags.byte(), 0, 0, 0, 0, 0]);
        out.extend_from_slice(&reward.to_le_bytes());
        if self.robot {
            let Outcome { safety, figures, reward: _, end: _, success: _ } = outcome;
            let SafetyCounts { ticks, adjusted, stops, violations } = safety;
            for count in [ticks, adjusted, stops, violations] {
                out.extend_from_slice(&count.to_le_bytes());
            }
            let StepFigures { path, energy_joules, filter_run_ticks, stops, interventions } = figures;
            out.extend_from_slice(&path.to_le_bytes());
            out.extend_from_slice(&energy_joules.unwrap_or(f64::NAN).to_le_bytes());
            for count in [filter_run_ticks, stops, interventions] {
                out.extend_from_slice(&count.to_le_bytes());
            }
        }
        put_f32s(observation, out);
        put_f32s(executed, out);
    }

    /// Reads a step reply: row `i` is of the world `to[i].0` and goes to `to[i].1`.
    ///
    /// # Errors
    /// When the rows do not fit or are other worlds'.
    pub fn steps(
        &self,
        rows: u16,
        body: &[u8],
        to: &mut [(u16, &mut WorldStep)],
    ) -> Result<Vec<Flags>, CodecError> {
        if usize::from(rows) != to.len() {
            return Err(CodecError::Limit {
                what: "rows of a step reply",
                limit: to.len(),
                found: rows.into(),
            });
        }
        let mut all = Vec::with_capacity(to.len());
        let chunks = self.rows("step reply", rows, self.step_row(), body)?;
        for (mut reader, (world, step)) in chunks.map(Reader).zip(to) {
            check_world(*world, reader.u16())?;
            let flags = Flags::from_byte(reader.array::<1>().map_or(0, |[b]| b));
            let _ = reader.array::<5>();
            step.outcome = Outcome {
                reward: reader.f64() as f32,
                end: StepEnd::from_flags(flags.terminated, flags.truncated),
                success: flags.success,
                ..Outcome::default()
            };
            if self.robot {
                let (ticks, adjusted, stops, violations) =
                    (reader.u64(), reader.u64(), reader.u64(), reader.u64());
                step.outcome.safety = SafetyCounts { ticks, adjusted, stops, violations };
                let (path, energy) = (reader.f64(), reader.f64());
                step.outcome.figures = StepFigures {
                    path,
                    energy_joules: (!energy.is_nan()).then_some(energy),
                    filter_run_ticks: reader.u64(),
                    stops: reader.u64(),
                    interventions: reader.u64(),
                };
            }
            reader.f32s(&mut step.observation);
            reader.f32s(&mut step.executed);
            all.push(flags);
        }
        Ok(all)
    }
}

/// How a step left the episode, as the environment says it: both ends may be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The task ended.
    pub terminated: bool,
    /// The time limit ended.
    pub truncated: bool,
    /// The goal holds.
    pub success: bool,
    /// Whether the environment says anything about success at all.
    pub success_known: bool,
}

impl Flags {
    const fn byte(self) -> u8 {
        self.terminated as u8
            | (self.truncated as u8) << 1
            | (self.success as u8) << 2
            | (self.success_known as u8) << 3
    }
    const fn from_byte(byte: u8) -> Self {
        Self {
            terminated: byte & 1 != 0,
            truncated: byte & 2 != 0,
            success: byte & 4 != 0,
            success_known: byte & 8 != 0,
        }
    }
}

/// Clears `out` and writes a refusal that answers `request`.
pub fn refuse(request: &Header, server: PartyId, refusal: Refusal, sentence: &str, out: &mut Vec<u8>) {
    let code = Refusal::ALL.iter().find(|(_, r)| *r == refusal).map_or(0, |(code, _)| *code);
    Header { kind: Kind::Refused, rows: code, server, ..*request }.begin(out);
    let end = (0..=sentence.len().min(MAX_TEXT_BYTES)).rev().find(|i| sentence.is_char_boundary(*i));
    out.extend_from_slice(&sentence.as_bytes()[..end.unwrap_or(0)]);
}

/// The sentence of a refusal.
///
/// # Errors
/// When it is no text or too long.
pub fn sentence(body: &[u8]) -> Result<&str, CodecError> {
    text_of("refusal", body)
}

fn text_of<'a>(what: &'static str, bytes: &'a [u8]) -> Result<&'a str, CodecError> {
    check_text(what, bytes)?;
    std::str::from_utf8(bytes).map_err(|_| CodecError::Text { what })
}

/// Whether a text is short enough to be sent.
///
/// # Errors
/// When it is longer than [`MAX_TEXT_BYTES`].
pub const fn check_text(what: &'static str, text: &[u8]) -> Result<(), CodecError> {
    let found = text.len();
    if found > MAX_TEXT_BYTES {
        return Err(CodecError::Limit { what, limit: MAX_TEXT_BYTES, found });
    }
    Ok(())
}

const fn check_world(expected: u16, found: u16) -> Result<(), CodecError> {
    if expected == found {
        return Ok(());
    }
    Err(CodecError::World { expected, found })
}

fn put_f32s(row: &[f32], out: &mut Vec<u8>) {
    out.extend(row.iter().flat_map(|x| x.to_le_bytes()));
}

/// Reads from a slice whose length was checked; what is missing reads as zero.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }
    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array().unwrap_or_default())
    }
    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array().unwrap_or_default())
    }
    fn f64(&mut self) -> f64 {
        f64::from_le_bytes(self.array().unwrap_or_default())
    }
    fn f32s(&mut self, row: &mut [f32]) {
        for x in row {
            *x = f32::from_le_bytes(self.array().unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests;
