//! Session tickets: sealed with AES-256-GCM-SIV, by keys that a fleet shares or that this process makes and rotates.
//!
//! A ticket is opened only under the rule for client certificates that it was sealed under.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};
use rustls::server::ProducesTickets;
use thiserror::Error;

use super::identity::unix_now;

/// Keys of one list: the first seals, all open.
const MAX_KEYS: usize = 16;
/// Seconds that a ticket may be used.
const LIFETIME: u32 = 12 * 60 * 60;
/// Seconds after which this process takes a new key of its own.
const ROTATION: i64 = 6 * 60 * 60;
const NAME_BYTES: usize = 16;
/// Bytes of a sealed ticket that are looked at.
const MAX_TICKET: usize = 16 * 1024;

/// Why a list of keys cannot be used. No message holds a key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TicketKeyError {
    #[error("there is no key in it")]
    Empty,
    #[error("line {0} is not the base64 of 32 bytes")]
    BadLine(usize),
    #[error("it holds more than {MAX_KEYS} keys")]
    TooMany,
}

struct TicketKey {
    name: [u8; NAME_BYTES],
    key: LessSafeKey,
}

impl TicketKey {
    fn new(secret: &[u8; 32]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"narthex ticket key name");
        context.update(secret);
        let mut name = [0; NAME_BYTES];
        name.copy_from_slice(&context.finish().as_ref()[..NAME_BYTES]);
        let key = UnboundKey::new(&AES_256_GCM_SIV, secret).expect("the key is as long as the cipher's");
        Self { name, key: LessSafeKey::new(key) }
    }

    fn random() -> Option<Self> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).ok()?;
        Some(Self::new(&secret))
    }
}

/// Where the keys come from.
enum Source {
    Shared(Vec<TicketKey>),
    /// Newest first, with the time of the last rotation.
    Own(Mutex<(Vec<Arc<TicketKey>>, i64)>),
}

/// A list of ticket keys.
pub struct TicketKeys(Source);

impl std::fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKeys")
    }
}

impl TicketKeys {
    /// One key a line, the base64 of 32 bytes; `#` begins a comment. The first one seals, all open.
    ///
    /// # Errors
    /// A line is no key, or there are none or too many.
    pub fn parse(text: &str) -> Result<Arc<Self>, TicketKeyError> {
        let mut keys = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or("").trim();
            if line.is_empty() {
                continue;
            }
            let secret = decode(line).ok_or(TicketKeyError::BadLine(at + 1))?;
            if keys.len() >= MAX_KEYS {
                return Err(TicketKeyError::TooMany);
            }
            keys.push(TicketKey::new(&secret));
        }
        if keys.is_empty() { Err(TicketKeyError::Empty) } else { Ok(Arc::new(Self(Source::Shared(keys)))) }
    }

    /// The keys of this process: made at random, a new one every six hours, the last three open.
    pub fn own() -> Arc<Self> {
        static OWN: OnceLock<Arc<TicketKeys>> = OnceLock::new();
        Arc::clone(OWN.get_or_init(|| Arc::new(Self(Source::Own(Mutex::default())))))
    }

    /// Seals and opens for one rule.
    pub(super) fn under(self: &Arc<Self>, rule: [u8; 32]) -> Arc<dyn ProducesTickets> {
        Arc::new(Ticketer { keys: Arc::clone(self), rule })
    }

    fn with_sealing<T>(&self, use_it: impl FnOnce(&TicketKey) -> Option<T>) -> Option<T> {
        match &self.0 {
            Source::Shared(keys) => use_it(keys.first()?),
            Source::Own(own) => {
                let key = {
                    let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
                    let now = unix_now();
                    if own.0.is_empty() || now - own.1 >= ROTATION {
                        own.0.insert(0, Arc::new(TicketKey::random()?));
                        // The oldest that opens was last used to seal a ticket's lifetime ago.
                        own.0.truncate(3);
                        own.1 = now;
                    }
                    Arc::clone(own.0.first()?)
                };
                use_it(&key)
            }
        }
    }

    fn with_named<T>(&self, name: &[u8], use_it: impl FnOnce(&TicketKey) -> Option<T>) -> Option<T> {
        match &self.0 {
            Source::Shared(keys) => use_it(keys.iter().find(|key| key.name == name)?),
            Source::Own(own) => {
                let key = {
                    let own = own.lock().unwrap_or_else(PoisonError::into_inner);
                    // Without a handshake in all that time nothing has rotated: too old is too old all the same.
                    if unix_now() - own.1 >= ROTATION + i64::from(LIFETIME) {
                        return None;
                    }
                    Arc::clone(own.0.iter().find(|key| key.name == name)?)
                };
                use_it(&key)
            }
        }
    }
}

#[derive(Debug)]
struct Ticketer {
    keys: Arc<TicketKeys>,
    rule: [u8; 32],
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    /// name (16) | nonce (12) | time and session, sealed | tag (16)
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys.with_sealing(|key| {
            let mut nonce = [0; NONCE_LEN];
            rand::fill(&mut nonce).ok()?;
            let mut sealed = unix_now().to_be_bytes().to_vec();
            sealed.extend_from_slice(plain);
            let unique = Nonce::assume_unique_for_key(nonce);
            key.key.seal_in_place_append_tag(unique, Aad::from(self.rule), &mut sealed).ok()?;
            let mut ticket = Vec::with_capacity(NAME_BYTES + NONCE_LEN + sealed.len());
            ticket.extend_from_slice(&key.name);
            ticket.extend_from_slice(&nonce);
            ticket.extend_from_slice(&sealed);
            Some(ticket)
        })
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > MAX_TICKET {
            return None;
        }
        let (name, rest) = ticket.split_at_checked(NAME_BYTES)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        self.keys.with_named(name, |key| {
            let mut sealed = sealed.to_vec();
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let plain = key.key.open_in_place(nonce, Aad::from(self.rule), &mut sealed).ok()?;
            let (time, session) = plain.split_first_chunk::<8>()?;
            let age = unix_now().saturating_sub(i64::from_be_bytes(*time));
            // Clocks of a fleet differ a little.
            (-60..=i64::from(LIFETIME)).contains(&age).then(|| session.to_vec())
        })
    }
}

/// Base64 (RFC 4648 4), with or without its padding, of exactly 32 bytes.
fn decode(text: &str) -> Option<[u8; 32]> {
    let text = text.trim_end_matches('=');
    if text.len() != 43 {
        return None;
    }
    let (mut out, mut bits, mut count) = (Vec::with_capacity(33), 0u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const TWO: &str = "//////////////////////////////////////////8=";

    #[test]
    fn a_fleet_opens_what_any_member_sealed_and_old_keys_still_open() {
        let old = TicketKeys::parse(ONE).unwrap().under([1; 32]);
        let new = TicketKeys::parse(&format!("# the new one\n{TWO}\n{ONE}")).unwrap().under([1; 32]);
        let ticket = old.encrypt(b"session").unwrap();
        assert_eq!(new.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(old.decrypt(&new.encrypt(b"session").unwrap()), None);
    }

    #[test]
    fn a_ticket_of_another_rule_does_not_open() {
        let keys = TicketKeys::parse(ONE).unwrap();
        let ticket = keys.under([1; 32]).encrypt(b"session").unwrap();
        assert_eq!(keys.under([2; 32]).decrypt(&ticket), None);
        let own = TicketKeys::own();
        let ticket = own.under([1; 32]).encrypt(b"session").unwrap();
        assert_eq!(own.under([1; 32]).decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(own.under([2; 32]).decrypt(&ticket), None);
    }

    #[test]
    fn a_broken_ticket_does_not_open() {
        let ticketer = TicketKeys::parse(ONE).unwrap().under([0; 32]);
        let ticket = ticketer.encrypt(b"session").unwrap();
        for at in 0..ticket.len() {
            let mut broken = ticket.clone();
            broken[at] ^= 1;
            assert_eq!(ticketer.decrypt(&broken), None, "byte {at}");
            assert_eq!(ticketer.decrypt(&ticket[..at]), None);
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_list() {
        assert_eq!(TicketKeys::parse("# nothing\n\n").unwrap_err(), TicketKeyError::Empty);
        assert_eq!(TicketKeys::parse(&format!("{ONE}\nshort")).unwrap_err(), TicketKeyError::BadLine(2));
        assert_eq!(TicketKeys::parse(&format!("{ONE}\n").repeat(17)).unwrap_err(), TicketKeyError::TooMany);
    }
}
