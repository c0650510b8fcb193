//! The client's deadline and the route's are one; what is left of it is handed on.

use super::Scene;
use narthex_testkit::{Conversation, FakeService, Next, answer};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn ask(scene: &Scene, field: &str) -> narthex_testkit::Response {
    scene.client().exchange(format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n")).unwrap()
}

/// What the service was told, by an answer of `echo`.
fn told(said: &narthex_testkit::Response, name: &str) -> Option<String> {
    let fields = said.json()["headers"].as_array().unwrap().clone();
    let field = fields.iter().find(|field| field[0].as_str().unwrap().eq_ignore_ascii_case(name));
    field.map(|field| field[1].as_str().unwrap().to_owned())
}

#[test]
fn a_client_may_wait_for_less_than_the_route() {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    let service = FakeService::start(move |conversation: &mut Conversation<'_>| {
        conversation.wait_for_close()?;
        count.fetch_add(1, Ordering::SeqCst);
        Ok(Next::Close)
    });
    let services = format!("s: {{ url: \"{}\", breaker: {{ consecutive: 1 }} }}", service.url());
    let scene = Scene::new(&services, "");
    for field in ["X-Request-Timeout: 200", "X-Request-Timeout: 200ms", "grpc-timeout: 200m"] {
        let begun = Instant::now();
        let said = ask(&scene, field);
        assert_eq!((said.status, &*said.reason()), (504, "deadline_exceeded"), "{field}");
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(190) && took < Duration::from_secs(4), "{field}: {took:?}");
    }
    // What nobody waits for is ended at the service too; and a client's haste does not open a circuit.
    let begun = Instant::now();
    while ended.load(Ordering::SeqCst) < 3 {
        assert!(begun.elapsed() < Duration::from_secs(10), "the service still works for nobody");
        std::thread::yield_now();
    }
    assert_eq!(scene.metric("narthex_service_circuit{service=\"s\"}"), 0.0);
}

#[test]
fn a_client_cannot_wait_for_longer_than_the_route() {
    let service = FakeService::start(answer::never());
    let scene = Scene::new(&format!("s: {{ url: \"{}\" }}", service.url()), "deadline: 200ms");
    let begun = Instant::now();
    assert_eq!(ask(&scene, "X-Request-Timeout: 60s").reason(), "deadline_exceeded");
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[test]
fn what_is_left_is_handed_on() {
    let service = FakeService::start(answer::echo());
    let scene = Scene::new(&format!("s: {{ url: \"{}\" }}", service.url()), "");
    let said = ask(&scene, "X-Request-Timeout: 9s");
    let left: u64 = told(&said, "x-request-timeout").unwrap().parse().unwrap();
    assert!((4_000..=9_000).contains(&left), "{left}");
    let said = ask(&scene, "grpc-timeout: 9S");
    let left = told(&said, "grpc-timeout").unwrap();
    let micros: u64 = left.strip_suffix('u').unwrap().parse().unwrap();
    assert!((4_000_000..=9_000_000).contains(&micros), "{left}");
    let said = ask(&scene, "Accept: */*");
    assert_eq!((told(&said, "x-request-timeout"), told(&said, "grpc-timeout")), (None, None));
}

#[test]
fn a_service_may_be_told_always() {
    let service = FakeService::start(answer::echo());
    let scene =
        Scene::new(&format!("s: {{ url: \"{}\", pass_deadline: true }}", service.url()), "deadline: 8s");
    let said = ask(&scene, "Accept: */*");
    let left: u64 = told(&said, "x-request-timeout").unwrap().parse().unwrap();
    assert!((4_000..=8_000).contains(&left), "{left}");
    let said = ask(&scene, "Content-Type: application/grpc");
    assert!(told(&said, "grpc-timeout").is_some() && told(&said, "x-request-timeout").is_none());
}
