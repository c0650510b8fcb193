//! What of a service outlives a reload: its instances with what is known of them, and its accounts. Its instances and
//! their shares are replaced as a whole, under one lock that no worker takes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::balance::{InstanceSet, Maglev, PENALTY};
use super::health::{Governed, Rules, Tick};
use super::{Adaptive, Balance, Breaker, Budget, Counted, Instance, Member, Outcome, Place, Queue, Service};

/// What outlives a reload, as long as the service keeps its name.
pub struct State {
    pub(super) instances: ArcSwap<InstanceSet>,
    pub(super) requests: AtomicUsize,
    pub(super) connections: AtomicUsize,
    /// Of the requests, those that were sent before.
    retries: AtomicUsize,
    /// Requests that wait for a connection.
    pending: AtomicUsize,
    pub(super) queue: Queue,
    /// Somebody found the service at its maximum of connections: who has an idle one gives it up.
    pub(super) wanted: AtomicBool,
    pub(super) breaker: Breaker,
    pub(super) adaptive: Adaptive,
    governed: Mutex<Governed>,
    /// There is something to judge, or somebody new to check.
    changed: Notify,
    moved: Notify,
}

impl State {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            instances: ArcSwap::from_pointee(InstanceSet::default()),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            retries: AtomicUsize::new(0),
            pending: AtomicUsize::new(0),
            queue: Queue::default(),
            wanted: AtomicBool::new(false),
            breaker: Breaker::default(),
            adaptive: Adaptive::default(),
            governed: Mutex::default(),
            changed: Notify::new(),
            moved: Notify::new(),
        })
    }

    fn governed(&self) -> MutexGuard<'_, Governed> {
        // What is left half done by a panic is judged anew at the next look.
        self.governed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These rules hold from now on. `now`: monotonic nanoseconds.
    pub fn govern(&self, rules: Rules, now: u64) {
        let mut governed = self.governed();
        let all = self.instances.load().all.clone();
        governed.govern(rules, &all);
        governed.judge(&all, now);
        self.replace(&governed, all);
        self.changed.notify_one();
    }

    /// These are the service's instances from now on. Those that stay keep their accounts, those that are gone finish what
    /// they have begun.
    pub fn update<M: Into<Member> + Clone>(&self, members: &[M]) {
        let governed = self.governed();
        let old = self.instances.load_full();
        let instances: Vec<_> = members
            .iter()
            .map(|member| {
                let member: Member = member.clone().into();
                let same = old.all.iter().find(|known| known.is(&member));
                if let Some(same) = same {
                    return Arc::clone(same);
                }
                let known = old.all.iter().find(|known| known.address == member.address);
                let made = Instance::new(member, known.map(|known| Arc::clone(&known.standing)));
                if known.is_none() && governed.rules.checks.is_some() {
                    made.standing.await_first_check();
                }
                Arc::new(made)
            })
            .collect();
        for known in &old.all {
            if !instances.iter().any(|kept| Arc::ptr_eq(kept, known)) {
                known.removed.store(true, Ordering::Release);
            }
        }
        self.replace(&governed, instances);
        drop(governed);
        self.moved.notify_one();
        self.changed.notify_one();
    }

    fn replace(&self, governed: &Governed, all: Vec<Arc<Instance>>) {
        let plan = governed.plan(&all);
        let members: Vec<_> = all.iter().map(|one| (one.address, one.weight)).collect();
        let table = if governed.rules.hashes { Maglev::new(&members).map(Arc::new) } else { None };
        let tags =
            governed.rules.sticky.as_ref().map(|key| key.tags(members.iter().map(|(at, _)| *at)).into());
        self.instances.store(Arc::new(InstanceSet::new(all, plan, table, tags)));
    }

    /// Judges the instances and plans their shares. `now`: monotonic nanoseconds.
    pub fn tick(&self, now: u64) -> Tick {
        let mut governed = self.governed();
        let set = self.instances.load_full();
        let mut changes = governed.judge(&set.all, now);
        let plan = governed.plan(&set.all);
        changes.extend(governed.judge_panic(&set.all, &plan));
        let next = governed.next(&set.all);
        if plan != set.plan {
            let (table, tags) = (set.table.clone(), set.tags.clone());
            self.instances.store(Arc::new(InstanceSet::new(set.all.clone(), plan, table, tags)));
        }
        Tick { changes, next }
    }

    /// The instances as they are now.
    pub fn current(&self) -> Arc<InstanceSet> {
        self.instances.load_full()
    }

    /// Returns when there is something to judge.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns when the instances are others.
    pub async fn moved(&self) {
        self.moved.notified().await;
    }

    /// An active check has ended; says whether that turned the instance.
    pub fn checked(&self, instance: &Instance, passed: bool) -> bool {
        let turned = {
            let governed = self.governed();
            let Some(rules) = &governed.rules.checks else { return false };
            instance.standing.check(passed, rules)
        };
        if turned {
            self.changed.notify_one();
        }
        turned
    }

    /// No configuration names the service any more: idle connections to it are closed. Exchanges that began before still
    /// find its instances.
    pub fn retire(&self) {
        for instance in &self.instances.load().all {
            instance.removed.store(true, Ordering::Release);
        }
    }

    /// Requests that are being answered.
    pub fn requests_in_flight(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    pub fn open_connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub fn retries_in_flight(&self) -> usize {
        self.retries.load(Ordering::Relaxed)
    }

    /// A place for one more retry, where the budget has one.
    pub fn enter_retry(self: &Arc<Self>, budget: &Budget) -> Option<Place> {
        let retries = self.retries.fetch_add(1, Ordering::AcqRel);
        let place = Place { state: Arc::clone(self), counted: Counted::Retry };
        budget.allows(self.requests_in_flight(), retries).then_some(place)
    }

    /// Requests that wait for a connection.
    pub fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// Who waits for a connection.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(super) fn count(&self, counted: Counted) -> &AtomicUsize {
        match counted {
            Counted::Request => &self.requests,
            Counted::Connection => &self.connections,
            Counted::Retry => &self.retries,
            Counted::Pending => &self.pending,
        }
    }

    /// Takes a place among at most `max`; given back on drop.
    pub(super) fn enter(self: &Arc<Self>, counted: Counted, max: usize) -> Option<Place> {
        let count = self.count(counted);
        if count.fetch_add(1, Ordering::AcqRel) < max {
            return Some(Place { state: Arc::clone(self), counted });
        }
        count.fetch_sub(1, Ordering::AcqRel);
        None
    }
}

impl Service {
    /// What a try says about its instance.
    pub(super) fn note_time(&self, instance: &Instance, outcome: &Outcome, now: u64) {
        if matches!(self.settings.balance, Balance::Ewma) {
            match outcome {
                Outcome::Answered { took, .. } => instance.standing.ewma.note(*took, now),
                Outcome::Failed { .. } if outcome.is_bad() == Some(true) => {
                    instance.standing.ewma.note(PENALTY, now);
                }
                _ => {}
            }
        }
    }

    /// What the ejection of instances learns.
    pub(super) fn count(&self, instance: &Instance, outcome: &Outcome) {
        if let Some(rules) = &self.settings.outliers
            && instance.standing.count(outcome, rules)
        {
            self.state.changed.notify_one();
        }
    }
}
