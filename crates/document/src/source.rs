//! Where text came from: the registry of sources, spans into them, and positions for people.
//! Offsets are bytes; lines and columns are 1-based and columns count characters.
//! Nothing here knows what the text means.

use std::fmt;
use std::sync::Arc;

/// White space and line breaks of YAML (1.2, 5.4 and 5.5). A no-break or an ideographic space is content.
pub(crate) const WHITE: [char; 4] = [' ', '\t', '\n', '\r'];

/// One registered text, by its place in [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(u32);

/// A half-open range of bytes in one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Which text.
    pub source: SourceId,
    /// The first byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The span of a value that no text holds (a default, a value made by a program).
    pub const NONE: Span = Span { source: SourceId(u32::MAX), start: 0, end: 0 };

    /// A span of `start..end` in `source`.
    pub fn new(source: SourceId, start: u32, end: u32) -> Self {
        Span { source, start, end: end.max(start) }
    }

    /// Whether this is [`Span::NONE`].
    pub fn is_none(&self) -> bool {
        *self == Span::NONE
    }

    /// The smallest span that covers both; `self` when they lie in different sources.
    pub fn to(self, other: Span) -> Span {
        if self.source != other.source {
            return self;
        }
        Span { source: self.source, start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// A place for people: 1-based line, 1-based column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// 1-based.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One text with its display name.
#[derive(Debug, Clone)]
pub struct Source {
    name: String,
    text: Arc<str>,
    line_starts: Vec<u32>,
}

impl Source {
    /// The name shown to people, usually the path as the user gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The text of a 1-based line, without its line break; empty when there is no such line.
    pub fn line(&self, line: usize) -> &str {
        let Some(start) = line.checked_sub(1).and_then(|at| self.line_starts.get(at)) else { return "" };
        let end = self.line_starts.get(line).map_or(self.text.len(), |end| *end as usize);
        self.text
            .get(*start as usize..end)
            .unwrap_or("")
            .trim_end_matches(['\n', '\r'])
            .trim_start_matches('\u{feff}')
    }

    /// The position of a byte offset; offsets past the end are the end.
    pub fn position(&self, offset: u32) -> Position {
        let at = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts[at - 1] as usize;
        let mut end = (offset as usize).min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = self.text.get(start..end).unwrap_or("");
        let column = before.chars().filter(|c| *c != '\u{feff}').count();
        Position { line: at, column: column + 1 }
    }
}

/// The registry of every text that took part in one load.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    list: Vec<Source>,
}

impl Sources {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a text under the name that people see.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<Arc<str>>) -> SourceId {
        let text = text.into();
        let mut line_starts = vec![0];
        line_starts
            .extend(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at as u32 + 1));
        self.list.push(Source { name: name.into(), text, line_starts });
        SourceId(self.list.len() as u32 - 1)
    }

    /// The source behind an id; `None` for [`Span::NONE`] and ids of another registry.
    pub fn source(&self, id: SourceId) -> Option<&Source> {
        self.list.get(id.0 as usize)
    }

    /// The text that a span covers.
    pub fn slice(&self, span: Span) -> Option<&str> {
        self.source(span.source)?.text.get(span.start as usize..span.end as usize)
    }

    /// `file:line:column` of a span's start; `None` for a value that no text holds.
    pub fn place(&self, span: Span) -> Option<String> {
        let source = self.source(span.source)?;
        Some(format!("{}:{}", source.name, source.position(span.start)))
    }

    /// `file:line` of a span's start; `None` for a value that no text holds.
    pub fn file_line(&self, span: Span) -> Option<String> {
        let source = self.source(span.source)?;
        Some(format!("{}:{}", source.name, source.position(span.start).line))
    }
}
