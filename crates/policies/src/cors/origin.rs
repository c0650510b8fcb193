//! Origins: how they are written, and which one a request's `Origin` is.
//!
//! Compares the serialised origin as browsers send it (RFC 6454 section 6.2): lower case, no default port, no path.

use std::borrow::Cow;

use narthex_contract::CompileCx;
use narthex_document::{Node, Span, Spanned, Value, read};
use regex::bytes::{Regex, RegexBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// Bytes that a compiled expression may take.
const REGEX_BYTES: usize = 1 << 20;

/// One entry of `origins`.
#[derive(Debug, Clone)]
pub enum OriginRule {
    /// `https://shop.example`, `https://*.shop.example`, `null` or `*`.
    Text(Spanned<String>),
    /// `{ regex: … }`, matched against the whole origin.
    Regex(Spanned<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegexMap {
    regex: Spanned<String>,
}

impl<'de> Deserialize<'de> for OriginRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        match &node.value {
            Value::Map(_) => read::<RegexMap, D::Error>(&node).map(|map| Self::Regex(map.regex)),
            _ => read(&node).map(Self::Text),
        }
    }
}

impl JsonSchema for OriginRule {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "OriginRule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string" },
            { "type": "object", "required": ["regex"], "additionalProperties": false, "properties": {
                "regex": { "type": "string", "description": "A regular expression that the whole origin must match." }
            } }
        ] })
    }
}

/// The compiled rules.
#[derive(Debug)]
pub enum Origins {
    /// `*` without credentials: the same answer for everybody.
    Any,
    Some(Rules),
}

/// Rules other than `*`.
#[derive(Debug, Default)]
pub struct Rules {
    exact: Vec<Box<[u8]>>,
    wildcards: Vec<Wildcard>,
    expressions: Vec<Regex>,
}

/// `https://*.shop.example:8443`, split at its `*`.
#[derive(Debug)]
struct Wildcard {
    /// `https://`
    before: Box<str>,
    /// `.shop.example:8443`
    after: Box<str>,
}

/// Which rule an origin fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// The exact one of this number.
    Exact(usize),
    /// A wildcard or an expression.
    Pattern,
}

impl Origins {
    pub fn compile(rules: &[OriginRule], credentials: bool, cx: &mut CompileCx<'_>) -> Option<Self> {
        if rules.is_empty() {
            let help = "name at least one, as in `origins: [\"https://shop.example\"]`";
            cx.error("no_origins", cx.span, "`origins` is empty: no page could call", help);
            return None;
        }
        let star = rules.iter().find_map(|rule| match rule {
            OriginRule::Text(text) if text.value == "*" => Some(text.span),
            _ => None,
        });
        if let Some(span) = star {
            return any(rules, credentials, span, cx);
        }
        let mut compiled = Rules::default();
        let is_valid = rules.iter().fold(true, |valid, rule| compiled.add(rule, credentials, cx) && valid);
        is_valid.then_some(Self::Some(compiled))
    }
}

fn any(rules: &[OriginRule], credentials: bool, span: Span, cx: &mut CompileCx<'_>) -> Option<Origins> {
    if credentials {
        cx.error(
            "cors_star_with_credentials",
            span,
            "the origin `*` with `credentials: true` would let every page act as its visitor",
            "name the origins, or leave `credentials` out",
        );
        return None;
    }
    if rules.len() > 1 {
        let help = "leave the others out, or leave `*` out";
        cx.error("redundant_origins", span, "`*` is every origin: the others have no effect", help);
        return None;
    }
    Some(Origins::Any)
}

impl Rules {
    /// Which rule the origin fits.
    pub fn find(&self, origin: &[u8]) -> Option<Fit> {
        if let Some(at) = self.exact.iter().position(|exact| **exact == *origin) {
            return Some(Fit::Exact(at));
        }
        let fits = self.wildcards.iter().any(|wildcard| wildcard.matches(origin))
            || self.expressions.iter().any(|expression| expression.is_match(origin));
        fits.then_some(Fit::Pattern)
    }

    /// The text of an exact rule.
    pub fn exact(&self, at: usize) -> Option<&[u8]> {
        self.exact.get(at).map(|text| &**text)
    }

    fn add(&mut self, rule: &OriginRule, credentials: bool, cx: &mut CompileCx<'_>) -> bool {
        match rule {
            OriginRule::Regex(text) => self.add_expression(text, cx),
            OriginRule::Text(text) if text.value == "null" => {
                if credentials {
                    cx.error(
                        "cors_null_with_credentials",
                        text.span,
                        "the origin `null` with `credentials: true` would let every sandboxed page act as its visitor",
                        "leave `null` or `credentials` out",
                    );
                    return false;
                }
                self.exact.push(b"null".as_slice().into());
                true
            }
            OriginRule::Text(text) => match normalise(text) {
                Ok(origin) => {
                    match origin.split_once('*') {
                        Some((before, after)) => {
                            self.wildcards.push(Wildcard { before: before.into(), after: after.into() });
                        }
                        None => self.exact.push(origin.into_bytes().into()),
                    }
                    true
                }
                Err(help) => {
                    let message = format!("`{}` is not an origin", text.escape_debug());
                    cx.error("invalid_origin", text.span, message, help);
                    false
                }
            },
        }
    }

    fn add_expression(&mut self, text: &Spanned<String>, cx: &mut CompileCx<'_>) -> bool {
        let anchored = format!("^(?:{})$", text.value);
        // Compiled by itself first: `a)|(b` would be valid only between our parentheses.
        let built =
            Regex::new(text).and_then(|_| RegexBuilder::new(&anchored).size_limit(REGEX_BYTES).build());
        match built {
            Ok(expression) => {
                self.expressions.push(expression);
                true
            }
            Err(error) => {
                let last = error.to_string();
                let cause = last.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                cx.error("invalid_regex", text.span, "the expression cannot be compiled", cause);
                false
            }
        }
    }
}

impl Wildcard {
    /// One or more labels in the place of the `*`; never the domain itself.
    fn matches(&self, origin: &[u8]) -> bool {
        let middle = origin
            .strip_prefix(self.before.as_bytes())
            .and_then(|rest| rest.strip_suffix(self.after.as_bytes()));
        middle.is_some_and(|labels| {
            labels.split(|byte| *byte == b'.').all(|label| {
                let is_name = |byte: &u8| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
                };
                !label.is_empty() && label.iter().all(is_name)
            })
        })
    }
}

/// The origin as browsers write it; the error says what to write instead.
fn normalise(text: &str) -> Result<String, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("write the scheme too, as in `https://{text}`"));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority != rest {
        return Err(format!("an origin has no path: write `{scheme}://{authority}`"));
    }
    let scheme = scheme.to_ascii_lowercase();
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte));
    if !is_scheme {
        return Err("the scheme is a word such as https; for more than one, use `{ regex: … }`".into());
    }
    let authority = authority.to_ascii_lowercase();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority.as_str(), None),
    };
    check_host(host)?;
    let number =
        port.map(|port| port.parse::<u16>().map_err(|_| format!("`{port}` is not a port"))).transpose()?;
    Ok(match (scheme.as_str(), number) {
        (_, None) | ("http", Some(80)) | ("https", Some(443)) => format!("{scheme}://{host}"),
        (_, Some(port)) => format!("{scheme}://{host}:{port}"),
    })
}

fn check_host(host: &str) -> Result<(), String> {
    if let Some(ip) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return ip
            .parse::<std::net::Ipv6Addr>()
            .map(|_| ())
            .map_err(|_| format!("`{ip}` is not an IPv6 address"));
    }
    let domain = host.strip_prefix("*.").unwrap_or(host);
    if domain.contains('*') {
        return Err("`*` stands for whole labels in front only, as in `https://*.shop.example`; else use `{ regex: … }`".into());
    }
    if !domain.is_ascii() {
        return Err("write the host as browsers send it, in punycode (`xn--…`)".into());
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if domain.split('.').all(is_label) {
        return Ok(());
    }
    Err("an origin is scheme, host and port, as in `https://shop.example` or `http://localhost:3000`".into())
}
