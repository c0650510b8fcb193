//! Tasks and their wakers. A waker of the own thread puts its task in the thread's queue; one that is called elsewhere
//! leaves the task's number and rings the bell.

use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

use super::{NUMBER, READY};

pub type Future = Pin<Box<dyn std::future::Future<Output = ()>>>;

/// What other threads can reach of a runtime.
#[derive(Debug)]
pub struct Remote {
    bell: OwnedFd,
    woken: Mutex<Vec<Arc<Handle>>>,
}

impl Remote {
    pub fn new(bell: OwnedFd) -> Self {
        Self { bell, woken: Mutex::default() }
    }

    fn leave(&self, handle: Arc<Handle>) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = woken.is_empty();
        woken.push(handle);
        drop(woken);
        if is_first {
            // It fails only when the counter is full, and then the bell rings already.
            let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        }
    }

    /// Queues what other threads have woken.
    pub fn take_all(&self) {
        let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
        let woken = std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner));
        READY.with_borrow_mut(|ready| ready.extend(woken.iter().map(|handle| handle.key)));
    }
}

/// How a task is woken.
#[derive(Debug)]
pub struct Handle {
    key: u32,
    /// The runtime's number.
    runtime: usize,
    /// It is in the queue already.
    is_queued: AtomicBool,
    remote: Arc<Remote>,
}

impl Wake for Handle {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Swaps on both sides order what was done before the wake with the poll that it asks for.
        if self.is_queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let is_here = NUMBER.try_with(|number| number.get() == self.runtime).unwrap_or(false);
        if is_here {
            // The thread's queue is gone while it ends: nobody is polled any more.
            let _ = READY.try_with(|ready| ready.borrow_mut().push_back(self.key));
        } else {
            self.remote.leave(Arc::clone(self));
        }
    }
}

/// A future and what wakes it.
pub struct Task {
    future: Future,
    handle: Arc<Handle>,
    waker: Waker,
}

impl Task {
    pub fn new(future: Future, key: u32, runtime: usize, remote: &Arc<Remote>) -> Self {
        let is_queued = AtomicBool::new(true);
        let handle = Arc::new(Handle { key, runtime, is_queued, remote: Arc::clone(remote) });
        Self { future, waker: Waker::from(Arc::clone(&handle)), handle }
    }

    /// Polls once; `true`: it is over.
    pub fn poll(&mut self) -> bool {
        self.handle.is_queued.swap(false, Ordering::AcqRel);
        let mut cx = Context::from_waker(&self.waker);
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| self.future.as_mut().poll(&mut cx)));
        match polled {
            Ok(polled) => polled.is_ready(),
            Err(_) => {
                tracing::error!("a task of a worker panicked; it has ended");
                true
            }
        }
    }
}
