#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_bridges::lockstep::ServedSpec;
use surefoot_bridges::lockstep::codec::{CodecError, Header, Kind, Sizes, sentence};
use surefoot_core::WorldStep;

// The first byte says what both sides know of the rows; then a message, or the description of a server.
fuzz_target!(|bytes: &[u8]| {
    let Some((sizes, bytes)) = bytes.split_first() else { return };
    let of = |shift: u8| usize::from(sizes >> shift & 3);
    let sizes =
        Sizes { observation_dim: of(0), action_dim: of(2), worlds: 1 + of(4), robot: sizes & 64 != 0 };
    let _ = ServedSpec::parse(bytes);
    let Ok((header, body)) = Header::split(bytes) else { return };
    let mut said = Vec::new();
    header.begin(&mut said);
    assert_eq!(Header::split(&said), Ok((header, &[][..])));
    let rows = header.rows;
    let (mut action, mut observation) = (vec![0.0; sizes.action_dim], vec![0.0; sizes.observation_dim]);
    match header.kind {
        Kind::Reset => {
            if let Ok((resets, options)) = sizes.resets(rows, body) {
                assert!(resets.iter().all(|(world, _)| *world < sizes.worlds) && options.len() <= body.len());
            }
        }
        Kind::Step => {
            let mut seen = 0;
            let read = sizes.actions(rows, body, &mut action, |world, _| {
                assert!(world < sizes.worlds);
                seen += 1;
                Ok::<(), CodecError>(())
            });
            assert!(read.is_err() || seen == usize::from(rows));
        }
        Kind::Opened => {
            let _ = sizes.opened(rows, body);
        }
        Kind::DidReset => {
            let _ = sizes.observation(0, rows, body, &mut observation);
        }
        Kind::DidStep => {
            let mut steps: Vec<WorldStep> = (0..sizes.worlds)
                .map(|_| WorldStep {
                    active: true,
                    action: action.clone(),
                    executed: action.clone(),
                    observation: observation.clone(),
                    outcome: surefoot_core::Outcome::default(),
                })
                .collect();
            let mut to: Vec<(u16, &mut WorldStep)> = (0..).zip(&mut steps).take(usize::from(rows)).collect();
            let _ = sizes.steps(rows, body, &mut to);
        }
        Kind::Refused => {
            let _ = (header.refusal(), sentence(body));
        }
        _ => {}
    }
});
