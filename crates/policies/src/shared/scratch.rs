//! One reusable buffer per thread for text that lives as long as one call.
//!
//! Never held across a suspension: the closure is synchronous.

use std::cell::Cell;

/// More than this is given back after use, so that one long value does not stay for ever.
const KEPT: usize = 64 * 1024;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Runs `work` with an empty buffer. Calls may be nested: an inner one gets a buffer of its own.
pub fn with_scratch<R>(work: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut buffer = BUFFER.take();
    buffer.clear();
    let result = work(&mut buffer);
    if buffer.capacity() <= KEPT {
        BUFFER.set(buffer);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_empty_and_nests() {
        with_scratch(|outer| {
            outer.extend_from_slice(b"outer");
            with_scratch(|inner| {
                assert!(inner.is_empty());
                inner.extend_from_slice(b"inner");
            });
            assert_eq!(outer, b"outer");
        });
        with_scratch(|again| assert!(again.is_empty()));
    }

    #[test]
    fn keeps_ordinary_capacity_and_drops_excess() {
        with_scratch(|buffer| buffer.reserve_exact(100));
        with_scratch(|buffer| assert!(buffer.capacity() >= 100));
        with_scratch(|buffer| buffer.reserve_exact(KEPT + 1));
        with_scratch(|buffer| assert!(buffer.capacity() <= KEPT));
    }
}
