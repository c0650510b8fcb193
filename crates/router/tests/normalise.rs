//! Normalisation: properties over hostile alphabets. The table of attacks is in the README and runs there.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is the failure")]

mod common;

use narthex_router::{EncodedSlashes, PathError, PathRules, decode_percent, normalise};
use proptest::prelude::*;
use proptest::sample::select;

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = select(vec![
        "/", "/", "//", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", "\\", ";", "%3b", "%", "%0", "%00",
        "%25", "252e", "a", "b", "~", "%7e", "%41", "%c3%a9", "%c0%af", "%ff", "é", "{", "|", " ", "*", "+",
        ":", "@", "\u{7f}", "?",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|p| format!("/{}", p.concat()).into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_normal_path_is_normal(raw in pieces(), keep in any::<bool>()) {
        let rules = PathRules { encoded_slashes: if keep { EncodedSlashes::Keep } else { EncodedSlashes::Refuse } };
        let mut buffer = String::from("left over");
        let Ok(path) = normalise(&raw, rules, &mut buffer).map(str::to_owned) else { return Ok(()) };
        prop_assert!(path.starts_with('/'));
        prop_assert!(!path.contains("//"), "{path}");
        for segment in path.split(['/', '\\']).chain(path.split("%2F")).chain(path.split("%5C")) {
            let name = segment.trim_start_matches('/').split([';', '/']).next().unwrap();
            prop_assert!(name != "." && name != "..", "{path}");
        }
        prop_assert!(path.bytes().all(|b| b.is_ascii_graphic() && !b"\\?#{}|^`<>\"[]".contains(&b)), "{path}");
        prop_assert!(keep || !(path.contains("%2F") || path.contains("%5C")), "{path}");
        let mut again = String::new();
        prop_assert_eq!(normalise(path.as_bytes(), rules, &mut again), Ok(path.as_str()));
        // Decoding once agrees with a plain decoder, and is text.
        let decoded = decode_percent(&path);
        prop_assert_eq!(decoded.as_bytes(), common::naive_decode(&path));
        prop_assert!(!decoded.contains('\0'));
    }

    #[test]
    fn any_bytes_are_taken_or_refused(raw in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut buffer = String::new();
        let _ = normalise(&raw, PathRules::default(), &mut buffer);
    }

    /// What the path means is kept: decoding before and after names the same resource.
    #[test]
    fn encoding_does_not_change_the_meaning(text in "[a-zA-Z0-9~_!@+;=,. -]{1,12}", upper in any::<bool>()) {
        prop_assume!(text != "." && text != "..");
        let escaped: String = text.bytes().map(|b| if upper { format!("%{b:02X}") } else { format!("%{b:02x}") }).collect();
        let mut one = String::new();
        let raw = format!("/{escaped}");
        match normalise(raw.as_bytes(), PathRules::default(), &mut one) {
            Ok(path) => prop_assert_eq!(decode_percent(&path[1..]), text.as_str()),
            Err(e) => prop_assert!(matches!(e, PathError::HiddenSegment(_)), "{e}"),
        }
    }
}

#[test]
fn a_plain_path_is_not_copied() {
    let mut buffer = String::new();
    let raw = b"/v1/products/8a7f-b.json";
    let path = normalise(raw, PathRules::default(), &mut buffer).unwrap();
    assert_eq!(path.as_ptr(), raw.as_ptr());
    assert_eq!(buffer.capacity(), 0);
}

#[test]
fn a_long_path_is_refused() {
    let raw = format!("/{}", "a".repeat(narthex_router::MAX_PATH));
    assert_eq!(normalise(raw.as_bytes(), PathRules::default(), &mut String::new()), Err(PathError::TooLong));
}
