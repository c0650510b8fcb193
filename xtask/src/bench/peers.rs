//! CPU per request of each gateway, in slices taken in turns, and the paired ratios to our own.
//! All candidates run all the time, idle but for their slice, so that what disturbs one disturbs the next as well.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, bail};

use super::process::{pinned, scratch};
use super::setup::{Candidate, LOAD, Service, narthex, peers, relay};
use super::statistics::{estimate, median};
use super::{Options, report};
use crate::shell::{output, which};

/// Below this share of its core a gateway waited for its load, and the figure says less.
const BUSY: f64 = 0.9;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Workload {
    Get1k,
    Get64k,
    Post4k,
    Http2,
    NewConnection,
}

const WORKLOADS: [(Workload, &str, &str); 5] = [
    (Workload::Get1k, "get1k", "GET 1 KiB"),
    (Workload::Get64k, "get64k", "GET 64 KiB"),
    (Workload::Post4k, "post4k", "POST 4 KiB"),
    (Workload::Http2, "h2", "HTTP/2 GET 1 KiB"),
    (Workload::NewConnection, "connect", "GET 1 KiB, a connection each"),
];

const POST: &str = "wrk.method = \"POST\"\nwrk.body = string.rep(\"x\", 4096)\n\
                    wrk.headers[\"Content-Type\"] = \"application/octet-stream\"\n";

/// What one slice of one candidate gave.
#[derive(Debug, Clone, Copy)]
struct Slice {
    /// CPU microseconds per request.
    cpu: f64,
    /// The share of the slice in which the gateway ran or waited for a core that others had taken.
    busy: f64,
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    let keys = WORKLOADS.map(|(_, key, _)| key);
    if let Some(unknown) = options.workloads.iter().find(|word| !keys.contains(&word.as_str())) {
        bail!("there is no workload `{unknown}`: {}", keys.join(", "));
    }
    for tool in ["wrk", "h2load"] {
        which(tool)
            .with_context(|| format!("{tool} is missing (Debian: apt-get install wrk nghttp2-client)"))?;
    }
    std::fs::write(scratch()?.join("post.lua"), POST)?;
    let service = Service::start()?;
    let mut candidates = vec![narthex(options, service.port, "narthex.yaml")?, relay(service.port)?];
    candidates.extend(peers(options, service.port));
    let workloads = WORKLOADS.iter().filter(|(_, key, _)| {
        options.workloads.is_empty() || options.workloads.iter().any(|word| word == key)
    });
    let mut tables = String::new();
    for (workload, _, title) in workloads {
        let slices = measure(&candidates, *workload, options.pairs)?;
        write_table(&mut tables, title, &candidates, &slices)?;
        eprintln!("{title}: done");
    }
    let versions = candidates.iter().filter(|candidate| candidate.name != "relay");
    let versions: Vec<String> =
        versions.map(|candidate| format!("{} {}", candidate.name, candidate.version)).collect();
    report::write(
        "peers",
        &format!(
            "## Against other gateways\n\n{}\n{}.\nOne worker on one core; the load and the service on another; \
             {} pairs of slices of one second, in turns; 100 routes. *Ratio* is the median of narthex's CPU per \
             request over the other's in the same round, with its 95 % bootstrap interval: below 1, narthex is \
             cheaper. *Busy* is the share of the time in which the gateway ran, or waited for a core that other \
             programs had. `relay` copies bytes and reads nothing: the floor.\n\n{tables}",
            report::conditions(&options.binary),
            versions.join(", "),
            options.pairs,
        ),
    )
}

/// One slice of each candidate per round; the order turns by one each round.
fn measure(
    candidates: &[Candidate],
    workload: Workload,
    pairs: usize,
) -> anyhow::Result<Vec<Vec<Option<Slice>>>> {
    let mut slices = vec![Vec::new(); candidates.len()];
    for candidate in candidates {
        if port(candidate, workload).is_some() {
            slice(candidate, workload).with_context(|| format!("{} does not answer", candidate.name))?;
        }
    }
    for round in 0..pairs {
        for turn in 0..candidates.len() {
            let at = (round + turn) % candidates.len();
            let taken =
                port(&candidates[at], workload).map(|_| slice(&candidates[at], workload)).transpose()?;
            slices[at].push(taken);
        }
    }
    Ok(slices)
}

fn port(candidate: &Candidate, workload: Workload) -> Option<u16> {
    match workload {
        Workload::Http2 => candidate.h2_port,
        // The relay connects to the service for each client: that is no floor for a gateway with a pool.
        Workload::NewConnection if candidate.name == "relay" => None,
        _ => Some(candidate.port),
    }
}

fn slice(candidate: &Candidate, workload: Workload) -> anyhow::Result<Slice> {
    let port = port(candidate, workload).context("it does not speak this protocol")?;
    let ((cpu, waited), start) = (candidate.process.cpu()?, Instant::now());
    let done = load(port, workload).with_context(|| format!("load on {}", candidate.name))?;
    let (wall, (cpu_after, waited_after)) = (start.elapsed(), candidate.process.cpu()?);
    let (cpu, waited) = (cpu_after - cpu, waited_after.saturating_sub(waited));
    let busy = (cpu + waited).as_secs_f64() / wall.as_secs_f64();
    Ok(Slice { cpu: cpu.as_secs_f64() * 1e6 / done as f64, busy: busy.min(1.0) })
}

/// One second of load; how many requests were answered. An answer that is not a success is an error.
fn load(port: u16, workload: Workload) -> anyhow::Result<u64> {
    let base = format!("http://127.0.0.1:{port}/svc57");
    if workload == Workload::Http2 {
        let mut command = pinned(LOAD, &which("h2load").context("h2load is missing")?);
        command.args(["-t1", "-c8", "-m16", "-D1", &format!("{base}/1k")]);
        let text = output(&mut command)?;
        let line = text.lines().find(|line| line.starts_with("requests:")).context("h2load says nothing")?;
        let number = |word: &str| {
            let part = line.split(',').find(|part| part.ends_with(word));
            part.and_then(|part| part.split_whitespace().next()?.parse::<u64>().ok())
        };
        let (done, failed) = (number(" succeeded").unwrap_or(0), number(" failed").unwrap_or(0));
        if done == 0 || failed > done / 1000 {
            bail!("h2load: {line}");
        }
        return Ok(done);
    }
    let mut command = pinned(LOAD, &which("wrk").context("wrk is missing")?);
    command.args(["-t1", "-c64", "-d1s"]);
    let path = match workload {
        Workload::Get64k => "64k",
        Workload::Post4k => {
            command.arg("-s").arg(scratch()?.join("post.lua"));
            "echo"
        }
        Workload::NewConnection => {
            command.args(["-H", "Connection: close"]);
            "1k"
        }
        _ => "1k",
    };
    let text = output(command.arg(format!("{base}/{path}")))?;
    let line = text.lines().find(|line| line.contains(" requests in ")).context("wrk says nothing")?;
    let done: u64 = line.split_whitespace().next().unwrap_or_default().parse()?;
    let fault = text.lines().find(|line| line.contains("Non-2xx") || fatal(line));
    if let Some(fault) = fault.or((done == 0).then_some("no request was answered")) {
        bail!("wrk: {}", fault.trim());
    }
    Ok(done)
}

/// wrk counts the reads that end a `Connection: close` exchange as errors; connects and time-outs are real ones.
fn fatal(line: &str) -> bool {
    let Some(counts) = line.trim().strip_prefix("Socket errors: connect ") else { return false };
    !counts.starts_with("0,") || !counts.ends_with("timeout 0")
}

fn write_table(
    out: &mut String,
    title: &str,
    candidates: &[Candidate],
    slices: &[Vec<Option<Slice>>],
) -> anyhow::Result<()> {
    writeln!(
        out,
        "### {title}\n\n| gateway | CPU us/request | ratio | interval | busy |\n|---|---|---|---|---|"
    )?;
    for (candidate, own) in candidates.iter().zip(slices) {
        let taken: Vec<Slice> = own.iter().flatten().copied().collect();
        if taken.is_empty() {
            continue;
        }
        let ratios: Vec<f64> = slices[0]
            .iter()
            .zip(own)
            .filter_map(|(ours, theirs)| Some(ours.as_ref()?.cpu / theirs.as_ref()?.cpu))
            .collect();
        let (cpu, busy) = (median(&values(&taken, |s| s.cpu)), median(&values(&taken, |s| s.busy)));
        let note = if busy < BUSY { " (waits for its load)" } else { "" };
        let (ratio, interval) = match candidate.name {
            "narthex" => (String::new(), String::new()),
            _ => {
                let ratio = estimate(&ratios);
                (format!("{:.2}", ratio.median), format!("{:.2} to {:.2}", ratio.low, ratio.high))
            }
        };
        writeln!(
            out,
            "| {} | {cpu:.1} | {ratio} | {interval} | {:.0} %{note} |",
            candidate.name,
            busy * 100.0
        )?;
    }
    writeln!(out)?;
    Ok(())
}

fn values(slices: &[Slice], of: impl Fn(&Slice) -> f64) -> Vec<f64> {
    slices.iter().map(of).collect()
}
