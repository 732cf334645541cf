//! Points and poses, as much of them as forward kinematics and distances need.

use core::ops::Mul;

use crate::math::{sin_cos, sqrt};

/// A point or a direction, m.
pub(super) type Vector = [f64; 3];

pub(super) fn add(a: Vector, b: Vector) -> Vector {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

pub(super) fn sub(a: Vector, b: Vector) -> Vector {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(super) fn scaled(a: Vector, by: f64) -> Vector {
    [a[0] * by, a[1] * by, a[2] * by]
}

pub(super) fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn norm_squared(a: Vector) -> f64 {
    dot(a, a)
}

pub(super) fn norm(a: Vector) -> f64 {
    sqrt(norm_squared(a))
}

/// A rotation by its rows.
type Rows = [Vector; 3];

const IDENTITY: Rows = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

fn rotated(r: &Rows, v: Vector) -> Vector {
    [dot(r[0], v), dot(r[1], v), dot(r[2], v)]
}

fn product(a: &Rows, b: &Rows) -> Rows {
    let row =
        |r: Vector| [0, 1, 2].map(|column| r[0] * b[0][column] + r[1] * b[1][column] + r[2] * b[2][column]);
    [row(a[0]), row(a[1]), row(a[2])]
}

/// Where a frame is in another one: a rotation, then a translation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    rotation: Rows,
    translation: Vector,
}

impl Pose {
    /// The same frame.
    pub const IDENTITY: Self = Self { rotation: IDENTITY, translation: [0.0; 3] };

    /// A frame at `xyz` (m), turned by roll, pitch and yaw (rad) about the other frame's fixed x, y and z axes, in that order: the
    /// convention of URDF.
    #[must_use]
    pub fn new(xyz: [f64; 3], rpy: [f64; 3]) -> Self {
        let [(sr, cr), (sp, cp), (sy, cy)] = rpy.map(sin_cos);
        let rotation = [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ];
        Self { rotation, translation: xyz }
    }

    /// A frame at `xyz` (m), not turned.
    #[must_use]
    pub const fn at(xyz: [f64; 3]) -> Self {
        Self { rotation: IDENTITY, translation: xyz }
    }

    /// Where its origin is, m.
    #[must_use]
    pub const fn translation(&self) -> [f64; 3] {
        self.translation
    }

    /// Its rotation matrix, by rows: the columns are its axes.
    #[must_use]
    pub const fn rotation(&self) -> [[f64; 3]; 3] {
        self.rotation
    }

    /// A point of this frame, in the other one.
    #[must_use]
    pub fn apply(&self, point: [f64; 3]) -> [f64; 3] {
        add(rotated(&self.rotation, point), self.translation)
    }

    /// The other frame in this one.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let r = &self.rotation;
        let rotation = [0, 1, 2].map(|i| [r[0][i], r[1][i], r[2][i]]);
        let translation = rotated(&rotation, self.translation).map(|x| -x);
        Self { rotation, translation }
    }

    pub(super) fn is_finite(&self) -> bool {
        self.rotation.iter().chain([&self.translation]).flatten().all(|x| x.is_finite())
    }
}

impl Mul for Pose {
    type Output = Self;

    fn mul(self, inner: Self) -> Self {
        Self {
            rotation: product(&self.rotation, &inner.rotation),
            translation: self.apply(inner.translation),
        }
    }
}

/// The rotations about a fixed axis after a fixed rotation `R`: `R + sin q * RK + (1 - cos q) * RK²`, where `K v = axis x v`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Turning([Rows; 3]);

impl Turning {
    /// `axis` of length one.
    pub fn new(before: &Pose, axis: Vector) -> Self {
        let [x, y, z] = axis;
        let k = [[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]];
        let first = product(&before.rotation, &k);
        Self([before.rotation, first, product(&first, &k)])
    }

    /// Turned by `q` rad, at `translation`.
    pub fn by(&self, q: f64, translation: Vector) -> Pose {
        let (sin, cos) = sin_cos(q);
        let [fixed, first, second] = &self.0;
        let entry = |i: usize, j: usize| fixed[i][j] + sin * first[i][j] + (1.0 - cos) * second[i][j];
        Pose { rotation: [0, 1, 2].map(|i| [0, 1, 2].map(|j| entry(i, j))), translation }
    }
}
