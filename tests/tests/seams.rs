//! What policies may have beside their settings, through reloads of a live gateway: state that is kept, background data
//! with routes that are closed while it is not there, values of each worker's own, and a reload past a worker that is
//! blocked.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use narthex_contract::{
    CompileCx, Feed, FeedOutput, Fingerprint, Flow, Hooks, PerCore, Policy, PolicyEntry, PolicyKind, Reason,
    RegisteredPolicy, RequestCx, ResponseCx, Stage, Verdict,
};
use narthex_testkit::{RawClient, Response};
use narthex_tests::{Controlled, PATIENCE, eventually};
use narthex_wire::Name;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::watch;

/// Writes a field into the response.
fn mark(cx: &mut ResponseCx<'_>, name: &str, value: u64) {
    cx.response.head.set(&Name::parse(name).unwrap(), value.to_string().as_bytes()).unwrap();
}

/// Counts requests over reloads.
struct Tally(Arc<AtomicU64>);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct TallySettings {
    /// Another number begins anew.
    era: u32,
    /// Of no consequence.
    note: String,
}

impl PolicyKind for Tally {
    const NAME: &'static str = "tally";
    const SUMMARY: &'static str = "Counts.";
    const STAGES: &'static [Stage] = &[Stage::Transform, Stage::Inspect];
    const REASONS: &'static [Reason] = &[];
    type Config = TallySettings;
    type Runtime = Self;

    fn compile(config: TallySettings, cx: &mut CompileCx<'_>) -> Option<Self> {
        let name = cx.state_name();
        Some(Self(cx.keep(Self::NAME, &name, Fingerprint::of(&config.era), AtomicU64::default)))
    }
}

impl Policy for Tally {
    fn hooks(&self) -> Hooks {
        Hooks::RESPONSE
    }

    fn on_response<'a>(&'a self, cx: &'a mut ResponseCx<'_>) -> Flow<'a> {
        mark(cx, "X-Tally", self.0.fetch_add(1, Ordering::Relaxed) + 1);
        Flow::Continue
    }
}

/// Counts the requests of its worker.
struct Own(PerCore<Cell<u64>>);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OwnSettings {
    /// Of no consequence.
    #[serde(default)]
    #[expect(dead_code, reason = "it is there to be edited")]
    note: String,
}

impl PolicyKind for Own {
    const NAME: &'static str = "own";
    const SUMMARY: &'static str = "Counts per worker.";
    const STAGES: &'static [Stage] = &[Stage::Transform];
    const REASONS: &'static [Reason] = &[];
    type Config = OwnSettings;
    type Runtime = Self;

    fn compile(_: OwnSettings, cx: &mut CompileCx<'_>) -> Option<Self> {
        Some(Self(cx.per_core(|| Cell::new(0))))
    }
}

impl Policy for Own {
    fn hooks(&self) -> Hooks {
        Hooks::RESPONSE
    }

    fn on_response<'a>(&'a self, cx: &'a mut ResponseCx<'_>) -> Flow<'a> {
        let count = self.0.of(cx.exchange);
        count.set(count.get() + 1);
        mark(cx, "X-Own", count.get());
        Flow::Continue
    }
}

/// Needs a number that a test gives, by the name of the source.
struct Needs(Feed<u64>);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NeedsSettings {
    source: String,
    #[serde(default)]
    #[expect(dead_code, reason = "it is there to be edited")]
    note: String,
}

/// A source: what it says, and how often its task was begun, ended, poked.
struct SourceOf {
    says: watch::Sender<Result<u64, &'static str>>,
    begun: AtomicU32,
    ended: AtomicU32,
    poked: AtomicU32,
}

static SOURCES: Mutex<Vec<(String, Arc<SourceOf>)>> = Mutex::new(Vec::new());

fn source(name: &str) -> Arc<SourceOf> {
    let mut sources = SOURCES.lock().unwrap();
    if let Some((_, source)) = sources.iter().find(|(known, _)| known == name) {
        return Arc::clone(source);
    }
    let made = Arc::new(SourceOf {
        says: watch::Sender::new(Err("no answer yet")),
        begun: AtomicU32::new(0),
        ended: AtomicU32::new(0),
        poked: AtomicU32::new(0),
    });
    sources.push((name.to_owned(), Arc::clone(&made)));
    made
}

impl SourceOf {
    fn say(&self, what: Result<u64, &'static str>) {
        self.says.send_modify(|says| *says = what);
    }

    fn counts(&self) -> (u32, u32) {
        (self.begun.load(Ordering::SeqCst), self.ended.load(Ordering::SeqCst))
    }
}

struct CountsEnd(Arc<SourceOf>);

impl Drop for CountsEnd {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

async fn renew(source: Arc<SourceOf>, output: FeedOutput<u64>) {
    source.begun.fetch_add(1, Ordering::SeqCst);
    let _end = CountsEnd(Arc::clone(&source));
    let mut says = source.says.subscribe();
    loop {
        match *says.borrow_and_update() {
            Ok(value) => output.set(value),
            Err(trouble) => output.fail(trouble),
        }
        tokio::select! {
            changed = says.changed() => changed.unwrap(),
            () = output.poked() => drop(source.poked.fetch_add(1, Ordering::SeqCst)),
        }
    }
}

impl PolicyKind for Needs {
    const NAME: &'static str = "needs";
    const SUMMARY: &'static str = "Needs data.";
    const STAGES: &'static [Stage] = &[Stage::Inspect];
    const REASONS: &'static [Reason] = &[];
    type Config = NeedsSettings;
    type Runtime = Self;

    fn compile(config: NeedsSettings, cx: &mut CompileCx<'_>) -> Option<Self> {
        let source = source(&config.source);
        Some(Self(cx.feed(format!("numbers of {}", config.source), |output| renew(source, output))))
    }
}

impl Policy for Needs {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST.and(Hooks::RESPONSE)
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        assert!(self.0.read(|_| ()).is_some(), "it does not run without its data");
        if cx.exchange.request.query() != Some("poke") {
            return Flow::Continue;
        }
        Flow::Suspend(Box::pin(async move {
            self.0.poke().await;
            Verdict::Continue
        }))
    }

    fn on_response<'a>(&'a self, cx: &'a mut ResponseCx<'_>) -> Flow<'a> {
        if let Some(value) = self.0.read(|value| *value) {
            mark(cx, "X-Number", value);
        }
        Flow::Continue
    }
}

/// Blocks its worker until the test lets go.
struct Blocks;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

static BLOCKED: Mutex<()> = Mutex::new(());
static REACHED: AtomicU32 = AtomicU32::new(0);

impl PolicyKind for Blocks {
    const NAME: &'static str = "blocks";
    const SUMMARY: &'static str = "Blocks.";
    const STAGES: &'static [Stage] = &[Stage::Inspect];
    const REASONS: &'static [Reason] = &[];
    type Config = Nothing;
    type Runtime = Self;

    fn compile(_: Nothing, _: &mut CompileCx<'_>) -> Option<Self> {
        Some(Self)
    }
}

impl Policy for Blocks {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST
    }

    fn on_request<'a>(&'a self, _: &'a mut RequestCx<'_>) -> Flow<'a> {
        REACHED.fetch_add(1, Ordering::SeqCst);
        drop(BLOCKED.lock());
        Flow::Continue
    }
}

static KINDS: &[&dyn RegisteredPolicy] = &[
    &PolicyEntry::<Tally>::NEW,
    &PolicyEntry::<Own>::NEW,
    &PolicyEntry::<Needs>::NEW,
    &PolicyEntry::<Blocks>::NEW,
];

fn config(policies: &str, routes: &str) -> String {
    format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\npolicies: {{ {policies} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ {routes} }} }} }}\n"
    )
}

fn route(name: &str, policies: &str) -> String {
    format!(
        "{name}: {{ match: \"/{name}\", public: true, policies: [{policies}], to: {{ reply: {{ status: 200 }} }} }}"
    )
}

fn ask(gateway: &Controlled, path: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    RawClient::connect(gateway.address()).unwrap().exchange(request).unwrap()
}

fn field(answer: &Response, name: &str) -> u64 {
    answer.field(name).unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap()
}

#[test]
fn state_outlives_reloads_until_its_settings_or_its_name_change() {
    let one = |settings: &str| config("", &route("one", &format!("tally: {{ {settings} }}")));
    let gateway = Controlled::start(&one("note: a"), 2, KINDS, &[]);
    let tally = || field(&ask(&gateway, "/one"), "x-tally");
    assert_eq!((tally(), tally()), (1, 2), "shared by both workers");
    gateway.put(&one("note: b")).unwrap();
    assert_eq!(tally(), 3, "this edit does not reset it");
    gateway.check(&one("era: 7")).unwrap();
    gateway.put("nonsense").unwrap_err();
    assert_eq!(tally(), 4, "neither a check nor a refusal touches it");
    gateway.put(&one("era: 7")).unwrap();
    assert_eq!(tally(), 1, "this edit does");
    gateway.put(&one("era: 7, name: other")).unwrap();
    assert_eq!(tally(), 1, "another name is another state");
    let shared = config("t: { tally: {} }", &format!("{}, {}", route("one", "t"), route("two", "t")));
    gateway.put(&shared).unwrap();
    assert_eq!(tally(), 1);
    assert_eq!(
        field(&ask(&gateway, "/two"), "x-tally"),
        2,
        "a named policy has one state wherever it is used"
    );
}

#[test]
fn state_dies_with_the_last_snapshot() {
    let with = config("", &route("one", "tally: {}"));
    let gateway = Controlled::start(&with, 1, KINDS, &[]);
    assert_eq!(field(&ask(&gateway, "/one"), "x-tally"), 1);
    gateway.put(&config("", &route("one", ""))).unwrap();
    // Nothing holds the old snapshot: after two looks it is gone.
    eventually("the old snapshot is dropped", PATIENCE, || {
        gateway.tidy();
        gateway.put(&with).unwrap();
        let count = field(&ask(&gateway, "/one"), "x-tally");
        gateway.put(&config("", &route("one", ""))).unwrap();
        gateway.tidy();
        gateway.tidy();
        (count == 1).then_some(())
    });
}

#[test]
fn each_worker_has_its_own_and_keeps_it_while_the_route_stays() {
    let base = config("", &route("one", "own: {}"));
    let gateway = Controlled::start(&base, 1, KINDS, &[]);
    let own = || field(&ask(&gateway, "/one"), "x-own");
    assert_eq!((own(), own()), (1, 2));
    let more = config("", &format!("{}, {}", route("one", "own: {}"), route("two", "own: {}")));
    gateway.put(&more).unwrap();
    assert_eq!(own(), 3, "the route did not change");
    assert_eq!(field(&ask(&gateway, "/two"), "x-own"), 1);
    gateway.put(&config("", &route("one", "own: { note: new }"))).unwrap();
    assert_eq!(own(), 1, "a route that is compiled anew begins anew");
    let gateway = Controlled::start(&base, 2, KINDS, &[]);
    let counts: Vec<u64> = (0..40).map(|_| field(&ask(&gateway, "/one"), "x-own")).collect();
    let highest = *counts.iter().max().unwrap();
    assert!((20..=40).contains(&highest), "each worker counts for itself: {counts:?}");
}

#[test]
fn a_route_is_closed_until_its_data_is_there() {
    let numbers = source("late");
    let text = config("", &format!("{}, {}", route("one", "needs: { source: late }"), route("free", "")));
    let gateway = Controlled::start(&text, 1, KINDS, &[]);
    let closed = ask(&gateway, "/one");
    assert_eq!((closed.status, closed.reason().as_str()), (503, "policy_unavailable"));
    assert!(!closed.text().contains("late"), "what it waits for is for the operator: {}", closed.text());
    assert_eq!(ask(&gateway, "/free").status, 200, "the others are open");
    let ready = || {
        let request = "GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let answer = RawClient::connect(gateway.admin()).unwrap().exchange(request).unwrap();
        (answer.status, answer.text())
    };
    assert_eq!(ready(), (200, "ready\nwaiting: needs of g/one\n".into()));
    let waiting = &gateway.status().waiting;
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    let one = &waiting[0];
    assert_eq!((&*one.route, &*one.policy, &*one.feed), ("one", "needs", "numbers of late"));
    assert_eq!(one.trouble.as_deref(), Some("no answer yet"));
    numbers.say(Ok(7));
    eventually("the route opens", PATIENCE, || (ask(&gateway, "/one").status == 200).then_some(()));
    assert_eq!(field(&ask(&gateway, "/one"), "x-number"), 7);
    assert!(gateway.status().waiting.is_empty());
    assert_eq!(ready(), (200, "ready\n".into()));
    numbers.say(Err("gone again"));
    assert_eq!(field(&ask(&gateway, "/one?poke"), "x-number"), 7, "what was known stays");
}

#[test]
fn one_that_cannot_judge_leaves_the_others_their_turn() {
    let numbers = source("absent");
    let text = config(
        "either: { any_of: [ needs: { source: absent }, other ] }, other: { tally: { stage: inspect } }",
        &format!("{}, {}", route("one", "either"), route("two", "{ any_of: [ needs: { source: absent } ] }")),
    );
    let gateway = Controlled::start(&text, 1, KINDS, &[]);
    assert_eq!(field(&ask(&gateway, "/one"), "x-tally"), 1, "the other one lets it pass");
    let closed = ask(&gateway, "/two");
    assert_eq!((closed.status, closed.reason().as_str()), (503, "policy_unavailable"));
    assert!(gateway.status().waiting.iter().all(|one| one.policy == "needs"), "the inner one is named");
    assert_eq!(gateway.status().waiting.len(), 2);
    numbers.say(Ok(9));
    eventually("it opens", PATIENCE, || (ask(&gateway, "/two").status == 200).then_some(()));
    let answer = ask(&gateway, "/one");
    assert_eq!((field(&answer, "x-number"), answer.field("x-tally")), (9, None), "the first that can wins");
    let round = config("a: { any_of: [b] }, b: { all_of: [a] }", &route("one", "a"));
    let refused = gateway.put(&round).unwrap_err();
    assert!(refused.contains("nested_too_deep") && refused.contains("names itself"), "{refused}");
    for (list, code) in [
        ("[nobody]", "undefined"),
        ("[tally: { mode: shadow }]", "nested_key"),
        ("[tally: { unknown: 1 }]", "unknown_key"),
        ("[tally: {}, needs: { source: absent }]", "mixed_stages"),
    ] {
        let refused = gateway.put(&config("", &route("one", &format!("{{ any_of: {list} }}")))).unwrap_err();
        assert!(refused.contains(code) && refused.contains("narthex.yaml:4:"), "{list}: {refused}");
    }
}

#[test]
fn a_shadow_that_cannot_judge_closes_nothing() {
    source("never");
    let text = config("", &route("one", "needs: { source: never, mode: shadow }"));
    let gateway = Controlled::start(&text, 1, KINDS, &[]);
    assert_eq!(ask(&gateway, "/one").status, 200);
    assert_eq!(gateway.status().waiting.len(), 1, "the operator hears of it all the same");
}

#[test]
fn feeds_are_shared_started_by_activation_and_ended_by_the_last_reader() {
    let numbers = source("shared");
    numbers.say(Ok(1));
    let needs = |note: &str| format!("needs: {{ source: shared, note: \"{note}\" }}");
    let two =
        |note: &str| config("", &format!("{}, {}", route("one", &needs(note)), route("two", &needs("x"))));
    let gateway = Controlled::start(&config("", &route("free", "")), 1, KINDS, &[]);
    gateway.check(&two("a")).unwrap();
    assert_eq!(numbers.counts(), (0, 0), "a check starts none");
    gateway.put(&two("a")).unwrap();
    assert_eq!((numbers.counts(), field(&ask(&gateway, "/one"), "x-number")), ((1, 0), 1), "one for both");
    gateway.put(&two("b")).unwrap();
    gateway.check(&config("", &route("free", ""))).unwrap();
    assert_eq!(numbers.counts(), (1, 0), "it goes on");
    numbers.say(Ok(2));
    assert_eq!(field(&ask(&gateway, "/two?poke"), "x-number"), 2);
    assert!(numbers.poked.load(Ordering::SeqCst) >= 1);
    gateway.put(&config("", &route("free", ""))).unwrap();
    eventually("the last reader ends it", PATIENCE, || {
        gateway.tidy();
        (numbers.counts() == (1, 1)).then_some(())
    });
    gateway.put(&two("a")).unwrap();
    assert_eq!(numbers.counts(), (2, 1), "and it begins again");
}

#[test]
fn a_worker_that_is_blocked_does_not_hold_a_reload_up() {
    let base = config("", &format!("{}, {}", route("one", "tally: {}"), route("stuck", "blocks: {}")));
    let gateway = Controlled::start(&base, 2, KINDS, &[]);
    let held = BLOCKED.lock().unwrap();
    let mut stuck = RawClient::connect(gateway.address()).unwrap();
    stuck.send("GET /stuck HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    eventually("a worker is blocked", PATIENCE, || (REACHED.load(Ordering::SeqCst) > 0).then_some(()));
    let begun = Instant::now();
    gateway
        .put(&config("", &format!("{}, {}", route("new", "tally: {}"), route("stuck", "blocks: {}"))))
        .unwrap();
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(30), "{took:?}");
    drop(held);
    assert_eq!(stuck.read_response().unwrap().status, 200);
    for _ in 0..20 {
        assert_eq!(ask(&gateway, "/new").status, 200, "both workers have switched");
        assert_eq!(ask(&gateway, "/one").status, 404);
    }
}
