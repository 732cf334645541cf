"""Reads datasets that surefoot wrote with h5py and holds them against the documented layout.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install h5py numpy
    /tmp/venv/bin/python datasets/tests/h5py_reads.py FILE...

Exit code 1 and one line per fault when a file is not as it should be. The layout is that of datasets/src/writer.rs, a superset of
robomimic's: what its loaders rely on (names, num_samples, total, env_args, masks, shapes, types) is checked here without it.
"""

import json
import sys

import h5py
import numpy as np


def check(path):
    """The faults of a file; one that cannot be opened or lacks a part is one, too."""
    try:
        return faults_of(path)
    except (OSError, KeyError, ValueError) as error:
        return [f"{path}: {error}"]


def history_faults(path, f):
    """The faults of a file of learning histories (datasets/src/history/mod.rs)."""
    faults = []

    def expect(truth, what):
        if not truth:
            faults.append(f"{path}: {what}")

    spec = json.loads(f.attrs["env_spec_json"])
    o, a = len(spec["observation"]), len(spec["action"])
    expect(isinstance(f.attrs["env_family"], str), "texts")
    expect(f.attrs["version"] == 1 and (f.attrs["obs_dim"], f.attrs["action_dim"]) == (o, a), "root attributes")
    json.loads(f.attrs["collect_json"])
    ids = set()
    for name, task in f["tasks"].items():
        ids.add(int(name))
        expect(task.attrs["split"] in ("train", "test_in", "test_ood"), f"split of task {name}")
        expect(task.attrs["random_return"] < task.attrs["optimal_return"], f"references of task {name}")
        expect(task["params"].ndim == 1, f"params of task {name}")
    expect(sorted(int(n) for n in f["histories"]) == list(range(len(f["histories"]))), "names 0, 1, ...")
    for name, h in f["histories"].items():
        n, e = int(h.attrs["n_steps"]), int(h.attrs["n_episodes"])
        expect(int(h.attrs["task_id"]) in ids, f"task of {name}")
        json.loads(h.attrs["algo_config_json"])
        shapes = {"obs": (n, o), "action": (n, a), "final_obs": (e, o), "ep_start": (e,), "ep_len": (e,), "ep_return": (e,)}
        shapes |= {k: (n,) for k in ("reward", "terminated", "truncated", "episode", "step", "update", "phase")}
        for key, shape in shapes.items():
            expect(h[key].shape == shape, f"{name}/{key} has shape {h[key].shape}")
        starts, lengths, reward = h["ep_start"][:], h["ep_len"][:], h["reward"][:]
        ends = (h["terminated"][:] | h["truncated"][:]).nonzero()[0]
        expect(np.array_equal(starts + lengths - 1, ends), f"{name}: episodes and their ends")
        returns = [reward[s : s + k].sum() for s, k in zip(starts.astype(int), lengths)]
        expect(np.allclose(returns, h["ep_return"][:], atol=1e-4), f"{name}/ep_return")
        expect((np.diff(h["update"][:].astype(np.int64)) >= 0).all(), f"{name}/update")
    return faults


def faults_of(path):
    faults = []

    def expect(truth, what):
        if not truth:
            faults.append(f"{path}: {what}")

    with h5py.File(path, "r") as f:
        if f.attrs.get("format") == "icrl-history":
            return faults + history_faults(path, f)
        if "observations" in f:
            return faults + flat_faults(path, f)
    with h5py.File(path, "r", swmr=True, libver="latest") as f:
        expect(f.attrs.get("schema") == "surefoot-robomimic/1", "attribute schema")
        data = f["data"]
        env = json.loads(data.attrs["env_args"])
        expect({"env_name", "type", "env_kwargs"} <= set(env) and isinstance(env["type"], int), "env_args")
        spec = json.loads(data.attrs["env_spec"])
        names, units = list(data.attrs["action_names"]), list(data.attrs["action_units"])
        expect(names == [a["name"] for a in spec["action"]], "action_names")
        expect(units == [a["unit"] for a in spec["action"]], "action_units")
        expect(all(isinstance(n, str) for n in names), "names are text")
        o, a = len(spec["observation"]), len(spec["action"])
        # robomimic takes the number behind "demo_".
        demos = sorted(data, key=lambda n: int(n[5:]))
        expect(demos == [f"demo_{i}" for i in range(len(demos))], "names demo_0, demo_1, ...")
        total = 0
        for name in demos:
            demo = data[name]
            n = int(demo.attrs["num_samples"])
            total += n
            arrays = {
                "actions": ((n, a), np.float32),
                "obs/flat": ((n, o), np.float32),
                "next_obs/flat": ((n, o), np.float32),
                "rewards": ((n,), np.float32),
                "dones": ((n,), np.int64),
                "terminations": ((n,), np.bool_),
                "truncations": ((n,), np.bool_),
            }
            if "actions_proposed" in demo:
                arrays["actions_proposed"] = ((n, a), np.float32)
            for key, (shape, dtype) in arrays.items():
                d = demo[key]
                expect(d.shape == shape and d.dtype == dtype, f"{name}/{key}: {d.shape} {d.dtype}")
                expect(np.asarray(d[()]).nbytes == np.prod(shape) * np.dtype(dtype).itemsize, f"{name}/{key} reads")
            ends = demo["terminations"][()] | demo["truncations"][()]
            expect(np.array_equal(demo["dones"][()] != 0, ends), f"{name}/dones = terminations | truncations")
            expect(ends[-1] and not ends[:-1].any(), f"{name} ends once, at its last step")
            expect(not (demo["terminations"][()] & demo["truncations"][()]).any(), f"{name} ends in one way")
        expect(int(data.attrs["total"]) == total, "total")
        for mask in f.get("mask", {}):
            members = f["mask"][mask]
            expect(members.dtype.kind == "S", f"mask/{mask} is fixed-length text")
            expect(all(m.decode("ascii") in demos for m in members), f"mask/{mask} names demos")
    if not faults:
        print(f"ok: {path}: {len(demos)} demos, {total} steps")
    return faults


def flat_faults(path, f):
    """The faults of a D4RL file, which is written without the help of a library (datasets/src/flat.rs)."""
    faults = []
    n, o = f["observations"].shape
    a = f["actions"].shape[1]
    arrays = {
        "observations": ((n, o), np.float32),
        "next_observations": ((n, o), np.float32),
        "actions": ((n, a), np.float32),
        "rewards": ((n,), np.float32),
        "terminals": ((n,), np.bool_),
        "timeouts": ((n,), np.bool_),
    }
    if sorted(f) != sorted([*arrays, "metadata"]):
        faults.append(f"{path}: holds {sorted(f)}")
    for key, (shape, dtype) in arrays.items():
        d = f[key]
        if d.shape != shape or d.dtype != dtype or d.chunks is not None or d[()].shape != shape:
            faults.append(f"{path}: {key}: {d.shape} {d.dtype}")
    if not isinstance(f["metadata/env"][()], bytes):
        faults.append(f"{path}: metadata/env is no text")
    ends = f["terminals"][()] | f["timeouts"][()]
    if not ends[-1]:
        faults.append(f"{path}: the last episode has no end")
    if not faults:
        print(f"ok: {path}: {int(ends.sum())} episodes, {n} steps, flat")
    return faults


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: h5py_reads.py FILE...")
    found = [fault for path in sys.argv[1:] for fault in check(path)]
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    sys.exit(1 if found else 0)
