"""Two updates of AWR, BCQ, BEAR, CQL, IQL, SAC and TD3+BC in float64, written from the equations and independent of the Rust code: gradients are
complex-step derivatives of the losses (make_golden.py has the method and the parts). Writes learners.json beside this file.

    python3 make_golden_learners.py        (needs numpy)
"""
import json
import os

import numpy as np

from make_golden import (ACT, ACTOR, BATCH, CRITIC, DISCOUNT, HIDDEN, MARGIN, MAX_LOG_STD, MIN_LOG_STD, OBS, Adam, actor_log_std,
                         actor_mean, gradient, log_prob, mlp, network, norm, q_values, rounded, single, weights)

GAUSSIAN = dict(ACTOR, hidden=HIDDEN, min_log_std=MIN_LOG_STD, max_log_std=MAX_LOG_STD)
PERTURBATION = dict(hidden=HIDDEN, learning_rate=ACTOR["learning_rate"], average_rate=ACTOR["average_rate"])
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
    case("td3_bc", GAUSSIAN, dict(layer_norm=True, q_clamp="off"), cloning=0.3, actor_period=1, actor_q="min", critic_penalty=0.6),
    case("cql", SQUASHED, dict(layer_norm=False, q_clamp="off"), backup_entropy=True, initial_temperature=0.3, temperature_learning_rate=0.02,
         conservative_weight=0.8, action_samples=2, max_target_backup=True),
    case("cql", SQUASHED, dict(layer_norm=True, count=3, min_over=2), initial_temperature=0.5, temperature_learning_rate=0.0,
         conservative_weight=0.4, conservative_temperature=0.7, action_samples=3, calibrated=True, lagrange=dict(target_gap=0.3, learning_rate=0.02)),
    case("awr", GAUSSIAN, dict(layer_norm=True)),
    case("awr", GAUSSIAN, dict(layer_norm=False, q_clamp="off", count=3), weight="exp", temperature=0.3, weight_clip=1.4, returns={"n_step": 3}),
    case("bear", SQUASHED, dict(layer_norm=True), match_samples=2, next_samples=3, kernel="laplacian", mmd_bandwidth=1.5, mmd_target=0.2, q_mix=0.6,
         warmup_updates=1, initial_multiplier=0.7, multiplier_learning_rate=0.02, behaviour=dict(hidden=HIDDEN, learning_rate=0.01, kl_weight=0.3)),
    case("bear", SQUASHED, dict(layer_norm=False, q_clamp="off", count=3), match_samples=3, next_samples=1, kernel="gaussian", mmd_bandwidth=0.8,
         warmup_updates=0, initial_multiplier=2.0, multiplier_learning_rate=0.0, actor_q="mean", behaviour=dict(hidden=HIDDEN, learning_rate=0.02)),
    case("sac", SQUASHED, dict(layer_norm=True, q_clamp="off"), initial_temperature=0.2, temperature_learning_rate=0.02, backup_entropy=True,
         offline_actor="sac", behaviour=dict(penalty=0.3, learning_rate=0.02)),
    case("sac", SQUASHED, dict(layer_norm=False), initial_temperature=0.3, temperature_learning_rate=0.0, backup_entropy=False, actor_q="mean",
         offline_actor="sac", behaviour=dict(penalty=0.6, in_targets=False, learning_rate=0.01)),
    case("sac", SQUASHED, dict(layer_norm=True), initial_temperature=0.3, temperature_learning_rate=0.0, backup_entropy=False, offline_actor="sac",
         behaviour=dict(penalty=0.6, in_targets=False, learning_rate=0.01, max_divergence=0.2, penalty_learning_rate=0.02, prior={"advantage": {}})),
    case("sac", SQUASHED, dict(layer_norm=False, q_clamp="off"), initial_temperature=0.2, temperature_learning_rate=0.0, backup_entropy=True,
         offline_actor="sac", behaviour=dict(penalty=0.4, learning_rate=0.02, prior={"advantage": dict(weight="exp", temperature=0.5, weight_clip=1.3)})),
    case("bcq", PERTURBATION, dict(layer_norm=True), perturbation=0.05, next_samples=3, q_mix=0.6, behaviour=dict(hidden=HIDDEN, learning_rate=0.01, kl_weight=0.3)),
    case("bcq", PERTURBATION, dict(layer_norm=False, q_clamp="off", count=3), perturbation=0.8, next_samples=1, actor_q="mean",
         behaviour=dict(hidden=HIDDEN, learning_rate=0.02)),
]
LATENT = 2 * ACT


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
        squashed = case["learner"] in ("sac", "cql", "bear")
        perturbs = case["learner"] == "bcq"
        self.actor = net("actor", OBS + ACT if perturbs else OBS, 2 * ACT if squashed else ACT, False)
        if not squashed and not perturbs:
            self.actor["actor/log_std_parameter"] = single(rng.normal(size=ACT))
        self.average = dict(self.actor)
        judges = lambda: {k: v for j in range(self.count) for k, v in net(f"critic{j}", OBS if case["learner"] == "awr" else OBS + ACT, 1, critic["layer_norm"]).items()}
        self.critic, self.target = judges(), judges()
        self.actor_adam, self.critic_adam = Adam(ACTOR["learning_rate"], 0.0 if perturbs else ACTOR["weight_decay"]), Adam(CRITIC["learning_rate"])
        self.mean, self.std = single(rng.normal(size=OBS)), single(0.5 + rng.random(OBS))
        self.extra, self.multiplier, self.updates = {}, {}, 0
        if case["learner"] == "iql":
            self.extra, self.extra_adam = net("value", OBS, 1, critic["layer_norm"]), Adam(CRITIC["learning_rate"])
        self.clone = {}
        if case["learner"] == "sac" and "behaviour" in self.config:
            c = self.config["behaviour"]
            self.clone, self.clone_adam = net("behaviour", OBS, 2 * ACT, False), Adam(c["learning_rate"])
            if "max_divergence" in c:
                self.multiplier, self.multiplier_adam = {"log_penalty": single([np.log(c["penalty"])])}, Adam(c["penalty_learning_rate"])
        if case["learner"] in ("bear", "bcq"):
            self.vae = {**net("behaviour/encoder", OBS + ACT, 2 * LATENT, False), **net("behaviour/decoder", OBS + LATENT, ACT, False)}
            self.vae_adam = Adam(self.config["behaviour"]["learning_rate"])
        if perturbs:
            self.extra = {f"target/{k}": v for k, v in net("actor", OBS + ACT, ACT, False).items()}
        if case["learner"] == "bear":
            self.extra = {"log_multiplier": single([np.log(self.config["initial_multiplier"])])}
            self.extra_adam = Adam(self.config["multiplier_learning_rate"])
        elif squashed:
            self.extra = {"log_temperature": single([np.log(self.config["initial_temperature"])])}
            self.extra_adam = Adam(self.config["temperature_learning_rate"])
        if "lagrange" in self.config:
            self.multiplier = {"log_multiplier": single([1.0])}
            self.multiplier_adam = Adam(self.config["lagrange"]["learning_rate"])
        if case["learner"] == "td3_bc":
            other = dict(net("actor", OBS, ACT, False), **{"actor/log_std_parameter": self.actor["actor/log_std_parameter"]})
            self.extra = {f"target/{k}": v for k, v in other.items()}

    def arrays(self):
        prefixed = lambda prefix, p: {f"{prefix}/{k}": v for k, v in p.items()}
        others = {**self.extra, **self.multiplier, **self.clone, **getattr(self, "vae", {})}
        return {**self.actor, **prefixed("average", self.average), **self.critic, **prefixed("target", self.target), **others}

    def taken(self, p):
        if self.config["learner"] == "awr":
            return self.states(p, self.s)
        return q_values(p, self.count, self.s, self.a)

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
        q = self.taken(self.critic)
        critic_loss = lambda p: sum(((q - y) ** 2).mean() for q in self.taken(p))
        penalty = getattr(self, "penalty", lambda p: 0)
        critic_gradient = gradient(lambda p: critic_loss(p) + penalty(p), self.critic)
        metrics.update({"train/critic_loss": critic_loss(self.critic), "train/critic_gradient_norm": norm(critic_gradient),
                        "train/q_mean": (q.mean(0) if self.config["learner"] == "awr" else q.min(0)).mean(), "train/target_mean": y.mean()})
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
        if self.config["learner"] in ("td3_bc", "bcq") and actor_loss:
            self.extra = {k: v + rate * (self.actor[k.removeprefix("target/")] - v) for k, v in self.extra.items()}
        if self.config["learner"] in ("iql", "awr"):
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

    def states(self, p, s):
        return np.stack([mlp(p, f"critic{j}", s)[:, 0] for j in range(self.count)])

    def awr(self, batch, noise):
        returns = targets(self.config, batch["reward"], batch["continuation"], self.states(self.target, self.s2).mean(0))
        advantage = returns - self.states(self.critic, self.s).mean(0)
        w = weights(dict(dict(weight="whiten", temperature=1.0, weight_clip=20.0), **self.config), advantage)
        metrics = {"train/advantage_mean": advantage.mean(), "train/advantage_std": advantage.std(),
                   "train/effective_sample_size": w.sum() ** 2 / (w * w).sum() / BATCH,
                   "train/log_likelihood": log_prob(self.actor, self.s, self.a).mean()}
        return metrics, returns, lambda p: -(w * log_prob(p, self.s, self.a)).mean()

    def head(self, p, s, name="actor"):
        low, high = self.config["actor"]["min_log_std"], self.config["actor"]["max_log_std"]
        out = mlp(p, name, s)
        return out[:, :ACT], low + (high - low) * (np.tanh(out[:, ACT:]) + 1) / 2

    def density(self, mean, log_std, u):
        # The direct form of the change of variables: far from saturation it is exact enough in float64.
        z = (u - mean) / np.exp(log_std)
        return (-0.5 * z * z - log_std - 0.5 * np.log(2 * np.pi) - np.log(1 - np.tanh(u) ** 2)).sum(1)

    def sample(self, p, s, n):
        mean, log_std = self.head(p, s)
        u = mean + np.exp(log_std) * n
        return np.tanh(u), self.density(mean, log_std, u)

    def sac(self, batch, noise):
        c = self.config
        alpha = np.exp(self.extra["log_temperature"][0])
        a2, l2 = self.sample(self.actor, self.s2, noise["next_action"])
        q2 = q_values(self.target, self.count, self.s2, a2)
        drawn = noise["target_critics"] or list(range(self.count))
        value = q2[drawn].min(0) - alpha * l2 * c["backup_entropy"]
        if self.clone and c["behaviour"].get("in_targets", True):
            theirs = self.density(*self.head(self.clone, self.s2, "behaviour"), np.arctanh(a2))
            value = value - self.clone_penalty() * (l2 - theirs)
        y = targets(c, batch["reward"], batch["continuation"], value)
        if c["offline_actor"] == "cloning":
            data = lambda p: self.density(*self.head(p, self.s), np.arctanh(self.a))
            return self.report(noise), y, lambda p: -data(p).mean()
        metrics, y, loss = self.climb(alpha, noise, y)
        if not self.clone:
            return metrics, y, loss
        old, beta, w = {**self.clone}, self.clone_penalty(), np.ones(BATCH)
        if "prior" in c["behaviour"]:
            q = lambda a: q_values(self.critic, self.count, self.s, a).min(0)
            ours = self.sample(self.actor, self.s, noise["policy_action"][0])[0]
            w = weights(dict(dict(weight="binary", temperature=1.0, weight_clip=20.0), **c["behaviour"]["prior"]["advantage"]), q(self.a) - q(ours))
            metrics["train/behaviour_weight"] = w.mean()

        def divergence(p):
            a, l = self.sample(p, self.s, noise["policy_action"][0])
            return (l - self.density(*self.head(old, self.s, "behaviour"), np.arctanh(a))).mean()

        likelihood = lambda p: self.density(*self.head(p, self.s, "behaviour"), np.arctanh(self.a))
        clone_loss = lambda p: -(w * likelihood(p)).mean()
        metrics.update({"train/behaviour_log_likelihood": likelihood(old).mean(), "train/behaviour_divergence": divergence(self.actor)})
        if "max_divergence" in c["behaviour"]:
            self.multiplier_adam.step(self.multiplier, {"log_penalty": np.array([-beta * (divergence(self.actor) - c["behaviour"]["max_divergence"])])})
            metrics["train/behaviour_penalty"] = self.clone_penalty()
        self.clone_adam.step(self.clone, gradient(clone_loss, self.clone))
        return metrics, y, lambda p: loss(p) + beta * divergence(p)

    def clone_penalty(self):
        return np.exp(self.multiplier["log_penalty"][0]) if self.multiplier else self.config["behaviour"]["penalty"]

    def report(self, noise):
        l = self.sample(self.actor, self.s, noise["policy_action"][0])[1]
        data = self.density(*self.head(self.actor, self.s), np.arctanh(self.a))
        return {"train/entropy": -l.mean(), "train/std_mean": np.exp(self.head(self.actor, self.s)[1]).mean(),
                "train/log_likelihood": data.mean(), "train/temperature": np.exp(self.extra["log_temperature"][0])}

    def climb(self, alpha, noise, y):
        """The loss of the policy, after a step of the temperature."""
        c, old = self.config, {**self.critic}

        def actor_loss(p):
            a, l = self.sample(p, self.s, noise["policy_action"][0])
            return (alpha * l - self.judged(c.get("actor_q", "min"), old, self.s, a)).mean()

        metrics = self.report(noise)
        if c["temperature_learning_rate"] > 0:
            missing = -metrics["train/entropy"] + c.get("target_entropy", -ACT)
            metrics["train/temperature_loss"] = -np.log(alpha) * missing
            self.extra_adam.step(self.extra, {"log_temperature": np.array([-missing])})
        metrics["train/temperature"] = np.exp(self.extra["log_temperature"][0])
        return metrics, y, actor_loss

    def cql(self, batch, noise):
        c, n = self.config, self.config["action_samples"]
        alpha = np.exp(self.extra["log_temperature"][0])
        next_noise = noise["next_action"].reshape(n, BATCH, ACT)
        there = [self.sample(self.actor, self.s2, x) for x in next_noise]
        here = [self.sample(self.actor, self.s, x) for x in noise["policy_action"]]
        drawn = noise["target_critics"] or list(range(self.count))
        q2 = np.stack([q_values(self.target, self.count, self.s2, a)[drawn].min(0) for a, _ in there])
        best = q2.argmax(0) if c.get("max_target_backup") else np.zeros(BATCH, int)
        row = np.arange(BATCH)
        log_prob = np.stack([l for _, l in there])[best, row]
        y = targets(c, batch["reward"], batch["continuation"], q2[best, row] - alpha * log_prob * c.get("backup_entropy", False))
        floor = np.full(BATCH, -np.inf)
        if c.get("calibrated"):
            floor = batch["return_to_go"] + batch["return_continuation"] * (-1 / (1 - DISCOUNT))
        even = [(a, np.full(BATCH, -ACT * np.log(2))) for a in noise["uniform_action"]]
        t = c.get("conservative_temperature", 1.0)

        def gaps(p):
            out = []
            for j in range(self.count):
                values = []
                for k, (a, l) in enumerate(even + there + here):
                    q = q_values(p, self.count, self.s, a)[j]
                    values.append((np.where((q.real < floor) & (k >= n), floor, q) - l) / t)
                out.append((t * np.log(np.exp(np.stack(values)).sum(0)) - q_values(p, self.count, self.s, self.a)[j]).mean())
            return out

        multiplier = np.exp(self.multiplier["log_multiplier"][0]) if self.multiplier else 1.0
        weight = c["conservative_weight"] * multiplier
        self.penalty = lambda p: weight * sum(gaps(p))
        gap = np.mean(gaps(self.critic))
        metrics, y, actor_loss = self.climb(alpha, noise, y)
        metrics.update({"train/conservative_gap": gap, "train/conservative_weight": weight})
        if self.multiplier:
            target = c["lagrange"]["target_gap"]
            self.multiplier_adam.step(self.multiplier, {"log_multiplier": np.array([-weight * (gap - target)])})
        if c.get("calibrated"):
            below = [(q_values(self.critic, self.count, self.s, a) < floor).mean() for a, _ in there + here]
            metrics["train/bounded_share"] = np.mean(below)
        return metrics, y, actor_loss

    def vae_loss(self, p, noise):
        join = lambda a, b: np.concatenate([a, b], 1)
        out = mlp(p, "behaviour/encoder", join(self.s, self.a))
        m, l = out[:, :LATENT], out[:, LATENT:]
        assert (l.real > -4).all() and (l.real < 15).all()
        u = mlp(p, "behaviour/decoder", join(self.s, m + np.exp(l) * noise))
        kl = 0.5 * (m * m + np.exp(2 * l) - 1 - 2 * l).mean()
        return ((np.tanh(u) - self.a) ** 2).mean() + self.config["behaviour"].get("kl_weight", 0.5) * kl

    def bcq(self, batch, noise):
        c, limit = self.config, self.config["perturbation"]
        join = lambda a, b: np.concatenate([a, b], 1)
        behave = lambda s, z: np.tanh(mlp(self.vae, "behaviour/decoder", join(s, np.clip(z, -0.5, 0.5))))
        add = lambda p, s, a: limit * np.tanh(mlp(p, "actor", join(s, a)))

        def moved(p, s, a):
            x = a + add(p, s, a)
            return np.where(x.real > 1, 1, np.where(x.real < -1, -1, x))

        encoder_noise, z, *others = noise["latent"]
        following = {k.removeprefix("target/"): v for k, v in self.extra.items()}
        q2 = np.stack([q_values(self.target, self.count, self.s2, moved(following, self.s2, behave(self.s2, x))) for x in others])
        mix = c.get("q_mix", 0.75)
        y = targets(c, batch["reward"], batch["continuation"], (mix * q2.min(1) + (1 - mix) * q2.max(1)).max(0))
        behaved, old = behave(self.s, z), {**self.critic}
        metrics = {"train/behaviour_loss": self.vae_loss(self.vae, encoder_noise),
                   "train/perturbation_mean": np.abs(add(self.actor, self.s, behaved)).mean()}
        self.vae_adam.step(self.vae, gradient(lambda p: self.vae_loss(p, encoder_noise), self.vae))
        return metrics, y, lambda p: -self.judged(c.get("actor_q", "first"), old, self.s, moved(p, self.s, behaved)).mean()

    def bear(self, batch, noise):
        c, n = self.config, self.config["match_samples"]
        join = lambda a, b: np.concatenate([a, b], 1)
        there = [self.sample(self.actor, self.s2, x)[0] for x in noise["next_action"].reshape(-1, BATCH, ACT)]
        q2 = np.stack([q_values(self.target, self.count, self.s2, a) for a in there])
        mix = c.get("q_mix", 0.75)
        y = targets(c, batch["reward"], batch["continuation"], (mix * q2.min(1) + (1 - mix) * q2.max(1)).max(0))

        vae_loss = lambda p: self.vae_loss(p, noise["latent"][0])
        theirs = [mlp(self.vae, "behaviour/decoder", join(self.s, np.clip(z, -0.5, 0.5))) for z in noise["latent"][1:]]

        def kernel(x, y):
            d = x - y
            d = np.where(d.real < 0, -d, d) if c["kernel"] == "laplacian" else d * d
            return np.exp(-d.sum(1) / (2 * c["mmd_bandwidth"]))

        def apart(p):
            mean, log_std = self.head(p, self.s)
            ours = [mean + np.exp(log_std) * x for x in noise["policy_action"]]
            within = lambda xs, ys: sum(kernel(x, y) for x in xs for y in ys) / (len(xs) * len(ys))
            return np.sqrt(within(ours, ours) + within(theirs, theirs) - 2 * within(ours, theirs) + 1e-6).mean()

        multiplier, old = np.exp(self.extra["log_multiplier"][0]), {**self.critic}
        threshold, climbs = c.get("mmd_target", 0.05), self.updates >= c["warmup_updates"]

        def actor_loss(p):
            a = self.sample(p, self.s, noise["policy_action"][0])[0]
            q = self.judged(c.get("actor_q", "min"), old, self.s, a).mean() if climbs else 0
            return multiplier * (apart(p) - threshold) - q

        mmd = apart(self.actor)
        metrics = {"train/behaviour_loss": vae_loss(self.vae), "train/mmd": mmd,
                   "train/std_mean": np.exp(self.head(self.actor, self.s)[1]).mean(),
                   "train/log_likelihood": self.density(*self.head(self.actor, self.s), np.arctanh(self.a)).mean()}
        self.vae_adam.step(self.vae, gradient(vae_loss, self.vae))
        self.extra_adam.step(self.extra, {"log_multiplier": np.array([-multiplier * (mmd - threshold)])})
        metrics["train/multiplier"] = np.exp(self.extra["log_multiplier"][0])
        return metrics, y, actor_loss

    def td3_bc(self, batch, noise):
        c = self.config
        limit = c.get("smoothing_clip", 0.5)
        smooth = np.clip(c.get("smoothing_std", 0.2) * noise["next_action"], -limit, limit)
        following = {k.removeprefix("target/"): v for k, v in self.extra.items()}
        a2 = np.clip(actor_mean(following, self.s2) + smooth, -1, 1)
        value, metrics = q_values(self.target, self.count, self.s2, a2).min(0), {}
        if "critic_penalty" in c:
            data = np.clip(batch["next_action"], -(1 - MARGIN), 1 - MARGIN)
            apart = ((a2 - data) ** 2).mean(1) * batch["next_action_mask"]
            value = value - c["critic_penalty"] * apart
            metrics["train/next_action_error"] = apart.mean()
        y = targets(c, batch["reward"], batch["continuation"], value)
        if self.updates % c["actor_period"]:
            return metrics, y, None
        old = {**self.critic}
        q = lambda p: self.judged(c.get("actor_q", "first"), old, self.s, actor_mean(p, self.s))
        scale = np.abs(q(self.actor)).mean()
        error = lambda p: ((actor_mean(p, self.s) - self.a) ** 2).mean()
        metrics.update({"train/cloning_error": error(self.actor), "train/cloning": c["cloning"]})
        return metrics, y, lambda p: c["cloning"] * error(p) - q(p).mean() / scale


def make(index, case):
    rng = np.random.default_rng(200 + index)
    life = Life(rng, case)
    out = dict(case=case, normalizer=rounded(dict(mean=life.mean, std=life.std)), before=rounded(life.arrays()), updates=[])
    for k in range(2):
        batch = dict(
            observation=single(rng.normal(size=(BATCH, OBS))), next_observation=single(rng.normal(size=(BATCH, OBS))),
            action=single((0.4 if case["learner"] in ("sac", "cql", "bear") else 0.7) * rng.normal(size=(BATCH, ACT))),
            reward=single(-rng.random(BATCH)), continuation=np.array([1.0, 1, 0, 1, 1, 0, 1]),
        )
        samples = case["config"].get("action_samples", case["config"].get("match_samples", 1))
        noise = dict(next_action=single(rng.normal(size=(case["config"].get("next_samples", samples) * BATCH, ACT))),
                     policy_action=[single(rng.normal(size=(BATCH, ACT))) for _ in range(samples)],
                     target_critics=[[0, 3], [1, 2]][k] if case["config"]["critic"].get("count") == 4 else [[0, 2], [1, 2]][k]
                     if "min_over" in case["config"]["critic"] else [])
        noise["uniform_action"] = [single(rng.uniform(-1, 1, size=(BATCH, ACT))) for _ in range(samples if case["learner"] == "cql" else 0)]
        noise["latent"] = [single(rng.normal(size=(BATCH, LATENT))) for _ in range({"bear": samples + 1, "bcq": 2 + case["config"].get("next_samples", 0)}.get(case["learner"], 0))]
        if "critic_penalty" in case["config"]:
            batch.update(next_action=single(0.7 * rng.normal(size=(BATCH, ACT))), next_action_mask=np.array([1.0, 0, 1, 1, 1, 0, 1]))
        if case["config"].get("calibrated"):
            # Rows 0 to 2 end in a termination, the others were cut off.
            batch.update(return_to_go=single(0.3 * rng.normal(size=BATCH)), return_continuation=single([0, 0, 0, 0.05, 0.1, 0.02, 0.04]))
        metrics = life.update(batch, noise)
        written = dict(next_action=rounded(noise["next_action"]), policy_action=rounded(noise["policy_action"]),
                       target_critics=noise["target_critics"], **{k: rounded(noise[k]) for k in ("uniform_action", "latent") if noise[k]})
        out["updates"].append(dict(batch=rounded(batch), noise=written, metrics=rounded(metrics)))
    out["after"] = rounded(life.arrays())
    return out


if __name__ == "__main__":
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "learners.json")
    with open(path, "w") as f:
        json.dump(dict(head=dict(obs=OBS, act=ACT), cases=[make(i, c) for i, c in enumerate(CASES)]), f, separators=(",", ":"))
        f.write("\n")
