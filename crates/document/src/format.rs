//! `narthex fmt`: the layout of a document made regular, its content, its quotes and every comment kept.
//! A line-based normaliser that checks itself: a layout that would read as anything else is not used.

use crate::diagnostic::Diagnostic;
use crate::parse::{Piece, scalars};
use crate::source::{SourceId, WHITE};
use saphyr_parser::ScalarStyle;

/// Formats one document: indentation by two spaces per level, one space behind a dash, no white space at line ends, at
/// most one empty line in a row, one line break at the end. Formatting twice changes nothing more.
///
/// # Errors
/// The text cannot be read; every problem that was found.
pub fn format(text: &str, source: SourceId) -> Result<String, Vec<Diagnostic>> {
    let (before, problems) = crate::parse(text, source);
    let Some(before) = before.filter(|_| !problems.iter().any(Diagnostic::is_error)) else {
        return Err(problems);
    };
    let clean = text.strip_prefix('\u{feff}').unwrap_or(text);
    // YAML knows three line breaks (YAML 1.2, 5.4); written is one.
    let clean = clean.replace("\r\n", "\n").replace('\r', "\n");
    let Some(pieces) = scalars(&clean, source) else { return Ok(text.to_owned()) };
    let comments = Lines::new(&clean, &pieces).comments();
    let keeps = |candidate: &String| {
        let (after, problems) = crate::parse(candidate, source);
        let same =
            after.is_some_and(|after| after.same(&before)) && !problems.iter().any(Diagnostic::is_error);
        let pieces = scalars(candidate, source);
        same && pieces.is_some_and(|pieces| Lines::new(candidate, &pieces).comments() == comments)
    };
    let stable = |candidate: &String| {
        scalars(candidate, source).is_some_and(|pieces| Layout::new(candidate, &pieces).run() == *candidate)
    };
    let laid_out = Layout::new(&clean, &pieces).run();
    Ok(if keeps(&laid_out) && stable(&laid_out) { laid_out } else { text.to_owned() })
}

/// The lines of a text with what covers their starts.
struct Lines<'t> {
    text: &'t str,
    pieces: &'t [Piece],
}

impl<'t> Lines<'t> {
    fn new(text: &'t str, pieces: &'t [Piece]) -> Self {
        Lines { text, pieces }
    }

    /// The scalar that covers a byte, its first byte included.
    fn cover(&self, at: usize) -> Option<Piece> {
        let next = self.pieces.partition_point(|piece| piece.start <= at);
        let piece = *self.pieces.get(next.checked_sub(1)?)?;
        (at < piece.end).then_some(piece)
    }

    /// Where a comment starts in `from..to`, if one does.
    fn comment(&self, from: usize, to: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        (from..to).find(|at| {
            bytes[*at] == b'#'
                && (*at == 0 || matches!(bytes[*at - 1], b' ' | b'\t' | b'\n'))
                && self.cover(*at).is_none()
        })
    }

    fn comments(&self) -> Vec<&'t str> {
        let mut out = Vec::new();
        let mut start = 0;
        for line in self.text.split_inclusive('\n') {
            if let Some(at) = self.comment(start, start + line.len()) {
                out.push(self.text[at..start + line.len()].trim_end_matches(WHITE));
            }
            start += line.len();
        }
        out
    }
}

fn is_block(piece: &Piece) -> bool {
    matches!(piece.style, ScalarStyle::Literal | ScalarStyle::Folded)
}

/// One indentation level: the column as written and the column to write.
type Level = (usize, usize);

struct Layout<'t> {
    lines: Lines<'t>,
    levels: Vec<Level>,
    /// How many `{` and `[` are open, and the new column of the line that opened the first.
    flow: usize,
    flow_base: usize,
    /// Comment lines that wait for the line they stand above: column as written and text.
    waiting: Vec<(usize, &'t str)>,
    blank: bool,
    out: String,
}

impl<'t> Layout<'t> {
    fn new(text: &'t str, pieces: &'t [Piece]) -> Self {
        Layout {
            lines: Lines::new(text, pieces),
            levels: Vec::new(),
            flow: 0,
            flow_base: 0,
            waiting: Vec::new(),
            blank: false,
            out: String::with_capacity(text.len() + 64),
        }
    }

    fn run(mut self) -> String {
        let text = self.lines.text;
        let mut start = 0;
        while start < text.len() {
            let end = text[start..].find('\n').map_or(text.len(), |n| start + n);
            start = self.line(start, end);
        }
        self.blank = false;
        self.map_waiting(0);
        self.flush(0);
        self.out
    }

    /// Writes the line `start..end` and, with it, the rest of scalars that go over its end; says where to go on.
    fn line(&mut self, start: usize, end: usize) -> usize {
        let text = self.lines.text;
        let line = &text[start..end];
        let body = line.trim_start_matches([' ', '\t']);
        let column = line.len() - body.len();
        let body = body.trim_end_matches(WHITE);
        if body.is_empty() {
            self.blank = true;
            return end + 1;
        }
        if body.starts_with('#') {
            if self.blank {
                self.waiting.push((usize::MAX, ""));
                self.blank = false;
            }
            self.waiting.push((column, body));
            return end + 1;
        }
        let indent = self.indent(column, body);
        self.flush(indent);
        self.push(indent);
        let content = self.dashes(start + column, end, column, indent);
        self.track_flow(content, end, indent);
        match self.open_scalar(content, end) {
            Some(piece) if is_block(&piece) => self.block_body(content, end, &piece),
            Some(piece) => self.continued(content, end, &piece, indent),
            None => {
                self.out.push_str(text[content..end].trim_end_matches(WHITE));
                self.out.push('\n');
                end + 1
            }
        }
    }

    /// The new column of a line, levels brought up to date.
    fn indent(&mut self, column: usize, body: &str) -> usize {
        if self.flow > 0 {
            let closers = body.chars().take_while(|c| matches!(c, '}' | ']')).count();
            return self.flow_base + 2 * self.flow.saturating_sub(closers);
        }
        self.map_waiting(column);
        while self.levels.last().is_some_and(|(old, _)| *old > column) {
            self.levels.pop();
        }
        match self.levels.last() {
            Some((old, new)) if *old == column => *new,
            top => {
                let new = top.map_or(0, |(_, new)| new + 2);
                self.levels.push((column, new));
                new
            }
        }
    }

    /// Comments at a level that this line ends stay at that level.
    fn map_waiting(&mut self, next: usize) {
        for (column, _) in &mut self.waiting {
            if *column > next && *column != usize::MAX {
                let level = self.levels.iter().find(|(old, _)| old == column);
                // Marks the new column: offset by the largest column that a line can have.
                *column = level.map_or(next, |(_, new)| MAPPED + new);
            }
        }
    }

    fn flush(&mut self, indent: usize) {
        if self.levels.is_empty() || self.flow > 0 {
            self.waiting.iter_mut().filter(|(c, _)| *c != usize::MAX).for_each(|(column, _)| *column = 0);
        }
        for (column, comment) in std::mem::take(&mut self.waiting) {
            match column {
                usize::MAX => self.empty_line(),
                column if column >= MAPPED => self.comment_line(column - MAPPED, comment),
                _ => self.comment_line(indent, comment),
            }
        }
        if self.blank {
            self.empty_line();
        }
        self.blank = false;
    }

    fn empty_line(&mut self) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
    }

    fn comment_line(&mut self, indent: usize, comment: &str) {
        self.push(indent);
        self.out.push_str(comment);
        self.out.push('\n');
    }

    fn push(&mut self, indent: usize) {
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    /// Writes the leading dashes of list items with one space each; says where the content starts.
    fn dashes(&mut self, mut at: usize, end: usize, mut column: usize, mut indent: usize) -> usize {
        let text = self.lines.text;
        while self.flow == 0
            && self.lines.cover(at).is_none_or(|piece| piece.start != at || text[at..].starts_with("- "))
        {
            let Some(rest) = text[at..end].strip_prefix("- ") else { break };
            let body = rest.trim_start_matches(' ');
            if body.trim_end_matches(WHITE).is_empty() || body.starts_with('#') {
                break;
            }
            let width = 2 + rest.len() - body.len();
            self.out.push_str("- ");
            at += width;
            column += width;
            indent += 2;
            self.levels.push((column, indent));
        }
        at
    }

    /// Counts brackets outside of scalars and comments.
    fn track_flow(&mut self, from: usize, end: usize, indent: usize) {
        let bytes = self.lines.text.as_bytes();
        let stop = self.lines.comment(from, end).unwrap_or(end);
        let mut at = from;
        while at < stop {
            if let Some(piece) = self.lines.cover(at) {
                at = piece.end.max(at + 1);
                continue;
            }
            match bytes[at] {
                b'{' | b'[' => {
                    if self.flow == 0 {
                        self.flow_base = indent;
                    }
                    self.flow += 1;
                }
                b'}' | b']' => self.flow = self.flow.saturating_sub(1),
                _ => {}
            }
            at += 1;
        }
    }

    /// The scalar that starts on this line and goes on behind it. A block scalar's piece starts with its content, behind
    /// the line that announces it.
    fn open_scalar(&self, from: usize, end: usize) -> Option<Piece> {
        let text = self.lines.text;
        let first = self.lines.pieces.partition_point(|piece| piece.start < from);
        self.lines.pieces[first..].iter().copied().find_map(|piece| {
            let goes_on = piece.start + text[piece.start..piece.end].trim_end_matches(WHITE).len() > end;
            let fits = match is_block(&piece) {
                true => {
                    piece.start > end
                        && piece.end > piece.start
                        && text[end..piece.start].trim_matches(WHITE).is_empty()
                }
                false => piece.start <= end && goes_on,
            };
            (fits || piece.start > end).then_some(fits.then_some(piece))
        })?
    }

    /// A plain or quoted scalar over several lines: its line breaks stay, what leads its lines does not count.
    fn continued(&mut self, from: usize, end: usize, piece: &Piece, indent: usize) -> usize {
        let text = self.lines.text;
        let last = text[..piece.end].trim_end_matches(WHITE).len();
        let stop = text[last..].find('\n').map_or(text.len(), |n| last + n);
        self.out.push_str(text[from..end].trim_end_matches([' ', '\t']));
        self.out.push('\n');
        for line in text[end + 1..stop].split('\n') {
            let line = line.trim_matches([' ', '\t']);
            if !line.is_empty() {
                self.push(indent + 2);
                self.out.push_str(line);
            }
            self.out.push('\n');
        }
        self.track_flow(piece.end, stop, indent);
        stop + 1
    }

    /// A block scalar: its lines move with the level that it hangs on and stay otherwise as they are.
    fn block_body(&mut self, from: usize, end: usize, piece: &Piece) -> usize {
        let text = self.lines.text;
        self.out.push_str(text[from..end].trim_end_matches(WHITE));
        self.out.push('\n');
        let keep = text[from..end]
            .split('#')
            .next()
            .is_some_and(|header| header.trim_end_matches(WHITE).ends_with('+'));
        let stop = if keep { piece.end } else { text[..piece.end].trim_end_matches(WHITE).len() };
        let stop = text[stop..]
            .find('\n')
            .filter(|_| !keep || !text[..stop].ends_with('\n'))
            .map_or(stop, |n| stop + n);
        let body = text.get(end + 1..stop).unwrap_or("");
        let body = if keep { body.strip_suffix('\n').unwrap_or(body) } else { body };
        let column = |line: &str| line.len() - line.trim_start_matches(' ').len();
        let least = body
            .split('\n')
            .filter(|line| !line.trim_matches(WHITE).is_empty())
            .map(column)
            .min()
            .unwrap_or(0);
        let (old, new) = self.levels.last().copied().unwrap_or((0, 0));
        let moved = (least + new).saturating_sub(old);
        for line in body.split('\n') {
            if line.len() > least || !line.trim_matches(' ').is_empty() {
                self.push(moved);
                self.out.push_str(&line[least.min(column(line))..]);
            }
            self.out.push('\n');
        }
        if keep { stop.max(end + 1) } else { stop + 1 }
    }
}

/// Columns from here on are new columns; no line is so long (documents end at 64 MiB).
const MAPPED: usize = 1 << 40;
