//! A round pool: a wall of planks in a rapier world, a body that is swept through it in steps of one length and turns by eighths, and
//! what it sees.

use rapier3d::dynamics::RigidBodyBuilder;
use rapier3d::geometry::{Ball, ColliderBuilder};
use rapier3d::math::{Pose, Rotation, Vector};
use rapier3d::parry::query::ShapeCastOptions;
use rapier3d::pipeline::{PhysicsWorld, QueryFilter};

use crate::render::round_room::{DIRECTIONS, RoundRoom};

/// Distance of the wall from the middle, m.
pub(super) const RADIUS_M: f32 = 2.0;
/// Radius of the body, m.
pub(super) const BODY_RADIUS_M: f32 = 0.15;
/// Length of a step, m.
pub(super) const STEP_M: f32 = 0.2;
/// Planks of the wall: their middles are at `RADIUS_M`, where they meet it is 2.4 mm farther.
const PLANKS: usize = 64;
/// The body stays this far off a plank, m, so that the next sweep does not begin inside of it.
const SKIN_M: f32 = 1e-3;
/// What is left of a step goes so far away from the plank that it slides along, m: along it alone, the next sweep would meet it at once.
const NUDGE_M: f32 = 1e-4;
/// Planks that one step may slide along, one after the other.
const SLIDES: usize = 4;

const ROOM: RoundRoom = RoundRoom { radius_m: RADIUS_M, wall_m: 1.2, panel_m: [0.5, 1.0], eye_m: 0.4 };

/// What an action does: a step along a direction, in eighths of a turn from where one looks, and then a turn to the left, in eighths.
const ACTIONS: [(Option<usize>, usize); 8] = [
    (Some(0), 0),
    (Some(4), 0),
    (Some(2), 0),
    (Some(6), 0),
    (None, 1),
    (None, 7),
    (Some(0), 1),
    (Some(0), 7),
];
/// Their indices, where somebody names them.
pub(super) const TURN_LEFT: usize = 4;
pub(super) const FORWARD_AND_LEFT: usize = 6;
pub(super) const CHOICES: usize = ACTIONS.len();

/// The action that walks along a direction, in quarters of a turn from where one looks.
pub(super) const WALK: [usize; 4] = [0, 2, 1, 3];

/// Where somebody stands and looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stand {
    /// From the middle, m.
    pub at: [f32; 2],
    /// Eighths of a turn, counter-clockwise from x.
    pub heading: usize,
}

impl Stand {
    /// In the middle, facing along x.
    pub(super) const START: Self = Self { at: [0.0; 2], heading: 0 };
}

/// The way of one step along a direction, in eighths of a turn from x, m.
pub(super) fn step_along(direction: usize) -> [f32; 2] {
    DIRECTIONS[direction % 8].map(|x| x * STEP_M)
}

/// The pool.
pub(super) struct RoundPool {
    world: PhysicsWorld,
    body: Ball,
}

impl RoundPool {
    pub(super) fn new() -> Self {
        let mut world = PhysicsWorld { gravity: Vector::ZERO, ..PhysicsWorld::default() };
        let wall = world.bodies.insert(RigidBodyBuilder::fixed().build());
        let half = [0.05, RADIUS_M * (std::f32::consts::PI / PLANKS as f32).tan() * 1.1, 0.6];
        for plank in 0..PLANKS {
            let turned = Rotation::from_scaled_axis(
                Vector::Z * (plank as f32 * std::f32::consts::TAU / PLANKS as f32),
            );
            let middle = turned * (Vector::X * (RADIUS_M + half[0]));
            let cuboid = ColliderBuilder::cuboid(half[0], half[1], half[2])
                .position(Pose::from_parts(middle, turned))
                .build();
            world.colliders.insert_with_parent(cuboid, wall, &mut world.bodies);
        }
        // Sweeps look into a tree of the planks that a step makes.
        world.step();
        Self { world, body: Ball::new(BODY_RADIUS_M) }
    }

    /// Where a way leads, m; it slides along the wall.
    ///
    /// Real-time safe: does not allocate, lock or block.
    fn walked(&self, from: [f32; 2], way: [f32; 2]) -> [f32; 2] {
        let mut at = Vector::new(from[0], from[1], 0.0);
        let mut left = Vector::new(way[0], way[1], 0.0);
        for _ in 0..SLIDES {
            let length = left.length();
            if length < 1e-5 {
                break;
            }
            let options = ShapeCastOptions {
                max_time_of_impact: length,
                target_distance: SKIN_M,
                stop_at_penetration: false,
                compute_impact_geometry_on_penetration: true,
            };
            let direction = left / length;
            let pose = Pose::from_translation(at);
            let met = self.world.cast_shape(&pose, direction, &self.body, options, QueryFilter::default());
            let Some((_, hit)) = met else {
                at += left;
                break;
            };
            let gone = direction * hit.time_of_impact;
            at += gone;
            left -= gone;
            let into = left.dot(hit.normal1).min(0.0);
            left += hit.normal1 * (NUDGE_M - into);
            left.z = 0.0;
        }
        [at.x, at.y]
    }

    /// Where an action, one below [`CHOICES`], leads.
    ///
    /// Real-time safe: does not allocate, lock or block.
    pub(super) fn after(&self, stand: Stand, action: usize) -> Stand {
        let (direction, turn) = ACTIONS[action];
        let at = match direction {
            Some(direction) => self.walked(stand.at, step_along(stand.heading + direction)),
            None => stand.at,
        };
        Stand { at, heading: (stand.heading + turn) % 8 }
    }

    /// Draws what is seen, `[rows, columns, 3]`, whole numbers from 0 to 255.
    ///
    /// Real-time safe: does not allocate, lock or block.
    pub(super) fn look(stand: Stand, size: [usize; 2], pixels: &mut [f32]) {
        ROOM.draw(stand.at, DIRECTIONS[stand.heading], size, pixels);
    }
}

#[cfg(test)]
mod tests {
    use rapier3d::geometry::Ray;
    use surefoot_core::Stream;

    use super::*;

    fn far(a: [f32; 2], b: [f32; 2]) -> f32 {
        (a[0] - b[0]).hypot(a[1] - b[1])
    }

    #[test]
    fn a_step_goes_where_it_says_and_slides_along_the_wall() {
        let pool = RoundPool::new();
        let east = Stand::START;
        let reach = |action| pool.after(east, action);
        for (action, expected) in [(0, [0.2, 0.0]), (1, [-0.2, 0.0]), (2, [0.0, 0.2]), (3, [0.0, -0.2])] {
            assert!(far(reach(action).at, expected) < 1e-6 && reach(action).heading == 0, "{action}");
        }
        assert_eq!([4, 5, 6, 7].map(|a| reach(a).heading), [1, 7, 1, 7]);
        assert_eq!([4, 5].map(|a| reach(a).at), [[0.0; 2]; 2]);
        assert!([6, 7].iter().all(|a| far(reach(*a).at, [0.2, 0.0]) < 1e-6), "it walks, and then turns");
        for (quarter, action) in WALK.iter().enumerate() {
            assert!(far(reach(*action).at, step_along(2 * quarter)) < 1e-6);
        }
        // Straight against the wall it stops; at a slant it goes on along it.
        let stop = RADIUS_M - BODY_RADIUS_M;
        let at_wall = (0..12).fold(east, |stand, _| pool.after(stand, 0));
        assert!((at_wall.at[0] - stop).abs() < 3e-3 && at_wall.at[1].abs() < 1e-3, "{at_wall:?}");
        let mut slanted = Stand { heading: 1, ..at_wall };
        for step in 1..4 {
            let before = slanted.at;
            slanted = pool.after(slanted, 0);
            let way = far(slanted.at, before);
            assert!(slanted.at[1] > 0.1 * step as f32 && (0.1..0.2).contains(&way), "{step}: {slanted:?}");
        }
        let back = pool.after(at_wall, 1);
        assert!((at_wall.at[0] - back.at[0] - STEP_M).abs() < 1e-5, "{back:?}");
        // All the way around, a step at a slant after the other, it neither sticks nor leaves.
        let mut around = at_wall;
        for step in 0..120 {
            let before = around.at;
            let [x, y] = around.at;
            let along = |d: usize| -y * DIRECTIONS[d][0] + x * DIRECTIONS[d][1];
            let heading = (0..8).max_by(|a, b| along(*a).total_cmp(&along(*b))).unwrap();
            around = pool.after(Stand { heading, ..around }, 0);
            assert!(far(around.at, before) > 0.1, "{step}: {around:?}");
            assert!(far(around.at, [0.0; 2]) < stop + 3e-3, "{step}: {around:?}");
        }
    }

    #[test]
    fn what_is_seen_is_as_far_as_what_is_met() {
        let pool = RoundPool::new();
        let mut s = Stream::new(0, "views", 0);
        for _ in 0..500 {
            let at = [0, 1].map(|_| s.uniform(-1.2, 1.2) as f32);
            let (heading, x) = (s.below(8), s.uniform(-1.0, 1.0) as f32);
            let [c, n] = DIRECTIONS[heading];
            let direction = [c + x * n, n - x * c];
            let ray = Ray::new(Vector::new(at[0], at[1], 0.0), Vector::new(direction[0], direction[1], 0.0));
            let (_, met) = pool.world.cast_ray(&ray, f32::MAX, true, QueryFilter::default()).unwrap();
            let seen = ROOM.depth(at, direction);
            // A plank is a chord: 2.4 mm at most between it and the circle.
            assert!((met - seen).abs() < 0.01, "{met} for {seen}");
        }
    }
}
