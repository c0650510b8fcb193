//! `ip_access`: admits or refuses by the client's address.
//!
//! Looks at `client.ip` alone, in which the trusted hops are considered already; never at a header.

mod ranges;
#[cfg(test)]
mod tests;

use ipnet::IpNet;
use narthex_contract::{CompileCx, Detail, Flow, Hooks, Policy, PolicyKind, Reason, Reply, RequestCx, Stage};
use narthex_document::Spanned;
use schemars::JsonSchema;
use serde::Deserialize;

use ranges::Ranges;

narthex_contract::reasons! {
    IP_DENIED = "ip_denied" 403 Client "This address may not call this API.",
        means "The client's address is in the deny list of an `ip_access`, or has an allow list and is not in it.",
        do "Compare the log's client address with the lists; behind a proxy, check that `trusted_hops` or `trusted_proxies` is right.";
}

/// The kind.
pub struct IpAccess;

/// At least one of the two lists.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Networks and addresses that are admitted; all others are refused.
    pub allow: Option<Vec<Spanned<String>>>,
    /// Networks and addresses that are refused, even where `allow` names them.
    pub deny: Vec<Spanned<String>>,
}

/// The lists, compiled.
pub struct Runtime {
    allow: Option<Ranges>,
    deny: Ranges,
}

impl PolicyKind for IpAccess {
    const NAME: &'static str = "ip_access";
    const SUMMARY: &'static str = "Admits or refuses by the client's address.";
    const STAGES: &'static [Stage] = &[Stage::Admit];
    const REASONS: &'static [Reason] = REASONS;
    type Config = Config;
    type Runtime = Runtime;

    fn compile(config: Config, cx: &mut CompileCx<'_>) -> Option<Runtime> {
        if config.allow.as_ref().map_or(config.deny.is_empty(), Vec::is_empty) {
            let (message, help) = match config.allow {
                Some(_) => ("an empty `allow` refuses everybody", "name who may come, or leave `allow` out"),
                None => (
                    "neither `allow` nor `deny` names a network",
                    "write one of them, as in `allow: [10.0.0.0/8]`",
                ),
            };
            cx.error("empty_ip_access", cx.span, message, help);
            return None;
        }
        let allow = config.allow.map(|texts| networks(&texts, cx));
        let deny = networks(&config.deny, cx);
        let allow = match allow {
            Some(allow) => Some(Ranges::new(allow?)),
            None => None,
        };
        Some(Runtime { allow, deny: Ranges::new(deny?) })
    }
}

impl Policy for Runtime {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let ip = cx.exchange.client.ip.to_canonical();
        let why = if self.deny.contains(ip) {
            "is in `deny`"
        } else if self.allow.as_ref().is_some_and(|allow| !allow.contains(ip)) {
            "is not in `allow`"
        } else {
            return Flow::Continue;
        };
        Flow::Answer(Reply::problem_with(IP_DENIED, Detail::operator(format!("{ip} {why}"))))
    }
}

fn networks(texts: &[Spanned<String>], cx: &mut CompileCx<'_>) -> Option<Vec<IpNet>> {
    let read: Vec<_> = texts.iter().map(|text| network(text, cx)).collect();
    read.into_iter().collect()
}

/// `10.0.0.0/8`, `2001:db8::/32`, or one address. Host bits must be clear: otherwise two readings are possible.
fn network(text: &Spanned<String>, cx: &mut CompileCx<'_>) -> Option<IpNet> {
    let parsed = match text.parse::<std::net::IpAddr>() {
        Ok(ip) => Ok(IpNet::from(ip)),
        Err(_) => text.parse::<IpNet>(),
    };
    let Ok(network) = parsed else {
        cx.error(
            "invalid_network",
            text.span,
            format!("`{}` is not a network", text.escape_debug()),
            "write an address or an address with a prefix length, as in 10.0.0.0/8 or 2001:db8::/32",
        );
        return None;
    };
    if network.trunc() != network {
        let (all, one) = (network.trunc(), IpNet::from(network.addr()));
        let message = format!("`{network}` has bits set behind its prefix of {} bits", network.prefix_len());
        cx.error(
            "invalid_network",
            text.span,
            message,
            format!("write {all} for the network, or {one} for the address"),
        );
        return None;
    }
    Some(network)
}
