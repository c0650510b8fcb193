//! Writes heads, chunks and trailers. Framing fields come from the typed framing alone, so that what is
//! written can be read in one way only.

use crate::head::{Head, Span};
use crate::message::{Form, RequestHead, ResponseHead};
use crate::method::{Framing, Method, Version};

/// The last chunk without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// What follows the data of each chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Writes a request head for an HTTP/1.1 service.
///
/// The target is in origin-form, `*` or authority-form; `Host` comes first. A body of unknown length is
/// chunked. `Content-Length: 0` is written where the method leads one to expect a body.
pub fn encode_request(request: &RequestHead, out: &mut Vec<u8>) {
    match &request.method {
        Method::Get => put(out, b"GET "),
        Method::Post => put(out, b"POST "),
        method => {
            put(out, method.as_str().as_bytes());
            out.push(b' ');
        }
    }
    match request.target.form {
        Form::Authority => put(out, request.target.authority.of(&request.head.arena)),
        Form::Asterisk => out.push(b'*'),
        Form::Origin => {
            let (path, arena) = (request.target.path, &request.head.arena);
            match request.target.query {
                // As it was read: the `?` is between them.
                Some(query)
                    if path.len > 0
                        && query.start as usize == path.end() + 1
                        && arena.get(path.end()) == Some(&b'?') =>
                {
                    put(out, Span::new(path.start as usize, query.end()).of(arena));
                }
                query => {
                    put(out, if path.len == 0 { b"/" } else { path.of(arena) });
                    if let Some(query) = query {
                        out.push(b'?');
                        put(out, query.of(arena));
                    }
                }
            }
        }
    }
    put(out, b" HTTP/1.1\r\nHost: ");
    put(out, request.target.authority.of(&request.head.arena));
    put(out, b"\r\n");
    match request.framing {
        Framing::Length(length) => put_length(out, length),
        Framing::Chunked => put(out, b"Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose if request.method.expects_body() => put_length(out, 0),
        Framing::None | Framing::UntilClose => {}
    }
    request.head.write_lines(out);
    let upgrade = request.upgrade().filter(|_| request.connection.upgrade);
    match (upgrade, request.te_trailers) {
        (Some(_), true) => put(out, b"Connection: upgrade, TE\r\nTE: trailers\r\n"),
        (Some(_), false) => put(out, b"Connection: upgrade\r\n"),
        (None, true) => put(out, b"Connection: TE\r\nTE: trailers\r\n"),
        (None, false) => {}
    }
    if let Some(protocol) = upgrade {
        put_field(out, b"Upgrade", protocol);
    }
    if let (Framing::Chunked, Some(names)) = (request.framing, request.announced_trailers()) {
        put_field(out, b"Trailer", names);
    }
    if request.expect_continue {
        put(out, b"Expect: 100-continue\r\n");
    }
    put(out, b"\r\n");
}

/// Writes a response head for a client of version `to` and says how its body has to be sent:
///
/// - `Chunked` only to HTTP/1.1; to HTTP/1.0 it becomes `UntilClose`.
/// - `UntilClose` forces `Connection: close`, whatever `keep_alive` says.
/// - `None` after a HEAD request and for 1xx, 204 and 304.
///
/// The answer to HEAD carries the length that GET would have (`framing`, or `declared_length`); 304 only
/// a `declared_length`; 1xx and 204 none.
pub fn encode_response(
    response: &ResponseHead,
    to: Version,
    keep_alive: bool,
    is_head_request: bool,
    out: &mut Vec<u8>,
) -> Framing {
    put_status_line(out, response);
    let interim = response.status < 200;
    let bodiless = interim || matches!(response.status, 204 | 304);
    let mut sent = match response.framing {
        Framing::Chunked if to == Version::Http10 => Framing::UntilClose,
        framing => framing,
    };
    match (sent, response.declared_length) {
        _ if interim || response.status == 204 => {}
        (_, declared) if response.status == 304 => declared.into_iter().for_each(|n| put_length(out, n)),
        (Framing::Length(length), _) => put_length(out, length),
        (Framing::None, Some(length)) if is_head_request => put_length(out, length),
        (Framing::None, _) if !is_head_request => put_length(out, 0),
        (Framing::Chunked, _) => put(out, b"Transfer-Encoding: chunked\r\n"),
        (Framing::None | Framing::UntilClose, _) => {}
    }
    if bodiless || is_head_request {
        sent = Framing::None;
    }
    response.head.write_lines(out);
    let upgrade = response.upgrade().filter(|_| response.connection.upgrade);
    let close = !keep_alive || sent == Framing::UntilClose;
    match (upgrade, close) {
        (Some(_), true) if !interim => put(out, b"Connection: upgrade, close\r\n"),
        (Some(_), _) => put(out, b"Connection: upgrade\r\n"),
        (None, true) if !interim => put(out, b"Connection: close\r\n"),
        (None, false) if !interim && to == Version::Http10 => put(out, b"Connection: keep-alive\r\n"),
        _ => {}
    }
    if let Some(protocol) = upgrade {
        put_field(out, b"Upgrade", protocol);
    }
    if let (Framing::Chunked, Some(names)) = (sent, response.announced_trailers()) {
        put_field(out, b"Trailer", names);
    }
    put(out, b"\r\n");
    sent
}

/// What comes before the data of a chunk: bytes and how many of them count.
///
/// A chunk of no bytes would end the body, so there is nothing to write for it: the count is 0.
pub fn chunk_prefix(len: usize) -> ([u8; 18], usize) {
    let mut out = [0u8; 18];
    if len == 0 {
        return (out, 0);
    }
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4) as usize;
    for (i, byte) in out.iter_mut().take(digits).enumerate() {
        let nibble = (len >> (4 * (digits - 1 - i)) & 0xf) as u8;
        *byte = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    out[digits] = b'\r';
    out[digits + 1] = b'\n';
    (out, digits + 2)
}

/// Writes the last chunk and the trailers; without any it is [`LAST_CHUNK`].
pub fn encode_trailers(trailers: Option<&Head>, out: &mut Vec<u8>) {
    put(out, b"0\r\n");
    if let Some(trailers) = trailers {
        trailers.write_lines(out);
    }
    put(out, b"\r\n");
}

fn put_status_line(out: &mut Vec<u8>, response: &ResponseHead) {
    if response.status == 200 && response.reason_phrase() == b"OK" {
        return put(out, b"HTTP/1.1 200 OK\r\n");
    }
    let status = response.status;
    let digit = |n: u16| b'0' + (n % 10) as u8;
    let mut line = *b"HTTP/1.1 000 ";
    line[9..12].copy_from_slice(&[digit(status / 100), digit(status / 10), digit(status)]);
    put(out, &line);
    put(out, response.reason_phrase());
    put(out, b"\r\n");
}

fn put_length(out: &mut Vec<u8>, length: u64) {
    put(out, b"Content-Length: ");
    put(out, itoa::Buffer::new().format(length).as_bytes());
    put(out, b"\r\n");
}

#[inline]
fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    put(out, name);
    put(out, b": ");
    put(out, value);
    put(out, b"\r\n");
}

#[inline]
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}
