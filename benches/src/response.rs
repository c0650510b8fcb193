//! How long a message is: enough HTTP/1.1 for the messages that the benches themselves send.

use anyhow::{Context, bail};
use memchr::memmem;

/// The bytes of the first message in `input`, or `None` while its head is incomplete. A message without
/// `Content-Length` is its head alone.
pub fn length(input: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = memmem::find(input, b"\r\n\r\n") else { return Ok(None) };
    let head = input[..end + 2].to_ascii_lowercase();
    if memmem::find(&head, b"\r\ntransfer-encoding:").is_some() {
        bail!("the benches send and expect bodies with a length");
    }
    let Some(at) = memmem::find(&head, b"\r\ncontent-length:") else { return Ok(Some(end + 4)) };
    let value = &head[at + 17..];
    let line = &value[..memchr::memchr(b'\r', value).context("a field line ends")?];
    let body: usize = std::str::from_utf8(line)?.trim().parse()?;
    Ok(Some(end + 4 + body))
}

#[cfg(test)]
mod tests {
    use super::length;

    #[test]
    fn lengths() {
        assert_eq!(length(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap(), None);
        assert_eq!(length(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET").unwrap(), Some(27));
        assert_eq!(length(b"HTTP/1.1 200 OK\r\nContent-LENGTH: 3\r\n\r\nabc").unwrap(), Some(41));
        assert!(length(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    }
}
