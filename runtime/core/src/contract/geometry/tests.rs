use std::path::Path;

use surefoot_safety::{Clearance, Reasons};

use crate::{ContractError, RobotContract};

/// A planar arm of two links, a wall, a cell, and a ball and a post to stay away from.
const ARM: &str = r#"
name = "planar"
control_hz = 100.0
policy_hz = 10.0
scaling = "per_joint"
[[joints]]
name = "shoulder"
unit = "rad"
min_position = -3.0
max_position = 3.0
max_velocity = 2.0
max_acceleration = 10.0
[[joints]]
name = "elbow"
unit = "rad"
min_position = -2.9
max_position = 2.9
max_velocity = 2.0
max_acceleration = 10.0

[geometry]
margin_m = 0.01
clear_poses = [[0.0, 0.0], [0.2, -0.3]]
self_collision = { except = [] }
[[geometry.joints]]
name = "elbow"
parent = "shoulder"
origin_m = [0.5, 0.0, 0.0]
axis = [0.0, 0.0, 1.0]
[[geometry.joints]]
name = "shoulder"
origin_m = [0.0, 0.0, 0.3]
axis = [0.0, 0.0, 1.0]
[[geometry.capsules]]
name = "upper_arm"
joint = "shoulder"
from_m = [0.0, 0.0, 0.0]
to_m = [0.5, 0.0, 0.0]
radius_m = 0.05
[[geometry.capsules]]
name = "hand"
joint = "elbow"
from_m = [0.0, 0.0, 0.0]
to_m = [0.4, 0.0, 0.0]
radius_m = 0.04
[[geometry.workspaces]]
name = "cell"
box = { center_m = [0.0, 0.0, 0.3], size_m = [2.2, 2.2, 0.5] }
only = ["hand"]
[[geometry.keep_out]]
name = "wall"
shape.box = { center_m = [0.0, 0.9, 0.3], size_m = [3.0, 0.2, 1.0], rpy_rad = [0.0, 0.0, 0.1] }
[[geometry.keep_out]]
name = "lamp"
shape.sphere = { center_m = [-0.5, -0.6, 0.3], radius_m = 0.1 }
except = ["upper_arm"]
[[geometry.keep_out]]
name = "post"
shape.capsule = { from_m = [0.5, -0.7, 0.0], to_m = [0.5, -0.7, 1.0], radius_m = 0.05 }
"#;

fn parse(text: &str) -> Result<RobotContract, ContractError> {
    RobotContract::parse(text, Path::new("planar.toml"))
}

#[test]
fn a_contract_with_geometry_guards_the_robot_by_it() {
    let contract = parse(ARM).unwrap();
    let mut chain = contract.safety_chain().unwrap();
    assert!(chain.certified().is_some());
    let mut model = contract.collision_model().unwrap().unwrap();
    let (_, clearance) = model.nearest(&[0.0, 0.0]).unwrap();
    // The cell is nearest: its border is 1.1 m away, the hand's end 0.9 m, its radius 0.04 m, the margin 0.01 m.
    assert!((clearance - 0.15).abs() < 1e-8, "{clearance}");
    chain.arm(&[0.0, 0.0]).unwrap();
    let mut reasons = Reasons::NONE;
    for _ in 0..300 {
        let command = chain.admit(&[2.0, 0.0]);
        reasons = reasons.union(command.reasons());
        assert!(model.clearance(command.position()) >= 0.0);
    }
    assert!(reasons.contains(Reasons::GEOMETRY));
    let (contact, clearance) = model.nearest(chain.state().position).unwrap();
    assert_eq!(contract.geometry.as_ref().unwrap().describe(contact), "hand and keep-out zone wall");
    assert!((0.0..0.002).contains(&clearance), "stopped at the wall: {clearance} m left");
    assert_ne!(contract.hash(), parse(&ARM.replace("margin_m = 0.01", "margin_m = 0.02")).unwrap().hash());
}

#[test]
fn a_contract_survives_being_written_and_read() {
    let contract = parse(ARM).unwrap();
    let text = toml::to_string(&contract).unwrap();
    assert_eq!(parse(&text).unwrap(), contract);
}

#[test]
fn unusable_geometry_says_where_and_what() {
    for (from, to, expected) in [
        (
            "joint = \"elbow\"",
            "joint = \"elbw\"",
            "geometry.capsules hand: there is no joint elbw; there are shoulder, elbow",
        ),
        ("parent = \"shoulder\"", "parent = \"sholder\"", "geometry.joints elbow: there is no joint sholder"),
        (
            "parent = \"shoulder\"",
            "parent = \"elbow\"",
            "geometry.joints elbow: its parent elbow comes after it",
        ),
        (
            "name = \"elbow\"\nparent",
            "name = \"wrist\"\nparent",
            "geometry.joints wrist: there is no joint wrist",
        ),
        (
            "[[geometry.joints]]\nname = \"shoulder\"\norigin_m = [0.0, 0.0, 0.3]\naxis = [0.0, 0.0, 1.0]\n",
            "",
            "geometry.joints: joint shoulder is missing",
        ),
        (
            "name = \"elbow\"\nparent",
            "name = \"shoulder\"\nparent",
            "geometry.joints shoulder: the name is used twice",
        ),
        (
            "axis = [0.0, 0.0, 1.0]",
            "axis = [0.0, 0.0, 0.0]",
            "geometry.joints shoulder: an axis must have a direction",
        ),
        ("axis = [0.0, 0.0, 1.0]", "axis = [0.0, nan, 1.0]", "an axis must have a direction"),
        ("axis = [0.0, 0.0, 1.0]", "axis = [0.0, 1.0]", "invalid length 2"),
        (
            "origin_m = [0.5, 0.0, 0.0]",
            "origin_m = [inf, 0.0, 0.0]",
            "geometry.joints elbow: a joint's origin must be finite",
        ),
        (
            "radius_m = 0.04",
            "radius_m = -0.04",
            "geometry.capsules hand: a capsule's radius must be finite and at least 0, found -0.04 m",
        ),
        (
            "to_m = [0.4, 0.0, 0.0]",
            "to_m = [nan, 0.0, 0.0]",
            "geometry.capsules hand: a capsule's end must be finite",
        ),
        (
            "size_m = [3.0, 0.2, 1.0]",
            "size_m = [3.0, -0.2, 1.0]",
            "geometry.keep_out wall: a box's half extent must be finite and above 0",
        ),
        (
            "size_m = [2.2, 2.2, 0.5]",
            "size_m = [2.2, 0.0, 0.5]",
            "geometry.workspaces cell: a box's half extent",
        ),
        (
            "center_m = [0.0, 0.9, 0.3]",
            "center_m = [0.0, nan, 0.3]",
            "geometry.keep_out wall: a box's pose must be finite",
        ),
        ("radius_m = 0.1 }", "radius_m = -0.1 }", "geometry.keep_out lamp: a keep-out radius"),
        (
            "from_m = [0.5, -0.7, 0.0]",
            "from_m = [0.5, inf, 0.0]",
            "geometry.keep_out post: a keep-out zone's end must be finite",
        ),
        (
            "only = [\"hand\"]",
            "only = [\"hnad\"]",
            "geometry.workspaces cell: there is no capsule hnad; there are upper_arm, hand",
        ),
        (
            "except = [\"upper_arm\"]",
            "except = [\"upperarm\"]",
            "geometry.keep_out lamp: there is no capsule upperarm",
        ),
        ("name = \"lamp\"", "name = \"wall\"", "geometry.keep_out wall: the name is used twice"),
        (
            "name = \"hand\"\n",
            "name = \"upper_arm\"\n",
            "geometry.capsules upper_arm: the name is used twice",
        ),
        ("except = []", "only = [[\"hand\", \"hand\"]]", "hand and hand are fixed to each other"),
        ("except = []", "only = [[\"hand\", \"head\"]]", "geometry.self_collision: there is no capsule head"),
        ("margin_m = 0.01", "margin_m = -0.01", "geometry.margin_m: a margin must be finite and at least 0"),
        ("margin_m = 0.01", "margin = 0.01", "unknown field `margin`"),
        ("shape.sphere", "shape.ball", "unknown variant `ball`"),
        ("[[0.0, 0.0], ", "[[0.0], ", "geometry.clear_poses 0: expected 2 joint positions, found 1"),
        (
            "[0.2, -0.3]]",
            "[1.4, 0.0]]",
            "geometry.clear_poses 1: not clear: hand and keep-out zone wall, clearance -0.",
        ),
        ("[0.2, -0.3]]", "[0.2, nan]]", "geometry.clear_poses 1: joint elbow is at NaN, outside its limits"),
        (
            "policy_hz = 10.0",
            "policy_hz = 10.0\ncommand = \"effort\"",
            "a robot that takes efforts cannot be kept clear",
        ),
        (
            "unit = \"rad\"",
            "unit = \"deg\"",
            "geometry.joints shoulder: a joint with geometry is in rad (it turns) or m (it slides), found \"deg\"",
        ),
    ] {
        let text = ARM.replace(from, to);
        assert_ne!(text, ARM, "{from}");
        let message = parse(&text).unwrap_err().to_string();
        assert!(message.contains(expected), "{to}: {message}");
    }
}

#[test]
fn links_that_are_not_neighbours_are_kept_apart_unless_it_says_otherwise() {
    // A third link that can fold back onto the first.
    let third = ARM.replace(
        "[geometry]",
        "[[joints]]\nname = \"wrist\"\nunit = \"rad\"\nmin_position = -3.1\nmax_position = 3.1\nmax_velocity = 2.0\nmax_acceleration = 10.0\n[geometry]",
    );
    let third = third.replace("clear_poses = [[0.0, 0.0], [0.2, -0.3]]", "clear_poses = [[0.0, 0.0, 2.0]]")
        + "[[geometry.joints]]\nname = \"wrist\"\nparent = \"elbow\"\norigin_m = [0.4, 0.0, 0.0]\naxis = [0.0, 0.0, 1.0]\n\
           [[geometry.capsules]]\nname = \"finger\"\njoint = \"wrist\"\nfrom_m = [0.0, 0.0, 0.0]\nto_m = [0.45, 0.0, 0.0]\nradius_m = 0.02\n";
    let folded = [0.0, 0.0, 3.1];
    let clearance = |text: &str| {
        let contract = parse(text).unwrap();
        let mut model = contract.collision_model().unwrap().unwrap();
        model.clearance(&folded)
    };
    assert!(clearance(&third) < 0.0);
    assert!(clearance(&third.replace("except = []", "except = [[\"finger\", \"upper_arm\"]]")) > 0.0);
    assert!(
        clearance(&third.replace("self_collision = { except = [] }\n", "")) < 0.0,
        "the default is to check"
    );
    assert!(clearance(&third.replace("except = []", "only = [[\"finger\", \"upper_arm\"]]")) < 0.0);
    assert!(clearance(&third.replace("except = []", "only = []")) > 0.0);
}
