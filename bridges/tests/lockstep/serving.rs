use std::time::Duration;

use surefoot_bridges::lockstep::codec::MAX_TEXT_BYTES;
use surefoot_bridges::lockstep::{LockstepBatch, LockstepError, RewardSource};
use surefoot_core::{EnvError, StepEnd, VecEnv};

use crate::worlds::{Fault, Serving, Walk, episodes, local, spec};

fn linked(server: &Serving, worlds: usize) -> VecEnv {
    VecEnv::of(Box::new(LockstepBatch::connect(vec![server.link()], worlds).unwrap()))
}

#[test]
fn worlds_behind_a_link_are_those_at_hand_to_the_last_bit() {
    let server = Serving::start("bits", 3, 3, Fault::None);
    let mut envs = linked(&server, 8);
    assert_eq!(envs.len(), 3, "a server gives what it has");
    assert_eq!(*envs.spec(), spec(3));
    let mut ends = Vec::new();
    for seed in [0, 7, u64::MAX - 100] {
        let (here, there) = (episodes(&mut local(3), seed), episodes(&mut envs, seed));
        assert_eq!(here, there);
        ends.extend(there.iter().map(|trace| trace.last().unwrap().3));
    }
    assert!(ends.contains(&StepEnd::Terminated) && ends.contains(&StepEnd::Truncated), "{ends:?}");
}

#[test]
fn messages_that_a_low_latency_link_cannot_carry_arrive_as_well() {
    // zenoh's transport of low latency takes less than 64 KiB; two such rows and the spec, with a name for each number, are longer.
    const WIDE: usize = 9_000;
    let server = Serving::start("wide", 2, WIDE, Fault::None);
    let mut here = VecEnv::new((0..2).map(|_| Walk::boxed(WIDE, Fault::None)).collect()).unwrap();
    let (there, here) = (episodes(&mut linked(&server, 2), 8), episodes(&mut here, 8));
    // Too long to be printed.
    assert!(there == here, "episodes differ");
}

#[test]
fn reset_options_that_are_too_long_are_refused_before_they_are_sent() {
    let server = Serving::start("wordy", 1, 3, Fault::None);
    let batch = LockstepBatch::connect(vec![server.link()], 1).unwrap();
    let options = format!("{{\"why\":\"{}\"}}", "x".repeat(MAX_TEXT_BYTES));
    let mut envs = VecEnv::of(Box::new(batch.with_reset_options(options)));
    let said = envs.reset(0, 1).map(drop).unwrap_err().to_string();
    assert!(said.contains("reset options: expected at most 16384, found 16394"), "{said}");
}

#[test]
fn several_processes_are_one_batch() {
    let servers = [("one", 2), ("two", 2)].map(|(id, worlds)| Serving::start(id, worlds, 3, Fault::None));
    let batch = LockstepBatch::connect(servers.iter().map(Serving::link).collect(), 3).unwrap();
    let mut envs = VecEnv::of(Box::new(batch));
    assert_eq!(envs.len(), 3);
    assert_eq!(episodes(&mut envs, 3), episodes(&mut local(3), 3));
}

#[test]
fn two_clients_share_the_worlds_and_a_third_is_told_that_none_is_left() {
    let server = Serving::start("shared", 2, 3, Fault::None);
    let (mut one, mut two) = (linked(&server, 1), linked(&server, 5));
    assert_eq!((one.len(), two.len()), (1, 1));
    // Interleaved, each has its own episodes.
    assert_eq!(episodes(&mut one, 5), episodes(&mut local(1), 5));
    assert_eq!(episodes(&mut two, 6), episodes(&mut local(1), 6));
    let third = LockstepBatch::connect(vec![server.link()], 1).map(drop).unwrap_err();
    assert!(third.to_string().contains("all 2 worlds of walk are taken, by 2 clients"), "{third}");
    drop(one);
    // The server hears of it in its own time.
    let freed = (0..50).find_map(|_| LockstepBatch::connect(vec![server.link()], 1).ok());
    let mut third = VecEnv::of(Box::new(freed.expect("a world that was given back is free")));
    assert_eq!(episodes(&mut third, 8), episodes(&mut local(1), 8));
}

#[test]
fn a_server_that_goes_loses_the_episode_and_the_one_that_comes_is_found() {
    let server = Serving::start("phoenix", 2, 3, Fault::None);
    let (endpoint, mut envs) = (server.endpoint.clone(), linked(&server, 2));
    envs.reset(0, 1).unwrap();
    envs.step(&[true, false]).unwrap();
    drop(server);
    let lost = envs.step(&[true, false]).unwrap_err();
    assert!(matches!(lost, EnvError::Lost { .. }), "{lost}");
    let _back = Serving::start_at(&endpoint, "phoenix", 2, 3, Fault::None);
    // The old episode is not continued with the new server.
    let refused = envs.step(&[true, false]).unwrap_err();
    assert!(refused.to_string().contains("world 0 is in no episode"), "{refused}");
    assert_eq!(episodes(&mut envs, 4), episodes(&mut local(2), 4));
}

#[test]
fn another_environment_that_comes_back_is_not_taken_for_the_first() {
    let server = Serving::start("changed", 1, 3, Fault::None);
    let (endpoint, mut envs) = (server.endpoint.clone(), linked(&server, 1));
    drop(server);
    let _other = Serving::start_at(&endpoint, "changed", 1, 4, Fault::None);
    let first = envs.reset(0, 1).map(drop).unwrap_err();
    let second = envs.reset(0, 1).map(drop).unwrap_err();
    assert!(matches!(first, EnvError::Lost { .. }), "{first}");
    assert!(second.to_string().contains("observation dimension: expected 3, found 4"), "{second}");
}

#[test]
fn an_observation_that_is_no_number_stops_the_run_by_name() {
    let server = Serving::start("nan", 1, 3, Fault::Nan);
    let mut envs = linked(&server, 1);
    envs.reset(0, 1).unwrap();
    envs.step(&[true]).unwrap();
    let diverged = envs.step(&[true]).unwrap_err().to_string();
    assert_eq!(diverged, "the world of walk diverged at env step 2: observation x0 is NaN");
}

#[test]
fn a_world_that_fails_says_why_and_begins_anew() {
    let server = Serving::start("fails", 2, 3, Fault::Fails);
    let mut envs = linked(&server, 2);
    envs.reset(0, 1).unwrap();
    envs.reset(1, 1).unwrap();
    envs.step(&[true, true]).unwrap();
    let failed = envs.step(&[true, true]).unwrap_err();
    assert!(
        matches!(&failed, EnvError::Refused { reason, .. } if reason.contains("a wheel came off")),
        "{failed}"
    );
    let stopped = envs.step(&[false, true]).unwrap_err();
    assert!(stopped.to_string().contains("in no episode"), "no world of that step goes on: {stopped}");
    envs.reset(1, 2).unwrap();
    envs.step(&[false, true]).unwrap();
}

#[test]
fn an_episode_that_ended_is_not_stepped_on() {
    let server = Serving::start("ended", 1, 3, Fault::None);
    let mut envs = linked(&server, 1);
    envs.reset(0, 1).unwrap();
    while !envs.last(0).3.end.is_last() {
        envs.step(&[true]).unwrap();
    }
    let refused = envs.step(&[true]).unwrap_err();
    assert!(refused.to_string().contains("it is to be reset first"), "{refused}");
}

#[test]
fn the_reward_of_success_is_zero_and_minus_one() {
    let server = Serving::start("sparse", 1, 3, Fault::None);
    let batch = LockstepBatch::connect(vec![server.link()], 1).unwrap().with_reward(RewardSource::Success);
    let mut envs = VecEnv::of(Box::new(batch));
    assert_eq!(envs.spec().reward_range, Some((-1.0, 0.0)));
    let mut seen = [false; 2];
    for seed in 0..6 {
        envs.reset(0, seed).unwrap();
        loop {
            envs.step(&[true]).unwrap();
            let outcome = envs.last(0).3;
            assert_eq!(outcome.reward, if outcome.success { 0.0 } else { -1.0 });
            seen[usize::from(outcome.success)] = true;
            if outcome.end.is_last() {
                break;
            }
        }
    }
    assert_eq!(seen, [true, true]);
}

#[test]
fn nobody_at_the_endpoint_is_said_in_time() {
    let server = Serving::start("gone", 1, 3, Fault::None);
    let mut link = server.link();
    link.connect_timeout = Duration::from_millis(300);
    drop(server);
    let said = LockstepBatch::connect(vec![link.clone()], 1).map(drop).unwrap_err();
    assert!(matches!(said, LockstepError::NobodyThere { .. }), "{said}");
    assert!(said.to_string().contains("surefoot serve-env"), "{said}");
    link.id = "with spaces".into();
    let said = LockstepBatch::connect(vec![link], 1).map(drop).unwrap_err();
    assert!(matches!(said, LockstepError::Name { .. }), "{said}");
}
