//! The access log: one JSON line per request, through a bounded ring per worker, to one writer thread.
//!
//! A worker never blocks and never waits: where the ring is full the line is dropped and counted.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rtrb::{Consumer, Producer, RingBuffer};

use crate::addresses::Addresses;
use crate::json::{Line, key};
use crate::{Counter, DateCache};

/// Bytes of one worker's ring.
const RING_BYTES: usize = 1 << 20;
/// Bytes of one text field of a line.
const FIELD_BYTES: usize = 1_024;
/// How long lines gather before they are written.
const GATHER: Duration = Duration::from_millis(20);

/// Where an instance is.
#[derive(Debug, Clone, Copy)]
pub enum InstanceAddress<'a> {
    Ip(SocketAddr),
    /// The path of a Unix socket.
    Unix(&'a str),
}

/// What is known of one request. Empty texts and `None` are left out of the line. Names, codes, methods and protocols are
/// written as they are: nothing in them needs escaping.
#[derive(Debug, Clone, Copy, Default)]
pub struct AccessRecord<'a> {
    pub unix_ms: u64,
    pub request_id: &'a str,
    pub trace_id: &'a [u8],
    /// `None`: whoever is on a Unix socket.
    pub client: Option<IpAddr>,
    pub caller: Option<&'a str>,
    pub method: &'a str,
    pub host: &'a str,
    pub path: &'a str,
    pub protocol: &'a str,
    pub status: u16,
    /// Of a gRPC call: how it ended.
    pub grpc_status: Option<u32>,
    pub reason: Option<&'a str>,
    /// The operator's text of a refusal.
    pub detail: Option<&'a str>,
    /// Of a connection that is passed through.
    pub listener: &'a str,
    pub gateway: &'a str,
    pub route: &'a str,
    /// Of a gateway with versions: the one that was found.
    pub api_version: Option<&'a str>,
    pub service: Option<&'a str>,
    pub instance: Option<InstanceAddress<'a>>,
    pub attempts: u16,
    /// Why a failed request was not sent once more.
    pub not_retried: Option<&'a str>,
    /// What stood in for the destination's answer.
    pub fallback: Option<&'a str>,
    /// Nanoseconds: all; until the service's head; of it, connecting; what the gateway itself took.
    pub total: u64,
    pub service_time: u64,
    pub connect: u64,
    pub gateway_time: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub shadowed: &'a str,
    /// What ended the tunnel that the exchange became.
    pub tunnel: &'a str,
    /// Of an encrypted connection.
    pub tls: Option<TlsRecord<'a>>,
}

/// What is logged of an encrypted connection.
#[derive(Debug, Clone, Copy)]
pub struct TlsRecord<'a> {
    pub version: &'a str,
    pub cipher: &'a str,
    pub sni: Option<&'a str>,
    /// Subject and fingerprint of the client's certificate.
    pub client: Option<(&'a str, &'a str)>,
}

impl AccessRecord<'_> {
    /// Appends the line, newline included.
    pub fn write(&self, dates: &mut DateCache, addresses: &mut Addresses, out: &mut Vec<u8>) {
        let mut line = Line(out);
        line.plain(key!(first "time"), &dates.rfc3339(self.unix_ms));
        if self.listener.is_empty() {
            line.text(key!(text "request_id"), self.request_id.as_bytes(), 128);
            line.plain(key!(text "trace_id"), self.trace_id);
        }
        line.plain(key!(text "client"), self.client.map_or(b"unix:", |client| addresses.ip(client)));
        write_optional(&mut line, key!(text "caller"), self.caller);
        if self.listener.is_empty() {
            line.plain(key!(text "method"), self.method.as_bytes());
            line.text(key!(text "host"), self.host.as_bytes(), 255);
            line.text(key!(text "path"), self.path.as_bytes(), FIELD_BYTES);
            line.plain(key!(text "protocol"), self.protocol.as_bytes());
            line.number(key!("status"), u64::from(self.status));
            if let Some(status) = self.grpc_status {
                line.number(key!("grpc_status"), u64::from(status));
            }
        } else {
            write_name(&mut line, key!(text "listener"), Some(self.listener));
            write_optional(&mut line, key!(text "host"), Some(self.host));
            line.plain(key!(text "protocol"), self.protocol.as_bytes());
        }
        write_name(&mut line, key!(text "reason"), self.reason);
        write_optional(&mut line, key!(text "detail"), self.detail);
        write_name(&mut line, key!(text "gateway"), Some(self.gateway));
        write_name(&mut line, key!(text "route"), Some(self.route));
        write_optional(&mut line, key!(text "api_version"), self.api_version);
        write_name(&mut line, key!(text "service"), self.service);
        if let Some(instance) = self.instance {
            match instance {
                InstanceAddress::Ip(address) => {
                    line.plain(key!(text "instance"), addresses.socket(address));
                }
                InstanceAddress::Unix(path) => {
                    line.text(key!(text "instance"), format!("unix:{path}").as_bytes(), FIELD_BYTES);
                }
            }
            line.number(key!("attempts"), u64::from(self.attempts));
            line.millis(key!("service_ms"), self.service_time);
            line.millis(key!("connect_ms"), self.connect);
        }
        write_optional(&mut line, key!(text "not_retried"), self.not_retried);
        write_optional(&mut line, key!(text "fallback"), self.fallback);
        line.millis(key!("total_ms"), self.total);
        line.millis(key!("gateway_ms"), self.gateway_time);
        line.number(key!("bytes_in"), self.bytes_in);
        line.number(key!("bytes_out"), self.bytes_out);
        write_optional(&mut line, key!(text "shadow"), Some(self.shadowed));
        write_optional(&mut line, key!(text "tunnel"), Some(self.tunnel));
        if let Some(tls) = &self.tls {
            line.text(key!(text "tls"), tls.version.as_bytes(), 16);
            line.text(key!(text "cipher"), tls.cipher.as_bytes(), 64);
            write_optional(&mut line, key!(text "sni"), tls.sni);
            if let Some((subject, fingerprint)) = tls.client {
                line.text(key!(text "client_subject"), subject.as_bytes(), FIELD_BYTES);
                line.text(key!(text "client_fingerprint"), fingerprint.as_bytes(), 64);
            }
        }
        out.extend_from_slice(b"}\n");
    }
}

/// A name of the configuration, or a reason's code: letters, digits, `_`, `-`.
#[inline(always)]
fn write_name(line: &mut Line<'_>, key: &'static str, name: Option<&str>) {
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        line.plain(key, name.as_bytes());
    }
}

fn write_optional(line: &mut Line<'_>, key: &'static str, value: Option<&str>) {
    if let Some(value) = value.filter(|text| !text.is_empty()) {
        line.text(key, value.as_bytes(), FIELD_BYTES);
    }
}

/// Where the lines go.
#[derive(Debug)]
pub enum AccessSink {
    Stdout,
    Stderr,
    File(std::path::PathBuf),
}

/// One worker's end.
pub struct AccessLog {
    ring: Producer<u8>,
    line: Vec<u8>,
    dates: DateCache,
    addresses: Addresses,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    dropped: Counter,
    written: Counter,
    /// The writer parks: whoever logs next wakes it.
    parked: AtomicBool,
    stop: AtomicBool,
}

impl AccessLog {
    /// Formats and hands over; never waits.
    pub fn write(&mut self, record: &AccessRecord<'_>, writer: &AccessWriter) {
        self.line.clear();
        record.write(&mut self.dates, &mut self.addresses, &mut self.line);
        if self.ring.push_entire_slice(&self.line).is_err() {
            self.shared.dropped.add_shared(1);
        }
        if self.shared.parked.load(Ordering::Relaxed) && self.shared.parked.swap(false, Ordering::AcqRel) {
            writer.wake();
        }
    }
}

/// The writer thread and what it counts. Dropping it writes out what is left.
pub struct AccessWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl AccessWriter {
    /// Starts the writer; one [`AccessLog`] for each worker.
    pub fn start(sink: AccessSink, workers: usize) -> io::Result<(Self, Vec<AccessLog>)> {
        let mut out: Box<dyn Write + Send> = match sink {
            AccessSink::Stdout => Box::new(io::stdout()),
            AccessSink::Stderr => Box::new(io::stderr()),
            AccessSink::File(path) => {
                Box::new(std::fs::OpenOptions::new().append(true).create(true).open(path)?)
            }
        };
        let shared = Arc::new(Shared::default());
        let (mut logs, mut rings) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (ring, consumer) = RingBuffer::new(RING_BYTES);
            rings.push(consumer);
            logs.push(AccessLog {
                ring,
                line: Vec::with_capacity(1_024),
                dates: DateCache::default(),
                addresses: Addresses::default(),
                shared: Arc::clone(&shared),
            });
        }
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write_out(&mut rings, &mut *out, &of_thread))?;
        Ok((Self { shared, thread: Some(thread) }, logs))
    }

    pub fn dropped(&self) -> u64 {
        self.shared.dropped.read()
    }

    pub fn written(&self) -> u64 {
        self.shared.written.read()
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for AccessWriter {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // It panicked: then the process log has said so, and there is nothing left to write.
            let _ = thread.join();
        }
    }
}

fn write_out(rings: &mut [Consumer<u8>], out: &mut dyn Write, shared: &Shared) {
    loop {
        let stopping = shared.stop.load(Ordering::Acquire);
        let mut bytes = 0;
        for ring in &mut *rings {
            bytes += drain(ring, out, shared);
        }
        if bytes > 0 {
            // A full disk or a closed pipe loses lines; the gateway goes on.
            let _ = out.flush();
            std::thread::park_timeout(if stopping { Duration::ZERO } else { GATHER });
            continue;
        }
        if stopping {
            return;
        }
        shared.parked.store(true, Ordering::Release);
        if rings.iter().all(Consumer::is_empty) {
            std::thread::park_timeout(Duration::from_secs(1));
        }
        shared.parked.store(false, Ordering::Release);
    }
}

fn drain(ring: &mut Consumer<u8>, out: &mut dyn Write, shared: &Shared) -> usize {
    let count = ring.slots();
    let Ok(chunk) = ring.read_chunk(count) else { return 0 };
    let (first, second) = chunk.as_slices();
    for part in [first, second] {
        let lines = memchr::memchr_iter(b'\n', part).count() as u64;
        match out.write_all(part) {
            Ok(()) => shared.written.add_shared(lines),
            Err(_) => shared.dropped.add_shared(lines),
        }
    }
    chunk.commit_all();
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn record() -> AccessRecord<'static> {
        AccessRecord {
            unix_ms: 1_709_251_199_007,
            request_id: "id\"1",
            trace_id: b"00",
            client: Some("127.0.0.1".parse().unwrap()),
            caller: None,
            method: "GET",
            host: "a.example",
            path: "/x",
            protocol: "HTTP/1.1",
            status: 200,
            grpc_status: None,
            reason: None,
            detail: None,
            gateway: "g",
            tls: None,
            route: "r",
            api_version: Some("2"),
            service: Some("s"),
            instance: Some(InstanceAddress::Ip("127.0.0.1:80".parse().unwrap())),
            attempts: 1,
            not_retried: None,
            fallback: None,
            total: 1_234_567,
            service_time: 1_000_000,
            connect: 0,
            gateway_time: 234_567,
            bytes_in: 0,
            bytes_out: 5,
            shadowed: "",
            tunnel: "",
            listener: "",
        }
    }

    #[test]
    fn writes_one_json_line() {
        let mut out = Vec::new();
        record().write(&mut DateCache::default(), &mut Addresses::default(), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "{\"time\":\"2024-02-29T23:59:59.007Z\",\"request_id\":\"id\\\"1\",\"trace_id\":\"00\",\
             \"client\":\"127.0.0.1\",\"method\":\"GET\",\"host\":\"a.example\",\"path\":\"/x\",\
             \"protocol\":\"HTTP/1.1\",\"status\":200,\"gateway\":\"g\",\"route\":\"r\",\"api_version\":\"2\",\"service\":\"s\",\
             \"instance\":\"127.0.0.1:80\",\"attempts\":1,\"service_ms\":1.000,\"connect_ms\":0.000,\
             \"total_ms\":1.234,\"gateway_ms\":0.234,\"bytes_in\":0,\"bytes_out\":5}\n"
        );
    }

    #[test]
    fn every_line_is_written_or_counted_as_dropped() {
        let file = std::env::temp_dir().join(format!("narthex-access-{}", std::process::id()));
        let _ = std::fs::remove_file(&file);
        let (writer, mut logs) = AccessWriter::start(AccessSink::File(file.clone()), 1).unwrap();
        let lines = 20_000;
        for _ in 0..lines {
            logs[0].write(&record(), &writer);
        }
        let shared = Arc::clone(&writer.shared);
        drop(writer);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(text.lines().count() as u64 + shared.dropped.read(), lines);
        assert!(text.lines().all(|line| line.starts_with('{') && line.ends_with('}')));
    }
}
