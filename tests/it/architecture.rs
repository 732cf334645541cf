//! The dependency law of ARCHITECTURE.md, checked over `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Who may use whom inside the workspace (build dependencies and features included; dev-dependencies are free).
fn allowed(package: &str) -> Option<&'static [&'static str]> {
    Some(match package {
        "surefoot-safety" => &[],
        "surefoot-core" => &["surefoot-safety"],
        "surefoot-engine" | "surefoot-sim" | "surefoot-datasets" | "surefoot-policies"
        | "surefoot-bridges" => &["surefoot-core", "surefoot-safety"],
        "surefoot" | "surefoot-tests" => return None,
        other => panic!("{other} has no place in the dependency law: add it to ARCHITECTURE.md and here"),
    })
}

/// What must not be in the tree of the crates that everything stands on.
const HEAVY: [&str; 9] = [
    "candle-core",
    "candle-nn",
    "tokio",
    "rapier3d",
    "hdf5-metno",
    "hdf5-pure",
    "zenoh",
    "nalgebra",
    "parry3d",
];

/// What cargo knows, without the network: packages of other platforms were never fetched, so the host's are asked for.
fn metadata() -> Value {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let version = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version.lines().find_map(|l| l.strip_prefix("host: ")).expect("rustc names its host");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", host])
        .args(["--manifest-path", manifest])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

/// Package name -> names of its normal and build dependencies.
fn dependencies(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let mut graph = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let names = package["dependencies"].as_array().unwrap().iter();
        // What a crate can do without is not in its tree: optional parts are the choice of whoever switches them on.
        let names = names
            .filter(|d| d["kind"] != "dev" && d["optional"] != true)
            .map(|d| d["name"].as_str().unwrap().to_owned());
        graph.insert(package["name"].as_str().unwrap().to_owned(), names.collect::<BTreeSet<_>>());
    }
    graph
}

#[test]
fn crates_use_only_what_the_dependency_law_allows() {
    let metadata = metadata();
    let graph = dependencies(&metadata);
    let members = graph.keys().filter(|n| *n == "surefoot" || n.starts_with("surefoot-"));
    let mut checked = 0;
    for member in members {
        let Some(allowed) = allowed(member) else { continue };
        for used in graph[member].iter().filter(|d| *d == "surefoot" || d.starts_with("surefoot-")) {
            assert!(allowed.contains(&used.as_str()), "{member} must not depend on {used}");
        }
        checked += 1;
    }
    assert!(checked >= 6, "only {checked} crates were checked");
}

#[test]
fn the_waist_carries_no_tensor_physics_hdf5_or_network_library() {
    let metadata = metadata();
    let graph = dependencies(&metadata);
    for root in ["surefoot-safety", "surefoot-core", "surefoot-engine"] {
        let (mut seen, mut open) = (BTreeSet::new(), vec![root.to_owned()]);
        while let Some(package) = open.pop() {
            if seen.insert(package.clone()) {
                open.extend(graph.get(&package).into_iter().flatten().cloned());
            }
        }
        for heavy in HEAVY {
            assert!(!seen.contains(heavy), "{root} must not carry {heavy} in its tree");
        }
    }
}
