//! What a gRPC answer says about itself before anybody has seen it: its status, in the head or in trailers that follow no
//! message. Reads no message.

use narthex_wire::{Head, Known, ResponseHead};

use crate::exchange::{Interrupt, Line, Run};
use crate::service::Call;

/// Whether a message of this type is gRPC: `application/grpc`, with a suffix or parameters, but not gRPC-Web.
pub fn is_grpc(head: &Head) -> bool {
    let Some(kind) = head.get_known(Known::ContentType) else { return false };
    let rest = kind.get(..16).filter(|start| start.eq_ignore_ascii_case(b"application/grpc"));
    rest.is_some() && matches!(kind.get(16), None | Some(b'+' | b';' | b' '))
}

fn code(head: &Head) -> Option<u8> {
    // A status that is no number is UNKNOWN (gRPC over HTTP/2, Responses).
    let text = head.get_known(Known::GrpcStatus)?;
    Some(std::str::from_utf8(text).ok().and_then(|text| text.trim_ascii().parse().ok()).unwrap_or(2))
}

/// The gRPC status of a response that consists of its head alone ("trailers-only").
pub fn code_of_head(response: &ResponseHead) -> Option<u8> {
    code(&response.head)
}

/// The gRPC status where no message comes before it. Waits for the first byte of the body no longer than `limit`; what it
/// reads, the download finds.
pub async fn status(run: &mut Run, line: &mut Line<'_>, limit: u64) -> Result<Option<u8>, Interrupt> {
    if let Some(code) = code_of_head(&run.response) {
        return Ok(Some(code));
    }
    // Where the request goes on, the client may wait for this head before it says more.
    if !is_grpc(&run.response.head) || !run.upload.is_done() {
        return Ok(None);
    }
    let Run { download, call: Some(Call { outbound, .. }), .. } = run else { return Ok(None) };
    let looked = line
        .wait(limit, |cx, _| {
            // A fault is met again by whoever reads on.
            download
                .poll_ahead(cx, outbound)
                .map(|looked| looked.ok().flatten().and_then(|t| t.as_ref().and_then(code)))
        })
        .await;
    match looked {
        Ok(code) => Ok(code),
        Err(Interrupt::TimedOut) => Ok(None),
        Err(interrupt) => Err(interrupt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_grpc_by_its_type() {
        let is = |value: &str| {
            let mut head = Head::new();
            head.put(Known::ContentType, value.as_bytes()).unwrap();
            is_grpc(&head)
        };
        assert!(is("application/grpc") && is("application/grpc+proto") && is("Application/GRPC;x=1"));
        assert!(!is("application/grpc-web") && !is("application/json") && !is("application/grpcx"));
    }

    #[test]
    fn reads_the_status() {
        let of = |value: &str| {
            let mut head = Head::new();
            head.put(Known::GrpcStatus, value.as_bytes()).unwrap();
            code(&head)
        };
        assert_eq!((of("14"), of("0"), of("x"), of("999")), (Some(14), Some(0), Some(2), Some(2)));
        assert_eq!(code(&Head::new()), None);
    }
}
