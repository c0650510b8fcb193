//! Bodies through the whole gateway: every chunking gives the same bytes, whatever the edges of buffers; a body that is
//! refused half-way never looks complete to the service; a chunk of one byte costs no more than its bytes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use narthex_testkit::{Conversation, FakeService, Gate, Next, Progress, RawClient, Response, answer};
use narthex_tests::{Gateway, Random};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

fn gateway(url: &str, bounds: &str, policies: &str) -> (Gateway, SocketAddr) {
    let config = format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\", bounds: {{ {bounds} }} }} }}\n\
         services: {{ s: {{ url: \"{url}\" }} }}\n\
         gateways: {{ g: {{ listeners: [main], policies: [{policies}], \
         routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s }} }} }} }}\n"
    );
    let gateway = Gateway::start(&config).expect("the configuration is valid");
    let address = gateway.address("main").expect("it listens");
    (gateway, address)
}

fn body(random: &mut Random, length: usize) -> Vec<u8> {
    (0..length).map(|_| b'a' + random.below(26) as u8).collect()
}

/// The body in the chunked coding, cut at random.
fn chunked(random: &mut Random, body: &[u8], trailers: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut left = body;
    let largest = [1, 7, 300, 16 * 1024, 40_000, 1 << 20][random.below(6)];
    while !left.is_empty() {
        let count = (1 + random.below(largest)).min(left.len());
        out.extend_from_slice(format!("{count:x}\r\n").as_bytes());
        out.extend_from_slice(&left[..count]);
        out.extend_from_slice(b"\r\n");
        left = &left[count..];
    }
    out.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    out
}

/// Lengths at which a buffer is full, or nearly so.
fn length(random: &mut Random) -> usize {
    let edges = [0, 1, 2, 8 * 1024, 16 * 1024, 32 * 1024 - 64, 32 * 1024 - 36, 32 * 1024, 64 * 1024, 100_000];
    (edges[random.below(edges.len())] + random.below(41)).saturating_sub(20)
}

/// Answers with the request's body, framed and cut as the request's `X-Seed` says.
fn reflect(conversation: &mut Conversation<'_>) -> Result<Next, narthex_testkit::Fault> {
    let seed = conversation.head().field("x-seed").and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = Random::new(seed);
    let body = conversation.read_body()?.to_vec();
    let trailers: String =
        conversation.trailers().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let out = if random.below(3) == 0 && trailers.is_empty() {
        answer::response(200, &[], &body)
    } else {
        let head: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        [head, &chunked(&mut random, &body, &trailers)].concat()
    };
    send_pieces(&mut random, &out, |piece| conversation.send(piece))?;
    Ok(Next::Keep)
}

fn send_pieces<E>(
    random: &mut Random,
    mut bytes: &[u8],
    mut send: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let largest = [200, 5_000, 33_000, 1 << 20][random.below(4)];
    while !bytes.is_empty() {
        let count = (1 + random.below(largest)).min(bytes.len());
        send(&bytes[..count])?;
        bytes = &bytes[count..];
    }
    Ok(())
}

fn exchange(client: &mut RawClient, seed: u64) -> (Vec<u8>, Response) {
    let mut random = Random::new(seed);
    let length = length(&mut random);
    let body = body(&mut random, length);
    let trailer = if random.below(2) == 0 { "X-Sum: 7\r\n" } else { "" };
    let request = if random.below(3) == 0 {
        let head =
            format!("POST / HTTP/1.1\r\nHost: a\r\nX-Seed: {seed}\r\nContent-Length: {length}\r\n\r\n");
        [head.as_bytes(), &body].concat()
    } else {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nX-Seed: {seed}\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        [head.as_bytes(), &chunked(&mut random, &body, trailer)].concat()
    };
    send_pieces(&mut random, &request, |piece| client.send(piece)).expect("the gateway takes it");
    let response = client.read_response().unwrap_or_else(|fault| panic!("seed {seed}: {fault:?}"));
    (body, response)
}

fn every_chunking(policies: &str) {
    let service = FakeService::start(reflect);
    let (gateway, address) = gateway(&service.url(), "", policies);
    let mut client = RawClient::connect(address).unwrap();
    for seed in 1..=200 {
        let (sent, response) = exchange(&mut client, seed * 7919);
        assert_eq!(response.status, 200, "seed {}: {}", seed * 7919, response.text());
        assert!(
            response.body == sent,
            "seed {}: {} bytes of {}",
            seed * 7919,
            response.body.len(),
            sent.len()
        );
        if response.trailers.is_empty() != service.log().last().unwrap().trailers.is_empty() {
            panic!("seed {}: the trailers were lost", seed * 7919);
        }
    }
    gateway.stop();
}

#[test]
fn every_chunking_gives_the_same_bytes() {
    every_chunking("");
}

#[test]
fn every_chunking_gives_the_same_bytes_through_steps() {
    every_chunking("body_limit: { max: 10MiB }");
}

#[test]
fn a_body_that_is_refused_behind_the_answer_is_never_complete() {
    for (bounds, policies) in [("body_bytes: 10", ""), ("", "body_limit: { max: 10B }")] {
        let gate = Gate::new();
        let opened = gate.clone();
        let service = FakeService::start(move |conversation: &mut Conversation<'_>| {
            conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")?;
            conversation.wait(&opened)?;
            conversation.send("b")?;
            conversation.wait_for_close()?;
            Ok(Next::Close)
        });
        let (gateway, address) = gateway(&service.url(), bounds, policies);
        let mut client = RawClient::connect(address).unwrap();
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            .unwrap();
        client.read_at_least(20).unwrap();
        client.send("14\r\nEVILEVILEVILEVILEVIL\r\n").unwrap();
        std::thread::sleep(Duration::from_millis(100));
        client.send("1\r\nx\r\n0\r\n\r\n").unwrap();
        std::thread::sleep(Duration::from_millis(100));
        gate.open();
        client.read_at_least(1).unwrap();
        let log = service
            .wait_until(PATIENCE, |log| log.first().is_some_and(|seen| seen.progress == Progress::Answered))
            .expect("the gateway closes the connection to the service");
        let seen = String::from_utf8_lossy(&log[0].body).into_owned();
        assert!(!seen.contains("EVIL") && !seen.contains("0\r\n\r\n"), "{policies}{bounds}: {seen}");
        gateway.stop();
    }
}

#[test]
fn chunks_of_one_byte_take_linear_time() {
    let service = FakeService::start(|conversation: &mut Conversation<'_>| {
        let count = conversation.read_body()?.len();
        conversation.send(answer::response(200, &[], count.to_string()))?;
        Ok(Next::Keep)
    });
    let (gateway, address) = gateway(&service.url(), "", "");
    let mut client = RawClient::connect(address).unwrap().with_patience(Duration::from_secs(60));
    let begun = Instant::now();
    let count = 1_000_000;
    let body = [b"1\r\nx\r\n".repeat(count), b"0\r\n\r\n".to_vec()].concat();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    client.send(body).unwrap();
    let response = client.read_response().unwrap();
    assert_eq!(response.text(), count.to_string());
    // Quadratic work moved 16 KiB for each byte: 16 GB here.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    gateway.stop();
}
