//! `redirect`: sends the client elsewhere.
//!
//! What a request holds never chooses the host that a client is sent to: only what is written in the configuration does,
//! and the host that was asked for.

mod location;
mod runtime;
#[cfg(test)]
mod tests;

use narthex_contract::{CompileCx, DestinationKind, Reason};
use narthex_document::Spanned;
use schemars::JsonSchema;
use serde::Deserialize;

/// The kind.
pub struct Redirect;

/// Where to, and how for ever.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The new address: `https://shop.example{path}` or `/new/{path.id}`, with `{variables}` behind the host.
    pub redirect: Spanned<String>,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "permanent")]
    pub status: Spanned<u16>,
    /// Whether the request's query is kept.
    #[serde(default = "kept")]
    pub keep_query: bool,
}

fn permanent() -> Spanned<u16> {
    Spanned::new(308, narthex_document::Span::NONE)
}

fn kept() -> bool {
    true
}

impl DestinationKind for Redirect {
    const NAME: &'static str = "redirect";
    const SUMMARY: &'static str = "Sends the client to another address.";
    const REASONS: &'static [Reason] = &[];
    type Config = Config;
    type Runtime = runtime::Redirect;

    fn compile(config: Config, cx: &mut CompileCx<'_>) -> Option<runtime::Redirect> {
        let status = config.status.value;
        let is_status = matches!(status, 301 | 302 | 303 | 307 | 308);
        if !is_status {
            let message = format!("{status} does not redirect");
            let help = "308 or 301 for ever, 307 or 302 for now, 303 after a form";
            cx.error("invalid_status", config.status.span, message, help);
        }
        let location = location::Location::compile(&config.redirect, cx);
        let (location, keep_query) = (location?, config.keep_query);
        is_status.then_some(runtime::Redirect { status, location, keep_query })
    }
}
