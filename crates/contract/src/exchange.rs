//! One request and its response, as policies, destinations, variables and the log see it.
//!
//! Recycled per worker: `reset` keeps every buffer's capacity. Holds no socket.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::sync::Arc;

use narthex_wire::{Address, RequestHead, RequestMark, ResponseHead};
use smallvec::SmallVec;

use crate::{Caller, Detail, Locals, Reason, Slots, Stage, Tls, TraceContext};

/// A point in time on both clocks: `monotonic` for differences, `unix` for people and tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// Nanoseconds since an arbitrary start; never goes back.
    pub monotonic: u64,
    /// Milliseconds since 1970-01-01 UTC.
    pub unix_ms: u64,
}

/// The client's end of the connection.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// Who is at the other end of the socket.
    pub peer: Address,
    /// Which address of ours the peer is connected to.
    pub own: Address,
    /// The peer's connection: a number of its own on the worker that serves it. 0: none.
    pub connection: u64,
    /// Who the client is, `trusted_hops` of `X-Forwarded-For` considered. Of a Unix socket's client: 127.0.0.1.
    pub ip: IpAddr,
    /// The client is the peer, on a Unix socket: it has no address, and `ip` only stands for it.
    pub is_unix: bool,
    pub tls: bool,
}

impl Default for Client {
    fn default() -> Self {
        let ip = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let nowhere = Address::Ip((ip, 0).into());
        Self { peer: nowhere, own: nowhere, connection: 0, ip, is_unix: false, tls: false }
    }
}

/// The names under which a route is known in logs, metrics and variables.
#[derive(Debug, PartialEq, Eq)]
pub struct RouteLabel {
    pub gateway: Arc<str>,
    pub route: Arc<str>,
    /// The path pattern as configured; bounded, unlike the path.
    pub template: Arc<str>,
}

/// The parts of the path that the route's template captured: ranges into [`Exchange::path`].
#[derive(Debug, Default, Clone)]
pub struct Captures {
    names: Option<Arc<[Arc<str>]>>,
    ranges: SmallVec<[Range<u32>; 4]>,
}

impl Captures {
    pub fn clear(&mut self) {
        self.names = None;
        self.ranges.clear();
    }

    /// `names[i]` captured `ranges[i]`.
    pub fn fill(&mut self, names: &Arc<[Arc<str>]>, ranges: impl Iterator<Item = Range<u32>>) {
        self.ranges.clear();
        self.ranges.extend(ranges);
        self.names = (!self.ranges.is_empty()).then(|| Arc::clone(names));
    }

    /// The captured text of `path`, still percent-encoded.
    pub fn raw<'p>(&self, path: &'p str, name: &str) -> Option<&'p str> {
        let index = self.names.as_ref()?.iter().position(|known| &**known == name)?;
        let range = self.ranges.get(index)?;
        path.get(range.start as usize..range.end as usize)
    }
}

/// How a policy judged, in the order of calling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdicted {
    Continued,
    Answered(Option<Reason>),
    /// In shadow: it would have answered.
    WouldAnswer(Option<Reason>),
}

/// One entry of the decision trail.
#[derive(Debug, Clone, Copy)]
pub struct TrailEntry {
    /// The policy's place in its chain.
    pub policy: u16,
    pub stage: Stage,
    pub verdict: Verdicted,
}

/// Who made the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Answered {
    #[default]
    Nobody,
    Service,
    /// A destination or a policy gave a full answer of its own.
    Configured,
    /// A refusal, with its reason.
    Gateway(Reason),
}

/// Points on the monotonic clock, in nanoseconds; 0 where it did not come to that.
#[derive(Debug, Default, Clone, Copy)]
pub struct Timings {
    /// The request was handed to the service's machinery.
    pub service_begun: u64,
    /// A connection was there.
    pub connected: u64,
    /// The response's head was complete.
    pub first_byte: u64,
    /// The last byte from the service.
    pub service_done: u64,
}

/// One request and its response.
#[derive(Default)]
pub struct Exchange {
    pub request: RequestHead,
    /// The normalised path that was matched and authorised (before `strip` and `rewrite`).
    pub path: String,
    /// The host and port that the client asked for, whatever the service is told.
    pub authority: String,
    /// The host of it, without its port.
    pub host: String,
    pub client: Client,
    /// Of the client's connection, where it is encrypted.
    pub tls: Option<Arc<Tls>>,
    pub began: Moment,
    pub request_id: String,
    /// `request_id` is what the client sent as `X-Request-Id`, not 32 random hexadecimal digits of the core's.
    pub request_id_is_given: bool,
    /// A policy took the correlation id over: the core neither sends nor echoes its own.
    pub request_id_is_handled: bool,
    pub trace: TraceContext,
    pub label: Option<Arc<RouteLabel>>,
    /// The version of the API that was found, where the gateway has versions.
    pub api_version: Option<Arc<str>>,
    /// The service asked last, and its instance.
    pub service: Option<Arc<str>>,
    pub instance: Option<Address>,
    pub attempts: u16,
    /// Why a request that failed was not sent once more, where that would have been right otherwise: a word.
    pub not_retried: Option<&'static str>,
    /// What stood in for the destination's answer: `service` or `reply`.
    pub fallback: Option<&'static str>,
    pub captures: Captures,
    pub caller: Option<Arc<Caller>>,
    pub slots: Slots,
    /// What the worker has for the policies of this snapshot: see [`crate::PerCore`].
    pub locals: Locals,
    pub trail: SmallVec<[TrailEntry; 16]>,
    pub timings: Timings,
    pub answered: Answered,
    /// What the operator should read about a refusal.
    pub operator_detail: Option<crate::OperatorText>,
    /// Bytes of bodies: from the client, and to it.
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// See [`Exchange::checkpoint`].
#[derive(Debug, Clone)]
pub struct Checkpoint {
    request: RequestMark,
    caller: Option<Arc<Caller>>,
    request_id: SmallVec<[u8; 128]>,
    request_id_is_handled: bool,
}

impl Exchange {
    /// Ready for the next request; keeps capacities.
    pub fn reset(&mut self) {
        self.request.clear();
        self.path.clear();
        self.authority.clear();
        self.host.clear();
        self.tls = None;
        self.request_id.clear();
        self.request_id_is_given = false;
        self.request_id_is_handled = false;
        self.trace = TraceContext::default();
        self.label = None;
        self.api_version = None;
        self.service = None;
        self.instance = None;
        self.attempts = 0;
        self.not_retried = None;
        self.fallback = None;
        self.captures.clear();
        self.caller = None;
        self.slots.reset(0);
        self.locals = Locals::default();
        self.trail.clear();
        self.timings = Timings::default();
        self.answered = Answered::Nobody;
        self.operator_detail = None;
        self.bytes_in = 0;
        self.bytes_out = 0;
    }

    /// Where the exchange stands, to come back to: all that a policy may edit but its own slots. Allocates nothing.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            request: self.request.mark(),
            caller: self.caller.clone(),
            request_id: SmallVec::from_slice(self.request_id.as_bytes()),
            request_id_is_handled: self.request_id_is_handled,
        }
    }

    /// Undoes every edit since the checkpoint.
    pub fn roll_back(&mut self, checkpoint: Checkpoint) {
        let Checkpoint { request, caller, request_id, request_id_is_handled } = checkpoint;
        self.request.rollback(request);
        self.caller = caller;
        if self.request_id.as_bytes() != request_id.as_slice() {
            self.request_id.clear();
            self.request_id.push_str(std::str::from_utf8(&request_id).expect("it was text"));
        }
        self.request_id_is_handled = request_id_is_handled;
    }

    /// The reason, where the gateway refused.
    pub fn reason(&self) -> Option<Reason> {
        match self.answered {
            Answered::Gateway(reason) => Some(reason),
            _ => None,
        }
    }

    /// `https` where the connection to the client is encrypted.
    pub fn scheme(&self) -> &'static str {
        if self.client.tls { "https" } else { "http" }
    }
}

/// A policy's view of the request.
pub struct RequestCx<'x> {
    pub exchange: &'x mut Exchange,
    /// The whole body is still to come (`false`: there is none).
    pub has_body: bool,
}

/// A policy's view when the destination gave no answer.
pub struct FailureCx<'x> {
    pub exchange: &'x mut Exchange,
    pub reason: Reason,
    pub detail: &'x Detail,
}

/// A policy's view of the response.
pub struct ResponseCx<'x> {
    pub exchange: &'x mut Exchange,
    pub response: &'x mut ResponseHead,
    /// The body's length in bytes where it is known; `None`: streamed.
    pub length: Option<u64>,
}

/// A policy's last view: everything is over.
pub struct EndCx<'x> {
    pub exchange: &'x Exchange,
    /// The status that the client saw; 499 where it went away first.
    pub status: u16,
    /// Nanoseconds from the first byte of the request to now.
    pub duration: u64,
}
