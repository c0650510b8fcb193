//! Who waits for a connection of a service that is at its maximum: first come, first woken. A lock is held for a few
//! instructions and never across a wait. Gives nobody a place: who is woken tries for one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The queue.
#[derive(Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    /// As many as wait: read without the lock.
    count: AtomicUsize,
}

#[derive(Default)]
struct Waiting {
    queue: VecDeque<Entry>,
    next: u64,
}

struct Entry {
    key: u64,
    worker: usize,
    waker: Waker,
}

/// One who waits, until it is dropped. It is woken once.
pub struct Waiter<'q> {
    queue: &'q Queue,
    worker: usize,
    key: Option<u64>,
    was_woken: bool,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub fn waiter(&self, worker: usize) -> Waiter<'_> {
        Waiter { queue: self, worker, key: None, was_woken: false }
    }

    /// A place is free.
    pub fn wake_one(&self) {
        if self.len() > 0 {
            let first = self.take(|waiting| waiting.queue.pop_front());
            if let Some(first) = first {
                first.waker.wake();
            }
        }
    }

    /// A worker keeps a connection that is idle: who waits first is woken, if it waits on that worker. `false`: nobody can
    /// use it there, but somebody elsewhere waits for its place.
    pub fn offer(&self, worker: usize) -> bool {
        if self.len() == 0 {
            return true;
        }
        let first = self.take(|waiting| {
            let is_here = waiting.queue.front().is_some_and(|first| first.worker == worker);
            if is_here { waiting.queue.pop_front() } else { None }
        });
        let Some(first) = first else { return self.len() == 0 };
        first.waker.wake();
        true
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing is done under it that could panic half way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, take: impl FnOnce(&mut Waiting) -> Option<Entry>) -> Option<Entry> {
        let mut waiting = self.lock();
        let taken = take(&mut waiting);
        self.count.store(waiting.queue.len(), Ordering::Release);
        taken
    }
}

impl Waiter<'_> {
    /// Ready when it was woken, or at once where `is_free` says so after it took its place in the queue.
    pub fn poll(&mut self, cx: &Context<'_>, is_free: impl FnOnce() -> bool) -> Poll<()> {
        let mut waiting = self.queue.lock();
        if let Some(key) = self.key {
            let Some(own) = waiting.queue.iter_mut().find(|entry| entry.key == key) else {
                self.was_woken = true;
                return Poll::Ready(());
            };
            own.waker.clone_from(cx.waker());
            return Poll::Pending;
        }
        let key = waiting.next;
        waiting.next += 1;
        waiting.queue.push_back(Entry { key, worker: self.worker, waker: cx.waker().clone() });
        self.queue.count.store(waiting.queue.len(), Ordering::Release);
        drop(waiting);
        self.key = Some(key);
        // A place that came free before nobody was told of.
        if is_free() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let own = self.queue.take(|waiting| {
            let at = waiting.queue.iter().position(|entry| entry.key == key)?;
            waiting.queue.remove(at)
        });
        // Woken, but it went away before it looked: the next one may.
        if own.is_none() && !self.was_woken {
            self.queue.wake_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[test]
    fn wakes_in_the_order_of_coming() {
        let queue = Queue::default();
        let (mut first, mut second) = (queue.waiter(0), queue.waiter(1));
        assert!(first.poll(&cx(), || false).is_pending() && second.poll(&cx(), || false).is_pending());
        queue.wake_one();
        assert!(second.poll(&cx(), || false).is_pending());
        assert!(first.poll(&cx(), || false).is_ready());
        drop(first);
        assert_eq!(queue.len(), 1, "its turn was used");
        assert!(second.poll(&cx(), || false).is_pending());
        drop(second);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_turn_that_is_not_used_goes_to_the_next() {
        let queue = Queue::default();
        let (mut first, mut second) = (queue.waiter(0), queue.waiter(0));
        assert!(first.poll(&cx(), || false).is_pending() && second.poll(&cx(), || false).is_pending());
        queue.wake_one();
        drop(first);
        assert!(second.poll(&cx(), || false).is_ready());
    }

    #[test]
    fn a_place_that_came_free_meanwhile_is_seen() {
        let queue = Queue::default();
        assert!(queue.waiter(0).poll(&cx(), || true).is_ready());
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn an_idle_connection_is_offered_where_it_is() {
        let queue = Queue::default();
        assert!(queue.offer(0), "nobody waits");
        let mut waiter = queue.waiter(1);
        assert!(waiter.poll(&cx(), || false).is_pending());
        assert!(!queue.offer(0), "another worker cannot use it");
        assert!(queue.offer(1));
        assert!(waiter.poll(&cx(), || false).is_ready());
    }
}
