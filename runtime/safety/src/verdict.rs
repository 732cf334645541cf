//! What the chain did to a command, and why.

use serde::{Deserialize, Serialize};

/// What happened to a command. Ordered: of several verdicts the worst (largest) holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Executed as asked, bit for bit.
    #[default]
    Passed,
    /// Executed, but nearer to the present motion than asked.
    Adjusted,
    /// Not executed: the robot brakes instead.
    Stopped,
}

/// Why a command was changed: a set of limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reasons(u16);

impl Reasons {
    /// Nothing was changed.
    pub const NONE: Self = Self(0);
    /// A position limit is nearer than the braking distance.
    pub const POSITION: Self = Self(1);
    /// Above the velocity limit.
    pub const VELOCITY: Self = Self(1 << 1);
    /// Above the acceleration or deceleration limit.
    pub const ACCELERATION: Self = Self(1 << 2);
    /// Above the effort limit.
    pub const EFFORT: Self = Self(1 << 3);
    /// NaN or infinite.
    pub const NON_FINITE: Self = Self(1 << 4);
    /// Slowed only to keep the direction of a command of which another joint met a limit.
    pub const DIRECTION: Self = Self(1 << 5);
    /// A filter ahead of the last envelope changed it.
    pub const FILTER: Self = Self(1 << 6);
    /// Above the jerk limit.
    pub const JERK: Self = Self(1 << 7);
    /// A geometric condition would be violated on the way to rest.
    pub const GEOMETRY: Self = Self(1 << 8);
    /// Above the velocity that the speed scale leaves.
    pub const SPEED_SCALE: Self = Self(1 << 9);
    /// Above the velocity that the soft limits leave.
    pub const SOFT_LIMIT: Self = Self(1 << 10);
    /// A joint is being brought back inside its limits.
    pub const RECOVERY: Self = Self(1 << 11);
    /// The stop plan is being executed: it was asked for, or the robot was armed in motion.
    pub const STOP: Self = Self(1 << 12);

    /// As a number, for records.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// From a record's number; bits that mean nothing are kept.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every reason of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names of the reasons in this set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (Self::POSITION, "position"),
            (Self::VELOCITY, "velocity"),
            (Self::ACCELERATION, "acceleration"),
            (Self::EFFORT, "effort"),
            (Self::NON_FINITE, "non_finite"),
            (Self::DIRECTION, "direction"),
            (Self::FILTER, "filter"),
            (Self::JERK, "jerk"),
            (Self::GEOMETRY, "geometry"),
            (Self::SPEED_SCALE, "speed_scale"),
            (Self::SOFT_LIMIT, "soft_limit"),
            (Self::RECOVERY, "recovery"),
            (Self::STOP, "stop"),
        ]
        .into_iter()
        .filter(move |(reason, _)| self.contains(*reason))
        .map(|(_, name)| name)
    }
}
