"""Gymnasium environments, served in lockstep: they wait for actions, and nothing happens between two messages."""

from __future__ import annotations

import json
import os
import platform
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module, metadata
from typing import Any

import gymnasium as gym
import numpy as np
import zenoh

from . import codec, session, spaces
from .codec import Header, Kind, Refusal
from .errors import Malformed, Unsupported

_INBOX = 64


class _Refuse(Exception):
    def __init__(self, refusal: Refusal, sentence: str) -> None:
        super().__init__(sentence)
        self.refusal = refusal


@dataclass
class _Client:
    identity: bytes
    worlds: list[int]
    seq: int
    replies: zenoh.Publisher


@dataclass
class EnvSettings:
    """What `gymnasium.make` is called with, and what the environment does not say of itself."""

    env_id: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    max_steps: int | None = None
    step_secs: float | None = None

    def make(self) -> gym.Env[Any, Any]:
        """One environment."""
        known = gym.envs.registry
        if self.env_id not in known and ":" not in self.env_id:
            try:
                gym.register_envs(import_module("gymnasium_robotics"))
            except ImportError:
                pass
        limit = {} if self.max_steps is None else {"max_episode_steps": self.max_steps}
        return gym.make(self.env_id, **{**self.kwargs, **limit})


def describe(env: gym.Env[Any, Any], settings: EnvSettings) -> dict[str, Any]:
    """The environment's part of the description, or an `Unsupported` that says what is in the way."""
    limit = env.spec.max_episode_steps if env.spec is not None else None
    if limit is None:
        raise Unsupported(f"{settings.env_id} has no limit of steps: give one with --max-steps (max_steps = N)")
    secs = settings.step_secs
    if secs is None:
        dt = getattr(env.unwrapped, "dt", None)
        fps = (env.metadata or {}).get("render_fps")
        secs = float(dt) if dt else 1.0 / float(fps) if fps else None
    if secs is None or not (np.isfinite(secs) and secs > 0.0):
        raise Unsupported(f"{settings.env_id} does not say its period: give it with --step-secs (step_secs = X)")
    return {
        "name": settings.env_id,
        "observation": spaces.observation_fields(env.observation_space),
        "action": spaces.ActionScale(env.action_space).fields,
        "step_secs": float(secs),
        "max_steps": int(limit),
        "reward_range": None,
        "contract_hash": None,
    }


def _notes(env: gym.Env[Any, Any], spec: dict[str, Any]) -> list[str]:
    notes = ["no safety chain stands between the policy and this environment: its actions are cut to their bounds only"]
    dtype = env.observation_space.dtype
    if dtype is not None and dtype != np.float32:
        notes.append(f"observations are {dtype} in the environment and float32 here")
    elif isinstance(env.observation_space, gym.spaces.Dict):
        notes.append("a Dict of observations is one row of float32 here, in the order of its keys")
    if any("low" not in f or "high" not in f for f in spec["observation"]):
        notes.append("observations are unbounded")
    return notes


def _software() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("surefoot-gym", "eclipse-zenoh", "gymnasium", "gymnasium-robotics", "mujoco", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


class Server:
    """`worlds` environments behind one id."""

    def __init__(
        self,
        settings: EnvSettings,
        worlds: int,
        *,
        listen: Sequence[str] = ("tcp/127.0.0.1:0",),
        connect: Sequence[str] = (),
        name: str | None = None,
        namespace: str = session.NAMESPACE,
    ) -> None:
        self.name = name or settings.env_id
        keys = session.Keys(namespace, self.name)
        self._keys = keys
        self._envs = [settings.make() for _ in range(worlds)]
        first = self._envs[0]
        self._env_id = settings.env_id
        spec = describe(first, settings)
        self._scale = spaces.ActionScale(first.action_space)
        self._write = spaces.observation_writer(first.observation_space)
        self._sizes = codec.Sizes(len(spec["observation"]), len(spec["action"]), worlds, False)
        self._running = [False] * worlds
        self._clients: list[_Client] = []
        self._gone: deque[str] = deque()
        # Replies of every number of rows are made in place.
        self._replies = [np.zeros(n, dtype=self._sizes.step) for n in range(worlds + 1)]

        # Sixteen bytes that no other server has; what they are made of is nobody's business.
        self.identity = os.urandom(16)
        self.description = {
            "protocol": codec.PROTOCOL,
            "server": self.identity.hex(),
            "software": _software(),
            "worlds": worlds,
            "robot": False,
            "notes": _notes(first, spec),
            "spec": spec,
        }
        described = json.dumps(self.description, allow_nan=False).encode()
        longest = max(len(described), self._sizes.longest_message)
        self.session = session.serve(listen, connect, longest)
        self.endpoints = session.locators(self.session) if listen else list(connect)
        self._requests = self.session.declare_subscriber(keys.request, zenoh.handlers.FifoChannel(_INBOX))
        self._tokens = self.session.liveliness().declare_subscriber(
            keys.client + "*", self._token_changed, history=True
        )
        self._spec = self.session.declare_queryable(keys.spec, lambda query: query.reply(keys.spec, described))
        self._token = self.session.liveliness().declare_token(keys.server + self.identity.hex())

    def close(self) -> None:
        """Ends the session and the environments."""
        self.session.close()  # type: ignore[no-untyped-call]
        for env in self._envs:
            env.close()

    def run(self) -> None:
        """Answers requests for ever."""
        for sample in self._requests:
            self.answer(sample.payload.to_bytes())

    def _token_changed(self, sample: zenoh.Sample) -> None:
        if sample.kind == zenoh.SampleKind.DELETE:
            self._gone.append(str(sample.key_expr).rsplit("/", 1)[-1])

    def answer(self, message: bytes) -> None:
        """Answers one request."""
        try:
            header, body = codec.split(message)
        except Malformed:
            # Whoever sends something without a readable header cannot be answered.
            return
        try:
            reply = self._carry_out(header, body)
        except _Refuse as refusal:
            reply = codec.refuse(header, self.identity, refusal.refusal, str(refusal))
        except (Malformed, Unsupported) as error:
            reply = codec.refuse(header, self.identity, Refusal.MALFORMED, str(error))
        client = self._client(header.client)
        if client is None:
            self.session.put(self._keys.reply + header.client.hex(), reply)
        else:
            client.replies.put(reply)
            if header.kind is Kind.CLOSE:
                self._forget(client)

    def _client(self, identity: bytes) -> _Client | None:
        for client in self._clients:
            if client.identity == identity:
                return client
        return None

    def _forget(self, client: _Client) -> None:
        self._clients.remove(client)
        client.replies.undeclare()  # type: ignore[no-untyped-call]
        self._drop_episodes(client)

    def _drop_episodes(self, client: _Client) -> None:
        for world in client.worlds:
            self._running[world] = False

    def _carry_out(self, header: Header, body: memoryview) -> bytes:
        if header.kind is Kind.OPEN:
            worlds = np.array(self._take(header), dtype=self._sizes.opened)
            return self._begin(header, Kind.OPENED, len(worlds)) + worlds.tobytes()
        if header.server != self.identity:
            raise _Refuse(Refusal.OTHER_SERVER, "this server was started after the request's")
        client = self._client(header.client)
        if client is None:
            raise _Refuse(Refusal.UNKNOWN_CLIENT, "the client has no worlds: it is to open first")
        if header.seq != client.seq + 1:
            raise _Refuse(Refusal.OUT_OF_ORDER, f"request {header.seq}: expected number {client.seq + 1}")
        client.seq = header.seq
        if header.kind is Kind.STEP:
            return self._begin(header, Kind.DID_STEP, header.rows) + self._step(client, header, body)
        if header.kind is Kind.RESET:
            return self._begin(header, Kind.DID_RESET, header.rows) + self._reset(client, header, body)
        if header.kind is Kind.CLOSE:
            return self._begin(header, Kind.CLOSED, 0)
        raise _Refuse(Refusal.MALFORMED, "a reply was sent as a request")

    def _begin(self, request: Header, kind: Kind, rows: int) -> bytes:
        return Header(kind, rows, request.client, self.identity, request.seq).pack()

    def _take(self, header: Header) -> list[int]:
        """Gives worlds; a client that asks again, because its first messages went unheard, is told what it has."""
        while self._gone:
            name = self._gone.popleft()
            for gone in [c for c in self._clients if c.identity.hex() == name]:
                self._forget(gone)
        client = self._client(header.client)
        if client is not None:
            return client.worlds
        taken = {world for c in self._clients for world in c.worlds}
        worlds = [world for world in range(len(self._envs)) if world not in taken][: header.rows]
        if not worlds:
            raise _Refuse(
                Refusal.BUSY,
                f"all {len(self._envs)} worlds of {self.name} are taken, by {len(self._clients)} clients"
                "\n\nhint: serve more worlds, or start another server with an id of its own",
            )
        replies = self.session.declare_publisher(self._keys.reply + header.client.hex(), **session.QOS)
        self._clients.append(_Client(header.client, worlds, header.seq, replies))
        return worlds

    def _own(self, client: _Client, worlds: list[int]) -> None:
        for world in worlds:
            if world not in client.worlds:
                raise Malformed(f"world {world} is not one of the client's")

    def _guarded(self, client: _Client, world: int, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except Exception as error:
            # Which worlds were stepped is not known to the client: none of its episodes goes on.
            self._drop_episodes(client)
            sentence = f"world {world}: {call.__name__} raised {type(error).__name__}: {error}"
            raise _Refuse(Refusal.WORLD_FAILED, sentence) from error

    def _reset(self, client: _Client, header: Header, body: memoryview) -> bytes:
        rows, text = self._sizes.resets(header.rows, body)
        worlds = self._sizes.worlds_of(rows)
        self._own(client, worlds)
        try:
            options = json.loads(text) if text else None
        except ValueError as error:
            raise Malformed(f"reset options: expected JSON, {error}") from error
        if options is not None and not isinstance(options, dict):
            raise Malformed("reset options: expected a JSON object")
        reply = np.zeros(len(worlds), dtype=self._sizes.observation)
        for i, world in enumerate(worlds):
            self._running[world] = False
            seed = int(rows["seed"][i])
            observation, _ = self._guarded(client, world, self._envs[world].reset, seed=seed, options=options)
            reply["world"][i] = world
            self._write(observation, reply["observation"][i])
            self._running[world] = True
        return reply.tobytes()

    def _step(self, client: _Client, header: Header, body: memoryview) -> bytes:
        rows = self._sizes.rows("step", self._sizes.action, header.rows, body)
        worlds = self._sizes.worlds_of(rows)
        self._own(client, worlds)
        for world in worlds:
            if not self._running[world]:
                raise _Refuse(Refusal.OUT_OF_ORDER, f"world {world} is in no episode: it is to be reset first")
        executed = self._scale.bounded(rows["action"])
        reply = self._replies[len(worlds)]
        reply["world"] = worlds
        reply["executed"] = executed
        observations, rewards, flags = reply["observation"], reply["reward"], reply["flags"]
        for i, world in enumerate(worlds):
            action = self._scale.scaled(executed[i])
            observation, reward, terminated, truncated, info = self._guarded(
                client, world, self._envs[world].step, action
            )
            self._write(observation, observations[i])
            rewards[i] = reward
            success = info.get("success", info.get("is_success"))
            flag = (codec.TERMINATED if terminated else 0) | (codec.TRUNCATED if truncated else 0)
            if success is not None:
                flag |= codec.SUCCESS_KNOWN | (codec.SUCCESS if success else 0)
            flags[i] = flag
            if terminated or truncated:
                self._running[world] = False
        return reply.tobytes()
