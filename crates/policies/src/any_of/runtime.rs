//! One after the other until one lets the request pass; the hooks behind that are the winner's alone.

use narthex_contract::{
    BodyCx, BodyStep, EndCx, Exchange, FailureCx, Flow, Hooks, Nested, Policy, Reply, RequestCx, ResponseCx,
    Slot,
};

use crate::shared::combined::{Asked, AtOnce, ask, hooks, settle, verdict};

pub struct AnyOf {
    alternatives: Vec<Nested>,
    hooks: Hooks,
    /// Which one let the request pass.
    won: Slot<u64>,
}

impl AnyOf {
    pub fn new(alternatives: Vec<Nested>, won: Slot<u64>) -> Self {
        let hooks = hooks(&alternatives);
        Self { alternatives, hooks, won }
    }

    fn winner(&self, exchange: &Exchange, hook: Hooks) -> Option<&Nested> {
        let at = exchange.slots.read(self.won)?;
        self.alternatives.get(at as usize).filter(|winner| winner.policy.hooks().has(hook))
    }

    /// From one that has to wait: it is asked again, and those after it if it refuses.
    async fn on_request_from(
        &self,
        at: usize,
        cx: &mut RequestCx<'_>,
        mut refused: Refused,
    ) -> Option<Reply> {
        for (at, alternative) in self.alternatives.iter().enumerate().skip(at) {
            let before = cx.exchange.checkpoint();
            match settle(ask(alternative, cx, Asked::Head)).await {
                None => {
                    cx.exchange.slots.write(self.won, at as u64);
                    return None;
                }
                Some(reply) => refused.note(reply),
            }
            cx.exchange.roll_back(before);
        }
        refused.0
    }
}

impl Policy for AnyOf {
    fn hooks(&self) -> Hooks {
        self.hooks
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let mut refused = Refused(None);
        for (at, alternative) in self.alternatives.iter().enumerate() {
            let before = cx.exchange.checkpoint();
            let waits = match AtOnce::from(ask(alternative, cx, Asked::Head)) {
                AtOnce::Continues => {
                    cx.exchange.slots.write(self.won, at as u64);
                    return Flow::Continue;
                }
                AtOnce::Answers(reply) => {
                    refused.note(reply);
                    false
                }
                AtOnce::Waits => true,
            };
            cx.exchange.roll_back(before);
            if waits {
                return Flow::Suspend(Box::pin(async move {
                    verdict(self.on_request_from(at, cx, refused).await)
                }));
            }
        }
        refused.0.map_or(Flow::Continue, Flow::Answer)
    }

    fn on_request_body<'a>(&'a self, cx: &'a mut RequestCx<'_>, body: &'a [u8]) -> Flow<'a> {
        match self.winner(cx.exchange, Hooks::REQUEST_BODY) {
            Some(winner) => winner.policy.on_request_body(cx, body),
            None => Flow::Continue,
        }
    }

    fn on_failure<'a>(&'a self, cx: &'a mut FailureCx<'_>) -> Flow<'a> {
        match self.winner(cx.exchange, Hooks::FAILURE) {
            Some(winner) => winner.policy.on_failure(cx),
            None => Flow::Continue,
        }
    }

    fn on_response<'a>(&'a self, cx: &'a mut ResponseCx<'_>) -> Flow<'a> {
        match self.winner(cx.exchange, Hooks::RESPONSE) {
            Some(winner) => winner.policy.on_response(cx),
            None => Flow::Continue,
        }
    }

    fn body_step(&self, cx: &BodyCx<'_>) -> Option<Box<dyn BodyStep>> {
        self.winner(cx.exchange, Hooks::BODY_STEP)?.policy.body_step(cx)
    }

    fn on_end(&self, cx: &EndCx<'_>) {
        if let Some(winner) = self.winner(cx.exchange, Hooks::END) {
            winner.policy.on_end(cx);
        }
    }
}

/// The answer to give if nobody lets the request pass: the first that is more than "who are you?" (401), else the first.
struct Refused(Option<Reply>);

impl Refused {
    fn note(&mut self, reply: Reply) {
        let says_more = |known: &Reply| known.status() == 401 && reply.status() != 401;
        if self.0.as_ref().is_none_or(says_more) {
            self.0 = Some(reply);
        }
    }
}
