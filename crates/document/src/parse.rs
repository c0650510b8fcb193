//! Text to tree: one strict YAML document (JSON reads the same), with bounds on size, depth and number of nodes.
//! Refused with a hint: tags, anchors, aliases, merge keys, several documents, duplicate keys.
//! Never panics, whatever the bytes.

use crate::diagnostic::{Diagnostic, sort};
use crate::node::{Key, Node, Value, is_number};
use crate::source::{SourceId, Span};
use crate::traps;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

/// The largest document in bytes.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;
/// How deep lists and maps may nest.
pub const MAX_DEPTH: usize = 64;
/// The most values that one document may hold.
pub const MAX_NODES: usize = 500_000;
/// After this many warnings no more are told; after this many errors, reading stops.
const MAX_PROBLEMS: usize = 100;

/// Reads one document. The tree is `None` when the text cannot be read as one (the problems then hold an error); with
/// errors such as a duplicate key there is a tree all the same, so that checks can go on and find more.
pub fn parse(text: &str, source: SourceId) -> (Option<Node>, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    if let Some(problem) = refuse_text(text, source) {
        return (None, vec![problem]);
    }
    let base = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let offsets = Offsets::new(&text[base..], base);
    let mut builder = Builder::new(text, source);
    let mut parser = Parser::new_from_str(&text[base..]);
    let mut node = None;
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                builder.problems.push(explain(text, source, &offsets, &error));
                problems.append(&mut builder.problems);
                sort(&mut problems);
                return (None, problems);
            }
        };
        let span = offsets.span(source, span.start.index(), span.end.index());
        if let Err(problem) = builder.take(event, span) {
            builder.problems.push(*problem);
            sort(&mut builder.problems);
            return (None, builder.problems);
        }
        if builder.errors() > MAX_PROBLEMS {
            sort(&mut builder.problems);
            return (None, builder.problems);
        }
    }
    if let Some(root) = builder.root.take() {
        node = Some(root);
    }
    sort(&mut builder.problems);
    let node = node.unwrap_or_else(|| Node::new(Span::new(source, 0, 0), Value::Null));
    (Some(node), builder.problems)
}

fn refuse_text(text: &str, source: SourceId) -> Option<Diagnostic> {
    if text.len() > MAX_BYTES {
        let at = Span::new(source, 0, 0);
        let message = format!("the document has {} bytes; at most {MAX_BYTES} are read", text.len());
        return Some(Diagnostic::error("too_large", at, message).with_help("split it with `include:`"));
    }
    let odd = text.char_indices().find(|(at, c)| match c {
        '\t' | '\n' | '\r' => false,
        '\u{feff}' => *at != 0,
        c => c.is_control(),
    })?;
    let at = Span::new(source, odd.0 as u32, (odd.0 + odd.1.len_utf8()) as u32);
    let message =
        format!("the control character U+{:04X} may not stand in a configuration", u32::from(odd.1));
    Some(
        Diagnostic::error("control_character", at, message)
            .with_help("write it as an escape in double quotes"),
    )
}

/// A scalar of a readable document: its bytes and how it was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    pub start: usize,
    pub end: usize,
    pub style: ScalarStyle,
}

/// Every scalar of a document in order, for the formatter; `None` when the text cannot be read.
pub(crate) fn scalars(text: &str, source: SourceId) -> Option<Vec<Piece>> {
    let offsets = Offsets::new(text, 0);
    let mut pieces = Vec::new();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.ok()?;
        if let Event::Scalar(_, style, ..) = event {
            let span = offsets.span(source, span.start.index(), span.end.index());
            pieces.push(Piece { start: span.start as usize, end: span.end as usize, style });
        }
    }
    Some(pieces)
}

fn explain(text: &str, source: SourceId, offsets: &Offsets, error: &ScanError) -> Diagnostic {
    let at = offsets.byte(error.marker().index());
    traps::explain(text, source, at, error.info())
}

/// From the parser's character indices to byte offsets: nothing to do for ASCII, else a table entry per 64 characters.
struct Offsets<'t> {
    text: &'t str,
    base: usize,
    table: Option<Vec<u32>>,
}

impl<'t> Offsets<'t> {
    fn new(text: &'t str, base: usize) -> Self {
        let table = (!text.is_ascii())
            .then(|| text.char_indices().step_by(64).map(|(at, _)| at as u32).collect::<Vec<u32>>());
        Offsets { text, base, table }
    }

    fn byte(&self, index: usize) -> u32 {
        let Some(table) = &self.table else { return (index.min(self.text.len()) + self.base) as u32 };
        let start = match table.get(index / 64) {
            Some(start) => *start as usize,
            None => return (self.text.len() + self.base) as u32,
        };
        let inside =
            self.text[start..].char_indices().nth(index % 64).map_or(self.text.len() - start, |(at, _)| at);
        (start + inside + self.base) as u32
    }

    fn span(&self, source: SourceId, start: usize, end: usize) -> Span {
        Span::new(source, self.byte(start), self.byte(end))
    }
}

enum Frame {
    List { start: Span, items: Vec<Node> },
    Map { start: Span, entries: Vec<(Key, Node)>, key: Option<Key>, seen: ahash::HashMap<String, Span> },
}

/// A key that takes no part in the tree because an error was reported for it.
const REFUSED: &str = "\0";

struct Builder<'t> {
    text: &'t str,
    source: SourceId,
    stack: Vec<Frame>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
    problems: Vec<Diagnostic>,
}

type Stop = Box<Diagnostic>;

impl<'t> Builder<'t> {
    fn new(text: &'t str, source: SourceId) -> Self {
        Builder { text, source, stack: Vec::new(), root: None, documents: 0, nodes: 0, problems: Vec::new() }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let problem =
                        Diagnostic::error("several_documents", span, "a second document starts here");
                    return Err(Box::new(
                        problem.with_help("remove the `---`; use `include:` to split a file"),
                    ));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), span);
                self.scalar(&text, style, span)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), span);
                self.open(Frame::List { start: span, items: Vec::new() }, span)?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), span);
                let seen = ahash::HashMap::default();
                self.open(Frame::Map { start: span, entries: Vec::new(), key: None, seen }, span)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
            Event::Alias(_) => {
                self.problems.push(traps::alias(self.text, self.source, span.start));
                self.value(Node::new(span, Value::Null))?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn errors(&self) -> usize {
        // Warnings stop at the bound, so this counts only where there are errors.
        if self.problems.len() <= MAX_PROBLEMS {
            0
        } else {
            self.problems.iter().filter(|p| p.is_error()).count()
        }
    }

    fn refuse_extras(&mut self, anchor: usize, tag: bool, span: Span) {
        if anchor != 0 {
            let problem = Diagnostic::error("anchor", span, "anchors (`&name`) are not read");
            self.problems.push(
                problem.with_help(
                    "quote the text if `&` belongs to it; name a policy or use `include:` to share",
                ),
            );
        }
        if tag {
            let problem = Diagnostic::error("tag", span, "tags (`!name`) are not read");
            self.problems.push(problem.with_help("quote the text if `!` belongs to it"));
        }
    }

    fn count(&mut self, span: Span) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("the document holds more than {MAX_NODES} values");
            return Err(Box::new(Diagnostic::error("too_large", span, message)));
        }
        Ok(())
    }

    fn open(&mut self, frame: Frame, span: Span) -> Result<(), Stop> {
        if let Some(Frame::Map { key: None, .. }) = self.stack.last() {
            let problem = Diagnostic::error("odd_key", span, "a list or a map cannot be a key");
            return Err(Box::new(problem.with_help("quote the key if it is text, as in \"{id}\"")));
        }
        if self.stack.len() >= MAX_DEPTH {
            let message = format!("lists and maps nest deeper than {MAX_DEPTH}");
            return Err(Box::new(Diagnostic::error("too_deep", span, message)));
        }
        self.stack.push(frame);
        Ok(())
    }

    fn close(&mut self, end: Span) -> Result<(), Stop> {
        let end = self.trimmed(end, ScalarStyle::Plain);
        let flow_end = (end.end > end.start).then_some(end);
        let node = match self.stack.pop() {
            Some(Frame::List { start, items }) => {
                let last = flow_end.or(items.last().map(|node| node.span)).unwrap_or(start);
                Node::new(start.to(last), Value::List(items))
            }
            Some(Frame::Map { start, entries, .. }) => {
                let last = flow_end.or(entries.last().map(|(_, node)| node.span)).unwrap_or(start);
                Node::new(start.to(last), Value::Map(entries))
            }
            None => return Ok(()),
        };
        self.value(node)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Span) -> Result<(), Stop> {
        let span = self.trimmed(span, style);
        if matches!(self.stack.last(), Some(Frame::Map { key: None, .. })) {
            return self.key(text, style, span);
        }
        let value = match style {
            ScalarStyle::Plain => plain(text),
            _ => Value::Text(text.to_owned()),
        };
        let mut span = span;
        if let (Value::Null, true, Some(Frame::Map { key: Some(key), .. })) =
            (&value, text.is_empty(), self.stack.last())
        {
            span = Span { start: key.span.end, end: key.span.end, ..key.span };
        }
        if style == ScalarStyle::Plain && self.problems.len() < MAX_PROBLEMS {
            self.problems.extend(traps::comment_after(self.text, span, &value));
        }
        self.value(Node::new(span, value))
    }

    /// The parser's spans of plain and block scalars may reach into the white space behind them.
    fn trimmed(&self, span: Span, style: ScalarStyle) -> Span {
        if matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted) {
            return span;
        }
        let Some(slice) = self.text.get(span.start as usize..span.end as usize) else { return span };
        Span { end: span.start + slice.trim_end().len() as u32, ..span }
    }

    fn key(&mut self, text: &str, style: ScalarStyle, span: Span) -> Result<(), Stop> {
        self.count(span)?;
        let Some(Frame::Map { key, seen, .. }) = self.stack.last_mut() else { return Ok(()) };
        let plain = style == ScalarStyle::Plain;
        let mut new = Key { text: text.to_owned(), span };
        if plain && text == "<<" {
            let problem = Diagnostic::error("merge_key", span, "merge keys (`<<`) are not read");
            self.problems.push(problem.with_help("name a policy or use `include:` to share"));
            new.text = REFUSED.into();
        } else if plain && text.is_empty() {
            self.problems.push(Diagnostic::error("odd_key", span, "a key is missing before `:`"));
            new.text = REFUSED.into();
        } else if let Some(first) = seen.get(text) {
            let message = format!("the key `{}` stands here twice", crate::node::clip(text));
            let problem = Diagnostic::error("duplicate_key", span, message).with_label(*first, "first here");
            self.problems.push(problem.with_help("remove or rename one of the two"));
            new.text = REFUSED.into();
        } else {
            seen.insert(text.to_owned(), span);
        }
        *key = Some(new);
        Ok(())
    }

    fn value(&mut self, node: Node) -> Result<(), Stop> {
        self.count(node.span)?;
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, key, .. }) => match key.take() {
                Some(key) if key.text == REFUSED => {}
                Some(key) => entries.push((key, node)),
                None => {
                    let problem =
                        Diagnostic::error("odd_key", node.span, "a list, a map or an alias cannot be a key");
                    return Err(Box::new(problem.with_help("quote the key")));
                }
            },
        }
        Ok(())
    }
}

/// How a plain scalar reads: null, true/false, a JSON number, else text.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ if is_number(text) => Value::Number(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    }
}
