//! An instance of a service that gets into trouble on command: `troubled ADDRESS LOG SEED`. A line on its standard input
//! says which: `well`, `slow`, `errors`, `cut`, `closing`; it ends when that input does.
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

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
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

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, log, seed] = &arguments[..] else {
        return Err(io::Error::other("usage: troubled ADDRESS LOG SEED"));
    };
    let listener = TcpListener::bind(address)?;
    let log: &'static File = Box::leak(Box::new(OpenOptions::new().append(true).create(true).open(log)?));
    let seed = AtomicU64::new(seed.parse().map_err(io::Error::other)?);
    writeln!(io::stdout(), "listening")?;
    std::thread::spawn(listen_to_orders);
    for stream in listener.incoming() {
        let (stream, random) = (stream?, Random::new(seed.fetch_add(1, Ordering::Relaxed)));
        // A client that breaks off ends its connection, nothing else.
        std::thread::spawn(move || Connection { stream, log, random }.serve());
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

struct Connection {
    stream: TcpStream,
    log: &'static File,
    random: Random,
}

/// A request, whole.
struct Asked {
    method: String,
    name: String,
    /// Of the answer's body.
    length: usize,
    left: String,
}

enum Next {
    Keep,
    End,
}

impl Connection {
    fn serve(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        loop {
            if let Next::End = self.idle()? {
                return Ok(());
            }
            let Some(asked) = self.read()? else { return Ok(()) };
            if asked.method == "GET" && asked.name == "healthz" {
                self.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
                continue;
            }
            if self.is_left()? {
                return Ok(());
            }
            self.note(&format!("begun {} {} {} {}\n", asked.method, asked.name, now(), asked.left))?;
            if let Next::End = self.answer(&asked)? {
                return Ok(());
            }
        }
    }

    /// Waits for a request. In trouble: closes the idle connection after a while, or at the very moment when the first
    /// byte of a request is there.
    fn idle(&mut self) -> io::Result<Next> {
        loop {
            let patience = Duration::from_millis(1 + self.random.below(20) as u64);
            self.stream.set_read_timeout(Some(patience))?;
            let seen = self.stream.peek(&mut [0]);
            let is_closing = TROUBLE.load(Ordering::Acquire) == CLOSING;
            match seen {
                Ok(0) => return Ok(Next::End),
                Ok(_) if is_closing && self.random.percent(30) => return Ok(Next::End),
                Ok(_) => return Ok(Next::Keep),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if is_closing && self.random.percent(50) {
                        return Ok(Next::End);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn read(&mut self) -> io::Result<Option<Asked>> {
        self.stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut got = Vec::new();
        let mut piece = [0; 4096];
        loop {
            if let Some(asked) = parse(&got) {
                return Ok(Some(asked));
            }
            match self.stream.read(&mut piece)? {
                0 => return Ok(None),
                count => got.extend_from_slice(&piece[..count]),
            }
        }
    }

    /// Whether nobody waits for the answer any more: then no work is begun.
    fn is_left(&self) -> io::Result<bool> {
        self.stream.set_nonblocking(true)?;
        let seen = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false)?;
        match seen {
            Ok(count) => Ok(count == 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(_) => Ok(true),
        }
    }

    fn note(&mut self, line: &str) -> io::Result<()> {
        self.log.write_all(line.as_bytes())
    }

    /// The work, then the answer: a body of its name again and again, in one of three framings.
    fn answer(&mut self, asked: &Asked) -> io::Result<Next> {
        let trouble = TROUBLE.load(Ordering::Acquire);
        let work = match trouble {
            SLOW if self.random.percent(60) => 100 + self.random.below(1_200),
            _ => self.random.below(4),
        };
        std::thread::park_timeout(Duration::from_millis(work as u64));
        if trouble == ERRORS && self.random.percent(90) {
            let status = self.random.one(&["500 Failed", "502 Failed", "503 Failed"]);
            let failed = format!("HTTP/1.1 {status}\r\nContent-Length: 7\r\n\r\nfailed\n");
            self.stream.write_all(failed.as_bytes())?;
            return Ok(Next::Keep);
        }
        let body: Vec<u8> = asked.name.bytes().cycle().take(asked.length).collect();
        let framing = self.random.below(10);
        let (fields, body) = match framing {
            0 => ("Connection: close\r\n".to_owned(), body),
            1..4 => ("Transfer-Encoding: chunked\r\n".to_owned(), chunked(&body)),
            _ => (format!("Content-Length: {}\r\n", body.len()), body),
        };
        let whole = [format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes(), &body].concat();
        if trouble == CUT && self.random.percent(50) {
            return self.cut(asked, &whole, body.len(), framing == 0);
        }
        self.stream.write_all(&whole)?;
        Ok(if framing == 0 { Next::End } else { Next::Keep })
    }

    /// Sends the head and a part of the body, and ends: by a reset, or where that can be told from an end, by closing.
    fn cut(&mut self, asked: &Asked, whole: &[u8], body: usize, by_reset: bool) -> io::Result<Next> {
        self.note(&format!("cut {}\n", asked.name))?;
        let most = whole.len() - 1 - self.random.below(body);
        self.stream.write_all(&whole[..most])?;
        if self.random.percent(50) {
            // What was sent is on its way alone.
            std::thread::park_timeout(Duration::from_millis(self.random.below(10) as u64));
        }
        if by_reset || self.random.percent(50) {
            socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
        }
        Ok(Next::End)
    }
}

/// Microseconds since 1970.
fn now() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros()
}

/// `METHOD /NAME/LENGTH`, with a body of the length that it says.
fn parse(got: &[u8]) -> Option<Asked> {
    let end = got.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&got[..end]);
    let mut lines = text.lines();
    let (mut words, mut body, mut left) = (lines.next()?.split(' '), 0, "-".to_owned());
    for line in lines {
        let Some((name, value)) = line.split_once(": ") else { continue };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => body = value.parse().unwrap(),
            "x-request-timeout" => left = value.to_owned(),
            _ => {}
        }
    }
    if got.len() < end + body {
        return None;
    }
    let method = words.next()?.to_owned();
    let mut path = words.next()?.split('/').skip(1);
    let name = path.next()?.to_owned();
    let length = path.next().and_then(|length| length.parse().ok()).unwrap_or(0);
    Some(Asked { method, name, length, left })
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in body.chunks(1 + body.len() / 3) {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}
