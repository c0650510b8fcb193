//! What accepted messages mean: targets, framing, keep-alive, hop-by-hop fields, surplus, and what is written.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod support;

use narthex_wire::{
    Framing, Head, InvalidTarget, InvalidValue, Known, LAST_CHUNK, Limits, Method, Name, Progress,
    RequestHead, RequestParser, ResponseHead, ResponseParser, Scheme, Version, chunk_prefix, encode_request,
    encode_response, encode_trailers,
};

fn request_head(text: &str) -> RequestHead {
    let mut head = RequestHead::new();
    head.buffer_mut().extend_from_slice(text.as_bytes());
    let progress = RequestParser::default().parse(&mut head, &Limits::default());
    assert_eq!(progress, Ok(Progress::Complete), "{text:?}");
    head
}

fn response_head(text: &str, method: &Method) -> ResponseHead {
    let mut head = ResponseHead::default();
    head.buffer_mut().extend_from_slice(text.as_bytes());
    let progress = ResponseParser::default().parse(&mut head, method, &Limits::default());
    assert_eq!(progress, Ok(Progress::Complete), "{text:?}");
    head
}

fn written(head: &RequestHead) -> String {
    let mut out = Vec::new();
    encode_request(head, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn targets() {
    let cases: &[(&str, &str, &str, Option<&str>, &str)] = &[
        ("GET /a/b?c?d", "a", "/a/b", Some("c?d"), "GET /a/b?c?d HTTP/1.1\r\n"),
        ("GET /?", "a", "/", Some(""), "GET /? HTTP/1.1\r\n"),
        ("GET //x", "a", "//x", None, "GET //x HTTP/1.1\r\n"),
        ("GET http://A:80", "A:80", "/", None, "GET / HTTP/1.1\r\n"),
        ("GET http://a?q", "a", "/", Some("q"), "GET /?q HTTP/1.1\r\n"),
        ("GET http://a/x?q", "a", "/x", Some("q"), "GET /x?q HTTP/1.1\r\n"),
        ("OPTIONS *", "a", "*", None, "OPTIONS * HTTP/1.1\r\n"),
        ("OPTIONS http://a", "a", "*", None, "OPTIONS * HTTP/1.1\r\n"),
        ("OPTIONS http://a/", "a", "/", None, "OPTIONS / HTTP/1.1\r\n"),
        ("CONNECT a:443", "a:443", "", None, "CONNECT a:443 HTTP/1.1\r\n"),
    ];
    for (line, authority, path, query, start) in cases {
        let head = request_head(&format!("{line} HTTP/1.1\r\nX: 1\r\nHost: a\r\n\r\n"));
        assert_eq!((head.authority(), head.path(), head.query()), (*authority, *path, *query), "{line}");
        assert_eq!(head.raw_path(), line.split(' ').nth(1).unwrap());
        assert_eq!(written(&head), format!("{start}Host: {authority}\r\nX: 1\r\n\r\n"), "{line}");
    }
    assert_eq!(
        request_head("GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n").target_scheme(),
        Some(Scheme::Https)
    );
}

#[test]
fn keep_alive_of_requests() {
    let cases = [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "Connection: close\r\n", false),
        ("HTTP/1.1", "Connection: keep-alive, CLOSE\r\n", false),
        ("HTTP/1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("HTTP/1.0", "", false),
        ("HTTP/1.0", "Connection: Keep-Alive\r\n", true),
        ("HTTP/1.0", "Connection: keep-alive, close\r\n", false),
        ("HTTP/1.0", "Keep-Alive: timeout=5\r\n", false),
    ];
    for (version, lines, expected) in cases {
        let head = request_head(&format!("GET / {version}\r\nHost: a\r\n{lines}\r\n"));
        assert_eq!(head.keep_alive(), expected, "{version} {lines}");
        assert_eq!(head.head.len(), 0, "hop-by-hop fields are no entries");
    }
}

#[test]
fn framing_of_responses() {
    let get = Method::Get;
    let cases: &[(&str, &Method, Framing, bool)] = &[
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", &get, Framing::Length(5), true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", &get, Framing::Chunked, true),
        ("HTTP/1.1 200 OK\r\n", &get, Framing::UntilClose, false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n", &get, Framing::Length(5), false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n", &get, Framing::Length(5), false),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n",
            &get,
            Framing::Length(5),
            true,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", &Method::Head, Framing::None, true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", &Method::Head, Framing::None, true),
        ("HTTP/1.1 200 OK\r\n", &Method::Head, Framing::None, true),
        ("HTTP/1.1 304 X\r\nContent-Length: 5\r\n", &get, Framing::None, true),
        ("HTTP/1.1 204 X\r\n", &get, Framing::None, true),
        ("HTTP/1.1 204 X\r\nContent-Length: 0\r\n", &get, Framing::None, true),
        ("HTTP/1.1 204 X\r\nContent-Length: 5\r\n", &get, Framing::None, false),
        ("HTTP/1.1 200 X\r\nContent-Length: 5\r\n", &Method::Connect, Framing::None, true),
        ("HTTP/1.1 400 X\r\nContent-Length: 5\r\n", &Method::Connect, Framing::Length(5), true),
        ("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", &get, Framing::None, false),
    ];
    for (text, method, framing, keep_alive) in cases {
        let head = response_head(&format!("{text}\r\n"), method);
        assert_eq!((head.framing, head.keep_alive()), (*framing, *keep_alive), "{text} to {method:?}");
    }
    let head = response_head("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", &Method::Head);
    assert_eq!(head.declared_length, Some(5));
}

#[test]
fn fields_that_connection_names_are_removed() {
    let head = request_head(
        "GET / HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nConnection: x-ONE, HTTP2-Settings\r\n\
         HTTP2-Settings: AA\r\nX-Two: 2\r\nX-one: 3\r\nTE: deflate , Trailers\r\nTrailer: X-T\r\n\r\n",
    );
    assert_eq!(support::fields(&head.head), [(b"X-Two".to_vec(), b"2".to_vec())]);
    assert!(head.te_trailers);
    assert_eq!(head.announced_trailers(), Some(&b"X-T"[..]));
}

#[test]
fn upgrade_needs_its_connection_option_and_http_1_1() {
    let websocket = "Upgrade: websocket\r\n";
    let head = request_head(&format!("GET / HTTP/1.1\r\nHost: a\r\n{websocket}Connection: Upgrade\r\n\r\n"));
    assert_eq!(head.upgrade(), Some(&b"websocket"[..]));
    assert!(written(&head).contains("Connection: upgrade\r\nUpgrade: websocket\r\n"));
    for text in [
        format!("GET / HTTP/1.1\r\nHost: a\r\n{websocket}\r\n"),
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n".into(),
        format!("GET / HTTP/1.0\r\nHost: a\r\n{websocket}Connection: Upgrade\r\n\r\n"),
    ] {
        let head = request_head(&text);
        assert_eq!((head.upgrade(), head.connection.upgrade), (None, false), "{text}");
        assert!(!written(&head).to_lowercase().contains("upgrade"));
    }
}

#[test]
fn pipelined_requests_are_kept_though_edits_follow() {
    let mut head = request_head(
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: b\r\n\r\nrest",
    );
    head.head.append(&Name::known(Known::XRequestId), b"1234").unwrap();
    head.set_path("/changed").unwrap();
    head.set_query(Some("q=1")).unwrap();
    head.set_authority("service:8080").unwrap();
    assert!(head.surplus().starts_with(b"abcGET /2"));
    let expected =
        "POST /changed?q=1 HTTP/1.1\r\nHost: service:8080\r\nContent-Length: 3\r\nX-Request-Id: 1234\r\n\r\n";
    assert_eq!(written(&head), expected);
    assert_eq!(head.raw_path(), "/1");
    head.next_request(3);
    let mut parser = RequestParser::default();
    assert_eq!(parser.parse(&mut head, &Limits::default()), Ok(Progress::Complete));
    assert_eq!((head.path(), head.authority(), head.head.len()), ("/2", "b", 0));
    assert_eq!(head.surplus(), b"rest");
    head.next_request(usize::MAX - 100);
    assert_eq!(head.buffer_mut().len(), 0);
}

#[test]
fn interim_responses_are_skipped() {
    let mut head = response_head(
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        &Method::Get,
    );
    assert!(head.is_interim());
    head.next_after_interim();
    let mut parser = ResponseParser::default();
    assert_eq!(parser.parse(&mut head, &Method::Get, &Limits::default()), Ok(Progress::Complete));
    assert_eq!((head.status, head.framing, head.surplus()), (200, Framing::Length(2), &b"hi"[..]));
    assert_eq!(head.head.len(), 0);
}

#[test]
fn forbidden_trailers_are_dropped() {
    let text = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\
        X-Checksum: 1\r\nContent-Length: 5\r\nHost: evil\r\nAuthorization: x\r\nTransfer-Encoding: chunked\r\n\
        Cookie: a\r\nX-Forwarded-For: 1\r\nSet-Cookie2: x\r\nConnection: close\r\nCache-Control: x\r\n\
        Content-Digest: x\r\nGrpc-Status: 0\r\nProxy-Authorization: x\r\nX-Narthex-Caller: x\r\n\r\nGET";
    let found = support::request(&[text.as_bytes()], &Limits::default()).unwrap().unwrap();
    assert_eq!(found.body.data, b"hi");
    assert_eq!(found.body.rest.as_deref(), Some(&b"GET"[..]));
    let names: Vec<_> =
        found.body.trailers.iter().map(|(n, _)| String::from_utf8_lossy(n).into_owned()).collect();
    assert_eq!(names, ["X-Checksum", "Grpc-Status"]);
}

#[test]
fn bodies_end_where_their_framing_says() {
    let run = |text: &str| support::request(&[text.as_bytes()], &Limits::default()).unwrap().unwrap().body;
    let head = "POST / HTTP/1.1\r\nHost: a\r\n";
    assert_eq!(run(&format!("{head}\r\nGET")).rest.as_deref(), Some(&b"GET"[..]));
    assert_eq!(run(&format!("{head}Content-Length: 2\r\n\r\nabGET")).rest.as_deref(), Some(&b"GET"[..]));
    assert_eq!(run(&format!("{head}Content-Length: 2\r\n\r\na")).rest, None);
    let chunked =
        run(&format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x\r\nbc\r\n0\r\n\r\nGET"));
    assert_eq!((chunked.data, chunked.rest), (b"abc".to_vec(), Some(b"GET".to_vec())));
    let text = b"HTTP/1.1 200 OK\r\n\r\nall of it";
    let body = support::response(&[text], &Method::Get, &Limits::default()).unwrap().unwrap().body;
    assert_eq!(body.data, b"all of it");
}

#[test]
fn requests_are_written_with_the_framing_that_they_have() {
    let mut head = RequestHead::new();
    head.set_target(Method::Get, "/x?y").unwrap();
    head.set_authority("a").unwrap();
    assert_eq!(written(&head), "GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n");
    for (method, zero) in
        [(Method::Post, true), (Method::Put, true), (Method::Patch, true), (Method::Delete, false)]
    {
        head.method = method;
        assert_eq!(written(&head).contains("Content-Length: 0\r\n"), zero);
    }
    head.framing = Framing::Length(7);
    assert!(written(&head).contains("Content-Length: 7\r\n"));
    head.framing = Framing::Chunked;
    head.expect_continue = true;
    head.te_trailers = true;
    head.set_upgrade(Some(b"websocket")).unwrap();
    assert!(written(&head).ends_with(
        "Transfer-Encoding: chunked\r\nConnection: upgrade, TE\r\nTE: trailers\r\nUpgrade: websocket\r\n\
         Expect: 100-continue\r\n\r\n"
    ));
    head.set_connect("b:443").unwrap();
    assert!(written(&head).starts_with("CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n"));
}

#[test]
fn responses_are_written_for_their_client() {
    use Version::{Http10, Http11};
    let write = |head: &ResponseHead, to, keep_alive, is_head| {
        let mut out = Vec::new();
        let sent = encode_response(head, to, keep_alive, is_head, &mut out);
        (String::from_utf8(out).unwrap(), sent)
    };
    let mut head = ResponseHead::new(200);
    let text = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
    assert_eq!(write(&head, Http11, true, false), (text("Content-Length: 0\r\n"), Framing::None));
    assert_eq!(write(&head, Http11, true, true), (text(""), Framing::None));
    head.declared_length = Some(9);
    assert_eq!(write(&head, Http11, true, true), (text("Content-Length: 9\r\n"), Framing::None));
    head.framing = Framing::Length(5);
    assert_eq!(write(&head, Http11, true, true), (text("Content-Length: 5\r\n"), Framing::None));
    let close = text("Content-Length: 5\r\nConnection: close\r\n");
    assert_eq!(write(&head, Http11, false, false), (close, Framing::Length(5)));
    let keep = text("Content-Length: 5\r\nConnection: keep-alive\r\n");
    assert_eq!(write(&head, Http10, true, false), (keep, Framing::Length(5)));
    head.framing = Framing::Chunked;
    let chunked = text("Transfer-Encoding: chunked\r\n");
    assert_eq!(write(&head, Http11, true, false), (chunked, Framing::Chunked));
    let until_close = text("Connection: close\r\n");
    assert_eq!(write(&head, Http10, true, false), (until_close.clone(), Framing::UntilClose));
    head.framing = Framing::UntilClose;
    assert_eq!(write(&head, Http11, true, false), (until_close, Framing::UntilClose));
    let mut not_modified = ResponseHead::new(304);
    assert_eq!(write(&not_modified, Http11, true, false).0, "HTTP/1.1 304 Not Modified\r\n\r\n");
    not_modified.declared_length = Some(3);
    assert!(write(&not_modified, Http11, true, false).0.contains("Content-Length: 3\r\n"));
    for status in [100, 103, 204] {
        let mut head = ResponseHead::new(status);
        head.framing = Framing::Length(4);
        head.declared_length = Some(4);
        let (text, sent) = write(&head, Http11, true, false);
        assert!(!text.contains("Content-Length"), "{text}");
        assert_eq!(sent, Framing::None);
    }
    let mut switch = ResponseHead::new(101);
    switch.set_upgrade(Some(b"websocket")).unwrap();
    let expected = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(write(&switch, Http11, false, false).0, expected);
}

#[test]
fn chunks_are_written_so_that_they_are_read_back() {
    for len in [1usize, 9, 10, 15, 16, 255, 256, 65_535, 65_536, usize::MAX] {
        let (bytes, n) = chunk_prefix(len);
        assert_eq!(bytes[..n], *format!("{len:x}\r\n").as_bytes());
    }
    assert_eq!(chunk_prefix(0).1, 0, "an empty chunk would end the body");
    let mut out = Vec::new();
    encode_trailers(None, &mut out);
    assert_eq!(out, LAST_CHUNK);
    let mut trailers = Head::new();
    trailers.append_raw(b"x-a", b"1").unwrap();
    out.clear();
    encode_trailers(Some(&trailers), &mut out);
    assert_eq!(out, b"0\r\nx-a: 1\r\n\r\n");
}

#[test]
fn edits_cannot_smuggle() {
    let mut head = Head::new();
    let name = Name::parse("X-A").unwrap();
    for bad in [&b"a\rb"[..], b"a\nb", b"a\r\nEvil: 1", b"\0", b"a\x7f", b"\x1b[0m", b"\n"] {
        assert_eq!(head.append(&name, bad), Err(InvalidValue::Control), "{bad:?}");
        assert_eq!(head.set(&name, bad), Err(InvalidValue::Control));
    }
    for known in Known::ALL.iter().filter(|k| k.is_reserved()) {
        assert_eq!(head.append(&Name::known(*known), b"1"), Err(InvalidValue::Reserved));
        assert_eq!(
            head.append_raw(known.as_str().to_lowercase().as_bytes(), b"1"),
            Err(InvalidValue::Reserved)
        );
    }
    for bad in [&b""[..], b"a b", b"a:", b"a\r\n", b"\xff"] {
        assert_eq!(head.append_raw(bad, b"1"), Err(InvalidValue::Name));
    }
    assert!(head.is_empty());
    head.append(&name, b" \ta\xff\tb ").unwrap();
    assert_eq!(head.get(&name), Some(&b"a\xff\tb"[..]));
    assert_eq!(head.set(&name, b"\n"), Err(InvalidValue::Control));
    assert_eq!(head.get(&name), None, "a refused value leaves none");

    let mut request = RequestHead::new();
    for bad in ["", "a", "/a?b", "/a b", "/a\r\n", "/ä", "/a#b", "/\0"] {
        assert_eq!(request.set_path(bad), Err(InvalidTarget::Path), "{bad:?}");
    }
    for bad in ["a b", "a#", "\r\n", "ä"] {
        assert_eq!(request.set_query(Some(bad)), Err(InvalidTarget::Query));
    }
    for bad in ["", "a b", "a\r\n", "u@a", "a/b", "a:b", "[::1"] {
        assert_eq!(request.set_authority(bad), Err(InvalidTarget::Authority));
    }
    assert_eq!(request.set_target(Method::Get, "*"), Err(InvalidTarget::Path));
    assert_eq!(request.set_upgrade(Some(b"a\r\nb")), Err(InvalidValue::Control));
    assert_eq!((request.path(), request.query(), request.authority()), ("/", None, ""));
}

#[test]
fn mark_and_rollback_cover_the_whole_request() {
    let mut head = request_head("GET /a?b HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\nbody");
    let before = written(&head);
    let mark = head.mark();
    head.method = Method::Post;
    head.set_path("/z").unwrap();
    head.set_query(None).unwrap();
    head.set_authority("other").unwrap();
    head.set_upgrade(Some(b"x")).unwrap();
    head.head.set(&Name::parse("x-a").unwrap(), b"2").unwrap();
    assert_ne!(written(&head), before);
    head.rollback(mark);
    assert_eq!(written(&head), before);
    assert_eq!(head.surplus(), b"body");
}
