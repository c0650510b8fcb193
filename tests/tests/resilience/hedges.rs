//! Reads that are slow and are asked of another instance too; and those that are not.

use super::Scene;
use narthex_testkit::{Conversation, FakeService, Gate, Next, Progress, RawClient, Workspace, answer};
use narthex_tests::{Process, eventually, http2};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// The service `s` of these instances, with these settings of `retry` and more.
fn service(instances: &[&FakeService], retry: &str, more: &str) -> String {
    let urls: Vec<_> = instances.iter().map(|one| format!("\"{}\"", one.url())).collect();
    format!("s: {{ instances: [{}], retry: {{ {retry} }} {more} }}", urls.join(", "))
}

fn count(scene: &Scene, name: &str) -> f64 {
    scene.metric(&format!("narthex_service_{name}_total{{service=\"s\"}}"))
}

/// Waits for the gate, then answers as an echo.
fn gated(gate: &Gate) -> FakeService {
    let gate = gate.clone();
    FakeService::start(move |conversation: &mut Conversation<'_>| {
        conversation.wait(&gate)?;
        answer::echo()(conversation)
    })
}

/// Waits for the gate, then closes.
fn closing(gate: &Gate) -> FakeService {
    let gate = gate.clone();
    FakeService::start(move |conversation: &mut Conversation<'_>| {
        conversation.wait(&gate)?;
        Ok(Next::Close)
    })
}

#[test]
fn a_slow_instance_is_outrun_and_the_loser_counts_against_nobody() {
    let slow = FakeService::start(answer::never());
    let fast = FakeService::start(answer::echo());
    // One failure would open the circuit, or eject the instance.
    let more = ", breaker: { consecutive: 1, samples: 1 }, outliers: { errors: 1, no_answers: 1 }";
    let scene = Scene::new(&service(&[&slow, &fast], "hedge: { after: 100ms }", more), "");
    let mut client = scene.client();
    for at in 0..10 {
        let said =
            client.exchange(format!("GET /{at}?q HTTP/1.1\r\nHost: a\r\nX-Mine: {at}\r\n\r\n")).unwrap();
        assert_eq!((said.status, said.json()["target"].as_str()), (200, Some(&*format!("/{at}?q"))));
    }
    let head =
        client.send("HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n").and_then(|()| client.read_response_to("HEAD"));
    assert_eq!(head.unwrap().status, 200);
    let hedges = slow.log().len();
    assert!((5..=6).contains(&hedges), "each in turn: {hedges}");
    assert_eq!(fast.log().len(), 11, "every request is answered by it");
    assert_eq!((count(&scene, "hedges"), count(&scene, "hedges_won")), (hedges as f64, hedges as f64));
    assert_eq!(count(&scene, "requests"), 11.0);
    assert_eq!((count(&scene, "failures"), count(&scene, "retries")), (0.0, 0.0));
    assert!(fast.log().iter().filter(|got| got.target() != "/h").all(|got| got.field("x-mine").is_some()));
    assert_eq!(fast.connections(), 1, "the winner's connection serves the next one");
    // The losers' connections are closed.
    slow.wait_until(PATIENCE, |log| log.iter().all(|one| one.progress != Progress::Begun)).unwrap();
}

#[test]
fn nothing_is_sent_twice_where_the_first_answers_in_time() {
    let services: Vec<_> = (0..2).map(|_| FakeService::start(answer::echo())).collect();
    let retry = "hedge: { after: 10s, max: 3 }";
    let scene = Scene::new(&service(&[&services[0], &services[1]], retry, ""), "");
    let mut client = scene.client();
    for _ in 0..20 {
        assert_eq!(client.exchange(GET).unwrap().status, 200);
    }
    assert_eq!((services[0].log().len(), services[1].log().len()), (10, 10));
    assert_eq!(count(&scene, "hedges"), 0.0);
}

#[test]
fn only_reads_without_a_body_are_sent_twice() {
    let gate = Gate::new();
    let services = [gated(&gate), gated(&gate)];
    let scene = Scene::new(&service(&[&services[0], &services[1]], "hedge: { after: 100ms }", ""), "");
    let requests = [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
        "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
        GET,
    ];
    // The last one begins last: when it is hedged, the others would have been.
    let mut clients: Vec<_> = requests.iter().map(|_| scene.client()).collect();
    let begun = |all: usize| {
        eventually("they have begun", PATIENCE, || {
            (services[0].log().len() + services[1].log().len() == all).then_some(())
        });
    };
    for (at, (client, request)) in clients.iter_mut().zip(requests).enumerate() {
        client.send(request).unwrap();
        if at < 4 {
            begun(at + 1);
        }
    }
    begun(6);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.read_response().unwrap().status, 200);
    }
    begun(6);
    assert_eq!(count(&scene, "hedges"), 1.0);
}

#[test]
fn the_first_that_answers_is_the_answer_whoever_fails() {
    // Whose turn it is first is drawn.
    for _ in 0..4 {
        let (first, second) = (Gate::new(), Gate::new());
        let (fails, answers) = (closing(&first), gated(&second));
        let scene = Scene::new(&service(&[&fails, &answers], "hedge: { after: 50ms }", ""), "");
        let mut client = scene.client();
        client.send(GET).unwrap();
        fails.wait_until(PATIENCE, |log| log.len() == 1).unwrap();
        answers.wait_until(PATIENCE, |log| log.len() == 1).unwrap();
        first.open();
        fails.wait_until(PATIENCE, |log| log[0].progress != Progress::Begun).unwrap();
        second.open();
        assert_eq!(client.read_response().unwrap().status, 200);
        assert_eq!((fails.log().len(), answers.log().len()), (1, 1));
        assert_eq!((count(&scene, "hedges"), count(&scene, "failures")), (1.0, 0.0));
    }
}

#[test]
fn where_both_fail_the_request_has_failed() {
    let gate = Gate::new();
    let services = [closing(&gate), closing(&gate)];
    let scene = Scene::new(&service(&[&services[0], &services[1]], "hedge: { after: 50ms }", ""), "");
    let mut client = scene.client();
    client.send(GET).unwrap();
    eventually("both are asked", PATIENCE, || services.iter().all(|one| one.log().len() == 1).then_some(()));
    gate.open();
    let said = client.read_response().unwrap();
    assert_eq!((said.status, &*said.reason()), (502, "service_closed"));
    let asked: usize = services.iter().map(|one| one.log().len()).sum();
    assert_eq!(asked, 3, "both, and the one silent replay");
    assert_eq!(count(&scene, "failures"), 1.0);
}

#[test]
fn a_client_that_leaves_ends_all_of_it() {
    let services = [FakeService::start(answer::never()), FakeService::start(answer::never())];
    let scene = Scene::new(&service(&[&services[0], &services[1]], "hedge: { after: 50ms }", ""), "");
    let mut client = scene.client();
    client.send(GET).unwrap();
    for one in &services {
        one.wait_until(PATIENCE, |log| log.len() == 1).unwrap();
    }
    client.reset().unwrap();
    for one in &services {
        one.wait_until(PATIENCE, |log| log[0].progress != Progress::Begun).unwrap();
    }
    eventually("the accounts are empty", PATIENCE, || {
        let status: serde_json::Value = serde_json::from_str(&scene.ask_admin("/status")).unwrap();
        let instances = status["services"]["s"]["instances"].as_array().unwrap().clone();
        let in_flight: u64 = instances.iter().map(|one| one["in_flight"].as_u64().unwrap()).sum();
        (in_flight == 0).then_some(())
    });
}

#[test]
fn the_budget_counts_and_one_instance_is_not_asked_twice() {
    let gate = Gate::new();
    let services = [gated(&gate), gated(&gate)];
    let budget = ", retry_budget: { share: 0%, min: 0 }";
    let scene = Scene::new(&service(&[&services[0], &services[1]], "hedge: { after: 50ms }", budget), "");
    let mut client = scene.client();
    client.send(GET).unwrap();
    eventually("the budget is asked", PATIENCE, || (count(&scene, "retries_refused") == 1.0).then_some(()));
    gate.open();
    assert_eq!(client.read_response().unwrap().status, 200);
    assert_eq!((services[0].log().len() + services[1].log().len(), count(&scene, "hedges")), (1, 0.0));
    // There is nobody else to ask.
    let alone = FakeService::start(|conversation: &mut Conversation<'_>| {
        conversation.pause(Duration::from_millis(400))?;
        answer::echo()(conversation)
    });
    let scene = Scene::new(&service(&[&alone], "hedge: { after: 20ms, max: 3 }", ""), "");
    assert_eq!(scene.get("/").status, 200);
    assert_eq!((alone.log().len(), count(&scene, "hedges")), (1, 0.0));
}

#[test]
fn a_service_whose_circuit_is_not_closed_is_asked_once() {
    let gate = Gate::new();
    let all = Arc::new(AtomicUsize::new(0));
    let made = || {
        let (gate, all) = (gate.clone(), Arc::clone(&all));
        FakeService::start(move |conversation: &mut Conversation<'_>| {
            if all.fetch_add(1, Ordering::SeqCst) == 0 {
                return answer::fixed(500, "unwell")(conversation);
            }
            conversation.wait(&gate)?;
            answer::echo()(conversation)
        })
    };
    let services = [made(), made()];
    let more = ", breaker: { consecutive: 1, open: 300ms, open_max: 300ms, trials: 1 }";
    let scene = Scene::new(&service(&[&services[0], &services[1]], "hedge: { after: 20ms }", more), "");
    assert_eq!(scene.get("/").status, 500);
    // What is refused is answered at once; the trial is held, for long enough to be hedged if that could be.
    let mut trial = eventually("a request tries the service", PATIENCE, || {
        let mut client = scene.client().with_patience(Duration::from_millis(500));
        client.send(GET).unwrap();
        client.read_response().is_err().then_some(client)
    });
    assert_eq!((all.load(Ordering::SeqCst), count(&scene, "hedges")), (2, 0.0));
    gate.open();
    trial = trial.with_patience(PATIENCE);
    assert_eq!(trial.read_response().unwrap().status, 200);
}

#[test]
fn over_http2_the_loser_is_cancelled() {
    let resets = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&resets);
    let slow = http2::serve(move |(_, mut respond): http2::Asked| {
        let seen = Arc::clone(&seen);
        async move {
            let reset = poll_fn(|cx| respond.poll_reset(cx)).await;
            seen.lock().unwrap().push(reset.map_err(|error| error.to_string()));
        }
    });
    let fast = http2::serve(|(_, mut respond): http2::Asked| async move {
        respond.send_response(http2::head(200), true).unwrap();
    });
    let services = format!(
        "s: {{ instances: [\"h2c://{slow}\", \"h2c://{fast}\"], retry: {{ hedge: {{ after: 100ms }} }} }}"
    );
    let scene = Scene::new(&services, "");
    let mut client = scene.client();
    for _ in 0..4 {
        assert_eq!(client.exchange(GET).unwrap().status, 200);
    }
    let resets = eventually("two streams are reset", PATIENCE, || {
        let resets = resets.lock().unwrap();
        (resets.len() == 2).then(|| resets.clone())
    });
    assert_eq!(resets, [Ok(h2::Reason::CANCEL), Ok(h2::Reason::CANCEL)]);
    assert_eq!(count(&scene, "hedges_won"), 2.0);
}

#[test]
fn a_quantile_is_learned_and_then_followed() {
    let hangs = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&hangs);
    let one = FakeService::start(move |conversation: &mut Conversation<'_>| {
        if seen.load(Ordering::SeqCst) { answer::never()(conversation) } else { answer::echo()(conversation) }
    });
    let other = FakeService::start(answer::echo());
    let scene = Scene::new(&service(&[&one, &other], "hedge: { after: p95 }", ""), "");
    let mut client = scene.client();
    for _ in 0..99 {
        assert_eq!(client.exchange(GET).unwrap().status, 200);
    }
    assert_eq!(count(&scene, "hedges"), 0.0, "too little is known");
    for _ in 0..11 {
        assert_eq!(client.exchange(GET).unwrap().status, 200);
    }
    hangs.store(true, Ordering::SeqCst);
    let before = count(&scene, "hedges_won");
    for _ in 0..10 {
        assert_eq!(client.exchange(GET).unwrap().status, 200);
    }
    assert!(count(&scene, "hedges_won") - before >= 5.0);
}

#[test]
fn the_log_counts_both() {
    let slow = FakeService::start(answer::never());
    let fast = FakeService::start(answer::echo());
    let workspace = Workspace::new().unwrap();
    let config = format!(
        "narthex: 1\nlisteners: {{ main: {{ address: \"127.0.0.1:0\" }} }}\nadmin: {{ address: \"127.0.0.1:0\" }}\n\
         access_log: {{ to: \"{}\" }}\nservices: {{ {} }}\n\
         gateways: {{ g: {{ listeners: [main], routes: {{ all: {{ match: \"/\", public: true, to: s }} }} }} }}\n",
        workspace.file("access.log").display(),
        service(&[&slow, &fast], "hedge: { after: 100ms }", ""),
    );
    let file = workspace.write("narthex.yaml", &config).unwrap();
    let gateway = Process::start_in(workspace, &file, &[]);
    let mut client = RawClient::connect(gateway.address("main")).unwrap();
    for _ in 0..2 {
        assert_eq!(client.exchange(GET).unwrap().status, 200);
    }
    let text = eventually("the log's lines", PATIENCE, || {
        let text = std::fs::read_to_string(gateway.workspace().file("access.log")).unwrap_or_default();
        (text.lines().count() == 2).then_some(text)
    });
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut attempts: Vec<_> = lines.iter().map(|line| line["attempts"].as_u64()).collect();
    attempts.sort_unstable();
    // One alone is not worth a word.
    assert_eq!(attempts, [lines.iter().any(|line| line["attempts"] == 1).then_some(1), Some(2)]);
    assert!(lines.iter().all(|line| line["instance"] == fast.address().to_string()), "{text}");
}
