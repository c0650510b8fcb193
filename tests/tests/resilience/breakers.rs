//! Circuits: a service that fails is left alone, tried out, and asked again.

use super::Scene;
use narthex_testkit::{Conversation, FakeService, answer};
use narthex_tests::{PATIENCE, eventually};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
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

const WINDOW: Duration = Duration::from_secs(2);
const FIRST_BYTE: Duration = Duration::from_millis(500);

/// What a client got, and how long that took.
struct Got {
    at: Instant,
    took: Duration,
    reason: String,
}

/// Asks on one connection until it is told to stop.
fn ask_on(scene: &Scene, is_over: &AtomicBool) -> Vec<Got> {
    let mut client = scene.client();
    let mut all = Vec::new();
    while !is_over.load(Ordering::SeqCst) {
        let sent = Instant::now();
        let answer = client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        all.push(Got { at: Instant::now(), took: sent.elapsed(), reason: answer.reason() });
        if answer.closes() {
            client = scene.client();
        }
    }
    all
}

/// The only instance dies under load: within the window the circuit opens, and who asks after that is answered at once.
/// `die` gives the service back where it is there, but silent: it is not asked any more either.
fn an_instance_dies(service: FakeService, die: impl FnOnce(FakeService) -> Option<FakeService>) {
    let services = format!(
        "s: {{ url: \"{}\", timeouts: {{ first_byte: 500ms }}, \
         breaker: {{ errors: 50%, samples: 10, window: 2s, open: 1m }} }}",
        service.url()
    );
    let scene = Scene::new(&services, "");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| ask_on(&scene, &is_over))).collect();
        // A window full of good answers.
        std::thread::park_timeout(WINDOW);
        let died = Instant::now();
        let silent = die(service);
        let opened = "narthex_service_circuit{service=\"s\"}";
        eventually("the circuit opens", PATIENCE, || (scene.metric(opened) == 1.0).then_some(()));
        let (open, took) = (Instant::now(), died.elapsed());
        // One look at the metrics is slow at worst by what the machine is.
        let most = WINDOW + FIRST_BYTE + Duration::from_secs(1);
        std::thread::park_timeout(FIRST_BYTE + Duration::from_millis(500));
        let asked = silent.as_ref().map(|service| service.log().len());
        std::thread::park_timeout(Duration::from_secs(1));
        assert_eq!(silent.as_ref().map(|service| service.log().len()), asked, "it is still asked");
        is_over.store(true, Ordering::SeqCst);
        let got: Vec<Got> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        assert!(took <= most, "it opened after {took:?}");
        let before = got.iter().filter(|got| got.at < died && got.reason.is_empty()).count();
        assert!(before > 50, "{before} good answers say little");
        let after: Vec<_> = got.iter().filter(|got| got.at - got.took > open).collect();
        assert!(after.len() > 50, "{} answers say little", after.len());
        assert!(after.iter().all(|got| got.reason == "circuit_open"));
        let longest = after.iter().map(|got| got.took).max().unwrap();
        assert!(longest < FIRST_BYTE, "one waited {longest:?}");
        println!("opened {took:?} after the death; then {} answers, each within {longest:?}", after.len());
    });
}

#[test]
fn an_instance_that_falls_silent_opens_it_within_its_window_and_nobody_waits() {
    let is_silent = Arc::new(AtomicBool::new(false));
    let falls_silent = Arc::clone(&is_silent);
    let service = FakeService::start(move |conversation: &mut Conversation<'_>| {
        let is_silent = is_silent.load(Ordering::SeqCst);
        if is_silent { answer::never()(conversation) } else { answer::fixed(200, "well")(conversation) }
    });
    an_instance_dies(service, |service| {
        falls_silent.store(true, Ordering::SeqCst);
        Some(service)
    });
}

#[test]
fn an_instance_that_is_gone_opens_it_within_its_window_and_nobody_waits() {
    an_instance_dies(FakeService::start(answer::fixed(200, "well")), |service| {
        service.stop();
        None
    });
}
