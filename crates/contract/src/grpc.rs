//! gRPC as far as the gateway must know it: which messages are gRPC, and what a status of HTTP means in its terms.
//!
//! Follows "gRPC over HTTP2" and "HTTP to gRPC Status Code Mapping" of the gRPC project. Reads no message.

use narthex_wire::{Head, Known, Method, Name, RequestHead};

/// The fields that tell a call's end: in a block of trailers, or in the head of an answer without messages.
pub const STATUS: Name = Name::known(Known::GrpcStatus);
pub const MESSAGE: Name = Name::known(Known::GrpcMessage);

/// `OK`.
const OK: u8 = 0;
/// `INTERNAL`.
const INTERNAL: u8 = 13;

/// Whether a request is a call: `POST` with `application/grpc`, `application/grpc+proto`, `application/grpc-web`, …
pub fn is_call(request: &RequestHead) -> bool {
    request.method == Method::Post && content_type(&request.head).is_some()
}

/// The content type of a call or its answer; `None` where it is another one.
pub fn content_type(head: &Head) -> Option<&[u8]> {
    let value = head.get_known(Known::ContentType)?;
    let (start, rest) = value.split_at_checked(b"application/grpc".len())?;
    let is_grpc = start.eq_ignore_ascii_case(b"application/grpc");
    let is_over = matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'-'));
    let is_web = rest.get(..4).is_some_and(|web| web.eq_ignore_ascii_case(b"-web"));
    (is_grpc && is_over && (rest.first() != Some(&b'-') || is_web)).then_some(value)
}

/// The call's status in these fields, where there is a valid one.
pub fn status(fields: &Head) -> Option<u32> {
    let digits = fields.get_known(Known::GrpcStatus)?;
    let is_number = !digits.is_empty() && digits.len() <= 9 && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

/// What an answer of HTTP means to a call. gRPC's own table, refined where that says `UNKNOWN` or is coarser than what the
/// gateway knows: too much is `RESOURCE_EXHAUSTED` (8), too late is `DEADLINE_EXCEEDED` (4).
pub fn status_of(http: u16) -> u8 {
    match http {
        200 => OK,
        499 => 1,
        408 | 504 => 4,
        403 => 7,
        413 | 414 | 429 | 431 => 8,
        412 => 9,
        409 => 10,
        404 | 405 | 406 | 410 | 415 | 501 | 505 => 12,
        400 | 500 | 508 => INTERNAL,
        421 | 502 | 503 => 14,
        401 => 16,
        _ => 2,
    }
}

/// Appends `text` as `grpc-message` wants it: visible ASCII but `%` as it is, every other byte of UTF-8 as `%XX`.
pub fn encode_message(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(byte);
        } else {
            let digit = |nibble: u8| b"0123456789ABCDEF".get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_content_types() {
        let is = |value: &str| {
            let mut head = Head::new();
            head.append_raw(b"content-type", value.as_bytes()).unwrap();
            content_type(&head).is_some()
        };
        for good in [
            "application/grpc",
            "Application/GRPC+proto",
            "application/grpc;charset=utf-8",
            "application/grpc-web",
            "application/grpc-web-text+proto",
        ] {
            assert!(is(good), "{good}");
        }
        for bad in ["application/grp", "application/grpcx", "application/grpc-status", "text/plain", ""] {
            assert!(!is(bad), "{bad}");
        }
    }

    #[test]
    fn a_status_is_a_number() {
        for (text, expected) in [("0", Some(0)), ("16", Some(16)), ("", None), ("-1", None), ("1e3", None)] {
            let mut head = Head::new();
            head.append_raw(b"grpc-status", text.as_bytes()).unwrap();
            assert_eq!(status(&head), expected, "{text}");
        }
        assert_eq!(status(&Head::new()), None);
    }

    #[test]
    fn every_reason_has_a_status_that_is_not_unknown() {
        let unknown: Vec<_> = crate::CORE_REASONS
            .iter()
            .filter(|reason| status_of(reason.status()) == 2)
            .map(|reason| (reason.code(), reason.status()))
            .collect();
        assert_eq!(unknown, [("expectation_failed", 417)]);
    }

    #[test]
    fn messages_are_percent_encoded() {
        let mut out = Vec::new();
        encode_message("50% größer\n~", &mut out);
        assert_eq!(out, b"50%25 gr%C3%B6%C3%9Fer%0A~");
    }
}
