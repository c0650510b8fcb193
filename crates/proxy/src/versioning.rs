//! The versions of a gateway's API on the request path: finds the request's, ends those that are over, marks answers,
//! counts who still asks. A gateway without versions comes here for one look at an `Option`.

use std::ops::Range;
use std::sync::Arc;

use narthex_contract::{Detail, Exchange, Reply, core};
use narthex_router::{Captures, FoundVersion, VersionBy, VersionMiss, Versions, path_after};
use narthex_telemetry::VersionSeries;
use narthex_wire::{Head, Known, Name};

use crate::exchange::Run;
use crate::forward::stripped;
use crate::routing::{RequestFacts, preflight_method};
use crate::snapshot::{PathEdit, Route};
use crate::worker::Worker;

const VARY: Name = Name::known(Known::Vary);

/// The versions of a gateway's API, compiled.
pub struct ApiVersions {
    pub finder: Versions,
    /// By the finder's indexes.
    pub each: Vec<ApiVersion>,
    /// By place: the service is sent the path without the version.
    pub strips: Vec<bool>,
    /// Fields of the request that answers depend on.
    pub vary: Vec<Box<str>>,
    /// Callers that are counted by name, for each version.
    pub callers: usize,
}

/// One of them.
pub struct ApiVersion {
    pub name: Arc<str>,
    /// When it ends, in seconds since 1970.
    pub sunset: Option<u64>,
    /// `Deprecation` and `Sunset` of its answers, in place of the service's.
    pub fields: Vec<(Name, Box<[u8]>)>,
    /// `Link` fields that are added.
    pub links: Vec<Box<[u8]>>,
    pub series: Arc<VersionSeries>,
}

/// A request's version, and where in its path the route's begins.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chosen {
    /// `None`: a preflight that names none is routed as if for every version.
    pub version: Option<u8>,
    /// Bytes of the path that name the version.
    pub prefix: usize,
    /// The service is sent the path without them.
    pub strips: bool,
}

impl Chosen {
    /// Where captures stand in the whole path, of which the router has seen what follows the version.
    pub fn in_path<'c>(
        &self,
        captures: &'c Captures,
        path: &str,
    ) -> impl Iterator<Item = Range<u32>> + use<'c> {
        let (prefix, end) = (self.prefix, path.len());
        // The path of a version alone has no slash at its end: the rest is empty there.
        let place = move |at: usize| (at + prefix).min(end) as u32;
        (0..captures.len()).filter_map(|at| captures.range(at)).map(move |r| place(r.start)..place(r.end))
    }

    /// The path that a service is sent instead of what the route's edit makes; `None`: that stays.
    pub fn sent_path(&self, path: &str, edit: &PathEdit) -> Option<String> {
        if self.prefix == 0 {
            return None;
        }
        let rest = path_after(path, self.prefix);
        let rest = match edit {
            PathEdit::Rewrite(_) => return None,
            PathEdit::Keep if !self.strips => return None,
            PathEdit::Keep => rest,
            PathEdit::Strip(prefix) => stripped(rest, prefix),
        };
        let kept = if self.strips { "" } else { path.get(..self.prefix).unwrap_or_default() };
        Some(format!("{kept}{rest}"))
    }
}

impl ApiVersions {
    /// The version of a request. Live routing and `explain` both ask here.
    pub fn find(&self, exchange: &Exchange, facts: &RequestFacts<'_>) -> Result<FoundVersion, VersionMiss> {
        let found = self.finder.find(facts, &exchange.path);
        if matches!(found, Err(VersionMiss::Missing) | Ok(FoundVersion { by: VersionBy::Default, .. }))
            && let Some(version) =
                exchange.api_version.as_deref().and_then(|of| self.finder.index(of.as_bytes()))
        {
            // What a destination asks for inside an exchange is of the exchange's version, unless it says otherwise.
            return Ok(FoundVersion { version, by: VersionBy::Default, prefix: 0 });
        }
        found
    }

    /// What `find` said, as far as routing goes. `now`: seconds since 1970.
    pub fn choose(&self, found: Result<FoundVersion, VersionMiss>, now: u64) -> Result<Chosen, Reply> {
        let found = found.map_err(|miss| self.refuse(miss))?;
        if self.of(found.version).and_then(|version| version.sunset).is_some_and(|end| end <= now) {
            return Err(core::API_VERSION_GONE.into());
        }
        let strips = match found.by {
            VersionBy::Named(at) | VersionBy::Fallback(at) => self.strips.get(usize::from(at)).copied(),
            VersionBy::Default => None,
        };
        let strips = strips.unwrap_or(false);
        Ok(Chosen { version: Some(found.version), prefix: found.prefix, strips })
    }

    pub fn of(&self, version: u8) -> Option<&ApiVersion> {
        self.each.get(usize::from(version))
    }

    #[cold]
    fn refuse(&self, miss: VersionMiss) -> Reply {
        let reason = match miss {
            VersionMiss::Unknown(_) => core::API_VERSION_UNKNOWN,
            VersionMiss::NotAcceptable => core::API_VERSION_NOT_ACCEPTABLE,
            VersionMiss::Missing => core::API_VERSION_MISSING,
        };
        let names: Vec<&str> = self.finder.names.iter().map(|name| &**name).collect();
        Reply::problem_with(reason, Detail::client(format!("The versions are {}.", names.join(", "))))
    }

    /// What every answer says: on what it depends, and how the version stands.
    pub fn mark(&self, version: Option<u8>, head: &mut Head) {
        self.add_vary(head);
        let Some(version) = version.and_then(|version| self.of(version)) else { return };
        for (name, value) in &version.fields {
            let stored = head.set(name, value);
            debug_assert!(stored.is_ok(), "dates are valid values");
        }
        for value in &version.links {
            let stored = head.append(&Name::known(Known::Link), value);
            debug_assert!(stored.is_ok(), "references are checked where they are configured");
        }
    }

    fn add_vary(&self, head: &mut Head) {
        let holds = |head: &Head, name: &str| {
            let members = head.all_known(Known::Vary).flat_map(|line| line.split(|byte| *byte == b','));
            members
                .map(<[u8]>::trim_ascii)
                .any(|one| one == b"*" || one.eq_ignore_ascii_case(name.as_bytes()))
        };
        for name in &self.vary {
            if !holds(head, name) {
                let stored = head.append(&VARY, name.as_bytes());
                debug_assert!(stored.is_ok(), "a field's name is a valid value");
            }
        }
    }
}

/// Step 2: finds the version; the route is looked for in what follows it in the path.
pub(crate) fn choose(run: &mut Run, versions: &ApiVersions) -> Result<Chosen, Reply> {
    let exchange = &mut run.exchange;
    let request = &exchange.request;
    let method = request.method.as_str();
    let (head, host, query) = (&request.head, &exchange.host, request.query());
    let found = versions.find(exchange, &RequestFacts { head, method, host, query, version: None });
    if let Ok(found) = found {
        run.version = Some(found.version);
        exchange.api_version = versions.of(found.version).map(|version| Arc::clone(&version.name));
    }
    match found {
        Err(VersionMiss::Missing) if preflight_method(&exchange.request).is_some() => Ok(Chosen::default()),
        found => versions.choose(found, exchange.began.unix_ms / 1_000),
    }
}

/// Where a part of the path names the version: makes what is to be sent.
pub(crate) fn edit_path(run: &mut Run, chosen: Chosen, route: &Route) {
    if let Some(path) = chosen.sent_path(&run.exchange.path, &route.edit) {
        run.rewritten = path;
        run.has_own_path = true;
    }
}

/// Step 5: marks the answer.
pub(crate) fn mark(run: &mut Run) {
    if let Some(versions) = run.gateway.as_ref().and_then(|gateway| gateway.versions.as_ref()) {
        versions.mark(run.version, &mut run.response.head);
    }
}

/// Step 7: counts who asked for what.
pub(crate) fn count(run: &Run, worker: &Worker) {
    let Some(versions) = run.gateway.as_ref().and_then(|gateway| gateway.versions.as_ref()) else { return };
    let Some(version) = run.version.and_then(|version| versions.of(version)) else { return };
    let caller = run.exchange.caller.as_deref().map_or("", |caller| &*caller.id);
    version.series.called(worker.index(), caller, versions.callers);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent() {
        let strip = || PathEdit::Strip("/api".into());
        for (path, prefix, strips, edit, sent) in [
            ("/users", 0, true, PathEdit::Keep, None),
            ("/v2/users", 3, true, PathEdit::Keep, Some("/users")),
            ("/v2/users", 3, false, PathEdit::Keep, None),
            ("/v2", 3, true, PathEdit::Keep, Some("/")),
            ("/v2/api/users", 3, true, strip(), Some("/users")),
            ("/v2/api/users", 3, false, strip(), Some("/v2/users")),
            ("/v2/api", 3, true, strip(), Some("/")),
            ("/v2/apiary", 3, true, strip(), Some("/apiary")),
        ] {
            let chosen = Chosen { version: Some(0), prefix, strips };
            assert_eq!(chosen.sent_path(path, &edit).as_deref(), sent, "{path} {strips}");
        }
    }
}
