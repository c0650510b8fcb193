//! The two handshakes. Neither has a time-out of its own: whoever awaits one sets it.

use std::future::poll_fn;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;

use rustls::server::Acceptor;
use rustls::{ClientConnection, Connection, HandshakeKind};
use socket2::SockRef;
use thiserror::Error;

use super::identity::{self, TlsFacts};
use super::server::{Choice, ServerTls};
use super::stream::{Incoming, Sink, TlsStream};
use super::{ClientTls, NameCheck};
use crate::buffer::{BUFFER_BYTES, Pooled};
use crate::runtime::Socket;

/// Why there is no encrypted connection.
#[derive(Debug, Error)]
pub enum HandshakeError {
    #[error("the peer closed the connection")]
    Closed,
    #[error("{0}")]
    Io(io::Error),
    #[error("{0}")]
    Tls(rustls::Error),
    #[error("no certificate for the name {0:?}")]
    UnknownName(String),
    #[error("a request without TLS")]
    PlainHttp,
    #[error("the client's certificate has expired since the session began")]
    Expired,
}

impl HandshakeError {
    /// Stable, `snake_case`: the label of the metric.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Io(_) => "io",
            Self::UnknownName(_) => "unknown_name",
            Self::PlainHttp => "plain_http",
            Self::Expired => "certificate",
            Self::Tls(error) => match error {
                rustls::Error::InvalidCertificate(_)
                | rustls::Error::NoCertificatesPresented
                | rustls::Error::InvalidCertRevocationList(_) => "certificate",
                rustls::Error::AlertReceived(_) => "alert",
                rustls::Error::PeerIncompatible(_) => "incompatible",
                rustls::Error::NoApplicationProtocol => "no_application_protocol",
                _ => "protocol",
            },
        }
    }
}

/// The fatal alert `unrecognized_name` (RFC 6066 3), in the clear: nothing is agreed upon yet.
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];
/// For somebody who speaks HTTP to a port of HTTPS.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\
                            Content-Length: 45\r\n\r\nThis port speaks TLS: ask it with https://.\r\n";

/// The server's side: the name that the client asks for decides the certificate and what the client must prove.
pub async fn accept(socket: Socket, tls: &ServerTls) -> Result<TlsStream, HandshakeError> {
    let (accepted, incoming) = hello(&socket).await?;
    let choice = tls.choose(&accepted.client_hello());
    let Choice { config, certificate, rule, sni } = match choice {
        Ok(choice) => choice,
        Err(name) => {
            let _ = Sink(&socket).write(UNRECOGNIZED_NAME);
            return Err(HandshakeError::UnknownName(name));
        }
    };
    let connection = accepted.into_connection(config).map_err(|(error, mut alert)| {
        let _ = alert.write(&mut Sink(&socket));
        HandshakeError::Tls(error)
    })?;
    let mut stream = TlsStream::new(socket, Connection::Server(connection), incoming);
    complete(&mut stream).await?;
    let connection = &stream.connection;
    let client = connection.peer_certificates().and_then(|chain| identity::read(chain.first()?));
    let is_resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    if is_resumed && client.as_ref().is_some_and(|client| client.not_after < identity::unix_now()) {
        return Err(HandshakeError::Expired);
    }
    stream.facts = Some(Arc::new(TlsFacts {
        version: version(connection),
        cipher: connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or(""),
        sni,
        is_resumed,
        client,
        certificate,
        rule,
    }));
    Ok(stream)
}

fn version(connection: &Connection) -> &'static str {
    match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "",
    }
}

/// Reads the ClientHello, at most 64 KiB of it, and what came behind it.
async fn hello(socket: &Socket) -> Result<(rustls::server::Accepted, Option<Incoming>), HandshakeError> {
    let mut acceptor = Acceptor::default();
    let mut is_first = true;
    loop {
        let mut bytes = Pooled::new();
        let count = poll_fn(|cx| socket.poll_append(cx, bytes.vec(), BUFFER_BYTES)).await;
        if count.map_err(HandshakeError::Io)? == 0 {
            return Err(HandshakeError::Closed);
        }
        if is_first && looks_like_http(bytes.bytes()) {
            let _ = Sink(socket).write(PLAIN_HTTP);
            return Err(HandshakeError::PlainHttp);
        }
        is_first = false;
        let mut rest = bytes.bytes();
        while !rest.is_empty() {
            acceptor.read_tls(&mut rest).map_err(HandshakeError::Io)?;
            match acceptor.accept() {
                Ok(Some(accepted)) => {
                    let at = bytes.bytes().len() - rest.len();
                    let incoming = (!rest.is_empty()).then_some(Incoming { bytes, at });
                    return Ok((accepted, incoming));
                }
                Ok(None) => {}
                Err((error, mut alert)) => {
                    let _ = alert.write(&mut Sink(socket));
                    return Err(HandshakeError::Tls(error));
                }
            }
        }
    }
}

/// A method and a blank. No record of TLS begins with a capital letter.
fn looks_like_http(bytes: &[u8]) -> bool {
    let letters = bytes.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    letters > 2 && bytes.get(letters) == Some(&b' ')
}

/// The client's side, to an instance at the other end of `socket`.
pub async fn connect(socket: Socket, tls: &Arc<ClientTls>) -> Result<TlsStream, HandshakeError> {
    let name = match &tls.name {
        NameCheck::Name(name) => name.clone(),
        NameCheck::Address => peer_ip(&socket)?.into(),
    };
    let connection = ClientConnection::new(Arc::clone(&tls.config), name).map_err(HandshakeError::Tls)?;
    let mut stream = TlsStream::new(socket, Connection::Client(connection), None);
    complete(&mut stream).await?;
    stream.made_by = Some(Arc::clone(tls));
    Ok(stream)
}

fn peer_ip(socket: &Socket) -> Result<IpAddr, HandshakeError> {
    let peer = SockRef::from(socket).peer_addr().map_err(HandshakeError::Io)?;
    let peer = peer.as_socket().ok_or_else(|| HandshakeError::Io(io::ErrorKind::Unsupported.into()))?;
    Ok(peer.ip())
}

async fn complete(stream: &mut TlsStream) -> Result<(), HandshakeError> {
    poll_fn(|cx| {
        loop {
            let is_handshaking = stream.connection.is_handshaking();
            // Tickets go with the first answer, where its request is there already.
            if is_handshaking || !stream.has_plaintext() {
                match stream.poll_flush(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(HandshakeError::Io(error))),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if !is_handshaking {
                return Poll::Ready(Ok(()));
            }
            match stream.poll_receive(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(why(stream, error))),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

fn why(stream: &TlsStream, error: io::Error) -> HandshakeError {
    match stream.fault() {
        Some(fault) => HandshakeError::Tls(fault.clone()),
        None if error.kind() == io::ErrorKind::UnexpectedEof => HandshakeError::Closed,
        None => HandshakeError::Io(error),
    }
}
