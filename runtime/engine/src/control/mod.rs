//! The control plane: one owner of a robot, one period at a time.

mod acting;
mod arbitration;
mod budget;
pub mod cadence;
pub mod config;
pub mod control_loop;
pub mod episodes;
mod judge;
pub mod lockstep;
pub mod mode;
pub(crate) mod numbers;
pub mod policy_thread;
pub mod ports;
pub mod realtime;
pub mod request;
mod requests;
mod steps;
pub mod tick;
pub mod watch;

pub use cadence::{Cadence, CadenceReport, PeriodTimes};
pub use config::ControlConfig;
pub use control_loop::{ControlError, ControlLoop};
pub use episodes::{DrivenEpisode, EpisodesFromTicks, MadeStep, Progress};
pub use lockstep::Lockstep;
pub use mode::{Cause, Driver, Mode, Rest, Transition};
pub use policy_thread::{PolicyThread, Versioned};
pub use ports::{ControlPorts, EmergencySwitch, HumanAction, PolicyInput, PolicyOutput};
pub use realtime::{ControlThread, Granted, RealtimeConfig};
pub use request::{Label, Refusal, Request};
pub use tick::Tick;
