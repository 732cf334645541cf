//! Distances from a segment, in closed form.

use nalgebra::{Point3, Vector3};

use crate::braking::into_range;

/// From a segment to a point.
pub(super) fn to_point(a: &Point3<f64>, b: &Point3<f64>, p: &Point3<f64>) -> f64 {
    let along = b - a;
    let length = along.norm_squared();
    let t = if length > 0.0 { into_range((p - a).dot(&along) / length, 0.0, 1.0) } else { 0.0 };
    (p - (a + along * t)).norm()
}

/// Between two segments. The distance of two lines is convex in both parameters, so its least value over the square of
/// parameters is at the interior stationary point or on an edge, and an edge is a segment and a point.
pub(super) fn to_segment(a: &Point3<f64>, b: &Point3<f64>, c: &Point3<f64>, d: &Point3<f64>) -> f64 {
    let (u, v, w) = (b - a, d - c, a - c);
    let edges = to_point(a, b, c).min(to_point(a, b, d)).min(to_point(c, d, a)).min(to_point(c, d, b));
    let (uu, uv, vv) = (u.dot(&u), u.dot(&v), v.dot(&v));
    let determinant = uu * vv - uv * uv;
    if determinant <= 1e-14 * uu * vv {
        // Parallel, or a point: the least distance is taken at an end. (At an angle of 1e-7 it could be an eighth of a micrometre
        // per metre nearer to the side, which changes a distance of 0.1 mm by less than the rounding margin.)
        return edges;
    }
    let (uw, vw) = (u.dot(&w), v.dot(&w));
    let (s, t) = ((uv * vw - vv * uw) / determinant, (uu * vw - uv * uw) / determinant);
    if (0.0..=1.0).contains(&s) && (0.0..=1.0).contains(&t) {
        edges.min((w + u * s - v * t).norm())
    } else {
        edges
    }
}

/// From a segment to an axis-aligned box around the origin; 0 where they meet.
///
/// The squared distance along the segment is convex and quadratic between the parameters at which it crosses a face's plane.
pub(super) fn to_box(a: &Point3<f64>, b: &Point3<f64>, half: &Vector3<f64>) -> f64 {
    let along = b - a;
    let mut cuts = [0.0_f64, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    for axis in 0..3 {
        for (i, face) in [half[axis], -half[axis]].into_iter().enumerate() {
            let t = (face - a[axis]) / along[axis];
            cuts[2 + 2 * axis + i] = if t > 0.0 && t < 1.0 { t } else { 0.0 };
        }
    }
    cuts.sort_unstable_by(f64::total_cmp);
    let at = |t: f64| outside(&(a + along * t), half).norm_squared();
    let mut least = at(0.0);
    for pair in cuts.windows(2) {
        let &[from, to] = pair else { continue };
        // Which faces are passed does not change within the piece: read it off its middle.
        let beyond = outside(&(a + along * f64::midpoint(from, to)), half);
        let (mut slope, mut curvature) = (0.0, 0.0);
        for axis in 0..3 {
            if beyond[axis] != 0.0 {
                let face = if beyond[axis] > 0.0 { half[axis] } else { -half[axis] };
                slope += (a[axis] - face) * along[axis];
                curvature += along[axis] * along[axis];
            }
        }
        let lowest = if curvature > 0.0 { into_range(-slope / curvature, from, to) } else { from };
        least = least.min(at(lowest)).min(at(to));
    }
    least.sqrt()
}

/// A lower bound of [`to_box`], from the ball around the segment: cheap.
pub(super) fn to_box_at_least(a: &Point3<f64>, b: &Point3<f64>, half: &Vector3<f64>) -> f64 {
    outside(&nalgebra::center(a, b), half).norm() - (b - a).norm() / 2.0
}

/// The vector from the box to a point; zero inside.
fn outside(p: &Point3<f64>, half: &Vector3<f64>) -> Vector3<f64> {
    p.coords - p.coords.zip_map(half, |x, h| x.max(-h).min(h))
}
