//! Returns of recorded steps: what a value is learned towards.

use crate::StepEnd;

/// Discounted sums of rewards from each step to the end of its episode, `[steps]`. What lies beyond a truncation is not known and counts as
/// nothing: there these are lower bounds of rewards that are not negative.
#[must_use]
pub fn monte_carlo(reward: &[f32], end: &[StepEnd], discount: f32) -> Vec<f32> {
    let mut returns = vec![0.0; reward.len().min(end.len())];
    let mut beyond = 0.0_f64;
    for ((out, r), end) in returns.iter_mut().zip(reward).zip(end).rev() {
        if end.is_last() {
            beyond = 0.0;
        }
        beyond = f64::from(*r) + f64::from(discount) * beyond;
        *out = beyond as f32;
    }
    returns
}

/// The discounted sum of all rewards, from behind, as [`monte_carlo`] has it for a first step.
#[must_use]
pub fn discounted(reward: &[f32], discount: f32) -> f32 {
    reward.iter().rev().fold(0.0, |beyond, r| f64::from(*r) + f64::from(discount) * beyond) as f32
}

/// Rewards of at most `n` steps, from the first of `reward` on, in one: their discounted sum, how many steps it is of, and the factor of the
/// value that follows, relative to that of one step: `discount^(steps - 1)`, or 0 after a termination.
///
/// A learner that adds `discount * continuation * value` to the reward then bootstraps over all of them.
#[must_use]
pub fn n_step(reward: &[f32], end: &[StepEnd], discount: f32, n: usize) -> (f32, usize, f32) {
    let (mut sum, mut factor, mut steps, mut continuation) = (0.0_f64, 1.0_f64, 0, 1.0);
    for (r, end) in reward.iter().zip(end).take(n.max(1)) {
        if steps > 0 {
            factor *= f64::from(discount);
        }
        sum += factor * f64::from(*r);
        steps += 1;
        continuation = end.continuation();
        if end.is_last() {
            break;
        }
    }
    (sum as f32, steps, continuation * factor as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepEnd::{Running, Terminated, Truncated};

    #[test]
    fn returns_stop_at_ends_and_sum_by_hand() {
        let end = [Running, Terminated, Running, Truncated];
        assert_eq!(monte_carlo(&[1.0, 2.0, 4.0, 8.0], &end, 0.5), [2.0, 2.0, 8.0, 8.0]);
        assert_eq!(monte_carlo(&[], &[], 0.5), [0.0; 0]);
    }

    #[test]
    fn several_steps_are_one_until_an_end() {
        let reward = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(n_step(&reward, &[Running; 4], 0.5, 1), (1.0, 1, 1.0));
        assert_eq!(n_step(&reward, &[Running; 4], 0.5, 3), (3.0, 3, 0.25));
        assert_eq!(n_step(&reward, &[Running, Terminated, Running, Running], 0.5, 3), (2.0, 2, 0.0));
        assert_eq!(n_step(&reward, &[Running, Truncated, Running, Running], 0.5, 3), (2.0, 2, 0.5));
        assert_eq!(n_step(&reward, &[Running; 4], 0.5, 9), (4.0, 4, 0.125));
        assert_eq!(n_step(&reward, &[Running; 4], 0.5, 0), (1.0, 1, 1.0));
    }

    #[test]
    fn as_many_steps_as_there_are_give_the_monte_carlo_return() {
        let mut stream = crate::Stream::new(3, "returns", 0);
        let reward: Vec<f32> = (0..50).map(|_| stream.normal() as f32).collect();
        let mut end = vec![Running; 50];
        (end[20], end[49]) = (Terminated, Truncated);
        let returns = monte_carlo(&reward, &end, 0.9);
        for t in 0..50 {
            let (sum, _, _) = n_step(&reward[t..], &end[t..], 0.9, 50);
            assert!((sum - returns[t]).abs() < 1e-5, "{t}");
            let last = if t <= 20 { 21 } else { 50 };
            assert_eq!(discounted(&reward[t..last], 0.9), returns[t], "{t}");
        }
    }
}
