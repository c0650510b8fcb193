//! The `Location` of a redirect: checked when compiled, so that no request can choose the host, and escaped when made.

use narthex_contract::{CompileCx, Exchange, Template};
use narthex_document::Spanned;

/// An address with variables, split at its fragment.
#[derive(Debug)]
pub struct Location {
    before: Template,
    /// With its `#`.
    fragment: Option<Template>,
    has_query: bool,
}

impl Location {
    pub fn compile(text: &Spanned<String>, cx: &mut CompileCx<'_>) -> Option<Self> {
        if let Err((message, help)) = check(text) {
            cx.error("invalid_redirect", text.span, message, help);
            return None;
        }
        let hash = outside_braces(text).find(|(_, byte)| *byte == b'#').map(|(at, _)| at);
        let (before, fragment) = text.split_at(hash.unwrap_or(text.len()));
        let has_query = outside_braces(before).any(|(_, byte)| byte == b'?');
        let before = cx.template(before, text.span);
        let fragment = match hash {
            Some(_) => Some(cx.template(fragment, text.span)?),
            None => None,
        };
        Some(Self { before: before?, fragment, has_query })
    }

    /// Appends the address. `query`: the request's own, to be kept.
    pub fn render(&self, exchange: &Exchange, query: Option<&str>, out: &mut Vec<u8>) {
        self.before.render_escaped(exchange, out, escape);
        // `//host` would be an address on another host.
        let slashes = out.iter().take_while(|byte| **byte == b'/').count();
        out.drain(..slashes.saturating_sub(1));
        if let Some(query) = query {
            out.push(if self.has_query { b'&' } else { b'?' });
            escape(query.as_bytes(), out);
        }
        if let Some(fragment) = &self.fragment {
            fragment.render_escaped(exchange, out, escape);
        }
    }
}

/// Percent-encodes what is not a character of a path or of a query; what is encoded already stays so.
fn escape(value: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for (at, &byte) in value.iter().enumerate() {
        let is_escape = byte == b'%'
            && value.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        if is_escape || byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte) {
            out.push(byte);
        } else {
            out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// Why the address cannot be used, and what to write instead.
fn check(text: &str) -> Result<(), (String, String)> {
    let told = |message: &str, help: &str| Err((message.to_owned(), help.to_owned()));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?#[]%".contains(&byte);
    if let Some((_, byte)) = outside_braces(text).find(|(_, byte)| !is_plain(*byte)) {
        let message = format!("an address has no `{}`", char::from(byte).escape_default());
        return Err((message, "write it percent-encoded, as in %20 for a space".into()));
    }
    if text.starts_with("{path}") {
        return Ok(());
    }
    if text.starts_with('/') && !text.starts_with("//") {
        return Ok(());
    }
    let Some((_, rest)) =
        text.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https" | "{scheme}"))
    else {
        return told(
            "the address has no host that is fixed",
            "begin with https://host, http://host, {scheme}://{host}, / or {path}",
        );
    };
    let (host, behind) = match rest.strip_prefix("{host}") {
        Some(behind) => ("{host}", behind),
        None => rest.split_at(rest.find(['/', '?', '#', '{']).unwrap_or(rest.len())),
    };
    let port =
        behind.strip_prefix(':').map(|port| port.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    let behind = port.filter(|_| host == "{host}").unwrap_or(behind);
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
    if host.is_empty() || (host != "{host}" && !host.bytes().all(is_host)) {
        return told(
            "the address has no valid host",
            "write a host name, with a port where needed, and nothing else",
        );
    }
    if behind.is_empty() || behind.starts_with(['/', '?', '#']) || behind.starts_with("{path}") {
        return Ok(());
    }
    told(
        "a variable touches the host: a request could choose where clients are sent",
        "put a `/` before the variable; only `{path}`, which begins with one, may follow the host",
    )
}

/// The bytes of a template that are not within `{…}`, with their places. A doubled brace counts as the brace it means.
fn outside_braces(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let mut is_inside = false;
    let mut skips = false;
    let bytes = text.as_bytes();
    bytes.iter().copied().enumerate().filter(move |(at, byte)| {
        if std::mem::take(&mut skips) {
            return false;
        }
        let is_doubled = bytes.get(at + 1) == Some(byte);
        match byte {
            b'{' if !is_inside && is_doubled => {
                skips = true;
                true
            }
            b'{' if !is_inside => {
                is_inside = true;
                false
            }
            b'}' if is_inside => {
                is_inside = false;
                false
            }
            _ => !is_inside,
        }
    })
}
