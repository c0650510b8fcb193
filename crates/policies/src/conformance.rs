//! What every policy of the registry must keep, checked over all of them: names, documentation, settings, hooks, reasons.
//! Fails with a sentence that says what to do.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;

use narthex_contract::{CORE_REASONS, Exchange, Flow, Hooks, RegisteredPolicy, RequestCx, ResponseCx};
use narthex_document::{Key, Node, Value};
use narthex_wire::{Framing, ResponseHead};
use serde_json::Value as Json;

use crate::shared::testing::{Compiled, compile_node, plain_exchange, response, yaml};
use crate::{POLICIES, policy};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[expect(unsafe_code, reason = "counting allocations needs an allocator; it only counts and hands on")]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Its settings are a list of policies, and its hooks are theirs.
fn is_combination(kind: &dyn RegisteredPolicy) -> bool {
    kind.schema().as_value().get("type").and_then(Json::as_str) == Some("array")
}

fn folder(kind: &dyn RegisteredPolicy) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src").join(kind.name())
}

fn readme(kind: &dyn RegisteredPolicy) -> String {
    let path = folder(kind).join("README.md");
    std::fs::read_to_string(&path)
        .unwrap_or_else(|_| panic!("write {}: every policy has one", path.display()))
}

/// The settings in the fenced YAML blocks of a README.
fn examples(kind: &dyn RegisteredPolicy) -> Vec<Node> {
    let text = readme(kind);
    let blocks = text.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next());
    let settings: Vec<Node> = blocks
        .map(|block| {
            let node = yaml(block);
            let found = node.get(kind.name()).cloned();
            found
                .unwrap_or_else(|| panic!("{}: a README example is `{}: settings`", kind.name(), kind.name()))
        })
        .collect();
    assert!(!settings.is_empty(), "{}: the README needs an example in a ```yaml block", kind.name());
    settings
}

fn compiled(kind: &dyn RegisteredPolicy, settings: &Node) -> Compiled {
    compile_node(kind, settings)
        .unwrap_or_else(|told| panic!("{}: a README example does not compile: {told}", kind.name()))
}

#[test]
fn every_folder_is_registered_under_its_name_and_in_order() {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders: BTreeSet<String> = std::fs::read_dir(source)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir() && entry.file_name() != "shared")
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let names: Vec<String> = POLICIES.iter().map(|kind| kind.name().to_owned()).collect();
    let ordered: Vec<String> = folders.into_iter().collect();
    assert_eq!(
        names, ordered,
        "the registry's names (left) are the folders of src (right), in alphabetical order"
    );
    for name in &names {
        assert_eq!(policy(name).map(|kind| kind.name()), Some(name.as_str()), "`policy` finds {name}");
    }
    assert!(policy("no_such_policy").is_none());
}

#[test]
fn every_policy_has_a_stage_and_a_summary() {
    let list = include_str!("../README.md");
    for kind in POLICIES {
        let row = format!("| [`{0}`](src/{0}/README.md) | {1} |", kind.name(), kind.stages()[0]);
        assert!(list.contains(&row), "the crate's README lacks a row `{row}`");
        assert!(!kind.stages().is_empty(), "{}: STAGES needs at least its default", kind.name());
        let summary = kind.summary();
        assert!(
            summary.ends_with('.') && !summary.contains('\n'),
            "{}: SUMMARY is one sentence",
            kind.name()
        );
    }
}

#[test]
fn every_example_compiles() {
    for kind in POLICIES {
        for settings in examples(*kind) {
            compiled(*kind, &settings);
        }
    }
}

#[test]
fn every_example_fits_its_schema() {
    for kind in POLICIES {
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
    for kind in POLICIES {
        let schema = kind.schema();
        let settings = examples(*kind).remove(0);
        for path in maps_with_known_fields(schema.as_value()) {
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
    for kind in POLICIES {
        let readme = readme(*kind);
        let all = fields(kind.schema().as_value(), "");
        assert!(!all.is_empty() || is_combination(*kind), "{}: the schema shows no fields", kind.name());
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
        let known: BTreeSet<String> = all.iter().map(|(path, _)| format!("| `{path}` |")).collect();
        let table = readme.split("## ").next().unwrap_or_default();
        for line in table.lines().filter(|line| line.starts_with("| `")) {
            let is_known = known.iter().any(|row| line.starts_with(row.as_str()));
            assert!(is_known, "{}: the README describes a setting that does not exist: {line}", kind.name());
        }
    }
}

#[test]
fn reasons_are_unique_and_documented() {
    let mut seen: BTreeSet<&str> = CORE_REASONS.iter().map(|reason| reason.code()).collect();
    for kind in POLICIES {
        let readme = readme(*kind);
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

/// One warm round of the hooks that a policy declares, on a request that it lets pass.
fn round(
    kind: &dyn RegisteredPolicy,
    compiled: &Compiled,
    exchange: &mut Exchange,
    answer: &mut ResponseHead,
) {
    let hooks = compiled.policy.hooks();
    let (request, head) = (exchange.request.mark(), answer.head.mark());
    let id = exchange.request_id.len();
    if hooks.has(Hooks::REQUEST) {
        let mut cx = RequestCx { exchange, has_body: false };
        let flow = compiled.policy.on_request(&mut cx);
        assert!(
            matches!(flow, Flow::Continue),
            "{}: the README's example lets a plain GET pass",
            kind.name()
        );
    }
    if hooks.has(Hooks::RESPONSE) {
        let length = Some(5000);
        let mut cx = ResponseCx { exchange, response: answer, length };
        let flow = compiled.policy.on_response(&mut cx);
        assert!(
            matches!(flow, Flow::Continue),
            "{}: the README's example lets a plain answer pass",
            kind.name()
        );
    }
    exchange.request.rollback(request);
    answer.head.rollback(head);
    exchange.request_id.truncate(id);
}

#[test]
fn a_continue_allocates_nothing() {
    for kind in POLICIES {
        for settings in examples(*kind) {
            let compiled = compiled(*kind, &settings);
            let mut exchange = plain_exchange();
            exchange.slots.reset(compiled.slots);
            for (name, value) in
                [("Origin", "https://shop.example"), ("Accept-Encoding", "gzip, br"), ("X-Debug", "1")]
            {
                exchange.request.head.append(&name.parse().unwrap(), value.as_bytes()).unwrap();
            }
            let fields = [
                ("Content-Type", "application/json"),
                ("ETag", "\"a\""),
                ("Vary", "Accept"),
                ("Server", "s"),
            ];
            let mut answer = response(200, Framing::Length(5000), &fields);
            for _ in 0..3 {
                round(*kind, &compiled, &mut exchange, &mut answer);
            }
            let before = ALLOCATIONS.get();
            for _ in 0..10 {
                round(*kind, &compiled, &mut exchange, &mut answer);
            }
            let made = ALLOCATIONS.get() - before;
            assert_eq!(
                made,
                0,
                "{}: a warm Continue allocates nothing, and ten rounds made {made}",
                kind.name()
            );
        }
    }
}

#[test]
fn the_counting_allocator_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(vec![1u8; 100]));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}

/// A hook that a policy declares and does not implement would be called for nothing: the source must hold it, and one
/// that it implements must be declared by some settings.
#[test]
fn declared_hooks_are_implemented_and_the_others_are_not() {
    let hooks = [
        (Hooks::REQUEST, "fn on_request<"),
        (Hooks::REQUEST_BODY, "fn on_request_body<"),
        (Hooks::FAILURE, "fn on_failure<"),
        (Hooks::RESPONSE, "fn on_response<"),
        (Hooks::BODY_STEP, "fn body_step("),
        (Hooks::END, "fn on_end("),
    ];
    for kind in POLICIES {
        let source: String = ["mod.rs", "runtime.rs"]
            .iter()
            .filter_map(|file| std::fs::read_to_string(folder(*kind).join(file)).ok())
            .collect();
        let declared: Vec<Hooks> =
            examples(*kind).iter().map(|node| compiled(*kind, node).policy.hooks()).collect();
        for (hook, signature) in hooks {
            if is_combination(*kind) {
                assert!(source.contains(signature), "{}: it hands `{signature}` on", kind.name());
                continue;
            }
            let is_declared = declared.iter().any(|hooks| hooks.has(hook));
            let is_implemented = source.contains(signature);
            assert_eq!(
                is_declared,
                is_implemented,
                "{}: `{signature}` is implemented: {is_implemented}, and declared by a README example: {is_declared}",
                kind.name()
            );
        }
    }
}
