//! `cargo xtask check`: everything that can be judged without running the gateway's tests.
//! Goes on after a failure, so that one run says all.

use anyhow::bail;

use crate::shell::{cargo, run as run_command};
use crate::{deny, docs, examples, tidy};

type Step = (&'static str, fn() -> anyhow::Result<()>);

const STEPS: [Step; 6] = [
    ("formatting", || run_command(cargo().args(["fmt", "--all", "--check"]))),
    ("tidy", tidy::run),
    ("licences and bans", deny::run),
    ("clippy", || {
        run_command(cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]))
    }),
    ("documentation up to date", docs::compare),
    ("configurations in the documentation", examples::run),
];

pub fn run() -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        eprintln!("== {name}");
        if let Err(error) = step() {
            eprintln!("error: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("check failed: {}", failed.join(", "));
    }
    eprintln!("check: all good");
    Ok(())
}
