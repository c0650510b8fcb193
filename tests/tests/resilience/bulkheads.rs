//! A service's bounds: what is over them waits a little or is refused, and nobody else notices.

use super::Scene;
use narthex_testkit::{Conversation, FakeService, Gate, answer};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// Answers as an echo once the gate is open.
fn gated(gate: &Gate) -> FakeService {
    let gate = gate.clone();
    FakeService::start(move |conversation: &mut Conversation<'_>| {
        conversation.wait(&gate)?;
        answer::echo()(conversation)
    })
}

#[test]
fn a_request_waits_for_a_connection_to_come_free() {
    let gate = Gate::new();
    let service = gated(&gate);
    let services =
        format!("s: {{ url: \"{}\", max_connections: 1, timeouts: {{ pending: 10s }} }}", service.url());
    let scene = Scene::new(&services, "");
    let mut clients: Vec<_> = (0..5).map(|_| scene.client()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /{at} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        if at == 0 {
            service.wait_until(PATIENCE, |log| log.len() == 1).unwrap();
        }
    }
    let begun = Instant::now();
    while pending(&scene) < 4 {
        assert!(begun.elapsed() < PATIENCE, "they do not wait");
    }
    gate.open();
    for client in &mut clients {
        assert_eq!(client.read_response().unwrap().status, 200);
    }
    assert_eq!(service.connections(), 1, "one after the other on one connection");
    assert_eq!(pending(&scene), 0);
}

fn pending(scene: &Scene) -> u64 {
    let status: serde_json::Value = serde_json::from_str(&scene.ask_admin("/status")).unwrap();
    status["services"]["s"]["pending"].as_u64().unwrap()
}

#[test]
fn the_wait_and_the_queue_are_bounded() {
    for (bounds, least, most) in [
        (
            "max_connections: 1, timeouts: { pending: 300ms }",
            Duration::from_millis(290),
            Duration::from_secs(5),
        ),
        (
            "max_connections: 1, max_pending: 0, timeouts: { pending: 8s }",
            Duration::ZERO,
            Duration::from_secs(5),
        ),
        ("max_requests: 1", Duration::ZERO, Duration::from_secs(5)),
        ("adaptive: { min: 1, initial: 1 }", Duration::ZERO, Duration::from_secs(5)),
    ] {
        let gate = Gate::new();
        let service = gated(&gate);
        let scene = Scene::new(&format!("s: {{ url: \"{}\", {bounds} }}", service.url()), "");
        let mut holder = scene.client();
        holder.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        service.wait_until(PATIENCE, |log| log.len() == 1).unwrap();
        let begun = Instant::now();
        let said = scene.get("/");
        let took = begun.elapsed();
        assert_eq!((said.status, &*said.reason()), (503, "service_busy"), "{bounds}");
        assert!(took >= least && took < most, "{bounds}: {took:?}");
        gate.open();
        assert_eq!(holder.read_response().unwrap().status, 200);
        assert_eq!(scene.get("/").status, 200, "{bounds}");
    }
}

#[test]
fn a_client_that_leaves_gives_its_turn_up() {
    let gate = Gate::new();
    let service = gated(&gate);
    let services =
        format!("s: {{ url: \"{}\", max_connections: 1, timeouts: {{ pending: 10s }} }}", service.url());
    let scene = Scene::new(&services, "");
    let mut holder = scene.client();
    holder.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    service.wait_until(PATIENCE, |log| log.len() == 1).unwrap();
    let mut gone = scene.client();
    gone.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let until = |count| {
        let begun = Instant::now();
        while pending(&scene) != count {
            assert!(begun.elapsed() < PATIENCE, "not {count}");
        }
    };
    until(1);
    drop(gone);
    until(0);
    let mut next = scene.client();
    next.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    until(1);
    gate.open();
    assert_eq!(next.read_response().unwrap().status, 200);
}
