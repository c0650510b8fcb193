//! What is wrong, where, and what to do about it: rendered for people and as JSON.
//! A diagnostic never carries a secret's value; who builds one sees to that.

use crate::source::{Sources, Span};
use serde_json::{Value as Json, json};
use std::fmt::Write as _;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is taken, but probably not meant so.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// A stable word for the kind of problem, such as `unknown_key`.
    pub code: &'static str,
    /// The cause, one sentence without a full stop.
    pub message: String,
    /// Where.
    pub span: Span,
    /// Other places that belong to it, each with a word on why.
    pub labels: Vec<(Span, String)>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        let message = message.into();
        Diagnostic { severity: Severity::Error, code, message, span, labels: Vec::new(), help: None }
    }

    /// A warning.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// Adds what to do about it.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds another place that belongs to the problem.
    pub fn with_label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push((span, text.into()));
        self
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The text for people: `file:line:column: error[code]: cause`, the line with a caret, labels, `help: …`.
    /// Ends with a line break. `colour` adds ANSI escapes.
    pub fn render(&self, sources: &Sources, colour: bool) -> String {
        let paint = Paint(colour);
        let mut out = String::new();
        if let Some(place) = sources.place(self.span) {
            let _ = write!(out, "{place}: ");
        }
        let (style, word) = match self.severity {
            Severity::Error => ("1;31", "error"),
            Severity::Warning => ("1;33", "warning"),
        };
        let head = paint.on(style, &format!("{word}[{}]", self.code));
        let _ = writeln!(out, "{head}: {}", printable(&self.message));
        snippet(&mut out, sources, self.span, &paint, style);
        for (span, text) in &self.labels {
            let place = sources.place(*span).map(|place| format!("{place}: ")).unwrap_or_default();
            let _ = writeln!(out, "{place}{}: {}", paint.on("1;34", "note"), printable(text));
            snippet(&mut out, sources, *span, &paint, "1;34");
        }
        if let Some(help) = &self.help {
            let _ = writeln!(out, "{}: {}", paint.on("1;32", "help"), printable(help));
        }
        out
    }

    /// `{severity, code, message, file, line, column, end_line, end_column, labels, help}`; places are null for values
    /// that no text holds.
    pub fn to_json(&self, sources: &Sources) -> Json {
        let labels: Vec<Json> = self
            .labels
            .iter()
            .map(|(span, text)| merge(json!({ "message": text }), place_json(sources, *span)))
            .collect();
        let body = json!({ "severity": self.severity.word(), "code": self.code, "message": self.message });
        let tail = json!({ "labels": labels, "help": self.help });
        merge(merge(body, place_json(sources, self.span)), tail)
    }
}

/// Sorts by file and position (values without a place last), and drops exact repetitions.
pub fn sort(diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.sort_by(|a, b| (a.span, a.severity, a.code).cmp(&(b.span, b.severity, b.code)));
    diagnostics.dedup();
}

/// All of them as text for people, an empty line between two.
pub fn render_all(diagnostics: &[Diagnostic], sources: &Sources, colour: bool) -> String {
    diagnostics.iter().map(|d| d.render(sources, colour)).collect::<Vec<_>>().join("\n")
}

/// ` (did you mean `x`?)`-style help: the nearest of `candidates`, if one is near.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The help for an unknown word: the nearest candidate and the list of all (at most 20).
pub fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let all: Vec<&str> = candidates.into_iter().collect();
    let mut out = match nearest(word, all.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? "),
        None => String::new(),
    };
    if all.is_empty() {
        out.push_str("there are none");
    } else {
        let _ = write!(out, "there are: {}", all.iter().take(20).copied().collect::<Vec<_>>().join(", "));
        if all.len() > 20 {
            let _ = write!(out, " and {} more", all.len() - 20);
        }
    }
    out
}

struct Paint(bool);

impl Paint {
    fn on(&self, style: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{style}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// The most characters of a source line that are shown.
const LINE_WIDTH: usize = 110;

fn snippet(out: &mut String, sources: &Sources, span: Span, paint: &Paint, style: &str) {
    let Some(source) = sources.source(span.source) else { return };
    let start = source.position(span.start);
    let end = source.position(span.end);
    let line: Vec<char> = source.line(start.line).chars().collect();
    let from = start.column - 1;
    let until = if end.line == start.line { end.column - 1 } else { line.len() };
    let skip = if line.len() > LINE_WIDTH { from.saturating_sub(LINE_WIDTH / 3) } else { 0 };
    let shown: String = line.iter().skip(skip).take(LINE_WIDTH).collect();
    let width = until.saturating_sub(from).clamp(1, (skip + LINE_WIDTH).saturating_sub(from).max(1));
    let number = start.line.to_string();
    let mark = paint.on(style, &"^".repeat(width));
    let _ = writeln!(out, "{} {}", paint.on("34", &format!("{number:>4} |")), printable(&shown).trim_end());
    let _ = writeln!(out, "{} {}{mark}", paint.on("34", "     |"), " ".repeat(from - skip));
}

/// The text with everything that could drive a terminal replaced, one character for one.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' | '\n' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

fn place_json(sources: &Sources, span: Span) -> Json {
    let Some(source) = sources.source(span.source) else {
        return json!({ "file": null, "line": null, "column": null, "end_line": null, "end_column": null });
    };
    let (start, end) = (source.position(span.start), source.position(span.end));
    json!({
        "file": source.name(), "line": start.line, "column": start.column,
        "end_line": end.line, "end_column": end.column
    })
}

fn merge(mut left: Json, right: Json) -> Json {
    if let (Json::Object(left), Json::Object(right)) = (&mut left, right) {
        left.extend(right);
    }
    left
}
