//! Versions in `Accept` (RFC 9110, section 12.5.1): `application/vnd.shop.v2+json;q=0.8`, `application/json;version=2`.
//! What is malformed in one item is no reason to refuse the others. It allocates nothing, and looks at each byte twice.

/// How versions are written in media types.
pub(crate) struct Asks<'a> {
    /// `vnd.shop`; none: every vendor's.
    pub(crate) vendor: Option<&'a str>,
    /// In lower case.
    pub(crate) parameter: &'a str,
    /// What an item without a version stands for.
    pub(crate) default: Option<u8>,
}

/// What a client would have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preference {
    /// It names none, or whatever it names comes after an item without.
    None,
    Version(u8),
    /// It names versions; none of them is there, and everything else is excluded.
    NotAcceptable,
}

/// An item, as far as versions go.
#[derive(Clone, Copy)]
enum Named {
    Nothing,
    Known(u8),
    Unknown,
}

impl Asks<'_> {
    /// By quality, items that name a version before those that do not, then as written. `q=0` excludes.
    pub(crate) fn prefer<'l>(
        &self,
        lines: impl Iterator<Item = &'l [u8]>,
        index: impl Fn(&[u8]) -> Option<u8>,
    ) -> Preference {
        let mut names_any = false;
        let mut excluded = 0u64;
        let mut accepted: Accepted = Accepted::new();
        let mut default_is_welcome: Option<u16> = None;
        for item in lines.flat_map(|line| split(line, b',')) {
            let Some((named, quality)) = self.read(item, &index) else { continue };
            match (named, quality) {
                (Named::Nothing, 0) => {}
                (Named::Nothing, quality) => default_is_welcome = default_is_welcome.max(Some(quality)),
                (Named::Unknown, _) => names_any = true,
                (Named::Known(version), 0) => (names_any, excluded) = (true, excluded | 1 << version),
                (Named::Known(version), quality) => {
                    names_any = true;
                    accepted.push((version, quality));
                }
            }
        }
        if self.default.is_some_and(|default| excluded >> default & 1 == 1) {
            default_is_welcome = None;
        }
        // Of equals the first: `max_by_key` takes the last.
        let best = accepted.iter().rev().filter(|(version, _)| excluded >> version & 1 == 0);
        let best = best.max_by_key(|(_, quality)| *quality).copied();
        match (best, default_is_welcome) {
            (Some((_, quality)), Some(welcome)) if welcome > quality => Preference::None,
            (Some((version, _)), _) => Preference::Version(version),
            (None, Some(_)) => Preference::None,
            (None, None) if names_any => Preference::NotAcceptable,
            (None, None) => Preference::None,
        }
    }

    /// The version and the quality in thousandths; `None`: malformed.
    fn read(&self, item: &[u8], index: &impl Fn(&[u8]) -> Option<u8>) -> Option<(Named, u16)> {
        let mut parts = split(item, b';').map(|part| part.trim_ascii());
        let range = parts.next()?;
        let slash = memchr::memchr(b'/', range)?;
        let mut name = self.of_subtype(&range[slash + 1..]);
        let mut quality = 1000;
        for part in parts {
            let Some(equals) = memchr::memchr(b'=', part) else { continue };
            let (key, value) = (part[..equals].trim_ascii(), unquoted(part[equals + 1..].trim_ascii()));
            if key.eq_ignore_ascii_case(b"q") {
                quality = thousandths(value)?;
                // What follows `q` is no parameter of the media type.
                break;
            }
            if key.eq_ignore_ascii_case(self.parameter.as_bytes()) {
                name = Some(value);
            }
        }
        let named = match name {
            None | Some(b"") => Named::Nothing,
            Some(name) => index(name).map_or(Named::Unknown, Named::Known),
        };
        Some((named, quality))
    }

    /// `2` of `vnd.shop.v2+json`.
    fn of_subtype<'s>(&self, subtype: &'s [u8]) -> Option<&'s [u8]> {
        let name = memchr::memrchr(b'+', subtype).map_or(subtype, |plus| &subtype[..plus]);
        if let Some(vendor) = self.vendor {
            let (head, rest) = name.split_at_checked(vendor.len())?;
            let version = rest.strip_prefix(b".v").or_else(|| rest.strip_prefix(b".V"))?;
            return head.eq_ignore_ascii_case(vendor.as_bytes()).then_some(version);
        }
        let is_vendors = name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"vnd."));
        let at = name.windows(3).rposition(|w| w[..2].eq_ignore_ascii_case(b".v") && w[2].is_ascii_digit());
        at.filter(|_| is_vendors).map(|at| &name[at + 2..])
    }
}

type Accepted = smallvec::SmallVec<[(u8, u16); 8]>;

/// The parts between `at`, which counts outside of quotes alone.
fn split(text: &[u8], at: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut is_quoted, mut is_escaped) = (false, false);
        let end = text.iter().position(|byte| match *byte {
            _ if is_escaped => {
                is_escaped = false;
                false
            }
            b'\\' if is_quoted => {
                is_escaped = true;
                false
            }
            b'"' => {
                is_quoted = !is_quoted;
                false
            }
            byte => byte == at && !is_quoted,
        });
        let (part, more) = end.map_or((text, None), |end| (&text[..end], Some(&text[end + 1..])));
        rest = more;
        Some(part)
    })
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// `qvalue` of RFC 9110, section 12.4.2: `0`, `0.8`, `1.000`.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, digits) = match text {
        [whole @ (b'0' | b'1')] => (*whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', digits @ ..] if digits.len() <= 3 => (*whole, digits),
        _ => return None,
    };
    let mut value = u16::from(whole - b'0') * 1000;
    for (digit, worth) in digits.iter().zip([100, 10, 1]) {
        value += digit.is_ascii_digit().then(|| u16::from(*digit - b'0') * worth)?;
    }
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(name: &[u8]) -> Option<u8> {
        ["1", "2", "3"].iter().position(|known| known.as_bytes() == name).map(|at| at as u8)
    }

    fn prefer(vendor: Option<&str>, accept: &[&str]) -> Preference {
        let asks = Asks { vendor, parameter: "version", default: Some(2) };
        asks.prefer(accept.iter().map(|line| line.as_bytes()), index)
    }

    #[test]
    fn the_best_that_there_is() {
        use Preference::{None, NotAcceptable, Version};
        for (accept, wanted) in [
            ("", None),
            ("*/*", None),
            ("application/vnd.shop.v2+json", Version(1)),
            ("application/vnd.shop.v2", Version(1)),
            ("APPLICATION/VND.SHOP.V2+JSON", Version(1)),
            ("application/json;version=2", Version(1)),
            ("application/json; Version = \"2\"", Version(1)),
            ("application/vnd.shop+json; version=2", Version(1)),
            ("application/vnd.other.v2+json", None),
            ("application/vnd.shopping.v2+json", None),
            ("application/vnd.shop.v1+json;q=0.5, application/vnd.shop.v2+json", Version(1)),
            ("application/vnd.shop.v1+json;q=0.5,application/vnd.shop.v2+json;q=0.499", Version(0)),
            ("application/vnd.shop.v1+json,application/vnd.shop.v2+json", Version(0)),
            ("application/vnd.shop.v9+json,application/vnd.shop.v2+json;q=0.1", Version(1)),
            ("application/vnd.shop.v9+json, */*;q=0.1", None),
            ("*/*, application/vnd.shop.v2+json", Version(1)),
            ("application/vnd.shop.v2+json;q=0.3, */*;q=0.4", None),
            ("application/vnd.shop.v9+json", NotAcceptable),
            ("application/vnd.shop.v2+json;q=0", NotAcceptable),
            ("application/vnd.shop.v2+json;q=0, */*", None),
            ("application/vnd.shop.v3+json;q=0, */*", NotAcceptable),
            ("application/vnd.shop.v2+json, application/json;version=2;q=0", NotAcceptable),
            ("application/vnd.shop.v2+json;q=1.5", None),
            ("application/vnd.shop.v2+json;q=x, application/vnd.shop.v1+json", Version(0)),
            ("application/json;x=\",\";version=2", Version(1)),
            ("application/json;x=\"\\\",\";version=2", Version(1)),
            ("nothing;version=2", None),
            ("application/json;q=1;version=2", None),
            (",, ;;, application/json;;version=2", Version(1)),
        ] {
            assert_eq!(prefer(Some("vnd.shop"), &[accept]), wanted, "{accept}");
        }
        assert_eq!(prefer(Some("vnd.shop"), &["text/html", "a/b;version=1"]), Version(0), "two lines");
    }

    #[test]
    fn every_vendor() {
        assert_eq!(prefer(None, &["application/vnd.any.v2+json"]), Preference::Version(1));
        assert_eq!(prefer(None, &["application/vnd.video.v2+json"]), Preference::Version(1));
        assert_eq!(prefer(None, &["application/vnd.video+json"]), Preference::None);
        assert_eq!(prefer(None, &["application/x.v2+json"]), Preference::None);
    }
}
