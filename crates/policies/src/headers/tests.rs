//! Edits of both heads, refusals at compile, and values that would split a head.

use narthex_wire::Framing;

use crate::shared::testing::{compile, field, problems, response};

#[test]
fn removes_sets_and_adds_in_that_order() {
    let policy = compile(
        "headers",
        "{ request: { remove: [X-A, 'X-Int-*'], set: { X-A: one, X-B: two }, add: { X-B: three, X-C: [a, b] } } }",
    );
    let mut exchange =
        policy.exchange(&[("x-a", "0"), ("X-B", "0"), ("X-Int-1", "0"), ("x-int-2", "0"), ("X-D", "d")]);
    assert!(policy.request(&mut exchange).is_none());
    let head = &exchange.request.head;
    assert_eq!(field(head, "X-A"), "one");
    assert_eq!(field(head, "X-B"), "two|three");
    assert_eq!(field(head, "X-C"), "a|b");
    assert_eq!(field(head, "X-D"), "d");
    assert_eq!(field(head, "X-Int-1") + &field(head, "X-Int-2"), "");
}

#[test]
fn renders_variables_on_both_sides() {
    let policy = compile(
        "headers",
        "{ request: { set: { X-Ip: 'ip={client.ip}' } }, response: { set: { X-Path: '{path} {{x}}' } } }",
    );
    let mut exchange = policy.exchange(&[]);
    assert!(policy.request(&mut exchange).is_none());
    assert_eq!(field(&exchange.request.head, "x-ip"), "ip=10.1.2.3");
    let mut answer = response(200, Framing::None, &[("X-Path", "old")]);
    assert!(policy.response(&mut exchange, &mut answer).is_none());
    assert_eq!(field(&answer.head, "X-Path"), "/a {x}");
}

#[test]
fn a_value_with_a_control_byte_or_without_content_is_left_out() {
    let policy = compile(
        "headers",
        "{ response: { set: { X-Q: '{query.q}', X-Empty: '{caller.id}', X-Fixed: '' }, add: { X-Q2: 'a{query.q}' } } }",
    );
    let mut exchange = policy.exchange(&[]);
    exchange.request.set_query(Some("q=a%0d%0aSet-Cookie:%20b=c")).unwrap();
    let mut answer =
        response(200, Framing::None, &[("X-Q", "from the service"), ("X-Empty", "from the service")]);
    assert!(policy.response(&mut exchange, &mut answer).is_none());
    assert_eq!(field(&answer.head, "X-Q"), "");
    assert_eq!(field(&answer.head, "X-Q2"), "");
    assert_eq!(field(&answer.head, "X-Empty"), "");
    assert!(answer.head.get_str("X-Fixed").is_some_and(<[u8]>::is_empty));
    assert_eq!(field(&answer.head, "Set-Cookie"), "");
}

#[test]
fn framing_names_and_malformed_ones_are_refused() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "TE",
        "Upgrade",
        "Keep-Alive",
        "Trailer",
    ] {
        for edit in
            [format!("set: {{ {name}: x }}"), format!("add: {{ {name}: x }}"), format!("remove: [{name}]")]
        {
            let told = problems("headers", &format!("{{ request: {{ {edit} }} }}"));
            assert!(told.starts_with("reserved_field"), "{edit}: {told}");
        }
    }
    let told = problems("headers", "{ request: { set: { 'a b': x }, remove: ['*', ''] } }");
    assert_eq!(told.matches("invalid_field_name").count(), 3, "{told}");
}

#[test]
fn fixed_values_with_control_bytes_and_unknown_variables_are_refused() {
    let told = problems("headers", r#"{ response: { set: { X-A: "a\r\nb: c", X-B: "{client.op}" } } }"#);
    assert!(told.contains("invalid_field_value") && told.contains("did you mean `client.ip`?"), "{told}");
}
