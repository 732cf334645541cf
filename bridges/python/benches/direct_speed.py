"""Time of a step of N environments called directly, one after the other: what the link's overhead is measured against.

python direct_speed.py ENV_ID ENVS STEPS: prints one line of JSON, microseconds per step of all together.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import numpy as np

from surefoot_gym.server import EnvSettings


def main() -> None:
    env_id, envs, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    worlds = [EnvSettings(env_id).make() for _ in range(envs)]
    for i, world in enumerate(worlds):
        world.reset(seed=i)
    rng = np.random.default_rng(0)
    dims = worlds[0].action_space.shape
    took = []
    for _ in range(steps):
        actions = rng.uniform(-1, 1, (envs, *dims)).astype(np.float32)
        began = time.perf_counter_ns()
        ends = [world.step(action)[2:4] for world, action in zip(worlds, actions, strict=True)]
        took.append((time.perf_counter_ns() - began) / 1000)
        for i, (terminated, truncated) in enumerate(ends):
            if terminated or truncated:
                worlds[i].reset(seed=i)
    print(json.dumps({"direct_us": statistics.median(took), "min_us": min(took)}))


if __name__ == "__main__":
    main()
