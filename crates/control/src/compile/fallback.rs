//! A route's ladder of fallbacks.

use narthex_config as config;
use narthex_contract::{CompileCx, Place};
use narthex_document::{Kind, Node, OneOrMany, Spanned, Value, from_node};
use narthex_proxy::{FallbackStep, Rung, StatusSet};

use super::Work;
use super::host::Host;

/// `None`: a rung has a problem.
pub(super) fn compile(
    work: &mut Work<'_>,
    route: &config::Route,
    place: Place<'_>,
    slots: &mut u32,
    authenticated: bool,
) -> Option<Vec<Rung>> {
    let mut rungs = Vec::new();
    let mut is_complete = true;
    for written in &route.fallback {
        let rung = match written.kind(&["service", "reply", "stale"]) {
            Ok(chosen) => rung(work, written, &chosen, place, slots, authenticated),
            Err(problem) => {
                work.problems.push(*problem);
                None
            }
        };
        match rung {
            Some(rung) => rungs.push(rung),
            None => is_complete = false,
        }
    }
    is_complete.then_some(rungs)
}

fn rung(
    work: &mut Work<'_>,
    written: &config::Destination,
    chosen: &Kind,
    place: Place<'_>,
    slots: &mut u32,
    authenticated: bool,
) -> Option<Rung> {
    let on = statuses(work, &written.0, chosen.kind.as_str());
    let step = match chosen.kind.as_str() {
        "service" => {
            let Some(name) = chosen.text() else {
                let message = "a service's name is wanted here";
                work.error("wrong_type", chosen.settings.span, message, "write `service: name`");
                return None;
            };
            FallbackStep::Service(work.service_id(*name)?)
        }
        "reply" => {
            let mut host = Host { work, slots };
            let mut cx = CompileCx::new(&mut host, place, "reply", written.0.span, authenticated);
            FallbackStep::Reply(narthex_destinations::fixed_reply(&chosen.settings, &mut cx)?)
        }
        _ => {
            let help = "remove it: a stale answer needs a cache, which this version does not have";
            work.error("not_available", chosen.kind.span, "`stale` is not available", help);
            return None;
        }
    };
    Some(Rung { step, on: on? })
}

/// `on` beside the kind: the statuses that the rung stands in for; no other key may stand there.
fn statuses(work: &mut Work<'_>, written: &Node, kind: &str) -> Option<StatusSet> {
    let mut statuses = StatusSet::default();
    let Value::Map(entries) = &written.value else { return Some(statuses) };
    let mut is_complete = true;
    for (key, value) in entries.iter().filter(|(key, _)| key.text != kind) {
        if key.text != "on" {
            let message = format!("`{}` is not a key here", key.text);
            work.error("unknown_key", key.span, message, "the keys beside the kind are: on");
            is_complete = false;
            continue;
        }
        let read = from_node::<OneOrMany<Spanned<config::ErrorStatus>, 1>>(value, work.problems);
        is_complete &= read.is_some();
        statuses.extend(read.iter().flat_map(|read| &read.0).map(|status| status.0));
    }
    is_complete.then_some(statuses)
}
