"""One AWAC update beside the same update of other programs, in turn, on one core and on two: medians and ratios.

    cargo build --release -p surefoot-policies --example update_speed
    python policies/benches/compare/awac_update.py --ours target/release/examples/update_speed --peer PEER.py [--peer PEER.py] [--rounds 3]

A peer is a Python program that takes `--obs --act --hidden --batch --threads --secs` and prints a JSON line with `updates_per_s`. It runs in this
Python. Programs of a one-core comparison are pinned to one core, whatever threads they start; those of a comparison on two cores are not.
The machine has to be idle: `scaling` says how fast two pinned copies of ours are together, beside one alone, which is what two threads can reach.
Prints one JSON object for each shape (ratios above 1: ours is faster), and one for the scaling.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--ours", required=True)
parser.add_argument("--peer", action="append", default=[])
parser.add_argument("--obs", default="39")
parser.add_argument("--act", default="28")
parser.add_argument("--hidden", default="256,256")
parser.add_argument("--batches", default="256,1024")
parser.add_argument("--threads", default="1,2")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--secs", default="5")
args = parser.parse_args()
CORES = sorted(os.sched_getaffinity(0))


def start(program: list[str], batch: str, threads: str, core: int | None) -> subprocess.Popen:
    """The program, confined to `core` where one is given."""
    flags = {"obs": args.obs, "act": args.act, "hidden": args.hidden, "batch": batch, "threads": threads}
    command = [*program, *(part for key, value in flags.items() for part in (f"--{key}", value)), "--secs", args.secs]
    confine = (lambda: os.sched_setaffinity(0, {core})) if core is not None else None
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=confine)


def result(process: subprocess.Popen) -> dict:
    out, _ = process.communicate()
    if process.returncode:
        sys.exit(f"{process.args} ended with {process.returncode}")
    return json.loads(out.strip().splitlines()[-1])


programs = {"surefoot": [args.ours]}
programs.update({os.path.basename(p).removesuffix(".py"): [sys.executable, p] for p in args.peer})
for threads in args.threads.split(","):
    for batch in args.batches.split(","):
        core = CORES[-1] if threads == "1" else None
        found: dict[str, list[dict]] = {name: [] for name in programs}
        for _ in range(args.rounds):
            for name, program in programs.items():
                found[name].append(result(start(program, batch, threads, core)))
        rates = {name: statistics.median(r["updates_per_s"] for r in runs) for name, runs in found.items()}
        line = {"batch": int(batch), "threads": int(threads), "updates_per_s": rates}
        line["ratio"] = {n: round(rates["surefoot"] / r, 2) for n, r in rates.items() if n != "surefoot"}
        line["share_of_sgemm"] = statistics.median(r["share_of_sgemm"] for r in found["surefoot"])
        print(json.dumps(line), flush=True)
for batch in args.batches.split(","):
    alone, together = [], []
    for _ in range(args.rounds):
        alone.append(result(start(programs["surefoot"], batch, "1", CORES[-1]))["updates_per_s"])
        pair = [start(programs["surefoot"], batch, "1", core) for core in CORES[-2:]]
        together.append(sum(result(p)["updates_per_s"] for p in pair))
    both = statistics.median(together)
    print(json.dumps({"batch": int(batch), "scaling": round(both / statistics.median(alone), 2), "two_copies": both}))
