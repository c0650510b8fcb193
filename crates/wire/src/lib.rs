//! What goes over the wire, without the wire: [`Head`], the typed heads of requests and responses,
//! the HTTP/1.1 codec for both sides (RFC 9110, RFC 9112), the ends of WebSocket frames (RFC 6455),
//! the name in a TLS ClientHello, and the PROXY protocol's header.
//! Bytes come in, events and bytes go out. Nothing here may know a socket, a clock, a task or a policy.

mod address;
mod chars;
mod client_hello;
mod error;
pub mod h1;
mod head;
mod hex;
mod index;
mod message;
mod method;
mod name;
mod proxy_protocol;
mod scan;
pub mod websocket;

pub use address::{Address, UnixPath};
pub use client_hello::{ClientHello, client_hello};
pub use error::{InvalidName, InvalidTarget, InvalidValue, ParseError};
pub use h1::{
    BodyDecoder, CHUNK_END, Event, LAST_CHUNK, Limits, Progress, RequestParser, ResponseParser, Step,
    chunk_prefix, encode_request, encode_response, encode_trailers,
};
pub use head::{Field, Head, Lines, Mark};
pub use hex::{hex8, hex16, push_hex};
pub use message::{Authority, Connection, RequestHead, RequestMark, ResponseHead};
pub use method::{Framing, Method, Scheme, Version};
pub use name::{Known, Name};
pub use proxy_protocol::ProxyProtocol;
