//! The clients: each asks one request after the other on a connection that is kept, and notes what became of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use narthex_testkit::{Fault, RawClient, Response};
use narthex_tests::Random;

/// What `Hurried` says that it waits for, in milliseconds.
pub const HURRY_MS: u64 = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Get,
    /// Must not be executed twice.
    Post,
    /// A GET with a deadline of its own.
    Hurried,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 200 with the whole body.
    Whole,
    /// 200 with another body that was said to be whole.
    WrongBody,
    /// A status, and the reason where the gateway answered itself.
    Refused(u16, String),
    /// The connection ended before the answer's end. True: the answer had begun, as far as the client knows.
    Broken(bool),
    /// Neither an answer nor an end, or nonsense.
    Worse(String),
}

/// One request.
pub struct Asked {
    pub kind: Kind,
    pub name: String,
    /// Microseconds since 1970.
    pub sent: u64,
    pub outcome: Outcome,
}

/// Microseconds since 1970.
pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_micros().try_into().unwrap()
}

/// `think_ms`: the longest pause between two requests.
pub fn ask_until(
    is_over: &AtomicBool,
    address: SocketAddr,
    client: usize,
    mut random: Random,
    think_ms: usize,
) -> Vec<Asked> {
    let mut connection: Option<RawClient> = None;
    let mut all = Vec::new();
    while !is_over.load(Ordering::Acquire) {
        let kind = [Kind::Get, Kind::Get, Kind::Get, Kind::Post, Kind::Hurried][random.below(5)];
        let name = format!("{client}-{}", all.len());
        let longest = [100, 5_000, 100_000][random.below(3)];
        let length = 1 + random.below(longest);
        let request = request(kind, &name, length);
        let mut open = connection.take().unwrap_or_else(|| RawClient::connect(address).unwrap());
        let sent = now();
        let answer = open.exchange(&request);
        if answer.as_ref().is_ok_and(|answer| !answer.closes()) {
            connection = Some(open);
        }
        let outcome = judge(answer, &name, length);
        all.push(Asked { kind, name, sent, outcome });
        std::thread::park_timeout(Duration::from_millis(random.below(think_ms) as u64));
    }
    all
}

fn request(kind: Kind, name: &str, length: usize) -> String {
    let (method, fields, body) = match kind {
        Kind::Get => ("GET", String::new(), ""),
        Kind::Hurried => ("GET", format!("X-Request-Timeout: {HURRY_MS}\r\n"), ""),
        Kind::Post => ("POST", "Content-Length: 5\r\n".to_owned(), "order"),
    };
    format!("{method} /{name}/{length} HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
}

fn judge(answer: Result<Response, Fault>, name: &str, length: usize) -> Outcome {
    match answer {
        Ok(answer) if answer.status == 200 => {
            let is_whole = answer.body.iter().copied().eq(name.bytes().cycle().take(length));
            if is_whole { Outcome::Whole } else { Outcome::WrongBody }
        }
        Ok(answer) => Outcome::Refused(answer.status, answer.reason()),
        Err(Fault::Cut { head, .. }) => Outcome::Broken(head.is_some()),
        Err(Fault::Reset { .. }) => Outcome::Broken(true),
        Err(Fault::Closed) => Outcome::Broken(false),
        Err(other) => Outcome::Worse(other.to_string()),
    }
}
