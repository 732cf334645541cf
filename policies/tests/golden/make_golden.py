"""Two AWAC updates in float64, written from the equations and independent of the Rust code: gradients are complex-step derivatives
of the losses, so that no backward pass is shared or even exists here. Writes awac.json beside this file.

    python3 make_golden.py        (needs numpy)
"""
import json
import os

import numpy as np

OBS, ACT, BATCH, HIDDEN = 3, 2, 7, [5, 4]
MIN_LOG_STD, MAX_LOG_STD = -6.0, 0.0
ACTOR = dict(learning_rate=1e-2, weight_decay=1e-2, average_rate=0.1)
CRITIC = dict(learning_rate=2e-2, target_rate=0.05)
DISCOUNT, MARGIN = 0.9, 1e-5

CASES = [
    dict(weight="softmax", temperature=0.5, critics=2, layer_norm=False, value_estimate={"policy_samples": 1}, q_clamp="off"),
    dict(weight="softmax", temperature=0.3, critics=2, layer_norm=True, value_estimate="mean_action", advantage_clip=0.05),
    dict(weight="exp", temperature=0.2, critics=2, layer_norm=True, value_estimate={"policy_samples": 3}, weight_clip=1.3),
    dict(weight="whiten", temperature=1.5, critics=3, layer_norm=True, value_estimate={"policy_samples": 1}),
    dict(weight="binary", temperature=1.0, critics=2, layer_norm=False, value_estimate={"policy_samples": 2}, q_clamp="off"),
    dict(weight="none", temperature=1.0, critics=1, layer_norm=True, value_estimate="mean_action"),
    dict(weight="softmax", temperature=1.0, critics=2, layer_norm=True, value_estimate={"policy_samples": 1}, advantage_q="first"),
]


def single(x):
    """Rounded to float32, kept as float64: both sides start from the same numbers."""
    return np.asarray(x, dtype=np.float32).astype(np.float64)


def network(rng, name, sizes, layer_norm):
    p = {}
    for i, (m, n) in enumerate(zip(sizes[:-1], sizes[1:])):
        p[f"{name}/layer{i}/weight"] = single(rng.normal(size=(n, m)) / np.sqrt(m))
        p[f"{name}/layer{i}/bias"] = single(rng.normal(size=n) * 0.1)
        if layer_norm and i < len(sizes) - 2:
            p[f"{name}/norm{i}/scale"] = single(1 + 0.3 * rng.normal(size=n))
            p[f"{name}/norm{i}/shift"] = single(0.3 * rng.normal(size=n))
    return p


def mlp(p, name, x):
    layers = len(HIDDEN) + 1
    for i in range(layers):
        x = x @ p[f"{name}/layer{i}/weight"].T + p[f"{name}/layer{i}/bias"]
        if i < layers - 1:
            if f"{name}/norm{i}/scale" in p:
                x = x - x.sum(1, keepdims=True) / x.shape[1]
                x = x / np.sqrt((x * x).sum(1, keepdims=True) / x.shape[1] + 1e-5)
                x = x * p[f"{name}/norm{i}/scale"] + p[f"{name}/norm{i}/shift"]
            x = np.where(x.real > 0, x, 0)
    return x


def actor_mean(p, obs):
    return np.tanh(mlp(p, "actor", obs))


def actor_log_std(p):
    sigmoid = 1 / (1 + np.exp(-p["actor/log_std_parameter"]))
    return MIN_LOG_STD + sigmoid * (MAX_LOG_STD - MIN_LOG_STD)


def log_prob(p, obs, act):
    s = actor_log_std(p)
    z = (act - actor_mean(p, obs)) / np.exp(s)
    return (-0.5 * z * z - s - 0.5 * np.log(2 * np.pi)).sum(1)


def q_values(p, count, obs, act):
    return np.stack([mlp(p, f"critic{j}", np.concatenate([obs, act], 1))[:, 0] for j in range(count)])


def gradient(loss, p):
    h, grads = 1e-30, {}
    for name in p:
        g = np.zeros_like(p[name])
        for i in np.ndindex(p[name].shape):
            q = {k: v.astype(complex) for k, v in p.items()}
            q[name][i] += 1j * h
            g[i] = loss(q).imag / h
        grads[name] = g
    return grads


class Adam:
    def __init__(self, rate, decay=0.0):
        self.rate, self.decay, self.t, self.m, self.v = rate, decay, 0, {}, {}

    def step(self, p, grads):
        self.t += 1
        for k in p:
            g = grads[k] + self.decay * p[k]
            self.m[k] = 0.9 * self.m.get(k, 0) + 0.1 * g
            self.v[k] = 0.999 * self.v.get(k, 0) + 0.001 * g * g
            m, v = self.m[k] / (1 - 0.9**self.t), self.v[k] / (1 - 0.999**self.t)
            p[k] = p[k] - self.rate * m / (np.sqrt(v) + 1e-8)


def weights(case, a):
    if "advantage_clip" in case:
        a = np.minimum(a, case["advantage_clip"])
    t, mode = case["temperature"], case["weight"]
    if mode == "softmax":
        e = np.exp(a / t)
        w = len(a) * e / e.sum()
    elif mode == "exp":
        w = np.exp(a / t)
    elif mode == "whiten":
        w = np.exp((a - a.mean()) / (np.sqrt(((a - a.mean()) ** 2).mean()) + 1e-5) / t)
    elif mode == "binary":
        w = (a > 0).astype(float)
    else:
        w = np.ones_like(a)
    return np.minimum(w, case.get("weight_clip", 100.0))


def norm(grads):
    return np.sqrt(sum((g * g).sum() for g in grads.values()))


def update(case, state, batch, noise):
    count = case["critics"]
    normal = lambda o: (o - state["mean"]) / state["std"]
    s, s2 = normal(batch["observation"]), normal(batch["next_observation"])
    a = np.clip(batch["action"], -(1 - MARGIN), 1 - MARGIN)
    std = np.exp(actor_log_std(state["actor"]))
    draw = lambda obs, n: np.clip(actor_mean(state["actor"], obs) + std * n, -1, 1)
    bounds = (-np.inf, np.inf) if case.get("q_clamp") == "off" else (min(-1, -1 / (1 - DISCOUNT)), 0.0)
    q_next = q_values(state["target"], count, s2, draw(s2, noise["next_action"])).min(0)
    y = np.clip(batch["reward"] + DISCOUNT * batch["continuation"] * q_next, *bounds)
    pick = (lambda q: q[0]) if case.get("advantage_q") == "first" else (lambda q: q.min(0))
    q = pick(q_values(state["critic"], count, s, a))
    if case["value_estimate"] == "mean_action":
        v = pick(q_values(state["critic"], count, s, actor_mean(state["actor"], s)))
    else:
        v = np.mean([pick(q_values(state["critic"], count, s, draw(s, n))) for n in noise["policy_action"]], 0)
    advantage = q - v
    w = weights(case, advantage)
    critic_loss = lambda p: sum(((q_values(p, count, s, a)[j] - y) ** 2).mean() for j in range(count))
    actor_loss = lambda p: -(w * log_prob(p, s, a)).mean()
    critic_gradient, actor_gradient = gradient(critic_loss, state["critic"]), gradient(actor_loss, state["actor"])
    log_std = actor_log_std(state["actor"])
    metrics = {
        "train/critic_loss": critic_loss(state["critic"]), "train/actor_loss": actor_loss(state["actor"]),
        "train/critic_gradient_norm": norm(critic_gradient), "train/actor_gradient_norm": norm(actor_gradient),
        "train/q_mean": q.mean(), "train/target_mean": y.mean(),
        "train/advantage_mean": advantage.mean(), "train/advantage_std": advantage.std(),
        "train/effective_sample_size": w.sum() ** 2 / (w * w).sum() / BATCH if w.any() else 0.0,
        "train/log_likelihood": log_prob(state["actor"], s, a).mean(),
    }
    state["critic_adam"].step(state["critic"], critic_gradient)
    state["actor_adam"].step(state["actor"], actor_gradient)
    for k in state["actor"]:
        state["average"][k] = state["average"][k] + ACTOR["average_rate"] * (state["actor"][k] - state["average"][k])
    for k in state["critic"]:
        state["target"][k] = state["target"][k] + CRITIC["target_rate"] * (state["critic"][k] - state["target"][k])
    log_std = actor_log_std(state["actor"])
    metrics["train/entropy"] = (log_std + 0.5 * np.log(2 * np.pi * np.e)).sum()
    metrics["train/std_mean"] = np.exp(log_std).mean()
    return metrics


def rounded(x, digits=9):
    if isinstance(x, dict):
        return {k: rounded(v, digits) for k, v in x.items()}
    if isinstance(x, list):
        return [rounded(v, digits) for v in x]
    if isinstance(x, np.ndarray):
        return [float(f"{v:.{digits}g}") for v in x.ravel()]
    return float(f"{x:.{digits}g}")


def make(index, case):
    rng = np.random.default_rng(100 + index)
    critics = range(case["critics"])
    net = lambda name, m, n, norm: network(rng, name, [m, *HIDDEN, n], norm)
    actor = net("actor", OBS, ACT, False)
    actor["actor/log_std_parameter"] = single(rng.normal(size=ACT))
    critic, target = ({k: v for j in critics for k, v in net(f"critic{j}", OBS + ACT, 1, case["layer_norm"]).items()} for _ in range(2))
    state = dict(
        actor=actor, average=dict(actor), critic=critic, target=target,
        actor_adam=Adam(ACTOR["learning_rate"], ACTOR["weight_decay"]), critic_adam=Adam(CRITIC["learning_rate"]),
        mean=single(rng.normal(size=OBS)), std=single(0.5 + rng.random(OBS)),
    )
    arrays = lambda: {
        **state["actor"], **{f"average/{k}": v for k, v in state["average"].items()},
        **state["critic"], **{f"target/{k}": v for k, v in state["target"].items()},
    }
    out = dict(case=case, normalizer=rounded(dict(mean=state["mean"], std=state["std"])), before=rounded(arrays()), updates=[])
    samples = 0 if case["value_estimate"] == "mean_action" else case["value_estimate"]["policy_samples"]
    for _ in range(2):
        batch = dict(
            observation=single(rng.normal(size=(BATCH, OBS))), next_observation=single(rng.normal(size=(BATCH, OBS))),
            # Some actions lie beyond the robot's range, as human demonstrations do.
            action=single(0.7 * rng.normal(size=(BATCH, ACT))), reward=single(-rng.random(BATCH)),
            # Rows 2 and 5 were terminated; row 6 was truncated and goes on.
            continuation=np.array([1.0, 1, 0, 1, 1, 0, 1]),
        )
        noise = dict(
            next_action=single(rng.normal(size=(BATCH, ACT))),
            policy_action=[single(rng.normal(size=(BATCH, ACT))) for _ in range(samples)],
        )
        metrics = update(case, state, batch, noise)
        out["updates"].append(dict(batch=rounded(batch), noise=rounded(noise), metrics=rounded(metrics)))
    out["after"] = rounded(arrays())
    return out


if __name__ == "__main__":
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "awac.json")
    head = dict(obs=OBS, act=ACT, batch=BATCH, hidden=HIDDEN, discount=DISCOUNT, actor=ACTOR, critic=CRITIC,
                min_log_std=MIN_LOG_STD, max_log_std=MAX_LOG_STD, demo_action_margin=MARGIN)
    with open(path, "w") as f:
        json.dump(dict(head=head, cases=[make(i, c) for i, c in enumerate(CASES)]), f, separators=(",", ":"))
        f.write("\n")
