//! The bounds of a listener, by name, each with its answer: connections, clients, slow bodies, requests per connection,
//! floods on HTTP/2.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use narthex_testkit::{FakeService, Fault, RawClient, answer};
use narthex_tests::http2::{connect, read, request, run, within};
use narthex_tests::{Gateway, PATIENCE, eventually};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A gateway whose listener has these bounds, in front of a service that echoes.
struct Scene {
    gateway: Gateway,
    address: SocketAddr,
    _service: FakeService,
}

fn scene(bounds: &str) -> Scene {
    let service = FakeService::start(answer::echo());
    let config = format!(
        "narthex: 1\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
         listeners: {{ main: {{ address: \"127.0.0.1:0\", bounds: {{ {bounds} }} }} }}\n\
         services: {{ s: {{ url: \"{}\" }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s }} }} }} }}\n",
        service.url()
    );
    let gateway = Gateway::start(&config).unwrap_or_else(|error| panic!("{error}"));
    let address = gateway.address("main").expect("it listens");
    Scene { gateway, address, _service: service }
}

impl Scene {
    /// The value of a series.
    fn counted(&self, series: &str) -> u64 {
        let admin = self.gateway.admin().expect("it has an admin listener");
        let request = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let text = RawClient::connect(admin).unwrap().exchange(request).unwrap().text();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("no series {series}"))
    }

    fn client(&self) -> RawClient {
        RawClient::connect(self.address).unwrap()
    }
}

/// One that is answered, and stays.
fn connected(scene: &Scene) -> RawClient {
    let mut client = scene.client();
    let answer = client.exchange(GET).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    client
}

/// A client at another address of the loopback, and what it is told.
fn told_to(from: &str, to: SocketAddr) -> (TcpStream, String) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(GET.as_bytes()).unwrap();
    let mut bytes = [0; 4096];
    let count = stream.read(&mut bytes).unwrap();
    (stream, String::from_utf8_lossy(&bytes[..count]).into_owned())
}

#[test]
fn the_connections_of_a_listener_are_bounded_and_who_is_too_many_is_told() {
    let scene = scene("connections: 2");
    let first = connected(&scene);
    let _second = connected(&scene);
    let mut third = scene.client();
    let refused = third.exchange(GET).unwrap();
    assert_eq!(refused.status, 503);
    let said = refused.json();
    assert_eq!((&said["reason"], &said["detail"]), (&"too_many_connections".into(), &"connections".into()));
    assert!(refused.field("retry-after").is_some());
    third.expect_close().unwrap();
    assert_eq!(scene.counted("narthex_connections_refused_total{bound=\"connections\"}"), 1);
    drop(first);
    eventually("a place is free again", PATIENCE, || {
        (scene.client().exchange(GET).ok()?.status == 200).then_some(())
    });
    scene.gateway.stop();
}

#[test]
fn the_connections_of_one_client_are_bounded_and_others_have_theirs() {
    let scene = scene("connections_per_ip: 2");
    let first = connected(&scene);
    let _second = connected(&scene);
    let refused = scene.client().exchange(GET).unwrap();
    assert_eq!((refused.status, &refused.json()["detail"]), (503, &"connections_per_ip".into()));
    let (_other, answer) = told_to("127.0.0.9", scene.address);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(scene.counted("narthex_connections_refused_total{bound=\"connections_per_ip\"}"), 1);
    drop(first);
    eventually("a place is free again", PATIENCE, || {
        (scene.client().exchange(GET).ok()?.status == 200).then_some(())
    });
    scene.gateway.stop();
}

#[test]
fn a_body_that_comes_too_slowly_is_refused() {
    let scene = scene("body_rate: 10KiB, body_grace: 100ms");
    let mut client = scene.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n").unwrap();
    client = client.with_patience(Duration::from_millis(50));
    // A byte now and then: each is in time for `body_idle_time`, all are too few for `body_rate`.
    let answer = eventually("the refusal", PATIENCE, || {
        // It may have been refused meanwhile.
        let _ = client.send("x");
        match client.read_response() {
            Ok(answer) => Some(answer),
            Err(Fault::TimedOut { .. }) => None,
            Err(fault) => panic!("{fault}"),
        }
    });
    let said = answer.json();
    assert_eq!((&said["reason"], &said["detail"]), (&"body_timeout".into(), &"body_rate".into()));
    assert_eq!(answer.status, 408);
    scene.gateway.stop();
}

#[test]
fn a_body_that_keeps_its_rate_may_take_its_time() {
    let scene = scene("body_rate: 1KiB, body_grace: 100ms");
    let mut client = scene.client();
    let length = 16 * 1024;
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")).unwrap();
    client.send(vec![b'x'; length - 1]).unwrap();
    let late = client.with_patience(Duration::from_millis(500)).read_response();
    assert!(late.is_err(), "far beyond the grace, but so much is worth sixteen seconds");
    scene.gateway.stop();
}

#[test]
fn a_connection_ends_in_good_order_after_its_last_request() {
    let scene = scene("requests_per_connection: 2");
    let mut client = connected(&scene);
    let last = client.exchange(GET).unwrap();
    assert_eq!((last.status, last.field("connection")), (200, Some("close")));
    client.expect_close().unwrap();
    run(async {
        let mut client = connect(scene.address).await.ready().await.unwrap();
        for _ in 0..2 {
            let (response, _) = client.send_request(request("GET", "/").body(()).unwrap(), true).unwrap();
            assert_eq!(read(response).await.unwrap().status, 200);
        }
        let is_over = async {
            while client.clone().ready().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("the connection takes no more", is_over).await;
    });
    scene.gateway.stop();
}

/// A gateway with one fixed answer and these settings of `overload`.
fn loaded(overload: &str) -> (Gateway, SocketAddr, SocketAddr) {
    let config = format!(
        "narthex: 1\nadmin: {{ address: \"127.0.0.1:0\" }}\noverload: {{ {overload} }}\n\
         listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, \
         to: {{ reply: {{ status: 200 }} }} }} }} }} }}\n"
    );
    let gateway = Gateway::start(&config).unwrap_or_else(|error| panic!("{error}"));
    let (address, admin) = (gateway.address("main").unwrap(), gateway.admin().unwrap());
    (gateway, address, admin)
}

fn admin_says(admin: SocketAddr, path: &str) -> narthex_testkit::Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    RawClient::connect(admin).unwrap().exchange(request).unwrap()
}

#[test]
fn past_the_watermark_of_connections_new_requests_are_shed_and_then_answered_again() {
    let (gateway, address, admin) = loaded("connections: 3, retry_after: 7s");
    let mut held: Vec<_> = (0..4).map(|_| RawClient::connect(address).unwrap()).collect();
    let is = |what: serde_json::Value| {
        eventually("the state", PATIENCE, || {
            (admin_says(admin, "/status").json()["overloaded"] == what).then_some(())
        });
    };
    is("connections".into());
    let mut shed = held.pop().unwrap();
    let answer = shed.exchange(GET).unwrap();
    let said = answer.json();
    assert_eq!(
        (answer.status, &said["reason"], &said["detail"]),
        (503, &"overloaded".into(), &"connections".into())
    );
    assert_eq!((answer.field("retry-after"), answer.field("connection")), (Some("7"), Some("close")));
    shed.expect_close().unwrap();
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(admin_says(admin, path).status, 200, "{path}");
    }
    held.truncate(1);
    is(serde_json::Value::Null);
    assert_eq!(held[0].exchange(GET).unwrap().status, 200);
    let metrics = admin_says(admin, "/metrics").text();
    for line in ["narthex_overloaded 0", "narthex_refused_total{reason=\"overloaded\"} 1"] {
        assert!(metrics.lines().any(|known| known == line), "{line}: {metrics}");
    }
    gateway.stop();
}

#[test]
fn past_the_watermark_of_memory_new_requests_are_shed_on_http2_too() {
    let (gateway, address, _) = loaded("memory: 1MiB");
    let text = eventually("memory is looked at", PATIENCE, || {
        let answer = RawClient::connect(address).unwrap().exchange(GET).unwrap();
        (answer.status == 503).then(|| answer.text())
    });
    assert!(text.contains("\"detail\":\"memory\""), "{text}");
    run(async {
        let mut client = connect(address).await.ready().await.unwrap();
        let (response, _) = client.send_request(request("GET", "/").body(()).unwrap(), true).unwrap();
        let answer = read(response).await.unwrap();
        assert_eq!((answer.status, answer.field("retry-after")), (503, "5"));
    });
    gateway.stop();
}

/// A gateway on a listener with these settings, in front of a service that echoes; and its log of what it saw.
fn proxied(listener: &str) -> Scene {
    let service = FakeService::start(answer::echo());
    let config = format!(
        "narthex: 1\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
         listeners: {{ main: {{ address: \"127.0.0.1:0\", {listener} }} }}\n\
         services: {{ s: {{ url: \"{}\" }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s, \
         policies: [ ip_access: {{ deny: [ 192.0.2.66 ] }} ] }} }} }} }}\n",
        service.url()
    );
    let gateway = Gateway::start(&config).unwrap_or_else(|error| panic!("{error}"));
    let address = gateway.address("main").expect("it listens");
    Scene { gateway, address, _service: service }
}

#[test]
fn a_listed_balancer_says_who_the_client_is() {
    let scene = proxied("proxy_protocol: { from: [ 127.0.0.1 ] }, bounds: { connections_per_ip: 1 }");
    let header = |version: narthex_wire::ProxyProtocol, client: &str| {
        version.header(client.parse().unwrap(), "198.51.100.1:80".parse().unwrap())
    };
    let mut held = Vec::new();
    for (version, client, seen) in [
        (narthex_wire::ProxyProtocol::V1, "192.0.2.7:1234", "192.0.2.7"),
        (narthex_wire::ProxyProtocol::V2, "192.0.2.8:1234", "192.0.2.8"),
        (narthex_wire::ProxyProtocol::V2, "[2001:db8::7]:1234", "2001:db8::7"),
    ] {
        let mut client_socket = scene.client();
        // However the header is cut.
        client_socket.send_bytewise(header(version, client)).unwrap();
        assert_eq!(client_socket.exchange(GET).unwrap().status, 200);
        let log = scene._service.log();
        assert_eq!(log.last().unwrap().field("x-forwarded-for"), Some(seen));
        held.push(client_socket);
    }
    // Policies see him, and bounds count him.
    let mut denied = scene.client();
    denied.send(header(narthex_wire::ProxyProtocol::V1, "192.0.2.66:1")).unwrap();
    assert_eq!(denied.exchange(GET).unwrap().status, 403);
    let mut second = scene.client();
    second.send(header(narthex_wire::ProxyProtocol::V2, "192.0.2.7:99")).unwrap();
    second.expect_close().unwrap();
    assert_eq!(scene.counted("narthex_connections_refused_total{bound=\"connections_per_ip\"}"), 1);
    scene.gateway.stop();
}

#[test]
fn a_listed_balancer_that_says_nothing_is_refused() {
    let scene = proxied("proxy_protocol: { from: [ 127.0.0.0/8 ] }, bounds: { proxy_header_time: 200ms }");
    let count = || scene.counted("narthex_connections_refused_total{bound=\"proxy_protocol\"}");
    for (at, bytes) in
        [GET, "PROXY TCP4 192.0.2.1", "PROXY TCP4 nobody 1.1.1.1 1 1\r\n", ""].into_iter().enumerate()
    {
        let mut client = scene.client();
        client.send(bytes).unwrap();
        client.expect_close().unwrap();
        eventually("it is counted", PATIENCE, || (count() == at as u64 + 1).then_some(()));
    }
    let mut client = scene.client();
    client.send("PROXY TCP4 192.0.2.1").unwrap();
    client.half_close().unwrap();
    client.expect_close().unwrap();
    scene.gateway.stop();
}

#[test]
fn a_header_of_nobody_who_is_listed_is_a_malformed_request() {
    let scene = proxied("proxy_protocol: { from: [ 10.0.0.0/8 ] }");
    connected(&scene);
    for header in ["PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "\r\n\r\n\0\r\nQUIT\n!\x11\0\0"] {
        let answer = scene.client().exchange(format!("{header}{GET}")).unwrap();
        assert_eq!((answer.status, &answer.json()["reason"]), (400, &"bad_request".into()), "{header:?}");
    }
    scene.gateway.stop();
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `GET / http`, authority `a`, with HPACK's static table.
const FIELDS: &[u8] = &[0x82, 0x86, 0x84, 0x41, 0x01, b'a'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn settings() -> Vec<u8> {
    frame(4, 0, 0, &[])
}

/// The codes of the GOAWAYs among these frames.
fn goaways(mut bytes: &[u8]) -> Vec<u32> {
    let mut codes = Vec::new();
    while let [high, middle, low, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        let Some((payload, next)) = rest.split_at_checked(length) else { break };
        if let (7, [_, _, _, _, a, b, c, d, ..]) = (kind, payload) {
            codes.push(u32::from_be_bytes([*a, *b, *c, *d]));
        }
        bytes = next;
    }
    codes
}

/// Sends the preface and then this; the connection must end with ENHANCE_YOUR_CALM, counted as `kind`.
fn is_calmed(scene: &Scene, kind: &str, pieces: &[Vec<u8>]) {
    let mut client = scene.client();
    client.send([PREFACE, &settings()].concat()).unwrap();
    for piece in pieces {
        // It may have been ended meanwhile.
        if client.send(piece).is_err() {
            break;
        }
    }
    let said = match client.read_to_close() {
        Ok(said) | Err(Fault::Reset { got: said }) => said,
        Err(fault) => panic!("{kind}: {fault}"),
    };
    assert_eq!(goaways(&said).last(), Some(&11), "{kind}: {} bytes", said.len());
    let series = format!("narthex_http2_floods_total{{kind=\"{kind}\"}}");
    eventually(kind, PATIENCE, || (scene.counted(&series) > 0).then_some(()));
    // Who has nothing to do with it is answered.
    connected(scene);
}

#[test]
fn streams_reset_at_once_are_a_flood() {
    let scene = scene("");
    let mut bytes = Vec::new();
    for at in 0..20_000 {
        bytes.extend(frame(1, 5, at * 2 + 1, FIELDS));
        bytes.extend(frame(3, 0, at * 2 + 1, &8u32.to_be_bytes()));
    }
    is_calmed(&scene, "reset", &[bytes]);
    scene.gateway.stop();
}

#[test]
fn streams_reset_after_they_were_begun_are_a_flood_too() {
    // So many that `reset_streams` is no matter: `resets` is.
    let scene = scene("reset_streams: 1000000, resets: 100");
    let pieces: Vec<Vec<u8>> = (0..200)
        .map(|at| [frame(1, 5, at * 2 + 1, FIELDS), frame(3, 0, at * 2 + 1, &8u32.to_be_bytes())].concat())
        .collect();
    is_calmed(&scene, "reset", &pieces);
    scene.gateway.stop();
}

#[test]
fn frames_that_carry_nothing_are_floods() {
    let scene = scene("control_frames: 200");
    let many = |one: Vec<u8>| vec![one.repeat(2_000)];
    is_calmed(&scene, "ping", &many(frame(6, 0, 0, &[0; 8])));
    is_calmed(&scene, "settings", &many(settings()));
    is_calmed(&scene, "other", &many(frame(2, 0, 1, &[0, 0, 0, 3, 1])));
    is_calmed(&scene, "other", &many(frame(0x77, 0, 0, &[])));
    let open = frame(1, 4, 1, &[0x83, 0x86, 0x84, 0x41, 0x01, b'a']);
    is_calmed(&scene, "empty", &[open, frame(0, 0, 1, &[]).repeat(2_000)]);
    scene.gateway.stop();
}

#[test]
fn a_header_block_without_an_end_is_a_flood() {
    let scene = scene("");
    let begin = frame(1, 1, 1, FIELDS);
    is_calmed(&scene, "continuation", &[begin.clone(), frame(9, 0, 1, &[]).repeat(10_000)]);
    // One field in one byte each: never much at once, never an end.
    is_calmed(&scene, "continuation", &[begin, frame(9, 0, 1, &[0x90]).repeat(10_000)]);
    scene.gateway.stop();
}

#[test]
fn a_large_head_on_http2_is_refused_with_its_reason() {
    let scene = scene("header_bytes: 4KiB, header_fields: 20");
    run(async {
        let mut client = connect(scene.address).await.ready().await.unwrap();
        for (fields, detail) in [(30, "too_many_fields"), (10, "head_too_large")] {
            let mut asked = request("GET", "/");
            for at in 0..fields {
                asked = asked.header(format!("x-{at}"), "y".repeat(if fields > 20 { 1 } else { 500 }));
            }
            let (response, _) = client.send_request(asked.body(()).unwrap(), true).unwrap();
            let answer = read(response).await.unwrap();
            assert_eq!(answer.status, 431);
            assert!(answer.text().contains(detail), "{}", answer.text());
        }
    });
    scene.gateway.stop();
}
