//! TLS with clients: names and certificates, versions, ALPN, tickets, client certificates, what is refused and how.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use narthex_testkit::{
    Authority, FakeService, Issued, RawClient, TlsClient, TlsOptions, Wanted, Workspace, answer,
};
use narthex_tests::{Gateway, http2};
use rustls::HandshakeKind;

/// A PEM text as a block of YAML, behind `key: `.
fn block(pem: &str) -> String {
    serde_json::to_string(pem).unwrap()
}

fn pair(issued: &Issued) -> String {
    format!("{{ cert: {}, key: {} }}", block(&issued.cert), block(&issued.key))
}

const TELL: &str = r#"
          policies:
            - headers: { response: { set: {
                X-Version: "{tls.version}", X-Sni: "{tls.sni ?? \"none\"}", X-Scheme: "{scheme}",
                X-Subject: "{client.cert.subject ?? \"none\"}", X-San: "{client.cert.san ?? \"none\"}",
                X-Spiffe: "{client.cert.spiffe ?? \"none\"}", X-Print: "{client.cert.fingerprint ?? \"none\"}" } } }"#;

/// A gateway for every host, on one listener with these settings.
fn config(listener: &str, service: &str) -> String {
    format!(
        "narthex: 1
listeners:
  main: {{ address: \"127.0.0.1:0\", {listener} }}
services:
  echo: {{ url: \"{service}\", host: keep }}
gateways:
  g:
    listeners: [main]
    routes:
      all:
          match: \"/{{rest=**}}\"
          public: true
          to: echo{TELL}
"
    )
}

struct Setup {
    gateway: Gateway,
    service: FakeService,
    ca: Authority,
}

impl Setup {
    fn start(listener: impl Fn(&Authority) -> String) -> Self {
        let ca = Authority::new("Test CA");
        let service = FakeService::start(answer::echo());
        let gateway = Gateway::start(&config(&listener(&ca), &service.url())).unwrap();
        Self { gateway, service, ca }
    }

    fn address(&self) -> SocketAddr {
        self.gateway.address("main").unwrap()
    }

    fn options(&self, name: &str) -> TlsOptions {
        TlsOptions::new(self.ca.pem(), name)
    }

    fn connect(&self, name: &str) -> std::io::Result<TlsClient> {
        TlsClient::connect(self.address(), &self.options(name))
    }
}

fn one(ca: &Authority) -> String {
    format!("certificates: [ {} ]", pair(&ca.issue(&["a.test", "b.test", "127.0.0.1"])))
}

#[test]
fn serves_both_versions_and_tells_the_service() {
    let setup = Setup::start(one);
    for (only_tls12, version) in [(false, "TLSv1.3"), (true, "TLSv1.2")] {
        let options = TlsOptions { only_tls12, ..setup.options("a.test") };
        let mut client = TlsClient::connect(setup.address(), &options).unwrap();
        for _ in 0..3 {
            let (status, text) = client.get("a.test", "/x").unwrap();
            assert_eq!(status, 200, "{text}");
            for line in [format!("X-Version: {version}"), "X-Sni: a.test".into(), "X-Scheme: https".into()] {
                assert!(text.contains(&line), "{line}\n{text}");
            }
        }
    }
    let seen = setup.service.log();
    assert_eq!(seen.len(), 6);
    assert!(seen.iter().all(|request| request.field("X-Forwarded-Proto") == Some("https")));
}

#[test]
fn prefers_the_hybrid_key_exchange() {
    let setup = Setup::start(one);
    let client = setup.connect("a.test").unwrap();
    let group = client.connection().negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
}

#[test]
fn min_version_refuses_what_is_older() {
    let setup = Setup::start(|ca| format!("{}, tls: {{ min_version: tls1.3 }}", one(ca)));
    assert!(setup.connect("a.test").is_ok());
    let old = TlsOptions { only_tls12: true, ..setup.options("a.test") };
    let error = TlsClient::connect(setup.address(), &old).unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
}

#[test]
fn big_bodies_pass_both_ways() {
    let setup = Setup::start(one);
    let mut client = setup.connect("a.test").unwrap();
    let body = "0123456789abcdef".repeat(20_000);
    for _ in 0..2 {
        client
            .send(format!(
                "POST /big HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ))
            .unwrap();
        let (status, text) = client.answer().unwrap();
        assert_eq!(status, 200);
        assert!(text.contains(&body), "the echo holds what was sent: {} bytes", text.len());
    }
    // Many requests in one record, and one request in many records.
    let one = "GET /p HTTP/1.1\r\nHost: a.test\r\n\r\n";
    client.send(one.repeat(5)).unwrap();
    for byte in one.bytes() {
        client.send([byte]).unwrap();
    }
    for _ in 0..6 {
        assert_eq!(client.answer().unwrap().0, 200);
    }
}

#[test]
fn an_answer_until_close_ends_with_close_notify() {
    let setup = Setup::start(one);
    let mut client = setup.connect("a.test").unwrap();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(client.answer().unwrap().0, 200);
    client.read_end().expect("the end is announced");
}

#[test]
fn the_name_chooses_the_certificate() {
    let setup = Setup::start(|ca| {
        let all = [ca.issue(&["default.test"]), ca.issue(&["*.wild.test"]), ca.issue(&["exact.wild.test"])];
        format!("certificates: [ {} ]", all.iter().map(pair).collect::<Vec<_>>().join(", "))
    });
    let shown = |name: &str, sni: bool| {
        let options = TlsOptions { sni, ..setup.options(name) };
        let client = TlsClient::connect(setup.address(), &options).map_err(|error| error.to_string())?;
        Ok::<_, String>(client.connection().peer_certificates().unwrap()[0].to_vec())
    };
    let exact = shown("exact.wild.test", true).unwrap();
    let wild = shown("other.wild.test", true).unwrap();
    assert_ne!(exact, wild);
    assert_eq!(wild, shown("third.wild.test", true).unwrap());
    assert_eq!(shown("default.test", true), shown("default.test", false));
    for unknown in ["a.b.wild.test", "wild.test", "nobody.test"] {
        let error = shown(unknown, true).unwrap_err();
        assert!(error.contains("not valid for name"), "the default one is shown for {unknown}: {error}");
    }
}

#[test]
fn an_unknown_name_is_refused_where_that_is_wanted() {
    let setup = Setup::start(|ca| format!("{}, tls: {{ unknown_name: refuse }}", one(ca)));
    assert!(setup.connect("b.test").is_ok());
    let error = setup.connect("nobody.test").unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    let nameless = TlsOptions { sni: false, ..setup.options("a.test") };
    let error = TlsClient::connect(setup.address(), &nameless).unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
}

#[test]
fn alpn_without_a_common_protocol_is_an_alert() {
    let setup = Setup::start(|ca| format!("{}, http: [http1]", one(ca)));
    for (offered, ends_well) in [(&b"h2"[..], false), (b"http/1.1", true)] {
        let options = TlsOptions { alpn: vec![offered.to_vec()], ..setup.options("a.test") };
        let connected = TlsClient::connect(setup.address(), &options);
        assert_eq!(connected.is_ok(), ends_well, "{connected:?}");
    }
    let silent = TlsOptions { alpn: Vec::new(), ..setup.options("a.test") };
    let mut client = TlsClient::connect(setup.address(), &silent).unwrap();
    assert_eq!(client.get("a.test", "/").unwrap().0, 200);
}

#[test]
fn a_request_for_another_certificates_host_is_misdirected() {
    let setup = Setup::start(|ca| {
        format!(
            "certificates: [ {}, {} ]",
            pair(&ca.issue(&["a.test", "b.test"])),
            pair(&ca.issue(&["c.test"]))
        )
    });
    let mut client = setup.connect("a.test").unwrap();
    assert_eq!(client.get("a.test", "/").unwrap().0, 200);
    assert_eq!(client.get("B.test:443", "/").unwrap().0, 200);
    let (status, text) = client.get("c.test", "/").unwrap();
    assert_eq!(status, 421, "{text}");
    assert!(text.contains("misdirected_request"), "{text}");
    assert_eq!(client.get("a.test.", "/").unwrap().0, 200, "the connection goes on");
}

#[test]
fn sessions_are_taken_up_again_and_by_the_whole_fleet() {
    let keys = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let ca = Authority::new("Test CA");
    let issued = ca.issue(&["a.test"]);
    let service = FakeService::start(answer::echo());
    let start = |keys: &str| {
        let listener = format!("certificates: [ {} ], tls: {{ ticket_keys: \"{keys}\" }}", pair(&issued));
        Gateway::start(&config(&listener, &service.url())).unwrap()
    };
    let (one, two) = (start(keys), start(keys));
    let other = start("//////////////////////////////////////////8=");
    for only_tls12 in [false, true] {
        let shared = TlsOptions { only_tls12, ..TlsOptions::new(ca.pem(), "a.test") }.config();
        let kind = |gateway: &Gateway| {
            let address = gateway.address("main").unwrap();
            let mut client = TlsClient::connect_with(address, shared.clone(), "a.test").unwrap();
            // The tickets of TLS 1.3 come with the first answer.
            assert_eq!(client.get("a.test", "/").unwrap().0, 200);
            client.connection().handshake_kind().unwrap()
        };
        assert_ne!(kind(&one), HandshakeKind::Resumed);
        assert_eq!(kind(&one), HandshakeKind::Resumed);
        assert_eq!(kind(&two), HandshakeKind::Resumed);
        assert_ne!(kind(&other), HandshakeKind::Resumed);
    }
}

/// What `clients` says in the tests below: a.test wants a certificate, b.test takes one, all others ask for none.
fn with_clients(ca: &Authority) -> String {
    format!(
        "certificates: [ {} ], forward_client_cert: true, tls: {{ clients: {{
           strict: {{ hosts: [a.test, \"*.a.test\"], ca: {}, crl: {} }},
           lax: {{ hosts: [b.test], verify: optional, ca: {} }} }} }}",
        pair(&ca.issue(&["a.test", "*.a.test", "b.test", "c.test"])),
        block(ca.pem()),
        block(&ca.revoke(&[666])),
        block(ca.pem()),
    )
}

fn client_of(ca: &Authority, serial: u64) -> Issued {
    ca.issue_wanted(&Wanted {
        names: &["shop.client.test"],
        uris: &["spiffe://test/shop"],
        common_name: "shop",
        serial,
        is_expired: false,
    })
}

#[test]
fn a_client_proves_itself_and_policies_learn_who_it_is() {
    let setup = Setup::start(with_clients);
    let shop = client_of(&setup.ca, 7);
    for (name, only_tls12) in [("a.test", false), ("a.test", true), ("b.test", false), ("x.a.test", false)] {
        let options = TlsOptions { only_tls12, ..setup.options(name) }.with_client(&shop);
        let shared = options.config();
        for round in 0..2 {
            let mut client = TlsClient::connect_with(setup.address(), shared.clone(), name).unwrap();
            let (status, text) = client.get(name, "/").unwrap();
            assert_eq!(status, 200, "{text}");
            for line in [
                "X-Subject: CN=shop",
                "X-San: DNS:shop.client.test,URI:spiffe://test/shop",
                "X-Spiffe: spiffe://test/shop",
                r#";Subject=\"CN=shop\";DNS=\"shop.client.test\";URI=\"spiffe://test/shop\""#,
            ] {
                assert!(text.contains(line), "round {round}: {line}\n{text}");
            }
        }
    }
}

/// How a connection that must not be there fails: in the handshake, or at the first read (TLS 1.3 tells the client late).
fn refusal(setup: &Setup, options: &TlsOptions) -> String {
    let asked =
        TlsClient::connect(setup.address(), options).and_then(|mut client| client.get(&options.name, "/"));
    asked.expect_err("it must be refused").to_string()
}

#[test]
fn bad_client_certificates_do_not_get_in() {
    let setup = Setup::start(with_clients);
    let stranger = client_of(&Authority::new("Another CA"), 7);
    let revoked = client_of(&setup.ca, 666);
    let expired =
        setup.ca.issue_wanted(&Wanted { common_name: "old", is_expired: true, ..Wanted::default() });
    for only_tls12 in [false, true] {
        let options = TlsOptions { only_tls12, ..setup.options("a.test") };
        let nothing = refusal(&setup, &options);
        assert!(nothing.contains("CertificateRequired") || nothing.contains("HandshakeFailure"), "{nothing}");
        for (bad, alert) in
            [(&stranger, "UnknownCA"), (&revoked, "CertificateRevoked"), (&expired, "CertificateExpired")]
        {
            let error = refusal(&setup, &options.clone().with_client(bad));
            assert!(error.contains(alert), "{alert}: {error}");
        }
    }
    // A certificate that is shown where one is optional must be good as well.
    let error = refusal(&setup, &setup.options("b.test").with_client(&stranger));
    assert!(error.contains("UnknownCA"), "{error}");
    assert!(setup.service.log().is_empty(), "nothing has come through");
}

#[test]
fn what_one_host_wants_proven_is_not_got_around_by_another() {
    let setup = Setup::start(with_clients);
    let shop = client_of(&setup.ca, 7);
    // Without a certificate, by a host that wants none.
    for name in ["b.test", "c.test"] {
        let mut client = setup.connect(name).unwrap();
        assert_eq!(client.get(name, "/").unwrap().0, 200);
        for host in ["a.test", "A.TEST", "a.test.", "a.test:443", "a.test.:1", "x.a.test", "y.x.a.test"] {
            let (status, text) = client.get(host, "/").unwrap();
            assert_eq!(status, 421, "{name} -> {host}: {text}");
        }
        client.send("GET https://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        assert_eq!(client.answer().unwrap().0, 421);
    }
    // Without SNI the default rule stood, whatever the certificate stands for.
    let mut client =
        TlsClient::connect(setup.address(), &TlsOptions { sni: false, ..setup.options("c.test") }).unwrap();
    assert_eq!(client.get("c.test", "/").unwrap().0, 200);
    assert_eq!(client.get("a.test", "/").unwrap().0, 421);
    // Even with a certificate: another rule may believe other authorities.
    let mut client =
        TlsClient::connect(setup.address(), &setup.options("b.test").with_client(&shop)).unwrap();
    assert_eq!(client.get("a.test", "/").unwrap().0, 421);
    let through = setup.service.log();
    assert!(through.iter().all(|request| !request.field("Host").unwrap().to_lowercase().contains("a.test")));
}

#[test]
fn a_session_does_not_carry_a_certificate_to_another_rule() {
    // The same name on two listeners with the same ticket keys: one asks for a certificate, one does not.
    let ca = Authority::new("Test CA");
    let issued = ca.issue(&["a.test"]);
    let service = FakeService::start(answer::echo());
    let start = |clients: &str| {
        let listener = format!(
            "certificates: [ {} ], tls: {{ ticket_keys: \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\" {clients} }}",
            pair(&issued)
        );
        Gateway::start(&config(&listener, &service.url())).unwrap()
    };
    let open = start("");
    let closed = start(&format!(", clients: {{ all: {{ ca: {} }} }}", block(ca.pem())));
    let shared = TlsOptions::new(ca.pem(), "a.test").config();
    let mut client =
        TlsClient::connect_with(open.address("main").unwrap(), shared.clone(), "a.test").unwrap();
    assert_eq!(client.get("a.test", "/").unwrap().0, 200);
    let again = TlsClient::connect_with(closed.address("main").unwrap(), shared, "a.test")
        .and_then(|mut client| client.get("a.test", "/"));
    assert!(again.unwrap_err().to_string().contains("CertificateRequired"));
}

#[test]
fn what_is_no_handshake_is_answered_shortly() {
    let setup = Setup::start(one);
    let mut client = RawClient::connect(setup.address()).unwrap();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    let response = client.read_response().unwrap();
    assert_eq!((response.status, response.closes()), (400, true));
    for garbage in [
        &b"\x00\x01\x02garbage"[..],
        &[0x16, 3, 1, 0xff, 0xff, 1],
        &[0x80, 0x2e, 1, 3, 1],
        &[0x15, 3, 3, 0, 2, 1, 0],
    ] {
        let mut stream = TcpStream::connect(setup.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // A reset is an end as well.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer[0] == 21, "nothing but an alert: {answer:?}");
    }
    assert_eq!(setup.connect("a.test").unwrap().get("a.test", "/").unwrap().0, 200);
}

#[test]
fn a_slow_handshake_ends_and_many_of_them_are_bounded() {
    let setup = Setup::start(|ca| format!("{}, bounds: {{ handshake_time: 500ms, handshakes: 2 }}", one(ca)));
    let begun = Instant::now();
    let open: Vec<_> = (0..2).map(|_| TcpStream::connect(setup.address()).unwrap()).collect();
    // The third is closed at once, while the first two have their time.
    let mut third = TcpStream::connect(setup.address()).unwrap();
    third.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(third.read(&mut [0]).unwrap_or(0), 0);
    for mut stream in open {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(450) && took < Duration::from_secs(8), "{took:?}");
    assert_eq!(setup.connect("a.test").unwrap().get("a.test", "/").unwrap().0, 200);
}

#[test]
fn plain_listeners_redirect_to_https() {
    let service = FakeService::start(answer::echo());
    let text = config("redirect_to_https: 443", &service.url());
    let text = text.replace("    listeners: [main]\n", "    listeners: [main]\n    hosts: [shop.test]\n");
    let gateway = Gateway::start(&text).unwrap();
    let ask = |host: &str, target: &str| {
        let mut client = RawClient::connect(gateway.address("main").unwrap()).unwrap();
        client
            .exchange(format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"))
            .unwrap()
    };
    let response = ask("shop.test:80", "/a%20b/../c?x=1&y=%2F");
    assert_eq!(response.status, 308);
    assert_eq!(response.field("Location"), Some("https://shop.test/a%20b/../c?x=1&y=%2F"));
    assert_eq!(ask("evil.test", "/").status, 404);
    assert!(service.log().is_empty());
    let only = Gateway::start(
        "narthex: 1\nlisteners: { main: { address: \"127.0.0.1:0\", redirect_to_https: 8443 } }\n",
    )
    .unwrap();
    let mut client = RawClient::connect(only.address("main").unwrap()).unwrap();
    let response = client.exchange("GET / HTTP/1.1\r\nHost: any.test\r\n\r\n").unwrap();
    assert_eq!((response.status, response.field("Location")), (308, Some("https://any.test:8443/")));
}

#[test]
fn files_are_read_beside_the_configuration() {
    let ca = Authority::new("Test CA");
    let issued = ca.issue(&["a.test"]);
    let workspace = Workspace::new().unwrap();
    workspace.write("shop.pem", &issued.cert).unwrap();
    workspace.write("shop.key", &issued.key).unwrap();
    let text = config("certificates: [ { cert: shop.pem, key: { file: shop.key } } ]", "http://127.0.0.1:1");
    let file = workspace.write("narthex.yaml", &text).unwrap();
    let checked = narthex::check_loaded(narthex::load_path(&file, &[]));
    assert!(checked.compiled.is_some(), "{}", checked.render(false));
    workspace.write("shop.key", &ca.issue(&["a.test"]).key).unwrap();
    let checked = narthex::check_loaded(narthex::load_path(&file, &[]));
    assert!(checked.compiled.is_none());
    let text = checked.render(false);
    assert!(
        text.contains("bad_certificate") && text.contains("does not belong to the certificate"),
        "{text}"
    );
    assert!(text.contains("narthex.yaml:3:"), "{text}");
    assert!(!text.contains("-----BEGIN"), "{text}");
}

#[test]
fn http2_comes_by_alpn_and_is_held_to_its_connections_hosts() {
    let setup = Setup::start(with_clients);
    let options = TlsOptions { alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()], ..setup.options("c.test") };
    let options = options.with_client(&client_of(&setup.ca, 7));
    let address = setup.address();
    http2::run(async {
        let mut client = http2::connect_tls(address, options.config(), "c.test").await;
        let mut ask = |host: &str, body: Vec<u8>| {
            let request = http::Request::builder()
                .method("POST")
                .uri(format!("https://{host}/x"))
                .body(())
                .expect("the request is one");
            let (response, mut send) = client.send_request(request, false).expect("a stream is free");
            send.reserve_capacity(body.len());
            send.send_data(body.into(), true).expect("the stream is open");
            http2::read(response)
        };
        // Several at once, no more than one window of the client's.
        let waiting: Vec<_> = (0..5).map(|_| ask("c.test", vec![b'x'; 10_000])).collect();
        for answer in waiting {
            let answer = answer.await.unwrap();
            assert_eq!((answer.status, answer.field("x-scheme")), (200, "https"));
            assert!(answer.text().contains(&"x".repeat(10_000)));
            assert_eq!(answer.field("x-sni"), "c.test");
        }
        let answer = ask("c.test", vec![b'y'; 300_000]).await.unwrap();
        assert!(answer.text().contains(&"y".repeat(300_000)), "many records and windows");
        let answer = ask("a.test", Vec::new()).await.unwrap();
        assert_eq!(answer.status, 421, "{}", answer.text());
        assert_eq!(ask("c.test", Vec::new()).await.unwrap().status, 200);
    });
}

#[test]
fn a_connection_in_the_clear_does_not_outlive_the_clear() {
    let ca = Authority::new("Test CA");
    let service = FakeService::start(answer::echo());
    let plain = config("half_close: false", &service.url());
    let options = narthex::StartOptions {
        config: narthex::ConfigInput::Text { text: plain.clone(), name: "narthex.yaml".into() },
        workers: Some(1),
        access_log: narthex::AccessOption::Off,
        ..narthex::StartOptions::default()
    };
    let gateway = narthex::Running::start(options).unwrap();
    let mut client = RawClient::connect(gateway.address("main").unwrap()).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    assert_eq!(client.exchange(request).unwrap().status, 200);
    let proven = format!("{}, tls: {{ clients: {{ all: {{ ca: {} }} }} }}", one(&ca), block(ca.pem()));
    gateway.apply(&config(&proven, &service.url())).unwrap();
    assert_eq!(client.exchange(request).unwrap().reason(), "misdirected_request");
    assert_eq!(service.log().len(), 1);
}

#[test]
fn more_than_any_buffer_holds_passes_whole() {
    // The client takes nothing until the service has said all that fits on the way: every write must wait and go on.
    let body: Vec<u8> = (0..16_000_000u32).map(|at| b'a' + (at % 23) as u8).collect();
    let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend_from_slice(&body);
    let ca = Authority::new("Test CA");
    let service = FakeService::start(answer::raw(response));
    let gateway = Gateway::start(&config(&one(&ca), &service.url())).unwrap();
    let options = TlsOptions::new(ca.pem(), "a.test");
    for only_tls12 in [false, true] {
        let options = TlsOptions { only_tls12, ..options.clone() };
        let mut client = TlsClient::connect(gateway.address("main").unwrap(), &options).unwrap();
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        std::thread::park_timeout(Duration::from_millis(300));
        let (status, text) = client.answer().unwrap();
        assert_eq!(status, 200);
        let (_, got) = text.split_once("\r\n\r\n").unwrap();
        assert!(got.as_bytes() == body, "{} bytes of {}", got.len(), body.len());
        // And the connection goes on.
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").unwrap();
        assert_eq!(client.answer().unwrap().1.len(), text.len() + "Connection: close\r\n".len());
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_is_noticed() {
    let ca = Authority::new("Test CA");
    let service = FakeService::start(answer::never());
    let gateway = Gateway::start(&config(&one(&ca), &service.url())).unwrap();
    let options = TlsOptions::new(ca.pem(), "a.test");
    let mut client = TlsClient::connect(gateway.address("main").unwrap(), &options).unwrap();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    service.wait_until(Duration::from_secs(10), |log| !log.is_empty()).unwrap();
    drop(client);
    // The request to the service ends with its client.
    let ended = |log: &[narthex_testkit::Received]| {
        log.iter().all(|request| !matches!(request.progress, narthex_testkit::Progress::Begun))
    };
    service.wait_until(Duration::from_secs(10), ended).unwrap();
}

/// An independent client asks for a second handshake on a connection of TLS 1.2: it gets none, and others are served on.
#[test]
fn a_renegotiation_is_refused() {
    let setup = Setup::start(one);
    let mut client = std::process::Command::new("openssl")
        .args(["s_client", "-tls1_2", "-servername", "a.test", "-connect", &setup.address().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs openssl");
    let mut input = client.stdin.take().unwrap();
    let mut output = BufReader::new(client.stdout.take().unwrap());
    let mut said = String::new();
    // The session is described when the handshake is done; then `R` at the beginning of a line asks for another one.
    while !said.contains("Verify return code") {
        assert!(output.read_line(&mut said).unwrap() > 0, "no handshake: {said}");
    }
    assert!(said.contains("TLSv1.2"), "{said}");
    input.write_all(b"R\n").unwrap();
    let mut problems = String::new();
    client.stderr.take().unwrap().read_to_string(&mut problems).unwrap();
    assert!(problems.contains("RENEGOTIATING"), "{problems}");
    let is_refused = ["no renegotiation", "unexpected message", "unexpected_message"];
    assert!(is_refused.iter().any(|sign| problems.contains(sign)), "{problems}");
    assert!(!client.wait().unwrap().success());
    assert_eq!(setup.connect("a.test").unwrap().get("a.test", "/").unwrap().0, 200);
}
