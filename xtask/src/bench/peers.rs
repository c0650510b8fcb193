//! CPU per request of each gateway, in slices taken in turns, and the paired ratios to our own.
//! All candidates of a line-up run all the time, idle but for their slice, so that what disturbs one disturbs the next as well.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, bail};

use super::lineups::LINEUPS;
use super::setup::Candidate;
use super::statistics::{estimate, median};
use super::workloads::{WORKLOADS, Workload, load, port, prepare};
use super::{Options, report};

/// Below this share of its core a gateway waited for its load, and the figure says less.
const BUSY: f64 = 0.9;

const SECTION: &str = "peers";
/// Candidates that are no other gateway with a version of its own.
const OURS: [&str; 3] = ["narthex", "bare", "relay"];

const INTRODUCTION: &str = "\
One worker on one core; the load and the service on another; pairs of slices of one second, in turns; 100 routes. *Ratio* is the
median of narthex's CPU per request over the other's in the same round, with its 95 % bootstrap interval: below 1, narthex is
cheaper. *Busy* is the share of the time in which the gateway ran, or waited for a core that other programs had. `relay` copies
bytes and reads nothing: the floor. Each table says when and with what it was measured.";

/// What one slice of one candidate gave.
#[derive(Debug, Clone, Copy)]
struct Slice {
    /// CPU microseconds per request.
    cpu: f64,
    /// The share of the slice in which the gateway ran or waited for a core that others had taken.
    busy: f64,
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    let keys = WORKLOADS.map(|(_, key, ..)| key);
    if let Some(unknown) = options.workloads.iter().find(|word| !keys.contains(&word.as_str())) {
        bail!("there is no workload `{unknown}`: {}", keys.join(", "));
    }
    prepare()?;
    let mut tables: BTreeMap<&str, String> = BTreeMap::new();
    for lineup in LINEUPS {
        let asked =
            |key: &str| options.workloads.is_empty() || options.workloads.iter().any(|word| word == key);
        let workloads: Vec<_> =
            WORKLOADS.iter().filter(|(_, key, _, who, _)| *who == lineup && asked(key)).collect();
        if workloads.is_empty() {
            continue;
        }
        let (_service, candidates) = lineup.start(options)?;
        for (workload, _, title, _, note) in workloads {
            let slices = measure(&candidates, *workload, options.pairs)?;
            let text =
                format!("{}\n{}", conditions(options, &candidates, note), table(&candidates, &slices)?);
            tables.insert(title, text);
            eprintln!("{title}: done");
        }
    }
    let mut text = format!("## Against other gateways\n\n{INTRODUCTION}\n");
    for (_, _, title, ..) in WORKLOADS {
        // What was not measured now stays as it was, with the day and the commit of its own.
        if let Some(table) = tables.remove(title).or_else(|| report::part(SECTION, title)) {
            write!(text, "\n### {title}\n\n{}\n", table.trim())?;
        }
    }
    report::write(SECTION, &text)
}

/// When, where and with what a table was measured, and what a reader must know beside.
fn conditions(options: &Options, candidates: &[Candidate], note: &str) -> String {
    let others = candidates.iter().filter(|candidate| !OURS.contains(&candidate.name));
    let versions: Vec<String> =
        others.map(|candidate| format!("; {} {}", candidate.name, candidate.version)).collect();
    let (line, pairs) = (report::conditions(&options.binary), options.pairs);
    let note = if note.is_empty() { String::new() } else { format!("\n{note}\n") };
    format!("{}{}; {pairs} pairs.\n{note}", line.trim_end_matches('.'), versions.concat())
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

fn slice(candidate: &Candidate, workload: Workload) -> anyhow::Result<Slice> {
    let port = port(candidate, workload).context("it does not speak this protocol")?;
    let ((cpu, waited), start) = (candidate.process.cpu()?, Instant::now());
    let done = load(port, workload).with_context(|| format!("load on {}", candidate.name))?;
    let (wall, (cpu_after, waited_after)) = (start.elapsed(), candidate.process.cpu()?);
    let (cpu, waited) = (cpu_after - cpu, waited_after.saturating_sub(waited));
    let busy = (cpu + waited).as_secs_f64() / wall.as_secs_f64();
    Ok(Slice { cpu: cpu.as_secs_f64() * 1e6 / done as f64, busy: busy.min(1.0) })
}

fn table(candidates: &[Candidate], slices: &[Vec<Option<Slice>>]) -> anyhow::Result<String> {
    let mut out =
        String::from("| gateway | CPU us/request | ratio | interval | busy |\n|---|---|---|---|---|\n");
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
    Ok(out)
}

fn values(slices: &[Slice], of: impl Fn(&Slice) -> f64) -> Vec<f64> {
    slices.iter().map(of).collect()
}
