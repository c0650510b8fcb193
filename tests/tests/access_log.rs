//! The access log: one JSON line per request, with all that is known of it, whatever the client sends.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::time::Duration;

use narthex_testkit::{FakeService, Load, LoadOptions, RawClient, Workspace, answer};
use narthex_tests::{PATIENCE, Process, eventually};

struct Logged {
    gateway: Process,
    _service: FakeService,
}

impl Logged {
    fn start() -> Self {
        let service = FakeService::start(answer::echo());
        let workspace = Workspace::new().unwrap();
        let config = format!(
            "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
             access_log: {{ to: \"{}\" }}\nservices: {{ s: {{ url: \"{}\" }} }}\n\
             gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/s/{{rest=**}}\", public: true, to: s }}, \
             own: {{ match: \"GET /own\", public: true, to: {{ reply: {{ status: 204 }} }} }} }} }} }}\n",
            workspace.file("access.log").display(),
            service.url()
        );
        let file = workspace.write("narthex.yaml", &config).unwrap();
        Self { gateway: Process::start_in(workspace, &file, &[]), _service: service }
    }

    fn client(&self) -> RawClient {
        RawClient::connect(self.gateway.address("main")).unwrap()
    }

    /// The lines, once there are so many; every one must be a JSON object.
    fn lines(&self, count: usize) -> Vec<serde_json::Value> {
        let text = eventually("the log's lines", PATIENCE, || {
            let text = std::fs::read(self.gateway.workspace().file("access.log")).unwrap_or_default();
            (text.iter().filter(|byte| **byte == b'\n').count() >= count).then_some(text)
        });
        let text = String::from_utf8(text).expect("the log is UTF-8");
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let lines: Vec<serde_json::Value> = text.lines().map(parse).collect();
        assert!(lines.iter().all(serde_json::Value::is_object));
        lines
    }
}

#[test]
fn says_all_that_is_known() {
    let logged = Logged::start();
    let mut client = logged.client();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let answer = client
        .exchange(format!(
            "POST /s/x?q=1 HTTP/1.1\r\nHost: Shop.Example:80\r\nX-Request-Id: my-id-1\r\n\
             traceparent: 00-{trace}-00f067aa0ba902b7-01\r\nContent-Length: 3\r\n\r\nabc"
        ))
        .unwrap();
    assert_eq!(answer.status, 200);
    let line = &logged.lines(1)[0];
    let expected = [
        ("request_id", "my-id-1"),
        ("trace_id", trace),
        ("client", "127.0.0.1"),
        ("method", "POST"),
        ("path", "/s/x"),
        ("protocol", "HTTP/1.1"),
        ("gateway", "g"),
        ("route", "all"),
        ("service", "s"),
    ];
    for (key, value) in expected {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    assert!(line["host"].as_str().unwrap().eq_ignore_ascii_case("shop.example"), "{line}");
    assert_eq!(line["status"], 200);
    assert_eq!(line["bytes_in"], 3);
    assert_eq!(line["bytes_out"], answer.body.len());
    assert_eq!(line["attempts"], 1);
    assert!(line["instance"].as_str().unwrap().starts_with("127.0.0.1:"));
    for key in ["total_ms", "service_ms", "connect_ms", "gateway_ms"] {
        assert!(line[key].as_f64().is_some_and(|time| (0.0..10_000.0).contains(&time)), "{key} in {line}");
    }
    assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 24), "{line}");
    assert!(line.get("reason").is_none() && line.get("caller").is_none(), "{line}");
}

#[test]
fn refusals_carry_their_reason() {
    let logged = Logged::start();
    for (request, status, reason) in [
        ("GET /none HTTP/1.1\r\nHost: a\r\n\r\n", 404, "no_route"),
        ("POST /own HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method_not_allowed"),
        ("GET /s/%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_path"),
        ("GET /s/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_request"),
    ] {
        let answer = logged.client().exchange(request).unwrap();
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason));
        let id = answer.json()["request_id"].clone();
        let line = eventually("the refusal's line", PATIENCE, || {
            logged.lines(1).into_iter().find(|line| line["request_id"] == id)
        });
        assert_eq!((line["status"].as_u64(), line["reason"].as_str()), (Some(status.into()), Some(reason)));
    }
    assert_eq!(logged.lines(4).len(), 4, "one line per request");
}

#[test]
fn a_client_that_leaves_is_logged_as_gone_and_one_that_never_asked_is_not() {
    let logged = Logged::start();
    drop(logged.client());
    let mut halfway = logged.client();
    halfway.send("POST /s/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").unwrap();
    logged._service.wait_until(PATIENCE, |log| !log.is_empty()).unwrap();
    halfway.reset().unwrap();
    let lines = logged.lines(1);
    assert_eq!((lines[0]["status"].as_u64(), lines[0]["reason"].as_str()), (Some(499), Some("client_gone")));
    assert_eq!(logged.client().exchange("GET /own HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().status, 204);
    assert_eq!(logged.lines(2).len(), 2);
}

#[test]
fn hostile_input_stays_inside_its_line() {
    let logged = Logged::start();
    let hostile = [
        "/s/%22%7D%0A%7B%22x%22:1",
        "/s/%5C%22,%22status%22:200",
        "/s/%F0%9F%92%A9/%FF%FE",
        "/s/'\"<>\\",
        "/s/%E2%80%A8%1B[31m",
        "/s/a%7Fb",
    ];
    let mut count = 0;
    for path in hostile {
        for value in ["\"},{\"a\":\"", "\\", "\u{e9}\u{2028}", "a\tb", &"x".repeat(5_000)] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: a\r\nX-Request-Id: {value}\r\nUser-Agent: {value}\r\ntraceparent: {value}\r\n\r\n"
            );
            logged.client().exchange(&request).unwrap();
            count += 1;
        }
    }
    logged.client().send(b"GET /\xff\xfe\n\"} HTTP/1.1\r\nHost: \"\r\n\r\n").unwrap();
    let long = format!("GET /s/{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(10_000));
    assert_eq!(logged.client().exchange(&long).unwrap().status, 200);
    let lines = logged.lines(count + 2);
    assert_eq!(lines.len(), count + 2, "one line per request");
    let most = lines.iter().filter_map(|line| line["path"].as_str()).map(str::len).max().unwrap();
    assert!(most <= 1_100, "a path of {most} bytes in the log");
}

#[test]
fn every_request_under_load_has_its_line() {
    let logged = Logged::start();
    let target = "/own".into();
    let options = LoadOptions { target, status: 204, ..LoadOptions::new(logged.gateway.address("main")) };
    let load = Load::http1(options);
    assert!(load.wait_for(2_000, Duration::from_secs(20)));
    let report = load.stop();
    report.expect_flawless();
    let lines = logged.lines(report.succeeded as usize);
    assert_eq!(lines.len() as u64, report.succeeded);
    let mut ids: Vec<_> = lines.iter().filter_map(|line| line["request_id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len() as u64, report.succeeded, "request ids repeat");
}
