//! Heads and bodies of gRPC-Web, both ways, in pieces of every size. Opens no socket: that is for the tests of the gateway.

use super::base64::{decode, encode};
use super::steps::{Decode, Encode};
use crate::shared::testing::{Compiled, compile, drive, drive_one, field, response};
use narthex_contract::{BodyStep, Exchange, Reply};
use narthex_wire::{Framing, Head, Method, Name, ResponseHead};

fn policy() -> Compiled {
    compile("grpc_web", "{}")
}

fn call(policy: &Compiled, content_type: &str, accept: &[&str]) -> Exchange {
    let mut fields = vec![("Content-Type", content_type), ("X-Grpc-Web", "1")];
    fields.extend(accept.iter().map(|value| ("Accept", *value)));
    let mut exchange = policy.exchange(&fields);
    exchange.request.method = Method::Post;
    exchange.request.framing = Framing::Chunked;
    assert!(policy.request(&mut exchange).is_none());
    exchange
}

fn trailers(fields: &[(&str, &str)]) -> Head {
    let mut head = Head::new();
    for (name, value) in fields {
        head.append(&Name::parse(name).unwrap(), value.as_bytes()).unwrap();
    }
    head
}

#[test]
fn a_call_reaches_the_service_as_grpc() {
    let policy = policy();
    for (asked, expected) in [
        ("application/grpc-web", "application/grpc"),
        ("application/grpc-web+proto", "application/grpc+proto"),
        ("application/grpc-web-text", "application/grpc"),
        ("Application/Grpc-Web-Text+json; charset=utf-8", "application/grpc+json; charset=utf-8"),
    ] {
        let exchange = call(&policy, asked, &["application/grpc-web"]);
        let head = &exchange.request.head;
        assert_eq!(head.get_str("content-type"), Some(expected.as_bytes()), "{asked}");
        assert!(exchange.request.te_trailers);
        assert!(head.get_str("x-grpc-web").is_none() && head.get_str("accept").is_none());
        let is_text = asked.to_ascii_lowercase().contains("text");
        assert_eq!(policy.step(&exchange, None).is_some(), is_text, "{asked}");
    }
}

#[test]
fn everything_else_passes_untouched() {
    let policy = policy();
    for other in ["application/grpc", "application/grpc+proto", "text/plain", "application/grpc-webs"] {
        let exchange = call(&policy, other, &["text/html"]);
        assert_eq!(exchange.request.head.get_str("content-type"), Some(other.as_bytes()));
        assert!(exchange.request.head.get_str("accept").is_some());
        let mut exchange = exchange;
        let mut head = response(200, Framing::Chunked, &[("Content-Type", "text/html")]);
        assert!(policy.response(&mut exchange, &mut head).is_none());
        assert_eq!(field(&head.head, "content-type"), "text/html");
        assert!(policy.step(&exchange, Some(&head)).is_none());
    }
    let mut get = policy.exchange(&[("Content-Type", "application/grpc-web")]);
    assert!(policy.request(&mut get).is_none());
    assert_eq!(get.request.head.get_str("content-type"), Some(&b"application/grpc-web"[..]));
}

fn answered(asked: &str, accept: &[&str], head: &mut ResponseHead) -> (bool, Option<Reply>) {
    let policy = policy();
    let mut exchange = call(&policy, asked, accept);
    let reply = policy.response(&mut exchange, head);
    (policy.step(&exchange, Some(head)).is_some(), reply)
}

#[test]
fn the_answer_has_the_form_that_was_asked_for() {
    for (asked, accept, expected) in [
        ("application/grpc-web", &[][..], "application/grpc-web+proto"),
        ("application/grpc-web-text", &[], "application/grpc-web-text+proto"),
        ("application/grpc-web-text", &["application/grpc-web+proto"], "application/grpc-web+proto"),
        ("application/grpc-web", &["*/*, application/grpc-web-text;q=1"], "application/grpc-web-text+proto"),
        ("application/grpc-web", &["*/*"], "application/grpc-web+proto"),
    ] {
        let mut head = response(200, Framing::Chunked, &[("Content-Type", "application/grpc+proto")]);
        let (has_step, reply) = answered(asked, accept, &mut head);
        assert!(reply.is_none() && has_step, "{asked} {accept:?}");
        assert_eq!(field(&head.head, "content-type"), expected);
    }
    let fields = [("Content-Type", "application/grpc"), ("Grpc-Status", "5")];
    let mut headers_alone = response(200, Framing::None, &fields);
    let (has_step, _) = answered("application/grpc-web", &[], &mut headers_alone);
    assert!(!has_step, "its status is in the head");
    assert_eq!(field(&headers_alone.head, "content-type"), "application/grpc-web");
}

#[test]
fn what_is_no_grpc_ends_the_call() {
    for (status, content_type, expected) in [
        (502, "text/html", Some("14")),
        (401, "application/grpc", Some("16")),
        (200, "text/html", None),
        (200, "application/grpc-web", None),
    ] {
        let mut head = response(status, Framing::Chunked, &[("Content-Type", content_type)]);
        let (_, reply) = answered("application/grpc-web-text+proto", &[], &mut head);
        let Some(Reply::Problem { reason, detail }) = reply else { panic!("{status} {content_type}") };
        assert_eq!(reason.code(), "not_grpc");
        let said = |name: &str| {
            let found = detail.fields.iter().find(|(known, _)| known.as_str().eq_ignore_ascii_case(name));
            found.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
        };
        assert_eq!(said("content-type").as_deref(), Some("application/grpc-web-text+proto"));
        assert_eq!(said("grpc-status").as_deref(), expected);
    }
}

#[test]
fn groups_of_base64() {
    for (bytes, text) in
        [(&b"f"[..], b"Zg=="), (b"fo", b"Zm8="), (b"foo", b"Zm9v"), (b"\xff\xff\xfe", b"///+")]
    {
        assert_eq!(&encode(bytes), text);
        let (decoded, length) = decode(*text).unwrap();
        assert_eq!(&decoded[..length], bytes);
    }
    for bad in [b"Z===", b"=Zg=", b"Zg=x", b"Zm-v", b"Zm\nv", b"===="] {
        assert_eq!(decode(*bad), None, "{bad:?}");
    }
}

#[test]
fn text_is_decoded_in_pieces_of_any_size() {
    let bytes: Vec<u8> = (0..=255).cycle().take(1_000).collect();
    let whole: Vec<u8> = bytes.chunks(3).flat_map(encode).collect();
    // A client encodes each message by itself: padding comes in the middle.
    let parts: Vec<u8> = bytes.chunks(7).flat_map(|part| part.chunks(3).flat_map(encode)).collect();
    for text in [&whole, &parts] {
        for piece in [1, 2, 3, 5, 64, 4_096] {
            for room in [1, 3, 4_096] {
                let pieces: Vec<&[u8]> = text.chunks(piece).collect();
                assert_eq!(drive(&mut Decode::default(), &pieces, room).unwrap(), bytes, "{piece} {room}");
            }
        }
    }
    assert_eq!(drive(&mut Decode::default(), &[b""], 16).unwrap(), b"");
    for bad in ["Zm9", "Zm9v!", "Zm9v\r\n", "Zg==="] {
        let refused = drive(&mut Decode::default(), &[bad.as_bytes()], 16).unwrap_err();
        assert!(matches!(refused, Reply::Problem { reason, .. } if reason.code() == "bad_grpc_web"), "{bad}");
    }
}

const FRAME: &[u8] = b"\x80\0\0\0\x21grpc-status: 0\r\nx-end-bin: AA==\r\n";

fn end() -> Head {
    trailers(&[("Grpc-Status", "0"), ("X-End-Bin", "AA==")])
}

#[test]
fn trailers_become_the_last_frame() {
    for room in [1, 7, 4_096] {
        let mut step = Encode::new(false);
        assert!(step.trailers(end()).is_none());
        let expected = [b"\0\0\0\0\x02ab", FRAME].concat();
        assert_eq!(drive(&mut step, &[b"\0\0\0\0", b"\x02ab"], room).unwrap(), expected);
    }
    let ended = drive(&mut Encode::new(false), &[b"\0\0\0\0\0"], 4_096).unwrap();
    let text = String::from_utf8_lossy(&ended[10..]).into_owned();
    assert_eq!(text, "grpc-status: 13\r\ngrpc-message: the service ended the call without a status\r\n");
}

#[test]
fn text_holds_nothing_back_when_nothing_comes() {
    for room in [1, 5, 4_096] {
        let mut step = Encode::new(true);
        assert!(step.trailers(end()).is_none());
        let (mut text, is_done) = drive_one(&mut step, b"\0\0\0\0", false, true, room).unwrap();
        assert!(!is_done);
        assert_eq!(text, b"AAAAAA==");
        let (rest, _) = drive_one(&mut step, b"\x02a", false, false, room).unwrap();
        assert!(rest.len() < 3, "less than a group waits for more");
        text.extend(rest);
        text.extend(drive_one(&mut step, b"b", true, false, room).unwrap().0);
        let bytes = drive(&mut Decode::default(), &[&text], 4_096).unwrap();
        assert_eq!(bytes, [b"\0\0\0\0\x02ab", FRAME].concat());
    }
}

#[test]
fn a_message_that_is_cut_gets_no_frame() {
    let whole: &[u8] = b"\0\0\0\0\x03abc\x01\0\0\0\0\0\0\0\0\x02\0\xff";
    let ends = [0, 8, 13, whole.len()];
    for is_text in [false, true] {
        for cut in 0..=whole.len() {
            for piece in [1, 3, 64] {
                let mut step = Encode::new(is_text);
                assert!(step.trailers(end()).is_none());
                let pieces: Vec<&[u8]> = whole[..cut].chunks(piece).collect();
                let pieces = if pieces.is_empty() { vec![&b""[..]] } else { pieces };
                match drive(&mut step, &pieces, 16) {
                    Ok(_) => assert!(ends.contains(&cut), "{cut}"),
                    Err(Reply::Problem { reason, .. }) => {
                        assert_eq!(reason.code(), "service_truncated");
                        assert!(!ends.contains(&cut), "{cut}");
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    }
}
