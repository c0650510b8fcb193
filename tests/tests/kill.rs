//! An instance is killed and comes back on its port, under load: only requests that its own log says it had begun are
//! lost, and while no instance can be reached the gateway says so.
//!
//! One limit is the network's: bytes that the kernel has taken for a process that is killed before it reads them look to
//! the gateway like a request that was begun. A GET on a kept connection is sent again; a POST, or a request that was the
//! first of its connection, may have acted and is not. Of those there is at most one per client and kill.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use narthex_testkit::{RawClient, Workspace};
use narthex_tests::{Gateway, PATIENCE, Program, eventually};

const CLIENTS: usize = 8;
const KILLS: usize = 3;

/// A port that was free a moment ago, on a loopback address that nobody else uses.
fn free(host: u8) -> SocketAddr {
    TcpListener::bind(SocketAddr::from(([127, 0, 5, host], 0))).unwrap().local_addr().unwrap()
}

struct Instance {
    address: SocketAddr,
    log: PathBuf,
    program: Program,
}

impl Instance {
    fn start(address: SocketAddr, log: PathBuf) -> Self {
        let program = spawn(address, &log);
        Self { address, log, program }
    }

    fn kill(&mut self) {
        self.program.kill();
    }

    fn come_back(&mut self) {
        self.program = spawn(self.address, &self.log);
    }

    /// The targets of the requests that it had begun.
    fn begun(&self) -> Vec<String> {
        std::fs::read_to_string(&self.log).unwrap().lines().map(str::to_owned).collect()
    }
}

fn spawn(address: SocketAddr, log: &PathBuf) -> Program {
    Program::start(Command::new(env!("CARGO_BIN_EXE_instance")).arg(address.to_string()).arg(log))
}

/// What became of the requests: by reason, the targets of those that were not answered by the service.
type Lost = BTreeMap<String, Vec<String>>;

struct Run {
    /// Holds the logs.
    _workspace: Workspace,
    instances: Vec<Instance>,
    lost: Lost,
    sent: u64,
}

/// Kills the first instance again and again while clients ask, each request with a target of its own.
fn run(instances: usize, method: &str) -> Run {
    let workspace = Workspace::new().unwrap();
    let mut instances: Vec<_> = (0..instances)
        .map(|at| Instance::start(free(at as u8 + 1), workspace.file(&format!("{at}.log"))))
        .collect();
    let urls: Vec<_> = instances.iter().map(|one| format!("\"http://{}\"", one.address)).collect();
    let gateway = Gateway::start(&format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\n\
         services: {{ s: {{ instances: [{}] }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s }} }} }} }}\n",
        urls.join(", ")
    ))
    .unwrap();
    let address = gateway.address("main").unwrap();
    let (is_over, answered, sent) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let lost = Mutex::new(Lost::new());
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (is_over, answered, sent, lost) = (&is_over, &answered, &sent, &lost);
            scope.spawn(move || {
                let mut connection = RawClient::connect(address).unwrap();
                for number in 0.. {
                    if is_over.load(Ordering::Acquire) {
                        return;
                    }
                    let target = format!("/{client}/{number}");
                    let body = if method == "POST" { "x\r\n" } else { "" };
                    let length = body.len();
                    sent.fetch_add(1, Ordering::AcqRel);
                    let answer = connection
                        .exchange(format!(
                            "{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
                        ))
                        .expect("the gateway answers every request");
                    if answer.status == 200 {
                        answered.fetch_add(1, Ordering::AcqRel);
                    } else {
                        assert!(matches!(answer.status, 502..=504), "{}: {}", answer.status, answer.text());
                        lost.lock().unwrap().entry(answer.reason()).or_default().push(target);
                    }
                    if answer.closes() {
                        connection = RawClient::connect(address).unwrap();
                    }
                }
            });
        }
        let more = |count: u64| {
            let before = answered.load(Ordering::Acquire);
            eventually("answers", PATIENCE, || {
                (answered.load(Ordering::Acquire) >= before + count).then_some(())
            });
        };
        for _ in 0..KILLS {
            more(200);
            instances[0].kill();
            if instances.len() > 1 {
                more(100);
            } else {
                let refused = || !lost.lock().unwrap().is_empty();
                eventually("the gap is seen", PATIENCE, || refused().then_some(()));
                std::thread::park_timeout(Duration::from_millis(100));
            }
            instances[0].come_back();
        }
        more(200);
        is_over.store(true, Ordering::Release);
    });
    gateway.stop();
    let run =
        Run { _workspace: workspace, instances, lost: lost.into_inner().unwrap(), sent: sent.into_inner() };
    let counts: Vec<_> = run.lost.iter().map(|(reason, targets)| (reason, targets.len())).collect();
    println!("{method}, {} instances: {} sent, not answered: {counts:?}", run.instances.len(), run.sent);
    run
}

/// `unreached`: the reasons that say that no instance was reached; everything else must have been begun, but for so many
/// that the kernel had taken.
fn only_begun_ones_are_lost(run: &Run, unreached: &[&str], taken_by_the_kernel: usize) {
    let mut taken = 0;
    let begun: Vec<String> = run.instances.iter().flat_map(Instance::begun).collect();
    let begun: std::collections::BTreeSet<&String> = begun.iter().collect();
    for (reason, targets) in &run.lost {
        if unreached.contains(&reason.as_str()) {
            continue;
        }
        for target in targets.iter().filter(|target| !begun.contains(target)) {
            assert_eq!(reason, "service_closed", "for {target}, which no instance had begun");
            taken += 1;
            assert!(taken <= taken_by_the_kernel, "{target} is lost, though no instance had begun it");
        }
    }
}

/// Nobody is asked twice who might have acted.
fn none_was_repeated(run: &Run) {
    let mut all: Vec<String> = run.instances.iter().flat_map(Instance::begun).collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "a request was sent twice");
}

#[test]
fn of_two_instances_one_is_killed_get() {
    only_begun_ones_are_lost(&run(2, "GET"), &[], 0);
}

#[test]
fn of_two_instances_one_is_killed_post() {
    let run = run(2, "POST");
    only_begun_ones_are_lost(&run, &[], CLIENTS * KILLS);
    none_was_repeated(&run);
}

#[test]
fn the_only_instance_is_killed() {
    let run = run(1, "GET");
    only_begun_ones_are_lost(&run, &["connect_failed", "connect_timeout", "no_instance"], CLIENTS * KILLS);
    assert!(!run.lost.is_empty(), "the gap was not noticed");
}
