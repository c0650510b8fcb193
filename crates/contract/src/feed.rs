//! Background data: a value that a task of the control runtime renews (key sets, names, certificates) and that workers
//! read without waiting. Spawns nothing: the compiler of configurations starts what goes live.

use std::any::{Any, TypeId};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};

/// The task behind a feed, to be spawned on the control runtime.
pub type FeedTask = Pin<Box<dyn Future<Output = ()> + Send>>;
type Begin = Box<dyn FnOnce() -> FeedTask + Send>;

/// Which data: equal keys (of one type) share one task.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FeedKey {
    pub text: Box<str>,
    holds: TypeId,
}

/// A reader's hold on background data. Cloned freely; the task ends with the last one.
pub struct Feed<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    value: ArcSwapOption<T>,
    core: FeedCore,
}

/// What a feed is, whatever it brings.
pub struct FeedCore {
    key: FeedKey,
    signals: Arc<Signals>,
    begin: Mutex<Option<Begin>>,
    /// Dropping it ends the task.
    task: Mutex<Option<Box<dyn Send>>>,
}

struct Signals {
    is_available: AtomicBool,
    poke: Notify,
    rounds: watch::Sender<Round>,
}

/// The last attempt of a feed's task.
#[derive(Debug, Clone, Default)]
struct Round {
    number: u64,
    trouble: Option<Arc<str>>,
    is_over: bool,
}

/// A feed without its type: what the compiler keeps, starts and reports.
pub trait AnyFeed: Send + Sync {
    fn core(&self) -> &FeedCore;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<T: Send + Sync + 'static> AnyFeed for Shared<T> {
    fn core(&self) -> &FeedCore {
        &self.core
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl FeedCore {
    pub fn key(&self) -> &FeedKey {
        &self.key
    }

    /// A value is there.
    pub fn is_available(&self) -> bool {
        self.signals.is_available.load(Ordering::Acquire)
    }

    /// What the last attempt met with; `None` where it went well, or none has ended.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.signals.rounds.borrow().trouble.clone()
    }

    /// Starts the task, once: `spawn` gives what ends it when dropped. Whether this call did it.
    pub fn start(&self, spawn: impl FnOnce(FeedTask) -> Box<dyn Send>) -> bool {
        let Some(begin) = lock(&self.begin).take() else { return false };
        let task = spawn(begin());
        *lock(&self.task) = Some(task);
        true
    }

    /// Waits without keeping the feed alive: `true` once a value is there, `false` when the task has ended without.
    pub fn available(&self) -> impl Future<Output = bool> + Send + use<> {
        let signals = Arc::clone(&self.signals);
        async move {
            let mut rounds = signals.rounds.subscribe();
            let is_there = || signals.is_available.load(Ordering::Acquire);
            let _ = rounds.wait_for(|round| is_there() || round.is_over).await;
            is_there()
        }
    }

    /// Returns when the first attempt is over, whatever came of it.
    pub async fn attempted(&self) {
        let mut rounds = self.signals.rounds.subscribe();
        // The sender lives as long as `self`: it cannot be closed.
        let _ = rounds.wait_for(|round| round.number > 0 || round.is_over).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FeedKey {
    pub fn new<T: 'static>(text: impl Into<Box<str>>) -> Self {
        Self { text: text.into(), holds: TypeId::of::<T>() }
    }
}

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for Feed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Feed({})", self.shared.core.key.text)
    }
}

impl<T: Send + Sync + 'static> Feed<T> {
    /// One that nobody has started. `start` makes the task; it ends when the last reader is dropped.
    pub fn new<F>(key: FeedKey, start: impl FnOnce(FeedOutput<T>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let signals = Arc::new(Signals {
            is_available: AtomicBool::new(false),
            poke: Notify::new(),
            rounds: watch::Sender::new(Round::default()),
        });
        let shared = Arc::new_cyclic(|shared: &Weak<Shared<T>>| {
            let output = FeedOutput { shared: shared.clone(), signals: Arc::clone(&signals) };
            let begin: Begin = Box::new(move || Box::pin(start(output)));
            let core = FeedCore { key, signals, begin: Mutex::new(Some(begin)), task: Mutex::new(None) };
            Shared { value: ArcSwapOption::empty(), core }
        });
        Self { shared }
    }

    /// One whose value never changes: data that stands in the configuration itself.
    pub fn fixed(value: T) -> Self {
        let feed = Self::new(FeedKey::new::<T>("fixed"), |_| std::future::ready(()));
        feed.shared.value.store(Some(Arc::new(value)));
        feed.shared.core.signals.is_available.store(true, Ordering::Release);
        *lock(&feed.shared.core.begin) = None;
        feed
    }

    pub fn core(&self) -> &FeedCore {
        &self.shared.core
    }

    /// Without its type, for a registry.
    pub fn erased(&self) -> Arc<dyn AnyFeed> {
        Arc::clone(&self.shared) as Arc<dyn AnyFeed>
    }

    /// `None`: it is a feed of another type.
    pub fn of(erased: Arc<dyn AnyFeed>) -> Option<Self> {
        let shared = erased.into_any().downcast::<Shared<T>>().ok()?;
        Some(Self { shared })
    }

    /// Looks at the current value without touching a counter that other cores share. `None`: there is none yet.
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.shared.value.load().as_ref().map(|value| look(value))
    }

    /// The current value, to be held across a wait.
    pub fn value(&self) -> Option<Arc<T>> {
        self.shared.value.load_full()
    }

    /// Asks the task to look again and waits until it has, well or badly; returns at once where the task has ended. How
    /// often it really looks is the task's own decision. Any thread may wait.
    pub async fn poke(&self) {
        let signals = &self.shared.core.signals;
        let mut rounds = signals.rounds.subscribe();
        let before = rounds.borrow().number;
        signals.poke.notify_one();
        // The sender lives as long as `self`: it cannot be closed.
        let _ = rounds.wait_for(|round| round.number > before || round.is_over).await;
    }

    /// Waits for an attempt after the one numbered `seen`; returns its number. For tasks that follow a feed.
    pub async fn next(&self, seen: u64) -> u64 {
        let mut rounds = self.shared.core.signals.rounds.subscribe();
        match rounds.wait_for(|round| round.number > seen).await {
            Ok(round) => round.number,
            Err(_) => seen,
        }
    }
}

/// The task's side of a feed. Does not keep the feed alive.
pub struct FeedOutput<T> {
    shared: Weak<Shared<T>>,
    signals: Arc<Signals>,
}

impl<T> FeedOutput<T> {
    /// This is the value from now on.
    pub fn set(&self, value: T) {
        let Some(shared) = self.shared.upgrade() else { return };
        shared.value.store(Some(Arc::new(value)));
        self.signals.is_available.store(true, Ordering::Release);
        self.tell(None);
    }

    /// The value is still what it was: an attempt that ended well.
    pub fn unchanged(&self) {
        self.tell(None);
    }

    /// An attempt failed. The last value stays, if there was one. `trouble` is for the operator.
    pub fn fail(&self, trouble: impl Into<Arc<str>>) {
        self.tell(Some(trouble.into()));
    }

    /// Waits until a reader asks for a new attempt.
    pub async fn poked(&self) {
        self.signals.poke.notified().await;
    }

    fn tell(&self, trouble: Option<Arc<str>>) {
        self.signals.rounds.send_modify(|round| {
            round.number += 1;
            round.trouble = trouble;
        });
    }
}

impl<T> Drop for FeedOutput<T> {
    fn drop(&mut self) {
        self.signals.rounds.send_modify(|round| round.is_over = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::task::{Context, Poll, Waker};

    fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Looks once at the start and once per poke; the second look fails.
    fn counting() -> (Feed<u32>, FeedTask) {
        let feed = Feed::new(FeedKey::new::<u32>("n"), |output: FeedOutput<u32>| async move {
            output.set(1);
            output.poked().await;
            output.fail("no answer");
            output.poked().await;
            output.set(3);
        });
        let mut begun = None;
        assert!(feed.core().start(|task| {
            begun = Some(task);
            Box::new(())
        }));
        assert!(!feed.core().start(|_| Box::new(())), "once");
        (feed, begun.unwrap())
    }

    #[test]
    fn a_reader_sees_each_value_and_a_failure_keeps_the_last() {
        let (feed, mut task) = counting();
        assert_eq!((feed.read(|n| *n), feed.core().is_available()), (None, false));
        assert!(poll(task.as_mut()).is_pending());
        assert_eq!((feed.read(|n| *n), feed.core().is_available()), (Some(1), true));
        let mut asked = Box::pin(feed.poke());
        assert!(poll(asked.as_mut()).is_pending(), "nobody has looked again");
        assert!(poll(task.as_mut()).is_pending());
        assert!(poll(asked.as_mut()).is_ready());
        assert_eq!((feed.read(|n| *n), feed.core().trouble().as_deref()), (Some(1), Some("no answer")));
        let mut asked = Box::pin(feed.poke());
        assert!(poll(asked.as_mut()).is_pending());
        assert!(poll(task.as_mut()).is_ready());
        assert!(poll(asked.as_mut()).is_ready());
        assert_eq!((feed.value().as_deref(), feed.core().trouble()), (Some(&3), None));
        drop(task);
        assert!(poll(Box::pin(feed.poke()).as_mut()).is_ready(), "a task that has ended is not waited for");
    }

    #[test]
    fn the_last_reader_ends_the_task() {
        struct Ends(Arc<AtomicU32>);
        impl Drop for Ends {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let ended = Arc::new(AtomicU32::new(0));
        let feed =
            Feed::new(FeedKey::new::<u32>("n"), |output: FeedOutput<u32>| async move { output.set(1) });
        let other = feed.clone();
        feed.core().start(|_| Box::new(Ends(Arc::clone(&ended))));
        drop(feed);
        assert_eq!(ended.load(Ordering::Relaxed), 0);
        drop(other);
        assert_eq!(ended.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn types_are_told_apart_and_fixed_values_need_no_task() {
        assert_ne!(FeedKey::new::<u32>("a"), FeedKey::new::<u64>("a"));
        let feed = Feed::fixed("a");
        assert_eq!(feed.read(|text| text.len()), Some(1));
        assert!(!feed.core().start(|_| Box::new(())));
        assert!(Feed::<u32>::of(feed.erased()).is_none());
        assert!(Feed::<&str>::of(feed.erased()).is_some());
    }
}
