//! Refusals as answers: RFC 9457 `application/problem+json` with `reason` and `request_id`.

use narthex_contract::{Body, Detail, Exchange, Reason};
use narthex_wire::{Framing, Head, Known, Name, ResponseHead};

/// The body of a refusal. Holds nothing that is for the operator.
pub fn problem_json(reason: Reason, detail: &Detail, request_id: &str) -> Vec<u8> {
    let def = reason.def();
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(b"{\"type\":\"about:blank\",\"title\":");
    text(&mut out, def.title);
    out.extend_from_slice(b",\"status\":");
    out.extend_from_slice(itoa::Buffer::new().format(def.status).as_bytes());
    if let Some(client) = &detail.client {
        out.extend_from_slice(b",\"detail\":");
        text(&mut out, &client.0);
    }
    out.extend_from_slice(b",\"reason\":");
    text(&mut out, def.code);
    if !request_id.is_empty() {
        out.extend_from_slice(b",\"request_id\":");
        text(&mut out, request_id);
    }
    out.extend_from_slice(b"}\n");
    out
}

fn text(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    for character in value.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            control if (control as u32) < 0x20 => {
                out.extend_from_slice(format!("\\u{:04x}", control as u32).as_bytes());
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// Writes the refusal into `response` and notes for the operator what he should read.
pub(crate) fn refuse(
    exchange: &mut Exchange,
    response: &mut ResponseHead,
    reason: Reason,
    detail: Detail,
) -> Body {
    let json = problem_json(reason, &detail, &exchange.request_id);
    response.clear();
    response.set_status(reason.status());
    response.framing = Framing::Length(json.len() as u64);
    put(&mut response.head, &Name::known(Known::ContentType), b"application/problem+json");
    for (name, value) in &detail.fields {
        put(&mut response.head, name, value);
    }
    exchange.answered = narthex_contract::Answered::Gateway(reason);
    exchange.operator_detail = detail.operator;
    Body::Bytes(json.into())
}

/// Sets a field whose value is known to be valid; an invalid one is left out, never sent.
pub(crate) fn put(head: &mut Head, name: &Name, value: &[u8]) {
    let stored = head.set(name, value);
    debug_assert!(stored.is_ok(), "a value of the gateway's own is valid");
}

/// As `put`, for a known field on the request path.
pub(crate) fn put_known(head: &mut Head, known: Known, value: &[u8]) {
    let stored = head.put(known, value);
    debug_assert!(stored.is_ok(), "a value of the gateway's own is valid");
}

/// As `put_known`, for several.
#[inline]
pub(crate) fn put_all<const N: usize>(head: &mut Head, fields: [(Known, &[u8]); N]) {
    let stored = head.put_all(fields);
    debug_assert!(stored.is_ok(), "a value of the gateway's own is valid");
}

#[cfg(test)]
mod tests {
    use super::*;
    use narthex_contract::core;

    #[test]
    fn says_the_reason_and_hides_what_is_for_the_operator() {
        let detail =
            Detail { operator: Detail::operator("10.0.0.1 refused").operator, ..Detail::client("a \"b\"") };
        let json = String::from_utf8(problem_json(core::CONNECT_FAILED, &detail, "r1")).unwrap();
        assert_eq!(
            json,
            "{\"type\":\"about:blank\",\"title\":\"The service cannot be reached.\",\"status\":502,\
             \"detail\":\"a \\\"b\\\"\",\"reason\":\"connect_failed\",\"request_id\":\"r1\"}\n"
        );
    }
}
