//! The kit's own tests: each part against another one, faults included.

use crate::*;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(10);
const GET: &str = "GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n";

fn client(service: &FakeService) -> RawClient {
    RawClient::connect(service.address()).unwrap()
}

#[test]
fn echoes_and_logs_what_it_received() {
    let service = FakeService::start(answer::echo());
    let mut client = client(&service);
    client.send_bytewise("POST /a HTTP/1.1\r\nHost: x\r\nX-Mixed: V\r\nContent-Length: 2\r\n\r\nhi").unwrap();
    let response = client.read_response().unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(response.json()["body"], "hi");
    assert_eq!(response.json()["headers"][1][0], "X-Mixed");
    let chunked = "POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhi\r\n0\r\nT: 1\r\n\r\n";
    let response = client.exchange(chunked).unwrap();
    assert_eq!(response.json()["trailers"][0][1], "1");
    let log = service.wait_until(LONG, |log| log.iter().all(|it| it.progress == Progress::Answered)).unwrap();
    assert_eq!((log[0].target(), log[0].body.as_slice()), ("/a", &b"hi"[..]));
    assert_eq!(log[1].connection, 0);
    assert!(log[1].head.raw.ends_with(b"chunked\r\n\r\n"));
}

#[test]
fn reads_answers_in_every_framing() {
    for (raw, end, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", BodyEnd::Length, "hi"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nT: 1\r\n\r\n",
            BodyEnd::Chunks,
            "hi",
        ),
        ("HTTP/1.1 200 OK\r\n\r\nhi", BodyEnd::Close, "hi"),
        ("HTTP/1.1 204 No\r\n\r\n", BodyEnd::Nothing, ""),
        ("HTTP/1.1 103 Early\r\nA: 1\r\n\r\nHTTP/1.1 204 No\r\n\r\n", BodyEnd::Nothing, ""),
    ] {
        let service = FakeService::start(answer::raw_then_close(raw));
        let response = client(&service).exchange(GET).unwrap();
        assert_eq!((response.body_end, response.text().as_str()), (end, body), "{raw}");
        assert_eq!(response.interim.len(), usize::from(raw.contains("103")));
    }
    let service = FakeService::start(answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"));
    let response = client(&service).exchange("HEAD / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(response.body_end, BodyEnd::Nothing);
}

#[test]
fn tells_one_fault_from_another() {
    let against = |raw: &'static str| {
        let service = FakeService::start(answer::raw_then_close(raw));
        client(&service).exchange(GET).unwrap_err()
    };
    assert!(matches!(against(""), Fault::Closed));
    assert!(matches!(against("HTTP/1.1 20"), Fault::Cut { head: None, .. }));
    let cut = against("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi");
    assert!(matches!(cut, Fault::Cut { head: Some(_), .. }), "{cut}");
    for malformed in [
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 200 OK\nA: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\n A: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n 1\r\nx\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
    ] {
        let fault = against(malformed);
        assert!(matches!(fault, Fault::Malformed { .. }), "{malformed}: {fault}");
    }
    let reset = FakeService::start(answer::raw_then_reset(""));
    assert!(matches!(client(&reset).exchange(GET), Err(Fault::Reset { .. })));
    let silent = FakeService::start(answer::never());
    let late = client(&silent).with_patience(SHORT).exchange(GET);
    assert!(matches!(late, Err(Fault::TimedOut { .. })));
}

#[test]
fn a_held_answer_comes_when_the_gate_opens() {
    let gate = Gate::new();
    let service = FakeService::start(answer::held(answer::response(200, &[], "hello"), 30, &gate));
    let mut client = client(&service);
    client.send(GET).unwrap();
    assert_eq!(service.wait_until(LONG, |log| log.len() == 1).unwrap()[0].target(), "/a?b");
    gate.open();
    assert_eq!(client.read_response().unwrap().text(), "hello");
}

#[test]
fn answers_early_and_closes_idle_connections() {
    let service = FakeService::start(answer::early(answer::response(413, &[("Connection", "close")], "")));
    let mut early = client(&service);
    early.send("POST / HTTP/1.1\r\nContent-Length: 9999\r\n\r\n").unwrap();
    assert_eq!(early.read_response().unwrap().status, 413);
    early.half_close().unwrap();
    early.expect_close().unwrap();
    let service = FakeService::start(answer::closing_after(2, answer::fixed(200, "ok")));
    let mut twice = client(&service);
    assert_eq!(twice.exchange(GET).unwrap().status, 200);
    assert_eq!(twice.exchange(GET).unwrap().status, 200);
    twice.expect_close().unwrap();
    assert_eq!(service.connections(), 1);
}

#[test]
fn continues_and_drips() {
    let service = FakeService::start(answer::continued(answer::echo()));
    let mut waits = client(&service);
    waits.send("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").unwrap();
    assert_eq!(waits.read_next_to("POST").unwrap().status, 100);
    waits.send("hi").unwrap();
    assert_eq!(waits.read_response().unwrap().json()["body"], "hi");
    let bytes = answer::chunked(&["a", "b"], &[("T", "1")]);
    let service = FakeService::start(answer::dripping(bytes, Duration::from_micros(100)));
    let response = client(&service).exchange(GET).unwrap();
    assert_eq!(response.text(), "ab");
    assert_eq!(response.trailers, [("T".to_owned(), "1".to_owned())]);
}

#[test]
fn logs_what_is_no_request() {
    let service = FakeService::start(answer::echo());
    client(&service).exchange("GET / HTTP/1.1\r\nBad Name: 1\r\n\r\n").unwrap_err();
    let log = service.wait_until(LONG, |log| log.len() == 1).unwrap();
    assert!(matches!(&log[0].progress, Progress::Failed(_)), "{log:?}");
    let gone = service.address();
    service.stop();
    assert!(matches!(RawClient::connect(gone), Err(Fault::Refused(_))));
}

#[test]
fn a_load_counts_successes_and_honours_close() {
    let service = FakeService::start(answer::fixed(200, "ok"));
    let load = Load::http1(LoadOptions { body: Some(b"ok".to_vec()), ..LoadOptions::new(service.address()) });
    assert!(load.wait_for(50, LONG));
    let report = load.stop();
    report.expect_flawless();
    // One for each of the four clients that came to it; none was opened twice.
    assert!((1..=4).contains(&report.connections), "{} connections", report.connections);
    let closing = answer::response(200, &[("Connection", "close")], "ok");
    let service = FakeService::start(answer::raw_then_close(closing));
    let load = Load::http1(LoadOptions::new(service.address()));
    assert!(load.wait_for(20, LONG));
    let report = load.stop();
    report.expect_flawless();
    assert!(report.announced_ends >= 20);
}

/// The first failure of a load against this service.
fn first_failure(service: FakeService, options: impl Fn(&mut LoadOptions)) -> FailureKind {
    let mut all = LoadOptions { connections: 1, ..LoadOptions::new(service.address()) };
    options(&mut all);
    let load = Load::http1(all);
    assert!(service.wait_until(LONG, |log| log.len() >= 3).is_ok());
    let report = load.stop();
    assert!(report.failed > 0, "{report:?}");
    report.failures[0].kind
}

#[test]
fn a_load_names_failures() {
    let same = |_: &mut LoadOptions| {};
    let closing = FakeService::start(answer::closing_after(2, answer::fixed(200, "ok")));
    assert_eq!(first_failure(closing, same), FailureKind::ClosedReused);
    assert_eq!(first_failure(FakeService::start(answer::close_at_once()), same), FailureKind::ClosedFresh);
    assert_eq!(
        first_failure(FakeService::start(answer::fixed(503, "no")), same),
        FailureKind::BadStatus(503)
    );
    let wrong = FakeService::start(answer::fixed(200, "no"));
    assert_eq!(first_failure(wrong, |it| it.body = Some(b"ok".to_vec())), FailureKind::WrongBody);
    let cut = FakeService::start(answer::raw_then_close("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nx"));
    assert_eq!(first_failure(cut, same), FailureKind::Cut);
    let service = FakeService::start(answer::never());
    let refused = service.address();
    service.stop();
    let load = Load::http1(LoadOptions { connections: 1, ..LoadOptions::new(refused) });
    assert!(!load.wait_for(1, SHORT));
    assert_eq!(load.stop().failures[0].kind, FailureKind::ConnectRefused);
}

/// A small HTTP/2 server; with `most`, it sends GOAWAY after so many requests of a connection.
fn h2_server(most: Option<u64>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    let mut served = 0;
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        served += 1;
                        let head = http::Response::new(());
                        let mut body = respond.send_response(head, false).unwrap();
                        body.send_data(bytes::Bytes::from_static(b"ok"), true).unwrap();
                        if most == Some(served) {
                            connection.graceful_shutdown();
                        }
                    }
                });
            }
        });
    });
    address
}

#[test]
fn a_load_over_http2_follows_goaway() {
    let load = Load::http2(LoadOptions { body: Some(b"ok".to_vec()), ..LoadOptions::new(h2_server(None)) });
    assert!(load.wait_for(50, LONG));
    let report = load.stop();
    report.expect_flawless();
    assert_eq!(report.connections, 4);
    let load = Load::http2(LoadOptions::new(h2_server(Some(3))));
    assert!(load.wait_for(50, LONG));
    let report = load.stop();
    report.expect_flawless();
    assert!(report.connections > 8 && report.announced_ends > 4, "{report:?}");
}

/// In place of a gateway: the configuration is the address of the service, and requests go straight to it.
struct Straight;

impl Subject for Straight {
    fn start(&self, config: &str) -> Result<Box<dyn SubjectGateway>, String> {
        let address: SocketAddr = config.trim().parse().map_err(|_| format!("no address: {config}"))?;
        Ok(Box::new(At(address)))
    }

    fn check(&self, config: &str) -> Result<(), String> {
        if config.contains("good") { Ok(()) } else { Err("1:1: bad  \n".into()) }
    }
}

struct At(SocketAddr);

impl SubjectGateway for At {
    fn address(&self, listener: &str) -> Option<SocketAddr> {
        (listener == "main").then_some(self.0)
    }

    fn stop(self: Box<Self>) {}
}

fn run(text: &str) -> Result<(), String> {
    let case = Case::parse(Path::new("x.case"), text).map_err(|error| error.to_string())?;
    run_case(&case, &Straight).map_err(|error| error.to_string())
}

const HEAD: &str = "# A comment.\n\n## config\n{service:a}\n\n## service a\nHTTP/1.1 200 OK\nContent-Length: {length}\n\
    X-A: 1\nX-A: 2\n\n{\"b\": {\"c\": [7]}}\n\n## request\nPOST /x HTTP/1.1\nHost: h\nContent-Length: {length}\n\nhi\\\n\\x21\n\n";

#[test]
fn a_case_holds_or_says_where_it_does_not() {
    for (rest, outcome) in [
        (
            "## service sees\nPOST /x HTTP/1.1\nHost: h\n!X-Y\n~(?m)^Content-Length: 3\n\nhi!\n## response\n200\nx-a: 1\nX-A: ~2\n\n.b.c.0 = 7\n",
            "",
        ),
        ("## service a sees\nContent-Length: *\n", "nothing is expected"),
        (
            "## response\nHTTP/1.1 200 OK\n\n{\"b\": {\"c\": [7]}}\n## connection\n## request\nGET / HTTP/1.1\n\n## response\n200\n",
            "",
        ),
        ("## response\n201\n", "x.case:23: expected: 201"),
        ("## response\n200\nX-A: 1\n", "x.case:24: expected X-A: 1\n"),
        ("## response\n200\n!X-A\n", "x.case:24: `X-A` must not be there"),
        ("## response\n200\n\n.b.c = 7\n", "x.case:25: expected .b.c = 7"),
        ("## response\n200\n\nother\n", "x.case:25: expected body: other"),
        ("## response\n200\n\n!~c\n", "x.case:25: ~c must not match"),
        ("## response\n200\ntrailer T: 1\n", "x.case:24: expected T: 1"),
        ("## response cut\n200\n", "got a whole one"),
        ("## response cut\n", "got a whole one"),
        ("## response\n200\n## service sees\nnothing\n", "x.case:24: the service must see nothing"),
        ("## nonsense\n", "no such section: nonsense"),
    ] {
        let got = run(&format!("{HEAD}{rest}")).err().unwrap_or_default();
        assert!(if outcome.is_empty() { got.is_empty() } else { got.contains(outcome) }, "{rest}\n=> {got}");
    }
}

#[test]
fn cases_of_connections_and_checks() {
    let service = "## config\n{service:a}\n## service a\n";
    let request = "## request\nGET / HTTP/1.1\n";
    for (text, outcome) in [
        (format!("{service}@close\n{request}## closes\n"), ""),
        (
            format!(
                "{service}@close\nHTTP/1.1 200 OK\nContent-Length: 9\n\nx\n{request}## response cut\n200\n\nx\n"
            ),
            "",
        ),
        (format!("{service}@echo\n{request}## response\n\n.target = \"/\"\n"), ""),
        (
            format!(
                "{service}@early\nHTTP/1.1 400 No\nContent-Length: 0\n{request}## response\n400\n\n(empty)\n"
            ),
            "",
        ),
        (format!("{service}@sleep\n{request}## closes\n"), "no such directive: @sleep"),
        (
            format!("{service}@close\nHTTP/1.1 103 E\\\n{request}## response\n103\n"),
            "no response: the message was cut",
        ),
        (
            format!("{service}@close\nHTTP/1.1 200 E\n{request}## closes\n"),
            "the connection must close: unexpected",
        ),
        ("## config\nbad\n## check fails\n1:1: bad\n".into(), ""),
        ("## config\nbad\n## check fails\nworse\n".into(), "expected:\nworse\n\ngot:\n1:1: bad"),
        ("## config\ngood\n## check fails\nworse\n".into(), "x.case:3: the check must fail"),
        (format!("## config\n{{service:b}}\n{request}## closes\n"), "x.case:2: no `## service` of that name"),
        ("## config\nnowhere\n## request\nx\n## closes\n".into(), "x.case:1: the configuration is refused"),
    ] {
        let got = run(&text).err().unwrap_or_default();
        assert!(if outcome.is_empty() { got.is_empty() } else { got.contains(outcome) }, "{text}\n=> {got}");
    }
}
