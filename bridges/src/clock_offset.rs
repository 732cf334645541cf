//! The offset of another machine's monotonic clock, from signs of life that echo each other (Cristian's rule; the four stamps of NTP).

/// Exchanges remembered.
const WINDOW: usize = 16;

/// One exchange: sent by our clock, received and answered by theirs, and back by ours, ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Ours.
    pub sent: i64,
    /// Theirs.
    pub received: i64,
    /// Theirs.
    pub answered: i64,
    /// Ours.
    pub returned: i64,
}

/// Their clock less ours, known to within `bound`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// ns.
    pub nanos: i64,
    /// Half of the fastest round trip, ns: the error is no larger while the clocks do not drift.
    pub bound_nanos: i64,
}

/// Keeps the fastest of the last exchanges.
#[derive(Clone, Debug, Default)]
pub struct ClockOffset {
    window: Vec<Offset>,
    at: usize,
}

impl ClockOffset {
    /// Takes an exchange in. One that contradicts all of those before by more than their bounds together means that a clock was set, or
    /// that the other side was started anew: those before are then forgotten.
    pub fn observe(&mut self, exchange: Exchange) {
        let Exchange { sent, received, answered, returned } = exchange;
        let there = returned.saturating_sub(sent).saturating_sub(answered.saturating_sub(received));
        if there < 0 {
            return;
        }
        let out = i128::from(received) - i128::from(sent);
        let back = i128::from(answered) - i128::from(returned);
        // Between two numbers that fit.
        let nanos = ((out + back) / 2).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
        let found = Offset { nanos, bound_nanos: there / 2 + 1 };
        if let Some(best) = self.offset()
            && best.nanos.abs_diff(found.nanos)
                > (best.bound_nanos.unsigned_abs() + found.bound_nanos.unsigned_abs()).saturating_mul(4)
        {
            self.window.clear();
            self.at = 0;
        }
        if self.window.len() < WINDOW {
            self.window.push(found);
        } else {
            self.window[self.at % WINDOW] = found;
        }
        self.at = (self.at + 1) % WINDOW;
    }

    /// The best that is known.
    #[must_use]
    pub fn offset(&self) -> Option<Offset> {
        self.window.iter().min_by_key(|o| o.bound_nanos).copied()
    }
}

/// The offset of the clock that stamps messages, where nothing is echoed: that of the message that came fastest of the last
/// [`WINDOW`]. It is behind the true one by that message's time on its way, which nobody knows.
#[derive(Clone, Debug, Default)]
pub struct OffsetOfStamps {
    window: [i64; WINDOW],
    seen: usize,
}

impl OffsetOfStamps {
    /// Takes a message in, and gives their clock less ours, ns.
    pub fn observe(&mut self, stamp_nanos: i64, received_nanos: i64) -> i64 {
        self.window[self.seen % WINDOW] = stamp_nanos.saturating_sub(received_nanos);
        self.seen += 1;
        self.window.iter().take(self.seen).copied().max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn exchange(offset: i64, sent: i64, out: i64, back: i64) -> Exchange {
        let received = sent + out + offset;
        Exchange { sent, received, answered: received + 10, returned: sent + out + 10 + back }
    }

    #[test]
    fn the_fastest_exchange_tells_and_its_bound_holds() {
        let mut clock = ClockOffset::default();
        assert_eq!(clock.offset(), None);
        for (n, (out, back)) in [(900, 100), (60, 40), (50, 5000)].into_iter().enumerate() {
            clock.observe(exchange(-7_000_000, 1000 * n as i64, out, back));
            let Offset { nanos, bound_nanos } = clock.offset().unwrap();
            assert!((nanos + 7_000_000).abs() <= bound_nanos, "{nanos} within {bound_nanos}");
        }
        assert!(clock.offset().unwrap().bound_nanos <= 51);
    }

    #[test]
    fn stamps_alone_tell_the_offset_less_the_fastest_way() {
        let mut offset = OffsetOfStamps::default();
        let found: Vec<i64> = [50, 20, 900]
            .iter()
            .enumerate()
            .map(|(n, way)| offset.observe(7000 + n as i64, n as i64 + way))
            .collect();
        assert_eq!(found, [6950, 6980, 6980]);
        let set_back: Vec<i64> = (0..WINDOW as i64).map(|n| offset.observe(n, n + 30)).collect();
        assert_eq!(set_back.last(), Some(&-30), "a clock that was set back is believed within a window");
    }

    #[test]
    fn a_clock_that_is_set_is_believed_at_once() {
        let mut clock = ClockOffset::default();
        clock.observe(exchange(0, 0, 50, 50));
        clock.observe(exchange(10_000_000_000, 1000, 80, 50));
        assert!((clock.offset().unwrap().nanos - 10_000_000_000).abs() < 100);
        clock.observe(Exchange { sent: 5, received: 0, answered: 100, returned: 6 });
        assert!(
            (clock.offset().unwrap().nanos - 10_000_000_000).abs() < 100,
            "an impossible one is not used"
        );
        for extreme in [i64::MIN, i64::MAX] {
            clock.observe(Exchange {
                sent: extreme,
                received: -extreme.max(-i64::MAX),
                answered: 0,
                returned: 0,
            });
        }
    }
}
