//! What a picture may show beside the world: contacts that push, and joints at their limits.

use rapier3d::math::Vector;
use surefoot_core::{Frame, Overlay};

use crate::render::{self, View, Words};
use crate::world::RapierWorld;
use crate::world::channels::{Push, each_push};

/// Nearer to an end than this share of its range, and faster than all but this share of its largest speed, a joint is at that limit.
const NEAR: f64 = 0.01;
/// Half the line of a force of 1 N, m; it grows with the root of the force, so that weights and knocks are both seen.
const HALF_LINE_M: f32 = 0.02;
const CONTACT_RGB: [u8; 3] = [255, 0, 200];

/// The limit that a joint is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtLimit {
    Lower,
    Upper,
    Speed,
}

impl AtLimit {
    const fn words(self) -> &'static str {
        match self {
            Self::Lower => "lower limit",
            Self::Upper => "upper limit",
            Self::Speed => "speed limit",
        }
    }

    /// Colour of the joint's body and of its words, sRGB.
    pub const fn rgb(self) -> [u8; 3] {
        match self {
            Self::Lower | Self::Upper => [255, 40, 30],
            Self::Speed => [255, 170, 0],
        }
    }
}

impl RapierWorld {
    /// The joints of the contract that are at a limit of it, as measured, where that is to be shown.
    pub(super) fn joints_at_limits(&self) -> Vec<(usize, AtLimit)> {
        if !self.overlay.limits {
            return Vec::new();
        }
        let joints = self.contract.joints.iter().enumerate();
        let found = joints.filter_map(|(joint, limits)| {
            let (position, velocity) = self.joint_motion(joint)?;
            let near = NEAR * (limits.max_position - limits.min_position);
            let at = if position <= limits.min_position + near {
                AtLimit::Lower
            } else if position >= limits.max_position - near {
                AtLimit::Upper
            } else if velocity.abs() >= (1.0 - NEAR) * limits.max_velocity {
                AtLimit::Speed
            } else {
                return None;
            };
            Some((joint, at))
        });
        found.collect()
    }

    /// Paints what is to be shown over a picture.
    pub(super) fn paint_overlay(&self, frame: &mut Frame, view: &View, at_limits: &[(usize, AtLimit)]) {
        let Overlay { contacts, limits: _ } = self.overlay;
        let mut over = render::Overlay::new(frame, view);
        if contacts {
            let (mut count, mut most) = (0_usize, 0.0_f32);
            each_push(&self.physics, |Push { colliders: _, at, force }| {
                let (middle, size) = ((at[0] + at[1]) / 2.0, force.length());
                let half = if size > 0.0 { force * (HALF_LINE_M / size.sqrt()) } else { Vector::ZERO };
                over.point(middle, [middle - half, middle + half], CONTACT_RGB);
                (count, most) = (count + 1, most.max(size));
            });
            let text = format!("contacts: {count}, {most:.1} N at most");
            over.words(&Words { text, rgb: CONTACT_RGB });
        }
        for (joint, at) in at_limits {
            let name = &self.contract.joints[*joint].name;
            over.words(&Words { text: format!("{name}: {}", at.words()), rgb: at.rgb() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use surefoot_core::{Robot, RobotContract, RobotState, World};

    use super::*;
    use crate::model::Model;
    use crate::world::Stepping;

    const SCENE: &str = r#"<mujoco model="scene"><compiler angle="radian"/><option gravity="0 0 -10"/><worldbody>
        <geom name="floor" type="plane" size="5 5 1"/>
        <body name="box" pos="0 0 0.1"><freejoint/><geom type="box" size="0.1 0.1 0.1" mass="2"/></body>
        <body name="lever" pos="0 0.3 0.4"><joint name="lever" axis="0 1 0" range="-0.5 0.5" damping="1"/>
            <geom type="capsule" fromto="0 0 0 0 0 -0.3" size="0.03" mass="1" contype="0" conaffinity="0"/></body>
        </worldbody></mujoco>"#;
    const CONTRACT: &str = "name = \"scene\"\ncommand = \"effort\"\ncontrol_hz = 100.0\npolicy_hz = 100.0
        [[joints]]\nname = \"lever\"\nunit = \"rad\"\nmin_position = -0.5\nmax_position = 0.5\nmax_velocity = 2.0
        max_acceleration = 100.0\nmax_effort = 1.0\n";

    fn world() -> RapierWorld {
        let contract = RobotContract::parse(CONTRACT, Path::new("scene.toml")).unwrap();
        let model = Arc::new(Model::parse("scene", SCENE).unwrap());
        let view =
            View { eye: [1.5, -1.0, 0.8], target: [0.0, 0.1, 0.2], field_of_view_rad: 0.7, floor_z: 0.0 };
        RapierWorld::new(contract, model, Stepping::new(5)).unwrap().with_view(view)
    }

    fn start(world: &mut RapierWorld, position: f64, velocity: f64) {
        world
            .reset(&RobotState { position: vec![position], velocity: vec![velocity], channels: vec![] })
            .unwrap();
    }

    #[test]
    fn a_joint_is_at_the_limit_that_it_has_reached() {
        let mut world = world();
        start(&mut world, 0.5, 0.0);
        assert_eq!(world.joints_at_limits(), [], "nobody asked");
        world.set_overlay(Overlay { contacts: false, limits: true });
        for (position, velocity, at) in [
            (0.499, 0.0, Some(AtLimit::Upper)),
            (-0.499, 2.0, Some(AtLimit::Lower)),
            (0.1, -1.99, Some(AtLimit::Speed)),
            (0.48, 1.9, None),
        ] {
            start(&mut world, position, velocity);
            let found = world.joints_at_limits();
            assert_eq!(found.first().map(|(_, at)| *at), at, "{position} {velocity}");
        }
    }

    #[test]
    fn what_rests_on_the_floor_is_carried_by_the_contacts_that_are_shown() {
        let mut world = world();
        start(&mut world, 0.0, 0.0);
        for _ in 0..100 {
            world.without_command().unwrap();
        }
        let (mut sum, mut low) = (Vector::ZERO, f32::MAX);
        each_push(&world.physics, |Push { at, force, .. }| {
            // The box may be the first of the two or the second.
            sum += force * force.z.signum();
            low = at.iter().fold(low, |low, p| low.min(p.z.abs()));
        });
        assert!((sum.z - 20.0).abs() < 0.5 && sum.x.hypot(sum.y) < 0.5, "2 kg at 10 m/s^2: {sum}");
        assert!(low < 0.01, "where the box touches the floor: {low}");
    }

    #[test]
    fn an_overlay_is_seen_and_taken_off_again() {
        let mut world = world();
        start(&mut world, 0.5, 0.0);
        for _ in 0..5 {
            world.without_command().unwrap();
        }
        let plain = world.render(&[], 160, 120).unwrap();
        let of = |frame: &Frame, rgb: [u8; 3]| frame.rgb.chunks(3).filter(|p| **p == rgb).count();
        world.set_overlay(Overlay { contacts: true, limits: false });
        let contacts = world.render(&[], 160, 120).unwrap();
        assert!(
            of(&plain, CONTACT_RGB) == 0 && of(&contacts, CONTACT_RGB) > 60,
            "{}",
            of(&contacts, CONTACT_RGB)
        );
        world.set_overlay(Overlay { contacts: false, limits: true });
        start(&mut world, 0.5, 0.0);
        let limits = world.render(&[], 160, 120).unwrap();
        let reddish = |f: &Frame| f.rgb.chunks(3).filter(|p| p[0] > 120 && p[1] < p[0] / 2).count();
        assert!(reddish(&plain) == 0 && reddish(&limits) > 100, "{}", reddish(&limits));
        world.set_overlay(Overlay::default());
        start(&mut world, 0.5, 0.0);
        for _ in 0..5 {
            world.without_command().unwrap();
        }
        assert!(world.render(&[], 160, 120).unwrap() == plain);
    }
}
