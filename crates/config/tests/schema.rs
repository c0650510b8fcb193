//! The generated JSON Schema, judged by a validator: what the reader takes it takes, and what it refuses it refuses.

use narthex_config::{LoadOptions, PolicySchema, load_text, schema};
use schemars::{JsonSchema, schema_for};
use serde_json::{Value as Json, json};
use std::path::Path;

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Cache {
    /// How long.
    ttl: narthex_document::Time,
    shape: Option<Shape>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Split {
    split: std::collections::BTreeMap<String, u32>,
    sticky: Option<String>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Shape {
    size: u32,
}

fn validator() -> (Json, jsonschema::Validator) {
    let policy = PolicySchema {
        name: "cache".into(),
        schema: schema_for!(Cache),
        stages: vec!["serve".into(), "transform".into()],
    };
    let destinations =
        vec![("split".into(), schema_for!(Split)), ("stale".into(), schema_for!(narthex_document::Time))];
    let schema = schema(vec![policy], destinations);
    let validator = jsonschema::draft202012::new(&schema).expect("a valid schema");
    (schema, validator)
}

fn file(route: Json) -> Json {
    json!({
        "narthex": 1,
        "listeners": { "public": { "address": ":80" } },
        "services": { "users": { "url": "http://users:8080" } },
        "gateways": { "shop": { "listeners": ["public"], "routes": { "all": route } } }
    })
}

#[test]
fn the_schema_agrees_with_the_reader() {
    let (schema, validator) = validator();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let good = [
        json!({ "match": "GET /a/{id}", "to": "users" }),
        json!({ "match": { "path": "/a", "headers": { "X": { "present": true }, "Y": "2" } }, "to": "users", "deadline": "whole" }),
        json!({ "match": "/", "to": { "split": { "users": 1 }, "sticky": "caller.id" }, "fallback": [{ "stale": "10m" }], "timeouts": { "connect": "1s" } }),
        json!({ "match": "/", "to": "users", "policies": [{ "cache": { "ttl": "30s", "mode": "shadow", "stage": "serve", "name": "mine" } }] }),
        json!({ "match": "/", "to": "users", "deadline": { "env": "D", "default": "5s" } }),
    ];
    let bad = [
        json!({ "match": "/", "to": "users", "whithout": [] }),
        json!({ "to": "users" }),
        json!({ "match": "a", "to": "users" }),
        json!({ "match": "/", "to": {} }),
        json!({ "match": "/", "to": "users", "deadline": 15 }),
        json!({ "match": "/", "to": "users", "public": "yes" }),
        json!({ "match": { "path": "/", "headers": { "X": { "regexp": "a" } } }, "to": "users" }),
        json!({ "match": { "path": "/", "client": "phone" }, "to": "users" }),
    ];
    let options = LoadOptions::from_system(Path::new("main.yaml"), &[]);
    for route in good {
        let file = file(route);
        let said: Vec<String> = validator.iter_errors(&file).map(|e| e.to_string()).collect();
        assert!(said.is_empty(), "{file}: {said:?}");
        let loaded = load_text(&options, &file.to_string());
        assert!(loaded.is_good(), "{file}: {}", loaded.render(false));
    }
    for route in bad {
        let file = file(route);
        assert!(!validator.is_valid(&file), "{file}");
        assert!(!load_text(&options, &file.to_string()).is_good(), "{file}");
    }
}

#[test]
fn kinds_are_plugged_in_closed() {
    let (schema, validator) = validator();
    for policy in [
        json!({ "cash": {} }),
        json!({ "cache": {} }),
        json!({ "cache": { "ttl": "30s", "tll": 1 } }),
        json!({ "cache": { "ttl": "30s", "mode": "x" } }),
    ] {
        let file = file(json!({ "match": "/", "to": "users", "policies": [policy] }));
        assert!(!validator.is_valid(&file), "{file}");
    }
    assert_eq!(schema["$defs"]["policy.cache"]["properties"]["ttl"]["description"], "How long.");
    assert!(schema["$defs"]["Route"]["properties"]["match"]["description"].as_str().is_some());
}

/// A stand-in for every policy and destination, so that the example is judged by the file's own schema.
#[test]
fn the_example_fits_the_schema() {
    let any = schemars::Schema::from(true);
    let whole = |kind: &str| schemars::json_schema!({ "type": "object", "properties": { kind: true } });
    let policy =
        |name: &str| PolicySchema { name: name.into(), schema: any.clone(), stages: vec!["serve".into()] };
    let policies = ["rate_limit", "any_of", "cache", "allow"].map(policy).to_vec();
    let kinds = ["split", "aggregate", "grpc", "reply", "stale", "service"]
        .map(|kind| (kind.to_owned(), whole(kind)));
    let validator = jsonschema::draft202012::new(&schema(policies, kinds.to_vec())).expect("a valid schema");
    let mut sources = narthex_document::Sources::new();
    let text = include_str!("shop.yaml");
    let id = sources.add("shop.yaml", text);
    let (node, _) = narthex_document::parse(text, id);
    let json = node.expect("readable").to_json();
    let said: Vec<String> =
        validator.iter_errors(&json).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(said.is_empty(), "{said:#?}");
}
