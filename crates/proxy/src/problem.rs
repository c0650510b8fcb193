//! Refusals as answers: RFC 9457 `application/problem+json` with `reason` and `request_id`; to a gRPC call its own form,
//! an answer of headers alone with `grpc-status`, `grpc-message` and the reason in a field.

use narthex_contract::{Body, Detail, Exchange, Reason, core, grpc};
use narthex_wire::{Framing, Head, Known, Name, ResponseHead};

/// Where the reason stands in an answer that has no body for it.
const REASON: &str = "X-Narthex-Reason";

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
    response.clear();
    let body = if grpc::is_call(&exchange.request) {
        end_call(exchange, response, reason, &detail);
        Body::Empty
    } else {
        let json = problem_json(reason, &detail, &exchange.request_id);
        response.set_status(reason.status());
        response.framing = Framing::Length(json.len() as u64);
        put(&mut response.head, &Name::known(Known::ContentType), b"application/problem+json");
        Body::Bytes(json.into())
    };
    for (name, value) in &detail.fields {
        put(&mut response.head, name, value);
    }
    exchange.answered = narthex_contract::Answered::Gateway(reason);
    exchange.operator_detail = detail.operator;
    body
}

/// A call's answer without messages ("Trailers-Only"): HTTP 200, and the stream ends with the head.
fn end_call(exchange: &Exchange, response: &mut ResponseHead, reason: Reason, detail: &Detail) {
    response.set_status(200);
    response.framing = Framing::None;
    let content_type = grpc::content_type(&exchange.request.head).unwrap_or(b"application/grpc");
    put(&mut response.head, &Name::known(Known::ContentType), content_type);
    end_fields(&mut response.head, reason, detail.client.as_ref().map(|text| &*text.0));
}

/// How a call ends by a refusal: status, message, reason.
pub(crate) fn end_fields(head: &mut Head, reason: Reason, said: Option<&str>) {
    put(head, &grpc::STATUS, itoa::Buffer::new().format(call_status(reason)).as_bytes());
    let mut message = Vec::with_capacity(64);
    grpc::encode_message(reason.def().title, &mut message);
    if let Some(said) = said {
        message.push(b' ');
        grpc::encode_message(said, &mut message);
    }
    put(head, &grpc::MESSAGE, &message);
    put(head, &Name::parse(REASON).expect("it is a token"), reason.code().as_bytes());
}

/// An instance that was never reached may be tried again, whatever took the time: `UNAVAILABLE`.
fn call_status(reason: Reason) -> u8 {
    let was_never_reached = reason == core::CONNECT_TIMEOUT || reason == core::TLS_TIMEOUT;
    grpc::status_of(if was_never_reached { 503 } else { reason.status() })
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
    use narthex_wire::Method;

    #[test]
    fn a_call_is_ended_in_its_own_terms() {
        let mut exchange = Exchange::default();
        exchange.request.method = Method::Post;
        exchange.request.head.append_raw(b"content-type", b"application/grpc+proto").unwrap();
        let mut response = ResponseHead::new(500);
        let detail = Detail::client("50%").field(Name::known(Known::RetryAfter), *b"3");
        let body = refuse(&mut exchange, &mut response, core::SERVICE_BUSY, detail);
        assert!(matches!(body, Body::Empty));
        assert_eq!((response.status, response.framing), (200, Framing::None));
        let field = |known| response.head.get_known(known).unwrap();
        assert_eq!(field(Known::ContentType), b"application/grpc+proto");
        assert_eq!(field(Known::GrpcStatus), b"14");
        assert_eq!(field(Known::GrpcMessage), b"The service is busy. 50%25");
        assert_eq!(field(Known::RetryAfter), b"3");
        assert_eq!(response.head.get_str("x-narthex-reason"), Some(&b"service_busy"[..]));
        assert_eq!(call_status(core::CONNECT_TIMEOUT), 14);
        assert_eq!(call_status(core::SERVICE_TIMEOUT), 4);
    }

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
