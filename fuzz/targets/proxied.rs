#![no_main]
//! The PROXY protocol's header: no bytes crash it, a header lies within what came and within its bound, and more bytes
//! behind it change nothing.

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/net/src/proxied.rs"]
mod proxied;

use proxied::{Proxied, read};

const BOUND: usize = 1024;

fuzz_target!(|data: &[u8]| {
    let found = read(data, BOUND);
    if let Proxied::Header { length, .. } = found {
        assert!(length <= data.len() && length <= BOUND);
        assert_eq!(read(&data[..length], BOUND), found, "it ends where it says");
        assert_eq!(read(&data[..length - 1], BOUND), Proxied::Partial, "and not before");
    }
});
