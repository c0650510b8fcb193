//! Sizes in bytes as people write them: `64KiB`, `1MiB`, `10MB`; a bare number is bytes.

use crate::scalar::{Scalar, ScalarError, scalar_serde};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A number of bytes. `KiB`, `MiB`, `GiB`, `TiB` are powers of 1024, `kB` (or `KB`), `MB`, `GB`, `TB` powers of 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

const HELP: &str = "write a number of bytes or one with a unit: B, KiB, MiB, GiB, KB, MB, GB, as in 64KiB";
const UNITS: [(&str, u64); 10] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl ByteSize {
    /// So many times 1024 bytes.
    pub const fn kib(count: u64) -> Self {
        ByteSize(count << 10)
    }

    /// So many times 1024 x 1024 bytes.
    pub const fn mib(count: u64) -> Self {
        ByteSize(count << 20)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl FromStr for ByteSize {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let wrong = || ScalarError::new(format!("`{}` is not a size", crate::node::clip(text)), HELP);
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number = text[..digits].parse::<u64>().map_err(|_| wrong())?;
        let unit = text[digits..].trim_start();
        let factor = match unit {
            "" => 1,
            unit => match UNITS.iter().find(|(name, _)| *name == unit) {
                Some((_, factor)) => *factor,
                None => return Err(unknown_unit(text, unit)),
            },
        };
        let bytes = number.checked_mul(factor).filter(|bytes| *bytes <= i64::MAX as u64);
        bytes
            .map(ByteSize)
            .ok_or_else(|| ScalarError::new(format!("`{}` is too large", crate::node::clip(text)), ""))
    }
}

fn unknown_unit(text: &str, unit: &str) -> ScalarError {
    let message = format!("`{}` is not a size", crate::node::clip(text));
    let near = match unit.to_ascii_lowercase().as_str() {
        "k" | "kib" | "kb" => "KiB (1024) or KB (1000)",
        "m" | "mib" | "mb" => "MiB (1024 x 1024) or MB (1,000,000)",
        "g" | "gib" | "gb" => "GiB or GB",
        "b" => "B",
        _ => return ScalarError::new(message, HELP),
    };
    ScalarError::new(message, format!("the unit is written {near}"))
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS[1..5].iter().rev().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size));
        match unit {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

scalar_serde! { ByteSize }

impl Scalar for ByteSize {
    const WORDS: &'static str = "a size such as 64KiB";
    const HELP: &'static str = HELP;
    fn schema() -> Schema {
        json_schema!({
            "description": "A number of bytes: 64KiB, 1MiB, 10MB; a bare number is bytes.",
            "anyOf": [
                { "type": "string", "pattern": "^[0-9]+ *(B|KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB)?$" },
                { "type": "integer", "minimum": 0 }
            ]
        })
    }
}
