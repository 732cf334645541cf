//! A session: episodes one after the other, a person beside them, and everything that can end it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use surefoot_core::{
    ActMode, DataError, Episode, EpisodeSink, IdealRobot, JointVelocityTask, Policy, PolicyError, ResetScope,
    RobotContract, Rows, RowsMut, StepEnd,
};
use surefoot_engine::control::{
    Cause, DrivenEpisode, Driver, EmergencySwitch, Label, Mode, Progress, Refusal, Request, Tick, Versioned,
};
use surefoot_engine::limits::EpisodeLimit;
use surefoot_engine::live::{
    Driven, LiveClock, LiveConfig, LiveError, Operator, OperatorEvent, Order, Scene, Session, SessionParts,
    SessionThread, StandingScene, Start, TickSink, Unattended,
};
use surefoot_engine::{EpisodeSeeds, Interrupt};

const CONTRACT: &str = r#"
name = "slider"
control_hz = 100.0
policy_hz = 20.0
[[joints]]
name = "x"
unit = "m"
min_position = -1.0
max_position = 1.0
max_velocity = 0.5
max_acceleration = 2.0
"#;

/// Goes one way, and back when it has gone far; from `bad_after` answers on it says NaN.
struct Shuttle {
    answers: u64,
    bad_after: u64,
}

impl Policy for Shuttle {
    fn slots(&self) -> usize {
        1
    }
    fn reset(&mut self, _: usize, _: ResetScope, _: u64) {}
    fn act(
        &mut self,
        observations: Rows<'_>,
        mode: ActMode,
        mut actions: RowsMut<'_>,
    ) -> Result<(), PolicyError> {
        self.answers += 1;
        let x = observations.row(0)[0];
        let speed = if mode == ActMode::Explore { 0.4 } else { 0.2 };
        actions.row(0)[0] = if self.answers > self.bad_after { f32::NAN } else { speed * (1.0 - 2.0 * x) };
        Ok(())
    }
}

fn policy(version: u64, bad_after: u64) -> Versioned {
    Versioned { version, policy: Box::new(Shuttle { answers: 0, bad_after }) }
}

fn contract() -> RobotContract {
    RobotContract::parse(CONTRACT, Path::new("slider.toml")).unwrap()
}

fn parts(max_steps: usize) -> SessionParts {
    let task = || Box::new(JointVelocityTask::new(&contract(), max_steps).unwrap());
    SessionParts {
        robot: Box::new(IdealRobot::new(contract())),
        task: task(),
        reader_task: task(),
        scene: Box::new(StandingScene),
        operator: Box::new(Unattended),
        episodes: None,
        recorded: 0,
        ticks: None,
    }
}

fn simulated() -> LiveConfig {
    LiveConfig { clock: LiveClock::Simulated, ..LiveConfig::default() }
}

fn order(i: u64) -> Order {
    Order {
        name: format!("episode_{i}"),
        seeds: EpisodeSeeds { reset: i, noise: i },
        mode: ActMode::Exploit,
        scope: ResetScope::Task,
        speed_percent: 100,
    }
}

fn episodes(driven: Driven) -> Vec<DrivenEpisode> {
    match driven {
        Driven::Episodes { ordered, unordered } if unordered.is_empty() => ordered,
        other => panic!("{other:?}"),
    }
}

fn episode(driven: Driven) -> DrivenEpisode {
    let [one] = <[_; 1]>::try_from(episodes(driven)).unwrap();
    one
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Episode>>>, bool);

impl EpisodeSink for Kept {
    fn record(&mut self, episode: &Episode) -> Result<(), DataError> {
        if self.1 {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(DataError::Io { path: "episodes".into(), source });
        }
        self.0.lock().unwrap().push(episode.clone());
        Ok(())
    }
    fn finish(&mut self) -> Result<(), DataError> {
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Ticks(Arc<Mutex<Vec<Tick>>>);

impl TickSink for Ticks {
    fn keep(&mut self, tick: &Tick, _: &Progress<'_>) -> std::io::Result<()> {
        self.0.lock().unwrap().push(tick.clone());
        Ok(())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Does what was planned when so many looks have been taken since the robot began to run for the first time, and gives so many
/// starts, each when the robot is ready.
struct Planned {
    plan: Vec<(u64, OperatorEvent)>,
    looks: u64,
    running: bool,
    starts: usize,
    ready: bool,
}

impl Operator for Planned {
    fn attends(&self) -> bool {
        true
    }
    fn next(&mut self) -> Option<OperatorEvent> {
        if std::mem::take(&mut self.ready) && self.starts > 0 {
            self.starts -= 1;
            return Some(OperatorEvent::Start);
        }
        let due = self.plan.first().is_some_and(|(at, _)| self.running && *at <= self.looks);
        if due {
            return Some(self.plan.remove(0).1);
        }
        self.looks += u64::from(self.running);
        None
    }
    fn action(&mut self, action: &mut [f32]) {
        action.fill(-0.3);
    }
    fn connect(&mut self, _: EmergencySwitch) {}
    fn show(&mut self, mode: Mode) {
        self.running |= matches!(mode, Mode::Running(_));
        // One look later the session knows that it is ready as well.
        self.ready = mode == Mode::Holding;
    }
    fn refused(&mut self, _: Request, _: Refusal) {}
}

fn attended(plan: Vec<(u64, OperatorEvent)>) -> SessionParts {
    let planned = Planned { plan, looks: 0, running: false, starts: usize::MAX, ready: false };
    SessionParts { operator: Box::new(planned), ..parts(200) }
}

#[test]
fn episodes_are_kept_before_anybody_hears_of_them_and_are_the_same_bits_again() {
    let drive = || {
        let kept = Kept::default();
        let parts = SessionParts { episodes: Some(Box::new(kept.clone())), ..parts(30) };
        let mut session = Session::new(parts, &simulated(), policy(1, u64::MAX)).unwrap();
        let mut driven = Vec::new();
        for i in 0..3 {
            driven.push(episode(session.drive(&order(i), &Interrupt::new()).unwrap()));
            assert_eq!(kept.0.lock().unwrap().len() as u64, i + 1);
        }
        let end = session.close();
        assert_eq!((end.mode, end.counts.violations, end.dropped_ticks), (Mode::Idle, 0, 0));
        assert_eq!(*kept.0.lock().unwrap(), driven.iter().map(|d| d.episode.clone()).collect::<Vec<_>>());
        driven
    };
    let driven = drive();
    assert!(driven.iter().all(|d| d.episode.len() == 30 && d.policy_version == 1 && d.cost.path > 0.0));
    assert_eq!(driven[2].episode.name, "episode_2");
    assert_eq!(driven[2].episode.end.last(), Some(&StepEnd::Truncated));
    assert!(driven == drive(), "simulated time is bit-reproducible");
}

#[test]
fn policies_exploration_and_speed_change_between_episodes() {
    let mut session = Session::new(parts(20), &simulated(), policy(1, u64::MAX)).unwrap();
    let path = |session: &mut Session, order: Order| {
        let driven = episode(session.drive(&order, &Interrupt::new()).unwrap());
        (driven.policy_version, driven.cost.path)
    };
    let (version, calm) = path(&mut session, order(0));
    assert_eq!(version, 1);
    let (_, explored) = path(&mut session, Order { mode: ActMode::Explore, ..order(1) });
    assert!(explored > calm, "{explored} {calm}");
    assert!(session.offer(policy(2, u64::MAX)));
    let (version, slow) = path(&mut session, Order { speed_percent: 5, ..order(2) });
    assert_eq!(version, 2);
    assert!(slow <= 0.05 * 0.5 * 1.05, "20 steps of 0.05 s at 5 % of 0.5 m/s: {slow}");
}

#[test]
fn a_person_takes_over_hands_back_and_marks_the_episode() {
    let asked = |r| OperatorEvent::Request(r);
    let plan = vec![
        (20, asked(Request::TakeOver)),
        (60, asked(Request::HandBack)),
        (100, asked(Request::Mark(Label::Success))),
    ];
    let mut session = Session::new(attended(plan), &simulated(), policy(1, u64::MAX)).unwrap();
    let driven = episode(session.drive(&order(0), &Interrupt::new()).unwrap());
    let e = &driven.episode;
    assert_eq!((e.success, e.end.last()), (Some(true), Some(&StepEnd::Terminated)));
    assert_eq!((driven.cost.interventions, e.human.len()), (1, e.len()));
    let by_hand: Vec<usize> = (0..e.len()).filter(|t| e.human[*t]).collect();
    assert!(by_hand.len() >= 7 && by_hand.windows(2).all(|w| w[1] == w[0] + 1), "{by_hand:?}");
    assert!(by_hand.iter().skip(1).all(|t| (e.proposed[*t] + 0.3).abs() < 1e-6));
    assert!(e.action[by_hand[by_hand.len() - 1]] < 0.0, "what was executed is the person's");
    assert_eq!(e.attributes["marked"], "by a person");
}

#[test]
fn a_failure_mark_truncates_and_a_pause_cuts_an_episode_in_two() {
    let asked = |r| OperatorEvent::Request(r);
    let plan = vec![
        (40, asked(Request::Pause)),
        (80, asked(Request::Resume)),
        (120, asked(Request::Mark(Label::Failure))),
    ];
    let mut session = Session::new(attended(plan), &simulated(), policy(1, u64::MAX)).unwrap();
    let interrupt = Interrupt::new();
    let pieces = episodes(session.drive(&order(7), &interrupt).unwrap());
    let [first, second] = &pieces[..] else { panic!("{} pieces", pieces.len()) };
    assert_eq!(first.ended_by, Some(Mode::Paused(Driver::Policy)));
    assert_eq!((&*first.episode.name, &*second.episode.name), ("episode_7", "episode_7_2"));
    assert!(second.episode.len() > 5, "it went on");
    assert_eq!(second.episode.success, Some(false));
    assert_eq!(second.episode.end.last(), Some(&StepEnd::Truncated));
}

#[test]
fn an_attended_session_waits_for_a_person_to_clear_a_stop_and_an_unattended_one_ends() {
    let mut alone = Session::new(parts(200), &simulated(), policy(1, 10)).unwrap();
    let interrupt = Interrupt::new();
    // Each NaN brakes; the third latches. What was driven until then are episodes.
    let mut driven = 0;
    let stopped = loop {
        match alone.drive(&order(0), &interrupt) {
            Ok(Driven::Episodes { .. }) => driven += 1,
            other => break other.unwrap(),
        }
    };
    assert!(matches!(stopped, Driven::Stopped { mode: Mode::ProtectiveStop, .. }), "{stopped:?}");
    assert!(driven >= 1);
    assert_eq!(alone.drive(&order(1), &interrupt).unwrap(), stopped, "it stays stopped");
    let asked = |r| OperatorEvent::Request(r);
    let plan = vec![
        (30, asked(Request::EmergencyStop)),
        (90, asked(Request::Acknowledge)),
        (150, asked(Request::Reset)),
        (900, asked(Request::Mark(Label::Success))),
    ];
    let mut session = Session::new(attended(plan), &simulated(), policy(1, u64::MAX)).unwrap();
    let cut = episode(session.drive(&order(0), &interrupt).unwrap());
    assert!(matches!(cut.ended_by, Some(Mode::Braking(_))), "{:?}", cut.ended_by);
    let after = episode(session.drive(&order(1), &interrupt).unwrap());
    assert!(after.episode.len() > cut.episode.len());
}

#[test]
fn after_a_stop_nothing_moves_before_a_persons_start() {
    let asked = |r| OperatorEvent::Request(r);
    for (stop, clear) in [
        (Request::EmergencyStop, Request::Reset),
        (Request::ProtectiveStop, Request::Acknowledge),
        (Request::Hold, Request::Hold),
    ] {
        let ticks = Ticks::default();
        let plan = vec![(30, asked(stop)), (90, asked(clear)), (600, OperatorEvent::Quit)];
        let planned = Planned { plan, looks: 0, running: false, starts: 1, ready: false };
        let operator = Box::new(planned);
        let parts = SessionParts { operator, ticks: Some(Box::new(ticks.clone())), ..parts(200) };
        let config = LiveConfig { start: Start::AfterStops, ..simulated() };
        let mut session = Session::new(parts, &config, policy(1, u64::MAX)).unwrap();
        let interrupt = Interrupt::new();
        episode(session.drive(&order(0), &interrupt).unwrap());
        assert_eq!(session.drive(&order(1), &interrupt).unwrap(), Driven::Interrupted, "{stop:?}");
        let ticks = ticks.0.lock().unwrap();
        let drives =
            ticks.iter().filter(|t| t.transitions.iter().flatten().any(|c| matches!(c.to, Mode::Running(_))));
        assert_eq!(drives.count(), 1, "{stop:?}: it ran again by itself");
        assert!(ticks.len() > 500);
    }
}

/// Presses enter as soon as it counts, and in the same moment something else; later clears what that was.
struct Hasty {
    with: Request,
    clear: Request,
    mode: Mode,
    looks: u64,
    pressed: Vec<OperatorEvent>,
    held: bool,
}

impl Operator for Hasty {
    fn attends(&self) -> bool {
        true
    }
    fn connect(&mut self, _: EmergencySwitch) {}
    fn next(&mut self) -> Option<OperatorEvent> {
        if let Some(event) = self.pressed.pop() {
            return Some(event);
        }
        self.looks += 1;
        if self.mode == Mode::Holding && !self.held {
            self.held = true;
            self.looks = 0;
            self.pressed = vec![OperatorEvent::Request(self.with)];
            return Some(OperatorEvent::Start);
        }
        match self.looks {
            150 if self.held => Some(OperatorEvent::Request(self.clear)),
            700 if self.held => Some(OperatorEvent::Quit),
            _ => None,
        }
    }
    fn action(&mut self, _: &mut [f32]) {}
    fn show(&mut self, mode: Mode) {
        self.mode = mode;
    }
    fn refused(&mut self, _: Request, _: Refusal) {}
}

#[test]
fn a_start_pressed_in_the_moment_of_a_stop_is_none_when_the_stop_is_cleared() {
    for (with, clear) in [
        (Request::EmergencyStop, Request::Reset),
        (Request::ProtectiveStop, Request::Acknowledge),
        (Request::Hold, Request::Hold),
    ] {
        let (pressed, mode) = (Vec::new(), Mode::Idle);
        let hasty = Hasty { with, clear, mode, looks: 0, pressed, held: false };
        let ticks = Ticks::default();
        let parts =
            SessionParts { operator: Box::new(hasty), ticks: Some(Box::new(ticks.clone())), ..parts(200) };
        let mut session = Session::new(parts, &simulated(), policy(1, u64::MAX)).unwrap();
        let driven = session.drive(&order(0), &Interrupt::new()).unwrap();
        assert_eq!(driven, Driven::Interrupted, "{with:?}");
        let ticks = ticks.0.lock().unwrap();
        assert!(ticks.iter().all(|t| t.command_velocity.iter().all(|v| *v == 0.0)), "{with:?}: it moved");
        assert!(ticks.len() > 500);
    }
}

#[test]
fn a_mark_for_an_episode_that_has_ended_is_not_put_on_the_next_one() {
    let ticks = Ticks::default();
    let mark = OperatorEvent::Request(Request::Mark(Label::Success));
    // Episodes of 10 steps, 50 ticks; the mark comes in the second one, half a second after the first has ended.
    let plan = vec![(75, mark), (400, OperatorEvent::Quit)];
    let planned = Planned { plan, looks: 0, running: false, starts: 1, ready: false };
    let parts =
        SessionParts { operator: Box::new(planned), ticks: Some(Box::new(ticks.clone())), ..parts(10) };
    let config = LiveConfig { start: Start::AfterStops, ..simulated() };
    let mut session = Session::new(parts, &config, policy(1, u64::MAX)).unwrap();
    let interrupt = Interrupt::new();
    for i in 0..3 {
        let driven = episode(session.drive(&order(i), &interrupt).unwrap());
        assert_eq!((driven.episode.len(), driven.episode.success), (10, Some(false)), "episode {i}");
    }
    assert!(ticks.0.lock().unwrap().iter().all(|t| t.mark.is_none()));
}

#[test]
fn a_policy_that_says_nan_latches_although_the_session_arms_anew_for_each_episode() {
    /// As a simulated world does.
    struct PutBack;
    impl Scene for PutBack {
        fn wants_disarmed(&self) -> bool {
            true
        }
        fn reset(&mut self, _: u64) {}
        fn is_ready(&self) -> bool {
            true
        }
    }
    let parts = SessionParts { scene: Box::new(PutBack), ..parts(200) };
    let mut session = Session::new(parts, &simulated(), policy(1, 0)).unwrap();
    let interrupt = Interrupt::new();
    let mut last = None;
    for i in 0..5 {
        match session.drive(&order(i), &interrupt).unwrap() {
            Driven::Episodes { .. } => {}
            stopped => last = Some(stopped),
        }
    }
    let wanted = Driven::Stopped { mode: Mode::ProtectiveStop, cause: Some(Cause::CommandNotFinite) };
    assert_eq!(last, Some(wanted));
}

#[test]
fn what_is_stored_as_proposed_was_decided_in_that_step_whatever_the_declared_delay() {
    for delay in [0, 2, 5, 12] {
        let text = CONTRACT.replacen('\n', &format!("\naction_delay_ticks = {delay}\n"), 1);
        let contract = RobotContract::parse(&text, Path::new("slider.toml")).unwrap();
        let task = || Box::new(JointVelocityTask::new(&contract, 30).unwrap());
        let robot = Box::new(IdealRobot::new(contract.clone()));
        let parts = SessionParts { robot, task: task(), reader_task: task(), ..parts(30) };
        let mut session = Session::new(parts, &simulated(), policy(1, u64::MAX)).unwrap();
        let e = episode(session.drive(&order(0), &Interrupt::new()).unwrap()).episode;
        for t in 0..e.len() {
            let decided = 0.2 * (1.0 - 2.0 * e.observation[t]);
            assert_eq!(e.proposed[t], decided, "delay {delay}, step {t}");
        }
    }
}

#[test]
fn an_episode_that_cannot_be_kept_ends_the_session_with_the_robot_at_rest() {
    let kept = Kept(Arc::default(), true);
    let parts = SessionParts { episodes: Some(Box::new(kept)), ..parts(30) };
    let mut session = Session::new(parts, &simulated(), policy(1, u64::MAX)).unwrap();
    let error = session.drive(&order(0), &Interrupt::new()).unwrap_err();
    assert!(matches!(error, LiveError::Record { .. }), "{error}");
    assert_eq!(session.close().mode, Mode::Idle);
}

#[test]
fn a_limit_of_the_episode_brakes_in_the_loop_itself_and_truncates() {
    let mut config = simulated();
    config.control.episode.max_path = 0.1;
    let mut session = Session::new(parts(200), &config, policy(1, u64::MAX)).unwrap();
    let driven = episode(session.drive(&order(0), &Interrupt::new()).unwrap());
    assert_eq!(driven.cost.limit.map(|l| l.limit), Some(EpisodeLimit::Path));
    assert_eq!(driven.episode.attributes["limit"], "path");
    assert_eq!(driven.episode.end.last(), Some(&StepEnd::Truncated));
}

#[test]
fn a_learner_that_hangs_or_has_died_leaves_a_robot_that_holds_still() {
    let ticks = Ticks::default();
    let parts = SessionParts { ticks: Some(Box::new(ticks.clone())), ..parts(10) };
    let mut thread = SessionThread::start(parts, &simulated(), policy(1, u64::MAX)).unwrap();
    thread.order(order(0));
    thread.order(order(1));
    // The learner says nothing more: what was ordered is driven, and nothing else.
    let interrupt = Interrupt::new();
    for _ in 0..2 {
        episode(thread.next(&interrupt).unwrap());
    }
    assert_eq!((thread.outstanding(), thread.try_next().unwrap()), (0, None));
    let learner = std::thread::spawn(move || {
        thread.order(order(2));
        panic!("a bug in a learner")
    });
    assert!(learner.join().is_err(), "and its end of the session was dropped with it");
    let ticks = ticks.0.lock().unwrap();
    let last = ticks.last().unwrap();
    assert!(ticks.iter().zip(1..).all(|(t, i)| t.tick == i), "no period is missing");
    assert!(ticks.iter().all(|t| t.violations == 0));
    assert!(last.command_velocity.iter().all(|v| v.abs() <= 0.5));
}

/// Puts episodes together from what is told of each tick.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<(Episode, Vec<Episode>)>>);

impl TickSink for Told {
    fn keep(&mut self, _: &Tick, progress: &Progress<'_>) -> std::io::Result<()> {
        let (e, _) = &mut *self.0.lock().unwrap();
        if let Some(step) = progress.step {
            e.action.extend(&step.executed);
            e.proposed.extend(&step.proposed);
            e.observation.extend(&step.next_observation);
            e.next_observation.extend(&step.next_observation);
            e.reward.push(step.reward);
            e.end.push(step.end);
            e.human.push(step.human);
            assert!(step.ended_nanos > step.began_nanos);
        }
        if let Some(began) = progress.began {
            *e = Episode { observation: began.to_vec(), ..Episode::default() };
        }
        Ok(())
    }
    fn episode(&mut self, episode: &Episode) -> std::io::Result<()> {
        let (e, all) = &mut *self.0.lock().unwrap();
        let Episode { name, source, seed, success, safety, attributes, .. } = episode.clone();
        // An observation more than there are steps.
        e.observation.truncate(episode.observation.len());
        all.push(Episode { name, source, seed, success, safety, attributes, ..std::mem::take(e) });
        Ok(())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_told_tick_by_tick_is_what_the_episodes_are() {
    let told = Told::default();
    let kept = Kept::default();
    let plan = vec![
        (40, OperatorEvent::Request(Request::TakeOver)),
        (60, OperatorEvent::Request(Request::HandBack)),
        (120, OperatorEvent::Request(Request::Mark(Label::Success))),
    ];
    let parts = SessionParts {
        ticks: Some(Box::new(told.clone())),
        episodes: Some(Box::new(kept.clone())),
        ..attended(plan)
    };
    let mut session = Session::new(parts, &simulated(), policy(1, u64::MAX)).unwrap();
    let _ = episode(session.drive(&order(0), &Interrupt::new()).unwrap());
    let _ = session.close();
    let kept = kept.0.lock().unwrap();
    assert!(kept[0].attributes.contains_key("marked") && kept[0].human.contains(&true));
    assert_eq!(told.0.lock().unwrap().1, *kept);
}
