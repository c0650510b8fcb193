//! Predicates, compiled, and the one evaluator that live routing and `explain` share.
//! Whatever `explain` says has failed is false here when evaluated alone.

use crate::client::{ClientSet, client_type};
use crate::host::{HostPattern, canonical};
use crate::matching::{Match, RouteSpec};
use crate::method::{MethodSet, RequestMethod};
use crate::problem::Problem;
use crate::template::{PathPattern, Segment, Template};
use crate::value::{Pattern, Test, query_value, with_header};
use crate::version::VersionSet;

/// What a request shows. Generic, so that the hot path calls nothing through a table.
pub trait Facts {
    fn method(&self) -> &str;
    /// As received; the router ignores case, port and a trailing dot.
    fn host(&self) -> &str;
    /// Without the `?`.
    fn query(&self) -> Option<&str>;
    /// The value of each line of this name, without surrounding blanks.
    fn header_values<'a>(&'a self, lower_case_name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a;
    /// The version of the API that was found: an index into the gateway's versions. Default: none.
    fn version(&self) -> Option<u8> {
        None
    }
}

/// Names one predicate of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PredicateRef {
    Host,
    Path,
    Method,
    /// Headers, query parameters, client, versions, `any`, each of `all`, each of `not`, in this order.
    Other(usize),
}

/// A request as the evaluator sees it: what is looked at often is prepared once.
pub(crate) struct Request<'a, F> {
    pub(crate) facts: &'a F,
    pub(crate) method: RequestMethod<'a>,
    /// In its canonical form.
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PathTest {
    Exact(Box<str>),
    Template(Template),
    Regex(Pattern),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Predicate {
    Methods(MethodSet),
    Path(PathTest),
    Hosts(Box<[HostPattern]>),
    Header { name: Box<str>, test: Test },
    Query { name: Box<str>, test: Test },
    Client(ClientSet),
    Versions(VersionSet),
    Any(Box<[Box<[Predicate]>]>),
    All(Box<[Predicate]>),
    Not(Box<[Predicate]>),
}

/// A compiled route.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: Box<str>,
    pub(crate) methods: MethodSet,
    /// Empty: every host.
    pub(crate) hosts: Box<[HostPattern]>,
    pub(crate) path: Option<PathTest>,
    pub(crate) others: Box<[Predicate]>,
    pub(crate) captures: Box<[Box<str>]>,
    /// How many predicates on headers, on the query, on other things.
    pub(crate) counts: [u16; 3],
}

impl Route {
    /// Compiles a route; pushes every problem.
    pub(crate) fn new(index: usize, spec: &RouteSpec, problems: &mut Vec<Problem>) -> Option<Self> {
        let before = problems.len();
        let m = &spec.matching;
        let methods = methods(index, m, problems);
        let hosts = hosts(index, m, problems);
        let path = m.path.as_ref().and_then(|p| PathTest::new(index, p, problems));
        let others = others(index, m, 0, problems);
        if problems.len() > before {
            return None;
        }
        let clamp = |n: usize| n.min(usize::from(u16::MAX)) as u16;
        let rest = others.len() - m.headers.len() - m.query.len();
        let captures = m.path.iter().flat_map(PathPattern::capture_names).map(Box::from).collect();
        Some(Route {
            name: spec.name.as_str().into(),
            methods,
            hosts,
            path,
            others: others.into(),
            captures,
            counts: [clamp(m.headers.len()), clamp(m.query.len()), clamp(rest)],
        })
    }

    /// Evaluates one predicate by itself. One that the route does not have is true.
    pub(crate) fn holds<F: Facts>(&self, which: PredicateRef, request: &Request<'_, F>) -> bool {
        match which {
            PredicateRef::Host => self.hosts.is_empty() || self.hosts.iter().any(|h| h.matches(request.host)),
            PredicateRef::Path => self.path.as_ref().is_none_or(|p| p.matches(request.path)),
            PredicateRef::Method => self.methods.contains(request.method),
            PredicateRef::Other(index) => self.others.get(index).is_none_or(|p| p.holds(request)),
        }
    }

    /// What the tree has not decided: the method, an expression over the path, the other predicates.
    #[inline]
    pub(crate) fn first_failure<F: Facts>(&self, request: &Request<'_, F>) -> Option<PredicateRef> {
        if !self.methods.contains(request.method) {
            return Some(PredicateRef::Method);
        }
        self.failure_but_method(request)
    }

    #[inline]
    pub(crate) fn failure_but_method<F: Facts>(&self, request: &Request<'_, F>) -> Option<PredicateRef> {
        if let Some(PathTest::Regex(pattern)) = &self.path
            && !pattern.matches(request.path.as_bytes())
        {
            return Some(PredicateRef::Path);
        }
        self.others.iter().position(|p| !p.holds(request)).map(PredicateRef::Other)
    }

    /// Every predicate, in the order in which `explain` speaks of them.
    pub(crate) fn predicates(&self) -> impl Iterator<Item = PredicateRef> + '_ {
        [PredicateRef::Host, PredicateRef::Path, PredicateRef::Method]
            .into_iter()
            .chain((0..self.others.len()).map(PredicateRef::Other))
    }
}

impl<'a, F: Facts> Request<'a, F> {
    pub(crate) fn new(facts: &'a F, host: &'a str, path: &'a str) -> Self {
        Request { facts, method: RequestMethod::new(facts.method()), host, path }
    }

    pub(crate) fn canonical_host(facts: &'a F) -> std::borrow::Cow<'a, str> {
        canonical(facts.host())
    }

    pub(crate) fn header<R>(&self, name: &str, with: impl FnOnce(Option<&[u8]>) -> R) -> R {
        with_header(self.facts.header_values(name), with)
    }
}

fn methods(index: usize, m: &Match, problems: &mut Vec<Problem>) -> MethodSet {
    MethodSet::new(&m.methods).unwrap_or_else(|message| {
        problems.push(Problem::BadMethod { route: index, message });
        MethodSet::default()
    })
}

fn hosts(index: usize, m: &Match, problems: &mut Vec<Problem>) -> Box<[HostPattern]> {
    let mut hosts = Vec::new();
    for text in &m.hosts {
        match HostPattern::parse(text) {
            Ok(host) if hosts.contains(&host) => {}
            Ok(host) => hosts.push(host),
            Err(message) => problems.push(Problem::BadHost { route: index, message }),
        }
    }
    hosts.into()
}

/// `any`, `all`, `not` nest so deep at most: evaluation is recursive.
const MAX_NESTING: usize = 16;

/// Everything of a match but its methods, path and hosts.
fn others(index: usize, m: &Match, depth: usize, problems: &mut Vec<Problem>) -> Vec<Predicate> {
    let mut out = Vec::new();
    for (name, test) in &m.headers {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            problems.push(Problem::BadHeader { route: index, name: name.clone() });
        }
        match Test::new(test) {
            Ok(test) => out.push(Predicate::Header { name: name.to_ascii_lowercase().into(), test }),
            Err(message) => problems.push(Problem::BadRegex { route: index, message }),
        }
    }
    for (name, test) in &m.query {
        match Test::new(test) {
            Ok(test) => out.push(Predicate::Query { name: name.as_str().into(), test }),
            Err(message) => problems.push(Problem::BadRegex { route: index, message }),
        }
    }
    if !m.client.is_empty() {
        out.push(Predicate::Client(ClientSet::new(&m.client)));
    }
    if let Some(versions) = &m.versions {
        out.push(Predicate::Versions(versions.clone()));
    }
    if depth == MAX_NESTING && !(m.any.is_empty() && m.all.is_empty() && m.not.is_empty()) {
        let message = format!("`any`, `all` and `not` nest more than {MAX_NESTING} deep: write it flatter");
        problems.push(Problem::Contradiction { route: index, name: String::new(), message });
        return out;
    }
    let mut nested = |m: &Match| nested(index, m, depth + 1, problems);
    if !m.any.is_empty() {
        out.push(Predicate::Any(m.any.iter().map(&mut nested).collect()));
    }
    out.extend(m.all.iter().map(|m| Predicate::All(nested(m))));
    out.extend(m.not.iter().map(|m| Predicate::Not(nested(m))));
    out
}

fn nested(index: usize, m: &Match, depth: usize, problems: &mut Vec<Problem>) -> Box<[Predicate]> {
    let mut out = Vec::new();
    if !m.methods.is_empty() {
        out.push(Predicate::Methods(methods(index, m, problems)));
    }
    if let Some(path) = m.path.as_ref().and_then(|p| PathTest::new(index, p, problems)) {
        out.push(Predicate::Path(path));
    }
    if !m.hosts.is_empty() {
        out.push(Predicate::Hosts(hosts(index, m, problems)));
    }
    out.extend(others(index, m, depth, problems));
    out.into()
}

impl PathTest {
    fn new(index: usize, pattern: &PathPattern, problems: &mut Vec<Problem>) -> Option<Self> {
        match pattern {
            PathPattern::Exact(text) => match PathPattern::parse(text) {
                Ok(PathPattern::Exact(text)) => Some(PathTest::Exact(text.into())),
                Ok(_) => {
                    let message = format!("`{text}` is given as an exact path but holds a capture");
                    problems.push(Problem::BadTemplate { route: index, message, offset: 0 });
                    None
                }
                Err(e) => {
                    problems.push(Problem::BadTemplate {
                        route: index,
                        message: e.message,
                        offset: e.offset,
                    });
                    None
                }
            },
            PathPattern::Template(template) => Some(PathTest::Template(template.clone())),
            PathPattern::Regex(text) => match Pattern::new(text) {
                Ok(pattern) => Some(PathTest::Regex(pattern)),
                Err(message) => {
                    problems.push(Problem::BadRegex { route: index, message });
                    None
                }
            },
        }
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        match self {
            PathTest::Exact(text) => **text == *path,
            PathTest::Regex(pattern) => pattern.matches(path.as_bytes()),
            PathTest::Template(_) => self.difference(path).is_none(),
        }
    }

    /// The segments it wants; none for an expression.
    fn wanted(&self) -> Option<Vec<Wanted<'_>>> {
        match self {
            PathTest::Exact(text) => Some(text[1..].split('/').map(Wanted::Literal).collect()),
            PathTest::Template(template) => Some(template.segments().iter().map(Wanted::from).collect()),
            PathTest::Regex(_) => None,
        }
    }

    /// The first segment at which the path differs, in words; none when it matches.
    pub(crate) fn difference(&self, path: &str) -> Option<String> {
        let Some(wanted) = self.wanted() else {
            let PathTest::Regex(pattern) = self else { return None };
            return (!pattern.matches(path.as_bytes()))
                .then(|| format!("path `{path}` does not match `{}`", pattern.text()));
        };
        let mut have = path.strip_prefix('/').unwrap_or(path).split('/');
        for (i, want) in wanted.iter().enumerate() {
            if matches!(want, Wanted::Rest(_)) {
                return None;
            }
            match have.next() {
                None => return Some(format!("path ends before segment {}: want {want}", i + 1)),
                Some(have) if !want.takes(have) => {
                    return Some(format!("path differs at segment {}: want {want}, have `{have}`", i + 1));
                }
                Some(_) => {}
            }
        }
        have.next()
            .map(|more| format!("path goes on after segment {}: want its end, have `{more}`", wanted.len()))
    }

    /// How many segments must be added, removed or changed until the path matches.
    pub(crate) fn distance(&self, path: &str) -> usize {
        let Some(mut wanted) = self.wanted() else {
            return usize::from(!self.matches(path)) * 2;
        };
        let mut have: Vec<&str> = path
            .strip_prefix('/')
            .unwrap_or(path)
            .split('/')
            .take(crate::template::MAX_SEGMENTS + 1)
            .collect();
        if let Some(Wanted::Rest(_)) = wanted.last() {
            wanted.pop();
            have.truncate(wanted.len());
        }
        let mut row: Vec<usize> = (0..=have.len()).collect();
        for (i, want) in wanted.iter().enumerate() {
            let mut diagonal = row[0];
            row[0] = i + 1;
            for (j, segment) in have.iter().enumerate() {
                let change = diagonal + usize::from(!want.takes(segment));
                diagonal = row[j + 1];
                row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
            }
        }
        row[have.len()]
    }
}

enum Wanted<'a> {
    Literal(&'a str),
    One(&'a str),
    Rest(&'a str),
}

impl<'a> From<&'a Segment> for Wanted<'a> {
    fn from(segment: &'a Segment) -> Self {
        match segment {
            Segment::Literal(text) => Wanted::Literal(text),
            Segment::One(name) => Wanted::One(name),
            Segment::Rest(name) => Wanted::Rest(name),
        }
    }
}

impl Wanted<'_> {
    fn takes(&self, segment: &str) -> bool {
        match self {
            Wanted::Literal(text) => *text == segment,
            Wanted::One(_) => !segment.is_empty(),
            Wanted::Rest(_) => true,
        }
    }
}

impl std::fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Wanted::Literal(text) => write!(f, "`{text}`"),
            Wanted::One(name) => write!(f, "`{{{name}}}`"),
            Wanted::Rest(name) => write!(f, "`{{{name}=**}}`"),
        }
    }
}

impl Predicate {
    #[inline]
    pub(crate) fn holds<F: Facts>(&self, request: &Request<'_, F>) -> bool {
        match self {
            Predicate::Methods(methods) => methods.contains(request.method),
            Predicate::Path(path) => path.matches(request.path),
            Predicate::Hosts(hosts) => hosts.iter().any(|h| h.matches(request.host)),
            Predicate::Header { name, test } => request.header(name, |value| test.holds(value)),
            Predicate::Query { name, test } => {
                test.holds(query_value(request.facts.query(), name).as_deref())
            }
            Predicate::Client(set) => set.contains(client_type(request.facts)),
            Predicate::Versions(set) => set.holds(request.facts.version()),
            Predicate::Any(alternatives) => alternatives.iter().any(|a| a.iter().all(|p| p.holds(request))),
            Predicate::All(all) => all.iter().all(|p| p.holds(request)),
            Predicate::Not(not) => !not.iter().all(|p| p.holds(request)),
        }
    }

    /// True when it looks at the host.
    pub(crate) fn reads_host(&self) -> bool {
        match self {
            Predicate::Hosts(_) => true,
            Predicate::Any(list) => list.iter().flat_map(|l| l.iter()).any(Predicate::reads_host),
            Predicate::All(list) | Predicate::Not(list) => list.iter().any(Predicate::reads_host),
            _ => false,
        }
    }
}
