//! `compress`: compresses responses as the client likes best.
//!
//! Never touches a response that is encoded, partial, empty or marked `no-transform`, and holds no more of a body than
//! its encoder's window.

mod config;
mod encoder;
mod runtime;
#[cfg(test)]
mod tests;

use narthex_contract::{CompileCx, PolicyKind, Reason, Stage};

pub use config::Config;

/// The kind.
pub struct Compress;

impl PolicyKind for Compress {
    const NAME: &'static str = "compress";
    const SUMMARY: &'static str = "Compresses responses with zstd, brotli or gzip.";
    const STAGES: &'static [Stage] = &[Stage::Transform];
    const REASONS: &'static [Reason] = &[];
    type Config = Config;
    type Runtime = runtime::Compress;

    fn compile(config: Config, cx: &mut CompileCx<'_>) -> Option<runtime::Compress> {
        config::compile(&config, cx)
    }
}
