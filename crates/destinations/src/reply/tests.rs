//! Statuses, fields, bodies, JSON with variables, and the fixed form for fallbacks.

use narthex_contract::Body;

use super::fixed_reply;
use crate::testing::{answered, body, compile, field, plain_exchange, problems, with_cx, yaml};

#[test]
fn statuses_fields_and_bodies() {
    for (settings, status, content_type, text) in [
        ("{ reply: {} }", 200, "", ""),
        ("{ reply: { status: 204 } }", 204, "", ""),
        ("{ reply: { body: hello } }", 200, "text/plain; charset=utf-8", "hello"),
        ("{ reply: { body: '' } }", 200, "text/plain; charset=utf-8", ""),
        ("{ reply: { body: '<p>', headers: { content-type: text/html } } }", 200, "text/html", "<p>"),
        ("{ reply: { body: 'at {path} {{x}}' } }", 200, "text/plain; charset=utf-8", "at /a {x}"),
        (
            "{ reply: { status: 404, json: { a: 1.10, b: [true, null, x] } } }",
            404,
            "application/json",
            "{\"a\":1.10,\"b\":[true,null,\"x\"]}",
        ),
        ("{ reply: { json: [] } }", 200, "application/json", "[]"),
        ("{ reply: { json: 'x\"y' } }", 200, "application/json", "\"x\\\"y\""),
        (
            "{ reply: { json: { p: '{path}', q: '{query}!' } } }",
            200,
            "application/json",
            "{\"p\":\"/a\",\"q\":\"b=c!\"}",
        ),
    ] {
        let response = answered(&*compile("reply", settings), &mut plain_exchange());
        assert_eq!(response.head.status, status, "{settings}");
        assert_eq!(field(&response, "Content-Type"), content_type, "{settings}");
        assert_eq!(body(&response), text, "{settings}");
        assert_eq!(matches!(response.body, Body::Empty), text.is_empty(), "{settings}");
    }
}

#[test]
fn values_from_a_request_stay_where_they_belong() {
    let settings =
        "{ reply: { headers: { X-Q: '{query.q}', X-Ok: '{client.ip}' }, json: { q: '{query.q}' } } }";
    let destination = compile("reply", settings);
    let mut exchange = plain_exchange();
    exchange.request.set_query(Some("q=%22,%22admin%22:true,%0d%0aX-Evil:%20%ff%00")).unwrap();
    let response = answered(&*destination, &mut exchange);
    assert_eq!(field(&response, "X-Q"), "", "a value with a line break is left out");
    assert_eq!(field(&response, "X-Evil"), "");
    assert_eq!(field(&response, "X-Ok"), "10.1.2.3");
    let json: serde_json::Value = serde_json::from_str(&body(&response)).unwrap();
    assert_eq!(json, serde_json::json!({ "q": "\",\"admin\":true,\r\nX-Evil: \u{fffd}\0" }));
}

#[test]
fn what_is_refused_at_compile() {
    for (settings, expected) in [
        ("{ reply: { status: 99 } }", "invalid_status"),
        ("{ reply: { status: 101 } }", "invalid_status"),
        ("{ reply: { status: 600 } }", "invalid_status"),
        ("{ reply: { status: 204, body: x } }", "has no body"),
        ("{ reply: { status: 304, json: {} } }", "has no body"),
        ("{ reply: { body: x, json: x } }", "two_bodies"),
        ("{ reply: { body: '{\"a\": 1}' } }", "json_in_body"),
        ("{ reply: { body: 'at {pat}' } }", "unknown_variable"),
        ("{ reply: { json: { a: ['{pat}', '{hos}'] } } }", "there is no variable `hos`"),
        ("{ reply: { headers: { Content-Length: '3' } } }", "reserved_field"),
        ("{ reply: { headers: { 'a b': x } } }", "invalid_field_name"),
        (r#"{ reply: { headers: { X-A: "a\r\nb" } } }"#, "invalid_field_value"),
        ("{ reply: { bodi: x } }", "body"),
    ] {
        let told = problems("reply", settings);
        assert!(told.contains(expected), "{settings}: {told}");
    }
}

#[test]
fn a_fallback_is_the_same_every_time() {
    let settings = yaml("{ status: 503, headers: { Retry-After: '5' }, body: 'a {{b}}' }");
    let make = with_cx(|cx| fixed_reply(&settings, cx)).unwrap();
    for _ in 0..2 {
        let response = make();
        assert_eq!(response.head.status, 503);
        assert_eq!(field(&response, "Retry-After"), "5");
        assert_eq!(body(&response), "a {b}");
    }
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&make);
    for (settings, expected) in [
        ("{ body: '{path}' }", "variable_in_fallback"),
        ("{ json: { a: '{path}' } }", "variable_in_fallback"),
        ("{ headers: { X-A: '{path}' } }", "variable_in_fallback"),
        ("{ stat: 3 }", "status"),
        ("{ status: 1 }", "invalid_status"),
    ] {
        let told = with_cx(|cx| fixed_reply(&yaml(settings), cx)).err().unwrap();
        assert!(told.contains(expected), "{settings}: {told}");
    }
}
