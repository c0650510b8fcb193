//! Reloads under load lose no request, keep no memory, and leave what streams alone.
//!
//! 100 reloads by default; `NARTHEX_SOAK=1` makes it 1,000.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use narthex_testkit::{FakeService, Load, LoadOptions, answer};
use narthex_tests::http2::{Asked, head, request, run, serve, within};
use narthex_tests::websocket::{Connected, connect, connect_h2, echo, read, write};
use narthex_tests::{Process, eventually};
use tokio_tungstenite::tungstenite::Message;

/// What the allocator keeps more or less of, whatever the load, in KiB.
const SLACK_KIB: u64 = 512;

fn reloads() -> u32 {
    if std::env::var_os("NARTHEX_SOAK").is_some() { 1_000 } else { 100 }
}

/// Every route differs from the one of the generation before: its path, its policy, its service; one service and up to
/// four routes come and go. Whatever the generation, `/r7/x` is answered with `ok`.
fn config(generation: u32, services: &[String; 3]) -> String {
    let mut text = String::from("narthex: 1\nlisteners: { main: { address: \"127.0.0.1:0\" } }\n");
    text.push_str("admin: { address: \"127.0.0.1:0\" }\nservices:\n");
    let is_odd = generation % 2 == 1;
    let names = if is_odd { ["a", "b"] } else { ["a", "c"] };
    for (name, url) in ["a", "b", "c"].iter().zip(services).filter(|(name, _)| names.contains(name)) {
        let _ = writeln!(text, "  {name}: {{ url: \"{url}\" }}");
    }
    text.push_str("gateways:\n  g:\n    listeners: [main]\n    routes:\n");
    for route in 0..50 + generation % 5 {
        let path = if is_odd { format!("/r{route}/{{x}}") } else { format!("/r{route}/{{rest=**}}") };
        let service = names[((route + generation / 2) % 2) as usize];
        let _ = writeln!(
            text,
            "      r{route}: {{ match: \"{path}\", public: true, to: {service}, \
             policies: [ headers: {{ response: {{ set: {{ X-Generation: \"{generation}\" }} }} }} ] }}"
        );
    }
    text
}

fn reload_under_load(load: impl Fn(LoadOptions) -> Load) {
    let services: Vec<_> = (0..3).map(|_| FakeService::start(answer::fixed(200, "ok"))).collect();
    let urls = [services[0].url(), services[1].url(), services[2].url()];
    let gateway = Process::start(&config(0, &urls), &[]);
    let options = LoadOptions {
        connections: 16,
        target: "/r7/x".into(),
        body: Some(b"ok".to_vec()),
        ..LoadOptions::new(gateway.address("main"))
    };
    let load = load(options);
    assert!(load.wait_for(100, Duration::from_secs(20)));
    let (all, mut settled) = (reloads(), 0);
    for generation in 1..=all {
        let answer = gateway.ask("PUT", "/config", "", &config(generation, &urls));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(load.wait_for(20, Duration::from_secs(20)), "the load stands still");
        if generation % 100.min(all / 2) == 0 {
            println!("after {generation}: {} KiB", gateway.anonymous_kib());
        }
        if generation == 100.min(all / 2) {
            settled = gateway.anonymous_kib();
        }
    }
    // The peaks of single moments do not count: what stays does.
    let most = settled + settled / 20 + SLACK_KIB;
    let mut seen = 0;
    eventually("memory is back within 5 %", Duration::from_secs(15), || {
        seen = gateway.anonymous_kib();
        (seen <= most).then_some(())
    });
    println!("RssAnon: {settled} KiB when settled, {seen} KiB after {all} reloads");
    let report = load.stop();
    report.expect_flawless();
    assert_eq!(report.announced_ends, 0, "a reload ended connections");
    assert_eq!(gateway.version(), u64::from(all) + 1);
}

#[test]
fn http1_loses_nothing() {
    reload_under_load(Load::http1);
}

#[test]
fn http2_loses_nothing() {
    reload_under_load(Load::http2);
}

/// A gRPC service that sends back each message of a call as it comes, and ends a call well.
fn calls() -> SocketAddr {
    serve(|(asked, mut respond): Asked| async move {
        let mut answer = head(200);
        answer.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let mut out = respond.send_response(answer, false).unwrap();
        let mut body = asked.into_body();
        while let Some(Ok(data)) = body.data().await {
            let _ = body.flow_control().release_capacity(data.len());
            // The caller is gone: then the call is over.
            let Ok(()) = out.send_data(data, false) else { return };
        }
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let _ = out.send_trailers(trailers);
    })
}

/// What holds while a stream is open: it says so by counting, until it is over.
struct Conversations {
    turns: Vec<AtomicU64>,
    is_over: AtomicBool,
}

impl Conversations {
    /// The next message of a conversation.
    fn turn(&self, at: usize) -> Option<Vec<u8>> {
        if self.is_over.load(Ordering::Acquire) {
            return None;
        }
        let turn = self.turns[at].fetch_add(1, Ordering::AcqRel);
        Some(format!("{at}: {turn}").into_bytes())
    }

    fn websocket(&self, at: usize, address: SocketAddr) {
        let mut socket = connect(address, "/chat").unwrap();
        while let Some(said) = self.turn(at) {
            socket.send(Message::binary(said.clone())).unwrap();
            assert_eq!(socket.read().unwrap().into_data(), said);
        }
        socket.close(None).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Close(None));
    }

    async fn websocket_h2(&self, at: usize, address: SocketAddr) {
        let Connected::Tunnel(mut socket) = connect_h2(address, "/chat", "websocket").await else {
            panic!("no tunnel");
        };
        while let Some(said) = self.turn(at) {
            write(&mut socket, Message::binary(said.clone())).await.unwrap();
            assert_eq!(within("the echo", read(&mut socket)).await.unwrap().into_data(), said);
        }
        socket.close(None).await.unwrap();
    }

    async fn call(&self, at: usize, address: SocketAddr) {
        let mut client = narthex_tests::http2::connect(address).await.ready().await.unwrap();
        let asked = request("POST", "/test.Calls/Both").header("content-type", "application/grpc");
        let asked = asked.header("te", "trailers").body(()).unwrap();
        let (response, mut out) = client.send_request(asked, false).unwrap();
        let mut body = None;
        let mut response = Some(response);
        while let Some(said) = self.turn(at) {
            let length = u32::try_from(said.len()).unwrap().to_be_bytes();
            let message = [&[0], &length[..], &said].concat();
            out.send_data(Bytes::from(message.clone()), false).unwrap();
            if let Some(response) = response.take() {
                body = Some(within("the head", response).await.unwrap().into_body());
            }
            let body = body.as_mut().unwrap();
            let mut got = Vec::new();
            while got.len() < message.len() {
                let data = within("the echo", body.data()).await.expect("the call goes on").unwrap();
                let _ = body.flow_control().release_capacity(data.len());
                got.extend_from_slice(&data);
            }
            assert_eq!(got, message);
        }
        out.send_data(Bytes::new(), true).unwrap();
        let mut body = body.unwrap();
        assert!(within("the end", body.data()).await.is_none());
        assert_eq!(within("the trailers", body.trailers()).await.unwrap().unwrap()["grpc-status"], "0");
    }
}

#[test]
fn websockets_and_calls_outlive_every_reload() {
    const EACH: usize = 4;
    let service = FakeService::start(answer::fixed(200, "ok"));
    let urls = [service.url(), service.url(), service.url()];
    let (chat, calls) = (echo(), calls());
    let text = |generation: u32| {
        let streams = format!(
            "services:\n  chat: {{ url: \"http://{chat}\", timeouts: {{ connect: {}ms }} }}\n  calls: {{ url: \"grpc://{calls}\" }}\n",
            500 + generation
        );
        let policies =
            format!("policies: [ headers: {{ response: {{ set: {{ X-Generation: \"{generation}\" }} }} }} ]");
        config(generation, &urls).replace("services:\n", &streams)
            + &format!("      chat: {{ match: /chat, public: true, to: chat, {policies} }}\n")
            + "      fixed: { match: /fixed, public: true, to: { reply: { status: 200 } } }\n"
            + &format!(
                "      calls: {{ match: \"POST /test.Calls/{{method}}\", public: true, to: calls, {policies} }}\n"
            )
    };
    let gateway = Process::start(&text(0), &[]);
    let address = gateway.address("main");
    let all = Conversations {
        turns: (0..3 * EACH).map(|_| AtomicU64::new(0)).collect(),
        is_over: AtomicBool::new(false),
    };
    let load = Load::http1(LoadOptions { target: "/r7/x".into(), ..LoadOptions::new(address) });
    std::thread::scope(|scope| {
        let all = &all;
        let threads: Vec<_> = (0..3 * EACH)
            .map(|at| {
                scope.spawn(move || match at / EACH {
                    0 => all.websocket(at, address),
                    1 => run(all.websocket_h2(at, address)),
                    _ => run(all.call(at, address)),
                })
            })
            .collect();
        let counts = || all.turns.iter().map(|turn| turn.load(Ordering::Acquire)).collect::<Vec<_>>();
        let reloaded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for generation in 1..=reloads() {
                let answer = gateway.ask("PUT", "/config", "", &text(generation));
                assert_eq!(answer.status, 200, "{}", answer.text());
                let before = counts();
                eventually("every stream goes on", Duration::from_secs(20), || {
                    counts().iter().zip(&before).all(|(now, before)| *now >= before + 2).then_some(())
                });
            }
        }));
        all.is_over.store(true, Ordering::Release);
        for thread in threads {
            thread.join().expect("a stream was not cut");
        }
        reloaded.unwrap_or_else(|_| panic!("a stream stood still\n{}", gateway.log()));
    });
    load.stop().expect_flawless();
    assert_eq!(gateway.version(), u64::from(reloads()) + 1);
}
