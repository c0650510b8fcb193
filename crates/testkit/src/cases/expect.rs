//! What a message must be like: the lines of `## service sees` and `## response`, and the comparison.

use crate::message::{Fields, Head};
use regex::Regex;
use serde_json::Value;

/// One line of what is expected, with its place in the section (from 0).
pub(super) struct Wrong {
    pub(super) at: usize,
    pub(super) what: String,
}

type Checked = Result<(), Wrong>;

/// A message, from whichever side.
pub(super) struct Seen<'m> {
    pub(super) head: &'m Head,
    pub(super) body: &'m [u8],
    pub(super) trailers: &'m Fields,
}

/// Compares with the lines: first the head's, behind an empty line the body's.
pub(super) fn compare(lines: &[String], seen: &Seen<'_>) -> Checked {
    let blank = lines.iter().position(String::is_empty).unwrap_or(lines.len());
    for (at, line) in lines[..blank].iter().enumerate() {
        let wrong = |what: String| Wrong { at, what };
        head_line(&lines[..blank], line, seen).map_err(wrong)?;
    }
    match lines.get(blank + 1..) {
        Some(body) if !body.is_empty() => compare_body(body, blank + 1, seen.body),
        _ => Ok(()),
    }
}

fn head_line(all: &[String], line: &str, seen: &Seen<'_>) -> Result<(), String> {
    if let Some(pattern) = line.strip_prefix("!~") {
        return absent_pattern(pattern, &crate::message::latin1(&seen.head.raw));
    }
    if let Some(pattern) = line.strip_prefix('~') {
        return present_pattern(pattern, &crate::message::latin1(&seen.head.raw));
    }
    if let Some(name) = line.strip_prefix('!') {
        return match seen.head.field(name) {
            None => Ok(()),
            Some(value) => Err(format!("`{name}` must not be there, and is: {value}")),
        };
    }
    if let Some(trailer) = line.strip_prefix("trailer ") {
        let field = field_of(trailer).ok_or("a trailer is written `trailer Name: value`")?;
        return values(&[field], field.0, seen.trailers);
    }
    match field_of(line) {
        Some((name, _)) => {
            let wanted: Vec<_> =
                all.iter().filter_map(|line| field_of(line)).filter(|it| is(it.0, name)).collect();
            values(&wanted, name, &seen.head.fields)
        }
        None => first_line(line, &seen.head.line),
    }
}

/// The first line as a whole, or of a status line only the status.
fn first_line(wanted: &str, got: &str) -> Result<(), String> {
    let is_status = wanted.len() == 3 && wanted.bytes().all(|byte| byte.is_ascii_digit());
    let matches = if is_status { got.split(' ').nth(1) == Some(wanted) } else { got == wanted };
    if matches { Ok(()) } else { Err(format!("expected: {wanted}\n     got: {got}")) }
}

fn is(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// `Name: value`; the name is a token, so that `GET http://a/` is none.
fn field_of(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|".contains(&byte);
    (!name.is_empty() && name.bytes().all(is_token)).then(|| (name, value.trim()))
}

/// The values of all lines of a name, in order: each exactly, `~regex`, or `*` for any.
fn values(wanted: &[(&str, &str)], name: &str, fields: &Fields) -> Result<(), String> {
    let got: Vec<&str> =
        fields.iter().filter(|(other, _)| is(other, name)).map(|(_, value)| value.as_str()).collect();
    let all = || {
        format!(
            "expected {name}: {}\n     got {name}: {}",
            list(wanted.iter().map(|it| it.1)),
            list(got.iter().copied())
        )
    };
    if wanted.len() != got.len() {
        return Err(all());
    }
    for ((_, wanted), got) in wanted.iter().zip(&got) {
        let matches = match wanted.strip_prefix('~') {
            Some(pattern) => regex(pattern)?.is_match(got),
            None => *wanted == "*" || wanted == got,
        };
        if !matches {
            return Err(all());
        }
    }
    Ok(())
}

fn list<'v>(values: impl Iterator<Item = &'v str>) -> String {
    let values: Vec<_> = values.collect();
    if values.is_empty() { "(not there)".into() } else { values.join(" | ") }
}

fn regex(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| format!("the expectation is no regular expression: {error}"))
}

fn present_pattern(pattern: &str, text: &str) -> Result<(), String> {
    if regex(pattern)?.is_match(text) {
        Ok(())
    } else {
        Err(format!("nothing matches ~{pattern} in:\n{text}"))
    }
}

fn absent_pattern(pattern: &str, text: &str) -> Result<(), String> {
    if regex(pattern)?.is_match(text) {
        Err(format!("~{pattern} must not match, and does in:\n{text}"))
    } else {
        Ok(())
    }
}

fn compare_body(lines: &[String], from: usize, body: &[u8]) -> Checked {
    let text = String::from_utf8_lossy(body);
    let is_check =
        |line: &String| line.starts_with(['~', '.']) || line.starts_with("!~") || line == "(empty)";
    if !lines.iter().all(is_check) {
        let wanted = super::parse::unescape(&lines.join("\n")).map_err(|what| Wrong { at: from, what })?;
        let is_same = wanted == body || body.strip_suffix(b"\n") == Some(&wanted);
        let what = || format!("expected body: {}\n     got body: {text}", String::from_utf8_lossy(&wanted));
        return if is_same { Ok(()) } else { Err(Wrong { at: from, what: what() }) };
    }
    for (at, line) in lines.iter().enumerate() {
        let wrong = |what: String| Wrong { at: from + at, what };
        body_line(line, &text, body).map_err(wrong)?;
    }
    Ok(())
}

fn body_line(line: &str, text: &str, body: &[u8]) -> Result<(), String> {
    if line == "(empty)" {
        return if body.is_empty() { Ok(()) } else { Err(format!("the body must be empty, and is: {text}")) };
    }
    if let Some(pattern) = line.strip_prefix("!~") {
        return absent_pattern(pattern, text);
    }
    if let Some(pattern) = line.strip_prefix('~') {
        return present_pattern(pattern, text);
    }
    let (path, wanted) = line.split_once(" = ").ok_or("a field of JSON is written `.a.b = value`")?;
    let json: Value = serde_json::from_slice(body).map_err(|error| format!("no JSON ({error}): {text}"))?;
    let got = json.pointer(&path.replace('.', "/")).unwrap_or(&Value::Null);
    let is_same = match wanted.strip_prefix('~') {
        Some(pattern) => regex(pattern)?.is_match(got.as_str().unwrap_or(&got.to_string())),
        None => {
            let wanted: Value =
                serde_json::from_str(wanted).map_err(|error| format!("no JSON value: {error}"))?;
            wanted == *got
        }
    };
    if is_same {
        Ok(())
    } else {
        Err(format!("expected {path} = {wanted}\n     got {path} = {got}\n      in {text}"))
    }
}
