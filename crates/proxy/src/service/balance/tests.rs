//! Picking: each way to balance against a set that was made by hand.

use narthex_wire::Address;
use std::sync::Arc;

use super::*;
use crate::service::{Member, State};

fn state(weights: &[u32], rules: crate::service::Rules) -> Arc<State> {
    let state = State::new();
    state.govern(rules, 1);
    let members: Vec<Member> =
        weights.iter().enumerate().map(|(at, weight)| (address(at), *weight).into()).collect();
    state.update(&members);
    state
}

fn address(at: usize) -> Address {
    Address::Ip(([127, 0, 0, 1], 1_000 + at as u16).into())
}

fn draw(position: u32, random: u64) -> Draw<'static> {
    Draw { position, random, now: 1, wish: Wish::default(), avoid: &[] }
}

fn hashes() -> crate::service::Rules {
    crate::service::Rules { hashes: true, ..Default::default() }
}

fn by_hash() -> Balance {
    let place = narthex_contract::Place::Gateway("g");
    Balance::Hash(Variable::parse("client.ip", &place).unwrap())
}

#[test]
fn avoids_the_instance_that_failed_where_there_is_another() {
    for balance in [Balance::RoundRobin, Balance::Random, Balance::LeastRequest, Balance::Ewma, by_hash()] {
        let state = state(&[1, 1], hashes());
        let set = state.instances.load();
        let wish = Wish { hash: Some(7), tag: None, subset: None };
        let first = set.pick(&balance, &Draw { wish, ..draw(0, 0) }).unwrap();
        let other = set.pick(&balance, &Draw { wish, avoid: &[first.id], ..draw(0, 0) }).unwrap();
        assert_ne!(first.id, other.id, "{balance:?}");
        let both = [first.id, other.id];
        assert!(set.pick(&balance, &Draw { wish, avoid: &both, ..draw(0, 0) }).is_some(), "{balance:?}");
        assert!(InstanceSet::default().pick(&balance, &Draw { wish, ..draw(0, 0) }).is_none());
    }
}

#[test]
fn random_follows_the_weights() {
    let state = state(&[3, 1, 0], Default::default());
    let set = state.instances.load();
    let mut counts = [0; 3];
    for random in 0..4_000u64 {
        let picked = set.pick(&Balance::Random, &draw(0, maglev::hash(&random.to_le_bytes()))).unwrap();
        counts[usize::from(picked.address.socket().unwrap().port() - 1_000)] += 1;
    }
    assert!((2_800..3_200).contains(&counts[0]), "{counts:?}");
    assert_eq!(counts[2], 0);
}

#[test]
fn equal_values_go_to_equal_instances_and_no_value_goes_round() {
    let state = state(&[1; 8], hashes());
    let set = state.instances.load();
    for key in 0..200u64 {
        let wish = Wish { hash: Some(maglev::hash(&key.to_le_bytes())), tag: None, subset: None };
        let at = |position| set.pick(&by_hash(), &Draw { wish, ..draw(position, 0) }).unwrap().id;
        assert_eq!(at(0), at(5));
    }
    let ports: ahash::AHashSet<_> =
        (0..8).map(|position| set.pick(&by_hash(), &draw(position, 0)).unwrap().address).collect();
    assert_eq!(ports.len(), 8);
}

#[test]
fn the_faster_of_two_is_asked() {
    let state = state(&[1, 1], Default::default());
    let set = state.instances.load();
    set.all[0].standing.ewma.note(50_000_000, 1);
    set.all[1].standing.ewma.note(5_000_000, 1);
    // Both are drawn: 0 and 1.
    let picked = set.pick(&Balance::Ewma, &draw(0, 1 << 32)).unwrap();
    assert_eq!(picked.address, address(1));
    let busy: Vec<_> =
        (0..20).map(|_| set.all[1].in_flight.fetch_add(1, std::sync::atomic::Ordering::Relaxed)).collect();
    assert_eq!(set.pick(&Balance::Ewma, &draw(0, 1 << 32)).unwrap().address, address(0), "after {busy:?}");
}

#[test]
fn the_cookie_names_the_instance_until_it_is_gone() {
    let key = StickyKey::new(b"a key that the fleet shares", "s");
    let rules = CookieRules {
        name: "shop".into(),
        path: "/".into(),
        domain: None,
        lifetime: None,
        secure: false,
        http_only: true,
        same_site: SameSite::Lax,
    };
    let balance = Balance::Sticky(Sticky::new(key.clone(), &rules));
    let governed = crate::service::Rules { sticky: Some(key), ..Default::default() };
    let state = state(&[1; 5], governed);
    let set = state.instances.load_full();
    let first = set.pick(&balance, &draw(3, 0)).unwrap();
    let tag = set.tag_of(first, &Wish::default()).expect("the client has no cookie yet");
    let wish = Wish { hash: None, tag: Some(tag), subset: None };
    for position in 0..10 {
        let again = set.pick(&balance, &Draw { wish, ..draw(position, 0) }).unwrap();
        assert_eq!(again.id, first.id);
        assert_eq!(set.tag_of(again, &wish), None, "the cookie says so already");
    }
    let left: Vec<Member> =
        (0..5).filter(|at| address(*at) != first.address).map(|at| (address(at), 1).into()).collect();
    state.update(&left);
    let set = state.instances.load_full();
    let other = set.pick(&balance, &Draw { wish, ..draw(0, 0) }).unwrap();
    assert_ne!(other.address, first.address);
    assert!(set.tag_of(other, &wish).is_some(), "a new cookie");
}

#[test]
fn a_label_chooses_and_the_fallback_is_as_written() {
    let state = State::new();
    state.govern(hashes(), 1);
    let labels = ["v1", "v1", "v2"];
    let members: Vec<Member> = labels
        .iter()
        .enumerate()
        .map(|(at, label)| {
            let place = crate::service::Whereabouts { label: Some((*label).into()), ..Default::default() };
            Member { address: address(at), weight: 1, place }
        })
        .collect();
    state.update(&members);
    let set = state.instances.load_full();
    let used = |balance: &Balance, label: &str, or_any: bool| {
        let picked = (0..64).filter_map(|position| {
            let wish = Wish {
                hash: Some(maglev::hash(&[position as u8])),
                tag: None,
                subset: Some((hash(label.as_bytes()), or_any)),
            };
            set.pick(balance, &Draw { wish, ..draw(position, maglev::hash(&[position as u8])) })
        });
        let mut ports: Vec<_> = picked.map(|one| one.address.socket().unwrap().port() - 1_000).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    };
    for balance in [Balance::RoundRobin, Balance::Random, Balance::LeastRequest, by_hash()] {
        assert_eq!(used(&balance, "v1", false), [0, 1], "{balance:?}");
        assert_eq!(used(&balance, "v2", false), [2], "{balance:?}");
        assert_eq!(used(&balance, "v3", true), [0, 1, 2], "{balance:?}");
        assert!(used(&balance, "v3", false).is_empty(), "{balance:?}");
    }
}
