//! `retry.hedge`: when a read that is slow is asked of another instance too. Plain data; the proxy gives it meaning.

use std::borrow::Cow;
use std::num::NonZeroU16;

use narthex_document::{Diagnostic, Node, Span, Spanned, Time, read};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};

/// A request that only reads (GET, HEAD, OPTIONS) and has no body is sent to another instance too, where the head of its answer has
/// not come after a time. The head that comes first is the answer; the other try is cancelled. The retry budget counts, and
/// nothing is sent while the service's circuit is not closed.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hedge {
    /// A time such as `50ms`, or a quantile of the times that answers have taken lately, `p50` to `p99`: nothing is hedged
    /// before a hundred answers are known.
    pub after: Spanned<HedgeAfter>,
    /// Further tries of one request, each after that time again: 1 to 3. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 3))]
    pub max: Spanned<NonZeroU16>,
}

/// After what time another instance is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HedgeAfter {
    /// This one.
    Time(Time),
    /// What so many of a hundred answers stay below: 50 to 99.
    Quantile(u8),
}

fn one() -> Spanned<NonZeroU16> {
    Spanned::new(NonZeroU16::MIN, Span::NONE)
}

/// More only multiplies what a slow service has to do.
const MOST: u16 = 3;

impl Hedge {
    /// What can be seen of it by itself.
    pub(crate) fn check(&self, problems: &mut Vec<Diagnostic>) {
        if matches!(*self.after, HedgeAfter::Time(time) if time.0.is_zero()) {
            let message = "after a time of 0 every request would be sent twice";
            let problem = Diagnostic::error("invalid_value", self.after.span, message);
            problems.push(problem.with_help("write a time that few answers take, such as 50ms, or p95"));
        }
        if self.max.get() > MOST {
            let message = format!("{} further tries at once are too many", self.max.get());
            let problem = Diagnostic::error("invalid_value", self.max.span, message);
            problems.push(problem.with_help(format!("at most {MOST}")));
        }
    }
}

impl<'de> Deserialize<'de> for HedgeAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let Some(percent) = node.as_text().and_then(|text| text.strip_prefix('p')) else {
            return read(&node).map(HedgeAfter::Time);
        };
        let percent = percent.parse().ok().filter(|percent| (50..100).contains(percent));
        percent.map(HedgeAfter::Quantile).ok_or_else(|| {
            D::Error::custom(format_args!(
                "{} is no quantile from p50 to p99\nhelp: write p95, or a time such as 50ms",
                node.describe()
            ))
        })
    }
}

impl JsonSchema for HedgeAfter {
    fn schema_name() -> Cow<'static, str> {
        "HedgeAfter".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let time = generator.subschema_for::<Time>();
        json_schema!({ "description": "A time, or a quantile.", "anyOf": [{ "type": "string", "pattern": "^p[5-9][0-9]$" }, time] })
    }
}
