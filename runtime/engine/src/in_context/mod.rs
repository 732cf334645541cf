//! Policies that learn in context: judged by whole lives on tasks that they have not seen, trained with such lives as the measure, and
//! compared with those that should not be able to learn.

mod distillation;
mod driven;
mod evidence;
mod lives;
mod page;

pub use distillation::{
    Distillation, DistillationEnd, DistillationParts, DistillationProgress, DistillationState,
    ValidationPoint,
};
pub use driven::{DrivenLives, MakePolicy, judge_driven};
pub use evidence::{
    ArmEvidence, Evidence, EvidenceError, EvidenceScale, GoalScore, SplitEvidence, SplitLives,
};
pub use lives::{
    Judged, LifeConfig, LifeCurve, Living, MakeLiving, PolicyLife, PromptedLife, SourceLife, judge,
};
pub use page::{evidence_page, evidence_table};
