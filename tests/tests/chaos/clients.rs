//! The clients: each asks one request after the other on a connection that is kept, and notes what became of it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;
use narthex_testkit::{Fault, RawClient, Response};
use narthex_tests::{Random, http2};
use tokio::runtime::Runtime;

/// What `Hurried` says that it waits for, in milliseconds.
pub const HURRY_MS: u64 = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Get,
    /// Must not be executed twice.
    Post,
    /// A GET with a deadline of its own.
    Hurried,
    /// A POST whose client goes before it has the answer.
    Left,
}

impl Kind {
    fn is_post(self) -> bool {
        matches!(self, Self::Post | Self::Left)
    }
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
    /// Nobody waited for it.
    Left,
    /// Neither an answer nor an end, or nonsense.
    Worse(String),
}

/// One request.
pub struct Asked {
    pub kind: Kind,
    pub name: String,
    /// Microseconds since 1970.
    pub sent: u64,
    /// Microseconds.
    pub took: u64,
    pub outcome: Outcome,
}

impl fmt::Display for Asked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?} {}, {:?} after {} us", self.kind, self.name, self.outcome, self.took)
    }
}

/// Microseconds since 1970.
pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_micros().try_into().unwrap()
}

/// A version of HTTP, at either end of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

impl Version {
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
        }
    }
}

/// Asks until it is over, one request after the other. `think_ms`: the longest pause between two requests.
pub fn ask_until(
    is_over: &AtomicBool,
    mut connection: Connection,
    client: usize,
    mut random: Random,
    think_ms: usize,
) -> Vec<Asked> {
    let mut all = Vec::new();
    while !is_over.load(Ordering::Acquire) {
        let kind = match random.below(20) {
            0..12 => Kind::Get,
            12..16 => Kind::Post,
            16..19 => Kind::Hurried,
            _ => Kind::Left,
        };
        let name = format!("{client}-{}", all.len());
        let longest = [100, 5_000, 100_000][random.below(3)];
        let length = 1 + random.below(longest);
        let sent = now();
        let outcome = match kind {
            Kind::Left => connection.leave(&name, length, Duration::from_millis(random.below(30) as u64)),
            _ => connection.ask(kind, &name, length),
        };
        all.push(Asked { kind, name, sent, took: now() - sent, outcome });
        std::thread::park_timeout(Duration::from_millis(random.below(think_ms) as u64));
    }
    all
}

/// A connection that is opened where there is none.
pub enum Connection {
    Http1(SocketAddr, Option<RawClient>),
    Http2(SocketAddr, Runtime, Option<http2::Client>),
}

impl Connection {
    pub fn new(version: Version, address: SocketAddr) -> Self {
        match version {
            Version::Http1 => Self::Http1(address, None),
            Version::Http2 => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                Self::Http2(address, runtime.unwrap(), None)
            }
        }
    }

    fn ask(&mut self, kind: Kind, name: &str, length: usize) -> Outcome {
        match self {
            Self::Http1(address, kept) => {
                let mut open = kept.take().unwrap_or_else(|| RawClient::connect(*address).unwrap());
                let answer = open.exchange(request(kind, name, length));
                *kept = answer.as_ref().is_ok_and(|answer| !answer.closes()).then_some(open);
                judge(answer, name, length)
            }
            Self::Http2(address, runtime, kept) => runtime.block_on(async {
                // The gateway has no reason to end a connection: then it is worse.
                match begin_h2(*address, kept, kind, name, length).await {
                    Ok((response, _body)) => read_h2(response, name, length).await,
                    Err(error) => Outcome::Worse(error.to_string()),
                }
            }),
        }
    }

    /// Asks, and goes after that time: by closing or a reset of the connection, or of the stream.
    fn leave(&mut self, name: &str, length: usize, after: Duration) -> Outcome {
        match self {
            Self::Http1(address, kept) => {
                let mut open = kept.take().unwrap_or_else(|| RawClient::connect(*address).unwrap());
                // What the connection thinks of it does not matter any more.
                let _ = open.send(request(Kind::Left, name, length));
                std::thread::park_timeout(after);
                if length.is_multiple_of(2) {
                    let _ = open.reset();
                }
                Outcome::Left
            }
            Self::Http2(address, runtime, kept) => runtime.block_on(async {
                match begin_h2(*address, kept, Kind::Left, name, length).await {
                    Ok((response, mut body)) => {
                        let _ = tokio::time::timeout(after, response).await;
                        body.send_reset(h2::Reason::CANCEL);
                        Outcome::Left
                    }
                    Err(error) => Outcome::Worse(error.to_string()),
                }
            }),
        }
    }
}

/// Sends a request, on a connection that is kept.
async fn begin_h2(
    address: SocketAddr,
    kept: &mut Option<http2::Client>,
    kind: Kind,
    name: &str,
    length: usize,
) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
    let open = match kept.take() {
        Some(open) => open,
        None => http2::connect(address).await,
    };
    let mut open = http2::within("a free stream", open.ready()).await?;
    let method = if kind.is_post() { "POST" } else { "GET" };
    let mut asked = http2::request(method, &format!("/{name}/{length}"));
    if kind == Kind::Hurried {
        asked = asked.header("x-request-timeout", HURRY_MS);
    }
    let (response, mut body) = open.send_request(asked.body(()).unwrap(), !kind.is_post())?;
    if kind.is_post() {
        // An answer may be there already, and the stream over: then the answer tells.
        let _ = body.send_data(Bytes::from_static(b"order"), true);
    }
    *kept = Some(open);
    Ok((response, body))
}

async fn read_h2(response: ResponseFuture, name: &str, length: usize) -> Outcome {
    let (parts, body) = match http2::within("the head", response).await {
        Ok(response) => response.into_parts(),
        Err(error) if error.is_reset() => return Outcome::Broken(false),
        Err(error) => return Outcome::Worse(error.to_string()),
    };
    match http2::read_body(body).await {
        Ok((body, _)) if parts.status == 200 => compare(&body, name, length),
        Ok((body, _)) => {
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let reason = problem["reason"].as_str().unwrap_or_default();
            Outcome::Refused(parts.status.as_u16(), reason.to_owned())
        }
        Err(error) if error.is_reset() => Outcome::Broken(true),
        Err(error) => Outcome::Worse(error.to_string()),
    }
}

fn request(kind: Kind, name: &str, length: usize) -> String {
    let (method, fields, body) = match kind {
        Kind::Get => ("GET", String::new(), ""),
        Kind::Hurried => ("GET", format!("X-Request-Timeout: {HURRY_MS}\r\n"), ""),
        Kind::Post | Kind::Left => ("POST", "Content-Length: 5\r\n".to_owned(), "order"),
    };
    format!("{method} /{name}/{length} HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
}

fn compare(body: &[u8], name: &str, length: usize) -> Outcome {
    let is_whole = body.iter().copied().eq(name.bytes().cycle().take(length));
    if is_whole { Outcome::Whole } else { Outcome::WrongBody }
}

fn judge(answer: Result<Response, Fault>, name: &str, length: usize) -> Outcome {
    match answer {
        Ok(answer) if answer.status == 200 => compare(&answer.body, name, length),
        Ok(answer) => Outcome::Refused(answer.status, answer.reason()),
        Err(Fault::Cut { head, .. }) => Outcome::Broken(head.is_some()),
        Err(Fault::Reset { .. }) => Outcome::Broken(true),
        Err(Fault::Closed) => Outcome::Broken(false),
        Err(other) => Outcome::Worse(other.to_string()),
    }
}
