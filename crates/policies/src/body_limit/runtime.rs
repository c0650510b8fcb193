//! The two bounds at work: declared lengths in the hooks, all others in a counting step.

use narthex_contract::{
    BodyCx, BodyStep, Detail, Direction, Flow, Hooks, Input, Output, Policy, Reason, Reply, RequestCx,
    ResponseCx, Step, core,
};
use narthex_wire::Framing;

use super::RESPONSE_TOO_LARGE;

pub struct BodyLimit {
    pub(super) request: u64,
    pub(super) response: Option<u64>,
}

impl Policy for BodyLimit {
    fn hooks(&self) -> Hooks {
        let response = if self.response.is_some() { Hooks::RESPONSE } else { Hooks::NONE };
        Hooks::REQUEST.and(Hooks::BODY_STEP).and(response)
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        match cx.exchange.request.framing {
            Framing::Length(length) if length > self.request => {
                Flow::Answer(refusal(core::BODY_TOO_LARGE, self.request, Some(length)))
            }
            _ => Flow::Continue,
        }
    }

    fn on_response<'a>(&'a self, cx: &'a mut ResponseCx<'_>) -> Flow<'a> {
        match (self.response, cx.length) {
            (Some(max), Some(length)) if length > max => {
                Flow::Answer(refusal(RESPONSE_TOO_LARGE, max, Some(length)))
            }
            _ => Flow::Continue,
        }
    }

    fn body_step(&self, cx: &BodyCx<'_>) -> Option<Box<dyn BodyStep>> {
        let (framing, max, reason) = match cx.direction {
            Direction::Request => (cx.exchange.request.framing, self.request, core::BODY_TOO_LARGE),
            Direction::Response => (cx.response?.framing, self.response?, RESPONSE_TOO_LARGE),
        };
        // A declared length has been judged, and the core holds bodies to it.
        let is_counted = matches!(framing, Framing::Chunked | Framing::UntilClose);
        is_counted.then(|| Box::new(Count { left: max, max, reason }) as Box<dyn BodyStep>)
    }
}

fn refusal(reason: Reason, max: u64, length: Option<u64>) -> Reply {
    let operator = match length {
        Some(length) => format!("body_limit: {length} bytes declared, {max} allowed"),
        None => format!("body_limit: more than the allowed {max} bytes came"),
    };
    Reply::problem_with(reason, Detail::operator(operator))
}

/// Passes bytes on and counts them down.
struct Count {
    left: u64,
    max: u64,
    reason: Reason,
}

impl BodyStep for Count {
    fn step(&mut self, input: &mut Input<'_>, output: &mut Output<'_>) -> Step {
        let bytes = input.remaining();
        if bytes.len() as u64 > self.left {
            return Step::Fail(refusal(self.reason, self.max, None));
        }
        let taken = output.push(bytes);
        input.consume(taken);
        self.left -= taken as u64;
        match (taken == bytes.len(), input.last) {
            (false, _) => Step::OutputFull,
            (true, true) => Step::Done,
            (true, false) => Step::NeedInput,
        }
    }

    fn keeps_length(&self) -> bool {
        true
    }
}
