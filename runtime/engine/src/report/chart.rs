//! Line charts and interval charts, drawn as inline SVG.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};

/// A curve over the horizontal axis, which runs from 0 to 1.
pub struct Curve {
    /// CSS class that colours it.
    pub class: &'static str,
    /// `(x, y)`, in order of x.
    pub points: Vec<(f64, f64)>,
    /// `(x, low, high)`: the interval around it.
    pub band: Vec<(f64, f64, f64)>,
    /// Whether its points are shown as dots.
    pub dots: bool,
    /// Whether it stands behind the others.
    pub faint: bool,
}

/// A chart with one vertical axis.
pub struct Chart {
    /// What is shown.
    pub title: String,
    /// `(width, height)` of the drawing.
    pub size: (f64, f64),
    /// Fixed range of the vertical axis; from the data where absent.
    pub range: Option<(f64, f64)>,
    /// Whether values are parts of one, to be written as percent.
    pub percent: bool,
    /// `(x, label)` on the horizontal axis.
    pub ticks: Vec<(f64, String)>,
    /// `(from, to, label)`: what the horizontal axis counts there.
    pub spans: Vec<(f64, f64, String)>,
    /// Curves, back to front.
    pub curves: Vec<Curve>,
}

const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;

impl Chart {
    /// The drawing; nothing when there is no point.
    pub fn draw(&self) -> Markup {
        let Self { title, size: (width, height), .. } = self;
        let Some(content) = self.content() else { return html! {} };
        html! {
            figure style="margin:0" {
                h3 { (title) }
                svg viewBox={ "0 0 " (width) " " (height) } role="img" aria-label=(title) { (content) }
            }
        }
    }

    /// The same as a file of its own, SVG, with colours by CSS class and the curves' names below.
    pub fn file(&self, colours: &[(&str, &str)], names: &[(&str, &str)]) -> String {
        const LINE: f64 = 22.0;
        let (width, height) = self.size;
        let column = (width - LEFT) / names.len().clamp(1, 4) as f64;
        let lines = names.len().div_ceil(4) as f64;
        let mut style = String::from(
            "text{fill:#5b6875;font:11px system-ui,sans-serif}.grid{stroke:#e8ecf0}.axis{stroke:#dde2e8}\
             .switch{stroke:#5b6875;stroke-dasharray:3 3}.curve{fill:none;stroke-width:2}.band{opacity:.16;stroke:none}",
        );
        for (class, colour) in colours {
            let _ = write!(
                style,
                ".{class} .curve{{stroke:{colour}}}.{class} .band,.{class} .key{{fill:{colour}}}.{class} .dot{{fill:{colour};stroke:#fff}}"
            );
        }
        let name = |i: usize| (LEFT + column * (i % 4) as f64, height + 8.0 + LINE * (i / 4) as f64);
        html! {
            svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (width) " " (height + LINE * lines) } role="img" aria-label=(self.title) {
                style { (PreEscaped(style)) }
                (self.content().unwrap_or_else(|| html! {}))
                @for (i, (class, text)) in names.iter().enumerate() {
                    @let (x, y) = name(i);
                    g class=(class) {
                        rect class="key" x=(fixed(x)) y=(fixed(y - 9.0)) width="11" height="11" rx="3" {}
                        text x=(fixed(x + 17.0)) y=(fixed(y)) { (text) }
                    }
                }
            }
        }
        .into_string()
    }

    /// What stands in the drawing; nothing when there is no point.
    fn content(&self) -> Option<Markup> {
        let Self { title: _, size: (width, height), range, percent, ticks, spans, curves } = self;
        let (low, high) = range.or_else(|| data_range(curves))?;
        let steps = nice_ticks(low, high, if *height > 220.0 { 5 } else { 3 });
        let x = |v: f64| LEFT + v * (width - LEFT - RIGHT);
        let y = |v: f64| height - BOTTOM - (v - low) / (high - low) * (height - TOP - BOTTOM);
        let line = |points: &[(f64, f64)]| {
            let mut path = String::new();
            for (i, (px, py)) in points.iter().enumerate() {
                let _ = write!(path, "{}{:.1} {:.1}", if i == 0 { 'M' } else { 'L' }, x(*px), y(*py));
            }
            path
        };
        let label = |v: f64| if *percent { format!("{:.0} %", 100.0 * v) } else { number(v) };
        Some(html! {
            @for v in &steps {
                line class="grid" x1=(LEFT) x2=(width - RIGHT) y1=(fixed(y(*v))) y2=(fixed(y(*v))) {}
                text x=(LEFT - 8.0) y=(fixed(y(*v) + 4.0)) text-anchor="end" { (label(*v)) }
            }
            line class="axis" x1=(LEFT) x2=(width - RIGHT) y1=(height - BOTTOM) y2=(height - BOTTOM) {}
            @for (v, text) in ticks {
                line class="axis" x1=(fixed(x(*v))) x2=(fixed(x(*v))) y1=(height - BOTTOM) y2=(height - BOTTOM + 4.0) {}
                text x=(fixed(x(*v))) y=(height - BOTTOM + 16.0) text-anchor="middle" { (text) }
            }
            @for (from, to, text) in spans {
                @if *from > 0.0 {
                    line class="switch" x1=(fixed(x(*from))) x2=(fixed(x(*from))) y1=(TOP) y2=(height - BOTTOM) {}
                }
                text x=(fixed(x((from + to) / 2.0))) y=(height - 8.0) text-anchor="middle" { (text) }
            }
            @for curve in curves {
                g class=(curve.class) {
                    @if !curve.band.is_empty() {
                        path class="band" d=(band_path(&curve.band, &x, &y)) {}
                    }
                    path class=(if curve.faint { "curve thin" } else { "curve" }) d=(line(&curve.points)) {}
                    @if curve.dots || curve.points.len() == 1 {
                        @for (px, py) in &curve.points {
                            circle class="dot" cx=(fixed(x(*px))) cy=(fixed(y(*py))) r="4" {}
                        }
                    }
                }
            }
        })
    }
}

fn band_path(band: &[(f64, f64, f64)], x: &impl Fn(f64) -> f64, y: &impl Fn(f64) -> f64) -> String {
    let upper = band.iter().map(|(px, _, high)| (*px, *high));
    let lower = band.iter().rev().map(|(px, low, _)| (*px, *low));
    let mut path = String::new();
    for (i, (px, py)) in upper.chain(lower).enumerate() {
        let _ = write!(path, "{}{:.1} {:.1}", if i == 0 { 'M' } else { 'L' }, x(px), y(py));
    }
    path + "Z"
}

/// A row of an interval chart.
pub struct Interval {
    /// CSS class that colours it.
    pub class: &'static str,
    /// Left of the row.
    pub label: String,
    /// Below the label.
    pub note: String,
    /// The estimate; 0 to 1, or beyond where a score can be.
    pub value: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Whether it is shown for comparison only.
    pub hollow: bool,
}

/// Proportions with their intervals, one row each.
pub fn intervals(rows: &[Interval]) -> Markup {
    const WIDTH: f64 = 980.0;
    const ROW: f64 = 46.0;
    const LABELS: f64 = 210.0;
    const VALUES: f64 = 170.0;
    // All of 0 to 1, and what lies beyond.
    let least = rows.iter().map(|r| r.low).fold(0.0, f64::min);
    let most = rows.iter().map(|r| r.high).fold(1.0, f64::max);
    let x = |v: f64| LABELS + (v - least) / (most - least) * (WIDTH - LABELS - VALUES);
    let ticks = if least == 0.0 && most == 1.0 {
        vec![0.0, 0.25, 0.5, 0.75, 1.0]
    } else {
        nice_ticks(least, most, 5)
    };
    let height = ROW * rows.len() as f64 + 30.0;
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (height) } role="img" aria-label="Estimates with 95 % intervals" {
            @for tick in ticks {
                line class="grid" x1=(fixed(x(tick))) x2=(fixed(x(tick))) y1="4" y2=(height - 26.0) {}
                text x=(fixed(x(tick))) y=(height - 9.0) text-anchor="middle" { (format!("{:.0} %", tick * 100.0)) }
            }
            @for (i, row) in rows.iter().enumerate() {
                @let y = 4.0 + ROW * (i as f64 + 0.5);
                g class=(row.class) {
                    text class="strong" x="0" y=(y - 2.0) { (row.label) }
                    text x="0" y=(y + 13.0) { (row.note) }
                    line class="whisker" x1=(fixed(x(row.low))) x2=(fixed(x(row.high))) y1=(y) y2=(y) {}
                    @for end in [row.low, row.high] {
                        line class="whisker" x1=(fixed(x(end))) x2=(fixed(x(end))) y1=(y - 5.0) y2=(y + 5.0) {}
                    }
                    circle class=(if row.hollow { "hollow" } else { "dot" }) cx=(fixed(x(row.value))) cy=(y) r="7" {}
                    text class="strong" x=(WIDTH - VALUES + 26.0) y=(y + 4.0) { (format!("{:.1} %", 100.0 * row.value)) }
                    text x=(WIDTH) y=(y + 4.0) text-anchor="end" {
                        (format!("{:.0} to {:.0} %", 100.0 * row.low, 100.0 * row.high))
                    }
                }
            }
        }
    }
}

fn fixed(v: f64) -> String {
    format!("{v:.1}")
}

/// A number as short as its size allows.
pub fn number(v: f64) -> String {
    let a = v.abs();
    let text = if a >= 1e6 {
        format!("{:.1}M", v / 1e6)
    } else if a >= 1e4 {
        format!("{:.0}k", v / 1e3)
    } else if a >= 100.0 || (v.fract() == 0.0 && a < 1e4) {
        format!("{v:.0}")
    } else if a >= 10.0 {
        format!("{v:.1}")
    } else if a >= 0.01 {
        let text = format!("{v:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{v:.1e}")
    };
    minus(text)
}

/// The same with minus signs in place of hyphens.
pub fn minus(text: String) -> String {
    if text.contains('-') { text.replace('-', "\u{2212}") } else { text }
}

/// Round values inside `low..=high`, about `count` of them.
pub fn nice_ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let raw = (high - low) / count.max(1) as f64;
    if !(raw.is_finite() && raw > 0.0) {
        return vec![low];
    }
    let power = 10_f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|f| f * power >= raw * 0.999).unwrap_or(10.0);
    let step = factor * power;
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

fn data_range(curves: &[Curve]) -> Option<(f64, f64)> {
    let of = |c: &Curve| -> Vec<f64> {
        let bounds = c.band.iter().flat_map(|(_, low, high)| [*low, *high]);
        c.points.iter().map(|(_, v)| *v).chain(bounds).collect()
    };
    let values = curves.iter().flat_map(of);
    let (low, high) = values
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return None;
    }
    let margin = if high > low { 0.06 * (high - low) } else { low.abs().max(1e-3) * 0.1 };
    Some((low - margin, high + margin))
}

/// At most `most` points: means of runs of neighbours.
pub fn thin_out(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let run = points.len().div_ceil(most.max(1)).max(1);
    let mean = |chunk: &[(f64, f64)]| {
        let n = chunk.len() as f64;
        (chunk.iter().map(|p| p.0).sum::<f64>() / n, chunk.iter().map(|p| p.1).sum::<f64>() / n)
    };
    points.chunks(run).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(nice_ticks(0.0, 1.0, 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(nice_ticks(-120.0, -30.0, 3), [-100.0, -50.0]);
        assert_eq!(nice_ticks(3.0, 3.0, 3), [3.0]);
        for (low, high) in [(1e-9, 3e-9), (-7.0, 1e6), (0.1, 0.10001)] {
            let ticks = nice_ticks(low, high, 4);
            assert!((2..9).contains(&ticks.len()), "{low} {high} {ticks:?}");
        }
    }

    #[test]
    fn the_axis_has_room_for_intervals() {
        let curve = |band| Curve {
            class: "online",
            points: vec![(0.0, 0.4), (1.0, 0.9)],
            band,
            dots: false,
            faint: false,
        };
        let (low, high) = data_range(&[curve(vec![(0.0, 0.2, 0.7), (1.0, 0.8, 1.0)])]).unwrap();
        assert!(low < 0.2 && high > 1.0);
        assert_eq!(data_range(&[curve(Vec::new())]), Some((0.37, 0.93)));
    }

    #[test]
    fn a_score_beyond_the_scale_is_shown_as_it_is() {
        let row = |value, low, high| Interval {
            class: "c0",
            label: "a".to_owned(),
            note: String::new(),
            value,
            low,
            high,
            hollow: false,
        };
        let drawn = intervals(&[row(1.078, 1.07, 1.09), row(-0.1, -0.2, 0.05)]).into_string();
        assert!(drawn.contains("107.8 %") && drawn.contains("-20 to 5 %"), "{drawn}");
        // Both stand between the labels and the numbers.
        assert!(drawn.contains("cx=\"804.4\"") && drawn.contains("cx=\"256.5\""), "{drawn}");
    }

    #[test]
    fn numbers_are_short() {
        let all: Vec<String> =
            [0.0, 0.5, -0.125, 12.34, 250.0, 9_999.0, 20_000.0, 2.5e6, 0.0001].map(number).into();
        assert_eq!(all, ["0", "0.5", "−0.125", "12.3", "250", "9999", "20k", "2.5M", "1.0e−4"]);
    }
}
