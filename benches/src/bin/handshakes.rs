//! Load of new TLS connections: handshake, one GET, read until the gateway closes; never a session taken up again.
//! Usage: handshakes PORT PATH CONNECTIONS SECONDS. Prints how many requests were answered.
//! TLS 1.3, AES-128-GCM and X25519 alone. It verifies nothing, so that it costs less than the gateway that it drives.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use narthex_benches::argument;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What one connection may take before it is an error.
const LOST: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<()> {
    let (port, path): (u16, String) = (argument(1, "a port")?, argument(2, "a path")?);
    let (count, seconds): (usize, f64) =
        (argument(3, "a number of connections")?, argument(4, "a number of seconds")?);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: handshakes\r\nConnection: close\r\n\r\n"
    );
    let connector = TlsConnector::from(Arc::new(configuration()?));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = Cell::new(0_u64);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let client = async || {
        while Instant::now() < end {
            let exchange = exchange(&connector, port, request.as_bytes());
            tokio::time::timeout(LOST, exchange).await.context("no answer in time")??;
            done.set(done.get() + 1);
        }
        anyhow::Ok(())
    };
    runtime.block_on(futures_util::future::try_join_all((0..count).map(|_| client())))?;
    println!("{}", done.get());
    Ok(())
}

fn configuration() -> anyhow::Result<ClientConfig> {
    let provider = CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![kx_group::X25519],
        ..default_provider()
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config =
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone)).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

async fn exchange(connector: &TlsConnector, port: u16, request: &[u8]) -> anyhow::Result<()> {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from("localhost")?;
    let mut stream = connector.connect(name, socket).await.context("the handshake failed")?;
    stream.write_all(request).await?;
    // rustls keeps what the socket did not take at once.
    stream.flush().await?;
    let mut answer = Vec::with_capacity(2048);
    // A gateway that closes without close_notify has answered all the same.
    let ended = stream.read_to_end(&mut answer).await;
    ensure!(
        answer.starts_with(b"HTTP/1.1 200") && answer.len() > 1024,
        "not an answer ({ended:?}): {}",
        String::from_utf8_lossy(&answer)
    );
    Ok(())
}

/// Believes every certificate and every signature.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 alone is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
