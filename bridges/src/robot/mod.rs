//! A robot over zenoh: [`ZenohRobot`] is a [`Robot`] like any other.
//!
//! ```text
//! control thread  read <- mailbox (newest state)            write -> ring -> link thread -> zenoh
//! zenoh's thread  receives, judges, decodes -> mailbox      link thread: signs of life, arming, stops, clock offset
//! ```
//! The control thread never calls zenoh: it swaps buffers with a mailbox and a ring, so a period costs it no allocation, no wait
//! and no system call but one wake-up of the link thread, whatever the network does.

mod connect;
mod link_thread;
mod scene;
mod status;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use surefoot_core::clock::MonotonicClock;
use surefoot_core::recycled::Sender;
use surefoot_core::{Robot, RobotContract, RobotError, RobotState, Stamp};
use surefoot_safety::SafeCommand;

use crate::dialects::{CommandFrame, StateFrame};
use crate::error::Refusal;
use crate::wire::RobotMode;

pub use connect::{Attached, Description, attach, describe};
pub(crate) use connect::{check_contract, declare_tokens, who};
pub(crate) use link_thread::Heard;
pub use scene::SceneClient;
pub use status::{LinkReport, LinkStatus};

use status::{Shared, count};

/// Time in which the robot's side must have begun a new epoch, ns.
const ARM_NANOS: i64 = 1_000_000_000;

/// A robot at the other end of a zenoh link. [`attach`] makes one.
pub struct ZenohRobot {
    contract: RobotContract,
    shared: Arc<Shared>,
    commands: Sender<CommandFrame>,
    link: Option<JoinHandle<()>>,
    clock: MonotonicClock,
    frame: StateFrame,
    state_timeout_nanos: i64,
    command_timeout_nanos: i64,
    /// Whether the robot's side speaks of epochs and stops; where it does not, they are the robot's own business.
    supervised: bool,
    seq: u64,
    epoch: u32,
    /// Since when it was tried to arm; `None` while nothing is commanded.
    arming_since: Option<i64>,
    _tokens: Vec<zenoh::liveliness::LivelinessToken>,
}

impl ZenohRobot {
    fn lost(&self, reason: String) -> RobotError {
        RobotError::Lost { robot: self.contract.name.clone(), reason }
    }

    fn wake(&self) {
        if let Some(link) = &self.link {
            link.thread().unpark();
        }
    }

    /// The robot's side follows this program: what it says otherwise ends that.
    fn check_followed(&mut self, now: i64) -> Result<Option<u32>, RobotError> {
        let clearing =
            self.shared.acknowledged.load(Ordering::Acquire) != self.shared.cleared.load(Ordering::Acquire);
        if clearing {
            // A person has just cleared a stop, and the robot's side is being told.
            return self.wait_for_arming(now).map(|()| None);
        }
        if let Some(refusal) = self.shared.refusal() {
            let told = self.shared.told();
            let why = match refusal {
                Refusal::Latched => {
                    format!("its side is in a latched stop ({:?}, {:?})", told.mode, told.cause)
                }
                other => format!("its side refuses: {other}"),
            };
            return Err(self.lost(why));
        }
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        let told = self.shared.told();
        if told.mode.is_latched() {
            let why = format!("its side is in a latched stop ({:?}, {:?})", told.mode, told.cause);
            return Err(self.lost(why));
        }
        if epoch == 0 {
            return self.wait_for_arming(now).map(|()| None);
        }
        if self.shared.boot.load(Ordering::Acquire) != self.shared.leased_boot.load(Ordering::Acquire) {
            return Err(self.lost("its side was started anew: what was armed is not any more".into()));
        }
        let ended = told.epoch == epoch && told.mode == RobotMode::Idle;
        if ended || told.epoch > epoch {
            return Err(self.lost(format!("its side has ended epoch {epoch}")));
        }
        Ok(Some(epoch))
    }

    fn wait_for_arming(&mut self, now: i64) -> Result<(), RobotError> {
        let since = *self.arming_since.get_or_insert(now);
        if now - since > ARM_NANOS {
            return Err(self.lost("its side does not answer to being armed".into()));
        }
        Ok(())
    }
}

impl Robot for ZenohRobot {
    fn contract(&self) -> &RobotContract {
        &self.contract
    }

    /// The newest state that came, again and again until a newer one does; its stamp tells.
    fn read(&mut self, state: &mut RobotState) -> Result<Stamp, RobotError> {
        self.shared.states.take(&mut self.frame);
        let silent = self.clock.now_nanos() - self.frame.received_nanos;
        if silent > self.state_timeout_nanos {
            let last = self.shared.last_error().map_or(String::new(), |e| format!("; the last message: {e}"));
            return Err(self.lost(format!("no state for {} ms{last}", silent / 1_000_000)));
        }
        let StateFrame { meta, state: newest, received_nanos: _ } = &self.frame;
        if !newest.is_finite() {
            let what = state.first_not_finite(&self.contract).unwrap_or_default();
            return Err(RobotError::NotFinite { robot: self.contract.name.clone(), what });
        }
        state.position.copy_from_slice(&newest.position);
        state.velocity.copy_from_slice(&newest.velocity);
        state.channels.copy_from_slice(&newest.channels);
        Ok(Stamp { nanos: meta.stamp_nanos, seq: meta.seq })
    }

    fn write(&mut self, command: SafeCommand<'_>) -> Result<(), RobotError> {
        let now = self.clock.now_nanos();
        let epoch = if self.supervised {
            self.shared.wanted.store(true, Ordering::Release);
            match self.check_followed(now)? {
                Some(epoch) => {
                    self.arming_since = None;
                    epoch
                }
                None => {
                    self.wake();
                    return Ok(());
                }
            }
        } else {
            0
        };
        if epoch != self.epoch {
            (self.epoch, self.seq) = (epoch, 0);
        }
        let Some(mut frame) = self.commands.lend() else {
            count(&self.shared.counters.unsent);
            return Err(self.lost("commands are not taken by the network".into()));
        };
        self.seq += 1;
        let offset = self.shared.offset_nanos.load(Ordering::Relaxed);
        frame.meta.epoch = epoch;
        frame.meta.lease = self.shared.lease.load(Ordering::Acquire);
        frame.meta.seq = self.seq;
        // A robot that echoes nothing plays trajectories by its own clock.
        frame.meta.stamp_nanos = if self.supervised { now } else { now.saturating_add(offset) };
        frame.meta.valid_until_nanos = now.saturating_add(offset).saturating_add(self.command_timeout_nanos);
        frame.rows.clear();
        command.stop_plan().extend_rows(self.contract.joints.len(), &mut frame.rows);
        self.commands.send(frame);
        self.wake();
        Ok(())
    }

    fn without_command(&mut self) -> Result<(), RobotError> {
        self.arming_since = None;
        if self.shared.wanted.swap(false, Ordering::AcqRel) {
            self.wake();
        }
        Ok(())
    }

    /// The robot's side plays its stop plan, and follows nothing more of this epoch.
    fn stop(&mut self) -> Result<(), RobotError> {
        self.without_command()
    }

    fn acknowledge(&mut self) -> Result<(), RobotError> {
        self.shared.acknowledged.fetch_add(1, Ordering::AcqRel);
        self.wake();
        Ok(())
    }
}

/// Whoever ends leaves a robot that comes to rest and that others may have.
impl Drop for ZenohRobot {
    fn drop(&mut self) {
        self.shared.wanted.store(false, Ordering::Release);
        self.shared.ending.store(true, Ordering::Release);
        self.wake();
        if let Some(link) = self.link.take() {
            // There is nobody left to tell.
            let _ = link.join();
        }
    }
}
