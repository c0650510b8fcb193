//! Tests on the value of a header or a query parameter, compiled, and the compiled regular expressions.
//! It must never allocate for an ordinary value.

use regex::bytes::{Regex, RegexBuilder};
use smallvec::SmallVec;

use crate::matching::ValueTest;
use crate::normalise::query_bytes;

/// Compiled size of one expression, in bytes: a configuration cannot eat the memory.
const REGEX_SIZE: usize = 1 << 18;
const REGEX_CACHE: usize = 1 << 20;

/// An anchored expression. Two are equal when their texts are.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    text: Box<str>,
    regex: Regex,
    /// What every match begins with.
    prefix: Box<[u8]>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Pattern {
    /// Errors with the reason in the words of the regex crate.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        // Parsed alone first: `a)|(b` must not escape from the anchors.
        let hir = regex_syntax::ParserBuilder::new()
            .nest_limit(64)
            .utf8(false)
            .build()
            .parse(text)
            .map_err(|e| format!("`{text}` is no regular expression: {}", last_line(&e.to_string())))?;
        let regex = RegexBuilder::new(&format!(r"\A(?:{text})\z"))
            .size_limit(REGEX_SIZE)
            .dfa_size_limit(REGEX_CACHE)
            .nest_limit(66)
            .build()
            .map_err(|e| format!("`{text}` cannot be used: {}", last_line(&e.to_string())))?;
        Ok(Pattern { text: text.into(), regex, prefix: literal_prefix(&hir).into() })
    }

    #[inline]
    pub(crate) fn matches(&self, value: &[u8]) -> bool {
        self.regex.is_match(value)
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }
}

fn last_line(message: &str) -> &str {
    let line = message.lines().last().unwrap_or(message);
    line.strip_prefix("error: ").unwrap_or(line)
}

/// The bytes every match begins with, as far as they are written out.
fn literal_prefix(hir: &regex_syntax::hir::Hir) -> Vec<u8> {
    use regex_syntax::hir::{HirKind, Look};
    match hir.kind() {
        HirKind::Literal(literal) => literal.0.to_vec(),
        HirKind::Capture(capture) => literal_prefix(&capture.sub),
        HirKind::Concat(parts) => {
            let mut parts = parts.iter().skip_while(|p| matches!(p.kind(), HirKind::Look(Look::Start)));
            parts.next().map(literal_prefix).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// A compiled `ValueTest`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    Exact(Box<str>),
    Prefix(Box<str>),
    Present,
    Absent,
    Regex(Pattern),
}

impl Test {
    pub(crate) fn new(spec: &ValueTest) -> Result<Self, String> {
        Ok(match spec {
            ValueTest::Exact(text) => Test::Exact(text.as_str().into()),
            ValueTest::Prefix(text) => Test::Prefix(text.as_str().into()),
            ValueTest::Present => Test::Present,
            ValueTest::Absent => Test::Absent,
            ValueTest::Regex(text) => Test::Regex(Pattern::new(text)?),
        })
    }

    #[inline]
    pub(crate) fn holds(&self, value: Option<&[u8]>) -> bool {
        match (self, value) {
            (Test::Absent, value) => value.is_none(),
            (_, None) => false,
            (Test::Present, Some(_)) => true,
            (Test::Exact(text), Some(value)) => text.as_bytes() == value,
            (Test::Prefix(text), Some(value)) => value.starts_with(text.as_bytes()),
            (Test::Regex(pattern), Some(value)) => pattern.matches(value),
        }
    }

    /// True when provably no value, nor its absence, passes both.
    pub(crate) fn disjoint(&self, other: &Test) -> bool {
        let one_way = |a: &Test, b: &Test| match (a, b) {
            (Test::Absent, Test::Absent) => false,
            (Test::Absent, _) => true,
            (Test::Exact(a), b) => !b.holds(Some(a.as_bytes())),
            (Test::Prefix(a), Test::Prefix(b)) => !a.starts_with(&**b) && !b.starts_with(&**a),
            (Test::Prefix(a), Test::Regex(b)) => apart(a.as_bytes(), b.prefix()),
            (Test::Regex(a), Test::Regex(b)) => apart(a.prefix(), b.prefix()),
            _ => false,
        };
        one_way(self, other) || one_way(other, self)
    }

    /// True when provably every value that passes `self` passes `other`.
    pub(crate) fn implies(&self, other: &Test) -> bool {
        match (self, other) {
            (a, b) if a == b => true,
            (Test::Exact(a), b) => b.holds(Some(a.as_bytes())),
            (Test::Absent, _) => false,
            (_, Test::Present) => true,
            (Test::Prefix(a), Test::Prefix(b)) => a.starts_with(&**b),
            (Test::Regex(a), Test::Prefix(b)) => a.prefix().starts_with(b.as_bytes()),
            _ => false,
        }
    }

    /// What is wanted, for people.
    pub(crate) fn wanted(&self) -> String {
        match self {
            Test::Exact(text) => format!("want {text:?}"),
            Test::Prefix(text) => format!("want one that begins with {text:?}"),
            Test::Present => "want it present".to_owned(),
            Test::Absent => "want it absent".to_owned(),
            Test::Regex(pattern) => format!("want one that matches `{}`", pattern.text()),
        }
    }
}

/// True when no text can begin with both.
pub(crate) fn apart(a: &[u8], b: &[u8]) -> bool {
    a.iter().zip(b).any(|(a, b)| a != b)
}

/// A value that had to be put together or decoded.
pub(crate) type Scratch = SmallVec<[u8; 128]>;

/// Calls `with` with the one value of a header: several lines are joined by `, ` (RFC 9110 5.3).
#[inline]
pub(crate) fn with_header<'a, R>(
    mut lines: impl Iterator<Item = &'a [u8]>,
    with: impl FnOnce(Option<&[u8]>) -> R,
) -> R {
    let Some(first) = lines.next() else { return with(None) };
    let Some(second) = lines.next() else { return with(Some(first)) };
    let mut joined = Scratch::from_slice(first);
    for line in std::iter::once(second).chain(lines) {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line);
    }
    with(Some(&joined))
}

/// The first value of a query parameter, decoded; none when there is no such parameter.
pub(crate) fn query_value(query: Option<&str>, name: &str) -> Option<Scratch> {
    for pair in query?.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if query_bytes(key).eq(name.bytes()) {
            return Some(query_bytes(value).collect());
        }
    }
    None
}
