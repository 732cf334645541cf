"""The same MJCF file in MuJoCo and in our world, from the same state under the same controls: how far they part.

    python3 -m venv venv && venv/bin/pip install mujoco numpy
    venv/bin/python sim/benches/compare/fidelity.py [--ours PROGRAM] [--case NAME ...] [--speed]

Smooth motion (pendulums, an arm under torque steps and sines) is compared with MuJoCo's RK4 at a step of 10 us, and MuJoCo's own
Euler at our step stands beside it: an error of the step can then be told from an error of the model. With contacts there is no
exact answer: MuJoCo at its own step is compared, with MuJoCo at a quarter of that step beside it. `energy` is the largest change
of the mechanical energy where nothing drives or damps, as a share of the range of its parts. `--ours` is the built example `fidelity`;
without it cargo builds and runs it. `--speed` adds physics steps per second.
"""
import argparse, json, math, pathlib, subprocess, tempfile, time
import mujoco
import numpy as np

SIM = pathlib.Path(__file__).resolve().parents[2]
OUT = pathlib.Path(tempfile.mkdtemp())


def scene(name, body, extra="", option=""):
    path = OUT / f"{name}.xml"
    path.write_text(f'<mujoco model="{name}"><compiler angle="radian"/><option timestep="0.002" {option}/><worldbody>{body}</worldbody>{extra}</mujoco>')
    return path


POLE = '<joint name="{n}" axis="0 1 0" {j}/><geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.02" mass="1" contype="0" conaffinity="0"/>'
double = lambda j: f'<body name="a" pos="0 0 2">{POLE.format(n="q1", j=j)}<body name="b" pos="0 0 -0.5">{POLE.format(n="q2", j=j)}</body></body>'
BOX = '<geom name="floor" type="plane" size="5 5 1" friction="{mu}"/><body name="box" pos="0 0 {z}"><freejoint/><geom type="box" size="0.1 0.1 0.1" mass="1" friction="{mu}"/></body>'
motors = '<actuator><motor joint="q1" gear="4" ctrlrange="-1 1"/><motor joint="q2" gear="2" ctrlrange="-1 1"/></actuator>'
UPRIGHT = [1, 0, 0, 0]
tilted = [math.cos(0.3), math.sin(0.3), 0, 0]


def cases():
    # Step and softness of contacts and limits (Hz, ratio), as these worlds have them.
    walkers = {"half_cheetah": (0.01, [0, 1, 15, 1]), "hopper": (0.002, [0, 1, 15, 1]), "walker2d": (0.002, [0, 1, 15, 1]), "ant": (0.01, [0, 1, 15, 1])}
    out = {
        "pendulum": (scene("pendulum", f'<body name="a" pos="0 0 2">{POLE.format(n="q1", j="")}</body>'), 0.002, 4, "none", [2.0], [0.0], True),
        "double pendulum": (scene("double", double("")), 0.002, 2, "none", [1.0, 0.5], [0, 0], True),
        "double pendulum, 10 ms": (scene("double", double("")), 0.01, 2, "none", [1.0, 0.5], [0, 0], True),
        "two links, torque step": (scene("step", double('damping="0.3" armature="0.02"'), motors), 0.002, 2, "step", [0, 0], [0, 0], True),
        "two links, sine torque": (scene("sine", double('damping="0.3" armature="0.02"'), motors), 0.002, 2, "sine", [0, 0], [0, 0], True),
        "two links, spring and dry friction": (scene("spring", double('damping="0.1" armature="0.02" stiffness="5" frictionloss="0.2"')), 0.002, 2, "none", [1.0, 0.5], [0, 0], True),
        "box falls and rests": (scene("rest", BOX.format(mu=0.5, z=0.3)), 0.002, 2, "none", [0, 0, 0.3, *UPRIGHT], [0] * 6, False),
        "box slides to a stop": (scene("slide", BOX.format(mu=0.3, z=0.1)), 0.002, 2, "none", [0, 0, 0.1, *UPRIGHT], [1.5, 0, 0, 0, 0, 0], False),
        "box lands on an edge": (scene("edge", BOX.format(mu=0.5, z=0.3)), 0.002, 1, "none", [0, 0, 0.3, *tilted], [0] * 6, False),
        "joint limit": (scene("limit", double('damping="0.2" armature="0.02" range="-0.5 0.5"')), 0.002, 1, "none", [0.4, 0.4], [-4, 2], False),
    }
    for name, (dt, softness) in walkers.items():
        model = mujoco.MjModel.from_xml_path(str(SIM / f"models/{name}.xml"))
        out[f"{name}, falls and stands limp" if name != "ant" else "ant, falls limp"] = (
            SIM / f"models/{name}.xml", dt, 0.6, "none", model.qpos0.tolist(), [0.0] * model.nv, False, softness)
        out[f"{name}, sine torque"] = (SIM / f"models/{name}.xml", dt, 0.3, "sine", model.qpos0.tolist(), [0.0] * model.nv, False, softness)
    return out


def simulate(path, dt, seconds, control, qpos, qvel, hold, integrator=None):
    model = mujoco.MjModel.from_xml_path(str(path))
    model.opt.timestep = dt
    if integrator is not None:
        model.opt.integrator = integrator
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = qpos, qvel
    rows, every, hold = [], round(0.02 / dt), max(1, round(hold / dt))
    began = time.perf_counter()
    for k in range(round(seconds / dt) + 1):
        if k % every == 0:
            rows.append(np.concatenate([data.qpos, data.qvel]))
        if k % hold == 0:
            t = k * dt
            for i in range(model.nu):
                data.ctrl[i] = 0.5 * math.sin(2 * math.pi * (0.7 + 0.1 * i) * t) if control == "sine" else 0.5 * (control == "step" and t >= 0.1 - 1e-9)
        mujoco.mj_step(model, data)
    return np.array(rows), model, round(seconds / dt) / (time.perf_counter() - began)


def ours(path, dt, seconds, control, qpos, qvel, substeps=1, soft=(), program=None):
    program = [str(pathlib.Path(program).resolve())] if program else ["cargo", "run", "-q", "-p", "surefoot-sim", "--release", "--example", "fidelity", "--"]
    join = lambda x: ",".join(str(float(v)) for v in x)
    command = [*program, str(path), str(dt), str(seconds), control, str(substeps), join(qpos), join(qvel), *map(str, soft)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=SIM)
    if run.returncode:
        raise SystemExit(run.stderr)
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    return np.array([r["qpos"] + r["qvel"] for r in rows[:-1]]), rows[-1]["physics_steps_per_sec"]


def energies(model, rows):
    """Potential and kinetic energy in each row, J, by MuJoCo's mass matrix whoever made the row."""
    model.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_ENERGY
    data, parts = mujoco.MjData(model), []
    for row in rows:
        data.qpos[:], data.qvel[:] = row[: model.nq], row[model.nq :]
        mujoco.mj_forward(model, data)
        parts.append(data.energy.copy())
    return np.array(parts)


def energy_drift(model, rows):
    parts = energies(model, rows)
    total = parts.sum(axis=1)
    return float(np.abs(total - total[0]).max() / np.ptp(parts, axis=0).max())


def gap(a, b, nq):
    d = np.abs(a[: len(b)] - b[: len(a)])
    return [float(f"{d[:, :nq].max():.2g}"), float(f"{d[:, nq:].max():.2g}")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", help="the built example fidelity")
    parser.add_argument("--case", nargs="*")
    parser.add_argument("--substeps", type=int, default=1)
    parser.add_argument("--soft", type=float, nargs="*", default=[], help="contact Hz and ratio, limit Hz and ratio; none: rapier's contacts, hard limits")
    parser.add_argument("--speed", action="store_true")
    args = parser.parse_args()
    RK4, EULER = mujoco.mjtIntegrator.mjINT_RK4, mujoco.mjtIntegrator.mjINT_EULER
    for name, (path, dt, seconds, control, qpos, qvel, smooth, *own) in cases().items():
        if args.case and not any(c in name for c in args.case):
            continue
        mine, rate = ours(path, dt, seconds, control, qpos, qvel, args.substeps, args.soft or (own[0] if own else []), args.ours)
        if smooth:
            reference, model, _ = simulate(path, 1e-5, seconds, control, qpos, qvel, dt, RK4)
            peer, _, peer_rate = simulate(path, dt, seconds, control, qpos, qvel, dt, EULER)
        else:
            reference, model, peer_rate = simulate(path, dt, seconds, control, qpos, qvel, dt)
            peer, _, _ = simulate(path, dt / 4, seconds, control, qpos, qvel, dt)
        line = {"case": name, "dt": dt, "substeps": args.substeps, "range": gap(reference, reference * 0, model.nq),
                "ours": gap(mine, reference, model.nq), "mujoco_euler" if smooth else "mujoco_quarter_step": gap(peer, reference, model.nq)}
        if smooth and control == "none" and "spring" not in name:
            line["energy"] = {"ours": round(energy_drift(model, mine), 5), "mujoco_euler": round(energy_drift(model, peer), 5)}
        if args.speed:
            line["physics_steps_per_sec"] = {"ours": rate, "mujoco_from_python": round(peer_rate)}
        print(json.dumps(line), flush=True)
