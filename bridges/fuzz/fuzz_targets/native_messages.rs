#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_bridges::wire::{
    CommandMeta, Estop, Heartbeat, Message, ModeReply, ModeRequest, PanelPress, SafetyStatus, StateMeta,
    TeleopAction,
};

/// What can be read can be said again, and is then the same.
fn read<M: Message>(bytes: &[u8]) {
    let Ok(message) = M::read(bytes) else { return };
    let said = message.bytes();
    let again = M::read(&said).expect("what was said can be read");
    assert_eq!(again.bytes(), said);
}

// The first byte says which message; the version is ours, or nothing would get beyond it.
fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let mut message = vec![surefoot_bridges::wire::VERSION];
    message.extend_from_slice(bytes);
    match which % 9 {
        0 => read::<CommandMeta>(&message),
        1 => read::<StateMeta>(&message),
        2 => read::<Heartbeat>(&message),
        3 => read::<ModeRequest>(&message),
        4 => read::<ModeReply>(&message),
        5 => read::<Estop>(&message),
        6 => read::<SafetyStatus>(&message),
        7 => read::<PanelPress>(&message),
        _ => read::<TeleopAction>(&message),
    }
    let _ = Heartbeat::read(bytes);
});
