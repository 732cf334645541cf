//! rapier3d worlds from MJCF, the tasks in them, their demonstrators and a CPU renderer; task families for learning in context.

pub mod arm;
pub mod arm_scene;
pub mod curriculum;
pub mod demonstrators;
pub mod families;
pub mod kinematics;
pub mod model;
mod observation_history;
pub mod randomisation;
pub mod render;
pub mod set_point;
pub mod tasks;
pub mod tool_drive;
pub mod tool_motion;
pub mod world;

pub use demonstrators::{DemonstratorConfig, DemonstratorContext};
pub use families::{FamilyConfig, FamilyContext};
pub use kinematics::Kinematics;
pub use model::{JointActuator, Model, ModelError, ModelReport};
pub use randomisation::Randomisation;
pub use render::View;
pub use tasks::{EnvConfig, EnvContext};
pub use world::{RapierWorld, Softness, Stepping};
