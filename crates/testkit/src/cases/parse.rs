//! From the text of a case to its sections, and from the lines of a message to its bytes.

use super::{Case, CaseError};
use std::path::Path;

/// `## title`, and the lines up to the next one.
#[derive(Debug, Clone)]
pub(super) struct Section {
    /// The title's line, from 1.
    pub(super) line: usize,
    pub(super) title: Title,
    /// Without the empty lines at the end.
    pub(super) lines: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Title {
    Config,
    Service(String),
    /// On the current connection; the listener counts for the first one of a connection.
    Request(Option<String>),
    Sees(Option<String>),
    Response,
    /// The response breaks off.
    CutResponse,
    Closes,
    /// A new connection.
    Connection,
    CheckFails,
}

impl Case {
    /// Reads a case from its text.
    ///
    /// # Errors
    /// A section that is not known, or stands where it has no meaning.
    pub fn parse(path: &Path, text: &str) -> Result<Self, CaseError> {
        let wrong = |line: usize, what: String| CaseError { path: path.to_owned(), line, what };
        let mut sections: Vec<Section> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if let Some(title) = line.strip_prefix("## ") {
                let title = title_of(title.trim())
                    .ok_or_else(|| wrong(at + 1, format!("no such section: {title}")))?;
                sections.push(Section { line: at + 1, title, lines: Vec::new() });
            } else if let Some(section) = sections.last_mut() {
                section.lines.push(line.to_owned());
            } else if !line.is_empty() && !line.starts_with('#') {
                return Err(wrong(
                    at + 1,
                    "a case begins with comments (`# …`) or a section (`## …`)".into(),
                ));
            }
        }
        for section in &mut sections {
            while section.lines.last().is_some_and(|line| line.trim().is_empty()) {
                section.lines.pop();
            }
        }
        let case = Self { path: path.to_owned(), sections };
        case.is_complete().map_err(|what| wrong(1, what))?;
        Ok(case)
    }

    /// A case that checks nothing must not pass.
    fn is_complete(&self) -> Result<(), String> {
        let count = |wanted: fn(&Title) -> bool| self.sections.iter().filter(|it| wanted(&it.title)).count();
        if count(|title| *title == Title::Config) != 1 {
            return Err("a case has one `## config`".into());
        }
        let checks = |title: &Title| {
            matches!(title, Title::Response | Title::CutResponse | Title::Closes | Title::CheckFails)
        };
        if count(checks) == 0 {
            return Err(
                "nothing is expected: a case needs `## response`, `## closes` or `## check fails`".into()
            );
        }
        Ok(())
    }
}

fn title_of(text: &str) -> Option<Title> {
    let words: Vec<&str> = text.split_whitespace().collect();
    Some(match words.as_slice() {
        ["config"] => Title::Config,
        ["service", "sees"] => Title::Sees(None),
        ["service", name, "sees"] => Title::Sees(Some((*name).to_owned())),
        ["service", name] => Title::Service((*name).to_owned()),
        ["request"] => Title::Request(None),
        ["request", "on", listener] => Title::Request(Some((*listener).to_owned())),
        ["response"] => Title::Response,
        ["response", "cut"] => Title::CutResponse,
        ["closes"] => Title::Closes,
        ["connection"] => Title::Connection,
        ["check", "fails"] => Title::CheckFails,
        _ => return None,
    })
}

/// A message as bytes: each line of the head ends with CRLF, the head with an empty line, the body's lines are joined by
/// CRLF. A `\` at a line's end joins it to the next one, or ends the message there.
pub(super) fn message(lines: &[String]) -> Result<Vec<u8>, String> {
    let blank = lines.iter().position(String::is_empty);
    let (head, body) = match blank {
        Some(at) => (&lines[..at], Some(&lines[at + 1..])),
        None => (lines, None),
    };
    let body = match body {
        Some(body) => joined(body, false)?,
        None => Vec::new(),
    };
    let length = body.len().to_string();
    let is_open = blank.is_none() && head.last().is_some_and(|line| is_joined(line));
    let head: Vec<String> = head.iter().map(|line| line.replace("{length}", &length)).collect();
    let mut out = joined(&head, true)?;
    if !is_open {
        out.extend_from_slice(b"\r\n");
    }
    out.extend(body);
    Ok(out)
}

fn is_joined(line: &str) -> bool {
    (line.len() - line.trim_end_matches('\\').len()) % 2 == 1
}

fn joined(lines: &[String], ends_last: bool) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let is_last = at + 1 == lines.len();
        match is_joined(line) {
            true => out.extend(unescape(&line[..line.len() - 1])?),
            false => {
                out.extend(unescape(line)?);
                if ends_last || !is_last {
                    out.extend_from_slice(b"\r\n");
                }
            }
        }
    }
    Ok(out)
}

/// `\r \n \t \0 \\ \xNN`, and `{long:COUNT:TEXT}` for a text repeated so often.
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '{']) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        let taken = match rest.strip_prefix("{long:") {
            Some(long) => repeated(long, &mut out)? + "{long:".len(),
            None if rest.starts_with('{') => {
                out.push(b'{');
                1
            }
            None => escape(&rest[1..], &mut out)? + 1,
        };
        rest = &rest[taken..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

fn repeated(rest: &str, out: &mut Vec<u8>) -> Result<usize, String> {
    let wrong = || "a long text is written {long:COUNT:TEXT}".to_owned();
    let end = rest.find('}').ok_or_else(wrong)?;
    let (count, text) = rest[..end].split_once(':').ok_or_else(wrong)?;
    let count: usize = count.parse().map_err(|_| wrong())?;
    if count.saturating_mul(text.len()) > crate::wire::MOST_BYTES {
        return Err("that is too long a text".into());
    }
    out.extend(text.as_bytes().repeat(count));
    Ok(end + 1)
}

fn escape(rest: &str, out: &mut Vec<u8>) -> Result<usize, String> {
    let wrong = || "escapes are \\r \\n \\t \\0 \\\\ and \\xNN".to_owned();
    let (byte, taken) = match rest.as_bytes().first() {
        Some(b'r') => (b'\r', 1),
        Some(b'n') => (b'\n', 1),
        Some(b't') => (b'\t', 1),
        Some(b'0') => (0, 1),
        Some(b'\\') => (b'\\', 1),
        Some(b'x') => {
            let digits = rest.get(1..3).ok_or_else(wrong)?;
            (u8::from_str_radix(digits, 16).map_err(|_| wrong())?, 3)
        }
        _ => return Err(wrong()),
    };
    out.push(byte);
    Ok(taken)
}
