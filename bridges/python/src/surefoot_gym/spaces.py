"""Gymnasium spaces as rows of named numbers, and back."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from .errors import Unsupported

MAX_DIM = 1 << 14
_F32_MAX = float(np.finfo(np.float32).max)

Field = dict[str, Any]
Row = npt.NDArray[np.float32]


def _field(name: str, low: float, high: float) -> Field:
    """A number's name and bounds; bounds that float32 does not know are none."""
    field: Field = {"name": name, "unit": "1"}
    if abs(low) < _F32_MAX:
        field["low"] = float(np.float32(low))
    if abs(high) < _F32_MAX:
        field["high"] = float(np.float32(high))
    return field


def observation_fields(space: gym.Space[Any], name: str = "observation") -> list[Field]:
    """One field for each number of the flattened observation, in `gymnasium.spaces.flatten`'s order."""
    fields: list[Field] = []
    if isinstance(space, spaces.Box):
        size = int(np.prod(space.shape))
        if size > MAX_DIM:
            raise Unsupported(f"{name}: a box of {size} numbers; rows have at most {MAX_DIM} (pictures are not served)")
        for index in itertools.product(*map(range, space.shape)):
            label = f"{name}[{','.join(map(str, index))}]" if index else name
            fields.append(_field(label, float(space.low[index]), float(space.high[index])))
    elif isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            fields.extend(observation_fields(inner, key if name == "observation" else f"{name}/{key}"))
    elif isinstance(space, spaces.Tuple):
        for place, inner in enumerate(space.spaces):
            fields.extend(observation_fields(inner, f"{name}/{place}"))
    elif isinstance(space, spaces.Discrete):
        fields.extend(_field(f"{name}={k + int(space.start)}", 0.0, 1.0) for k in range(int(space.n)))
    elif isinstance(space, spaces.MultiBinary):
        fields.extend(_field(f"{name}[{i}]", 0.0, 1.0) for i in range(int(np.prod(space.n))))
    else:
        raise Unsupported(
            f"{name}: observation space {type(space).__name__} has no fixed number of numbers; "
            "Box, Dict, Tuple, Discrete and MultiBinary can be served"
        )
    if not 1 <= len(fields) <= MAX_DIM:
        raise Unsupported(f"{name}: an observation of {len(fields)} numbers; rows have 1 to {MAX_DIM}")
    return fields


def observation_writer(space: gym.Space[Any]) -> Callable[[Any, Row], None]:
    """What writes an observation into a row of float32."""
    if isinstance(space, spaces.Box):
        shape = space.shape
        if len(shape) == 1:

            def write_row(observation: Any, row: Row) -> None:
                if np.shape(observation) != shape:
                    raise Unsupported(f"an observation of shape {np.shape(observation)}, the space says {shape}")
                row[:] = observation

            return write_row

        def write_box(observation: Any, row: Row) -> None:
            row[:] = np.reshape(observation, -1)

        return write_box

    def write(observation: Any, row: Row) -> None:
        row[:] = np.asarray(spaces.flatten(space, observation))

    return write


class ActionScale:
    """Actions in [-1, 1] to the numbers of a bounded box: -1 is its low, 1 its high."""

    def __init__(self, space: gym.Space[Any]) -> None:
        if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
            raise Unsupported(
                f"action space {space}: policies act by rows of real numbers, "
                "so only a bounded Box of floats can be served"
            )
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise Unsupported(
                f"action space {space}: it has no bounds that [-1, 1] could stand for; wrap it in "
                "gymnasium.wrappers.RescaleAction or ClipAction with finite bounds"
            )
        size = int(np.prod(space.shape))
        if not 1 <= size <= MAX_DIM:
            raise Unsupported(f"an action of {size} numbers; rows have 1 to {MAX_DIM}")
        self.shape = space.shape
        self.dtype = space.dtype
        self.low = space.low.reshape(-1)
        self.high = space.high.reshape(-1)
        self.plain = bool((self.low == -1).all() and (self.high == 1).all())
        self.fields = [
            _field(f"action[{','.join(map(str, index))}]", float(space.low[index]), float(space.high[index]))
            for index in itertools.product(*map(range, space.shape))
        ]

    def bounded(self, action: Row) -> Row:
        """What is executed of a normalised action: cut to [-1, 1]; a number that is none becomes the middle, 0."""
        if not np.isfinite(action).all():
            action = np.nan_to_num(action, nan=0.0, posinf=1.0, neginf=-1.0)
        return np.minimum(np.maximum(action, np.float32(-1.0)), np.float32(1.0))

    def scaled(self, executed: Row) -> npt.NDArray[Any]:
        """The environment's action of a bounded one."""
        if self.plain:
            return executed.astype(self.dtype).reshape(self.shape)
        share = (executed.astype(np.float64) + 1.0) * 0.5
        action = self.low + share * (self.high.astype(np.float64) - self.low)
        scaled: npt.NDArray[Any] = np.clip(action.astype(self.dtype), self.low, self.high).reshape(self.shape)
        return scaled
