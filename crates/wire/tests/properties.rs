//! Properties over generated messages: cutting does not matter, writing and reading agree, a head's
//! history can be undone exactly.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod support;

use narthex_wire::{Framing, Head, Limits, Mark, Method, Name, Progress, RequestHead, RequestParser};
use narthex_wire::{ResponseHead, ResponseParser, Version, encode_request, encode_response};
use proptest::prelude::*;
use proptest::sample::select;

fn pick(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(pieces).prop_map(str::to_string)
}

fn field_line() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => ("[A-Za-z][A-Za-z0-9-]{0,20}", "[ \t]{0,2}", "[ -~\u{80}-\u{7ff}\t]{0,30}")
            .prop_map(|(n, s, v)| format!("{n}:{s}{v}\r\n")),
        6 => pick(&[
            "Accept: */*\r\n", "User-Agent: curl/8.5.0\r\n", "Content-Length: 3\r\n", "Connection: close\r\n",
            "Transfer-Encoding: chunked\r\n", "Connection: keep-alive\r\n", "Cookie: a=b\r\n", "TE: trailers\r\n",
            "Connection: X-A\r\n", "X-A: 1\r\n", "Expect: 100-continue\r\n", "Upgrade: websocket\r\n",
            "Connection: upgrade\r\n", "Trailer: X-T\r\n",
        ]),
        1 => pick(&[
            " X: 1\r\n", "X : 1\r\n", "X: 1\n", "X: a\rb\r\n", ": 1\r\n", "X\r\n", "Host: b\r\n",
            "Content-Length: 3, 3\r\n", "Transfer-Encoding: gzip, chunked\r\n", "X: \0\r\n", "Content-Length: 4\r\n",
        ]),
    ]
}

fn body() -> impl Strategy<Value = String> {
    pick(&[
        "",
        "abc",
        "abcGET / HTTP/1.1\r\n",
        "0\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "3;a=\"b\"\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\nrest",
        "3\nabc",
        "5\r\nabc",
        "0\r\nX: 1\n\r\n",
        "0\r\nContent-Length: 1\r\nETag: x\r\n\r\n",
    ])
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    (
        pick(&[
            "GET / HTTP/1.1\r\n",
            "POST /a/b?c=d HTTP/1.1\r\n",
            "\r\nGET /x HTTP/1.1\r\n",
            "GET / HTTP/1.0\r\n",
            "OPTIONS * HTTP/1.1\r\n",
            "GET http://a/x?y HTTP/1.1\r\n",
            "CONNECT a:443 HTTP/1.1\r\n",
            "GET  / HTTP/1.1\r\n",
            "DELETE /%7e?? HTTP/1.1\r\n",
            "GET / HTTP/1.1\n",
        ]),
        pick(&["Host: a\r\n", "Host: a\r\n", "host:a:80\r\n", ""]),
        prop::collection::vec(field_line(), 0..6),
        body(),
    )
        .prop_map(|(line, host, fields, body)| {
            format!("{line}{host}{}\r\n{body}", fields.concat()).into_bytes()
        })
}

fn response() -> impl Strategy<Value = Vec<u8>> {
    (
        pick(&[
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.0 200 \r\n",
            "HTTP/1.1 204 No Content\r\n",
            "HTTP/1.1 304\r\n",
            "HTTP/1.1 404 N\t F\r\n",
            "HTTP/1.1 101 S\r\n",
            "HTTP/1.1 600 X\r\n",
            "HTTP/1.1 200 OK\n",
        ]),
        prop::collection::vec(field_line(), 0..6),
        body(),
    )
        .prop_map(|(line, fields, body)| format!("{line}{}\r\n{body}", fields.concat()).into_bytes())
}

fn mutated(message: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (message, any::<prop::sample::Index>(), select(&b"\r\n\t :\0,;aG0\xff\x7f"[..]), 0..4).prop_map(
        |(mut bytes, at, byte, kind)| {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => {}
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn cutting_a_request_does_not_matter(bytes in mutated(request()), places in prop::collection::vec(any::<usize>(), 0..6)) {
        let limits = Limits { head_bytes: 120, fields: 6, target: 20, chunk_extensions: 6, trailer_bytes: 20, trailer_fields: 1 };
        for limits in [limits, Limits::default()] {
            let whole = support::request(&[&bytes], &limits);
            prop_assert_eq!(&support::request(&support::bytes(&bytes), &limits), &whole);
            prop_assert_eq!(&support::request(&support::cut(&bytes, &places), &limits), &whole);
        }
    }

    #[test]
    fn cutting_a_response_does_not_matter(bytes in mutated(response()), places in prop::collection::vec(any::<usize>(), 0..6)) {
        let limits = Limits { head_bytes: 100, fields: 5, ..Limits::default() };
        for limits in [limits, Limits::default()] {
            for method in [Method::Get, Method::Head] {
                let whole = support::response(&[&bytes], &method, &limits);
                prop_assert_eq!(&support::response(&support::bytes(&bytes), &method, &limits), &whole);
                prop_assert_eq!(&support::response(&support::cut(&bytes, &places), &method, &limits), &whole);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let limits = Limits::default();
        prop_assert_eq!(support::request(&[&bytes], &limits), support::request(&support::bytes(&bytes), &limits));
        let chunks = |pieces: Vec<&[u8]>| support::body(Framing::Chunked, pieces.into_iter().map(Into::into).collect(), &limits);
        prop_assert_eq!(chunks(vec![&bytes]), chunks(support::bytes(&bytes)));
    }

    #[test]
    fn a_request_that_is_written_reads_the_same(bytes in request()) {
        let mut head = RequestHead::new();
        head.buffer_mut().extend_from_slice(&bytes);
        if RequestParser::default().parse(&mut head, &Limits::default()) != Ok(Progress::Complete)
            || head.version == Version::Http10
        {
            return Ok(());
        }
        let mut out = Vec::new();
        encode_request(&head, &mut out);
        let mut again = RequestHead::new();
        again.buffer_mut().extend_from_slice(&out);
        prop_assert_eq!(RequestParser::default().parse(&mut again, &Limits::default()), Ok(Progress::Complete));
        let parts = |h: &RequestHead| {
            let framing = if h.framing == Framing::Length(0) { Framing::None } else { h.framing };
            (h.method.clone(), h.authority().to_string(), h.path().to_string(), h.query().map(str::to_string), framing,
             support::fields(&h.head), h.upgrade().map(<[u8]>::to_vec), h.expect_continue, h.te_trailers)
        };
        prop_assert_eq!(parts(&again), parts(&head));
        prop_assert!(again.surplus().is_empty());
    }

    #[test]
    fn a_response_that_is_written_reads_the_same(bytes in response(), is_head in any::<bool>()) {
        let method = if is_head { Method::Head } else { Method::Get };
        let mut head = ResponseHead::default();
        head.buffer_mut().extend_from_slice(&bytes);
        if ResponseParser::default().parse(&mut head, &method, &Limits::default()) != Ok(Progress::Complete) {
            return Ok(());
        }
        let mut out = Vec::new();
        let sent = encode_response(&head, Version::Http11, true, is_head, &mut out);
        let mut again = ResponseHead::default();
        again.buffer_mut().extend_from_slice(&out);
        prop_assert_eq!(ResponseParser::default().parse(&mut again, &method, &Limits::default()), Ok(Progress::Complete));
        prop_assert_eq!(again.framing, sent);
        prop_assert_eq!(again.framing, head.framing);
        prop_assert_eq!(again.declared_length, head.declared_length);
        prop_assert_eq!((again.status, again.reason_phrase()), (head.status, head.reason_phrase()));
        prop_assert_eq!(support::fields(&again.head), support::fields(&head.head));
    }
}

#[derive(Clone, Debug)]
enum Edit {
    Append(usize, String),
    Set(usize, String),
    Remove(usize),
    RemovePrefix(usize),
    Mark,
    Rollback(usize),
}

const NAMES: [&str; 6] = ["Accept", "cookie", "X-Forwarded-For", "X-Forwarded-Custom", "X-A", "x-a-b"];
const PREFIXES: [&str; 4] = ["x-forwarded-", "X-A", "", "Accepted"];

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (0..NAMES.len(), "[a-z\u{1}]{0,6}").prop_map(|(n, v)| Edit::Append(n, v)),
        3 => (0..NAMES.len(), "[a-z\u{1}]{0,6}").prop_map(|(n, v)| Edit::Set(n, v)),
        3 => (0..NAMES.len()).prop_map(Edit::Remove),
        1 => (0..PREFIXES.len()).prop_map(Edit::RemovePrefix),
        2 => Just(Edit::Mark),
        2 => (0..8usize).prop_map(Edit::Rollback),
    ]
}

type Model = Vec<(String, String)>;

fn apply(head: &mut Head, model: &mut Model, marks: &mut Vec<(Mark, Model)>, edit: &Edit) {
    let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    match edit {
        Edit::Append(n, value) | Edit::Set(n, value) => {
            let name = Name::parse(NAMES[*n]).unwrap();
            let good = !value.contains('\u{1}');
            let done = if matches!(edit, Edit::Set(..)) {
                model.retain(|(have, _)| !same(have, NAMES[*n]));
                head.set(&name, value.as_bytes())
            } else {
                head.append(&name, value.as_bytes())
            };
            assert_eq!(done.is_ok(), good);
            if good {
                model.push((NAMES[*n].into(), value.clone()));
            }
        }
        Edit::Remove(n) => {
            let before = model.len();
            model.retain(|(have, _)| !same(have, NAMES[*n]));
            assert_eq!(head.remove(&Name::parse(NAMES[*n]).unwrap()), model.len() < before);
        }
        Edit::RemovePrefix(p) => {
            let before = model.len();
            let prefix = PREFIXES[*p];
            model.retain(|(have, _)| !have.get(..prefix.len()).is_some_and(|start| same(start, prefix)));
            assert_eq!(head.remove_prefix(prefix), model.len() < before);
        }
        Edit::Mark => marks.push((head.mark(), model.clone())),
        Edit::Rollback(n) if !marks.is_empty() => {
            marks.truncate(n % marks.len() + 1);
            let (mark, was) = marks.pop().expect("not empty");
            head.rollback(mark);
            *model = was;
        }
        Edit::Rollback(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_head_behaves_like_a_list_of_pairs(edits in prop::collection::vec(edit(), 0..60)) {
        let (mut head, mut model, mut marks) = (Head::new(), Model::new(), Vec::new());
        for edit in &edits {
            apply(&mut head, &mut model, &mut marks, edit);
            let expected: support::Fields =
                model.iter().map(|(n, v)| (n.clone().into_bytes(), v.clone().into_bytes())).collect();
            prop_assert_eq!(support::fields(&head), expected);
            prop_assert_eq!(head.len(), model.len());
            for text in NAMES {
                let name = Name::parse(text).unwrap();
                let values: Vec<&[u8]> =
                    model.iter().filter(|(n, _)| n.eq_ignore_ascii_case(text)).map(|(_, v)| v.as_bytes()).collect();
                prop_assert_eq!(head.get(&name), values.first().copied());
                prop_assert_eq!(head.get_str(&text.to_uppercase()), values.first().copied());
                prop_assert_eq!(head.contains(&name), !values.is_empty());
                prop_assert_eq!(&head.get_all(&name).collect::<Vec<_>>(), &values);
                prop_assert_eq!(&head.all_str(text).collect::<Vec<_>>(), &values);
            }
        }
    }
}

const REQUEST: &[u8] = b"POST /v1/products/42?currency=EUR HTTP/1.1\r\nHost: shop.example:8080\r\nTE: trailers\r\n\
    X-Custom-Name: a\tb\r\nContent-Length: 3\r\nConnection: close\r\nAccess-Control-Request-Method: PUT\r\nAge: 1\r\n\r\nabc";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Tue, 01 Jan 2030 00:00:00 GMT\r\nX-A:  b \r\n\
    Content-Length: 3\r\nConnection: keep-alive\r\nStrict-Transport-Security: max-age=60\r\nETag: \"a\"\r\n\r\nabc";

/// The message with one byte put in the place of another, put in, or taken out: every byte at every place.
fn changed(message: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let replaced = |at: usize, byte: u8| [&message[..at], &[byte], &message[at + 1..]].concat();
    let inserted = |at: usize, byte: u8| [&message[..at], &[byte], &message[at..]].concat();
    let removed = |at: usize| [&message[..at], &message[at + 1..]].concat();
    (0..message.len()).flat_map(move |at| {
        let each = (0..=255u8).flat_map(move |byte| [replaced(at, byte), inserted(at, byte)]);
        each.chain([removed(at)])
    })
}

/// A line that is complete when it is first looked at may be taken by the short way through the parser; one
/// whose LF comes later, or by itself, never is. Both ways have to judge alike.
#[test]
fn the_short_and_the_long_way_agree() {
    let limits = Limits::default();
    for bytes in changed(REQUEST) {
        let whole = support::request(&[&bytes], &limits);
        let long: Vec<&[u8]> = bytes.chunk_by(|_, next| *next != b'\n').collect();
        assert_eq!(support::request(&long, &limits), whole, "{:?}", String::from_utf8_lossy(&bytes));
    }
    for bytes in changed(RESPONSE) {
        let whole = support::response(&[&bytes], &Method::Get, &limits);
        let long: Vec<&[u8]> = bytes.chunk_by(|_, next| *next != b'\n').collect();
        assert_eq!(
            support::response(&long, &Method::Get, &limits),
            whole,
            "{:?}",
            String::from_utf8_lossy(&bytes)
        );
    }
}
