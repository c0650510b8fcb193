//! Takes a client's id over or makes a new one, and puts it where it is wanted.
//!
//! No generator of its own: a new id is the core's (128 random bits). Where the core's is not to be had, because the
//! client sent an id that is not taken over, it is mixed from the exchange's own span id (64 fresh random bits), the
//! clocks, and keys that are random per process: two are equal only where span id and a keyed hash of both are.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;
use narthex_contract::{Exchange, Flow, Hooks, Policy, RequestCx, ResponseCx};
use narthex_wire::{Head, Known, Name};

use super::{Config, Format};
use crate::shared::scratch::with_scratch;

const X_REQUEST_ID: Name = Name::known(Known::XRequestId);
/// The longest id that is taken over from a client, in bytes.
const LONGEST: usize = 128;

pub struct RequestId {
    header: Name,
    format: Format,
    accept: bool,
    forward: bool,
    echo: bool,
    keys: RandomState,
    prefix: u64,
    count: AtomicU64,
}

impl RequestId {
    pub(super) fn new(header: Name, config: &Config) -> Self {
        let keys = RandomState::new();
        let prefix = keys.hash_one("the prefix of counted ids");
        let (format, accept, forward, echo) = (config.format, config.accept, config.forward, config.echo);
        Self { header, format, accept, forward, echo, keys, prefix, count: AtomicU64::new(0) }
    }

    fn is_core_header(&self) -> bool {
        self.header.as_known() == Some(Known::XRequestId)
    }

    /// Writes the client's own id where there is one to take over.
    fn take_over(&self, exchange: &Exchange, out: &mut Vec<u8>) -> bool {
        if !self.accept {
            return false;
        }
        let given = match self.is_core_header() {
            // The core has read that field, and replaced it on the request.
            true => exchange.request_id_is_given.then_some(exchange.request_id.as_bytes()),
            false => exchange.request.head.get(&self.header),
        };
        let is_well_formed =
            |id: &&[u8]| !id.is_empty() && id.len() <= LONGEST && id.iter().all(u8::is_ascii_graphic);
        match given.filter(is_well_formed) {
            Some(id) => out.extend_from_slice(id),
            None => return false,
        }
        true
    }

    fn make(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        let written = match self.format {
            Format::Hex => write!(out, "{:032x}", self.random_bits(exchange)),
            Format::Uuid => write_uuid(self.random_bits(exchange), out),
            Format::Counter => {
                let count = self.count.fetch_add(1, Ordering::Relaxed);
                write!(out, "{:016x}-{count}", self.prefix)
            }
        };
        written.expect("writing to a Vec cannot fail");
    }

    fn random_bits(&self, exchange: &Exchange) -> u128 {
        let core = &exchange.request_id;
        let is_cores = !exchange.request_id_is_given && core.len() == 32 && !core.starts_with('+');
        if let (true, Ok(bits)) = (is_cores, u128::from_str_radix(core, 16)) {
            return bits;
        }
        let span = u64::from_be_bytes(exchange.trace.span_id);
        // Multiplying by an odd number loses nothing of the span id, and keeps it from being shown as it is.
        let high = span.wrapping_mul(self.prefix | 1);
        let low = self.keys.hash_one((span, exchange.began.monotonic, exchange.began.unix_ms));
        u128::from(high) << 64 | u128::from(low)
    }
}

impl Policy for RequestId {
    fn hooks(&self) -> Hooks {
        if self.echo { Hooks::REQUEST.and(Hooks::RESPONSE) } else { Hooks::REQUEST }
    }

    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let exchange = &mut *cx.exchange;
        with_scratch(|id| {
            if !self.take_over(exchange, id) {
                self.make(exchange, id);
            }
            exchange.request_id.clear();
            exchange.request_id.push_str(std::str::from_utf8(id).unwrap_or_default());
            exchange.request_id_is_handled = true;
            let head = &mut exchange.request.head;
            head.remove(&X_REQUEST_ID);
            head.remove(&self.header);
            if self.forward {
                put(head, &self.header, id);
            }
        });
        Flow::Continue
    }

    fn on_response<'a>(&'a self, cx: &'a mut ResponseCx<'_>) -> Flow<'a> {
        let head = &mut cx.response.head;
        head.remove(&self.header);
        put(head, &self.header, cx.exchange.request_id.as_bytes());
        Flow::Continue
    }
}

/// RFC 9562 section 5.4: version 4, variant 10.
fn write_uuid(bits: u128, out: &mut Vec<u8>) -> std::io::Result<()> {
    let bits = bits & !(0xf << 76) & !(0b11 << 62) | (0x4 << 76) | (0b10 << 62);
    let part = |shift: u32, width: u32| bits >> shift & ((1 << width) - 1);
    let (a, b, c, d, e) = (part(96, 32), part(80, 16), part(64, 16), part(48, 16), part(0, 48));
    write!(out, "{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
}

fn put(head: &mut Head, name: &Name, value: &[u8]) {
    let stored = head.append(name, value);
    debug_assert!(stored.is_ok(), "an id is visible ASCII, and the name was checked");
}
