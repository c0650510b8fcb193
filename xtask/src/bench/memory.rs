//! Memory: what 64 busy connections leave behind, and what one idle connection costs.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::process::pinned;
use super::setup::{Candidate, LOAD, Service, narthex, peers, tool};
use super::{Options, report};
use crate::shell::{output, which};

const FEW: u64 = 2000;
const MANY: u64 = 8000;
const MIB: f64 = 1024.0 * 1024.0;

pub fn run(options: &Options) -> anyhow::Result<()> {
    let service = Service::start()?;
    let busy = measure(options, service.port, busy)?;
    let idle = measure(options, service.port, idle)?;
    let mut table = String::from(
        "| gateway | after 64 busy connections, MiB | one idle connection, KiB |\n|---|---|---|\n",
    );
    for (name, busy) in &busy {
        let idle = idle.iter().find(|(other, _)| other == name).map_or(f64::NAN, |(_, bytes)| *bytes);
        writeln!(table, "| {name} | {:.1} | {:.2} |", busy / MIB, idle / 1024.0)?;
    }
    report::write(
        "memory",
        &format!(
            "## Memory\n\n{}\n`RssAnon` of the process and its children. *Idle* is the slope from {FEW} to {MANY} \
             plaintext HTTP/1.1 connections that each asked once.\n\n{table}",
            report::conditions(&options.binary)
        ),
    )
}

/// Each candidate fresh, alone, measured once.
fn measure(
    options: &Options,
    service: u16,
    how: fn(&Candidate) -> anyhow::Result<f64>,
) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let mut found = Vec::new();
    let mut candidates = vec![narthex(options, service, "narthex.yaml")?];
    candidates.extend(peers(options, service));
    for candidate in candidates {
        match how(&candidate) {
            Ok(bytes) => found.push((candidate.name, bytes)),
            Err(error) if candidate.name == "narthex" => return Err(error),
            Err(error) => eprintln!("without {}: {error:#}", candidate.name),
        }
    }
    Ok(found)
}

fn busy(candidate: &Candidate) -> anyhow::Result<f64> {
    let wrk = which("wrk").context("wrk is missing (Debian: apt-get install wrk)")?;
    for path in ["1k", "64k"] {
        let url = format!("http://127.0.0.1:{}/svc57/{path}", candidate.port);
        output(pinned(LOAD, &wrk).args(["-t1", "-c64", "-d2s", &url]))?;
    }
    Ok(candidate.process.memory()? as f64)
}

fn idle(candidate: &Candidate) -> anyhow::Result<f64> {
    let mut command = pinned(LOAD, &tool("idle"));
    command.args([&candidate.port.to_string(), "/svc57/1k", &FEW.to_string(), &MANY.to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("its input is a pipe")?;
    let mut lines = BufReader::new(child.stdout.take().context("its output is a pipe")?).lines();
    let mut memory = Vec::new();
    for count in [FEW, MANY] {
        let line = lines.next().transpose()?.unwrap_or_default();
        ensure!(line == format!("ready {count}"), "connections could not be opened: `{line}`");
        // What is given back, is given back now: no event tells when.
        std::thread::sleep(Duration::from_secs(1));
        memory.push(candidate.process.memory()? as f64);
        writeln!(input)?;
    }
    let closed = lines.next().transpose()?.unwrap_or_default();
    child.wait()?;
    ensure!(closed == "closed 0", "the gateway closed idle connections: {closed}");
    Ok((memory[1] - memory[0]) / (MANY - FEW) as f64)
}
