"""Energy over time where nothing drives, damps or touches, in our world and in MuJoCo, as a table and a picture.

    python3 -m venv venv && venv/bin/pip install mujoco numpy
    venv/bin/python sim/benches/compare/energy_drift.py [--ours PROGRAM] [--seconds 60] [--svg docs/energy-drift.svg]

The same MJCF file from the same state in both, for many swings. Mechanical energy is worked out by MuJoCo from positions and velocities, whoever
made them, and told as a change since the start, in per cent of what its two parts range over: kinetic and potential energy exchange so much. MuJoCo's
own Euler and its RK4 take the same steps. Chains are chaotic, so their motions part within seconds; their energies need not.
`--ours` is the built example `fidelity`; without it cargo builds and runs it.
"""
import argparse, json
import mujoco
import numpy as np
from fidelity import POLE, double, energies, ours, scene, simulate

LINKS = 5
# Half-swings of the chain's links, rad, so that it does not begin as a rigid one.
CHAIN_START = [0.9, 0.3, -0.3, 0.4, -0.2]


def chain():
    body = ""
    for i in reversed(range(LINKS)):
        body = f'<body name="l{i}" pos="0 0 {2.8 if i == 0 else -0.5}">{POLE.format(n=f"q{i}", j="")}{body}</body>'
    return scene("chain", body)


def cases():
    free = scene("free", f'<body name="a" pos="0 0 2"><freejoint/><geom type="box" size="0.1 0.2 0.3" mass="1" contype="0" conaffinity="0"/></body>', option='gravity="0 0 0"')
    pendulum = scene("pendulum", f'<body name="a" pos="0 0 2">{POLE.format(n="q1", j="")}</body>')
    return {
        "pendulum, 2 ms": (pendulum, 0.002, [2.0], [0.0]),
        "pendulum, 10 ms": (pendulum, 0.01, [2.0], [0.0]),
        "double pendulum, 2 ms": (scene("double", double("")), 0.002, [1.0, 0.5], [0, 0]),
        "double pendulum, 10 ms": (scene("double", double("")), 0.01, [1.0, 0.5], [0, 0]),
        f"chain of {LINKS}, 2 ms": (chain(), 0.002, CHAIN_START, [0] * LINKS),
        # About its middle axis, which it leaves and comes back to.
        "tumbling box, 2 ms": (free, 0.002, [0, 0, 2, 1, 0, 0, 0], [0, 0, 0, 0.02, 6.0, 0.02]),
    }


def change(model, rows):
    """Change of the mechanical energy since the start, per cent of what its parts range over, or of the energy at the start where only one of them changes."""
    parts = energies(model, rows)
    total, swings = parts.sum(axis=1), np.ptp(parts, axis=0)
    scale = swings.max() if swings.min() > 1e-3 * swings.max() else abs(total[0])
    return 100 * (total - total[0]) / scale


SIDES = {"ours": "#0f766e", "MuJoCo, Euler": "#d97706", "MuJoCo, RK4": "#4f6bd8"}
STYLE = "text{fill:#5b6875;font:11px system-ui,sans-serif}.title{font-weight:600}.grid{stroke:#e8ecf0}.axis{stroke:#dde2e8}polyline{fill:none;stroke-width:1.4}"
WIDTH, HEIGHT, COLUMNS, PANEL = 980, 470, 3, (270, 150)


def ticks(low, high):
    """Round numbers between two others, some three of them."""
    step = 10.0 ** np.floor(np.log10((high - low) / 2))
    step *= next(k for k in (1, 2, 5, 10) if (high - low) / (k * step) <= 3.5)
    return [round(k * step, 10) for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def picture(found, seconds):
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Energy drift"><style>{STYLE}</style><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    for i, (side, color) in enumerate(SIDES.items()):
        x = 46 + 140 * i
        out.append(f'<line x1="{x}" x2="{x + 24}" y1="16" y2="16" stroke="{color}" stroke-width="2"/><text x="{x + 30}" y="20">{side}</text>')
    for i, (name, sides) in enumerate(found.items()):
        left, top = 46 + i % COLUMNS * (PANEL[0] + 52), 56 + i // COLUMNS * (PANEL[1] + 56)
        values = np.concatenate([v for _, v in sides.values()])
        low, high = min(values.min(), -0.05), max(values.max(), 0.05)
        x = lambda t: left + PANEL[0] * t / seconds
        y = lambda v: top + PANEL[1] * (high - v) / (high - low)
        out.append(f'<text class="title" x="{left}" y="{top - 10}">{name}</text>')
        for v in ticks(low, high):
            out.append(f'<line class="grid" x1="{left}" x2="{left + PANEL[0]}" y1="{y(v):.1f}" y2="{y(v):.1f}"/><text x="{left - 4}" y="{y(v) + 4:.1f}" text-anchor="end">{v:g} %</text>')
        for t in (0, seconds / 2, seconds):
            out.append(f'<text x="{x(t):.1f}" y="{top + PANEL[1] + 16}" text-anchor="middle">{t:g} s</text>')
        for side, (_, line) in reversed(sides.items()):
            # The highest and the lowest of each stretch, so that no swing is lost.
            pieces, points = np.array_split(np.arange(len(line)), min(len(line), 140)), []
            for piece in pieces:
                for k in sorted({piece[np.argmin(line[piece])], piece[np.argmax(line[piece])]}):
                    points.append(f"{x(k * seconds / (len(line) - 1)):.1f},{y(line[k]):.1f}")
            out.append(f'<polyline stroke="{SIDES[side]}" points="{" ".join(points)}"/>')
    return "".join(out) + "</svg>\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", help="the built example fidelity")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--svg", help="where the picture goes")
    args = parser.parse_args()
    RK4, EULER = mujoco.mjtIntegrator.mjINT_RK4, mujoco.mjtIntegrator.mjINT_EULER
    found = {}
    for name, (path, dt, qpos, qvel) in cases().items():
        mine, _ = ours(path, dt, args.seconds, "none", qpos, qvel, program=args.ours)
        euler, model, _ = simulate(path, dt, args.seconds, "none", qpos, qvel, dt, EULER)
        rk4, _, _ = simulate(path, dt, args.seconds, "none", qpos, qvel, dt, RK4)
        found[name] = {side: (rows, change(model, rows)) for side, rows in zip(SIDES, (mine, euler, rk4))}
        line = {"case": name, "seconds": args.seconds}
        for side, (_, drift) in found[name].items():
            # The end as the mean of the last tenth: energy swings within each period.
            line[side] = {"largest_percent": float(f"{np.abs(drift).max():.3g}"), "at_the_end_percent": float(f"{drift[-len(drift) // 10:].mean():.3g}")}
        print(json.dumps(line), flush=True)
    if args.svg:
        with open(args.svg, "w") as file:
            file.write(picture(found, args.seconds))
