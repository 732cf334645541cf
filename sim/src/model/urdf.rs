//! URDF as MJCF text: one loader, one set of checks for both.
//!
//! Links become bodies, `revolute`, `continuous` and `prismatic` joints hinges and slides with their limits, damping and dry friction,
//! `collision` shapes geoms, `mimic` an equality of joints. A joint with an effort limit gets a motor of that effort. Velocity
//! limits are kept for the contract. The root link is fixed to the world.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use roxmltree::{Document, Node};

use super::audit::is_range;
use super::{Ignored, ModelError};

/// What a URDF file amounts to.
pub struct Translated {
    pub mjcf: String,
    /// Per second, by joint.
    pub velocity_limits: BTreeMap<String, f64>,
    pub ignored: Vec<Ignored>,
}

struct Joint<'a> {
    node: Node<'a, 'a>,
    name: &'a str,
    kind: &'a str,
    parent: &'a str,
    child: &'a str,
}

struct Translator<'a> {
    file: &'a str,
    document: &'a Document<'a>,
    base: &'a Path,
    links: Vec<(&'a str, Node<'a, 'a>)>,
    joints: Vec<Joint<'a>>,
    meshes: Vec<(String, [f64; 3])>,
    velocity_limits: BTreeMap<String, f64>,
    actuators: String,
    equalities: String,
    ignored: Vec<Ignored>,
}

fn child<'a>(node: Node<'a, 'a>, tag: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|n| n.has_tag_name(tag))
}

/// Writes URDF as MJCF; meshes are looked for beside the file, `package://` is dropped.
///
/// # Errors
/// When the file is no tree of links, or a joint or shape cannot be simulated.
pub fn translate(file: &str, text: &str, base: &Path) -> Result<Translated, ModelError> {
    let parse = |reason: String| ModelError::Parse { model: file.to_owned(), reason };
    let document = Document::parse(text).map_err(|e| parse(e.to_string()))?;
    let robot = document.root_element();
    if !robot.has_tag_name("robot") {
        return Err(parse(format!("expected <robot>, found <{}>", robot.tag_name().name())));
    }
    let mut translator = Translator {
        file,
        document: &document,
        base,
        links: Vec::new(),
        joints: Vec::new(),
        meshes: Vec::new(),
        velocity_limits: BTreeMap::new(),
        actuators: String::new(),
        equalities: String::new(),
        ignored: Vec::new(),
    };
    translator.collect(robot)?;
    let root = translator.root()?;
    let mut bodies = String::new();
    translator.body(root, None, &mut bodies)?;
    let mut mjcf = format!("<mujoco model=\"{}\">\n", escaped(robot.attribute("name").unwrap_or("robot")));
    mjcf.push_str("<compiler angle=\"radian\" autolimits=\"true\"/>\n<asset>\n");
    for (index, (path, [x, y, z])) in translator.meshes.iter().enumerate() {
        let _ =
            writeln!(mjcf, "<mesh name=\"mesh{index}\" file=\"{}\" scale=\"{x} {y} {z}\"/>", escaped(path));
    }
    let Translator { actuators, equalities, velocity_limits, ignored, .. } = translator;
    let _ = write!(
        mjcf,
        "</asset>\n<worldbody>\n{bodies}</worldbody>\n<equality>\n{equalities}</equality>\n<actuator>\n{actuators}</actuator>\n</mujoco>\n"
    );
    Ok(Translated { mjcf, velocity_limits, ignored })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

impl<'a> Translator<'a> {
    fn line(&self, node: Node<'_, '_>) -> u32 {
        self.document.text_pos_at(node.range().start).row
    }

    fn wrong(&self, node: Node<'_, '_>, problem: impl Into<String>) -> ModelError {
        let name = node.attribute("name").map(|n| format!(" \"{n}\"")).unwrap_or_default();
        ModelError::Element {
            file: self.file.to_owned(),
            line: self.line(node),
            element: format!("{}{name}", node.tag_name().name()),
            problem: problem.into(),
        }
    }

    fn ignore(&mut self, node: Node<'_, '_>, item: &str, note: &'static str) {
        if let Some(known) = self.ignored.iter_mut().find(|i| i.item == item) {
            known.count += 1;
            return;
        }
        let line = self.line(node);
        self.ignored.push(Ignored {
            file: self.file.to_owned(),
            line,
            item: item.to_owned(),
            count: 1,
            note,
        });
    }

    fn numbers<const N: usize>(
        &self,
        node: Node<'_, '_>,
        key: &str,
        default: [f64; N],
    ) -> Result<[f64; N], ModelError> {
        let Some(text) = node.attribute(key) else { return Ok(default) };
        let numbers: Result<Vec<f64>, _> = text.split_whitespace().map(str::parse).collect();
        numbers
            .ok()
            .and_then(|n| <[f64; N]>::try_from(n).ok())
            .filter(|n| n.iter().all(|x| x.is_finite()))
            .ok_or_else(|| self.wrong(node, format!("{key}: expected {N} numbers, found \"{text}\"")))
    }

    fn named(&self, node: Node<'a, 'a>, key: &str) -> Result<&'a str, ModelError> {
        node.attribute(key).ok_or_else(|| self.wrong(node, format!("{key} is missing")))
    }

    fn collect(&mut self, robot: Node<'a, 'a>) -> Result<(), ModelError> {
        for node in robot.children().filter(Node::is_element) {
            match node.tag_name().name() {
                "link" => self.links.push((self.named(node, "name")?, node)),
                "joint" => {
                    let end =
                        |tag| child(node, tag).ok_or_else(|| self.wrong(node, format!("<{tag}> is missing")));
                    self.joints.push(Joint {
                        node,
                        name: self.named(node, "name")?,
                        kind: self.named(node, "type")?,
                        parent: self.named(end("parent")?, "link")?,
                        child: self.named(end("child")?, "link")?,
                    });
                }
                "material" => self.ignore(node, "material", "appearance: plain colours"),
                "transmission" => {
                    self.ignore(
                        node,
                        "transmission",
                        "joints with an effort limit are driven by a motor each",
                    );
                }
                other => self.ignore(node, other, "not read"),
            }
        }
        Ok(())
    }

    fn root(&self) -> Result<&'a str, ModelError> {
        let mut parents: BTreeMap<&str, &Joint<'a>> = BTreeMap::new();
        for joint in &self.joints {
            for link in [joint.parent, joint.child] {
                if self.links.iter().all(|(name, _)| *name != link) {
                    return Err(self.wrong(joint.node, format!("link \"{link}\" is not in the file")));
                }
            }
            if let Some(other) = parents.insert(joint.child, joint) {
                return Err(self.wrong(
                    joint.node,
                    format!(
                        "closes a loop: link \"{}\" is the child of joint \"{}\" too; only trees of joints are simulated",
                        joint.child, other.name
                    ),
                ));
            }
        }
        let mut roots = self.links.iter().filter(|(name, _)| !parents.contains_key(name));
        let root = match (roots.next(), self.joints.first()) {
            (Some((root, _)), _) => root,
            (None, Some(joint)) => {
                return Err(self.wrong(joint.node, "closes a loop: every link is the child of a joint"));
            }
            (None, None) => {
                return Err(ModelError::Parse {
                    model: self.file.to_owned(),
                    reason: "it has no links".to_owned(),
                });
            }
        };
        if let Some((other, node)) = roots.next() {
            return Err(self
                .wrong(*node, format!("link \"{other}\" hangs on nothing: \"{root}\" is the root already")));
        }
        // A cycle apart from the root's tree.
        let mut reached = BTreeSet::from([*root]);
        for _ in &self.joints {
            reached.extend(
                self.joints
                    .iter()
                    .filter(|j| reached.contains(j.parent))
                    .map(|j| j.child)
                    .collect::<Vec<_>>(),
            );
        }
        if let Some(joint) = self.joints.iter().find(|j| !reached.contains(j.child)) {
            return Err(self.wrong(joint.node, "closes a loop: it does not hang on the root"));
        }
        Ok(root)
    }

    fn place(&self, node: Node<'a, 'a>) -> Result<String, ModelError> {
        let Some(origin) = child(node, "origin") else { return Ok(String::new()) };
        let [x, y, z] = self.numbers(origin, "xyz", [0.0; 3])?;
        let rpy = self.numbers(origin, "rpy", [0.0; 3])?;
        // Roll, pitch, yaw about fixed axes.
        let q = nalgebra::UnitQuaternion::from_euler_angles(rpy[0], rpy[1], rpy[2]);
        Ok(format!(" pos=\"{x} {y} {z}\" quat=\"{} {} {} {}\"", q.w, q.i, q.j, q.k))
    }

    fn body(&mut self, link: &'a str, by: Option<usize>, out: &mut String) -> Result<(), ModelError> {
        let Some(node) = self.links.iter().find(|(name, _)| *name == link).map(|(_, node)| *node) else {
            return Ok(());
        };
        let place = match by {
            Some(joint) => self.place(self.joints[joint].node)?,
            None => String::new(),
        };
        let _ = writeln!(out, "<body name=\"{}\"{place}>", escaped(link));
        let moves = match by {
            Some(joint) => self.joint(joint, out)?,
            None => false,
        };
        self.inertial(node, moves, out)?;
        self.shapes(node, out)?;
        for index in 0..self.joints.len() {
            if self.joints[index].parent == link {
                self.body(self.joints[index].child, Some(index), out)?;
            }
        }
        out.push_str("</body>\n");
        Ok(())
    }

    /// Whether the joint moves.
    fn joint(&mut self, index: usize, out: &mut String) -> Result<bool, ModelError> {
        let Joint { node, name, kind, .. } = self.joints[index];
        let urdf_type = match kind {
            "fixed" => return Ok(false),
            "revolute" | "continuous" => "hinge",
            "prismatic" => "slide",
            other => {
                return Err(self.wrong(
                    node,
                    format!(
                        "type \"{other}\" is not simulated: expected revolute, continuous, prismatic or fixed"
                    ),
                ));
            }
        };
        let axis = match child(node, "axis") {
            Some(axis) => self.numbers(axis, "xyz", [1.0, 0.0, 0.0])?,
            None => [1.0, 0.0, 0.0],
        };
        let _ = write!(
            out,
            "<joint name=\"{}\" type=\"{urdf_type}\" axis=\"{} {} {}\"",
            escaped(name),
            axis[0],
            axis[1],
            axis[2]
        );
        let mut effort = None;
        if let Some(limit) = child(node, "limit") {
            let [low] = self.numbers(limit, "lower", [0.0])?;
            let [high] = self.numbers(limit, "upper", [0.0])?;
            let [velocity] = self.numbers(limit, "velocity", [0.0])?;
            let [most] = self.numbers(limit, "effort", [0.0])?;
            if kind != "continuous" {
                if !is_range(low, high) {
                    return Err(self
                        .wrong(node, format!("the lower limit {low} is not below the upper limit {high}")));
                }
                let _ = write!(out, " range=\"{low} {high}\"");
            }
            if velocity > 0.0 {
                self.velocity_limits.insert(name.to_owned(), velocity);
            }
            effort = Some(most).filter(|e| *e > 0.0);
        } else if kind != "continuous" {
            return Err(self.wrong(node, "<limit> is missing"));
        }
        if let Some(dynamics) = child(node, "dynamics") {
            let [damping] = self.numbers(dynamics, "damping", [0.0])?;
            let [friction] = self.numbers(dynamics, "friction", [0.0])?;
            let _ = write!(out, " damping=\"{damping}\" frictionloss=\"{friction}\"");
        }
        out.push_str("/>\n");
        if let Some(mimic) = child(node, "mimic") {
            let leader = self.named(mimic, "joint")?;
            let [factor] = self.numbers(mimic, "multiplier", [1.0])?;
            let [offset] = self.numbers(mimic, "offset", [0.0])?;
            let _ = writeln!(
                self.equalities,
                "<joint joint1=\"{}\" joint2=\"{}\" polycoef=\"{offset} {factor} 0 0 0\"/>",
                escaped(leader),
                escaped(name)
            );
        } else if let Some(effort) = effort {
            let _ = writeln!(
                self.actuators,
                "<motor joint=\"{}\" gear=\"1\" ctrlrange=\"{} {effort}\"/>",
                escaped(name),
                -effort
            );
        }
        for other in node.children().filter(Node::is_element) {
            let tag = other.tag_name().name();
            if !["parent", "child", "origin", "axis", "limit", "dynamics", "mimic"].contains(&tag) {
                self.ignore(other, &format!("joint {tag}"), "the contract's limits hold instead");
            }
        }
        Ok(true)
    }

    fn inertial(&self, node: Node<'a, 'a>, moves: bool, out: &mut String) -> Result<(), ModelError> {
        let Some(inertial) = child(node, "inertial") else {
            if moves && child(node, "collision").is_none() {
                return Err(self.wrong(node, "it moves and has no mass: give it an <inertial>"));
            }
            return Ok(());
        };
        let of = |tag: &str, key: &str| match child(inertial, tag) {
            Some(n) => self.numbers(n, key, [0.0]).map(|[x]| x),
            None => Ok(0.0),
        };
        let mass = of("mass", "value")?;
        if mass.is_nan() || mass <= 0.0 {
            if moves {
                return Err(self.wrong(node, format!("it moves and its mass is {mass} kg")));
            }
            return Ok(());
        }
        let mut inertia = [0.0; 6];
        for (value, key) in inertia.iter_mut().zip(["ixx", "iyy", "izz", "ixy", "ixz", "iyz"]) {
            *value = of("inertia", key)?;
        }
        if moves && inertia[..3].iter().any(|i| i.is_nan() || *i <= 0.0) {
            return Err(self.wrong(node, "its inertia has a zero or negative diagonal"));
        }
        let origin = self.place(inertial)?;
        let origin = if origin.is_empty() { " pos=\"0 0 0\"".to_owned() } else { origin };
        let full = inertia.map(|i| i.to_string()).join(" ");
        let _ = writeln!(out, "<inertial{origin} mass=\"{mass}\" fullinertia=\"{full}\"/>");
        Ok(())
    }

    fn shapes(&mut self, node: Node<'a, 'a>, out: &mut String) -> Result<(), ModelError> {
        for shape in node.children().filter(Node::is_element) {
            match shape.tag_name().name() {
                "collision" => {}
                "visual" => {
                    self.ignore(shape, "visual", "pictures show what can be touched");
                    continue;
                }
                _ => continue,
            }
            let geometry = child(shape, "geometry").and_then(|g| g.children().find(Node::is_element));
            let Some(geometry) = geometry else { return Err(self.wrong(shape, "<geometry> is missing")) };
            let form = match geometry.tag_name().name() {
                "box" => {
                    let [x, y, z] = self.numbers(geometry, "size", [0.0; 3])?.map(|s| s / 2.0);
                    format!("type=\"box\" size=\"{x} {y} {z}\"")
                }
                "sphere" => {
                    let [radius] = self.numbers(geometry, "radius", [0.0])?;
                    format!("type=\"sphere\" size=\"{radius}\"")
                }
                kind @ ("cylinder" | "capsule") => {
                    let [radius] = self.numbers(geometry, "radius", [0.0])?;
                    let [length] = self.numbers(geometry, "length", [0.0])?;
                    format!("type=\"{kind}\" size=\"{radius} {}\"", length / 2.0)
                }
                "mesh" => {
                    let name = self.named(geometry, "filename")?;
                    let path = name
                        .strip_prefix("package://")
                        .or_else(|| name.strip_prefix("file://"))
                        .unwrap_or(name);
                    if !self.base.join(path).is_file() {
                        let at = self.base.join(path);
                        return Err(self.wrong(node, format!("the mesh {} is missing", at.display())));
                    }
                    let scale = self.numbers(geometry, "scale", [1.0; 3])?;
                    self.meshes.push((path.to_owned(), scale));
                    format!("type=\"mesh\" mesh=\"mesh{}\"", self.meshes.len() - 1)
                }
                other => return Err(self.wrong(geometry, format!("shape \"{other}\" is not simulated"))),
            };
            let place = self.place(shape)?;
            // Mass comes from <inertial> where there is one.
            let _ = writeln!(out, "<geom {form}{place}/>");
        }
        Ok(())
    }
}
