//! Host names: exact ones, `*.` wildcards of one or more labels, and the table from host to gateway.
//! Case, port and one trailing dot never matter. It must never resolve a name.

use std::borrow::Cow;

use ahash::HashMap;

/// A host as the configuration writes it, checked and in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum HostPattern {
    Exact(Box<str>),
    /// With its leading dot: `.shop.example` for `*.shop.example`.
    Suffix(Box<str>),
}

/// The host in the form that is compared: lower case, no port, no trailing dot. Allocates only when there
/// are upper-case letters.
pub(crate) fn canonical(host: &str) -> Cow<'_, str> {
    let name = if host.starts_with('[') {
        host.find(']').map_or(host, |end| &host[..=end])
    } else {
        memchr::memchr(b':', host.as_bytes()).map_or(host, |at| &host[..at])
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

impl HostPattern {
    /// Errors with cause and fix.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Err("`*` is every host: leave `hosts` out".to_owned());
        }
        if !text.is_ascii() {
            return Err(format!("`{text}` is not ASCII: write the host in its punycode form (`xn--...`)"));
        }
        let name = canonical(text);
        if !text.starts_with('[') && text.contains(':') {
            return Err(format!("`{text}` holds a port, and ports are not compared: write `{name}`"));
        }
        let (labels, wildcard) = match name.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (&*name, false),
        };
        if labels.contains('*') {
            return Err(format!(
                "`{text}`: `*` stands alone and first, for one or more labels: `*.shop.example`"
            ));
        }
        let address = !wildcard && labels.starts_with('[') && labels.ends_with(']');
        let label_ok =
            |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !address && (labels.len() > 253 || !labels.split('.').all(label_ok)) {
            return Err(format!(
                "`{text}` is no host name: labels of letters, digits and `-`, separated by dots"
            ));
        }
        Ok(if wildcard {
            HostPattern::Suffix(format!(".{labels}").into())
        } else {
            HostPattern::Exact(labels.into())
        })
    }

    pub(crate) fn matches(&self, canonical: &str) -> bool {
        match self {
            HostPattern::Exact(name) => **name == *canonical,
            HostPattern::Suffix(suffix) => canonical.len() > suffix.len() && canonical.ends_with(&**suffix),
        }
    }

    pub(crate) fn example(&self) -> String {
        match self {
            HostPattern::Exact(name) => name.to_string(),
            HostPattern::Suffix(suffix) => format!("x{suffix}"),
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

/// From host to a value: exact names before wildcards, longer wildcards before shorter, then the default.
#[derive(Debug, Clone)]
pub(crate) struct HostMap<T> {
    exact: HashMap<Box<str>, T>,
    suffix: HashMap<Box<str>, T>,
    default: Option<T>,
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        HostMap { exact: HashMap::default(), suffix: HashMap::default(), default: None }
    }
}

impl<T: Copy> HostMap<T> {
    /// True when the host of a request makes a difference.
    pub(crate) fn reads_host(&self) -> bool {
        !self.exact.is_empty() || !self.suffix.is_empty()
    }

    /// The value of this very pattern (none: the default).
    pub(crate) fn entry(&self, pattern: Option<&HostPattern>) -> Option<T> {
        match pattern {
            None => self.default,
            Some(HostPattern::Exact(name)) => self.exact.get(name).copied(),
            Some(HostPattern::Suffix(suffix)) => self.suffix.get(suffix).copied(),
        }
    }

    pub(crate) fn insert(&mut self, pattern: Option<&HostPattern>, value: T) {
        match pattern {
            None => self.default = Some(value),
            Some(HostPattern::Exact(name)) => {
                self.exact.insert(name.clone(), value);
            }
            Some(HostPattern::Suffix(suffix)) => {
                self.suffix.insert(suffix.clone(), value);
            }
        }
    }

    /// Calls `each` with every value whose pattern matches, the most specific first, until it answers.
    #[inline]
    pub(crate) fn first<R>(&self, canonical: &str, mut each: impl FnMut(T) -> Option<R>) -> Option<R> {
        if !self.exact.is_empty()
            && let Some(value) = self.exact.get(canonical)
            && let Some(found) = each(*value)
        {
            return Some(found);
        }
        if !self.suffix.is_empty() {
            for at in memchr::memchr_iter(b'.', canonical.as_bytes()).filter(|at| *at > 0) {
                if let Some(value) = self.suffix.get(&canonical[at..])
                    && let Some(found) = each(*value)
                {
                    return Some(found);
                }
            }
        }
        self.default.and_then(each)
    }
}

/// From the host of a request to the gateway that answers it: one table per listener.
#[derive(Debug, Clone, Default)]
pub struct HostTable {
    map: HostMap<usize>,
}

/// What is wrong with the hosts of the gateways on one listener. `host` is an index into its list of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostProblem {
    #[error("{message}")]
    BadHost { gateway: usize, host: usize, message: String },
    #[error("the host `{text}` already belongs to another gateway on this listener: give it to one of them")]
    Taken { gateway: usize, host: usize, by: usize, text: String },
    #[error(
        "two gateways on this listener name no hosts, so both would answer every host: give one of them `hosts`"
    )]
    TwoDefaults { gateway: usize, by: usize },
}

impl HostTable {
    /// One entry per gateway on the listener: (index of the gateway, its hosts). No hosts: the default.
    pub fn build<'a>(
        gateways: impl IntoIterator<Item = (usize, &'a [String])>,
    ) -> Result<Self, Vec<HostProblem>> {
        let mut map = HostMap::default();
        let mut problems = Vec::new();
        for (gateway, hosts) in gateways {
            if hosts.is_empty() {
                match map.entry(None) {
                    Some(by) => problems.push(HostProblem::TwoDefaults { gateway, by }),
                    None => map.insert(None, gateway),
                }
            }
            for (host, text) in hosts.iter().enumerate() {
                match HostPattern::parse(text) {
                    Err(message) => problems.push(HostProblem::BadHost { gateway, host, message }),
                    Ok(pattern) => match map.entry(Some(&pattern)) {
                        Some(by) if by != gateway => {
                            problems.push(HostProblem::Taken {
                                gateway,
                                host,
                                by,
                                text: pattern.to_string(),
                            });
                        }
                        _ => map.insert(Some(&pattern), gateway),
                    },
                }
            }
        }
        if problems.is_empty() { Ok(HostTable { map }) } else { Err(problems) }
    }

    /// The gateway for a `Host` value or an SNI name; none: 421.
    pub fn find(&self, host: &str) -> Option<usize> {
        if !self.map.reads_host() {
            return self.map.default;
        }
        self.map.first(&canonical(host), Some)
    }
}
