//! Taking over, making, forwarding and echoing ids; forms and uniqueness.

use std::collections::BTreeSet;

use narthex_contract::Exchange;
use narthex_wire::Framing;

use crate::shared::testing::{Compiled, compile, field, problems, response};

/// As the core hands it over: its own id on the request, or the client's.
fn exchange(policy: &Compiled, given: Option<&str>, fields: &[(&str, &str)]) -> Exchange {
    let mut exchange = policy.exchange(fields);
    if let Some(given) = given {
        exchange.request_id = given.into();
        exchange.request_id_is_given = true;
    }
    let id = exchange.request_id.clone();
    exchange.request.head.append(&"X-Request-Id".parse().unwrap(), id.as_bytes()).unwrap();
    exchange
}

fn id(settings: &str, given: Option<&str>, fields: &[(&str, &str)]) -> String {
    let policy = compile("request_id", settings);
    let mut exchange = exchange(&policy, given, fields);
    assert!(policy.request(&mut exchange).is_none());
    assert!(exchange.request_id_is_handled);
    exchange.request_id
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    lengths == [8, 4, 4, 4, 12]
        && parts[2].starts_with('4')
        && parts[3].starts_with(['8', '9', 'a', 'b'])
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[test]
fn a_well_formed_id_is_taken_over() {
    assert_eq!(id("{}", Some("from-client"), &[]), "from-client");
    assert_eq!(id("{ header: X-Correlation-Id }", None, &[("x-correlation-id", "abc")]), "abc");
    assert_eq!(
        id("{ header: X-Correlation-Id, format: uuid }", Some("other"), &[("X-Correlation-Id", "abc")]),
        "abc"
    );
    let longest = "x".repeat(128);
    assert_eq!(id("{ header: X-Corr }", None, &[("X-Corr", &longest)]), longest);
}

#[test]
fn what_is_not_well_formed_or_not_accepted_is_replaced() {
    let too_long = "x".repeat(129);
    for bad in ["", "a b", "ä", &too_long] {
        assert_eq!(
            id("{ header: X-Corr }", None, &[("X-Corr", bad)]),
            "0123456789abcdef0123456789abcdef",
            "{bad}"
        );
        assert!(is_uuid(&id("{ header: X-Corr, format: uuid }", Some("given"), &[("X-Corr", bad)])), "{bad}");
    }
    let made = id("{ accept: false }", Some("from-client"), &[]);
    assert_eq!(made.len(), 32);
    assert!(made.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let forged = "00000000000000000000000000000000";
    assert_ne!(id("{ accept: false }", Some(forged), &[]), forged);
}

#[test]
fn forms() {
    assert_eq!(id("{ format: uuid }", None, &[]), "01234567-89ab-4def-8123-456789abcdef");
    assert_eq!(id("{ format: hex }", None, &[]), "0123456789abcdef0123456789abcdef");
    let policy = compile("request_id", "{ format: counter }");
    let mut ids = Vec::new();
    for _ in 0..3 {
        let mut exchange = exchange(&policy, None, &[]);
        assert!(policy.request(&mut exchange).is_none());
        ids.push(exchange.request_id);
    }
    let prefix = ids[0].strip_suffix("-0").unwrap();
    assert_eq!(prefix.len(), 16);
    assert_eq!(ids[1..], [format!("{prefix}-1"), format!("{prefix}-2")]);
    let after_reload = id("{ format: counter }", None, &[]);
    assert!(!after_reload.starts_with(prefix));
}

#[test]
fn mixed_ids_are_unique_where_span_or_time_differ() {
    let policy = compile("request_id", "{ accept: false }");
    let mut seen = BTreeSet::new();
    for span in 0..100u64 {
        for time in 0..100 {
            let mut exchange = exchange(&policy, Some("same"), &[]);
            exchange.trace.span_id = span.to_be_bytes();
            exchange.began.monotonic = time;
            assert!(policy.request(&mut exchange).is_none());
            assert!(seen.insert(exchange.request_id));
        }
    }
}

#[test]
fn the_id_goes_where_it_is_wanted() {
    for (settings, forwarded, core, echoed) in [
        ("{ header: X-Corr }", "abc", "", "abc"),
        ("{ header: X-Corr, forward: false }", "", "", "abc"),
        ("{ header: X-Corr, echo: false }", "abc", "", "from the service"),
    ] {
        let policy = compile("request_id", settings);
        let mut exchange = exchange(&policy, None, &[("X-Corr", "abc"), ("X-Corr", "second")]);
        assert!(policy.request(&mut exchange).is_none());
        assert_eq!(field(&exchange.request.head, "X-Corr"), forwarded, "{settings}");
        assert_eq!(field(&exchange.request.head, "X-Request-Id"), core, "{settings}");
        let mut answer = response(200, Framing::None, &[("x-corr", "from the service")]);
        if policy.policy.hooks().has(narthex_contract::Hooks::RESPONSE) {
            assert!(policy.response(&mut exchange, &mut answer).is_none());
        }
        assert_eq!(field(&answer.head, "X-Corr"), echoed, "{settings}");
    }
    let policy = compile("request_id", "{ format: uuid }");
    let mut exchange = exchange(&policy, None, &[]);
    assert!(policy.request(&mut exchange).is_none());
    assert_eq!(field(&exchange.request.head, "X-Request-Id"), exchange.request_id);
}

#[test]
fn settings_are_checked() {
    assert!(problems("request_id", "{ header: Host }").starts_with("reserved_field"));
    assert!(problems("request_id", "{ header: 'a b' }").starts_with("invalid_field_name"));
    assert!(problems("request_id", "{ format: uuid7 }").contains("uuid"));
}
