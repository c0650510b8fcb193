//! `{ kind: settings }`: the shape of policies, destinations and fallbacks whose kinds this crate does not know.
//! The keys that every policy accepts (`mode`, `locked`, `stage`, `name`) are split off here, so that a policy's own
//! settings never see them.

use narthex_document::{Diagnostic, Key, Kind, Name, Node, Origin, Span, Spanned, Value, from_node, located};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;

/// Whether a policy acts or only records what it would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It acts.
    #[default]
    Enforce,
    /// It is run, its verdict is recorded, and everything it did is taken back.
    Shadow,
}

/// A policy as written: kind and settings, with the keys that all policies share split off.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyDef {
    /// The kind, as written.
    pub kind: Spanned<String>,
    /// The settings without the shared keys.
    pub settings: Node,
    /// `name:`: what `without` and replacement call it; for a named policy the name it has already.
    pub name: Option<Spanned<Name>>,
    /// `mode:`: `enforce` (the default) or `shadow`.
    pub mode: Mode,
    /// `locked: true`: inner lists may neither remove nor replace it.
    pub locked: bool,
    /// `stage:`, for policies with a choice of stages, as written.
    pub stage: Option<Spanned<String>>,
}

/// The keys that are split off.
pub(crate) const SHARED_KEYS: [&str; 4] = ["name", "mode", "locked", "stage"];

impl<'de> Deserialize<'de> for PolicyDef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut problems = Vec::new();
        let node = Node::deserialize(deserializer)?;
        PolicyDef::from_node(&node, &mut problems).ok_or_else(|| located(problems))
    }
}

impl PolicyDef {
    /// Reads `{ kind: settings }` and splits the shared keys off.
    pub fn from_node(node: &Node, problems: &mut Vec<Diagnostic>) -> Option<PolicyDef> {
        let Kind { kind, settings } = match Kind::from_node(node) {
            Ok(kind) => kind,
            Err(problem) => {
                problems.push(*problem);
                return None;
            }
        };
        let mut policy =
            PolicyDef { kind, settings, name: None, mode: Mode::Enforce, locked: false, stage: None };
        let Value::Map(entries) = &mut policy.settings.value else { return Some(policy) };
        let (shared, own): (Vec<_>, Vec<_>) = std::mem::take(entries)
            .into_iter()
            .partition(|(key, _)| SHARED_KEYS.contains(&key.text.as_str()));
        *entries = own;
        let before = problems.len();
        for (key, node) in shared {
            policy.take_shared(&key, &node, problems);
        }
        (problems.len() == before).then_some(policy)
    }

    fn take_shared(&mut self, key: &Key, node: &Node, problems: &mut Vec<Diagnostic>) {
        match key.text.as_str() {
            "name" => self.name = from_node(node, problems),
            "locked" => self.locked = from_node(node, problems).unwrap_or_default(),
            "stage" => self.stage = from_node(node, problems),
            _ => self.mode = from_node(node, problems).unwrap_or_default(),
        }
    }
}

/// A node with no place that holds an empty map: settings that were not written.
pub fn no_settings() -> Node {
    Node { span: Span::NONE, value: Value::Map(Vec::new()), origin: Origin::Text }
}

impl JsonSchema for PolicyDef {
    fn schema_name() -> Cow<'static, str> {
        "Policy".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "minProperties": 1, "maxProperties": 1 })
    }
}
