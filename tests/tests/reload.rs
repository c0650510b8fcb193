//! Reloads under load lose no request and keep no memory.
//!
//! 100 reloads by default; `NARTHEX_SOAK=1` makes it 1,000.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::fmt::Write;
use std::time::Duration;

use narthex_testkit::{FakeService, Load, LoadOptions, answer};
use narthex_tests::{Process, eventually};

const ALLOCATOR_STEP_KIB: u64 = 2 * 1024;

fn reloads() -> u32 {
    if std::env::var_os("NARTHEX_SOAK").is_some() { 1_000 } else { 100 }
}

/// Every route differs from the one of the generation before: its path, its policy, its service; one service and up to
/// four routes come and go. Whatever the generation, `/r7/x` is answered with `ok`.
fn config(generation: u32, services: &[String; 3]) -> String {
    let mut text = String::from("narthex: 1\nlisteners: { main: { address: \"127.0.0.1:0\" } }\n");
    text.push_str("admin: { address: \"127.0.0.1:0\" }\nservices:\n");
    let is_odd = generation % 2 == 1;
    let names = if is_odd { ["a", "b"] } else { ["a", "c"] };
    for (name, url) in ["a", "b", "c"].iter().zip(services).filter(|(name, _)| names.contains(name)) {
        let _ = writeln!(text, "  {name}: {{ url: \"{url}\" }}");
    }
    text.push_str("gateways:\n  g:\n    listeners: [main]\n    routes:\n");
    for route in 0..50 + generation % 5 {
        let path = if is_odd { format!("/r{route}/{{x}}") } else { format!("/r{route}/{{rest=**}}") };
        let service = names[((route + generation / 2) % 2) as usize];
        let _ = writeln!(
            text,
            "      r{route}: {{ match: \"{path}\", public: true, to: {service}, \
             policies: [ headers: {{ response: {{ set: {{ X-Generation: \"{generation}\" }} }} }} ] }}"
        );
    }
    text
}

fn reload_under_load(load: impl Fn(LoadOptions) -> Load) {
    let services: Vec<_> = (0..3).map(|_| FakeService::start(answer::fixed(200, "ok"))).collect();
    let urls = [services[0].url(), services[1].url(), services[2].url()];
    let gateway = Process::start(&config(0, &urls), &[]);
    let options = LoadOptions {
        connections: 16,
        target: "/r7/x".into(),
        body: Some(b"ok".to_vec()),
        ..LoadOptions::new(gateway.address("main"))
    };
    let load = load(options);
    assert!(load.wait_for(100, Duration::from_secs(20)));
    let (all, mut settled) = (reloads(), 0);
    for generation in 1..=all {
        let answer = gateway.ask("PUT", "/config", "", &config(generation, &urls));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(load.wait_for(20, Duration::from_secs(20)), "the load stands still");
        if generation % 100.min(all / 2) == 0 {
            println!("after {generation}: {} KiB", gateway.anonymous_kib());
        }
        if generation == 100.min(all / 2) {
            settled = gateway.anonymous_kib();
        }
    }
    // The peaks of single moments do not count: what stays does. The allocator asks the system for steps of 2 MiB, one of
    // which may fall into any stretch of reloads; a leak takes one after the other.
    let most = settled + settled / 20 + ALLOCATOR_STEP_KIB;
    let mut seen = 0;
    eventually("memory is back within 5 %", Duration::from_secs(15), || {
        seen = gateway.anonymous_kib();
        (seen <= most).then_some(())
    });
    println!("RssAnon: {settled} KiB when settled, {seen} KiB after {all} reloads");
    let report = load.stop();
    report.expect_flawless();
    assert_eq!(report.announced_ends, 0, "a reload ended connections");
    assert_eq!(gateway.version(), u64::from(all) + 1);
}

#[test]
fn http1_loses_nothing() {
    reload_under_load(Load::http1);
}

#[test]
fn http2_loses_nothing() {
    reload_under_load(Load::http2);
}
