//! What the tests of several filters share: inputs of a broken or hostile policy, and an independent witness.

use proptest::prelude::*;

use crate::JointLimits;

pub const PERIODS: [f64; 6] = [0.001, 0.002, 0.01, 0.02, 0.05, 0.1];

pub fn jerk_limits() -> impl Strategy<Value = JointLimits> {
    let ranges = (
        -3.0..0.0_f64,
        0.05..3.0_f64,
        0.05..5.0_f64,
        0.5..30.0_f64,
        0.5..30.0_f64,
        2.0..200.0_f64,
        any::<bool>(),
    );
    ranges.prop_map(|(min, max, velocity, acceleration, deceleration, ratio, equal)| {
        let limits = JointLimits::new(min, max, velocity, acceleration).unwrap();
        let limits = limits.with_max_deceleration(if equal { acceleration } else { deceleration }).unwrap();
        limits.with_max_jerk(acceleration * ratio).unwrap()
    })
}

/// Anything a broken or hostile policy may ask for.
pub fn desired() -> impl Strategy<Value = f64> {
    prop_oneof![
        5 => -10.0..10.0_f64,
        2 => Just(1e9),
        2 => Just(-1e9),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => Just(f64::MIN_POSITIVE / 4.0),
        1 => Just(-0.0),
        1 => any::<f64>(),
    ]
}

/// A seeded generator (xorshift) for long runs.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(0x9E37_79B9_7F4A_7C15 ^ seed)
    }
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
    pub fn between(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * self.unit()
    }
    pub fn jerk_limits(&mut self) -> JointLimits {
        let acceleration = self.between(0.5, 30.0);
        let (min, max) = (self.between(-3.0, -0.1), self.between(0.1, 3.0));
        JointLimits::new(min, max, self.between(0.05, 5.0), acceleration)
            .and_then(|l| l.with_max_jerk(acceleration * self.between(2.0, 200.0)))
            .unwrap()
    }
    pub fn adversarial(&mut self, limits: &JointLimits) -> f64 {
        match self.below(8) {
            0 => f64::NAN,
            1 => 1e9,
            2 => -1e9,
            3 => f64::from_bits(self.next()),
            4 => limits.max_velocity(),
            5 => -limits.max_velocity(),
            _ => self.between(-5.0, 5.0),
        }
    }
}

/// How far a sequence of positions went over limits, recomputed from the positions alone. What rounding of a position (one part
/// in 2^53) can do to its differences is not counted.
#[derive(Clone, Copy, Debug)]
pub struct Excess {
    last: (f64, f64, f64),
    pub position: f64,
    pub velocity: f64,
    pub acceleration: f64,
    pub jerk: f64,
}

impl Excess {
    pub fn at_rest(position: f64) -> Self {
        Self { last: (position, 0.0, 0.0), position: 0.0, velocity: 0.0, acceleration: 0.0, jerk: 0.0 }
    }

    pub fn observe(&mut self, limits: &JointLimits, position: f64, h: f64) {
        let (p, v, a) = self.last;
        let velocity = (position - p) / h;
        let acceleration = (velocity - v) / h;
        let jerk = (acceleration - a) / h;
        let rounding = f64::EPSILON * position.abs().max(1.0);
        let steepest = limits.max_acceleration().max(limits.max_deceleration());
        let over = |x: f64, limit: f64, noise: f64| ((x.abs() - noise) / limit - 1.0).max(0.0);
        let outside = (position - limits.max_position()).max(limits.min_position() - position);
        assert!(position.is_finite());
        self.position = self.position.max(outside);
        self.velocity = self.velocity.max(over(velocity, limits.max_velocity(), 2.0 * rounding / h));
        self.acceleration = self.acceleration.max(over(acceleration, steepest, 4.0 * rounding / (h * h)));
        if let Some(limit) = limits.max_jerk() {
            self.jerk = self.jerk.max(over(jerk, limit, 8.0 * rounding / (h * h * h)));
        }
        self.last = (position, velocity, acceleration);
    }

    pub fn include(&mut self, other: &Self) {
        self.position = self.position.max(other.position);
        self.velocity = self.velocity.max(other.velocity);
        self.acceleration = self.acceleration.max(other.acceleration);
        self.jerk = self.jerk.max(other.jerk);
    }

    pub fn assert_none(&self) {
        assert!(self.position <= 0.0, "position {self:?}");
        assert!(self.velocity <= 1e-9 && self.acceleration <= 1e-9 && self.jerk <= 1e-8, "{self:?}");
    }
}
