"""surefoot's environments in Python; needs the built program: SUREFOOT=path/to/surefoot."""

from __future__ import annotations

import os

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from surefoot_gym import EnvLost, Refused, SurefootEnv

PROGRAM = os.environ.get("SUREFOOT")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="SUREFOOT does not name the program")


@pytest.mark.parametrize("name", ["pendulum", "cart_pole", "push", "dark_room"])
def test_gymnasiums_own_checker_accepts_our_environments(name: str) -> None:
    with SurefootEnv.spawn(name, PROGRAM) as env:
        check_env(env, skip_render_check=True)
        assert env.observation_space.shape == (len(env.described["spec"]["observation"]),)


def test_the_safety_chain_stands_behind_the_link() -> None:
    with SurefootEnv.spawn("pendulum", PROGRAM) as env:
        env.reset(seed=3)
        executed = [env.step(np.array([np.nan], np.float32)) for _ in range(3)]
        assert all(np.isfinite(step[0]).all() and np.isfinite(step[4]["executed"]).all() for step in executed)
        assert all(step[4]["robot"]["violations"] == 0 for step in executed)
        with pytest.raises(Refused, match="takes no reset options"):
            env.reset(seed=1, options={"x": 1})


def test_a_killed_surefoot_is_noticed() -> None:
    env = SurefootEnv.spawn("pendulum", PROGRAM, connect_secs=1.0)
    env.reset(seed=3)
    env._process.kill()
    env._process.wait()
    with pytest.raises(EnvLost):
        env.step(np.zeros(1, np.float32))
    env.close()
