use proptest::prelude::*;

use super::*;

const CLIENT: PartyId = [7; 16];
const SERVER: PartyId = [9; 16];

fn header(kind: Kind, rows: u16) -> Header {
    Header { kind, rows, client: CLIENT, server: SERVER, seq: 5 }
}

fn sizes(observation_dim: usize, action_dim: usize, worlds: usize, robot: bool) -> Sizes {
    Sizes { observation_dim, action_dim, worlds, robot }
}

fn message(kind: Kind, rows: u16, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    header(kind, rows).begin(&mut out);
    body(&mut out);
    out
}

/// Everything that a decoder could be asked of these bytes.
fn decode_everything(sizes: &Sizes, bytes: &[u8]) -> usize {
    let Ok((header, body)) = Header::split(bytes) else { return 0 };
    let mut decoded = usize::from(sizes.resets(header.rows, body).is_ok());
    let mut action = vec![0.0; sizes.action_dim];
    let seen = sizes.actions::<CodecError>(header.rows, body, &mut action, |world, _| {
        assert!(world < sizes.worlds);
        Ok(())
    });
    decoded += usize::from(seen.is_ok());
    decoded += usize::from(sizes.opened(header.rows, body).is_ok());
    let mut observation = vec![0.0; sizes.observation_dim];
    decoded += usize::from(sizes.observation(0, header.rows, body, &mut observation).is_ok());
    let mut step = WorldStep {
        observation,
        executed: vec![0.0; sizes.action_dim],
        action: Vec::new(),
        ..WorldStep::default()
    };
    decoded += usize::from(sizes.steps(header.rows, body, &mut [(0, &mut step)]).is_ok());
    decoded + usize::from(sentence(body).is_ok())
}

#[test]
fn the_bytes_are_those_of_the_documentation() {
    let bytes = message(Kind::Step, 1, |out| Sizes::put_action(3, &[1.0, -0.5], out));
    let mut expected = b"SFL1".to_vec();
    expected.extend([3, 0, 1, 0]);
    expected.extend([7; 16]);
    expected.extend([9; 16]);
    expected.extend([5, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([3, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xbf]);
    assert_eq!(bytes, expected);
    assert_eq!(HEADER_BYTES, expected.len() - 12);
    assert_eq!(sizes(17, 6, 1, false).step_bytes(), (28, 108), "half-cheetah, as the page says");
}

#[test]
fn both_ends_of_an_episode_arrive_as_they_were_sent() {
    let sizes = sizes(2, 1, 4, false);
    for byte in 0..16 {
        let flags = Flags::from_byte(byte);
        let bytes = message(Kind::DidStep, 1, |out| {
            sizes.put_step(2, flags, 1.0 / 3.0, &Outcome::default(), (&[1.0, 2.0], &[0.5]), out);
        });
        let mut step = WorldStep { observation: vec![0.0; 2], executed: vec![0.0], ..WorldStep::default() };
        let (head, body) = Header::split(&bytes).unwrap();
        assert_eq!(sizes.steps(head.rows, body, &mut [(2, &mut step)]).unwrap(), [flags]);
        assert_eq!(step.outcome.end, StepEnd::from_flags(byte & 1 != 0, byte & 2 != 0));
        assert_eq!((step.outcome.success, step.outcome.reward), (byte & 4 != 0, (1.0_f64 / 3.0) as f32));
        assert_eq!((step.observation, step.executed), (vec![1.0, 2.0], vec![0.5]));
    }
}

#[test]
fn a_robots_figures_travel_with_every_step() {
    let sizes = sizes(1, 1, 1, true);
    for energy_joules in [None, Some(2.5)] {
        let outcome = Outcome {
            safety: SafetyCounts { ticks: 10, adjusted: 3, stops: 2, violations: 1 },
            figures: StepFigures {
                path: 0.25,
                energy_joules,
                filter_run_ticks: 4,
                stops: 1,
                interventions: 6,
            },
            ..Outcome::default()
        };
        let bytes = message(Kind::DidStep, 1, |out| {
            sizes.put_step(0, Flags::default(), 0.0, &outcome, (&[1.0], &[0.5]), out);
        });
        let mut step = WorldStep { observation: vec![0.0], executed: vec![0.0], ..WorldStep::default() };
        let (head, body) = Header::split(&bytes).unwrap();
        sizes.steps(head.rows, body, &mut [(0, &mut step)]).unwrap();
        assert_eq!(step.outcome, outcome);
    }
}

#[test]
fn what_was_not_declared_is_refused_by_name() {
    let sizes = sizes(2, 1, 2, false);
    let said = |bytes: &[u8]| {
        let (head, body) = Header::split(bytes).map_err(|e| e.to_string())?;
        let mut action = [0.0];
        let read = sizes.actions::<CodecError>(head.rows, body, &mut action, |_, _| Ok(()));
        read.map_err(|e| e.to_string())
    };
    let good = message(Kind::Step, 1, |out| Sizes::put_action(1, &[0.0], out));
    said(&good).unwrap();
    assert!(said(&good[..47]).unwrap_err().contains("header of 48 bytes, found 47"));
    assert!(said(&good[..55]).unwrap_err().contains("expected 8 bytes for 1 rows, found 7"));
    let mut other = good.clone();
    other[3] = b'2';
    assert!(said(&other).unwrap_err().contains("same version"));
    other = good;
    other[4] = 77;
    assert!(said(&other).unwrap_err().contains("found kind 77"));
    let wide = message(Kind::Step, 1, |out| Sizes::put_action(1, &[0.0, 0.0], out));
    assert!(said(&wide).unwrap_err().contains("expected 8 bytes for 1 rows, found 12"));
    let stranger = message(Kind::Step, 1, |out| Sizes::put_action(2, &[0.0], out));
    assert!(said(&stranger).unwrap_err().contains("number of a world: expected at most 1, found 2"));
    let many = message(Kind::Step, u16::MAX, |_| ());
    assert!(said(&many).unwrap_err().contains("rows of a message: expected at most 2, found 65535"));
}

#[test]
fn a_refusal_carries_its_sentence_and_is_cut_between_characters() {
    let mut out = Vec::new();
    let long = "é".repeat(MAX_TEXT_BYTES);
    for (given, expected) in [("why", "why"), (long.as_str(), &long[..MAX_TEXT_BYTES])] {
        refuse(&header(Kind::Step, 3), SERVER, Refusal::WorldFailed, given, &mut out);
        let (head, body) = Header::split(&out).unwrap();
        assert_eq!((head.kind, head.refusal(), head.seq), (Kind::Refused, Refusal::WorldFailed, 5));
        assert_eq!(sentence(body).unwrap(), expected);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        observation_dim in 1_usize..8, action_dim in 1_usize..4, worlds in 1_usize..6, robot: bool,
    ) {
        decode_everything(&sizes(observation_dim, action_dim, worlds, robot), &bytes);
    }

    #[test]
    fn arbitrary_bodies_behind_a_good_header_never_panic(
        kind in 0_usize..9, rows: u16, body in proptest::collection::vec(any::<u8>(), 0..300), robot: bool,
    ) {
        let whole = message(Kind::ALL[kind].1, rows, |out| out.extend(body));
        decode_everything(&sizes(3, 2, 4, robot), &whole);
    }

    #[test]
    fn a_cut_message_is_an_error(cut in 0.0_f64..1.0, robot: bool) {
        let sizes = sizes(3, 2, 4, robot);
        let whole = message(Kind::DidStep, 1, |out| {
            sizes.put_step(0, Flags::default(), 1.0, &Outcome::default(), (&[0.0; 3], &[0.0; 2]), out);
        });
        let cut = &whole[..(whole.len() as f64 * cut) as usize];
        let mut step = WorldStep { observation: vec![0.0; 3], executed: vec![0.0; 2], ..WorldStep::default() };
        let read = Header::split(cut).and_then(|(head, body)| sizes.steps(head.rows, body, &mut [(0, &mut step)]));
        prop_assert!(read.is_err());
    }

    #[test]
    fn requests_come_back_as_they_were_made(
        seeds in proptest::collection::vec((0_u16..5, any::<u64>()), 0..5),
        actions in proptest::collection::vec((0_u16..5, any::<[f32; 2]>()), 0..5),
        options in "[a-z{}\":1é]{0,40}",
    ) {
        let sizes = sizes(3, 2, 5, false);
        let bytes = message(Kind::Reset, seeds.len() as u16, |out| {
            seeds.iter().for_each(|(world, seed)| Sizes::put_reset(*world, *seed, out));
            out.extend_from_slice(options.as_bytes());
        });
        let (head, body) = Header::split(&bytes).unwrap();
        let (resets, text) = sizes.resets(head.rows, body).unwrap();
        prop_assert_eq!(resets, seeds.iter().map(|(w, s)| (usize::from(*w), *s)).collect::<Vec<_>>());
        prop_assert_eq!(text, options);
        let bytes = message(Kind::Step, actions.len() as u16, |out| {
            actions.iter().for_each(|(world, action)| Sizes::put_action(*world, action, out));
        });
        let (head, body) = Header::split(&bytes).unwrap();
        let mut found = Vec::new();
        let mut row = [0.0; 2];
        sizes.actions::<CodecError>(head.rows, body, &mut row, |world, action| {
            found.push((world as u16, [action[0].to_bits(), action[1].to_bits()]));
            Ok(())
        }).unwrap();
        let bits = |(w, [a, b]): &(u16, [f32; 2])| (*w, [a.to_bits(), b.to_bits()]);
        prop_assert_eq!(found, actions.iter().map(bits).collect::<Vec<_>>());
    }
}
