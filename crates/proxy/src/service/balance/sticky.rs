//! The sticky cookie: the instance that answered a client before answers it again. Its value is an HMAC-SHA256 over the
//! service's name and the instance's address: nobody can make one up, and nobody reads an address from it.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use narthex_wire::Address;

/// What stands for one instance in the cookie.
pub type Tag = [u8; 32];

/// When a browser sends a cookie along with requests from other sites (RFC 6265bis 5.6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    Lax,
    Strict,
    None,
}

/// How the cookie is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieRules {
    /// A token (RFC 6265 4.1.1).
    pub name: Box<str>,
    pub path: Box<str>,
    pub domain: Option<Box<str>>,
    /// `None`: until the browser is closed.
    pub lifetime: Option<Duration>,
    pub secure: bool,
    pub http_only: bool,
    pub same_site: SameSite,
}

/// What makes and reads the cookies of one service.
#[derive(Clone)]
pub struct Sticky {
    key: StickyKey,
    name: Box<str>,
    attributes: Box<str>,
}

/// The key that a fleet shares, for one service.
#[derive(Clone, PartialEq, Eq)]
pub struct StickyKey {
    secret: Box<[u8]>,
    service: Box<str>,
}

impl std::fmt::Debug for StickyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StickyKey").field("service", &self.service).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Sticky {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sticky").field("key", &self.key).field("name", &self.name).finish_non_exhaustive()
    }
}

impl StickyKey {
    pub fn new(secret: &[u8], service: &str) -> Self {
        Self { secret: secret.into(), service: service.into() }
    }

    /// The tags of these addresses.
    pub fn tags(&self, addresses: impl Iterator<Item = Address>) -> Box<[Tag]> {
        let key = Key::new(HMAC_SHA256, &self.secret);
        addresses
            .map(|address| {
                let text = format!("narthex sticky\n{}\n{address}", self.service);
                let mut tag = Tag::default();
                tag.copy_from_slice(sign(&key, text.as_bytes()).as_ref());
                tag
            })
            .collect()
    }
}

impl Sticky {
    pub fn new(key: StickyKey, rules: &CookieRules) -> Self {
        let mut attributes = format!("; Path={}", rules.path);
        if let Some(domain) = &rules.domain {
            attributes.push_str(&format!("; Domain={domain}"));
        }
        if let Some(lifetime) = rules.lifetime {
            attributes.push_str(&format!("; Max-Age={}", lifetime.as_secs()));
        }
        attributes.push_str(match rules.same_site {
            SameSite::Lax => "; SameSite=Lax",
            SameSite::Strict => "; SameSite=Strict",
            SameSite::None => "; SameSite=None",
        });
        for (is_set, text) in [(rules.secure, "; Secure"), (rules.http_only, "; HttpOnly")] {
            attributes.push_str(if is_set { text } else { "" });
        }
        Self { key, name: rules.name.clone(), attributes: attributes.into() }
    }

    pub fn key(&self) -> &StickyKey {
        &self.key
    }

    /// What the first cookie of our name says, if it has the form of ours. `fields`: the values of `Cookie`.
    pub fn read<'f>(&self, fields: impl Iterator<Item = &'f [u8]>) -> Option<Tag> {
        let value = fields
            .flat_map(|field| field.split(|byte| *byte == b';'))
            .find_map(|pair| pair.trim_ascii().strip_prefix(self.name.as_bytes())?.strip_prefix(b"="))?;
        decode(value)
    }

    /// The value of `Set-Cookie` for an instance.
    pub fn write(&self, tag: &Tag) -> String {
        format!("{}={}{}", self.name, encode(tag), self.attributes)
    }
}

/// Whose tag this is. Takes the same time for every tag that was not given.
pub fn find(tags: &[Tag], wanted: &Tag) -> Option<usize> {
    tags.iter().position(|tag| verify_slices_are_equal(tag, wanted).is_ok())
}

fn encode(tag: &Tag) -> String {
    use std::fmt::Write as _;
    tag.iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

fn decode(text: &[u8]) -> Option<Tag> {
    let mut tag = Tag::default();
    if text.len() != 2 * tag.len() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    for (byte, pair) in tag.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> CookieRules {
        CookieRules {
            name: "shop".into(),
            path: "/".into(),
            domain: None,
            lifetime: Some(Duration::from_secs(3_600)),
            secure: true,
            http_only: true,
            same_site: SameSite::Lax,
        }
    }

    fn addresses() -> [Address; 2] {
        ["10.0.0.1:80", "10.0.0.2:80"].map(|text| Address::Ip(text.parse().unwrap()))
    }

    #[test]
    fn what_is_written_is_read_by_the_fleet_and_by_nobody_else() {
        let key = StickyKey::new(b"a key that the fleet shares", "s");
        let sticky = Sticky::new(key.clone(), &rules());
        let tags = key.tags(addresses().into_iter());
        let cookie = sticky.write(&tags[1]);
        assert!(cookie.ends_with("; Path=/; Max-Age=3600; SameSite=Lax; Secure; HttpOnly"), "{cookie}");
        assert!(!cookie.contains("10.0.0"), "{cookie}");
        let pair = cookie.split(';').next().unwrap();
        let sent = format!("other=1; {pair}; more=2");
        let read = sticky.read([sent.as_bytes()].into_iter()).unwrap();
        assert_eq!(find(&tags, &read), Some(1));
        for (secret, service) in [(&b"another key"[..], "s"), (b"a key that the fleet shares", "t")] {
            let others = StickyKey::new(secret, service).tags(addresses().into_iter());
            assert_eq!(find(&others, &read), None);
        }
    }

    #[test]
    fn what_is_no_cookie_of_ours_says_nothing() {
        let sticky = Sticky::new(StickyKey::new(b"k", "s"), &rules());
        for field in [
            "",
            "shop",
            "shop=",
            "shop=zz",
            "shoppe=00",
            &format!("shop={}", "g".repeat(64)),
            &format!("shop={}é", "0".repeat(62)),
        ] {
            assert_eq!(sticky.read([field.as_bytes()].into_iter()), None, "{field}");
        }
    }
}
