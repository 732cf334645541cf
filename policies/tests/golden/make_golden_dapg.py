"""Two natural policy gradient steps with demonstrations (DAPG) in float64, written from the equations and independent of the Rust code: gradients and the
Jacobian of the mean are complex-step derivatives, and the Fisher matrix is built whole (make_golden.py has the parts). Writes dapg.json beside this file.

    python3 make_golden_dapg.py        (needs numpy)
"""
import json
import os

import numpy as np

from make_golden import ACT, ACTOR, DISCOUNT, HIDDEN, MARGIN, OBS, Adam, actor_log_std, actor_mean, gradient, log_prob, mlp, network, norm, rounded, single

FRESH, DEMONSTRATED = 12, 4
VALUE = dict(hidden=HIDDEN, learning_rate=2e-2, epochs=2, batch=64)
CASES = [
    dict(gae_lambda=0.9, kl_step=0.02, damping=0.3, conjugate_gradient_steps=3, demonstration_weight=0.5, demonstration_decay=0.7),
    dict(gae_lambda=0.0, kl_step=0.1, damping=0.3, conjugate_gradient_steps=2, demonstration_weight=0.0, demonstration_decay=1.0),
]


def flat(p):
    return np.concatenate([p[k].ravel() for k in sorted(p)])


def advantages(case, batch, v, next_v):
    out, beyond = np.zeros(FRESH), 0.0
    for t in reversed(range(FRESH)):
        delta = batch["reward"][DEMONSTRATED + t] + DISCOUNT * batch["continuation"][DEMONSTRATED + t] * next_v[t] - v[t]
        beyond = delta + DISCOUNT * case["gae_lambda"] * (1 - batch["last"][t]) * beyond
        out[t] = beyond
    return out


def jacobian(p, s):
    """d mean / d theta, [rows, action, parameters]."""
    h, columns = 1e-30, []
    for name in sorted(p):
        for i in np.ndindex(p[name].shape):
            q = {k: v.astype(complex) for k, v in p.items()}
            q[name][i] += 1j * h
            columns.append(actor_mean(q, s).imag / h)
    return np.stack(columns, 2)


def fisher(p, s):
    j, precision = jacobian(p, s), np.exp(-2 * actor_log_std(p))
    matrix = np.einsum("nap,a,naq->pq", j, precision, j) / len(s)
    h, at = 1e-30, 0
    for name in sorted(p):
        if name.endswith("log_std_parameter"):
            for i in range(p[name].size):
                q = {k: v.astype(complex) for k, v in p.items()}
                q[name][i] += 1j * h
                matrix[at + i, at + i] += 2 * (actor_log_std(q).imag[i] / h) ** 2
        at += p[name].size
    return matrix


def conjugate_gradient(a, b, steps):
    x, r = np.zeros_like(b), b.copy()
    d, square = r.copy(), r @ r
    for _ in range(steps):
        if square < 1e-10:
            break
        step = square / (d @ a @ d)
        x, r = x + step * d, r - step * a @ d
        d, square = r + (r @ r) / square * d, r @ r
    return x


def divergence(old, new, s):
    m, n, t, u = actor_mean(old, s), actor_mean(new, s), actor_log_std(old), actor_log_std(new)
    return (u - t + (np.exp(2 * t) + (m - n) ** 2) / (2 * np.exp(2 * u)) - 0.5).sum(1).mean()


def make(index, case):
    rng = np.random.default_rng(500 + index)
    actor = dict(network(rng, "actor", [OBS, *HIDDEN, ACT], False), **{"actor/log_std_parameter": single(0.5 * rng.normal(size=ACT) + 3.0)})
    value, adam = network(rng, "value", [OBS, *HIDDEN, 1], False), Adam(VALUE["learning_rate"])
    mean, std = single(rng.normal(size=OBS)), single(0.5 + rng.random(OBS))
    out = dict(case=case, normalizer=rounded(dict(mean=mean, std=std)), before=rounded({**actor, **value}), updates=[])
    values = lambda p, s: mlp(p, "value", s)[:, 0]
    for k in range(2):
        n = FRESH + DEMONSTRATED
        batch = dict(observation=single(rng.normal(size=(n, OBS))), next_observation=single(rng.normal(size=(n, OBS))),
                     action=single(0.7 * rng.normal(size=(n, ACT))), reward=single(-rng.random(n)), continuation=np.ones(n),
                     last=np.array([0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1.0]))
        batch["continuation"][DEMONSTRATED + 3] = 0.0
        s, s2 = (batch["observation"] - mean) / std, (batch["next_observation"] - mean) / std
        a = np.clip(batch["action"], -(1 - MARGIN), 1 - MARGIN)
        fresh = s[DEMONSTRATED:]
        v = values(value, fresh)
        advantage = advantages(case, batch, v, values(value, s2[DEMONSTRATED:]))
        returns = advantage + v
        whitened = (advantage - advantage.mean()) / (advantage.std() + 1e-6)
        weight = case["demonstration_weight"] * case["demonstration_decay"] ** k * max(whitened.max(), 0)
        w = np.concatenate([np.full(DEMONSTRATED, weight), whitened])
        loss = lambda p: -(w * log_prob(p, s, a)).mean()
        g = gradient(loss, actor)
        matrix = fisher(actor, fresh) + case["damping"] * np.eye(flat(actor).size)
        x = conjugate_gradient(matrix, flat(g), case["conjugate_gradient_steps"])
        step = np.sqrt(2 * case["kl_step"] / (flat(g) @ x))
        old, at = dict(actor), 0
        metrics = {"train/actor_loss": loss(actor), "train/actor_gradient_norm": norm(g), "train/log_likelihood": log_prob(actor, s, a).mean()}
        for name in sorted(actor):
            size = actor[name].size
            actor[name] = actor[name] - step * x[at:at + size].reshape(actor[name].shape)
            at += size
        losses = []
        for _ in range(VALUE["epochs"]):
            value_loss = lambda p: ((values(p, fresh) - returns) ** 2).mean()
            losses.append(value_loss(value))
            adam.step(value, gradient(value_loss, value))
        log_std = actor_log_std(actor)
        metrics.update({"train/advantage_mean": advantage.mean(), "train/advantage_std": advantage.std(), "train/kl": divergence(old, actor, fresh),
                        "train/step_size": step, "train/halvings": 0, "train/demonstration_weight": weight, "train/value_loss": np.mean(losses),
                        "train/value_explained": 1 - advantage.var() / returns.var(),
                        "train/entropy": (log_std + 0.5 * np.log(2 * np.pi * np.e)).sum(), "train/std_mean": np.exp(log_std).mean()})
        out["updates"].append(dict(batch=rounded(batch), metrics=rounded(metrics)))
    out["after"] = rounded({**actor, **value})
    return out


if __name__ == "__main__":
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dapg.json")
    with open(path, "w") as f:
        head = dict(obs=OBS, act=ACT, discount=DISCOUNT, demo_action_margin=MARGIN, value=VALUE, hidden=HIDDEN)
        json.dump(dict(head=head, cases=[make(i, c) for i, c in enumerate(CASES)]), f, separators=(",", ":"))
        f.write("\n")
