//! Putting the scene of a simulated robot back, over the link.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use surefoot_core::{RobotContract, RobotState};
use zenoh::qos::CongestionControl;
use zenoh::{Session, Wait};

use crate::dialects::{Codec, Packet, StateFrame};
use crate::error::{LinkError, WireError};
use crate::robot::status::Shared;

/// A simulator that has not answered by then is asked again.
const ANSWER: Duration = Duration::from_secs(2);

/// Asks a simulated robot for initial states. It must not be armed meanwhile.
pub struct SceneClient {
    session: Session,
    key: String,
    codec: Box<dyn Codec>,
    frame: StateFrame,
    packet: Packet,
    shared: Arc<Shared>,
    answer: Arc<Answer>,
}

/// Number of the last request that was answered, and of the first state after it.
#[derive(Debug, Default)]
struct Answer {
    asked: AtomicU64,
    answered: AtomicU64,
    first_seq: AtomicU64,
    refusal: Mutex<Option<String>>,
}

impl SceneClient {
    pub(super) fn new(
        session: Session,
        key: String,
        codec: Box<dyn Codec>,
        contract: &RobotContract,
        shared: Arc<Shared>,
    ) -> Self {
        let (frame, packet) = (StateFrame::new(contract), Packet::default());
        Self { session, key, codec, frame, packet, shared, answer: Arc::default() }
    }

    /// Asks for an initial state. It takes effect at the robot some time later: see [`is_ready`](Self::is_ready).
    ///
    /// # Errors
    /// When the state cannot be written, or zenoh refuses.
    pub fn reset(&mut self, initial: &RobotState) -> Result<(), LinkError> {
        self.frame.state.clone_from(initial);
        let answer_error = |source: WireError| LinkError::Answer { what: "the scene", source };
        self.codec.write_state(&self.frame, &mut self.packet).map_err(answer_error)?;
        let asked = self.answer.asked.fetch_add(1, Ordering::AcqRel) + 1;
        *self.answer.refusal.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let answer = self.answer.clone();
        self.session
            .get(self.key.as_str())
            .payload(self.packet.payload.as_slice())
            .attachment(self.packet.attachment.as_slice())
            .congestion_control(CongestionControl::Drop)
            .timeout(ANSWER)
            .callback(move |reply| match reply.result() {
                Ok(sample) => {
                    let bytes = sample.payload().to_bytes();
                    let Some(first) = bytes.first_chunk() else { return };
                    answer.first_seq.store(u64::from_le_bytes(*first), Ordering::Release);
                    answer.answered.fetch_max(asked, Ordering::AcqRel);
                }
                Err(e) => {
                    let text = String::from_utf8_lossy(&e.payload().to_bytes()).into_owned();
                    *answer.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
                }
            })
            .wait()
            .map_err(|e| LinkError::zenoh("asking for the scene", e))
    }

    /// Whether what was asked for last is done, and the states that come are of it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.answer.answered.load(Ordering::Acquire) >= self.answer.asked.load(Ordering::Acquire)
            && self.shared.received_seq.load(Ordering::Acquire)
                >= self.answer.first_seq.load(Ordering::Acquire)
    }

    /// Why the last request was not followed, if it was not; it is to be asked again.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        self.answer.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
