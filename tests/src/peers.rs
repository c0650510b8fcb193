//! Other implementations at the other end: Python and Node.js, each with a package of its index, which is installed once,
//! beside the built tests, and never into the system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What pip and npm say where there is no way to the package index.
const OFFLINE: [&str; 9] = [
    "NewConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "name resolution",
    "Network is unreachable",
    "ENOTFOUND",
    "EAI_AGAIN",
    "ETIMEDOUT",
];

/// A command that runs Python with this package at hand; `None`, said loudly, where it is neither there nor to be had
/// because there is no network.
///
/// # Panics
/// There is no Python, or the package is refused for another reason: that is a failure of the test.
pub fn python(package: &str) -> Option<Command> {
    let arguments =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--target"];
    let found = installed("python3", &arguments, &[package])?;
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", found).stdin(Stdio::null());
    Some(command)
}

/// As [`python`], Node.js with packages of npm.
///
/// # Panics
/// As [`python`].
pub fn node(packages: &[&str]) -> Option<Command> {
    let found = installed("npm", &["install", "--no-audit", "--no-fund", "--prefix"], packages)?;
    let mut command = Command::new("node");
    command.env("NODE_PATH", found.join("node_modules")).stdin(Stdio::null());
    Some(command)
}

/// Where the packages are. They are installed into a directory of this call's own first: tests that run at once do not see
/// each other's half.
#[allow(clippy::print_stderr, reason = "a test that does not run must not go unseen")]
fn installed(program: &str, arguments: &[&str], packages: &[&str]) -> Option<PathBuf> {
    let last = packages.last().expect("a test names its packages").replace(['@', '/'], "");
    let found = place().join(format!("{program}-{last}"));
    if found.is_dir() {
        return Some(found);
    }
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let own = found.with_extension(format!("{}-{number}", std::process::id()));
    fs::create_dir_all(&own).expect("the directory of the built tests can be written");
    let output = Command::new(program).args(arguments).arg(&own).args(packages).output();
    let output = output.unwrap_or_else(|error| panic!("these tests need {program}: {error}"));
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(OFFLINE.iter().any(|sign| said.contains(sign)), "{program}: {said}");
        let line = "=".repeat(100);
        eprintln!("{line}\nSKIPPED: no network, and {packages:?} for {program} is not there\n{line}");
        return None;
    }
    if fs::rename(&own, &found).is_err() {
        // Another test was faster.
        fs::remove_dir_all(&own).expect("it was written a moment ago");
    }
    Some(found)
}

/// `target/tmp`, wherever that is: beside the directory of the profile that this test was built in.
fn place() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a file");
    let profile = test.ancestors().nth(3).unwrap_or(Path::new("."));
    profile.join("tmp")
}
