from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from surefoot_gym.errors import Unsupported
from surefoot_gym.server import EnvSettings, describe
from surefoot_gym.spaces import ActionScale, observation_fields, observation_writer


def test_a_goal_observation_is_flattened_with_names() -> None:
    space = spaces.Dict(
        {
            "observation": spaces.Box(-np.inf, np.inf, (2,), np.float64),
            "desired_goal": spaces.Box(-1.0, 1.0, (3,), np.float64),
            "grip": spaces.Discrete(2),
        }
    )
    names = [f["name"] for f in observation_fields(space)]
    row = np.zeros(len(names), dtype=np.float32)
    sample = space.sample()
    observation_writer(space)(sample, row)
    found = dict(zip(names, row.tolist(), strict=True))
    assert found["desired_goal[2]"] == np.float32(sample["desired_goal"][2])
    assert found["observation[1]"] == np.float32(sample["observation"][1])
    assert found[f"grip={sample['grip']}"] == 1.0
    unbounded = [f["name"] for f in observation_fields(space) if "low" not in f and "high" not in f]
    assert unbounded == ["observation[0]", "observation[1]"]


@given(st.floats(width=32), st.floats(-5, 4, width=32), st.floats(0.125, 5, width=32))
def test_scaled_actions_stay_in_their_box(value: float, low: float, width: float) -> None:
    space = spaces.Box(low, np.float32(low) + np.float32(width), (2,), np.float32)
    scale = ActionScale(space)
    executed = scale.bounded(np.array([value, -value], dtype=np.float32))
    assert np.isfinite(executed).all() and (np.abs(executed) <= 1).all()
    assert space.contains(scale.scaled(executed))


def test_ends_and_middle_of_a_box_are_what_minus_one_zero_and_one_stand_for() -> None:
    scale = ActionScale(spaces.Box(np.float32([-0.3, 2]), np.float32([0.7, 6]), dtype=np.float32))
    for given_, expected in ((-1, [-0.3, 2]), (0, [0.2, 4]), (1, [0.7, 6]), (np.nan, [0.2, 4]), (np.inf, [0.7, 6])):
        executed = scale.bounded(np.full(2, given_, dtype=np.float32))
        assert np.allclose(scale.scaled(executed), expected, atol=1e-7)
    plain = ActionScale(spaces.Box(-1, 1, (3,), np.float32))
    action = np.array([0.1, -1.0, 1.0], dtype=np.float32)
    assert (plain.scaled(plain.bounded(action)) == action).all()


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (spaces.Discrete(2), "only a bounded Box of floats"),
        (spaces.Box(-np.inf, np.inf, (1,), np.float32), "RescaleAction"),
        (spaces.Box(0, 255, (1,), np.uint8), "only a bounded Box of floats"),
    ],
)
def test_actions_that_cannot_be_rows_are_refused_with_a_sentence(action: gym.Space, words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        ActionScale(action)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Text(5), "no fixed number of numbers"),
        (spaces.Sequence(spaces.Discrete(2)), "no fixed number of numbers"),
        (spaces.Box(0, 255, (210, 160, 3), np.uint8), "pictures are not served"),
    ],
)
def test_observations_that_cannot_be_rows_are_refused_with_a_sentence(space: gym.Space, words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        observation_fields(space)


def test_an_environment_without_a_limit_or_a_period_says_what_is_needed() -> None:
    settings = EnvSettings("Pendulum-v1", {"max_episode_steps": -1})
    env = settings.make()
    with pytest.raises(Unsupported, match="--max-steps"):
        describe(env, settings)
    env = EnvSettings("Pendulum-v1").make()
    described = describe(env, EnvSettings("Pendulum-v1"))
    # Torque of 2 N m stands behind 1.
    assert described["action"] == [{"name": "action[0]", "unit": "1", "low": -2.0, "high": 2.0}]
    assert described["max_steps"] == 200
