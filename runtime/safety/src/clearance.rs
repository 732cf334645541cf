//! Geometric conditions on a pose, and the proof that a whole path keeps them.

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

/// How far anything can come nearer while the joints move by these amounts, m.
fn approach(reach: &[f64], from: &[f64], to: &[f64]) -> f64 {
    reach.iter().zip(from).zip(to).map(|((reach, from), to)| reach * (to - from).abs()).sum()
}

/// Walks a path of poses and keeps a lower bound of the clearance along it.
///
/// Between two poses that are `m` metres of motion apart the clearance is nowhere below `(c0 + c1 - m) / 2`; so `c >= m / 2` at
/// both ends proves the whole segment. Evaluating is dear, and moving by `m` costs at most `m` of clearance: a pose is
/// evaluated only where what is known from the last evaluation does not suffice.
pub(crate) struct Sweep<'a> {
    condition: &'a mut dyn Clearance,
    bound: f64,
    exact: bool,
    pub evaluations: u64,
}

impl<'a> Sweep<'a> {
    /// Starts at a pose of known clearance.
    pub fn from(condition: &'a mut dyn Clearance, clearance: f64) -> Self {
        Self { condition, bound: clearance, exact: true, evaluations: 0 }
    }

    /// False for NaN.
    fn suffices(&self, enough: f64) -> bool {
        self.bound >= enough
    }

    fn evaluate(&mut self, position: &[f64]) {
        self.bound = self.condition.clearance(position);
        self.exact = true;
        self.evaluations += 1;
    }

    /// Whether the segment from the present pose `from` to `to` is free all along. After `false` the sweep is of no more use.
    pub fn advance(&mut self, from: &[f64], to: &[f64]) -> bool {
        let motion = approach(self.condition.reach(), from, to);
        let enough = motion / 2.0;
        if !self.suffices(enough) && !self.exact {
            self.evaluate(from);
        }
        if !self.suffices(enough) {
            return false;
        }
        self.bound -= motion;
        self.exact = false;
        if !self.suffices(enough) {
            self.evaluate(to);
        }
        self.suffices(enough)
    }
}
