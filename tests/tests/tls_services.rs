//! TLS to services: who is believed, what is proven, which protocol is spoken, and how each failure is told.
//!
//! The service is a gateway too, so that both sides are the real ones.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::net::{SocketAddr, TcpListener};

use narthex_testkit::{Authority, FakeService, Issued, RawClient, Response, Wanted, answer};
use narthex_tests::Gateway;

fn block(pem: &str) -> String {
    serde_json::to_string(pem).unwrap()
}

fn pair(issued: &Issued) -> String {
    format!("cert: {}, key: {}", block(&issued.cert), block(&issued.key))
}

/// A service that speaks TLS: it shows this certificate, with these settings of its listener.
fn secure_service(behind: &FakeService, certificate: &Issued, listener: &str) -> Gateway {
    let text = format!(
        "narthex: 1
listeners:
  main: {{ address: \"127.0.0.1:0\", certificates: [ {{ {} }} ] {listener} }}
services:
  echo: {{ url: \"{}\", host: keep }}
gateways:
  g:
    listeners: [main]
    routes:
      all:
        match: \"/{{rest=**}}\"
        public: true
        policies:
          - headers:
              request:
                set: {{ X-Sni: \"{{tls.sni}}\", X-Subject: \"{{client.cert.subject ?? \\\"none\\\"}}\" }}
        to: echo
",
        pair(certificate),
        behind.url()
    );
    Gateway::start(&text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A gateway in front of the service at `address`, with these settings of the service.
fn front(address: SocketAddr, host: &str, settings: &str) -> Result<Gateway, String> {
    let port = address.port();
    // The name is not one of DNS: the instances are addresses, and `tls.name` says what they must prove.
    let sent = if host.is_empty() { "service" } else { "keep" };
    let name = if host.is_empty() { String::new() } else { format!("name: {host}, ") };
    Gateway::start(&format!(
        "narthex: 1
listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}
services:
  secure: {{ url: \"https://127.0.0.1:{port}\", host: {sent}, tls: {{ {name}{settings} }} }}
gateways:
  g:
    listeners: [main]
    routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: secure }} }}
"
    ))
}

fn ask(gateway: &Gateway) -> Response {
    let mut client = RawClient::connect(gateway.address("main").unwrap()).unwrap();
    client.exchange("GET /x HTTP/1.1\r\nHost: s.test\r\nConnection: close\r\n\r\n").unwrap()
}

struct Setup {
    ca: Authority,
    behind: FakeService,
}

impl Setup {
    fn new() -> Self {
        Self { ca: Authority::new("Services"), behind: FakeService::start(answer::echo()) }
    }

    /// Asks through a gateway that has these settings for a service that shows this certificate.
    fn asked(&self, certificate: &Issued, host: &str, settings: &str) -> Response {
        let service = secure_service(&self.behind, certificate, "");
        let gateway = front(service.address("main").unwrap(), host, settings).unwrap();
        ask(&gateway)
    }

    fn ca(&self) -> String {
        format!("ca: {}", block(self.ca.pem()))
    }
}

#[test]
fn the_instance_must_prove_its_name() {
    let setup = Setup::new();
    let good = setup.ca.issue(&["s.test"]);
    let response = setup.asked(&good, "s.test", &setup.ca());
    assert_eq!(response.status, 200, "{}", response.text());
    assert!(response.text().contains("[\"X-Sni\",\"s.test\"]"), "{}", response.text());

    let refused = |certificate: &Issued, host: &str, settings: &str| {
        let response = setup.asked(certificate, host, settings);
        assert_eq!((response.status, response.reason().as_str()), (502, "tls_failed"), "{}", response.text());
    };
    refused(&setup.ca.issue(&["other.test"]), "s.test", &setup.ca());
    refused(&Authority::new("Nobody").issue(&["s.test"]), "s.test", &setup.ca());
    // By default the system's authorities are believed, and none of them knows this one.
    refused(&good, "s.test", "");
    let expired =
        setup.ca.issue_wanted(&Wanted { names: &["s.test"], is_expired: true, ..Wanted::default() });
    refused(&expired, "s.test", &setup.ca());
    let revoked = setup.ca.issue_wanted(&Wanted { names: &["s.test"], serial: 666, ..Wanted::default() });
    let crl = format!("{}, crl: {}", setup.ca(), block(&setup.ca.revoke(&[666])));
    refused(&revoked, "s.test", &crl);
    assert_eq!(setup.asked(&revoked, "s.test", &setup.ca()).status, 200);
}

#[test]
fn an_address_is_proven_where_no_name_is_given() {
    let setup = Setup::new();
    assert_eq!(setup.asked(&setup.ca.issue(&["127.0.0.1"]), "", &setup.ca()).status, 200);
    let response = setup.asked(&setup.ca.issue(&["s.test"]), "", &setup.ca());
    assert_eq!(response.reason(), "tls_failed");
}

#[test]
fn a_spiffe_id_stands_for_a_name() {
    let setup = Setup::new();
    let issued = |uris: &[&str]| {
        setup.ca.issue_wanted(&Wanted { names: &["s.test", "127.0.0.1"], uris, ..Wanted::default() })
    };
    let orders = "spiffe://test/orders";
    let settings = format!("{}, spiffe: \"{orders}\"", setup.ca());
    assert_eq!(setup.asked(&issued(&[orders]), "", &settings).status, 200);
    for wrong in
        [&["spiffe://test/users"][..], &[], &[orders, "spiffe://test/users"], &["spiffe://test/orders/x"]]
    {
        let response = setup.asked(&issued(wrong), "", &settings);
        assert_eq!(response.reason(), "tls_failed", "{wrong:?}: {}", response.text());
    }
    let other = Authority::new("Nobody");
    let forged = other.issue_wanted(&Wanted { uris: &[orders], ..Wanted::default() });
    assert_eq!(setup.asked(&forged, "", &settings).reason(), "tls_failed");
}

#[test]
fn the_gateway_proves_itself_where_the_service_asks() {
    let setup = Setup::new();
    let clients = Authority::new("Clients");
    let listener = format!(", tls: {{ clients: {{ all: {{ ca: {} }} }} }}", block(clients.pem()));
    let service = secure_service(&setup.behind, &setup.ca.issue(&["s.test"]), &listener);
    let address = service.address("main").unwrap();
    let own = clients.issue_wanted(&Wanted { common_name: "edge", ..Wanted::default() });
    let gateway = front(address, "s.test", &format!("{}, {}", setup.ca(), pair(&own))).unwrap();
    let response = ask(&gateway);
    assert_eq!(response.status, 200, "{}", response.text());
    assert!(response.text().contains("[\"X-Subject\",\"CN=edge\"]"), "{}", response.text());
    for settings in [setup.ca(), format!("{}, {}", setup.ca(), pair(&setup.ca.issue(&["edge"])))] {
        let gateway = front(address, "s.test", &settings).unwrap();
        let response = ask(&gateway);
        // In TLS 1.3 the refusal comes after the handshake, in place of an answer.
        assert_eq!(response.status, 502, "{}", response.text());
        assert!(
            ["tls_failed", "service_closed"].contains(&response.reason().as_str()),
            "{}",
            response.text()
        );
    }
}

#[test]
fn the_protocol_is_agreed_upon_where_that_is_left_open() {
    let setup = Setup::new();
    let issued = setup.ca.issue(&["s.test"]);
    for (listens, protocol, expected) in [
        ("[http1, http2]", "auto", "2.0 narthex"),
        ("[http1]", "auto", "1.1 narthex"),
        ("[http1, http2]", "http1", "1.1 narthex"),
        ("[http1, http2]", "http2", "2.0 narthex"),
        ("[http1]", "http2", "tls_failed"),
    ] {
        let service = secure_service(&setup.behind, &issued, &format!(", http: {listens}"));
        let port = service.address("main").unwrap().port();
        let gateway = Gateway::start(&format!(
            "narthex: 1
listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}
services:
  secure:
    url: \"https://127.0.0.1:{port}\"
    protocol: {protocol}
    host: s.test
    tls: {{ name: s.test, {} }}
gateways:
  g:
    listeners: [main]
    routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: secure }} }}
",
            setup.ca()
        ))
        .unwrap();
        for _ in 0..2 {
            let response = ask(&gateway);
            let text = response.text();
            // The service's own `Via` says what it was asked by.
            assert!(text.contains(expected), "{listens} {protocol}: {expected}\n{text}");
        }
    }
}

#[test]
fn connections_are_kept_but_not_beyond_their_settings() {
    let setup = Setup::new();
    let service = secure_service(&setup.behind, &setup.ca.issue(&["s.test"]), "");
    let port = service.address("main").unwrap().port();
    let text = |settings: &str| {
        format!(
            "narthex: 1
listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}
services:
  secure: {{ url: \"https://127.0.0.1:{port}\", host: s.test, tls: {{ {settings} }} }}
gateways:
  g:
    listeners: [main]
    routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: secure }} }}
"
        )
    };
    let good = format!("name: s.test, {}", setup.ca());
    let options = narthex::StartOptions {
        config: narthex::ConfigInput::Text { text: text(&good), name: "narthex.yaml".into() },
        workers: Some(1),
        access_log: narthex::AccessOption::Off,
        ..narthex::StartOptions::default()
    };
    let gateway = narthex::Running::start(options).unwrap();
    let ask = || {
        let mut client = RawClient::connect(gateway.address("main").unwrap()).unwrap();
        client.exchange("GET /x HTTP/1.1\r\nHost: s.test\r\nConnection: close\r\n\r\n").unwrap()
    };
    let opened = || gateway.status().unwrap().services["secure"].connections;
    for _ in 0..5 {
        assert_eq!(ask().status, 200);
    }
    assert_eq!(opened(), 1);
    // Whoever is believed no longer is not spoken to on a connection of before.
    let other = Authority::new("Nobody");
    gateway.apply(&text(&format!("name: s.test, ca: {}", block(other.pem())))).unwrap();
    assert_eq!(ask().reason(), "tls_failed");
    gateway.apply(&text(&good)).unwrap();
    assert_eq!(ask().status, 200);
    // And nobody speaks in the clear where TLS was spoken, or the other way round.
    let plain = text("").replace("https://", "http://").replace(", tls: {  }", "");
    gateway.apply(&plain).unwrap();
    assert_eq!(ask().status, 400, "the service's port speaks TLS");
    gateway.apply(&text(&good)).unwrap();
    assert_eq!(ask().status, 200);
}

#[test]
fn silence_in_the_handshake_is_a_time_out_and_nonsense_a_failure() {
    let ca = Authority::new("Services");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let gateway = Gateway::start(&format!(
        "narthex: 1
listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}
services:
  secure: {{ url: \"https://127.0.0.1:{port}\", timeouts: {{ tls: 100ms }}, tls: {{ ca: {} }} }}
gateways:
  g:
    listeners: [main]
    routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: secure }} }}
",
        block(ca.pem())
    ))
    .unwrap();
    let response = ask(&gateway);
    assert_eq!((response.status, response.reason().as_str()), (504, "tls_timeout"));
    // A port that speaks HTTP in the clear answers with 400, which is no record of TLS.
    let plain = Gateway::start(
        "narthex: 1\nlisteners: { main: { address: \"127.0.0.1:0\" } }\n\
        gateways: { g: { listeners: [main], routes: {} } }\n",
    )
    .unwrap();
    let gateway =
        front(plain.address("main").unwrap(), "s.test", &format!("ca: {}", block(ca.pem()))).unwrap();
    assert_eq!(ask(&gateway).reason(), "tls_failed");
}

#[test]
fn big_bodies_pass_both_ways_over_either_protocol() {
    let setup = Setup::new();
    let service = secure_service(&setup.behind, &setup.ca.issue(&["s.test"]), "");
    let port = service.address("main").unwrap().port();
    for protocol in ["http1", "http2"] {
        let gateway = Gateway::start(&format!(
            "narthex: 1
listeners: {{ main: {{ address: \"127.0.0.1:0\" }} }}
services:
  secure: {{ url: \"https://127.0.0.1:{port}\", protocol: {protocol}, host: s.test, tls: {{ name: s.test, {} }} }}
gateways:
  g:
    listeners: [main]
    routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: secure }} }}
",
            setup.ca()
        ))
        .unwrap();
        let body = "0123456789abcdef".repeat(60_000);
        let mut client = RawClient::connect(gateway.address("main").unwrap()).unwrap();
        for _ in 0..2 {
            let head = format!("POST /x HTTP/1.1\r\nHost: s.test\r\nContent-Length: {}\r\n\r\n", body.len());
            let response = client.exchange(head + &body).unwrap();
            assert_eq!(response.status, 200);
            assert!(response.text().contains(&body), "{protocol}");
        }
    }
}

#[test]
fn several_names_need_one_to_prove() {
    let error = |services: &str| {
        let text = format!(
            "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\nservices:\n  s: {{ {services} }}\n\
             gateways: {{ g: {{ listeners: [main], routes: {{ r: {{ match: /, public: true, to: s }} }} }} }}\n"
        );
        Gateway::start(&text).map(|_| ()).expect_err("it is refused")
    };
    let several = error("instances: [ \"https://a.test\", \"https://b.test\" ]");
    assert!(several.contains("ambiguous_name"), "{several}");
    let lonely = error("url: \"https://a.test\", tls: { cert: \"-----BEGIN\" }");
    assert!(lonely.contains("a certificate needs its key"), "{lonely}");
    let plain = error("url: \"http://a.test\", tls: { name: a.test }");
    assert!(plain.contains("`tls` has no effect"), "{plain}");
}
