//! One active check over the wire: a GET, a TCP connection, or `grpc.health.v1.Health/Check`. Each has a connection of its
//! own, so that it sees what a new client would. Reads a bounded part of the answer.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use narthex_config as config;
use narthex_net::tls::ClientTls;
use narthex_proxy::{Protocol, Settings};
use narthex_wire::{Address, ProxyProtocol};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// Bytes of a status line, or of the message of a gRPC answer.
const ANSWER_BYTES: usize = 4_096;

/// How a service's instances are asked.
#[derive(Clone)]
pub struct Checks {
    pub every: Duration,
    /// Checks of the service that may be under way.
    pub at_once: usize,
    timeout: Duration,
    asks: Asks,
    port: Option<u16>,
    authority: String,
    protocol: Protocol,
    proxy_protocol: Option<ProxyProtocol>,
    tls: Option<Arc<ArcSwap<ClientTls>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Asks {
    Http { path: String, good: Vec<(u16, u16)> },
    Tcp,
    Grpc { service: String },
}

impl PartialEq for Checks {
    fn eq(&self, other: &Self) -> bool {
        let key =
            |one: &Self| (one.every, one.at_once, one.timeout, one.port, one.protocol, one.proxy_protocol);
        let tls = |one: &Self| one.tls.as_ref().map(Arc::as_ptr);
        key(self) == key(other)
            && tls(self) == tls(other)
            && self.asks == other.asks
            && self.authority == other.authority
    }
}

async fn open(address: Address) -> std::io::Result<Box<dyn Wire>> {
    Ok(match address {
        Address::Ip(address) => Box::new(TcpStream::connect(address).await?),
        Address::Unix(path) => Box::new(UnixStream::connect(path.as_str()).await?),
    })
}

/// A socket, plain or within TLS.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

impl Checks {
    pub fn new(health: &config::Health, service: &config::Service, settings: &Settings) -> Self {
        let text = |value: &Option<narthex_document::Spanned<String>>, default: &str| {
            value.as_ref().map_or_else(|| default.to_owned(), |value| value.value.clone())
        };
        let asks = match health.kind {
            config::HealthKind::Tcp => Asks::Tcp,
            config::HealthKind::Grpc => Asks::Grpc { service: text(&health.service, "") },
            config::HealthKind::Http => {
                let good: Vec<_> = health.status.iter().map(|range| (range.from, range.to)).collect();
                let good = if good.is_empty() { vec![(200, 399)] } else { good };
                Asks::Http { path: text(&health.path, "/"), good }
            }
        };
        let first = service.addresses().into_iter().next();
        let own = match &service.host {
            config::HostRule::Name(name) => name.clone(),
            _ => first.map(|first| first.address.authority()).unwrap_or_default(),
        };
        Self {
            every: health.every.0,
            at_once: service.bounds.health_checks.max(1) as usize,
            timeout: health.timeout.0,
            asks,
            port: health.port.map(std::num::NonZeroU16::get),
            authority: text(&health.host, &own),
            protocol: settings.protocol,
            proxy_protocol: settings.proxy_protocol,
            tls: settings.tls.clone(),
        }
    }

    /// Asks one instance. `Err`: what is wrong with it, in words for the operator.
    pub async fn ask(&self, address: Address) -> Result<(), String> {
        let address = match address {
            Address::Ip(at) => Address::Ip((at.ip(), self.port.unwrap_or(at.port())).into()),
            unix @ Address::Unix(_) => unix,
        };
        match tokio::time::timeout(self.timeout, self.ask_at(address)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }

    async fn ask_at(&self, address: Address) -> Result<(), String> {
        let mut stream = open(address).await.map_err(|error| format!("no connection: {error}"))?;
        if self.asks == Asks::Tcp {
            return Ok(());
        }
        if let Some(version) = self.proxy_protocol {
            let sent = stream.write_all(&version.header_of_own()).await;
            sent.map_err(|error| format!("the connection broke: {error}"))?;
        }
        let is_grpc = matches!(self.asks, Asks::Grpc { .. });
        let Some(tls) = &self.tls else {
            let speaks_h2 = is_grpc || self.protocol == Protocol::Http2;
            return self.talk(stream, speaks_h2).await;
        };
        let tls = tls.load_full();
        let mut wanted = (**tls.config()).clone();
        if is_grpc {
            wanted.alpn_protocols = vec![b"h2".to_vec()];
        }
        let connector = TlsConnector::from(Arc::new(wanted));
        let stream = connector
            .connect(tls.server_name(address.ip()), stream)
            .await
            .map_err(|error| format!("no TLS: {error}"))?;
        let speaks_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if !speaks_h2 && (is_grpc || self.protocol == Protocol::Http2) {
            return Err("no HTTP/2 by ALPN".to_owned());
        }
        self.talk(stream, speaks_h2).await
    }

    async fn talk(&self, stream: impl Wire + 'static, speaks_h2: bool) -> Result<(), String> {
        match &self.asks {
            Asks::Tcp => Ok(()),
            Asks::Grpc { service } => self.ask_grpc(stream, service).await,
            Asks::Http { path, good } => {
                let status = match speaks_h2 {
                    true => self.get_h2(stream, path).await?,
                    false => self.get_h1(stream, path).await?,
                };
                let is_good = good.iter().any(|(from, to)| (*from..=*to).contains(&status));
                if is_good { Ok(()) } else { Err(format!("status {status}")) }
            }
        }
    }

    async fn get_h1(&self, mut stream: impl Wire, path: &str) -> Result<u16, String> {
        let host = &self.authority;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: narthex-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        let cut = |error: std::io::Error| format!("cut off: {error}");
        stream.write_all(request.as_bytes()).await.map_err(cut)?;
        let mut answer = Vec::new();
        let line = loop {
            if let Some(end) = answer.iter().position(|byte| *byte == b'\n') {
                break &answer[..end];
            }
            if answer.len() > ANSWER_BYTES || stream.read_buf(&mut answer).await.map_err(cut)? == 0 {
                return Err("not an answer of HTTP/1.1".to_owned());
            }
        };
        status_of(line).ok_or_else(|| "not an answer of HTTP/1.1".to_owned())
    }

    async fn get_h2(&self, stream: impl Wire + 'static, path: &str) -> Result<u16, String> {
        let request = self.request("GET", path).body(()).map_err(|error| error.to_string())?;
        let mut driven = Driven::begin(stream).await?;
        let (answer, _) = driven.send(request, None).await?;
        Ok(answer.status().as_u16())
    }

    fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let uri = format!("{scheme}://{}{path}", self.authority);
        http::Request::builder().method(method).uri(uri).header("user-agent", "narthex-health")
    }

    async fn ask_grpc(&self, stream: impl Wire + 'static, service: &str) -> Result<(), String> {
        let request = self
            .request("POST", "/grpc.health.v1.Health/Check")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(|error| error.to_string())?;
        let mut driven = Driven::begin(stream).await?;
        let (answer, mut body) = driven.send(request, Some(grpc_request(service))).await?;
        if answer.status() != http::StatusCode::OK {
            return Err(format!("status {}", answer.status().as_u16()));
        }
        let broken = |error: h2::Error| format!("cut off: {error}");
        let mut message = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.map_err(broken)?;
            body.flow_control().release_capacity(data.len()).map_err(broken)?;
            message.extend_from_slice(&data);
            if message.len() > ANSWER_BYTES {
                return Err("an answer that is too long".to_owned());
            }
        }
        let trailers = body.trailers().await.map_err(broken)?.unwrap_or_default();
        let code = trailers.get("grpc-status").or_else(|| answer.headers().get("grpc-status"));
        match code.map(http::HeaderValue::as_bytes) {
            Some(b"0") => {}
            Some(code) => return Err(format!("gRPC status {}", String::from_utf8_lossy(code))),
            None => return Err("no gRPC status".to_owned()),
        }
        match serving_status(&message) {
            Some(1) => Ok(()),
            Some(2) => Err("NOT_SERVING".to_owned()),
            Some(3) => Err("SERVICE_UNKNOWN".to_owned()),
            Some(0) => Err("UNKNOWN".to_owned()),
            _ => Err("not an answer of grpc.health.v1".to_owned()),
        }
    }
}

/// An HTTP/2 connection whose task ends with it.
struct Driven {
    sender: h2::client::SendRequest<Bytes>,
    _connection: crate::feeds::Ends,
}

impl Driven {
    async fn begin(stream: impl Wire + 'static) -> Result<Self, String> {
        let failed = |error: h2::Error| format!("no HTTP/2: {error}");
        let (sender, connection) = h2::client::handshake(stream).await.map_err(failed)?;
        let connection = tokio::spawn(async move {
            // What goes wrong shows in the answer that does not come.
            let _ = connection.await;
        });
        let sender = sender.ready().await.map_err(failed)?;
        Ok(Self { sender, _connection: crate::feeds::Ends::new(connection) })
    }

    async fn send(
        &mut self,
        request: http::Request<()>,
        body: Option<Bytes>,
    ) -> Result<(http::Response<()>, h2::RecvStream), String> {
        let failed = |error: h2::Error| format!("no answer: {error}");
        let (answer, mut out) = self.sender.send_request(request, body.is_none()).map_err(failed)?;
        if let Some(body) = body {
            out.send_data(body, true).map_err(failed)?;
        }
        let (head, body) = answer.await.map_err(failed)?.into_parts();
        Ok((http::Response::from_parts(head, ()), body))
    }
}

/// The status of a status line (RFC 9112 4).
fn status_of(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, after) = rest.split_at_checked(3)?;
    let is_ended = matches!(after.first(), None | Some(b' ' | b'\r'));
    let status = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (is_ended && digits.iter().all(u8::is_ascii_digit) && (100..600).contains(&status)).then_some(status)
}

/// `HealthCheckRequest { string service = 1; }` as one message of gRPC.
fn grpc_request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

/// `HealthCheckResponse { ServingStatus status = 1; }`, which is the only field that it has; `None`: it is something else.
fn serving_status(framed: &[u8]) -> Option<u8> {
    let (head, message) = framed.split_at_checked(5)?;
    let length = u32::from_be_bytes(head[1..].try_into().ok()?) as usize;
    if head[0] != 0 || message.len() != length {
        return None;
    }
    match message {
        // The default of an enumeration is not written.
        [] => Some(0),
        [0x08, status] if *status < 0x80 => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_status_line_has_a_status() {
        assert_eq!(status_of(b"HTTP/1.1 200 OK\r"), Some(200));
        assert_eq!(status_of(b"HTTP/1.0 503\r"), Some(503));
        for line in
            [&b"HTTP/1.1 20"[..], b"HTTP/1.1 2000 OK", b"HTTP/2 200", b"HTTP/1.1 +20 OK", b"SSH-2.0", b""]
        {
            assert_eq!(status_of(line), None, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn grpc_is_framed_and_read_exactly() {
        assert_eq!(&*grpc_request(""), [0, 0, 0, 0, 0]);
        assert_eq!(&*grpc_request("a.B"), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = grpc_request(&"x".repeat(300));
        assert_eq!(&long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
        for bad in [
            &[][..],
            &[0, 0, 0, 0, 2, 8],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 2, 16, 1],
            &[0, 0, 0, 0, 1, 8],
        ] {
            assert_eq!(serving_status(bad), None, "{bad:?}");
        }
    }
}
