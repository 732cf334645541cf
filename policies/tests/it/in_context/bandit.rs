//! A small family with its learner: Bernoulli arms and Thompson sampling.

use surefoot_core::{
    EnvSpec, FamilyTask, Field, Histories, HistoryMeta, HistoryPhase, LearningHistory, StepEnd, Stream,
    TaskSplit,
};

pub fn spec(arms: u32, trials: usize) -> EnvSpec {
    EnvSpec {
        name: "arms".into(),
        observation: vec![Field::choice("nothing", 1)],
        action: vec![Field::choice("arm", arms)],
        step_secs: 1.0,
        max_steps: trials,
        reward_range: Some((0.0, 1.0)),
        contract_hash: None,
    }
}

/// Chance of each arm in a task.
pub fn chances(task: u64, arms: usize) -> Vec<f32> {
    let mut stream = Stream::new(task, "arms", 0);
    let best = stream.below(arms);
    (0..arms).map(|a| if a == best { 0.9 } else { 0.1 }).collect()
}

/// Follows the best mean so far, with the optimism of one success that nobody has seen.
fn choose(tried: &[[f64; 2]], stream: &mut Stream) -> usize {
    let score = |t: &[f64; 2]| (t[1] + 1.0) / (t[0] + 1.5);
    let most = tried.iter().map(score).fold(f64::NEG_INFINITY, f64::max);
    let best: Vec<usize> = (0..tried.len()).filter(|a| score(&tried[*a]) >= most - 1e-9).collect();
    best[stream.below(best.len())]
}

/// `tasks` histories of one episode of `trials` pulls.
pub fn histories(tasks: usize, arms: usize, trials: usize) -> Histories {
    let all: Vec<LearningHistory> = (0..tasks)
        .map(|task| {
            let chances = chances(task as u64, arms);
            let mut stream = Stream::new(task as u64, "pulls", 0);
            let mut tried = vec![[0.0; 2]; arms];
            let mut h =
                LearningHistory { task, algorithm: "greedy".into(), complete: true, ..Default::default() };
            for t in 0..trials {
                let arm = choose(&tried, &mut stream);
                let reward = f32::from(u8::from(stream.unit() < f64::from(chances[arm])));
                tried[arm][0] += 1.0;
                tried[arm][1] += f64::from(reward);
                h.observations.push(0.0);
                h.actions.push(arm as f32);
                h.rewards.push(reward);
                h.ends.push(if t + 1 == trials { StepEnd::Truncated } else { StepEnd::Running });
                h.updates.push(t as u32);
                h.phases.push(HistoryPhase::Online);
            }
            h.final_observations.push(0.0);
            h
        })
        .collect();
    let task = |id: u64| FamilyTask {
        id,
        split: TaskSplit::Train,
        params: chances(id, arms),
        random_return: 0.2 * trials as f32,
        optimal_return: 0.9 * trials as f32,
    };
    let meta = HistoryMeta {
        spec: spec(arms as u32, trials),
        family: "arms".into(),
        family_config: "{}".into(),
        tasks: (0..tasks as u64).map(task).collect(),
        hash: String::new(),
    };
    Histories::new(meta, all).unwrap()
}
