//! `body_limit`: bounds the size of bodies, by their declared length at once and by counting as they stream.
//!
//! Never buffers: a body that grows too large is refused at the byte that makes it so.

mod runtime;
#[cfg(test)]
mod tests;

use narthex_contract::{CompileCx, PolicyKind, Reason, Stage};
use narthex_document::ByteSize;
use schemars::JsonSchema;
use serde::Deserialize;

narthex_contract::reasons! {
    RESPONSE_TOO_LARGE = "response_too_large" 502 Service "The service's answer is too large.",
        means "The response's body is larger than the `response` of a `body_limit`. Where its length was not declared, the response had begun and was cut.",
        do "Ask the service for less (paging), or raise `response`.";
}

/// The kind.
pub struct BodyLimit;

/// The bounds of the two bodies.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The largest body of a request, in bytes as sent.
    pub max: ByteSize,
    /// The largest body of a response, in bytes as the service sends them.
    pub response: Option<ByteSize>,
}

impl Default for Config {
    fn default() -> Self {
        Self { max: ByteSize::mib(1), response: None }
    }
}

impl PolicyKind for BodyLimit {
    const NAME: &'static str = "body_limit";
    const SUMMARY: &'static str = "Bounds the size of request and response bodies.";
    const STAGES: &'static [Stage] = &[Stage::Inspect];
    const REASONS: &'static [Reason] = REASONS;
    type Config = Config;
    type Runtime = runtime::BodyLimit;

    fn compile(config: Config, _: &mut CompileCx<'_>) -> Option<runtime::BodyLimit> {
        Some(runtime::BodyLimit { request: config.max.get(), response: config.response.map(ByteSize::get) })
    }
}
