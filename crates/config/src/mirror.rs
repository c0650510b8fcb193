//! `mirror` of a route: another service that gets copies of its requests. Plain data; the proxy gives it meaning.

use narthex_document::{Diagnostic, Name, Percent, Span, Spanned, Time};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::bounds::MirrorBounds;
use crate::file::File;
use crate::gateway::{Route, To};

/// Copies of a route's requests for another service, whose answers nobody sees. A copy is what the route's service is sent, marked
/// with `X-Narthex-Mirror: gateway/route`; it is sent once the request's body is there, never twice, and costs the request neither
/// time nor success.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The service that gets the copies, by name.
    pub to: Spanned<Name>,
    /// The share of requests that are copied, by chance. Default: `100%`.
    #[serde(default = "all")]
    pub share: Spanned<Percent>,
    /// The time for a copy, from when it is sent to the end of its answer. Default: `5s`.
    #[serde(default = "timeout")]
    pub timeout: Spanned<Time>,
    /// The bounds.
    #[serde(default)]
    pub bounds: MirrorBounds,
}

fn all() -> Spanned<Percent> {
    Spanned::new(Percent::from_hundredths(10_000).expect("100 % is a share"), Span::NONE)
}

fn timeout() -> Spanned<Time> {
    Spanned::new(Time::from_secs(5), Span::NONE)
}

impl Mirror {
    /// What can be seen without a registry.
    pub(crate) fn check(&self, file: &File, route: &Route, problems: &mut Vec<Diagnostic>) {
        if file.services.get(&self.to).is_none() {
            problems.push(file.services.undefined("service", &self.to, self.to.span));
        }
        if let To::Service(name) = &route.to.value
            && **name == *self.to
        {
            let message = format!("`{name}` is the route's own service: it would get everything twice");
            let problem = Diagnostic::error("conflict", self.to.span, message).with_label(name.span, "here");
            problems.push(problem.with_help("name another service, which may have the same address"));
        }
        if self.share.hundredths() == 0 {
            let problem = Diagnostic::error("invalid_value", self.share.span, "a share of 0% copies nothing");
            problems.push(problem.with_help("write a share such as 10%, or remove `mirror`"));
        }
        if self.timeout.0.is_zero() {
            let message = "a copy with a time of 0 would never be answered";
            let problem = Diagnostic::error("invalid_value", self.timeout.span, message);
            problems.push(problem.with_help("write a time such as 5s"));
        }
    }
}
