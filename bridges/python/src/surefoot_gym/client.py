"""surefoot's environments as a `gymnasium.Env`, over a link to `surefoot serve-env`."""

from __future__ import annotations

import json
import math
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import zenoh

from . import codec, session
from .codec import Header, Kind, Refusal
from .errors import EnvLost, LockstepError, Malformed, Refused, Unsupported

_RETRY_SECS = 0.1
#: Between two looks for the reply to the first request.
_LOOK_SECS = 0.002
#: How often a reply that is due is looked for, on the side.
_WATCH_SECS = 0.25
_INBOX = 16


class _Watch:
    """Ends a wait that zenoh cannot end by itself: when the server has gone, or a reply is not there in time.

    A channel of zenoh hands a message from its receiving thread to the waiting one without Python in between, but takes
    no timeout; so the channel's subscriber is taken away instead.
    """

    def __init__(self, subscriber: zenoh.Subscriber[Any], reply_secs: float) -> None:
        self._subscriber = subscriber
        self._reply_secs = reply_secs
        self._over = threading.Event()
        self._ending = threading.Lock()
        self.reason = "the link is closed"
        #: Until when a reply is waited for, by `time.monotonic`.
        self.deadline = math.inf
        threading.Thread(target=self._watch, daemon=True, name="surefoot-gym-watch").start()

    def _watch(self) -> None:
        while not self._over.wait(_WATCH_SECS):
            if time.monotonic() > self.deadline:
                self.end(f"no reply within {self._reply_secs} s")

    def end(self, reason: str) -> None:
        """Ends every wait from now on."""
        with self._ending:
            if self._over.is_set():
                return
            self.reason = reason
            self._over.set()
        self._subscriber.undeclare()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Ends with the session."""
        self._over.set()


class _Link:
    """One world of a server."""

    def __init__(self, endpoints: Sequence[str], keys: session.Keys, connect_secs: float, reply_secs: float) -> None:
        self.reply_secs = reply_secs
        self.identity = os.urandom(16)
        self._seq = 0
        deadline = time.monotonic() + connect_secs
        try:
            self._session = session.connect(endpoints, connect_secs)
        except zenoh.ZError as error:
            raise EnvLost(f"no server at {', '.join(endpoints)}: {error}") from error
        replies = self._session.declare_subscriber(keys.reply + self.identity.hex(), zenoh.handlers.FifoChannel(_INBOX))
        self._heard = replies.handler
        self._watch = _Watch(replies, reply_secs)
        try:
            self.described = self._ask(keys, deadline)
            self._token = self._session.liveliness().declare_token(keys.client + self.identity.hex())
            self._server_token = self._session.liveliness().declare_subscriber(
                keys.server + self.described["server"], self._server_changed, history=True
            )
            self._request = self._session.declare_publisher(keys.request, **session.QOS)
            spec = self.described["spec"]
            self.sizes = codec.Sizes(
                len(spec["observation"]), len(spec["action"]), int(self.described["worlds"]), self.described["robot"]
            )
            self.server = bytes(16)
            self.world = self._take(deadline)
        except BaseException:
            self.drop()
            raise

    def _server_changed(self, sample: zenoh.Sample) -> None:
        if sample.kind == zenoh.SampleKind.DELETE:
            self._watch.end("its server has gone")

    def _ask(self, keys: session.Keys, deadline: float) -> dict[str, Any]:
        while True:
            for reply in self._session.get(keys.spec, timeout=1.0):
                if reply.ok is not None:
                    described: dict[str, Any] = json.loads(reply.ok.payload.to_bytes())
                    if described.get("protocol") != codec.PROTOCOL:
                        raise Refused(f"protocol: expected {codec.PROTOCOL}, found {described.get('protocol')}")
                    return described
            if time.monotonic() >= deadline:
                raise EnvLost(f"nobody answers on {keys.spec}; start it with `surefoot serve-env NAME`")

    def _take(self, deadline: float) -> int:
        """Asks for a world until it is heard: the first messages may be lost while keys are being matched."""
        self._seq += 1
        reply, asked = None, -math.inf
        while reply is None:
            now = time.monotonic()
            if now >= deadline:
                raise EnvLost("the server does not answer")
            if now >= asked + _RETRY_SECS:
                self._send(Kind.OPEN, 1, b"")
                asked = now
            try:
                sample = self._heard.try_recv()
            except zenoh.ZError:
                raise EnvLost(self._watch.reason) from None
            if sample is None:
                time.sleep(_LOOK_SECS)
            else:
                reply = self._read(sample, Kind.OPENED)
        header, body = reply
        self.server = header.server
        return int(self.sizes.rows("opened", self.sizes.opened, header.rows, body)[0])

    def _send(self, kind: Kind, rows: int, body: bytes) -> None:
        self._request.put(Header(kind, rows, self.identity, self.server, self._seq).pack() + body)

    def exchange(self, kind: Kind, body: bytes, expected: Kind) -> tuple[Header, memoryview]:
        """One request and its reply."""
        self._seq += 1
        self._send(kind, 1, body)
        watch = self._watch
        watch.deadline = time.monotonic() + self.reply_secs
        while True:
            try:
                sample = self._heard.recv()
            except zenoh.ZError:
                raise EnvLost(watch.reason) from None
            reply = self._read(sample, expected)
            if reply is not None:
                watch.deadline = math.inf
                return reply

    def _read(self, sample: zenoh.Sample, expected: Kind) -> tuple[Header, memoryview] | None:
        """What a message says; `None` where it is not the reply that is due."""
        header, body = codec.split(sample.payload.to_bytes())
        if header.client != self.identity or header.seq != self._seq:
            return None
        if header.kind is Kind.REFUSED:
            self._watch.deadline = math.inf
            sentence = codec.text("refusal", body)
            lost = header.rows in (Refusal.OTHER_SERVER, Refusal.UNKNOWN_CLIENT)
            raise (EnvLost if lost else Refused)(sentence)
        if header.kind is not expected:
            raise Malformed(f"expected {expected.name}, found {header.kind.name}")
        return header, body

    def drop(self) -> None:
        """Ends the session."""
        self._watch.close()
        self._session.close()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Gives the world back."""
        self._seq += 1
        self._send(Kind.CLOSE, 0, b"")
        self.drop()


def _box(fields: list[dict[str, Any]]) -> gym.spaces.Box:
    """Numbers; of a choice it is the index."""
    low = np.array([0 if "choices" in f else f.get("low", -np.inf) for f in fields], dtype=np.float32)
    high = np.array([f["choices"] - 1 if "choices" in f else f.get("high", np.inf) for f in fields], dtype=np.float32)
    return gym.spaces.Box(low, high, dtype=np.float32)


def _action_space(fields: list[dict[str, Any]]) -> gym.spaces.Box | gym.spaces.MultiDiscrete:
    """Quantities are normalised to [-1, 1], choices are indices."""
    if all("choices" in f for f in fields):
        return gym.spaces.MultiDiscrete([f["choices"] for f in fields])
    if any("choices" in f for f in fields):
        raise Unsupported("actions of which some are choices and some are quantities")
    return gym.spaces.Box(-1.0, 1.0, (len(fields),), np.float32)


class SurefootEnv(gym.Env[npt.NDArray[np.float32], npt.NDArray[np.float32]]):
    """A surefoot environment.

    Actions are normalised to [-1, 1], or indices where they are choices; `info["executed"]` is what the safety chain
    let through. `reset(seed=n)` gives the same episode under the same actions as the environment in surefoot itself. An
    episode that the server's end interrupted raises `EnvLost`; the next `reset` looks for the server again.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        env: str,
        endpoint: str,
        *,
        namespace: str = session.NAMESPACE,
        connect_secs: float = 30.0,
        reply_secs: float = 60.0,
    ) -> None:
        self._where = ([endpoint], session.Keys(namespace, env), connect_secs, reply_secs)
        self._process: subprocess.Popen[bytes] | None = None
        self._link: _Link | None = None
        link = self._connected()
        spec = link.described["spec"]
        self.described = link.described
        self.max_steps: int = spec["max_steps"]
        self.observation_space = _box(spec["observation"])  # type: ignore[assignment]
        self.action_space = _action_space(spec["action"])  # type: ignore[assignment]

    @classmethod
    def spawn(cls, env: str, program: str | Sequence[str] = "surefoot", **kwargs: Any) -> SurefootEnv:
        """Starts `surefoot serve-env` for an environment of that name; it ends with this object."""
        command = [program] if isinstance(program, str) else list(program)
        command += ["serve-env", env, "--listen", "tcp/127.0.0.1:0", "--exit-with-stdin", "--json"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            process.wait()
            raise EnvLost(f"`{' '.join(command)}` ended before it listened; what it said is above")
        try:
            made = cls(env, json.loads(line)["endpoint"], **kwargs)
        except BaseException:
            process.kill()
            process.wait()
            raise
        made._process = process
        return made

    def _connected(self) -> _Link:
        if self._link is None:
            self._link = _Link(*self._where)
        return self._link

    def _exchange(self, link: _Link, kind: Kind, body: bytes, expected: Kind) -> tuple[Header, memoryview]:
        try:
            return link.exchange(kind, body, expected)
        except EnvLost:
            self._link = None
            link.drop()
            raise

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Starts an episode; without a seed, one is drawn from `np_random`."""
        super().reset(seed=seed)
        if seed is None:
            seed = int(self.np_random.integers(1 << 63))
        link = self._connected()
        if link.described["spec"] != self.described["spec"]:
            raise LockstepError("the environment that came back is another one")
        row = np.zeros(1, dtype=link.sizes.reset)
        row["world"], row["seed"] = link.world, seed
        text = json.dumps(options).encode() if options else b""
        codec.check_text("reset options", text)
        body = row.tobytes() + text
        header, reply = self._exchange(link, Kind.RESET, body, Kind.DID_RESET)
        rows = link.sizes.rows("reset reply", link.sizes.observation, header.rows, reply)
        return rows["observation"][0].copy(), {}

    def step(
        self, action: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Takes one action."""
        link = self._link
        if link is None:
            raise EnvLost("the episode was lost: reset first")
        row = np.zeros(1, dtype=link.sizes.action)
        row["world"], row["action"] = link.world, action
        header, reply = self._exchange(link, Kind.STEP, row.tobytes(), Kind.DID_STEP)
        rows = link.sizes.rows("step reply", link.sizes.step, header.rows, reply)
        flags = int(rows["flags"][0])
        info: dict[str, Any] = {"executed": rows["executed"][0].copy()}
        if flags & codec.SUCCESS_KNOWN:
            info["success"] = bool(flags & codec.SUCCESS)
        if link.sizes.robot:
            robot = {name: rows[name][0].item() for name in codec.ROBOT_FIGURES}
            if np.isnan(robot["energy_joules"]):
                robot["energy_joules"] = None
            info["robot"] = robot
        return (
            rows["observation"][0].copy(),
            float(rows["reward"][0]),
            bool(flags & codec.TERMINATED),
            bool(flags & codec.TRUNCATED),
            info,
        )

    def close(self) -> None:
        """Gives the world back, and ends the process that `spawn` started."""
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None
