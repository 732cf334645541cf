//! D4RL's flat files.

use surefoot_core::StepEnd::{Running, Terminated, Truncated};
use surefoot_datasets::{open, read_all};

use crate::episodes::fixture;

#[test]
fn episodes_are_cut_at_terminals_and_timeouts_and_the_terminal_wins() {
    let source = open(&fixture("d4rl_timeouts.hdf5")).unwrap();
    assert_eq!(source.meta().format, "d4rl");
    assert_eq!((source.len(), source.meta().observation_dim, source.meta().action_dim), (4, 2, 1));
    let e = read_all(&*source, &[0, 1, 2, 3]).unwrap();
    assert_eq!(e[0].end, [Running, Running, Terminated]);
    assert_eq!(
        e[1].end,
        [Running, Running, Truncated],
        "four rows to the timeout, the last has no successor"
    );
    assert_eq!(e[2].end, [Running, Terminated], "terminal and timeout at once");
    assert_eq!(
        e[3].end,
        [Running, Truncated],
        "three rows to the end of the file, the last has no successor"
    );
}

#[test]
fn a_successor_is_the_next_row_of_the_same_episode() {
    let source = open(&fixture("d4rl_timeouts.hdf5")).unwrap();
    let e = read_all(&*source, &[0, 1, 2, 3]).unwrap();
    // Row i of the file observes [2i, 2i + 1] and is rewarded with i.
    assert_eq!(e[0].next_observation, [2.0, 3.0, 4.0, 5.0, 4.0, 5.0]);
    assert_eq!(e[1].observation, [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
    assert_eq!(e[1].next_observation, [8.0, 9.0, 10.0, 11.0, 12.0, 13.0]);
    assert_eq!(e[1].reward, [3.0, 4.0, 5.0], "rewards of shape (N, 1)");
    assert_eq!(e[3].next_observation, [20.0, 21.0, 22.0, 23.0]);
    assert!(
        source.meta().notes.iter().any(|n| n.contains("the last row of 2 truncated episodes is left out"))
    );
}

#[test]
fn recorded_successors_are_used_and_missing_timeouts_are_said() {
    let source = open(&fixture("d4rl_next.hdf5")).unwrap();
    let e = read_all(&*source, &[0, 1, 2]).unwrap();
    assert_eq!(e.iter().map(|e| e.len()).collect::<Vec<_>>(), [3, 6, 3], "no row is left out");
    assert_eq!(e[2].next_observation, [118.0, 119.0, 120.0, 121.0, 122.0, 123.0]);
    assert_eq!(e[2].end[2], Truncated);
    assert!(source.meta().notes.iter().any(|n| n.contains("no timeouts are recorded")));
}

#[test]
fn in_maze2d_a_timeout_is_a_goal_and_the_note_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let noted = |name: &str| {
        let path = directory.path().join(name);
        std::fs::copy(fixture("d4rl_timeouts.hdf5"), &path).unwrap();
        let source = open(&path).unwrap();
        source.meta().notes.iter().any(|n| n.contains("a timeout marks a reached goal"))
    };
    assert!(noted("maze2d-umaze-sparse-v1.hdf5") && !noted("hopper-medium-v2.hdf5"));
}
