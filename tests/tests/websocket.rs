//! WebSocket through the gateway, with an independent implementation at both ends: HTTP/1.1 and HTTP/2 in every
//! combination, and the bytes of the upgrade itself.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use narthex_testkit::{FakeService, RawClient, answer};
use narthex_tests::websocket::{Connected, connect, connect_h2, echo, echo_h2, read, write};
use narthex_tests::{Gateway, PATIENCE, http2, read_head};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

const HANDSHAKE: &str = "Host: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A gateway in front of a service; `/off` takes no upgrades, `/fixed` answers by itself.
fn gateway(url: &str) -> Gateway {
    Gateway::start(&format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\nservices: {{ s: {{ url: \"{url}\" }} }}\n\
         gateways:\n  g:\n    listeners: [main]\n    routes:\n\
         \x20     all: {{ match: \"/{{rest=**}}\", public: true, to: s }}\n\
         \x20     none: {{ match: /off, public: true, to: s, upgrade: [] }}\n\
         \x20     fixed: {{ match: /fixed, public: true, to: {{ reply: {{ status: 200 }} }} }}\n\
         \x20     idle: {{ match: /idle, public: true, to: s, timeouts: {{ tunnel_idle: 300ms }} }}\n"
    ))
    .unwrap()
}

fn in_front_of(service: SocketAddr) -> (Gateway, SocketAddr) {
    let gateway = gateway(&format!("http://{service}"));
    let address = gateway.address("main").unwrap();
    (gateway, address)
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[test]
fn messages_of_every_size_come_back() {
    let (_gateway, address) = in_front_of(echo());
    let mut socket = connect(address, "/chat").unwrap();
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000, 64 << 20] {
        socket.send(Message::binary(payload(length))).unwrap();
        assert!(socket.read().unwrap().into_data() == payload(length), "{length} bytes");
    }
    socket.send(Message::text("größe")).unwrap();
    assert_eq!(socket.read().unwrap().to_text().unwrap(), "größe");
}

#[test]
fn fragments_pings_and_close_codes_pass() {
    let (_gateway, address) = in_front_of(echo());
    let mut socket = connect(address, "/chat?room=1").unwrap();
    socket.send(Message::Ping("are you there".into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("are you there".into()));
    for (text, opcode, is_last) in
        [("one, ", Data::Text, false), ("two, ", Data::Continue, false), ("three", Data::Continue, true)]
    {
        socket.send(Message::Frame(Frame::message(text, OpCode::Data(opcode), is_last))).unwrap();
    }
    assert_eq!(socket.read().unwrap(), Message::text("one, two, three"));
    let goodbye = CloseFrame { code: CloseCode::from(4242), reason: "enough".into() };
    socket.close(Some(goodbye.clone())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Close(Some(goodbye)));
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
}

/// A service for one connection that is played byte by byte.
fn service(script: impl FnOnce(TcpStream, String) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = read_head(&mut stream);
        script(stream, head);
    });
    address
}

fn switching(rest: &str) -> String {
    format!(
        "HTTP/1.1 101 Changing\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n{rest}\r\n"
    )
}

#[test]
fn what_comes_with_the_handshake_is_not_lost_in_either_direction() {
    let (sent, got) = std::sync::mpsc::channel();
    let service = service(move |mut stream, head| {
        sent.send(head).unwrap();
        // In one piece with the head.
        stream
            .write_all(
                format!("{}early", switching("Sec-WebSocket-Extensions: permessage-deflate\r\n")).as_bytes(),
            )
            .unwrap();
        let mut ahead = [0; 5];
        stream.read_exact(&mut ahead).unwrap();
        assert_eq!(&ahead, b"ahead");
        stream.write_all(b"late").unwrap();
        // Half-closed, we are still heard.
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        sent.send(rest).unwrap();
    });
    let (_gateway, address) = in_front_of(service);
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let extensions = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Protocol: a, b\r\n";
    client.write_all(format!("GET /x HTTP/1.1\r\n{HANDSHAKE}{extensions}\r\nahead").as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    client.write_all(b"after the end of the other side").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let head = got.recv_timeout(PATIENCE).unwrap();
    for line in [
        "GET /x HTTP/1.1",
        "Connection: upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: a, b",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    ] {
        assert!(head.lines().any(|have| have == line), "{line}\n{head}");
    }
    let (head, bytes) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for line in [
        "Connection: upgrade",
        "Upgrade: websocket",
        &format!("Sec-WebSocket-Accept: {ACCEPT}"),
        "Sec-WebSocket-Extensions: permessage-deflate",
    ] {
        assert!(head.lines().any(|have| have == line), "{line}\n{head}");
    }
    assert!(!head.contains("Content-Length") && !head.contains("close"), "{head}");
    assert_eq!(bytes, "earlylate");
    assert_eq!(got.recv_timeout(PATIENCE).unwrap(), "after the end of the other side");
}

#[test]
fn a_refusal_is_an_ordinary_answer_and_the_connection_stays() {
    let service = FakeService::start(|conversation| {
        let (status, fields) = match conversation.head().line.split(' ').nth(1).unwrap() {
            "/old" => (426, "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n"),
            "/who" => (401, "WWW-Authenticate: Basic\r\n"),
            _ => (200, ""),
        };
        answer::raw(format!("HTTP/1.1 {status} No\r\n{fields}Content-Length: 2\r\n\r\nno"))(conversation)
    });
    let (_gateway, address) = in_front_of(service.address());
    let mut client = RawClient::connect(address).unwrap();
    for (path, status) in [("/old", 426), ("/who", 401), ("/plain", 200)] {
        let refused = client.exchange(format!("GET {path} HTTP/1.1\r\n{HANDSHAKE}\r\n")).unwrap();
        assert_eq!((refused.status, refused.text().as_str()), (status, "no"));
        if status == 426 {
            assert_eq!(refused.field("Upgrade"), Some("websocket"));
            assert_eq!(refused.field("Sec-WebSocket-Version"), Some("13"));
        }
    }
}

#[test]
fn what_is_no_handshake_goes_on_without_its_upgrade() {
    let service = FakeService::start(answer::fixed(200, "ok"));
    let (_gateway, address) = in_front_of(service.address());
    let mut client = RawClient::connect(address).unwrap();
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n".to_owned(),
        format!("POST / HTTP/1.1\r\n{HANDSHAKE}Content-Length: 0\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{HANDSHAKE}Content-Length: 2\r\n\r\nxx"),
        format!("GET /fixed HTTP/1.1\r\n{HANDSHAKE}\r\n"),
    ] {
        assert_eq!(client.exchange(&request).unwrap().status, 200, "{request}");
    }
    for received in service.log() {
        assert_eq!((received.field("Upgrade"), received.field("Connection")), (None, None), "{received:?}");
    }
    for keys in [
        "",
        "Sec-WebSocket-Key: short\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ] {
        let request =
            format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n{keys}\r\n");
        let refused = client.exchange(&request).unwrap();
        assert_eq!((refused.status, &refused.json()["reason"]), (400, &"bad_request".into()), "{request}");
    }
    let refused = client.exchange(format!("GET /off HTTP/1.1\r\n{HANDSHAKE}\r\n")).unwrap();
    assert_eq!((refused.status, &refused.json()["reason"]), (501, &"upgrade_refused".into()));
}

#[test]
fn an_agreement_that_nobody_asked_for_is_a_fault_of_the_service() {
    let service = FakeService::start(|conversation| {
        let target = conversation.head().line.clone();
        let answer =
            if target.contains("other") { switching("").replace("websocket", "irc") } else { switching("") };
        answer::raw_then_close(answer)(conversation)
    });
    let (_gateway, address) = in_front_of(service.address());
    for request in
        ["GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), format!("GET /other HTTP/1.1\r\n{HANDSHAKE}\r\n")]
    {
        let refused = RawClient::connect(address).unwrap().exchange(&request).unwrap();
        assert_eq!(
            (refused.status, &refused.json()["reason"]),
            (502, &"service_protocol".into()),
            "{request}"
        );
    }
}

#[test]
fn an_idle_tunnel_is_told_so_and_ends() {
    let (_gateway, address) = in_front_of(echo());
    let mut socket = connect(address, "/idle").unwrap();
    socket.send(Message::text("a")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("a"));
    match socket.read().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
}

async fn converse(address: SocketAddr, path: &str) {
    let Connected::Tunnel(mut socket) = connect_h2(address, path, "websocket").await else {
        panic!("no tunnel");
    };
    for length in [0, 125, 126, 65_536, 3_000_000] {
        write(&mut socket, Message::binary(payload(length))).await.unwrap();
        let back = http2::within("the echo", read(&mut socket)).await.unwrap();
        assert!(back.into_data() == payload(length), "{length} bytes");
    }
    socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })).await.unwrap();
    let goodbye = http2::within("the answer to the close", read(&mut socket)).await.unwrap();
    assert!(goodbye.is_close(), "{goodbye:?}");
    assert!(http2::within("the end", read(&mut socket)).await.is_err());
}

#[test]
fn http2_to_http1() {
    let (_gateway, address) = in_front_of(echo());
    http2::run(converse(address, "/chat"));
}

#[test]
fn http2_to_http2() {
    let gateway = gateway(&format!("h2c://{}", echo_h2(true)));
    http2::run(converse(gateway.address("main").unwrap(), "/chat"));
}

#[test]
fn http1_to_http2() {
    let gateway = gateway(&format!("h2c://{}", echo_h2(true)));
    let address = gateway.address("main").unwrap();
    for round in 0..3 {
        // The client checks the answer to its key.
        let mut socket = connect(address, "/chat").unwrap();
        socket.send(Message::binary(payload(1_000_000))).unwrap();
        assert!(socket.read().unwrap().into_data() == payload(1_000_000), "{round}");
        socket.close(None).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Close(None));
    }
    let refused = connect(address, "/refuse").unwrap_err();
    assert!(refused.contains("403"), "{refused}");
}

#[test]
fn a_service_without_tunnels_on_http2_is_a_clear_refusal() {
    let gateway = gateway(&format!("h2c://{}", echo_h2(false)));
    let mut client = RawClient::connect(gateway.address("main").unwrap()).unwrap();
    let refused = client.exchange(format!("GET / HTTP/1.1\r\n{HANDSHAKE}\r\n")).unwrap();
    assert_eq!((refused.status, &refused.json()["reason"]), (502, &"service_protocol".into()));
}

#[test]
fn refusals_on_http2_are_no_tunnels() {
    let plain = FakeService::start(answer::fixed(200, "no WebSocket here"));
    let (_gateway, address) = in_front_of(plain.address());
    http2::run(async {
        for (path, protocol) in
            [("/", "websocket"), ("/fixed", "websocket"), ("/off", "websocket"), ("/", "connect-udp")]
        {
            match connect_h2(address, path, protocol).await {
                Connected::Refused(refused) => {
                    assert_eq!(refused.status, 501, "{path} {protocol}: {}", refused.text());
                    assert!(refused.text().contains("upgrade_refused"), "{}", refused.text());
                }
                Connected::Tunnel(_) => panic!("{path} {protocol}: a tunnel"),
            }
        }
    });
}

#[test]
fn the_gateways_own_key_is_checked() {
    let service = service(|mut stream, head| {
        assert!(head.contains("Sec-WebSocket-Key: "), "{head}");
        stream.write_all(switching("").as_bytes()).unwrap();
    });
    let (_gateway, address) = in_front_of(service);
    http2::run(async {
        let Connected::Refused(refused) = connect_h2(address, "/", "websocket").await else {
            panic!("a tunnel")
        };
        assert_eq!(refused.status, 502, "{}", refused.text());
    });
}
