//! `cargo xtask bench`: which benches there are, their options, where results go.
//! A bench ends only what it started, is bounded in time, and never fails a build by a time that it measured:
//! only instruction counts gate.

mod instructions;
mod latency;
mod lineups;
mod memory;
mod peers;
mod process;
mod report;
mod routes;
mod setup;
mod statistics;
pub mod training;
mod workloads;

use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::shell::{cargo, number, option, root, run as run_command};

/// What the command line said.
#[derive(Debug)]
pub struct Options {
    /// The gateway under test.
    pub binary: PathBuf,
    /// Pairs of slices, rounds of a bench.
    pub pairs: usize,
    /// Requests per second of the open loop.
    pub rate: u32,
    /// Only these peers; none given means all that are installed.
    pub peers: Vec<String>,
    /// Only these workloads; none given means all.
    pub workloads: Vec<String>,
    /// Write the checked-in instruction figures again.
    pub update: bool,
}

const DEFAULT_PAIRS: usize = 15;

impl Options {
    /// This binary beside none of the peers.
    fn alone(binary: &Path) -> Options {
        Options {
            binary: binary.to_owned(),
            pairs: 1,
            rate: 0,
            peers: vec!["none".to_owned()],
            workloads: Vec::new(),
            update: false,
        }
    }
}

/// Builds the load programs and the services.
fn build_tools() -> anyhow::Result<()> {
    run_command(cargo().args(["build", "--release", "--package", "narthex-benches"]))
}

pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let what =
        arguments.first().filter(|word| !word.starts_with("--")).map_or("instructions", String::as_str);
    if !matches!(what, "peers" | "instructions" | "memory" | "latency" | "routes" | "all") {
        bail!("there is no bench `{what}`: instructions, peers, latency, memory, routes, all");
    }
    const NAMES: [&str; 6] = ["--binary", "--pairs", "--rate", "--peers", "--workloads", "--update"];
    let unknown = |word: &&String| word.starts_with('-') && !NAMES.contains(&word.as_str());
    if let Some(unknown) = arguments.iter().find(unknown) {
        bail!("there is no option `{unknown}`: {}", NAMES.join(", "));
    }
    let list = |name: &str| {
        let words = option(arguments, name).unwrap_or_default().split(',');
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let binary = match option(arguments, "--binary") {
        Some(path) => std::fs::canonicalize(path)?,
        None => crate::dist::binary()?,
    };
    let options = Options {
        binary,
        pairs: number(arguments, "--pairs", DEFAULT_PAIRS)?,
        rate: number(arguments, "--rate", 2000)?,
        peers: list("--peers"),
        workloads: list("--workloads"),
        update: arguments.iter().any(|argument| argument == "--update"),
    };
    build_tools()?;
    let all = what == "all";
    if all || what == "instructions" {
        instructions::run(&options)?;
    }
    if all || what == "routes" {
        routes::run(&options)?;
    }
    if all || what == "memory" {
        memory::run(&options)?;
    }
    if all || what == "latency" {
        latency::run(&options)?;
    }
    if all || what == "peers" {
        peers::run(&options)?;
    }
    eprintln!("results: {}", root().join(report::FILE).display());
    Ok(())
}
