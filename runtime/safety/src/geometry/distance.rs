//! Distances from a segment, in closed form.

use super::pose::{Vector, add, dot, norm, norm_squared, scaled, sub};
use crate::braking::into_range;
use crate::math::sqrt;

/// From a segment to a point.
pub(super) fn to_point(a: Vector, b: Vector, p: Vector) -> f64 {
    sqrt(to_point_squared(a, b, p))
}

fn to_point_squared(a: Vector, b: Vector, p: Vector) -> f64 {
    let along = sub(b, a);
    let length = norm_squared(along);
    let t = if length > 0.0 { into_range(dot(sub(p, a), along) / length, 0.0, 1.0) } else { 0.0 };
    norm_squared(sub(p, add(a, scaled(along, t))))
}

/// Between two segments. The distance of two lines is convex in both parameters, so its least value over the square of
/// parameters is at the interior stationary point or on an edge, and an edge is a segment and a point.
pub(super) fn to_segment(a: Vector, b: Vector, c: Vector, d: Vector) -> f64 {
    let (u, v, w) = (sub(b, a), sub(d, c), sub(a, c));
    let (uu, uv, vv) = (norm_squared(u), dot(u, v), norm_squared(v));
    let determinant = uu * vv - uv * uv;
    let ends = to_point_squared(a, b, c).min(to_point_squared(a, b, d));
    let edges = sqrt(ends.min(to_point_squared(c, d, a)).min(to_point_squared(c, d, b)));
    if determinant <= 1e-14 * uu * vv {
        // Parallel, or a point: the least distance is taken at an end. (At an angle of 1e-7 it could be an eighth of a micrometre
        // per metre nearer to the side, which changes a distance of 0.1 mm by less than the rounding margin.)
        return edges;
    }
    let (uw, vw) = (dot(u, w), dot(v, w));
    let (s, t) = ((uv * vw - vv * uw) / determinant, (uu * vw - uv * uw) / determinant);
    if (0.0..=1.0).contains(&s) && (0.0..=1.0).contains(&t) {
        edges.min(norm(sub(add(w, scaled(u, s)), scaled(v, t))))
    } else {
        edges
    }
}

/// From a segment to an axis-aligned box around the origin; 0 where they meet.
///
/// The squared distance along the segment is convex and quadratic between the parameters at which it crosses a face's plane.
pub(super) fn to_box(a: Vector, b: Vector, half: Vector) -> f64 {
    let along = sub(b, a);
    let mut cuts = [0.0_f64, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    for axis in 0..3 {
        for (i, face) in [half[axis], -half[axis]].into_iter().enumerate() {
            let t = (face - a[axis]) / along[axis];
            cuts[2 + 2 * axis + i] = if t > 0.0 && t < 1.0 { t } else { 0.0 };
        }
    }
    cuts.sort_unstable_by(f64::total_cmp);
    let at = |t: f64| norm_squared(outside(add(a, scaled(along, t)), half));
    let mut least = at(0.0);
    for pair in cuts.windows(2) {
        let &[from, to] = pair else { continue };
        if from == to {
            continue;
        }
        // Which faces are passed does not change within the piece: read it off its middle.
        let beyond = outside(add(a, scaled(along, f64::midpoint(from, to))), half);
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
    sqrt(least)
}

/// The vector from the box to a point; zero inside.
pub(super) fn outside(p: Vector, half: Vector) -> Vector {
    [0, 1, 2].map(|i| p[i] - p[i].max(-half[i]).min(half[i]))
}
