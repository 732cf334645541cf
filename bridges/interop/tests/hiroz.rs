//! surefoot's `rmw_zenoh` dialect against hiroz, an implementation of the same wire by other people: topics, type hashes, attachments,
//! CDR and liveliness tokens, through a router as a robot has one.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hiroz::context::{ZContext, ZContextBuilder};
use hiroz::entity::EndpointKind;
use hiroz::{Builder, Result};
use hiroz_msgs::builtin_interfaces::Time;
use hiroz_msgs::sensor_msgs::JointState;
use hiroz_msgs::std_msgs::Header;
use hiroz_msgs::trajectory_msgs::JointTrajectory;
use surefoot_bridges::{Purpose, RealRobot, RobotServer, ServeConfig, SessionConfig, attach};
use surefoot_core::contract::{LinkContract, LinkDialect, LinkMode, RmwZenohLink};
use surefoot_core::{IdealRobot, Robot, RobotContract, RobotState};
use zenoh::Wait;

const PATIENCE: Duration = Duration::from_secs(20);
const BETWEEN: Duration = Duration::from_millis(10);
const COMMANDS: &str = "/joint_trajectory_controller/joint_trajectory";

/// A router as `rmw_zenohd` is one, and where it listens.
fn router() -> (zenoh::Session, String) {
    for _ in 0..8 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let endpoint = format!("tcp/127.0.0.1:{port}");
        let mut config = zenoh::Config::default();
        config.insert_json5("mode", "\"router\"").unwrap();
        config.insert_json5("listen/endpoints", &format!("[\"{endpoint}\"]")).unwrap();
        config.insert_json5("scouting/multicast/enabled", "false").unwrap();
        if let Ok(session) = zenoh::open(config).wait() {
            return (session, endpoint);
        }
    }
    panic!("no port");
}

fn ros(endpoint: &str, domain: usize) -> ZContext {
    ZContextBuilder::default()
        .with_domain_id(domain)
        .with_mode("client")
        .with_connect_endpoints([endpoint])
        .disable_multicast_scouting()
        .build()
        .unwrap()
}

fn contract(endpoint: &str, domain_id: u32) -> RobotContract {
    let joint = |name: &str| {
        format!(
            "[[joints]]\nname = \"{name}\"\nunit = \"rad\"\nmin_position = -1.0\nmax_position = 1.0\n\
             max_velocity = 2.0\nmax_acceleration = 5.0\n"
        )
    };
    let head = "name = \"arm\"\ncontrol_hz = 100.0\npolicy_hz = 10.0\n";
    let text = format!("{head}{}{}", joint("shoulder"), joint("elbow"));
    let mut contract = RobotContract::parse(&text, Path::new("arm.toml")).unwrap();
    let mut link = LinkContract::at(endpoint);
    link.dialect = LinkDialect::RmwZenoh(RmwZenohLink { domain_id, ..RmwZenohLink::default() });
    link.mode = LinkMode::Client;
    link.state_timeout_ms = 20_000;
    contract.link = Some(link);
    contract
}

/// Publishes a state again and again, as a broadcaster does, until it is dropped.
struct Broadcaster {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Broadcaster {
    fn start(context: &ZContext) -> Self {
        let node = context.create_node("joint_state_broadcaster").build().unwrap();
        let publisher = node.create_pub::<JointState>("/joint_states").build().unwrap();
        let ending = Arc::new(AtomicBool::new(false));
        let until = ending.clone();
        let thread = std::thread::spawn(move || {
            let _node = node;
            let mut message = JointState {
                header: Header { stamp: Time { sec: 1_700_000_000, nanosec: 0 }, frame_id: String::new() },
                // Not the order of the contract, and one joint more.
                name: vec!["elbow".into(), "gripper".into(), "shoulder".into()],
                position: vec![-0.25, 0.04, 0.5],
                velocity: vec![0.0, 0.0, 0.0],
                effort: vec![],
            };
            while !until.load(Ordering::Acquire) {
                message.header.stamp.nanosec = (message.header.stamp.nanosec + 10_000_000) % 1_000_000_000;
                publisher.publish(&message).unwrap();
                std::thread::park_timeout(BETWEEN);
            }
        });
        Self { ending, thread: Some(thread) }
    }
}

impl Drop for Broadcaster {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Until it is so, or patience is at its end.
fn becomes(what: impl Fn() -> bool) -> bool {
    (0..PATIENCE.as_millis() / BETWEEN.as_millis()).any(|_| {
        std::thread::park_timeout(BETWEEN);
        what()
    })
}

#[test]
fn a_ros_robot_is_read_commanded_and_lists_us() -> Result<()> {
    let (_router, endpoint) = router();
    let context = ros(&endpoint, 7);
    let broadcaster = Broadcaster::start(&context);
    let controller = context.create_node("joint_trajectory_controller").build()?;
    let commands = controller.create_sub::<JointTrajectory>(COMMANDS).build()?;

    let contract = contract(&endpoint, 7);
    let mut robot = attach(&contract).unwrap().robot;
    let mut state = RobotState::zeros(&contract);
    let stamp = robot.read(&mut state).unwrap();
    assert_eq!(state.position, [0.5, -0.25], "by name");
    assert_eq!(stamp.nanos / 1_000_000_000, 1_700_000_000);

    // What ROS's own tools would show.
    let graph = context.graph();
    assert!(becomes(|| graph.count(EndpointKind::Publisher, COMMANDS) == 1), "our publisher");
    assert!(becomes(|| graph.count(EndpointKind::Subscription, "/joint_states") == 1), "our subscription");
    assert!(graph.get_node_names().iter().any(|(name, _)| name == "surefoot"), "{:?}", graph.get_node_names());

    let mut chain = contract.safety_chain().unwrap();
    chain.arm(&state.position).unwrap();
    let mut received = None;
    for _ in 0..PATIENCE.as_millis() / BETWEEN.as_millis() {
        robot.write(chain.admit(&[1.0, -0.5])).unwrap();
        received = commands.recv_timeout(BETWEEN).ok();
        if received.is_some() {
            break;
        }
    }
    let trajectory = received.expect("a command");
    assert_eq!(trajectory.joint_names, ["shoulder", "elbow"]);
    assert_eq!(trajectory.header.stamp.sec, 1_700_000_000, "the robot's clock, not ours");
    let (first, last) = (&trajectory.points[0], trajectory.points.last().unwrap());
    assert!(first.velocities[0] > 0.0 && first.velocities[1] < 0.0, "{:?}", first.velocities);
    assert_eq!(last.velocities, [0.0, 0.0], "the plan ends at rest");
    let times: Vec<u32> = trajectory.points.iter().map(|p| p.time_from_start.nanosec).collect();
    assert_eq!(times[..2], [10_000_000, 20_000_000]);
    drop(broadcaster);
    Ok(())
}

#[test]
fn a_served_robot_is_a_ros_robot() -> Result<()> {
    let (_router, endpoint) = router();
    let contract = contract(&endpoint, 8);
    let link = contract.link.clone().unwrap();
    let session = SessionConfig::to_robot(&link, Purpose::Control);
    let world = Box::new(RealRobot(Box::new(IdealRobot::new(contract).at(&[0.1, 0.2]).live())));
    let config = ServeConfig { link, session, tracking_tolerance: 0.1, resettable: false, log: None };
    let server = RobotServer::start(world, &config).unwrap();

    let context = ros(&endpoint, 8);
    let node = context.create_node("moveit").build()?;
    let states = node.create_sub::<JointState>("/joint_states").build()?;
    let state = states.recv_timeout(PATIENCE)?;
    assert_eq!((state.name.join(" ").as_str(), state.position.as_slice()), ("shoulder elbow", &[0.1, 0.2][..]));
    assert!(becomes(|| context.graph().count(EndpointKind::Subscription, COMMANDS) == 1), "its subscription");
    drop(server);
    Ok(())
}
