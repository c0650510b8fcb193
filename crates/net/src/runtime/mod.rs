//! The per-core runtime: one thread, its tasks, its timers and its sockets, and one `epoll_wait` between their turns.
//!
//! Nothing of it is shared between threads but a list of tasks to wake. It knows no protocol. Futures of the tokio
//! ecosystem (channels, `h2`) run on it as they are; tokio's own timers and sockets need a tokio runtime, entered by
//! whoever starts the thread, and wake our tasks across threads.

mod socket;
mod task;
mod timer;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use slab::Slab;

pub use socket::{Accepting, Socket};
pub use timer::{Timer, sleep};

use socket::Readiness;
use task::{Remote, Task};

/// Events taken from the kernel in one go.
const EVENTS: usize = 256;
/// The token of the event descriptor by which other threads wake this one.
const WAKE: u64 = u64::MAX;

thread_local! {
    static CORE: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
    /// The number of the runtime that runs on this thread; 0: none.
    static NUMBER: Cell<usize> = const { Cell::new(0) };
    /// Tasks that are to be polled.
    static READY: RefCell<VecDeque<u32>> = const { RefCell::new(VecDeque::new()) };
}

/// One thread's runtime.
struct Core {
    number: usize,
    epoll: OwnedFd,
    remote: Arc<Remote>,
    /// An empty place: its task is being polled.
    tasks: RefCell<Slab<Option<Box<Task>>>>,
    /// Those of `READY` that this turn polls; empty between two.
    turn: RefCell<VecDeque<u32>>,
    sources: RefCell<Slab<Rc<Readiness>>>,
    /// How many sources there were: a part of each token, so that a late event finds nobody.
    sourced: Cell<u32>,
    timers: timer::Timers,
}

/// Runs `main` and everything that it spawns on this thread. Returns when `main` does; other tasks are dropped.
///
/// # Errors
/// When the system grants no descriptors.
///
/// # Panics
/// When this thread runs a runtime already, and with the panic of `main`.
pub fn run<T: 'static>(main: impl Future<Output = T> + 'static) -> io::Result<T> {
    static NUMBERS: AtomicUsize = AtomicUsize::new(1);
    assert_eq!(NUMBER.get(), 0, "one runtime per thread");
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let core = Rc::new(Core::new(number)?);
    NUMBER.set(number);
    CORE.set(Some(Rc::clone(&core)));
    let guard = Leave(Rc::clone(&core));
    let result = Rc::new(RefCell::new(None));
    let is_over = Rc::new(Cell::new(false));
    let (place, over) = (Rc::clone(&result), Over(Rc::clone(&is_over)));
    core.spawn(Box::pin(async move {
        let _over = over;
        let value = main.await;
        *place.borrow_mut() = Some(value);
    }));
    loop {
        core.work();
        if is_over.get() {
            break;
        }
        core.rest()?;
    }
    drop(guard);
    Ok(result.take().expect("the main task panicked, and said why"))
}

/// Tells that the main task has ended, however it did.
struct Over(Rc<Cell<bool>>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

/// Starts a task on this thread's runtime. A panic of it ends it alone, and is logged.
///
/// # Panics
/// On a thread without a runtime.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    Core::current().spawn(Box::pin(future));
}

/// Empties the thread's state, also when `main` panicked.
struct Leave(Rc<Core>);

impl Drop for Leave {
    fn drop(&mut self) {
        // A task that is dropped may wake, spawn or close: what it leaves is dropped in the next round.
        loop {
            let tasks = std::mem::take(&mut *self.0.tasks.borrow_mut());
            if tasks.is_empty() {
                break;
            }
            drop(tasks);
        }
        READY.with_borrow_mut(VecDeque::clear);
        CORE.set(None);
        NUMBER.set(0);
    }
}

impl Core {
    fn new(number: usize) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &event, EventData::new_u64(WAKE), EventFlags::IN | EventFlags::ET)?;
        Ok(Self {
            number,
            epoll,
            remote: Arc::new(Remote::new(event)),
            tasks: RefCell::default(),
            turn: RefCell::default(),
            sources: RefCell::default(),
            sourced: Cell::new(0),
            timers: timer::Timers::new(),
        })
    }

    fn current() -> Rc<Self> {
        Self::try_current().expect("sockets, timers and tasks live on a worker's thread")
    }

    /// `None`: on a thread without a runtime, or one that ends.
    fn try_current() -> Option<Rc<Self>> {
        CORE.try_with(|core| core.borrow().clone()).ok().flatten()
    }

    fn spawn(&self, future: task::Future) {
        let mut tasks = self.tasks.borrow_mut();
        let entry = tasks.vacant_entry();
        let key = entry.key() as u32;
        entry.insert(Some(Box::new(Task::new(future, key, self.number, &self.remote))));
        READY.with_borrow_mut(|ready| ready.push_back(key));
    }

    /// Polls what is ready, once each.
    fn work(&self) {
        let mut turn = self.turn.borrow_mut();
        READY.with_borrow_mut(|ready| std::mem::swap(ready, &mut turn));
        for key in turn.drain(..) {
            self.poll(key);
        }
    }

    /// Asks the kernel, waits there if there is nothing else to do, and fires timers.
    fn rest(&self) -> io::Result<()> {
        let timeout =
            if READY.with_borrow(VecDeque::is_empty) { self.timers.wait() } else { Some(Duration::ZERO) };
        self.ask(timeout)?;
        self.timers.fire();
        Ok(())
    }

    fn poll(&self, key: u32) {
        // A waker may outlive its task: then its place is empty, or somebody else's who is polled once too often.
        let Some(mut task) = self.tasks.borrow_mut().get_mut(key as usize).and_then(Option::take) else {
            return;
        };
        let is_over = task.poll();
        let mut tasks = self.tasks.borrow_mut();
        if is_over {
            tasks.remove(key as usize);
            drop(tasks);
            drop(task);
        } else if let Some(place) = tasks.get_mut(key as usize) {
            *place = Some(task);
        }
    }

    fn ask(&self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        });
        let mut events = [const { std::mem::MaybeUninit::uninit() }; EVENTS];
        let events = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok((events, _)) => &*events,
            Err(Errno::INTR) => &[],
            Err(error) => return Err(error.into()),
        };
        for event in events {
            let token = event.data.u64();
            if token == WAKE {
                self.remote.take_all();
                continue;
            }
            let sources = self.sources.borrow();
            if let Some(source) = sources.get(token as u32 as usize)
                && source.token == token
            {
                source.note(event.flags);
            }
        }
        Ok(())
    }

    /// Registers a descriptor for all it may tell, edge-triggered.
    fn watch(&self, fd: &OwnedFd, known: u8) -> io::Result<Rc<Readiness>> {
        let mut sources = self.sources.borrow_mut();
        let entry = sources.vacant_entry();
        self.sourced.set(self.sourced.get().wrapping_add(1) & 0x7fff_ffff);
        let token = u64::from(self.sourced.get()) << 32 | entry.key() as u64;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, fd.as_fd(), EventData::new_u64(token), flags)?;
        let ready = Rc::new(Readiness::new(token, known));
        entry.insert(Rc::clone(&ready));
        Ok(ready)
    }

    fn forget(&self, token: u64) {
        let mut sources = self.sources.borrow_mut();
        let key = token as u32 as usize;
        if sources.get(key).is_some_and(|source| source.token == token) {
            drop(sources.remove(key));
        }
    }
}

#[cfg(test)]
mod tests;
