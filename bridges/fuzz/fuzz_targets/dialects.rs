#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_bridges::dialects::{CommandFrame, StateFrame};
use surefoot_bridges_fuzz::Robot;

// Which dialect, which way, how long the attachment is; then attachment and payload.
fuzz_target!(|bytes: &[u8]| {
    let [which, length, rest @ ..] = bytes else { return };
    let robot = Robot::of(*which >> 1);
    let (attachment, payload) = rest.split_at(rest.len().min(usize::from(*length)));
    let attachment = (*length > 0).then_some(attachment);
    let mut codec = robot.codec();
    // Twice, for codecs keep what they need between messages.
    for _ in 0..2 {
        if which & 1 == 0 {
            let mut frame = StateFrame::new(&robot.contract);
            let _ = codec.read_state(payload, attachment, &mut frame);
            assert_eq!(frame.state.position.len(), robot.contract.joints.len());
            continue;
        }
        let mut frame = CommandFrame::with_room(&robot.contract, 64);
        if codec.read_command(payload, attachment, &mut frame).is_ok() {
            assert!(!frame.rows.is_empty() && frame.rows.len() % robot.contract.joints.len() == 0);
            assert!(frame.rows.iter().all(|(p, v)| p.is_finite() && v.is_finite()), "{:?}", frame.rows);
        }
    }
});
