//! Task families: many tasks that differ in what is hidden. One file and one registry line each.

pub mod actuator_scramble;
pub mod adversarial_bandit;
mod bandit;
pub mod bernoulli_bandit;
pub mod dark_key_to_door;
pub mod dark_room;
pub mod dark_room_hard;
mod grid;
pub mod reach_dark;
mod round_pool;
pub mod shuffleboard;
pub mod watermaze;

use surefoot_core::{EnvError, Stream, TaskFamily};

/// What every family is built in.
#[derive(Clone, Copy, Debug, Default)]
pub struct FamilyContext {}

surefoot_core::registry! {
    /// A choice of task family: `[family.NAME]`.
    pub enum FamilyConfig: fn(&FamilyContext) -> Result<Box<dyn TaskFamily>, EnvError> {
        /// Ten arms, one of which pays: an odd one in training, an even one when judged.
        AdversarialBandit(adversarial_bandit::AdversarialBanditFamilyConfig) = "adversarial_bandit",
        /// Ten arms that each pay with a chance of its own.
        BernoulliBandit(bernoulli_bandit::BernoulliBanditFamilyConfig) = "bernoulli_bandit",
        /// A dark room of 9 x 9 cells with a hidden goal that pays at each step.
        DarkRoom(dark_room::DarkRoomFamilyConfig) = "dark_room",
        /// A dark room of 17 x 17 cells with a hidden goal that pays once.
        DarkRoomHard(dark_room_hard::DarkRoomHardFamilyConfig) = "dark_room_hard",
        /// A dark room of 9 x 9 cells with a hidden key and a hidden door.
        DarkKeyToDoor(dark_key_to_door::DarkKeyToDoorFamilyConfig) = "dark_key_to_door",
        /// The seven-joint arm looks for an invisible disc over the table.
        ReachDark(reach_dark::ReachDarkFamilyConfig) = "reach_dark",
        /// The seven-joint arm with its actuators plugged in anew: which joint each moves, and which way, is hidden.
        ActuatorScramble(actuator_scramble::ActuatorScrambleFamilyConfig) = "actuator_scramble",
        /// A puck of unknown mass slides over a board of unknown friction to a target.
        Shuffleboard(shuffleboard::ShuffleboardFamilyConfig) = "shuffleboard",
        /// A round pool, seen in first person, with a platform in it that is not seen.
        Watermaze(watermaze::WatermazeFamilyConfig) = "watermaze",
    }
}

/// Shuffles, by a stream.
fn shuffle<T>(items: &mut [T], stream: &mut Stream) {
    for i in (1..items.len()).rev() {
        items.swap(i, stream.below(i + 1));
    }
}

/// Draws `wanted` of the items so that every stratum gives its share, as even as whole numbers allow: which stratum an item is in says
/// `stratum`. Gives `(kept, drawn)`, both in the order of the items.
fn draw_stratified<T: Clone>(
    items: &[T],
    stratum: impl Fn(&T) -> usize,
    wanted: usize,
    stream: &mut Stream,
) -> (Vec<T>, Vec<T>) {
    let mut order: Vec<usize> = (0..items.len()).collect();
    shuffle(&mut order, stream);
    // Random within a stratum; then every k-th item of all strata in a row.
    order.sort_by_key(|i| stratum(&items[*i]));
    let wanted = wanted.min(items.len());
    let mut drawn = vec![false; items.len()];
    for n in 0..wanted {
        drawn[order[(2 * n + 1) * items.len() / (2 * wanted)]] = true;
    }
    let part =
        |is: bool| items.iter().zip(&drawn).filter(|(_, d)| **d == is).map(|(t, _)| t.clone()).collect();
    (part(false), part(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use surefoot_core::TaskSplit;

    #[test]
    fn strata_give_their_share() {
        let items: Vec<usize> = (0..80).collect();
        let (kept, drawn) = draw_stratified(&items, |i| i / 20, 16, &mut Stream::new(3, "split", 0));
        assert_eq!((kept.len(), drawn.len()), (64, 16));
        for s in 0..4 {
            assert_eq!(drawn.iter().filter(|i| **i / 20 == s).count(), 4);
        }
        assert_eq!(draw_stratified(&items, |_| 0, 200, &mut Stream::new(3, "split", 0)).1, items);
        assert_eq!(draw_stratified(&items, |_| 0, 0, &mut Stream::new(3, "split", 0)).0, items);
    }

    /// Holds for every family: tasks are numbered once, references are in order, worlds can be built, and observations do not tell tasks
    /// apart.
    #[test]
    fn every_family_keeps_its_promises() {
        for name in FamilyConfig::NAMES {
            let build = || FamilyConfig::default_of(name).unwrap().build(&FamilyContext {}).unwrap();
            let family = build();
            let mut ids = BTreeSet::new();
            let mut first_observations = BTreeSet::new();
            for split in TaskSplit::ALL {
                let tasks = family.tasks(split);
                assert_eq!(
                    tasks,
                    build().tasks(split),
                    "{name}: the same configuration gives the same tasks"
                );
                for task in &tasks {
                    assert!(ids.insert(task.id), "{name}: task {} twice", task.id);
                    assert_eq!(task.split, split);
                    assert!(task.random_return < task.optimal_return, "{name}: {task:?}");
                }
                for task in tasks.iter().take(5) {
                    let mut env = family.env(&task.params).unwrap();
                    assert_eq!(env.spec(), family.spec(), "{name}");
                    let mut observation = vec![0.0; family.spec().observation_dim()];
                    env.reset(7, &mut observation).unwrap();
                    first_observations.insert(format!("{observation:?}"));
                }
            }
            assert!(!family.tasks(TaskSplit::Train).is_empty(), "{name}");
            assert!(!family.tasks(TaskSplit::TestIn).is_empty(), "{name}");
            assert_eq!(first_observations.len(), 1, "{name}: an observation tells the task");
            assert!(family.env(&[f32::NAN]).is_err(), "{name}: there is no such task");
        }
    }

    /// The optimal return is what the oracle gets, the random one what random actions get.
    #[test]
    fn references_are_what_oracle_and_random_actions_get() {
        for name in FamilyConfig::NAMES {
            let family = FamilyConfig::default_of(name).unwrap().build(&FamilyContext {}).unwrap();
            let tasks = family.tasks(TaskSplit::TestIn);
            let mut got = [0.0; 2];
            let mut promised = [0.0; 2];
            let mut squares = [0.0; 2];
            let mut n = 0.0;
            let spec = family.spec();
            let (mut observation, mut action) =
                (vec![0.0; spec.observation_dim()], vec![0.0; spec.action_dim()]);
            let mut executed = action.clone();
            // Physics takes its time, and so do pictures.
            let stepped = spec.action[0].low.is_some();
            let slow = stepped || spec.observation_dim() > 1000;
            let per_task = if slow { 1 } else { (400 / tasks.len()).max(1) };
            for (task, episode) in tasks.iter().flat_map(|t| (0..per_task).map(move |e| (t, e as u64))) {
                let mut env = family.env(&task.params).unwrap();
                let mut oracle = family.oracle(&task.params).unwrap();
                let mut random = Stream::new(episode, "random actions", task.id);
                promised[0] += f64::from(task.random_return);
                promised[1] += f64::from(task.optimal_return);
                n += 1.0;
                for arm in 0..2 {
                    // Not the same luck for every task.
                    env.reset(1000 * task.id + episode, &mut observation).unwrap();
                    oracle.reset(episode);
                    let mut total = 0.0;
                    for step in 1.. {
                        if arm == 0 {
                            for (a, field) in action.iter_mut().zip(&spec.action) {
                                *a = random.below(field.choices.unwrap() as usize) as f32;
                            }
                        } else {
                            oracle.act(&observation, &mut action);
                        }
                        let outcome = env.step(&action, &mut observation, &mut executed).unwrap();
                        assert_eq!(executed, action);
                        oracle.observe(&observation, &outcome);
                        total += f64::from(outcome.reward);
                        let (low, high) = spec.reward_range.unwrap();
                        assert!((low..=high).contains(&outcome.reward), "{name}");
                        if outcome.end.is_last() {
                            assert!(step <= spec.max_steps);
                            break;
                        }
                    }
                    got[arm] += total;
                    let difference = total - f64::from([task.random_return, task.optimal_return][arm]);
                    squares[arm] += difference * difference;
                }
            }
            for (arm, what) in ["random", "oracle"].iter().enumerate() {
                let (found, meant) = (got[arm] / n, promised[arm] / n);
                // Four standard errors: this many families and seeds never exceed it by chance, and a wrong reference does. Where the
                // reference is a closed form of what physics makes in steps, 3 % besides.
                let besides = if stepped { 0.03 * meant } else { 1e-6 };
                let error = 4.0 * (squares[arm] / n / n).sqrt() + besides;
                assert!((found - meant).abs() <= error, "{name} {what}: {found} for {meant}, within {error}");
            }
        }
    }
}
