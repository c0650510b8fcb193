//! gRPC-Web through the gateway to a gRPC service on grpcio: by Connect's client, and byte by byte as text.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use bytes::Bytes;
use narthex_testkit::{Fault, RawClient, Response};
use narthex_tests::http2::{Asked, connect, head, read, request, run, serve};
use narthex_tests::{Gateway, Program, node, python};

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/grpc");
const CONNECT: [&str; 3] = ["@bufbuild/protobuf", "@connectrpc/connect", "@connectrpc/connect-node"];

/// A gateway before a service on grpcio; both end with the test.
struct Scene {
    _service: Program,
    gateway: Gateway,
}

impl Scene {
    fn start() -> Option<Self> {
        let mut command = python("grpcio")?;
        let calls = format!("{PEERS}/calls.py");
        let service = Program::start(command.args([&*calls, "serve"]));
        let port = service.port();
        let gateway = Gateway::start(&format!(
            "narthex: 1
listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}
services:
  calls: {{ url: \"grpc://127.0.0.1:{port}\" }}
  down: {{ url: \"grpc://127.0.0.1:1\" }}
gateways:
  g:
    listeners: [main]
    policies: [ cors: {{ origins: [\"https://page.test\"] }}, grpc_web: {{}} ]
    routes:
      calls: {{ match: \"POST /test.Calls/{{method}}\", public: true, to: calls }}
      down: {{ match: \"POST /down.Calls/{{method}}\", public: true, to: down }}
"
        ));
        Some(Self { _service: service, gateway: gateway.unwrap_or_else(|problems| panic!("{problems}")) })
    }

    fn text(&self, path: &str, body: &str) -> Response {
        let mut client = RawClient::connect(self.gateway.address("main").unwrap()).unwrap();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a.test\r\nOrigin: https://page.test\r\nX-Grpc-Web: 1\r\n\
             Content-Type: application/grpc-web-text\r\nContent-Length: {length}\r\n\r\n"
        );
        // One byte at a time: no group of four comes whole.
        client.send(head).unwrap();
        client.send_bytewise(body).unwrap();
        client.read_response_to("POST").unwrap()
    }
}

#[test]
fn connects_client_makes_every_call() {
    let Some(scene) = Scene::start() else { return };
    let Some(mut client) = node(&CONNECT) else { return };
    let url = format!("http://{}", scene.gateway.address("main").unwrap());
    let output = client.args([&format!("{PEERS}/web.cjs"), &url]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.trim(), "every call well");
}

#[test]
fn text_goes_both_ways() {
    let Some(scene) = Scene::start() else { return };
    // A message of three bytes, `abc`, each part with a padding of its own.
    let answer = scene.text("/test.Calls/Unary", "AAAAAA==A2FiYw==");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("content-type"), Some("application/grpc-web-text"));
    assert_eq!(answer.field("access-control-allow-origin"), Some("https://page.test"));
    let text = answer.text();
    // gRPC's message, then the frame of trailers.
    assert!(text.starts_with("AAAAAANhYm"), "{text}");
    assert!(answer.field("grpc-status").is_none(), "it stands in the last frame");
}

#[test]
fn a_refusal_can_be_read_by_a_page() {
    let Some(scene) = Scene::start() else { return };
    let refused = |path: &str, body: &str, status: &str, reason: &str| {
        let answer = scene.text(path, body);
        assert_eq!((answer.status, answer.text().as_str()), (200, ""));
        assert_eq!(answer.field("content-type"), Some("application/grpc-web-text"), "{path}");
        assert_eq!(
            (answer.field("grpc-status"), answer.field("x-narthex-reason")),
            (Some(status), Some(reason))
        );
        let exposed = answer.field("access-control-expose-headers").unwrap();
        assert!(exposed.contains("grpc-status, grpc-message"), "{exposed}");
    };
    refused("/nowhere.Calls/X", "", "12", "no_route");
    refused("/down.Calls/X", "", "14", "connect_failed");
    refused("/test.Calls/Unary", "AAA!", "13", "bad_grpc_web");
}

/// How the service ends its answer, by the name of the method: it breaks off, or ends in good order inside a message.
async fn cut((asked, mut respond): Asked) {
    let mut answer = head(200);
    answer.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let mut body = respond.send_response(answer, false).unwrap();
    // A message of four bytes, and the beginning of one of sixteen.
    body.send_data(Bytes::from_static(b"\0\0\0\0\x04good\0\0\0\0\x10ab"), false).unwrap();
    // Long enough that the message has gone out alone; too short a time only makes the test weaker.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    match asked.uri().path() {
        "/a.Calls/Reset" => body.send_reset(h2::Reason::INTERNAL_ERROR),
        "/a.Calls/End" => body.send_data(Bytes::new(), true).unwrap(),
        _ => {
            let status = ("grpc-status".parse().unwrap(), "0".parse().unwrap());
            body.send_trailers([status].into_iter().collect()).unwrap();
        }
    }
}

#[test]
fn an_answer_that_is_cut_is_seen_to_be_cut() {
    let service = serve(cut);
    let gateway = Gateway::start(&format!(
        "narthex: 1
listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}
services: {{ s: {{ url: \"grpc://{service}\" }} }}
gateways:
  g:
    listeners: [main]
    policies: [ grpc_web: {{}} ]
    routes: {{ all: {{ match: \"POST /a.Calls/{{method}}\", public: true, to: s }} }}
"
    ))
    .unwrap();
    let address = gateway.address("main").unwrap();
    for method in ["Reset", "End", "Trailers"] {
        for kind in ["application/grpc-web+proto", "application/grpc-web-text"] {
            let mut client = RawClient::connect(address).unwrap();
            let answer = client.exchange(format!(
                "POST /a.Calls/{method} HTTP/1.1\r\nHost: a.test\r\nContent-Type: {kind}\r\nContent-Length: 0\r\n\r\n"
            ));
            assert!(
                matches!(answer, Err(Fault::Cut { .. } | Fault::Reset { .. })),
                "{method} {kind}: {answer:?}"
            );
            run(async {
                let mut client = connect(address).await.ready().await.unwrap();
                let asked = request("POST", &format!("/a.Calls/{method}")).header("content-type", kind);
                let (response, _body) = client.send_request(asked.body(()).unwrap(), true).unwrap();
                let answer = read(response).await;
                assert!(answer.is_err(), "{method} {kind} over HTTP/2: {answer:?}");
            });
        }
    }
    gateway.stop();
}
