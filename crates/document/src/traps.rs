//! What people run into with YAML: turns the parser's complaint into what to quote.
//! Only words messages; decides nothing about the tree.

use crate::diagnostic::Diagnostic;
use crate::node::{Value, clip};
use crate::source::{SourceId, Span, WHITE};

/// A message for a text that cannot be read at byte `at`; `info` is the parser's own complaint.
pub(crate) fn explain(text: &str, source: SourceId, at: u32, info: &str) -> Diagnostic {
    let here = at as usize;
    let line_start = text[..here].rfind('\n').map_or(0, |n| n + 1);
    let indent = &text[line_start..line_start + leading_white(&text[line_start..])];
    if indent.contains('\t') {
        let tab = line_start + indent.find('\t').unwrap_or(0);
        let span = Span::new(source, tab as u32, tab as u32 + 1);
        return Diagnostic::error("tab", span, "a tab stands in the indentation")
            .with_help("indent with spaces");
    }
    if let Some(problem) = placeholder(text, source, line_start, here) {
        return problem;
    }
    let rest = &text[here..];
    let word = word_at(rest);
    let span = Span::new(source, at, at + word.len() as u32);
    let quoted = format!("quote it: \"{}\"", clip(word));
    match rest.chars().next() {
        Some('*') => alias(text, source, at),
        Some(c @ ('&' | '!')) => {
            let what = if c == '&' { "an anchor" } else { "a tag" };
            Diagnostic::error("unquoted", span, format!("`{c}` starts {what} in YAML")).with_help(quoted)
        }
        Some(c @ ('@' | '`' | '%' | '|' | '>')) => {
            Diagnostic::error("unquoted", span, format!("a plain text cannot start with `{c}`"))
                .with_help(quoted)
        }
        None => {
            Diagnostic::error("syntax", Span::new(source, at, at), format!("the text ends too early: {info}"))
                .with_help("look for a quote or bracket that is not closed")
        }
        _ => general(text, source, at, info),
    }
}

fn general(text: &str, source: SourceId, at: u32, info: &str) -> Diagnostic {
    let span = Span::new(source, at, at);
    let problem = Diagnostic::error("syntax", span, format!("this is not YAML: {info}"));
    if info.contains("mapping values") {
        return problem.with_help("quote the text if the `: ` belongs to it, or check the indentation");
    }
    if info.contains("simple key") || info.contains("block") || info.contains("indent") {
        return problem.with_help(
            "check the indentation of this line and the one before, and that each key has its `:`",
        );
    }
    let before = text[..at as usize].trim_end_matches(WHITE);
    if before.ends_with(['"', '\'']) {
        return problem.with_help(
            "nothing may follow a closing quote; quote the whole text, or escape the inner quote",
        );
    }
    problem
}

/// A `{id}` glued to a plain text inside `{…}` or `[…]`: `match: { path: /users/{id} }`.
fn placeholder(text: &str, source: SourceId, line_start: usize, here: usize) -> Option<Diagnostic> {
    let line_end = text[here..].find('\n').map_or(text.len(), |n| here + n);
    let line = &text[line_start..line_end];
    for (at, _) in line.match_indices('{') {
        let before = &line[..at];
        let start = before.rfind([' ', ',', '[', '{']).map_or(0, |n| n + 1);
        let glued = &before[start..];
        if glued.is_empty() || glued.contains(['"', '\'']) || line_start + at > here {
            continue;
        }
        let rest = &line[start..];
        let close = rest.rfind(|c: char| !matches!(c, ' ' | ',' | '}' | ']')).map_or(rest.len(), |n| n + 1);
        let inner = rest[at - start..].find('}').map_or(rest.len(), |n| at - start + n + 1);
        let stop = rest[inner..].find([' ', ',', '}', ']']).map_or(rest.len(), |n| inner + n);
        let word = &rest[..stop.max(inner).min(rest.len().max(close))];
        let from = (line_start + start) as u32;
        let span = Span::new(source, from, from + word.len() as u32);
        let message = "an unquoted `{…}` inside `{ }` or `[ ]` reads as a map";
        return Some(
            Diagnostic::error("unquoted", span, message).with_help(format!("quote it: \"{}\"", clip(word))),
        );
    }
    None
}

/// `*` where a value is expected.
pub(crate) fn alias(text: &str, source: SourceId, at: u32) -> Diagnostic {
    let word = word_at(&text[at as usize..]);
    let span = Span::new(source, at, at + word.len() as u32);
    let help = format!("quote it: \"{}\"", clip(word));
    Diagnostic::error("unquoted", span, "`*` starts an alias in YAML, and aliases are not read")
        .with_help(help)
}

/// ` #word` behind a plain value: YAML reads a comment, the author may have meant text.
pub(crate) fn comment_after(text: &str, span: Span, value: &Value) -> Option<Diagnostic> {
    // Looks only at what follows directly: this runs for every plain scalar, and a line may be the whole document.
    let rest = text.get(span.end as usize..)?;
    let after = rest.strip_prefix(':').unwrap_or(rest);
    let white = leading_white(after);
    let comment = after[white..].strip_prefix('#')?;
    if white == 0 || comment.is_empty() || comment.starts_with([' ', '\t', '\r', '\n', '#', '!']) {
        return None;
    }
    let hash = after[white..].lines().next().unwrap_or("").trim_end_matches(WHITE);
    let from = span.end + (rest.len() - after.len() + white) as u32;
    let at = Span { start: from, end: from + hash.len() as u32, ..span };
    if *value == Value::Null {
        let problem =
            Diagnostic::error("truncated", at, "everything from ` #` on is a comment, so the value is empty");
        return Some(problem.with_help(format!("quote it: \"{}\"; or put a space after `#`", clip(hash))));
    }
    let problem =
        Diagnostic::warning("truncated", at, "everything from ` #` on is a comment, not part of the value");
    Some(
        problem
            .with_help("quote the whole value if it belongs to it; put a space after `#` if it is a comment"),
    )
}

fn leading_white(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t']).len()
}

fn word_at(rest: &str) -> &str {
    let end = rest.find([' ', '\t', '\n', '\r', ',', ']', '}']).unwrap_or(rest.len());
    &rest[..end]
}
