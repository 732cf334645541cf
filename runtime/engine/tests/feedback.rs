//! A policy hears of every step what the learner is given of it: reward, end and executed action, whoever drove and however it ended.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use surefoot_core::{
    ActMode, EnvSpec, Feedback, IdealRobot, JointVelocityTask, Outcome, Policy, PolicyError, ResetScope,
    RobotContract, RobotState, Rows, RowsMut, StepEnd, Stream, Task, TaskOutcome,
};
use surefoot_engine::control::{
    ControlConfig, ControlLoop, DrivenEpisode, EpisodesFromTicks, Label, Lockstep, Mode, Request, Versioned,
};
use surefoot_engine::live::{
    Driven, LiveClock, LiveConfig, Order, Session, SessionParts, StandingScene, Unattended,
};
use surefoot_engine::{EpisodeSeeds, Interrupt};
use surefoot_safety::CommandState;

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

fn contract() -> RobotContract {
    RobotContract::parse(CONTRACT, Path::new("slider.toml")).unwrap()
}

/// Pays the position, and is over where that is large enough.
struct Climb {
    inner: JointVelocityTask,
    spec: EnvSpec,
    over_at: f64,
}

impl Climb {
    fn new(max_steps: usize, over_at: f64) -> Self {
        let inner = JointVelocityTask::new(&contract(), max_steps).unwrap();
        let spec = EnvSpec { reward_range: Some((-1.0, 9.0)), ..inner.spec().clone() };
        Self { inner, spec, over_at }
    }
}

impl Task for Climb {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }
    fn reset(&mut self, _: &mut Stream, _: &mut RobotState) {}
    fn desired(
        &mut self,
        state: &RobotState,
        command: CommandState<'_>,
        action: &[f32],
        desired: &mut [f64],
    ) {
        self.inner.desired(state, command, action, desired);
    }
    fn executed(&self, before: &[f64], after: &[f64], effort: &[f64], step_secs: f64, action: &mut [f32]) {
        self.inner.executed(before, after, effort, step_secs, action);
    }
    fn observe(&mut self, state: &RobotState, observation: &mut [f32]) {
        self.inner.observe(state, observation);
    }
    fn outcome(&mut self, state: &RobotState, _: &[f32]) -> TaskOutcome {
        let terminated = state.position[0] > self.over_at;
        TaskOutcome { reward: state.position[0] as f32, terminated, success: terminated }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Reset(ResetScope),
    Acted(f32),
    Followed { reward: f32, end: StepEnd, success: bool, executed: f32 },
    Remembered { seen: f32, reward: f32, end: StepEnd, executed: f32 },
}

/// Drives up at half speed, and writes down what it hears.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<Heard>>>);

impl Ear {
    fn say(&self, heard: Heard) {
        self.0.lock().unwrap().push(heard);
    }
    fn heard(&self) -> Vec<Heard> {
        self.0.lock().unwrap().clone()
    }
}

impl Policy for Ear {
    fn slots(&self) -> usize {
        1
    }
    fn reset(&mut self, _: usize, scope: ResetScope, _: u64) {
        self.say(Heard::Reset(scope));
    }
    fn act(&mut self, o: Rows<'_>, _: ActMode, mut actions: RowsMut<'_>) -> Result<(), PolicyError> {
        self.say(Heard::Acted(o.row(0)[0]));
        actions.row(0)[0] = 0.5;
        Ok(())
    }
    fn observe(&mut self, feedback: &[Feedback<'_>]) {
        let [Feedback { slot: 0, outcome, executed: Some([executed]) }] = feedback else {
            panic!("{feedback:?}")
        };
        let Outcome { reward, end, success, .. } = *outcome;
        self.say(Heard::Followed { reward, end, success, executed: *executed });
    }
    fn remember(&mut self, _: usize, seen: &[f32], action: &[f32], outcome: &Outcome) {
        let Outcome { reward, end, .. } = *outcome;
        self.say(Heard::Remembered { seen: seen[0], reward, end, executed: action[0] });
    }
}

/// What should have been heard of an episode.
fn of_episode(driven: &DrivenEpisode, scope: ResetScope) -> Vec<Heard> {
    let e = &driven.episode;
    let last = e.len() - 1;
    let step = |t: usize| {
        let success = t == last && e.success == Some(true);
        let (reward, end, executed) = (e.reward[t], e.end[t], e.action[t]);
        [Heard::Acted(e.observation[t]), Heard::Followed { reward, end, success, executed }]
    };
    [Heard::Reset(scope)].into_iter().chain((0..e.len()).flat_map(step)).collect()
}

#[test]
fn episodes_of_one_task_are_heard_as_they_are_recorded_and_a_new_task_only_where_one_begins() {
    let task = || Box::new(Climb::new(12, 0.3));
    let parts = SessionParts {
        robot: Box::new(IdealRobot::new(contract())),
        task: task(),
        reader_task: task(),
        scene: Box::new(StandingScene),
        operator: Box::new(Unattended),
        episodes: None,
        recorded: 0,
        ticks: None,
    };
    let config = LiveConfig { clock: LiveClock::Simulated, ..LiveConfig::default() };
    let (first, second) = (Ear::default(), Ear::default());
    let policy = |version, ear: &Ear| Versioned { version, policy: Box::new(ear.clone()) };
    let mut session = Session::new(parts, &config, policy(1, &first)).unwrap();
    let mut expected = [Vec::new(), Vec::new()];
    let mut ends = Vec::new();
    for (i, scope) in [ResetScope::Task, ResetScope::Episode, ResetScope::Episode, ResetScope::Episode]
        .into_iter()
        .enumerate()
    {
        if i == 3 {
            assert!(session.offer(policy(2, &second)));
        }
        let order = Order {
            name: format!("e{i}"),
            seeds: EpisodeSeeds { reset: 0, noise: 0 },
            mode: ActMode::Exploit,
            scope,
            speed_percent: 100,
        };
        let Driven::Episodes { ordered, .. } = session.drive(&order, &Interrupt::new()).unwrap() else {
            panic!("interrupted")
        };
        let [driven] = &ordered[..] else { panic!("{} episodes", ordered.len()) };
        // Another policy begins anew, whatever the order says.
        let scope = if i == 3 { ResetScope::Task } else { scope };
        expected[i / 3].extend(of_episode(driven, scope));
        ends.push(*driven.episode.end.last().unwrap());
    }
    assert_eq!(ends, [StepEnd::Truncated, StepEnd::Truncated, StepEnd::Terminated, StepEnd::Terminated]);
    let end = session.close();
    assert_eq!(first.heard(), expected[0]);
    assert_eq!(second.heard(), expected[1]);
    assert_eq!(end.policy.unwrap().version, 2, "the policy comes back");
}

fn lockstep(ear: &Ear, max_steps: usize) -> Lockstep {
    let (control, ports) = ControlLoop::new(
        Box::new(IdealRobot::new(contract()).at(&[-0.9])),
        Box::new(Climb::new(max_steps, 2.0)),
        ControlConfig::default(),
        8,
    )
    .unwrap();
    let policy: Box<dyn Policy> = Box::new(ear.clone());
    Lockstep::new(control, ports, policy, 5)
}

/// Whatever a person asks for, and whenever.
#[test]
fn take_overs_stops_and_verdicts_are_heard_as_they_are_recorded() {
    const WISHES: [Request; 10] = [
        Request::Run,
        Request::TakeOver,
        Request::HandBack,
        Request::Pause,
        Request::Resume,
        Request::Hold,
        Request::ProtectiveStop,
        Request::Acknowledge,
        Request::Mark(Label::Success),
        Request::Mark(Label::Failure),
    ];
    let (mut steps, mut by_hand) = (0, 0);
    for seed in 0..40 {
        let ear = Ear::default();
        let mut run = lockstep(&ear, 25);
        let mut reader = EpisodesFromTicks::new(Box::new(Climb::new(25, 2.0)), &contract()).unwrap();
        let mut stream = Stream::new(seed, "wishes", 0);
        let mut episodes = Vec::new();
        for tick in 0..1200 {
            match tick {
                3 => run.ask(Request::Arm),
                40 => run.ask(Request::Run),
                _ if stream.below(25) == 0 => run.ask(WISHES[stream.below(WISHES.len())]),
                _ => true,
            };
            if let Some(mut action) = run.ports.human.lend() {
                action[0] = -0.25;
                run.ports.human.send(action);
            }
            run.period();
            while let Some(tick) = run.ports.ticks.receive() {
                episodes.extend(reader.push(&tick));
                run.ports.ticks.give_back(tick);
            }
        }
        run.ask(Request::Hold);
        for _ in 0..50 {
            run.period();
            while let Some(tick) = run.ports.ticks.receive() {
                episodes.extend(reader.push(&tick));
                run.ports.ticks.give_back(tick);
            }
        }
        assert!(!matches!(run.control.mode(), Mode::Running(_)));
        by_hand += episodes.iter().flat_map(|d| &d.episode.human).filter(|h| **h).count();
        // What was heard, as steps: what a policy was asked for last and never did is none.
        let heard = ear.heard();
        let mut lives: Vec<Vec<(f32, StepEnd, f32)>> = Vec::new();
        for (i, word) in heard.iter().enumerate() {
            match word {
                Heard::Reset(_) => lives.push(Vec::new()),
                Heard::Acted(_) => {}
                Heard::Followed { reward, end, executed, .. } => {
                    // A stop in the period in which a step ended came too late to be told with it.
                    let asked = matches!(heard.get(i + 1), Some(Heard::Acted(_)));
                    let left = asked && !matches!(heard.get(i + 2), Some(Heard::Followed { .. }));
                    let end = if *end == StepEnd::Running && left { StepEnd::Truncated } else { *end };
                    lives.last_mut().unwrap().push((*reward, end, *executed));
                }
                Heard::Remembered { .. } => panic!("everything was answered in time"),
            }
        }
        lives.retain(|life| !life.is_empty());
        let recorded: Vec<Vec<(f32, StepEnd, f32)>> = episodes
            .iter()
            .map(|d| &d.episode)
            .map(|e| (0..e.len()).map(|t| (e.reward[t], e.end[t], e.action[t])).collect())
            .collect();
        assert_eq!(lives, recorded, "seed {seed}");
        steps += recorded.iter().map(Vec::len).sum::<usize>();
    }
    assert!(steps > 1_000 && by_hand > 300, "{steps} steps, {by_hand} by hand");
}

/// A policy that takes nothing for a while is told the sum of what it missed, and that an episode has ended.
#[test]
fn what_could_not_be_told_is_told_later() {
    let (mut control, mut ports) = ControlLoop::new(
        Box::new(IdealRobot::new(contract()).at(&[0.25])),
        Box::new(Climb::new(40, 2.0)),
        // A policy that answers nothing is not to be braked for here.
        ControlConfig { policy_fade_periods: 1e6, policy_brake_periods: 1e6, ..ControlConfig::default() },
        8,
    )
    .unwrap();
    let mut now = 0;
    let mut periods = |control: &mut ControlLoop, n: usize| {
        for _ in 0..n {
            now += 10_000_000;
            control.step(now);
        }
    };
    let ask = |ports: &mut surefoot_engine::control::ControlPorts, request| {
        ports.requests.lend().unwrap();
        ports.requests.send(request);
    };
    periods(&mut control, 3);
    ask(&mut ports, Request::Arm);
    periods(&mut control, 40);
    ask(&mut ports, Request::Run);
    // An episode of 40 steps, and the first steps of the next one.
    periods(&mut control, 40 * 5 + 2);
    ask(&mut ports, Request::Hold);
    periods(&mut control, 20);
    let mut told = Vec::new();
    let mut take = |ports: &mut surefoot_engine::control::ControlPorts| {
        while let Some(input) = ports.observations.receive() {
            told.push(input.clone());
            ports.observations.give_back(input);
        }
    };
    take(&mut ports);
    ask(&mut ports, Request::Run);
    periods(&mut control, 11);
    take(&mut ports);
    let rewards: f32 = told.iter().filter(|i| i.stepped).map(|i| i.outcome.reward).sum();
    // The robot stands at 0.25: 40 steps of the first episode, two of the second.
    assert!((rewards - 42.0 * 0.25).abs() < 1e-4, "{rewards}");
    let ends: Vec<StepEnd> = told.iter().filter(|i| i.stepped).map(|i| i.outcome.end).collect();
    assert_eq!(ends.iter().filter(|e| e.is_last()).count(), 1, "{ends:?}");
    assert_eq!(told.iter().filter(|i| i.first).count(), 2, "both drives were told of");
    assert!(
        told.iter().all(|i| i.wanted),
        "the last word of the first drive came with the second one's first"
    );
}
