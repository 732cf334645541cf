//! Distances against an independent implementation, kinematics against the formula, and the reach bound against samples.

use nalgebra::{Isometry3, Point3, Vector3};
use parry3d::math::{Pose, Vector};
use parry3d::query;
use parry3d::shape::{Ball, Cuboid as ParryCuboid, Segment};
use proptest::prelude::*;

use super::*;
use crate::{Clearance, JointLimits};

fn point() -> impl Strategy<Value = Point3<f64>> {
    (-1.0..1.0_f64, -1.0..1.0_f64, -1.0..1.0_f64).prop_map(|(x, y, z)| Point3::new(x, y, z))
}

fn vector(p: &Point3<f64>) -> Vector {
    Vector::new(p.x as f32, p.y as f32, p.z as f32)
}

/// Single precision of the oracle.
const ORACLE: f64 = 1e-3;

proptest! {
    #[test]
    fn segment_distances_agree_with_parry(a in point(), b in point(), c in point(), d in point(), half in (0.05..0.8_f64, 0.05..0.8_f64, 0.05..0.8_f64)) {
        let one = Segment::new(vector(&a), vector(&b));
        let apart = |shape: &dyn parry3d::shape::Shape, pose: Pose| {
            f64::from(query::distance(&Pose::IDENTITY, &one, &pose, shape).unwrap().distance)
        };
        let two = Segment::new(vector(&c), vector(&d));
        prop_assert!((distance::to_segment(&a, &b, &c, &d) - apart(&two, Pose::IDENTITY)).abs() < ORACLE);
        let ball = Ball::new(0.0);
        let at = Pose::from_translation(vector(&c));
        prop_assert!((distance::to_point(&a, &b, &c) - apart(&ball, at)).abs() < ORACLE);
        let half = Vector3::new(half.0, half.1, half.2);
        let cuboid = ParryCuboid::new(Vector::new(half.x as f32, half.y as f32, half.z as f32));
        prop_assert!((distance::to_box(&a, &b, &half) - apart(&cuboid, Pose::IDENTITY)).abs() < ORACLE);
    }

    /// No sampled pair of points is nearer than the closed form, and some pair is nearly as near.
    #[test]
    fn segment_distances_are_the_least_over_samples(a in point(), b in point(), c in point(), d in point(), half in (0.05..0.8_f64, 0.05..0.8_f64, 0.05..0.8_f64)) {
        let half = Vector3::new(half.0, half.1, half.2);
        let (segment, cuboid) = (distance::to_segment(&a, &b, &c, &d), distance::to_box(&a, &b, &half));
        let (mut least_segment, mut least_cuboid) = (f64::INFINITY, f64::INFINITY);
        for i in 0..=200 {
            let p = a + (b - a) * (f64::from(i) / 200.0);
            least_segment = least_segment.min(distance::to_point(&c, &d, &p));
            let nearest = Point3::new(p.x.clamp(-half.x, half.x), p.y.clamp(-half.y, half.y), p.z.clamp(-half.z, half.z));
            least_cuboid = least_cuboid.min((p - nearest).norm());
        }
        prop_assert!(segment <= least_segment + 1e-12 && segment >= least_segment - 0.02);
        prop_assert!(cuboid <= least_cuboid + 1e-12 && cuboid >= least_cuboid - 0.02);
    }

    /// The claim on which the sweep between samples rests.
    #[test]
    fn the_clearance_changes_no_faster_than_the_reach_says(
        from in prop::collection::vec(-1.5..1.5_f64, 4),
        to in prop::collection::vec(-1.5..1.5_f64, 4),
        share in 0.0..=1.0_f64,
    ) {
        let mut model = model();
        let to: Vec<f64> = from.iter().zip(&to).map(|(a, b)| a + share * (b - a)).collect();
        let change = (model.clearance(&from) - model.clearance(&to)).abs();
        let bound: f64 = model.reach().iter().zip(from.iter().zip(&to)).map(|(r, (a, b))| r * (a - b).abs()).sum();
        prop_assert!(change <= bound + 1e-12, "{change} > {bound}");
    }
}

/// Three revolute joints about different axes and a prismatic one, with every kind of condition.
fn model() -> CollisionModel {
    let limits = vec![JointLimits::new(-1.5, 1.5, 1.0, 1.0).unwrap(); 4];
    let tree = KinematicTree::new(vec![
        Joint::revolute(None, Isometry3::translation(0.0, 0.0, 0.3), Vector3::z()).unwrap(),
        Joint::revolute(Some(0), Isometry3::translation(0.1, 0.0, 0.1), Vector3::y()).unwrap(),
        Joint::prismatic(Some(1), Isometry3::translation(0.4, 0.0, 0.0), Vector3::x()).unwrap(),
        Joint::revolute(Some(2), Isometry3::translation(0.0, 0.1, 0.2), Vector3::new(1.0, 1.0, 0.0)).unwrap(),
    ])
    .unwrap();
    let capsule =
        |link, z: f64| Capsule::new(link, Point3::origin(), Point3::new(0.1, 0.0, z), 0.05).unwrap();
    let zone = |x: f64| {
        Cuboid::new(
            Isometry3::new(Vector3::new(x, 0.3, 0.1), Vector3::new(0.3, 0.2, 0.1)),
            Vector3::new(0.2, 0.3, 0.4),
        )
        .unwrap()
    };
    CollisionModel::new(tree, &limits)
        .and_then(|m| m.with_capsule(capsule(0, 0.2)))
        .and_then(|m| m.with_capsule(capsule(1, 0.3)))
        .and_then(|m| m.with_capsule(capsule(3, 0.4)))
        .map(|m| m.with_keep_out_box(zone(0.8)))
        .and_then(|m| m.with_keep_out_ball(Point3::new(-0.5, 0.0, 0.4), 0.2))
        .and_then(|m| m.with_workspace(zone(0.0), [1, 2]))
        .and_then(|m| m.with_separation(0, 2))
        .unwrap()
}

#[test]
fn forward_kinematics_of_a_planar_arm_is_the_textbook_formula() {
    let tree = KinematicTree::new(vec![
        Joint::revolute(None, Isometry3::identity(), Vector3::z()).unwrap(),
        Joint::revolute(Some(0), Isometry3::translation(0.5, 0.0, 0.0), Vector3::z()).unwrap(),
    ])
    .unwrap();
    let mut poses = [Isometry3::identity(); 2];
    tree.forward(&[0.3, -1.1], &mut poses);
    let tip = poses[1] * Point3::new(0.4, 0.0, 0.0);
    let expected = Point3::new(
        0.5 * 0.3_f64.cos() + 0.4 * (-0.8_f64).cos(),
        0.5 * 0.3_f64.sin() + 0.4 * (-0.8_f64).sin(),
        0.0,
    );
    assert!((tip - expected).norm() < 1e-15);
}

#[test]
fn unusable_geometry_is_refused() {
    assert!(matches!(
        Joint::revolute(None, Isometry3::identity(), Vector3::zeros()),
        Err(GeometryError::Axis { .. })
    ));
    let joint = |parent| Joint::revolute(parent, Isometry3::identity(), Vector3::z()).unwrap();
    assert_eq!(
        KinematicTree::new(vec![joint(Some(0))]).unwrap_err(),
        GeometryError::Parent { joint: 0, parent: 0 }
    );
    let tree = KinematicTree::new(vec![joint(None)]).unwrap();
    assert!(matches!(CollisionModel::new(tree.clone(), &[]), Err(GeometryError::JointCount { .. })));
    for radius in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(Capsule::new(0, Point3::origin(), Point3::origin(), radius).is_err());
    }
    assert!(Cuboid::new(Isometry3::identity(), Vector3::new(0.0, 1.0, 1.0)).is_err());
    let limits = [JointLimits::new(-1.0, 1.0, 1.0, 1.0).unwrap()];
    let model = CollisionModel::new(tree, &limits).unwrap();
    let lost = Capsule::new(1, Point3::origin(), Point3::origin(), 0.1).unwrap();
    assert!(matches!(model.clone().with_capsule(lost), Err(GeometryError::Missing { what: "joint", .. })));
    assert!(matches!(
        model.clone().with_separation(0, 1),
        Err(GeometryError::Missing { what: "capsule", .. })
    ));
    assert!(model.clone().with_margin(-1.0).is_err());
    let mut model = model;
    assert!(model.clearance(&[f64::NAN]).is_nan() && model.clearance(&[]).is_nan());
}
