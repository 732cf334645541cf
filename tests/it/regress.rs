//! `surefoot regress` as a user meets it: verdicts and their exit codes, golden files, shards, bad input.

use serde_json::Value;
use surefoot_core::{
    ActMode, Env, EnvSpec, Fault, Policy, PolicyError, ResetScope, Rows, RowsMut, ScheduledFault,
};
use surefoot_engine::regression::{Parts, Stage, Trace};
use surefoot_engine::{EngineError, EpisodeSeeds, Interrupt};
use surefoot_sim::{EnvConfig, EnvContext};

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
    let driven = |with: &str| {
        SUITE.replace("seeds = { seed = 1,", &format!("control_loop = {{ {with} }}\nseeds = {{ seed = 1,"))
    };
    refused(&driven(""), &["scenario \"pendulum\"", "takes efforts"]);
    refused(
        &driven("must_end = { in = \"holding\", within_ticks = 4 }"),
        &["control_loop.must_end", "expected a fault or a silent_policy"],
    );
    refused(&driven("must_end = { in = \"stopped\" }"), &["unknown variant `stopped`", "protective_stop"]);
    refused(&driven("control = { startup_secs = -1.0 }"), &["control_loop.control.startup_secs"]);
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

#[test]
fn a_fault_through_the_control_loop_says_in_which_mode_and_how_soon_the_robot_stopped() {
    let workplace = workplace();
    let suite = |control: &str, cause: &str| {
        format!(
            r#"
name = "driven"
[[scenario]]
name = "push_frozen_sensor"
level = {{ bit_exact = {{}} }}
env = {{ push = {{}} }}
policy = {{ demonstrator = {{ push = {{ failure_share = 0.0 }} }} }}
seeds = {{ seed = 12, episodes = 2 }}
faults = [{{ from = 45, until = 195, fault = "frozen_observations" }}]
control_loop = {{ control = {{ {control} }}, must_end = {{ in = "protective_stop", cause = "{cause}", within_ticks = 20, at_rest_within_ticks = 30 }} }}
"#
        )
    };
    write(&workplace, &suite("", "tracking_error"));
    let said = workplace.succeed(&["regress", "suite.toml", "--bless", "--to", "out", "--threads", "1"]);
    let line = "driven: 2 protective_stop by tracking_error, ";
    assert!(said.contains("golden: new") && said.contains(line), "{said}");
    let said = workplace.succeed(&["regress", "suite.toml", "--to", "again", "--threads", "2"]);
    assert!(said.contains(line) && said.contains("control periods after the fault, at rest after"), "{said}");
    let found = report(&workplace, "again/report.json");
    let now = &found["scenarios"][0]["now"];
    assert_eq!((now["safety"]["violations"].as_u64(), now["lost"].as_u64()), (Some(0), Some(0)));
    assert!(
        read(&workplace, "again/report.html").contains(line)
            && read(&workplace, "again/junit.xml").contains(line)
    );
    let golden: Value =
        serde_json::from_str(&read(&workplace, "golden/driven/push_frozen_sensor.json")).unwrap();
    let drive = &golden["episodes"][0]["drive"];
    assert_eq!((&drive["end"], &drive["cause"]), (&"protective_stop".into(), &"tracking_error".into()));
    // Another expectation is judged over the episodes that are kept.
    write(&workplace, &suite("", "observation_stale"));
    let run = ["regress", "suite.toml", "--to", "again", "--threads", "2"];
    workplace.fail(&run, 1, &["1 REGRESSED"]);
    let said = read(&workplace, "again/report.md");
    assert!(
        said.contains("2 of 2 drives did not end as they must")
            && said.contains("by observation_stale, found"),
        "{said}"
    );
    // Another loop is another scenario.
    write(&workplace, &suite("max_tracking_error = 0.2", "tracking_error"));
    workplace.fail(&["regress", "suite.toml", "--to", "other"], 5, &["1 not comparable"]);
    assert!(read(&workplace, "other/report.md").contains("scenario: the golden file is of"));
}

/// A world of ours, in which nobody does anything but ask for full speed.
struct Reach(&'static str);

impl Parts for Reach {
    fn env(&self) -> Result<Box<dyn Env>, EngineError> {
        let config: EnvConfig = toml::from_str(self.0).unwrap();
        Ok(config.build(&EnvContext::default())?)
    }
    fn policy(&self, _: &EnvSpec) -> Result<Box<dyn Policy>, EngineError> {
        Ok(Box::new(FullSpeed))
    }
}

struct FullSpeed;

impl Policy for FullSpeed {
    fn slots(&self) -> usize {
        1
    }
    fn reset(&mut self, _: usize, _: ResetScope, _: u64) {}
    fn act(&mut self, _: Rows<'_>, _: ActMode, mut actions: RowsMut<'_>) -> Result<(), PolicyError> {
        actions.row(0).fill(1.0);
        Ok(())
    }
}

#[test]
fn delays_and_noise_of_a_world_stay_where_it_is_listened_to_and_has_faults() {
    let late = "reach = { max_steps = 6, randomisation = { action_delay_steps = [2, 2], observation_noise = { tool_x = 0.1 } } }";
    let trace = |env: &'static str, faults: &[ScheduledFault]| {
        let stage = Stage::new(&Reach(env), faults, None).unwrap();
        let signals = stage.signals();
        let (_, trace, _) = stage.run(0, EpisodeSeeds { reset: 1, noise: 2 }, &Interrupt::new()).unwrap();
        assert_eq!(signals, [trace.ticks.signals.as_slice(), &trace.steps.signals].concat());
        trace
    };
    let column = |trace: &Trace, name: &str| -> Vec<f32> {
        let signal = trace.steps.signals.iter().position(|s| s == name).unwrap();
        trace.steps.column(signal).collect()
    };
    // On the way to the robot, which the fault leaves alone until the episode is over.
    let fault = ScheduledFault { from: 1000, until: 1001, fault: Fault::LostWrites };
    let plain = trace("reach = { max_steps = 6 }", &[]);
    for faults in [&[][..], &[fault]] {
        let varied = trace(late, faults);
        assert_eq!(varied.ticks.rows(), plain.ticks.rows());
        let [soon, later] = [&plain, &varied].map(|t| column(t, "action/tool_velocity_x"));
        assert!(soon[0] > 0.1 && later[2] > 0.1, "{soon:?} {later:?}");
        assert!(later[..2].iter().all(|a| a.abs() < 0.02), "nothing arrives for two steps: {later:?}");
        let [exact, noisy] = [&plain, &varied].map(|t| column(t, "observation/tool_x"));
        assert!((exact[0] - noisy[0]).abs() > 1e-3, "{exact:?} {noisy:?}");
    }
}
