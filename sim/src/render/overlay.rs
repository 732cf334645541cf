//! What is painted over a picture, seen through everything: points, lines and words.

use rapier3d::math::Vector;
use surefoot_core::Frame;

use super::scene::View;
use super::text;

/// Room around words, in pixels of a letter.
const MARGIN: usize = 2;
/// What is left of a picture behind words.
const BEHIND_WORDS: f32 = 0.35;

/// A line of words, and its colour, sRGB.
pub struct Words {
    /// What is said.
    pub text: String,
    /// Colour.
    pub rgb: [u8; 3],
}

/// Paints over one picture.
pub struct Overlay<'a> {
    frame: &'a mut Frame,
    view: &'a View,
    /// Pixels of a letter's dot.
    dot: usize,
    /// The row in which the next line of words begins.
    row: usize,
}

impl<'a> Overlay<'a> {
    /// Over a picture that was taken from `view`.
    pub fn new(frame: &'a mut Frame, view: &'a View) -> Self {
        let dot = (frame.width / 200).max(1);
        Self { frame, view, dot, row: 0 }
    }

    /// A point of the world, as a disc, with a line through it from `from` to `to`, m.
    pub fn point(&mut self, at: Vector, [from, to]: [Vector; 2], rgb: [u8; 3]) {
        let (width, height) = (self.frame.width, self.frame.height);
        let place = |point| self.view.project(point, width, height);
        if let Some((a, b)) = place(from).zip(place(to)) {
            let dots = (b.0 - a.0).hypot(b.1 - a.1).ceil().clamp(1.0, 4.0 * width as f32) as usize;
            for k in 0..=dots {
                let share = k as f32 / dots as f32;
                self.disc(
                    (a.0 + share * (b.0 - a.0), a.1 + share * (b.1 - a.1)),
                    0.75 * self.dot as f32,
                    rgb,
                );
            }
        }
        if let Some(center) = place(at) {
            let radius = 2.0 * self.dot as f32;
            self.disc(center, radius + self.dot as f32, [255; 3]);
            self.disc(center, radius, rgb);
        }
    }

    /// A line of words, below those that were written before; what does not fit is cut.
    pub fn words(&mut self, Words { text, rgb }: &Words) {
        let dot = self.dot;
        let (wide, high) = ((text::WIDTH + 1) * text.chars().count() + 2 * MARGIN, text::HEIGHT + 2 * MARGIN);
        for row in 0..high * dot {
            for column in 0..wide * dot {
                self.pixel(column, self.row + row, |was| (f32::from(was) * BEHIND_WORDS) as u8);
            }
        }
        for (place, letter) in text.chars().enumerate() {
            for (x, y) in text::dots(letter) {
                let (column, row) = (MARGIN + place * (text::WIDTH + 1) + x, MARGIN + y);
                for (across, down) in (0..dot * dot).map(|k| (k % dot, k / dot)) {
                    self.paint(column * dot + across, self.row + row * dot + down, *rgb);
                }
            }
        }
        self.row += high * dot;
    }

    fn disc(&mut self, (x, y): (f32, f32), radius: f32, rgb: [u8; 3]) {
        let span = |center: f32, size: usize| {
            let clamp = |edge: f32| edge.clamp(0.0, size as f32) as usize;
            clamp((center - radius).floor())..clamp((center + radius).ceil() + 1.0)
        };
        for row in span(y, self.frame.height) {
            for column in span(x, self.frame.width) {
                let (dx, dy) = (column as f32 + 0.5 - x, row as f32 + 0.5 - y);
                if dx.hypot(dy) <= radius.max(0.5) {
                    self.paint(column, row, rgb);
                }
            }
        }
    }

    fn paint(&mut self, column: usize, row: usize, rgb: [u8; 3]) {
        let mut channels = rgb.into_iter();
        self.pixel(column, row, |was| channels.next().unwrap_or(was));
    }

    fn pixel(&mut self, column: usize, row: usize, mut change: impl FnMut(u8) -> u8) {
        if column < self.frame.width && row < self.frame.height {
            let first = 3 * (row * self.frame.width + column);
            if let Some(pixel) = self.frame.rgb.get_mut(first..first + 3) {
                pixel.iter_mut().for_each(|c| *c = change(*c));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank() -> Frame {
        Frame { width: 64, height: 48, rgb: vec![100; 64 * 48 * 3] }
    }

    fn pixel(frame: &Frame, column: usize, row: usize) -> [u8; 3] {
        let first = 3 * (row * frame.width + column);
        [frame.rgb[first], frame.rgb[first + 1], frame.rgb[first + 2]]
    }

    #[test]
    fn a_point_is_where_it_is_seen_and_one_behind_the_eye_is_nowhere() {
        let view = View { eye: [2.0, 0.0, 0.0], target: [0.0; 3], field_of_view_rad: 0.8, floor_z: -1.0 };
        let red = [250, 0, 0];
        let mut frame = blank();
        Overlay::new(&mut frame, &view).point(Vector::ZERO, [Vector::ZERO; 2], red);
        assert_eq!(pixel(&frame, 32, 24), red, "what is looked at is in the middle");
        assert_eq!(pixel(&frame, 4, 4), [100; 3]);
        // From +x, +y is to the right and +z up. At two metres half the height is 2 tan(0.4) m.
        let mut frame = blank();
        let up = Vector::new(0.0, 0.0, 0.5 * 2.0 * 0.4_f32.tan());
        Overlay::new(&mut frame, &view).point(up, [Vector::ZERO, up], red);
        assert_eq!(
            (pixel(&frame, 32, 12), pixel(&frame, 32, 20)),
            (red, red),
            "the point, and the line to it"
        );
        assert_eq!((pixel(&frame, 32, 36), pixel(&frame, 48, 12)), ([100; 3], [100; 3]));
        let mut frame = blank();
        let behind = Vector::new(3.0, 0.0, 0.0);
        Overlay::new(&mut frame, &view).point(behind, [behind; 2], red);
        assert_eq!(frame, blank());
    }

    #[test]
    fn words_are_written_line_by_line_and_cut_at_the_edge() {
        let view = View::default();
        let mut frame = blank();
        let mut overlay = Overlay::new(&mut frame, &view);
        let white = [255; 3];
        overlay.words(&Words { text: "I".into(), rgb: white });
        overlay.words(&Words { text: "a name that is much too long for it".into(), rgb: [0, 0, 255] });
        // The stem of the I is its third column.
        assert_eq!((pixel(&frame, 4, 5), pixel(&frame, 2, 5)), (white, [35; 3]));
        // The A of the second line: its left leg.
        assert_eq!(pixel(&frame, 2, 11 + 8), [0, 0, 255]);
        assert_eq!(pixel(&frame, 60, 11 + 1), [35; 3]);
        assert_eq!(pixel(&frame, 2, 23), [100; 3]);
    }
}
