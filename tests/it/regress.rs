//! `surefoot regress` as a user meets it: verdicts and their exit codes, golden files, shards, bad input.

use serde_json::Value;

use crate::program::Workplace;
use crate::resume::signal_at;

/// Two worlds at each level; the third is left to the test.
const SUITE: &str = r#"
name = "small"

[[scenario]]
name = "pendulum"
level = { bit_exact = {} }
env = { pendulum = { max_steps = 60 } }
policy = { demonstrator = { pendulum = { failure_share = 0.0 } } }
seeds = { seed = 1, episodes = 3 }

[[scenario]]
name = "cart_pole"
level = { tolerance = {} }
env = { cart_pole = { max_steps = 60 } }
policy = { demonstrator = { cart_pole = { failure_share = 0.0 } } }
seeds = { episodes = 2 }

[[scenario]]
name = "reach"
level = { statistical = {} }
env = { reach = { max_steps = 20 } }
policy = { demonstrator = { reach = { failure_share = 0.0, action_noise = 0.05 } } }
seeds = { episodes = 40 }
"#;

fn workplace() -> Workplace {
    let workplace = Workplace::new();
    write(&workplace, SUITE);
    workplace
}

fn write(workplace: &Workplace, suite: &str) {
    std::fs::write(workplace.path("suite.toml"), suite).unwrap();
}

fn read(workplace: &Workplace, name: &str) -> String {
    std::fs::read_to_string(workplace.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn report(workplace: &Workplace, name: &str) -> Value {
    serde_json::from_str(&read(workplace, name)).unwrap()
}

const RUN: [&str; 4] = ["regress", "suite.toml", "--to", "out"];

#[test]
fn what_is_blessed_passes_bit_for_bit_on_any_number_of_threads_and_costs_nothing_again() {
    let workplace = workplace();
    workplace.fail(&RUN, 5, &["not comparable", "3 not comparable"]);
    assert!(read(&workplace, "out/report.md").contains("there is no golden file golden/small/pendulum.json"));
    let said = workplace.succeed(&["regress", "suite.toml", "--to", "out", "--bless", "--threads", "1"]);
    assert_eq!(said.matches("golden: new").count(), 3, "{said}");
    let golden = |name: &str| std::fs::read(workplace.path(&format!("golden/small/{name}"))).unwrap();
    let files = ["pendulum.json", "pendulum.trace", "cart_pole.json", "cart_pole.trace", "reach.json"];
    let before = files.map(golden);

    let mut reports = Vec::new();
    for threads in ["1", "2", "4"] {
        let to = format!("on-{threads}");
        let said = workplace.succeed(&["regress", "suite.toml", "--to", &to, "--threads", threads]);
        assert!(said.contains("small: passed (3 passed)"), "{said}");
        reports.push(
            ["report.json", "report.html", "report.md", "junit.xml"]
                .map(|name| read(&workplace, &format!("{to}/{name}"))),
        );
    }
    assert!(reports[0] == reports[1] && reports[0] == reports[2], "the number of threads changes nothing");
    let said = workplace.succeed(&["regress", "suite.toml", "--to", "on-4", "--bless"]);
    assert_eq!(said.matches("golden: unchanged").count(), 3, "{said}");
    assert!(before == files.map(golden), "what is unchanged is not written");

    // Once more: every block was kept.
    let (code, _, notes) = workplace.run(&["regress", "suite.toml", "--to", "on-1"]);
    assert_eq!(code, 0, "{notes}");
    assert!(notes.contains("0 episodes run") && notes.contains("pendulum: 3 episodes, kept"), "{notes}");

    let found = report(&workplace, "on-2/report.json");
    let [exact, _, statistical] = [0, 1, 2].map(|i| &found["scenarios"][i]);
    assert_eq!(exact["now"]["safety"]["violations"], 0);
    assert_eq!(exact["provenance"]["contract_hash"].as_str().unwrap().len(), 64);
    let pairs = statistical["statistics"]["pairs"].as_u64().unwrap();
    assert!((20..40).contains(&pairs), "equal episodes stop early: {pairs}");
    assert_eq!(statistical["statistics"]["decision"], "not_worse");
    assert!(statistical["statistics"]["minimum_detectable_drop"].as_f64().unwrap() < 0.3);
}

#[test]
fn another_policy_regresses_with_the_first_tick_and_signal_and_blessing_shows_the_difference() {
    let workplace = workplace();
    workplace.succeed(&["regress", "suite.toml", "--bless", "--quiet"]);
    write(
        &workplace,
        &SUITE.replace(
            "pendulum = { failure_share = 0.0 }",
            "pendulum = { failure_share = 0.0, action_noise = 0.11 }",
        ),
    );
    let run = ["regress", "suite.toml", "--to", "out", "--junit", "j.xml", "--markdown", "m.md"];
    workplace.fail(&run, 1, &["regressed", "1 REGRESSED, 2 passed"]);
    let found = report(&workplace, "out/report.json");
    let scenario = &found["scenarios"][0];
    let divergence = &scenario["divergence"];
    assert_eq!((divergence["episode"].as_u64(), divergence["unit"].as_str()), (Some(0), Some("step")));
    assert_eq!((divergence["at"].as_u64(), divergence["signal"].as_str()), (Some(0), Some("action/torque")));
    assert_ne!(divergence["golden"], divergence["now"]);
    assert_eq!(scenario["differing"], 3);
    let page = read(&workplace, "out/report.html");
    assert_eq!(page.matches("data:image/gif;base64,").count(), 6, "three moments, before and now");
    assert!(page.contains("action/torque") && !page.contains("https://") && !page.contains("NaN"));
    let junit = read(&workplace, "j.xml");
    assert!(
        junit.contains("failures=\"1\"") && junit.contains("tests=\"3\"") && junit.contains("action/torque"),
        "{junit}"
    );
    let markdown = read(&workplace, "m.md");
    assert!(
        markdown.contains("❌ **regressed**") && markdown.contains("3 of 3 episodes differ"),
        "{markdown}"
    );
    assert!(
        markdown.contains("policy: golden demonstrator pendulum"),
        "the change of policy is told: {markdown}"
    );
    let said = workplace.succeed(&["regress", "suite.toml", "--bless", "--quiet"]);
    assert!(said.contains("golden: rewritten") && said.contains("action/torque"), "{said}");
    workplace.succeed(&RUN);
}

#[test]
fn a_baseline_is_told_from_a_worse_policy_and_too_few_episodes_decide_nothing() {
    let workplace = workplace();
    let scenario = |share: &str, episodes: &str, noise: &str| {
        format!(
            r#"
name = "pair"
[[scenario]]
name = "reach"
level = {{ statistical = {{ noise = "{noise}" }} }}
env = {{ reach = {{ max_steps = 20 }} }}
policy = {{ demonstrator = {{ reach = {{ failure_share = {share}, action_noise = 0.05, pace = [0.7, 0.8] }} }} }}
baseline = {{ demonstrator = {{ reach = {{ failure_share = 0.0, action_noise = 0.05, pace = [0.7, 0.8] }} }} }}
seeds = {{ seed = 3, episodes = {episodes} }}
"#
        )
    };
    write(&workplace, &scenario("0.6", "96", "independent"));
    workplace.fail(&RUN, 1, &["1 REGRESSED"]);
    let found = report(&workplace, "out/report.json");
    let statistics = &found["scenarios"][0]["statistics"];
    assert_eq!(statistics["decision"], "worse");
    assert!(statistics["pairs"].as_u64().unwrap() < 96, "it stops early");
    assert!(statistics["mcnemar_worse"].as_f64().unwrap() < 0.01);
    assert!(read(&workplace, "out/report.html").contains("which only the baseline solved"));
    write(&workplace, &scenario("0.0", "6", "shared"));
    workplace.fail(&RUN, 4, &["1 inconclusive"]);
    assert!(read(&workplace, "out/report.md").contains("6 episodes would show no drop at all"));
    assert!(read(&workplace, "out/junit.xml").contains("<skipped"));
}

#[test]
fn shards_make_the_same_report_as_one_machine_and_a_missing_one_is_told() {
    let workplace = workplace();
    workplace.succeed(&["regress", "suite.toml", "--bless", "--quiet", "--to", "whole"]);
    workplace.succeed(&["regress", "suite.toml", "--to", "whole", "--quiet"]);
    for part in ["1", "2"] {
        workplace.succeed(&[
            "regress",
            "suite.toml",
            "--shard",
            &format!("{part}/2"),
            "--to",
            part,
            "--quiet",
        ]);
    }
    workplace.succeed(&["regress", "suite.toml", "--merge", "1", "2", "--to", "merged"]);
    for name in ["report.json", "report.html", "report.md", "junit.xml"] {
        assert!(
            read(&workplace, &format!("whole/{name}")) == read(&workplace, &format!("merged/{name}")),
            "{name}"
        );
    }
    workplace.fail(&["regress", "suite.toml", "--merge", "2", "--to", "half"], 5, &["not comparable"]);
    assert!(read(&workplace, "half/report.md").contains("in none of the directories"));
    workplace.fail(&["regress", "suite.toml", "--merge", "3"], 2, &["--merge 3", "episodes"]);
    workplace.fail(&["regress", "suite.toml", "--shard", "3/2"], 2, &["3/2", "expected i/n"]);
}

#[test]
fn an_interrupted_suite_goes_on_where_it_was_cut_off() {
    let workplace = workplace();
    workplace.succeed(&["regress", "suite.toml", "--bless", "--quiet", "--to", "whole"]);
    workplace.succeed(&["regress", "suite.toml", "--quiet", "--to", "whole"]);
    let cut = ["regress", "suite.toml", "--to", "out", "--json"];
    assert_eq!(signal_at(&workplace, &cut, "-INT", "\"episodes\"", 2), 130);
    let (code, _, notes) = workplace.run(&RUN);
    assert_eq!(code, 0, "{notes}");
    assert!(notes.contains("cart_pole: 2 episodes, kept") && !notes.contains("45 episodes run"), "{notes}");
    assert!(read(&workplace, "out/report.json") == read(&workplace, "whole/report.json"));
}

#[test]
fn a_golden_file_of_something_else_or_a_damaged_one_is_not_compared_with() {
    let workplace = workplace();
    workplace.succeed(&["regress", "suite.toml", "--bless", "--quiet"]);
    // Another robot under the same name.
    let other = SUITE
        .replace("pendulum = {", "cart_pole = {")
        .replace("policy = { demonstrator = { pendulum", "policy = { demonstrator = { cart_pole");
    write(&workplace, &other);
    workplace.fail(&RUN, 5, &["1 not comparable, 2 passed"]);
    assert!(read(&workplace, "out/report.md").contains("contract: the golden file is of"));
    // Other settings of the same world.
    write(&workplace, &SUITE.replace("cart_pole = { max_steps = 60", "cart_pole = { max_steps = 61"));
    workplace.fail(&RUN, 5, &["1 not comparable, 2 passed"]);
    assert!(read(&workplace, "out/report.md").contains("scenario: the golden file is of"));
    write(&workplace, SUITE);
    let json = read(&workplace, "golden/small/pendulum.json");
    std::fs::write(
        workplace.path("golden/small/pendulum.json"),
        json.replacen("\"steps\": 60", "\"steps\": 59", 1),
    )
    .unwrap();
    workplace.fail(&RUN, 5, &["1 not comparable, 2 passed"]);
    assert!(read(&workplace, "out/report.md").contains("pendulum.json is damaged: blake3"));
    std::fs::write(workplace.path("golden/small/pendulum.json"), json).unwrap();
    let trace = std::fs::read(workplace.path("golden/small/pendulum.trace")).unwrap();
    std::fs::write(workplace.path("golden/small/pendulum.trace"), &trace[..trace.len() / 2]).unwrap();
    workplace.fail(&RUN, 5, &["1 not comparable, 2 passed"]);
    assert!(read(&workplace, "out/report.md").contains("pendulum.trace is damaged"));
    // What is damaged among the kept episodes is run again.
    std::fs::write(workplace.path("golden/small/pendulum.trace"), trace).unwrap();
    std::fs::write(workplace.path("out/episodes/pendulum/now-00000.json"), "{").unwrap();
    let (code, _, notes) = workplace.run(&RUN);
    assert!(code == 0 && notes.contains("3 episodes run") && notes.contains("not used"), "{notes}");
}

#[test]
fn a_suite_that_cannot_be_run_is_refused_before_anything_runs() {
    let workplace = workplace();
    let refused = |suite: &str, words: &[&str]| {
        write(&workplace, suite);
        workplace.fail(&RUN, 2, words);
        workplace.fail(&["config", "check", "suite.toml"], 2, words);
    };
    refused(
        &SUITE.replace("demonstrator = { pendulum", "demonstrator = { pendelum"),
        &["suite.toml", "line 8", "^^^", "unknown variant `pendelum`", "did you mean `pendulum`?"],
    );
    refused(
        &SUITE.replace(
            "{ demonstrator = { pendulum = { failure_share = 0.0 } } }",
            "{ trained = \"runs/none\" }",
        ),
        &["scenario \"pendulum\"", "no policy.json in runs/none"],
    );
    refused(&SUITE.replace("bit_exact = {}", "bit_exakt = {}"), &["did you mean `bit_exact`?"]);
    refused(&SUITE.replace("seeds = { episodes = 40 }", "seeds = { episodes = 0 }"), &["seeds.episodes = 0"]);
    refused(&SUITE.replace("name = \"reach\"", "name = \"pendulum\""), &["another one has the same name"]);
    refused(&SUITE.replace("statistical = {}", "statistical = { margin = 1.5 }"), &["margin = 1.5"]);
    refused(
        &SUITE.replace("tolerance = {}", "tolerance = { signals = { speed = { absolute = 1.0 } } }"),
        &["speed", "velocity/hinge"],
    );
    refused(
        &SUITE.replace(
            "seeds = { seed = 1,",
            "faults = [{ from = 1, until = 9, fault = { stuck_joint = 4 } }]\nseeds = { seed = 1,",
        ),
        &["faults[0]", "joint 4"],
    );
    refused(
        &SUITE.replace(
            "{ demonstrator = { pendulum = { failure_share = 0.0 } } }",
            "{ constant = [0.0, 1.0] }",
        ),
        &["policy.constant", "expected 1 finite"],
    );
    assert!(!workplace.path("out").exists(), "nothing was run");
    write(&workplace, SUITE);
    std::fs::write(workplace.path("file"), "").unwrap();
    workplace.fail(&["regress", "suite.toml", "--to", "file/out"], 1, &["file/out", "--to"]);
    workplace.fail(&["regress", "suite.toml", "--only", "walker"], 2, &["--only walker", "pendulum"]);
    workplace.fail(&["regress", "none.toml"], 2, &["none.toml", "configs/suites/"]);
}
