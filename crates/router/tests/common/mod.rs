//! A second router, written from the README alone: it asks every route and takes the best. Slow and plain;
//! it must share nothing with the tree but the types of the input.
#![allow(dead_code, reason = "each test file is a crate of its own and uses its own part of this")]

use std::cmp::Ordering;

use narthex_router::{Facts, Match, PathPattern, RouteSpec, Segment, ValueTest, VersionSet};
use regex::Regex;

/// The versions that there are.
pub const VERSIONS: [&str; 3] = ["1", "2", "3"];

pub fn versions(of: &[&str]) -> VersionSet {
    let all = VERSIONS.iter().map(|name| (*name).into()).collect();
    VersionSet::new(&all, |name| of.contains(&name))
}

#[derive(Debug, Clone, Default)]
pub struct Ask {
    pub method: String,
    pub host: String,
    pub path: String,
    pub query: Option<String>,
    pub headers: Vec<(String, String)>,
    pub version: Option<u8>,
}

impl Ask {
    pub fn new(method: &str, path: &str) -> Self {
        Ask { method: method.into(), host: "h.test".into(), path: path.into(), ..Ask::default() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    pub fn host(mut self, host: &str) -> Self {
        self.host = host.into();
        self
    }

    pub fn query(mut self, query: &str) -> Self {
        self.query = Some(query.into());
        self
    }
}

impl Facts for Ask {
    fn method(&self) -> &str {
        &self.method
    }
    fn host(&self) -> &str {
        &self.host
    }
    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }
    fn header_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.headers.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_bytes())
    }
    fn version(&self) -> Option<u8> {
        self.version
    }
}

pub fn route(name: &str, matching: Match) -> RouteSpec {
    RouteSpec { name: name.into(), matching, over: Vec::new() }
}

pub fn parsed(name: &str, text: &str) -> RouteSpec {
    route(name, Match::parse(text).unwrap())
}

pub fn naive_decode(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut chars = text.bytes().collect::<std::collections::VecDeque<u8>>();
    while let Some(b) = chars.pop_front() {
        let hex = |b: u8| (b as char).to_digit(16);
        match (b, chars.front().and_then(|b| hex(*b)), chars.get(1).and_then(|b| hex(*b))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                chars.pop_front();
                chars.pop_front();
            }
            _ => out.push(b),
        }
    }
    out
}

fn value_holds(test: &ValueTest, value: Option<&str>) -> bool {
    match test {
        ValueTest::Present => value.is_some(),
        ValueTest::Absent => value.is_none(),
        ValueTest::Exact(want) => value == Some(want),
        ValueTest::Prefix(want) => value.is_some_and(|v| v.starts_with(want.as_str())),
        ValueTest::Regex(re) => {
            value.is_some_and(|v| Regex::new(&format!("^(?:{re})$")).unwrap().is_match(v))
        }
    }
}

pub fn path_holds(pattern: &PathPattern, path: &str) -> bool {
    match pattern {
        PathPattern::Exact(text) => text == path,
        PathPattern::Regex(re) => Regex::new(&format!("^(?:{re})$")).unwrap().is_match(path),
        PathPattern::Template(template) => {
            let have: Vec<&str> = path[1..].split('/').collect();
            let mut at = 0;
            for segment in template.segments() {
                match segment {
                    Segment::Rest(_) => return true,
                    Segment::Literal(text) if have.get(at) == Some(&text.as_str()) => at += 1,
                    Segment::One(_) if have.get(at).is_some_and(|s| !s.is_empty()) => at += 1,
                    _ => return false,
                }
            }
            at == have.len()
        }
    }
}

fn method_holds(methods: &[String], method: &str) -> bool {
    methods.is_empty()
        || methods.iter().any(|m| m == method)
        || (method == "HEAD" && methods.iter().any(|m| m == "GET"))
}

fn host_rank(hosts: &[String], host: &str) -> Option<(u8, usize)> {
    if hosts.is_empty() {
        return Some((0, 0));
    }
    let host = host.split(':').next().unwrap().trim_end_matches('.').to_ascii_lowercase();
    let ranks = hosts.iter().filter_map(|pattern| match pattern.strip_prefix('*') {
        Some(suffix) => (host.ends_with(suffix) && host.len() > suffix.len()).then_some((1, suffix.len())),
        None => (*pattern == host).then_some((2, 0)),
    });
    ranks.max()
}

/// Everything but method (which the caller asks apart).
fn rest_holds(m: &Match, ask: &Ask) -> bool {
    let header = |name: &str| {
        let lines: Vec<&str> = ask
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
            .collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    };
    let query = |name: &str| {
        let pairs = ask.query.as_deref().unwrap_or("").split('&').filter(|p| !p.is_empty());
        let decode = |t: &str| String::from_utf8(naive_decode(&t.replace('+', " "))).unwrap();
        pairs
            .map(|p| p.split_once('=').unwrap_or((p, "")))
            .find(|(k, _)| decode(k) == name)
            .map(|(_, v)| decode(v))
    };
    m.path.as_ref().is_none_or(|p| path_holds(p, &ask.path))
        && host_rank(&m.hosts, &ask.host).is_some()
        && m.headers.iter().all(|(name, test)| value_holds(test, header(name).as_deref()))
        && m.query.iter().all(|(name, test)| value_holds(test, query(name).as_deref()))
        && (m.client.is_empty() || narthex_router::client_type(ask).is_some_and(|c| m.client.contains(&c)))
        && m.versions
            .as_ref()
            .is_none_or(|set| ask.version.is_none_or(|v| set.names().any(|n| n == VERSIONS[usize::from(v)])))
        && (m.any.is_empty() || m.any.iter().any(|m| holds(m, ask)))
        && m.all.iter().all(|m| holds(m, ask))
        && !m.not.iter().any(|m| holds(m, ask))
}

pub fn holds(m: &Match, ask: &Ask) -> bool {
    method_holds(&m.methods, &ask.method) && rest_holds(m, ask)
}

/// Literal segments that a regular expression of the tests begins with.
fn regex_literals(text: &str) -> usize {
    let plain = &text[..text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '/')).unwrap_or(text.len())];
    plain.matches('/').count().saturating_sub(1)
}

fn path_rank(pattern: Option<&PathPattern>) -> Vec<u8> {
    const ANY: u8 = 0;
    const REGEX: u8 = 1;
    const REST: u8 = 2;
    const END: u8 = 3;
    const ONE: u8 = 4;
    const LITERAL: u8 = 5;
    match pattern {
        None => vec![ANY],
        Some(PathPattern::Exact(text)) => {
            let mut rank = vec![LITERAL; text[1..].split('/').count()];
            rank.push(END);
            rank
        }
        Some(PathPattern::Regex(text)) => {
            let mut rank = vec![LITERAL; regex_literals(text)];
            rank.push(REGEX);
            rank
        }
        Some(PathPattern::Template(template)) => {
            let mut rank: Vec<u8> = template
                .segments()
                .iter()
                .map(|s| match s {
                    Segment::Literal(_) => LITERAL,
                    Segment::One(_) => ONE,
                    Segment::Rest(_) => REST,
                })
                .collect();
            if rank.last() != Some(&REST) {
                rank.push(END);
            }
            rank
        }
    }
}

/// The precedence table of the README, for one request.
pub fn compare(a: &RouteSpec, b: &RouteSpec, ask: &Ask) -> Ordering {
    let rank = |r: &RouteSpec| {
        let m = &r.matching;
        let method =
            match (m.methods.is_empty(), ask.method == "HEAD" && m.methods.iter().any(|m| m == "HEAD")) {
                (true, _) => 0,
                (false, false) => 1,
                (false, true) => 2,
            };
        let others = usize::from(!m.client.is_empty())
            + usize::from(m.versions.is_some())
            + usize::from(!m.any.is_empty())
            + m.all.len()
            + m.not.len();
        (
            host_rank(&m.hosts, &ask.host),
            path_rank(m.path.as_ref()),
            method,
            m.headers.len(),
            m.query.len(),
            others,
        )
    };
    rank(a).cmp(&rank(b)).then_with(|| a.over.contains(&b.name).cmp(&b.over.contains(&a.name)))
}

#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Route(usize),
    /// Several best ones: the configuration ties.
    Tie(Vec<usize>),
    NotAllowed(Vec<String>),
    NotFound,
}

pub fn naive(routes: &[RouteSpec], ask: &Ask) -> Answer {
    let matching: Vec<usize> = (0..routes.len()).filter(|i| holds(&routes[*i].matching, ask)).collect();
    let best: Vec<usize> = matching
        .iter()
        .copied()
        .filter(|i| matching.iter().all(|j| compare(&routes[*i], &routes[*j], ask) != Ordering::Less))
        .collect();
    match best.len() {
        0 => {}
        1 => return Answer::Route(best[0]),
        _ => return Answer::Tie(best),
    }
    let mut allow: Vec<String> = routes
        .iter()
        .filter(|r| rest_holds(&r.matching, ask))
        .flat_map(|r| r.matching.methods.clone())
        .collect();
    if allow.iter().any(|m| m == "GET") {
        allow.push("HEAD".into());
    }
    allow.sort();
    allow.dedup();
    if allow.is_empty() { Answer::NotFound } else { Answer::NotAllowed(allow) }
}
