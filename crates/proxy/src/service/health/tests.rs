//! The keeper in fake time: what ejects, what brings back, what is never done.

use std::sync::Arc;
use std::time::Duration;

use narthex_contract::core;
use proptest::prelude::*;

use super::*;
use crate::service::balance::{Balance, Draw, Wish};
use crate::service::{InstanceSet, Member, Outcome, State};

const SECOND: u64 = 1_000_000_000;

fn outliers() -> OutlierRules {
    OutlierRules {
        errors: 5,
        local: 3,
        every: Duration::from_secs(10),
        eject: Duration::from_secs(30),
        eject_max: Duration::from_secs(300),
        max_ejected: 0.1,
        success_rate: None,
        failures: None,
    }
}

fn state(count: u16, rules: Rules) -> Arc<State> {
    let state = State::new();
    state.govern(rules, SECOND);
    let members: Vec<Member> =
        (0..count).map(|at| (std::net::SocketAddr::from(([10, 0, 0, 1], 1_000 + at)), 1).into()).collect();
    state.update(&members);
    state.tick(SECOND);
    state
}

fn with(outliers: OutlierRules) -> Rules {
    Rules { outliers: Some(outliers), ..Rules::default() }
}

fn set(state: &State) -> Arc<InstanceSet> {
    state.instances.load_full()
}

fn note(state: &State, at: usize, outcome: Outcome, times: usize, rules: &OutlierRules) {
    for _ in 0..times {
        set(state).all[at].standing.count(&outcome, rules);
    }
}

const BAD: Outcome = Outcome::Answered { status: 503, took: 1 };
const GOOD: Outcome = Outcome::Answered { status: 200, took: 1 };

fn used(state: &State) -> Vec<u16> {
    let set = set(state);
    let mut ports: Vec<_> = (0..200)
        .filter_map(|position| {
            let draw = Draw { position, random: 0, now: 1, wish: Wish::default(), avoid: &[] };
            Some(set.pick(&Balance::RoundRobin, &draw)?.address.socket()?.port() - 1_000)
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn ejections(tick: &Tick) -> Vec<(u16, EjectCause, u64)> {
    let one = |change: &HealthChange| match change {
        HealthChange::Ejected { instance, cause, time } => {
            Some((instance.socket()?.port() - 1_000, *cause, time.as_secs()))
        }
        _ => None,
    };
    tick.changes.iter().filter_map(one).collect()
}

#[test]
fn errors_in_a_row_eject_and_time_brings_back_without_any_check() {
    let rules = outliers();
    let state = state(3, with(rules.clone()));
    note(&state, 1, BAD, 4, &rules);
    note(&state, 1, GOOD, 1, &rules);
    note(&state, 1, BAD, 4, &rules);
    assert_eq!(ejections(&state.tick(2 * SECOND)), [], "the row was broken");
    note(&state, 1, BAD, 1, &rules);
    let tick = state.tick(2 * SECOND);
    assert_eq!(ejections(&tick), [(1, EjectCause::Errors, 30)]);
    assert_eq!(used(&state), [0, 2]);
    assert!(tick.next.is_some_and(|next| next <= 32 * SECOND));
    assert_eq!(set(&state).all[1].standing.health(), Health::Ejected(EjectCause::Errors));
    assert!(state.tick(32 * SECOND - 1).changes.is_empty());
    assert_eq!(state.tick(32 * SECOND).changes.len(), 1);
    assert_eq!(used(&state), [0, 1, 2]);
}

#[test]
fn no_answers_are_counted_apart_and_clients_faults_not_at_all() {
    let rules = outliers();
    let state = state(3, with(rules.clone()));
    let local = Outcome::failed(core::CONNECT_FAILED);
    note(&state, 0, BAD, 4, &rules);
    note(&state, 0, local, 2, &rules);
    note(&state, 2, Outcome::Answered { status: 429, took: 1 }, 50, &rules);
    note(&state, 2, Outcome::Abandoned, 50, &rules);
    note(&state, 2, Outcome::failed(core::SERVICE_BUSY), 50, &rules);
    assert_eq!(ejections(&state.tick(2 * SECOND)), []);
    note(&state, 0, local, 1, &rules);
    assert_eq!(ejections(&state.tick(2 * SECOND)), [(0, EjectCause::Local, 30)]);
}

#[test]
fn each_time_is_longer_up_to_the_most_and_good_conduct_is_forgiven() {
    let rules = outliers();
    let state = state(2, with(rules.clone()));
    let mut now = 2 * SECOND;
    let mut times = Vec::new();
    for _ in 0..12 {
        note(&state, 0, BAD, 5, &rules);
        let ejected = ejections(&state.tick(now));
        times.push(ejected[0].2);
        now += ejected[0].2 * SECOND;
        state.tick(now);
    }
    // The look of the interval at the end of each ejection forgives one.
    assert!(times.is_sorted() && times[0] == 30 && times.iter().all(|time| *time <= 300), "{times:?}");
    let worst = *times.last().unwrap();
    for _ in 0..20 {
        now += 10 * SECOND;
        state.tick(now);
    }
    note(&state, 0, BAD, 5, &rules);
    assert_eq!(ejections(&state.tick(now))[0].2, 30, "after {worst} and a long time of good conduct");
}

#[test]
fn the_only_one_stays_and_of_two_one() {
    let rules = outliers();
    let alone = state(1, with(rules.clone()));
    note(&alone, 0, BAD, 50, &rules);
    assert_eq!(ejections(&alone.tick(2 * SECOND)), []);
    let two = state(2, with(rules.clone()));
    note(&two, 0, BAD, 5, &rules);
    note(&two, 1, BAD, 5, &rules);
    assert_eq!(ejections(&two.tick(2 * SECOND)).len(), 1);
    // The other one goes on failing: it is judged again when there is room.
    note(&two, 1, BAD, 5, &rules);
    assert_eq!(ejections(&two.tick(3 * SECOND)), []);
    state_after_return(&two, &rules);
}

fn state_after_return(two: &State, rules: &OutlierRules) {
    two.tick(40 * SECOND);
    note(two, 1, BAD, 5, rules);
    assert_eq!(ejections(&two.tick(41 * SECOND)), [(1, EjectCause::Errors, 30)]);
}

#[test]
fn who_is_worse_than_the_others_is_found_by_its_rate() {
    let success_rate = Some(SuccessRate { hosts: 5, requests: 100, deviations: 1.9 });
    let rules = OutlierRules { errors: 0, local: 0, success_rate, ..outliers() };
    let state = state(6, with(rules.clone()));
    for at in 0..6 {
        note(&state, at, GOOD, 98, &rules);
        note(&state, at, BAD, if at == 4 { 30 } else { 2 }, &rules);
    }
    assert_eq!(ejections(&state.tick(5 * SECOND)), [], "the interval is not over");
    assert_eq!(ejections(&state.tick(11 * SECOND)), [(4, EjectCause::SuccessRate, 30)]);
    // All alike, however badly: nobody is an outlier.
    for at in 0..6 {
        note(&state, at, BAD, 100, &rules);
    }
    assert_eq!(ejections(&state.tick(60 * SECOND)), []);
}

#[test]
fn who_fails_too_often_is_found_by_its_share() {
    let failures = Some(FailureShare { share: 0.85, hosts: 1, requests: 50 });
    let rules = OutlierRules { errors: 0, local: 0, failures, max_ejected: 1.0, ..outliers() };
    let state = state(3, with(rules.clone()));
    for (at, good, bad) in [(0, 15, 85), (1, 16, 84), (2, 0, 49)] {
        note(&state, at, GOOD, good, &rules);
        note(&state, at, BAD, bad, &rules);
    }
    assert_eq!(ejections(&state.tick(11 * SECOND)), [(0, EjectCause::Failures, 30)]);
}

#[test]
fn checks_turn_and_panic_is_said() {
    let checks = Some(CheckRules { healthy: 1, unhealthy: 1 });
    let state = state(3, Rules { checks, ..Rules::default() });
    let set = self::set(&state);
    assert_eq!(set.all[0].standing.health(), Health::Unknown);
    assert!(set.is_panic(), "nobody is known to be well: all are used");
    for instance in &set.all {
        assert!(state.checked(instance, true));
    }
    assert_eq!(state.tick(2 * SECOND).changes, [], "it was no panic: nobody had looked yet");
    assert!(!self::set(&state).is_panic());
    assert!(state.checked(&set.all[0], false));
    assert_eq!(state.tick(3 * SECOND).changes, []);
    assert_eq!(used(&state), [1, 2]);
    assert!(state.checked(&set.all[1], false));
    let tick = state.tick(4 * SECOND);
    assert_eq!(tick.changes, [HealthChange::Panic { begins: true, well: 1, all: 3 }]);
    assert_eq!(used(&state), [0, 1, 2]);
    state.govern(Rules::default(), 5 * SECOND);
    assert!(state.instances.load().all.iter().all(|one| one.standing.health() == Health::Well));
}

#[test]
fn what_is_known_of_an_address_outlives_its_weight_and_a_reload() {
    let rules = outliers();
    let state = state(3, with(rules.clone()));
    note(&state, 0, BAD, 5, &rules);
    state.tick(2 * SECOND);
    state.govern(with(rules), 3 * SECOND);
    let members: Vec<Member> = set(&state).all.iter().map(|one| (one.address, 7).into()).collect();
    state.update(&members);
    assert_eq!(used(&state), [1, 2]);
}

#[test]
fn who_comes_begins_slowly() {
    let window = Duration::from_secs(100);
    let state = state(2, Rules { slow_start: Some(window), ..Rules::default() });
    state.tick(200 * SECOND);
    let all: Vec<Member> = set(&state).all.iter().map(|one| (one.address, 1).into()).collect();
    let fresh: Member = (std::net::SocketAddr::from(([10, 0, 0, 1], 1_002)), 1).into();
    state.update(&[all, vec![fresh]].concat());
    let mut weights = Vec::new();
    for second in [200, 201, 230, 260, 299, 300] {
        let tick = state.tick(second * SECOND);
        let plan = set(&state).plan.weights.clone();
        weights.push(plan[2] as f64 / plan[0] as f64);
        assert_eq!(tick.next.is_some(), second < 300, "at {second}");
    }
    assert_eq!(weights, [0.1, 0.1, 0.3, 0.6, 0.99, 1.0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens: never more are ejected than allowed, somebody is always used, and all come back by themselves.
    #[test]
    fn ejection_is_bounded_and_ends(
        count in 1u16..12,
        share in 0.0f64..0.6,
        steps in prop::collection::vec((0u64..20, prop::collection::vec((0usize..12, 0u8..3, 1usize..8), 0..6)), 1..30),
    ) {
        let rules = OutlierRules { max_ejected: share, ..outliers() };
        let state = state(count, with(rules.clone()));
        let mut now = SECOND;
        for (seconds, notes) in steps {
            for (at, kind, times) in notes {
                let outcome = [GOOD, BAD, Outcome::failed(core::CONNECT_FAILED)][usize::from(kind)];
                note(&state, at % usize::from(count), outcome, times, &rules);
            }
            now += seconds * SECOND;
            let tick = state.tick(now);
            let ejected = set(&state).all.iter().filter(|one| one.standing.health() != Health::Well).count();
            let most = if count == 1 { 0 } else { ((f64::from(count) * share) as usize).max(1) };
            prop_assert!(ejected <= most);
            prop_assert!(!used(&state).is_empty());
            prop_assert!(tick.next.is_some_and(|next| next > now));
        }
        state.tick(now + 301 * SECOND);
        prop_assert_eq!(used(&state).len(), usize::from(count));
    }
}
