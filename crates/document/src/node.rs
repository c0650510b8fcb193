//! The tree that a document is read into: every value with its span and where it came from.
//! Numbers keep their text exactly. A node never holds a value that its span does not explain.

use crate::source::Span;
use std::sync::Arc;

/// One value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it was written; for a value from `{ env: X }` the place of that map.
    pub span: Span,
    /// What it is.
    pub value: Value,
    /// Whether the text itself holds the value, or something that the text names.
    pub origin: Origin,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`, in lower case; `on/off/yes/no` are text.
    Bool(bool),
    /// A number as in JSON, its text kept exactly (`1.10` stays `1.10`).
    Number(String),
    /// Everything else that is a scalar.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order as written; keys are unique.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key's text.
    pub text: String,
    /// Where the key stands.
    pub span: Span,
}

/// Where a node's value came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origin {
    /// The span's text holds it.
    #[default]
    Text,
    /// An environment variable of this name: secret, never echoed.
    Env(Arc<str>),
    /// The content of the file of this path: secret, never echoed.
    File(Arc<str>),
}

impl Node {
    /// A node whose value stands in the text at `span`.
    pub fn new(span: Span, value: Value) -> Self {
        Node { span, value, origin: Origin::Text }
    }

    /// Whether the value must not be shown (it came from the environment or a file).
    pub fn is_secret(&self) -> bool {
        self.origin != Origin::Text
    }

    /// The value under a key of a map; `None` for other kinds and absent keys.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(k, _)| k.text == key).map(|(_, node)| node)
    }

    /// The entries of a map; empty for other kinds.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; empty for other kinds.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a text node.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether the value is null.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// Whether two trees hold the same values, spans and origins aside; key order counts.
    pub fn same(&self, other: &Node) -> bool {
        match (&self.value, &other.value) {
            (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (Value::Map(a), Value::Map(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0.text == b.0.text && a.1.same(&b.1))
            }
            (a, b) => a == b,
        }
    }

    /// What is here, in words for a message: `the number 1.10`, `a list`. Secrets are not shown.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".into(),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
            _ if self.is_secret() => format!("a value {} (not shown)", self.origin_words()),
            Value::Bool(value) => value.to_string(),
            Value::Number(text) => format!("the number {}", clip(text)),
            Value::Text(text) => format!("the text {:?}", clip(text)),
        }
    }

    /// `from the environment variable X`, `from the file F`; empty for written values.
    pub fn origin_words(&self) -> String {
        match &self.origin {
            Origin::Text => String::new(),
            Origin::Env(name) => format!("from the environment variable {name}"),
            Origin::File(path) => format!("from the file {path}"),
        }
    }
}

/// At most 60 characters of a text for a message.
pub(crate) fn clip(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Whether a plain scalar reads as a number: exactly the numbers of JSON (RFC 8259, section 6).
pub(crate) fn is_number(text: &str) -> bool {
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let rest = text.strip_prefix('-').unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest.starts_with('0')) {
        return false;
    }
    let mut rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let count = digits(exponent);
        return count > 0 && count == exponent.len();
    }
    rest.is_empty()
}
