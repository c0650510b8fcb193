//! What requests say of an instance: errors in a row, a success rate below the others', a share of failures. Workers count
//! here without a lock; who is ejected is judged by a pure function of the counts.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::service::Outcome;

/// When an instance is ejected, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct OutlierRules {
    /// Bad answers (5xx, or none that is one) in a row; 0: never for that.
    pub errors: u32,
    /// Tries in a row that brought nothing: no connection, a reset, a time-out; 0: never for that.
    pub local: u32,
    /// How often rates are looked at.
    pub every: Duration,
    /// The time of the first ejection; the n-th takes n times as long.
    pub eject: Duration,
    pub eject_max: Duration,
    /// From 0.0 to 1.0, of the instances; one always, where there are two.
    pub max_ejected: f64,
    pub success_rate: Option<SuccessRate>,
    pub failures: Option<FailureShare>,
}

/// Ejects who succeeds less often than the mean of all less so many standard deviations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SuccessRate {
    /// Instances with enough requests that there must be.
    pub hosts: u32,
    /// Requests within the interval that an instance must have had.
    pub requests: u32,
    pub deviations: f64,
}

/// Ejects who fails at least so often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FailureShare {
    /// From 0.0 to 1.0.
    pub share: f64,
    pub hosts: u32,
    pub requests: u32,
}

/// Why an instance was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EjectCause {
    Errors,
    Local,
    SuccessRate,
    Failures,
}

impl EjectCause {
    /// The word in logs and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors in a row",
            Self::Local => "no answers in a row",
            Self::SuccessRate => "success rate",
            Self::Failures => "share of failures",
        }
    }

    pub(super) fn of(number: u8) -> Self {
        match number {
            0 => Self::Errors,
            1 => Self::Local,
            2 => Self::SuccessRate,
            _ => Self::Failures,
        }
    }
}

/// What the workers count of one instance.
#[derive(Debug, Default)]
pub struct Counts {
    errors: AtomicU32,
    local: AtomicU32,
    /// Within the interval.
    requests: AtomicU32,
    failed: AtomicU32,
    /// One of the rows is as long as it may be; the keeper was told.
    is_suspect: AtomicBool,
}

impl Counts {
    /// Counts one try. `true`: it is time to judge.
    pub fn note(&self, outcome: &Outcome, rules: &OutlierRules) -> bool {
        let Some(is_bad) = outcome.is_bad() else { return false };
        self.requests.fetch_add(1, Ordering::Relaxed);
        if !is_bad {
            // Written only where it changes: a healthy instance's cells stay in every core's cache.
            for row in [&self.errors, &self.local] {
                if row.load(Ordering::Relaxed) > 0 {
                    row.store(0, Ordering::Relaxed);
                }
            }
            return false;
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        let is_local = matches!(outcome, Outcome::Failed { local: true, .. });
        let (row, most) = if is_local { (&self.local, rules.local) } else { (&self.errors, rules.errors) };
        let length = row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        // Again for each further row: it may have been refused, because too many were ejected.
        most > 0 && length.is_multiple_of(most) && !self.is_suspect.swap(true, Ordering::AcqRel)
    }

    /// What the rows say now.
    pub(super) fn suspicion(&self, rules: &OutlierRules) -> Option<EjectCause> {
        if !self.is_suspect.swap(false, Ordering::AcqRel) {
            return None;
        }
        let reached = |row: &AtomicU32, most| most > 0 && row.load(Ordering::Relaxed) >= most;
        match (reached(&self.errors, rules.errors), reached(&self.local, rules.local)) {
            (true, _) => Some(EjectCause::Errors),
            (_, true) => Some(EjectCause::Local),
            _ => None,
        }
    }

    /// The interval is over: (requests, failed) of it.
    pub(super) fn take(&self) -> (u32, u32) {
        (self.requests.swap(0, Ordering::Relaxed), self.failed.swap(0, Ordering::Relaxed))
    }

    /// It begins anew.
    pub(super) fn forget(&self) {
        for cell in [&self.errors, &self.local, &self.requests, &self.failed] {
            cell.store(0, Ordering::Relaxed);
        }
        self.is_suspect.store(false, Ordering::Relaxed);
    }
}

/// Who did badly in an interval, by index, of (requests, failed).
pub(super) fn sweep(counts: &[(u32, u32)], rules: &OutlierRules) -> Vec<(usize, EjectCause)> {
    let mut bad = Vec::new();
    let enough = |least: u32| {
        let all = counts.iter().enumerate().filter(move |(_, (requests, _))| *requests >= least.max(1));
        all.map(|(index, (requests, failed))| (index, 1.0 - f64::from(*failed) / f64::from(*requests)))
    };
    if let Some(rule) = &rules.success_rate {
        let rates: Vec<_> = enough(rule.requests).collect();
        if rates.len() >= rule.hosts.max(2) as usize {
            let count = rates.len() as f64;
            let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
            let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
            let least = mean - rule.deviations * variance.sqrt();
            let worse = rates.iter().filter(|(_, rate)| *rate < least - f64::EPSILON);
            bad.extend(worse.map(|(index, _)| (*index, EjectCause::SuccessRate)));
        }
    }
    if let Some(rule) = &rules.failures {
        let rates: Vec<_> = enough(rule.requests).collect();
        if rates.len() >= rule.hosts as usize {
            let failing = rates.iter().filter(|(_, rate)| 1.0 - rate >= rule.share - f64::EPSILON);
            bad.extend(failing.map(|(index, _)| (*index, EjectCause::Failures)));
        }
    }
    bad
}

/// How many of so many may be ejected at once: the share, but one where there are at least two.
pub(super) fn most_ejected(count: usize, share: f64) -> usize {
    match count {
        0 | 1 => 0,
        _ => ((count as f64 * share) as usize).max(1).min(count),
    }
}
