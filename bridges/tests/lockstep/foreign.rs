//! Peers that speak something else: one that floods a server, and one that answers wrongly.

use std::sync::mpsc::{Receiver, channel};

use surefoot_bridges::lockstep::codec::{
    Flags, HEADER_BYTES, Header, Kind, PartyId, Refusal, Sizes, party_name, sentence,
};
use surefoot_bridges::lockstep::{LockstepBatch, NAMESPACE, PROTOCOL, ServedSpec};
use surefoot_core::{EnvError, Outcome, VecEnv};
use zenoh::{Session, Wait};

use crate::worlds::{Fault, Serving, episodes, local, spec};

fn session(mode: &str, key: &str, endpoint: &str) -> Session {
    let mut config = zenoh::Config::default();
    for (key, value) in [
        ("mode", format!("{mode:?}")),
        ("listen/endpoints", "[]".into()),
        (key, format!("[{endpoint:?}]")),
        ("adminspace/enabled", "true".into()),
        ("scouting/multicast/enabled", "false".into()),
        ("scouting/gossip/enabled", "false".into()),
    ] {
        config.insert_json5(key, &value).unwrap();
    }
    zenoh::open(config).wait().unwrap()
}

/// A client that writes its messages by hand.
struct ByHand {
    session: Session,
    id: PartyId,
    replies: Receiver<Vec<u8>>,
    _subscriber: zenoh::pubsub::Subscriber<()>,
    request: String,
}

impl ByHand {
    fn new(server: &Serving) -> Self {
        let session = session("client", "connect/endpoints", &server.endpoint);
        let id = [0xab; 16];
        let (tell, replies) = channel();
        let base = format!("{NAMESPACE}/env/{}", server.id);
        let subscriber = session
            .declare_subscriber(format!("{base}/reply/{}", party_name(&id)))
            .callback(move |sample| tell.send(sample.payload().to_bytes().into_owned()).unwrap())
            .wait()
            .unwrap();
        let by_hand =
            Self { session, id, replies, _subscriber: subscriber, request: format!("{base}/request") };
        // An answered query: from here on requests arrive.
        let spec = by_hand.session.get(format!("{base}/spec")).wait().unwrap().recv().unwrap();
        ServedSpec::parse(&spec.result().unwrap().payload().to_bytes()).unwrap();
        by_hand
    }

    fn put(&self, message: &[u8]) {
        self.session.put(&self.request, message).wait().unwrap();
    }

    fn ask(&self, kind: Kind, rows: u16, server: PartyId, seq: u64, body: &[u8]) -> (Header, Vec<u8>) {
        let mut message = Vec::new();
        Header { kind, rows, client: self.id, server, seq }.begin(&mut message);
        message.extend_from_slice(body);
        self.put(&message);
        let reply = self.replies.recv().unwrap();
        let (header, body) = Header::split(&reply).unwrap();
        assert_eq!((header.client, header.seq), (self.id, seq));
        (header, body.to_vec())
    }

    fn refused(&self, kind: Kind, rows: u16, server: PartyId, seq: u64, body: &[u8]) -> (Refusal, String) {
        let (header, body) = self.ask(kind, rows, server, seq, body);
        assert_eq!(header.kind, Kind::Refused);
        (header.refusal(), sentence(&body).unwrap().to_owned())
    }
}

#[test]
fn malformed_oversized_and_misplaced_requests_are_refused_and_harm_nobody() {
    let server = Serving::start("flood", 2, 3, Fault::None);
    let good = LockstepBatch::connect(vec![server.link()], 1).unwrap();
    let mut envs = VecEnv::of(Box::new(good));
    envs.reset(0, 1).unwrap();
    let hand = ByHand::new(&server);
    for garbage in [&b""[..], b"SFL1", b"not a message", &[0xff; 4096]] {
        hand.put(garbage);
    }
    hand.put(&vec![0x53; 9 << 20]);
    let none = [0; 16];
    let (why, said) = hand.refused(Kind::Step, 1, none, 1, &[0; 12]);
    assert_eq!(why, Refusal::OtherServer, "{said}");
    let (opened, worlds) = hand.ask(Kind::Open, 1, none, 1, &[]);
    assert_eq!((opened.kind, worlds.as_slice()), (Kind::Opened, &[1, 0][..]));
    let id = opened.server;
    let mut reset = Vec::new();
    Sizes::put_reset(1, 9, &mut reset);
    let mut other = Vec::new();
    Sizes::put_reset(0, 9, &mut other);
    let action = |world: u16, numbers: &[f32]| {
        let mut body = Vec::new();
        Sizes::put_action(world, numbers, &mut body);
        body
    };
    for (seq, kind, rows, body, refusal, words) in [
        (2, Kind::Step, 1, action(1, &[0.0; 2]), Refusal::OutOfOrder, "in no episode"),
        (
            3,
            Kind::Step,
            1,
            action(1, &[0.0; 3]),
            Refusal::Malformed,
            "expected 12 bytes for 1 rows, found 16",
        ),
        (4, Kind::Step, 9, Vec::new(), Refusal::Malformed, "expected at most 2, found 9"),
        (5, Kind::Step, 1, action(7, &[0.0; 2]), Refusal::Malformed, "expected at most 1, found 7"),
        (6, Kind::Step, 1, action(0, &[0.0; 2]), Refusal::Malformed, "world 0 is not one of the client's"),
        (7, Kind::Reset, 1, other, Refusal::Malformed, "world 0 is not one of the client's"),
        (
            8,
            Kind::Reset,
            1,
            [reset.as_slice(), b"{\"a\":1}"].concat(),
            Refusal::Malformed,
            "takes no reset options",
        ),
        (9, Kind::Opened, 0, Vec::new(), Refusal::Malformed, "a reply was sent as a request"),
    ] {
        let (why, said) = hand.refused(kind, rows, id, seq, &body);
        assert!(why == refusal && said.contains(words), "{seq}: {why:?} {said}");
    }
    let (header, _) = hand.ask(Kind::Reset, 1, id, 10, &reset);
    assert_eq!(header.kind, Kind::DidReset);
    let (why, said) = hand.refused(Kind::Step, 1, id, 10, &action(1, &[0.0; 2]));
    assert_eq!(why, Refusal::OutOfOrder, "a number that was used is refused: {said}");
    let (why, said) = hand.refused(Kind::Step, 1, [1; 16], 11, &action(1, &[0.0; 2]));
    assert_eq!(why, Refusal::OtherServer, "{said}");
    assert_eq!(hand.ask(Kind::Step, 1, id, 11, &action(1, &[0.0; 2])).0.kind, Kind::DidStep);
    // All the while the first client's episodes are its own.
    assert_eq!(episodes(&mut envs, 12), episodes(&mut local(1), 12));
}

/// What a server by hand does with a step.
#[derive(Clone, Copy, PartialEq)]
enum Answers {
    /// An old reply first, then the right one.
    OldFirst,
    /// A row too short.
    Short,
    /// Another world's row.
    OtherWorld,
    /// No message at all.
    Garbage,
}

/// Serves one world of `spec(1)` by hand; the observation after a step is 42, in an old reply 13.
fn serve_by_hand(id: &str, answers: Answers) -> (Session, String) {
    let session = session("peer", "listen/endpoints", "tcp/127.0.0.1:0");
    let zid = session.zid();
    let base = format!("{NAMESPACE}/env/{id}");
    let served = ServedSpec {
        protocol: PROTOCOL,
        server: party_name(&zid.to_le_bytes()),
        software: std::collections::BTreeMap::new(),
        worlds: 1,
        robot: false,
        notes: Vec::new(),
        spec: spec(1),
    };
    let sizes = served.sizes();
    let described = serde_json::to_vec(&served).unwrap();
    let key = format!("{base}/spec");
    session
        .declare_queryable(key.clone())
        .callback(move |query| query.reply(&key, described.clone()).wait().unwrap())
        .background()
        .wait()
        .unwrap();
    let (hear, heard) = channel::<Vec<u8>>();
    session
        .declare_subscriber(format!("{base}/request"))
        .callback(move |sample| {
            let _ = hear.send(sample.payload().to_bytes().into_owned());
        })
        .background()
        .wait()
        .unwrap();
    let answering = session.clone();
    std::thread::spawn(move || {
        while let Ok(message) = heard.recv() {
            let (header, _) = Header::split(&message).unwrap();
            let key = format!("{base}/reply/{}", party_name(&header.client));
            let mut reply = Vec::new();
            let begin = |kind, rows, seq, reply: &mut Vec<u8>| {
                Header { kind, rows, seq, server: answering.zid().to_le_bytes(), ..header }.begin(reply);
            };
            let send = |reply: &[u8]| answering.put(&key, reply).wait().unwrap();
            let step = |world: u16, value: f32, reply: &mut Vec<u8>| {
                let row = (&[value][..], &[0.0_f32; 2][..]);
                sizes.put_step(world, Flags::default(), 0.0, &Outcome::default(), row, reply);
            };
            match header.kind {
                Kind::Open => {
                    begin(Kind::Opened, 1, header.seq, &mut reply);
                    reply.extend([0, 0]);
                }
                Kind::Reset => {
                    begin(Kind::DidReset, 1, header.seq, &mut reply);
                    Sizes::put_observation(0, &[0.0], &mut reply);
                }
                Kind::Step => {
                    if answers == Answers::OldFirst {
                        begin(Kind::DidStep, 1, header.seq - 1, &mut reply);
                        step(0, 13.0, &mut reply);
                        send(&reply);
                    }
                    begin(Kind::DidStep, 1, header.seq, &mut reply);
                    step(u16::from(answers == Answers::OtherWorld), 42.0, &mut reply);
                    match answers {
                        Answers::Short => reply.truncate(HEADER_BYTES + 20),
                        Answers::Garbage => reply.fill(0xff),
                        Answers::OldFirst | Answers::OtherWorld => {}
                    }
                }
                _ => continue,
            }
            send(&reply);
        }
    });
    let about = session.get(format!("@/{zid}/peer")).wait().unwrap();
    let about = about.recv().expect("the session describes itself");
    let about: serde_json::Value =
        serde_json::from_slice(&about.result().unwrap().payload().to_bytes()).unwrap();
    (session, about["locators"][0].as_str().unwrap().to_owned())
}

fn first_step(id: &str, answers: Answers) -> Result<f32, EnvError> {
    let (_session, endpoint) = serve_by_hand(id, answers);
    let template = Serving::start("template", 1, 1, Fault::None);
    let mut link = template.link();
    (link.id, link.endpoints) = (id.into(), vec![endpoint]);
    let mut envs = VecEnv::of(Box::new(LockstepBatch::connect(vec![link], 1).unwrap()));
    envs.reset(0, 0)?;
    envs.step(&[true])?;
    Ok(envs.last(0).0[0])
}

#[test]
fn a_reply_to_an_older_request_is_never_taken() {
    assert_eq!(first_step("old", Answers::OldFirst).unwrap(), 42.0);
}

#[test]
fn replies_that_do_not_fit_are_errors_with_sizes() {
    for (id, answers, words) in [
        ("short", Answers::Short, "bytes for 1 rows, found 20"),
        ("other", Answers::OtherWorld, "expected world 0, found 1"),
        ("garbage", Answers::Garbage, "to begin with"),
    ] {
        let said = first_step(id, answers).unwrap_err().to_string();
        assert!(said.contains(words), "{id}: {said}");
    }
}
