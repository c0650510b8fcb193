//! Circuits: a service that fails is left alone, tried out, and asked again.

use super::Scene;
use narthex_testkit::{Conversation, FakeService, answer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Answers with the status that it is told.
fn told(status: &Arc<AtomicU16>) -> FakeService {
    let status = Arc::clone(status);
    FakeService::start(move |conversation: &mut Conversation<'_>| {
        answer::fixed(status.load(Ordering::SeqCst), "said")(conversation)
    })
}

/// Asks until the service has answered well again.
fn ask_until_it_is_well(scene: &Scene) {
    let begun = Instant::now();
    while scene.get("/").status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the circuit does not close");
    }
}

#[test]
fn a_failing_service_is_left_alone_and_comes_back() {
    let status = Arc::new(AtomicU16::new(500));
    let service = told(&status);
    let services = format!(
        "s: {{ url: \"{}\", breaker: {{ errors: 50%, samples: 4, open: 500ms, trials: 1, ramp: 0 }} }}",
        service.url()
    );
    let scene = Scene::new(&services, "");
    for _ in 0..4 {
        assert_eq!(scene.get("/").status, 500);
    }
    let refused = scene.get("/");
    assert_eq!((refused.status, &*refused.reason()), (503, "circuit_open"));
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert_eq!(service.log().len(), 4, "it is not asked");
    assert_eq!(scene.metric("narthex_service_circuit{service=\"s\"}"), 1.0);
    assert_eq!(scene.metric("narthex_service_circuit_opened_total{service=\"s\"}"), 1.0);
    let state: serde_json::Value = serde_json::from_str(&scene.ask_admin("/status")).unwrap();
    assert_eq!(state["services"]["s"]["circuit"], "open");
    status.store(200, Ordering::SeqCst);
    ask_until_it_is_well(&scene);
    assert_eq!(scene.get("/").status, 200);
    assert_eq!(scene.metric("narthex_service_circuit{service=\"s\"}"), 0.0);
}

#[test]
fn a_clients_fault_opens_nothing() {
    let status = Arc::new(AtomicU16::new(404));
    let service = told(&status);
    let services = format!(
        "s: {{ url: \"{}\", breaker: {{ errors: 10%, consecutive: 2, samples: 1 }} }}",
        service.url()
    );
    let scene = Scene::new(&services, "");
    for _ in 0..20 {
        assert_eq!(scene.get("/").status, 404);
    }
    assert_eq!(service.log().len(), 20);
}

#[test]
fn clients_that_leave_open_nothing() {
    let service = FakeService::start(|conversation: &mut Conversation<'_>| {
        let is_never = conversation.head().line.contains("/never");
        if is_never { answer::never()(conversation) } else { answer::echo()(conversation) }
    });
    let services = format!("s: {{ url: \"{}\", breaker: {{ consecutive: 1 }} }}", service.url());
    let scene = Scene::new(&services, "");
    for count in 1..=5 {
        let mut client = scene.client();
        client.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        service.wait_until(Duration::from_secs(10), |log| log.len() == count).unwrap();
        drop(client);
    }
    assert_eq!(scene.get("/").status, 200);
}

#[test]
fn errors_in_a_row_and_services_that_are_gone() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let services = format!("s: {{ url: \"http://{gone}\", breaker: {{ consecutive: 6, open: 1m }} }}");
    let scene = Scene::new(&services, "");
    // Three tries each.
    assert_eq!(scene.get("/").reason(), "connect_failed");
    assert_eq!(scene.get("/").reason(), "connect_failed");
    let refused = scene.get("/");
    assert_eq!(refused.reason(), "circuit_open");
    let after: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((50..=60).contains(&after), "{after}");
}

#[test]
fn slow_answers_open_it() {
    let service = FakeService::start(|conversation: &mut Conversation<'_>| {
        conversation.pause(Duration::from_millis(60))?;
        answer::echo()(conversation)
    });
    let services = format!(
        "s: {{ url: \"{}\", breaker: {{ latency: {{ quantile: 50%, above: 20ms }}, samples: 3, open: 1m }} }}",
        service.url()
    );
    let scene = Scene::new(&services, "");
    for _ in 0..3 {
        assert_eq!(scene.get("/").status, 200);
    }
    assert_eq!(scene.get("/").reason(), "circuit_open");
}

#[test]
fn an_open_circuit_leaves_the_answer_to_the_fallback() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let services = format!("s: {{ url: \"http://{gone}\", breaker: {{ consecutive: 1, open: 1m }} }}");
    let scene = Scene::new(&services, "fallback: [ { reply: { status: 200, body: instead } } ]");
    for _ in 0..3 {
        let said = scene.get("/");
        assert_eq!((said.status, &*said.text()), (200, "instead"));
    }
}
