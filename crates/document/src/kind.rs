//! `{ kind: settings }`: the shape of policies, destinations and fallbacks, whose kinds only their registries know.

use crate::diagnostic::Diagnostic;
use crate::node::Node;
use crate::spanned::{Spanned, located};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer};
use std::borrow::Cow;

/// One `{ kind: settings }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    /// The kind, as written: `jwt`, `split`, `reply`.
    pub kind: Spanned<String>,
    /// Its settings, whatever they are.
    pub settings: Node,
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Kind::from_node(&Node::deserialize(deserializer)?).map_err(|problem| located(vec![*problem]))
    }
}

impl Kind {
    /// Reads a map with exactly one key.
    ///
    /// # Errors
    /// The node is no such map.
    pub fn from_node(node: &Node) -> Result<Kind, Box<Diagnostic>> {
        match node.entries() {
            [(key, settings)] => {
                Ok(Kind { kind: Spanned::new(key.text.clone(), key.span), settings: settings.clone() })
            }
            [] => {
                let message =
                    format!("a map `{{ kind: settings }}` is wanted here, found {}", node.describe());
                Err(Box::new(Diagnostic::error("wrong_type", node.span, message)))
            }
            [(first, _), (second, _), ..] => {
                let message =
                    format!("exactly one kind is wanted here, found `{}` and `{}`", first.text, second.text);
                let help =
                    format!("settings of `{0}` belong inside its own braces: {{ {0}: {{ … }} }}", first.text);
                Err(Box::new(Diagnostic::error("wrong_type", second.span, message).with_help(help)))
            }
        }
    }

    /// Picks the kind out of a map whose other keys belong to it, as in `{ split: { a: 95, b: 5 }, sticky: caller.id }`:
    /// exactly one key must be one of `known`. The order of the keys does not count.
    ///
    /// # Errors
    /// The node is no map, no key is a known kind, or two are.
    pub fn choose(node: &Node, known: &[&str]) -> Result<Kind, Box<Diagnostic>> {
        let mut found = node.entries().iter().filter(|(key, _)| known.contains(&key.text.as_str()));
        match (found.next(), found.next()) {
            (Some((key, settings)), None) => {
                Ok(Kind { kind: Spanned::new(key.text.clone(), key.span), settings: settings.clone() })
            }
            (Some((first, _)), Some((second, _))) => {
                let message =
                    format!("exactly one kind is wanted here, found `{}` and `{}`", first.text, second.text);
                Err(Box::new(
                    Diagnostic::error("wrong_type", second.span, message).with_help("remove one of the two"),
                ))
            }
            (None, _) => Err(Box::new(match node.entries().first() {
                Some((key, _)) => {
                    let message = format!("`{}` is not a known kind", crate::node::clip(&key.text));
                    let help = crate::diagnostic::suggestion(&key.text, known.iter().copied());
                    Diagnostic::error("unknown_kind", key.span, message).with_help(help)
                }
                None => {
                    let message =
                        format!("a map `{{ kind: settings }}` is wanted here, found {}", node.describe());
                    Diagnostic::error("wrong_type", node.span, message)
                }
            })),
        }
    }

    /// The settings as a text, when they are one.
    pub fn text(&self) -> Option<Spanned<&str>> {
        self.settings.as_text().map(|text| Spanned::new(text, self.settings.span))
    }
}

impl JsonSchema for Kind {
    fn schema_name() -> Cow<'static, str> {
        "Kind".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "minProperties": 1, "maxProperties": 1 })
    }
}
