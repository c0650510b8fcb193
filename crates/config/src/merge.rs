//! How trees come together: includes add names and never override, overlays override by name and delete by null.
//! Every node keeps the place where it was written.

use narthex_document::{Diagnostic, Key, Node, Span, Value};

/// Adds an included file. Collections of the top level merge by name; anything that stands in both is an error that
/// names both places.
pub(crate) fn include(base: &mut Node, included: Node, problems: &mut Vec<Diagnostic>) {
    let (Value::Map(base), Value::Map(included)) = (&mut base.value, included.value) else { return };
    for (key, node) in included {
        let Some((first, mine)) = base.iter_mut().find(|(k, _)| k.text == key.text) else {
            base.push((key, node));
            continue;
        };
        if key.text == "narthex" && mine.same(&node) {
            continue;
        }
        let collection = !matches!(key.text.as_str(), "admin" | "access_log" | "overload");
        match (&mut mine.value, node.value) {
            (Value::Map(mine), Value::Map(theirs)) if collection => {
                let places = places(mine);
                for (name, node) in theirs {
                    match places.get(&name.text) {
                        Some(at) => problems.push(twice(&name, mine[*at].0.span)),
                        None => mine.push((name, node)),
                    }
                }
            }
            _ => problems.push(twice(&key, first.span)),
        }
    }
}

/// Where each key of a map stands; the keys of one map differ.
fn places(entries: &[(Key, Node)]) -> ahash::HashMap<String, usize> {
    entries.iter().enumerate().map(|(at, (key, _))| (key.text.clone(), at)).collect()
}

fn twice(key: &Key, first: Span) -> Diagnostic {
    Diagnostic::error("duplicate_key", key.span, format!("`{}` is already there", key.text))
        .with_label(first, "first here")
        .with_help("rename one of the two; use an overlay to override")
}

/// Lays a file over the configuration: maps merge by name, null deletes, everything else replaces.
pub(crate) fn overlay(base: &mut Node, over: Node, problems: &mut Vec<Diagnostic>) {
    lay(base, over, &mut Vec::new(), problems);
}

fn lay(base: &mut Node, over: Node, path: &mut Vec<String>, problems: &mut Vec<Diagnostic>) {
    let replaces = another_kind(base, &over, path);
    match (&mut base.value, over.value) {
        (Value::Map(mine), Value::Map(theirs)) if !replaces => {
            let places = places(mine);
            let mut deleted = ahash::HashSet::default();
            for (key, node) in theirs {
                match places.get(&key.text).copied() {
                    Some(at) if node.is_null() => {
                        deleted.insert(at);
                    }
                    None if node.is_null() => {
                        let message = format!("there is no `{}` to delete", key.text);
                        problems.push(Diagnostic::warning("nothing_deleted", key.span, message));
                    }
                    Some(at) => {
                        path.push(key.text);
                        lay(&mut mine[at].1, node, path, problems);
                        path.pop();
                    }
                    None => mine.push((key, without_nulls(node))),
                }
            }
            let mut at = 0..;
            mine.retain(|_| at.next().is_none_or(|at| !deleted.contains(&at)));
        }
        (_, value) => *base = without_nulls(Node { span: over.span, value, origin: over.origin }),
    }
}

/// What an overlay adds has nothing to delete.
fn without_nulls(mut node: Node) -> Node {
    if let Value::Map(entries) = &mut node.value {
        let kept = std::mem::take(entries).into_iter().filter(|(_, node)| !node.is_null());
        *entries = kept.map(|(key, node)| (key, without_nulls(node))).collect();
    }
    node
}

/// `{ kind: settings }` of another kind replaces the whole; merging would make two kinds of one.
fn another_kind(base: &Node, over: &Node, path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let kinds = matches!(path.as_slice(), ["policies", _] | ["gateways", _, "routes", _, "to"]);
    match (base.entries(), over.entries()) {
        ([(mine, _)], [(theirs, _)]) if kinds => mine.text != theirs.text,
        _ => false,
    }
}
