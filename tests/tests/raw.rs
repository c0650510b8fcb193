//! Listeners without HTTP: raw TCP, and TLS that passes through undecrypted, chosen by the name in the ClientHello.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use narthex_testkit::Workspace;
use narthex_tests::{Gateway, PATIENCE, Process, eventually};

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn connect(address: SocketAddr) -> TcpStream {
    patient(TcpStream::connect(address).unwrap())
}

/// A service that plays each connection by `script`.
fn service(script: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let script = script.clone();
            std::thread::spawn(move || script(patient(stream)));
        }
    });
    address
}

/// Says its name, then sends back what comes, until that ends.
fn echo(name: &'static str) -> SocketAddr {
    service(move |mut stream| {
        let mut buffer = vec![0; 64 * 1024];
        stream.write_all(name.as_bytes()).unwrap();
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..count]).is_err() {
                return;
            }
        }
    })
}

fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// A gateway with one listener; `services` and `listener` are the insides of their maps.
fn gateway(services: &str, listener: &str) -> Result<Gateway, String> {
    Gateway::start(&format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\", {listener} }} }}\nservices: {{ {services} }}\n"
    ))
}

fn tcp(service: SocketAddr, settings: &str) -> (Gateway, SocketAddr) {
    let gateway =
        gateway(&format!("s: {{ url: \"tcp://{service}\" }}"), &format!("tcp: {{ to: s {settings} }}"))
            .unwrap();
    let address = gateway.address("main").unwrap();
    (gateway, address)
}

#[test]
fn either_side_may_speak_first_and_end_first() {
    let (_gateway, address) = tcp(echo("hello"), "");
    let mut client = connect(address);
    assert_eq!(read(&mut client, 5), b"hello");
    client.write_all(b"ping").unwrap();
    assert_eq!(read(&mut client, 4), b"ping");
    client.write_all(b"last").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "last");

    let service = service(|mut stream| {
        stream.write_all(b"only this").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "heard you");
    });
    let (_gateway, address) = tcp(service, "");
    let mut client = connect(address);
    let mut all = String::new();
    client.read_to_string(&mut all).unwrap();
    assert_eq!(all, "only this");
    client.write_all(b"heard you").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
}

#[test]
fn much_passes_in_both_directions_at_once() {
    const BYTES: usize = 32 << 20;
    let (_gateway, address) = tcp(echo(""), "");
    let mut client = connect(address);
    let mut sender = client.try_clone().unwrap();
    let bytes: Vec<u8> = (0..BYTES).map(|at| (at % 253) as u8).collect();
    let sent = bytes.clone();
    let sending = std::thread::spawn(move || {
        sender.write_all(&sent).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    sending.join().unwrap();
    assert!(back == bytes);
}

#[test]
fn a_reset_is_a_reset_at_the_other_end() {
    let service = service(|mut stream| {
        assert_eq!(read(&mut stream, 3), b"cut");
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let (_gateway, address) = tcp(service, "");
    let mut client = connect(address);
    client.write_all(b"cut").unwrap();
    assert_eq!(client.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn an_idle_connection_ends() {
    let (_gateway, address) = tcp(echo("hello"), ", idle: 300ms");
    let mut client = connect(address);
    let mut all = String::new();
    client.read_to_string(&mut all).unwrap();
    assert_eq!(all, "hello");
}

#[test]
fn an_instance_that_cannot_be_reached_is_passed_over() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let open = echo("hello");
    let services = format!("s: {{ instances: [ \"tcp://{closed}\", \"tcp://{open}\" ] }}");
    let gateway = gateway(&services, "tcp: { to: s }").unwrap();
    for _ in 0..4 {
        assert_eq!(read(&mut connect(gateway.address("main").unwrap()), 5), b"hello");
    }
    let (_gateway, address) = tcp(closed, "");
    let cut = connect(address).read(&mut [0; 8]);
    assert!(
        matches!(cut, Err(ref error) if error.kind() == ErrorKind::ConnectionReset) || matches!(cut, Ok(0)),
        "{cut:?}"
    );
}

#[test]
fn the_proxy_protocol_says_who_the_client_is() {
    for version in ["v1", "v2"] {
        let (sent, got) = std::sync::mpsc::channel();
        let service = service(move |mut stream| {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            sent.send(all).unwrap();
        });
        let (_gateway, address) = tcp(service, &format!(", proxy_protocol: {version}"));
        let mut client = connect(address);
        client.write_all(b"data").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let own = client.local_addr().unwrap();
        let header = match version {
            "v1" => {
                format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", own.port(), address.port()).into_bytes()
            }
            _ => [
                &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..],
                &[127, 0, 0, 1, 127, 0, 0, 1],
                &own.port().to_be_bytes(),
                &address.port().to_be_bytes(),
            ]
            .concat(),
        };
        assert_eq!(got.recv_timeout(PATIENCE).unwrap(), [&header[..], b"data"].concat());
    }
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// A ClientHello that asks for this name, in records of so many bytes.
fn hello(name: Option<&str>, size: usize) -> Vec<u8> {
    let mut body = [&[3, 3][..], &[7; 32], &[0]].concat();
    body.extend(with_length(&[0x13, 0x01]));
    body.extend([1, 0]);
    let mut extensions = vec![0, 43, 0, 3, 2, 3, 4];
    if let Some(name) = name {
        let names = with_length(&[&[0][..], &with_length(name.as_bytes())].concat());
        extensions.extend([&[0, 0][..], &with_length(&names)].concat());
    }
    body.extend(with_length(&extensions));
    let message = [&[1, 0, (body.len() >> 8) as u8, body.len() as u8][..], &body].concat();
    message.chunks(size).flat_map(|part| [&[22, 3, 1][..], &with_length(part)].concat()).collect()
}

fn passthrough(default: &str) -> Gateway {
    let services: Vec<_> = ["exact", "suffix", "others"]
        .map(|name| format!("{name}: {{ url: \"tcp://{}\" }}", echo(name)))
        .to_vec();
    let listener = format!(
        "tls_passthrough: {{ to: {{ A.example: exact, \"*.b.example\": suffix {default} }} }}, \
         bounds: {{ header_time: 500ms, hello_bytes: 2KiB }}"
    );
    gateway(&services.join(", "), &listener).unwrap()
}

#[test]
fn tls_goes_where_its_name_points_byte_for_byte() {
    let gateway = passthrough(", \"*\": others");
    let address = gateway.address("main").unwrap();
    for (name, service) in [
        (Some("a.example"), "exact"),
        (Some("A.EXAMPLE"), "exact"),
        (Some("x.y.b.example"), "suffix"),
        (Some("b.example"), "others"),
        (None, "others"),
    ] {
        for size in [1_000, 7, 1] {
            let mut client = connect(address);
            let hello = [&hello(name, size)[..], b"early"].concat();
            for piece in hello.chunks(40) {
                client.write_all(piece).unwrap();
            }
            assert_eq!(read(&mut client, service.len()), service.as_bytes(), "{name:?}");
            assert_eq!(read(&mut client, hello.len()), hello, "{name:?}");
        }
    }
}

/// What comes until the end, or the reset, of the connection.
fn all_of(mut client: TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match client.read_to_end(&mut all) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => all,
    }
}

#[test]
fn what_has_no_service_is_closed_at_once() {
    let gateway = passthrough("");
    let address = gateway.address("main").unwrap();
    for (bytes, answer) in [
        (hello(Some("nobody.example"), 1_000), &[21, 3, 3, 0, 2, 2, 112][..]),
        (hello(None, 1_000), &[21, 3, 3, 0, 2, 2, 112]),
        (b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".to_vec(), &[]),
        // A whole that is longer than the bound, and one that never comes.
        ([&[22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc][..], &[0; 4_000]].concat(), &[]),
        (hello(Some("a.example"), 1_000)[..20].to_vec(), &[]),
    ] {
        let mut client = connect(address);
        // It may be closed before all is written.
        let _ = client.write_all(&bytes);
        assert_eq!(all_of(client), answer);
    }
}

#[test]
fn passed_connections_are_logged_and_end_with_the_drain() {
    let files = Workspace::new().unwrap();
    let log = files.file("access.log");
    let mut gateway = Process::start(
        &format!(
            "narthex: 1\naccess_log: {{ to: \"{}\" }}\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
             listeners: {{ main: {{ address: \"127.0.0.1:0\", tcp: {{ to: s }} }} }}\nservices: {{ s: {{ url: \"tcp://{}\" }} }}\n",
            log.display(),
            echo("hello")
        ),
        &[],
    );
    let mut client = connect(gateway.address("main"));
    assert_eq!(read(&mut client, 5), b"hello");
    client.write_all(b"ab").unwrap();
    assert_eq!(read(&mut client, 2), b"ab");
    gateway.signal("TERM");
    assert!(all_of(client).is_empty());
    assert_eq!(gateway.wait(PATIENCE).code(), Some(0), "{}", gateway.log());
    let line = eventually("a line", PATIENCE, || {
        std::fs::read_to_string(&log).ok().filter(|text| text.contains("tunnel"))
    });
    let line: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
    for (key, value) in [("listener", "main"), ("protocol", "TCP"), ("service", "s"), ("tunnel", "drained")] {
        assert_eq!(line[key], value, "{line}");
    }
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&2.into(), &7.into()), "{line}");
    assert_eq!((line.get("status"), line.get("path")), (None, None), "{line}");
}

#[test]
fn what_cannot_be_is_refused() {
    let http = "s: { url: \"http://127.0.0.1:1\" }";
    for (services, listener, message) in [
        (http, "tcp: { to: t }", "there is no service `t`"),
        (http, "tcp: { to: s }, tls_passthrough: { to: { \"*\": s } }", "exclude each other"),
        ("s: { url: \"h2c://127.0.0.1:1\" }", "tcp: { to: s }", "speaks HTTP/2"),
        ("s: { url: \"tcp://127.0.0.1\" }", "tcp: { to: s }", "needs a port"),
        (http, "tls_passthrough: { to: { \"a b\": s } }", "is not a host"),
        (http, "tcp: { to: s, proxy_protocol: v3 }", "v3"),
    ] {
        let problems = gateway(services, listener).map(drop).unwrap_err();
        assert!(problems.contains(message), "{message}\n{problems}");
    }
}
