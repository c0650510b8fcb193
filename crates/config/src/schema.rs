//! JSON Schema (draft 2020-12) of the whole file, for editors and the console, with the kinds of policies and
//! destinations plugged in by whoever knows them.

use crate::file::File;
use crate::kind::Mode;
use narthex_document::NAME_PATTERN;
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value as Json, json};

/// A kind of policy for the schema.
#[derive(Debug, Clone)]
pub struct PolicySchema {
    /// Its name, the configuration key.
    pub name: String,
    /// The schema of its settings, complete with its own `$defs`.
    pub schema: Schema,
    /// The stages that it may run in; more than one makes `stage:` a key.
    pub stages: Vec<String>,
}

/// The schema of a file. `destinations` are the kinds of `to:` and of `fallback:`; the schema of each describes either the
/// whole map (it then has the kind among its properties) or the value under the kind's key.
pub fn schema(policies: Vec<PolicySchema>, destinations: Vec<(String, Schema)>) -> Json {
    let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let _ = generator.subschema_for::<Mode>();
    let mut root = generator.into_root_schema_for::<File>().to_value();
    let mut defs = match root.get_mut("$defs").map(Json::take) {
        Some(Json::Object(defs)) => defs,
        _ => Map::new(),
    };
    let kinds = policies.into_iter().map(|policy| (policy.name.clone(), policy_schema(policy))).collect();
    plug(&mut defs, "Policy", "policy", kinds);
    let (whole, single): (Vec<_>, Vec<_>) = destinations
        .into_iter()
        .map(|(name, schema)| (name, schema.to_value()))
        .partition(|(name, schema)| schema["properties"].get(name).is_some());
    destinations_of(&mut defs, whole, single);
    root["$defs"] = Json::Object(defs);
    root["properties"]["include"] = json!({
        "description": "Files whose entries are added: paths relative to this file, `*` in the last part.",
        "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }]
    });
    root["title"] = json!("Narthex configuration");
    outside(&mut root);
    root["$defs"]["Outside"] = outside_schema();
    root
}

fn outside_schema() -> Json {
    let default = json!({ "type": ["string", "number", "boolean", "null"] });
    json!({
        "description": "A value from outside: an environment variable, or the content of a file.",
        "anyOf": [
            {
                "type": "object",
                "properties": { "env": { "type": "string" }, "default": default },
                "required": ["env"], "additionalProperties": false
            },
            {
                "type": "object",
                "properties": { "file": { "type": "string" }, "default": default },
                "required": ["file"], "additionalProperties": false
            }
        ]
    })
}

/// The schema of a policy's settings with the keys that every policy accepts.
fn policy_schema(policy: PolicySchema) -> Json {
    let mut schema = policy.schema.to_value();
    if let Some(Json::Object(properties)) = schema.get_mut("properties") {
        properties.insert(
            "name".into(),
            json!({ "description": "What `without` and replacement call it.", "type": "string", "pattern": NAME_PATTERN }),
        );
        properties.insert("mode".into(), json!({ "$ref": "#/$defs/~Mode" }));
        properties.insert(
            "locked".into(),
            json!({ "description": "Whether inner lists may neither remove nor replace it.", "type": "boolean" }),
        );
        if policy.stages.len() > 1 {
            let help = "In which stage it runs; the first is the default.";
            properties.insert("stage".into(), json!({ "description": help, "enum": policy.stages }));
        }
    }
    schema
}

/// Makes the definition `name` a map with exactly one of the kinds. Their own definitions move into the file's, each
/// under a prefix, so that equal names of two kinds stay apart.
fn plug(defs: &mut Map<String, Json>, name: &str, prefix: &str, kinds: Vec<(String, Json)>) {
    let mut properties = Map::new();
    for (kind, schema) in kinds {
        let reference = adopt(defs, prefix, &kind, schema);
        properties.insert(kind, reference);
    }
    let closed = !properties.is_empty();
    let mut map =
        json!({ "type": "object", "minProperties": 1, "maxProperties": 1, "properties": properties });
    if closed {
        map["additionalProperties"] = json!(false);
    }
    defs.insert(name.into(), map);
}

/// The definition of a destination: one of the whole maps, or a map with exactly one of the single kinds.
fn destinations_of(defs: &mut Map<String, Json>, whole: Vec<(String, Json)>, single: Vec<(String, Json)>) {
    if whole.is_empty() {
        return plug(defs, "Kind", "destination", single);
    }
    let mut choices = Vec::new();
    for (kind, mut schema) in whole {
        let mut required = schema["required"].as_array().cloned().unwrap_or_default();
        if !required.contains(&json!(kind)) {
            required.push(json!(kind));
            schema["required"] = Json::Array(required);
        }
        choices.push(adopt(defs, "destination", &kind, schema));
    }
    if !single.is_empty() {
        plug(defs, "SingleKind", "destination", single);
        choices.push(json!({ "$ref": "#/$defs/SingleKind" }));
    }
    defs.insert("Kind".into(), json!({ "anyOf": choices }));
}

/// Moves a schema and its own definitions into the file's; gives the reference to it.
fn adopt(defs: &mut Map<String, Json>, prefix: &str, kind: &str, mut schema: Json) -> Json {
    let own = schema.as_object_mut().and_then(|schema| {
        schema.remove("$schema");
        schema.remove("$defs")
    });
    let lead = format!("{prefix}.{kind}.");
    relocate(&mut schema, &lead);
    if let Some(Json::Object(own)) = own {
        for (name, mut definition) in own {
            relocate(&mut definition, &lead);
            defs.insert(format!("{lead}{name}"), definition);
        }
    }
    defs.insert(format!("{prefix}.{kind}"), schema);
    json!({ "$ref": format!("#/$defs/{prefix}.{kind}") })
}

/// Puts a prefix on every reference to a definition; `~X` means the file's own `X`.
fn relocate(schema: &mut Json, lead: &str) {
    match schema {
        Json::Object(map) => {
            for (key, value) in map {
                match value {
                    Json::String(target) if key == "$ref" => {
                        if let Some(own) = target.strip_prefix("#/$defs/") {
                            *target = match own.strip_prefix('~') {
                                Some(shared) => format!("#/$defs/{shared}"),
                                None => format!("#/$defs/{lead}{own}"),
                            };
                        }
                    }
                    value => relocate(value, lead),
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|item| relocate(item, lead)),
        _ => {}
    }
}

/// Lets `{ env: X }` and `{ file: F }` stand for every scalar.
fn outside(schema: &mut Json) {
    match schema {
        Json::Object(map) => {
            for (key, value) in map.iter_mut() {
                match key.as_str() {
                    "propertyNames" | "enum" | "const" | "default" | "required" | "examples" => {}
                    "properties" | "$defs" | "patternProperties" => {
                        if let Json::Object(named) = value {
                            named.values_mut().for_each(outside);
                        }
                    }
                    _ => outside(value),
                }
            }
            let scalar =
                |kind: &Json| matches!(kind.as_str(), Some("string" | "integer" | "number" | "boolean"));
            let wraps = match map.get("type") {
                Some(Json::Array(kinds)) => kinds.iter().any(scalar),
                Some(kind) => scalar(kind),
                None => map.contains_key("enum") || map.contains_key("const"),
            };
            if wraps {
                let mut inner = std::mem::take(map);
                for key in ["description", "default", "title"] {
                    if let Some(value) = inner.remove(key) {
                        map.insert(key.into(), value);
                    }
                }
                map.insert("anyOf".into(), json!([inner, { "$ref": "#/$defs/Outside" }]));
            }
        }
        Json::Array(items) => items.iter_mut().for_each(outside),
        _ => {}
    }
}
