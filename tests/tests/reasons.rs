//! Every reason of the core's catalogue, provoked over a socket: the status that the catalogue gives it, and the same word in
//! the answer. A reason that nothing provokes is a defect of the catalogue or of these tests.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use narthex_contract::core::REASONS;
use narthex_testkit::{Conversation, FakeService, Next, RawClient, Response, answer};
use narthex_tests::Gateway;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Nothing answers with these over a socket; each with why.
const UNPROVOKED: &[(&str, &str)] = &[
    ("policy_unavailable", "no policy that comes with the gateway reads a feed: see the tests of the seams"),
    (
        "dispatch_too_deep",
        "no destination that comes with the gateway asks another route: see the tests of that",
    ),
    ("internal", "a panic is a defect, and no policy or destination panics on demand"),
    ("service_truncated", "the head is out: the answer is cut, see the test of its own"),
    ("misdirected_request", "only an encrypted connection is for one host, see tls_listeners.rs"),
    ("tls_failed", "wants a service that proves the wrong thing, see tls_services.rs"),
    ("tls_timeout", "wants a service that is silent in the handshake, see tls_services.rs"),
    ("overloaded", "wants a configuration of its own, see edge.rs"),
    ("too_many_connections", "it is said before any request, see edge.rs"),
    ("client_gone", "nobody is there to read it, see the test of its own"),
];

/// The reason and the bytes that provoke it.
const PROVOKED: &[(&str, &str)] = &[
    ("bad_request", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("bad_path", "GET /%2F HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("uri_too_long", "GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("head_too_large", "GET / HTTP/1.1\r\nHost: a\r\nX: {long}{long}\r\n\r\n"),
    ("head_timeout", "GET / HTTP/1.1\r\nHost: a\r\n"),
    ("body_timeout", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc"),
    ("version_unsupported", "GET / HTTP/3.0\r\nHost: a\r\n\r\n"),
    ("expectation_failed", "GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n"),
    ("unknown_host", "GET / HTTP/1.1\r\nHost: nobody\r\n\r\n"),
    ("no_route", "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("api_version_missing", "GET /x HTTP/1.1\r\nHost: v\r\n\r\n"),
    ("api_version_unknown", "GET /x?v=9 HTTP/1.1\r\nHost: v\r\n\r\n"),
    ("api_version_not_acceptable", "GET /x HTTP/1.1\r\nHost: v\r\nAccept: a/b;version=9\r\n\r\n"),
    ("api_version_gone", "GET /x?v=1 HTTP/1.1\r\nHost: v\r\n\r\n"),
    ("method_not_allowed", "PUT /get HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
    ("connect_not_supported", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"),
    ("body_too_large", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n"),
    ("no_instance", "GET /nobody HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("service_busy", "GET /busy HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("circuit_open", "GET /broken HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("connect_failed", "GET /refused HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("connect_timeout", "GET /full HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("service_timeout", "GET /never HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("deadline_exceeded", "GET /deadline HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("service_closed", "GET /close HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("service_protocol", "GET /both HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("service_head_too_large", "GET /large HTTP/1.1\r\nHost: a\r\n\r\n"),
    (
        "upgrade_refused",
        "GET /plain HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    ),
    ("loop_detected", "GET /get HTTP/1.1\r\nHost: a\r\nVia: {loops}\r\n\r\n"),
];

fn script(conversation: &mut Conversation<'_>) -> Result<Next, narthex_testkit::Fault> {
    match conversation.head().line.split(' ').nth(1).unwrap_or_default() {
        "/close" => Ok(Next::Close),
        "/never" | "/deadline" | "/busy" => answer::never()(conversation),
        "/both" => answer::raw_then_close(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        )(conversation),
        "/large" => {
            let field = format!("X: {}\r\n", "y".repeat(70_000));
            answer::raw_then_close(format!("HTTP/1.1 200 OK\r\n{field}\r\n"))(conversation)
        }
        "/truncated" => {
            answer::raw_then_close("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")(conversation)
        }
        _ => answer::echo()(conversation),
    }
}

/// A port that lets a connection wait: its queue is full.
struct Full {
    address: SocketAddr,
    _socket: socket2::Socket,
    _waiting: Vec<socket2::Socket>,
}

fn full() -> Full {
    let new = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let socket = new();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let waiting = (0..8)
        .map(|_| {
            let client = new();
            client.set_nonblocking(true).unwrap();
            // In progress, or connected: both fill the queue.
            let _ = client.connect(&address.into());
            client
        })
        .collect();
    Full { address, _socket: socket, _waiting: waiting }
}

struct Scene {
    gateway: Gateway,
    address: SocketAddr,
    service: FakeService,
    _full: Full,
}

fn scene() -> Scene {
    let service = FakeService::start(script);
    let full = full();
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        r#"
narthex: 1
admin: {{ address: "127.0.0.1:0" }}
listeners:
  main:
    address: "127.0.0.1:0"
    bounds: {{ uri_bytes: 1KiB, header_bytes: 4KiB, header_time: 300ms, body_idle_time: 300ms, body_bytes: 1KiB }}
services:
  s: {{ url: "{url}", timeouts: {{ first_byte: 1s }} }}
  slow: {{ url: "{url}" }}
  one: {{ url: "{url}", max_requests: 1 }}
  nobody: {{ url: "http://nobody.invalid:80", dns: {{ server: "{refused}", timeout: 1s }} }}
  refused: {{ url: "http://{refused}" }}
  broken: {{ url: "http://{refused}", breaker: {{ consecutive: 1, open: 1m }} }}
  full: {{ url: "http://{full}", timeouts: {{ connect: 200ms }} }}
gateways:
  g:
    listeners: [main]
    hosts: [a]
    routes:
      get: {{ match: "GET /get", public: true, to: s }}
      plain: {{ match: "GET /plain", public: true, to: s, upgrade: [] }}
      echo: {{ match: "/echo", public: true, to: s }}
      close: {{ match: "/close", public: true, to: s }}
      never: {{ match: "/never", public: true, to: s }}
      both: {{ match: "/both", public: true, to: s }}
      large: {{ match: "/large", public: true, to: s }}
      truncated: {{ match: "/truncated", public: true, to: s }}
      deadline: {{ match: "/deadline", public: true, to: slow, deadline: 200ms }}
      busy: {{ match: "/busy", public: true, to: one }}
      nobody: {{ match: "/nobody", public: true, to: nobody }}
      refused: {{ match: "/refused", public: true, to: refused }}
      broken: {{ match: "/broken", public: true, to: broken }}
      full: {{ match: "/full", public: true, to: full }}
  v:
    listeners: [main]
    hosts: [v]
    versions: {{ from: [query: v, media_type: vnd.v], known: {{ "1": {{ sunset: 2020-01-01 }} }} }}
    routes: {{ x: {{ match: "/x", public: true, to: s }} }}
"#,
        url = service.url(),
        full = full.address,
    );
    let gateway = Gateway::start(&config).unwrap_or_else(|error| panic!("{error}"));
    let address = gateway.address("main").expect("it listens");
    Scene { gateway, address, service, _full: full }
}

fn ask(scene: &Scene, request: &str) -> Response {
    let request =
        request.replace("{long}", &"x".repeat(3_000)).replace("{loops}", &["1.1 narthex"; 8].join(", "));
    RawClient::connect(scene.address).unwrap().exchange(request).unwrap()
}

#[test]
fn every_reason_is_provoked() {
    let scene = scene();
    let mut holder = RawClient::connect(scene.address).unwrap();
    holder.send("GET /busy HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    scene.service.wait_until(Duration::from_secs(10), |log| !log.is_empty()).unwrap();
    let mut wrong = Vec::new();
    for reason in REASONS {
        let Some((_, request)) = PROVOKED.iter().find(|(code, _)| *code == reason.code()) else { continue };
        let answer = ask(&scene, request);
        let said = answer.json();
        let is_right = answer.status == reason.status()
            && said["reason"] == reason.code()
            && said["status"] == reason.status()
            && said["request_id"].as_str().is_some_and(|id| !id.is_empty())
            && answer.field("content-type") == Some("application/problem+json");
        if !is_right {
            wrong.push(format!("{}: {} {}", reason.code(), answer.status, answer.text()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    scene.gateway.stop();
}

#[test]
fn the_catalogue_is_covered() {
    for reason in REASONS {
        let count = PROVOKED.iter().chain(UNPROVOKED).filter(|(code, _)| *code == reason.code()).count();
        assert_eq!(count, 1, "{} must stand in exactly one table", reason.code());
    }
    assert_eq!(
        REASONS.len(),
        PROVOKED.len() + UNPROVOKED.len(),
        "a table names what is not in the catalogue"
    );
}

/// How often a reason was counted.
fn counted(scene: &Scene, reason: &str) -> u64 {
    let admin = scene.gateway.admin().expect("it has an admin listener");
    let request = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let text = RawClient::connect(admin).unwrap().exchange(request).unwrap().text();
    let wanted = format!("narthex_refused_total{{reason=\"{reason}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&wanted)?.parse().ok()).unwrap_or(0)
}

fn is_counted(scene: &Scene, reason: &str) {
    let due = Instant::now() + Duration::from_secs(10);
    while counted(scene, reason) == 0 {
        assert!(Instant::now() < due, "{reason} is not counted");
        std::thread::yield_now();
    }
}

#[test]
fn an_answer_that_breaks_off_is_cut_and_counted() {
    let scene = scene();
    let mut client = RawClient::connect(scene.address).unwrap();
    let broken = client.exchange("GET /truncated HTTP/1.1\r\nHost: a\r\n\r\n");
    match broken {
        Err(_) => {}
        Ok(answer) => assert_eq!(answer.status, 502, "{}", answer.text()),
    }
    is_counted(&scene, "service_truncated");
    scene.gateway.stop();
}

#[test]
fn a_client_that_leaves_is_counted() {
    let scene = scene();
    let mut client = RawClient::connect(scene.address).unwrap();
    client.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    scene.service.wait_until(Duration::from_secs(10), |log| !log.is_empty()).unwrap();
    drop(client);
    is_counted(&scene, "client_gone");
    scene.gateway.stop();
}

#[test]
fn who_asks_for_which_version_is_counted() {
    let scene = scene();
    for request in ["GET /x?v=1 HTTP/1.1\r\nHost: v\r\n\r\n", "GET /x?v=7 HTTP/1.1\r\nHost: v\r\n\r\n"] {
        ask(&scene, request);
    }
    let admin = scene.gateway.admin().expect("it has an admin listener");
    let request = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let due = Instant::now() + Duration::from_secs(10);
    loop {
        let text = RawClient::connect(admin).unwrap().exchange(request).unwrap().text();
        let lines: Vec<_> =
            text.lines().filter(|line| line.starts_with("narthex_api_version_requests_total{")).collect();
        if !lines.is_empty() {
            // What names no version that there is makes no series.
            let wanted = "narthex_api_version_requests_total{gateway=\"v\",version=\"1\",caller=\"\"} 1";
            assert_eq!(lines, [wanted]);
            break;
        }
        assert!(Instant::now() < due, "nothing is counted");
        std::thread::yield_now();
    }
    scene.gateway.stop();
}
