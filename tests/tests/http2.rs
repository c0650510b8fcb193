//! HTTP/2 on either side of the gateway, or on both: bodies of unknown length, trailers, resets, early answers, bounds.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use bytes::Bytes;
use http::HeaderMap;
use narthex_testkit::{FakeService, Progress, RawClient, Received, answer};
use narthex_tests::Gateway;
use narthex_tests::http2::{
    Answer, Asked, PATIENCE, connect, head, read, read_body, request, run, serve, within,
};
use std::time::Duration;

fn config(url: &str, service: &str, bounds: &str) -> String {
    format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\", bounds: {{ {bounds} }} }} }}\n\
         services: {{ s: {{ url: \"{url}\"{service} }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s }} }} }} }}\n"
    )
}

fn gateway(url: &str, service: &str, bounds: &str) -> (Gateway, std::net::SocketAddr) {
    let gateway = Gateway::start(&config(url, service, bounds)).expect("the configuration is valid");
    let address = gateway.address("main").expect("it listens");
    (gateway, address)
}

/// Long enough that the gateway has gone to sleep between two frames.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[test]
fn a_body_of_unknown_length_ends_for_an_http1_service() {
    let service = FakeService::start(answer::echo());
    let (gateway, address) = gateway(&service.url(), "", "");
    run(async {
        let mut client = connect(address).await.ready().await.unwrap();
        let (response, mut body) =
            client.send_request(request("POST", "/").body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(b"abc"), false).unwrap();
        pause().await;
        body.send_data(Bytes::new(), true).unwrap();
        let answer = read(response).await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains(r#""body":"abc""#), "{}", answer.text());
    });
    gateway.stop();
}

#[test]
fn an_http2_services_body_of_unknown_length_ends_for_an_http1_client() {
    let service = serve(|(_, mut respond): Asked| async move {
        let mut body = respond.send_response(head(200), false).unwrap();
        body.send_data(Bytes::from_static(b"abc"), false).unwrap();
        pause().await;
        body.send_data(Bytes::new(), true).unwrap();
    });
    let (gateway, address) = gateway(&format!("http://{service}"), ", protocol: h2c", "");
    run(async {
        let mut client = RawClient::connect(address).unwrap();
        let answer = client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "abc"));
    });
    gateway.stop();
}

#[test]
fn trailers_go_both_ways_between_http2_and_http2() {
    let service = serve(|(asked, mut respond): Asked| async move {
        let (_, trailers) = read_body(asked.into_body()).await.unwrap();
        let mut body = respond.send_response(head(200), false).unwrap();
        body.send_data(Bytes::from_static(b"x"), false).unwrap();
        body.send_trailers(trailers.expect("the client sent trailers")).unwrap();
    });
    let (gateway, address) = gateway(&format!("http://{service}"), ", protocol: h2c", "");
    run(async {
        for has_data in [true, false] {
            let mut client = connect(address).await.ready().await.unwrap();
            let asked = request("POST", "/").header("te", "trailers").body(()).unwrap();
            let (response, mut body) = client.send_request(asked, false).unwrap();
            if has_data {
                body.send_data(Bytes::from_static(b"abc"), false).unwrap();
            }
            pause().await;
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "7".parse().unwrap());
            body.send_trailers(trailers).unwrap();
            let answer = read(response).await.unwrap();
            assert_eq!(answer.body, b"x");
            assert_eq!(answer.trailers.unwrap().get("grpc-status").unwrap(), "7");
        }
    });
    gateway.stop();
}

#[test]
fn an_early_answer_with_no_error_is_whole() {
    let service = serve(|(_, mut respond): Asked| async move {
        let mut body = respond.send_response(head(413), false).unwrap();
        body.send_data(Bytes::from_static(b"too "), false).unwrap();
        body.send_data(Bytes::from_static(b"large"), true).unwrap();
        pause().await;
        // RFC 9113 8.1: the response is complete, the rest of the request is not wanted.
        body.send_reset(h2::Reason::NO_ERROR);
    });
    let (gateway, address) = gateway(&format!("http://{service}"), ", protocol: h2c", "");
    run(async {
        let mut client = connect(address).await.ready().await.unwrap();
        let (response, mut body) =
            client.send_request(request("POST", "/").body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(b"abc"), false).unwrap();
        let answer = read(response).await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (413, "too large"));
    });
    gateway.stop();
}

#[test]
fn an_early_answer_at_once_with_no_error_is_whole() {
    let service = serve(|(_, mut respond): Asked| async move {
        let mut body = respond.send_response(head(413), false).unwrap();
        // What `h2` does when the rest is dropped: the same reset, right behind the response.
        body.send_data(Bytes::from_static(b"too large"), true).unwrap();
    });
    let (gateway, address) = gateway(&format!("http://{service}"), ", protocol: h2c", "");
    run(async {
        for _ in 0..20 {
            let mut client = connect(address).await.ready().await.unwrap();
            let asked = request("POST", "/").body(()).unwrap();
            let (response, mut body) = client.send_request(asked, false).unwrap();
            body.send_data(Bytes::from_static(b"abc"), false).unwrap();
            let answer = read(response).await.unwrap();
            assert_eq!(answer.status, 413);
        }
    });
    gateway.stop();
}

#[test]
fn the_bounds_of_a_head_hold() {
    let service = FakeService::start(answer::echo());
    let (gateway, address) = gateway(&service.url(), "", "uri_bytes: 1KiB, header_fields: 10");
    run(async {
        let mut client = connect(address).await.ready().await.unwrap();
        let long = request("GET", &format!("/{}", "a".repeat(2000))).body(()).unwrap();
        let (response, _) = client.send_request(long, true).unwrap();
        let answer = read(response).await.unwrap();
        assert_eq!(answer.status, 414, "{}", answer.text());
        assert!(answer.text().contains("uri_too_long"));
        let many = (0..20).fold(request("GET", "/"), |it, at| it.header(format!("x-{at}"), "1"));
        let (response, _) = client.send_request(many.body(()).unwrap(), true).unwrap();
        let answer = read(response).await.unwrap();
        assert_eq!(answer.status, 431, "{}", answer.text());
        assert!(answer.text().contains("head_too_large"));
    });
    assert!(service.log().is_empty());
    gateway.stop();
}

#[test]
fn a_request_that_is_reset_is_never_taken_for_complete() {
    let service = FakeService::start(answer::echo());
    let (gateway, address) = gateway(&service.url(), "", "");
    for reason in [h2::Reason::NO_ERROR, h2::Reason::CANCEL] {
        run(async {
            let mut client = connect(address).await.ready().await.unwrap();
            let asked = request("POST", "/").body(()).unwrap();
            let (_, mut body) = client.send_request(asked, false).unwrap();
            body.send_data(Bytes::from_static(b"abc"), false).unwrap();
            pause().await;
            body.send_reset(reason);
            pause().await;
        });
    }
    let failed = |log: &[Received]| {
        log.len() == 2 && log.iter().all(|seen| matches!(seen.progress, Progress::Failed(_)))
    };
    service.wait_until(PATIENCE, failed).expect("the service sees that both broke off");
    gateway.stop();
}

#[test]
fn a_refusal_reaches_a_client_that_still_sends() {
    let service = FakeService::start(answer::echo());
    let (gateway, address) = gateway(&service.url(), "", "body_bytes: 1KiB");
    run(async {
        for length in [Some(1_000_000u64), None] {
            let mut client = connect(address).await.ready().await.unwrap();
            let mut asked = request("POST", "/");
            if let Some(length) = length {
                asked = asked.header("content-length", length);
            }
            let (response, mut body) = client.send_request(asked.body(()).unwrap(), false).unwrap();
            body.send_data(Bytes::from(vec![b'x'; 4096]), false).unwrap();
            let answer = read(response).await.unwrap();
            assert_eq!(answer.status, 413, "{}", answer.text());
            assert!(answer.text().contains("body_too_large"));
        }
    });
    gateway.stop();
}

/// One request over HTTP/2 to an echoing HTTP/1.1 service: the status, and what the service saw.
async fn seen(address: std::net::SocketAddr, asked: http::request::Builder) -> Result<Answer, h2::Error> {
    let mut client = connect(address).await.ready().await.unwrap();
    let (response, _) = client.send_request(asked.body(()).unwrap(), true)?;
    read(response).await
}

#[test]
fn requests_become_http1_and_abuse_is_refused() {
    let service = FakeService::start(answer::echo());
    let (gateway, address) = gateway(&service.url(), "", "");
    run(async {
        let crumbs = request("GET", "/a?b=c%2F").header("cookie", "a=1").header("cookie", "b=2");
        let answer = seen(address, crumbs).await.unwrap();
        assert!(answer.text().contains("a=1; b=2"), "{}", answer.text());
        assert!(answer.text().contains("/a?b=c%2F"), "{}", answer.text());
        let same = request("GET", "/").header("host", "a.test");
        assert_eq!(seen(address, same).await.unwrap().status, 200);
        for (name, value, status) in
            [("host", "b.test", 400), ("expect", "tea", 417), ("content-length", "abc", 400)]
        {
            match seen(address, request("GET", "/").header(name, value)).await {
                Ok(answer) => assert_eq!(answer.status, status, "{name}: {}", answer.text()),
                Err(error) => assert_eq!(error.reason(), Some(h2::Reason::PROTOCOL_ERROR), "{name}"),
            }
        }
        let connect = http::Request::builder().method("CONNECT").uri("a.test:443");
        assert_eq!(seen(address, connect).await.unwrap().status, 501);
        let answer = seen(address, request("HEAD", "/")).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert_ne!(answer.field("content-length"), "");
        // RFC 9110 8.6: a method that has a body says that it is empty.
        seen(address, request("POST", "/empty")).await.unwrap();
    });
    let log = service.log();
    let empty = log.iter().find(|seen| seen.target() == "/empty").unwrap();
    assert_eq!((empty.field("content-length"), empty.field("transfer-encoding")), (Some("0"), None));
    assert!(log.iter().all(|seen| seen.field("expect").is_none()));
    gateway.stop();
}

/// Nothing of the answer is out when its body turns out to be none: the client gets a refusal, not a broken stream.
#[test]
fn a_body_that_is_invalid_from_its_first_byte_becomes_a_refusal() {
    let service = FakeService::start(|conversation: &mut narthex_testkit::Conversation<'_>| {
        conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n")?;
        Ok(narthex_testkit::Next::Close)
    });
    let (gateway, address) = gateway(&service.url(), "", "");
    run(async {
        let answer = seen(address, request("GET", "/")).await.unwrap();
        assert_eq!((answer.status, answer.field("x-narthex-reason").is_empty()), (502, true));
        assert!(answer.text().contains("service_protocol"), "{}", answer.text());
    });
    gateway.stop();
}

#[test]
fn bodiless_answers_of_an_http1_service_stay_bodiless() {
    let service = FakeService::start(|conversation: &mut narthex_testkit::Conversation<'_>| {
        let head = match conversation.head().line.split(' ').nth(1).unwrap_or_default() {
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"1\"\r\n\r\n",
            "/hints" => {
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
            }
            _ => "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
        };
        conversation.send(head)?;
        Ok(narthex_testkit::Next::Keep)
    });
    let (gateway, address) = gateway(&service.url(), "", "");
    run(async {
        for (path, status) in [("/204", 204), ("/304", 304), ("/hints", 200), ("/205", 205)] {
            let answer = seen(address, request("GET", path)).await;
            let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!((answer.status, answer.body.len()), (status, 0), "{path}");
        }
    });
    gateway.stop();
}

#[test]
fn a_body_that_breaks_its_declared_length_is_never_complete() {
    let service = FakeService::start(answer::echo());
    let (gateway, address) = gateway(&service.url(), "", "");
    for sent in [3usize, 9] {
        run(async {
            let mut client = connect(address).await.ready().await.unwrap();
            let asked = request("POST", "/").header("content-length", 5).body(()).unwrap();
            let (response, mut body) = client.send_request(asked, false).unwrap();
            body.send_data(Bytes::from(vec![b'x'; sent]), true).unwrap();
            match read(response).await {
                Ok(answer) => assert_eq!(answer.status, 400, "{}", answer.text()),
                Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error}"),
            }
        });
    }
    assert!(service.log().iter().all(|seen| seen.progress != Progress::Answered));
    gateway.stop();
}

#[test]
fn a_client_that_never_opens_its_window_holds_nobody_up_and_is_reset() {
    let service = FakeService::start(answer::fixed(200, &"x".repeat(1 << 20)));
    let (gateway, address) = gateway(&service.url(), "", "write_time: 300ms");
    run(async {
        let mut client = connect(address).await.ready().await.unwrap();
        let (stalled, _) = client.send_request(request("GET", "/").body(()).unwrap(), true).unwrap();
        let mut stalled = within("its head", stalled).await.unwrap().into_body();
        let other = seen(address, request("GET", "/")).await.unwrap();
        assert_eq!(other.body.len(), 1 << 20);
        let ended = within("the reset", async {
            loop {
                match stalled.data().await {
                    Some(Ok(_)) => {}
                    ended => return ended,
                }
            }
        });
        assert!(matches!(ended.await, Some(Err(error)) if error.is_reset()));
        let (same, _) = client.send_request(request("HEAD", "/").body(()).unwrap(), true).unwrap();
        assert_eq!(read(same).await.unwrap().status, 200, "the connection is still good");
    });
    gateway.stop();
}

#[test]
fn a_service_that_continues_is_heard_over_http2() {
    let service = FakeService::start(answer::continued(answer::echo()));
    let (gateway, address) = gateway(&service.url(), "", "");
    run(async {
        let mut client = connect(address).await.ready().await.unwrap();
        let asked = request("POST", "/").header("expect", "100-continue").body(()).unwrap();
        let (mut response, mut body) = client.send_request(asked, false).unwrap();
        let interim = within("100", std::future::poll_fn(|cx| response.poll_informational(cx))).await;
        assert_eq!(interim.unwrap().unwrap().status(), 100);
        body.send_data(Bytes::from_static(b"abc"), true).unwrap();
        let answer = read(response).await.unwrap();
        assert!(answer.text().contains(r#""body":"abc""#), "{}", answer.text());
    });
    gateway.stop();
}

#[test]
fn an_http2_service_is_understood_whatever_it_does() {
    let refused = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let service = serve(move |(asked, mut respond): Asked| {
        let refused = std::sync::Arc::clone(&refused);
        async move {
            match asked.uri().path() {
                "/hints" => {
                    respond.send_informational(head(103)).unwrap();
                    respond.send_response(head(204), true).unwrap();
                }
                "/continue" => {
                    respond.send_informational(head(100)).unwrap();
                    let (body, _) = read_body(asked.into_body()).await.unwrap();
                    respond.send_response(head(200), false).unwrap().send_data(body.into(), true).unwrap();
                }
                "/refused" if refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 => {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                }
                "/reset" => respond.send_reset(h2::Reason::INTERNAL_ERROR),
                "/cut" => {
                    let mut body = respond.send_response(head(200), false).unwrap();
                    body.send_data(Bytes::from_static(b"abc"), false).unwrap();
                    pause().await;
                    body.send_reset(h2::Reason::INTERNAL_ERROR);
                }
                _ => drop(respond.send_response(head(200), true).unwrap()),
            }
        }
    });
    let (gateway, address) = gateway(&format!("http://{service}"), ", protocol: h2c", "");
    let mut client = RawClient::connect(address).unwrap();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.exchange(get("/hints")).unwrap();
    assert_eq!((answer.status, answer.interim.len()), (204, 1));
    let expecting = "POST /continue HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    client.send(expecting).unwrap();
    assert_eq!(client.read_next_to("POST").unwrap().status, 100);
    client.send("abc").unwrap();
    assert_eq!(client.read_response().unwrap().text(), "abc");
    let refused = "POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(
        client.exchange(refused).unwrap().status,
        200,
        "a refused stream was not begun: it is tried again"
    );
    let answer = client.exchange(get("/reset")).unwrap();
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (502, Some("service_closed")));
    assert!(client.exchange(get("/cut")).is_err(), "a cut is seen as one");
    run(async {
        let mut client = connect(address).await.ready().await.unwrap();
        let (response, _) = client.send_request(request("GET", "/cut").body(()).unwrap(), true).unwrap();
        assert!(read(response).await.is_err_and(|error| error.is_reset()));
    });
    gateway.stop();
}

/// All bytes that were announced are there, but the stream breaks where its end should be, or says nothing more: an
/// HTTP/1.1 client has the whole answer, and goes on asking.
#[test]
fn an_answer_that_is_whole_by_its_length_does_not_end_an_http1_connection() {
    let service = serve(|(asked, mut respond): Asked| async move {
        let mut answer = head(200);
        answer.headers_mut().insert("content-length", http::HeaderValue::from_static("3"));
        let mut body = respond.send_response(answer, false).unwrap();
        body.send_data(Bytes::from_static(b"abc"), false).unwrap();
        if asked.uri().path() == "/endless" {
            std::future::pending::<()>().await;
        }
        pause().await;
        body.send_reset(h2::Reason::INTERNAL_ERROR);
    });
    let (gateway, address) = gateway(&format!("http://{service}"), ", protocol: h2c", "");
    let mut client = RawClient::connect(address).unwrap();
    for path in ["/", "/endless", "/", "/endless", "/"] {
        let answer = client.exchange(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        assert_eq!((answer.text().as_str(), answer.closes()), ("abc", false));
        std::thread::park_timeout(Duration::from_millis(200));
    }
    gateway.stop();
}
