//! Copies of requests: whole, marked, bounded, and never felt by the originals.

use super::Scene;
use narthex_testkit::{Conversation, FakeService, Gate, Progress, answer};
use narthex_tests::{Process, eventually, http2};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn services(original: &FakeService, mirror: &str) -> String {
    format!("s: {{ url: \"{}\" }}, m: {{ url: \"{mirror}\" }}", original.url())
}

/// How often something in this process panics from now on.
fn count_panics() -> Arc<AtomicUsize> {
    let panics = Arc::new(AtomicUsize::new(0));
    let (seen, before) = (Arc::clone(&panics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        seen.fetch_add(1, Ordering::SeqCst);
        before(panic);
    }));
    panics
}

/// A gateway whose requests go to `original` and, copied by these settings, to `mirror`.
fn scene(original: &FakeService, mirror: &str, more: &str) -> Scene {
    Scene::new(&services(original, mirror), &format!("mirror: {{ to: m {more} }}"))
}

fn mirrored(scene: &Scene, outcome: &str) -> f64 {
    scene.metric(&format!(
        "narthex_mirrored_requests_total{{gateway=\"g\",route=\"all\",outcome=\"{outcome}\"}}"
    ))
}

/// Waits until so many copies have come to this end.
fn await_mirrored(scene: &Scene, outcome: &str, count: u32) {
    eventually(&format!("{count} copies {outcome}"), PATIENCE, || {
        let seen = mirrored(scene, outcome);
        assert!(seen <= f64::from(count), "{seen} {outcome}");
        (seen == f64::from(count)).then_some(())
    });
}

#[test]
fn a_copy_is_whole_and_says_what_it_is() {
    let original = FakeService::start(answer::echo());
    let mirror = FakeService::start(answer::echo());
    let scene = scene(&original, &mirror.url(), "");
    let long = "0123456789abcdef".repeat(4_000);
    assert_eq!(scene.get("/a?b=c").status, 200);
    await_mirrored(&scene, "answered", 1);
    assert_eq!(scene.post("X-Mine: 1\r\n", &long).json()["body"], long.as_str());
    await_mirrored(&scene, "answered", 2);
    let mut client = scene.client();
    client.send("PUT /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").unwrap();
    client.send("2\r\nde\r\n0\r\n\r\n").unwrap();
    assert_eq!(client.read_response().unwrap().json()["body"], "abcde");
    await_mirrored(&scene, "answered", 3);
    let (sent, copied) = (original.log(), mirror.log());
    assert_eq!((sent.len(), copied.len()), (3, 3));
    for (sent, copied) in sent.iter().zip(&copied) {
        assert_eq!(sent.field("x-narthex-mirror"), None);
        assert_eq!(copied.field("x-narthex-mirror"), Some("g/all"));
        assert_eq!(copied.head.line, sent.head.line);
        assert_eq!(copied.body, sent.body);
        assert_eq!(copied.progress, Progress::Answered);
        for name in ["x-request-id", "x-forwarded-for", "via", "x-mine", "traceparent"] {
            assert_eq!(copied.field(name), sent.field(name), "{name}");
        }
    }
    assert_eq!(mirror.connections(), 1, "a copy's connection serves the next one");
    assert_eq!(scene.metric("narthex_service_requests_total{service=\"s\"}"), 3.0);
}

#[test]
fn whatever_the_mirror_does_the_original_is_answered() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closing = FakeService::start(answer::close_at_once());
    let talking = FakeService::start(answer::raw("no HTTP at all\r\n\r\n"));
    let cutting =
        FakeService::start(answer::raw_then_close("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"));
    let unwell = FakeService::start(answer::fixed(503, "not I"));
    let cases = [
        (format!("http://{gone}"), "failed"),
        (closing.url(), "failed"),
        (talking.url(), "failed"),
        (cutting.url(), "answered"),
        (unwell.url(), "answered"),
    ];
    for (mirror, outcome) in cases {
        let original = FakeService::start(answer::echo());
        let scene = scene(&original, &mirror, "");
        for at in 1..=3 {
            let said = scene.post("", "body");
            assert_eq!((said.status, said.json()["body"].as_str()), (200, Some("body")), "{outcome}");
            await_mirrored(&scene, outcome, at);
        }
        assert_eq!(original.log().len(), 3);
        assert_eq!(scene.metric("narthex_service_failures_total{service=\"s\"}"), 0.0);
        assert_eq!(scene.metric("narthex_service_retries_total{service=\"m\"}"), 0.0, "{outcome}");
    }
}

#[test]
fn one_that_hangs_costs_a_place_for_its_time_and_no_more() {
    let original = FakeService::start(answer::echo());
    // It reads nothing of a body either: what the sockets do not hold stays with the copy.
    let mirror = FakeService::start(|conversation: &mut Conversation<'_>| {
        conversation.wait_for_close()?;
        Ok(narthex_testkit::Next::Close)
    });
    let more = ", timeout: 2s, bounds: { requests: 2, body_bytes: 4MiB }";
    let scene = scene(&original, &mirror.url(), more);
    let body = "x".repeat(3_000_000);
    for _ in 0..6 {
        assert_eq!(scene.post("", &body).status, 200);
    }
    assert!(mirrored(&scene, "busy") >= 2.0, "{}", mirrored(&scene, "busy"));
    eventually("each copy has ended", PATIENCE, || {
        let ended = mirrored(&scene, "busy") + mirrored(&scene, "failed");
        (ended == 6.0).then_some(())
    });
    assert_eq!(mirrored(&scene, "answered"), 0.0);
    // The places are free again.
    let busy = mirrored(&scene, "busy");
    assert_eq!(scene.get("/").status, 200);
    eventually("one more has failed", PATIENCE, || (mirrored(&scene, "failed") == 7.0 - busy).then_some(()));
}

#[test]
fn a_copy_outlives_its_original() {
    let original = FakeService::start(answer::echo());
    let gate = Gate::new();
    let mirror = FakeService::start(answer::held(answer::response(200, &[], "late"), 5, &gate));
    let scene = scene(&original, &mirror.url(), "");
    let mut client = scene.client();
    assert_eq!(
        client.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap().status,
        200
    );
    client.expect_close().unwrap();
    mirror.wait_until(PATIENCE, |log| log.len() == 1).unwrap();
    assert_eq!(mirrored(&scene, "answered"), 0.0);
    gate.open();
    await_mirrored(&scene, "answered", 1);
    assert_eq!(mirror.log()[0].progress, Progress::Answered);
}

#[test]
fn the_share_is_what_was_asked_for() {
    let original = FakeService::start(answer::fixed(200, "ok"));
    let mirror = FakeService::start(answer::fixed(200, "ok"));
    let scene = scene(&original, &mirror.url(), ", share: 20%, bounds: { requests: 5000 }");
    let mut client = scene.client();
    for _ in 0..2_000 {
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().status, 200);
    }
    // Five standard deviations of 17.9 each.
    let (least, most) = (310.0, 490.0);
    let mut seen = (0.0, 0);
    let copies = eventually("copies come to an end", PATIENCE, || {
        let copies = mirrored(&scene, "answered");
        seen = if copies == seen.0 { (copies, seen.1 + 1) } else { (copies, 0) };
        (copies >= least && seen.1 == 20).then_some(copies)
    });
    assert!(copies <= most, "{copies} of 2000");
}

#[test]
fn what_does_not_fit_or_does_not_end_is_given_up_and_counted() {
    let original = FakeService::start(answer::echo());
    let mirror = FakeService::start(answer::echo());
    let scene = scene(&original, &mirror.url(), ", bounds: { body_bytes: 10 }");
    let panics = count_panics();
    assert_eq!(scene.post("", "0123456789").status, 200);
    await_mirrored(&scene, "answered", 1);
    assert_eq!(scene.post("", "0123456789a").json()["body"], "0123456789a");
    await_mirrored(&scene, "too_large", 1);
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = scene.client();
    assert_eq!(
        client.exchange(format!("{chunked}6\r\n012345\r\n6\r\n6789ab\r\n0\r\n\r\n")).unwrap().status,
        200
    );
    await_mirrored(&scene, "too_large", 2);
    client.send(format!("{chunked}3\r\nabc\r\n")).unwrap();
    original.wait_until(PATIENCE, |log| log.len() == 4).unwrap();
    client.reset().unwrap();
    await_mirrored(&scene, "incomplete", 1);
    assert_eq!(mirror.log().len(), 1);
    // The one worker has let go of that exchange before it answers another one.
    assert_eq!(scene.get("/").status, 200);
    assert_eq!(panics.load(Ordering::SeqCst), 0);
}

#[test]
fn neither_a_copy_nor_a_tunnel_is_copied_and_a_fallback_copies_nothing_again() {
    let bad = FakeService::start(answer::close_at_once());
    let good = FakeService::start(answer::echo());
    let mirror = FakeService::start(answer::echo());
    let services = format!("{}, t: {{ url: \"{}\" }}", services(&bad, &mirror.url()), good.url());
    let scene = Scene::new(&services, "mirror: { to: m }, fallback: [ service: t ]");
    assert_eq!(scene.post("", "b").field("x-narthex-fallback"), Some("service"));
    await_mirrored(&scene, "answered", 1);
    assert_eq!(scene.post("X-Narthex-Mirror: elsewhere/r\r\n", "b").status, 200);
    let handshake = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert_eq!(scene.client().exchange(handshake).unwrap().status, 200);
    assert_eq!(scene.get("/last").status, 200);
    await_mirrored(&scene, "answered", 2);
    let targets: Vec<_> = mirror.log().iter().map(|copy| copy.target().to_owned()).collect();
    assert_eq!(targets, ["/", "/last"]);
}

#[test]
fn a_mirror_may_speak_http2() {
    let original = FakeService::start(answer::echo());
    let mirror = http2::serve(|(request, mut respond): http2::Asked| async move {
        assert_eq!(request.headers()["x-narthex-mirror"], "g/all");
        let (body, _) = http2::read_body(request.into_body()).await.unwrap();
        assert_eq!(body, b"over here");
        respond.send_response(http2::head(200), true).unwrap();
    });
    let scene = scene(&original, &format!("h2c://{mirror}"), "");
    assert_eq!(scene.post("", "over here").status, 200);
    await_mirrored(&scene, "answered", 1);
}

/// A gateway of its own process; the mirror never answers.
fn process(original: &FakeService, mirror: &FakeService, more: &str) -> Process {
    let config = format!(
        "narthex: 1\nadmin: {{ address: \"127.0.0.1:0\" }}\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\n\
         services: {{ s: {{ url: \"{}\" }}, m: {{ url: \"{}\", timeouts: {{ first_byte: 1h }} }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s, \
         mirror: {{ to: m, {more} }} }} }} }} }}\n",
        original.url(),
        mirror.url()
    );
    Process::start(&config, &[])
}

#[test]
fn a_mirror_that_hangs_holds_no_more_memory_than_its_bounds() {
    let original = FakeService::start(answer::fixed(200, "ok"));
    let mirror = FakeService::start(answer::never());
    let gateway = process(&original, &mirror, "timeout: 1h, bounds: { requests: 16 }");
    let mut client = narthex_testkit::RawClient::connect(gateway.address("main")).unwrap();
    let body = "x".repeat(60_000);
    let request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut send = |count| {
        for _ in 0..count {
            assert_eq!(client.exchange(&request).unwrap().status, 200);
        }
    };
    send(100);
    let before = gateway.anonymous_kib();
    send(1_000);
    let grown = gateway.anonymous_kib().saturating_sub(before);
    assert!(grown < 4 * 1024, "grown by {grown} KiB; 1,000 bodies are 58 MiB");
    assert_eq!(mirror.log().len(), 16);
}

#[test]
fn the_drain_does_not_wait_for_copies() {
    let original = FakeService::start(answer::fixed(200, "ok"));
    let mirror = FakeService::start(answer::never());
    let mut gateway = process(&original, &mirror, "timeout: 1h");
    let mut client = narthex_testkit::RawClient::connect(gateway.address("main")).unwrap();
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().status, 200);
    mirror.wait_until(PATIENCE, |log| log.len() == 1).unwrap();
    gateway.signal("TERM");
    assert_eq!(gateway.wait(PATIENCE).code(), Some(0), "{}", gateway.log());
}
