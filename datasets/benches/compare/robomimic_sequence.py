"""Loading a robomimic file: surefoot beside h5py and beside robomimic's SequenceDataset in memory mode, same file, same run, best of three.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install h5py numpy tqdm termcolor && /tmp/venv/bin/pip install --no-deps robomimic
    cargo build --release -p surefoot-datasets --example load_speed
    /tmp/venv/bin/python datasets/benches/compare/robomimic_sequence.py [MEGABYTES] [FILE.hdf5]

robomimic's own SequenceDataset is run, from PyPI (0.3.0). Where torch is not installed, three empty modules stand in for what it imports:
the class uses torch for its base class alone, and everything it does with a file is h5py and numpy. hdf5_cache_mode is "low_dim", which
keeps all low-dimensional arrays in memory; "all" would keep every window that was asked for as well. Every side is given the same keys.

* load: from the path to every number in memory. h5py reads each array with [()]; surefoot makes transitions of them (load_speed);
  SequenceDataset is what its constructor takes.
* items: windows of 10 steps drawn at random, one at a time, as a torch loader without workers asks for them; surefoot draws windows of 16
  (sample_speed, 256 at a time, all rows resident).
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
import types

import h5py
import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
KEYS = {"robot0_joint_pos": 7, "robot0_joint_vel": 7, "robot0_eef_pos": 3, "robot0_gripper_qpos": 2, "object": 14}
ACTIONS, STEPS = 7, 300


def make(path, megabytes):
    rng = np.random.default_rng(0)
    row = (2 * sum(KEYS.values()) + ACTIONS) * 4 + 16
    demos = max(1, int(megabytes * 1e6 / (row * STEPS)))
    with h5py.File(path, "w") as f:
        data = f.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {}})
        data.attrs["total"] = demos * STEPS
        for i in range(demos):
            demo = data.create_group(f"demo_{i}")
            demo.attrs["num_samples"] = STEPS
            demo["actions"] = rng.uniform(-1, 1, (STEPS, ACTIONS)).astype("f4")
            demo["rewards"] = np.eye(STEPS)[-1]
            demo["dones"] = np.eye(STEPS, dtype=np.int64)[-1]
            for key, width in KEYS.items():
                track = rng.normal(size=(STEPS + 1, width)).astype("f4")
                demo[f"obs/{key}"], demo[f"next_obs/{key}"] = track[:-1], track[1:]


def best(run, times=3):
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        kept = run()
        seconds.append(time.perf_counter() - begin)
        del kept
    return min(seconds)


def with_h5py(path):
    arrays = {}
    with h5py.File(path, "r") as f:
        f["data"].visititems(lambda name, x: arrays.__setitem__(name, x[()]) if isinstance(x, h5py.Dataset) else None)
    return arrays


def sequence_dataset_class():
    try:
        import torch  # noqa: F401
        import torch.utils.data  # noqa: F401

        with_torch = "torch"
    except ImportError:
        names = ["torch", "torch.utils", "torch.utils.data", "torch.nn", "torch.nn.functional"]
        modules = {name: types.ModuleType(name) for name in names}
        modules["torch.utils.data"].Dataset = object
        modules["torch"].Tensor = type("Tensor", (), {})
        modules["torch"].utils, modules["torch.utils"].data = modules["torch.utils"], modules["torch.utils.data"]
        modules["torch"].nn, modules["torch.nn"].functional = modules["torch.nn"], modules["torch.nn.functional"]
        sys.modules.update(modules)
        with_torch = "no torch: empty modules in its place"
    import robomimic
    import robomimic.utils.obs_utils as obs
    from robomimic.utils.dataset import SequenceDataset

    obs.initialize_obs_modality_mapping_from_dict({"low_dim": list(KEYS)})
    print(f"robomimic {robomimic.__version__} ({with_torch}), h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}")
    return SequenceDataset


def surefoot(example, *arguments):
    program = os.path.join(TARGET, "release", "examples", example)
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=True).stdout


def main():
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 200
    directory = tempfile.TemporaryDirectory()
    path = sys.argv[2] if len(sys.argv) > 2 else os.path.join(directory.name, "lift.hdf5")
    if not os.path.exists(path):
        make(path, megabytes)
    size = os.path.getsize(path) / 1e6
    SequenceDataset = sequence_dataset_class()

    def dataset():
        return SequenceDataset(
            hdf5_path=path, obs_keys=list(KEYS), dataset_keys=["actions", "rewards", "dones"], seq_length=10,
            hdf5_cache_mode="low_dim", hdf5_use_swmr=False, load_next_obs=True,
        )  # fmt: skip

    h5py_secs = best(lambda: with_h5py(path))
    robomimic_secs = best(dataset)
    ours = json.loads(surefoot("load_speed", path).splitlines()[-1])["seconds"]
    print(f"{size:.0f} MB, {os.cpu_count()} processors")
    for name, secs in [("surefoot", ours), ("h5py [()]", h5py_secs), ("SequenceDataset", robomimic_secs)]:
        print(f"load  {name:16} {secs:8.3f} s  {size / secs:8.1f} MB/s  {secs / ours:6.1f} x surefoot's time")

    kept = dataset()
    draw = random.Random(0)
    indices = [draw.randrange(len(kept)) for _ in range(20_000)]
    items = len(indices) / best(lambda: [kept[i] for i in indices] and None)
    print(f"items SequenceDataset  {items:10.0f} windows of 10 steps a second")
    rows = os.path.join(directory.name, "rows")
    print("items surefoot        ", surefoot("sample_speed", path, rows, 1 << 14).strip())


if __name__ == "__main__":
    main()
