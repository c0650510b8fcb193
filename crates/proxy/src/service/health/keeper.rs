//! Judges a service's instances and plans their shares, whenever something changed or time has passed. Sans-IO: told the
//! time, asked when to be told again. Runs on the control runtime; a worker only says that there is something to judge.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use narthex_wire::Address;

use super::outlier::{most_ejected, sweep};
use super::{CheckRules, EjectCause, Health, OutlierRules};
use crate::service::Instance;
use crate::service::balance::{Candidate, Plan, Spread, StickyKey, plan};

/// The share of its weight that an instance begins with in slow start, in percent.
const FIRST_SHARE: u64 = 10;

/// Steps of a slow start.
const STEPS: u64 = 20;

/// What a service's instances are judged by, fixed for one configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    pub checks: Option<CheckRules>,
    pub outliers: Option<OutlierRules>,
    /// How long an instance takes to its full share.
    pub slow_start: Option<Duration>,
    pub spread: Spread,
    /// The gateway's own zone.
    pub zone: Option<Arc<str>>,
    /// Requests go by a hash.
    pub hashes: bool,
    /// Requests go by a cookie.
    pub sticky: Option<StickyKey>,
}

impl Rules {
    /// Whether time alone may change anything.
    pub fn needs_keeper(&self) -> bool {
        self.checks.is_some() || self.outliers.is_some() || self.slow_start.is_some()
    }
}

/// What the operator reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthChange {
    Ejected {
        instance: Address,
        cause: EjectCause,
        time: Duration,
    },
    /// From an ejection.
    Returned {
        instance: Address,
    },
    /// Too few instances are well, and all are used; or that is over.
    Panic {
        begins: bool,
        well: usize,
        all: usize,
    },
}

/// What one look brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tick {
    pub changes: Vec<HealthChange>,
    /// When to look again, in monotonic nanoseconds, even if nothing happens.
    pub next: Option<u64>,
}

/// The rules that hold, and how far the keeper is.
#[derive(Debug, Default)]
pub struct Governed {
    pub rules: Rules,
    /// The last time that it was told.
    pub now: u64,
    sweep_due: u64,
    /// The operator was told that all are used.
    is_panic_said: bool,
}

impl Governed {
    /// These rules hold from now on: what only the old ones said is forgotten.
    pub fn govern(&mut self, rules: Rules, all: &[Arc<Instance>]) {
        for instance in all {
            if rules.checks.is_none() {
                instance.standing.active.forget();
            }
            if rules.outliers.is_none() {
                instance.standing.ejected_until.store(0, Ordering::Release);
                instance.standing.ejections.store(0, Ordering::Relaxed);
                instance.standing.counts.forget();
            }
        }
        if rules.outliers != self.rules.outliers {
            self.sweep_due = 0;
        }
        self.rules = rules;
    }

    /// Judges everybody.
    pub fn judge(&mut self, all: &[Arc<Instance>], now: u64) -> Vec<HealthChange> {
        self.now = self.now.max(now);
        let mut changes = Vec::new();
        for instance in all {
            let until = instance.standing.ejected_until.load(Ordering::Relaxed);
            if until > 0 && until <= self.now {
                instance.standing.counts.forget();
                instance.standing.ejected_until.store(0, Ordering::Release);
                changes.push(HealthChange::Returned { instance: instance.address });
            }
        }
        if let Some(rules) = self.rules.outliers.clone() {
            self.judge_outliers(all, &rules, &mut changes);
        }
        for instance in all {
            let since = &instance.standing.used_since;
            match (instance.standing.is_usable(), since.load(Ordering::Relaxed)) {
                (true, 0) => since.store(self.now.max(1), Ordering::Relaxed),
                (false, 1..) => since.store(0, Ordering::Relaxed),
                _ => {}
            }
        }
        changes
    }

    fn judge_outliers(
        &mut self,
        all: &[Arc<Instance>],
        rules: &OutlierRules,
        changes: &mut Vec<HealthChange>,
    ) {
        for instance in all {
            if let Some(cause) = instance.standing.counts.suspicion(rules) {
                changes.extend(self.eject(all, instance, cause, rules));
            }
        }
        let every = nanos(rules.every).max(1);
        if self.sweep_due == 0 {
            self.sweep_due = self.now + every;
        }
        if self.now < self.sweep_due {
            return;
        }
        self.sweep_due = self.now + every;
        let counts: Vec<_> = all
            .iter()
            .map(|instance| {
                let counts = instance.standing.counts.take();
                if is_ejected(instance) {
                    return (0, 0);
                }
                let times = &instance.standing.ejections;
                times.store(times.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
                counts
            })
            .collect();
        for (index, cause) in sweep(&counts, rules) {
            changes.extend(self.eject(all, &all[index], cause, rules));
        }
    }

    fn eject(
        &self,
        all: &[Arc<Instance>],
        instance: &Instance,
        cause: EjectCause,
        rules: &OutlierRules,
    ) -> Option<HealthChange> {
        let ejected = all.iter().filter(|one| is_ejected(one)).count();
        if is_ejected(instance) || ejected >= most_ejected(all.len(), rules.max_ejected) {
            return None;
        }
        let standing = &instance.standing;
        let times = standing.ejections.load(Ordering::Relaxed).saturating_add(1);
        let time = rules.eject.saturating_mul(times).min(rules.eject_max.max(rules.eject));
        standing.ejections.store(times, Ordering::Relaxed);
        standing.ejected_for.store(cause as u8, Ordering::Relaxed);
        standing.ejected_until.store(self.now.saturating_add(nanos(time)).max(1), Ordering::Release);
        Some(HealthChange::Ejected { instance: instance.address, cause, time })
    }

    /// Panic begins or ends. While somebody was never checked, it is too early to say so.
    pub fn judge_panic(&mut self, all: &[Arc<Instance>], plan: &Plan) -> Option<HealthChange> {
        let count = |health| all.iter().filter(|one| one.standing.health() == health).count();
        if plan.is_panic == self.is_panic_said || count(Health::Unknown) > 0 {
            return None;
        }
        self.is_panic_said = plan.is_panic;
        Some(HealthChange::Panic { begins: plan.is_panic, well: count(Health::Well), all: all.len() })
    }

    /// Everybody's share, as things stand.
    pub fn plan(&self, all: &[Arc<Instance>]) -> Plan {
        let own = self.rules.zone.as_deref();
        let candidates: Vec<_> = all
            .iter()
            .map(|instance| Candidate {
                weight: instance.weight,
                is_usable: instance.standing.is_usable(),
                tier: (
                    instance.place.priority,
                    own.zip(instance.place.zone.as_deref()).is_some_and(|(own, zone)| own != zone),
                ),
                ramp: self.ramp(instance),
            })
            .collect();
        plan(&candidates, &self.rules.spread)
    }

    /// How far a slow start has come, in percent.
    fn ramp(&self, instance: &Instance) -> u32 {
        let Some(window) = self.rules.slow_start.map(nanos).filter(|window| *window > 0) else { return 100 };
        match instance.standing.used_since.load(Ordering::Relaxed) {
            // Nobody has judged it yet.
            0 => FIRST_SHARE as u32,
            since => {
                let age = u128::from(self.now.saturating_sub(since));
                (age * 100 / u128::from(window)).clamp(u128::from(FIRST_SHARE), 100) as u32
            }
        }
    }

    /// When to look again.
    pub fn next(&self, all: &[Arc<Instance>]) -> Option<u64> {
        let sweep = self.rules.outliers.is_some().then_some(self.sweep_due);
        let ends = all.iter().map(|instance| instance.standing.ejected_until.load(Ordering::Relaxed));
        let ends = ends.filter(|until| *until > 0).min();
        let is_ramping = all.iter().any(|one| one.standing.is_usable() && self.ramp(one) < 100);
        let window = self.rules.slow_start.map_or(0, nanos);
        let step = is_ramping.then(|| self.now.saturating_add((window / STEPS).max(50_000_000)));
        [sweep, ends, step].into_iter().flatten().min()
    }
}

fn is_ejected(instance: &Instance) -> bool {
    instance.standing.ejected_until.load(Ordering::Relaxed) > 0
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
