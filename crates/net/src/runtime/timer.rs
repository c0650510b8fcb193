//! A thread's timers, in the order in which they are due. Times are monotonic nanoseconds of the system's clock.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Core;
use crate::clock::monotonic;

/// Timers fire in steps of a millisecond: more of them share one wake-up.
const STEP: u64 = 1_000_000;
/// What is due sooner than this is looked at closely.
const NEAR: u64 = 20 * STEP;

/// When a timer is due, and which of those due then.
type Key = (u64, u64);

/// All timers of one thread.
pub struct Timers {
    waiting: RefCell<BTreeMap<Key, Waker>>,
    count: Cell<u64>,
    /// When the first of them is due; `u64::MAX`: there is none.
    next: Cell<u64>,
    /// What was due until then has fired.
    fired: Rc<Cell<u64>>,
}

impl Timers {
    pub fn new() -> Self {
        let fired = Rc::new(Cell::new(monotonic()));
        Self { waiting: RefCell::default(), count: Cell::new(0), next: Cell::new(u64::MAX), fired }
    }

    /// How long the thread may sleep. `None`: for ever.
    pub fn wait(&self) -> Option<Duration> {
        let next = self.next.get();
        if next == u64::MAX {
            return None;
        }
        // The time of the last turn is near enough for what is far away, and costs no look at the clock.
        let known = self.fired.get();
        let now = if next.saturating_sub(known) > NEAR { known } else { monotonic() };
        Some(Duration::from_millis(next.saturating_sub(now).div_ceil(STEP)))
    }

    /// Wakes those that wait for what is due now.
    pub fn fire(&self) {
        let now = monotonic();
        self.fired.set(now);
        while self.next.get() <= now {
            let first = self.change(BTreeMap::pop_first);
            if let Some((_, waker)) = first {
                waker.wake();
            }
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<Key, Waker>) -> T) -> T {
        let mut waiting = self.waiting.borrow_mut();
        let changed = change(&mut waiting);
        self.next.set(waiting.first_key_value().map_or(u64::MAX, |(key, _)| key.0));
        changed
    }

    fn add(&self, due: u64, waker: &Waker) -> Key {
        let due = due.div_ceil(STEP).saturating_mul(STEP);
        let key = (due, self.count.get());
        self.count.set(self.count.get() + 1);
        self.change(|waiting| waiting.insert(key, waker.clone()));
        key
    }
}

/// One timer, to be set again and again. It fires no earlier than it is due, and rarely later by more than 2 ms.
#[derive(Default)]
pub struct Timer(Option<Set>);

struct Set {
    key: Key,
    core: Rc<Core>,
    fired: Rc<Cell<u64>>,
}

impl Timer {
    /// Wakes the task of `cx` at `due`, and no more at what was set before.
    ///
    /// # Panics
    /// On a thread without a runtime.
    pub fn set(&mut self, cx: &Context<'_>, due: u64) {
        let core = match self.0.take() {
            Some(set) => {
                set.core.timers.change(|waiting| waiting.remove(&set.key));
                set.core
            }
            None => Core::current(),
        };
        let key = core.timers.add(due, cx.waker());
        let fired = Rc::clone(&core.timers.fired);
        self.0 = Some(Set { key, core, fired });
    }

    /// Another task is to be woken at the same time.
    pub fn wake_instead(&mut self, cx: &Context<'_>) {
        if let Some(set) = &self.0
            && let Some(waker) = set.core.timers.waiting.borrow_mut().get_mut(&set.key)
        {
            waker.clone_from(cx.waker());
        }
    }

    /// Whether it was set and its time has come.
    pub fn has_fired(&self) -> bool {
        self.0.as_ref().is_some_and(|set| set.key.0 <= set.fired.get())
    }

    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(set) = self.0.take() {
            // The map is borrowed only while it is changed, and a waker that is dropped there owns no timer.
            set.core.timers.change(|waiting| waiting.remove(&set.key));
        }
    }
}

impl std::fmt::Debug for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Timer").field(&self.0.as_ref().map(|set| set.key.0)).finish()
    }
}

/// Waits on this thread's runtime.
///
/// # Panics
/// On a thread without a runtime.
pub async fn sleep(duration: Duration) {
    let due = monotonic().saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    let mut timer = Timer::default();
    poll_fn(|cx| {
        if timer.has_fired() {
            return Poll::Ready(());
        }
        timer.set(cx, due);
        Poll::Pending
    })
    .await;
}
