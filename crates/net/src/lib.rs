//! Sockets, HTTP/2, buffers, clocks and timers, the per-core runtime: everything that touches the operating system.
//!
//! The data plane above sees `Inbound` and `Outbound` and no protocol. No routing, no policy, no configuration here.

pub mod buffer;
pub mod clock;
pub mod deadline;
mod frames;
mod h1;
mod h2c;
mod inbound;
mod inherited;
mod inner;
mod lazy;
mod listen;
mod outbound;
mod proxied;
pub mod runtime;
mod stream;
pub mod system;
pub mod tls;

pub use buffer::{BodyBuffer, Chunk};
pub use clock::Clock;
pub use deadline::Deadline;
pub use frames::FrameCounts;
pub use h1::{Fault, Fill, H1Client, H1Server, HeadError, PollFill, PollSend};
pub use h2::Error as H2Error;
pub use h2c::{
    Accepted, H2Client, H2Limits, H2Server, H2ServerStream, accept_h2, connect_h2, is_unprocessed,
};
pub use inbound::Inbound;
pub use inner::{Inner, InnerClient, InnerServer, inner};
pub use listen::{ListenError, Listener, SocketFile};
pub use outbound::Outbound;
pub use proxied::{Proxied, read as read_proxied};
pub use stream::Stream;
