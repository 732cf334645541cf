#![no_main]

use libfuzzer_sys::fuzz_target;
use surefoot_core::ros::RosMessage;
use surefoot_core::ros::messages::{
    ControlTick, DiagnosticArray, Float64MultiArray, JointCommand, JointState, JointTrajectory, Joy,
    PoseStamped, String, TwistStamped, WrenchStamped,
};

/// What can be read can be said again, and is then the same: no length in it is trusted, and none is lost.
fn read<M: RosMessage + Default>(bytes: &[u8]) {
    let mut message = M::default();
    if message.decode(bytes).is_err() {
        return;
    }
    let (mut said, mut again) = (Vec::new(), Vec::new());
    message.encode(&mut said);
    let mut other = M::default();
    other.decode(&said).expect("what was said can be read");
    other.encode(&mut again);
    assert_eq!(said, again);
}

// The first byte says which message.
fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 11 {
        0 => read::<JointState>(bytes),
        1 => read::<JointTrajectory>(bytes),
        2 => read::<JointCommand>(bytes),
        3 => read::<Float64MultiArray>(bytes),
        4 => read::<DiagnosticArray>(bytes),
        5 => read::<Joy>(bytes),
        6 => read::<PoseStamped>(bytes),
        7 => read::<TwistStamped>(bytes),
        8 => read::<WrenchStamped>(bytes),
        9 => read::<String>(bytes),
        _ => read::<ControlTick>(bytes),
    }
});
