//! Unix sockets: listeners on them and on several addresses, who a client is there, what becomes of a socket's file; services
//! behind them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use narthex_testkit::{FakeService, RawClient, Workspace, answer};
use narthex_tests::{Gateway, PATIENCE, Process, eventually};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// What a client is answered, to the end.
fn exchange(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn ask(path: &Path, request: &str) -> String {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    exchange(stream, request)
}

fn ask_at(address: SocketAddr, request: &str) -> String {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    exchange(stream, request)
}

/// A configuration with this listener, whose routes tell what they know of the client.
fn config(listener: &str, service: &FakeService) -> String {
    format!(
        "narthex: 1\nadmin: {{ address: \"127.0.0.1:0\" }}\nlisteners: {{ main: {{ {listener} }} }}\n\
         services: {{ s: {{ url: \"{}\" }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ \
           all: {{ match: \"/{{rest=**}}\", public: true, to: s }}, \
           who: {{ match: \"/who\", public: true, to: {{ reply: {{ body: \"<{{client.ip}}>\" }} }} }}, \
           near: {{ match: \"/near\", public: true, policies: [ ip_access: {{ allow: [127.0.0.0/8] }} ], to: s }}, \
           far: {{ match: \"/far\", public: true, policies: [ ip_access: {{ deny: [127.0.0.1] }} ], to: s }} \
         }} }} }}\n",
        service.url()
    )
}

fn seen(service: &FakeService, name: &str) -> String {
    service.log().last().unwrap().field(name).unwrap_or("").to_owned()
}

#[test]
fn a_client_of_a_unix_socket_is_shown_as_such_and_judged_as_this_machine() {
    let service = FakeService::start(answer::echo());
    let workspace = Workspace::new().unwrap();
    let path = workspace.file("a.sock");
    let log = workspace.file("access.log");
    let listener = format!("address: \"unix:{}\", mode: \"0600\", forwarded: both", path.display());
    let text = format!("{}access_log: {{ to: \"{}\" }}\n", config(&listener, &service), log.display());
    let mut process = Process::start(&text, &[]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let asked = |target: &str| ask(&path, &GET.replace("/x", target));
    assert!(asked("/x").starts_with("HTTP/1.1 200"));
    assert_eq!(seen(&service, "x-forwarded-for"), "unix:");
    assert_eq!(seen(&service, "forwarded"), "for=unknown;host=\"a\";proto=http");
    assert!(asked("/who").ends_with("<unix:>"));
    assert!(asked("/near").starts_with("HTTP/1.1 200"));
    assert!(asked("/far").starts_with("HTTP/1.1 403"));
    let line = eventually("the line is written", PATIENCE, || {
        std::fs::read_to_string(&log)
            .ok()?
            .lines()
            .find(|line| line.contains("\"path\":\"/x\""))
            .map(str::to_owned)
    });
    assert!(line.contains("\"client\":\"unix:\""), "{line}");
    process.signal("TERM");
    assert!(process.wait(PATIENCE).success());
    assert!(!path.exists(), "the file goes with the gateway");
}

#[test]
fn trusted_hops_count_behind_a_unix_socket_too() {
    let service = FakeService::start(answer::echo());
    let workspace = Workspace::new().unwrap();
    let path = workspace.file("a.sock");
    let listener = format!("address: \"unix:{}\", trusted_hops: 1", path.display());
    let gateway = Gateway::start(&config(&listener, &service)).unwrap_or_else(|error| panic!("{error}"));
    let get = GET.replace("/x", "/who").replace("Host: a\r\n", "Host: a\r\nX-Forwarded-For: 192.0.2.7\r\n");
    assert!(ask(&path, &get).ends_with("<192.0.2.7>"));
    assert!(ask(&path, &get.replace("/who", "/near")).starts_with("HTTP/1.1 403"));
    gateway.stop();
}

#[test]
fn connections_on_a_unix_socket_are_bounded() {
    let service = FakeService::start(answer::echo());
    let workspace = Workspace::new().unwrap();
    let path = workspace.file("a.sock");
    let listener = format!("address: \"unix:{}\", bounds: {{ connections_per_ip: 1 }}", path.display());
    let gateway = Gateway::start(&config(&listener, &service)).unwrap_or_else(|error| panic!("{error}"));
    let mut first = UnixStream::connect(&path).unwrap();
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    first.write_all(GET.replace("Connection: close\r\n", "").as_bytes()).unwrap();
    assert!(first.read(&mut [0; 64]).unwrap() > 0);
    let refused = ask(&path, "");
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("connections_per_ip"), "{refused}");
    gateway.stop();
}

#[test]
fn one_listener_has_several_addresses_and_changes_them_by_reload() {
    let service = FakeService::start(answer::echo());
    let workspace = Workspace::new().unwrap();
    let (first, second) = (workspace.file("a.sock"), workspace.file("b.sock"));
    let all = |paths: &[&Path], more: &str| {
        let paths: Vec<_> = paths.iter().map(|path| format!("\"unix:{}\"", path.display())).collect();
        config(&format!("address: [ \"127.0.0.1:0\", {} ]{more}", paths.join(", ")), &service)
    };
    let process = Process::start(&all(&[&first], ""), &[]);
    let tcp = process.address("main");
    let status = process.get("/status").json();
    assert_eq!(status["listeners"]["main"].as_array().unwrap().len(), 2, "{status}");
    assert!(ask_at(tcp, GET).starts_with("HTTP/1.1 200"));
    assert!(ask(&first, GET).starts_with("HTTP/1.1 200"));
    let kept = UnixStream::connect(&first).unwrap();
    kept.set_read_timeout(Some(PATIENCE)).unwrap();
    let reload = |text: &str| {
        let version = process.version();
        process.workspace().write("narthex.yaml", text).unwrap();
        process.signal("HUP");
        eventually("it is live", PATIENCE, || (process.version() > version).then_some(()));
    };
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let before = inode(&first);
    reload(&all(&[&first, &second], ", mode: \"0666\""));
    assert_eq!(inode(&first), before, "what stays is left alone");
    assert!(exchange(kept, GET).starts_with("HTTP/1.1 200"), "and so are its connections");
    for path in [&first, &second] {
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o666);
        assert!(ask(path, GET).starts_with("HTTP/1.1 200"));
    }
    reload(&all(&[&second], ""));
    eventually("the file of what is gone is gone", PATIENCE, || (!first.exists()).then_some(()));
    assert_eq!(process.address("main"), tcp);
    drop(process);
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_refused() {
    let service = FakeService::start(answer::echo());
    let workspace = Workspace::new().unwrap();
    let path = workspace.file("a.sock");
    let text = config(&format!("address: \"unix:{}\"", path.display()), &service);
    let mut killed = Process::start(&text, &[]);
    let refused = Gateway::start(&text).err().expect("the socket is in use");
    assert!(refused.contains(&format!("unix:{} is in use by another process", path.display())), "{refused}");
    assert!(ask(&path, GET).starts_with("HTTP/1.1 200"), "it is left alone");
    killed.signal("KILL");
    killed.wait(PATIENCE);
    assert!(path.exists(), "nobody has tidied up");
    let gateway = Gateway::start(&text).unwrap_or_else(|error| panic!("{error}"));
    assert!(ask(&path, GET).starts_with("HTTP/1.1 200"));
    gateway.stop();
    assert!(!path.exists());
}

#[test]
fn a_client_by_ipv4_has_its_ipv4_address_on_a_socket_of_both_families() {
    let service = FakeService::start(answer::echo());
    let workspace = Workspace::new().unwrap();
    let log = workspace.file("access.log");
    let text = config("address: \"[::]:0\", forwarded: both", &service);
    let text = format!("{text}access_log: {{ to: \"{}\" }}\n", log.display());
    let process = Process::start(&text, &[]);
    let port = process.address("main").port();
    let four = SocketAddr::from(([127, 0, 0, 1], port));
    assert!(ask_at(four, GET).starts_with("HTTP/1.1 200"));
    assert_eq!(seen(&service, "x-forwarded-for"), "127.0.0.1");
    assert_eq!(seen(&service, "forwarded"), "for=127.0.0.1;host=\"a\";proto=http");
    assert!(ask_at(four, &GET.replace("/x", "/who")).ends_with("<127.0.0.1>"));
    assert!(ask_at(four, &GET.replace("/x", "/far")).starts_with("HTTP/1.1 403"));
    eventually("the line is written", PATIENCE, || {
        let lines = std::fs::read_to_string(&log).ok()?;
        lines
            .lines()
            .any(|line| line.contains("\"/x\"") && line.contains("\"client\":\"127.0.0.1\""))
            .then_some(())
    });
    let six = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
    assert_eq!(RawClient::connect(six).unwrap().exchange(GET).unwrap().status, 200);
    assert_eq!(seen(&service, "x-forwarded-for"), "::1");
    assert_eq!(seen(&service, "forwarded"), "for=\"[::1]\";host=\"a\";proto=http");
}

#[test]
fn services_are_asked_and_watched_on_unix_sockets_by_either_protocol() {
    let service = FakeService::start(answer::echo());
    let workspace = Workspace::new().unwrap();
    let path = workspace.file("a.sock");
    // The program behind is a gateway too: it speaks HTTP/1.1 and HTTP/2 on its socket.
    let behind = config(&format!("address: \"unix:{}\"", path.display()), &service);
    for (scheme, health) in [("http", "path: /x"), ("h2c", "path: /x"), ("http", "kind: tcp")] {
        let program = Gateway::start(&behind).unwrap_or_else(|error| panic!("{error}"));
        let text = format!(
            "narthex: 1\nadmin: {{ address: \"127.0.0.1:0\" }}\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\n\
             services: {{ s: {{ url: \"{scheme}+unix:{}\", panic_below: 0%, \
             health: {{ {health}, every: 100ms, healthy: 1, unhealthy: 1 }} }} }}\n\
             gateways: {{ g: {{ listeners: [main], routes: {{ \
             all: {{ match: \"/{{rest=**}}\", public: true, to: s }} }} }} }}\n",
            path.display()
        );
        let process = Process::start(&text, &[]);
        let address = process.address("main");
        let mut client = RawClient::connect(address).unwrap();
        for _ in 0..3 {
            let answer = client.exchange("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        assert_eq!(seen(&service, "x-forwarded-host"), "localhost", "the program's own host");
        let status = process.get("/status").json();
        let instance = &status["services"]["s"]["instances"][0];
        assert_eq!(instance["address"], format!("unix:{}", path.display()));
        assert_eq!(instance["health"], "healthy");
        assert_eq!(status["services"]["s"]["connections"], 1, "it is kept: {status}");
        let metrics = process.get("/metrics").text();
        let series = format!("instance=\"unix:{}\"}} 1", path.display());
        assert!(metrics.contains(&series), "{metrics}");
        program.stop();
        eventually("its end is noticed", PATIENCE, || {
            let status = process.get("/status").json();
            (status["services"]["s"]["instances"][0]["health"] == "unhealthy").then_some(())
        });
        assert!(ask_at(address, GET).contains("\"no_instance\""));
    }
}

#[test]
fn a_socket_that_nobody_listens_on_is_a_failed_connection() {
    let workspace = Workspace::new().unwrap();
    let text = format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\n\
         services: {{ s: {{ url: \"http+unix:{}\" }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s }} }} }} }}\n",
        workspace.file("none.sock").display()
    );
    let gateway = Gateway::start(&text).unwrap_or_else(|error| panic!("{error}"));
    let answer = ask_at(gateway.address("main").unwrap(), GET);
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("connect_failed"), "{answer}");
    gateway.stop();
}

#[test]
fn a_full_queue_of_a_socket_is_waited_for() {
    let workspace = Workspace::new().unwrap();
    let path = workspace.file("a.sock");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let filling = UnixStream::connect(&path).unwrap();
    let more = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    more.set_nonblocking(true).unwrap();
    let full = more.connect(&socket2::SockAddr::unix(&path).unwrap()).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock, "the queue is full");
    let text = format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\n\
         services: {{ s: {{ url: \"http+unix:{}\", timeouts: {{ connect: 15s }} }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, deadline: 30s, to: s }} }} }} }}\n",
        path.display()
    );
    let gateway = Gateway::start(&text).unwrap_or_else(|error| panic!("{error}"));
    let address = gateway.address("main").unwrap();
    let client = std::thread::spawn(move || ask_at(address, GET));
    // Long enough that the gateway has met the full queue; too short a time only makes the test weaker.
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(!client.is_finished(), "it waits");
    let (_first, _) = socket.accept().unwrap();
    let (second, _) = socket.accept().unwrap();
    let mut second = UnixStream::from(std::os::fd::OwnedFd::from(second));
    assert!(second.read(&mut [0; 4096]).unwrap() > 0);
    second.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    assert!(client.join().unwrap().ends_with("ok"));
    drop(filling);
    gateway.stop();
}
