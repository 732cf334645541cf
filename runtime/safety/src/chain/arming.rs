//! How a chain starts: from rest, from motion, or from outside the limits.

use super::{Envelope, SafetyChain, check_can_stop};
use crate::SafetyError;
use crate::certified::Motion;
use crate::error::positive;
use crate::limits::Bounds;

/// What the chain does with what is desired.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    /// Admits it.
    Normal,
    /// Executes the stop plan until rest: it was armed in motion.
    Stopping,
    /// Admits slow motion, and only inward motion of joints that are outside their limits.
    Recovery {
        /// Fastest motion of any joint, rad/s or m/s.
        speed: f64,
    },
}

impl SafetyChain {
    /// Starts commanding from a measured pose at rest.
    ///
    /// # Errors
    /// When the pose is not finite, outside the limits, violates a geometric condition, or is of another number of joints. The chain
    /// then stays as it was.
    pub fn arm(&mut self, measured_position: &[f64]) -> Result<(), SafetyError> {
        self.check_finite("position", measured_position)?;
        self.check_inside(measured_position)?;
        self.start(measured_position, None, Mode::Normal)
    }

    /// Starts commanding from a robot in motion: [`admit`](Self::admit) executes the stop plan, whatever is desired, until every
    /// joint is at rest. The commanded velocity starts as the measured one, and the commanded acceleration as zero.
    ///
    /// # Errors
    /// As [`arm`](Self::arm), and when a joint cannot be stopped inside its limits: then only the robot's own stop is left. Also for
    /// a chain of efforts, which has no stop plan.
    pub fn arm_moving(
        &mut self,
        measured_position: &[f64],
        measured_velocity: &[f64],
    ) -> Result<(), SafetyError> {
        if matches!(self.envelope, Envelope::Effort(_)) {
            return Err(SafetyError::EffortChain);
        }
        self.check_finite("position", measured_position)?;
        self.check_finite("velocity", measured_velocity)?;
        self.check_inside(measured_position)?;
        self.start(measured_position, Some(measured_velocity), Mode::Stopping)
    }

    /// Starts commanding from a pose at rest of which joints may be outside their limits. No joint moves faster than
    /// `recovery_velocity` (rad/s or m/s), and joints that are outside move inward only, until all are inside; then the
    /// chain is as after [`arm`](Self::arm). Nothing moves unless it is desired to.
    ///
    /// Geometric conditions hold throughout, so the pose must satisfy them.
    ///
    /// # Errors
    /// When the pose is not finite, violates a geometric condition, or is of another number of joints, when the velocity is not
    /// positive, and for a chain of efforts.
    pub fn arm_recovery(
        &mut self,
        measured_position: &[f64],
        recovery_velocity: f64,
    ) -> Result<(), SafetyError> {
        if matches!(self.envelope, Envelope::Effort(_)) {
            return Err(SafetyError::EffortChain);
        }
        self.check_finite("position", measured_position)?;
        let speed = positive("recovery_velocity", recovery_velocity)?;
        self.start(measured_position, None, Mode::Recovery { speed })?;
        self.follow_mode();
        Ok(())
    }

    /// Whether joints are being brought back inside their limits.
    #[must_use]
    pub const fn is_recovering(&self) -> bool {
        matches!(self.mode, Mode::Recovery { .. })
    }

    /// Whether the chain executes its stop plan because it was armed in motion.
    #[must_use]
    pub const fn is_stopping(&self) -> bool {
        matches!(self.mode, Mode::Stopping)
    }

    fn check_finite(&self, quantity: &'static str, row: &[f64]) -> Result<(), SafetyError> {
        if row.len() != self.limits.len() {
            return Err(SafetyError::JointCount { expected: self.limits.len(), found: row.len() });
        }
        match row.iter().enumerate().find(|(_, x)| !x.is_finite()) {
            Some((joint, found)) => Err(SafetyError::NotFinite { joint, quantity, found: *found }),
            None => Ok(()),
        }
    }

    fn check_inside(&self, position: &[f64]) -> Result<(), SafetyError> {
        for (joint, (position, l)) in position.iter().zip(&self.limits).enumerate() {
            if !(*position >= l.min_position && *position <= l.max_position) {
                return Err(SafetyError::OutsideLimits {
                    joint,
                    position: *position,
                    min: l.min_position,
                    max: l.max_position,
                });
            }
        }
        Ok(())
    }

    fn bounds(&self, joint: usize, position: f64, mode: Mode) -> Bounds {
        match mode {
            Mode::Normal | Mode::Stopping => Bounds::of(&self.limits[joint]),
            Mode::Recovery { speed } => Bounds::recovering(&self.limits[joint], position, speed),
        }
    }

    fn set_bounds(&mut self, joint: usize, bounds: Bounds) {
        match &mut self.envelope {
            Envelope::Motion(f) => f.set_bounds(joint, bounds),
            Envelope::Certified(f) => f.set_bounds(joint, bounds),
            Envelope::Effort(_) => {}
        }
    }

    fn start(&mut self, position: &[f64], velocity: Option<&[f64]>, mode: Mode) -> Result<(), SafetyError> {
        let at = |joint: usize| velocity.map_or(0.0, |v| v[joint]);
        for (joint, p) in position.iter().enumerate() {
            self.set_bounds(joint, self.bounds(joint, *p, mode));
        }
        let started = match &mut self.envelope {
            Envelope::Motion(f) => match velocity {
                Some(velocity) => check_can_stop(f, position, velocity, self.period_secs),
                None => Ok(()),
            },
            Envelope::Certified(f) => f.start(position.iter().enumerate().map(|(joint, p)| Motion {
                position: *p,
                velocity: at(joint),
                acceleration: 0.0,
            })),
            Envelope::Effort(_) => Ok(()),
        };
        if let Err(e) = started {
            for joint in 0..self.limits.len() {
                self.set_bounds(joint, self.bounds(joint, self.position[joint], self.mode));
            }
            return Err(e);
        }
        self.mode = mode;
        self.position.copy_from_slice(position);
        for (joint, v) in self.velocity.iter_mut().enumerate() {
            *v = at(joint);
        }
        for filter in &mut self.filters {
            filter.reset();
        }
        Ok(())
    }

    /// Ends a stop that has come to rest, and recovery of joints that have come inside.
    pub(super) fn follow_mode(&mut self) {
        match self.mode {
            Mode::Normal => {}
            Mode::Stopping => {
                let resting = match &self.envelope {
                    Envelope::Certified(f) => f.plans().iter().all(|plan| plan.len() <= 1),
                    _ => self.velocity.iter().all(|v| *v == 0.0),
                };
                if resting {
                    self.mode = Mode::Normal;
                }
            }
            Mode::Recovery { .. } => {
                let inside =
                    |(p, l): (&f64, &crate::JointLimits)| *p >= l.min_position && *p <= l.max_position;
                if self.position.iter().zip(&self.limits).all(inside) {
                    self.mode = Mode::Normal;
                }
                for joint in 0..self.limits.len() {
                    self.set_bounds(joint, self.bounds(joint, self.position[joint], self.mode));
                }
            }
        }
    }
}
