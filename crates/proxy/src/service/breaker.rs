//! A service's circuit: closed while it does well, open while it does not, half open while a few requests try it out, then
//! rising until it carries everything again. Shared by all workers, without a lock; told outcomes and times, no clock of its
//! own. It refuses; who answers instead is not decided here.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// When a circuit opens and how it closes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerRules {
    /// Hundredths of a percent of bad outcomes in the window.
    pub errors: Option<u16>,
    /// Bad outcomes in a row.
    pub consecutive: Option<u32>,
    /// More than this share of the window's answers is slower than this (the latency's quantile is above a bound).
    pub slow: Option<Slow>,
    pub window: Duration,
    /// Fewer outcomes in the window than this say nothing of a share.
    pub samples: u32,
    /// How long it is open the first time; twice as long each time that a trial fails, at most `open_max`.
    pub open: Duration,
    pub open_max: Duration,
    /// Trials that must do well, and that may be at work at once.
    pub trials: u32,
    /// The time from half open to everything.
    pub ramp: Duration,
}

/// A bound for a quantile of the time to the response's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slow {
    /// Hundredths of a percent of the answers that may be slower.
    pub share: u16,
    /// Nanoseconds.
    pub than: u64,
}

impl Default for BreakerRules {
    fn default() -> Self {
        Self {
            errors: Some(5_000),
            consecutive: None,
            slow: None,
            window: Duration::from_secs(10),
            samples: 20,
            open: Duration::from_secs(5),
            open_max: Duration::from_secs(300),
            trials: 3,
            ramp: Duration::from_secs(10),
        }
    }
}

/// How a circuit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Closed,
    Open,
    HalfOpen,
    /// A growing share of the requests passes.
    Rising,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Closed, Self::Open, Self::HalfOpen, Self::Rising];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Rising => "rising",
        }
    }
}

/// How a request passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    Plain,
    /// It is one of the trials: its outcome decides, and it must be told, be it `None`.
    Trial,
}

/// The circuit changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub from: Phase,
    pub to: Phase,
    pub cause: Opened,
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    Errors,
    Consecutive,
    Slow,
    TrialFailed,
    /// Not opened: its time was over, or it did well.
    Recovered,
}

impl Opened {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "share of errors",
            Self::Consecutive => "errors in a row",
            Self::Slow => "slow answers",
            Self::TrialFailed => "a trial failed",
            Self::Recovered => "recovering",
        }
    }
}

/// Parts of a window.
const BUCKETS: usize = 10;
/// A rising circuit lets at least this share of the requests through, in 2^-32.
const LEAST: u64 = (1 << 32) / 20;

#[derive(Debug, Default)]
struct Bucket {
    /// Which part of time it counts, plus one.
    epoch: AtomicU64,
    all: AtomicU32,
    bad: AtomicU32,
    slow: AtomicU32,
}

/// The shared state. Times are monotonic nanoseconds.
#[derive(Debug, Default)]
pub struct Breaker {
    /// The phase in the lowest two bits, above it when it ends (open) or began (rising), in units of 4 ns.
    word: AtomicU64,
    buckets: [Bucket; BUCKETS],
    in_a_row: AtomicU32,
    /// Times that it opened without closing again.
    openings: AtomicU32,
    /// Trials that may still begin.
    trials_left: AtomicU32,
    trials_passed: AtomicU32,
}

fn pack(phase: Phase, at: u64) -> u64 {
    (at & !3) | phase as u64
}

fn unpack(word: u64) -> (Phase, u64) {
    (Phase::ALL[(word & 3) as usize], word & !3)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX >> 1)
}

impl Breaker {
    pub fn phase(&self) -> Phase {
        unpack(self.word.load(Ordering::Acquire)).0
    }

    /// Whether a request may be sent. `Err`: not, and how long until it is worth asking again.
    pub fn admit(
        &self,
        rules: &BreakerRules,
        now: u64,
        random: u64,
    ) -> (Result<Pass, Duration>, Option<Change>) {
        let word = self.word.load(Ordering::Acquire);
        let (phase, at) = unpack(word);
        match phase {
            Phase::Closed => (Ok(Pass::Plain), None),
            Phase::Open if now < at => (Err(Duration::from_nanos(at - now)), None),
            Phase::Open => {
                let change = self.change(word, Phase::HalfOpen, now, Opened::Recovered);
                (self.take_trial(rules), change)
            }
            Phase::HalfOpen => (self.take_trial(rules), None),
            Phase::Rising => {
                let risen = now.saturating_sub(at);
                let ramp = nanos(rules.ramp);
                if risen >= ramp {
                    let change = self.change(word, Phase::Closed, 0, Opened::Recovered);
                    if change.is_some() {
                        self.openings.store(0, Ordering::Release);
                    }
                    return (Ok(Pass::Plain), change);
                }
                let share = (u128::from(risen) << 32) / u128::from(ramp);
                let passes = random >> 32 < (share as u64).max(LEAST);
                (if passes { Ok(Pass::Plain) } else { Err(Duration::from_nanos(ramp - risen)) }, None)
            }
        }
    }

    fn take_trial(&self, rules: &BreakerRules) -> Result<Pass, Duration> {
        let taken =
            self.trials_left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
        // The trials at work decide soon; nobody knows when.
        taken.map(|_| Pass::Trial).map_err(|_| rules.open.min(Duration::from_secs(1)))
    }

    /// An outcome. `bad`: `None` says nothing about the service. `took`: nanoseconds to the response's head, where there was
    /// one.
    pub fn observe(
        &self,
        rules: &BreakerRules,
        pass: Pass,
        bad: Option<bool>,
        took: Option<u64>,
        now: u64,
    ) -> Option<Change> {
        let word = self.word.load(Ordering::Acquire);
        let is_slow = rules.slow.is_some_and(|slow| took.is_some_and(|took| took > slow.than));
        match (unpack(word).0, pass, bad) {
            (Phase::HalfOpen, Pass::Trial, None) => {
                self.trials_left.fetch_add(1, Ordering::AcqRel);
                None
            }
            (Phase::HalfOpen, Pass::Trial, Some(bad)) => {
                if bad || is_slow {
                    return self.open(rules, word, now, Opened::TrialFailed);
                }
                if self.trials_passed.fetch_add(1, Ordering::AcqRel) + 1 < rules.trials {
                    return None;
                }
                self.forget();
                self.change(word, Phase::Rising, now, Opened::Recovered)
            }
            // What began before the circuit opened says nothing about the service as it is now.
            (Phase::Open | Phase::HalfOpen, ..) | (_, _, None) => None,
            (Phase::Closed | Phase::Rising, _, Some(bad)) => self.count(rules, word, bad, is_slow, now),
        }
    }

    fn count(&self, rules: &BreakerRules, word: u64, bad: bool, is_slow: bool, now: u64) -> Option<Change> {
        let epoch = now / part(rules) + 1;
        let bucket = &self.buckets[(epoch % BUCKETS as u64) as usize];
        let seen = bucket.epoch.load(Ordering::Acquire);
        if seen != epoch
            && bucket.epoch.compare_exchange(seen, epoch, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            // A count that another worker adds just now may be lost: one of many.
            bucket.all.store(0, Ordering::Release);
            bucket.bad.store(0, Ordering::Release);
            bucket.slow.store(0, Ordering::Release);
        }
        bucket.all.fetch_add(1, Ordering::AcqRel);
        bucket.slow.fetch_add(u32::from(is_slow), Ordering::AcqRel);
        if bad {
            bucket.bad.fetch_add(1, Ordering::AcqRel);
            let in_a_row = self.in_a_row.fetch_add(1, Ordering::AcqRel) + 1;
            if rules.consecutive.is_some_and(|most| in_a_row >= most) {
                return self.open(rules, word, now, Opened::Consecutive);
            }
        } else if self.in_a_row.load(Ordering::Relaxed) != 0 {
            self.in_a_row.store(0, Ordering::Release);
        }
        if !bad && !is_slow {
            return None;
        }
        let (all, bad, slow) = self.sums(epoch);
        let is_above = |count: u64, share: u16| count * 10_000 >= all * u64::from(share) && count > 0;
        if all < u64::from(rules.samples) {
            return None;
        }
        if rules.errors.is_some_and(|share| is_above(bad, share)) {
            return self.open(rules, word, now, Opened::Errors);
        }
        let is_late = rules.slow.is_some_and(|bound| slow * 10_000 > all * u64::from(bound.share));
        if is_late { self.open(rules, word, now, Opened::Slow) } else { None }
    }

    /// (all, bad, slow) of the window that ends with `epoch`.
    fn sums(&self, epoch: u64) -> (u64, u64, u64) {
        let in_window = |bucket: &&Bucket| {
            let of = bucket.epoch.load(Ordering::Acquire);
            of <= epoch && of + BUCKETS as u64 > epoch
        };
        self.buckets.iter().filter(in_window).fold((0, 0, 0), |(all, bad, slow), bucket| {
            let read = |count: &AtomicU32| u64::from(count.load(Ordering::Acquire));
            (all + read(&bucket.all), bad + read(&bucket.bad), slow + read(&bucket.slow))
        })
    }

    fn open(&self, rules: &BreakerRules, word: u64, now: u64, cause: Opened) -> Option<Change> {
        let doublings = self.openings.load(Ordering::Acquire).min(20);
        let time = nanos(rules.open).saturating_mul(1 << doublings).min(nanos(rules.open_max));
        let until = now.saturating_add(time.max(4));
        let change = self.change(word, Phase::Open, until, cause);
        if change.is_some() {
            self.openings.fetch_add(1, Ordering::AcqRel);
            self.trials_left.store(rules.trials, Ordering::Release);
            self.trials_passed.store(0, Ordering::Release);
            self.forget();
        }
        change
    }

    /// What was counted so far counts no more.
    fn forget(&self) {
        self.buckets.iter().for_each(|bucket| bucket.epoch.store(0, Ordering::Release));
        self.in_a_row.store(0, Ordering::Release);
    }

    /// `None`: another worker was faster.
    fn change(&self, word: u64, to: Phase, at: u64, cause: Opened) -> Option<Change> {
        let from = unpack(word).0;
        let changed = self.word.compare_exchange(word, pack(to, at), Ordering::AcqRel, Ordering::Relaxed);
        changed.is_ok().then_some(Change { from, to, cause })
    }
}

/// Nanoseconds of one part of the window.
fn part(rules: &BreakerRules) -> u64 {
    (nanos(rules.window) / BUCKETS as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rules() -> BreakerRules {
        BreakerRules { samples: 10, consecutive: None, ..BreakerRules::default() }
    }

    struct Scene {
        breaker: Breaker,
        rules: BreakerRules,
        now: u64,
    }

    impl Scene {
        fn new(rules: BreakerRules) -> Self {
            Self { breaker: Breaker::default(), rules, now: 1_000 * SECOND }
        }

        fn pass(&self) -> Option<Pass> {
            self.breaker.admit(&self.rules, self.now, 0).0.ok()
        }

        fn tell(&self, bad: bool) -> Option<Phase> {
            self.breaker
                .observe(&self.rules, Pass::Plain, Some(bad), Some(1), self.now)
                .map(|change| change.to)
        }

        fn tell_trial(&self, bad: Option<bool>) -> Option<Phase> {
            self.breaker.observe(&self.rules, Pass::Trial, bad, Some(1), self.now).map(|change| change.to)
        }

        fn break_it(&mut self) {
            (0..self.rules.samples).for_each(|_| {
                let _ = self.tell(true);
            });
            assert_eq!(self.breaker.phase(), Phase::Open);
        }
    }

    #[test]
    fn a_share_of_errors_opens_it_but_not_before_there_are_samples() {
        let scene = Scene::new(rules());
        for _ in 0..5 {
            assert_eq!(scene.tell(false), None);
        }
        for _ in 0..4 {
            assert_eq!(scene.tell(true), None, "too few samples, or below the share");
        }
        assert_eq!(scene.tell(true), Some(Phase::Open), "5 of 10");
        assert_eq!(scene.pass(), None);
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let mut scene = Scene::new(rules());
        (0..9).for_each(|_| {
            let _ = scene.tell(true);
        });
        scene.now += 11 * SECOND;
        assert_eq!(scene.tell(true), None);
        (0..8).for_each(|_| {
            let _ = scene.tell(false);
        });
        assert_eq!(scene.tell(true), None, "2 of 10");
        scene.now += 5 * SECOND;
        (0..5).for_each(|_| {
            let _ = scene.tell(true);
        });
        assert_eq!(scene.tell(true), Some(Phase::Open), "8 of 16 in ten seconds");
    }

    #[test]
    fn errors_in_a_row_open_it_at_once() {
        let scene = Scene::new(BreakerRules { consecutive: Some(3), errors: None, ..rules() });
        for _ in 0..5 {
            assert_eq!((scene.tell(true), scene.tell(true), scene.tell(false)), (None, None, None));
        }
        assert_eq!((scene.tell(true), scene.tell(true)), (None, None));
        assert_eq!(scene.tell(true), Some(Phase::Open));
    }

    #[test]
    fn slow_answers_open_it_where_a_quantile_is_bounded() {
        let slow = Slow { share: 5_000, than: 100 };
        let scene = Scene::new(BreakerRules { slow: Some(slow), errors: None, ..rules() });
        let answer =
            |took| scene.breaker.observe(&scene.rules, Pass::Plain, Some(false), Some(took), scene.now);
        for _ in 0..10 {
            assert_eq!((answer(50), answer(150)), (None, None), "the median is at the bound");
        }
        assert_eq!(answer(101).map(|change| change.cause), Some(Opened::Slow));
    }

    #[test]
    fn opens_half_after_its_time_and_lets_only_trials_pass() {
        let mut scene = Scene::new(rules());
        scene.break_it();
        scene.now += 5 * SECOND - 8;
        let left = scene.breaker.admit(&scene.rules, scene.now, 0).0.unwrap_err();
        assert!(left <= Duration::from_nanos(8), "{left:?}");
        scene.now += 8;
        for _ in 0..3 {
            assert_eq!(scene.pass(), Some(Pass::Trial));
        }
        assert_eq!((scene.pass(), scene.breaker.phase()), (None, Phase::HalfOpen));
        assert_eq!(scene.tell(true), None, "what began before is of no account");
        assert_eq!((scene.tell_trial(Some(false)), scene.tell_trial(None)), (None, None));
        assert_eq!(scene.pass(), Some(Pass::Trial), "a trial that nobody waited for is given back");
        assert_eq!(scene.tell_trial(Some(false)), None);
        assert_eq!(scene.tell_trial(Some(false)), Some(Phase::Rising));
    }

    #[test]
    fn a_failed_trial_opens_it_for_twice_as_long() {
        let mut scene = Scene::new(rules());
        scene.break_it();
        for time in [5, 10, 20, 40, 80, 160, 300, 300] {
            scene.now += (time - 1) * SECOND;
            assert_eq!(scene.pass(), None, "after {time}");
            scene.now += SECOND;
            assert_eq!(scene.pass(), Some(Pass::Trial), "after {time}");
            assert_eq!(scene.tell_trial(Some(true)), Some(Phase::Open));
        }
    }

    #[test]
    fn rises_and_closes_and_opens_again_if_need_be() {
        let mut scene = Scene::new(rules());
        scene.break_it();
        scene.now += 5 * SECOND;
        (0..3).for_each(|_| assert_eq!(scene.pass(), Some(Pass::Trial)));
        (0..3).for_each(|_| {
            let _ = scene.tell_trial(Some(false));
        });
        assert_eq!(scene.breaker.phase(), Phase::Rising);
        let share = |scene: &Scene| {
            let steps = (0..1_000u64).map(|step| step << 54);
            steps.filter(|random| scene.breaker.admit(&scene.rules, scene.now, *random).0.is_ok()).count()
        };
        assert_eq!(share(&scene), 52, "a twentieth at least, of 1024 steps");
        scene.now += 5 * SECOND;
        assert!((505..=515).contains(&share(&scene)), "half: {}", share(&scene));
        scene.now += 5 * SECOND;
        assert_eq!(share(&scene), 1_000);
        assert_eq!(scene.breaker.phase(), Phase::Closed);
        scene.break_it();
        scene.now += 5 * SECOND;
        assert_eq!(scene.pass(), Some(Pass::Trial), "it had closed: the time begins anew");
    }

    #[test]
    fn workers_at_once_agree_on_one_change() {
        let breaker = Breaker::default();
        let rules = rules();
        let opened = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        let change = breaker.observe(&rules, Pass::Plain, Some(true), None, SECOND);
                        opened.fetch_add(u32::from(change.is_some()), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(opened.load(Ordering::Relaxed), 1);
        let trials = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let passed = breaker.admit(&rules, 100 * SECOND, 0).0;
                        trials.fetch_add(u32::from(passed.is_ok()), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(trials.load(Ordering::Relaxed), rules.trials);
    }
}
