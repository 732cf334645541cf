from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest


class Serving:
    """A server of a Gymnasium environment in a process of its own."""

    def __init__(self, env_id: str, *args: str) -> None:
        command = [sys.executable, "-m", "surefoot_gym", "serve", env_id, "--listen", "tcp/127.0.0.1:0"]
        self.process = subprocess.Popen(
            [*command, "--exit-with-stdin", *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"{env_id} was not served"
        told = json.loads(line)
        self.endpoint: str = told["endpoint"]
        self.notes: list[str] = told["notes"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def serving() -> Iterator[type]:
    servers: list[Serving] = []

    def start(env_id: str, *args: str) -> Serving:
        servers.append(Serving(env_id, *args))
        return servers[-1]

    yield start  # type: ignore[misc]
    for server in servers:
        server.kill()
