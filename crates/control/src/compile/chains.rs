//! Policies to chains: inheritance, `without`, replacement, `locked`, `public`, the order of stages.

use std::sync::Arc;

use narthex_config::{Mode, PolicyDef, PolicyRef, Route};
use narthex_contract::{CompileCx, Fingerprint, Place, Policy, RegisteredPolicy, Stage};
use narthex_document::{Diagnostic, Span, Spanned, suggestion};
use narthex_proxy::{Chain, Link};

use super::Work;
use super::host::Host;
use super::keep::Reads;

/// A policy in its place, compiled.
#[derive(Clone)]
pub(super) struct Placed {
    pub link: Link,
    pub locked: bool,
}

/// The policies of one gateway: those before routing, and those that its routes inherit.
pub(super) struct GatewayPolicies {
    pub before: Vec<Placed>,
    pub inherited: Vec<Placed>,
    pub slots: u32,
}

/// Compiles a gateway's list, or takes what it was compiled to before. `Some`: what to know it by next time.
pub(super) fn of_gateway(
    work: &mut Work<'_>,
    gateway: &str,
    list: &[Spanned<PolicyRef>],
) -> (Arc<GatewayPolicies>, Option<(Fingerprint, Reads)>) {
    let fingerprint = work.written.gateways.get(gateway).map(|written| written.policies);
    if let Some(kept) = work.keep.gateways.get(gateway).map(Arc::clone)
        && Some(kept.fingerprint) == fingerprint
        && work.still(&kept.reads)
    {
        return (Arc::clone(&kept.policies), Some((kept.fingerprint, kept.reads.clone())));
    }
    let problems = work.problems.len();
    work.reads = Reads::default();
    let mut slots = 0;
    let placed = compile_list(work, list, Place::Gateway(gateway), &mut slots, false);
    let (before, inherited) = placed.into_iter().partition(|placed| placed.link.stage.runs_before_routing());
    let policies = Arc::new(GatewayPolicies { before: in_order(before), inherited, slots });
    // What was complained of is complained of again.
    let is_clean = work.problems.len() == problems;
    let reads = std::mem::take(&mut work.reads);
    (policies, fingerprint.filter(|_| is_clean).map(|fingerprint| (fingerprint, reads)))
}

/// Where a gateway lists a policy.
fn place_of(work: &Work<'_>, gateway: &str, policy: &str) -> Span {
    let listed = work.file.gateways.get(gateway).into_iter().flat_map(|gateway| &gateway.policies);
    listed.into_iter().find(|entry| entry.name() == policy).map_or(Span::NONE, |entry| entry.span)
}

/// The chain of one route, and the slots that it and its gateway use.
pub(super) fn of_route(
    work: &mut Work<'_>,
    place: Place<'_>,
    route: &Route,
    gateway: &GatewayPolicies,
) -> (Vec<Placed>, u32) {
    let mut slots = gateway.slots;
    let (Place::Gateway(name) | Place::Route { gateway: name, .. }) = place;
    let inherited = inherit(work, name, route, gateway);
    let authenticates = inherited.iter().any(authenticates);
    let own = compile_list(work, &route.policies, place, &mut slots, authenticates);
    let all: Vec<Placed> = inherited.into_iter().chain(own).collect();
    (in_order(all), slots)
}

/// Whether a policy finds out, with effect, who asks.
pub(super) fn authenticates(placed: &Placed) -> bool {
    placed.link.stage == Stage::Authenticate && !placed.link.shadow
}

/// By stage; within one, the gateway's before the route's, then as written.
fn in_order(mut placed: Vec<Placed>) -> Vec<Placed> {
    placed.sort_by_key(|placed| placed.link.stage);
    placed
}

pub(super) fn chain(placed: &[Placed], offset: usize) -> Chain {
    Chain::new(placed.iter().map(|placed| placed.link.clone()).collect(), offset)
}

/// What a route keeps of its gateway's policies.
fn inherit(work: &mut Work<'_>, of: &str, route: &Route, gateway: &GatewayPolicies) -> Vec<Placed> {
    for name in &route.without {
        refuse_removal(work, (of, gateway), name.as_str(), name.span, "removed");
    }
    for policy in &route.policies {
        refuse_replacement(work, (of, gateway), policy);
    }
    let stays = |placed: &&Placed| {
        let name = &*placed.link.name;
        let is_removed = route.without.iter().any(|removed| removed.as_str() == name);
        let is_replaced = route.policies.iter().any(|own| own.name() == name);
        let is_opened = route.public && matches!(placed.link.stage, Stage::Authenticate | Stage::Authorize);
        !(is_removed || is_replaced || is_opened)
    };
    if route.public
        && let Some(locked) = gateway.inherited.iter().find(|placed| {
            placed.locked && matches!(placed.link.stage, Stage::Authenticate | Stage::Authorize)
        })
    {
        let message = format!("`public: true` would remove `{}`, which is locked", locked.link.name);
        let span = route.matches.span;
        let locked_at = place_of(work, of, &locked.link.name);
        work.problems.push(
            Diagnostic::error("locked", span, message)
                .with_label(locked_at, "locked here")
                .with_help("remove `public: true`, or `locked: true` at the gateway's policy"),
        );
    }
    gateway.inherited.iter().filter(stays).cloned().collect()
}

/// A removal that cannot be: not inherited, locked, or before routing.
fn refuse_removal(
    work: &mut Work<'_>,
    (of, gateway): (&str, &GatewayPolicies),
    name: &str,
    span: Span,
    how: &str,
) {
    let listed_at = place_of(work, of, name);
    let named = |placed: &&Placed| &*placed.link.name == name;
    if let Some(before) = gateway.before.iter().find(named) {
        let message = format!(
            "`{name}` runs before a route is known (stage {}): no route can have it {how}",
            before.link.stage
        );
        let help = "list it on those routes that need it, instead of on the gateway";
        work.problems.push(
            Diagnostic::error("before_routing", span, message)
                .with_label(listed_at, "listed here")
                .with_help(help),
        );
        return;
    }
    match gateway.inherited.iter().find(named) {
        Some(placed) if placed.locked => work.problems.push(
            Diagnostic::error("locked", span, format!("`{name}` is locked: it cannot be {how}"))
                .with_label(listed_at, "locked here")
                .with_help("remove this, or `locked: true` at the gateway's policy"),
        ),
        Some(_) => {}
        None if how == "removed" => {
            let known = gateway.inherited.iter().map(|placed| &*placed.link.name);
            let help = suggestion(name, known);
            work.error(
                "undefined_policy",
                span,
                format!("the gateway has no policy `{name}` to remove"),
                help,
            );
        }
        None => {}
    }
}

fn refuse_replacement(
    work: &mut Work<'_>,
    (of, gateway): (&str, &GatewayPolicies),
    policy: &Spanned<PolicyRef>,
) {
    let name = policy.name().to_owned();
    // A route's own policy of a stage before routing stands beside the gateway's; another one replaces it.
    let is_before = gateway.before.iter().any(|placed| *placed.link.name == *name);
    if !is_before {
        refuse_removal(work, (of, gateway), &name, policy.span, "replaced");
    }
}

fn compile_list(
    work: &mut Work<'_>,
    list: &[Spanned<PolicyRef>],
    place: Place<'_>,
    slots: &mut u32,
    mut authenticated: bool,
) -> Vec<Placed> {
    let mut placed: Vec<Placed> = Vec::new();
    for entry in list {
        let (name, def, is_shared): (Arc<str>, &PolicyDef, bool) = match &**entry {
            PolicyRef::Name(name) => match work.named_policy(name.as_str()) {
                Some(def) => (Arc::clone(name.shared()), def, true),
                // `config` has reported it.
                None => continue,
            },
            PolicyRef::Inline(def) => (entry.name().into(), &**def, false),
        };
        if placed.iter().any(|known| known.link.name == name) {
            let help = format!(
                "remove one, or give one of them a name of its own: `name: {name}_2` in its settings"
            );
            work.error("duplicate_policy", entry.span, format!("`{name}` stands twice in this list"), help);
            continue;
        }
        let how = How { place, is_shared, authenticated };
        if let Some(link) = compile_policy(work, def, &name, how, slots) {
            let made = Placed { link, locked: def.locked };
            authenticated |= authenticates(&made);
            placed.push(made);
        }
    }
    placed
}

/// In what surroundings a policy is compiled.
struct How<'a> {
    place: Place<'a>,
    /// It is an entry of `policies`: its state is the same wherever it is used.
    is_shared: bool,
    authenticated: bool,
}

fn compile_policy(
    work: &mut Work<'_>,
    def: &PolicyDef,
    name: &Arc<str>,
    how: How<'_>,
    slots: &mut u32,
) -> Option<Link> {
    let kind = registered(work, &def.kind)?;
    let stage = stage_of(work, def, kind)?;
    let mut host = Host { work, slots };
    let mut cx = CompileCx::new(&mut host, how.place, name, def.settings.span, how.authenticated);
    if how.is_shared {
        cx = cx.with_state_name(&**name);
    }
    let policy: Arc<dyn Policy> = kind.compile(&def.settings, &mut cx)?.into();
    let stage = cx.stage().unwrap_or(stage);
    let attached = cx.take_attached();
    let shadow = def.mode == Mode::Shadow;
    Some(Link { name: Arc::clone(name), kind: kind.name(), stage, shadow, policy, attached })
}

pub(super) fn registered(
    work: &mut Work<'_>,
    kind: &Spanned<String>,
) -> Option<&'static dyn RegisteredPolicy> {
    let found = work.keep.kinds.policies.iter().copied().find(|known| known.name() == kind.as_str());
    if found.is_none() {
        let known = work.keep.kinds.policies.iter().map(|known| known.name());
        let help = suggestion(kind.as_str(), known);
        work.error(
            "unknown_policy",
            kind.span,
            format!("there is no kind of policy `{}`", kind.as_str()),
            help,
        );
    }
    found
}

pub(super) fn stage_of(work: &mut Work<'_>, def: &PolicyDef, kind: &dyn RegisteredPolicy) -> Option<Stage> {
    let Some(written) = &def.stage else { return kind.stages().first().copied() };
    let wanted = kind.stages().iter().copied().find(|stage| stage.as_str() == written.as_str());
    if wanted.is_none() {
        let stages: Vec<_> = kind.stages().iter().map(|stage| stage.as_str()).collect();
        let message = format!("`{}` cannot run at the stage `{}`", kind.name(), written.as_str());
        work.error("wrong_stage", written.span, message, format!("its stages: {}", stages.join(", ")));
    }
    wanted
}
