"""Reads a run's event files with TensorBoard's own reader and compares every point with metrics.jsonl.

    pip install tensorboard
    python runtime/engine/tests/tensorboard_equals_metrics.py RUN

Not part of the tests, because it needs Python and TensorBoard. Holds for runs that were never interrupted.
"""

import json
import pathlib
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def as_f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


run = pathlib.Path(sys.argv[1])
events = EventAccumulator(str(run / "tb"), size_guidance={"scalars": 0})
events.Reload()
lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
phases = ("offline", "online")
baselines = sorted({line["stage"] for line in lines if not line["stage"].startswith(phases)})
points = 0
for tag in events.Tags()["scalars"]:
    owner = next((b for b in baselines if tag.startswith(b + "/")), None)
    name = tag.removeprefix(f"{owner}/") if owner else tag
    if name.startswith("perf/") or name == "env_steps":
        continue  # wall-clock figures and the second x-axis are not in metrics.jsonl
    belongs = [line for line in lines if (line["stage"] == owner if owner else line["stage"].startswith(phases))]
    expected = [(line["updates"], as_f32(line[name])) for line in belongs if name in line]
    found = [(s.step, s.value) for s in events.Scalars(tag)]
    assert found == expected, f"{tag}: {len(found)} points, expected {len(expected)}"
    points += len(found)
print(f"{points} points are equal")
