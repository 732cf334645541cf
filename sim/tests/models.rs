//! Models that users bring: read, listed, stepped, or refused with file, line and element.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use surefoot_core::{Env, StepEnd};
use surefoot_sim::tasks::model::ModelConfig;
use surefoot_sim::{EnvConfig, EnvContext, Model};

const ARM: &str = r#"<mujoco model="arm">
  <compiler angle="radian"/>
  <option integrator="RK4" timestep="0.002"/>
  <asset>
    <mesh name="hand" file="hand.stl"/>
  </asset>
  <worldbody>
    <light pos="0 0 2"/>
    <geom name="floor" type="plane" size="1 1 1"/>
    <body name="upper" pos="0 0 0.3">
      <joint name="shoulder" axis="0 1 0" range="-1 1" damping="0.5" solreflimit="0.02 1"/>
      <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02" solref="0.02 1"/>
      <body name="lower" pos="0.3 0 0">
        <joint name="elbow" axis="0 1 0" range="-2 2" damping="0.5"/>
        <geom name="forearm" type="capsule" fromto="0 0 0 0.2 0 0" size="0.02"/>
        <site name="tip" pos="0.2 0 0"/>
      </body>
    </body>
    <body name="cube" pos="0.9 0 0.03">
      <freejoint/>
      <geom name="cube" type="box" size="0.03 0.03 0.03" mass="0.1"/>
    </body>
  </worldbody>
  <actuator>
    <motor name="m1" joint="shoulder" gear="8" ctrlrange="-1 1"/>
    <motor name="m2" joint="elbow" gear="4" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"#;

const TASK: &str = r#"
name = "touch_the_floor"
max_steps = 40
[[observations]]
joint_position = {}
[[observations]]
joint_velocity = { joints = ["elbow"] }
[[observations]]
offset = { from = "tip", to = "cube", axes = "xz" }
[[observations]]
touch = { of = "forearm" }
[[observations]]
action = {}
[[rewards]]
weight = -2.0
of = { position = { of = "tip", axes = "z" } }
[[rewards]]
weight = 1.0
of = { one = {} }
[[success]]
of = { touch = { of = "lower" } }
within = [1.0, 1.0]
[[terminations]]
of = { position = { of = "cube", axes = "z" } }
outside = [0.0, 0.2]
[start]
position_noise = 0.01
"#;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("surefoot-models-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn config(path: &Path, task: &str) -> ModelConfig {
    ModelConfig {
        path: Some(path.to_owned()),
        task: Some(toml::from_str(task).unwrap()),
        ..ModelConfig::default()
    }
}

fn build(path: &Path, task: &str) -> Result<Box<dyn Env>, String> {
    EnvConfig::Model(config(path, task)).build(&EnvContext::default()).map_err(|e| e.to_string())
}

#[test]
fn everything_that_is_not_simulated_is_listed_with_its_line() {
    let folder = Folder::new("listed");
    folder.file("floor.xml", "<mujoco>\n<worldbody>\n<camera pos=\"0 0 1\"/>\n</worldbody>\n</mujoco>");
    let path =
        folder.file("arm.xml", &ARM.replace("<worldbody>", "<include file=\"floor.xml\"/><worldbody>"));
    let report = Model::read(&path).unwrap().report();
    let found: Vec<(String, u32)> = report.ignored.iter().map(|i| (i.item.clone(), i.line)).collect();
    let expected = [
        ("option integrator", 3),
        ("camera", 3),
        ("light", 8),
        ("joint solreflimit", 11),
        ("geom solref", 12),
    ];
    assert_eq!(found, expected.map(|(item, line)| (item.to_owned(), line)));
    assert_eq!(report.joints.iter().map(|j| j.kind).collect::<Vec<_>>(), ["hinge", "hinge", "free"]);
    assert_eq!(report.joints[0].range, Some([-1.0, 1.0]));
    let text = report.to_string();
    for line in [
        "joint      shoulder",
        "actuator   elbow            motor, gear 4",
        "contact    floor",
        "sites      tip",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[test]
fn a_task_of_named_terms_is_observed_rewarded_and_ended() {
    let folder = Folder::new("task");
    let path = folder.file("arm.xml", ARM);
    let mut env = build(&path, TASK).unwrap();
    let names: Vec<&str> = env.spec().observation.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "shoulder_position",
            "elbow_position",
            "elbow_velocity",
            "tip_to_cube_x",
            "tip_to_cube_z",
            "forearm_touch",
            "last_shoulder_effort",
            "last_elbow_effort"
        ]
    );
    assert_eq!(env.spec().action.iter().map(|f| f.high).collect::<Vec<_>>(), [Some(8.0), Some(4.0)]);
    let (mut o, mut e) = ([0.0; 8], [0.0; 2]);
    env.reset(3, &mut o).unwrap();
    assert!((o[3] - (0.9 - 0.5)).abs() < 0.02 && (o[4] - (0.03 - 0.3)).abs() < 0.02, "{o:?}");
    assert!(o[0].abs() <= 0.0101 && o[0] != 0.0 && o[5] == 0.0);
    for step in 0..40 {
        // Down with the shoulder; the tip falls on the floor and the link below touches it.
        let outcome = env.step(&[0.2, 0.0], &mut o, &mut e).unwrap();
        assert_eq!(e, [0.2, 0.0]);
        let tip = 0.03 - f64::from(o[4]);
        assert!((f64::from(outcome.reward) - (1.0 - 2.0 * tip)).abs() < 2e-3, "{} at {tip}", outcome.reward);
        assert_eq!((outcome.success, outcome.end == StepEnd::Terminated), (o[5] == 1.0, o[5] == 1.0));
        if outcome.success {
            assert!(tip < 0.05 && step > 1);
            return;
        }
    }
    panic!("the floor was never touched: {o:?}");
}

#[test]
fn the_example_reaches_its_goal_by_a_simple_rule() {
    let mut env = EnvConfig::default_of("model").unwrap().build(&EnvContext::default()).unwrap();
    let (mut o, mut e) = (vec![0.0; env.spec().observation_dim()], [0.0; 2]);
    let mut reached = 0;
    for seed in 0..10 {
        env.reset(seed, &mut o).unwrap();
        loop {
            // Transposed Jacobian times the way to the goal, less damping.
            let (a, b) = (o[1].atan2(o[0]), o[1].atan2(o[0]) + o[3].atan2(o[2]));
            let ([dx, dy], [v1, v2]) = ([o[6], o[7]], [o[4], o[5]]);
            let (x2, y2) = (0.33 * b.cos(), 0.33 * b.sin());
            let (x1, y1) = (0.4 * a.cos() + x2, 0.4 * a.sin() + y2);
            let torque = [14.0 * (x1 * dy - y1 * dx) - 1.2 * v1, 14.0 * (x2 * dy - y2 * dx) - 0.7 * v2];
            let outcome = env.step(&[torque[0] / 6.0, torque[1] / 3.0], &mut o, &mut e).unwrap();
            if outcome.end.is_last() {
                reached += usize::from(outcome.success);
                break;
            }
        }
    }
    assert!(reached >= 7, "{reached} of 10");
}

#[test]
fn what_is_wrong_with_a_model_is_said_with_file_line_and_element() {
    let folder = Folder::new("wrong");
    let hand = r#"<geom name="hand" type="mesh" mesh="hand"/><site name="tip""#;
    for (from, to, line, expected) in [
        (
            "range=\"-1 1\"",
            "range=\"1 -1\"",
            11,
            "joint \"shoulder\": the lower limit 1 is not below the upper limit -1",
        ),
        (
            "damping=\"0.5\"/>",
            "damping=\"-0.5\"/>",
            14,
            "joint \"elbow\": damping must not be negative, found -0.5",
        ),
        ("name=\"elbow\"", "name=\"shoulder\"", 11, "joint \"shoulder\": another joint has the same name"),
        (
            "axis=\"0 1 0\" range=\"-2",
            "axis=\"0 0 0\" range=\"-2",
            14,
            "joint \"elbow\": its axis has no direction",
        ),
        ("mass=\"0.1\"", "mass=\"0\"", 19, "body \"cube\": it moves and has no mass"),
        ("<motor name=\"m2\"", "<muscle name=\"m2\"", 0, "m2\": an unknown actuator"),
        (
            "<motor name=\"m2\" joint=\"elbow\" gear=\"4\"",
            "<velocity name=\"m2\" joint=\"elbow\" kv=\"4\"",
            26,
            "velocity \"m2\": an unknown actuator: only motor and position are simulated",
        ),
        (
            "joint=\"elbow\"",
            "joint=\"wrist\"",
            26,
            "motor \"m2\": it drives joint \"wrist\", which the model does not have",
        ),
        (
            "joint=\"elbow\"",
            "joint=\"shoulder\"",
            26,
            "motor \"m2\": another actuator drives joint \"shoulder\" too",
        ),
        (
            "<actuator>",
            "<equality><weld name=\"w\" body1=\"lower\" body2=\"cube\"/></equality><actuator>",
            24,
            "weld \"w\": closes a loop between body \"lower\" and body \"cube\"",
        ),
        ("<site name=\"tip\"", hand, 16, "geom \"hand\": mesh \"hand\": the file"),
        (
            "<site name=\"tip\"",
            &hand.replace("mesh=\"hand\"", "mesh=\"fist\""),
            16,
            "geom \"hand\": mesh \"fist\" is not among the assets",
        ),
    ] {
        let text = ARM.replacen(from, to, 1);
        assert_ne!(text, ARM, "{from}");
        let error = Model::read(&folder.file("arm.xml", &text)).unwrap_err().to_string();
        let at = if line > 0 { format!("arm.xml:{line}: ") } else { "arm.xml".to_owned() };
        assert!(error.contains(&at) && error.contains(expected), "expected {at}{expected}, found {error}");
    }
    let malformed = Model::read(&folder.file("arm.xml", &ARM[..200])).unwrap_err().to_string();
    assert!(malformed.contains("arm.xml") && malformed.contains("XML parse error"), "{malformed}");
    let missing = Model::read(Path::new("no/such/arm.xml")).unwrap_err().to_string();
    assert!(missing.contains("no/such/arm.xml"), "{missing}");
}

#[test]
fn what_is_wrong_with_a_task_is_said_in_its_own_words() {
    let folder = Folder::new("wrong-task");
    let path = folder.file("arm.xml", ARM);
    for (from, to, expected) in [
        (
            "of = \"tip\", axes = \"z\"",
            "of = \"top\", axes = \"z\"",
            "reward number 1: there is no body, site or place \"top\": expected one of upper, lower, cube, tip",
        ),
        (
            "joints = [\"elbow\"]",
            "joints = [\"wrist\"]",
            "observation number 2: there is no joint \"wrist\": expected one of shoulder, elbow",
        ),
        ("axes = \"xz\"", "axes = \"zx\"", "expected some of xyz"),
        (
            "within = [1.0, 1.0]",
            "within = [1.0, 1.0]\noutside = [0.0, 1.0]",
            "success number 1: one of within and outside",
        ),
        ("max_steps = 40", "max_steps = 0", "max_steps must be at least 1"),
        ("position_noise = 0.01", "keyframe = \"home\"", "the model has no keyframe \"home\""),
        (
            "position_noise = 0.01",
            "bodies = [{ body = \"lower\", low_m = [0,0,0], high_m = [1,1,1] }]",
            "body lower has no freejoint",
        ),
        (
            "joint_position = {}",
            "joint_position = {}\n[[observations]]\njoint_position = { joints = [\"elbow\"] }",
            "elbow_position is observed twice",
        ),
    ] {
        let text = TASK.replacen(from, to, 1);
        assert_ne!(text, TASK, "{from}");
        let error = build(&path, &text).err().unwrap();
        assert!(error.contains(expected), "expected {expected}, found {error}");
    }
    let unknown = toml::from_str::<ModelConfig>(
        "[task]\nname = \"t\"\nmax_steps = 1\nrewards = []\nobservations = [{ speed = {} }]",
    );
    assert!(unknown.unwrap_err().to_string().contains("unknown variant `speed`"));
    let no_task = ModelConfig { path: Some(path), ..ModelConfig::default() };
    let error = EnvConfig::Model(no_task).build(&EnvContext::default()).err().unwrap().to_string();
    assert!(error.contains("a model needs a task"), "{error}");
}

const URDF: &str = r#"<robot name="arm">
  <link name="base"/>
  <link name="upper">
    <inertial><origin xyz="0.1 0 0"/><mass value="1"/><inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial>
    <collision><origin xyz="0.1 0 0"/><geometry><box size="0.2 0.02 0.02"/></geometry></collision>
    <visual><geometry><sphere radius="1"/></geometry></visual>
  </link>
  <link name="lower">
    <inertial><origin xyz="0.1 0 0"/><mass value="0.5"/><inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial>
  </link>
  <joint name="shoulder" type="revolute">
    <parent link="base"/><child link="upper"/><axis xyz="0 1 0"/>
    <limit lower="-1" upper="1" effort="7" velocity="3"/><dynamics damping="0.2" friction="0.1"/>
    <safety_controller k_velocity="1"/>
  </joint>
  <joint name="elbow" type="continuous">
    <origin xyz="0.2 0 0" rpy="0 0 1.5707963267948966"/>
    <parent link="upper"/><child link="lower"/><axis xyz="0 0 1"/>
    <limit effort="2" velocity="5"/>
  </joint>
</robot>
"#;

#[test]
fn urdf_keeps_its_limits_efforts_damping_and_masses() {
    let folder = Folder::new("urdf");
    let path = folder.file("arm.urdf", URDF);
    let report = Model::read(&path).unwrap().report();
    let [shoulder, elbow] = &report.joints[..] else { panic!("{report}") };
    assert_eq!((shoulder.range, elbow.range), (Some([-1.0, 1.0]), None));
    assert_eq!((shoulder.max_velocity, elbow.max_velocity), (Some(3.0), Some(5.0)));
    assert_eq!((shoulder.damping, shoulder.frictionloss), (0.2, 0.1));
    assert_eq!(report.bodies[1..], [("upper".to_owned(), 1.0), ("lower".to_owned(), 0.5)]);
    let ignored: Vec<&str> = report.ignored.iter().map(|i| i.item.as_str()).collect();
    assert_eq!(ignored, ["joint safety_controller", "visual"]);
    let task = "name = \"t\"\nmax_steps = 20\nobservations = [{ joint_position = {} }, { position = { of = \"lower\" } }]\nrewards = []";
    let mut env = build(&path, task).unwrap();
    assert_eq!(env.spec().action[0].high, Some(7.0));
    let (mut o, mut e) = ([0.0; 5], [0.0; 2]);
    env.reset(0, &mut o).unwrap();
    assert!((o[2] - 0.2).abs() < 1e-6, "{o:?}");
    env.step(&[1.0, 0.0], &mut o, &mut e).unwrap();
    assert!(o[0] > 0.01, "{o:?}");

    for (from, to, line, expected) in [
        (
            "<child link=\"lower\"/>",
            "<child link=\"upper\"/>",
            16,
            "joint \"elbow\": closes a loop: link \"upper\" is the child of joint \"shoulder\" too",
        ),
        (
            "lower=\"-1\" upper=\"1\"",
            "lower=\"1\" upper=\"-1\"",
            11,
            "joint \"shoulder\": the lower limit 1 is not below",
        ),
        ("<mass value=\"1\"/>", "<mass value=\"0\"/>", 3, "link \"upper\": it moves and its mass is 0 kg"),
        ("type=\"continuous\"", "type=\"planar\"", 16, "joint \"elbow\": type \"planar\" is not simulated"),
        (
            "<box size=\"0.2 0.02 0.02\"/>",
            "<mesh filename=\"package://arm/upper.stl\"/>",
            3,
            "link \"upper\": the mesh",
        ),
        (
            "<parent link=\"upper\"/>",
            "<parent link=\"middle\"/>",
            16,
            "joint \"elbow\": link \"middle\" is not in the file",
        ),
    ] {
        let error =
            Model::read(&folder.file("arm.urdf", &URDF.replacen(from, to, 1))).unwrap_err().to_string();
        let at = format!("arm.urdf:{line}: ");
        assert!(error.contains(&at) && error.contains(expected), "expected {at}{expected}, found {error}");
    }
}

#[test]
fn contacts_follow_contype_conaffinity_and_excludes() {
    let folder = Folder::new("contacts");
    // A box that falls on a table that the other box does not meet.
    let world = |second: &str, exclude: &str| {
        format!(
            "<mujoco><compiler angle=\"radian\"/><worldbody><geom name=\"floor\" type=\"plane\" size=\"1 1 1\" contype=\"1\" conaffinity=\"1\"/>
            <body name=\"a\" pos=\"0 0 0.2\"><freejoint/><geom type=\"box\" size=\"0.1 0.1 0.1\" mass=\"1\" {second}/></body>
            <body name=\"b\" pos=\"0 0 0.5\"><freejoint/><geom type=\"box\" size=\"0.1 0.1 0.1\" mass=\"1\"/></body>
            <body name=\"wheel\" pos=\"2 0 1\"><joint name=\"spin\"/><geom type=\"sphere\" size=\"0.1\"/></body></worldbody>
            <contact>{exclude}</contact><actuator><motor joint=\"spin\" ctrlrange=\"-1 1\"/></actuator></mujoco>"
        )
    };
    let task = "name = \"t\"\nmax_steps = 100\nobservations = [{ position = { of = \"a\", axes = \"z\" } }, { position = { of = \"b\", axes = \"z\" } }]\nrewards = []";
    let rest = |second: &str, exclude: &str| {
        let mut env = build(&folder.file("boxes.xml", &world(second, exclude)), task).unwrap();
        let (mut o, mut e) = ([0.0; 2], [0.0; 1]);
        env.reset(0, &mut o).unwrap();
        for _ in 0..20 {
            env.step(&[0.0], &mut o, &mut e).unwrap();
        }
        o.map(|z| (z * 100.0).round() / 100.0)
    };
    assert_eq!(rest("", ""), [0.1, 0.3], "b rests on a");
    assert_eq!(rest("", "<exclude body1=\"b\" body2=\"a\"/>"), [0.1, 0.1], "both rest on the floor");
    // Bits of a's type meet the floor's affinity and not b's.
    assert_eq!(
        rest("contype=\"2\" conaffinity=\"0\"", ""),
        [rest("contype=\"2\" conaffinity=\"0\"", "")[0], 0.1]
    );
    assert!(rest("contype=\"2\" conaffinity=\"0\"", "")[0] < -1.0, "a falls through the floor");
    assert_eq!(rest("contype=\"0\" conaffinity=\"1\"", ""), [0.1, 0.3], "one side's type is enough");
}

/// rapier divides by what answers a push: across the plane of a planar robot that was rounding alone, and friction all went there.
#[test]
fn a_planar_wheel_that_slides_begins_to_roll_as_the_closed_form_says() {
    let folder = Folder::new("wheel");
    let joints = "<joint name=\"x\" type=\"slide\" axis=\"1 0 0\"/><joint name=\"z\" type=\"slide\" axis=\"0 0 1\"/><joint name=\"turn\" axis=\"0 1 0\"/>";
    let text = format!(
        "<mujoco><compiler angle=\"radian\"/><worldbody><geom type=\"plane\" size=\"9 9 1\" friction=\"0.3\"/>
        <body name=\"wheel\" pos=\"0 0 0.1\">{joints}<geom type=\"sphere\" size=\"0.1\" mass=\"1\" friction=\"0.3\"/></body></worldbody>
        <keyframe><key name=\"start\" qpos=\"0 0 0\"/></keyframe>
        <actuator><motor joint=\"turn\" ctrlrange=\"-1 1\"/></actuator></mujoco>"
    );
    let task = "name = \"t\"\nmax_steps = 100\nobservations = [{ joint_velocity = {} }]\nrewards = []\n[start]\nkeyframe = \"start\"\nvelocity_noise = 1.5";
    let mut env = build(&folder.file("wheel.xml", &text), task).unwrap();
    let (mut o, mut e) = ([0.0; 3], [0.0; 1]);
    for seed in 0..5 {
        env.reset(seed, &mut o).unwrap();
        let (speed, turning) = (o[0], o[2]);
        for _ in 0..20 {
            env.step(&[0.0], &mut o, &mut e).unwrap();
        }
        // Friction acts at the rim: the momentum about the point of contact, 7/5 m r^2 per turn, is kept.
        let expected = (speed + 0.4 * 0.1 * turning) / 1.4;
        assert!(
            (o[0] - expected).abs() < 0.02 && (o[2] * 0.1 - expected).abs() < 0.02,
            "{o:?}, expected {expected}"
        );
    }
}

#[test]
fn a_simulation_that_explodes_says_which_joint_and_what_was_before() {
    let folder = Folder::new("explodes");
    let task = "name = \"t\"\nmax_steps = 100\nobservations = [{ joint_position = {} }]\nrewards = []\n[start]\nvelocity_noise = 3e38";
    let mut env = build(&folder.file("arm.xml", ARM), task).unwrap();
    let (mut o, mut e) = ([0.0; 2], [0.0; 2]);
    let mut reset = env.reset(1, &mut o);
    for _ in 0..100 {
        if reset.is_err() {
            break;
        }
        reset = env.step(&[0.0, 0.0], &mut o, &mut e).map(drop);
    }
    let error = reset.unwrap_err().to_string();
    for part in
        ["the simulation of robot t diverged at", "joint ", "is not finite; before it, at ", "positions ["]
    {
        assert!(error.contains(part), "{part} is missing in {error}");
    }
    assert!(env.reset(1, &mut o).is_ok(), "the next episode begins anew");
}

#[test]
fn neighbours_in_a_tree_never_touch_whatever_joints_and_welds_are_between_them() {
    let folder = Folder::new("neighbours");
    // Two balls that overlap by half: beyond two hinges, or beyond a weld, or beyond a link of their own.
    let ball = |name: &str| {
        format!(
            "<geom name=\"{name}\" type=\"sphere\" pos=\"0 0 {}\" size=\"0.1\"/>",
            f64::from(u8::from(name == "b")) * 0.05
        )
    };
    let hinge = |name: &str, axis: &str| format!("<joint name=\"{name}\" axis=\"{axis}\" damping=\"0.1\"/>");
    let (two, one) = (hinge("h1", "0 1 0") + &hinge("h2", "1 0 0"), hinge("h1", "0 1 0"));
    for (name, inner, touches) in [
        ("two hinges", format!("<body name=\"b\" pos=\"0.1 0 0\">{two}{}</body>", ball("b")), 0.0),
        (
            "a weld",
            format!(
                "<body name=\"m\" pos=\"0.1 0 0\">{one}<inertial pos=\"0 0 0\" mass=\"1\" diaginertia=\"1 1 1\"/><body name=\"b\">{}</body></body>",
                ball("b")
            ),
            0.0,
        ),
        (
            "a link",
            format!(
                "<body name=\"m\" pos=\"0.1 0 0\">{one}<inertial pos=\"0 0 0\" mass=\"1\" diaginertia=\"1 1 1\"/><body name=\"b\">{}{}</body></body>",
                hinge("h2", "1 0 0"),
                ball("b")
            ),
            1.0,
        ),
    ] {
        let text = format!(
            "<mujoco><option gravity=\"0 0 0\"/><worldbody><body name=\"a\" pos=\"0 0 1\">{}{}{inner}</body></worldbody>
            <actuator><motor joint=\"h0\" ctrlrange=\"-1 1\"/></actuator></mujoco>",
            hinge("h0", "0 0 1"), ball("a")
        );
        let task = "name = \"t\"\nmax_steps = 10\nobservations = [{ touch = { of = \"b\" } }]\nrewards = []";
        // One step of 2 ms: what overlaps has not come apart yet.
        let mut config = config(&folder.file("tree.xml", &text), task);
        (config.limits.control_hz, config.limits.policy_hz) = (500.0, 500.0);
        let mut env = EnvConfig::Model(config).build(&EnvContext::default()).unwrap();
        let (mut o, mut e) = ([0.0; 1], [0.0; 1]);
        env.reset(0, &mut o).unwrap();
        env.step(&[0.0], &mut o, &mut e).unwrap();
        assert_eq!(o[0], touches, "{name}");
    }
}
