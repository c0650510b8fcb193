//! Names by DNS: looked up again when the answer's time to live is over, within the bounds that are configured.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::time::Instant;

use crate::{Discovery, Found, Trouble};

/// How a name is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DnsSettings {
    /// An answer is kept at least so long, whatever its TTL says.
    pub min_ttl: Duration,
    /// An answer is kept at most so long.
    pub max_ttl: Duration,
    /// Time for one look-up.
    pub timeout: Duration,
    /// Ask this server instead of the system's.
    pub server: Option<SocketAddr>,
}

/// After a look-up that failed, the next one comes this soon at first, then later each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// One name.
pub struct Dns {
    name: String,
    settings: DnsSettings,
    resolver: Option<TokioResolver>,
    due: Option<Instant>,
    retry: Duration,
}

impl Dns {
    pub fn new(name: impl Into<String>, settings: DnsSettings) -> Self {
        Self { name: name.into(), settings, resolver: None, due: None, retry: FIRST_RETRY }
    }

    async fn look_up(&mut self) -> Found {
        if let Some(due) = self.due {
            tokio::time::sleep_until(due).await;
        }
        let found = self.ask().await;
        let wait = match &found {
            Ok((_, ttl)) => {
                self.retry = FIRST_RETRY;
                (*ttl).clamp(self.settings.min_ttl, self.settings.max_ttl.max(self.settings.min_ttl))
            }
            Err(_) => {
                let wait = self.retry;
                self.retry = (wait * 2).min(LAST_RETRY);
                wait
            }
        };
        self.due = Some(now() + wait);
        found.map(|(addresses, _)| addresses)
    }

    async fn ask(&mut self) -> Result<(Vec<IpAddr>, Duration), Trouble> {
        let trouble = |cause: &dyn std::fmt::Display| Trouble(format!("{}: {cause}", self.name));
        let resolver = match self.resolver.take() {
            Some(resolver) => resolver,
            None => build(&self.settings).map_err(|error| trouble(&error))?,
        };
        let answer =
            tokio::time::timeout(self.settings.timeout, resolver.lookup_ip(self.name.as_str())).await;
        let result = match answer {
            Err(_) => Err(trouble(&"the DNS server did not answer in time")),
            Ok(Err(error)) => Err(trouble(&error)),
            Ok(Ok(lookup)) => {
                let mut addresses: Vec<_> = lookup.iter().collect();
                addresses.sort_unstable();
                addresses.dedup();
                let ttl = lookup.valid_until().saturating_duration_since(now().into_std());
                if addresses.is_empty() { Err(trouble(&"no address")) } else { Ok((addresses, ttl)) }
            }
        };
        self.resolver = Some(resolver);
        result
    }
}

impl Discovery for Dns {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Found> + Send + '_>> {
        Box::pin(self.look_up())
    }
}

#[expect(clippy::disallowed_methods, reason = "a control loop on tokio's own clock, which tests can pause")]
fn now() -> Instant {
    Instant::now()
}

fn build(settings: &DnsSettings) -> Result<TokioResolver, Trouble> {
    let mut options = ResolverOpts::default();
    // This module keeps the time itself: an answer from a cache would be older than it says.
    options.cache_size = 0;
    options.timeout = settings.timeout;
    options.attempts = 2;
    let builder = match settings.server {
        Some(server) => {
            let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
            connections.iter_mut().for_each(|connection| connection.port = server.port());
            let config = NameServerConfig::new(server.ip(), true, connections);
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![config]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
        None => TokioResolver::builder_tokio().map_err(|error| Trouble(error.to_string()))?,
    };
    builder.with_options(options).build().map_err(|error| Trouble(error.to_string()))
}
