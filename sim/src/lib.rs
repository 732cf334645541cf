//! rapier3d worlds from MJCF, the tasks in them, their demonstrators and a CPU renderer.

pub mod arm;
pub mod demonstrators;
pub mod kinematics;
pub mod model;
pub mod randomisation;
pub mod render;
pub mod tasks;
pub mod tool_motion;
pub mod world;

pub use demonstrators::{DemonstratorConfig, DemonstratorContext};
pub use kinematics::Kinematics;
pub use model::{JointActuator, Model, ModelError, ModelReport};
pub use randomisation::Randomisation;
pub use render::View;
pub use tasks::{EnvConfig, EnvContext};
pub use world::{RapierWorld, Softness, Stepping};
