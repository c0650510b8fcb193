//! Compact scalars with exact errors: times, rates and shares as people write them. Units are never guessed.

use crate::spanned::with_help;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Why a compact scalar cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalarError {
    /// The cause.
    pub message: String,
    /// What to write; may be empty.
    pub help: String,
}

impl ScalarError {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        ScalarError { message: message.into(), help: help.into() }
    }
}

impl fmt::Display for ScalarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ScalarError {}

/// A length of time: `250ms`, `5s`, `1m30s`, `2h`, `10d`. At most 100 years. A bare number is an error, except `0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub Duration);

/// How often: a count per second, minute, hour or day, as `50/s`, `100/min`, `5000/h`, `10/d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u64,
    /// In which time: a second, a minute, an hour or a day.
    pub per: Duration,
}

/// A share in percent, `0%` to `100%`, with up to two decimals, kept in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Percent(u16);

const TIME_HELP: &str = "write a number with a unit: ms, s, m, h or d, as in 250ms, 5s, 1m30s, 2h, 10d";
const TIME_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const MAX_MILLIS: u64 = 100 * 365 * 86_400_000;

impl Time {
    /// A time of so many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Time(Duration::from_millis(millis))
    }

    /// A time of so many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Time(Duration::from_secs(secs))
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Time> for Duration {
    fn from(time: Time) -> Duration {
        time.0
    }
}

impl FromStr for Time {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let wrong = || ScalarError::new(format!("`{}` is not a time", crate::node::clip(text)), TIME_HELP);
        if text == "0" {
            return Ok(Time::default());
        }
        let mut rest = text;
        let mut total = 0u64;
        let mut last = TIME_UNITS.len();
        if text.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number = rest[..digits].parse::<u64>().map_err(|_| wrong())?;
            rest = &rest[digits..];
            if rest.is_empty() {
                return Err(unitless(text));
            }
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let unit = TIME_UNITS.iter().position(|(name, _)| *name == &rest[..letters]).ok_or_else(wrong)?;
            if unit >= last {
                return Err(ScalarError::new(
                    format!(
                        "`{}` is not a time: units go from large to small, each once",
                        crate::node::clip(text)
                    ),
                    TIME_HELP,
                ));
            }
            last = unit;
            rest = &rest[letters..];
            let part = number.checked_mul(TIME_UNITS[unit].1);
            total = part
                .and_then(|part| total.checked_add(part))
                .filter(|sum| *sum <= MAX_MILLIS)
                .ok_or_else(|| {
                    ScalarError::new(format!("`{}` is longer than 100 years", crate::node::clip(text)), "")
                })?;
        }
        Ok(Time::from_millis(total))
    }
}

fn unitless(text: &str) -> ScalarError {
    let message = format!("the time `{}` lacks a unit", crate::node::clip(text));
    let first = if text.bytes().all(|b| b.is_ascii_digit()) { text } else { "5" };
    ScalarError::new(
        message,
        format!("add one: {0}s for seconds, {0}ms for milliseconds (also m, h, d)", crate::node::clip(first)),
    )
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_millis() as u64;
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in TIME_UNITS.iter().rev() {
            if left >= *size {
                write!(f, "{}{unit}", left / size)?;
                left %= size;
            }
        }
        Ok(())
    }
}

const RATE_HELP: &str = "write a count per time, as in 50/s, 100/min, 5000/h, 10/d";

impl Rate {
    /// So many per that time.
    pub const fn new(count: u64, per: Duration) -> Self {
        Rate { count, per }
    }

    /// How many per second, for estimates.
    pub fn per_second(self) -> f64 {
        self.count as f64 / self.per.as_secs_f64()
    }
}

impl FromStr for Rate {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let wrong = || ScalarError::new(format!("`{}` is not a rate", crate::node::clip(text)), RATE_HELP);
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let (count, unit) = (count.trim(), unit.trim());
        if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let count = count.parse::<u64>().ok().filter(|count| *count <= 1_000_000_000_000);
        let count = count.ok_or_else(|| ScalarError::new("the count of a rate is too large", RATE_HELP))?;
        if count == 0 {
            return Err(ScalarError::new("a rate of 0 would refuse everything", "write at least 1"));
        }
        let secs = match unit {
            "s" | "sec" | "second" => 1,
            "m" | "min" | "minute" => 60,
            "h" | "hour" => 3_600,
            "d" | "day" => 86_400,
            _ => return Err(wrong()),
        };
        Ok(Rate { count, per: Duration::from_secs(secs) })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "min",
            3_600 => "h",
            86_400 => "d",
            secs => return write!(f, "{}/{secs}s", self.count),
        };
        write!(f, "{}/{unit}", self.count)
    }
}

const PERCENT_HELP: &str = "write a share from 0% to 100%, as in 5% or 0.25%";

impl Percent {
    /// A share of hundredths of a percent (10,000 is all); `None` above.
    pub const fn from_hundredths(hundredths: u16) -> Option<Self> {
        if hundredths > 10_000 { None } else { Some(Percent(hundredths)) }
    }

    /// From 0.0 to 1.0.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// Hundredths of a percent, 0 to 10,000.
    pub const fn hundredths(self) -> u16 {
        self.0
    }
}

impl FromStr for Percent {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let wrong =
            || ScalarError::new(format!("`{}` is not a share", crate::node::clip(text)), PERCENT_HELP);
        let number = text.strip_suffix('%').ok_or_else(wrong)?.trim_end();
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |s: &str| !s.is_empty() && s.len() <= 3 && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 2 {
            return Err(wrong());
        }
        let whole = whole.parse::<u16>().map_err(|_| wrong())?.min(101);
        let scale = if decimals.len() == 1 { 10 } else { 1 };
        let hundredths = whole * 100 + decimals.parse::<u16>().map_err(|_| wrong())? * scale;
        let much = || ScalarError::new(format!("`{text}` is more than 100%"), PERCENT_HELP);
        Percent::from_hundredths(hundredths).ok_or_else(much)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match rest {
            0 => write!(f, "{whole}%"),
            rest if rest % 10 == 0 => write!(f, "{whole}.{}%", rest / 10),
            rest => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

/// What a bare number means for a scalar type.
pub(crate) trait Scalar: FromStr<Err = ScalarError> + fmt::Display {
    const WORDS: &'static str;
    const HELP: &'static str;
    fn schema() -> Schema;
    fn from_number(number: u64) -> Result<Self, ScalarError> {
        number.to_string().parse()
    }
}

pub(crate) struct Read<T>(pub std::marker::PhantomData<T>);

impl<T: Scalar> Visitor<'_> for Read<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WORDS)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(|error: ScalarError| with_help(&error.message, &error.help))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::from_number(number).map_err(|error| with_help(&error.message, &error.help))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        Err(with_help(format_args!("{number} is not {}", T::WORDS), T::HELP))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        Err(with_help(format_args!("{number} is not {}", T::WORDS), T::HELP))
    }
}

macro_rules! scalar_serde {
    ($($kind:ident)*) => {
        $(impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($crate::scalar::Read(std::marker::PhantomData))
            }
        }
        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl JsonSchema for $kind {
            fn schema_name() -> Cow<'static, str> {
                stringify!($kind).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                <$kind as $crate::scalar::Scalar>::schema()
            }
        })*
    };
}
pub(crate) use scalar_serde;

scalar_serde! { Time Rate Percent }

impl Scalar for Time {
    const WORDS: &'static str = "a time such as 5s";
    const HELP: &'static str = TIME_HELP;
    fn schema() -> Schema {
        json_schema!({
            "description": "A length of time: 250ms, 5s, 1m30s, 2h, 10d.",
            "anyOf": [
                { "type": "string", "pattern": "^(0|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$", "minLength": 1 },
                { "const": 0 }
            ]
        })
    }
}

impl Scalar for Rate {
    const WORDS: &'static str = "a rate such as 100/min";
    const HELP: &'static str = RATE_HELP;
    fn schema() -> Schema {
        json_schema!({
            "description": "A count per time: 50/s, 100/min, 5000/h, 10/d.",
            "type": "string",
            "pattern": "^[0-9]+ */ *(s|sec|second|m|min|minute|h|hour|d|day)$"
        })
    }
}

impl Scalar for Percent {
    const WORDS: &'static str = "a share such as 5%";
    const HELP: &'static str = PERCENT_HELP;
    fn schema() -> Schema {
        json_schema!({
            "description": "A share from 0% to 100%, up to two decimals.",
            "type": "string",
            "pattern": "^(100(\\.00?)?|[0-9]{1,2}(\\.[0-9]{1,2})?) *%$"
        })
    }
}
