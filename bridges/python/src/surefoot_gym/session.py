"""zenoh sessions for lockstep: nothing is scouted, every endpoint is named."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import zenoh

NAMESPACE = "surefoot"
_MAX_MESSAGE_BYTES = 1 << 28
# bridges/src/lockstep/session.rs says why.
_MAX_WHOLE_BYTES = 30_000
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")

#: How requests and replies travel: at once, never dropped.
QOS: dict[str, Any] = {
    "congestion_control": zenoh.CongestionControl.BLOCK,
    "priority": zenoh.Priority.INTERACTIVE_HIGH,
    "express": True,
}


class Keys:
    """The keys of one environment."""

    def __init__(self, namespace: str, name: str) -> None:
        for what, part in (("namespace", namespace), ("id", name)):
            if not _PLAIN.fullmatch(part):
                raise ValueError(f"{what} = {part!r}: expected letters, digits, '-', '_' and '.'")
        base = f"{namespace}/env/{name}"
        self.spec = f"{base}/spec"
        self.request = f"{base}/request"
        self.reply = f"{base}/reply/"
        self.server = f"{base}/@server/"
        self.client = f"{base}/@client/"


# Whoever sends writes to the socket itself; zenoh agrees on it where both sides want it.
_LOW_LATENCY: dict[str, Any] = {"transport/unicast/qos/enabled": False, "transport/unicast/lowlatency": True}


def _open(settings: dict[str, Any]) -> zenoh.Session:
    config = zenoh.Config()
    plain = {
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": False,
        "listen/endpoints": [],
        "transport/link/rx/max_message_size": _MAX_MESSAGE_BYTES,
    }
    for key, value in {**plain, **settings}.items():
        config.insert_json5(key, json.dumps(value))
    return zenoh.open(config)


def connect(endpoints: Sequence[str], timeout_secs: float) -> zenoh.Session:
    """A client's session, connected to one of the endpoints in time."""
    return _open(
        {
            **_LOW_LATENCY,
            "mode": "client",
            "connect/endpoints": list(endpoints),
            "connect/timeout_ms": int(timeout_secs * 1000),
            "connect/exit_on_failure": True,
        }
    )


def serve(listen: Sequence[str], routers: Sequence[str], longest_message: int) -> zenoh.Session:
    """A server's session; none of its messages is longer than that, bytes."""
    return _open(
        {
            **(_LOW_LATENCY if longest_message <= _MAX_WHOLE_BYTES else {}),
            "mode": "peer" if listen else "client",
            "listen/endpoints": list(listen),
            "connect/endpoints": list(routers),
            "adminspace/enabled": True,
        }
    )


def locators(session: zenoh.Session) -> list[str]:
    """Where a session listens, with the ports that the system chose."""
    for reply in session.get(f"@/{session.info.zid()}/peer", timeout=10.0):
        if reply.ok is not None:
            return list(json.loads(reply.ok.payload.to_bytes())["locators"])
    return []
