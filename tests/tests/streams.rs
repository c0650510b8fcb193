//! Bodies of any length pass in bounded memory, in both directions at once, at the pace of the slower side.
//!
//! 100 MB in each direction by default; `NARTHEX_SOAK=1` makes it 5 GB.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use narthex_testkit::{FakeService, Next, RawClient, answer};
use narthex_tests::{PATIENCE, Process, eventually, read_head};

/// The most that the gateway may hold of its own, in KiB.
const MOST_KIB: u64 = 60 * 1024;
const PIECE: usize = 64 * 1024;

fn pieces() -> u64 {
    let bytes: u64 = if std::env::var_os("NARTHEX_SOAK").is_some() { 5_000_000_000 } else { 100_000_000 };
    bytes / PIECE as u64
}

fn gateway(service: SocketAddr) -> Process {
    let config = format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
         services: {{ s: {{ url: \"http://{service}\" }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s }} }} }} }}\n"
    );
    Process::start(&config, &[])
}

/// A service for one connection.
fn service(script: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || script(patient(listener.accept().unwrap().0)));
    address
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Bytes that tell their place: a lost or repeated piece does not go unseen.
fn piece(number: u64) -> Vec<u8> {
    (0..PIECE / 8).flat_map(|at| (number * PIECE as u64 + at as u64).to_le_bytes()).collect()
}

#[derive(Clone, Copy)]
enum Framing {
    Length,
    Chunked,
}

impl Framing {
    fn field(self) -> String {
        match self {
            Self::Length => format!("Content-Length: {}", pieces() * PIECE as u64),
            Self::Chunked => "Transfer-Encoding: chunked".to_owned(),
        }
    }

    fn write(self, stream: &mut TcpStream) {
        for number in 0..pieces() {
            let piece = piece(number);
            match self {
                Self::Length => stream.write_all(&piece).unwrap(),
                Self::Chunked => {
                    let mut chunk = format!("{PIECE:x}\r\n").into_bytes();
                    chunk.extend_from_slice(&piece);
                    chunk.extend_from_slice(b"\r\n");
                    stream.write_all(&chunk).unwrap();
                }
            }
        }
        if let Self::Chunked = self {
            stream.write_all(b"0\r\n\r\n").unwrap();
        }
    }

    /// Reads the body whole, checks each byte, and looks at the gateway's memory meanwhile.
    fn read(self, stream: &mut TcpStream, watch: &mut impl FnMut()) {
        let mut body = Body { stream, framing: self, left: 0 };
        let mut buffer = vec![0; PIECE];
        for number in 0..pieces() {
            body.read_exact(&mut buffer);
            assert!(buffer == piece(number), "piece {number} is not as it was sent");
            if number % 256 == 0 {
                watch();
            }
        }
        body.end();
    }
}

struct Body<'s> {
    stream: &'s mut TcpStream,
    framing: Framing,
    /// Bytes left of the chunk.
    left: usize,
}

impl Body<'_> {
    fn read_exact(&mut self, mut buffer: &mut [u8]) {
        let Framing::Chunked = self.framing else { return self.stream.read_exact(buffer).unwrap() };
        while !buffer.is_empty() {
            if self.left == 0 {
                self.left = self.size();
                assert!(self.left > 0, "the body ended early");
            }
            let count = buffer.len().min(self.left);
            let (now, later) = buffer.split_at_mut(count);
            self.stream.read_exact(now).unwrap();
            self.left -= count;
            buffer = later;
            if self.left == 0 {
                self.line();
            }
        }
    }

    fn end(&mut self) {
        if let Framing::Chunked = self.framing {
            assert_eq!(self.size(), 0);
            assert_eq!(self.line(), "");
        }
    }

    fn size(&mut self) -> usize {
        usize::from_str_radix(&self.line(), 16).unwrap()
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).unwrap()
    }
}

fn watch(gateway: &Process) -> impl FnMut() {
    || {
        let kib = gateway.anonymous_kib();
        assert!(kib < MOST_KIB, "the gateway holds {kib} KiB");
    }
}

fn download(framing: Framing) {
    let address = service(move |mut stream| {
        read_head(&mut stream);
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n", framing.field()).as_bytes()).unwrap();
        framing.write(&mut stream);
    });
    let gateway = gateway(address);
    let mut client = patient(TcpStream::connect(gateway.address("main")).unwrap());
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(read_head(&mut client).starts_with("HTTP/1.1 200 "));
    framing.read(&mut client, &mut watch(&gateway));
}

fn upload(framing: Framing) {
    let (said, heard) = std::sync::mpsc::channel();
    let address = service(move |mut stream| {
        read_head(&mut stream);
        framing.read(&mut stream, &mut || said.send(false).unwrap());
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        said.send(true).unwrap();
    });
    let gateway = gateway(address);
    let client = patient(TcpStream::connect(gateway.address("main")).unwrap());
    let mut sending = client.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        sending
            .write_all(format!("POST / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", framing.field()).as_bytes())
            .unwrap();
        framing.write(&mut sending);
    });
    let mut look = watch(&gateway);
    while !heard.recv_timeout(PATIENCE).unwrap() {
        look();
    }
    sender.join().unwrap();
    let mut client = client;
    assert!(read_head(&mut client).starts_with("HTTP/1.1 200 "));
}

#[test]
fn down_with_a_length() {
    download(Framing::Length);
}

#[test]
fn down_in_chunks() {
    download(Framing::Chunked);
}

#[test]
fn up_with_a_length() {
    upload(Framing::Length);
}

#[test]
fn up_in_chunks() {
    upload(Framing::Chunked);
}

/// Writes for ever and counts; ends with its connection.
fn pour(mut stream: TcpStream, count: &AtomicU64, is_over: &AtomicBool) {
    stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    let bytes = [b'x'; 16 * 1024];
    while !is_over.load(Ordering::Acquire) {
        match stream.write(&bytes) {
            Ok(wrote) => {
                count.fetch_add(wrote as u64, Ordering::AcqRel);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// The count, once it has stood still for a second.
fn settled(count: &AtomicU64) -> u64 {
    let (mut last, mut since) = (0, 0);
    eventually("the flow stands still", Duration::from_secs(60), || {
        let now = count.load(Ordering::Acquire);
        since = if now == last && now > 0 { since + 1 } else { 0 };
        last = now;
        (since >= 200).then_some(now)
    })
}

/// What the four socket buffers of the way may take at the most (`tcp_wmem`, `tcp_rmem`), and the gateway's own.
const ON_THE_WAY: u64 = 48 * 1024 * 1024;

#[test]
fn a_slow_reader_holds_no_more_than_the_buffers() {
    const READERS: usize = 32;
    let (count, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (counting, ending) = (Arc::clone(&count), Arc::clone(&is_over));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (count, is_over) = (Arc::clone(&counting), Arc::clone(&ending));
            std::thread::spawn(move || {
                let mut stream = patient(stream.unwrap());
                read_head(&mut stream);
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n").unwrap();
                pour(stream, &count, &is_over);
            });
        }
    });
    let gateway = gateway(address);
    let listening = gateway.address("main");
    let before = gateway.anonymous_kib();
    let clients: Vec<_> = (0..READERS)
        .map(|_| {
            let mut client = patient(TcpStream::connect(listening).unwrap());
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            assert!(read_head(&mut client).starts_with("HTTP/1.1 200 "));
            client
        })
        .collect();
    let poured = settled(&count);
    let grown = gateway.anonymous_kib().saturating_sub(before);
    is_over.store(true, Ordering::Release);
    println!("{READERS} readers: {poured} bytes poured, the gateway grew by {grown} KiB");
    assert!(poured < READERS as u64 * ON_THE_WAY, "{poured} bytes are on the way");
    // 64 KiB and some per exchange, and what the allocator rounds up.
    assert!(grown < READERS as u64 * 256, "the gateway grew by {grown} KiB");
    drop(clients);
}

#[test]
fn a_slow_writers_service_holds_no_more_than_the_buffers() {
    const WRITERS: usize = 32;
    // The service takes the head and then nothing.
    let service = FakeService::start(|conversation| {
        conversation.pause(Duration::from_secs(60))?;
        Ok(Next::Close)
    });
    let gateway = gateway(service.address());
    let before = gateway.anonymous_kib();
    let (count, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let listening = gateway.address("main");
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            let (count, is_over) = (&count, &is_over);
            scope.spawn(move || {
                let mut client = patient(TcpStream::connect(listening).unwrap());
                client
                    .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n")
                    .unwrap();
                pour(client, count, is_over);
            });
        }
        let poured = settled(&count);
        let grown = gateway.anonymous_kib().saturating_sub(before);
        is_over.store(true, Ordering::Release);
        println!("{WRITERS} writers: {poured} bytes poured, the gateway grew by {grown} KiB");
        assert!(poured < WRITERS as u64 * ON_THE_WAY, "{poured} bytes are on the way");
        assert!(grown < WRITERS as u64 * 256, "the gateway grew by {grown} KiB");
    });
}

#[test]
fn a_client_that_aborts_ends_the_services_work() {
    let service = FakeService::start(answer::never());
    let gateway = gateway(service.address());
    let requests = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ];
    for (at, request) in requests.iter().enumerate() {
        for is_reset in [true, false] {
            let mut client = RawClient::connect(gateway.address("main")).unwrap();
            client.send(request).unwrap();
            let number = at * 2 + usize::from(!is_reset);
            service.wait_until(PATIENCE, |log| log.len() == number + 1).unwrap();
            if is_reset {
                client.reset().unwrap();
            } else {
                drop(client);
            }
            // `never` waits for the end of its connection: `Answered` says that it came.
            let ended = service.wait_until(Duration::from_secs(5), |log| {
                log.last().is_some_and(|last| last.progress == narthex_testkit::Progress::Answered)
            });
            assert!(ended.is_ok(), "{request:?}, reset: {is_reset}: the service still works");
        }
    }
}

#[test]
fn both_directions_flow_at_once() {
    let service = FakeService::start(|conversation| {
        conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let mut seen = 0;
        loop {
            let is_open = conversation.read_some()?;
            let _ = is_open;
            seen += 1;
            conversation.send(format!("4\r\ne{seen:03}\r\n"))?;
            if seen == 20 {
                conversation.send("0\r\n\r\n")?;
                return Ok(Next::Close);
            }
        }
    });
    let gateway = gateway(service.address());
    let mut client = patient(TcpStream::connect(gateway.address("main")).unwrap());
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    assert!(read_head(&mut client).starts_with("HTTP/1.1 200 "));
    let mut body = Body { stream: &mut client, framing: Framing::Chunked, left: 0 };
    // Each piece is sent only when the echo of the one before has come.
    for number in 1..=20 {
        body.stream.write_all(b"5\r\nhello\r\n").unwrap();
        let mut echo = [0; 4];
        body.read_exact(&mut echo);
        assert_eq!(echo, *format!("e{number:03}").as_bytes());
    }
    body.end();
}
