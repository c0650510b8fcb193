//! Which fields an answer gets, with and without TLS, and what cannot be meant.

use narthex_wire::Framing;

use crate::shared::testing::{compile, field, problems, response};

const HSTS: &str = "Strict-Transport-Security";

/// The answer's fields, where it came with these.
fn answered(settings: &str, tls: bool, fields: &[(&str, &str)]) -> narthex_wire::ResponseHead {
    let policy = compile("security_headers", settings);
    let mut exchange = policy.exchange(&[]);
    exchange.client.tls = tls;
    let mut answer = response(200, Framing::None, fields);
    assert!(policy.response(&mut exchange, &mut answer).is_none());
    answer
}

#[test]
fn the_defaults_are_careful_and_hsts_is_for_tls_alone() {
    let answer = answered("{}", true, &[]);
    assert_eq!(field(&answer.head, HSTS), "max-age=31536000");
    assert_eq!(field(&answer.head, "X-Content-Type-Options"), "nosniff");
    assert_eq!(field(&answer.head, "X-Frame-Options"), "DENY");
    assert_eq!(field(&answer.head, "Referrer-Policy"), "strict-origin-when-cross-origin");
    assert_eq!(field(&answered("{}", false, &[]).head, HSTS), "");
}

#[test]
fn each_can_be_left_out_or_said_otherwise() {
    let answer = answered("{ hsts: null, no_sniff: false, frames: any, referrer: any }", true, &[]);
    assert_eq!(answer.head.len(), 0);
    let settings = "{ hsts: { max_age: 730d, include_subdomains: true, preload: true }, frames: same_origin,
                      referrer: no-referrer, content_security: \"default-src 'none'\", permissions: 'camera=()' }";
    let answer = answered(settings, true, &[]);
    assert_eq!(field(&answer.head, HSTS), "max-age=63072000; includeSubDomains; preload");
    assert_eq!(field(&answer.head, "X-Frame-Options"), "SAMEORIGIN");
    assert_eq!(field(&answer.head, "Referrer-Policy"), "no-referrer");
    assert_eq!(field(&answer.head, "Content-Security-Policy"), "default-src 'none'");
    assert_eq!(field(&answer.head, "Permissions-Policy"), "camera=()");
}

#[test]
fn what_the_service_said_stays_unless_it_is_to_be_replaced() {
    let own = [("x-frame-options", "SAMEORIGIN"), ("strict-transport-security", "max-age=1")];
    let answer = answered("{}", true, &own);
    assert_eq!(field(&answer.head, "X-Frame-Options"), "SAMEORIGIN");
    assert_eq!(field(&answer.head, HSTS), "max-age=1");
    let answer = answered("{ replace: true }", true, &own);
    assert_eq!(field(&answer.head, "X-Frame-Options"), "DENY");
    assert_eq!(field(&answer.head, HSTS), "max-age=31536000");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    assert!(problems("security_headers", "{ hsts: { preload: true } }").contains("preload"));
    let split = problems("security_headers", "{ content_security: \"a\\r\\nSet-Cookie: b\" }");
    assert!(split.contains("invalid_field_value"), "{split}");
}
