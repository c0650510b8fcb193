//! The tree answers what the naive router answers, `explain` says only what is true, and a tie never passes
//! the build unseen. The alphabets are tiny, so that routes collide all the time.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

mod common;

use common::{Answer, Ask, naive};
use narthex_router::{
    ClientType, Explain, Found, Match, NoTrace, PathPattern, Problem, RouteSpec, Router, ValueTest,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

fn path_pattern() -> impl Strategy<Value = Option<PathPattern>> {
    let segment = select(vec!["a", "b", "{}"]);
    let end = select(vec!["", "", "/", "/{rest=**}"]);
    let template = (prop::collection::vec(segment, 0..4), end).prop_map(|(segments, end)| {
        let mut text = String::new();
        for (i, s) in segments.iter().enumerate() {
            text.push('/');
            text.push_str(&s.replace("{}", &format!("{{p{i}}}")));
        }
        text.push_str(end);
        if text.is_empty() {
            text.push('/');
        }
        Some(PathPattern::parse(&text).unwrap())
    });
    let regex = select(vec!["/a/[ab]+", "/[ab]/a", "/a/b/.*", "/(a|b)", "/a/(a|b)/?", ".*", "/a/a[ab]*"])
        .prop_map(|text| Some(PathPattern::Regex(text.into())));
    prop_oneof![8 => template, 2 => regex, 1 => Just(None)]
}

fn value_test() -> impl Strategy<Value = ValueTest> {
    select(vec![
        ValueTest::Exact("1".into()),
        ValueTest::Exact("2".into()),
        ValueTest::Exact("12".into()),
        ValueTest::Prefix("1".into()),
        ValueTest::Prefix("12".into()),
        ValueTest::Present,
        ValueTest::Absent,
        ValueTest::Regex("[12]+".into()),
        ValueTest::Regex("1.*".into()),
        ValueTest::Regex("2|12".into()),
    ])
}

fn words(all: &[&str], most: usize) -> impl Strategy<Value = Vec<String>> + use<> {
    let all: Vec<String> = all.iter().map(|s| (*s).to_owned()).collect();
    subsequence(all, 0..=most)
}

fn tests(names: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<(String, ValueTest)>> {
    prop::collection::vec((select(names).prop_map(str::to_owned), value_test()), 0..=most)
}

fn flat(path: bool) -> impl Strategy<Value = Match> {
    let methods = words(&["GET", "HEAD", "POST", "FOO"], 2);
    let hosts = prop_oneof![3 => Just(Vec::new()), 1 => words(&["a.t", "*.t", "*.a.t", "b.t"], 2)];
    let client = prop_oneof![4 => Just(Vec::new()), 1 => subsequence(ClientType::ALL.to_vec(), 1..=2)];
    let path =
        if path { path_pattern().boxed() } else { prop_oneof![4 => Just(None), 1 => path_pattern()].boxed() };
    let headers = prop_oneof![2 => Just(Vec::new()), 1 => tests(&["X-V", "x-v", "X-W"], 2)];
    let query = prop_oneof![3 => Just(Vec::new()), 1 => tests(&["q", "r"], 2)];
    let versions = subsequence(common::VERSIONS.to_vec(), 1..=3).prop_map(|of| Some(common::versions(&of)));
    let versions = prop_oneof![3 => Just(None), 2 => versions];
    (methods, path, hosts, headers, query, client, versions).prop_map(
        |(methods, path, hosts, headers, query, client, versions)| Match {
            methods,
            path,
            hosts,
            headers,
            query,
            client,
            versions,
            ..Match::default()
        },
    )
}

fn nested() -> impl Strategy<Value = Vec<Match>> {
    prop_oneof![6 => Just(Vec::new()), 1 => prop::collection::vec(flat(false), 1..=2)]
}

fn matching() -> impl Strategy<Value = Match> {
    (flat(true), nested(), nested(), nested()).prop_map(|(m, any, all, not)| Match { any, all, not, ..m })
}

fn routes() -> impl Strategy<Value = Vec<RouteSpec>> {
    let over = prop_oneof![4 => Just(None), 1 => (0..20usize).prop_map(Some)];
    prop::collection::vec((matching(), over), 1..14).prop_map(|list| {
        let count = list.len();
        let name = |i: usize| format!("r{i}");
        let routes = list.into_iter().enumerate();
        routes
            .map(|(i, (matching, over))| RouteSpec {
                name: name(i),
                matching,
                over: over.filter(|o| *o < count && *o != i).map(name).into_iter().collect(),
            })
            .collect()
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    let path = prop::collection::vec(select(vec!["a", "b", "aa"]), 0..4);
    let headers = prop::collection::vec((select(vec!["x-v", "x-w"]), select(vec!["1", "2", "12"])), 0..4);
    let query = select(vec![
        None,
        Some("q=1"),
        Some("q=2&q=1"),
        Some("q=%31"),
        Some("q"),
        Some("r=12&q=2"),
        Some("&&%71=12"),
    ]);
    let agent =
        select(vec!["", "Mozilla/5.0 (iPhone) Mobile", "Mozilla/5.0 (X11)", "curl/8", "Mozilla/5.0 (iPad)"]);
    let host = select(vec!["a.t", "b.t", "x.a.t", "x.y.t", "other", "A.T:80", "t", "b.t."]);
    let method = select(vec!["GET", "HEAD", "POST", "FOO", "PUT"]);
    (method, host, path, any::<bool>(), headers, query, agent, 0..3u8).prop_map(
        |(method, host, path, slash, headers, query, agent, version)| {
            let mut path: String = path.iter().map(|s| format!("/{s}")).collect();
            if slash || path.is_empty() {
                path.push('/');
            }
            let mut headers: Vec<(String, String)> =
                headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            headers.push(("user-agent".into(), agent.into()));
            let (method, host) = (method.into(), host.into());
            Ask { method, host, path, query: query.map(str::to_owned), headers, version: Some(version) }
        },
    )
}

/// Checks what the build says, then takes away the routes it complains about until it is content.
fn build(mut routes: Vec<RouteSpec>, asks: &[Ask]) -> (Vec<RouteSpec>, Router) {
    loop {
        let problems = match Router::build(routes.clone()) {
            Ok(router) => return (routes, router),
            Err(problems) => problems,
        };
        for problem in &problems {
            check_problem(problem, &routes, asks);
        }
        let mut bad: Vec<usize> = problems.iter().map(Problem::route).collect();
        let over_only = problems.iter().all(|p| {
            matches!(
                p,
                Problem::UselessOver { .. } | Problem::UnknownOver { .. } | Problem::OverCircle { .. }
            )
        });
        if over_only {
            bad.iter().for_each(|i| routes[*i].over.clear());
            continue;
        }
        bad.retain(|i| {
            problems
                .iter()
                .any(|p| p.route() == *i && !matches!(p, Problem::UselessOver { .. } | Problem::More { .. }))
        });
        bad.sort_unstable();
        bad.dedup();
        for i in bad.into_iter().rev() {
            let gone = routes.remove(i).name;
            routes.iter_mut().for_each(|r| r.over.retain(|o| *o != gone));
        }
    }
}

fn check_problem(problem: &Problem, routes: &[RouteSpec], asks: &[Ask]) {
    for ask in asks {
        match problem {
            Problem::Unreachable { route, .. } | Problem::UnreachableVersions { route, .. } => {
                assert_ne!(naive(routes, ask), Answer::Route(*route), "{problem}: {ask:?}");
            }
            Problem::Contradiction { route, .. } => {
                assert!(!common::holds(&routes[*route].matching, ask), "{problem}: {ask:?}");
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_is_the_naive_router(routes in routes(), asks in prop::collection::vec(ask(), 24)) {
        let (routes, router) = build(routes, &asks);
        for ask in &asks {
            let want = naive(&routes, ask);
            let have = match router.find(ask, &ask.path, &mut NoTrace) {
                Found::Route { index, .. } => Answer::Route(index),
                Found::MethodNotAllowed { allow } => Answer::NotAllowed(allow),
                Found::NotFound => Answer::NotFound,
            };
            // A naive `Tie` here is a tie that the build has not reported.
            prop_assert_eq!(have, want, "{:?}\n{:#?}", ask, routes);
        }
    }

    #[test]
    fn explain_says_what_is_true(routes in routes(), asks in prop::collection::vec(ask(), 12)) {
        let (_, router) = build(routes, &asks);
        for ask in &asks {
            let explain = Explain::new(&router, ask, &ask.path);
            prop_assert_eq!(&explain.found, &router.find(ask, &ask.path, &mut NoTrace));
            prop_assert!(explain.nearest.len() <= Explain::NEAREST);
            prop_assert!(explain.nearest.len() == Explain::NEAREST || explain.nearest.len() + 1 >= router.len());
            for near in &explain.nearest {
                prop_assert!(!near.text.is_empty());
                match near.failed {
                    Some(which) => prop_assert!(!router.eval_predicate(near.route, which, ask, &ask.path), "{near:?}"),
                    None => {
 let found = matches!(explain.found, Found::Route { .. });
 prop_assert!(found);
 }
                }
            }
            for (route, outcome) in &explain.tried {
                if let narthex_router::TryOutcome::Failed(which) = outcome {
                    prop_assert!(!router.eval_predicate(*route, *which, ask, &ask.path));
                }
            }
        }
    }

    #[test]
    fn captures_are_what_stands_there(routes in routes(), asks in prop::collection::vec(ask(), 12)) {
        let (routes, router) = build(routes, &asks);
        for ask in &asks {
            let Found::Route { index, captures } = router.find(ask, &ask.path, &mut NoTrace) else { continue };
            let Some(PathPattern::Template(template)) = &routes[index].matching.path else {
                prop_assert!(captures.is_empty());
                continue;
            };
            prop_assert_eq!(captures.len(), template.capture_names().len());
            let mut path = String::new();
            let mut at = 0;
            for segment in template.segments() {
                path.push('/');
                match segment {
                    narthex_router::Segment::Literal(text) => path.push_str(text),
                    _ => { path.push_str(captures.raw(&ask.path, at).unwrap()); at += 1; }
                }
            }
            // `/a/{rest=**}` also matches `/a`.
            prop_assert!(path == ask.path || path == format!("{}/", ask.path), "{} {}", path, ask.path);
        }
    }
}
