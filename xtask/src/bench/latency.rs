//! Latency at a fixed open-loop rate: a request that had to wait for its turn has waited.

use std::fmt::Write as _;

use anyhow::{Context, ensure};

use super::process::pinned;
use super::setup::{Candidate, LOAD, Service, narthex, peers, relay, tool};
use super::statistics::median;
use super::{Options, report};
use crate::shell::output;

const ROUNDS: usize = 5;
const CONNECTIONS: u32 = 64;
const SECONDS: u32 = 4;

pub fn run(options: &Options) -> anyhow::Result<()> {
    let service = Service::start()?;
    let mut candidates = vec![narthex(options, service.port, "narthex.yaml")?, relay(service.port)?];
    candidates.extend(peers(options, service.port));
    let mut found: Vec<Vec<[f64; 4]>> = vec![Vec::new(); candidates.len()];
    for round in 0..ROUNDS {
        for turn in 0..candidates.len() {
            let at = (round + turn) % candidates.len();
            found[at].push(slice(&candidates[at], options.rate)?);
        }
    }
    let mut table = String::from("| gateway | p50 us | p90 us | p99 us | max us |\n|---|---|---|---|---|\n");
    for (candidate, rounds) in candidates.iter().zip(&found) {
        write!(table, "| {} ", candidate.name)?;
        for column in 0..4 {
            let values: Vec<f64> = rounds.iter().map(|round| round[column]).collect();
            write!(table, "| {:.0} ", median(&values))?;
        }
        writeln!(table, "|")?;
    }
    report::write(
        "latency",
        &format!(
            "## Latency at {} requests per second\n\n{}\nGET 1 KiB, open loop, {CONNECTIONS} connections, one worker; \
             medians of {ROUNDS} rounds of {SECONDS} s in turns, the first second of each not counted. Latency counts \
             from the moment at which a request was due.\n\n{table}",
            options.rate,
            report::conditions(&options.binary)
        ),
    )
}

fn slice(candidate: &Candidate, rate: u32) -> anyhow::Result<[f64; 4]> {
    let mut command = pinned(LOAD, &tool("generator"));
    let numbers = [CONNECTIONS, rate, SECONDS].map(|number| number.to_string());
    command.args([&candidate.port.to_string(), "/svc57/1k"]).args(&numbers);
    let text = output(&mut command)?;
    let words: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [done, failed, p50, p90, p99, max] = words[..] else {
        return None.with_context(|| format!("the generator says `{}`", text.trim()));
    };
    let due = f64::from(rate * SECONDS);
    ensure!(failed == 0.0 && done >= due * 0.99, "{}: {done} of {due} done, {failed} failed", candidate.name);
    Ok([p50, p90, p99, max])
}
