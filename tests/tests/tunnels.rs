//! Tunnels outlive reloads, are told of the end, are counted and logged.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use narthex_tests::websocket::{Connected, connect, connect_h2, echo, echo_h2, read, write};
use narthex_tests::{PATIENCE, Process, eventually, http2, read_head};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

fn config(service: &str, routes: &str) -> String {
    format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
         services: {{ s: {{ url: \"{service}\" }} }}\ngateways:\n  g:\n    listeners: [main]\n    routes:\n\
         \x20     fixed: {{ match: /fixed, public: true, to: {{ reply: {{ status: 200 }} }} }}\n{routes}"
    )
}

const STAYS: &str = "      stays: { match: /stays, public: true, to: s }\n";
const GOES: &str = "      goes: { match: /goes, public: true, to: s, on_route_removed: close }\n";

fn is_going_away(message: &Message) -> bool {
    matches!(message, Message::Close(Some(frame)) if frame.code == CloseCode::Away)
}

/// A service that says yes to one handshake and gives every byte that follows.
fn watched() -> (SocketAddr, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sent, got) = channel();
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n").unwrap();
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            sent.send(buffer[..count].to_vec()).unwrap();
        }
    });
    (address, got)
}

/// A client that has shaken hands and now sends bytes.
fn raw(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let handshake = "GET /stays HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(handshake.as_bytes()).unwrap();
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

fn receive(got: &Receiver<Vec<u8>>, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(got.recv_timeout(PATIENCE).unwrap());
    }
    all
}

#[test]
fn the_drain_tells_both_ends_between_two_frames() {
    let (service, got) = watched();
    let mut gateway =
        Process::start(&config(&format!("http://{service}"), STAYS), &["--drain-grace", "500ms"]);
    let mut client = raw(gateway.address("main"));
    // A masked frame of ten bytes, of which six are missing.
    let frame = [&[0x82, 0x8a, 1, 2, 3, 4][..], &[9; 10]].concat();
    client.write_all(&frame[..10]).unwrap();
    assert_eq!(receive(&got, 10), frame[..10]);
    gateway.signal("TERM");
    // Within the grace time the tunnel carries on; the client's side is told afterwards.
    let mut goodbye = [0; 4];
    client.read_exact(&mut goodbye).unwrap();
    assert_eq!(goodbye, [0x88, 2, 0x03, 0xe9]);
    // The service's side waits for the end of the frame; what follows it is nobody's any more.
    client.write_all(&[&frame[10..], b"dropped"].concat()).unwrap();
    let rest = receive(&got, 6 + 8);
    assert_eq!(&rest[..6], &frame[10..]);
    let (head, mask, code) = (&rest[6..8], &rest[8..12], &rest[12..]);
    assert_eq!(head, [0x88, 0x82]);
    assert_eq!([code[0] ^ mask[0], code[1] ^ mask[1]], [0x03, 0xe9]);
    assert_eq!(rest.len(), 14);
    assert_eq!(client.read(&mut goodbye).unwrap(), 0);
    drop(client);
    assert_eq!(gateway.wait(PATIENCE).code(), Some(0), "{}", gateway.log());
}

#[test]
fn the_drain_does_not_hang_on_ends_that_say_nothing() {
    let (service, got) = watched();
    let mut gateway = Process::start(&config(&format!("http://{service}"), STAYS), &[]);
    let mut client = raw(gateway.address("main"));
    client.write_all(&[0x82]).unwrap();
    assert_eq!(receive(&got, 1), [0x82]);
    gateway.signal("TERM");
    assert_eq!(gateway.wait(PATIENCE).code(), Some(0), "{}", gateway.log());
}

#[test]
fn the_drain_tells_http2_clients_and_services() {
    let mut gateway = Process::start(&config(&format!("h2c://{}", echo_h2(true)), STAYS), &[]);
    let address = gateway.address("main");
    http2::run(async {
        let Connected::Tunnel(mut socket) = connect_h2(address, "/stays", "websocket").await else {
            panic!("no tunnel");
        };
        write(&mut socket, Message::text("a")).await.unwrap();
        assert_eq!(read(&mut socket).await.unwrap(), Message::text("a"));
        gateway.signal("TERM");
        assert!(is_going_away(&http2::within("the close frame", read(&mut socket)).await.unwrap()));
        assert!(http2::within("the end", read(&mut socket)).await.is_err());
    });
    assert_eq!(gateway.wait(PATIENCE).code(), Some(0), "{}", gateway.log());
}

#[test]
fn a_reload_leaves_tunnels_alone_unless_the_route_says_otherwise() {
    let service = format!("http://{}", echo());
    let gateway = Process::start(&config(&service, &[STAYS, GOES].concat()), &[]);
    let address = gateway.address("main");
    let (mut stays, mut goes) = (connect(address, "/stays").unwrap(), connect(address, "/goes").unwrap());
    let mut ask = |text: String, goes_is_there: bool| {
        assert_eq!(gateway.ask("PUT", "/config", "", &text).status, 200);
        stays.send(Message::text("still there?")).unwrap();
        assert_eq!(stays.read().unwrap(), Message::text("still there?"));
        if goes_is_there {
            goes.send(Message::text("and you?")).unwrap();
            assert_eq!(goes.read().unwrap(), Message::text("and you?"));
        }
    };
    // Its service, its policies, its neighbours may change.
    ask(config("http://127.0.0.1:9", &[STAYS, GOES].concat()), true);
    ask(config(&service, GOES), true);
    ask(config(&service, ""), false);
    assert!(is_going_away(&goes.read().unwrap()));
    assert!(matches!(goes.read(), Err(Error::ConnectionClosed)));
    let ended = "narthex_tunnels_ended_total{end=\"route_removed\"} 1";
    eventually(ended, PATIENCE, || gateway.get("/metrics").text().contains(ended).then_some(()));
    assert!(gateway.get("/metrics").text().contains("narthex_tunnels{worker=\"0\"} 1"));
}

#[test]
fn a_tunnel_is_logged_when_it_ends() {
    let files = narthex_testkit::Workspace::new().unwrap();
    let log = files.file("access.log");
    let text = config(&format!("http://{}", echo()), STAYS);
    let gateway = Process::start(&format!("{text}access_log: {{ to: \"{}\" }}\n", log.display()), &[]);
    let mut socket = connect(gateway.address("main"), "/stays").unwrap();
    socket.send(Message::binary(vec![7; 1000])).unwrap();
    assert_eq!(socket.read().unwrap().len(), 1000);
    socket.close(None).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Close(None));
    assert!(socket.read().is_err());
    drop(socket);
    let line = eventually("a line", PATIENCE, || {
        std::fs::read_to_string(&log).ok().filter(|text| text.contains("tunnel"))
    });
    let line: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
    assert_eq!(line["status"], 101);
    // Two bytes and a length of two, a mask of four where it came from the client; then the close frames.
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&(1008 + 6).into(), &(1004 + 2).into()), "{line}");
    let end = line["tunnel"].as_str().unwrap();
    assert!(end.ends_with("_closed"), "{line}");
    assert_eq!(line["route"], "stays");
}
