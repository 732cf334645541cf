"""A served environment against the same environment called directly, bit for bit."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec

import numpy as np
import pytest
from gymnasium import spaces

from surefoot_gym import EnvLost, Refused, SurefootEnv
from surefoot_gym.server import EnvSettings

MUJOCO = pytest.mark.skipif(find_spec("mujoco") is None, reason="mujoco is not installed")
ROBOTICS = pytest.mark.skipif(find_spec("gymnasium_robotics") is None, reason="gymnasium-robotics is not installed")


@pytest.mark.parametrize(
    "env_id",
    [
        "Pendulum-v1",
        pytest.param("HalfCheetah-v5", marks=MUJOCO),
        pytest.param("Ant-v5", marks=MUJOCO),
        pytest.param("Walker2d-v5", marks=MUJOCO),
        pytest.param("AdroitHandDoor-v1", marks=ROBOTICS),
        pytest.param("PointMaze_UMaze-v3", marks=ROBOTICS),
    ],
)
def test_a_seeded_episode_is_the_one_of_gymnasium(serving, env_id: str) -> None:
    direct = EnvSettings(env_id).make()
    space = direct.observation_space
    with SurefootEnv(env_id, serving(env_id).endpoint) as linked:
        rng = np.random.default_rng(3)
        low, high = direct.action_space.low, direct.action_space.high
        ends = 0
        for seed in (0, 2**63 + 11):
            (ours, _), (theirs, _) = linked.reset(seed=seed), direct.reset(seed=seed)
            assert np.array_equal(ours, np.asarray(spaces.flatten(space, theirs)).astype(np.float32))
            for _ in range(300):
                # A multiple of 1/8, so that scaling to the box is exact.
                action = (rng.integers(-8, 9, direct.action_space.shape) / 8).astype(np.float32)
                scaled = (low.astype(np.float64) + (action + 1.0) * 0.5 * (high.astype(np.float64) - low)).astype(
                    np.float32
                )
                ours, theirs = linked.step(action), direct.step(scaled)
                assert np.array_equal(ours[0], np.asarray(spaces.flatten(space, theirs[0])).astype(np.float32))
                assert ours[1:4] == (float(theirs[1]), bool(theirs[2]), bool(theirs[3]))
                success = theirs[4].get("success", theirs[4].get("is_success"))
                assert ours[4].get("success") == (None if success is None else bool(success))
                if theirs[2] or theirs[3]:
                    ends += 1
                    break
        if env_id in ("Pendulum-v1", "Walker2d-v5", "AdroitHandDoor-v1", "PointMaze_UMaze-v3"):
            assert ends, "an end was compared, too"


def test_a_server_whose_messages_may_be_long_is_reached_as_well(serving) -> None:
    # A step of 1024 worlds is beyond what a link of low latency carries, so the server does not agree to one.
    direct = EnvSettings("Pendulum-v1").make()
    with SurefootEnv("Pendulum-v1", serving("Pendulum-v1", "--envs", "1024").endpoint) as env:
        assert env.described["worlds"] == 1024
        assert np.array_equal(env.reset(seed=3)[0], direct.reset(seed=3)[0])
        linked, called = env.step(np.array([0.5], np.float32)), direct.step(np.array([1.0], np.float32))
        assert np.array_equal(linked[0], called[0]) and linked[1] == called[1]


def test_there_is_no_automatic_reset(serving) -> None:
    with SurefootEnv("Pendulum-v1", serving("Pendulum-v1", "--max-steps", "3").endpoint) as env:
        env.reset(seed=1)
        ends = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(3)]
        assert ends == [(False, False), (False, False), (False, True)]
        with pytest.raises(Refused, match="in no episode"):
            env.step(np.zeros(1, np.float32))
        env.reset(seed=1)
        env.step(np.zeros(1, np.float32))


def test_a_server_that_is_killed_loses_the_episode(serving) -> None:
    server = serving("Pendulum-v1")
    env = SurefootEnv("Pendulum-v1", server.endpoint, connect_secs=1.0)
    env.reset(seed=1)
    server.kill()
    with pytest.raises(EnvLost, match="has gone"):
        env.step(np.zeros(1, np.float32))
    with pytest.raises(EnvLost, match="no server at"):
        env.reset(seed=1)
    env.close()


def test_a_server_that_stands_still_is_given_up(serving) -> None:
    # It hears in its own time that the first world is given back; there is a second one.
    server = serving("Pendulum-v1", "--envs", "2")
    env = SurefootEnv("Pendulum-v1", server.endpoint, reply_secs=0.5)
    env.reset(seed=1)
    os.kill(server.process.pid, signal.SIGSTOP)
    with pytest.raises(EnvLost, match=r"no reply within 0\.5 s"):
        env.step(np.zeros(1, np.float32))
    with pytest.raises(EnvLost, match="reset first"):
        env.step(np.zeros(1, np.float32))
    os.kill(server.process.pid, signal.SIGCONT)
    env.reset(seed=1)
    env.close()


def test_reset_options_reach_the_environment(serving) -> None:
    direct = EnvSettings("Pendulum-v1").make()
    with SurefootEnv("Pendulum-v1", serving("Pendulum-v1").endpoint) as env:
        options = {"x_init": 0.1, "y_init": 0.2}
        ours, theirs = env.reset(seed=4, options=options)[0], direct.reset(seed=4, options=options)[0]
        assert np.array_equal(ours, theirs)


def test_an_environment_that_raises_says_so(serving) -> None:
    with SurefootEnv("Pendulum-v1", serving("Pendulum-v1").endpoint) as env:
        with pytest.raises(Refused, match="world 0: reset raised"):
            env.reset(seed=4, options={"x_init": "far"})
        env.reset(seed=4)
