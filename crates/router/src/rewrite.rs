//! The reverse of matching: `rewrite: "/m/{rest}"`, compiled so that nothing is parsed per request.
//! A rewritten path is normal again and can hold no dot segment that was not authorised.

use crate::normalise::normalise_written;
use crate::router::Captures;
use crate::template::{PathPattern, TemplateError, check_name};

/// A compiled rewrite, checked against the path pattern whose captures it uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    /// Index of a capture that is one segment.
    One(usize),
    /// Index of the capture that is the rest; the `/` before it belongs to it.
    Rest(usize),
}

impl Rewrite {
    /// Parses `text` and checks that each `{name}` is captured by `pattern`. The capture of a rest must be
    /// the last segment; others may stand beside literal text (`/item-{id}`).
    pub fn parse(text: &str, pattern: &PathPattern) -> Result<Self, TemplateError> {
        if !text.starts_with('/') {
            return Err(TemplateError::new(0, format!("a path begins with `/`: write `/{text}`")));
        }
        let rest_name = match pattern {
            PathPattern::Template(t) => t.segments().last().filter(|s| matches!(s, crate::Segment::Rest(_))),
            _ => None,
        }
        .and_then(crate::Segment::name);
        let names = pattern.capture_names();
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(open) = text[at..].find(['{', '}']).map(|i| at + i) {
            literal.push_str(&text[at..open]);
            plain.push_str(&text[at..open]);
            let close = text[open..].find('}').map(|i| open + i).filter(|close| *close > open);
            let Some(close) = close else {
                return Err(TemplateError::new(
                    open,
                    "a brace without its partner: write `{name}`, a brace itself `%7B`, `%7D`",
                ));
            };
            let name = text[open + 1..close].trim_end_matches("=**");
            check_name(name, open + 1)?;
            let index = names.iter().position(|n| *n == name).ok_or_else(|| {
                TemplateError::new(
                    open,
                    format!("`{{{name}}}` is not captured by `{pattern}`{}", known(&names, name)),
                )
            })?;
            at = close + 1;
            if Some(name) == rest_name {
                if at != text.len() || !literal.ends_with('/') {
                    let message =
                        format!("`{{{name}}}` is the rest of a path: it must be the whole last segment");
                    return Err(TemplateError::new(open, message));
                }
                literal.pop();
                push_literal(&mut pieces, &mut literal);
                pieces.push(Piece::Rest(index));
            } else {
                push_literal(&mut pieces, &mut literal);
                pieces.push(Piece::One(index));
            }
            plain.push('x');
        }
        literal.push_str(&text[at..]);
        plain.push_str(&text[at..]);
        push_literal(&mut pieces, &mut literal);
        check_plain(&plain, text)?;
        check_dots(text)?;
        Ok(Rewrite { pieces })
    }

    /// Appends the path to `out`. `path` is the normalised path that the captures came from. A captured text
    /// is already one encoded segment: copying it is decoding it once and encoding it again.
    pub fn render(&self, captures: &Captures, path: &str, out: &mut String) {
        let start = out.len();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::One(index) => out.push_str(captures.raw(path, *index).unwrap_or_default()),
                Piece::Rest(index) => {
                    // `/a/{rest=**}` matched `/a`: there is no slash to carry over.
                    if captures.has_separator(path, *index) {
                        out.push('/');
                        out.push_str(captures.raw(path, *index).unwrap_or_default());
                    }
                }
            }
        }
        if out.len() == start {
            out.push('/');
        }
    }
}

fn push_literal(pieces: &mut Vec<Piece>, literal: &mut String) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(std::mem::take(literal).into()));
    }
}

fn known(names: &[&str], name: &str) -> String {
    match names.iter().min_by_key(|n| strsim::damerau_levenshtein(n, name)) {
        Some(near) if strsim::damerau_levenshtein(near, name) <= 2 => format!(": did you mean `{{{near}}}`?"),
        Some(_) => format!(": it captures {}", names.join(", ")),
        None => ", which captures nothing".to_owned(),
    }
}

fn check_plain(plain: &str, text: &str) -> Result<(), TemplateError> {
    if let Some(at) = text.find(['?', '#']) {
        return Err(TemplateError::new(
            at,
            "a rewritten path holds no `?` and no `#`: the query is kept as it is",
        ));
    }
    match normalise_written(plain) {
        Ok(normal) if normal == plain => Ok(()),
        Ok(_) => Err(TemplateError::new(
            0,
            format!(
                "`{text}` is not in normal form: no empty or dot segments, escapes in upper case and only where needed"
            ),
        )),
        Err(error) => Err(TemplateError::new(0, format!("`{text}` would be refused as a request: {error}"))),
    }
}

/// A capture after nothing but dots, or before `;`, could become a dot segment or hide one.
fn check_dots(text: &str) -> Result<(), TemplateError> {
    let mut offset = 0;
    for segment in text.split('/') {
        let outside: String =
            segment.split('{').map(|part| part.split_once('}').map_or(part, |(_, after)| after)).collect();
        if segment.contains('{')
            && (outside.contains(';')
                || outside.contains("%3B")
                || outside.contains("%2F")
                || outside.contains("%5C")
                || (!outside.is_empty() && outside.bytes().all(|b| b == b'.')))
        {
            let message = format!(
                "`{segment}`: beside a capture neither `;`, an encoded slash, nor dots alone may stand"
            );
            return Err(TemplateError::new(offset, message));
        }
        offset += segment.len() + 1;
    }
    Ok(())
}
