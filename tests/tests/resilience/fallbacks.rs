//! The ladder: what stands in for an answer that did not come, or that nobody should see.

use super::Scene;
use narthex_testkit::{FakeService, answer};

fn services(first: &FakeService, second: &FakeService) -> String {
    format!("s: {{ url: \"{}\" }}, t: {{ url: \"{}\" }}", first.url(), second.url())
}

#[test]
fn an_answer_that_nobody_should_see_is_replaced() {
    let bad = FakeService::start(answer::fixed(503, "internals"));
    let good = FakeService::start(answer::echo());
    let ladder = "fallback: [ { service: t, on: [502, 503] }, { reply: { status: 404, body: gone } } ]";
    let scene = Scene::new(&services(&bad, &good), ladder);
    let said = scene.post("", "the body");
    assert_eq!((said.status, said.field("x-narthex-fallback")), (200, Some("service")));
    assert_eq!(said.json()["body"], "the body");
    assert_eq!(scene.metric("narthex_fallbacks_total{gateway=\"g\",route=\"all\",by=\"service\"}"), 1.0);
    // No rung is for this one.
    let other = FakeService::start(answer::fixed(500, "mine"));
    let scene = Scene::new(&services(&other, &good), ladder);
    let said = scene.post("", "x");
    assert_eq!((said.status, &*said.text(), said.field("x-narthex-fallback")), (500, "mine", None));
}

#[test]
fn the_next_rung_answers_where_the_first_cannot() {
    let bad = FakeService::start(answer::fixed(503, "internals"));
    let gone = FakeService::start(answer::close_at_once());
    let ladder = "fallback: [ { service: t, on: 503 }, { reply: { status: 202, body: later }, on: 503 } ]";
    let scene = Scene::new(&services(&bad, &gone), ladder);
    let said = scene.post("", "x");
    assert_eq!((said.status, &*said.text()), (202, "later"));
    assert_eq!(said.field("x-narthex-fallback"), Some("reply"));
    assert_eq!(gone.log().len(), 1);
}

#[test]
fn the_services_own_answer_stays_where_no_rung_can_answer() {
    let bad = FakeService::start(answer::fixed(503, "my own words"));
    let gone = FakeService::start(answer::close_at_once());
    let scene = Scene::new(&services(&bad, &gone), "fallback: [ { service: t, on: 503 } ]");
    let mut client = scene.client();
    for _ in 0..3 {
        let body = "b".repeat(50_000);
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let said = client.exchange(request).unwrap();
        assert_eq!((said.status, &*said.text()), (503, "my own words"));
    }
    assert_eq!((bad.log().len(), gone.log().len()), (3, 3));
    assert!(bad.log().iter().all(|received| received.body.len() == 50_000));
}
