//! Tree to YAML text: for showing a merged configuration. Every text that could read as something else is quoted, so
//! what is written reads back as the same tree. Secrets are written as `***`.

use crate::node::{Node, Origin, Value, is_number};
use crate::source::Sources;
use std::fmt::Write as _;

/// What is written beside the values.
#[derive(Debug, Clone, Copy)]
pub enum Shown<'s> {
    /// The values alone.
    Plain,
    /// Each value with `# file:line` (and the variable or file that it came from).
    Origins(&'s Sources),
}

/// The tree as YAML in block style, keys in their order, indented by two spaces. Ends with a line break.
pub fn to_yaml(node: &Node, shown: Shown<'_>) -> String {
    let mut out = String::new();
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => map(&mut out, node, 0, shown, false),
        Value::List(items) if !items.is_empty() => list(&mut out, node, 0, shown),
        _ => scalar_line(&mut out, node, shown, ""),
    }
    out
}

fn map(out: &mut String, node: &Node, indent: usize, shown: Shown<'_>, mut inline: bool) {
    for (key, value) in node.entries() {
        if !std::mem::take(&mut inline) {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(&text(&key.text));
        out.push(':');
        below(out, value, indent + 2, shown);
    }
}

fn list(out: &mut String, node: &Node, indent: usize, shown: Shown<'_>) {
    for item in node.items() {
        out.push_str(&" ".repeat(indent));
        out.push('-');
        match &item.value {
            Value::Map(entries) if !entries.is_empty() => {
                out.push(' ');
                map(out, item, indent + 2, shown, true);
            }
            _ => below(out, item, indent + 2, shown),
        }
    }
}

fn below(out: &mut String, node: &Node, indent: usize, shown: Shown<'_>) {
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => {
            out.push('\n');
            map(out, node, indent, shown, false);
        }
        Value::List(items) if !items.is_empty() => {
            out.push('\n');
            list(out, node, indent, shown);
        }
        _ => scalar_line(out, node, shown, " "),
    }
}

fn scalar_line(out: &mut String, node: &Node, shown: Shown<'_>, lead: &str) {
    out.push_str(lead);
    out.push_str(&scalar(node));
    if let Shown::Origins(sources) = shown {
        let place = sources.file_line(node.span);
        let from = match &node.origin {
            Origin::Text => None,
            Origin::Env(name) => Some(format!("env {name}")),
            Origin::File(path) => Some(format!("file {path}")),
        };
        match (place, from) {
            (Some(place), Some(from)) => {
                let _ = write!(out, "  # from {place} ({})", one_line(&from));
            }
            (Some(place), None) => {
                let _ = write!(out, "  # from {}", one_line(&place));
            }
            (None, Some(from)) => {
                let _ = write!(out, "  # from {}", one_line(&from));
            }
            (None, None) => {}
        }
    }
    out.push('\n');
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn scalar(node: &Node) -> String {
    match &node.value {
        _ if node.is_secret() => "\"***\"".into(),
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.clone(),
        Value::Text(value) => text(value),
        Value::List(_) => "[]".into(),
        Value::Map(_) => "{}".into(),
    }
}

/// A text as a scalar: plain when it is safe in every YAML reader, else in double quotes.
fn text(value: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.');
    let starts = value.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_'));
    let lower = value.to_ascii_lowercase();
    let reserved =
        matches!(lower.as_str(), "null" | "true" | "false" | "on" | "off" | "yes" | "no" | "y" | "n");
    if starts && value.chars().all(word) && !reserved && !is_number(value) {
        return value.to_owned();
    }
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
