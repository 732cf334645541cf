//! Solids in world axes, and where a ray meets them.
//!
//! Balls, capsules, cylinders and boxes are met in closed form: parry's general ray cast on a capsule or a cylinder iterates
//! (GJK), which is twenty times slower and leaves specks. Other shapes go through parry.

use rapier3d::geometry::{Ray, SharedShape};
use rapier3d::math::{Pose, Vector};

/// The outline of a solid in world axes, m.
#[derive(Clone)]
enum Outline {
    Ball { radius: f32 },
    Capsule { a: Vector, b: Vector, radius: f32 },
    Cylinder { a: Vector, b: Vector, radius: f32 },
    Cuboid { axes: [Vector; 3], half: [f32; 3] },
    Other { shape: SharedShape, pose: Pose },
}

/// Something to be drawn.
#[derive(Clone)]
pub struct Solid {
    outline: Outline,
    /// Centre and radius of a ball that holds all of it, m.
    pub center: Vector,
    pub radius: f32,
    /// Linear light.
    pub color: Vector,
}

/// Where a ray met a solid.
#[derive(Clone, Copy)]
pub struct Hit {
    /// Distance along the ray, m.
    pub distance: f32,
    /// Outward, unit length.
    pub normal: Vector,
}

const UP: [Vector; 3] = [Vector::X, Vector::Y, Vector::Z];

impl Solid {
    /// A shape at a pose.
    pub fn new(shape: &SharedShape, pose: Pose, color: Vector) -> Self {
        let center = pose.translation;
        let at = |p: Vector| pose.rotation * p + pose.translation;
        let (outline, center, radius) = if let Some(ball) = shape.as_ball() {
            (Outline::Ball { radius: ball.radius }, center, ball.radius)
        } else if let Some(c) = shape.as_capsule() {
            let (a, b) = (at(c.segment.a), at(c.segment.b));
            let reach = c.radius + (a - b).length() / 2.0;
            (Outline::Capsule { a, b, radius: c.radius }, (a + b) / 2.0, reach)
        } else if let Some(c) = shape.as_cylinder() {
            let (a, b) = (at(-Vector::Y * c.half_height), at(Vector::Y * c.half_height));
            (Outline::Cylinder { a, b, radius: c.radius }, center, c.radius.hypot(c.half_height))
        } else if let Some(c) = shape.as_cuboid() {
            let half = c.half_extents.to_array();
            let axes = UP.map(|axis| pose.rotation * axis);
            (Outline::Cuboid { axes, half }, center, c.half_extents.length())
        } else {
            let sphere = shape.compute_bounding_sphere(&pose);
            (Outline::Other { shape: shape.clone(), pose }, sphere.center, sphere.radius)
        };
        Self { outline, center, radius, color }
    }

    /// A ball.
    pub fn ball(center: Vector, radius: f32, color: Vector) -> Self {
        Self { outline: Outline::Ball { radius }, center, radius, color }
    }

    /// The first point of a ray from `origin` along the unit vector `direction` that is on the solid.
    pub fn meet(&self, origin: Vector, direction: Vector) -> Option<Hit> {
        match &self.outline {
            Outline::Ball { radius } => meet_ball(origin, direction, self.center, *radius),
            Outline::Capsule { a, b, radius } => meet_capsule(origin, direction, *a, *b, *radius),
            Outline::Cylinder { a, b, radius } => meet_cylinder(origin, direction, *a, *b, *radius),
            Outline::Cuboid { axes, half } => meet_box(origin - self.center, direction, axes, half),
            Outline::Other { shape, pose } => {
                let ray = Ray::new(origin, direction);
                let hit = shape.cast_ray_and_get_normal(pose, &ray, f32::MAX, false)?;
                Some(Hit { distance: hit.time_of_impact, normal: hit.normal })
            }
        }
    }
}

fn meet_ball(origin: Vector, direction: Vector, center: Vector, radius: f32) -> Option<Hit> {
    let from = origin - center;
    let along = from.dot(direction);
    // The foot of the perpendicular is squared, not the distance: no cancellation far away.
    let off = from - direction * along;
    let inside = radius * radius - off.dot(off);
    if inside < 0.0 {
        return None;
    }
    let distance = -along - inside.sqrt();
    (distance > 0.0).then(|| Hit { distance, normal: (from + direction * distance) / radius })
}

/// Where the infinite cylinder around `a..b` is met: distance, and how far along `a..b` (0 to 1).
fn meet_side(origin: Vector, direction: Vector, a: Vector, b: Vector, radius: f32) -> Option<(f32, f32)> {
    let (axis, from) = (b - a, origin - a);
    let square = axis.dot(axis);
    let cross = direction - axis * (direction.dot(axis) / square);
    let off = from - axis * (from.dot(axis) / square);
    let (qa, qb, qc) = (cross.dot(cross), cross.dot(off), off.dot(off) - radius * radius);
    let root = qb * qb - qa * qc;
    if root < 0.0 || qa < 1e-12 {
        return None;
    }
    let distance = (-qb - root.sqrt()) / qa;
    let along = (from + direction * distance).dot(axis) / square;
    Some((distance, along))
}

fn meet_capsule(origin: Vector, direction: Vector, a: Vector, b: Vector, radius: f32) -> Option<Hit> {
    if let Some((distance, along)) = meet_side(origin, direction, a, b, radius)
        && (0.0..=1.0).contains(&along)
    {
        let normal = (origin + direction * distance - a - (b - a) * along) / radius;
        return (distance > 0.0).then_some(Hit { distance, normal });
    }
    let ends = [meet_ball(origin, direction, a, radius), meet_ball(origin, direction, b, radius)];
    ends.into_iter().flatten().min_by(|x, y| x.distance.total_cmp(&y.distance))
}

fn meet_cylinder(origin: Vector, direction: Vector, a: Vector, b: Vector, radius: f32) -> Option<Hit> {
    if let Some((distance, along)) = meet_side(origin, direction, a, b, radius)
        && (0.0..=1.0).contains(&along)
    {
        let normal = (origin + direction * distance - a - (b - a) * along) / radius;
        return (distance > 0.0).then_some(Hit { distance, normal });
    }
    let axis = (b - a).normalize();
    let slope = direction.dot(axis);
    // Only the end that faces the ray can be met first.
    let (end, normal) = if slope < 0.0 { (b, axis) } else { (a, -axis) };
    let distance = (end - origin).dot(axis) / slope;
    let off = origin + direction * distance - end;
    (distance > 0.0 && off.dot(off) <= radius * radius).then_some(Hit { distance, normal })
}

fn meet_box(from: Vector, direction: Vector, axes: &[Vector; 3], half: &[f32; 3]) -> Option<Hit> {
    let (mut near, mut far, mut normal) = (f32::MIN, f32::MAX, Vector::ZERO);
    for (axis, half) in axes.iter().zip(half) {
        let (at, slope) = (from.dot(*axis), direction.dot(*axis));
        if slope.abs() < 1e-9 {
            if at.abs() > *half {
                return None;
            }
            continue;
        }
        let (enter, leave) = ((-slope.signum() * half - at) / slope, (slope.signum() * half - at) / slope);
        if enter > near {
            (near, normal) = (enter, -*axis * slope.signum());
        }
        far = far.min(leave);
    }
    (near > 0.0 && near <= far).then_some(Hit { distance: near, normal })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rapier3d::math::Rotation;
    use surefoot_core::Stream;

    #[test]
    fn closed_forms_agree_with_parry_on_random_rays() {
        let shapes = [
            SharedShape::ball(0.3),
            SharedShape::capsule_z(0.4, 0.2),
            SharedShape::cylinder(0.25, 0.3),
            SharedShape::cuboid(0.2, 0.3, 0.4),
        ];
        let mut s = Stream::new(0, "rays", 0);
        let mut draw = |size: f64| Vector::from_array(std::array::from_fn(|_| (size * s.normal()) as f32));
        for (kind, shape) in shapes.iter().enumerate() {
            let mut met = 0;
            for _ in 0..2000 {
                let pose = Pose::from_parts(draw(0.1), Rotation::from_scaled_axis(draw(1.0)));
                let origin = draw(1.0).normalize() * 2.0;
                let direction = (draw(0.3) - origin).normalize();
                let solid = Solid::new(shape, pose, Vector::ONE);
                let reference =
                    shape.cast_ray_and_get_normal(&pose, &Ray::new(origin, direction), 10.0, false);
                let (Some(hit), Some(expected)) = (solid.meet(origin, direction), reference) else {
                    continue;
                };
                met += 1;
                // parry stops early where a ray grazes a round side: its answer bounds ours loosely, its point distance tightly.
                assert!((hit.distance - expected.time_of_impact).abs() < 1e-2, "shape {kind}");
                assert!((hit.normal.length() - 1.0).abs() < 1e-3, "shape {kind}");
                assert!(hit.normal.dot(direction) < 1e-3, "shape {kind}: the normal points at the viewer");
                let at = origin + direction * hit.distance;
                let surface = shape.project_point(&pose, at, false).point;
                assert!((at - surface).length() < 2e-4, "shape {kind}: off its surface");
                assert!((at - solid.center).length() <= solid.radius + 1e-4, "shape {kind}: inside its ball");
            }
            assert!(met > 500, "shape {kind}: {met} rays met it");
        }
    }
}
