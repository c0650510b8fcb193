//! A service by name: looked up again when its time to live is over, kept when the DNS fails, drained when it moves.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use narthex_testkit::{FakeService, Load, LoadOptions, Progress, RawClient, answer};
use narthex_tests::{Gateway, PATIENCE, eventually};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the DNS says of the one name.
#[derive(Clone)]
enum Said {
    Addresses(Vec<Ipv4Addr>),
    /// SERVFAIL.
    Fails,
    Nothing,
}

type Zone = Arc<Mutex<Said>>;

/// A DNS server that knows one name, with a TTL of one second. Ends with the process.
fn dns(zone: Zone) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0u8; 1500];
        while let Ok((count, peer)) = socket.recv_from(&mut buffer) {
            if let Some(said) = reply(&buffer[..count], &zone.lock().unwrap()) {
                // A lost datagram is asked for again.
                let _ = socket.send_to(&said, peer);
            }
        }
    });
    address
}

/// RFC 1035 4.1: the question repeated, and the A records where they were asked for. `None`: silence.
fn reply(query: &[u8], said: &Said) -> Option<Vec<u8>> {
    let end = 12 + query.get(12..)?.iter().position(|byte| *byte == 0)? + 5;
    let is_a = query.get(end - 4..end - 2)? == [0, 1];
    let (rcode, addresses): (u8, &[Ipv4Addr]) = match said {
        Said::Addresses(addresses) if is_a => (0, addresses),
        Said::Addresses(_) => (0, &[]),
        Said::Fails => (2, &[]),
        Said::Nothing => return None,
    };
    let mut out = query[..2].to_vec();
    out.extend([0x81, 0x80 | rcode, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    out.extend(&query[12..end]);
    for address in addresses {
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}

/// In front of the name `s.test`, which this server knows.
fn gateway(port: u16, server: SocketAddr) -> Gateway {
    let config = format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\n\
         services: {{ s: {{ url: \"http://s.test:{port}\", dns: {{ server: \"{server}\", timeout: 500ms }} }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s }} }} }} }}\n"
    );
    Gateway::start(&config).unwrap_or_else(|error| panic!("{error}"))
}

fn only(host: u8) -> Said {
    Said::Addresses(vec![Ipv4Addr::new(127, 0, 0, host)])
}

#[test]
fn a_name_that_moves_is_followed_and_one_that_fails_is_kept() {
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = first.local_addr().unwrap().port();
    let second = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)).unwrap();
    let first = FakeService::on(first, answer::fixed(200, "first"));
    let second = FakeService::on(second, answer::fixed(200, "second"));
    let zone: Zone = Arc::new(Mutex::new(only(1)));
    let server = dns(Arc::clone(&zone));
    let gateway = gateway(port, server);
    let address = gateway.address("main").unwrap();
    let mut client = RawClient::connect(address).unwrap();
    let mut ask = || client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().text();
    eventually("the first address", PATIENCE, || (ask() == "first").then_some(()));

    *zone.lock().unwrap() = only(2);
    eventually("the second address", PATIENCE, || (ask() == "second").then_some(()));
    assert!(first.log().iter().all(|seen| seen.progress == Progress::Answered), "what was begun was ended");
    let asked = first.log().len();

    *zone.lock().unwrap() = Said::Fails;
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert_eq!(ask(), "second", "the last good answer is kept");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(first.log().len(), asked, "an address that is gone is asked no more");

    *zone.lock().unwrap() = only(1);
    eventually("the first address again", PATIENCE, || (ask() == "first").then_some(()));
    assert!(!second.log().is_empty());
    gateway.stop();
}

const TTL: Duration = Duration::from_secs(1);

/// Two services on one port of two addresses, and a name in front of them.
struct Moving {
    _services: [FakeService; 2],
    asked: [Arc<AtomicUsize>; 2],
    zone: Zone,
    gateway: Gateway,
}

impl Moving {
    fn start() -> Self {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let second = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)).unwrap();
        let asked = [0, 1].map(|_| Arc::new(AtomicUsize::new(0)));
        let services = [(first, &asked[0]), (second, &asked[1])].map(|(listener, asked)| {
            let (asked, answer) = (Arc::clone(asked), answer::fixed(200, "ok"));
            FakeService::on(listener, move |conversation| {
                asked.fetch_add(1, Ordering::AcqRel);
                answer(conversation)
            })
        });
        let zone: Zone = Arc::new(Mutex::new(only(1)));
        let server = dns(Arc::clone(&zone));
        let gateway = gateway(port, server);
        Self { _services: services, asked, zone, gateway }
    }

    /// From now on the DNS says this.
    fn say(&self, said: Said) {
        *self.zone.lock().unwrap() = said;
    }

    fn counts(&self) -> [usize; 2] {
        [0, 1].map(|at| self.asked[at].load(Ordering::Acquire))
    }

    /// Of these only those answer that are named here, from the end of the time to live and a second on.
    fn expect_to_move(&self, wanted: [bool; 2]) {
        std::thread::park_timeout(TTL + Duration::from_secs(1));
        let before = self.counts();
        eventually("those that the name has now are asked", PATIENCE, || {
            let now = self.counts();
            (0..2).all(|at| !wanted[at] || now[at] >= before[at] + 50).then_some(())
        });
        let now = self.counts();
        for at in 0..2 {
            assert_eq!(now[at] > before[at], wanted[at], "service {at}: {before:?}, then {now:?}");
        }
    }
}

#[test]
fn a_name_that_moves_under_load_takes_the_traffic_along() {
    let moving = Moving::start();
    let load = Load::http1(LoadOptions::new(moving.gateway.address("main").unwrap()));
    assert!(load.wait_for(100, Duration::from_secs(20)));
    let both = Said::Addresses(vec![Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)]);
    moving.say(both.clone());
    moving.expect_to_move([true, true]);
    moving.say(only(2));
    moving.expect_to_move([false, true]);
    for (broken, name) in
        [(Said::Fails, "SERVFAIL"), (Said::Nothing, "silence"), (Said::Addresses(vec![]), "empty")]
    {
        moving.say(broken);
        moving.expect_to_move([false, true]);
        println!("{name}: the last good set is kept");
    }
    moving.say(only(1));
    // A question that was asked in the silence is given up first.
    eventually("the name is known again", PATIENCE, || {
        let before = moving.counts()[0];
        std::thread::park_timeout(Duration::from_millis(20));
        (moving.counts()[0] > before).then_some(())
    });
    moving.expect_to_move([true, false]);
    moving.say(both);
    moving.expect_to_move([true, true]);
    load.stop().expect_flawless();
}
