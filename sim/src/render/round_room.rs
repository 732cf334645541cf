//! What somebody sees who stands in a round room: floor, a wall with a coloured panel in each of eight directions, and the sky.
//!
//! A ray for each quarter of a column meets the round wall at a depth along the line of sight, which says at which heights of the picture
//! sky, wall, panel, wall and floor begin; a pixel is their mean by area. Sums, products, quotients and square roots are all that is
//! computed, so that the same place gives the same bytes on every machine. The picture is 90 degrees wide, and its pixels are square.

/// Rays of a column.
const RAYS: usize = 4;
/// sRGB, from 0 to 255; they are mixed as they are.
type Rgb = [f32; 3];
const SKY: Rgb = [150.0, 190.0, 235.0];
const WALL: Rgb = [205.0, 200.0, 190.0];
const FLOOR: Rgb = [45.0, 95.0, 115.0];

const HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// The eight directions, counter-clockwise from x, as unit vectors.
pub(crate) const DIRECTIONS: [[f32; 2]; 8] = [
    [1.0, 0.0],
    [HALF, HALF],
    [0.0, 1.0],
    [-HALF, HALF],
    [-1.0, 0.0],
    [-HALF, -HALF],
    [0.0, -1.0],
    [HALF, -HALF],
];
/// The panel in each of them: red, orange, yellow, green, cyan, blue, violet, black.
const PANELS: [Rgb; 8] = [
    [205.0, 40.0, 40.0],
    [235.0, 140.0, 25.0],
    [240.0, 225.0, 50.0],
    [45.0, 160.0, 60.0],
    [60.0, 205.0, 210.0],
    [40.0, 60.0, 205.0],
    [145.0, 50.0, 175.0],
    [20.0, 20.0, 20.0],
];
/// Tangent of half the angle that a panel takes, seen from the middle: 33 of each 45 degrees.
const PANEL_HALF_TANGENT: f32 = 0.3;

/// A round room around the origin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RoundRoom {
    /// Distance of the wall from the middle, m.
    pub radius_m: f32,
    /// Height of the wall, m.
    pub wall_m: f32,
    /// Lower and upper edge of the panels over the floor, m.
    pub panel_m: [f32; 2],
    /// Height of the eye over the floor, m.
    pub eye_m: f32,
}

impl RoundRoom {
    /// Depth at which a ray from `at` along `direction` meets the wall, in lengths of `direction`; `at` is inside.
    pub(crate) fn depth(&self, at: [f32; 2], direction: [f32; 2]) -> f32 {
        let dot = |a: [f32; 2], b: [f32; 2]| a[0] * b[0] + a[1] * b[1];
        let (square, along) = (dot(direction, direction), dot(at, direction));
        let inside = self.radius_m * self.radius_m - dot(at, at);
        ((along * along + square * inside).max(0.0).sqrt() - along) / square
    }

    /// Colour of the wall at panel height, by the direction of a place on it.
    fn at_panel_height(on_wall: [f32; 2]) -> Rgb {
        let along = |d: [f32; 2]| d[0] * on_wall[0] + d[1] * on_wall[1];
        let (mut nearest, mut most) = (0, f32::NEG_INFINITY);
        for (i, direction) in DIRECTIONS.iter().enumerate() {
            let this = along(*direction);
            if this > most {
                (nearest, most) = (i, this);
            }
        }
        let [x, y] = DIRECTIONS[nearest];
        let across = along([-y, x]).abs();
        if across <= PANEL_HALF_TANGENT * most { PANELS[nearest] } else { WALL }
    }

    /// Draws what is seen from `at`, m, along the unit vector `facing`, into `pixels`, `[rows, columns, 3]`: whole numbers from 0 to 255.
    ///
    /// Real-time safe: does not allocate, lock or block.
    pub(crate) fn draw(
        &self,
        at: [f32; 2],
        facing: [f32; 2],
        [rows, columns]: [usize; 2],
        pixels: &mut [f32],
    ) {
        debug_assert_eq!(pixels.len(), rows * columns * 3);
        pixels.fill(0.0);
        // At depth 1 the picture reaches from -1 to 1.
        let side = 2.0 / columns as f32;
        let top = rows as f32 * side / 2.0;
        for ray in 0..columns * RAYS {
            let x = (ray as f32 + 0.5) * side / RAYS as f32 - 1.0;
            let direction = [facing[0] + x * facing[1], facing[1] - x * facing[0]];
            let depth = self.depth(at, direction);
            let panel = Self::at_panel_height([at[0] + depth * direction[0], at[1] + depth * direction[1]]);
            let edge = |height: f32| (height - self.eye_m) / depth;
            let bands = [
                (edge(self.wall_m), SKY),
                (edge(self.panel_m[1]), WALL),
                (edge(self.panel_m[0]), panel),
                (edge(0.0), WALL),
                (f32::NEG_INFINITY, FLOOR),
            ];
            let mut band = 0;
            for row in 0..rows {
                let first = (row * columns + ray / RAYS) * 3;
                let pixel = &mut pixels[first..first + 3];
                let mut from = top - row as f32 * side;
                let lower = top - (row + 1) as f32 * side;
                loop {
                    let (end, color) = bands[band];
                    let to = end.max(lower).min(from);
                    let share = (from - to) / (side * RAYS as f32);
                    pixel.iter_mut().zip(color).for_each(|(sum, c)| *sum += share * c);
                    if end <= lower {
                        break;
                    }
                    from = to;
                    band += 1;
                }
            }
        }
        pixels.iter_mut().for_each(|p| *p = (*p + 0.5).clamp(0.0, 255.0).floor());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: RoundRoom = RoundRoom { radius_m: 2.0, wall_m: 1.2, panel_m: [0.5, 1.0], eye_m: 0.4 };

    fn picture(at: [f32; 2], facing: usize, size: [usize; 2]) -> Vec<f32> {
        let mut pixels = vec![f32::NAN; size[0] * size[1] * 3];
        ROOM.draw(at, DIRECTIONS[facing], size, &mut pixels);
        pixels
    }

    /// The pixel whose middle is nearest to `(x, up)` at depth 1.
    fn pixel(pixels: &[f32], [rows, columns]: [usize; 2], x: f32, up: f32) -> Rgb {
        let side = 2.0 / columns as f32;
        let (column, row) = ((x + 1.0) / side, (rows as f32 * side / 2.0 - up) / side);
        let first = (row as usize * columns + column as usize) * 3;
        [0, 1, 2].map(|i| pixels[first + i])
    }

    #[test]
    fn floor_wall_panel_and_sky_are_where_geometry_puts_them() {
        let size = [72, 96];
        for facing in 0..8 {
            let seen = picture([0.0, 0.0], facing, size);
            assert!(seen.iter().all(|p| (0.0..=255.0).contains(p) && p.fract() == 0.0));
            // The wall is 2 m away: its foot at -0.2, the panel from 0.05 to 0.3, its top at 0.4.
            let straight = [(-0.7, FLOOR), (-0.1, WALL), (0.2, PANELS[facing]), (0.35, WALL), (0.6, SKY)];
            for (up, color) in straight {
                assert_eq!(pixel(&seen, size, 0.01, up), color, "direction {facing}, {up} up");
            }
            // Between two panels is the wall alone: 22.5 degrees to the right.
            assert_eq!(pixel(&seen, size, 0.414, 0.2), WALL);
            // 45 degrees to the left, at the picture's edge, is the next panel; 1.41 m along the line of sight.
            assert_eq!(pixel(&seen, size, -0.99, 0.2), PANELS[(facing + 1) % 8]);
        }
    }

    #[test]
    fn the_wall_grows_as_it_comes_nearer_and_every_direction_looks_other() {
        let size = [9, 12];
        let sky = |at: [f32; 2]| {
            let seen = picture(at, 0, [72, 96]);
            (0..72).filter(|row| seen[(row * 96 + 48) * 3] == SKY[0]).count()
        };
        let rows = [-1.8, -0.5, 0.5, 1.2].map(|x| sky([x, 0.0]));
        assert!(rows.windows(2).all(|w| w[1] < w[0]), "{rows:?}");
        let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        for at in [[0.0, 0.0], [1.3, -0.9]] {
            let all: Vec<Vec<f32>> = (0..8).map(|facing| picture(at, facing, size)).collect();
            for i in 0..8 {
                for j in 0..i {
                    assert!(far(&all[i], &all[j]) > 60.0, "{at:?}: directions {i} and {j}");
                }
                let beside = picture([at[0] + 0.1, at[1] + 0.1], i, size);
                assert!(far(&all[i], &beside) > 5.0, "{at:?}: a place 14 cm beside, direction {i}");
            }
        }
    }
}
