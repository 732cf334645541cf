"""Random-policy statistics of our walkers beside Gymnasium's: returns, episode lengths, mean and spread of every observation.

    python3 -m venv venv && venv/bin/pip install gymnasium[mujoco] numpy
    venv/bin/python sim/benches/compare/locomotion.py [--episodes 100] [--env half_cheetah ...] [--ours PROGRAM]

Both sides draw actions evenly from -1 to 1. For return and length it prints means and standard deviations of both, the difference
of the means in standard errors, and the Kolmogorov-Smirnov distance with the distance that 1 of 20 equal pairs exceeds; for
observations the largest difference of means and the ratios of spreads, in units of Gymnasium's spread. Speeds are steps per second of
CPU time of one thread: env steps of both, and physics steps of MuJoCo alone (its C loop, random controls). `--ours` is the built
example `random_episodes`; without it cargo builds and runs it, and the first run's building counts as time.
"""
import argparse, json, pathlib, resource, subprocess, time, warnings
import gymnasium as gym
import mujoco
import numpy as np

warnings.filterwarnings("ignore")
SIM = pathlib.Path(__file__).resolve().parents[2]
PEERS = {"half_cheetah": "HalfCheetah-v5", "hopper": "Hopper-v5", "walker2d": "Walker2d-v5", "ant": "Ant-v5"}


def gymnasium_episodes(name, episodes):
    env = gym.make(PEERS[name])
    rng = np.random.default_rng(0)
    returns, lengths, total, squares, steps = [], [], 0.0, 0.0, 0
    began = time.process_time()
    for seed in range(episodes):
        env.reset(seed=seed)
        ret = length = 0
        while True:
            obs, reward, terminated, truncated, _ = env.step(rng.uniform(-1, 1, env.action_space.shape))
            ret += reward
            length += 1
            total, squares = total + obs, squares + obs**2
            if terminated or truncated:
                break
        steps += length
        returns.append(ret)
        lengths.append(length)
    rate = steps / (time.process_time() - began)
    mean = total / steps
    std = np.sqrt(np.maximum(squares / steps - mean**2, 0))
    env.reset(seed=0)
    inner, began = env.unwrapped, time.process_time()
    for k in range(2000):
        inner.data.ctrl[:] = rng.uniform(-1, 1, inner.model.nu)
        mujoco.mj_step(inner.model, inner.data, nstep=10)
        if k % 20 == 0:
            env.reset()
    physics = 20000 / (time.process_time() - began)
    return {"returns": returns, "lengths": lengths, "mean": mean, "std": std, "env_steps_per_sec": rate, "physics": physics}


def our_episodes(program, name, episodes, stepping):
    spent = lambda: resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    before = spent()
    out = subprocess.run([*program, name, str(episodes), *stepping], check=True, capture_output=True, text=True, cwd=SIM)
    ours = json.loads(out.stdout)
    return ours | {"env_steps_per_sec": sum(ours["lengths"]) / (spent() - before)}


def beside(ours, theirs):
    a, b = np.array(ours, float), np.array(theirs, float)
    error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    every = np.sort(np.concatenate([a, b]))
    share = lambda x: np.searchsorted(np.sort(x), every, side="right") / len(x)
    return {
        "ours": [round(a.mean(), 2), round(a.std(ddof=1), 2)],
        "gymnasium": [round(b.mean(), 2), round(b.std(ddof=1), 2)],
        "difference_in_standard_errors": round(float((a.mean() - b.mean()) / error), 2) if error > 0 else 0.0,
        "ks_distance": round(float(np.abs(share(a) - share(b)).max()), 3),
        "ks_of_1_in_20": round(1.358 * np.sqrt((len(a) + len(b)) / (len(a) * len(b))), 3),
    }


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--episodes", type=int, default=100)
parser.add_argument("--env", nargs="*", default=list(PEERS))
parser.add_argument("--ours", help="the built example random_episodes")
parser.add_argument("--stepping", nargs="*", default=[], help="steps per tick, iterations, sweeps, contact Hz and ratio, limit Hz and ratio")
parser.add_argument("--per-observation", action="store_true")
parser.add_argument("--cache", type=pathlib.Path, help="keep Gymnasium's side here")
args = parser.parse_args()
program = [args.ours] if args.ours else ["cargo", "run", "-q", "-p", "surefoot-sim", "--release", "--example", "random_episodes", "--"]
for name in args.env:
    cache = args.cache / f"{name}-{args.episodes}.json" if args.cache else None
    if cache and cache.exists():
        theirs = json.loads(cache.read_text())
    else:
        theirs = gymnasium_episodes(name, args.episodes)
        if cache:
            cache.parent.mkdir(exist_ok=True)
            cache.write_text(json.dumps({k: np.asarray(v).tolist() for k, v in theirs.items()}))
    ours = our_episodes(program, name, args.episodes, args.stepping)
    spread = np.maximum(np.array(theirs["std"]), 1e-3)
    shift = np.abs(np.array(ours["mean"]) - theirs["mean"]) / spread
    ratio = np.array(ours["std"]) / spread
    line = {"env": name, "episodes": args.episodes, "return": beside(ours["returns"], theirs["returns"]),
            "length": beside(ours["lengths"], theirs["lengths"]),
            "observations": {"largest_shift": round(float(shift.max()), 2), "median_shift": round(float(np.median(shift)), 2),
                             "spread_ratio": [round(float(ratio.min()), 2), round(float(ratio.max()), 2)]},
            "env_steps_per_cpu_sec": {"ours": round(ours["env_steps_per_sec"]), "gymnasium": round(theirs["env_steps_per_sec"])},
            "physics_steps_per_cpu_sec": {"ours": round(ours["env_steps_per_sec"] * ours["physics_steps"]), "mujoco": round(float(theirs["physics"]))}}
    if args.per_observation:
        line["shift"], line["ratio"] = np.round(shift, 2).tolist(), np.round(ratio, 2).tolist()
    print(json.dumps(line), flush=True)
