//! Parses the same request or response again and again, for counting instructions:
//! `valgrind --tool=callgrind parse request 2000`, minus the same with 1000.

use std::hint::black_box;
use std::process::ExitCode;

use narthex_wire::{
    Known, Limits, Method, Name, Progress, RequestHead, RequestParser, ResponseHead, ResponseParser, Version,
    encode_request, encode_response,
};

const REQUEST: &[u8] = b"GET /v1/products/42?currency=EUR HTTP/1.1\r\nHost: shop.example:8080\r\nUser-Agent: curl/8.5.0\r\n\
    Accept: */*\r\nAccept-Encoding: gzip, deflate, br\r\nAuthorization: Bearer abcdef012345\r\nX-Request-Id: 0123456789\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Tue, 01 Jan 2030 00:00:00 GMT\r\nContent-Type: text/plain\r\n\
    Content-Length: 128\r\nConnection: keep-alive\r\nCache-Control: max-age=60, public\r\nETag: \"abcdef\"\r\n\r\n";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let times: usize = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let limits = Limits::default();
    let mut out = Vec::with_capacity(1024);
    let mut request = RequestHead::new();
    let mut request_parser = RequestParser::default();
    let mut response = ResponseHead::default();
    let mut response_parser = ResponseParser::default();
    let name = Name::known(Known::XRequestId);
    for _ in 0..times {
        let done = if what.starts_with("request") {
            request.clear();
            request_parser.reset();
            request.buffer_mut().extend_from_slice(REQUEST);
            request_parser.parse(black_box(&mut request), &limits)
        } else {
            response.clear();
            response_parser.reset();
            response.buffer_mut().extend_from_slice(RESPONSE);
            response_parser.parse(black_box(&mut response), &Method::Get, &limits)
        };
        if done != Ok(Progress::Complete) {
            return ExitCode::FAILURE;
        }
        match what.as_str() {
            "request-encode" => {
                out.clear();
                encode_request(black_box(&request), &mut out);
            }
            "response-encode" => {
                out.clear();
                black_box(encode_response(black_box(&response), Version::Http11, true, false, &mut out));
            }
            "request-lookup" => {
                black_box(black_box(&request).head.get(&name));
            }
            _ => {}
        }
        black_box(&out);
    }
    ExitCode::SUCCESS
}
