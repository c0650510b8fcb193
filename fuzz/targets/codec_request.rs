#![no_main]
//! Requests: the same however the bytes are cut, and what we accept httparse reads with the same fields.
//! The first two bytes choose the cuts, the rest is the input.

#[path = "../../crates/wire/tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use narthex_wire::{Framing, Limits, RequestHead, RequestParser};

fuzz_target!(|data: &[u8]| {
    let [first, second, input @ ..] = data else { return };
    let limits = Limits::default();
    let whole = support::request(&[input], &limits);
    let places = [usize::from(*first), usize::from(*second) * 7];
    assert_eq!(support::request(&support::cut(input, &places), &limits), whole, "cut at {places:?}");
    if input.len() < 512 {
        assert_eq!(support::request(&support::bytes(input), &limits), whole, "one byte at a time");
    }
    let Ok(Some(request)) = whole else { return };
    against_httparse(input, &request);
    rewritten(input, &limits);
});

/// The start line and every field that is not typed must stand in httparse's reading too.
fn against_httparse(input: &[u8], request: &support::Request) {
    // Empty lines before a request are skipped by both.
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut theirs = httparse::Request::new(&mut fields);
    let status = theirs.parse(input).expect("what we accept, httparse accepts");
    assert!(status.is_complete(), "what we find complete is complete");
    assert_eq!(theirs.method, Some(request.method.as_str()));
    for (name, value) in &request.fields {
        let found = theirs.headers.iter().any(|field| {
            field.name.as_bytes() == &name[..] && field.value.trim_ascii() == value.trim_ascii()
        });
        assert!(found, "httparse does not see {:?}", String::from_utf8_lossy(name));
    }
    let count = |name: &str| theirs.headers.iter().filter(|f| f.name.eq_ignore_ascii_case(name)).count();
    let lengths = count("content-length");
    assert!(count("transfer-encoding") == 0 || lengths == 0, "both framings were accepted");
    assert!(lengths <= 1 || request.body.rest.is_none() || same_lengths(&theirs), "lengths differ");
}

fn same_lengths(theirs: &httparse::Request<'_, '_>) -> bool {
    let mut values = theirs.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("content-length"));
    let first = values.next().map(|field| field.value);
    values.all(|field| Some(field.value) == first)
}

/// What we send on is read as the same request, and says the same framing.
fn rewritten(input: &[u8], limits: &Limits) {
    let mut head = RequestHead::new();
    head.buffer_mut().extend_from_slice(input);
    RequestParser::default().parse(&mut head, limits).expect("it was accepted above");
    if head.authority().is_empty() {
        // HTTP/1.0 without Host: the gateway names the service before it sends on.
        head.set_authority("service.test").expect("it is an authority");
    }
    let mut sent = Vec::new();
    narthex_wire::encode_request(&head, &mut sent);
    let mut again = RequestHead::new();
    again.buffer_mut().extend_from_slice(&sent);
    // What is added in sending may pass a bound that the input kept.
    let wide = Limits { head_bytes: 1 << 20, fields: 1000, target: 1 << 20, ..Limits::default() };
    let read = RequestParser::default().parse(&mut again, &wide);
    assert_eq!(read, Ok(narthex_wire::Progress::Complete), "sent: {}", String::from_utf8_lossy(&sent));
    assert_eq!(again.method, head.method);
    // A POST without a body says so in sending: `Content-Length: 0`.
    let empty = |framing| if framing == Framing::Length(0) { Framing::None } else { framing };
    assert_eq!(empty(again.framing), empty(head.framing), "the framing changed on the way");
    assert_eq!(again.authority(), head.authority());
    assert_eq!((again.path(), again.query()), (head.path(), head.query()));
    assert!(again.surplus().is_empty(), "one head was sent, and more than one is read");
}
