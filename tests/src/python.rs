//! Python for tests that want another implementation at the other end: finds an interpreter and a package of PyPI, which
//! is installed once, beside the built tests, and never into the system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What pip says where there is no way to the package index.
const OFFLINE: [&str; 6] = [
    "NewConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "name resolution",
    "Network is unreachable",
];

/// A command that runs Python with this package at hand; `None`, said loudly, where it is neither there nor to be had
/// because there is no network.
///
/// # Panics
/// There is no Python, or the package is refused for another reason: that is a failure of the test.
pub fn python(package: &str, module: &str) -> Option<Command> {
    let found = place().join(format!("python-{package}"));
    if !found.join(module).is_dir() && !install(package, &found) {
        let line = "=".repeat(100);
        eprintln!("{line}\nSKIPPED: no network, and the Python package `{package}` is not there\n{line}");
        return None;
    }
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", &found).stdin(Stdio::null());
    Some(command)
}

/// `target/tmp`, wherever that is: beside the directory of the profile that this test was built in.
fn place() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a file");
    let profile = test.ancestors().nth(3).unwrap_or(Path::new("."));
    profile.join("tmp")
}

/// Installs into a directory of its own first: tests that run at once do not see each other's half.
fn install(package: &str, found: &Path) -> bool {
    let own = found.with_extension(std::process::id().to_string());
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"];
    let mut pip = Command::new("python3");
    pip.args(arguments).arg("--target").arg(&own).arg(package);
    let output = pip.output().expect("these tests need python3 with pip");
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        assert!(OFFLINE.iter().any(|sign| said.contains(sign)), "pip: {said}");
        return false;
    }
    if fs::rename(&own, found).is_err() {
        // Another test was faster.
        fs::remove_dir_all(&own).expect("it was written a moment ago");
    }
    true
}
