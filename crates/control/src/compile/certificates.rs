//! TLS of listeners and services: from the texts of their configuration to what `net` runs. The same functions serve
//! `check`, going live, and a certificate file that changes.

use std::sync::Arc;

use arc_swap::ArcSwap;
use narthex_config as config;
use narthex_document::{Diagnostic, Span, Spanned};
use narthex_net::tls::{
    Blame, Certificate, CertificateError, ClientMode, ClientRule, ClientSettings, ClientTls, MinVersion,
    NameCheck, Roots, ServerSettings, ServerTls, TicketKeys, UnknownName, read_authorities, read_revocations,
};
use narthex_proxy::ListenerTls;
use narthex_telemetry::CertificateState;

use super::Work;

/// Something that holds certificates, with all that it was made of.
#[derive(Clone)]
pub struct Secured {
    pub name: String,
    pub what: Holder,
    /// What is in use.
    pub certificates: Vec<Arc<Certificate>>,
}

/// A listener or a service.
#[derive(Clone)]
pub enum Holder {
    Listener { config: Box<config::Listener>, cell: Arc<ListenerTls> },
    Service { config: Box<config::Service>, cell: Arc<ArcSwap<ClientTls>> },
}

impl Secured {
    pub fn kind(&self) -> &'static str {
        match &self.what {
            Holder::Listener { .. } => "listener",
            Holder::Service { .. } => "service",
        }
    }

    pub fn states(&self, is_stale: bool) -> impl Iterator<Item = CertificateState> + '_ {
        self.certificates.iter().map(move |certificate| CertificateState {
            kind: self.kind(),
            owner: self.name.clone(),
            name: certificate.names.first().unwrap_or(&certificate.subject).clone(),
            not_after: certificate.not_after,
            is_stale,
        })
    }
}

/// TLS of a listener. What is the same as before keeps its sessions; what is wrong is pushed.
pub(super) fn listener(
    work: &mut Work<'_>,
    name: &str,
    listener: &config::Listener,
) -> Option<Arc<ListenerTls>> {
    if listener.certificates.is_empty() {
        return None;
    }
    let known = work.keep.secured("listener", name);
    if let Some(secured @ Secured { what: Holder::Listener { config, cell }, .. }) = &known
        && is_same_tls(config, listener)
    {
        work.secured.push(secured.clone());
        return Some(Arc::clone(cell));
    }
    let (settings, certificates) = match server_settings(listener, work.problems) {
        Ok(made) => made,
        Err(mut problems) => {
            work.problems.append(&mut problems);
            return None;
        }
    };
    let old = match &known {
        Some(Secured { what: Holder::Listener { cell, .. }, .. }) => Some(cell.current.load_full()),
        _ => None,
    };
    match ServerTls::new(settings, old.as_deref()) {
        Ok(tls) => {
            let cell = ListenerTls::new(tls);
            let what = Holder::Listener { config: Box::new(listener.clone()), cell: Arc::clone(&cell) };
            work.secured.push(Secured { name: name.to_owned(), what, certificates });
            Some(cell)
        }
        Err(message) => {
            let span = listener.certificates.first().map_or(Span::NONE, |first| first.span);
            work.error("bad_certificate", span, message, "see the guide to TLS");
            None
        }
    }
}

fn is_same_tls(a: &config::Listener, b: &config::Listener) -> bool {
    let bounds = |of: &config::Listener| {
        let bounds = &of.bounds;
        (bounds.handshakes, bounds.handshake_time, bounds.sessions)
    };
    a.certificates == b.certificates && a.tls == b.tls && a.http == b.http && bounds(a) == bounds(b)
}

type Made = (ServerSettings, Vec<Arc<Certificate>>);

/// What a listener's TLS is made of; warnings go to `warnings`.
pub fn server_settings(
    listener: &config::Listener,
    warnings: &mut Vec<Diagnostic>,
) -> Result<Made, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut certificates = Vec::new();
    for written in &listener.certificates {
        match pair(&written.cert, &written.key) {
            Ok(certificate) => {
                warnings.extend(odd(&certificate, written.cert.span));
                certificates.push(Arc::new(certificate));
            }
            Err(problem) => problems.push(problem),
        }
    }
    let default = config::ListenerTls::default();
    let tls = listener.tls.as_deref().unwrap_or(&default);
    let mut clients = Vec::new();
    for (_, client) in tls.clients.iter() {
        clients.push(ClientRule {
            hosts: client.hosts.iter().map(|host| host.0.clone()).collect(),
            mode: match client.verify {
                config::Verify::None => ClientMode::None,
                config::Verify::Optional => ClientMode::Optional,
                config::Verify::Required => ClientMode::Required,
            },
            authorities: texts(client.ca.as_ref(), "authorities", &mut problems, read_authorities),
            revocations: texts(client.crl.as_ref(), "revocation list", &mut problems, read_revocations),
        });
    }
    let tickets = match &tls.ticket_keys {
        None => TicketKeys::own(),
        Some(keys) => TicketKeys::parse(&keys.text).unwrap_or_else(|error| {
            let message = format!("these ticket keys cannot be used: {error}");
            let help = "make one with `openssl rand -base64 32`, one a line";
            problems.push(Diagnostic::error("bad_ticket_keys", keys.span, message).with_help(help));
            TicketKeys::own()
        }),
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let speaks = |version| listener.http.iter().any(|spoken| **spoken == version);
    let protocols = [(config::HttpVersion::Http2, &b"h2"[..]), (config::HttpVersion::Http1, b"http/1.1")];
    let settings = ServerSettings {
        certificates: certificates.clone(),
        unknown: match tls.unknown_name {
            config::UnknownName::Default => UnknownName::Default,
            config::UnknownName::Refuse => UnknownName::Refuse,
        },
        min_version: min_version(tls.min_version),
        alpn: protocols.iter().filter(|(version, _)| speaks(*version)).map(|(_, id)| id.to_vec()).collect(),
        clients,
        tickets,
        sessions: listener.bounds.sessions as usize,
        handshake: listener.bounds.handshake_time.0,
        handshakes: listener.bounds.handshakes as usize,
    };
    Ok((settings, certificates))
}

fn min_version(version: config::TlsVersion) -> MinVersion {
    match version {
        config::TlsVersion::Tls12 => MinVersion::Tls12,
        config::TlsVersion::Tls13 => MinVersion::Tls13,
    }
}

/// Where a text came from, in words.
fn origin(pem: &config::Pem) -> String {
    pem.path.as_ref().map_or_else(String::new, |path| format!(" from {}", path.display()))
}

fn pair(cert: &Spanned<config::Pem>, key: &Spanned<config::Pem>) -> Result<Certificate, Diagnostic> {
    Certificate::from_pem(&cert.text, &key.text).map_err(|error| {
        let (what, to_blame) = match error.blame() {
            Blame::Certificate => ("certificate", cert),
            Blame::Key => ("key", key),
        };
        let message = format!("the {what}{} cannot be used: {error}", origin(to_blame));
        let problem = Diagnostic::error("bad_certificate", to_blame.span, message);
        match error {
            CertificateError::Mismatch => problem.with_label(cert.span, "the certificate").with_help(
                "compare `openssl x509 -noout -pubkey -in CERT` with `openssl pkey -pubout -in KEY`",
            ),
            CertificateError::EncryptedKey => problem.with_help(
                "decrypt it: openssl pkey -in shop.key -out shop.plain.key, readable by the gateway only",
            ),
            CertificateError::NoCertificate | CertificateError::NoKey => {
                problem.with_help("give the path of a PEM file, or the PEM itself")
            }
            _ => problem,
        }
    })
}

/// What is no error, but seldom meant.
fn odd(certificate: &Certificate, span: Span) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    if certificate.not_after < now.as_secs() as i64 {
        let message =
            format!("the certificate of {} has expired: clients will refuse it", certificate.subject);
        found.push(Diagnostic::warning("expired_certificate", span, message).with_help("renew it"));
    }
    if certificate.names.is_empty() && certificate.addresses.is_empty() {
        let message = "the certificate stands for no name (it has no subject alternative names)";
        let help = "it is shown to those only who ask for an unknown name; make one with names";
        found.push(Diagnostic::warning("nameless_certificate", span, message).with_help(help));
    }
    found
}

fn texts<T>(
    pem: Option<&Spanned<config::Pem>>,
    what: &str,
    problems: &mut Vec<Diagnostic>,
    read: fn(&str) -> Result<Vec<T>, CertificateError>,
) -> Vec<T> {
    let Some(pem) = pem else { return Vec::new() };
    read(&pem.text).unwrap_or_else(|error| {
        let message = format!("the {what}{} cannot be used: {error}", origin(pem));
        problems.push(Diagnostic::error("bad_certificate", pem.span, message));
        Vec::new()
    })
}

/// TLS of a service, where its scheme asks for it.
pub(super) fn service(
    work: &mut Work<'_>,
    name: &Spanned<narthex_document::Name>,
    service: &config::Service,
) -> Option<Arc<ArcSwap<ClientTls>>> {
    let known = work.keep.secured("service", name.as_str());
    if let Some(secured @ Secured { what: Holder::Service { config, cell }, .. }) = &known
        && config.tls == service.tls
        && config.addresses() == service.addresses()
        && config.protocol == service.protocol
    {
        work.secured.push(secured.clone());
        return Some(Arc::clone(cell));
    }
    match client_tls(service, name.span) {
        Ok((tls, certificate)) => {
            let cell = Arc::new(ArcSwap::from_pointee(tls));
            let what = Holder::Service { config: Box::new(service.clone()), cell: Arc::clone(&cell) };
            let certificates = certificate.into_iter().collect();
            work.secured.push(Secured { name: name.to_string(), what, certificates });
            Some(cell)
        }
        Err(mut problems) => {
            work.problems.append(&mut problems);
            None
        }
    }
}

/// TLS to a service, as its configuration says.
pub fn client_tls(
    service: &config::Service,
    place: Span,
) -> Result<(ClientTls, Option<Arc<Certificate>>), Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let default = config::ServiceTls::default();
    let tls = service.tls.as_deref().unwrap_or(&default);
    let certificate = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => match pair(cert, key) {
            Ok(certificate) => Some(Arc::new(certificate)),
            Err(problem) => {
                problems.push(problem);
                None
            }
        },
        _ => None,
    };
    let roots = match &tls.ca {
        Some(ca) => Roots::Given(texts(Some(ca), "authorities", &mut problems, read_authorities)),
        None => Roots::System,
    };
    let revocations = texts(tls.crl.as_ref(), "revocation list", &mut problems, read_revocations);
    let name = match name_check(service, tls) {
        Ok(name) => name,
        Err(problem) => {
            problems.push(problem);
            return Err(problems);
        }
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let is_h2_scheme = service.addresses().iter().any(|one| one.address.scheme == config::Scheme::H2);
    let alpn: &[&[u8]] = match service.protocol.as_ref().map(|protocol| **protocol) {
        _ if is_h2_scheme => &[b"h2"],
        Some(config::Protocol::Http2 | config::Protocol::H2c) => &[b"h2"],
        Some(config::Protocol::Auto) => &[b"h2", b"http/1.1"],
        Some(config::Protocol::Http1) | None => &[b"http/1.1"],
    };
    let settings = ClientSettings {
        roots,
        revocations,
        name,
        spiffe: tls.spiffe.as_ref().map(|id| id.value.clone()),
        certificate: certificate.clone(),
        alpn: alpn.iter().map(|id| id.to_vec()).collect(),
        min_version: min_version(tls.min_version),
        accepts_anybody: tls.dangerously_accept_any_certificate,
    };
    match ClientTls::new(settings) {
        Ok(made) => Ok((made, certificate)),
        Err(message) => {
            let span = tls.ca.as_ref().map_or(place, |ca| ca.span);
            Err(vec![Diagnostic::error("bad_certificate", span, message)])
        }
    }
}

/// The name that every instance must prove: one for all, or each its own address.
fn name_check(service: &config::Service, tls: &config::ServiceTls) -> Result<NameCheck, Diagnostic> {
    if let Some(name) = &tls.name {
        return NameCheck::of(name).ok_or_else(|| {
            let message = format!("`{}` is neither a DNS name nor an address", name.value);
            Diagnostic::error("invalid_value", name.span, message)
        });
    }
    let addresses = service.addresses();
    if addresses.iter().all(|one| one.address.ip().is_some()) {
        return Ok(NameCheck::Address);
    }
    let Some(first) = addresses.first() else { return Ok(NameCheck::Address) };
    if let Some(other) = addresses.iter().find(|other| other.address.host != first.address.host) {
        let message = "the instances of one service prove one name, but these are several";
        let problem = Diagnostic::error("ambiguous_name", other.span, message);
        let help = "say which in tls: { name: … } (or `spiffe`), or make services of them";
        return Err(problem.with_label(first.span, "the first one is here").with_help(help));
    }
    NameCheck::of(&first.address.host).ok_or_else(|| {
        let message = format!("`{}` is no name that a certificate could stand for", first.address.host);
        let problem = Diagnostic::error("invalid_value", first.span, message);
        problem.with_help("say what its certificate stands for in tls: { name: … }")
    })
}
