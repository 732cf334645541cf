//! Our trajectory of any MJCF file with torque motors, in MuJoCo's coordinates, for `benches/compare/fidelity.py`:
//! `fidelity FILE DT_SECS SECONDS CONTROL SUBSTEPS QPOS QVEL [CONTACT_HZ CONTACT_RATIO [LIMIT_HZ LIMIT_RATIO]]`.
//!
//! CONTROL is `none`, `sine` (`ctrl_i = 0.5 sin(2 pi (0.7 + 0.1 i) t)`) or `step` (0.5 from 0.1 s on); QPOS and QVEL are lists with
//! commas, in MuJoCo's order. One JSON line every 20 ms; the last one is the number of physics steps per second.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::sync::Arc;

use surefoot_core::clock::Stopwatch;
use surefoot_core::contract::{ChannelContract, CommandKind, JointContract};
use surefoot_core::{Robot, RobotContract, RobotState, World};
use surefoot_sim::{JointActuator, Model, RapierWorld, Softness, Stepping};

/// Where the numbers of `qpos` and `qvel` are in our state, in MuJoCo's order.
enum Slot {
    Joint(usize),
    /// First of 13 channels: position, quaternion, velocity, angular velocity.
    Free(usize),
}

const FREE: [&str; 13] = ["x", "y", "z", "qw", "qx", "qy", "qz", "vx", "vy", "vz", "wx", "wy", "wz"];

/// `v` turned by the quaternion `q` (w, x, y, z), or back.
fn turned(q: &[f64], v: [f64; 3], back: bool) -> [f64; 3] {
    let q = nalgebra::UnitQuaternion::from_quaternion(nalgebra::Quaternion::new(q[0], q[1], q[2], q[3]));
    let q = if back { q.inverse() } else { q };
    (q * nalgebra::Vector3::from(v)).into()
}

fn list(text: &str) -> Result<Vec<f64>, std::num::ParseFloatError> {
    text.split(',').filter(|t| !t.is_empty()).map(str::parse).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, dt, seconds, control, substeps, qpos, qvel, soft @ ..] = args.as_slice() else {
        return Err(
            "usage: fidelity FILE DT SECONDS CONTROL SUBSTEPS QPOS QVEL [CONTACT_HZ RATIO [LIMIT_HZ RATIO]]"
                .into(),
        );
    };
    let (dt, seconds): (f64, f64) = (dt.parse()?, seconds.parse()?);
    let soft: Vec<f64> = soft.iter().map(|s| s.parse()).collect::<Result<_, _>>()?;
    let softness = |i: usize| {
        let frequency_hz = *soft.get(i).filter(|hz| **hz > 0.0)?;
        Some(Softness { frequency_hz, damping_ratio: *soft.get(i + 1)? })
    };
    let model = Arc::new(Model::read(Path::new(file))?);
    let report = model.report();
    // Limits that nothing here reaches: this compares dynamics.
    let wide = |name: &str| JointContract {
        name: name.to_owned(),
        unit: "rad".to_owned(),
        min_position: -1e6,
        max_position: 1e6,
        max_velocity: 1e6,
        max_acceleration: 1e9,
        max_deceleration: None,
        max_effort: Some(1e6),
        max_jerk: None,
        soft_limits: None,
    };
    let (mut joints, mut channels, mut slots) = (Vec::new(), Vec::new(), Vec::new());
    for joint in &report.joints {
        if joint.kind == "free" {
            slots.push(Slot::Free(channels.len()));
            let named =
                FREE.map(|c| ChannelContract { name: format!("{}_{c}", joint.body), unit: "1".to_owned() });
            channels.extend(named);
        } else {
            slots.push(Slot::Joint(joints.len()));
            joints.push(wide(&joint.name));
        }
    }
    let contract = RobotContract {
        name: "fidelity".to_owned(),
        command: CommandKind::Effort,
        control_hz: 1.0 / dt,
        action_delay_ticks: 0,
        policy_hz: 1.0 / dt,
        scaling: Default::default(),
        joints,
        channels,
        geometry: None,
        import: None,
        link: None,
    };
    let mut drives = Vec::new();
    for joint in model.actuated_joints() {
        let index =
            contract.joints.iter().position(|j| j.name == joint).ok_or("an actuator drives no joint")?;
        let JointActuator::Motor { gear, .. } = model.actuator(joint)? else {
            return Err("not a motor".into());
        };
        drives.push((index, gear));
    }
    let mut state = RobotState::zeros(&contract);
    let (qpos, qvel) = (list(qpos)?, list(qvel)?);
    let (mut p, mut v) = (qpos.iter().copied(), qvel.iter().copied());
    let next = |of: &mut dyn Iterator<Item = f64>| of.next().ok_or("too few numbers in qpos or qvel");
    for slot in &slots {
        match *slot {
            Slot::Joint(i) => {
                state.position[i] = next(&mut p)?;
                state.velocity[i] = next(&mut v)?;
            }
            Slot::Free(first) => {
                for i in 0..7 {
                    state.channels[first + i] = next(&mut p)?;
                }
                let mut velocity = [0.0; 6];
                for value in &mut velocity {
                    *value = next(&mut v)?;
                }
                let own = [velocity[3], velocity[4], velocity[5]];
                velocity[3..].copy_from_slice(&turned(&state.channels[first + 3..first + 7], own, false));
                state.channels[first + 7..first + 13].copy_from_slice(&velocity);
            }
        }
    }
    let mut chain = contract.safety_chain().ok();
    let stepping = Stepping {
        solver_iterations: substeps.parse()?,
        contacts: softness(0),
        limits: softness(2),
        ..Stepping::new(1)
    };
    let joint_count = contract.joints.len();
    let mut world = RapierWorld::new(contract, Arc::clone(&model), stepping)?;
    world.reset(&state)?;
    if let Some(chain) = &mut chain {
        chain.arm(&state.position)?;
    }
    let mut effort = vec![0.0; joint_count];
    let every = (0.02 / dt).round().max(1.0) as u64;
    let steps = (seconds / dt).round() as u64;
    let watch = Stopwatch::start();
    for k in 0..=steps {
        let t = k as f64 * dt;
        if k % every == 0 {
            world.read(&mut state)?;
            let (mut qpos, mut qvel) = (Vec::new(), Vec::new());
            for slot in &slots {
                match *slot {
                    Slot::Joint(i) => {
                        qpos.push(state.position[i]);
                        qvel.push(state.velocity[i]);
                    }
                    Slot::Free(first) => {
                        let c = &state.channels[first..first + 13];
                        qpos.extend(&c[..7]);
                        qvel.extend(&c[7..10]);
                        qvel.extend(turned(&c[3..7], [c[10], c[11], c[12]], true));
                    }
                }
            }
            println!("{{\"t\":{t:.6},\"qpos\":{qpos:?},\"qvel\":{qvel:?}}}");
        }
        for (i, (joint, gear)) in drives.iter().enumerate() {
            effort[*joint] = gear
                * match control.as_str() {
                    "sine" => 0.5 * (std::f64::consts::TAU * (0.7 + 0.1 * i as f64) * t).sin(),
                    "step" if t >= 0.1 - 1e-9 => 0.5,
                    _ => 0.0,
                };
        }
        match &mut chain {
            Some(chain) => world.write(chain.admit(&effort))?,
            None => world.without_command()?,
        }
    }
    println!("{{\"physics_steps_per_sec\":{:.0}}}", steps as f64 / watch.elapsed().as_secs_f64());
    Ok(())
}
