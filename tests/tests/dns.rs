//! A service by name: looked up again when its time to live is over, kept when the DNS fails, drained when it moves.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use narthex_testkit::{FakeService, Progress, RawClient, answer};
use narthex_tests::Gateway;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the DNS says: an address, or that it fails.
type Zone = Arc<Mutex<Option<Ipv4Addr>>>;

/// A DNS server that knows one name, with a TTL of one second. Ends with the process.
fn dns(zone: Zone) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0u8; 1500];
        while let Ok((count, peer)) = socket.recv_from(&mut buffer) {
            if let Some(said) = reply(&buffer[..count], *zone.lock().unwrap()) {
                // A lost datagram is asked for again.
                let _ = socket.send_to(&said, peer);
            }
        }
    });
    address
}

/// RFC 1035 4.1: the question repeated, and one A record where it was asked for.
fn reply(query: &[u8], address: Option<Ipv4Addr>) -> Option<Vec<u8>> {
    let end = 12 + query.get(12..)?.iter().position(|byte| *byte == 0)? + 5;
    let is_a = query.get(end - 4..end - 2)? == [0, 1];
    let rcode = if address.is_none() { 2 } else { 0 };
    let answers = u8::from(is_a && address.is_some());
    let mut out = query[..2].to_vec();
    out.extend([0x81, 0x80 | rcode, 0, 1, 0, answers, 0, 0, 0, 0]);
    out.extend(&query[12..end]);
    if let Some(address) = address.filter(|_| is_a) {
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let due = Instant::now() + Duration::from_secs(15);
    while !is_so() {
        assert!(Instant::now() < due, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_name_that_moves_is_followed_and_one_that_fails_is_kept() {
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = first.local_addr().unwrap().port();
    let second = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)).unwrap();
    let first = FakeService::on(first, answer::fixed(200, "first"));
    let second = FakeService::on(second, answer::fixed(200, "second"));
    let zone: Zone = Arc::new(Mutex::new(Some(Ipv4Addr::LOCALHOST)));
    let server = dns(Arc::clone(&zone));
    let config = format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\n\
         services: {{ s: {{ url: \"http://s.test:{port}\", dns: {{ server: \"{server}\", timeout: 500ms }} }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s }} }} }} }}\n"
    );
    let gateway = Gateway::start(&config).unwrap_or_else(|error| panic!("{error}"));
    let address = gateway.address("main").unwrap();
    let mut client = RawClient::connect(address).unwrap();
    let mut ask = || client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().text();
    eventually("the first address", || ask() == "first");

    *zone.lock().unwrap() = Some(Ipv4Addr::new(127, 0, 0, 2));
    eventually("the second address", || ask() == "second");
    assert!(first.log().iter().all(|seen| seen.progress == Progress::Answered), "what was begun was ended");
    let asked = first.log().len();

    *zone.lock().unwrap() = None;
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert_eq!(ask(), "second", "the last good answer is kept");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(first.log().len(), asked, "an address that is gone is asked no more");

    *zone.lock().unwrap() = Some(Ipv4Addr::LOCALHOST);
    eventually("the first address again", || ask() == "first");
    assert!(!second.log().is_empty());
    gateway.stop();
}
