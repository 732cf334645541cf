"""Golden numbers of the sources `dqn` and `a2c`, in float64: losses as their files state them, gradients by central differences of the loss.

    python3 policies/tests/golden/make_golden_sources.py > policies/tests/golden/sources.json
"""

import json

import numpy as np

INPUTS, HIDDEN = 4, 5


def forward(theta, x, outputs):
    sizes = [(INPUTS, HIDDEN), (HIDDEN, outputs)]
    at = 0
    for i, (n_in, n_out) in enumerate(sizes):
        weight = theta[at : at + n_in * n_out].reshape(n_in, n_out)
        bias = theta[at + n_in * n_out : at + n_in * n_out + n_out]
        at += n_in * n_out + n_out
        x = x @ weight + bias
        if i == 0:
            x = np.maximum(x, 0.0)
    return x


def parameters(outputs):
    return INPUTS * HIDDEN + HIDDEN + HIDDEN * outputs + outputs


def encode(rows):
    """One of three choices, and a quantity between 0 and 2."""
    out = np.zeros((len(rows), INPUTS))
    for i, (choice, x) in enumerate(rows):
        out[i, int(choice)] = 1.0
        out[i, 3] = x - 1.0
    return out


def gradient(loss, theta, h=1e-6):
    g = np.zeros_like(theta)
    for i in range(len(theta)):
        up, down = theta.copy(), theta.copy()
        up[i] += h
        down[i] -= h
        g[i] = (loss(up) - loss(down)) / (2 * h)
    return g


class Adam:
    def __init__(self, n, rate, epsilon, most):
        self.m, self.v, self.t = np.zeros(n), np.zeros(n), 0
        self.rate, self.epsilon, self.most = rate, epsilon, most

    def step(self, theta, g):
        norm = np.sqrt((g**2).sum())
        if norm > self.most:
            g = g * self.most / norm
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g**2
        m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        return theta - self.rate * m / (np.sqrt(v) + self.epsilon)


def dqn(double):
    actions, discount = 3, 0.8
    n = parameters(actions)
    theta = 0.5 * np.sin(1 + 0.7 * np.arange(n))
    target = 0.5 * np.cos(2.1 * np.arange(n))
    seen = [[0, 0.5], [1, 1.5], [2, 0.0], [0, 2.0]]
    after = [[1, 1.0], [2, 0.25], [0, 1.75], [1, 0.75]]
    action, reward, continuation = [0, 2, 1, 2], [1.0, 0.0, -3.0, 0.5], [1.0, 0.0, 1.0, 1.0]
    x, x2 = encode(seen), encode(after)
    adam = Adam(n, 0.01, 1e-8, 0.3)
    targets = []
    for _ in range(2):
        values = forward(target, x2, actions)
        choosing = forward(theta, x2, actions) if double else values
        best = values[np.arange(4), choosing.argmax(1)]
        y = np.array(reward) + discount * np.array(continuation) * best
        targets.append(y.tolist())

        def loss(theta):
            d = np.abs(forward(theta, x, actions)[np.arange(4), action] - y)
            return np.where(d <= 1, d**2 / 2, d - 0.5).mean()

        theta = adam.step(theta, gradient(loss, theta))
    return {
        "double": double,
        "seen": seen,
        "after": after,
        "action": action,
        "reward": reward,
        "continuation": continuation,
        "targets": targets,
        "theta": theta.tolist(),
    }


def a2c():
    choices, discount, lam, entropy, weight = [3, 2], 0.9, 0.7, 0.05, 0.5
    outputs = sum(choices) + 1
    n = parameters(outputs)
    theta = 0.4 * np.sin(2 + 0.9 * np.arange(n))
    rollouts = [
        {
            "seen": [[0, 0.5], [1, 1.5], [2, 0.0]],
            "after": [[1, 1.5], [0, 0.0], [2, 1.0]],
            "actions": [[0, 1], [2, 0], [1, 1]],
            "rewards": [0.0, 1.0, 0.25],
            "continuations": [1.0, 0.0, 1.0],
            "lasts": [False, True, False],
        },
        {
            "seen": [[1, 0.25], [0, 1.25]],
            "after": [[2, 2.0], [1, 0.5]],
            "actions": [[2, 1], [0, 0]],
            "rewards": [-0.5, 2.0],
            "continuations": [1.0, 1.0],
            "lasts": [True, False],
        },
    ]
    adam = Adam(n, 0.01, 1e-6, 0.5)
    found = []
    for _ in range(2):
        xs, acts, advantages, returns = [], [], [], []
        for r in rollouts:
            here = forward(theta, encode(r["seen"]), outputs)[:, -1]
            there = forward(theta, encode(r["after"]), outputs)[:, -1]
            behind, a = 0.0, [0.0] * len(here)
            for t in reversed(range(len(here))):
                d = r["rewards"][t] + discount * r["continuations"][t] * there[t] - here[t]
                behind = d + discount * lam * (0.0 if r["lasts"][t] else 1.0) * behind
                a[t] = behind
            advantages += a
            returns += [x + v for x, v in zip(a, here)]
            xs.append(encode(r["seen"]))
            acts += r["actions"]
        x, adv, ret = np.concatenate(xs), np.array(advantages), np.array(returns)
        found.append({"advantages": advantages, "returns": returns})

        def loss(theta):
            y = forward(theta, x, outputs)
            total, first = 0.0, 0
            for k, count in enumerate(choices):
                logits = y[:, first : first + count]
                logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
                taken = logs[np.arange(len(x)), [a[k] for a in acts]]
                total += (-adv * taken + entropy * (np.exp(logs) * logs).sum(1)).mean()
                first += count
            return total + weight / 2 * ((y[:, -1] - ret) ** 2).mean()

        theta = adam.step(theta, gradient(loss, theta))
    return {"rollouts": rollouts, "found": found, "theta": theta.tolist()}


print(json.dumps({"dqn": [dqn(False), dqn(True)], "a2c": a2c()}))
