//! `{ env: X }` and `{ file: F }`, each with an optional `default`: replaced by what they name, marked secret.
//! No message and no output ever holds such a value.

use crate::load::{Loader, normal};
use narthex_document::{Diagnostic, Node, Origin, Span, Value};
use std::path::Path;

/// The largest file that may stand for a value.
const MAX_VALUE_BYTES: usize = 1024 * 1024;

/// Replaces every reference below `node`; relative paths start at `base`.
pub(crate) fn resolve(node: &mut Node, base: &Path, loader: &mut Loader<'_>) {
    if let Some(reference) = Reference::of(node) {
        *node = reference.value(node.span, base, loader);
        return;
    }
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| resolve(item, base, loader)),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, value)| resolve(value, base, loader)),
        _ => {}
    }
}

enum What {
    Env,
    File,
}

struct Reference {
    what: What,
    name: String,
    default: Option<Node>,
}

impl Reference {
    /// A map `{ env: TEXT }` or `{ file: TEXT }`, with nothing beside but a scalar `default`.
    fn of(node: &Node) -> Option<Reference> {
        let entries = node.entries();
        let (default, named) = match entries {
            [(_, name)] => (None, (&entries[0].0, name)),
            [(a, x), (b, y)] if b.text == "default" => (Some(y), (a, x)),
            [(a, x), (b, y)] if a.text == "default" => (Some(x), (b, y)),
            _ => return None,
        };
        if default.is_some_and(|node| matches!(node.value, Value::List(_) | Value::Map(_))) {
            return None;
        }
        let what = match named.0.text.as_str() {
            "env" => What::Env,
            "file" => What::File,
            _ => return None,
        };
        Some(Reference { what, name: named.1.as_text()?.to_owned(), default: default.cloned() })
    }

    fn value(self, span: Span, base: &Path, loader: &mut Loader<'_>) -> Node {
        let (found, origin, problem) = match self.what {
            What::Env => {
                let problem = Diagnostic::error(
                    "missing_env",
                    span,
                    format!("the environment variable {} is not set", self.name),
                );
                let help = format!("set it, or give a default: {{ env: {}, default: … }}", self.name);
                (
                    (loader.options.env)(&self.name),
                    Origin::Env(self.name.as_str().into()),
                    problem.with_help(help),
                )
            }
            What::File => {
                let path = normal(&base.join(&self.name));
                loader.note(&path);
                let (found, cause) = match (loader.options.read)(&path) {
                    Ok(text) if text.len() > MAX_VALUE_BYTES => (None, "it is larger than 1 MiB".to_owned()),
                    Ok(text) => (Some(without_last_newline(text)), String::new()),
                    Err(error) => (None, error.to_string()),
                };
                let message = format!("cannot read {}: {cause}", path.display());
                let problem = Diagnostic::error("missing_file", span, message);
                let origin = Origin::File(path.display().to_string().into());
                (found, origin, problem.with_help("the path is relative to the file that names it"))
            }
        };
        if let Some(Err(message)) = found.as_ref().map(|text| loader.spend(text.len())) {
            loader.problems.push(Diagnostic::error("too_large", span, message));
            loader.failed.insert(span);
            return Node { span, value: Value::Text(String::new()), origin };
        }
        match (found, self.default) {
            (Some(text), _) => Node { span, value: Value::Text(text), origin },
            (None, Some(default)) => Node { span, ..default },
            (None, None) => {
                loader.problems.push(problem);
                loader.failed.insert(span);
                Node { span, value: Value::Text(String::new()), origin }
            }
        }
    }
}

fn without_last_newline(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

/// Takes every secret out of messages: at its own place whatever its length, elsewhere from 6 characters on.
pub(crate) fn redact(node: &Node, problems: &mut [Diagnostic]) {
    if problems.is_empty() {
        return;
    }
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| redact(item, problems)),
        Value::Map(entries) => entries.iter().for_each(|(_, value)| redact(value, problems)),
        Value::Text(secret) if node.is_secret() && !secret.is_empty() => {
            for problem in problems {
                if secret.chars().count() < 6 && problem.span != node.span {
                    continue;
                }
                let labels = problem.labels.iter_mut().map(|(_, text)| text);
                for text in [&mut problem.message].into_iter().chain(&mut problem.help).chain(labels) {
                    if text.contains(secret.as_str()) {
                        *text = text.replace(secret.as_str(), "***");
                    }
                }
            }
        }
        _ => {}
    }
}
