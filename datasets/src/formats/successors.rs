//! What followed each step, where a file holds as many observations as actions.

use surefoot_core::{Episode, StepEnd};

/// Cuts an episode to the steps `from..to`, of rows of `o` and `a` numbers.
fn cut(e: &mut Episode, from: usize, to: usize, o: usize, a: usize) {
    fn rows<T>(column: &mut Vec<T>, from: usize, to: usize, width: usize) {
        column.truncate(to * width);
        column.drain(..(from * width).min(column.len()));
    }
    let Episode { observation, next_observation, action, proposed, reward, end, human, .. } = e;
    rows(observation, from, to, o);
    rows(next_observation, from, to, o);
    rows(action, from, to, a);
    rows(proposed, from, to, a);
    rows(reward, from, to, 1);
    rows(end, from, to, 1);
    rows(human, from, to, 1);
    if let Some(last) = end.last_mut().filter(|end| !end.is_last()) {
        *last = StepEnd::Truncated;
    }
}

/// The observation of the following step is what a step led to. What followed a truncated last step was not recorded, and learning
/// would look there: it is left out. Beyond a termination nobody looks, and its own observation will do.
pub(super) fn pair_with_following(e: &mut Episode, o: usize, a: usize) {
    let rows = e.len();
    e.next_observation = e.observation.get(o.min(e.observation.len())..).unwrap_or_default().to_vec();
    if rows > 0 && e.end.last() == Some(&StepEnd::Terminated) {
        let last = e.observation.get((rows - 1) * o..).unwrap_or_default().to_vec();
        e.next_observation.extend(last);
    } else if rows > 0 {
        cut(e, 0, rows - 1, o, a);
    }
}

/// Each observation was taken after its action: it is what the step led to, and the one before it what the step was taken on. What the
/// first step was taken on was not recorded: it is left out.
pub(super) fn pair_with_preceding(e: &mut Episode, o: usize, a: usize) {
    let rows = e.len();
    e.next_observation = std::mem::take(&mut e.observation);
    if rows > 0 {
        // Row `t` of what the steps were taken on is row `t - 1` of what they led to; the first is cut off.
        let mut before = e.next_observation.clone();
        before.truncate((rows - 1) * o);
        cut(e, 1, rows, o, a);
        e.observation = before;
    }
}

#[cfg(test)]
mod tests {
    use surefoot_core::{Episode, StepEnd};

    use super::{pair_with_following, pair_with_preceding};

    fn episode(rows: usize, last: StepEnd) -> Episode {
        let column = |at: f32, width: usize| (0..rows * width).map(|i| at + i as f32).collect();
        let mut end = vec![StepEnd::Running; rows];
        if let Some(e) = end.last_mut() {
            *e = last;
        }
        Episode {
            observation: column(0.0, 2),
            action: column(100.0, 1),
            reward: column(200.0, 1),
            human: vec![true; rows],
            end,
            ..Episode::default()
        }
    }

    #[test]
    fn the_following_observation_is_what_a_step_led_to() {
        let mut e = episode(3, StepEnd::Truncated);
        pair_with_following(&mut e, 2, 1);
        assert_eq!((e.observation, e.next_observation), (vec![0.0, 1.0, 2.0, 3.0], vec![2.0, 3.0, 4.0, 5.0]));
        assert_eq!((e.action, e.reward, e.human), (vec![100.0, 101.0], vec![200.0, 201.0], vec![true; 2]));
        assert_eq!(e.end, [StepEnd::Running, StepEnd::Truncated]);
        let mut e = episode(2, StepEnd::Terminated);
        pair_with_following(&mut e, 2, 1);
        assert_eq!((e.len(), e.next_observation), (2, vec![2.0, 3.0, 2.0, 3.0]));
        for last in [StepEnd::Terminated, StepEnd::Truncated] {
            let mut e = episode(0, last);
            pair_with_following(&mut e, 2, 1);
            pair_with_preceding(&mut e, 2, 1);
            assert!(e.is_empty() && e.next_observation.is_empty());
        }
    }

    #[test]
    fn an_observation_after_its_action_is_what_the_step_led_to() {
        let mut e = episode(3, StepEnd::Terminated);
        pair_with_preceding(&mut e, 2, 1);
        assert_eq!((e.observation, e.next_observation), (vec![0.0, 1.0, 2.0, 3.0], vec![2.0, 3.0, 4.0, 5.0]));
        assert_eq!((e.action, e.reward, e.human), (vec![101.0, 102.0], vec![201.0, 202.0], vec![true; 2]));
        assert_eq!(e.end, [StepEnd::Running, StepEnd::Terminated]);
        let mut e = episode(1, StepEnd::Terminated);
        pair_with_preceding(&mut e, 2, 1);
        assert!(e.is_empty() && e.observation.is_empty() && e.next_observation.is_empty());
    }
}
