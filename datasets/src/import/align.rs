//! Laying streams of samples on the policy's steps.
//!
//! Moments stand on a grid of the policy's rate. At each, a stream's value is that of its newest sample that is *not later*, if
//! its strategy takes it; nothing is interpolated and nothing is made up. Samples may come out of order by as much as `reorder`;
//! a moment is settled once the newest sample is that far beyond it, so that only a window of samples is ever held. A stream that
//! goes back further than that has a new clock: what came before is closed, and the grid begins again. The same happens where
//! every stream is silent for longer than `silence`.

use std::collections::VecDeque;

use surefoot_core::contract::AlignStrategy;

/// How one stream is laid on the grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamRule {
    /// Numbers of a sample.
    pub width: usize,
    /// Which sample stands for a moment.
    pub strategy: AlignStrategy,
    /// How old it may be, ns, with `asof`.
    pub tolerance_nanos: i64,
    /// This much after the moment the stream is read, ns. 0 for everything a policy sees.
    pub after_nanos: i64,
    /// Whether the grid begins with its first sample at the earliest.
    pub anchors: bool,
}

/// The grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Moments per second.
    pub hz: f64,
    /// How far behind the newest sample an older one may come, ns.
    pub reorder_nanos: i64,
    /// The grid ends where every stream is silent for longer, ns.
    pub silence_nanos: i64,
}

impl Grid {
    /// Time of moment `k` after the first, ns: no error adds up.
    fn nanos(&self, origin: i64, k: u64) -> i64 {
        let after = (k as f64 * (1e9 / self.hz)).round();
        origin.saturating_add(after as i64)
    }
    fn period_nanos(&self) -> i64 {
        (1e9 / self.hz).round() as i64
    }
}

/// Rows on the grid, one for each moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// `[n]`: when, ns.
    pub nanos: Vec<i64>,
    /// `[n]`: whether the grid began anew here: no step leads here from the moment before.
    pub begins: Vec<bool>,
    /// `[n]`: number of the clock that the time is of: it grows by one where a clock went back, or a part of the log ended.
    pub clock: Vec<u32>,
    /// One for each stream.
    pub streams: Vec<Aligned>,
}

/// A stream on the grid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Aligned {
    /// Numbers of a row.
    pub width: usize,
    /// `[n, width]`; 0 where there is a gap.
    pub rows: Vec<f64>,
    /// `[n]`: whether there is a value.
    pub present: Vec<bool>,
}

impl Aligned {
    /// The row of a moment; `None` in a gap.
    #[must_use]
    pub fn row(&self, moment: usize) -> Option<&[f64]> {
        if self.present.get(moment).copied().unwrap_or(false) {
            self.rows.get(moment * self.width..(moment + 1) * self.width)
        } else {
            None
        }
    }
}

impl Moments {
    /// Moments.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.nanos.len()
    }
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.nanos.is_empty()
    }
}

/// What happened to the samples of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SampleCounts {
    /// Taken.
    pub taken: u64,
    /// Of the same stamp as one before, which they replace.
    pub duplicates: u64,
    /// Out of order, and put in their place.
    pub reordered: u64,
    /// Too late for that, and dropped.
    pub late: u64,
    /// Times the clock went back for good.
    pub resets: u64,
}

/// Stamps beyond this (in the year 2223) are none.
const FARTHEST_NANOS: u64 = 8_000_000_000_000_000_000;

#[derive(Debug, Default)]
struct Buffer {
    nanos: VecDeque<i64>,
    rows: VecDeque<f64>,
    newest: Option<i64>,
    counts: SampleCounts,
}

/// Takes samples in the order of the log, gives rows on the grid.
#[derive(Debug)]
pub struct Aligner {
    grid: Grid,
    rules: Vec<StreamRule>,
    buffers: Vec<Buffer>,
    moments: Moments,
    /// Time of the grid's moment 0.
    origin: Option<i64>,
    /// The next moment to settle.
    next: u64,
    newest: Option<i64>,
    clock: u32,
}

impl Aligner {
    /// An aligner without samples.
    #[must_use]
    pub fn new(grid: Grid, rules: Vec<StreamRule>) -> Self {
        let streams = rules.iter().map(|r| Aligned { width: r.width, ..Aligned::default() }).collect();
        Self {
            grid,
            buffers: rules.iter().map(|_| Buffer::default()).collect(),
            rules,
            moments: Moments { streams, ..Moments::default() },
            origin: None,
            next: 0,
            newest: None,
            clock: 0,
        }
    }

    /// Number of the present clock.
    #[must_use]
    pub const fn clock(&self) -> u32 {
        self.clock
    }

    /// Takes a sample of a stream, `[width]`. One of another width, or of no stream, is ignored.
    pub fn push(&mut self, stream: usize, nanos: i64, row: &[f64]) {
        let (Some(rule), Some(newest)) =
            (self.rules.get(stream).copied(), self.buffers.get(stream).map(|b| b.newest))
        else {
            return;
        };
        if row.len() != rule.width {
            return;
        }
        if nanos.unsigned_abs() > FARTHEST_NANOS {
            if let Some(buffer) = self.buffers.get_mut(stream) {
                buffer.counts.late += 1;
            }
            return;
        }
        if newest.is_some_and(|newest| nanos < newest.saturating_sub(self.grid.reorder_nanos)) {
            self.finish_stretch();
            if let Some(buffer) = self.buffers.get_mut(stream) {
                buffer.counts.resets += 1;
            }
        }
        let settled = self.origin.filter(|_| self.next > 0).map(|o| self.grid.nanos(o, self.next - 1));
        let Some(buffer) = self.buffers.get_mut(stream) else { return };
        let counts = &mut buffer.counts;
        if settled.is_some_and(|t| nanos <= t.saturating_add(rule.after_nanos)) {
            counts.late += 1;
            return;
        }
        let place = buffer.nanos.partition_point(|t| *t < nanos);
        counts.taken += 1;
        if buffer.nanos.get(place) == Some(&nanos) {
            counts.duplicates += 1;
            for (i, x) in row.iter().enumerate() {
                if let Some(old) = buffer.rows.get_mut(place * rule.width + i) {
                    *old = *x;
                }
            }
        } else if place == buffer.nanos.len() {
            buffer.nanos.push_back(nanos);
            buffer.rows.extend(row);
        } else {
            counts.reordered += 1;
            buffer.nanos.insert(place, nanos);
            for (i, x) in row.iter().enumerate() {
                buffer.rows.insert(place * rule.width + i, *x);
            }
        }
        buffer.newest = Some(buffer.newest.map_or(nanos, |t| t.max(nanos)));
        self.newest = Some(self.newest.map_or(nanos, |t| t.max(nanos)));
        if let Some(newest) = self.newest {
            self.settle(newest.saturating_sub(self.grid.reorder_nanos));
        }
    }

    /// Begins a new clock: another file, another part.
    pub fn finish_stretch(&mut self) {
        if let Some(newest) = self.newest {
            self.settle(newest);
            self.clock += 1;
        }
        for buffer in &mut self.buffers {
            buffer.nanos.clear();
            buffer.rows.clear();
            buffer.newest = None;
        }
        (self.origin, self.next, self.newest) = (None, 0, None);
    }

    /// Takes out the rows of the clocks that have ended; `None` where none has since the last time.
    pub fn take_ended(&mut self) -> Option<Moments> {
        let n = self.moments.clock.partition_point(|clock| *clock < self.clock);
        if n == 0 {
            return None;
        }
        let streams = self.moments.streams.iter_mut().map(|s| Aligned {
            width: s.width,
            rows: head(&mut s.rows, n * s.width),
            present: head(&mut s.present, n),
        });
        let streams = streams.collect();
        Some(Moments {
            nanos: head(&mut self.moments.nanos, n),
            begins: head(&mut self.moments.begins, n),
            clock: head(&mut self.moments.clock, n),
            streams,
        })
    }

    /// Settles what is left and gives all rows that were not taken out.
    #[must_use]
    pub fn finish(mut self) -> (Moments, Vec<SampleCounts>) {
        self.finish_stretch();
        (self.moments, self.buffers.iter().map(|b| b.counts).collect())
    }

    /// Settles every moment up to `until` for which nothing new can come.
    fn settle(&mut self, until: i64) {
        loop {
            let origin = match self.origin {
                Some(origin) => origin,
                None => {
                    // A stream of the observation begins it: before, there was nothing to act on.
                    let first = self.rules.iter().zip(&self.buffers).filter(|(r, _)| r.anchors);
                    match first.filter_map(|(_, b)| b.nanos.front()).min() {
                        Some(first) if *first <= until => {
                            self.next = 0;
                            *self.origin.insert(*first)
                        }
                        _ => return,
                    }
                }
            };
            let at = self.grid.nanos(origin, self.next);
            let last_read = self.rules.iter().map(|r| r.after_nanos).max().unwrap_or(0);
            if at.saturating_add(last_read) > until {
                return;
            }
            // The newest sample up to now, and the first after it.
            let before = self.buffers.iter().flat_map(|b| {
                let n = b.nanos.partition_point(|t| *t <= at);
                n.checked_sub(1).and_then(|n| b.nanos.get(n))
            });
            let silent_since = before.max().copied();
            if silent_since.is_none_or(|t| at.saturating_sub(t) > self.grid.silence_nanos) {
                self.forget(at);
                self.origin = None;
                continue;
            }
            self.emit(at);
            self.next += 1;
        }
    }

    fn emit(&mut self, at: i64) {
        let period = self.grid.period_nanos();
        self.moments.nanos.push(at);
        self.moments.begins.push(self.next == 0);
        self.moments.clock.push(self.clock);
        let streams = self.rules.iter().zip(&mut self.buffers).zip(&mut self.moments.streams);
        for ((rule, buffer), aligned) in streams {
            let moment = at.saturating_add(rule.after_nanos);
            let n = buffer.nanos.partition_point(|t| *t <= moment);
            // What is older than the newest one will never stand for anything again.
            if n > 1 {
                buffer.nanos.drain(..n - 1);
                buffer.rows.drain(..(n - 1) * rule.width);
            }
            let age = if n == 0 { None } else { buffer.nanos.front().map(|t| moment.saturating_sub(*t)) };
            let taken = age.is_some_and(|age| match rule.strategy {
                AlignStrategy::Hold => true,
                AlignStrategy::Asof => age <= rule.tolerance_nanos,
                AlignStrategy::Drop => age < period,
            });
            aligned.present.push(taken);
            if taken {
                aligned.rows.extend(buffer.rows.iter().take(rule.width));
            } else {
                aligned.rows.extend(std::iter::repeat_n(0.0, rule.width));
            }
        }
    }

    /// Drops all samples up to a moment, after a silence: what was held before it does not hold any more.
    fn forget(&mut self, at: i64) {
        for (rule, buffer) in self.rules.iter().zip(&mut self.buffers) {
            let n = buffer.nanos.partition_point(|t| *t <= at);
            buffer.nanos.drain(..n);
            buffer.rows.drain(..n * rule.width);
        }
    }
}

/// Takes the first `n` out.
fn head<T>(all: &mut Vec<T>, n: usize) -> Vec<T> {
    let rest = all.split_off(n.min(all.len()));
    std::mem::replace(all, rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: i64 = 1_000_000;

    fn rule(strategy: AlignStrategy, tolerance_ms: i64) -> StreamRule {
        StreamRule { width: 1, strategy, tolerance_nanos: tolerance_ms * MS, after_nanos: 0, anchors: true }
    }

    const GRID: Grid = Grid { hz: 10.0, reorder_nanos: 500 * MS, silence_nanos: 2_000 * MS };

    fn run(rules: &[StreamRule], samples: &[(usize, i64, f64)]) -> (Moments, Vec<SampleCounts>) {
        let mut aligner = Aligner::new(GRID, rules.to_vec());
        for (stream, nanos, x) in samples {
            aligner.push(*stream, *nanos, &[*x]);
        }
        aligner.finish()
    }

    /// The definition, word for word, over all samples at once. Of equal stamps the last one counts.
    fn by_definition(rule: &StreamRule, samples: &[(i64, f64)], at: i64) -> Option<f64> {
        let moment = at + rule.after_nanos;
        let (t, x) = samples.iter().filter(|(t, _)| *t <= moment).max_by_key(|(t, _)| *t).copied()?;
        let age = moment - t;
        match rule.strategy {
            AlignStrategy::Hold => true,
            AlignStrategy::Asof => age <= rule.tolerance_nanos,
            AlignStrategy::Drop => age < GRID.period_nanos(),
        }
        .then_some(x)
    }

    #[test]
    fn strategies_differ_in_what_they_take() {
        let rules =
            [rule(AlignStrategy::Hold, 0), rule(AlignStrategy::Asof, 150), rule(AlignStrategy::Drop, 0)];
        // One sample each at 0, then a heartbeat of the first stream only.
        let mut samples = vec![(0, 0, 1.0), (1, 0, 1.0), (2, 0, 1.0)];
        samples.extend((1..=3).map(|k| (0, k * 100 * MS, 1.0 + k as f64)));
        let (moments, _) = run(&rules, &samples);
        let present: Vec<&[bool]> = moments.streams.iter().map(|s| s.present.as_slice()).collect();
        assert_eq!(
            present,
            [[true, true, true, true], [true, true, false, false], [true, false, false, false]]
        );
        assert_eq!(moments.streams[0].rows, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn a_clock_that_goes_back_begins_again_and_a_silence_cuts() {
        let rules = [rule(AlignStrategy::Hold, 0)];
        let first = (0..5).map(|k| (0, (1000 + k * 100) * MS, 0.0));
        let again = (0..3).map(|k| (0, k * 100 * MS, 1.0));
        let later = (0..2).map(|k| (0, (9000 + k * 100) * MS, 2.0));
        let (moments, counts) = run(&rules, &first.chain(again).chain(later).collect::<Vec<_>>());
        assert_eq!(counts[0].resets, 1);
        let starts: Vec<i64> =
            moments.nanos.iter().zip(&moments.begins).filter(|(_, b)| **b).map(|(t, _)| t / MS).collect();
        assert_eq!(starts, [1000, 0, 9000]);
        assert!(moments.len() < 40, "a silence is not filled: {}", moments.len());
    }

    #[test]
    fn stamps_at_both_ends_of_time_cost_nothing() {
        let rules = [rule(AlignStrategy::Hold, 0)];
        let (moments, _) = run(
            &rules,
            &[(0, i64::MIN, 0.0), (0, 0, 1.0), (0, i64::MAX, 2.0), (0, 5, 3.0), (0, i64::MAX - 1, 4.0)],
        );
        assert!(moments.len() < 200, "{}", moments.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        /// Samples in any order within the window give what the definition says of all of them at once: no value is ever later
        /// than its moment, and none that was there is missed.
        #[test]
        fn no_moment_sees_a_later_sample_and_none_misses_the_newest(
            steps in proptest::collection::vec((0_usize..3, 0_i64..120, -200_i64..=0), 1..120),
            tolerance in 0_i64..300,
            after in 0_i64..150,
        ) {
            let mut rules = [rule(AlignStrategy::Hold, 0), rule(AlignStrategy::Asof, tolerance), rule(AlignStrategy::Drop, 0)];
            rules[2].after_nanos = after * MS;
            let mut samples: Vec<(usize, i64, f64)> = Vec::new();
            let mut now = 10_000;
            for (stream, step, back) in steps {
                now += step;
                let nanos = (now + back) * MS;
                // The value tells the sample, and its stamp is in it.
                samples.push((stream, nanos, samples.len() as f64));
            }
            let (moments, counts) = run(&rules, &samples);
            prop_assert!(counts.iter().all(|c| c.late == 0 && c.resets == 0));
            prop_assume!(!moments.is_empty());
            for (stream, (rule, aligned)) in rules.iter().zip(&moments.streams).enumerate() {
                let own: Vec<(i64, f64)> =
                    samples.iter().filter(|s| s.0 == stream).map(|s| (s.1, s.2)).collect();
                for (k, at) in moments.nanos.iter().enumerate() {
                    let found = aligned.row(k).map(|r| r[0]);
                    if let Some(x) = found {
                        prop_assert!(samples[x as usize].1 <= at + rule.after_nanos, "looked into the future");
                    }
                    prop_assert_eq!(found, by_definition(rule, &own, *at), "stream {} at {}", stream, at);
                }
            }
        }

        /// Rows taken out as clocks end are those of the whole.
        #[test]
        fn ended_clocks_can_be_taken_out_at_any_time(
            samples in proptest::collection::vec((0_usize..2, -3000_i64..3000, any::<bool>()), 0..80),
        ) {
            let rules = [rule(AlignStrategy::Hold, 0), rule(AlignStrategy::Asof, 200)];
            let stamped: Vec<(usize, i64, f64)> =
                samples.iter().enumerate().map(|(k, (s, t, _))| (*s, t * MS, k as f64)).collect();
            let (whole, counts) = run(&rules, &stamped);
            let mut aligner = Aligner::new(GRID, rules.to_vec());
            let mut parts = Vec::new();
            for ((stream, nanos, x), (_, _, take)) in stamped.iter().zip(&samples) {
                aligner.push(*stream, *nanos, &[*x]);
                if *take {
                    parts.extend(aligner.take_ended());
                }
            }
            let (last, same) = aligner.finish();
            parts.push(last);
            prop_assert_eq!(counts, same);
            let mut joined = Moments { streams: vec![Aligned { width: 1, ..Aligned::default() }; 2], ..Moments::default() };
            for (k, part) in parts.iter().enumerate() {
                prop_assert!(k + 1 == parts.len() || !part.is_empty());
                joined.nanos.extend(&part.nanos);
                joined.begins.extend(&part.begins);
                joined.clock.extend(&part.clock);
                for (all, s) in joined.streams.iter_mut().zip(&part.streams) {
                    all.rows.extend(&s.rows);
                    all.present.extend(&s.present);
                }
            }
            prop_assert_eq!(joined, whole);
        }

        #[test]
        fn arbitrary_stamps_never_crash_and_stay_small(
            samples in proptest::collection::vec((0_usize..4, any::<i64>(), any::<f64>()), 0..60),
        ) {
            let rules = [rule(AlignStrategy::Hold, 0), rule(AlignStrategy::Asof, 10), rule(AlignStrategy::Drop, 0)];
            let (moments, _) = run(&rules, &samples);
            prop_assert!(moments.len() <= samples.len() * 30);
        }
    }
}
