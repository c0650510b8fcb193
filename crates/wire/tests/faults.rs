//! Kind of fault x position x side: each input with the exact code it is refused with, or `ok`.
//! Every case is parsed at once and byte by byte; both must end alike.

mod support;

use narthex_testkit::faults;
use narthex_wire::{Limits, Method, ParseError};

/// Host line and end of an otherwise good request.
const H: &str = "Host: a\r\n";

/// What is good, and the faults that a whole gateway is tried with too.
fn cases(
    good: &'static [&'static [u8]],
    faults: &'static [(&'static [u8], &'static str)],
) -> impl Iterator<Item = (&'static [u8], &'static str)> {
    good.iter().map(|bytes| (*bytes, "ok")).chain(faults.iter().copied())
}

fn code<T>(result: &Result<Option<T>, ParseError>) -> &'static str {
    match result {
        Ok(Some(_)) => "ok",
        Ok(None) => "partial",
        Err(fault) => fault.code(),
    }
}

fn check_request(input: &[u8], expected: &str) {
    let limits = Limits::default();
    let whole = support::request(&[input], &limits);
    assert_eq!(code(&whole), expected, "{:?}", String::from_utf8_lossy(input));
    assert_eq!(
        support::request(&support::bytes(input), &limits),
        whole,
        "byte by byte: {:?}",
        String::from_utf8_lossy(input)
    );
}

fn check_response(input: &[u8], method: &Method, expected: &str) {
    let limits = Limits::default();
    let whole = support::response(&[input], method, &limits);
    assert_eq!(code(&whole), expected, "{:?}", String::from_utf8_lossy(input));
    assert_eq!(
        support::response(&support::bytes(input), method, &limits),
        whole,
        "byte by byte: {:?}",
        String::from_utf8_lossy(input)
    );
}

#[test]
fn request_lines() {
    let long = format!("/{}", "a".repeat(16 * 1024));
    let good: &[&[u8]] = &[
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.0",
        b"GET /a?b=c&d=%20 HTTP/1.1",
        b"GET /{a}|^~?x={} HTTP/1.1",
        b"PROPFIND / HTTP/1.1",
        b"get / HTTP/1.1",
        b"\r\nGET / HTTP/1.1",
        b"ABCDEFGHIJABCDEFGHIJABCDEFGHIJAB / HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"OPTIONS http://a HTTP/1.1",
        b"GET http://a/x HTTP/1.1",
        b"GET HTTP://A/x HTTP/1.1",
        b"GET http://a:80/x HTTP/1.1",
        b"GET https://a:443?q HTTP/1.1",
        b"CONNECT a:443 HTTP/1.1",
    ];
    for (line, expected) in cases(good, faults::REQUEST_LINES) {
        check_request(&[line, b"\r\n", H.as_bytes(), b"\r\n"].concat(), expected);
    }
    // No line of a request, but the preface of HTTP/2: a gateway that speaks it does not refuse it.
    check_request(format!("PRI * HTTP/2.0\r\n{H}\r\n").as_bytes(), "unsupported_version");
    check_request(format!("GET {} HTTP/1.1\r\n{H}\r\n", &long[..16 * 1024]).as_bytes(), "ok");
    check_request(format!("GET {long} HTTP/1.1\r\n{H}\r\n").as_bytes(), "target_too_long");
    check_request(format!("GET {long}{long}").as_bytes(), "target_too_long");
    check_request(b"GET / HTTP/1.1\r\nHost: a\r\n", "partial");
    check_request(b"GET / HTT", "partial");
    check_request(b"", "partial");
}

#[test]
fn hosts() {
    let good: &[&[u8]] = &[
        b"Host: a",
        b"HOST:a",
        b"host: \t a.example:8080 \t ",
        b"Host: 127.0.0.1:80",
        b"Host: [::1]:80",
        b"Host: [::1]",
        b"Host: a_b.c-d~",
    ];
    for (line, expected) in cases(good, faults::HOSTS) {
        check_request(&[b"GET / HTTP/1.1\r\n", line, b"\r\n\r\n"].concat(), expected);
    }
    check_request(b"GET / HTTP/1.0\r\n\r\n", "ok");
    check_request(b"GET / HTTP/1.0\r\nHost:\r\n\r\n", "ok");
    check_request(b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n", "invalid_host");
    check_request(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", "repeated_host");
    check_request(b"OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n", "ok");
    check_request(b"OPTIONS * HTTP/1.1\r\n\r\n", "missing_host");
    check_request(b"GET http://a/ HTTP/1.1\r\n\r\n", "missing_host");
    check_request(b"GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n", "missing_host");
}

/// Good field lines.
const FIELD_LINES: &[&[u8]] = &[
    b"X: 1",
    b"X:",
    b"X: \t ",
    b"X:\t1",
    b"X: a:b",
    b"X: a\tb",
    b"X: \x80\xff",
    b"!#$%&'*+-.^_`|~09azAZ: 1",
];

#[test]
fn field_lines_at_each_position_on_each_side() {
    for (line, expected) in cases(FIELD_LINES, faults::FIELD_LINES) {
        for (before, after) in [("", "A: 1\r\nB: 2\r\n"), ("A: 1\r\n", "B: 2\r\n"), ("A: 1\r\nB: 2\r\n", "")]
        {
            let block = [before.as_bytes(), line, b"\r\n", after.as_bytes()].concat();
            let request = [b"POST / HTTP/1.1\r\n", H.as_bytes(), &block, b"\r\n"].concat();
            check_request(&request, expected);
            let host_last = [b"POST / HTTP/1.1\r\n", &block[..], H.as_bytes(), b"\r\n"].concat();
            check_request(&host_last, expected);
            let response = [b"HTTP/1.1 200 OK\r\n", &block[..], b"\r\n"].concat();
            check_response(&response, &Method::Get, expected);
            let chunked = b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n";
            let trailers = [b"POST / HTTP/1.1\r\n", H.as_bytes(), chunked, &block, b"\r\n"].concat();
            check_request(&trailers, expected);
            let trailers = [b"HTTP/1.1 200 OK\r\n", &chunked[..], &block, b"\r\n"].concat();
            check_response(&trailers, &Method::Get, expected);
        }
    }
}

/// Good framing fields; the same on both sides.
const FRAMING: &[&[u8]] = &[
    b"Content-Length: 0",
    b"Content-Length: 3",
    b"content-LENGTH:003",
    b"Content-Length: 18446744073709551615",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: CHUNKED",
    b"transfer-encoding:\tchunked ",
    b"Transfer_Encoding: chunked",
    b"Connection: close",
    b"Connection: Keep-Alive, ,Upgrade",
    b"Connection: TE, Transfer-Encoding, X-Mine",
];

#[test]
fn framing_fields_on_both_sides() {
    for (lines, expected) in cases(FRAMING, faults::FRAMING) {
        check_request(&[b"POST / HTTP/1.1\r\n", H.as_bytes(), lines, b"\r\n\r\n"].concat(), expected);
        check_request(&[b"GET / HTTP/1.1\r\n", lines, b"\r\n", H.as_bytes(), b"\r\n"].concat(), expected);
        let response = [b"HTTP/1.1 200 OK\r\n", lines, b"\r\n\r\n"].concat();
        check_response(&response, &Method::Get, expected);
        check_response(&response, &Method::Head, expected);
    }
    let http10 = "Transfer-Encoding: chunked\r\n\r\n";
    check_request(format!("POST / HTTP/1.0\r\n{http10}").as_bytes(), "transfer_encoding_in_http10");
    check_response(
        format!("HTTP/1.0 200 OK\r\n{http10}").as_bytes(),
        &Method::Get,
        "transfer_encoding_in_http10",
    );
}

#[test]
fn expectations() {
    let good: &[&[u8]] = &[b"Expect: 100-continue", b"expect: 100-Continue"];
    for (line, expected) in cases(good, faults::EXPECTATIONS) {
        check_request(&[b"POST / HTTP/1.1\r\n", H.as_bytes(), line, b"\r\n\r\n"].concat(), expected);
        check_request(&[b"POST / HTTP/1.0\r\n", line, b"\r\n\r\n"].concat(), "ok");
    }
}

#[test]
fn status_lines() {
    let good: &[&[u8]] = &[
        b"HTTP/1.1 200 OK",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 200 ",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 \xc3\xa4\tb c",
        b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 599 X",
    ];
    for (line, expected) in cases(good, faults::STATUS_LINES) {
        check_response(&[line, b"\r\nX: 1\r\n\r\n"].concat(), &Method::Get, expected);
    }
    for status in ["100", "103", "204"] {
        let refused = format!("HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n");
        check_response(refused.as_bytes(), &Method::Get, "transfer_encoding_without_body");
    }
}

/// Good chunked bodies behind a good head; the same on both sides.
const CHUNKS: &[&[u8]] = &[
    b"0\r\n\r\n",
    b"000\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
    b"0000000000000005\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\nhello",
    b"5;a\r\nhello\r\n0\r\n\r\n",
    b"5;a=b; c = \"d;\\\"=e\xff\"\r\nhello\r\n0;x\r\n\r\n",
    b"0\r\nX: 1\r\n\r\n",
];

#[test]
fn chunked_bodies_on_both_sides() {
    for (body, expected) in cases(CHUNKS, faults::CHUNKS) {
        let request = [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat();
        // Bytes that reach the bound only once complete do so on either way of cutting.
        check_request(&request, expected);
        let response = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat();
        check_response(&response, &Method::Get, expected);
    }
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extension = "x".repeat(5000);
    check_request(format!("{head}1;{extension}\r\nx\r\n").as_bytes(), "chunk_extensions_too_large");
    let drip = "1;aaaaaaaaaaaaaaaaaaa\r\nx\r\n".repeat(300);
    check_request(format!("{head}{drip}").as_bytes(), "chunk_extensions_too_large");
    let signed = format!("2000;chunk-signature={}\r\n{}\r\n", "a".repeat(64), "x".repeat(0x2000)).repeat(40);
    check_request(format!("{head}{signed}0\r\n\r\n").as_bytes(), "ok");
    check_request(format!("{head}0\r\nX: {}\r\n\r\n", "a".repeat(9000)).as_bytes(), "trailers_too_large");
    check_request(format!("{head}0\r\n{}\r\n", "X: a\r\n".repeat(33)).as_bytes(), "trailers_too_large");
    check_request(format!("{head}0\r\n{}\r\n", "X: a\r\n".repeat(32)).as_bytes(), "ok");
}

#[test]
fn bounds_of_the_head() {
    let lines = |n: usize| "X: 1\r\n".repeat(n);
    check_request(format!("GET / HTTP/1.1\r\n{H}{}\r\n", lines(99)).as_bytes(), "ok");
    check_request(format!("GET / HTTP/1.1\r\n{H}{}\r\n", lines(100)).as_bytes(), "too_many_fields");
    check_request(format!("GET / HTTP/1.1\r\n{H}{}", lines(100)).as_bytes(), "too_many_fields");
    check_response(
        format!("HTTP/1.1 200 OK\r\n{}\r\n", lines(101)).as_bytes(),
        &Method::Get,
        "too_many_fields",
    );
    // Exactly the bound is allowed, one byte more is not; a body behind it does not count.
    let fixed = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
    let fill = |n: usize| format!("GET / HTTP/1.1\r\n{H}X: {}\r\n\r\n", "a".repeat(n));
    check_request(fill(60 * 1024 - fixed).as_bytes(), "ok");
    check_request(fill(60 * 1024 - fixed + 1).as_bytes(), "head_too_large");
    check_request(format!("{}{}", fill(60 * 1024 - fixed), "b".repeat(70_000)).as_bytes(), "ok");
    check_request(&vec![b'a'; 70_000], "target_too_long");
    check_request(format!("GET / HTTP/1.1\r\nX{}", "a".repeat(70_000)).as_bytes(), "head_too_large");
    check_response(format!("HTTP/1.1 200 {}", "a".repeat(70_000)).as_bytes(), &Method::Get, "head_too_large");
}

#[test]
fn a_lone_lf_is_reported_at_once() {
    for input in ["GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nHost: a\n", "GET / HTTP/1.1\r\nX\n", "\n"] {
        check_request(input.as_bytes(), "bare_lf");
    }
    check_response(b"HTTP/1.1 200 OK\n", &Method::Get, "bare_lf");
}
