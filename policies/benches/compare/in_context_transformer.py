"""Training and acting of the in-context transformer beside the same model in JAX, compiled, in one run.

The model of `policies/src/in_context`: one token for each step (two choices of 9, five moves, a reward, the episode's step), pre-norm
blocks, banded causal attention with ALiBi and a sink, ReLU, cross-entropy at all positions, AdamW. JAX computes all scores of a
segment and masks them, and is compiled once with donated buffers; its batch is ready in memory, ours draws its windows.

    cargo build --release -p surefoot-policies --example in_context_speed
    python policies/benches/compare/in_context_transformer.py --ours target/release/examples/in_context_speed [--threads 1] [--secs 20]

Prints one JSON object for each shape, with ratios (above 1: ours is faster).
"""

import argparse
import json
import os
import subprocess

parser = argparse.ArgumentParser()
parser.add_argument("--ours", required=True)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--secs", type=float, default=20.0)
parser.add_argument("--shapes", default="32:2:128:80:64,64:4:256:80:64")
parser.add_argument("--what", default="train,act")
args = parser.parse_args()
if args.threads == 1:
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # One core for both programs: XLA has more pools than flags for them.
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})

import time  # noqa: E402

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

LAYERS = 4


def init(key, d, ff):
    def normal(*shape, scale):
        nonlocal key
        key, k = jax.random.split(key)
        return scale * jax.random.normal(k, shape)

    block = lambda: {  # noqa: E731
        "n1": (jnp.ones(d), jnp.zeros(d)),
        "qkv": (normal(d, 3 * d, scale=d**-0.5), jnp.zeros(3 * d)),
        "sink": (normal(d, scale=0.5), normal(d, scale=0.02)),
        "out": (normal(d, d, scale=d**-0.5 / 2.8), jnp.zeros(d)),
        "n2": (jnp.ones(d), jnp.zeros(d)),
        "up": (normal(d, ff, scale=(2 / d) ** 0.5), jnp.zeros(ff)),
        "down": (normal(ff, d, scale=ff**-0.5 / 2.8), jnp.zeros(d)),
    }
    return {
        "x": normal(9, d, scale=0.3),
        "y": normal(9, d, scale=0.3),
        "move": normal(5, d, scale=0.3),
        "reward": normal(2, d, scale=0.3),
        "step": normal(20, d, scale=0.3),
        "blocks": [block() for _ in range(LAYERS)],
        "norm": (jnp.ones(d), jnp.zeros(d)),
        "head": (normal(d, 5, scale=0.1 * d**-0.5), jnp.zeros(5)),
    }


def norm(p, x):
    c = x - x.mean(-1, keepdims=True)
    return c * jax.lax.rsqrt((c * c).mean(-1, keepdims=True) + 1e-5) * p[0] + p[1]


def slopes(heads):
    return 2.0 ** (-8.0 * jnp.arange(1, heads + 1) / heads)


def forward(p, batch, heads, window):
    x = p["x"][batch["x"]] + p["y"][batch["y"]] + p["move"][batch["move"]] + p["step"][batch["step"]]
    x = x + batch["reward"][..., None] * p["reward"][0] + p["reward"][1]
    b, t, d = x.shape
    age = jnp.arange(t)[:, None] - jnp.arange(t)[None, :]
    bias = jnp.where((age >= 0) & (age < window), -slopes(heads)[:, None, None] * age, -1e30)
    for blk in p["blocks"]:
        qkv = norm(blk["n1"], x) @ blk["qkv"][0] + blk["qkv"][1]
        q, k, v = (a.reshape(b, t, heads, -1).transpose(0, 2, 1, 3) for a in jnp.split(qkv, 3, -1))
        scale = (d // heads) ** -0.5
        s = q @ k.transpose(0, 1, 3, 2) * scale + bias
        sk, sv = (a.reshape(heads, -1) for a in blk["sink"])
        sink = jnp.einsum("bhtc,hc->bht", q, sk)[..., None] * scale
        w = jax.nn.softmax(jnp.concatenate([s, sink], -1), -1)
        a = w[..., :-1] @ v + w[..., -1:] * sv[None, :, None, :]
        x = x + a.transpose(0, 2, 1, 3).reshape(b, t, d) @ blk["out"][0] + blk["out"][1]
        h = jax.nn.relu(norm(blk["n2"], x) @ blk["up"][0] + blk["up"][1])
        x = x + h @ blk["down"][0] + blk["down"][1]
    return norm(p["norm"], x) @ p["head"][0] + p["head"][1]


def update_of(heads, window):
    def loss(p, batch):
        logits = jax.nn.log_softmax(forward(p, batch, heads, window))
        return -jnp.take_along_axis(logits, batch["target"][..., None], -1).mean()

    def update(p, m, v, t, batch):
        value, g = jax.value_and_grad(loss)(p, batch)
        length = jnp.sqrt(sum(jnp.sum(x * x) for x in jax.tree.leaves(g)))
        g = jax.tree.map(lambda x: x * jnp.minimum(1.0, 1.0 / length), g)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g * g, v, g)
        c1, c2 = 1 - 0.9**t, 1 - 0.99**t
        p = jax.tree.map(lambda p, m, v: p * (1 - 1e-5) - 1e-3 * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), p, m, v)
        return p, m, v, t + 1, value

    return jax.jit(update, donate_argnums=(0, 1, 2))


def train(d, heads, ff, window, batch):
    rng, t = np.random.default_rng(0), 2 * window
    draw = lambda n: jnp.asarray(rng.integers(0, n, (batch, t)))  # noqa: E731
    data = {"x": draw(9), "y": draw(9), "move": draw(5), "step": draw(20), "target": draw(5)}
    data["reward"] = jnp.asarray(rng.integers(0, 2, (batch, t)), jnp.float32)
    p = init(jax.random.PRNGKey(0), d, ff)
    m = jax.tree.map(jnp.zeros_like, p)
    v = jax.tree.map(jnp.zeros_like, p)
    update = update_of(heads, window)
    p, m, v, k, value = update(p, m, v, jnp.float32(1), data)
    value.block_until_ready()
    begin, cpu, n = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begin < args.secs:
        p, m, v, k, value = update(p, m, v, k, data)
        value.block_until_ready()
        n += 1
    return {
        "tokens_per_wall_s": n * batch * t / (time.perf_counter() - begin),
        "tokens_per_cpu_s": n * batch * t / (time.process_time() - cpu),
    }


def act(d, heads, ff, window):
    """One token over a ring cache, compiled, with donated caches."""
    p = init(jax.random.PRNGKey(0), d, ff)

    def step(p, keys, values, position, x, y, move, reward):
        slot = position % window
        age = (slot - jnp.arange(window)) % window
        bias = jnp.where(age <= position, -slopes(heads)[:, None] * age, -1e30)
        h = p["x"][x] + p["y"][y] + p["move"][move] + p["step"][position % 20] + reward * p["reward"][0] + p["reward"][1]
        for i, blk in enumerate(p["blocks"]):
            q, k, v = jnp.split(norm(blk["n1"], h) @ blk["qkv"][0] + blk["qkv"][1], 3)
            keys = keys.at[i, :, slot].set(k.reshape(heads, -1))
            values = values.at[i, :, slot].set(v.reshape(heads, -1))
            q, scale = q.reshape(heads, -1), (d // heads) ** -0.5
            s = jnp.einsum("hc,hwc->hw", q, keys[i]) * scale + bias
            sk, sv = (a.reshape(heads, -1) for a in blk["sink"])
            w = jax.nn.softmax(jnp.concatenate([s, (q * sk).sum(-1, keepdims=True) * scale], -1), -1)
            a = jnp.einsum("hw,hwc->hc", w[:, :-1], values[i]) + w[:, -1:] * sv
            h = h + a.reshape(-1) @ blk["out"][0] + blk["out"][1]
            u = jax.nn.relu(norm(blk["n2"], h) @ blk["up"][0] + blk["up"][1])
            h = h + u @ blk["down"][0] + blk["down"][1]
        logits = norm(p["norm"], h) @ p["head"][0] + p["head"][1]
        return keys, values, position + 1, logits

    step = jax.jit(step, donate_argnums=(1, 2))
    keys = jnp.zeros((LAYERS, heads, window, d // heads))
    values, position = jnp.zeros_like(keys), jnp.int32(0)
    times = []
    for i in range(3000 + window):
        begin = time.perf_counter()
        keys, values, position, logits = step(p, keys, values, position, i % 9, i % 7, i % 5, 0.5)
        logits.block_until_ready()
        times.append(time.perf_counter() - begin)
    times = np.array(times[window:]) * 1e6
    return {"p50": float(np.percentile(times, 50)), "p99": float(np.percentile(times, 99))}


for shape in args.shapes.split(","):
    d, heads, ff, window, batch = map(int, shape.split(":"))
    model = ["--width", d, "--heads", heads, "--feed_forward", ff, "--window", window, "--batch", batch]
    run = lambda what, *more: json.loads(  # noqa: E731
        subprocess.run(
            [args.ours, "--what", what, *map(str, model), *map(str, more)], check=True, capture_output=True
        ).stdout
    )
    report = {"width": d, "heads": heads, "feed_forward": ff, "window": window, "batch": batch}
    if "train" in args.what:
        # Twice each, in turn: on a busy machine the better of both.
        ours = [run("train", "--secs", args.secs, "--threads", args.threads)]
        theirs = [train(d, heads, ff, window, batch)]
        ours.append(run("train", "--secs", args.secs, "--threads", args.threads))
        theirs.append(train(d, heads, ff, window, batch))
        key = "tokens_per_cpu_s" if args.threads == 1 else "tokens_per_wall_s"
        a, b = (max(r[key] for r in rows) for rows in (ours, theirs))
        report["train"] = {"unit": key, "ours": round(a), "jax": round(b), "ratio": round(a / b, 2)}
    if "act" in args.what:
        a, b = run("act")["micros"], act(d, heads, ff, window)
        ratio = round(b["p50"] / a["p50"], 2)
        report["act_micros"] = {"ours": {k: round(a[k], 1) for k in ("p50", "p99")}, "jax": b, "ratio_p50": ratio}
    print(json.dumps(report), flush=True)
