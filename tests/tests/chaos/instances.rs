//! The instances as processes, and the trouble that they are brought into: at most two of them at once.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use narthex_tests::{Program, Random, sibling, signal};

use crate::clients::{Version, now};

/// What happens to an instance. The first two happen to its process, the others it is told.
const TROUBLES: [&str; 6] = ["killed", "stopped", "slow", "errors", "cut", "closing"];
const TROUBLED_AT_ONCE: usize = 2;

pub struct Instance {
    pub address: SocketAddr,
    version: Version,
    log: PathBuf,
    seed: usize,
    program: Program,
}

/// An instance, by its place, and when it was killed, in microseconds since 1970.
pub struct Kill {
    pub instance: usize,
    pub at: u64,
}

impl Instance {
    /// On a port that was free a moment ago, on a loopback address that nobody else uses.
    pub fn start(version: Version, at: usize, log: PathBuf) -> Self {
        let network = if version == Version::Http1 { 6 } else { 7 };
        let any = SocketAddr::from(([127, 0, network, at as u8 + 1], 0));
        let address = TcpListener::bind(any).unwrap().local_addr().unwrap();
        let seed = at * 1_000_000;
        let program = spawn(version, address, &log, seed);
        Self { address, version, log, seed, program }
    }

    fn tell(&mut self, trouble: &str) {
        let orders = self.program.input().unwrap();
        writeln!(orders, "{trouble}").unwrap();
    }

    fn begin(&mut self, trouble: &str) {
        match trouble {
            "killed" => self.program.kill(),
            "stopped" => signal(self.program.id(), "STOP"),
            told => self.tell(told),
        }
    }

    fn end(&mut self, trouble: &str) {
        match trouble {
            "killed" => {
                self.seed += 10_000;
                self.program = spawn(self.version, self.address, &self.log, self.seed);
            }
            "stopped" => signal(self.program.id(), "CONT"),
            _ => self.tell("well"),
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// In bytes.
    pub fn log_length(&self) -> u64 {
        std::fs::metadata(&self.log).unwrap().len()
    }
}

fn spawn(version: Version, address: SocketAddr, log: &PathBuf, seed: usize) -> Program {
    let mut command = Command::new(sibling("troubled"));
    command.arg(version.name()).arg(address.to_string()).arg(log).arg(seed.to_string());
    Program::start(command.stdin(Stdio::piped()))
}

/// Every trouble comes once before one comes again.
struct Deck {
    random: Random,
    left: Vec<&'static str>,
}

impl Deck {
    fn draw(&mut self) -> &'static str {
        if self.left.is_empty() {
            self.left = TROUBLES.to_vec();
        }
        self.left.swap_remove(self.random.below(self.left.len()))
    }
}

/// Until then; afterwards all instances are left to themselves.
pub fn make_trouble(instances: &mut [Instance], random: Random, until: Instant) -> Vec<Kill> {
    let mut deck = Deck { random, left: Vec::new() };
    let mut troubled: Vec<(usize, &str, Instant)> = Vec::new();
    let mut kills = Vec::new();
    while Instant::now() < until {
        let (over, rest): (Vec<_>, Vec<_>) =
            troubled.into_iter().partition(|(_, _, over)| *over <= Instant::now());
        troubled = rest;
        for (at, trouble, _) in over {
            instances[at].end(trouble);
        }
        let free: Vec<_> =
            (0..instances.len()).filter(|at| troubled.iter().all(|one| one.0 != *at)).collect();
        if troubled.len() < TROUBLED_AT_ONCE {
            let at = free[deck.random.below(free.len())];
            let (trouble, length) = (deck.draw(), 300 + deck.random.below(1_500) as u64);
            if trouble == "killed" {
                kills.push(Kill { instance: at, at: now() });
            }
            instances[at].begin(trouble);
            troubled.push((at, trouble, Instant::now() + Duration::from_millis(length)));
        }
        std::thread::park_timeout(Duration::from_millis(20 + deck.random.below(200) as u64));
    }
    for (at, trouble, _) in troubled {
        instances[at].end(trouble);
    }
    kills
}
