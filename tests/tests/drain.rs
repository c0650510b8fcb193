//! SIGTERM: what was accepted is answered, what is idle is closed, what takes too long is cut, and the exit code is 0.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::time::Duration;

use narthex_testkit::{FailureKind, FakeService, Gate, Load, LoadOptions, RawClient, Report, answer};
use narthex_tests::{PATIENCE, Process};

fn gateway(service: &FakeService, arguments: &[&str]) -> Process {
    let config = format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
         services: {{ s: {{ url: \"{}\", timeouts: {{ first_byte: 60s }} }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s, deadline: 60s }} }} }} }}\n",
        service.url()
    );
    Process::start(&config, arguments)
}

/// A connection that the kernel completed between the last accept and the close of the listener was never accepted:
/// closing resets it. That moment is short, so it can hit few.
const NEVER_ACCEPTED: usize = 3;

/// Nothing failed but new connections, after the listener had closed.
fn only_refused(report: &Report) {
    let is_fresh = |kind| matches!(kind, FailureKind::ConnectFailed | FailureKind::ClosedFresh);
    let (fresh, others): (Vec<_>, Vec<_>) = report
        .failures
        .iter()
        .filter(|failure| failure.kind != FailureKind::ConnectRefused)
        .partition(|failure| is_fresh(failure.kind));
    assert!(others.is_empty(), "{others:#?}");
    assert!(fresh.len() <= NEVER_ACCEPTED, "{fresh:#?}");
    assert!(report.succeeded > 0);
}

fn drain_under_load(load: impl Fn(LoadOptions) -> Load) -> Report {
    let service = FakeService::start(answer::fixed(200, "ok"));
    let mut gateway = gateway(&service, &["--drain-grace", "300ms"]);
    let load = load(LoadOptions { connections: 16, ..LoadOptions::new(gateway.address("main")) });
    assert!(load.wait_for(200, PATIENCE));
    gateway.signal("TERM");
    let status = gateway.wait(PATIENCE);
    let report = load.stop();
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
    only_refused(&report);
    let begun = service.log().len() as u64;
    assert!(begun <= report.succeeded, "the service began {begun}, only {} were answered", report.succeeded);
    assert!(report.announced_ends > 0, "{report:?}");
    report
}

#[test]
fn http1_under_load_loses_nothing() {
    drain_under_load(Load::http1);
}

#[test]
fn http2_under_load_loses_nothing() {
    drain_under_load(Load::http2);
}

#[test]
fn http1_without_a_grace_time_loses_nothing() {
    let service = FakeService::start(answer::fixed(200, "ok"));
    let mut gateway = gateway(&service, &[]);
    let load = Load::http1(LoadOptions { connections: 16, ..LoadOptions::new(gateway.address("main")) });
    assert!(load.wait_for(200, PATIENCE));
    gateway.signal("TERM");
    let status = gateway.wait(PATIENCE);
    let report = load.stop();
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
    // An idle connection may be closed at the very moment when a client sends: only that much, only where a request
    // crosses the close (RFC 9112 9.5), and never after a byte of it was read.
    let cut = report
        .failures
        .iter()
        .filter(|failure| !matches!(failure.kind, FailureKind::ConnectRefused | FailureKind::ClosedReused));
    let cut: Vec<_> = cut.take(10).collect();
    assert!(cut.is_empty(), "{cut:#?}");
    let sent = service.log().len() as u64;
    assert!(sent <= report.succeeded, "the service began {sent}, only {} were answered", report.succeeded);
}

#[test]
fn idle_connections_close_and_new_ones_are_refused() {
    let service = FakeService::start(answer::fixed(200, "ok"));
    let mut gateway = gateway(&service, &[]);
    let address = gateway.address("main");
    let mut used = RawClient::connect(address).unwrap();
    assert_eq!(used.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().status, 200);
    let mut fresh = RawClient::connect(address).unwrap();
    gateway.signal("TERM");
    used.expect_close().unwrap();
    fresh.expect_close().unwrap();
    assert_eq!(gateway.wait(PATIENCE).code(), Some(0), "{}", gateway.log());
    assert!(RawClient::connect(address).is_err());
}

#[test]
fn during_the_grace_time_it_is_not_ready_and_answers() {
    let service = FakeService::start(answer::fixed(200, "ok"));
    let mut gateway = gateway(&service, &["--drain-grace", "2s"]);
    let address = gateway.address("main");
    assert_eq!(gateway.get("/readyz").status, 200);
    let mut old = RawClient::connect(address).unwrap();
    assert_eq!(old.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().status, 200);
    gateway.signal("TERM");
    narthex_tests::eventually("not ready", PATIENCE, || (gateway.get("/readyz").status == 503).then_some(()));
    assert_eq!(gateway.get("/livez").status, 200);
    let mut new = RawClient::connect(address).unwrap();
    for client in [&mut old, &mut new] {
        let answer = client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!((answer.status, answer.closes()), (200, true));
        client.expect_close().unwrap();
    }
    assert_eq!(gateway.wait(PATIENCE).code(), Some(0), "{}", gateway.log());
}

#[test]
fn a_slow_answer_in_flight_is_finished() {
    let gate = Gate::new();
    let whole = answer::response(200, &[], "slow but whole");
    let at = whole.len() - 5;
    let service = FakeService::start(answer::held(whole, at, &gate));
    let mut gateway = gateway(&service, &["--drain-deadline", "30s"]);
    let address = gateway.address("main");
    let mut client = RawClient::connect(address).unwrap().with_patience(PATIENCE);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    service.wait_until(PATIENCE, |log| !log.is_empty()).unwrap();
    gateway.signal("TERM");
    narthex_tests::eventually("the listener closes", PATIENCE, || RawClient::connect(address).err());
    gate.open();
    let answer = client.read_response().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "slow but whole"));
    client.expect_close().unwrap();
    assert_eq!(gateway.wait(PATIENCE).code(), Some(0), "{}", gateway.log());
}

#[test]
fn the_deadline_cuts_what_never_ends() {
    let service = FakeService::start(answer::never());
    let mut gateway = gateway(&service, &["--drain-deadline", "500ms"]);
    let mut client = RawClient::connect(gateway.address("main")).unwrap().with_patience(PATIENCE);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    service.wait_until(PATIENCE, |log| !log.is_empty()).unwrap();
    gateway.signal("TERM");
    assert!(client.read_response().is_err());
    assert_eq!(gateway.wait(PATIENCE).code(), Some(0), "{}", gateway.log());
    assert!(gateway.log().contains("cutting what is left"), "{}", gateway.log());
}

#[test]
fn a_second_signal_ends_at_once() {
    let service = FakeService::start(answer::never());
    let mut gateway = gateway(&service, &["--drain-deadline", "10m"]);
    let mut client = RawClient::connect(gateway.address("main")).unwrap().with_patience(PATIENCE);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    service.wait_until(PATIENCE, |log| !log.is_empty()).unwrap();
    gateway.signal("TERM");
    gateway.wait_for_log("draining");
    // The second signal may come before its listener stands: it is sent until it works.
    let mut ended = None;
    for _ in 0..40 {
        gateway.signal_if_there("TERM");
        std::thread::park_timeout(Duration::from_millis(50));
        ended = gateway.ended();
        if ended.is_some() {
            break;
        }
    }
    assert_eq!(ended.and_then(|status| status.code()), Some(1), "{}", gateway.log());
}
