//! `security_headers`: tells browsers to be careful with the answers, HSTS included.
//!
//! Never refuses a request and never reads one.

mod runtime;
#[cfg(test)]
mod tests;

use narthex_contract::{CompileCx, PolicyKind, Reason, Stage};
use narthex_document::{Spanned, Time};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::shared::value::FieldValue;

/// A year in seconds: what preload lists ask for at least.
const YEAR: u64 = 365 * 24 * 60 * 60;

/// The kind.
pub struct SecurityHeaders;

/// Fields that are set where the answer does not have them already.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `Strict-Transport-Security`, on encrypted connections only (RFC 6797 7.2). `null`: none.
    pub hsts: Option<Spanned<Hsts>>,
    /// Whether `X-Content-Type-Options: nosniff` is set. Default: true.
    pub no_sniff: bool,
    /// `X-Frame-Options`. Default: `deny`.
    pub frames: Frames,
    /// `Referrer-Policy`. Default: `strict-origin-when-cross-origin`.
    pub referrer: Referrer,
    /// `Content-Security-Policy`, with `{variables}`. Default: none.
    pub content_security: Option<Spanned<String>>,
    /// `Permissions-Policy`, with `{variables}`. Default: none.
    pub permissions: Option<Spanned<String>>,
    /// Whether what the service set is replaced. Default: false, the service's own stays.
    pub replace: bool,
}

/// For how long browsers come by https alone.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hsts {
    /// Counted from each answer; `0s` takes it back. Default: `365d`.
    pub max_age: Time,
    /// Whether it holds for every name below the host's. Default: false.
    pub include_subdomains: bool,
    /// Whether browsers may have it built in. Hard to take back. Default: false.
    pub preload: bool,
}

/// Who may show the answer in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Frames {
    /// Nobody.
    Deny,
    /// Pages of the same origin.
    SameOrigin,
    /// The field is not set.
    Any,
}

/// What of the address a browser tells the next site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Referrer {
    NoReferrer,
    SameOrigin,
    Origin,
    StrictOrigin,
    OriginWhenCrossOrigin,
    StrictOriginWhenCrossOrigin,
    NoReferrerWhenDowngrade,
    UnsafeUrl,
    /// The field is not set.
    Any,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hsts: Some(Spanned::default()),
            no_sniff: true,
            frames: Frames::Deny,
            referrer: Referrer::StrictOriginWhenCrossOrigin,
            content_security: None,
            permissions: None,
            replace: false,
        }
    }
}

impl Default for Hsts {
    fn default() -> Self {
        Self { max_age: Time::from_secs(YEAR), include_subdomains: false, preload: false }
    }
}

impl Referrer {
    fn as_str(self) -> Option<&'static str> {
        Some(match self {
            Self::NoReferrer => "no-referrer",
            Self::SameOrigin => "same-origin",
            Self::Origin => "origin",
            Self::StrictOrigin => "strict-origin",
            Self::OriginWhenCrossOrigin => "origin-when-cross-origin",
            Self::StrictOriginWhenCrossOrigin => "strict-origin-when-cross-origin",
            Self::NoReferrerWhenDowngrade => "no-referrer-when-downgrade",
            Self::UnsafeUrl => "unsafe-url",
            Self::Any => return None,
        })
    }
}

impl Hsts {
    fn value(&self, place: narthex_document::Span, cx: &mut CompileCx<'_>) -> Option<String> {
        let seconds = self.max_age.0.as_secs();
        if self.preload && (!self.include_subdomains || seconds < YEAR) {
            cx.error(
                "invalid_value",
                place,
                "lists of preloaded hosts take only those with `include_subdomains: true` and a `max_age` of a year",
                "add both, or remove `preload`: it is hard to take back",
            );
            return None;
        }
        let subdomains = if self.include_subdomains { "; includeSubDomains" } else { "" };
        let preload = if self.preload { "; preload" } else { "" };
        Some(format!("max-age={seconds}{subdomains}{preload}"))
    }
}

impl PolicyKind for SecurityHeaders {
    const NAME: &'static str = "security_headers";
    const SUMMARY: &'static str =
        "Tells browsers to be careful with the answers: HSTS, no sniffing, no frames.";
    const STAGES: &'static [Stage] = &[Stage::Admit, Stage::Transform];
    const REASONS: &'static [Reason] = &[];
    type Config = Config;
    type Runtime = runtime::SecurityHeaders;

    fn compile(config: Config, cx: &mut CompileCx<'_>) -> Option<runtime::SecurityHeaders> {
        let hsts = match &config.hsts {
            Some(hsts) => Some(hsts.value(hsts.span, cx)?),
            None => None,
        };
        let mut given = Vec::new();
        for (name, text) in [
            ("Content-Security-Policy", &config.content_security),
            ("Permissions-Policy", &config.permissions),
        ] {
            let Some(text) = text else { continue };
            given.push((name, FieldValue::compile(text, cx)?));
        }
        let frames = match config.frames {
            Frames::Deny => Some("DENY"),
            Frames::SameOrigin => Some("SAMEORIGIN"),
            Frames::Any => None,
        };
        let fixed = [
            ("X-Content-Type-Options", config.no_sniff.then_some("nosniff")),
            ("X-Frame-Options", frames),
            ("Referrer-Policy", config.referrer.as_str()),
        ];
        let fixed = fixed
            .into_iter()
            .filter_map(|(name, value)| Some((name, FieldValue::Fixed(value?.as_bytes().into()))));
        Some(runtime::SecurityHeaders::new(hsts, fixed.chain(given), config.replace))
    }
}
