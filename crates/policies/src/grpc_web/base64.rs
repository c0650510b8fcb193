//! Base64 (RFC 4648 section 4) one group at a time, as a stream needs it: any group may be the padded end of a part.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The four characters of one to three bytes.
pub fn encode(bytes: &[u8]) -> [u8; 4] {
    let at = |index: usize| u32::from(bytes.get(index).copied().unwrap_or(0));
    let bits = at(0) << 16 | at(1) << 8 | at(2);
    let mut group = [b'='; 4];
    for (index, character) in group.iter_mut().enumerate().take(bytes.len() + 1) {
        let six = (bits >> (18 - 6 * index)) & 63;
        *character = ALPHABET.get(six as usize).copied().unwrap_or(b'=');
    }
    group
}

/// The bytes of four characters, and how many they are; `None`: they are no group.
pub fn decode(group: [u8; 4]) -> Option<([u8; 3], usize)> {
    let padding = match group {
        [_, _, b'=', b'='] => 2,
        [_, _, _, b'='] => 1,
        _ => 0,
    };
    let mut bits = 0u32;
    for character in group.iter().take(4 - padding) {
        bits = bits << 6 | u32::from(six(*character)?);
    }
    bits <<= 6 * padding;
    let [_, first, second, third] = bits.to_be_bytes();
    Some(([first, second, third], 3 - padding))
}

fn six(character: u8) -> Option<u8> {
    Some(match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}
