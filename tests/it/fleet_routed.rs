//! A learner and an actor on two networks that cannot reach each other, and zenoh's router between them.
//!
//! Network namespaces stand for the machines. Where the system does not permit them, the test says so and ends.

use std::process::{Command, Stdio};

use zenoh::Wait;

use crate::fleet::{Program, assert_each_once, with_actors};
use crate::program::Workplace;

/// A namespace, and the addresses of the link between it and this one.
struct Machine {
    namespace: String,
    link: String,
    /// Here; there it is the next one.
    subnet: String,
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    let said = || format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    output.status.success().then_some(()).ok_or_else(said)
}

impl Machine {
    fn new(letter: char) -> Result<Self, String> {
        let id = std::process::id();
        let namespace = format!("sf{letter}{id}");
        // Addresses that this process alone uses.
        let subnet = format!("10.{}.{}", 200 + (id / 256 % 50), id % 256 / 2 * 2 + u32::from(letter == 'b'));
        let machine = Self { link: format!("{namespace}h"), namespace, subnet };
        let Self { namespace, link, subnet } = &machine;
        let there = format!("{namespace}n");
        ip(&["netns", "add", namespace])?;
        ip(&["link", "add", link, "type", "veth", "peer", "name", &there, "netns", namespace])?;
        ip(&["addr", "add", &format!("{subnet}.1/30"), "dev", link])?;
        ip(&["link", "set", link, "up"])?;
        ip(&["-n", namespace, "addr", "add", &format!("{subnet}.2/30"), "dev", &there])?;
        ip(&["-n", namespace, "link", "set", &there, "up"])?;
        ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        Ok(machine)
    }

    fn router(&self, port: u16) -> String {
        format!("tcp/{}.1:{port}", self.subnet)
    }

    fn start(&self, workplace: &Workplace, args: &[&str]) -> Program {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, env!("CARGO_BIN_EXE_surefoot-under-test")]);
        command.args(args).arg("--json").current_dir(workplace.path("")).stdin(Stdio::null());
        Program::of(command)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The link goes with the namespace; where that was never made, there is none.
        let _ = ip(&["link", "del", &self.link]);
        let _ = ip(&["netns", "del", &self.namespace]);
    }
}

/// A port that nobody listens at, at this moment.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// zenoh's router, in this process.
pub fn router(endpoints: &[&str]) -> zenoh::Session {
    let config = format!(
        "{{ mode: \"router\", listen: {{ endpoints: {} }}, scouting: {{ multicast: {{ enabled: false }} }} }}",
        serde_json::json!(endpoints)
    );
    zenoh::open(zenoh::Config::from_json5(&config).unwrap()).wait().unwrap()
}

#[test]
fn a_learner_and_an_actor_on_two_networks_meet_at_a_router() {
    let machines = Machine::new('a').and_then(|a| Ok((a, Machine::new('b')?)));
    let (a, b) = match machines {
        Ok(machines) => machines,
        Err(why) => {
            eprintln!("skipped: network namespaces are not permitted here: {why}");
            return;
        }
    };
    // Neither has a way to the other.
    assert!(ip(&["-n", &a.namespace, "route", "get", &format!("{}.2", b.subnet)]).is_err());
    let port = free_port();
    let router = router(&[&a.router(port), &b.router(port)]);
    let workplace = with_actors("env_steps = 300");
    let mut learner =
        a.start(&workplace, &["learn", "fleet.toml", "--run-dir", "run", "--connect", &a.router(port)]);
    learner.event("listening");
    let act = ["act", "--connect", &b.router(port), "--name", "far", "--spool", "far"];
    let actor = b.start(&workplace, &act);
    let (code, said) = learner.end();
    assert_eq!(code, 0, "{:#?}", said.last());
    let (code, said) = actor.end();
    assert_eq!(code, 0, "{:#?}", said.last());
    assert!(assert_each_once(&workplace).len() >= 10);
    router.close().wait().unwrap();
}
