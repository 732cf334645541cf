//! Pictures to an animated GIF.

use std::borrow::Cow;

use color_quant::NeuQuant;
use gif::{DisposalMethod, Encoder, Repeat};
use surefoot_core::Frame;

use crate::EngineError;

/// Colours in the palette; one more index stands for "as in the picture before".
const COLOURS: usize = 255;
/// Pixels that the palette is learned from.
const PALETTE_PIXELS: usize = 200_000;
/// How long the last picture stands, hundredths of a second.
const LAST_DELAY: u16 = 120;

/// An endlessly repeated GIF of pictures of one size, `frame_secs` apart. One palette serves all pictures and only what
/// changed is stored, so that still parts neither flicker nor cost anything.
///
/// # Errors
/// When there is no picture, or they differ in size.
pub fn animation(frames: &[Frame], frame_secs: f64) -> Result<Vec<u8>, EngineError> {
    let refuse = |expected: &str, found: String| EngineError::Config {
        key: "film".into(),
        expected: expected.into(),
        found,
    };
    let Some(first) = frames.first() else { return Err(refuse("at least one picture", "none".into())) };
    let (width, height) = (first.width, first.height);
    if let Some(odd) = frames.iter().find(|f| f.rgb.len() != width * height * 3 || f.width != width) {
        return Err(refuse(
            &format!("pictures of {width}x{height}"),
            format!("{}x{}", odd.width, odd.height),
        ));
    }
    let (Ok(w), Ok(h)) = (u16::try_from(width), u16::try_from(height)) else {
        return Err(refuse("pictures of at most 65535 pixels a side", format!("{width}x{height}")));
    };
    let encoding =
        |e: gif::EncodingError| EngineError::io("encode", "animation.gif".as_ref())(std::io::Error::other(e));
    let palette = palette(frames);
    let mut table = palette.color_map_rgb();
    table.resize(3 * (COLOURS + 1), 0);
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, w, h, &table).map_err(encoding)?;
    encoder.set_repeat(Repeat::Infinite).map_err(encoding)?;
    let mut indices = Indices { palette, known: std::collections::BTreeMap::new() };
    let delay = (frame_secs * 100.0).round().clamp(2.0, 1000.0) as u16;
    let mut shown: Vec<u8> = Vec::new();
    let mut pending: Option<gif::Frame<'static>> = None;
    for frame in frames {
        let next: Vec<u8> = frame.rgb.chunks_exact(3).map(|p| indices.of([p[0], p[1], p[2]])).collect();
        if let Some(changed) = changes(&shown, &next, (w, h), delay) {
            if let Some(done) = pending.replace(changed) {
                encoder.write_frame(&done).map_err(encoding)?;
            }
        } else if let Some(last) = &mut pending {
            // Nothing moved: the picture before stands longer.
            last.delay = last.delay.saturating_add(delay);
        }
        shown = next;
    }
    if let Some(mut last) = pending {
        last.delay = last.delay.max(LAST_DELAY);
        encoder.write_frame(&last).map_err(encoding)?;
    }
    drop(encoder);
    Ok(bytes)
}

struct Indices {
    palette: NeuQuant,
    known: std::collections::BTreeMap<[u8; 3], u8>,
}

impl Indices {
    fn of(&mut self, [r, g, b]: [u8; 3]) -> u8 {
        let palette = &self.palette;
        *self.known.entry([r, g, b]).or_insert_with(|| palette.index_of(&[r, g, b, 255]) as u8)
    }
}

fn palette(frames: &[Frame]) -> NeuQuant {
    let total: usize = frames.iter().map(|f| f.rgb.len() / 3).sum();
    // An odd stride does not fall into step with the columns.
    let stride = (total / PALETTE_PIXELS).max(1) | 1;
    let rgba: Vec<u8> = frames
        .iter()
        .flat_map(|f| f.rgb.chunks_exact(3))
        .step_by(stride)
        .flat_map(|p| [p[0], p[1], p[2], 255])
        .collect();
    NeuQuant::new(3, COLOURS, &rgba)
}

/// The smallest rectangle in which `next` differs from `shown`, unchanged pixels in it transparent; `None` where nothing does.
fn changes(shown: &[u8], next: &[u8], (w, h): (u16, u16), delay: u16) -> Option<gif::Frame<'static>> {
    let width = usize::from(w);
    let whole = shown.len() != next.len();
    let differs = |i: usize| whole || shown[i] != next[i];
    let (mut left, mut right, mut top, mut bottom) = (width, 0, usize::from(h), 0);
    for i in (0..next.len()).filter(|i| differs(*i)) {
        let (x, y) = (i % width, i / width);
        left = left.min(x);
        right = right.max(x);
        top = top.min(y);
        bottom = bottom.max(y);
    }
    if left > right || top > bottom {
        return None;
    }
    let buffer: Vec<u8> = (top..=bottom)
        .flat_map(|y| (left..=right).map(move |x| y * width + x))
        .map(|i| if differs(i) { next[i] } else { COLOURS as u8 })
        .collect();
    Some(gif::Frame {
        delay,
        dispose: DisposalMethod::Keep,
        transparent: Some(COLOURS as u8),
        top: top as u16,
        left: left as u16,
        width: (right - left + 1) as u16,
        height: (bottom - top + 1) as u16,
        buffer: Cow::Owned(buffer),
        ..gif::Frame::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: usize) -> Frame {
        let (width, height) = (40, 30);
        let mut rgb = vec![240; width * height * 3];
        for y in 10..20 {
            for x in x..x + 8 {
                rgb[(y * width + x) * 3..][..3].copy_from_slice(&[200, 30, 30]);
            }
        }
        Frame { width, height, rgb }
    }

    #[test]
    fn an_animation_shows_the_pictures_it_was_made_of() {
        let frames = [square(2), square(2), square(5), square(9)];
        let bytes = animation(&frames, 0.1).unwrap();
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = options.read_info(&bytes[..]).unwrap();
        let mut canvas = vec![0_u8; 40 * 30 * 3];
        let mut delays = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            delays.push(frame.delay);
            for (i, pixel) in frame.buffer.chunks_exact(4).enumerate().filter(|(_, p)| p[3] > 0) {
                let (x, y) = (i % usize::from(frame.width), i / usize::from(frame.width));
                let at = (y + usize::from(frame.top)) * 40 + x + usize::from(frame.left);
                canvas[at * 3..at * 3 + 3].copy_from_slice(&pixel[..3]);
            }
        }
        assert_eq!(delays, [20, 10, 120], "a still picture stands longer, the last one stays");
        let far = canvas.iter().zip(&frames[3].rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(far < 8, "{far}");
        assert!(animation(&[], 0.1).is_err());
        let mut odd = square(2);
        odd.width = 41;
        assert!(animation(&[square(2), odd], 0.1).is_err());
    }
}
