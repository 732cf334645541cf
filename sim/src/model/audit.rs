//! What a model says that this world does not simulate, and what is wrong with it: every element and attribute of the file is
//! either known here, or listed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rapier3d_mjcf::mjcf_rs::body::{GeomType, JointType};
use rapier3d_mjcf::mjcf_rs::equality::Equality;
use rapier3d_mjcf::mjcf_rs::extras::{Actuator, ActuatorKind};
use rapier3d_mjcf::mjcf_rs::{Model as MjcfModel, body};
use roxmltree::{Document, Node};
use serde::Serialize;

use super::ModelError;

/// Something in a model's file that does not act in this world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// File, as it was named.
    pub file: String,
    /// Line of its first occurrence.
    pub line: u32,
    /// Element, or element and attribute: `geom solref`.
    pub item: String,
    /// How often it stands in the file.
    pub count: usize,
    /// What that means.
    pub note: &'static str,
}

/// Attributes that mean the same in every element that has a place.
const PLACE: &[&str] = &["name", "class", "pos", "quat", "axisangle", "euler", "xyaxes", "zaxis"];
/// Attributes of an actuator that are simulated.
const ACTUATOR: &[&str] = &[
    "name",
    "class",
    "joint",
    "gear",
    "ctrlrange",
    "ctrllimited",
    "forcerange",
    "forcelimited",
    "kp",
    "kv",
    "group",
];

/// Attributes of an element that are simulated, or change nothing here.
fn known_attributes(tag: &str) -> Option<&'static [&'static str]> {
    Some(match tag {
        "mujoco" => &["model"],
        "compiler" => &[
            "angle",
            "coordinate",
            "autolimits",
            "inertiafromgeom",
            "settotalmass",
            "eulerseq",
            "meshdir",
            "texturedir",
            "assetdir",
            "strippath",
            "discardvisual",
            "convexhull",
            "exactmeshinertia",
            "balanceinertia",
            "boundmass",
            "boundinertia",
            "usethread",
        ],
        "option" => &["timestep", "gravity"],
        "default" => &["class"],
        "worldbody" | "asset" | "contact" | "equality" | "actuator" | "keyframe" => &["class"],
        "body" => &["childclass", "gravcomp"],
        "inertial" => &["mass", "diaginertia", "fullinertia"],
        "joint" => &[
            "type",
            "axis",
            "range",
            "limited",
            "stiffness",
            "damping",
            "springref",
            "springdamper",
            "armature",
            "frictionloss",
            "ref",
            "group",
        ],
        "freejoint" => &["group"],
        "geom" => &[
            "type",
            "size",
            "fromto",
            "friction",
            "mass",
            "density",
            "contype",
            "conaffinity",
            "mesh",
            "hfield",
            "rgba",
            "group",
            "material",
            "shellinertia",
            "margin",
        ],
        "site" => &["size", "type", "rgba", "group", "material", "fromto"],
        "mesh" => &["file", "scale", "content_type"],
        "hfield" => &["nrow", "ncol", "size", "elevation"],
        "exclude" => &["body1", "body2"],
        "include" => &["file"],
        "motor" | "position" => ACTUATOR,
        "key" => &["qpos", "time"],
        _ => return None,
    })
}

/// Why an element or attribute that is not simulated is none of this world's.
fn note(tag: &str, attribute: Option<&str>) -> &'static str {
    match (tag, attribute) {
        ("camera" | "light" | "texture" | "material" | "skin" | "visual" | "statistic", _) => {
            "appearance: pictures have a view of their own and plain colours"
        }
        ("size" | "custom" | "numeric" | "text" | "tuple", _) => "no meaning in this world",
        ("sensor", _) => "sensors are no part of this world: a task's observations name what is to be seen",
        ("pair", _) => "contacts follow contype and conaffinity, friction is the larger of two",
        ("tendon", _) => "tendons are not simulated: what they couple moves freely",
        (
            "option",
            Some(
                "integrator" | "solver" | "iterations" | "tolerance" | "cone" | "jacobian" | "ls_iterations",
            ),
        ) => "rapier steps by its own method: see docs/worlds.md",
        ("option", _) | ("flag", _) => "not simulated",
        (
            _,
            Some(
                "solref" | "solimp" | "solmix" | "solreflimit" | "solimplimit" | "solreffriction"
                | "solimpfriction",
            ),
        ) => "contacts and limits have one softness for the whole world",
        (_, Some("condim")) => "every contact has sliding friction, none has torsional or rolling friction",
        (_, Some("margin")) => "joint limits begin to push where they are",
        (_, Some("gap" | "priority")) => "contacts push from the margin on; the rougher surface counts",
        (_, Some("mocap")) => "nothing moves mocap bodies here",
        (_, Some("user" | "nuser_geom")) => "no meaning in this world",
        ("extension" | "plugin" | "deformable" | "flex" | "flexcomp" | "composite", _) => "not simulated",
        _ => "not read by the loader",
    }
}

/// Everything that the file (and those it includes) says and this world does not do.
pub fn ignored(file: &str, text: &str, base: &Path) -> Vec<Ignored> {
    let mut found = BTreeMap::new();
    let mut order = Vec::new();
    walk_file(file, text, base, 0, &mut |item: String, line: u32, at: &str, note| {
        let key = (at.to_owned(), item);
        if let Some(index) = found.get(&key) {
            let entry: &mut Ignored = &mut order[*index];
            entry.count += 1;
        } else {
            found.insert(key.clone(), order.len());
            order.push(Ignored { file: key.0, line, item: key.1, count: 1, note });
        }
    });
    order
}

type Report<'a> = dyn FnMut(String, u32, &str, &'static str) + 'a;

fn walk_file(file: &str, text: &str, base: &Path, depth: usize, report: &mut Report<'_>) {
    let Ok(document) = Document::parse(text) else { return };
    walk(document.root_element(), &document, file, base, depth, report);
}

fn walk(
    node: Node<'_, '_>,
    document: &Document<'_>,
    file: &str,
    base: &Path,
    depth: usize,
    report: &mut Report<'_>,
) {
    let tag = node.tag_name().name();
    let line = document.text_pos_at(node.range().start).row;
    let Some(known) = known_attributes(tag) else {
        report(tag.to_owned(), line, file, note(tag, None));
        return;
    };
    for attribute in node.attributes() {
        let name = attribute.name();
        if !known.contains(&name) && !PLACE.contains(&name) && !means_nothing(tag, name, attribute.value()) {
            report(format!("{tag} {name}"), line, file, note(tag, Some(name)));
        }
    }
    if tag == "include" && depth < 16 {
        if let Some(name) = node.attribute("file")
            && let Ok(text) = std::fs::read_to_string(base.join(name))
        {
            let path = base.join(name);
            walk_file(name, &text, path.parent().unwrap_or(base), depth + 1, report);
        }
        return;
    }
    for child in node.children().filter(Node::is_element) {
        walk(child, document, file, base, depth, report);
    }
}

/// A value that says what this world does anyway.
fn means_nothing(tag: &str, name: &str, value: &str) -> bool {
    match (tag, name) {
        ("geom", "condim") => value.trim() == "3",
        ("geom" | "joint", "margin") | ("geom", "gap" | "priority") => value.trim().parse() == Ok(0.0),
        ("body", "mocap") => value.trim() == "false",
        ("option", "integrator") => value.trim() == "Euler",
        _ => false,
    }
}

/// Where an element stands, for messages.
pub struct Places<'a> {
    file: &'a str,
    document: Option<Document<'a>>,
}

impl<'a> Places<'a> {
    pub fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, document: Document::parse(text).ok() }
    }

    /// An error about the `index`-th element of `tag`, or the one of that name.
    fn problem(&self, tag: &str, name: Option<&str>, index: usize, problem: String) -> ModelError {
        let line = self.document.as_ref().and_then(|document| {
            let is = |n: &Node<'_, '_>| {
                n.tag_name().name() == tag && !n.ancestors().any(|a| a.tag_name().name() == "default")
            };
            let mut all = document.descendants().filter(is);
            let node = match name {
                Some(name) => all.find(|n| n.attribute("name") == Some(name)),
                None => all.nth(index),
            };
            node.map(|n| document.text_pos_at(n.range().start).row)
        });
        let element = match name {
            Some(name) => format!("{tag} \"{name}\""),
            None => format!("{tag} number {}", index + 1),
        };
        ModelError::Element { file: self.file.to_owned(), line: line.unwrap_or(0), element, problem }
    }
}

/// Refuses what would make a world that is not what the file says; `mass` is that of each body, kg.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn check(mjcf: &MjcfModel, mass: &[f32], places: &Places<'_>) -> Result<(), ModelError> {
    check_joints(mjcf, places)?;
    check_masses(mjcf, mass, places)?;
    check_actuators(mjcf, places)?;
    for (index, equality) in mjcf.equality.iter().enumerate() {
        let (tag, common, between) = match equality {
            Equality::Connect(c) => ("connect", &c.common, Some((&c.body1, &c.body2))),
            Equality::Weld(w) => ("weld", &w.common, Some((&w.body1, &w.body2))),
            Equality::Joint(j) => {
                if j.joint2.is_some() && j.polycoef[2..].iter().all(|c| *c == 0.0) {
                    continue;
                }
                let what =
                    "couples joints by more than a line: only polycoef \"offset factor 0 0 0\" is simulated"
                        .to_owned();
                return Err(places.problem("joint", j.common.name.as_deref(), index, what));
            }
            Equality::Tendon(t) => ("tendon", &t.common, None),
        };
        let what = match between {
            Some((first, second)) => format!(
                "closes a loop between body \"{first}\" and {}: only trees of joints are simulated",
                second.as_ref().map_or_else(|| "the world".to_owned(), |s| format!("body \"{s}\""))
            ),
            None => "couples tendons, which are not simulated".to_owned(),
        };
        return Err(places.problem(tag, common.name.as_deref(), index, what));
    }
    Ok(())
}

/// Whether a range has numbers in it; not with a NaN at an end.
pub(crate) fn is_range(low: f64, high: f64) -> bool {
    low < high
}

/// All joints with the index among the elements of their tag.
fn joints(mjcf: &MjcfModel) -> impl Iterator<Item = (usize, &body::Joint)> {
    let all = mjcf.bodies.iter().flat_map(|b| &b.body.joints).filter(|j| j.type_ != JointType::Free);
    all.enumerate()
}

fn check_joints(mjcf: &MjcfModel, places: &Places<'_>) -> Result<(), ModelError> {
    let mut names = std::collections::BTreeSet::new();
    for (index, joint) in joints(mjcf) {
        let wrong = |what: String| Err(places.problem("joint", joint.name.as_deref(), index, what));
        let limited = joint.limited.resolve(mjcf.compiler.autolimits, joint.range.is_some());
        if let Some([low, high]) = joint.range.filter(|_| limited)
            && !is_range(low, high)
        {
            return wrong(format!("the lower limit {low} is not below the upper limit {high}"));
        }
        for (key, value) in
            [("damping", joint.damping), ("armature", joint.armature), ("stiffness", joint.stiffness)]
        {
            if !(value.is_finite() && value >= 0.0) {
                return wrong(format!("{key} must not be negative, found {value}"));
            }
        }
        if matches!(joint.type_, JointType::Hinge | JointType::Slide)
            && joint.axis.iter().all(|a| a.abs() < 1e-12)
        {
            return wrong("its axis has no direction".to_owned());
        }
        if let Some(name) = &joint.name
            && !names.insert(name)
        {
            return wrong("another joint has the same name".to_owned());
        }
    }
    Ok(())
}

/// `mass` of each body of the file, kg.
fn check_masses(mjcf: &MjcfModel, mass: &[f32], places: &Places<'_>) -> Result<(), ModelError> {
    let mut names = std::collections::BTreeSet::new();
    for (id, entry) in mjcf.bodies_iter() {
        let own = &entry.body;
        let wrong = |what: &str| Err(places.problem("body", own.name.as_deref(), id - 1, what.to_owned()));
        if let Some(name) = &own.name
            && !names.insert(name)
        {
            return wrong("another body has the same name");
        }
        if let Some(inertial) = &own.inertial
            && !(inertial.mass.is_finite() && inertial.mass >= 0.0)
        {
            return wrong("its mass is negative or not finite");
        }
        // What is welded to a body moves, and weighs, with it.
        let with_it = |other: usize| {
            let mut at = other;
            while at != id {
                let Some(parent) = mjcf.bodies[at].parent.filter(|_| mjcf.bodies[at].body.joints.is_empty())
                else {
                    return false;
                };
                at = parent;
            }
            true
        };
        if !own.joints.is_empty() && !(id..mjcf.bodies.len()).any(|other| with_it(other) && mass[other] > 0.0)
        {
            return wrong("it moves and has no mass: give it an <inertial>, or a geom with mass or density");
        }
    }
    Ok(())
}

fn tag_of(kind: ActuatorKind) -> &'static str {
    match kind {
        ActuatorKind::Motor => "motor",
        ActuatorKind::Position => "position",
        ActuatorKind::Velocity => "velocity",
        ActuatorKind::IntVelocity => "intvelocity",
        ActuatorKind::Damper => "damper",
        ActuatorKind::General => "general",
        ActuatorKind::Other => "actuator",
    }
}

fn check_actuators(mjcf: &MjcfModel, places: &Places<'_>) -> Result<(), ModelError> {
    let mut driven = std::collections::BTreeSet::new();
    for (index, actuator) in mjcf.actuators.iter().enumerate() {
        let Actuator { name, kind, joint, gear, ctrl_range, force_range, .. } = actuator;
        let tag = tag_of(*kind);
        let nth = mjcf.actuators[..index].iter().filter(|a| a.kind == *kind).count();
        let wrong = |what: String| Err(places.problem(tag, name.as_deref(), nth, what));
        if !matches!(kind, ActuatorKind::Motor | ActuatorKind::Position) {
            return wrong("an unknown actuator: only motor and position are simulated".to_owned());
        }
        let Some(joint) = joint else {
            return wrong("it drives no joint: tendons, sites and bodies are not driven here".to_owned());
        };
        let Some((_, found)) = joints(mjcf).find(|(_, j)| j.name.as_ref() == Some(joint)) else {
            return wrong(format!("it drives joint \"{joint}\", which the model does not have"));
        };
        if found.type_ == JointType::Ball {
            return wrong(format!("it drives ball joint \"{joint}\": only hinges and slides are driven"));
        }
        if !driven.insert(joint) {
            return wrong(format!("another actuator drives joint \"{joint}\" too"));
        }
        for (key, range) in [("ctrlrange", ctrl_range), ("forcerange", force_range)] {
            if let Some([low, high]) = range
                && !is_range(*low, *high)
            {
                return wrong(format!("{key}: the lower limit {low} is not below the upper limit {high}"));
            }
        }
        if *kind == ActuatorKind::Position && gear[0] != 1.0 {
            return wrong(format!(
                "gear {}: a position servo acts on its joint directly here, gear 1",
                gear[0]
            ));
        }
    }
    Ok(())
}

/// Refuses shapes whose files are missing or of a kind that cannot be read.
///
/// # Errors
/// The first of them, with its place.
pub fn check_files(mjcf: &MjcfModel, places: &Places<'_>, base: &Path) -> Result<(), ModelError> {
    for (index, geom) in mjcf.bodies.iter().flat_map(|b| &b.body.geoms).enumerate() {
        let wrong = |what: String| Err(places.problem("geom", geom.name.as_deref(), index, what));
        match geom.type_ {
            GeomType::Mesh => {
                let Some(name) = geom.mesh.as_deref() else {
                    return wrong("a mesh geom without a mesh".to_owned());
                };
                let Some(mesh) = mjcf.assets.mesh(name) else {
                    return wrong(format!("mesh \"{name}\" is not among the assets"));
                };
                let Some(path) = mjcf.resolve_mesh_file(mesh, base) else {
                    return wrong(format!("mesh \"{name}\" has no file: only .stl and .obj files are read"));
                };
                let kind = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
                if !matches!(kind.as_deref(), Some("stl" | "obj")) {
                    return wrong(format!(
                        "mesh \"{name}\": only .stl and .obj files are read, found {}",
                        path.display()
                    ));
                }
                if !path.is_file() {
                    return wrong(format!("mesh \"{name}\": the file {} is missing", path.display()));
                }
            }
            GeomType::Sdf => return wrong("signed distance fields are not simulated".to_owned()),
            GeomType::Hfield => {
                let field = geom.hfield.as_deref().and_then(|name| mjcf.assets.hfield(name));
                if field.is_none_or(|f| f.elevation.is_none()) {
                    return wrong("a height field needs an asset with inline elevation".to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The directory that a model's files are relative to.
pub fn base_of(path: &Path) -> PathBuf {
    path.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
