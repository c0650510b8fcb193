//! The fleet: all workers, and how they are told of a new snapshot, a listener, the end; the watchdog that reports a
//! worker which does not come back. No request passes through here.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use narthex_net::{Clock, Listener};
use narthex_telemetry::{AccessLog, AccessWriter, Metrics};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::shedding::Shedding;
use crate::snapshot::Snapshot;
use crate::worker::{BEAT, Command, Load, Phase, Seed, Worker};

/// Commands that may wait for a worker.
const COMMANDS: usize = 1_024;
/// How long a reload waits for a worker that does not answer; it is told all the same, and does when it comes back.
const PATIENCE: Duration = Duration::from_secs(2);
/// A worker that has not come back for this long is reported.
const STALL: Duration = Duration::from_millis(100);

/// What workers are started with.
pub struct FleetOptions {
    pub workers: usize,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub access: Option<(AccessWriter, Vec<AccessLog>)>,
    pub first: Arc<Snapshot>,
    pub shedding: Arc<Shedding>,
}

/// All workers.
pub struct Fleet {
    senders: Vec<mpsc::Sender<Command>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    load: Arc<Load>,
    access: Option<Arc<AccessWriter>>,
    _watchdog: Watchdog,
}

impl Fleet {
    pub fn start(options: FleetOptions) -> std::io::Result<Self> {
        let count = options.workers.max(1);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel(COMMANDS)).unzip();
        // Connections have a queue of their own: however many they are, commands find room.
        let (others, handed): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel(COMMANDS)).unzip();
        let load = Load::new(count);
        let beats: Arc<[AtomicU64]> = (0..count).map(|_| AtomicU64::new(options.clock.monotonic())).collect();
        let (writer, logs) = match options.access {
            Some((writer, logs)) => (Some(Arc::new(writer)), logs),
            None => (None, Vec::new()),
        };
        let mut logs = logs.into_iter();
        let mut threads = Vec::new();
        for (index, queues) in receivers.into_iter().zip(handed).enumerate() {
            let seed = Seed {
                index,
                clock: options.clock.clone(),
                metrics: Arc::clone(&options.metrics),
                access: writer.clone().and_then(|writer| Some((logs.next()?, writer))),
                load: Arc::clone(&load),
                others: others.clone(),
                first: Arc::clone(&options.first),
                shedding: Arc::clone(&options.shedding),
            };
            let name = format!("worker-{index}");
            let beats = Arc::clone(&beats);
            let outside = Handle::try_current().ok();
            let begin = move || run(seed, queues, beats, outside);
            threads.push(std::thread::Builder::new().name(name).spawn(begin)?);
        }
        let watchdog = Watchdog::start(options.clock, beats, options.metrics)?;
        Ok(Self { senders, threads, load, access: writer, _watchdog: watchdog })
    }

    pub fn workers(&self) -> usize {
        self.senders.len()
    }

    pub fn access(&self) -> Option<&Arc<AccessWriter>> {
        self.access.as_ref()
    }

    pub fn connections(&self) -> usize {
        self.load.all()
    }

    /// All workers answer by `snapshot` when this returns. In two steps: all get ready, then all switch, so that for no
    /// longer than the switch two of them answer differently. A worker that is blocked answers nobody; it is waited for
    /// a bounded time, and switches before it takes another command. The names of the workers that are late are logged.
    pub async fn adopt(&self, snapshot: &Arc<Snapshot>) {
        self.all_in_time("get ready for a configuration", |ready| {
            Command::Prepare(Arc::clone(snapshot), ready)
        })
        .await;
        self.all_in_time("switch to a configuration", Command::Switch).await;
    }

    /// Gives each worker its socket.
    pub async fn listen(&self, index: usize, listener: Listener) {
        for (sender, socket) in self.senders.iter().zip(listener.sockets) {
            // A worker ends only after the fleet has told it to.
            let _ = sender.send(Command::Listen { listener: index, socket }).await;
        }
    }

    /// Accepts what is queued, then closes the listener. Returns when all workers have.
    pub async fn unlisten(&self, index: usize) {
        self.all_in_time("close a listener", |done| Command::Unlisten { listener: index, done }).await;
    }

    pub async fn enter(&self, phase: Phase) {
        for sender in &self.senders {
            let _ = sender.send(Command::Enter(phase)).await;
        }
    }

    /// Returns when no connection is left.
    pub async fn emptied(&self) {
        self.all(Command::Emptied).await;
    }

    async fn all(&self, make: impl Fn(oneshot::Sender<()>) -> Command) {
        let mut waits = Vec::new();
        for sender in &self.senders {
            let (done, wait) = oneshot::channel();
            if sender.send(make(done)).await.is_ok() {
                waits.push(wait);
            }
        }
        for wait in waits {
            // A worker that ended has nothing more to do.
            let _ = wait.await;
        }
    }

    /// Tells all workers, and waits for each, but not for ever.
    async fn all_in_time(&self, what: &str, make: impl Fn(oneshot::Sender<()>) -> Command) {
        let mut waits = Vec::new();
        for (worker, sender) in self.senders.iter().enumerate() {
            let (done, wait) = oneshot::channel();
            match sender.try_send(make(done)) {
                Ok(()) => waits.push((worker, wait)),
                // It was blocked through hundreds of reloads: it has enough to do when it comes back.
                Err(mpsc::error::TrySendError::Full(_)) => {
                    tracing::error!(worker, "a worker takes no commands any more: it was not told to {what}");
                }
                // A worker that ended has nothing more to do.
                Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        }
        let due = tokio::time::sleep(PATIENCE);
        tokio::pin!(due);
        for (worker, wait) in waits {
            tokio::select! {
                // Before the time: who has answered is not late.
                biased;
                _ = wait => {}
                () = &mut due => {
                    tracing::warn!(worker, "a worker does not answer: it will {what} when it comes back");
                }
            }
        }
    }

    /// Tells the workers to end.
    pub async fn halt(&self) {
        for sender in &self.senders {
            let _ = sender.send(Command::Stop).await;
        }
    }

    /// Ends the workers, whatever they have in hand.
    pub async fn stop(self) {
        self.halt().await;
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

type Queue = mpsc::Receiver<Command>;

/// A worker's thread, to its end. What a policy brings along of tokio (timers, sockets) runs on `outside`.
fn run(seed: Seed, (commands, handed): (Queue, Queue), beats: Arc<[AtomicU64]>, outside: Option<Handle>) {
    let _entered = outside.as_ref().map(Handle::enter);
    let (index, worker) = (seed.index, Rc::new(Worker::new(seed)));
    if let Err(error) = narthex_net::runtime::run(worker.obey(commands, handed, beats)) {
        tracing::error!(worker = index, %error, "a worker has ended");
    }
}

/// Reports workers that do not come back.
struct Watchdog {
    stop: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watchdog {
    fn start(clock: Clock, beats: Arc<[AtomicU64]>, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            let mut is_stalled = vec![false; beats.len()];
            while !stopped.load(Ordering::Relaxed) {
                std::thread::park_timeout(BEAT);
                let now = clock.monotonic();
                for (worker, beat) in beats.iter().enumerate() {
                    let silent = Duration::from_nanos(now.saturating_sub(beat.load(Ordering::Relaxed)));
                    let stalls = silent > BEAT + STALL;
                    if stalls && !is_stalled[worker] {
                        metrics.workers[worker].stalls.add_shared(1);
                        tracing::warn!(worker, ?silent, "a worker does not return: something blocks it");
                    }
                    is_stalled[worker] = stalls;
                }
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
