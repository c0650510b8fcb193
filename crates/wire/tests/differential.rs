//! Against httparse (heads) and hyper (heads, framing, bodies): what this codec accepts they accept with the
//! same fields and the same end; where it is stricter, a case says why.

mod support;

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use narthex_wire::{Limits, Method, Version};
use proptest::prelude::*;
use proptest::sample::select;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SENTINEL: &str = "GET /sentinel HTTP/1.1\r\nHost: s\r\n\r\n";

/// What hyper saw of one message. Fields are sorted by name; the order among equal names is kept.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    start: String,
    fields: support::Fields,
    body: Option<Vec<u8>>,
    trailers: support::Fields,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers")
}

fn sorted(map: &hyper::HeaderMap) -> support::Fields {
    let mut fields: support::Fields =
        map.iter().map(|(n, v)| (n.as_str().as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields
}

/// Without the fields that this codec keeps as typed fields or removes because `Connection` says so.
fn end_to_end(fields: support::Fields, with_named: bool) -> support::Fields {
    const TYPED: [&[u8]; 10] = [
        b"connection",
        b"content-length",
        b"transfer-encoding",
        b"host",
        b"expect",
        b"te",
        b"trailer",
        b"upgrade",
        b"keep-alive",
        b"proxy-connection",
    ];
    let named = |name: &[u8]| {
        !with_named
            && fields.iter().filter(|(n, _)| n == b"connection").any(|(_, v)| {
                v.split(|b| *b == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(name))
            })
    };
    fields.iter().filter(|(n, _)| !TYPED.contains(&&n[..]) && !named(n)).cloned().collect()
}

fn lower(fields: &support::Fields) -> support::Fields {
    let mut fields: support::Fields =
        fields.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.clone())).collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields
}

async fn collect(mut body: Incoming) -> (Option<Vec<u8>>, support::Fields) {
    let mut data = Vec::new();
    let mut trailers = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (None, trailers) };
        match frame.into_data() {
            Ok(bytes) => data.extend_from_slice(&bytes),
            Err(frame) => trailers = frame.trailers_ref().map(sorted).unwrap_or_default(),
        }
    }
    (Some(data), trailers)
}

/// The requests that a hyper server reads from these bytes.
fn hyper_requests(input: &[u8]) -> Vec<Seen> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (head, body) = request.into_parts();
            let (body, trailers) = collect(body).await;
            let start = format!("{} {}", head.method, head.uri);
            seen.borrow_mut().push(Seen { start, fields: sorted(&head.headers), body, trailers });
            Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
        }
    });
    runtime().block_on(async {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let server = hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .serve_connection(TokioIo::new(theirs), service);
        let client = async {
            let (mut read, mut write) = tokio::io::split(ours);
            // The server may be gone already: then it refused the bytes.
            let _ = write.write_all(input).await;
            let _ = write.shutdown().await;
            let mut answer = Vec::new();
            let _ = read.read_to_end(&mut answer).await;
        };
        let _ = tokio::join!(server, client);
    });
    seen.take()
}

/// The response that a hyper client reads from these bytes.
fn hyper_response(input: &[u8], method: &Method) -> Option<Seen> {
    runtime().block_on(async {
        let (mut ours, theirs) = tokio::io::duplex(1 << 20);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(theirs)).await.ok()?;
        let request = hyper::Request::builder().method(method.as_str()).uri("/").header("host", "a");
        let request = request.body(Empty::<Bytes>::new()).ok()?;
        let service = async move {
            let mut buffer = [0; 1024];
            let _ = ours.read(&mut buffer).await;
            let _ = ours.write_all(input).await;
            let _ = ours.shutdown().await;
        };
        let exchange = async move {
            let (head, body) = sender.send_request(request).await.ok()?.into_parts();
            let (body, trailers) = collect(body).await;
            Some(Seen {
                start: head.status.as_u16().to_string(),
                fields: sorted(&head.headers),
                body,
                trailers,
            })
        };
        tokio::join!(exchange, service, connection).0
    })
}

fn pick(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(pieces).prop_map(str::to_string)
}

/// Mostly good field lines with edges in them, and some of the ambiguous kind.
fn fields() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => ("[A-Za-z!#$%&'*+.^_`|~0-9-]{1,20}", "[ \t]{0,2}", "[ -~\u{80}-\u{7ff}\t]{0,20}")
            .prop_map(|(n, s, v)| format!("{n}:{s}{v}\r\n")),
        4 => pick(&[
            "Accept: */*\r\n", "X:\r\n", "Content-Length: 3\r\n", "Content-Length: 3\r\n", "CONTENT-length:0\r\n",
            "Transfer-Encoding: chunked\r\n", "Transfer-Encoding:CHUNKED \r\n", "Connection: close\r\n",
            "Connection: x-a, keep-alive\r\n", "X-A: 1\r\n", "X-a: 2\r\n", "TE: trailers\r\n", "Trailer: X-T\r\n",
        ]),
        1 => pick(&[
            "Transfer-Encoding: gzip, chunked\r\n", "Content-Length: +3\r\n", "Content-Length: 3, 3\r\n", " folded\r\n",
            "X : 1\r\n", "X: a\rb\r\n", "X: a\n", "X: a\0\r\n", "Transfer-Encoding: x\r\n",
        ]),
    ];
    prop::collection::vec(line, 0..5).prop_map(|lines| lines.concat())
}

fn body() -> impl Strategy<Value = String> {
    pick(&[
        "",
        "abc",
        "0\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "03;a=b\r\nabc\r\n0a\r\n0123456789\r\n000\r\n\r\n",
        "3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
        "3\nabc\n0\n\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
    ])
}

fn check_httparse_request(bytes: &[u8], ours: &support::Request) -> Result<(), TestCaseError> {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut headers);
    prop_assert!(matches!(request.parse(bytes), Ok(httparse::Status::Complete(_))), "httparse refuses");
    prop_assert_eq!(request.method, Some(ours.method.as_str()));
    prop_assert_eq!(request.path, Some(&ours.raw[..]));
    prop_assert_eq!(request.version, Some(if ours.version == Version::Http10 { 0 } else { 1 }));
    let theirs: support::Fields = request
        .headers
        .iter()
        .map(|h| (h.name.to_ascii_lowercase().into_bytes(), h.value.to_vec()))
        .collect();
    let ours: support::Fields =
        ours.fields.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.clone())).collect();
    prop_assert_eq!(end_to_end(theirs, false), ours, "in wire order");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn requests(
        line in pick(&[
            "GET / HTTP/1.1\r\n", "POST /a?b HTTP/1.1\r\n", "PUT /%20//x?%%?/ HTTP/1.0\r\n", "OPTIONS * HTTP/1.1\r\n",
            "FOO /{a}|^~!$'()*+,;=:@[] HTTP/1.1\r\n", "GET http://a/x?y HTTP/1.1\r\n", "\r\nDELETE /x HTTP/1.1\r\n",
        ]),
        fields in fields(),
        body in body(),
    ) {
        let bytes = format!("{line}Host: a\r\n{fields}\r\n{body}{SENTINEL}").into_bytes();
        let Ok(Some(ours)) = support::request(&[&bytes], &Limits::default()) else { return Ok(()) };
        check_httparse_request(&bytes, &ours)?;
        let theirs = hyper_requests(&bytes);
        let Some(first) = theirs.first() else {
            return Err(TestCaseError::fail("hyper refuses"));
        };
        prop_assert_eq!(&first.start, &format!("{} {}", ours.method.as_str(), ours.raw));
        prop_assert_eq!(end_to_end(first.fields.clone(), false), lower(&ours.fields));
        if let Some(rest) = &ours.body.rest {
            prop_assert_eq!(first.body.as_ref(), Some(&ours.body.data));
            prop_assert_eq!(end_to_end(first.trailers.clone(), true), lower(&ours.body.trailers));
            // The next request begins where this body ends, for both.
            if rest == SENTINEL.as_bytes() && ours.keep_alive {
                prop_assert_eq!(theirs.len(), 2);
                prop_assert_eq!(&theirs[1].start, "GET /sentinel");
            }
            prop_assert!(ours.keep_alive || theirs.len() == 1);
        }
    }

    #[test]
    fn responses(
        line in pick(&[
            "HTTP/1.1 200 OK\r\n", "HTTP/1.0 404 \r\n", "HTTP/1.1 204 No Content\r\n", "HTTP/1.1 304 N\tM\r\n",
            "HTTP/1.1 500 \u{fc}\r\n", "HTTP/1.1 299\r\n",
        ]),
        fields in fields(),
        body in body(),
        head in any::<bool>(),
    ) {
        let method = if head { Method::Head } else { Method::Get };
        let bytes = format!("{line}{fields}\r\n{body}").into_bytes();
        let Ok(Some(ours)) = support::response(&[&bytes], &method, &Limits::default()) else { return Ok(()) };
        let mut headers = [httparse::EMPTY_HEADER; 128];
        let mut response = httparse::Response::new(&mut headers);
        prop_assert!(matches!(response.parse(&bytes), Ok(httparse::Status::Complete(_))), "httparse refuses");
        prop_assert_eq!(response.code, Some(ours.status));
        let Some(theirs) = hyper_response(&bytes, &method) else {
            return Err(TestCaseError::fail("hyper refuses"));
        };
        prop_assert_eq!(theirs.start, ours.status.to_string());
        prop_assert_eq!(end_to_end(theirs.fields, false), lower(&ours.fields));
        let complete = ours.body.rest.is_some() || ours.framing == narthex_wire::Framing::UntilClose;
        prop_assert_eq!(theirs.body, complete.then_some(ours.body.data));
        if complete {
            prop_assert_eq!(end_to_end(theirs.trailers, true), lower(&ours.body.trailers));
        }
    }
}

/// Heads that httparse reads and this codec refuses: (head, code, why).
const STRICTER_THAN_HTTPARSE: &[(&str, &str, &str)] = &[
    ("GET / HTTP/1.1\nHost: a\n\n", "bare_lf", "another reader may not take LF for a line end"),
    (
        "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "leading_empty_lines",
        "one is tolerated (RFC 9112 2.2)",
    ),
    ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "invalid_target", "a fragment is never sent"),
    ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", "invalid_target", "targets are ASCII (RFC 3986)"),
    ("GET / HTTP/1.1\r\n\r\n", "missing_host", "RFC 9112 3.2"),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "repeated_host", "RFC 9112 3.2"),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "conflicting_length",
        "request smuggling",
    ),
];

#[test]
fn stricter_than_httparse() {
    for (head, code, why) in STRICTER_THAN_HTTPARSE {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let accepted = httparse::Request::new(&mut headers).parse(head.as_bytes());
        assert!(matches!(accepted, Ok(httparse::Status::Complete(_))), "{head:?} {accepted:?}");
        let ours = support::request(&[head.as_bytes()], &Limits::default());
        assert_eq!(ours.map_err(|e| e.code()).err(), Some(*code), "{why}");
    }
}

/// Requests that hyper serves and this codec refuses: (request, code, why).
const STRICTER_THAN_HYPER: &[(&str, &str, &str)] = &[
    ("GET / HTTP/1.1\r\n\r\n", "missing_host", "RFC 9112 3.2: 400"),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "repeated_host", "routers may pick different ones"),
    ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "invalid_host", "userinfo has no place in Host"),
    ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "conflicting_host", "services may look at either"),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "invalid_transfer_encoding",
        "nothing here decodes gzip framing",
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "repeated_content_length",
        "RFC 9110 8.6 lets a recipient refuse",
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        "conflicting_length",
        "request smuggling",
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
        "invalid_chunk_size",
        "spaces after a size are read differently by others",
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: cookie\r\nCookie: a\r\n\r\n",
        "forbidden_connection_option",
        "a client cannot make end-to-end fields vanish",
    ),
];

#[test]
fn stricter_than_hyper() {
    for (request, code, why) in STRICTER_THAN_HYPER {
        let theirs = hyper_requests(request.as_bytes());
        assert!(theirs.first().is_some_and(|seen| seen.body.is_some()), "hyper accepts {request:?}");
        let ours = support::request(&[request.as_bytes()], &Limits::default());
        assert_eq!(ours.map_err(|e| e.code()).err(), Some(*code), "{why}");
    }
}
