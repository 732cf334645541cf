//! What a step over the lockstep link takes beside the same step called directly:
//! `lockstep_speed PYTHON ENV_ID STEPS ENVS…`, for each number of environments in one Python process; `ENV_ID` may be `echo`, which
//! is a server in this process whose worlds do nothing: the link alone. Beside them messages of the same lengths to and fro over a
//! plain TCP socket and over bare zenoh, between two threads of this process.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use surefoot_bridges::envs::gymnasium::GymnasiumConfig;
use surefoot_bridges::lockstep::codec::{HEADER_BYTES, Sizes};
use surefoot_bridges::lockstep::{LinkConfig, LockstepBatch, LockstepServer, NAMESPACE, ServeConfig};
use surefoot_bridges::{EnvContext, LinkedEnvConfig};
use surefoot_core::clock::Stopwatch;
use surefoot_core::{Env, EnvError, EnvSpec, Field, Outcome, Stream, VecEnv};
use zenoh::qos::CongestionControl;
use zenoh::{Config, Session, Wait};

/// Rounds in which both sides are measured in turn, so that a busy machine is busy for both.
const ROUNDS: usize = 5;

type Failed = Box<dyn std::error::Error>;

struct Echo(EnvSpec);

impl Env for Echo {
    fn spec(&self) -> &EnvSpec {
        &self.0
    }
    fn reset(&mut self, _seed: u64, _observation: &mut [f32]) -> Result<(), EnvError> {
        Ok(())
    }
    fn step(&mut self, _: &[f32], _: &mut [f32], _: &mut [f32]) -> Result<Outcome, EnvError> {
        Ok(Outcome::default())
    }
}

fn echo_spec() -> EnvSpec {
    EnvSpec {
        name: "echo".into(),
        observation: (0..17).map(|i| Field::unbounded(format!("o{i}"), "1")).collect(),
        action: (0..6).map(|i| Field::bounded(format!("a{i}"), "1", -1.0, 1.0)).collect(),
        step_secs: 0.05,
        max_steps: usize::MAX,
        reward_range: None,
        contract_hash: None,
    }
}

/// Steps all worlds; microseconds of each step, sorted.
fn steps(envs: &mut VecEnv, count: usize) -> Result<Vec<f64>, Failed> {
    let active = vec![true; envs.len()];
    let mut stream = Stream::new(0, "bench actions", 0);
    for slot in 0..envs.len() {
        envs.reset(slot, slot as u64)?;
    }
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        for slot in 0..envs.len() {
            envs.action_mut(slot).iter_mut().for_each(|x| *x = stream.uniform(-1.0, 1.0) as f32);
        }
        let watch = Stopwatch::start();
        envs.step(&active)?;
        took.push(watch.elapsed().as_secs_f64() * 1e6);
        for slot in 0..envs.len() {
            if envs.last(slot).3.end.is_last() {
                envs.reset(slot, slot as u64)?;
            }
        }
    }
    took.sort_by(f64::total_cmp);
    Ok(took)
}

fn direct(python: &str, env_id: &str, envs: usize, count: usize) -> Result<f64, Failed> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/benches/direct_speed.py");
    let told = Command::new(python).args([script, env_id, &envs.to_string(), &count.to_string()]).output()?;
    let told: serde_json::Value = serde_json::from_slice(&told.stdout)?;
    told["direct_us"].as_f64().ok_or_else(|| "no figure".into())
}

/// Microseconds of each exchange over a plain socket, sorted.
fn tcp_exchanges([up, down]: [usize; 2], count: usize) -> Result<Vec<f64>, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let answering = std::thread::spawn(move || {
        let (mut request, reply) = (vec![0; up], vec![0; down]);
        // Ends with the other side.
        while far.read_exact(&mut request).and_then(|()| far.write_all(&reply)).is_ok() {}
    });
    let (request, mut reply) = (vec![0; up], vec![0; down]);
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let watch = Stopwatch::start();
        near.write_all(&request)?;
        near.read_exact(&mut reply)?;
        took.push(watch.elapsed().as_secs_f64() * 1e6);
    }
    drop(near);
    answering.join().map_err(|_| "the other side panicked")?;
    took.sort_by(f64::total_cmp);
    Ok(took)
}

/// Port of the bare exchanges.
const PORT: u16 = 17_461;

fn bare_session(mode: &str, key: &str, low_latency: bool) -> Result<Session, Failed> {
    let mut config = Config::default();
    for (key, value) in [
        ("mode", format!("{mode:?}")),
        ("listen/endpoints", "[]".to_owned()),
        (key, format!("[\"tcp/127.0.0.1:{PORT}\"]")),
        ("scouting/multicast/enabled", "false".to_owned()),
        ("scouting/gossip/enabled", "false".to_owned()),
        ("transport/unicast/qos/enabled", (!low_latency).to_string()),
        ("transport/unicast/lowlatency", low_latency.to_string()),
    ] {
        config.insert_json5(key, &value).map_err(|e| e.to_string())?;
    }
    Ok(zenoh::open(config).wait().map_err(|e| e.to_string())?)
}

/// The same over zenoh alone: published, answered by the thread that receives, and waited for on a channel.
fn zenoh_exchanges([up, down]: [usize; 2], low_latency: bool, count: usize) -> Result<Vec<f64>, Failed> {
    let failed = |e: zenoh::Error| e.to_string();
    let far = bare_session("peer", "listen/endpoints", low_latency)?;
    let near = bare_session("client", "connect/endpoints", low_latency)?;
    let publish = |session: &Session, key: &'static str| {
        let publisher = session.declare_publisher(key);
        publisher.congestion_control(CongestionControl::Block).express(true).wait().map_err(failed)
    };
    let (answer, reply) = (publish(&far, "bare/reply")?, vec![0; down]);
    let _far = far
        .declare_subscriber("bare/request")
        .callback(move |_| {
            // Whoever asked counts what comes.
            let _ = answer.put(&reply[..]).wait();
        })
        .wait()
        .map_err(failed)?;
    let (tell, told) = sync_channel(4);
    let _near = near
        .declare_subscriber("bare/reply")
        .callback(move |_| {
            let _ = tell.try_send(());
        })
        .wait()
        .map_err(failed)?;
    let (ask, request) = (publish(&near, "bare/request")?, vec![0; up]);
    let mut took = Vec::with_capacity(count);
    // Until keys are matched the first ones go nowhere.
    while told.recv_timeout(Duration::from_millis(100)).is_err() {
        ask.put(&request[..]).wait().map_err(failed)?;
    }
    for _ in 0..count {
        let watch = Stopwatch::start();
        ask.put(&request[..]).wait().map_err(failed)?;
        told.recv_timeout(Duration::from_secs(5))?;
        took.push(watch.elapsed().as_secs_f64() * 1e6);
    }
    near.close().wait().map_err(failed)?;
    far.close().wait().map_err(failed)?;
    took.sort_by(f64::total_cmp);
    Ok(took)
}

/// Exchanges of the same lengths by other means.
#[allow(clippy::print_stdout)]
fn report_peers(sizes: Sizes, count: usize) -> Result<(), Failed> {
    let (up, down) = sizes.step_bytes();
    let bytes = [HEADER_BYTES + sizes.worlds * up, HEADER_BYTES + sizes.worlds * down];
    for (what, took) in [
        ("TCP socket", tcp_exchanges(bytes, count)?),
        ("bare zenoh", zenoh_exchanges(bytes, false, count)?),
        ("bare zenoh, low latency", zenoh_exchanges(bytes, true, count)?),
    ] {
        let at = |q: f64| took[((took.len() - 1) as f64 * q) as usize];
        println!(
            "{what:24} {} and {} bytes: p50 {:.0} us (p10 {:.0}, p90 {:.0}, p99 {:.0})",
            bytes[0],
            bytes[1],
            at(0.5),
            at(0.1),
            at(0.9),
            at(0.99),
        );
    }
    Ok(())
}

#[allow(clippy::print_stdout)]
fn report(what: &str, worlds: usize, sizes: Sizes, link: &[f64], direct: &[f64]) {
    let at = |q: f64| link[((link.len() - 1) as f64 * q) as usize];
    let mut direct = direct.to_vec();
    direct.sort_by(f64::total_cmp);
    let base = direct.get(direct.len() / 2).copied().unwrap_or(0.0);
    let (up, down) = sizes.step_bytes();
    println!(
        "{what:24} {worlds} worlds: link p50 {:.0} us (p10 {:.0}, p90 {:.0}, p99 {:.0}); direct {base:.0} us; overhead {:.0} us a step, {:.0} us a world; bytes {} up, {} down",
        at(0.5),
        at(0.1),
        at(0.9),
        at(0.99),
        at(0.5) - base,
        (at(0.5) - base) / worlds as f64,
        HEADER_BYTES + worlds * up,
        HEADER_BYTES + worlds * down,
    );
}

fn main() -> Result<(), Failed> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or("lockstep_speed PYTHON ENV_ID STEPS ENVS…");
    let (python, env_id, count) = (next()?, next()?, next()?.parse::<usize>()?);
    for worlds in args {
        let worlds: usize = worlds.parse()?;
        if env_id == "echo" {
            let config = ServeConfig {
                namespace: NAMESPACE.into(),
                id: "echo".into(),
                listen: vec!["tcp/127.0.0.1:0".into()],
                connect: Vec::new(),
                software: BTreeMap::new(),
            };
            let echoes = (0..worlds).map(|_| Box::new(Echo(echo_spec())) as Box<dyn Env>).collect();
            let mut server = LockstepServer::open(&config, VecEnv::new(echoes)?)?;
            let endpoints = server.endpoints().to_vec();
            let stop = Arc::new(AtomicBool::new(false));
            let asked = stop.clone();
            let thread = std::thread::spawn(move || server.run(&|| asked.load(Ordering::Relaxed)));
            let wait = Duration::from_secs(30);
            let link = LinkConfig {
                endpoints,
                namespace: NAMESPACE.into(),
                id: "echo".into(),
                connect_timeout: wait,
                reply_timeout: wait,
            };
            let batch = LockstepBatch::connect(vec![link], worlds)?;
            let sizes = batch.served().sizes();
            report_peers(sizes, count)?;
            let took = steps(&mut VecEnv::of(Box::new(batch)), count)?;
            report("echo in Rust", worlds, sizes, &took, &[]);
            stop.store(true, Ordering::Relaxed);
            thread.join().map_err(|_| "the server panicked")??;
            continue;
        }
        let config =
            GymnasiumConfig { id: env_id.clone(), python: python.clone(), ..GymnasiumConfig::default() };
        let mut envs = VecEnv::of(LinkedEnvConfig::Gymnasium(config).build(&EnvContext { worlds })?);
        let sizes = Sizes {
            observation_dim: envs.spec().observation_dim(),
            action_dim: envs.spec().action_dim(),
            worlds,
            robot: false,
        };
        report_peers(sizes, count)?;
        let (mut took, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            took.extend(steps(&mut envs, count / ROUNDS)?);
            bare.push(direct(&python, &env_id, worlds, count / ROUNDS)?);
        }
        took.sort_by(f64::total_cmp);
        report(&env_id, worlds, sizes, &took, &bare);
    }
    Ok(())
}
