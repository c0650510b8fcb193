//! Which instances are used: what active checks say of them over the wire, and what requests met with.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::Bytes;
use narthex_testkit::{Authority, FakeService, Next, RawClient, Response, answer};
use narthex_tests::http2::{Asked, head, read_body, serve};
use narthex_tests::{Gateway, PATIENCE, eventually};

/// An instance that answers its name, with statuses that the test sets.
struct Site {
    service: FakeService,
    health: Arc<AtomicU16>,
    status: Arc<AtomicU16>,
}

impl Site {
    fn start(name: &'static str, health: u16) -> Self {
        let (health, status) = (Arc::new(AtomicU16::new(health)), Arc::new(AtomicU16::new(200)));
        let (says_health, says_status) = (Arc::clone(&health), Arc::clone(&status));
        let service = FakeService::start(move |conversation| {
            let is_check = conversation.head().line.contains("/healthz");
            let status = if is_check { &says_health } else { &says_status };
            conversation.read_body()?;
            conversation.send(answer::response(status.load(Ordering::SeqCst), &[], name))?;
            Ok(Next::Keep)
        });
        Self { service, health, status }
    }
}

fn gateway(services: &str) -> Gateway {
    let text = format!(
        "narthex: 1\nzone: here\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\nservices:\n  s:\n{services}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s }} }} }} }}\n"
    );
    Gateway::start(&text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn ask(gateway: &Gateway) -> Response {
    let mut client = RawClient::connect(gateway.address("main").unwrap()).unwrap();
    client.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap()
}

fn admin(gateway: &Gateway, path: &str) -> Response {
    let mut client = RawClient::connect(gateway.admin().unwrap()).unwrap();
    client.exchange(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).unwrap()
}

/// Who answers, of eight requests.
fn who(gateway: &Gateway) -> BTreeSet<String> {
    (0..8).map(|_| ask(gateway).text()).collect()
}

fn until(gateway: &Gateway, wanted: &[&str]) {
    let wanted: BTreeSet<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
    eventually(&format!("only {wanted:?} answer"), PATIENCE, || (who(gateway) == wanted).then_some(()));
}

const CHECKED: &str = "health: { path: /healthz, every: 100ms, timeout: 2s, healthy: 2, unhealthy: 2 }";

#[test]
fn the_ill_get_nothing_from_the_first_request_on() {
    let (a, b) = (Site::start("a", 200), Site::start("b", 503));
    let gateway = gateway(&format!(
        "    instances: [ \"{}\", \"{}\" ]\n    {CHECKED}",
        a.service.url(),
        b.service.url()
    ));
    assert_eq!(who(&gateway), BTreeSet::from(["a".to_owned()]), "the first result was waited for");
    let metrics = admin(&gateway, "/metrics").text();
    let line = |site: &Site, value: u8| {
        let address = site.service.address();
        format!("narthex_service_instance_healthy{{service=\"s\",instance=\"{address}\"}} {value}\n")
    };
    assert!(metrics.contains(&line(&a, 1)) && metrics.contains(&line(&b, 0)), "{metrics}");

    b.health.store(204, Ordering::SeqCst);
    until(&gateway, &["a", "b"]);
    a.health.store(404, Ordering::SeqCst);
    until(&gateway, &["b"]);
    let status = admin(&gateway, "/status").json();
    let instances = status["services"]["s"]["instances"].as_array().unwrap();
    let health: Vec<_> = instances.iter().map(|one| one["health"].as_str().unwrap()).collect();
    assert_eq!(health, ["unhealthy", "healthy"]);

    // Nobody is left: all are used, and it is said.
    b.health.store(500, Ordering::SeqCst);
    until(&gateway, &["a", "b"]);
    assert!(admin(&gateway, "/metrics").text().contains("narthex_service_panic{service=\"s\"} 1\n"));
    let seen = a.service.log().into_iter().find(|seen| seen.target() == "/healthz").unwrap();
    assert_eq!(seen.field("host"), Some(&*a.service.address().to_string()));
}

#[test]
fn without_panic_nobody_is_503_at_once() {
    let a = Site::start("a", 500);
    let gateway = gateway(&format!("    url: \"{}\"\n    panic_below: 0%\n    {CHECKED}", a.service.url()));
    let refused = ask(&gateway);
    assert_eq!((refused.status, refused.reason()), (503, "no_instance".to_owned()));
    a.health.store(200, Ordering::SeqCst);
    until(&gateway, &["a"]);
}

#[test]
fn the_status_the_port_and_the_host_are_as_written() {
    let (a, health) = (Site::start("a", 200), Site::start("health", 418));
    let gateway = gateway(&format!(
        "    url: \"{}\"\n    panic_below: 0%\n    health: {{ path: \"/healthz?deep=1\", every: 100ms, status: [204, 400-418], \
         port: {}, host: checked.example, unhealthy: 1 }}",
        a.service.url(),
        health.service.address().port()
    ));
    assert_eq!(ask(&gateway).text(), "a");
    let seen = health.service.log();
    assert_eq!((seen[0].target(), seen[0].field("host")), ("/healthz?deep=1", Some("checked.example")));
    assert!(a.service.log().iter().all(|seen| seen.target() == "/"), "the instance itself was not asked");
    health.health.store(200, Ordering::SeqCst);
    eventually("200 is none of them", PATIENCE, || (ask(&gateway).status == 503).then_some(()));
}

#[test]
fn tcp_asks_for_a_connection_alone() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = closed.local_addr().unwrap();
    drop(closed);
    let a = Site::start("a", 500);
    let gateway = gateway(&format!(
        "    instances: [ \"{}\", \"http://{gone}\" ]\n    health: {{ kind: tcp, every: 100ms }}",
        a.service.url()
    ));
    assert_eq!(who(&gateway), BTreeSet::from(["a".to_owned()]));
    assert!(a.service.log().iter().all(|seen| seen.target() == "/"));
}

/// A gRPC server whose health is this, for one service alone.
fn grpc(status: &Arc<AtomicU16>) -> SocketAddr {
    let status = Arc::clone(status);
    serve(move |(request, mut respond): Asked| {
        let status = Arc::clone(&status);
        async move {
            let path = request.uri().path().to_owned();
            let (body, _) = read_body(request.into_body()).await.unwrap();
            let mut out = respond.send_response(head(200), false).unwrap();
            if path != "/grpc.health.v1.Health/Check" {
                return out.send_data(Bytes::from_static(b"grpc"), true).unwrap();
            }
            assert_eq!(body, [&[0, 0, 0, 0, 8, 0x0a, 6][..], b"shop.A"].concat());
            let status = status.load(Ordering::SeqCst) as u8;
            out.send_data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]), false).unwrap();
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
            out.send_trailers(trailers).unwrap();
        }
    })
}

#[test]
fn grpc_is_asked_in_its_own_words() {
    let status = Arc::new(AtomicU16::new(2));
    let address = grpc(&status);
    let gateway = gateway(&format!(
        "    url: \"grpc://{address}\"\n    panic_below: 0%\n    health: {{ kind: grpc, service: shop.A, every: 100ms, timeout: 5s }}"
    ));
    assert_eq!(ask(&gateway).status, 503, "NOT_SERVING");
    status.store(1, Ordering::SeqCst);
    until(&gateway, &["grpc"]);
}

#[test]
fn http2_is_asked_by_http2() {
    let address = serve(|(request, mut respond): Asked| async move {
        let path = request.uri().path().to_owned();
        let status = if path == "/" { 200 } else { 404 };
        let mut out = respond.send_response(head(status), false).unwrap();
        out.send_data(Bytes::from_static(b"h2"), true).unwrap();
    });
    let on = |path: &str| {
        gateway(&format!(
            "    url: \"h2c://{address}\"\n    panic_below: 0%\n    health: {{ path: {path}, every: 100ms, timeout: 5s }}"
        ))
    };
    assert_eq!(ask(&on("/")).text(), "h2");
    assert_eq!(ask(&on("/none")).status, 503);
}

#[test]
fn tls_is_spoken_and_proven_as_for_requests() {
    let behind = FakeService::start(answer::fixed(200, "secure"));
    let authority = Authority::new("Services");
    let issued = authority.issue(&["s.test"]);
    let block = |pem: &str| serde_json::to_string(pem).unwrap();
    let secure = Gateway::start(&format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\", certificates: [ {{ cert: {}, key: {} }} ] }} }}\n\
         services: {{ s: {{ url: \"{}\" }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s }} }} }} }}\n",
        block(&issued.cert),
        block(&issued.key),
        behind.url()
    ))
    .unwrap_or_else(|problems| panic!("{problems}"));
    let port = secure.address("main").unwrap().port();
    let on = |ca: &str, name: &str| {
        gateway(&format!(
            "    url: \"https://127.0.0.1:{port}\"\n    host: s.test\n    panic_below: 0%\n    tls: {{ ca: {}, name: {name} }}\n    \
             health: {{ every: 100ms, timeout: 5s }}",
            block(ca)
        ))
    };
    assert_eq!(ask(&on(authority.pem(), "s.test")).text(), "secure");
    let other = Authority::new("Nobody");
    let refused = ask(&on(other.pem(), "s.test"));
    assert_eq!((refused.status, refused.reason()), (503, "no_instance".to_owned()));
}

#[test]
fn who_answers_badly_is_ejected_and_comes_back_without_a_check() {
    let (a, b) = (Site::start("a", 200), Site::start("b", 200));
    let gateway = gateway(&format!(
        "    instances: [ \"{}\", \"{}\" ]\n    outliers: {{ errors: 3, eject: 2s }}",
        a.service.url(),
        b.service.url()
    ));
    assert_eq!(who(&gateway).len(), 2);
    b.status.store(500, Ordering::SeqCst);
    until(&gateway, &["a"]);
    let status = admin(&gateway, "/status").json();
    let ejected = &status["services"]["s"]["instances"][1];
    assert_eq!((&ejected["health"], &ejected["cause"]), (&"ejected".into(), &"errors in a row".into()));
    let line =
        format!("narthex_service_instance_ejected{{service=\"s\",instance=\"{}\"}} 1\n", b.service.address());
    assert!(admin(&gateway, "/metrics").text().contains(&line));
    b.status.store(200, Ordering::SeqCst);
    until(&gateway, &["a", "b"]);
}

#[test]
fn who_does_not_answer_is_ejected() {
    let a = Site::start("a", 200);
    let closes = FakeService::start(answer::close_at_once());
    let gateway = gateway(&format!(
        "    instances: [ \"{}\", \"{}\" ]\n    outliers: {{ errors: 0, no_answers: 3, eject: 60s }}",
        a.service.url(),
        closes.url()
    ));
    eventually("it is ejected", PATIENCE, || {
        ask(&gateway);
        let status = admin(&gateway, "/status").json();
        (status["services"]["s"]["instances"][1]["cause"] == "no answers in a row").then_some(())
    });
    let asked = closes.connections();
    assert_eq!(who(&gateway), BTreeSet::from(["a".to_owned()]));
    assert_eq!(closes.connections(), asked);
}

#[test]
fn the_nearest_are_asked_first_and_the_others_when_they_are_ill() {
    let sites = [Site::start("near", 200), Site::start("far", 200), Site::start("last", 200)];
    let [near, far, last] = &sites;
    let gateway = gateway(&format!(
        "    instances:\n      - {{ address: \"{}\", zone: here }}\n      - {{ address: \"{}\", zone: there }}\n      \
         - {{ address: \"{}\", zone: here, priority: 1 }}\n    {CHECKED}",
        near.service.url(),
        far.service.url(),
        last.service.url()
    ));
    assert_eq!(who(&gateway), BTreeSet::from(["near".to_owned()]));
    near.health.store(500, Ordering::SeqCst);
    until(&gateway, &["far"]);
    far.health.store(500, Ordering::SeqCst);
    until(&gateway, &["last"]);
    near.health.store(200, Ordering::SeqCst);
    until(&gateway, &["near"]);
}
