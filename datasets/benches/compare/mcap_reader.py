"""MCAP with ROS 2 messages: surefoot beside the Python reader with ROS 2 decoding, same file, same run, best of three.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install mcap mcap-ros2-support rosbags numpy
    cargo build --release -p surefoot-datasets --example log_speed
    /tmp/venv/bin/python datasets/benches/compare/mcap_reader.py [MINUTES] [zstd|lz4|none]

The log: joint states of seven joints at 500 Hz, trajectories at 50 Hz, a joystick, an effort sensor.
"""

import math
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer
from mcap_ros2.decoder import DecoderFactory
from rosbags.typesys import Stores, get_typestore

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..", "..")
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
JOINTS = [f"joint{i}" for i in range(1, 8)]

IMPORT = """
[import]
action_shift = "next"
episodes = { split = { gap_secs = 1.0 } }
[[import.observation]]
name = "{}_position"
topic = "/joint_states"
align = { strategy = "asof", tolerance_ms = 20.0, timeline = "header" }
select = ["position.*"]
unit = "rad"
[[import.action]]
name = "{}_target"
topic = "/trajectory"
align = { strategy = "hold", timeline = "receive" }
select = ["points[0].positions.*"]
unit = "rad"
definition = "commanded"
bounds = "position"
"""


def make(path, minutes, compression):
    store = get_typestore(Stores.ROS2_JAZZY)
    t = store.types
    schemas, channels = {}, {}
    with open(path, "wb") as f:
        writer = Writer(f, compression=compression)
        writer.start(profile="ros2")

        def write(topic, nanos, message):
            kind = message.__msgtype__
            if kind not in schemas:
                text, _ = store.generate_msgdef(kind, ros_version=2)
                schemas[kind] = writer.register_schema(kind, "ros2msg", text.encode())
            if topic not in channels:
                channels[topic] = writer.register_channel(topic, "cdr", schemas[kind])
            writer.add_message(channels[topic], nanos, bytes(store.serialize_cdr(message, kind)), nanos)

        rng = np.random.default_rng(0)
        vector = lambda: t["geometry_msgs/msg/Vector3"](*rng.normal(size=3))
        for i in range(int(minutes * 60 * 500)):
            nanos = 1_700_000_000 * 10**9 + i * 2_000_000
            stamp = t["builtin_interfaces/msg/Time"](sec=nanos // 10**9, nanosec=nanos % 10**9)
            head = t["std_msgs/msg/Header"](stamp=stamp, frame_id="base")
            q = np.array([math.sin(0.001 * i + j) for j in range(7)]) + rng.normal(size=7) * 1e-4
            write("/joint_states", nanos, t["sensor_msgs/msg/JointState"](head, JOINTS, q, q * 0.1, q * 3.0))
            if i % 5 == 0:
                wrench = t["geometry_msgs/msg/Wrench"](vector(), vector())
                write("/wrench", nanos, t["geometry_msgs/msg/WrenchStamped"](head, wrench))
            if i % 10 == 0:
                none = np.zeros(0)
                span = t["builtin_interfaces/msg/Duration"](0, 20_000_000)
                point = t["trajectory_msgs/msg/JointTrajectoryPoint"](q, none, none, none, span)
                write("/trajectory", nanos, t["trajectory_msgs/msg/JointTrajectory"](head, JOINTS, [point]))
                joy = t["sensor_msgs/msg/Joy"](head, np.zeros(6, np.float32), np.zeros(12, np.int32))
                write("/joy", nanos, joy)
        writer.finish()


def contract(path):
    limits = 'unit = "rad"\nmin_position = -2.0\nmax_position = 2.0\nmax_velocity = 2.0\nmax_acceleration = 10.0\n'
    joints = "".join(f'[[joints]]\nname = "{name}"\n{limits}' for name in JOINTS)
    with open(path, "w") as f:
        f.write(f'name = "bench"\ncontrol_hz = 500.0\npolicy_hz = 20.0\n{joints}{IMPORT}')


def python(path):
    best = math.inf
    for _ in range(3):
        start = time.perf_counter()
        with open(path, "rb") as f:
            count = sum(1 for _ in make_reader(f, decoder_factories=[DecoderFactory()]).iter_decoded_messages())
        best = min(best, time.perf_counter() - start)
    return count, best


if __name__ == "__main__":
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    kind = sys.argv[2] if len(sys.argv) > 2 else "zstd"
    with tempfile.TemporaryDirectory() as directory:
        log, robot = os.path.join(directory, "log.mcap"), os.path.join(directory, "robot.toml")
        make(log, minutes, CompressionType[kind.upper()])
        contract(robot)
        size = os.path.getsize(log) / 1e6
        print(f"{size:.1f} MB, {kind}")
        ours = subprocess.run(
            [os.path.join(TARGET, "release", "examples", "log_speed"), log, robot],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        print(ours, end="")
        count, secs = python(log)
        print(f"{'python':8} {count:8} messages  {secs:8.3f} s  {size / secs:8.1f} MB/s  {count / secs / 1e3:8.1f} k messages/s")
        for line in ours.splitlines():
            words = line.split()
            print(f"{words[0]}: {secs / float(words[3]):.0f} x the Python reader's speed")
