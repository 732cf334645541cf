"""python -m surefoot_gym serve ENV_ID: an environment of Gymnasium for surefoot."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from typing import Any

from .errors import Unsupported
from .server import EnvSettings, Server
from .session import NAMESPACE


def _kwargs(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("expected a JSON object, as in '{\"max_episode_steps\": 100}'")
    return value


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m surefoot_gym", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser("serve", help="serve environments in lockstep until interrupted")
    serve.add_argument("env_id", help="id in Gymnasium's registry, as HalfCheetah-v5")
    serve.add_argument("--envs", type=int, default=1, help="environments in this process, stepped one after the other")
    serve.add_argument("--listen", action="append", help="zenoh endpoint; port 0 lets the system choose")
    serve.add_argument("--connect", action="append", default=[], help="router to meet clients at, instead of --listen")
    serve.add_argument("--id", help="id in keys; the environment's by default")
    serve.add_argument("--namespace", default=NAMESPACE, help="first part of the keys")
    serve.add_argument("--kwargs", type=_kwargs, default={}, help="further arguments of gymnasium.make, a JSON object")
    serve.add_argument("--max-steps", type=int, help="steps after which an episode is truncated")
    serve.add_argument("--step-secs", type=float, help="time between two actions, where the environment does not say")
    serve.add_argument("--exit-with-stdin", action="store_true", help="end when standard input does")
    return parser.parse_args(argv)


def _exit_with_stdin() -> None:
    sys.stdin.buffer.read()
    # Nothing is kept that could be lost, and the link's other end notices.
    os._exit(0)


def main(argv: list[str] | None = None) -> int:
    """Runs the verb; prints one line of JSON when it listens."""
    args = _arguments(argv)
    # zenoh's receiving threads wake each other; one is enough here. zenoh reads this when a session opens.
    os.environ.setdefault("ZENOH_RUNTIME", "(rx: (worker_threads: 1))")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Standard output is that one line; what an environment prints goes elsewhere.
    out, sys.stdout = sys.stdout, sys.stderr
    settings = EnvSettings(args.env_id, args.kwargs, args.max_steps, args.step_secs)
    if not 1 <= args.envs <= 1024:
        print(f"error: --envs {args.envs}: expected 1 to 1024", file=sys.stderr)
        return 2
    listen = args.listen or ([] if args.connect else ["tcp/127.0.0.1:7451"])
    try:
        server = Server(
            settings,
            args.envs,
            listen=listen,
            connect=args.connect,
            name=args.id,
            namespace=args.namespace,
        )
    except Unsupported as error:
        print(f"error: {args.env_id} cannot be served: {error}", file=sys.stderr)
        return 1
    line = {
        "event": "serving",
        "endpoint": next(iter(server.endpoints), ""),
        "id": server.name,
        "worlds": args.envs,
        "notes": server.description["notes"],
    }
    print(json.dumps(line), file=out, flush=True)
    if args.exit_with_stdin:
        threading.Thread(target=_exit_with_stdin, daemon=True).start()
    try:
        server.run()
    except KeyboardInterrupt:
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
