//! WebSocket over TLS on HTTP/1.1, on either side: with tungstenite on rustls, and with Python's `websockets` on OpenSSL.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::net::{SocketAddr, TcpStream};

use narthex_testkit::{Authority, TlsClient, TlsOptions, Workspace};
use narthex_tests::websocket::{echo, unlimited};
use narthex_tests::{Gateway, Program, python};
use rustls::{ClientConnection, StreamOwned};
use tokio_tungstenite::tungstenite::client::client_with_config;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket};

const TALK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/websocket/talk.py");

/// An authority, and its certificate for `a.test` in files.
struct Proof {
    authority: Authority,
    workspace: Workspace,
}

impl Proof {
    fn new() -> Self {
        let (authority, workspace) = (Authority::new("WebSocket"), Workspace::new().unwrap());
        let issued = authority.issue(&["a.test", "127.0.0.1"]);
        workspace.write("ca.pem", authority.pem()).unwrap();
        workspace.write("cert.pem", &issued.cert).unwrap();
        workspace.write("key.pem", &issued.key).unwrap();
        Self { authority, workspace }
    }

    fn file(&self, name: &str) -> String {
        self.workspace.file(name).display().to_string()
    }

    /// A gateway on TLS in front of the service at this url.
    fn gateway(&self, url: &str) -> Gateway {
        let tls = if url.starts_with("https") {
            format!(", tls: {{ ca: {} }}", self.file("ca.pem"))
        } else {
            String::new()
        };
        Gateway::start(&format!(
            "narthex: 1
listeners: {{ main: {{ address: \"127.0.0.1:0\", certificates: [ {{ cert: {}, key: {{ file: {} }} }} ] }} }}
services: {{ s: {{ url: \"{url}\"{tls} }} }}
gateways:
  g:
    listeners: [main]
    routes:
      all: {{ match: \"/{{rest=**}}\", public: true, to: s }}
      idle: {{ match: /idle, public: true, to: s, timeouts: {{ tunnel_idle: 300ms }} }}
",
            self.file("cert.pem"),
            self.file("key.pem")
        ))
        .unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn connect(
        &self,
        address: SocketAddr,
        path: &str,
        only_tls12: bool,
    ) -> WebSocket<StreamOwned<ClientConnection, TcpStream>> {
        let options = TlsOptions { only_tls12, ..TlsOptions::new(self.authority.pem(), "a.test") };
        let stream = TlsClient::connect(address, &options).unwrap().into_stream();
        let connected = client_with_config(format!("wss://a.test{path}"), stream, Some(unlimited()));
        connected.map_err(|error| error.to_string()).unwrap().0
    }

    /// Everything that two ends say to each other.
    fn converse(&self, address: SocketAddr) {
        for only_tls12 in [false, true] {
            let mut socket = self.connect(address, "/chat", only_tls12);
            for length in [0, 1, 125, 126, 16_383, 16_384, 16_385, 65_536, 16 << 20] {
                let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
                socket.send(Message::binary(payload.clone())).unwrap();
                assert!(socket.read().unwrap().into_data() == payload, "{length} bytes");
            }
            socket.send(Message::Ping("are you there".into())).unwrap();
            assert_eq!(socket.read().unwrap(), Message::Pong("are you there".into()));
            let goodbye = CloseFrame { code: CloseCode::from(4242), reason: "enough".into() };
            socket.close(Some(goodbye.clone())).unwrap();
            assert_eq!(socket.read().unwrap(), Message::Close(Some(goodbye)));
            // With `close_notify`: without it, the end would be an error of the stream.
            assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
        }
    }
}

#[test]
fn from_tls_to_plain() {
    let proof = Proof::new();
    let gateway = proof.gateway(&format!("http://{}", echo()));
    proof.converse(gateway.address("main").unwrap());
}

#[test]
fn from_tls_to_tls() {
    let proof = Proof::new();
    let behind = proof.gateway(&format!("http://{}", echo()));
    let gateway = proof.gateway(&format!("https://{}", behind.address("main").unwrap()));
    proof.converse(gateway.address("main").unwrap());
}

#[test]
fn an_idle_tunnel_is_told_so_and_ends() {
    let proof = Proof::new();
    let gateway = proof.gateway(&format!("http://{}", echo()));
    let mut socket = proof.connect(gateway.address("main").unwrap(), "/idle", false);
    socket.send(Message::text("a")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("a"));
    match socket.read().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
}

/// Python talks to Python, in both versions of TLS.
fn python_talks(scheme: &str, files: &[&str]) {
    let proof = Proof::new();
    let files: Vec<_> = files.iter().map(|name| proof.file(name)).collect();
    let Some(mut python_serves) = python("websockets") else { return };
    // With a certificate and its key: on TLS.
    let service = Program::start(python_serves.args([TALK, "serve"]).args(&files));
    let gateway = proof.gateway(&format!("{scheme}://127.0.0.1:{}", service.port()));
    let address = gateway.address("main").unwrap().to_string();
    let mut command = python("websockets").unwrap();
    let output = command.args([TALK, "talk", &address, &proof.file("ca.pem")]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().collect::<Vec<_>>(), ["TLSv1_2", "TLSv1_3"]);
}

#[test]
fn another_library_and_another_tls_to_plain() {
    python_talks("http", &[]);
}

#[test]
fn another_library_and_another_tls_to_tls() {
    python_talks("https", &["cert.pem", "key.pem"]);
}
