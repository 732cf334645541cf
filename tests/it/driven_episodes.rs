//! What a learner gets from a control loop: the executed actions, who drove, and the same again from a recording of the ticks.

use surefoot_core::{Episode, GuardedRobot, RobotState, StepEnd, World};
use surefoot_engine::control::{
    ControlConfig, ControlLoop, DrivenEpisode, Driver, EpisodesFromTicks, Lockstep, Mode, Request, Tick,
};
use surefoot_sim::demonstrators::push::PushDemonstratorConfig;
use surefoot_sim::tasks::push::PushConfig;
use surefoot_sim::{DemonstratorContext, arm};

fn lockstep(seed: u64) -> Lockstep {
    let contract = arm::contract().unwrap();
    let mut world = GuardedRobot::new(Box::new(arm::world().unwrap()), arm::TRACKING_TOLERANCE_RAD).unwrap();
    let mut task = PushConfig::default().task().unwrap();
    let mut initial = RobotState::zeros(&contract);
    task.begin_episode(seed, &mut initial);
    world.reset(&initial).unwrap();
    let demonstrator = PushDemonstratorConfig { failure_share: 0.0, ..PushDemonstratorConfig::default() };
    let context = DemonstratorContext { spec: task.spec().clone(), slots: 1 };
    let policy = demonstrator.build(&context).unwrap();
    let (control, ports) = ControlLoop::new(Box::new(world), task, ControlConfig::default(), 64).unwrap();
    Lockstep::new(control, ports, policy, 5)
}

fn reader() -> EpisodesFromTicks {
    EpisodesFromTicks::new(PushConfig::default().task().unwrap(), &arm::contract().unwrap()).unwrap()
}

/// Runs until an episode has ended; `at` is asked for requests by tick. Gives episodes and all ticks.
fn drive(seed: u64, ticks: u64, at: impl Fn(u64) -> Option<Request>) -> (Vec<DrivenEpisode>, Vec<Tick>) {
    let (mut run, mut reader) = (lockstep(seed), reader());
    let (mut episodes, mut recorded) = (Vec::new(), Vec::new());
    for t in 0..ticks {
        if let Some(request) = at(t) {
            run.ask(request);
        }
        if let Some(mut action) = run.ports.human.lend() {
            action.copy_from_slice(&[0.3, -0.2]);
            run.ports.human.send(action);
        }
        run.period();
        while let Some(tick) = run.ports.ticks.receive() {
            episodes.extend(reader.push(&tick));
            recorded.push(tick.clone());
            run.ports.ticks.give_back(tick);
        }
    }
    (episodes, recorded)
}

fn arm_and_run(t: u64) -> Option<Request> {
    match t {
        3 => Some(Request::Arm),
        30 => Some(Request::Run),
        _ => None,
    }
}

fn check_columns(episode: &Episode) {
    assert_eq!(episode.action.len(), 2 * episode.len());
    assert_eq!(episode.proposed.len(), 2 * episode.len());
    assert!(episode.action.iter().all(|a| a.is_finite() && a.abs() <= 1.0));
    for t in 1..episode.len() {
        let dim = episode.observation.len() / episode.len();
        let before = &episode.next_observation[(t - 1) * dim..t * dim];
        assert_eq!(
            before,
            &episode.observation[t * dim..(t + 1) * dim],
            "step {t} begins where the last one ended"
        );
    }
}

#[test]
fn a_drive_that_succeeds_is_an_episode_that_terminates() {
    let (episodes, ticks) = drive(3, 700, arm_and_run);
    assert!(ticks.iter().any(|t| t.mode == Mode::Running(Driver::Policy)));
    let [first, ..] = &episodes[..] else { panic!("no episode in {} ticks", ticks.len()) };
    check_columns(&first.episode);
    assert_eq!((first.episode.success, first.ended_by), (Some(true), None));
    assert_eq!(first.episode.end.last(), Some(&StepEnd::Terminated));
    assert!(first.episode.human.iter().all(|human| !human));
    assert_eq!(first.episode.safety.violations, 0);
    // The executed action is what the arm was made to do, near what was proposed and not always the same.
    assert_ne!(first.episode.action, first.episode.proposed);
}

#[test]
fn an_intervention_is_part_of_the_episode_and_marked() {
    let (episodes, _) = drive(3, 200, |t| match t {
        60 => Some(Request::TakeOver),
        100 => Some(Request::HandBack),
        150 => Some(Request::Hold),
        other => arm_and_run(other),
    });
    let [only] = &episodes[..] else { panic!("{} episodes", episodes.len()) };
    check_columns(&only.episode);
    assert_eq!(only.episode.human.len(), only.episode.len());
    let first = only.episode.human.iter().position(|h| *h).unwrap();
    let last = only.episode.human.iter().rposition(|h| *h).unwrap();
    assert!(
        first > 3 && last + 3 < only.episode.human.len(),
        "policy, person, policy: {:?}",
        only.episode.human
    );
    assert!(only.episode.human[first..=last].iter().all(|h| *h));
    assert_eq!(only.episode.proposed[2 * (first + 1)..2 * (first + 2)], [0.3, -0.2]);
    assert_eq!(only.episode.end.last(), Some(&StepEnd::Truncated), "being stopped is no end of the task");
    assert!(matches!(only.ended_by, Some(Mode::Braking(_) | Mode::Holding)), "{:?}", only.ended_by);
}

#[test]
fn a_recording_of_the_ticks_gives_the_learner_the_same_input() {
    let (live, ticks) = drive(4, 400, arm_and_run);
    let lines: Vec<String> = ticks.iter().map(|t| serde_json::to_string(t).unwrap()).collect();
    let mut again = reader();
    let replayed: Vec<DrivenEpisode> =
        lines.iter().filter_map(|line| again.push(&serde_json::from_str::<Tick>(line).unwrap())).collect();
    assert!(!live.is_empty() && live == replayed);
    let (same, _) = drive(4, 400, arm_and_run);
    assert!(live == same, "lockstep is bit-reproducible");
}
