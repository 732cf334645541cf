//! `surefoot distill` as a user meets it.

use surefoot_engine::in_context::Evidence;

use crate::program::{Workplace, assert_same_run};
use crate::resume::signal_at;

const ROOM: &str = r#"
name = "room"
seed = 3
[histories.lived]
family = { dark_room = {} }
source = { coverage = {} }
per_task = 2
episodes = 6
[model]
width = 16
layers = 2
feed_forward = 16
window = 20
[optimizer]
updates = 60
batch = 4
warm_up_updates = 5
[evaluation]
validation_tasks = 4
validation = { episodes = 3, lives = 1 }
every_updates = 10
log_every_updates = 5
test = { episodes = 4, lives = 1 }
[[arm]]
name = "blind"
overrides = ["model.rewards=false"]
"#;

fn workplace() -> Workplace {
    let workplace = Workplace::new();
    std::fs::write(workplace.path("room.toml"), ROOM).unwrap();
    workplace
}

#[test]
fn a_distillation_goes_on_bit_for_bit_and_its_policy_is_one_like_any_other() {
    let workplace = workplace();
    let table = workplace.succeed(&["distill", "room.toml", "--run-dir", "whole", "--threads", "1"]);
    for row in ["new tasks (16)", "| ad |", "| source |", "| oracle | 1 | 100.0 [100.0, 100.0]"] {
        assert!(table.contains(row), "{row} in\n{table}");
    }
    let cut = ["distill", "room.toml", "--run-dir", "cut", "--threads", "2", "--json"];
    assert_eq!(signal_at(&workplace, &cut, "-INT", "\"distill_progress\"", 2), 130);
    assert!(!workplace.path("cut/results.json").exists());
    workplace.fail(&["distill", "cut", "seed=4"], 2, &["its own settings"]);
    workplace.succeed(&["distill", "cut", "--threads", "2"]);
    assert_same_run(&workplace.path("whole"), &workplace.path("cut"));
    let policy = |run: &str| std::fs::read(workplace.path(run).join("policy/policy.safetensors")).unwrap();
    assert_eq!(policy("whole"), policy("cut"));
    // A finished one is shown again.
    assert_eq!(workplace.succeed(&["distill", "cut"]), table);
    workplace.fail(&["distill", "room.toml", "--run-dir", "whole"], 1, &["whole", "exists"]);
    let judged = workplace.succeed(&["eval", "whole", "--episodes", "3", "--json"]);
    assert!(judged.contains("\"return_mean\""), "{judged}");
    workplace.fail(&["eval", "whole", "--env", "push"], 1, &["observation"]);
    workplace.fail(&["export", "whole", "--to", "policy.onnx"], 1, &["architecture"]);
}

#[test]
fn arms_stand_side_by_side() {
    let workplace = workplace();
    let arms = ["distill", "room.toml", "--arms", "--seeds", "0,1", "--to", "out", "--threads", "2"];
    let table = workplace.succeed(&arms);
    for row in ["| ad | 2 |", "| blind | 2 |", "| source |"] {
        assert!(table.contains(row), "{row} in\n{table}");
    }
    let json = std::fs::read(workplace.path("out/evidence.json")).unwrap();
    let evidence: Evidence = serde_json::from_slice(&json).unwrap();
    assert!(evidence.arms.iter().all(|a| a.goals == 16) && evidence.ceiling.is_some());
    let page = std::fs::read_to_string(workplace.path("out/report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("By task") && !page.contains("NaN"));
    // Nothing is trained twice, and other settings are another comparison.
    let again = ["distill", "room.toml", "--arms", "--seeds", "0,1", "--to", "out", "--report-only"];
    assert_eq!(workplace.succeed(&again), table);
    let other = ["distill", "room.toml", "optimizer.batch=5", "--arms", "--to", "out"];
    workplace.fail(&other, 2, &["ad-s0", "other settings"]);
}

#[test]
fn an_arm_that_names_histories_of_its_own_does_not_learn_from_those_of_the_arm_before() {
    let workplace = workplace();
    let arm = "[[arm]]\nname = \"brief\"\noverrides = [\"histories.lived.episodes=3\"]\n";
    std::fs::write(workplace.path("room.toml"), format!("{ROOM}{arm}")).unwrap();
    let few = ["optimizer.updates=2", "evaluation.every_updates=2", "optimizer.warm_up_updates=1"];
    let arms = ["distill", "room.toml", "--arms", "--to", "out", "--threads", "2"];
    let args: Vec<&str> = arms.iter().chain(&few).copied().collect();
    let table = workplace.succeed(&args);
    assert!(table.contains("| brief | 1 |"), "{table}");
    let steps = |run: &str| -> u64 {
        let json = std::fs::read(workplace.path(run).join("results.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&json).unwrap()["steps"].as_u64().unwrap()
    };
    assert_eq!(2 * steps("out/brief-s0"), steps("out/ad-s0"));
}

#[test]
fn each_seed_can_have_a_split_of_the_tasks_of_its_own() {
    let workplace = workplace();
    let arms =
        ["distill", "room.toml", "--arms", "--seeds", "0,1", "--splits", "--to", "out", "--threads", "2"];
    let table = workplace.succeed(&arms);
    for row in ["| ad | 2 |", "| source | 2 |", "| oracle | 2 | 100.0 [100.0, 100.0]"] {
        assert!(table.contains(row), "{row} in\n{table}");
    }
    let json = std::fs::read(workplace.path("out/evidence.json")).unwrap();
    let evidence: Evidence = serde_json::from_slice(&json).unwrap();
    for arm in &evidence.arms {
        let judged: usize = arm.by_goal.iter().map(|g| g.seeds).sum();
        assert!(arm.goals > 16 && judged == 32, "{} goals, judged {judged} times", arm.goals);
    }
    let config = std::fs::read_to_string(workplace.path("out/ad-s1/config.toml")).unwrap();
    assert!(config.contains("split_seed = 1"), "{config}");
    let of_file =
        ["distill", "room.toml", "histories={file='lives.hdf5'}", "--arms", "--splits", "--to", "none"];
    workplace.fail(&of_file, 2, &["--splits", "one split"]);
}

#[test]
fn settings_that_cannot_be_used_are_named_before_anything_is_begun() {
    let workplace = workplace();
    for (given, words) in [
        ("model.heads=3", &["model.heads"][..]),
        ("model.widht=3", &["widht", "width"]),
        ("evaluation.validation_tasks=64", &["validation_tasks", "64 tasks"]),
        ("histories.lived.per_task=0", &["per_task"]),
        ("histories.lived.source={ucb={}}", &["ucb", "dark_room"]),
    ] {
        workplace.fail(&["distill", "room.toml", given, "--run-dir", "none"], 2, words);
        assert!(!workplace.path("none").exists(), "{given}");
    }
}
