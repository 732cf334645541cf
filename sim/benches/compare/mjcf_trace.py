"""Puts our trajectory of an MJCF file beside MuJoCo's: same file, same controls, largest difference in qpos and qvel.

    python3 -m venv venv && venv/bin/pip install mujoco numpy
    venv/bin/python sim/benches/compare/mjcf_trace.py [--seconds 2] [--dt 0.002]

Runs `cargo run -p surefoot-sim --release --example mjcf_trace` on the pendulum, the cart-pole and the seven-joint arm (its
position servos replaced by torque motors, its puck and table removed, without gravity compensation too). MuJoCo runs the
reference at a hundredth of a millisecond with RK4, and once more at our timestep with its default integrator, so that the
error of the timestep can be told from an error of the model. Fails when our error is more than a tenth (and 1e-3 rad, m) beyond
that of MuJoCo's integrator at the same timestep.
"""
import argparse, json, math, pathlib, re, subprocess, sys, tempfile
import mujoco
import numpy as np

SIM = pathlib.Path(__file__).resolve().parents[2]


def control(data, count, t):
    for i in range(count):
        data.ctrl[i] = 0.5 * math.sin(2 * math.pi * (0.7 + 0.1 * i) * t)


def mujoco_trace(path, dt, seconds, integrator, hold):
    model = mujoco.MjModel.from_xml_path(str(path))
    model.opt.timestep, model.opt.integrator = dt, integrator
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
    data = mujoco.MjData(model)
    rows, every, hold = [], round(0.02 / dt), round(hold / dt)
    for k in range(round(seconds / dt) + 1):
        if k % every == 0:
            rows.append(np.concatenate([data.qpos, data.qvel]))
        if k % hold == 0:  # the control is held for one of our steps
            control(data, model.nu, data.time)
        mujoco.mj_step(model, data)
    return np.array(rows)


def our_trace(path, dt, seconds):
    command = ["cargo", "run", "-q", "-p", "surefoot-sim", "--release", "--example", "mjcf_trace", "--"]
    out = subprocess.run([*command, str(path), str(dt), str(seconds)], check=True, capture_output=True, text=True, cwd=SIM)
    return np.array([r["qpos"] + r["qvel"] for r in map(json.loads, out.stdout.splitlines())])


def arm_variant(gravity_compensated):
    text = (SIM / "models/arm7.xml").read_text()
    text = re.sub(r'<position joint="(\w+)"[^/]*/>', r'<motor joint="\1" gear="8"/>', text)
    text = re.sub(r'<body name="puck".*?</body>', "", text, flags=re.S)
    if not gravity_compensated:
        text = text.replace('gravcomp="1"', "")
    file = tempfile.NamedTemporaryFile("w", suffix=".xml", delete=False)
    file.write(text)
    file.close()
    return file.name


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--seconds", type=float, default=2.0)
parser.add_argument("--dt", type=float, nargs="*", default=[0.002, 0.01])
args = parser.parse_args()
cases = {
    "pendulum": SIM / "models/pendulum.xml",
    "cart_pole": SIM / "models/cart_pole.xml",
    "arm7, torque, gravity compensated": arm_variant(True),
    "arm7, torque": arm_variant(False),
}
failed = False
for name, path in cases.items():
    for dt in args.dt:
        ours = our_trace(path, dt, args.seconds)
        exact = mujoco_trace(path, 1e-5, args.seconds, mujoco.mjtIntegrator.mjINT_RK4, dt)
        euler = mujoco_trace(path, dt, args.seconds, mujoco.mjtIntegrator.mjINT_EULER, dt)
        n = ours.shape[1] // 2
        gap = lambda a: {"qpos": float(np.abs(a - exact)[:, :n].max()), "qvel": float(np.abs(a - exact)[:, n:].max())}
        span = {"qpos": float(np.abs(exact[:, :n]).max()), "qvel": float(np.abs(exact[:, n:]).max())}
        near = np.abs(ours - euler)
        twin = {"qpos": float(near[:, :n].max()), "qvel": float(near[:, n:].max())}
        failed |= gap(ours)["qpos"] > 1.1 * gap(euler)["qpos"] + 1e-3
        print(json.dumps({"model": name, "dt": dt, "seconds": args.seconds, "range": span, "ours": gap(ours), "mujoco_euler": gap(euler), "ours_to_mujoco_euler": twin}), flush=True)
sys.exit(failed)
