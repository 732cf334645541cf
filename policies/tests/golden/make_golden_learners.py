"""Two updates of IQL, SAC and TD3+BC in float64, written from the equations and independent of the Rust code: gradients are
complex-step derivatives of the losses (make_golden.py has the method and the parts). Writes learners.json beside this file.

    python3 make_golden_learners.py        (needs numpy)
"""
import json
import os

import numpy as np

from make_golden import (ACT, ACTOR, BATCH, CRITIC, DISCOUNT, HIDDEN, MARGIN, MAX_LOG_STD, MIN_LOG_STD, OBS, Adam, actor_log_std,
                         actor_mean, gradient, log_prob, mlp, network, norm, q_values, rounded, single, weights)

GAUSSIAN = dict(ACTOR, hidden=HIDDEN, min_log_std=MIN_LOG_STD, max_log_std=MAX_LOG_STD)
SQUASHED = dict(ACTOR, hidden=HIDDEN, min_log_std=-3.0, max_log_std=1.0)


def case(learner, actor, critic, **settings):
    critic = dict(CRITIC, hidden=HIDDEN, **critic)
    data = dict(discount=DISCOUNT, demo_action_margin=MARGIN)
    return dict(learner=learner, config=dict(actor=actor, critic=critic, **data, **settings))


CASES = [
    case("iql", GAUSSIAN, dict(layer_norm=True), expectile=0.8, temperature=0.4),
    case("iql", GAUSSIAN, dict(layer_norm=False, q_clamp="off", count=3), expectile=0.3, temperature=0.8, weight="whiten", weight_clip=1.5),
    case("sac", SQUASHED, dict(layer_norm=False, q_clamp="off"), backup_entropy=True, initial_temperature=0.3, temperature_learning_rate=0.02, offline_actor="sac"),
    case("sac", SQUASHED, dict(layer_norm=True, count=4, min_over=2, q_clamp="reward_bounds"), initial_temperature=0.7,
         temperature_learning_rate=0.0, backup_entropy=False, actor_q="mean", offline_actor="sac"),
    case("sac", SQUASHED, dict(layer_norm=True), backup_entropy=True, initial_temperature=0.2, temperature_learning_rate=0.02, target_entropy=0.5,
         offline_actor="cloning"),
    case("td3_bc", GAUSSIAN, dict(layer_norm=True), cloning=0.7, actor_period=1, smoothing_std=0.4, smoothing_clip=0.3),
    case("td3_bc", GAUSSIAN, dict(layer_norm=False, q_clamp="off"), cloning=0.1, actor_period=2, actor_q="min"),
]


def targets(config, reward, continuation, value):
    free = config["critic"].get("q_clamp") == "off"
    bounds = (-np.inf, np.inf) if free else (min(-1, -1 / (1 - DISCOUNT)), 0.0)
    return np.clip(reward + DISCOUNT * continuation * value, *bounds)


class Life:
    """The state of a learner and one update of it."""

    def __init__(self, rng, case):
        self.config = dict(case["config"], learner=case["learner"])
        critic = self.config["critic"]
        self.count = critic.get("count", 2)
        net = lambda name, m, n, norm: network(rng, name, [m, *HIDDEN, n], norm)
        squashed = case["learner"] == "sac"
        self.actor = net("actor", OBS, 2 * ACT if squashed else ACT, False)
        if not squashed:
            self.actor["actor/log_std_parameter"] = single(rng.normal(size=ACT))
        self.average = dict(self.actor)
        judges = lambda: {k: v for j in range(self.count) for k, v in net(f"critic{j}", OBS + ACT, 1, critic["layer_norm"]).items()}
        self.critic, self.target = judges(), judges()
        self.actor_adam, self.critic_adam = Adam(ACTOR["learning_rate"], ACTOR["weight_decay"]), Adam(CRITIC["learning_rate"])
        self.mean, self.std = single(rng.normal(size=OBS)), single(0.5 + rng.random(OBS))
        self.extra, self.updates = {}, 0
        if case["learner"] == "iql":
            self.extra, self.extra_adam = net("value", OBS, 1, critic["layer_norm"]), Adam(CRITIC["learning_rate"])
        if case["learner"] == "sac":
            self.extra = {"log_temperature": single([np.log(self.config["initial_temperature"])])}
            self.extra_adam = Adam(self.config["temperature_learning_rate"])
        if case["learner"] == "td3_bc":
            other = dict(net("actor", OBS, ACT, False), **{"actor/log_std_parameter": self.actor["actor/log_std_parameter"]})
            self.extra = {f"target/{k}": v for k, v in other.items()}

    def arrays(self):
        prefixed = lambda prefix, p: {f"{prefix}/{k}": v for k, v in p.items()}
        return {**self.actor, **prefixed("average", self.average), **self.critic, **prefixed("target", self.target), **self.extra}

    def judged(self, rule, p, s, a):
        q = q_values(p, self.count, s, a)
        return {"first": lambda: q[0], "mean": lambda: q.sum(0) / len(q), "min": lambda: q.min(0)}[rule]()

    def update(self, batch, noise):
        normal = lambda o: (o - self.mean) / self.std
        self.s, self.s2 = normal(batch["observation"]), normal(batch["next_observation"])
        # The bound is a float32 as in the learner: atanh magnifies what it is rounded by.
        bound = float(np.float32(1 - MARGIN))
        self.a = np.clip(batch["action"], -bound, bound)
        metrics, y, actor_loss = getattr(self, self.config["learner"])(batch, noise)
        q = q_values(self.critic, self.count, self.s, self.a)
        critic_loss = lambda p: sum(((q - y) ** 2).mean() for q in q_values(p, self.count, self.s, self.a))
        critic_gradient = gradient(critic_loss, self.critic)
        metrics.update({"train/critic_loss": critic_loss(self.critic), "train/critic_gradient_norm": norm(critic_gradient),
                        "train/q_mean": q.min(0).mean(), "train/target_mean": y.mean()})
        if actor_loss:
            # The deviation of a deterministic policy has no gradient and no weight decay either.
            moving = {k: v for k, v in self.actor.items() if self.config["learner"] != "td3_bc" or "log_std" not in k}
            loss = lambda p: actor_loss({**self.actor, **p})
            actor_gradient = gradient(loss, moving)
            metrics.update({"train/actor_loss": loss(self.actor), "train/actor_gradient_norm": norm(actor_gradient)})
            self.actor_adam.step(moving, actor_gradient)
            self.actor.update(moving)
            rate = ACTOR["average_rate"]
            self.average = {k: v + rate * (self.actor[k] - v) for k, v in self.average.items()}
        self.critic_adam.step(self.critic, critic_gradient)
        rate = CRITIC["target_rate"]
        self.target = {k: v + rate * (self.critic[k] - v) for k, v in self.target.items()}
        if self.config["learner"] == "td3_bc" and actor_loss:
            self.extra = {k: v + rate * (self.actor[k.removeprefix("target/")] - v) for k, v in self.extra.items()}
        if self.config["learner"] == "iql":
            log_std = actor_log_std(self.actor)
            metrics["train/entropy"] = (log_std + 0.5 * np.log(2 * np.pi * np.e)).sum()
            metrics["train/std_mean"] = np.exp(log_std).mean()
        self.updates += 1
        return metrics

    def iql(self, batch, noise):
        e = self.config["expectile"]
        v = lambda p, s: mlp(p, "value", s)[:, 0]
        q = q_values(self.target, self.count, self.s, self.a).min(0)

        def value_loss(p):
            u = q - v(p, self.s)
            return (np.where(u.real < 0, 1 - e, e) * u * u).mean()

        metrics = {"train/value_loss": value_loss(self.extra)}
        value_gradient = gradient(value_loss, self.extra)
        metrics["train/value_gradient_norm"] = norm(value_gradient)
        self.extra_adam.step(self.extra, value_gradient)
        advantage = q - v(self.extra, self.s)
        w = weights(dict(self.config, weight=self.config.get("weight", "exp")), advantage)
        y = targets(self.config, batch["reward"], batch["continuation"], v(self.extra, self.s2))
        metrics.update({"train/value_mean": v(self.extra, self.s).mean(), "train/advantage_mean": advantage.mean(),
                        "train/advantage_std": advantage.std(), "train/effective_sample_size": w.sum() ** 2 / (w * w).sum() / BATCH,
                        "train/log_likelihood": log_prob(self.actor, self.s, self.a).mean()})
        return metrics, y, lambda p: -(w * log_prob(p, self.s, self.a)).mean()

    def sac(self, batch, noise):
        c = self.config
        low, high = c["actor"]["min_log_std"], c["actor"]["max_log_std"]

        def head(p, s):
            out = mlp(p, "actor", s)
            return out[:, :ACT], low + (high - low) * (np.tanh(out[:, ACT:]) + 1) / 2

        def density(mean, log_std, u):
            # The direct form of the change of variables: far from saturation it is exact enough in float64.
            z = (u - mean) / np.exp(log_std)
            return (-0.5 * z * z - log_std - 0.5 * np.log(2 * np.pi) - np.log(1 - np.tanh(u) ** 2)).sum(1)

        def sample(p, s, n):
            mean, log_std = head(p, s)
            u = mean + np.exp(log_std) * n
            return np.tanh(u), density(mean, log_std, u)

        alpha = np.exp(self.extra["log_temperature"][0])
        a2, l2 = sample(self.actor, self.s2, noise["next_action"])
        q2 = q_values(self.target, self.count, self.s2, a2)
        drawn = noise["target_critics"] or list(range(self.count))
        y = targets(c, batch["reward"], batch["continuation"], q2[drawn].min(0) - alpha * l2 * c["backup_entropy"])
        here = lambda p: sample(p, self.s, noise["policy_action"][0])
        data = lambda p: density(*head(p, self.s), np.arctanh(self.a))
        l = here(self.actor)[1]
        metrics = {"train/entropy": -l.mean(), "train/std_mean": np.exp(head(self.actor, self.s)[1]).mean(),
                   "train/log_likelihood": data(self.actor).mean()}
        if c["offline_actor"] == "cloning":
            actor_loss = lambda p: -data(p).mean()
        else:
            old = {**self.critic}

            def actor_loss(p):
                a, l = here(p)
                return (alpha * l - self.judged(c.get("actor_q", "min"), old, self.s, a)).mean()

            if c["temperature_learning_rate"] > 0:
                missing = l.mean() + c.get("target_entropy", -ACT)
                metrics["train/temperature_loss"] = -np.log(alpha) * missing
                self.extra_adam.step(self.extra, {"log_temperature": np.array([-missing])})
        metrics["train/temperature"] = np.exp(self.extra["log_temperature"][0])
        return metrics, y, actor_loss

    def td3_bc(self, batch, noise):
        c = self.config
        limit = c.get("smoothing_clip", 0.5)
        smooth = np.clip(c.get("smoothing_std", 0.2) * noise["next_action"], -limit, limit)
        following = {k.removeprefix("target/"): v for k, v in self.extra.items()}
        a2 = np.clip(actor_mean(following, self.s2) + smooth, -1, 1)
        y = targets(c, batch["reward"], batch["continuation"], q_values(self.target, self.count, self.s2, a2).min(0))
        if self.updates % c["actor_period"]:
            return {}, y, None
        old = {**self.critic}
        q = lambda p: self.judged(c.get("actor_q", "first"), old, self.s, actor_mean(p, self.s))
        scale = np.abs(q(self.actor)).mean()
        error = lambda p: ((actor_mean(p, self.s) - self.a) ** 2).mean()
        metrics = {"train/cloning_error": error(self.actor), "train/cloning": c["cloning"]}
        return metrics, y, lambda p: c["cloning"] * error(p) - q(p).mean() / scale


def make(index, case):
    rng = np.random.default_rng(200 + index)
    life = Life(rng, case)
    out = dict(case=case, normalizer=rounded(dict(mean=life.mean, std=life.std)), before=rounded(life.arrays()), updates=[])
    for k in range(2):
        batch = dict(
            observation=single(rng.normal(size=(BATCH, OBS))), next_observation=single(rng.normal(size=(BATCH, OBS))),
            action=single((0.4 if case["learner"] == "sac" else 0.7) * rng.normal(size=(BATCH, ACT))),
            reward=single(-rng.random(BATCH)), continuation=np.array([1.0, 1, 0, 1, 1, 0, 1]),
        )
        noise = dict(next_action=single(rng.normal(size=(BATCH, ACT))), policy_action=[single(rng.normal(size=(BATCH, ACT)))],
                     target_critics=[[0, 3], [1, 2]][k] if "min_over" in case["config"]["critic"] else [])
        metrics = life.update(batch, noise)
        written = dict(next_action=rounded(noise["next_action"]), policy_action=rounded(noise["policy_action"]),
                       target_critics=noise["target_critics"])
        out["updates"].append(dict(batch=rounded(batch), noise=written, metrics=rounded(metrics)))
    out["after"] = rounded(life.arrays())
    return out


if __name__ == "__main__":
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "learners.json")
    with open(path, "w") as f:
        json.dump(dict(head=dict(obs=OBS, act=ACT), cases=[make(i, c) for i, c in enumerate(CASES)]), f, separators=(",", ":"))
        f.write("\n")
