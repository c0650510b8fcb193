//! TLS with clients: the handshake before the first request, and whether a request may come on a connection.
//!
//! A handshake runs in the connection's own task, bounded in time and number; the accept loop never waits for one.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use arc_swap::ArcSwap;
use narthex_contract::{ClientCertificate, Tls};
use narthex_net::tls::{HandshakeError, ServerTls, TlsFacts};
use narthex_net::{Deadline, Stream};

use crate::worker::Worker;

/// A listener's TLS: replaced as a whole when one of its files changes.
pub struct ListenerTls {
    pub current: ArcSwap<ServerTls>,
    /// Handshakes that are under way, of all workers.
    pending: AtomicUsize,
}

impl ListenerTls {
    pub fn new(tls: ServerTls) -> Arc<Self> {
        Arc::new(Self { current: ArcSwap::from_pointee(tls), pending: AtomicUsize::new(0) })
    }
}

/// The facts of a client's connection, in both forms.
#[derive(Debug, Clone)]
pub struct Secured {
    facts: Arc<TlsFacts>,
    /// What an exchange holds.
    pub tls: Arc<Tls>,
    /// The client's certificate as `X-Forwarded-Client-Cert` has it.
    pub field: Option<Arc<str>>,
}

impl Secured {
    pub fn of(stream: &Stream) -> Option<Self> {
        let facts = Arc::clone(stream.tls()?);
        let client = facts.client.as_ref().map(|client| ClientCertificate {
            subject: client.subject.as_str().into(),
            san: client.sans.join(",").into(),
            sans: client.sans.clone(),
            spiffe: client.spiffe.as_deref().map(Into::into),
            fingerprint: client.fingerprint.as_str().into(),
            serial: client.serial.as_str().into(),
            not_after: client.not_after,
        });
        let tls = Tls { version: facts.version, cipher: facts.cipher, sni: facts.sni.clone(), client };
        let field = tls.client.as_ref().map(|client| field(client).into());
        Some(Self { facts, tls: Arc::new(tls), field })
    }

    /// Whether a request for `host` may come on this connection.
    pub fn admits(&self, listener: &ListenerTls, host: &str) -> bool {
        listener.current.load().admits(&self.facts, &lower_case(host))
    }

    /// Whether the client has proved what clients of `host` must.
    pub fn has_proved(&self, listener: &ListenerTls, host: &str) -> bool {
        listener.current.load().has_proved(&self.facts, &lower_case(host))
    }
}

/// `Hash=…;Subject="…";URI="…";DNS="…"`: as Envoy has it, each value quoted.
fn field(client: &ClientCertificate) -> String {
    let mut out = format!("Hash={};Subject=", client.fingerprint);
    quoted(&mut out, &client.subject);
    for san in &client.sans {
        if let Some((kind @ ("URI" | "DNS"), value)) = san.split_once(':') {
            out.push(';');
            out.push_str(kind);
            out.push('=');
            quoted(&mut out, value);
        }
    }
    out
}

/// Quoted, so that no text of a certificate can end its own value; what is not printable ASCII is percent-encoded.
fn quoted(out: &mut String, value: &str) {
    out.push('"');
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out.push('"');
}

fn lower_case(host: &str) -> Cow<'_, str> {
    match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => host.to_ascii_lowercase().into(),
        false => host.into(),
    }
}

/// The handshake with a client. `None`: there is no connection any more.
pub async fn shake_hands(stream: Stream, listener: &ListenerTls, worker: &Worker) -> Option<Stream> {
    let tls = listener.current.load_full();
    let metrics = worker.metrics();
    if listener.pending.fetch_add(1, Ordering::AcqRel) >= tls.handshakes {
        listener.pending.fetch_sub(1, Ordering::AcqRel);
        metrics.handshakes_refused.add(1);
        return None;
    }
    let _pending = Pending(&listener.pending);
    worker.refresh();
    let due = worker.due(tls.handshake);
    let mut deadline = Deadline::default();
    let mut handshake = pin!(stream.accept_tls(&tls));
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = handshake.as_mut().poll(cx) {
            return Poll::Ready(Some(ended));
        }
        deadline.poll(cx, worker.clock(), due).map(|()| None)
    })
    .await;
    match ended {
        Some(Ok(stream)) => {
            metrics.handshakes.add(1);
            if stream.tls().is_some_and(|facts| facts.is_resumed) {
                metrics.handshakes_resumed.add(1);
            }
            Some(stream)
        }
        Some(Err(error)) => {
            // A probe of a port that says nothing is not worth a line.
            if !matches!(error, HandshakeError::Closed) {
                tracing::debug!(%error, code = error.code(), "a TLS handshake failed");
            }
            worker.count_handshake_failure(error.code());
            None
        }
        None => {
            worker.count_handshake_failure("timeout");
            None
        }
    }
}

struct Pending<'p>(&'p AtomicUsize);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_certificate_can_pretend_to_be_more_than_it_is() {
        let client = ClientCertificate {
            subject: "CN=a\";URI=\"spiffe://x/\u{e9}\n".into(),
            sans: vec!["DNS:a.test".into(), "email:a@b".into(), "URI:spiffe://x/y;z".into()],
            fingerprint: "ab".into(),
            ..ClientCertificate::default()
        };
        let expected =
            r#"Hash=ab;Subject="CN=a\";URI=\"spiffe://x/%C3%A9%0A";DNS="a.test";URI="spiffe://x/y;z""#;
        assert_eq!(field(&client), expected);
    }
}
