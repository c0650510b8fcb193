//! The load over HTTP/2: one task per connection on a small runtime of its own.

use super::{FailureKind, Shared};
use bytes::Bytes;
use h2::client::SendRequest;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(super) fn run(shared: &Arc<Shared>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else {
        shared.fail(FailureKind::ConnectFailed, "no runtime for the load");
        return;
    };
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let tasks: Vec<_> = (0..shared.options.connections)
            .map(|_| tokio::task::spawn_local(connection_loop(Arc::clone(shared))))
            .collect();
        for task in tasks {
            if let Err(error) = task.await {
                shared.fail(FailureKind::Malformed, format!("the load's own task failed: {error}"));
            }
        }
    });
}

async fn connection_loop(shared: Arc<Shared>) {
    let mut open: Option<(SendRequest<Bytes>, u64)> = None;
    while !shared.is_over() {
        let (sender, served) = match open.take() {
            Some(open) => open,
            None => match connect(&shared).await {
                Ok(sender) => (sender, 0),
                Err((kind, detail)) => {
                    shared.fail(kind, detail);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
        };
        // GOAWAY while nothing was under way: as announced.
        let mut sender = match sender.ready().await {
            Ok(sender) => sender,
            Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => {
                shared.note(|report| report.announced_ends += 1);
                continue;
            }
            Err(error) => {
                let kind = if served > 0 { FailureKind::ClosedReused } else { FailureKind::ClosedFresh };
                shared.fail(kind, error.to_string());
                continue;
            }
        };
        match timeout(shared.options.patience, exchange(&shared, &mut sender)).await {
            Ok(Ok((status, body))) => {
                shared.judge(status, &body);
                open = Some((sender, served + 1));
            }
            Ok(Err(error)) if is_unprocessed(&error) => shared.note(|report| {
                report.unprocessed += 1;
                report.announced_ends += 1;
            }),
            Ok(Err(error)) => shared.fail(FailureKind::Cut, error.to_string()),
            Err(_) => shared.fail(FailureKind::TimedOut, "no answer in time"),
        }
    }
}

async fn connect(shared: &Shared) -> Result<SendRequest<Bytes>, (FailureKind, String)> {
    let options = &shared.options;
    let failed = |error: String| (FailureKind::ConnectFailed, error);
    let stream = match timeout(options.patience, TcpStream::connect(options.address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            return Err((FailureKind::ConnectRefused, error.to_string()));
        }
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed("no connection in time".into())),
    };
    let shake = timeout(options.patience, h2::client::handshake(stream)).await;
    let (sender, connection) = match shake {
        Ok(Ok(both)) => both,
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed("no handshake in time".into())),
    };
    shared.note(|report| report.connections += 1);
    // Its end shows in the requests.
    tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(sender)
}

async fn exchange(shared: &Shared, sender: &mut SendRequest<Bytes>) -> Result<(u16, Vec<u8>), h2::Error> {
    let uri = format!("http://{}{}", shared.options.host, shared.options.target);
    let request = http::Request::get(uri).body(()).expect("host and target of a load are valid");
    let (response, _) = sender.send_request(request, true)?;
    let (head, mut body) = response.await?.into_parts();
    let mut data = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        data.extend_from_slice(&piece);
    }
    Ok((head.status.as_u16(), data))
}

/// The server said that it did not begin with this stream (RFC 9113 8.7): sending it again is safe.
fn is_unprocessed(error: &h2::Error) -> bool {
    let is_goaway = error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
    is_goaway || (error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
}
