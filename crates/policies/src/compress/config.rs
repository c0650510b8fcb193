//! What a user writes for `compress`, and how it is checked.

use narthex_contract::CompileCx;
use narthex_document::{ByteSize, Spanned};
use narthex_wire::Name;
use schemars::JsonSchema;
use serde::Deserialize;

use super::encoder::Coding;
use super::runtime::{Compress, DIGESTS};
use crate::shared::media_type::Pattern;

/// Which responses are compressed, and how.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The codings on offer, the preferred one first; a client's own preference goes before this order.
    pub codings: Spanned<Vec<Coding>>,
    /// Media types that are compressed: exact, `text/*` or `application/*+json`. Replaces the default list.
    pub types: Option<Vec<Spanned<String>>>,
    /// A response of less is left as it is, where its length is known.
    pub min_size: ByteSize,
    /// How hard each coding tries.
    pub level: Level,
    /// Whether server-sent events (`text/event-stream`) are compressed too; each event is flushed.
    pub events: bool,
}

/// How hard each coding tries: higher is smaller and slower.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Level {
    /// 1 to 9.
    pub gzip: Spanned<i64>,
    /// 2 to 11: the levels below cannot hold small pieces back.
    pub br: Spanned<i64>,
    /// 1 to 19.
    pub zstd: Spanned<i64>,
}

impl Default for Config {
    fn default() -> Self {
        let codings =
            Spanned::new(vec![Coding::Zstd, Coding::Br, Coding::Gzip], narthex_document::Span::NONE);
        Self { codings, types: None, min_size: ByteSize::kib(1), level: Level::default(), events: false }
    }
}

impl Default for Level {
    fn default() -> Self {
        let plain = |level| Spanned::new(level, narthex_document::Span::NONE);
        Self { gzip: plain(5), br: plain(4), zstd: plain(3) }
    }
}

/// Text that compresses well, as services send it.
const TYPES: &[&str] = &[
    "text/*",
    "application/json",
    "application/*+json",
    "application/javascript",
    "application/x-javascript",
    "application/xml",
    "application/*+xml",
    "application/x-ndjson",
    "application/yaml",
    "application/toml",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/otf",
    "font/ttf",
    "image/svg+xml",
    "image/x-icon",
];

/// Checks everything before it gives up.
pub fn compile(config: &Config, cx: &mut CompileCx<'_>) -> Option<Compress> {
    let mut is_valid = check_codings(&config.codings, cx);
    let level = &config.level;
    for (coding, level, low, high) in
        [("gzip", &level.gzip, 1, 9), ("br", &level.br, 2, 11), ("zstd", &level.zstd, 1, 19)]
    {
        if !(low..=high).contains(&level.value) {
            let message = format!("{coding} has no level {}", level.value);
            cx.error("invalid_level", level.span, message, format!("write a number from {low} to {high}"));
            is_valid = false;
        }
    }
    let types = match &config.types {
        None => TYPES.iter().filter_map(|text| Pattern::parse(text)).collect(),
        Some(texts) => {
            let read: Vec<_> = texts.iter().filter_map(|text| media_type(text, cx)).collect();
            is_valid &= read.len() == texts.len();
            read
        }
    };
    is_valid.then(|| Compress {
        names: config.codings.iter().map(|coding| coding.name()).collect(),
        codings: config.codings.iter().map(|coding| (*coding, level_of(*coding, level))).collect(),
        types,
        min_size: config.min_size.get(),
        events: config.events,
        digests: DIGESTS.iter().filter_map(|name| Name::parse(name).ok()).collect(),
        chosen: cx.slot(),
    })
}

fn level_of(coding: Coding, level: &Level) -> i32 {
    let level = match coding {
        Coding::Gzip => level.gzip.value,
        Coding::Br => level.br.value,
        Coding::Zstd => level.zstd.value,
    };
    i32::try_from(level).unwrap_or(1)
}

fn check_codings(codings: &Spanned<Vec<Coding>>, cx: &mut CompileCx<'_>) -> bool {
    let repeated = codings
        .iter()
        .enumerate()
        .any(|(at, coding)| codings.iter().skip(at + 1).any(|later| later == coding));
    let (message, help) = match (codings.is_empty(), repeated) {
        (true, _) => ("`codings` is empty: nothing would be compressed", "name at least one: zstd, br, gzip"),
        (_, true) => ("`codings` names one twice", "name each once, the preferred one first"),
        _ => return true,
    };
    cx.error("invalid_codings", codings.span, message, help);
    false
}

fn media_type(text: &Spanned<String>, cx: &mut CompileCx<'_>) -> Option<Pattern> {
    let pattern = Pattern::parse(text);
    if pattern.is_none() {
        cx.error(
            "invalid_media_type",
            text.span,
            format!("`{}` is not a media type", text.escape_debug()),
            "write a type without parameters, as in application/json, text/* or application/*+json",
        );
    }
    pattern
}
