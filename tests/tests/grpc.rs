//! gRPC through the gateway: every kind of call with grpcio on both ends, in plain and encrypted, and what only a client of
//! frames sees: how refusals, cancellations and broken calls look on the wire.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::sync::mpsc;

use bytes::Bytes;
use http::HeaderMap;
use narthex_testkit::{Authority, Workspace};
use narthex_tests::http2::{Asked, Client, connect, head, read, request, run, serve, within};
use narthex_tests::{Gateway, PATIENCE, Process, Program, eventually, python};

const CALLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/grpc/calls.py");

/// A service on grpcio; with a certificate and its key: on TLS.
fn service(files: &[&str]) -> Option<Program> {
    Some(Program::start(python("grpcio")?.args([CALLS, "serve"]).args(files)))
}

/// Every call of `calls.py`.
fn call(address: std::net::SocketAddr, authority: &[&str]) {
    let mut command = python("grpcio").unwrap();
    let output = command.args([CALLS, "call", &address.to_string()]).args(authority).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().count(), 6, "{said}");
}

fn config(url: &str, tls: &str, certificates: &str) -> String {
    format!(
        "narthex: 1
listeners: {{ main: {{ address: \"127.0.0.1:0\" {certificates} }} }}
services:
  calls: {{ url: \"{url}\" {tls} }}
  down: {{ url: \"grpc://127.0.0.1:1\" }}
gateways:
  g:
    listeners: [main]
    routes:
      calls: {{ match: \"POST /test.Calls/{{method}}\", public: true, to: calls }}
      down: {{ match: \"POST /down.Calls/{{method}}\", public: true, to: down }}
      small:
        match: \"POST /small.Calls/{{method}}\"
        public: true
        policies: [ body_limit: {{ max: 2B }} ]
        to: calls
      late:
        match: \"POST /late.Calls/{{method}}\"
        public: true
        rewrite: \"/test.Calls/{{method}}\"
        deadline: 500ms
        to: calls
"
    )
}

#[test]
fn every_kind_of_call_in_plain() {
    let Some(service) = service(&[]) else { return };
    let gateway = Gateway::start(&config(&format!("grpc://127.0.0.1:{}", service.port()), "", ""))
        .unwrap_or_else(|problems| panic!("{problems}"));
    call(gateway.address("main").unwrap(), &[]);
    gateway.stop();
}

#[test]
fn every_kind_of_call_encrypted() {
    let authority = Authority::new("Calls");
    let issued = authority.issue(&["a.test", "127.0.0.1"]);
    let workspace = Workspace::new().unwrap();
    let write = |name: &str, text: &str| workspace.write(name, text).unwrap().display().to_string();
    let ca = write("ca.pem", authority.pem());
    let (cert, key) = (write("cert.pem", &issued.cert), write("key.pem", &issued.key));
    let Some(service) = service(&[&cert, &key]) else { return };
    let tls = format!(", tls: {{ ca: {{ file: \"{ca}\" }} }}");
    let shown = format!(", certificates: [ {{ cert: {{ file: \"{cert}\" }}, key: {{ file: \"{key}\" }} }} ]");
    let gateway = Gateway::start(&config(&format!("grpcs://127.0.0.1:{}", service.port()), &tls, &shown))
        .unwrap_or_else(|problems| panic!("{problems}"));
    call(gateway.address("main").unwrap(), &[&ca]);
    gateway.stop();
}

fn gateway_to(service: std::net::SocketAddr) -> (Gateway, std::net::SocketAddr) {
    let gateway = Gateway::start(&config(&format!("grpc://{service}"), "", "")).unwrap();
    let address = gateway.address("main").unwrap();
    (gateway, address)
}

fn ask(client: &mut Client, path: &str, ended: bool) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let asked = request("POST", path).header("content-type", "application/grpc").header("te", "trailers");
    client.send_request(asked.body(()).unwrap(), ended).unwrap()
}

#[test]
fn a_refusal_is_a_head_that_ends_the_stream() {
    let (gateway, address) = gateway_to("127.0.0.1:1".parse().unwrap());
    run(async {
        let mut client = connect(address).await.ready().await.unwrap();
        let (response, _body) = ask(&mut client, "/nowhere.Calls/Unary", true);
        let (parts, body) = within("the head", response).await.unwrap().into_parts();
        assert!(body.is_end_stream(), "an answer of headers alone");
        assert_eq!(parts.status, 200);
        let field = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(field("content-type"), Some("application/grpc"));
        assert_eq!(field("grpc-status"), Some("12"));
        assert_eq!(field("grpc-message"), Some("No such resource."));
        assert_eq!(field("x-narthex-reason"), Some("no_route"));
        assert_eq!(field("content-length"), None);
        assert!(field("x-request-id").is_some());
        // What is no call is refused as ever.
        let asked = request("GET", "/nowhere").header("content-type", "application/grpc").body(()).unwrap();
        let (response, _body) = client.send_request(asked, true).unwrap();
        let answer = read(response).await.unwrap();
        assert_eq!((answer.status, answer.field("content-type")), (404, "application/problem+json"));
    });
    gateway.stop();
}

/// The code of the reset that the service got.
fn reset_of(cancel: impl AsyncFnOnce(h2::client::ResponseFuture, h2::SendStream<Bytes>)) -> h2::Reason {
    let (tell, told) = mpsc::channel();
    let service = serve(move |(asked, mut respond): Asked| {
        let tell = tell.clone();
        async move {
            let mut body = respond.send_response(head(200), false).unwrap();
            body.send_data(Bytes::from_static(b"\0\0\0\0\0"), false).unwrap();
            let reason = std::future::poll_fn(|cx| body.poll_reset(cx)).await;
            drop(asked);
            tell.send(reason).unwrap();
        }
    });
    let (gateway, address) = gateway_to(service);
    let reason = run(async {
        let mut client = connect(address).await.ready().await.unwrap();
        let (response, body) = ask(&mut client, "/test.Calls/Both", false);
        cancel(response, body).await;
        // The connection must live until the reset is out.
        let reason = tokio::task::spawn_blocking(move || told.recv_timeout(PATIENCE)).await.unwrap();
        reason.expect("the service learns of it").unwrap()
    });
    gateway.stop();
    reason
}

#[test]
fn a_cancelled_call_is_cancelled_at_the_service() {
    let after_the_head = reset_of(async |response, mut body| {
        let response = within("the head", response).await.unwrap();
        body.send_reset(h2::Reason::CANCEL);
        drop(response);
    });
    assert_eq!(after_the_head, h2::Reason::CANCEL);
}

#[test]
fn a_call_that_breaks_off_ends_with_a_status() {
    let service = serve(|(asked, mut respond): Asked| async move {
        let mut answer = head(200);
        answer.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let mut body = respond.send_response(answer, false).unwrap();
        body.send_data(Bytes::from_static(b"\0\0\0\0\0"), false).unwrap();
        // Long enough that the message has gone out alone; too short a time only makes the test weaker.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        body.send_reset(h2::Reason::INTERNAL_ERROR);
        drop(asked);
    });
    let (gateway, address) = gateway_to(service);
    run(async {
        let mut client = connect(address).await.ready().await.unwrap();
        let (response, _body) = ask(&mut client, "/test.Calls/ServerStream", true);
        let answer = read(response).await.expect("trailers and no reset");
        assert_eq!(answer.body, b"\0\0\0\0\0");
        let trailers = answer.trailers.unwrap();
        assert_eq!(trailers["grpc-status"], "14");
        assert_eq!(trailers["x-narthex-reason"], "service_truncated");
    });
    gateway.stop();
}

#[test]
fn the_log_has_the_calls_status() {
    let service = serve(|(asked, mut respond): Asked| async move {
        let in_head = asked.uri().path().ends_with("Head");
        let mut answer = head(200);
        answer.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let mut fields = HeaderMap::new();
        fields.insert("grpc-status", if in_head { "5" } else { "9" }.parse().unwrap());
        if in_head {
            answer.headers_mut().extend(fields);
            respond.send_response(answer, true).unwrap();
        } else {
            let mut body = respond.send_response(answer, false).unwrap();
            body.send_data(Bytes::from_static(b"\0\0\0\0\0"), false).unwrap();
            body.send_trailers(fields).unwrap();
        }
    });
    let workspace = Workspace::new().unwrap();
    let log = workspace.file("access.log");
    let text = config(&format!("grpc://{service}"), "", "")
        + &format!("access_log: {{ to: \"{}\" }}\nadmin: {{ address: \"127.0.0.1:0\" }}\n", log.display());
    let file = workspace.write("narthex.yaml", &text).unwrap();
    let gateway = Process::start_in(workspace, &file, &[]);
    run(async {
        let mut client = connect(gateway.address("main")).await.ready().await.unwrap();
        for path in ["/test.Calls/Trailers", "/test.Calls/Head", "/nowhere.Calls/X"] {
            let (response, _body) = ask(&mut client, path, true);
            assert_eq!(read(response).await.unwrap().status, 200, "{path}");
        }
    });
    let lines = eventually("three lines", PATIENCE, || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        (text.lines().count() == 3).then_some(text)
    });
    for (line, expected) in
        lines.lines().zip(["\"grpc_status\":9", "\"grpc_status\":5", "\"grpc_status\":12"])
    {
        assert!(line.contains(expected), "{line}");
    }
}

/// A call whose answer is a message, then a status.
async fn late_status((asked, mut respond): Asked) {
    let mut answer = head(200);
    answer.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let mut body = respond.send_response(answer, false).unwrap();
    body.send_data(Bytes::from_static(b"\0\0\0\0\0"), false).unwrap();
    let status = asked.uri().path().rsplit('/').next().unwrap_or_default();
    let status = ("grpc-status".parse().unwrap(), status.parse().unwrap());
    body.send_trailers([status].into_iter().collect()).unwrap();
}

#[test]
fn a_status_behind_messages_counts() {
    let service = serve(late_status);
    let gateway = Gateway::start(&format!(
        "narthex: 1
admin: {{ address: \"127.0.0.1:0\" }}
listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}
services: {{ s: {{ url: \"grpc://{service}\", breaker: {{ consecutive: 3, open: 1m }} }} }}
gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"POST /a.Calls/{{status}}\", public: true, to: s }} }} }} }}
"
    ))
    .unwrap();
    let address = gateway.address("main").unwrap();
    run(async {
        let mut client = connect(address).await.ready().await.unwrap();
        // What is the client's fault is none, and what went well begins anew.
        for status in ["5", "3", "16", "14", "14", "0", "5", "14", "13", "2"] {
            let (response, _body) = ask(&mut client, &format!("/a.Calls/{status}"), true);
            let answer = read(response).await.unwrap();
            assert_eq!(answer.trailers.expect("the service's own status")["grpc-status"], status);
        }
        let (response, _body) = ask(&mut client, "/a.Calls/0", true);
        let answer = read(response).await.unwrap();
        assert_eq!(answer.field("x-narthex-reason"), "circuit_open");
    });
    let admin = gateway.admin().expect("it has an admin listener");
    let request = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let page = narthex_testkit::RawClient::connect(admin).unwrap().exchange(request).unwrap().text();
    for (status, count) in [(0, 1), (2, 1), (3, 1), (5, 2), (13, 1), (14, 3), (16, 1)] {
        let line = format!("narthex_service_calls_total{{service=\"s\",grpc_status=\"{status}\"}} {count}\n");
        assert!(page.contains(&line), "{line}{page}");
    }
    gateway.stop();
}
