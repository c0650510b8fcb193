//! WebSocket for tests, on tungstenite: clients and echoing services, on HTTP/1.1 and on HTTP/2 (RFC 8441). Every wait
//! has an end.

use std::net::{SocketAddr, TcpListener, TcpStream};

use bytes::Bytes;
use h2::{RecvStream, SendStream, client, server};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::client_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, accept_hdr_with_config};

use crate::PATIENCE;
use crate::http2::within;

/// Without limits on messages.
pub fn unlimited() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(None).max_frame_size(None)
}

/// Connects on HTTP/1.1.
///
/// # Errors
/// The handshake fails.
///
/// # Panics
/// Nobody listens.
pub fn connect(address: SocketAddr, path: &str) -> Result<WebSocket<TcpStream>, String> {
    let stream = TcpStream::connect(address).expect("the gateway listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    stream.set_write_timeout(Some(PATIENCE)).expect("a time-out can be set");
    let connected = client_with_config(format!("ws://a.test{path}"), stream, Some(unlimited()));
    connected.map(|(socket, _)| socket).map_err(|error| error.to_string())
}

/// A service on HTTP/1.1 that sends every message back, at any number of connections at once.
///
/// # Panics
/// The system gives no port.
pub fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(stream: TcpStream) {
    #[expect(clippy::result_large_err, reason = "the type is tungstenite's")]
    let protocol = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        if let Some(wanted) = request.headers().get("Sec-WebSocket-Protocol") {
            response.headers_mut().insert("Sec-WebSocket-Protocol", wanted.clone());
        }
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr_with_config(stream, protocol, Some(unlimited())) else { return };
    loop {
        match socket.read() {
            Ok(message) if message.is_text() || message.is_binary() => {
                if socket.send(message).is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// A stream of HTTP/2 as a byte stream.
pub fn bridge(mut send: SendStream<Bytes>, mut receive: RecvStream) -> DuplexStream {
    let (near, far) = duplex(64 * 1024);
    let (mut read, mut write) = tokio::io::split(far);
    tokio::spawn(async move {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = read.read(&mut buffer).await {
            let mut data = Bytes::copy_from_slice(&buffer[..count]);
            while !data.is_empty() {
                send.reserve_capacity(data.len());
                let capacity = std::future::poll_fn(|cx| send.poll_capacity(cx)).await;
                let Some(Ok(capacity)) = capacity else { return };
                if send.send_data(data.split_to(capacity.min(data.len())), false).is_err() {
                    return;
                }
            }
        }
        // The other side may have reset the stream: then it is over anyway.
        let _ = send.send_data(Bytes::new(), true);
    });
    tokio::spawn(async move {
        while let Some(Ok(data)) = receive.data().await {
            let _ = receive.flow_control().release_capacity(data.len());
            if write.write_all(&data).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    });
    near
}

/// What an extended CONNECT was answered with.
pub enum Connected {
    Tunnel(Box<WebSocketStream<DuplexStream>>),
    Refused(Box<crate::http2::Answer>),
}

/// Opens a WebSocket by extended CONNECT; the gateway answers `/fixed` by itself.
///
/// # Panics
/// The gateway does not allow it, or does not answer.
pub async fn connect_h2(address: SocketAddr, path: &str, protocol: &'static str) -> Connected {
    let mut client = crate::http2::connect(address).await;
    // The settings come with the first answer at the latest.
    let (first, _) = client
        .send_request(crate::http2::request("GET", "/fixed").body(()).expect("it is valid"), true)
        .expect("a stream can be opened");
    crate::http2::read(first).await.expect("it is answered");
    assert!(client.is_extended_connect_protocol_enabled(), "SETTINGS_ENABLE_CONNECT_PROTOCOL is not there");
    let mut request = crate::http2::request("CONNECT", path)
        .header("sec-websocket-version", "13")
        .body(())
        .expect("it is valid");
    request.extensions_mut().insert(h2::ext::Protocol::from_static(protocol));
    let mut ready = within("a free stream", client.ready()).await.expect("the connection lives");
    let (answer, send) = ready.send_request(request, false).expect("a stream can be opened");
    accepted(answer, send).await
}

async fn accepted(answer: client::ResponseFuture, send: SendStream<Bytes>) -> Connected {
    let (parts, body) = within("an answer", answer).await.expect("there is one").into_parts();
    if parts.status != 200 {
        let (body, trailers) = crate::http2::read_body(body).await.expect("it has a body");
        let (status, headers) = (parts.status.as_u16(), parts.headers);
        return Connected::Refused(Box::new(crate::http2::Answer { status, headers, body, trailers }));
    }
    assert!(!parts.headers.contains_key("sec-websocket-accept"), "{:?}", parts.headers);
    let stream = bridge(send, body);
    let socket = WebSocketStream::from_raw_socket(stream, Role::Client, Some(unlimited())).await;
    Connected::Tunnel(Box::new(socket))
}

/// A service on HTTP/2 that sends every message back, on a thread of its own; it ends with the process.
/// `takes_tunnels`: it says that it takes extended CONNECT.
///
/// # Panics
/// The system gives no port.
pub fn echo_h2(takes_tunnels: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    std::thread::spawn(move || {
        crate::http2::run(async move {
            listener.set_nonblocking(true).expect("a socket can be non-blocking");
            let listener = tokio::net::TcpListener::from_std(listener).expect("the runtime takes it");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve_h2(stream, takes_tunnels));
            }
        });
    });
    address
}

async fn serve_h2(stream: tokio::net::TcpStream, takes_tunnels: bool) {
    let mut builder = server::Builder::new();
    if takes_tunnels {
        builder.enable_connect_protocol();
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let is_tunnel = request.method() == http::Method::CONNECT
            && request.extensions().get::<h2::ext::Protocol>().is_some()
            && request.uri().path() != "/refuse"
            && !request.headers().contains_key("sec-websocket-key");
        let status = if is_tunnel { 200 } else { 403 };
        let response = http::Response::builder().status(status).body(()).expect("it is valid");
        let Ok(send) = respond.send_response(response, !is_tunnel) else { continue };
        if is_tunnel {
            tokio::spawn(echo_on(bridge(send, request.into_body())));
        }
    }
}

async fn echo_on(stream: DuplexStream) {
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(unlimited())).await;
    while let Ok(message) = read(&mut socket).await {
        if (message.is_text() || message.is_binary()) && write(&mut socket, message).await.is_err() {
            return;
        }
    }
}

/// The next message.
///
/// # Errors
/// The connection ends.
pub async fn read(socket: &mut WebSocketStream<DuplexStream>) -> Result<Message, Error> {
    futures_util::StreamExt::next(socket).await.unwrap_or(Err(Error::ConnectionClosed))
}

/// Sends a message.
///
/// # Errors
/// The connection ends.
pub async fn write(socket: &mut WebSocketStream<DuplexStream>, message: Message) -> Result<(), Error> {
    futures_util::SinkExt::send(socket, message).await
}
