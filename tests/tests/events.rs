//! Streamed responses are never buffered: each event is with the client before the service sends the next one, whatever
//! the protocols, through compression too, and silence between two of them ends nothing.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use narthex_tests::{Gateway, PATIENCE, http2, read_head};

const EVENTS: usize = 8;

fn event(number: usize) -> String {
    format!("id: {number}\ndata: event number {number}\n\n")
}

/// How the service marks the end of its events.
#[derive(Clone, Copy, PartialEq)]
enum Framing {
    Chunked,
    UntilClose,
}

/// A service for one request that sends its head and then one event for each word to do so.
fn service(framing: Framing) -> (SocketAddr, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (go, may) = channel();
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        read_head(&mut stream);
        let coding = if framing == Framing::Chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{coding}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        for number in 0..EVENTS {
            may.recv_timeout(PATIENCE).unwrap();
            let event = event(number);
            let bytes = match framing {
                Framing::Chunked => format!("{:x}\r\n{event}\r\n", event.len()),
                Framing::UntilClose => event,
            };
            stream.write_all(bytes.as_bytes()).unwrap();
        }
        may.recv_timeout(PATIENCE).unwrap();
        if framing == Framing::Chunked {
            stream.write_all(b"0\r\n\r\n").unwrap();
        }
    });
    (address, go)
}

/// The same on HTTP/2.
fn service_h2() -> (SocketAddr, Sender<()>) {
    let (go, may) = channel();
    let may = std::sync::Arc::new(std::sync::Mutex::new(may));
    let address = http2::serve(move |(_, mut respond)| {
        let may = std::sync::Arc::clone(&may);
        async move {
            let mut head = http2::head(200);
            head.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
            let mut send = respond.send_response(head, false).unwrap();
            for number in 0..=EVENTS {
                while may.lock().unwrap().try_recv().is_err() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                let is_last = number == EVENTS;
                let data = if is_last { String::new() } else { event(number) };
                send.send_data(data.into(), is_last).unwrap();
            }
        }
    });
    (address, go)
}

/// `idle` is far shorter than the silence between two events may be.
fn gateway(url: &str, policies: &str) -> (Gateway, SocketAddr) {
    let gateway = Gateway::start(&format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\n\
         services: {{ s: {{ url: \"{url}\", timeouts: {{ idle: 50ms, first_byte: 5s }} }} }}\n\
         gateways: {{ g: {{ listeners: [main], policies: [{policies}], \
         routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s }} }} }} }}\n"
    ))
    .unwrap();
    let address = gateway.address("main").unwrap();
    (gateway, address)
}

/// Reads one event after the other on HTTP/1.1 and lets each be sent only when the one before is there. `decode` is given
/// the bytes of the body as they come and gives the text so far.
fn one_by_one(address: SocketAddr, go: &Sender<()>, mut decode: impl FnMut(&[u8]) -> String) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"GET /events HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n").unwrap();
    let head = read_head(&mut client);
    let mut expected = String::new();
    let mut raw = Vec::new();
    let mut text = String::new();
    for number in 0..EVENTS {
        // Longer than `idle`, once.
        std::thread::sleep(Duration::from_millis(if number == 1 { 200 } else { 0 }));
        go.send(()).unwrap();
        expected.push_str(&event(number));
        while text.len() < expected.len() {
            let mut buffer = [0; 4096];
            let count = client.read(&mut buffer).unwrap();
            assert!(count > 0, "ended after {text:?}");
            raw.extend_from_slice(&buffer[..count]);
            while let Some((chunk, rest)) = take_chunk(&raw) {
                text.push_str(&decode(&chunk));
                raw = rest;
            }
        }
        assert_eq!(text, expected);
    }
    go.send(()).unwrap();
    while !raw.ends_with(b"0\r\n\r\n") {
        let mut buffer = [0; 4096];
        let count = client.read(&mut buffer).unwrap();
        assert!(count > 0, "the end is missing");
        raw.extend_from_slice(&buffer[..count]);
    }
    head
}

/// A whole chunk with data in it, and what follows.
fn take_chunk(raw: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let line = raw.windows(2).position(|pair| pair == b"\r\n")?;
    let length = usize::from_str_radix(std::str::from_utf8(&raw[..line]).unwrap(), 16).unwrap();
    let end = line + 2 + length;
    (length > 0 && raw.len() >= end + 2).then(|| (raw[line + 2..end].to_vec(), raw[end + 2..].to_vec()))
}

fn plain(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn events_are_not_held_back() {
    for framing in [Framing::Chunked, Framing::UntilClose] {
        let (service, go) = service(framing);
        let (_gateway, address) = gateway(&format!("http://{service}"), "");
        one_by_one(address, &go, plain);
    }
    let (service, go) = service_h2();
    let (_gateway, address) = gateway(&format!("h2c://{service}"), "");
    one_by_one(address, &go, plain);
}

#[test]
fn a_policy_that_edits_bodies_does_not_hold_them_back() {
    let (events, go) = service(Framing::Chunked);
    let (_gateway, address) = gateway(&format!("http://{events}"), "compress: {}");
    let head = one_by_one(address, &go, plain);
    assert!(!head.contains("Content-Encoding"), "{head}");

    let (events, go) = service(Framing::Chunked);
    let (_gateway, address) = gateway(&format!("http://{events}"), "compress: { events: true }");
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    let head = one_by_one(address, &go, |bytes| {
        decoder.write_all(bytes).unwrap();
        decoder.flush().unwrap();
        plain(&std::mem::take(decoder.get_mut()))
    });
    assert!(head.contains("Content-Encoding: gzip"), "{head}");
}

#[test]
fn events_are_not_held_back_on_http2() {
    for is_h2 in [false, true] {
        let (service, go) = if is_h2 { service_h2() } else { service(Framing::Chunked) };
        let scheme = if is_h2 { "h2c" } else { "http" };
        let (_gateway, address) = gateway(&format!("{scheme}://{service}"), "compress: {}");
        http2::run(async {
            let mut client = http2::connect(address).await;
            let request = http2::request("GET", "/events").body(()).unwrap();
            let (response, _) = client.send_request(request, true).unwrap();
            let mut body = http2::within("the head", response).await.unwrap().into_body();
            for number in 0..EVENTS {
                tokio::time::sleep(Duration::from_millis(if number == 1 { 200 } else { 0 })).await;
                go.send(()).unwrap();
                let mut text = String::new();
                while text.len() < event(number).len() {
                    let data = http2::within("an event", body.data()).await.unwrap().unwrap();
                    body.flow_control().release_capacity(data.len()).unwrap();
                    text.push_str(&plain(&data));
                }
                assert_eq!(text, event(number));
            }
            go.send(()).unwrap();
            let end = http2::within("the end", body.data()).await;
            assert!(end.is_none_or(|data| data.unwrap().is_empty()));
        });
    }
}

#[test]
fn a_client_that_leaves_ends_the_services_events() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_gateway, address) = gateway(&format!("http://{}", listener.local_addr().unwrap()), "");
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut service = listener.accept().unwrap().0;
    service.set_read_timeout(Some(PATIENCE)).unwrap();
    read_head(&mut service);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    service.write_all(head.as_bytes()).unwrap();
    read_head(&mut client);
    drop(client);
    match service.read(&mut [0; 16]) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}
