//! `cors`: answers preflights and marks responses, as the Fetch standard has browsers read them.
//!
//! Never sends `*` with credentials, and never lets the service's own `Access-Control-*` fields through.

mod config;
mod origin;
mod runtime;
#[cfg(test)]
mod tests;

use narthex_contract::{CompileCx, PolicyKind, Reason, Stage};

pub use config::Config;

/// The kind.
pub struct Cors;

impl PolicyKind for Cors {
    const NAME: &'static str = "cors";
    const SUMMARY: &'static str = "Lets web pages of other origins call the API, as the Fetch standard asks.";
    const STAGES: &'static [Stage] = &[Stage::Cors];
    const REASONS: &'static [Reason] = &[];
    type Config = Config;
    type Runtime = runtime::Cors;

    fn compile(config: Config, cx: &mut CompileCx<'_>) -> Option<runtime::Cors> {
        config::compile(&config, cx)
    }
}
