//! What a picture is drawn from: solids, markers, a view, and grids that say which solids can be where.

use rapier3d::math::Vector;
use surefoot_core::{Marker, MarkerShape};

use super::solid::{Hit, Solid};

/// Where a picture is taken from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Position of the eye, m.
    pub eye: [f32; 3],
    /// What is in the middle, m.
    pub target: [f32; 3],
    /// Angle between the upper and the lower edge, rad.
    pub field_of_view_rad: f32,
    /// Height of the floor, m.
    pub floor_z: f32,
}

impl Default for View {
    fn default() -> Self {
        Self { eye: [1.6, -1.6, 1.2], target: [0.0; 3], field_of_view_rad: 0.7, floor_z: -0.7 }
    }
}

impl View {
    /// Unit vectors of the picture: right, up, forward.
    fn axes(&self) -> [Vector; 3] {
        let forward = (Vector::from_array(self.target) - Vector::from_array(self.eye)).normalize();
        let right = forward.cross(Vector::Z).normalize();
        [right, right.cross(forward), forward]
    }

    /// Half the height of the picture at distance 1.
    fn half_height(&self) -> f32 {
        (self.field_of_view_rad / 2.0).tan()
    }

    /// Where a point is seen in a picture, in pixels from its upper left corner; `None` behind the eye.
    pub(super) fn project(&self, point: Vector, width: usize, height: usize) -> Option<(f32, f32)> {
        let [x, y, depth] = self.axes().map(|axis| axis.dot(point - Vector::from_array(self.eye)));
        let half = self.half_height() * depth;
        let aspect = width as f32 / height.max(1) as f32;
        let place =
            (0.5 * (1.0 + x / (half * aspect)) * width as f32, 0.5 * (1.0 - y / half) * height as f32);
        (depth > 0.0 && place.0.is_finite() && place.1.is_finite()).then_some(place)
    }
}

/// Cells of a plane, each with the solids whose ball may cover it.
struct Grid {
    low: [f32; 2],
    per_cell: [f32; 2],
    cells: Vec<Vec<u16>>,
}

const CELLS: usize = 40;

impl Grid {
    /// `balls` are centre and radius in the plane; those without one are in every cell.
    fn new(low: [f32; 2], high: [f32; 2], balls: &[Option<([f32; 2], f32)>]) -> Self {
        let per_cell = [0, 1].map(|i| (high[i] - low[i]).max(1e-6) / CELLS as f32);
        let mut cells = vec![Vec::new(); CELLS * CELLS];
        for (index, ball) in balls.iter().enumerate() {
            let span = |axis: usize| match ball {
                Some((center, radius)) => {
                    let cell = |x: f32| ((x - low[axis]) / per_cell[axis]).floor().clamp(-1.0, CELLS as f32);
                    let (from, to) = (cell(center[axis] - radius), cell(center[axis] + radius));
                    (from.max(0.0) as usize)..((to + 1.0).clamp(0.0, CELLS as f32) as usize)
                }
                None => 0..CELLS,
            };
            for row in span(1) {
                for column in span(0) {
                    cells[row * CELLS + column].push(index as u16);
                }
            }
        }
        Self { low, per_cell, cells }
    }

    fn at(&self, x: f32, y: f32) -> &[u16] {
        let (column, row) = ((x - self.low[0]) / self.per_cell[0], (y - self.low[1]) / self.per_cell[1]);
        let range = 0.0..CELLS as f32;
        if range.contains(&column) && range.contains(&row) {
            &self.cells[row as usize * CELLS + column as usize]
        } else {
            &[]
        }
    }
}

/// A scene, ready to be looked at.
pub struct Scene {
    pub solids: Vec<Solid>,
    pub markers: Vec<Marker>,
    pub floor_z: f32,
    pub eye: Vector,
    /// Unit vectors of the picture: right, up, forward.
    axes: [Vector; 3],
    /// Half the height of the picture at distance 1.
    half_height: f32,
    aspect: f32,
    by_sight: Grid,
    /// Unit vectors across the light, and towards it.
    light: [Vector; 3],
    by_light: Grid,
}

impl Scene {
    /// Gathers everything for pictures of `aspect` (width over height).
    pub fn new(mut solids: Vec<Solid>, markers: &[Marker], view: &View, aspect: f32) -> Self {
        let eye = Vector::from_array(view.eye);
        let (axes, half_height) = (view.axes(), view.half_height());
        for marker in markers {
            if let MarkerShape::Ball(radius) = marker.shape {
                let color = super::linear(marker.rgb.map(|c| f32::from(c) / 255.0));
                solids.push(Solid::ball(Vector::from_array(marker.center), radius, color));
            }
        }
        let in_sight = |s: &Solid| {
            let [x, y, depth] = axes.map(|axis| axis.dot(s.center - eye));
            // A ball near the eye may cover anything; elsewhere its outline grows toward the corners.
            (depth > 1.5 * s.radius).then(|| {
                let slant = 1.0 + (x / depth).hypot(y / depth);
                ([x / depth, y / depth], s.radius / (depth - s.radius) * slant)
            })
        };
        let edge = [half_height * aspect, half_height];
        let balls: Vec<_> = solids.iter().map(in_sight).collect();
        let by_sight = Grid::new(edge.map(|e| -e * 1.001), edge.map(|e| e * 1.001), &balls);

        let toward = Vector::new(0.45, -0.50, 1.0).normalize();
        let across = toward.cross(Vector::X).normalize();
        let light = [across, toward.cross(across), toward];
        let lit: Vec<_> =
            solids.iter().map(|s| ([light[0].dot(s.center), light[1].dot(s.center)], s.radius)).collect();
        let bound = |axis: usize, sign: f32| {
            lit.iter().map(|(c, r)| sign * c[axis] + r).fold(f32::MIN, f32::max) * sign
        };
        let (low, high) = ([bound(0, -1.0), bound(1, -1.0)], [bound(0, 1.0), bound(1, 1.0)]);
        let balls: Vec<_> = lit.into_iter().map(Some).collect();
        let by_light = Grid::new(low, high, &balls);
        Self {
            solids,
            markers: markers.to_vec(),
            floor_z: view.floor_z,
            eye,
            axes,
            half_height,
            aspect,
            by_sight,
            light,
            by_light,
        }
    }

    /// Direction toward the light, unit length.
    pub const fn toward_light(&self) -> Vector {
        self.light[2]
    }

    /// What is seen at `(x, y)` of the picture, each from -1 to 1, y upward: the ray, and the solid it meets first.
    pub fn look(&self, x: f32, y: f32) -> (Vector, Option<(usize, Hit)>) {
        let (sx, sy) = (x * self.half_height * self.aspect, y * self.half_height);
        let direction = (self.axes[2] + self.axes[0] * sx + self.axes[1] * sy).normalize();
        let mut nearest: Option<(usize, Hit)> = None;
        for &index in self.by_sight.at(sx, sy) {
            if let Some(hit) = self.solids[usize::from(index)].meet(self.eye, direction)
                && nearest.is_none_or(|(_, n)| hit.distance < n.distance)
            {
                nearest = Some((usize::from(index), hit));
            }
        }
        (direction, nearest)
    }

    /// Whether something stands between a point and the light.
    pub fn in_shadow(&self, point: Vector) -> bool {
        let cell = self.by_light.at(self.light[0].dot(point), self.light[1].dot(point));
        cell.iter().any(|index| self.solids[usize::from(*index)].meet(point, self.light[2]).is_some())
    }
}
