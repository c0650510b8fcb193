//! A steady closed-loop load: each of n connections sends a request as soon as it has the answer to the last one.
//! It honours what a server announces (`Connection: close`, GOAWAY); everything else that goes wrong is a failure.

mod http1;
mod http2;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the load does.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Whom it asks.
    pub address: SocketAddr,
    /// Connections at the same time. Default: 4.
    pub connections: usize,
    /// The target. Default: `/`.
    pub target: String,
    /// The `Host` or `:authority`. Default: `load.test`.
    pub host: String,
    /// The status of a good answer. Default: 200.
    pub status: u16,
    /// What a good answer's body must be, where it matters. Default: anything.
    pub body: Option<Vec<u8>>,
    /// The most that one request may take. Default: 10 s.
    pub patience: Duration,
}

impl LoadOptions {
    /// The defaults, against this address.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connections: 4,
            target: "/".into(),
            host: "load.test".into(),
            status: 200,
            body: None,
            patience: Duration::from_secs(10),
        }
    }
}

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    ConnectRefused,
    ConnectFailed,
    /// Closed or reset on a connection that had served before, without any byte of an answer.
    ClosedReused,
    /// Closed or reset on a fresh connection, without any byte of an answer.
    ClosedFresh,
    /// Broken off inside the answer.
    Cut,
    BadStatus(u16),
    WrongBody,
    Malformed,
    TimedOut,
}

/// A request that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    pub kind: FailureKind,
    pub detail: String,
    /// When, since the load began.
    pub at: Duration,
}

/// What became of the requests.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub succeeded: u64,
    pub failed: u64,
    /// The first 1,000 failures.
    pub failures: Vec<Failure>,
    /// Connections opened.
    pub connections: u64,
    /// Connections that the server ended as it had announced.
    pub announced_ends: u64,
    /// HTTP/2 streams that the server declared unprocessed; they were sent again elsewhere.
    pub unprocessed: u64,
}

impl Report {
    /// Fails a test with the first failures, unless there are none and something succeeded.
    ///
    /// # Panics
    /// A request failed, or none was made.
    pub fn expect_flawless(&self) {
        let first: Vec<_> = self.failures.iter().take(10).collect();
        assert!(self.failed == 0, "{} of {} failed: {first:#?}", self.failed, self.failed + self.succeeded);
        assert!(self.succeeded > 0, "no request was made");
    }
}

struct Shared {
    options: LoadOptions,
    began: Instant,
    is_over: AtomicBool,
    succeeded: AtomicU64,
    report: Mutex<Report>,
    changed: Condvar,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn note(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn succeed(&self) {
        self.succeeded.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_all();
    }

    fn fail(&self, kind: FailureKind, detail: impl Into<String>) {
        let failure = Failure { kind, detail: detail.into(), at: self.began.elapsed() };
        self.note(|report| {
            report.failed += 1;
            if report.failures.len() < 1000 {
                report.failures.push(failure);
            }
        });
        self.changed.notify_all();
    }

    fn judge(&self, status: u16, body: &[u8]) {
        match &self.options.body {
            _ if status != self.options.status => {
                self.fail(FailureKind::BadStatus(status), String::from_utf8_lossy(body));
            }
            Some(wanted) if wanted != body => {
                self.fail(FailureKind::WrongBody, String::from_utf8_lossy(body))
            }
            _ => self.succeed(),
        }
    }
}

/// A load that runs until it is stopped.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Over HTTP/1.1.
    pub fn http1(options: LoadOptions) -> Self {
        let shared = Self::shared(options);
        let threads = (0..shared.options.connections)
            .map(|_| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || http1::run(&shared))
            })
            .collect();
        Self { shared, threads }
    }

    /// Over HTTP/2 with prior knowledge, one stream at a time on each connection.
    pub fn http2(options: LoadOptions) -> Self {
        let shared = Self::shared(options);
        let running = Arc::clone(&shared);
        Self { shared, threads: vec![std::thread::spawn(move || http2::run(&running))] }
    }

    fn shared(options: LoadOptions) -> Arc<Shared> {
        Arc::new(Shared {
            options,
            began: Instant::now(),
            is_over: AtomicBool::new(false),
            succeeded: AtomicU64::new(0),
            report: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Requests that succeeded so far.
    pub fn succeeded(&self) -> u64 {
        self.shared.succeeded.load(Ordering::Acquire)
    }

    /// Waits for so many more successes, at most this long; says whether they came.
    #[must_use]
    pub fn wait_for(&self, more: u64, at_most: Duration) -> bool {
        let wanted = self.succeeded() + more;
        let due = Instant::now() + at_most;
        let mut report = self.shared.report.lock().unwrap_or_else(PoisonError::into_inner);
        while self.succeeded() < wanted {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            // A success is counted without the lock: look again now and then.
            let left = left.min(Duration::from_millis(20));
            report = self.shared.changed.wait_timeout(report, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Lets the requests in flight end, and reports.
    pub fn stop(mut self) -> Report {
        self.end();
        let mut report = self.shared.report.lock().unwrap_or_else(PoisonError::into_inner).clone();
        report.succeeded = self.succeeded();
        report
    }

    fn end(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}
