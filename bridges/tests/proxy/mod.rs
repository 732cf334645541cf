//! A TCP proxy that knows where one zenoh batch ends and the next begins (a length of two bytes before each), so that it can lose, delay
//! and hold back whole batches as a bad network does, without ever breaking the stream. What goes wrong is counted in batches, not in time.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// A batch of at least this many bytes carries a state or a command; signs of life and questions are smaller.
const LARGE: usize = 250;

/// One way through the proxy.
#[derive(Default)]
pub struct Way {
    /// So many large batches are still to be lost.
    pub lose: AtomicU32,
    /// Large batches that were lost.
    pub lost: AtomicU64,
    /// Batches that went through.
    pub passed: AtomicU64,
    /// While closed, batches are held back; they go through, all at once and in order, when it opens again.
    gate: Gate,
    /// Everything is lost, and nobody is told: a cable that was pulled.
    pub black_hole: AtomicBool,
}

#[derive(Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Way {
    /// Holds batches back from now on.
    pub fn hold(&self) {
        *self.gate.closed.lock().unwrap() = true;
    }
    /// Lets them go.
    pub fn release(&self) {
        *self.gate.closed.lock().unwrap() = false;
        self.gate.opened.notify_all();
    }
    fn wait(&self) {
        let mut closed = self.gate.closed.lock().unwrap();
        while *closed {
            closed = self.gate.opened.wait(closed).unwrap();
        }
    }
}

/// The proxy, until it is dropped.
pub struct Proxy {
    /// Where to connect instead.
    pub endpoint: String,
    /// From whoever connects to the target.
    pub up: Arc<Way>,
    /// Back.
    pub down: Arc<Way>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    refuse: Arc<AtomicBool>,
}

impl Proxy {
    /// In front of `tcp/HOST:PORT`.
    pub fn before(target: &str) -> Self {
        let target = target.strip_prefix("tcp/").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("tcp/{}", listener.local_addr().unwrap());
        let (up, down) = (Arc::new(Way::default()), Arc::new(Way::default()));
        let open = Arc::new(Mutex::new(Vec::new()));
        let refuse = Arc::new(AtomicBool::new(false));
        let (ways, streams, refusing) = ((up.clone(), down.clone()), open.clone(), refuse.clone());
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if refusing.load(Ordering::Acquire) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(&target) else { continue };
                for stream in [&near, &far] {
                    stream.set_nodelay(true).unwrap();
                    streams.lock().unwrap().push(stream.try_clone().unwrap());
                }
                let (n, f) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let (up, down) = ways.clone();
                std::thread::spawn(move || pump(n, f, &up));
                std::thread::spawn(move || pump(far, near, &down));
            }
        });
        Self { endpoint, up, down, open, refuse }
    }

    /// Cuts every connection, and takes no other until [`mend`](Self::mend).
    pub fn cut(&self) {
        self.refuse.store(true, Ordering::Release);
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes connections again.
    pub fn mend(&self) {
        self.refuse.store(false, Ordering::Release);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.up.release();
        self.down.release();
        self.cut();
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, way: &Way) {
    let mut batch = Vec::new();
    loop {
        let mut length = [0; 2];
        if from.read_exact(&mut length).is_err() {
            break;
        }
        batch.resize(usize::from(u16::from_le_bytes(length)), 0);
        if from.read_exact(&mut batch).is_err() {
            break;
        }
        way.wait();
        if way.black_hole.load(Ordering::Acquire) {
            continue;
        }
        let large = batch.len() >= LARGE;
        let one_less = |n: u32| n.checked_sub(1);
        if large && way.lose.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).is_ok() {
            way.lost.fetch_add(1, Ordering::AcqRel);
            continue;
        }
        if to.write_all(&length).and_then(|()| to.write_all(&batch)).is_err() {
            break;
        }
        way.passed.fetch_add(1, Ordering::AcqRel);
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
