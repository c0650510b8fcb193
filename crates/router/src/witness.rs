//! An example request for two routes that tie, shown only after both have been evaluated against it.

use crate::evaluate::{Facts, PathTest, Predicate, PredicateRef, Request, Route};
use crate::matching::ValueTest;
use crate::method::Order;
use crate::template::Segment;
use crate::value::Test;

#[derive(Default)]
struct Example {
    method: String,
    host: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
}

impl Facts for Example {
    fn method(&self) -> &str {
        &self.method
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn query(&self) -> Option<&str> {
        (!self.query.is_empty()).then_some(&self.query)
    }

    fn header_values<'a>(&'a self, lower_case_name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.headers
            .iter()
            .filter(move |(name, _)| name == lower_case_name)
            .map(|(_, value)| value.as_bytes())
    }
}

/// A request that both routes match, as text; none when no simple one does.
pub(crate) fn witness(a: &Route, b: &Route, order: Order) -> Option<String> {
    let mut example = Example { method: a.methods.example(&b.methods, order)?, ..Example::default() };
    if let Some(host) = a.hosts.iter().find(|h| b.hosts.contains(h)) {
        example.host = host.example();
    }
    let mut query = Vec::new();
    for predicate in a.others.iter().chain(&b.others) {
        add(predicate, &a.others, &b.others, &mut example, &mut query);
    }
    example.query = query.join("&");
    for path in paths(a).into_iter().chain(paths(b)) {
        example.path = path;
        let request = Request::new(&example, &example.host, &example.path);
        let holds = |route: &Route| route.predicates().all(|p: PredicateRef| route.holds(p, &request));
        if holds(a) && holds(b) {
            return Some(text(&example));
        }
    }
    None
}

fn add(p: &Predicate, a: &[Predicate], b: &[Predicate], example: &mut Example, query: &mut Vec<String>) {
    match p {
        Predicate::Header { name, .. } if example.headers.iter().all(|(n, _)| **n != **name) => {
            let tests = a.iter().chain(b).filter_map(|p| match p {
                Predicate::Header { name: n, test } if n == name => Some(test),
                _ => None,
            });
            if let Some(value) = value(tests) {
                example.headers.push((name.to_string(), value));
            }
        }
        Predicate::Query { name, .. } => {
            let key = encode(name);
            let tests = a.iter().chain(b).filter_map(|p| match p {
                Predicate::Query { name: n, test } if n == name => Some(test),
                _ => None,
            });
            let known = query.iter().any(|pair| pair.split('=').next() == Some(key.as_str()));
            if let (false, Some(value)) = (known, value(tests)) {
                query.push(format!("{key}={}", encode(&value)));
            }
        }
        Predicate::Client(set) => {
            let other = a.iter().chain(b).find_map(|q| match q {
                Predicate::Client(other) if other != set => Some(*other),
                _ => None,
            });
            let free = example.headers.iter().all(|(n, _)| n != "user-agent");
            if let (true, Some((name, ValueTest::Exact(agent)))) = (free, set.example(other.unwrap_or(*set)))
            {
                example.headers.push((name.to_owned(), agent));
            }
        }
        Predicate::All(list) => list.iter().for_each(|p| add(p, list, &[], example, query)),
        Predicate::Any(alternatives) => {
            alternatives.iter().take(1).for_each(|l| l.iter().for_each(|p| add(p, l, &[], example, query)));
        }
        _ => {}
    }
}

/// A value for all these tests; a guess, checked later. None: leave it out.
fn value<'a>(tests: impl Iterator<Item = &'a Test>) -> Option<String> {
    let mut best = String::new();
    for test in tests {
        match test {
            Test::Absent => return None,
            Test::Exact(text) => return Some(text.to_string()),
            Test::Prefix(text) if text.len() > best.len() => best = text.to_string(),
            Test::Regex(pattern) => {
                let prefix = String::from_utf8_lossy(pattern.prefix());
                let tries = [prefix.to_string(), format!("{prefix}1"), format!("{prefix}a")];
                best = tries.into_iter().find(|t| pattern.matches(t.as_bytes()))?;
            }
            Test::Prefix(_) | Test::Present => {}
        }
    }
    Some(if best.is_empty() { "x".to_owned() } else { best })
}

fn paths(route: &Route) -> Vec<String> {
    match &route.path {
        None => vec!["/".to_owned()],
        Some(PathTest::Exact(text)) => vec![text.to_string()],
        Some(PathTest::Template(template)) => {
            let parts = template.segments().iter().map(|s| match s {
                Segment::Literal(text) => format!("/{text}"),
                Segment::One(_) | Segment::Rest(_) => "/x".to_owned(),
            });
            vec![parts.collect()]
        }
        Some(PathTest::Regex(pattern)) => {
            let prefix = String::from_utf8_lossy(pattern.prefix());
            ["", "a", "1", "x", "/a"].into_iter().map(|end| format!("{prefix}{end}")).collect()
        }
    }
}

fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

fn text(example: &Example) -> String {
    let query = if example.query.is_empty() { String::new() } else { format!("?{}", example.query) };
    let headers: Vec<String> =
        example.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let with = if headers.is_empty() { String::new() } else { format!(" with {}", headers.join(", ")) };
    format!("`{} {}{}{query}{with}`", example.method, example.host, example.path)
}
