//! A compiled list of policies: calls their hooks in order, runs shadows without effect, keeps the decision trail.
//!
//! Knows no policy by name. A chain of policies that all continue allocates nothing.

use std::sync::Arc;

use narthex_contract::{
    Attached, Body, BodyCx, BodyStep, Detail, Direction, EndCx, Exchange, FailureCx, Flow, Hooks, Policy,
    Reason, Reply, RequestCx, ResponseCx, Stage, TrailEntry, Verdict, Verdicted,
};
use narthex_wire::ResponseHead;
use smallvec::SmallVec;

/// One policy in its place.
#[derive(Clone)]
pub struct Link {
    pub name: Arc<str>,
    /// The kind's name.
    pub kind: &'static str,
    pub stage: Stage,
    /// Judges, but has no effect.
    pub shadow: bool,
    pub policy: Arc<dyn Policy>,
    /// What it depends on beside its settings; `None`: nothing.
    pub attached: Option<Arc<Attached>>,
}

impl Link {
    /// The refusal where what the policy depends on is not there: it is not run, and nothing passes it.
    fn refusal(&self) -> Option<Reply> {
        self.attached.as_ref()?.refusal("the policy", &self.name)
    }

    fn hooks(&self) -> Hooks {
        let waits = self.attached.as_ref().is_some_and(|attached| !attached.feeds.is_empty());
        self.policy.hooks().and(if waits { Hooks::REQUEST } else { Hooks::NONE })
    }
}

/// The policies of a gateway or of a route, in the order of the request side.
#[derive(Clone, Default)]
pub struct Chain {
    links: Vec<(Hooks, Link)>,
    hooks: Hooks,
    /// Where this chain's entries of the trail begin: a route's follow its gateway's.
    offset: u16,
}

/// How far a request came: the links before this one have seen it, and see the response.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reached(usize);

impl Chain {
    pub fn new(links: Vec<Link>, offset: usize) -> Self {
        let links: Vec<_> = links.into_iter().map(|link| (link.hooks(), link)).collect();
        let hooks = links.iter().fold(Hooks::NONE, |all, (hooks, _)| all.and(*hooks));
        Self { links, hooks, offset: offset as u16 }
    }

    /// The number of the first link in the decision trail.
    pub fn offset(&self) -> u16 {
        self.offset
    }

    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().map(|(_, link)| link)
    }

    pub fn has(&self, hook: Hooks) -> bool {
        self.hooks.has(hook)
    }

    /// The request side where no policy has a say in it: nothing to wait for.
    pub fn is_silent(&self, hook: Hooks, reached: &mut Reached) -> bool {
        reached.0 = if self.hooks.has(hook) { reached.0 } else { self.links.len() };
        !self.hooks.has(hook)
    }

    /// The request side. `Some`: a policy answered.
    pub async fn on_request(
        &self,
        exchange: &mut Exchange,
        has_body: bool,
        reached: &mut Reached,
    ) -> Option<Reply> {
        for (at, (hooks, link)) in self.links.iter().enumerate() {
            reached.0 = at;
            if !hooks.has(Hooks::REQUEST) {
                continue;
            }
            let before = link.shadow.then(|| Before::of(exchange));
            let verdict = match link.refusal() {
                Some(unavailable) => Some(unavailable),
                None => {
                    let mut cx = RequestCx { exchange, has_body };
                    settle(link.policy.on_request(&mut cx)).await
                }
            };
            if let Some(reply) = self.judge(at, link, verdict, before, exchange) {
                return Some(reply);
            }
        }
        reached.0 = self.links.len();
        None
    }

    /// The whole body is there.
    pub async fn on_request_body(&self, exchange: &mut Exchange, body: &[u8]) -> Option<Reply> {
        for (at, (_, link)) in self.with(Hooks::REQUEST_BODY) {
            let before = link.shadow.then(|| Before::of(exchange));
            let verdict = {
                let mut cx = RequestCx { exchange, has_body: true };
                settle(link.policy.on_request_body(&mut cx, body)).await
            };
            if let Some(reply) = self.judge(at, link, verdict, before, exchange) {
                return Some(reply);
            }
        }
        None
    }

    /// The destination gave no answer.
    pub async fn on_failure(
        &self,
        exchange: &mut Exchange,
        reason: Reason,
        detail: &Detail,
    ) -> Option<Reply> {
        for (at, (_, link)) in self.with(Hooks::FAILURE) {
            let before = link.shadow.then(|| Before::of(exchange));
            let verdict = {
                let mut cx = FailureCx { exchange, reason, detail };
                settle(link.policy.on_failure(&mut cx)).await
            };
            if let Some(reply) = self.judge(at, link, verdict, before, exchange) {
                return Some(reply);
            }
        }
        None
    }

    /// The response side, in reverse from whoever answered. `Some`: a policy replaced the response, and those before it have
    /// yet to see the new one: call again with what is returned.
    pub async fn on_response(
        &self,
        exchange: &mut Exchange,
        response: &mut ResponseHead,
        length: Option<u64>,
        reached: Reached,
    ) -> Option<(Reply, Reached)> {
        for (at, (hooks, link)) in self.links.iter().enumerate().rev() {
            // A browser must be able to read a refusal too, so CORS marks also those that were made before it.
            let is_due = at < reached.0 || (at > reached.0 && link.stage == Stage::Cors);
            if !hooks.has(Hooks::RESPONSE) || !is_due {
                continue;
            }
            let before = link.shadow.then(|| (Before::of(exchange), response.head.mark(), response.status));
            let verdict = {
                let mut cx = ResponseCx { exchange, response, length };
                settle(link.policy.on_response(&mut cx)).await
            };
            let before = before.map(|(before, mark, status)| {
                response.head.rollback(mark);
                response.status = status;
                before
            });
            if let Some(reply) = self.judge(at, link, verdict, before, exchange) {
                return Some((reply, Reached(at)));
            }
        }
        None
    }

    /// The streaming edits of one body, in the order in which its bytes pass them.
    pub fn body_steps(
        &self,
        exchange: &Exchange,
        response: Option<&ResponseHead>,
        reached: Reached,
        steps: &mut SmallVec<[Box<dyn BodyStep>; 2]>,
    ) {
        if !self.hooks.has(Hooks::BODY_STEP) {
            return;
        }
        let direction = if response.is_some() { Direction::Response } else { Direction::Request };
        let cx = BodyCx { exchange, direction, response };
        let make = |(hooks, link): &(Hooks, Link)| -> Option<Box<dyn BodyStep>> {
            if !hooks.has(Hooks::BODY_STEP) {
                return None;
            }
            let step = link.policy.body_step(&cx)?;
            Some(if link.shadow { Box::new(shadow::Step::new(step, Arc::clone(&link.name))) } else { step })
        };
        match direction {
            Direction::Request => steps.extend(self.links.iter().take(reached.0).filter_map(make)),
            Direction::Response => steps.extend(self.links.iter().take(reached.0).rev().filter_map(make)),
        }
    }

    pub fn on_end(&self, cx: &EndCx<'_>) {
        for (_, (_, link)) in self.with(Hooks::END) {
            link.policy.on_end(cx);
        }
    }

    fn with(&self, hook: Hooks) -> impl Iterator<Item = (usize, &(Hooks, Link))> {
        self.links.iter().enumerate().filter(move |(_, (hooks, _))| hooks.has(hook))
    }

    /// Notes the verdict; undoes a shadow's. Returns what has an effect.
    fn judge(
        &self,
        at: usize,
        link: &Link,
        verdict: Option<Reply>,
        before: Option<Before>,
        exchange: &mut Exchange,
    ) -> Option<Reply> {
        let reason = match &verdict {
            Some(Reply::Problem { reason, .. }) => Some(*reason),
            _ => None,
        };
        let noted = match (&verdict, &before) {
            (None, _) => Verdicted::Continued,
            (Some(_), None) => Verdicted::Answered(reason),
            (Some(_), Some(_)) => Verdicted::WouldAnswer(reason),
        };
        exchange.trail.push(TrailEntry {
            policy: self.offset + at as u16,
            stage: link.stage,
            verdict: noted,
        });
        match before {
            None => verdict,
            Some(before) => {
                before.restore(exchange);
                None
            }
        }
    }
}

/// Waits where the hook has to; `Some`: it answers.
async fn settle(flow: Flow<'_>) -> Option<Reply> {
    let verdict = match flow {
        Flow::Continue => return None,
        Flow::Answer(reply) => return Some(reply),
        Flow::Suspend(waiting) => waiting.await,
    };
    match verdict {
        Verdict::Continue => None,
        Verdict::Answer(reply) => Some(reply),
    }
}

/// What a shadow may have changed.
struct Before {
    request: narthex_wire::RequestMark,
    slots: narthex_contract::Slots,
    caller: Option<Arc<narthex_contract::Caller>>,
    request_id: Option<String>,
}

impl Before {
    fn of(exchange: &Exchange) -> Self {
        Self {
            request: exchange.request.mark(),
            slots: exchange.slots.clone(),
            caller: exchange.caller.clone(),
            request_id: (!exchange.request_id_is_handled).then(|| exchange.request_id.clone()),
        }
    }

    fn restore(self, exchange: &mut Exchange) {
        exchange.request.rollback(self.request);
        exchange.slots = self.slots;
        exchange.caller = self.caller;
        if let Some(id) = self.request_id {
            exchange.request_id = id;
            exchange.request_id_is_handled = false;
        }
    }
}

/// A body is known to be this long.
pub fn known_length(body: &Body) -> Option<u64> {
    match body {
        Body::Empty => Some(0),
        Body::Bytes(bytes) => Some(bytes.len() as u64),
        Body::Source(_) => None,
    }
}

mod shadow {
    //! A streaming edit without effect: it sees every byte, the body passes unchanged.

    use std::sync::Arc;

    use narthex_contract::{BodyStep, Input, Output, Step as Stopped};

    /// Room for what the step would have made.
    const SCRATCH: usize = 16 * 1024;

    pub struct Step {
        inner: Option<Box<dyn BodyStep>>,
        name: Arc<str>,
        scratch: Vec<u8>,
    }

    impl Step {
        pub fn new(inner: Box<dyn BodyStep>, name: Arc<str>) -> Self {
            Self { inner: Some(inner), name, scratch: Vec::new() }
        }

        fn watch(&mut self, bytes: &[u8], last: bool) {
            let mut input = Input::new(bytes, last, false);
            while let Some(inner) = &mut self.inner {
                self.scratch.clear();
                match inner.step(&mut input, &mut Output::new(&mut self.scratch, SCRATCH)) {
                    Stopped::OutputFull => {}
                    Stopped::NeedInput => return,
                    Stopped::Done => self.inner = None,
                    Stopped::Fail(reply) => {
                        let status = reply.status();
                        tracing::info!(policy = &*self.name, status, "shadow: would have refused the body");
                        self.inner = None;
                    }
                }
            }
        }
    }

    impl BodyStep for Step {
        fn step(&mut self, input: &mut Input<'_>, output: &mut Output<'_>) -> Stopped {
            let bytes = input.remaining();
            let taken = output.push(bytes);
            let is_all = taken == bytes.len();
            self.watch(&bytes[..taken], input.last && is_all);
            input.consume(taken);
            match (is_all, input.last) {
                (false, _) => Stopped::OutputFull,
                (true, true) => Stopped::Done,
                (true, false) => Stopped::NeedInput,
            }
        }

        fn keeps_length(&self) -> bool {
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use narthex_contract::core;

    /// On the response side: refuses, or leaves a mark.
    struct Other(bool);

    impl Policy for Other {
        fn hooks(&self) -> Hooks {
            Hooks::RESPONSE
        }

        fn on_response<'a>(&'a self, cx: &'a mut ResponseCx<'_>) -> Flow<'a> {
            if self.0 {
                return Flow::Answer(core::INTERNAL.into());
            }
            cx.response.head.append_raw(b"x-mark", b"1").unwrap();
            Flow::Continue
        }
    }

    fn ready<T>(future: impl Future<Output = T>) -> T {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(future).poll(&mut cx) {
            std::task::Poll::Ready(value) => value,
            std::task::Poll::Pending => panic!("nothing suspends here"),
        }
    }

    #[test]
    fn a_response_that_a_policy_made_passes_those_before_it() {
        let link = |refuses: bool| Link {
            name: "a".into(),
            kind: "other",
            stage: Stage::Transform,
            shadow: false,
            policy: Arc::new(Other(refuses)),
            attached: None,
        };
        let chain = Chain::new(vec![link(false), link(true), link(false)], 0);
        let (mut exchange, mut response) = (Exchange::default(), ResponseHead::new(200));
        let all = Reached(3);
        let (_, reached) = ready(chain.on_response(&mut exchange, &mut response, None, all)).unwrap();
        response.clear();
        assert!(ready(chain.on_response(&mut exchange, &mut response, None, reached)).is_none());
        assert_eq!(response.head.all_str("x-mark").count(), 1, "the first one alone, and once");
    }
}
