from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot_gym import codec
from surefoot_gym.codec import Header, Kind, Refusal, Sizes
from surefoot_gym.errors import Malformed

HEADER = Header(Kind.STEP, 1, bytes([7] * 16), bytes([9] * 16), 5)


def test_the_bytes_are_those_of_the_documentation() -> None:
    row = np.zeros(1, dtype=Sizes(2, 2, 4, False).action)
    row["world"], row["action"] = 3, [1.0, -0.5]
    expected = b"SFL1" + bytes([3, 0, 1, 0]) + bytes([7] * 16) + bytes([9] * 16) + bytes([5, 0, 0, 0, 0, 0, 0, 0])
    expected += bytes([3, 0, 0, 0, 0, 0, 0x80, 0x3F, 0, 0, 0, 0xBF])
    assert HEADER.pack() + row.tobytes() == expected
    assert codec.HEADER_BYTES == 48
    sizes = Sizes(17, 6, 1, False)
    assert (sizes.action.itemsize, sizes.step.itemsize) == (28, 108)
    assert Sizes(17, 6, 1, True).step.itemsize == 180


@given(st.binary(max_size=300), st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.booleans())
def test_arbitrary_bytes_are_malformed_or_rows_within_their_sizes(
    message: bytes, observation_dim: int, action_dim: int, worlds: int, robot: bool
) -> None:
    sizes = Sizes(observation_dim, action_dim, worlds, robot)
    bodies = [(HEADER, memoryview(message))]
    try:
        bodies.append(codec.split(message))
    except Malformed:
        pass
    for header, body in bodies:
        for count in (header.rows, len(message) % 7):
            for dtype in (sizes.opened, sizes.action, sizes.observation, sizes.step):
                try:
                    rows = sizes.rows("test", dtype, count, body)
                    assert len(rows) == count
                    assert all(world < worlds for world in sizes.worlds_of(rows))
                except Malformed:
                    pass
            try:
                sizes.resets(count, body)
            except Malformed:
                pass


@given(st.integers(0, 47))
def test_a_cut_header_is_malformed(length: int) -> None:
    with pytest.raises(Malformed, match=f"found {length} bytes"):
        codec.split(HEADER.pack()[:length])


def test_a_refusal_is_cut_between_characters() -> None:
    message = codec.refuse(HEADER, bytes(16), Refusal.WORLD_FAILED, "é" * codec.MAX_TEXT_BYTES)
    header, body = codec.split(message)
    assert (header.kind, header.rows, header.seq) == (Kind.REFUSED, Refusal.WORLD_FAILED, 5)
    assert codec.text("refusal", body) == "é" * (codec.MAX_TEXT_BYTES // 2)
