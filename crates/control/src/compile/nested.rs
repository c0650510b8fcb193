//! Policies inside a policy: what `any_of` and `all_of` are made of. Each is compiled as in a chain; none may be turned off,
//! replaced or only watched from inside.

use std::sync::Arc;

use narthex_config::{Mode, PolicyDef, PolicyRef};
use narthex_contract::{CompileCx, Nested, NestedIn};
use narthex_document::{Diagnostic, Node, Span, from_node};

use super::chains::{registered, stage_of};
use super::host::Host;

/// How deep policies may stand inside policies; a circle of names ends here.
const DEPTH: usize = 8;

pub(super) fn compile(host: &mut Host<'_, '_>, list: &[Node], of: NestedIn<'_>) -> Option<Vec<Nested>> {
    if host.work.depth >= DEPTH {
        let span = list.first().map_or(Span::NONE, |node| node.span);
        let message = format!("policies stand inside policies more than {DEPTH} deep");
        let help = "look for a policy that names itself in its own list";
        host.work.error("nested_too_deep", span, message, help);
        return None;
    }
    host.work.depth += 1;
    let mut is_complete = true;
    let mut nested = Vec::new();
    for (at, node) in list.iter().enumerate() {
        match compile_one(host, at, node, of) {
            Some(one) => nested.push(one),
            None => is_complete = false,
        }
    }
    host.work.depth -= 1;
    is_complete.then_some(nested)
}

fn compile_one(host: &mut Host<'_, '_>, at: usize, node: &Node, of: NestedIn<'_>) -> Option<Nested> {
    let entry: PolicyRef = from_node(node, host.work.problems)?;
    let (name, def, state_name): (Arc<str>, PolicyDef, String) = match entry {
        PolicyRef::Name(name) => match host.work.named_policy(name.as_str()) {
            Some(def) => (Arc::clone(name.shared()), def.clone(), name.to_string()),
            None => {
                let problem = host.work.file.policies.undefined("policy", &name, name.span);
                host.work.problems.push(problem);
                return None;
            }
        },
        PolicyRef::Inline(def) => {
            let name = PolicyRef::Inline(def.clone()).name().to_owned();
            let state_name = format!("{}/{at}-{name}", of.state_name);
            (name.into(), *def, state_name)
        }
    };
    refuse_outer_keys(host, &def, node.span)?;
    let kind = registered(host.work, &def.kind)?;
    let stage = stage_of(host.work, &def, kind)?;
    let mut cx = CompileCx::new(host, of.place, &name, def.settings.span, of.authenticated)
        .with_state_name(state_name);
    let policy = kind.compile(&def.settings, &mut cx)?;
    let stage = cx.stage().unwrap_or(stage);
    let attached = cx.take_attached();
    Some(Nested { name, kind: kind.name(), stage, policy, span: node.span, attached })
}

/// What is said of a whole policy cannot be said of a part.
fn refuse_outer_keys(host: &mut Host<'_, '_>, def: &PolicyDef, span: Span) -> Option<()> {
    let key = match (def.mode == Mode::Shadow, def.locked) {
        (true, _) => "mode: shadow",
        (_, true) => "locked: true",
        _ => return Some(()),
    };
    let message = format!("`{key}` cannot be said of a policy inside another one");
    let help = format!("write `{key}` on the outer policy: give it a name in `policies`, or remove it here");
    host.work.problems.push(Diagnostic::error("nested_key", span, message).with_help(help));
    None
}
