//! User instructions per request by callgrind: one connection, 2,000 requests minus 1,000. Repeatable, so it gates:
//! a figure more than 3 % above the one in `benches/instructions.txt` is an error.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::process::{Process, free_port, scratch};
use super::setup::{Service, configuration, narthex_arguments};
use super::{Options, report};
use crate::needs;
use crate::shell::{cargo, output, root, run as run_command, target, which};

const FIGURES: &str = "benches/instructions.txt";
const FEW: u64 = 1000;
const MANY: u64 = 2000;
/// Searches: building the routes varies by some ten thousand instructions, which must not count.
const FEW_SEARCHES: u64 = 1_000;
const MANY_SEARCHES: u64 = 51_000;
/// How much a figure may grow before it is an error.
const SLACK: f64 = 1.03;

/// Name, configuration, whether it is a POST, what it is.
const REQUESTS: [(&str, &str, bool, &str); 4] = [
    ("get", "narthex.yaml", false, "bare GET, 1 KiB"),
    ("post", "narthex.yaml", true, "bare POST, 4 KiB there and back"),
    ("get-access-log", "narthex-log.yaml", false, "GET with the access log"),
    (
        "get-ten-policies",
        "narthex-chain.yaml",
        false,
        "GET through ten policies that each set a response header",
    ),
];

pub fn run(options: &Options) -> anyhow::Result<()> {
    needs::install(&[("valgrind", "valgrind", "counting instructions")])?;
    let service = Service::start()?;
    let mut figures = BTreeMap::new();
    let mut table = String::from("| what | instructions |\n|---|---|\n");
    for (name, template, post, title) in REQUESTS {
        let few = requests(options, service.port, template, post, FEW)?;
        let many = requests(options, service.port, template, post, MANY)?;
        let each = many.saturating_sub(few) / (MANY - FEW);
        eprintln!("{name}: {each}");
        writeln!(table, "| {title} | {each} |")?;
        figures.insert(name.to_owned(), each);
    }
    run_command(cargo().args([
        "build",
        "--release",
        "--package",
        "narthex-router",
        "--example",
        "instructions",
    ]))?;
    for (kind, title) in [("hit", "found"), ("miss", "not found")] {
        for routes in [10, 1_000, 100_000] {
            let each = search(routes, kind)?;
            let name = format!("route-{kind}-{routes}");
            eprintln!("{name}: {each}");
            writeln!(table, "| routing among {routes}, {title} | {each} |")?;
            figures.insert(name, each);
        }
    }
    report::write(
        "instructions",
        &format!(
            "## Instructions per request\n\n{}\nUser instructions by callgrind, one connection, {MANY} requests minus \
             {FEW}; routing alone by the router's example. `{FIGURES}` keeps them: more than 3 % above is an error.\n\n\
             {table}",
            report::conditions(&options.binary)
        ),
    )?;
    if options.update { write_figures(&figures) } else { compare(&figures) }
}

/// Instructions of a gateway that is started, answers `count` requests on one connection, and ends.
fn requests(options: &Options, service: u16, template: &str, post: bool, count: u64) -> anyhow::Result<u64> {
    let port = free_port()?;
    let file = configuration(template, port, port, service)?;
    let profile = scratch()?.join("callgrind.out");
    let mut valgrind = callgrind(&profile)?;
    let mut process =
        Process::start("narthex-callgrind", narthex_arguments(valgrind.arg(&options.binary), &file), port)?;
    ask(port, post, count).with_context(|| format!("{template} under callgrind"))?;
    process.end();
    total(&profile)
}

fn callgrind(profile: &Path) -> anyhow::Result<Command> {
    // What an earlier run left must not be taken for this one's.
    let _ = fs::remove_file(profile);
    let mut command = Command::new(which("valgrind").context("valgrind is missing")?);
    command.args(["--tool=callgrind", &format!("--callgrind-out-file={}", profile.display())]);
    Ok(command)
}

fn total(profile: &Path) -> anyhow::Result<u64> {
    let text = fs::read_to_string(profile).context("callgrind wrote no profile")?;
    let line = text.lines().rev().find_map(|line| line.strip_prefix("totals: "));
    let word = line.context("the profile has no total")?.split_whitespace().next().unwrap_or_default();
    Ok(word.parse()?)
}

/// `count` requests one after the other on one connection.
fn ask(port: u16, post: bool, count: u64) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut request = match post {
        false => format!("GET /svc57/1k HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: bench\r\n\r\n").into_bytes(),
        true => format!(
            "POST /svc57/echo HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: bench\r\nContent-Length: 4096\r\n\r\n"
        )
        .into_bytes(),
    };
    if post {
        request.extend([b'x'; 4096]);
    }
    let body = if post { 4096 } else { 1024 };
    let (mut answer, mut buffer) = (Vec::new(), [0; 16_384]);
    for _ in 0..count {
        socket.write_all(&request)?;
        answer.clear();
        loop {
            let read = socket.read(&mut buffer)?;
            ensure!(read > 0, "the connection was closed");
            answer.extend_from_slice(&buffer[..read]);
            let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if head.is_some_and(|end| answer.len() >= end + 4 + body) {
                break;
            }
        }
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

/// Instructions of one search, by the router's own example.
fn search(routes: u32, kind: &str) -> anyhow::Result<u64> {
    let program = target().join("release/examples/instructions");
    let profile = scratch()?.join("callgrind.routes");
    let mut totals = Vec::new();
    for count in [FEW_SEARCHES, MANY_SEARCHES] {
        let mut command = callgrind(&profile)?;
        output(command.arg(&program).args([&routes.to_string(), &count.to_string(), kind]))?;
        totals.push(total(&profile)?);
    }
    Ok(totals[1].saturating_sub(totals[0]) / (MANY_SEARCHES - FEW_SEARCHES))
}

fn write_figures(figures: &BTreeMap<String, u64>) -> anyhow::Result<()> {
    let mut text = String::from(
        "# User instructions per request; written by `cargo xtask bench instructions --update`.\n",
    );
    for (name, figure) in figures {
        writeln!(text, "{name} {figure}")?;
    }
    Ok(fs::write(root().join(FIGURES), text)?)
}

fn compare(figures: &BTreeMap<String, u64>) -> anyhow::Result<()> {
    let text = fs::read_to_string(root().join(FIGURES)).with_context(|| format!("cannot read {FIGURES}"))?;
    let mut worse = Vec::new();
    for (name, figure) in
        text.lines().filter_map(|line| line.split_once(' ')).filter(|(name, _)| *name != "#")
    {
        let before: u64 = figure.parse().with_context(|| format!("{FIGURES}: {name}"))?;
        match figures.get(name) {
            Some(now) if *now as f64 > before as f64 * SLACK => {
                worse.push(format!("{name}: {now}, was {before}"))
            }
            Some(_) => {}
            None => worse.push(format!("{name} is in {FIGURES} and was not measured")),
        }
    }
    if !worse.is_empty() {
        bail!("more instructions than {FIGURES} allows (+3 %):\n  {}", worse.join("\n  "));
    }
    Ok(())
}
