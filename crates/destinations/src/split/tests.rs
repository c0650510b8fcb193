//! Shares over many draws and many values, stability, and how few move when weights change.

use narthex_contract::ServiceId;

use crate::testing::{compile, forwarded, id_of, plain_exchange, problems};

const DRAWS: u64 = 100_000;

/// Shares in points (hundredths) of the services, by draws with evenly strewn random bits.
fn shares(settings: &str, names: &[&str], value: impl Fn(u64) -> Option<String>) -> Vec<f64> {
    let destination = compile("split", settings);
    let mut exchange = plain_exchange();
    let mut counts = vec![0u64; names.len()];
    let mut random = 0x1234_5678_9abc_def0u64;
    for draw in 0..DRAWS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if let Some(value) = value(draw) {
            exchange.request_id = value;
        }
        // The upper bits of this generator are the good ones, so they are put on both sides.
        let chosen = forwarded(&*destination, &mut exchange, random ^ random >> 32);
        let at = names.iter().position(|name| id_of(name) == chosen).unwrap();
        counts[at] += 1;
    }
    counts.into_iter().map(|count| count as f64 * 100.0 / DRAWS as f64).collect()
}

fn assert_near(found: &[f64], expected: &[f64]) {
    for (found_one, expected_one) in found.iter().zip(expected) {
        assert!((found_one - expected_one).abs() < 0.3, "{found:?}, expected {expected:?}");
    }
}

#[test]
fn chance_keeps_the_shares() {
    let random = |_| None;
    assert_near(&shares("{ split: { a: 95, bb: 5 } }", &["a", "bb"], random), &[95.0, 5.0]);
    assert_near(
        &shares("{ split: { a: 1, bb: 1, ccc: 2, dddd: 0 } }", &["a", "bb", "ccc", "dddd"], random),
        &[25.0, 25.0, 50.0, 0.0],
    );
    assert_near(&shares("{ split: { a: 4294967295, bb: 4294967295 } }", &["a", "bb"], random), &[50.0, 50.0]);
}

#[test]
fn values_keep_the_shares() {
    let caller = |draw| Some(format!("caller-{draw}"));
    let number = |draw: u64| Some(draw.to_string());
    let settings = "{ split: { a: 95, bb: 5 }, sticky: request.id }";
    assert_near(&shares(settings, &["a", "bb"], caller), &[95.0, 5.0]);
    assert_near(&shares(settings, &["a", "bb"], number), &[95.0, 5.0]);
    let three = "{ split: { a: 1, bb: 2, ccc: 7, dddd: 0 }, sticky: request.id }";
    assert_near(&shares(three, &["a", "bb", "ccc", "dddd"], caller), &[10.0, 20.0, 70.0, 0.0]);
}

fn chosen_for(settings: &str, values: u64) -> Vec<ServiceId> {
    let destination = compile("split", settings);
    let mut exchange = plain_exchange();
    let mut chosen = Vec::new();
    for value in 0..values {
        exchange.request_id = format!("caller-{value}");
        chosen.push(forwarded(&*destination, &mut exchange, value.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    }
    chosen
}

#[test]
fn a_caller_stays_and_moves_only_where_the_weights_move_it() {
    let before = chosen_for("{ split: { a: 95, bb: 5 }, sticky: request.id }", 20_000);
    assert_eq!(
        before,
        chosen_for("{ split: { bb: 5, a: 95 }, sticky: request.id }", 20_000),
        "order does not matter"
    );
    let after = chosen_for("{ split: { a: 90, bb: 10 }, sticky: request.id }", 20_000);
    let moved = |from: &str, to: &str| {
        let (from, to) = (id_of(from), id_of(to));
        before.iter().zip(&after).filter(|(old, new)| **old == from && **new == to).count() as f64 / 200.0
    };
    assert_eq!(moved("bb", "a"), 0.0, "nobody comes back");
    assert!((moved("a", "bb") - 5.0).abs() < 0.6, "{} points move", moved("a", "bb"));
    let third = chosen_for("{ split: { a: 95, bb: 5, ccc: 25 }, sticky: request.id }", 20_000);
    let swapped = before.iter().zip(&third).filter(|(old, new)| old != new && **new != id_of("ccc")).count();
    assert_eq!(swapped, 0, "a new service takes callers, and moves none between the others");
}

#[test]
fn the_choice_is_the_same_for_ever() {
    let chosen = chosen_for("{ split: { a: 1, bb: 1 }, sticky: request.id }", 16);
    let word: String = chosen.iter().map(|id| if *id == id_of("a") { 'a' } else { 'b' }).collect();
    assert_eq!(word, GOLDEN, "an upgrade must not move callers");
}

const GOLDEN: &str = "bbbaaabaababaabb";

#[test]
fn without_a_value_chance_decides() {
    let destination = compile("split", "{ split: { a: 1, bb: 1 }, sticky: cookie.no }");
    let mut exchange = plain_exchange();
    assert_eq!(forwarded(&*destination, &mut exchange, 0), id_of("a"));
    assert_eq!(forwarded(&*destination, &mut exchange, u64::MAX), id_of("bb"));
}

#[test]
fn what_is_refused_at_compile() {
    for (settings, expected) in [
        ("{ split: {} }", "names no service"),
        ("{ split: { a: 0, bb: 0 } }", "all weights are 0"),
        ("{ split: { a: -1 } }", "-1"),
        ("{ split: { missing: 1 } }", "undefined_service"),
        ("{ split: { a: 1 }, sticky: caller.it }", "did you mean `caller.id`?"),
        ("{ split: { a: 1 }, stick: caller.id }", "sticky"),
    ] {
        let told = problems("split", settings);
        assert!(told.contains(expected), "{settings}: {told}");
    }
}
