//! `surefoot bench` and `surefoot export` as a user meets them.

use surefoot_engine::comparison::Comparison;

use crate::program::{Workplace, assert_same_run};
use crate::resume::signal_at;

const SUITE: &str = r#"
name = "two"
seeds = [3, 4]
[[contender]]
name = "sharp"
configs = ["tiny.toml"]
overrides = ["learner.awac.temperature=0.2"]
[[contender]]
name = "flat"
configs = ["tiny.toml"]
overrides = ["learner.awac.temperature=5.0"]
[comparison]
last_evaluations = 2
published = [{ name = "somebody", score = 0.25, source = "a paper" }]
"#;

#[test]
fn a_suite_goes_on_where_it_was_cut_off_and_compares_what_it_ran() {
    let workplace = Workplace::new();
    std::fs::write(workplace.path("suite.toml"), SUITE).unwrap();
    let bench = ["bench", "suite.toml", "--to", "out", "--json"];
    // In the middle of the second of four runs.
    assert_eq!(signal_at(&workplace, &bench, "-INT", "\"stage_started\"", 5), 130);
    assert!(workplace.path("out/sharp-tiny-s3/results.json").exists());
    assert!(!workplace.path("out/flat-tiny-s4").exists());
    workplace.fail(&["bench", "suite.toml", "--to", "none", "--report-only"], 2, &["at least one contender"]);
    let done =
        std::fs::metadata(workplace.path("out/sharp-tiny-s3/results.json")).unwrap().modified().unwrap();
    workplace.succeed(&bench);
    let after =
        std::fs::metadata(workplace.path("out/sharp-tiny-s3/results.json")).unwrap().modified().unwrap();
    assert_eq!(done, after, "a finished run is taken as it is");

    let json = std::fs::read(workplace.path("out/comparison.json")).unwrap();
    let comparison: Comparison = serde_json::from_slice(&json).unwrap();
    let seeds: Vec<Vec<u64>> =
        comparison.contenders.iter().map(|c| c.runs.iter().map(|r| r.seed).collect()).collect();
    assert_eq!(seeds, [[3, 4], [3, 4]]);
    assert!(comparison.contenders.iter().all(|c| c.offline.is_some() && c.regret.is_some()));
    assert!(comparison.contenders[1].improvement.is_some());
    // A run of a suite is the run that `train` makes.
    let overrides = ["learner.awac.temperature=5.0", "seed=4"];
    workplace.succeed(&["train", "tiny.toml", overrides[0], overrides[1], "--run-dir", "alone", "--quiet"]);
    assert_same_run(&workplace.path("alone"), &workplace.path("out/flat-tiny-s4"));
    // Once more: nothing to do, and the same bytes.
    let table = workplace.succeed(&["bench", "suite.toml", "--to", "out"]);
    assert!(table.contains("| sharp |") && table.contains("somebody (published: a paper)"), "{table}");
    assert_eq!(std::fs::read(workplace.path("out/comparison.json")).unwrap(), json);
    let page = std::fs::read_to_string(workplace.path("out/report.html")).unwrap();
    assert!(page.contains("better than the first in") && !page.contains("NaN"));

    let picture = std::fs::read_to_string(workplace.path("out/curves.svg")).unwrap();
    assert!(picture.starts_with("<svg xmlns=") && picture.contains(">flat</text>"), "{picture}");
    // In two parts, by two processes: the same.
    for part in ["1/2", "2/2"] {
        let sharded = ["bench", "suite.toml", "--to", "parts", "--shard", part];
        assert!(!workplace.path("parts/sharp-tiny-s4").exists());
        workplace.succeed(&sharded);
        assert!(!workplace.path("parts/comparison.json").exists());
    }
    workplace.succeed(&["bench", "suite.toml", "--to", "parts", "--report-only"]);
    assert_eq!(std::fs::read(workplace.path("parts/comparison.json")).unwrap(), json);
    workplace.fail(&["bench", "suite.toml", "--shard", "3/2"], 2, &["expected i/n"]);

    let other = ["bench", "suite.toml", "--to", "out", "eval.episodes=11"];
    workplace.fail(&other, 2, &["sharp-tiny-s3", "other settings", "--to"]);
    let broken = SUITE.replace("seeds = [3, 4]", "seeds = [3, 3]");
    std::fs::write(workplace.path("broken.toml"), broken).unwrap();
    workplace.fail(&["bench", "broken.toml"], 2, &["seeds", "each once"]);
    let unknown = SUITE.replace("name = \"flat\"", "name = \"flat\"\ncolour = 1");
    std::fs::write(workplace.path("unknown.toml"), unknown).unwrap();
    workplace.fail(&["bench", "unknown.toml"], 2, &["unknown.toml", "colour"]);
    workplace.fail(&["bench", "suite.toml", "learner.awac.temprature=1"], 2, &["temprature", "temperature"]);
}

#[test]
fn a_policy_is_exported_once_and_nothing_is_overwritten() {
    let workplace = Workplace::new();
    workplace.train("run");
    let said = workplace.succeed(&["export", "run", "--to", "policy.onnx"]);
    assert_eq!(said.trim(), "policy.onnx");
    let model = std::fs::read(workplace.path("policy.onnx")).unwrap();
    assert!(model.windows(13).any(|w| w == b"surefoot.card"));
    workplace.fail(&["export", "run", "--to", "policy.onnx"], 1, &["exists and is not overwritten"]);
    workplace.fail(&["export", "run", "--to", "policy.pt"], 2, &[".onnx", "policy.safetensors"]);
    workplace.fail(&["export", "nothing", "--to", "x.onnx"], 2, &["no policy.json"]);
    // Cut weights give an error and no file.
    let weights = workplace.path("run/checkpoints/last/policy/policy.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    workplace.fail(&["export", "run", "--to", "cut.onnx"], 1, &["weights"]);
    assert!(!workplace.path("cut.onnx").exists());
}
