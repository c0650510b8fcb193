//! Request smuggling and response splitting: kind of fault x position x side, each a test of its own name.
//!
//! A client's fault: the service sees nothing of it and nothing of what is pipelined behind, the answer names the fault, the
//! connection closes. A service's fault: 502 or a visible cut, never its bytes, and never a byte of it for somebody else.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use libtest_mimic::{Arguments, Failed, Trial};
use narthex_testkit::{
    Conversation, FakeService, Fault, Next, Progress, RawClient, Response, answer, faults,
};
use narthex_tests::Gateway;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
/// What follows a faulty answer on its connection: nobody may ever get it.
const EVIL: &[u8] = b"HTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 4\r\n\r\nevil";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let answers = Arc::new(faulty_answers());
    let service = {
        let answers = Arc::clone(&answers);
        FakeService::start(move |conversation| play(conversation, &answers))
    };
    let config = format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\n\
         services: {{ s: {{ url: \"{}\" }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s }} }} }} }}\n",
        service.url()
    );
    let gateway = match Gateway::start(&config) {
        Ok(gateway) => gateway,
        Err(rendered) => {
            let failed = Trial::test("the_gateway_starts", move || Err(Failed::from(rendered)));
            return libtest_mimic::run(&arguments, vec![failed]).exit_code();
        }
    };
    let Some(address) = gateway.address("main") else { return ExitCode::FAILURE };
    let service = Arc::new(service);
    let mut trials = Vec::new();
    for fault in faulty_requests() {
        let service = Arc::clone(&service);
        trials.push(Trial::test(fault.name.clone(), move || request_side(&fault, address, &service)));
    }
    for at in 0..answers.len() {
        let answers = Arc::clone(&answers);
        trials.push(Trial::test(answers[at].name.clone(), move || response_side(&answers[at], at, address)));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    gateway.stop();
    conclusion.exit_code()
}

/// A request with a fault.
struct FaultyRequest {
    name: String,
    bytes: Vec<u8>,
    code: &'static str,
}

/// An answer of the service with a fault.
struct FaultyAnswer {
    name: String,
    bytes: Vec<u8>,
    next: Next,
    outcome: Outcome,
}

/// What the client may get.
enum Outcome {
    /// 502 with this reason.
    Refused(&'static str),
    /// 502, or a head that was good and a body that breaks off.
    RefusedOrCut,
    /// A good answer of which this is the body; what is behind it is dropped.
    Body(&'static str),
}

fn requests_of(
    kind: &str,
    table: &[(&'static [u8], &'static str)],
    out: &mut Vec<FaultyRequest>,
    make: &dyn Fn(&[u8]) -> Vec<u8>,
) {
    for (at, (line, code)) in table.iter().enumerate() {
        let name = format!("request::{kind}::{:02}_{code}", at + 1);
        out.push(FaultyRequest { name, bytes: make(line), code });
    }
}

fn faulty_requests() -> Vec<FaultyRequest> {
    let mut all = Vec::new();
    let out = &mut all;
    let head = |lines: &[&[u8]]| [lines.join(&b"\r\n"[..]), b"\r\n\r\n".to_vec()].concat();
    requests_of("line", faults::REQUEST_LINES, out, &|line| head(&[line, b"Host: a"]));
    requests_of("host", faults::HOSTS, out, &|line| head(&[b"GET / HTTP/1.1", line]));
    let post: &[u8] = b"POST / HTTP/1.1";
    requests_of("field_first", faults::FIELD_LINES, out, &|line| head(&[post, line, b"A: 1", b"Host: a"]));
    requests_of("field_middle", faults::FIELD_LINES, out, &|line| head(&[post, b"Host: a", line, b"A: 1"]));
    requests_of("field_last", faults::FIELD_LINES, out, &|line| head(&[post, b"Host: a", b"A: 1", line]));
    requests_of("framing_first", faults::FRAMING, out, &|line| {
        [head(&[post, line, b"Host: a"]), b"x=y".to_vec()].concat()
    });
    requests_of("framing_last", faults::FRAMING, out, &|line| {
        [head(&[post, b"Host: a", line]), b"0\r\n\r\n".to_vec()].concat()
    });
    requests_of("expect", faults::EXPECTATIONS, out, &|line| head(&[post, b"Host: a", line]));
    let chunked = head(&[post, b"Host: a", b"Transfer-Encoding: chunked"]);
    requests_of("chunk", faults::CHUNKS, out, &|body| [&chunked, body].concat());
    let trailers = |line: &[u8]| [&chunked, &b"1\r\nx\r\n0\r\nA: 1\r\n"[..], line, b"\r\n\r\n"].concat();
    requests_of("trailer", faults::FIELD_LINES, out, &trailers);
    let long = |count: usize| "a".repeat(count);
    let more = [
        ("target", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(16 * 1024)), "target_too_long"),
        ("head", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", long(61 * 1024)), "head_too_large"),
        ("fields", format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(100)), "too_many_fields"),
        (
            "http10",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            "transfer_encoding_in_http10",
        ),
    ];
    all.extend(more.map(|(kind, text, code)| FaultyRequest {
        name: format!("request::{kind}::{code}"),
        bytes: text.into_bytes(),
        code,
    }));
    all
}

fn answers_of(
    kind: &str,
    table: &[(&'static [u8], &'static str)],
    out: &mut Vec<FaultyAnswer>,
    outcome: &dyn Fn() -> Outcome,
    make: &dyn Fn(&[u8]) -> Vec<u8>,
) {
    for (at, (line, code)) in table.iter().enumerate() {
        let name = format!("response::{kind}::{:02}_{code}", at + 1);
        let bytes = [&make(line), EVIL].concat();
        out.push(FaultyAnswer { name, bytes, next: Next::Keep, outcome: outcome() });
    }
}

fn faulty_answers() -> Vec<FaultyAnswer> {
    let mut all = Vec::new();
    let out = &mut all;
    let refused = || Outcome::Refused("service_protocol");
    let head = |lines: &[&[u8]]| [lines.join(&b"\r\n"[..]), b"\r\n\r\n".to_vec()].concat();
    let ok: &[u8] = b"HTTP/1.1 200 OK\r\nX-Evil: 1";
    answers_of("status_line", faults::STATUS_LINES, out, &refused, &|line| {
        head(&[line, b"X-Evil: 1", b"Content-Length: 0"])
    });
    answers_of("field_first", faults::FIELD_LINES, out, &refused, &|line| {
        head(&[ok, line, b"Content-Length: 0"])
    });
    answers_of("field_last", faults::FIELD_LINES, out, &refused, &|line| {
        head(&[ok, b"Content-Length: 0", line])
    });
    answers_of("framing", faults::FRAMING, out, &refused, &|line| {
        [head(&[ok, line]), b"0\r\n\r\n".to_vec()].concat()
    });
    let chunked: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cut = || Outcome::RefusedOrCut;
    answers_of("chunk", faults::CHUNKS, out, &cut, &|body| [chunked, body].concat());
    let trailers = |line: &[u8]| [chunked, b"1\r\nx\r\n0\r\nA: 1\r\n", line, b"\r\n\r\n"].concat();
    answers_of("trailer", faults::FIELD_LINES, out, &cut, &trailers);
    all.extend(single_answers());
    all
}

/// Faults that stand alone.
fn single_answers() -> Vec<FaultyAnswer> {
    let refused = || Outcome::Refused("service_protocol");
    let mut all = Vec::new();
    let fields = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n", "X-Evil: 1\r\n".repeat(201));
    let large = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Evil: {}\r\n\r\n", "1".repeat(61 * 1024));
    let more: [(&str, &[u8], Next, Outcome); 14] = [
        ("fields", fields.as_bytes(), Next::Keep, Outcome::Refused("service_head_too_large")),
        ("large", large.as_bytes(), Next::Keep, Outcome::Refused("service_head_too_large")),
        (
            "http10_chunked",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Next::Keep,
            refused(),
        ),
        (
            "chunked_204",
            b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Next::Keep,
            refused(),
        ),
        (
            "chunked_103",
            b"HTTP/1.1 103 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Next::Keep,
            refused(),
        ),
        (
            "unasked_101",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            Next::Keep,
            refused(),
        ),
        ("garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", Next::Keep, refused()),
        ("nothing", b"", Next::Close, Outcome::Refused("service_closed")),
        ("half_a_head", b"HTTP/1.1 200 OK\r\nX-Evil: 1\r\n", Next::Close, Outcome::Refused("service_closed")),
        (
            "half_a_length",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal",
            Next::Close,
            Outcome::RefusedOrCut,
        ),
        (
            "half_a_chunk",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhal",
            Next::Close,
            Outcome::RefusedOrCut,
        ),
        (
            "no_last_chunk",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
            Next::Close,
            Outcome::RefusedOrCut,
        ),
        (
            "reset_in_body",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal",
            Next::Reset,
            Outcome::RefusedOrCut,
        ),
        ("surplus", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Next::Keep, Outcome::Body("ok")),
    ];
    for (kind, bytes, next, outcome) in more {
        let behind = if next == Next::Keep { EVIL } else { b"" };
        let bytes = [bytes, behind].concat();
        all.push(FaultyAnswer { name: format!("response::{kind}"), bytes, next, outcome });
    }
    all
}

/// The service: `/faulty/N` answers with the N-th fault, everything else well.
fn play(conversation: &mut Conversation<'_>, answers: &[FaultyAnswer]) -> Result<Next, Fault> {
    let target = conversation.head().line.split(' ').nth(1).unwrap_or_default();
    let at = target.strip_prefix("/faulty/").and_then(|number| number.parse::<usize>().ok());
    let Some(faulty) = at.and_then(|at| answers.get(at)) else { return answer::echo()(conversation) };
    conversation.send(&faulty.bytes)?;
    Ok(faulty.next)
}

fn request_side(fault: &FaultyRequest, address: SocketAddr, service: &FakeService) -> Result<(), Failed> {
    let mark = fault.name.replace("::", "-");
    let smuggled = format!("GET /smuggled/{mark} HTTP/1.1\r\nHost: a\r\n\r\n");
    // A head that is whole may be known to the service before the fault in its body shows: it is found by this mark.
    let marked = String::from_utf8_lossy(&fault.bytes).starts_with("POST / ");
    let bytes = match marked {
        true => [format!("POST /{mark} ").as_bytes(), &fault.bytes[b"POST / ".len()..]].concat(),
        false => fault.bytes.clone(),
    };
    let mut client = RawClient::connect(address).map_err(text)?.with_patience(PATIENCE);
    let _ = client.send([&bytes, smuggled.as_bytes()].concat());
    let response = client.read_response().map_err(|error| format!("no answer: {error}"))?;
    let (status, reason) = faults::answer_to(fault.code);
    let detail = response.json()["detail"].as_str().unwrap_or_default().to_owned();
    let (got, got_reason) = (response.status, response.reason());
    if got != status || got_reason != reason || detail != fault.code {
        return Err(format!(
            "expected {status} {reason} ({}), got {got} {got_reason} ({detail})",
            fault.code
        )
        .into());
    }
    if !response.closes() {
        return Err("the answer does not say `Connection: close`".into());
    }
    client.expect_close().map_err(|error| format!("the connection must close: {error}"))?;
    saw_nothing(&mark, service)
}

/// A request may have been begun when its body turned out faulty; whole it must not be, and what is behind it not there.
fn saw_nothing(mark: &str, service: &FakeService) -> Result<(), Failed> {
    let is_settled = |log: &[narthex_testkit::Received]| {
        log.iter().filter(|it| it.target() == format!("/{mark}")).all(|it| it.progress != Progress::Begun)
    };
    let log = service
        .wait_until(PATIENCE, is_settled)
        .map_err(|_| "the faulty request is still open at the service")?;
    for request in &log {
        if request.target() == format!("/smuggled/{mark}") {
            return Err("the service saw the request behind the faulty one".into());
        }
        let is_whole = matches!(request.progress, Progress::Read | Progress::Answered);
        if request.target() == format!("/{mark}") && is_whole {
            return Err(
                format!("the service took the faulty request for whole: {:?}", request.head.line).into()
            );
        }
    }
    Ok(())
}

fn response_side(fault: &FaultyAnswer, at: usize, address: SocketAddr) -> Result<(), Failed> {
    let mut client = RawClient::connect(address).map_err(text)?.with_patience(PATIENCE);
    let got = client.exchange(format!("GET /faulty/{at} HTTP/1.1\r\nHost: a\r\n\r\n"));
    match (&fault.outcome, &got) {
        (Outcome::Refused(reason), Ok(response)) => refused(response, reason)?,
        (Outcome::RefusedOrCut, Ok(response)) if response.status == 502 => {
            refused(response, &response.reason())?;
        }
        (Outcome::RefusedOrCut, Err(Fault::Cut { head: Some(_), .. } | Fault::Reset { .. })) => {}
        (Outcome::Body(body), Ok(response)) if response.text() == *body => {}
        (_, Ok(response)) => return Err(format!("the client got: {response:?}").into()),
        (_, Err(error)) => return Err(format!("no answer: {error}").into()),
    }
    if format!("{got:?}").to_lowercase().contains("evil") {
        return Err(format!("the client got bytes of the faulty answer: {got:?}").into());
    }
    // Nobody after it gets what was left on the service's connection.
    for _ in 0..2 {
        let mut next = RawClient::connect(address).map_err(text)?.with_patience(PATIENCE);
        let response = next.exchange(format!("GET /next/{at} HTTP/1.1\r\nHost: a\r\n\r\n")).map_err(text)?;
        if response.json()["target"] != format!("/next/{at}") {
            return Err(format!("the next request got: {response:?}").into());
        }
    }
    Ok(())
}

fn refused(response: &Response, reason: &str) -> Result<(), Failed> {
    let got = (response.status, response.reason());
    if got.0 == 502 && got.1 == reason && reason.starts_with("service_") {
        return Ok(());
    }
    Err(format!("expected 502 {reason}, got {got:?}").into())
}

fn text(error: Fault) -> Failed {
    error.to_string().into()
}
