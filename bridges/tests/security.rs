//! The session templates of `configs/zenoh`: what each puts in force, and that a fleet's router lets nobody do what their certificate
//! does not say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use surefoot_bridges::wire::{Estop, Message, ModeOp, ModeReply, ModeRequest, RobotMode};
use surefoot_bridges::{LinkError, Purpose, RealRobot, RobotServer, ServeConfig, SessionConfig, attach};
use surefoot_core::clock::MonotonicClock;
use surefoot_core::contract::{LinkContract, LinkMode};
use surefoot_core::{IdealRobot, Robot, RobotContract};
use zenoh::handlers::FifoChannelHandler;
use zenoh::pubsub::Subscriber;
use zenoh::qos::CongestionControl;
use zenoh::sample::Sample;
use zenoh::{Config, Session, Wait};

/// How long an answer that must come may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long is waited for an answer that must not come.
const REFUSED: Duration = Duration::from_millis(500);

fn template(name: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/zenoh").join(name);
    Config::from_file(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn setting(config: &Config, key: &str) -> serde_json::Value {
    let text = config.get_json(key).unwrap_or_else(|e| panic!("{key}: {e}"));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn what_every_template_says_is_in_force() {
    let templates = ["lab.json5", "ros-rmw.json5", "fleet-tls-client.json5", "fleet-tls.json5"];
    let shipped = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/zenoh")).unwrap();
    assert_eq!(shipped.count(), templates.len(), "every template is looked at here");
    for name in templates {
        let config = template(name);
        for (key, expected) in [
            ("scouting/multicast/enabled", serde_json::json!(false)),
            ("scouting/gossip/enabled", serde_json::json!(false)),
            ("timestamping/enabled", serde_json::json!(true)),
            ("transport/link/tx/lease", serde_json::json!(1000)),
            ("transport/link/tx/keep_alive", serde_json::json!(4)),
            ("transport/link/tx/queue/congestion_control/drop/wait_before_drop", serde_json::json!(100)),
            ("transport/shared_memory/enabled", serde_json::json!(false)),
            ("adminspace/enabled", serde_json::json!(false)),
        ] {
            assert_eq!(setting(&config, key), expected, "{name}: {key}");
        }
        let mode = if name == "fleet-tls.json5" { "router" } else { "client" };
        assert_eq!(setting(&config, "mode"), mode, "{name}");
    }
    let lab = template("lab.json5");
    assert_eq!(
        setting(&lab, "listen/endpoints"),
        serde_json::json!(["tcp/127.0.0.1:0"]),
        "this machine alone"
    );
    assert_eq!(setting(&lab, "namespace"), "lab1");
    for name in ["fleet-tls-client.json5", "fleet-tls.json5"] {
        let config = template(name);
        assert_eq!(setting(&config, "transport/link/tls/enable_mtls"), true, "{name}");
        assert_eq!(setting(&config, "transport/link/tls/close_link_on_expiration"), true, "{name}");
        assert_eq!(setting(&config, "transport/link/protocols"), serde_json::json!(["quic"]), "{name}");
    }
    let router = template("fleet-tls.json5");
    assert_eq!(setting(&router, "access_control/enabled"), true);
    assert_eq!(setting(&router, "access_control/default_permission"), "deny");
    assert_eq!(setting(&router, "low_pass_filter").as_array().unwrap().len(), 2);
    assert_eq!(setting(&router, "downsampling").as_array().unwrap().len(), 2);
}

/// Certificates of a fleet, in a directory of their own.
struct Authority {
    directory: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "fleet");
        std::fs::write(directory.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { directory, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A certificate and a key for a role: their paths.
    fn issue(&self, role: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, role);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let paths = (self.path(&format!("{role}.pem")), self.path(&format!("{role}-key.pem")));
        std::fs::write(&paths.0, certificate.pem()).unwrap();
        std::fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    }
}

fn set(config: &mut Config, key: &str, value: impl serde::Serialize) {
    config.insert_json5(key, &serde_json::to_string(&value).unwrap()).unwrap();
}

/// The fleet's router, and where it listens.
fn router(authority: &Authority) -> (Session, String) {
    let (certificate, key) = authority.issue("router");
    for _ in 0..8 {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut config = template("fleet-tls.json5");
        let endpoint = format!("quic/127.0.0.1:{port}");
        set(&mut config, "listen/endpoints", [&endpoint]);
        set(&mut config, "transport/link/tls/root_ca_certificate", authority.path("ca.pem"));
        set(&mut config, "transport/link/tls/listen_certificate", &certificate);
        set(&mut config, "transport/link/tls/listen_private_key", &key);
        // Another program may have taken the port meanwhile.
        if let Ok(session) = zenoh::open(config).wait() {
            return (session, endpoint);
        }
    }
    panic!("no port");
}

fn client(endpoint: &str, authority: &Path, identity: Option<(PathBuf, PathBuf)>) -> Result<Session, String> {
    let mut config = template("fleet-tls-client.json5");
    set(&mut config, "connect/endpoints", [endpoint]);
    set(&mut config, "connect/timeout_ms", 3000);
    set(&mut config, "connect/exit_on_failure", true);
    set(&mut config, "transport/link/protocols", ["quic", "tcp"]);
    set(&mut config, "transport/link/tls/root_ca_certificate", authority);
    match identity {
        Some((certificate, key)) => {
            set(&mut config, "transport/link/tls/connect_certificate", certificate);
            set(&mut config, "transport/link/tls/connect_private_key", key);
        }
        None => {
            set(&mut config, "transport/link/tls/connect_certificate", ());
            set(&mut config, "transport/link/tls/connect_private_key", ());
            set(&mut config, "transport/link/tls/enable_mtls", false);
        }
    }
    zenoh::open(config).wait().map_err(|e| e.to_string())
}

type Inbox = Subscriber<FifoChannelHandler<Sample>>;

/// A fleet: its router, and somebody of each role.
struct Fleet {
    authority: Authority,
    endpoint: String,
    _router: Session,
    robot: Session,
    learner: Session,
}

impl Fleet {
    fn new() -> Self {
        let authority = Authority::new();
        let (router, endpoint) = router(&authority);
        let join =
            |role: &str| client(&endpoint, &authority.path("ca.pem"), Some(authority.issue(role))).unwrap();
        let (robot, learner) = (join("robot"), join("learner"));
        Self { authority, endpoint, _router: router, robot, learner }
    }

    fn join(&self, role: &str) -> Session {
        let identity = Some(self.authority.issue(role));
        client(&self.endpoint, &self.authority.path("ca.pem"), identity).unwrap()
    }
}

/// Asks until somebody answers: declarations take their time through a router.
fn answered(session: &Session, key: &str) -> bool {
    (0..40).any(|_| answered_within(session, key, REFUSED))
}

fn answered_within(session: &Session, key: &str, patience: Duration) -> bool {
    let replies = session.get(key).payload([1_u8; 8]).timeout(patience).wait().unwrap();
    std::iter::from_fn(|| replies.recv().ok()).any(|reply| reply.result().is_ok())
}

/// Puts until it arrives.
fn arrives(session: &Session, inbox: &Inbox, key: &str, bytes: &[u8]) -> bool {
    (0..40).any(|_| {
        session.put(key, bytes).wait().unwrap();
        std::iter::from_fn(|| inbox.recv_timeout(REFUSED).ok().flatten())
            .any(|sample| sample.payload().to_bytes() == bytes)
    })
}

fn answers(session: &Session, key: &'static str) {
    session
        .declare_queryable(key)
        .callback(move |query| query.reply(query.key_expr().clone(), "yes").wait().unwrap())
        .background()
        .wait()
        .unwrap();
}

#[test]
fn a_fleet_does_what_certificates_say_and_nothing_else() {
    let fleet = Fleet::new();
    let commands = fleet.robot.declare_subscriber("lab1/robot/arm/cmd").wait().unwrap();
    let stops = fleet.robot.declare_subscriber("lab1/robot/arm/estop").wait().unwrap();
    for key in ["lab1/robot/arm/contract", "lab1/robot/arm/mode", "lab1/robot/arm/clear"] {
        answers(&fleet.robot, key);
    }
    for key in ["lab1/fleet/push/join", "lab1/fleet/push/actor/*/ep/*/*", "lab1/fleet/push/policy/manifest"] {
        answers(&fleet.learner, key);
    }
    const EPISODE: &str = "lab1/fleet/push/actor/a/ep/0/0";

    // Who may, can.
    let (runtime, operator, actor) = (fleet.join("runtime"), fleet.join("operator"), fleet.join("actor"));
    assert!(answered(&runtime, "lab1/robot/arm/contract") && answered(&runtime, "lab1/robot/arm/mode"));
    assert!(arrives(&runtime, &commands, "lab1/robot/arm/cmd", b"runtime"));
    assert!(arrives(&operator, &stops, "lab1/robot/arm/estop", b"operator"));
    assert!(answered(&operator, "lab1/robot/arm/clear"));
    assert!(answered(&actor, EPISODE) && answered(&actor, "lab1/fleet/push/policy/manifest"));

    // Who may not, cannot. Each is followed by a command of the runtime's, which is the next that the robot hears.
    let [observer, guest, learner] = ["observer", "guest", "learner"].map(|role| fleet.join(role));
    let intruders = [
        ("observer", &observer),
        ("guest", &guest),
        ("actor", &actor),
        ("operator", &operator),
        ("another learner", &learner),
    ];
    for (who, session) in intruders {
        session.put("lab1/robot/arm/cmd", who).wait().unwrap();
        session.delete("lab1/robot/arm/cmd").wait().unwrap();
        session.put("lab1/robot/arm/state", who).wait().unwrap();
        assert!(!answered_within(session, "lab1/robot/arm/mode", REFUSED), "{who} arms");
        assert!(!answered_within(session, "lab1/**", REFUSED), "{who} asks for everything");
        if who != "operator" {
            assert!(!answered_within(session, "lab1/robot/arm/clear", REFUSED), "{who} clears");
        }
        if who != "actor" {
            assert!(!answered_within(session, EPISODE, REFUSED), "{who} brings episodes");
        }
        let token = format!("after {who}");
        runtime.put("lab1/robot/arm/cmd", token.as_bytes()).wait().unwrap();
        let heard = loop {
            let sample = commands.recv_timeout(PATIENCE).unwrap().expect("the runtime's command");
            if *sample.payload().to_bytes() != *b"runtime" {
                break sample.payload().to_bytes().into_owned();
            }
        };
        assert_eq!(String::from_utf8_lossy(&heard), token, "{who} commands");
    }
    assert!(!answered_within(&runtime, "lab1/robot/arm/clear", REFUSED), "a runtime clears its own stop");
    assert!(!answered_within(&runtime, EPISODE, REFUSED), "a runtime brings episodes");
    assert!(!answered_within(&operator, "lab1/robot/arm/mode", REFUSED), "an operator arms");
}

#[test]
fn what_is_too_large_is_not_passed_on() {
    let fleet = Fleet::new();
    let commands = fleet.robot.declare_subscriber("robot/arm/cmd").wait().unwrap();
    let runtime = fleet.join("runtime");
    assert!(arrives(&runtime, &commands, "robot/arm/cmd", &[1; 65_536]), "the largest");
    for n in 0..5 {
        let bytes = vec![2_u8; 65_537 + n];
        runtime.put("robot/arm/cmd", bytes).congestion_control(CongestionControl::Block).wait().unwrap();
    }
    let mut heard = Vec::new();
    for _ in 0..40 {
        runtime.put("robot/arm/cmd", [3_u8; 8]).wait().unwrap();
        heard.extend(
            std::iter::from_fn(|| commands.recv_timeout(REFUSED).ok().flatten()).map(|s| s.payload().len()),
        );
        if heard.last() == Some(&8) {
            break;
        }
    }
    assert!(heard.ends_with(&[8]) && heard.iter().all(|n| *n <= 65_536), "{heard:?}");
}

#[test]
fn whoever_has_no_certificate_of_the_fleet_does_not_get_in() {
    let fleet = Fleet::new();
    let (ours, theirs) = (fleet.authority.path("ca.pem"), Authority::new());
    client(&fleet.endpoint, &ours, Some(theirs.issue("runtime")))
        .expect_err("a certificate of another authority");
    client(&fleet.endpoint, &ours, None).expect_err("no certificate");
    let plain = fleet.endpoint.replace("quic/", "tcp/");
    client(&plain, &ours, None).expect_err("no QUIC");
    client(&fleet.endpoint, &theirs.path("ca.pem"), Some(fleet.authority.issue("runtime")))
        .expect_err("a router that the client does not know");
}

/// A session file of a role, as the template says it with the paths of this fleet.
fn session_file(fleet: &Fleet, role: &str) -> PathBuf {
    let (certificate, key) = fleet.authority.issue(role);
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/zenoh/fleet-tls-client.json5");
    let mut text = std::fs::read_to_string(template).unwrap();
    for (from, to) in
        [("ca.pem", fleet.authority.path("ca.pem")), ("certificate.pem", certificate), ("key.pem", key)]
    {
        text = text.replace(&format!("/etc/surefoot/tls/{from}"), to.to_str().unwrap());
    }
    let path = fleet.authority.path(&format!("{role}.json5"));
    std::fs::write(&path, text).unwrap();
    path
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let clock = MonotonicClock::start();
    let until = clock.now_nanos() + PATIENCE.as_nanos() as i64;
    while !done() {
        assert!(clock.now_nanos() < until, "waited in vain: {what}");
        clock.sleep_until(clock.now_nanos() + 10_000_000);
    }
}

#[test]
fn a_robot_of_a_fleet_is_driven_by_a_runtime_and_its_stop_is_cleared_by_an_operator() {
    let fleet = Fleet::new();
    let text = "name = \"arm\"\ncontrol_hz = 100.0\npolicy_hz = 10.0\n[[joints]]\nname = \"x\"\nunit = \"rad\"\n\
                min_position = -1.0\nmax_position = 1.0\nmax_velocity = 2.0\nmax_acceleration = 5.0\n";
    let plain = RobotContract::parse(text, Path::new("arm.toml")).unwrap();
    let as_role = |role: &str| LinkContract {
        session: Some(session_file(&fleet, role)),
        namespace: Some("lab1".into()),
        state_timeout_ms: 20_000,
        command_timeout_ms: 10_000,
        ..LinkContract::at(&fleet.endpoint)
    };
    let link = as_role("robot");
    let session = SessionConfig::to_robot(&link, Purpose::Control);
    assert_eq!(session.mode, Some(LinkMode::Client));
    let config = ServeConfig { link, session, tracking_tolerance: 1e-9, resettable: false, log: None };
    let world = RealRobot(Box::new(IdealRobot::new(plain.clone()).live()));
    let server = RobotServer::start(Box::new(world), &config).unwrap();

    let attached_as = |role: &str| attach(&RobotContract { link: Some(as_role(role)), ..plain.clone() });
    let refused = attached_as("operator").err().unwrap();
    assert!(matches!(refused, LinkError::NoState { .. } | LinkError::NoRobot { .. }), "{refused}");
    let mut robot = attached_as("runtime").unwrap().robot;
    let mut chain = plain.safety_chain().unwrap();
    chain.arm(&[0.0]).unwrap();
    wait_for("the runtime's commands to be followed", || {
        robot.write(chain.admit(&[0.2])).unwrap();
        server.status().counters.executed > 5
    });

    let operator = fleet.join("operator");
    let press = Estop { latched: true, cause: "a test".into(), who: "operator".into() };
    wait_for("the stop", || {
        operator.put("lab1/robot/arm/estop", press.bytes()).wait().unwrap();
        server.status().mode == RobotMode::EmergencyStop && server.status().at_rest
    });
    // The runtime asks, and is not heard.
    robot.acknowledge().unwrap();
    let reset = ModeRequest { op: ModeOp::Reset, who: 7, lease: 0, epoch: 0, contract_hash: [0; 32] };
    let reset_as = |session: &Session| {
        let replies =
            session.get("lab1/robot/arm/clear").payload(reset.bytes()).timeout(REFUSED).wait().unwrap();
        let sample = replies.recv().ok()?.into_result().ok()?;
        ModeReply::read(&sample.payload().to_bytes()).ok()
    };
    let runtime = fleet.join("runtime");
    assert!(answered(&runtime, "lab1/robot/arm/contract"), "it is connected");
    assert_eq!(reset_as(&runtime), None);
    assert_eq!(server.status().mode, RobotMode::EmergencyStop);
    wait_for("the operator's reset", || reset_as(&operator).is_some_and(|r| r.mode == RobotMode::Idle));
    drop(robot);
    assert_eq!(server.stop().unwrap().counters.violations, 0);
}
