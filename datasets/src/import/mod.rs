//! From raw logs to episodes, by the import section of a robot contract.
//!
//! ```text
//! log -> messages -> samples of the selected numbers, in their new units   (plan, intake)
//!     -> rows on the policy's steps, by what was known at each             (align)
//!     -> stretches that are episodes, with their labels                    (cut)
//!     -> episodes with actions in [-1, 1], and an EnvSpec                  (episodes)
//! ```
//! What cannot be known stays unknown: a gap cuts an episode and is never filled, an unlabelled episode has no success, a reward
//! that was not recorded is NaN.

pub mod align;
mod cut;
mod episodes;
mod intake;
mod plan;
mod report;
mod spooled;
pub mod units;

pub use cut::Dropped;
pub use episodes::{Imported, Watch, import};
pub use plan::{Plan, PlanError};
pub use report::{ImportReport, LogReport, StreamReport};
pub use spooled::{Spooled, import_spooled};
