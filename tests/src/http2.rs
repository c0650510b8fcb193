//! HTTP/2 for tests, on the `h2` crate: a client that says exactly what it is told, and a service that answers by a closure.
//! Every wait has an end.

use bytes::Bytes;
use h2::{RecvStream, client, server};
use http::{HeaderMap, Request, Response};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// The longest that a test waits for one thing.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a test on a runtime of its own.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime needs only a descriptor").block_on(test)
}

/// Waits for one thing, but not for ever.
///
/// # Panics
/// It does not come within [`PATIENCE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not in time: {what}"),
    }
}

/// An HTTP/2 connection; the task that drives it runs beside the test.
pub type Client = client::SendRequest<Bytes>;

/// Connects by prior knowledge.
///
/// # Panics
/// Nobody listens.
pub async fn connect(address: SocketAddr) -> Client {
    let stream = TcpStream::connect(address).await.expect("the gateway listens");
    let (send, connection) = client::handshake(stream).await.expect("the gateway speaks HTTP/2");
    // How the connection ends is what its streams say.
    tokio::spawn(async move { drop(connection.await) });
    send
}

/// Connects by TLS, with ALPN; `config` must offer `h2`.
///
/// # Panics
/// Nobody listens, or the handshake fails.
pub async fn connect_tls(address: SocketAddr, config: Arc<rustls::ClientConfig>, name: &str) -> Client {
    let stream = TcpStream::connect(address).await.expect("the gateway listens");
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).expect("the name is one");
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await;
    let stream = stream.expect("the gateway shakes hands");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (send, connection) = client::handshake(stream).await.expect("the gateway speaks HTTP/2");
    tokio::spawn(async move { drop(connection.await) });
    send
}

/// A GET, or what `edit` makes of it.
pub fn request(method: &str, target: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("http://a.test{target}")).version(http::Version::HTTP_2)
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    /// The value of a field as text.
    pub fn field(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Reads a response to its end.
///
/// # Errors
/// The stream breaks.
pub async fn read(response: client::ResponseFuture) -> Result<Answer, h2::Error> {
    let (parts, body) = within("the response's head", response).await?.into_parts();
    let (body, trailers) = read_body(body).await?;
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body, trailers })
}

/// Reads a body to its end.
///
/// # Errors
/// The stream breaks.
pub async fn read_body(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = within("the body", body.data()).await {
        let data = match data {
            // The response is complete, and no more of the request is wanted (RFC 9113 8.1).
            Err(error) if error.reason() == Some(h2::Reason::NO_ERROR) => return Ok((all, None)),
            data => data?,
        };
        all.extend_from_slice(&data);
        // Fails only when the stream is gone, which the next read says.
        let _ = body.flow_control().release_capacity(data.len());
    }
    match within("the trailers", body.trailers()).await {
        Err(error) if error.reason() == Some(h2::Reason::NO_ERROR) => Ok((all, None)),
        trailers => Ok((all, trailers?)),
    }
}

/// A request as the service got it.
pub type Asked = (Request<RecvStream>, server::SendResponse<Bytes>);

/// Starts an h2c service on a thread of its own that answers each stream with `answer`; it ends with the process.
///
/// # Panics
/// The loopback has no free port.
pub fn serve<F>(answer: impl Fn(Asked) -> F + Clone + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + 'static,
{
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    std::thread::spawn(move || {
        run(tokio::task::LocalSet::new().run_until(async move {
            listener.set_nonblocking(true).expect("a socket can be non-blocking");
            let listener = TcpListener::from_std(listener).expect("the runtime takes it");
            while let Ok((stream, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::task::spawn_local(async move {
                    let Ok(mut connection) = server::handshake(stream).await else { return };
                    while let Some(Ok(asked)) = connection.accept().await {
                        tokio::task::spawn_local(answer(asked));
                    }
                });
            }
        }));
    });
    address
}

/// A bodiless answer.
pub fn head(status: u16) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(status).expect("the test names a valid status");
    response
}
