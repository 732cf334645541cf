//! Worlds of this process, served to clients in lockstep.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use surefoot_core::{EnvError, StepEnd, VecEnv};
use zenoh::liveliness::LivelinessToken;
use zenoh::pubsub::{Publisher, Subscriber};
use zenoh::qos::{CongestionControl, Priority};
use zenoh::query::Queryable;
use zenoh::sample::SampleKind;
use zenoh::{Session, Wait};

use super::codec::{CodecError, Flags, Header, Kind, PartyId, Refusal, Sizes, party_name, refuse};
use super::{Keys, LockstepError, PROTOCOL, ServedSpec};
use crate::session::{Endpoints, Purpose, SessionConfig};

/// How often a server that nobody asks looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(100);
/// Requests that may wait: each client has one under way.
const INBOX: usize = 64;

/// How worlds are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// First part of the keys.
    pub namespace: String,
    /// Id of the environment in keys.
    pub id: String,
    /// zenoh endpoints to listen at; port 0 lets the system choose.
    pub listen: Vec<String>,
    /// Routers to meet clients at.
    pub connect: Vec<String>,
    /// Names and versions to tell.
    pub software: BTreeMap<String, String>,
}

enum Heard {
    Message(Vec<u8>),
    /// A client's name, whose token has gone.
    ClientGone(String),
}

/// Who has which worlds.
struct Client {
    id: PartyId,
    worlds: Vec<u16>,
    /// Number of the last request.
    seq: u64,
    replies: Publisher<'static>,
}

/// A refusal that is to be sent.
struct Refuse(Refusal, String);

impl From<CodecError> for Refuse {
    fn from(error: CodecError) -> Self {
        Self(Refusal::Malformed, error.to_string())
    }
}

impl From<EnvError> for Refuse {
    fn from(error: EnvError) -> Self {
        Self(Refusal::WorldFailed, error.to_string())
    }
}

/// A server. Its worlds wait for actions; nothing happens between two messages.
pub struct LockstepServer {
    keys: Keys,
    sizes: Sizes,
    spec_name: String,
    envs: VecEnv,
    /// Of every world the steps of the episode that it is in.
    episodes: Vec<Option<usize>>,
    clients: Vec<Client>,
    id: PartyId,
    endpoints: Vec<String>,
    reply: Vec<u8>,
    heard: Receiver<Heard>,
    _requests: Subscriber<()>,
    _tokens: Subscriber<()>,
    _spec: Queryable<()>,
    _token: LivelinessToken,
    session: Session,
}

impl LockstepServer {
    /// Opens the session; requests are answered by [`run`](Self::run).
    ///
    /// # Errors
    /// When a name cannot be part of a key or zenoh cannot listen.
    pub fn open(config: &ServeConfig, envs: VecEnv) -> Result<Self, LockstepError> {
        let ServeConfig { namespace, id, listen, connect, software } = config;
        let keys = Keys::new(namespace, id)?;
        let mut served = ServedSpec {
            protocol: PROTOCOL,
            // As long as the name will be.
            server: party_name(&PartyId::default()),
            software: software.clone(),
            worlds: envs.len(),
            robot: envs.spec().contract_hash.is_some(),
            notes: Vec::new(),
            spec: envs.spec().clone(),
        };
        let longest = served.described()?.len().max(served.sizes().longest_message());
        let at = Endpoints { listen: listen.clone(), connect: connect.clone(), file: None };
        let (session, endpoints) = SessionConfig::new(at, Purpose::lockstep(longest)).open()?;
        let server = session.zid().to_le_bytes();
        served.server = party_name(&server);
        let described = served.described()?;
        let (hear, heard) = sync_channel(INBOX);
        let requests = session
            .declare_subscriber(keys.request())
            .callback(into_inbox(hear.clone()))
            .wait()
            .map_err(LockstepError::zenoh("subscribe to requests"))?;
        let tokens = session
            .liveliness()
            .declare_subscriber(keys.client("*"))
            .history(true)
            .callback(move |sample| {
                if let (SampleKind::Delete, Some((_, name))) =
                    (sample.kind(), sample.key_expr().as_str().rsplit_once('/'))
                {
                    // A full inbox is full of requests: a client that is gone sends none, and the next one finds room.
                    let _ = hear.send(Heard::ClientGone(name.to_owned()));
                }
            })
            .wait()
            .map_err(LockstepError::zenoh("watch clients"))?;
        let spec_key = keys.spec();
        let spec = session
            .declare_queryable(keys.spec())
            .callback(move |query| {
                // A client that has gone meanwhile needs no answer.
                let _ = query.reply(&spec_key, described.clone()).wait();
            })
            .wait()
            .map_err(LockstepError::zenoh("answer for its spec"))?;
        let token = session
            .liveliness()
            .declare_token(keys.server(&served.server))
            .wait()
            .map_err(LockstepError::zenoh("announce itself"))?;
        Ok(Self {
            sizes: served.sizes(),
            spec_name: envs.spec().name.clone(),
            keys,
            episodes: vec![None; envs.len()],
            envs,
            clients: Vec::new(),
            id: server,
            endpoints,
            reply: Vec::new(),
            heard,
            _requests: requests,
            _tokens: tokens,
            _spec: spec,
            _token: token,
            session,
        })
    }

    /// Where it listens, with the ports that the system chose.
    #[must_use]
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Answers requests until `stop` says so; it is asked before every request and ten times a second.
    ///
    /// # Errors
    /// When zenoh cannot send.
    pub fn run(&mut self, stop: &dyn Fn() -> bool) -> Result<(), LockstepError> {
        while !stop() {
            match self.heard.recv_timeout(LOOK) {
                Ok(Heard::Message(message)) => self.answer(&message)?,
                Ok(Heard::ClientGone(name)) => {
                    let gone = self.clients.iter().position(|c| party_name(&c.id) == name);
                    if let Some(gone) = gone {
                        self.forget(gone);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(())
    }

    fn forget(&mut self, client: usize) {
        let client = self.clients.swap_remove(client);
        self.drop_episodes(&client.worlds);
    }

    fn drop_episodes(&mut self, worlds: &[u16]) {
        for world in worlds {
            self.episodes[usize::from(*world)] = None;
        }
    }

    fn answer(&mut self, message: &[u8]) -> Result<(), LockstepError> {
        // Whoever sends something without a readable header cannot be answered.
        let Ok((header, body)) = Header::split(message) else {
            tracing::debug!(bytes = message.len(), "a message without a readable header");
            return Ok(());
        };
        let mut reply = std::mem::take(&mut self.reply);
        if let Err(Refuse(refusal, sentence)) = self.carry_out(&header, body, &mut reply) {
            refuse(&header, self.id, refusal, &sentence, &mut reply);
        }
        let sent = match self.clients.iter().find(|c| c.id == header.client) {
            Some(client) => client.replies.put(&reply[..]).wait(),
            None => self.session.put(self.keys.reply(&party_name(&header.client)), &reply[..]).wait(),
        };
        self.reply = reply;
        if header.kind == Kind::Close
            && let Some(client) = self.clients.iter().position(|c| c.id == header.client)
        {
            self.forget(client);
        }
        sent.map_err(LockstepError::zenoh("reply"))
    }

    fn carry_out(&mut self, header: &Header, body: &[u8], reply: &mut Vec<u8>) -> Result<(), Refuse> {
        let server = self.id;
        let begin = |kind: Kind, rows: u16, reply: &mut Vec<u8>| {
            Header { kind, rows, server, ..*header }.begin(reply);
        };
        if header.kind == Kind::Open {
            let worlds = self.take(header)?;
            begin(Kind::Opened, worlds.len() as u16, reply);
            reply.extend(worlds.iter().flat_map(|w| w.to_le_bytes()));
            return Ok(());
        }
        if header.server != self.id {
            return Err(Refuse(Refusal::OtherServer, "this server was started after the request's".into()));
        }
        let Some(client) = self.clients.iter_mut().find(|c| c.id == header.client) else {
            return Err(Refuse(
                Refusal::UnknownClient,
                "the client has no worlds: it is to open first".into(),
            ));
        };
        if header.seq != client.seq + 1 {
            let sentence = format!("request {}: expected number {}", header.seq, client.seq + 1);
            return Err(Refuse(Refusal::OutOfOrder, sentence));
        }
        client.seq = header.seq;
        let owned = client.worlds.clone();
        let mine = |world: usize| {
            if owned.contains(&(world as u16)) {
                return Ok(world);
            }
            Err(Refuse(Refusal::Malformed, format!("world {world} is not one of the client's")))
        };
        match header.kind {
            Kind::Reset => {
                let (resets, options) = self.sizes.resets(header.rows, body)?;
                if !matches!(options, "" | "{}") {
                    let sentence = format!("{} takes no reset options, found {options}", self.spec_name);
                    return Err(Refuse(Refusal::Malformed, sentence));
                }
                begin(Kind::DidReset, header.rows, reply);
                for (world, seed) in resets {
                    self.episodes[mine(world)?] = None;
                    let observation = self.envs.reset(world, seed)?;
                    Sizes::put_observation(world as u16, observation, reply);
                    self.episodes[world] = Some(0);
                }
                Ok(())
            }
            Kind::Step => {
                begin(Kind::DidStep, header.rows, reply);
                self.step(header.rows, body, &mine, reply).inspect_err(|Refuse(refusal, _)| {
                    if *refusal == Refusal::WorldFailed {
                        // Which worlds were stepped is not known to the client: none of its episodes goes on.
                        owned.iter().for_each(|w| self.episodes[usize::from(*w)] = None);
                    }
                })
            }
            Kind::Close => {
                begin(Kind::Closed, 0, reply);
                Ok(())
            }
            _ => Err(Refuse(Refusal::Malformed, "a reply was sent as a request".into())),
        }
    }

    /// Gives worlds; a client that asks again, because its first messages went unheard, is told what it has.
    fn take(&mut self, header: &Header) -> Result<Vec<u16>, Refuse> {
        if let Some(client) = self.clients.iter().find(|c| c.id == header.client) {
            return Ok(client.worlds.clone());
        }
        let count = self.episodes.len();
        let taken = |world: &u16| self.clients.iter().any(|c| c.worlds.contains(world));
        let free = (0..count as u16).filter(|world| !taken(world));
        let worlds: Vec<u16> = free.take(usize::from(header.rows)).collect();
        if worlds.is_empty() {
            let sentence = format!(
                "all {count} worlds of {} are taken, by {} clients\n\nhint: serve more worlds, or start another server with an id of its own",
                self.spec_name,
                self.clients.len()
            );
            return Err(Refuse(Refusal::Busy, sentence));
        }
        let replies = self
            .session
            .declare_publisher(self.keys.reply(&party_name(&header.client)))
            .congestion_control(CongestionControl::Block)
            .priority(Priority::InteractiveHigh)
            .express(true)
            .wait()
            .map_err(|e| Refuse(Refusal::Busy, e.to_string()))?;
        let (id, seq) = (header.client, header.seq);
        self.clients.push(Client { id, worlds: worlds.clone(), seq, replies });
        Ok(worlds)
    }

    fn step(
        &mut self,
        rows: u16,
        body: &[u8],
        mine: &dyn Fn(usize) -> Result<usize, Refuse>,
        reply: &mut Vec<u8>,
    ) -> Result<(), Refuse> {
        let mut order: Vec<usize> = Vec::with_capacity(usize::from(rows).min(self.episodes.len()));
        let mut action = vec![0.0; self.sizes.action_dim];
        let (envs, episodes) = (&mut self.envs, &self.episodes);
        self.sizes.actions::<Refuse>(rows, body, &mut action, |world, action| {
            let world = mine(world)?;
            if episodes[world].is_none() {
                let sentence = format!("world {world} is in no episode: it is to be reset first");
                return Err(Refuse(Refusal::OutOfOrder, sentence));
            }
            if order.contains(&world) {
                return Err(Refuse(Refusal::Malformed, format!("world {world} twice in one step")));
            }
            envs.action_mut(world).copy_from_slice(action);
            order.push(world);
            Ok(())
        })?;
        let active: Vec<bool> = (0..self.episodes.len()).map(|w| order.contains(&w)).collect();
        self.envs.step(&active)?;
        let max_steps = self.envs.spec().max_steps;
        for world in order {
            let (observation, _, executed, outcome) = self.envs.last(world);
            let taken = self.episodes[world].map_or(1, |n| n + 1);
            let flags = Flags {
                terminated: outcome.end == StepEnd::Terminated,
                truncated: outcome.end == StepEnd::Truncated
                    || (outcome.end == StepEnd::Running && taken >= max_steps),
                success: outcome.success,
                success_known: true,
            };
            let reward = f64::from(outcome.reward);
            self.sizes.put_step(world as u16, flags, reward, &outcome, (observation, executed), reply);
            self.episodes[world] = (!(flags.terminated || flags.truncated)).then_some(taken);
        }
        Ok(())
    }
}

fn into_inbox(hear: SyncSender<Heard>) -> impl Fn(zenoh::sample::Sample) + Send + Sync + 'static {
    move |sample| {
        // A full inbox is somebody's flood: a client waits for its reply before it asks again.
        if hear.try_send(Heard::Message(sample.payload().to_bytes().into_owned())).is_err() {
            tracing::warn!("a request was dropped: too many are waiting");
        }
    }
}
