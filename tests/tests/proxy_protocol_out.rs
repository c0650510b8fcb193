//! Services that are told by the PROXY protocol who the client is: each client has connections of its own, which begin with
//! the header and end with the client's.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use narthex_testkit::{FakeService, RawClient, Workspace, answer};
use narthex_tests::{Gateway, PATIENCE, eventually};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A connection as the service saw it.
#[derive(Debug, Clone, Default)]
struct Seen {
    header: String,
    requests: usize,
    has_ended: bool,
}

/// A service that reads a line before HTTP, and keeps its connections.
fn service() -> (SocketAddr, Arc<Mutex<Vec<Seen>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let all = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&all);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let seen = Arc::clone(&seen);
            let at = {
                let mut all = seen.lock().unwrap();
                all.push(Seen::default());
                all.len() - 1
            };
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                let _ = reader.read_line(&mut line);
                seen.lock().unwrap()[at].header = line;
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        seen.lock().unwrap()[at].has_ended = true;
                        return;
                    }
                    if line == "\r\n" {
                        seen.lock().unwrap()[at].requests += 1;
                        let _ = (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                    }
                }
            });
        }
    });
    (address, all)
}

fn gateway(listener: &str, service: &str) -> Gateway {
    let config = format!(
        "narthex: 1\nadmin: {{ address: \"127.0.0.1:0\" }}\nlisteners: {{ main: {{ {listener} }} }}\n\
         services: {{ s: {{ {service} }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s }} }} }} }}\n"
    );
    Gateway::start(&config).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn each_client_has_its_own_connection_which_ends_with_its_own() {
    let (address, seen) = service();
    let gateway =
        gateway("address: \"127.0.0.1:0\"", &format!("url: \"http://{address}\", proxy_protocol: v1"));
    let at = gateway.address("main").unwrap();
    let connect = || {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let ask = |stream: &mut TcpStream| {
        stream.write_all(GET.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            let mut piece = [0; 1024];
            let count = stream.read(&mut piece).unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..count]);
        }
    };
    let (mut first, mut second) = (connect(), connect());
    for _ in 0..3 {
        ask(&mut first);
        ask(&mut second);
    }
    let header = |client: &TcpStream| {
        let client = client.local_addr().unwrap();
        format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", client.port(), at.port())
    };
    let all = seen.lock().unwrap().clone();
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!([&all[0].header, &all[1].header], [&header(&first), &header(&second)]);
    assert_eq!([all[0].requests, all[1].requests], [3, 3]);
    drop(first);
    eventually("the first one's connection ends with it", PATIENCE, || {
        seen.lock().unwrap()[0].has_ended.then_some(())
    });
    ask(&mut second);
    let mut third = connect();
    ask(&mut third);
    let all = seen.lock().unwrap().clone();
    assert!(!all[1].has_ended && all[1].requests == 4, "{all:?}");
    assert_eq!((all.len(), &all[2].header), (3, &header(&third)));
    gateway.stop();
}

#[test]
fn a_client_of_a_unix_socket_is_unknown() {
    let (address, seen) = service();
    let workspace = Workspace::new().unwrap();
    let path = workspace.file("a.sock");
    let listener = format!("address: \"unix:{}\"", path.display());
    let gateway = gateway(&listener, &format!("url: \"http://{address}\", proxy_protocol: v1"));
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ok"), "{answer}");
    assert_eq!(seen.lock().unwrap()[0].header, "PROXY UNKNOWN\r\n");
    gateway.stop();
}

#[test]
fn a_copy_has_a_connection_for_itself() {
    let (address, seen) = service();
    let service = FakeService::start(answer::echo());
    let config = format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\n\
         services: {{ s: {{ url: \"{}\" }}, shadow: {{ url: \"http://{address}\", proxy_protocol: v1 }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s, \
         mirror: {{ to: shadow }} }} }} }} }}\n",
        service.url()
    );
    let gateway = Gateway::start(&config).unwrap_or_else(|error| panic!("{error}"));
    let at = gateway.address("main").unwrap();
    for (place, ip) in ["127.0.0.7", "127.0.0.8"].into_iter().enumerate() {
        let mut client = from(ip, at);
        client.write_all(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        client.read_to_end(&mut Vec::new()).unwrap();
        let one = eventually("the copy's connection has ended", PATIENCE, || {
            seen.lock().unwrap().get(place).filter(|one| one.has_ended).cloned()
        });
        assert!(
            one.requests == 1 && one.header.starts_with(&format!("PROXY TCP4 {ip} 127.0.0.1 ")),
            "{one:?}"
        );
    }
    gateway.stop();
}

/// A client at this address of the loopback.
fn from(ip: &str, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(ip.parse::<IpAddr>().unwrap(), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn what_we_say_a_receiver_reads_over_either_protocol_and_health_checks_speak_for_themselves() {
    for (scheme, version) in [("http", "v1"), ("http", "v2"), ("h2c", "v1"), ("h2c", "v2")] {
        let service = FakeService::start(answer::echo());
        let receiver = gateway(
            "address: \"127.0.0.1:0\", proxy_protocol: { from: [127.0.0.0/8] }",
            &format!("url: \"{}\"", service.url()),
        );
        let to = receiver.address("main").unwrap();
        let gateway = gateway(
            "address: \"127.0.0.1:0\"",
            &format!(
                "url: \"{scheme}://{to}\", proxy_protocol: {version}, panic_below: 0%, health: {{ path: /healthz, every: 100ms }}"
            ),
        );
        let at = gateway.address("main").unwrap();
        for ip in ["127.0.0.7", "127.0.0.8", "127.0.0.7"] {
            let mut client = from(ip, at);
            client.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{scheme} {version} {answer}");
            let log = service.log();
            let asked = log.iter().rev().find(|one| one.target() == "/x").unwrap();
            assert_eq!(asked.field("x-forwarded-for"), Some(ip), "{scheme} {version}");
        }
        let checked = service.log().into_iter().find(|one| one.target() == "/healthz").unwrap();
        assert_eq!(checked.field("x-forwarded-for"), Some("127.0.0.1"));
        let admin = gateway.admin().unwrap();
        eventually("all connections have ended with their clients", PATIENCE, || {
            let get = "GET /status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            let status = RawClient::connect(admin).unwrap().exchange(get).unwrap().json();
            (status["services"]["s"]["connections"] == 0).then_some(())
        });
        gateway.stop();
        receiver.stop();
    }
}
