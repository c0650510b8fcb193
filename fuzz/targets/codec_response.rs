#![no_main]
//! Responses: the same however the bytes are cut, and what we accept httparse reads with the same fields.
//! The first byte chooses the request's method, the second a cut, the rest is the input.

#[path = "../../crates/wire/tests/support/mod.rs"]
mod support;

use libfuzzer_sys::fuzz_target;
use narthex_wire::{Limits, Method};

fuzz_target!(|data: &[u8]| {
    let [which, place, input @ ..] = data else { return };
    let method = match which % 4 {
        0 => Method::Head,
        1 => Method::Post,
        2 => Method::Connect,
        _ => Method::Get,
    };
    let limits = Limits::default();
    let whole = support::response(&[input], &method, &limits);
    let places = [usize::from(*place), usize::from(*which) * 5];
    assert_eq!(
        support::response(&support::cut(input, &places), &method, &limits),
        whole,
        "cut at {places:?}"
    );
    if input.len() < 512 {
        assert_eq!(support::response(&support::bytes(input), &method, &limits), whole, "one byte at a time");
    }
    let Ok(Some(response)) = whole else { return };
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut theirs = httparse::Response::new(&mut fields);
    let status = theirs.parse(input).expect("what we accept, httparse accepts");
    assert!(status.is_complete(), "what we find complete is complete");
    assert_eq!(theirs.code, Some(response.status));
    for (name, value) in &response.fields {
        let found = theirs.headers.iter().any(|field| {
            field.name.as_bytes() == &name[..] && field.value.trim_ascii() == value.trim_ascii()
        });
        assert!(found, "httparse does not see {:?}", String::from_utf8_lossy(name));
    }
});
