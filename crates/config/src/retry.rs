//! `retry`: what a failed request is sent once more for, how often, when. Plain data; the proxy gives it meaning.

use crate::hedge::Hedge;
use narthex_document::{ByteSize, Diagnostic, Node, Percent, Span, Spanned, Time, Value};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};
use std::borrow::Cow;
use std::num::NonZeroU16;

/// When a failed request is sent once more, to another instance where there is one. Only requests of an idempotent method or
/// with an `Idempotency-Key`, and any that no instance has begun to process; never after a byte of an answer was passed on.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// What for: `connect`, `refused_stream`, `reset` (no answer on a connection that broke), `timeout`, `gateway_error` (502,
    /// 503, 504), `5xx`, a status from 400 to 599, `grpc:unavailable` and the other gRPC statuses. Default: `connect` and
    /// `refused_stream`.
    pub on: Vec<Spanned<RetryOn>>,
    /// Tries in all, the first included; 1 is none but the first. Default: 3.
    #[schemars(range(min = 1, max = 16))]
    pub tries: Spanned<NonZeroU16>,
    /// The time of one try up to the response's head. Default: only the service's time-outs and the route's deadline count.
    pub per_try: Option<Spanned<Time>>,
    /// The wait before a further try.
    pub backoff: Backoff,
    /// The longest `Retry-After` of an answer that is waited for; an answer that asks for more is passed on. Default: `1s`.
    pub retry_after: Time,
    /// Bytes of a request's body that are kept to be sent again; a request with a longer one is not sent again. Default: `64KiB`.
    pub body: ByteSize,
    /// Another instance is asked too where the head of the answer takes long. Default: never.
    pub hedge: Option<Hedge>,
}

/// The wait before a further try: anything from nothing to `base`, then to 3, 7, 15 times `base`, at most `max` (full jitter).
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Backoff {
    /// Default: `25ms`.
    pub base: Time,
    /// Default: `250ms`.
    pub max: Spanned<Time>,
}

/// How many of a service's requests may be retries at the same time. Requests that no instance has begun to process are not
/// counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryBudget {
    /// A share of the requests in flight. Default: `20%`.
    pub share: Percent,
    /// So many are always allowed. Default: 3.
    pub min: u32,
    /// Never more than so many. Default: no maximum.
    pub max: Option<u32>,
}

impl Default for Retry {
    fn default() -> Self {
        let on = [RetryOn::Connect, RetryOn::RefusedStream];
        Retry {
            on: on.into_iter().map(|on| Spanned::new(on, Span::NONE)).collect(),
            tries: Spanned::new(NonZeroU16::new(3).expect("3 is not 0"), Span::NONE),
            per_try: None,
            backoff: Backoff::default(),
            retry_after: Time::from_secs(1),
            body: ByteSize::kib(64),
            hedge: None,
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { base: Time::from_millis(25), max: Spanned::new(Time::from_millis(250), Span::NONE) }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        RetryBudget { share: Percent::from_hundredths(2_000).expect("20 % is a share"), min: 3, max: None }
    }
}

/// Tries beyond this only make an outage worse.
const MOST_TRIES: u16 = 16;

impl Retry {
    /// What can be seen of it by itself.
    pub(crate) fn check(&self, problems: &mut Vec<Diagnostic>) {
        if self.tries.get() > MOST_TRIES {
            let message = format!("{} tries are too many", self.tries.get());
            let problem = Diagnostic::error("invalid_value", self.tries.span, message);
            problems.push(problem.with_help(format!("at most {MOST_TRIES}: more only make an outage worse")));
        }
        if let Some(per_try) = self.per_try.as_ref().filter(|time| time.0.is_zero()) {
            let problem = Diagnostic::error("invalid_value", per_try.span, "a try of 0 would never succeed");
            problems.push(problem.with_help("write a time such as 2s"));
        }
        if self.backoff.max.0 < self.backoff.base.0 {
            let message = "`backoff.max` is shorter than `backoff.base`";
            problems.push(Diagnostic::error("invalid_value", self.backoff.max.span, message));
        }
        if let Some(hedge) = &self.hedge {
            hedge.check(problems);
        }
    }
}

/// One cause for a further try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// No connection.
    Connect,
    /// HTTP/2 REFUSED_STREAM or GOAWAY: not processed.
    RefusedStream,
    /// The connection ended without an answer.
    Reset,
    /// No answer in the try's time.
    Timeout,
    /// 502, 503, 504.
    GatewayError,
    /// 500 to 599.
    ServerError,
    /// This status, 400 to 599.
    Status(u16),
    /// This gRPC status.
    Grpc(u8),
}

/// The statuses of gRPC by number.
const GRPC: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

const ON_HELP: &str = "write connect, refused_stream, reset, timeout, gateway_error, 5xx, a status from 400 to 599, or \
                       grpc:unavailable";

impl RetryOn {
    fn parse(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix("grpc:") {
            let code = GRPC.iter().position(|known| *known == name).filter(|code| *code > 0)?;
            return Some(RetryOn::Grpc(code as u8));
        }
        Some(match text {
            "connect" => RetryOn::Connect,
            "refused_stream" => RetryOn::RefusedStream,
            "reset" => RetryOn::Reset,
            "timeout" => RetryOn::Timeout,
            "gateway_error" => RetryOn::GatewayError,
            "5xx" => RetryOn::ServerError,
            _ => RetryOn::Status(error_status(text)?),
        })
    }
}

/// A status from 400 to 599.
fn error_status(text: &str) -> Option<u16> {
    text.parse().ok().filter(|status| text.len() == 3 && (400..600).contains(status))
}

/// A status of an answer that is no good: 400 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorStatus(pub u16);

impl<'de> Deserialize<'de> for ErrorStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let status = match &node.value {
            Value::Text(text) | Value::Number(text) => error_status(text),
            _ => None,
        };
        status.map(ErrorStatus).ok_or_else(|| {
            D::Error::custom(format_args!(
                "{} is not a status from 400 to 599\nhelp: write it as in 503",
                node.describe()
            ))
        })
    }
}

impl<'de> Deserialize<'de> for RetryOn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let parsed = match &node.value {
            Value::Text(text) | Value::Number(text) => RetryOn::parse(text),
            _ => None,
        };
        parsed.ok_or_else(|| {
            D::Error::custom(format_args!(
                "{} is no cause for a further try\nhelp: {ON_HELP}",
                node.describe()
            ))
        })
    }
}

impl JsonSchema for RetryOn {
    fn schema_name() -> Cow<'static, str> {
        "RetryOn".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let named =
            ["connect", "refused_stream", "reset", "timeout", "gateway_error", "5xx"].map(str::to_owned);
        let grpc = GRPC[1..].iter().map(|name| format!("grpc:{name}"));
        let names: Vec<_> = named.into_iter().chain(grpc).collect();
        json_schema!({
            "description": "A cause for a further try.",
            "anyOf": [{ "enum": names }, { "type": "integer", "minimum": 400, "maximum": 599 }]
        })
    }
}
