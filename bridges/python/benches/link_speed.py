"""A step through `SurefootEnv` of an environment that another process serves, beside the same environment called
directly and messages of the same lengths over a plain TCP socket: Python on both sides.

python link_speed.py ENV_ID STEPS
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from surefoot_gym import SurefootEnv
from surefoot_gym.codec import HEADER_BYTES
from surefoot_gym.server import EnvSettings

ROUNDS = 5


def microseconds(count: int, call: Callable[[], object]) -> list[float]:
    """How long each call takes."""
    took = []
    for _ in range(count):
        began = time.perf_counter_ns()
        call()
        took.append((time.perf_counter_ns() - began) / 1000)
    return took


class Tcp:
    """A socket whose other side, a process of its own, answers `up` bytes by `down` bytes."""

    def __init__(self, up: int, down: int) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        code = (
            "import socket, sys\n"
            "port, up, down = map(int, sys.argv[1:])\n"
            "far = socket.create_connection(('127.0.0.1', port))\n"
            "far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)\n"
            "reply = bytes(down)\n"
            "while far.recv(up, socket.MSG_WAITALL): far.sendall(reply)\n"
        )
        port = listener.getsockname()[1]
        self.process = subprocess.Popen([sys.executable, "-c", code, str(port), str(up), str(down)])
        self.near = listener.accept()[0]
        self.near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request, self.down = bytes(up), down

    def exchange(self) -> None:
        self.near.sendall(self.request)
        self.near.recv(self.down, socket.MSG_WAITALL)

    def close(self) -> None:
        self.near.close()
        self.process.wait()


def main() -> None:
    env_id, steps = sys.argv[1], int(sys.argv[2])
    serve = [sys.executable, "-m", "surefoot_gym", "serve", env_id, "--listen", "tcp/127.0.0.1:0", "--exit-with-stdin"]
    server = subprocess.Popen(serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    told = json.loads(server.stdout.readline())  # type: ignore[union-attr]
    direct = EnvSettings(env_id).make()
    found: dict[str, list[float]] = {"link": [], "direct": [], "tcp": []}
    with SurefootEnv(env_id, told["endpoint"]) as linked:
        observations, actions = linked.observation_space.shape[0], linked.action_space.shape[0]
        up, down = HEADER_BYTES + 4 + 4 * actions, HEADER_BYTES + 16 + 4 * (observations + actions)
        tcp = Tcp(up, down)
        rng = np.random.default_rng(0)
        for what, env in (("link", linked), ("direct", direct)) * ROUNDS:
            env.reset(seed=0)

            def step(env=env) -> None:
                ends = env.step(rng.uniform(-1, 1, actions).astype(np.float32))
                if ends[2] or ends[3]:
                    env.reset(seed=0)

            found[what] += microseconds(steps // ROUNDS, step)
            found["tcp"] += microseconds(steps // ROUNDS // 2, tcp.exchange)
        tcp.close()
    server.kill()
    p50 = {what: statistics.median(took) for what, took in found.items()}
    for what, took in found.items():
        deciles = statistics.quantiles(took, n=10)
        print(f"{what:8} p50 {p50[what]:.0f} us (p10 {deciles[0]:.0f}, p90 {deciles[-1]:.0f})")
    print(f"overhead {p50['link'] - p50['direct']:.0f} us; {up} bytes up, {down} down")


if __name__ == "__main__":
    main()
