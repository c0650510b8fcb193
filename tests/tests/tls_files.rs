//! Certificates that change on the disk: used without a restart, kept where the new ones are bad; seen in status, metrics
//! and log.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests over real sockets run in real time, and a panic is their failure"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use narthex_testkit::{Authority, Issued, TlsClient, TlsOptions, Wanted, Workspace};
use narthex_tests::{PATIENCE, Process, eventually};

const CONFIG: &str = "narthex: 1
admin: { address: \"127.0.0.1:0\" }
access_log: { to: LOG }
listeners:
  main:
    address: \"127.0.0.1:0\"
    certificates: [ { cert: live/shop.pem, key: { file: live/shop.key } } ]
    tls: { clients: { strict: { hosts: [b.test], ca: live/ca.pem, crl: live/crl.pem } } }
gateways:
  g:
    listeners: [main]
    routes: { all: { match: \"/{rest=**}\", public: true, to: { reply: { status: 200, body: \"hello\" } } } }
";

struct Setup {
    process: Process,
    ca: Authority,
}

/// The files of one generation, in a directory of its own that `live` leads to, as Kubernetes lays a secret out.
fn write(workspace: &Workspace, generation: &str, issued: &Issued, ca: &Authority, revoked: &[u64]) {
    std::fs::create_dir_all(workspace.file(generation)).unwrap();
    workspace.write(&format!("{generation}/shop.pem"), &issued.cert).unwrap();
    workspace.write(&format!("{generation}/shop.key"), &issued.key).unwrap();
    workspace.write(&format!("{generation}/ca.pem"), ca.pem()).unwrap();
    workspace.write(&format!("{generation}/crl.pem"), &ca.revoke(revoked)).unwrap();
    let new = workspace.file("live.new");
    std::os::unix::fs::symlink(generation, &new).unwrap();
    std::fs::rename(new, workspace.file("live")).unwrap();
}

impl Setup {
    fn start() -> Self {
        let ca = Authority::new("Test CA");
        let workspace = Workspace::new().unwrap();
        write(&workspace, "one", &ca.issue(&["a.test", "b.test"]), &ca, &[666]);
        let log = workspace.file("access.log");
        let config = CONFIG.replace("LOG", &log.display().to_string());
        let file = workspace.write("narthex.yaml", &config).unwrap();
        Self { process: Process::start_in(workspace, &file, &[]), ca }
    }

    fn options(&self, name: &str) -> TlsOptions {
        TlsOptions::new(self.ca.pem(), name)
    }

    fn shown(&self, name: &str) -> Vec<u8> {
        let client = TlsClient::connect(self.process.address("main"), &self.options(name)).unwrap();
        client.connection().peer_certificates().unwrap()[0].to_vec()
    }

    fn metric(&self, name: &str) -> i64 {
        let page = self.process.get("/metrics").text();
        let line = page.lines().find(|line| line.starts_with(name) && line.contains("listener=\"main\""));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("{name}\n{page}"))
    }
}

#[test]
fn a_new_certificate_is_used_within_two_seconds_and_a_bad_one_is_not() {
    let setup = Setup::start();
    let workspace = setup.process.workspace();
    let mut kept = TlsClient::connect(setup.process.address("main"), &setup.options("a.test")).unwrap();
    assert_eq!(kept.get("a.test", "/").unwrap().0, 200);
    let first = setup.shown("a.test");
    let version = setup.process.version();

    write(workspace, "two", &setup.ca.issue(&["a.test", "b.test"]), &setup.ca, &[666]);
    let begun = Instant::now();
    let second = eventually("the new certificate", PATIENCE, || {
        Some(setup.shown("a.test")).filter(|now| *now != first)
    });
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(setup.process.version(), version, "a new certificate is no new configuration");
    assert_eq!(kept.get("a.test", "/").unwrap().0, 200, "connections go on");

    // The key of another certificate.
    let (good, other) = (setup.ca.issue(&["a.test", "b.test"]), setup.ca.issue(&["a.test"]));
    write(workspace, "three", &Issued { key: other.key, ..good.clone() }, &setup.ca, &[]);
    setup.process.wait_for_log("does not belong to the certificate");
    assert_eq!(setup.shown("a.test"), second);
    assert_eq!(setup.metric("narthex_certificate_stale"), 1);
    let status = setup.process.get("/status").json();
    assert!(status["certificates"][0]["problem"].as_str().unwrap().contains("does not belong"), "{status}");
    assert_eq!(status["certificates"][0]["names"][0], "a.test");

    // No file at all, then a good one.
    std::fs::remove_file(workspace.file("live")).unwrap();
    assert_eq!(setup.shown("a.test"), second);
    write(workspace, "four", &good, &setup.ca, &[666]);
    eventually("the good certificate", PATIENCE, || (setup.shown("a.test") != second).then_some(()));
    assert_eq!(setup.metric("narthex_certificate_stale"), 0);
    assert!(setup.metric("narthex_certificate_expiry_timestamp_seconds") > 1_700_000_000);
}

#[test]
fn a_client_that_is_revoked_meanwhile_is_out_at_once() {
    let setup = Setup::start();
    let workspace = setup.process.workspace();
    let client = setup.ca.issue_wanted(&Wanted { common_name: "shop", serial: 7, ..Wanted::default() });
    let options = setup.options("b.test").with_client(&client);
    let shared = options.config();
    let connect = || TlsClient::connect_with(setup.process.address("main"), shared.clone(), "b.test");
    let mut kept = connect().unwrap();
    assert_eq!(kept.get("b.test", "/").unwrap().0, 200);

    write(workspace, "two", &setup.ca.issue(&["a.test", "b.test"]), &setup.ca, &[7]);
    // The connection that is open stood under the old list.
    eventually("the open connection is misdirected", PATIENCE, || {
        (kept.get("b.test", "/").unwrap().0 == 421).then_some(())
    });
    // Its session is not taken up again: the whole handshake shows that the certificate is revoked.
    let refused = connect().and_then(|mut client| client.get("b.test", "/"));
    assert!(refused.unwrap_err().to_string().contains("CertificateRevoked"));
}

#[test]
fn the_log_and_the_metrics_tell_of_tls() {
    let setup = Setup::start();
    let client = setup.ca.issue_wanted(&Wanted { common_name: "shop", serial: 7, ..Wanted::default() });
    let options = setup.options("b.test").with_client(&client);
    let mut connection = TlsClient::connect(setup.process.address("main"), &options).unwrap();
    assert_eq!(connection.get("b.test", "/").unwrap().0, 200);
    let refused = TlsClient::connect(setup.process.address("main"), &setup.options("b.test"))
        .and_then(|mut client| client.get("b.test", "/"));
    assert!(refused.is_err());
    let workspace = setup.process.workspace();
    let line = eventually("a line of the access log", PATIENCE, || {
        workspace.read("access.log").ok()?.lines().next().map(str::to_owned)
    });
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((line["tls"].as_str(), line["sni"].as_str()), (Some("TLSv1.3"), Some("b.test")));
    assert!(line["cipher"].as_str().unwrap().starts_with("TLS13_"), "{line}");
    assert_eq!(line["client_subject"], "CN=shop");
    assert_eq!(line["client_fingerprint"].as_str().unwrap().len(), 64);
    // The client learns of the refusal a moment before it is counted.
    let refusal = "narthex_tls_handshake_failures_total{cause=\"certificate\"} 1";
    let page = eventually("the refusal is counted", PATIENCE, || {
        let page = setup.process.get("/metrics").text();
        page.contains(refusal).then_some(page)
    });
    assert!(page.contains("narthex_tls_handshakes_total{worker=\"0\"} 1"), "{page}");
}

/// What a load over TLS met with.
#[derive(Default)]
struct Met {
    answered: AtomicU64,
    handshakes: AtomicU64,
}

/// Asks on one connection, or on a new one each time, until it is over; gives what went wrong.
fn load(setup: &Setup, keeps: bool, met: &Met, is_over: &AtomicBool) -> Vec<String> {
    let shared = setup.options("a.test").config();
    let address = setup.process.address("main");
    let mut faults = Vec::new();
    let mut kept = None;
    while !is_over.load(Ordering::Acquire) {
        let open = kept.take().map_or_else(
            || {
                met.handshakes.fetch_add(1, Ordering::AcqRel);
                TlsClient::connect_with(address, shared.clone(), "a.test")
            },
            Ok,
        );
        let asked = open.and_then(|mut client| client.get("a.test", "/").map(|answer| (client, answer.0)));
        match asked {
            Ok((client, 200)) => {
                met.answered.fetch_add(1, Ordering::AcqRel);
                kept = keeps.then_some(client);
            }
            Ok((_, status)) => faults.push(status.to_string()),
            Err(error) => faults.push(error.to_string()),
        }
    }
    faults
}

#[test]
fn certificates_change_under_load_and_no_connection_is_dropped() {
    const KEPT: u64 = 4;
    let setup = Setup::start();
    let (kept, anew, is_over) = (Met::default(), Met::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (setup, kept, anew, is_over) = (&setup, &kept, &anew, &is_over);
        let holders: Vec<_> = (0..KEPT).map(|_| scope.spawn(|| load(setup, true, kept, is_over))).collect();
        let comers: Vec<_> = (0..2).map(|_| scope.spawn(|| load(setup, false, anew, is_over))).collect();
        let mut shown = setup.shown("a.test");
        for generation in ["two", "three", "four", "five"] {
            let issued = setup.ca.issue(&["a.test", "b.test"]);
            let counts = || [kept, anew].map(|met| met.answered.load(Ordering::Acquire));
            let before = counts();
            write(setup.process.workspace(), generation, &issued, &setup.ca, &[666]);
            let begun = Instant::now();
            shown = eventually("the new certificate", PATIENCE, || {
                Some(setup.shown("a.test")).filter(|now| *now != shown)
            });
            assert!(begun.elapsed() < Duration::from_secs(2), "{generation}: {:?}", begun.elapsed());
            eventually("the load goes on", PATIENCE, || {
                let now = counts();
                (now[0] >= before[0] + 100 && now[1] >= before[1] + 10).then_some(())
            });
        }
        is_over.store(true, Ordering::Release);
        for client in holders.into_iter().chain(comers) {
            assert_eq!(client.join().unwrap(), Vec::<String>::new());
        }
    });
    assert_eq!(kept.handshakes.into_inner(), KEPT, "a connection that was kept had to be opened again");
}
