//! Source algorithms on task families: what each of them learns, beside the reference figures of its method.

use std::sync::Arc;

use surefoot_core::{FamilyTask, LearningHistory, TaskFamily, TaskSplit};
use surefoot_engine::Interrupt;
use surefoot_engine::collecting::{Beginning, Life, LifeError, collect};
use surefoot_policies::{SourceConfig, SourceContext};
use surefoot_sim::{EnvConfig, EnvContext, FamilyConfig, FamilyContext};

fn family(text: &str) -> Arc<dyn TaskFamily> {
    #[derive(serde::Deserialize)]
    struct Holder {
        family: FamilyConfig,
    }
    let holder: Holder = json(text);
    Arc::from(holder.family.build(&FamilyContext {}).unwrap())
}

fn source(text: &str) -> SourceConfig {
    #[derive(serde::Deserialize)]
    struct Holder {
        source: SourceConfig,
    }
    json::<Holder>(text).source
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

/// Learns every task once.
fn learn(
    family: &Arc<dyn TaskFamily>,
    tasks: &[FamilyTask],
    source: &SourceConfig,
    episodes: usize,
) -> Vec<LearningHistory> {
    let lives: Vec<Life> = (0..tasks.len())
        .map(|task| Life {
            task,
            stream: 0,
            seed: 100 + task as u64,
            episodes,
            keep_every: 1,
            source: 0,
            algorithm: source.name().into(),
            algorithm_config: "{}".into(),
        })
        .collect();
    let begin = |life: &Life| {
        let params = tasks[life.task].params.clone();
        let context = SourceContext { family: family.clone(), params: params.clone(), episodes };
        let source = source.build(&context).unwrap();
        Ok::<_, LifeError>(Beginning::new(source, &**family, &params)?)
    };
    let mut all = Vec::new();
    let whole = collect(&lives, 2, begin, &Interrupt::new(), |_, history| {
        history.validate(family.spec()).unwrap();
        all.push(history);
        Ok(())
    });
    assert!(whole.unwrap());
    all
}

/// Share of the optimal return, by episode, over all tasks; and the share of tasks that are solved to nine tenths at the end.
fn curve(tasks: &[FamilyTask], histories: &[LearningHistory]) -> (Vec<f64>, f64) {
    let optimal: f64 = tasks.iter().map(|t| f64::from(t.optimal_return)).sum();
    let returns: Vec<Vec<f32>> = histories.iter().map(LearningHistory::episode_returns).collect();
    let share = |e: usize| returns.iter().map(|r| f64::from(r[e])).sum::<f64>() / optimal;
    let curve: Vec<f64> = (0..returns[0].len()).map(share).collect();
    let last = |r: &[f32]| r[r.len().saturating_sub(5)..].iter().sum::<f32>() / 5.0_f32.min(r.len() as f32);
    let solved = tasks.iter().zip(&returns).filter(|(t, r)| last(r) >= 0.9 * t.optimal_return).count();
    (curve, solved as f64 / tasks.len() as f64)
}

fn all_tasks(family: &Arc<dyn TaskFamily>) -> Vec<FamilyTask> {
    TaskSplit::ALL.iter().flat_map(|s| family.tasks(*s)).collect()
}

fn mean(curve: &[f64], episodes: std::ops::Range<usize>) -> f64 {
    curve[episodes.clone()].iter().sum::<f64>() / episodes.len() as f64
}

/// What the curve is around some episodes, for one look at all of them.
fn near(curve: &[f64], expected: &[(std::ops::Range<usize>, f64)], within: f64) {
    let found: Vec<f64> = expected.iter().map(|(episodes, _)| mean(curve, episodes.clone())).collect();
    for ((episodes, meant), found_here) in expected.iter().zip(&found) {
        assert!(
            (meant - found_here).abs() <= within,
            "episodes {episodes:?}: {found_here} for {meant}; all: {found:?}"
        );
    }
}

#[test]
fn tabular_q_learns_every_dark_room_as_fast_as_its_reference() {
    let family = family(r#"{"family": {"dark_room": {}}}"#);
    let tasks = all_tasks(&family);
    assert_eq!(tasks.len(), 80);
    let histories = learn(&family, &tasks, &source(r#"{"source": {"tabular_q": {}}}"#), 200);
    let (curve, solved) = curve(&tasks, &histories);
    // The reference at 0, 25, 50, 75 and 100 % of 200 episodes.
    near(
        &curve,
        &[(0..3, 0.015), (47..54, 0.127), (97..104, 0.462), (147..154, 0.842), (190..200, 1.0)],
        0.06,
    );
    // A corner is not found by 1.7 in 100 random walks; that one of 80 goals stays unknown is luck.
    assert!(solved >= 0.97, "{solved}");
}

#[test]
fn coverage_finds_every_goal_by_the_fourth_episode() {
    let family = family(r#"{"family": {"dark_room": {}}}"#);
    let tasks = all_tasks(&family);
    let histories = learn(&family, &tasks, &source(r#"{"source": {"coverage": {}}}"#), 12);
    let (curve, solved) = curve(&tasks, &histories);
    near(&curve, &[(0..1, 0.16), (2..3, 0.66)], 0.08);
    assert!(curve[5..].iter().all(|share| *share == 1.0), "{curve:?}");
    assert_eq!(solved, 1.0);
}

#[test]
fn a_noisy_oracle_gets_better_and_not_worse() {
    let family = family(r#"{"family": {"dark_room": {}}}"#);
    let tasks = all_tasks(&family);
    let histories = learn(&family, &tasks, &source(r#"{"source": {"noisy_oracle": {}}}"#), 40);
    let (curve, _) = curve(&tasks, &histories);
    near(
        &curve,
        &[(0..2, 0.015), (9..11, 0.11), (19..21, 0.43), (29..31, 0.77), (38..39, 0.975), (39..40, 1.0)],
        0.07,
    );
    let still_random =
        learn(&family, &tasks, &source(r#"{"source": {"noisy_oracle": {"last_random_share": 1.0}}}"#), 10);
    assert!(self::curve(&tasks, &still_random).0.iter().all(|share| *share < 0.1));
}

#[test]
fn a_key_and_a_door_are_found_and_kept() {
    let family = family(r#"{"family": {"dark_key_to_door": {"train_tasks": 1, "test_tasks": 40}}}"#);
    let tasks = family.tasks(TaskSplit::TestIn);
    let histories = learn(&family, &tasks, &source(r#"{"source": {"coverage": {"places": 2}}}"#), 20);
    let (curve, solved) = curve(&tasks, &histories);
    assert!(curve[0] > 0.2 && mean(&curve, 12..20) > 0.99, "{curve:?}");
    assert!(solved > 0.97, "{solved}");
}

#[test]
fn bandit_learners_beat_chance_and_stay_below_the_best_arm() {
    for name in ["bernoulli_bandit", "adversarial_bandit"] {
        let family =
            family(&format!(r#"{{"family": {{"{name}": {{"train_tasks": 1, "test_tasks": 200}}}}}}"#));
        let tasks = family.tasks(TaskSplit::TestIn);
        let mut shares = Vec::new();
        for learner in ["ucb", "thompson", "exp3"] {
            let histories =
                learn(&family, &tasks, &source(&format!(r#"{{"source": {{"{learner}": {{}}}}}}"#)), 1);
            let share =
                |(t, h): (&FamilyTask, &LearningHistory)| f64::from(t.normalised(h.episode_returns()[0]));
            shares.push(tasks.iter().zip(&histories).map(share).sum::<f64>() / tasks.len() as f64);
        }
        assert!(shares.iter().all(|s| (0.1..0.95).contains(s)), "{name}: {shares:?}");
        assert!(shares[1] > shares[0] && shares[0] > shares[2], "{name}: thompson, ucb, exp3: {shares:?}");
    }
}

#[test]
fn the_secant_method_finds_a_board_within_three_shots() {
    let family = family(r#"{"family": {"shuffleboard": {"train_tasks": 60, "test_tasks": 1}}}"#);
    let tasks = family.tasks(TaskSplit::Train);
    let histories = learn(&family, &tasks, &source(r#"{"source": {"secant": {}}}"#), 1);
    let shots = family.spec().max_steps as f64;
    let optimal = tasks.iter().map(|t| f64::from(t.optimal_return)).sum::<f64>() / tasks.len() as f64 / shots;
    let shot = |i: usize| {
        histories.iter().map(|h| f64::from(h.rewards[i])).sum::<f64>() / tasks.len() as f64 / optimal
    };
    let shares: Vec<f64> = (0..16).map(shot).collect();
    let late = shares[8..].iter().sum::<f64>() / 8.0;
    assert!(shares[0] < 0.3 && shares[1] < 0.6 && shares[3] > 0.6 && late > 0.9, "{shares:?}");
}

#[test]
fn a_sweep_finds_the_discs_in_the_dark() {
    let family = family(r#"{"family": {"reach_dark": {"train_tasks": 12, "test_tasks": 1}}}"#);
    let tasks = family.tasks(TaskSplit::Train);
    let histories = learn(&family, &tasks, &source(r#"{"source": {"sweep": {}}}"#), 12);
    let (curve, _) = curve(&tasks, &histories);
    assert!(curve[0] < 0.5 && mean(&curve, 9..12) > 0.9, "{curve:?}");
}

/// A room of 5 x 5 cells, episodes of 10 steps: large enough for a network to have something to learn, and small enough for a test.
const SMALL_ROOM: &str = r#"{"family": {"dark_room": {"size": 5, "horizon": 10, "test_goals": 6}}}"#;

#[test]
fn a_small_network_learns_small_rooms_by_q_learning() {
    let family = family(SMALL_ROOM);
    let tasks = family.tasks(TaskSplit::TestIn);
    for double in [false, true] {
        let dqn = source(&format!(r#"{{"source": {{"dqn": {{"double": {double}, "hidden": [32]}}}}}}"#));
        let histories = learn(&family, &tasks, &dqn, 120);
        let (curve, solved) = curve(&tasks, &histories);
        let (early, late) = (mean(&curve, 0..10), mean(&curve, 112..120));
        assert!(early < 0.25 && late > 0.85, "double {double}: {early} to {late}; {curve:?}");
        assert!(solved >= 0.6, "double {double}: {solved}");
        let versions = &histories[0].updates;
        assert!(versions[0] == 0 && versions.last().is_some_and(|v| *v > 1000), "{:?}", versions.last());
    }
}

#[test]
fn a_small_network_learns_a_pool_from_pixels() {
    let pool = r#"{"family": {"watermaze": {"rows": 6, "columns": 8, "train_tasks": 4, "test_tasks": 1}}}"#;
    let family = family(pool);
    let tasks = family.tasks(TaskSplit::Train);
    let histories = learn(&family, &tasks, &source(r#"{"source": {"dqn": {"steps_per_update": 2}}}"#), 100);
    let (curve, solved) = curve(&tasks, &histories);
    let (early, late) = (mean(&curve, 0..20), mean(&curve, 90..100));
    assert!(early < 0.15 && late > 0.7, "{early} to {late}; {curve:?}");
    assert!(solved >= 0.5, "{solved}");
    // Whoever knows the platform finds out by sight where random actions have led.
    let histories = learn(&family, &tasks, &source(r#"{"source": {"noisy_oracle": {}}}"#), 12);
    let (curve, _) = self::curve(&tasks, &histories);
    assert!(curve[0] < 0.3 && curve[8] > 0.6 && curve[11] == 1.0, "{curve:?}");
}

#[test]
fn each_actor_of_an_actor_critic_has_a_history_of_its_own() {
    let family = family(SMALL_ROOM);
    let tasks = family.tasks(TaskSplit::TestIn);
    let a2c = source(r#"{"source": {"a2c": {"actors": 8, "hidden": [32]}}}"#);
    let histories = learn(&family, &tasks, &a2c, 150);
    assert_eq!(histories.len(), 8 * tasks.len());
    let (mut early, mut late) = (0.0, 0.0);
    for (task, streams) in tasks.iter().zip(histories.chunks(8)) {
        for (i, stream) in streams.iter().enumerate() {
            assert_eq!((stream.stream as usize, stream.episodes().count()), (i, 150));
            let returns = stream.episode_returns();
            let mean = |part: &[f32]| f64::from(part.iter().sum::<f32>()) / part.len() as f64;
            let share = 1.0 / f64::from(task.optimal_return) / histories.len() as f64;
            early += share * mean(&returns[..10]);
            late += share * mean(&returns[140..]);
        }
        assert!(streams.iter().all(|s| s.updates == streams[0].updates), "they share their learner");
        assert!(streams.iter().skip(1).all(|s| s.actions != streams[0].actions), "and not their luck");
    }
    assert!(early < 0.25 && late > 0.85, "{early} to {late}");
}

#[test]
fn small_networks_learn_bandits_within_a_life() {
    let family =
        family(r#"{"family": {"bernoulli_bandit": {"arms": 4, "train_tasks": 1, "test_tasks": 12}}}"#);
    let tasks = family.tasks(TaskSplit::TestIn);
    for learner in [
        r#"{"dqn": {"hidden": [], "learning_rate": 0.02, "warm_up_steps": 10, "discount": 0.0}}"#,
        r#"{"a2c": {"actors": 4, "hidden": [], "rollout_steps": 5, "learning_rate": 0.05, "discount": 0.0}}"#,
    ] {
        let source = source(&format!(r#"{{"source": {learner}}}"#));
        let histories = learn(&family, &tasks, &source, 5);
        let streams = histories.len() / tasks.len();
        let share = |episode: usize| {
            let of = |(i, h): (usize, &LearningHistory)| {
                f64::from(tasks[i / streams].normalised(h.episode_returns()[episode]))
            };
            histories.iter().enumerate().map(of).sum::<f64>() / histories.len() as f64
        };
        assert!(share(4) > share(0) + 0.2 && share(4) > 0.5, "{learner}: {} to {}", share(0), share(4));
    }
}

#[test]
fn a_learner_of_this_program_learns_a_board_and_says_when_it_was_given_what() {
    use surefoot_core::HistoryPhase::{Eval, Offline, Online};
    let family = family(r#"{"family": {"shuffleboard": {"train_tasks": 3, "test_tasks": 1}}}"#);
    let tasks = family.tasks(TaskSplit::Train);
    let small =
        r#"{"actor": {"hidden": [32]}, "critic": {"hidden": [32]}, "offline_batch": 64, "online_batch": 64}"#;
    let awac = source(&format!(
        r#"{{"source": {{"learner": {{"learner": {{"awac": {small}}}, "demonstrations": 2, "random_episodes": 2,
        "offline_updates": 40, "judge_every_episodes": 4}}}}}}"#
    ));
    assert_eq!(awac.algorithm(), "awac");
    let histories = learn(&family, &tasks, &awac, 20);
    for h in &histories {
        let episodes: Vec<_> = h.episodes().collect();
        let phases: Vec<_> = episodes.iter().map(|e| h.phases[e.start]).collect();
        let expected: Vec<_> = (0..20_usize)
            .map(|e| match e {
                0..2 => Offline,
                7 | 11 | 15 | 19 => Eval,
                _ => Online,
            })
            .collect();
        assert_eq!(phases, expected);
        let version = |e: usize| h.updates[episodes[e].start];
        assert_eq!([0, 3, 4, 5].map(version), [0, 0, 40, 56], "16 updates after an episode of 16 shots");
        // A judged episode is not learned from.
        assert_eq!(version(8), version(7));
    }
    assert_eq!(learn(&family, &tasks, &awac, 20), histories, "the same seeds, the same bits");
    let room = self::family(SMALL_ROOM);
    let context = SourceContext {
        family: room.clone(),
        params: room.tasks(TaskSplit::TestIn)[0].params.clone(),
        episodes: 9,
    };
    let said = awac.build(&context).err().unwrap().to_string();
    assert!(
        said.contains("it needs actions that are quantities or evenly spaced values, and there is move"),
        "{said}"
    );
    let wrong = source(r#"{"source": {"learner": {"learner": {"awac": {"temperature": -1.0}}}}}"#);
    let context = SourceContext { family: family.clone(), params: tasks[0].params.clone(), episodes: 9 };
    let said = wrong.build(&context).err().unwrap().to_string();
    assert!(
        said.contains("algorithm.learner.learner cannot be used") && said.contains("temperature"),
        "{said}"
    );
}

#[test]
fn a_probe_finds_every_wiring_in_its_first_episode_or_one_actuator_in_each() {
    let family = family(r#"{"family": {"actuator_scramble": {"train_tasks": 12, "test_tasks": 1}}}"#);
    let tasks = family.tasks(TaskSplit::Train);
    let of = |text: &str| curve(&tasks, &learn(&family, &tasks, &source(text), 6));
    let (at_once, solved) = of(r#"{"source": {"wiring_probe": {}}}"#);
    assert!((0.7..0.95).contains(&at_once[0]) && mean(&at_once, 1..6) > 0.9, "{at_once:?}");
    assert!(solved > 0.6, "{solved}");
    let (one_by_one, _) = of(r#"{"source": {"wiring_probe": {"per_episode": 1}}}"#);
    assert!(one_by_one[0] < 0.5 && mean(&one_by_one, 4..6) > 0.9, "{one_by_one:?}");
    let words = {
        let context = SourceContext {
            family: self::family(r#"{"family": {"dark_room": {}}}"#),
            params: vec![7.0, 2.0],
            episodes: 1,
        };
        source(r#"{"source": {"wiring_probe": {}}}"#).build(&context).err().unwrap().to_string()
    };
    assert!(words.starts_with("wiring_probe cannot learn dark_room"), "{words}");
}

#[test]
fn a_source_says_what_it_cannot_learn() {
    let bandit = family(r#"{"family": {"bernoulli_bandit": {"train_tasks": 1, "test_tasks": 1}}}"#);
    let room = family(r#"{"family": {"dark_room": {}}}"#);
    let said = |family: &Arc<dyn TaskFamily>, text: &str| {
        let params = family.tasks(TaskSplit::TestIn)[0].params.clone();
        let context = SourceContext { family: family.clone(), params, episodes: 1 };
        source(text).build(&context).err().unwrap().to_string()
    };
    let words = said(&room, r#"{"source": {"ucb": {}}}"#);
    assert!(words.starts_with("ucb cannot learn dark_room: it needs a bandit"), "{words}");
    let words = said(&bandit, r#"{"source": {"coverage": {}}}"#);
    assert!(words.starts_with("coverage cannot learn bernoulli_bandit: it needs a room of cells"), "{words}");
    let words = said(&room, r#"{"source": {"tabular_q": {"discount": 1.5}}}"#);
    assert_eq!(words, "algorithm.tabular_q.discount = 1.5: expected 0 to 1");
    assert!(EnvConfig::default_of("dark_room").unwrap().build(&EnvContext::default()).is_ok());
}
