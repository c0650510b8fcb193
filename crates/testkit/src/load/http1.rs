//! The load over HTTP/1.1: one thread per connection.

use super::{FailureKind, Shared};
use crate::RawClient;
use crate::wire::Fault;
use std::time::Duration;

pub(super) fn run(shared: &Shared) {
    let options = &shared.options;
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", options.target, options.host);
    let mut open: Option<(RawClient, u64)> = None;
    while !shared.is_over() {
        let (mut client, served) = match open.take() {
            Some(open) => open,
            None => match RawClient::connect(options.address) {
                Ok(client) => {
                    shared.note(|report| report.connections += 1);
                    (client.with_patience(options.patience), 0)
                }
                Err(fault) => {
                    let kind = match fault {
                        Fault::Refused(_) => FailureKind::ConnectRefused,
                        _ => FailureKind::ConnectFailed,
                    };
                    shared.fail(kind, fault.to_string());
                    // Not a wait for something: a port that nobody listens on is not asked a million times a second.
                    std::thread::park_timeout(Duration::from_millis(10));
                    continue;
                }
            },
        };
        // A write that fails still leaves an answer to be read, or the close that is the true failure.
        let _ = client.send(&request);
        match client.read_response() {
            Ok(response) => {
                shared.judge(response.status, &response.body);
                if response.closes() {
                    shared.note(|report| report.announced_ends += 1);
                } else {
                    open = Some((client, served + 1));
                }
            }
            Err(fault) => shared.fail(kind(&fault, served > 0), fault.to_string()),
        }
    }
}

fn kind(fault: &Fault, is_reused: bool) -> FailureKind {
    match fault {
        Fault::Closed if is_reused => FailureKind::ClosedReused,
        Fault::Closed => FailureKind::ClosedFresh,
        Fault::Reset { got } if got.is_empty() && is_reused => FailureKind::ClosedReused,
        Fault::Reset { got } if got.is_empty() => FailureKind::ClosedFresh,
        Fault::Cut { .. } | Fault::Reset { .. } => FailureKind::Cut,
        Fault::TimedOut { .. } => FailureKind::TimedOut,
        _ => FailureKind::Malformed,
    }
}
