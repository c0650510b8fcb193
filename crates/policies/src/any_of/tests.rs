//! Which alternative wins, what its losers leave behind, which refusal is told, and whose hooks run afterwards.

use narthex_contract::{
    Caller, EndCx, Exchange, Flow, Hooks, Nested, Policy, Reply, RequestCx, ResponseCx, Slot, Stage, Verdict,
    core,
};
use narthex_wire::{Name, ResponseHead};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use super::runtime::AnyOf;
use narthex_testkit::compiling::compiled;

use crate::shared::testing::{compile, field, plain_exchange, problems};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Pass,
    Refuse(u16),
    LaterPass,
    LaterRefuse(u16),
}

/// Leaves its letter wherever it can, then does as it is told.
struct Script(&'static str, Act, Arc<AtomicU32>);

fn refusal(status: u16) -> Reply {
    match status {
        401 => Reply::Response(Box::new(narthex_contract::Response::new(401, "who"))),
        403 => Reply::Response(Box::new(narthex_contract::Response::new(403, "no"))),
        _ => core::POLICY_UNAVAILABLE.into(),
    }
}

impl Policy for Script {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST.and(Hooks::RESPONSE).and(Hooks::END)
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let head = &mut cx.exchange.request.head;
        head.append(&Name::parse("X-By").unwrap(), self.0.as_bytes()).unwrap();
        cx.exchange.caller = Some(Arc::new(Caller { id: self.0.into(), ..Caller::default() }));
        cx.exchange.request_id.push_str(self.0);
        match self.1 {
            Act::Pass => Flow::Continue,
            Act::Refuse(status) => Flow::Answer(refusal(status)),
            later => Flow::Suspend(Box::pin(async move {
                self.2.fetch_add(1, Ordering::Relaxed);
                match later {
                    Act::LaterRefuse(status) => Verdict::Answer(refusal(status)),
                    _ => Verdict::Continue,
                }
            })),
        }
    }

    fn on_response<'a>(&'a self, cx: &'a mut ResponseCx<'_>) -> Flow<'a> {
        cx.response.head.append(&Name::parse("X-By").unwrap(), self.0.as_bytes()).unwrap();
        Flow::Continue
    }

    fn on_end(&self, _: &EndCx<'_>) {
        self.2.fetch_add(100, Ordering::Relaxed);
    }
}

struct Tried {
    status: Option<u16>,
    exchange: Exchange,
    policy: AnyOf,
    counts: Vec<Arc<AtomicU32>>,
}

fn won() -> Slot<u64> {
    let settings = narthex_document::Node::default();
    let made = compiled("any_of", &settings, crate::policy, |cx| Some(cx.slot()));
    made.expect("a slot needs nothing").0
}

fn tried(acts: &[Act]) -> Tried {
    let counts: Vec<Arc<AtomicU32>> = acts.iter().map(|_| Arc::default()).collect();
    let alternatives = acts.iter().zip(["a", "b", "c"]).zip(&counts).map(|((act, letter), count)| Nested {
        name: letter.into(),
        kind: "script",
        stage: Stage::Authenticate,
        policy: Box::new(Script(letter, *act, Arc::clone(count))),
        span: narthex_document::Span::NONE,
        attached: None,
    });
    let policy = AnyOf::new(alternatives.collect(), won());
    let mut exchange = plain_exchange();
    exchange.slots.reset(1);
    exchange.request_id = "id-".into();
    let answer = match policy.on_request(&mut RequestCx { exchange: &mut exchange, has_body: false }) {
        Flow::Continue => None,
        Flow::Answer(reply) => Some(reply),
        Flow::Suspend(mut waiting) => match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Verdict::Continue) => None,
            Poll::Ready(Verdict::Answer(reply)) => Some(reply),
            Poll::Pending => panic!("nothing here waits long"),
        },
    };
    Tried { status: answer.map(|reply| reply.status()), exchange, policy, counts }
}

#[test]
fn the_first_that_lets_pass_wins_and_alone_leaves_a_trace() {
    use Act::{LaterPass, LaterRefuse, Pass, Refuse};
    for (acts, winner) in [
        (&[Pass, Pass][..], "a"),
        (&[Refuse(401), Pass], "b"),
        (&[LaterRefuse(401), Pass], "b"),
        (&[LaterPass, Pass], "a"),
        (&[Refuse(401), LaterPass, Pass], "b"),
        (&[LaterRefuse(401), LaterRefuse(403), LaterPass], "c"),
    ] {
        let mut tried = tried(acts);
        assert_eq!(tried.status, None);
        assert_eq!(field(&tried.exchange.request.head, "x-by"), winner);
        assert_eq!(tried.exchange.caller.as_ref().map(|caller| &*caller.id), Some(winner));
        assert_eq!(tried.exchange.request_id, format!("id-{winner}"));
        let mut response = ResponseHead::new(200);
        let mut cx = ResponseCx { exchange: &mut tried.exchange, response: &mut response, length: None };
        assert!(matches!(tried.policy.on_response(&mut cx), Flow::Continue));
        assert_eq!(field(&response.head, "x-by"), winner, "the response is the winner's");
        tried.policy.on_end(&EndCx { exchange: &tried.exchange, status: 200, duration: 1 });
        let ended: Vec<_> = tried.counts.iter().map(|count| count.load(Ordering::Relaxed) / 100).collect();
        assert_eq!(ended.iter().sum::<u32>(), 1, "{ended:?}");
        let waited: Vec<_> = tried.counts.iter().map(|count| count.load(Ordering::Relaxed) % 100).collect();
        assert!(waited.iter().all(|count| *count <= 1), "no wait twice: {waited:?}");
    }
}

#[test]
fn when_all_refuse_the_most_telling_refusal_is_given_and_nothing_stays() {
    use Act::{LaterRefuse, Refuse};
    for (acts, status) in [
        (&[Refuse(401), Refuse(401)][..], 401),
        (&[Refuse(401), Refuse(403)], 403),
        (&[Refuse(403), Refuse(401)], 403),
        (&[Refuse(403), Refuse(503)], 403),
        (&[LaterRefuse(401), Refuse(503)], 503),
        (&[Refuse(503), LaterRefuse(403)], 503),
    ] {
        let tried = tried(acts);
        assert_eq!(tried.status, Some(status));
        assert_eq!(field(&tried.exchange.request.head, "x-by"), "");
        assert!(tried.exchange.caller.is_none() && tried.exchange.request_id == "id-");
    }
}

#[test]
fn settings_are_checked() {
    assert!(problems("any_of", "[]").contains("no policy in this list"));
    let mixed = "[ { ip_access: { allow: [10.0.0.0/8] } }, { headers: { request: { remove: [a] } } } ]";
    assert!(problems("any_of", mixed).contains("mixed_stages"));
    assert!(problems("any_of", "{ ip_access: {} }").contains("list"));
    let policy = compile(
        "any_of",
        "[ { all_of: [ { ip_access: { deny: [10.0.0.0/8] } } ] }, { ip_access: { allow: [10.1.2.3] } } ]",
    );
    assert!(policy.request(&mut policy.exchange(&[])).is_none(), "inside one another");
}
