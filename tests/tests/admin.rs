//! The admin listener, and the ways in which a configuration goes live or is refused.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::path::Path;

use narthex_testkit::{RawClient, Workspace};
use narthex_tests::{PATIENCE, Process, WATCH, eventually};

/// A configuration that answers everything with this text.
fn says(text: &str) -> String {
    format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, \
         to: {{ reply: {{ status: 200, body: \"{text}\" }} }} }} }} }} }}\n"
    )
}

const BAD: &str = "narthex: 1\nlistenrs: {}\n";

fn said(gateway: &Process) -> String {
    let mut client = RawClient::connect(gateway.address("main")).unwrap();
    client.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap().text()
}

fn wait_until_said(gateway: &Process, text: &str) {
    eventually(text, PATIENCE, || (said(gateway) == text).then_some(()));
}

#[test]
fn what_is_asked_is_answered() {
    let gateway = Process::start(&says("one"), &[]);
    assert_eq!((gateway.get("/livez").status, gateway.get("/readyz").status), (200, 200));
    assert_eq!(said(&gateway), "one");
    let status = gateway.get("/status").json();
    assert_eq!(status["version"], 1);
    assert_eq!(status["ready"], true);
    assert_eq!(status["workers"], 1);
    assert!(status["source"]["file"].as_str().is_some_and(|file| file.ends_with("narthex.yaml")), "{status}");
    let metrics = gateway.get("/metrics").text();
    assert!(metrics.lines().any(|line| line.starts_with("narthex_")), "{metrics}");
    for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "not a sample: {line}");
    }
    assert_eq!(gateway.get("/nothing").status, 404);
    assert_eq!(gateway.ask("DELETE", "/config", "", "").status, 405);
}

#[test]
fn a_configuration_is_read_and_replaced() {
    let gateway = Process::start(&says("one"), &[]);
    let read = gateway.get("/config");
    assert_eq!((read.status, read.text()), (200, says("one")));
    let first = read.field("ETag").unwrap().to_owned();

    let wrong = gateway.ask("PUT", "/config", "If-Match: \"0000\"\r\n", &says("two"));
    assert_eq!((wrong.status, wrong.field("ETag")), (412, Some(first.as_str())));
    assert_eq!(said(&gateway), "one");

    let put = gateway.ask("PUT", "/config", &format!("If-Match: {first}\r\n"), &says("two"));
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(put.json()["version"], 2);
    assert_eq!(said(&gateway), "two");
    let second = put.field("ETag").unwrap().to_owned();
    assert_ne!(first, second);
    assert_eq!(gateway.get("/config").field("ETag"), Some(second.as_str()));

    let late = gateway.ask("PUT", "/config", &format!("If-Match: {first}\r\n"), &says("three"));
    assert_eq!((late.status, said(&gateway).as_str()), (412, "two"));
    let any = gateway.ask("PUT", "/config", "If-Match: *\r\n", &says("three"));
    assert_eq!((any.status, said(&gateway).as_str()), (200, "three"));
    assert_eq!(gateway.ask("PUT", "/config", "", &says("four")).status, 200);
    assert_eq!(gateway.version(), 4);
}

#[test]
fn of_two_that_change_the_same_one_only_one_wins() {
    let gateway = Process::start(&says("start"), &[]);
    let tag = gateway.get("/config").field("ETag").unwrap().to_owned();
    let match_line = format!("If-Match: {tag}\r\n");
    let wins: usize = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|number| {
                let (gateway, match_line) = (&gateway, &match_line);
                scope.spawn(move || {
                    gateway.ask("PUT", "/config", match_line, &says(&format!("n{number}"))).status == 200
                })
            })
            .collect();
        writers.into_iter().map(|writer| usize::from(writer.join().unwrap())).sum()
    });
    assert_eq!(wins, 1, "a lost update");
    assert_eq!(gateway.version(), 2);
}

#[test]
fn a_dry_run_changes_nothing() {
    let gateway = Process::start(&says("one"), &[]);
    let good = gateway.ask("PUT", "/config?dry_run=1", "", &says("two"));
    assert_eq!((good.status, good.json()["valid"].as_bool()), (200, Some(true)));
    let bad = gateway.ask("PUT", "/config?dry_run=1", "", BAD);
    assert_eq!((bad.status, bad.json()["valid"].as_bool()), (422, Some(false)));
    assert_eq!((gateway.version(), said(&gateway).as_str()), (1, "one"));
    assert_eq!(gateway.get("/status").json()["refused"], 0);
}

#[test]
fn an_invalid_one_is_refused_with_its_problems() {
    let gateway = Process::start(&says("one"), &[]);
    let refused = gateway.ask("PUT", "/config", "", BAD);
    assert_eq!(refused.status, 422);
    let body = refused.json();
    assert_eq!(body["valid"], false);
    assert!(body["problems"].as_array().is_some_and(|problems| !problems.is_empty()), "{body}");
    assert!(body["text"].as_str().is_some_and(|text| text.contains(":2:1") && text.contains("listeners")));
    let status = gateway.get("/status").json();
    assert_eq!((status["version"].as_u64(), status["refused"].as_u64()), (Some(1), Some(1)));
    assert!(status["last_refusal"].as_str().is_some_and(|text| text.contains("listenrs")), "{status}");
    assert_eq!(said(&gateway), "one");
    assert!(gateway.log().contains("configuration refused"), "{}", gateway.log());
    let latin = RawClient::connect(gateway.admin()).unwrap().exchange(
        b"PUT /config HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\n\xff\xfe",
    );
    assert_eq!(latin.unwrap().status, 400);
}

#[test]
fn an_address_that_is_taken_is_refused_whole() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = Process::start(&says("one"), &[]);
    let two = says("two").replace(
        "listeners: { main: { address: \"127.0.0.1:0\" } }",
        &format!(
            "listeners: {{ main: {{ address: \"127.0.0.1:0\" }}, more: {{ address: \"{}\" }} }}",
            taken.local_addr().unwrap()
        ),
    );
    let two = two.replace("listeners: [main]", "listeners: [main, more]");
    let refused = gateway.ask("PUT", "/config", "", &two);
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert_eq!((gateway.version(), said(&gateway).as_str()), (1, "one"));
}

#[test]
fn a_token_guards_all_but_the_probes() {
    let guarded = |text: &str| {
        let token = "admin: { address: \"127.0.0.1:0\", token: s3cret-and-long-enough }";
        says(text).replace("admin: { address: \"127.0.0.1:0\" }", token)
    };
    let workspace = Workspace::new().unwrap();
    let file = workspace.write("narthex.yaml", &guarded("one")).unwrap();
    let gateway = Process::start_in(workspace, &file, &[]);
    for path in ["/status", "/metrics", "/config"] {
        for fields in
            ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic s3cret-and-long-enough\r\n"]
        {
            let refused = gateway.ask("GET", path, fields, "");
            assert_eq!(refused.status, 401, "{path} {fields}");
            assert!(refused.field("WWW-Authenticate").is_some());
            assert!(!refused.text().contains("s3cret-and-long-enough"));
        }
        let answer = gateway.ask("GET", path, "Authorization: Bearer s3cret-and-long-enough\r\n", "");
        assert_eq!(answer.status, 200, "{path}");
        // `auth-scheme` is case-insensitive: RFC 9110 11.1.
        assert_eq!(
            gateway.ask("GET", path, "Authorization: bearer s3cret-and-long-enough\r\n", "").status,
            200,
            "{path}"
        );
    }
    assert_eq!(gateway.ask("PUT", "/config", "", &guarded("two")).status, 401);
    assert_eq!((gateway.get("/livez").status, gateway.get("/readyz").status), (200, 200));
    assert!(!gateway.log().contains("s3cret-and-long-enough"), "a secret in the log");
}

#[test]
fn a_changed_file_goes_live_and_a_bad_one_does_not() {
    let gateway = Process::start(&says("one"), &[WATCH]);
    gateway.workspace().write("narthex.yaml", &says("two")).unwrap();
    wait_until_said(&gateway, "two");
    gateway.workspace().write("narthex.yaml", BAD).unwrap();
    gateway.wait_for_log("configuration refused");
    assert_eq!(said(&gateway), "two");
    gateway.workspace().write("narthex.yaml", &says("three")).unwrap();
    wait_until_said(&gateway, "three");
    // In place, as an editor might.
    std::fs::write(gateway.workspace().file("narthex.yaml"), says("four")).unwrap();
    wait_until_said(&gateway, "four");
}

#[test]
fn a_swapped_directory_goes_live_as_kubernetes_does_it() {
    let workspace = Workspace::new().unwrap();
    workspace.write("..1/narthex.yaml", &says("one")).unwrap();
    workspace.write("..2/narthex.yaml", &says("two")).unwrap();
    let link = |target: &str, name: &Path| std::os::unix::fs::symlink(target, name).unwrap();
    link("..1", &workspace.file("..data"));
    link("..data/narthex.yaml", &workspace.file("narthex.yaml"));
    let file = workspace.file("narthex.yaml");
    let gateway = Process::start_in(workspace, &file, &[WATCH]);
    assert_eq!(said(&gateway), "one");
    let workspace = gateway.workspace();
    link("..2", &workspace.file("..data_tmp"));
    std::fs::rename(workspace.file("..data_tmp"), workspace.file("..data")).unwrap();
    wait_until_said(&gateway, "two");
}

#[test]
fn an_included_file_is_followed_too() {
    let workspace = Workspace::new().unwrap();
    let (head, gateways) =
        says("one").split_once("gateways:").map(|(h, g)| (h.to_owned(), g.to_owned())).unwrap();
    workspace.write("more.yaml", &format!("gateways:{gateways}")).unwrap();
    let file = workspace.write("narthex.yaml", &format!("{head}include: [more.yaml]\n")).unwrap();
    let gateway = Process::start_in(workspace, &file, &[WATCH]);
    assert_eq!(said(&gateway), "one");
    let two = gateways.replace("\"one\"", "\"two\"");
    gateway.workspace().write("more.yaml", &format!("gateways:{two}")).unwrap();
    wait_until_said(&gateway, "two");
}

#[test]
fn a_hang_up_reloads() {
    let gateway = Process::start(&says("one"), &[]);
    for text in ["two", "three"] {
        gateway.workspace().write("narthex.yaml", &says(text)).unwrap();
        gateway.signal("HUP");
        wait_until_said(&gateway, text);
    }
    gateway.workspace().write("narthex.yaml", BAD).unwrap();
    gateway.signal("HUP");
    gateway.wait_for_log("configuration refused");
    assert_eq!((said(&gateway).as_str(), gateway.version()), ("three", 3));
}

#[test]
fn a_volley_of_hang_ups_harms_nothing() {
    let gateway = Process::start(&says("one"), &[]);
    for _ in 0..20 {
        gateway.signal("HUP");
    }
    gateway.workspace().write("narthex.yaml", &says("two")).unwrap();
    gateway.signal("HUP");
    wait_until_said(&gateway, "two");
}

#[test]
fn the_last_good_one_is_kept_and_resumed() {
    let state = Workspace::new().unwrap();
    let directory = state.file("state");
    let directory = directory.to_str().unwrap();
    let mut first = Process::start(&says("one"), &["--state", directory]);
    assert_eq!(first.ask("PUT", "/config", "", &says("two")).status, 200);
    assert_eq!(first.ask("PUT", "/config", "", BAD).status, 422);
    first.signal("TERM");
    assert_eq!(first.wait(PATIENCE).code(), Some(0));
    drop(first);

    let workspace = Workspace::new().unwrap();
    let file = workspace.write("narthex.yaml", BAD).unwrap();
    let refused = narthex_tests::command(&file, &["--state", directory]).output().unwrap();
    assert_eq!(refused.status.code(), Some(3), "without `--resume` a bad file ends the start");

    let resumed = Process::start_in(workspace, &file, &["--state", directory, "--resume"]);
    assert_eq!(said(&resumed), "two");
    assert!(resumed.log().contains("starting with the last good one"), "{}", resumed.log());
    assert_eq!(resumed.get("/status").json()["source"], "last_good");
    resumed.workspace().write("narthex.yaml", &says("three")).unwrap();
    resumed.signal("HUP");
    wait_until_said(&resumed, "three");
}

/// What `narthex explain` says with these arguments.
fn explained(gateway: &Process, arguments: &[&str]) -> String {
    let output = std::process::Command::new(narthex_tests::binary())
        .arg("explain")
        .args(arguments)
        .arg("--config")
        .arg(gateway.workspace().file("narthex.yaml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn explain_asks_how_the_service_stands() {
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
         services: {{ s: {{ url: \"http://{refused}\", breaker: {{ consecutive: 1, open: 1m }} }} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/{{rest=**}}\", public: true, to: s }} }} }} }}\n"
    );
    let gateway = Process::start(&config, &[]);
    let admin = gateway.admin().to_string();
    let plain = explained(&gateway, &["GET /x"]);
    assert!(!plain.contains("circuit"), "nobody was asked: {plain}");
    let well = explained(&gateway, &["GET /x", "--admin", &admin]);
    assert!(well.contains("now      its circuit is closed; 0 requests in work"), "{well}");
    assert!(well.contains(&format!("instance {refused}: ")), "{well}");
    said(&gateway);
    let open = explained(&gateway, &["GET /x", "--admin", &admin]);
    assert!(open.contains("its circuit is open: 503 circuit_open"), "{open}");
}
