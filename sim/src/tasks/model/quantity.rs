//! Named quantities of a world: what a task file's observations, rewards and conditions are made of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use surefoot_core::contract::ChannelContract;
use surefoot_core::{Field, RobotContract, RobotState};

use super::Places;
use crate::model::{Model, ModelError};

/// One quantity: one number or several. `of`, `from` and `to` name a body, a site, or a place of the task; `axes` picks from `xyz`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Quantity {
    /// Positions of joints, rad or m; of all joints of the contract where none is named.
    JointPosition {
        /// Names.
        #[serde(default)]
        joints: Vec<String>,
    },
    /// Cosine and sine of the angles of joints.
    JointAngle {
        /// Names.
        #[serde(default)]
        joints: Vec<String>,
    },
    /// Velocities of joints, rad/s or m/s.
    JointVelocity {
        /// Names.
        #[serde(default)]
        joints: Vec<String>,
    },
    /// Position, m, world axes.
    Position {
        /// Body, site or place.
        of: String,
        /// Which of `xyz`.
        #[serde(default = "xyz")]
        axes: String,
    },
    /// Orientation as a quaternion w, x, y, z.
    Orientation {
        /// Body or site.
        of: String,
    },
    /// How upright it is: the world's z component of its z axis, 1 upright, -1 upside down.
    Upright {
        /// Body or site.
        of: String,
    },
    /// Velocity, m/s, world axes.
    Velocity {
        /// Body or site.
        of: String,
        /// Which of `xyz`.
        #[serde(default = "xyz")]
        axes: String,
    },
    /// Angular velocity, rad/s, world axes.
    AngularVelocity {
        /// Body or site.
        of: String,
        /// Which of `xyz`.
        #[serde(default = "xyz")]
        axes: String,
    },
    /// The way from one to another, m, world axes.
    Offset {
        /// Body, site or place.
        from: String,
        /// Body, site or place.
        to: String,
        /// Which of `xyz`.
        #[serde(default = "xyz")]
        axes: String,
    },
    /// The distance between two, m.
    Distance {
        /// Body, site or place.
        from: String,
        /// Body, site or place.
        to: String,
    },
    /// 1 while something touches it, 0 otherwise.
    Touch {
        /// Body or geom.
        of: String,
    },
    /// Force that contacts do to it, N, world axes.
    ContactForce {
        /// Body or geom.
        of: String,
        /// Which of `xyz`.
        #[serde(default = "xyz")]
        axes: String,
    },
    /// The action that was executed last, each from -1 to 1.
    Action {},
    /// The share of the episode that has passed, 0 to 1.
    Time {},
    /// Always 1.
    One {},
}

fn xyz() -> String {
    "xyz".to_owned()
}

/// Where a number comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Position(usize),
    Velocity(usize),
    Channel(usize),
    /// Place and axis.
    Place(usize, usize),
}

/// What is computed of numbers.
#[derive(Clone, Debug, PartialEq)]
enum Form {
    /// Each as it is.
    Plain(Vec<Number>),
    /// Cosine and sine of each.
    Angles(Vec<Number>),
    /// Second minus first, for each pair.
    Differences(Vec<[Number; 2]>),
    /// Length of the differences.
    Distance([[Number; 2]; 3]),
    /// From the x and y of a quaternion.
    Upright([Number; 2]),
    Action,
    Time,
    One,
}

/// A quantity of one world.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    form: Form,
    pub fields: Vec<Field>,
}

/// What quantities are computed from.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    pub state: &'a RobotState,
    /// `[places]`, m.
    pub places: &'a [[f64; 3]],
    /// `[action_dim]`.
    pub action: &'a [f32],
    /// Share of the episode that has passed.
    pub time: f64,
}

impl Sight<'_> {
    fn number(&self, number: Number) -> f64 {
        match number {
            Number::Position(i) => self.state.position[i],
            Number::Velocity(i) => self.state.velocity[i],
            Number::Channel(i) => self.state.channels[i],
            Number::Place(place, axis) => self.places[place][axis],
        }
    }
}

const AXES: [&str; 3] = ["x", "y", "z"];

/// Indices of the axes that are named.
fn picked(axes: &str) -> Result<Vec<usize>, String> {
    let indices: Option<Vec<usize>> =
        axes.chars().map(|a| AXES.iter().position(|n| n.starts_with(a))).collect();
    let indices = indices.filter(|i| !i.is_empty() && i.windows(2).all(|w| w[0] < w[1]));
    indices.ok_or_else(|| format!("axes = \"{axes}\": expected some of xyz, in this order"))
}

/// Names of the channels that a quantity needs of this model, so that a contract can be made for it.
pub fn channels_of(quantity: &Quantity, contract_joints: &[&str], places: &Places) -> Vec<ChannelContract> {
    let mut channels = Vec::new();
    let mut want = |subject: &String, components: &[&str], unit: &str| {
        if places.index(subject).is_none() {
            channels.extend(
                components
                    .iter()
                    .map(|c| ChannelContract { name: format!("{subject}_{c}"), unit: unit.to_owned() }),
            );
        }
    };
    match quantity {
        Quantity::Position { of, .. } => want(of, &AXES, "m"),
        Quantity::Orientation { of } | Quantity::Upright { of } => want(of, &["qw", "qx", "qy", "qz"], "1"),
        Quantity::Velocity { of, .. } => want(of, &["vx", "vy", "vz"], "m/s"),
        Quantity::AngularVelocity { of, .. } => want(of, &["wx", "wy", "wz"], "rad/s"),
        Quantity::Offset { from, to, .. } | Quantity::Distance { from, to } => {
            want(from, &AXES, "m");
            want(to, &AXES, "m");
        }
        Quantity::Touch { of } => want(of, &["touch"], "1"),
        Quantity::ContactForce { of, .. } => want(of, &["fx", "fy", "fz"], "N"),
        Quantity::JointPosition { joints }
        | Quantity::JointAngle { joints }
        | Quantity::JointVelocity { joints } => {
            let rate = matches!(quantity, Quantity::JointVelocity { .. });
            for joint in joints.iter().filter(|j| !contract_joints.contains(&j.as_str())) {
                if rate { want(joint, &["rate"], "rad/s") } else { want(joint, &["angle"], "rad") }
            }
        }
        Quantity::Action {} | Quantity::Time {} | Quantity::One {} => {}
    }
    channels
}

/// Finds things by name.
pub struct Resolver<'a> {
    pub model: &'a Model,
    pub contract: &'a RobotContract,
    pub places: &'a Places,
    /// The action row.
    pub action: &'a [Field],
}

impl Resolver<'_> {
    fn channel(&self, name: &str) -> Result<Number, String> {
        let index = self.contract.channels.iter().position(|c| c.name == name);
        index.map(Number::Channel).ok_or_else(|| {
            format!("contract {}: channel {name} is missing: add it to [[channels]]", self.contract.name)
        })
    }

    /// Whether the model has it, with what it may be instead.
    fn known(&self, of: &str) -> Result<(), String> {
        self.model.frame(of).map(|_| ()).map_err(|_: ModelError| {
            let report = self.model.report();
            let mut names: Vec<&str> = report.bodies.iter().map(|(n, _)| n.as_str()).collect();
            names.extend(report.sites.iter().map(String::as_str));
            names.extend(self.places.names());
            names.retain(|n| !n.is_empty());
            format!("there is no body, site or place \"{of}\": expected one of {}", names.join(", "))
        })
    }

    fn axis(&self, of: &str, axis: usize) -> Result<Number, String> {
        if let Some(place) = self.places.index(of) {
            return Ok(Number::Place(place, axis));
        }
        self.known(of)?;
        self.channel(&format!("{of}_{}", AXES[axis]))
    }

    fn axes(
        &self,
        of: &str,
        prefix: &str,
        axes: &str,
        unit: &str,
    ) -> Result<(Vec<Number>, Vec<Field>), String> {
        let mut numbers = Vec::new();
        let mut fields = Vec::new();
        for axis in picked(axes)? {
            let name = format!("{of}_{prefix}{}", AXES[axis]);
            numbers.push(if prefix.is_empty() { self.axis(of, axis)? } else { self.channel(&name)? });
            fields.push(Field::unbounded(name, unit));
        }
        Ok((numbers, fields))
    }

    /// Numbers of joints, with name and unit.
    fn joints<'n>(
        &'n self,
        joints: &'n [String],
        rate: bool,
    ) -> Result<Vec<(Number, &'n str, &'n str)>, String> {
        let all = || self.contract.joints.iter().enumerate();
        if joints.is_empty() {
            let number = |i| if rate { Number::Velocity(i) } else { Number::Position(i) };
            return Ok(all().map(|(i, j)| (number(i), j.name.as_str(), j.unit.as_str())).collect());
        }
        let find = |name: &'n String| match all().find(|(_, j)| j.name == *name) {
            Some((i, j)) => Ok((
                if rate { Number::Velocity(i) } else { Number::Position(i) },
                name.as_str(),
                j.unit.as_str(),
            )),
            None if self.model.joint_index(name).is_ok() => {
                let number = self.channel(&format!("{name}_{}", if rate { "rate" } else { "angle" }))?;
                Ok((number, name.as_str(), "rad"))
            }
            None => {
                let names: Vec<&str> = self.model.joints().collect();
                Err(format!("there is no joint \"{name}\": expected one of {}", names.join(", ")))
            }
        };
        joints.iter().map(find).collect()
    }

    /// The quantity in this world.
    ///
    /// # Errors
    /// When it names something that the model or the contract lacks.
    pub fn resolve(&self, quantity: &Quantity) -> Result<Resolved, String> {
        let (form, fields) = match quantity {
            Quantity::JointPosition { joints } => {
                let of = self.joints(joints, false)?;
                let fields =
                    of.iter().map(|(_, name, unit)| Field::unbounded(format!("{name}_position"), *unit));
                (Form::Plain(of.iter().map(|j| j.0).collect()), fields.collect())
            }
            Quantity::JointVelocity { joints } => {
                let of = self.joints(joints, true)?;
                let fields = of
                    .iter()
                    .map(|(_, name, unit)| Field::unbounded(format!("{name}_velocity"), format!("{unit}/s")));
                (Form::Plain(of.iter().map(|j| j.0).collect()), fields.collect())
            }
            Quantity::JointAngle { joints } => {
                let of = self.joints(joints, false)?;
                let bounded = |name: String| Field::bounded(name, "1", -1.0, 1.0);
                let both = |name: &str| [bounded(format!("cos_{name}")), bounded(format!("sin_{name}"))];
                (Form::Angles(of.iter().map(|j| j.0).collect()), of.iter().flat_map(|j| both(j.1)).collect())
            }
            Quantity::Position { of, axes } => {
                let (numbers, fields) = self.axes(of, "", axes, "m")?;
                (Form::Plain(numbers), fields)
            }
            Quantity::Velocity { of, axes } => {
                self.known(of)?;
                let (numbers, fields) = self.axes(of, "v", axes, "m/s")?;
                (Form::Plain(numbers), fields)
            }
            Quantity::AngularVelocity { of, axes } => {
                self.known(of)?;
                let (numbers, fields) = self.axes(of, "w", axes, "rad/s")?;
                (Form::Plain(numbers), fields)
            }
            Quantity::ContactForce { of, axes } => {
                let (numbers, fields) = self.axes(of, "f", axes, "N")?;
                (Form::Plain(numbers), fields)
            }
            Quantity::Orientation { of } => {
                self.known(of)?;
                let names = ["qw", "qx", "qy", "qz"].map(|c| format!("{of}_{c}"));
                let numbers: Result<_, _> = names.iter().map(|n| self.channel(n)).collect();
                (Form::Plain(numbers?), names.map(|n| Field::bounded(n, "1", -1.0, 1.0)).to_vec())
            }
            Quantity::Upright { of } => {
                self.known(of)?;
                let numbers = [self.channel(&format!("{of}_qx"))?, self.channel(&format!("{of}_qy"))?];
                (Form::Upright(numbers), vec![Field::bounded(format!("{of}_upright"), "1", -1.0, 1.0)])
            }
            Quantity::Offset { from, to, axes } => {
                let axes = picked(axes)?;
                let pair = |axis: usize| Ok::<_, String>([self.axis(from, axis)?, self.axis(to, axis)?]);
                let pairs: Result<Vec<_>, _> = axes.iter().map(|a| pair(*a)).collect();
                let fields =
                    axes.iter().map(|a| Field::unbounded(format!("{from}_to_{to}_{}", AXES[*a]), "m"));
                (Form::Differences(pairs?), fields.collect())
            }
            Quantity::Distance { from, to } => {
                let pair = |axis: usize| Ok::<_, String>([self.axis(from, axis)?, self.axis(to, axis)?]);
                (
                    Form::Distance([pair(0)?, pair(1)?, pair(2)?]),
                    vec![Field::unbounded(format!("{from}_to_{to}"), "m")],
                )
            }
            Quantity::Touch { of } => {
                self.model.touchable(of).map_err(|e| e.to_string())?;
                let name = format!("{of}_touch");
                (Form::Plain(vec![self.channel(&name)?]), vec![Field::bounded(name, "1", 0.0, 1.0)])
            }
            Quantity::Action {} => {
                let last = |f: &Field| Field::bounded(format!("last_{}", f.name), "1", -1.0, 1.0);
                (Form::Action, self.action.iter().map(last).collect())
            }
            Quantity::Time {} => (Form::Time, vec![Field::bounded("time", "1", 0.0, 1.0)]),
            Quantity::One {} => (Form::One, vec![Field::bounded("one", "1", 1.0, 1.0)]),
        };
        Ok(Resolved { form, fields })
    }
}

impl Resolved {
    /// Gives each number of it to `take`, in order.
    pub fn each(&self, sight: &Sight<'_>, mut take: impl FnMut(f64)) {
        match &self.form {
            Form::Plain(numbers) => numbers.iter().for_each(|n| take(sight.number(*n))),
            Form::Angles(numbers) => {
                for number in numbers {
                    let (sin, cos) = sight.number(*number).sin_cos();
                    take(cos);
                    take(sin);
                }
            }
            Form::Differences(pairs) => {
                pairs.iter().for_each(|[from, to]| take(sight.number(*to) - sight.number(*from)));
            }
            Form::Distance(pairs) => {
                let square = |[from, to]: &[Number; 2]| (sight.number(*to) - sight.number(*from)).powi(2);
                take(pairs.iter().map(square).sum::<f64>().sqrt());
            }
            Form::Upright([x, y]) => {
                take(1.0 - 2.0 * (sight.number(*x).powi(2) + sight.number(*y).powi(2)));
            }
            Form::Action => sight.action.iter().for_each(|a| take(f64::from(*a))),
            Form::Time => take(sight.time),
            Form::One => take(1.0),
        }
    }
}
