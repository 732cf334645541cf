"""What was learned in our walkers, in Gymnasium's: return and length of episodes, one JSON line.

    python sim/benches/compare/transfer.py HalfCheetah-v5 POLICY.onnx [EPISODES]          # from `surefoot export`
    python sim/benches/compare/transfer.py Hopper-v5 sim/models/gaits/hopper.toml [EPISODES]

Observations and actions stand in the same order on both sides (needs gymnasium, mujoco; for a policy onnxruntime). Seeds 0, 1, ...; no noise.
"""

import json
import sys
import tomllib

import gymnasium
import numpy as np


def gait(path):
    """A linear gait as sim/src/demonstrators/linear_gait.rs has it."""
    with open(path, "rb") as file:
        file = tomllib.load(file)
    mean, spread, weights = (np.array(file[key]) for key in ("mean", "spread", "weights"))
    clock = file.get("clock", {"hz": 0.0, "weights": np.zeros((len(weights), 3))})
    swings = np.array(clock["weights"])

    def act(observation, secs):
        stride = 2 * np.pi * clock["hz"] * secs
        swing = swings @ [np.sin(stride), np.cos(stride), 1.0]
        return np.clip(weights @ ((observation[: len(mean)] - mean) / spread) + swing, -1.0, 1.0)

    return act


def network(path):
    """An exported policy."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return lambda o, _: session.run(["action"], {"observation": np.float32(o)[None]})[0][0]


env_id, path = sys.argv[1:3]
episodes = int(sys.argv[3]) if len(sys.argv) > 3 else 50
act = gait(path) if path.endswith(".toml") else network(path)
env = gymnasium.make(env_id)
scale = env.action_space.high
returns, lengths = [], []
for seed in range(episodes):
    observation, _ = env.reset(seed=seed)
    total, steps, over = 0.0, 0, False
    while not over:
        action = np.float32(act(observation, steps * env.unwrapped.dt) * scale)
        observation, reward, terminated, truncated, _ = env.step(action)
        total, steps, over = total + reward, steps + 1, terminated or truncated
    returns.append(total)
    lengths.append(steps)
print(
    json.dumps(
        {
            "env": env_id,
            "policy": path,
            "episodes": episodes,
            "return_mean": round(float(np.mean(returns)), 1),
            "return_std": round(float(np.std(returns, ddof=1)), 1),
            "length_mean": float(np.mean(lengths)),
        }
    )
)
