//! An instance of a service that gets into trouble on command: `troubled http1|http2 ADDRESS LOG SEED`. A line on its
//! standard input says which: `well`, `slow`, `errors`, `cut`, `closing`; it ends when that input does.
//!
//! Its log has a line for each thing it does, written in one piece at that moment, so that it survives SIGKILL:
//! `begun METHOD NAME MICROSECONDS LEFT` when it begins to work for a request that it has whole and whose sender is still
//! there (LEFT: the `X-Request-Timeout` that came with it, or `-`), and `cut NAME` before an answer that it will break off.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

mod http1;
mod http2;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use narthex_tests::Random;

/// What it may be told.
const TROUBLES: [&str; 5] = ["well", "slow", "errors", "cut", "closing"];
const SLOW: u8 = 1;
const ERRORS: u8 = 2;
const CUT: u8 = 3;
const CLOSING: u8 = 4;

static TROUBLE: AtomicU8 = AtomicU8::new(0);

fn trouble() -> u8 {
    TROUBLE.load(Ordering::Acquire)
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [protocol, address, log, seed] = &arguments[..] else {
        return Err(io::Error::other("usage: troubled http1|http2 ADDRESS LOG SEED"));
    };
    let listener = TcpListener::bind(address)?;
    let log: &'static File = Box::leak(Box::new(OpenOptions::new().append(true).create(true).open(log)?));
    let seed = AtomicU64::new(seed.parse().map_err(io::Error::other)?);
    writeln!(io::stdout(), "listening")?;
    std::thread::spawn(listen_to_orders);
    for stream in listener.incoming() {
        let (stream, random) = (stream?, Random::new(seed.fetch_add(1, Ordering::Relaxed)));
        // A client that breaks off ends its connection, nothing else.
        if protocol == "http1" {
            std::thread::spawn(move || http1::serve(stream, log, random));
        } else {
            std::thread::spawn(move || http2::serve(stream, log, random));
        }
    }
    Ok(())
}

fn listen_to_orders() {
    for line in io::stdin().lines().map_while(Result::ok) {
        let at = TROUBLES.iter().position(|trouble| *trouble == line).unwrap();
        TROUBLE.store(at as u8, Ordering::Release);
    }
    std::process::exit(0);
}

/// A request, whole.
#[derive(Default)]
struct Asked {
    method: String,
    name: String,
    /// Of the answer's body.
    length: usize,
    left: String,
}

impl Asked {
    /// `path`: `/NAME/LENGTH`.
    fn new(method: &str, path: &str, left: Option<&str>) -> Option<Self> {
        let mut path = path.split('/').skip(1);
        let name = path.next()?.to_owned();
        let length = path.next().and_then(|length| length.parse().ok()).unwrap_or(0);
        Some(Self { method: method.to_owned(), name, length, left: left.unwrap_or("-").to_owned() })
    }

    fn is_check(&self) -> bool {
        self.name == "healthz"
    }

    fn note_begin(&self, mut log: &File) -> io::Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
        log.write_all(format!("begun {} {} {now} {}\n", self.method, self.name, self.left).as_bytes())
    }

    fn note_cut(&self, mut log: &File) -> io::Result<()> {
        log.write_all(format!("cut {}\n", self.name).as_bytes())
    }

    /// Its name again and again.
    fn body(&self) -> Vec<u8> {
        self.name.bytes().cycle().take(self.length).collect()
    }
}

/// What becomes of a request.
struct Plan {
    work: Duration,
    failure: Option<u16>,
    is_cut: bool,
}

impl Plan {
    fn draw(random: &mut Random) -> Self {
        let trouble = trouble();
        let work = match trouble {
            SLOW if random.percent(60) => 100 + random.below(1_200),
            _ => random.below(4),
        };
        let failure = [500, 502, 503][random.below(3)];
        Self {
            work: Duration::from_millis(work as u64),
            failure: (trouble == ERRORS && random.percent(90)).then_some(failure),
            is_cut: trouble == CUT && random.percent(50),
        }
    }
}
