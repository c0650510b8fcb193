//! What can be wrong with bytes, values and names: one variant per kind of fault.
//! Texts are for operators; `code()` is stable and may stand in logs and metrics.

use thiserror::Error;

/// A field value that may not be written (RFC 9110 section 5.5), or a field that is not an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidValue {
    #[error("the value holds CR, LF, NUL or another control character")]
    Control,
    #[error(
        "the field describes framing or the connection: it is a typed field of the message, never an entry"
    )]
    Reserved,
    #[error("the name is empty or holds a character that is not allowed in a field name")]
    Name,
    #[error("the message head would be larger than 4 GiB, or the name longer than 65,535 bytes")]
    TooLong,
}

/// A name that is not a field name: empty, or with characters that are not token characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a field name is one or more letters, digits or !#$%&'*+-.^_`|~")]
pub struct InvalidName;

/// A path, query or authority that may not be written into a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidTarget {
    #[error("a path begins with '/' and holds no '?', '#', space, control or non-ASCII character")]
    Path,
    #[error("a query holds no '#', space, control or non-ASCII character")]
    Query,
    #[error("an authority is a host name or an IP address, with or without a port")]
    Authority,
    #[error("the message head would be larger than 4 GiB")]
    TooLong,
}

macro_rules! parse_errors {
    ($($(#[doc = $doc:literal])* $variant:ident, $code:literal, $status:literal, $text:literal;)*) => {
        /// What is wrong with a message. On a request it is answered with [`ParseError::status`] and the
        /// connection closes; on a service's response it becomes a 502 and the connection closes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
        pub enum ParseError {
            $($(#[doc = $doc])* #[error($text)] $variant,)*
        }

        impl ParseError {
            /// Every kind of fault, in the order of the documentation.
            pub const ALL: &'static [ParseError] = &[$(ParseError::$variant,)*];

            /// The stable code of the fault, in snake case.
            pub fn code(self) -> &'static str {
                match self { $(ParseError::$variant => $code,)* }
            }

            /// The status that answers a request with this fault.
            pub fn status(self) -> u16 {
                match self { $(ParseError::$variant => $status,)* }
            }
        }
    };
}

parse_errors! {
    BareCr, "bare_cr", 400, "a CR that no LF follows";
    BareLf, "bare_lf", 400, "a line that ends with LF and not with CRLF";
    LeadingEmptyLines, "leading_empty_lines", 400, "more than one empty line before the request line";
    InvalidRequestLine, "invalid_request_line", 400, "the request line is not 'METHOD target HTTP/1.1' with single spaces";
    InvalidMethod, "invalid_method", 400, "the method is not a token of 1 to 32 characters";
    InvalidTarget, "invalid_target", 400, "the request target holds a character that is not allowed, or has the wrong form for its method";
    TargetTooLong, "target_too_long", 414, "the request target is longer than the bound";
    InvalidVersion, "invalid_version", 400, "the version is not of the form HTTP/1.1";
    UnsupportedVersion, "unsupported_version", 505, "the version is neither HTTP/1.0 nor HTTP/1.1";
    InvalidStatusLine, "invalid_status_line", 400, "the status line is not 'HTTP/1.1 200 reason'";
    InvalidStatus, "invalid_status", 400, "the status is not a number from 100 to 599";
    HeadTooLarge, "head_too_large", 431, "the head has more bytes than the bound";
    TooManyFields, "too_many_fields", 431, "the head has more fields than the bound";
    ObsFold, "obs_fold", 400, "a field line begins with a space or tab (line folding)";
    MissingColon, "missing_colon", 400, "a field line has no colon";
    EmptyName, "empty_name", 400, "a field line begins with its colon";
    SpaceBeforeColon, "space_before_colon", 400, "a space or tab stands between a field name and its colon";
    InvalidName, "invalid_name", 400, "a field name holds a character that is not a token character";
    InvalidValue, "invalid_value", 400, "a field value holds NUL or another control character";
    InvalidContentLength, "invalid_content_length", 400, "Content-Length is not one decimal number that fits 64 bits";
    RepeatedContentLength, "repeated_content_length", 400, "Content-Length is given more than once";
    InvalidTransferEncoding, "invalid_transfer_encoding", 400, "Transfer-Encoding is not exactly 'chunked', once";
    ConflictingLength, "conflicting_length", 400, "Content-Length and Transfer-Encoding are both given";
    TransferEncodingInHttp10, "transfer_encoding_in_http10", 400, "Transfer-Encoding in an HTTP/1.0 message";
    TransferEncodingWithoutBody, "transfer_encoding_without_body", 400, "Transfer-Encoding in a 1xx or 204 response";
    MissingHost, "missing_host", 400, "an HTTP/1.1 request without Host, or with an empty one";
    RepeatedHost, "repeated_host", 400, "Host is given more than once";
    InvalidHost, "invalid_host", 400, "Host or the target's authority is not a host name or IP address with an optional port";
    ConflictingHost, "conflicting_host", 400, "Host is not the authority of the request target";
    InvalidConnection, "invalid_connection", 400, "Connection is not a short list of tokens";
    ForbiddenConnectionOption, "forbidden_connection_option", 400, "Connection names a field that is meant for every recipient";
    UnknownExpectation, "unknown_expectation", 417, "Expect is not '100-continue'";
    InvalidChunkSize, "invalid_chunk_size", 400, "a chunk size is not 1 to 16 hexadecimal digits";
    InvalidChunkExtension, "invalid_chunk_extension", 400, "a chunk extension holds a byte that is not allowed";
    ChunkExtensionsTooLarge, "chunk_extensions_too_large", 400, "chunk extensions outweigh the data by more than the bound";
    InvalidChunkEnd, "invalid_chunk_end", 400, "no CRLF follows a chunk's data";
    TrailersTooLarge, "trailers_too_large", 431, "the trailers have more bytes or fields than the bound";
    Truncated, "truncated", 400, "the connection ended inside a message";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_every_code_with_its_status_and_text() {
        let readme = include_str!("../README.md");
        let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<String> = ParseError::ALL
            .iter()
            .map(|e| format!("| `{}` | {} | {} |", e.code(), e.status(), e.to_string().replace('|', "\\|")))
            .collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn codes_are_unique_snake_case_words() {
        let mut codes: Vec<&str> = ParseError::ALL.iter().map(|e| e.code()).collect();
        assert!(
            codes
                .iter()
                .all(|c| c.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
        );
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), ParseError::ALL.len());
    }
}
