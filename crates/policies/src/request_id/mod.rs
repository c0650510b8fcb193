//! `request_id`: the correlation id's header, form and way.
//!
//! The core gives every exchange an id already; this policy takes that over and never leaves one without.

mod runtime;
#[cfg(test)]
mod tests;

use narthex_contract::{CompileCx, PolicyKind, Reason, Stage};
use narthex_document::Spanned;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::shared::value::field_name;

/// The kind.
pub struct RequestId;

/// Where the correlation id stands and what it looks like.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The field that carries the id, in requests and in responses.
    pub header: Spanned<String>,
    /// What a new id looks like.
    pub format: Format,
    /// Whether a client's own id is taken over, where it is 1 to 128 visible ASCII characters.
    pub accept: bool,
    /// Whether the service is told the id.
    pub forward: bool,
    /// Whether the client is told the id.
    pub echo: bool,
}

impl Default for Config {
    fn default() -> Self {
        let header = Spanned::new("X-Request-Id".to_owned(), narthex_document::Span::NONE);
        Self { header, format: Format::Hex, accept: true, forward: true, echo: true }
    }
}

/// What a new id looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `9f0c1f6e-2b7a-4c1d-8e3f-0a1b2c3d4e5f`: a random UUID, version 4.
    Uuid,
    /// `9f0c1f6e2b7a4c1d8e3f0a1b2c3d4e5f`: 128 random bits.
    Hex,
    /// `9f0c1f6e2b7a4c1d-42`: a random prefix that changes with each reload, and a count.
    Counter,
}

impl PolicyKind for RequestId {
    const NAME: &'static str = "request_id";
    const SUMMARY: &'static str = "Sets the correlation id's header, form and way.";
    const STAGES: &'static [Stage] = &[Stage::Admit];
    const REASONS: &'static [Reason] = &[];
    type Config = Config;
    type Runtime = runtime::RequestId;

    fn compile(config: Config, cx: &mut CompileCx<'_>) -> Option<runtime::RequestId> {
        let span = if config.header.span.is_none() { cx.span } else { config.header.span };
        let header = field_name(&config.header, span, cx)?;
        Some(runtime::RequestId::new(header, &config))
    }
}
