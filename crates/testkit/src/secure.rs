//! A client over TLS that says exactly what it is told, and whose every wait has an end.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::Issued;

/// How to connect.
#[derive(Debug, Clone)]
pub struct TlsOptions {
    /// Whom to believe: PEM.
    pub ca: String,
    /// The name to ask for and to verify.
    pub name: String,
    /// What to show when asked.
    pub client: Option<Issued>,
    pub alpn: Vec<Vec<u8>>,
    /// TLS 1.2 and nothing else.
    pub only_tls12: bool,
    /// Whether to send SNI.
    pub sni: bool,
}

impl TlsOptions {
    pub fn new(ca: &str, name: &str) -> Self {
        Self {
            ca: ca.to_owned(),
            name: name.to_owned(),
            client: None,
            alpn: vec![b"http/1.1".to_vec()],
            only_tls12: false,
            sni: true,
        }
    }

    #[must_use]
    pub fn with_client(mut self, client: &Issued) -> Self {
        self.client = Some(client.clone());
        self
    }

    /// The configuration, to be shared where sessions are to be taken up again.
    ///
    /// # Panics
    /// A PEM is none.
    pub fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for ca in CertificateDer::pem_slice_iter(self.ca.as_bytes()) {
            roots.add(ca.expect("the authority is PEM")).expect("the authority is a certificate");
        }
        let versions: &[&rustls::SupportedProtocolVersion] =
            if self.only_tls12 { &[&rustls::version::TLS12] } else { rustls::ALL_VERSIONS };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("the provider knows these versions")
            .with_root_certificates(roots);
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let chain = CertificateDer::pem_slice_iter(client.cert.as_bytes()).collect::<Result<_, _>>();
                let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes()).expect("the key is PEM");
                builder
                    .with_client_auth_cert(chain.expect("the certificate is PEM"), key)
                    .expect("key and certificate belong together")
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config.enable_sni = self.sni;
        Arc::new(config)
    }
}

/// One connection, its handshake done.
#[derive(Debug)]
pub struct TlsClient {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl TlsClient {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// Nobody listens, or the handshake fails: the error says how, alerts included.
    pub fn connect(address: SocketAddr, options: &TlsOptions) -> io::Result<Self> {
        Self::connect_with(address, options.config(), &options.name)
    }

    /// The same with a configuration that remembers sessions.
    ///
    /// # Errors
    /// As there.
    pub fn connect_with(address: SocketAddr, config: Arc<ClientConfig>, name: &str) -> io::Result<Self> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(Duration::from_secs(10)))?;
        tcp.set_write_timeout(Some(Duration::from_secs(10)))?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream })
    }

    /// The connection itself, for who speaks something else on it.
    pub fn into_stream(self) -> StreamOwned<ClientConnection, TcpStream> {
        self.stream
    }

    /// What was agreed upon.
    pub fn connection(&self) -> &ClientConnection {
        &self.stream.conn
    }

    /// Sends these bytes as they are.
    ///
    /// # Errors
    /// The peer does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// GET, and the answer: status, head and body as text.
    ///
    /// # Errors
    /// The connection ends before the answer does, or a late alert refuses it.
    pub fn get(&mut self, host: &str, target: &str) -> io::Result<(u16, String)> {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))?;
        self.answer()
    }

    /// One answer with a length: status, head and body as text.
    ///
    /// # Errors
    /// The connection ends before the answer does.
    pub fn answer(&mut self) -> io::Result<(u16, String)> {
        let mut text = String::new();
        let mut byte = [0];
        while !text.ends_with("\r\n\r\n") {
            self.stream.read_exact(&mut byte)?;
            text.push(char::from(byte[0]));
        }
        let length = text
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0usize);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        text.push_str(&String::from_utf8_lossy(&body));
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Ok((status, text))
    }

    /// Reads to the end: `Ok` where close_notify announced it.
    ///
    /// # Errors
    /// The end came unannounced, or not in time.
    pub fn read_end(&mut self) -> io::Result<usize> {
        self.stream.read_to_end(&mut Vec::new())
    }
}
