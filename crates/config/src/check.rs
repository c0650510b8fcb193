//! Checks across the file that need no registry: names that lead nowhere, things that nothing uses, addresses given
//! twice. Looks for every problem, up to a bound.

use crate::balance::Balance;
use crate::file::File;
use crate::gateway::{Gateway, PolicyRef, Route, To};
use crate::listener::Listener;
use crate::load::MAX_PROBLEMS;
use crate::service::{Protocol, Service};
use crate::tls::Verify;
use crate::url::{ListenAddress, Scheme};
use narthex_document::{Diagnostic, Name, NameMap, Span, Spanned};
use std::collections::BTreeSet;

/// Pushes every problem of references within the file.
pub fn check(file: &File, problems: &mut Vec<Diagnostic>) {
    let mut used = Used::default();
    for (name, gateway) in &file.gateways {
        check_gateway(file, name, gateway, &mut used, problems);
    }
    for (_, case) in &file.tests {
        for (name, _) in &case.answers {
            if file.services.get(name).is_none() {
                problems.push(file.services.undefined("service", name, name.span));
            }
        }
    }
    for (_, listener) in &file.listeners {
        check_listener(listener, problems);
    }
    for (name, service) in &file.services {
        check_tls(service, problems);
        check_service(name, service, problems);
    }
    for (name, listener) in &file.listeners {
        check_raw(file, name, listener, &mut used, problems);
    }
    addresses(file, problems);
    admin(file, problems);
    unused(file, &used, problems);
}

#[derive(Default)]
struct Used<'f> {
    listeners: BTreeSet<&'f str>,
    services: BTreeSet<&'f str>,
    policies: BTreeSet<&'f str>,
}

fn check_gateway<'f>(
    file: &'f File,
    name: &Spanned<Name>,
    gateway: &'f Gateway,
    used: &mut Used<'f>,
    problems: &mut Vec<Diagnostic>,
) {
    crate::versions::check(gateway, problems);
    if gateway.listeners.is_empty() {
        let message = format!("the gateway `{name}` has no listener");
        problems.push(
            Diagnostic::error("missing_key", name.span, message).with_help("name one in `listeners: [ … ]`"),
        );
    }
    for listener in &gateway.listeners {
        if file.listeners.get(listener).is_none() {
            problems.push(file.listeners.undefined("listener", listener, listener.span));
        }
        if !used_once(&gateway.listeners, listener) {
            problems.push(Diagnostic::warning(
                "repeated",
                listener.span,
                format!("`{listener}` stands here twice"),
            ));
        }
        used.listeners.insert(listener.as_str());
    }
    if gateway.routes.is_empty() {
        let message = format!("the gateway `{name}` has no routes: it answers 404 to everything");
        problems.push(Diagnostic::warning("no_routes", name.span, message));
    }
    check_policies(file, &gateway.policies, used, problems);
    let mut seen = 0;
    let mut errors = 0;
    for (_, route) in &gateway.routes {
        check_route(file, gateway, route, used, problems);
        errors += problems[seen..].iter().filter(|problem| problem.is_error()).count();
        seen = problems.len();
        // No more are told, and each may look for the nearest of 100,000 names.
        if errors > MAX_PROBLEMS {
            break;
        }
    }
}

/// A listener without HTTP: nothing else may stand on it, and its services must be there.
fn check_raw<'f>(
    file: &'f File,
    name: &'f Spanned<Name>,
    listener: &'f Listener,
    used: &mut Used<'f>,
    problems: &mut Vec<Diagnostic>,
) {
    let tcp = listener.tcp.iter().map(|tcp| (tcp.span, vec![&tcp.to]));
    let by_name = listener.tls_passthrough.iter();
    let by_name = by_name.map(|tls| (tls.span, tls.to.iter().map(|(_, service)| service).collect()));
    let all: Vec<(_, Vec<&Spanned<Name>>)> = tcp.chain(by_name).collect();
    let Some((span, _)) = all.first() else { return };
    if let [(first, _), (second, _), ..] = all.as_slice() {
        let problem =
            Diagnostic::error("conflict", *second, "`tcp` and `tls_passthrough` exclude each other");
        problems.push(problem.with_label(*first, "the other one").with_help("remove one of the two"));
    }
    if let Some(certificate) = listener.certificates.first() {
        let message = "a listener that passes connections through has no certificates";
        let problem =
            Diagnostic::error("conflict", certificate.span, message).with_label(*span, "this one does");
        problems.push(problem.with_help("remove the one or the other: the services hold the certificates"));
    }
    if let Some(port) = &listener.redirect_to_https {
        let message = "a listener that passes connections through answers nothing";
        let problem = Diagnostic::error("conflict", port.span, message).with_label(*span, "this one does");
        problems.push(problem.with_help("remove the one or the other"));
    }
    for (_, gateway) in &file.gateways {
        if let Some(wanted) = gateway.listeners.iter().find(|wanted| ***wanted == ***name) {
            let message = format!("no gateway can answer on `{name}`: it passes connections through");
            let problem = Diagnostic::error("conflict", wanted.span, message).with_label(*span, "here");
            problems.push(problem.with_help("give the gateway another listener"));
        }
    }
    used.listeners.insert(name.as_str());
    for service in all.into_iter().flat_map(|(_, services)| services) {
        if file.services.get(service).is_none() {
            problems.push(file.services.undefined("service", service, service.span));
        }
        used.services.insert(service.as_str());
    }
}

fn used_once(list: &[Spanned<Name>], item: &Spanned<Name>) -> bool {
    list.iter().find(|other| other.value == item.value).is_none_or(|first| first.span == item.span)
}

fn check_policies<'f>(
    file: &'f File,
    list: &'f [Spanned<PolicyRef>],
    used: &mut Used<'f>,
    problems: &mut Vec<Diagnostic>,
) {
    for (at, policy) in list.iter().enumerate() {
        if let PolicyRef::Name(name) = &policy.value {
            if file.policies.get(name).is_none() {
                let mut problem = file.policies.undefined("policy", name, name.span);
                if let Some(help) = &mut problem.help {
                    help.push_str(&format!("; a policy in place is written {{ {name}: {{ … }} }}"));
                }
                problems.push(problem);
            }
            used.policies.insert(name.as_str());
        }
        if let Some(first) = list[..at].iter().find(|other| other.name() == policy.name()) {
            let message = format!("the policy `{}` stands twice in this list", policy.name());
            let problem = Diagnostic::error("duplicate_policy", policy.span, message)
                .with_label(first.span, "first here");
            problems.push(problem.with_help("give one of them a `name:` of its own inside its settings"));
        }
    }
}

fn check_route<'f>(
    file: &'f File,
    gateway: &'f Gateway,
    route: &'f Route,
    used: &mut Used<'f>,
    problems: &mut Vec<Diagnostic>,
) {
    match &route.to.value {
        To::Service(name) => {
            if file.services.get(name).is_none() {
                problems.push(file.services.undefined("service", name, name.span));
            }
            no_raw(file, name, name.span, problems);
        }
        To::Kind(_) => {}
    }
    for service in route.fallback.iter().filter_map(|fallback| fallback.0.get("service")) {
        if let Some(name) = service.as_text()
            && file.services.get(name).is_none()
        {
            problems.push(file.services.undefined("service", name, service.span));
        }
        if let Some(name) = service.as_text() {
            no_raw(file, name, service.span, problems);
        }
    }
    if let Some(retry) = &route.retry {
        retry.check(problems);
    }
    if let Some(mirror) = &route.mirror {
        mirror.check(file, route, problems);
        no_raw(file, &mirror.to, mirror.to.span, problems);
    }
    check_policies(file, &route.policies, used, problems);
    for name in &route.without {
        check_without(file, gateway, name, problems);
    }
    for policy in &route.policies {
        let outer = gateway.policies.iter().find(|outer| outer.name() == policy.name());
        if let Some(outer) = outer.filter(|outer| is_locked(file, outer)) {
            let message =
                format!("the policy `{}` is locked by the gateway and cannot be replaced", policy.name());
            let problem =
                Diagnostic::error("locked", policy.span, message).with_label(outer.span, "locked here");
            problems.push(problem.with_help("give this one a `name:` of its own, so that both apply"));
        }
    }
    for name in &route.over {
        if gateway.routes.get(name).is_none() {
            problems.push(gateway.routes.undefined("route", name, name.span));
        }
    }
    if let (Some(strip), Some(rewrite)) = (&route.strip, &route.rewrite) {
        let problem = Diagnostic::error(
            "conflict",
            rewrite.span,
            "`rewrite` gives the whole path, so `strip` has no effect",
        );
        problems.push(problem.with_label(strip.span, "`strip` is here").with_help("remove one of the two"));
    }
    for path in route.strip.iter().chain(&route.rewrite) {
        if !path.starts_with('/') {
            problems.push(Diagnostic::error("invalid_value", path.span, "a path starts with `/`"));
        }
    }
}

/// A route speaks HTTP to its service.
fn no_raw(file: &File, name: &str, span: Span, problems: &mut Vec<Diagnostic>) {
    if file.services.get(name).is_some_and(Service::is_raw) {
        let message = format!("the service `{name}` has no HTTP: its url is tcp://");
        let help = "write http:// in its url, or name it in a listener's `tcp` or `tls_passthrough`";
        problems.push(Diagnostic::error("conflict", span, message).with_help(help));
    }
}

/// Whether inner lists may neither remove nor replace a policy.
fn is_locked(file: &File, policy: &PolicyRef) -> bool {
    match policy {
        PolicyRef::Name(name) => file.policies.get(name).is_some_and(|policy| policy.locked),
        PolicyRef::Inline(policy) => policy.locked,
    }
}

fn check_without(file: &File, gateway: &Gateway, name: &Spanned<Name>, problems: &mut Vec<Diagnostic>) {
    match gateway.policies.iter().find(|policy| policy.name() == name.as_str()) {
        None => {
            let names = gateway.policies.iter().map(|policy| policy.name());
            let message = format!("the gateway has no policy `{name}` to remove");
            let help = narthex_document::suggestion(name, names);
            problems.push(Diagnostic::error("undefined", name.span, message).with_help(help));
        }
        Some(policy) if is_locked(file, policy) => {
            let message = format!("the policy `{name}` is locked by the gateway and cannot be removed");
            problems
                .push(Diagnostic::error("locked", name.span, message).with_label(policy.span, "locked here"));
        }
        Some(_) => {}
    }
}

fn check_listener(listener: &Listener, problems: &mut Vec<Diagnostic>) {
    if let Some(tls) = &listener.tls {
        if listener.certificates.is_empty() {
            let problem =
                Diagnostic::error("missing_key", tls.span, "`tls` without `certificates` has no effect");
            problems
                .push(problem.with_help("add certificates: [ { cert: shop.pem, key: { file: shop.key } } ]"));
        }
        let mut of_all_others: Option<&Spanned<Name>> = None;
        for (name, client) in &tls.clients {
            if client.ca.is_none() && client.verify != Verify::None {
                let message = format!("`{name}` does not say which authorities are believed");
                problems.push(
                    Diagnostic::error("missing_key", name.span, message)
                        .with_help("add ca: with the path of their certificates"),
                );
            }
            if client.hosts.is_empty() {
                if let Some(first) = of_all_others {
                    let message = format!("`{name}` and `{first}` both stand for every other host");
                    let problem = Diagnostic::error("conflict", name.span, message);
                    problems
                        .push(problem.with_label(first.span, "the first one").with_help("give one `hosts`"));
                }
                of_all_others = Some(name);
            }
        }
        let all = || tls.clients.iter().flat_map(|(_, client)| &client.hosts);
        for (at, host) in all().enumerate() {
            if let Some(first) = all().take(at).find(|first| first.0 == host.0) {
                let message = format!("what clients of {} must prove is said twice", host.0);
                let problem = Diagnostic::error("conflict", host.span, message);
                problems
                    .push(problem.with_label(first.span, "first here").with_help("remove one of the two"));
            }
        }
    }
    if let (Some(redirect), Some(certificate)) = (&listener.redirect_to_https, listener.certificates.first())
    {
        let problem = Diagnostic::error(
            "conflict",
            redirect.span,
            "a listener with `certificates` speaks https already",
        );
        problems.push(
            problem
                .with_label(certificate.span, "`certificates` are here")
                .with_help("put the redirect on a listener of its own, usually at `:80`"),
        );
    }
}

fn check_tls(service: &Service, problems: &mut Vec<Diagnostic>) {
    let addresses = service.addresses();
    let is_secure = addresses.iter().any(|one| matches!(one.address.scheme, Scheme::Https | Scheme::H2));
    if let Some(protocol) = &service.protocol
        && **protocol == Protocol::Auto
        && !is_secure
        && !addresses.is_empty()
    {
        let problem = Diagnostic::error("conflict", protocol.span, "`auto` is chosen in the TLS handshake");
        problems.push(problem.with_help("write https:// in the url, or `http1` or `http2` here"));
    }
    if let Some(protocol) = &service.protocol
        && **protocol == Protocol::H2c
        && is_secure
    {
        let problem = Diagnostic::error("conflict", protocol.span, "`h2c` is HTTP/2 without TLS");
        problems.push(problem.with_help("write `http2` or `auto`"));
    }
    let Some(tls) = &service.tls else { return };
    if !is_secure && !addresses.is_empty() {
        let problem = Diagnostic::error("conflict", tls.span, "`tls` has no effect: the url is not https://");
        problems.push(problem.with_help("write https:// (or grpcs://) in the url"));
    }
    match (&tls.cert, &tls.key) {
        (Some(cert), None) => {
            let problem = Diagnostic::error("missing_key", cert.span, "a certificate needs its key");
            problems.push(problem.with_help("add key: { file: client.key }"));
        }
        (None, Some(key)) => {
            let problem = Diagnostic::error("missing_key", key.span, "a key needs its certificate");
            problems.push(problem.with_help("add cert: client.pem"));
        }
        _ => {}
    }
    if let Some(id) = &tls.spiffe
        && (!id.starts_with("spiffe://") || id.len() <= "spiffe://".len())
    {
        let message = format!("`{}` is not a SPIFFE id", id.value);
        let problem = Diagnostic::error("invalid_value", id.span, message);
        problems.push(problem.with_help("write it as in spiffe://example.org/orders"));
    }
    if tls.dangerously_accept_any_certificate {
        let message = "whoever stands between the gateway and this service can read and change everything";
        let problem = Diagnostic::warning("insecure", tls.span, message);
        problems
            .push(problem.with_help("remove dangerously_accept_any_certificate and give the service's `ca`"));
    }
}

fn check_service(name: &Spanned<Name>, service: &Service, problems: &mut Vec<Diagnostic>) {
    if let Some(retry) = &service.retry {
        retry.check(problems);
        if let (Some(hedge), Balance::Sticky(_)) = (&retry.hedge, &*service.balance) {
            let message = "a client that stays with one instance is not asked for by another";
            let problem = Diagnostic::error("conflict", hedge.after.span, message);
            problems.push(problem.with_label(service.balance.span, "here").with_help("remove `hedge`"));
        }
    }
    if let Some(breaker) = &service.breaker {
        breaker.check(problems);
    }
    if let Some(adaptive) = service.adaptive.as_ref().filter(|adaptive| *adaptive.max < adaptive.min) {
        let message = "`max` is less than `min`";
        problems.push(Diagnostic::error("invalid_value", adaptive.max.span, message));
    }
    if let Some(health) = &service.health {
        health.check(problems);
        let sockets = service.addresses().into_iter().filter(|one| one.address.socket.is_some());
        for instance in sockets.filter(|_| health.port.is_some()) {
            let message = "`health.port` cannot be asked on a Unix socket";
            problems.push(
                Diagnostic::error("conflict", instance.span, message)
                    .with_help("remove `port` from `health`"),
            );
        }
    }
    if let Some(outliers) = &service.outliers {
        outliers.check(problems);
    }
    service.balance.check(problems);
    match (&service.url, service.instances.as_slice()) {
        (None, []) => {
            let message = format!("the service `{name}` has neither `url` nor `instances`");
            problems.push(
                Diagnostic::error("missing_key", name.span, message)
                    .with_help("add url: \"http://host:port\""),
            );
        }
        (Some(url), [first, ..]) => {
            let problem =
                Diagnostic::error("conflict", first.span, "`url` and `instances` exclude each other");
            problems.push(
                problem.with_label(url.span, "`url` is here").with_help("put the url into `instances`"),
            );
        }
        (None, [first, rest @ ..]) => {
            for other in rest.iter().filter(|other| other.address.scheme != first.address.scheme) {
                let problem =
                    Diagnostic::error("conflict", other.span, "all instances of a service share one scheme");
                problems.push(problem.with_label(first.span, "the first one is here"));
            }
            if service.instances.iter().all(|instance| instance.weight == 0) {
                let message = format!("every instance of `{name}` has weight 0");
                problems.push(Diagnostic::error("invalid_value", first.span, message));
            }
        }
        _ => {}
    }
}

fn addresses(file: &File, problems: &mut Vec<Diagnostic>) {
    let of_listeners = file.listeners.iter().flat_map(|(_, listener)| listener.address.0.iter().cloned());
    let of_admin = file.admin.iter().map(|admin| {
        let address = ListenAddress::Tcp(*admin.address);
        Spanned::new(address, admin.address.span)
    });
    let all: Vec<_> = of_listeners.chain(of_admin).collect();
    for (at, address) in all.iter().enumerate() {
        if let Some(first) = all[..at].iter().find(|other| clash(other, address)) {
            let message = format!("{} cannot be listened on twice", address.value);
            let problem = Diagnostic::error("duplicate_address", address.span, message);
            let help = match address.value {
                ListenAddress::Tcp(_) => "choose another port",
                ListenAddress::Unix(_) => "choose another path",
            };
            problems.push(problem.with_label(first.span, "taken here").with_help(help));
        }
    }
    for (_, listener) in file.listeners.iter() {
        let has_unix = listener.address.0.iter().any(|one| matches!(one.value, ListenAddress::Unix(_)));
        if let Some(mode) = listener.mode.as_ref().filter(|_| !has_unix) {
            let problem = Diagnostic::error("conflict", mode.span, "`mode` is for Unix sockets");
            problems.push(problem.with_help("remove it, or listen on `unix:/run/narthex.sock`"));
        }
    }
}

/// `::` takes the connections of IPv4 as well.
fn clash(one: &ListenAddress, other: &ListenAddress) -> bool {
    match (one, other) {
        (ListenAddress::Tcp(one), ListenAddress::Tcp(other)) => {
            let is_any = |ip: Option<std::net::IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
            let canonical = |ip: Option<std::net::IpAddr>| ip.map(|ip| ip.to_canonical());
            let same = canonical(one.ip) == canonical(other.ip) || is_any(one.ip) || is_any(other.ip);
            one.port == other.port && one.port != 0 && same
        }
        (ListenAddress::Unix(one), ListenAddress::Unix(other)) => one == other,
        _ => false,
    }
}

fn admin(file: &File, problems: &mut Vec<Diagnostic>) {
    let Some(admin) = &file.admin else { return };
    let local = admin.address.ip.is_some_and(|ip| ip.is_loopback());
    if !local && admin.token.is_none() {
        let message = "the administration interface is open to the network without a token";
        let help = "add token: { env: ADMIN_TOKEN }, or listen on 127.0.0.1";
        problems.push(Diagnostic::error("open_admin", admin.address.span, message).with_help(help));
    }
    if let Some(token) = &admin.token
        && token.len() < 16
    {
        let message = "the token is shorter than 16 characters";
        problems.push(Diagnostic::error("invalid_value", token.span, message));
    }
}

/// What nothing refers to. A service may be named inside settings that only a registry understands, so every text of
/// every settings tree counts as a use.
fn unused<'f>(file: &'f File, used: &Used<'f>, problems: &mut Vec<Diagnostic>) {
    let mut mentioned: BTreeSet<&str> = used.services.clone();
    for (_, gateway) in &file.gateways {
        inline_mentions(&gateway.policies, &mut mentioned);
        for (_, route) in &gateway.routes {
            match &route.to.value {
                To::Service(name) => drop(mentioned.insert(name.as_str())),
                To::Kind(kind) => mentions(&kind.0, &mut mentioned),
            }
            route.fallback.iter().for_each(|kind| mentions(&kind.0, &mut mentioned));
            mentioned.extend(route.mirror.iter().map(|mirror| mirror.to.as_str()));
            inline_mentions(&route.policies, &mut mentioned);
        }
    }
    file.policies.iter().for_each(|(_, policy)| mentions(&policy.settings, &mut mentioned));
    // A listener that sends everybody elsewhere needs no gateway.
    let redirects = file.listeners.iter().filter(|(_, listener)| listener.redirect_to_https.is_some());
    let listeners = used.listeners.iter().copied().chain(redirects.map(|(name, _)| name.as_str())).collect();
    warn_unused("listener", &file.listeners, &listeners, problems);
    warn_unused("service", &file.services, &mentioned, problems);
    let policies: BTreeSet<&str> = used.policies.union(&mentioned).copied().collect();
    warn_unused("policy", &file.policies, &policies, problems);
}

fn inline_mentions<'f>(list: &'f [Spanned<PolicyRef>], out: &mut BTreeSet<&'f str>) {
    for policy in list {
        if let PolicyRef::Inline(policy) = &policy.value {
            mentions(&policy.settings, out);
        }
    }
}

fn mentions<'f>(node: &'f narthex_document::Node, out: &mut BTreeSet<&'f str>) {
    out.extend(node.as_text());
    node.items().iter().for_each(|item| mentions(item, out));
    for (key, value) in node.entries() {
        out.insert(&key.text);
        mentions(value, out);
    }
}

fn warn_unused<T>(what: &str, all: &NameMap<T>, used: &BTreeSet<&str>, problems: &mut Vec<Diagnostic>) {
    for (name, _) in all.iter().filter(|(name, _)| !used.contains(name.as_str())) {
        let message = format!("nothing uses the {what} `{name}`");
        problems.push(Diagnostic::warning("unused", name.span, message));
    }
}
