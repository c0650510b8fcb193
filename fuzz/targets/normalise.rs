#![no_main]
//! Paths: normalising twice changes nothing, and nothing that separates or hides a segment survives.

use libfuzzer_sys::fuzz_target;
use narthex_router::{EncodedSlashes, PathRules, normalise};

fuzz_target!(|data: &[u8]| {
    for encoded_slashes in [EncodedSlashes::Refuse, EncodedSlashes::Keep] {
        let rules = PathRules { encoded_slashes };
        let mut buffer = String::new();
        let Ok(path) = normalise(data, rules, &mut buffer) else { continue };
        let path = path.to_owned();
        assert!(path.starts_with('/') && !path.contains("//"), "{path}");
        for segment in path[1..].split('/') {
            let name = segment.split(';').next().unwrap_or_default();
            assert!(!matches!(name, "." | ".."), "a dot segment is left: {path}");
            let lower = name.to_ascii_lowercase().replace("%2e", ".");
            assert!(!matches!(&*lower, "." | ".."), "an encoded dot segment is left: {path}");
        }
        assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path:?}");
        assert!(!path.contains(['?', '#', '\\']), "{path}");
        let lower = path.to_ascii_lowercase();
        assert!(!lower.contains("%00"), "{path}");
        if encoded_slashes == EncodedSlashes::Refuse {
            assert!(!lower.contains("%2f") && !lower.contains("%5c"), "{path}");
        }
        let mut second = String::new();
        assert_eq!(normalise(path.as_bytes(), rules, &mut second), Ok(path.as_str()), "twice is not once");
    }
});
