//! Connections under attack or neglect: idle ones, slow ones, clients that leave, expectations, and what is left in the
//! books afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use narthex_testkit::{Conversation, FakeService, Gate, Next, Progress, RawClient, answer};
use narthex_tests::Gateway;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

fn gateway(services: &str, listener: &str, more: &str) -> (Gateway, SocketAddr) {
    let config = format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\"{listener} }} }}\n\
         services: {{ {services} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s{more} }} }} }} }}\n"
    );
    let gateway = Gateway::start(&config).unwrap_or_else(|error| panic!("{error}"));
    let address = gateway.address("main").expect("it listens");
    (gateway, address)
}

#[test]
fn an_idle_http2_connection_ends_though_its_client_says_nothing() {
    let service = FakeService::start(answer::echo());
    let (gateway, address) =
        gateway(&format!("s: {{ url: \"{}\" }}", service.url()), ", bounds: { idle_time: 100ms }", "");
    let mut client = RawClient::connect(address).unwrap();
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").unwrap();
    let said = client.read_to_close().expect("the connection ends without our consent");
    assert!(said.windows(4).any(|frame| frame[..2] == [8, 7]), "a GOAWAY: {said:?}");
    gateway.stop();
}

#[test]
fn a_service_that_never_continues_is_the_one_to_blame() {
    let service = FakeService::start(answer::never());
    let (gateway, address) =
        gateway(&format!("s: {{ url: \"{}\", timeouts: {{ first_byte: 300ms }} }}", service.url()), "", "");
    let mut client = RawClient::connect(address).unwrap();
    let answer = client
        .exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert!(answer.text().contains("service_timeout"), "{}", answer.text());
    client.expect_close().unwrap();
    gateway.stop();
}

#[test]
fn a_client_that_waits_for_100_gets_it_or_the_final_answer() {
    let service =
        FakeService::start(|conversation: &mut Conversation<'_>| match conversation.head().line.as_str() {
            line if line.contains("/continue") => answer::continued(answer::fixed(200, "done"))(conversation),
            _ => {
                conversation.send(answer::response(403, &[], "no"))?;
                Ok(Next::Close)
            }
        });
    let (gateway, address) = gateway(&format!("s: {{ url: \"{}\" }}", service.url()), "", "");
    let head = |path: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    };
    let mut client = RawClient::connect(address).unwrap();
    client.send(head("/continue")).unwrap();
    assert_eq!(client.read_next_to("POST").unwrap().status, 100);
    client.send("abc").unwrap();
    assert_eq!(client.read_response().unwrap().text(), "done");
    client.send(head("/refuse")).unwrap();
    let answer = client.read_response().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    client.expect_close().unwrap();
    gateway.stop();
}

#[test]
fn a_client_that_writes_all_before_it_reads_gets_the_refusal() {
    let service = FakeService::start(answer::echo());
    let (gateway, address) =
        gateway(&format!("s: {{ url: \"{}\" }}", service.url()), ", bounds: { body_bytes: 1KiB }", "");
    let mut client = RawClient::connect(address).unwrap();
    let length = 4 << 20;
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")).unwrap();
    client.send(vec![b'x'; length]).expect("the gateway still reads");
    assert_eq!(client.read_response().unwrap().status, 413);
    gateway.stop();
}

#[test]
fn an_idle_connection_of_another_instance_makes_room() {
    let services: Vec<_> = (0..3).map(|_| FakeService::start(answer::fixed(200, "ok"))).collect();
    let instances: Vec<_> = services.iter().map(|service| format!("\"{}\"", service.url())).collect();
    let (gateway, address) =
        gateway(&format!("s: {{ instances: [{}], max_connections: 2 }}", instances.join(", ")), "", "");
    let mut client = RawClient::connect(address).unwrap();
    for at in 0..12 {
        let answer = client.exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
        assert_eq!(answer.status, 200, "{at}: {}", answer.text());
    }
    assert!(services.iter().all(|service| !service.log().is_empty()), "each has its turn");
    gateway.stop();
}

/// Whatever happened, a service of one place must have it again.
#[test]
fn places_are_given_back() {
    let gate = Gate::new();
    let opened = gate.clone();
    let service = FakeService::start(move |conversation: &mut Conversation<'_>| {
        match conversation.head().line.split(' ').nth(1).unwrap_or_default() {
            "/never" => answer::never()(conversation),
            "/close" => Ok(Next::Close),
            "/reset" => Ok(Next::Reset),
            "/cut" => answer::raw_then_close("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")(conversation),
            "/garbage" => answer::raw_then_close("what?\r\n\r\n")(conversation),
            "/held" => {
                conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")?;
                conversation.wait(&opened)?;
                Ok(Next::Close)
            }
            _ => answer::fixed(200, "ok")(conversation),
        }
    });
    let settings = "max_connections: 1, max_requests: 1, timeouts: { first_byte: 200ms }";
    let (gateway, address) = gateway(&format!("s: {{ url: \"{}\", {settings} }}", service.url()), "", "");
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let is_free = || {
        let due = Instant::now() + PATIENCE;
        let mut last = String::new();
        while Instant::now() < due {
            let answer = RawClient::connect(address).unwrap().exchange(get("/ok")).unwrap();
            if answer.status == 200 {
                return;
            }
            last = answer.text();
            std::thread::yield_now();
        }
        panic!("the place was not given back: {last}");
    };
    for path in ["/never", "/close", "/reset", "/cut", "/garbage"] {
        // The answer, or how it breaks off, is another test's.
        drop(RawClient::connect(address).unwrap().exchange(get(path)));
        is_free();
    }
    for path in ["/never", "/held"] {
        let before = service.log().len();
        let mut client = RawClient::connect(address).unwrap();
        client.send(get(path)).unwrap();
        service.wait_until(PATIENCE, |log| log.len() > before).expect("the service is asked");
        client.reset().unwrap();
        is_free();
    }
    let before = service.log().len();
    let mut client = RawClient::connect(address).unwrap();
    client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc").unwrap();
    service.wait_until(PATIENCE, |log| log.len() > before).expect("the service is asked");
    client.half_close().unwrap();
    let failed = |log: &[narthex_testkit::Received]| matches!(log[before].progress, Progress::Failed(_));
    service.wait_until(PATIENCE, failed).expect("the service sees the end");
    is_free();
    gate.open();
    gateway.stop();
}

#[test]
fn pipelined_requests_with_bodies_are_answered_in_order() {
    let service = FakeService::start(answer::echo());
    let (gateway, address) = gateway(&format!("s: {{ url: \"{}\" }}", service.url()), "", "");
    let mut client = RawClient::connect(address).unwrap();
    let mut all = Vec::new();
    for at in 0..40 {
        if at % 2 == 0 {
            all.extend(
                format!("POST /{at} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na{at:02}").into_bytes(),
            );
        } else {
            all.extend(
                format!("POST /{at} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na{at:02}\r\n0\r\n\r\n")
                    .into_bytes(),
            );
        }
    }
    client.send(all).unwrap();
    for at in 0..40 {
        let answer = client.read_response().unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains(&format!("\"body\":\"a{at:02}\"")), "{at}: {}", answer.text());
    }
    gateway.stop();
}

#[test]
fn an_upgrade_to_anything_but_a_websocket_is_ignored() {
    let service = FakeService::start(answer::echo());
    let (gateway, address) = gateway(&format!("s: {{ url: \"{}\" }}", service.url()), "", "");
    let mut client = RawClient::connect(address).unwrap();
    for upgrade in ["h2c", "h2c, HTTP2-Settings", "TLS/1.0", "websockets"] {
        let answer = client
            .exchange(format!(
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n"
            ))
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    for seen in service.log() {
        assert_eq!((seen.field("upgrade"), seen.field("connection")), (None, None));
    }
    gateway.stop();
}

#[test]
fn a_half_close_ends_the_exchange_only_where_it_should() {
    let gate = Gate::new();
    let opened = gate.clone();
    let service = FakeService::start(move |conversation: &mut Conversation<'_>| {
        conversation.wait(&opened)?;
        answer::fixed(200, "late")(conversation)
    });
    let (gateway, address) =
        gateway(&format!("s: {{ url: \"{}\" }}", service.url()), ", half_close: true", "");
    let mut client = RawClient::connect(address).unwrap();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    client.half_close().unwrap();
    service.wait_until(PATIENCE, |log| !log.is_empty()).expect("the service is asked");
    gate.open();
    assert_eq!(client.read_response().unwrap().text(), "late");
    client.expect_close().unwrap();
    let mut client = RawClient::connect(address).unwrap();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab").unwrap();
    client.half_close().unwrap();
    // The body is not there and never will be: no answer is owed, and nothing hangs.
    client.expect_close().unwrap();
    gateway.stop();
}

#[test]
fn thousands_of_connections_leave_nothing_behind() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let service = FakeService::start(answer::fixed(200, "ok"));
    let (gateway, address) = gateway(&format!("s: {{ url: \"{}\" }}", service.url()), "", "");
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    RawClient::connect(address).unwrap().exchange(get).unwrap();
    let before = descriptors();
    for at in 0..2_000 {
        let mut client = RawClient::connect(address).unwrap();
        match at % 4 {
            0 => drop(client.exchange(get).unwrap()),
            1 => client.send("GET / HT").unwrap(),
            2 => client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap(),
            _ => {
                client.send(get).unwrap();
                client.reset().unwrap();
            }
        }
    }
    let due = Instant::now() + PATIENCE;
    // Connections that the pool keeps to the service count twice here: both ends are in this process.
    while descriptors() > before + 20 {
        assert!(Instant::now() < due, "{before} descriptors became {}", descriptors());
        std::thread::yield_now();
    }
    gateway.stop();
}
