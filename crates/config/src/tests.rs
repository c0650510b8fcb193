//! Loading, merging, secrets and checks, on files that exist only in the test.

use crate::*;
use narthex_document::{Diagnostic, Rate, Value};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Loads `main.yaml` out of a set of files, with overlays and variables.
fn load_files(files: &[(&str, &str)], overlays: &[&str], env: &[(&str, &str)]) -> Loaded {
    let overlays: Vec<PathBuf> = overlays.iter().map(PathBuf::from).collect();
    let read = |path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| io::Error::other("no such file"))
    };
    let list = |path: &Path| {
        Ok(files
            .iter()
            .map(|(name, _)| PathBuf::from(name))
            .filter(|name| name.parent() == Some(path))
            .collect())
    };
    let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    load(&LoadOptions {
        path: Path::new("main.yaml"),
        overlays: &overlays,
        env: &env,
        read: &read,
        list: &list,
    })
}

fn one(text: &str) -> Loaded {
    load_files(
        &[("main.yaml", text)],
        &[],
        &[("USERS_URL", "http://users:8080"), ("SECRET", "hunter2-hunter2-x")],
    )
}

fn codes(loaded: &Loaded) -> Vec<&'static str> {
    loaded.diagnostics.iter().filter(|problem| problem.is_error()).map(|problem| problem.code).collect()
}

const SMALL: &str = "\
narthex: 1
listeners: { public: { address: \":80\" } }
services: { users: { url: \"http://users:8080\" } }
gateways:
  shop:
    listeners: [public]
    routes:
      all: { match: /, to: users }
";

const DESIGN: &str = include_str!("../tests/shop.yaml");

#[test]
fn the_design_example_loads_and_splits() {
    let files = [("main.yaml", DESIGN), ("shop.key", "KEY\n"), ("shop.pem", "CERTIFICATE\n")];
    let loaded = load_files(&files, &[], &[("USERS_URL", "http://users:8080")]);
    let file = loaded.file.as_ref().unwrap_or_else(|| panic!("{}", loaded.render(false)));
    assert!(loaded.diagnostics.is_empty(), "{}", loaded.render(false));
    assert_eq!(loaded.files, [PathBuf::from("main.yaml")], "a new certificate is no new configuration");
    assert_eq!(file.listeners.get("public").unwrap().certificates[0].key.text, "KEY\n");
    assert_eq!(file.services.get("orders").unwrap().url.as_ref().unwrap().scheme, Scheme::H2c);
    assert_eq!(file.tiers.get("free"), Some(&Rate::new(100, Duration::from_secs(60))));
    let flood = file.policies.get("flood").unwrap();
    assert_eq!((flood.kind.as_str(), flood.stage.as_ref().unwrap().as_str()), ("rate_limit", "admit"));
    assert!(flood.settings.get("stage").is_none() && flood.settings.get("key").is_some());
    let who = file.policies.get("who").unwrap();
    assert_eq!((who.kind.as_str(), who.settings.items().len()), ("any_of", 2));
    let shop = file.gateways.get("shop").unwrap();
    assert_eq!(shop.routes.names().collect::<Vec<_>>(), ["products", "products_v2", "home", "order"]);
    let products = shop.routes.get("products").unwrap();
    assert_eq!(products.matches.map.method.as_ref().unwrap().0[0].0, "GET");
    assert_eq!(products.matches.map.path.as_ref().unwrap().value, "/v1/products/{rest=**}");
    // Which of `split` and `sticky` is the kind only the registry knows.
    let To::Kind(split) = &products.to.value else { panic!("a kind") };
    assert_eq!(split.kind(&["split", "reply"]).unwrap().kind.value, "split");
    assert_eq!(split.kind(&["grpc"]).unwrap_err().code, "unknown_kind");
    assert_eq!(split.kind(&["split", "sticky"]).unwrap_err().code, "wrong_type");
    let v2 = shop.routes.get("products_v2").unwrap();
    assert_eq!(v2.matches.map.headers.get("X-Version").unwrap().value, Predicate::Exact("2".into()));
    assert!(v2.public);
    assert_eq!(
        v2.fallback.iter().map(|kind| kind.0.entries()[0].0.text.as_str()).collect::<Vec<_>>(),
        ["stale", "service", "reply"]
    );
    assert_eq!(v2.policies[0].name(), "cache");
    let case = file.tests.get("no_buyer").unwrap();
    assert_eq!((case.caller.as_ref().unwrap().id.as_str(), case.expect.status), ("8", Some(403)));
}

#[test]
fn the_commonest_mistakes_read_like_this() {
    let table: [(&str, &str, &str); 10] = [
        (
            "address: \":80\"",
            "adress: \":80\"",
            "main.yaml:2:24: error[unknown_key]: `adress` is not a key here\n   2 | listeners: { public: { adress: \":80\" } }\n     |                        ^^^^^^\nhelp: did you mean `address`? the keys are: address, certificates, tls, redirect_to_https, tcp, tls_passthrough, http, trusted_hops, trusted_proxies, proxy_protocol, forwarded, forward_client_cert, half_close, bounds\n",
        ),
        (
            "to: users",
            "to: user",
            "main.yaml:8:28: error[undefined]: there is no service `user`\n   8 |       all: { match: /, to: user }\n     |                            ^^^^\nhelp: did you mean `users`? there are: users\n",
        ),
        (
            "listeners: [public]",
            "listeners: [publik]",
            "main.yaml:6:17: error[undefined]: there is no listener `publik`\n   6 |     listeners: [publik]\n     |                 ^^^^^^\nhelp: did you mean `public`? there are: public\n",
        ),
        (
            "match: /,",
            "match: { path: /u/{id} },",
            "main.yaml:8:29: error[unquoted]: an unquoted `{…}` inside `{ }` or `[ ]` reads as a map\n   8 |       all: { match: { path: /u/{id} }, to: users }\n     |                             ^^^^^^^\nhelp: quote it: \"/u/{id}\"\n",
        ),
        (
            "to: users }",
            "to: users, deadline: 15 }",
            "main.yaml:8:45: error[invalid_value]: the time `15` lacks a unit\n   8 |       all: { match: /, to: users, deadline: 15 }\n     |                                             ^^\nhelp: add one: 15s for seconds, 15ms for milliseconds (also m, h, d)\n",
        ),
        (
            "to: users }",
            "to: users, public: yes }",
            "main.yaml:8:43: error[wrong_type]: true or false is wanted here, found the text \"yes\"\n   8 |       all: { match: /, to: users, public: yes }\n     |                                           ^^^\nhelp: write true\n",
        ),
        (
            "match: /,",
            "match: { path: /, headers: { X-Version: 1.10 } },",
            "main.yaml:8:54: error[wrong_type]: text is wanted here, found the number 1.10\n   8 |       all: { match: { path: /, headers: { X-Version: 1.10 } }, to: users }\n     |                                                      ^^^^\nhelp: quote it: \"1.10\"\n",
        ),
        (
            "http://users:8080",
            "users:8080",
            "main.yaml:3:27: error[invalid_value]: `users:8080` has no scheme\n   3 | services: { users: { url: \"users:8080\" } }\n     |                           ^^^^^^^^^^^^^\nhelp: write http://users:8080, or https://, h2c://, grpc://, grpcs://\n",
        ),
        (
            "http://users:8080",
            "http://users:8080/api",
            "main.yaml:3:27: error[invalid_value]: the path `/api` does not belong into a service's url\n   3 | services: { users: { url: \"http://users:8080/api\" } }\n     |                           ^^^^^^^^^^^^^^^^^^^^^^^^\nhelp: leave it out and use the route's `rewrite:` to put it in front of the path\n",
        ),
        (
            "match: /,",
            "match: get /,",
            "main.yaml:8:21: error[invalid_value]: `get` is not the method `GET`: methods are upper case\n   8 |       all: { match: get /, to: users }\n     |                     ^^^^^\nhelp: write GET\n",
        ),
    ];
    for (from, to, wanted) in table {
        let loaded = one(&SMALL.replacen(from, to, 1));
        assert!(loaded.file.is_none());
        let errors: Vec<Diagnostic> = loaded.diagnostics.iter().filter(|d| d.is_error()).cloned().collect();
        assert_eq!(errors.len(), 1, "{to}: {}", loaded.render(false));
        let said = errors[0].render(&loaded.sources, false);
        assert_eq!(said, wanted, "{to}");
    }
}

#[test]
fn problems_of_different_places_come_at_once_and_sorted() {
    let text = SMALL.replace(":80\"", ":99999\"").replace("to: users", "to: { users: }, whithout: [x]");
    let loaded = one(&text.replace("narthex: 1", "narthex: 2"));
    assert_eq!(codes(&loaded), ["invalid_value", "invalid_value", "unknown_key"]);
    let lines: Vec<_> = loaded.diagnostics.iter().filter_map(|d| loaded.sources.file_line(d.span)).collect();
    assert!(lines.is_sorted(), "{lines:?}");
}

#[test]
fn references_within_the_file_are_checked() {
    let table = [
        ("to: users", "to: users, policies: [who]", "undefined"),
        ("to: users", "to: users, without: [who]", "undefined"),
        ("to: users", "to: users, over: [other]", "undefined"),
        ("to: users", "to: users, fallback: [ service: other ]", "undefined"),
        ("to: users", "to: users, policies: [ cache: {}, cache: {} ]", "duplicate_policy"),
        ("to: users", "to: users, strip: /a, rewrite: /b", "conflict"),
        ("to: users", "to: users, strip: a", "invalid_value"),
        ("listeners: { ", "listeners: { other: { address: \":80\" }, ", "duplicate_address"),
        ("listeners: { ", "admin: { address: \":81\" }\nlisteners: { ", "open_admin"),
        ("url: \"http://users:8080\"", "host: keep", "missing_key"),
        ("url: \"http://users:8080\"", "url: \"http://a\", instances: [\"http://b\"]", "conflict"),
        ("url: \"http://users:8080\"", "instances: [\"http://a\", \"https://b\"]", "conflict"),
        ("url: \"http://users:8080\"", "url: \"http://a:0\"", "invalid_value"),
        ("url: \"http://users:8080\"", "url: \"http://me:pw@a\"", "invalid_value"),
        ("shop:", "Shop:", "invalid_value"),
        ("shop:", "on:", "invalid_value"),
    ];
    for (from, to, code) in table {
        let loaded = one(&SMALL.replacen(from, to, 1));
        assert_eq!(codes(&loaded), [code], "{to}: {}", loaded.render(false));
    }
    let locked = SMALL.replace("routes:", "policies: [ jwt: { locked: true } ]\n    routes:");
    let named = SMALL
        .replace("routes:", "policies: [ who ]\n    routes:")
        .replace("gateways:", "policies: { who: { jwt: { locked: true } } }\ngateways:");
    for (text, inner) in [
        (&locked, "without: [jwt]"),
        (&locked, "policies: [ jwt: {} ]"),
        (&named, "without: [who]"),
        (&named, "policies: [ jwt: { name: who } ]"),
    ] {
        let loaded = one(&text.replace("to: users", &format!("to: users, {inner}")));
        assert_eq!(codes(&loaded), ["locked"], "{inner}: {}", loaded.render(false));
    }
}

#[test]
fn what_nothing_uses_is_a_warning() {
    let text = SMALL
        .replace("public: {", "spare: { address: \":81\" }, public: {")
        .replace("users: {", "idle: { url: \"http://x\" }, users: {")
        .replace("gateways:", "policies: { never: { jwt: {} } }\ngateways:");
    let loaded = one(&text);
    assert!(loaded.is_good());
    let said: Vec<_> = loaded.diagnostics.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        said,
        [
            "nothing uses the listener `spare`",
            "nothing uses the service `idle`",
            "nothing uses the policy `never`"
        ]
    );
}

#[test]
fn secrets_come_from_outside_and_are_never_echoed() {
    let admin = "admin: { address: \"127.0.0.1:9900\", token: { env: SECRET } }\n";
    let loaded = one(&format!("{SMALL}{admin}workers: {{ env: NONE, default: 3 }}\n"));
    let file = loaded.file.as_ref().unwrap_or_else(|| panic!("{}", loaded.render(false)));
    assert_eq!(file.admin.as_ref().unwrap().token.as_ref().unwrap().value, "hunter2-hunter2-x");
    assert_eq!(file.workers.unwrap().0, 3);
    let shown = show(&loaded).unwrap();
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("token: \"***\"  # from main.yaml:9 (env SECRET)"), "{shown}");
    assert!(shown.contains("workers: 3  # from main.yaml:10"), "{shown}");

    for (from, to) in [
        ("to: users", "to: { env: SECRET }"),
        ("\"http://users:8080\"", "{ env: SECRET }"),
        ("match: /", "match: { env: SECRET }"),
        ("\":80\"", "{ env: SECRET }"),
        ("[public]", "[{ env: SECRET }]"),
        ("to: users", "to: users, deadline: { env: SECRET }"),
        ("to: users", "to: users, encoded_slashes: { env: SECRET }"),
    ] {
        let loaded = one(&SMALL.replacen(from, to, 1));
        assert!(!loaded.is_good());
        let json: Vec<_> =
            loaded.diagnostics.iter().map(|d| d.to_json(&loaded.sources).to_string()).collect();
        assert!(!loaded.render(false).contains("hunter2") && !json.concat().contains("hunter2"), "{to}");
    }
}

#[test]
fn a_missing_variable_or_file_is_one_error_at_its_place() {
    let loaded = one(&SMALL.replace("\"http://users:8080\"", "{ env: NONE }"));
    assert_eq!(codes(&loaded), ["missing_env"], "{}", loaded.render(false));
    let loaded = one(&SMALL.replace("\"http://users:8080\"", "{ file: none.txt }"));
    assert_eq!(codes(&loaded), ["missing_file"], "{}", loaded.render(false));
    assert!(loaded.files.contains(&PathBuf::from("none.txt")));
}

#[test]
fn includes_add_by_name_and_name_both_places_of_a_clash() {
    let main = format!("include: [conf.d/*.yaml]\n{SMALL}");
    let more = "narthex: 1\nservices: { more: { url: { file: url.txt } } }\n";
    let files = [("main.yaml", main.as_str()), ("conf.d/a.yaml", more), ("conf.d/url.txt", "http://more\n")];
    let loaded = load_files(&files, &[], &[]);
    let file = loaded.file.as_ref().unwrap_or_else(|| panic!("{}", loaded.render(false)));
    assert_eq!(file.services.get("more").unwrap().url.as_ref().unwrap().host, "more");
    assert!(loaded.files.contains(&PathBuf::from("conf.d")));
    assert!(show(&loaded).unwrap().contains("# from conf.d/a.yaml:2 (file conf.d/url.txt)"));

    let clash = "services:\n  users: { url: \"http://other\" }\n";
    let loaded = load_files(&[("main.yaml", main.as_str()), ("conf.d/a.yaml", clash)], &[], &[]);
    let said = loaded.render(false);
    assert!(said.contains("conf.d/a.yaml:2:3: error[duplicate_key]: `users` is already there"), "{said}");
    assert!(said.contains("main.yaml:4:13: note: first here"), "{said}");

    let cycle = "include: ../main.yaml\n";
    let loaded = load_files(&[("main.yaml", main.as_str()), ("conf.d/a.yaml", cycle)], &[], &[]);
    assert_eq!(codes(&loaded), ["include_cycle"]);
}

#[test]
fn overlays_merge_by_name_delete_by_null_and_replace_lists() {
    let over = "services: { users: { host: keep }, new: { url: \"http://new\" } }\ngateways: { shop: { hosts: [a.example], routes: { all: { to: { reply: { status: 200 } } }, gone: ~ } } }\nlisteners: { spare: null }\n";
    let main = SMALL
        .replace("public: {", "spare: { address: \":81\" }, public: {")
        .replace("[public]", "[public]\n    hosts: [b.example, c.example]");
    let loaded = load_files(&[("main.yaml", main.as_str()), ("prod.yaml", over)], &["prod.yaml"], &[]);
    let file = loaded.file.as_ref().unwrap_or_else(|| panic!("{}", loaded.render(false)));
    assert_eq!(file.listeners.names().collect::<Vec<_>>(), ["public"]);
    let users = file.services.get("users").unwrap();
    assert_eq!((&users.host, users.url.is_some()), (&HostRule::Keep, true));
    let shop = file.gateways.get("shop").unwrap();
    assert_eq!(shop.hosts.iter().map(|host| host.0.as_str()).collect::<Vec<_>>(), ["a.example"]);
    assert!(
        matches!(&shop.routes.get("all").unwrap().to.value, To::Kind(kind) if kind.0.get("reply").is_some())
    );
    assert!(loaded.diagnostics.iter().any(|d| d.code == "nothing_deleted"));
    let shown = show(&loaded).unwrap();
    assert!(
        shown.contains("host: keep  # from prod.yaml:1") && shown.contains("# from main.yaml:3"),
        "{shown}"
    );
}

#[test]
fn another_kind_in_an_overlay_replaces_the_first() {
    let main = SMALL.replace("to: users", "to: { split: { users: 1 } }");
    let over = "gateways: { shop: { routes: { all: { to: { reply: {} } } } } }\n";
    let loaded = load_files(&[("main.yaml", main.as_str()), ("o.yaml", over)], &["o.yaml"], &[]);
    assert!(loaded.is_good(), "{}", loaded.render(false));
}

#[test]
fn a_text_loads_like_the_file_it_stands_for() {
    let options = LoadOptions::from_system(Path::new("admin.yaml"), &[]);
    assert!(load_text(&options, SMALL).is_good());
    let json = load_text(&options, SMALL).node.unwrap().to_json().to_string();
    assert!(load_text(&options, &json).is_good(), "JSON reads the same");
    for text in ["", "[]", "text", "narthex: 1", "{}"] {
        let loaded = load_text(&options, text);
        assert_eq!(loaded.is_good(), text == "narthex: 1", "{text:?}: {}", loaded.render(false));
    }
}

#[test]
fn bounds_have_their_documented_defaults() {
    let bounds = Bounds::default();
    assert_eq!(
        (bounds.header_bytes.get(), bounds.header_fields, bounds.uri_bytes.get()),
        (61_440, 100, 16_384)
    );
    assert_eq!(
        (bounds.header_time.get(), bounds.idle_time.get()),
        (Duration::from_secs(10), Duration::from_secs(60))
    );
    assert_eq!(bounds.streams, 100);
    for row in bounds_table() {
        assert!(row.meaning.ends_with('.') && !row.default.is_empty(), "{row:?}");
    }
}

#[test]
fn show_writes_what_reads_back_the_same() {
    let loaded = one(SMALL);
    let again = one(&show(&loaded).unwrap());
    assert!(again.node.as_ref().unwrap().same(loaded.node.as_ref().unwrap()));
    assert!(matches!(again.node.unwrap().value, Value::Map(_)));
}

/// Each file reads the next one twenty times, eight levels deep: 20^8 readings if only cycles were refused.
#[test]
fn includes_that_multiply_are_cut() {
    let texts: Vec<(String, String)> = (1..=8)
        .map(|level| {
            let list = vec![format!("l{}.yaml", level + 1); 20].join(", ");
            (format!("l{level}.yaml"), format!("include: [{list}]\n"))
        })
        .chain([("l9.yaml".to_owned(), "narthex: 1\n".to_owned())])
        .collect();
    let main = format!("include: l1.yaml\n{SMALL}");
    let mut files: Vec<(&str, &str)> = vec![("main.yaml", &main)];
    files.extend(texts.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    let loaded = load_files(&files, &[], &[]);
    assert!(!loaded.is_good() && codes(&loaded).contains(&"too_large"));
    assert!(loaded.diagnostics.len() <= 101, "{}", loaded.diagnostics.len());
}

#[test]
fn what_references_bring_in_counts_too() {
    let large = "x".repeat(1024 * 1024);
    let tests: String = (0..70)
        .map(|n| format!("  t{n}: {{ request: GET /, headers: {{ a: {{ file: large }} }}, expect: {{ status: 404 }} }}\n"))
        .collect();
    let text = format!("{SMALL}tests:\n{tests}");
    let loaded = load_files(&[("main.yaml", &text), ("large", &large)], &[], &[]);
    assert!(!loaded.is_good());
    let found: Vec<_> = loaded.diagnostics.iter().filter(|problem| problem.code == "too_large").collect();
    assert_eq!(found.len(), 7, "the configuration itself takes a part of the first MiB of 64");
    assert!(found[0].message.contains("64 MiB"), "{}", found[0].message);
}

#[test]
fn the_first_of_many_problems_are_shown() {
    let routes: String = (0..1500).map(|n| format!("      r{n}: {{ match: /{n}, to: nobody }}\n")).collect();
    let loaded = one(&format!("{SMALL}{routes}"));
    assert!(!loaded.is_good());
    assert_eq!(loaded.diagnostics.len(), 101);
    assert_eq!(codes(&loaded), ["undefined"; 100]);
    assert_eq!(loaded.diagnostics[100].code, "too_many_problems");
}

/// Thousands of names on both sides: each is found at once, what is deleted goes, what stays keeps its order.
#[test]
fn overlays_of_many_names() {
    let routes: String = (0..20_000).map(|n| format!("      r{n}: {{ match: /{n}, to: users }}\n")).collect();
    let over: String = (0..20_000)
        .map(|n| {
            if n % 2 == 0 {
                format!("      r{n}: null\n")
            } else {
                format!("      r{n}: {{ public: true }}\n")
            }
        })
        .collect();
    let main = format!("{SMALL}{routes}");
    let over = format!("gateways:\n  shop:\n    routes:\n{over}      all: null\n");
    let loaded = load_files(&[("main.yaml", &main), ("over.yaml", &over)], &["over.yaml"], &[]);
    let node = loaded.node.unwrap();
    let routes = node.get("gateways").unwrap().get("shop").unwrap().get("routes").unwrap().entries();
    let expected = (0..10_000).map(|n| format!("r{}", 2 * n + 1));
    assert!(routes.iter().map(|(key, _)| key.text.clone()).eq(expected));
    assert!(routes.iter().all(|(_, route)| route.get("public").is_some() && route.get("match").is_some()));
}
