//! What a destination may ask while it answers: services and other routes, side by side, within the deadline, for no longer
//! than somebody waits, and not in circles.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::sync::{Arc, Barrier};
use std::time::Duration;

use narthex_contract::{
    Body, CompileCx, Destination, DestinationCx, DestinationEntry, DestinationKind, LocalBoxFuture, Outcome,
    Reason, RegisteredDestination, Reply, ServiceId, SubRequest, SubResponse, join_all,
};
use narthex_document::{Spanned, Time};
use narthex_testkit::{
    Authority, Conversation, FakeService, Fault, Next, Progress, RawClient, Response, TlsClient, TlsOptions,
    answer,
};
use narthex_tests::{Controlled, PATIENCE, eventually, http2};
use narthex_wire::{Method, Name};
use schemars::JsonSchema;
use serde::Deserialize;

/// Asks everything at once and joins what comes: `status:body` of each, or the reason in the body's place.
struct Gather {
    parts: Vec<Part>,
    within: Option<Duration>,
    streams: bool,
}

enum Part {
    Call(ServiceId, String),
    Dispatch(String),
}

/// `call SERVICE /path` and `dispatch /path`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GatherSettings {
    gather: Vec<Spanned<String>>,
    #[serde(default)]
    within: Option<Time>,
    /// Hand the first part's body through as it comes.
    #[serde(default)]
    streams: bool,
}

impl DestinationKind for Gather {
    const NAME: &'static str = "gather";
    const SUMMARY: &'static str = "Gathers.";
    const REASONS: &'static [Reason] = &[];
    type Config = GatherSettings;
    type Runtime = Self;

    fn compile(config: GatherSettings, cx: &mut CompileCx<'_>) -> Option<Self> {
        let part = |text: &Spanned<String>| {
            let words: Vec<_> = text.split(' ').collect();
            Some(match words[..] {
                ["call", service, path] => Part::Call(cx.service(service, text.span)?, path.to_owned()),
                ["dispatch", path] => Part::Dispatch(path.to_owned()),
                _ => panic!("{words:?}"),
            })
        };
        let parts = config.gather.iter().map(part).collect::<Option<Vec<_>>>()?;
        Some(Self { parts, within: config.within.map(|time| time.0), streams: config.streams })
    }
}

impl Destination for Gather {
    fn answer<'a>(&'a self, cx: &'a mut DestinationCx<'_>) -> Outcome<'a> {
        let ask = |part: &Part| -> LocalBoxFuture<'static, SubResponse> {
            let (Part::Call(_, path) | Part::Dispatch(path)) = part;
            let mut request = SubRequest::new(Method::Post, path).unwrap();
            request.body = bytes::Bytes::from_static(b"question");
            request.within = self.within;
            if let Some(token) = cx.exchange.request.head.get_str("x-token") {
                request.head.head.append(&Name::parse("X-Token").unwrap(), token).unwrap();
            }
            match part {
                Part::Call(service, _) => cx.call(*service, request),
                Part::Dispatch(_) => cx.dispatch(request),
            }
        };
        let asked: Vec<_> = self.parts.iter().map(ask).collect();
        Outcome::Suspend(Box::pin(async move {
            let mut all = Vec::new();
            for part in join_all(asked).await {
                if self.streams {
                    let mut whole = narthex_contract::Response::new(part.head.status, "");
                    whole.body = part.body;
                    return Reply::Response(Box::new(whole));
                }
                all.push(told(part).await);
            }
            Reply::Response(Box::new(narthex_contract::Response::new(200, all.join("|"))))
        }))
    }
}

async fn told(part: SubResponse) -> String {
    let SubResponse { head, body, reason, .. } = part;
    if let Some(reason) = reason {
        return format!("{}:{}", head.status, reason.code());
    }
    let is_whole = matches!(body, Body::Empty | Body::Source(_));
    assert!(is_whole);
    match body.whole(1024 * 1024).await {
        Ok(bytes) => format!("{}:{}", head.status, String::from_utf8_lossy(&bytes)),
        Err(error) => format!("{}:{error:?}", head.status),
    }
}

static GATHER: &[&dyn RegisteredDestination] = &[&DestinationEntry::<Gather>::NEW];

struct Scene {
    service: FakeService,
    gateway: Controlled,
    authority: Authority,
}

fn scene() -> Scene {
    let meeting = Arc::new(Barrier::new(2));
    let service =
        FakeService::start(move |conversation: &mut Conversation<'_>| script(conversation, &meeting));
    let authority = Authority::new("Within");
    let issued = authority.issue(&["a.test"]);
    let text = format!(
        r#"
narthex: 1
listeners:
  main: {{ address: "127.0.0.1:0" }}
  secure: {{ address: "127.0.0.1:0", certificates: [ {{ cert: {cert}, key: {key} }} ] }}
services:
  s: {{ url: "{url}" }}
  refused: {{ url: "http://127.0.0.1:1" }}
gateways:
  g:
    listeners: [main, secure]
    routes:
      both: {{ match: "/both", public: true, to: {{ gather: ["call s /meet", "call s /meet"] }} }}
      mixed: {{ match: "/mixed", public: true, to: {{ gather: ["call s /echo", "call refused /", "dispatch /inner?a=b", "dispatch /nowhere"] }} }}
      inner: {{ match: "/inner", public: true, strip: /inner, to: s, policies: [headers: {{ request: {{ set: {{ X-Inner: yes }} }} }}] }}
      closed: {{ match: "/closed", public: true, to: s, policies: [ip_access: {{ deny: ["127.0.0.1/32"] }}] }}
      guarded: {{ match: "/guarded", public: true, to: {{ gather: ["dispatch /closed", "call s /echo"] }} }}
      stuck: {{ match: "/stuck", public: true, to: {{ gather: ["call s /never", "dispatch /slow"] }} }}
      slow: {{ match: "/slow", public: true, strip: /slow, to: s }}
      late: {{ match: "/late", public: true, deadline: 300ms, to: {{ gather: ["call s /never", "call s /echo"] }} }}
      patient: {{ match: "/patient", public: true, to: {{ gather: ["call s /never", "call s /echo"], within: 200ms }} }}
      loop: {{ match: "/loop", public: true, to: {{ gather: ["dispatch /loop"] }} }}
      large: {{ match: "/large", public: true, to: {{ gather: ["dispatch /big"], streams: true }} }}
      big: {{ match: "/big", public: true, to: s }}
      broken: {{ match: "/broken", public: true, to: {{ gather: ["call s /half"] }} }}
"#,
        url = service.url(),
        cert = serde_json::to_string(&issued.cert).unwrap(),
        key = serde_json::to_string(&issued.key).unwrap(),
    );
    Scene { gateway: Controlled::start(&text, 1, &[], GATHER), service, authority }
}

fn script(conversation: &mut Conversation<'_>, meeting: &Barrier) -> Result<Next, Fault> {
    let path = conversation.head().line.split(' ').nth(1).unwrap_or_default().to_owned();
    match path.as_str() {
        "/meet" => {
            conversation.read_body()?;
            // Who comes alone waits for ever: the two must be asked side by side.
            meeting.wait();
            answer::fixed(200, "met")(conversation)
        }
        "/never" | "/" if conversation.head().field("x-inner").is_none() => answer::never()(conversation),
        "/big" => {
            conversation.read_body()?;
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            conversation.send(head)?;
            for _ in 0..64 {
                conversation.send(format!("8000\r\n{}\r\n", "x".repeat(0x8000)))?;
            }
            conversation.send("0\r\n\r\n")?;
            Ok(Next::Keep)
        }
        "/half" => {
            conversation.read_body()?;
            answer::raw_then_close("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")(conversation)
        }
        _ => answer::fixed(200, "fine")(conversation),
    }
}

impl Scene {
    fn client(&self) -> RawClient {
        RawClient::connect(self.gateway.address()).unwrap()
    }

    fn ask(&self, path: &str) -> Response {
        let fields = "X-Token: t1\r\nX-Request-Id: r1\r\ntracestate: a=b\r\n\
                      traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
        self.client().exchange(format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n")).unwrap()
    }
}

#[test]
fn calls_run_side_by_side_and_are_joined() {
    let scene = scene();
    let answer = scene.ask("/both");
    assert_eq!((answer.status, answer.text().as_str()), (200, "200:met|200:met"));
    scene.ask("/both");
    assert_eq!(scene.service.connections(), 2, "the connections were given back");
}

#[test]
fn calls_and_routes_carry_what_they_should_and_nothing_else() {
    let scene = scene();
    let answer = scene.ask("/mixed").text();
    let parts: Vec<_> = answer.split('|').collect();
    assert_eq!(parts, ["200:fine", "502:connect_failed", "200:fine", "404:no_route"]);
    let log = scene.service.log();
    assert_eq!(log.len(), 2);
    for received in &log {
        assert_eq!((received.method(), received.body.as_slice()), ("POST", b"question".as_slice()));
        assert_eq!(received.field("x-forwarded-host"), Some("a.example"));
        assert_eq!(received.field("x-token"), Some("t1"));
        assert_eq!(received.field("x-request-id"), Some("r1"));
        assert_eq!(received.field("tracestate"), Some("a=b"));
        assert_eq!(received.field("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(received.field("via"), Some("1.1 narthex"));
        let trace = received.field("traceparent").unwrap();
        assert!(
            trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && trace.ends_with("-01"),
            "{trace}"
        );
        assert!(!trace.contains("b7ad6b7169203331"), "our span, not the client's: {trace}");
    }
    let inner = log.iter().find(|received| received.field("x-inner").is_some()).unwrap();
    assert_eq!(inner.target(), "/?a=b", "through its route, with its policies and its `strip`");
}

#[test]
fn a_policy_of_the_other_route_refuses() {
    let scene = scene();
    assert_eq!(scene.ask("/guarded").text(), "403:ip_denied|200:fine");
}

#[test]
fn an_answer_streams_through_whole_and_a_broken_one_is_seen_to_break() {
    let scene = scene();
    let answer = scene.ask("/large");
    assert_eq!((answer.status, answer.body.len()), (200, 64 * 0x8000));
    // What breaks before anybody read its head is refused instead; both say that it broke.
    let broken = scene.ask("/broken").text();
    assert!(["200:Source(Closed)", "502:service_truncated"].contains(&&*broken), "{broken}");
}

#[test]
fn the_deadline_is_inherited_and_a_shorter_one_is_possible() {
    let scene = scene();
    assert_eq!(scene.ask("/patient").text(), "504:deadline_exceeded|200:fine");
    assert_eq!(scene.ask("/late").text(), "504:deadline_exceeded|200:fine");
}

#[test]
fn a_client_that_leaves_cancels_what_was_asked() {
    let scene = scene();
    let mut client = scene.client();
    client.send("GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    scene.service.wait_until(PATIENCE, |log| log.len() == 2).unwrap();
    client.reset().unwrap();
    // `never` waits for the end of its connection: `Answered` says that it came.
    let ended = scene.service.wait_until(Duration::from_secs(5), |log| {
        log.iter().all(|received| received.progress == Progress::Answered)
    });
    assert!(ended.is_ok(), "the service still works");
    eventually("nothing is left", PATIENCE, || {
        let status = scene.gateway.status();
        (status.services["s"].requests_in_flight == 0).then_some(())
    });
}

/// Both HTTP/1.1 and HTTP/2 carry it, and the routes inside know that the client came by TLS.
#[test]
fn over_tls_it_is_the_same() {
    const MIXED: &str = "200:fine|502:connect_failed|200:fine|404:no_route";
    let scene = scene();
    let address = scene.gateway.address_of("secure");
    let mut options = TlsOptions::new(scene.authority.pem(), "a.test");
    let mut client = TlsClient::connect(address, &options).unwrap();
    for (path, told) in [
        ("/mixed", MIXED),
        ("/both", "200:met|200:met"),
        ("/guarded", "403:ip_denied|200:fine"),
        ("/loop", "200:200:200:508:dispatch_too_deep"),
        ("/late", "504:deadline_exceeded|200:fine"),
        ("/mixed", MIXED),
    ] {
        let (status, text) = client.get("a.test", path).unwrap();
        assert_eq!((status, text.ends_with(&format!("\r\n\r\n{told}"))), (200, true), "{path}: {text}");
    }
    options.alpn = vec![b"h2".to_vec()];
    http2::run(async {
        let client = http2::connect_tls(address, options.config(), "a.test").await;
        let mut client = client.ready().await.unwrap();
        let asked = |path: &str| {
            let uri = format!("https://a.test{path}");
            http::Request::get(uri).version(http::Version::HTTP_2).body(()).unwrap()
        };
        // Side by side on one connection.
        let streams =
            ["/mixed", "/large", "/both"].map(|path| client.send_request(asked(path), true).unwrap().0);
        let [mixed, large, both] = streams.map(http2::read);
        let (mixed, large, both) = futures_util::join!(mixed, large, both);
        assert_eq!(mixed.unwrap().text(), MIXED);
        assert_eq!(large.unwrap().body.len(), 64 * 0x8000);
        assert_eq!(both.unwrap().text(), "200:met|200:met");
    });
    let log = scene.service.log();
    let told: Vec<_> = log.iter().map(|received| received.field("x-forwarded-proto")).collect();
    assert!(told.iter().all(|proto| *proto == Some("https")), "{told:?}");
    assert!(log.iter().any(|received| received.field("x-inner").is_some()));
}

#[test]
fn a_tls_client_that_leaves_cancels_what_was_asked() {
    let scene = scene();
    let options = TlsOptions::new(scene.authority.pem(), "a.test");
    let mut client = TlsClient::connect(scene.gateway.address_of("secure"), &options).unwrap();
    client.send("GET /stuck HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    scene.service.wait_until(PATIENCE, |log| log.len() == 2).unwrap();
    drop(client);
    eventually("nothing is left", PATIENCE, || {
        let status = scene.gateway.status();
        (status.services["s"].requests_in_flight == 0).then_some(())
    });
}

#[test]
fn routes_that_ask_each_other_end() {
    let scene = scene();
    let answer = scene.ask("/loop").text();
    assert_eq!(answer, "200:200:200:508:dispatch_too_deep", "three inside one another, not a fourth");
}
