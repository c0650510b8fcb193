//! Five instances get into trouble at random: killed and started again, stopped, slow, answering 500, cutting their
//! answers, closing idle connections at the worst moment. Clients go on asking, and what must hold is held against the
//! instances' own logs.
//!
//! Ten seconds by default, and of its results only those are asserted that do not depend on time. `NARTHEX_SOAK=1` makes
//! it ten minutes, `NARTHEX_CHAOS_SECONDS` as many as it says; then all is asserted. `NARTHEX_CHAOS_SEED` repeats the
//! order of the troubles.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

mod clients;
mod instances;
mod verdict;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use narthex_testkit::Workspace;
use narthex_tests::{PATIENCE, Process, Random, eventually};

use clients::{Asked, Connection, Version, ask_until};
use instances::{Instance, Kill, make_trouble};
use verdict::Verdict;

const INSTANCES: usize = 5;
/// The share of the requests in flight that may be retries.
const BUDGET_PERCENT: u64 = 20;
/// So many may always be.
const BUDGET_LEAST: u64 = 20;
const WORKERS: u64 = 2;

fn seconds(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How long it takes, and whether it is the long run.
fn length() -> (Duration, bool) {
    let soak = std::env::var_os("NARTHEX_SOAK").map(|_| 600);
    let wanted = seconds("NARTHEX_CHAOS_SECONDS").or(soak);
    (Duration::from_secs(wanted.unwrap_or(10)), wanted.is_some())
}

fn seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    seconds("NARTHEX_CHAOS_SEED").unwrap_or(now.as_secs())
}

/// `generation`: no two are the same, and all mean the same.
fn config(version: Version, instances: &[Instance], log: &Path, generation: u64) -> String {
    let scheme = if version == Version::Http1 { "http" } else { "h2c" };
    let urls: Vec<_> = instances.iter().map(|one| format!("\"{scheme}://{}\"", one.address)).collect();
    format!(
        "narthex: 1
listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}
admin: {{ address: \"127.0.0.1:0\" }}
access_log: {{ to: \"{}\" }}
services:
  s:
    instances: [ {} ]
    balance: least_request
    timeouts: {{ connect: 300ms }}
    health: {{ path: /healthz, every: 200ms, timeout: 500ms, healthy: 2, unhealthy: 2 }}
    outliers: {{ errors: 5, no_answers: 5, every: 1s, eject: 1s, eject_max: 2s, max_ejected: 60% }}
    retry: {{ on: [connect, refused_stream, reset, timeout, gateway_error, 500], tries: 5, per_try: 400ms, backoff: {{ base: 5ms, max: 50ms }} }}
    retry_budget: {{ share: {BUDGET_PERCENT}%, min: {BUDGET_LEAST} }}
gateways:
  g:
    listeners: [main]
    policies: [ headers: {{ response: {{ set: {{ X-Generation: \"{generation}\" }} }} }} ]
    routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, deadline: 5s, to: s }} }}
",
        log.display(),
        urls.join(", ")
    )
}

/// What the metrics say of the service: the sum of all series of a name.
fn metric(gateway: &Process, name: &str) -> u64 {
    let page = gateway.get("/metrics").text();
    let values = page.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains("\"s\""));
    values.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
}

/// Reloads again and again, and looks how many retries are in flight: gives the most that were.
fn watch(gateway: &Process, is_over: &AtomicBool, config: impl Fn(u64) -> String) -> u64 {
    let mut most = 0;
    for look in 1.. {
        if is_over.load(Ordering::Acquire) {
            break;
        }
        if look % 8 == 0 {
            let answer = gateway.ask("PUT", "/config", "", &config(look));
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        let status = gateway.get("/status").json();
        most = most.max(status["services"]["s"]["retries_in_flight"].as_u64().unwrap());
        std::thread::park_timeout(Duration::from_millis(100));
    }
    most
}

/// Nothing is left behind: no request, no retry, nobody who waits.
fn all_is_quiet(gateway: &Process) {
    let mut status = serde_json::Value::Null;
    let is_quiet = || {
        status = gateway.get("/status").json();
        let service = &status["services"]["s"];
        let accounts = ["requests_in_flight", "retries_in_flight", "pending"].map(|name| &service[name]);
        let instances = service["instances"].as_array().unwrap().iter().map(|one| &one["in_flight"]);
        accounts.into_iter().chain(instances).all(|count| *count == 0).then_some(())
    };
    eventually("nothing is left behind", PATIENCE, is_quiet);
    let page = gateway.get("/metrics").text();
    let left: Vec<_> = page.lines().filter(|line| line.starts_with("narthex_exchanges{")).collect();
    assert!(left.iter().all(|line| line.ends_with(" 0")), "{left:?}");
}

/// All are well, and each one is asked again.
fn all_recover(gateway: &Process, instances: &[Instance]) {
    eventually("all instances are well", PATIENCE, || {
        let well = metric(gateway, "narthex_service_instance_healthy");
        let ejected = metric(gateway, "narthex_service_instance_ejected");
        (well == INSTANCES as u64 && ejected == 0).then_some(())
    });
    let before: Vec<_> = instances.iter().map(Instance::log_length).collect();
    eventually("each instance is asked again", PATIENCE, || {
        let now = instances.iter().map(Instance::log_length);
        now.zip(&before).all(|(now, before)| now > *before).then_some(())
    });
}

/// The instances that the gateway's log names in lines with these words.
fn named(gateway: &Process, words: &str) -> BTreeSet<String> {
    let log = gateway.log();
    let lines = log.lines().filter(|line| line.contains(words));
    lines.filter_map(|line| Some(line.split_once("instance=")?.1.split(' ').next()?.to_owned())).collect()
}

/// What the gateway's own log says of what should not have been.
fn tell_of(verdict: &Verdict, log: &Path) {
    let names: Vec<_> = verdict.suspicious.iter().map(|name| format!("/{name}/")).collect();
    if names.is_empty() {
        return;
    }
    let log = BufReader::new(File::open(log).unwrap());
    let lines = log.lines().map(Result::unwrap);
    for line in lines.filter(|line| names.iter().any(|name| line.contains(name))).take(50) {
        println!("{line}");
    }
}

fn run(version: Version, length: Duration, clients: usize, think_ms: usize) -> Verdict {
    let seed = seed();
    println!("NARTHEX_CHAOS_SEED={seed}, {length:?}, {clients} clients");
    let workspace = Workspace::new().unwrap();
    let mut instances: Vec<_> =
        (0..INSTANCES).map(|at| Instance::start(version, at, workspace.file(&format!("{at}.log")))).collect();
    let log = workspace.file("access.log");
    let texts: Vec<_> = (0..2).map(|generation| config(version, &instances, &log, generation)).collect();
    let gateway = Process::start(&texts[0], &["--workers", &WORKERS.to_string()]);
    let address = gateway.address("main");
    let is_over = AtomicBool::new(false);
    let (mut asked, mut kills): (Vec<Asked>, Vec<Kill>) = (Vec::new(), Vec::new());
    let mut retries_at_once = 0;
    std::thread::scope(|scope| {
        let (is_over, gateway) = (&is_over, &gateway);
        let watcher = scope.spawn(|| watch(gateway, is_over, |look| texts[(look / 8 % 2) as usize].clone()));
        let clients: Vec<_> = (0..clients)
            .map(|client| {
                let random = Random::new(seed + 1_000 + client as u64);
                // Either version in front of either version.
                let front = [Version::Http1, Version::Http2][client % 2];
                scope.spawn(move || {
                    ask_until(is_over, Connection::new(front, address), client, random, think_ms)
                })
            })
            .collect();
        // Whatever fails here must not leave the clients asking for ever.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            kills = make_trouble(&mut instances, Random::new(seed), Instant::now() + length);
            all_recover(gateway, &instances);
        }));
        is_over.store(true, Ordering::Release);
        for client in clients {
            asked.extend(client.join().unwrap());
        }
        retries_at_once = watcher.join().unwrap();
        ended.unwrap_or_else(|_| panic!("{}", gateway.log()));
    });
    all_is_quiet(&gateway);
    println!("ejected: {:?}", named(&gateway, "an instance is ejected"));
    println!("unhealthy: {:?}", named(&gateway, "an instance is unhealthy"));
    let mut verdict = Verdict::of(&asked, &kills, &instances);
    verdict.retries_at_once = retries_at_once;
    verdict.sent = metric(&gateway, "narthex_service_requests_total");
    verdict.retries = metric(&gateway, "narthex_service_retries_total");
    verdict.over_budget = metric(&gateway, "narthex_service_retries_refused_total");
    verdict.ejected = named(&gateway, "an instance is ejected").len();
    verdict.unhealthy = named(&gateway, "an instance is unhealthy").len();
    println!("{verdict}");
    tell_of(&verdict, &log);
    assert!(!gateway.log().contains("panicked"), "{}", gateway.log());
    verdict
}

fn trouble_at_random(version: Version) {
    let (length, is_long) = length();
    let (clients, think_ms) = if is_long { (32, 40) } else { (16, 20) };
    let verdict = run(version, length, clients, think_ms);
    verdict.expect_what_no_clock_decides();
    if is_long {
        verdict.expect_all(length);
    }
}

#[test]
fn instances_on_http1() {
    trouble_at_random(Version::Http1);
}

#[test]
fn instances_on_http2() {
    trouble_at_random(Version::Http2);
}
