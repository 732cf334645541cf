//! Pictures of a world on the CPU: rays against the shapes of its bodies, one light with shadows, smoothed edges.
//!
//! Deterministic: the same world gives the same bytes.

mod overlay;
pub(crate) mod round_room;
mod scene;
mod solid;
mod text;

use rapier3d::math::Vector;
use surefoot_core::{Frame, Marker, MarkerShape};

pub(crate) use overlay::{Overlay, Words};
pub use scene::View;
pub(crate) use solid::Solid;

use scene::Scene;
use solid::Hit;

/// Horizon and zenith of the backdrop, and the floor, linear light.
const HORIZON: Vector = Vector::new(0.80, 0.84, 0.88);
const ZENITH: Vector = Vector::new(0.42, 0.54, 0.68);
const FLOOR: Vector = Vector::new(0.52, 0.55, 0.58);
/// Light from the sky, from the ground, and from the lamp.
const SKY: Vector = Vector::new(0.42, 0.46, 0.52);
const GROUND: Vector = Vector::new(0.20, 0.18, 0.16);
const LAMP: Vector = Vector::new(0.80, 0.76, 0.68);
/// Distance by which a shadow ray starts off its surface, m.
const LIFT: f32 = 1e-3;
/// Difference of neighbouring pixels, of 255, above which a pixel is sampled four more times.
const EDGE: i32 = 10;

/// sRGB in 0 to 1, to linear light.
pub(crate) fn linear(srgb: [f32; 3]) -> Vector {
    Vector::from_array(srgb.map(|c| c.max(0.0).powf(2.2)))
}

fn to_srgb(light: Vector) -> [u8; 3] {
    // A soft shoulder instead of a hard clip.
    let tone = |c: f32| if c < 0.7 { c } else { 0.7 + 0.3 * (1.0 - (-(c - 0.7) / 0.3).exp()) };
    light.to_array().map(|c| (tone(c.max(0.0)).powf(1.0 / 2.2) * 255.0 + 0.5) as u8)
}

/// Colour of the surface that boxes lying on it are painted on.
fn painted(scene: &Scene, point: Vector, normal: Vector, mut color: Vector) -> Vector {
    if normal.z < 0.99 {
        return color;
    }
    for Marker { center, shape, rgb } in &scene.markers {
        let MarkerShape::Box(half) = shape else { continue };
        let off = point - Vector::from_array(*center);
        let inside = (half[0] - off.x.abs()).min(half[1] - off.y.abs());
        if inside >= 0.0 && off.z.abs() <= half[2] + 2e-3 {
            let paint = linear(rgb.map(|c| f32::from(c) / 255.0));
            let share = if inside < 0.006 { 0.95 } else { 0.55 };
            color = color * (1.0 - share) + paint * share;
        }
    }
    color
}

fn backdrop(direction: Vector) -> Vector {
    let up = direction.z.clamp(0.0, 1.0).sqrt();
    HORIZON * (1.0 - up) + ZENITH * up
}

fn shade(
    scene: &Scene,
    direction: Vector,
    point: Vector,
    normal: Vector,
    color: Vector,
    gloss: f32,
) -> Vector {
    let toward = scene.toward_light();
    let facing = normal.dot(toward);
    let lit = facing > 0.0 && !scene.in_shadow(point + normal * LIFT);
    let upward = 0.5 + 0.5 * normal.z;
    let mut light = SKY * upward + GROUND * (1.0 - upward);
    let mut shine = Vector::ZERO;
    if lit {
        light += LAMP * facing;
        let halfway = (toward - direction).normalize();
        shine = LAMP * gloss * normal.dot(halfway).max(0.0).powi(48);
    }
    // Surfaces seen at a slant mirror the sky a little.
    let slant = (1.0 + normal.dot(direction)).clamp(0.0, 1.0).powi(4);
    color * light + shine + HORIZON * (0.10 * gloss * slant)
}

fn floor(scene: &Scene, direction: Vector) -> Vector {
    let far = backdrop(direction);
    if direction.z >= -1e-4 {
        return far;
    }
    let distance = (scene.floor_z - scene.eye.z) / direction.z;
    let point = scene.eye + direction * distance;
    let near = shade(scene, direction, point, Vector::Z, FLOOR, 0.0);
    // The floor fades into the horizon.
    let haze = 1.0 - (-distance * distance / 60.0).exp();
    near * (1.0 - haze) + far * haze
}

fn sample(scene: &Scene, x: f32, y: f32) -> [u8; 3] {
    let (direction, nearest) = scene.look(x, y);
    let light = match nearest {
        None => floor(scene, direction),
        Some((index, Hit { distance, normal })) => {
            let point = scene.eye + direction * distance;
            let color = painted(scene, point, normal, scene.solids[index].color);
            shade(scene, direction, point, normal, color, 0.35)
        }
    };
    to_srgb(light)
}

/// Draws solids and markers from a view.
pub(crate) fn draw(
    solids: Vec<Solid>,
    markers: &[Marker],
    view: &View,
    width: usize,
    height: usize,
) -> Frame {
    let scene = Scene::new(solids, markers, view, width as f32 / height.max(1) as f32);
    let at = |column: f32, row: f32| {
        let (x, y) = (column / width as f32 * 2.0 - 1.0, 1.0 - row / height as f32 * 2.0);
        sample(&scene, x, y)
    };
    let mut rough = Vec::with_capacity(width * height);
    for row in 0..height {
        for column in 0..width {
            rough.push(at(column as f32 + 0.5, row as f32 + 0.5));
        }
    }
    let differs = |a: [u8; 3], b: [u8; 3]| (0..3).any(|i| (i32::from(a[i]) - i32::from(b[i])).abs() > EDGE);
    let mut rgb = Vec::with_capacity(width * height * 3);
    for row in 0..height {
        for column in 0..width {
            let here = rough[row * width + column];
            let neighbours = [
                (row.saturating_sub(1), column),
                ((row + 1).min(height - 1), column),
                (row, column.saturating_sub(1)),
                (row, (column + 1).min(width - 1)),
            ];
            if neighbours.iter().any(|(r, c)| differs(here, rough[r * width + c])) {
                let corners = [(0.125, 0.375), (0.375, 0.875), (0.625, 0.125), (0.875, 0.625)];
                let samples = corners.map(|(x, y)| at(column as f32 + x, row as f32 + y));
                rgb.extend((0..3).map(|i| {
                    let sum: u32 = samples.iter().map(|s| u32::from(s[i])).sum();
                    ((sum + 2) / 4) as u8
                }));
            } else {
                rgb.extend(here);
            }
        }
    }
    Frame { width, height, rgb }
}
