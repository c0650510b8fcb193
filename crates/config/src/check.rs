//! Checks across the file that need no registry: names that lead nowhere, things that nothing uses, addresses given
//! twice. Looks for every problem, up to a bound.

use crate::file::File;
use crate::gateway::{Gateway, PolicyRef, Route, To};
use crate::load::MAX_PROBLEMS;
use crate::service::Service;
use narthex_document::{Diagnostic, Name, NameMap, Spanned};
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
    for (name, service) in &file.services {
        check_service(name, service, problems);
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
        }
        To::Kind(_) => {}
    }
    for service in route.fallback.iter().filter_map(|fallback| fallback.0.get("service")) {
        if let Some(name) = service.as_text()
            && file.services.get(name).is_none()
        {
            problems.push(file.services.undefined("service", name, service.span));
        }
    }
    if let Some(retry) = &route.retry {
        retry.check(problems);
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

fn check_service(name: &Spanned<Name>, service: &Service, problems: &mut Vec<Diagnostic>) {
    if let Some(retry) = &service.retry {
        retry.check(problems);
    }
    if let Some(breaker) = &service.breaker {
        breaker.check(problems);
    }
    if let Some(adaptive) = service.adaptive.as_ref().filter(|adaptive| *adaptive.max < adaptive.min) {
        let message = "`max` is less than `min`";
        problems.push(Diagnostic::error("invalid_value", adaptive.max.span, message));
    }
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
    let listeners = file.listeners.iter().map(|(_, listener)| listener.address);
    let all: Vec<_> = listeners.chain(file.admin.iter().map(|admin| admin.address)).collect();
    for (at, address) in all.iter().enumerate() {
        let clash = |other: &&Spanned<crate::HostPort>| {
            let same = other.ip == address.ip || other.ip.is_none() || address.ip.is_none();
            other.port == address.port && address.port != 0 && same
        };
        if let Some(first) = all[..at].iter().find(clash) {
            let message = format!("{} cannot be listened on twice", address.value);
            let problem = Diagnostic::error("duplicate_address", address.span, message);
            problems.push(problem.with_label(first.span, "taken here").with_help("choose another port"));
        }
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
            inline_mentions(&route.policies, &mut mentioned);
        }
    }
    file.policies.iter().for_each(|(_, policy)| mentions(&policy.settings, &mut mentioned));
    warn_unused("listener", &file.listeners, &used.listeners, problems);
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
