//! Lower-case hexadecimal, all digits at once: ids are written on every request. Reads none.

use ascii::AsAsciiStr;
use wide::u8x16;

/// The low half of every byte.
const LOW: u128 = u128::from_le_bytes([0x0f; 16]);

/// The digits of sixteen bytes.
#[inline]
pub fn hex16(bytes: [u8; 16]) -> [u8; 32] {
    let (high, low) = halves(bytes);
    let mut out = [0; 32];
    out[..16].copy_from_slice(&digits(u8x16::unpack_low(high, low)));
    out[16..].copy_from_slice(&digits(u8x16::unpack_high(high, low)));
    out
}

/// The digits of eight bytes.
#[inline]
pub fn hex8(bytes: [u8; 8]) -> [u8; 16] {
    let mut wide = [0; 16];
    wide[..8].copy_from_slice(&bytes);
    let (high, low) = halves(wide);
    digits(u8x16::unpack_low(high, low))
}

/// Appends the digits of sixteen bytes.
#[inline]
pub fn push_hex(out: &mut String, bytes: [u8; 16]) {
    let digits = hex16(bytes);
    out.push_str(digits.as_ascii_str().expect("digits are ASCII").as_str());
}

#[inline]
fn halves(bytes: [u8; 16]) -> (u8x16, u8x16) {
    let bits = u128::from_le_bytes(bytes);
    (u8x16::new((bits >> 4 & LOW).to_le_bytes()), u8x16::new((bits & LOW).to_le_bytes()))
}

/// 0 to 9 and `a` to `f`: the letters stand 39 places behind where the digits would go on.
#[inline]
fn digits(halves: u8x16) -> [u8; 16] {
    let is_decimal = halves.min(u8x16::splat(9)).simd_eq(halves);
    (halves + u8x16::splat(b'a' - 10) - (is_decimal & u8x16::splat(b'a' - 10 - b'0'))).to_array()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_every_byte_as_the_formatter_does() {
        for first in (0..=255u8).step_by(16) {
            let bytes: [u8; 16] = std::array::from_fn(|at| first + at as u8);
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(&hex16(bytes)[..], text.as_bytes());
            assert_eq!(&hex8(*bytes.first_chunk().unwrap())[..], &text.as_bytes()[..16]);
        }
    }
}
