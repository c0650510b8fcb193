//! `Accept-Encoding` (RFC 9110 section 12.5.3): which content coding a client likes best.

use narthex_wire::{Head, Known};

use super::fields::members;

/// A weight in thousandths, 0 to 1000.
type Weight = u16;

/// The place in `offered` of the coding to use, or `None`: the content as it is.
///
/// The client's highest weight wins, then the order of `offered`. The content as it is wins where the client gives it a
/// higher weight than any coding, where it accepts no coding, and where the field is absent. A member that cannot be
/// read counts as not there.
pub fn choose(head: &Head, offered: &[&str]) -> Option<usize> {
    let weight_of = |coding: &str| -> Option<Weight> {
        let named =
            members(head, Known::AcceptEncoding).filter_map(parse).filter(|(name, _)| is_same(name, coding));
        named.map(|(_, weight)| weight).min()
    };
    let any = weight_of("*");
    let identity = weight_of("identity").unwrap_or(0);
    let mut best: Option<(usize, Weight)> = None;
    for (at, coding) in offered.iter().enumerate() {
        let weight = weight_of(coding).or(any).unwrap_or(0);
        if weight > 0 && weight >= identity && best.is_none_or(|(_, found)| weight > found) {
            best = Some((at, weight));
        }
    }
    best.map(|(at, _)| at)
}

/// `x-gzip` is `gzip` (RFC 9110 section 8.4.1.3).
fn is_same(name: &[u8], coding: &str) -> bool {
    name.eq_ignore_ascii_case(coding.as_bytes()) || (coding == "gzip" && name.eq_ignore_ascii_case(b"x-gzip"))
}

/// `coding` or `coding;q=0.5`.
fn parse(member: &[u8]) -> Option<(&[u8], Weight)> {
    let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().filter(|name| super::fields::is_token(name))?;
    let Some(parameter) = parts.next() else { return Some((name, 1000)) };
    let weight = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    parts.next().is_none().then_some((name, parse_weight(weight)?))
}

/// `0`, `1`, or up to three decimals (RFC 9110 section 12.4.2).
fn parse_weight(text: &[u8]) -> Option<Weight> {
    let (whole, decimals) = match text {
        [whole] | [whole, b'.'] => (*whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (*whole, decimals),
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1') || !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut weight = Weight::from(whole - b'0');
    for at in 0..3 {
        weight = weight * 10 + decimals.get(at).map_or(0, |digit| Weight::from(digit - b'0'));
    }
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use narthex_wire::Name;

    const OFFERED: [&str; 3] = ["zstd", "br", "gzip"];

    fn chosen(lines: &[&str]) -> Option<&'static str> {
        let mut head = Head::new();
        for line in lines {
            head.append(&Name::known(Known::AcceptEncoding), line.as_bytes()).unwrap();
        }
        choose(&head, &OFFERED).map(|at| OFFERED[at])
    }

    #[test]
    fn table() {
        for (lines, expected) in [
            (&[][..], None),
            (&[""][..], None),
            (&["gzip"], Some("gzip")),
            (&["GZip"], Some("gzip")),
            (&["x-gzip"], Some("gzip")),
            (&["gzip, deflate, br"], Some("br")),
            (&["gzip, deflate, br, zstd"], Some("zstd")),
            (&["gzip", "br"], Some("br")),
            (&["gzip;q=1.0, br;q=0.9"], Some("gzip")),
            (&["gzip ; q=0.5 , br;q=0.501"], Some("br")),
            (&["gzip;Q=1"], Some("gzip")),
            (&["*"], Some("zstd")),
            (&["*;q=0.1"], Some("zstd")),
            (&["*, zstd;q=0"], Some("br")),
            (&["gzip, *;q=0"], Some("gzip")),
            (&["*;q=0"], None),
            (&["identity"], None),
            (&["identity, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip"], Some("gzip")),
            (&["identity;q=0, gzip;q=0.1"], Some("gzip")),
            (&["identity;q=0"], None),
            (&["identity, gzip"], Some("gzip")),
            (&["gzip;q=0"], None),
            (&["gzip;q=0.000"], None),
            (&["gzip;q=0.001"], Some("gzip")),
            (&["deflate, compress"], None),
            (&["gzip;q=1.001"], None),
            (&["gzip;q=2"], None),
            (&["gzip;q=-1"], None),
            (&["gzip;q=0.1234"], None),
            (&["gzip;q="], None),
            (&["gzip;q=1;x=y"], None),
            (&["gzip;level=9"], None),
            (&["gz ip, br"], Some("br")),
            (&["gzip, gzip;q=0"], None),
            (&[",,gzip,,"], Some("gzip")),
        ] {
            assert_eq!(chosen(lines), expected, "{lines:?}");
        }
    }
}
