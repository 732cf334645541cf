//! Records what the program is built from, for `run.json` and the report.

use std::process::Command;

fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

/// The version of a package in the lock file.
fn locked(lock: &str, package: &str) -> String {
    lock.split("[[package]]")
        .find(|entry| entry.contains(&format!("name = \"{package}\"\n")))
        .and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next())
        .unwrap_or("unknown")
        .to_owned()
}

fn main() {
    let lock_path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
    let lock = std::fs::read_to_string(lock_path).unwrap_or_default();
    println!("cargo:rerun-if-changed={lock_path}");
    println!("cargo:rerun-if-changed=../../.git/HEAD");
    for package in ["candle-core", "rapier3d", "hdf5-pure"] {
        let variable = package.to_uppercase().replace('-', "_");
        println!("cargo:rustc-env=SUREFOOT_{variable}_VERSION={}", locked(&lock, package));
    }
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let rustc = first_line(&rustc, &["--version"]).unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=SUREFOOT_RUSTC_VERSION={rustc}");
    if let Some(commit) = first_line("git", &["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo:rustc-env=SUREFOOT_GIT={commit}");
    }
}
