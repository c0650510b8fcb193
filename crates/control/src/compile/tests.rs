//! What is reused from one configuration to the next, and what each edit makes anew.

use std::path::Path;

use narthex_config::{LoadOptions, load_text};

use super::*;

const BASE: &str = r#"
narthex: 1
listeners: { main: { address: "127.0.0.1:0" } }
services:
  a: { url: "http://127.0.0.1:1" }
  b: { url: "http://127.0.0.1:2" }
policies:
  near: { ip_access: { allow: [10.0.0.0/8] } }
  mark: { headers: { request: { set: { X-Mark: one } } } }
  spare: { headers: { request: { set: { X-Spare: one } } } }
gateways:
  g:
    listeners: [main]
    policies: [near, mark]
    routes:
      one: { match: "/one", public: true, to: a }
      two: { match: "/two", public: true, to: b, policies: [spare] }
      mix: { match: "/mix", public: true, to: { split: { a: 1, b: 1 } } }
"#;

/// Compiles with what is kept.
fn compiled(keep: &mut Keep, text: &str) -> Compiled {
    let loaded = load_text(&LoadOptions::from_system(Path::new("narthex.yaml"), &[]), text);
    assert!(loaded.is_good(), "{}", loaded.render(false));
    let file = loaded.file.as_ref().unwrap();
    let mut problems = Vec::new();
    let made = compile_written(file, loaded.node.as_ref(), keep, &Metrics::new(1), &mut problems);
    made.unwrap_or_else(|| panic!("{problems:?}"))
}

/// The routes that an edit leaves as they were.
fn same_after(from: &str, to: &str) -> Vec<String> {
    let mut keep = Keep::default();
    let before = compiled(&mut keep, BASE);
    let edited = BASE.replace(from, to);
    assert!(from.is_empty() || edited != BASE, "the edit edits");
    let after = compiled(&mut keep, &edited);
    let routes = |compiled: &Compiled| compiled.gateways[0].routes.clone();
    let (before, after) = (routes(&before), routes(&after));
    let is_same = |route: &&Arc<narthex_proxy::Route>| before.iter().any(|old| Arc::ptr_eq(old, route));
    after.iter().filter(is_same).map(|route| route.label.route.to_string()).collect()
}

#[test]
fn what_did_not_change_is_not_made_anew() {
    let all = ["one", "two", "mix"];
    assert_eq!(same_after("", ""), all);
    assert_eq!(same_after("narthex: 1\n", "# moved\n\nnarthex: 1\n"), all, "places do not count");
    assert_eq!(same_after("\"/one\"", "\"/uno\""), ["two", "mix"]);
    assert_eq!(same_after("      one: { match: \"/one\", public: true, to: a }\n", ""), ["two", "mix"]);
    assert_eq!(same_after("X-Spare: one", "X-Spare: other"), ["one", "mix"]);
    assert_eq!(same_after("X-Mark: one", "X-Mark: other"), [""; 0], "all inherit it");
    assert_eq!(same_after("policies: [near, mark]", "policies: [mark, near]"), [""; 0]);
    assert_eq!(same_after("127.0.0.1:2", "127.0.0.1:3"), ["one"], "a service of theirs changed");
    let new = "services:\n  a0: { url: \"http://127.0.0.1:9\" }\n";
    assert_eq!(same_after("services:\n", new), all, "indexes of services are stable");
    assert_eq!(
        same_after(
            "address: \"127.0.0.1:0\"",
            "address: \"127.0.0.1:0\", bounds: { buffered_body_bytes: 2KiB }"
        ),
        [""; 0]
    );
}

#[test]
fn a_reused_route_is_planned_and_found_as_before() {
    let mut keep = Keep::default();
    let before = compiled(&mut keep, BASE);
    let after = compiled(&mut keep, BASE);
    assert_eq!(before.routes, after.routes);
    assert_eq!(after.routes[1].policies, ["near", "mark", "spare"]);
}

#[test]
fn a_service_that_went_and_came_elsewhere_is_found() {
    let mut keep = Keep::default();
    let first = compiled(&mut keep, BASE);
    let id = |compiled: &Compiled, name: &str| {
        compiled
            .snapshot
            .services
            .iter()
            .position(|service| service.as_ref().is_some_and(|s| &*s.name == name))
    };
    assert_eq!((id(&first, "a"), id(&first, "b")), (Some(0), Some(1)));
    let without = BASE
        .replace("  a: { url: \"http://127.0.0.1:1\" }\n", "  c: { url: \"http://127.0.0.1:1\" }\n")
        .replace("to: a ", "to: c ")
        .replace("{ a: 1, b: 1 }", "{ c: 1, b: 1 }");
    let second = compiled(&mut keep, &without);
    assert_eq!((id(&second, "c"), id(&second, "b"), id(&second, "a")), (Some(0), Some(1), None));
}
