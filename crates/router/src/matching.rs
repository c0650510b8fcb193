//! What the caller hands in: a route's name, its match, whom it precedes. Plain data, no behaviour but the
//! parser of `"METHOD /path"`. The compiled forms live in `evaluate`.

use crate::client::ClientType;
use crate::method;
use crate::template::{PathPattern, TemplateError};
use crate::version::VersionSet;

/// One route, as the caller describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteSpec {
    /// Unique within the gateway.
    pub name: String,
    pub matching: Match,
    /// Names of routes that this one precedes where the two tie.
    pub over: Vec<String>,
}

/// All fields that are given must hold; an empty list is not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    /// One of these; `GET` answers `HEAD` too.
    pub methods: Vec<String>,
    /// None: every path.
    pub path: Option<PathPattern>,
    /// One of these: `shop.example`, or `*.shop.example` for one or more labels before it.
    pub hosts: Vec<String>,
    /// (name, test), all of them. Several lines of one name count as one value, joined by `, ` (RFC 9110 5.3).
    pub headers: Vec<(String, ValueTest)>,
    /// (name, test), all of them. The first value of a name counts; name and value are percent-decoded, `+` is a space.
    pub query: Vec<(String, ValueTest)>,
    /// One of these.
    pub client: Vec<ClientType>,
    /// One of these versions of the API.
    pub versions: Option<VersionSet>,
    /// At least one of these.
    pub any: Vec<Match>,
    /// Every one of these.
    pub all: Vec<Match>,
    /// None of these.
    pub not: Vec<Match>,
}

/// What a header's or a query parameter's value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueTest {
    /// Byte for byte.
    Exact(String),
    Prefix(String),
    /// There, even if empty.
    Present,
    Absent,
    /// A regular expression over the whole value (anchored at both ends).
    Regex(String),
}

/// Why `"METHOD /path"` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MatchError {
    /// Byte offset in the text that was parsed.
    pub offset: usize,
    /// Cause and fix.
    pub message: String,
}

impl Match {
    /// Parses `"/path"`, `"GET /path"`, `"GET,POST /path"`; the path may be a template.
    pub fn parse(text: &str) -> Result<Self, MatchError> {
        let Some(slash) = text.find('/') else {
            let message = format!("`{text}` holds no path: write `GET /path`, or `/path` for every method");
            return Err(MatchError { offset: 0, message });
        };
        let head = &text[..slash];
        let methods = parse_methods(head)?;
        let path = text[slash..].trim_end();
        if let Some(at) = path.find(char::is_whitespace) {
            let message =
                "a path holds no blank: write `METHOD /path`, a blank inside a path as `%20`".to_owned();
            return Err(MatchError { offset: slash + at, message });
        }
        let path = PathPattern::parse(path)
            .map_err(|TemplateError { offset, message }| MatchError { offset: slash + offset, message })?;
        Ok(Match { methods, path: Some(path), ..Match::default() })
    }
}

fn parse_methods(head: &str) -> Result<Vec<String>, MatchError> {
    if head.trim().is_empty() {
        return Ok(Vec::new());
    }
    if !head.ends_with(char::is_whitespace) {
        let message = format!(
            "`{head}` runs into the path: write a blank between method and path, a path begins with `/`"
        );
        return Err(MatchError { offset: 0, message });
    }
    let mut methods: Vec<String> = Vec::new();
    let mut offset = 0;
    for part in head.split(',') {
        let word = part.trim();
        let at = offset + part.find(word).unwrap_or(0);
        offset += part.len() + 1;
        if !method::is_known(word) {
            return Err(MatchError { offset: at, message: method::unknown(word) });
        }
        if methods.iter().any(|m| m == word) {
            return Err(MatchError {
                offset: at,
                message: format!("the method `{word}` stands twice: leave one out"),
            });
        }
        methods.push(word.to_owned());
    }
    Ok(methods)
}
