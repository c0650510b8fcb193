//! `cargo xtask test`: makes sure that what the tests need is there, then runs all of them. What is missing is
//! installed with apt-get where that is allowed (Debian, as root); elsewhere the command to type is said.

use std::fs;
use std::io::ErrorKind;

use anyhow::bail;

use crate::policy;
use crate::shell::{cargo, command, output, root, run as run_command, target, which};

/// A program, the Debian package that brings it, and what for.
const NEEDS: [(&str, &str, &str); 6] = [
    ("cc", "build-essential", "the C parts of mimalloc and zstd"),
    ("git", "git", "the copy in which `new-policy` is tried"),
    ("pip3", "python3-pip", "the gRPC and WebSocket libraries that speak through the gateway"),
    ("npm", "npm", "the gRPC-Web client that calls through the gateway"),
    ("curl", "curl", "the commands that the demo prints are run as printed"),
    ("openssl", "openssl", "the TLS client that asks for a renegotiation"),
];

/// `arguments` are handed to the test runner.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    install()?;
    if has_nextest() {
        run_command(cargo().args(["nextest", "run", "--workspace", "--locked"]).args(arguments))?;
    } else {
        eprintln!(
            "cargo-nextest is not installed: `cargo test` runs the same tests, one crate after the other"
        );
        run_command(cargo().args(["test", "--workspace", "--locked", "--all-targets"]).args(arguments))?;
    }
    // Neither of the two above runs the examples in documentation comments.
    run_command(cargo().args(["test", "--workspace", "--locked", "--doc"]))?;
    new_policy()?;
    eprintln!("test: all good");
    Ok(())
}

/// What `cargo xtask new-policy` writes compiles and passes conformance: tried in a copy of what git tracks.
fn new_policy() -> anyhow::Result<()> {
    let copy = target().join("new-policy");
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }
    for name in output(command("git").args(["ls-files"]))?.lines() {
        let (from, to) = (root().join(name), copy.join(name));
        fs::create_dir_all(to.parent().unwrap_or(&copy))?;
        // A tracked file that was removed is no part of the copy.
        if from.is_file() {
            fs::copy(&from, &to)?;
        }
    }
    policy::write(&copy, "tried_by_the_tests")?;
    let mut tests = cargo();
    tests.current_dir(&copy).env("CARGO_TARGET_DIR", target());
    run_command(tests.args(["test", "--quiet", "--package", "narthex-policies", "--lib"]))
}

fn has_nextest() -> bool {
    // Where it cannot be asked, it is not there.
    cargo().args(["nextest", "--version"]).output().is_ok_and(|output| output.status.success())
}

fn install() -> anyhow::Result<()> {
    let missing: Vec<_> = NEEDS.iter().filter(|(program, _, _)| which(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for (program, package, purpose) in &missing {
        eprintln!("missing: {program} (Debian's {package}), for {purpose}");
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    let by_hand = format!("apt-get install --yes {}", packages.join(" "));
    if which("apt-get").is_none() || !is_root()? {
        bail!("install what is missing first; on Debian: sudo {by_hand}");
    }
    eprintln!("installing with apt-get, as root");
    run_command(command("apt-get").args(["update", "--quiet"]))?;
    let mut install = command("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run_command(install.args(["install", "--yes", "--no-install-recommends"]).args(&packages))
}

fn is_root() -> anyhow::Result<bool> {
    match output(command("id").arg("-u")) {
        Ok(id) => Ok(id.trim() == "0"),
        Err(error)
            if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::NotFound) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
