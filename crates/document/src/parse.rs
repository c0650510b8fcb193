//! Text to tree: one strict YAML document (JSON reads the same), with bounds on size, depth and number of nodes.
//! Refused with a hint: tags, anchors, aliases, merge keys, several documents, duplicate keys.
//! Never panics, whatever the bytes.

use crate::diagnostic::{Diagnostic, sort};
use crate::node::{Key, Node, Value, is_number};
use crate::source::{SourceId, Span, WHITE};
use crate::traps;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

/// The largest document in bytes, and the most bytes of all the texts of one configuration.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;
/// How deep lists and maps may nest.
pub const MAX_DEPTH: usize = 64;
/// The most values (keys count too) that one document, and one configuration, may hold: 100,000 ordinary routes take
/// 1,600,000. It bounds memory: a value of an ordinary document costs about 100 bytes, one in a list that stands on a
/// single line up to 470 while it is read; so 2 GB at the worst.
pub const MAX_NODES: usize = 4_000_000;
/// After this many warnings no more are told; after this many errors, reading stops.
const MAX_PROBLEMS: usize = 100;

/// What may still be read of a configuration: one for all of its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of text; [`MAX_BYTES`] at first.
    pub bytes: usize,
    /// Values and keys; [`MAX_NODES`] at first.
    pub nodes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { bytes: MAX_BYTES, nodes: MAX_NODES }
    }
}

/// Reads one document. The tree is `None` when the text cannot be read as one (the problems then hold an error); with
/// errors such as a duplicate key there is a tree all the same, so that checks can go on and find more.
pub fn parse(text: &str, source: SourceId) -> (Option<Node>, Vec<Diagnostic>) {
    parse_within(text, source, &mut Budget::default())
}

/// The same for one of several texts: what it holds is taken from the budget.
pub fn parse_within(text: &str, source: SourceId, budget: &mut Budget) -> (Option<Node>, Vec<Diagnostic>) {
    if let Some(problem) = refuse_text(text, source, *budget) {
        return (None, vec![problem]);
    }
    budget.bytes -= text.len();
    let mut builder = Builder::new(text, source, budget.nodes);
    let result = read(text, source, &mut builder);
    budget.nodes -= builder.nodes.min(budget.nodes);
    result
}

fn read(text: &str, source: SourceId, builder: &mut Builder<'_>) -> (Option<Node>, Vec<Diagnostic>) {
    let base = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let offsets = Offsets::new(&text[base..], base);
    let mut parser = Parser::new_from_str(&text[base..]);
    while let Some(event) = parser.next_event() {
        let stop = match event {
            Ok((event, span)) => {
                let span = offsets.span(source, span.start.index(), span.end.index());
                builder.take(event, span).err().map(|problem| *problem)
            }
            Err(error) => Some(explain(text, source, &offsets, &error)),
        };
        let is_over = stop.is_some() || builder.errors() > MAX_PROBLEMS;
        builder.problems.extend(stop);
        if is_over {
            return (None, builder.sorted_problems());
        }
    }
    let empty = || Node::new(Span::new(source, 0, 0), Value::Null);
    (Some(builder.root.take().unwrap_or_else(empty)), builder.sorted_problems())
}

/// Each value of a list or map in brackets costs one of these. The parser holds all tokens of such a list before it
/// gives the first: what counts values as they come counts too late.
const MARKS: &[u8] = b",:?[{";

fn refuse_text(text: &str, source: SourceId, budget: Budget) -> Option<Diagnostic> {
    let at = Span::new(source, 0, 0);
    if text.len() > budget.bytes {
        return Some(Diagnostic::error("too_large", at, too_many_bytes()));
    }
    if text.bytes().filter(|byte| MARKS.contains(byte)).count() > budget.nodes {
        let message = format!("the configuration holds more than {MAX_NODES} of the characters `, : ? [ {{`");
        return Some(Diagnostic::error("too_large", at, message));
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

/// The message for what is beyond [`Budget::bytes`].
pub fn too_many_bytes() -> String {
    format!("the configuration has more than {} MiB of text", MAX_BYTES / (1024 * 1024))
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
    max_nodes: usize,
    problems: Vec<Diagnostic>,
}

type Stop = Box<Diagnostic>;

impl<'t> Builder<'t> {
    fn new(text: &'t str, source: SourceId, max_nodes: usize) -> Self {
        let (stack, problems) = (Vec::new(), Vec::new());
        Builder { text, source, stack, root: None, documents: 0, nodes: 0, max_nodes, problems }
    }

    fn sorted_problems(&mut self) -> Vec<Diagnostic> {
        sort(&mut self.problems);
        std::mem::take(&mut self.problems)
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
        if self.nodes > self.max_nodes {
            let message = format!("the configuration holds more than {MAX_NODES} values");
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
        Span { end: span.start + slice.trim_end_matches(WHITE).len() as u32, ..span }
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

#[cfg(test)]
mod tests {
    use super::{Budget, MAX_BYTES, MAX_NODES, parse_within};
    use crate::source::Sources;

    fn read(text: &str, budget: &mut Budget) -> Result<(), String> {
        let mut sources = Sources::new();
        let id = sources.add("t", "");
        let (node, problems) = parse_within(text, id, budget);
        assert_eq!(node.is_none(), !problems.is_empty());
        problems.first().map_or(Ok(()), |problem| Err(problem.message.clone()))
    }

    #[test]
    fn several_texts_share_one_budget() {
        let mut budget = Budget { bytes: 30, nodes: 10 };
        assert_eq!(read("a: [1, 2]\n", &mut budget), Ok(()));
        assert_eq!(budget, Budget { bytes: 20, nodes: 5 });
        assert_eq!(read("- 1\n- 2\n- 3\n- 4\n", &mut budget), Ok(()));
        assert_eq!(budget, Budget { bytes: 4, nodes: 0 });
        assert!(read("a", &mut budget).unwrap_err().contains("values"));
        assert!(read("aaaa ", &mut budget).unwrap_err().contains("64 MiB"));
    }

    #[test]
    fn the_bound_stands_exactly_where_it_is_said() {
        let items = "-\n".repeat(99);
        assert_eq!(read(&items, &mut Budget { bytes: 1000, nodes: 100 }), Ok(()));
        assert!(read(&items, &mut Budget { bytes: 1000, nodes: 99 }).unwrap_err().contains("values"));
        // The parser would hold the tokens of all of it at once: it is never asked.
        let marks = "[,,,]";
        assert!(read(marks, &mut Budget { bytes: 5, nodes: 3 }).unwrap_err().contains("characters"));
    }

    /// 100,000 of these fit twice.
    #[test]
    fn a_hundred_thousand_ordinary_routes_fit() {
        let routes: String = (0..1000)
            .map(|n| {
                format!(
                    "      route-{n}:\n        match: {{ path: \"/api/v1/tenants/t{n}/orders/{{id}}\", \
                     methods: [ GET, POST ] }}\n        to: users\n        policies: [ users-only, quota ]\n"
                )
            })
            .collect();
        let mut budget = Budget::default();
        assert_eq!(read(&format!("routes:\n{routes}"), &mut budget), Ok(()));
        assert!((MAX_NODES - budget.nodes) * 100 * 2 < MAX_NODES, "{budget:?}");
        assert!((MAX_BYTES - budget.bytes) * 100 * 2 < MAX_BYTES, "{budget:?}");
    }
}
