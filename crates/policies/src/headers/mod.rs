//! `headers`: sets, adds and removes header fields of the request and of the response.
//!
//! Never touches framing or hop-by-hop fields, and never lets a value split a head.

mod runtime;
#[cfg(test)]
mod tests;

use narthex_contract::{CompileCx, PolicyKind, Reason, Stage};
use narthex_document::{OneOrMany, Spanned, Table};
use schemars::JsonSchema;
use serde::Deserialize;

/// The kind.
pub struct Headers;

/// Edits of the two heads; each is done in the order remove, set, add.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Edits of the request, before it goes to the service.
    pub request: Edits,
    /// Edits of the response, before it goes to the client; also of the gateway's own answers.
    pub response: Edits,
}

/// What is done to one head.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Edits {
    /// Names of fields to remove; a name that ends in `*` removes all fields that begin so.
    pub remove: Vec<Spanned<String>>,
    /// Fields to set, whatever was there: name and value, the value with `{variables}`.
    pub set: Table<String, Spanned<String>>,
    /// Fields to add to what is there: name and a value or a list of values, with `{variables}`.
    pub add: Table<String, OneOrMany<Spanned<String>>>,
}

impl PolicyKind for Headers {
    const NAME: &'static str = "headers";
    const SUMMARY: &'static str = "Sets, adds and removes header fields of the request and the response.";
    const STAGES: &'static [Stage] = &[Stage::Transform];
    const REASONS: &'static [Reason] = &[];
    type Config = Config;
    type Runtime = runtime::Headers;

    fn compile(config: Config, cx: &mut CompileCx<'_>) -> Option<runtime::Headers> {
        let request = runtime::Edits::compile(&config.request, cx);
        let response = runtime::Edits::compile(&config.response, cx);
        Some(runtime::Headers { request: request?, response: response? })
    }
}
