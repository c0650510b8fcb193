//! Who runs a workload: the gateways that speak its protocol, each with the configuration for it, and their service.
//! All of a line-up run at the same time, idle but for their slice; the line-ups come one after the other.

use std::fs;

use super::Options;
use super::process::scratch;
use super::setup::{
    Candidate, Service, Start, chosen, envoy_with, narthex, narthex_named, nginx, nginx_with, peers, relay,
};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lineup {
    /// Plaintext HTTP in and out: all peers.
    Plain,
    Tls,
    WebSocket,
    Grpc,
    /// What watches over services is on.
    Guarded,
}

pub const LINEUPS: [Lineup; 5] =
    [Lineup::Plain, Lineup::Tls, Lineup::WebSocket, Lineup::Grpc, Lineup::Guarded];

impl Lineup {
    /// Starts the service and its gateways; the first one is narthex, to which the others are compared.
    pub fn start(self, options: &Options) -> anyhow::Result<(Service, Vec<Candidate>)> {
        let service = match self {
            Lineup::Plain | Lineup::Tls | Lineup::Guarded => Service::start()?,
            Lineup::WebSocket => Service::start_as("echo", &[])?,
            Lineup::Grpc => Service::start_as("unary", &[])?,
        };
        let at = service.port;
        let mut running = Vec::new();
        let others: &[(&str, Start)] = match self {
            Lineup::Plain => {
                running.extend([narthex(options, at, "narthex.yaml")?, relay(at)?]);
                running.extend(peers(options, at));
                &[]
            }
            Lineup::Tls => {
                certificate()?;
                running.push(narthex(options, at, "narthex-tls.yaml")?);
                &[("nginx", |at| nginx_with("nginx-tls.conf", at))]
            }
            Lineup::WebSocket => {
                running.extend([narthex(options, at, "narthex.yaml")?, relay(at)?]);
                &[]
            }
            Lineup::Grpc => {
                running.push(narthex(options, at, "narthex-grpc.yaml")?);
                &[("envoy", |at| envoy_with("envoy-grpc.yaml", at))]
            }
            Lineup::Guarded => {
                running.push(narthex(options, at, "narthex-guarded.yaml")?);
                running.push(narthex_named("bare", options, at, "narthex.yaml")?);
                &[("nginx", nginx)]
            }
        };
        running.extend(chosen(options, others, at));
        Ok((service, running))
    }
}

/// The certificate of all gateways: ECDSA on P-256, for `localhost`.
fn certificate() -> anyhow::Result<()> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
    let folder = scratch()?;
    fs::write(folder.join("localhost.pem"), certificate.pem())?;
    Ok(fs::write(folder.join("localhost.key"), key.serialize_pem())?)
}
