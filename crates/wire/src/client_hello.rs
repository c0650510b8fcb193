//! The name that a TLS client asks for (SNI, RFC 6066 3), read from its first bytes without taking part in the
//! handshake. It answers nothing, decrypts nothing, and never looks beyond the ClientHello.

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientHello {
    /// The beginning of one: more is needed.
    Partial,
    /// A whole one, with the name in lower case; `None`: it names nobody.
    Whole(Option<String>),
    /// Not TLS, or not a ClientHello.
    Invalid,
}

/// Bytes of a record's plaintext (RFC 8446 5.1).
const RECORD_BYTES: usize = 1 << 14;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// Looks at what a client has sent so far, from its first byte on. A ClientHello may stand in several records.
pub fn client_hello(bytes: &[u8]) -> ClientHello {
    let mut hello = Vec::new();
    let mut rest = bytes;
    loop {
        match record(rest) {
            Err(()) => return ClientHello::Invalid,
            Ok(None) => {
                // What there is of a record may show already that this leads nowhere.
                hello.extend_from_slice(rest.get(5..).unwrap_or_default());
                return match hello.first() {
                    Some(first) if *first != CLIENT_HELLO => ClientHello::Invalid,
                    _ => ClientHello::Partial,
                };
            }
            Ok(Some((content, next))) => {
                hello.extend_from_slice(content);
                rest = next;
            }
        }
        match *hello.as_slice() {
            [CLIENT_HELLO, a, b, c, ..] => {
                let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                if let Some(body) = hello.get(4..4 + length) {
                    return server_name(body).map_or(ClientHello::Invalid, ClientHello::Whole);
                }
            }
            [CLIENT_HELLO, ..] | [] => {}
            _ => return ClientHello::Invalid,
        }
    }
}

type Record<'b> = (&'b [u8], &'b [u8]);

/// The content of one handshake record and what follows it. `None`: it is not whole.
fn record(bytes: &[u8]) -> Result<Option<Record<'_>>, ()> {
    let begins_alike = bytes.iter().zip([HANDSHAKE, 3]).all(|(have, wanted)| *have == wanted);
    if !begins_alike || bytes.get(2).is_some_and(|minor| *minor > 4) {
        return Err(());
    }
    let [_, _, _, high, low, rest @ ..] = bytes else { return Ok(None) };
    let length = usize::from(*high) << 8 | usize::from(*low);
    if length == 0 || length > RECORD_BYTES {
        return Err(());
    }
    Ok(rest.split_at_checked(length))
}

/// The name in a ClientHello's body (RFC 8446 4.1.2). The outer `None`: it is malformed.
fn server_name(body: &[u8]) -> Option<Option<String>> {
    let mut reader = Reader(body);
    reader.take(2 + 32)?;
    let session = reader.byte()?;
    reader.take(session.into())?;
    let suites = reader.word()?;
    reader.take(suites.into())?;
    let compressions = reader.byte()?;
    reader.take(compressions.into())?;
    if reader.0.is_empty() {
        return Some(None);
    }
    let length = reader.word()?;
    let mut extensions = Reader(reader.take(length.into())?);
    while !extensions.0.is_empty() {
        let kind = extensions.word()?;
        let length = extensions.word()?;
        let content = extensions.take(length.into())?;
        if kind == SERVER_NAME {
            return host_name(content).map(Some);
        }
    }
    Some(None)
}

fn host_name(content: &[u8]) -> Option<String> {
    let mut reader = Reader(content);
    let length = reader.word()?;
    let mut list = Reader(reader.take(length.into())?);
    if list.byte()? != HOST_NAME {
        return None;
    }
    let length = list.word()?;
    let name = std::str::from_utf8(list.take(length.into())?).ok()?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let labels = name.strip_suffix('.').unwrap_or(name);
    let has_labels = labels.split('.').all(|label| !label.is_empty());
    let is_name = has_labels && name.len() <= 255 && name.bytes().all(is_host);
    is_name.then(|| labels.to_ascii_lowercase())
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn word(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_length(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &with_length(content)].concat()
    }

    /// The handshake message of a ClientHello with these extensions.
    fn message(extensions: Option<&[u8]>) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([2, 9, 9]);
        body.extend(with_length(&[0x13, 0x01]));
        body.extend([1, 0]);
        body.extend(extensions.map(with_length).unwrap_or_default());
        [&[CLIENT_HELLO, 0, (body.len() >> 8) as u8, body.len() as u8], body.as_slice()].concat()
    }

    fn named(name: &[u8]) -> Vec<u8> {
        let entry = [&[HOST_NAME][..], &with_length(name)].concat();
        let names = extension(SERVER_NAME, &with_length(&entry));
        message(Some(&[extension(43, &[2, 3, 4]), names, extension(65_000, &[0; 300])].concat()))
    }

    /// The message in records of so many bytes.
    fn records(message: &[u8], size: usize) -> Vec<u8> {
        message.chunks(size).flat_map(|part| [&[HANDSHAKE, 3, 1][..], &with_length(part)].concat()).collect()
    }

    #[test]
    fn reads_the_name_however_it_is_cut() {
        let message = named(b"Shop.Example");
        for size in [1, 2, 5, 64, message.len()] {
            let bytes = records(&message, size);
            for cut in 0..bytes.len() {
                assert_eq!(
                    client_hello(&bytes[..cut]),
                    ClientHello::Partial,
                    "records of {size}, {cut} bytes"
                );
            }
            let whole = ClientHello::Whole(Some("shop.example".into()));
            assert_eq!(client_hello(&bytes), whole, "records of {size}");
            assert_eq!(client_hello(&[&bytes[..], b"more"].concat()), whole);
        }
    }

    #[test]
    fn some_name_nobody() {
        for message in [message(None), message(Some(&[])), message(Some(&extension(43, &[])))] {
            assert_eq!(client_hello(&records(&message, 1_000)), ClientHello::Whole(None));
        }
    }

    #[test]
    fn garbage_is_known_by_its_first_bytes() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x15\x03",
            b"\x16\x02",
            b"\x16\x03\x09",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\xff\xff",
            b"\x16\x03\x01\x00\x05\x02",
            b"\x00",
        ] {
            assert_eq!(client_hello(bytes), ClientHello::Invalid, "{bytes:?}");
        }
        for name in [&b""[..], b".", b"..", b"a..b", b".a", b"a b", b"a\0b", "ä".as_bytes(), &[b'a'; 300]] {
            assert_eq!(client_hello(&records(&named(name), 1_000)), ClientHello::Invalid, "{name:?}");
        }
    }

    #[test]
    fn lengths_that_lie_are_invalid_and_never_panic() {
        let bytes = records(&named(b"shop.example"), 1_000);
        for at in 9..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut wrong = bytes.clone();
                wrong[at] = value;
                client_hello(&wrong);
            }
        }
    }
}
