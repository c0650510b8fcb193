//! A route's mirror: the service that gets copies, and the rules by which they are sent.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use narthex_config as config;
use narthex_contract::RouteLabel;
use narthex_proxy::{
    Chain, DeadlineScope, Mirror, PathEdit, RetryRules, Route, RouteTimes, TimesOverride, To, Upgrades,
};
use narthex_telemetry::RouteSeries;

use super::Work;

pub(super) fn compile(
    work: &mut Work<'_>,
    route: &config::Route,
    label: &Arc<RouteLabel>,
    series: &Arc<RouteSeries>,
) -> Option<Arc<Mirror>> {
    let mirror = route.mirror.as_ref()?;
    if let config::To::Kind(kind) = &*route.to
        && let Ok(chosen) = kind.kind(&work.keep.kinds.destination_names())
        && let kind = chosen.kind.as_str()
        && !work.keep.kinds.destinations.iter().any(|known| known.name() == kind && known.forwards())
    {
        let message = format!("`mirror` has no effect: `{kind}` hands nothing on to a service");
        work.error("conflict", mirror.to.span, message, "remove `mirror`");
        return None;
    }
    // An undefined one was reported by `config`.
    let service = work.service_id(&mirror.to)?;
    let bounds = &mirror.bounds;
    let bytes = |size: narthex_document::ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
    Some(Arc::new(Mirror {
        service,
        share: mirror.share.hundredths(),
        timeout: mirror.timeout.0,
        body_bytes: bytes(bounds.body_bytes),
        answer_bytes: bytes(bounds.answer_bytes),
        requests: bounds.requests as usize,
        mark: format!("{}/{}", label.gateway, label.route).into(),
        route: Arc::new(Route {
            label: Arc::clone(label),
            captures: Arc::default(),
            chain: Chain::default(),
            slots: 0,
            to: To::Service(service),
            edit: PathEdit::Keep,
            fallback: Vec::new(),
            upgrades: Upgrades { websocket: false, close_when_removed: false },
            times: RouteTimes { deadline: mirror.timeout.0, scope: DeadlineScope::Whole },
            service_times: TimesOverride::default(),
            retry: Some(RetryRules { tries: 1, ..RetryRules::default() }),
            mirror: None,
            keeps_encoded_slashes: false,
            buffered_body: 0,
            series: Arc::clone(series),
            attached: None,
        }),
        under_way: AtomicUsize::new(0),
    }))
}
