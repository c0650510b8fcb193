//! What every policy of the registry must keep, checked over all of them: names, documentation, settings, hooks, reasons.
//! Fails with a sentence that says what to do.

use std::path::PathBuf;

use narthex_contract::{Exchange, Flow, Hooks, RegisteredPolicy, RequestCx, ResponseCx};
use narthex_document::Node;
use narthex_testkit::CountingAllocator;
use narthex_testkit::conformance::{self as check, Kind};
use narthex_wire::{Framing, ResponseHead};

use crate::shared::testing::{Compiled, compile_node, plain_exchange, response};
use crate::{POLICIES, policy};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn source() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Its settings are a list of policies, and its hooks are theirs.
fn is_combination(kind: &dyn RegisteredPolicy) -> bool {
    check::is_list(&kind.schema().into())
}

/// The settings in the fenced YAML blocks of a README.
fn examples(kind: &dyn RegisteredPolicy) -> Vec<Node> {
    let name = kind.name();
    let blocks = check::yaml_blocks(name, &check::readme(&source(), name));
    let settings = blocks.iter().map(|block| block.get(name).cloned());
    settings
        .map(|found| found.unwrap_or_else(|| panic!("{name}: a README example is `{name}: settings`")))
        .collect()
}

fn kinds() -> Vec<Kind<'static>> {
    let kind = |kind: &&'static dyn RegisteredPolicy| {
        let kind = *kind;
        Kind {
            name: kind.name(),
            summary: kind.summary(),
            schema: kind.schema().into(),
            reasons: kind.reasons(),
            readme: check::readme(&source(), kind.name()),
            examples: examples(kind),
            compile: Box::new(move |settings| compile_node(kind, settings).map(|_| ())),
        }
    };
    POLICIES.iter().map(kind).collect()
}

fn compiled(kind: &dyn RegisteredPolicy, settings: &Node) -> Compiled {
    compile_node(kind, settings)
        .unwrap_or_else(|told| panic!("{}: a README example does not compile: {told}", kind.name()))
}

#[test]
fn every_folder_is_registered_under_its_name_and_in_order() {
    let names: Vec<&str> = POLICIES.iter().map(|kind| kind.name()).collect();
    check::folders_are_the_registry(&source(), &names);
    for name in names {
        assert_eq!(policy(name).map(|kind| kind.name()), Some(name), "`policy` finds {name}");
    }
    assert!(policy("no_such_policy").is_none());
}

#[test]
fn every_policy_has_a_stage_and_a_summary() {
    for kind in POLICIES {
        assert!(!kind.stages().is_empty(), "{}: STAGES needs at least its default", kind.name());
    }
    check::kinds_are_listed(&kinds(), include_str!("../README.md"), |kind| {
        let stage = policy(kind.name).unwrap().stages()[0];
        format!("| [`{0}`](src/{0}/README.md) | {stage} |", kind.name)
    });
}

#[test]
fn every_example_compiles_and_fits_its_schema() {
    check::examples_hold(&kinds(), |schema, settings| {
        let validator = jsonschema::validator_for(schema).unwrap();
        validator.iter_errors(settings).map(|error| error.to_string()).collect()
    });
}

#[test]
fn an_unknown_field_is_refused_wherever_fields_are_known() {
    check::unknown_fields_are_refused(&kinds());
}

#[test]
fn every_field_is_described_in_the_schema_and_in_the_readme() {
    check::fields_are_described(&kinds());
}

#[test]
fn reasons_are_unique_and_documented() {
    check::reasons_are_unique_and_documented(&kinds());
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
            let before = CountingAllocator::count();
            for _ in 0..10 {
                round(*kind, &compiled, &mut exchange, &mut answer);
            }
            let made = CountingAllocator::count() - before;
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
    let before = CountingAllocator::count();
    drop(std::hint::black_box(vec![1u8; 100]));
    assert_eq!(CountingAllocator::count() - before, 1);
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
            .filter_map(|file| std::fs::read_to_string(source().join(kind.name()).join(file)).ok())
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
