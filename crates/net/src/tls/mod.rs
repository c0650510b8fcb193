//! TLS on both sides, by rustls with aws-lc-rs: handshakes, certificates by name, tickets, who a client proved to be.
//!
//! A finished connection is one more kind of [`crate::Stream`]. No HTTP in here, and no file is read.

mod certificate;
mod client;
mod handshake;
mod identity;
mod names;
mod server;
mod stream;
mod tickets;
mod verify;

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

pub use certificate::{Blame, Certificate, CertificateError, read_authorities, read_revocations};
pub use client::{ClientSettings, ClientTls, NameCheck, Roots};
pub use handshake::{HandshakeError, accept, connect};
pub use identity::{ClientCertificate, TlsFacts};
pub use server::{ClientMode, ClientRule, MinVersion, ServerSettings, ServerTls, UnknownName};
pub use stream::TlsStream;
pub use tickets::{TicketKeyError, TicketKeys};

/// The one provider of cryptography: aws-lc-rs, X25519MLKEM768 preferred.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
