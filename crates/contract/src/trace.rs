//! W3C Trace Context (`traceparent`): read, continued, written. No allocation.

use narthex_wire::{Head, Known, hex8, hex16};

/// The trace that an exchange belongs to. Ids are big-endian bytes; all zero means none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TraceContext {
    pub trace_id: [u8; 16],
    /// The gateway's own span.
    pub span_id: [u8; 8],
    /// The caller's span, where the trace was continued.
    pub parent_id: Option<[u8; 8]>,
    pub flags: u8,
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl TraceContext {
    /// Continues the request's trace, or begins one with `random` (sampled flag set only by who began it).
    pub fn begin(head: &Head, random: [u64; 3]) -> Self {
        let span_id = nonzero(random[2]).to_be_bytes();
        match head.get_known(Known::Traceparent).and_then(parse) {
            Some((trace_id, parent, flags)) => Self { trace_id, span_id, parent_id: Some(parent), flags },
            None => {
                let mut trace_id = [0; 16];
                trace_id[..8].copy_from_slice(&nonzero(random[0]).to_be_bytes());
                trace_id[8..].copy_from_slice(&random[1].to_be_bytes());
                Self { trace_id, span_id, parent_id: None, flags: 0 }
            }
        }
    }

    /// `00-<trace id>-<span id>-<flags>`, 55 bytes.
    pub fn to_header(self) -> [u8; 55] {
        let mut out = [b'-'; 55];
        out[..2].copy_from_slice(b"00");
        out[3..35].copy_from_slice(&hex16(self.trace_id));
        out[36..52].copy_from_slice(&hex8(self.span_id));
        out[53] = HEX[usize::from(self.flags >> 4)];
        out[54] = HEX[usize::from(self.flags & 15)];
        out
    }

    pub fn trace_id_hex(self) -> [u8; 32] {
        hex16(self.trace_id)
    }
}

fn nonzero(value: u64) -> u64 {
    if value == 0 { 1 } else { value }
}

/// Per W3C Trace Context 3.2: version `ff`, zero ids and upper case are invalid; a later version may be longer.
fn parse(value: &[u8]) -> Option<([u8; 16], [u8; 8], u8)> {
    if value.len() < 55 || value[2] != b'-' || value[35] != b'-' || value[52] != b'-' {
        return None;
    }
    let version = read_hex::<1>(&value[..2])?[0];
    let longer_is_valid = version > 0 && value.get(55) == Some(&b'-');
    if version == 0xff || (value.len() > 55 && !longer_is_valid) {
        return None;
    }
    let trace_id = read_hex::<16>(&value[3..35])?;
    let parent = read_hex::<8>(&value[36..52])?;
    let flags = read_hex::<1>(&value[53..55])?[0];
    (trace_id != [0; 16] && parent != [0; 8]).then_some((trace_id, parent, flags & 1))
}

fn read_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(out)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use narthex_wire::Name;

    fn begun(value: &str) -> TraceContext {
        let mut head = Head::new();
        head.append(&Name::known(Known::Traceparent), value.as_bytes()).unwrap();
        TraceContext::begin(&head, [1, 2, 3])
    }

    #[test]
    fn continues_a_valid_trace() {
        let trace = begun("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(&trace.trace_id_hex(), b"0af7651916cd43dd8448eb211c80319c");
        assert_eq!(trace.parent_id.map(|id| id[0]), Some(0xb7));
        assert_eq!(&trace.to_header()[..], b"00-0af7651916cd43dd8448eb211c80319c-0000000000000003-01");
    }

    #[test]
    fn begins_anew_where_the_header_is_invalid() {
        for bad in [
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
        ] {
            let trace = begun(bad);
            assert_eq!(trace.parent_id, None, "{bad}");
            assert_eq!(trace.span_id[7], 3, "{bad}");
        }
    }

    #[test]
    fn a_later_version_may_be_longer() {
        assert!(begun("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x").parent_id.is_some());
    }
}
