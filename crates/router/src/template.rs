//! Path patterns: exact, template (`/users/{id}`, `/files/{rest=**}`) and regular expression.
//! Parsing happens at build, with errors that point at a byte; nothing here runs per request.

use crate::normalise::normalise_written;

/// The most segments a pattern may have: the tree is walked recursively.
pub const MAX_SEGMENTS: usize = 64;

/// What a route's path must look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// The whole normalised path, byte for byte: `/a/b` is not `/a/b/`.
    Exact(String),
    Template(Template),
    /// A regular expression over the whole normalised path (anchored at both ends). It captures nothing.
    Regex(String),
}

impl PathPattern {
    /// An exact path, or a template when the text holds a brace.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.contains(['{', '}']) {
            return Template::parse(text).map(PathPattern::Template);
        }
        check_normal(text)?;
        if text[1..].split('/').count() > MAX_SEGMENTS {
            return Err(TemplateError::too_long(text));
        }
        Ok(PathPattern::Exact(text.to_owned()))
    }

    /// The names it captures, in the order of the path.
    pub fn capture_names(&self) -> Vec<&str> {
        match self {
            PathPattern::Template(template) => template.capture_names(),
            _ => Vec::new(),
        }
    }
}

/// One segment of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    Literal(String),
    /// `{name}`: exactly one segment that is not empty.
    One(String),
    /// `{name=**}`: everything left, also nothing. Always last.
    Rest(String),
}

/// A parsed template. Invariant: at least one segment, names unique, `Rest` only in the last place,
/// literals normalised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    segments: Vec<Segment>,
}

/// Why a path in the configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// Byte offset in the text that was parsed.
    pub offset: usize,
    /// Cause and fix.
    pub message: String,
}

impl TemplateError {
    pub(crate) fn new(offset: usize, message: impl Into<String>) -> Self {
        TemplateError { offset, message: message.into() }
    }

    fn too_long(text: &str) -> Self {
        Self::new(text.len(), format!("a path may have at most {MAX_SEGMENTS} segments"))
    }
}

impl Template {
    /// Parses `/users/{id}/files/{rest=**}`.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if !text.starts_with('/') {
            return Err(TemplateError::new(0, format!("a path begins with `/`: write `/{text}`")));
        }
        let mut segments: Vec<Segment> = Vec::new();
        let mut offset = 1;
        for part in text[1..].split('/') {
            if let Some(Segment::Rest(name)) = segments.last() {
                let message =
                    format!("`{{{name}=**}}` takes everything that is left: it can only be the last segment");
                return Err(TemplateError::new(offset - 1, message));
            }
            let segment = parse_segment(part, offset)?;
            if let Segment::One(name) | Segment::Rest(name) = &segment {
                let twice = segments.iter().any(|s| s.name() == Some(name));
                if twice {
                    let message = format!("`{{{name}}}` stands twice: give each capture its own name");
                    return Err(TemplateError::new(offset, message));
                }
            }
            segments.push(segment);
            offset += part.len() + 1;
        }
        if segments.len() > MAX_SEGMENTS {
            return Err(TemplateError::too_long(text));
        }
        check_literals(text, &segments)?;
        Ok(Template { segments })
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The names it captures, in the order of the path.
    pub fn capture_names(&self) -> Vec<&str> {
        self.segments.iter().filter_map(Segment::name).collect()
    }
}

impl Segment {
    /// The name of the capture, if it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Segment::Literal(_) => None,
            Segment::One(name) | Segment::Rest(name) => Some(name),
        }
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::One(name) => write!(f, "/{{{name}}}")?,
                Segment::Rest(name) => write!(f, "/{{{name}=**}}")?,
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PathPattern::Exact(text) => f.write_str(text),
            PathPattern::Template(template) => template.fmt(f),
            PathPattern::Regex(text) => write!(f, "regex {text}"),
        }
    }
}

fn parse_segment(part: &str, offset: usize) -> Result<Segment, TemplateError> {
    let Some(open) = part.find('{') else {
        return match part.find('}') {
            Some(at) => {
                Err(TemplateError::new(offset + at, "`}` without `{`: a brace in a path is written `%7D`"))
            }
            None => Ok(Segment::Literal(part.to_owned())),
        };
    };
    let Some(close) = part[open..].find('}').map(|i| open + i) else {
        return Err(TemplateError::new(offset + open, "`{` is never closed: write `{name}` (no `/` inside)"));
    };
    if open != 0 || close + 1 != part.len() {
        let at = if open != 0 { 0 } else { close + 1 };
        let message = format!(
            "`{part}`: a capture is a whole segment, `/{{name}}/`; for a part of a segment use a regular expression"
        );
        return Err(TemplateError::new(offset + at, message));
    }
    let inner = &part[1..close];
    let (name, rest) = match inner.split_once('=') {
        Some((name, "**")) => (name, true),
        Some((name, other)) => {
            let message =
                format!("`={other}` is not known: `{{{name}}}` is one segment, `{{{name}=**}}` the rest");
            return Err(TemplateError::new(offset + 1 + name.len(), message));
        }
        None if inner == "**" || inner.ends_with('*') => {
            let message = format!("`{{{inner}}}` is not known: the rest of a path is written `{{rest=**}}`");
            return Err(TemplateError::new(offset, message));
        }
        None => (inner, false),
    };
    check_name(name, offset + 1)?;
    let name = name.to_owned();
    Ok(if rest { Segment::Rest(name) } else { Segment::One(name) })
}

pub(crate) fn check_name(name: &str, offset: usize) -> Result<(), TemplateError> {
    if name.is_empty() {
        return Err(TemplateError::new(
            offset,
            "a capture needs a name: `{id}`, or `{rest=**}` for the rest",
        ));
    }
    let first_is_digit = name.starts_with(|c: char| c.is_ascii_digit());
    let bad = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    if bad.is_some() || first_is_digit {
        let message =
            format!("`{name}` is no name for a capture: letters, digits and `_`, not beginning with a digit");
        return Err(TemplateError::new(offset + bad.unwrap_or(0), message));
    }
    Ok(())
}

/// Every literal must be in its normal form, or no request could ever match it.
fn check_literals(text: &str, segments: &[Segment]) -> Result<(), TemplateError> {
    // Captures stand for an ordinary segment, so that `/{a}/../b` is seen as what it is.
    let mut plain = String::new();
    for segment in segments {
        plain.push('/');
        plain.push_str(match segment {
            Segment::Literal(literal) => literal,
            Segment::One(_) | Segment::Rest(_) => "x",
        });
    }
    match check_normal(&plain) {
        Ok(()) => Ok(()),
        Err(_) => Err(literal_error(text, segments, &plain)),
    }
}

fn literal_error(text: &str, segments: &[Segment], plain: &str) -> TemplateError {
    let mut offset = 1;
    for (i, segment) in segments.iter().enumerate() {
        if let Segment::Literal(literal) = segment {
            let empty = literal.is_empty() && i + 1 < segments.len();
            if empty || literal == "." || literal == ".." {
                let message =
                    format!("`{text}` holds an empty or a dot segment: requests are matched without them");
                return TemplateError::new(offset, message);
            }
            match normalise_written(&format!("/{literal}")) {
                Ok(normal) if normal[1..] == **literal => {}
                Ok(normal) => {
                    let message = format!("`{literal}` is not in normal form: write `{}`", &normal[1..]);
                    return TemplateError::new(offset, message);
                }
                Err(error) => {
                    return TemplateError::new(offset, format!("`{literal}` can match no request: {error}"));
                }
            }
        }
        offset += segment.to_text_len() + 1;
    }
    let message = match normalise_written(plain) {
        Ok(_) => format!("`{text}` is not in normal form: leave out empty and dot segments"),
        Err(error) => format!("`{text}` can match no request: {error}"),
    };
    TemplateError::new(0, message)
}

impl Segment {
    fn to_text_len(&self) -> usize {
        match self {
            Segment::Literal(text) => text.len(),
            Segment::One(name) => name.len() + 2,
            Segment::Rest(name) => name.len() + 5,
        }
    }
}

fn check_normal(text: &str) -> Result<(), TemplateError> {
    if !text.starts_with('/') {
        return Err(TemplateError::new(0, format!("a path begins with `/`: write `/{text}`")));
    }
    if let Some(at) = text.find(['?', '#']) {
        let message = "a path holds no `?` and no `#`: match the query with `query:`, write the characters `%3F`, `%23`";
        return Err(TemplateError::new(at, message));
    }
    match normalise_written(text) {
        Ok(normal) if normal == text => Ok(()),
        Ok(normal) => {
            let at = text.bytes().zip(normal.bytes()).position(|(a, b)| a != b);
            let at = at.unwrap_or(normal.len().min(text.len()));
            Err(TemplateError::new(at, format!("`{text}` is not in normal form: write `{normal}`")))
        }
        Err(error) => Err(TemplateError::new(0, format!("`{text}` can match no request: {error}"))),
    }
}
