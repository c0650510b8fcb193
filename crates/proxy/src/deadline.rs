//! The client's own deadline: read from its head, and handed on to the service as the time that is left. A client can only
//! shorten what the route allows. Reads no clock.

use std::time::Duration;

use narthex_wire::{Head, Known, RequestHead};

use crate::grpc::is_grpc;
use crate::problem::put_known;

/// How long the client waits from its request's head on: `grpc-timeout`, else `X-Request-Timeout`. What is neither is not
/// followed.
pub fn of_client(head: &Head) -> Option<Duration> {
    if let Some(value) = head.get_known(Known::GrpcTimeout) {
        return grpc_timeout(value);
    }
    request_timeout(head.get_known(Known::XRequestTimeout)?)
}

/// At most eight digits and a unit (gRPC over HTTP/2, Requests).
fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let nanos: u64 = match unit {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1_000,
        b'n' => 1,
        _ => return None,
    };
    Some(Duration::from_nanos(number(digits, 8)?.saturating_mul(nanos)))
}

/// Milliseconds, or a number with `ms`, `s` or `m`.
fn request_timeout(value: &[u8]) -> Option<Duration> {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, unit) = value.split_at_checked(digits)?;
    let millis: u64 = match unit {
        b"" | b"ms" => 1,
        b"s" => 1_000,
        b"m" => 60_000,
        _ => return None,
    };
    Some(Duration::from_millis(number(digits, 12)?.saturating_mul(millis)))
}

fn number(digits: &[u8], most: usize) -> Option<u64> {
    if digits.is_empty() || digits.len() > most || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Says the service how long its answer is waited for. `always`: even where the client said nothing. What the client said
/// is replaced: some of it is over.
pub fn hand_on(request: &mut RequestHead, left: u64, always: bool) {
    let head = &mut request.head;
    let said_grpc = head.get_known(Known::GrpcTimeout).is_some();
    let said_plain = head.get_known(Known::XRequestTimeout).is_some();
    if !always && !said_grpc && !said_plain {
        return;
    }
    let mut digits = itoa::Buffer::new();
    if said_grpc || (always && is_grpc(head)) {
        let (count, unit) =
            if left < 100_000_000_000 { (left / 1_000, b'u') } else { (left / 1_000_000, b'm') };
        let count = digits.format(count.min(99_999_999)).as_bytes();
        let mut value = smallvec::SmallVec::<[u8; 12]>::from_slice(count);
        value.push(unit);
        put_known(head, Known::GrpcTimeout, &value);
    } else {
        put_known(head, Known::XRequestTimeout, digits.format(left / 1_000_000).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(known: Known, value: &str) -> Head {
        let mut head = Head::new();
        head.put(known, value.as_bytes()).unwrap();
        head
    }

    #[test]
    fn reads_both_shapes_and_follows_nothing_else() {
        let grpc = |value| of_client(&head(Known::GrpcTimeout, value));
        assert_eq!(grpc("250m"), Some(Duration::from_millis(250)));
        assert_eq!(grpc("1H"), Some(Duration::from_secs(3_600)));
        assert_eq!(grpc("99999999H"), Some(Duration::from_nanos(u64::MAX)));
        assert_eq!((grpc("0n"), grpc("5u")), (Some(Duration::ZERO), Some(Duration::from_micros(5))));
        for wrong in ["", "m", "123456789m", "1s", "-1S", "1.5S", "1"] {
            assert_eq!(grpc(wrong), None, "{wrong}");
        }
        let plain = |value| of_client(&head(Known::XRequestTimeout, value));
        assert_eq!(plain("250"), Some(Duration::from_millis(250)));
        assert_eq!(
            (plain("250ms"), plain("2s"), plain("1m")),
            (Some(Duration::from_millis(250)), Some(Duration::from_secs(2)), Some(Duration::from_secs(60)))
        );
        for wrong in ["", "s", "1h", "1.5s", "-1", "9999999999999", "5 s"] {
            assert_eq!(plain(wrong), None, "{wrong}");
        }
        assert_eq!(of_client(&Head::new()), None);
    }

    #[test]
    fn hands_on_what_is_left_in_the_clients_own_words() {
        let after = |known: Known, value: &str, always| {
            let mut request = RequestHead::default();
            request.head.put(known, value.as_bytes()).unwrap();
            hand_on(&mut request, 1_500_000_000, always);
            let said =
                |known| request.head.get_known(known).map(|said| String::from_utf8_lossy(said).into_owned());
            (said(Known::GrpcTimeout), said(Known::XRequestTimeout))
        };
        assert_eq!(after(Known::GrpcTimeout, "9S", false), (Some("1500000u".into()), None));
        assert_eq!(after(Known::XRequestTimeout, "9s", false), (None, Some("1500".into())));
        assert_eq!(after(Known::Accept, "*/*", false), (None, None));
        assert_eq!(after(Known::Accept, "*/*", true), (None, Some("1500".into())));
        assert_eq!(after(Known::ContentType, "application/grpc", true), (Some("1500000u".into()), None));
        let mut request = RequestHead::default();
        hand_on(&mut request, u64::MAX, true);
        assert!(request.head.get_known(Known::XRequestTimeout).is_some());
    }
}
