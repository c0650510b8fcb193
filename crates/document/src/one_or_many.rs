//! A setting that is one value or a list of them. Knows nothing of what the values mean.

use crate::diagnostic::Diagnostic;
use crate::node::{Node, Value};
use crate::spanned::{located, read};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use std::borrow::Cow;

/// `x` or `[x, y]`, of at least `LEAST` values: 0, or 1 where an empty list would have no meaning. What is left out is
/// empty all the same.
#[derive(Debug, Clone, PartialEq)]
pub struct OneOrMany<T, const LEAST: usize = 0>(pub Vec<T>);

impl<T, const LEAST: usize> Default for OneOrMany<T, LEAST> {
    fn default() -> Self {
        OneOrMany(Vec::new())
    }
}

impl<'de, T: DeserializeOwned, const LEAST: usize> Deserialize<'de> for OneOrMany<T, LEAST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Node::deserialize(deserializer)?;
        match &node.value {
            Value::List(items) if items.len() < LEAST => {
                let message = format!("the list holds {} values; at least {LEAST} is needed", items.len());
                let problem = Diagnostic::error("invalid_value", node.span, message);
                Err(located(vec![problem.with_help("leave the key out if nothing is meant")]))
            }
            Value::List(_) => read(&node).map(OneOrMany),
            _ => read(&node).map(|one| OneOrMany(vec![one])),
        }
    }
}

impl<T: JsonSchema, const LEAST: usize> JsonSchema for OneOrMany<T, LEAST> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        let mut many = json_schema!({ "type": "array", "items": one });
        if LEAST > 0 {
            many.insert("minItems".into(), LEAST.into());
        }
        json_schema!({ "anyOf": [one, many] })
    }
}
