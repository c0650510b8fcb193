//! Whether a request is sent once more, and when. Pure: told what happened and what time is left; no socket, no clock.

use std::time::Duration;

use narthex_contract::core;

use super::Failure;
use crate::HedgeRules;

/// Status codes 400 to 599.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatusSet([u64; 4]);

impl StatusSet {
    const FIRST: u16 = 400;

    /// Others than 400 to 599 are never in it.
    pub fn insert(&mut self, status: u16) {
        if (Self::FIRST..600).contains(&status) {
            let bit = usize::from(status - Self::FIRST);
            self.0[bit / 64] |= 1 << (bit % 64);
        }
    }

    pub fn contains(&self, status: u16) -> bool {
        if !(Self::FIRST..600).contains(&status) {
            return false;
        }
        let bit = usize::from(status - Self::FIRST);
        self.0[bit / 64] & 1 << (bit % 64) != 0
    }

    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }
}

impl Extend<u16> for StatusSet {
    fn extend<I: IntoIterator<Item = u16>>(&mut self, statuses: I) {
        statuses.into_iter().for_each(|status| self.insert(status));
    }
}

/// Why a try did not give what was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// No connection: nobody has seen the request.
    Connect,
    /// The instance says that it has not begun to process the request (RFC 9113 8.7).
    RefusedStream,
    /// The connection ended before the response's head.
    Reset,
    /// No response's head in the try's time.
    Timeout,
    Status(u16),
    /// A gRPC status.
    Grpc(u8),
}

impl Cause {
    /// `None`: sending it once more cannot help.
    pub fn of(failure: &Failure) -> Option<Self> {
        let is = |reason| failure.reason == reason;
        if is(core::CONNECT_FAILED) || is(core::CONNECT_TIMEOUT) {
            Some(Self::Connect)
        } else if is(core::SERVICE_CLOSED) {
            Some(if failure.is_unprocessed { Self::RefusedStream } else { Self::Reset })
        } else {
            is(core::SERVICE_TIMEOUT).then_some(Self::Timeout)
        }
    }

    /// The service has certainly not begun to process the request: any request may be sent once more, and none costs it
    /// anything.
    pub fn is_unprocessed(self) -> bool {
        matches!(self, Self::Connect | Self::RefusedStream)
    }
}

/// What a request is sent once more for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Causes {
    pub connect: bool,
    pub refused_stream: bool,
    pub reset: bool,
    pub timeout: bool,
    pub statuses: StatusSet,
    /// Bit n: the gRPC status n.
    pub grpc: u32,
}

impl Causes {
    fn contains(&self, cause: Cause) -> bool {
        match cause {
            Cause::Connect => self.connect,
            Cause::RefusedStream => self.refused_stream,
            Cause::Reset => self.reset,
            Cause::Timeout => self.timeout,
            Cause::Status(status) => self.statuses.contains(status),
            Cause::Grpc(code) => code < 32 && self.grpc & 1 << code != 0,
        }
    }
}

/// When a request is sent once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryRules {
    pub on: Causes,
    /// Tries in all, the first included.
    pub tries: u16,
    /// Up to the response's head.
    pub per_try: Option<Duration>,
    /// The first wait is at most this long; each further one twice that and this. Zero: no wait.
    pub base: Duration,
    /// No wait is longer, but for `Retry-After`.
    pub max: Duration,
    /// The longest `Retry-After` that is waited for.
    pub retry_after: Duration,
    /// Bytes of a request's body that are kept to be sent again.
    pub body: usize,
    /// When a read that is slow is sent to another instance too.
    pub hedge: Option<HedgeRules>,
}

impl Default for RetryRules {
    /// What is right for every service: another instance where the first could not be reached.
    fn default() -> Self {
        Self {
            on: Causes { connect: true, refused_stream: true, ..Causes::default() },
            tries: 3,
            per_try: None,
            base: Duration::ZERO,
            max: Duration::ZERO,
            retry_after: Duration::ZERO,
            body: 0,
            hedge: None,
        }
    }
}

/// A try that is over.
#[derive(Debug, Clone, Copy)]
pub struct Tried {
    pub cause: Cause,
    /// Tries so far.
    pub tries: u16,
    /// The method is idempotent (RFC 9110 9.2.2), or the client sent an `Idempotency-Key`.
    pub is_safe: bool,
    /// The whole request can be had once more.
    pub is_whole: bool,
    pub retry_after: Option<Duration>,
    /// Nanoseconds until the deadline.
    pub left: u64,
    pub random: u64,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing that a further try is for.
    Final,
    /// It would be sent once more, but for this.
    Stopped(Stop),
    Again {
        after: Duration,
    },
}

/// Why a request is not sent once more although it failed for a cause that a further try is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    Tries,
    Unsafe,
    Body,
    RetryAfter,
    Deadline,
    Budget,
}

impl Stop {
    /// As it stands in the access log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tries => "tries",
            Self::Unsafe => "not_idempotent",
            Self::Body => "body",
            Self::RetryAfter => "retry_after",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
        }
    }
}

impl RetryRules {
    /// Answers of the service may be a cause.
    pub fn watches_answers(&self) -> bool {
        self.on.grpc != 0 || !self.on.statuses.is_empty()
    }

    pub fn judge(&self, tried: &Tried) -> Verdict {
        if !self.on.contains(tried.cause) || self.tries <= 1 {
            return Verdict::Final;
        }
        let stop = |stop| Verdict::Stopped(stop);
        if tried.tries >= self.tries {
            return stop(Stop::Tries);
        }
        if !tried.is_safe && !tried.cause.is_unprocessed() {
            return stop(Stop::Unsafe);
        }
        if !tried.is_whole {
            return stop(Stop::Body);
        }
        let mut after = self.backoff(tried.tries, tried.random);
        if let Some(wanted) = tried.retry_after {
            if wanted > self.retry_after {
                return stop(Stop::RetryAfter);
            }
            after = after.max(wanted);
        }
        if after.as_nanos() >= u128::from(tried.left) {
            return stop(Stop::Deadline);
        }
        Verdict::Again { after }
    }

    /// Full jitter: anything from nothing to `base * (2^n - 1)`, at most `max`.
    fn backoff(&self, tries: u16, random: u64) -> Duration {
        let steps = (1u64 << u32::from(tries.min(32))) - 1;
        let most = self.base.as_nanos().saturating_mul(u128::from(steps)).min(self.max.as_nanos());
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        Duration::from_nanos(if most == u64::MAX { random } else { random % (most + 1) })
    }
}

/// `Retry-After` (RFC 9110 10.2.3): seconds, or a date. `None`: neither. A date that is over is no wait.
pub fn retry_after(value: &[u8], unix_ms: u64) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim_ascii();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds: longer than anybody waits.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let then = unix_seconds(text)?;
    Some(Duration::from_millis((then * 1_000).saturating_sub(unix_ms)))
}

/// The seconds since 1970 of an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 5.6.7).
fn unix_seconds(text: &str) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut words = text.split(' ').skip(1);
    let mut next = || words.next();
    let day: u64 = next()?.parse().ok()?;
    let name = next()?;
    let month = MONTHS.find(name).filter(|at| name.len() == 3 && at % 3 == 0)? as u64 / 3 + 1;
    let year: u64 = next()?.parse().ok().filter(|year| (1970..10_000).contains(year))?;
    let mut time = next()?.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if next()? != "GMT" || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970-01-01 in the proleptic Gregorian calendar; the year begins in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> RetryRules {
        let mut on = Causes { connect: true, reset: true, grpc: 1 << 14, ..Causes::default() };
        on.statuses.extend([502, 503]);
        RetryRules {
            on,
            tries: 3,
            base: Duration::from_millis(25),
            max: Duration::from_millis(60),
            retry_after: Duration::from_secs(2),
            body: 100,
            per_try: None,
            hedge: None,
        }
    }

    fn tried(cause: Cause) -> Tried {
        let left = Duration::from_secs(10).as_nanos() as u64;
        Tried { cause, tries: 1, is_safe: true, is_whole: true, retry_after: None, left, random: 0 }
    }

    fn is_again(verdict: Verdict) -> bool {
        matches!(verdict, Verdict::Again { .. })
    }

    #[test]
    fn only_for_the_causes_that_were_named() {
        let rules = rules();
        for cause in [Cause::Connect, Cause::Reset, Cause::Status(503), Cause::Grpc(14)] {
            assert!(is_again(rules.judge(&tried(cause))), "{cause:?}");
        }
        for cause in
            [Cause::Timeout, Cause::RefusedStream, Cause::Status(500), Cause::Status(200), Cause::Grpc(0)]
        {
            assert_eq!(rules.judge(&tried(cause)), Verdict::Final, "{cause:?}");
        }
        assert_eq!(RetryRules { tries: 1, ..rules }.judge(&tried(Cause::Connect)), Verdict::Final);
    }

    #[test]
    fn only_where_it_is_safe() {
        let rules = rules();
        let judge = |change: fn(&mut Tried), cause| {
            let mut tried = tried(cause);
            change(&mut tried);
            rules.judge(&tried)
        };
        let stopped = Verdict::Stopped;
        assert_eq!(judge(|t| t.is_safe = false, Cause::Reset), stopped(Stop::Unsafe));
        assert!(is_again(judge(|t| t.is_safe = false, Cause::Connect)), "nobody has seen it");
        assert_eq!(judge(|t| t.is_whole = false, Cause::Connect), stopped(Stop::Body));
        assert_eq!(judge(|t| t.tries = 3, Cause::Reset), stopped(Stop::Tries));
        assert_eq!(judge(|t| t.left = 0, Cause::Reset), stopped(Stop::Deadline));
    }

    #[test]
    fn waits_as_long_as_the_service_says_up_to_a_bound() {
        let rules = rules();
        let after = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            rules.judge(&Tried { retry_after, ..tried(Cause::Status(503)) })
        };
        assert_eq!(after(2), Verdict::Again { after: Duration::from_secs(2) });
        assert_eq!(after(3), Verdict::Stopped(Stop::RetryAfter));
        let hurried =
            Tried { retry_after: Some(Duration::from_secs(2)), left: 1_999_999_999, ..tried(Cause::Reset) };
        assert_eq!(rules.judge(&hurried), Verdict::Stopped(Stop::Deadline));
    }

    #[test]
    fn jitters_fully_and_within_bounds() {
        let rules = rules();
        let most = |tries| {
            (0..200_000_000u64).step_by(999_983).map(|random| rules.backoff(tries, random)).max().unwrap()
        };
        assert!(most(1) <= Duration::from_millis(25) && most(1) > Duration::from_millis(20));
        assert!(most(2) <= Duration::from_millis(60) && most(2) > Duration::from_millis(50));
        assert!(most(60_000) <= Duration::from_millis(60));
        assert_eq!(RetryRules::default().backoff(2, u64::MAX), Duration::ZERO);
    }

    #[test]
    fn reads_retry_after() {
        assert_eq!(retry_after(b"7", 0), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(b" 0 ", 0), Some(Duration::ZERO));
        assert_eq!(
            retry_after(b"Sun, 06 Nov 1994 08:49:37 GMT", 784_111_770_000),
            Some(Duration::from_secs(7))
        );
        assert_eq!(retry_after(b"Sun, 06 Nov 1994 08:49:37 GMT", 999_999_999_999), Some(Duration::ZERO));
        assert_eq!(unix_seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(unix_seconds("Tue, 29 Feb 2000 23:59:59 GMT"), Some(951_868_799));
        assert!(
            retry_after(b"99999999999999999999999", 0).unwrap() > Duration::from_secs(u64::from(u32::MAX))
        );
        for wrong in [
            "",
            "soon",
            "-1",
            "1.5",
            "Sun, 06 Nov 1994",
            "Sun, 06 anF 1994 08:49:37 GMT",
            "x, 1 Jan 1 0:0:0 GMT",
        ] {
            assert_eq!(retry_after(wrong.as_bytes(), 0), None, "{wrong}");
        }
    }

    #[test]
    fn sets_of_statuses() {
        let mut set = StatusSet::default();
        set.extend([400, 464, 599, 600, 200]);
        assert_eq!(
            (0..=u16::MAX).filter(|status| set.contains(*status)).collect::<Vec<_>>(),
            [400, 464, 599]
        );
    }
}
