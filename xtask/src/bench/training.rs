//! What an instrumented gateway does so that the compiler knows where its time goes: every workload of the peers' bench, ten
//! policies, and requests of all kinds with the access log on. Nothing is measured.

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::lineups::LINEUPS;
use super::process::pinned;
use super::setup::{LOAD, Service, configurations, narthex};
use super::workloads::{WORKLOADS, Workload, load, port, prepare};
use super::{Options, build_tools};
use crate::shell::{output, which};

/// Slices of one second for each.
const SLICES: usize = 2;

/// Runs it; the profile is written by `binary` itself as each of its processes ends.
pub fn train(binary: &Path) -> anyhow::Result<()> {
    build_tools()?;
    prepare()?;
    let options = Options::alone(binary);
    for lineup in LINEUPS {
        let (_service, candidates) = lineup.start(&options)?;
        let gateway = &candidates[0];
        for (workload, _, title, ..) in WORKLOADS.iter().filter(|(_, _, _, who, _)| *who == lineup) {
            let port = port(gateway, *workload).with_context(|| format!("{title} is not spoken"))?;
            for _ in 0..SLICES {
                load(port, *workload).with_context(|| format!("training: {title}"))?;
            }
        }
    }
    let service = Service::start()?;
    for template in ["narthex-chain.yaml", "narthex-log.yaml", "narthex-training.yaml"] {
        let gateway = narthex(&options, service.port, template)?;
        for workload in [Workload::Get1k, Workload::Post4k, Workload::Http2] {
            load(gateway.port, workload).with_context(|| format!("training: {template}"))?;
        }
        if template == "narthex-training.yaml" {
            varied(gateway.port)?;
        }
    }
    Ok(())
}

/// Requests of all kinds; those that are refused are meant to be.
fn varied(port: u16) -> anyhow::Result<()> {
    let mut command = pinned(LOAD, &which("wrk").context("wrk is missing")?);
    let script = configurations().join("training.lua");
    command.args(["-t1", "-c64", &format!("-d{SLICES}s"), "-s"]).arg(script);
    output(command.arg(format!("http://127.0.0.1:{port}")))?;
    Ok(())
}

/// All that decides what a profile says, beside the gateway itself.
pub fn script() -> anyhow::Result<Vec<u8>> {
    let mut all = Vec::new();
    for file in crate::shell::files(&configurations(), "")? {
        all.extend(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(all)
}
