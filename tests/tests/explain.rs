//! From the text of a configuration to an answer: `explain` and the live gateway say what a naive router says that asks
//! every route, and a predicate that is said to have failed does not hold when it is asked alone.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

#[path = "../../crates/router/tests/common/mod.rs"]
mod naive;

use std::fmt::Write;
use std::path::Path;

use naive::{Answer, Ask};
use narthex::check_loaded;
use narthex_config::{LoadOptions, load_text};
use narthex_control::{Asked, Compiled, End, simulate};
use narthex_router::{Explain, Match, PathPattern, RouteSpec, ValueTest};
use narthex_testkit::RawClient;
use narthex_tests::{Gateway, Random};
use narthex_wire::ResponseHead;

/// A test of a value, as a router knows it and as a user writes it.
fn value_test(random: &mut Random) -> (ValueTest, &'static str) {
    match random.below(6) {
        0 => (ValueTest::Exact("1".into()), "\"1\""),
        1 => (ValueTest::Exact("12".into()), "\"12\""),
        2 => (ValueTest::Prefix("1".into()), "{ prefix: \"1\" }"),
        3 => (ValueTest::Present, "{ present: true }"),
        4 => (ValueTest::Absent, "{ present: false }"),
        _ => (ValueTest::Regex("[12]+".into()), "{ regex: \"[12]+\" }"),
    }
}

fn path(random: &mut Random) -> String {
    let mut text = String::new();
    for at in 0..random.below(4) {
        match random.below(3) {
            0 => text.push_str("/a"),
            1 => text.push_str("/b"),
            _ => {
                let _ = write!(text, "/{{p{at}}}");
            }
        }
    }
    match random.below(4) {
        0 => text.push_str("/{rest=**}"),
        _ if text.is_empty() => text.push('/'),
        _ => {}
    }
    text
}

/// One route twice: for the naive router, and as text.
fn route(random: &mut Random, number: usize, versions: bool) -> (RouteSpec, String) {
    let path = path(random);
    let mut matching = Match { path: Some(PathPattern::parse(&path).unwrap()), ..Match::default() };
    let mut text = format!("path: \"{path}\"");
    let mut methods = Vec::new();
    for method in ["GET", "POST", "HEAD"] {
        if random.below(4) == 0 {
            methods.push(method.to_owned());
        }
    }
    if !methods.is_empty() {
        let _ = write!(text, ", method: [{}]", methods.join(", "));
        matching.methods = methods;
    }
    if random.below(4) == 0 {
        let host = random.one(&["a.t", "*.t", "*.a.t", "b.t"]);
        let _ = write!(text, ", host: \"{host}\"");
        matching.hosts = vec![host.to_owned()];
    }
    for (key, names) in [("headers", ["X-V", "X-W"]), ("query", ["q", "r"])] {
        let mut tests = Vec::new();
        let mut written = Vec::new();
        for name in names {
            if random.below(4) == 0 {
                let (test, as_text) = value_test(random);
                tests.push((name.to_owned(), test));
                written.push(format!("{name}: {as_text}"));
            }
        }
        if !tests.is_empty() {
            let _ = write!(text, ", {key}: {{ {} }}", written.join(", "));
            if key == "headers" { matching.headers = tests } else { matching.query = tests }
        }
    }
    if versions && random.below(2) == 0 {
        let from = random.below(3);
        let of = &naive::VERSIONS[from..=from + random.below(3 - from)];
        let _ = write!(
            text,
            ", version: [{}]",
            of.iter().map(|v| format!("\"{v}\"")).collect::<Vec<_>>().join(", ")
        );
        matching.versions = Some(naive::versions(of));
    }
    let name = format!("r{number}");
    let line = format!(
        "      {name}: {{ match: {{ {text} }}, public: true, to: {{ reply: {{ status: 200, body: \"{name}\" }} }} }}\n"
    );
    (RouteSpec { name, matching, over: Vec::new() }, line)
}

/// A request, and what stands before its path.
fn ask(random: &mut Random, versions: bool) -> (Ask, String) {
    let mut path = String::new();
    for _ in 0..random.below(4) {
        let _ = write!(path, "/{}", random.one(&["a", "b", "aa"]));
    }
    if path.is_empty() || random.below(6) == 0 {
        path.push('/');
    }
    let mut headers = Vec::new();
    for name in ["x-v", "x-w"] {
        if random.below(2) == 0 {
            headers.push((name.to_owned(), random.one(&["1", "2", "12"]).to_owned()));
        }
    }
    let (mut version, mut prefix) = (None, String::new());
    if versions {
        // Named by a header, by the path, or not at all: then it is the default.
        let (at, how) = (random.below(3), random.below(3));
        match how {
            0 => headers.push(("x-api-version".to_owned(), naive::VERSIONS[at].to_owned())),
            1 => prefix = format!("/v{}", naive::VERSIONS[at]),
            _ => {}
        }
        version = Some(if how == 2 { 1 } else { at as u8 });
    }
    let query = random.one(&["", "q=1", "q=12&r=1", "r=2", "q", "q=2&q=1"]);
    let ask = Ask {
        method: random.one(&["GET", "POST", "HEAD", "PUT"]).to_owned(),
        host: random.one(&["a.t", "b.t", "x.a.t", "other", "x.t"]).to_owned(),
        path,
        query: (!query.is_empty()).then(|| query.to_owned()),
        headers,
        version,
    };
    (ask, prefix)
}

fn file(lines: &[String], versions: bool) -> String {
    let versions = if versions {
        "    versions: { from: [path: \"/v{version}\", header: X-Api-Version], default: \"2\", known: { \"1\": {}, \"2\": {}, \"3\": {} } }\n"
    } else {
        ""
    };
    format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\ngateways:\n  g:\n    listeners: [main]\n{versions}    routes:\n{}",
        lines.concat()
    )
}

/// Random routes; of those that the checker refuses together with the ones before, none stays.
fn configuration(random: &mut Random, versions: bool) -> (Vec<RouteSpec>, String, Compiled) {
    let (mut specs, mut lines, mut good) = (Vec::new(), Vec::new(), None);
    for number in 0..2 + random.below(8) {
        let (spec, line) = route(random, number, versions);
        specs.push(spec);
        lines.push(line);
        let text = file(&lines, versions);
        let loaded = load_text(&LoadOptions::from_system(Path::new("narthex.yaml"), &[]), &text);
        let checked = check_loaded(loaded);
        match checked.compiled {
            Some(compiled) => good = Some((text, compiled)),
            None => {
                let said = checked.diagnostics.iter().map(|problem| problem.code).collect::<Vec<_>>();
                let known = ["duplicate_route", "ambiguous_routes", "unreachable_route", "impossible_route"];
                assert!(said.iter().all(|code| known.contains(code)), "{said:?}\n{text}");
                specs.pop();
                lines.pop();
            }
        }
    }
    let (text, compiled) = good.expect("one route alone is good");
    (specs, text, compiled)
}

fn url((ask, prefix): (&Ask, &str)) -> String {
    let query = ask.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    format!("http://{}{prefix}{}{query}", ask.host, ask.path)
}

fn explained(compiled: &Compiled, ask: &Ask, prefix: &str) -> (Option<String>, End) {
    let asked = Asked {
        method: ask.method.clone(),
        url: url((ask, prefix)),
        headers: ask.headers.clone(),
        ..Asked::default()
    };
    let simulation = simulate(compiled, &asked, &|_| (ResponseHead::new(200), Vec::new())).unwrap();
    (simulation.route, simulation.end)
}

#[test]
fn explain_says_what_the_naive_router_says() {
    let mut found = [0; 3];
    for seed in 1..=400_u64 {
        let versions = seed % 2 == 0;
        let mut random = Random::new(seed);
        let (specs, text, compiled) = configuration(&mut random, versions);
        for _ in 0..20 {
            let (ask, prefix) = ask(&mut random, versions);
            let (route, end) = explained(&compiled, &ask, &prefix);
            match naive::naive(&specs, &ask) {
                Answer::Route(at) => {
                    found[0] += 1;
                    assert_eq!(route.as_deref(), Some(&*specs[at].name), "seed {seed}: {ask:?}\n{text}");
                    assert_eq!(end, End::Answered(200));
                }
                Answer::NotAllowed(_) => {
                    found[1] += 1;
                    assert_eq!(end, End::Refused("method_not_allowed", 405), "seed {seed}: {ask:?}\n{text}");
                }
                Answer::NotFound => {
                    found[2] += 1;
                    assert_eq!(end, End::Refused("no_route", 404), "seed {seed}: {ask:?}\n{text}");
                }
                other => panic!("seed {seed}: the checker let a tie pass: {other:?}: {ask:?}\n{text}"),
            }
            let router = &compiled.gateways[0].router;
            for near in Explain::new(router, &ask, &ask.path).nearest {
                let Some(which) = near.failed else { continue };
                let holds = router.eval_predicate(near.route, which, &ask, &ask.path);
                assert!(!holds, "seed {seed}: {near:?} of {ask:?}\n{text}");
                let spec = specs.iter().find(|spec| spec.name == near.name).unwrap();
                assert!(!naive::holds(&spec.matching, &ask), "seed {seed}: {near:?} of {ask:?}\n{text}");
            }
        }
    }
    assert!(found.iter().all(|count| *count > 200), "the requests are too much alike: {found:?}");
}

#[test]
fn the_live_gateway_says_what_the_naive_router_says() {
    for seed in 1_000..1_016_u64 {
        let versions = seed % 2 == 0;
        let mut random = Random::new(seed);
        let (specs, text, _) = configuration(&mut random, versions);
        let gateway = Gateway::start(&text).unwrap();
        let mut client = RawClient::connect(gateway.address("main").unwrap()).unwrap();
        for _ in 0..60 {
            let (ask, prefix) = ask(&mut random, versions);
            let query = ask.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
            let mut request =
                format!("{} {prefix}{}{query} HTTP/1.1\r\nHost: {}\r\n", ask.method, ask.path, ask.host);
            for (name, value) in &ask.headers {
                let _ = write!(request, "{name}: {value}\r\n");
            }
            request.push_str("\r\n");
            let answer = client.exchange(&request).unwrap();
            match naive::naive(&specs, &ask) {
                Answer::Route(at) => {
                    assert_eq!(answer.status, 200, "seed {seed}: {ask:?}\n{text}");
                    if ask.method != "HEAD" {
                        assert_eq!(answer.text(), specs[at].name, "seed {seed}: {ask:?}\n{text}");
                    }
                }
                Answer::NotAllowed(methods) => {
                    assert_eq!(answer.status, 405, "seed {seed}: {ask:?}\n{text}");
                    let mut allow: Vec<_> =
                        answer.field("Allow").unwrap().split(", ").map(str::to_owned).collect();
                    allow.sort_unstable();
                    let mut wanted = methods.clone();
                    wanted.sort_unstable();
                    assert_eq!(allow, wanted, "seed {seed}: {ask:?}\n{text}");
                }
                Answer::NotFound => assert_eq!(answer.status, 404, "seed {seed}: {ask:?}\n{text}"),
                other => panic!("seed {seed}: {other:?}"),
            }
            if answer.closes() {
                client = RawClient::connect(gateway.address("main").unwrap()).unwrap();
            }
        }
        gateway.stop();
    }
}
