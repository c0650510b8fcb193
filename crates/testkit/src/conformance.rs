//! What every kind of a registry must keep, policy or destination: names, documentation, settings, reasons. Each check
//! panics with a sentence that says what to do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use narthex_contract::{CORE_REASONS, Reason};
use narthex_document::{Key, Node, Span, Value};
use serde_json::Value as Json;

/// A kind of a registry, as the checks see it.
pub struct Kind<'k> {
    pub name: &'static str,
    pub summary: &'static str,
    /// The JSON Schema of its settings.
    pub schema: Json,
    pub reasons: &'static [Reason],
    /// The text of its README.
    pub readme: String,
    /// Settings, out of its README.
    pub examples: Vec<Node>,
    /// Compiles settings.
    pub compile: Box<dyn Fn(&Node) -> Result<(), String> + 'k>,
}

/// The README in the folder of a kind; `source` is the crate's `src`.
pub fn readme(source: &Path, name: &str) -> String {
    let path = source.join(name).join("README.md");
    std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("write {}: every kind has one", path.display()))
}

/// The fenced YAML blocks of a README.
pub fn yaml_blocks(name: &str, readme: &str) -> Vec<Node> {
    let blocks = readme.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next());
    let all: Vec<Node> = blocks.map(crate::compiling::yaml).collect();
    assert!(!all.is_empty(), "{name}: the README needs an example in a ```yaml block");
    all
}

/// The folders of `source`, but for `shared`, are the registry's names, in order.
pub fn folders_are_the_registry(source: &Path, names: &[&str]) {
    let entries = std::fs::read_dir(source).expect("the source is there");
    let folders: BTreeSet<String> = entries
        .map(|entry| entry.expect("the source can be listed").path())
        .filter(|path: &PathBuf| path.is_dir() && !path.ends_with("shared"))
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
    assert_eq!(
        names, folders,
        "the registry's names (left) are the folders of src (right), in alphabetical order"
    );
}

/// The crate's README holds `row` for each kind, and each summary is one sentence.
pub fn kinds_are_listed(kinds: &[Kind<'_>], list: &str, row: impl Fn(&Kind<'_>) -> String) {
    for kind in kinds {
        let row = row(kind);
        assert!(list.contains(&row), "the crate's README lacks a row `{row}`");
        let is_sentence = kind.summary.ends_with('.') && !kind.summary.contains('\n');
        assert!(is_sentence, "{}: SUMMARY is one sentence", kind.name);
    }
}

/// Every example compiles and fits the schema. `judge` gives what is wrong with settings by a schema.
pub fn examples_hold(kinds: &[Kind<'_>], judge: impl Fn(&Json, &Json) -> Vec<String>) {
    for kind in kinds {
        let name = kind.name;
        for settings in &kind.examples {
            if let Err(told) = (kind.compile)(settings) {
                panic!("{name}: a README example does not compile: {told}");
            }
            let told = judge(&kind.schema, &settings.to_json());
            assert!(told.is_empty(), "{name}: a README example does not fit the schema: {told:?}");
        }
    }
}

/// A field that nobody knows is refused wherever fields are known.
pub fn unknown_fields_are_refused(kinds: &[Kind<'_>]) {
    for kind in kinds {
        let name = kind.name;
        for path in maps_with_known_fields(&kind.schema) {
            let mut with = kind.examples[0].clone();
            let Some(place) = place(&mut with, &path) else { continue };
            place.push((Key { text: "zzz_unknown".into(), span: Span::NONE }, Node::default()));
            let told = (kind.compile)(&with).err();
            let told = told.unwrap_or_else(|| panic!("{name}: {path:?} takes an unknown field"));
            assert!(told.contains("zzz_unknown"), "{name}: {told}");
        }
    }
}

/// Every field has a doc comment and a row in the README's table of settings, which has no other rows.
pub fn fields_are_described(kinds: &[Kind<'_>]) {
    for kind in kinds {
        let name = kind.name;
        let all = fields(&kind.schema, "");
        let says_so = takes_nothing(&kind.schema) && kind.readme.contains("There are no settings.");
        let has_none = is_list(&kind.schema) || says_so;
        assert!(
            !all.is_empty() || has_none,
            "{name}: the schema shows no fields, and the README does not say so"
        );
        for (path, field) in &all {
            let is_described =
                field.get("description").and_then(Json::as_str).is_some_and(|text| !text.is_empty());
            assert!(is_described, "{name}: `{path}` needs a doc comment: it is the reference");
            let row = format!("| `{path}` |");
            assert!(kind.readme.contains(&row), "{name}: the README's table of settings lacks a row `{row}`");
        }
        let table = kind.readme.split("## ").next().unwrap_or_default();
        for line in table.lines().filter(|line| line.starts_with("| `")) {
            let is_known = all.iter().any(|(path, _)| line.starts_with(&format!("| `{path}` |")));
            assert!(is_known, "{name}: the README describes a setting that does not exist: {line}");
        }
    }
}

/// The settings are a list: of policies, say.
pub fn is_list(schema: &Json) -> bool {
    schema.get("type").and_then(Json::as_str) == Some("array")
}

/// The settings are a map that no key may stand in.
fn takes_nothing(schema: &Json) -> bool {
    schema.get("properties").is_none() && schema.get("additionalProperties") == Some(&Json::Bool(false))
}

/// No two reasons have one code, and each has a row in its README.
pub fn reasons_are_unique_and_documented(kinds: &[Kind<'_>]) {
    let mut seen: BTreeSet<&str> = CORE_REASONS.iter().map(|reason| reason.code()).collect();
    for kind in kinds {
        let name = kind.name;
        for reason in kind.reasons {
            let code = reason.code();
            assert!(seen.insert(code), "{name}: the reason `{code}` is there already");
            let row = format!("| `{code}` | {} |", reason.status());
            assert!(kind.readme.contains(&row), "{name}: the README's table of reasons lacks a row `{row}`");
        }
    }
}

/// Every field of settings by its dotted path, with its schema.
pub fn fields(schema: &Json, prefix: &str) -> Vec<(String, Json)> {
    let mut all = Vec::new();
    for (name, field) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
        let path = format!("{prefix}{name}");
        all.extend(fields(field, &format!("{path}.")));
        all.push((path, field.clone()));
    }
    all
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
