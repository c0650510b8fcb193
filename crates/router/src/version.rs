//! Which version of an API a request asks for: by a prefix of its path, a header, its media type or its query.
//! Sans-IO like the rest of the crate, so that live routing and `explain` find the same. It knows names of versions and
//! places where they stand, never what a version means: dates, headers and answers are the caller's.

use std::sync::Arc;

use crate::accept::{Asks, Preference};
use crate::evaluate::Facts;
use crate::value::{query_value, with_header};

/// Most versions of one gateway: a set of them is one word.
pub const MAX_VERSIONS: usize = 64;

/// Some of a gateway's versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionSet {
    bits: u64,
    /// The names of all.
    all: Arc<[Box<str>]>,
}

impl VersionSet {
    /// Those of `all` that `is_in` picks; of more than [`MAX_VERSIONS`] the first.
    pub fn new(all: &Arc<[Box<str>]>, is_in: impl Fn(&str) -> bool) -> Self {
        let numbered = all.iter().take(MAX_VERSIONS).enumerate();
        let bits = numbered.filter(|(_, name)| is_in(name)).fold(0, |bits, (at, _)| bits | 1 << at);
        VersionSet { bits, all: Arc::clone(all) }
    }

    /// `None` is a request without a version, such as a preflight: every route may answer it.
    #[inline]
    pub(crate) fn holds(&self, version: Option<u8>) -> bool {
        version.is_none_or(|version| self.bits >> version & 1 == 1)
    }

    pub(crate) fn disjoint(&self, other: &Self) -> bool {
        self.bits & other.bits == 0
    }

    pub(crate) fn within(&self, other: &Self) -> bool {
        self.bits & !other.bits == 0
    }

    /// Every version that there is: no test at all.
    pub(crate) fn is_all(&self) -> bool {
        self.bits == every(self.all.len())
    }

    pub(crate) fn bits(&self) -> u64 {
        self.bits
    }

    pub(crate) fn all_bits(&self) -> u64 {
        every(self.all.len())
    }

    pub(crate) fn name(&self, version: u8) -> &str {
        self.all.get(usize::from(version)).map_or("", |name| name)
    }

    /// The names of those in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().enumerate().filter(|(at, _)| self.bits >> at & 1 == 1).map(|(_, name)| &**name)
    }
}

fn every(count: usize) -> u64 {
    if count >= MAX_VERSIONS { u64::MAX } else { (1 << count) - 1 }
}

/// Where a request may name its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionPlace {
    /// After this text at the beginning of the path, up to the next slash: `/v` for `/v2/users`.
    Path(Box<str>),
    /// A header's value. The name in lower case.
    Header(Box<str>),
    /// `Accept`: `application/vnd.shop.v2+json`, or any type with `;version=2`.
    MediaType {
        /// `vnd.shop`; none: every vendor's.
        vendor: Option<Box<str>>,
        /// The parameter's name in lower case.
        parameter: Box<str>,
    },
    /// A parameter of the query.
    Query(Box<str>),
}

impl VersionPlace {
    /// The header that the answer depends on (RFC 9110, 12.5.5).
    pub fn vary(&self) -> Option<&str> {
        match self {
            VersionPlace::Header(name) => Some(name),
            VersionPlace::MediaType { .. } => Some("accept"),
            VersionPlace::Path(_) | VersionPlace::Query(_) => None,
        }
    }
}

impl std::fmt::Display for VersionPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            VersionPlace::Path(_) => f.write_str("the path"),
            VersionPlace::Header(name) => write!(f, "the header {name}"),
            VersionPlace::MediaType { .. } => f.write_str("the header accept"),
            VersionPlace::Query(name) => write!(f, "the query parameter {name}"),
        }
    }
}

/// How the version of a request is found. Names are compared without regard to case.
#[derive(Debug, Clone)]
pub struct Versions {
    /// At most [`MAX_VERSIONS`].
    pub names: Arc<[Box<str>]>,
    /// In this order; the first that names a version decides.
    pub places: Box<[VersionPlace]>,
    /// For a request that names none.
    pub default: Option<u8>,
    /// For a request that names one that there is not. Never for a media type.
    pub fallback: Option<u8>,
}

/// The version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundVersion {
    /// Index into the names.
    pub version: u8,
    pub by: VersionBy,
    /// So many bytes of the path named it; routes match what follows.
    pub prefix: usize,
}

/// Why it is that version. Numbers are those of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionBy {
    Named(u8),
    Default,
    Fallback(u8),
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionMiss {
    /// This place names one that there is not.
    Unknown(u8),
    /// `Accept` names versions, and none that there is.
    NotAcceptable,
    /// No place names one, and there is no default.
    Missing,
}

/// What one place says.
enum Said {
    Nothing,
    Version(u8, usize),
    /// So many bytes of the path.
    Unknown(usize),
    NotAcceptable,
}

impl Versions {
    /// The version that a request asks for. `path` is normalised. Allocates nothing for ordinary values.
    pub fn find<F: Facts>(&self, facts: &F, path: &str) -> Result<FoundVersion, VersionMiss> {
        for (at, place) in self.places.iter().enumerate() {
            let at = at as u8;
            match self.look(place, facts, path) {
                Said::Nothing => {}
                Said::Version(version, prefix) => {
                    return Ok(FoundVersion { version, by: VersionBy::Named(at), prefix });
                }
                Said::Unknown(prefix) => {
                    let found = |version| FoundVersion { version, by: VersionBy::Fallback(at), prefix };
                    return self.fallback.map(found).ok_or(VersionMiss::Unknown(at));
                }
                Said::NotAcceptable => return Err(VersionMiss::NotAcceptable),
            }
        }
        let found = |version| FoundVersion { version, by: VersionBy::Default, prefix: 0 };
        self.default.map(found).ok_or(VersionMiss::Missing)
    }

    /// What was found and why, for people.
    pub fn describe<F: Facts>(
        &self,
        facts: &F,
        path: &str,
        found: Result<FoundVersion, VersionMiss>,
    ) -> String {
        let name = |version: u8| self.name(version);
        let place = |at: u8| self.places.get(usize::from(at));
        let text = |at: u8| place(at).map_or_else(String::new, |place| written(place, facts, path));
        match found {
            Ok(FoundVersion { version, by: VersionBy::Named(at), .. }) => match place(at) {
                Some(place) => format!("{}, named by {place}", name(version)),
                None => name(version).to_owned(),
            },
            Ok(FoundVersion { version, by: VersionBy::Default, .. }) => {
                format!("{}, the default: the request names none", name(version))
            }
            Ok(FoundVersion { version, by: VersionBy::Fallback(at), .. }) => {
                format!("{}, the fallback: there is no version {}", name(version), text(at))
            }
            Err(VersionMiss::Unknown(at)) => format!("none: there is no version {}", text(at)),
            Err(VersionMiss::NotAcceptable) => {
                "none: the header accept names versions, and none that there is".to_owned()
            }
            Err(VersionMiss::Missing) => "none: the request names none, and there is no default".to_owned(),
        }
    }

    pub fn name(&self, version: u8) -> &str {
        self.names.get(usize::from(version)).map_or("", |name| name)
    }

    pub fn index(&self, name: &[u8]) -> Option<u8> {
        self.names.iter().position(|known| known.as_bytes().eq_ignore_ascii_case(name)).map(|at| at as u8)
    }

    fn look<F: Facts>(&self, place: &VersionPlace, facts: &F, path: &str) -> Said {
        let named = |value: Option<&[u8]>| match value {
            None | Some(b"") => Said::Nothing,
            Some(value) => self.index(value).map_or(Said::Unknown(0), |version| Said::Version(version, 0)),
        };
        match place {
            VersionPlace::Path(prefix) => self.look_at_path(prefix, path),
            VersionPlace::Header(name) => with_header(facts.header_values(name), named),
            VersionPlace::Query(name) => named(query_value(facts.query(), name).as_deref()),
            VersionPlace::MediaType { vendor, parameter } => {
                let asks = Asks { vendor: vendor.as_deref(), parameter, default: self.default };
                match asks.prefer(facts.header_values("accept"), |name| self.index(name)) {
                    Preference::None => Said::Nothing,
                    Preference::Version(version) => Said::Version(version, 0),
                    Preference::NotAcceptable => Said::NotAcceptable,
                }
            }
        }
    }

    fn look_at_path(&self, prefix: &str, path: &str) -> Said {
        let Some(name) = path_version(prefix, path) else { return Said::Nothing };
        let end = prefix.len() + name.len();
        match self.index(name.as_bytes()) {
            Some(version) => Said::Version(version, end),
            // `/videos` is no version of `/v…`.
            None if looks_like_a_version(name) => Said::Unknown(end),
            None => Said::Nothing,
        }
    }
}

fn path_version<'p>(prefix: &str, path: &'p str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix)?;
    rest.split('/').next().filter(|name| !name.is_empty())
}

fn looks_like_a_version(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-')
}

/// The path that routes match where `prefix` bytes of it named the version.
pub fn path_after(path: &str, prefix: usize) -> &str {
    match path.get(prefix..) {
        None | Some("") => "/",
        Some(rest) => rest,
    }
}

/// What stands at a place, cut to a readable length, and where.
fn written<F: Facts>(place: &VersionPlace, facts: &F, path: &str) -> String {
    const SHOWN: usize = 40;
    let show = |value: Option<&[u8]>| {
        let value = value.unwrap_or_default();
        format!("{:?}", String::from_utf8_lossy(&value[..value.len().min(SHOWN)]))
    };
    let value = match place {
        VersionPlace::Path(prefix) => show(path_version(prefix, path).map(str::as_bytes)),
        VersionPlace::Header(name) => with_header(facts.header_values(name), show),
        VersionPlace::Query(name) => show(query_value(facts.query(), name).as_deref()),
        VersionPlace::MediaType { .. } => with_header(facts.header_values("accept"), show),
    };
    format!("{value} ({place})")
}
