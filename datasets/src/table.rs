//! Plain text tables.

use std::fmt::{Formatter, Result};

/// Writes rows under headings, columns padded to their widest cell: the first to the left, the others to the right.
pub(crate) fn write_table(f: &mut Formatter<'_>, head: &[&str], rows: &[Vec<String>]) -> Result {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    for row in std::iter::once(&head).chain(&rows) {
        let mut line = String::from("  ");
        for (i, (width, cell)) in widths.iter().zip(row).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            if i == 0 {
                line += &format!("{cell}{padding}");
            } else {
                line += &format!("  {padding}{cell}");
            }
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A text from a file for a line on a terminal: what would move the cursor, change colours, break the line or turn its direction is
/// spelled out.
pub(crate) fn plain(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(|c: char| c.is_control() || turns(c)) {
        return text.to_owned();
    }
    let spell = |c: char| -> String {
        if c.is_control() || turns(c) { c.escape_default().collect() } else { c.into() }
    };
    text.chars().map(spell).collect()
}

/// Five significant digits, short.
pub(crate) fn number(x: f64) -> String {
    if !x.is_finite() {
        return x.to_string();
    }
    let magnitude = if x == 0.0 { 0.0 } else { x.abs().log10().floor() };
    if (-4.0..6.0).contains(&magnitude) {
        let decimals = (4.0 - magnitude).clamp(0.0, 6.0) as usize;
        let text = format!("{x:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        format!("{x:.3e}")
    }
}

/// A share in percent.
pub(crate) fn percent(part: usize, whole: usize) -> String {
    if whole == 0 {
        return "-".into();
    }
    format!("{:.1} %", 100.0 * part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(plain("q\u{1b}[31m\r\n\u{9b}2J\u{202e}é"), "q\\u{1b}[31m\\r\\n\\u{9b}2J\\u{202e}é");
        assert_eq!(plain("schön"), "schön");
    }
}
