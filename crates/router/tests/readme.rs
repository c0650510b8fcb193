//! Every row of the README's tables, executed.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

mod common;

use common::{Ask, route};
use narthex_router::{
    ClientType, EncodedSlashes, Found, Match, NoTrace, PathPattern, PathRules, Router, ValueTest,
    client_type, normalise,
};

/// The rows of the table whose header line holds all of `titles`; cells without their backticks.
fn rows(titles: &[&str]) -> Vec<Vec<String>> {
    let text = include_str!("../README.md");
    let mut lines = text.lines().skip_while(|l| {
        let cells = cells(l);
        !(l.starts_with('|') && titles.iter().all(|t| cells.iter().any(|c| c == t)))
    });
    lines.next().expect("the table is in the README");
    lines.skip(1).take_while(|l| l.starts_with('|')).map(cells).collect()
}

fn cells(line: &str) -> Vec<String> {
    let line = line.replace("\\|", "\u{1}");
    let cells = line.trim_matches('|').split('|');
    cells.map(|c| c.trim().trim_matches('`').replace('\u{1}', "|")).collect()
}

fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        out.extend_from_slice(before.as_bytes());
        out.push(u8::from_str_radix(&after[..2], 16).unwrap());
        rest = &after[2..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

fn check(title: &str, rules: PathRules, least: usize) {
    let rows = rows(&["raw", title]);
    assert!(rows.len() >= least, "only {} rows", rows.len());
    for row in rows {
        let mut buffer = String::new();
        let raw = bytes(&row[0]);
        let result = normalise(&raw, rules, &mut buffer);
        let have = result.map_or_else(|e| e.code().to_owned(), str::to_owned);
        assert_eq!(have, row[1], "{}", row[0]);
    }
}

#[test]
fn normalisation() {
    check("result", PathRules::default(), 40);
    check("result with keep", PathRules { encoded_slashes: EncodedSlashes::Keep }, 5);
}

#[test]
fn client_types() {
    let rows = rows(&["User-Agent", "type"]);
    assert!(rows.len() >= 15);
    for row in rows {
        let mut ask = Ask::new("GET", "/");
        for (name, value) in ["Sec-CH-UA-Mobile", "Sec-CH-UA-Platform", "User-Agent"].iter().zip(&row) {
            if !value.is_empty() {
                ask = ask.header(name, value);
            }
        }
        assert_eq!(client_type(&ask).map_or("unknown", ClientType::name), row[3], "{row:?}");
    }
}

fn pair(text: &str) -> (String, ValueTest) {
    let (name, value) = text.split_once(':').unwrap();
    (name.into(), ValueTest::Exact(value.into()))
}

fn matching(text: &str) -> Match {
    let words: Vec<&str> = text.split(' ').collect();
    let options = |w: &&&str| !w.starts_with('/') && w.contains('=');
    let plain: Vec<&str> = words.iter().filter(|w| !options(w)).copied().collect();
    let mut m = if plain.is_empty() { Match::default() } else { Match::parse(&plain.join(" ")).unwrap() };
    for option in words.iter().filter(options) {
        let (name, value) = option.split_once('=').unwrap();
        match name {
            "host" => m.hosts.push(value.into()),
            "header" => m.headers.push(pair(value)),
            "query" => m.query.push(pair(value)),
            "method" => m.methods.push(value.into()),
            "client" => m.client.push(ClientType::parse(value).unwrap()),
            "regex" => m.path = Some(PathPattern::Regex(value.into())),
            other => panic!("{other}"),
        }
    }
    m
}

fn ask(text: &str) -> Ask {
    let mut words = text.split(' ');
    let method = words.next().unwrap();
    let target = words.next().unwrap();
    let (target, query) = target.split_once('?').map_or((target, None), |(t, q)| (t, Some(q)));
    let slash = target.find('/').unwrap();
    let mut ask = Ask::new(method, &target[slash..]).host(&target[..slash]);
    ask.query = query.map(str::to_owned);
    words.fold(ask, |ask, header| {
        let (name, value) = header.split_once(':').unwrap();
        ask.header(name, value)
    })
}

#[test]
fn precedence() {
    let rows = rows(&["this comes first", "for"]);
    assert!(rows.len() >= 16);
    for row in rows {
        let (first, second, ask) = (matching(&row[1]), matching(&row[2]), ask(&row[3]));
        for swapped in [false, true] {
            let mut routes = vec![route("first", first.clone()), route("second", second.clone())];
            if swapped {
                routes.reverse();
            }
            for one in &routes {
                let router = Router::build(vec![one.clone()]).unwrap();
                let found = router.find(&ask, &ask.path, &mut NoTrace);
                assert!(matches!(found, Found::Route { .. }), "{} alone: {row:?}", one.name);
            }
            let router = Router::build(routes).unwrap_or_else(|p| panic!("{row:?}: {p:?}"));
            let Found::Route { index, .. } = router.find(&ask, &ask.path, &mut NoTrace) else {
                panic!("{row:?}")
            };
            assert_eq!(router.route_name(index), Some("first"), "{row:?}");
        }
    }
}
