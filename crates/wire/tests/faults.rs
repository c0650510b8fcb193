//! Kind of fault x position x side: each input with the exact code it is refused with, or `ok`.
//! Every case is parsed at once and byte by byte; both must end alike.

mod support;

use narthex_wire::{Limits, Method, ParseError};

/// Host line and end of an otherwise good request.
const H: &str = "Host: a\r\n";

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
    let cases: &[(&str, &str)] = &[
        ("GET / HTTP/1.1", "ok"),
        ("GET / HTTP/1.0", "ok"),
        ("GET /a?b=c&d=%20 HTTP/1.1", "ok"),
        ("GET /{a}|^?x={\"y HTTP/1.1", "invalid_target"),
        ("GET /{a}|^~?x={} HTTP/1.1", "ok"),
        ("PROPFIND / HTTP/1.1", "ok"),
        ("get / HTTP/1.1", "ok"),
        ("\r\nGET / HTTP/1.1", "ok"),
        ("\r\n\r\nGET / HTTP/1.1", "leading_empty_lines"),
        ("\nGET / HTTP/1.1", "bare_lf"),
        ("\rGET / HTTP/1.1", "bare_cr"),
        ("GET / HTTP/1.1\n", "bare_lf"),
        ("GET /\rx HTTP/1.1", "bare_cr"),
        ("GET / HTTP/1.1\r", "bare_cr"),
        ("GET\r / HTTP/1.1", "bare_cr"),
        ("GET  / HTTP/1.1", "invalid_request_line"),
        ("GET /  HTTP/1.1", "invalid_request_line"),
        (" GET / HTTP/1.1", "invalid_request_line"),
        ("GET / HTTP/1.1 ", "invalid_request_line"),
        ("GET\t/\tHTTP/1.1", "invalid_request_line"),
        ("GET /\tx HTTP/1.1", "invalid_request_line"),
        ("GET / x HTTP/1.1", "invalid_request_line"),
        ("GET /", "invalid_request_line"),
        ("GET", "invalid_request_line"),
        ("G(T / HTTP/1.1", "invalid_method"),
        ("G\0T / HTTP/1.1", "invalid_method"),
        ("GÄT / HTTP/1.1", "invalid_method"),
        ("ABCDEFGHIJABCDEFGHIJABCDEFGHIJAB / HTTP/1.1", "ok"),
        ("ABCDEFGHIJABCDEFGHIJABCDEFGHIJABC / HTTP/1.1", "invalid_method"),
        ("GET / http/1.1", "invalid_version"),
        ("GET / HTTP/1.10", "invalid_version"),
        ("GET / HTTP/11", "invalid_version"),
        ("GET / HTTP/1,1", "invalid_version"),
        ("GET / HTTP/+1.1", "invalid_version"),
        ("GET / HTTPS/1.1", "invalid_version"),
        ("GET / HTTP/0.9", "unsupported_version"),
        ("GET / HTTP/1.2", "unsupported_version"),
        ("GET / HTTP/2.0", "unsupported_version"),
        ("PRI * HTTP/2.0", "unsupported_version"),
        ("GET /a#b HTTP/1.1", "invalid_target"),
        ("GET /a\u{1}b HTTP/1.1", "invalid_target"),
        ("GET /a\0b HTTP/1.1", "invalid_target"),
        ("GET /a\u{7f}b HTTP/1.1", "invalid_target"),
        ("GET /ä HTTP/1.1", "invalid_target"),
        ("GET /<a> HTTP/1.1", "invalid_target"),
        ("GET /a\\b HTTP/1.1", "invalid_target"),
        ("GET a HTTP/1.1", "invalid_target"),
        ("GET * HTTP/1.1", "invalid_target"),
        ("GET a:80 HTTP/1.1", "invalid_target"),
        ("OPTIONS * HTTP/1.1", "ok"),
        ("OPTIONS *a HTTP/1.1", "invalid_target"),
        ("OPTIONS http://a HTTP/1.1", "ok"),
        ("GET http://a/x HTTP/1.1", "ok"),
        ("GET HTTP://A/x HTTP/1.1", "ok"),
        ("GET http://a:80/x HTTP/1.1", "ok"),
        ("GET https://a:443?q HTTP/1.1", "ok"),
        ("GET http://a:81/x HTTP/1.1", "conflicting_host"),
        ("GET http://b/x HTTP/1.1", "conflicting_host"),
        ("GET http://u@a/x HTTP/1.1", "invalid_host"),
        ("GET http:///x HTTP/1.1", "invalid_host"),
        ("GET http:/x HTTP/1.1", "invalid_target"),
        ("GET ftp://a/x HTTP/1.1", "invalid_target"),
        ("GET http://a/x#y HTTP/1.1", "invalid_target"),
        ("CONNECT a:443 HTTP/1.1", "ok"),
        ("CONNECT a HTTP/1.1", "invalid_target"),
        ("CONNECT a: HTTP/1.1", "invalid_target"),
        ("CONNECT /a HTTP/1.1", "invalid_target"),
        ("CONNECT * HTTP/1.1", "invalid_target"),
        ("CONNECT http://a:443 HTTP/1.1", "invalid_target"),
        ("CONNECT b:443 HTTP/1.1", "conflicting_host"),
    ];
    for (line, expected) in cases {
        check_request(format!("{line}\r\n{H}\r\n").as_bytes(), expected);
    }
    check_request(format!("GET {} HTTP/1.1\r\n{H}\r\n", &long[..16 * 1024]).as_bytes(), "ok");
    check_request(format!("GET {long} HTTP/1.1\r\n{H}\r\n").as_bytes(), "target_too_long");
    check_request(format!("GET {long}{long}").as_bytes(), "target_too_long");
    check_request(b"GET / HTTP/1.1\r\nHost: a\r\n", "partial");
    check_request(b"GET / HTT", "partial");
    check_request(b"", "partial");
}

#[test]
fn hosts() {
    let cases: &[(&str, &str)] = &[
        ("Host: a", "ok"),
        ("HOST:a", "ok"),
        ("host: \t a.example:8080 \t ", "ok"),
        ("Host: 127.0.0.1:80", "ok"),
        ("Host: [::1]:80", "ok"),
        ("Host: [::1]", "ok"),
        ("Host: a_b.c-d~", "ok"),
        ("X: 1", "missing_host"),
        ("Host:", "missing_host"),
        ("Host: a\r\nHost: a", "repeated_host"),
        ("Host: a\r\nX: 1\r\nhOST: b", "repeated_host"),
        ("Host: a, b", "invalid_host"),
        ("Host: a b", "invalid_host"),
        ("Host: u@a", "invalid_host"),
        ("Host: a/b", "invalid_host"),
        ("Host: http://a", "invalid_host"),
        ("Host: a?b", "invalid_host"),
        ("Host: a#b", "invalid_host"),
        ("Host: a\\b", "invalid_host"),
        ("Host: %61", "invalid_host"),
        ("Host: ä", "invalid_host"),
        ("Host: a:b", "invalid_host"),
        ("Host: a:1:2", "invalid_host"),
        ("Host: a:65536", "invalid_host"),
        ("Host: a:+80", "invalid_host"),
        ("Host: :80", "invalid_host"),
        ("Host: ::1", "invalid_host"),
        ("Host: [::1", "invalid_host"),
        ("Host: [a]", "invalid_host"),
        ("Host: [::1%25eth0]", "invalid_host"),
        ("Host: [::1]x", "invalid_host"),
        ("Host : a", "space_before_colon"),
    ];
    for (line, expected) in cases {
        check_request(format!("GET / HTTP/1.1\r\n{line}\r\n\r\n").as_bytes(), expected);
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

/// Faults that any field line can have: as first, middle and last line, on either side and in trailers.
const FIELD_LINES: &[(&[u8], &str)] = &[
    (b"X: 1", "ok"),
    (b"X:", "ok"),
    (b"X: \t ", "ok"),
    (b"X:\t1", "ok"),
    (b"X: a:b", "ok"),
    (b"X: a\tb", "ok"),
    (b"X: \x80\xff", "ok"),
    (b"!#$%&'*+-.^_`|~09azAZ: 1", "ok"),
    (b" X: 1", "obs_fold"),
    (b"\tX: 1", "obs_fold"),
    (b" ", "obs_fold"),
    (b"X : 1", "space_before_colon"),
    (b"X\t: 1", "space_before_colon"),
    (b"X \t : 1", "space_before_colon"),
    (b"X Y: 1", "invalid_name"),
    (b": 1", "empty_name"),
    (b":", "empty_name"),
    (b"X", "missing_colon"),
    (b"Content-Length", "missing_colon"),
    (b"X\0: 1", "invalid_name"),
    (b"X\x01: 1", "invalid_name"),
    (b"X\x7f: 1", "invalid_name"),
    (b"\xc3\xa4: 1", "invalid_name"),
    (b"X(: 1", "invalid_name"),
    (b"X\": 1", "invalid_name"),
    (b"X/Y: 1", "invalid_name"),
    (b"X[1]: 1", "invalid_name"),
    (b"X: \0", "invalid_value"),
    (b"X: a\x01b", "invalid_value"),
    (b"X: \x0b", "invalid_value"),
    (b"X: \x0c", "invalid_value"),
    (b"X: \x1b", "invalid_value"),
    (b"X: \x7f", "invalid_value"),
    (b"X: a\rb", "bare_cr"),
    (b"X: a\r\rb", "bare_cr"),
    (b"X: \r", "bare_cr"),
    (b"X\rY: 1", "bare_cr"),
    (b"\rX: 1", "bare_cr"),
    (b"X: a\nY: b", "bare_lf"),
    (b"X: a\n", "bare_lf"),
    (b"\nX: 1", "bare_lf"),
    (b"X\nY: 1", "bare_lf"),
    (b"X\n", "bare_lf"),
    (b"X: 1\r\n folded", "obs_fold"),
    (b"X: 1\r\n\tfolded", "obs_fold"),
    (b"X: 1\r\n \r\n", "obs_fold"),
];

#[test]
fn field_lines_at_each_position_on_each_side() {
    for (line, expected) in FIELD_LINES {
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

/// Framing fields; the same on both sides.
const FRAMING: &[(&str, &str)] = &[
    ("Content-Length: 0", "ok"),
    ("Content-Length: 3", "ok"),
    ("content-LENGTH:003", "ok"),
    ("Content-Length:", "invalid_content_length"),
    ("Content-Length: +3", "invalid_content_length"),
    ("Content-Length: -3", "invalid_content_length"),
    ("Content-Length: 3,3", "invalid_content_length"),
    ("Content-Length: 3, 3", "invalid_content_length"),
    ("Content-Length: 3 3", "invalid_content_length"),
    ("Content-Length: 0x3", "invalid_content_length"),
    ("Content-Length: 3.0", "invalid_content_length"),
    ("Content-Length: a", "invalid_content_length"),
    ("Content-Length: 18446744073709551615", "ok"),
    ("Content-Length: 18446744073709551616", "invalid_content_length"),
    ("Content-Length: 99999999999999999999999", "invalid_content_length"),
    ("Content-Length: 3\r\nContent-Length: 3", "repeated_content_length"),
    ("Content-Length: 3\r\ncontent-length: 4", "repeated_content_length"),
    ("Content-Length : 3", "space_before_colon"),
    ("Content-Length\0: 3", "invalid_name"),
    ("Transfer-Encoding: chunked", "ok"),
    ("Transfer-Encoding: CHUNKED", "ok"),
    ("transfer-encoding:\tchunked ", "ok"),
    ("Transfer-Encoding:", "invalid_transfer_encoding"),
    ("Transfer-Encoding: identity", "invalid_transfer_encoding"),
    ("Transfer-Encoding: gzip", "invalid_transfer_encoding"),
    ("Transfer-Encoding: gzip, chunked", "invalid_transfer_encoding"),
    ("Transfer-Encoding: chunked, gzip", "invalid_transfer_encoding"),
    ("Transfer-Encoding: chunked, chunked", "invalid_transfer_encoding"),
    ("Transfer-Encoding: chunked,", "invalid_transfer_encoding"),
    ("Transfer-Encoding: ,chunked", "invalid_transfer_encoding"),
    ("Transfer-Encoding: xchunked", "invalid_transfer_encoding"),
    ("Transfer-Encoding: chunkedx", "invalid_transfer_encoding"),
    ("Transfer-Encoding: \"chunked\"", "invalid_transfer_encoding"),
    ("Transfer-Encoding: chunked;a=b", "invalid_transfer_encoding"),
    ("Transfer-Encoding: ch\u{212a}unked", "invalid_transfer_encoding"),
    ("Transfer-Encoding: \u{b}chunked", "invalid_value"),
    ("Transfer-Encoding: chunked\0", "invalid_value"),
    ("Transfer-Encoding: chunked\r\n ", "obs_fold"),
    ("Transfer-Encoding : chunked", "space_before_colon"),
    (" Transfer-Encoding: chunked", "obs_fold"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "invalid_transfer_encoding"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip", "invalid_transfer_encoding"),
    ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", "invalid_transfer_encoding"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 3", "conflicting_length"),
    ("Content-Length: 3\r\nTransfer-Encoding: chunked", "conflicting_length"),
    ("Content-Length: 0\r\nX: 1\r\nTransfer-Encoding: chunked", "conflicting_length"),
    ("Transfer_Encoding: chunked", "ok"),
    ("Connection: close", "ok"),
    ("Connection: Keep-Alive, ,Upgrade", "ok"),
    ("Connection: TE, Transfer-Encoding, X-Mine", "ok"),
    ("Connection: a b", "invalid_connection"),
    ("Connection: \"close\"", "invalid_connection"),
    ("Connection: a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a", "invalid_connection"),
    ("Connection: Host", "forbidden_connection_option"),
    ("Connection: content-length", "forbidden_connection_option"),
    ("Connection: close, Authorization", "forbidden_connection_option"),
    ("Connection: cookie", "forbidden_connection_option"),
    ("Connection: X-Forwarded-For", "forbidden_connection_option"),
    ("Connection: X-Forwarded-Whatever", "forbidden_connection_option"),
];

#[test]
fn framing_fields_on_both_sides() {
    for (lines, expected) in FRAMING {
        check_request(format!("POST / HTTP/1.1\r\n{H}{lines}\r\n\r\n").as_bytes(), expected);
        check_request(format!("GET / HTTP/1.1\r\n{lines}\r\n{H}\r\n").as_bytes(), expected);
        check_response(format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n").as_bytes(), &Method::Get, expected);
        check_response(format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n").as_bytes(), &Method::Head, expected);
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
    for (line, expected) in [
        ("Expect: 100-continue", "ok"),
        ("expect: 100-Continue", "ok"),
        ("Expect: 200-ok", "unknown_expectation"),
        ("Expect: 100-continue, x", "unknown_expectation"),
        ("Expect:", "unknown_expectation"),
    ] {
        check_request(format!("POST / HTTP/1.1\r\n{H}{line}\r\n\r\n").as_bytes(), expected);
        check_request(format!("POST / HTTP/1.0\r\n{line}\r\n\r\n").as_bytes(), "ok");
    }
}

#[test]
fn status_lines() {
    let cases: &[(&str, &str)] = &[
        ("HTTP/1.1 200 OK", "ok"),
        ("HTTP/1.0 200 OK", "ok"),
        ("HTTP/1.1 200 ", "ok"),
        ("HTTP/1.1 200", "ok"),
        ("HTTP/1.1 200 ä\tb c", "ok"),
        ("HTTP/1.1 100 Continue", "ok"),
        ("HTTP/1.1 599 X", "ok"),
        ("HTTP/1.1 600 X", "invalid_status"),
        ("HTTP/1.1 999 X", "invalid_status"),
        ("HTTP/1.1 099 X", "invalid_status"),
        ("HTTP/1.1 000 X", "invalid_status"),
        ("HTTP/1.1 20 OK", "invalid_status_line"),
        ("HTTP/1.1 2000 OK", "invalid_status_line"),
        ("HTTP/1.1 +20 OK", "invalid_status_line"),
        ("HTTP/1.1 2x0 OK", "invalid_status_line"),
        ("HTTP/1.1 200OK", "invalid_status_line"),
        ("HTTP/1.1  200 OK", "invalid_status_line"),
        ("HTTP/1.1\t200 OK", "invalid_status_line"),
        ("HTTP/1.1 200\tOK", "invalid_status_line"),
        ("HTTP/1.1", "invalid_status_line"),
        ("HTTP/1.1 ", "invalid_status_line"),
        ("", "invalid_status_line"),
        ("ICY 200 OK", "invalid_status_line"),
        ("http/1.1 200 OK", "invalid_version"),
        ("HTTP/1.2 200 OK", "unsupported_version"),
        ("HTTP/2.0 200 OK", "unsupported_version"),
        ("HTTP/1.1 200 a\0b", "invalid_status_line"),
        ("HTTP/1.1 200 a\u{7f}b", "invalid_status_line"),
        ("HTTP/1.1 200 a\rb", "bare_cr"),
        ("HTTP/1.1 200 OK\r", "bare_cr"),
        ("HTTP/1.1 200 OK\n", "bare_lf"),
        ("\r\nHTTP/1.1 200 OK", "invalid_status_line"),
    ];
    for (line, expected) in cases {
        check_response(format!("{line}\r\nX: 1\r\n\r\n").as_bytes(), &Method::Get, expected);
    }
    for status in ["100", "103", "204"] {
        let refused = format!("HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n");
        check_response(refused.as_bytes(), &Method::Get, "transfer_encoding_without_body");
    }
}

/// Chunked bodies behind a good head; the same on both sides.
const CHUNKS: &[(&[u8], &str)] = &[
    (b"0\r\n\r\n", "ok"),
    (b"000\r\n\r\n", "ok"),
    (b"5\r\nhello\r\n0\r\n\r\n", "ok"),
    (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "ok"),
    (b"0000000000000005\r\nhello\r\n0\r\n\r\n", "ok"),
    (b"00000000000000005\r\nhello\r\n0\r\n\r\n", "invalid_chunk_size"),
    (b"ffffffffffffffff\r\nhello", "ok"),
    (b"10000000000000000\r\nhello", "invalid_chunk_size"),
    (b"\r\nhello\r\n0\r\n\r\n", "invalid_chunk_size"),
    (b"0x5\r\nhello\r\n0\r\n\r\n", "invalid_chunk_size"),
    (b" 5\r\nhello\r\n0\r\n\r\n", "invalid_chunk_size"),
    (b"5 \r\nhello\r\n0\r\n\r\n", "invalid_chunk_size"),
    (b"5\t\r\nhello\r\n0\r\n\r\n", "invalid_chunk_size"),
    (b"+5\r\nhello\r\n0\r\n\r\n", "invalid_chunk_size"),
    (b"-5\r\nhello\r\n0\r\n\r\n", "invalid_chunk_size"),
    (b"5_\r\nhello\r\n0\r\n\r\n", "invalid_chunk_size"),
    (b"5,\r\nhello\r\n0\r\n\r\n", "invalid_chunk_size"),
    (b"g\r\nhello\r\n0\r\n\r\n", "invalid_chunk_size"),
    (b"5\0\r\nhello\r\n0\r\n\r\n", "invalid_chunk_size"),
    (b";a\r\nhello\r\n0\r\n\r\n", "invalid_chunk_size"),
    (b"\n5\r\nhello\r\n0\r\n\r\n", "invalid_chunk_size"),
    (b"5\nhello\r\n0\r\n\r\n", "bare_lf"),
    (b"5\rhello\r\n0\r\n\r\n", "bare_cr"),
    (b"5\r\rhello\r\n0\r\n\r\n", "bare_cr"),
    (b"5\r\nhello0\r\n\r\n", "invalid_chunk_end"),
    (b"5\r\nhelloo\r\n0\r\n\r\n", "invalid_chunk_end"),
    (b"5\r\nhello\n0\r\n\r\n", "invalid_chunk_end"),
    (b"5\r\nhello\rX0\r\n\r\n", "invalid_chunk_end"),
    (b"5\r\nhell\r\n0\r\n\r\n", "invalid_chunk_end"),
    (b"5;a\r\nhello\r\n0\r\n\r\n", "ok"),
    (b"5;a=b;c=\"d;\\\"\r\\\n\"\r\nhello\r\n0\r\n\r\n", "invalid_chunk_extension"),
    (b"5;a=b; c = \"d;\\\"=e\xff\"\r\nhello\r\n0;x\r\n\r\n", "ok"),
    (b"5;a\nb\r\nhello\r\n0\r\n\r\n", "bare_lf"),
    (b"5;a\n\r\nhello\r\n0\r\n\r\n", "bare_lf"),
    (b"5;a\rb\r\nhello\r\n0\r\n\r\n", "bare_cr"),
    (b"5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", "bare_lf"),
    (b"5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n", "invalid_chunk_extension"),
    (b"5;a\0\r\nhello\r\n0\r\n\r\n", "invalid_chunk_extension"),
    (b"5;\x7f\r\nhello\r\n0\r\n\r\n", "invalid_chunk_extension"),
    (b"5;\xff\r\nhello\r\n0\r\n\r\n", "invalid_chunk_extension"),
    (b"0\r\nX: 1\r\n\r\n", "ok"),
    (b"0\r\nX: 1\n\r\n", "bare_lf"),
    (b"0\r\n\n", "bare_lf"),
    (b"0\r\n\rX\r\n", "bare_cr"),
];

#[test]
fn chunked_bodies_on_both_sides() {
    for (body, expected) in CHUNKS {
        let request = [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", *body].concat();
        // Bytes that reach the bound only once complete do so on either way of cutting.
        check_request(&request, expected);
        let response = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *body].concat();
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
