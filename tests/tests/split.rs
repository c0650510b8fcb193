//! A split through the gateway: its share is what was asked for, and who is sticky stays.
//!
//! 4,000 requests each way by default; `NARTHEX_SOAK=1` makes it 100,000.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use narthex_testkit::{FakeService, RawClient, answer};
use narthex_tests::{Gateway, PATIENCE};
use std::net::SocketAddr;

const SHARE: f64 = 5.0;
const CLIENTS: usize = 4;

/// Requests of one client, and how far their share may be from the one that was asked for, in points. With as many draws
/// chance alone leads further once in some ten thousand runs.
fn size() -> (usize, f64) {
    if std::env::var_os("NARTHEX_SOAK").is_some() { (100_000 / CLIENTS, 0.3) } else { (1_000, 1.4) }
}

fn gateway(services: &[FakeService; 2], sticky: &str) -> Gateway {
    let text = format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\n\
         services: {{ stays: {{ url: \"{}\" }}, new: {{ url: \"{}\" }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, \
         to: {{ split: {{ stays: 95, new: 5 }} {sticky} }} }} }} }} }}\n",
        services[0].url(),
        services[1].url()
    );
    Gateway::start(&text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn services() -> [FakeService; 2] {
    ["stays", "new"].map(|name| FakeService::start(answer::fixed(200, name)))
}

/// Who answered each of the requests of all clients, each client on one kept connection.
fn who_answers(address: SocketAddr) -> Vec<bool> {
    let each = size().0;
    std::thread::scope(|scope| {
        let ask = move |client: usize| {
            let mut connection = RawClient::connect(address).unwrap().with_patience(PATIENCE);
            let mut is_new = |at: usize| {
                let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-User: user-{client}-{at}\r\n\r\n");
                let answer = connection.exchange(request).unwrap();
                assert!(answer.status == 200 && !answer.closes());
                match answer.text().as_str() {
                    "new" => true,
                    "stays" => false,
                    other => panic!("{other}"),
                }
            };
            (0..each).map(&mut is_new).collect::<Vec<_>>()
        };
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(move || ask(client))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

fn expect_share(answers: &[bool]) {
    let share = 100.0 * answers.iter().filter(|is_new| **is_new).count() as f64 / answers.len() as f64;
    println!("{share} % of {}", answers.len());
    assert!((share - SHARE).abs() <= size().1, "{share} % of {}", answers.len());
}

#[test]
fn chance_has_its_share() {
    let services = services();
    let gateway = gateway(&services, "");
    let address = gateway.address("main").unwrap();
    let (first, second) = (who_answers(address), who_answers(address));
    expect_share(&first);
    expect_share(&second);
    assert_ne!(first, second, "chance repeats itself");
}

#[test]
fn who_is_sticky_stays_in_every_gateway() {
    let services = services();
    let gateways = [0, 1].map(|_| gateway(&services, ", sticky: header.x-user"));
    let first = who_answers(gateways[0].address("main").unwrap());
    expect_share(&first);
    assert!(first == who_answers(gateways[0].address("main").unwrap()), "somebody moved");
    assert!(first == who_answers(gateways[1].address("main").unwrap()), "another gateway says otherwise");
}
