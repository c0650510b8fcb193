//! Every hook of a policy, through the live data plane: what each may do, what a shadow may not, that a panic and a
//! blocking policy harm no other exchange, and that the end is told exactly once.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]
#![expect(clippy::disallowed_methods, reason = "a policy that blocks is what is tested")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use narthex_contract::{
    BodyCx, BodyStep, Caller, Direction, EndCx, FailureCx, Flow, Hooks, Input, Output, Policy, Reply,
    RequestCx, Response, ResponseCx, Step, Verdict, core,
};
use narthex_testkit::{FakeService, Gate, Load, LoadOptions, RawClient, answer};
use narthex_tests::{HandMade, PATIENCE, eventually, link};
use narthex_wire::Name;

/// What a hook does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Continue,
    Panic,
    Block,
    Refuse,
    Answer,
    SuspendAndContinue,
    SuspendAndRefuse,
    SuspendAndPanic,
    SuspendForEver,
}

/// What was told, in order: `request`, `body 5`, `failure service_closed`, `response 200`, `end 200`.
type Told = Arc<Mutex<Vec<String>>>;

/// Does one thing in one hook, listens in all others, and edits what it can reach.
struct Script {
    at: Hooks,
    act: Act,
    told: Told,
}

impl Script {
    fn tell(&self, text: impl Into<String>) {
        self.told.lock().unwrap().push(text.into());
    }

    fn act<'a>(&self, at: Hooks) -> Flow<'a> {
        if at != self.at {
            return Flow::Continue;
        }
        let yielded = tokio::task::yield_now;
        match self.act {
            Act::Continue => Flow::Continue,
            Act::Panic => panic!("a policy's mistake"),
            Act::Block => {
                std::thread::sleep(Duration::from_secs(1));
                Flow::Continue
            }
            Act::Refuse => Flow::Answer(core::POLICY_UNAVAILABLE.into()),
            Act::Answer => Flow::Answer(full()),
            Act::SuspendAndContinue => Flow::Suspend(Box::pin(async move {
                yielded().await;
                Verdict::Continue
            })),
            Act::SuspendAndRefuse => Flow::Suspend(Box::pin(async move {
                yielded().await;
                Verdict::Answer(core::POLICY_UNAVAILABLE.into())
            })),
            Act::SuspendAndPanic => Flow::Suspend(Box::pin(async move {
                yielded().await;
                panic!("a policy's mistake, later")
            })),
            Act::SuspendForEver => Flow::Suspend(Box::pin(std::future::pending())),
        }
    }
}

fn full() -> Reply {
    Reply::Response(Box::new(Response::new(203, "of the policy")))
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

impl Policy for Script {
    fn hooks(&self) -> Hooks {
        self.at.and(Hooks::END)
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        self.tell("request");
        cx.exchange.request.head.set(&name("X-Edited"), b"yes").unwrap();
        cx.exchange.caller = Some(Arc::new(Caller { id: "edited".into(), ..Caller::default() }));
        self.act(Hooks::REQUEST)
    }

    fn on_request_body<'a>(&'a self, cx: &'a mut RequestCx<'_>, body: &'a [u8]) -> Flow<'a> {
        self.tell(format!("body {}", String::from_utf8_lossy(body)));
        cx.exchange.request.head.set(&name("X-Edited"), b"yes").unwrap();
        self.act(Hooks::REQUEST_BODY)
    }

    fn on_failure<'a>(&'a self, cx: &'a mut FailureCx<'_>) -> Flow<'a> {
        self.tell(format!("failure {}", cx.reason.code()));
        self.act(Hooks::FAILURE)
    }

    fn on_response<'a>(&'a self, cx: &'a mut ResponseCx<'_>) -> Flow<'a> {
        self.tell(format!("response {}", cx.response.status));
        cx.response.head.set(&name("X-Answer-Edited"), b"yes").unwrap();
        cx.response.status = if cx.response.status == 200 { 202 } else { cx.response.status };
        self.act(Hooks::RESPONSE)
    }

    fn body_step(&self, cx: &BodyCx<'_>) -> Option<Box<dyn BodyStep>> {
        (cx.direction == Direction::Response).then(|| Box::new(Louder(self.act)) as Box<dyn BodyStep>)
    }

    fn on_end(&self, cx: &EndCx<'_>) {
        let caller = cx.exchange.caller.as_ref().map_or("nobody", |caller| &*caller.id);
        self.tell(format!("end {} {caller}", cx.status));
        if self.at == Hooks::END && self.act == Act::Panic {
            panic!("a policy's last mistake");
        }
    }
}

/// Upper case, or a mistake.
struct Louder(Act);

impl BodyStep for Louder {
    fn step(&mut self, input: &mut Input<'_>, output: &mut Output<'_>) -> Step {
        match self.0 {
            Act::Panic => panic!("a body step's mistake"),
            Act::Refuse => return Step::Fail(core::POLICY_UNAVAILABLE.into()),
            _ => {}
        }
        let count = output.push(&input.remaining().to_ascii_uppercase());
        input.consume(count);
        match (input.remaining().is_empty(), input.last) {
            (false, _) => Step::OutputFull,
            (true, true) => Step::Done,
            (true, false) => Step::NeedInput,
        }
    }

    fn keeps_length(&self) -> bool {
        true
    }
}

struct Scene {
    gateway: HandMade,
    service: FakeService,
    told: Told,
}

impl Scene {
    fn new(at: Hooks, act: Act, shadow: bool) -> Self {
        Self::with(FakeService::start(answer::fixed(200, "ok")), at, act, shadow)
    }

    fn with(service: FakeService, at: Hooks, act: Act, shadow: bool) -> Self {
        let told = Told::default();
        let script = Script { at, act, told: Arc::clone(&told) };
        let gateway = HandMade::start(&service.url(), vec![link("scripted", script, shadow)]);
        Self { gateway, service, told }
    }

    fn client(&self) -> RawClient {
        RawClient::connect(self.gateway.address()).unwrap()
    }

    fn ask(&self) -> (u16, String) {
        let answer = self.client().exchange(POST).unwrap();
        (answer.status, answer.text())
    }

    /// What was told, once the end was.
    fn told(&self) -> Vec<String> {
        eventually("the end is told", PATIENCE, || {
            let told = self.told.lock().unwrap().clone();
            told.iter().any(|line| line.starts_with("end")).then_some(told)
        })
    }

    fn panics(&self) -> u64 {
        self.gateway.metrics.workers.iter().map(|worker| worker.panics.read()).sum()
    }
}

const POST: &str = "POST /held HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn on_request_edits_answers_and_suspends() {
    let scene = Scene::new(Hooks::REQUEST, Act::Continue, false);
    assert_eq!(scene.ask(), (200, "ok".into()));
    assert_eq!(scene.service.log()[0].field("x-edited"), Some("yes"));
    assert_eq!(scene.told(), ["request", "end 200 edited"]);
    for (act, status, reaches) in [
        (Act::Refuse, 503, false),
        (Act::Answer, 203, false),
        (Act::SuspendAndContinue, 200, true),
        (Act::SuspendAndRefuse, 503, false),
    ] {
        let scene = Scene::new(Hooks::REQUEST, act, false);
        assert_eq!(scene.ask().0, status, "{act:?}");
        assert_eq!(scene.service.log().len(), usize::from(reaches), "{act:?}");
        assert_eq!(scene.told(), ["request", &format!("end {status} edited")], "{act:?}");
    }
}

#[test]
fn on_request_body_sees_all_of_it_within_its_bound() {
    let scene = Scene::new(Hooks::REQUEST_BODY, Act::Continue, false);
    let mut client = scene.client();
    client.send("POST /held HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    client.send_pieces([b"2\r\nhe\r\n".as_slice(), b"3\r\nllo\r\n", b"0\r\n\r\n"]).unwrap();
    assert_eq!(client.read_response().unwrap().status, 200);
    assert_eq!(scene.told(), ["body hello", "end 200 nobody"]);
    let received = &scene.service.log()[0];
    assert_eq!((received.body.as_slice(), received.field("x-edited")), (b"hello".as_slice(), Some("yes")));
    for (act, status) in
        [(Act::Refuse, 503), (Act::Answer, 203), (Act::SuspendAndContinue, 200), (Act::SuspendAndRefuse, 503)]
    {
        assert_eq!(Scene::new(Hooks::REQUEST_BODY, act, false).ask().0, status, "{act:?}");
    }
    let scene = Scene::new(Hooks::REQUEST_BODY, Act::Continue, false);
    for framing in ["Content-Length: 2000", "Transfer-Encoding: chunked"] {
        let body = if framing.starts_with('C') {
            "x".repeat(2000)
        } else {
            format!("7d0\r\n{}\r\n0\r\n\r\n", "x".repeat(2000))
        };
        let answer = scene
            .client()
            .exchange(format!("POST /held HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{body}"))
            .unwrap();
        assert_eq!((answer.status, answer.reason().as_str()), (413, "body_too_large"), "{framing}");
    }
    assert!(scene.service.log().is_empty());
}

#[test]
fn a_body_that_is_needed_whole_must_keep_its_rate() {
    let scene = Scene::new(Hooks::REQUEST_BODY, Act::Continue, false);
    let mut client = scene.client();
    client.send("POST /held HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\nx").unwrap();
    let answer = client.read_response().unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (408, "body_timeout"));
    assert_eq!(answer.json()["detail"], "body_rate");
    assert_eq!(scene.told(), ["end 408 nobody"], "the policy is not asked about a part");
    assert!(scene.service.log().is_empty());
}

#[test]
fn on_failure_answers_in_the_services_stead() {
    for (act, status) in
        [(Act::Continue, 502), (Act::Answer, 203), (Act::Refuse, 503), (Act::SuspendAndRefuse, 503)]
    {
        let service = FakeService::start(answer::close_at_once());
        let scene = Scene::with(service, Hooks::FAILURE, act, false);
        assert_eq!(scene.ask().0, status, "{act:?}");
        assert_eq!(scene.told(), ["failure service_closed", &format!("end {status} nobody")], "{act:?}");
    }
}

#[test]
fn on_response_edits_and_replaces() {
    let scene = Scene::new(Hooks::RESPONSE, Act::Continue, false);
    let answer = scene.client().exchange(POST).unwrap();
    assert_eq!(
        (answer.status, answer.field("x-answer-edited"), answer.text().as_str()),
        (202, Some("yes"), "ok")
    );
    assert_eq!(scene.told(), ["response 200", "end 202 nobody"]);
    for (act, status) in
        [(Act::Refuse, 503), (Act::Answer, 203), (Act::SuspendAndContinue, 202), (Act::SuspendAndRefuse, 503)]
    {
        assert_eq!(Scene::new(Hooks::RESPONSE, act, false).ask().0, status, "{act:?}");
    }
}

#[test]
fn body_step_edits_and_refuses() {
    assert_eq!(Scene::new(Hooks::BODY_STEP, Act::Continue, false).ask(), (200, "OK".into()));
    let refused = Scene::new(Hooks::BODY_STEP, Act::Refuse, false).client().exchange(POST);
    assert!(refused.as_ref().map_or(true, |answer| answer.status == 503), "{refused:?}");
}

#[test]
fn a_shadow_touches_nothing() {
    for at in [Hooks::REQUEST, Hooks::REQUEST_BODY, Hooks::RESPONSE, Hooks::BODY_STEP] {
        for act in [Act::Continue, Act::Refuse, Act::Answer, Act::SuspendAndContinue, Act::SuspendAndRefuse] {
            let scene = Scene::new(at, act, true);
            let answer = scene.client().exchange(POST).unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{at:?} {act:?}");
            assert_eq!(answer.field("x-answer-edited"), None, "{at:?} {act:?}");
            let log = scene.service.log();
            assert_eq!(
                (log[0].field("x-edited"), log[0].body.as_slice()),
                (None, b"hello".as_slice()),
                "{at:?} {act:?}"
            );
            assert_eq!(scene.told().last().map(String::as_str), Some("end 200 nobody"), "{at:?} {act:?}");
        }
    }
    let service = FakeService::start(answer::close_at_once());
    let scene = Scene::with(service, Hooks::FAILURE, Act::Answer, true);
    assert_eq!(scene.ask().0, 502);
}

#[test]
fn a_panic_ends_one_exchange_and_the_end_is_told_once() {
    for (at, act) in [
        (Hooks::REQUEST, Act::Panic),
        (Hooks::REQUEST, Act::SuspendAndPanic),
        (Hooks::REQUEST_BODY, Act::Panic),
        (Hooks::RESPONSE, Act::Panic),
        (Hooks::RESPONSE, Act::SuspendAndPanic),
        (Hooks::BODY_STEP, Act::Panic),
    ] {
        let scene = Scene::new(at, act, false);
        let load =
            Load::http1(LoadOptions { target: "/free".into(), ..LoadOptions::new(scene.gateway.address()) });
        let load2 =
            Load::http2(LoadOptions { target: "/free".into(), ..LoadOptions::new(scene.gateway.address()) });
        assert!(load.wait_for(20, PATIENCE) && load2.wait_for(20, PATIENCE));
        for round in 1..=3 {
            match scene.client().exchange(POST) {
                Ok(answer) => {
                    assert_eq!((answer.status, answer.reason().as_str()), (500, "internal"), "{at:?} {act:?}")
                }
                Err(fault) => assert_eq!(at, Hooks::BODY_STEP, "{at:?} {act:?}: {fault}"),
            }
            let ends = || scene.told.lock().unwrap().iter().filter(|line| line.starts_with("end")).count();
            eventually("the end", PATIENCE, || (ends() >= round).then_some(()));
            assert_eq!((ends(), scene.panics()), (round, round as u64), "{at:?} {act:?}");
        }
        assert!(load.wait_for(20, PATIENCE) && load2.wait_for(20, PATIENCE));
        load.stop().expect_flawless();
        load2.stop().expect_flawless();
    }
}

#[test]
fn a_panic_on_one_stream_of_http2_leaves_the_others() {
    let scene = Scene::new(Hooks::REQUEST, Act::Panic, false);
    let held = Load::http2(LoadOptions {
        target: "/held".into(),
        status: 500,
        connections: 2,
        ..LoadOptions::new(scene.gateway.address())
    });
    let free =
        Load::http2(LoadOptions { target: "/free".into(), ..LoadOptions::new(scene.gateway.address()) });
    assert!(held.wait_for(20, PATIENCE) && free.wait_for(20, PATIENCE));
    held.stop().expect_flawless();
    free.stop().expect_flawless();
}

#[test]
fn a_panic_at_the_end_harms_no_other_exchange() {
    let scene = Scene::new(Hooks::END, Act::Panic, false);
    let load =
        Load::http1(LoadOptions { target: "/free".into(), ..LoadOptions::new(scene.gateway.address()) });
    assert!(load.wait_for(20, PATIENCE));
    for _ in 0..3 {
        // The answer was sent before the end is told.
        assert_eq!(scene.ask(), (200, "ok".into()));
    }
    assert!(load.wait_for(20, PATIENCE));
    load.stop().expect_flawless();
    let told = scene.told();
    assert_eq!(told.iter().filter(|line| line.starts_with("end")).count(), 3, "{told:?}");
}

#[test]
fn a_policy_that_blocks_delays_the_others_and_harms_none() {
    let scene = Scene::new(Hooks::REQUEST, Act::Block, false);
    let load =
        Load::http1(LoadOptions { target: "/free".into(), ..LoadOptions::new(scene.gateway.address()) });
    assert!(load.wait_for(20, PATIENCE));
    assert_eq!(scene.ask(), (200, "ok".into()));
    assert!(load.wait_for(20, PATIENCE));
    load.stop().expect_flawless();
    let stalls = || scene.gateway.metrics.workers.iter().map(|worker| worker.stalls.read()).sum::<u64>();
    assert!(stalls() >= 1, "the watchdog has not reported it");
}

#[test]
fn the_end_is_told_once_when_the_client_leaves() {
    let gate = Gate::new();
    let whole = answer::response(200, &[], "x".repeat(100));
    let held = answer::held(whole, 60, &gate);
    let began = Arc::new(AtomicUsize::new(0));
    let scene = Scene::with(FakeService::start(held), Hooks::RESPONSE, Act::Continue, false);
    let mut client = scene.client();
    client.send(POST).unwrap();
    client.read_at_least(20).unwrap();
    began.fetch_add(1, Ordering::AcqRel);
    client.reset().unwrap();
    assert_eq!(scene.told(), ["response 200", "end 499 nobody"]);
    gate.open();
    for at in [Hooks::REQUEST, Hooks::REQUEST_BODY] {
        let scene = Scene::new(at, Act::SuspendForEver, false);
        let mut client = scene.client();
        client.send(POST).unwrap();
        eventually("the hook is reached", PATIENCE, || {
            (!scene.told.lock().unwrap().is_empty()).then_some(())
        });
        client.reset().unwrap();
        let told = scene.told();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].starts_with("end 499"), "{told:?}");
        assert_eq!(scene.client().exchange("GET /free HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().status, 200);
        assert_eq!(scene.told.lock().unwrap().len(), 2);
    }
}
