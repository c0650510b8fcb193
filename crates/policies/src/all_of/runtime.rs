//! All in order on the request side, in reverse on the response side; the first that answers ends it.

use narthex_contract::{
    BodyCx, BodyStep, EndCx, FailureCx, Flow, Hooks, Input, Nested, Output, Policy, Reply, RequestCx,
    ResponseCx, Step,
};
use narthex_wire::Head;

use crate::shared::combined::{Asked, AtOnce, ask, hooks, settle, verdict};

pub struct AllOf {
    members: Vec<Nested>,
    hooks: Hooks,
}

impl AllOf {
    pub fn new(members: Vec<Nested>) -> Self {
        let hooks = hooks(&members);
        Self { members, hooks }
    }

    fn request<'a>(&'a self, cx: &'a mut RequestCx<'_>, asked: Asked<'a>) -> Flow<'a> {
        for (at, member) in self.members.iter().enumerate() {
            let before = cx.exchange.checkpoint();
            match AtOnce::from(ask(member, cx, asked)) {
                AtOnce::Continues => continue,
                AtOnce::Answers(reply) => return Flow::Answer(reply),
                AtOnce::Waits => {}
            }
            cx.exchange.roll_back(before);
            return Flow::Suspend(Box::pin(async move { verdict(self.request_from(at, cx, asked).await) }));
        }
        Flow::Continue
    }

    /// From one that has to wait: it is asked again, and those after it if it lets the request pass.
    async fn request_from(&self, at: usize, cx: &mut RequestCx<'_>, asked: Asked<'_>) -> Option<Reply> {
        for member in self.members.iter().skip(at) {
            if let Some(reply) = settle(ask(member, cx, asked)).await {
                return Some(reply);
            }
        }
        None
    }

    fn with(&self, hook: Hooks) -> impl DoubleEndedIterator<Item = (usize, &Nested)> {
        let has = move |(_, member): &(usize, &Nested)| member.policy.hooks().has(hook);
        self.members.iter().enumerate().filter(has)
    }

    /// From one that has to wait, in reverse.
    async fn response_from(&self, at: usize, cx: &mut ResponseCx<'_>) -> Option<Reply> {
        for (_, member) in self.with(Hooks::RESPONSE).rev().skip_while(|(known, _)| *known > at) {
            if let Some(reply) = settle(member.policy.on_response(cx)).await {
                return Some(reply);
            }
        }
        None
    }

    async fn failure_from(&self, at: usize, cx: &mut FailureCx<'_>) -> Option<Reply> {
        for (_, member) in self.with(Hooks::FAILURE).skip_while(|(known, _)| *known < at) {
            if let Some(reply) = settle(member.policy.on_failure(cx)).await {
                return Some(reply);
            }
        }
        None
    }
}

impl Policy for AllOf {
    fn hooks(&self) -> Hooks {
        self.hooks
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        self.request(cx, Asked::Head)
    }

    fn on_request_body<'a>(&'a self, cx: &'a mut RequestCx<'_>, body: &'a [u8]) -> Flow<'a> {
        self.request(cx, Asked::Body(body))
    }

    fn on_failure<'a>(&'a self, cx: &'a mut FailureCx<'_>) -> Flow<'a> {
        for (at, member) in self.with(Hooks::FAILURE) {
            let before = cx.exchange.checkpoint();
            match AtOnce::from(member.policy.on_failure(cx)) {
                AtOnce::Continues => continue,
                AtOnce::Answers(reply) => return Flow::Answer(reply),
                AtOnce::Waits => {}
            }
            cx.exchange.roll_back(before);
            return Flow::Suspend(Box::pin(async move { verdict(self.failure_from(at, cx).await) }));
        }
        Flow::Continue
    }

    fn on_response<'a>(&'a self, cx: &'a mut ResponseCx<'_>) -> Flow<'a> {
        for (at, member) in self.with(Hooks::RESPONSE).rev() {
            let before = (cx.exchange.checkpoint(), cx.response.head.mark(), cx.response.status);
            match AtOnce::from(member.policy.on_response(cx)) {
                AtOnce::Continues => continue,
                AtOnce::Answers(reply) => return Flow::Answer(reply),
                AtOnce::Waits => {}
            }
            let (exchange, head, status) = before;
            cx.exchange.roll_back(exchange);
            cx.response.head.rollback(head);
            cx.response.status = status;
            return Flow::Suspend(Box::pin(async move { verdict(self.response_from(at, cx).await) }));
        }
        Flow::Continue
    }

    fn body_step(&self, cx: &BodyCx<'_>) -> Option<Box<dyn BodyStep>> {
        let made = self.with(Hooks::BODY_STEP).filter_map(|(_, member)| member.policy.body_step(cx));
        let mut steps: Vec<_> = made.collect();
        if cx.response.is_some() {
            steps.reverse();
        }
        steps
            .into_iter()
            .reduce(|first, second| Box::new(Both { first, second, between: Vec::new(), is_done: false }))
    }

    fn on_end(&self, cx: &EndCx<'_>) {
        self.with(Hooks::END).for_each(|(_, member)| member.policy.on_end(cx));
    }
}

/// Bytes that may stand between two steps.
const BETWEEN: usize = 16 * 1024;

/// Two streaming edits, one behind the other.
///
/// Invariant: `between` holds at most `BETWEEN` bytes.
struct Both {
    first: Box<dyn BodyStep>,
    second: Box<dyn BodyStep>,
    between: Vec<u8>,
    /// Nothing comes from the first any more.
    is_done: bool,
}

impl BodyStep for Both {
    fn step(&mut self, input: &mut Input<'_>, output: &mut Output<'_>) -> Step {
        loop {
            let mut wants_input = self.is_done;
            if !self.is_done {
                match self.first.step(input, &mut Output::new(&mut self.between, BETWEEN)) {
                    Step::NeedInput => wants_input = true,
                    Step::OutputFull => {}
                    Step::Done => self.is_done = true,
                    Step::Fail(reply) => return Step::Fail(reply),
                }
            }
            let mut inner = Input::new(&self.between, self.is_done, input.flush && wants_input);
            let stopped = self.second.step(&mut inner, output);
            let consumed = inner.consumed();
            self.between.drain(..consumed);
            match stopped {
                Step::NeedInput if self.is_done => return Step::Done,
                Step::NeedInput if wants_input => return Step::NeedInput,
                Step::NeedInput => {}
                other => return other,
            }
        }
    }

    fn trailers(&mut self, trailers: Head) -> Option<Head> {
        self.first.trailers(trailers).and_then(|trailers| self.second.trailers(trailers))
    }

    fn keeps_length(&self) -> bool {
        self.first.keeps_length() && self.second.keeps_length()
    }
}
