//! What changes in the heads: the content types of both messages, `TE: trailers`, and answers that are no gRPC.

use narthex_contract::{
    BodyCx, BodyStep, Detail, Direction, Exchange, Flow, Hooks, Policy, Reply, RequestCx, ResponseCx, Slot,
    grpc,
};
use narthex_wire::{Head, Known, Name};

use super::NOT_GRPC;
use super::steps::{Decode, Encode};
use crate::shared::fields::members;
use crate::shared::media_type::essence;

const CONTENT_TYPE: Name = Name::known(Known::ContentType);
const ACCEPT: Name = Name::known(Known::Accept);
const GRPC: &[u8] = b"application/grpc";
const WEB: &[u8] = b"application/grpc-web";
const TEXT: &[u8] = b"application/grpc-web-text";
/// In the slot: the request's body is text, the answer's shall be.
const ASKED_IN_TEXT: u64 = 1;
const ANSWER_IN_TEXT: u64 = 2;

pub struct GrpcWeb {
    /// The forms of both bodies; unset: this is no gRPC-Web call.
    pub(super) form: Slot<u64>,
}

impl Policy for GrpcWeb {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST.and(Hooks::RESPONSE).and(Hooks::BODY_STEP)
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let request = &mut cx.exchange.request;
        if !grpc::is_call(request) {
            return Flow::Continue;
        }
        let content_type = request.head.get_known(Known::ContentType).unwrap_or_default();
        let Some((is_text, suffix)) = web(content_type) else { return Flow::Continue };
        let accepted = accepted(&request.head).unwrap_or(is_text);
        let plain = [GRPC, suffix].concat();
        put(&mut request.head, &CONTENT_TYPE, &plain);
        // Both speak of a protocol that the service does not see.
        request.head.remove(&ACCEPT);
        request.head.remove(&Name::parse("X-Grpc-Web").expect("it is a token"));
        request.te_trailers = true;
        let form = u64::from(is_text) * ASKED_IN_TEXT + u64::from(accepted) * ANSWER_IN_TEXT;
        cx.exchange.slots.write(self.form, form);
        Flow::Continue
    }

    fn on_response<'a>(&'a self, cx: &'a mut ResponseCx<'_>) -> Flow<'a> {
        let Some(form) = cx.exchange.slots.read(self.form) else { return Flow::Continue };
        let content_type = cx.response.head.get_known(Known::ContentType).unwrap_or_default();
        let suffix = grpc::content_type(&cx.response.head)
            .filter(|found| cx.response.status == 200 && web(found).is_none())
            .and_then(|found| found.get(GRPC.len()..));
        let Some(suffix) = suffix else {
            let suffix =
                grpc::content_type(&cx.exchange.request.head).and_then(|asked| asked.get(GRPC.len()..));
            return Flow::Answer(no_call(cx.response.status, content_type, form, suffix.unwrap_or_default()));
        };
        let answered = named(form, suffix);
        put(&mut cx.response.head, &CONTENT_TYPE, &answered);
        Flow::Continue
    }

    fn body_step(&self, cx: &BodyCx<'_>) -> Option<Box<dyn BodyStep>> {
        let form = self.form_of(cx.exchange)?;
        if cx.direction == Direction::Request {
            let is_text = form & ASKED_IN_TEXT != 0;
            return is_text.then(|| Box::new(Decode::default()) as Box<dyn BodyStep>);
        }
        let head = &cx.response?.head;
        // An answer without messages has its status in the head, and another policy may have answered since.
        let has_frames = head.get_known(Known::GrpcStatus).is_none()
            && head.get_known(Known::ContentType).is_some_and(|value| web(value).is_some());
        has_frames.then(|| Box::new(Encode::new(form & ANSWER_IN_TEXT != 0)) as Box<dyn BodyStep>)
    }
}

impl GrpcWeb {
    fn form_of(&self, exchange: &Exchange) -> Option<u64> {
        exchange.slots.read(self.form)
    }
}

/// Of gRPC-Web: whether it is text, and what follows the type (`+proto`).
fn web(content_type: &[u8]) -> Option<(bool, &[u8])> {
    let after = |start: &[u8]| {
        let (head, rest) = content_type.split_at_checked(start.len())?;
        let is_over = matches!(rest.first(), None | Some(b'+' | b';' | b' '));
        (head.eq_ignore_ascii_case(start) && is_over).then_some(rest)
    };
    after(TEXT).map(|rest| (true, rest)).or_else(|| after(WEB).map(|rest| (false, rest)))
}

/// Whether the client wants text, where `Accept` names a form of gRPC-Web.
fn accepted(head: &Head) -> Option<bool> {
    members(head, Known::Accept).find_map(|member| web(essence(member))).map(|(is_text, _)| is_text)
}

fn named(form: u64, suffix: &[u8]) -> Vec<u8> {
    [if form & ANSWER_IN_TEXT != 0 { TEXT } else { WEB }, suffix].concat()
}

/// What answered is no gRPC: the call ends with what its status means.
fn no_call(status: u16, content_type: &[u8], form: u64, suffix: &[u8]) -> Reply {
    let said = String::from_utf8_lossy(content_type);
    let mut detail = Detail::operator(format!("the answer is {status} with content type `{said}`"))
        .field(CONTENT_TYPE, named(form, suffix));
    if !(200..300).contains(&status) {
        detail = detail.field(grpc::STATUS, grpc::status_of(status).to_string());
    }
    Reply::problem_with(NOT_GRPC, detail)
}

fn put(head: &mut Head, name: &Name, value: &[u8]) {
    let stored = head.set(name, value);
    debug_assert!(stored.is_ok(), "a valid media type with another beginning stays one");
}
