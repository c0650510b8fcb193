//! Requests that are sent once more, and those that must not be.

use super::Scene;
use narthex_testkit::{Conversation, FakeService, Next, answer};
use narthex_tests::http2;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Answers badly `times` times, then as an echo. A bad answer is `bad`; nothing of it: the connection closes.
fn failing(times: usize, bad: Vec<u8>) -> FakeService {
    let count = AtomicUsize::new(0);
    FakeService::start(move |conversation: &mut Conversation<'_>| {
        if count.fetch_add(1, Ordering::SeqCst) >= times {
            return answer::echo()(conversation);
        }
        conversation.read_body()?;
        conversation.send(&bad)?;
        Ok(if bad.is_empty() { Next::Close } else { Next::Keep })
    })
}

fn scene(service: &FakeService, retry: &str) -> Scene {
    Scene::new(&format!("s: {{ url: \"{}\", retry: {retry} }}", service.url()), "")
}

#[test]
fn an_answer_that_is_a_cause_is_followed_by_another_try() {
    let service = failing(2, answer::response(503, &[], "not yet"));
    let scene = scene(&service, "{ on: [503], backoff: { base: 1ms, max: 5ms } }");
    let said = scene.get("/x");
    assert_eq!(said.status, 200, "{}", said.text());
    assert_eq!(service.log().len(), 3);
    assert_eq!(service.connections(), 1, "a small answer that is not wanted costs no connection");
    assert_eq!(scene.metric("narthex_service_retries_total{service=\"s\"}"), 2.0);
    // Tries in all: the third answer is final, whatever it is.
    let service = failing(9, answer::response(503, &[], "never"));
    let scene = self::scene(&service, "{ on: [503], backoff: { base: 1ms, max: 5ms } }");
    let said = scene.get("/x");
    assert_eq!((said.status, &*said.text()), (503, "never"));
    assert_eq!(service.log().len(), 3);
}

#[test]
fn each_try_goes_to_another_instance() {
    let bad: Vec<_> = (0..3).map(|_| failing(usize::MAX, answer::response(502, &[], ""))).collect();
    let good = failing(0, vec![]);
    let urls: Vec<_> = bad.iter().chain([&good]).map(|s| format!("\"{}\"", s.url())).collect();
    let services =
        format!("s: {{ instances: [{}], retry: {{ on: [gateway_error], tries: 4 }} }}", urls.join(", "));
    let scene = Scene::new(&services, "");
    for _ in 0..8 {
        assert_eq!(scene.get("/x").status, 200);
    }
    assert_eq!(good.log().len(), 8);
}

#[test]
fn a_request_that_may_not_be_repeated_is_not() {
    for (bad, status) in [(answer::response(503, &[], ""), 503), (vec![], 502)] {
        let service = failing(1, bad.clone());
        let scene = scene(&service, "{ on: [503, reset] }");
        assert_eq!(scene.post("", "once").status, status);
        assert_eq!(service.log().len(), 1, "a POST is sent once");
        let service = failing(1, bad);
        let scene = self::scene(&service, "{ on: [503, reset] }");
        let said = scene.post("Idempotency-Key: 7\r\n", "twice");
        assert_eq!(said.status, 200, "the client says that it may");
        assert_eq!(said.json()["body"], "twice");
    }
}

#[test]
fn a_body_is_sent_again_as_it_was_and_a_long_one_is_not() {
    let long = "0123456789abcdef".repeat(6_000);
    let service = failing(2, answer::response(503, &[], ""));
    let scene = scene(&service, "{ on: [503], body: 96KiB, backoff: { base: 1ms, max: 5ms } }");
    let said = scene.post("Idempotency-Key: 7\r\n", &long);
    assert_eq!(said.status, 200, "{}", said.text());
    assert_eq!(said.json()["body"], long.as_str());
    let bodies: Vec<_> = service.log().iter().map(|received| received.body.len()).collect();
    assert_eq!(bodies, [long.len(); 3]);
    let service = failing(1, answer::response(503, &[], ""));
    let scene = self::scene(&service, "{ on: [503], body: 90KiB }");
    assert_eq!(scene.post("Idempotency-Key: 7\r\n", &long).status, 503);
    // Of unknown length: what is over the bound is found out on the way.
    let mut client = scene.client();
    let chunk = format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let service_before = service.log().len();
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}")).unwrap();
    assert_eq!(client.read_response().unwrap().status, 200, "the second answer is good");
    assert_eq!(service.log().len(), service_before + 1);
}

#[test]
fn a_chunked_body_is_sent_again() {
    let service = failing(1, answer::response(503, &[], ""));
    let scene = scene(&service, "{ on: [503] }");
    let mut client = scene.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").unwrap();
    client.send("2\r\nde\r\n0\r\n\r\n").unwrap();
    let said = client.read_response().unwrap();
    assert_eq!((said.status, said.json()["body"].as_str()), (200, Some("abcde")));
    assert_eq!(service.log().len(), 2);
}

#[test]
fn the_service_may_say_when() {
    let service = failing(1, answer::response(503, &[("Retry-After", "1")], ""));
    let scene = scene(&service, "{ on: [503], retry_after: 2s }");
    let begun = Instant::now();
    assert_eq!(scene.get("/").status, 200);
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    // Too long to wait for: the client is told.
    let service = failing(1, answer::response(503, &[("Retry-After", "100")], ""));
    let scene = self::scene(&service, "{ on: [503], retry_after: 2s }");
    let said = scene.get("/");
    assert_eq!((said.status, said.field("retry-after")), (503, Some("100")));
    assert_eq!(service.log().len(), 1);
}

#[test]
fn a_try_may_have_less_time_than_all() {
    let count = AtomicUsize::new(0);
    let service = FakeService::start(move |conversation: &mut Conversation<'_>| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            answer::never()(conversation)
        } else {
            answer::echo()(conversation)
        }
    });
    let scene = scene(&service, "{ on: [timeout], per_try: 300ms }");
    assert_eq!(scene.get("/").status, 200);
    assert_eq!(service.log().len(), 2);
}

#[test]
fn the_deadline_is_for_all_tries() {
    let service = FakeService::start(answer::never());
    let services = format!(
        "s: {{ url: \"{}\", retry: {{ on: [timeout], tries: 16, per_try: 200ms, backoff: {{ base: 1ms, max: 1ms }} }} }}",
        service.url()
    );
    let scene = Scene::new(&services, "deadline: 700ms");
    let begun = Instant::now();
    let said = scene.get("/");
    assert_eq!((said.status, &*said.reason()), (504, "deadline_exceeded"));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let tries = service.log().len();
    assert!((2..=4).contains(&tries), "{tries}");
}

#[test]
fn the_budget_bounds_what_costs_the_service_something() {
    let service = failing(1, answer::response(503, &[], ""));
    let services = format!(
        "s: {{ url: \"{}\", retry: {{ on: [503] }}, retry_budget: {{ share: 0%, min: 0 }} }}",
        service.url()
    );
    let scene = Scene::new(&services, "");
    assert_eq!(scene.get("/").status, 503);
    assert_eq!(scene.metric("narthex_service_retries_refused_total{service=\"s\"}"), 1.0);
    assert_eq!(service.log().len(), 1);
    // An instance that cannot be reached has seen nothing: no budget is needed to ask another.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let good = failing(0, vec![]);
    let services = format!(
        "s: {{ instances: [\"http://{gone}\", \"{}\"], retry_budget: {{ share: 0%, min: 0 }} }}",
        good.url()
    );
    let scene = Scene::new(&services, "");
    for _ in 0..4 {
        assert_eq!(scene.get("/").status, 200);
    }
}

#[test]
fn nothing_is_sent_again_once_the_answer_is_on_its_way() {
    let service =
        FakeService::start(answer::raw_then_close("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"));
    let scene = scene(&service, "{ on: [reset, 5xx, gateway_error, timeout] }");
    let mut client = scene.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let bytes = client.read_to_close().unwrap();
    assert!(bytes.ends_with(b"abc"), "{}", String::from_utf8_lossy(&bytes));
    assert_eq!(service.log().len(), 1);
}

#[test]
fn a_route_may_want_it_otherwise() {
    let service = failing(9, answer::response(503, &[], ""));
    let services = format!("s: {{ url: \"{}\", retry: {{ on: [503] }} }}", service.url());
    let scene = Scene::new(&services, "retry: { on: [503], tries: 1 }");
    assert_eq!(scene.get("/").status, 503);
    assert_eq!(service.log().len(), 1);
}

/// The ways in which a gRPC service says `UNAVAILABLE`.
#[derive(Clone, Copy)]
enum Says {
    InTheHead,
    InTrailers,
    AfterAMessage,
}

/// How often the service was asked, and the status that the client saw.
fn ask_grpc(says: Says) -> (usize, String, Vec<u8>) {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    ASKED.store(0, Ordering::SeqCst);
    let service = http2::serve(move |(_request, mut respond): http2::Asked| async move {
        let is_first = ASKED.fetch_add(1, Ordering::SeqCst) == 0;
        let code = if is_first { "14" } else { "0" };
        let mut head = http2::head(200);
        head.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", code.parse().unwrap());
        if is_first && matches!(says, Says::InTheHead) {
            head.headers_mut().extend(trailers);
            respond.send_response(head, true).unwrap();
            return;
        }
        let mut body = respond.send_response(head, false).unwrap();
        if !is_first || matches!(says, Says::AfterAMessage) {
            body.send_data(bytes::Bytes::from_static(b"\0\0\0\0\x01x"), false).unwrap();
        }
        body.send_trailers(trailers).unwrap();
    });
    let services = format!(
        "s: {{ url: \"h2c://{service}\", retry: {{ on: [\"grpc:unavailable\"], backoff: {{ base: 1ms, max: 1ms }} }} }}"
    );
    let scene = Scene::new(&services, "");
    http2::run(async {
        let mut client = http2::connect(scene.address).await;
        let request = http2::request("POST", "/a.B/C")
            .header("content-type", "application/grpc")
            .header("idempotency-key", "1")
            .header("te", "trailers");
        let (response, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(bytes::Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
        let answer = http2::read(response).await.unwrap();
        let of_trailers = answer.trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
        let status = of_trailers.or(answer.headers.get("grpc-status")).unwrap().to_str().unwrap().to_owned();
        (ASKED.load(Ordering::SeqCst), status, answer.body)
    })
}

#[test]
fn a_grpc_status_counts_where_no_message_came_before_it() {
    let whole = b"\0\0\0\0\x01x".to_vec();
    assert_eq!(ask_grpc(Says::InTheHead), (2, "0".into(), whole.clone()));
    assert_eq!(ask_grpc(Says::InTrailers), (2, "0".into(), whole.clone()));
    assert_eq!(ask_grpc(Says::AfterAMessage), (1, "14".into(), whole));
}
