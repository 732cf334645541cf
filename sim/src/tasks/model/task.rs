//! A task in named terms over a robot.

use std::collections::BTreeMap;

use rapier3d_mjcf::MjcfDofKind;
use surefoot_core::contract::CommandKind;
use surefoot_core::safety::CommandState;
use surefoot_core::{
    EnvSpec, Field, Marker, MarkerShape, RobotContract, RobotState, Stream, Task, TaskOutcome,
};

use super::quantity::{Resolved, Resolver, Sight};
use super::terms::{
    BodyStart, Condition, JointStart, ModelTask, Place, Places, Reward, Shape, Start, check_box,
};
use crate::model::Model;

struct Term {
    weight: f64,
    of: Resolved,
    shape: Shape,
}

struct Rule {
    of: Resolved,
    range: [f64; 2],
    within: bool,
}

impl Rule {
    fn holds(&self, sight: &Sight<'_>) -> bool {
        let (mut all_in, [low, high]) = (true, self.range);
        self.of.each(sight, |value| all_in &= low <= value && value <= high);
        all_in == self.within
    }
}

/// A number of the initial state, and the range that it is drawn from.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    slot: usize,
    low: f64,
    high: f64,
}

/// The task over a robot.
pub struct NamedTask {
    spec: EnvSpec,
    places: Places,
    drawn_places: Vec<[f64; 3]>,
    observations: Vec<Resolved>,
    rewards: Vec<Term>,
    terminations: Vec<Rule>,
    success: Vec<Rule>,
    success_ends: bool,
    /// Joints in the order of the action, with what an action of 1 is.
    drives: Vec<(usize, f64)>,
    command: CommandKind,
    start: RobotState,
    noise: [f64; 2],
    drawn_joints: Vec<Drawn>,
    drawn_channels: Vec<Drawn>,
    ticks: usize,
    max_ticks: usize,
    last_action: Vec<f32>,
}

impl NamedTask {
    /// The task for a robot of this contract.
    ///
    /// # Errors
    /// What is wrong with the task, in words.
    pub fn new(
        task: &ModelTask,
        model: &Model,
        contract: &RobotContract,
        places: Places,
    ) -> Result<Self, String> {
        let ModelTask {
            name,
            max_steps,
            success_ends,
            places: _,
            start,
            observations,
            rewards,
            terminations,
            success,
        } = task;
        if *max_steps == 0 {
            return Err("max_steps must be at least 1, found 0".to_owned());
        }
        if observations.is_empty() {
            return Err("a task needs observations".to_owned());
        }
        if let Some(place) = places.names().find(|p| model.frame(p).is_ok()) {
            return Err(format!("place {place} has the name of a body or site of the model"));
        }
        let mut drives = Vec::new();
        let mut action = Vec::new();
        for (index, joint) in contract.joints.iter().enumerate() {
            if !model.actuated_joints().any(|a| a == joint.name) {
                continue;
            }
            let (most, what, unit) = match (contract.command, joint.max_effort) {
                (CommandKind::Effort, effort) => {
                    (effort.unwrap_or(1.0), "effort", if joint.unit == "m" { "N" } else { "N m" }.to_owned())
                }
                (CommandKind::Motion, _) => (joint.max_velocity, "velocity", format!("{}/s", joint.unit)),
            };
            drives.push((index, most));
            action.push(Field::bounded(format!("{}_{what}", joint.name), unit, -most as f32, most as f32));
        }
        let resolver = Resolver { model, contract, places: &places, action: &action };
        let place_of = |list: &str, index: usize, e: String| format!("{list} number {}: {e}", index + 1);
        let mut seen = Vec::new();
        for (i, quantity) in observations.iter().enumerate() {
            seen.push(resolver.resolve(quantity).map_err(|e| place_of("observation", i, e))?);
        }
        let mut terms = Vec::new();
        for (i, Reward { name: _, weight, of, shape }) in rewards.iter().enumerate() {
            let wrong_shape = match shape {
                Shape::Bell { width } => !(width.is_finite() && *width > 0.0),
                Shape::Within { low, high } => low.is_nan() || high.is_nan() || low > high,
                Shape::Plain | Shape::Absolute | Shape::Square => false,
            };
            if !weight.is_finite() || wrong_shape {
                return Err(place_of(
                    "reward",
                    i,
                    "weight and shape must be finite, widths above zero, low below high".into(),
                ));
            }
            let of = resolver.resolve(of).map_err(|e| place_of("reward", i, e))?;
            terms.push(Term { weight: *weight, of, shape: *shape });
        }
        let rules = |list: &str, conditions: &[Condition]| {
            let rule = |(i, c): (usize, &Condition)| {
                let (range, within) = match (c.within, c.outside) {
                    (Some(range), None) => (range, true),
                    (None, Some(range)) => (range, false),
                    _ => return Err(place_of(list, i, "one of within and outside is needed".to_owned())),
                };
                if range[0].is_nan() || range[1].is_nan() || range[0] > range[1] {
                    return Err(place_of(
                        list,
                        i,
                        format!("{range:?}: the lower end must not be above the upper"),
                    ));
                }
                let of = resolver.resolve(&c.of).map_err(|e| place_of(list, i, e))?;
                Ok(Rule { of, range, within })
            };
            conditions.iter().enumerate().map(rule).collect::<Result<Vec<_>, String>>()
        };
        let (terminations, success) = (rules("termination", terminations)?, rules("success", success)?);
        let mut fields: Vec<Field> = seen.iter().flat_map(|r| r.fields.clone()).collect();
        let mut counts = BTreeMap::new();
        for field in &mut fields {
            let count = counts.entry(field.name.clone()).or_insert(0);
            *count += 1;
            if *count > 1 {
                return Err(format!("{} is observed twice", field.name));
            }
        }
        let ticks_per_step = contract.ticks_per_step().map_err(|e| e.to_string())?;
        let mut own = Self {
            spec: EnvSpec {
                name: name.clone(),
                observation: fields,
                action,
                step_secs: 1.0 / contract.policy_hz,
                max_steps: *max_steps,
                reward_range: None,
                contract_hash: Some(contract.hash()),
            },
            drawn_places: vec![[0.0; 3]; task.places.len()],
            places,
            observations: seen,
            rewards: terms,
            terminations,
            success,
            success_ends: *success_ends,
            last_action: vec![0.0; drives.len()],
            drives,
            command: contract.command,
            start: as_drawn(model, contract),
            noise: [start.position_noise, start.velocity_noise],
            drawn_joints: Vec::new(),
            drawn_channels: Vec::new(),
            ticks: 0,
            max_ticks: ticks_per_step * max_steps,
        };
        own.set_start(start, model, contract)?;
        Ok(own)
    }

    fn set_start(&mut self, start: &Start, model: &Model, contract: &RobotContract) -> Result<(), String> {
        let Start { keyframe, position_noise, velocity_noise, joints, bodies } = start;
        for (key, noise) in [("position_noise", position_noise), ("velocity_noise", velocity_noise)] {
            if !(noise.is_finite() && *noise >= 0.0) {
                return Err(format!("start: {key} must not be negative, found {noise}"));
            }
        }
        if let Some(key) = keyframe {
            let frame = model.robot.keyframes.iter().find(|k| k.name.as_ref() == Some(key));
            let frame = frame.ok_or_else(|| format!("start: the model has no keyframe \"{key}\""))?;
            set_keyframe(&mut self.start, &frame.qpos, model, contract)
                .ok_or_else(|| format!("start: keyframe \"{key}\" has not as many numbers as the model"))?;
        }
        let channel = |name: String| contract.channels.iter().position(|c| c.name == name);
        for JointStart { joint, low, high } in joints {
            if !(low.is_finite() && high.is_finite() && low <= high) {
                return Err(format!("start: joint {joint}: low {low} must not be above high {high}"));
            }
            let drawn = |slot| Drawn { slot, low: *low, high: *high };
            if let Some(slot) = contract.joints.iter().position(|j| j.name == *joint) {
                self.drawn_joints.push(drawn(slot));
            } else if let Some(slot) = channel(format!("{joint}_angle")) {
                self.drawn_channels.push(drawn(slot));
            } else {
                let names: Vec<&str> = model.joints().collect();
                return Err(format!(
                    "start: there is no joint \"{joint}\": expected one of {}",
                    names.join(", ")
                ));
            }
        }
        for BodyStart { body, low_m, high_m } in bodies {
            check_box(body, *low_m, *high_m)?;
            let index = model.body_index(body).map_err(|e| e.to_string())?;
            if !model.free_bodies().any(|free| free == index) {
                return Err(format!("start: body {body} has no freejoint: its joints say where it starts"));
            }
            for (axis, name) in ["x", "y", "z"].into_iter().enumerate() {
                let slot = channel(format!("{body}_{name}"))
                    .ok_or_else(|| format!("contract {}: channel {body}_{name} is missing", contract.name))?;
                self.drawn_channels.push(Drawn { slot, low: low_m[axis], high: high_m[axis] });
            }
        }
        Ok(())
    }

    fn sight<'a>(&'a self, state: &'a RobotState, action: &'a [f32]) -> Sight<'a> {
        let time = self.ticks as f64 / self.max_ticks as f64;
        Sight { state, places: &self.drawn_places, action, time }
    }
}

/// The state in which the model is drawn.
fn as_drawn(model: &Model, contract: &RobotContract) -> RobotState {
    let mut state = RobotState::zeros(contract);
    for (position, joint) in state.position.iter_mut().zip(&contract.joints) {
        *position = model.joint_index(&joint.name).map_or(0.0, |i| model.joint_reference(i));
    }
    let free: Vec<usize> = model.free_bodies().collect();
    for (value, channel) in state.channels.iter_mut().zip(&contract.channels) {
        let Some((subject, component)) = channel.name.rsplit_once('_') else { continue };
        if component == "angle" {
            *value = model.joint_index(subject).map_or(0.0, |i| model.joint_reference(i));
        }
        let Some(body) = model.body_index(subject).ok().filter(|b| free.contains(b)) else { continue };
        let pose = model.robot.bodies[body].body.position();
        let [qx, qy, qz, qw] = pose.rotation.to_array();
        *value = f64::from(match component {
            "x" => pose.translation.x,
            "y" => pose.translation.y,
            "z" => pose.translation.z,
            "qw" => qw,
            "qx" => qx,
            "qy" => qy,
            "qz" => qz,
            _ => 0.0,
        });
    }
    state
}

/// `None` when the numbers are too few or too many.
fn set_keyframe(state: &mut RobotState, qpos: &[f64], model: &Model, contract: &RobotContract) -> Option<()> {
    let mut rest = qpos;
    for dof in &model.robot.qpos_dofs {
        let (own, others) = rest.split_at_checked(dof.kind.qpos_width())?;
        rest = others;
        match (dof.kind, dof.joint) {
            (MjcfDofKind::Free, _) => {
                let name = model.robot.bodies[dof.body].name.as_deref().unwrap_or_default();
                for (component, value) in ["x", "y", "z", "qw", "qx", "qy", "qz"].iter().zip(own) {
                    let slot = contract.channels.iter().position(|c| c.name == format!("{name}_{component}"));
                    if let Some(slot) = slot {
                        state.channels[slot] = *value;
                    }
                }
            }
            (MjcfDofKind::Hinge | MjcfDofKind::Slide, Some(joint)) => {
                let name = model.robot.joints[joint].name.as_deref().unwrap_or_default();
                if let Some(slot) = contract.joints.iter().position(|j| j.name == name) {
                    state.position[slot] = own[0];
                } else if let Some(slot) =
                    contract.channels.iter().position(|c| c.name == format!("{name}_angle"))
                {
                    state.channels[slot] = own[0];
                }
            }
            _ => {}
        }
    }
    rest.is_empty().then_some(())
}

impl Task for NamedTask {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, stream: &mut Stream, initial: &mut RobotState) {
        // Row by row, into the room that is there: this runs in a control tick.
        initial.position.clone_from(&self.start.position);
        initial.velocity.clone_from(&self.start.velocity);
        initial.channels.clone_from(&self.start.channels);
        let [position_noise, velocity_noise] = self.noise;
        for position in &mut initial.position {
            *position += stream.uniform(-position_noise, position_noise);
        }
        for velocity in &mut initial.velocity {
            *velocity += stream.uniform(-velocity_noise, velocity_noise);
        }
        for Drawn { slot, low, high } in &self.drawn_joints {
            initial.position[*slot] = stream.uniform(*low, *high);
        }
        for Drawn { slot, low, high } in &self.drawn_channels {
            initial.channels[*slot] = stream.uniform(*low, *high);
        }
        for (drawn, place) in self.drawn_places.iter_mut().zip(&self.places.0) {
            *drawn = std::array::from_fn(|axis| stream.uniform(place.low_m[axis], place.high_m[axis]));
        }
        self.ticks = 0;
        self.last_action.fill(0.0);
    }

    fn desired(&mut self, _: &RobotState, _: CommandState<'_>, action: &[f32], desired: &mut [f64]) {
        self.ticks += 1;
        desired.fill(0.0);
        for ((joint, most), action) in self.drives.iter().zip(action) {
            desired[*joint] = f64::from(action.clamp(-1.0, 1.0)) * most;
        }
        for (last, action) in self.last_action.iter_mut().zip(action) {
            *last = if action.is_finite() { action.clamp(-1.0, 1.0) } else { 0.0 };
        }
    }

    fn executed(&self, before: &[f64], after: &[f64], effort: &[f64], step_secs: f64, action: &mut [f32]) {
        for ((joint, most), action) in self.drives.iter().zip(action) {
            let done = match self.command {
                CommandKind::Effort => effort[*joint],
                CommandKind::Motion => (after[*joint] - before[*joint]) / step_secs,
            };
            *action = (done / most).clamp(-1.0, 1.0) as f32;
        }
    }

    fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
        let sight = self.sight(state, &self.last_action);
        let mut out = observation.iter_mut();
        for quantity in &self.observations {
            quantity.each(&sight, |value| {
                if let Some(o) = out.next() {
                    *o = value as f32;
                }
            });
        }
    }

    fn outcome(&mut self, state: &RobotState, executed: &[f32]) -> TaskOutcome {
        let sight = self.sight(state, executed);
        let mut reward = 0.0;
        for Term { weight, of, shape } in &self.rewards {
            of.each(&sight, |value| reward += weight * shape.of(value));
        }
        let success = !self.success.is_empty() && self.success.iter().all(|rule| rule.holds(&sight));
        let ended = self.terminations.iter().any(|rule| rule.holds(&sight));
        TaskOutcome { reward: reward as f32, terminated: ended || (success && self.success_ends), success }
    }

    fn markers(&self) -> Vec<Marker> {
        let shown = self.drawn_places.iter().zip(&self.places.0);
        let marker = |(at, place): (&[f64; 3], &Place)| Marker {
            center: at.map(|x| x as f32),
            shape: MarkerShape::Ball(place.radius_m as f32),
            rgb: [86, 166, 106],
        };
        shown.map(marker).collect()
    }
}
