//! The name of a TLS client: more bytes never change what was said, and into which records a ClientHello is cut says
//! nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use narthex_wire::{ClientHello, client_hello};

/// Bytes whose every beginning is looked at.
const CUT: usize = 512;

fuzz_target!(|bytes: &[u8]| {
    let mut said = ClientHello::Partial;
    for end in 0..=bytes.len().min(CUT) {
        let now = client_hello(&bytes[..end]);
        assert!(said == ClientHello::Partial || said == now, "{said:?} and then {now:?} at {end}");
        said = now;
    }
    if let ClientHello::Whole(Some(name)) = client_hello(bytes) {
        assert!(!name.is_empty() && name.len() <= bytes.len());
        assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()));
    }
    let Some((size, body)) = bytes.split_first() else { return };
    let body = &body[..body.len().min(1 << 14)];
    if body.is_empty() {
        return;
    }
    let size = usize::from(*size).max(1);
    let cut: Vec<u8> = body.chunks(size).flat_map(record).collect();
    let whole = client_hello(&record(body));
    let records = client_hello(&cut);
    // Records that follow a whole ClientHello are not looked at, nor is what follows it in its own.
    assert_eq!(whole, records);
});

/// One handshake record.
fn record(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("it is at most 16 KiB").to_be_bytes();
    [&[22, 3, 1], &length[..], content].concat()
}
