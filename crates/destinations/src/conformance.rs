//! What every destination of the registry must keep, checked over all of them: names, documentation, settings, reasons.
//! Fails with a sentence that says what to do.

use std::collections::BTreeSet;
use std::path::PathBuf;

use narthex_contract::{CORE_REASONS, DestinationCx, Outcome, RegisteredDestination};
use narthex_document::{Key, Node, Value};
use serde_json::Value as Json;

use crate::testing::{compile_node, plain_exchange, yaml};
use crate::{DESTINATIONS, destination};

fn readme(kind: &dyn RegisteredDestination) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src").join(kind.name()).join("README.md");
    std::fs::read_to_string(&path)
        .unwrap_or_else(|_| panic!("write {}: every destination has one", path.display()))
}

/// The fenced YAML blocks of a README: each is the map behind `to`.
fn examples(kind: &dyn RegisteredDestination) -> Vec<Node> {
    let text = readme(kind);
    let blocks = text.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next());
    let all: Vec<Node> = blocks.map(yaml).collect();
    assert!(!all.is_empty(), "{}: the README needs an example in a ```yaml block", kind.name());
    all
}

#[test]
fn every_folder_is_registered_under_its_name_and_in_order() {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders: BTreeSet<String> = std::fs::read_dir(source)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let names: Vec<String> = DESTINATIONS.iter().map(|kind| kind.name().to_owned()).collect();
    let ordered: Vec<String> = folders.into_iter().collect();
    assert_eq!(
        names, ordered,
        "the registry's names (left) are the folders of src (right), in alphabetical order"
    );
    for name in &names {
        assert_eq!(
            destination(name).map(|kind| kind.name()),
            Some(name.as_str()),
            "`destination` finds {name}"
        );
    }
    assert!(destination("no_such_destination").is_none());
}

#[test]
fn every_destination_has_a_summary() {
    let list = include_str!("../README.md");
    for kind in DESTINATIONS {
        let row = format!("| [`{0}`](src/{0}/README.md) |", kind.name());
        assert!(list.contains(&row), "the crate's README lacks a row `{row}`");
        let summary = kind.summary();
        assert!(
            summary.ends_with('.') && !summary.contains('\n'),
            "{}: SUMMARY is one sentence",
            kind.name()
        );
    }
}

#[test]
fn every_example_compiles_and_answers() {
    for kind in DESTINATIONS {
        for settings in examples(*kind) {
            let compiled = compile_node(*kind, &settings)
                .unwrap_or_else(|told| panic!("{}: a README example does not compile: {told}", kind.name()));
            let mut exchange = plain_exchange();
            let mut cx = DestinationCx::alone(&mut exchange, 1);
            let is_answer = matches!(compiled.answer(&mut cx), Outcome::Answer(_) | Outcome::Forward(_));
            assert!(is_answer, "{}: a README example answers without waiting", kind.name());
        }
    }
}

#[test]
fn every_example_fits_its_schema() {
    for kind in DESTINATIONS {
        let validator = jsonschema::validator_for(kind.schema().as_value()).unwrap();
        for settings in examples(*kind) {
            let told: Vec<String> =
                validator.iter_errors(&settings.to_json()).map(|error| error.to_string()).collect();
            assert!(told.is_empty(), "{}: a README example does not fit the schema: {told:?}", kind.name());
        }
    }
}

#[test]
fn an_unknown_field_is_refused_wherever_fields_are_known() {
    for kind in DESTINATIONS {
        let settings = examples(*kind).remove(0);
        for path in maps_with_known_fields(kind.schema().as_value()) {
            let mut with = settings.clone();
            let Some(place) = place(&mut with, &path) else { continue };
            place.push((
                Key { text: "zzz_unknown".into(), span: narthex_document::Span::NONE },
                Node::default(),
            ));
            let told = compile_node(*kind, &with).err();
            let told = told.unwrap_or_else(|| panic!("{}: {path:?} takes an unknown field", kind.name()));
            assert!(told.contains("zzz_unknown"), "{}: {told}", kind.name());
        }
    }
}

fn place<'n>(node: &'n mut Node, path: &[String]) -> Option<&'n mut Vec<(Key, Node)>> {
    let Value::Map(entries) = &mut node.value else { return None };
    match path.split_first() {
        None => Some(entries),
        Some((first, rest)) => {
            let (_, inner) = entries.iter_mut().find(|(key, _)| key.text == *first)?;
            place(inner, rest)
        }
    }
}

/// The paths of objects with `properties`, the settings themselves (no path) among them.
fn maps_with_known_fields(schema: &Json) -> Vec<Vec<String>> {
    let mut paths = vec![Vec::new()];
    for (name, field) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
        if field.get("properties").is_some() {
            paths.extend(maps_with_known_fields(field).into_iter().map(|mut path| {
                path.insert(0, name.clone());
                path
            }));
        }
    }
    paths
}

/// Every field by its dotted path, with its schema.
fn fields(schema: &Json, prefix: &str) -> Vec<(String, Json)> {
    let mut all = Vec::new();
    for (name, field) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
        let path = format!("{prefix}{name}");
        all.extend(fields(field, &format!("{path}.")));
        all.push((path, field.clone()));
    }
    all
}

#[test]
fn every_field_is_described_in_the_schema_and_in_the_readme() {
    for kind in DESTINATIONS {
        let readme = readme(*kind);
        let all = fields(kind.schema().as_value(), "");
        let own = all.iter().any(|(path, _)| path == kind.name());
        assert!(own, "{}: the settings are the whole map of `to`, so the kind's key is a field", kind.name());
        for (path, field) in &all {
            let is_described =
                field.get("description").and_then(Json::as_str).is_some_and(|text| !text.is_empty());
            assert!(is_described, "{}: `{path}` needs a doc comment: it is the reference", kind.name());
            let row = format!("| `{path}` |");
            assert!(
                readme.contains(&row),
                "{}: the README's table of settings lacks a row `{row}`",
                kind.name()
            );
        }
        let table = readme.split("## ").next().unwrap_or_default();
        for line in table.lines().filter(|line| line.starts_with("| `")) {
            let is_known = all.iter().any(|(path, _)| line.starts_with(&format!("| `{path}` |")));
            assert!(is_known, "{}: the README describes a setting that does not exist: {line}", kind.name());
        }
    }
}

#[test]
fn reasons_are_unique_and_documented() {
    let mut seen: BTreeSet<&str> = CORE_REASONS.iter().map(|reason| reason.code()).collect();
    for kind in DESTINATIONS {
        let readme = readme(*kind);
        assert!(
            readme.contains("## Reasons"),
            "{}: the README says which reasons there are, or that there are none",
            kind.name()
        );
        for reason in kind.reasons() {
            let code = reason.code();
            assert!(seen.insert(code), "{}: the reason `{code}` is there already", kind.name());
            let row = format!("| `{code}` | {} |", reason.status());
            assert!(
                readme.contains(&row),
                "{}: the README's table of reasons lacks a row `{row}`",
                kind.name()
            );
        }
    }
}
