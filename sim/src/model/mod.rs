//! Models in MJCF, and what `rapier3d-mjcf` leaves to us.
//!
//! The loader gives bodies, geoms, hinge and slide joints with range, damping and armature. It does not give: torque and
//! servo actuators that act by themselves, actuator force limits, the model's timestep, MuJoCo's rule that the rougher of two
//! surfaces counts, or freedom from the damping of
//! 0.1 N m s/rad that rapier puts on every revolute joint of a multibody whose model asks for none. [`crate::RapierWorld`]
//! does these.

mod audit;
mod contract;
mod report;
mod urdf;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rapier3d::dynamics::JointAxesMask;
use rapier3d::geometry::{Group, InteractionGroups, InteractionTestMode, SharedShape};
use rapier3d::math::Pose;
use rapier3d::prelude::JointAxis;
use rapier3d_mjcf::mjcf_rs::Model as MjcfModel;
use rapier3d_mjcf::mjcf_rs::extras::{Actuator, ActuatorKind};
use rapier3d_mjcf::{ContactFilterMode, MjcfDofKind, MjcfLoaderOptions, MjcfRobot};

pub use audit::Ignored;
pub use contract::DerivedLimits;
pub use report::{ActuatorReport, JointReport, ModelReport};

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Not MJCF that can be loaded.
    #[error("model {model}: {reason}")]
    Parse {
        /// Name of the model.
        model: String,
        /// What the parser says.
        reason: String,
    },
    /// The file cannot be read.
    #[error("cannot read model {}: {source}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// An element that cannot be simulated as it is written.
    #[error("{file}:{line}: {element}: {problem}")]
    Element {
        /// File, as it was named.
        file: String,
        /// Line, 0 where the element comes from an included file.
        line: u32,
        /// Element, with its name.
        element: String,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// Something that a contract or a task names is not in the model.
    #[error("model {model}: {kind} {name} is missing")]
    Missing {
        /// Name of the model.
        model: String,
        /// Joint, body, site or actuator.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A place that the arm does not reach.
    #[error("the tool cannot be put at {target:?} m: it stays {miss} m away")]
    Unreachable {
        /// Where it should be, m.
        target: [f64; 3],
        /// How far it stays away, m.
        miss: f64,
    },
    /// An item that this world does not simulate.
    #[error("model {model}: {item} is not supported")]
    Unsupported {
        /// Name of the model.
        model: String,
        /// What it is.
        item: String,
    },
}

/// What drives a joint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JointActuator {
    /// A torque or force motor; `gear` times the control is the effort, N m or N.
    Motor {
        /// Effort per unit of control.
        gear: f64,
        /// Control limits, where stated.
        control_range: Option<[f64; 2]>,
        /// Largest effort, where stated, N m or N.
        max_effort: Option<f64>,
    },
    /// A position servo: `stiffness * (target - position) + damping * (target velocity - velocity)`.
    Servo {
        /// N m/rad or N/m.
        stiffness: f64,
        /// N m s/rad or N s/m.
        damping: f64,
        /// Largest effort, where stated, N m or N.
        max_effort: Option<f64>,
        /// Limits of the target, where stated.
        control_range: Option<[f64; 2]>,
    },
}

/// A geom as it is drawn.
pub(crate) struct DrawnPart<'a> {
    /// Index among the loader's bodies.
    pub body: usize,
    pub shape: &'a SharedShape,
    /// In the body's frame.
    pub pose: Pose,
    /// sRGB, 0 to 1.
    pub rgb: [f32; 3],
}

/// A parsed model, ready to be inserted into any number of worlds.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) name: String,
    pub(crate) robot: MjcfRobot,
    pub(crate) mjcf: MjcfModel,
    ignored: Vec<Ignored>,
    /// Velocity limits, where the file states them: URDF does, MJCF cannot. Per second.
    velocity_limits: BTreeMap<String, f64>,
    /// Groups of the loader's colliders, `[body][collider]`.
    groups: Vec<Vec<InteractionGroups>>,
    self_contacts: bool,
    ground_is_touched: bool,
}

impl Model {
    /// Reads a model: URDF where the name ends so, MJCF otherwise. Files that it names are looked for beside it.
    ///
    /// # Errors
    /// When it cannot be read, or something in it cannot be simulated: the error names file, line and element.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
        let file = path.display().to_string();
        let base = audit::base_of(path);
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("urdf")) {
            let urdf::Translated { mjcf, velocity_limits, ignored } = urdf::translate(&file, &text, &base)?;
            let model = Self::parse_in(&file, &mjcf, &base)?;
            return Ok(Self { ignored, velocity_limits, ..model });
        }
        Self::parse_in(&file, &text, &base)
    }

    /// Parses MJCF text; `name` is for messages.
    ///
    /// # Errors
    /// When it is not well-formed MJCF, or something in it cannot be simulated.
    pub fn parse(name: &str, mjcf: &str) -> Result<Self, ModelError> {
        Self::parse_in(name, mjcf, Path::new("."))
    }

    fn parse_in(name: &str, text: &str, base: &Path) -> Result<Self, ModelError> {
        let parse = |reason: String| ModelError::Parse { model: name.to_owned(), reason };
        let options = MjcfLoaderOptions {
            contact_filter_mode: ContactFilterMode::Symmetric,
            skip_plane_geoms: false,
            ..MjcfLoaderOptions::default()
        };
        let mjcf = MjcfModel::from_str(text, base).map_err(|e| parse(e.to_string()))?;
        let places = audit::Places::new(name, text);
        audit::check_files(&mjcf, &places, base)?;
        let robot = MjcfRobot::from_model(&mjcf, options, base);
        let mut mass = vec![0.0; mjcf.bodies.len()];
        robot.bodies.iter().for_each(|b| mass[b.mjcf_body_id] += b.mass);
        audit::check(&mjcf, &mass, &places)?;
        let ignored = audit::ignored(name, text, base);
        let mut model = Self {
            name: name.to_owned(),
            robot,
            mjcf,
            ignored,
            velocity_limits: BTreeMap::new(),
            groups: Vec::new(),
            self_contacts: false,
            ground_is_touched: false,
        };
        model.sort_contacts().map_err(parse)?;
        Ok(model)
    }

    /// Makes groups of the colliders in which two meet just when MuJoCo would let them: `contype` of one and `conaffinity` of the
    /// other have a bit in common, and no `<exclude>` parts their bodies.
    fn sort_contacts(&mut self) -> Result<(), String> {
        let parted_pairs = self.parted_bodies();
        let parted_of = |id: usize| parted_pairs.iter().any(|(a, b)| *a == id || *b == id).then_some(id);
        let mut classes: Vec<(u32, u32, Option<usize>)> = Vec::new();
        let mut members: Vec<Vec<usize>> = Vec::new();
        for body in &self.robot.bodies {
            let own = &self.mjcf.bodies[body.mjcf_body_id].body;
            let parted = parted_of(body.mjcf_body_id);
            let touched = own.geoms.iter().filter(|g| g.contype != 0 || g.conaffinity != 0);
            let of_geoms: Vec<usize> = touched
                .filter(|_| !body.is_intermediate)
                .map(|geom| {
                    let class = (geom.contype, geom.conaffinity, parted);
                    classes.iter().position(|c| *c == class).unwrap_or_else(|| {
                        classes.push(class);
                        classes.len() - 1
                    })
                })
                .collect();
            if of_geoms.len() != body.colliders.len() {
                return Err(format!(
                    "{} of the {} geoms of body \"{}\" could not be made into shapes",
                    of_geoms.len().abs_diff(body.colliders.len()),
                    of_geoms.len(),
                    own.name.as_deref().unwrap_or("world")
                ));
            }
            members.push(of_geoms);
        }
        if classes.len() > 32 {
            return Err(format!(
                "{} kinds of contact (contype, conaffinity, excluded bodies): at most 32 can be told apart",
                classes.len()
            ));
        }
        let meets = |a: &(u32, u32, Option<usize>), b: &(u32, u32, Option<usize>)| {
            let parted = match (a.2, b.2) {
                (Some(a), Some(b)) => parted_pairs.contains(&(a.min(b), a.max(b))),
                _ => false,
            };
            (a.0 & b.1 != 0 || b.0 & a.1 != 0) && !parted
        };
        let groups: Vec<InteractionGroups> = (0..classes.len())
            .map(|i| {
                let filter = (0..classes.len()).filter(|j| meets(&classes[i], &classes[*j]));
                let filter = filter.fold(0_u32, |bits, j| bits | 1 << j);
                let own = Group::from_bits_truncate(1 << i);
                InteractionGroups::new(own, Group::from_bits_truncate(filter), InteractionTestMode::And)
            })
            .collect();
        // Bodies of one tree that may touch each other: then the tree's own contacts are looked at.
        let roots = self.roots();
        self.self_contacts = (1..members.len()).any(|a| {
            (a + 1..members.len()).any(|b| {
                let pairs = || members[a].iter().flat_map(|x| members[b].iter().map(move |y| (*x, *y)));
                roots[a] == roots[b] && pairs().any(|(x, y)| meets(&classes[x], &classes[y]))
            })
        });
        self.ground_is_touched = (1..members.len()).any(|body| {
            let links = self.robot.joints.iter().any(|j| j.link2 == body);
            let pairs = members[body].iter().flat_map(|x| members[0].iter().map(move |y| (*x, *y)));
            links && pairs.into_iter().any(|(x, y)| meets(&classes[x], &classes[y]))
        });
        self.groups = members.into_iter().map(|m| m.into_iter().map(|c| groups[c]).collect()).collect();
        Ok(())
    }

    /// Pairs of bodies of the file, the lower first, that never touch though no joint of rapier's is between them: those of an
    /// `<exclude>`, and neighbours in a tree beyond several joints or welds.
    fn parted_bodies(&self) -> Vec<(usize, usize)> {
        let bodies = &self.mjcf.bodies;
        let mut pairs = Vec::new();
        for exclude in &self.mjcf.contact.excludes {
            let find = |name: &String| bodies.iter().position(|b| b.body.name.as_ref() == Some(name));
            if let (Some(a), Some(b)) = (find(&exclude.body1), find(&exclude.body2)) {
                pairs.push((a.min(b), a.max(b)));
            }
        }
        // What is welded together moves as one body.
        let weld = |mut id: usize| {
            while let Some(parent) = bodies[id].parent.filter(|_| bodies[id].body.joints.is_empty()) {
                id = parent;
            }
            id
        };
        let above = |id: usize| bodies[weld(id)].parent.map(weld);
        for (b, body) in bodies.iter().enumerate().skip(1) {
            for a in 1..b {
                let (of_a, of_b) = (weld(a), weld(b));
                let neighbours = of_a == of_b || above(b) == Some(of_a) || above(a) == Some(of_b);
                let jointed = body.parent == Some(a) && body.body.joints.len() < 2;
                if of_a != 0 && of_b != 0 && neighbours && !jointed {
                    pairs.push((a, b));
                }
            }
        }
        pairs
    }

    pub(crate) fn contact_groups(&self, body: usize, collider: usize) -> InteractionGroups {
        self.groups[body][collider]
    }

    /// How far off its surface a collider begins to push, m: half its geom's `margin`, so that two of one margin push as far off as
    /// MuJoCo's, where the larger margin counts.
    pub(crate) fn skin(&self, body: usize, collider: usize) -> f32 {
        let own = &self.mjcf.bodies[self.robot.bodies[body].mjcf_body_id].body;
        let mut touched = own.geoms.iter().filter(|g| g.contype != 0 || g.conaffinity != 0);
        touched.nth(collider).map_or(0.0, |g| (g.margin / 2.0) as f32)
    }

    /// Whether links of one tree may touch each other.
    pub(crate) const fn has_self_contacts(&self) -> bool {
        self.self_contacts
    }

    /// Whether a jointed body may touch what is fixed to the world. rapier counts the world as a link of the tree: what does not
    /// move then stands apart.
    pub(crate) const fn ground_is_touched(&self) -> bool {
        self.ground_is_touched
    }

    /// The root of the tree that each of the loader's bodies belongs to: the body next to the world.
    pub(crate) fn roots(&self) -> Vec<usize> {
        let mut parent: Vec<usize> = vec![0; self.robot.bodies.len()];
        for joint in &self.robot.joints {
            parent[joint.link2] = joint.link1;
        }
        (0..parent.len())
            .map(|mut body| {
                while parent[body] != 0 {
                    body = parent[body];
                }
                body
            })
            .collect()
    }

    /// The loader's bodies that move without a joint.
    pub(crate) fn free_bodies(&self) -> impl Iterator<Item = usize> {
        self.robot.qpos_dofs.iter().filter(|d| d.kind == MjcfDofKind::Free).map(|d| d.body)
    }

    /// Slide or hinge; `None` for other joints.
    pub(crate) fn axis(&self, joint: usize) -> Option<JointAxis> {
        match self.robot.joints[joint].joint.locked_axes {
            JointAxesMask::LOCKED_REVOLUTE_AXES => Some(JointAxis::AngX),
            JointAxesMask::LOCKED_PRISMATIC_AXES => Some(JointAxis::LinX),
            _ => None,
        }
    }

    /// What the model calls a joint's position in the pose in which it is drawn (`ref`), rad or m.
    pub(crate) fn joint_reference(&self, joint: usize) -> f64 {
        let dof = self.robot.qpos_dofs.iter().find(|d| d.joint == Some(joint));
        dof.map_or(0.0, |d| f64::from(d.reference))
    }

    /// A named body, or a geom that can be touched: body and collider by the loader's indices.
    pub(crate) fn touchable(&self, name: &str) -> Result<(usize, Option<usize>), ModelError> {
        match self.body_index(name) {
            Ok(body) => Ok((body, None)),
            Err(_) => match self.robot.geom_name_to_collider.get(name) {
                Some((body, collider)) => Ok((*body, Some(*collider))),
                None => Err(self.missing("body or geom", name)),
            },
        }
    }

    /// A named body or site: the loader's body, and the pose in its frame.
    pub(crate) fn frame(&self, name: &str) -> Result<(usize, Pose), ModelError> {
        if let Ok(body) = self.body_index(name) {
            return Ok((body, Pose::IDENTITY));
        }
        let (id, index) = self.mjcf.site_by_name(name).ok_or_else(|| self.missing("body or site", name))?;
        let pose = Pose::from(self.mjcf.bodies[id].body.sites[index].pose);
        let leaf = self.robot.bodies.iter().position(|b| b.mjcf_body_id == id && !b.is_intermediate);
        leaf.map(|body| (body, pose)).ok_or_else(|| self.missing("body of site", name))
    }

    /// What the file says and this world does not simulate.
    #[must_use]
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// The model's own timestep, s.
    #[must_use]
    pub const fn timestep_secs(&self) -> f64 {
        self.mjcf.option.timestep
    }

    /// Index of a named joint among the loader's joints.
    pub(crate) fn joint_index(&self, joint: &str) -> Result<usize, ModelError> {
        let found = self.robot.joints.iter().position(|j| j.name.as_deref() == Some(joint));
        found.ok_or_else(|| self.missing("joint", joint))
    }

    /// Index of a named body among the loader's bodies.
    pub(crate) fn body_index(&self, body: &str) -> Result<usize, ModelError> {
        let found =
            self.robot.bodies.iter().position(|b| !b.is_intermediate && b.name.as_deref() == Some(body));
        found.ok_or_else(|| self.missing("body", body))
    }

    /// What drives a joint.
    ///
    /// # Errors
    /// When nothing does, or something other than a motor or a position servo.
    pub fn actuator(&self, joint: &str) -> Result<JointActuator, ModelError> {
        let drives = |a: &&Actuator| a.joint.as_deref() == Some(joint);
        let a = self.mjcf.actuators.iter().find(drives).ok_or_else(|| self.missing("actuator of", joint))?;
        match a.kind {
            ActuatorKind::Motor => Ok(JointActuator::Motor {
                gear: a.gear[0],
                control_range: a.ctrl_range,
                max_effort: a.force_range.map(|r| r[1].min(-r[0])),
            }),
            ActuatorKind::Position => Ok(JointActuator::Servo {
                stiffness: a.kp.unwrap_or(1.0),
                damping: a.kv.unwrap_or(0.0),
                max_effort: a.force_range.map(|r| r[1].min(-r[0])),
                control_range: a.ctrl_range,
            }),
            kind => Err(ModelError::Unsupported {
                model: self.name.clone(),
                item: format!("actuator {kind:?} of joint {joint}"),
            }),
        }
    }

    /// Names of the hinges and slides, in the order of MuJoCo's `qpos`.
    pub fn joints(&self) -> impl Iterator<Item = &str> {
        self.robot.joints.iter().filter_map(|j| j.name.as_deref())
    }

    /// Names of the joints that actuators drive, in actuator order: the order of MuJoCo's `ctrl`.
    pub fn actuated_joints(&self) -> impl Iterator<Item = &str> {
        self.mjcf.actuators.iter().filter_map(|a| a.joint.as_deref())
    }

    /// The geoms of all bodies. The loader keeps those that can be touched apart from those that can only be seen, each in the
    /// model's order, and drops the colours of the first: they are joined again here.
    pub(crate) fn drawn(&self) -> impl Iterator<Item = DrawnPart<'_>> {
        let bodies = self.robot.bodies.iter().enumerate().filter(|(_, b)| !b.is_intermediate);
        bodies.flat_map(|(index, body)| {
            let mut seen = body.visual_meshes.iter().map(|m| (&m.shape, m.local_pose));
            let mut touched = body.colliders.iter().map(|c| (c.shared_shape(), *c.position()));
            self.mjcf.bodies[body.mjcf_body_id].body.geoms.iter().filter_map(move |geom| {
                let only_seen = geom.contype == 0 && geom.conaffinity == 0;
                let (shape, pose) = if only_seen { seen.next() } else { touched.next() }?;
                let [r, g, b, _] = geom.rgba.unwrap_or([0.5, 0.5, 0.5, 1.0]);
                Some(DrawnPart { body: index, shape, pose, rgb: [r as f32, g as f32, b as f32] })
            })
        })
    }

    pub(crate) fn missing(&self, kind: &'static str, name: &str) -> ModelError {
        ModelError::Missing { model: self.name.clone(), kind, name: name.to_owned() }
    }
}
