//! Follows the files of certificates: a good new one is used for the next handshake, a bad one leaves the old one in use
//! and is reported until it is mended. No new configuration comes of it.

use std::path::PathBuf;
use std::sync::Arc;

use ahash::AHashMap;
use narthex_config::Pem;
use narthex_document::{Diagnostic, Span};
use narthex_net::tls::ServerTls;
use narthex_telemetry::CertificateState;
use serde::Serialize;

use crate::compile::{Holder, Secured, client_tls, server_settings};
use crate::watch::{Mark, mark};

/// One holder of certificates, followed.
struct Followed {
    secured: Secured,
    files: Vec<PathBuf>,
    /// The files as they were when they were read last; empty: not yet.
    read: Vec<Mark>,
    /// The files as they were at the last look.
    seen: Vec<Mark>,
    problem: Option<String>,
}

/// Everything that holds certificates.
#[derive(Default)]
pub struct Certificates {
    all: Vec<Followed>,
}

/// A certificate in use, for `narthex status`.
#[derive(Debug, Clone, Serialize)]
pub struct CertificateStatus {
    /// `listener` or `service`.
    pub kind: &'static str,
    pub owner: String,
    pub names: Vec<String>,
    pub subject: String,
    pub fingerprint: String,
    pub not_before_unix: i64,
    pub not_after_unix: i64,
    /// Why the files on the disk are not in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Certificates {
    /// These are in use from now on.
    pub fn start(&mut self, secured: Vec<Secured>) {
        self.all = secured
            .into_iter()
            .map(|secured| {
                let files = files(&secured);
                Followed { secured, files, read: Vec::new(), seen: Vec::new(), problem: None }
            })
            .collect();
    }

    /// Looks at all files. `true`: something is different from before.
    pub fn look(&mut self) -> bool {
        let mut changed = false;
        for followed in &mut self.all {
            changed |= followed.look();
        }
        changed
    }

    /// What the next compilation may keep.
    pub fn secured(&self) -> AHashMap<(&'static str, String), Secured> {
        let all = self.all.iter().map(|followed| &followed.secured);
        all.map(|secured| ((secured.kind(), secured.name.clone()), secured.clone())).collect()
    }

    pub fn states(&self) -> Vec<CertificateState> {
        self.all.iter().flat_map(|followed| followed.secured.states(followed.problem.is_some())).collect()
    }

    pub fn status(&self) -> Vec<CertificateStatus> {
        let of = |followed: &Followed| {
            let (kind, owner) = (followed.secured.kind(), followed.secured.name.clone());
            let problem = followed.problem.clone();
            let of_each = move |certificate: &Arc<narthex_net::tls::Certificate>| CertificateStatus {
                kind,
                owner: owner.clone(),
                names: certificate.names.clone(),
                subject: certificate.subject.clone(),
                fingerprint: certificate.fingerprint.clone(),
                not_before_unix: certificate.not_before,
                not_after_unix: certificate.not_after,
                problem: problem.clone(),
            };
            followed.secured.certificates.iter().map(of_each).collect::<Vec<_>>()
        };
        self.all.iter().flat_map(of).collect()
    }
}

fn pems_mut(what: &mut Holder) -> Vec<&mut Pem> {
    match what {
        Holder::Listener { config, .. } => {
            let pairs = config.certificates.iter_mut().map(|pair| &mut pair.value);
            let mut all: Vec<_> =
                pairs.flat_map(|pair| [&mut pair.cert.value, &mut pair.key.value]).collect();
            all.extend(config.tls.iter_mut().flat_map(|tls| tls.value.pems_mut()));
            all
        }
        Holder::Service { config, .. } => {
            config.tls.iter_mut().flat_map(|tls| tls.value.pems_mut()).collect()
        }
    }
}

fn files(secured: &Secured) -> Vec<PathBuf> {
    let mut what = secured.what.clone();
    let mut files: Vec<_> = pems_mut(&mut what).into_iter().filter_map(|pem| pem.path.clone()).collect();
    files.sort();
    files.dedup();
    files
}

impl Followed {
    fn look(&mut self) -> bool {
        let now: Vec<_> = self.files.iter().map(mark).collect();
        // A certificate and its key are seldom written at one instant: only what has been quiet for a look is read.
        let is_quiet = now == self.seen;
        self.seen = now;
        if !is_quiet || self.seen == self.read {
            return false;
        }
        self.read.clone_from(&self.seen);
        let before = self.problem.take();
        let (kind, name) = (self.secured.kind(), self.secured.name.as_str());
        match renewed(&self.secured) {
            Ok(None) => before.is_some(),
            Ok(Some(secured)) => {
                tracing::info!("the certificates of {kind} `{name}` have changed: the new ones are in use");
                self.secured = secured;
                true
            }
            Err(problem) => {
                tracing::error!(
                    "the certificates of {kind} `{name}` have changed and are not good, the old ones stay in use: {problem}"
                );
                self.problem = Some(problem);
                true
            }
        }
    }
}

/// Reads the files again and puts what they hold to use; `None` where it is the same.
fn renewed(secured: &Secured) -> Result<Option<Secured>, String> {
    let mut what = secured.what.clone();
    let mut is_same = true;
    for pem in pems_mut(&mut what) {
        let Some(path) = &pem.path else { continue };
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        is_same &= pem.text == text;
        pem.text = text;
    }
    if is_same {
        return Ok(None);
    }
    let certificates = match &what {
        Holder::Listener { config, cell } => {
            let mut warnings = Vec::new();
            let (settings, certificates) =
                server_settings(config, &mut warnings).map_err(|problems| words(&problems))?;
            let tls = ServerTls::new(settings, Some(&cell.current.load()))?;
            cell.current.store(Arc::new(tls));
            for warning in warnings {
                tracing::warn!("listener `{}`: {}", secured.name, warning.message);
            }
            certificates
        }
        Holder::Service { config, cell } => {
            let (tls, certificate) = client_tls(config, Span::NONE).map_err(|problems| words(&problems))?;
            cell.store(Arc::new(tls));
            certificate.into_iter().collect()
        }
    };
    Ok(Some(Secured { name: secured.name.clone(), what, certificates }))
}

fn words(problems: &[Diagnostic]) -> String {
    problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ")
}
