//! The table of quirks names tests that exist.

use std::path::{Path, PathBuf};

/// Where a test of this path stands: `tests/it/FILE.rs` for `file::test`, beside the code for `module::tests::test`.
fn places(module: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    match module.split_last() {
        Some((&"tests", code)) => {
            let within = |sources: &str| {
                let code = root.join(sources).join(code.join("/"));
                [code.with_extension("rs"), code.join("mod.rs"), code.join("tests.rs")]
            };
            ["src", "../runtime/cli/src"].into_iter().flat_map(within).collect()
        }
        _ => vec![root.join("tests/it").join(module.join("/")).with_extension("rs")],
    }
}

#[test]
fn every_quirk_names_a_test_that_exists() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/format-quirks.md");
    let text = std::fs::read_to_string(table).unwrap();
    let rows = text.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| quirk"));
    let mut tests = 0;
    for row in rows {
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let named: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test is named: {row}");
        for path in named {
            let parts: Vec<&str> = path.split("::").collect();
            let (test, module) = parts.split_last().unwrap();
            let function = format!("fn {test}(");
            let found = places(module)
                .iter()
                .any(|file| std::fs::read_to_string(file).is_ok_and(|code| code.contains(&function)));
            assert!(found, "there is no test {path}, which this row names: {row}");
            tests += 1;
        }
    }
    assert!(tests > 50, "{tests}");
}
