//! `match`: which requests a route takes. Plain data; the router gives it meaning.

use narthex_document::{Diagnostic, Node, OneOrMany, Spanned, Table, Value, located, read};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;

/// Which requests a route takes: `"METHOD /path"`, `/path`, or a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    /// The predicates; the short form is a map with `method` and `path`.
    pub map: MatchMap,
    /// The whole value's place.
    pub span: narthex_document::Span,
}

/// The predicates of a match; all that are given must hold.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MatchMap {
    /// One method or a list, in upper case.
    #[serde(alias = "methods")]
    pub method: Option<Methods>,
    /// A path: `/users/{id}` (one segment), `/files/{rest=**}` (the rest), quoted; after `~` a regular expression over the
    /// whole path: `~/v[0-9]+/.*`.
    pub path: Option<Spanned<String>>,
    /// One host or a list, `*.example.com` for one or more labels in front.
    pub host: OneOrMany<Spanned<String>, 1>,
    /// Headers by name.
    pub headers: Table<String, Spanned<Predicate>>,
    /// Parameters of the query by name; the first of several counts.
    pub query: Table<String, Spanned<Predicate>>,
    /// The kind of client, as `Sec-CH-UA-Mobile` and `User-Agent` tell it.
    pub client: OneOrMany<Spanned<ClientKind>, 1>,
    /// One of the gateway's `versions` or a list. Default: all of them.
    pub version: OneOrMany<Spanned<String>, 1>,
    /// At least one of these holds.
    pub any: Vec<MatchMap>,
    /// All of these hold.
    pub all: Vec<MatchMap>,
    /// This does not hold.
    pub not: Option<Box<MatchMap>>,
}

/// One or several methods.
pub type Methods = OneOrMany<Spanned<Method>, 1>;

/// A method: a token in upper case (RFC 9110, section 9.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Method(pub String);

/// What a header or a query parameter must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Predicate {
    /// Exactly this text.
    Exact(String),
    /// There, whatever it holds.
    Present,
    /// Not there.
    Absent,
    /// The whole value matches this regular expression.
    Regex(String),
    /// The value starts with this text.
    Prefix(String),
}

/// A kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientKind {
    /// A phone.
    Mobile,
    /// A tablet.
    Tablet,
    /// A desktop browser.
    Desktop,
    /// A program: a crawler, a command-line client.
    Bot,
}

impl Method {
    fn problem(text: &str) -> Option<String> {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if text.is_empty() || text.len() > 32 || !text.bytes().all(token) {
            return Some(format!("`{text}` is not a method\nhelp: write one as in GET, or a list"));
        }
        let upper = text.to_ascii_uppercase();
        (upper != text).then(|| {
            format!("`{text}` is not the method `{upper}`: methods are upper case\nhelp: write {upper}")
        })
    }
}

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match Method::problem(&text) {
            None => Ok(Method(text)),
            Some(problem) => Err(serde::de::Error::custom(problem)),
        }
    }
}

impl JsonSchema for Method {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Method".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Z0-9!#$%&'*+.^_`|~-]{1,32}$" })
    }
}

impl<'de> Deserialize<'de> for Match {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let map = match &node.value {
            Value::Map(entries) if !matches!(entries.as_slice(), [(_, value)] if value.is_null()) => {
                read(&node)?
            }
            Value::Text(text) => short(text, &node).map_err(|problem| located(vec![problem]))?,
            _ => {
                let _: String = read(&node)?;
                MatchMap::default()
            }
        };
        Ok(Match { map, span: node.span })
    }
}

/// The short form: `METHOD /path`, the method optional.
fn short(text: &str, node: &Node) -> Result<MatchMap, Diagnostic> {
    let wrong = |message: String| {
        Diagnostic::error("invalid_value", node.span, message)
            .with_help("write \"GET /users/{id}\", \"/users/{id}\" or a map")
    };
    let (method, path) = match text.split_once(' ') {
        Some((method, path)) => (Some(method), path.trim()),
        None => (None, text),
    };
    if !path.starts_with('/') {
        return Err(wrong(format!("`{text}` is not a match: the path does not start with `/`")));
    }
    if path.contains(char::is_whitespace) {
        return Err(wrong(format!("`{text}` is not a match: there is white space in the path")));
    }
    let method = match method {
        None => None,
        Some(method) => match Method::problem(method) {
            None => Some(OneOrMany(vec![Spanned::new(Method(method.to_owned()), node.span)])),
            Some(problem) => {
                let (message, help) = problem.split_once("\nhelp: ").unwrap_or((problem.as_str(), ""));
                return Err(Diagnostic::error("invalid_value", node.span, message).with_help(help));
            }
        },
    };
    Ok(MatchMap { method, path: Some(Spanned::new(path.to_owned(), node.span)), ..MatchMap::default() })
}

impl JsonSchema for Match {
    fn schema_name() -> Cow<'static, str> {
        "Match".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<MatchMap>();
        json_schema!({
            "description": "`\"METHOD /path\"`, the method optional, or a map of predicates.",
            "anyOf": [{ "type": "string", "pattern": "^([A-Z0-9!#$%&'*+.^_`|~-]{1,32} +)?/[^ ]*$" }, map]
        })
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum PredicateMap {
    /// Whether it is there.
    Present(bool),
    /// Whether it is not there.
    Absent(bool),
    /// The whole value matches this regular expression.
    Regex(String),
    /// The value starts with this text.
    Prefix(String),
}

impl<'de> Deserialize<'de> for Predicate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        let Value::Map(_) = &node.value else { return read(&node).map(Predicate::Exact) };
        Ok(match read(&node)? {
            PredicateMap::Present(true) | PredicateMap::Absent(false) => Predicate::Present,
            PredicateMap::Present(false) | PredicateMap::Absent(true) => Predicate::Absent,
            PredicateMap::Regex(regex) => Predicate::Regex(regex),
            PredicateMap::Prefix(prefix) => Predicate::Prefix(prefix),
        })
    }
}

impl JsonSchema for Predicate {
    fn schema_name() -> Cow<'static, str> {
        "Predicate".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = PredicateMap::json_schema(generator);
        json_schema!({ "description": "A text (exactly that), or a map with one of the keys.", "anyOf": [{ "type": "string" }, map] })
    }
}
