//! Distances against an independent implementation, kinematics against the formula, and the reach bound against samples.

use nalgebra::{Isometry3, Point3, Translation3, Unit, UnitQuaternion, Vector3};
use parry3d::math::{Pose as ParryPose, Vector};
use parry3d::query;
use parry3d::shape::{Ball, Cuboid as ParryCuboid, Segment};
use proptest::prelude::*;

use super::*;
use crate::{Clearance, JointLimits};

fn point() -> impl Strategy<Value = [f64; 3]> {
    prop::array::uniform3(-1.0..1.0_f64)
}

fn vector(p: [f64; 3]) -> Vector {
    Vector::new(p[0] as f32, p[1] as f32, p[2] as f32)
}

fn isometry(pose: &Pose) -> Isometry3<f64> {
    let [x, y, z] = pose.rotation();
    let rows = nalgebra::Matrix3::from_rows(&[x.into(), y.into(), z.into()]);
    let translation = Translation3::from(Vector3::from(pose.translation()));
    Isometry3::from_parts(
        translation,
        UnitQuaternion::from_matrix_eps(&rows, 1e-15, 100, UnitQuaternion::identity()),
    )
}

/// Single precision of the oracle.
const ORACLE: f64 = 1e-3;

proptest! {
    #[test]
    fn segment_distances_agree_with_parry(a in point(), b in point(), c in point(), d in point(), half in prop::array::uniform3(0.05..0.8_f64)) {
        let one = Segment::new(vector(a), vector(b));
        let apart = |shape: &dyn parry3d::shape::Shape, pose: ParryPose| {
            f64::from(query::distance(&ParryPose::IDENTITY, &one, &pose, shape).unwrap().distance)
        };
        let two = Segment::new(vector(c), vector(d));
        prop_assert!((distance::to_segment(a, b, c, d) - apart(&two, ParryPose::IDENTITY)).abs() < ORACLE);
        let ball = Ball::new(0.0);
        let at = ParryPose::from_translation(vector(c));
        prop_assert!((distance::to_point(a, b, c) - apart(&ball, at)).abs() < ORACLE);
        let cuboid = ParryCuboid::new(vector(half));
        prop_assert!((distance::to_box(a, b, half) - apart(&cuboid, ParryPose::IDENTITY)).abs() < ORACLE);
    }

    /// No sampled pair of points is nearer than the closed form, and some pair is nearly as near.
    #[test]
    fn segment_distances_are_the_least_over_samples(a in point(), b in point(), c in point(), d in point(), half in prop::array::uniform3(0.05..0.8_f64)) {
        let (segment, cuboid) = (distance::to_segment(a, b, c, d), distance::to_box(a, b, half));
        let (mut least_segment, mut least_cuboid) = (f64::INFINITY, f64::INFINITY);
        for i in 0..=200 {
            let p: [f64; 3] = std::array::from_fn(|k| a[k] + (b[k] - a[k]) * (f64::from(i) / 200.0));
            least_segment = least_segment.min(distance::to_point(c, d, p));
            let beyond: [f64; 3] = std::array::from_fn(|k| p[k] - p[k].clamp(-half[k], half[k]));
            least_cuboid = least_cuboid.min(Vector3::from(beyond).norm());
        }
        prop_assert!(segment <= least_segment + 1e-12 && segment >= least_segment - 0.02);
        prop_assert!(cuboid <= least_cuboid + 1e-12 && cuboid >= least_cuboid - 0.02);
    }

    /// Forward kinematics against a library for rigid motions.
    #[test]
    fn forward_kinematics_agree_with_nalgebra(
        joints in prop::collection::vec((point(), point(), point(), any::<bool>(), -3.0..3.0_f64), 1..8),
    ) {
        prop_assume!(joints.iter().all(|(_, _, axis, ..)| Vector3::from(*axis).norm() > 0.1));
        let mut expected = Isometry3::identity();
        let mut tree = Vec::new();
        for (i, (xyz, rpy, axis, slides, q)) in joints.iter().enumerate() {
            let kind = if *slides { JointKind::Prismatic } else { JointKind::Revolute };
            tree.push(Joint::new(i.checked_sub(1), Pose::new(*xyz, *rpy), *axis, kind).unwrap());
            let axis = Unit::new_normalize(Vector3::from(*axis));
            let turned = UnitQuaternion::from_euler_angles(rpy[0], rpy[1], rpy[2]);
            expected *= Isometry3::from_parts(Translation3::from(Vector3::from(*xyz)), turned);
            expected *= match kind {
                JointKind::Revolute => Isometry3::from_parts(Translation3::identity(), UnitQuaternion::from_axis_angle(&axis, *q)),
                JointKind::Prismatic => Isometry3::from_parts(Translation3::from(axis.into_inner() * *q), UnitQuaternion::identity()),
            };
        }
        let tree = KinematicTree::new(tree).unwrap();
        let position: Vec<f64> = joints.iter().map(|j| j.4).collect();
        let mut poses = vec![Pose::IDENTITY; joints.len()];
        tree.forward(&position, &mut poses);
        let last = poses[joints.len() - 1];
        for p in [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]] {
            let found = Vector3::from(last.apply(p));
            prop_assert!((found - (expected * Point3::from(p)).coords).norm() < 1e-13);
            prop_assert!((Vector3::from(last.inverse().apply(last.apply(p))) - Vector3::from(p)).norm() < 1e-13);
        }
        prop_assert!(isometry(&last).rotation.angle_to(&expected.rotation) < 1e-7);
    }

    /// The shortcuts change nothing: the clearance is the least distance of all contacts, whatever was nearest before.
    #[test]
    fn the_clearance_is_the_least_over_all_contacts(
        before in prop::collection::vec(-1.5..1.5_f64, 4),
        at in prop::collection::vec(-1.5..1.5_f64, 4),
    ) {
        let mut model = model();
        model.clearance(&before);
        let found = model.clearance(&at);
        prop_assert!((found - model.clearance_without_shortcuts(&at)).abs() < 1e-12);
        let (_, nearest) = model.nearest(&at).unwrap();
        prop_assert!((found - nearest).abs() < 1e-12);
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
        Joint::revolute(None, Pose::at([0.0, 0.0, 0.3]), [0.0, 0.0, 1.0]).unwrap(),
        Joint::revolute(Some(0), Pose::at([0.1, 0.0, 0.1]), [0.0, 1.0, 0.0]).unwrap(),
        Joint::prismatic(Some(1), Pose::at([0.4, 0.0, 0.0]), [1.0, 0.0, 0.0]).unwrap(),
        Joint::revolute(Some(2), Pose::at([0.0, 0.1, 0.2]), [1.0, 1.0, 0.0]).unwrap(),
    ])
    .unwrap();
    let capsule = |link, z: f64| Capsule::new(link, [0.0; 3], [0.1, 0.0, z], 0.05).unwrap();
    let zone = |x: f64| Cuboid::new(Pose::new([x, 0.3, 0.1], [0.3, 0.2, 0.1]), [0.2, 0.3, 0.4]).unwrap();
    CollisionModel::new(tree, &limits)
        .and_then(|m| m.with_capsule(capsule(0, 0.2)))
        .and_then(|m| m.with_capsule(capsule(1, 0.3)))
        .and_then(|m| m.with_capsule(capsule(3, 0.4)))
        .and_then(|m| m.with_keep_out(Zone::Box(zone(0.8)), 0..3))
        .and_then(|m| m.with_keep_out(ball([-0.5, 0.0, 0.4], 0.2), 0..3))
        .and_then(|m| {
            m.with_keep_out(Zone::Capsule { a: [0.0, -0.6, 0.0], b: [0.3, -0.6, 0.5], radius: 0.1 }, [1, 2])
        })
        .and_then(|m| m.with_workspace(zone(0.0), [1, 2]))
        .and_then(|m| m.with_separation(0, 2))
        .unwrap()
}

fn ball(at: [f64; 3], radius: f64) -> Zone {
    Zone::Capsule { a: at, b: at, radius }
}

#[test]
fn forward_kinematics_of_a_planar_arm_is_the_textbook_formula() {
    let tree = KinematicTree::new(vec![
        Joint::revolute(None, Pose::IDENTITY, [0.0, 0.0, 1.0]).unwrap(),
        Joint::revolute(Some(0), Pose::at([0.5, 0.0, 0.0]), [0.0, 0.0, 2.0]).unwrap(),
    ])
    .unwrap();
    let mut poses = [Pose::IDENTITY; 2];
    tree.forward(&[0.3, -1.1], &mut poses);
    let tip = poses[1].apply([0.4, 0.0, 0.0]);
    let expected =
        [0.5 * 0.3_f64.cos() + 0.4 * (-0.8_f64).cos(), 0.5 * 0.3_f64.sin() + 0.4 * (-0.8_f64).sin(), 0.0];
    assert!((Vector3::from(tip) - Vector3::from(expected)).norm() < 1e-15);
}

/// A vertical stick on the last joint turns in place, and the first joint's own height is no lever.
#[test]
fn the_reach_is_the_distance_from_the_axis() {
    let tree = KinematicTree::new(vec![
        Joint::revolute(None, Pose::at([0.0, 0.0, 1.0]), [0.0, 0.0, 1.0]).unwrap(),
        Joint::revolute(Some(0), Pose::at([0.3, 0.0, 0.4]), [0.0, 0.0, 1.0]).unwrap(),
    ])
    .unwrap();
    let limits = [JointLimits::new(-1.0, 1.0, 1.0, 1.0).unwrap(); 2];
    let stick = Capsule::new(1, [0.0; 3], [0.0, 0.0, 0.5], 0.01).unwrap();
    let model = CollisionModel::new(tree, &limits).and_then(|m| m.with_capsule(stick)).unwrap();
    assert_eq!(model.reach(), [0.0, 0.0], "no condition, nothing to keep");
    let model = model.with_keep_out(ball([2.0, 0.0, 0.0], 0.1), [0]).unwrap();
    let expected = [0.3 + 0.51, 0.01];
    assert!(model.reach().iter().zip(expected).all(|(r, e)| (r - e).abs() < 1e-15), "{:?}", model.reach());
}

#[test]
fn what_is_nearest_is_named() {
    let tree =
        KinematicTree::new(vec![Joint::prismatic(None, Pose::IDENTITY, [1.0, 0.0, 0.0]).unwrap()]).unwrap();
    let limits = [JointLimits::new(-1.0, 1.0, 1.0, 1.0).unwrap()];
    let cell = Cuboid::new(Pose::IDENTITY, [0.8, 1.0, 1.0]).unwrap();
    let mut model = CollisionModel::new(tree, &limits)
        .and_then(|m| m.with_capsule(Capsule::new(0, [0.0; 3], [0.0; 3], 0.1)?))
        .and_then(|m| m.with_workspace(cell, [0]))
        .and_then(|m| m.with_keep_out(ball([-0.5, 0.0, 0.0], 0.1), [0]))
        .unwrap();
    let (contact, clearance) = model.nearest(&[0.6]).unwrap();
    assert_eq!(contact, Contact::Workspace { capsule: 0, workspace: 0 });
    assert!((clearance - 0.1).abs() < 1e-8);
    let (contact, clearance) = model.nearest(&[-0.4]).unwrap();
    assert_eq!(contact, Contact::KeepOut { capsule: 0, zone: 0 });
    assert!((clearance + 0.1).abs() < 1e-8);
    assert!(model.nearest(&[f64::NAN]).is_none());
}

#[test]
fn unusable_geometry_is_refused() {
    let z = [0.0, 0.0, 1.0];
    for axis in [[0.0; 3], [f64::NAN, 0.0, 1.0], [f64::INFINITY, 0.0, 0.0]] {
        let refused = Joint::revolute(None, Pose::IDENTITY, axis);
        assert!(matches!(refused, Err(GeometryError::Axis { .. })));
    }
    assert!(Joint::revolute(None, Pose::at([f64::NAN, 0.0, 0.0]), z).is_err());
    assert!(Joint::prismatic(None, Pose::new([0.0; 3], [f64::INFINITY, 0.0, 0.0]), z).is_err());
    let joint = |parent| Joint::revolute(parent, Pose::IDENTITY, z).unwrap();
    assert_eq!(
        KinematicTree::new(vec![joint(Some(0))]).unwrap_err(),
        GeometryError::Parent { joint: 0, parent: 0 }
    );
    let tree = KinematicTree::new(vec![joint(None)]).unwrap();
    assert!(matches!(CollisionModel::new(tree.clone(), &[]), Err(GeometryError::JointCount { .. })));
    for radius in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(Capsule::new(0, [0.0; 3], [0.0; 3], radius).is_err());
    }
    assert!(Cuboid::new(Pose::IDENTITY, [0.0, 1.0, 1.0]).is_err());
    assert!(Cuboid::new(Pose::at([f64::NAN; 3]), [1.0; 3]).is_err());
    let limits = [JointLimits::new(-1.0, 1.0, 1.0, 1.0).unwrap()];
    let model = CollisionModel::new(tree, &limits).unwrap();
    let lost = Capsule::new(1, [0.0; 3], [0.0; 3], 0.1).unwrap();
    assert!(matches!(model.clone().with_capsule(lost), Err(GeometryError::Missing { what: "joint", .. })));
    assert!(matches!(
        model.clone().with_separation(0, 1),
        Err(GeometryError::Missing { what: "capsule", .. })
    ));
    assert!(model.clone().with_keep_out(ball([0.0; 3], -1.0), []).is_err());
    assert!(model.clone().with_margin(-1.0).is_err());
    let mut model = model;
    assert!(model.clearance(&[f64::NAN]).is_nan() && model.clearance(&[]).is_nan());
}
