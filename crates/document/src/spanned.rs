//! `Spanned<T>` and `Node` as field types: how the deserialiser hands a place, or the tree itself, to a serde visitor.
//! The hand-over is a thread-local offer that the visitor takes at once; other deserialisers give no offer.

use crate::diagnostic::Diagnostic;
use crate::node::{Node, Value};
use crate::source::Span;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

pub(crate) const SPANNED: &str = "$narthex::Spanned";
pub(crate) const NODE: &str = "$narthex::Node";

thread_local! {
    static SPAN: RefCell<Option<Span>> = const { RefCell::new(None) };
    static PROBLEMS: RefCell<Vec<Diagnostic>> = const { RefCell::new(Vec::new()) };
    static TREE: RefCell<Option<Node>> = const { RefCell::new(None) };
}

pub(crate) fn offer_span(span: Span) {
    SPAN.with(|slot| *slot.borrow_mut() = Some(span));
}

pub(crate) fn offer_node(node: &Node) {
    TREE.with(|slot| *slot.borrow_mut() = Some(node.clone()));
}

pub(crate) fn take_problems() -> Vec<Diagnostic> {
    PROBLEMS.with(|slot| std::mem::take(&mut *slot.borrow_mut()))
}

/// For `Deserialize` impls that read a [`Node`] first: problems that know their own places, as serde's error. At least
/// one problem must be given.
pub fn located<E: Error>(problems: Vec<Diagnostic>) -> E {
    let message = problems.first().map(|problem| problem.message.clone()).unwrap_or_default();
    PROBLEMS.with(|slot| *slot.borrow_mut() = problems);
    let error = E::custom(message);
    PROBLEMS.with(|slot| slot.borrow_mut().clear());
    error
}

/// Reads a `T` from a node inside a `Deserialize` impl that looked at the node to choose `T`.
///
/// # Errors
/// All problems, each with its own place.
pub fn read<T: serde::de::DeserializeOwned, E: Error>(node: &Node) -> Result<T, E> {
    let mut problems = Vec::new();
    crate::de::from_node(node, &mut problems).ok_or_else(|| located(problems))
}

/// A value with its place. Works for map keys too. Equality and order look at the value alone.
#[derive(Debug, Clone, Copy)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands; [`Span::NONE`] when no text holds it.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value with its place.
    pub fn new(value: T, span: Span) -> Self {
        Spanned { value, span }
    }

    /// The same place with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: f(self.value), span: self.span }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}

impl<T: Default> Default for Spanned<T> {
    fn default() -> Self {
        Spanned { value: T::default(), span: Span::NONE }
    }
}

impl<T: fmt::Display> fmt::Display for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: serde::Serialize> serde::Serialize for Spanned<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Take<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Take<T> {
            type Value = Spanned<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
                let span = SPAN.with(|slot| slot.borrow_mut().take()).unwrap_or(Span::NONE);
                Ok(Spanned { value: T::deserialize(inner)?, span })
            }
        }
        deserializer.deserialize_newtype_struct(SPANNED, Take(PhantomData))
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Take;
        impl<'de> Visitor<'de> for Take {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Node, D::Error> {
                match TREE.with(|slot| slot.borrow_mut().take()) {
                    Some(node) => Ok(node),
                    None => Ok(Node::from_json(&serde_json::Value::deserialize(inner)?)),
                }
            }
        }
        deserializer.deserialize_newtype_struct(NODE, Take)
    }
}

impl schemars::JsonSchema for Node {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Any".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        true.into()
    }
}

/// A text for an error: what serde's `custom` splits into cause and help.
pub(crate) fn with_help<E: Error>(message: impl fmt::Display, help: &str) -> E {
    if help.is_empty() { E::custom(message) } else { E::custom(format_args!("{message}\nhelp: {help}")) }
}

impl Default for Node {
    fn default() -> Self {
        Node::new(Span::NONE, Value::Null)
    }
}
