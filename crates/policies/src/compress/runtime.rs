//! Which responses are compressed, and what that changes in their heads (RFC 9110 sections 8.4, 8.8.3, 12.5.3).

use narthex_contract::{BodyCx, BodyStep, Direction, Exchange, Flow, Hooks, Policy, ResponseCx, Slot};
use narthex_wire::{Head, Known, Method, Name, ResponseHead};

use super::encoder::{Coding, Encoding};
use crate::shared::accept_encoding::choose;
use crate::shared::fields::{add_vary, has_member};
use crate::shared::media_type::{Pattern, essence};
use crate::shared::scratch::with_scratch;

const CONTENT_ENCODING: Name = Name::known(Known::ContentEncoding);
const ACCEPT_RANGES: Name = Name::known(Known::AcceptRanges);
const ETAG: Name = Name::known(Known::ETag);
/// Fields that describe the bytes as they were (RFC 9530, and RFC 3230 before it).
pub(super) const DIGESTS: [&str; 4] = ["Content-MD5", "Digest", "Content-Digest", "Repr-Digest"];

pub struct Compress {
    /// The codings' names, in the order of `codings`.
    pub(super) names: Box<[&'static str]>,
    pub(super) codings: Box<[(Coding, i32)]>,
    pub(super) types: Vec<Pattern>,
    pub(super) min_size: u64,
    pub(super) events: bool,
    pub(super) digests: Box<[Name]>,
    /// The coding that the response's head names, as its place in `codings`.
    pub(super) chosen: Slot<u64>,
}

impl Policy for Compress {
    fn hooks(&self) -> Hooks {
        Hooks::RESPONSE.and(Hooks::BODY_STEP)
    }

    fn on_response<'a>(&'a self, cx: &'a mut ResponseCx<'_>) -> Flow<'a> {
        cx.exchange.slots.clear(self.chosen);
        let is_head = cx.exchange.request.method == Method::Head;
        let length = if is_head { cx.response.declared_length } else { cx.length };
        if !self.is_compressible(cx.response, length) {
            return Flow::Continue;
        }
        add_vary(&mut cx.response.head, &["Accept-Encoding"]);
        let Some(at) = choose(&cx.exchange.request.head, &self.names) else { return Flow::Continue };
        if is_head {
            // What GET would give has another length, which nobody knows (RFC 9110 section 8.6).
            cx.response.declared_length = None;
            return Flow::Continue;
        }
        if let Some(name) = self.names.get(at) {
            self.edit(&mut cx.response.head, name);
            cx.exchange.slots.write(self.chosen, at as u64);
        }
        Flow::Continue
    }

    fn body_step(&self, cx: &BodyCx<'_>) -> Option<Box<dyn BodyStep>> {
        if cx.direction != Direction::Response {
            return None;
        }
        let (coding, level) = self.chosen(cx.exchange, cx.response?)?;
        Some(Box::new(Encoding::new(coding, level)))
    }
}

impl Compress {
    /// The coding chosen before, where the head still names it: another policy may have replaced the response since.
    fn chosen(&self, exchange: &Exchange, response: &ResponseHead) -> Option<(Coding, i32)> {
        let at = usize::try_from(exchange.slots.read(self.chosen)?).ok()?;
        let (coding, level) = *self.codings.get(at)?;
        let is_named = response.head.get_known(Known::ContentEncoding) == Some(coding.name().as_bytes());
        is_named.then_some((coding, level))
    }

    fn is_compressible(&self, response: &ResponseHead, length: Option<u64>) -> bool {
        let head = &response.head;
        let has_whole_body = response.status >= 200 && !matches!(response.status, 204 | 205 | 206 | 304);
        has_whole_body
            && response.upgrade().is_none()
            && length.is_none_or(|length| length > 0 && length >= self.min_size)
            && head.get_known(Known::ContentEncoding).is_none()
            && head.get_known(Known::ContentRange).is_none()
            && self.is_listed(head)
            && !has_member(head, Known::CacheControl, "no-transform")
    }

    fn is_listed(&self, head: &Head) -> bool {
        let Some(content_type) = head.get_known(Known::ContentType) else { return false };
        let essence = essence(content_type);
        if essence.eq_ignore_ascii_case(b"text/event-stream") {
            return self.events;
        }
        self.types.iter().any(|pattern| pattern.matches(essence))
    }

    /// What is no longer true of the response, and what now is.
    fn edit(&self, head: &mut Head, coding: &str) {
        let stored = head.append(&CONTENT_ENCODING, coding.as_bytes());
        debug_assert!(stored.is_ok(), "a coding's name is a token");
        head.remove(&ACCEPT_RANGES);
        for digest in &self.digests {
            head.remove(digest);
        }
        with_scratch(|weak| {
            if let Some(strong) = head.get_known(Known::ETag).filter(|tag| tag.starts_with(b"\"")) {
                weak.extend_from_slice(b"W/");
                weak.extend_from_slice(strong);
                let stored = head.set(&ETAG, weak);
                debug_assert!(stored.is_ok(), "a valid value stays one");
            }
        });
    }
}
