//! The deserialiser's error: serde's complaint, located at the node or key at fault and worded for people.
//! A secret's value never enters a message.

use crate::diagnostic::{Diagnostic, nearest, suggestion};
use crate::node::{Key, Node, Value};
use crate::source::Span;
use serde::de::{Error, Expected, Unexpected};
use std::fmt;

/// A problem on its way up through the deserialiser.
#[derive(Debug)]
pub(crate) struct Fault {
    kind: Kind,
    /// The worded problem, once the place is known.
    pub diagnostic: Option<Box<Diagnostic>>,
    /// Address of the node that the problem lies in; a problem of a node with skipped children is a consequence.
    pub node: usize,
    /// Further problems, complete with their places, that came with it.
    pub more: Vec<Diagnostic>,
    /// Address of the innermost entry that can be skipped so that a next pass gets further.
    pub skip: Option<usize>,
}

#[derive(Debug)]
enum Kind {
    Custom(String),
    Wrong(String),
    UnknownKey(String, &'static [&'static str]),
    UnknownChoice(String, &'static [&'static str]),
    Missing(&'static str),
}

impl From<Kind> for Fault {
    fn from(kind: Kind) -> Self {
        Fault { kind, diagnostic: None, node: 0, more: Vec::new(), skip: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.diagnostic {
            Some(diagnostic) => f.write_str(&diagnostic.message),
            None => f.write_str("not readable"),
        }
    }
}

impl std::error::Error for Fault {}

impl Error for Fault {
    fn custom<T: fmt::Display>(msg: T) -> Self {
        let mut fault = Fault::from(Kind::Custom(msg.to_string()));
        let mut pending = crate::spanned::take_problems().into_iter();
        fault.diagnostic = pending.next().map(Box::new);
        fault.more = pending.collect();
        fault
    }

    fn invalid_type(_: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Kind::Wrong(words(&wanted.to_string())).into()
    }

    fn invalid_value(_: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Kind::Wrong(words(&wanted.to_string())).into()
    }

    fn invalid_length(len: usize, wanted: &dyn Expected) -> Self {
        Kind::Custom(format!("{len} items do not fit: {} is wanted", words(&wanted.to_string()))).into()
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Kind::UnknownChoice(variant.to_owned(), expected).into()
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Kind::UnknownKey(field.to_owned(), expected).into()
    }

    fn missing_field(field: &'static str) -> Self {
        Kind::Missing(field).into()
    }
}

impl Fault {
    /// A wrong type: `wanted` in words.
    pub fn wrong(wanted: impl Into<String>) -> Self {
        Kind::Wrong(wanted.into()).into()
    }

    /// The key that is missing, if that is the problem.
    pub fn missing(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Missing(field) => Some(field),
            _ => None,
        }
    }

    /// Locates the problem at a node, unless a deeper place is known.
    pub fn at(mut self, node: &Node) -> Self {
        if self.diagnostic.is_none() {
            self.node = address(node);
            self.diagnostic = Some(Box::new(worded(&self.kind, node, node.span)));
        }
        self
    }

    /// Locates the problem at a key, unless a deeper place is known.
    pub fn at_key(mut self, key: &Key) -> Self {
        if self.diagnostic.is_none() {
            let stand_in = Node::new(key.span, Value::Text(key.text.clone()));
            self.diagnostic = Some(Box::new(worded(&self.kind, &stand_in, key.span)));
        }
        self
    }

    /// A missing key is told at the key that holds the map, which says more than the map's first entry.
    pub fn owner(mut self, key: &Key, node: &Node) -> Self {
        if let (Kind::Missing(field), Some(diagnostic), true) =
            (&self.kind, &mut self.diagnostic, self.node == address(node))
        {
            diagnostic.message = format!("`{}` lacks the key `{field}`", key.text);
            if !key.span.is_none() {
                diagnostic.span = key.span;
            }
        }
        self
    }

    /// Names the entry to skip, unless a deeper one is named.
    pub fn skip(mut self, node: &Node) -> Self {
        self.skip.get_or_insert(address(node));
        self
    }
}

/// A node's identity during one deserialisation.
pub(crate) fn address(node: &Node) -> usize {
    std::ptr::from_ref(node) as usize
}

/// The problem of a key that a struct does not have.
pub(crate) fn unknown_key(key: &str, span: Span, fields: &[&str]) -> Diagnostic {
    let message = format!("`{}` is not a key here", crate::node::clip(key));
    let help = match nearest(key, fields.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? the keys are: {}", fields.join(", ")),
        None if fields.is_empty() => "no keys belong here".to_owned(),
        None => format!("the keys are: {}", fields.join(", ")),
    };
    Diagnostic::error("unknown_key", span, message).with_help(help)
}

fn worded(kind: &Kind, node: &Node, span: Span) -> Diagnostic {
    match kind {
        Kind::UnknownKey(key, fields) => unknown_key(key, span, fields),
        Kind::UnknownChoice(word, choices) => {
            let shown = if node.is_secret() {
                "the value (not shown)".into()
            } else {
                format!("`{}`", crate::node::clip(word))
            };
            let message = format!("{shown} is not known here");
            Diagnostic::error("unknown_value", span, message)
                .with_help(suggestion(word, choices.iter().copied()))
        }
        Kind::Missing(field) => {
            Diagnostic::error("missing_key", span, format!("the key `{field}` is missing"))
        }
        Kind::Wrong(wanted) => {
            let message = format!("{wanted} is wanted here, found {}", node.describe());
            let problem = Diagnostic::error("wrong_type", span, message);
            match hint(wanted, node) {
                Some(help) => problem.with_help(help),
                None => problem,
            }
        }
        Kind::Custom(text) if node.is_secret() && !matches!(node.value, Value::Map(_) | Value::List(_)) => {
            let _ = text;
            let message = format!("the value {} (not shown) does not fit here", node.origin_words());
            Diagnostic::error("invalid_value", span, message)
        }
        Kind::Custom(text) => {
            let (message, help) = match text.split_once("\nhelp: ") {
                Some((message, help)) => (message, Some(help)),
                None => (text.as_str(), None),
            };
            let problem = Diagnostic::error("invalid_value", span, message);
            match help {
                Some(help) => problem.with_help(help),
                None => problem,
            }
        }
    }
}

/// What to write instead, where YAML read something that was not meant.
fn hint(wanted: &str, node: &Node) -> Option<String> {
    let text_wanted = wanted == "text" || wanted.starts_with("a text");
    match &node.value {
        Value::Number(text) if text_wanted => Some(format!("quote it: \"{text}\"")),
        Value::Bool(value) if text_wanted => Some(format!("quote it: \"{value}\"")),
        Value::Map(entries) if text_wanted => match entries.as_slice() {
            [(key, value)] if value.is_null() => Some(format!(
                "`{{{0}}}` without quotes reads as a map; quote the whole text: \"{{{0}}}\"",
                key.text
            )),
            _ => Some("quote the whole text if `{` or `: ` belongs to it".into()),
        },
        Value::List(_) if text_wanted => Some("quote the whole text if `[` belongs to it".into()),
        Value::Text(text) if !node.is_secret() && wanted == "true or false" => {
            let near = match text.to_lowercase().as_str() {
                "on" | "yes" | "true" => "true",
                "off" | "no" | "false" => "false",
                _ => return None,
            };
            Some(format!("write {near}"))
        }
        Value::Text(text) if wanted.contains("number") && crate::node::is_number(text) => {
            (!node.is_secret()).then(|| format!("remove the quotes: {text}"))
        }
        Value::Null if wanted.contains("map") => Some("write `{}` to take every default".into()),
        _ => None,
    }
}

/// Serde's words for what it wants, in ours.
fn words(wanted: &str) -> String {
    let range = |max: String| format!("a whole number from 0 to {max}");
    match wanted {
        "a string" | "a borrowed string" | "str" | "string" => "text".into(),
        "a boolean" | "bool" => "true or false".into(),
        "a sequence" => "a list".into(),
        "a map" => "a map".into(),
        "u8" => range(u8::MAX.to_string()),
        "u16" => range(u16::MAX.to_string()),
        "u32" => range(u32::MAX.to_string()),
        "u64" | "usize" => "a whole number, not negative".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "unit" => "nothing".into(),
        other if other.starts_with("struct ") => "a map".into(),
        other if other.starts_with("a nonzero ") => "a whole number from 1 up".into(),
        other => other.to_owned(),
    }
}
