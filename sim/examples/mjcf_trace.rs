//! Our trajectory of an MJCF file with torque motors under `ctrl_i(t) = 0.5 sin(2 pi (0.7 + 0.1 i) t)`, one JSON line every
//! 20 ms: `mjcf_trace FILE [DT_SECS] [SECONDS]`. `benches/compare/mjcf_trace.py` puts MuJoCo's beside it.
#![allow(clippy::print_stdout)]

use std::sync::Arc;

use surefoot_core::contract::{CommandKind, JointContract};
use surefoot_core::{Robot, RobotContract, RobotState, World};
use surefoot_sim::{JointActuator, Model, RapierWorld, Stepping};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let file = args.next().ok_or("usage: mjcf_trace FILE [DT_SECS] [SECONDS]")?;
    let model = Arc::new(Model::parse(&file, &std::fs::read_to_string(&file)?)?);
    let dt: f64 = args.next().map_or(Ok(model.timestep_secs()), |a| a.parse())?;
    let seconds: f64 = args.next().map_or(Ok(2.0), |a| a.parse())?;
    // Limits that nothing here reaches: this compares dynamics, not limits.
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
    let contract = RobotContract {
        name: "trace".to_owned(),
        command: CommandKind::Effort,
        control_hz: 1.0 / dt,
        action_delay_ticks: 0,
        policy_hz: 1.0 / dt,
        scaling: Default::default(),
        joints: model.joints().map(wide).collect(),
        channels: Vec::new(),
        geometry: None,
        import: None,
        link: None,
    };
    let names: Vec<String> = contract.joints.iter().map(|j| j.name.clone()).collect();
    let mut drives = Vec::new();
    for joint in model.actuated_joints() {
        let index = names.iter().position(|n| n == joint).ok_or("an actuator drives no joint")?;
        let JointActuator::Motor { gear, .. } = model.actuator(joint)? else {
            return Err("not a motor".into());
        };
        drives.push((index, gear));
    }
    let mut chain = contract.safety_chain()?;
    let mut state = RobotState::zeros(&contract);
    let mut effort = vec![0.0; names.len()];
    let mut world = RapierWorld::new(contract, Arc::clone(&model), Stepping::new(1))?;
    world.reset(&state)?;
    chain.arm(&state.position)?;
    let every = (0.02 / dt).round().max(1.0) as u64;
    for k in 0..=(seconds / dt).round() as u64 {
        let t = k as f64 * dt;
        world.read(&mut state)?;
        if k % every == 0 {
            println!("{{\"t\":{t:.6},\"qpos\":{:?},\"qvel\":{:?}}}", state.position, state.velocity);
        }
        for (i, (joint, gear)) in drives.iter().enumerate() {
            effort[*joint] = gear * 0.5 * (std::f64::consts::TAU * (0.7 + 0.1 * i as f64) * t).sin();
        }
        world.write(chain.admit(&effort))?;
    }
    Ok(())
}
