//! `cargo xtask test`: makes sure that what the tests need is there, then runs all of them.

use std::fs;

use crate::needs::{self, Need};
use crate::policy;
use crate::shell::{cargo, command, output, root, run as run_command, target};

const NEEDS: [Need; 6] = [
    ("cc", "build-essential", "the C parts of mimalloc and zstd"),
    ("git", "git", "the copy in which `new-policy` is tried"),
    ("pip3", "python3-pip", "the gRPC and WebSocket libraries that speak through the gateway"),
    ("npm", "npm", "the gRPC-Web client that calls through the gateway"),
    ("curl", "curl", "the commands that the demo prints are run as printed"),
    ("openssl", "openssl", "the TLS client that asks for a renegotiation"),
];

/// `arguments` are handed to the test runner.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    needs::install(&NEEDS)?;
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
