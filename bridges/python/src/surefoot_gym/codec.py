"""The messages of the lockstep protocol: a header of 48 bytes, then rows of one fixed size, little-endian.

docs/gymnasium.md has the table; bridges/src/lockstep/codec.rs is the other implementation.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import Malformed

MAGIC = b"SFL1"
PROTOCOL = 1
#: Short enough for a link that cannot cut messages up.
MAX_TEXT_BYTES = 16_384
_HEADER = struct.Struct("<4sBBH16s16sQ")
HEADER_BYTES = _HEADER.size

TERMINATED, TRUNCATED, SUCCESS, SUCCESS_KNOWN = 1, 2, 4, 8


class Kind(IntEnum):
    """What a message is."""

    OPEN = 1
    RESET = 2
    STEP = 3
    CLOSE = 4
    OPENED = 129
    DID_RESET = 130
    DID_STEP = 131
    CLOSED = 132
    REFUSED = 255


class Refusal(IntEnum):
    """Why a request was refused."""

    BUSY = 1
    OTHER_SERVER = 2
    UNKNOWN_CLIENT = 3
    MALFORMED = 4
    OUT_OF_ORDER = 5
    WORLD_FAILED = 6


_KINDS = {int(kind): kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Header:
    """The fixed first part of a message."""

    kind: Kind
    rows: int
    client: bytes
    server: bytes
    seq: int

    def pack(self) -> bytes:
        """Its 48 bytes."""
        return _HEADER.pack(MAGIC, self.kind, 0, self.rows, self.client, self.server, self.seq)


def split(message: bytes) -> tuple[Header, memoryview]:
    """Reads a message's header and gives what follows it."""
    if len(message) < HEADER_BYTES:
        raise Malformed(f"expected a header of {HEADER_BYTES} bytes, found {len(message)} bytes")
    magic, kind, _, rows, client, server, seq = _HEADER.unpack_from(message)
    if magic != MAGIC:
        raise Malformed(f"expected a message that begins with {MAGIC!r}, found {magic!r}")
    known = _KINDS.get(kind)
    if known is None:
        raise Malformed(f"expected a known kind of message, found {kind}")
    return Header(known, rows, client, server, seq), memoryview(message)[HEADER_BYTES:]


_ROBOT = [
    ("ticks", "<u8"),
    ("adjusted", "<u8"),
    ("stops", "<u8"),
    ("violations", "<u8"),
    ("path", "<f8"),
    ("energy_joules", "<f8"),
    ("filter_run_ticks", "<u8"),
    ("stops_begun", "<u8"),
    ("interventions", "<u8"),
]
ROBOT_FIGURES = [name for name, _ in _ROBOT]


class Sizes:
    """What both sides know of the rows."""

    def __init__(self, observation_dim: int, action_dim: int, worlds: int, robot: bool) -> None:
        self.observation_dim = observation_dim
        self.action_dim = action_dim
        self.worlds = worlds
        self.robot = robot
        self.opened = np.dtype("<u2")
        self.reset = np.dtype([("world", "<u2"), ("zero", "V6"), ("seed", "<u8")])
        self.action = np.dtype([("world", "<u2"), ("zero", "V2"), ("action", "<f4", (action_dim,))])
        self.observation = np.dtype([("world", "<u2"), ("zero", "V2"), ("observation", "<f4", (observation_dim,))])
        self.step = np.dtype(
            [("world", "<u2"), ("flags", "u1"), ("zero", "V5"), ("reward", "<f8")]
            + (_ROBOT if robot else [])
            + [("observation", "<f4", (observation_dim,)), ("executed", "<f4", (action_dim,))]
        )

    @property
    def longest_message(self) -> int:
        """Length of the longest message of a session with such an environment."""
        resets = self.worlds * self.reset.itemsize + MAX_TEXT_BYTES
        return HEADER_BYTES + max(resets, self.worlds * self.step.itemsize)

    def rows(self, what: str, dtype: np.dtype[Any], count: int, body: memoryview) -> npt.NDArray[Any]:
        """The rows of a body whose length must be exactly theirs."""
        if count > self.worlds:
            raise Malformed(f"{what}: expected at most {self.worlds} rows, found {count}")
        if len(body) != count * dtype.itemsize:
            raise Malformed(f"{what}: expected {count * dtype.itemsize} bytes for {count} rows, found {len(body)}")
        return np.frombuffer(body, dtype=dtype)

    def worlds_of(self, rows: npt.NDArray[Any]) -> list[int]:
        """The rows' worlds, each once."""
        worlds: list[int] = (rows["world"] if rows.dtype.names else rows).tolist()
        if worlds and max(worlds) >= self.worlds:
            raise Malformed(f"expected worlds below {self.worlds}, found {max(worlds)}")
        if len(worlds) > 1 and len(set(worlds)) != len(worlds):
            raise Malformed("a world stands twice in one message")
        return worlds

    def resets(self, count: int, body: memoryview) -> tuple[npt.NDArray[Any], str]:
        """Rows of a reset request, and its options as text."""
        end = count * self.reset.itemsize
        if len(body) < end:
            raise Malformed(f"reset: expected at least {end} bytes for {count} rows, found {len(body)}")
        return self.rows("reset", self.reset, count, body[:end]), text("reset options", body[end:])


def check_text(what: str, body: bytes | memoryview) -> None:
    """Whether a text is short enough to be sent."""
    if len(body) > MAX_TEXT_BYTES:
        raise Malformed(f"{what}: expected at most {MAX_TEXT_BYTES} bytes, found {len(body)}")


def text(what: str, body: memoryview) -> str:
    """Text of a message."""
    check_text(what, body)
    try:
        return bytes(body).decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"{what}: expected UTF-8 text") from error


def refuse(request: Header, server: bytes, refusal: Refusal, sentence: str) -> bytes:
    """A refusal that answers `request`."""
    cut = sentence.encode(errors="replace")[:MAX_TEXT_BYTES].decode(errors="ignore").encode()
    return Header(Kind.REFUSED, refusal, request.client, server, request.seq).pack() + cut
