//! File -> Snapshot. Finds every problem that needs a registry or the router; starts nothing, binds nothing.

mod certificates;
mod chains;
mod host;
mod listeners;
mod matching;
mod routes;
mod services;

use std::net::SocketAddr;
use std::sync::Arc;

use ahash::AHashMap;
use narthex_config::File;
use narthex_document::Diagnostic;
use narthex_proxy::{Gateway, ListenerPlan, Snapshot, State};
use narthex_telemetry::Metrics;

pub use certificates::{Holder, Secured, client_tls, server_settings};
pub use routes::known_destinations;
pub use services::Discovered;

/// What outlives a configuration, by name.
#[derive(Default)]
pub struct Keep {
    pub services: AHashMap<String, Arc<State>>,
    /// The indexes of listeners, by (name, address): stable as long as both are.
    pub listeners: Vec<(String, SocketAddr)>,
    /// What holds certificates.
    pub secured: Vec<Secured>,
}

/// A listener as compiled.
pub struct ListenerSpec {
    pub index: usize,
    pub name: String,
    pub address: SocketAddr,
}

/// A route in the order of `narthex routes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePlan {
    pub gateway: String,
    pub hosts: Vec<String>,
    pub route: String,
    pub matches: String,
    pub policies: Vec<String>,
    pub to: String,
    pub public: bool,
}

/// A configuration that may go live.
pub struct Compiled {
    pub snapshot: Snapshot,
    pub listeners: Vec<ListenerSpec>,
    pub discovered: Vec<Discovered>,
    pub secured: Vec<Secured>,
    pub routes: Vec<RoutePlan>,
    /// By gateway's name, for `explain`.
    pub gateways: Vec<Arc<Gateway>>,
}

impl Compiled {
    /// The plan of a listener by name.
    pub fn plan(&self, name: &str) -> Option<&Arc<ListenerPlan>> {
        let spec = self.listeners.iter().find(|spec| spec.name == name)?;
        self.snapshot.listener(spec.index)
    }
}

/// Compiles; pushes every problem. `None` exactly when one of them is an error.
pub fn compile(
    file: &File,
    keep: &mut Keep,
    metrics: &Metrics,
    problems: &mut Vec<Diagnostic>,
) -> Option<Compiled> {
    let before = problems.iter().filter(|problem| problem.is_error()).count();
    let mut work = Work { file, metrics, problems, service_names: Vec::new(), secured: Vec::new() };
    work.refuse_what_is_not_there();
    let (services, discovered) = services::compile(&mut work, keep);
    let (gateways, routes) = routes::compile(&mut work);
    let (plans, listeners) = listeners::compile(&mut work, keep, &gateways);
    let secured = std::mem::take(&mut work.secured);
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    if errors > before {
        return None;
    }
    let gateways = gateways.into_iter().flatten().collect();
    let snapshot = Snapshot { version: 0, listeners: plans, services };
    Some(Compiled { snapshot, listeners, discovered, secured, routes, gateways })
}

/// One compilation.
pub(crate) struct Work<'w> {
    pub file: &'w File,
    pub metrics: &'w Metrics,
    pub problems: &'w mut Vec<Diagnostic>,
    pub service_names: Vec<String>,
    pub secured: Vec<Secured>,
}

impl Work<'_> {
    pub fn error(
        &mut self,
        code: &'static str,
        span: narthex_document::Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.problems.push(Diagnostic::error(code, span, message).with_help(help));
    }

    /// A promise that this version cannot keep is refused, never ignored.
    fn refuse_what_is_not_there(&mut self) {
        let later =
            "remove it: this version cannot do it, and never runs a configuration with a promise missing";
        let file = self.file;
        for (_, listener) in file.listeners.iter() {
            if let Some(proxy) = listener.trusted_proxies.first() {
                let help = "write `trusted_hops: 1` for one proxy of your own in front";
                self.error("not_available", proxy.span, "`trusted_proxies` is not available", help);
            }
        }
        for (name, service) in file.services.iter() {
            if let Some(proto) = &service.proto {
                self.error("not_available", proto.span, "gRPC transcoding is not available", later);
            }
            if service.health.is_some() {
                self.error(
                    "not_available",
                    name.span,
                    "active health checks (`health`) are not available",
                    later,
                );
            }
        }
        if let Some(admin) = &file.admin {
            let is_loopback = admin.address.ip.is_some_and(|ip| ip.is_loopback());
            if !is_loopback && admin.token.is_none() {
                let help = "give it a `token: { env: NARTHEX_ADMIN_TOKEN }`, or a loopback address";
                self.error(
                    "admin_exposed",
                    admin.address.span,
                    "anybody who reaches this address could change the configuration",
                    help,
                );
            }
        }
        if let Some((name, _)) = file.tiers.iter().next() {
            self.error("not_available", name.span, "tiers are not available", later);
        }
        if let Some(log) = &file.access_log {
            let is_default =
                log.format == narthex_config::LogFormat::Json && log.fields.is_none() && log.sample.is_none();
            if !is_default {
                let help = "keep `to` alone: one JSON line per request with the standard fields";
                self.error(
                    "not_available",
                    log.to.span,
                    "`format`, `fields` and `sample` are not available",
                    help,
                );
            }
        }
    }
}

impl Keep {
    /// A copy to compile with: a configuration that is refused must leave no trace.
    pub fn copy(&self) -> Self {
        Self {
            services: self.services.clone(),
            listeners: self.listeners.clone(),
            secured: self.secured.clone(),
        }
    }
}
