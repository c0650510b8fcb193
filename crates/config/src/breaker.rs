//! `breaker`: when a service is not asked for a while, and how it comes back. Plain data; the proxy gives it meaning.

use narthex_document::{Diagnostic, Percent, Span, Spanned, Time};
use schemars::JsonSchema;
use serde::Deserialize;
use std::num::NonZeroU32;

/// A circuit breaker: while the service does badly it is not asked, and its callers get 503 `circuit_open` with `Retry-After`.
/// Bad are answers of 500 and more (and the gRPC statuses that stand for such), and tries without an answer; answers of 4xx
/// and clients that leave say nothing. All workers share one state, which outlives reloads.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// It opens when this share of the window's tries was bad. Default: `50%`.
    pub errors: Spanned<Percent>,
    /// It opens after so many bad tries in a row, whatever the window holds. Default: none.
    #[schemars(range(min = 1))]
    pub consecutive: Option<NonZeroU32>,
    /// It opens when a quantile of the time to the answer's head is above a bound. Default: none.
    pub latency: Option<Latency>,
    /// The time over which tries are counted. Default: `10s`.
    pub window: Spanned<Time>,
    /// Fewer tries in the window say nothing about a share or a quantile. Default: 20.
    #[schemars(range(min = 1))]
    pub samples: NonZeroU32,
    /// How long it stays open the first time; each further time twice as long. Default: `5s`.
    pub open: Spanned<Time>,
    /// The longest that it stays open. Default: `5m`.
    pub open_max: Spanned<Time>,
    /// Half open it lets so many requests try the service; when all do well it rises, when one does not it opens again.
    /// Default: 3.
    #[schemars(range(min = 1))]
    pub trials: NonZeroU32,
    /// The time in which a growing share of the requests is let through again. Default: `10s`; `0` is all at once.
    pub ramp: Time,
}

/// A bound for a quantile of the time to the head of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// `50%` is the median. Default: `50%`.
    #[serde(default = "median")]
    pub quantile: Percent,
    /// The bound.
    pub above: Time,
}

const fn percent(hundredths: u16) -> Percent {
    Percent::from_hundredths(hundredths).expect("the defaults are shares")
}

fn median() -> Percent {
    percent(5_000)
}

const fn count(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).expect("the defaults are not 0")
}

impl Default for Breaker {
    fn default() -> Self {
        let seconds = |seconds| Spanned::new(Time::from_secs(seconds), Span::NONE);
        Breaker {
            errors: Spanned::new(percent(5_000), Span::NONE),
            consecutive: None,
            latency: None,
            window: seconds(10),
            samples: count(20),
            open: seconds(5),
            open_max: seconds(300),
            trials: count(3),
            ramp: Time::from_secs(10),
        }
    }
}

impl Breaker {
    /// What can be seen of it by itself.
    pub(crate) fn check(&self, problems: &mut Vec<Diagnostic>) {
        let mut wrong = |span, message: &str, help: &str| {
            problems.push(Diagnostic::error("invalid_value", span, message.to_owned()).with_help(help));
        };
        if self.errors.hundredths() == 0 {
            let help = "write a share such as 50%; 100% leaves only a service that never answers well";
            wrong(self.errors.span, "`errors: 0%` would open the circuit at the first answer", help);
        }
        if self.window.0.is_zero() {
            wrong(self.window.span, "a window of 0 holds nothing", "write a time such as 10s");
        }
        if self.open.0.is_zero() {
            wrong(self.open.span, "a circuit that is open for 0 never opens", "write a time such as 5s");
        }
        if self.open_max.0 < self.open.0 {
            wrong(
                self.open_max.span,
                "`open_max` is shorter than `open`",
                "write at least the time of `open`",
            );
        }
    }
}
