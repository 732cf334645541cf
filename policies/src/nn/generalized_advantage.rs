//! Advantages of steps that follow one another (Schulman et al. 2016, arXiv 1506.02438, equation 16).

/// What a run of steps was better than expected by, `[n]`, from rewards, continuations (0 only after a termination), values of the states `v` and of
/// those behind them `next_v`, and `last`, 1 where the next row does not follow:
/// ```text
/// delta_t = r_t + discount d_t next_v_t - v_t      A_t = delta_t + discount lambda (1 - last_t) A_{t+1}
/// ```
/// A run that was cut off bootstraps from `next_v`. `A_t + v_t` is the `TD(lambda)` return.
#[must_use]
pub fn generalized_advantage(
    (reward, continuation, last): (&[f32], &[f32], &[f32]),
    (v, next_v): (&[f32], &[f32]),
    discount: f64,
    lambda: f64,
) -> Vec<f64> {
    let mut advantage = vec![0.0; last.len()];
    let mut beyond = 0.0;
    for t in (0..last.len()).rev() {
        if last[t] > 0.0 {
            beyond = 0.0;
        }
        let next = f64::from(continuation[t]) * f64::from(next_v[t]);
        let delta = f64::from(reward[t]) + discount * next - f64::from(v[t]);
        beyond = delta + discount * lambda * beyond;
        advantage[t] = beyond;
    }
    advantage
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_lambda_it_is_the_td_error_and_with_all_of_it_the_return() {
        let (reward, last) = ([1.0, 2.0, 4.0, 8.0], [0.0, 1.0, 0.0, 1.0]);
        // The first run ends, the second is cut off.
        let continuation = [1.0, 0.0, 1.0, 1.0];
        let (v, next_v) = ([0.5, 1.0, -1.0, 2.0], [1.0, 100.0, 2.0, 6.0]);
        let a = |lambda| generalized_advantage((&reward, &continuation, &last), (&v, &next_v), 0.5, lambda);
        assert_eq!(a(0.0), [1.0, 1.0, 6.0, 9.0]);
        let returns: Vec<f64> = a(1.0).iter().zip(v).map(|(a, v)| a + f64::from(v)).collect();
        assert_eq!(returns, [2.0, 2.0, 4.0 + 0.5 * 11.0, 11.0]);
        assert_eq!(a(0.5)[0], 1.0 + 0.25);
    }
}
