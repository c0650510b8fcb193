//! The order on both sides, the first refusal, one behind the other for bodies.

use narthex_wire::Framing;

use crate::shared::testing::{compile, drive, field, problems, response};

#[test]
fn all_must_let_pass_and_the_first_refusal_is_given() {
    for (settings, status) in [
        ("[ { ip_access: { allow: [10.0.0.0/8] } }, { ip_access: { deny: [10.9.0.0/16] } } ]", None),
        ("[ { ip_access: { allow: [10.0.0.0/8] } }, { ip_access: { deny: [10.1.0.0/16] } } ]", Some(403)),
        ("[ { ip_access: { allow: [11.0.0.0/8] } }, { ip_access: { deny: [10.9.0.0/16] } } ]", Some(403)),
    ] {
        let policy = compile("all_of", settings);
        let answer = policy.request(&mut policy.exchange(&[]));
        assert_eq!(answer.map(|reply| reply.status()), status, "{settings}");
    }
}

#[test]
fn edits_come_in_order_and_in_reverse_on_the_response() {
    let set = |value: &str| {
        format!(
            "{{ headers: {{ request: {{ add: {{ X-By: {value} }} }}, response: {{ add: {{ X-By: {value} }} }} }} }}"
        )
    };
    let policy = compile("all_of", &format!("[ {}, {} ]", set("one"), set("two")));
    let mut exchange = policy.exchange(&[]);
    assert!(policy.request(&mut exchange).is_none());
    assert_eq!(field(&exchange.request.head, "x-by"), "one|two");
    let mut answer = response(200, Framing::None, &[]);
    assert!(policy.response(&mut exchange, &mut answer).is_none());
    assert_eq!(field(&answer.head, "x-by"), "two|one");
}

#[test]
fn bodies_pass_all_of_them() {
    let policy = compile("all_of", "[ { body_limit: { max: 10 } }, { body_limit: { max: 6 } } ]");
    let mut exchange = policy.exchange(&[]);
    exchange.request.framing = Framing::Chunked;
    for room in [1, 3, 100] {
        let mut step = policy.step(&exchange, None).unwrap();
        assert!(step.keeps_length());
        assert_eq!(drive(&mut *step, &[b"012", b"", b"345", b""], room).unwrap(), b"012345");
        let mut step = policy.step(&exchange, None).unwrap();
        assert!(drive(&mut *step, &[b"012", b"3456"], room).is_err(), "the narrower one refuses");
    }
}

#[test]
fn settings_are_checked() {
    assert!(problems("all_of", "[]").contains("no policy in this list"));
    let mixed = "[ { ip_access: { allow: [10.0.0.0/8] } }, { headers: { request: { remove: [a] } } } ]";
    assert!(problems("all_of", mixed).contains("mixed_stages"));
}
