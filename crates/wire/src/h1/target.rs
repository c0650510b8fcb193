//! Request targets and authorities (RFC 9112 section 3.2, RFC 3986). No normalisation: the router does that.

use std::net::Ipv6Addr;

use crate::chars;
use crate::error::ParseError;
use crate::head::Span;
use crate::message::Form;
use crate::method::{Method, Scheme};
use crate::scan;

/// What a request target says; spans are relative to the buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ParsedTarget {
    pub form: Form,
    pub path: Span,
    pub query: Option<Span>,
    pub authority: Option<Span>,
    pub scheme: Option<Scheme>,
}

/// Only characters that may stand in a path or query; an empty text is one too.
pub(crate) fn is_target(bytes: &[u8]) -> bool {
    chars::is_target(bytes)
}

/// Cuts a target at its first `?`.
#[inline]
pub(crate) fn split_query(span: Span, bytes: &[u8]) -> (Span, Option<Span>) {
    let start = span.start as usize;
    match scan::question(bytes) {
        at if at == bytes.len() => (span, None),
        at => (Span::new(start, start + at), Some(Span::new(start + at + 1, span.end()))),
    }
}

/// Reads the target of a request line that stands at `start` in the buffer; its characters were checked.
#[inline]
pub(crate) fn parse(method: &Method, bytes: &[u8], start: usize) -> Result<ParsedTarget, ParseError> {
    let span = Span::new(start, start + bytes.len());
    match (method, bytes) {
        (Method::Connect, _) => {
            if !is_authority(bytes, true) {
                return Err(ParseError::InvalidTarget);
            }
            Ok(ParsedTarget { form: Form::Authority, authority: Some(span), ..ParsedTarget::default() })
        }
        (_, [b'/', ..]) => {
            let (path, query) = split_query(span, bytes);
            Ok(ParsedTarget { path, query, ..ParsedTarget::default() })
        }
        (Method::Options, b"*") => Ok(ParsedTarget { form: Form::Asterisk, ..ParsedTarget::default() }),
        _ => absolute(method, bytes, span),
    }
}

fn absolute(method: &Method, bytes: &[u8], span: Span) -> Result<ParsedTarget, ParseError> {
    let (scheme, skip) = match bytes {
        _ if has_prefix(bytes, b"http://") => (Scheme::Http, 7),
        _ if has_prefix(bytes, b"https://") => (Scheme::Https, 8),
        _ => return Err(ParseError::InvalidTarget),
    };
    let start = span.start as usize;
    let rest = &bytes[skip..];
    let authority_len = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    if !is_authority(&rest[..authority_len], false) {
        return Err(ParseError::InvalidHost);
    }
    let path_start = start + skip + authority_len;
    let (path, query) = split_query(Span::new(path_start, span.end()), &rest[authority_len..]);
    // RFC 9112 section 3.2.4: OPTIONS for a whole server is sent on as `*`.
    let whole = *method == Method::Options && path.len == 0 && query.is_none();
    Ok(ParsedTarget {
        form: if whole { Form::Asterisk } else { Form::Origin },
        path,
        query,
        authority: Some(Span::new(start + skip, path_start)),
        scheme: Some(scheme),
    })
}

fn has_prefix(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// A host name (letters, digits, `-._~`), an IPv4 address or an IPv6 address in brackets, with an
/// optional port. Userinfo, percent-encoding and the other characters of RFC 3986 `reg-name` are refused:
/// no DNS name has them, and two readers of such a host may disagree.
#[inline]
pub(crate) fn is_authority(bytes: &[u8], needs_port: bool) -> bool {
    let (host, port) = split_port(bytes);
    let host_ok = match host {
        [] => false,
        [b'[', inner @ .., b']'] => {
            std::str::from_utf8(inner).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
        }
        name => chars::is_host_name(name),
    };
    host_ok
        && match port {
            None => !needs_port,
            Some(digits) => is_port(digits) && !(needs_port && digits.is_empty()),
        }
}

/// The same for a part of the arena, at once for a name or an IPv4 address.
#[inline(always)]
pub(crate) fn is_authority_at(arena: &[u8], span: Span) -> bool {
    let end = span.end();
    let stop = scan::non_host(arena, span.start as usize).min(end);
    let plain = stop > span.start as usize
        && (stop == end || arena[stop] == b':' && arena.get(stop + 1..end).is_some_and(is_port));
    plain || is_authority(span.of(arena), false)
}

#[inline]
fn is_port(digits: &[u8]) -> bool {
    if digits.len() > 5 {
        return false;
    }
    let mut number = 0u32;
    for digit in digits.iter().map(|d| d.wrapping_sub(b'0')) {
        if digit > 9 {
            return false;
        }
        number = number * 10 + u32::from(digit);
    }
    number <= 65535
}

/// Host and port of an authority; the port is what follows the last colon outside brackets.
fn split_port(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    if bytes.last() == Some(&b']') {
        return (bytes, None);
    }
    match memchr::memrchr(b':', bytes) {
        None => (bytes, None),
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
    }
}

/// Whether two authorities mean the same: case of the host and a written default port do not count.
pub(crate) fn same_authority(a: &[u8], b: &[u8], default_port: Option<u16>) -> bool {
    let number = |port: Option<&[u8]>| match port {
        None | Some([]) => default_port.map(u32::from),
        Some(digits) => Some(digits.iter().fold(0u32, |n, d| n * 10 + u32::from(d.wrapping_sub(b'0')))),
    };
    let ((host_a, port_a), (host_b, port_b)) = (split_port(a), split_port(b));
    host_a.eq_ignore_ascii_case(host_b) && number(port_a) == number(port_b)
}
