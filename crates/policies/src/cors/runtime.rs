//! The two sides of CORS: a preflight is answered here, every other response is marked on its way out.
//!
//! Follows the Fetch standard, section "CORS protocol". Decides on the request side, before another policy may edit
//! `Origin`; a slot carries the decision to the response. Where another policy answered before it was asked, it decides
//! on the response side.

use bytes::Bytes;
use narthex_contract::{Exchange, Flow, Hooks, Policy, Reply, RequestCx, Response, ResponseCx, Slot};
use narthex_wire::{Head, Known, Method, Name};

use super::origin::{Fit, Origins};
use crate::shared::fields::{add_vary, is_token_list};

const ALLOW_ORIGIN: Name = Name::known(Known::AccessControlAllowOrigin);
const ALLOW_CREDENTIALS: Name = Name::known(Known::AccessControlAllowCredentials);
const ALLOW_METHODS: Name = Name::known(Known::AccessControlAllowMethods);
const ALLOW_HEADERS: Name = Name::known(Known::AccessControlAllowHeaders);
const EXPOSE_HEADERS: Name = Name::known(Known::AccessControlExposeHeaders);
const MAX_AGE: Name = Name::known(Known::AccessControlMaxAge);
const REQUEST_PRIVATE_NETWORK: &str = "Access-Control-Request-Private-Network";
/// The fields that end a gRPC call, and the reason where the gateway ended it.
const CALL_FIELDS: &[u8] = b"grpc-status, grpc-message, grpc-status-details-bin, x-narthex-reason";
/// The longest list of requested fields that is sent back.
const ECHOED_BYTES: usize = 4096;
/// In the slot: a pattern allowed the origin, which stands in the other slot. Smaller numbers are exact rules.
const BY_PATTERN: u64 = u64::MAX;
/// In the slot: the origin is not allowed, or there is none.
const REFUSED: u64 = u64::MAX - 1;

pub struct Cors {
    pub(super) origins: Origins,
    pub(super) methods: Listed,
    pub(super) headers: Listed,
    pub(super) expose: Option<Box<[u8]>>,
    pub(super) max_age: Option<Box<[u8]>>,
    pub(super) credentials: bool,
    pub(super) private_network: bool,
    /// The exact rule that the origin fits, `BY_PATTERN` or `REFUSED`.
    pub(super) allowed: Slot<u64>,
    /// The origin that a pattern allowed: the one allocation, and only for patterns. It cannot be read again from the
    /// request when the response is there, because another policy may have removed it.
    pub(super) echoed: Slot<Bytes>,
}

/// What a preflight's answer lists.
#[derive(Debug)]
pub enum Listed {
    /// Always the same.
    Fixed(Box<[u8]>),
    /// What was asked for.
    Echo,
}

impl Policy for Cors {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST.and(Hooks::RESPONSE)
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        self.decide(cx.exchange);
        if is_preflight(cx.exchange) { Flow::Answer(self.preflight(cx.exchange)) } else { Flow::Continue }
    }

    fn on_response<'a>(&'a self, cx: &'a mut ResponseCx<'_>) -> Flow<'a> {
        if cx.exchange.slots.read(self.allowed).is_none() {
            self.decide(cx.exchange);
        }
        let head = &mut cx.response.head;
        head.remove_prefix("Access-Control-");
        let is_allowed = self.with_origin(cx.exchange, |origin| put(head, &ALLOW_ORIGIN, origin)).is_some();
        if is_allowed {
            if self.credentials {
                put(head, &ALLOW_CREDENTIALS, b"true");
            }
            if let Some(expose) = &self.expose {
                put(head, &EXPOSE_HEADERS, expose);
            }
            if head.get_known(Known::GrpcStatus).is_some() {
                // How a call of gRPC-Web ended, where that stands in the head: no page can do without it.
                put(head, &EXPOSE_HEADERS, CALL_FIELDS);
            }
        }
        if matches!(self.origins, Origins::Some(_)) {
            // Also where the origin is not allowed, or absent: the answer would be another for another origin.
            add_vary(head, &["Origin"]);
        }
        Flow::Continue
    }
}

impl Cors {
    fn decide(&self, exchange: &mut Exchange) {
        let Origins::Some(rules) = &self.origins else { return };
        let origin = single(&exchange.request.head, Known::Origin);
        match origin.and_then(|origin| rules.find(origin)) {
            None => exchange.slots.write(self.allowed, REFUSED),
            Some(Fit::Exact(at)) => exchange.slots.write(self.allowed, at as u64),
            Some(Fit::Pattern) => {
                let origin = origin.map(Bytes::copy_from_slice).unwrap_or_default();
                exchange.slots.write(self.allowed, BY_PATTERN);
                exchange.slots.write(self.echoed, origin);
            }
        }
    }

    /// Runs `work` with the value of `Access-Control-Allow-Origin`; `None`: the origin is not allowed.
    fn with_origin<R>(&self, exchange: &Exchange, work: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let rules = match &self.origins {
            Origins::Any => return Some(work(b"*")),
            Origins::Some(rules) => rules,
        };
        match exchange.slots.read(self.allowed)? {
            REFUSED => None,
            BY_PATTERN => exchange.slots.read(self.echoed).map(|origin| work(&origin)),
            at => rules.exact(usize::try_from(at).ok()?).map(work),
        }
    }

    /// 204, with what is allowed; without any of it where the origin is not.
    fn preflight(&self, exchange: &Exchange) -> Reply {
        let mut response = Response::new(204, Bytes::new());
        let head = &mut response.head.head;
        let request = &exchange.request.head;
        let is_allowed = self.with_origin(exchange, |origin| put(head, &ALLOW_ORIGIN, origin)).is_some();
        if is_allowed {
            self.list_allowed(request, head);
        }
        if matches!(self.origins, Origins::Some(_)) {
            add_vary(head, &["Origin"]);
        }
        add_vary(head, &["Access-Control-Request-Method", "Access-Control-Request-Headers"]);
        if self.private_network {
            add_vary(head, &[REQUEST_PRIVATE_NETWORK]);
        }
        Reply::Response(Box::new(response))
    }

    fn list_allowed(&self, request: &Head, head: &mut Head) {
        if self.credentials {
            put(head, &ALLOW_CREDENTIALS, b"true");
        }
        self.methods.put(head, &ALLOW_METHODS, request, Known::AccessControlRequestMethod);
        self.headers.put(head, &ALLOW_HEADERS, request, Known::AccessControlRequestHeaders);
        if let Some(max_age) = &self.max_age {
            put(head, &MAX_AGE, max_age);
        }
        if self.private_network && request.get_str(REQUEST_PRIVATE_NETWORK) == Some(b"true") {
            let stored = head.append_raw(b"Access-Control-Allow-Private-Network", b"true");
            debug_assert!(stored.is_ok(), "a fixed field is valid");
        }
    }
}

impl Listed {
    fn put(&self, head: &mut Head, name: &Name, request: &Head, asked: Known) {
        match self {
            Self::Fixed(text) if text.is_empty() => {}
            Self::Fixed(text) => put(head, name, text),
            Self::Echo => {
                let asked = single(request, asked);
                let is_sound =
                    |value: &&[u8]| !value.is_empty() && value.len() <= ECHOED_BYTES && is_token_list(value);
                if let Some(value) = asked.filter(is_sound) {
                    put(head, name, value);
                }
            }
        }
    }
}

/// The Fetch standard's CORS-preflight request: all three, else it is an ordinary `OPTIONS`.
fn is_preflight(exchange: &Exchange) -> bool {
    let head = &exchange.request.head;
    exchange.request.method == Method::Options
        && head.get_known(Known::Origin).is_some()
        && head.get_known(Known::AccessControlRequestMethod).is_some()
}

/// The value of a field that is there exactly once; of a repeated one, no reading is safe.
fn single(head: &Head, known: Known) -> Option<&[u8]> {
    let mut values = head.all_known(known);
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// Values are configured text that was checked, or came from a head.
fn put(head: &mut Head, name: &Name, value: &[u8]) {
    let stored = head.append(name, value);
    debug_assert!(stored.is_ok(), "checked at compile, or taken from a head");
}
