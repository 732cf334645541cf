//! A client's link to one server process: one request at a time.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use surefoot_core::clock::Stopwatch;
use zenoh::liveliness::LivelinessToken;
use zenoh::pubsub::{Publisher, Subscriber};
use zenoh::qos::{CongestionControl, Priority};
use zenoh::sample::SampleKind;
use zenoh::{Session, Wait};

use super::codec::{self, Header, Kind, PartyId, party_name};
use super::{Keys, LockstepError, ServedSpec};
use crate::session::{Endpoints, Purpose, SessionConfig, SessionError};

/// Time between two attempts to be heard by a server, s.
const RETRY: Duration = Duration::from_millis(100);
/// How long a link that is closed waits for its worlds to be taken back.
const CLOSING: Duration = Duration::from_secs(1);
/// Messages that may wait unread: one reply is due at a time, so more are somebody else's.
const INBOX: usize = 16;

/// Where a server is, and how long it is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// zenoh endpoints of the server or of a router, tried in order.
    pub endpoints: Vec<String>,
    /// First part of the keys.
    pub namespace: String,
    /// Id of the environment in keys.
    pub id: String,
    /// How long to wait for the server to be there.
    pub connect_timeout: Duration,
    /// How long to wait for a reply: the slowest step or reset of the environment.
    pub reply_timeout: Duration,
}

enum Heard {
    Message(Vec<u8>),
    ServerGone,
}

/// A link that has been given worlds.
pub(crate) struct Link {
    served: ServedSpec,
    worlds: Vec<u16>,
    client: PartyId,
    server: PartyId,
    seq: u64,
    reply_timeout: Duration,
    message: Vec<u8>,
    heard: Receiver<Heard>,
    request: Publisher<'static>,
    // Undeclared when dropped, before the session is.
    _replies: Subscriber<()>,
    _server_token: Subscriber<()>,
    _token: LivelinessToken,
    session: Session,
}

impl Link {
    /// Finds the server and takes up to `worlds` of its worlds.
    pub(crate) fn open(config: &LinkConfig, worlds: usize) -> Result<Self, LockstepError> {
        let LinkConfig { endpoints, namespace, id, connect_timeout, reply_timeout } = config;
        let keys = Keys::new(namespace, id)?;
        let waiting = Stopwatch::start();
        let nobody = || LockstepError::NobodyThere {
            id: id.clone(),
            at: endpoints.join(", "),
            secs: connect_timeout.as_secs_f64(),
        };
        let at = Endpoints { connect: endpoints.clone(), ..Endpoints::default() };
        let session = SessionConfig {
            connect_timeout: *connect_timeout,
            ..SessionConfig::new(at, Purpose::Lockstep { low_latency: true })
        };
        let (session, _) = session.open().map_err(|error| match error {
            SessionError::Unreachable { .. } => nobody(),
            other => other.into(),
        })?;
        let served = loop {
            match ask(&session, &keys, id)? {
                Some(served) => break served,
                None if waiting.elapsed() >= *connect_timeout => return Err(nobody()),
                None => {}
            }
        };
        let client = session.zid().to_le_bytes();
        let (hear, heard) = sync_channel(INBOX);
        let replies = session
            .declare_subscriber(keys.reply(&party_name(&client)))
            .callback(into_inbox(hear.clone()))
            .wait()
            .map_err(LockstepError::zenoh("subscribe to replies"))?;
        let server_token = session
            .liveliness()
            .declare_subscriber(keys.server(&served.server))
            // The token was there before: without this, its end would not be told.
            .history(true)
            .callback(move |sample| {
                if sample.kind() == SampleKind::Delete {
                    // Full of replies nobody waits for: whoever waits next finds them old and comes to the timeout.
                    let _ = hear.try_send(Heard::ServerGone);
                }
            })
            .wait()
            .map_err(LockstepError::zenoh("watch the server"))?;
        let token = session
            .liveliness()
            .declare_token(keys.client(&party_name(&client)))
            .wait()
            .map_err(LockstepError::zenoh("announce itself"))?;
        let request = session
            .declare_publisher(keys.request())
            .congestion_control(CongestionControl::Block)
            .priority(Priority::InteractiveHigh)
            .express(true)
            .wait()
            .map_err(LockstepError::zenoh("publish requests"))?;
        let mut link = Self {
            served,
            worlds: Vec::new(),
            client,
            server: PartyId::default(),
            seq: 0,
            reply_timeout: *reply_timeout,
            message: Vec::new(),
            heard,
            request,
            _replies: replies,
            _server_token: server_token,
            _token: token,
            session,
        };
        link.take(worlds, waiting, *connect_timeout)?;
        Ok(link)
    }

    /// Asks for worlds until it is heard: the first messages may be lost while keys are being matched.
    fn take(&mut self, worlds: usize, waiting: Stopwatch, timeout: Duration) -> Result<(), LockstepError> {
        let asked = u16::try_from(worlds).unwrap_or(u16::MAX);
        self.begin(Kind::Open, asked);
        let (header, reply) = loop {
            self.send()?;
            match self.receive_within(RETRY, Kind::Opened) {
                Err(LockstepError::Silent { .. }) if waiting.elapsed() < timeout => {}
                other => break other?,
            }
        };
        self.worlds = self.served.sizes().opened(header.rows, &reply[codec::HEADER_BYTES..])?;
        self.server = header.server;
        Ok(())
    }

    /// What the server says of itself.
    pub(crate) const fn served(&self) -> &ServedSpec {
        &self.served
    }

    /// The server's numbers of the worlds that were given.
    pub(crate) fn worlds(&self) -> &[u16] {
        &self.worlds
    }

    /// Begins the next request; its rows are to be added to what is returned.
    pub(crate) fn begin(&mut self, kind: Kind, rows: u16) -> &mut Vec<u8> {
        self.seq += 1;
        let Self { client, server, seq, .. } = *self;
        Header { kind, rows, client, server, seq }.begin(&mut self.message);
        &mut self.message
    }

    /// Sends the request that was begun.
    pub(crate) fn send(&mut self) -> Result<(), LockstepError> {
        self.request.put(&self.message[..]).wait().map_err(LockstepError::zenoh("send a request"))
    }

    /// Waits for the reply to the request that was sent, header included. Replies to older requests are dropped.
    pub(crate) fn receive(&mut self, expected: Kind) -> Result<(Header, Vec<u8>), LockstepError> {
        self.receive_within(self.reply_timeout, expected)
    }

    fn receive_within(
        &mut self,
        timeout: Duration,
        expected: Kind,
    ) -> Result<(Header, Vec<u8>), LockstepError> {
        let waiting = Stopwatch::start();
        loop {
            let left = timeout.saturating_sub(waiting.elapsed());
            let message = match self.heard.recv_timeout(left) {
                Ok(Heard::Message(message)) => message,
                Ok(Heard::ServerGone) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(LockstepError::ServerGone);
                }
                Err(RecvTimeoutError::Timeout) => return Err(LockstepError::Silent { after: timeout }),
            };
            let (header, body) = Header::split(&message)?;
            if header.client != self.client || header.seq != self.seq {
                continue;
            }
            if header.kind == Kind::Refused {
                let sentence = codec::sentence(body)?.to_owned();
                return Err(LockstepError::Refused { refusal: header.refusal(), sentence });
            }
            if header.kind != expected {
                return Err(codec::CodecError::Kind {
                    expected: "the reply to the request",
                    found: message[4],
                }
                .into());
            }
            return Ok((header, message));
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.begin(Kind::Close, 0);
        // Who opens next finds the worlds free. The token goes with the session, so they are given back even if this is not heard.
        if self.send().is_ok() {
            let _ = self.receive_within(CLOSING, Kind::Closed);
        }
        let _ = self.session.close().wait();
    }
}

fn into_inbox(hear: SyncSender<Heard>) -> impl Fn(zenoh::sample::Sample) + Send + Sync + 'static {
    move |sample| {
        // A full inbox holds replies that nobody asked for; dropping one more harms no one.
        let _ = hear.try_send(Heard::Message(sample.payload().to_bytes().into_owned()));
    }
}

/// What the one server says of itself; `None` when nobody answers yet.
fn ask(session: &Session, keys: &Keys, id: &str) -> Result<Option<ServedSpec>, LockstepError> {
    let replies = session
        .get(keys.spec())
        .target(zenoh::query::QueryTarget::All)
        .consolidation(zenoh::query::ConsolidationMode::None)
        .timeout(Duration::from_secs(1))
        .wait()
        .map_err(LockstepError::zenoh("ask for the spec"))?;
    let mut found = Vec::new();
    while let Ok(reply) = replies.recv() {
        if let Ok(sample) = reply.result() {
            found.push(ServedSpec::parse(&sample.payload().to_bytes())?);
        }
    }
    match found.len() {
        0 | 1 => Ok(found.pop()),
        count => Err(LockstepError::Several { id: id.to_owned(), count }),
    }
}
