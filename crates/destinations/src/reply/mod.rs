//! `reply`: a fixed answer, with variables where they are wanted.
//!
//! Asks no service.

mod json;
mod runtime;
#[cfg(test)]
mod tests;

use narthex_contract::{CompileCx, DestinationKind, Reason, Response};
use narthex_document::{Diagnostic, Node, Spanned, Table, from_node};
use schemars::JsonSchema;
use serde::Deserialize;

/// The kind.
pub struct Reply;

/// The whole map of `to`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The answer.
    pub reply: Settings,
}

/// The answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The status, 200 to 599.
    pub status: Spanned<u16>,
    /// Fields of the answer, with `{variables}`.
    pub headers: Table<String, Spanned<String>>,
    /// Text, with `{variables}`; `text/plain` where `headers` says nothing else.
    pub body: Option<Spanned<String>>,
    /// Any value, sent as JSON; its texts may hold `{variables}`. Not together with `body`.
    pub json: Option<Node>,
}

impl Default for Settings {
    fn default() -> Self {
        let status = Spanned::new(200, narthex_document::Span::NONE);
        Self { status, headers: Table::default(), body: None, json: None }
    }
}

impl DestinationKind for Reply {
    const NAME: &'static str = "reply";
    const SUMMARY: &'static str = "Answers by itself, with a fixed text, JSON or a template.";
    const REASONS: &'static [Reason] = &[];
    type Config = Config;
    type Runtime = runtime::Reply;

    fn compile(config: Config, cx: &mut CompileCx<'_>) -> Option<runtime::Reply> {
        runtime::Reply::compile(&config.reply, cx)
    }
}

/// An answer that needs no exchange: the `reply` step of a route's `fallback`. `settings` is the value of its `reply` key.
///
/// `None` exactly when an error was pushed; a variable is one, because a fallback must not depend on the request.
pub fn fixed_reply(
    settings: &Node,
    cx: &mut CompileCx<'_>,
) -> Option<Box<dyn Fn() -> Response + Send + Sync>> {
    let mut problems: Vec<Diagnostic> = Vec::new();
    let read: Option<Settings> = from_node(settings, &mut problems);
    problems.into_iter().for_each(|problem| cx.push(problem));
    let reply = runtime::Reply::compile(&read?, cx)?;
    if !reply.is_fixed() {
        cx.error(
            "variable_in_fallback",
            settings.span,
            "a fallback's reply has no variables",
            "write fixed text; a brace itself is written `{{` or `}}`",
        );
        return None;
    }
    // An exchange belongs to its worker, a compiled step to all: an empty one is made where it is needed.
    Some(Box::new(move || reply.response(&narthex_contract::Exchange::default())))
}
