//! Geometric conditions on a pose.

/// A condition on the pose of a robot, measured in metres: a workspace, a keep-out zone, self-collision.
///
/// The filter evaluates it at few poses and concludes for all poses between them from [`reach`](Self::reach); so the two must
/// fit together: `|clearance(p) - clearance(q)| <= sum_j reach[j] * |p[j] - q[j]|` for all poses within the joint limits.
/// For the signed distance of a rigid body from something at rest, or from another body of the same
/// robot, the farthest that any of its points can be from the joint's axis is such a bound.
///
/// Real-time contract: must not allocate, lock or block; must be a function of the pose alone.
pub trait Clearance: Send {
    /// How far the pose is from violating the condition, m. Zero and above is allowed; NaN counts as a violation.
    ///
    /// `position` is `[joints]`, rad or m.
    fn clearance(&mut self, position: &[f64]) -> f64;

    /// For each joint, how much the clearance can change per rad (or per m) of that joint: an upper bound, `[joints]`, m.
    fn reach(&self) -> &[f64];
}
