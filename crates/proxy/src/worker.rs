//! A worker: its own connections, pools, timers and clock, and what it does when it is told something.
//! Never leaves its thread.

use std::cell::{Cell, RefCell, RefMut};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;

use narthex_contract::{Locals, Moment};
use narthex_net::runtime::{Accepting, sleep, spawn};
use narthex_net::{Clock, Deadline};
use narthex_telemetry::{AccessLog, AccessRecord, AccessWriter, Metrics, WorkerMetrics};
use slab::Slab;
use tokio::sync::{mpsc, oneshot};

use crate::accept::{self, Newcomer};
use crate::exchange::Run;
use crate::service::Pools;
use crate::shedding::Shedding;
use crate::snapshot::Snapshot;
use crate::stamps::Stamps;
use crate::tunnel;

/// Exchanges kept for the next requests.
const RUNS: usize = 256;
/// A head's buffer above this is not kept.
const RUN_BYTES: usize = 32 * 1024;
/// How often kept connections are looked through.
const SWEEP: Duration = Duration::from_secs(2);
/// How often a worker shows that it is not blocked.
pub const BEAT: Duration = Duration::from_millis(50);

/// What a worker may be told.
pub enum Command {
    /// Make what is needed to answer by this configuration, and go on answering by the present one.
    Prepare(Arc<Snapshot>, oneshot::Sender<()>),
    /// Answer by the configuration that was prepared from now on.
    Switch(oneshot::Sender<()>),
    Listen {
        listener: usize,
        socket: OwnedFd,
    },
    /// Accept what the kernel has queued, then close the listener.
    Unlisten {
        listener: usize,
        done: oneshot::Sender<()>,
    },
    /// A connection that another worker accepted.
    Connection(Newcomer),
    Enter(Phase),
    /// Ready when no connection is left.
    Emptied(oneshot::Sender<()>),
    Stop,
}

/// How a worker treats its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Serving,
    /// Each answer says `Connection: close`, each HTTP/2 connection GOAWAY.
    Draining,
    /// Idle connections close.
    Closing,
}

/// The load that workers publish: connections.
#[derive(Debug)]
pub struct Load(Box<[AtomicUsize]>);

impl Load {
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self((0..workers).map(|_| AtomicUsize::new(0)).collect()))
    }

    /// Connections of all workers.
    pub fn all(&self) -> usize {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// What a worker begins with.
pub struct Seed {
    pub index: usize,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub access: Option<(AccessLog, Arc<AccessWriter>)>,
    pub load: Arc<Load>,
    pub others: Vec<mpsc::Sender<Command>>,
    pub first: Arc<Snapshot>,
    pub shedding: Arc<Shedding>,
}

/// The parts of a listener's accepting task.
#[derive(Default)]
struct Acceptor {
    is_open: bool,
    waker: Option<Waker>,
    done: Option<oneshot::Sender<()>>,
}

/// A worker's hold on a snapshot: exchanges share it without touching a counter that other cores share.
pub struct Pinned {
    snapshot: Arc<Snapshot>,
    locals: Locals,
}

impl Pinned {
    /// Takes over what `before` has and this snapshot still names.
    fn new(snapshot: Arc<Snapshot>, before: &Locals) -> Rc<Self> {
        let locals = Locals::build(&snapshot.locals(), before);
        Rc::new(Self { snapshot, locals })
    }

    /// What this worker has for the snapshot's policies.
    pub fn locals(&self) -> &Locals {
        &self.locals
    }
}

impl std::ops::Deref for Pinned {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

/// One worker's own state. Never leaves its thread.
pub struct Worker {
    index: usize,
    clock: Clock,
    snapshot: RefCell<Rc<Pinned>>,
    /// The next one, until it is switched to.
    prepared: RefCell<Option<Rc<Pinned>>>,
    pools: RefCell<Pools>,
    #[expect(clippy::vec_box, reason = "a run is large: its box moves between the pool and an exchange")]
    runs: RefCell<Vec<Box<Run>>>,
    deadlines: RefCell<Vec<Deadline>>,
    connections: RefCell<Slab<Option<Waker>>>,
    acceptors: RefCell<Vec<Acceptor>>,
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
    tunnels: tunnel::Places,
    phase: Cell<Phase>,
    /// Connections that are being told why they are turned away.
    turning_away: Cell<usize>,
    random: Cell<u64>,
    position: Cell<u32>,
    guests: Cell<u64>,
    now: Cell<u64>,
    unix_offset_ms: Cell<u64>,
    stamps: RefCell<Stamps>,
    metrics: Arc<Metrics>,
    access: Option<(RefCell<AccessLog>, Arc<AccessWriter>)>,
    load: Arc<Load>,
    others: Vec<mpsc::Sender<Command>>,
    shedding: Arc<Shedding>,
}

impl Worker {
    pub fn new(seed: Seed) -> Self {
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), seed.index) | 1;
        Self {
            index: seed.index,
            clock: seed.clock,
            snapshot: RefCell::new(Pinned::new(seed.first, &Locals::default())),
            prepared: RefCell::default(),
            pools: RefCell::default(),
            runs: RefCell::default(),
            deadlines: RefCell::default(),
            connections: RefCell::default(),
            acceptors: RefCell::default(),
            waiting: RefCell::default(),
            tunnels: tunnel::Places::default(),
            phase: Cell::new(Phase::Serving),
            turning_away: Cell::new(0),
            random: Cell::new(random),
            position: Cell::new((random >> 32) as u32),
            guests: Cell::new(0),
            now: Cell::new(1),
            unix_offset_ms: Cell::new(0),
            stamps: RefCell::default(),
            metrics: seed.metrics,
            access: seed.access.map(|(log, writer)| (RefCell::new(log), writer)),
            load: seed.load,
            others: seed.others,
            shedding: seed.shedding,
        }
    }

    /// Does as it is told, until it is told to stop. `handed`: connections that other workers accepted.
    pub async fn obey(
        self: Rc<Self>,
        mut commands: mpsc::Receiver<Command>,
        mut handed: mpsc::Receiver<Command>,
        beats: Arc<[AtomicU64]>,
    ) {
        let sweeping = Rc::clone(&self);
        spawn(async move {
            loop {
                sleep(SWEEP).await;
                let now = sweeping.refresh();
                sweeping.pools.borrow_mut().sweep(now);
            }
        });
        let beating = Rc::clone(&self);
        spawn(async move {
            loop {
                beating.compare_clocks();
                beats[beating.index].store(beating.now(), Ordering::Relaxed);
                sleep(BEAT).await;
            }
        });
        self.compare_clocks();
        loop {
            let command = tokio::select! {
                biased;
                command = commands.recv() => command,
                command = handed.recv() => command,
            };
            match command {
                // The fleet is gone without a word.
                None => return,
                Some(command) => {
                    if self.do_as_told(command).is_break() {
                        return;
                    }
                }
            }
        }
    }

    fn do_as_told(self: &Rc<Self>, command: Command) -> ControlFlow<()> {
        match command {
            Command::Prepare(snapshot, ready) => {
                let pinned = Pinned::new(snapshot, &self.snapshot.borrow().locals);
                *self.prepared.borrow_mut() = Some(pinned);
                // Nobody waits for it any more: the switch comes all the same.
                let _ = ready.send(());
            }
            Command::Switch(done) => {
                if let Some(prepared) = self.prepared.borrow_mut().take() {
                    *self.snapshot.borrow_mut() = prepared;
                    self.tunnels.wake();
                }
                let _ = done.send(());
            }
            Command::Listen { listener, socket } => self.listen(listener, socket),
            Command::Unlisten { listener, done } => self.unlisten(listener, done),
            Command::Connection(newcomer) => accept::adopt(newcomer, self),
            Command::Enter(phase) => self.enter(phase),
            Command::Emptied(done) => {
                self.waiting.borrow_mut().push(done);
                self.notify_if_empty();
            }
            Command::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    pub fn index(&self) -> usize {
        self.index
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Monotonic nanoseconds, as of the last `refresh`: exact enough for time-outs, and free.
    pub fn now(&self) -> u64 {
        self.now.get()
    }

    /// Reads the clock. Whoever was woken does, before it looks at the time.
    pub fn refresh(&self) -> u64 {
        let now = self.clock.monotonic();
        self.now.set(now);
        now
    }

    pub fn unix_ms(&self) -> u64 {
        (self.now() / 1_000_000).wrapping_add(self.unix_offset_ms.get())
    }

    /// The wall clock may be set: the offset between the clocks is looked at now and then.
    fn compare_clocks(&self) {
        let now = self.refresh();
        self.unix_offset_ms.set(self.clock.unix_ms().wrapping_sub(now / 1_000_000));
    }

    pub fn due(&self, after: Duration) -> u64 {
        self.now().saturating_add(after.as_nanos() as u64)
    }

    pub fn moment(&self) -> Moment {
        Moment { monotonic: self.refresh(), unix_ms: self.unix_ms() }
    }

    pub fn snapshot(&self) -> Rc<Pinned> {
        Rc::clone(&self.snapshot.borrow())
    }

    /// Whether this is the snapshot that is live.
    pub fn has_live(&self, pinned: &Rc<Pinned>) -> bool {
        Rc::ptr_eq(pinned, &self.snapshot.borrow())
    }

    pub fn pools(&self) -> RefMut<'_, Pools> {
        self.pools.borrow_mut()
    }

    pub fn metrics(&self) -> &WorkerMetrics {
        &self.metrics.workers[self.index]
    }

    pub fn count_refusal(&self, code: &'static str) {
        self.metrics.refused(self.index, code);
    }

    pub fn count_handshake_failure(&self, code: &'static str) {
        self.metrics.handshake_failed(code);
    }

    /// 64 random bits (xorshift64*): for ids and balancing, never for secrets.
    pub fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The worker's own place in every round robin.
    pub fn next_position(&self) -> u32 {
        let position = self.position.get();
        self.position.set(position.wrapping_add(1));
        position
    }

    /// A number that no other client's connection on this worker has; never 0.
    pub fn next_guest(&self) -> u64 {
        self.guests.set(self.guests.get() + 1);
        self.guests.get()
    }

    pub fn stamps(&self) -> RefMut<'_, Stamps> {
        self.stamps.borrow_mut()
    }

    /// Writes an access-log line, if there is a log.
    pub fn log<'r>(&self, record: impl FnOnce() -> (AccessRecord<'r>, [u8; 32])) {
        if let Some((log, writer)) = &self.access {
            let (record, trace_id) = record();
            log.borrow_mut().write(&AccessRecord { trace_id: &trace_id, ..record }, writer);
        }
    }

    pub fn take_run(&self) -> Box<Run> {
        self.runs.borrow_mut().pop().unwrap_or_default()
    }

    pub fn give_run(&self, mut run: Box<Run>) {
        // What it lets go of may have a run of its own to give.
        run.reset();
        let mut runs = self.runs.borrow_mut();
        let is_modest = run.exchange.request.buffer_mut().capacity() <= RUN_BYTES
            && run.response.buffer_mut().capacity() <= RUN_BYTES;
        if runs.len() < RUNS && is_modest {
            runs.push(run);
        }
    }

    /// A timer for a task of its own, perhaps one that served another task before.
    pub fn take_deadline(&self) -> Deadline {
        self.deadlines.borrow_mut().pop().unwrap_or_default()
    }

    pub fn give_deadline(&self, mut deadline: Deadline) {
        let mut deadlines = self.deadlines.borrow_mut();
        if deadlines.len() < RUNS {
            deadline.hand_over();
            deadlines.push(deadline);
        }
    }

    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// A place among this worker's connections.
    pub fn register(self: &Rc<Self>) -> Registered {
        self.metrics().connections.add(1);
        self.load.0[self.index].fetch_add(1, Ordering::Relaxed);
        let key = self.connections.borrow_mut().insert(None);
        Registered { key, worker: Rc::clone(self), noted: Cell::new(std::ptr::null()) }
    }

    /// The worker that should have the next connection instead of this one.
    pub fn less_loaded(&self, uneven: usize) -> Option<usize> {
        if self.load.0.len() == 1 {
            return None;
        }
        let own = self.load.0[self.index].load(Ordering::Relaxed);
        let loads = self.load.0.iter().map(|count| count.load(Ordering::Relaxed));
        let (least, count) = loads.enumerate().min_by_key(|(_, count)| *count)?;
        (own > count + uneven + count / 8).then_some(least)
    }

    /// `Err`: the other worker's queue is full; here is the connection back.
    pub fn hand_over(&self, other: usize, newcomer: Newcomer) -> Result<(), Newcomer> {
        let full = match self.others[other].try_send(Command::Connection(newcomer)) {
            Ok(()) => {
                self.metrics().handed_over.add(1);
                return Ok(());
            }
            Err(mpsc::error::TrySendError::Full(command) | mpsc::error::TrySendError::Closed(command)) => {
                command
            }
        };
        match full {
            Command::Connection(newcomer) => Err(newcomer),
            _ => Ok(()),
        }
    }

    pub fn listens(&self, listener: usize) -> bool {
        self.acceptors.borrow().get(listener).is_some_and(|acceptor| acceptor.is_open)
    }

    pub fn note_acceptor(&self, listener: usize, waker: &Waker) {
        if let Some(acceptor) = self.acceptors.borrow_mut().get_mut(listener) {
            acceptor.waker = Some(waker.clone());
        }
    }

    fn listen(self: &Rc<Self>, listener: usize, socket: OwnedFd) {
        let mut acceptors = self.acceptors.borrow_mut();
        if acceptors.len() <= listener {
            acceptors.resize_with(listener + 1, Acceptor::default);
        }
        acceptors[listener] = Acceptor { is_open: true, ..Acceptor::default() };
        match Accepting::adopt(socket) {
            Ok(socket) => {
                let worker = Rc::clone(self);
                spawn(async move {
                    accept::accept_on(socket, listener, Rc::clone(&worker)).await;
                    let done = worker.acceptors.borrow_mut()[listener].done.take();
                    if let Some(done) = done {
                        // Nobody waits for it any more: fine.
                        let _ = done.send(());
                    }
                });
            }
            Err(error) => tracing::error!(%error, "cannot use a listening socket"),
        }
    }

    fn unlisten(&self, listener: usize, done: oneshot::Sender<()>) {
        let mut acceptors = self.acceptors.borrow_mut();
        let Some(acceptor) = acceptors.get_mut(listener).filter(|acceptor| acceptor.is_open) else {
            let _ = done.send(());
            return;
        };
        acceptor.is_open = false;
        acceptor.done = Some(done);
        if let Some(waker) = acceptor.waker.take() {
            waker.wake();
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        if phase == Phase::Closing {
            self.pools.borrow_mut().clear();
        }
        self.tunnels.wake();
        for (_, waker) in &*self.connections.borrow() {
            if let Some(waker) = waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Whether new requests are shed.
    pub fn shedding(&self) -> &Shedding {
        &self.shedding
    }

    /// How many connections are being told why they are turned away.
    pub fn turning_away(&self) -> &Cell<usize> {
        &self.turning_away
    }

    pub fn tunnels(&self) -> &tunnel::Places {
        &self.tunnels
    }

    fn notify_if_empty(&self) {
        if self.connections.borrow().is_empty() {
            for waiting in self.waiting.borrow_mut().drain(..) {
                let _ = waiting.send(());
            }
        }
    }
}

/// A connection's place; given back on drop.
pub struct Registered {
    key: usize,
    worker: Rc<Worker>,
    /// By whom it was noted last.
    noted: Cell<*const ()>,
}

impl Registered {
    /// How to wake the connection when the worker's phase changes.
    pub fn note(&self, waker: &Waker) {
        if self.noted.replace(waker.data()) == waker.data() {
            // The same task as last time.
            return;
        }
        if let Some(noted) = self.worker.connections.borrow_mut().get_mut(self.key) {
            match noted {
                Some(known) if known.will_wake(waker) => {}
                _ => *noted = Some(waker.clone()),
            }
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.connections.borrow_mut().remove(self.key);
        self.worker.metrics().connections.sub(1);
        self.worker.load.0[self.worker.index].fetch_sub(1, Ordering::Relaxed);
        self.worker.notify_if_empty();
    }
}
