//! How episodes end in files that tell it by one flag or by counting.

use surefoot_core::{HistoryError, StepEnd};

/// By a flag of 0 or 1 for each step; `end` says how a step with the flag ended.
pub(super) fn by_flags(flags: &[f32], end: impl Fn(usize) -> StepEnd) -> Result<Vec<StepEnd>, HistoryError> {
    let one = |(step, flag): (usize, &f32)| match *flag {
        0.0 => Ok(StepEnd::Running),
        1.0 => Ok(end(step)),
        x => {
            let found = x.clamp(0.0, 255.0) as u8;
            Err(HistoryError::Code { what: "dones", step, expected: "0 or 1", found })
        }
    };
    flags.iter().enumerate().map(one).collect()
}

/// By the number of each step in its episode, from 0 or 1 on: the step before a smaller one was the last. Why is not known, so it was
/// cut off. The last step of all is the last of its episode only if the file says so otherwise; here it is not.
pub(super) fn by_counting(numbers: &[f32]) -> Result<Vec<StepEnd>, HistoryError> {
    let first = numbers.first().copied().unwrap_or_default();
    let mut ends = vec![StepEnd::Running; numbers.len()];
    let gap = |row: usize, expected: f32| {
        let found = numbers[row];
        let whole = |x: f32| if (0.0..4e9).contains(&x) { x as u32 } else { u32::MAX };
        HistoryError::Gap { row, expected: whole(expected), found: whole(found) }
    };
    if first != 0.0 && first != 1.0 && !numbers.is_empty() {
        return Err(gap(0, 0.0));
    }
    for (row, pair) in numbers.windows(2).enumerate() {
        if pair[1] == first {
            ends[row] = StepEnd::Truncated;
        } else if pair[1] != pair[0] + 1.0 {
            return Err(gap(row + 1, pair[0] + 1.0));
        }
    }
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn episodes_begin_where_counting_begins_anew() {
        use StepEnd::{Running, Truncated};
        let ends = by_counting(&[0.0, 1.0, 2.0, 0.0, 0.0, 1.0]).unwrap();
        assert_eq!(ends, [Running, Running, Truncated, Truncated, Running, Running]);
        assert_eq!(by_counting(&[1.0, 2.0, 1.0]).unwrap(), [Running, Truncated, Running]);
        assert_eq!(by_counting(&[]).unwrap(), []);
        for wrong in [&[0.0, 2.0][..], &[0.0, 1.0, 1.0], &[3.0, 4.0], &[0.0, f32::NAN], &[-1.0], &[0.5]] {
            assert!(matches!(by_counting(wrong), Err(HistoryError::Gap { .. })), "{wrong:?}");
        }
    }

    #[test]
    fn flags_are_zero_or_one() {
        assert_eq!(
            by_flags(&[0.0, 1.0], |_| StepEnd::Terminated).unwrap(),
            [StepEnd::Running, StepEnd::Terminated]
        );
        for wrong in [2.0, 0.5, f32::NAN, -1.0] {
            assert!(by_flags(&[wrong], |_| StepEnd::Terminated).is_err(), "{wrong}");
        }
    }
}
