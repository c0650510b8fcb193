//! What a user writes for `cors`, and how it is checked: every text that will be sent is made here, once.

use narthex_contract::CompileCx;
use narthex_document::{OneOrMany, Spanned, Time};
use narthex_wire::{Method, Name};
use schemars::JsonSchema;
use serde::Deserialize;

use super::origin::{OriginRule, Origins};
use super::runtime::{Cors, Listed};

/// Who may call from a web page, and how.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Origins that may call: `https://shop.example`, `https://*.shop.example`, `{ regex: … }`, `null`, or `*` for all.
    pub origins: OneOrMany<OriginRule>,
    /// Methods that pages may use; `*` for all.
    #[serde(default = "default_methods")]
    pub methods: OneOrMany<Spanned<String>>,
    /// Request fields that pages may set; `*` for all.
    #[serde(default = "default_headers")]
    pub headers: OneOrMany<Spanned<String>>,
    /// Response fields that pages may read, beside those that every page may; `*` for all.
    #[serde(default)]
    pub expose: OneOrMany<Spanned<String>>,
    /// How long a browser may remember a preflight's answer. Browsers assume 5s where nothing is said.
    pub max_age: Option<Time>,
    /// Whether pages may send cookies and credentials. Not with the origin `*`.
    #[serde(default)]
    pub credentials: bool,
    /// Whether public pages may call although this gateway is in a private network.
    #[serde(default)]
    pub private_network: bool,
}

fn default_methods() -> OneOrMany<Spanned<String>> {
    plain(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
}

fn default_headers() -> OneOrMany<Spanned<String>> {
    plain(&["Authorization", "Content-Type"])
}

fn plain(texts: &[&str]) -> OneOrMany<Spanned<String>> {
    let spanned = |text: &&str| Spanned::new((*text).to_owned(), narthex_document::Span::NONE);
    OneOrMany(texts.iter().map(spanned).collect())
}

/// Checks everything before it gives up.
pub fn compile(config: &Config, cx: &mut CompileCx<'_>) -> Option<Cors> {
    let origins = Origins::compile(&config.origins.0, config.credentials, cx);
    let methods = listed(&config.methods.0, config.credentials, cx, check_method);
    let headers = listed(&config.headers.0, config.credentials, cx, check_name);
    let expose = listed(&config.expose.0, false, cx, check_name);
    let expose = expose.map(|listed| match listed {
        Listed::Fixed(text) if text.is_empty() => None,
        Listed::Fixed(text) => Some(text),
        Listed::Echo => None,
    });
    if let (true, Some(star)) = (config.credentials, config.expose.0.iter().find(|name| name.value == "*")) {
        cx.error(
            "cors_star_with_credentials",
            star.span,
            "browsers take `*` in `expose` for a name where credentials are sent",
            "name the fields that pages may read",
        );
        return None;
    }
    Some(Cors {
        origins: origins?,
        methods: methods?,
        headers: headers?,
        expose: expose?,
        max_age: config.max_age.map(|age| age.get().as_secs().to_string().into_bytes().into()),
        credentials: config.credentials,
        private_network: config.private_network,
        allowed: cx.slot(),
        echoed: cx.slot(),
    })
}

/// A list that is sent as it is; or, because `*` means nothing with credentials, what the page asked for.
fn listed(
    texts: &[Spanned<String>],
    credentials: bool,
    cx: &mut CompileCx<'_>,
    check: fn(&Spanned<String>, &mut CompileCx<'_>) -> bool,
) -> Option<Listed> {
    let faulty = texts.iter().filter(|text| text.value != "*" && !check(text, cx)).count();
    if faulty > 0 {
        return None;
    }
    if credentials && texts.iter().any(|text| text.value == "*") {
        return Some(Listed::Echo);
    }
    let names: Vec<&str> = texts.iter().map(|text| text.value.as_str()).collect();
    Some(Listed::Fixed(names.join(", ").into_bytes().into()))
}

fn check_method(text: &Spanned<String>, cx: &mut CompileCx<'_>) -> bool {
    let upper = text.to_ascii_uppercase();
    let is_known = |method: &Method| !matches!(method, Method::Other(_));
    let help = match Method::from_bytes(text.as_bytes()) {
        None => "a method is a word such as GET".to_owned(),
        // Methods are case-sensitive, and browsers write these in capitals.
        Some(Method::Other(_))
            if Method::from_bytes(upper.as_bytes()).is_some_and(|found| is_known(&found)) =>
        {
            format!("write {upper}")
        }
        Some(_) => return true,
    };
    cx.error("invalid_method", text.span, format!("`{}` is not a method", text.escape_debug()), help);
    false
}

fn check_name(text: &Spanned<String>, cx: &mut CompileCx<'_>) -> bool {
    if Name::parse(text).is_ok() {
        return true;
    }
    cx.error(
        "invalid_field_name",
        text.span,
        format!("`{}` is not a header field's name", text.escape_debug()),
        "a name is one or more letters, digits or !#$%&'*+-.^_`|~, as in X-Request-Id",
    );
    false
}
