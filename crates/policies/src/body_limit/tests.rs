//! Declared and counted lengths, on both sides, at the edge.

use narthex_contract::Reply;
use narthex_wire::Framing;

use crate::shared::testing::{compile, drive, problems, response};

fn code(reply: &Reply) -> &'static str {
    match reply {
        Reply::Problem { reason, .. } => reason.code(),
        Reply::Response(_) => "a response",
    }
}

#[test]
fn a_declared_length_is_judged_at_once() {
    let policy = compile("body_limit", "{ max: 10 }");
    for (framing, expected) in [
        (Framing::None, None),
        (Framing::Length(0), None),
        (Framing::Length(10), None),
        (Framing::Length(11), Some("body_too_large")),
        (Framing::Length(u64::MAX), Some("body_too_large")),
        (Framing::Chunked, None),
    ] {
        let mut exchange = policy.exchange(&[]);
        exchange.request.framing = framing;
        assert_eq!(policy.request(&mut exchange).as_ref().map(code), expected, "{framing:?}");
    }
}

#[test]
fn a_streamed_body_is_counted_to_the_byte() {
    let policy = compile("body_limit", "{ max: 10 }");
    let mut exchange = policy.exchange(&[]);
    exchange.request.framing = Framing::Chunked;
    for room in [1, 3, 100] {
        let mut step = policy.step(&exchange, None).unwrap();
        assert!(step.keeps_length());
        assert_eq!(drive(&mut *step, &[b"01234", b"", b"56789", b""], room).unwrap(), b"0123456789");
        let mut step = policy.step(&exchange, None).unwrap();
        let refused = drive(&mut *step, &[b"01234", b"56789", b"x"], room).unwrap_err();
        assert_eq!(code(&refused), "body_too_large");
        let mut step = policy.step(&exchange, None).unwrap();
        assert_eq!(code(&drive(&mut *step, &[b"0123456789x"], room).unwrap_err()), "body_too_large");
    }
    exchange.request.framing = Framing::Length(10);
    assert!(policy.step(&exchange, None).is_none(), "a declared length needs no counting");
}

#[test]
fn responses_are_bounded_where_that_is_asked_for() {
    let policy = compile("body_limit", "{ response: 4 }");
    let mut exchange = policy.exchange(&[]);
    let mut large = response(200, Framing::Length(5), &[]);
    assert_eq!(policy.response(&mut exchange, &mut large).as_ref().map(code), Some("response_too_large"));
    let mut fits = response(200, Framing::Length(4), &[]);
    assert!(policy.response(&mut exchange, &mut fits).is_none());
    for framing in [Framing::Chunked, Framing::UntilClose] {
        let mut streamed = response(200, framing, &[]);
        assert!(policy.response(&mut exchange, &mut streamed).is_none());
        let mut step = policy.step(&exchange, Some(&streamed)).unwrap();
        assert_eq!(code(&drive(&mut *step, &[b"1234", b"5"], 9).unwrap_err()), "response_too_large");
    }
    let unbounded = compile("body_limit", "{}");
    assert!(unbounded.step(&exchange, Some(&response(200, Framing::Chunked, &[]))).is_none());
}

#[test]
fn sizes_are_checked() {
    assert!(problems("body_limit", "{ max: 10MB3 }").contains("is not a size"));
    assert!(problems("body_limit", "{ max: -1 }").contains("size"));
}
