//! Under a service manager: sockets that it passes on, and what it is told.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use narthex_testkit::{RawClient, Workspace};
use narthex_tests::{PATIENCE, binary, eventually, signal};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

/// What the gateway says next.
fn told(manager: &UnixDatagram) -> String {
    let mut bytes = [0; 512];
    let count = manager.recv(&mut bytes).expect("the service manager is told");
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

/// The same, leaving out that it is alive.
fn told_of_change(manager: &UnixDatagram) -> String {
    loop {
        let said = told(manager);
        if said != "WATCHDOG=1" {
            return said;
        }
    }
}

#[test]
fn a_socket_is_taken_over_and_each_change_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // A client that comes before the gateway does waits in the socket's queue.
    let mut early = RawClient::connect(address).unwrap();
    let workspace = Workspace::new().unwrap();
    let config = format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"{address}\" }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, \
         to: {{ reply: {{ status: 200 }} }} }} }} }} }}\n"
    );
    workspace.write("narthex.yaml", &config).unwrap();
    let place = workspace.file("notify");
    let manager = UnixDatagram::bind(&place).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut gateway = Command::new("sh")
        .args([
            "-c",
            "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 WATCHDOG_PID=$$; exec \"$@\"",
            "sh",
        ])
        .arg(binary())
        .args(["run", "--workers", "2", "--no-watch", "--drain-grace", "0s", "--config"])
        .arg(workspace.file("narthex.yaml"))
        .env("NOTIFY_SOCKET", &place)
        .env("WATCHDOG_USEC", "100000")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(told_of_change(&manager), "READY=1");
    let get = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(early.exchange(get).unwrap().status, 200);
    for _ in 0..20 {
        assert_eq!(RawClient::connect(address).unwrap().exchange(get).unwrap().status, 200);
    }
    eventually("it says that it is alive", PATIENCE, || (told(&manager) == "WATCHDOG=1").then_some(()));
    signal(gateway.id(), "HUP");
    assert!(told_of_change(&manager).starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(told_of_change(&manager), "READY=1");
    assert_eq!(RawClient::connect(address).unwrap().exchange(get).unwrap().status, 200);
    signal(gateway.id(), "TERM");
    assert_eq!(told_of_change(&manager), "STOPPING=1");
    assert!(gateway.wait().unwrap().success());
}
